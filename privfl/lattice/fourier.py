"""Exact products in Z[X]/(X^N + 1), N a power of two, by floating-point Fourier transforms.

Polynomials are vectors of N coefficients in *paired order*: position 2j holds the coefficient of X^j and position
2j + 1 that of X^(j + N/2). Read as N/2 complex numbers p_j + i·p_(j+N/2), each multiplied by ω^j with ω = e^(iπ/N),
they are the polynomial modulo X^(N/2) − i on the unit circle, so that one complex transform of length N/2 turns
products modulo X^N + 1 into products of numbers (the right-angle convolution). Where public polynomials are uniform,
the order is a matter of definition, and nothing is ever rearranged.

The result is exact, because every coefficient of it is a whole number and the transforms' error stays below ½.
`Fourier.error_bound` states the bound, after Brent, Percival and Zimmermann ("Error bounds on complex floating-point
multiplication", Math. Comp. 76, 2007, theorem 5.1): for factors x, y and a transform of 2^n points

    error < ‖x‖·‖y‖·((1 + ε)^(3n) · (1 + √5·ε)^(3n + 4) · (1 + β)^(3n + 3) − 1),  ε = 2^−53, β ≤ ε,

with three more multiplications by powers of ω than in the theorem. Whoever multiplies asks `Fourier.exact` about the
factor at hand; nothing here rounds.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

HIGHEST_DEGREE: Final = 1 << 14
"""Up to here the powers of ω are shown to be the nearest doubles, on which β in the bound rests."""

_EPSILON: Final = 2.0**-53
_PI_188: Final = 0x3243F6A8885A308D313198A2E03707344A4093822299F31D
"""π · 2^188."""

Integers = npt.NDArray[np.signedinteger[Any]]
Points = npt.NDArray[np.complex128]


@cache
def fourier(degree: int) -> Fourier:
    """Return the transforms of that degree; made once, and shared by all threads, since they hold no workspace.

    Args:
        degree: N, a power of two up to `HIGHEST_DEGREE`.
    """
    return Fourier(degree)


class Fourier:
    """The transforms of polynomials of one degree. They work in their callers' arrays and keep nothing of them.

    A product is `transform` of many polynomials, multiplication by the `spectrum` of one, `back`, and rounding:

    >>> import numpy as np
    >>> ring, points = fourier(4), np.empty((1, 2), np.complex128)
    >>> ring.transform(np.array([[1, 0, 2, 0]]), points)  # 1 + 2X: X^0, X^2, X^1, X^3
    >>> points *= ring.spectrum(np.array([0, 0, 3, 5]))  # 3X + 5X³
    >>> np.rint(ring.back(points)).astype(int).tolist()  # −10 + 3X + 6X² + 5X³, since X⁴ = −1
    [[-10, 6, 3, 5]]

    Args:
        degree: N, a power of two up to `HIGHEST_DEGREE`.

    Attributes:
        degree: N.
        half: N/2, points of a transform.

    Raises:
        ValueError: not such a degree.
    """

    def __init__(self, degree: int) -> None:
        if degree.bit_count() != 1 or not 2 <= degree <= HIGHEST_DEGREE:
            raise ValueError(f"degree {degree}: a power of two from 2 to {HIGHEST_DEGREE} is due")
        self.degree: Final = degree
        self.half: Final = degree // 2
        self._twist: Final = _twist(degree)
        self._untwist: Final = np.conj(self._twist)
        for powers in (self._twist, self._untwist):
            powers.flags.writeable = False  # shared by everybody who multiplies in this degree
        levels = self.half.bit_length() - 1  # n: a transform has 2^n points
        self._relative_error: Final = math.expm1(
            3 * levels * math.log1p(_EPSILON)
            + (3 * levels + 4) * math.log1p(math.sqrt(5) * _EPSILON)
            + (3 * levels + 3) * math.log1p(_EPSILON)
        )

    def transform(self, polynomials: Integers, points: Points) -> None:
        """Transform polynomials.

        Args:
            polynomials: any signed integers of magnitude up to 2^53, which a float64 holds exactly; shape (count, N),
                in paired order.
            points: complex128, shape (count, N/2), contiguous: overwritten with the transforms.
        """
        np.copyto(points.view(np.float64), polynomials)
        np.multiply(points, self._twist, out=points)
        np.fft.fft(points, axis=-1, out=points)

    def back(self, points: Points) -> npt.NDArray[np.float64]:
        """Transform back in place, without the factor 2/N: `spectrum` has brought it in.

        Args:
            points: complex128, shape (count, N/2), contiguous: overwritten.

        Returns:
            The coefficients before they are rounded, float64, shape (count, N), in paired order: a view of `points`.
        """
        np.fft.ifft(points, axis=-1, norm="forward", out=points)
        np.multiply(points, self._untwist, out=points)
        return points.view(np.float64)

    def spectrum(self, factor: Integers) -> Points:
        """Transform the factor that many polynomials are to be multiplied with, and divide by N/2.

        Args:
            factor: signed integers as for `transform`, shape (N,), in paired order.

        Returns:
            complex128, shape (N/2,): what to multiply the others' points by.
        """
        points = np.empty(self.half, np.complex128)
        self.transform(factor, points)
        # N/2 is a power of two, so that this division is exact; it makes up for the inverse transform without scaling.
        return np.divide(points, self.half, out=points)

    def error_bound(self, largest: int, norm: float) -> float:
        """Bound the error of a product's coefficients before they are rounded.

        Args:
            largest: largest magnitude of the first factor's coefficients.
            norm: Euclidean norm of the second factor.
        """
        return math.sqrt(self.degree) * largest * norm * self._relative_error

    def exact(self, largest: int, norm: float) -> bool:
        """Whether rounding gives the product of any polynomial with coefficients up to `largest` and a factor.

        Then its coefficients are also below 2^51 in magnitude, so that 1.5 · 2^52 may be added to round them.

        Args:
            largest: as for `error_bound`.
            norm: likewise.
        """
        return self.error_bound(largest, norm) < 0.5 and math.sqrt(self.degree) * largest * norm < 2.0**51


def _twist(degree: int) -> Points:
    """Return ω^0 … ω^(N/2 − 1) to the nearest double: `np.exp` rounds its argument first, and is off by up to 2ε.

    In whole numbers of 2^−160: the root is off by less than 2^6 of them, and so is each of at most 2^13 products more
    than the one before it. Together they lose less than 2^−141, while the last bit of a double counts 2^−65 and more
    in sines from π/2^14 up.
    """
    one, angle = 1 << 160, (_PI_188 >> 28) // degree
    power, root, i = one, [0, 0], 0
    while power:  # the series of e^(ix), until its next term is below 2^−160
        root[i % 2] += -power if i % 4 > 1 else power
        i += 1
        power = power * angle // i >> 160
    cosine, sine, powers = one, 0, []
    for _ in range(degree // 2):
        powers.append(complex(cosine / one, sine / one))  # whole numbers are divided to the nearest double
        cosine, sine = cosine * root[0] - sine * root[1] >> 160, cosine * root[1] + sine * root[0] >> 160
    return np.array(powers)
