"""The one interface that every suite speaks: request and response in lock-step, without I/O, clocks or threads.

Theory of operation. The server makes one request per party and phase, the party gives one response, the caller
carries the bytes and owns the deadlines. A session is therefore a function-call protocol that fits Flower messages,
HTTP polling, MQTT and in-process calls alike:

    for phase in server's phases:
        for party in server.waiting:
            server.receive(party, client_session.respond(server.request_for(party)))
        server.advance()              # whoever has not answered has dropped
    server.result

Delivery is at least once: a byte-identical repeat of the last request gets the cached response, and a repeated
response is ignored. Bytes that do not decode leave every state unmoved. A well-formed request that must not be
answered destroys the client's secrets and ends its session. Sessions are not thread-safe.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, NoReturn, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from privfl.encoding.residues import Ring
from privfl.errors import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    PrivflError,
    RemoteProtocolError,
    RoundAborted,
)
from privfl.params import DEFAULT_STATISTICAL_BITS, ServerModel, SessionParams
from privfl.wire import (
    SERVER,
    Envelope,
    Message,
    OutgoingFrame,
    PartyId,
    Role,
    SuiteCode,
    client,
    decode_message,
    encode_message,
    message_type,
    open_envelope,
)

Vector = npt.NDArray[np.signedinteger[Any]]


class Phase(StrEnum):
    """Phases of a session, in the papers' words (`Upload` is the only one of `plain`)."""

    ADVERTISE_KEYS = "AdvertiseKeys"
    SHARE_KEYS = "ShareKeys"
    MASKED_INPUT = "MaskedInput"
    CONSISTENCY_CHECK = "ConsistencyCheck"
    UNMASK = "Unmask"
    UPLOAD = "Upload"
    FINISHED = "Finished"
    ABORTED = "Aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What a session released.

    Attributes:
        vector: the sum over exactly the contributors, int64, shape (params.vector.length,).
        contributors: how many clients are in it.
        error_std: standard deviation of the error of each coordinate of the sum; 0.0 is exact.
    """

    vector: npt.NDArray[np.int64]
    contributors: int
    error_std: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """What a client insists on, whatever the server proposes.

    Attributes:
        minimum_contributors: fewest contributors that it hides among.
        suites: suites that it speaks; `plain`, which hides nothing, must be named to be allowed.
        servers: models of the server that it accepts; leave only `ACTIVE` to refuse sessions without signatures.
        corrupt: smallest fraction of corrupt clients that parameters must withstand.
        statistical_bits: smallest σ.
    """

    minimum_contributors: int = 2
    suites: frozenset[str] = frozenset({"masking"})
    servers: frozenset[ServerModel] = frozenset(ServerModel)
    corrupt: float = 0.0
    statistical_bits: int = DEFAULT_STATISTICAL_BITS

    def check(self, params: SessionParams) -> None:
        """Raise unless the parameters suit the policy.

        Raises:
            ConfigurationError: names the key that does not.
        """
        if params.suite not in self.suites:
            raise ConfigurationError(f"suite {params.suite!r} is not allowed by this client: {sorted(self.suites)} are")
        threat = params.threat
        if threat.server not in self.servers:
            raise ConfigurationError(f"threat.server {threat.server.value!r} is not allowed by this client")
        if threat.corrupt < self.corrupt:
            raise ConfigurationError(f"threat.corrupt is {threat.corrupt}: this client wants {self.corrupt} or more")
        if threat.statistical_bits < self.statistical_bits:
            raise ConfigurationError(
                f"threat.statistical_bits is {threat.statistical_bits}: this client wants "
                f"{self.statistical_bits} or more"
            )
        if len(params.cohort) < self.minimum_contributors:
            raise ConfigurationError(
                f"cohort.size is {len(params.cohort)}, under this client's minimum of {self.minimum_contributors}"
            )


class ClientSession(Protocol):
    """A client's (or a committee member's) side of one session."""

    def submit(self, vector: Vector | Iterable[Vector]) -> None:
        """Hand over the vector, any time before it is needed.

        Args:
            vector: int32 or int64, shape (params.vector.length,), magnitudes ≤ params.vector.bound; or an iterable of
                such chunks. It is read when the upload is made: do not change it before.

        Raises:
            ConfigurationError: wrong shape, type or magnitude.
            LocalProtocolError: a vector was taken already, or the session is over.
        """
        ...

    def respond(self, request: bytes) -> bytes:
        """Answer one request.

        Raises:
            DecodeError: not a message; nothing has changed.
            DisclosureRefused: must not be answered; secrets destroyed, session over.
            LocalProtocolError: no vector was submitted (try again after `submit`), or the session is over.
        """
        ...


class ServerSession(Protocol):
    """The server's side of one session."""

    @property
    def phase(self) -> Phase:
        """The phase that waits for answers now."""
        ...

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """Who has not answered in this phase."""
        ...

    @property
    def ready(self) -> bool:
        """Whether enough have answered for `advance` not to abort.

        While AdvertiseKeys is open the graph is not drawn yet: there it says that enough clients are present.
        """
        ...

    def request_for(self, party: PartyId) -> bytes:
        """Make the request of this phase for one party.

        Raises:
            LocalProtocolError: the party has no part in this phase.
        """
        ...

    def receive(self, sender: PartyId, response: bytes) -> None:
        """Take one response: validated, accumulated, dropped. Repeats of an accepted one are ignored.

        Raises:
            RemoteProtocolError: the response is not as agreed; the sender counts as not having answered.
        """
        ...

    def advance(self) -> None:
        """Close the phase: whoever has not answered has dropped.

        Raises:
            RoundAborted: too few are left.
        """
        ...

    @property
    def result(self) -> Aggregate:
        """The sum, after the last phase.

        Raises:
            LocalProtocolError: not finished.
        """
        ...


# ---------------------------------------------------------------------------------------------------------------------
# What the suites' clients share


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


# ---------------------------------------------------------------------------------------------------------------------
# What the suites' servers share

MessageT = TypeVar("MessageT", bound=Message)


class ServerStep(ABC, Generic[MessageT]):
    """One phase of a server: what it asks, what it takes, and what follows.

    Attributes:
        phase: its name.
        answer: message type of a response.
        session: session id that requests and responses carry.
        waiting: numbers of the clients that have not answered.
        body_limit_bytes: longest struct of a response.
        tail_bytes: exact length of a response's vector.
    """

    phase: ClassVar[Phase]
    answer: ClassVar[type[Message]]
    session: bytes
    waiting: set[int]
    body_limit_bytes: int
    tail_bytes: int = 0

    @abstractmethod
    def request_for(self, number: int) -> Message:
        """Make the request for a client that takes part in this phase."""

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
    def close(self) -> ServerStep[Any] | Aggregate:
        """End the phase.

        Raises:
            RoundAborted: too few are left.
        """


_AFTER_THE_END: Final = {True: Phase.FINISHED, False: Phase.ABORTED}


class LockstepServer:
    """Base of server sessions: drives the steps of a suite.

    Guarantees:
        1. A response that is not as agreed changes nothing, and its sender counts as silent.
        2. After an abort nothing is released, ever.
    """

    _suite: ClassVar[SuiteCode]

    def __init__(self, params: SessionParams, first: ServerStep[Any]) -> None:
        self.params = params
        self._step: ServerStep[Any] | None = first
        self._taking_part = frozenset(first.waiting)
        self._result: Aggregate | None = None

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a session is neither pickled nor copied")

    @property
    def phase(self) -> Phase:
        """See `ServerSession.phase`."""
        return self._step.phase if self._step is not None else _AFTER_THE_END[self._result is not None]

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """See `ServerSession.waiting`."""
        return frozenset(client(number) for number in self._step.waiting) if self._step else frozenset()

    @property
    def ready(self) -> bool:
        """See `ServerSession.ready`."""
        return self._step is not None and self._step.ready

    def request_for(self, party: PartyId) -> bytes:
        """See `ServerSession.request_for`."""
        step = self._open_step()
        if party.role is not Role.CLIENT or party.number not in self._taking_part:
            raise LocalProtocolError(f"{party} takes no part in {step.phase}")
        message = step.request_for(party.number)
        return encode_message(message, suite=self._suite, session=step.session, sender=SERVER).finish()

    def receive(self, sender: PartyId, response: bytes) -> None:
        """See `ServerSession.receive`."""
        step = self._step
        if step is None:
            raise RemoteProtocolError(f"{sender} answers a session that is over", peer=sender)
        if sender.role is not Role.CLIENT or sender.number not in self._taking_part:
            raise RemoteProtocolError(f"{sender} takes no part in {step.phase}", peer=sender)
        try:
            envelope = open_envelope(
                response,
                body_limit_bytes=step.body_limit_bytes,
                tail_bytes_of={message_type(step.answer): step.tail_bytes},
            )
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
        self._step = None  # whatever happens in close: this phase is over, and an abort releases nothing
        outcome = step.close()
        if isinstance(outcome, Aggregate):
            self._result = outcome
        else:
            self._step = outcome
            self._taking_part = frozenset(outcome.waiting)

    @property
    def result(self) -> Aggregate:
        """See `ServerSession.result`."""
        if self._result is None:
            raise LocalProtocolError(f"there is no sum in phase {self.phase}")
        return self._result

    def _open_step(self) -> ServerStep[Any]:
        if self._step is None:
            raise LocalProtocolError(f"the session is over: {self.phase}")
        return self._step


def _require_origin(envelope: Envelope, *, sender: PartyId, suite: SuiteCode, session: bytes) -> None:
    if envelope.sender != sender or envelope.suite is not suite:
        raise DecodeError(f"{sender} delivered a {envelope.suite.name} message of {envelope.sender}")
    if envelope.session != session:
        raise DecodeError(f"{sender} answered another session")


def finish_sum(words: npt.NDArray[Any], ring: Ring, *, contributors: int, bound: int) -> Aggregate:
    """Read the opened sum and check that it can be one.

    Args:
        words: residues of the sum.
        ring: their ring.
        contributors: clients in the sum.
        bound: largest magnitude of one client's coordinate.

    Raises:
        RoundAborted: a coordinate lies outside contributors · bound. Masks that did not cancel (parties that were
            shown different parameters) or a vector outside its bound: noise is not passed on as a sum.
    """
    total = ring.centred(words)
    limit = contributors * bound
    if total.size and (int(total.min()) < -limit or int(total.max()) > limit):
        raise RoundAborted(
            "the opened sum is out of range: a client left its bound, or masks did not cancel because parties were "
            "shown different parameters; nothing is released"
        )
    return Aggregate(vector=total, contributors=contributors)
