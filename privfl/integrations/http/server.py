"""The coordinator's listeners: one for clients, over TLS, and one for whoever operates it, on the machine itself.

    with Server(hall, roster, identity=…, host="0.0.0.0", port=8443, certificate=…, key=…) as server:
        run(hall)           # in this thread; requests are served in another

Both listeners share one event loop in a thread of their own. Signals stay with the main thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import ssl
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp

from privfl.errors import ConfigurationError, LocalProtocolError
from privfl.integrations.consortium import Hall
from privfl.integrations.http.app import Desk
from privfl.integrations.http.complaints import LOGGER, Complaints
from privfl.integrations.http.doors import MOST_PER_CLIENT, MOST_STRANGERS, Doors, Visit
from privfl.integrations.http.limits import IDLE_S, MOST_HEAD_BYTES, Doorstep, GuardedProtocol, state_for
from privfl.integrations.http.operator import Operator
from privfl.integrations.http.standing import Rounds
from privfl.integrations.http.tls import server_context
from privfl.integrations.http.vouching import vouch
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

_BACKLOG: Final = 512
_MOST_PORT: Final = 65535
_GRACE_S: Final = 3.0  # for requests that are being answered when all ends
_OPERATORS: Final = 32  # connections of browsers and scrapers
_SPARE_FILES: Final = 256


class Server:
    """Serves a hall over HTTPS.

    Args:
        hall: where the run's sessions are held.
        roster: the clients that may ask, with the keys that they sign with.
        identity: the coordinator's key, which the hall's greeting names.
        host: name or address to listen at for clients, such as "0.0.0.0".
        port: likewise; 0 takes one that is free.
        certificate: PEM file with the coordinator's certificate.
        key: PEM file with its private key.
        client_ca: PEM file of the authority that clients' certificates must come from; None: they need none.
        operator_host: address of this machine to serve the status page at, which has no password.
        operator_port: likewise; 0 takes one that is free, None serves no page.
        rounds: the run's rounds so far, as the lines of `metrics.jsonl`; called from any thread.
        rounds_planned: how many there will be, for the page.
        spool_folder: where unfinished uploads lie, on a disk; None: where temporary files do.
        strangers: most connections on which nobody has signed a request yet; None: enough for all clients at once,
            as when a coordinator comes back that all of them miss.

    Attributes:
        port: of clients, once started.
        operator_port: of the status page, once started; None where there is none.
        complaints: what went wrong with requests, counted.

    Guarantees:
        1. Clients are served over TLS 1.2 or newer only; the status page on this machine only.
        2. Connections, bodies in memory and uploads on disk are bounded by fixed numbers and by the roster.

    Raises:
        ConfigurationError: a file, an address or a port does not do, or identity is not the greeting's.
    """

    def __init__(
        self,
        hall: Hall,
        roster: Roster,
        *,
        identity: Identity,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        client_ca: Path | None = None,
        operator_host: str = "127.0.0.1",
        operator_port: int | None = 0,
        rounds: Rounds = tuple,
        rounds_planned: int | None = None,
        spool_folder: Path | None = None,
        strangers: int | None = None,
    ) -> None:
        self.complaints = Complaints()
        self._context = server_context(certificate, key, client_ca=client_ca)
        _require_own_machine(operator_host)
        self._clients = len(roster.identities)
        self._strangers = max(MOST_STRANGERS, 2 * self._clients) if strangers is None else strangers
        self._host, self.port = host, port
        self._operator_host, self.operator_port = operator_host, operator_port
        self._desk = Desk(
            hall,
            roster,
            complaints=self.complaints,
            vouched=vouch(identity, hall.greeting, certificate),
            spool_folder=spool_folder,
        )
        self._operator = Operator(hall, rounds=rounds, planned=rounds_planned, complaints=self.complaints)
        self._desk_doors = Doors(self.complaints, strangers=self._strangers)
        self._operator_doors = Doors(self.complaints, strangers=_OPERATORS)
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[_Listener] = []
        self._failed: BaseException | None = None

    def bind(self) -> None:
        """Take the addresses and ports; who connects waits until `start`. To bind again does nothing.

        Raises:
            ConfigurationError: an address or a port cannot be listened at.
        """
        if not self._sockets and self._thread is None:
            self._sockets = self._bound()

    def start(self) -> None:
        """Listen; return when clients are served.

        Raises:
            ConfigurationError: an address or a port cannot be listened at.
            LocalProtocolError: it was started before.
        """
        if self._thread is not None:
            raise LocalProtocolError("this server was started before: make another")
        self.bind()
        sockets, self._sockets = self._sockets, []
        _allow_files(self._strangers + (MOST_PER_CLIENT + 1) * self._clients + _OPERATORS + _SPARE_FILES)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, ready), name="privfl-http", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed

    def farewell(self, clients: Collection[int], timeout_s: float) -> frozenset[int]:
        """Wait until clients have been told that all is over, after `hall.close`: those that train ask later.

        Args:
            clients: who should be.
            timeout_s: at most so many seconds.

        Returns:
            Who was not.
        """
        return self._desk.farewell(clients, timeout_s)

    def stop(self) -> None:
        """Answer what is being asked, for some seconds at most, and end; to stop it again does nothing."""
        for bound in self._sockets:
            bound.close()
        self._sockets = []
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(self._say_goodbye)
        thread.join()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _bound(self) -> list[socket.socket]:
        clients = _listening(self._host, self.port, "port")
        self.port = clients.getsockname()[1]
        if self.operator_port is None:
            return [clients]
        try:
            operator = _listening(self._operator_host, self.operator_port, "operator_port")
        except ConfigurationError:
            clients.close()
            raise
        self.operator_port = operator.getsockname()[1]
        return [clients, operator]

    def _run(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(sockets, ready))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for the start, or logged
            self._failed = error
            if ready.is_set():
                LOGGER.error("the listeners ended: %s", type(error).__name__)
        finally:
            self._desk.finish()
            self._operator.finish()
            ready.set()

    async def _serve(self, sockets: list[socket.socket], ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        started = asyncio.Barrier(len(sockets) + 1)
        self._listeners = [
            _Listener(self._desk.app, self._context, self._desk_doors, started),
            _Listener(self._operator.app, None, self._operator_doors, started),
        ][: len(sockets)]
        self._desk.open()
        try:
            async with asyncio.TaskGroup() as serving:
                for listener, bound in zip(self._listeners, sockets, strict=True):
                    serving.create_task(listener.serve(sockets=[bound]))
                await started.wait()
                ready.set()
        finally:
            self._desk.close()
            self._hang_up()

    def _say_goodbye(self) -> None:
        self._desk.close()
        self._operator.close()
        for listener in self._listeners:
            listener.should_exit = True
        # A client that is training does not hear that TLS ends: nobody waits for it to say so.
        asyncio.get_running_loop().call_later(_GRACE_S, self._hang_up)

    def _hang_up(self) -> None:
        for doors in (self._desk_doors, self._operator_doors):
            doors.close()


class _Listener(uvicorn.Server):
    """uvicorn, with connections that come through `Doors`."""

    def __init__(self, app: ASGIApp, context: ssl.SSLContext | None, doors: Doors, started: asyncio.Barrier) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=GuardedProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                proxy_headers=False,  # nobody stands between: an address in a header is a stranger's word
                server_header=False,
                date_header=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=int(2 * _GRACE_S),  # never needed: all is hung up before
                h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            )
        )
        self._context = context
        self._doors = doors
        self._all_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen at sockets that are bound: uvicorn's own would not let a TLS handshake be limited."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._doorstep, sock=bound, backlog=_BACKLOG) for bound in sockets or ()
        ]
        self.started = True
        await self._all_started.wait()

    def _doorstep(self) -> asyncio.Protocol:
        return Doorstep(self._doors, self._context, self._http)

    def _http(self, visit: Visit) -> asyncio.Protocol:
        return GuardedProtocol(self.config, self.server_state, state_for(visit))


def _listening(host: str, port: int, key: str) -> socket.socket:
    if type(port) is not int or not 0 <= port <= _MOST_PORT:
        raise ConfigurationError(f"{key} is {port!r}: a number from 0 to {_MOST_PORT} works, such as 8443")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{key} {port!r} at {host!r} cannot be listened at: {why}; an address of this machine and a free port "
            "work, such as '0.0.0.0' and 8443"
        ) from None


def _require_own_machine(host: str) -> None:
    with suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise ConfigurationError(
        f"operator_host is {host!r}, and the status page has no password: '127.0.0.1' works, and `ssh -L` brings it "
        "elsewhere"
    )


def _allow_files(number: int) -> None:
    """Raise the process's own limit on open files as far as it is needed and may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < number:
        LOGGER.warning(
            "this process may open %d files, and all clients at once may need %d: raise `ulimit -n`", most, number
        )
