"""Shares of polynomials: any t give the secret, and the degree test sees what lies on no polynomial of degree t − 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.ckks import sharing
from privfl.ckks.modulus import modulus
from privfl.primitives.entropy import OsEntropy

MODULUS = modulus(4096, 36)
CHALLENGE = bytes(range(32))


def dealt(holders, threshold, count=20):
    secret = sharing.uniform_residues(MODULUS, count, OsEntropy())
    return secret, sharing.deal(MODULUS, secret, holders=holders, threshold=threshold, entropy=OsEntropy())


def rebuilt(holders, shares):
    total = np.zeros_like(shares[0])
    for holder, share in zip(holders, shares, strict=True):
        MODULUS.add(total, sharing.scaled(MODULUS, share, sharing.at_zero(MODULUS, holder, holders)))
    return total


@given(st.lists(st.integers(0, 31), min_size=1, max_size=7, unique=True).map(sorted), st.data())
def test_any_threshold_of_shares_gives_the_secret(holders, data):
    threshold = data.draw(st.integers(1, len(holders)))
    secret, shares = dealt(holders, threshold)
    chosen = sorted(data.draw(st.permutations(range(len(holders))))[:threshold])
    assert np.array_equal(rebuilt([holders[i] for i in chosen], [shares[i] for i in chosen]), secret)
    if threshold > 1:
        few = chosen[1:]
        assert not np.array_equal(rebuilt([holders[i] for i in few], [shares[i] for i in few]), secret)


def test_shares_are_values_of_a_polynomial_in_big_integers():
    """Two shares of a threshold of two determine the line; the third lies on it, modulo each prime."""
    secret, shares = dealt((0, 4, 31), 2, count=5)
    for row, prime in enumerate(MODULUS.primes):
        for column in range(5):
            first = int(secret[row, column])
            slope = (int(shares[0][row, column]) - first) * pow(1, -1, prime) % prime
            assert [int(share[row, column]) for share in shares] == [
                (first + slope * sharing.point(holder)) % prime for holder in (0, 4, 31)
            ]


def test_lagranges_coefficients_add_up_to_one_and_depend_on_the_set():
    for members in ((0,), (0, 1), (0, 1, 2), (3, 17, 31)):
        for row, prime in enumerate(MODULUS.primes):
            assert sum(sharing.at_zero(MODULUS, holder, members)[row] for holder in members) % prime == 1
    assert sharing.at_zero(MODULUS, 0, (0, 1, 2)) != sharing.at_zero(MODULUS, 0, (0, 1, 3))


def combined(shares):
    return [sharing.combine(MODULUS, share, challenge=CHALLENGE) for share in shares]


HOLDERS = (0, 1, 2, 3, 4)


def test_honest_dealings_are_consistent_whoever_speaks():
    _, shares = dealt(HOLDERS, 3)
    said = combined(shares)
    for speaking in (HOLDERS, (0, 2, 3, 4), (1, 2, 4)):
        assert sharing.consistent(MODULUS, [said[i] for i in speaking], holders=speaking, threshold=3)


def test_longer_polynomials_are_inconsistent():
    _, shares = dealt(HOLDERS, 4)
    assert not sharing.consistent(MODULUS, combined(shares), holders=HOLDERS, threshold=3)
    assert sharing.consistent(MODULUS, combined(shares), holders=HOLDERS, threshold=4)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("column", [0, 7, 15, 16, 19])
@pytest.mark.parametrize("row", [0, 1])
def test_shares_that_differ_in_one_field_only_are_inconsistent(holder, column, row):
    """One coefficient of one share, off by one modulo one prime: in the body, or in a blind."""
    _, shares = dealt(HOLDERS, 3)
    shares[holder][row, column] = (shares[holder][row, column] + 1) % MODULUS.primes[row]
    assert not sharing.consistent(MODULUS, combined(shares), holders=HOLDERS, threshold=3)


def test_combinations_are_sums_of_products_and_a_blind():
    """Against big integers, from the streams that the challenge gives."""
    from privfl.primitives.labels import Label
    from privfl.primitives.prg import Stream
    from privfl.primitives.secret import Secret
    from privfl.primitives.transcript import digest

    _, [share] = dealt((0,), 1)
    said = sharing.combine(MODULUS, share, challenge=CHALLENGE)
    for i in range(sharing.COMBINATIONS):
        streams = [Stream(Secret(digest(Label.CKKS_CHALLENGE, CHALLENGE, bytes([i, row]))[:16])) for row in range(2)]
        weights = MODULUS.uniform(streams, 16)
        for row, prime in enumerate(MODULUS.primes):
            total = sum(int(a) * int(b) for a, b in zip(share[row, :16], weights[row], strict=True))
            assert int(said[row, i]) == (total + int(share[row, 16 + i])) % prime
