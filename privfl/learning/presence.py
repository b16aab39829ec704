"""When a simulated client is reachable: stretches of time, drawn, daily or scripted.

Each trace is a function of time alone: it answers the same whatever was asked before, and remembers next to nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from privfl.learning.data import seed_stream
from privfl.learning.fleet_job import DAY_S

_BLOCK: Final = 256  # stretches drawn at a time; even, so that every block begins as the first does


class Stretch(NamedTuple):
    """What a client is doing at some moment: whether it is online, and the first moment at which that may change."""

    online: bool
    until_s: float


class Trace(Protocol):
    """Comings and goings."""

    def at(self, at_s: float) -> Stretch:
        """Return the stretch of a moment, 0 or later; it ends after that moment."""
        ...


@dataclass(frozen=True, slots=True)
class Scripted:
    """Comes and goes at the moments that it is given, ascending, beginning with a coming."""

    moments: tuple[float, ...]

    def at(self, at_s: float) -> Stretch:
        """Return the stretch of a moment."""
        passed = bisect_right(self.moments, at_s)
        return Stretch(passed % 2 == 1, self.moments[passed] if passed < len(self.moments) else math.inf)


@dataclass(frozen=True, slots=True)
class Daily:
    """Online for the same hours of every day.

    Attributes:
        begins_s: when they begin, after midnight.
        length_s: how long they last.
    """

    begins_s: float
    length_s: float

    def at(self, at_s: float) -> Stretch:
        """Return the stretch of a moment."""
        day = math.floor((at_s - self.begins_s) / DAY_S)
        # The division rounds; the moments below are what counts, so that whoever comes back at one finds it passed.
        if at_s < self._begin(day):
            day -= 1
        elif at_s >= self._begin(day + 1):
            day += 1
        end_s = self._begin(day) + self.length_s
        return Stretch(True, end_s) if at_s < end_s else Stretch(False, self._begin(day + 1))

    def _begin(self, day: int) -> float:
        return self.begins_s + day * DAY_S


class Alternating:
    """Exponentially distributed stretches online and offline, in turn; as if they had been going on for ever.

    Args:
        seed: of the job.
        client: whose they are.
        online_s: mean length of the ones.
        offline_s: mean length of the others.
    """

    def __init__(self, seed: int, client: int, online_s: float, offline_s: float) -> None:
        self._seed, self._purpose = seed, f"fleet/online/{client}"
        coin = np.random.default_rng(seed_stream(seed, self._purpose)).random()
        # What is left of an exponential stretch is distributed as a whole one: only how it begins is to be drawn.
        self._first_online = bool(coin < online_s / (online_s + offline_s))
        means = (online_s, offline_s) if self._first_online else (offline_s, online_s)
        self._means = np.tile(means, _BLOCK // 2)
        self._begins = [0.0]
        self._held: tuple[int, NDArray[np.float64]] | None = None

    def at(self, at_s: float) -> Stretch:
        """Return the stretch of a moment."""
        while self._begins[-1] <= at_s:
            self._begins.append(float(self._ends(len(self._begins) - 1)[-1]))
        ends = self._ends(bisect_right(self._begins, at_s) - 1)
        place = int(np.searchsorted(ends, at_s, side="right"))
        return Stretch((place % 2 == 0) == self._first_online, float(ends[place]))

    def _ends(self, block: int) -> NDArray[np.float64]:
        """Moments at which the stretches of a block end. A block has a stream of its own: none needs those before."""
        if self._held is None or self._held[0] != block:
            chance = np.random.default_rng(seed_stream(self._seed, f"{self._purpose}/{block}"))
            ends = self._begins[block] + np.cumsum(chance.standard_exponential(_BLOCK) * self._means)
            self._held = block, ends
        return self._held[1]


def online_from(traces: Sequence[Trace], at_s: float) -> float:
    """Return the first moment from `at_s` on at which all traces are online; infinity if none comes."""
    while at_s < math.inf:
        waits = [stretch.until_s for stretch in (trace.at(at_s) for trace in traces) if not stretch.online]
        if not waits:
            break
        at_s = max(waits)
    return at_s


def offline_from(traces: Sequence[Trace], at_s: float) -> float:
    """Return the first moment from `at_s` on at which some trace is offline; infinity if none comes."""
    while at_s < math.inf:
        stretches = [trace.at(at_s) for trace in traces]
        if not all(stretch.online for stretch in stretches):
            break
        at_s = min((stretch.until_s for stretch in stretches), default=math.inf)
    return at_s
