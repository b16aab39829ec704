"""How often something may happen: a bucket that fills slowly and holds little."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """So much at once, and so much a second in the long run.

    Args:
        burst: at once.
        per_s: a second.
        clock: monotonic seconds.
    """

    __slots__ = ("_burst", "_clock", "_filled", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._left, self._filled = burst, clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._filled) * self._per_s)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
