"""The randomised Walsh–Hadamard transform: spreads a vector evenly over its coordinates, whatever it looked like.

x ↦ H·D·x/√m, with m a power of two, D random signs from a public seed and H the Hadamard matrix: a rotation, which
keeps norms. Afterwards every coordinate is about ‖x‖/√m, so that a ring that holds noise and such coordinates can be
narrow, and rounding costs every update alike.

H is a Kronecker product of Hadamard matrices of order 8 or less. Each is a product with a small matrix along one axis;
taken transposed every time, the axes pass in turn and the order comes out as it was. Seven small products for a million
coordinates take 3 to 4 ns for each; butterflies in numpy take some 15.

References:
    Ailon, Chazelle, STOC 2006; Kairouz, Liu, Steinke, *The Distributed Discrete Gaussian Mechanism*, ICML 2021, §3.2.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.primitives.prg import public_words

SEED_BYTES: Final = 16
_RADIX_BITS: Final = 3
_ROWS: Final = 2048  # products so small that BLAS starts no threads for them, which would wait for each other, busily
_WORD_BITS: Final = 64
_SIGN: Final = np.uint64(1 << 63)

Floats = npt.NDArray[np.float64]


def padded(length: int) -> int:
    """Return the smallest power of two that is at least `length`."""
    return 1 << (length - 1).bit_length()


def rotate(vector: Floats, seed: bytes) -> Floats:
    """Rotate.

    Args:
        vector: float64, shape (m,), m a power of two; its contents are lost.
        seed: 16 public bytes, the same for all clients of a sum.

    Returns:
        float64, shape (m,): H·D·x/√m, in this array or in a new one.

    Raises:
        ValueError: the length is no power of two.

    Guarantees:
        1. Linear: the rotation of a sum is the sum of rotations, and norms stay, up to rounding in float64.
        2. `rotate_back` undoes it.
    """
    _check(vector)
    _flip(vector, seed)
    return _transform(vector)


def rotate_back(vector: Floats, seed: bytes) -> Floats:
    """Undo `rotate`; as for it."""
    _check(vector)
    back = _transform(vector)  # H/√m is its own inverse, and so are signs
    _flip(back, seed)
    return back


def _check(vector: Floats) -> None:
    if len(vector) != padded(len(vector)):
        raise ValueError(f"a rotation of {len(vector)} coordinates: {padded(len(vector))} works, a power of two")


def _transform(vector: Floats) -> Floats:
    bits = len(vector).bit_length() - 1
    source, target = vector, np.empty_like(vector)
    while bits:
        order = 1 << min(bits, _RADIX_BITS)
        rows = min(_ROWS, len(vector) // order)
        columns = source.reshape(order, -1, rows).transpose(1, 2, 0)
        np.matmul(columns, _hadamard(order), out=target.reshape(-1, rows, order))
        source, target = target, source
        bits -= order.bit_length() - 1
    return source


def _flip(vector: Floats, seed: bytes) -> None:
    """Change signs: bit j of word i of the seed's expansion is that of coordinate j·⌈m/64⌉ + i."""
    columns = max(1, len(vector) // _WORD_BITS)
    words = public_words(seed, columns)
    for j, row in enumerate(vector.reshape(-1, columns).view(np.uint64)):
        np.bitwise_xor(row, (words << np.uint64(63 - j)) & _SIGN, out=row)


@cache
def _hadamard(order: int) -> Floats:
    """H/√order; the matrix of Sylvester."""
    matrix = np.ones((1, 1))
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    matrix /= np.sqrt(order)
    matrix.flags.writeable = False
    return matrix
