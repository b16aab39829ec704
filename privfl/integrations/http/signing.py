"""Who sends a request: signatures of clients, made at one end and checked at the other.

Theory of operation. TLS shows a client that it talks to its coordinator; these signatures show the coordinator which
client talks. Each covers the method, the target, the digest of the body, the client's number, an epoch (drawn by the
coordinator's process at its start) and a count that grows from request to request: what is sent again, to another
place, with another body or to another process of the coordinator is refused. The digest of the body stands in a header
of its own (`Content-Digest`, RFC 9530), so that a signature is checked before anything of a body is read: a stranger
can make the coordinator read headers, and nothing else.

A client whose epoch is behind is told it with the refusal, and one whose count is behind the last one, and goes on from
there. Nothing depends on what it
is told: it signs every request freshly, and a count is good for one of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from privfl.errors import ConfigurationError, RemoteProtocolError
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import SIGNATURE_BYTES, Identity, verify
from privfl.roster import Roster

EPOCH_BYTES: Final = 16
MOST_COUNT: Final = 2**63 - 1
EMPTY: Final = hashlib.sha256(b"").digest()
"""The digest of no body."""
CLIENT_HEADER: Final = "privfl-client"
EPOCH_HEADER: Final = "privfl-epoch"
COUNT_HEADER: Final = "privfl-count"
SIGNATURE_HEADER: Final = "privfl-signature"
DIGEST_HEADER: Final = "content-digest"
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,18}")
_EPOCH: Final = re.compile(rb"[0-9a-f]{32}")
_DIGEST: Final = re.compile(rb"sha-256=:([A-Za-z0-9+/]{43}=):")
_SIGNED_BYTES: Final = 88  # of a signature of 64 bytes in base64


class Unsigned(RemoteProtocolError):
    """A request that no client of the roster is shown to have sent now.

    Attributes:
        kind: one word for what is wrong, of a fixed few, for counters and logs.
        count: the last count that the client used, where the signature shows that it is the client; 0 otherwise.
    """

    def __init__(self, kind: str, message: str, *, count: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.count = count


def digest_header(digest: bytes) -> str:
    """Write a SHA-256 as RFC 9530 does, for `Content-Digest` and `Repr-Digest`."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def read_digest(text: bytes) -> bytes | None:
    """Read what `digest_header` wrote: 32 bytes, or None for anything else."""
    found = _DIGEST.fullmatch(text)
    return _unbase64(found[1]) if found else None


class Signer:
    """A client's end: signs each request under the next count.

    Args:
        identity: the client's key, whose public half the coordinator's roster lists under its number.
        number: that number.
    """

    def __init__(self, identity: Identity, number: int) -> None:
        self._identity = identity
        self.number = number
        self.epoch = bytes(EPOCH_BYTES)
        self._count = 0

    def take_over(self, epoch: bytes, count: int) -> None:
        """Go on in an epoch after a count.

        Within an epoch counts only grow, whatever the coordinator says: no two requests are signed under one.

        Raises:
            RemoteProtocolError: no epoch, or a count that leaves no room above it.
        """
        if len(epoch) != EPOCH_BYTES or not 0 <= count < MOST_COUNT - 2**32:
            raise RemoteProtocolError("the coordinator tells an epoch or a count that cannot be")
        self._count = max(self._count, count) if epoch == self.epoch else count
        self.epoch = epoch

    def headers(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        """Sign a request.

        Args:
            method: such as "GET".
            target: path and query, as they stand in the request.
            body: the whole body.

        Returns:
            Headers to send with it.
        """
        self._count += 1
        digest = hashlib.sha256(body).digest()
        signed = _Signed(
            method=method, target=target, epoch=self.epoch, count=self._count, client=self.number, digest=digest
        )
        signature = self._identity.sign(Label.HTTP_REQUEST, *signed.parts)
        said = {
            CLIENT_HEADER: str(self.number),
            EPOCH_HEADER: self.epoch.hex(),
            COUNT_HEADER: str(self._count),
            SIGNATURE_HEADER: base64.b64encode(signature).decode(),
        }
        return said | {DIGEST_HEADER: digest_header(digest)} if body else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Whose request it is.

    Attributes:
        client: its number.
        body_digest: SHA-256 that the body must have, 32 bytes.
    """

    client: int
    body_digest: bytes


class Gate:
    """The coordinator's end: which client sent a request, or nobody that it knows.

    A count is used up by the check itself, which nothing interrupts: it is called in one thread (the event loop's) and
    awaits nothing, so that of two requests under one count only the first gets in.

    Args:
        roster: who may ask.
        entropy: where the epoch comes from.

    Attributes:
        epoch: of this process, 16 bytes.

    Guarantees:
        1. A request is admitted once: a second one under its count, or a lower one, is refused.
        2. Another method, target, body, client or epoch than was signed is refused.
        3. Whoever is not on the roster is refused before any cryptography, and nobody but a client is told its count.
        4. Nobody is admitted once the roster has expired.

    Assumes:
        An identity serves one coordinator at a time: two that share clients could pass requests on to each other.
    """

    def __init__(self, roster: Roster, *, entropy: Entropy | None = None) -> None:
        self._roster = roster
        self.epoch = (entropy or OsEntropy()).token_bytes(EPOCH_BYTES)
        self._last: dict[int, int] = dict.fromkeys(roster.identities, 0)

    def admit(self, method: str, target: str, headers: Sequence[tuple[bytes, bytes]]) -> Admitted:
        """Check who sent a request; of its body, only the digest that the headers state is looked at.

        Args:
            method: such as "GET".
            target: path and query as they came.
            headers: names in lower case, and values.

        Raises:
            Unsigned: nobody who may.
        """
        said = _only(headers)
        client, count = _number(said.get(CLIENT_HEADER)), _number(said.get(COUNT_HEADER))
        epoch, signature = said.get(EPOCH_HEADER, b""), said.get(SIGNATURE_HEADER, b"")
        if client is None or count is None or not _EPOCH.fullmatch(epoch) or len(signature) != _SIGNED_BYTES:
            raise Unsigned("unsigned", "the request is not signed by a client of the roster")
        identity = self._roster.identities.get(client)
        if identity is None:
            raise Unsigned("unknown", "the roster lists no such client")
        try:
            self._roster.require_current()
        except ConfigurationError as expired:
            raise Unsigned("expired", str(expired)) from None
        if bytes.fromhex(epoch.decode()) != self.epoch:
            raise Unsigned("epoch", "signed for another run of the coordinator: take over its epoch")
        digest = read_digest(said[DIGEST_HEADER]) if DIGEST_HEADER in said else EMPTY
        raw = _unbase64(signature)
        if digest is None or raw is None or len(raw) != SIGNATURE_BYTES:
            raise Unsigned("unsigned", "a signature or a Content-Digest that is none")
        signed = _Signed(method=method, target=target, epoch=self.epoch, count=count, client=client, digest=digest)
        try:
            verify(identity, raw, Label.HTTP_REQUEST, *signed.parts)
        except RemoteProtocolError:
            raise Unsigned("forged", "a signature that does not hold for this request") from None
        last = self._last[client]
        if count <= last:
            # Told to nobody but the client: how much it asks is not for strangers.
            raise Unsigned("replayed", "a count that was used already: take over the last one", count=last)
        self._last[client] = count
        return Admitted(client=client, body_digest=digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """What a signature covers."""

    method: str
    target: str
    epoch: bytes
    count: int
    client: int
    digest: bytes

    @property
    def parts(self) -> tuple[bytes, ...]:
        """In order; each is preceded by its length where they are hashed."""
        client, count = self.client.to_bytes(4, "big"), self.count.to_bytes(8, "big")
        return (self.method.encode(), self.target.encode(), self.epoch, count, client, self.digest)


def _only(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, bytes]:
    """Return the headers that are read here; none of them may come twice, lest two readers see two requests."""
    said: dict[str, bytes] = {}
    for name, value in headers:
        key = name.decode("latin-1")
        if key in _READ:
            if key in said:
                raise Unsigned("unsigned", f"the header {key} comes twice")
            said[key] = value
    return said


_READ: Final = frozenset({CLIENT_HEADER, EPOCH_HEADER, COUNT_HEADER, SIGNATURE_HEADER, DIGEST_HEADER})


def _number(text: bytes | None) -> int | None:
    # One spelling for each number, and none that is too large to be signed.
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= MOST_COUNT else None


def _unbase64(text: bytes) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # One spelling for each value: the last letter of a padded text has bits that say nothing.
    return raw if base64.b64encode(raw) == text else None
