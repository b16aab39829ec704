"""Tails of a sum of which three moments are known: those of a·χ² + b that has them (Pearson's type III).

Counts of coincidences and sums of squares are skewed, as χ² is, and a normal distribution would accuse too often. Three
moments alone leave a tail of 10^−6 right within a factor of two or three; with some more skewness than there is for
upper tails, and less for lower ones (`MARGIN`), it is no smaller than it should be down to 10^−12.
"""

from __future__ import annotations

import math
from typing import Final

from privfl.audit.tails import chi_square_lower, chi_square_upper, normal_cdf

MOST_DEGREES: Final = 10**7
MARGIN: Final = 0.4
"""Of the third moment: what to allow for those beyond it."""
_SLACK: Final = 1e-9  # so that whole degrees that came out a rounding error short are not rounded down


def skewed_upper(value: float, *, mean: float, variance: float, third: float, margin: float = MARGIN) -> float:
    """Return P[X ≥ value], nearly and rather too large.

    Args:
        value: for whole numbers, half of one below what was seen.
        mean: of X.
        variance: of X; 0 for a constant.
        third: third central moment of X.
        margin: part of it, from 0 to 1, by which it is taken too high or too low, whichever makes the tail heavier.
    """
    return _tail(value, mean, variance, third, margin, upper=True)


def skewed_lower(value: float, *, mean: float, variance: float, third: float, margin: float = MARGIN) -> float:
    """Return P[X ≤ value], as `skewed_upper` does; for whole numbers, half of one above what was seen."""
    return _tail(value, mean, variance, third, margin, upper=False)


def _tail(value: float, mean: float, variance: float, third: float, margin: float, *, upper: bool) -> float:
    if variance <= 0:
        return float(value <= mean if upper else value >= mean)
    if third < 0:  # mirrored
        return _tail(-value, -mean, variance, -third, margin, upper=not upper)
    third *= 1 + margin if upper else 1 - margin
    wanted = 8 * variance**3 / third**2 if third > 0 else math.inf
    if wanted > MOST_DEGREES:
        gap = (value - mean) / math.sqrt(variance)
        return normal_cdf(-gap if upper else gap)
    # Fewer degrees are more skewed: a heavier upper and a lighter lower tail.
    degrees = math.floor(wanted * (1 + _SLACK)) if upper else math.ceil(wanted * (1 - _SLACK))
    # Below one degree there is none: one, and of the decay that was wanted, has more of all three moments.
    scale = math.sqrt(variance / (2 * degrees)) if degrees else third / (4 * variance)
    degrees = max(degrees, 1)
    x = (value - mean) / scale + degrees
    return chi_square_upper(x, degrees) if upper else chi_square_lower(x, degrees)
