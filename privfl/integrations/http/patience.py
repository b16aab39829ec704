"""How a client waits: for a coordinator that is away, and until somebody wants it to end."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from privfl.errors import RoundAborted
from privfl.primitives.entropy import OsEntropy

LOGGER: Final = logging.getLogger("privfl.http")
MOST_PAUSE_S: Final = 10.0
ROUSED_S: Final = 1.0
"""Between two tries, however often somebody is roused."""
_FIRST_PAUSE_S: Final = 0.25
_GLANCE_S: Final = 0.1


class Lost(Exception):
    """A request got no answer, or one that a later one may not get.

    Attributes:
        retry_after_s: how long the coordinator wants to be left alone.
    """

    def __init__(self, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Moved(Exception):
    """A connection showed another certificate than the coordinator greeted with: it has to greet anew."""


class Stopped(Exception):
    """Whoever started the client wants it to end."""


class Patience:
    """How long to wait, and until when.

    Args:
        stop: ends all waiting when it is set.
        give_up_after_s: seconds without a sign of life; None: for ever.

    Guarantees:
        1. However often `rouse` is called, no pause is cut to less than `ROUSED_S`, or than the coordinator asked for.
    """

    def __init__(self, *, stop: threading.Event, give_up_after_s: float | None = None) -> None:
        self._stop = stop
        self._give_up_after_s = give_up_after_s
        self._entropy = OsEntropy()
        self._alive = self.now()
        self._failures = 0
        self._why = ""
        self._roused = False

    @staticmethod
    def now() -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def heard(self) -> None:
        """Note a sign of life, if not a useful one."""
        self._alive = self.now()

    def served(self) -> None:
        """Note an answer."""
        self.heard()
        if self._failures:
            LOGGER.info("the coordinator answers again")
        self._failures = 0
        self._why = ""

    def back_off(self, lost: Lost) -> None:
        """Wait after a failure: twice as long as after the last one, give or take half, so that clients do not come all
        at once to a coordinator that is back.

        Raises:
            RoundAborted: there was no sign of life for too long.
            Stopped: it was stopped.
        """
        silent_s = self.now() - self._alive
        if self._give_up_after_s is not None and silent_s > self._give_up_after_s:
            raise RoundAborted(f"nothing was heard of the coordinator for {silent_s:.0f} s: {lost}")
        if str(lost) != self._why:
            LOGGER.warning("no answer from the coordinator (%s): asking again", lost)
            self._why = str(lost)
        pause = min(MOST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._failures += 1
        jitter = int.from_bytes(self._entropy.token_bytes(4), "big") / 2**32
        pause_s = min(MOST_PAUSE_S, max(lost.retry_after_s, pause * (0.5 + jitter)))
        self._pause(pause_s, least_s=max(lost.retry_after_s, ROUSED_S))

    def rouse(self) -> None:
        """Cut short the pause after a failure; from any thread."""
        self._roused = True

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: it was stopped, meanwhile or before.
        """
        if self._stop.wait(seconds):
            raise Stopped

    def _pause(self, seconds: float, *, least_s: float) -> None:
        """Wait; if roused, not so long, but at least `least_s`.

        Raises:
            Stopped: it was stopped, meanwhile or before.
        """
        waited_s = 0.0
        self._roused = False
        while waited_s < seconds and not (self._roused and waited_s >= least_s):
            glance_s = min(_GLANCE_S, seconds - waited_s)
            self.wait(glance_s)
            waited_s += glance_s
