"""The discrete Gaussian of standard deviation 6.5, by inversion of its distribution function.

16 pseudorandom bits choose one of 2^16 intervals of equal probability. Where an interval lies inside one step of the
distribution function, the table holds the value; the few that straddle a step (one in a thousand) take 128 bits more,
and the value is found by bisection among thresholds of 144 bits. So every draw lies within 2^−135 of the exact
distribution: each of the fewer than 2^8 thresholds is off by less than 2^−144, and the tails beyond it weigh less than
2^−136. A table of 16 bits alone would lose tens of bits of security over a million draws.

Table look-ups are not constant-time; SECURITY.md says what that means.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal, localcontext
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.primitives.prg import Stream

STD: Final = 6.5
TAIL: Final = 88
"""Values lie in −TAIL … TAIL; all others together have a probability below 2^−136."""

_STRADDLES: Final = 127  # no value: the table's mark for an interval that holds a step
_FINE_BITS: Final = 128
_COARSE_BITS: Final = 16


@cache
def thresholds() -> tuple[int, ...]:
    """Return ⌊2^144 · P[X ≤ k]⌋ for k = −TAIL … TAIL, computed with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        variance = 2 * Decimal(str(STD)) ** 2
        weights = [(-Decimal(k * k) / variance).exp() for k in range(-TAIL, TAIL + 1)]
        total, reached, steps = sum(weights), Decimal(0), []
        for weight in weights:
            reached += weight
            steps.append(int(reached / total * 2 ** (_COARSE_BITS + _FINE_BITS)))
    steps[-1] = 1 << (_COARSE_BITS + _FINE_BITS)  # the last step is at one, whatever rounding left of it
    return tuple(steps)


@cache
def _tables() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
    """Return the table of intervals, and the thresholds' high 16 bits beside their low 128 in two words."""
    steps = thresholds()
    table = np.empty(1 << _COARSE_BITS, np.int8)
    begin = 0
    for value, step in zip(range(-TAIL, TAIL + 1), steps, strict=True):
        coarse, fine = step >> _FINE_BITS, step & ((1 << _FINE_BITS) - 1)
        table[begin:coarse] = value
        if fine:  # the interval that this step divides
            table[coarse] = _STRADDLES
            begin = max(begin, coarse + 1)
        else:
            begin = max(begin, coarse)
    table.flags.writeable = False
    # The last step is at 2^16 in high bits, which no draw reaches: searches end there.
    high = np.array([step >> _FINE_BITS for step in steps], np.uint32)
    low = np.array([divmod(step & ((1 << _FINE_BITS) - 1), 1 << 64) for step in steps], np.uint64)
    return table, high, low


class Gaussian:
    """Draws from a pseudorandom stream. Holds workspace: one for each thread.

    Args:
        coarse: the stream of 16 bits for each draw.
        fine: the stream of 128 bits for each draw that needs them; another key's.
        largest_batch: most draws at a time.
    """

    def __init__(self, coarse: Stream, fine: Stream, *, largest_batch: int) -> None:
        self._coarse = coarse
        self._fine = fine
        self._indices = np.empty(largest_batch, np.uint16)
        self._values = np.empty(largest_batch, np.int8)

    def draw(self, count: int) -> npt.NDArray[np.int8]:
        """Return draws, int8, shape (count,): a view that the next call overwrites."""
        table, _, _ = _tables()
        indices, values = self._indices[:count], self._values[:count]
        self._coarse.fill(indices)
        table.take(indices, out=values, mode="wrap")  # in range by its type; this mode is the fastest
        (undecided,) = np.nonzero(values == _STRADDLES)
        if len(undecided):
            values[undecided] = self._bisect(indices[undecided])
        return values

    def _bisect(self, coarse: npt.NDArray[np.uint16]) -> npt.NDArray[np.int8]:
        fine = np.empty((len(coarse), 2), np.uint64)
        self._fine.fill(fine)
        return bisect(coarse, fine)


def bisect(coarse: npt.NDArray[np.uint16], fine: npt.NDArray[np.uint64]) -> npt.NDArray[np.int8]:
    """Find the values of 144-bit draws: how many thresholds are no greater, counted from −TAIL.

    Args:
        coarse: the highest 16 bits, shape (n,).
        fine: the others, shape (n, 2), the higher word first.
    """
    _, high, low = _tables()
    first, last = np.searchsorted(high, coarse), np.searchsorted(high, coarse, side="right")
    # `first` counts the thresholds below the interval; those within it, nearly always one, are compared in full.
    step, (above, below) = low[first], fine.T
    reached = (step[:, 0] < above) | ((step[:, 0] == above) & (step[:, 1] <= below))
    passed = first + ((first < last) & reached)
    for i in np.flatnonzero(last - first > 1):
        passed[i] = bisect_right(thresholds(), int(coarse[i]) << _FINE_BITS | int(above[i]) << 64 | int(below[i]))
    values: npt.NDArray[np.int8] = (passed - TAIL).astype(np.int8)
    return values
