"""The interface of accountants, and what all of them do alike: take events apart, refuse, commit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final

from privfl.dp.accountants.reduce import Primitive, reduced
from privfl.dp.mechanisms import (
    MAX_COUNT,
    Event,
    NonPrivate,
    Relation,
    Repeated,
    check_number,
    check_relation,
    check_whole,
)
from privfl.errors import ConfigurationError, UnsupportedEvent

_SHARE: Final = 1e-3
"""The part of δ that is set aside for statistical distances, where an event has one."""
_LARGEST_EXPONENT: Final = 700.0


class Accountant(ABC):
    """Adds up what events cost.

    Args:
        relation: which data sets are neighbours; fixed for good.

    Guarantees:
        1. Nothing composed costs nothing: ε = 0.
        2. ε never falls when something is composed, and does not depend on the order.
        3. `compose` tries first and then commits: if it raises, the accountant has not changed.
        4. An event that it does not know raises `UnsupportedEvent`; none is ever left out.
        5. A non-private event makes ε infinite for good.
        6. ε falls as δ rises.
        7. Under replace-one, sensitivities are doubled.

    Assumes:
        Noise does not depend on earlier outcomes, other than through a filter (see `privfl.dp.budget`).
    """

    name: ClassVar[str]

    def __init__(self, relation: Relation = Relation.ADD_OR_REMOVE_ONE) -> None:
        self._relation = check_relation(relation)
        self._spent: dict[Primitive, int] = {}
        self._distance = 0.0

    @property
    def relation(self) -> Relation:
        """Which data sets are neighbours."""
        return self._relation

    def compose(self, event: Event | Repeated, count: int = 1) -> None:
        """Add an event.

        Args:
            event: what happened.
            count: how often.

        Raises:
            UnsupportedEvent: the accountant does not know it under this relation; says what works.
        """
        check_whole("count", count, 1, MAX_COUNT, such_as="1")
        admitted = [(*self._admit(part), times) for part, times in reduced(event, count, self._relation)]
        for part, distance, times in admitted:
            self._spent[part] = self._spent.get(part, 0) + times
            self._distance += times * distance

    def epsilon(self, delta: float) -> float:
        """Return ε at this δ, at most; infinity if there is no bound.

        Raises:
            ConfigurationError: δ is no probability above 0 and below 1.
            UnsupportedEvent: at this δ the accountant has no bound for what was composed.
        """
        check_delta(delta)
        if not self._spent:
            return 0.0
        if self._has_non_private:
            return math.inf
        if self._distance == 0:
            return max(0.0, self._epsilon(self._spent, delta))
        epsilon = max(0.0, self._epsilon(self._spent, (1 - _SHARE) * delta))
        if self._lost(epsilon) > _SHARE * delta:
            raise UnsupportedEvent(
                f"the discrete Gaussian noise is too narrow for {self.name} at delta {delta:g}: a local_std of 4 or "
                f"more works, or the rdp accountant where nothing is sampled"
            )
        return epsilon

    def delta(self, epsilon: float) -> float:
        """Return δ at this ε, at most.

        Raises:
            ConfigurationError: ε is no number of 0 or above.
            UnsupportedEvent: the accountant answers for ε only.
        """
        check_number("epsilon", epsilon, 0, 1e6, such_as="1")
        if not self._spent:
            return 0.0
        if self._has_non_private:
            return 1.0
        return min(1.0, self._delta(self._spent, epsilon) + self._lost(epsilon))

    def _admit(self, event: Primitive) -> tuple[Primitive, float]:
        """Return what stands for an event and its distance from it, or raise `UnsupportedEvent`."""
        if isinstance(event, NonPrivate):
            return event, 0.0
        return self._admit_private(event)

    @abstractmethod
    def _admit_private(self, event: Primitive) -> tuple[Primitive, float]: ...

    @abstractmethod
    def _epsilon(self, spent: Mapping[Primitive, int], delta: float) -> float: ...

    def _delta(self, spent: Mapping[Primitive, int], epsilon: float) -> float:
        del spent, epsilon
        raise UnsupportedEvent(f"the {self.name} accountant tells epsilon for a delta only: pld and rdp tell both")

    @property
    def _has_non_private(self) -> bool:
        return any(isinstance(event, NonPrivate) for event in self._spent)

    def _lost(self, epsilon: float) -> float:
        # If all outputs lie within η of those of an (ε, δ)-private mechanism, δ + (1 + e^ε)·η holds for them.
        return (1 + math.exp(min(epsilon, _LARGEST_EXPONENT))) * self._distance if self._distance else 0.0


def check_delta(delta: object) -> None:
    """Raise unless it is a probability above 0 and below 1.

    Raises:
        ConfigurationError: names the value.
    """
    if not isinstance(delta, int | float) or isinstance(delta, bool) or not 0 < delta < 1:
        raise ConfigurationError(f"delta is {delta!r}: a probability above 0 and below 1 works, such as 1e-5")
