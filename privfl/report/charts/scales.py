"""Round numbers for axes."""

from __future__ import annotations

import math
from itertools import pairwise

from privfl.errors import ConfigurationError

LARGEST = 1e100  # what lies beyond is not drawn: the span between two such values must stay finite
_SMALLEST_SPAN = 1e-9  # of the value's size; below it a double cannot carry distinct ticks


def nice_ticks(low: float, high: float, *, target: int = 5, whole: bool = False) -> tuple[float, ...]:
    """Evenly spaced round numbers (1, 2 or 5 times a power of ten apart) that enclose `[low, high]`.

    Where `low` and `high` are (nearly) one value, the ticks enclose a neighbourhood of it.

    Args:
        low: smallest value to show.
        high: largest value to show, `>= low`.
        target: about how many intervals, at least 1; the answer has between 2 and `2 * target + 2` ticks or so.
        whole: whether ticks are whole numbers, as for rounds and counts.

    Returns:
        Ascending ticks, at least two.

    Raises:
        ConfigurationError: a bound is NaN or beyond ±1e100, the bounds are swapped, or `target` is below 1.

    Guarantees:
        1. First tick `<= low`, last tick `>= high` (up to the rounding of one double).
        2. Ticks are strictly ascending and evenly spaced.

    >>> nice_ticks(0.62, 0.97)
    (0.6, 0.7, 0.8, 0.9, 1.0)
    """
    if not (abs(low) <= LARGEST and abs(high) <= LARGEST):  # NaN fails every comparison
        raise ConfigurationError(f"axis bounds must be numbers within ±{LARGEST:g}, not {low} and {high}")
    if low > high or target < 1:
        raise ConfigurationError(f"need low <= high and target >= 1, not {low}, {high} and {target}")
    size = max(abs(low), abs(high))
    if high - low <= max(_SMALLEST_SPAN * size, 1 / LARGEST):
        # A single value gets room of a twentieth of its size on both sides.
        margin = 0.05 * size if size > 1 / LARGEST / _SMALLEST_SPAN else 0.5
        low, high = low - margin, high + margin
    mantissa, exponent = _step((high - low) / target)
    if whole and exponent < 0:
        mantissa, exponent = 1, 0
    # Dividing by an exact power of ten rounds once; multiplying by 0.1 would round twice and print 0.30000000000000004.
    scale = 10.0 ** abs(exponent)
    first = math.floor(low / mantissa * scale if exponent < 0 else low / mantissa / scale)
    last = math.ceil(high / mantissa * scale if exponent < 0 else high / mantissa / scale)
    return tuple(
        index * mantissa / scale if exponent < 0 else index * mantissa * scale
        for index in range(first, max(last, first + 1) + 1)
    )


def tick_decimals(ticks: tuple[float, ...]) -> int:
    """Digits behind the point that tell evenly spaced round ticks apart.

    >>> tick_decimals((0.0, 0.25, 0.5)), tick_decimals((0.0, 10.0))
    (2, 0)
    """
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    for decimals in range(10):
        scaled = step * 10.0**decimals
        if scaled >= 0.999 and abs(scaled - round(scaled)) < 1e-6 * scaled:
            return decimals
    return 10


def _step(least: float) -> tuple[int, int]:
    """The smallest 1, 2 or 5 times a power of ten that is not below `least`."""
    exponent = math.floor(math.log10(least))
    for mantissa, power in ((1, exponent), (2, exponent), (5, exponent), (1, exponent + 1)):
        # The slack keeps 0.35 / 5 = 0.06999... and its like from jumping to the next step.
        if float(f"{mantissa}e{power}") >= least * (1 - 1e-9):
            return mantissa, power
    return 2, exponent + 1
