"""The other direction: how much noise a budget asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from privfl.dp.accountants.account import account
from privfl.dp.accountants.base import Accountant, check_delta
from privfl.dp.accountants.extra import scipy_optimize
from privfl.dp.accountants.pld import CoarsePldAccountant, PldAccountant
from privfl.dp.mechanisms import LEAST_NOISE, Gaussian, PoissonSampled, Relation, Repeated, check_number, check_whole
from privfl.dp.mechanisms import MAX_COUNT as MAX_STEPS
from privfl.errors import ConfigurationError, UnsupportedEvent

DIGITS: Final = 6
"""Decimals of a calibrated noise multiplier below 10, and digits after the first of a larger one."""
_NOT_ENOUGH: Final = (
    "epsilon is {:g}: no noise multiplier up to {:g} is enough; a larger epsilon or delta, or fewer steps, work"
)
_LARGEST: Final = 1e6

EventsFor = Callable[[float], Sequence[Repeated]]


def calibrate(
    epsilon: float,
    delta: float,
    events_for: EventsFor,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
    accountant: type[Accountant] | None = None,
) -> float:
    """Find the smallest noise multiplier with which events stay within a budget.

    Args:
        epsilon: ε that may be spent.
        delta: δ, above 0, below 1.
        events_for: what will happen with a given noise multiplier; more noise never costs more.
        relation: which data sets are neighbours.
        accountant: who counts; pld where it applies, else rdp, unless given.

    Returns:
        The noise multiplier, rounded up to six decimals (six digits after the first, from 10 on).

    Raises:
        ConfigurationError: ε or δ is out of range, or no noise multiplier up to 10^6 is enough.
        UnsupportedEvent: the accountant does not know the events.
        MissingExtra: dp-accounting is not installed.

    Guarantees:
        1. With the noise returned, the accountant's ε is at most the one given.
        2. With one unit of the last digit less it is above (where something is sampled: with a ten-thousandth less),
           unless the least noise, 0.001, was returned.
    """
    check_number("epsilon", epsilon, 1e-4, 1e3, such_as="4")
    check_delta(delta)

    def told(counting: Accountant, noise: float) -> float:
        for event in events_for(noise):
            counting.compose(event)
        return counting.epsilon(delta)

    @cache
    def spent(noise: float) -> float:
        if accountant is None:
            return account(events_for(noise), delta, relation).epsilon
        return told(accountant(relation), noise)

    @cache
    def about(noise: float) -> float:
        if accountant is None or accountant is PldAccountant:
            with suppress(UnsupportedEvent):
                return told(CoarsePldAccountant(relation), noise)
        return spent(noise)

    return _smallest(about, spent, epsilon)


def noise_multiplier_for(
    epsilon: float,
    delta: float,
    sampling_probability: float,
    steps: int,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> float:
    """Find the smallest noise multiplier for a number of (sampled) Gaussian releases.

    Args:
        epsilon: ε that may be spent.
        delta: δ, above 0, below 1.
        sampling_probability: of a unit, each time; 1 if nothing is sampled.
        steps: releases.
        relation: which data sets are neighbours.

    Raises:
        ConfigurationError: an argument is out of range.
        MissingExtra: dp-accounting is not installed.

    >>> noise_multiplier_for(4.0, 1e-5, sampling_probability=1.0, steps=100)
    10.81162
    """
    check_whole("steps", steps, 1, MAX_STEPS, such_as="200")

    def events_for(noise: float) -> Sequence[Repeated]:
        event = PoissonSampled(sampling_probability=sampling_probability, event=Gaussian(noise_multiplier=noise))
        return (Repeated(event=event, count=steps),)

    return calibrate(epsilon, delta, events_for, relation)


def effective_noise_multiplier(planned: float, *, survivors: int, contributors: int) -> float:
    """Tell what is left of distributed noise when some of its contributors drop out.

    Args:
        planned: z of all shares together.
        survivors: contributors whose share is in the sum, and unknown to the adversary.
        contributors: contributors among whom the noise was divided.

    Returns:
        z · √(survivors / contributors).

    Raises:
        ConfigurationError: no contributor survives, or more than there were.
    """
    check_number("noise_multiplier", planned, LEAST_NOISE, _LARGEST, such_as="1")
    check_whole("contributors", contributors, 1, MAX_STEPS, such_as="100")
    check_whole("survivors", survivors, 1, contributors, such_as=f"{contributors}")
    return planned * math.sqrt(survivors / contributors)


def adaptive_noise_split(noise_multiplier: float, clip_bits_std: float) -> float:
    """Tell how much noise updates need when the bits of adaptive clipping are released beside them.

    Both releases together then cost what one with the given noise multiplier costs: z^−2 = z_Δ^−2 + (2σ_b)^−2.

    Args:
        noise_multiplier: z that the ledger charges.
        clip_bits_std: σ_b, standard deviation of the noise on the sum of clip bits; centred to ±½, they have
            sensitivity ½.

    Returns:
        z_Δ, the noise multiplier for the updates; above z.

    Raises:
        ConfigurationError: 2σ_b is not above z.

    References:
        Andrew, Thakkar, McMahan, Ramaswamy (2021), "Differentially Private Learning with Adaptive Clipping", Theorem 1.

    >>> round(adaptive_noise_split(0.7, 2.5), 6)
    0.706963
    """
    check_number("noise_multiplier", noise_multiplier, LEAST_NOISE, _LARGEST, such_as="1")
    check_number("clip_bits_std", clip_bits_std, LEAST_NOISE, 1e12, such_as="5")
    if not 2 * clip_bits_std > noise_multiplier:
        raise ConfigurationError(
            f"clip_bits_std is {clip_bits_std!r}: more than half the noise multiplier {noise_multiplier!r} works, such "
            f"as {5 * noise_multiplier:g}"
        )
    return 1 / math.sqrt(noise_multiplier**-2 - (2 * clip_bits_std) ** -2)


def _smallest(about: Callable[[float], float], spent: Callable[[float], float], epsilon: float) -> float:
    low, high = _bracket(about, epsilon)
    if low == high:
        return high

    def excess(log_noise: float) -> float:
        # Between logarithms ε is nearly a straight line: a few steps are enough.
        return math.log(min(max(about(round(math.exp(log_noise), 12)), 1e-9), 1e9) / epsilon)

    found = math.exp(scipy_optimize().brentq(excess, math.log(low), math.log(high), xtol=3e-7, rtol=1e-12))
    step = 10.0 ** (math.floor(math.log10(max(found, 1.0))) - DIGITS)

    def at(place: int) -> float:
        return round(place * step, DIGITS)

    place = math.ceil(found / step)
    # The search ends near the place: asking there settles what it left open, in the cautious direction last, and by the
    # accountant that counts.
    while place > 1 and about(at(place - 1)) <= epsilon:
        place -= 1
    further = 1
    while spent(at(place)) > epsilon:  # hardly ever; in widening steps, so that it ends
        place, further = place + further, 2 * further
        if at(place) > _LARGEST:
            raise ConfigurationError(_NOT_ENOUGH.format(epsilon, _LARGEST))
    return at(place)


def _bracket(spent: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    """Return noise that is too little and noise that is enough, or the least noise twice if that is enough."""
    low = high = 1.0
    while spent(high) > epsilon:
        low, high = high, 2 * high
        if high > _LARGEST:
            raise ConfigurationError(_NOT_ENOUGH.format(epsilon, _LARGEST))
    while low == high or spent(low) <= epsilon:
        if low <= LEAST_NOISE:
            return LEAST_NOISE, LEAST_NOISE
        low, high = max(LEAST_NOISE, low / 2), low
    return low, high
