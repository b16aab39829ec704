"""A broker's bytes, looked at before anything is made of them: types and lengths that may come, and no others.

A broker is told how long packets may be, and keeps to it or does not. paho reads a packet as long as it says it is, up
to 256 MiB, and keeps those of QoS 2 until it hears more of them. So the socket itself ends the connection where a
packet begins that nobody asked for.
"""

from __future__ import annotations

import ssl
from typing import Final

from privfl.errors import RemoteProtocolError
from privfl.integrations.mqtt.frames import MOST_FRAME_BYTES

MOST_PACKET_BYTES: Final = MOST_FRAME_BYTES + 4096
"""A frame, its topic, and MQTT's own."""
_CONNACK, _PUBLISH = 2, 3
_EXPECTED: Final = frozenset({_CONNACK, _PUBLISH, 4, 9, 11, 13, 14})
"""PUBACK, SUBACK, UNSUBACK, PINGRESP and DISCONNECT besides."""
_MOST_LENGTH_BYTES: Final = 4


class Gate:
    """Follows packets of MQTT through a stream of bytes.

    Guarantees:
        1. Nothing passes of a packet that is longer than `MOST_PACKET_BYTES`, of a type or a QoS that was not asked
           for, or a second CONNACK, but its first bytes.
    """

    __slots__ = ("_in_length", "_left", "_length", "_welcomed")

    def __init__(self) -> None:
        self._left = 0  # bytes of the packet's body
        self._in_length = 0  # bytes of its length that were read; 0: its first byte comes next
        self._length = 0
        self._welcomed = False

    def look(self, piece: bytes) -> None:
        """See the next bytes.

        Raises:
            RemoteProtocolError: they must not go further.
        """
        at = 0
        while at < len(piece):
            if self._left:
                skipped = min(self._left, len(piece) - at)
                self._left -= skipped
                at += skipped
                continue
            if self._in_length:
                self._read_length(piece[at])
            else:
                self._begin(piece[at])
            at += 1

    def _begin(self, first: int) -> None:
        kind, qos = first >> 4, first >> 1 & 3
        if kind not in _EXPECTED or (kind == _CONNACK) == self._welcomed or (kind == _PUBLISH and qos > 1):
            raise RemoteProtocolError(f"the broker sends a packet of type {kind}, out of turn")
        self._welcomed = True
        self._in_length, self._length = 1, 0

    def _read_length(self, digit: int) -> None:
        self._length |= (digit & 127) << (7 * (self._in_length - 1))
        if self._length > MOST_PACKET_BYTES or (digit > 127 and self._in_length == _MOST_LENGTH_BYTES):
            raise RemoteProtocolError(f"the broker sends a packet of more than {MOST_PACKET_BYTES} bytes")
        self._in_length += 1
        if digit < 128:
            self._left, self._in_length = self._length, 0


class GatedSocket(ssl.SSLSocket):
    """TLS to a broker, with a gate."""

    _gate: Gate | None = None

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is called
        """Shake hands; a socket that fails to is closed, which nobody else does."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, as any socket; what must not come ends the connection."""
        piece = super().recv(min(buflen, MOST_PACKET_BYTES), flags)
        if self._gate is None:
            self._gate = Gate()
        self._gate.look(piece)
        return piece
