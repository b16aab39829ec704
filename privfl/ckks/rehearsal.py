"""A key ceremony among parties in this process: for simulations, tests and benchmarks."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from privfl.ckks.ceremony import CeremonyMember
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.coordinator import CeremonyCoordinator
from privfl.ckks.key import CommitteeKey, MemberKey
from privfl.ckks.member import CommitteeMember, remaining_openings, take_into_use
from privfl.guard import MemoryGuard
from privfl.params import NONCE_BYTES, KeyEpoch, SessionParams
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import Roster
from privfl.session import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCommittee:
    """A key and all who hold it, in one process: nothing is hidden from whoever has this.

    Attributes:
        key: the public key.
        members: what each member keeps.
        guard: the books of all members; they last as long as the process.
        ceremony_cpu_s: what the ceremony took of all members' CPU.
        ceremony_bytes: what it sent, from and to all members.
    """

    key: CommitteeKey
    members: Mapping[int, MemberKey]
    guard: MemoryGuard = field(default_factory=MemoryGuard)
    ceremony_cpu_s: float = 0.0
    ceremony_bytes: int = 0

    def __post_init__(self) -> None:
        for member in self.members.values():
            take_into_use(member, self.guard)

    def session(self, params: SessionParams, number: int) -> CommitteeMember:
        """Make a member's session."""
        return CommitteeMember(params, self.members[number], guard=self.guard, remember_response=False)

    def remaining(self) -> int:
        """Openings that every member has left at least."""
        return min(remaining_openings(member, self.guard) for member in self.members.values())


def hold_ceremony(
    epoch: KeyEpoch, *, absent: Collection[int] = (), entropy: Entropy | None = None
) -> SimulatedCommittee:
    """Make a key among simulated members.

    Args:
        epoch: what the key is made for.
        absent: members that do not take part.
        entropy: source of all secrets; the operating system unless given.

    Raises:
        RoundAborted: too few members are there.
    """
    entropy = entropy or OsEntropy()
    identities = {number: Identity.generate(entropy) for number in range(epoch.committee.members)}
    params = CeremonyParams(
        epoch=epoch,
        roster=Roster({number: identity.public for number, identity in identities.items()}),
        nonce=os.urandom(NONCE_BYTES),
    )
    coordinator = CeremonyCoordinator(params)
    members = {
        number: CeremonyMember(params, number, identity=identity, entropy=entropy)
        for number, identity in identities.items()
        if number not in absent
    }
    cpu_s, sent_bytes = 0.0, 0
    while coordinator.phase is not Phase.FINISHED:
        for party in sorted(coordinator.waiting):
            if party.number in members:
                request, begun = coordinator.request_for(party), time.process_time()
                response = members[party.number].respond(request)
                cpu_s, sent_bytes = cpu_s + time.process_time() - begun, sent_bytes + len(request) + len(response)
                coordinator.receive(party, response)
        coordinator.advance()
    key = coordinator.result
    return SimulatedCommittee(
        key=key,
        members={number: members[number].key for number in key.statement.qualified},
        ceremony_cpu_s=cpu_s,
        ceremony_bytes=sent_bytes,
    )
