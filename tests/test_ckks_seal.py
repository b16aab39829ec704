"""The adapter to SEAL: products are those of whole numbers, it takes what is a ciphertext, and no disk sees a key."""

import importlib
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from privfl import ConfigurationError, DecodeError, MissingExtra
from privfl.ckks import seal
from privfl.ckks.modulus import PRIMES, modulus
from privfl.ckks.seal import SealRing, seal_ring

MODULUS = modulus(4096, 36)
SIZES = pytest.mark.parametrize(("degree", "bits"), [(4096, 33), (4096, 36), (4096, 43), (8192, 48)])
CHANCE = np.random.default_rng(20_261_121)


def residues(ring, *shape):
    return np.stack([CHANCE.integers(0, prime, shape) for prime in ring.primes])


def negacyclic(first, second, prime):
    """First · second modulo X^N + 1 and a prime, in paired order: Kronecker's substitution with digits of 128 bits."""

    def value(paired):
        natural = np.concatenate([paired[0::2], paired[1::2]]).astype(np.uint64)
        digits = np.zeros((len(natural), 2), np.uint64)
        digits[:, 0] = natural
        return int.from_bytes(digits.tobytes(), "little")

    degree = len(first)
    raw = (value(first) * value(second)).to_bytes(32 * degree, "little")
    words = np.frombuffer(raw, np.uint64).reshape(-1, 2).astype(object)
    digits = (words[:, 0] + (words[:, 1] << 64)) % prime
    natural = (digits[:degree] - digits[degree:]) % prime
    paired = np.empty(degree, np.int64)
    paired[0::2], paired[1::2] = np.split(natural.astype(np.int64), 2)
    return paired


# Products and sums


def test_the_oracle_multiplies_by_x_to_the_half():
    """X^(N/2) stands second in paired order: p + i·q becomes −q + i·p."""
    first, half = np.arange(8), np.zeros(8, np.int64)
    half[1] = 1
    assert negacyclic(first, half, 97).tolist() == [96, 0, 94, 2, 92, 4, 90, 6]


@SIZES
def test_products_are_those_of_whole_numbers(degree, bits):
    ring = modulus(degree, bits)
    polynomials, factor = residues(ring, 2, degree), residues(ring, degree)
    polynomials[:, 1] = np.array(ring.primes)[:, None] - 1
    products = seal_ring(ring).multiply(polynomials, factor)
    for row, prime in enumerate(ring.primes):
        for i in range(2):
            assert np.array_equal(products[row, i], negacyclic(polynomials[row, i], factor[row], prime))


@pytest.mark.parametrize("count", [0, 1, 14, 15, 16, 31])
def test_any_number_of_polynomials_is_multiplied(count):
    """SEAL takes sixteen at a time, one of which is ours."""
    polynomials, factor = residues(MODULUS, count, 4096), residues(MODULUS, 4096)
    products = seal_ring(MODULUS).multiply(polynomials, factor)
    assert products.shape == polynomials.shape
    for i in range(count):
        alone = seal_ring(MODULUS).multiply(polynomials[:, i : i + 1], factor)
        assert np.array_equal(alone[:, 0], products[:, i])


@pytest.mark.parametrize("which", ["polynomials", "factor", "both"])
def test_products_with_zero_are_zero(which):
    """SEAL refuses ciphertexts that hide nothing: the adapter has to know better."""
    polynomials, factor = residues(MODULUS, 3, 4096), residues(MODULUS, 4096)
    if which != "factor":
        polynomials[:] = 0
    if which != "polynomials":
        factor[:] = 0
    assert not seal_ring(MODULUS).multiply(polynomials, factor).any()


def test_constants_multiply_and_a_factor_zero_modulo_one_prime_only_does():
    polynomials, factor = residues(MODULUS, 2, 4096), np.zeros((PRIMES, 4096), np.int64)
    factor[1, 0] = 3
    products = seal_ring(MODULUS).multiply(polynomials, factor)
    assert not products[0].any()
    assert np.array_equal(products[1], polynomials[1] * 3 % MODULUS.primes[1])


@SIZES
def test_seal_adds_as_numpy_does(degree, bits):
    ring = modulus(degree, bits)
    api, one, other = seal_ring(ring), residues(ring, 2, degree), residues(ring, 2, degree)
    total = api.residues(api.add(api.ciphertext(one), api.ciphertext(other)))
    assert np.array_equal(total, (one + other) % np.array(ring.primes)[:, None, None])


@pytest.mark.parametrize("size", [2, 3, 15])
def test_a_ciphertext_comes_back_as_it_was(size):
    polynomials = residues(MODULUS, size, 4096)
    api = seal_ring(MODULUS)
    assert np.array_equal(api.residues(api.ciphertext(polynomials)), polynomials)


# What SEAL does not take


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("excess", [0, 1, 2**40])
def test_words_out_of_range_are_refused(row, excess):
    polynomials = residues(MODULUS, 2, 4096)
    polynomials[row, 1, 77] = MODULUS.primes[row] + excess
    with pytest.raises(DecodeError, match="SEAL does not take it"):
        seal_ring(MODULUS).ciphertext(polynomials)


def saved(api=None):
    api = api or seal_ring(MODULUS)
    return bytearray(api._save(api.ciphertext(residues(api.modulus, 2, api.modulus.degree))))


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:100],
        lambda raw: raw[:16],
        lambda raw: b"",
        lambda raw: b"\0\0" + raw[2:],
        lambda raw: raw[:3] + b"\x63" + raw[4:],
        lambda raw: raw[:40] + bytes([raw[40] ^ 1]) + raw[41:],
    ],
    ids=["last byte", "hundred bytes", "header", "nothing", "magic", "version", "within"],
)
def test_objects_that_are_cut_short_or_altered_are_refused(harm):
    api = seal_ring(MODULUS)
    with pytest.raises(DecodeError, match="SEAL does not take it"):
        api._load(api._api.Ciphertext(), bytes(harm(saved())))


def test_objects_under_other_parameters_are_refused():
    for other in (modulus(4096, 37), modulus(8192, 36)):
        with pytest.raises(DecodeError, match="SEAL does not take it"):
            seal_ring(MODULUS)._load(seal_ring(MODULUS)._api.Ciphertext(), bytes(saved(seal_ring(other))))


# Which TenSEAL it is


def test_the_ring_is_checked_once_in_a_process():
    assert seal_ring(modulus(4096, 36)) is seal_ring(MODULUS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_CIPHERTEXT", "<32sB3QdQ8x"),
        ("_CIPHERTEXT", "<32s3QBdQ"),
        ("_PLAINTEXT", "<32sQd8x"),
        ("_COUNT", "<I"),
        ("_MAGIC", 0xA15F),
        ("_ZSTD", 1),
    ],
)
def test_a_tenseal_that_stores_words_elsewhere_is_refused(monkeypatch, name, value):
    """As seen from here: offsets that are not SEAL's are noticed before anything is trusted to them."""
    monkeypatch.setattr(seal, name, struct.Struct(value) if isinstance(value, str) else value)
    with pytest.raises(ConfigurationError, match=r"install tenseal 0\.3\.18"):
        SealRing(MODULUS)


def test_a_tenseal_that_computes_otherwise_is_refused(monkeypatch):
    """One coefficient off by one, in a sum or in a product."""
    real = SealRing.residues

    def wrong(self, ciphertext):
        found = real(self, ciphertext)
        found[0, 1, 5] += 1
        return found

    monkeypatch.setattr(SealRing, "residues", wrong)
    with pytest.raises(ConfigurationError, match=r"computes or stores otherwise: install tenseal 0\.3\.18"):
        SealRing(MODULUS)
    monkeypatch.undo()
    multiply = SealRing.multiply
    monkeypatch.setattr(SealRing, "multiply", lambda self, *both: np.roll(multiply(self, *both), 1, axis=-1))
    with pytest.raises(ConfigurationError, match="computes or stores otherwise"):
        SealRing(MODULUS)


def test_another_order_of_coefficients_is_noticed(monkeypatch):
    monkeypatch.setattr(seal, "_natural", lambda paired: paired)
    monkeypatch.setattr(seal, "_paired", lambda natural: np.ascontiguousarray(natural, np.int64))
    with pytest.raises(ConfigurationError, match="computes or stores otherwise"):
        SealRing(MODULUS)


def test_parameters_that_seal_thinks_unsafe_are_refused():
    """Two primes of 45 bits and its own of 20 are 110 of the 109 bits that SEAL allows at N = 4,096."""
    with pytest.raises(ConfigurationError, match="SEAL refuses N = 4096 with primes of 45 bits"):
        SealRing(modulus(4096, 45))


@pytest.mark.parametrize("missing", ["tenseal.sealapi", "zstandard"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing):
    real = importlib.import_module

    def without(name, *rest):
        if name == missing:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(seal, "import_module", without)
    with pytest.raises(MissingExtra, match=r"pip install 'privfl\[ckks\]'") as error:
        SealRing(MODULUS)
    assert error.value.extra == "ckks"


def test_a_platform_without_files_in_memory_is_refused(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(ConfigurationError, match="keep keys off the disk"):
        SealRing(MODULUS)


# No disk


def test_whatever_seal_saves_and_loads_is_a_file_in_memory(monkeypatch):
    """Every file that is opened while a secret is multiplied, by Python or by SEAL, is one of memfd_create's.

    Python tells what it opens; SEAL is told a path, which is seen here.
    """
    opened, paths, active = [], [], [True]

    def hook(event, arguments):
        if active[0] and event in {"open", "os.open"}:
            opened.append(arguments[0])

    sys.addaudithook(hook)  # for good: it does nothing once `active` is false
    api = seal_ring(MODULUS)
    for name in ("_save", "_load"):
        real = getattr(SealRing, name)

        def watched(self, thing, *rest, real=real):
            class Named:
                def save(self, path):
                    paths.append(path)
                    thing.save(path)

                def load(self, context, path):
                    paths.append(path)
                    thing.load(context, path)

            found = real(self, Named(), *rest)
            return thing if isinstance(found, Named) else found

        monkeypatch.setattr(SealRing, name, watched)
    secret = residues(MODULUS, 4096)
    product = api.multiply(residues(MODULUS, 3, 4096), secret)
    active[0] = False
    assert product.any()
    assert len(paths) > 4
    assert all(path.startswith("/proc/self/fd/") for path in paths)
    assert all(isinstance(file, int) for file in opened)


def test_no_file_stays_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        seal_ring(MODULUS).multiply(residues(MODULUS, 20, 4096), residues(MODULUS, 4096))
        with pytest.raises(DecodeError):
            seal_ring(MODULUS)._load(seal_ring(MODULUS)._api.Ciphertext(), b"none")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
