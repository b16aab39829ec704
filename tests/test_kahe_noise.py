"""The distribution of keys and errors against the exact one; the sampler itself is tested in `test_lattice.py`."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from privfl.kahe.noise import TAIL, Gaussian, distribution, thresholds
from privfl.primitives.prg import Stream
from privfl.primitives.sampling import Sampler, gaussian
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


def test_every_draw_is_within_2_to_the_minus_135_of_the_exact_distribution():
    """Statistical distance, from the thresholds themselves and from the mass beyond the tail."""
    steps = (0, *thresholds())
    drawn = [Fraction(high - low, 1 << 144) for low, high in itertools.pairwise(steps)]
    exact = [pmf(k) for k in VALUES]
    distance = (sum(abs(a - b) for a, b in zip(drawn, exact, strict=True)) + (1 - sum(exact))) / 2
    assert sum(drawn) == 1
    assert distance < Fraction(1, 2**135)
    assert distance > 0


def test_one_draw_in_a_thousand_takes_further_bits():
    straddled = {step >> 128 for step in thresholds() if step % 2**128}
    assert 40 < len(straddled) < 2**16 / 500


def test_draws_are_those_of_a_sampler_of_this_distribution():
    """One byte each; `test_lattice.py` has the laws that all samplers obey, this distribution's among them."""
    coarse, fine = (Stream(key) for key in KEYS)
    general = Sampler(gaussian("6.5", 88), coarse, fine, largest_batch=1000)
    coarse, fine = (Stream(key) for key in KEYS)
    source = Gaussian(coarse, fine, largest_batch=1000)
    for count in (1000, 24, 1000):
        drawn = source.draw(count)
        assert drawn.dtype == np.int8
        assert np.array_equal(drawn, general.draw(count))
    assert distribution() is gaussian("6.5", 88)
    assert (distribution().lowest, distribution().highest) == (-TAIL, TAIL)
    assert distribution().thresholds == thresholds()


def test_a_stream_continues_inside_and_begins_at_whole_blocks_only():
    whole = np.empty(100, np.uint32)
    Stream(KEYS[0]).fill(whole)
    tail = np.empty(84, np.uint32)
    Stream(KEYS[0], 64).fill(tail)
    assert np.array_equal(whole[16:], tail)
    with pytest.raises(ValueError, match="whole block"):
        Stream(KEYS[0], 8)
