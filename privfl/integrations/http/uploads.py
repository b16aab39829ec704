"""Answers on their way in: long ones come in chunks, and lie on disk until they are whole.

Theory of operation. A client has one upload at a time; one for another session or phase takes its place. Chunks follow
each other without gaps; who sends another offset is told where the upload stands. The whole was promised with the first
chunk as a length and a digest, and the length was asked of the hall before a byte was written. When all is there and
the digest holds, the bytes are handed out once. What became of the last answer is remembered, so that a last chunk
whose response got lost can be repeated.

Files have no name: nothing is left of them when they are closed, nor when the coordinator is killed.

A client's calls come one after another (the caller holds a lock for each client); different clients' may come at once.
"""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from privfl.errors import ConfigurationError, ProtocolError
from privfl.integrations.http.bodies import Refused
from privfl.session import Phase

Room = Callable[[int, bytes, Phase], int]
"""How long an answer of a client may be in a session's phase; raises `NotWaited` where none is waited for."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an upload answers.

    Attributes:
        session: nonce of the session, 16 bytes.
        phase: of the session.
    """

    session: bytes
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer.

    Attributes:
        offset: of its first byte in the whole.
        total: length of the whole in bytes.
        raw: the bytes.
        whole: SHA-256 of the whole, 32 bytes, which the first chunk tells; None with later ones.
    """

    offset: int
    total: int
    raw: bytes = field(repr=False)
    whole: bytes | None = None

    @property
    def end(self) -> int:
        """Where it ends in the whole."""
        return self.offset + len(self.raw)


@dataclass(slots=True, kw_only=True)
class _Upload:
    place: Place
    total: int
    whole: bytes
    file: IO[bytes] = field(repr=False)
    received: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    place: Place
    total: int
    last_chunk: bytes
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far an upload is.

    Attributes:
        received: bytes that are safely here.
        complete: whether that is all of them, and they were handed on.
        whole: whether that is all of them, and they are still to be handed on.
    """

    received: int
    complete: bool = False
    whole: bool = False


class Spool:
    """Uploads of all clients.

    Args:
        folder: where the nameless files lie: on a disk, rather than in memory; None: where temporary files do.
        room: the hall's.

    Raises:
        ConfigurationError: no file can be made in the folder.

    Guarantees:
        1. A client has one file at most, of the length that the hall has room for; it is gone once the answer was
           handed on, refused or given up.
        2. An answer is handed on once, whole, with the digest that was promised with its first chunk.
    """

    def __init__(self, folder: Path | None, room: Room) -> None:
        self._folder = folder
        self._room = room
        self._uploads: dict[int, _Upload] = {}
        self._settled: dict[int, _Settled] = {}
        try:
            self._new_file().close()
        except OSError as error:
            raise ConfigurationError(
                f"no upload can be kept in {folder or tempfile.gettempdir()}: {error.strerror}; "
                "a folder on a disk that can be written to works"
            ) from None

    @property
    def under_way(self) -> tuple[int, ...]:
        """Clients with an upload that is not complete."""
        return tuple(self._uploads)

    def standing(self, client: int, place: Place) -> Standing:
        """Say how far a client's upload is; nothing is received of one that never began.

        Raises:
            Refused: the answer came whole, and the hall refused it (422).
        """
        settled = self._settled.get(client)
        if settled is not None and settled.place == place:
            return _told(settled)
        upload = self._uploads.get(client)
        return Standing(received=upload.received if upload is not None and upload.place == place else 0)

    def put(self, client: int, place: Place, chunk: Chunk) -> Standing:
        """Add a chunk; blocks on the disk.

        Raises:
            NotWaited: no answer is waited for there.
            Refused: the answer is too long (413), the chunk is at another offset than the upload (409, which tells
                where it stands), or not what the first one promised (400); or a repeated last chunk of an answer that
                the hall had refused (422).
        """
        settled = self._settled.get(client)
        if settled is not None and settled.place == place and _repeats(settled, chunk):
            return _told(settled)
        most = self._room(client, place.session, place.phase)
        if chunk.total > most:
            raise Refused(413, "oversized", f"an answer of {most} bytes or less is waited for")
        upload = self._uploads.get(client)
        if upload is None or upload.place != place or _begins_another(upload, chunk):
            upload = self._begin(client, place, chunk)
        if chunk.total != upload.total:
            raise Refused(400, "promise", f"the first chunk promised {upload.total} bytes", received=upload.received)
        if chunk.offset != upload.received:
            raise Refused(409, "offset", "the upload stands elsewhere", received=upload.received)
        upload.file.seek(chunk.offset)
        upload.file.write(chunk.raw)
        # Counted when it is written: what a full disk cut short is written again.
        upload.received = chunk.end
        return Standing(received=upload.received, whole=upload.received == upload.total)

    def take(self, client: int, place: Place) -> bytes:
        """Hand out an answer that is whole, once; its file is gone, whatever comes.

        Raises:
            Refused: its digest is not the promised one: it has to come again from its beginning (400).
        """
        upload = self._uploads.pop(client)
        with upload.file:
            if upload.place != place or upload.received != upload.total:
                raise Refused(409, "offset", "the upload is not whole", received=0)
            upload.file.seek(0)
            body = upload.file.read()
        if not hmac.compare_digest(hashlib.sha256(body).digest(), upload.whole):
            raise Refused(400, "digest", "the answer is not what its first chunk promised", received=0)
        return body

    def settle(self, client: int, place: Place, chunk: Chunk, *, refused: str | None) -> None:
        """Remember what became of an answer, for its last chunk may come again.

        Args:
            client: whose it was.
            place: what it answered.
            chunk: the last.
            refused: why the hall refused it; None if it did not.
        """
        self._settled[client] = _Settled(
            place=place, total=chunk.total, last_chunk=hashlib.sha256(chunk.raw).digest(), refused=refused
        )

    def forget(self, client: int) -> None:
        """Give an upload up."""
        upload = self._uploads.pop(client, None)
        if upload is not None:
            upload.file.close()

    def forget_unwanted(self, client: int) -> None:
        """Give an upload up if the hall does not wait for it any more."""
        upload = self._uploads.get(client)
        if upload is None:
            return
        try:
            self._room(client, upload.place.session, upload.place.phase)
        except ProtocolError:
            self.forget(client)

    def close(self) -> None:
        """Give all uploads up."""
        for client in self.under_way:
            self.forget(client)

    def _begin(self, client: int, place: Place, chunk: Chunk) -> _Upload:
        if chunk.offset:
            raise Refused(409, "offset", "there is no such upload: begin with its first chunk", received=0)
        if chunk.whole is None:
            raise Refused(400, "promise", "the first chunk tells the digest of the whole in Repr-Digest")
        self.forget(client)
        self._uploads[client] = upload = _Upload(
            place=place, total=chunk.total, whole=chunk.whole, file=self._new_file()
        )
        return upload

    def _new_file(self) -> IO[bytes]:
        # Unbuffered: a write that fails has failed when it returns.
        return tempfile.TemporaryFile(dir=self._folder, prefix="privfl-", buffering=0)


def _begins_another(upload: _Upload, chunk: Chunk) -> bool:
    """Say whether a chunk begins another answer to the same request, rather than repeating the beginning of this."""
    return chunk.offset == 0 and chunk.whole is not None and (chunk.whole, chunk.total) != (upload.whole, upload.total)


def _repeats(settled: _Settled, chunk: Chunk) -> bool:
    return (settled.total, settled.last_chunk) == (chunk.total, hashlib.sha256(chunk.raw).digest())


def _told(settled: _Settled) -> Standing:
    if settled.refused is not None:
        raise Refused(422, "refused-answer", settled.refused)
    return Standing(received=settled.total, complete=True)
