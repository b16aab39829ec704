"""Ciphertexts are SEAL's: it decrypts ours, adds its own to them, and their errors are as wide as they should be."""

import math
from functools import cache

import numpy as np
import pytest
from scipy import stats
from tenseal import sealapi

from privfl.ckks import cipher
from privfl.ckks.cipher import BATCH, ERROR_STD, ERRORS, JointKey
from privfl.ckks.modulus import PRIMES, modulus
from privfl.ckks.seal import _CIPHERTEXT, _special_prime, seal_ring
from privfl.ckks.sharing import uniform_residues
from privfl.encoding.residues import Ring
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.sampling import TERNARY, sampler
from privfl.testing import UnsafeFixedEntropy

WORDS = Ring(32)
SPLIT = {(4096, 33): False, (4096, 36): True, (4096, 43): True, (8192, 48): True}
SIZES = pytest.mark.parametrize(("degree", "bits"), SPLIT)
BLOCK = 64
"""Polynomials that share stream keys."""


@cache
def known(degree, bits, dealers=1):
    """A modulus, a joint key under it, and its secret, whole numbers in paired order."""
    ring, entropy = modulus(degree, bits), OsEntropy()
    secret = sum(sampler(TERNARY, entropy, degree).draw(degree).astype(np.int64) for _ in range(dealers))
    errors = sum(sampler(ERRORS, entropy, degree).draw(degree).astype(np.int64) for _ in range(dealers))
    common = uniform_residues(ring, degree, entropy)
    own = seal_ring(ring).multiply(common[:, None], ring.residues_of(secret))[:, 0]
    ring.negate(own)
    ring.add(own, ring.residues_of(errors))
    return ring, JointKey(ring, own, common), secret


def encrypted(key, vector, *, scale_bits=0, entropy=None, workers=1):
    return key.encrypt(
        lambda start, out: WORDS.store(vector[start : start + len(out)], out),
        length=len(vector),
        scale_bits=scale_bits,
        entropy=entropy or OsEntropy(),
        workers=workers,
    )


def opened(ring, secret, own, common):
    """c₀ + c₁·s, float64."""
    length = own.shape[1]
    product = seal_ring(ring).multiply(common.reshape(PRIMES, -1, ring.degree), ring.residues_of(secret))
    total = np.ascontiguousarray(product.reshape(PRIMES, -1)[:, :length])
    ring.add(total, own)
    return ring.centred(total)


def drawn(length, bound=2**31 - 1, seed=1):
    return np.random.default_rng(seed).integers(-bound, bound + 1, length)


# They decrypt


@SIZES
def test_keys_are_split_where_whole_coefficients_would_not_be_exact(degree, bits):
    key = known(degree, bits)[1]
    assert (key._split_bits > 0) is SPLIT[degree, bits]
    assert len(key._spectra[0][0]) == 1 + SPLIT[degree, bits]
    for part in key._parts(
        np.array([0, 1, key.modulus.primes[0] - 1, key.modulus.primes[0] // 2]), key.modulus.primes[0]
    ):
        assert (
            np.abs(part).max() <= 1 << (max(key._split_bits, bits - key._split_bits) if key._split_bits else bits) - 1
        )


@SIZES
@pytest.mark.parametrize("workers", [1, 2])
def test_whatever_is_encrypted_opens_to_it_with_small_errors(degree, bits, workers):
    """Lengths about whole polynomials, batches and blocks; the scale as high as a sum of eight leaves it."""
    ring, key, secret = known(degree, bits)
    scale_bits = ring.product.bit_length() - 1 - 31 - 4
    limit = 9 * cipher.error_std(degree, 1, 1)
    lengths = [1, degree - 1, degree, degree + 1, BATCH * degree + 5]
    for length in [*lengths, BLOCK * degree + 3] if degree == 4096 else lengths:
        vector = drawn(length)
        vector[0], vector[-1] = 2**31 - 1, -(2**31) + 1
        own, common = encrypted(key, vector, scale_bits=scale_bits, workers=workers)
        assert own.shape == (2, length)
        assert common.shape == (2, ring.polynomials(length) * degree)
        scaled = ring.residues_of(np.zeros(length, np.int64))
        for row, prime in enumerate(ring.primes):
            scaled[row] = vector.astype(object) * (1 << scale_bits) % prime
        ring.negate(scaled)
        ring.add(own, scaled)
        errors = opened(ring, secret, own, common)
        assert np.abs(errors).max() < limit


@SIZES
def test_all_residues_are_residues(degree, bits):
    """Those of vectors of the largest magnitude, at the largest scales: none is negative, or its prime."""
    ring, key, _ = known(degree, bits)
    for scale_bits in (0, bits, 2 * bits - 36):
        for sign in (1, -1):
            own, common = encrypted(key, np.full(3 * degree, sign * (2**31 - 1)), scale_bits=scale_bits)
            for residues in (own, common):
                for row, prime in zip(residues, ring.primes, strict=True):
                    assert 0 <= int(row.min()) < int(row.max()) < prime


@pytest.mark.parametrize("prime", [modulus(4096, 33).primes[0], modulus(8192, 48).primes[1]])
def test_remainders_of_whole_numbers_below_2_to_the_51(prime):
    numbers = [0, 1, -1, prime - 1, prime, prime + 1, -prime, -prime - 1, 2**50, -(2**50), 2**51 - 1, 1 - 2**51]
    numbers += [k * prime + d for k in range(-7, 8) for d in (-1, 0, 1)]
    numbers += np.random.default_rng(1).integers(-(2**51), 2**51, 20_000).tolist()
    numbers = [number for number in numbers if abs(number) < 2**51]
    out = np.empty(len(numbers), np.int64)
    cipher._remainders(np.array(numbers, np.float64), prime, out)
    assert out.tolist() == [number % prime for number in numbers]


def test_workers_give_the_same_ciphertext():
    """The same entropy: keys of streams are drawn in order, whoever uses them."""
    vector = drawn(3 * BLOCK * 4096 // 2)
    _, key, _ = known(4096, 36)
    first, *others = (encrypted(key, vector, entropy=UnsafeFixedEntropy(bytes(16)), workers=n) for n in (1, 2, 3))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


# Their errors


@pytest.mark.parametrize(("degree", "bits", "dealers"), [(4096, 36, 1), (4096, 36, 5), (8192, 48, 3)])
def test_errors_of_sums_are_as_wide_as_planned(degree, bits, dealers):
    """Four ciphertexts of four polynomials under one key, whose own length varies by a hundredth or two.

    16 N coefficients estimate the deviation to below 0.3 %; the planner allows a tenth (KEY_MARGIN).
    """
    ring, key, secret = known(degree, bits, dealers)
    own, common = (np.zeros((2, 4 * degree), np.int64) for _ in range(2))
    for _ in range(4):
        for total, part in zip((own, common), encrypted(key, np.zeros(4 * degree, np.int64)), strict=True):
            ring.add(total, part)
    errors = opened(ring, secret, own, common)
    assert errors.std() == pytest.approx(cipher.error_std(degree, dealers, 4), rel=0.05)
    assert abs(errors.mean()) < 6 * errors.std() / math.sqrt(len(errors))


def trivial(degree, bits):
    """A key whose products are plain: b = 1 and a = 2, so that c₀ = u + e₀ and c₁ = 2u + e₁."""
    ring = modulus(degree, bits)
    own, common = (np.zeros((2, degree), np.int64) for _ in range(2))
    own[:, 0], common[:, 0] = 1, 2
    return ring, JointKey(ring, own, common)


def plain_parts(length, entropy=None):
    ring, key = trivial(4096, 36)
    own, common = encrypted(key, np.zeros(length, np.int64), entropy=entropy)
    return ring.centred(own), ring.centred(common)


def test_both_parts_carry_errors_of_the_stated_width():
    """u, e₀ and e₁ are apart: the variances are ⅔ + 3.2², and 4 · ⅔ + 3.2²; of 2e₀ − e₁, which u is not in, 5 · 3.2².

    65,536 coefficients: a variance is estimated to 0.6 %, and asserted to five of these.
    """
    own, common = plain_parts(16 * 4096)
    assert own.var() == pytest.approx(2 / 3 + ERROR_STD**2, rel=0.03)
    assert common.var() == pytest.approx(8 / 3 + ERROR_STD**2, rel=0.03)
    assert (2 * own - common).var() == pytest.approx(5 * ERROR_STD**2, rel=0.03)
    assert np.abs(own).max() <= 1 + 44
    assert np.abs(common).max() <= 2 + 44
    # Ternary u, met in both parts: their covariance is 2 · ⅔, to within 6 · 11/√65536.
    assert np.cov(own, common)[0, 1] == pytest.approx(4 / 3, abs=6 * 11.1 / 256)


def test_every_polynomial_has_draws_of_its_own():
    """Pairs of polynomials do not correlate: |r| < 6.5/√4096 for 2 · 276 pairs, false alarms below 10^-7."""
    for part in plain_parts(24 * 4096):
        r = np.corrcoef(part.reshape(24, 4096))
        assert np.abs(r - np.eye(24)).max() < 6.5 / math.sqrt(4096)


def test_every_block_has_stream_keys_of_its_own():
    """Of two blocks and a bit: the polynomials at the same places of blocks do not correlate."""
    length = 2 * BLOCK * 4096 + 5
    for part in plain_parts(length):
        first, second = (part[start : start + BLOCK * 4096] for start in (0, BLOCK * 4096))
        assert abs(np.corrcoef(first, second)[0, 1]) < 6 / math.sqrt(BLOCK * 4096)
        third = part[2 * BLOCK * 4096 :][:5]
        assert not np.array_equal(third, first[:5])
        assert not np.array_equal(third, second[:5])


def test_every_encryption_draws_anew_and_all_it_draws_are_keys_of_streams():
    """Three samplers a block, two stream keys each."""
    drawn_lengths = []

    class Watched(OsEntropy):
        def token_bytes(self, length):
            drawn_lengths.append(length)
            return super().token_bytes(length)

    entropy = Watched()
    _, key, _ = known(4096, 36)
    first, second = (encrypted(key, np.zeros(BLOCK * 4096 + 1, np.int64), entropy=entropy) for _ in range(2))
    assert drawn_lengths == [16] * (2 * 2 * 3 * 2)
    assert all((a == b).mean() < 1e-3 for a, b in zip(first, second, strict=True))


def test_residues_are_uniform_whatever_the_vector():
    """Both parts modulo both primes in 64 bins, for two vectors: 8 chi-square tests at 10^-7."""
    ring, key, _ = known(4096, 36)
    for value in (0, 2**31 - 1):
        for part in encrypted(key, np.full(8 * 4096, value), scale_bits=36):
            for row, prime in zip(part, ring.primes, strict=True):
                assert stats.chisquare(np.histogram(row / prime, bins=64, range=(0, 1))[0]).pvalue > 1e-7


# They are SEAL's


class SealParty:
    """SEAL's own key generator, encryptor and decryptor, at our two primes and the third that SEAL puts aside.

    Its key's residues modulo our two primes are a joint key of ours: both encrypt under one secret.
    """

    def __init__(self, degree, bits):
        self.modulus = modulus(degree, bits)
        self.ring = seal_ring(self.modulus)
        self.context = self.ring.context
        generator = sealapi.KeyGenerator(self.context)
        public = sealapi.PublicKey()
        generator.create_public_key(public)
        self.encryptor = sealapi.Encryptor(self.context, public)
        self.decryptor = sealapi.Decryptor(self.context, generator.secret_key())
        own, common = self._public(public)
        self.key = JointKey(self.modulus, own, common)

    def _public(self, public):
        """b and a modulo our primes: SEAL keeps them as values at the roots, of three primes."""
        body = self.ring._body(self.ring._save(public))
        *_, size, degree, primes, _, _ = (None, None, *_CIPHERTEXT.unpack_from(body)[2:])
        assert (size, degree, primes) == (2, self.modulus.degree, 3)
        words = np.frombuffer(body, "<u8", offset=_CIPHERTEXT.size + 24).reshape(size, primes, degree)
        return self.at_roots(words[:, :2])

    def at_roots(self, words):
        """Residues of polynomials that are given by their values at the roots, uint64, shape (count, 2, N)."""
        words = np.ascontiguousarray(words)
        metadata = _CIPHERTEXT.pack(self.ring._parms_id, 1, len(words), self.modulus.degree, 2, 1.0, 1)
        found = self.ring.residues(self.ring._load(sealapi.Ciphertext(), self.ring._written(metadata, words)))
        return found.swapaxes(0, 1)

    def decrypted(self, ciphertext):
        """What SEAL's decryptor makes of a ciphertext: centred coefficients in paired order."""
        plaintext = sealapi.Plaintext()
        self.decryptor.decrypt(ciphertext, plaintext)
        body = self.ring._body(self.ring._save(plaintext))
        words = np.frombuffer(body, "<u8", offset=72).reshape(1, 2, -1)
        twice = self.at_roots(np.concatenate([words, words]))
        return self.modulus.centred(np.ascontiguousarray(twice[0]))

    def plaintext(self, residues):
        """A plaintext of these coefficients for SEAL's encryptor, int64, shape (2, N)."""
        one = np.zeros((2, 1, self.modulus.degree), np.int64)
        one[:, 0, 0] = 1
        return self.ring._plaintext(
            self.ring._words(self.ring.ciphertext(np.concatenate([residues[:, None], one], 1)))[0]
        )


@cache
def party(degree, bits):
    return SealParty(degree, bits)


@SIZES
def test_seal_decrypts_ours(degree, bits):
    """Δ·x and an error within nine deviations, by SEAL's own Decryptor with the key that its KeyGenerator made."""
    theirs, scale_bits = party(degree, bits), 2 * bits - 40
    vector = drawn(degree)
    own, common = encrypted(theirs.key, vector, scale_bits=scale_bits)
    found = theirs.decrypted(theirs.ring.ciphertext(np.stack([own, common], axis=1)))
    assert np.array_equal(np.rint(found / 2.0**scale_bits), vector)
    small = encrypted(theirs.key, vector % 1000)
    errors = theirs.decrypted(theirs.ring.ciphertext(np.stack(small, axis=1))) - vector % 1000
    assert np.abs(errors).max() < 9 * cipher.error_std(degree, 1, 1)
    assert errors.std() == pytest.approx(cipher.error_std(degree, 1, 1), rel=0.15)  # N coefficients, one key


@SIZES
def test_seal_adds_ours_and_decrypts_the_sum(degree, bits):
    theirs, scale_bits = party(degree, bits), 2 * bits - 40
    vectors = [drawn(degree, seed=seed) for seed in (1, 2)]
    first, second = (
        theirs.ring.ciphertext(np.stack(encrypted(theirs.key, vector, scale_bits=scale_bits), axis=1))
        for vector in vectors
    )
    found = theirs.decrypted(theirs.ring.add(first, second))
    assert np.array_equal(np.rint(found / 2.0**scale_bits), sum(vectors))


@SIZES
def test_a_ciphertext_of_seals_own_encryptor_adds_up_with_ours(degree, bits):
    """SEAL encrypts modulo three primes and divides by the third: what comes of it lies modulo our two."""
    theirs, scale_bits = party(degree, bits), 2 * bits - 40
    ours, sealed = drawn(degree, seed=3), drawn(degree, seed=4)
    scaled = np.stack([sealed.astype(object) * (1 << scale_bits) % prime for prime in theirs.modulus.primes])
    ciphertext = sealapi.Ciphertext()
    theirs.encryptor.encrypt(theirs.plaintext(scaled.astype(np.int64)), ciphertext)
    assert ciphertext.size() == 2
    assert np.array_equal(np.rint(theirs.decrypted(ciphertext) / 2.0**scale_bits), sealed)
    mine = theirs.ring.ciphertext(np.stack(encrypted(theirs.key, ours, scale_bits=scale_bits), axis=1))
    found = theirs.decrypted(theirs.ring.add(mine, ciphertext))
    assert np.array_equal(np.rint(found / 2.0**scale_bits), ours + sealed)
    # And by numpy, as the server adds.
    residues = theirs.ring.residues(ciphertext)
    own, common = encrypted(theirs.key, ours, scale_bits=scale_bits)
    theirs.modulus.add(residues[:, 0], own)
    theirs.modulus.add(residues[:, 1], common)
    found = theirs.decrypted(theirs.ring.ciphertext(residues))
    assert np.array_equal(np.rint(found / 2.0**scale_bits), ours + sealed)


def test_seal_puts_a_prime_of_its_own_aside():
    for degree in (4096, 8192):
        assert _special_prime(degree) not in modulus(degree, 36).primes
        assert _special_prime(degree).bit_length() == 20
        assert _special_prime(degree) % (2 * degree) == 1
