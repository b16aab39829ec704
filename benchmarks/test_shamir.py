"""Dealing and rebuilding: what drop-outs after the upload cost."""

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
