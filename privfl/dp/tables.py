"""Distributions of integer noise, as thresholds that `privfl.primitives.sampling` draws from.

Whole numbers of some four hundred bits do all the arithmetic that probabilities pass through; floating point is used
only to find how far the tails reach, by bounds that leave room.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Final, NamedTuple

from privfl.primitives.sampling import Distribution, weighed

TAIL_BITS: Final = 136
"""Values that a table leaves out weigh less than 2^−136 together."""
WIDEST: Final = 2300**2
"""Largest variance of one table: its values, some 14 deviations to either side, fit into 16 bits."""
MOST_SUMMANDS: Final = 256
_NARROW: Final = 32
_PAIR_FROM: Final = 32**2
WIDEST_SKELLAM: Final = MOST_SUMMANDS * WIDEST
WIDEST_GAUSSIAN: Final = _NARROW * 400**4
_BEYOND_BITS: Final = 200
_GUARD_BITS: Final = 288


class Part(NamedTuple):
    """Independent draws, so many `times`, each multiplied by `factor`."""

    distribution: Distribution
    factor: int
    times: int

    @property
    def log2_distance(self) -> float:
        """log₂ of a bound on the statistical distance of the whole part to the exact one."""
        return math.log2(self.times * (len(self.distribution.thresholds) * 2.0**-145 + 2.0**-TAIL_BITS))


@cache
def skellam_parts(variance: Fraction) -> tuple[Part, ...]:
    """Return what adds up to Skellam noise: several equal parts where one table is too narrow; sums of them are exact.

    Args:
        variance: μ, up to `WIDEST_SKELLAM`.
    """
    count = math.ceil(variance / WIDEST)
    return (Part(skellam(variance / count), 1, count),)


@cache
def gaussian_parts(variance: Fraction) -> tuple[Part, ...]:
    """Return what adds up to a discrete Gaussian: one table, or k·A + B with A, B discrete Gaussians, σ² = k²a + b.

    Claim: with s² = ab/σ², P[kA + B = t] is that of the discrete Gaussian of σ² within a factor 1 ± 4·e^(−2π²s²), so
    that the statistical distance is below 4·e^(−2π²s²).

    Proof: P[kA + B = t] is in proportion to Σ_j e^(−j²/2a − (t − kj)²/2b). Completing the square, j²/a + (t − kj)²/b =
    t²/σ² + (j − c)²/s² with c = kat/σ². So it is e^(−t²/2σ²) · Σ_j e^(−(j − c)²/2s²), and by Poisson's summation the
    second factor is √(2π)·s·(1 + θ) with |θ| ≤ 2·Σ_{m≥1} e^(−2π²s²m²) for every c. Normalising doubles the largest θ.

    With b = 32k² and a ≥ 32, s² = 1/(k²/b + 1/a) ≥ 16, and 4·e^(−2π²·16) < 2^−453. Two narrow tables are drawn from
    faster than a wide one, so pairs are taken long before a table would overflow.

    Args:
        variance: σ², up to `WIDEST_GAUSSIAN`.
    """
    if variance < _PAIR_FROM:
        return (Part(discrete_gaussian(variance), 1, 1),)
    factor = _factor(variance)
    offset = Fraction(_NARROW * factor**2)
    return (
        Part(discrete_gaussian((variance - offset) / factor**2), factor, 1),
        Part(discrete_gaussian(offset), 1, 1),
    )


def _factor(variance: Fraction) -> int:
    """Return the k with 32k⁴ ≤ σ²: both summands have about the same deviation, and a = σ²/k² − 32 ≥ 32."""
    return max(2, math.isqrt(math.isqrt(int(variance) // _NARROW)))


@cache
def skellam(variance: Fraction) -> Distribution:
    """Return the Skellam distribution P[k] = e^(−μ)·I_k(μ): the difference of two Poisson numbers of mean μ/2 each.

    The weights I_k(μ) come from the recurrence I_{k−1} = I_{k+1} + (2k/μ)·I_k, run downwards from 0 and 1 at a K of
    which P[K] < 2^−200 (Miller's algorithm), so that no Bessel function is ever evaluated. What it returns is I_k −
    (I_{K+1}/K_{K+1})·(±K_k), up to a factor; as K_k grows with k, each probability is off by less than P[K + 1]. Every
    division drops less than one unit of numbers above 2^288, a relative error which the recurrence, all of whose terms
    are positive, passes on and never grows. Beside thresholds of 144 bits neither is seen.

    Args:
        variance: μ, up to `WIDEST`.
    """
    tail, start = (skellam_reach(variance, bits) for bits in (TAIL_BITS, _BEYOND_BITS))
    top, bottom = variance.numerator, variance.denominator
    weights = [1 << _GUARD_BITS]
    following = 0
    for k in range(start, 0, -1):
        weights.append(following + 2 * k * bottom * weights[-1] // top)
        following = weights[-2]
    return _symmetric(weights[: -tail - 2 : -1])


@cache
def discrete_gaussian(variance: Fraction) -> Distribution:
    """Return the discrete Gaussian: k with a probability in proportion to e^(−k²/2σ²).

    Weights are products of the ratios e^(−(2k+1)/2σ²), themselves a geometric sequence, in fixed point with 288 bits
    behind the point. After n steps a weight, at most 1, is off by less than n²·2^−286.

    Args:
        variance: σ², up to `WIDEST`.
    """
    tail = gaussian_reach(variance, TAIL_BITS)
    ratio, shrink = _fixed_exponential(1 / (2 * variance)), _fixed_exponential(1 / variance)
    weights = [1 << _GUARD_BITS]
    for _ in range(tail):
        weights.append(weights[-1] * ratio >> _GUARD_BITS)
        ratio = ratio * shrink >> _GUARD_BITS
    return _symmetric(weights)


def skellam_reach(variance: Fraction, bits: float) -> int:
    """Return a T for which P[|X| > T] < 2^−bits, X a Skellam number of this variance, by Chernoff's bound.

    ln E[e^(sX)] = μ·(cosh s − 1), so that P[X ≥ t] ≤ e^(μ(cosh s − 1) − st), least at s = asinh(t/μ).
    """

    def exponent(reach: int) -> float:
        mean = float(variance)
        return reach * math.asinh(reach / mean) - reach**2 / (math.hypot(reach, mean) + mean)

    return _reach(bits, exponent)


def gaussian_reach(variance: Fraction, bits: float) -> int:
    """Return a T for which P[|X| > T] < 2^−bits, X a sum of discrete Gaussians whose σ² add up to this.

    Their moments E[e^(sX)] are at most the Gaussian's (Canonne, Kamath, Steinke 2020, Lemma 9): P[X ≥ t] ≤ e^(−t²/2σ²).
    """
    return _reach(bits, lambda reach: reach**2 / (2 * float(variance)))


def _symmetric(weights: list[int]) -> Distribution:
    """Weights of 0, 1, … make those of −1, −2, … too."""
    return weighed(1 - len(weights), [*weights[:0:-1], *weights])


def _reach(bits: float, exponent: Callable[[int], float]) -> int:
    enough = (bits + 1) * math.log(2) * (1 + 1e-9)  # one bit for the two sides, and more than floats lose
    low, high = 0, 1
    while exponent(high) < enough:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if exponent(middle) < enough else (low, middle)
    return low


def _fixed_exponential(exponent: Fraction) -> int:
    """⌊2^288 · e^(−x)⌋, but for the last few of a hundred digits."""
    with localcontext() as context:
        context.prec = 100
        power = (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
        return int(power * (1 << _GUARD_BITS))
