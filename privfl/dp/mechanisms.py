"""What was done to the data, as frozen values: an accountant interprets them, a ledger writes them down.

An event says how a release was noised, never what was released. Noise is relative to the contribution of one unit
(one client or one example, whichever the mode protects) under the zero-out or add-or-remove-one relation: the
noise multiplier is σ / Δ₂ with Δ₂ the L2 norm to which the unit's contribution is clipped. What another relation makes
of that is the accountant's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from privfl.errors import ConfigurationError

MAX_COUNT: Final = 10**9
MAX_DIMENSION: Final = 2**40
LEAST_NOISE: Final = 1e-3
"""Below it ε is beyond 500,000 for one release: that is a slip, or a non-private release that should be named so."""
MOST_NOISE: Final = 1e9
LEAST_L2: Final = 1e-6
MOST_L2: Final = 1e15
_NESTING: Final = 8


class Relation(StrEnum):
    """Which data sets are neighbours; fixed when a ledger opens."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    """One has a unit more than the other."""
    REPLACE_ONE = "replace-one"
    """They differ in one unit: contributions differ by up to twice the clip."""
    ZERO_OUT = "zero-out"
    """One unit's contribution is replaced by zero; who takes part is public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """The Gaussian mechanism.

    Attributes:
        noise_multiplier: standard deviation of the noise / L2 sensitivity.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        check_number("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="1.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Laplace:
    """The Laplace mechanism.

    Attributes:
        noise_multiplier: scale of the noise / L1 sensitivity.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        check_number("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="10")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skellam:
    """Symmetric Skellam noise on a vector of whole numbers.

    Attributes:
        l2_sensitivity: L2 norm of one unit's vector of whole numbers, at most.
        l1_sensitivity: L1 norm of the same, at most.
        variance: of the noise in the released sum, each coordinate; the part that an adversary does not know.
    """

    l2_sensitivity: float
    l1_sensitivity: float
    variance: float

    def __post_init__(self) -> None:
        _check_sensitivities(self.l2_sensitivity, self.l1_sensitivity)
        check_number("variance", self.variance, 1e-6, 1e30, such_as="10000")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteGaussian:
    """The sum of several discrete Gaussians on a vector of whole numbers.

    Attributes:
        l2_sensitivity: L2 norm of one unit's vector of whole numbers, at most.
        l1_sensitivity: L1 norm of the same, at most.
        local_std: σ of each contributor's discrete Gaussian.
        contributors: how many added one that an adversary does not know.
        dimension: coordinates of the vector.
    """

    l2_sensitivity: float
    l1_sensitivity: float
    local_std: float
    contributors: int
    dimension: int

    def __post_init__(self) -> None:
        _check_sensitivities(self.l2_sensitivity, self.l1_sensitivity)
        check_number("local_std", self.local_std, LEAST_NOISE, 1e15, such_as="50")
        check_whole("contributors", self.contributors, 1, MAX_COUNT, such_as="100")
        check_whole("dimension", self.dimension, 1, MAX_DIMENSION, such_as="65536")


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeAggregation:
    """DP-FTRL's binary tree of noisy sums, in which every unit takes part once.

    Attributes:
        noise_multiplier: standard deviation of the noise at a node / L2 sensitivity.
        steps: leaves that the tree has.
    """

    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        check_number("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="2")
        check_whole("steps", self.steps, 1, MAX_COUNT, such_as="1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class NonPrivate:
    """A release without noise: ε is infinite.

    Attributes:
        reason: why it was made, in words.
    """

    reason: str

    def __post_init__(self) -> None:
        _check_text("reason", self.reason, such_as="exact number of examples, published")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """A mechanism that no accountant here knows: composing it raises.

    Attributes:
        name: what it is called.
    """

    name: str

    def __post_init__(self) -> None:
        _check_text("name", self.name, such_as="report-noisy-max")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonSampled:
    """An event on a Poisson sample: each unit was in it with the same probability, independently, and secretly.

    Attributes:
        sampling_probability: at most this.
        event: what was done on the sample.
    """

    sampling_probability: float
    event: Event

    def __post_init__(self) -> None:
        if not is_number(self.sampling_probability) or not 0 < self.sampling_probability <= 1:
            raise ConfigurationError(
                f"sampling_probability is {self.sampling_probability!r}: a probability above 0, up to 1, works, such "
                f"as 0.01"
            )
        _check_event(self.event)
        if isinstance(self.event, PoissonSampled):
            raise ConfigurationError(
                f"the sampled event is {self.event!r}: an event that is not sampled itself works, such as "
                f"Gaussian(noise_multiplier=1.1)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """An event and how often it happened.

    Attributes:
        event: what happened.
        count: how often, once or more.
    """

    event: Event
    count: int = 1

    def __post_init__(self) -> None:
        _check_event(self.event)
        check_whole("count", self.count, 1, MAX_COUNT, such_as="100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Several events, each of which may depend on the outcomes of those before.

    Attributes:
        events: what happened, in order.
    """

    events: tuple[Repeated, ...]

    def __post_init__(self) -> None:
        if not _are_repeated(self.events):
            raise ConfigurationError(
                f"events is {self.events!r}: a tuple of Repeated works, such as (Repeated(event=..., count=1),)"
            )
        if _depth(self) > _NESTING:
            raise ConfigurationError(f"composed events lie more than {_NESTING} deep: write them as one list")


Event = (
    Gaussian
    | Laplace
    | Skellam
    | DiscreteGaussian
    | TreeAggregation
    | PoissonSampled
    | NonPrivate
    | Unsupported
    | Composed
)


def is_number(value: object) -> bool:
    """Tell whether it is a finite number; True and False are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def check_number(key: str, value: object, low: float, high: float, *, such_as: str) -> None:
    """Raise unless it is a finite number from low to high.

    Raises:
        ConfigurationError: names the key and a value that works.
    """
    if not isinstance(value, int | float) or not is_number(value) or not low <= value <= high:
        raise ConfigurationError(f"{key} is {value!r}: a number from {low:g} to {high:g} works, such as {such_as}")


def check_relation(relation: str) -> Relation:
    """Return the relation of a name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if relation not in list(Relation):
        raise ConfigurationError(f"relation is {relation!r}: one of {', '.join(Relation)} works")
    return Relation(relation)


def check_whole(key: str, value: object, low: int, high: int, *, such_as: str) -> None:
    """Raise unless it is a whole number from low to high.

    Raises:
        ConfigurationError: names the key and a value that works.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(f"{key} is {value!r}: a whole number from {low} to {high} works, such as {such_as}")


def _check_sensitivities(l2: object, l1: object) -> None:
    check_number("l2_sensitivity", l2, LEAST_L2, MOST_L2, such_as="1000")
    check_number("l1_sensitivity", l1, LEAST_L2**2, MOST_L2**2, such_as="100000")


def _check_event(event: object) -> None:
    if not isinstance(event, Event):
        raise ConfigurationError(f"the event is {event!r}: an event works, such as Gaussian(noise_multiplier=1.1)")


def _are_repeated(parts: object) -> bool:
    return isinstance(parts, tuple) and all(isinstance(part, Repeated) for part in parts)


def _check_text(key: str, value: object, *, such_as: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{key} is {value!r}: words work, such as {such_as!r}")


def _depth(event: Event) -> int:
    if isinstance(event, PoissonSampled):
        return _depth(event.event)
    if isinstance(event, Composed):
        return 1 + max((_depth(part.event) for part in event.events), default=0)
    return 0
