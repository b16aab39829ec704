"""One mask against the bare cipher: AES-128-CTR expanded and added over the same buffer, in the same run.

Run with `make bench-kernels`. The goal: one mask costs at most 1.25 × the bare loop.
"""

import statistics
import time

import numpy as np
import pytest
from sessions import PARAMETERS, sized

from privfl.bench.limits import KEY, bare_loop, make_scratch
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret

PAIRS = sized(200, 3)
GOAL = 1.25


@pytest.fixture
def words():
    return np.zeros(PARAMETERS, np.uint32)


@pytest.fixture
def scratch():
    return make_scratch()


@pytest.mark.benchmark(group="one mask over 1,000,000 words")
def test_bare_loop(benchmark, words, scratch):
    benchmark(bare_loop, words, scratch)


@pytest.mark.benchmark(group="one mask over 1,000,000 words")
def test_one_mask(benchmark, words):
    benchmark(apply_masks, words, [Mask(Secret(KEY))])


@pytest.mark.benchmark(group="ten masks over 1,000,000 words")
def test_ten_masks(benchmark, words):
    benchmark(apply_masks, words, [Mask(Secret(bytes([i]) * 16)) for i in range(10)])


@pytest.mark.benchmark(group="ratio")
def test_ratio_of_one_mask_to_the_bare_loop(benchmark, words, scratch):
    """Pairs, side by side, so that a drifting machine drifts under both; the median ratio is kept and printed."""
    masks = [Mask(Secret(KEY))]

    def seconds(call, *arguments):
        begun = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - begun

    ratios = []
    for _ in range(PAIRS):
        bare = seconds(bare_loop, words, scratch)
        ratios.append(seconds(apply_masks, words, masks) / bare)
    ratio = statistics.median(ratios)
    benchmark.extra_info["median_ratio"] = ratio
    benchmark.pedantic(apply_masks, args=(words, masks), rounds=20)
    print(f"\none mask costs {ratio:.3f} × the bare loop (goal: at most {GOAL})")


@pytest.mark.benchmark(group="two workers")
def test_two_workers_against_one(benchmark):
    """Wall-clock time of twenty masks over a vector of 4,000,000 words: what the second core brings."""
    words, masks, ratios = np.zeros(4 * PARAMETERS, np.uint32), [Mask(Secret(bytes([i]) * 16)) for i in range(20)], []
    for _ in range(sized(7, 1)):
        begun = time.perf_counter()
        apply_masks(words, masks)
        between = time.perf_counter()
        apply_masks(words, masks, workers=2)
        ratios.append((between - begun) / (time.perf_counter() - between))
    print(f"\ntwo workers are {statistics.median(ratios):.2f} × as fast as one")
    benchmark.extra_info["speed_up"] = statistics.median(ratios)
    benchmark.pedantic(apply_masks, args=(words, masks), kwargs={"workers": 2}, rounds=5)
