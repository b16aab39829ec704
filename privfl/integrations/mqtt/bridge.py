"""The coordinator's end: streams that come through the broker, brought to the server's own listener.

    with Server(hall, roster, host="127.0.0.1", port=0, …) as server:
        with Bridge(hall, access, port=server.port):
            run(hall)

Theory of operation. Every stream that a client opens becomes a connection to the listener, which treats it as any
other: TLS, signatures and limits are there, not here. What is bounded here is what a broker and its users could make
pile up before: streams, for each user and in all, and how often a user opens one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from privfl.errors import DecodeError
from privfl.integrations.consortium import Hall
from privfl.integrations.consortium.refusals import one_line
from privfl.integrations.mqtt.address import Access
from privfl.integrations.mqtt.allowance import Allowance
from privfl.integrations.mqtt.frames import Frame, Kind, Way, decode, encode
from privfl.integrations.mqtt.here import GONE, Announcer
from privfl.integrations.mqtt.link import Link
from privfl.integrations.mqtt.pipe import READ_AHEAD_BYTES, Pipe

MOST_PER_USER: Final = 4
LEAST_STREAMS: Final = 64
_CONNECT_S: Final = 10.0
_OPENINGS: Final = (8.0, 1.0)
"""Of a user: at once, and a second in the long run."""
_ANSWERS: Final = (16.0, 4.0)
"""To frames of streams that are not known, likewise: one for each that a user may have had, and again."""
_MOST_USERS: Final = 1024  # that are remembered for how often they do either

_Key = tuple[str, bytes]


class Bridge(Link):
    """Brings clients' streams to a coordinator's listener, and says at the broker how the hall stands.

    Args:
        hall: the coordinator's.
        access: to the broker, as the user who may read and write all of the consortium's topics.
        host: of the listener for clients.
        port: likewise.
        streams: most of them at once; a user has at most `MOST_PER_USER`.
        clock: monotonic seconds, for how often users open streams.

    Guarantees:
        1. There are never more than `streams` streams, and never more than `MOST_PER_USER` of one user. Who opens more
           loses the own oldest; when all are taken, the oldest goes of those who have the most, so that nobody keeps
           out, or pushes out, a user that has fewer.
        2. Frames of streams that are not known cost no memory; few of a user's are answered, whatever others send.
        3. How the hall stands is kept at the broker, and that it is gone when it is, however it went.
    """

    def __init__(
        self,
        hall: Hall,
        access: Access,
        *,
        port: int,
        host: str = "127.0.0.1",
        streams: int = LEAST_STREAMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        broker = access.broker
        topics = [(broker.streams(Way.UP), False), (broker.here, True)]
        super().__init__(access, topics, streams=streams, will=(broker.here, GONE))
        self._broker = broker
        self._hall = hall
        self._host, self._port = host, port
        self._most, self._clock = streams, clock
        self._pipes: dict[_Key, Pipe] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._openings: OrderedDict[str, Allowance] = OrderedDict()
        self._answers: OrderedDict[str, Allowance] = OrderedDict()
        self._announcer: Announcer | None = None

    @property
    def streams(self) -> int:
        """How many there are."""
        return len(self._pipes)

    async def opened(self) -> None:
        """Listen to the hall."""
        self._announcer = Announcer(self._hall, self._announce)

    async def closing(self) -> None:
        """End all streams, and say so."""
        if self._announcer is not None:
            await self._announcer.close()
        if self._jobs:  # clients that have heard that all is over are about to hang up
            await asyncio.wait(self._jobs, timeout=1.0)
        self._end_all(tell=True)
        self._announce(GONE)

    def up(self) -> None:
        """Say how things stand."""
        if self._announcer is not None:
            self._announcer.again()

    def down(self) -> None:
        """End all streams: frames of theirs were lost."""
        self._end_all(tell=False)

    def undelivered(self, topic: str, why: str) -> None:
        """End a stream whose client is not there any more."""
        where = self._broker.stream_of(topic, Way.DOWN)
        if where in self._pipes:
            self._pipes[where].reset(tell=False)
        elif where is None:
            self.complaints.note("undelivered", one_line(f"{topic}: {why}"))

    def came(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001 - as the link calls it
        """Take a frame, or what the broker keeps of the hall."""
        if topic == self._broker.here:
            if self._announcer is not None:
                self._announcer.heard(payload)
            return
        where = self._broker.stream_of(topic, Way.UP)
        if where is None or retained:  # nobody honest has the broker keep a frame
            self.complaints.note("topic", "a message came that is no stream's")
            return
        pipe = self._pipes.get(where)
        if pipe is None:
            self._take_first(where, payload)
            return
        wrong = pipe.received(payload)
        if wrong is not None:
            self.complaints.note("stream", one_line(f"a stream of {where[0]!r} was reset: {wrong}"))

    def _take_first(self, where: _Key, payload: bytes) -> None:
        """Take a frame of a stream that is not known: the first of a new one, or the last of one that is over."""
        user, name = where
        try:
            frame = decode(payload, name, Way.UP)
        except DecodeError as error:
            self.complaints.note("frame", one_line(f"{user!r} sends {error}"))
            return
        if frame.kind is Kind.OPEN and frame.number == 0 and self._may_open(user):
            self._make_room(user)
            self._begin(where, payload)
            return
        if frame.kind in {Kind.OPEN, Kind.DATA, Kind.PROBE} and self._take(self._answers, user, _ANSWERS):
            over = encode(Frame(kind=Kind.RESET, number=0), name, Way.DOWN)
            self.publish(self._broker.stream(Way.DOWN, user, name), over)

    def _may_open(self, user: str) -> bool:
        if self._take(self._openings, user, _OPENINGS):
            return True
        self.complaints.note("openings", one_line(f"{user!r} opens more streams than anybody needs"))
        return False

    def _take(self, allowances: OrderedDict[str, Allowance], user: str, most: tuple[float, float]) -> bool:
        """Take one of a user's allowance; who was forgotten for others has a full one."""
        allowance = allowances.pop(user, None) or Allowance(*most, clock=self._clock)
        allowances[user] = allowance
        if len(allowances) > _MOST_USERS:
            allowances.popitem(last=False)
        return allowance.take()

    def _make_room(self, user: str) -> None:
        """End a stream if there is no room for another of a user."""
        had = Counter(each for each, _ in self._pipes)
        losing = {user}
        if had[user] < MOST_PER_USER:
            if len(self._pipes) < self._most:
                return
            self.complaints.note("full", f"{self._most} streams are open: the oldest goes of those who have the most")
            most = max(had.values())
            if had[user] < most:  # who has as many as anybody makes room at the own cost
                losing = {each for each, count in had.items() if count == most}
        self._pipes.pop(next(where for where in self._pipes if where[0] in losing)).reset()

    def _begin(self, where: _Key, payload: bytes) -> None:
        topic = self._broker.stream(Way.DOWN, *where)
        pipe = Pipe(where[1], Way.DOWN, lambda message: self.publish(topic, message))
        self._pipes[where] = pipe
        pipe.received(payload)
        job = asyncio.create_task(self._carry(where, pipe))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _carry(self, where: _Key, pipe: Pipe) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=READ_AHEAD_BYTES)
            await pipe.run(reader, writer)
        except OSError as error:
            self.complaints.note("listener", one_line(f"the coordinator's listener is not there: {error}"))
            pipe.reset()
        finally:
            if self._pipes.get(where) is pipe:
                del self._pipes[where]

    def _announce(self, payload: bytes) -> None:
        self.publish(self._broker.here, payload, retain=True)

    def _end_all(self, *, tell: bool) -> None:
        for where in list(self._pipes):
            with suppress(KeyError):
                self._pipes.pop(where).reset(tell=tell)
