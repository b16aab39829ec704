"""The sampler against the exact distribution, the straddling intervals included.

Probabilities are compared as fractions, without statistics, wherever the sampler can be enumerated; statistical tests
run over fixed streams and state the rate of false alarms that they would have over fresh ones.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from privfl.kahe import noise
from privfl.kahe.noise import STD, TAIL, Gaussian, bisect, thresholds
from privfl.primitives.prg import Mask, Stream, apply_masks
from privfl.primitives.secret import Secret

VALUES = range(-TAIL, TAIL + 1)
KEYS = Secret(bytes(range(16))), Secret(bytes(range(16, 32)))


def pmf(k, reach=400):
    """Weights of the discrete Gaussian, normalised over far more than the sampler's support, to 90 digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 90
        variance = 2 * Decimal("6.5") ** 2
        total = sum((-Decimal(j * j) / variance).exp() for j in range(-reach, reach + 1))
        return Fraction((-Decimal(k * k) / variance).exp() / total)


def sampler(batch=1 << 17):
    coarse, fine = (Stream(key) for key in KEYS)
    return Gaussian(coarse, fine, largest_batch=batch)


def test_every_draw_is_within_2_to_the_minus_135_of_the_exact_distribution():
    """Statistical distance, from the thresholds themselves and from the mass beyond the tail."""
    steps = (0, *thresholds())
    drawn = [Fraction(high - low, 1 << 144) for low, high in itertools.pairwise(steps)]
    exact = [pmf(k) for k in VALUES]
    distance = (sum(abs(a - b) for a, b in zip(drawn, exact, strict=True)) + (1 - sum(exact))) / 2
    assert sum(drawn) == 1
    assert distance < Fraction(1, 2**135)
    assert distance > 0


def test_table_and_bisection_agree_on_every_interval():
    """All 2^16 intervals, at their first and their last point; where the table decides, both points agree with it."""
    table = noise._tables()[0]
    coarse = np.arange(1 << 16).astype(np.uint16)
    first = bisect(coarse, np.zeros((len(coarse), 2), np.uint64))
    last = bisect(coarse, np.full((len(coarse), 2), 2**64 - 1, np.uint64))
    decided = table != noise._STRADDLES
    assert (first[decided] == table[decided]).all()
    assert (last[decided] == table[decided]).all()
    assert (first[~decided] < last[~decided]).all()
    assert 40 < np.count_nonzero(~decided) < 2 * TAIL + 1


def test_bisection_finds_the_value_on_either_side_of_every_threshold():
    steps = thresholds()
    for value, step in zip(VALUES, steps[:-1], strict=False):
        for draw, expected in ((step, value + 1), (step - 1, value)):
            found = bisect(np.array([draw >> 128], np.uint16), np.array([divmod(draw % 2**128, 2**64)], np.uint64))
            assert found == expected or steps[value + TAIL] == steps[expected + TAIL - 1]


def test_draws_are_what_the_streams_say():
    """Coarse and fine words are taken in order from their own streams."""
    count = 200_000
    coarse, fine = np.zeros(count // 2, np.uint32), np.zeros(4 * count, np.uint32)
    apply_masks(coarse, [Mask(KEYS[0])])
    apply_masks(fine, [Mask(KEYS[1])])
    words, wide = coarse.view(np.uint16), fine.view(np.uint64).reshape(-1, 2)
    table = noise._tables()[0]
    expected = table[words].copy()
    undecided = np.flatnonzero(expected == noise._STRADDLES)
    expected[undecided] = bisect(words[undecided], wide[: len(undecided)])
    source = sampler(1 << 15)
    drawn = np.concatenate([source.draw(n).copy() for n in (1 << 15, 1 << 14, 16, 8)])
    assert len(undecided) > 50
    assert np.array_equal(drawn, expected[: len(drawn)])
    assert noise._STRADDLES not in drawn


def test_a_million_draws_fit_the_distribution():
    """Chi-square over values of expected count ≥ 20: a false alarm in 10^6 streams; this one is fixed."""
    drawn = sampler().draw(1 << 17).copy()
    source = sampler()
    drawn = np.concatenate([source.draw(1 << 17).copy() for _ in range(8)])
    counts = np.bincount(drawn.astype(np.int64) + TAIL, minlength=2 * TAIL + 1)
    expected = np.array([float(pmf(k)) for k in VALUES]) * len(drawn)
    kept = expected >= 20
    observed = np.append(counts[kept], counts[~kept].sum())
    model = np.append(expected[kept], expected[~kept].sum())
    assert stats.chisquare(observed, model * observed.sum() / model.sum()).pvalue > 1e-6
    assert abs(drawn.mean()) < 5 * STD / math.sqrt(len(drawn))
    assert drawn.std() == pytest.approx(STD, rel=5 / math.sqrt(2 * len(drawn)))


def test_a_stream_continues_inside_and_begins_at_whole_blocks_only():
    whole = np.empty(100, np.uint32)
    Stream(KEYS[0]).fill(whole)
    tail = np.empty(84, np.uint32)
    Stream(KEYS[0], 64).fill(tail)
    assert np.array_equal(whole[16:], tail)
    with pytest.raises(ValueError, match="whole block"):
        Stream(KEYS[0], 8)
