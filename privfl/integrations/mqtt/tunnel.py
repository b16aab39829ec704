"""A client's end: a door on this machine, and behind it the coordinator, through the broker.

    with Tunnel(access) as tunnel:
        Joined(participant, url="https://coordinator.example", uds=tunnel.path, …).run()

Theory of operation. Whoever connects to the door gets a stream to the coordinator, and speaks TLS through it. What the
broker says of the coordinator is a hint (`here`): where it is said to be gone, a stream is opened some seconds later.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from privfl.errors import ConfigurationError, DecodeError
from privfl.integrations.consortium.refusals import one_line
from privfl.integrations.mqtt import here
from privfl.integrations.mqtt.address import Access
from privfl.integrations.mqtt.frames import NAME_BYTES, Way
from privfl.integrations.mqtt.link import Link
from privfl.integrations.mqtt.pipe import READ_AHEAD_BYTES, Pipe
from privfl.primitives.entropy import OsEntropy

MOST_STREAMS: Final = 4
_HINTED_S: Final = 5.0
"""For the broker, or for a coordinator that is said to be gone, before a stream is opened all the same."""
_MOST_PATH_BYTES: Final = 100  # of a socket's name: 104 on macOS, 108 on Linux


class Tunnel(Link):
    """Opens a stream to the coordinator for every connection on this machine.

    Args:
        access: to the broker, as the client.

    Attributes:
        path: of the door, a socket in a directory that only this user can enter.

    Guarantees:
        1. There are never more than `MOST_STREAMS` streams.
        2. Whatever the broker says, nothing follows but that streams end, and that the coordinator is asked sooner or
           some seconds later.

    Raises:
        ConfigurationError: there is no room for the door's name.
    """

    def __init__(self, access: Access) -> None:
        self._broker, self._user = access.broker, access.user
        topics = [(self._broker.streams(Way.DOWN, access.user), False), (self._broker.here, True)]
        super().__init__(access, topics, streams=MOST_STREAMS)
        self._folder = Path(tempfile.mkdtemp(prefix="privfl-"))  # 0700, whatever the umask
        self.path = self._folder / "door"
        if len(os.fsencode(self.path)) > _MOST_PATH_BYTES:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ConfigurationError(f"{self.path} is too long for a socket's name: TMPDIR=/tmp works")
        self._pipes: dict[bytes, Pipe] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._ring: Callable[[], None] = _nothing
        self._here: here.Here | None = None
        self._ready = asyncio.Event()
        self._door: asyncio.Server | None = None

    def on_ring(self, ring: Callable[[], None]) -> None:
        """Have something called when the coordinator says something new; quick, and in any thread."""
        self._ring = ring

    @property
    def streams(self) -> int:
        """How many there are."""
        return len(self._pipes)

    @property
    def heard(self) -> here.Here | None:
        """What the broker said last of the coordinator; None if it has said nothing."""
        return self._here

    def start(self) -> None:
        """Open the door, and begin to dial; return at once, whether or not the broker is there.

        Raises:
            LocalProtocolError: it was started before.
            OSError: the door cannot be opened.
        """
        try:
            super().start()
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def stop(self) -> None:
        """Close the door, say goodbye to the broker, and end."""
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def opened(self) -> None:
        """Open the door."""
        self._door = await asyncio.start_unix_server(self._enter, self.path, limit=READ_AHEAD_BYTES)

    async def closing(self) -> None:
        """Close it, and end all streams."""
        if self._door is not None:
            self._door.close()
        self._end_all(tell=True)
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    def up(self) -> None:
        """Let those in who wait."""
        self._look()
        self._ring()

    def down(self) -> None:
        """End all streams: frames of theirs were lost."""
        self._end_all(tell=False)
        self._look()

    def undelivered(self, topic: str, why: str) -> None:
        """End a stream that leads nowhere."""
        where = self._broker.stream_of(topic, Way.UP)
        if where is not None and where[1] in self._pipes:
            self._pipes[where[1]].reset(tell=False)
        self.complaints.note("undelivered", one_line(f"the coordinator cannot be reached at the broker: {why}"))

    def came(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - as the link calls it
        """Take a frame, or what the coordinator says of itself."""
        if topic == self._broker.here:
            self._hear(payload)
            return
        where = self._broker.stream_of(topic, Way.DOWN)
        if where is None or where[0] != self._user or retained:
            self.complaints.note("topic", "a message came that is no stream's")
        elif where[1] in self._pipes:  # else of a stream that is over, or of another process of this client's
            wrong = self._pipes[where[1]].received(payload)
            if wrong is not None:
                self.complaints.note("stream", one_line(f"a stream was reset: {wrong}"))

    def _hear(self, payload: bytes) -> None:
        try:
            said = here.read(payload)
        except DecodeError as error:
            self.complaints.note("here", one_line(f"the broker says {error}"))
            return
        if said == self._here:
            return
        self._here = said
        if said.state == "gone":
            self._end_all(tell=False)
        self._look()
        if said.state == "here":
            self._ring()

    def _look(self) -> None:
        if self.is_up and (self._here is None or self._here.state == "here"):
            self._ready.set()
        else:
            self._ready.clear()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection at the door; an error of the connection's own is its own business."""
        job = asyncio.current_task()
        if job is None or len(self._jobs) >= MOST_STREAMS:
            writer.transport.abort()
            return
        self._jobs.add(job)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._carry(reader, writer)
        finally:
            self._jobs.discard(job)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_HINTED_S):
                await self._ready.wait()
        if not self.is_up:
            return
        name = OsEntropy().token_bytes(NAME_BYTES)
        topic = self._broker.stream(Way.UP, self._user, name)
        pipe = Pipe(name, Way.UP, lambda message: self.publish(topic, message))
        self._pipes[name] = pipe
        try:
            await pipe.run(reader, writer)
        finally:
            del self._pipes[name]

    def _end_all(self, *, tell: bool) -> None:
        for pipe in self._pipes.values():
            pipe.reset(tell=tell)


def _nothing() -> None:
    """Nobody wants to hear."""
