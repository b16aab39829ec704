"""A pipe: a stream at one end, a connection on this machine at the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from privfl.errors import LocalProtocolError, RemoteProtocolError
from privfl.integrations.mqtt.frames import MOST_PAYLOAD_BYTES, Way
from privfl.integrations.mqtt.stream import Stream

READ_AHEAD_BYTES: Final = MOST_PAYLOAD_BYTES
"""For asyncio's readers, which hold up to twice as much."""
PROBE_S: Final = 5.0
_DRAIN_S: Final = 30.0  # for a connection on this machine to take what came


class Pipe:
    """Carries bytes both ways until either end has no more; in one event loop's thread.

    Args:
        name: of the stream, 16 bytes.
        way: which way this end sends.
        publish: takes messages for the other end; never blocks.

    Guarantees:
        1. No more than the stream's window and what asyncio reads ahead is held, each way.
    """

    def __init__(self, name: bytes, way: Way, publish: Callable[[bytes], None]) -> None:
        self._stream = Stream(name, way)
        self._way = way
        self._publish = publish
        self._inbox: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until there are no more, or the stream is reset; the connection is closed then."""
        if not self._over.is_set() and self._way is Way.UP:
            self._publish(self._stream.open())
        self._look()
        jobs = [asyncio.ensure_future(job) for job in (self._out(reader), self._in(writer), self._probe())]
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if self._over.is_set():
                writer.transport.abort()
            else:
                self._say_goodbye()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            self._over.set()
            self._inbox.clear()
            writer.close()
            with suppress(OSError):  # a TimeoutError is one
                async with asyncio.timeout(_DRAIN_S):
                    await writer.wait_closed()
            writer.transport.abort()

    def received(self, message: bytes) -> str | None:
        """Take a message from the other end.

        Returns:
            What is wrong with it, if something is: the pipe is at its end then.
        """
        if self._over.is_set():
            return None
        try:
            piece = self._stream.received(message)
        except RemoteProtocolError as error:
            self.reset()
            return str(error)
        if piece:
            self._inbox.append(piece)
        self._look()
        return None

    def reset(self, *, tell: bool = True) -> None:
        """End it at once.

        Args:
            tell: whether the other end is told.
        """
        if self._over.is_set():
            return
        message = self._stream.reset()
        if tell:
            self._publish(message)
        self._over.set()

    def _look(self) -> None:
        """Wake whoever waits for what may have come."""
        if self._stream.room_bytes:
            self._room.set()
        if self._inbox or self._stream.over:
            self._arrived.set()
        if self._stream.broken:
            self._over.set()

    async def _out(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while True:
                while not (room := self._stream.room_bytes):
                    self._room.clear()
                    await self._room.wait()
                piece = await reader.read(room)
                if not piece:
                    return
                self._publish(self._stream.send(piece))

    async def _probe(self) -> None:
        """Until the stream is over, see that losses are noticed where nothing more is sent."""
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    await self._over.wait()
            message = self._stream.probe()
            if message is not None:
                self._publish(message)

    async def _in(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                while self._inbox:
                    piece = self._inbox.popleft()
                    writer.write(piece)
                    async with asyncio.timeout(_DRAIN_S):
                        await writer.drain()
                    message = self._stream.passed_on(piece)
                    if message is not None:
                        self._publish(message)
                if self._stream.over:
                    return
                self._arrived.clear()
                await self._arrived.wait()

    def _say_goodbye(self) -> None:
        with suppress(LocalProtocolError):  # it was reset meanwhile
            self._publish(self._stream.close())
