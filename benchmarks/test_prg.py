"""One mask against the bare cipher: AES-128-CTR expanded and added over the same buffer, in the same run.

Run with `make bench`. The goal: one mask costs at most 1.25 × the bare loop.
"""

import statistics
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privfl.primitives.prg import CHUNK_BYTES, Mask, apply_masks
from privfl.primitives.secret import Secret

PARAMETERS = 1_000_000
KEY = bytes(range(16))
GOAL = 1.25


def bare_loop(words, scratch, zeros):
    """The limit: no library code, buffers made beforehand, one key schedule."""
    stream = Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor()
    step = len(scratch)
    for start in range(0, len(words), step):
        chunk = words[start : start + step]
        part = scratch[: len(chunk)]
        stream.update_into(zeros[: part.nbytes], part.view(np.uint8).data)
        np.add(chunk, part, out=chunk)


@pytest.fixture
def words():
    return np.zeros(PARAMETERS, np.uint32)


@pytest.fixture
def scratch():
    return np.empty(CHUNK_BYTES // 4, np.uint32)


@pytest.mark.benchmark(group="one mask over 1,000,000 words")
def test_bare_loop(benchmark, words, scratch):
    benchmark(bare_loop, words, scratch, bytes(CHUNK_BYTES))


@pytest.mark.benchmark(group="one mask over 1,000,000 words")
def test_one_mask(benchmark, words):
    benchmark(apply_masks, words, [Mask(Secret(KEY))])


@pytest.mark.benchmark(group="ten masks over 1,000,000 words")
def test_ten_masks(benchmark, words):
    benchmark(apply_masks, words, [Mask(Secret(bytes([i]) * 16)) for i in range(10)])


@pytest.mark.benchmark(group="ratio")
def test_ratio_of_one_mask_to_the_bare_loop(benchmark, words, scratch):
    """Pairs, side by side, so that a drifting machine drifts under both; the median ratio is kept and printed."""
    zeros, masks = bytes(CHUNK_BYTES), [Mask(Secret(KEY))]

    def seconds(call, *arguments):
        begun = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - begun

    ratios = []
    for _ in range(200):
        bare = seconds(bare_loop, words, scratch, zeros)
        ratios.append(seconds(apply_masks, words, masks) / bare)
    ratio = statistics.median(ratios)
    benchmark.extra_info["median_ratio"] = ratio
    benchmark.pedantic(apply_masks, args=(words, masks), rounds=20)
    print(f"\none mask costs {ratio:.3f} × the bare loop (goal: at most {GOAL})")
