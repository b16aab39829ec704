"""Sampling from a distribution on whole numbers, by inversion of its distribution function.

16 pseudorandom bits choose one of 2^16 intervals of equal probability. Where an interval lies inside one step of the
distribution function, the table holds the value; the few that straddle a step (of a Gaussian of standard deviation 6.5
one in a thousand) take 128 bits more, and the value is found by bisection among thresholds of 144 bits. Each threshold
is off by less than 2^−144, so that a draw among n values lies within n·2^−145 of the exact distribution, beside what
the cut tails weigh. A table of 16 bits alone would lose tens of bits of security over a million draws.

Table look-ups are not constant-time; SECURITY.md says what that means.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from privfl.primitives.entropy import Entropy
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.secret import Secret

_FINE_BITS: Final = 128
_COARSE_BITS: Final = 16
_ONE: Final = 1 << (_COARSE_BITS + _FINE_BITS)
_LARGEST: Final = {np.int8: 2**7 - 1, np.int16: 2**15 - 1}

Draws = npt.NDArray[np.int8 | np.int16]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution on `lowest`, `lowest` + 1, …, as many values as there are thresholds.

    Attributes:
        lowest: the smallest value.
        thresholds: ⌊2^144 · P[X ≤ k]⌋ for k = lowest, lowest + 1, …; the last is 2^144.

    Raises:
        ValueError: the thresholds fall, do not end at 2^144, or belong to values beyond 16 bits.
    """

    lowest: int
    thresholds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        if any(step > following for step, following in pairwise((0, *self.thresholds))):
            raise ValueError("thresholds fall: those of a distribution begin at 0 or above and never do")
        if not self.thresholds or self.thresholds[-1] != _ONE:
            raise ValueError("the last threshold is 2^144: some value is always drawn")
        if self.lowest < -_LARGEST[np.int16] or self.highest >= _LARGEST[np.int16]:
            raise ValueError(f"values from {self.lowest} to {self.highest}: −32767 … 32766 are drawn at most")

    def __hash__(self) -> int:
        """Hash a few numbers only: to hash all thresholds would take longer than thousands of draws."""
        return hash((self.lowest, len(self.thresholds), self.thresholds[len(self.thresholds) // 2]))

    @property
    def highest(self) -> int:
        """The largest value."""
        return self.lowest + len(self.thresholds) - 1

    @property
    def word(self) -> type[np.int8 | np.int16]:
        """The type of draws: int8 if all values lie in −127 … 126, else int16."""
        return np.int8 if -_LARGEST[np.int8] <= self.lowest and self.highest < _LARGEST[np.int8] else np.int16

    @property
    def mark(self) -> int:
        """What stands in the table for an interval that holds a step: the word's largest number, which is no value."""
        return _LARGEST[self.word]


@cache
def gaussian(std: str, tail: int) -> Distribution:
    """Return the discrete Gaussian: k with probability proportional to e^(−k²/2σ²); thresholds from 60 digits.

    Args:
        std: σ, in decimal digits, such as "6.5".
        tail: values lie in −tail … tail. What all others together would weigh, the caller answers for.
    """
    with localcontext() as context:
        context.prec = 60
        variance = 2 * Decimal(std) ** 2
        weights = [(-Decimal(k * k) / variance).exp() for k in range(-tail, tail + 1)]
        total, reached, steps = sum(weights), Decimal(0), []
        for weight in weights:
            reached += weight
            steps.append(int(reached / total * _ONE))
    steps[-1] = _ONE  # the last step is at one, whatever rounding left of it
    return Distribution(-tail, tuple(steps))


def weighed(lowest: int, weights: Sequence[int]) -> Distribution:
    """Return the distribution of `lowest`, `lowest` + 1, …, each with a probability in proportion to its weight.

    Args:
        lowest: the smallest value.
        weights: whole numbers ≥ 0, not all 0; thresholds are exact for these.
    """
    total = sum(weights)
    steps = tuple(reached * _ONE // total for reached in accumulate(weights))
    return Distribution(lowest, steps)


TERNARY: Final = Distribution(-1, (_ONE // 3, 2 * _ONE // 3, _ONE))
"""−1, 0 and 1, equally often."""


def sampler(distribution: Distribution, entropy: Entropy, largest_batch: int) -> Sampler:
    """Return a sampler of two fresh streams.

    Args:
        distribution: what to draw from.
        entropy: source of the streams' keys.
        largest_batch: most draws at a time.
    """
    coarse, fine = stream_keys(entropy)
    return Sampler(distribution, Stream(coarse), Stream(fine), largest_batch=largest_batch)


def stream_keys(entropy: Entropy) -> tuple[Secret, Secret]:
    """Draw the keys of a sampler's streams, coarse and fine: for whoever makes the sampler later, and only one."""
    return Secret(entropy.token_bytes(PRG_KEY_BYTES)), Secret(entropy.token_bytes(PRG_KEY_BYTES))


class Sampler:
    """Draws from pseudorandom streams. Holds workspace: one for each thread.

    Args:
        distribution: what to draw from.
        coarse: the stream of 16 bits for each draw.
        fine: the stream of 128 bits for each draw that needs them; another key's.
        largest_batch: most draws at a time.
    """

    def __init__(self, distribution: Distribution, coarse: Stream, fine: Stream, *, largest_batch: int) -> None:
        self._distribution = distribution
        self._coarse = coarse
        self._fine = fine
        self._tables = _tables(distribution)  # looked up once: hashing all thresholds takes a while
        self._mark = distribution.mark
        self._indices = np.empty(largest_batch, np.uint16)
        self._values = np.empty(largest_batch, distribution.word)

    def draw(self, count: int) -> Draws:
        """Draw.

        Returns:
            Shape (count,), of the distribution's word: a view that the next call overwrites.
        """
        indices, values = self._indices[:count], self._values[:count]
        self._coarse.fill(indices)
        self._tables.table.take(indices, out=values, mode="wrap")  # in range by its type; this mode is the fastest
        (undecided,) = np.nonzero(values == self._mark)
        if len(undecided):
            values[undecided] = self._settle(indices[undecided])
        return values

    def _settle(self, coarse: npt.NDArray[np.uint16]) -> Draws:
        fine = np.empty((len(coarse), 2), np.uint64)
        self._fine.fill(fine)
        return _bisect(self._distribution, self._tables, coarse, fine)


def bisect(distribution: Distribution, coarse: npt.NDArray[np.uint16], fine: npt.NDArray[np.uint64]) -> Draws:
    """Find the values of 144-bit draws: how many thresholds are no greater, counted from `lowest`.

    Args:
        distribution: whose thresholds.
        coarse: the highest 16 bits, shape (n,).
        fine: the others, shape (n, 2), the higher word first.

    Returns:
        Shape (n,), of the distribution's word.
    """
    return _bisect(distribution, _tables(distribution), coarse, fine)


def _bisect(
    distribution: Distribution, tables: _Tables, coarse: npt.NDArray[np.uint16], fine: npt.NDArray[np.uint64]
) -> Draws:
    table, starts, high = tables
    first, last = starts[coarse], starts[1:][coarse]
    # `first` counts the thresholds below the interval; those within it, nearly always one, are compared by 64 bits.
    (above, below) = fine.T
    words = coarse.astype(np.uint64) << np.uint64(48) | above >> np.uint64(16)
    reached = high[first] <= words
    passed = first + ((first < last) & reached)
    several = np.flatnonzero(last - first > 1)  # in the tails, where steps are smaller than intervals
    passed[several] = np.searchsorted(high, words[several], side="right")
    # Equal in 64 bits: one draw in 2^64 for each threshold, and compared in full.
    for i in np.flatnonzero(high[passed - 1] == words):
        draw = int(coarse[i]) << _FINE_BITS | int(above[i]) << 64 | int(below[i])
        passed[i] = bisect_right(distribution.thresholds, draw)
    values: Draws = (passed + distribution.lowest).astype(table.dtype)
    return values


class _Tables(NamedTuple):
    """The table of intervals, how many thresholds lie below each, and the thresholds' high 64 bits."""

    table: Draws
    starts: npt.NDArray[np.int32]
    high: npt.NDArray[np.uint64]


@cache
def _tables(distribution: Distribution) -> _Tables:
    steps = [step for step in distribution.thresholds if step < _ONE]  # no draw reaches the others
    coarse = np.array([step >> _FINE_BITS for step in steps], np.int64)
    starts = np.searchsorted(coarse, np.arange((1 << _COARSE_BITS) + 1)).astype(np.int32)
    at_begin = np.array([not step & ((1 << _FINE_BITS) - 1) for step in steps], bool)
    first = starts[:-1] + np.bincount(coarse[at_begin], minlength=1 << _COARSE_BITS)
    divided = first < starts[1:]  # a step lies inside the interval: its first point and its last have other values
    table: Draws = np.where(divided, distribution.mark, first + distribution.lowest).astype(distribution.word)
    high = np.array([*(step >> 80 for step in steps), (1 << 64) - 1], np.uint64)
    for shared in (table, starts, high):
        shared.flags.writeable = False
    return _Tables(table, starts, high)
