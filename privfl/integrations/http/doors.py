"""Connections: how many there may be, and whose they are.

Theory of operation. A connection is a visit. It begins as a stranger's, and becomes a client's with the first signed
request on it. There is room for a fixed number of strangers, handshakes included; where there is none left, the one
that has been here longest has to go: an honest client needs a moment to sign its first request, whoever holds
connections to starve others loses them first. A client may hold a few connections, and loses its own oldest. Memory is
bounded by both numbers, whatever arrives. All in the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

from privfl.integrations.http.complaints import Complaints

MOST_STRANGERS: Final = 256
MOST_PER_CLIENT: Final = 4


class Visit:
    """One connection, from its arrival to its end."""

    __slots__ = ("_doors", "client", "transport")

    def __init__(self, doors: Doors, transport: asyncio.BaseTransport) -> None:
        self._doors = doors
        self.transport = transport
        self.client: int | None = None

    def admitted(self, client: int) -> None:
        """Note whose connection it is, as a signed request on it has shown."""
        self._doors.admit(self, client)

    def left(self) -> None:
        """Note that it is over."""
        self._doors.forget(self)

    def note(self, kind: str, sentence: str) -> None:
        """Complain about it: the address that it came from, and a sentence."""
        address = self.transport.get_extra_info("peername")
        self._doors.complaints.note(kind, f"{address[0] if address else 'somebody'}: {sentence}")

    def abort(self) -> None:
        """End it at once, without another word."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


class Doors:
    """Who is connected; in the event loop's thread only.

    Args:
        complaints: where trouble with connections is noted.
        strangers: most connections on which no signed request has come yet.
        per_client: most connections of one client.

    Guarantees:
        1. There are never more than `strangers` + `per_client` × clients connections, handshakes included.
    """

    def __init__(
        self, complaints: Complaints, *, strangers: int = MOST_STRANGERS, per_client: int = MOST_PER_CLIENT
    ) -> None:
        self.complaints = complaints
        self._most_strangers = strangers
        self._per_client = per_client
        self._strangers: OrderedDict[Visit, None] = OrderedDict()
        self._clients: dict[int, deque[Visit]] = {}

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._strangers) + sum(map(len, self._clients.values()))

    def arrive(self, transport: asyncio.BaseTransport) -> Visit:
        """Let somebody in; if there is no room, the stranger that has been here longest goes."""
        if len(self._strangers) >= self._most_strangers:
            self._strangers.popitem(last=False)[0].abort()
        visit = Visit(self, transport)
        self._strangers[visit] = None
        return visit

    def admit(self, visit: Visit, client: int) -> None:
        """Note whose a connection is; if the client has too many, its oldest goes."""
        if visit.client == client:
            return
        self.forget(visit)
        visits = self._clients.setdefault(client, deque())
        if len(visits) >= self._per_client:
            visits.popleft().abort()
        visit.client = client
        visits.append(visit)

    def forget(self, visit: Visit) -> None:
        """Note that a connection is over."""
        self._strangers.pop(visit, None)
        if visit.client is not None and visit in self._clients.get(visit.client, ()):
            self._clients[visit.client].remove(visit)

    def close(self) -> None:
        """Send everybody away."""
        for visit in [*self._strangers, *(visit for visits in self._clients.values() for visit in visits)]:
            visit.abort()
