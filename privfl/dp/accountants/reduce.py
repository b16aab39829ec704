"""Events taken apart into the few that accountants interpret, with sensitivities as the relation has them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from privfl.dp.integer import sum_distance
from privfl.dp.mechanisms import (
    LEAST_NOISE,
    MOST_NOISE,
    Composed,
    DiscreteGaussian,
    Event,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    Relation,
    Repeated,
    Skellam,
    TreeAggregation,
    Unsupported,
)
from privfl.errors import UnsupportedEvent

Primitive = Gaussian | Laplace | Skellam | DiscreteGaussian | PoissonSampled | NonPrivate
"""What is left: unsampled mechanisms, and one of them sampled."""

_ROUNDING_VARIANCE: Final = 16
_ROUNDING_DISTANCE: Final = 3 * math.exp(-2 * math.pi**2 * _ROUNDING_VARIANCE)


def reduced(event: Event | Repeated, count: int, relation: Relation) -> Iterator[tuple[Primitive, int]]:
    """Yield the primitives of an event, each with its count.

    Under replace-one the unsampled ones come with doubled sensitivity: contributions of norm Δ or less differ by 2Δ or
    less. (dp-accounting's own Rényi accountant leaves this out.) Sampled ones come as they are: there the relation
    enters the divergence in another way, and the accountant must see to it.

    Raises:
        UnsupportedEvent: none of the accountants knows it under this relation.
    """
    match event:
        case Repeated():
            yield from reduced(event.event, count * event.count, relation)
        case Composed():
            for part in event.events:
                yield from reduced(part, count, relation)
        case PoissonSampled():
            if event.sampling_probability == 1:
                yield from reduced(event.event, count, relation)
            else:
                yield from ((part, count) for part in _sampled(event))
        case Unsupported():
            raise UnsupportedEvent(f"{event.name!r} is a mechanism that no accountant knows")
        case TreeAggregation():
            yield _tree(event, relation), count
        case _:
            yield (_doubled(event) if relation is Relation.REPLACE_ONE else event), count


def surrogate(event: DiscreteGaussian) -> tuple[Gaussian, float]:
    """Return a Gaussian event that stands for a discrete one, and how far from a processed outcome of it the other is.

    A sum of n discrete Gaussians of standard deviation s is a post-processing of one continuous Gaussian of variance
    n·s² − 16, within a statistical distance for each coordinate (docs/privacy_lemma.md): whatever holds for the
    continuous one, sampled or not, holds for it, with (1 + e^ε) times the distance added to δ.

    Returns:
        The continuous event, and the distance of a whole vector.

    Raises:
        UnsupportedEvent: the variance is no more than 16.
    """
    variance = event.contributors * event.local_std**2 - _ROUNDING_VARIANCE
    if variance <= 0:
        raise UnsupportedEvent(
            f"discrete Gaussian noise of variance {variance + _ROUNDING_VARIANCE:g} in whole numbers is too narrow for "
            f"a bound: a finer granularity, with a variance of 100 or more, works"
        )
    noise = _gaussian(math.sqrt(variance) / event.l2_sensitivity)
    distance = sum_distance(event.contributors, event.local_std) + _ROUNDING_DISTANCE
    return noise, event.dimension * distance


def _sampled(event: PoissonSampled) -> list[Primitive]:
    # Whatever the relation, what was released from the sample is looked at as it is.
    inner = list(reduced(event.event, 1, Relation.ADD_OR_REMOVE_ONE))
    if any(isinstance(part, NonPrivate) for part, _ in inner):
        return [part for part, _ in inner if isinstance(part, NonPrivate)]
    if len(inner) == 1 and inner[0][1] == 1:
        return [replace(event, event=inner[0][0])]
    # Several releases from one sample are one release of all of them: Gaussians join to one Gaussian.
    information = 0.0
    for part, times in inner:
        if not isinstance(part, Gaussian):
            raise UnsupportedEvent(
                f"several releases from one sample are accounted for Gaussian noise only, not for "
                f"{type(part).__name__}: leave sampling_probability out of the composed event"
            )
        information += times / part.noise_multiplier**2
    return [replace(event, event=_gaussian(1 / math.sqrt(information)))] if inner else []


def _tree(event: TreeAggregation, relation: Relation) -> Gaussian:
    # A unit is in one leaf and so in one node of each of ⌈log₂(steps + 1)⌉ levels: the L2 sensitivity of all nodes
    # together is √levels. That needs leaves that stay in place: nobody is added or removed.
    if relation is not Relation.ZERO_OUT:
        raise UnsupportedEvent(
            f"tree-aggregation is accounted under the relation zero-out only, not {relation}: set relation to zero-out"
        )
    return _gaussian(event.noise_multiplier / math.sqrt(event.steps.bit_length()))


def _doubled(event: Primitive) -> Primitive:
    match event:
        case Gaussian() | Laplace():
            return replace(event, noise_multiplier=_least(event.noise_multiplier / 2))
        case Skellam() | DiscreteGaussian():
            return replace(event, l2_sensitivity=2 * event.l2_sensitivity, l1_sensitivity=2 * event.l1_sensitivity)
        case _:
            return event


def _gaussian(noise_multiplier: float) -> Gaussian:
    return Gaussian(noise_multiplier=_least(min(noise_multiplier, MOST_NOISE)))


def _least(noise_multiplier: float) -> float:
    if noise_multiplier < LEAST_NOISE:
        raise UnsupportedEvent(
            f"an effective noise multiplier of {noise_multiplier:g} is no privacy: {LEAST_NOISE:g} or more works"
        )
    return noise_multiplier
