"""What the suites' servers share: the steps of a session, and reading the opened sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Final, Generic, NoReturn, TypeVar

import numpy.typing as npt

from privfl.encoding.residues import Ring
from privfl.errors import DecodeError, LocalProtocolError, RemoteProtocolError, RoundAborted
from privfl.lockstep.party import bound
from privfl.params import SessionParams, VectorSpec
from privfl.session import Aggregate, Phase
from privfl.wire import (
    SERVER,
    Envelope,
    Message,
    PartyId,
    Role,
    SuiteCode,
    decode_message,
    encode_message,
    message_type,
    open_envelope,
    require_party,
)

MessageT = TypeVar("MessageT", bound=Message)
ResultT = TypeVar("ResultT")

_NO_TAIL: Final = memoryview(b"")


class ServerStep(ABC, Generic[MessageT, ResultT]):
    """One phase of a server: what it asks, what it takes, and what follows.

    Attributes:
        phase: its name.
        role: whom it asks: clients, unless it says otherwise.
        answer: message type of a response.
        session: session id that requests and responses carry.
        waiting: numbers, within the role, of the parties that have not answered.
        body_limit_bytes: longest struct of a response.
        tail_bytes: exact length of a response's vector.
    """

    phase: ClassVar[Phase]
    role: ClassVar[Role] = Role.CLIENT
    answer: ClassVar[type[Message]]
    session: bytes
    waiting: set[int]
    body_limit_bytes: int
    tail_bytes: int = 0

    @abstractmethod
    def request_for(self, number: int) -> Message:
        """Make the request for a party that takes part in this phase."""

    def tail_for(self, number: int) -> memoryview:  # noqa: ARG002 - for steps that have one
        """Return the vector behind a party's request; unless overridden there is none.

        It is copied once, into the frame: what all parties get may be one and the same view.
        """
        return _NO_TAIL

    @abstractmethod
    def accept(self, number: int, message: MessageT, tail: memoryview) -> None:
        """Check a response whole, then take it in.

        Raises:
            RemoteProtocolError: not as agreed; nothing has changed.
        """

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether `close` would not abort."""

    @abstractmethod
    def close(self) -> ServerStep[Any, ResultT] | ResultT:
        """End the phase: go on to the next step, or give the session's result.

        Raises:
            RoundAborted: too few are left.
        """


_AFTER_THE_END: Final = {True: Phase.FINISHED, False: Phase.ABORTED}


class StepServer(Generic[ResultT]):
    """A server session of any result: drives steps from the first to the result.

    Args:
        suite: what its messages belong to.
        first: the first step.

    Guarantees:
        1. A response that is not as agreed changes nothing, and its sender counts as silent.
        2. After an abort nothing is released, ever.
    """

    _result_name: ClassVar[str] = "result"

    def __init__(self, suite: SuiteCode, first: ServerStep[Any, ResultT]) -> None:
        self._suite = suite
        self._step: ServerStep[Any, ResultT] | None = first
        self._taking_part = frozenset(first.waiting)  # numbers within the step's role
        self._closed: dict[int, tuple[Phase, int]] = {}  # by type of answer: phases that are over, and their tails
        self._result: ResultT | None = None

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a session is neither pickled nor copied")

    @property
    def phase(self) -> Phase:
        """See `ServerSession.phase`."""
        return self._step.phase if self._step is not None else _AFTER_THE_END[self._result is not None]

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """See `ServerSession.waiting`."""
        step = self._step
        return frozenset(PartyId(step.role, number) for number in step.waiting) if step else frozenset()

    @property
    def ready(self) -> bool:
        """See `ServerSession.ready`."""
        return self._step is not None and self._step.ready

    def request_for(self, party: PartyId) -> bytes:
        """See `ServerSession.request_for`."""
        require_party(party)
        step = self._open_step()
        if not self._takes_part(party, step):
            raise LocalProtocolError(f"{party} takes no part in {step.phase}")
        message, tail = step.request_for(party.number), step.tail_for(party.number)
        frame = encode_message(message, suite=self._suite, session=step.session, sender=SERVER, tail_bytes=tail.nbytes)
        if tail.nbytes:
            frame.write_bytes(tail)
        return frame.finish()

    def receive(self, sender: PartyId, response: bytes) -> None:
        """See `ServerSession.receive`."""
        require_party(sender)
        step = self._step
        if step is None:
            raise RemoteProtocolError(f"{sender} answers a session that is over", peer=sender)
        if not self._takes_part(sender, step):
            raise RemoteProtocolError(f"{sender} takes no part in {step.phase}", peer=sender)
        try:
            envelope = open_envelope(
                response,
                body_limit_bytes=step.body_limit_bytes,
                tail_bytes_of={
                    **{number: tail_bytes for number, (_, tail_bytes) in self._closed.items()},
                    message_type(step.answer): step.tail_bytes,
                },
            )
            self._require_open(envelope, step)
            _require_origin(envelope, sender=sender, suite=self._suite, session=step.session)
            message = decode_message(envelope, step.answer)
            if sender.number not in step.waiting:
                return  # delivered again: the first answer counts
            step.accept(sender.number, message, envelope.tail)
        except RemoteProtocolError as error:
            error.peer = sender
            raise
        step.waiting.discard(sender.number)

    def advance(self) -> None:
        """See `ServerSession.advance`."""
        step = self._open_step()
        self._closed[message_type(step.answer)] = (step.phase, step.tail_bytes)
        self._step = None  # whatever happens in close: this phase is over, and an abort releases nothing
        outcome = step.close()
        if isinstance(outcome, ServerStep):
            self._step = outcome
            self._taking_part = frozenset(outcome.waiting)
        else:
            self._result = outcome

    @property
    def result(self) -> ResultT:
        """See `ServerSession.result`."""
        if self._result is None:
            raise LocalProtocolError(f"there is no {self._result_name} in phase {self.phase}")
        return self._result

    def _takes_part(self, party: PartyId, step: ServerStep[Any, ResultT]) -> bool:
        return party.role is step.role and party.number in self._taking_part

    def _require_open(self, envelope: Envelope, step: ServerStep[Any, ResultT]) -> None:
        if envelope.type_number != message_type(step.answer):
            closed, _ = self._closed[envelope.type_number]
            raise DecodeError(f"{envelope.sender} answers {closed}, which is closed: too late, or delivered again")

    def _open_step(self) -> ServerStep[Any, ResultT]:
        if self._step is None:
            raise LocalProtocolError(f"the session is over: {self.phase}")
        return self._step


class LockstepServer(StepServer[Aggregate]):
    """Base of the suites' server sessions, whose result is a sum.

    Args:
        params: the session's parameters, which name the suite.
        first: the first step.

    Guarantees:
        As those of `StepServer`.
    """

    _result_name = "sum"

    def __init__(self, params: SessionParams, first: ServerStep[Any, Aggregate]) -> None:
        super().__init__(SuiteCode[params.suite.upper()], first)
        self.params = params

    def bind(self, context: bytes) -> None:
        """See `ServerSession.bind`."""
        self._open_step()
        self.params = bound(self.params, context)


def _require_origin(envelope: Envelope, *, sender: PartyId, suite: SuiteCode, session: bytes) -> None:
    if envelope.sender != sender or envelope.suite is not suite:
        raise DecodeError(f"{sender} delivered a {envelope.suite.name} message of {envelope.sender}")
    if envelope.session != session:
        raise DecodeError(f"{sender} answered another session")


def finish_sum(words: npt.NDArray[Any], ring: Ring, *, contributors: int, vector: VectorSpec) -> Aggregate:
    """Read the opened sum and check that it can be one.

    Args:
        words: residues of the sum.
        ring: their ring.
        contributors: clients in the sum.
        vector: what was agreed on.

    Raises:
        RoundAborted: a coordinate lies outside what sums of so many clients reach. Masks that did not cancel (parties
            that were shown different parameters) or a vector outside its bound: noise is not passed on as a sum.
    """
    total = ring.centred(words)
    limit = vector.reach(contributors)
    if total.size and (int(total.min()) < -limit or int(total.max()) > limit):
        raise RoundAborted(
            "the opened sum is out of range: a client left its bound, or masks did not cancel because parties were "
            "shown different parameters; nothing is released"
        )
    return Aggregate(vector=total, contributors=contributors)
