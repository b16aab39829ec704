"""The frame around every message: who speaks, in which session, what, and how long.

Layout, little-endian, 48 bytes of header:

| offset | bytes | field |
|---|---|---|
| 0 | 4 | magic `PVFL` |
| 4 | 1 | version |
| 5 | 1 | suite |
| 6 | 1 | message type |
| 7 | 1 | role of the sender |
| 8 | 4 | number of the sender |
| 12 | 32 | session id (before keys are exchanged: the digest of what was agreed) |
| 44 | 4 | bytes of the struct, without padding |

The struct follows, then zero bytes up to a multiple of 16, then the tail: one vector of raw words, whose length the
agreed parameters dictate. The padding keeps the words aligned, so that they are read and written in place.
"""

from __future__ import annotations

import io
import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError, DecodeError

MAGIC: Final = b"PVFL"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sBBBBI32sI")
HEADER_BYTES: Final = _HEADER.size
TAIL_ALIGNMENT_BYTES: Final = 16
SESSION_BYTES: Final = 32
_NUMBERS: Final = 1 << 32

CONTROL_BODY_LIMIT_BYTES: Final = 4096
"""Room for a struct that does not grow with the number of peers."""


class Role(IntEnum):
    """What a party is in a session."""

    CLIENT = 1
    SERVER = 2
    COMMITTEE = 3


class PartyId(NamedTuple):
    """A party of a session: its role, and its number within the role (0 … 2^32 − 1)."""

    role: Role
    number: int

    def __str__(self) -> str:
        return "the server" if self.role is Role.SERVER else f"{self.role.name.lower()} {self.number}"


SERVER: Final = PartyId(Role.SERVER, 0)


def client(number: int) -> PartyId:
    """Name the client with that number.

    Raises:
        ConfigurationError: no whole number from 0 to 2^32 − 1.
    """
    try:
        whole = operator.index(number)
    except TypeError:
        whole = -1
    if not 0 <= whole < _NUMBERS:
        raise ConfigurationError(f"a client's number is {number!r}: a whole number from 0 to 2^32 - 1 works")
    return PartyId(Role.CLIENT, whole)


def require_party(party: object) -> None:
    """Raise unless it names a party.

    Raises:
        ConfigurationError: it does not.
    """
    if not isinstance(party, PartyId):
        raise ConfigurationError(f"the party is {party!r}: a PartyId works, such as privfl.client(0)")


class SuiteCode(IntEnum):
    """The suites' numbers on the wire."""

    PLAIN = 1
    MASKING = 2
    KAHE = 3
    CKKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A frame whose header has been read; body and tail are views into the caller's bytes."""

    suite: SuiteCode
    type_number: int
    sender: PartyId
    session: bytes
    body: memoryview
    tail: memoryview


class OutgoingFrame:
    """A frame under construction, whose tail is filled in place and handed over without a copy.

    Args:
        suite: suite of the session.
        type_number: number of the message type, 0 … 255.
        sender: who speaks.
        session: session id, 32 bytes.
        body: the encoded struct.
        tail_bytes: length of the vector behind it.
    """

    def __init__(
        self,
        *,
        suite: SuiteCode,
        type_number: int,
        sender: PartyId,
        session: bytes,
        body: bytes,
        tail_bytes: int = 0,
    ) -> None:
        _sender(sender.role, sender.number)
        if len(session) != SESSION_BYTES or tail_bytes < 0:
            raise ValueError(f"a frame takes a session id of {SESSION_BYTES} bytes and no negative tail")
        self._tail_start = _tail_start(len(body))
        self._size = self._tail_start + tail_bytes
        header = _HEADER.pack(MAGIC, VERSION, suite, type_number, sender.role, sender.number, session, len(body))
        self._buffer = io.BytesIO()
        self._buffer.write(header + body)
        # A write past the end zero-fills the gap and allocates the frame once; `getvalue` then hands out that same
        # allocation (BytesIO shares its buffer while nobody holds a view).
        if self._size > self._buffer.tell():
            self._buffer.seek(self._size - 1)
            self._buffer.write(b"\0")

    def write_tail(self, dtype: npt.DTypeLike, write: Callable[[npt.NDArray[Any]], None]) -> None:
        """Let `write` fill the tail, lent to it as an array of `dtype`; it must keep no reference."""
        view = self._buffer.getbuffer()
        words = np.frombuffer(view, dtype=dtype, offset=self._tail_start)
        write(words)
        del words, view

    def write_bytes(self, tail: bytes | memoryview) -> None:
        """Fill the whole tail with bytes that are at hand; copies them once."""
        self.write_tail(np.uint8, lambda out: np.copyto(out, np.frombuffer(tail, np.uint8)))

    def finish(self) -> bytes:
        """Return the frame."""
        return self._buffer.getvalue()


def envelope_bytes(body_bytes: int, tail_bytes: int = 0) -> int:
    """Return the exact size of a frame with such a struct and tail."""
    return _tail_start(body_bytes) + tail_bytes


def open_envelope(raw: bytes, *, body_limit_bytes: int, tail_bytes_of: dict[int, int]) -> Envelope:
    """Read the header of a frame and cut the frame into its parts, without a copy.

    Args:
        raw: the frame as it arrived.
        body_limit_bytes: longest struct that the agreed parameters allow.
        tail_bytes_of: message type number to the exact length of its tail; types that are not in it are refused.

    Returns:
        The opened frame. Its tail has the length that `tail_bytes_of` gives.

    Raises:
        DecodeError: anything about the frame is not as agreed.
    """
    message: object = raw
    if not isinstance(message, bytes):
        raise DecodeError(f"a message is bytes, not {type(message).__name__}")
    if len(raw) < HEADER_BYTES:
        raise DecodeError(f"a message of {len(raw)} bytes is shorter than its header of {HEADER_BYTES}")
    magic, version, suite, type_number, role, number, session, body_bytes = _HEADER.unpack_from(raw)
    if magic != MAGIC:
        raise DecodeError("not a privfl message: it does not begin with PVFL")
    if version != VERSION:
        raise DecodeError(f"wire version {version} is not {VERSION}, the one spoken here")
    try:
        suite_code, sender = SuiteCode(suite), _sender(role, number)
    except ValueError as error:
        raise DecodeError(f"unknown suite or role in a header: {error}") from None
    if type_number not in tail_bytes_of:
        raise DecodeError(f"message type {type_number:#04x} has no place in this session", peer=sender)
    if body_bytes > body_limit_bytes:
        raise DecodeError(f"a struct of {body_bytes} bytes exceeds the limit of {body_limit_bytes}", peer=sender)
    tail_start = _tail_start(body_bytes)
    expected = tail_start + tail_bytes_of[type_number]
    if len(raw) != expected:
        raise DecodeError(f"a message of {len(raw)} bytes where {expected} were agreed", peer=sender)
    view = memoryview(raw)
    body_end = HEADER_BYTES + body_bytes
    if any(view[body_end:tail_start]):
        raise DecodeError("padding is not zero", peer=sender)
    return Envelope(
        suite=suite_code,
        type_number=type_number,
        sender=sender,
        session=session,
        body=view[HEADER_BYTES:body_end],
        tail=view[tail_start:],
    )


def read_frame(raw: bytes) -> Envelope:
    """Read a frame that somebody kept, whatever its type: its tail is all that follows its struct.

    For looking at messages afterwards; who takes part in a session knows what is due (`open_envelope`).

    Raises:
        DecodeError: no frame, or its padding is not zero.
    """
    if len(raw) < HEADER_BYTES:
        raise DecodeError(f"a message of {len(raw)} bytes is shorter than its header of {HEADER_BYTES}")
    _, _, _, type_number, _, _, _, body_bytes = _HEADER.unpack_from(raw)
    tail = max(0, len(raw) - _tail_start(body_bytes))
    return open_envelope(raw, body_limit_bytes=len(raw), tail_bytes_of={type_number: tail})


def _sender(role: int, number: int) -> PartyId:
    sender = PartyId(Role(role), number)
    if sender.role is Role.SERVER and sender != SERVER:
        raise ValueError(f"server {number}, where there is one server, of number 0")
    return sender


def _tail_start(body_bytes: int) -> int:
    return -(-(HEADER_BYTES + body_bytes) // TAIL_ALIGNMENT_BYTES) * TAIL_ALIGNMENT_BYTES
