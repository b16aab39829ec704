"""The coordinator's side of HTTP: an application around a `Hall`, for clients that ask.

Theory of operation. Every request but two is signed (`signing`), and answered from the hall. The event loop only moves
bytes: whatever may block (the hall's lock, hashing of whole answers, the disk) is done in a few threads. Who asks for
an offer and gets none is not answered until the hall says that something changed, or a while has passed: that costs a
suspended coroutine, no thread and no polling. Answers come in chunks to a spool and, when whole, go to the hall, one
or two at a time.

    400 malformed · 401 nobody we know, or seen before · 403 not in this run · 404 no such thing · 408 too slow
    409 not waited for, or elsewhere · 411, 413 no length, too long · 422 the hall refused it · 503 come again
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from privfl.errors import RemoteProtocolError
from privfl.integrations.consortium import Hall, NotWaited, Offer, Over, Wait
from privfl.integrations.consortium.messages import MOST_WAIT_S, encode
from privfl.integrations.http import asking
from privfl.integrations.http.bell import Bell
from privfl.integrations.http.bodies import (
    MOST_CHUNK_BYTES,
    Asked,
    PiecedResponse,
    Reader,
    Refused,
    has_body,
    stated_length,
)
from privfl.integrations.http.complaints import Complaints
from privfl.integrations.http.limits import Patient, visit_of
from privfl.integrations.http.signing import Gate, Unsigned
from privfl.integrations.http.uploads import Chunk, Place, Spool, Standing
from privfl.integrations.http.vouching import VOUCHED_HEADER
from privfl.roster import Roster

MOST_WHY_BYTES: Final = 500
_THREADS: Final = 8  # that ask the hall; it serves one at a time, the others wait for its lock
_HANDING_ON: Final = 2  # that hold a whole answer in memory
_WAITED_S: Final = 1.0  # whoever has waited so long for nothing may ask again at once
_SAFE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_T = TypeVar("_T")
_Endpoint = Callable[[Asked], Awaitable[Response]]


class Desk:
    """Answers clients' requests.

    Args:
        hall: where the run's sessions are held.
        roster: who may ask.
        complaints: where trouble is counted and logged.
        vouched: what the coordinator's key says of its certificate (`vouching`).
        spool_folder: where unfinished uploads lie; None: where temporary files do.

    Attributes:
        app: the ASGI application.
        gate: that requests pass.

    Raises:
        ConfigurationError: nothing can be kept in the folder.
    """

    def __init__(
        self, hall: Hall, roster: Roster, *, complaints: Complaints, vouched: str, spool_folder: Path | None = None
    ) -> None:
        self._hall = hall
        self._vouched = vouched
        self._complaints = complaints
        self._greeting = encode(hall.greeting)
        self.gate = Gate(roster)
        self._spool = Spool(spool_folder, hall.room)
        self._reader = Reader()
        self._bell = Bell(hall.subscribe)
        self._turns = {number: asyncio.Lock() for number in roster.identities}
        self._asking = ThreadPoolExecutor(_THREADS, "privfl-http")
        self._handing_on = ThreadPoolExecutor(_HANDING_ON, "privfl-http-answer")
        self._sweeping: asyncio.Task[None] | None = None
        self._telling = threading.Condition()
        self._told: set[int] = set()
        app = Starlette(
            routes=[
                Route("/health", _health),
                Route("/v1/epoch", self._epoch),
                Route("/v1/greeting", self._signed(self._greet)),
                Route("/v1/offer", self._signed(self._offer)),
                Route("/v1/models/{digest}", self._signed(self._model)),
                Route("/v1/answers/{session}/{phase}", self._signed(self._standing), methods=["GET"]),
                Route("/v1/answers/{session}/{phase}", self._signed(self._put), methods=["PUT"]),
                Route("/v1/declined/{session}", self._signed(self._decline), methods=["POST"]),
            ],
            exception_handlers={HTTPException: self._nowhere},
        )
        app.router.redirect_slashes = False  # one spelling of each target
        self.app = Patient(app)

    def open(self) -> None:
        """Begin, in the event loop's thread."""
        self._bell.open(self._sweep_soon)

    def close(self) -> None:
        """Send all that wait home, in the event loop's thread; whoever asks from now on does not wait."""
        self._bell.close()

    def finish(self) -> None:
        """Let go of threads and files, after the last request."""
        self._asking.shutdown(cancel_futures=True)
        self._handing_on.shutdown(cancel_futures=True)
        self._spool.close()

    def farewell(self, clients: Collection[int], timeout_s: float) -> frozenset[int]:
        """Wait until clients were told that all is over; see `Server.farewell`."""
        with self._telling:
            self._telling.wait_for(lambda: self._told.issuperset(clients), timeout_s)
            return frozenset(clients) - self._told

    # What can be asked.

    async def _epoch(self, _request: Request) -> Response:
        said = {"epoch": self.gate.epoch.hex(), "run": self._hall.greeting.run.hex()}
        return JSONResponse(said, headers=_SAFE)

    async def _greet(self, _asked: Asked) -> Response:
        return PiecedResponse(memoryview(self._greeting), headers={VOUCHED_HEADER: self._vouched})

    async def _offer(self, asked: Asked) -> Response:
        loop = asyncio.get_running_loop()
        begun, patience = loop.time(), asking.seconds(asked.request, "wait", most=MOST_WAIT_S)
        while True:
            stroke = self._bell.stroke
            offer: Offer = await self._ask(self._hall.offer, asked.client)
            left = begun + patience - loop.time()
            if not isinstance(offer, Wait) or left <= 0 or self._bell.closed:
                break
            if not await self._bell.wait(asked.client, stroke, left):
                break
        if isinstance(offer, Over):
            with self._telling:
                self._told.add(asked.client)
                self._telling.notify_all()
        if isinstance(offer, Wait) and loop.time() - begun >= _WAITED_S and not self._bell.closed:
            offer = Wait(seconds=0.0)
        return PiecedResponse(memoryview(encode(offer)))

    async def _model(self, asked: Asked) -> Response:
        digest = asking.model(asked.request)
        model = await self._ask(self._hall.model, digest)
        start = asking.range_start(asked.request, len(model))
        if start is None:
            return PiecedResponse(memoryview(model), headers={"accept-ranges": "bytes"})
        said = {"content-range": f"bytes {start}-{len(model) - 1}/{len(model)}"}
        return PiecedResponse(memoryview(model)[start:], status=206, headers=said)

    async def _standing(self, asked: Asked) -> Response:
        return _told(self._spool.standing(asked.client, asking.place(asked.request)))

    async def _put(self, asked: Asked) -> Response:
        place = asking.place(asked.request)
        length = stated_length(asked.request, most_bytes=MOST_CHUNK_BYTES)
        span = asking.span(asked.request, length)
        async with self._reader.slot():
            raw = await self._reader.read(asked, length=length)
            chunk = Chunk(offset=span.offset, total=span.total, raw=raw, whole=asking.whole_digest(asked.request))
            # A client's chunks one by one: the second of two that cross finds what the first has done.
            async with self._turns[asked.client]:
                standing = await self._ask(self._spool.put, asked.client, place, chunk)
                if standing.whole:
                    standing = await self._in(self._handing_on, self._hand_on, asked.client, place, chunk)
        return _told(standing)

    def _hand_on(self, client: int, place: Place, chunk: Chunk) -> Standing:
        """Give a whole answer to the hall: in a thread."""
        body = self._spool.take(client, place)
        try:
            self._hall.answer(client, place.session, place.phase, body)
        except RemoteProtocolError as refusal:
            self._spool.settle(client, place, chunk, refused=_line(refusal))
            raise Refused(422, "refused-answer", _line(refusal)) from None
        self._spool.settle(client, place, chunk, refused=None)
        return Standing(received=chunk.total, complete=True)

    async def _decline(self, asked: Asked) -> Response:
        session = asking.session(asked.request)
        length = stated_length(asked.request, most_bytes=MOST_WHY_BYTES)
        async with self._reader.slot():
            raw = await self._reader.read(asked, length=length)
        await self._ask(self._hall.decline, asked.client, session, asking.text(raw))
        return JSONResponse({})

    # How it is asked.

    def _signed(self, endpoint: _Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                admitted = self.gate.admit(request.method, asking.target(request), request.scope["headers"])
            except Unsigned as refusal:
                return self._turn_away(request, refusal)
            visit = visit_of(request.scope)
            if visit is not None:
                visit.admitted(admitted.client)
            asked = Asked(request=request, client=admitted.client, body_digest=admitted.body_digest)
            response = await self._answered(endpoint, asked)
            response.headers.update(_SAFE)
            return response

        return answer

    async def _answered(self, endpoint: _Endpoint, asked: Asked) -> Response:
        client = asked.client
        try:
            return await endpoint(asked)
        except NotWaited as late:
            refusal = Refused(409, "not-waited", _line(late))
        except RemoteProtocolError as error:
            refusal = Refused(403, "not-in-run", _line(error))
        except Refused as refused:
            refusal = refused
        except Exception as error:  # noqa: BLE001 - no request of a client ends in a trace of what it held
            self._complaints.note("500", f"a request of client {client} failed: {type(error).__name__}", logging.ERROR)
            refusal = Refused(500, "failed", "the coordinator failed at this request")
        # Late is nobody's fault, and so is a chunk that comes again.
        level = logging.INFO if refusal.status == 409 else logging.WARNING
        self._complaints.note(f"{refusal.status}-{refusal.kind}", f"client {client}: {refusal.why}", level)
        response = refusal.response()
        if has_body(asked.request) and not asked.read:
            # Of a body that was not read, nothing more is.
            response.headers["connection"] = "close"
        return response

    def _turn_away(self, request: Request, refusal: Unsigned) -> Response:
        self._complaints.note(f"401-{refusal.kind}", f"{_address(request)}: {refusal}")
        said = {"error": str(refusal), "epoch": self.gate.epoch.hex(), "count": refusal.count}
        headers = _SAFE | {"www-authenticate": "Privfl-Signature"}
        # Who may be a client tries again on the same connection, unless a body stands in the way.
        if refusal.kind not in {"epoch", "replayed"} or has_body(request):
            headers["connection"] = "close"
        return JSONResponse(said, 401, headers)

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        self._complaints.note(str(status), f"{_address(request)}: a request for what is not here")
        said: Mapping[str, str] = {"error": "there is no such thing here"}
        return JSONResponse(said, status, _SAFE | {"connection": "close"})

    # Threads.

    async def _ask(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await self._in(self._asking, function, *arguments)

    async def _in(self, threads: ThreadPoolExecutor, function: Callable[..., _T], *arguments: object) -> _T:
        work = asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
        # Seen to its end even if the request is given up: what it holds is in use until then.
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    # Uploads that nobody waits for any more.

    def _sweep_soon(self) -> None:
        if self._spool.under_way and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        for client in self._spool.under_way:
            async with self._turns[client]:
                await self._ask(self._spool.forget_unwanted, client)


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers=_SAFE)


def _told(standing: Standing) -> Response:
    return JSONResponse({"received": standing.received, "complete": standing.complete})


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _address(request: Request) -> str:
    return request.client.host if request.client else "somebody"
