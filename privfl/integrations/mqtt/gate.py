"""A broker's bytes, looked at before anything is made of them: types and lengths that may come, and no others.

A broker is told how long packets may be, and keeps to it or does not. paho reads a packet as long as it says it is, up
to 256 MiB, and keeps those of QoS 2 until it hears more of them. So the socket itself ends the connection where a
packet begins that nobody asked for.

An honest broker brings what its users say, and hands on the properties that they give a message. paho refuses some
that brokers let pass (U+FEFF in a name) and ends the connection, and takes half a second for thousands of them. Nothing
here needs any, so messages are brought without. This is done to the bytes, which MQTT 5 describes; what paho does with
them is its own affair, and other in its next version.
"""

from __future__ import annotations

import ssl
from typing import Final

from privfl.errors import RemoteProtocolError
from privfl.integrations.mqtt.frames import MOST_FRAME_BYTES

MOST_PACKET_BYTES: Final = MOST_FRAME_BYTES + 4096
"""A frame, its topic, and MQTT's own."""
MOST_ANSWER_BYTES: Final = 4096
"""What is no message: codes, and words for people."""
_CONNACK, _PUBLISH = 2, 3
_EXPECTED: Final = frozenset({_CONNACK, _PUBLISH, 4, 9, 11, 13, 14})
"""PUBACK, SUBACK, UNSUBACK, PINGRESP and DISCONNECT besides."""
_MOST_LENGTH_BYTES: Final = 4
_TOPIC_LENGTH_BYTES: Final = 2
_IDENTIFIER_BYTES: Final = 2
_NO_PROPERTIES: Final = b"\0"


class Gate:
    """Takes packets of MQTT out of a stream of bytes, and lets pass what may.

    Guarantees:
        1. Nothing passes of a packet that is longer than `MOST_PACKET_BYTES`, or than `MOST_ANSWER_BYTES` where it is
           no message; of a type or a QoS that was not asked for; or of a second CONNACK.
        2. No property of a message passes, whatever it holds; topic, identifier and payload pass as they came.
        3. No more is held than one packet, if no more than `wanted` bytes are brought at once.
    """

    __slots__ = ("_body", "_first", "_in_length", "_left", "_length", "_welcomed")

    def __init__(self) -> None:
        self._first = 0  # byte of the packet: its type, and QoS
        self._body = bytearray()
        self._left = 0  # bytes of the body that are to come
        self._in_length = 0  # bytes of its length that were read; 0: its first byte comes next
        self._length = 0
        self._welcomed = False

    @property
    def wanted(self) -> int:
        """How many bytes there are until something else may begin; at least one."""
        return self._left or 1

    def look(self, piece: bytes) -> bytes:
        """See the next bytes; return the packets that are complete with them.

        Raises:
            RemoteProtocolError: they must not go further.
        """
        passing, at = bytearray(), 0
        while at < len(piece):
            if self._left:
                taken = piece[at : at + self._left]
                self._body += taken
                self._left -= len(taken)
                at += len(taken)
            elif self._in_length:
                self._read_length(piece[at])
                at += 1
            else:
                self._begin(piece[at])
                at += 1
            if not self._left and not self._in_length:
                passing += self._complete()
        return bytes(passing)

    def _begin(self, first: int) -> None:
        kind, qos = first >> 4, first >> 1 & 3
        if kind not in _EXPECTED or (kind == _CONNACK) == self._welcomed or (kind == _PUBLISH and qos > 1):
            raise RemoteProtocolError(f"the broker sends a packet of type {kind}, out of turn")
        self._welcomed = True
        self._first, self._in_length, self._length = first, 1, 0

    def _read_length(self, digit: int) -> None:
        self._length |= (digit & 127) << (7 * (self._in_length - 1))
        most = MOST_PACKET_BYTES if self._first >> 4 == _PUBLISH else MOST_ANSWER_BYTES
        if self._length > most or (digit > 127 and self._in_length == _MOST_LENGTH_BYTES):
            raise RemoteProtocolError(f"the broker sends a packet of more than {most} bytes")
        self._in_length += 1
        if digit < 128:
            self._left, self._in_length = self._length, 0

    def _complete(self) -> bytes:
        body, self._body = bytes(self._body), bytearray()
        if self._first >> 4 == _PUBLISH:
            body = _without_properties(body, with_identifier=bool(self._first >> 1 & 3))
        return bytes([self._first]) + _length(len(body)) + body


def _without_properties(body: bytes, *, with_identifier: bool) -> bytes:
    """Return a PUBLISH's body (MQTT 5, 3.3.2 and 3.3.3) with no properties; only the length of its own counts.

    Raises:
        RemoteProtocolError: it is shorter than it says: no honest broker sends that, whatever its users do.
    """
    at = _TOPIC_LENGTH_BYTES + int.from_bytes(body[:_TOPIC_LENGTH_BYTES], "big")
    at += _IDENTIFIER_BYTES if with_identifier else 0
    length = 0
    for place, digit in enumerate(body[at : at + _MOST_LENGTH_BYTES]):
        length |= (digit & 127) << (7 * place)
        payload_at = at + place + 1 + length
        if digit < 128 and payload_at <= len(body):
            return body[:at] + _NO_PROPERTIES + body[payload_at:]
        if digit < 128:
            break
    raise RemoteProtocolError("the broker sends a packet that ends before its message does")


def _length(count: int) -> bytes:
    """Return how MQTT writes a length (MQTT 5, 1.5.5)."""
    digits = bytearray()
    while count > 127:
        digits.append(count & 127 | 128)
        count >>= 7
    return bytes([*digits, count])


class GatedSocket(ssl.SSLSocket):
    """TLS to a broker, with a gate."""

    _gate: Gate | None = None
    _passed: bytes = b""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is called
        """Shake hands; a socket that fails to is closed, which nobody else does."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read packets that are complete, as any socket would bytes; what must not come ends the connection."""
        if self._gate is None:
            self._gate = Gate()
        while not self._passed:
            piece = super().recv(self._gate.wanted, flags)
            if not piece:
                return b""
            self._passed = self._gate.look(piece)
        piece, self._passed = self._passed[:buflen], self._passed[buflen:]
        return piece

    def pending(self) -> int:
        """How much can be read at once."""
        return super().pending() + len(self._passed)
