"""Modulus and scale from what a cohort sums.

The errors of n contributors add up to a standard deviation of 6.5·√n, in units of 1/Δ of a quantisation step.

- *Exact*: Δ ≥ 18 · 6.5·√n_max, so that rounding takes the errors away: a sum of errors reaches Δ/2 with a probability
  below 2^−61 a coordinate, below 2^−41 over a million of them.
- Otherwise the error of the *mean* stays below 0.05 of a step (standard deviation) at the fewest contributors allowed:
  6.5 / (Δ·√n_min) ≤ 0.05.

Nothing wraps: n_max · bound · Δ plus 18 deviations of the errors stay below 2^(b−1). Words on the wire have 32 bits
anyhow, and Δ takes all the room that they leave; packed, b is as small as exactness, or else the error, allows. Where
sums would fill all but a hundredth of the ring, Δ takes a bit less, or b one more, if there is one to spare: the check
of the opened sum's range would say nothing in a full ring.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count
from typing import Final

from privfl.errors import ConfigurationError
from privfl.kahe.noise import STD
from privfl.masking import planner as masking
from privfl.params import KaheSetting, SessionParams, ThreatModel, WireForm

MOST_BITS: Final = 32
FEWEST_BITS: Final = 20
DEVIATIONS: Final = 18
"""Deviations of a sum of errors that Δ covers, nine to either side."""
_CROWDED: Final = 0.99
ERROR_OF_MEAN: Final = 0.05
"""Standard deviation of the mean's error where sums are not exact, in quantisation steps."""


def plan(clients: int, threat: ThreatModel, *, reach: int, minimum: int, wire: WireForm) -> KaheSetting:
    """Choose modulus and scale.

    Args:
        clients: n, size of the cohort and most contributors.
        threat: the threat model.
        reach: largest magnitude of a coordinate of their sum.
        minimum: fewest contributors.
        wire: how ciphertexts travel.

    Raises:
        ConfigurationError: 32 bits do not hold the error promised; says by how much, and what to lower.
    """
    inner = masking.plan(clients, threat)
    if not 1 <= minimum <= clients:
        raise ConfigurationError(
            f"cohort.minimum is {minimum}: 2 to {clients} works, because the cohort has {clients} clients"
        )
    exact = _scale_bits_of(DEVIATIONS * STD * math.sqrt(clients))
    enough = _enough_scale_bits(minimum)
    most = _most_scale_bits(MOST_BITS, clients, reach)
    if most < enough:
        raise ConfigurationError(_too_much(clients, reach, enough))
    wanted = exact if most >= exact else enough
    if wire is WireForm.WORDS:
        bits, scale = MOST_BITS, most
    else:
        bits = next(b for b in range(FEWEST_BITS, MOST_BITS + 1) if _most_scale_bits(b, clients, reach) >= wanted)
        scale = _most_scale_bits(bits, clients, reach)
    if _crowded(bits, scale, reach):
        if scale > wanted:
            scale -= 1
        elif bits < MOST_BITS:
            bits += 1
    return KaheSetting(masking=replace(inner, wire=wire), modulus_bits=bits, scale_bits=scale)


def verified(params: SessionParams) -> KaheSetting:
    """Return a session's setting, once it and that of the inner session are checked.

    Raises:
        ConfigurationError: another suite's, or as for `verify` here and in `privfl.masking.planner`.
    """
    masking.verified(params, "kahe")
    setting = params.setting
    assert isinstance(setting, KaheSetting)  # noqa: S101 - the suite's name follows from it; for the type checker
    verify(
        setting, len(params.cohort), reach=params.vector.reach(len(params.cohort)), minimum=params.minimum_contributors
    )
    return setting


def verify(setting: KaheSetting, clients: int, *, reach: int, minimum: int) -> None:
    """Check that a setting, whoever proposed it, neither wraps nor drowns the sum.

    Raises:
        ConfigurationError: it does; names what is wrong and what works.
    """
    most = _most_scale_bits(setting.modulus_bits, clients, reach)
    enough = _enough_scale_bits(minimum)
    if setting.masking.wire is WireForm.WORDS and setting.modulus_bits != MOST_BITS:
        raise ConfigurationError(f"kahe modulus_bits is {setting.modulus_bits}: words on the wire have {MOST_BITS}")
    if not enough <= setting.scale_bits <= most:
        raise ConfigurationError(
            f"kahe scale_bits {setting.scale_bits} with {setting.modulus_bits} bits and sums of {clients} clients "
            f"up to {reach}: {enough} to {most} works"
        )


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """Smallest minimum that makes sense: that of the inner session, and half of a cohort on a sparse graph.

    The error of the mean grows as contributors fall, and far below half the inner session could not be opened anyway.
    """
    fewest = masking.fewest_contributors(clients, threat)
    return fewest if clients < masking.COMPLETE_BELOW else max(fewest, -(-clients // 2))


def error_std(setting: KaheSetting, clients: int, contributors: int) -> float:
    """Standard deviation of a coordinate's error in the sum; 0.0 where sums are exact."""
    scale = 1 << setting.scale_bits
    if scale >= DEVIATIONS * STD * math.sqrt(clients):
        return 0.0
    return STD * math.sqrt(contributors) / scale


def _crowded(bits: int, scale_bits: int, reach: int) -> bool:
    """Whether sums may fill all but a hundredth of the ring, in which noise would then look like one of them."""
    return (reach << scale_bits + 1) > _CROWDED * (1 << bits)


def _too_much(clients: int, reach: int, enough: int) -> str:
    needed = next(bits for bits in count(MOST_BITS) if _most_scale_bits(bits, clients, reach) >= enough)
    fitting = (_room(MOST_BITS, clients) // (clients << enough) + 1).bit_length()
    helps = [f"lower encoding.bits to {fitting}"] if fitting > 1 else []
    most = _most_scale_bits(MOST_BITS, clients, reach)
    if _enough_scale_bits(clients) <= most:
        helps.append(f"raise cohort.minimum to {math.ceil((STD / (ERROR_OF_MEAN * 2**most)) ** 2)}")
    helps.append("take suite 'masking', which has 64")
    return (
        f"sums of {clients} clients up to {reach} and the error that kahe promises need {needed} bits, "
        f"{needed - MOST_BITS} more than it has: {', or '.join(helps)}"
    )


def _enough_scale_bits(minimum: int) -> int:
    """Smallest scale that holds the promised error of the mean."""
    return _scale_bits_of(STD / (ERROR_OF_MEAN * math.sqrt(minimum)))


def _scale_bits_of(smallest: float) -> int:
    return max(0, math.ceil(math.log2(smallest)))


def _most_scale_bits(bits: int, clients: int, reach: int) -> int:
    """Largest scale under which no sum up to `reach` wraps; −1 if there is none."""
    return max(_room(bits, clients) // reach, 0).bit_length() - 1


def _room(bits: int, clients: int) -> int:
    return (1 << (bits - 1)) - 1 - math.ceil(DEVIATIONS * STD * math.sqrt(clients))
