"""The third layer: what somebody who attacks it finds out about canaries, as lower bounds of ε.

What is attacked is one round, of which the ledger says what it costs; all rounds together cost more. Under privacy of
clients, canaries are the known contributions of recorded sessions; under privacy of examples, examples that the run's
trainer was given. The same attack on the same inputs without noise is the control: it must contradict the claim, or a
bound below the claim says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, check
from privfl.audit.empirical import (
    Guessed,
    Method,
    contradicts_curve,
    detectable_epsilon,
    f_dp_epsilon,
    gdp_trials_epsilon,
    guess,
    one_run_epsilon,
    one_shot_estimate,
    trials_epsilon,
)
from privfl.audit.findings import Finding, Layer, Measured, Word
from privfl.audit.levels import DOUBT_LEVEL, FAIL_LEVEL
from privfl.audit.probes import PrivateProbe
from privfl.audit.subject import Subject
from privfl.dp.accountants import epsilon_curve
from privfl.learning.guarantee import one_round, unamplified

CONFIDENCE = 0.95
FEWEST_CANARIES = 16
ONE_SHOT_CANARIES = 1000
_DELTAS = tuple(10.0**-power for power in range(1, 10))

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attack:
    """Scores of canaries, with noise and without, and how many right guesses they gave.

    Attributes:
        what: was attacked, in a sentence.
        scores: of canaries; the higher, the more one seems to be in.
        included: which are in.
        guessed: with noise.
        control: without.
        trials: false positives, canaries out, false negatives, canaries in; by whoever knows all other canaries.
    """

    what: str
    scores: Floats
    included: npt.NDArray[np.bool_]
    guessed: Guessed
    control: Guessed
    trials: tuple[int, int, int, int] | None = None
    dimension: int = 0


def attack(subject: Subject) -> tuple[tuple[Finding, ...], tuple[Measured, ...]]:
    """Go through the third layer; return findings, and what was measured."""
    attacks: list[tuple[_Attack, _Claim]] = []
    measured: list[Measured] = []
    findings = (
        _check("canaries", "No attack finds out more about a client or an example than is claimed",
               lambda: _canaries(subject, attacks, measured)),
        _check("control", "The same attack without noise contradicts the claim", lambda: _control(subject, attacks)),
    )  # fmt: skip
    return findings, tuple(measured)


def _canaries(subject: Subject, attacks: list[tuple[_Attack, _Claim]], measured: list[Measured]) -> Seen:
    guarantee = subject.guarantee
    found = _on_clients(subject) if guarantee.integers is not None else _on_examples(subject)
    if found.guessed.canaries < FEWEST_CANARIES:
        raise Undecided(
            f"{found.guessed.canaries} canaries say nothing.", missing=f"{FEWEST_CANARIES} canaries or more"
        )
    claim = _Claim.of(subject)
    attacks.append((found, claim))
    measured += _measured(found, claim)
    figures = {"claimed": claim.epsilon, "bounds": {one.key: one.epsilon for one in measured if one.is_bound}}
    told = (
        f"{found.guessed.correct} of {found.guessed.guesses} guesses at {found.guessed.canaries} canaries were right; "
        f"one round is claimed to cost at most ε = {claim.epsilon:.4g}, and at confidence {CONFIDENCE:.0%} it costs "
        f"more than {measured[0].epsilon:.3g}. {_power(measured[0])}"
    )
    for level, outcome in ((FAIL_LEVEL, Wrong), (DOUBT_LEVEL, Undecided)):
        if claim.contradicted_by(found.guessed, found.trials, level):
            raise outcome(
                f"{told} The claim does not hold: what was guessed right would be less likely than {level:g}.",
                figures=figures,
                missing=""
                if outcome is Wrong
                else f"more canaries (`{_source(subject)}`): once in a thousand this is chance",
            )
    return Seen(detail=told, rests_on=Word.COORDINATOR, figures=figures)


def _control(subject: Subject, attacks: list[tuple[_Attack, _Claim]]) -> Seen:
    if not attacks:
        raise NotClaimed("Nothing was attacked.")
    found, claim = attacks[0]
    told = f"Without noise, {found.control.correct} of {found.control.guesses} guesses were right"
    figures = {"correct": found.control.correct, "guesses": found.control.guesses, "claimed": claim.epsilon}
    clear = (0, found.trials[1], 0, found.trials[3]) if found.trials else None
    if not claim.contradicted_by(found.control, clear, DOUBT_LEVEL):
        raise Undecided(
            f"{told}, which does not contradict ε = {claim.epsilon:.4g}: the attack could not have, whatever was done.",
            figures=figures,
            missing=f"more canaries (`{_source(subject)}`), or a smaller claim",
        )
    return Seen(detail=f"{told}, which contradicts ε = {claim.epsilon:.4g}, as it must.", figures=figures)


def _source(subject: Subject) -> str:
    """Return the key of a job that says how many canaries there are: one in each probe, or some of the examples."""
    return "audit.probes" if subject.guarantee.integers is not None else "audit.canaries"


def _power(one: Measured) -> str:
    if one.detectable is None:
        return "No true ε would have been found out: the claim is too large for so few canaries."
    return f"A true ε of {one.detectable:.3g} would have been found out 9 times of 10; less may pass."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What one round is claimed to cost.

    Attributes:
        epsilon: at `delta`.
        delta: δ of the run.
        curve: (δ, ε) pairs, by an accountant.
    """

    epsilon: float
    delta: float
    curve: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, subject: Subject) -> _Claim:
        guarantee, delta = subject.guarantee, subject.job.privacy.failure
        curve = epsilon_curve([unamplified(guarantee)], _DELTAS, guarantee.relation)
        return cls(
            epsilon=one_round(subject.job, guarantee),
            delta=delta,
            curve=tuple(pair for pair in zip(_DELTAS, curve, strict=True) if math.isfinite(pair[1])),
        )

    def contradicted_by(self, guessed: Guessed, trials: tuple[int, int, int, int] | None, level: float) -> bool:
        """Whether any method does, with that chance of being wrong, of all together."""
        each = level / 3
        counts = {"canaries": guessed.canaries, "guesses": guessed.guesses, "correct": guessed.correct}
        return (
            one_run_epsilon(**counts, level=each, delta=self.delta) > self.epsilon
            or contradicts_curve(**counts, level=each, curve=self.curve)
            or (trials is not None and _of_trials(trials_epsilon, trials, each, self.delta) > self.epsilon)
        )


def _on_clients(subject: Subject) -> _Attack:
    """Canaries are clients of recorded sessions."""
    scores, clear, included, apart = [], [], [], []
    for one in subject.canaries:
        rows, inside = one.contributions, one.included
        squares = np.einsum("ij,ij->i", rows, rows)
        exact = rows[inside].sum(axis=0)
        came_out = one.beside
        # How often each is in, by least squares: their directions may have something in common.
        fitted = np.linalg.lstsq(rows.T, np.stack([came_out, exact], axis=1), rcond=None)[0]
        scores.append(fitted[:, 0])
        clear.append(fitted[:, 1])
        # Who knows all other canaries takes them away: the worst case that the definition has.
        apart.append(rows @ (came_out - exact) / squares + inside)
        included.append(inside)
    joined, coins, alone = np.concatenate(scores), np.concatenate(included), np.concatenate(apart)
    guesses = 2 * (len(joined) // 4)
    if guesses < 2:
        raise Undecided(f"{len(joined)} canaries say nothing.", missing=f"{FEWEST_CANARIES} canaries or more")
    positives, negatives = int(coins.sum()), int((~coins).sum())
    wrong = int((~coins & (alone > 0.5)).sum()), negatives, int((coins & (alone <= 0.5)).sum()), positives
    return _Attack(
        what=f"clients' contributions in {len(subject.canaries)} recorded sessions: in the released sum, or zeros",
        scores=joined,
        included=coins,
        guessed=guess(joined, coins, guesses=guesses),
        control=guess(np.concatenate(clear), coins, guesses=guesses),
        trials=wrong if min(positives, negatives) else None,
        dimension=_dimension(subject.canaries),
    )


def _dimension(probes: tuple[PrivateProbe, ...]) -> int:
    return min(len(one.recorded.released) for one in probes)


def _on_examples(subject: Subject) -> _Attack:
    """Canaries are examples that the run's trainer was given."""
    probe = subject.training
    guesses, correct = probe.guessed(probe.scores)
    _, certain = probe.guessed(probe.control)
    canaries = len(probe.scores)
    return _Attack(
        what="examples that the run's trainer was given, by what became of the weights",
        scores=probe.scores,
        included=probe.included,
        guessed=Guessed(canaries=canaries, guesses=guesses, correct=correct),
        control=Guessed(canaries=canaries, guesses=guesses, correct=certain),
    )


def _of_trials(bound: Callable[..., float], trials: tuple[int, int, int, int], level: float, delta: float) -> float:
    false_positives, negatives, false_negatives, positives = trials
    return bound(
        false_positives=false_positives,
        negatives=negatives,
        false_negatives=false_negatives,
        positives=positives,
        level=level,
        delta=delta,
    )


def _measured(found: _Attack, claim: _Claim) -> list[Measured]:
    claimed, delta = claim.epsilon, claim.delta
    level, guessed, control = 1 - CONFIDENCE, found.guessed, found.control
    inside, outside = found.scores[found.included].tolist(), found.scores[~found.included].tolist()
    made: list[Measured] = []
    for method, name, bound in (
        (Method.ONE_RUN, "one run (Steinke, Nasr, Jagielski 2023)", one_run_epsilon),
        (Method.F_DP, "one run, f-DP, if noise is Gaussian (Mahloujifar, Melis, Chaudhuri 2024)", f_dp_epsilon),
    ):
        made.append(
            Measured(
                key=method.value,
                name=name,
                what=found.what,
                epsilon=bound(
                    canaries=guessed.canaries,
                    guesses=guessed.guesses,
                    correct=guessed.correct,
                    level=level,
                    delta=delta,
                ),
                confidence=CONFIDENCE,
                claimed=claimed,
                control=bound(
                    canaries=control.canaries,
                    guesses=control.guesses,
                    correct=control.correct,
                    level=level,
                    delta=delta,
                ),
                detectable=detectable_epsilon(
                    canaries=guessed.canaries,
                    guesses=guessed.guesses,
                    claimed=claimed,
                    level=level,
                    delta=delta,
                    method=method,
                    gaussian=True,
                ),
                canaries=guessed.canaries,
                guesses=guessed.guesses,
                correct=guessed.correct,
                inside=tuple(inside) if not made else (),
                outside=tuple(outside) if not made else (),
            )
        )
    if found.trials is not None:
        _, negatives, _, positives = found.trials
        tried = negatives + positives
        made.append(
            Measured(
                key="trials",
                name="independent trials, if noise is Gaussian (Nasr et al. 2023)",
                what=f"{found.what}; by whoever knows all the others",
                epsilon=_of_trials(gdp_trials_epsilon, found.trials, level, delta),
                confidence=CONFIDENCE,
                claimed=claimed,
                control=_of_trials(gdp_trials_epsilon, (0, negatives, 0, positives), level, delta),
                canaries=tried,
                guesses=tried,
                correct=tried - found.trials[0] - found.trials[2],
            )
        )
    if ONE_SHOT_CANARIES <= len(inside) <= found.dimension:
        made.append(_one_shot(found, claimed, delta))
    return made


def _one_shot(found: _Attack, claimed: float, delta: float) -> Measured:
    # Cosines need the length of what came out; scores relative to noise have the same shift in units of their spread.
    inside, outside = found.scores[found.included], found.scores[~found.included]
    spread = float(np.std(outside))
    cosines = (inside - outside.mean()) / (spread * math.sqrt(found.dimension))
    told = one_shot_estimate(cosines, dimension=found.dimension, delta=delta)
    return Measured(
        key="one-shot",
        name="one-shot estimate (Andrew et al. 2023)",
        what=found.what,
        epsilon=told.epsilon,
        is_bound=False,
        confidence=None,
        claimed=claimed,
        canaries=told.canaries,
        guesses=0,
        correct=0,
    )


def _check(key: str, title: str, look: Callable[[], Seen]) -> Finding:
    return check(key, Layer.EMPIRICAL, title, look)
