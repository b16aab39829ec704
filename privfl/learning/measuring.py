"""A round's line of metrics: what was planned, what became of it, what it cost, and how the model does now."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privfl.learning.averaging import RoundMean
from privfl.learning.books import Books
from privfl.learning.evaluating import Evaluated
from privfl.learning.job import Job
from privfl.learning.paperwork import finite
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import RoundPlan
from privfl.learning.sessions import Held
from privfl.learning.trainer import Evaluation
from privfl.round_metrics import RoundMetrics
from privfl.session import Phase
from privfl.simulate import Simulation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """A round that is over.

    Attributes:
        plan: what it was to be, with those whose training failed.
        held: its session.
        plain: what `plain` would have cost, and took: seconds.
        mean: what the sum says; None if nothing was released.
        why_not: why there is none.
        clip: C of the round; None without differential privacy.
        scale: magnitude at which the encoding cut coordinates; None where updates are clipped in norm.
        coordinates: of an update that each client sent.
        float32_bytes: what the whole updates would have weighed.
        evaluation: of the model after it, held out at the server.
        evaluated: likewise at the clients; None where that was not due.
        seconds: it took, evaluation at the clients left out.
    """

    plan: RoundPlan
    held: Held
    plain: tuple[Simulation, float]
    mean: RoundMean | None
    why_not: str | None
    clip: float | None
    scale: float | None
    coordinates: int
    float32_bytes: int
    evaluation: Evaluation
    evaluated: Evaluated | None
    seconds: float

    @property
    def released(self) -> bool:
        """Whether a sum was released."""
        return self.mean is not None

    @property
    def contributors(self) -> int:
        """Clients in the sum; 0 if nothing was released."""
        return len(self.held.outcome.contributors) if self.released else 0


def measured(job: Job, one: Round, *, books: Books | None, timed: bool) -> RoundMetrics:
    """Return a round's metrics.

    Args:
        job: the run's.
        one: the round.
        books: the privacy ledger.
        timed: whether there is a simulated clock.
    """
    plan, outcome, mean, cohort = one.plan, one.held.outcome, one.mean, len(one.plan.cohort)
    plain, plain_seconds = one.plain
    return RoundMetrics(
        round=plan.number,
        suite=job.suite,
        cohort=cohort,
        contributors=one.contributors,
        dropped=cohort - one.contributors,
        vanished=len(plan.drops.get(Phase.UNMASK, ())) if mean else 0,
        aborted=mean is None,
        aborted_because=one.why_not,
        accuracy=one.evaluation.accuracy,
        loss=finite(one.evaluation.loss),
        local_accuracy=mean.local_accuracy if mean else None,
        local_loss=mean.local_loss if mean else None,
        epsilon=None if books is None else finite(books.epsilon()),
        epsilon_rdp=None if books is None else finite(books.opinions().get("rdp") or 0.0),
        clip=one.clip,
        upload_bytes=outcome.upload_bytes,
        download_bytes=outcome.download_bytes,
        plain_upload_bytes=plain.upload_bytes,
        plain_seconds=plain_seconds,
        seconds=one.seconds,
        secure_seconds=one.held.seconds,
        client_seconds=outcome.client_cpu_s / max(cohort, 1),
        server_seconds=outcome.server_cpu_s,
        committee_seconds=outcome.committee_cpu_s + one.held.ceremony_cpu_s,
        committee_bytes=outcome.committee_bytes + one.held.ceremony_bytes,
        saturated_fraction=mean.saturated_fraction if mean else 0.0,
        suggested_clip=mean.suggested_clip if mean else None,
        dropped_because=_grouped({**outcome.failures, **plan.because}),
        simulated_seconds=plan.ends_s - plan.began_s if timed else None,
        simulated_clock=plan.ends_s if timed else None,
        coordinates=one.coordinates,
        float32_bytes=one.float32_bytes,
        encoding_clip=one.scale,
        learning_rate=learning_rate_at(job.strategy, plan.number, job.rounds),
        **_staleness(one),
        **_evaluated(job, one.evaluated),
    )


def _grouped(because: Mapping[int, str]) -> dict[str, list[int]]:
    """Reasons, each with the clients that it kept out."""
    grouped: dict[str, list[int]] = defaultdict(list)
    for client, reason in sorted(because.items()):
        grouped[str(reason)].append(client)
    return dict(grouped)


def _staleness(one: Round) -> dict[str, Any]:
    versions, contributors = one.plan.versions, one.held.outcome.contributors
    if versions is None or not one.released:
        return {}
    behind = [versions.current - one.plan.assignments[client].model.version for client in contributors]
    return {"staleness": sum(behind) / len(behind), "staleness_most": max(behind)}


def _evaluated(job: Job, evaluated: Evaluated | None) -> dict[str, Any]:
    if evaluated is None:
        return {}
    outcome, found = evaluated.held.outcome, evaluated.found
    cost = {
        "evaluation_bytes": outcome.upload_bytes + outcome.download_bytes,
        "evaluation_seconds": evaluated.held.seconds,
        "evaluation_failed": _grouped({**outcome.failures, **evaluated.because}),
        "evaluation_aborted_because": evaluated.why_not,
    }
    if found is None:
        return cost
    return {
        **cost,
        "federated_accuracy": found.accuracy,
        "federated_loss": found.loss if math.isfinite(found.loss) else None,
        "worst_client_accuracy": found.worst_client_accuracy,
        "mean_client_accuracy": found.mean_client_accuracy,
        "std_client_accuracy": found.std_client_accuracy,
        "client_accuracy_quantiles": {f"{share:g}": found.quantile(share) for share in job.evaluation.quantiles},
        "client_accuracy_histogram": list(found.histogram),
        "evaluated_clients": found.clients,
    }
