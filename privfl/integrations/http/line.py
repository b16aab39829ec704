"""A client's line to its coordinator: signed requests, one after the other, through cuts and restarts."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import msgspec

from privfl.errors import ConfigurationError, RemoteProtocolError
from privfl.integrations.http.patience import MOST_PAUSE_S, Lost, Moved, Patience
from privfl.integrations.http.signing import Signer
from privfl.integrations.http.tls import Pin, certificate_of

_CONNECT_S: Final = 10.0
_TRANSFER_S: Final = 60.0  # between two pieces of a body, either way: the coordinator may have others to read first
_MOST_SAID_BYTES: Final = 64 * 1024  # of an answer in JSON
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class _Told(msgspec.Struct, frozen=True):
    """What the coordinator says in JSON; what is not named here is ignored."""

    error: str = ""
    epoch: str = ""
    count: int = 0
    received: int | None = None
    complete: bool = False

    @property
    def line(self) -> str:
        """What went wrong, fit for a log."""
        return _line(self.error)


_TOLD: Final = msgspec.json.Decoder(_Told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        body: all of it.
        headers: names in lower case.
        certificate: SHA-256 of the certificate of the connection that it came over, 32 bytes.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    certificate: bytes

    @property
    def told(self) -> _Told:
        """The body, where it is the coordinator's JSON; nothing where it is not."""
        try:
            return _TOLD.decode(self.body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return _Told()


class Line:
    """Signed requests to one coordinator.

    Args:
        url: such as "https://coordinator.example:8443".
        context: of TLS; this line's alone.
        signer: signs them.
        patience: between tries.
        longest_answer_s: how long the coordinator may take to begin an answer.
        uds: a Unix socket on this machine to dial instead of the URL's host, which TLS looks for all the same.

    Raises:
        ConfigurationError: the URL is none, or not https.
    """

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        signer: Signer,
        patience: Patience,
        *,
        longest_answer_s: float,
        uds: Path | None = None,
    ) -> None:
        self._base = _base(url)
        self._signer = signer
        self._patience = patience
        self._pin = Pin(context)
        self._context, self._uds, self._longest_answer_s = context, uds, longest_answer_s
        self._client = self._made()

    @property
    def epoch(self) -> bytes:
        """Of the coordinator's process that answered last, 16 bytes."""
        return self._signer.epoch

    def pin(self, certificate: bytes | None) -> None:
        """Say which certificate new connections must show.

        Args:
            certificate: SHA-256 of it, 32 bytes; None: any that the authority vouches for.
        """
        self._pin.certificate = certificate

    def meet(self) -> None:
        """Take over the coordinator's epoch, as often as it takes to get an answer.

        Raises:
            RemoteProtocolError: what answers is no coordinator.
            RoundAborted: nothing answered for too long.
            Stopped: it was stopped.
        """
        while True:
            try:
                request = self._client.build_request("GET", f"{self._base}/v1/epoch")
                answer = self._send(request, bytearray(), _MOST_SAID_BYTES)
            except Lost as lost:
                self._patience.back_off(lost)
            else:
                self._take_over(answer, count=0)
                return

    def ask(self, method: str, target: str, *, body: bytes = b"", most_bytes: int = _MOST_SAID_BYTES) -> Answer:
        """Send a request, again and again until it is answered for good.

        Args:
            method: such as "GET".
            target: path and query.
            body: to send.
            most_bytes: of the answer.

        Returns:
            An answer that will not be another if it is asked for again.

        Raises:
            RemoteProtocolError: the coordinator does not take this client's signature, or answers at too great length.
            RoundAborted: nothing answered for too long.
            Moved: the coordinator has to greet anew.
            Stopped: it was stopped.
        """
        while True:
            try:
                return self.once(method, target, body=body, most_bytes=most_bytes)
            except Lost as lost:
                self._patience.back_off(lost)

    def once(
        self,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        kept: bytearray | None = None,
        most_bytes: int = _MOST_SAID_BYTES,
    ) -> Answer:
        """Send a request once; if epoch or count were behind, once more for each.

        Args:
            method: such as "PUT".
            target: path and query.
            body: to send.
            headers: to send besides the signature.
            kept: where what was asked for is put, behind what is there of it; it stays there after a cut.
            most_bytes: of the answer, or of `kept`.

        Raises:
            Lost: there was no answer, or one that passes.
            Moved: as `ask`.
            RemoteProtocolError: as `ask`.
            Stopped: as `ask`.
        """
        self._patience.wait(0)
        for again in (2, 1, 0):
            signed = self._signer.headers(method, target, body)
            into = bytearray() if kept is None else kept
            request = self._client.build_request(
                method, self._base + target, content=body or None, headers={**(headers or {}), **signed}
            )
            answer = self._send(request, into, most_bytes)
            if answer.status != 401:
                return answer
            told = answer.told
            if not again or not told.epoch:
                raise RemoteProtocolError(f"the coordinator does not take this client's signature: {told.line}")
            self._take_over(answer, count=told.count)
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def fetch(self, target: str, length: int) -> Answer:
        """Get a body of a known length; after a cut, the rest of it.

        Raises:
            RemoteProtocolError: as `ask`; or the body is of another length.
            RoundAborted: as `ask`.
            Moved: as `ask`.
            Stopped: as `ask`.
        """
        kept = bytearray()
        while True:
            rest = {"range": f"bytes={len(kept)}-"} if kept else {}
            before = len(kept)
            try:
                answer = self.once("GET", target, headers=rest, kept=kept, most_bytes=length)
            except Lost as lost:
                if len(kept) <= before:
                    self._patience.back_off(lost)
                continue
            if answer.status not in {200, 206}:
                return answer
            if len(kept) != length:
                raise RemoteProtocolError(f"the coordinator sends {len(kept)} bytes where {length} were announced")
            return replace(answer, status=200, body=bytes(kept))

    def hang_up(self) -> None:
        """End the connection, if there is one; the next request dials anew."""
        self._client.close()
        self._client = self._made()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _made(self) -> httpx.Client:
        # No settings of the surroundings: no proxy, no .netrc, no other authorities. No redirects are followed.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        return httpx.Client(
            verify=self._context,
            trust_env=False,
            limits=limits,
            transport=None
            if self._uds is None
            else httpx.HTTPTransport(verify=self._context, limits=limits, uds=str(self._uds)),
            timeout=httpx.Timeout(
                connect=_CONNECT_S, read=_TRANSFER_S + self._longest_answer_s, write=_TRANSFER_S, pool=_CONNECT_S
            ),
        )

    def _take_over(self, answer: Answer, *, count: int) -> None:
        try:
            epoch = bytes.fromhex(answer.told.epoch)
        except ValueError:
            epoch = b""
        self._signer.take_over(epoch, count)

    def _send(self, request: httpx.Request, into: bytearray, most_bytes: int) -> Answer:
        """Send a request as it is, and read what comes back.

        Raises:
            Lost: nothing came, or not all of it, or a status that passes.
            Moved: another certificate was shown than the one that is pinned.
            RemoteProtocolError: more came than there may be.
        """
        try:
            response = self._client.send(request, stream=True)
            with closing(response):
                # While the connection is open.
                certificate = certificate_of(response.extensions["network_stream"].get_extra_info("socket"))
                wanted = response.status_code in {200, 206}
                taken = into if wanted else bytearray()
                if response.status_code == 200:
                    taken.clear()  # the whole, whatever was asked for
                most = most_bytes if wanted else _MOST_SAID_BYTES
                # As it comes: nothing that is packed is unpacked.
                for piece in response.iter_raw():
                    if len(taken) + len(piece) > most:
                        raise RemoteProtocolError(f"the coordinator sends more than the {most} bytes that may come")
                    taken += piece
        except (httpx.TransportError, httpx.StreamError) as error:
            if self._pin.missed():
                raise Moved from None
            raise Lost(_line(str(error) or type(error).__name__)) from None
        if response.status_code in _PASSING:
            self._patience.heard()
            raise Lost(f"status {response.status_code}", retry_after_s=_seconds(response.headers.get("retry-after")))
        self._patience.served()
        return Answer(
            status=response.status_code,
            body=bytes(taken),
            headers=response.headers,
            certificate=certificate,
        )

    def __enter__(self) -> Self:
        """Nothing is dialled before something is asked."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """Hang up."""
        self.close()


def _base(url: str) -> str:
    """Return scheme and authority of a coordinator's URL.

    Raises:
        ConfigurationError: it is no URL, not https, or has more to it.
    """
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigurationError(f"url {url!r} is none ({error}): 'https://coordinator.example:8443' works") from None
    if (
        parts.scheme != "https"
        or not parts.host
        or parts.raw_path not in {b"", b"/"}
        or parts.userinfo
        or parts.fragment
    ):
        raise ConfigurationError(f"url is {url!r}: 'https://coordinator.example:8443' works, with nothing behind it")
    return f"https://{parts.netloc.decode()}"


def _seconds(text: str | None) -> float:
    return min(float(text), MOST_PAUSE_S) if text is not None and text.isascii() and text.isdigit() else 0.0


def _line(text: str) -> str:
    """One printable line of what somebody else says."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]
