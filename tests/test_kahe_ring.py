"""Products by floating-point transforms against whole numbers, and the bound that makes them exact."""

import math
import os

import numpy as np
import pytest
from test_lattice import negacyclic

from privfl.kahe.ring import BATCH, HALF, N, Products, centred_high_bits, exact, split
from privfl.lattice.fourier import fourier

CHANCE = np.random.default_rng(20_261_121)


def product(first, second):
    """First · second modulo X^N + 1 and 2^32."""
    return (negacyclic(first, second) % 2**32).astype(np.uint32)


def key(std):
    return np.clip(np.rint(CHANCE.normal(0, std, N)), -(2**40), 2**40).astype(np.int64)


def uniform(count, bits):
    out = np.empty((count, N), np.int32)
    centred_high_bits(np.frombuffer(os.urandom(4 * count * N), np.uint32).reshape(count, N), bits, out)
    return out


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
    points, transforms = np.empty((64, HALF), np.complex128), fourier(N)
    transforms.transform(polynomials, points)
    points *= transforms.spectrum(secret)
    numbers = transforms.back(points)
    error = np.abs(numbers - np.rint(numbers)).max()
    assert error < transforms.error_bound(2**31, float(np.linalg.norm(secret))) / 20


@pytest.mark.parametrize(("largest", "std"), [(2**31, 8.0), (2**31, 21.0), (2**15, 600_000.0), (2**20, 6.5 * 2**13)])
def test_factors_whose_products_might_be_rounded_wrongly_are_refused(largest, std):
    with pytest.raises(ValueError, match="not exact"):
        Products(key(std), largest=largest)


def test_one_key_of_the_distribution_never_is():
    """At 32 bits the bound allows norms up to 333; the norm of a key is 294 ± 4.6, and 333 is eight deviations off."""
    assert fourier(N).error_bound(2**31, 333) < 0.5 < fourier(N).error_bound(2**31, 334)
    assert exact(2**31, 333)
    assert not exact(2**31, 334)
    for _ in range(200):
        Products(key(6.5), largest=2**31)


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
