"""What the library means to reach, line by line, and how far it is: each figure beside its limit, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from privfl.bench.goals.goal import Goal as Goal
from privfl.bench.goals.goal import Measure, Reading
from privfl.bench.goals.table import goals as goals

__all__ = ["Goal", "goals", "measure_goal", "measure_goals", "skipped"]


def skipped(chosen: Sequence[Goal]) -> list[tuple[str, str]]:
    """Return the goals that cannot be measured here: key, and why with the command that helps."""
    return [(goal.key, goal.missing) for goal in chosen if goal.missing is not None]


def measure_goals(
    chosen: Sequence[Goal],
    *,
    machine: Mapping[str, str],
    quick: bool = False,
    announce: Callable[[Goal], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure goals; those that can be read off one run are, and those that cannot be measured here are left out.

    Args:
        chosen: which.
        machine: what it is measured on, as records tell it.
        quick: on small inputs: all goals within ten seconds. Figures say that it works, not how well.
        announce: told which goal's measurement begins.

    Yields:
        One record a goal, ready for JSON. A goal that is not reached is a record like others.
    """
    taken: dict[Measure, Mapping[str, Reading]] = {}
    for goal in chosen:
        if goal.missing is not None:
            continue
        if goal.measure not in taken:
            if announce is not None:
                announce(goal)
            taken[goal.measure] = goal.measure(quick=quick)
        yield goal.record(taken[goal.measure][goal.figure], machine=machine, quick=quick)


def measure_goal(goal: Goal, *, machine: Mapping[str, str], quick: bool = False) -> dict[str, Any]:
    """Measure one goal; arguments and record as those of `measure_goals`.

    Raises:
        MissingExtra: what it needs is not installed.
    """
    return goal.record(goal.measure(quick=quick)[goal.figure], machine=machine, quick=quick)
