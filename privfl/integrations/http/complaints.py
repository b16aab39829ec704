"""What went wrong with requests: counted always, logged seldom.

Whoever can reach the coordinator can make it complain. So that ten thousand bad requests do not write ten thousand
lines, a kind of trouble is logged when it first comes up, and then once a minute with the number of times that it came
up since. Kinds are few and fixed. Nothing of a request is logged but the address that it came from.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final

LOGGER: Final = logging.getLogger("privfl.http")
EVERY_S: Final = 60.0


class Complaints:
    """Counts and logs trouble by kind; from any thread.

    Args:
        logger: where lines go.
        every_s: seconds between two lines of a kind.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        logger: logging.Logger = LOGGER,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each kind came up, so far."""
        with self._lock:
            return dict(self._counts)

    def note(self, kind: str, sentence: str, level: int = logging.WARNING) -> None:
        """Count trouble, and log it if its kind was not logged lately.

        Args:
            kind: one of a few words; never what a peer says.
            sentence: one line for people, without secrets and without what bodies hold.
            level: of the line.
        """
        with self._lock:
            self._counts[kind] += 1
            now, count = self._clock(), self._counts[kind]
            then, before = self._logged.get(kind, (None, 0))
            if then is not None and now - then < self._every_s:
                return
            self._logged[kind] = (now, count)
        unsaid = count - before - 1
        self._logger.log(level, "%s%s", sentence, f" (and {unsaid} more of the kind)" if unsaid else "")


class Seldom(logging.Filter):
    """Lets a message of a library through once a minute, whatever its arguments: for loggers of ours that it is given.

    Its messages must be few; what is filled into them does not count.

    Args:
        never: messages that are not let through, because a complaint says the same.
        every_s: seconds between two of a kind.
    """

    def __init__(self, never: Collection[str] = (), *, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._never = frozenset(never)
        self._every_s = every_s
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether it is time for this message again."""
        now, message = time.monotonic(), str(record.msg)
        then = self._said.get(message)
        if message in self._never or (then is not None and now - then < self._every_s):
            return False
        self._said[message] = now
        return True
