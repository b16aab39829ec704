"""Shamir's secret sharing of polynomials, coefficient by coefficient, over the fields of both primes (Shamir 1979).

A dealer's secret polynomial is the constant term of a polynomial in x whose other t − 1 coefficients are uniform; the
holder at point x gets its value there. Holders' points are their numbers plus one. Everything is linear: sums of shares
are shares of sums, and with Lagrange's coefficients at zero any t shares add up to the secret.

Whether what a dealer dealt lies on such a polynomial at all is seen from one random combination of the coefficients:
each holder publishes Σ_c ρ_c·share[c] + blind, with ρ public, drawn after the dealing, and `blind` its share of a
uniform number that the dealer dealt with the rest and that hides everything else. If shares lie on no polynomial of
degree t − 1, a combination does with a probability of 1/q; `COMBINATIONS` of them leave less than 2^−128.

References:
    Shamir, CACM 22(11), 1979; Feldman and Micali's batching, as in Cascudo and David, ACNS 2017 (SCRAPE), §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from privfl.ckks.modulus import PRIMES, Modulus, Residues, times
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest

COMBINATIONS: Final = 4
"""Blinded combinations of a dealing, each modulo both primes: 4 · 33 bits of soundness or more modulo either."""


def point(holder: int) -> int:
    """Return the evaluation point of a holder, by its number."""
    return holder + 1


def uniform_residues(modulus: Modulus, count: int, entropy: Entropy) -> Residues:
    """Draw fresh uniform residues: int64, shape (2, count)."""
    # A key for each prime, for this stream only.
    return modulus.uniform([Stream(Secret(entropy.token_bytes(PRG_KEY_BYTES))) for _ in range(PRIMES)], count)


def deal(
    modulus: Modulus, secret: Residues, *, holders: Sequence[int], threshold: int, entropy: Entropy
) -> list[Residues]:
    """Split residues so that any `threshold` holders have them and fewer know nothing.

    Args:
        modulus: the primes.
        secret: int64, shape (2, count).
        holders: their numbers.
        threshold: t.
        entropy: source of the other coefficients.

    Returns:
        A share for each holder, shaped like the secret.
    """
    others = [uniform_residues(modulus, secret.shape[1], entropy) for _ in range(threshold - 1)]
    return [_value(modulus, [secret, *others], point(holder)) for holder in holders]


def _value(modulus: Modulus, coefficients: Sequence[Residues], at: int) -> Residues:
    value = coefficients[-1].copy()
    for coefficient in coefficients[-2::-1]:  # Horner's rule
        for row, prime in zip(value, modulus.primes, strict=True):
            row[:] = times(row, at, prime)
        modulus.add(value, coefficient)
    return value


def scaled(modulus: Modulus, share: Residues, factors: Sequence[int]) -> Residues:
    """Multiply residues, shape (2, …), by a constant modulo each prime."""
    pairs = zip(share, factors, modulus.primes, strict=True)
    return np.stack([times(row, factor, prime) for row, factor, prime in pairs])


def at_zero(modulus: Modulus, holder: int, holders: Sequence[int]) -> tuple[int, ...]:
    """Return Lagrange's coefficient of a holder at zero for a set of holders, modulo each prime."""
    return tuple(_lagrange(prime, point(holder), list(map(point, holders)), 0) for prime in modulus.primes)


def _lagrange(prime: int, own: int, points: Sequence[int], at: int) -> int:
    numerator = denominator = 1
    for other in points:
        if other != own:
            numerator = numerator * (at - other) % prime
            denominator = denominator * (own - other) % prime
    return numerator * pow(denominator, -1, prime) % prime


def combine(modulus: Modulus, share: Residues, *, challenge: bytes) -> Residues:
    """Return the blinded combinations of a share.

    Args:
        modulus: the primes.
        share: int64, shape (2, count + COMBINATIONS): the last are the blinds, used for this only.
        challenge: 32 bytes that nobody knew when the shares were dealt.

    Returns:
        int64, shape (2, COMBINATIONS).
    """
    body, blinds = share[:, :-COMBINATIONS], share[:, -COMBINATIONS:]
    combined = blinds.copy()
    for i in range(COMBINATIONS):
        keys = [digest(Label.CKKS_CHALLENGE, challenge, bytes([i, row]))[:PRG_KEY_BYTES] for row in range(PRIMES)]
        weights = modulus.uniform([Stream(Secret(key)) for key in keys], body.shape[1])  # public, like the challenge
        for row, prime in enumerate(modulus.primes):
            # Products of two residues exceed 64 bits, and are added up once: Python's integers hold them.
            total = sum(map(int.__mul__, body[row].tolist(), weights[row].tolist()))
            combined[row, i] = (int(combined[row, i]) + total) % prime
    return combined


def consistent(modulus: Modulus, combined: Sequence[Residues], *, holders: Sequence[int], threshold: int) -> bool:
    """Whether holders' combinations lie on a polynomial of degree below the threshold, as those of an honest dealer."""
    base, rest = list(holders[:threshold]), range(threshold, len(holders))
    points = list(map(point, base))
    for row, prime in enumerate(modulus.primes):
        for i in rest:
            factors = [_lagrange(prime, own, points, point(holders[i])) for own in points]
            for column in range(COMBINATIONS):
                value = sum(factor * int(combined[j][row, column]) for j, factor in enumerate(factors)) % prime
                if value != int(combined[i][row, column]):
                    return False
    return True
