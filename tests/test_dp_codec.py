"""From an update to noised whole numbers and back: clipping, rounding, and both together with rotation and noise."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy import stats

from privfl.dp import rounding
from privfl.dp.clip import Clipping, check_clip, clip_update
from privfl.dp.codec import PrivateCodec
from privfl.dp.integer import rounded_norm
from privfl.dp.noise import IntegerNoise, Mechanism
from privfl.dp.planner import plan
from privfl.dp.rounding import MOST_L2_SQUARED, TRIES, round_conditionally
from privfl.dp.tables import WIDEST_GAUSSIAN, WIDEST_SKELLAM
from privfl.encoding.layout import Layout
from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError
from privfl.testing import UnsafeFixedEntropy

CHANCE = np.random.default_rng(20_261_121)
SEED = bytes(range(16))


def fixed(number=0):
    return UnsafeFixedEntropy(bytes([number]) * 16)


def update(scale=1.0, dtype=np.float32):
    return {
        "weight": (scale * CHANCE.normal(size=(30, 7))).astype(dtype),
        "bias": (scale * CHANCE.normal(size=7)).astype(dtype),
        "gain": np.array(scale, dtype)[()] * np.ones((), dtype),
    }


def norm(arrays):
    return math.sqrt(sum(float((np.asarray(array, np.float64) ** 2).sum()) for array in arrays.values()))


# Clipping


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("clipping", Clipping)
def test_clipped_updates_have_the_norm_and_the_direction(clipping, dtype):
    """Guarantee 1."""
    arrays = update(10, dtype)
    clipped, found = clip_update(arrays, clip=2.0, clipping=clipping)
    assert norm(clipped) == pytest.approx(2.0, rel=1e-12)
    assert found.norm == pytest.approx(norm(arrays), rel=1e-12)
    for name, array in arrays.items():
        assert clipped[name].shape == array.shape
        assert np.allclose(clipped[name], array.astype(np.float64) * found.factors[name], rtol=1e-12)
        if clipping is Clipping.PER_LAYER:
            assert np.linalg.norm(clipped[name]) <= 2.0 / math.sqrt(3) * (1 + 1e-12)
    assert (len(set(found.factors.values())) == 1) is (clipping is Clipping.FLAT)


@pytest.mark.parametrize("clipping", Clipping)
def test_short_updates_are_left_alone(clipping):
    """Guarantee 2."""
    arrays = update(1e-3)
    clipped, found = clip_update(arrays, clip=5.0, clipping=clipping)
    assert set(found.factors.values()) == {1.0}
    for name, array in arrays.items():
        assert np.allclose(clipped[name], array, rtol=1e-12, atol=0)


def test_norms_whose_squares_overflow_are_clipped_all_the_same():
    clipped, found = clip_update({"a": np.array([3e200, 4e200])}, clip=1.0)
    assert found.norm == pytest.approx(5e200)
    assert clipped["a"].tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value):
    """Guarantee 3 of the codec."""
    arrays = update()
    arrays["bias"][4] = value
    with pytest.raises(ConfigurationError, match=r"update 'bias' holds -?(nan|inf) at flat index 4"):
        clip_update(arrays, clip=1.0)


def test_integer_arrays_are_no_part_of_an_update():
    with pytest.raises(ConfigurationError, match="num_batches_tracked"):
        clip_update({"num_batches_tracked": np.array([3])}, clip=1.0)


@pytest.mark.parametrize("clip", [0, -1.0, math.nan, math.inf, 1e-13, "1", True, None])
def test_clips_that_are_none_are_refused(clip):
    with pytest.raises(ConfigurationError, match=r"privacy\.clip is .* works, such as 1\.0"):
        check_clip("privacy.clip", clip)


def test_what_was_found_is_not_shown():
    assert "5" not in repr(clip_update({"a": np.array([3.0, 4.0])}, clip=1.0)[1])


# Rounding


def rounded(values, l2_squared, entropy=None, workers=1, dtype=np.int32):
    out = np.full(len(values), 99, dtype)
    tries = round_conditionally(
        np.asarray(values, np.float64), l2_squared=l2_squared, out=out, entropy=entropy or fixed(), workers=workers
    )
    return out, tries


@given(
    values=arrays_of.arrays(
        np.float64, st.integers(1, 40), elements=st.floats(allow_nan=True, allow_infinity=True, width=64)
    ),
    l2_squared=st.integers(1, 2000),
)
def test_the_norm_is_bounded_exactly_or_the_vector_refused(values, l2_squared):
    """Guarantee 1, whatever the values: not finite, huge, or just too long."""
    out = np.full(len(values), 99, np.int32)
    with np.errstate(all="ignore"):
        inside = np.isfinite(values).all() and (np.trunc(values) ** 2).sum() <= l2_squared
        try:
            round_conditionally(values, l2_squared=l2_squared, out=out, entropy=fixed())
        except ConfigurationError:
            assert not inside
            assert not out.any()
            return
    assert sum(int(v) ** 2 for v in out) <= l2_squared
    assert (np.abs(out - values) < 1).all()


@pytest.mark.parametrize("piece", [0, rounding._PIECE - 1, rounding._PIECE, 2 * rounding._PIECE + 3])
def test_the_comparison_is_exact_to_the_last_unit(piece):
    """‖v‖² = 2^52 passes and 2^52 + 1 does not, wherever the ones lie."""
    values = np.zeros(2 * rounding._PIECE + 5)
    values[piece] = 2.0**26
    out, tries = rounded(values, MOST_L2_SQUARED)
    assert tries == 1
    assert out[piece] == 2**26
    values[(piece + 1) % len(values)] = 1
    with pytest.raises(ConfigurationError, match="longer than its bound"):
        rounded(values, MOST_L2_SQUARED)
    values[piece] -= 1
    assert rounded(values, (2**26 - 1) ** 2 + 1)[1] == 1
    with pytest.raises(ConfigurationError, match="longer than its bound"):
        rounded(values, (2**26 - 1) ** 2)


@pytest.mark.parametrize("value", [2.0**53 + 2, 1e300, -1e20])
def test_sums_beyond_2_to_the_53_are_too_large_whatever_rounding_makes_of_them(value):
    with np.errstate(over="ignore"), pytest.raises(ConfigurationError, match="longer than its bound"):
        rounded([value, 1.0, -1.0], MOST_L2_SQUARED)


def test_rounding_is_right_on_average():
    """Guarantee 2: means of 4,000 roundings within five deviations (a false alarm in 10^4 sets of 100 streams)."""
    values = np.concatenate([np.linspace(-2, 2, 97), [0.001, -0.999, 7.0]])
    entropy, total = fixed(), np.zeros(len(values))
    for _ in range(4000):
        out, tries = rounded(values, 1000, entropy)
        assert tries == 1
        assert set(np.unique(out - np.floor(values))) <= {0, 1}
        total += out
    parts = values - np.floor(values)
    assert (np.abs(total / 4000 - values) <= 5 * np.sqrt(parts * (1 - parts) / 4000) + 1e-9).all()


def test_roundings_are_redrawn_until_they_fit():
    """Of 64 halves, 29 at most may round up: about one rounding in four does."""
    entropy = fixed()
    taken = [rounded(np.full(64, 0.5), 29, entropy) for _ in range(300)]
    assert all((out**2).sum() <= 29 for out, _ in taken)
    share = stats.binom.cdf(29, 64, 0.5)
    assert np.mean([tries for _, tries in taken]) == pytest.approx(1 / share, rel=0.25)
    assert len({out.tobytes() for out, _ in taken}) > 290


def test_rounding_towards_zero_is_what_is_left_when_no_rounding_fits():
    out, tries = rounded(np.array([1.5, -1.5] * 500 + [-3.25]), 1009)
    assert tries == TRIES + 1
    assert out.tolist() == [1, -1] * 500 + [-3]


def test_a_rounding_within_its_norm_takes_two_and_a_half_tries_at_most():
    """‖v‖ ≤ Δ₂ with a probability of at least 1 − β, at the worst fraction too: halves everywhere."""
    entropy, length = fixed(), 4096
    values = np.full(length, 0.5)
    l2_squared = math.floor(rounded_norm(float(np.linalg.norm(values)), length) ** 2)
    assert np.mean([rounded(values, l2_squared, entropy)[1] for _ in range(200)]) < 1 / (1 - math.exp(-0.5))


def test_threads_change_no_rounding():
    values = CHANCE.normal(size=5 * rounding._PIECE + 9) * 3
    one, two = (rounded(values, 10**9, fixed(), workers, np.int64)[0] for workers in (1, 2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("l2_squared", [0, -4, MOST_L2_SQUARED + 1])
def test_bounds_that_cannot_be_checked_are_refused(l2_squared):
    with pytest.raises(ConfigurationError, match=r"1 to 2\^52 works"):
        rounded([0.0], l2_squared)


# The codec


def codec(layout, *, extras=0, mechanism=Mechanism.SKELLAM, rotate=True, clipping=Clipping.FLAT, **options):
    planned = plan(
        dimension=layout.length + extras,
        mechanism=mechanism,
        rotate=rotate,
        extras_norm=0.25 if extras else 0.0,
        **{"noise_multiplier": 1.0, "cohort": 10} | options,
    )
    return PrivateCodec.planned(layout, planned, clipping=clipping), planned


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("clipping", Clipping)
def test_sums_decode_to_the_mean_of_clipped_updates(rotate, clipping):
    """Guarantee 2: without noise, off by rounding alone, of which the deviation is at most γ/2 for each client."""
    updates = [update(scale) for scale in (0.01, 1, 3, 40)]
    layout = Layout.of(updates[0])
    made, _ = codec(layout, extras=2, mechanism=Mechanism.GAUSSIAN, rotate=rotate, clipping=clipping)
    extras = [(0.1, -0.2), (0.0, 0.25), (0.05, 0.05), (-0.25, 0.0)]
    entropy = fixed()
    sent = [
        made.encode(arrays, clip=2.0, seed=SEED, entropy=entropy, extras=beside)
        for arrays, beside in zip(updates, extras, strict=True)
    ]
    assert [vector.norm for vector in sent] == pytest.approx([norm(arrays) for arrays in updates])
    decoded = made.decode(sum(vector.vector.astype(np.int64) for vector in sent), clip=2.0, denominator=5, seed=SEED)
    clipped = [clip_update(arrays, clip=2.0, clipping=clipping)[0] for arrays in updates]
    slack = 5 * made.granularity * math.sqrt(len(sent)) / 2
    for name, array in updates[0].items():
        found = decoded.arrays[name]
        assert found.dtype == np.float32
        assert found.shape == array.shape
        assert np.abs(found - sum(each[name] for each in clipped) / 5).max() < slack * 2.0 / 5
    assert np.abs(decoded.extras - np.sum(extras, axis=0)).max() < slack


@given(st.floats(1e-3, 1e6), st.booleans(), st.sampled_from(list(Clipping)), st.integers(0, 255))
def test_before_noise_the_norm_is_within_its_bound_whatever_comes_in(scale, rotate, clipping, number):
    """Guarantee 1."""
    arrays = update(scale)
    made, planned = codec(Layout.of(arrays), extras=1, mechanism="gaussian", rotate=rotate, clipping=clipping)
    vector = made.encode(
        arrays, clip=1.0, seed=bytes([number]) * 16, entropy=fixed(number), extras=[-0.25]
    ).vector.astype(object)
    assert (vector**2).sum() <= made.l2_squared == planned.l2_squared
    assert max(abs(v) for v in vector) <= made.bound == planned.bound


@pytest.mark.parametrize("mechanism", [Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN])
def test_coordinates_stay_within_the_bound_and_sums_within_theirs_modulo_the_ring(mechanism):
    layout = Layout.of({"a": np.zeros(1000)})
    made, planned = codec(layout, mechanism=mechanism, cohort=40, honest_minimum=30)
    ring = Ring.for_sum(1, planned.sum_bound, packed=True)
    assert ring.bits < Ring.for_sum(40, planned.bound, packed=True).bits
    aligned = {"a": np.ones(1000)}
    total, plain = np.zeros(planned.length, ring.dtype), np.zeros(planned.length, np.int64)
    for number in range(40):
        vector = made.encode(aligned, clip=0.5, seed=SEED, entropy=fixed(number)).vector
        assert vector.dtype == np.int32
        assert np.abs(vector).max() <= made.bound == planned.bound
        words = np.empty(planned.length, ring.dtype)
        ring.store(vector, words)
        total += words
        plain += vector
    assert np.abs(plain).max() <= planned.sum_bound
    assert np.array_equal(ring.centred(total), plain)
    mean = made.decode(plain, clip=0.5, denominator=40, seed=SEED).arrays["a"]
    noise = planned.noise_std(40) * 0.5 / 40
    assert (mean - 0.5 / math.sqrt(1000)).std() == pytest.approx(noise, rel=5 / math.sqrt(2000))


def released(made, planned, senders, noisy=None):
    """Noise of a released sum of updates that are zero, in units of the clip."""
    total = np.zeros(made.length, np.int64)
    quiet = PrivateCodec(**{field: getattr(made, field) for field in made.__dataclass_fields__} | {"noise": None})
    for number in range(senders):
        sender = made if noisy is None or number < noisy else quiet
        total += sender.encode({"a": np.zeros(made.layout.length)}, clip=1.0, seed=SEED, entropy=fixed(number)).vector
    return made.decode(total, clip=1.0, denominator=1, seed=SEED).arrays["a"]


def variance_is_as_charged(found, planned, contributors):
    """Within 2 %: over 2^16 coordinates that is 3.6 deviations, a false alarm in 3,000 streams; these are fixed."""
    return abs(found.var() / planned.noise_std(contributors) ** 2 - 1) < 0.02


@pytest.mark.parametrize("mechanism", [Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN])
@pytest.mark.parametrize("dropped", [0, 2, 6])
def test_the_released_sum_has_the_variance_that_is_charged(mechanism, dropped):
    """At no, 10 and 30 % drop-out, of 20; and whoever leaves out a twentieth of the noise is caught."""
    layout = Layout.of({"a": np.zeros(1 << 16)})
    made, planned = codec(layout, mechanism=mechanism, cohort=20, honest_minimum=14)
    contributors = 20 - dropped
    found = released(made, planned, contributors)
    assert variance_is_as_charged(found, planned, contributors)
    assert stats.kstest(found / planned.noise_std(contributors), "norm").pvalue > 1e-6
    assert not variance_is_as_charged(released(made, planned, contributors, contributors - 1), planned, contributors)
    assert planned.noise_std(14) * (1 + 1e-12) >= planned.l2_sensitivity * planned.granularity


def test_the_servers_noise_is_as_charged():
    layout = Layout.of({"a": np.zeros(1 << 16)})
    made, planned = codec(layout, mechanism=Mechanism.GAUSSIAN)
    assert made.noise is None
    total = np.zeros(made.length, np.int64)
    planned.server_noise.add_to(total, entropy=fixed())
    found = made.decode(total, clip=1.0, denominator=1, seed=SEED).arrays["a"]
    assert variance_is_as_charged(found, planned, 3)
    assert stats.kstest(found / planned.noise_std(3), "norm").pvalue > 1e-6


@pytest.mark.parametrize("kind", Mechanism)
def test_the_longest_vectors_with_the_widest_noise_fit_into_32_bits(kind):
    noise = IntegerNoise(kind=kind, variance=WIDEST_SKELLAM if kind == "skellam" else WIDEST_GAUSSIAN)
    assert math.isqrt(MOST_L2_SQUARED) + noise.tail < 2**31


def test_the_rotation_is_that_of_the_seed():
    layout = Layout.of({"a": np.zeros(64)})
    made, _ = codec(layout, mechanism=Mechanism.GAUSSIAN)
    arrays = {"a": CHANCE.normal(size=64)}
    vector = made.encode(arrays, clip=1.0, seed=SEED, entropy=fixed()).vector.astype(np.int64)
    right, wrong = (made.decode(vector, clip=1.0, denominator=1, seed=seed).arrays["a"] for seed in (SEED, bytes(16)))
    expected = arrays["a"] / np.linalg.norm(arrays["a"])
    assert np.abs(right - expected).max() < 0.1
    assert np.abs(wrong - expected).max() > 0.1


def test_what_was_encoded_is_not_shown():
    layout = Layout.of({"a": np.zeros(3)})
    made, _ = codec(layout)
    assert repr(made.encode({"a": np.ones(3)}, clip=1.0, seed=SEED, entropy=fixed())) == "EncodedPrivate()"


def test_what_is_not_as_agreed_is_refused_by_name():
    """Guarantee 3."""
    layout = Layout.of({"a": np.zeros(5)})
    made, planned = codec(layout, extras=2)
    good = {"clip": 1.0, "seed": SEED, "entropy": fixed(), "extras": (0.0, 0.0)}
    for arrays, change, sentence in (
        ({"b": np.zeros(5)}, {}, "array 'a' is missing"),
        ({"a": np.zeros(5, np.int64)}, {}, "only floating-point"),
        ({"a": np.zeros(5)}, {"extras": (0.1,)}, "1 extras were given where 2 are agreed"),
        ({"a": np.zeros(5)}, {"extras": (0.2, 0.2)}, "a norm up to 0.25 works"),
        ({"a": np.zeros(5)}, {"extras": (math.nan, 0.0)}, "a norm up to 0.25 works"),
        ({"a": np.zeros(5)}, {"seed": b"short"}, "seed of 5 bytes: 16 public bytes work"),
        ({"a": np.zeros(5)}, {"clip": 0.0}, "clip is 0.0"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            made.encode(arrays, **good | change)
    total, good = np.zeros(planned.length, np.int64), {"clip": 1.0, "denominator": 3, "seed": SEED}
    for vector, change, sentence in (
        (total[1:], {}, "a sum of shape"),
        (total, {"denominator": 0}, "denominator is 0"),
        (total, {"denominator": math.nan}, "denominator is nan"),
        (total, {"clip": math.inf}, "clip is inf"),
        (total, {"seed": bytes(17)}, "seed of 17 bytes"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            made.decode(vector, **good | change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"extras": 1}, "1 extras with extras_norm 0.0"),
        ({"extras_norm": 0.1}, "0 extras with extras_norm 0.1"),
        ({"extras": -1}, "-1 extras"),
        ({"granularity": 0.0}, "granularity is 0.0"),
        ({"granularity": math.nan}, "granularity is nan"),
    ],
)
def test_codecs_that_contradict_themselves_are_refused(change, sentence):
    good = {"layout": Layout.of({"a": np.zeros(5)}), "granularity": 2.0**-6, "l2_squared": 5000}
    with pytest.raises(ConfigurationError, match=sentence):
        PrivateCodec(**good | change)


def test_threads_change_nothing():
    layout = Layout.of({"a": np.zeros(300_000)})
    made, _ = codec(layout)
    arrays = {"a": CHANCE.normal(size=300_000)}
    one, two = (made.encode(arrays, clip=1.0, seed=SEED, entropy=fixed(), workers=workers).vector for workers in (1, 2))
    assert np.array_equal(one, two)
    assert Fraction(made.noise.variance) > 0
