"""Which coordinates travel: against their definitions, equal keys included, and on what cannot be chosen from."""

import hashlib
import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2

from privfl.compression import selection
from privfl.compression.selection import (
    kept_at_random,
    kept_by_magnitude,
    largest_coordinates,
    random_coordinates,
    random_coordinates_beside,
)
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.primitives.prg import public_words

SEED = bytes(range(16))
LAYOUT = Layout((("w", (3, 4)), ("b", (3,)), ("k", (2, 2, 2)), ("s", ())))
KNOWN_FIRST = [2, 3, 11, 15, 19, 20, 21, 24]
KNOWN_DIGEST = "67195b9bd89186bd564f8c76a5ea450f32b9e764a5a04968192cd56a056499ea"
MATRICES = [*range(12), *range(15, 23)]


def first(keys, count):
    """The indices of the least keys, ascending, as Python sorts."""
    return sorted(sorted(range(len(keys)), key=lambda i: (keys[i], i))[:count])


def model(values):
    return LAYOUT.unflatten(np.array(values, np.float32))


# At random


@given(length=st.integers(1, 300), share=st.floats(0, 1), seed=st.binary(min_size=16, max_size=16))
def test_guarantee_1_the_coordinates_of_the_least_words_are_chosen(length, share, seed):
    count = max(1, round(share * length))
    chosen = random_coordinates(length, count, seed)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == first(public_words(seed, length).tolist(), count)


@given(keys=hnp.arrays(np.uint64, st.integers(1, 60), elements=st.integers(0, 4)), share=st.floats(0, 1))
def test_guarantee_1_of_equal_words_the_first_are_chosen(keys, share):
    count = max(1, round(share * len(keys)))
    assert selection._least(keys, count).tolist() == first(keys.tolist(), count)


def test_guarantee_1_the_choice_is_the_same_on_every_machine():
    """A known answer: of a million coordinates, from the bytes 0 … 15."""
    chosen = random_coordinates(1_000_000, 200_000, SEED)
    assert chosen[:8].tolist() == KNOWN_FIRST
    assert hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest() == KNOWN_DIGEST


def test_guarantee_2_every_set_is_as_likely_as_any_other():
    """All 20 halves of 6 coordinates over 20,000 seeds: χ² is exceeded in one of 10^6 runs, and seeds are the same."""
    runs = 20_000
    met = Counter(tuple(random_coordinates(6, 3, i.to_bytes(16, "big")).tolist()) for i in range(runs))
    assert set(met) == set(combinations(range(6), 3))
    even = runs / len(met)
    assert sum((times - even) ** 2 / even for times in met.values()) < chi2.isf(1e-6, len(met) - 1)


def test_guarantee_2_another_seed_chooses_apart():
    """Common coordinates are hypergeometric: five deviations, a false alarm in 10^6 pairs of seeds."""
    length, count = 100_000, 20_000
    one, other = (set(random_coordinates(length, count, seed).tolist()) for seed in (SEED, bytes(16)))
    share = count / length
    std = math.sqrt(count * share * (1 - share) * (length - count) / (length - 1))
    assert abs(len(one & other) - count * share) < 5 * std


@pytest.mark.parametrize("count", [-1, 0, 11])
def test_more_than_there_are_and_fewer_than_one_cannot_be_chosen(count):
    with pytest.raises(ValueError, match=f"^{count} of 10 coordinates: 1 to 10 work$"):
        random_coordinates(10, count, SEED)
    assert random_coordinates(10, 10, SEED).tolist() == list(range(10))


# By magnitude


@given(
    values=hnp.arrays(np.float32, 24, elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0])),
    fraction=st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.8, 0.99, 1.0]),
)
def test_guarantee_1_the_largest_of_all_matrices_are_kept_and_of_equal_ones_the_first(values, fraction):
    values[0] = 2.0
    chosen = largest_coordinates(model(values), LAYOUT, fraction)
    count = math.floor(fraction * 20)
    wanted = [MATRICES[i] for i in first([-abs(float(values[i])) for i in MATRICES], count)]
    assert chosen.dtype == np.int64
    assert chosen.tolist() == sorted([*wanted, 12, 13, 14, 23])
    assert len(chosen) == kept_by_magnitude(LAYOUT, fraction)  # guarantee 2


def test_arrays_with_fewer_than_two_axes_are_kept_though_they_are_zero():
    values = np.arange(24.0)
    values[[12, 13, 14, 23]] = 0
    assert largest_coordinates(model(values), LAYOUT, 0.1).tolist() == [12, 13, 14, 21, 22, 23]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_weights_of_every_width_and_order_in_memory_are_compared_alike_and_left_alone(dtype):
    layout = Layout((("w", (8, 5)),))
    values = np.random.default_rng(3).permutation(40).reshape(8, 5) - 20.0
    weights = np.asfortranarray(values.astype(dtype))
    kept = weights.copy()
    wanted = first((-np.abs(values.ravel())).tolist(), 10)
    assert largest_coordinates({"w": weights}, layout, 0.25).tolist() == wanted
    assert np.array_equal(weights, kept)


def test_magnitudes_that_are_all_0_choose_nothing():
    values = np.zeros(24)
    values[12:15] = 9  # biases, which say nothing of matrices
    with pytest.raises(ConfigurationError, match=r"compression\.keep is 'magnitude', and magnitudes that are all 0 "):
        largest_coordinates(model(values), LAYOUT, 0.5)
    values[22] = -1e-45
    assert 22 in largest_coordinates(model(values), LAYOUT, 0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("place", "name", "index"), [(5, "w", 5), (20, "k", 5)])
def test_weights_that_are_not_finite_are_refused_by_name(bad, place, name, index):
    values = np.ones(24)
    values[place] = bad
    with pytest.raises(ConfigurationError, match=rf"^array '{name}' holds (nan|inf) at flat index {index}: "):
        largest_coordinates(model(values), LAYOUT, 0.5)


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ConfigurationError, match="array 'b' is missing"):
        largest_coordinates({"w": np.ones((3, 4))}, LAYOUT, 0.5)


# How many


@pytest.mark.parametrize(
    ("fraction", "kept"), [(0.29, 29), (0.57, 57), (0.01, 1), (0.019, 1), (1.0, 100), (1, 100), (np.float64(0.29), 29)]
)
def test_a_fraction_is_the_decimal_that_was_written(fraction, kept):
    """0.29 · 100 is 28.999999999999996 in floats."""
    assert kept_at_random(Layout((("w", (100,)),)), fraction) == kept
    assert kept_by_magnitude(Layout((("w", (10, 10)), ("b", (7,)))), fraction) == kept + 7


@pytest.mark.parametrize("length", [2, 3, 7, 20, 999, 1_000_000, 123_456_789])
def test_fractions_that_keep_nothing_are_refused_with_the_least_that_works(length):
    for kept, layout in (
        (kept_at_random, Layout((("w", (length,)),))),
        (kept_by_magnitude, Layout((("w", (length, 1)), ("b", ())))),
    ):
        with pytest.raises(
            ConfigurationError, match=r"^compression\.fraction is 1e-12, .* nothing is kept: .* or more works$"
        ) as error:
            kept(layout, 1e-12)
        works = float(str(error.value).rsplit("kept: ")[1].split()[0])
        assert kept(layout, works) >= 1
        assert works < 1.2 / length


def test_a_model_without_matrices_has_no_largest_entries():
    for layout in (Layout((("b", (9,)), ("s", ()))), Layout((("w", (0, 4)), ("b", (9,))))):
        with pytest.raises(ConfigurationError, match=r"no array of the model has two axes or more: 'random' works$"):
            kept_by_magnitude(layout, 0.5)


def test_arrays_that_travel_whole_do_and_of_the_others_a_uniform_fraction():
    """Over 400 seeds each of the 40 others is drawn 80 times, 8 more or less: none beyond 5σ, once in 40,000 runs."""
    layout = Layout((("a", (4, 5)), ("whole", (7,)), ("b", (20,)), ("too", ())))
    times = np.zeros(layout.length, int)
    for number in range(400):
        chosen = random_coordinates_beside(layout, 0.2, {"whole", "too"}, number.to_bytes(16, "big"))
        assert len(chosen) == kept_at_random(layout, 0.2, {"whole", "too"}) == 8 + 8
        assert (np.diff(chosen) > 0).all()
        times[chosen] += 1
    whole = np.r_[20:27, 47]
    assert (times[whole] == 400).all()
    others = np.delete(times, whole)
    assert np.abs(others - 80).max() < 5 * np.sqrt(400 * 0.2 * 0.8)
    assert np.array_equal(
        random_coordinates_beside(layout, 0.2, (), bytes(16)), random_coordinates(layout.length, 9, bytes(16))
    )
