"""What `ckks` shows looks as it must: floods, shares, answers and ciphertexts against their exact distributions.

Every test runs on fresh entropy and fails wrongly with a probability below 10^−9: it collects p-values, and compares
the smallest, times their number, with that rate. P-values of chi-square tests are asymptotic; bins expect 90 draws or
more. Each kind of test is shown to fail where something is amiss.
"""

import math
import signal
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from ckks_attack import difference, hold_session, joint_secret, whole_numbers
from scipy import stats

from privfl.ckks import planner, sharing
from privfl.ckks.answer import _mask_streams, answer, opening_id
from privfl.ckks.flood import NARROW_STD, Flood
from privfl.ckks.modulus import modulus, reduce, times
from privfl.ckks.planner import flood_of, modulus_of
from privfl.ckks.rehearsal import hold_ceremony
from privfl.ckks.seal import seal_ring
from privfl.params import CommitteeShape, KeyEpoch
from privfl.primitives.entropy import OsEntropy

FALSE_ALARM = 1e-9
ENTROPY = OsEntropy()
EPOCH = KeyEpoch(
    degree=4096, modulus_bits=36, committee=CommitteeShape(), clients=10, length=1 << 20, statistical_bits=50
)
MODULUS = modulus_of(EPOCH)
T = (0, 1, 2)
OPENINGS = 48
"""All that there can be under a key: n − t + 1 = 3 members, each of whom helps 16 times, one in each."""


@pytest.fixture(scope="module")
def committee():
    return hold_ceremony(EPOCH)


def doubt(p_values):
    """The probability that the smallest of so many p-values is no larger, at most."""
    p_values = list(p_values)
    return min(1.0, min(p_values) * len(p_values))


def sound(p_values):
    return doubt(p_values) > FALSE_ALARM


def even(counts):
    """P-value of counts that are to be the same in each bin."""
    return stats.chisquare(np.ravel(counts)).pvalue


def normal(deviations):
    """Two-sided p-values of standard normal numbers."""
    return 2 * stats.norm.sf(np.abs(np.ravel(deviations)))


def correlation(one, other):
    """P-value of independence, by the correlation coefficient of long vectors."""
    return normal(np.corrcoef(one.astype(float), other.astype(float))[0, 1] * math.sqrt(len(one)))[0]


def rows_of(residues):
    """Residues modulo both primes, and with them the upper digit of the number x = r₁ + q₁·t modulo Q.

    A flood alone, far wider than either prime, is uniform modulo each of them, and not modulo Q.
    """
    first, second = MODULUS.primes
    upper = times(reduce(residues[1] - residues[0], second), pow(first, -1, second), second)
    return zip((*residues, upper), (*MODULUS.primes, second), strict=True)


def uniformity(residues):
    """16 p-values of residues, shape (2, m), being uniform modulo Q: high bits, low bits, neighbours, both digits."""
    (first, prime), (second, _), (upper, other) = rows_of(residues)
    for row, q in ((first, prime), (second, other), (upper, other)):
        high, low = row * 64 // q, row & 63
        for numbers in (high, low):
            yield even(np.bincount(numbers, minlength=64))
            yield even(np.bincount(numbers[:-1:2] // 4 * 16 + numbers[1::2] // 4, minlength=256))
        yield correlation(row[:-1], row[1:])
    yield even(np.bincount(first * 16 // prime * 16 + upper * 16 // other, minlength=256))


def joint(one, other):
    """18 p-values of two vectors of residues being uniform together: 4 high or low bits of each, sum and difference."""
    for (a, q), (b, _) in zip(rows_of(one), rows_of(other), strict=True):
        for x, y in ((a * 16 // q, b * 16 // q), (a & 15, b & 15), (a * 16 // q, b & 15)):
            yield even(np.bincount(x * 16 + y, minlength=256))
        yield correlation(a, b)
    total = one.copy()
    MODULUS.add(total, other)
    for combined in (total, difference(MODULUS, one, other)):
        for row, q in rows_of(combined):
            yield even(np.bincount(row * 64 // q, minlength=64))


def alike(one, other):
    """6 p-values of two vectors of residues having the same distribution."""
    for (a, q), (b, _) in zip(rows_of(one), rows_of(other), strict=True):
        for x, y in ((a * 64 // q, b * 64 // q), (a & 63, b & 63)):
            counts = np.stack([np.bincount(x, minlength=64), np.bincount(y, minlength=64)])
            yield stats.chi2_contingency(counts[:, counts.any(axis=0)]).pvalue


def test_what_is_not_uniform_is_called_so():
    """Negative control: a 64th of all residues missing, low bits that repeat, and neighbours that are equal."""
    chance = np.random.default_rng(5)
    flat = np.stack([chance.integers(0, prime, 1 << 16) for prime in MODULUS.primes])
    assert sound(uniformity(flat))
    assert not sound(uniformity(flat - flat // 64))
    assert not sound(uniformity(flat & ~1))
    assert not sound(uniformity(np.repeat(flat[:, ::2], 2, axis=1)))
    assert not sound(joint(flat, flat))
    assert not sound(alike(flat, flat // 2))


# Floods


COUNT = 1 << 17  # two batches
WIDE = modulus(8192, 48)
SMALL = (3, 5, 7, 9, 16, 27, 81, 144, 400)
FLOODS = pytest.mark.parametrize(
    "flood",
    [Flood.at_least(2.0**bits) for bits in (12, 30, 44.5, 57)] + [flood_of(EPOCH)],
    ids=["2^12", "2^30", "2^44.5", "2^57, beyond 64-bit words", "as planned"],
)


def drawn(flood, count=COUNT):
    return whole_numbers(WIDE, flood.residues(WIDE, count, ENTROPY))


def law(numbers, std):
    """P-values of whole numbers following the discrete Gaussian law of a standard deviation far above 16.

    8 of them: mean, variance, up to 256 quantiles, the largest; correlations of neighbours and of both halves.
    """
    scaled, count = numbers / std, len(numbers)
    yield from normal([scaled.mean() * math.sqrt(count), ((scaled**2).mean() - 1) * math.sqrt(count / 2)])
    # Up to a number's upper half, the sum of e^(−x²/2F²) is the integral, to within e^(−2π²F²).
    bins = min(256, count // 256)
    edges = np.floor(stats.norm.ppf(np.arange(1, bins) / bins) * std) + 0.5
    expected = np.diff(stats.norm.cdf(edges / std), prepend=0, append=1) * count
    yield stats.chisquare(np.bincount(np.searchsorted(edges, numbers), minlength=bins), expected).pvalue
    yield -math.expm1(count * math.log1p(-2 * stats.norm.sf(np.abs(scaled).max())))
    for lag in (1, 2, 3):
        yield correlation(numbers[:-lag], numbers[lag:])
    yield correlation(numbers[: count // 2], numbers[count // 2 :])


def digits(numbers, std):
    """P-values of all bits below F/2 being balanced and pairwise uncorrelated, and small remainders uniform."""
    bits = range(int(math.log2(std)))
    signs = np.stack([1 - 2 * ((numbers >> bit) & 1) for bit in bits]).astype(np.float32)
    yield from normal(signs.sum(axis=1) / math.sqrt(len(numbers)))
    products = signs @ signs.T / math.sqrt(len(numbers))  # sums of ±1 below 2^24: exact
    yield from normal(products[np.triu_indices(len(bits), 1)])
    for small in (number for number in SMALL if number < min(std / 8, len(numbers) / 128)):
        yield even(np.bincount((numbers % small).astype(int), minlength=small))


@FLOODS
def test_floods_follow_the_discrete_gaussian_law(flood):
    """Of exactly the standard deviation that is stated; up to 8 p-values."""
    assert sound(law(drawn(flood), flood.std))


@FLOODS
def test_floods_have_no_bare_digits(flood):
    """Every low bit, every pair of them, remainders of 3 to 400: no trace of multiples of 9^i; up to 1,700 p-values."""
    assert sound(digits(drawn(flood), flood.std))


def test_a_narrow_flood_has_the_exact_probabilities():
    """Steps 1 and 9, standard deviation 181, each number from −400 to 400 against e^(−x²/2F²): one chi-square test."""
    flood = Flood((1, 9))
    numbers = drawn(flood, 1 << 19)
    values = np.arange(-2000, 2001)
    weights = np.exp(-(values.astype(float) ** 2) / (2 * flood.std**2))
    within = np.abs(values) <= 400
    expected = np.append(weights[within], weights[~within].sum()) / weights.sum() * len(numbers)
    near = np.abs(numbers) <= 400
    observed = np.append(np.bincount(numbers[near] + 400, minlength=801), (~near).sum())
    assert expected.min() > 90
    assert stats.chisquare(observed, expected).pvalue > FALSE_ALARM


STD = flood_of(EPOCH).std


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(lambda: drawn(Flood.at_least(STD / 2**25)) << 25, id="low half of the bits bare"),
        pytest.param(lambda: drawn(Flood.at_least(STD / 2)) << 1, id="lowest bit bare"),
        pytest.param(lambda: drawn(Flood(flood_of(EPOCH).steps[1:-1])), id="multiples of 9"),
        pytest.param(lambda: drawn(Flood((1, 9, 3**8))), id="a step of 81 left out"),
        pytest.param(lambda: drawn(Flood((1, 1 << 20, 1 << 40))), id="steps that leave gaps"),
        pytest.param(lambda: np.random.default_rng(6).normal(0, STD * 64, COUNT).astype(np.int64), id="of float64"),
    ],
)
def test_digits_of_faulty_floods_are_called_so(numbers):
    """Negative controls."""
    faulty = numbers()
    assert not sound(digits(faulty, faulty.std()))


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(lambda: drawn(flood_of(EPOCH)) * 31 // 32, id="3 % too narrow"),
        pytest.param(lambda: drawn(flood_of(EPOCH)) + int(STD / 16), id="not around zero"),
        pytest.param(lambda: np.tile(drawn(flood_of(EPOCH), COUNT // 2), 2), id="the same from batch to batch"),
        pytest.param(lambda: (np.random.default_rng(7).uniform(-1, 1, COUNT) * STD * 3**0.5).astype(int), id="uniform"),
    ],
)
def test_floods_of_another_law_are_called_so(numbers):
    """Negative controls."""
    assert not sound(law(numbers(), STD))


ETA_SQUARED = math.log(2 * (1 + 2.0**128)) / (2 * math.pi**2)
"""Square of the smoothing parameter of ℤ for ε = 2^−128, as a standard deviation (Micciancio and Regev, 2007)."""


def test_the_smoothing_parameter_is_as_stated():
    assert 2.12 < math.sqrt(ETA_SQUARED) < 2.13
    assert NARROW_STD > 2.13


@contextmanager
def within(seconds):
    def stop(*_):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("sixteenth", range(16))
def test_steps_meet_the_convolution_theorem_for_every_width(sixteenth):
    """From 2^10 to 2^80, with 2.13 for η: σ > η, and 1/σ² + 1/(20·τ)² ≤ 1/(η·τ)² for each step τ over what is below."""
    for bits in range(10, 80):
        wanted = 2.0 ** (bits + sixteenth / 16)
        with within(1):
            flood = Flood.at_least(wanted)
        below = NARROW_STD**2
        assert flood.steps[0] == 1
        for step in flood.steps[1:]:
            assert 1 / below + 1 / (NARROW_STD * step) ** 2 <= 1 / (2.13 * step) ** 2
            below += (NARROW_STD * step) ** 2
        assert math.isclose(flood.std, math.sqrt(below), rel_tol=1e-12)
        # As wide as asked for, and no wider than the last step makes it.
        assert wanted <= flood.std * (1 + 1e-12)
        *others, last = flood.steps
        narrower = NARROW_STD * math.sqrt(sum(step**2 for step in others) + (last - 1) ** 2)
        assert narrower < wanted * (1 + 1e-12)


def test_what_is_cut_off_a_narrow_draw_weighs_less_than_the_theorems_error():
    """Beyond 272 = 13.6 deviations: less than 2^−128 (Mills' bound)."""
    x = 272.5 / NARROW_STD
    assert 2 * math.exp(-(x**2) / 2) / (x * math.sqrt(2 * math.pi)) < 2.0**-128


def test_a_planned_flood_is_as_wide_as_the_paper_asks():
    """√(24·m·Q)·2^(s/2)·E, with m·Q over all openings that n − t + 1 members' budgets allow, and the test's."""
    errors = 3.2 * math.sqrt(EPOCH.clients * (1 + EPOCH.degree * EPOCH.committee.members * 4 / 3))
    least = math.sqrt(24 * (EPOCH.length * OPENINGS + EPOCH.degree)) * 2**25 * errors
    assert least <= STD <= 1.1001 * least


# Answers


LENGTH = 1 << 16  # sixteen polynomials


def shares_to_try(member):
    """A member's true share, nothing, and all coefficients −1."""
    top = np.array(MODULUS.primes)[:, None] - 1
    yield member.share
    yield np.zeros_like(member.share)
    yield np.broadcast_to(top, member.share.shape).astype(np.int64)


def one_everywhere():
    """The polynomial 1 in every place: of such a c₁, an answer that is not hidden shows the share itself."""
    common = np.zeros((2, LENGTH), np.int64)
    common[:, :: EPOCH.degree] = 1
    return common


def answers_of(committee, numbers, *, common=None, share=None):
    """Answers of some of T under one opening, with other shares than their own if given."""
    common = one_everywhere() if common is None else common
    opening = opening_id(ENTROPY.token_bytes(32), MODULUS.packed(common), T)
    for number in numbers:
        member = committee.members[number]
        key = member if share is None else replace(member, share=share)
        yield answer(key, common, opening=opening, members=T, length=common.shape[1], entropy=ENTROPY)


def test_single_answers_are_uniform_whatever_the_share(committee):
    """All three members of T, three shares each, and each two shares compared; 198 p-values."""
    p_values = []
    for number in T:
        told = [
            next(answers_of(committee, [number], share=share)) for share in shares_to_try(committee.members[number])
        ]
        for one in told:
            p_values += uniformity(one)
        for one, other in combinations(told, 2):
            p_values += alike(one, other)
    assert sound(p_values)


def test_answers_of_all_but_one_of_t_are_uniform_together(committee):
    """Each two of three members under one opening, sums and differences included; 108 p-values."""
    p_values = []
    for pair in combinations(T, 2):
        for share in (None, np.zeros_like(committee.members[0].share)):
            p_values += joint(*answers_of(committee, pair, share=share))
    assert sound(p_values)


def test_answers_of_all_of_t_are_not(committee):
    """Negative control: all masks cancel over T, and what is left is s·c₁ under three floods, here of s = 0."""
    zero = np.zeros_like(committee.members[0].share)
    first, second, third = answers_of(committee, T, share=zero)
    assert not sound(joint((first + second) % np.array(MODULUS.primes)[:, None], third))
    total = first.copy()
    for other in (second, third):
        MODULUS.add(total, other)
    floods = whole_numbers(MODULUS, total)
    assert sound(law(floods, STD * math.sqrt(3)))
    assert sound(digits(floods, STD))


def test_the_same_opening_and_member_in_another_session_has_other_masks(committee):
    """Two openings of one c₁: answers of one member are uniform together; 18 p-values."""
    (first,), (second,) = answers_of(committee, [1]), answers_of(committee, [1])
    assert sound(joint(first, second))


class Silent:
    """A stream of zeros."""

    def fill(self, out):
        out[:] = 0


def test_without_masks_answers_are_called_not_uniform(committee, monkeypatch):
    """Negative control, of the true share and of none: a single answer shows the share, or the flood."""
    monkeypatch.setattr("privfl.ckks.answer._mask_streams", lambda pair, opening: [Silent(), Silent()])
    for share in (None, np.zeros_like(committee.members[0].share)):
        (told,) = answers_of(committee, [1], share=share)
        assert not sound(uniformity(told))
        # The same polynomial at two places: their difference is that of two floods.
        twice = difference(MODULUS, told[:, EPOCH.degree :], told[:, : -EPOCH.degree])
        assert not sound(uniformity(twice))


def unmasked(committee, honest, told, opening):
    """Take off an answer the masks that all others of T know."""
    clear = told.copy()
    for peer in T:
        if peer != honest:
            streams = _mask_streams(committee.members[peer].pairs[honest], opening)
            mask = MODULUS.uniform(streams, told.shape[1])
            if peer < honest:
                MODULUS.negate(mask)
            MODULUS.add(clear, mask)
    return clear


def pooled(committee, seen, honest):
    """What t − 1 members and the server make out of the last one's answer: what the sum leaves under its one flood."""
    shown = MODULUS.packed(seen.common)
    opening, length = opening_id(seen.params.digest, shown, T), seen.own.shape[1]
    member = committee.members[honest]
    told = answer(member, seen.common, opening=opening, members=T, length=length, entropy=ENTROPY)
    total = unmasked(committee, honest, told, opening)
    MODULUS.add(total, seen.own)
    for number in T:
        if number != honest:
            factors = sharing.at_zero(MODULUS, number, T)
            share = sharing.scaled(MODULUS, committee.members[number].share, factors)
            MODULUS.add(total, seal_ring(MODULUS).multiply(seen.common[:, None], share)[:, 0])
    return whole_numbers(MODULUS, difference(MODULUS, total, seen.known))


def matched(left, errors):
    """How many deviations the errors show through what is left: as far as any linear test could tell, knowing them."""
    left, errors = left.astype(float), errors.astype(float)
    return left @ errors / (np.linalg.norm(errors) * left.std())


def test_to_all_others_together_an_answer_is_the_sum_under_one_flood(committee):
    """t − 1 members take off all masks and their own parts. Two keys, one plaintext: both leave a flood and no more.

    Beneath are the errors, which tell of the key. They do not show to a filter that is matched to them, which is given
    more than any attacker has: its signal is a 2^35th of its noise. About 5,000 p-values.
    """
    vectors = {number: np.full(EPOCH.degree, 7 * number - 3, np.int32) for number in range(3)}
    p_values, lefts = [], []
    for held in (committee, hold_ceremony(EPOCH)):
        seen = hold_session(held, vectors)
        errors = seen.errors(joint_secret(held))
        for honest in (0, 2):
            left = pooled(held, seen, honest)
            p_values += [*law(left, STD), *digits(left, STD)]
            p_values += [*normal(matched(left, errors))]
            lefts.append(left)
        # Over the whole budget, the signal's energy stays below 2^−s/24 of the flood's: what `flood` promises.
        energy = float(np.mean(errors.astype(float) ** 2)) / STD**2
        assert energy * (EPOCH.length * OPENINGS + EPOCH.degree) < 2**-EPOCH.statistical_bits / 24
    p_values += [stats.ks_2samp(one, other).pvalue for one, other in combinations(lefts, 2)]
    assert sound(p_values)


def test_errors_under_too_narrow_a_flood_show(committee, monkeypatch):
    """Negative control: the same filter, under a flood of four times the errors' width, which would hide each alone."""
    seen = hold_session(committee, {number: np.zeros(EPOCH.degree, np.int32) for number in range(3)})
    errors = seen.errors(joint_secret(committee))
    narrow = Flood.at_least(4 * errors.std())
    monkeypatch.setattr("privfl.ckks.answer.flood_of", lambda epoch: narrow)
    left = pooled(committee, seen, 0)
    assert left.std() < 6 * errors.std()
    assert not sound(normal(matched(left, errors)))


# Shares


HOLDERS = tuple(range(5))


def secrets_to_try():
    top = np.array(MODULUS.primes)[:, None] - 1
    yield np.zeros((2, LENGTH), np.int64)
    yield np.broadcast_to(top, (2, LENGTH)).astype(np.int64)


def test_fewer_shares_than_the_threshold_are_uniform_together_whatever_the_secret():
    """t = 3: all five shares, all ten pairs, of two secrets, and both compared; 550 p-values."""
    p_values, dealt = [], []
    for secret in secrets_to_try():
        shares = sharing.deal(MODULUS, secret, holders=HOLDERS, threshold=3, entropy=ENTROPY)
        dealt.append(shares)
        for share in shares:
            p_values += uniformity(share)
        for one, other in combinations(shares, 2):
            p_values += joint(one, other)
    for one, other in zip(*dealt, strict=True):
        p_values += alike(one, other)
    assert sound(p_values)


def test_any_t_shares_give_the_secret():
    for secret in secrets_to_try():
        shares = sharing.deal(MODULUS, secret, holders=HOLDERS, threshold=3, entropy=ENTROPY)
        for chosen in combinations(HOLDERS, 3):
            total = np.zeros_like(secret)
            for holder in chosen:
                MODULUS.add(total, sharing.scaled(MODULUS, shares[holder], sharing.at_zero(MODULUS, holder, chosen)))
            assert np.array_equal(total, secret)


def test_shares_of_too_low_a_threshold_are_called_so():
    """Negative control: two shares where two tell the secret."""
    (secret, _) = secrets_to_try()
    first, second, *_ = sharing.deal(MODULUS, secret, holders=HOLDERS, threshold=2, entropy=ENTROPY)
    assert sound([*uniformity(first), *uniformity(second)])
    assert not sound(joint(first, second))


# Ciphertexts


def encrypted(committee, value):
    def store(start, out):
        out[:] = np.uint32(value % 2**32)

    return committee.key.statement.joint_key.encrypt(store, length=LENGTH, scale_bits=50, entropy=ENTROPY)


def test_ciphertexts_are_uniform_whatever_the_vector(committee):
    """c₀ and c₁ modulo each prime, together, and the difference of two of one vector; 182 p-values."""
    p_values = []
    for value in (0, 1000, -1000):
        own, common = encrypted(committee, value)
        p_values += [*uniformity(own), *uniformity(common), *joint(own, common)]
    first, second = encrypted(committee, 1000), encrypted(committee, 1000)
    for one, other in zip(first, second, strict=True):
        p_values += uniformity(difference(MODULUS, one, other))
    assert sound(p_values)


def test_opened_ciphertexts_are_called_not_uniform(committee):
    """Negative control: with the key, a vector of zeros leaves its errors, of the width that is planned with."""
    own, common = encrypted(committee, 0)
    secret = joint_secret(committee)
    total = seal_ring(MODULUS).multiply(common.reshape(2, -1, EPOCH.degree), secret).reshape(2, -1)
    MODULUS.add(total, own)
    assert not sound(uniformity(total))
    ratio = whole_numbers(MODULUS, total).std() / planner.cipher_error_std(EPOCH.degree, 5, 1)
    assert 0.9 < ratio < planner.KEY_MARGIN
