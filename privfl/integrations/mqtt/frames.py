"""Frames: what a message on a stream's topic holds.

| bytes | what |
|---|---|
| 1 | kind |
| 8 | number in its stream and direction, from 0, big-endian; 0 in `RESET` |
| to 65536 | payload: pieces of the byte stream in `DATA`, a number of bytes in `CREDIT`, nothing in the others |
| 4 | CRC-32 of direction, stream and all of the above |

The checksum is there for accidents: a frame that was cut, or ended up on another stream's topic, ends its stream at
once. Against whoever makes frames on purpose nothing in them helps; TLS inside the stream does.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from privfl.errors import DecodeError

NAME_BYTES: Final = 16
MOST_PAYLOAD_BYTES: Final = 64 * 1024
_NUMBER_BYTES: Final = 8
_SUM_BYTES: Final = 4
_LEAST_BYTES: Final = 1 + _NUMBER_BYTES + _SUM_BYTES
MOST_FRAME_BYTES: Final = _LEAST_BYTES + MOST_PAYLOAD_BYTES
CREDIT_BYTES: Final = 4
MOST_NUMBER: Final = 2 ** (8 * _NUMBER_BYTES) - 1


class Way(IntEnum):
    """Which way a frame goes."""

    UP = 1
    """From a client to its coordinator."""
    DOWN = 2

    @property
    def back(self) -> Way:
        """The other one."""
        return Way.DOWN if self is Way.UP else Way.UP


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 1
    """A client begins a stream."""
    DATA = 2
    CREDIT = 3
    """So much of what was sent has been taken, and may be sent again."""
    CLOSE = 4
    """That was all."""
    RESET = 5
    """The stream is over, whatever was on its way; out of order, and believed at once."""
    PROBE = 6
    """Nothing, but its number: whoever misses what came before it notices."""


_PAYLOADS: Final = {
    Kind.OPEN: range(1),
    Kind.DATA: range(1, MOST_PAYLOAD_BYTES + 1),
    Kind.CREDIT: range(CREDIT_BYTES, CREDIT_BYTES + 1),
    Kind.CLOSE: range(1),
    Kind.RESET: range(1),
    Kind.PROBE: range(1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        kind: what it says.
        number: its place in the stream.
        payload: as the table says.
    """

    kind: Kind
    number: int
    payload: bytes = field(default=b"", repr=False)


def encode(frame: Frame, name: bytes, way: Way) -> bytes:
    """Return a frame's bytes.

    Args:
        frame: what to say.
        name: of its stream, 16 bytes.
        way: which it goes.
    """
    body = bytes([frame.kind]) + frame.number.to_bytes(_NUMBER_BYTES, "big") + frame.payload
    return body + _sum(body, name, way)


def decode(message: bytes, name: bytes, way: Way) -> Frame:
    """Return the frame that a message holds.

    Args:
        message: as it came.
        name: of the stream whose topic it came on, 16 bytes.
        way: which it came.

    Raises:
        DecodeError: it holds none, or not all of one, or one of another stream.
    """
    if not _LEAST_BYTES <= len(message) <= MOST_FRAME_BYTES:
        raise DecodeError(f"a frame of {len(message)} bytes: {_LEAST_BYTES} to {MOST_FRAME_BYTES} are possible")
    body = message[:-_SUM_BYTES]
    if message[-_SUM_BYTES:] != _sum(body, name, way):
        raise DecodeError("a frame that is damaged, or another stream's")
    try:
        kind = Kind(body[0])
    except ValueError:
        raise DecodeError("a frame of an unknown kind") from None
    payload = body[1 + _NUMBER_BYTES :]
    number = int.from_bytes(body[1 : 1 + _NUMBER_BYTES], "big")
    if len(payload) not in _PAYLOADS[kind] or (kind is Kind.RESET and number):
        raise DecodeError(f"a frame that says {kind.name} and holds {len(payload)} bytes")
    return Frame(kind=kind, number=number, payload=payload)


def _sum(body: bytes, name: bytes, way: Way) -> bytes:
    return zlib.crc32(body, zlib.crc32(bytes([way]) + name)).to_bytes(_SUM_BYTES, "big")
