"""From a budget for several rounds to whole numbers and noise that stay within it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from privfl.dp.accountants import RdpAccountant, account
from privfl.dp.calibration import calibrate
from privfl.dp.events import Event, Gaussian, PoissonSampled, Relation, Repeated
from privfl.dp.noise import Mechanism
from privfl.dp.planner import IntegerPlan
from privfl.errors import ConfigurationError

_NUDGE: Final = 1.002
_NUDGES: Final = 50


def fitted(
    epsilon: float,
    delta: float,
    rounds: int,
    made_for: Callable[[float], tuple[IntegerPlan, Repeated]],
    *,
    mechanism: Mechanism,
    relation: Relation = Relation.ZERO_OUT,
    probability: float | None = None,
) -> tuple[IntegerPlan, Repeated]:
    """Find whole numbers whose cost over all rounds is within a budget.

    Args:
        epsilon: ε of all rounds together.
        delta: δ likewise.
        rounds: how many.
        made_for: the plan for a noise multiplier, and what a round of it costs at its worst.
        mechanism: which noise.
        relation: which data sets are neighbours.
        probability: of a Poisson sample, where rounds are charged as one.

    Raises:
        ConfigurationError: none is found.
        MissingExtra: dp-accounting is not installed.
    """

    def continuous(noise_multiplier: float) -> list[Repeated]:
        event: Event = Gaussian(noise_multiplier=noise_multiplier)
        if probability is not None:
            event = PoissonSampled(sampling_probability=probability, event=event)
        return [Repeated(event=event, count=rounds)]

    # Whole numbers cost up to 2 % more than the continuous Gaussian, from which the search starts: making a plan takes
    # tables, so that a search among plans would take long. The accountant is the one that the plan is charged by.
    accountant = RdpAccountant if mechanism is Mechanism.SKELLAM else None
    noise_multiplier = calibrate(epsilon, delta, continuous, relation, accountant)
    for _ in range(_NUDGES):
        made, planned = made_for(noise_multiplier)
        if epsilon_of(planned, rounds, delta, relation) <= epsilon:
            return made, planned
        noise_multiplier *= _NUDGE
    raise ConfigurationError(
        f"privacy.epsilon {epsilon:g} is not met by whole numbers near noise_multiplier {noise_multiplier:.4g}: give "
        f"privacy.noise_multiplier as well, somewhat above"
    )


@lru_cache(maxsize=64)
def epsilon_of(planned: Repeated, rounds: int, delta: float, relation: Relation) -> float:
    """Return ε of so many rounds that all cost the same.

    Raises:
        MissingExtra: dp-accounting is not installed.
    """
    return account([replace(planned, count=planned.count * rounds)], delta, relation).epsilon
