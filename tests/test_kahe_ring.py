"""Products by floating-point transforms against whole numbers, and the bound that makes them exact."""

import math
import os

import numpy as np
import pytest

from privfl.kahe import ring
from privfl.kahe.ring import BATCH, HALF, N, Products, centred_high_bits, error_bound, split

CHANCE = np.random.default_rng(20_261_121)


def natural(paired):
    """Coefficients of X^0 … X^(N−1)."""
    numbers = [int(number) for number in paired]
    return numbers[0::2] + numbers[1::2]


def product(first, second):
    """First · second modulo X^N + 1 and 2^32, by Kronecker substitution: one product of two long whole numbers."""
    digit = 96  # bits: more than any coefficient of the product takes, with its sign

    def value(polynomial):
        negative = b"".join(max(-c, 0).to_bytes(digit // 8, "little") for c in polynomial)
        positive = b"".join(max(c, 0).to_bytes(digit // 8, "little") for c in polynomial)
        return int.from_bytes(positive, "little") - int.from_bytes(negative, "little")

    offset = sum(1 << (digit * i + digit - 1) for i in range(2 * N))  # makes every digit positive
    raw = (value(natural(first)) * value(natural(second)) + offset).to_bytes(2 * N * digit // 8, "little")
    digits = [
        int.from_bytes(raw[i : i + digit // 8], "little") - (1 << (digit - 1)) for i in range(0, len(raw), digit // 8)
    ]
    reduced = [(low - high) % 2**32 for low, high in zip(digits[:N], digits[N:], strict=True)]
    paired = np.empty(N, np.uint32)
    paired[0::2], paired[1::2] = reduced[:HALF], reduced[HALF:]
    return paired


def key(std):
    return np.clip(np.rint(CHANCE.normal(0, std, N)), -(2**40), 2**40).astype(np.int64)


def uniform(count, bits):
    out = np.empty((count, N), np.int32)
    centred_high_bits(np.frombuffer(os.urandom(4 * count * N), np.uint32).reshape(count, N), bits, out)
    return out


def test_the_oracle_multiplies_as_the_ring_does():
    """X^(N−1) · X² = −X, and (1 + X)(1 − X) = 1 − X², by hand."""

    def monomials(coefficients):
        polynomial = np.zeros(N, np.int64)
        for power, coefficient in coefficients.items():
            polynomial[2 * power if power < HALF else 2 * (power - HALF) + 1] = coefficient
        return polynomial

    cases = [
        ({N - 1: 1}, {2: 1}, {1: -1}),
        ({0: 1, 1: 1}, {0: 1, 1: -1}, {0: 1, 2: -1}),
        ({HALF: 3}, {HALF: 5}, {0: -15}),
    ]
    for first, second, expected in cases:
        found = product(monomials(first), monomials(second))
        assert np.array_equal(found, (monomials(expected) % 2**32).astype(np.uint32))


@pytest.mark.parametrize("bits", [20, 24, 29, 31, 32])
def test_products_with_one_key_are_exact(bits):
    secret, polynomials = key(6.5), uniform(3, bits)
    before = np.frombuffer(os.urandom(4 * 3 * N), np.uint32).reshape(3, N)
    out = before.copy()
    Products(secret, largest=2 ** (bits - 1)).add(polynomials, out)
    for i in range(3):
        assert np.array_equal(out[i], before[i] + product(polynomials[i], secret))


@pytest.mark.parametrize("clients", [1, 2, 3, 10, 30, 64, 100, 300, 1000, 3000, 10_000, 100_000, 1_000_000])
def test_products_with_sums_of_keys_are_exact(clients):
    total, polynomials = key(6.5 * math.sqrt(clients)), uniform(2, 32)
    low, high = np.empty_like(polynomials), np.empty_like(polynomials)
    split(polynomials, low, high)
    products = Products(total, largest=2**15)
    out, shifted = np.zeros((2, N), np.uint32), np.zeros((2, N), np.uint32)
    products.add(low, out)
    products.add(high, shifted)
    out += shifted << np.uint32(16)
    for i in range(2):
        assert np.array_equal(out[i], product(polynomials[i], total))


@pytest.mark.parametrize("extreme", [-(2**31), 2**31 - 1])
def test_extreme_polynomials_and_keys_are_exact(extreme):
    """All coefficients at their limits and of one sign: the largest numbers that can arise."""
    secret = np.full(N, 6, np.int64)
    polynomials = np.full((1, N), extreme, np.int32)
    out = np.zeros((1, N), np.uint32)
    Products(secret, largest=2**31).add(polynomials, out)
    assert np.array_equal(out[0], product(polynomials[0], secret))


def test_the_measured_error_keeps_far_from_the_bound():
    secret, polynomials = key(6.5), uniform(64, 32)
    spectrum = np.fft.fft(secret.astype(np.float64).view(np.complex128) * ring._TWIST)
    points = np.fft.fft(polynomials.astype(np.float64).view(np.complex128) * ring._TWIST, axis=-1) * spectrum
    numbers = (np.fft.ifft(points, axis=-1) * ring._UNTWIST).view(np.float64)
    error = np.abs(numbers - np.rint(numbers)).max()
    assert error < error_bound(2**31, float(np.linalg.norm(secret))) / 20


@pytest.mark.parametrize(("largest", "std"), [(2**31, 8.0), (2**31, 21.0), (2**15, 600_000.0), (2**20, 6.5 * 2**13)])
def test_factors_whose_products_might_be_rounded_wrongly_are_refused(largest, std):
    with pytest.raises(ValueError, match="not exact"):
        Products(key(std), largest=largest)


def test_one_key_of_the_distribution_never_is():
    """At 32 bits the bound allows norms up to 333; the norm of a key is 294 ± 4.6, and 333 is eight deviations off."""
    assert error_bound(2**31, 333) < 0.5 < error_bound(2**31, 334)
    for _ in range(200):
        Products(key(6.5), largest=2**31)


def test_twists_are_the_nearest_doubles():
    """Against the series of sine and cosine, to 60 digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
        for j in (0, 1, 2, 511, 512, 513, 700, 1022, 1023):
            x = pi * j / N
            terms = [Decimal(1)]
            for i in range(1, 60):
                terms.append(terms[-1] * x / i)
            cosine, sine = (sum((-1) ** (i // 2) * term for i, term in enumerate(terms) if i % 2 == k) for k in (0, 1))
            assert ring._TWIST[j] == complex(float(cosine), float(sine))
    assert np.abs(ring._TWIST - np.exp(1j * np.pi * np.arange(HALF) / N)).max() < 4 * 2.0**-53


def test_any_number_of_polynomials_up_to_a_batch():
    secret = key(6.5)
    polynomials = uniform(BATCH, 29)
    whole = np.zeros((BATCH, N), np.uint32)
    products = Products(secret, largest=2**28)
    products.add(polynomials, whole)
    for count in (1, 7, BATCH):
        part = np.zeros((count, N), np.uint32)
        products.add(polynomials[:count], part)
        assert np.array_equal(part, whole[:count])


@pytest.mark.parametrize("bits", [20, 29, 32])
def test_high_bits_are_centred_residues(bits):
    words = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x12345678], np.uint32)
    out = np.empty(len(words), np.int32)
    centred_high_bits(words, bits, out)
    expected = [int(word) >> (32 - bits) for word in words]
    assert out.tolist() == [v - 2**bits if v >= 2 ** (bits - 1) else v for v in expected]


def test_halves_make_the_whole_modulo_2_to_the_32():
    values = [
        0,
        1,
        -1,
        2**15 - 1,
        2**15,
        -(2**15),
        2**16,
        2**31 - 1,
        -(2**31),
        2**31 - 2**15,
        2**31 - 2**15 - 1,
        123_456_789,
    ]
    polynomials = np.array([values], np.int32)
    low, high = np.empty_like(polynomials), np.empty_like(polynomials)
    split(polynomials, low, high)
    assert np.abs(low.astype(np.int64)).max() <= 2**15
    assert np.abs(high.astype(np.int64)).max() <= 2**15
    whole = high.astype(np.int64) * 2**16 + low
    assert ((whole - polynomials) % 2**32 == 0).all()
