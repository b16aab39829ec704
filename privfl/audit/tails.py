"""Tails of the normal, χ² and binomial distributions, and confidence limits of a probability.

A verdict rests on small probabilities, so each tail is summed where it is small, of positive terms only: no digits
cancel. The first term is exp(−deviance), whose exponent is never a difference of large logarithms.

References:
    C. Loader, *Fast and accurate computation of binomial probabilities*, 2000 (the first terms).
    C. J. Clopper, E. S. Pearson, *The use of confidence or fiducial limits*, Biometrika 26, 1934.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

_STANDARD: Final = NormalDist()
_NEGLIGIBLE: Final = 2.0**-60  # of a sum, what its next term may be when it ends
_CLOSE: Final = 2.0**-50  # to each other, relative, that two ends of a bisection are when it ends


def normal_cdf(x: float) -> float:
    """Return Φ(x), to a relative 10^−12 down to 10^−300; the upper tail is Φ(−x)."""
    return math.erfc(-_number("x", x) / math.sqrt(2)) / 2


def normal_log_cdf(x: float) -> float:
    """Return ln Φ(x), to a relative 10^−12, also where Φ(x) is below every float."""
    if _number("x", x) > 0:
        return math.log1p(-normal_cdf(-x))
    if x > -30:
        return math.log(normal_cdf(x))
    if x == -math.inf:
        return -math.inf
    square = x * x  # the asymptotic series; what is left out is below 945/30^10
    series = (-1 + (3 - (15 - 105 / square) / square) / square) / square
    return -square / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log1p(series)


def normal_quantile(p: float) -> float:
    """Return Φ^−1(p): −∞ at 0, ∞ at 1 (Wichura, AS 241, 1988, as the standard library has it)."""
    _probability("p", p)
    return math.inf if p == 1 else -math.inf if p == 0 else _STANDARD.inv_cdf(p)


def chi_square_lower(x: float, degrees: int) -> float:
    """Return P[χ² ≤ x].

    Args:
        x: a value; 0 and less have probability 0.
        degrees: of freedom, a whole number ≥ 1.

    Returns:
        The probability, to a relative 10^−9 down to 10^−30 and up to 10^7 degrees of freedom.

    Raises:
        ConfigurationError: `x` is no number, or `degrees` no whole number ≥ 1.
    """
    a, x = whole("degrees", degrees, 1) / 2, _number("x", x) / 2
    return _gamma_lower(x, a) if x < a else 1 - _gamma_upper(x, a)


def chi_square_upper(x: float, degrees: int) -> float:
    """Return P[χ² > x], for what `chi_square_lower` takes and as accurately."""
    a, x = whole("degrees", degrees, 1) / 2, _number("x", x) / 2
    return 1 - _gamma_lower(x, a) if x < a else _gamma_upper(x, a)


def binomial_upper(hits: int, trials: int, p: float) -> float:
    """Return P[W ≥ hits] for W ~ Bin(trials, p).

    Args:
        hits: a whole number; one below 0 or above `trials` is no error.
        trials: a whole number ≥ 0.
        p: chance of each.

    Returns:
        The probability, to a relative 10^−9 down to 10^−30 and up to 10^6 trials.

    Raises:
        ConfigurationError: a whole number is none, or `p` no probability.
    """
    return binomial_lower(whole("trials", trials, 0) - whole("hits", hits), trials, p, failures=True)


def binomial_lower(hits: int, trials: int, p: float, *, failures: bool = False) -> float:
    """Return P[W ≤ hits], as `binomial_upper` does; with `failures`, W counts the trials that fail."""
    hits, trials, p = whole("hits", hits), whole("trials", trials, 0), _probability("p", p)
    # Both chances are carried along: 1 − p of a p that was itself 1 − p has lost the digits of a small p.
    hit, miss = (1 - p, p) if failures else (p, 1 - p)
    if hits < 0 or hits >= trials:
        return float(hits >= trials)
    if hit == 0 or miss == 0:
        return float(hit == 0)
    if hits < trials * hit:
        return _binomial_lower(hits, trials, hit, miss)
    return 1 - _binomial_lower(trials - hits - 1, trials, miss, hit)


def binomial_law(trials: int, p: float) -> npt.NDArray[np.float64]:
    """Return P[W = 0] to P[W = trials]: float64, shape (trials + 1,), to a relative 10^−9 as `binomial_upper` is."""
    n, p = whole("trials", trials, 0), _probability("p", p)
    mode = min(int((n + 1) * p), n)  # from where terms fall on both sides: none overflows, and those that vanish are 0
    law = np.empty(n + 1)
    law[mode] = _binomial_term(mode, n, p, 1 - p)
    above, below = np.arange(mode + 1, n + 1), np.arange(mode, 0, -1)
    law[mode + 1 :] = law[mode] * np.cumprod((n - above + 1) * p / (above * (1 - p)))
    law[:mode] = law[mode] * np.cumprod(below * (1 - p) / ((n - below + 1) * p))[::-1]
    return law


def clopper_pearson_upper(hits: int, trials: int, level: float) -> float:
    """Return the upper confidence limit of a probability: one-sided, exact for every number of trials.

    Args:
        hits: how often it happened, of `trials`.
        trials: a whole number ≥ 1.
        level: chance, at most, that the probability exceeds the limit; such as 0.05.

    Returns:
        The p at which so few hits have the chance `level`; 1 where every trial was a hit. Rounded up.

    Raises:
        ConfigurationError: hits beyond 0 to `trials`, or a level that is not between 0 and 1.
    """
    _check_limit(hits, trials, level)
    return 1.0 if hits == trials else bisected(lambda p: binomial_lower(hits, trials, p) < level, 0, 1)[1]


def clopper_pearson_lower(hits: int, trials: int, level: float) -> float:
    """Return the lower limit, as `clopper_pearson_upper` does: 0 where no trial was a hit. Rounded down."""
    _check_limit(hits, trials, level)
    return 0.0 if hits == 0 else bisected(lambda p: binomial_upper(hits, trials, p) > level, 0, 1)[0]


def bisected(beyond: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """Return two numbers of 0 or more, a relative 10^−15 apart, between which `beyond` becomes true.

    Neither end that is given is tried: it is taken for false at `low` and for true at `high`.
    """
    while high - low > _CLOSE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return low, high


def whole(name: str, value: int, least: int | None = None) -> int:
    """Return a whole number as an int.

    Raises:
        ConfigurationError: it is none, or below `least`; names it.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise ConfigurationError(
            f"{name} is {value!r}: a whole number works{'' if least is None else f' from {least}'}"
        )
    return number


def _gamma_lower(x: float, a: float) -> float:
    """P(a, x) for x < a: x^a·e^−x/Γ(a + 1)·(1 + x/(a + 1) + x²/((a + 1)(a + 2)) + …)."""
    if x <= 0:
        return 0.0
    return _sum(_poisson(a, x), lambda n: x / (a + n))


def _gamma_upper(x: float, a: float) -> float:
    """Q(a, x) for x ≥ a and a whole number 2a: Q(a, x) = Q(a − 1, x) + x^(a−1)·e^−x/Γ(a), down to Q(½, x) or to 0."""
    if x == math.inf:
        return 0.0
    rest = math.erfc(math.sqrt(x)) if a % 1 else 0.0
    if a > 0.5:  # powers of x from a − 1 down to ½ or 0
        rest += _sum(_poisson(a - 1, x), lambda n: (a - n) / x if a - n >= 1 else 0.0)
    return rest


def _binomial_lower(hits: int, trials: int, p: float, q: float) -> float:
    """P[W ≤ hits] for hits < trials·p, where each term downwards is smaller than the one before."""
    first = _binomial_term(hits, trials, p, q)
    return _sum(first, lambda i: (hits - i + 1) * q / ((trials - hits + i) * p))


def _binomial_term(k: int, n: int, p: float, q: float) -> float:
    """P[W = k]: at the ends in a form of their own."""
    if k in {0, n}:
        p, q = (p, q) if k == 0 else (q, p)  # now q is the chance of what happened n times, and 1 − p the same
        return math.exp(n * math.log1p(-p) if p < 0.5 else n * math.log(q)) if q > 0 else float(n == 0)
    exponent = _stirling(n) - _stirling(k) - _stirling(n - k) - _deviance(k, n * p) - _deviance(n - k, n * q)
    return math.exp(exponent) * math.sqrt(n / (2 * math.pi * k * (n - k)))


def _sum(first: float, ratio: Callable[[int], float]) -> float:
    """Sum of positive terms, the n-th of which is `ratio(n)` of the one before; ends where they no longer count."""
    total = term = 1.0
    n = 0
    while term > _NEGLIGIBLE * total:
        n += 1
        term *= ratio(n)
        total += term
    return first * total


def _poisson(k: float, mean: float) -> float:
    """mean^k·e^−mean/Γ(k + 1)."""
    if k == 0:
        return math.exp(-mean)
    return math.exp(-_deviance(k, mean) - _stirling(k)) / math.sqrt(2 * math.pi * k)


def _deviance(k: float, mean: float) -> float:
    """k·ln(k/mean) + mean − k: near the mean to an absolute 2^−53·|mean − k|, little enough for its exponential."""
    gap = mean - k
    return gap - k * (math.log1p(gap / k) if abs(gap) < k / 2 else math.log(mean) - math.log(k))


def _stirling(k: float) -> float:
    """Ln Γ(k + 1) less Stirling's formula ½·ln(2πk) + k·ln k − k."""
    if k < 16:
        return math.lgamma(k + 1) - (k + 0.5) * math.log(k) + k - math.log(2 * math.pi) / 2
    square = k * k
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / k


def _check_limit(hits: int, trials: int, level: float) -> None:
    if not 0 <= whole("hits", hits) <= whole("trials", trials, 1):
        raise ConfigurationError(f"hits is {hits} of {trials}: 0 to {trials} works")
    if not 0 < level < 1:
        raise ConfigurationError(f"level is {level}: a chance between 0 and 1 works, such as 0.05")


def _number(name: str, value: float) -> float:
    if math.isnan(value):
        raise ConfigurationError(f"{name} is not a number: any number works, such as 0")
    return float(value)


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{name} is {value}: a probability from 0 to 1 works")
    return float(value)
