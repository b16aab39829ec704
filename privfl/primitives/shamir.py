"""Shamir's secret sharing, bytewise over GF(2^8) (Shamir 1979; the field of AES, FIPS 197 §4.2).

Every byte of a secret is shared by a polynomial of its own; secrets lie side by side as columns of one array, so
that a client deals all its secrets, and a server rebuilds many, in the same few table look-ups. At most 255 holders.
Table look-ups on secret bytes are not constant-time: SECURITY.md says so.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ReconstructionError
from privfl.primitives.entropy import Entropy

MAX_HOLDERS: Final = 255
_FIELD_POLYNOMIAL: Final = 0x11B

Bytes = npt.NDArray[np.uint8]


def deal(secret: bytes, *, points: Sequence[int], threshold: int, entropy: Entropy) -> Bytes:
    """Split a secret so that any `threshold` shares give it back and fewer say nothing.

    Args:
        secret: L bytes.
        points: the holders' evaluation points, distinct, 1 … 255.
        threshold: shares needed, 1 ≤ threshold ≤ len(points).
        entropy: source of the (threshold − 1)·L coefficients.

    Returns:
        uint8, shape (len(points), L): row i belongs to the holder at points[i].

    Raises:
        ValueError: points or threshold out of range.
    """
    points = tuple(operator.index(point) for point in points)
    if len(set(points)) != len(points) or not all(1 <= point <= MAX_HOLDERS for point in points):
        raise ValueError(f"evaluation points must be distinct and lie in 1 … {MAX_HOLDERS}")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"a threshold of {threshold} does not suit {len(points)} holders")
    constant = np.frombuffer(secret, np.uint8)
    random_bytes = entropy.token_bytes((threshold - 1) * len(secret))
    coefficients = np.frombuffer(random_bytes, np.uint8).reshape(threshold - 1, len(secret))
    rows = np.array(points, np.intp)[:, None] << 8
    shares = np.zeros((len(points), len(secret)), np.uint8)
    for coefficient in coefficients:  # Horner's rule, highest power first
        shares ^= coefficient
        shares = _PRODUCTS.take(rows + shares)
    shares ^= constant
    return shares


def reconstruct(points: Sequence[int], shares: Bytes) -> bytes:
    """Interpolate at zero.

    Args:
        points: evaluation points of the shares, distinct, 1 … 255; exactly as many as the threshold.
        shares: uint8, shape (len(points), L).

    Returns:
        L bytes. Wrong or too few shares give *some* bytes: compare them with a commitment.

    Raises:
        ReconstructionError: points repeat, lie out of range, or do not fit the shares.
    """
    points = tuple(operator.index(point) for point in points)
    if shares.ndim != 2 or shares.dtype != np.uint8 or len(points) != len(shares) or not points:
        raise ReconstructionError("shares are rows of bytes, one for each evaluation point")
    if len(set(points)) != len(points):
        raise ReconstructionError("shares need distinct evaluation points")
    if not all(1 <= point <= MAX_HOLDERS for point in points):
        raise ReconstructionError(f"evaluation points lie in 1 … {MAX_HOLDERS}")
    weights = _lagrange_at_zero(points)
    products = _PRODUCTS.take((weights[:, None] << 8) + shares)
    return bytes(np.bitwise_xor.reduce(products, axis=0).astype(np.uint8).tobytes())


@lru_cache(maxsize=4096)
def _lagrange_at_zero(points: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """λ_i = Π_{j≠i} x_j / (x_j − x_i); in GF(2^8) subtraction is exclusive or, and logarithms turn it into sums."""
    own = np.array(points, np.intp)
    differences = own[:, None] ^ own[None, :]
    np.fill_diagonal(differences, 1)  # whose logarithm is 0: j = i has no factor
    logs = _LOGARITHMS[own]
    exponents = logs.sum() - logs - _LOGARITHMS[differences].sum(axis=1)
    weights: npt.NDArray[np.intp] = _EXPONENTIALS[exponents % 255]
    weights.flags.writeable = False
    return weights


def _tables() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Bytes]:
    exponentials, logarithms, value = [0] * 255, [0] * 256, 1
    for power in range(255):
        exponentials[power], logarithms[value] = value, power
        value ^= value << 1  # times the generator 3 = x + 1
        if value & 0x100:
            value ^= _FIELD_POLYNOMIAL
    powers, logs = np.array(exponentials, np.intp), np.array(logarithms, np.intp)
    products = np.zeros((256, 256), np.uint8)
    products[1:, 1:] = powers[(logs[1:, None] + logs[None, 1:]) % 255]
    return powers, logs, products.ravel()


_EXPONENTIALS, _LOGARITHMS, _PRODUCTS = _tables()
