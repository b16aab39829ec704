"""The formulas of kahe once more, in whole numbers: nothing here knows privfl, or multiplies by transforms.

Polynomials are lists of N coefficients in natural order, that of X^i at place i. Keys, errors and vectors travel in
paired order: X^j at place 2j, X^(j + N/2) at place 2j + 1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import count as counting

from known_answers.reference import aes_ctr, digest, words

N = 2048
BLOCK = 2**18
"""Coordinates whose errors come from one pair of streams."""
TAIL = 88
FINE_BITS = 128
_PLACES = 400
"""Binary places of the probabilities."""


# -- errors and keys --------------------------------------------------------------------------------------------------


@cache
def thresholds() -> tuple[int, ...]:
    """⌊2^144 · P[X ≤ k]⌋ for k = −88 … 88, of the discrete Gaussian of deviation 6.5: P[X = k] ~ exp(−2k²/169)."""
    one = 1 << _PLACES
    root = term = one
    for i in range(1, 100):  # exp(−2/169) by its series
        term = -term * 2 // (169 * i)
        root += term
    weights, step = [one], root
    for _ in range(TAIL):  # k² = 1 + 3 + … + (2k − 1)
        weights.append(weights[-1] * step >> _PLACES)
        step = step * root * root >> 2 * _PLACES
    both = weights[:0:-1] + weights
    reached = [sum(both[: i + 1]) for i in range(len(both))]
    return tuple((part << 16 + FINE_BITS) // reached[-1] for part in reached)


def gaussian(coarse_key: bytes, fine_key: bytes, count: int) -> list[int]:
    """Draws: 16 bits of one stream, and 128 of the other, in two words, if these do not settle the value."""
    found, fine = [], _fine(fine_key)
    for coarse in words(coarse_key, 16, count):
        low, high = _between(coarse)
        found.append(low if low == high else _value(coarse << FINE_BITS | next(fine)))
    return found


def unsettled(coarse_key: bytes, fine_key: bytes, count: int) -> list[tuple[int, int, int]]:
    """Of the draws that 16 bits do not settle: the smallest value that they leave, the one drawn, the largest."""
    coarse, drawn = words(coarse_key, 16, count), gaussian(coarse_key, fine_key, count)
    between = [(*_between(word), value) for word, value in zip(coarse, drawn, strict=True)]
    return [(low, value, high) for low, high, value in between if low < high]


def _between(coarse: int) -> tuple[int, int]:
    return _value(coarse << FINE_BITS), _value((coarse + 1 << FINE_BITS) - 1)


def _value(draw: int) -> int:
    return bisect_right(thresholds(), draw) - TAIL


def _fine(key: bytes) -> Iterator[int]:
    """Pairs of little-endian words, the higher of a pair first."""
    for counter in counting():
        block = aes_ctr(key, counter, 16)
        above, below = (int.from_bytes(half, "little") for half in (block[:8], block[8:]))
        yield above << 64 | below


# -- polynomials ------------------------------------------------------------------------------------------------------


def natural(paired: Sequence[int]) -> list[int]:
    """From paired to natural order."""
    return [*paired[0::2], *paired[1::2]]


def paired(polynomial: Sequence[int]) -> list[int]:
    """The reverse."""
    return [
        coefficient for pair in zip(polynomial[: N // 2], polynomial[N // 2 :], strict=True) for coefficient in pair
    ]


def public_polynomial(session: bytes, index: int, bits: int) -> list[int]:
    """a_l: the high bits of N words of a public stream."""
    key = digest(b"privfl/v1/kahe/public", session)[:16]
    stream = aes_ctr(key, index * N // 4, 4 * N)
    drawn = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") >> (32 - bits) for i in range(N)]
    return natural(drawn)


def product(polynomial: Sequence[int], factor: Sequence[int]) -> list[int]:
    """Product modulo X^N + 1, not reduced: the values at X = 2^64 are multiplied, where coefficients do not overlap.

    Args:
        polynomial: from 0 to 2^32.
        factor: of either sign, below 2^20.
    """
    signs = (_at_a_power(polynomial) * _at_a_power([max(sign * c, 0) for c in factor]) for sign in (1, -1))
    plus, minus = (value.to_bytes(16 * N, "little") for value in signs)
    digits = [
        int.from_bytes(plus[i : i + 8], "little") - int.from_bytes(minus[i : i + 8], "little")
        for i in range(0, 16 * N, 8)
    ]
    return [low - high for low, high in zip(digits[:N], digits[N:], strict=True)]


def _at_a_power(coefficients: Sequence[int]) -> int:
    return int.from_bytes(b"".join(c.to_bytes(8, "little") for c in coefficients), "little")


# -- the scheme -------------------------------------------------------------------------------------------------------


def encrypt(vector: Sequence[int], keys: Sequence[bytes], session: bytes, bits: int, scale_bits: int) -> list[int]:
    """c_l = a_l · s + e_l + Δ · x_l modulo 2^b, without the coefficients beyond the vector's length.

    Args:
        vector: the coordinates.
        keys: of the streams, in the order in which they are drawn: two for s, two for the errors of each block.
        session: the session id.
        bits: b.
        scale_bits: log₂ Δ.
    """
    key, ciphertext = natural(gaussian(keys[0], keys[1], N)), list[int]()
    for start in range(0, len(vector), BLOCK):
        block = vector[start : start + BLOCK]
        polynomials = -(-len(block) // N)
        error_keys = keys[2 + 2 * (start // BLOCK) :]
        errors = gaussian(error_keys[0], error_keys[1], polynomials * N)
        for i in range(polynomials):
            public = public_polynomial(session, (start // N) + i, bits)
            masks = paired(product(public, key))
            part, noise = block[i * N : (i + 1) * N], errors[i * N : (i + 1) * N]
            ciphertext += [
                (mask + error + (x << scale_bits)) % 2**bits for mask, error, x in zip(masks, noise, part, strict=False)
            ]
    return ciphertext


def decrypt(total: Sequence[int], key_sum: Sequence[int], session: bytes, bits: int, scale_bits: int) -> list[int]:
    """(C_l − a_l · S) / Δ, centred and to the nearest whole number.

    Args:
        total: C, the sum of ciphertexts.
        key_sum: S, the sum of their keys, in paired order.
        session: the session id.
        bits: b.
        scale_bits: log₂ Δ.
    """
    opened, factor = list[int](), natural(key_sum)
    for start in range(0, len(total), N):
        masks = paired(product(public_polynomial(session, start // N, bits), factor))
        for word, mask in zip(total[start : start + N], masks, strict=False):
            residue = (word - mask + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
            opened.append((2 * residue + 2**scale_bits) // 2 ** (scale_bits + 1))
    return opened


def pack(residues: Sequence[int], bits: int) -> bytes:
    """Residues as they travel: as words of 32 bits, or b bits each.

    Packed, a block is a table of 32 rows, and every column of it a number of 32·b bits, the first row's residue lowest;
    of these numbers the lowest words come first, then the next.
    """
    if bits == 32:
        return b"".join(residue.to_bytes(4, "little") for residue in residues)
    packed = b""
    for start in range(0, len(residues), BLOCK):
        block = residues[start : start + BLOCK]
        columns = -(-len(block) // 32)
        numbers = [sum(residue << bits * row for row, residue in enumerate(block[j::columns])) for j in range(columns)]
        packed += b"".join((n >> 32 * word & 2**32 - 1).to_bytes(4, "little") for word in range(bits) for n in numbers)
    return packed
