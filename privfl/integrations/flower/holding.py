"""What a server holds with nodes, be it a session or a key ceremony: who is asked what, and what came back."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from privfl.errors import RemoteProtocolError, RoundAborted
from privfl.integrations.flower.messages import ClientStep, MemberStep, Step, Terms
from privfl.integrations.flower.records import RoundRecord
from privfl.params import SessionParams
from privfl.session import Aggregate, Lockstep, Phase, ServerSession
from privfl.wire import PartyId, Role, client

LOG: Final = logging.getLogger("flwr.privfl")
KEY_PHASES: Final = frozenset({Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS})
INPUT_PHASES: Final = frozenset({Phase.MASKED_INPUT, Phase.UPLOAD})
_FIRST: Final = frozenset({Phase.ADVERTISE_KEYS, Phase.UPLOAD})
_WHY_LENGTH: Final = 500
_OVER: Final = frozenset({Phase.FINISHED, Phase.ABORTED})


def printable(why: str) -> str:
    """Return a peer's words as they may stand in a log: one line, no control characters, not too long."""
    return "".join(sign if sign.isprintable() else " " for sign in why)[:_WHY_LENGTH]


class Held(ABC):
    """What is held with nodes, in phases.

    Args:
        server: the server's side.
        clients: node to its number in the cohort.
        members: node to its number on the committee; a node may be both.
        record: what is said of it.
    """

    def __init__(
        self,
        server: Lockstep,
        *,
        clients: Mapping[int, int] | None = None,
        members: Mapping[int, int] | None = None,
        record: RoundRecord,
    ) -> None:
        self.record = record
        self._server = server
        self._parties = {
            Role.CLIENT: {node: client(number) for node, number in (clients or {}).items()},
            Role.COMMITTEE: {node: PartyId(Role.COMMITTEE, number) for node, number in (members or {}).items()},
        }

    @property
    def phase(self) -> Phase:
        """The phase that waits for answers."""
        return self._server.phase

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask."""
        return self.record.aborted is not None or self.phase in _OVER

    @property
    def waiting(self) -> set[int]:
        """Nodes that have not answered in this phase."""
        if self.over:
            return set()
        asked = self._server.waiting
        return {node for parties in self._parties.values() for node, party in parties.items() if party in asked}

    def ask(self, node: int) -> tuple[Step, bytes]:
        """Return the step for a node, and the request beside it."""
        party = self._party(node)
        request = self._server.request_for(party)
        self.record.download_bytes += len(request)
        return self._step(party), request

    def take(self, node: int, response: bytes, why: str) -> None:
        """Take a node's answer; one that is not as agreed costs that node its place, and nobody else anything."""
        if self.over:
            return
        if not response:
            self._refused(node, why or "no answer")
            return
        try:
            self._server.receive(self._party(node), response)
        except RemoteProtocolError as error:
            self._refused(node, str(error))
            return
        self.record.upload_bytes += len(response)
        self._took(node)

    def close(self) -> None:
        """End the phase: who has not answered has dropped."""
        if self.over:
            return
        try:
            self._server.advance()
        except RoundAborted as error:
            self.abort(str(error))

    def abort(self, why: str) -> None:
        """Give it up; nothing is released."""
        self.record.aborted = why
        LOG.warning("privfl releases nothing in round %d (%s): %s", self.record.round, self.record.kind, why)

    @abstractmethod
    def _step(self, party: PartyId) -> Step:
        """Return the step that carries a request to a party."""

    def _took(self, node: int) -> None:  # noqa: B027 - a hook that may stay empty
        """See that a node's answer was accepted."""

    def _refused(self, node: int, why: str) -> None:
        why = printable(why)
        self.record.refusals[node] = why
        LOG.warning("privfl: node %d takes no further part (%s): %s", node, self.phase, why)

    def _party(self, node: int) -> PartyId:
        asked = self._server.waiting
        for parties in self._parties.values():
            if node in parties and parties[node] in asked:
                return parties[node]
        raise RemoteProtocolError(f"node {node} is not asked")


class SecureSum(Held):
    """One session with nodes.

    Args:
        params: its parameters; the context may be to come.
        numbers: node to its number in the cohort.
        server: the suite's server.
        record: what is said of it.
        members: node to its number on the committee, where one opens the sum.
        committee_key: public key of the committee, as it travels.

    Attributes:
        terms: how contributions become vectors; None until the vector is asked for.
        contributors: nodes whose vector is in.
    """

    def __init__(
        self,
        params: SessionParams,
        numbers: Mapping[int, int],
        server: ServerSession,
        *,
        record: RoundRecord,
        members: Mapping[int, int] | None = None,
        committee_key: bytes = b"",
    ) -> None:
        super().__init__(server, clients=numbers, members=members, record=record)
        self.params = params
        self.numbers = dict(numbers)
        self.terms: Terms | None = None
        self.contributors: set[int] = set()
        self._session = server
        self._committee_key = committee_key

    def bind(self, context: bytes, terms: Terms) -> None:
        """Say what the vectors are about, before they are asked for."""
        self.terms = terms
        self.record.round = terms.round
        self.params = self.params.with_context(context)
        if not self.over:
            self._session.bind(context)

    def _step(self, party: PartyId) -> Step:
        params = self.params.to_bytes()
        if party.role is Role.COMMITTEE:
            return MemberStep(session=self.params.nonce, params=params)
        first = self.phase in _FIRST
        return ClientStep(
            session=self.params.nonce,
            params=params if first else b"",
            number=party.number if first else 0,
            committee=self._committee_key if first else b"",
            terms=self.terms if self.phase in INPUT_PHASES else None,
            context=self.params.context if self.phase in INPUT_PHASES else b"",
        )

    def _took(self, node: int) -> None:
        if self.phase in INPUT_PHASES:
            self.contributors.add(node)

    def summed(self) -> Aggregate | None:
        """Return the sum, or None if nothing is released."""
        if self.record.aborted is not None:
            return None
        aggregate = self._session.result
        self.record.contributors, self.record.error_std = aggregate.contributors, aggregate.error_std
        self.record.dropped = tuple(sorted(set(self.numbers) - self.contributors))
        return aggregate
