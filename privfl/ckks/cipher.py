"""Encrypting a vector under the committee's joint key.

A vector of m coordinates is cut into polynomials of N. With the joint key (b, a), b = −a·s + e, and fresh u, e₀, e₁,

    c₀ = b · u + e₀ + Δ · x,   c₁ = a · u + e₁   modulo X^N + 1 and Q = q₁·q₂,

u uniform on {−1, 0, 1} and errors discrete Gaussians of standard deviation 3.2. These are SEAL's ciphertexts of CKKS,
with the coordinates as coefficients of the plaintext: SEAL loads, adds and, given the key, decrypts them. Two choices
differ from what SEAL's own encryptor does, and both are for the better here:

- the message is Δ·x exactly, where CKKS's encoder rounds a floating-point transform of it;
- there is no third prime to divide the error by. That would make the error 16 times smaller and the modulus of the
  public key half as long again; without it, keys for N = 4,096 have 66 to 86 bits, where 106 would be allowed.

Coefficients of c₀ beyond m are not sent. c₁ is sent whole, as it is multiplied by the secret.

References:
    Cheon, Kim, Kim, Song, ASIACRYPT 2017 (CKKS); Lyubashevsky, Peikert, Regev, EUROCRYPT 2010 (the encryption).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.ckks.modulus import PRIMES, Modulus, Residues, times
from privfl.lattice.fourier import fourier
from privfl.primitives.entropy import Entropy
from privfl.primitives.prg import spread
from privfl.primitives.sampling import TERNARY, gaussian, sampler

ERROR_STD: Final = 3.2
"""Of keys and ciphertexts: 8/√(2π) to two digits, as the homomorphic encryption standard has it."""
ERRORS: Final = gaussian("3.2", 44)
BATCH: Final = 16
"""Polynomials that are worked on together: with N = 4,096, half a mebibyte of complex numbers."""

_BLOCK: Final = 64
"""Polynomials that share stream keys, and go to one thread."""
_OWN: Final = 0
_EXACT_BITS: Final = 50

Store = Callable[[int, npt.NDArray[np.uint32]], None]
"""Writes the vector's residues modulo 2^32 from a coordinate on into an array."""


def error_std(degree: int, dealers: int, ciphertexts: int) -> float:
    """Standard deviation of a coefficient's error in a sum of ciphertexts: of Σ e·u + e₀ + s·e₁.

    With one secret for each dealer: s has variance ⅔ a dealer, e 3.2², u ⅔.
    """
    variance = ERROR_STD**2 * (1 + degree * dealers * 4 / 3)
    return math.sqrt(ciphertexts * variance)


class _Desk:
    """Workspace of one thread."""

    def __init__(self, degree: int) -> None:
        self.points, self.low, self.high = (np.empty((BATCH, degree // 2), np.complex128) for _ in range(3))
        self.vector = np.empty(BATCH * degree, np.uint32)
        self.message = np.empty((PRIMES, BATCH * degree), np.int64)


def _remainders(numbers: npt.NDArray[np.float64], prime: int, out: Residues) -> None:
    """Reduce whole numbers of magnitude below 2^51, which are lost on the way."""
    # (x + ½)/q is at least 1/(2q) away from every whole number, and computed to within 2^−52 of its magnitude, which
    # is less: so its floor is the quotient. Products of quotient and prime are no longer than x, and therefore exact.
    quotients = numbers + 0.5
    quotients *= 1.0 / prime
    np.floor(quotients, out=quotients)
    quotients *= prime
    numbers -= quotients
    np.copyto(out, numbers, casting="unsafe")


class JointKey:
    """The committee's public key, ready to encrypt under.

    Args:
        modulus: N and the primes.
        own: b, int64, shape (2, N), in paired order.
        common: a, likewise.
    """

    def __init__(self, modulus: Modulus, own: Residues, common: Residues) -> None:
        self.modulus = modulus
        self._fourier = fourier(modulus.degree)
        self._degree_bits = modulus.degree.bit_length() - 1
        # A ternary polynomial's norm is at most √N. Where whole coefficients would not be exact, halves are.
        self._split_bits = 0 if self._exact(modulus.bits) else (modulus.bits + 1) // 2
        if self._split_bits and not self._exact(self._split_bits + 1):
            raise ValueError(f"products modulo primes of {modulus.bits} bits are not exact")
        self._spectra = [
            [[self._fourier.spectrum(part) for part in self._parts(row, prime)] for row, prime in self._rows(key)]
            for key in (own, common)
        ]

    def _exact(self, bits: int) -> bool:
        return self._fourier.exact(1 << (bits - 1), math.sqrt(self.modulus.degree))

    def _rows(self, key: Residues) -> zip[tuple[Residues, int]]:
        return zip(key, self.modulus.primes, strict=True)

    def _parts(self, row: Residues, prime: int) -> list[Residues]:
        """Centre residues, and split them into low and high parts if need be: low + high · 2^split."""
        centred = np.where(row > prime // 2, row - prime, row)
        if not self._split_bits:
            return [centred]
        half = 1 << (self._split_bits - 1)
        low = ((centred + half) & ((1 << self._split_bits) - 1)) - half
        return [low, (centred - low) >> self._split_bits]

    def encrypt(
        self, store: Store, *, length: int, scale_bits: int, entropy: Entropy, workers: int = 1
    ) -> tuple[Residues, Residues]:
        """Encrypt a vector.

        Args:
            store: writes the vector's coordinates.
            length: m.
            scale_bits: log₂ Δ.
            entropy: source of u, e₀ and e₁.
            workers: threads; 1 starts none.

        Returns:
            c₀ without what lies beyond m, int64, shape (2, m), and c₁, int64, shape (2, ⌈m/N⌉·N).
        """
        degree = self.modulus.degree
        whole = self.modulus.polynomials(length) * degree
        own, common = np.empty((PRIMES, length), np.int64), np.empty((PRIMES, whole), np.int64)
        # Keys of the streams of u, e₀ and e₁: fresh ones for each block, drawn in order and used there only.
        draws = [
            [sampler(kind, entropy, BATCH * degree) for kind in (TERNARY, ERRORS, ERRORS)]
            for _ in range(0, whole, _BLOCK * degree)
        ]
        scales = [(1 << scale_bits) % prime for prime in self.modulus.primes]

        def walk(first: int, last: int) -> None:
            desk = _Desk(degree)
            for start in range(first, last, BATCH * degree):
                stop = min(start + BATCH * degree, last)
                masks, *errors = draws[start // (_BLOCK * degree)]
                rows = (stop - start) // degree
                points = desk.points[:rows]
                self._fourier.transform(masks.draw(stop - start).reshape(rows, degree), points)
                desk.vector[:] = 0
                end = min(stop, length)
                if start < end:
                    store(start, desk.vector[: end - start])
                for row, (prime, scale) in enumerate(zip(self.modulus.primes, scales, strict=True)):
                    desk.message[row] = times(desk.vector.view(np.int32).astype(np.int64), scale, prime)
                for key, (noise, out) in enumerate(zip(errors, (own, common), strict=True)):
                    error = noise.draw(stop - start)
                    for row, prime in enumerate(self.modulus.primes):
                        numbers = self._product(self._spectra[key][row], points, desk, prime).reshape(-1)
                        numbers += error
                        if key == _OWN:
                            numbers += desk.message[row, : stop - start]
                        place = out[row, start:stop]
                        _remainders(numbers[: len(place)], prime, place)

        spread(whole, _BLOCK * degree, walk, workers=workers)
        return own, common

    def _product(
        self, spectra: list[npt.NDArray[np.complex128]], points: npt.NDArray[np.complex128], desk: _Desk, prime: int
    ) -> npt.NDArray[np.float64]:
        """Multiply transformed polynomials by one of the key's: exact, of magnitude below 2^50."""
        low = self._rounded(spectra[0], points, desk.low)
        if len(spectra) == 1:
            return low
        high = self._rounded(spectra[1], points, desk.high)
        if self.modulus.bits - 1 + self._degree_bits >= _EXACT_BITS:
            # Too long to be shifted as it is: its remainder first. What is added here is below 2^50 again.
            shifted = times(high.astype(np.int64), 1 << self._split_bits, prime)
            np.copyto(high, shifted)
        else:
            high *= float(1 << self._split_bits)
        low += high
        return low

    def _rounded(
        self,
        spectrum: npt.NDArray[np.complex128],
        points: npt.NDArray[np.complex128],
        room: npt.NDArray[np.complex128],
    ) -> npt.NDArray[np.float64]:
        product = room[: len(points)]
        np.multiply(points, spectrum, out=product)
        numbers = self._fourier.back(product)
        return np.rint(numbers, out=numbers)
