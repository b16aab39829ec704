"""Updates as bounded integers: errors within the derived bounds, counts exact, sums that cannot wrap."""

import itertools
import math
import re
import traceback
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privfl.encoding import fixed_point
from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.residues import Ring, sum_bits
from privfl.encoding.update import UpdateCodec
from privfl.errors import ConfigurationError, RoundAborted
from privfl.simulate import aggregate

FLOATS = [np.float16, np.float32, np.float64]
BITS = st.integers(2, 24)
CLIPS = st.floats(1e-12, 1e12) | st.sampled_from([1e-12, 0.1, 1.0, 1e12])
CHUNK = fixed_point._CHUNK
SLACK = 1e-8  # of a step: float64 arithmetic on integers below 2^23


def encode(coder, values, *, weight=1.0, name="update", dice=None):
    out = np.empty(values.size, np.int32)
    clipped = coder.encode(values, weight=weight, out=out, name=name, dice=dice)
    return out, clipped


def loaded(word):
    """Dice that always show the same."""
    return lambda count: np.full(count, word, np.uint32)


UP, DOWN = loaded(2**32 - 1), loaded(0)


# Fixed point


@given(clip=CLIPS, bits=BITS, parts=st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_the_error_inside_the_clip_is_at_most_half_a_step(clip, bits, parts):
    coder = FixedPoint(clip=clip, bits=bits)
    values = np.clip(np.array(parts) * clip, -clip, clip)
    integers, clipped = encode(coder, values)
    step = Fraction(clip) / coder.bound
    assert clipped == 0
    for integer, value in zip(integers.tolist(), values.tolist(), strict=True):
        assert abs(integer * step - Fraction(value)) <= step * (Fraction(1, 2) + Fraction(SLACK))
    assert coder.step == pytest.approx(float(step), rel=1e-15)


@given(
    clip=CLIPS,
    bits=BITS,
    values=st.sampled_from(FLOATS).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.integers(0, 30),
            elements=st.floats(allow_nan=False, allow_infinity=False, width=np.dtype(dtype).itemsize * 8),
        )
    ),
    weight=st.floats(0, 1),
)
def test_no_integer_ever_exceeds_the_bound(clip, bits, values, weight):
    coder = FixedPoint(clip=clip, bits=bits)
    integers, _ = encode(coder, values, weight=weight)
    assert coder.bound == 2 ** (bits - 1) - 1
    assert all(abs(integer) <= coder.bound for integer in integers.tolist())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bits", range(2, 25))
def test_extreme_values_encode_as_the_bound_itself(dtype, bits):
    huge = np.finfo(dtype).max
    for clip in (1e-12, 1 / 3, 0.1, 1.0, np.nextafter(1.0, 2), 1e4):
        coder = FixedPoint(clip=clip, bits=bits)
        integers, clipped = encode(coder, np.array([huge, -huge, 0, -0.0], dtype))
        assert integers.tolist() == [coder.bound, -coder.bound, 0, 0]
        assert clipped == 2


@given(
    clip=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    dtype=st.sampled_from(FLOATS),
    values=st.lists(st.floats(-4, 4) | st.sampled_from([0.1, -0.1, 0.5, -0.5, 1.0, 3.0]), max_size=40),
)
def test_saturation_is_counted_exactly(clip, dtype, values):
    array = np.array(values, dtype)
    _, clipped = encode(FixedPoint(clip=clip, bits=12), array)
    assert clipped == sum(abs(value) > clip for value in array.tolist())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_chunks_leave_no_seam(dtype, size):
    coder = FixedPoint(clip=2.0, bits=16)
    values = np.random.default_rng(size).normal(0, 1, size).astype(dtype)
    integers, clipped = encode(coder, values, weight=0.75)
    wide = values.astype(np.float64)
    assert clipped == np.count_nonzero(np.abs(wide) > 2)
    assert np.array_equal(integers, np.rint(np.clip(wide, -2, 2) * (0.75 * coder.bound / 2)).astype(np.int32))
    again, _ = encode(coder, values, weight=0.75)
    assert again.tobytes() == integers.tobytes()


def test_one_value_beyond_the_clip_is_counted_in_whichever_chunk_it_lies():
    for position in (0, CHUNK - 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 9):
        values = np.zeros(2 * CHUNK + 10, np.float32)
        values[position] = -9
        integers, clipped = encode(FixedPoint(clip=1.0, bits=8), values)
        assert clipped == 1
        assert integers[position] == -127
        assert np.count_nonzero(integers) == 1


@given(weight=st.floats(0, 1), values=st.lists(st.floats(-3, 3), min_size=1, max_size=10))
def test_the_weight_is_applied_after_clipping(weight, values):
    coder = FixedPoint(clip=1.5, bits=16)
    integers, _ = encode(coder, np.array(values), weight=weight)
    for integer, value in zip(integers.tolist(), values, strict=True):
        wanted = max(-1.5, min(1.5, value)) * weight
        assert abs(integer * coder.step - wanted) <= coder.step * (0.5 + SLACK)


def test_ties_round_to_even_at_every_sign():
    coder = FixedPoint(clip=127.0, bits=8)
    assert encode(coder, np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]))[0].tolist() == [0, 2, 2, 0, -2, -2]


def test_any_shape_strides_and_byte_order_encode_alike():
    coder, values = FixedPoint(clip=2.0, bits=10), np.linspace(-1, 1, 24).reshape(4, 6)
    expected = encode(coder, values)[0]
    assert np.array_equal(encode(coder, values.reshape(2, 3, 4))[0], expected)
    assert np.array_equal(encode(coder, np.asfortranarray(values))[0], expected)
    assert np.array_equal(encode(coder, values.astype(">f8"))[0], expected)
    assert np.array_equal(encode(coder, np.repeat(values, 2, axis=1)[:, ::2])[0], expected)
    frozen = values.copy()
    frozen.flags.writeable = False
    assert np.array_equal(encode(coder, frozen)[0], expected)


@given(values=hnp.arrays(np.float32, 50, elements=st.floats(-100, 100, width=32)))
def test_encoding_leaves_its_input_alone(values):
    kept = values.copy()
    encode(FixedPoint(clip=1.0, bits=8), values, weight=0.5)
    assert values.tobytes() == kept.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 7, CHUNK - 1, CHUNK, CHUNK + 4])
def test_values_that_are_not_finite_are_refused_by_name_and_place(dtype, bad, position):
    values = np.zeros((2, CHUNK), dtype)
    values.flat[position] = bad
    values.flat[-1] = np.nan
    with pytest.raises(ConfigurationError, match=rf"'layer\.weight' holds {bad} at flat index {position}:"):
        encode(FixedPoint(clip=1.0, bits=8), values, name="layer.weight")


def suggested(error) -> str:
    return re.search(r"works, such as (\S+)$", str(error.value)).group(1)


@pytest.mark.parametrize("bits", [-1, 0, 1, 25, 64])
def test_bits_out_of_range_are_refused_with_a_value_that_works(bits):
    with pytest.raises(ConfigurationError, match=f"^encoding.bits is {bits}: .* 2 to 24 works") as error:
        FixedPoint(clip=1.0, bits=bits)
    FixedPoint(clip=1.0, bits=int(suggested(error)))
    for works in (2, 24):
        FixedPoint(clip=1.0, bits=works)


@pytest.mark.parametrize("bits", [16.0, 7.5, True, "16", None, np.int64(16)])
def test_bits_that_are_not_a_whole_number_are_refused_with_one_that_works(bits):
    with pytest.raises(ConfigurationError, match=r"^encoding\.bits is .*: a whole number from 2 to 24 works") as error:
        FixedPoint(clip=1.0, bits=bits)
    FixedPoint(clip=1.0, bits=int(suggested(error)))


@pytest.mark.parametrize("clip", [0.0, -1.0, 9.9e-13, 1.1e12, math.inf, -math.inf, math.nan])
def test_clips_out_of_range_are_refused_with_a_value_that_works(clip):
    with pytest.raises(ConfigurationError, match=f"^encoding.clip is {re.escape(str(clip))}: ") as error:
        FixedPoint(clip=clip, bits=8)
    FixedPoint(clip=float(suggested(error)), bits=8)
    for works in (1e-12, 1e12):
        FixedPoint(clip=works, bits=8)


# Rounding at random


@given(
    clip=CLIPS,
    bits=BITS,
    parts=st.lists(st.floats(-1.5, 1.5) | st.sampled_from([-1e-20, 1e-20, -1.0, 1.0]), min_size=1, max_size=20),
    weight=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    words=st.lists(st.sampled_from([0, 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1), min_size=20, max_size=20),
)
def test_guarantee_2_a_value_is_rounded_up_if_its_word_is_among_that_part_of_all_words(
    clip, bits, parts, weight, words
):
    """Exactly, as fractions; and within the bound."""
    coder = FixedPoint(clip=clip, bits=bits)
    values = np.array(parts) * clip
    integers, _ = encode(coder, values, weight=weight, dice=lambda count: np.array(words[:count], np.uint32))
    factor = weight * coder.bound / clip
    for integer, value, word in zip(integers.tolist(), values.tolist(), words, strict=False):
        scaled = min(max(min(max(value, -clip), clip) * factor, -coder.bound), coder.bound)
        whole = math.floor(scaled)
        above = Fraction(scaled) - whole
        assert integer in {whole, math.ceil(scaled)}
        assert abs(integer) <= coder.bound
        if abs(above + Fraction(word, 2**32) - 1) > Fraction(1, 2**52):
            assert integer == whole + (above + Fraction(word, 2**32) >= 1)


@pytest.mark.parametrize("bits", range(2, 25))
def test_guarantee_1_not_even_the_worst_dice_lead_beyond_the_bound(bits):
    """Clips at which clip · (bound / clip) is more than the bound are among these."""
    clips = [1e-12, 1 / 3, 0.1, 1.0, 1e12, *np.random.default_rng(bits).uniform(0.01, 9, 200).tolist()]
    exceeded = 0
    for clip in clips:
        coder = FixedPoint(clip=clip, bits=bits)
        exceeded += clip * (coder.bound / clip) > coder.bound
        for dice in (UP, DOWN, loaded(2**31)):
            integers, clipped = encode(coder, np.array([9e99, -9e99, clip, -clip]), dice=dice)
            assert np.abs(integers).max() <= coder.bound
            assert clipped == 2
    assert exceeded or bits < 4


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
def test_guarantee_2_rounding_is_right_on_average_at_both_signs(bits):
    """Five deviations for each of 64 values: a false alarm in 27,000 runs, and the words are always the same."""
    coder, rolls = FixedPoint(clip=1.0, bits=bits), 20_000
    values = np.random.default_rng(bits).uniform(-1, 1, 64)
    dice = np.random.default_rng(7)
    integers, _ = encode(coder, np.tile(values, rolls), dice=lambda count: dice.integers(0, 2**32, count, np.uint32))
    wanted = values * coder.bound
    above = wanted - np.floor(wanted)
    off = np.abs(integers.reshape(rolls, 64).mean(0) - wanted)
    assert (off <= 5 * np.sqrt(above * (1 - above) / rolls) + 1e-9).all()
    assert np.array_equal(np.unique(integers.reshape(rolls, 64) - np.floor(wanted)), [0, 1])


@pytest.mark.parametrize("dice", [UP, DOWN])
def test_guarantee_2_whole_numbers_stay_whatever_the_dice_show(dice):
    coder = FixedPoint(clip=127.0, bits=8)
    values = np.arange(-127.0, 128.0)
    assert np.array_equal(encode(coder, values, dice=dice)[0], values)
    assert encode(coder, values[::2], weight=0.5, dice=dice)[0].tolist() == [
        math.floor(value / 2) + (dice is UP and value % 2 > 0) for value in values[::2]
    ]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_every_value_has_a_word_of_its_own_chunk_by_chunk(size):
    coder, asked = FixedPoint(clip=2.0, bits=16), []
    values = np.random.default_rng(size).normal(0, 1, size)
    words = np.random.default_rng(1).integers(0, 2**32, size, np.uint32)

    def dice(count):
        asked.append(count)
        return words[sum(asked[:-1]) : sum(asked)].copy()

    integers, _ = encode(coder, values, weight=0.75, dice=dice)
    scaled = np.clip(values, -2, 2) * (0.75 * coder.bound / 2)
    assert sum(asked) == size
    assert np.array_equal(integers, np.floor(scaled + words * 2.0**-32).astype(np.int32))


# Counts


@given(
    bound=st.integers(1, 10) | st.integers(1, 2**31 - 1),
    maximum=st.integers(1, 10) | st.integers(1, 10**12),
    draw=st.data(),
)
def test_counts_are_exact_through_sums(bound, maximum, draw):
    code = CountCode(maximum, bound)
    counts = draw.draw(st.lists(st.integers(0, maximum) | st.just(maximum), min_size=1, max_size=30))
    digits = [code.encode(count) for count in counts]
    assert all(one.dtype == np.int32 and one.shape == (code.digits,) for one in digits)
    assert all(0 <= digit <= bound for one in digits for digit in one.tolist())
    assert code.decode(np.sum(digits, axis=0, dtype=np.int64)) == sum(counts)
    assert [code.decode(one) for one in digits] == counts


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 127])
def test_every_count_up_to_every_small_maximum_comes_back_in_the_fewest_digits(bound):
    for maximum in range(1, 131):
        code = CountCode(maximum, bound)
        assert (bound + 1) ** (code.digits - 1) <= maximum < (bound + 1) ** code.digits
        encoded = {code.encode(count).tobytes() for count in range(maximum + 1)}
        assert len(encoded) == maximum + 1
        assert all(code.decode(code.encode(count)) == count for count in range(maximum + 1))


@pytest.mark.parametrize(("maximum", "bound"), [(1, 1), (1000, 127), (10**9, 32_767), (2**31 - 1, 2**31 - 1)])
def test_a_million_clients_at_the_maximum_are_counted_exactly(maximum, bound):
    code = CountCode(maximum, bound)
    total = code.encode(maximum).astype(np.int64) * 1_000_000
    assert code.decode(total) == maximum * 1_000_000


@given(
    bound=st.integers(1, 10**6),
    maximum=st.integers(1, 10**9),
    error=st.integers(0, 1000),
    counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    draw=st.data(),
)
def test_counts_stay_exact_whatever_the_error_of_the_sum_that_is_allowed_for(bound, maximum, error, counts, draw):
    bound = max(bound, 2 * error + 1)
    code = CountCode(maximum, bound, error=error)
    counts = [min(count, maximum) for count in counts]
    digits = [code.encode(count) for count in counts]
    assert all(0 <= digit <= bound for one in digits for digit in one.tolist())
    errors = draw.draw(st.lists(st.integers(-error, error), min_size=code.digits, max_size=code.digits))
    assert code.decode(np.sum(digits, axis=0, dtype=np.int64) + errors) == sum(counts)


@given(bound=st.integers(1, 10**6), maximum=st.integers(1, 10**9))
def test_the_highest_digit_is_stretched_over_more_than_half_the_range(bound, maximum):
    highest = int(CountCode(maximum, bound).encode(maximum)[-1])
    assert bound < 2 * highest <= 2 * bound


def test_counts_that_drown_in_the_error_are_refused_with_what_works():
    with pytest.raises(
        ConfigurationError, match=r"off by up to 64, in which 'examples' drowns .*: take suite 'masking'"
    ):
        CountCode(1000, 128, "examples", error=64)
    assert CountCode(1000, 129, "examples", error=64).digits == 10


@pytest.mark.parametrize("count", [-1, 1001, 10**9])
def test_counts_out_of_range_are_refused_by_name_with_the_range_that_works(count):
    for code, name in ((CountCode(1000, 127), "count"), (CountCode(1000, 127, "examples"), "examples")):
        with pytest.raises(
            ConfigurationError, match=f"^'{name}' is out of range: 0 to 1000, the agreed maximum, works$"
        ):
            code.encode(count)
        for works in (0, 1000):
            assert code.decode(code.encode(works)) == works


@pytest.mark.parametrize("count", [0.5, 999.9, 3.0, math.nan, math.inf, np.float64(3), "3", None])
def test_counts_that_are_not_whole_numbers_are_refused_by_name(count):
    with pytest.raises(ConfigurationError, match=r"^'examples' is no whole number: 0 to 1000 works$"):
        CountCode(1000, 127, "examples").encode(count)


def test_whole_numbers_of_numpy_are_counts():
    code = CountCode(1000, 127)
    for dtype in (np.int16, np.int64, np.uint64):
        assert np.array_equal(code.encode(dtype(517)), code.encode(517))


@pytest.mark.parametrize("name", ["count", "examples"])
def test_a_count_code_without_room_is_refused_by_name(name):
    for maximum in (0, -5):
        with pytest.raises(
            ConfigurationError, match=f"^the maximum of '{name}' is {maximum}: a whole number from 1 up works$"
        ):
            CountCode(maximum, 7, name)
    for bound in (0, -1):
        with pytest.raises(ConfigurationError, match=f"^the bound of a coordinate is {bound}: 1 or more works$"):
            CountCode(7, bound, name)
    assert CountCode(1, 1, name).digits == 1


# Rings


def test_sum_bits_is_the_fewest_that_tell_all_sums_apart():
    for contributors, bound in itertools.product(range(1, 41), range(1, 41)):
        sums = 2 * contributors * bound + 1  # from −nB to nB
        fewest = next(bits for bits in itertools.count() if 2**bits >= sums)
        assert sum_bits(contributors, bound) == fewest


RING_EDGES = [
    (1, 2**31 - 1, 32),
    (2**31 - 1, 1, 32),
    (65_536, 32_767, 32),
    (65_538, 32_767, 32),
    (65_539, 32_767, 64),
    (2**31, 1, 64),
    (2, 2**30, 64),
    (2**32 + 1, 2**31 - 1, 64),
    (1, 2**63 - 1, 64),
]


@pytest.mark.parametrize(("contributors", "bound", "bits"), RING_EDGES)
def test_the_ring_is_the_smallest_word_in_which_extreme_sums_do_not_wrap(contributors, bound, bits):
    ring = Ring.for_sum(contributors, bound)
    assert ring.bits == bits
    for extreme in (contributors * bound, -contributors * bound):
        word = np.array([extreme % 2**bits], ring.dtype)
        assert ring.centred(word).tolist() == [extreme]
    if bits == 64:  # 32 would have been too few: one of the two extremes wraps
        assert contributors * bound >= 2**31


@given(bound=st.integers(1, 2**31 - 1))
def test_one_client_more_than_a_32_bit_ring_was_made_for_could_wrap_it(bound):
    most = (2**31 - 1) // bound
    ring = Ring.for_sum(most, bound)
    assert ring.bits == 32
    assert Ring.for_sum(most + 1, bound).bits == 64
    one_too_many = np.array([(most + 1) * bound % 2**32], ring.dtype)
    assert ring.centred(one_too_many).tolist() != [(most + 1) * bound]


@given(contributors=st.integers(1, 10**6), bound=st.integers(1, 2**31 - 1))
def test_every_cohort_and_bound_that_parameters_allow_has_a_ring(contributors, bound):
    ring = Ring.for_sum(contributors, bound)
    assert contributors * bound < 2 ** (ring.bits - 1)
    assert ring.bits == 32 or contributors * bound >= 2**31


@given(
    bits=st.sampled_from([32, 64]),
    values=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    dtype=st.sampled_from([np.int32, np.int64]),
)
def test_centred_undoes_store(bits, values, dtype):
    ring, words = Ring(bits), np.empty(len(values), Ring(bits).dtype)
    ring.store(np.array(values, dtype), words)
    assert words.tolist() == [value % 2**bits for value in values]
    centred = ring.centred(words)
    assert centred.dtype == np.int64
    assert centred.tolist() == values


@given(st.lists(st.lists(st.integers(-(2**24), 2**24), min_size=3, max_size=3), min_size=1, max_size=60))
def test_sums_of_residues_are_residues_of_sums(vectors):
    ring = Ring.for_sum(len(vectors), 2**24)
    total = np.zeros(3, ring.dtype)
    for vector in vectors:
        words = np.empty(3, ring.dtype)
        ring.store(np.array(vector, np.int32), words)
        total += words
    assert ring.centred(total).tolist() == np.sum(vectors, axis=0).tolist()


@pytest.mark.parametrize(("bits", "dtype"), [(32, "<u4"), (64, "<u8")])
def test_words_are_little_endian_and_of_the_size_of_the_ring(bits, dtype):
    assert Ring(bits).dtype == np.dtype(dtype)
    assert Ring(bits).word_bits == 8 * Ring(bits).dtype.itemsize == bits
    assert Ring(bits).vector_bytes(7) == 7 * bits // 8


@pytest.mark.parametrize("bits", [-1, 0, 65, 128])
def test_rings_that_no_machine_word_holds_are_refused(bits):
    with pytest.raises(ConfigurationError, match="1 to 64 works"):
        Ring(bits)


@pytest.mark.parametrize(
    ("contributors", "bound"), [(2**45, 2**31 - 1), (2**50, 2**23 - 1), (3 * 2**40, 2**24 - 1), (2**33, 2**30)]
)
def test_a_sum_that_cannot_fit_is_refused_with_a_bound_and_bits_that_work(contributors, bound):
    with pytest.raises(ConfigurationError, match="overflows the ring of 64 bits") as error:
        Ring.for_sum(contributors, bound)
    fitting, bits = map(int, re.search(r"use at most (\d+) \(encoding.bits ≤ (\d+)\)", str(error.value)).groups())
    assert Ring.for_sum(contributors, fitting).bits == 64
    assert Ring.for_sum(contributors, 2 ** (bits - 1) - 1).bits == 64
    for too_much in (fitting + 1, 2 ** (bits + 1) - 1):
        with pytest.raises(ConfigurationError):
            Ring.for_sum(contributors, too_much)


# Layout

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scale": np.array(6.0),
    "empty": np.zeros((0, 5), np.float16),
    "bias": np.array([7.0, 8.0]),
}


def test_spans_follow_each_other_in_the_given_order():
    layout = Layout.of(ARRAYS)
    assert layout.entries == (("weight", (2, 3)), ("scale", ()), ("empty", (0, 5)), ("bias", (2,)))
    assert list(layout.spans()) == [
        ("weight", (2, 3), slice(0, 6)),
        ("scale", (), slice(6, 7)),
        ("empty", (0, 5), slice(7, 7)),
        ("bias", (2,), slice(7, 9)),
    ]
    assert layout.length == 9


def test_unflatten_gives_views_in_the_agreed_shapes():
    layout, vector = Layout.of(ARRAYS), np.arange(9.0)
    cut = layout.unflatten(vector)
    assert list(cut) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert cut[name].shape == array.shape
        assert np.array_equal(cut[name], array)
        assert np.shares_memory(cut[name], vector) or not array.size
    vector[6] = -1
    assert cut["scale"][()] == -1


@given(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5))
def test_a_layout_covers_its_vector_once(shapes):
    arrays = {f"array {i}": np.zeros(shape) for i, shape in enumerate(shapes)}
    assume(any(array.size for array in arrays.values()))
    layout = Layout.of(arrays)
    places = [place for _, _, place in layout.spans()]
    assert places[0].start == 0
    assert places[-1].stop == layout.length == sum(array.size for array in arrays.values())
    assert all(left.stop == right.start for left, right in itertools.pairwise(places))
    layout.check(arrays)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint32, bool, np.complex64, np.longdouble, "U3", object])
def test_arrays_that_are_not_of_floats_are_no_update(dtype):
    layout = Layout((("weight", (2,)), ("steps", (2,))))
    arrays = {"weight": np.zeros(2), "steps": np.zeros(2, dtype)}
    for refuse in (Layout.of, layout.check, codec_of(layout=layout).encode):
        with pytest.raises(
            ConfigurationError, match=rf"^array 'steps' is {np.dtype(dtype)}: only floating-point arrays"
        ):
            refuse(arrays)


@pytest.mark.parametrize("value", [[7.0, 8.0], (7.0, 8.0), 7.0, None, "floats"])
def test_what_is_no_array_is_no_update(value):
    layout = Layout((("weight", (2,)), ("bias", (2,))))
    arrays = {"weight": np.zeros(2), "bias": value}
    for refuse in (Layout.of, layout.check, codec_of(layout=layout).encode):
        with pytest.raises(ConfigurationError, match=f"^array 'bias' is {type(value).__name__}: only floating-point"):
            refuse(arrays)


@pytest.mark.parametrize("dtype", FLOATS)
def test_arrays_of_16_32_and_64_bit_floats_are_an_update(dtype):
    arrays = {"w": np.zeros((2, 2), dtype), "b": np.array(0.5, dtype)}
    assert Layout.of(arrays) == SMALL
    SMALL.check(arrays)
    assert codec_of(bits=8).encode(arrays).vector.tolist() == [0, 0, 0, 0, 64, 127]


@pytest.mark.parametrize("arrays", [{}, {"empty": np.zeros((3, 0))}])
def test_a_layout_without_a_value_is_refused(arrays):
    with pytest.raises(ConfigurationError, match="at least one array"):
        Layout.of(arrays)


def test_repeated_names_are_refused():
    with pytest.raises(ConfigurationError, match="layout names repeat"):
        Layout((("a", (1,)), ("b", (2,)), ("a", (1,))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, "array 'bias' is missing from the update"),
        ({"extra": np.zeros(1)}, "array 'extra' is unknown in the update"),
        ({"weight": np.zeros((3, 2))}, r"array 'weight' has shape \(3, 2\) where \(2, 3\) is agreed"),
        ({"weight": np.zeros(6)}, r"array 'weight' has shape \(6,\)"),
        ({"scale": np.zeros(1)}, r"array 'scale' has shape \(1,\) where \(\) is agreed"),
        ({"bias": np.array([7, 8])}, "array 'bias' is int64: only floating-point arrays"),
    ],
)
def test_what_differs_from_the_layout_is_refused_by_name(change, message):
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    with pytest.raises(ConfigurationError, match=message):
        Layout.of(ARRAYS).check(arrays)
    with pytest.raises(ConfigurationError, match=message):
        UpdateCodec(layout=Layout.of(ARRAYS), coding=FixedPoint(clip=1.0, bits=8), weight_max=1.0).encode(arrays)


def test_the_order_in_which_arrays_are_given_does_not_matter():
    codec = UpdateCodec(layout=Layout.of(ARRAYS), coding=FixedPoint(clip=9.0, bits=8), weight_max=1.0)
    backwards = dict(reversed(ARRAYS.items()))
    assert np.array_equal(codec.encode(ARRAYS).vector, codec.encode(backwards).vector)


# Whole updates

SMALL = Layout((("w", (2, 2)), ("b", ())))


def codec_of(*, bits=16, clip=1.0, **settings):
    return UpdateCodec(coding=FixedPoint(clip=clip, bits=bits), **({"layout": SMALL, "weight_max": 1.0} | settings))


def small_update(values=(0.1, 0.2, -0.3, 0.4, -0.6)):
    return SMALL.unflatten(np.array(values, np.float64))


def just_told_apart(codec, *, share=0.0):
    """The weight that is `share` of the greatest one, or the least that is not lost: a little over half a unit."""
    return max(share, 0.51 / codec._weight_units) * codec.weight_max


def total_of(encoded):
    return np.sum([one.vector for one in encoded], axis=0, dtype=np.int64)


def seen(values):
    """These values, the last of them 1 if all are so small that they might round to 0: such an update is refused."""
    return values if not any(values) or max(map(abs, values)) > 0.5 else [*values[:-1], 1.0]


FIVE_VALUES = st.lists(st.floats(-2, 2, width=32), min_size=5, max_size=5).map(seen)


@given(
    bits=st.integers(2, 20),
    clip=st.sampled_from([1e-3, 0.7, 1.0, 50.0]),
    weight_max=st.integers(1, 40) | st.floats(1e-3, 1e3),
    metric_max=st.sampled_from([0.5, 1.0, 30.0]),
    clients=st.lists(
        st.tuples(FIVE_VALUES, st.floats(1e-6, 1), st.integers(0, 1000), st.floats(0, 2)), min_size=1, max_size=12
    ),
)
def test_the_decoded_mean_is_the_weighted_mean_within_the_derived_bound(bits, clip, weight_max, metric_max, clients):
    """Each client's integers are off by ≤ 1/2, its weight by ≤ 1/2 unit of weight_max / U.

    With ŵ the weights as written, W = Σŵ, and everything clipped to c:
    |decoded − Σŵx/W| ≤ n · step/2 · weight_max/W, plus float32's rounding, and
    |Σŵx/W − Σwx/Σw| ≤ 2c · Σ|ŵ − w| / W.
    """
    codec = codec_of(bits=bits, clip=clip, weight_max=weight_max, counts={"n": 1000}, means={"m": metric_max})
    weights = [just_told_apart(codec, share=share) for _, share, _, _ in clients]
    encoded = [
        codec.encode(
            small_update(np.array(values) * clip), weight=weight, counts={"n": count}, means={"m": metric * metric_max}
        )
        for (values, _, count, metric), weight in zip(clients, weights, strict=True)
    ]
    mean = codec.decode(total_of(encoded), contributors=len(encoded))

    unit = weight_max / codec._weight_units
    written = np.array([one.vector[SMALL.length] for one in encoded]) * unit
    assert np.all(written > 0)
    assert np.all(np.abs(written - weights) <= unit / 2 * (1 + 1e-9))
    total = written.sum()
    assert mean.weight == pytest.approx(total, rel=1e-12)
    assert mean.counts == {"n": sum(count for _, _, count, _ in clients)}

    clipped = np.clip([np.array(values) * clip for values, _, _, _ in clients], -clip, clip)
    as_written, as_wanted = (np.average(clipped, axis=0, weights=them) for them in (written, weights))
    rounding = len(clients) * codec.coding.step / 2 * weight_max / total
    decoded = np.array([*mean.arrays["w"].ravel(), mean.arrays["b"]])
    assert np.all(np.abs(decoded - as_written) <= rounding * (1 + 1e-6) + clip * 2.0**-23)
    assert np.all(np.abs(as_written - as_wanted) <= 2 * clip * np.abs(written - weights).sum() / total + clip * 1e-9)

    metrics = np.minimum([metric for _, _, _, metric in clients], 1) * metric_max
    off = len(clients) * metric_max / codec.bound / 2 * weight_max / total
    assert abs(mean.means["m"] - np.average(metrics, weights=written)) <= off * (1 + 1e-6) + metric_max * 1e-9


@given(
    bits=st.integers(8, 24),
    weight_max=st.integers(1, 127) | st.integers(1, 127).map(float),
    draw=st.data(),
)
def test_whole_weights_are_written_exactly_while_weight_max_fits_the_bound(bits, weight_max, draw):
    codec = codec_of(bits=bits, weight_max=weight_max)
    weights = draw.draw(st.lists(st.integers(1, int(weight_max)), min_size=1, max_size=20))
    encoded = [codec.encode(small_update(), weight=weight) for weight in weights]
    per_unit = codec.bound // int(weight_max)
    assert [int(one.vector[SMALL.length]) for one in encoded] == [weight * per_unit for weight in weights]
    assert codec.decode(total_of(encoded), contributors=len(encoded)).weight == sum(weights)


def test_every_whole_weight_below_every_small_maximum_is_written_exactly():
    """Exhaustively: 1/49 · 49 is not 1 in floats, and rounding must take that back."""
    for weight_max in range(1, 128):
        codec = codec_of(bits=8, weight_max=weight_max)
        weights = range(1, weight_max + 1)
        vectors = [codec.encode(small_update(), weight=weight).vector for weight in weights]
        assert [int(vector[SMALL.length]) for vector in vectors] == [weight * (127 // weight_max) for weight in weights]
        assert [codec.decode(vector, contributors=1).weight for vector in vectors] == list(weights)


@given(st.lists(st.tuples(FIVE_VALUES, st.integers(1, 100)), min_size=1, max_size=10))
def test_with_whole_weights_the_mean_is_off_by_the_integers_rounding_only(clients):
    """|decoded − Σwx/Σw| ≤ n · step/2 · weight_max/Σw, plus float32's rounding."""
    codec = codec_of(bits=12, weight_max=100)
    encoded = [codec.encode(small_update(values), weight=weight) for values, weight in clients]
    mean = codec.decode(total_of(encoded), contributors=len(encoded)).arrays
    wanted = np.average(np.clip([values for values, _ in clients], -1, 1), axis=0, weights=[w for _, w in clients])
    bound = len(clients) * codec.coding.step / 2 * 100 / sum(weight for _, weight in clients)
    assert np.all(np.abs([*mean["w"].ravel(), mean["b"]] - wanted) <= bound * (1 + 1e-6) + 2.0**-23)


@given(
    bits=BITS,
    values=st.lists(st.floats(-1e30, 1e30), min_size=5, max_size=5).map(seen),
    share=st.floats(0, 1),
    weight_max=st.sampled_from([1, 7, 1.0, 0.3, 1e9, 2**40, 5e-324]),
    count=st.integers(0, 10**12),
    metric=st.floats(0, 1e300),
)
def test_every_coordinate_of_every_vector_is_within_the_bound(bits, values, share, weight_max, count, metric):
    codec = codec_of(bits=bits, weight_max=weight_max, counts={"n": 10**12, "s": 5}, means={"m": 3.5}, saturation="s")
    weight = just_told_apart(codec, share=share) or weight_max
    vector = codec.encode(small_update(values), weight=weight, counts={"n": count}, means={"m": metric}).vector
    assert vector.shape == (codec.length,)
    assert vector.dtype == np.int32
    assert all(abs(coordinate) <= codec.bound for coordinate in vector.tolist())
    assert vector[SMALL.length] >= 1


def test_only_the_update_is_rounded_at_random():
    codec = codec_of(counts={"n": 10}, means={"m": 1.0})
    up, down, nearest = (
        codec.encode(
            small_update([0.11, 0.23, -0.37, 0.41, -0.59]), weight=0.3, counts={"n": 3}, means={"m": 0.7}, dice=dice
        ).vector
        for dice in (UP, DOWN, None)
    )
    assert np.array_equal(up[: SMALL.length] - down[: SMALL.length], [1] * SMALL.length)
    assert np.array_equal(up[SMALL.length :], nearest[SMALL.length :])
    assert np.array_equal(down[SMALL.length :], nearest[SMALL.length :])


def test_what_every_client_loses_to_the_nearest_arrives_at_random():
    """A tenth of a step from each of 10,000 clients. Five deviations, a false alarm in 10^6 draws of the words."""
    codec, clients, rolled = codec_of(bits=8), 10_000, np.random.default_rng(5)
    step = codec.coding.step
    vectors = [
        codec.encode(
            small_update([0.1 * step, -0.1 * step, 0, 0, 1]),
            dice=lambda count: rolled.integers(0, 2**32, count, np.uint32),
        ).vector.astype(np.int64)
        for _ in range(clients)
    ]
    mean = codec.decode(np.sum(vectors, axis=0), contributors=clients).arrays["w"].ravel() / step
    assert np.abs(mean - [0.1, -0.1, 0, 0]).max() <= 5 * math.sqrt(0.09 / clients)
    nearest = codec.encode(small_update([0.1 * step, -0.1 * step, 0, 0, 1])).vector
    assert not nearest[:4].any()


@pytest.mark.parametrize("largest", [1e-12, 2.0**-20, 3e-5, 2.0**-15 * (1 - 2**-20), -1.1e-5])
@pytest.mark.parametrize("bits", [2, 8, 15])
def test_an_update_that_vanishes_is_told_of_with_what_works(bits, largest):
    codec = codec_of(bits=bits, weight_max=100)
    update = small_update([0, largest, 0, largest / 3, 0])
    assert not codec.encode(update, weight=100).vector[: SMALL.length].any()
    told = codec.too_coarse(update)
    assert re.match(f"the update vanishes: .* encoding.bits = {bits} is too ", told)
    works = float(re.search(r"encoding.rounding = 'stochastic' works, or encoding.clip = (\S+)$", told)[1])
    assert codec_of(bits=bits, clip=works, weight_max=100).too_coarse(update) is None
    assert math.frexp(works)[0] == 0.5  # a power of two
    assert works / 2 < abs(largest) <= works
    assert codec_of(bits=bits, clip=works, weight_max=100).encode(update, weight=100).vector[1] != 0
    assert codec.encode(update, weight=100, dice=UP).vector.size == codec.length


@pytest.mark.parametrize("bits", [2, 8, 24])
def test_an_update_just_seen_is_taken(bits):
    codec = codec_of(bits=bits)
    half = codec.coding.step / 2
    assert codec.too_coarse(small_update([0, half * (1 - 1e-9), 0, 0, 0])) is not None
    assert codec.too_coarse(small_update([0, half * (1 + 1e-9), 0, 0, 0])) is None
    assert codec.encode(small_update([0, half * (1 + 1e-9), 0, 0, 0])).vector[1] == 1


def test_updates_of_zeros_or_of_little_weight_or_below_every_clip_do_not_count_as_vanished():
    codec = codec_of(bits=8, weight_max=100)
    for values, weight in (([0, -0.0, 0, 0, 0], 100), ([0.3, 0.1, 0, 0, 0], 1), ([9e-13, 0, 0, 0, -1e-300], 100)):
        assert not codec.encode(small_update(values), weight=weight).vector[: SMALL.length].any()
        assert codec.too_coarse(small_update(values)) is None


def test_encoding_is_deterministic():
    codec = codec_of(counts={"n": 10}, means={"m": 1.0})
    vectors = {
        codec.encode(small_update(), weight=0.3, counts={"n": 3}, means={"m": 0.7}).vector.tobytes() for _ in range(5)
    }
    assert len(vectors) == 1


def test_the_vector_is_update_weight_counts_means_in_that_order():
    codec = codec_of(bits=8, weight_max=1, counts={"a": 127, "b": 200}, means={"m": 2.0, "k": 1.0})
    vector = codec.encode(
        small_update([1, -1, 0, 0.5, -2]), counts={"b": 200, "a": 5}, means={"k": 0.25, "m": 1.0}
    ).vector
    assert vector.tolist() == [127, -127, 0, 64, -127, 127, 5, 200 - 128, 127, 64, 32]
    assert codec.length == 11


def test_saturation_is_counted_in_each_update_and_through_the_sum():
    codec = codec_of(counts={"cut": 5, "n": 3}, saturation="cut")
    encoded = [
        codec.encode(small_update(values), counts={"n": 3})
        for values in ([0, 0, 0, 0, 0], [1, -1, 1, -1, 1], [9, -9, 1.0001, 1, 0], [2, 2, 2, 2, -2])
    ]
    assert [one.saturated for one in encoded] == [0, 0, 3, 5]
    assert codec.decode(total_of(encoded), contributors=len(encoded)).counts == {"cut": 8, "n": 12}


def test_means_are_cut_at_their_maximum_and_weighted():
    codec = codec_of(bits=16, weight_max=4, means={"loss": 2.0})
    encoded = [
        codec.encode(small_update(), weight=weight, means={"loss": loss})
        for weight, loss in [(1, 0.5), (3, 1.5), (4, 99.0)]
    ]
    assert codec.decode(total_of(encoded), contributors=len(encoded)).means["loss"] == pytest.approx(
        (0.5 + 4.5 + 8.0) / 8, abs=1e-4
    )


def test_the_mean_comes_back_as_float32_in_the_agreed_shapes():
    codec = codec_of()
    arrays = codec.decode(codec.encode(small_update()).vector.astype(np.int64), contributors=1).arrays
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "w": ((2, 2), np.float32),
        "b": ((), np.float32),
    }


@pytest.mark.parametrize("weight", [0, -1, -1e-9, 1.0000001, 5, math.inf, -math.inf, math.nan])
def test_weights_out_of_range_are_refused_with_the_range_that_works(weight):
    with pytest.raises(ConfigurationError, match=r"^the weight is outside its range: above 0, up") as error:
        codec_of().encode(small_update(), weight=weight)
    works = float(re.search(r"up to weight_max = (\S+), works$", str(error.value)).group(1))
    assert works == 1.0
    codec_of().encode(small_update(), weight=works)


@given(bits=BITS, weight_max=st.sampled_from([1, 7, 1.0, 0.3, 1e9, 2**40]), tiny=st.floats(1e-300, 0.4999))
def test_a_weight_that_would_round_to_nothing_is_refused_not_inflated(bits, weight_max, tiny):
    codec = codec_of(bits=bits, weight_max=weight_max)
    weight = tiny * weight_max / codec._weight_units
    with pytest.raises(
        ConfigurationError, match=f"^the weight vanishes beside weight_max = {re.escape(str(weight_max))}: "
    ):
        codec.encode(small_update(), weight=weight)


@pytest.mark.parametrize("bits", range(2, 24))
@pytest.mark.parametrize("weight_max", [1, 100.0, 1 / 3])
def test_a_weight_that_vanishes_is_refused_with_a_weight_and_with_bits_that_work(bits, weight_max):
    codec = codec_of(bits=bits, weight_max=weight_max)
    weight = 0.4 * weight_max / codec._weight_units
    with pytest.raises(ConfigurationError, match=f"with {bits} bits, .*; encoding.bits up to 24 reach lower$") as error:
        codec.encode(small_update(), weight=weight)
    works = float(re.search(r"weights above (\S+) work;", str(error.value)).group(1)) * 1.01
    assert codec.encode(small_update(), weight=works).vector[SMALL.length] == 1
    written = codec_of(bits=24, weight_max=weight_max).encode(small_update(), weight=weight).vector[SMALL.length]
    assert written >= 1


@pytest.mark.parametrize("bits", range(2, 25))
def test_the_least_weight_lies_just_above_half_a_unit(bits):
    codec = codec_of(bits=bits)
    half = 0.5 / codec.bound
    assert codec.encode(small_update(), weight=half * (1 + 1e-12)).vector[SMALL.length] == 1
    with pytest.raises(ConfigurationError, match="vanishes"):
        codec.encode(small_update(), weight=half * (1 - 1e-12))


def test_aggregate_refuses_weights_that_vanish_and_weighs_them_rightly_with_more_bits():
    """One client of 1000 among 99 of 1: at 8 bits the 99 would count for nothing, or, lifted to one unit, for 8 each.

    With 16 bits whole weights up to 32,767 are exact, and the mean is off by n · w_max/W · step/2 at most.
    """
    weights = [1000] + [1] * 99
    updates = [np.array([1.0, -1.0])] + [np.array([-1.0, 0.25])] * 99
    with pytest.raises(ConfigurationError, match=r"^the weight vanishes beside weight_max = 1000.0: with 8 bits"):
        aggregate(updates, clip=1.0, weights=weights, bits=8)
    mean = aggregate(updates, clip=1.0, weights=weights, bits=16, suite="plain")
    bound = 100 * (1000 / sum(weights)) / 32_767 / 2
    assert np.abs(mean - np.average(updates, axis=0, weights=weights)).max() <= bound + 2.0**-23


@given(
    values=st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).map(seen), min_size=1, max_size=12),
    weight=st.sampled_from([1, 0.37, 1000, 1e9]),
)
def test_aggregate_is_off_by_half_a_step_when_all_weigh_the_same(values, weight):
    mean = aggregate([np.array(one) for one in values], clip=1.0, weights=[weight] * len(values), bits=8, suite="plain")
    assert np.abs(mean - np.mean(values, axis=0)).max() <= 0.5 / 127 * (1 + 1e-9) + 2.0**-23


@pytest.mark.parametrize("weight_max", [0, -1.0, math.nan, math.inf])
def test_a_maximum_weight_that_is_not_positive_is_refused_with_one_that_works(weight_max):
    with pytest.raises(ConfigurationError, match=f"weight_max is {weight_max}: ") as error:
        codec_of(weight_max=weight_max)
    codec_of(weight_max=float(suggested(error)))


@pytest.mark.parametrize(
    ("counts", "means", "message"),
    [
        (None, {"m": 1.0}, "counts .* were given where .* are agreed"),
        ({"n": 1}, None, "means .* were given where .* are agreed"),
        ({"n": 1, "k": 1}, {"m": 1.0}, "counts .*'k'"),
        ({"n": 1}, {"m": 1.0, "k": 1.0}, "means .*'k'"),
        ({"k": 1}, {"m": 1.0}, "counts .*'k'"),
        ({"n": 6}, {"m": 1.0}, "^'n' is out of range: 0 to 5, the agreed maximum, works$"),
        ({"n": -1}, {"m": 1.0}, "^'n' is out of range: 0 to 5, the agreed maximum, works$"),
        ({"n": 1.5}, {"m": 1.0}, "^'n' is no whole number: 0 to 5 works$"),
        ({"n": 1}, {"m": -0.1}, "^metric 'm' is out of range: a finite number from 0 up works$"),
        ({"n": 1}, {"m": math.nan}, "^metric 'm' is out of range: a finite number from 0 up works$"),
        ({"n": 1}, {"m": math.inf}, "^metric 'm' is out of range: a finite number from 0 up works$"),
        ({"n": 1}, {"m": -math.inf}, "^metric 'm' is out of range: a finite number from 0 up works$"),
    ],
)
def test_counts_and_means_that_are_not_as_agreed_are_refused(counts, means, message):
    with pytest.raises(ConfigurationError, match=message):
        codec_of(counts={"n": 5}, means={"m": 2.0}).encode(small_update(), counts=counts, means=means)


@pytest.mark.parametrize("maximum", [0, -1])
def test_a_maximum_count_without_room_is_refused_by_name_when_it_is_agreed(maximum):
    with pytest.raises(ConfigurationError, match=f"^the maximum of 'n' is {maximum}: a whole number from 1 up works"):
        codec_of(counts={"k": 5, "n": maximum})


@pytest.mark.parametrize("maximum", [0, 0.0, -1.5, math.nan, math.inf, -math.inf])
def test_a_maximum_metric_that_is_not_positive_is_refused_by_name_when_it_is_agreed(maximum):
    with pytest.raises(ConfigurationError, match=f"^the maximum of metric 'm' is {maximum}: a positive number works"):
        codec_of(means={"k": 1.0, "m": maximum})


def test_a_saturation_count_that_is_not_among_the_counts_is_refused():
    with pytest.raises(ConfigurationError, match="'cut' is not among the counts"):
        codec_of(counts={"n": 5}, saturation="cut")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_refused_by_name_and_place(bad):
    with pytest.raises(ConfigurationError, match=r"'w' holds .* at flat index 3"):
        codec_of().encode(small_update([0, 0, 0, bad, 0]))


@pytest.mark.parametrize("shape", [(5,), (7,), (6, 1), (1, 6), ()])
def test_a_sum_of_another_shape_is_refused(shape):
    assert codec_of().length == 6
    with pytest.raises(ConfigurationError, match=r"where \(6,\) is agreed"):
        codec_of().decode(np.ones(shape, np.int64), contributors=1)


PRIVATE = 7319.528641


@pytest.mark.parametrize(
    ("weight", "count", "metric"),
    [
        (PRIVATE, 1, 1.0),
        (-PRIVATE, 1, 1.0),
        (PRIVATE * 1e-12, 1, 1.0),
        (0.5, 7319528641, 1.0),
        (0.5, -7319528641, 1.0),
        (0.5, PRIVATE, 1.0),
        (0.5, "7319528641", 1.0),
        (0.5, 1, -PRIVATE),
    ],
)
def test_no_refusal_tells_a_private_value(weight, count, metric):
    """Exceptions are logged: neither their texts nor what they were raised from hold what a client keeps to itself."""
    codec = codec_of(bits=16, counts={"n": 5}, means={"m": 2.0})
    with pytest.raises(ConfigurationError) as refusal:
        codec.encode(small_update(), weight=weight, counts={"n": count}, means={"m": metric})
    error = refusal.value
    told = f"{error} {error!r} {error.args} {error.__context__!r} {''.join(traceback.format_exception(error))}"
    assert "7319" not in told.replace(".", "")


def test_an_encoded_update_does_not_show_its_vector():
    encoded = codec_of(bits=24).encode(small_update([0.1234567] * 5))
    coordinate = str(int(encoded.vector[0]))
    assert len(coordinate) == 7
    for shown in (repr(encoded), str(encoded), f"{encoded}", repr([encoded])):
        assert "EncodedUpdate(" in shown
        assert "vector" not in shown
        assert "array" not in shown
        assert coordinate not in shown


# Sums that no honest contributions give

NO_SUM = r"^the sum is no sum of contributions as agreed: a client sent what no update encodes to$"


@pytest.mark.parametrize("weight", [0, -1])
def test_a_sum_without_weight_has_no_mean(weight):
    with pytest.raises(RoundAborted, match=NO_SUM):
        codec_of().decode(np.array([0, 0, 0, 0, 0, weight]), contributors=1)


@given(
    bits=BITS,
    dice=st.sampled_from([None, UP, DOWN]),
    weight_max=st.sampled_from([1, 3, 7, 100, 1.0, 1 / 3, 0.3, 1e9]),
    clients=st.lists(
        st.tuples(
            st.lists(st.sampled_from([-9.0, -1.0, 1.0, 9.0]) | st.floats(-1, 1), min_size=5, max_size=5).map(seen),
            st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
            st.sampled_from([0, 1000]) | st.integers(0, 1000),
            st.sampled_from([0.0, 2.0, 99.0]) | st.floats(0, 2),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_the_sum_of_any_honest_contributions_is_taken(bits, dice, weight_max, clients):
    """At the extremes too: everything clipped, every rounding in one direction, the greatest and the least weights."""
    codec = codec_of(bits=bits, weight_max=weight_max, counts={"n": 1000, "cut": 5}, means={"m": 2.0}, saturation="cut")
    encoded = [
        codec.encode(
            small_update(values),
            weight=just_told_apart(codec, share=share),
            counts={"n": count},
            means={"m": metric},
            dice=dice,
        )
        for values, share, count, metric in clients
    ]
    mean = codec.decode(total_of(encoded), contributors=len(encoded))
    assert mean.counts == {"n": sum(count for _, _, count, _ in clients), "cut": sum(one.saturated for one in encoded)}


@pytest.mark.parametrize("contributors", [1, 10, 1000])
def test_sums_of_what_was_rounded_away_from_zero_are_taken(contributors):
    """A hundredth of the clip is 1.27 units, of which dice make 2, and −1.27 become −2."""
    codec = codec_of(bits=8, weight_max=100)
    up, down = (codec.encode(small_update([1, -1, 0, 0, 0]), dice=dice).vector for dice in (UP, DOWN))
    assert (up[0], down[1]) == (2, -2)
    for vector in (up, down):
        assert codec.decode(vector * np.int64(contributors), contributors=contributors).weight == contributors


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("left", [-(10**6), -9, -1, 0, 1, 9, 10, 100])
def test_ten_clients_of_whom_one_writes_a_negative_weight_are_refused(bits, left):
    """Nine update by the clip; the tenth takes their weight away but for `left` units, and the mean would explode."""
    codec = codec_of(bits=bits)
    vectors = [codec.encode(small_update([1, 1, -1, 1, -1])).vector.astype(np.int64) for _ in range(9)]
    liar = np.zeros(codec.length, np.int64)
    liar[SMALL.length] = left - 9 * codec.bound
    with pytest.raises(RoundAborted, match=NO_SUM):
        codec.decode(np.sum([*vectors, liar], axis=0), contributors=10)


@pytest.mark.parametrize("clients", [2, 10, 1000])
def test_whatever_negative_weight_one_client_writes_the_mean_leaves_the_clip_by_the_rounding_only(clients):
    """What is left to a liar: |mean| ≤ c · (1 + n · W/(B·units)), as n roundings could have done."""
    codec = codec_of(bits=12)
    honest = codec.encode(small_update([1, 1, -1, 1, -1])).vector.astype(np.int64) * (clients - 1)
    for units in (1, clients // 2, clients, clients + 1, codec.bound // 2, codec.bound):
        total = honest.copy()
        total[SMALL.length] -= units
        try:
            mean = codec.decode(total, contributors=clients)
        except RoundAborted:
            continue
        assert units <= clients
        worst = max(np.abs(array).max() for array in mean.arrays.values())
        assert worst <= (1 + clients / total[SMALL.length]) * (1 + 1e-6)


@pytest.mark.parametrize("contributors", [1, 2, 10, 1000])
@pytest.mark.parametrize(("bits", "weight_max"), [(2, 1), (8, 100), (8, 1.0), (16, 1 / 3), (24, 7)])
def test_the_weight_lies_between_one_unit_and_all_units_for_each_contributor(bits, weight_max, contributors):
    codec = codec_of(bits=bits, weight_max=weight_max)
    for units, taken in [
        (contributors - 1, False),
        (contributors, True),
        (contributors * codec._weight_units, True),
        (contributors * codec._weight_units + 1, False),
    ]:
        total = np.array([0, 0, 0, 0, 0, units])
        if taken:
            assert codec.decode(total, contributors=contributors).weight == codec._weight(units)
        else:
            with pytest.raises(RoundAborted, match=NO_SUM):
                codec.decode(total, contributors=contributors)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("contributors", [1, 2, 3, 10])
@pytest.mark.parametrize(("bits", "weight_max"), [(2, 1), (8, 100), (16, 1 / 3), (24, 7)])
def test_a_value_reaches_as_far_as_its_weight_and_the_roundings_and_no_further(
    bits, weight_max, contributors, place, sign
):
    codec = codec_of(bits=bits, weight_max=weight_max)
    for units in {contributors, contributors * codec._weight_units, contributors * codec._weight_units // 2} - {0}:
        if units < contributors:
            continue
        total = np.zeros(6, np.int64)
        total[SMALL.length] = units
        reach = math.floor(Fraction(units * codec.bound, codec._weight_units) + contributors)
        total[place] = sign * reach
        codec.decode(total, contributors=contributors)
        for beyond in (1, codec.bound, 2**40):
            total[place] = sign * (reach + beyond)
            with pytest.raises(RoundAborted, match=NO_SUM):
                codec.decode(total, contributors=contributors)


@pytest.mark.parametrize("contributors", [1, 3, 10])
def test_digits_of_counts_and_metrics_are_neither_negative_nor_more_than_all_could_write(contributors):
    codec = codec_of(bits=8, counts={"a": 100, "b": 10_000}, means={"m": 2.0, "k": 1.0})
    rest = range(SMALL.length + 1, codec.length)
    assert len(rest) == 5
    start = np.zeros(codec.length, np.int64)
    start[SMALL.length] = contributors * codec.bound
    codec.decode(start, contributors=contributors)
    for place in rest:
        for coordinate, taken in [
            (contributors * codec.bound, True),
            (contributors * codec.bound + 1, False),
            (-1, False),
            (-(2**40), False),
            (2**40, False),
        ]:
            total = start.copy()
            total[place] = coordinate
            if taken:
                codec.decode(total, contributors=contributors)
            else:
                with pytest.raises(RoundAborted, match=NO_SUM):
                    codec.decode(total, contributors=contributors)


def test_a_sum_told_to_be_of_another_number_of_clients_is_refused_where_it_cannot_be():
    codec = codec_of(bits=8)
    total = total_of([codec.encode(small_update())] * 4)
    codec.decode(total, contributors=4)
    for contributors in (0, 1, 3, 4 * codec.bound + 1):
        with pytest.raises(RoundAborted, match=NO_SUM):
            codec.decode(total, contributors=contributors)


def test_what_is_refused_about_a_sum_tells_nothing_of_it():
    with pytest.raises(RoundAborted) as refusal:
        codec_of().decode(np.array([7319528641, 0, 0, 0, 0, 7]), contributors=1)
    assert "7" not in f"{refusal.value} {refusal.value.args}"


def test_one_more_client_and_one_more_count_change_the_length_as_told():
    for bound_bits, maximum in [(8, 127), (8, 128), (2, 1000), (24, 10**12)]:
        codec = codec_of(bits=bound_bits, counts={"n": maximum})
        assert codec.length == SMALL.length + 1 + CountCode(maximum, codec.bound).digits
        assert codec.encode(small_update(), counts={"n": maximum}).vector.size == codec.length
