"""What compression adds to a client's work, and rounding at random to its encoding, for each coordinate of a million.

Run with `make bench-kernels`. Times are CPU times of the process, medians. Of a fifth of the coordinates the choice may
take 20 ms, once in a round, and compression 6 ms, 12 ms with a rotation.
"""

import statistics
import time

import numpy as np
import pytest
from sessions import PARAMETERS, seconds, sized

from privfl.compression.compressor import Compressor, Keep
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.primitives.prg import Stream
from privfl.primitives.secret import Secret

REPEATS, SEED = sized(15, 1), bytes(16)
CHOICE_GOAL_S, GOAL_S, ROTATION_GOAL_S = 0.020, 0.006, 0.012
WAYS = [
    {"rotate": True},
    {"keep": Keep.RANDOM, "fraction": 0.2},
    {"keep": Keep.RANDOM, "fraction": 0.2, "feedback": 1.0},
    {"keep": Keep.RANDOM, "fraction": 0.2, "feedback": 1.0, "rotate": True},
    {"keep": Keep.MAGNITUDE, "fraction": 0.2},
    {"keep": Keep.MAGNITUDE, "fraction": 0.2, "rotate": True},
]
VALUES = np.random.default_rng(1).normal(0, 0.2, PARAMETERS).astype(np.float32)


def median(call, *arguments):
    return statistics.median(seconds(call, *arguments) for _ in range(REPEATS))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
@pytest.mark.benchmark(group="compression: a million coordinates", timer=time.process_time)
def test_compression(benchmark, way):
    """Choosing, once in a round; compressing, for each client; and putting the mean back into place."""
    update = {"model": VALUES.reshape(1000, -1)}
    compressor = Compressor(layout=Layout.of(update), **way)
    chosen = compressor.choose(SEED, update)
    residual = np.ones(PARAMETERS, np.float32) if compressor.feedback else None
    sent = chosen.compress(update, residual).arrays
    choose, compress, expand = (
        median(call, *arguments)
        for call, *arguments in (
            (compressor.choose, SEED, update),
            (chosen.compress, update, residual),
            (chosen.expand, sent),
        )
    )
    goal = ROTATION_GOAL_S if compressor.rotate else GOAL_S
    print(
        f"\n{compressor.keep.value}, {compressor.kept} of {PARAMETERS} coordinates, rotation {compressor.rotate}, "
        f"feedback {compressor.feedback}: choose {1e3 * choose:.2f} ms (goal: {1e3 * CHOICE_GOAL_S:.0f}), compress "
        f"{1e3 * compress:.2f} ms (goal: {1e3 * goal:.0f}), expand {1e3 * expand:.2f} ms"
    )
    benchmark.extra_info |= {"choose_s": choose, "compress_s": compress, "expand_s": expand}
    benchmark.pedantic(chosen.compress, args=(update, residual), rounds=3)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.benchmark(group="compression: rounding a million coordinates", timer=time.process_time)
def test_rounding(benchmark, stochastic):
    coder, out, stream = FixedPoint(clip=1.0, bits=8), np.empty(PARAMETERS, np.int32), Stream(Secret(SEED))

    def dice(count):
        words = np.empty(count, np.uint32)
        stream.fill(words)
        return words

    def encode():
        coder.encode(VALUES, weight=0.7, out=out, name="model", dice=dice if stochastic else None)

    spent = median(encode)
    print(
        f"\nrounding {'at random' if stochastic else 'to the nearest'}: {1e9 * spent / PARAMETERS:.2f} ns a coordinate"
    )
    benchmark.extra_info["seconds"] = spent
    benchmark.pedantic(encode, rounds=3)
