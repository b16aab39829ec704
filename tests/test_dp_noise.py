"""Integer noise against exact probabilities, against OpenDP, and against what it is a sum of.

Probabilities are compared exactly wherever the sampler can be enumerated. Statistical tests run over fixed streams and
state the rate of false alarms that they would have over fresh ones; OpenDP's draws cannot be fixed, so that the two
tests that take them fail once in 10^9 runs.
"""

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from privfl.dp import noise, tables
from privfl.dp.noise import (
    IntegerNoise,
    Mechanism,
    check_mechanism,
    continuous_gaussian,
    poisson_sample,
    uniform_choice,
)
from privfl.errors import ConfigurationError
from privfl.primitives.sampling import Distribution, weighed
from privfl.testing import UnsafeFixedEntropy

ONE = 1 << 144
MILLION = 10**6
SKELLAM, GAUSSIAN = Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN
NARROW = [Fraction(1, 1000), Fraction(1, 2), Fraction(9), Fraction(1601, 16)]
EACH = pytest.mark.parametrize("variance", NARROW, ids=str)
DRAWN = [
    (kind, Fraction(variance))
    for kind in (SKELLAM, GAUSSIAN)
    for variance in (Fraction(1, 2), 9, 1000, 1024, 250_000, 4_000_000, 5_290_000, 5_290_001, 400_000_000)
]


def fixed(number=0):
    return UnsafeFixedEntropy(bytes([number]) * 16)


def draw(kind, variance, count, number=0, dtype=np.int64):
    vector = np.zeros(count, dtype)
    IntegerNoise(kind=kind, variance=variance).add_to(vector, entropy=fixed(number))
    return vector


def law(distribution):
    """Probability of each value as the sampler has it, exactly."""
    steps = itertools.pairwise((0, *distribution.thresholds))
    return {k: Fraction(high - low, ONE) for k, (low, high) in enumerate(steps, distribution.lowest)}


def exact_skellam(mean, k):
    """e^(−μ)·I_k(μ) from the power series, all of whose terms are positive; the library never forms it."""
    with localcontext() as context:
        context.prec = 90
        half = Decimal(mean.numerator) / Decimal(mean.denominator) / 2
        term = half ** abs(k) / math.factorial(abs(k))
        total, m = term, 0
        while term > total * Decimal(10) ** -80 or m < half:
            m += 1
            term *= half * half / (m * (m + abs(k)))
            total += term
        return Fraction(total * (-2 * half).exp())


def exact_gaussian(variance, reach):
    with localcontext() as context:
        context.prec = 90
        twice = 2 * Decimal(variance.numerator) / Decimal(variance.denominator)
        exponents = {k: k * k / twice for k in range(-reach, reach + 1)}
        weights = {k: (-exponent).exp() for k, exponent in exponents.items() if exponent < 400}  # e^−400 < 10^−173
        total = sum(weights.values())
        return {k: Fraction(weight / total) for k, weight in weights.items()}


def distance(drawn, exact):
    """Statistical distance of two laws given where either has weight; what `exact` leaves out counts in full."""
    inside = sum(abs(drawn.get(k, 0) - exact.get(k, 0)) for k in drawn.keys() | exact.keys())
    return (inside + 1 - sum(exact.values())) / 2


# What is drawn


@EACH
def test_skellam_tables_are_within_their_distance_of_the_exact_law(variance):
    """Guarantee 1: enumerated, against the series of the Bessel function."""
    made = IntegerNoise(kind=SKELLAM, variance=variance)
    (part,) = made._parts
    drawn = law(part.distribution)
    found = distance(drawn, {k: exact_skellam(variance, k) for k in drawn})
    assert 0 < found < Fraction(2) ** math.floor(made.log2_distance)


@EACH
def test_discrete_gaussian_tables_are_within_their_distance_of_the_exact_law(variance):
    """Guarantee 1: enumerated, against exponentials to 90 digits."""
    made = IntegerNoise(kind=GAUSSIAN, variance=variance)
    (part,) = made._parts
    found = distance(law(part.distribution), exact_gaussian(variance, 40 + 2 * made.tail))
    assert found < Fraction(2) ** math.floor(made.log2_distance)
    assert found > 0 or variance < 1


def test_a_pair_of_narrow_gaussians_is_within_its_distance_of_the_wide_one():
    """Guarantee 1: the whole law of kA + B, convolved from both tables."""
    for variance in (Fraction(1024), Fraction(70_001, 8)):
        made = IntegerNoise(kind=GAUSSIAN, variance=variance)
        wide, narrow = made._parts
        assert wide.factor > 1
        assert narrow.factor == wide.times == narrow.times == 1
        drawn = {}
        narrow_law = law(narrow.distribution)
        for (a, p), (b, q) in itertools.product(law(wide.distribution).items(), narrow_law.items()):
            drawn[wide.factor * a + b] = drawn.get(wide.factor * a + b, 0) + p.numerator * (ONE // p.denominator) * (
                q.numerator * (ONE // q.denominator)
            )
        drawn = {k: Fraction(weight, ONE * ONE) for k, weight in drawn.items()}
        assert max(drawn) == made.tail
        assert 0 < distance(drawn, exact_gaussian(variance, made.tail)) < Fraction(2) ** math.floor(made.log2_distance)


@pytest.mark.parametrize(("narrow", "factor"), [(Fraction(1), 2), (Fraction(2), 2), (Fraction(5), 3)])
def test_the_lemma_on_pairs_holds_where_its_bound_shows(narrow, factor):
    """‖law(kA + B) − D(σ²)‖ ≤ 4·e^(−2π²s²), with s² so small that the distance is far above rounding."""
    a, b = Fraction(1), narrow
    drawn, reach = {}, 60
    for (x, p), (y, q) in itertools.product(exact_gaussian(a, reach).items(), exact_gaussian(b, reach).items()):
        drawn[factor * x + y] = drawn.get(factor * x + y, 0) + p * q
    total = factor**2 * a + b
    found = float(distance(drawn, exact_gaussian(total, 150)))
    bound = 4 * math.exp(-2 * math.pi**2 * float(a * b / total))
    assert bound / 1000 < found < bound


def test_pairs_are_chosen_so_that_the_lemmas_bound_is_nothing():
    """s² = ab/σ² ≥ 16 from the first pair to the widest, and each summand fits a table."""
    deviations = [32, 33, 50, 100, 1000, 2300, 50_000, 500_000, math.isqrt(tables.WIDEST_GAUSSIAN)]
    for std in deviations:
        variance = Fraction(std**2)
        factor = tables._factor(variance)
        b = Fraction(tables._NARROW * factor**2)
        a = (variance - b) / factor**2
        wide, narrow = tables.gaussian_parts(variance)
        assert (wide.factor, narrow.distribution) == (factor, tables.discrete_gaussian(b))
        assert wide.distribution is tables.discrete_gaussian(a)
        assert a * b / variance >= 16
        assert max(a, b) <= tables.WIDEST


def test_the_recurrence_holds_at_ten_thousand():
    """Against the series, in the middle and far out."""
    drawn = law(tables.skellam(Fraction(10_000)))
    for k in (0, 1, -17, 100, 250, -500, 1000):
        assert abs(drawn[k] - exact_skellam(Fraction(10_000), k)) < Fraction(1, 2**143)


def test_the_widest_skellam_table_has_the_exact_moments():
    """Σk²p = μ and Σk⁴p = 3μ² + μ, to what thresholds of 144 bits leave of them."""
    mean = tables.WIDEST
    drawn = law(tables.skellam(Fraction(mean)))
    steps = [int(p * ONE) for p in drawn.values()]
    second, fourth = (sum(k**power * step for k, step in zip(drawn, steps, strict=True)) for power in (2, 4))
    assert abs(Fraction(second, ONE) - mean) < Fraction(mean, 2**80)
    assert abs(Fraction(fourth, ONE) - (3 * mean**2 + mean)) < Fraction(mean**2, 2**60)
    assert float(drawn[0]) == pytest.approx(1 / math.sqrt(2 * math.pi * mean) * (1 + 1 / (8 * mean)), rel=1e-12)


def test_wide_skellam_noise_is_a_sum_of_equal_parts_that_add_up_exactly():
    made = IntegerNoise(kind=SKELLAM, variance=Fraction(16_000_001))
    (part,) = made._parts
    assert part.times == 4
    assert part.distribution is tables.skellam(Fraction(16_000_001, 4))
    assert made.tail == 4 * part.distribution.highest
    assert made.log2_distance > math.log2(4 * 2.0**-136)


@pytest.mark.parametrize("kind", [SKELLAM, GAUSSIAN])
@pytest.mark.parametrize("bits", [10, 40, 136])
def test_reaches_hold_what_they_say_and_little_more(kind, bits):
    """P[|X| > T] < 2^−bits against the exact tail, which is not below 2^−(bits + 9)."""
    for variance in (Fraction(1, 100), Fraction(3), Fraction(100)):
        reach = (tables.skellam_reach if kind is SKELLAM else tables.gaussian_reach)(variance, bits)
        if kind is SKELLAM:
            beyond = 2 * sum(exact_skellam(variance, k) for k in range(reach + 1, reach + 90))
        else:
            beyond = 2 * sum(p for k, p in exact_gaussian(variance, reach + 90).items() if k > reach)
        assert beyond < Fraction(1, 2**bits)
        if variance >= 3:
            assert beyond > Fraction(1, 2 ** (bits + 9))


@pytest.mark.parametrize(("kind", "variance"), DRAWN, ids=str)
def test_draws_fit_the_exact_law(kind, variance):
    """Chi-square over 60 cells or fewer of nearly equal weight: a false alarm in 10^6 streams each; and variances."""
    drawn = draw(kind, variance, 400_000, dtype=np.int32)
    std = math.sqrt(variance)
    cuts = np.unique(np.floor(stats.norm.ppf(np.linspace(0, 1, 61)[1:-1], scale=max(std, 0.6))))
    if kind is SKELLAM:
        at_most = stats.skellam.cdf(cuts, float(variance) / 2, float(variance) / 2)
        if variance > 10**4:  # scipy's breaks down; the first terms of the Edgeworth series are good to 1/μ²
            x = (cuts + 0.5) / std
            at_most = stats.norm.cdf(x) - stats.norm.pdf(x) * (x**3 - 3 * x) / (24 * float(variance))
            at_most += stats.norm.pdf(x) * x / (24 * float(variance))
    else:
        reach = int(12 * std + 20)
        k = np.arange(-reach, reach + 1)
        weights = np.exp(-(k**2) / (2 * float(variance)))
        at_most = (np.cumsum(weights) / weights.sum())[(cuts + reach).astype(int)]
    expected = np.diff([0, *at_most, 1]) * len(drawn)
    counts = np.bincount(np.searchsorted(cuts, drawn), minlength=len(cuts) + 1)
    kept = expected > 5
    assert stats.chisquare(counts[kept], expected[kept] * counts[kept].sum() / expected[kept].sum()).pvalue > 1e-6
    assert drawn.var() == pytest.approx(float(variance), rel=6 * math.sqrt(3 / len(drawn)))
    assert abs(drawn.mean()) < 5 * std / math.sqrt(len(drawn))
    assert np.abs(drawn).max() <= IntegerNoise(kind=kind, variance=variance).tail


def two_samples(first, second):
    """P-value of a chi-square test that both come from one law, over values seen at least 40 times together."""
    values, where = np.unique(np.concatenate([first, second]), return_inverse=True)
    table = np.stack([np.bincount(part, minlength=len(values)) for part in np.split(where, [len(first)])])
    common = table.sum(axis=0) >= 40
    table = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
    return stats.chi2_contingency(table[:, table.sum(axis=0) > 0]).pvalue


@pytest.mark.parametrize("std", [2.5, 40])
def test_discrete_gaussians_fit_opendps(std):
    """Chi-square and Kolmogorov–Smirnov, 40,000 draws each: a false alarm in 10^9 runs."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    measurement = dp.m.make_gaussian(dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float), scale=std)
    theirs = np.array(measurement([0] * 40_000))
    ours = draw(GAUSSIAN, Fraction(std) ** 2, 40_000)
    assert two_samples(ours, theirs) > 5e-10
    assert stats.ks_2samp(ours, theirs).pvalue > 5e-10


@pytest.mark.parametrize("variance", [3, 900])
def test_skellam_draws_fit_differences_of_poisson_numbers(variance):
    """Chi-square and Kolmogorov–Smirnov over fixed streams: a false alarm in 10^6."""
    chance = np.random.default_rng(6)
    theirs = chance.poisson(variance / 2, 300_000) - chance.poisson(variance / 2, 300_000)
    ours = draw(SKELLAM, Fraction(variance), 300_000)
    assert two_samples(ours, theirs) > 1e-6
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-6


def test_shares_of_skellam_noise_add_up_to_skellam_noise():
    """Thirty shares of variance 1.5 against one of 45: chi-square, a false alarm in 10^6 streams."""
    total = np.zeros(200_000, np.int64)
    for number in range(30):
        IntegerNoise(kind=SKELLAM, variance=Fraction(3, 2)).add_to(total, entropy=fixed(number))
    assert two_samples(total, draw(SKELLAM, Fraction(45), 200_000, 99)) > 1e-6


def test_neighbouring_draws_are_not_correlated():
    """Of all lags up to 20 and across blocks: five deviations, a false alarm in 10^5 streams."""
    drawn = draw(SKELLAM, Fraction(100), MILLION) / 10
    for lag in (*range(1, 21), noise._BATCH, noise._BLOCK):
        assert abs((drawn[lag:] * drawn[:-lag]).mean()) < 5 / math.sqrt(MILLION - lag)


@pytest.mark.parametrize(("kind", "variance"), DRAWN, ids=str)
def test_distances_and_tails_stay_far_from_what_anyone_could_use(kind, variance):
    made = IntegerNoise(kind=kind, variance=variance)
    assert made.log2_distance < (-128 if made.std <= 2300 else -120)
    assert 12 * made.std < made.tail < 31 + 14 * made.std * math.sqrt(sum(part.times for part in made._parts))


def test_weights_become_exact_thresholds():
    made = weighed(-1, (1, 0, 3, 3))
    assert made.lowest == -1
    assert made.thresholds == (ONE // 7, ONE // 7, 4 * ONE // 7, ONE)


def test_distributions_are_told_apart_by_all_their_thresholds_though_hashed_by_few():
    one, other = (Distribution(0, (first, 5, 6, ONE)) for first in (1, 2))
    assert hash(one) == hash(other)
    assert one != other
    assert one == Distribution(0, (1, 5, 6, ONE))
    assert len({one, other}) == 2


# How it is added


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("kind", "variance"), [(SKELLAM, 7), (GAUSSIAN, 7), (GAUSSIAN, 4 * 10**8), (SKELLAM, 10**7)])
def test_noise_is_added_to_what_is_there_in_either_word(kind, variance, dtype):
    vector = np.arange(1000).astype(dtype)
    IntegerNoise(kind=kind, variance=Fraction(variance)).add_to(vector, entropy=fixed())
    assert vector.dtype == dtype
    assert np.array_equal(vector - np.arange(1000), draw(kind, Fraction(variance), 1000))


def test_threads_change_nothing():
    count = 3 * noise._BLOCK + 12345
    one, two = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for vector, workers in ((one, 1), (two, 2)):
        IntegerNoise(kind=GAUSSIAN, variance=Fraction(5000)).add_to(vector, entropy=fixed(), workers=workers)
    assert np.array_equal(one, two)


def test_every_block_and_summand_has_keys_of_its_own():
    """Guarantee 3."""

    class Recorded:
        def __init__(self):
            self.drawn = []

        def token_bytes(self, length):
            self.drawn.append(len(self.drawn).to_bytes(length, "big"))
            return self.drawn[-1]

    entropy, made = Recorded(), IntegerNoise(kind=SKELLAM, variance=Fraction(10_000_000))
    vector = np.zeros(2 * noise._BLOCK + 1, np.int64)
    made.add_to(vector, entropy=entropy)
    assert len(entropy.drawn) == 3 * 2 * 2  # blocks, summands, streams
    blocks = vector[: noise._BLOCK], vector[noise._BLOCK : -1]
    assert abs(np.corrcoef(*blocks)[0, 1]) < 5 / math.sqrt(noise._BLOCK)
    alone = np.zeros(noise._BLOCK, np.int64)
    IntegerNoise(kind=SKELLAM, variance=Fraction(5_000_000)).add_to(alone, entropy=Recorded())
    assert (blocks[0] != 2 * alone).any()


@pytest.mark.parametrize(
    "vector", [np.zeros(3), np.zeros((2, 2), np.int64), np.zeros(8, np.int64)[::2], np.zeros(3, np.uint32)]
)
def test_other_arrays_take_no_noise(vector):
    with pytest.raises(ConfigurationError, match="contiguous one-dimensional array of int32 or int64"):
        IntegerNoise(kind=SKELLAM, variance=Fraction(1)).add_to(vector, entropy=fixed())


@pytest.mark.parametrize("variance", [0, -1, 2.5, True, "9", None, Fraction(-1, 2)])
def test_variances_that_are_none_are_refused(variance):
    with pytest.raises(ConfigurationError, match="whole number or Fraction above 0 works"):
        IntegerNoise(kind=SKELLAM, variance=variance)


@pytest.mark.parametrize("kind", Mechanism)
def test_noise_that_is_too_wide_says_how_wide_works(kind):
    most = tables.WIDEST_SKELLAM if kind is SKELLAM else tables.WIDEST_GAUSSIAN
    with pytest.raises(ConfigurationError, match=f"up to {math.isqrt(most)} works"):
        IntegerNoise(kind=kind, variance=most + 1)
    assert IntegerNoise(kind=kind, variance=most).tail < 2**31


def test_mechanisms_have_names():
    assert check_mechanism("skellam") is SKELLAM
    assert IntegerNoise(kind="gaussian", variance=1).kind is Mechanism.GAUSSIAN
    with pytest.raises(ConfigurationError, match="'gaussian' or 'skellam' or 'discrete-gaussian' works"):
        check_mechanism("laplace")


# Normal numbers and coins


def test_normal_numbers_are_normal():
    """Kolmogorov–Smirnov and the first four moments: a false alarm in 10^6 streams; and pairs are not correlated."""
    drawn = continuous_gaussian(MILLION, fixed())
    assert drawn.dtype == np.float64
    assert stats.kstest(drawn, "norm").pvalue > 1e-6
    for power, expected, deviation in ((1, 0, 1), (2, 1, math.sqrt(2)), (3, 0, math.sqrt(15)), (4, 3, math.sqrt(96))):
        assert abs((drawn**power).mean() - expected) < 5 * deviation / 1000
    assert abs((drawn[0::2] * drawn[1::2]).mean()) < 5 / math.sqrt(MILLION / 2)
    assert abs(((drawn[0::2] ** 2 - 1) * (drawn[1::2] ** 2 - 1)).mean()) < 5 * 2 / math.sqrt(MILLION / 2)


def test_normal_numbers_are_finite_at_the_ends_of_the_generator(monkeypatch):
    for word in (0, 2**64 - 1):
        monkeypatch.setattr(noise, "_words", lambda count, _, word=word: np.full(count, word, np.uint64))
        drawn = continuous_gaussian(5, fixed())
        assert drawn.shape == (5,)
        assert np.abs(drawn).max() < 8.6


@pytest.mark.parametrize("probability", [0.05, 1 / 3, 0.9999999999999999, 2.0**-70])
def test_inclusion_thresholds_are_rounded_down(monkeypatch, probability):
    """What is carried out is never more likely than what is charged, and less than 2^−64 less."""
    threshold = math.floor(Fraction(probability) * 2**64)
    assert 0 <= Fraction(probability) - Fraction(threshold, 2**64) < Fraction(1, 2**64)
    words = np.array([0, max(threshold - 1, 0), threshold, 2**64 - 1], np.uint64)
    monkeypatch.setattr(noise, "_words", lambda *_: words)
    assert poisson_sample(4, probability, fixed()).tolist() == [threshold > 0, threshold > 0, False, False]


def test_poisson_samples_are_as_large_as_they_should_be():
    """Five deviations: a false alarm in 10^6 streams. Everyone is in at probability 1."""
    drawn = poisson_sample(MILLION, 0.05, fixed())
    assert abs(drawn.sum() - 50_000) < 5 * math.sqrt(MILLION * 0.05 * 0.95)
    assert poisson_sample(1000, 1, fixed()).all()
    assert poisson_sample(0, 0.5, fixed()).shape == (0,)


@pytest.mark.parametrize("probability", [0, -0.1, 1.0000001, math.nan])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(ConfigurationError, match="sampling_probability"):
        poisson_sample(3, probability, fixed())


def test_every_subset_is_chosen_equally_often():
    """Chi-square over the 20 subsets of three among six: a false alarm in 10^6 streams."""
    entropy, counts = fixed(), {}
    for _ in range(8000):
        chosen = tuple(uniform_choice(6, 3, entropy).tolist())
        counts[chosen] = counts.get(chosen, 0) + 1
    assert set(counts) == set(itertools.combinations(range(6), 3))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6
    assert uniform_choice(5, 5, entropy).tolist() == [0, 1, 2, 3, 4]


def test_words_beyond_the_last_whole_multiple_are_drawn_again():
    class Scripted:
        def __init__(self, *words):
            self.words = list(words)

        def fill(self, out):
            out[0] = self.words.pop(0)

    last = 2**64 // 3 * 3
    assert noise._below(3, Scripted(2**64 - 1, last, last - 1)) == 2
    assert noise._below(3, Scripted(4)) == 1


@pytest.mark.parametrize("size", [0, 4, -1])
def test_choices_that_cannot_be_made_are_refused(size):
    with pytest.raises(ConfigurationError, match="1 to 3 works"):
        uniform_choice(3, size, fixed())
