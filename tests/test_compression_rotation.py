"""The randomised Walsh–Hadamard transform against the matrix it stands for."""

import math

import numpy as np
import pytest
from scipy.linalg import hadamard

from privfl.compression.rotation import SEED_BYTES, padded, rotate, rotate_back
from privfl.primitives.prg import public_words

CHANCE = np.random.default_rng(20_261_121)
SEED = bytes(range(SEED_BYTES))
LENGTHS = pytest.mark.parametrize("length", [1 << bits for bits in (*range(13), 15, 17)])


def signs(length, seed=SEED):
    """Bit j of word i of the seed's expansion is the sign of coordinate j·⌈m/64⌉ + i."""
    columns = max(1, length // 64)
    words = public_words(seed, columns)
    bits = [[int(words[i]) >> j & 1 for i in range(columns)] for j in range(length // columns)]
    return 1 - 2 * np.array(bits).reshape(-1)


@pytest.mark.parametrize("length", [1 << bits for bits in range(12)])
def test_it_is_the_matrix(length):
    vector = CHANCE.normal(size=length)
    expected = hadamard(length) @ (signs(length) * vector) / math.sqrt(length)
    assert np.allclose(rotate(vector.copy(), SEED), expected, rtol=0, atol=1e-12)


@LENGTHS
def test_it_is_undone(length):
    """Guarantee 2."""
    vector = CHANCE.normal(size=length)
    assert np.allclose(rotate_back(rotate(vector.copy(), SEED), SEED), vector, rtol=0, atol=1e-12)


@LENGTHS
def test_norms_stay_and_sums_rotate_to_sums(length):
    """Guarantee 1."""
    one, other = CHANCE.normal(size=(2, length))
    rotated = [rotate(vector.copy(), SEED) for vector in (one, other, one + other)]
    assert np.linalg.norm(rotated[0]) == pytest.approx(np.linalg.norm(one), rel=1e-12)
    assert np.allclose(rotated[0] + rotated[1], rotated[2], rtol=0, atol=1e-12)


def test_signs_are_fair_and_depend_on_the_seed():
    """Five deviations, a false alarm in 10^6 seeds."""
    ours, others = signs(1 << 16), signs(1 << 16, bytes(16))
    assert abs(ours.sum()) < 5 * 256
    assert abs((ours * others).sum()) < 5 * 256
    vector = CHANCE.normal(size=64)
    assert not np.allclose(rotate(vector.copy(), SEED), rotate(vector.copy(), bytes(16)))


def test_a_spike_is_spread_evenly_and_a_flat_vector_is_no_spike():
    """Every coordinate of a rotated spike is ±1/√m; of any unit vector, few exceed √(2 ln(2m·10^6)/m) (1 in 10^6)."""
    length = 1 << 14
    spike = np.zeros(length)
    spike[77] = 1
    assert np.allclose(np.abs(rotate(spike, SEED)), 1 / math.sqrt(length))
    for vector in (np.ones(length), hadamard(length, dtype=np.int8)[5].astype(float), np.linspace(-1, 1, length)):
        unit = vector / np.linalg.norm(vector)
        assert np.abs(rotate(unit, SEED)).max() < math.sqrt(2 * math.log(2 * length * 1e6) / length)


def test_lengths_that_are_no_power_of_two_are_refused():
    for length in (3, 100, 1025):
        with pytest.raises(ValueError, match=f"{padded(length)} works"):
            rotate(np.zeros(length), SEED)


def test_padding_is_to_the_next_power_of_two():
    assert [padded(length) for length in (1, 2, 3, 4, 5, 1000, 1024, 1025)] == [1, 2, 4, 4, 8, 1024, 1024, 2048]
