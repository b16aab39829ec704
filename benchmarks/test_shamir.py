"""Dealing and rebuilding: what drop-outs after the upload cost. `test_kernels.py` has them beside their limit."""

import numpy as np
import pytest

from privfl.primitives import shamir
from privfl.primitives.entropy import OsEntropy

POINTS = list(range(1, 100))
THRESHOLD = 67


@pytest.mark.benchmark(group="shamir, 99 holders, threshold 67")
def test_deal_both_secrets_of_a_client(benchmark):
    secret = OsEntropy().token_bytes(64)
    benchmark(shamir.deal, secret, points=POINTS, threshold=THRESHOLD, entropy=OsEntropy())


@pytest.mark.benchmark(group="shamir, 99 holders, threshold 67")
def test_rebuild_one_secret(benchmark):
    shares = shamir.deal(bytes(32), points=POINTS, threshold=THRESHOLD, entropy=OsEntropy())
    benchmark(shamir.reconstruct, POINTS[:THRESHOLD], shares[:THRESHOLD])


RING_POINTS = list(range(1, 53))


@pytest.mark.benchmark(group="shamir, 52 holders, threshold 28, every client's holders at other points")
def test_rebuild_a_hundred_secrets_of_the_ring_graph(benchmark):
    chance, dealt = np.random.default_rng(0), []
    for _ in range(100):
        points = sorted(int(point) for point in chance.choice(RING_POINTS, 28, replace=False))
        shares = shamir.deal(OsEntropy().token_bytes(32), points=points, threshold=28, entropy=OsEntropy())
        dealt.append((points, shares))

    def rebuild():
        shamir._lagrange_at_zero.cache_clear()
        for points, shares in dealt:
            shamir.reconstruct(points, shares)

    benchmark(rebuild)
