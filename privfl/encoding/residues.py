"""The ring Z_{2^b} that sums live in: wide enough for every sum, by proof; and its vectors as they travel.

A cohort of n clients with coordinates |x| ≤ B has sums in [−nB, nB]: 2nB + 1 values. A ring with at least as many
elements returns the sum itself, read as a signed number. `Ring.for_sum` picks it and refuses what cannot fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding import bitpack
from privfl.errors import ConfigurationError

MAX_RING_BITS: Final = 64
_CROWDED: Final = 0.99
_SPARE_FROM_BITS: Final = 20


def sum_bits(contributors: int, bound: int) -> int:
    """Bits that the sum of `contributors` coordinates of magnitude ≤ `bound` needs: ⌈log₂(2·n·B + 1)⌉."""
    return (2 * contributors * bound).bit_length()


@dataclass(frozen=True, slots=True)
class Ring:
    """Integers modulo 2^bits, computed in machine words and sent as words or packed.

    Words wrap modulo 2^32 or 2^64, which 2^bits divides: bits from `bits` up may hold anything while sums are formed.

    Attributes:
        bits: 1 … 64. With 32 or 64 vectors travel as the words they are computed in; with any other number of bits
            they travel packed, `bits` for each coordinate.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_RING_BITS:
            raise ConfigurationError(f"a ring of {self.bits} bits: 1 to {MAX_RING_BITS} works")

    @classmethod
    def for_sum(cls, contributors: int, bound: int, *, sum_bound: int | None = None, packed: bool = False) -> Ring:
        """Return the smallest ring whose sums cannot wrap.

        Args:
            contributors: the most that can ever contribute (the cohort).
            bound: largest magnitude of one coordinate.
            sum_bound: largest magnitude of a coordinate of the sum, where that is known to be less than `contributors`
                times `bound`.
            packed: take no more bits than the sum needs; else a machine word. A ring that sums would fill to the last
                hundredth gets one bit more, if that is at most 5 %: in a full ring noise looks like a sum, and the
                check of the opened sum's range would say nothing.

        Raises:
            ConfigurationError: not even 64 bits hold the sum; names the knob and a value that works.
        """
        reach = contributors * bound if sum_bound is None else min(contributors * bound, sum_bound)
        needed = sum_bits(1, reach)
        if needed > MAX_RING_BITS:
            fitting = ((1 << (MAX_RING_BITS - 1)) - 1) // contributors
            raise ConfigurationError(
                f"vector.bound {bound} times {contributors} clients overflows the ring of {MAX_RING_BITS} bits: "
                f"use at most {fitting} (encoding.bits ≤ {fitting.bit_length()})"
            )
        if not packed:
            return cls(32 if needed <= 32 else 64)
        crowded = 2 * reach + 1 > _CROWDED * (1 << needed)
        return cls(needed + 1 if crowded and needed >= _SPARE_FROM_BITS and needed not in {32, 64} else needed)

    @property
    def packed(self) -> bool:
        """Whether vectors travel packed."""
        return self.bits not in {32, 64}

    @property
    def word_bits(self) -> int:
        """Bits of the word that is computed in: 32 or 64."""
        return 32 if self.bits <= 32 else 64

    @property
    def dtype(self) -> np.dtype[Any]:
        """The little-endian unsigned word."""
        return np.dtype("<u4" if self.word_bits == 32 else "<u8")

    @property
    def signed(self) -> np.dtype[Any]:
        """The signed word of the same size."""
        return np.dtype("<i4" if self.word_bits == 32 else "<i8")

    def vector_bytes(self, length: int) -> int:
        """Return the exact size of a vector of `length` coordinates as it travels."""
        words = bitpack.packed_words(length, self.bits, self.word_bits) if self.packed else length
        return words * self.word_bits // 8

    def store(self, values: npt.NDArray[np.signedinteger[Any]], out: npt.NDArray[Any]) -> None:
        """Write signed integers as residues.

        Args:
            values: int32 or int64, shape (m,).
            out: this ring's words, shape (m,).
        """
        # Casting a signed integer to an unsigned word is reduction modulo the word, of which 2^bits is a divisor.
        np.copyto(out, values, casting="unsafe")

    def add(self, tail: memoryview, total: npt.NDArray[Any]) -> None:
        """Add a vector, as it travels, to a total.

        Args:
            tail: `vector_bytes(m)` bytes.
            total: this ring's words, shape (m,), changed in place.

        Raises:
            DecodeError: packed, and its padding is not zero; `total` is as before.
        """
        words = np.frombuffer(tail, self.dtype)
        if self.packed:
            bitpack.unpack_add(words, self.bits, total)
        else:
            total += words

    def received(self, tail: memoryview, length: int) -> npt.NDArray[Any]:
        """Return the residues of one vector as it travelled: words below 2^bits, shape (length,)."""
        words: npt.NDArray[Any] = np.zeros(length, self.dtype)
        self.receive(tail, words)
        return words

    def receive(self, tail: memoryview, out: npt.NDArray[Any]) -> None:
        """Read the residues of one vector as it travelled into zeros: this ring's words, shape (m,).

        Raises:
            DecodeError: packed, and its padding is not zero.
        """
        self.add(tail, out)
        np.bitwise_and(out, self.dtype.type((1 << self.bits) - 1), out=out)

    def centred(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Read residues as signed numbers in [−2^(bits−1), 2^(bits−1)): int64, shape (m,).

        Safe because `for_sum` left room: a sum S with |S| ≤ nB < 2^(bits−1) is its own centred representative.
        """
        surplus = words.dtype.type(self.word_bits - self.bits)
        # Shifting up drops what lies above the residue, and the signed shift down copies its highest bit back.
        lifted: npt.NDArray[Any] = np.left_shift(words, surplus) if surplus else words
        centred: npt.NDArray[np.int64] = np.right_shift(lifted.view(self.signed), self.signed.type(surplus)).astype(
            np.int64
        )
        return centred
