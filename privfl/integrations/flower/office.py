"""The server's dealings with the committee that opens sums of `ckks`: who its members are, and ceremonies."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from privfl.errors import RoundAborted
from privfl.integrations.flower.holding import Held
from privfl.integrations.flower.messages import CeremonyStep, Step
from privfl.integrations.flower.records import RoundRecord
from privfl.params import NONCE_BYTES, KeyEpoch
from privfl.roster import Roster
from privfl.session import Phase
from privfl.wire import PartyId

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.ceremony_params import CeremonyParams
    from privfl.ckks.coordinator import CeremonyCoordinator
    from privfl.ckks.key import CommitteeKey


class Ceremony(Held):
    """A key ceremony among nodes.

    Args:
        params: what the members agree on.
        coordinator: the server's side.
        members: node to its number on the committee.
        record: what is said of it.
    """

    def __init__(
        self,
        params: CeremonyParams,
        coordinator: CeremonyCoordinator,
        *,
        members: Mapping[int, int],
        record: RoundRecord,
    ) -> None:
        super().__init__(coordinator, members=members, record=record)
        self._params = params
        self._coordinator = coordinator

    def key(self) -> CommitteeKey:
        """Return the key that was made.

        Raises:
            RoundAborted: none was.
        """
        if self.record.aborted is not None:
            raise RoundAborted(f"the committee made no key: {self.record.aborted}")
        return self._coordinator.result

    def _step(self, party: PartyId) -> Step:
        first = self.phase is Phase.ADVERTISE_KEYS
        return CeremonyStep(
            session=self._params.nonce,
            params=self._params.to_bytes() if first else b"",
            number=party.number if first else 0,
        )


class Office:
    """Keeps the committee's key, and has another made when it is spent or too small.

    Args:
        roster: the committee's identities.

    Attributes:
        members: node to its number on the committee.
        records: how every ceremony went.
    """

    def __init__(self, roster: Roster) -> None:
        self.roster = roster
        self.members: dict[int, int] = {}
        self.records: list[RoundRecord] = []
        self._key: CommitteeKey | None = None
        self._opened = 0
        self._missed = False

    def key(
        self,
        epoch: KeyEpoch,
        *,
        nodes: Collection[int],
        enrol: Callable[[], dict[int, int]],
        exchange: Callable[[Held], None],
    ) -> CommitteeKey:
        """Return a key with an opening left.

        Args:
            epoch: what the key is to be made for.
            nodes: who is there.
            enrol: finds the members among the nodes.
            exchange: asks all nodes that something waits for, and closes its phase.

        Raises:
            RoundAborted: too few members are there, or the ceremony failed.
            ConfigurationError: the committee's roster has expired.
        """
        self.roster.require_current()
        if self._key is None or self._key.epoch != epoch or self._opened >= epoch.committee.openings:
            self._key, self._opened = None, 0
            self._key = self._held(epoch, enrol(), exchange)
        elif not self.members.keys() <= set(nodes) or self._missed:
            # Members that were started again have other ids; what they hold of the key is on their disks.
            self.members = enrol()
            self._missed = False
        return self._key

    def over(self, *, convened: bool, opened: bool) -> None:
        """Take note of how a session ended.

        Args:
            convened: whether its members were asked to open.
            opened: whether they did: if not, some may be gone.
        """
        self._opened += convened  # what was asked may have been spent, whatever came of it
        self._missed = not opened

    def _held(self, epoch: KeyEpoch, members: Mapping[int, int], exchange: Callable[[Held], None]) -> CommitteeKey:
        from privfl.ckks.ceremony_params import CeremonyParams  # noqa: PLC0415 - suites load when used
        from privfl.ckks.coordinator import CeremonyCoordinator  # noqa: PLC0415 - likewise

        self.members = dict(members)
        params = CeremonyParams(epoch=epoch, roster=self.roster, nonce=os.urandom(NONCE_BYTES))
        record = RoundRecord(round=0, kind="ceremony", suite="ckks", cohort=tuple(sorted(members)))
        self.records.append(record)
        ceremony = Ceremony(params, CeremonyCoordinator(params), members=members, record=record)
        while not ceremony.over:
            exchange(ceremony)
        return ceremony.key()
