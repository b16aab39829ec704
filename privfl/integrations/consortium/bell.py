"""Who wants to hear when something has changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("privfl.consortium")


class Bell:
    """Calls its subscribers, in the thread that rings, with no lock held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[object, Callable[[], None]] = {}

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have something called; returns the unsubscriber, which may be called twice."""
        key = object()
        with self._lock:
            self._subscribers[key] = notify

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(key, None)

        return unsubscribe

    def ring(self) -> None:
        """Call all subscribers; what one raises is logged, and its own business."""
        with self._lock:
            subscribers = list(self._subscribers.values())
        for notify in subscribers:
            try:
                notify()
            except Exception:  # noqa: BLE001 - whatever it is, it is one subscriber's
                _LOG.exception("a subscriber raised")
