"""Tests that the audit rests on: they accuse nobody honest more often than they say, and find what they say they find.

False-alarm rates are enumerated where the exact distribution can be, and otherwise counted over fixed streams. Tests of
real sessions draw fresh entropy: each states how often it fails for no reason.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from harness import Play, make_params
from scipy import special, stats

from privfl import Phase
from privfl.audit import cohorts, uniformity
from privfl.audit.cohorts import examine_cohorts
from privfl.audit.findings import Outcome
from privfl.audit.levels import DOUBT_LEVEL, FAIL_LEVEL, outcome_of, together
from privfl.audit.moments import skewed_lower, skewed_upper
from privfl.audit.residuals import detectable_ratio, examine_residuals, project_residuals
from privfl.audit.uniformity import examine_words
from privfl.dp.noise import IntegerNoise, Mechanism, poisson_sample
from privfl.errors import ConfigurationError
from privfl.kahe.client import KEY_BYTES
from privfl.kahe.ring import N as KEY_LENGTH
from privfl.primitives.entropy import OsEntropy
from privfl.testing import UnsafeFixedEntropy

SKELLAM, GAUSSIAN = Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN
LEVELS = (1e-2, 1e-4, FAIL_LEVEL)
PRIME = (1 << 36) - 8191  # what SEAL would take for 36 bits and degree 4096


def chance(number=0):
    return np.random.default_rng(number)


def drawn(kind, variance, count, number=0):
    vector = np.zeros(count, np.int64)
    noise = IntegerNoise(kind=kind, variance=Fraction(variance))
    noise.add_to(vector, entropy=UnsafeFixedEntropy(bytes([number]) * 16))
    return vector


def not_too_many(hits, trials, level):
    """So many hits of a level that is kept have a probability above 10^-6."""
    return stats.binom.sf(hits - 1, trials, level) > 1e-6


# Levels and moments


def test_several_tests_count_as_tries():
    assert together([0.01, 0.5, 0.9, 0.2]) == 0.04
    assert together([0.7, 0.9]) == 1.0
    assert together([]) == 1.0


def test_outcomes_of_p_values():
    assert [outcome_of(p) for p in (0, FAIL_LEVEL / 2, FAIL_LEVEL, DOUBT_LEVEL / 2, DOUBT_LEVEL, 1)] == [
        Outcome.FAIL,
        Outcome.FAIL,
        Outcome.INCONCLUSIVE,
        Outcome.INCONCLUSIVE,
        Outcome.PASS,
        Outcome.PASS,
    ]
    with pytest.raises(ConfigurationError, match="p_value"):
        outcome_of(math.nan)


@pytest.mark.parametrize("degrees", [2, 7, 512, 4096])
def test_three_moments_of_chi_square_give_chi_square(degrees):
    moments = {"mean": degrees, "variance": 2 * degrees, "third": 8 * degrees, "margin": 0}
    for p in (1e-9, 1e-3, 0.3, 0.9):
        low, high = stats.chi2.ppf(p, degrees), stats.chi2.isf(p, degrees)
        assert skewed_lower(low, **moments) == pytest.approx(p, rel=1e-6)
        assert skewed_upper(high, **moments) == pytest.approx(p, rel=1e-6)
        mirrored = moments | {"mean": -degrees, "third": -8 * degrees}
        assert skewed_upper(-low, **mirrored) == pytest.approx(p, rel=1e-6)
        assert skewed_lower(-high, **mirrored) == pytest.approx(p, rel=1e-6)


def test_without_skewness_it_is_normal_and_without_variance_certain():
    assert skewed_upper(5.0, mean=2.0, variance=4.0, third=0.0) == pytest.approx(stats.norm.sf(1.5))
    assert skewed_lower(5.0, mean=2.0, variance=4.0, third=0.0) == pytest.approx(stats.norm.cdf(1.5))
    assert [skewed_upper(x, mean=2.0, variance=0.0, third=0.0) for x in (1.5, 2.5)] == [1.0, 0.0]
    assert [skewed_lower(x, mean=2.0, variance=0.0, third=0.0) for x in (1.5, 2.5)] == [0.0, 1.0]


def test_the_margin_makes_both_tails_heavier():
    usual = {"mean": 100.0, "variance": 50.0, "third": 80.0}
    for tail, value in ((skewed_upper, 135.0), (skewed_lower, 72.0)):
        assert tail(value, **usual) > 1.2 * tail(value, **usual, margin=0)


# Residuals: was noise of the stated size added?


def law_of_squares(kind, variance, count, length):
    """Exact probabilities of 0 … length − 1 of a sum of so many squares of noise."""
    k = np.arange(math.isqrt(length) + 1)
    weights = special.ive(k, variance) if kind is SKELLAM else np.exp(-k * k / (2 * variance))
    weights /= weights[0] + 2 * weights[1:].sum()
    one = np.zeros(length)
    one[(k * k)[k * k < length]] = (weights * np.where(k, 2, 1))[k * k < length]
    total = np.eye(1, length)[0]
    for bit in f"{count:b}":
        total = np.convolve(total, total)[:length]
        total = np.convolve(total, one)[:length] if bit == "1" else total
    return total


def with_squares(total, count):
    """Whole numbers whose squares add up to that."""
    numbers = np.zeros(count)
    for place in range(count):
        numbers[place] = math.isqrt(total)
        total -= int(numbers[place]) ** 2
    assert total == 0
    return numbers


@pytest.mark.parametrize(("variance", "degrees"), [(1, 16), (4, 16), (4, 64), (16, 16), (16, 64), (16, 256)])
@pytest.mark.parametrize("kind", [SKELLAM, GAUSSIAN])
def test_deficits_and_excesses_are_no_rarer_than_they_say(kind, variance, degrees):
    """Guarantee 1, enumerated: at the last statistic beyond a level the exact tail is below that level, and near it."""
    length = int(variance * (degrees + 12 * math.sqrt(2 * degrees) + 60))
    law = law_of_squares(kind, variance, degrees, length)
    below, above = np.cumsum(law), np.cumsum(law[::-1])[::-1]
    kurtosis = 1 / variance if kind is SKELLAM else 0.0

    def p_values(total):
        return examine_residuals(with_squares(total, degrees), variance, excess_kurtosis=kurtosis)

    for level in LEVELS:
        low = bisect(lambda total: p_values(total).deficit >= level, 0, length - 1) - 1  # noqa: B023 - called at once
        high = bisect(lambda total: p_values(total).excess < level, 0, length - 1)  # noqa: B023
        assert (below[low] if low >= 0 else 0) <= level
        assert above[high] <= level
        if variance == 16 and degrees >= 64:
            assert below[low] > level / 2
            assert above[high] > level / 2


def bisect(holds, low, high):
    """The first number from which on it holds."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


@pytest.mark.parametrize("variance", [4, 16, 100])
def test_spikes_and_shifts_of_skellam_noise_are_no_rarer_than_they_say(variance):
    """Guarantee 1, enumerated: a single draw against its exact tails, to 10^-12; and a mean, which is Skellam too."""
    for count in (1, 5):
        exact = stats.skellam(count * variance / 2, count * variance / 2)
        for total in range(count * variance):
            tail = 2 * exact.sf(total - 1) if total else 1.0
            if tail < 1e-12:
                break
            residuals = np.full(count, total / count)
            found = examine_residuals(residuals, float(variance), excess_kurtosis=1 / variance)
            assert found.shift >= min(1, tail) * (1 - 1e-6)
            if count == 1:
                assert found.spike >= min(1, tail) * (1 - 1e-6)
                assert found.largest == total / math.sqrt(variance)
                if 1e-8 < tail < 1e-3 and variance == 100:
                    assert found.spike < 1.5 * tail


@pytest.mark.parametrize(
    ("kind", "variance", "shares"), [(SKELLAM, 450, 1), (SKELLAM, 3, 40), (GAUSSIAN, 4000, 1), (GAUSSIAN, 25, 30)]
)
def test_honest_noise_passes(kind, variance, shares):
    """One draw of each, over fixed streams; over fresh ones each would be doubted once in 1000 times."""
    noise = sum(drawn(kind, variance, 4096, number) for number in range(shares))
    total = variance * shares
    found = examine_residuals(noise, total, excess_kurtosis=1 / total if kind is SKELLAM else 0.0)
    assert outcome_of(found.p_value) is Outcome.PASS
    assert abs(found.ratio - 1) < 0.1
    assert found.degrees == 4096


def test_p_values_of_honest_noise_are_spread_evenly():
    """400 stretches of 512 coordinates of one stream of Skellam noise: each name at a level of 5 %."""
    noise = drawn(SKELLAM, 64, 400 * 512).reshape(400, 512)
    found = [examine_residuals(row, 64.0, excess_kurtosis=1 / 64).p_values for row in noise]
    for name in ("deficit", "excess", "shift", "spike"):
        hits = sum(one[name] < 0.05 for one in found)
        assert not_too_many(hits, 400, 0.05)
        assert hits > 3


def test_a_tenth_of_the_variance_missing_is_caught_99_times_of_100():
    """Guarantee 2, with real noise of the reduced size: 400 draws, of which 4 may pass (10 with a chance of 10^-2)."""
    assert detectable_ratio(4096, level=0.01, power=0.99) ** 2 >= 0.9
    assert detectable_ratio(4096, level=0.01, power=0.99, excess_kurtosis=1 / 16) ** 2 >= 0.9
    noise = drawn(SKELLAM, 900, 400 * 4096).reshape(400, 4096)
    caught = sum(examine_residuals(row, 1000.0, excess_kurtosis=1 / 1000).deficit < 0.01 for row in noise)
    assert caught >= 390
    fair = drawn(SKELLAM, 1000, 400 * 4096, 1).reshape(400, 4096)
    accused = sum(examine_residuals(row, 1000.0, excess_kurtosis=1 / 1000).deficit < 0.01 for row in fair)
    assert not_too_many(accused, 400, 0.01)


@pytest.mark.parametrize(
    ("degrees", "level", "power"), [(64, 1e-3, 0.9), (512, FAIL_LEVEL, 0.99), (20_000, 0.01, 0.99)]
)
def test_detectable_ratios_are_those_of_chi_square(degrees, level, power):
    exact = stats.chi2.ppf(level, degrees) / stats.chi2.ppf(power, degrees)
    assert detectable_ratio(degrees, level=level, power=power) == pytest.approx(math.sqrt(exact), rel=1e-9)


def test_seven_tenths_of_the_deviation_accuse_at_512_coordinates():
    assert 0.7 < detectable_ratio(512) < 0.85
    noise = drawn(GAUSSIAN, 490, 200 * 512).reshape(200, 512)
    assert all(examine_residuals(row, 1000.0).deficit < FAIL_LEVEL for row in noise)
    assert examine_residuals(np.zeros(64), 1000.0).deficit < 1e-30


def test_each_coordinate_is_measured_by_its_own_variance():
    variances = np.repeat([25.0, 2500.0], 2048)
    noise = np.concatenate([drawn(GAUSSIAN, 25, 2048), drawn(GAUSSIAN, 2500, 2048, 1)])
    assert outcome_of(examine_residuals(noise, variances).p_value) is Outcome.PASS
    assert outcome_of(examine_residuals(noise, variances[::-1].copy()).p_value) is Outcome.FAIL


def test_biases_spikes_and_too_much_noise_have_names():
    noise = drawn(GAUSSIAN, 400, 4096)
    assert min(examine_residuals(noise + 3, 400.0).p_values.items(), key=lambda item: item[1])[0] == "shift"
    tampered = noise.copy()
    tampered[7] += 300
    found = examine_residuals(tampered, 400.0)
    assert (found.spike < 1e-20) is (found.excess > FAIL_LEVEL) is True
    assert examine_residuals(2 * noise, 400.0).excess < 1e-30


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((np.zeros(0), 4.0), "residuals"),
        ((np.zeros((2, 2)), 4.0), "residuals"),
        ((np.array([0, math.nan]), 4.0), "residuals"),
        ((np.array(["a"]), 4.0), "residuals"),
        ((np.zeros(3), 0.5), "variance"),
        ((np.zeros(3), math.inf), "variance"),
        ((np.zeros(3), math.nan), "variance"),
        ((np.zeros(3), np.full(2, 9.0)), "variance"),
        ((np.zeros(3), "9"), "variance"),
    ],
)
def test_residuals_that_are_none_are_refused(arguments, named):
    with pytest.raises(ConfigurationError, match=named):
        examine_residuals(*arguments)
    with pytest.raises(ConfigurationError, match=named):
        project_residuals(*arguments, np.eye(3))


@pytest.mark.parametrize("kurtosis", [-0.1, 1.5, math.nan])
def test_kurtoses_that_are_none_are_refused(kurtosis):
    for call in (
        lambda: examine_residuals(np.zeros(3), 9.0, excess_kurtosis=kurtosis),
        lambda: project_residuals(np.zeros(3), 9.0, np.eye(3), excess_kurtosis=kurtosis),
        lambda: detectable_ratio(3, excess_kurtosis=kurtosis),
    ):
        with pytest.raises(ConfigurationError, match="excess_kurtosis"):
            call()


@pytest.mark.parametrize(
    ("degrees", "options", "named"),
    [(0, {}, "degrees"), (2.0, {}, "degrees"), (9, {"level": 0}, "level"), (9, {"power": 1}, "power")],
)
def test_detectable_ratios_of_nothing_are_refused(degrees, options, named):
    with pytest.raises(ConfigurationError, match=named):
        detectable_ratio(degrees, **options)


# Residuals: are all contributions in, once?


def vectors(count, length, norm, number=0):
    rows = chance(number).standard_normal((count, length))
    return rows / np.linalg.norm(rows, axis=1)[:, None] * norm


@pytest.mark.parametrize(
    "made",
    [
        lambda: vectors(20, 300, 100.0),
        lambda: vectors(20, 300, 1.0) + vectors(1, 300, 50.0, 1),  # nearly the same
        lambda: vectors(80, 50, 100.0),  # more than coordinates
        lambda: 30.0 * np.eye(12, 300),  # one coordinate each
    ],
    ids=["any", "alike", "many", "single"],
)
def test_honest_sums_have_nothing_left_of_anybody(made):
    """400 draws each at a level of 5 %, Skellam noise of variance 16."""
    contributions = made()
    noise = drawn(SKELLAM, 16, 400 * contributions.shape[1]).reshape(400, -1)
    found = [project_residuals(row, 16.0, contributions, excess_kurtosis=1 / 16).p_value for row in noise]
    assert not_too_many(sum(p < 0.05 for p in found), 400, 0.05)
    assert min(found) > 1e-5


@pytest.mark.parametrize("factor", [0.0, 2.0, 4.0, 0.3, -1.0])
def test_a_contribution_that_is_in_otherwise_is_found_and_measured(factor):
    """Left out, counted twice, not clipped, weighted, subtracted: of one of 30 clients."""
    contributions = vectors(30, 1000, 400.0)
    noise = drawn(GAUSSIAN, 400, 1000)
    found = project_residuals(noise + (factor - 1) * contributions[17], 400.0, contributions)
    assert found.worst == 17
    assert found.p_value < FAIL_LEVEL
    assert found.jointly
    assert abs(found.coefficients[17] - factor) < 5 * found.errors[17]
    others = np.delete(np.array(found.coefficients), 17)
    assert np.abs(others - 1).max() < 5 * max(found.errors)
    assert not examine_residuals(noise, 400.0).p_value < DOUBT_LEVEL


def test_coefficients_are_those_of_least_squares():
    contributions = vectors(6, 40, 50.0) + vectors(1, 40, 40.0, 1)
    variances = chance().uniform(4, 90, 40)
    residuals = drawn(GAUSSIAN, 9, 40) + contributions[2]
    found = project_residuals(residuals, variances, contributions)
    whitened = (contributions / np.sqrt(variances)).T
    offsets = np.linalg.lstsq(whitened, residuals / np.sqrt(variances), rcond=None)[0]
    assert found.coefficients == pytest.approx(1 + offsets, rel=1e-9)
    assert found.errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(whitened.T @ whitened))), rel=1e-9)


@pytest.mark.parametrize("count", [60, 3], ids=["many", "twins"])
def test_contributions_that_cannot_be_told_apart_are_fitted_alone(count):
    contributions = vectors(count, 50, 300.0)
    contributions[1] = contributions[0]
    found = project_residuals(drawn(GAUSSIAN, 9, 50) + contributions[2], 9.0, contributions)
    assert not found.jointly
    assert found.worst == 2
    assert found.coefficients[2] == pytest.approx(2.0, abs=0.1)
    assert found.errors[2] == pytest.approx(3 / 300)
    assert found.p_value < FAIL_LEVEL


def test_a_contribution_of_zeros_is_no_error_and_is_never_found():
    contributions = vectors(3, 50, 300.0)
    contributions[1] = 0
    found = project_residuals(drawn(GAUSSIAN, 9, 50) + contributions[2], 9.0, contributions)
    assert (found.worst, found.jointly) == (2, True)
    assert math.isnan(found.coefficients[1])
    assert found.errors[1] == math.inf == found.detectable()
    alone = project_residuals(np.ones(4), 9.0, np.zeros((1, 4)))
    assert (alone.p_value, alone.jointly) == (1.0, False)


def test_rounds_laid_end_to_end_find_what_one_does_not():
    """A client counted twice in each of 25 rounds, under noise that hides it in one; fixed streams."""
    contributions = vectors(10, 25 * 64, 25 * 20.0)
    noise = drawn(GAUSSIAN, 10_000, 25 * 64)
    residuals = noise + contributions[4]
    one = project_residuals(residuals[:64], 10_000.0, contributions[:, :64])
    every = project_residuals(residuals, 10_000.0, contributions)
    assert one.p_value > DOUBT_LEVEL
    assert one.detectable() > 1
    assert (every.worst, every.p_value < DOUBT_LEVEL) == (4, True)


def test_what_is_detectable_is_detected():
    """200 draws, of which 2 may be missed (8 with a chance of 10^-3)."""
    contributions = vectors(10, 200, 900.0)
    noise = drawn(GAUSSIAN, 2500, 200 * 200).reshape(200, 200)
    far = project_residuals(noise[0], 2500.0, contributions).detectable()
    assert far == pytest.approx((stats.norm.isf(FAIL_LEVEL / 20) + stats.norm.ppf(0.99)) * 50 / 900, rel=1e-6)
    found = [project_residuals(row + far * contributions[3], 2500.0, contributions) for row in noise]
    assert sum(one.p_value < FAIL_LEVEL and one.worst == 3 for one in found) >= 192
    found = [project_residuals(row + far / 3 * contributions[3], 2500.0, contributions).p_value for row in noise]
    assert sum(p < FAIL_LEVEL for p in found) < 20


def test_noise_that_is_used_again_is_found_as_a_contribution():
    first = drawn(SKELLAM, 100, 512)
    again = project_residuals(first, 100.0, first[None], excess_kurtosis=1 / 100)
    fresh = project_residuals(drawn(SKELLAM, 100, 512, 1), 100.0, first[None], excess_kurtosis=1 / 100)
    assert again.p_value < 1e-30
    assert fresh.p_value > DOUBT_LEVEL


@pytest.mark.parametrize(
    "contributions", [np.zeros(3), np.zeros((2, 4)), np.zeros((0, 3)), np.full((1, 3), math.inf), np.full((1, 3), "a")]
)
def test_contributions_that_do_not_fit_are_refused(contributions):
    with pytest.raises(ConfigurationError, match="contributions"):
        project_residuals(np.zeros(3), 9.0, contributions)


# Uniformity: does it look masked?


def uniform(modulus, count, generator):
    top = modulus - 1
    return generator.integers(0, top, count, dtype=np.uint64, endpoint=True)


def law_of_pairs(count, bins):
    """Exact probabilities of how many pairs of words share a bin: a product of Poisson numbers, given their sum."""
    most = count * (count - 1) // 2
    joint = np.zeros((count + 1, most + 1))
    joint[0, 0] = 1.0
    for _ in range(bins):
        added = np.zeros_like(joint)
        for k in range(count + 1):
            pairs = k * (k - 1) // 2
            added[k:, pairs:] += stats.poisson.pmf(k, count / bins) * joint[: count + 1 - k, : most + 1 - pairs]
        joint = added
    return joint[count] / joint[count].sum()


@pytest.mark.parametrize(("count", "bins"), [(32, 4), (64, 8)])
def test_crowded_bins_are_no_rarer_than_they_say(count, bins):
    """Guarantee 1, enumerated, down to 10^-12."""
    tail = np.cumsum(law_of_pairs(count, bins)[::-1])[::-1]
    generator, seen = chance(), {}
    for strength in np.repeat(np.linspace(0.0, 0.8, 40), 20):
        words = np.where(generator.random(count) < strength, 0, generator.integers(0, bins, count)).astype(np.uint64)
        counts = np.bincount(words.astype(np.int64), minlength=bins)
        seen[int((counts * (counts - 1) // 2).sum())] = uniformity._pairs(words, bins)
    told = {pairs: p for pairs, p in seen.items() if 1e-12 < p < 1e-2}
    assert len(told) > 20
    assert all(tail[pairs] <= p for pairs, p in told.items())
    assert max(tail[pairs] / p for pairs, p in told.items() if p > 1e-3) > 0.2


@pytest.mark.parametrize("modulus", [1 << 20, 1 << 32, 1 << 64, PRIME, 1009, 61, 16], ids=str)
@pytest.mark.parametrize("count", [7, 64, 300])
def test_uniform_words_pass_at_every_modulus(modulus, count):
    """300 vectors at a level of 5 % for each name, small moduli included: bins are exactly equal for all of them."""
    generator = chance(count)
    known = generator.integers(-3, 4, count) ** 5
    found = [examine_words(uniform(modulus, count, generator), modulus, known=known).p_values for _ in range(300)]
    assert ("high" in found[0]) is ("low" in found[0]) is (count >= 32)
    assert {"small", "repeats", "known", "known-repeats"} <= set(found[0])
    for name in found[0]:
        assert not_too_many(sum(one[name] < 0.05 for one in found), 300, 0.05), name


@pytest.mark.parametrize("modulus", [61, 1009, 3 << 20])
def test_bins_are_equal_for_moduli_that_they_do_not_divide(modulus):
    """50,000 words, at 10^-4: bins that differ by one residue would be found at 61 and 1009."""
    found = examine_words(uniform(modulus, 50_000, chance()), modulus)
    assert found.bins == min(256, 1 << modulus.bit_length() - 2)
    assert min(found.p_values["high"], found.p_values["low"]) > 1e-4


@pytest.mark.parametrize(
    ("size", "bins"), [(24, 0), (31, 0), (32, 4), (63, 4), (64, 8), (1024, 128), (2048, 256), (10**5, 256)]
)
def test_bins_hold_eight_words_each_or_are_not_there(size, bins):
    found = examine_words(uniform(1 << 32, size, chance()), 1 << 32)
    assert found.bins == bins
    assert ("high" in found.p_values) is ("low" in found.p_values) is (bins > 0)
    assert (found.words, found.modulus) == (size, 1 << 32)


RINGS = pytest.mark.parametrize("modulus", [1 << 20, 1 << 32, 1 << 64, PRIME], ids=str)


def residues(numbers, modulus):
    return np.array([int(number) % modulus for number in numbers], np.uint64)


@RINGS
@pytest.mark.parametrize("reach", [0, 1, 1000, 32_767])
def test_plain_vectors_are_known_at_64_words(modulus, reach):
    """Guarantee 2: whether the vector is known or not."""
    plain = chance().integers(-reach, reach + 1, 64)
    assert examine_words(residues(plain, modulus), modulus).p_value < 1e-12
    assert examine_words(residues(np.abs(plain), modulus), modulus).p_value < 1e-12
    assert examine_words(residues(plain, modulus), modulus, known=plain).p_values["small"] < 1e-12
    negative = -1 - np.abs(plain)
    assert examine_words(residues(negative, modulus), modulus).p_values["small"] < 1e-12


def test_twenty_four_plain_words_are_enough():
    plain = chance().integers(-1000, 1001, 24)
    assert examine_words(residues(plain, 1 << 20), 1 << 20).p_value < 1e-12
    assert examine_words(residues(plain[:3], 1 << 32), 1 << 32).p_value < FAIL_LEVEL


@RINGS
def test_masks_that_are_no_masks_have_names(modulus):
    """Too narrow, only above the low bits, one for all words, repeated; or a scale in place of a mask."""
    generator = chance()
    known = generator.integers(-1000, 1001, 512)
    mask = [int(word) for word in uniform(modulus, 512, generator)]
    half = [word // 2 - modulus // 4 for word in mask]
    found = {
        "narrow": (half + known, "small"),
        "high": ([word // 256 * 256 + 3 for word in mask], "low"),
        "shared": ([int(x) + mask[0] for x in known], "high"),
        "scaled": (known * (modulus // 2100), "known"),
        "falling": (known * -(modulus // 2100), "known"),
        "repeated": ([int(x) + mask[i % 64] for i, x in enumerate(known)], "known-repeats"),
    }
    for numbers, name in found.values():
        p_values = examine_words(residues(numbers, modulus), modulus, known=known).p_values
        assert p_values[name] < 1e-12, name
    honest = examine_words(residues(known + np.array(mask, object), modulus), modulus, known=known)
    assert outcome_of(honest.p_value) is Outcome.PASS


def test_what_is_left_without_the_known_vector_is_exact():
    """Against Python's whole numbers: at both ends of the range, for every kind of known vector."""
    known = np.array([0, 1, -1, 1000, -1000, 2**62, -(2**63), 2**63 - 1], np.int64)
    for modulus in (1 << 64, 1 << 32, (1 << 64) - 59, PRIME, 61):
        for words in (np.zeros(8, np.uint64), np.full(8, modulus - 1, np.uint64)):
            for numbers in (known, known.view(np.uint64)):
                exact = [(int(word) - int(number)) % modulus for word, number in zip(words, numbers, strict=True)]
                assert uniformity._less(words, numbers, modulus).tolist() == exact


def test_masked_uploads_of_real_sessions_look_masked():
    """Fresh entropy: 5 vectors under masks, 5 ciphertexts and 5 masked keys at 10^-7: once in 600,000 runs."""
    for suite_name in ("masking", "kahe"):
        play = Play(make_params(length=2000, suite_name=suite_name))
        while play.server.phase is not Phase.FINISHED:
            play.step()
        ring = play.params.ring
        hidden = ring.vector_bytes(2000)
        for (phase, number), frame in play.responses.items():
            if phase is Phase.MASKED_INPUT:
                words = ring.received(memoryview(frame)[-hidden:], 2000)
                assert examine_words(words, 1 << ring.bits, known=play.vectors[number]).p_value > 1e-7
                if suite_name == "kahe":
                    key = np.frombuffer(frame[-hidden - KEY_BYTES : -hidden], np.uint32)
                    assert len(key) == KEY_LENGTH
                    assert examine_words(key, 1 << 32).p_value > 1e-7


def test_plain_uploads_of_real_sessions_do_not():
    play = Play(make_params(length=64, suite_name="plain"))
    play.step()
    for (_, number), frame in play.responses.items():
        words = play.params.ring.received(memoryview(frame)[-play.params.ring.vector_bytes(64) :], 64)
        assert examine_words(words, 1 << play.params.ring.bits, known=play.vectors[number]).p_value < 1e-12
    assert len(play.responses) == 5


@pytest.mark.parametrize(
    ("words", "modulus", "known", "named"),
    [
        (np.zeros(4, np.uint32), 8, None, "modulus"),
        (np.zeros(4, np.uint32), 2.0**32, None, "modulus"),
        (np.zeros(4, np.uint32), 1 << 65, None, "modulus"),
        (np.zeros(0, np.uint32), 64, None, "words"),
        (np.zeros((2, 2), np.uint32), 64, None, "words"),
        (np.zeros(4), 64, None, "words"),
        (np.full(4, -1), 64, None, "words"),
        (np.full(4, 64, np.uint32), 64, None, "words"),
        (np.zeros(4, np.uint32), 64, np.zeros(3, int), "known"),
        (np.zeros(4, np.uint32), 64, np.zeros(4), "known"),
    ],
)
def test_words_that_are_none_are_refused(words, modulus, known, named):
    with pytest.raises(ConfigurationError, match=named):
        examine_words(words, modulus, known=known)


# Cohorts: were they Poisson-sampled?


def sampled(rounds, clients, probability, generator, *, answering=1.0):
    invited = generator.random((rounds, clients)) < probability
    return invited.sum(axis=1), invited & (generator.random((rounds, clients)) < answering)


@pytest.mark.parametrize(
    ("rounds", "clients", "probability"), [(10, 50, 0.5), (10, 50, 0.1), (40, 30, 0.2), (3, 20, 0.05), (25, 4, 0.8)]
)
@pytest.mark.parametrize("answering", ["all", "most", "some"])
def test_poisson_sampled_cohorts_pass(rounds, clients, probability, answering):
    """Guarantees 1 and 2: 300 runs at a level of 5 %; drop-outs may befall some more than others."""
    generator = chance(clients)
    chances = {"all": 1.0, "most": 0.9, "some": generator.uniform(0, 1, clients)}[answering]
    found = []
    for _ in range(300):
        sizes, answered = sampled(rounds, clients, probability, generator, answering=chances)
        found.append(examine_cohorts(sizes, clients=clients, probability=probability, answered=answered))
    assert set(found[0].p_values) == {"total", "sizes", "participation", "succession"}
    for name in found[0].p_values:
        assert not_too_many(sum(one.p_values[name] < 0.05 for one in found), 300, 0.05), name
    assert any(one.thinned for one in found) is (answering != "all")


def test_cohorts_that_the_library_draws_pass():
    """Fresh entropy, at 10^-7."""
    drawn_here = np.array([poisson_sample(200, 0.1, OsEntropy()) for _ in range(60)])
    found = examine_cohorts(drawn_here.sum(axis=1), clients=200, probability=0.1, answered=drawn_here)
    assert found.p_value > 1e-7
    assert found.detectable


@pytest.mark.parametrize(("clients", "probability"), [(6, 0.5), (9, 0.3), (7, 0.85)])
def test_sums_of_squares_are_enumerated_exactly(clients, probability):
    law = stats.binom.pmf(np.arange(clients + 1), clients, probability)
    centre = round(clients * probability)
    for sizes in ([centre] * 3, [centre, centre + 1, centre - 1], [clients, 0, centre]):
        found = sum((size - centre) ** 2 for size in sizes)
        lower = upper = 0.0
        for each in itertools.product(range(clients + 1), repeat=3):
            squares, weight = sum((size - centre) ** 2 for size in each), np.prod(law[list(each)])
            lower += weight * (squares <= found)
            upper += weight * (squares >= found)
        ours = cohorts._binomial(clients, probability)
        assert ours == pytest.approx(law, rel=1e-9)
        assert cohorts._squares(np.array(sizes), ours, centre, upper=False) == pytest.approx(lower, rel=1e-9)
        assert cohorts._squares(np.array(sizes), ours, centre, upper=True) == pytest.approx(upper, rel=1e-9)


def test_long_sums_of_squares_agree_with_short_ones(monkeypatch):
    """Beyond what is enumerated three moments do, to the safe side."""
    law = cohorts._binomial(1000, 0.1)
    for spread, upper in ((4, False), (6, False), (13, True), (14, True)):
        sizes = 100 + spread * np.where(np.arange(20) % 2, 1, -1)
        monkeypatch.setattr(cohorts, "_LONGEST", 4096)
        exact = cohorts._squares(sizes, law, 100, upper=upper)
        monkeypatch.setattr(cohorts, "_LONGEST", 1)
        by_moments = cohorts._squares(sizes, law, 100, upper=upper)
        assert 1e-10 < exact < 0.1
        assert exact <= by_moments < exact**0.6


def test_moments_of_participation_are_exact(monkeypatch):
    """All cohorts of these sizes, each as likely as another."""
    asked = []
    monkeypatch.setattr(cohorts, "skewed_lower", lambda value, **moments: asked.append(moments) or 1.0)
    for clients, sizes in ((5, (2, 3, 1)), (4, (3, 3, 2)), (6, (1, 2, 5)), (5, (0, 2, 4))):
        everyone = [list(itertools.combinations(range(clients), size)) for size in sizes]
        pairs = []
        for chosen in itertools.product(*everyone):
            counts = np.bincount(list(itertools.chain(*chosen)), minlength=clients)
            pairs.append(int((counts * (counts - 1) // 2).sum()))
        claim = cohorts._Claim(len(sizes), clients, 0.5)
        cohorts._participation(np.zeros(clients, int), np.array(sizes), claim, thinned=False)
        off = np.array(pairs) - np.mean(pairs)
        assert asked[-1]["mean"] == pytest.approx(np.mean(pairs))
        assert asked[-1]["variance"] == pytest.approx((off**2).mean())
        assert asked[-1]["third"] == pytest.approx((off**3).mean(), abs=1e-12)


def kept(rounds, size, clients):
    return np.tile(np.arange(clients) < size, (rounds, 1))


def test_a_fixed_size_is_found_in_ten_rounds():
    """Uniform samples of 25 of 50: nothing but the sizes tells."""
    generator = chance()
    answered = np.array([generator.permutation(50) < 25 for _ in range(10)])
    found = examine_cohorts([25] * 10, clients=50, probability=0.5, answered=answered)
    assert found.p_values["sizes"] < FAIL_LEVEL / 4
    assert min(p for name, p in found.p_values.items() if name != "sizes") > DOUBT_LEVEL
    assert outcome_of(found.p_value) is Outcome.FAIL
    assert found.detectable


@pytest.mark.parametrize("size", [9, 11, 12, 13])
def test_a_fixed_size_that_is_not_the_expected_one_is_found(size):
    assert examine_cohorts([size] * 14, clients=100, probability=0.1).p_values["sizes"] < FAIL_LEVEL


def test_sizes_that_vary_too_much_are_found():
    sizes = np.where(np.arange(20) % 2, 35, 15)
    assert examine_cohorts(sizes, clients=50, probability=0.5).p_values["sizes"] < FAIL_LEVEL


def test_another_probability_is_found():
    sizes, answered = sampled(20, 200, 0.2, chance())
    assert examine_cohorts(sizes, clients=200, probability=0.1, answered=answered).p_values["total"] < FAIL_LEVEL
    assert examine_cohorts(sizes, clients=200, probability=0.3).p_values["total"] < FAIL_LEVEL
    assert outcome_of(examine_cohorts(sizes, clients=200, probability=0.2).p_value) is Outcome.PASS


@pytest.mark.parametrize("answering", [1.0, 0.9])
def test_one_cohort_kept_is_found_whatever_sizes_are_told(answering):
    """The sizes vary as they should: of the largest cohort, as many are invited as a coin would."""
    generator = chance()
    sizes = generator.binomial(50, 0.5, 10)
    order = generator.permutation(50)
    answered = np.array([order < size for size in sizes]) & (generator.random((10, 50)) < answering)
    found = examine_cohorts(sizes, clients=50, probability=0.5, answered=answered)
    assert found.p_values["participation"] < FAIL_LEVEL / 4
    assert found.p_values["succession"] < (FAIL_LEVEL / 4 if answering == 1 else DOUBT_LEVEL)
    assert min(found.p_values["sizes"], found.p_values["total"]) > DOUBT_LEVEL
    assert found.thinned is (answering < 1)
    assert found.detectable


@pytest.mark.parametrize("first", [1, 2])
def test_cohorts_kept_for_two_rounds_are_found(first):
    """From whichever round on: every second pair of neighbours is the same."""
    generator = chance()
    fresh = generator.random((8, 100)) < 0.3
    answered = np.concatenate([fresh[:1]] * (first - 1) + [np.repeat(fresh, 2, axis=0)])
    found = examine_cohorts(answered.sum(axis=1), clients=100, probability=0.3, answered=answered)
    assert found.p_values["succession"] < FAIL_LEVEL / 4


def test_clients_that_take_turns_are_found():
    """Each of 60 clients once in six rounds, in random order: shuffled, not sampled. With drop-outs as well."""
    generator = chance()
    rounds = []
    for _ in range(5):
        order = generator.permutation(60) // 10
        rounds += [order == turn for turn in range(6)]
    answered = np.array(rounds)
    found = examine_cohorts([10] * 30, clients=60, probability=1 / 6, answered=answered)
    assert found.p_values["participation"] < FAIL_LEVEL
    thinned = answered & (generator.random(answered.shape) < 0.95)
    found = examine_cohorts([10] * 30, clients=60, probability=1 / 6, answered=thinned)
    assert found.p_values["participation"] < FAIL_LEVEL


def test_clients_that_are_never_invited_are_found():
    generator = chance()
    answered = (generator.random((30, 50)) < 0.4) & (np.arange(50) < 25)
    found = examine_cohorts(answered.sum(axis=1), clients=50, probability=0.2, answered=answered)
    assert found.p_values["participation"] < FAIL_LEVEL


def test_clients_that_never_answer_accuse_nobody():
    sizes, answered = sampled(30, 50, 0.2, chance(), answering=np.arange(50) < 25)
    found = examine_cohorts(sizes, clients=50, probability=0.2, answered=answered)
    assert found.thinned
    assert outcome_of(found.p_value) is Outcome.PASS


@pytest.mark.parametrize("rounds", range(1, 13))
def test_what_is_said_to_be_detectable_is_found(rounds):
    """A fixed size, and a fixed cohort, at every number of rounds: found exactly from where it is said."""
    size_found = examine_cohorts([25] * rounds, clients=50, probability=0.5)
    assert size_found.finds_fixed_size is (size_found.p_values["sizes"] < FAIL_LEVEL / 2)
    assert not size_found.detectable
    assert size_found.thinned is None
    cohort = examine_cohorts([25] * rounds, clients=50, probability=0.5, answered=kept(rounds, 25, 50))
    assert cohort.finds_fixed_cohort is (cohort.p_values["participation"] < FAIL_LEVEL / 4)
    assert cohort.detectable is (rounds >= 10)


def test_a_cohort_kept_by_flaky_clients_is_found_where_it_is_said():
    """100 runs of one cohort of 20 of 100, each of whom answers with chance 0.7: one may be missed where it is said."""
    generator, said, missed = chance(), 0, 0
    for _ in range(100):
        answered = kept(10, 20, 100) & (generator.random((10, 100)) < 0.7)
        found = examine_cohorts([20] * 10, clients=100, probability=0.2, answered=answered)
        said += found.finds_fixed_cohort
        missed += found.finds_fixed_cohort and found.p_values["participation"] >= FAIL_LEVEL / 4
    assert said > 80
    assert missed <= 1
    few = kept(4, 20, 100) & (generator.random((4, 100)) < 0.7)
    assert not examine_cohorts([20] * 4, clients=100, probability=0.2, answered=few).finds_fixed_cohort


def test_everybody_always_is_no_sample():
    found = examine_cohorts([7] * 4, clients=7, probability=1, answered=np.ones((4, 7), bool))
    assert found.p_value == 1.0
    assert not found.detectable
    assert examine_cohorts([7, 6, 7], clients=7, probability=1).p_value == 0.0
    alone = examine_cohorts([1, 0, 1], clients=1, probability=0.5, answered=np.array([[1], [0], [1]], bool))
    assert alone.p_value > DOUBT_LEVEL


def test_large_populations_take_no_longer_than_they_must():
    """A million clients, and a thousand rounds."""
    sizes = chance().binomial(10**6, 0.01, 30)
    assert outcome_of(examine_cohorts(sizes, clients=10**6, probability=0.01).p_value) is Outcome.PASS
    sizes = chance().binomial(500, 0.1, 1000)
    assert outcome_of(examine_cohorts(sizes, clients=500, probability=0.1).p_value) is Outcome.PASS


@pytest.mark.parametrize(
    ("sizes", "options", "named"),
    [
        ([], {}, "sizes"),
        ([[1, 2]], {}, "sizes"),
        ([1.5], {}, "sizes"),
        ([-1, 3], {}, "sizes"),
        ([11], {}, "sizes"),
        ([3], {"clients": 0}, "clients"),
        ([3], {"clients": 10.0}, "clients"),
        ([3], {"clients": 10**7}, "clients"),
        ([3], {"probability": 0}, "probability"),
        ([3], {"probability": 1.1}, "probability"),
        ([3], {"probability": math.nan}, "probability"),
        ([3], {"answered": np.ones((1, 9), bool)}, "answered"),
        ([3], {"answered": np.ones((1, 10))}, "answered"),
        ([3], {"answered": np.ones((1, 10), bool)}, "answered"),
    ],
)
def test_cohorts_that_cannot_be_are_refused(sizes, options, named):
    with pytest.raises(ConfigurationError, match=named):
        examine_cohorts(sizes, **{"clients": 10, "probability": 0.5} | options)
