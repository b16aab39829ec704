"""The figures that `docs/ckks.md` gives for the scheme's security, computed."""

import math
import re
from pathlib import Path

import pytest

from privfl.ckks.cipher import ERROR_STD
from privfl.ckks.flood import wanted_std
from privfl.ckks.planner import flood_of, plan
from privfl.params import CKKS_DEGREES, FEWEST_FLOOD_BITS, CommitteeShape, SettingWishes, ThreatModel

TEXT = (Path(__file__).parent.parent / "docs" / "ckks.md").read_text(encoding="utf-8")
TERNARY_STD = math.sqrt(2 / 3)


def primal_block_size(n, log_q, most_samples):
    """Smallest block size of the primal attack, with the secret scaled to the errors: as in `test_kahe_security`."""
    scale = math.log2(ERROR_STD / TERNARY_STD)

    def log_root_hermite(block):
        return math.log2((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) / (2 * (block - 1))

    def finds(block, samples):
        dimension = n + samples + 1
        volume = (samples * log_q + n * scale) / dimension
        return math.log2(ERROR_STD * math.sqrt(block)) <= (2 * block - dimension - 1) * log_root_hermite(block) + volume

    best = n + most_samples
    for samples in range(n // 8, most_samples + 1, 16):
        while best > 50 and finds(best - 1, samples):
            best -= 1
    return best


@pytest.mark.parametrize(
    ("degree", "bits", "block"), [(4096, 66, 659), (4096, 72, 587), (4096, 74, 565), (4096, 86, 460), (8192, 96, 1001)]
)
def test_every_modulus_leaves_128_bits_of_core_svp_security(degree, bits, block):
    found = primal_block_size(degree, bits, 2 * degree)
    assert abs(found - block) <= 2
    assert 0.292 * found >= 128
    assert bits <= 2 * CKKS_DEGREES[degree]
    row = f"| {degree} | {bits} | {found} | {0.292 * found:.0f} | {0.265 * found:.0f} |"
    assert re.search(f"^{re.escape(row)}$", TEXT, re.MULTILINE)


def test_no_allowed_modulus_is_longer_than_those_of_the_table():
    assert {degree: 2 * bits for degree, bits in CKKS_DEGREES.items()} == {4096: 86, 8192: 96}


def test_seals_own_limit_lies_where_the_text_says():
    assert abs(primal_block_size(4096, 109, 8192) - 327) <= 2


@pytest.mark.parametrize("clients", [2, 10, 100, 1000])
def test_usual_sums_take_as_many_bits_as_the_text_says(clients):
    setting = plan(clients, ThreatModel(), SettingWishes(bound=32_767, length=1_000_000))
    assert setting.epoch.degree == 4096
    assert 66 <= 2 * setting.epoch.modulus_bits <= 74
    assert setting.epoch.statistical_bits == FEWEST_FLOOD_BITS


@pytest.mark.parametrize("statistical_bits", [50, 60, 74])
def test_floods_leave_the_divergence_and_the_distance_that_are_stated(statistical_bits):
    """m·Q·E²/(2F²) = 2^−s/48, and by Pinsker's inequality a distance of 2^(−s/2)/9 at most."""
    coefficients, openings, errors = 1_003_520, 48, 1234.5
    flood = wanted_std(errors, coefficients=coefficients * openings, statistical_bits=statistical_bits)
    divergence = coefficients * openings * errors**2 / (2 * flood**2)
    assert math.isclose(divergence, 2.0**-statistical_bits / 48)
    assert math.sqrt(divergence / 2) <= 2 ** (-statistical_bits / 2) / 9
    assert (math.sqrt(divergence / 2) <= 2.0**-40) == (statistical_bits >= 74)


def test_every_opening_that_there_can_be_counts():
    """With t − 1 of the members not counting, n − t + 1 budgets are left, and every opening spends from one of them."""
    floods = {}
    for members, threshold in ((1, 1), (5, 3), (5, 5), (32, 17)):
        wishes = SettingWishes(
            bound=32_767, length=4096, committee=CommitteeShape(members=members, threshold=threshold, openings=16)
        )
        epoch = plan(10, ThreatModel(), wishes).epoch
        errors = 1.1 * ERROR_STD * math.sqrt(epoch.clients * (1 + 4096 * members * 4 / 3))
        coefficients = 4096 * 16 * (members - threshold + 1) + 4096
        floods[members, threshold] = flood_of(epoch).std
        wanted = math.sqrt(24 * coefficients) * 2 ** (FEWEST_FLOOD_BITS / 2) * errors
        assert wanted <= flood_of(epoch).std <= 1.001 * wanted
    assert floods[5, 3] > floods[5, 5]
