"""The second layer: whether what was done is what was written down, where the inputs are known to everybody."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from privfl.audit import sessions
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, check
from privfl.audit.cohorts import examine_cohorts
from privfl.audit.findings import Finding, Layer, Word
from privfl.audit.levels import DOUBT_LEVEL, FAIL_LEVEL, together
from privfl.audit.noise import judge_noise
from privfl.audit.probes import PrivateProbe
from privfl.audit.residuals import examine_residuals, project_residuals
from privfl.audit.subject import Subject
from privfl.audit.tails import normal_cdf, normal_quantile
from privfl.audit.terms import CLIENT_MODES
from privfl.audit.training import trainer_clip, trainer_noise
from privfl.dp.noise import Mechanism
from privfl.evidence import Evidence, SessionRecord
from privfl.learning.cohort_job import Sampling
from privfl.learning.evaluating import evaluation_vector
from privfl.learning.job import Job
from privfl.learning.known_inputs import OVERLONG
from privfl.learning.witness import clients_of_probes, probes_planned
from privfl.params import SessionParams
from privfl.suites import suite

_MOST_ERRORS = 8.0
"""Standard deviations that a coordinate of an inexact sum may be off: beyond it one in 10^15 is."""


def conform(subject: Subject) -> tuple[Finding, ...]:
    """Go through the second layer."""
    looks: tuple[tuple[str, str, Callable[[], Seen]], ...] = (
        (
            "evidence",
            "The evidence is whole, and the one that the ledger knows",
            lambda: sessions.intact(subject.artefacts),
        ),
        (
            "secure-aggregation",
            "Secure aggregation is on: nothing left a client but what the protocol has it send",
            lambda: sessions.secure(subject.artefacts),
        ),
        (
            "uploads",
            "Uploads look like noise, even to who knows what is in them",
            lambda: sessions.uniform(subject.artefacts, subject.probes, subject.submitted),
        ),
        ("model", "The model is the one that the run ended with", lambda: sessions.model(subject.artefacts)),
        ("parameters", "Sessions were held for what the job's updates take, and no less", lambda: _parameters(subject)),
        ("probes", "Known inputs were submitted as often, and clipped, as the job has it", lambda: _probes(subject)),
        ("sums", "What comes out is the sum of what went in", lambda: _sums(subject)),
        ("noise-added", "Noise of the stated size was added", lambda: _noise(subject)),
        ("contributions", "Each client is in the sum once, clipped, and with the weight of all others",
         lambda: _contributions(subject)),
        ("sampler", "Cohorts were sampled as the amplification needs it", lambda: _sampler(subject)),
        ("trainer-noise", "The trainer adds noise of the stated size", lambda: trainer_noise(subject)),
        ("trainer-clip", "The trainer clips the gradient of every example", lambda: trainer_clip(subject)),
    )  # fmt: skip
    return tuple(check(key, Layer.CONFORMITY, title, look) for key, title, look in looks)


def _require_evaluation(job: Job, session: SessionRecord, params: SessionParams, where: str) -> None:
    """Stop at a session that is said to have summed evaluations, and could have summed something else."""
    if not job.evaluation.due(session.round, job.rounds):
        raise Wrong(
            f"A session is said to have summed evaluations of round {session.round}, which the job does not ask for.",
            where=where,
        )
    due = evaluation_vector(job)
    if params.vector != due:
        raise Wrong(f"A session was held for {params.vector}, and an evaluation takes {due}.", where=where)


def _require_each_model_once(evidence: Evidence, name: str) -> None:
    """Stop at an evaluation of a model that clients had evaluated before: two such sums tell of single clients."""
    moved, last = True, 0  # whether the model has, since clients evaluated one; and in which round, at the latest
    for session, line in zip(evidence.sessions, evidence.places, strict=True):
        if session.probe is not None:
            continue
        if not session.evaluation:
            moved, last = moved or session.released, session.round
        elif not moved or session.round != last:
            raise Wrong(
                f"Clients evaluated after round {session.round}, when no model stood that they had not evaluated "
                f"before: two sums over one model tell what single clients found.",
                where=f"{name}, line {line}",
            )
        else:
            moved = False


def _parameters(subject: Subject) -> Seen:
    """Sessions have room for an update of the model, and no more contributors were given up than the job allows."""
    evidence = subject.artefacts.evidence.value
    if evidence is None:
        raise Undecided("What left the clients was not shown.", missing=subject.artefacts.evidence.name)
    due, job, checked = subject.vector, subject.job, 0
    _require_each_model_once(evidence, subject.artefacts.evidence.name)
    for session, line in zip(evidence.sessions, evidence.places, strict=True):
        if session.params is None:
            continue
        where, params, checked = f"{subject.artefacts.evidence.name}, line {line}", session.params, checked + 1
        if session.evaluation:
            _require_evaluation(job, session, params, where)
        elif params.vector != due:
            raise Wrong(f"A session was held for {params.vector}, and an update takes {due}.", where=where)
        least = job.agreed_minimum(len(params.cohort))
        if params.minimum_contributors != least:
            raise Wrong(
                f"A session would be opened over {params.minimum_contributors} contributors, where the job asks for "
                f"{least}.",
                where=where,
            )
        if params.cohort[-1] >= job.data.clients:
            raise Wrong(f"Client {params.cohort[-1]} of {job.data.clients} was invited.", where=where)
    if not checked:
        raise NotClaimed("No session was held.")
    return Seen(detail=f"{checked} sessions had room for {due.length} coordinates up to {due.bound}, as updates take.")


def _follows(job: Job, found: object, clip: float | None) -> bool:
    """Whether a clip may have come of the job's."""
    if job.privacy.adaptive is not None:
        return True
    if job.encoding.adaptive and clip and isinstance(found, float) and 0 < found < math.inf:
        return math.frexp(found / clip)[0] == 0.5  # it moves by powers of two, which are exact
    return found == clip


def _probes(subject: Subject) -> Seen:
    """None was dropped."""
    job, guarantee, probes = subject.job, subject.guarantee_or_none, subject.probes
    planned = probes_planned(job, subject.layout, guarantee, clients_of_probes(job))
    shown = len(probes.recorded)
    if not planned and not shown:
        raise NotClaimed("None are planned.")
    clip = job.privacy.clip if subject.noisy else job.encoding.clip
    for one in probes.recorded:
        if not _follows(job, one.facts.get("clip"), clip):
            raise Wrong(f"Known inputs were made for a clip of {one.facts.get('clip')!r}, not {clip}.", where=one.where)
        if len(one.params.cohort) != clients_of_probes(job):
            raise Wrong(
                f"Known inputs of {len(one.params.cohort)} clients, not {clients_of_probes(job)}.", where=one.where
            )
    if shown < planned:
        raise Undecided(
            f"{shown} of {planned} sessions on known inputs are shown; {len(probes.aborted)} aborted.",
            missing="the others: what is not shown may have shown something",
        )
    return Seen(
        detail=f"{shown} sessions, with inputs that follow from the lines before them: none was chosen, dropped, or "
        f"brought from elsewhere.",
        rests_on=Word.COORDINATOR,
    )


def _sums(subject: Subject) -> Seen:
    """Without noise, the sum must be what it is said to be; up to the suite's own error."""
    if subject.noisy:
        raise NotClaimed("Sums carry noise, and are looked at by `noise-added` and `contributions`.")
    evidence = subject.artefacts.evidence.value
    if evidence is not None and evidence.facts.get("secure") is not True:
        raise NotClaimed("Suite plain sums in clear.")
    worst, coordinates, error = 0.0, 0, 0.0
    for one, total in subject.probes.exact(subject.weighted):
        if one.released.shape != total.shape:
            raise Wrong(f"{len(one.released)} coordinates came out of a session of {len(total)}.", where=one.where)
        error = suite(one.params.suite).error_std(one.params.setting, len(one.params.cohort))
        off = float(np.abs(one.released - total).max())
        worst, coordinates = max(worst, off), coordinates + len(total)
        if off > (math.ceil(_MOST_ERRORS * error) if error else 0):
            raise Wrong(
                f"A coordinate of the sum is off by {off:g}; the suite's own error has a standard deviation of "
                f"{error:.3g}.",
                where=one.where,
            )
    told = "exactly" if not error else f"up to {worst:g} steps, where the suite's error has a deviation of {error:.3g}"
    return Seen(
        detail=f"Of known inputs, {coordinates} coordinates of {len(subject.probes.recorded)} sums are what they "
        f"must be, {told}.",
        rests_on=Word.COORDINATOR,
        figures={"worst": worst, "error_std": error},
    )


def _noise(subject: Subject) -> Seen:
    """What is left beside the known sum is noise, and enough of it."""
    residuals, least, _, kurtosis = _residuals(subject)
    found = examine_residuals(residuals, least, excess_kurtosis=kurtosis)
    return judge_noise(
        f"{len(subject.canaries)} sessions on known inputs",
        found,
        found.deficit,
        more="more sessions on known inputs (a larger `audit.probes`)",
        excess_kurtosis=kurtosis,
    )


def _contributions(subject: Subject) -> Seen:
    """Each canary is in the sum as its coin says: once, clipped, unweighted."""
    residuals, _, most, kurtosis = _residuals(subject)
    found = examine_residuals(residuals, most, excess_kurtosis=kurtosis)
    p_values = [found.excess, found.shift, found.spike]
    worst = (1.0, "")
    for one in subject.canaries:
        inside = one.contributions[one.included]
        if len(inside):
            fit = project_residuals(_residual(one), _most(one), inside, excess_kurtosis=_kurtosis(one))
            p_values.append(fit.p_value)
            client = np.array(one.carriers)[one.included][fit.worst]
            share, error = fit.coefficients[fit.worst], fit.errors[fit.worst]
            said = f"; the canary of client {client} is in {share:.2f} ± {error:.2f} times ({one.recorded.where})"
            worst = min(worst, (fit.p_value, said))
    # Clients say that they have one example, or a million: those, these, and all.
    pooled = [_pooled(subject, clients) for clients in ((0, 1), (0,), (1,))]
    p_value = together([*p_values, *(one.p_value for one in pooled)])
    share, error = pooled[0].share, pooled[0].error
    found_out = (normal_quantile(0.99) - normal_quantile(FAIL_LEVEL / 2 / (len(p_values) + len(pooled)))) * error
    figures = {
        "p_value": p_value, "ratio": found.ratio, "canary_p_value": worst[0], "share": share, "error": error,
    }  # fmt: skip
    count = sum(int(one.included.sum()) for one in subject.canaries)
    told = (
        f"{count} canaries were in, {OVERLONG:g} times as long as the clip, each by a coin: {share:.2f} ± {error:.2f} "
        f"times each, on average, and the likeliest to stand out has p = {p_value:.2g}. A clip, or a weight, that lets "
        f"in {1 + found_out:.2g} times as much would have been found."
    )
    if p_value < FAIL_LEVEL:
        raise Wrong(
            f"What came out is not the sum of clipped updates: beside it stands {found.ratio:.3g} times the variance "
            f"that noise and rounding have; canaries are in {share:.2f} ± {error:.2f} times on average "
            f"(p = {p_value:.2g}){worst[1] if worst[0] < DOUBT_LEVEL else ''}.",
            figures=figures,
        )
    if p_value < DOUBT_LEVEL:
        raise Undecided(
            told,
            figures=figures,
            missing="more sessions on known inputs: once in a thousand it is chance",
        )
    return Seen(detail=told, rests_on=Word.COORDINATOR, figures=figures)


class _Pooled(NamedTuple):
    """How often canaries are in, on average."""

    p_value: float
    share: float
    error: float


def _pooled(subject: Subject, remainders: tuple[int, ...]) -> _Pooled:
    """All sessions together, and all canaries of clients with these numbers modulo 2: what noise hides of a single one
    adds up.
    """
    along, variance, squares = 0.0, 0.0, 0.0
    for one in subject.canaries:
        chosen = one.included & np.isin(np.array(one.carriers) % 2, remainders)
        direction = one.contributions[chosen].sum(axis=0)
        square = float(direction @ direction)
        along += float(direction @ _residual(one))
        variance, squares = variance + square * _most(one), squares + square
    if not squares:
        return _Pooled(1.0, math.nan, math.inf)
    return _Pooled(
        2 * normal_cdf(-abs(along) / math.sqrt(variance)), 1 + along / squares, math.sqrt(variance) / squares
    )


def _residual(one: PrivateProbe) -> npt.NDArray[np.float64]:
    residual: npt.NDArray[np.float64] = one.beside - one.contributions[one.included].sum(axis=0)
    return residual


def _most(one: PrivateProbe) -> float:
    return one.noise_variance + one.other_variance


def _kurtosis(one: PrivateProbe) -> float:
    return min(1.0, 1 / one.noise_variance) if one.plan.mechanism is Mechanism.SKELLAM else 0.0


def _residuals(
    subject: Subject,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Residuals of all sessions end to end; the least and the most variance that each may have; excess kurtosis."""
    parts, least, most = [], [], []
    for one in subject.canaries:
        part = _residual(one)
        parts.append(part)
        least.append(np.full(len(part), one.noise_variance))
        most.append(np.full(len(part), _most(one)))
    kurtosis = max(_kurtosis(one) for one in subject.canaries)
    return np.concatenate(parts), np.concatenate(least), np.concatenate(most), kurtosis


def _sampler(subject: Subject) -> Seen:
    """Amplification rests on every client being in by a coin of its own."""
    contents, evidence = subject.artefacts.ledger.value, subject.artefacts.evidence.value
    if (
        contents is None
        or contents.opening.mode not in CLIENT_MODES
        or contents.opening.facts.get("amplification") is not True
    ):
        raise NotClaimed("No amplification by secret cohorts is claimed.")
    if evidence is None:
        raise Undecided("Who took part was not shown.", missing=subject.artefacts.evidence.name)
    job = subject.job
    probability, clients = job.cohort.probability, job.data.clients
    if job.cohort.sampling is not Sampling.POISSON or probability is None:
        raise Wrong(
            "Amplification is claimed, and the job draws cohorts in another way.", where=subject.artefacts.job.name
        )
    held = evidence.rounds
    if not held:
        raise Undecided("No round was held.", missing="rounds")
    answered = np.zeros((len(held), clients), np.bool_)
    for row, session in enumerate(held):
        if (
            session.params is not None
        ):  # who was invited; of rounds for which no session was held only the number is known
            answered[row, [number for number in session.params.cohort if number < clients]] = True
    found = examine_cohorts(
        [session.cohort_size for session in held], clients=clients, probability=probability, answered=answered
    )
    figures = {"p_values": dict(found.p_values), "rounds": found.rounds, "mean_size": found.mean_size}
    told = (
        f"{found.rounds} cohorts of {found.mean_size:.4g} clients on average, where {clients * probability:.4g} are "
        f"expected; the least likely thing about them has p = {found.p_value:.2g}."
    )
    if found.p_value < FAIL_LEVEL:
        raise Wrong(f"{told} They were not sampled as it is claimed.", figures=figures, rests_on=Word.COORDINATOR)
    if found.p_value < DOUBT_LEVEL:
        raise Undecided(told, figures=figures, missing="more rounds: once in a thousand it is chance")
    if not found.detectable:
        raise Undecided(
            told, figures=figures, missing=f"more than {found.rounds} rounds: any cohort looks like a sample"
        )
    return Seen(
        detail=f"{told} Nobody but the coordinator knows whether somebody was told.",
        rests_on=Word.COORDINATOR,
        figures=figures,
    )
