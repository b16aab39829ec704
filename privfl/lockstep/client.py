"""What the suites' clients share beside `LockstepParty`: vectors, what the client insists on, and sleeping."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from privfl.encoding import bitpack
from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError
from privfl.guard import StateGuard
from privfl.lockstep.party import Incoming, SessionOver, bound
from privfl.lockstep.sleep import Slept, seal_slept
from privfl.lockstep.waking import SleepingParty
from privfl.params import SessionParams, VectorSpec
from privfl.primitives.prg import AddMasks, Mask, Words, sweep
from privfl.primitives.secret import Secret
from privfl.session import ClientPolicy, Vector
from privfl.wire import SERVER, Message, client

_ANY_NUMBER: Final = 1 << 16


class LockstepClient(SleepingParty):
    """Base of client sessions: parties that bring a vector, have a policy, and may sleep.

    Guarantees:
        1. As those of `LockstepParty`; the submitted vector is one of the secrets.
        2. Of all sessions that are woken from one state, in whatever processes, at most one acts on a request; none is
           woken from a state that has answered, nor from a session that is over.
    """

    _upload_request: ClassVar[type[Message]]

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy,
        guard: StateGuard | None,
        remember_response: bool,
        state: object,
        body_limit_bytes: int,
    ) -> None:
        policy.check(params)
        if number not in params.cohort:
            raise ConfigurationError(f"client {number!r} is not in the cohort: the numbers {_some(params.cohort)} are")
        super().__init__(
            client(number),
            state=state,
            body_limit_bytes=body_limit_bytes,
            remember_response=remember_response,
            guard=guard,
        )
        self.params = params
        self._policy = policy
        self._vector: Vector | Iterable[Vector] | None = None
        self._vector_taken = False

    @abstractmethod
    def _write_state(self, state: Any) -> bytes:
        """Write a state that is not over, secrets and all."""

    @abstractmethod
    def _read_state(self, raw: bytes) -> object:
        """Read what `_write_state` wrote.

        Raises:
            ValueError: another version wrote it.
        """

    def _sealed(self, state: Any, key: bytes) -> bytes:
        slept = Slept(
            params=self.params,
            number=self.party.number,
            policy=self._policy,
            vector_taken=self._vector_taken,
            last=self._last,
            state=Secret(self._write_state(state)),
        )
        return seal_slept(slept, key, suite=self._suite)

    def _wake_from(self, slept: Slept) -> None:
        """Take over where a session at rest left off.

        Raises:
            DecodeError: another version wrote it.
            DisclosureRefused: its state has answered already.
        """
        try:
            state = self._read_state(slept.state.reveal())
        except ValueError as error:
            raise DecodeError(f"a session at rest of another version: {error}") from None
        self._vector_taken = slept.vector_taken
        self._wake(state, slept.last)

    def _before(self, incoming: Incoming, *, expected: bool) -> None:
        if expected and isinstance(incoming.message, self._upload_request):
            self._require_context()
            if self._vector is None:
                raise LocalProtocolError(f"{self.party} has no vector to upload: call submit() first")
        super()._before(incoming, expected=expected)

    def _agreed(self) -> bytes:
        # Nonces are used once, so that this digest names the session before its id is known. It leaves the context out:
        # else one state, woken twice and bound to two contexts, would answer under both.
        return self.params.keys_digest

    def _end(self, why: str) -> None:
        super()._end(why)
        self._vector, self._vector_taken = None, True

    def bind(self, context: bytes) -> None:
        """See `ClientSession.bind`."""
        if not self._at_work.acquire(blocking=False):
            raise LocalProtocolError(f"{self.party} is answering a request: it cannot be bound to a context")
        try:
            if isinstance(self._state, SessionOver):
                raise LocalProtocolError(f"the session of {self.party} is over: {self._state.why}")
            self.params = bound(self.params, context)
        finally:
            self._at_work.release()

    def check_upload(self, request: bytes) -> None:
        """See `ClientSession.check_upload`."""
        if not self._at_work.acquire(blocking=False):
            raise LocalProtocolError(f"{self.party} is answering a request: it cannot look at another")
        try:
            if isinstance(self._state, SessionOver):
                raise LocalProtocolError(f"the session of {self.party} is over: {self._state.why}")
            incoming = self._decoded(request)
            if not isinstance(incoming.message, self._upload_request) or self._handler(incoming) is None:
                raise DisclosureRefused("a request that is not one for the vector, or comes out of turn", peer=SERVER)
            self._require_context()
            self._check_upload(self._state, incoming)
        finally:
            self._at_work.release()

    def _require_context(self) -> None:
        if not self.params.context:
            raise LocalProtocolError(f"{self.party} has no context to upload under: call bind() first")

    @abstractmethod
    def _check_upload(self, state: Any, incoming: Incoming) -> None:
        """Raise unless a request for the vector may be answered; nothing changes.

        Raises:
            DisclosureRefused: it may not.
        """

    def submit(self, vector: Vector | Iterable[Vector]) -> None:
        """See `ClientSession.submit`."""
        if isinstance(self._state, SessionOver):
            raise LocalProtocolError(f"the session of {self.party} is over: {self._state.why}")
        if self._vector_taken or self._vector is not None:
            raise LocalProtocolError(f"{self.party} has submitted its vector already: one session, one vector")
        given: object = vector
        if hasattr(given, "vector"):
            raise ConfigurationError(f"a vector is an array, not a whole {type(given).__name__}: submit its .vector")
        if isinstance(given, str | bytes | bytearray | memoryview | Mapping) or not isinstance(given, Iterable):
            raise ConfigurationError(
                f"a vector is an array of int32 or int64, or an iterable of such chunks, not of type "
                f"{type(given).__name__}"
            )
        if isinstance(vector, np.ndarray):
            if vector.shape != (self.params.vector.length,):
                raise ConfigurationError(
                    f"vector of shape {vector.shape} where {(self.params.vector.length,)} is agreed (vector.length)"
                )
            check_chunk(vector, self.params.vector.bound)
        elif isinstance(vector, list | tuple):  # at hand as well; other chunks are seen when they are made
            for chunk in vector:
                check_chunk(chunk, self.params.vector.bound)
        self._vector = vector

    def _take_vector(self) -> tuple[WholeVector | VectorInChunks, int]:
        """Return the submitted vector, of which the session keeps no reference, and how many threads may read it."""
        assert self._vector is not None  # noqa: S101 - `_before` has seen to it; for the type checker
        vector, self._vector = self._vector, None
        if isinstance(vector, np.ndarray):
            return WholeVector(vector, self.params.vector.bound), _ANY_NUMBER
        return VectorInChunks(vector, self.params.vector), 1

    def _vector_frame(self, message: Message, session: bytes, *, masks: Sequence[Mask] = (), workers: int = 1) -> bytes:
        """Make the upload: the submitted vector as residues, masked; the session keeps no reference to the vector.

        One pass: each piece is read, masked and written while it is in the cache.
        """
        ring, length = self.params.ring, self.params.vector.length
        source, most_workers = self._take_vector()
        frame = self._frame(message, session, tail_bytes=ring.vector_bytes(length))

        def fill(tail: Words) -> None:
            def as_words(start: int, stop: int, add_masks: AddMasks) -> None:
                words = tail[start:stop]
                source.store(ring, start, words)
                add_masks(words)

            def packed(start: int, stop: int, add_masks: AddMasks) -> None:
                first, last = (bitpack.packed_words(i, ring.bits, ring.word_bits) for i in (start, stop))
                block = np.zeros(-(-(stop - start) // ring.word_bits) * ring.word_bits, ring.dtype)
                source.store(ring, start, block[: stop - start])
                add_masks(block[: stop - start])
                # Dropping the bits above 2^b is safe: what is uniform modulo the word is uniform modulo 2^b.
                bitpack.pack_block(block, ring.bits, tail[first:last])

            visit, piece = (packed, bitpack.BLOCK) if ring.packed else (as_words, 0)
            sweep(length, ring.dtype, masks, visit, piece=piece, workers=min(workers, most_workers))

        frame.write_tail(ring.dtype, fill)
        source.finish()
        self._vector_taken = True
        return frame.finish()


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


class WholeVector:
    """A vector at hand, read in any order."""

    def __init__(self, vector: Vector, bound: int) -> None:
        self._vector = vector
        self._bound = bound

    def store(self, ring: Ring, start: int, out: Words) -> None:
        """Write a piece of the vector as residues.

        Raises:
            ConfigurationError: it has changed since it was submitted, and is beyond the bound now. Unseen, it would
                make the sum of all another.
        """
        piece = self._vector[start : start + len(out)]
        check_chunk(piece, self._bound)
        ring.store(piece, out)

    def finish(self) -> None:
        """Do nothing: the length was checked when the vector was submitted."""


class VectorInChunks:
    """A vector that comes in chunks of any length, read once and in order."""

    def __init__(self, chunks: Iterable[Vector], spec: VectorSpec) -> None:
        self._chunks = iter(chunks)
        self._spec = spec
        self._rest: Vector = np.empty(0, np.int32)

    def store(self, ring: Ring, start: int, out: Words) -> None:
        """Write the next piece of the vector as residues.

        Raises:
            ConfigurationError: a chunk is not as agreed, or there are too few.
            LocalProtocolError: there was an error in the making of a chunk.
        """
        filled = 0
        while filled < len(out):
            if not self._more():
                raise ConfigurationError(
                    f"the chunks hold {start + filled} coordinates where {self._spec.length} are agreed (vector.length)"
                )
            taken, self._rest = np.split(self._rest, [len(out) - filled])
            ring.store(taken, out[filled : filled + len(taken)])
            filled += len(taken)

    def finish(self) -> None:
        """See that nothing is left over.

        Raises:
            ConfigurationError: something is.
            LocalProtocolError: as for `store`.
        """
        if self._more():
            raise ConfigurationError(
                f"the chunks hold more than {self._spec.length} coordinates, as are agreed (vector.length)"
            )

    def _more(self) -> bool:
        while not len(self._rest):
            try:
                chunk = next(self._chunks, None)
            except Exception as error:  # the caller's own slip, whatever it is: nothing has left yet
                raise LocalProtocolError(
                    f"a chunk of the vector could not be made ({type(error).__name__}): submit the vector again"
                ) from error
            if chunk is None:
                return False
            check_chunk(chunk, self._spec.bound)
            self._rest = chunk
        return True


def _some(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (", …" if len(numbers) > 8 else "")
