"""What a person should know of a run that went on all the same."""

from __future__ import annotations

from privfl.cli.run_privacy import Told, privacy_warnings
from privfl.learning.assembly import weight_max_of
from privfl.learning.averaging import SATURATION_WARNING
from privfl.learning.data import FederatedData
from privfl.learning.local_work import TRAINING_FAILED
from privfl.learning.rounds import FederatedRun
from privfl.report.run_reasons import detail_of, format_spans, kind_of


def warnings_of(run: FederatedRun, told: Told | None) -> list[str]:
    """Sentences on what a person should know of a run that went on all the same."""
    found = privacy_warnings(run, told)
    worst = max(run.metrics, key=lambda row: row.saturated_fraction or 0.0, default=None)
    if worst is not None and worst.saturated_fraction is not None and worst.saturated_fraction > SATURATION_WARNING:
        clipped = f"{worst.saturated_fraction:.1%} of the coordinates were clipped in round {worst.round}"
        if worst.suggested_clip is not None:  # where it follows the updates it has moved already
            found.append(
                f"{clipped}: encoding.clip is {run.job.encoding.clip:g}, {worst.suggested_clip:g} would have kept "
                f"nearly all of them"
            )
        elif worst is run.metrics[-1]:
            found.append(f"{clipped}, the last: encoding.adaptive has not caught up with the updates")
    reasons: dict[str, list[int]] = {}
    for row in run.metrics:
        if row.aborted:
            reasons.setdefault(row.aborted_because or "too few clients were left", []).append(row.round)
    for why, rounds in reasons.items():
        found.append(f"rounds {rounds} aborted, and nothing was released: {why}")
    return [*found, *_cut_weights(run), *_failed_training(run), *_failed_evaluations(run)]


def _cut_weights(run: FederatedRun) -> list[str]:
    """Clients that hold more examples than count; what nobody chose is worth a word."""
    if run.job.strategy.weight_max is not None or run.guarantee is not None or not isinstance(run.data, FederatedData):
        return []
    held, most = [len(examples) for examples in run.data.clients], weight_max_of(run.job, run.data.facts)
    over = sum(examples > most for examples in held)
    if not over:
        return []
    who = f"{over} of {len(held)} clients have more than {most} examples, which is twice the average and all that count"
    return [f"{who}: strategy.weight_max = {max(held)} counts them all"]


def _failed_training(run: FederatedRun) -> list[str]:
    """A training that raised is somebody's mistake, other than a client that is not there."""
    failed = [
        (row.round, reason, clients)
        for row in run.metrics
        for reason, clients in row.dropped_because.items()
        if kind_of(reason) == TRAINING_FAILED
    ]
    if not failed:
        return []
    rounds = sorted({number for number, _, _ in failed})
    who = sorted({client for _, _, clients in failed for client in clients})
    details = list(dict.fromkeys(detail_of(reason) for _, reason, _ in failed if detail_of(reason)))
    first = f"; the first said {details[0]}" if details else ""
    return [f"training failed at clients {_few(who)} in rounds {_few(rounds)}, which went on without them{first}"]


def _failed_evaluations(run: FederatedRun) -> list[str]:
    reasons: dict[str, list[int]] = {}
    for row in run.metrics:
        if row.evaluation_aborted_because is not None:
            reasons.setdefault(row.evaluation_aborted_because, []).append(row.round)
    return [f"evaluations after rounds {_few(rounds)} found nothing: {why}" for why, rounds in reasons.items()]


def _few(numbers: list[int]) -> str:
    return f"[{format_spans(numbers)}]"
