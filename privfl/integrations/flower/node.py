"""A node's side of the sessions that a server holds through Flower: one message at a time, then asleep."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from flwr.app import Context
from msgspec import structs

from privfl.errors import ConfigurationError, DisclosureRefused, LedgerError, LocalProtocolError, PrivflError
from privfl.integrations.flower.carrying import Carried
from privfl.integrations.flower.home import NodeHome, NodePolicy
from privfl.integrations.flower.keeping import Kept, Shelf
from privfl.integrations.flower.messages import (
    CeremonyStep,
    ClientStep,
    Enrolment,
    EnrolStep,
    MemberStep,
    Terms,
    encode,
)
from privfl.integrations.flower.node_books import NodeBooks
from privfl.integrations.flower.seat import Seat, read_key
from privfl.params import SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.signatures import verify
from privfl.roster import Credentials, Roster
from privfl.session import ClientSession
from privfl.suites import suite, wake

_TERMS_OF_RUN: Final = "terms of a run"
_TERMS: Final = "terms"
_EVALUATED: Final = "evaluated model"
_WHY_LENGTH: Final = 500
UNTOLD: Final = "this node cannot answer: its log says why"


class Node:
    """What a node knows while it answers a message.

    Args:
        home: its directory.
        policy: what it insists on.
        credentials: identity and roster, if it has them.
        committee: roster of the committee that it trusts with sums of `ckks`, if it has one.
        context: Flower's.
        workers: threads for long vectors.

    Attributes:
        policy: likewise.
        books: what it spends of its own budget.

    Guarantees:
        1. A session answers each request in one process, once, though Flower's state should be restored: its guard is
           durable, and older than any state.
        2. No session is begun that the policy does not allow, whoever asks.
    """

    def __init__(
        self,
        home: NodeHome,
        policy: NodePolicy,
        *,
        credentials: Credentials | None,
        committee: Roster | None,
        context: Context,
        workers: int = 1,
    ) -> None:
        self.policy = policy
        self._home = home
        self._credentials = credentials
        self._identity = home.identity or (credentials.identity if credentials else None)
        self.books = NodeBooks(home.folder, self._identity, policy.budget, policy.server)
        self._committee = committee
        self._context = context
        self._workers = workers
        self._shelf = Shelf(context)

    def check_server(self, carried: Carried) -> None:
        """Raise unless the server is the one that the policy names, if it names one.

        Raises:
            DisclosureRefused: the request is not signed by it, for this run and node.
        """
        if self.policy.server is None:
            return
        parts = carried.signed(run=self._context.run_id, node=self._context.node_id)
        try:
            verify(self.policy.server, carried.signature, Label.FLOWER_REQUEST, *parts)
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            raise DisclosureRefused("a request that the server which this node trusts has not signed") from None

    def told(self, error: PrivflError) -> str:
        """Return what the server is told of a refusal: nothing of where the node keeps what, nor of its books."""
        why = str(error) or type(error).__name__
        own = isinstance(error, LedgerError) or str(self._home.folder) in why
        return UNTOLD if own else why[:_WHY_LENGTH]

    def enrol(self, step: EnrolStep) -> bytes:
        """Say which number of a roster this node is, and prove it.

        Raises:
            ConfigurationError: it has no identity, or the roster does not list it or has expired.
        """
        identity = self._identity
        nodes = self._credentials.roster if self._credentials else None
        roster, name = (self._committee, "committee.json") if step.committee else (nodes, "roster.json")
        if identity is None or roster is None:
            raise ConfigurationError(
                f"this node has no identity: put identity.pem and {name} into its directory (privfl-home)"
            )
        roster.require_current()
        numbers = [number for number, public in roster.identities.items() if public == identity.public]
        if not numbers:
            raise ConfigurationError(f"this node's identity is not on its roster ({name})")
        parts = enrolment_parts(
            step.challenge, roster, run=self._context.run_id, node=self._context.node_id, number=numbers[0]
        )
        return encode(Enrolment(number=numbers[0], signature=identity.sign(Label.FLOWER_ENROLMENT, *parts)))

    def open(self, step: ClientStep, request: bytes) -> ClientSession:
        """Begin a session, or wake it.

        Args:
            step: what was asked.
            request: the suite's message; only whether there is one matters here.

        Raises:
            ConfigurationError: the session does not suit the policy, or the node.
            DecodeError: not parameters.
            DisclosureRefused: it is not a session of this node, or has answered this already.
        """
        if not request:
            raise ConfigurationError("a step without a request")
        if step.params:
            return self._begun(step)
        return wake(
            self._shelf.take(step.session),
            key=self._home.key,
            guard=self._home.guard,
            credentials=self._credentials,
            workers=self._workers,
            remember_response=False,
        )

    def _begun(self, step: ClientStep) -> ClientSession:
        params = SessionParams.from_bytes(step.params)
        if params.nonce != step.session:
            raise ConfigurationError("a session that is called otherwise than by its nonce")
        self.policy.check(params)
        return suite(params.suite).client(
            params,
            step.number,
            policy=self.policy.session,
            credentials=self._credentials,
            guard=self._home.guard,
            workers=self._workers,
            remember_response=False,
            committee=read_key(step.committee, self._committee) if step.committee else None,
        )

    def check_terms(self, terms: Terms) -> None:
        """Raise unless a sum's terms suit the policy, and are those of all such sums of this run.

        Terms that a server may vary would let it search: who sends nothing under which of them tells about its values.

        Raises:
            ConfigurationError: they do not suit the policy.
            DisclosureRefused: others were shown before.
        """
        self.policy.check_terms(terms)
        run = self._in_run(terms.kind.encode())
        these = run + encode(structs.replace(terms, round=0))
        if self._home.guard.claimed(_TERMS, these):
            return
        try:
            self._home.guard.claim(_TERMS_OF_RUN, run)
        except DisclosureRefused:
            raise DisclosureRefused(
                f"other terms of {terms.kind} than those that this node was first shown in this run (clip, bits, "
                f"weight_max, metrics): they stay as they are, another run can have others"
            ) from None
        self._home.guard.claim(_TERMS, these)

    def check_not_evaluated(self, model: bytes) -> None:
        """Raise if this node has evaluated a model in this run: two sums of one answer could be differenced.

        Raises:
            DisclosureRefused: it has.
        """
        if self._home.guard.claimed(_EVALUATED, self._in_run(model)):
            raise DisclosureRefused("this node has evaluated this model before, and does it once in a run")

    def evaluated(self, model: bytes) -> None:
        """Remember that a model was evaluated, durably; errors as those of `check_not_evaluated`."""
        self._home.guard.claim(_EVALUATED, self._in_run(model))

    def _in_run(self, what: bytes) -> bytes:
        return (self._context.run_id % 2**64).to_bytes(8, "big") + what

    def member(self, step: CeremonyStep | MemberStep, request: bytes) -> bytes:
        """Answer as a member of the committee; errors as those of `open`."""
        if not request:
            raise ConfigurationError("a step without a request")
        if self._identity is None or self._committee is None:
            raise ConfigurationError(
                "this node has no seat on a committee: put identity.pem and committee.json into its directory "
                "(privfl-home)"
            )
        seat = Seat(self._home, self.policy, self._identity, self._committee, self._shelf)
        return seat.ceremony(step, request) if isinstance(step, CeremonyStep) else seat.opening(step, request)

    def keep(self, session: ClientSession) -> None:
        """Put a session to sleep, if there is anything left that it could be asked."""
        with suppress(LocalProtocolError):  # it is over
            self._shelf.add(Kept(session=session.params.nonce, sealed=session.to_bytes(self._home.key)))

    def close(self) -> None:
        """Write down what sleeps, in Flower's state."""
        self._shelf.put_back()


def enrolment_parts(challenge: bytes, roster: Roster, *, run: int, node: int, number: int) -> tuple[bytes, ...]:
    """Return what the signature of an enrolment is over."""
    ends = ((run % 2**64).to_bytes(8, "big"), (node % 2**64).to_bytes(8, "big"))
    return (challenge, roster.digest, *ends, number.to_bytes(4, "big"))
