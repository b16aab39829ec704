"""What the suites' clients share: decoding, the repeat cache, and failing closed."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError, PrivflError
from privfl.params import SessionParams
from privfl.session import ClientPolicy, Vector
from privfl.wire import (
    SERVER,
    Message,
    OutgoingFrame,
    SuiteCode,
    client,
    decode_message,
    encode_message,
    message_type,
    open_envelope,
)


@dataclass(frozen=True, slots=True)
class SessionOver:
    """Terminal state of a client session: nothing is left to tell."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A decoded request."""

    message: Message
    session: bytes


Handler = Callable[[Any, Incoming], tuple[Any, bytes]]


class LockstepClient(ABC):
    """Base of client sessions: decoding, the repeat cache, and failing closed.

    A suite gives the table of handlers: (type of state, type of message) to a function from both to the next state
    and the response.

    Guarantees:
        1. Bytes that do not decode leave the state unmoved.
        2. A byte-identical repeat of the last request gets the same response, and nothing else happens.
        3. Any other well-formed request that the table does not expect, or that a handler refuses, destroys the
           secrets, the remembered response among them; no later request is answered.
    """

    _suite: ClassVar[SuiteCode]

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy,
        remember_response: bool,
        state: object,
        body_limit_bytes: int,
    ) -> None:
        policy.check(params)
        if number not in params.cohort:
            raise ConfigurationError(f"client {number} is not in the cohort: {_some(params.cohort)} are")
        self.params = params
        self.party = client(number)
        self._remember = remember_response
        self._state = state
        self._body_limit_bytes = body_limit_bytes
        self._vector: Vector | Iterable[Vector] | None = None
        self._vector_taken = False
        self._last: tuple[bytes, bytes | None] | None = None
        self._at_work = threading.Lock()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a session is neither pickled nor copied: its copy could tell what it must not tell twice")

    @abstractmethod
    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        """The transition table."""

    def submit(self, vector: Vector | Iterable[Vector]) -> None:
        """See `ClientSession.submit`."""
        if isinstance(self._state, SessionOver):
            raise LocalProtocolError(f"the session of {self.party} is over: {self._state.why}")
        if self._vector_taken or self._vector is not None:
            raise LocalProtocolError(f"{self.party} has submitted its vector already: one session, one vector")
        if isinstance(vector, np.ndarray):
            if vector.shape != (self.params.vector.length,):
                raise ConfigurationError(
                    f"vector of shape {vector.shape} where {(self.params.vector.length,)} is agreed (vector.length)"
                )
            check_chunk(vector, self.params.vector.bound)
        self._vector = vector

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
        handlers = self._handlers()
        kinds = {message_type(kind): kind for _, kind in handlers}
        envelope = open_envelope(
            request, body_limit_bytes=self._body_limit_bytes, tail_bytes_of=dict.fromkeys(kinds, 0)
        )
        if envelope.sender != SERVER or envelope.suite is not self._suite:
            raise DecodeError(f"a request of {envelope.suite.name} by {envelope.sender}", peer=envelope.sender)
        incoming = Incoming(message=decode_message(envelope, kinds[envelope.type_number]), session=envelope.session)
        handler = handlers.get((type(self._state), type(incoming.message)))
        try:
            state, response = (handler or _refuse_out_of_order)(self._state, incoming)
        except (LocalProtocolError, ConfigurationError):
            raise  # the caller's own slip (no vector, or one that does not fit): the request may come again
        except BaseException as error:
            # Only our own texts are kept: those of others could hold what is private.
            why = str(error) if isinstance(error, PrivflError) else type(error).__name__
            self._state = SessionOver(f"refused: {why}")
            self._vector, self._vector_taken, self._last = None, True, None
            raise
        self._state = state
        self._last = (fingerprint, response if self._remember else None)
        return response

    def _frame(self, message: Message, session: bytes, *, tail_bytes: int = 0) -> OutgoingFrame:
        return encode_message(message, suite=self._suite, session=session, sender=self.party, tail_bytes=tail_bytes)

    def _write_vector(self, ring: Ring, words: npt.NDArray[Any]) -> None:
        """Write the submitted vector into the upload, as residues; the session keeps no reference to it."""
        if self._vector is None:
            raise LocalProtocolError(f"{self.party} has no vector to upload: call submit() first")
        vector, self._vector = self._vector, None
        if isinstance(vector, np.ndarray):
            ring.store(vector, words)
        else:
            _store_chunks(vector, ring, words, self.params.vector.bound)
        self._vector_taken = True


def _refuse_out_of_order(state: object, incoming: Incoming) -> tuple[Any, bytes]:
    if isinstance(state, SessionOver):
        raise DisclosureRefused(f"the session is over: {state.why}", peer=SERVER)
    raise DisclosureRefused(
        f"{type(incoming.message).__name__} has no place in state {type(state).__name__}", peer=SERVER
    )


def check_chunk(chunk: Vector, bound: int) -> None:
    """Raise unless a piece of a vector has the agreed type and magnitude.

    Raises:
        ConfigurationError: it has not.
    """
    array: object = chunk
    if not isinstance(array, np.ndarray):
        raise ConfigurationError(f"a vector is a one-dimensional array of int32 or int64, not {type(array).__name__}")
    if chunk.dtype not in (np.int32, np.int64) or chunk.ndim != 1:
        raise ConfigurationError(
            f"a vector is a one-dimensional array of int32 or int64, not {chunk.ndim}-dimensional {chunk.dtype}"
        )
    if chunk.size:
        low, high = int(chunk.min()), int(chunk.max())
        if low < -bound or high > bound:
            raise ConfigurationError(  # without the value: texts of exceptions end up in logs
                f"a coordinate exceeds vector.bound = {bound} in magnitude: clip it, or agree on a larger bound"
            )


def _store_chunks(chunks: Iterable[Vector], ring: Ring, words: npt.NDArray[Any], bound: int) -> None:
    position = 0
    for chunk in chunks:
        check_chunk(chunk, bound)
        end = position + len(chunk)
        if end > len(words):
            raise ConfigurationError(f"the chunks hold more than {len(words)} coordinates (vector.length)")
        ring.store(chunk, words[position:end])
        position = end
    if position != len(words):
        raise ConfigurationError(
            f"the chunks hold {position} coordinates where {len(words)} are agreed (vector.length)"
        )


def _some(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (", …" if len(numbers) > 8 else "")
