"""What differential privacy adds to a client's work: draws of noise, and everything else on the way to whole numbers.

Run with `make bench-kernels`. Times are CPU times of the process, medians; 1,000,000 Skellam draws may take 0.3 s, and
the pipeline (clip, rotate, round) 60 ns a parameter above the draws, at any size.
"""

import statistics
import time
from fractions import Fraction

import numpy as np
import pytest
from sessions import PARAMETERS, seconds, sized

from privfl.compression.rotation import rotate
from privfl.dp.codec import PrivateCodec
from privfl.dp.noise import IntegerNoise, Mechanism, continuous_gaussian
from privfl.dp.planner import plan
from privfl.encoding.layout import Layout
from privfl.primitives.entropy import OsEntropy

DRAWS, REPEATS = PARAMETERS, sized(7, 1)
DRAWS_GOAL_S, PIPELINE_GOAL_NS = 0.3, 60
SHARES = (Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN)


def median(call, *arguments, **options):
    return statistics.median(seconds(lambda: call(*arguments, **options)) for _ in range(REPEATS))


@pytest.mark.parametrize("std", [1, 10, 100, 1000, 2000, 5000, 20_000])
@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.benchmark(group="privacy: a million draws", timer=time.process_time)
def test_draws(benchmark, kind, std):
    """A million draws added to a vector, the tables made beforehand and beside it."""
    vector, entropy = np.zeros(DRAWS, np.int32), OsEntropy()
    begun = time.process_time()
    noise = IntegerNoise(kind=kind, variance=Fraction(std**2))
    noise.add_to(vector[:1], entropy=entropy)
    tables = time.process_time() - begun
    spent = median(noise.add_to, vector, entropy=entropy)
    goal = f" (goal: {DRAWS_GOAL_S} s)" if std <= 2000 and kind is Mechanism.SKELLAM else ""
    print(f"\n{kind}, standard deviation {std}: {spent:.4f} s{goal}; tables, once: {tables:.3f} s")
    benchmark.extra_info |= {"seconds": spent, "tables_s": tables}
    benchmark.pedantic(noise.add_to, args=(vector,), kwargs={"entropy": entropy}, rounds=3)


@pytest.mark.benchmark(group="privacy: a million draws", timer=time.process_time)
def test_normal_draws(benchmark):
    """A million normal numbers, as training takes them."""
    print(f"\nnormal numbers: {median(continuous_gaussian, DRAWS, OsEntropy()):.4f} s")
    benchmark.pedantic(continuous_gaussian, args=(DRAWS, OsEntropy()), rounds=3)


@pytest.mark.parametrize("dimension", sized([65_536, 1_000_000, 4_000_000], [3_000]))
@pytest.mark.parametrize("kind", list(Mechanism))
@pytest.mark.benchmark(group="privacy: a client's pipeline", timer=time.process_time)
def test_pipeline(benchmark, kind, dimension):
    """Clipping to rounding above the draws, the rotation alone, and all together, for each parameter."""
    update = {"model": np.random.default_rng(1).normal(size=dimension).astype(np.float32)}
    planned = plan(dimension=dimension, noise_multiplier=1.0, mechanism=kind, cohort=100, honest_minimum=60)
    codec, entropy = PrivateCodec.planned(Layout.of(update), planned), OsEntropy()
    vector, floats = np.zeros(planned.length, np.int32), np.ones(planned.length)

    def encode():
        codec.encode(update, clip=1.0, seed=bytes(16), entropy=entropy)

    encode()
    draws, wholes, rotations = [], [], []
    for _ in range(REPEATS):  # the three take turns
        draws.append(seconds(lambda: codec.noise.add_to(vector, entropy=entropy)) if codec.noise else 0.0)
        wholes.append(seconds(encode))
        rotations.append(seconds(rotate, floats, bytes(16)))
    above = statistics.median(whole - drawn for whole, drawn in zip(wholes, draws, strict=True))
    share, whole, drawn, rotation = (
        1e9 * each / dimension for each in (above, *(statistics.median(taken) for taken in (wholes, draws, rotations)))
    )
    print(
        f"\n{kind}, {dimension} parameters padded to {planned.length}: {share:.1f} ns a parameter above the draws "
        f"(goal: {PIPELINE_GOAL_NS}), {rotation:.1f} of them the rotation; draws {drawn:.1f} at standard deviation "
        f"{planned.noise.std:.0f}; together {whole:.1f}; loss {100 * planned.loss:.2f} %"
    )
    benchmark.extra_info |= {"above_draws_ns": share, "rotation_ns": rotation, "draws_ns": drawn}
    benchmark.pedantic(encode, rounds=3)
