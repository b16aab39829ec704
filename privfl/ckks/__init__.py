"""The `ckks` suite: SEAL's CKKS ciphertexts, summed by a server without a key and opened by a committee.

Beside clients and servers, which `privfl.suite("ckks")` makes, it has parties of its own: members of a committee, who
make a key in a ceremony (`CeremonyMember`, `CeremonyCoordinator`) and then open sums (`CommitteeMember`).
`hold_ceremony` does it all in one process, for simulations.
"""

from __future__ import annotations

from privfl.ckks.ceremony import CeremonyMember as CeremonyMember
from privfl.ckks.ceremony_params import CeremonyParams as CeremonyParams
from privfl.ckks.coordinator import CeremonyCoordinator as CeremonyCoordinator
from privfl.ckks.key import CommitteeKey as CommitteeKey
from privfl.ckks.key import MemberKey as MemberKey
from privfl.ckks.member import CommitteeMember as CommitteeMember
from privfl.ckks.member import remaining_openings as remaining_openings
from privfl.ckks.member import take_into_use as take_into_use
from privfl.ckks.rehearsal import SimulatedCommittee as SimulatedCommittee
from privfl.ckks.rehearsal import hold_ceremony as hold_ceremony

__all__ = [
    "CeremonyCoordinator",
    "CeremonyMember",
    "CeremonyParams",
    "CommitteeKey",
    "CommitteeMember",
    "MemberKey",
    "SimulatedCommittee",
    "hold_ceremony",
    "remaining_openings",
    "take_into_use",
]
