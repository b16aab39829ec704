"""Bodies of requests and of long responses: bounded in size, in time, and in how many there are at once.

A length is stated before a body is read, or nothing is. A body comes at a slowest speed after some grace. One body of a
client is read at a time: a newer one ends the older, whose connection is gone more often than not. All in the event
loop's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

MOST_CHUNK_BYTES: Final = 2**20
READ_AT_ONCE: Final = 64
GRACE_S: Final = 5.0
LEAST_BYTES_PER_S: Final = 16 * 1024
QUEUE_S: Final = 30.0
RETRY_AFTER_S: Final = 2
PIECE_BYTES: Final = 64 * 1024


class Refused(Exception):
    """A request that is answered with a status other than 200.

    Attributes:
        status: of HTTP.
        kind: one word of a fixed few, for counters and logs.
        why: one sentence for the peer.
        more: what else the answer says.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        why: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: int | str,
    ) -> None:
        super().__init__(why)
        self.status = status
        self.kind = kind
        self.why = why
        self.more = more
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the answer."""
        return JSONResponse({"error": self.why, **self.more}, self.status, self.headers)


def full() -> Refused:
    """Return the refusal for when there is no room now."""
    return Refused(503, "full", "too many at once: come again", headers={"retry-after": str(RETRY_AFTER_S)})


def stated_length(request: Request, *, most_bytes: int) -> int:
    """Return the length of the body that a request states.

    Raises:
        Refused: it states none (411), or one that is too large (413): before anything of it is read.
    """
    text = request.headers.get("content-length")
    if text is None or not text.isascii() or not text.isdigit():
        raise Refused(411, "no-length", "state the length of the body in Content-Length")
    if len(text) > len(str(most_bytes)) or int(text) > most_bytes:
        raise Refused(413, "oversized", f"a body of {most_bytes} bytes or less is read")
    return int(text)


def has_body(request: Request) -> bool:
    """Say whether a request comes with a body."""
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


@dataclass(slots=True, kw_only=True)
class Asked:
    """A request that was let in.

    Attributes:
        request: as it came.
        client: whose it is.
        body_digest: SHA-256 that its body must have, 32 bytes.
        read: whether its body was.
    """

    request: Request
    client: int
    body_digest: bytes
    read: bool = False


class Reader:
    """Reads bodies of clients, at most so many at once.

    Args:
        at_once: how many.
    """

    def __init__(self, *, at_once: int = READ_AT_ONCE) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._under_way: dict[int, asyncio.Timeout] = {}

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a place for a body; while none is free, the network holds the body back.

        Raises:
            Refused: none became free (503).
        """
        try:
            await asyncio.wait_for(self._slots.acquire(), QUEUE_S)
        except TimeoutError:
            raise full() from None
        try:
            yield
        finally:
            self._slots.release()

    async def read(self, asked: Asked, *, length: int) -> bytes:
        """Read the body of a signed request.

        Args:
            asked: the request.
            length: as stated; the parser of HTTP sees to it that no more comes.

        Raises:
            Refused: too slow (408), cut short, or other bytes than were signed (400).
        """
        client = asked.client
        loop, body, state = asyncio.get_running_loop(), bytearray(), hashlib.sha256()
        begun = loop.time()
        older = self._under_way.pop(client, None)
        if older is not None and not older.expired():
            older.reschedule(loop.time())
        patience = asyncio.timeout_at(begun + GRACE_S)
        self._under_way[client] = patience
        try:
            async with patience:
                async for piece in asked.request.stream():
                    state.update(piece)
                    body += piece
                    # Unless a newer body has ended this one, or time has.
                    if self._under_way.get(client) is patience and not patience.expired():
                        patience.reschedule(begun + GRACE_S + len(body) / LEAST_BYTES_PER_S)
        except TimeoutError:
            raise Refused(408, "slow-body", f"a body of {LEAST_BYTES_PER_S} bytes a second or faster is read") from None
        except ClientDisconnect:
            raise Refused(400, "cut", "the body was cut short") from None
        finally:
            if self._under_way.get(client) is patience:
                del self._under_way[client]
        asked.read = True
        if len(body) != length or not hmac.compare_digest(state.digest(), asked.body_digest):
            raise Refused(400, "digest", "the body is not the one that was signed")
        return bytes(body)


class PiecedResponse(Response):
    """Bytes in pieces: what a reader has not taken yet is not copied into its connection's buffers.

    Args:
        raw: the bytes; shared, not copied.
        status: of HTTP.
        headers: of the response.
    """

    def __init__(self, raw: memoryview, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        said = {"content-length": str(len(raw)), **(headers or {})}
        super().__init__(None, status, said, media_type="application/octet-stream")
        self._raw = raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send them."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self._raw), PIECE_BYTES):
            piece = bytes(self._raw[start : start + PIECE_BYTES])
            more = start + PIECE_BYTES < len(self._raw)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
        if not self._raw:
            await send({"type": "http.response.body", "body": b""})
