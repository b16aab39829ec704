"""What everybody who answers the server has in common: decoding, the repeat cache, and failing closed."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError, PrivflError
from privfl.params import SessionParams
from privfl.wire import (
    SERVER,
    Message,
    OutgoingFrame,
    PartyId,
    SuiteCode,
    decode_message,
    encode_message,
    envelope_bytes,
    message_type,
    open_envelope,
)

_NO_TAIL: Final = memoryview(b"")


@dataclass(frozen=True, slots=True)
class SessionOver:
    """Terminal state of a party's session: nothing is left to tell."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A decoded request; its tail is a view into the bytes that came, and `vector` what `_read_tail` made of it."""

    message: Message
    session: bytes
    tail: memoryview = _NO_TAIL
    vector: Any = None


Handler = Callable[[Any, Incoming], tuple[Any, bytes]]


class LockstepParty(ABC):
    """Base of sessions of parties that answer the server: clients, and members of a committee.

    A suite gives the table of handlers: (type of state, type of message) to a function from both to the next state
    and the response.

    Args:
        party: who it is.
        state: its first state.
        body_limit_bytes: longest struct of a request.
        remember_response: keep the last response to answer a repeated request; costs its size in memory.

    Guarantees:
        1. Bytes that do not decode leave the state unmoved.
        2. A byte-identical repeat of the last request gets the same response, and nothing else happens.
        3. Any other well-formed request that the table does not expect, or that a handler refuses, destroys the
           secrets, the remembered response among them; no later request is answered.
    """

    _suite: ClassVar[SuiteCode]

    def __init__(self, party: PartyId, *, state: object, body_limit_bytes: int, remember_response: bool) -> None:
        self.party = party
        self._state = state
        self._body_limit_bytes = body_limit_bytes
        self._remember = remember_response
        self._last: tuple[bytes, bytes | None] | None = None
        self._at_work = threading.Lock()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a session is neither pickled nor copied: its copy could tell what it must not tell twice")

    @abstractmethod
    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        """The transition table."""

    def _tail_bytes_of(self) -> Mapping[type[Message], int]:
        """Exact lengths of the requests' tails; a request that is not named has none."""
        return {}

    def _read_tail(self, kind: type[Message], tail: memoryview) -> Any:  # noqa: ARG002 - a hook that may stay empty
        """Read a request's tail.

        Raises:
            DecodeError: it is not as agreed; the state has not moved.
        """
        return None

    def _before(self, incoming: Incoming, *, expected: bool) -> None:  # noqa: B027 - a hook that may stay empty
        """Do what comes before a request is handled; what is raised here is as if the handler had raised it.

        Args:
            incoming: the request.
            expected: whether the table has a handler for it.
        """

    @property
    def most_request_bytes(self) -> int:
        """No longer request is decoded."""
        return envelope_bytes(self._body_limit_bytes, max(self._tail_bytes_of().values(), default=0))

    def _end(self, why: str) -> None:
        self._state, self._last = SessionOver(why), None

    def respond(self, request: bytes) -> bytes:
        """See `ClientSession.respond`."""
        if not self._at_work.acquire(blocking=False):
            raise LocalProtocolError(f"{self.party} is answering another request: a session serves one thread")
        try:
            return self._respond(request)
        finally:
            self._at_work.release()

    def _respond(self, request: bytes) -> bytes:
        raw: object = request
        if not isinstance(raw, bytes):
            raise DecodeError(f"a message is bytes, not {type(raw).__name__}")
        fingerprint = hashlib.sha256(request).digest()
        if self._last is not None and self._last[0] == fingerprint:
            if self._last[1] is None:
                raise LocalProtocolError("this session was told not to remember its responses, and cannot repeat one")
            return self._last[1]
        incoming = self._decoded(request)
        handler = self._handler(incoming)
        try:
            self._before(incoming, expected=handler is not None)
            state, response = (handler or _refuse_out_of_order)(self._state, incoming)
        except (LocalProtocolError, ConfigurationError):
            raise  # the caller's own slip (no vector, or one that does not fit): the request may come again
        except BaseException as error:
            # Only our own texts are kept: those of others could hold what is private.
            why = str(error) if isinstance(error, PrivflError) else type(error).__name__
            # Why it ended in the first place is what matters; the repeat goes in any case.
            self._end(self._state.why if isinstance(self._state, SessionOver) else f"refused: {why}")
            raise
        self._state = state
        self._last = (fingerprint, response if self._remember else None)
        return response

    def _decoded(self, request: bytes) -> Incoming:
        """Decode a request.

        Raises:
            DecodeError: it is none of this session's.
        """
        tails = self._tail_bytes_of()
        kinds = {message_type(kind): kind for _, kind in self._handlers()}
        envelope = open_envelope(
            request,
            body_limit_bytes=self._body_limit_bytes,
            tail_bytes_of={number: tails.get(kind, 0) for number, kind in kinds.items()},
        )
        if envelope.sender != SERVER or envelope.suite is not self._suite:
            raise DecodeError(f"a request of {envelope.suite.name} by {envelope.sender}", peer=envelope.sender)
        message = decode_message(envelope, kinds[envelope.type_number])
        vector = self._read_tail(type(message), envelope.tail)
        return Incoming(message=message, session=envelope.session, tail=envelope.tail, vector=vector)

    def _handler(self, incoming: Incoming) -> Handler | None:
        return self._handlers().get((type(self._state), type(incoming.message)))

    def _frame(self, message: Message, session: bytes, *, tail_bytes: int = 0) -> OutgoingFrame:
        return encode_message(message, suite=self._suite, session=session, sender=self.party, tail_bytes=tail_bytes)


def bound(params: SessionParams, context: bytes) -> SessionParams:
    """Bind parameters to a context, once.

    Raises:
        LocalProtocolError: they are bound to another.
        ConfigurationError: it is not 32 bytes.
    """
    if params.context and context != params.context:
        raise LocalProtocolError("the session is bound to another context: its keys serve one, hold another session")
    return params.with_context(context)


def _refuse_out_of_order(state: object, incoming: Incoming) -> tuple[Any, bytes]:
    if isinstance(state, SessionOver):
        raise DisclosureRefused(f"the session is over: {state.why}; each round needs a session of its own", peer=SERVER)
    raise DisclosureRefused(
        f"{type(incoming.message).__name__} has no place in state {type(state).__name__}: it comes twice, too late, or "
        f"from another session",
        peer=SERVER,
    )
