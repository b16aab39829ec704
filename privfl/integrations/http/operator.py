"""The page for whoever operates a coordinator: how the run stands, live, on the machine itself.

    /             one page that loads nothing else
    /status.json  what it shows
    /events       the same again whenever it has changed, a second apart (server-sent events)
    /metrics      for Prometheus, in its text format
    /health       for whoever restarts what is down

There is no password: it is served at an address of the machine only, and only under a name of the machine's own, so
that no page of another site that a browser shows can read it (DNS rebinding). Nothing can be changed here. Clients are
shown as numbers; nothing of what they send is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Final, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from privfl.integrations.consortium import Hall
from privfl.integrations.http.complaints import Complaints
from privfl.integrations.http.limits import Patient
from privfl.integrations.http.standing import Rounds, metrics, status

_TICK_S: Final = 1.0
_PULSE_S: Final = 15.0  # after which a browser hears that all is still there
_AGELESS: Final = {"phase_age_s": None}
_MOST_LISTENERS: Final = 16
_OWN_NAMES: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")
_T = TypeVar("_T")
_PAGE: Final = files("privfl.integrations.http").joinpath("operator.html").read_text(encoding="utf-8")


class Operator:
    """Shows how a run stands.

    Args:
        hall: that the run is held in.
        rounds: the run's rounds so far, as the lines of `metrics.jsonl`; called in a thread.
        planned: how many there will be; None where that is not known.
        complaints: what went wrong with requests.

    Attributes:
        app: the ASGI application.
    """

    def __init__(self, hall: Hall, *, rounds: Rounds, planned: int | None, complaints: Complaints) -> None:
        self._hall = hall
        self._rounds = rounds
        self._planned = planned
        self._complaints = complaints
        self._looking = ThreadPoolExecutor(1, "privfl-operator")
        self._closing = asyncio.Event()
        self._listeners = 0
        self._headers = _headers(_PAGE)
        self.app = Patient(
            Starlette(
                routes=[
                    Route("/", self._guarded(self._page)),
                    Route("/status.json", self._guarded(self._status)),
                    Route("/events", self._guarded(self._events)),
                    Route("/metrics", self._guarded(self._metrics)),
                    Route("/health", self._guarded(self._health)),
                ]
            )
        )

    def close(self) -> None:
        """End what is still being told, in the event loop's thread."""
        self._closing.set()

    def finish(self) -> None:
        """Let go of threads."""
        self._looking.shutdown(cancel_futures=True)

    def _guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not _OWN_NAMES.fullmatch(request.headers.get("host", "")):
                return PlainTextResponse("ask for this page as localhost or 127.0.0.1\n", 421)
            try:
                response = await endpoint(request)
            except Exception as error:  # noqa: BLE001 - a page that fails must not fill the log with traces
                self._complaints.note("page", f"the status page failed: {type(error).__name__}")
                response = PlainTextResponse("the status cannot be told now\n", 500)
            response.headers.update(self._headers)
            return response

        return answer

    async def _page(self, _request: Request) -> Response:
        return HTMLResponse(_PAGE)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _status(self, _request: Request) -> Response:
        return JSONResponse(await self._look())

    async def _metrics(self, _request: Request) -> Response:
        text = await self._thread(lambda: metrics(self._hall.snapshot(), self._rounds(), self._complaints.counts))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _events(self, _request: Request) -> Response:
        if self._listeners >= _MOST_LISTENERS:
            return PlainTextResponse("too many pages listen already\n", 503, {"retry-after": "10"})
        return StreamingResponse(self._told(), media_type="text/event-stream")

    async def _told(self) -> AsyncIterator[str]:
        self._listeners += 1
        try:
            said: dict[str, Any] = {}
            silent_s = 0.0
            while not self._closing.is_set():
                now = await self._look()
                silent_s += _TICK_S
                # Of a phase's age a browser's own clock tells.
                if now | _AGELESS != said | _AGELESS:
                    yield f"data: {json.dumps(now)}\n\n"
                    said, silent_s = now, 0.0
                elif silent_s >= _PULSE_S:
                    yield ": still here\n\n"
                    silent_s = 0.0
                await self._tick()
        finally:
            self._listeners -= 1

    async def _tick(self) -> None:
        try:
            async with asyncio.timeout(_TICK_S):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _look(self) -> dict[str, Any]:
        return await self._thread(lambda: status(self._hall.snapshot(), self._rounds(), self._planned))

    async def _thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._looking, function)


def _headers(page: str) -> dict[str, str]:
    """Return headers under which a browser runs and draws what stands in the page, and nothing else."""
    script, style = (_sources(page, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    }


def _sources(page: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in found)
