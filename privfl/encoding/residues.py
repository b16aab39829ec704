"""The ring Z_{2^b} that sums live in: wide enough for every sum, by proof.

A cohort of n clients with coordinates |x| ≤ B has sums in [−nB, nB]: 2nB + 1 values. A ring with at least as many
elements returns the sum itself, read as a signed number. `Ring.for_sum` picks it and refuses what cannot fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

MAX_RING_BITS: Final = 64


def sum_bits(contributors: int, bound: int) -> int:
    """Bits that the sum of `contributors` coordinates of magnitude ≤ `bound` needs: ⌈log₂(2·n·B + 1)⌉."""
    return (2 * contributors * bound).bit_length()


@dataclass(frozen=True, slots=True)
class Ring:
    """Integers modulo 2^bits, held in machine words of exactly that size.

    Attributes:
        bits: 32 or 64. Words that wrap by themselves need no reduction, and a sum that fits is read as it stands.
    """

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in {32, 64}:
            raise ConfigurationError(f"a ring of {self.bits} bits is not a machine word: 32 and 64 work")

    @classmethod
    def for_sum(cls, contributors: int, bound: int) -> Ring:
        """Return the smallest ring whose sums cannot wrap.

        Args:
            contributors: the most that can ever contribute (the cohort).
            bound: largest magnitude of one coordinate.

        Raises:
            ConfigurationError: not even 64 bits hold the sum; names the knob and a value that works.
        """
        needed = sum_bits(contributors, bound)
        if needed > MAX_RING_BITS:
            fitting = ((1 << (MAX_RING_BITS - 1)) - 1) // contributors
            raise ConfigurationError(
                f"vector.bound {bound} times {contributors} clients overflows the ring of {MAX_RING_BITS} bits: "
                f"use at most {fitting} (encoding.bits ≤ {fitting.bit_length()})"
            )
        return cls(32 if needed <= 32 else 64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The little-endian unsigned word."""
        return np.dtype("<u4" if self.bits == 32 else "<u8")

    @property
    def signed(self) -> np.dtype[Any]:
        """The signed word of the same size: its values are the centred representatives."""
        return np.dtype("<i4" if self.bits == 32 else "<i8")

    @property
    def word_bytes(self) -> int:
        """Bytes of a word."""
        return self.bits // 8

    def store(self, values: npt.NDArray[np.signedinteger[Any]], out: npt.NDArray[Any]) -> None:
        """Write signed integers as residues.

        Args:
            values: int32 or int64, shape (m,).
            out: this ring's words, shape (m,).
        """
        # Casting a signed integer to an unsigned word is reduction modulo 2^bits, exactly what is wanted.
        np.copyto(out, values, casting="unsafe")

    def centred(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Read residues as signed numbers in [−2^(bits−1), 2^(bits−1)): int64, shape (m,).

        Safe because `for_sum` left room: a sum S with |S| ≤ nB < 2^(bits−1) is its own centred representative.
        """
        return words.view(self.signed).astype(np.int64)
