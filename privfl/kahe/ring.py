"""Exact products with one-time keys and their sums, modulo X^N + 1 and 2^32, N = 2048.

Polynomials are in the paired order of `privfl.lattice.fourier`, which has the transforms and the bound on their error;
since public polynomials are uniform, the order is a matter of definition. `Products` asserts the bound for the factor
at hand.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.lattice.fourier import Integers, fourier

N: Final = 2048
HALF: Final = N // 2
BATCH: Final = 32
"""Polynomials that are worked on together: their 512 KiB of complex numbers stay in the L2 cache, and calls into numpy
are long enough for threads to take turns at the interpreter."""

_FOURIER: Final = fourier(N)

# Added to a float64 of magnitude below 2^51, it leaves numbers between 2^52 and 2^53, whose last bit counts ones: the
# sum is rounded to a whole number, and its low 32 bits are that number modulo 2^32.
_ROUNDING: Final = 1.5 * 2.0**52

Words = npt.NDArray[np.uint32]


def exact(largest: int, norm: float) -> bool:
    """Whether `Products` takes a factor of that norm, for polynomials with coefficients up to `largest`."""
    return _FOURIER.exact(largest, norm)


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
        self._spectrum = _FOURIER.spectrum(factor)
        self._points = np.empty((BATCH, HALF), np.complex128)
        self._rounded = np.empty((BATCH, N), np.uint32)

    def add(self, polynomials: Integers, out: Words) -> None:
        """Add products to an array, modulo 2^32.

        Args:
            polynomials: int32, shape (count, N), count ≤ `BATCH`, in paired order, magnitudes as agreed.
            out: uint32, shape (count, N), changed in place.
        """
        points, rounded = self._points[: len(polynomials)], self._rounded[: len(polynomials)]
        _FOURIER.transform(polynomials, points)
        np.multiply(points, self._spectrum, out=points)
        numbers = _FOURIER.back(points)
        np.add(numbers, _ROUNDING, out=numbers)
        # Casting to a shorter word keeps the low bits: reduction modulo 2^32.
        np.copyto(rounded, numbers.view(np.uint64), casting="unsafe")
        np.add(out, rounded, out=out)


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
