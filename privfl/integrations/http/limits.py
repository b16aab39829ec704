"""What a connection may take its time for: TLS, the head of a request, and the taking of a response.

TLS begins here and not at the listener, because what a handshake costs (a quarter of a megabyte of buffers in asyncio)
should be spent within the bounds of `doors`. A handshake and the head of a request each have a deadline; bodies have a
slowest speed (`bodies`), responses that nobody reads a deadline (`Patient`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from privfl.integrations.http.complaints import Seldom
from privfl.integrations.http.doors import Doors, Visit

HANDSHAKE_S: Final = 10.0
HEAD_S: Final = 10.0
"""For the head of a request, from its first byte (of the first request: from the end of the handshake)."""
IDLE_S: Final = 30
"""Between two requests on one connection."""
SEND_S: Final = 30.0
"""For a piece of a response to be taken."""
GOODBYE_S: Final = 5.0
"""For the end of TLS."""
MOST_HEAD_BYTES: Final = 16 * 1024
_WRITE_AHEAD_BYTES: Final = 64 * 1024  # of a response that waits for its reader
_VISIT: Final = "privfl-visit"
_quiet = logging.getLogger("privfl.http.uvicorn")
_quiet.addFilter(Seldom({"Invalid HTTP request received."}))


class Doorstep(asyncio.Protocol):
    """Takes a connection through the TLS handshake, then hands it to HTTP.

    Args:
        doors: who is connected.
        context: of TLS; None for a listener on the machine itself.
        http: makes the protocol that goes on, once there is something to go on with.
    """

    def __init__(
        self,
        doors: Doors,
        context: ssl.SSLContext | None,
        http: Callable[[Visit], asyncio.Protocol],
    ) -> None:
        self._doors = doors
        self._context = context
        self._http = http
        self._early = bytearray()
        self._lost = False
        self._visit: Visit | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what listeners of streams hand over
        # asyncio does so itself only where sockets name their protocol, which those of `create_server` do not. Without
        # it the second part of a response waits until the other end, in its own time, has confirmed the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._visit = visit = self._doors.arrive(transport)
        if self._context is None:
            self._hand_over(transport, visit)
            return
        # Nothing is read before TLS does.
        transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport, visit, self._context))

    async def _shake_hands(self, transport: asyncio.Transport, visit: Visit, context: ssl.SSLContext) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=GOODBYE_S,
            )
        except (OSError, TimeoutError) as error:
            why = getattr(error, "reason", None) or type(error).__name__
            visit.note("handshake", f"a TLS handshake failed: {why}")
            visit.left()
            return
        # What asyncio returns where the connection went away meanwhile is None, whatever its signature says.
        if self._lost or not isinstance(secured, asyncio.Transport):
            visit.left()
            return
        self._hand_over(secured, visit)

    def _hand_over(self, transport: asyncio.Transport, visit: Visit) -> None:
        http = self._http(visit)
        transport.set_protocol(http)
        http.connection_made(transport)
        if self._early:
            http.data_received(bytes(self._early))
            self._early.clear()

    def data_received(self, data: bytes) -> None:
        """Keep what came with the end of the handshake: one read of TLS at most, until the next turn of the loop."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End before HTTP has begun."""
        self._lost = True
        if self._visit is not None:
            self._visit.left()


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a deadline for the head of a request, and with few words about garbage.

    `app_state` holds the connection's `Visit`, which the application finds in each request (`visit_of`).
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self.logger = _quiet
        self.access_log = False
        self._visit: Visit = app_state[_VISIT]
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin, and wait for a first request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_AHEAD_BYTES)
        self._head_timer = self.loop.call_later(HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun has its deadline."""
        if self._head_timer is None and self.conn.their_state is h11.IDLE:
            self._head_timer = self.loop.call_later(HEAD_S, self._too_slow)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        self._visit.left()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._visit.note("malformed", "bytes came that are no HTTP")
        super().send_400_response(msg)

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        # Browsers connect ahead of what they may want to ask: that is nothing to complain of.
        if self.conn.trailing_data[0]:
            self._visit.note("slow-head", f"a request whose head was not complete after {HEAD_S:g} s")
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        if self.conn.our_state is h11.IDLE:
            self.transport.write(self.conn.send(h11.Response(status_code=408, headers=headers)) or b"")
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def state_for(visit: Visit) -> dict[str, Any]:
    """Return what a request's scope carries of its connection."""
    return {_VISIT: visit}


def visit_of(scope: Scope) -> Visit | None:
    """Return the connection that a request came on; None outside of this package's listeners."""
    visit = scope.get("state", {}).get(_VISIT)
    return visit if isinstance(visit, Visit) else None


class Patient:
    """An application whose responses are taken within a deadline, piece by piece, or whose connection ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def send_soon(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_S):
                    await send(message)
            except TimeoutError:
                visit = visit_of(scope)
                if visit is not None:
                    visit.abort()

        await self._app(scope, receive, send_soon)
