"""The figures that `docs/kahe.md` gives for the scheme's security, computed."""

import math
import re
from pathlib import Path

import pytest

from privfl.kahe.noise import STD
from privfl.kahe.planner import FEWEST_BITS, MOST_BITS
from privfl.kahe.ring import N

TEXT = (Path(__file__).parent.parent / "docs" / "kahe.md").read_text(encoding="utf-8")


def primal_block_size(n, log_q, std, most_samples):
    """Smallest BKZ block size of the primal attack: Alkim, Ducas, Pöppelmann, Schwabe, USENIX Security 2016, §6.3."""

    def log_root_hermite(block):
        return math.log2((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) / (2 * (block - 1))

    def finds(block, samples):
        dimension = n + samples + 1
        reached = (2 * block - dimension - 1) * log_root_hermite(block) + samples / dimension * log_q
        return math.log2(std * math.sqrt(block)) <= reached

    best = n + most_samples
    for samples in range(n // 2, most_samples + 1, 16):
        while best > 50 and finds(best - 1, samples):
            best -= 1
    return best


def test_the_estimate_is_the_one_that_is_published_for_kyber_512():
    """CRYSTALS-Kyber, round 3, table 4: block size 406, core-SVP hardness 2^118."""
    block = primal_block_size(512, math.log2(3329), 1.22, 1024)
    assert abs(block - 406) <= 3
    assert math.floor(0.292 * block) == 118


@pytest.mark.parametrize(("bits", "block"), [(MOST_BITS, 748), (29, 853), (FEWEST_BITS, None)])
def test_the_smallest_secrets_of_the_reduction_are_out_of_reach(bits, block):
    found = primal_block_size(N, bits, STD / 2, 2 * N)
    assert 0.265 * found > 192
    if block:
        assert abs(found - block) <= 2
        row = f"| {bits} | {found} | {0.292 * found:.0f} | {0.265 * found:.0f} |"
        assert re.search(f"^{re.escape(row)}$", TEXT, re.MULTILINE)


def test_the_sum_of_two_keys_hides_them_at_the_smoothing_that_is_stated():
    """σ/(2√2) ≥ η_ε(Z)/√(2π) with ε = 2^−149 a coordinate (Micciancio and Regev 2007, lemma 3.3)."""

    def smoothing(log_epsilon):
        return math.sqrt((1 - log_epsilon) * math.log(2) / (2 * math.pi**2))  # ln(2(1 + 1/ε)) ≈ ln 2 − ln ε

    assert STD / (2 * math.sqrt(2)) > smoothing(-149)
    assert STD / (2 * math.sqrt(2)) < smoothing(-150)
    assert math.log2(10**6 + N) - 149 < -128
