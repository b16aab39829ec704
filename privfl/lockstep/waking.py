"""Parties that sleep between two requests, for callers that answer each in a new process.

What sleeps is sealed bytes. Nothing in bytes keeps them from being read twice: that is the `StateGuard`'s part, which
is asked before a party that was woken answers.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final, TypeVar

import msgspec

from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError
from privfl.guard import MemoryGuard, StateGuard, require_guard
from privfl.lockstep.party import Incoming, LockstepParty, SessionOver
from privfl.primitives.labels import Label
from privfl.primitives.sealing import open_sealed, seal
from privfl.wire import PartyId
from privfl.wire.typed import decoder_of

_RESTORED: Final = "restored state"

Written = TypeVar("Written", bound=msgspec.Struct)


class SleepingParty(LockstepParty):
    """Base of parties that may sleep.

    Args:
        guard: durable, and shared by all processes that might wake this party; without one it does not sleep.
        party, state, body_limit_bytes, remember_response: as for `LockstepParty`.

    Guarantees:
        1. As those of `LockstepParty`.
        2. Of all parties that are woken from one state, in whatever processes, at most one acts on a request; none is
           woken from a state that has answered, nor from a session that is over.
    """

    def __init__(
        self,
        party: PartyId,
        *,
        state: object,
        body_limit_bytes: int,
        remember_response: bool,
        guard: StateGuard | None,
    ) -> None:
        super().__init__(party, state=state, body_limit_bytes=body_limit_bytes, remember_response=remember_response)
        if guard is not None:
            require_guard(guard)
        self._guard: StateGuard = MemoryGuard() if guard is None else guard
        self._may_sleep = guard is not None
        self._woken = False
        self._claimed: object = None  # the state that this party, woken, has claimed for itself

    @abstractmethod
    def _agreed(self) -> bytes:
        """Digest of what was agreed, a nonce that is used once in it: names the session before its id is known."""

    @abstractmethod
    def _sealed(self, state: Any, key: bytes) -> bytes:
        """Write all of this party, secrets and all, sealed.

        Args:
            state: its state, which is not over.
            key: the owner's.

        Raises:
            ConfigurationError: the key is not 32 bytes.
        """

    def to_bytes(self, key: bytes) -> bytes:
        """Put this party to sleep between two requests; this object is over then, and `from_bytes` goes on.

        Args:
            key: 32 secret bytes of the owner's, which may seal many.

        Raises:
            LocalProtocolError: it is over, or at work.
            ConfigurationError: the key is not 32 bytes, or there is no guard; nothing has changed.
        """
        if not self._at_work.acquire(blocking=False):
            raise LocalProtocolError(f"{self.party} is answering a request: it cannot be put to sleep")
        try:
            if isinstance(self._state, SessionOver):
                raise LocalProtocolError(f"the session of {self.party} is over: {self._state.why}")
            if not self._may_sleep:
                raise ConfigurationError(
                    "a session that sleeps needs a guard that does not: such as guard=FileGuard(…)"
                )
            if self._claimed is self._state:
                raise LocalProtocolError(f"{self.party} has begun to answer: finish it in this process")
            sealed = self._sealed(self._state, key)
            # From here on the bytes are the session: two of them could tell what one must not tell twice.
            self._end("put to sleep: wake it from its bytes")
            return sealed
        finally:
            self._at_work.release()

    def _wake(self, state: object, last: tuple[bytes, bytes | None] | None) -> None:
        """Take over where a party at rest left off.

        Args:
            state: as it was.
            last: digest of the last request, and the response if it is remembered.

        Raises:
            ConfigurationError: there is no guard.
            DisclosureRefused: this state has answered already.
        """
        if not self._may_sleep:
            # One of its own would know of nobody else who wakes from the same bytes: two could answer, with the same
            # masks over two vectors.
            raise ConfigurationError("guard is None: a session wakes with the guard that it was made with")
        self._state, self._last, self._woken = state, last, True
        if self._guard.claimed(_RESTORED, self._claim_key()):
            raise DisclosureRefused("this state of a session has answered already: it is not restored again")

    def _before(self, incoming: Incoming, *, expected: bool) -> None:  # noqa: ARG002 - the same for every request
        self._claim_state()

    def _claim_state(self) -> None:
        """See that of all parties woken from one state at most one answers.

        Raises:
            DisclosureRefused: another did.
        """
        if self._woken and self._claimed is not self._state:
            self._guard.claim(_RESTORED, self._claim_key())
            self._claimed = self._state

    def _claim_key(self) -> bytes:
        role, number = self.party
        return self._agreed() + bytes([role]) + number.to_bytes(4, "big") + type(self._state).__name__.encode()


def seal_resting(written: msgspec.Struct, key: bytes, *, magic: bytes, label: Label) -> bytes:
    """Write a party at rest under its owner's key.

    Args:
        written: all of it.
        key: 32 secret bytes, which may seal many.
        magic: what the bytes begin with: whose they are, and in which version.
        label: what is sealed.

    Raises:
        ConfigurationError: the key is not 32 bytes.
    """
    return seal(msgspec.msgpack.encode(written), key, head=magic, label=label)


def open_resting(raw: bytes, key: bytes, kind: type[Written], *, magic: bytes, label: Label) -> Written:
    """Read what `seal_resting` wrote.

    Raises:
        ConfigurationError: the key is not 32 bytes.
        DecodeError: another key, altered bytes, another kind or version, or nothing at rest.
    """
    message: object = raw
    if not isinstance(message, bytes) or not raw.startswith(magic):
        raise DecodeError("not a session at rest of this kind and version, as to_bytes() makes one")
    opened = open_sealed(raw, key, head=magic, label=label)
    try:
        return decoder_of(kind).decode(opened)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"a session at rest of another version: {error}") from None
