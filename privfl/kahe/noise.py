"""What keys and errors are drawn from: the discrete Gaussian of standard deviation 6.5.

A draw lies within 2^−135 of the exact distribution: what the thresholds' rounding moves, as
`privfl.primitives.sampling` says, is below 2^−137 for fewer than 2^8 values, and the tails beyond them weigh less than
2^−136.
"""

from __future__ import annotations

from typing import Final

from privfl.primitives.prg import Stream
from privfl.primitives.sampling import Distribution, Sampler, gaussian

STD: Final = 6.5
TAIL: Final = 88
"""Values lie in −TAIL … TAIL; all others together have a probability below 2^−136."""


def distribution() -> Distribution:
    """Return the distribution; computed when it is first asked for."""
    return gaussian(str(STD), TAIL)


def thresholds() -> tuple[int, ...]:
    """Return ⌊2^144 · P[X ≤ k]⌋ for k = −TAIL … TAIL, computed with 60 digits."""
    return distribution().thresholds


class Gaussian(Sampler):
    """Draws from two pseudorandom streams, int8. Holds workspace: one for each thread."""

    def __init__(self, coarse: Stream, fine: Stream, *, largest_batch: int) -> None:
        super().__init__(distribution(), coarse, fine, largest_batch=largest_batch)
