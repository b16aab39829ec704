"""The modulus of the ciphertexts: two primes that SEAL could have chosen, and arithmetic modulo each of them.

SEAL keeps a number modulo Q = q₁·q₂ as its residues modulo both (a residue number system), and multiplies polynomials
of degree below N by number-theoretic transforms, for which q ≡ 1 mod 2N. Sums, multiples by constants and noise need no
transforms: here they are done on the residues, as int64.

Quotients are estimated in floating point and corrected: the estimate is off by at most one, so a remainder computed in
wrapping 64-bit integers lies within one multiple of the prime of the right one, which is then set right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding import bitpack
from privfl.encoding.residues import Ring
from privfl.errors import DecodeError
from privfl.primitives.prg import Stream

PRIMES: Final = 2

Residues = npt.NDArray[np.int64]
"""Numbers from 0 to below their prime."""


@dataclass(frozen=True, slots=True)
class Modulus:
    """N, and two primes of equally many bits.

    Attributes:
        degree: N.
        bits: of each prime.
        primes: the two largest primes of so many bits that leave 1 modulo 2N, ascending.
    """

    degree: int
    bits: int
    primes: tuple[int, int]

    @property
    def product(self) -> int:
        """Q = q₁·q₂."""
        return self.primes[0] * self.primes[1]

    def polynomials(self, length: int) -> int:
        """How many polynomials hold so many coordinates."""
        return -(-length // self.degree)

    def vector_bytes(self, length: int) -> int:
        """Size of so many residues modulo both primes as they travel: packed, those of the first prime first."""
        return PRIMES * Ring(self.bits).vector_bytes(length)

    def pack(self, residues: Residues, out: npt.NDArray[np.uint64]) -> None:
        """Write residues as they travel.

        Args:
            residues: int64, shape (2, m).
            out: uint64, `vector_bytes(m)` bytes of it.
        """
        step = bitpack.packed_words(bitpack.BLOCK, self.bits, 64)
        for row, target in zip(residues, out.reshape(PRIMES, -1), strict=True):
            for block, start in enumerate(range(0, len(row), bitpack.BLOCK)):
                part = row[start : start + bitpack.BLOCK]
                values = np.zeros(-(-len(part) // 64) * 64, np.uint64)
                values[: len(part)] = part.view(np.uint64)
                # Keeping the low bits loses nothing: residues lie below a prime of so many bits.
                bitpack.pack_block(
                    values, self.bits, target[block * step : block * step + len(values) // 64 * self.bits]
                )

    def packed(self, residues: Residues) -> bytes:
        """Return residues, int64, shape (2, m), as they travel."""
        out = np.empty(self.vector_bytes(residues.shape[1]) // 8, np.uint64)
        self.pack(residues, out)
        return out.tobytes()

    def unpack(self, tail: memoryview | bytes, length: int) -> Residues:
        """Read residues as they travelled.

        Returns:
            int64, shape (2, length).

        Raises:
            DecodeError: padding that is not zero, or a number that is no residue: one prime or more.
        """
        ring, residues = Ring(self.bits), np.zeros((PRIMES, length), np.int64)
        view = memoryview(tail)
        size = len(view) // PRIMES
        for row, prime, place in zip(residues, self.primes, range(0, len(view), size), strict=True):
            words = row.view(np.uint64)
            ring.receive(view[place : place + size], words)
            if int(words.max()) >= prime:
                raise DecodeError("a number that is no residue modulo the agreed primes")
        return residues

    def residues_of(self, numbers: npt.NDArray[np.signedinteger[Any]]) -> Residues:
        """Reduce whole numbers of magnitude below 2^62: int64, shape (2, *numbers.shape)."""
        wide = numbers.astype(np.int64)
        return np.stack([reduce(wide, prime) for prime in self.primes])

    def uniform(self, streams: Sequence[Stream], count: int) -> Residues:
        """Draw uniform residues, a stream for each prime: int64, shape (2, count)."""
        pairs = zip(streams, self.primes, strict=True)
        return np.stack([uniform(stream, prime, self.bits, count) for stream, prime in pairs])

    def add(self, total: Residues, other: Residues) -> None:
        """Add residues to others in place; both of shape (2, …)."""
        np.add(total, other, out=total)
        for row, prime in zip(total, self.primes, strict=True):
            _at_most_once(row, prime)

    def negate(self, residues: Residues) -> None:
        """Negate residues in place; of shape (2, …)."""
        for row, prime in zip(residues, self.primes, strict=True):
            np.subtract(prime, row, out=row)
            _at_most_once(row, prime)

    def centred(self, residues: Residues) -> npt.NDArray[np.float64]:
        """Read numbers of [−(Q − q₁)/2, (Q + q₁)/2) from their residues, to a relative precision of 2^−50.

        Chinese remainders in mixed radix: x = r₁ + q₁·t with t = (r₂ − r₁)·q₁^−1 mod q₂, centred by centring t.

        Args:
            residues: int64, shape (2, m).
        """
        first, second = self.primes
        digit = reduce(residues[1] - residues[0], second)
        digit = times(digit, pow(first, -1, second), second)
        digit -= np.where(digit > second // 2, second, 0)
        # Neither factor rounds; of the sum only what lies below a double's last bit is lost.
        centred: npt.NDArray[np.float64] = digit * np.float64(first) + residues[0]
        return centred


@cache
def modulus(degree: int, bits: int) -> Modulus:
    """Return the modulus of that degree and so many bits for each prime."""
    found: list[int] = []
    candidate = ((1 << bits) - 1) // (2 * degree) * 2 * degree + 1
    while len(found) < PRIMES:
        if candidate < 1 << bits and is_prime(candidate):
            found.append(candidate)
        candidate -= 2 * degree
    return Modulus(degree, bits, (found[1], found[0]))


def is_prime(number: int) -> bool:
    """Whether a number below 2^64 is prime: Miller and Rabin's test with bases that leave no doubt there."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # Sorenson and Webster, Math. Comp. 86, 2017
    if number < 2 or any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(pow(base, odd, number), twos, number) for base in bases)


def _passes(power: int, twos: int, number: int) -> bool:
    return power == 1 or any(pow(power, 1 << i, number) == number - 1 for i in range(twos))


def reduce(numbers: npt.NDArray[np.int64], prime: int) -> Residues:
    """Reduce whole numbers of magnitude below 2^62."""
    quotients = np.floor(numbers * (1.0 / prime)).astype(np.int64)
    # The quotient is below 2^30, so its estimate is off by less than one, and so is its floor.
    remainders: Residues = numbers - quotients * prime
    _within_one(remainders, prime)
    return remainders


def times(numbers: npt.NDArray[np.int64], constant: int, prime: int) -> Residues:
    """Multiply whole numbers of magnitude up to 2^52 by a constant below the prime."""
    # Estimated to within 2^52 · 2^−52 + ½ of the quotient: the wrapped difference is the true one, below 2·prime.
    quotients = np.rint(numbers * (constant / prime)).astype(np.int64)
    remainders: Residues = numbers * np.int64(constant) - quotients * np.int64(prime)
    _within_one(remainders, prime)
    _within_one(remainders, prime)
    return remainders


def uniform(stream: Stream, prime: int, bits: int, count: int) -> Residues:
    """Draw uniform residues from a stream of pseudorandom bytes.

    Of each 64-bit word the low bits count; words that give a prime or more are replaced by the stream's next, until
    none is left: exactly uniform, and the same for everyone who draws from the same stream.
    """
    words = np.empty(count, np.uint64)
    stream.fill(words)
    words &= np.uint64((1 << bits) - 1)
    (missing,) = np.nonzero(words >= prime)
    while len(missing):
        more = np.empty(len(missing), np.uint64)
        stream.fill(more)
        words[missing] = more & np.uint64((1 << bits) - 1)
        missing = missing[words[missing] >= prime]
    return words.view(np.int64)


def _within_one(numbers: npt.NDArray[np.int64], prime: int) -> None:
    """Bring numbers from (−prime, 2·prime) to their residues."""
    numbers += (numbers >> 63) & prime  # the sign as a mask: all ones for negative numbers
    _at_most_once(numbers, prime)


def _at_most_once(numbers: npt.NDArray[np.int64], prime: int) -> None:
    """Bring numbers from [0, 2·prime) to their residues."""
    numbers -= prime
    numbers += (numbers >> 63) & prime
