"""What somebody who attacks a mechanism finds out about its ε: bounds from one run, bounds from many, and an estimate.

Canaries are put in or left out by fair coins; whoever then tells the two apart better than ε allows has shown that the
mechanism leaks more than ε. A bound exceeds the truth with a chance of at most `level`; how large it can get at all
depends on how much was tried, which is why each test also says what it could have found out.

One run gives a test for every ε at once. Each rejects from some number of right guesses on, so that of all rejections
that would be wrong one contains the others: the largest ε that is rejected is as certain as a single test.

References:
    T. Steinke, M. Nasr, M. Jagielski, *Privacy Auditing with One (1) Training Run*, NeurIPS 2023 (one run).
    S. Mahloujifar, L. Melis, K. Chaudhuri, *Auditing f-Differential Privacy in One Run*, ICML 2025 (f-DP).
    M. Nasr et al., *Tight Auditing of Differentially Private Machine Learning*, USENIX Security 2023 (trials).
    G. Andrew et al., *One-shot Empirical Privacy Estimation for Federated Learning*, ICLR 2024 (one shot).
    J. Dong, A. Roth, W. J. Su, *Gaussian Differential Privacy*, JRSS-B 84, 2022, Corollary 2.13 (μ to ε).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.audit.tails import (
    binomial_law,
    binomial_upper,
    bisected,
    clopper_pearson_upper,
    normal_cdf,
    normal_log_cdf,
    normal_quantile,
    whole,
)
from privfl.errors import ConfigurationError

LEVEL: Final = 0.05
DELTA: Final = 1e-5
LEAST_ONE_SHOT: Final = 1000
"""Canaries below which a one-shot estimate says too little: its μ has a standard error of 1/√k."""
_MOST: Final = 1e6  # of ε and of μ
_MOST_EXPONENT: Final = 700.0  # below which e^ε is a float


class Method(StrEnum):
    """How the guesses of one run become a bound."""

    ONE_RUN = "one-run"
    """`one_run_epsilon`: of any mechanism that is (ε, δ)-differentially private."""
    F_DP = "f-dp"
    """`f_dp_epsilon`: of mechanisms that have Gaussian differential privacy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """How the guesses of one run came out.

    Attributes:
        canaries: m, each put in or left out by a fair coin of its own, in which who guesses had no part.
        guesses: r, fixed before scores were seen; of the other canaries nothing is said.
        correct: v, how many guesses were right.

    Raises:
        ConfigurationError: not 0 ≤ correct ≤ guesses ≤ canaries and 1 ≤ guesses.
    """

    canaries: int
    guesses: int
    correct: int

    def __post_init__(self) -> None:
        if not 1 <= whole("guesses", self.guesses) <= whole("canaries", self.canaries, 1):
            raise ConfigurationError(f"guesses is {self.guesses}: 1 to {self.canaries}, all canaries, works")
        if not 0 <= whole("correct", self.correct) <= self.guesses:
            raise ConfigurationError(f"correct is {self.correct}: 0 to {self.guesses}, all guesses, works")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """An estimate, which bounds nothing.

    Attributes:
        canaries: how many cosines.
        mu: of the Gaussian mechanism whose cosines are shifted as much; 0 where they are shifted downwards.
        standard_error: of `mu`.
        spread: standard deviation of the cosines, in units of 1/√dimension: far from 1, what is assumed does not hold.
        epsilon: of `mu`.
    """

    canaries: int
    mu: float
    standard_error: float
    spread: float
    epsilon: float


def one_run_epsilon(*, canaries: int, guesses: int, correct: int, level: float = LEVEL, delta: float = DELTA) -> float:
    """Return a lower bound of ε from one run: the largest ε at which so many right guesses are too good to be luck.

    Under (ε, δ)-differential privacy, with q = 1/(1 + e^−ε) and W ~ Bin(r, q), the chance of v right guesses or more is
    at most P[W ≥ v] + 2mδ·max_i P[v > W ≥ v − i]/i; what makes that `level` or less is rejected.

    Args:
        canaries: m; see `Guessed`.
        guesses: r; likewise.
        correct: v; likewise.
        level: chance, at most, that the bound exceeds the truth; up to ½.
        delta: δ that is claimed; 0 works.

    Returns:
        ε; 0 where nothing is shown.

    Raises:
        ConfigurationError: numbers that do not fit together, or a level or δ out of range.

    Guarantees:
        1. Whatever the mechanism, and however guesses were made from what it released: if it is (ε, δ)-differentially
           private, the bound exceeds ε with a chance of at most `level`.

    References:
        Steinke et al. 2023, the main theorem. As an inequality it fails for few right guesses: some (ε, δ)-private
        mechanism lets both guesses be wrong, of two canaries, with a chance of only (1 − q)²·(1 − (2 + e^ε)·δ), where
        the theorem has 4 for 2 + e^ε. It is used only where it says ½ or less; hence the limit on `level`. There,
        for up to 10^5 guesses, tests find that it allows δ at least twice what the best of all mechanisms gains by it.

    >>> round(one_run_epsilon(canaries=1000, guesses=100, correct=95), 3)
    2.165
    """
    guessed = Guessed(canaries=canaries, guesses=guesses, correct=correct)
    return _largest(_rejection(Method.ONE_RUN, guessed, level, delta))


def f_dp_epsilon(*, canaries: int, guesses: int, correct: int, level: float = LEVEL, delta: float = DELTA) -> float:
    """Return a lower bound of ε from one run of a mechanism that is μ-Gaussian differentially private for some μ.

    Args and errors are those of `one_run_epsilon`; `delta`, above 0, is where on the curve of μ its ε is read.

    Guarantees:
        1. The bound exceeds ε of a μ-Gaussian differentially private mechanism with a chance of at most `level`.

    Assumes:
        That the mechanism has such a μ, as the Gaussian mechanism has, and nearly has when repeated often. Of others
        this is no bound: randomised response of ε = 1 makes it say 1.6. Against a claim that is a whole curve, use
        `contradicts_curve`, which assumes nothing.

    >>> round(f_dp_epsilon(canaries=1000, guesses=100, correct=95), 3)
    3.323
    """
    guessed = Guessed(canaries=canaries, guesses=guesses, correct=correct)
    return gdp_epsilon(_largest(_rejection(Method.F_DP, guessed, level, delta)), delta)


def contradicts_curve(
    *, canaries: int, guesses: int, correct: int, curve: Iterable[tuple[float, float]], level: float = LEVEL
) -> bool:
    """Return whether so many right guesses contradict a claim that is a whole curve.

    Args:
        canaries: see `Guessed`.
        guesses: likewise.
        correct: likewise.
        curve: (δ, ε) that are claimed together, such as `Audit.curve`. Pairs with ε above 700 say nothing.
        level: chance, at most, that what holds is contradicted; up to ½.

    Raises:
        ConfigurationError: numbers that do not fit together, or a level, δ or ε out of range.
    """
    _check_level(level)
    pairs = [(delta, epsilon) for delta, epsilon in curve if not epsilon > _MOST_EXPONENT]
    for delta, epsilon in pairs:
        _check_delta(delta, 0)
        _check_size("epsilon", epsilon)
    deltas = np.array([delta for delta, _ in pairs])
    ratios = np.exp([epsilon for _, epsilon in pairs])

    def least(x: float) -> float:  # what (ε, δ) asks for is two lines, one the mirror image of the other
        lines = np.append((x - deltas) / ratios, 1 - deltas - ratios * (1 - x))
        return float(lines.max(initial=0.0))

    return _contradicted(Guessed(canaries=canaries, guesses=guesses, correct=correct), level, least)


def trials_epsilon(
    *,
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    level: float = LEVEL,
    delta: float = DELTA,
) -> float:
    """Return a lower bound of ε from independent runs: ln((1 − FNR − δ)/FPR), or the same with the rates swapped.

    Both rates are replaced by upper confidence limits at `level`/2. The two hold together but for a chance of `level`,
    and with them all that follows from them: the larger of both quotients is as certain as either.

    Args:
        false_positives: runs without the canary that were taken for runs with it.
        negatives: runs without it; 1 or more.
        false_negatives: runs with the canary that were taken for runs without it.
        positives: runs with it; 1 or more.
        level: chance, at most, that the bound exceeds the truth; up to ½.
        delta: δ that is claimed; 0 works.

    Returns:
        ε; 0 where nothing is shown.

    Raises:
        ConfigurationError: more errors than runs, no runs of a kind, or a level or δ out of range.
    """
    _check_delta(delta, 0)
    fpr, fnr = _limits(false_positives, negatives, false_negatives, positives, level=level)
    sides = ((1 - fnr - delta, fpr), (1 - fpr - delta, fnr))
    return max(0.0, *(math.log(right / wrong) if right > 0 else 0.0 for right, wrong in sides))


def gdp_trials_epsilon(
    *,
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    level: float = LEVEL,
    delta: float = DELTA,
) -> float:
    """Return the same for a mechanism that is μ-Gaussian differentially private: μ = Φ^−1(1 − FPR) − Φ^−1(FNR).

    Args and errors are those of `trials_epsilon`, with δ above 0; what is assumed is as for `f_dp_epsilon`.
    """
    fpr, fnr = _limits(false_positives, negatives, false_negatives, positives, level=level)
    # A μ below 0 shows nothing. That both guesses are wrong too often would have to be shown by lower limits.
    return gdp_epsilon(max(0.0, -normal_quantile(fpr) - normal_quantile(fnr)), delta)


def one_shot_estimate(scores: npt.ArrayLike, *, dimension: int, delta: float = DELTA) -> OneShot:
    """Estimate ε from one release: from how well the directions of canaries are found in it.

    A canary c is a direction drawn uniformly in d dimensions, sent by a client of its own at the length of the clip. In
    units of the clip, the release is ρ = x + Σc + σ·noise. The cosine of ρ and c is nearly N(0, 1/d) if c was not sent,
    and N(1/‖ρ‖, 1/d) if it was, where ‖ρ‖ is nearly σ·√d: in units of 1/√d, a shift of 1/σ = μ. Only the shift is
    fitted; with a variance fitted too, ε would come out of tails in which there are no canaries.

    Args:
        scores: float, shape (k,): cosines of the release and each canary that was sent; k ≥ 1000.
        dimension: d of the release; k or more.
        delta: where on the curve of μ its ε is read; above 0.

    Returns:
        The estimate.

    Raises:
        ConfigurationError: too few canaries or more than dimensions, a score that is no cosine, or δ out of range.

    Assumes:
        Gaussian noise, and that it makes up nearly all of ‖ρ‖², so that d is far above k. What else is in ρ hides the
        canaries: μ comes out too small by √(1 + (k + ‖x‖²)/(d·σ²)).
    """
    cosines = np.asarray(scores, np.float64)
    if cosines.ndim != 1 or not LEAST_ONE_SHOT <= len(cosines) <= whole("dimension", dimension):
        raise ConfigurationError(
            f"scores have the shape {cosines.shape} in {dimension} dimensions: a vector of {LEAST_ONE_SHOT} to "
            "as many as dimensions works"
        )
    if not np.all(np.abs(cosines) <= 1):
        raise ConfigurationError("scores has a value that is no cosine: numbers from -1 to 1 work")
    mu = max(0.0, math.sqrt(dimension) * float(np.mean(cosines)))
    spread = math.sqrt(dimension) * float(np.std(cosines, ddof=1))
    return OneShot(
        canaries=len(cosines),
        mu=mu,
        standard_error=spread / math.sqrt(len(cosines)),
        spread=spread,
        epsilon=gdp_epsilon(mu, delta),
    )


def guess(scores: npt.ArrayLike, included: npt.ArrayLike, *, guesses: int) -> Guessed:
    """Guess that the highest scores belong to canaries that are in, and the lowest to those that are not.

    Args:
        scores: float, shape (m,): the higher, the more a canary seems to be in. Infinite ones work.
        included: bool, shape (m,): what the coins said.
        guesses: r, even, fixed before scores were seen: half of them at either end.

    Returns:
        How many were right. Of canaries with one score, those are guessed at of which the guess is wrong: the order in
        which they are listed makes no difference, and drawing lots never gives fewer right guesses.

    Raises:
        ConfigurationError: shapes that differ, a score that is not a number, or guesses that are odd or too many.
    """
    score, inside = np.asarray(scores, np.float64), np.asarray(included)
    if score.ndim != 1 or inside.shape != score.shape or inside.dtype != np.bool_ or np.isnan(score).any():
        raise ConfigurationError("scores and included do not fit: as many numbers as booleans work, in two vectors")
    half = whole("guesses", guesses) // 2
    if not 0 < half <= len(score) // 2 or guesses % 2:
        raise ConfigurationError(f"guesses is {guesses}: an even number from 2 to {len(score)}, all canaries, works")
    rising = inside[np.lexsort((~inside, score))]  # of one score: first those that are in, last those that are not
    correct = np.count_nonzero(~rising[:half]) + np.count_nonzero(rising[len(rising) - half :])
    return Guessed(canaries=len(score), guesses=2 * half, correct=int(correct))


def best_of(
    scores: npt.ArrayLike,
    included: npt.ArrayLike,
    *,
    guesses: Sequence[int],
    level: float = LEVEL,
    delta: float = DELTA,
    method: Method = Method.ONE_RUN,
) -> tuple[float, Guessed]:
    """Try several numbers of guesses, each at `level`/len(guesses), so that the best of the bounds holds at `level`.

    Args:
        scores: as for `guess`.
        included: likewise.
        guesses: the numbers, fixed before scores were seen.
        level: of all together.
        delta: δ that is claimed.
        method: which bound.

    Returns:
        The largest bound, and the guesses that gave it.

    Raises:
        ConfigurationError: as for `guess` and the bound, or nothing to try.
    """
    if not guesses:
        raise ConfigurationError("guesses is empty: at least one number works, such as (100,)")
    tried = [guess(scores, included, guesses=number) for number in guesses]
    bounds = [_bound(method, one, level / len(tried), delta) for one in tried]
    return max(zip(bounds, tried, strict=True), key=operator.itemgetter(0))


def largest_epsilon(
    *, canaries: int, guesses: int, level: float = LEVEL, delta: float = DELTA, method: Method = Method.ONE_RUN
) -> float:
    """Return the bound when every guess is right: more than this, the test cannot say."""
    return _bound(method, Guessed(canaries=canaries, guesses=guesses, correct=guesses), level, delta)


def detectable_epsilon(
    *,
    canaries: int,
    guesses: int,
    claimed: float,
    level: float = LEVEL,
    delta: float = DELTA,
    power: float = 0.9,
    method: Method = Method.ONE_RUN,
    gaussian: bool = False,
) -> float | None:
    """Return the smallest true ε for which the bound would have been above the claim, at a chance of `power`.

    Args:
        canaries: see `Guessed`.
        guesses: likewise.
        claimed: ε that is claimed at δ.
        level: as for the bound.
        delta: likewise.
        power: chance of contradicting the claim; above `level`.
        method: which bound.
        gaussian: what leaks. False: a coin for each canary that says the truth with chance 1/(1 + e^−ε), which is all
            that any mechanism may leak; one that leaks less easily must be further off to be found out. True: for each
            canary a score with normal noise, guessed at as by `guess`; the guesses are taken for independent. The bound
            of `Method.F_DP` knows nothing else.

    Returns:
        ε; None where none would be found out, because even guesses that are all right do not contradict the claim.

    Raises:
        ConfigurationError: as for the bound; a claim below 0, or a power that is not between `level` and 1.
    """
    if not level < power < 1:
        raise ConfigurationError(f"power is {power}: a chance between level and 1 works, such as 0.9")
    if claimed == math.inf:
        return None
    _check_size("claimed", claimed)
    parameter = gdp_mu(claimed, delta) if method is Method.F_DP else claimed

    def contradicts(correct: int) -> bool:
        guessed = Guessed(canaries=canaries, guesses=guesses, correct=correct)
        return _rejection(method, guessed, level, delta)(parameter)

    if not contradicts(guesses):
        return None
    too_few, enough = 0, guesses
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if contradicts(middle) else (middle, enough)
    accuracy = bisected(lambda p: binomial_upper(enough, guesses, p) >= power, 0, 1)[1]
    if gaussian or method is Method.F_DP:
        return gdp_epsilon(_largest(lambda mu: _accuracy(mu, guesses / canaries) < accuracy), delta)
    return math.log(accuracy / (1 - accuracy))


def gdp_epsilon(mu: float, delta: float) -> float:
    """Return ε at δ of μ-Gaussian differential privacy: δ = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ), solved exactly.

    Raises:
        ConfigurationError: μ below 0 or above 10^6, or δ not between 0 and 1.
    """
    _check_size("mu", mu)
    _check_delta(delta)
    if _log_delta(mu, 0) <= math.log(delta):
        return 0.0
    # The privacy loss is N(μ²/2, μ²), which exceeds `high` with a chance of at most δ.
    high = mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta))
    return bisected(lambda epsilon: _log_delta(mu, epsilon) <= math.log(delta), 0, high)[0]


def gdp_mu(epsilon: float, delta: float) -> float:
    """Return the largest μ of which ε at δ is at most `epsilon`.

    Raises:
        ConfigurationError: ε below 0 or above 10^6, or δ not between 0 and 1.
    """
    _check_size("epsilon", epsilon)
    _check_delta(delta)
    return _largest(lambda mu: _log_delta(mu, epsilon) <= math.log(delta))


def _bound(method: Method, guessed: Guessed, level: float, delta: float) -> float:
    bound = one_run_epsilon if method is Method.ONE_RUN else f_dp_epsilon
    return bound(canaries=guessed.canaries, guesses=guessed.guesses, correct=guessed.correct, level=level, delta=delta)


def _rejection(method: Method, guessed: Guessed, level: float, delta: float) -> Callable[[float], bool]:
    """Whether ε is rejected, or μ by the method that is about it."""
    _check_level(level)
    _check_delta(delta, 0 if method is Method.ONE_RUN else None)
    if method is Method.ONE_RUN:
        return lambda epsilon: _chance(guessed, epsilon, delta) <= level
    return lambda mu: _contradicted(guessed, level, lambda x: normal_cdf(normal_quantile(x) - mu))


def _chance(guessed: Guessed, epsilon: float, delta: float) -> float:
    """What the theorem says the chance of so many right guesses is at most."""
    v = guessed.correct
    if v == 0:
        return 1.0
    law = binomial_law(guessed.guesses, 1 / (1 + math.exp(-epsilon)))
    means = np.cumsum(law[v - 1 :: -1]) / np.arange(1, v + 1)  # P[v > W ≥ v − i]/i
    return float(law[v:].sum() + 2 * guessed.canaries * delta * means.max())


def _contradicted(guessed: Guessed, level: float, least: Callable[[float], float]) -> bool:
    """Whether so many right guesses or more cannot have the chance `level`.

    What has the chance x has, with one canary flipped, the chance `least(x)` or more. Let J be a canary drawn at
    random, `right` the chance that at least i guesses are right, J's among them, and `wrong` that at least i are right,
    but J's is not. Flipping J turns the first, for i + 1, into the second, for i, which is thus `least(right)` or more.
    By what `wrong` has to grow from i + 1 to i is owed to exactly i right guesses, and so is what `right` grows by
    meanwhile. No mechanism can do it if in the end the two exceed the chance that J is guessed at.
    """
    right = level * guessed.correct / guessed.canaries
    wrong = level * (guessed.guesses - guessed.correct) / guessed.canaries
    for i in range(guessed.correct - 1, -1, -1):
        owed = least(right)
        if owed <= wrong:  # then neither will move any more
            return False
        right += i / (guessed.guesses - i) * (owed - wrong)
        wrong = owed
        if right + wrong > guessed.guesses / guessed.canaries:
            return True
    return False


def _accuracy(mu: float, fraction: float) -> float:
    """Chance that a canary of the highest `fraction`/2 was in: it scores N(μ/2, 1) if it was, N(−μ/2, 1) if not."""

    def above(score: float) -> float:
        return (normal_cdf(mu / 2 - score) + normal_cdf(-mu / 2 - score)) / 2

    score = 0.0 if fraction == 1 else bisected(lambda score: above(score) <= fraction / 2, 0, mu / 2 + 40)[0]
    return normal_cdf(mu / 2 - score) / 2 / above(score)


def _largest(rejected: Callable[[float], bool]) -> float:
    """The largest number that is rejected, or 0: one that was itself rejected, so that it is sound in any case."""
    if not rejected(0.0):
        return 0.0
    high = 1.0
    while rejected(high):
        high *= 2
    return bisected(lambda x: not rejected(x), 0, high)[0]


def _log_delta(mu: float, epsilon: float) -> float:
    """Ln δ of μ at ε."""
    if mu == 0:
        return -math.inf
    above = normal_log_cdf(mu / 2 - epsilon / mu)
    below = epsilon + normal_log_cdf(-mu / 2 - epsilon / mu)
    return above + math.log1p(-math.exp(below - above)) if below < above else -math.inf


def _limits(
    false_positives: int, negatives: int, false_negatives: int, positives: int, *, level: float
) -> tuple[float, float]:
    """Upper confidence limits of both rates, which hold together but for a chance of `level`."""
    _check_level(level)
    fpr = clopper_pearson_upper(false_positives, negatives, level / 2)
    return fpr, clopper_pearson_upper(false_negatives, positives, level / 2)


def _check_level(level: float) -> None:
    if not 0 < level <= 0.5:
        raise ConfigurationError(f"level is {level}: a chance above 0 and up to 0.5 works, such as {LEVEL}")


def _check_delta(delta: float, least: float | None = None) -> None:
    if not (0 < delta < 1 or delta == least):
        raise ConfigurationError(f"delta is {delta}: a number between 0 and 1 works, such as {DELTA}")


def _check_size(name: str, value: float) -> None:
    if not 0 <= value <= _MOST:
        raise ConfigurationError(f"{name} is {value}: 0 to {_MOST:g} works")
