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

_CYCLES: Final = 128  # of a block, on average: long beside a stretch, short beside what a run takes
_DRAWN: Final = 512  # stretches at a time, about twice what a block takes


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

    Time is cut into blocks, each with a stream of its own: a moment far away takes no longer than the next one. What is
    left of an exponential stretch is distributed as a whole one, so that at the beginning of a block nothing but
    whether the client is online has to be drawn; where two blocks do not agree on that, a stretch ends there.

    Args:
        seed: of the job.
        client: whose they are.
        online_s: mean length of the ones.
        offline_s: mean length of the others.
    """

    def __init__(self, seed: int, client: int, online_s: float, offline_s: float) -> None:
        self._seed, self._purpose = seed, f"fleet/online/{client}"
        self._means = online_s, offline_s
        self._block_s = _CYCLES * (online_s + offline_s)
        self._held: tuple[int, bool, NDArray[np.float64]] | None = None

    def at(self, at_s: float) -> Stretch:
        """Return the stretch of a moment."""
        block = math.floor(at_s / self._block_s)
        if (block + 1) * self._block_s <= at_s:  # the division rounds
            block += 1
        first_online, ends = self._stretches(block)
        place = int(np.searchsorted(ends, at_s, side="right"))
        return Stretch((place % 2 == 0) == first_online, float(ends[place]))

    def _stretches(self, block: int) -> tuple[bool, NDArray[np.float64]]:
        """Whether a block begins online, and the moments at which its stretches end, the last with the block."""
        if self._held is None or self._held[0] != block:
            online_s, offline_s = self._means
            chance = np.random.default_rng(seed_stream(self._seed, f"{self._purpose}/{block}"))
            first_online = bool(chance.random() < online_s / (online_s + offline_s))
            means = np.tile(self._means if first_online else self._means[::-1], _DRAWN // 2)
            lengths = chance.standard_exponential(_DRAWN) * means
            while lengths.sum() < self._block_s:
                lengths = np.append(lengths, chance.standard_exponential(_DRAWN) * means)
            ends = block * self._block_s + np.cumsum(lengths)
            until_s = (block + 1) * self._block_s
            self._held = block, first_online, np.append(ends[ends < until_s], until_s)
        return self._held[1:]


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
