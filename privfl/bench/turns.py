"""Works that take turns, so that a machine that slows down slows all of them alike: how often, and their times."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_TURNS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """How often two works take turns.

    Attributes:
        least: turns, at least.
        least_s: seconds of turns, at least, up to `MOST_TURNS` of them.
        most_s: seconds of turns after which none is begun, however few there were; one there always is.
    """

    least: int = 5
    least_s: float = 0.0
    most_s: float = math.inf

    def another(self, turns: int, spent_s: float) -> bool:
        """Say whether another turn is taken after some, and the seconds that they took.

        >>> Repeats(least=3, least_s=2.0).another(10, 1.0), Repeats(least=3, most_s=2.0).another(1, 2.5)
        (True, False)
        """
        if not turns:
            return True
        wanted = turns < self.least or (turns < MOST_TURNS and spent_s < self.least_s)
        return wanted and spent_s < self.most_s

    def expected_s(self, turn_s: float) -> float:
        """Return how long turns take altogether if one takes so long."""
        wanted = max(self.least * turn_s, min(self.least_s, MOST_TURNS * turn_s))
        return min(wanted, self.most_s + turn_s)


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    """Return the CPU time of the process for one call."""
    begun = time.process_time()
    call(*arguments)
    return time.process_time() - begun


def take_turns(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time works one after the other, round by round; every second round the other way about.

    Args:
        works: what to do, by name.
        rounds: how often each.

    Returns:
        CPU seconds by name, in the order of the rounds.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            taken[name].append(seconds(works[name]))
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure that was measured several times.

    Attributes:
        median: of all.
        low: the lower quartile.
        high: the upper quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Return the spread of at least one figure.

        >>> Spread.of([1, 2, 3, 4, 5])
        Spread(median=3.0, low=2.0, high=4.0)
        """
        if len(figures) == 1:
            return cls(median=figures[0], low=figures[0], high=figures[0])
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)

    @classmethod
    def of_ratios(cls, work: Sequence[float], limit: Sequence[float]) -> Spread:
        """Return the spread of the ratios of works to the limits of the same turns."""
        return cls.of([one / other for one, other in zip(work, limit, strict=True)])
