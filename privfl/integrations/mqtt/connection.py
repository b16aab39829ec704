"""One connection to a broker, from the dial to its end: paho for MQTT, asyncio for waiting.

paho's own thread waits by `select`, which knows no more than a thousand files, and reads on while nothing that it
writes is taken. Here the event loop waits for the socket, and nothing is read while something waits to be written:
what a broker sends makes acknowledgements, and those of a broker that takes none must not pile up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from privfl.integrations.consortium.refusals import one_line
from privfl.integrations.mqtt.address import Access
from privfl.integrations.mqtt.dialling import in_daemon, said
from privfl.integrations.mqtt.gate import MOST_PACKET_BYTES, GatedSocket
from privfl.primitives.entropy import OsEntropy

KEEPALIVE_S: Final = 20
_HELLO_S: Final = 20.0  # from the dial to the last subscription
_RECEIVE_MAXIMUM: Final = 32  # messages of the broker's that were not acknowledged
_TURNS: Final = 64  # reads until others have theirs
_NOBODY_LISTENS: Final = 0x10  # MQTT 5, 3.4.2.1: no matching subscribers
_QOS: Final = 1

Taken = Callable[[str, bytes, bool], None]
"""Called with topic, payload, and whether it was retained."""
Undelivered = Callable[[str, str], None]
"""Called with the topic of a message that the broker refuses, or gives to nobody, and what it says."""


class Connection:
    """Called back in the event loop's thread only.

    Args:
        access: to the broker.
        topics: what to subscribe to; with False for those whose retained messages are not wanted.
        will: topic and payload that the broker publishes, retained, when this connection is lost; None: nothing.
        on_message: for what comes.
        on_undelivered: for what was published and reaches nobody.
        most_unacknowledged: messages that the broker may owe an acknowledgement; one more, and the connection ends.

    Guarantees:
        1. What the broker sends is held as bytes of one packet at most.
        2. Nothing of another connection is sent or received on this one: no session outlives its connection.
        3. Whatever a user of the broker publishes, the connection lives on: see `Gate`, guarantee 2.
        4. No more messages are kept for a broker that acknowledges none than `most_unacknowledged`.
    """

    def __init__(
        self,
        access: Access,
        topics: Sequence[tuple[str, bool]],
        *,
        will: tuple[str, bytes] | None,
        on_message: Taken,
        on_undelivered: Undelivered,
        most_unacknowledged: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._access, self._topics = access, topics
        self._on_message, self._on_undelivered = on_message, on_undelivered
        self._most_unacknowledged = most_unacknowledged
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._file: int | None = None
        self._writing = False
        self._next_read: asyncio.Handle | None = None
        self._topic_of: dict[int, str] = {}
        self._all_taken: asyncio.Future[None] | None = None
        self._client = self._made(will)

    async def dial(self) -> None:
        """Connect, and subscribe.

        Raises:
            ConnectionError: it does not come to that; says why.
        """
        try:
            async with asyncio.timeout(_HELLO_S):
                await in_daemon(self._client.reconnect, self._drop)
                self._attend()
                await asyncio.wait((self._up, self._over), return_when=asyncio.FIRST_COMPLETED)
        except Exception as error:  # noqa: BLE001 - sockets, TLS, paho, or no thread to be had
            self.hang_up()
            raise ConnectionError(said(error)) from None
        except asyncio.CancelledError:
            self._drop()
            raise
        if self._over.done():
            raise ConnectionError(self._over.result())

    async def end(self) -> str:
        """Wait for the end of the connection; return why it ended."""
        while not self._over.done():
            await asyncio.wait((self._over,), timeout=1.0)
            self._turn(self._client.loop_misc)  # whether the broker is still alive
        return self._over.result()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message, QoS 1; nothing happens if the connection is over, which it is where this does not work."""
        if self._over.done() or not self._up.done():
            return
        if len(self._topic_of) >= self._most_unacknowledged:
            self._fail(f"{self._most_unacknowledged} messages are not acknowledged")
            return
        info = self._client.publish(topic, payload, qos=_QOS, retain=retain)
        if info.rc is MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._topic_of[info.mid] = topic
        else:
            self._fail(f"a message cannot be sent: {error_string(info.rc)}")

    async def flush(self, timeout_s: float) -> None:
        """Wait until the broker has taken all that was published, or for so long."""
        if self._topic_of:
            await asyncio.wait((self._flushed(), self._over), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    def hang_up(self) -> None:
        """End it: the will is not published where the broker hears of it."""
        with suppress(OSError, ValueError, RuntimeError):
            self._client.disconnect()
            self._client.loop_write()
        self._drop()
        self._ended("hung up")

    def _made(self, will: tuple[str, bytes] | None) -> Client:
        made = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"privfl-{OsEntropy().token_bytes(8).hex()}",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._access.context.sslsocket_class = GatedSocket
        made.tls_set_context(self._access.context)
        if will is not None:
            made.will_set(will[0], will[1], qos=_QOS, retain=True)
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        wanted.MaximumPacketSize = MOST_PACKET_BYTES
        wanted.ReceiveMaximum = _RECEIVE_MAXIMUM
        broker = self._access.broker
        # clean_start, and no expiry: what was under way on an earlier connection is of streams that are over.
        made.connect_async(broker.host, broker.port, KEEPALIVE_S, clean_start=True, properties=wanted)
        made.on_connect = self._connected
        made.on_subscribe = self._subscribed
        made.on_message = self._came
        made.on_publish = self._published
        made.on_disconnect = lambda _client, _data, _flags, reason, _properties: self._ended(str(reason))
        made.on_socket_register_write = self._wants_to_write
        made.on_socket_close = lambda *_: self._leave()
        return made

    # What paho calls.

    def _connected(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._ended(f"the broker refuses this party: {reason}")
            return
        options = [
            (topic, SubscribeOptions(_QOS, noLocal=True, retainAsPublished=True, retainHandling=0 if retained else 2))
            for topic, retained in self._topics
        ]
        self._client.subscribe(options)

    def _subscribed(self, _client: Client, _data: object, _mid: int, reasons: list[Any], _properties: object) -> None:
        refused = [topic for (topic, _), reason in zip(self._topics, reasons, strict=False) if reason.is_failure]
        if refused or len(reasons) != len(self._topics):
            self._fail(f"the broker does not let {self._access.user!r} read {', '.join(refused)}: see its ACL")
        elif not self._up.done():
            self._up.set_result(None)

    def _came(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with suppress(UnicodeDecodeError):  # a topic that is none of ours
            if not self._over.done():
                self._on_message(message.topic, bytes(message.payload), message.retain)

    def _published(self, _client: Client, _data: object, mid: int, reason: Any, _properties: object) -> None:
        topic = self._topic_of.pop(mid, None)
        if not self._topic_of and self._all_taken is not None and not self._all_taken.done():
            self._all_taken.set_result(None)
        if topic is not None and reason.value == _NOBODY_LISTENS:
            self._on_undelivered(topic, "nobody listens there")
        elif topic is not None and reason.is_failure:
            self._on_undelivered(topic, f"the broker refuses it: {reason}")

    def _flushed(self) -> asyncio.Future[None]:
        self._all_taken = self._loop.create_future()
        return self._all_taken

    def _wants_to_write(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._write)  # a dial is in a thread of its own

    def _ended(self, why: str) -> None:
        self._leave()
        if not self._over.done():
            self._over.set_result(one_line(why))

    def _fail(self, why: str) -> None:
        """End it, from within whatever paho is doing: its socket is closed when that is done."""
        self._ended(why)
        self._loop.call_soon(self._drop)

    # Waiting for the socket.

    def _attend(self) -> None:
        socket: Any = self._client.socket()
        if socket is None:
            raise ConnectionError("the broker hung up at once")
        # Frames are answered by frames: none should wait in the kernel for the next one.
        socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._file = socket.fileno()
        self._loop.add_reader(self._file, self._read)
        self._write()

    def _leave(self) -> None:
        """Forget the socket: it is about to be closed, and its number will be another's."""
        if self._file is not None:
            self._loop.remove_reader(self._file)
            self._loop.remove_writer(self._file)
            self._file = None

    def _read_soon(self) -> None:
        """Read once more when others have had their turn; once, however often this is called."""
        if self._file is not None and self._next_read is None:
            self._next_read = self._loop.call_soon(self._read)

    def _read(self) -> None:
        if self._next_read is not None:
            self._next_read.cancel()
            self._next_read = None
        for _ in range(_TURNS):
            if self._file is None or self._writing:
                return
            self._turn(self._client.loop_read)
            socket: Any = self._client.socket()
            if socket is None or not socket.pending():
                return
        self._read_soon()  # TLS holds more, of which the event loop knows nothing

    def _write(self) -> None:
        self._turn(self._client.loop_write)
        if self._file is None or self._client.want_write() == self._writing:
            return
        self._writing = not self._writing
        if self._writing:
            self._loop.remove_reader(self._file)
            self._loop.add_writer(self._file, self._write)
        else:
            self._loop.remove_writer(self._file)
            self._loop.add_reader(self._file, self._read)
            self._read_soon()

    def _turn(self, work: Callable[[], MQTTErrorCode]) -> None:
        """Let paho work; whatever it makes of what a broker sends ends the connection at most."""
        if self._file is None:
            return
        try:
            code = work()
        except Exception as error:  # noqa: BLE001 - a broker's bytes must not end more than its connection
            self._drop()
            self._ended(said(error))
            return
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS or self._client.socket() is None:
            self._ended("the connection was lost")

    def _drop(self) -> None:
        """Close the socket without another word."""
        self._leave()
        socket: Any = self._client.socket()
        if socket is not None:
            socket.close()
