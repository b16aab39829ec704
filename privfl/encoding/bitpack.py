"""Residues modulo 2^b side by side, without the bits that a machine word would waste.

A vector is cut into blocks of `BLOCK` values. A block is written as a table of W rows (W = 32 or 64, the bits of a
word) of equally many values; value j of a column takes the bits [j·b, (j+1)·b) of that column's b words. So rows, not
single values, are shifted and combined: about three numpy operations on long rows for each value, at the speed of the
cache. The last block has rows just long enough, its last values being zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import DecodeError

BLOCK: Final = 1 << 18
"""Values of a block: long rows keep numpy's cost of a call small, and a block of 32-bit words (1 MiB) fits into L2."""

Words = npt.NDArray[Any]
"""One-dimensional, contiguous, uint32 or uint64."""


def packed_words(length: int, bits: int, word_bits: int) -> int:
    """Return how many words a packed vector takes: b·⌈m/W⌉, as every block but the last has full rows."""
    return bits * -(-length // word_bits)


def pack_block(values: Words, bits: int, out: Words) -> None:
    """Pack one block; bits above the lowest b of a value are dropped: reduction modulo 2^b.

    Args:
        values: shape (W·L,), at most `BLOCK`; changed: only their residues are left.
        bits: b, below W.
        out: shape (b·L,).
    """
    rows, columns = _table(values, bits, out)
    np.bitwise_and(rows, rows.dtype.type((1 << bits) - 1), out=rows)
    shifted = np.empty_like(rows[0])
    for row, word, shift, spills in _places(rows, bits):
        if shift == 0:
            np.copyto(columns[word], row)
        else:
            np.left_shift(row, row.dtype.type(shift), out=shifted)
            np.bitwise_or(columns[word], shifted, out=columns[word])
        if spills:
            np.right_shift(row, row.dtype.type(_word_bits(row) - shift), out=columns[word + 1])


def unpack_add(packed: Words, bits: int, total: Words) -> None:
    """Add a packed vector to words, modulo 2^b.

    Bits of `total` from b up are of no meaning afterwards: carries go upwards only, so that they never reach the b bits
    that count, and clearing them at every step would be work for nothing.

    Args:
        packed: shape (packed_words(len(total), b, W),).
        bits: b, below W.
        total: shape (m,), changed in place.

    Raises:
        DecodeError: the values behind the last are not zero; `total` is as before.
    """
    length, word_bits = len(total), _word_bits(total)
    whole = length // BLOCK * BLOCK
    cut = packed_words(whole, bits, word_bits)
    rest = np.zeros(-(-(length - whole) // word_bits) * word_bits, total.dtype)
    _add_block(packed[cut:], bits, rest)
    padding = rest[length - whole :]
    if np.bitwise_and(padding, padding.dtype.type((1 << bits) - 1)).any():
        raise DecodeError("a packed vector whose padding is not zero")
    step = packed_words(BLOCK, bits, word_bits)
    for i in range(whole // BLOCK):
        _add_block(packed[i * step : (i + 1) * step], bits, total[i * BLOCK : (i + 1) * BLOCK])
    total[whole:] += rest[: length - whole]


def _add_block(packed: Words, bits: int, total: Words) -> None:
    rows, columns = _table(total, bits, packed)
    part = np.empty_like(rows[0])
    for row, word, shift, spills in _places(rows, bits):
        np.right_shift(columns[word], row.dtype.type(shift), out=part)
        np.add(row, part, out=row)
        if spills:  # the two parts overlap in no bit below b, so adding them one after the other adds the value
            np.left_shift(columns[word + 1], row.dtype.type(_word_bits(row) - shift), out=part)
            np.add(row, part, out=row)


def _table(values: Words, bits: int, packed: Words) -> tuple[Words, Words]:
    return values.reshape(_word_bits(values), -1), packed.reshape(bits, -1)


def _places(rows: Words, bits: int) -> Iterator[tuple[Words, int, int, bool]]:
    """Each row with the word its lowest bit falls into, the bit within, and whether it spills into the next word."""
    word_bits = _word_bits(rows)
    for j, row in enumerate(rows):
        word, shift = divmod(j * bits, word_bits)
        yield row, word, shift, shift + bits > word_bits


def _word_bits(words: Words) -> int:
    return 8 * words.itemsize
