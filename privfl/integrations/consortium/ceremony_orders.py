"""What a run asks of its hall where a committee is to make a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from privfl.integrations.consortium.messages import CEREMONY, Part
from privfl.integrations.consortium.orders import check_members, check_round, check_seconds, seats_of
from privfl.lockstep.sizes import SessionSizes
from privfl.wire import PartyId, Role

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.ceremony_params import CeremonyParams
    from privfl.ckks.coordinator import CeremonyCoordinator


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyOrder:
    """A committee's key that a run wants made; its coordinator has the key when the order's outcome is no abort.

    Attributes:
        round: that it is made for.
        params: what the members agree on.
        server: the ceremony's coordinator, nothing asked yet; until all is over the hall's alone.
        members: clients that sit on the committee, and their numbers there.
        phase_timeout_s: seconds that they have for a phase.
    """

    kind: ClassVar[str] = CEREMONY
    terms: ClassVar[bytes] = b""
    model: ClassVar[bytes] = b""
    committee: ClassVar[bytes] = b""

    round: int
    params: CeremonyParams
    server: CeremonyCoordinator = field(repr=False)
    members: Mapping[int, int]
    phase_timeout_s: float

    def __post_init__(self) -> None:
        check_round(self.round)
        check_seconds("phase_timeout_s", self.phase_timeout_s)
        check_members(self.members)

    @property
    def cohort(self) -> tuple[int, ...]:
        """The clients that make the key."""
        return tuple(sorted(self.members))

    @property
    def sizes(self) -> SessionSizes:
        """How long answers may be."""
        from privfl.ckks.ceremony_sizes import longest_answers  # noqa: PLC0415 - suites load when used

        return longest_answers(self.params)

    @property
    def upload_timeout_s(self) -> float:
        """Nobody trains for a key."""
        return self.phase_timeout_s

    def part_of(self, role: Role) -> Part:  # noqa: ARG002 - there is one
        """Return whom in a party a request is to."""
        return Part.CEREMONY

    def seats(self) -> dict[PartyId, int]:
        """Return which client speaks for which member."""
        return seats_of(self.members)
