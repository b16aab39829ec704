"""What a request asks for, read strictly: one spelling of everything, or a refusal that says what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from privfl.integrations.http.bodies import Refused
from privfl.integrations.http.signing import read_digest
from privfl.integrations.http.uploads import Place
from privfl.session import Phase

_SESSION: Final = re.compile(r"[0-9a-f]{32}")
_MODEL: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_SECONDS: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
_RANGE: Final = re.compile(r"bytes=(0|[1-9][0-9]{0,15})-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a chunk belongs.

    Attributes:
        offset: of its first byte.
        total: length of the whole in bytes.
    """

    offset: int
    total: int


def target(request: Request) -> str:
    """Return path and query as they came, which is what is signed."""
    raw: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (raw + b"?" + query if query else raw).decode("latin-1")


def session(request: Request) -> bytes:
    """Return the session that the path names, 16 bytes."""
    text: str = request.path_params["session"]
    if not _SESSION.fullmatch(text):
        raise _nothing()
    return bytes.fromhex(text)


def place(request: Request) -> Place:
    """Return the session and phase that the path names."""
    try:
        phase = Phase(request.path_params["phase"])
    except ValueError:
        raise _nothing() from None
    return Place(session(request), phase)


def model(request: Request) -> bytes:
    """Return the model's digest that the path names, 32 bytes."""
    text: str = request.path_params["digest"]
    if not _MODEL.fullmatch(text):
        raise _nothing()
    return bytes.fromhex(text)


def seconds(request: Request, key: str, *, most: float) -> float:
    """Return a number of seconds of the query; 0 where it names none."""
    text = _single(request, key)
    if text is None:
        return 0.0
    if not _SECONDS.fullmatch(text) or float(text) > most:
        raise Refused(400, "malformed", f"{key} is a number of seconds from 0 to {most:g}")
    return float(text)


def span(request: Request, length: int) -> Span:
    """Return where a chunk of some length belongs.

    Raises:
        Refused: the query does not say, or the chunk is empty or ends behind the whole.
    """
    offset, total = _single(request, "offset"), _single(request, "of")
    if offset is None or total is None or not _NUMBER.fullmatch(offset) or not _NUMBER.fullmatch(total):
        raise Refused(400, "malformed", "say where the chunk belongs, such as ?offset=0&of=1000")
    if length == 0 or int(offset) + length > int(total):
        raise Refused(400, "malformed", "a chunk is not empty, and ends within the whole")
    return Span(offset=int(offset), total=int(total))


def whole_digest(request: Request) -> bytes | None:
    """Return the digest of the whole, 32 bytes; None where the request does not tell it."""
    said = request.headers.getlist("repr-digest")
    if not said:
        return None
    digest = read_digest(said[0].encode("latin-1")) if len(said) == 1 else None
    if digest is None:
        raise Refused(400, "malformed", "Repr-Digest is sha-256=:…: with 32 bytes in base64")
    return digest


def range_start(request: Request, length: int) -> int | None:
    """Return where the rest that is asked for begins; None where all is asked for.

    Ranges of other forms are answered with the whole, as RFC 9110 §14.2 lets a server do.

    Raises:
        Refused: it begins behind the end (416).
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None:
        return None
    if int(found[1]) >= length:
        raise Refused(416, "range", "there is nothing behind the end", headers={"content-range": f"bytes */{length}"})
    return int(found[1])


def text(raw: bytes) -> str:
    """Return a body as text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused(400, "malformed", "the text is not UTF-8") from None


def _single(request: Request, key: str) -> str | None:
    values = request.query_params.getlist(key)
    if len(values) > 1:
        raise Refused(400, "malformed", f"{key} comes more than once")
    return values[0] if values else None


def _nothing() -> Refused:
    return Refused(404, "nothing", "there is no such thing here")
