"""What stands, on one retained message: a bell and a hint.

The coordinator says it, the broker keeps it, and whoever comes later hears it at once. It is not signed, and a broker
may say what it likes: all that a client does for it is to ask its coordinator sooner, or a little later. Nothing in it
is secret, and no name of a client is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from privfl.errors import DecodeError
from privfl.integrations.consortium import Hall
from privfl.integrations.consortium.refusals import one_line

MOST_BYTES: Final = 1024
PAUSE_S: Final = 0.5
"""Between two announcements."""


class Here(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How things stand.

    Attributes:
        state: whether the coordinator is at the broker.
        run: the run's name, hex.
        round: of the open session; None if there is none.
        phase: that is open, or None.
    """

    state: Literal["here", "gone"]
    run: str = ""
    round: int | None = None
    phase: str | None = None


_HERE: Final = msgspec.json.Decoder(Here)  # made at import, by one thread: see `wire.typed`
GONE: Final = msgspec.json.encode(Here(state="gone"))


def read(payload: bytes) -> Here:
    """Return what a message says.

    Raises:
        DecodeError: it is no announcement.
    """
    if len(payload) > MOST_BYTES:
        raise DecodeError(f"an announcement of {len(payload)} bytes")
    try:
        return _HERE.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"no announcement: {one_line(str(error))}") from None


def standing(hall: Hall) -> bytes:
    """Return the announcement of how a hall stands."""
    snapshot = hall.snapshot()
    phase = None if snapshot.phase is None else snapshot.phase.name
    return msgspec.json.encode(Here(state="here", run=snapshot.run, round=snapshot.round, phase=phase))


class Announcer:
    """Announces a hall's state when it changes, and not too often; in an event loop's thread.

    Args:
        hall: whose.
        announce: publishes.
    """

    def __init__(self, hall: Hall, announce: Callable[[bytes], None]) -> None:
        self._hall = hall
        self._announce = announce
        self._changed = asyncio.Event()
        self._last = b""
        loop = asyncio.get_running_loop()

        def pull() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._changed.set)

        self._unsubscribe = hall.subscribe(pull)
        self._job = asyncio.create_task(self._run())

    def again(self) -> None:
        """Announce, whether or not something changed."""
        self._last = b""
        self._changed.set()

    def heard(self, payload: bytes) -> None:
        """Hear what the broker keeps; if it is something else (an older connection's will), say it again."""
        if payload != self._last:
            self.again()

    async def close(self) -> None:
        """Announce nothing more."""
        self._unsubscribe()
        self._job.cancel()
        await asyncio.gather(self._job, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            now = standing(self._hall)
            if now != self._last:
                self._last = now
                self._announce(now)
            await asyncio.sleep(PAUSE_S)
