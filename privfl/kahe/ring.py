"""Exact products in Z[X]/(X^N + 1), N = 2048, by floating-point Fourier transforms.

Polynomials are vectors of N coefficients in *paired order*: position 2j holds the coefficient of X^j and position
2j + 1 that of X^(j + N/2). Read as N/2 complex numbers p_j + i·p_(j+N/2), each multiplied by ω^j with ω = e^(iπ/N),
they are the polynomial modulo X^(N/2) − i on the unit circle, so that one complex transform of length N/2 turns
products modulo X^N + 1 into products of numbers (the right-angle convolution). Since public polynomials are uniform,
the order is a matter of definition, and nothing is ever rearranged.

The result is exact, because every coefficient of it is a whole number and the transforms' error stays below ½.
`error_bound` states the bound, after Brent, Percival and Zimmermann ("Error bounds on complex floating-point
multiplication", Math. Comp. 76, 2007, theorem 5.1): for factors x, y and a transform of 2^n points

    error < ‖x‖·‖y‖·((1 + ε)^(3n) · (1 + √5·ε)^(3n + 4) · (1 + β)^(3n + 3) − 1),  ε = 2^−53, β ≤ ε,

with three more multiplications by powers of ω than in the theorem. `Products` asserts it for the factor at hand.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

N: Final = 2048
HALF: Final = N // 2
BATCH: Final = 32
"""Polynomials that are worked on together: their 512 KiB of complex numbers stay in the L2 cache, and calls into numpy
are long enough for threads to take turns at the interpreter."""

_LEVELS: Final = HALF.bit_length() - 1
_EPSILON: Final = 2.0**-53
_PI_188: Final = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D
"""π · 2^188."""
_RELATIVE_ERROR: Final = math.expm1(
    3 * _LEVELS * math.log1p(_EPSILON)
    + (3 * _LEVELS + 4) * math.log1p(math.sqrt(5) * _EPSILON)
    + (3 * _LEVELS + 3) * math.log1p(_EPSILON)
)


def _twist() -> npt.NDArray[np.complex128]:
    """Return ω^0 … ω^(N/2 − 1) to the nearest double: `np.exp` rounds its argument first, and is off by up to 2ε.

    In whole numbers of 2^−160: what a thousand products lose is far below a double's last bit.
    """
    one, angle = 1 << 160, (_PI_188 >> 28) // N
    power, root = one, [0, 0]
    for i in range(14):  # the series of e^(ix); the next term is below 2^−160
        root[i % 2] += -power if i % 4 > 1 else power
        power = power * angle // (i + 1) >> 160
    cosine, sine, powers = one, 0, []
    for _ in range(HALF):
        powers.append(complex(cosine / one, sine / one))
        cosine, sine = cosine * root[0] - sine * root[1] >> 160, cosine * root[1] + sine * root[0] >> 160
    return np.array(powers)


_TWIST: Final = _twist()
_UNTWIST: Final = np.conj(_TWIST)

# Added to a float64 of magnitude below 2^51, it leaves numbers between 2^52 and 2^53, whose last bit counts ones: the
# sum is rounded to a whole number, and its low 32 bits are that number modulo 2^32.
_ROUNDING: Final = 1.5 * 2.0**52

Integers = npt.NDArray[np.signedinteger[Any]]
Words = npt.NDArray[np.uint32]


def error_bound(largest: int, norm: float) -> float:
    """Bound the error of a product's coefficients before they are rounded.

    Args:
        largest: largest magnitude of the first factor's coefficients.
        norm: Euclidean norm of the second factor.
    """
    return math.sqrt(N) * largest * norm * _RELATIVE_ERROR


def exact(largest: int, norm: float) -> bool:
    """Whether `Products` takes a factor of that norm, for polynomials with coefficients up to `largest`."""
    return error_bound(largest, norm) < 0.5 and math.sqrt(N) * largest * norm < 2.0**51


class Products:
    """Products of many polynomials with one. Holds workspace: one for each thread.

    Args:
        factor: the one, int32 or int64, shape (N,), in paired order.
        largest: largest magnitude of the others' coefficients.

    Raises:
        ValueError: the products could be rounded wrongly.
    """

    def __init__(self, factor: Integers, *, largest: int) -> None:
        norm = float(np.linalg.norm(factor.astype(np.float64)))
        if not exact(largest, norm):
            raise ValueError(
                f"products with coefficients up to {largest} and a factor of norm {norm:.0f} are not exact"
            )
        spectrum = factor.astype(np.float64).view(np.complex128) * _TWIST
        # 1/HALF, a power of two and therefore exact, makes up for the inverse transform without scaling.
        self._spectrum = np.fft.fft(spectrum) / HALF
        self._points = np.empty((BATCH, HALF), np.complex128)
        self._rounded = np.empty((BATCH, N), np.uint32)

    def add(self, polynomials: Integers, out: Words) -> None:
        """Add products to an array, modulo 2^32.

        Args:
            polynomials: int32, shape (count, N), count ≤ `BATCH`, in paired order, magnitudes as agreed.
            out: uint32, shape (count, N), changed in place.
        """
        points = self._points[: len(polynomials)]
        numbers = points.view(np.float64)
        np.copyto(numbers, polynomials)  # exact: 32 bits fit a float64
        np.multiply(points, _TWIST, out=points)
        np.fft.fft(points, axis=-1, out=points)
        np.multiply(points, self._spectrum, out=points)
        np.fft.ifft(points, axis=-1, norm="forward", out=points)
        np.multiply(points, _UNTWIST, out=points)
        np.add(numbers, _ROUNDING, out=numbers)
        # Casting to a shorter word keeps the low bits: reduction modulo 2^32.
        np.copyto(self._rounded[: len(points)], numbers.view(np.uint64), casting="unsafe")
        np.add(out, self._rounded[: len(points)], out=out)


def centred_high_bits(words: Words, bits: int, out: npt.NDArray[np.int32]) -> None:
    """Read the highest bits of uniform words as uniform centred residues modulo 2^bits: int32, same shape."""
    np.right_shift(words.view(np.int32), 32 - bits, out=out)


def split(polynomials: npt.NDArray[np.int32], low: npt.NDArray[np.int32], high: npt.NDArray[np.int32]) -> None:
    """Split centred coefficients into high·2^16 + low, with both in [−2^15, 2^15]: int32, same shape.

    A factor too large for `Products` at 32 bits, a sum of keys, is multiplied with either half.
    """
    np.left_shift(polynomials, 16, out=low)
    np.right_shift(low, 16, out=low)
    np.subtract(polynomials, low, out=high)  # wraps at most from 2^31 − 2^15 up, and then the shift below reads −2^15:
    np.right_shift(high, 16, out=high)  # congruent modulo 2^16, which is all that counts of a high half
