"""What may be spent, and the rule that says stop.

A run stops at a moment that depends on what came out before: drop-outs, adaptive clips and a budget that runs out
decide how much noise a round has, and whether there is another. Composition theorems fix all that beforehand. "Stop
when the accountant's ε would pass the budget" is no theorem for mechanisms in general: different outcomes may lead to
different events, each history within δ, all together beyond it. So the rule, too, is fixed when the ledger opens. It is
one of two, and no charge is ever judged by the better of both.

**The plan**, where there is one (`privfl.dp.plan`): all that is planned is composed once, by PLD where that applies and
else by RDP; each event that is charged takes the place of a planned one that reveals at least as much.

**The filter**, where there is none (`privfl.dp.renyi`): Rényi divergences of one order, chosen from ε and δ alone.

References:
    Rogers, Roth, Ullman, Vadhan (2016), "Privacy Odometers and Filters". Regehr, Hu, Leeman, Manurangsi, Tholoniat,
    Lécuyer (2026), "Privacy Filters are Captured by Residues", on filters that stop by exact accounting and fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from privfl.dp.accountants.base import check_delta
from privfl.dp.events import NonPrivate, Relation, Repeated, event_from_json, event_to_json
from privfl.dp.mechanisms import check_number, check_relation, check_whole
from privfl.dp.plan import Plan, flat
from privfl.dp.renyi import ORDERS, best_order, filtered_epsilon
from privfl.errors import BudgetExceeded, ConfigurationError

_KEY: Final = "privacy.epsilon"
_MOST_ROUNDS: Final = 10**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A budget, fixed when a ledger opens.

    Attributes:
        delta: δ, above 0 and below 1.
        relation: which data sets are neighbours.
        epsilon: ε that may be spent, or None: everything is charged, nothing is refused.
        planned: what each round is planned to do at its worst: with the fewest contributors that it may have. Several
            events make a `Composed` one. None: there is no plan, and the filter decides.
        planned_rounds: for so many rounds.
        once: what is planned besides, once: a private quantile, say.
        excluded: releases without noise that are not counted: name (the `reason` of a `NonPrivate` event) to the reason
            why that is right. Readers of the ledger see both.
        order: of the filter's Rényi divergence; chosen from ε and δ where it is None and the filter decides.

    Guarantees:
        1. As long as every release is charged before it is made, and `check` did not raise, all releases together are
           (ε, δ)-private, whatever choices were made after whatever outcomes.
        2. A release without noise is refused under a budget, unless it is excluded by name and reason.
        3. Nothing is kept between checks: the same history gets the same answer after a restart.

    Assumes:
        The events are what happened. The rounds of a plan are counted from the ledger's opening on.

    >>> from privfl.dp.events import Gaussian
    >>> round_of = [Repeated(event=Gaussian(noise_multiplier=2.0))]
    >>> budget = Budget(epsilon=1.0, delta=1e-5, relation="zero-out", planned=round_of[0], planned_rounds=10)
    >>> budget.check(spent=[], following=round_of)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    privfl.errors.BudgetExceeded: ε would be 1.993 and the budget is 1 (privacy.epsilon): it affords 0 of ...
    """

    JSON_KEYS: ClassVar[frozenset[str]] = frozenset(
        {"delta", "relation", "epsilon", "planned", "planned_rounds", "once", "excluded", "order"}
    )

    delta: float
    relation: Relation
    epsilon: float | None = None
    planned: Repeated | None = None
    planned_rounds: int = 0
    once: Repeated | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    order: float | None = None

    def __post_init__(self) -> None:
        check_delta(self.delta)
        object.__setattr__(self, "relation", check_relation(self.relation))
        if self.epsilon is not None:
            check_number("epsilon", self.epsilon, 1e-6, 1e6, such_as="4")
        self._check_plan()
        self._check_excluded()
        self._choose_order()

    def check(self, spent: Iterable[Repeated], following: Iterable[Repeated]) -> None:
        """Raise unless some events may follow those that were charged before.

        Args:
            spent: all events charged so far.
            following: the events of the next release.

        Raises:
            BudgetExceeded: they may not; says what ε would be, or what the plan has no place for.
            UnsupportedEvent: an event that the accountant of the rule does not know.
            MissingExtra: there is a budget and dp-accounting is not installed.
        """
        if self.epsilon is None:
            return
        before, after = self.accounted(spent), self.accounted(following)
        for part in flat((*before, *after)):
            if isinstance(part.event, NonPrivate):
                raise BudgetExceeded(
                    f"a release without noise ({part.event.reason!r}) under a budget of {self.epsilon:g} ({_KEY}): do "
                    f"without it, or exclude it by name and reason when the ledger is opened"
                )
        if self.plan is not None:
            self.plan.check(before, after)
        elif self.order is not None:
            would_be = filtered_epsilon((*before, *after), self.delta, self.relation, self.order)
            if not would_be <= self.epsilon:
                raise BudgetExceeded(
                    f"ε would be {would_be:.4g} and the budget is {self.epsilon:g} ({_KEY}): stop here, or open a new "
                    f"ledger with more noise or a larger budget"
                )

    def accounted(self, events: Iterable[Repeated]) -> tuple[Repeated, ...]:
        """Return the events that count: all but releases without noise that are excluded by name."""
        return tuple(
            part for part in events if not (isinstance(part.event, NonPrivate) and part.event.reason in self.excluded)
        )

    @property
    def plan(self) -> Plan | None:
        """What is planned, if the plan decides."""
        if self.planned is None or self.epsilon is None:
            return None
        return Plan(
            epsilon=self.epsilon,
            delta=self.delta,
            relation=self.relation,
            each=self.planned,
            rounds=self.planned_rounds,
            once=self.once,
        )

    def affordable_rounds(self) -> int | None:
        """How many of the planned rounds the budget affords, or None where no plan decides: ask before training."""
        return None if self.plan is None else self.plan.affordable_rounds()

    def to_json(self) -> dict[str, Any]:
        """Return what an opening record says of the budget: an object with `JSON_KEYS`."""
        return {
            "delta": self.delta,
            "relation": self.relation.value,
            "epsilon": self.epsilon,
            "planned": None if self.planned is None else event_to_json(self.planned),
            "planned_rounds": self.planned_rounds,
            "once": None if self.once is None else event_to_json(self.once),
            "excluded": dict(self.excluded),
            "order": self.order,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Budget:
        """Read it back.

        Args:
            value: an object with `JSON_KEYS`.
            where: begins complaints about events, such as "line 1".

        Raises:
            ConfigurationError, UnsupportedEvent: a value that no budget may have.
        """
        events = {
            key: None if value[key] is None else event_from_json(value[key], where) for key in ("planned", "once")
        }
        return cls(**{**value, **events})

    def _check_plan(self) -> None:
        for key in ("planned", "once"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, Repeated):
                raise ConfigurationError(f"{key} is {value!r}: Repeated(event=..., count=1) works, or None")
        check_whole("planned_rounds", self.planned_rounds, 0, _MOST_ROUNDS, such_as="100")
        if (self.planned is None) != (self.planned_rounds == 0):
            raise ConfigurationError(
                f"planned_rounds is {self.planned_rounds} with {'no' if self.planned is None else 'a'} planned event: "
                f"give both or neither"
            )
        if self.once is not None and self.planned is None:
            raise ConfigurationError("once is given without planned: both make a plan")

    def _check_excluded(self) -> None:
        excluded: object = self.excluded
        if not isinstance(excluded, Mapping):
            raise ConfigurationError(f"excluded is {excluded!r}: names of releases, each with a reason, work")
        for pair in excluded.items():
            if not all(isinstance(text, str) and text.strip() for text in pair):
                raise ConfigurationError(f"excluded.{pair[0]} is {pair[1]!r}: words that say why work")
        object.__setattr__(self, "excluded", dict(excluded))

    def _choose_order(self) -> None:
        if self.epsilon is None or self.planned is not None:
            if self.order is not None:
                raise ConfigurationError(f"order is {self.order!r}: it belongs to a budget without a plan")
        elif self.order is None:
            object.__setattr__(self, "order", best_order(self.epsilon, self.delta))
        elif self.order not in ORDERS:
            raise ConfigurationError(f"order is {self.order!r}: a whole number from 3 to 63 works, such as 8")
        else:
            object.__setattr__(self, "order", float(self.order))
