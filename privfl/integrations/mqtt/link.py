"""A party's link to its broker: dialled again and again for as long as it is wanted, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from privfl.errors import LocalProtocolError
from privfl.integrations.consortium.refusals import one_line
from privfl.integrations.http.complaints import Complaints
from privfl.integrations.mqtt.address import Access
from privfl.integrations.mqtt.connection import Connection
from privfl.integrations.mqtt.stream import MOST_UNDER_WAY
from privfl.primitives.entropy import OsEntropy

LOGGER: Final = logging.getLogger("privfl.mqtt")
_FIRST_PAUSE_S: Final = 0.5
_MOST_PAUSE_S: Final = 20.0
_FLUSH_S: Final = 3.0


class Link(ABC):
    """An event loop in a thread, and in it one connection to the broker after the other.

    What is below is called in the event loop's thread, except `start` and `stop`.

    Args:
        access: to the broker.
        topics: what to subscribe to; with False for those whose retained messages are not wanted.
        streams: how many there may be at once, by which follows what a broker may leave unacknowledged.
        will: topic and payload that the broker publishes, retained, when a connection is lost; None: nothing.

    Attributes:
        complaints: what went wrong, counted.
        lost: how many connections were lost so far.

    Guarantees:
        1. Whatever goes wrong with a connection, another is dialled, until `stop`.
    """

    def __init__(
        self, access: Access, topics: list[tuple[str, bool]], *, streams: int, will: tuple[str, bytes] | None = None
    ) -> None:
        self.complaints = Complaints(LOGGER)
        self.lost = 0
        self._access = access
        self._topics, self._will = topics, will
        # One more than there are: for announcements, and for what is said of streams that are over.
        self._most_unacknowledged = MOST_UNDER_WAY * (streams + 1)
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    def start(self) -> None:
        """Begin to dial; return at once, whether or not the broker is there.

        Raises:
            LocalProtocolError: it was started before.
        """
        if self._thread is not None:
            raise LocalProtocolError("this was started before: make another")
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="privfl-mqtt", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed

    def stop(self) -> None:
        """Say goodbye to the broker, if it is there, and end; to stop it again does nothing."""
        loop, thread, stopping = self._loop, self._thread, self._stopping
        if loop is None or thread is None or stopping is None:
            return
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:  # it has ended meanwhile
                LOGGER.debug("ended by itself")
        thread.join()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message; it is lost if the broker is not there."""
        if self._connection is not None:
            self._connection.publish(topic, payload, retain=retain)

    @property
    def is_up(self) -> bool:
        """Whether the broker is there, and brings what was subscribed to."""
        return self._connection is not None

    @abstractmethod
    async def opened(self) -> None:
        """Begin, in the event loop: before the first dial."""

    @abstractmethod
    async def closing(self) -> None:
        """End, in the event loop: while the broker may still be there."""

    @abstractmethod
    def up(self) -> None:
        """The broker is there."""

    @abstractmethod
    def down(self) -> None:
        """It is not, any more: nothing that was under way arrives."""

    @abstractmethod
    def came(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - as the connection calls it
        """Take a message."""

    @abstractmethod
    def undelivered(self, topic: str, why: str) -> None:
        """Hear of a message that reaches nobody."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._live(ready))
        except BaseException as error:
            self._failed = error
            if ready.is_set():
                LOGGER.exception("the link to the broker ended")
        finally:
            ready.set()

    async def _live(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self.opened()
        dialling = asyncio.create_task(self._dial_for_ever())
        ready.set()
        try:
            await asyncio.wait(
                (dialling, asyncio.ensure_future(self._stopping.wait())), return_when=asyncio.FIRST_COMPLETED
            )
            await self.closing()
            if self._connection is not None:
                await self._connection.flush(_FLUSH_S)
        finally:
            connection, self._connection = self._connection, None
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            if connection is not None:
                connection.hang_up()
                self.down()

    async def _dial_for_ever(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._connect()
                pause_s = _FIRST_PAUSE_S
            except ConnectionError as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, without a link nobody gets any further
                self.complaints.note("fault", f"a connection failed: {type(error).__name__}", logging.ERROR)
            jitter = OsEntropy().token_bytes(1)[0] / 255
            await asyncio.sleep(pause_s * (0.5 + jitter))
            pause_s = min(_MOST_PAUSE_S, 2 * pause_s)

    async def _connect(self) -> None:
        """Dial, and stay until the connection is lost.

        Raises:
            ConnectionError: the broker cannot be reached.
        """
        connection = Connection(
            self._access,
            self._topics,
            will=self._will,
            on_message=self._taken,
            on_undelivered=self.undelivered,
            most_unacknowledged=self._most_unacknowledged,
        )
        await connection.dial()
        LOGGER.info("the broker at %s is there", self._access.broker.host)
        self._connection = connection
        try:
            self.up()
            why = await connection.end()
        except Exception:
            connection.hang_up()
            self._lose()
            raise
        self._complain(why)
        self._lose()

    def _lose(self) -> None:
        self._connection = None
        self.lost += 1
        self.down()

    def _taken(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - as the connection calls it
        try:
            self.came(topic, payload, retained)
        except Exception as error:  # noqa: BLE001 - one message must not end the link
            self.complaints.note("fault", f"a message could not be taken: {type(error).__name__}", logging.ERROR)

    def _complain(self, why: str) -> None:
        broker = self._access.broker
        self.complaints.note("broker", one_line(f"the broker at {broker.host}:{broker.port}: {why}"))
