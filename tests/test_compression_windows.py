"""Rotations of any length: against the two windows that they are made of, and on what they are for."""

import math

import numpy as np
import pytest

from privfl.compression.rotation import SEED_BYTES, rotate
from privfl.compression.windows import rotate_windows, rotate_windows_back
from privfl.primitives.prg import public_words

CHANCE = np.random.default_rng(20_261_122)
SEED = bytes(range(SEED_BYTES))
LENGTHS = pytest.mark.parametrize(
    "length", [*range(1, 18), 31, 33, 63, 64, 65, 100, 127, 129, 1000, 1023, 1025, 2047, 5000, 20_000, 70_001]
)


def largest_power(length):
    return max(1 << bits for bits in range(40) if 1 << bits <= length)


@LENGTHS
def test_the_first_coordinates_are_rotated_and_then_the_last(length):
    """As many as the largest power of two, by the first 16 bytes of the seed's expansion and by the next 16."""
    width = largest_power(length)
    seeds = public_words(SEED, 4).tobytes()
    vector = CHANCE.normal(size=length)
    wanted = vector.copy()
    wanted[:width] = rotate(wanted[:width].copy(), seeds[:16])
    if length > width:
        wanted[length - width :] = rotate(wanted[length - width :].copy(), seeds[16:])
    assert np.array_equal(rotate_windows(vector, SEED), wanted)


@LENGTHS
def test_guarantee_1_norms_stay_and_sums_rotate_to_sums(length):
    one, other = CHANCE.normal(size=(2, length))
    rotated = [rotate_windows(vector.copy(), SEED) for vector in (one, other, one + other)]
    assert np.linalg.norm(rotated[0]) == pytest.approx(np.linalg.norm(one), rel=1e-12)
    assert np.allclose(rotated[0] + rotated[1], rotated[2], rtol=0, atol=1e-12)


@LENGTHS
def test_guarantee_2_it_is_undone(length):
    vector = CHANCE.normal(size=length)
    rotated = rotate_windows(vector.copy(), SEED)
    assert rotated.shape == (length,)
    assert np.allclose(rotate_windows_back(rotated, SEED), vector, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1024, 1025, 1500, 2047, 70_001])
def test_guarantee_3_whatever_the_vector_it_is_spread_evenly(length):
    """Exceeded by one vector in 10^6 seeds, the seeds being the same in every run."""
    most = math.sqrt(2 * math.log(2 * length * 1e6) / largest_power(length))
    ones, alternating = np.ones(length), np.resize([1.0, -1.0], length)
    spikes = np.eye(5, length) + np.eye(5, length)[::-1, ::-1]
    once_spread = rotate_windows_back(np.eye(1, length, length // 2)[0], bytes(16))
    for vector in (ones, alternating, *spikes, np.eye(1, length, length // 2)[0], once_spread):
        unit = vector / np.linalg.norm(vector)
        assert np.abs(rotate_windows(unit, SEED)).max() < most


@pytest.mark.parametrize(("length", "apart"), [(1, 2), (2, 4), (3, 16), (64, 64), (1025, 64)])
def test_seeds_have_signs_of_their_own_and_so_have_windows(length, apart):
    """Three coordinates in two windows of two have 16 rotations: were signs the same in both windows, they had 4."""
    vector = np.arange(1.0, length + 1)
    rotations = {rotate_windows(vector.copy(), i.to_bytes(SEED_BYTES, "big")).tobytes() for i in range(64)}
    assert len(rotations) == apart
