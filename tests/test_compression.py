"""What of an update travels: the mean of what was sent is what the mean update sends, and nothing is lost unnoticed."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.compression.compressor import COORDINATES, Compressor, Keep
from privfl.compression.selection import largest_coordinates
from privfl.compression.windows import rotate_windows
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.errors import ConfigurationError

CHANCE = np.random.default_rng(20_261_123)
SEED = bytes(range(16))
LAYOUT = Layout((("w", (30, 20)), ("none", (0, 3)), ("b", (30,)), ("k", (4, 3, 3)), ("s", ())))
M = LAYOUT.length
MODEL = LAYOUT.unflatten(CHANCE.normal(size=M).astype(np.float32))
WAYS = [
    {"rotate": True},
    {"keep": Keep.RANDOM, "fraction": 0.2},
    {"keep": Keep.RANDOM, "fraction": 0.2, "rotate": True},
    {"keep": Keep.RANDOM, "fraction": 0.2, "feedback": 1.0},
    {"keep": Keep.RANDOM, "fraction": 0.2, "feedback": 0.5, "rotate": True},
    {"keep": Keep.MAGNITUDE, "fraction": 0.2},
    {"keep": Keep.MAGNITUDE, "fraction": 0.2, "rotate": True},
]
EVERY_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))


def flat(arrays):
    return np.concatenate([np.ravel(arrays[name]) for name, _ in LAYOUT.entries])


def updates(count, dtype=np.float32):
    return [LAYOUT.unflatten(CHANCE.normal(size=M).astype(dtype)) for _ in range(count)]


def compressor(**way):
    return Compressor(layout=LAYOUT, **way)


def places(chosen):
    return np.arange(M) if chosen.coordinates is None else chosen.coordinates


# There and back


@EVERY_WAY
def test_guarantee_1_the_mean_of_what_was_sent_is_the_mean_update_where_it_was_chosen(way):
    chosen, clients = compressor(**way).choose(SEED, MODEL), updates(7)
    sent = [chosen.compress(update).arrays for update in clients]
    mean = {COORDINATES: np.mean([one[COORDINATES] for one in sent], axis=0)}
    back = chosen.expand(mean)
    assert {name: (array.shape, array.dtype) for name, array in back.items()} == {
        name: (shape, np.float32) for name, shape in LAYOUT.entries
    }
    wanted = np.zeros(M)
    wanted[places(chosen)] = np.mean([flat(update) for update in clients], axis=0)[places(chosen)]
    assert np.allclose(flat(back), wanted, rtol=0, atol=1e-5)
    assert not flat(back)[wanted == 0].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_updates_that_pass_are_the_same_bits(dtype):
    agreed, (update,) = compressor(), updates(1, dtype)
    chosen = agreed.choose(SEED, MODEL)
    compressed = chosen.compress(update)
    assert agreed.sent == LAYOUT
    assert agreed.passes
    assert compressed.residual is None
    assert all(compressed.arrays[name] is update[name] for name, _ in LAYOUT.entries)
    back = chosen.expand(compressed.arrays)
    assert all(back[name].tobytes() == update[name].astype(np.float32).tobytes() for name, _ in LAYOUT.entries)
    assert all(array.dtype == np.float32 for array in back.values())


def test_without_rotation_what_is_sent_are_the_chosen_values_themselves():
    (update,) = updates(1)
    for way in WAYS[1::2]:
        chosen = compressor(**way).choose(SEED, MODEL)
        assert np.array_equal(chosen.compress(update).arrays[COORDINATES], flat(update)[chosen.coordinates])


def test_rotation_is_that_of_what_was_chosen_and_lets_a_spike_through_a_small_clip():
    update = LAYOUT.unflatten(np.zeros(M, np.float32))
    update["w"][3, 3] = 8
    chosen = compressor(rotate=True).choose(SEED, MODEL)
    sent = chosen.compress(update).arrays
    assert np.allclose(sent[COORDINATES], rotate_windows(flat(update).astype(np.float64), chosen.rotation), atol=1e-6)
    assert np.abs(sent[COORDINATES]).max() < 1.5
    codec = UpdateCodec(layout=chosen.compressor.sent, coding=FixedPoint(clip=1.5, bits=16), weight_max=1)
    back = chosen.expand(codec.decode(codec.encode(sent).vector, contributors=1).arrays)
    assert np.abs(flat(back) - flat(update)).max() < 1e-3


@EVERY_WAY
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40))
def test_any_length_goes_there_and_back(way, values):
    layout = Layout((("w", (len(values), 1)), ("b", (2,))))
    update = layout.unflatten(np.array([*values, 1, 2], np.float32))
    way = way | {"fraction": 1.0}
    chosen = Compressor(layout=layout, **way).choose(SEED, update | {"w": np.ones((len(values), 1), np.float32)})
    back = chosen.expand(chosen.compress(update).arrays)
    assert np.allclose(back["w"], update["w"], rtol=1e-5, atol=1e-3)
    assert np.allclose(back["b"], update["b"], rtol=1e-5, atol=1e-3)


# What it depends on


@EVERY_WAY
def test_guarantee_2_lengths_are_known_beforehand(way):
    agreed = compressor(**way)
    for seed, scale in itertools.product([SEED, bytes(16)], [1, -5]):
        chosen = agreed.choose(seed, {name: array * scale for name, array in MODEL.items()})
        sent = chosen.compress(updates(1)[0]).arrays
        assert {name: array.shape for name, array in sent.items()} == dict(agreed.sent.entries)
        assert sent[COORDINATES].dtype == np.float32
    expected = {Keep.ALL: M, Keep.RANDOM: M // 5, Keep.MAGNITUDE: 636 // 5 + 31}[agreed.keep]
    assert agreed.kept == agreed.sent.length == expected


@EVERY_WAY
def test_guarantee_2_the_choice_follows_from_the_seed_or_from_the_model(way):
    agreed, (other,) = compressor(**way), updates(1)
    chosen, again = (agreed.choose(SEED, MODEL) for _ in range(2))
    by_seed, by_model = agreed.choose(bytes(16), MODEL), agreed.choose(SEED, other)
    assert np.array_equal(places(chosen), places(again))
    assert chosen.rotation == again.rotation == by_model.rotation
    assert np.array_equal(places(chosen), places(by_seed)) == (agreed.keep is not Keep.RANDOM)
    assert np.array_equal(places(chosen), places(by_model)) == (agreed.keep is not Keep.MAGNITUDE)
    assert (chosen.rotation != by_seed.rotation) == agreed.rotate
    assert (chosen.rotation is None) == (not agreed.rotate)


def test_magnitudes_are_the_models():
    chosen = compressor(**WAYS[5]).choose(SEED, MODEL)
    assert np.array_equal(chosen.coordinates, largest_coordinates(MODEL, LAYOUT, 0.2))


def test_random_choices_look_at_no_model():
    assert np.array_equal(
        compressor(**WAYS[1]).choose(SEED, {}).coordinates, compressor(**WAYS[1]).choose(SEED, MODEL).coordinates
    )


@EVERY_WAY
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_updates_of_every_width_and_order_in_memory_are_taken_and_left_alone(way, dtype):
    update = {name: array.astype(dtype, order="F") for name, array in updates(1)[0].items()}
    update["s"] = update["s"][()]  # a numpy scalar
    kept = {name: array.copy() for name, array in update.items()}
    chosen = compressor(**way).choose(SEED, MODEL)
    residual = CHANCE.normal(size=M).astype(np.float32) if chosen.compressor.feedback else None
    kept_residual = None if residual is None else residual.copy()
    plain = {name: array.astype(np.float32, order="C") for name, array in update.items()}
    sent, wanted = chosen.compress(update, residual), chosen.compress(plain, residual)
    assert np.array_equal(sent.arrays[COORDINATES], wanted.arrays[COORDINATES])
    assert all(np.array_equal(update[name], kept[name]) for name in kept)
    assert residual is None or np.array_equal(residual, kept_residual)
    mean = {COORDINATES: sent.arrays[COORDINATES].copy()}
    chosen.expand(mean)
    assert np.array_equal(mean[COORDINATES], sent.arrays[COORDINATES])


# Feedback


@pytest.mark.parametrize("feedback", [0.25, 1.0])
def test_guarantee_3_what_was_not_sent_is_remembered(feedback):
    chosen = compressor(keep=Keep.RANDOM, fraction=0.2, feedback=feedback).choose(SEED, {})
    (update,), residual = updates(1), CHANCE.normal(size=M).astype(np.float32)
    together = flat(update) + residual
    compressed = chosen.compress(update, residual)
    off = np.setdiff1d(np.arange(M), chosen.coordinates)
    assert np.array_equal(compressed.arrays[COORDINATES], together[chosen.coordinates])
    assert not compressed.residual[chosen.coordinates].any()
    assert np.array_equal(compressed.residual[off], np.float32(feedback) * together[off])
    assert compressed.residual.dtype == np.float32
    first = chosen.compress(update)
    assert np.array_equal(first.residual[off], np.float32(feedback) * flat(update)[off])


def test_guarantee_3_with_a_feedback_of_1_nothing_is_lost():
    """Over twenty rounds, each with coordinates of its own."""
    agreed, residual, sent, given_ = compressor(**WAYS[3]), None, np.zeros(M), np.zeros(M)
    for number, update in enumerate(updates(20)):
        chosen = agreed.choose(number.to_bytes(16, "big"), {})
        compressed = chosen.compress(update, residual)
        residual = compressed.residual
        sent += flat(chosen.expand(compressed.arrays))
        given_ += flat(update)
        assert np.allclose(sent + residual, given_, rtol=0, atol=1e-4)
    assert np.linalg.norm(residual) > 1


@EVERY_WAY
def test_a_residual_is_there_with_feedback_only_and_one_that_does_not_fit_is_refused(way):
    chosen, (update,) = compressor(**way).choose(SEED, MODEL), updates(1)
    feedback = chosen.compressor.feedback
    assert (chosen.compress(update).residual is None) == (not feedback)
    for length in (M - 1, M + 1) if feedback else (M,):
        with pytest.raises(ConfigurationError, match=rf"^a residual of shape \({length},\) .*: \({M},\) works with "):
            chosen.compress(update, np.zeros(length, np.float32))


# What is refused


@EVERY_WAY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("w", 0), ("w", 599), ("b", 7), ("k", 35), ("s", 0)])
def test_guarantee_4_what_is_not_finite_is_refused_by_name_whether_it_was_chosen_or_not(way, bad, name, index):
    (update,) = updates(1)
    update = {key: array.copy() for key, array in update.items()}
    update[name].reshape(-1)[index:] = bad
    update["s"][()] = np.nan
    with pytest.raises(ConfigurationError) as ours:
        compressor(**way).choose(SEED, MODEL).compress(update)
    with pytest.raises(ConfigurationError) as of_encoding:
        FixedPoint(clip=1.0, bits=8).encode(update[name], weight=1.0, out=np.empty(M, np.int32), name=name)
    assert str(ours.value) == str(of_encoding.value)


def test_guarantee_4_updates_that_pass_are_left_to_the_encoding():
    (update,) = updates(1)
    update["w"][1, 1] = np.nan
    assert np.isnan(compressor().choose(SEED, {}).compress(update).arrays["w"][1, 1])


def test_what_no_float32_holds_is_refused_alone_or_with_the_residual():
    chosen, (update,) = compressor(**WAYS[3]).choose(SEED, {}), updates(1, np.float64)
    residual = np.zeros(M, np.float32)
    update["b"][4] = 3e38
    residual[604] = 3e38
    for given_, kept in (({**update, "b": update["b"] * 10}, None), (update, residual)):
        with pytest.raises(ConfigurationError, match=r"^update 'b' holds inf at flat index 4: every value must be "):
            chosen.compress(given_, kept)
    assert chosen.compress(update).residual is not None


def test_updates_and_means_of_other_names_or_shapes_are_refused():
    chosen = compressor(**WAYS[1]).choose(SEED, {})
    with pytest.raises(ConfigurationError, match="array 'w' has shape"):
        chosen.compress({**MODEL, "w": np.zeros((20, 30), np.float32)})
    for mean in ({COORDINATES: np.zeros(M, np.float32)}, MODEL):
        with pytest.raises(ConfigurationError, match=r"array 'coordinates' (has shape|is missing)"):
            chosen.expand(mean)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_seeds_of_another_length_are_refused(length):
    with pytest.raises(ConfigurationError, match=f"^a seed of compression of {length} bytes: 16 public bytes work$"):
        compressor(rotate=True).choose(bytes(length), {})


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"keep": Keep.RANDOM, "fraction": 0.0}, "compression.fraction is 0.0: above 0, up to 1, works, such as 0.2"),
        ({"keep": Keep.RANDOM, "fraction": 1.1}, "compression.fraction is 1.1: above 0, up to 1, works"),
        ({"keep": Keep.MAGNITUDE, "fraction": -0.2}, "compression.fraction is -0.2: above 0, up to 1, works"),
        ({"keep": Keep.RANDOM, "fraction": float("nan")}, "compression.fraction is nan: above 0, up to 1, works"),
        (
            {"fraction": 0.2},
            "compression.fraction is 0.2 with compression.keep = 'all': keep = 'random' or 'magnitude'",
        ),
        ({"keep": Keep.RANDOM, "fraction": 1e-6}, "and of 667 coordinates nothing is kept: 0.0015 or more works"),
        ({"keep": Keep.MAGNITUDE, "fraction": 1e-6}, "and of 636 entries of matrices nothing is kept: 0.0016 or more"),
        ({"keep": Keep.RANDOM, "fraction": 0.2, "feedback": -0.1}, "compression.feedback is -0.1: 0 to 1 works"),
        ({"keep": Keep.RANDOM, "fraction": 0.2, "feedback": 1.1}, "compression.feedback is 1.1: 0 to 1 works"),
        ({"feedback": float("nan")}, "compression.feedback is nan: 0 to 1 works, such as 1.0"),
        ({"feedback": 1.0}, "compression.feedback is 1.0 with compression.keep = 'all': "),
        ({"keep": Keep.MAGNITUDE, "fraction": 0.2, "feedback": 1.0}, "with compression.keep = 'magnitude': "),
    ],
)
def test_contradictions_are_refused_with_what_works(way, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        compressor(**way)


@pytest.mark.parametrize("keep", list(Keep))
def test_layouts_without_a_value_are_refused(keep):
    with pytest.raises(ConfigurationError):
        Compressor(layout=Layout((("w", (0, 3)),)), keep=keep, fraction=1.0)
