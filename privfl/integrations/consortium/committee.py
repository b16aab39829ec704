"""A coordinator's dealings with the committee that opens sums of `ckks`: which clients sit there, and ceremonies."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError, RoundAborted
from privfl.integrations.consortium.ceremony_orders import CeremonyOrder
from privfl.integrations.consortium.hall import Hall
from privfl.integrations.consortium.orders import Outcome
from privfl.learning.job import Job
from privfl.params import NONCE_BYTES, KeyEpoch
from privfl.roster import Roster
from privfl.session import Phase
from privfl.suites import suite

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.key import CommitteeKey

_LOG: Final = logging.getLogger("privfl.consortium")


class Committee:
    """Has a committee among a run's clients keep a key, as long as enough of it hold theirs.

    Args:
        roster: the committee's identities, numbered from 0: each of them a client's as well.
        clients: the clients' identities.

    Attributes:
        members: clients that sit on it, and their numbers there.

    Guarantees:
        1. No sum is asked for under a key that too few of those who are there can open, or whose budget is spent.

    Raises:
        ConfigurationError: a member of the committee is no client.
    """

    def __init__(self, roster: Roster, clients: Roster) -> None:
        numbers = {public: number for number, public in clients.identities.items()}
        strangers = sorted(member for member, public in roster.identities.items() if public not in numbers)
        if strangers:
            raise ConfigurationError(
                f"member {strangers[0]} of the committee is none of the roster's clients: a committee of clients works"
            )
        self.members: dict[int, int] = {numbers[public]: member for member, public in roster.identities.items()}
        self._roster = roster
        self._key: CommitteeKey | None = None
        self._opened = 0
        self._lost: set[int] = set()
        self._unbooked_bytes = 0

    def check(self, epoch: KeyEpoch) -> None:
        """See that ceremonies can be coordinated here, before anybody has begun.

        Raises:
            MissingExtra: TenSEAL is not installed.
        """
        from privfl.ckks.planner import modulus_of  # noqa: PLC0415 - suites load when used
        from privfl.ckks.seal import seal_ring  # noqa: PLC0415 - likewise

        seal_ring(modulus_of(epoch))

    def key(self, epoch: KeyEpoch, hall: Hall, *, number: int, gather_s: float, phase_s: float) -> CommitteeKey:
        """Return a key that those who are there can open a sum with; have one made if there is none.

        Args:
            epoch: what it is to be made for.
            hall: where the clients are.
            number: of the round that it is needed for.
            gather_s: seconds to wait for members to come.
            phase_s: seconds that they have for an answer.

        Raises:
            RoundAborted: too few members are there, or they made no key.
            Closed: the hall was closed.
            ConfigurationError: the committee's roster has expired.
        """
        self._roster.require_current()
        threshold = epoch.committee.threshold
        key = self._key
        if key is not None and key.epoch == epoch and self._opened < epoch.committee.openings:
            holders = {client for client, member in self.members.items() if member in self._holders(key)}
            if len(holders) >= threshold and len(hall.gather(threshold, gather_s, among=holders)) >= threshold:
                return key
        self._key = None
        there = hall.gather(len(self.members), gather_s, among=self.members)
        if len(there) < threshold:
            raise RoundAborted(
                f"{len(there)} members of the committee are there and {threshold} are needed (committee.threshold)"
            )
        self._key = self._made(epoch, hall, number, phase_s)
        self._opened, self._lost = 0, set()
        return self._key

    def over(self, outcome: Outcome) -> None:
        """Take note of how a session under the key ended."""
        # What was asked may have been spent, whatever came of it; a member that cannot answer now never will.
        self._opened += Phase.OPEN in outcome.phases
        self._lost |= outcome.member_failures.keys()
        _log(outcome, "helps to open nothing")

    def ceremony_bytes(self) -> int:
        """Return what ceremonies have sent since this was last asked."""
        unbooked, self._unbooked_bytes = self._unbooked_bytes, 0
        return unbooked

    def _holders(self, key: CommitteeKey) -> set[int]:
        return set(key.statement.qualified) - self._lost

    def _made(self, epoch: KeyEpoch, hall: Hall, number: int, phase_s: float) -> CommitteeKey:
        from privfl.ckks.ceremony_params import CeremonyParams  # noqa: PLC0415 - suites load when used
        from privfl.ckks.coordinator import CeremonyCoordinator  # noqa: PLC0415 - likewise

        params = CeremonyParams(epoch=epoch, roster=self._roster, nonce=os.urandom(NONCE_BYTES))
        coordinator = CeremonyCoordinator(params)
        outcome = hall.hold(
            CeremonyOrder(
                round=number, params=params, server=coordinator, members=self.members, phase_timeout_s=phase_s
            )
        )
        self._unbooked_bytes += sum(cost.upload_bytes + cost.download_bytes for cost in outcome.phases.values())
        _log(outcome, "takes no part in the key")
        if outcome.aborted is not None:
            raise RoundAborted(f"the committee made no key: {outcome.aborted}")
        return coordinator.result


def _log(outcome: Outcome, what: str) -> None:
    for member, why in outcome.member_failures.items():
        _LOG.warning("member %d of the committee %s: %s", member, what, why)


def committee_of(job: Job, committee: Roster | None, clients: Roster) -> Committee | None:
    """Return the committee that opens a job's sums; None where no suite has one.

    Args:
        job: the job.
        committee: the members' identities, numbered from 0.
        clients: the clients' identities.

    Raises:
        ConfigurationError: there is none, or it has another size than the job says, is not of clients, or has expired.
    """
    if not suite(job.suite).has_committee:
        return None
    members = job.committee.members
    if committee is None:
        raise ConfigurationError(
            f"suite {job.suite!r} needs the roster of the committee that opens sums: --committee committee.json, and "
            f"its clients need it in their directories"
        )
    committee.require_current()
    if list(committee.identities) != list(range(members)):
        raise ConfigurationError(
            f"the committee's roster names {sorted(committee.identities)}: exactly the members 0 to {members - 1} "
            f"work, because committee.members is {members}"
        )
    return Committee(committee, clients)
