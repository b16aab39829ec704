"""One end of a stream: bytes in order and once, or a reset; without I/O.

Theory of operation. A client's end says `OPEN`; then both ends send `DATA`, and `CREDIT` for what they have passed on;
either says `CLOSE` when there is no more. Frames are numbered in each direction. The broker may repeat what it
delivers: what came before is dropped. It may lose frames when its queues are full: then a number is missing, and the
stream is over, because whoever uses it (TLS, then uploads that go on where they were) copes with that anyhow. So that
the loss of the last frame is noticed too, each end says `PROBE` now and then.

    number of a frame          what happens
    below the next expected    dropped
    the next expected          taken
    above it                   the stream is reset

Each end may have so many bytes under way that the other has not passed on: `WINDOW_BYTES`. A frame counts for
`FRAME_COST_BYTES` more than it holds, so that small ones do not fill the broker's queues, which count messages.
"""

from __future__ import annotations

from typing import Final

from privfl.errors import LocalProtocolError, RemoteProtocolError
from privfl.integrations.mqtt.frames import CREDIT_BYTES, MOST_PAYLOAD_BYTES, Frame, Kind, Way, decode, encode

WINDOW_BYTES: Final = 256 * 1024
FRAME_COST_BYTES: Final = 2048
MOST_UNDER_WAY: Final = WINDOW_BYTES // FRAME_COST_BYTES + 2
"""Messages of a stream in one direction: what fills the window, and what else is said meanwhile."""
_CREDIT_AT_BYTES: Final = WINDOW_BYTES // 4  # well before the other end would have to stop


class Stream:
    """One end.

    Args:
        name: 16 bytes that no other stream has.
        way: which way this end sends.

    Attributes:
        name: likewise.
        over: whether nothing more will come: the other end has closed the stream, or it was reset.
        broken: whether it was reset.

    Guarantees:
        1. What comes out is a prefix of what the other end put in, whatever of honest frames is lost, repeated,
           reordered, damaged or another stream's.
        2. What was taken in and not passed on is never more than `WINDOW_BYTES`.
        3. After a reset nothing comes out, and nothing goes in.
    """

    def __init__(self, name: bytes, way: Way) -> None:
        self.name = name
        self.over = False
        self._way = way
        self.broken = False
        self._sent = 0  # frames
        self._taken = 0  # frames
        self._open = way is Way.DOWN  # a client's end has to say so
        self._closed = False
        self._room = WINDOW_BYTES
        self._held = 0
        self._owed = 0

    @property
    def room_bytes(self) -> int:
        """How much may be sent in one frame now; 0: the other end has to catch up."""
        if self.broken or self._closed or not self._open:
            return 0
        return max(0, min(self._room - FRAME_COST_BYTES, MOST_PAYLOAD_BYTES))

    def open(self) -> bytes:
        """Return the message that begins the stream; for the client's end, once.

        Raises:
            LocalProtocolError: the stream was begun before.
        """
        if self._open or self.broken:
            raise LocalProtocolError("this stream was begun before")
        self._open = True
        return self._message(Kind.OPEN)

    def send(self, piece: bytes) -> bytes:
        """Return the message that carries a piece.

        Args:
            piece: 1 to `room_bytes` bytes.

        Raises:
            LocalProtocolError: there is no room for it.
        """
        if not 0 < len(piece) <= self.room_bytes:
            raise LocalProtocolError(f"{len(piece)} bytes in one piece: there is room for {self.room_bytes}")
        self._room -= _cost(piece)
        return self._message(Kind.DATA, piece)

    def probe(self) -> bytes | None:
        """Return a message that shows the other end whether it has missed one; None: nothing is to be missed."""
        if not self._open or self._closed or self.broken:
            return None
        return self._message(Kind.PROBE)

    def close(self) -> bytes:
        """Return the message that says that there is no more.

        Raises:
            LocalProtocolError: it was said before, or nothing was begun, or the stream was reset.
        """
        if self._closed or self.broken or not self._open:
            raise LocalProtocolError("this stream is not open")
        self._closed = True
        return self._message(Kind.CLOSE)

    def reset(self) -> bytes:
        """End the stream here; return the message that ends it there."""
        self._break()
        return encode(Frame(kind=Kind.RESET, number=0), self.name, self._way)

    def received(self, message: bytes) -> bytes:
        """Take a message from the other end.

        Returns:
            The next bytes; none where it says something else, or came before. `over` and `room_bytes` may have changed.

        Raises:
            RemoteProtocolError: something is missing, damaged, or not as agreed: the stream is over. It is on the
                caller to tell the other end (`reset`).
        """
        if self.broken:
            return b""
        try:
            return self._take(decode(message, self.name, self._way.back))
        except RemoteProtocolError:
            self._break()
            raise

    def passed_on(self, piece: bytes) -> bytes | None:
        """Note that a piece that came out was passed on; return a message to send for it, or None.

        Args:
            piece: one that `received` returned, all of it.
        """
        if self.broken or self._closed:
            return None
        self._held -= _cost(piece)
        self._owed += _cost(piece)
        if self._owed < _CREDIT_AT_BYTES:
            return None
        owed, self._owed = self._owed, 0
        return self._message(Kind.CREDIT, owed.to_bytes(CREDIT_BYTES, "big"))

    def _take(self, frame: Frame) -> bytes:
        if frame.kind is Kind.RESET:
            self._break()
            return b""
        if frame.number < self._taken:
            return b""  # the broker repeats itself, as it may
        if frame.number > self._taken:
            raise RemoteProtocolError(f"{frame.number - self._taken} frames of a stream are missing")
        if self.over or (frame.kind is Kind.OPEN) != (self._way is Way.DOWN and frame.number == 0):
            raise RemoteProtocolError(f"a frame that says {frame.kind.name}, out of turn")
        self._taken += 1
        if frame.kind is Kind.CLOSE:
            self.over = True
        elif frame.kind is Kind.CREDIT:
            self._room += int.from_bytes(frame.payload, "big")
            if self._room > WINDOW_BYTES:
                raise RemoteProtocolError("more was taken of a stream than was sent")
        elif frame.kind is Kind.DATA:
            self._held += _cost(frame.payload)
            # What is not yet owed in full was not told to the other end, which counts it as under way.
            if self._held + self._owed > WINDOW_BYTES:
                raise RemoteProtocolError("more was sent on a stream than may be under way")
            return frame.payload
        return b""

    def _message(self, kind: Kind, payload: bytes = b"") -> bytes:
        number, self._sent = self._sent, self._sent + 1
        return encode(Frame(kind=kind, number=number, payload=payload), self.name, self._way)

    def _break(self) -> None:
        self.broken = self.over = True


def _cost(piece: bytes) -> int:
    return len(piece) + FRAME_COST_BYTES
