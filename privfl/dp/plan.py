"""A plan: events that are paid for beforehand, whose places are taken one by one.

All that is planned is composed once. From then on each event that is charged takes the place of a planned one that
reveals at least as much, and no place is taken twice. That bounds what is really revealed, though events are chosen,
ordered and left out by outcomes. Why this is safe: by induction from the last event backwards, what follows an event is
dominated by the places that are left, *after each of its outcomes alike*; and a mechanism that is dominated by (P, Q),
followed by one that is dominated by (P′, Q′) after each outcome, is dominated by (P×P′, Q×Q′), in any order (Zhu,
Dong and Wang, Theorem 10). Places that nobody takes only help. Where the plan is accounted by RDP: at every order at
once, the divergences of what happened add up to no more than the plan's (`privfl.dp.renyi`), so the best order will do.

Why an event may take a place (`takes`): it is the planned mechanism followed by something that does not see the data.
More Gaussian, Laplace or Skellam noise is the planned noise plus independent noise (Laplace noise of scale b′ > b is
noise of scale b plus, with probability 1 − b²/b′², further noise of scale b′). More contributors add independent draws.
Fewer steps of a tree are some of its nodes. A smaller sensitivity is a case of the larger. What holds for events holds
for the same events on a sample.

Gaussians without sampling draw on one pool: N(0, 1) against N(μ, 1) is the product of such pairs as long as their μ²
add up, so that a place is as good as several smaller ones (Dong, Roth and Su, Corollary 3.3; Smith and Thakurta).

References:
    Zhu, Dong, Wang (2022), "Optimal Accounting of Differential Privacy via Characteristic Function". Dong, Roth, Su
    (2022), "Gaussian Differential Privacy". Smith, Thakurta (2022), "Fully Adaptive Composition for Gaussian
    Differential Privacy".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from privfl.dp.accountants import account
from privfl.dp.events import (
    Composed,
    DiscreteGaussian,
    Event,
    Gaussian,
    Laplace,
    PoissonSampled,
    Relation,
    Repeated,
    Skellam,
    TreeAggregation,
)
from privfl.errors import BudgetExceeded, UnsupportedEvent

_ROUNDING: Final = 1e-12
"""Sums of 1 / z² are compared up to rounding: ε moves by less than a billionth of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is planned, and what it may cost.

    Attributes:
        epsilon: the budget.
        delta: δ.
        relation: which data sets are neighbours.
        each: what each round does, at its worst.
        rounds: for so many rounds.
        once: what happens besides, once.

    Guarantees:
        1. The planned events of `affordable_rounds`, and `once`, cost at most ε at δ.
        2. What `check` lets pass is dominated by them.
    """

    epsilon: float
    delta: float
    relation: Relation
    each: Repeated
    rounds: int
    once: Repeated | None

    def affordable_rounds(self) -> int:
        """Return for how many of the planned rounds the budget lasts."""
        return max(0, _affordable(self))

    def cost(self, rounds: int) -> float:
        """Return ε of so many rounds, and of what is planned once.

        Raises:
            UnsupportedEvent: no accountant knows what is planned.
        """
        return account(self.events(rounds), self.delta, self.relation).epsilon

    def events(self, rounds: int) -> list[Repeated]:
        """Return all that is planned for so many rounds; for −1, not even what is planned once."""
        events = [] if self.once is None or rounds < 0 else [self.once]
        return events + ([replace(self.each, count=self.each.count * rounds)] if rounds > 0 else [])

    def check(self, before: Sequence[Repeated], after: Sequence[Repeated]) -> None:
        """Raise unless there are places left for what comes after.

        Raises:
            BudgetExceeded: there are not; says why.
        """
        affordable = _affordable(self)
        if self._places(affordable).take(flat((*before, *after))):
            return
        if self._places(self.rounds).take(flat((*before, *after))):
            raise BudgetExceeded(
                f"ε would be {self._would_be((*before, *after))} and the budget is {self.epsilon:g} (privacy.epsilon): "
                f"it affords {max(0, affordable)} of {self.rounds} planned rounds"
            )
        if self._places(self.rounds).take(flat(after)):
            raise BudgetExceeded(
                f"what was planned for {self.rounds} rounds, on which the budget of {self.epsilon:g} (privacy.epsilon) "
                f"rests, is charged already: a round that is done again after a crash takes a place of its own; a new "
                f"run with a budget of its own goes on"
            )
        planned = " and ".join(_said(part) for part in flat(self.events(1)))
        raise BudgetExceeded(
            f"{' and '.join(_said(part) for part in flat(after))} finds no place in the plan on which the budget of "
            f"{self.epsilon:g} (privacy.epsilon) rests, {planned} for each of {self.rounds} rounds: open a ledger "
            f"whose plan covers the least noise, and the most rounds, that may come"
        )

    def _places(self, rounds: int) -> _Places:
        return _Places(flat(self.events(rounds)))

    def _would_be(self, events: Sequence[Repeated]) -> str:
        try:
            return f"{account(events, self.delta, self.relation).epsilon:.4g}"
        except UnsupportedEvent:
            return "larger"


class _Places:
    """Places that are left; Gaussians without sampling share a pool of 1 / z²."""

    def __init__(self, planned: Iterable[Repeated]) -> None:
        self._pool: list[float] = []
        self._left: list[tuple[Event, int]] = []
        for part in planned:
            if isinstance(part.event, Gaussian):
                self._pool.append(part.count / part.event.noise_multiplier**2)
            else:
                self._left.append((part.event, part.count))
        # An event takes the place that fewest others could take. Any other choice would be safe too, and wasteful.
        events = [event for event, _ in self._left]
        self._left.sort(key=lambda place: -sum(takes(place[0], other) for other in events))

    def take(self, events: Iterable[Repeated]) -> bool:
        """Take a place for each of some events; False if one is wanting."""
        drawn: list[float] = []
        for part in events:
            if isinstance(part.event, Gaussian):
                drawn.append(part.count / part.event.noise_multiplier**2)
            elif not self._take(part.event, part.count):
                return False
        return math.fsum(drawn) <= math.fsum(self._pool) * (1 + _ROUNDING)

    def _take(self, event: Event, count: int) -> bool:
        for index, (planned, left) in enumerate(self._left):
            if count and left and takes(event, planned):
                taken = min(count, left)
                self._left[index] = (planned, left - taken)
                count -= taken
        return not count


def takes(event: Event, planned: Event) -> bool:
    """Tell whether an event reveals no more than a planned one, for the reasons in the head of this file."""
    if event == planned:
        return True
    match event, planned:
        case PoissonSampled(), PoissonSampled():
            less = event.sampling_probability == planned.sampling_probability and takes(event.event, planned.event)
        case Gaussian(), Gaussian():
            less = event.noise_multiplier >= planned.noise_multiplier
        case Laplace(), Laplace():
            less = event.noise_multiplier >= planned.noise_multiplier
        case TreeAggregation(), TreeAggregation():
            less = event.noise_multiplier >= planned.noise_multiplier and event.steps <= planned.steps
        case Skellam(), Skellam():
            less = event.variance >= planned.variance and _no_more_sensitive(event, planned)
        case DiscreteGaussian(), DiscreteGaussian():
            # A wider draw is no sum of a narrower one and another: only their number may grow.
            same = event.local_std == planned.local_std and event.dimension == planned.dimension
            less = same and event.contributors >= planned.contributors and _no_more_sensitive(event, planned)
        case _:
            less = False
    return less


def flat(events: Iterable[Repeated]) -> Iterator[Repeated]:
    """Yield what composed events consist of, with their counts, and samples of everybody as what they are."""
    for part in events:
        match part.event:
            case Composed(events=inner):
                yield from flat(replace(piece, count=piece.count * part.count) for piece in inner)
            case PoissonSampled(sampling_probability=1, event=inner):
                yield from flat([replace(part, event=inner)])
            case _:
                yield part


def _no_more_sensitive(event: Skellam | DiscreteGaussian, planned: Skellam | DiscreteGaussian) -> bool:
    return event.l2_sensitivity <= planned.l2_sensitivity and event.l1_sensitivity <= planned.l1_sensitivity


@lru_cache(maxsize=64)
def _affordable(plan: Plan) -> int:
    if plan.cost(plan.rounds) <= plan.epsilon:
        return plan.rounds
    low, high = -1, plan.rounds  # low rounds are affordable (−1: not even what is planned once), high rounds are not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if plan.cost(middle) <= plan.epsilon else (low, middle)
    return low


def _said(part: Repeated) -> str:
    return f"{part.count} × {part.event}"
