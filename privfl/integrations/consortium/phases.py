"""A phase while it is open, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privfl.integrations.consortium.orders import PhaseTraffic
from privfl.lockstep.sizes import MessageSizes
from privfl.session import Phase
from privfl.wire import PartyId


@dataclass(slots=True)
class Counters:
    """What a hall has seen, in all sessions; attributes as those of `Snapshot`."""

    answers: int = 0
    refused: int = 0
    declined: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A session at one moment; attributes as those of `Snapshot`."""

    phase: Phase
    phase_age_s: float
    waiting: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that was made.

    Attributes:
        request: as the server made it.
        digest: what it is fetched by; empty if it stands in the step.
    """

    request: bytes = field(repr=False)
    digest: bytes = b""


@dataclass(slots=True, kw_only=True)
class OpenPhase:
    """The phase under way.

    Attributes:
        phase: which.
        begun: when it was opened, by the clock.
        deadline: when it ends at the latest.
        sizes: how long answers may be.
        parties: for whom clients speak in this phase.
        waiting: clients that are waited for.
        answered: clients whose answer was accepted.
        requests: of clients that asked and have not answered: none is made twice.
        fetched: requests that are too long for a step, by their digests.
        shown: clients that were shown theirs.
        closed: whether answers come too late.
        traffic: what it costs.
    """

    phase: Phase
    begun: float
    deadline: float
    sizes: MessageSizes
    parties: Mapping[int, PartyId]
    waiting: set[int]
    answered: set[int] = field(default_factory=set)
    requests: dict[int, Asked] = field(default_factory=dict)
    fetched: dict[bytes, bytes] = field(default_factory=dict)
    shown: set[int] = field(default_factory=set)
    closed: bool = False
    traffic: PhaseTraffic

    def waits_for(self, client: int) -> bool:
        """Whether an answer of this client would be taken."""
        return not self.closed and client in self.waiting

    def most_bytes(self, client: int) -> int:
        """Length of the longest answer that a client may have."""
        return max(self.sizes.of(self.parties[client].number), default=0)
