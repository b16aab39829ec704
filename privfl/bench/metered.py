"""Parties whose own allocations are added up: what they keep, and what they need for a moment beside that."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from privfl.params import SessionParams
from privfl.session import Aggregate, ClientSession, Phase, ServerSession
from privfl.wire import PartyId

_T = TypeVar("_T")


class _Meter:
    """Adds up what calls allocate; tracemalloc must be tracing.

    Attributes:
        held_bytes: what the calls so far have left.
        peak_bytes: the most that there was at a time.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self.peak_bytes = 0

    def metered(self, call: Callable[[], _T]) -> _T:
        """Make a call."""
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        try:
            return call()
        finally:
            after, peak = tracemalloc.get_traced_memory()
            self.peak_bytes = max(self.peak_bytes, self.held_bytes + peak - before)
            self.held_bytes += after - before

    def passing(self, call: Callable[[], bytes]) -> bytes:
        """Make a call whose result goes out and is forgotten: it counts for the moment only."""
        result = self.metered(call)
        self.held_bytes -= sys.getsizeof(result)
        return result


class MeteredServer(_Meter):
    """A server, from its making on.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], ServerSession]) -> None:
        super().__init__()
        self._inner: ServerSession = self.metered(make)

    @property
    def phase(self) -> Phase:
        """See `ServerSession`."""
        return self._inner.phase

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """See `ServerSession`."""
        return self._inner.waiting

    @property
    def ready(self) -> bool:
        """See `ServerSession`."""
        return self._inner.ready

    @property
    def result(self) -> Aggregate:
        """See `ServerSession`."""
        return self._inner.result

    def request_for(self, party: PartyId) -> bytes:
        """See `ServerSession`."""
        return self.passing(lambda: self._inner.request_for(party))

    def bind(self, context: bytes) -> None:
        """See `ServerSession`."""
        self.metered(lambda: self._inner.bind(context))

    def receive(self, sender: PartyId, response: bytes) -> None:
        """See `ServerSession`."""
        self.metered(lambda: self._inner.receive(sender, response))

    def advance(self) -> None:
        """See `ServerSession`."""
        self.metered(self._inner.advance)


class MeteredClient(_Meter):
    """A client, from its making on; its update, and the vector that it hands over, are its caller's.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], ClientSession]) -> None:
        super().__init__()
        self._inner: ClientSession = self.metered(make)

    @property
    def params(self) -> SessionParams:
        """See `ClientSession`."""
        return self._inner.params

    def submit(self, vector: Any) -> None:
        """See `ClientSession`."""
        self.metered(lambda: self._inner.submit(vector))

    def bind(self, context: bytes) -> None:
        """See `ClientSession`."""
        self.metered(lambda: self._inner.bind(context))

    def check_upload(self, request: bytes) -> None:
        """See `ClientSession`."""
        self.metered(lambda: self._inner.check_upload(request))

    def respond(self, request: bytes) -> bytes:
        """See `ClientSession`."""
        return self.passing(lambda: self._inner.respond(request))

    def to_bytes(self, key: bytes) -> bytes:
        """See `ClientSession`."""
        return self.passing(lambda: self._inner.to_bytes(key))
