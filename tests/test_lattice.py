"""What suites over rings share: products against whole numbers, and samplers against exact probabilities.

Probabilities are compared as fractions wherever the sampler can be enumerated; statistical tests run over fixed streams
and state the rate of false alarms that they would have over fresh ones.
"""

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from privfl.lattice.fourier import HIGHEST_DEGREE, Fourier, fourier
from privfl.primitives import sampling
from privfl.primitives.prg import Mask, Stream, apply_masks
from privfl.primitives.sampling import TERNARY, Distribution, Sampler, bisect, gaussian, sampler, stream_keys
from privfl.primitives.secret import Secret

# Products


CHANCE = np.random.default_rng(20_261_122)
DEGREES = pytest.mark.parametrize("degree", [64, 2048, 4096, 8192])


def negacyclic(first, second):
    """First · second modulo X^N + 1, by Kronecker substitution: one product of two long whole numbers.

    In paired order, int64; coefficients of the product are below 2^62.
    """
    degree = len(first)

    def value(paired):
        natural = np.concatenate([paired[0::2], paired[1::2]]).astype(np.int64)
        positive, negative = (np.maximum(sign * natural, 0).astype(np.uint64).tobytes() for sign in (1, -1))
        return int.from_bytes(positive, "little") - int.from_bytes(negative, "little")

    offset = np.full(2 * degree, 1 << 63, np.uint64)  # makes every digit positive
    raw = (value(first) * value(second) + int.from_bytes(offset.tobytes(), "little")).to_bytes(offset.nbytes, "little")
    digits = (np.frombuffer(raw, np.uint64) - offset).view(np.int64)
    reduced, paired = digits[:degree] - digits[degree:], np.empty(degree, np.int64)
    paired[0::2], paired[1::2] = np.split(reduced, 2)
    return paired


def multiply(ring, polynomials, factor):
    """Products as whole numbers, and the largest error that rounding took away."""
    points = np.empty((len(polynomials), ring.half), np.complex128)
    ring.transform(polynomials, points)
    points *= ring.spectrum(factor)
    numbers = ring.back(points)
    rounded = np.rint(numbers)
    return rounded.astype(np.int64), np.abs(numbers - rounded).max()


def norm_of(factor):
    return float(np.linalg.norm(factor.astype(np.float64)))


def limit(ring, norm):
    """The largest coefficient at which products are still exact."""
    largest = int(0.5 / ring.error_bound(1, norm)) + 2
    while not ring.exact(largest, norm):
        largest -= 1
    return largest


def uniform(count, degree, largest):
    return CHANCE.integers(-largest, largest, (count, degree), endpoint=True)


def factors(degree):
    """A ternary factor, a Gaussian one, a wide one, and all the same."""
    yield CHANCE.integers(-1, 1, degree, endpoint=True).astype(np.int8)
    yield np.rint(CHANCE.normal(0, 6.5, degree)).astype(np.int16)
    yield uniform(1, degree, 2**20)[0]
    yield np.full(degree, -3, np.int32)


def monomials(degree, coefficients):
    polynomial, half = np.zeros(degree, np.int64), degree // 2
    for power, coefficient in coefficients.items():
        polynomial[2 * power if power < half else 2 * (power - half) + 1] = coefficient
    return polynomial


@DEGREES
def test_the_oracle_and_the_transforms_multiply_as_the_ring_does(degree):
    """X^(N−1) · X² = −X, and (1 + X)(1 − X) = 1 − X², and 3X^(N/2) · 5X^(N/2) = −15, by hand."""
    cases = [
        ({degree - 1: 1}, {2: 1}, {1: -1}),
        ({0: 1, 1: 1}, {0: 1, 1: -1}, {0: 1, 2: -1}),
        ({degree // 2: 3}, {degree // 2: 5}, {0: -15}),
    ]
    for triple in cases:
        first, second, expected = (monomials(degree, coefficients) for coefficients in triple)
        assert np.array_equal(negacyclic(first, second), expected)
        assert np.array_equal(multiply(fourier(degree), first[np.newaxis], second)[0][0], expected)


@DEGREES
def test_products_are_exact_as_far_as_is_promised(degree):
    """Uniform polynomials as large as `exact` allows, and such with all coefficients at the limit and of one sign."""
    ring = fourier(degree)
    for factor in factors(degree):
        largest = limit(ring, norm_of(factor))
        same = np.full((1, degree), largest)
        polynomials = np.concatenate([uniform(2, degree, largest), same, -same, same * (-1) ** np.arange(degree)])
        products, _ = multiply(ring, polynomials, factor)
        for polynomial, found in zip(polynomials, products, strict=True):
            assert np.array_equal(found, negacyclic(polynomial, factor))


@DEGREES
def test_the_measured_error_keeps_far_from_the_bound(degree):
    ring = fourier(degree)
    for factor in factors(degree):
        norm = norm_of(factor)
        largest = limit(ring, norm)
        assert multiply(ring, uniform(32, degree, largest), factor)[1] < ring.error_bound(largest, norm) / 8


@DEGREES
def test_the_bound_is_the_theorems(degree):
    """To the first order in ε: ‖x‖·‖y‖·ε·(3n + √5·(3n + 4) + 3n + 3), and in proportion to either factor."""
    ring, n = fourier(degree), math.log2(degree) - 1
    relative = 2.0**-53 * (6 * n + 3 + math.sqrt(5) * (3 * n + 4))
    for largest, norm in ((1, 1.0), (2**31, 300.0), (12345, 2.0**20)):
        assert ring.error_bound(largest, norm) == pytest.approx(math.sqrt(degree) * largest * norm * relative, rel=1e-9)
    assert ring.error_bound(2**20, 100.0) == pytest.approx(ring.error_bound(2**10, 100.0 * 2**10))
    assert ring.error_bound(1, 1.0) < fourier(2 * degree).error_bound(1, 1.0)


@DEGREES
def test_exact_says_no_once_the_bound_reaches_a_half_or_numbers_reach_2_to_the_51(degree):
    ring, norm = fourier(degree), 100.0
    largest = limit(ring, norm)
    assert ring.error_bound(largest, norm) < 0.5 <= ring.error_bound(largest + 1, norm)
    assert not ring.exact(largest + 1, norm)
    assert not ring.exact(largest, norm * 1.001)
    assert largest * norm * math.sqrt(degree) < 2**51
    assert ring.exact(0, norm)


def test_longer_polynomials_leave_less_room():
    assert fourier(2048).exact(2**31, 333)
    assert not fourier(4096).exact(2**31, 333)
    assert fourier(4096).exact(2**30, 333)
    assert fourier(8192).exact(2**29, 333)


@pytest.mark.parametrize("word", [np.int8, np.int16, np.int32, np.int64])
def test_polynomials_of_every_word_are_read_and_left_alone(word):
    ring, factor = fourier(64), np.arange(-32, 32, dtype=word)
    polynomials = np.arange(-64, 64, dtype=word).reshape(2, 64)
    before = polynomials.copy(), factor.copy()
    products, _ = multiply(ring, polynomials, factor)
    assert np.array_equal(products[1], negacyclic(polynomials[1], factor))
    assert np.array_equal(polynomials, before[0])
    assert np.array_equal(factor, before[1])


def test_numbers_before_rounding_are_a_view_of_the_points():
    points = np.ones((3, 32), np.complex128)
    numbers = fourier(64).back(points)
    assert np.shares_memory(numbers, points)
    assert numbers.shape == (3, 64)


@pytest.mark.parametrize("degree", [-4, 0, 1, 3, 96, 2 * HIGHEST_DEGREE])
def test_other_degrees_are_refused(degree):
    with pytest.raises(ValueError, match="a power of two"):
        Fourier(degree)


def test_transforms_are_shared_and_cannot_be_changed():
    assert fourier(64) is fourier(64)
    for powers in (fourier(64)._twist, fourier(64)._untwist):
        with pytest.raises(ValueError, match="read-only"):
            powers[0] = 1


def test_twists_are_the_nearest_doubles():
    """Against the series of sine and cosine, to 60 digits: at the highest degree, of which lower ones are parts."""
    twist = fourier(HIGHEST_DEGREE)._twist
    with localcontext() as context:
        context.prec = 60
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
        for j in range(0, len(twist), 7):
            x = pi * j / HIGHEST_DEGREE
            terms = [Decimal(1)]
            for i in range(1, 48):
                terms.append(terms[-1] * x / i)
            cosine, sine = (sum((-1) ** (i // 2) * term for i, term in enumerate(terms) if i % 2 == k) for k in (0, 1))
            assert twist[j] == complex(float(cosine), float(sine))
    assert np.abs(twist - np.exp(1j * np.pi * np.arange(len(twist)) / HIGHEST_DEGREE)).max() < 4 * 2.0**-53
    for degree in (1 << i for i in range(1, HIGHEST_DEGREE.bit_length() - 1)):
        assert np.array_equal(fourier(degree)._twist, twist[:: HIGHEST_DEGREE // degree])


# Samplers


ONE = 1 << 144
KEYS = Secret(bytes(range(16))), Secret(bytes(range(16, 32)))
GAUSSIANS = {"6.5": 88, "3.2": 44, "20": 272}
DISTRIBUTIONS = {
    **{f"gaussian {std}": gaussian(std, tail) for std, tail in GAUSSIANS.items()},
    "ternary": TERNARY,
    # Values that are never drawn, steps at the ends of intervals, several in one, the first and the last included.
    "crowded": Distribution(
        -5, (0, 3, 3, 1 << 128, (1 << 128) + 1, 2 << 128, 2 << 128, (5 << 128) + 7, ONE - (9 << 128), ONE - 1, ONE, ONE)
    ),
    "constant": Distribution(-1000, (ONE,)),
}
EACH = pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
DRAWN = pytest.mark.parametrize(
    ("distribution", "std"), [*((gaussian(std, tail), std) for std, tail in GAUSSIANS.items()), (TERNARY, None)]
)


def values(distribution):
    return range(distribution.lowest, distribution.highest + 1)


def probabilities(distribution, std, reach=400):
    """Of the distribution's values: a third each, or Gaussian weights to 90 digits over far more than its tails."""
    if std is None:
        return [Fraction(1, 3)] * 3
    with localcontext() as context:
        context.prec = 90
        weight = {k: (-Decimal(k * k) / (2 * Decimal(std) ** 2)).exp() for k in range(-reach, reach + 1)}
        total = sum(weight.values())
        return [Fraction(weight[k] / total) for k in values(distribution)]


def words(draws):
    """144-bit draws as `bisect` takes them."""
    fine = [divmod(draw % 2**128, 2**64) for draw in draws]
    return np.array([draw >> 128 for draw in draws], np.uint16), np.array(fine, np.uint64)


def streams():
    return [Stream(key) for key in KEYS]


@DRAWN
def test_thresholds_rise_and_are_symmetric(distribution, std):
    """P[X ≤ k] + P[X ≤ −k − 1] = 1; one bit is lost where both are rounded down."""
    steps = distribution.thresholds
    assert distribution.lowest == -distribution.highest
    assert steps[-1] == ONE
    assert all(low < high for low, high in itertools.pairwise((0, *steps)))
    assert all(low + high == ONE - 1 for low, high in zip(steps[:-1], steps[-2::-1], strict=True))


@DRAWN
def test_every_draw_is_as_close_to_the_exact_distribution_as_is_said(distribution, std):
    """Statistical distance: n·2^−145 from the thresholds, and 2^−136 at these tails."""
    drawn = [Fraction(high - low, ONE) for low, high in itertools.pairwise((0, *distribution.thresholds))]
    exact = probabilities(distribution, std)
    beyond = 1 - sum(exact)
    distance = (sum(abs(a - b) for a, b in zip(drawn, exact, strict=True)) + beyond) / 2
    assert sum(drawn) == 1
    assert 0 < distance < Fraction(len(drawn), 2**145) + beyond
    assert beyond < Fraction(1, 2**136)


@EACH
def test_table_and_bisection_agree_on_every_interval(distribution):
    """All 2^16 intervals, at their first and their last point; where the table decides, both points agree with it."""
    table = sampling._tables(distribution).table
    coarse = np.arange(1 << 16).astype(np.uint16)
    first = bisect(distribution, coarse, np.zeros((len(coarse), 2), np.uint64))
    last = bisect(distribution, coarse, np.full((len(coarse), 2), 2**64 - 1, np.uint64))
    decided = table != distribution.mark
    assert (first[decided] == table[decided]).all()
    assert (last[decided] == table[decided]).all()
    assert (first[~decided] < last[~decided]).all()
    straddled = {step >> 128 for step in distribution.thresholds if step % 2**128}
    assert set(np.flatnonzero(~decided).tolist()) == straddled


@EACH
def test_bisection_finds_the_value_on_either_side_of_every_threshold(distribution):
    """Near and far, one at a time and all together, the smallest and the largest draw included."""
    steps = distribution.thresholds
    beside = (-(1 << 100), -1, 0, 1 << 100)  # told apart by 64 bits, and by all 144 only
    draws = sorted({0, ONE - 1} | {step + near for step in steps for near in beside if 0 <= step + near < ONE})
    expected = [distribution.lowest + sum(step <= draw for step in steps) for draw in draws]
    assert bisect(distribution, *words(draws)).tolist() == expected
    assert [bisect(distribution, *words([draw])).item() for draw in draws] == expected


@EACH
def test_draws_are_what_the_streams_say(distribution):
    """Coarse and fine words are taken in order from their own streams."""
    count = 200_000
    coarse, fine = np.zeros(count // 2, np.uint32), np.zeros(4 * count, np.uint32)
    apply_masks(coarse, [Mask(KEYS[0])])
    apply_masks(fine, [Mask(KEYS[1])])
    narrow, wide = coarse.view(np.uint16), fine.view(np.uint64).reshape(-1, 2)
    expected = sampling._tables(distribution).table[narrow].copy()
    undecided = np.flatnonzero(expected == distribution.mark)
    expected[undecided] = bisect(distribution, narrow[undecided], wide[: len(undecided)])
    source = Sampler(distribution, *streams(), largest_batch=1 << 15)
    drawn = np.concatenate([source.draw(n).copy() for n in (1 << 15, 1 << 14, 1 << 15, 16, 8)])
    assert drawn.dtype == distribution.word
    assert np.array_equal(drawn, expected[: len(drawn)])
    assert distribution.mark not in drawn
    assert len(undecided) > 0 or len(distribution.thresholds) == 1


@DRAWN
def test_a_million_draws_fit_the_distribution(distribution, std):
    """Chi-square over values of expected count ≥ 20: a false alarm in 10^6 streams for each; these are fixed."""
    source = Sampler(distribution, *streams(), largest_batch=1 << 17)
    drawn = np.concatenate([source.draw(1 << 17).copy() for _ in range(8)]).astype(np.int64)
    counts = np.bincount(drawn - distribution.lowest, minlength=len(distribution.thresholds))
    model = np.array([float(p) for p in probabilities(distribution, std)]) * len(drawn)
    kept = model >= 20
    if not kept.all():  # the tails together make one cell more
        counts, model = np.append(counts[kept], counts[~kept].sum()), np.append(model[kept], model[~kept].sum())
    assert stats.chisquare(counts, model * len(drawn) / model.sum()).pvalue > 1e-6
    deviation = math.sqrt(2 / 3) if std is None else float(std)
    assert abs(drawn.mean()) < 5 * deviation / math.sqrt(len(drawn))  # 5 deviations: 6 in 10^7
    assert drawn.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * len(drawn)))


def test_draws_take_one_byte_where_they_fit_beside_the_mark():
    def spread(lowest, highest):
        return Distribution(lowest, (*range(highest - lowest), ONE))

    for lowest, highest, word in ((-127, 126, np.int8), (-128, 0, np.int16), (0, 127, np.int16), (-1, 1, np.int8)):
        distribution = spread(lowest, highest)
        assert distribution.word is word
        assert distribution.mark not in values(distribution)
        assert (distribution.lowest, distribution.highest) == (lowest, highest)
    assert {std: gaussian(std, tail).word for std, tail in GAUSSIANS.items()} == {
        "6.5": np.int8, "3.2": np.int8, "20": np.int16
    }  # fmt: skip
    assert spread(-32767, 32766).word is np.int16
    for lowest, highest in ((-32768, 0), (0, 32767)):
        with pytest.raises(ValueError, match="at most"):
            spread(lowest, highest)


@pytest.mark.parametrize(
    ("thresholds", "reason"),
    [
        ((), "last threshold"),
        ((1, 2), "last threshold"),
        ((5, ONE + 1), "last threshold"),
        ((5, 4, ONE), "fall"),
        ((-1, ONE), "fall"),
        ((5, ONE + 1, ONE), "fall"),
    ],
)
def test_what_is_no_distribution_is_refused(thresholds, reason):
    with pytest.raises(ValueError, match=reason):
        Distribution(0, thresholds)


def test_a_sampler_takes_two_keys_from_its_entropy_the_coarse_one_first():
    class Recorded:
        def __init__(self):
            self.drawn = []

        def token_bytes(self, length):
            self.drawn.append(bytes([len(self.drawn)]) * length)
            return self.drawn[-1]

    # Every fourth interval is divided in the middle, so that both streams show.
    both = Distribution(0, (*((i << 128) + (1 << 127) for i in range(0, 1 << 16, 4)), ONE))
    entropy = Recorded()
    made = sampler(both, entropy, 1000).draw(1000).copy()
    assert entropy.drawn == [bytes(16), b"\1" * 16]
    coarse, fine = (Stream(Secret(key)) for key in entropy.drawn)
    assert np.array_equal(made, Sampler(both, coarse, fine, largest_batch=1000).draw(1000))
    assert [key.reveal() for key in stream_keys(entropy)] == [b"\2" * 16, b"\3" * 16]
    assert not np.array_equal(made, sampler(both, entropy, 1000).draw(1000))


def test_distributions_are_computed_once():
    assert gaussian("3.2", 44) is gaussian("3.2", 44)
    assert sampling._tables(gaussian("3.2", 44)) is sampling._tables(gaussian("3.2", 44))
