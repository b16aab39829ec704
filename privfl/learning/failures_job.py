"""`failures.*` of a job: drop-outs that are scripted, or left to chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from privfl.errors import ConfigurationError
from privfl.learning.tables import OFFERED
from privfl.session import Phase

_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)
_ABSENCE_PHASES: Final = (Phase.CONVENE, Phase.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """`[[failures.drop]]`: clients that fall silent in one round.

    Attributes:
        round: in which round, from 1; one beyond `rounds` never comes, so that a job can be cut short.
        clients: their numbers, from 0.
        phase: from which phase on they are silent.
    """

    round: int
    clients: tuple[int, ...]
    phase: Phase = field(default=Phase.MASKED_INPUT, metadata={OFFERED: _DROP_PHASES})

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ConfigurationError(f"failures.drop.round is {self.round}: 1 or more works")
        if self.phase not in _DROP_PHASES:
            names = ", ".join(repr(phase.value) for phase in _DROP_PHASES)
            raise ConfigurationError(f"failures.drop.phase is {self.phase.value!r}: {names} work")


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """`[[failures.absent]]`: members of the committee that are missing in one round; suites without one ignore it.

    Attributes:
        round: in which round, from 1.
        members: their numbers, from 0.
        phase: `Convene`: they are not there when the sum is to be opened; `Open`: they say that they are, and fall
            silent then.
    """

    round: int
    members: tuple[int, ...]
    phase: Phase = field(default=Phase.CONVENE, metadata={OFFERED: _ABSENCE_PHASES})

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ConfigurationError(f"failures.absent.round is {self.round}: 1 or more works")
        if self.phase not in _ABSENCE_PHASES:
            names = ", ".join(repr(phase.value) for phase in _ABSENCE_PHASES)
            raise ConfigurationError(f"failures.absent.phase is {self.phase.value!r}: {names} work")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresJob:
    """`failures.*`: drop-outs, scripted or drawn.

    Attributes:
        rate: probability that a client of the cohort drops out of a round, in a phase drawn as well.
        drop: scripted drop-outs of clients.
        absent: scripted absences of members of the committee.
    """

    rate: float = 0.0
    drop: tuple[Drop, ...] = ()
    absent: tuple[Absence, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigurationError(f"failures.rate is {self.rate}: 0 to below 1 works, such as 0.1")
