"""Arithmetic modulo two primes, against Python's integers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl import DecodeError
from privfl.ckks.modulus import Modulus, is_prime, modulus, reduce, times, uniform
from privfl.params import CKKS_DEGREES
from privfl.primitives.prg import Stream
from privfl.primitives.secret import Secret

EVERY = [(degree, bits) for degree, most in CKKS_DEGREES.items() for bits in range(33, most + 1)]
SOME = pytest.mark.parametrize(("degree", "bits"), [(4096, 33), (4096, 36), (4096, 43), (8192, 48)])


# Primes


@pytest.mark.parametrize(("degree", "bits"), EVERY)
def test_primes_are_the_two_largest_of_so_many_bits_that_suit_the_transform(degree, bits):
    primes = modulus(degree, bits).primes
    assert len({*primes}) == 2
    largest = [
        candidate
        for candidate in range(primes[0], 1 << bits, 2 * degree)
        if all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5, 7))
    ]
    assert tuple(largest) == primes
    for prime in primes:
        assert prime.bit_length() == bits
        assert prime % (2 * degree) == 1
        assert is_prime(prime)
    assert modulus(degree, bits).product == primes[0] * primes[1]
    # So close to the power of two that words below it are nearly always residues.
    assert all((1 << bits) - prime < 1 << bits - 9 for prime in primes)


def test_primality_is_that_of_trial_division_and_of_known_pseudoprimes():
    def by_division(number):
        return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    assert [number for number in range(3000) if is_prime(number)] == [n for n in range(3000) if by_division(n)]
    # Carmichael numbers, strong pseudoprimes to the first bases (Pomerance, Selfridge, Wagstaff 1980; Jaeschke 1993).
    for number in (
        561,
        41041,
        825265,
        2047,
        1373653,
        25326001,
        3215031751,
        2152302898747,
        3474749660383,
        341550071728321,
        3825123056546413051,
    ):
        assert not is_prime(number)
    for number in (2**31 - 1, 2**61 - 1, 0xFFFFFFFFFFFFFFC5):
        assert is_prime(number)
    assert not is_prime((2**31 - 1) * (2**32 + 15))


# Residues


WIDE = st.integers(-(2**62) + 1, 2**62 - 1)


@SOME
@given(numbers=st.lists(WIDE, min_size=1, max_size=30))
def test_reducing_is_the_remainder_of_python(degree, bits, numbers):
    ring = modulus(degree, bits)
    for prime in ring.primes:
        edges = [k * prime + d for k in (-3, -1, 0, 1, 2, (2**61) // prime) for d in (-1, 0, 1)]
        every = [*numbers, *edges]
        assert reduce(np.array(every, np.int64), prime).tolist() == [number % prime for number in every]
    residues = ring.residues_of(np.array(numbers, np.int64))
    assert residues.tolist() == [[number % prime for number in numbers] for prime in ring.primes]


@SOME
@given(numbers=st.lists(st.integers(-(2**52), 2**52), min_size=1, max_size=30), constant=st.integers(0), data=st.data())
def test_multiples_are_those_of_python(degree, bits, numbers, constant, data):
    for prime in modulus(degree, bits).primes:
        for factor in (constant % prime, prime - 1, prime // 2, data.draw(st.integers(0, prime - 1)), 0, 1):
            every = [*numbers, 2**52, -(2**52), prime - 1, 0]
            assert times(np.array(every, np.int64), factor, prime).tolist() == [n * factor % prime for n in every]


@SOME
def test_multiples_of_a_million_numbers_are_those_of_python(degree, bits):
    """All magnitudes, the largest constants: quotients whose estimates lie on the edge come up."""
    chance = np.random.default_rng(1)
    numbers = chance.integers(-(2**52), 2**52, 50_000, endpoint=True)
    for prime in modulus(degree, bits).primes:
        for constant in (prime - 1, int(chance.integers(prime))):
            expected = numbers.astype(object) * constant % prime
            assert bool((times(numbers, constant, prime) == expected.astype(np.int64)).all())


@SOME
@given(data=st.data())
def test_sums_and_negatives_are_those_of_python(degree, bits, data):
    ring = modulus(degree, bits)
    rows = [
        st.lists(st.sampled_from((0, 1, prime // 2, prime - 1)) | st.integers(0, prime - 1), min_size=9, max_size=9)
        for prime in ring.primes
    ]
    one, other = ([data.draw(row) for row in rows] for _ in range(2))
    total, negative = np.array(one, np.int64), np.array(one, np.int64)
    ring.add(total, np.array(other, np.int64))
    ring.negate(negative)
    for row, prime in enumerate(ring.primes):
        assert total[row].tolist() == [(a + b) % prime for a, b in zip(one[row], other[row], strict=True)]
        assert negative[row].tolist() == [-a % prime for a in one[row]]


@SOME
@given(data=st.data())
def test_centred_numbers_are_right_to_fifty_bits(degree, bits, data):
    ring = modulus(degree, bits)
    least, most = -(ring.product - ring.primes[0]) // 2, (ring.product + ring.primes[0]) // 2 - 1
    numbers = data.draw(st.lists(st.integers(least, most), min_size=1, max_size=20))
    numbers += [0, 1, -1, least, most, 2**40, -(2**40), ring.primes[0], -ring.primes[1]]
    residues = np.array([[number % prime for number in numbers] for prime in ring.primes], np.int64)
    for number, centred in zip(numbers, ring.centred(residues), strict=True):
        assert abs(Fraction(float(centred)) - number) <= Fraction(max(abs(number), 1), 2**50)
    small = np.arange(-1000, 1000)
    assert np.array_equal(ring.centred(ring.residues_of(small)), small)


# Uniform residues


@SOME
def test_uniform_residues_are_the_streams_words_with_those_beyond_the_prime_replaced(degree, bits):
    """With a prime that half of all words exceed, so that many rounds are needed; and as a stream that goes on."""
    for prime in (*modulus(degree, bits).primes, (1 << bits - 1) + 1):
        stream, plain = Stream(Secret(bytes(16))), Stream(Secret(bytes(16)))
        for count in (1000, 3):
            drawn = uniform(stream, prime, bits, count)
            expected, missing = [None] * count, list(range(count))
            while missing:
                words = np.empty(len(missing), np.uint64)
                plain.fill(words)
                for place, word in zip(missing, words.tolist(), strict=True):
                    expected[place] = word % (1 << bits)
                missing = [place for place in missing if expected[place] >= prime]
            assert drawn.tolist() == expected
            assert drawn.dtype == np.int64


def test_both_primes_take_streams_of_their_own():
    ring = modulus(4096, 36)
    first, second = ring.uniform([Stream(Secret(bytes([i]) * 16)) for i in range(2)], 100)
    assert np.array_equal(first, uniform(Stream(Secret(bytes(16))), ring.primes[0], 36, 100))
    assert np.array_equal(second, uniform(Stream(Secret(b"\1" * 16)), ring.primes[1], 36, 100))
    with pytest.raises(ValueError, match="zip"):
        ring.uniform([Stream(Secret(bytes(16)))], 5)


# How they travel


def drawn(ring, length):
    streams = [Stream(Secret(bytes([i, length % 256]) * 8)) for i in range(2)]
    return ring.uniform(streams, length)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 4096, 4097, 20_000])
@SOME
def test_residues_come_back_from_their_bytes(degree, bits, length):
    ring = modulus(degree, bits)
    residues = drawn(ring, length)
    packed = ring.packed(residues)
    assert len(packed) == ring.vector_bytes(length) == 2 * 8 * -(-length // 64) * bits
    assert np.array_equal(ring.unpack(packed, length), residues)
    assert np.array_equal(ring.unpack(memoryview(packed), length), residues)
    assert ring.packed(ring.unpack(packed, length)) == packed


def test_the_largest_residues_come_back_and_a_prime_does_not():
    ring = modulus(4096, 36)
    for row in range(2):
        for offset, fits in ((-1, True), (0, False), (1, False)):
            residues = np.zeros((2, 70), np.int64)
            residues[row, 69] = ring.primes[row] + offset
            packed = ring.packed(residues)
            if fits:
                assert np.array_equal(ring.unpack(packed, 70), residues)
                continue
            with pytest.raises(DecodeError, match="no residue modulo the agreed primes"):
                ring.unpack(packed, 70)
    swapped = np.array([[ring.primes[1] - 1], [0]], np.int64)  # a residue of the other prime only
    with pytest.raises(DecodeError):
        ring.unpack(ring.packed(swapped), 1)


@pytest.mark.parametrize("row", [0, 1])
def test_padding_that_is_not_zero_is_refused(row):
    """Behind 70 numbers there is room for 58 more in each row: a bit of any of them is refused."""
    ring = modulus(4096, 36)
    packed, size = ring.packed(drawn(ring, 70)), ring.vector_bytes(70) // 2
    filled = np.frombuffer(ring.packed(np.pad(drawn(ring, 70), ((0, 0), (0, 58)), constant_values=1)), np.uint8)
    assert bool((filled != np.frombuffer(packed, np.uint8)).any())
    spare = [place for place in range(row * size, (row + 1) * size) if filled[place] != packed[place]]
    assert len(spare) > 50
    for place in spare[:: len(spare) // 20]:
        dirty = bytearray(packed)
        dirty[place] = filled[place]
        with pytest.raises(DecodeError, match="padding"):
            ring.unpack(bytes(dirty), 70)


def test_how_many_polynomials_hold_a_vector():
    ring = modulus(4096, 36)
    assert isinstance(ring, Modulus)
    assert [ring.polynomials(length) for length in (1, 4095, 4096, 4097, 8192, 8193)] == [1, 1, 1, 2, 2, 3]
