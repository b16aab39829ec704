"""Bounds of ε against exact optima over all mechanisms, against what others compute, and against mechanisms that leak.

Wherever the worst mechanism can be found, soundness is shown without chance: by a linear programme over everything that
is (ε, δ)-differentially private. Statistical tests run over fixed streams and state the rate of false alarms that they
would have over fresh ones.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats
from scipy.optimize import linprog
from scipy.sparse import lil_matrix

from privfl.audit import empirical, tails
from privfl.audit.empirical import (
    Guessed,
    Method,
    best_of,
    contradicts_curve,
    detectable_epsilon,
    f_dp_epsilon,
    gdp_epsilon,
    gdp_mu,
    gdp_trials_epsilon,
    guess,
    largest_epsilon,
    one_run_epsilon,
    one_shot_estimate,
    trials_epsilon,
)
from privfl.errors import ConfigurationError

NEVER = 1e-9  # false alarms of a statistical test
EITHER = pytest.mark.parametrize("method", Method)


def close(value, to, relative=1e-9):
    return value == pytest.approx(to, rel=relative, abs=0)


def bound_of(method):
    return one_run_epsilon if method is Method.ONE_RUN else f_dp_epsilon


def table(method, canaries, guesses, **rest):
    """The bound for each number of right guesses."""
    bound = bound_of(method)
    return np.array([bound(canaries=canaries, guesses=guesses, correct=v, **rest) for v in range(guesses + 1)])


# --- Tails -----------------------------------------------------------------------------------------------------------


def test_normal_tails_agree_with_another_implementation():
    for x in (-37, -31, -30, -29.5, -12, -3, -0.1, 0, 0.1, 3, 8):
        assert close(tails.normal_cdf(x), stats.norm.cdf(x))
        assert close(tails.normal_log_cdf(x), special.log_ndtr(x))
    for x in (-1e5, -100.0):
        assert close(tails.normal_log_cdf(x), special.log_ndtr(x))
    for p in (1e-300, 1e-30, 1e-5, 0.3, 0.7, 1 - 1e-12):
        assert close(tails.normal_quantile(p), stats.norm.ppf(p))
    assert [tails.normal_quantile(p) for p in (0, 0.5, 1)] == [-math.inf, 0, math.inf]
    assert (tails.normal_log_cdf(-math.inf), tails.normal_log_cdf(math.inf)) == (-math.inf, 0)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 31, 100, 4097, 100_000])
def test_chi_square_tails_agree_with_another_implementation(degrees):
    for deviate in (-11.4, -8, -2, -0.01, 0, 0.01, 2, 8, 11.4):
        below = deviate < 0
        tail = stats.norm.cdf(-abs(deviate))
        x = stats.chi2.ppf(tail, degrees) if below else stats.chi2.isf(tail, degrees)
        assert close(tails.chi_square_lower(x, degrees), stats.chi2.cdf(x, degrees))
        assert close(tails.chi_square_upper(x, degrees), stats.chi2.sf(x, degrees))
    assert tails.chi_square_lower(-1, degrees) == tails.chi_square_lower(0, degrees) == 0
    assert tails.chi_square_upper(-1, degrees) == tails.chi_square_lower(math.inf, degrees) == 1
    assert tails.chi_square_upper(math.inf, degrees) == 0


def test_chi_square_tails_of_ten_million_degrees():
    # Summed with 60 digits (mpmath 1.3): other implementations have three right digits here.
    assert close(tails.chi_square_lower(9949103.597472895, 10**7), 2.0906432592575039275e-30)
    assert close(tails.chi_square_lower(10**7 - 100, 10**7), 0.49113954910702824749)
    assert close(tails.chi_square_upper(10051080.5, 10**7), 2.0266112001169608398e-30)
    assert close(tails.chi_square_upper(10036001.25, 10**7 + 1), 4.4769357308484604938e-16)


@pytest.mark.parametrize("trials", [1, 2, 10, 1000, 10**6])
@pytest.mark.parametrize("p", [1e-12, 1e-4, 0.3, 0.5, 0.99, 1 - 1e-9])
def test_binomial_tails_agree_with_another_implementation(trials, p):
    for deviate in (-11, -8, -1, 0, 1, 8, 11):
        hits = round(trials * p + deviate * math.sqrt(trials * p * (1 - p)))
        assert close(tails.binomial_lower(hits, trials, p), stats.binom.cdf(hits, trials, p))
        assert close(tails.binomial_upper(hits, trials, p), stats.binom.sf(hits - 1, trials, p))


def test_binomial_tails_are_exact_at_small_numbers():
    p = Fraction(3, 8)
    law = [math.comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(10)]
    for hits in range(-2, 12):
        assert close(tails.binomial_upper(hits, 9, float(p)), float(sum(law[max(hits, 0) :])), 1e-14)
        assert close(tails.binomial_lower(hits, 9, float(p)), float(sum(law[: max(hits + 1, 0)])), 1e-14)
    assert np.allclose(tails.binomial_law(9, float(p)), [float(chance) for chance in law], rtol=1e-14, atol=0)
    assert [tails.binomial_upper(hits, 5, 0.0) for hits in (0, 1)] == [1, 0]
    assert [tails.binomial_upper(hits, 5, 1.0) for hits in (5, 6)] == [1, 0]
    assert close(tails.binomial_upper(1, 10, 1e-30), 1e-29)


@pytest.mark.parametrize(("trials", "p"), [(0, 0.3), (1, 0.3), (40, 0.0), (40, 1.0), (1000, 0.7), (10**5, 1e-5)])
def test_a_binomial_law_agrees_with_another_implementation(trials, p):
    law, other = tails.binomial_law(trials, p), stats.binom.pmf(np.arange(trials + 1), trials, p)
    large = other > 1e-290
    assert law.shape == (trials + 1,)
    assert np.allclose(law[large], other[large], rtol=1e-9, atol=0)
    assert np.all(law[~large] < 1e-280)


@pytest.mark.parametrize("level", [0.3, 0.05, 1e-6, 1e-30])
def test_confidence_limits_agree_with_another_implementation(level):
    for trials in (1, 10, 1000, 10**6):
        for hits in {0, 1, trials // 3, trials - 1, trials}:
            upper = 1 if hits == trials else stats.beta.isf(level, hits + 1, trials - hits)
            lower = 0 if hits == 0 else stats.beta.ppf(level, hits, trials - hits + 1)
            assert close(tails.clopper_pearson_upper(hits, trials, level), upper)
            assert close(tails.clopper_pearson_lower(hits, trials, level), lower)


def test_confidence_limits_hold_as_often_as_they_say():
    for p in (0.01, 0.3, 0.9):
        law = stats.binom.pmf(np.arange(41), 40, p)
        above = [tails.clopper_pearson_upper(hits, 40, 0.05) < p for hits in range(41)]
        below = [tails.clopper_pearson_lower(hits, 40, 0.05) > p for hits in range(41)]
        assert max(law @ above, law @ below) <= 0.05


# --- One run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "one_run", "f_dp"),
    [(1000, 100, 95, 2.165, 3.323), (1000, 100, 100, 3.465, 5.549), (10000, 1000, 900, 2.015, 2.803)],
)
def test_reference_values(canaries, guesses, correct, one_run, f_dp):
    numbers = {"canaries": canaries, "guesses": guesses, "correct": correct}
    assert one_run_epsilon(**numbers) == pytest.approx(one_run, abs=1e-3)
    assert f_dp_epsilon(**numbers) == pytest.approx(f_dp, abs=1e-3)


@pytest.mark.parametrize(
    ("numbers", "level", "delta", "one_run", "f_dp"),
    [
        # From `jax_privacy.auditing` of JAX Privacy 2.0.0 (`_epsilon_one_run`, `_epsilon_one_run_fdp`), which solves to
        # 10^−6.
        ((1000, 100, 95), 0.05, 1e-5, 2.165175788, 3.323300490),
        ((500, 500, 300), 0.01, 1e-4, 0.181886419, 0.271831668),
        ((2000, 200, 150), 0.1, 1e-6, 0.878137302, 1.493176436),
        ((64, 32, 31), 0.05, 1e-3, 1.691905869, 2.686506509),
        ((5000, 5000, 2700), 0.05, 1e-5, 0.113049749, 0.207954980),
    ],
)
def test_bounds_agree_with_another_implementation(numbers, level, delta, one_run, f_dp):
    keys = dict(zip(("canaries", "guesses", "correct"), numbers, strict=True), level=level, delta=delta)
    assert one_run_epsilon(**keys) == pytest.approx(one_run, abs=2e-6)
    assert f_dp_epsilon(**keys) == pytest.approx(f_dp, abs=2e-6)


def test_the_chance_of_right_guesses_is_that_of_the_theorem_exactly():
    canaries, guesses, q, delta = 13, 9, Fraction(3, 4), Fraction(1, 1000)
    law = [math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(guesses + 1)]
    for v in range(1, guesses + 1):
        gains = [sum(law[v - i : v]) / i for i in range(1, v + 1)]
        exact = sum(law[v:]) + 2 * canaries * delta * max(gains)
        guessed = Guessed(canaries=canaries, guesses=guesses, correct=v)
        assert close(empirical._chance(guessed, math.log(3), float(delta)), float(exact), 1e-12)


def test_a_bound_is_the_largest_epsilon_that_is_rejected():
    for numbers, delta in itertools.product(((100, 60, 50), (400, 400, 240), (30, 10, 10)), (0, 1e-5, 1e-3)):
        guessed = Guessed(**dict(zip(("canaries", "guesses", "correct"), numbers, strict=True)))
        bound = one_run_epsilon(
            canaries=guessed.canaries, guesses=guessed.guesses, correct=guessed.correct, delta=delta
        )
        assert bound > 0
        assert empirical._chance(guessed, bound, delta) <= 0.05
        assert all(empirical._chance(guessed, bound + more, delta) > 0.05 for more in (1e-9, 0.01, 0.5, 3, 40))


@EITHER
def test_more_right_guesses_never_show_less(method):
    for canaries, guesses, delta in ((40, 40, 1e-5), (300, 40, 1e-5), (300, 60, 1e-3)):
        bounds = table(method, canaries, guesses, delta=delta)
        assert np.all(np.diff(bounds) >= 0)
        assert bounds[guesses // 2] == 0 < bounds[-1]
        assert bounds[-1] == largest_epsilon(canaries=canaries, guesses=guesses, delta=delta, method=method)


def best_mechanism(canaries, guesses, correct, pairs):
    """Largest chance of that many right guesses or more, over all mechanisms that are (ε, δ)-DP for all pairs.

    Turning and permuting canaries changes neither the chance nor what is private, and mixing mechanisms keeps both: the
    best may be taken to depend on the number of wrong guesses alone. A flipped canary is guessed at in the part r/m of
    outputs, whose flaws may thus be m/r times as large.
    """
    r, flips = guesses, range(guesses)
    count = r + 1 + 2 * r * len(pairs)  # chance of each number of wrong guesses; flaws, in either direction
    rows = lil_matrix((2 * (r + 1) * len(pairs), count))
    most = np.zeros(rows.shape[0])
    for at, (epsilon, delta) in enumerate(pairs):
        flaw, row = r + 1 + 2 * r * at, 2 * (r + 1) * at
        for wrong in flips:
            fewer, more = (r - wrong) / r, (wrong + 1) / r  # of outputs with so many wrong, those flipped to or from
            for way, (here, there) in enumerate(
                (((wrong, fewer), (wrong + 1, more)), ((wrong + 1, more), (wrong, fewer)))
            ):
                rows[row, here[0]], rows[row, there[0]] = here[1], -math.exp(epsilon) * there[1]
                rows[row, flaw + way * r + wrong] = -1
                row += 1
        for way in (0, 1):
            rows[row, flaw + way * r : flaw + (way + 1) * r] = 1
            most[row] = delta * canaries / r
            row += 1
    gain = np.zeros(count)
    gain[: r - correct + 1] = -1
    total = np.zeros((1, count))
    total[0, : r + 1] = 1
    return -linprog(gain, rows.tocsr(), most, total, [1], method="highs").fun


def best_of_all_mechanisms(canaries, guesses, correct, epsilon, delta):
    """The same, with a chance of its own for every output and input."""
    inputs = list(itertools.product((-1, 1), repeat=canaries))
    outputs = [t for t in itertools.product((-1, 0, 1), repeat=canaries) if np.count_nonzero(t) == guesses]
    pairs = [
        (a, b) for a, b in itertools.permutations(range(len(inputs)), 2) if np.dot(inputs[a], inputs[b]) == canaries - 2
    ]
    shape = (len(inputs), len(outputs))
    count = math.prod(shape) + len(pairs) * len(outputs)
    rows, most = lil_matrix((len(pairs) * (len(outputs) + 1), count)), np.zeros(len(pairs) * (len(outputs) + 1))
    total, gain = lil_matrix((len(inputs), count)), np.zeros(count)
    row = 0
    for number, (a, b) in enumerate(pairs):
        flaws = math.prod(shape) + number * len(outputs)
        for t in range(len(outputs)):
            rows[row, a * shape[1] + t], rows[row, b * shape[1] + t] = 1, -math.exp(epsilon)
            rows[row, flaws + t] = -1
            row += 1
        rows[row, flaws : flaws + len(outputs)] = 1
        most[row] = delta
        row += 1
    for a, coins in enumerate(inputs):
        total[a, a * shape[1] : (a + 1) * shape[1]] = 1
        for t, told in enumerate(outputs):
            right = sum(one == other for one, other in zip(coins, told, strict=True))
            gain[a * shape[1] + t] = -(right >= correct) / len(inputs)
    return -linprog(gain, rows.tocsr(), most, total.tocsr(), np.ones(len(inputs)), method="highs").fun


@pytest.mark.parametrize(("canaries", "guesses", "correct"), [(1, 1, 1), (2, 2, 1), (3, 3, 2), (3, 2, 2), (3, 3, 3)])
def test_the_best_mechanism_is_as_good_as_the_best_without_symmetry(canaries, guesses, correct):
    for epsilon, delta in ((0.0, 0.02), (0.7, 0.01), (2.0, 0.001)):
        best = best_mechanism(canaries, guesses, correct, [(epsilon, delta)])
        assert best == pytest.approx(best_of_all_mechanisms(canaries, guesses, correct, epsilon, delta), abs=1e-9)


@pytest.mark.parametrize(
    ("canaries", "guesses", "level", "epsilon", "delta"),
    [
        (100, 100, 0.05, 1.0, 1e-5),
        (100, 100, 0.05, 1.0, 1e-3),
        (60, 60, 0.05, 0.5, 1e-2),
        (200, 50, 0.05, 2.0, 1e-3),
        (80, 40, 0.5, 1.0, 1e-3),
        (20, 20, 0.3, 2.0, 1e-3),
        (30, 30, 0.01, 0.0, 1e-3),
    ],
)
def test_no_private_mechanism_at_all_makes_the_bound_exceed_the_truth_too_often(
    canaries, guesses, level, epsilon, delta
):
    bounds = table(Method.ONE_RUN, canaries, guesses, level=level, delta=delta)
    assert bounds[-1] > epsilon  # there is something to exceed with
    threshold = int(np.argmax(bounds > epsilon))
    assert best_mechanism(canaries, guesses, threshold, [(epsilon, delta)]) <= level


def test_without_allowing_for_delta_some_private_mechanism_exceeds_the_truth_too_often():
    # Control of the test above: it sees what it is there to see.
    threshold = int(np.argmax(table(Method.ONE_RUN, 60, 60, delta=0) > 0.5))
    assert best_mechanism(60, 60, threshold, [(0.5, 1e-2)]) > 0.07


def gained(guesses, epsilon, correct):
    """What the best mechanism gains by a small δ, per δ·m/r: by a larger δ it gains less than in proportion.

    Without δ the best is randomised response, of which each number of wrong guesses is e^ε times as likely as the next,
    output by output. A flaw between two numbers makes all that are right more often than that likelier by one factor.
    """
    law = tails.binomial_law(guesses, 1 / (1 + math.exp(-epsilon)))
    above, below = np.cumsum(law[::-1])[::-1], np.append(0.0, np.cumsum(law)[:-1])  # P[W ≥ w], P[W < w]
    w = np.flatnonzero(law > 1e-250)[1:]
    raised = np.where(w >= correct, above[w] * below[correct], below[w] * above[correct])
    return np.max(raised * guesses / (w * law[w]))


@pytest.mark.parametrize("guesses", [1, 2, 5, 12, 30, 1000, 10**5])
def test_the_theorem_holds_where_it_is_used_and_twice_over(guesses):
    shares = []
    for epsilon in (0.0, 0.5, 2.0, 8.0):
        q = 1 / (1 + math.exp(-epsilon))
        counts = {math.ceil(stats.binom.isf(luck, guesses, q)) + 1 for luck in (0.5, 0.3, 0.1, 0.05, 1e-3, 1e-9)}
        for correct in counts & set(range(1, guesses + 1)):
            guessed = Guessed(canaries=guesses, guesses=guesses, correct=correct)
            allowed, luck = (empirical._chance(guessed, epsilon, delta) for delta in (0.1 / guesses, 0.0))
            shares.append(gained(guesses, epsilon, correct) * 0.1 / guesses / (allowed - luck))
            if guesses <= 30:
                best = [
                    best_mechanism(guesses, guesses, correct, [(epsilon, share / guesses)]) for share in (1e-4, 0.1)
                ]
                gains = [(chance - luck) * guesses / share for chance, share in zip(best, (1e-4, 0.1), strict=True)]
                assert gains[0] == pytest.approx(gained(guesses, epsilon, correct), rel=0.01)
                assert gains[1] <= gains[0] * (1 + 1e-6)
    assert 0.3 < max(shares) < 0.5 + 1e-9


def test_the_theorem_fails_for_few_right_guesses_as_documented():
    epsilon, delta = 2.0, 0.001
    q = 1 / (1 + math.exp(-epsilon))
    best = best_mechanism(2, 2, 1, [(epsilon, delta)])
    assert close(1 - best, (1 - q) ** 2 * (1 - (2 + math.exp(epsilon)) * delta), 1e-6)
    assert best > empirical._chance(Guessed(canaries=2, guesses=2, correct=1), epsilon, delta) + 7e-5


@pytest.mark.parametrize(("canaries", "guesses", "level"), [(40, 40, 0.05), (80, 40, 0.05), (20, 20, 0.2)])
def test_no_mechanism_contradicts_a_curve_that_it_has_too_often(canaries, guesses, level):
    pairs = [(epsilon, math.exp(empirical._log_delta(1.0, epsilon))) for epsilon in (0.0, 0.5, 1.0, 2.0, 4.0)]
    numbers = {"canaries": canaries, "guesses": guesses, "level": level}
    curve = [(delta, epsilon) for epsilon, delta in pairs]
    against = [contradicts_curve(correct=v, curve=curve, **numbers) for v in range(guesses + 1)]
    threshold = against.index(True)
    assert against == [v >= threshold for v in range(guesses + 1)]
    best = best_mechanism(canaries, guesses, threshold, pairs)
    assert level / 20 < best <= level
    # The true curve says more than five of its points.
    mu = next(v for v in range(guesses + 1) if f_dp_epsilon(correct=v, **numbers) > gdp_epsilon(1.0, 1e-5))
    assert threshold - 2 <= mu <= threshold


def test_a_curve_of_one_point_is_a_claim_of_one_epsilon():
    # Two ways to test one claim: neither is always the sharper, and they are never far apart.
    for correct in (80, 90, 99):
        numbers = {"canaries": 1000, "guesses": 100, "correct": correct}
        bound = one_run_epsilon(**numbers)
        assert contradicts_curve(curve=[(1e-5, 0.97 * bound)], **numbers)
        assert not contradicts_curve(curve=[(1e-5, 1.03 * bound)], **numbers)


def test_an_empty_or_infinite_claim_is_not_contradicted():
    for curve in ((), [(1e-5, math.inf)], [(1e-5, 701.0)]):
        assert not contradicts_curve(canaries=100, guesses=100, correct=100, curve=curve)
    assert contradicts_curve(canaries=100, guesses=100, correct=100, curve=[(1e-5, math.inf), (1e-5, 1.0)])


def too_often(runs, level):
    """From how many on, exceedances are a false alarm of less than NEVER."""
    return int(stats.binom.isf(NEVER, runs, level)) + 1


def responses(random, canaries, epsilon):
    """Randomised response to each canary; noise far below it breaks ties."""
    included = random.random(canaries) < 0.5
    truth = random.random(canaries) < 1 / (1 + math.exp(-epsilon))
    return (included == truth) + random.random(canaries) / 2, included


@pytest.mark.parametrize(("canaries", "guesses"), [(200, 200), (400, 100)])
def test_randomised_response_exceeds_its_epsilon_as_rarely_as_stated(canaries, guesses):
    # A false alarm in 10^9 fresh runs of this test.
    random, runs, epsilon = np.random.default_rng(1), 2000, 1.0
    bounds = table(Method.ONE_RUN, canaries, guesses)
    right = [guess(*responses(random, canaries, epsilon), guesses=guesses).correct for _ in range(runs)]
    found = bounds[right]
    assert np.count_nonzero(found > epsilon) < too_often(runs, 0.05)
    assert np.median(found) > 0.4  # and yet it finds a good part
    # Control: what leaks 2 but claims 1 is found out.
    right = [guess(*responses(random, canaries, 2.0), guesses=guesses).correct for _ in range(100)]
    assert np.count_nonzero(bounds[right] > epsilon) > 80


def noisy(random, canaries, mu):
    """What a Gaussian mechanism releases of canaries that do not overlap: each, or nothing, and noise."""
    included = random.random(canaries) < 0.5
    return included + random.normal(size=canaries) / mu, included


@EITHER
def test_a_gaussian_mechanism_exceeds_its_epsilon_as_rarely_as_stated(method):
    # A false alarm in 10^9 fresh runs of this test.
    random, runs, mu = np.random.default_rng(2), 2000, 1.0
    bounds = table(method, 1000, 100)
    right = [guess(*noisy(random, 1000, mu), guesses=100).correct for _ in range(runs)]
    truth = gdp_epsilon(mu, 1e-5)
    assert np.count_nonzero(bounds[right] > truth) < too_often(runs, 0.05)
    assert np.median(bounds[right]) > (0.3 if method is Method.ONE_RUN else 0.55) * truth


@EITHER
def test_missing_noise_is_found_out_and_present_noise_is_not(method):
    # End to end at 95 %, with the control that must find something: the same, without noise.
    random, claimed = np.random.default_rng(3), gdp_epsilon(1.0, 1e-5)
    bound = bound_of(method)
    for mu, exceeds in ((1.0, False), (1e9, True)):
        guessed = guess(*noisy(random, 5000, mu), guesses=500)
        found = bound(canaries=5000, guesses=500, correct=guessed.correct)
        assert (found > claimed) == exceeds
    assert guessed.correct == 500
    assert found == largest_epsilon(canaries=5000, guesses=500, method=method)


def test_f_dp_bounds_nothing_but_what_is_gaussian():
    q = 1 / (1 + math.exp(-1))
    assert f_dp_epsilon(canaries=10000, guesses=10000, correct=round(q * 10000)) > 1.6


def test_scores_without_any_signal_show_nothing():
    # ε > 0 would be an alarm of either bound, which happens in fewer than 5 % of fresh runs; the stream is fixed.
    random = np.random.default_rng(4)
    guessed = guess(random.normal(size=2000), random.random(2000) < 0.5, guesses=400)
    numbers = {"canaries": 2000, "guesses": 400, "correct": guessed.correct}
    assert one_run_epsilon(**numbers) == f_dp_epsilon(**numbers) == 0


# --- Guessing --------------------------------------------------------------------------------------------------------


def test_guesses_are_made_at_both_ends():
    scores = [0.9, -3.0, 0.1, 2.0, 0.2, -1.0]
    included = np.array([True, True, False, True, False, False])
    assert guess(scores, included, guesses=2) == Guessed(canaries=6, guesses=2, correct=1)  # 2.0 is in, −3.0 too
    assert guess(scores, included, guesses=4) == Guessed(canaries=6, guesses=4, correct=3)
    assert guess(scores, included, guesses=6) == Guessed(canaries=6, guesses=6, correct=4)
    assert guess([-math.inf, math.inf], np.array([False, True]), guesses=2).correct == 2


def test_ties_are_guessed_wrong_whatever_their_order():
    random = np.random.default_rng(5)
    for _ in range(60):
        count = int(random.integers(2, 7))
        scores, included = random.integers(0, 3, count), random.random(count) < 0.5
        for guesses in range(2, count + 1, 2):
            orders = [list(order) for order in itertools.permutations(range(count))]
            counts = {guess(scores[order], included[order], guesses=guesses).correct for order in orders[:24]}
            rising = [order for order in orders if all(np.diff(scores[order]) >= 0)]
            half = guesses // 2
            worst = min(
                np.count_nonzero(~included[order][:half]) + np.count_nonzero(included[order][count - half :])
                for order in rising
            )
            assert counts == {worst}


def test_one_score_for_all_says_nothing_though_canaries_are_listed_in_order():
    assert guess(np.zeros(100), np.arange(100) < 50, guesses=100).correct == 0
    assert guess(np.zeros(100), np.arange(100) >= 50, guesses=40).correct == 0


@EITHER
def test_the_best_of_several_is_paid_for(method):
    scores, included = noisy(np.random.default_rng(6), 1000, 2.0)
    bound, guessed = best_of(scores, included, guesses=(50, 100, 400), level=0.06, method=method)
    each = {}
    for guesses in (50, 100, 400):
        correct = guess(scores, included, guesses=guesses).correct
        each[guesses] = bound_of(method)(canaries=1000, guesses=guesses, correct=correct, level=0.02)
    assert bound == max(each.values()) == each[guessed.guesses]
    assert len(set(each.values())) == 3


# --- Trials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "level", "delta", "plain"),
    [
        # From `CanaryScoreAuditor.epsilon_clopper_pearson` of JAX Privacy 2.0.0, two-sided, at a given threshold. Its
        # `epsilon_from_gdp` is no oracle: it takes |μ| of two upper limits, and finds ε = 4.7 in 50 scores of noise.
        ((0, 1000, 0, 1000), 0.05, 1e-5, 5.6005774942916355),
        ((5, 1000, 200, 1000), 0.05, 1e-5, 4.1978105798763705),
        ((20, 500, 3, 400), 0.01, 1e-6, 3.534825288961417),
        ((100, 200, 100, 200), 0.05, 1e-5, 0.0),
    ],
)
def test_trials_agree_with_another_implementation(rates, level, delta, plain):
    keys = ("false_positives", "negatives", "false_negatives", "positives")
    assert trials_epsilon(**dict(zip(keys, rates, strict=True)), level=level, delta=delta) == pytest.approx(plain)
    swapped = dict(zip(keys, (*rates[2:], *rates[:2]), strict=True))
    assert trials_epsilon(**swapped, level=level, delta=delta) == pytest.approx(plain)


def test_trials_are_what_their_confidence_limits_say():
    rates = {"false_positives": 2, "negatives": 300, "false_negatives": 40, "positives": 200}
    fpr, fnr = stats.beta.isf(0.025, 3, 298), stats.beta.isf(0.025, 41, 160)
    delta = 1e-3
    assert close(trials_epsilon(**rates, delta=delta), math.log((1 - fnr - delta) / fpr))
    assert close(trials_epsilon(**rates, delta=0), math.log((1 - fnr) / fpr))
    mu = stats.norm.isf(fpr) - stats.norm.ppf(fnr)
    assert close(gdp_trials_epsilon(**rates, delta=delta), gdp_epsilon(mu, delta))


def test_rates_that_show_nothing():
    for rates in ((10, 10, 10, 10), (0, 1, 1, 1), (50, 100, 50, 100), (90, 100, 90, 100)):
        keys = dict(zip(("false_positives", "negatives", "false_negatives", "positives"), rates, strict=True))
        assert trials_epsilon(**keys) == gdp_trials_epsilon(**keys) == 0


def test_trials_of_a_gaussian_mechanism_exceed_its_epsilon_as_rarely_as_stated():
    # By the chance of each pair of counts but the unlikeliest: 50 runs of each kind, told apart at a threshold.
    mu, runs, threshold = 1.0, 50, 1.5
    truth = gdp_epsilon(mu, 1e-5)
    fpr, fnr = stats.norm.sf(threshold), stats.norm.cdf(threshold - mu)
    positives, negatives = (stats.binom.pmf(np.arange(runs + 1), runs, rate) for rate in (fpr, fnr))
    for bound, least in ((trials_epsilon, 0.0), (gdp_trials_epsilon, 1e-4)):
        chance = 0.0
        for wrong, miss in itertools.product(np.flatnonzero(positives > 1e-5), np.flatnonzero(negatives > 1e-5)):
            rates = {"false_positives": wrong, "negatives": runs, "false_negatives": miss, "positives": runs}
            chance += positives[wrong] * negatives[miss] * (bound(**rates) > truth)
        assert least <= chance <= 0.05


# --- One shot --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_one_shot_finds_the_gaussian_mechanism_that_it_assumes(noise):
    # Off by 4.5 standard errors in one of 10^5 fresh runs.
    random, dimension, canaries = np.random.default_rng(7), 8000, 1000
    directions = random.normal(size=(canaries, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    release = directions.sum(axis=0) + noise * random.normal(size=dimension)
    found = one_shot_estimate(directions @ release / np.linalg.norm(release), dimension=dimension)
    hidden = math.sqrt(1 + canaries / (dimension * noise**2))
    assert abs(found.mu - 1 / noise / hidden) < 4.5 * found.standard_error
    assert found.standard_error == pytest.approx(1 / math.sqrt(canaries), rel=0.1)
    assert found.spread == pytest.approx(1, abs=0.1)
    assert found.canaries == canaries
    assert found.epsilon == gdp_epsilon(found.mu, 1e-5)


def test_one_shot_is_the_shift_alone():
    steps = np.linspace(-1, 1, 1001)
    found = [one_shot_estimate(0.02 + width * steps, dimension=10000) for width in (0.001, 0.1)]
    assert [one.mu for one in found] == pytest.approx([2, 2])
    assert found[0].epsilon == pytest.approx(found[1].epsilon)
    assert found[1].standard_error == pytest.approx(100 * found[0].standard_error)
    assert found[1].spread == pytest.approx(100 * 0.1 * np.std(steps, ddof=1))
    assert one_shot_estimate(-0.02 + 0.01 * steps, dimension=10000).mu == 0


# --- Gaussian differential privacy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 5.0, 60.0, 1000.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 0.1])
def test_epsilon_of_gaussian_differential_privacy_solves_its_equation(mu, delta):
    epsilon = gdp_epsilon(mu, delta)
    if epsilon == 0:
        assert 2 * stats.norm.cdf(mu / 2) - 1 <= delta
        return
    above, below = (stats.norm.logcdf(sign * mu / 2 - epsilon / mu) for sign in (1, -1))
    assert close(math.exp(above) * -math.expm1(epsilon + below - above), delta, 1e-6)
    assert close(gdp_mu(epsilon, delta), mu, 1e-9)


def test_epsilon_of_gaussian_differential_privacy_is_the_accountants():
    # Two implementations of one formula: privfl.dp's is checked against dp-accounting.
    from privfl.dp.accountants.pld import _NormalLoss

    for mu, delta in itertools.product((0.1, 1.0, 7.0, 40.0), (1e-12, 1e-5, 0.01)):
        assert gdp_epsilon(mu, delta) == pytest.approx(_NormalLoss(mu).epsilon(delta), rel=1e-9)


def test_epsilon_of_gaussian_differential_privacy_at_its_ends():
    assert gdp_epsilon(0, 1e-5) == gdp_epsilon(1e-6, 1e-5) == 0
    assert gdp_epsilon(1e6, 1e-5) > 5e11
    assert gdp_mu(0, 1e-5) == pytest.approx(1e-5 * math.sqrt(2 * math.pi), rel=1e-6)  # 2·Φ(μ/2) − 1 = δ


# --- Power -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("canaries", "guesses", "claimed"), [(1000, 100, 1.0), (200, 200, 0.0), (500, 300, 3.0)])
def test_what_is_detectable_is_detected_as_often_as_stated(canaries, guesses, claimed):
    truth = detectable_epsilon(canaries=canaries, guesses=guesses, claimed=claimed)
    bounds = table(Method.ONE_RUN, canaries, guesses)
    counts = np.arange(guesses + 1)

    def chance(epsilon):
        return stats.binom.pmf(counts, guesses, 1 / (1 + math.exp(-epsilon))) @ (bounds > claimed)

    assert truth > claimed
    assert chance(truth) >= 0.9 - 1e-12
    assert chance(truth - 1e-6) < 0.9
    stricter = detectable_epsilon(canaries=canaries, guesses=guesses, claimed=claimed, power=0.99)
    assert chance(stricter) == pytest.approx(0.99)


@EITHER
def test_a_gaussian_mechanism_is_detected_about_as_often_as_stated(method):
    # Of 500 runs, 90 % ± 2.7 % (2 standard deviations); guesses are not quite independent.
    truth = detectable_epsilon(canaries=1000, guesses=100, claimed=1.5, method=method, gaussian=True)
    assert truth > 1.5
    bounds, random = table(method, 1000, 100), np.random.default_rng(8)
    mu = gdp_mu(truth, 1e-5)
    found = [bounds[guess(*noisy(random, 1000, mu), guesses=100).correct] > 1.5 for _ in range(500)]
    assert 0.86 < np.mean(found) < 0.96
    if method is Method.ONE_RUN:
        assert truth > detectable_epsilon(canaries=1000, guesses=100, claimed=1.5)


@EITHER
def test_what_no_guesses_could_contradict_is_not_detectable(method):
    most = largest_epsilon(canaries=1000, guesses=100, method=method)
    numbers = {"canaries": 1000, "guesses": 100, "method": method}
    assert detectable_epsilon(claimed=most * 0.999, **numbers) > most
    assert detectable_epsilon(claimed=most * 1.001, **numbers) is None
    assert detectable_epsilon(claimed=math.inf, **numbers) is None


# --- What is refused -------------------------------------------------------------------------------------------------

RUN = {"canaries": 10, "guesses": 6, "correct": 5}
RATES = {"false_positives": 1, "negatives": 10, "false_negatives": 1, "positives": 10}
COINS = np.arange(10) % 2 == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"canaries": 5}, "guesses"),
        ({"guesses": 0, "correct": 0}, "guesses"),
        ({"guesses": 6.0}, "guesses"),
        ({"canaries": 0}, "canaries"),
        ({"correct": 7}, "correct"),
        ({"correct": -1}, "correct"),
        ({"correct": "5"}, "correct"),
        ({"level": 0}, "level"),
        ({"level": 0.51}, "level"),
        ({"level": math.nan}, "level"),
        ({"delta": -1e-9}, "delta"),
        ({"delta": 1}, "delta"),
        ({"delta": math.nan}, "delta"),
    ],
)
def test_numbers_that_make_no_run_are_refused_by_name(change, named):
    for bound in (one_run_epsilon, f_dp_epsilon):
        with pytest.raises(ConfigurationError, match=f"^{named} is"):
            bound(**RUN | change)


@pytest.mark.parametrize(
    ("refused", "named"),
    [
        (lambda: f_dp_epsilon(**RUN, delta=0), "delta"),
        (lambda: contradicts_curve(**RUN, curve=[(1e-5, -1.0)]), "epsilon"),
        (lambda: contradicts_curve(**RUN, curve=[(1e-5, math.nan)]), "epsilon"),
        (lambda: contradicts_curve(**RUN, curve=[(-1e-5, 1.0)]), "delta"),
        (lambda: contradicts_curve(**RUN, curve=(), level=0.6), "level"),
        (lambda: trials_epsilon(**RATES | {"false_positives": 11}), "hits"),
        (lambda: trials_epsilon(**RATES | {"positives": 0, "false_negatives": 0}), "trials"),
        (lambda: trials_epsilon(**RATES, level=1), "level"),
        (lambda: trials_epsilon(**RATES, delta=-1), "delta"),
        (lambda: gdp_trials_epsilon(**RATES, delta=0), "delta"),
        (lambda: one_shot_estimate(np.zeros(999), dimension=10**6), "scores"),
        (lambda: one_shot_estimate(np.zeros(1000), dimension=999), "scores"),
        (lambda: one_shot_estimate(np.zeros((1000, 2)), dimension=10**6), "scores"),
        (lambda: one_shot_estimate(np.full(1000, 1.5), dimension=10**6), "scores"),
        (lambda: one_shot_estimate(np.full(1000, np.nan), dimension=10**6), "scores"),
        (lambda: one_shot_estimate(np.zeros(1000), dimension=10**6, delta=0), "delta"),
        (lambda: guess(np.zeros(10), COINS, guesses=3), "guesses"),
        (lambda: guess(np.zeros(10), COINS, guesses=0), "guesses"),
        (lambda: guess(np.zeros(10), COINS, guesses=12), "guesses"),
        (lambda: guess(np.zeros(9), COINS, guesses=2), "scores"),
        (lambda: guess(np.full(10, np.nan), COINS, guesses=2), "scores"),
        (lambda: guess(np.zeros(10), COINS.astype(int), guesses=2), "scores"),
        (lambda: best_of(np.zeros(10), COINS, guesses=()), "guesses"),
        (lambda: detectable_epsilon(canaries=10, guesses=10, claimed=-1), "claimed"),
        (lambda: detectable_epsilon(canaries=10, guesses=10, claimed=1, power=0.05), "power"),
        (lambda: detectable_epsilon(canaries=10, guesses=10, claimed=1, power=1), "power"),
        (lambda: gdp_epsilon(-1, 1e-5), "mu"),
        (lambda: gdp_epsilon(math.inf, 1e-5), "mu"),
        (lambda: gdp_epsilon(1, 0), "delta"),
        (lambda: gdp_mu(math.nan, 1e-5), "epsilon"),
        (lambda: tails.chi_square_lower(1, 0), "degrees"),
        (lambda: tails.chi_square_upper(math.nan, 1), "x"),
        (lambda: tails.chi_square_upper(1, 1.5), "degrees"),
        (lambda: tails.normal_cdf(math.nan), "x"),
        (lambda: tails.normal_quantile(1.1), "p"),
        (lambda: tails.binomial_upper(1, -1, 0.5), "trials"),
        (lambda: tails.binomial_lower(0.5, 1, 0.5), "hits"),
        (lambda: tails.binomial_law(1, math.nan), "p"),
        (lambda: tails.clopper_pearson_lower(0, 0, 0.5), "trials"),
        (lambda: tails.clopper_pearson_upper(0, 1, 0), "level"),
    ],
)
def test_what_is_refused_is_named(refused, named):
    with pytest.raises(ConfigurationError, match=f"^{named} (is|have|has|and)"):
        refused()
