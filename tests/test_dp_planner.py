"""What the planner promises: little loss, enough noise, and room for every sum; and the histogram of norms."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from privfl.dp import integer, tables
from privfl.dp.clip import clip_update
from privfl.dp.codec import PrivateCodec
from privfl.dp.events import DiscreteGaussian, Gaussian, Skellam
from privfl.dp.noise import Mechanism
from privfl.dp.planner import MOST_LOSS, effective, plan, root_below, round_up
from privfl.dp.quantile import NormHistogram
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.testing import UnsafeFixedEntropy

SEED = bytes(16)
GRID = [
    {"dimension": d, "noise_multiplier": z, "mechanism": mechanism, "cohort": n, "honest_minimum": k, "rotate": rotate}
    for d, z, mechanism, (n, k), rotate in itertools.product(
        (1, 10, 1000, 100_001, 10_000_000),
        (0.3, 1.0, 4.7),
        Mechanism,
        ((2, 1), (50, 40), (10_000, 7000)),
        (True, False),
    )
    if d * z * z / k < 10**7  # wider noise cannot be drawn
]
SMALL = {
    "dimension": 5000,
    "noise_multiplier": 1.25,
    "mechanism": Mechanism.SKELLAM,
    "cohort": 60,
    "honest_minimum": 45,
}
WHOLE_ORDERS = (2, 3, 4, 8, 16, 64, 256, 1024)


@pytest.mark.parametrize("request_", GRID, ids=lambda request: "-".join(str(value) for value in request.values()))
def test_the_loss_is_small_and_the_noise_is_enough(request_):
    """Guarantees 1 and 2, over the grid: dimensions, noise multipliers, mechanisms, cohorts, rotated or not."""
    made = plan(**request_)
    z, k = request_["noise_multiplier"], request_["honest_minimum"]
    assert 0 < made.loss < MOST_LOSS
    event = effective(made, contributors=k)
    needed = Fraction(z) ** 2 * made.l2_squared
    if isinstance(event, Skellam):
        assert Fraction(event.variance) == k * made.noise.variance >= needed
    elif isinstance(event, DiscreteGaussian):
        assert k * Fraction(event.local_std) ** 2 - 16 >= needed * (1 - Fraction(1, 2**50))
        assert event.local_std**2 > 24.9
        assert event.contributors == k
        assert event.dimension == made.length
    else:
        assert event.noise_multiplier >= z
        assert Fraction(event.noise_multiplier) ** 2 <= (made.noise.variance - 16) / made.l2_squared
    # The loss is what it says: noise in units of the clip against that of a continuous Gaussian with as much privacy.
    ideal = z * math.hypot(1, made.extras_norm)
    assert made.noise_std(k) / ideal - 1 <= made.loss + 1e-12


@pytest.mark.parametrize("mechanism", [Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN])
@pytest.mark.parametrize("noise_multiplier", [0.2, 1.0, 6.0])
def test_renyi_divergences_are_within_the_loss_of_the_gaussians(mechanism, noise_multiplier):
    """Guarantee 1 against the papers' formulas: at whole orders, within the 1 % that noise may cost."""
    made = plan(**SMALL | {"mechanism": mechanism, "noise_multiplier": noise_multiplier, "dimension": 300})
    event = effective(made, contributors=45)
    sensitivities = {"l2": event.l2_sensitivity, "l1": event.l1_sensitivity}
    if mechanism is Mechanism.SKELLAM:
        found = integer.skellam_rdp(WHOLE_ORDERS, variance=event.variance, **sensitivities)
    else:
        found = integer.discrete_gaussian_rdp(
            WHOLE_ORDERS, local_std=event.local_std, contributors=45, dimension=made.length, **sensitivities
        )
    for order, divergence in zip(WHOLE_ORDERS, found, strict=True):
        assert divergence == pytest.approx(order / (2 * noise_multiplier**2), rel=0.0101)


def test_sensitivities_are_those_of_conditional_rounding_of_the_joint_norm():
    made = plan(**SMALL, extras_norm=0.5)
    norm = math.hypot(1, 0.5) / made.granularity
    assert made.length == 8192
    assert made.l2_squared == math.floor(integer.rounded_norm(norm, 8192) ** 2)
    assert Fraction(made.l2_sensitivity) ** 2 >= made.l2_squared
    assert Fraction(math.nextafter(made.l2_sensitivity, 0)) ** 2 < made.l2_squared
    assert made.l1_sensitivity >= integer.l1_bound(made.l2_sensitivity, 8192)
    assert plan(**SMALL, rotate=False).length == 5000


def test_a_coarser_granularity_would_lose_more_than_rounding_may():
    for dimension in (100, 5000, 10**6):
        made = plan(**SMALL | {"dimension": dimension})
        norm = 1 / made.granularity
        assert integer.rounded_norm(norm, made.length) / norm - 1 <= 0.01
        assert integer.rounded_norm(norm * 0.99, made.length) / (norm * 0.99) - 1 > 0.01


@pytest.mark.parametrize("dropped", [0, 6, 18])
def test_drop_outs_take_their_noise_along_and_corrupt_clients_theirs(dropped):
    """effective, guarantee 1: z_eff = z·√(honest / planned)."""
    contributors, corrupt = 60 - dropped, 5
    for mechanism in Mechanism:
        made = plan(**SMALL | {"mechanism": mechanism})
        event = effective(made, contributors=contributors, corrupt=corrupt)
        honest = contributors - corrupt
        if isinstance(event, Skellam):
            found = math.sqrt(event.variance) / event.l2_sensitivity
        elif isinstance(event, DiscreteGaussian):
            found = math.sqrt(event.contributors) * event.local_std / event.l2_sensitivity
        else:
            found, honest = event.noise_multiplier, 45
        assert found == pytest.approx(1.25 * math.sqrt(honest / 45), rel=2e-3)


def test_the_drop_out_figures_of_the_specification():
    """z = 1 planned for 100: at 10 and 50 % drop-out 0.9487 and 0.7071."""
    made = plan(**SMALL | {"noise_multiplier": 1.0, "cohort": 100, "honest_minimum": 100})
    for contributors, expected in ((90, 0.9486832980505138), (50, 0.7071067811865476)):
        event = effective(made, contributors=contributors)
        assert math.sqrt(event.variance) / event.l2_sensitivity == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("contributors", "corrupt"), [(0, 0), (3, 3), (61, 0), (5, 7)])
def test_rounds_without_an_honest_contributor_are_not_charged(contributors, corrupt):
    with pytest.raises(ConfigurationError, match="up to 60 work, one of them honest"):
        effective(plan(**SMALL), contributors=contributors, corrupt=corrupt)


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("corrupt", {"contributors": 10, "corrupt": -1}),
        ("corrupt", {"contributors": 10, "corrupt": 0.25}),  # as a threat model has it: of ten clients a quarter of one
        ("contributors", {"contributors": 9.0, "corrupt": 0}),
    ],
)
def test_clients_are_counted_not_measured(key, counts):
    with pytest.raises(ConfigurationError, match=f"{key} is .*: a whole number from 0 to 1000000 works"):
        effective(plan(**SMALL), **counts)


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("bits", [1, 30, 64])
def test_sums_have_room_by_the_papers_tails(mechanism, bits):
    """Guarantee 3, recomputed: Hoeffding for the rotated sum, exact tails of the noise, rounding in full."""
    made = plan(**SMALL | {"mechanism": mechanism}, correctness_bits=bits)
    norm, n = 1 / made.granularity, made.cohort
    assert made.wrap_bits == bits
    left = made.sum_bound - n
    # Split the rest between signal and noise as is best; the union of both tails over all coordinates is small enough.
    total = n * float(made.noise.variance)
    best = math.inf
    for part in np.linspace(0.02, 1.0, 99):
        signal = 2 * math.exp(-((part * left) ** 2) * made.length / (2 * (n * norm) ** 2))
        noise = 0.0 if mechanism is Mechanism.GAUSSIAN else 2 * stats.norm.sf((1 - part) * left / math.sqrt(total))
        best = min(best, (signal + noise) * made.length)
    assert best < 2.0**-bits
    # And it is no wider than a few bits' worth of tail.
    assert best > 2.0 ** -(1.3 * bits + 20)


def test_the_largest_coordinates_of_aligned_updates_stay_within_the_bound():
    """All clients send the same full-norm update, over twenty seeds: the case that the bound is for."""
    made = plan(**SMALL | {"dimension": 256, "cohort": 30, "honest_minimum": 30}, correctness_bits=1)
    layout = Layout.of({"a": np.zeros(256)})
    codec, reached = PrivateCodec.planned(layout, made), []
    spike = {"a": np.eye(256)[3]}
    for number in range(20):
        entropy = UnsafeFixedEntropy(bytes([number]) * 16)
        total = sum(
            codec.encode(spike, clip=1.0, seed=bytes([number]) * 16, entropy=entropy).vector.astype(np.int64)
            for _ in range(30)
        )
        reached.append(int(np.abs(total).max()))
    assert made.sum_bound * 0.4 < max(reached) <= made.sum_bound


def test_where_the_sum_is_certain_to_fit_no_more_is_said():
    for change in ({"rotate": False}, {"dimension": 4, "mechanism": "gaussian"}):
        made = plan(**SMALL | change, correctness_bits=64)
        assert made.sum_bound is None
        assert made.wrap_bits == math.inf


def test_noise_is_the_clients_or_the_servers():
    central, shared = plan(**SMALL | {"mechanism": "gaussian"}), plan(**SMALL)
    assert central.client_noise is None
    assert central.server_noise is central.noise
    assert central.bound == math.isqrt(central.l2_squared)
    assert shared.server_noise is None
    assert shared.client_noise is shared.noise
    assert shared.bound == math.isqrt(shared.l2_squared) + shared.noise.tail
    assert central.noise_std(3) == central.noise_std(60)
    assert shared.noise_std(40) == pytest.approx(2 * shared.noise_std(10))


def test_the_samplers_distance_is_counted_and_far_below_delta():
    made = plan(**SMALL, rounds=1000)
    assert made.distance == pytest.approx(1000 * 8192 * 60 * 2.0**made.noise.log2_distance)
    assert 0 < made.distance < 1e-25
    with pytest.raises(ConfigurationError, match="delta 1e-18 is too near to what 1000000000 rounds"):
        plan(**SMALL | {"cohort": 10**6, "honest_minimum": 10**4, "dimension": 10**6}, rounds=10**9, delta=1e-18)


def test_joint_norms_share_the_noise():
    """Extras within e make noise √(1 + e²) times as wide, beside the clip."""
    alone, joint = plan(**SMALL), plan(**SMALL, extras_norm=0.75)
    assert joint.noise_std(45) / alone.noise_std(45) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dimension": 0}, "dimension is 0: a whole number from 1"),
        ({"dimension": 2**31}, "dimension is"),
        ({"noise_multiplier": 0}, "noise_multiplier is 0"),
        ({"noise_multiplier": math.nan}, "noise_multiplier is nan"),
        ({"noise_multiplier": 1e6}, "a smaller noise_multiplier, fewer parameters or more honest clients"),
        ({"mechanism": "laplace"}, "mechanism is 'laplace'"),
        ({"cohort": 0}, "cohort is 0"),
        ({"honest_minimum": 61}, "honest_minimum is 61: a whole number from 1 to 60 works"),
        ({"honest_minimum": 0}, "honest_minimum is 0"),
        ({"extras_norm": -0.1}, "extras_norm is -0.1"),
        ({"correctness_bits": 65}, "correctness_bits is 65"),
        ({"rounds": 1.5}, "rounds is 1.5"),
        ({"delta": 0}, "delta is 0"),
        ({"delta": 1.5}, "delta is 1.5"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(change, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        plan(**SMALL | change)


def test_variances_are_rounded_up_and_roots_down():
    for value in (Fraction(1, 3), Fraction(10**12 + 1, 3), Fraction(5), Fraction(1, 10**7)):
        rounded = round_up(value)
        assert value <= rounded <= value * (1 + Fraction(1, 2**15))
        assert Fraction(float(rounded)) == rounded
        root = root_below(value)
        assert Fraction(root) ** 2 <= value < Fraction(math.nextafter(root, math.inf)) ** 2
    assert root_below(Fraction(9)) == 3.0


def test_planning_needs_no_accountant():
    import subprocess
    import sys

    code = (
        "import sys; from privfl.dp.planner import plan\n"
        "plan(dimension=100, noise_multiplier=1.0, mechanism='skellam', cohort=10)\n"
        "print([name for name in ('dp_accounting', 'scipy', 'opacus', 'torch') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


# The histogram of norms


def histogram(**options):
    good = {"lower": 0.01, "upper": 100.0, "bins": 41, "noise_multiplier": 2.0, "cohort": 500, "honest_minimum": 400}
    return NormHistogram(**good | options)


def norms(count=500):
    return np.exp(np.random.default_rng(5).normal(0.5, 0.8, count))


def test_a_clients_vector_has_one_coordinate_whatever_its_norm():
    """Guarantee 1: Δ₁ = Δ₂ = scale."""
    made = histogram()
    for norm in (0.0, 0.01, 0.010001, 3.0, 100.0, 101.0, 1e300):
        vector = made.encode(norm)
        assert vector.dtype == np.int32
        assert vector.shape == (42,)
        assert sorted(vector.tolist())[-2:] == [0, made.scale]
    assert made.encode(0.01)[0] == made.encode(100.0)[-2] == made.encode(100.5)[-1] == made.scale


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9, 0.999])
def test_without_noise_the_quantile_is_exact_to_an_edge(quantile):
    """Guarantee 2."""
    made, given = histogram(), norms()
    total = sum(made.encode(norm).astype(np.int64) for norm in given)
    found = made.quantile(total, quantile, contributors=len(given))
    assert np.mean(given <= found) >= quantile
    below = made.edges[np.searchsorted(made.edges, found) - 1]
    assert np.mean(given <= below) < quantile


@pytest.mark.parametrize("mechanism", Mechanism)
def test_noise_moves_the_rank_by_little_and_is_what_is_charged(mechanism):
    """Guarantee 2: the rank is off by z·√(bins + 1) = 13 of 500 clients, in deviations; and the event says as much."""
    made, given = histogram(mechanism=mechanism, honest_minimum=500), norms()
    total = sum(made.encode(norm).astype(np.int64) for norm in given)
    shares = 1 if mechanism is Mechanism.GAUSSIAN else 500
    noise = np.zeros((200, 42), np.int64)
    for number in range(shares):
        made.noise.add_to(noise.reshape(-1), entropy=UnsafeFixedEntropy(number.to_bytes(16, "big")))
    assert noise.std() == pytest.approx(math.sqrt(shares * made.noise.variance), rel=0.05)
    for row in noise[:20]:
        found = made.quantile(total + row, 0.5, contributors=500)
        assert abs(np.mean(given <= found) - 0.5) < 0.13
    event = made.event(contributors=500)
    if mechanism is Mechanism.SKELLAM:
        assert math.sqrt(event.variance) / event.l2_sensitivity == pytest.approx(2.0, rel=1e-3)
        assert event.l1_sensitivity == event.l2_sensitivity == made.scale
    elif mechanism is Mechanism.DISCRETE_GAUSSIAN:
        assert math.sqrt(event.contributors) * event.local_std / event.l2_sensitivity == pytest.approx(2.0, rel=6e-3)
        assert event.local_std**2 > 24.9
    else:
        assert isinstance(event, Gaussian)
        assert 2.0 <= event.noise_multiplier < 2.001
    assert np.abs(made.encode(1.0)).max() <= made.bound


def test_a_histogram_suggests_a_clip_that_clips_as_many_as_was_asked_for():
    made, given = histogram(noise_multiplier=0.5, honest_minimum=500), norms()
    total = sum(made.encode(norm).astype(np.int64) for norm in given)
    for number in range(500):
        made.noise.add_to(total, entropy=UnsafeFixedEntropy(number.to_bytes(16, "big")))
    clip = made.quantile(total, 0.8, contributors=500)
    clipped = [clip_update({"a": np.array([norm])}, clip=clip)[1].factors["a"] < 1 for norm in given]
    assert 0.08 < np.mean(clipped) < 0.25


def test_beyond_the_last_edge_the_upper_is_what_is_left():
    made = histogram()
    total = sum(made.encode(1000.0).astype(np.int64) for _ in range(10))
    assert made.quantile(total, 0.5, contributors=10) == 100.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lower": 0}, "lower is 0"),
        ({"upper": 0.005}, "upper is 0.005: a number above lower = 0.01 works"),
        ({"bins": 1}, "bins is 1"),
        ({"noise_multiplier": 0.0}, "noise_multiplier is 0.0"),
        ({"honest_minimum": 501}, "honest_minimum is 501"),
        ({"mechanism": "none"}, "mechanism is 'none'"),
    ],
)
def test_what_is_no_histogram_is_refused_by_name(change, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        histogram(**change)


def test_norms_sums_quantiles_and_counts_that_are_none_are_refused():
    made = histogram()
    for norm in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigurationError, match="no finite number from 0 up"):
            made.encode(norm)
    with pytest.raises(ConfigurationError, match=r"a sum of shape \(3,\) where \(42,\) is agreed"):
        made.quantile(np.zeros(3, np.int64), 0.5, contributors=3)
    for quantile in (0, 1, math.nan):
        with pytest.raises(ConfigurationError, match=r"such as 0\.5"):
            made.quantile(np.zeros(42, np.int64), quantile, contributors=3)
    for contributors, corrupt in ((501, 0), (2, 2), (0, 0), (2, -1)):
        with pytest.raises(ConfigurationError, match="one of them honest"):
            made.event(contributors=contributors, corrupt=corrupt)


def test_tails_of_sums_are_those_of_shares_together():
    """What `sum_bound` takes for the noise of n shares is the tail of n times the variance."""
    made = plan(**SMALL)
    bits = 30 + 2 + math.log2(made.length)
    reach = tables.skellam_reach(60 * made.noise.variance, bits)
    assert stats.norm.sf(reach / math.sqrt(60 * made.noise.variance)) * 2 < 2.0**-bits
    assert reach < made.sum_bound
