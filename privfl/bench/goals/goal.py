"""What a goal is: one figure of a measurement, held against a number that was written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Protocol

from privfl.bench.turns import Spread

_QUICK: Final = "a small run, whose figures are not those of full size: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A figure as it was measured.

    Attributes:
        spread: its median and quartiles, in the goal's unit.
        detail: on what, in one sentence that begins with a small letter.
    """

    spread: Spread
    detail: str


class Measure(Protocol):
    """A measurement of some figures, which are read off one run."""

    def __call__(self, *, quick: bool) -> Mapping[str, Reading]:
        """Measure; on small inputs if `quick`. Return figures by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and the number that it is to stay below, or to reach.

    Attributes:
        key: how records name it; it never changes.
        what: one sentence.
        unit: of the figure and of the limit.
        limit: reached by a figure that is not above it.
        at_least: the other way about: reached by a figure that is not below it.
        measure: the measurement that has the figure.
        figure: its name there.
        needs: module without which it cannot be measured, and the extra that brings it; None if there is none.
    """

    key: str
    what: str
    unit: str
    limit: float
    at_least: bool = False
    measure: Measure
    figure: str
    needs: tuple[str, str] | None = None

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here, with the command that helps; None if it can."""
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return None
        module, extra = self.needs
        return f"{module!r} is not installed: pip install 'privfl[{extra}]'"

    def reached_by(self, measured: float) -> bool:
        """Whether a figure reaches the goal."""
        return measured >= self.limit if self.at_least else measured <= self.limit

    def record(self, reading: Reading, *, machine: Mapping[str, str], quick: bool) -> dict[str, Any]:
        """Return the goal's line, ready for JSON."""
        return {
            "key": self.key,
            "what": self.what,
            "measured": float(reading.spread.median),
            "unit": self.unit,
            "limit": self.limit,
            "at_least": self.at_least,
            "reached": self.reached_by(reading.spread.median),
            "spread": [float(reading.spread.low), float(reading.spread.high)],
            "detail": (_QUICK if quick else "") + reading.detail,
            "machine": dict(machine),
        }
