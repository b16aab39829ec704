"""Wakes those that wait for an offer when the hall says that one may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Subscribe = Callable[[Callable[[], None]], Callable[[], None]]
"""`Hall.subscribe`: takes what is to be called, returns what ends it."""


class Bell:
    """Rings in the event loop's thread, whoever pulls it; a client waits once at a time.

    Args:
        subscribe: the hall's.
    """

    def __init__(self, subscribe: Subscribe) -> None:
        self._subscribe = subscribe
        self._unsubscribe: Callable[[], None] | None = None
        self._stroke = asyncio.Event()
        self._waiting: dict[int, asyncio.Timeout] = {}
        self._coming = False
        self.closed = False

    @property
    def stroke(self) -> asyncio.Event:
        """What the next stroke sets: taken before looking, so that nothing is missed between a look and a wait."""
        return self._stroke

    def open(self, on_stroke: Callable[[], None]) -> None:
        """Begin, in the event loop's thread.

        Args:
            on_stroke: called there at every stroke.
        """
        loop = asyncio.get_running_loop()

        def strike() -> None:
            self._coming = False
            self._strike()
            on_stroke()

        def pull() -> None:
            # One stroke for many pulls: it comes after all of them. A flag read too early costs a second stroke.
            if not self._coming and not loop.is_closed():
                self._coming = True
                loop.call_soon_threadsafe(strike)

        self._unsubscribe = self._subscribe(pull)

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._strike()

    async def wait(self, client: int, stroke: asyncio.Event, seconds: float) -> bool:
        """Wait for a stroke; of two waits of one client, the older ends.

        Returns:
            Whether it came, rather than the end of patience.
        """
        older = self._waiting.pop(client, None)
        if older is not None and not older.expired():
            older.reschedule(asyncio.get_running_loop().time())
        patience = asyncio.timeout(seconds)
        self._waiting[client] = patience
        try:
            async with patience:
                await stroke.wait()
        except TimeoutError:
            return False
        finally:
            if self._waiting.get(client) is patience:
                del self._waiting[client]
        return True

    def _strike(self) -> None:
        stroke, self._stroke = self._stroke, asyncio.Event()
        stroke.set()
