"""What a participant keeps in its owner's directory: which runs it has entered, and the session that it takes part in.

```
HOME/
  runs/RUN          digest of the greeting that the run was entered with, sealed; made once, never changed
  sessions/NONCE    the last answer in a session, and the session asleep as it is after it, sealed;
                    NONCE.member and NONCE.ceremony, of the same party's member of a committee
```

A file appears whole or not at all. What lies here may be old, if somebody put a copy back: the claims of the party's
guard, which are not among it, see that nothing is answered twice in two ways.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused
from privfl.guard import make_folder, to_disk
from privfl.integrations.consortium.messages import Greeting, Part, encode
from privfl.integrations.home import PartyHome
from privfl.primitives.labels import Label
from privfl.primitives.sealing import open_sealed, seal
from privfl.primitives.transcript import digest
from privfl.wire import Bytes16, Bytes32
from privfl.wire.typed import decoder_of

_SESSIONS: Final = "sessions"
_RUNS: Final = "runs"
_RUN_CLAIM: Final = "run"
_ANSWER_MAGIC: Final = b"PVFA\x01"
_RUN_MAGIC: Final = b"PVFR\x01"


class Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """A session between two steps.

    Attributes:
        session: its nonce.
        params: digest of its parameters, as they were shown with its first step.
        request: SHA-256 of the last request that was answered.
        answer: the answer to it.
        state: the session as it is after it, as its `to_bytes` wrote it; empty if nothing is left to ask.
        part: whose session it is.
    """

    session: Bytes16
    params: Bytes32
    request: Bytes32
    answer: bytes
    state: bytes
    part: Part = Part.CLIENT

    def __repr__(self) -> str:
        return f"Kept({self.session.hex()}, <secret>)"


class Shelf:
    """A participant's files.

    Args:
        home: the owner's directory.

    Guarantees:
        1. When a method returns, what it wrote survives a crash of the machine; if it is cut short, the file is as it
           was before.
        2. A run is entered with one greeting, for good, though its file should be lost.

    Raises:
        ConfigurationError: the directories cannot be made.
    """

    def __init__(self, home: PartyHome) -> None:
        self._home = home
        self._sessions, self._runs = home.folder / _SESSIONS, home.folder / _RUNS
        with _disk(home.folder):
            for folder in (self._sessions, self._runs):
                make_folder(folder, private=True)

    def enter(self, greeting: Greeting) -> None:
        """Enter a run, or find that it was entered with the same greeting.

        Raises:
            DisclosureRefused: it was entered with another.
            ConfigurationError: that cannot be written down.
            DecodeError: what was written down is damaged.
        """
        run, these = greeting.run, digest(Label.CONSORTIUM_GREETING, encode(greeting))
        path, head, guard = self._runs / run.hex(), _RUN_MAGIC + run, self._home.guard
        if not path.exists():
            if guard.claimed(_RUN_CLAIM, run):
                raise DisclosureRefused("this run was entered before, and what with is lost: another run works")
            sealed = seal(these, self._home.key, head=head, label=Label.CONSORTIUM_RUN)
            with _disk(path), contextlib.suppress(FileExistsError):
                # Which greeting is the run's is settled by which file gets the name; the claim comes after it, so that
                # a crash between both leaves nothing that a second try would not finish.
                _written_whole(path, sealed, os.link)
        with _disk(path):
            raw = path.read_bytes()
        if open_sealed(raw, self._home.key, head=head, label=Label.CONSORTIUM_RUN) != these:
            raise DisclosureRefused(
                "another job, other facts or another coordinator than this run was entered with: they stay as they "
                "are, another run can have others"
            )
        if not guard.claimed(_RUN_CLAIM, run):
            try:
                guard.claim(_RUN_CLAIM, run)
            except DisclosureRefused:
                if not guard.claimed(_RUN_CLAIM, run):  # not another process of this party, with the same file
                    raise

    def read(self, session: bytes, part: Part = Part.CLIENT) -> Kept | None:
        """Return what is kept of a session, of one part in it.

        Raises:
            DecodeError: it is damaged, or of another key.
            ConfigurationError: it cannot be read.
        """
        path = self._sessions / _name(session, part)
        with _disk(path):
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                return None
        opened = open_sealed(raw, self._home.key, head=_head(session, part), label=Label.CONSORTIUM_ANSWER)
        try:
            return decoder_of(Kept).decode(opened)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"a session of another version: {error}") from None

    def write(self, kept: Kept) -> None:
        """Keep a session, in the place of what was kept of it.

        Raises:
            ConfigurationError: it cannot be written; what was kept is still there.
        """
        path = self._sessions / _name(kept.session, kept.part)
        sealed = seal(
            msgspec.msgpack.encode(kept),
            self._home.key,
            head=_head(kept.session, kept.part),
            label=Label.CONSORTIUM_ANSWER,
        )
        with _disk(path):
            _written_whole(path, sealed, os.replace)

    def forget(self, session: bytes, part: Part = Part.CLIENT) -> None:
        """Remove what is kept of a session, of one part in it, if anything is."""
        with contextlib.suppress(OSError):
            (self._sessions / _name(session, part)).unlink()

    def forget_all_but(self, session: bytes) -> None:
        """Remove what is kept of all sessions but one, and what a crash left half written."""
        names = {_name(session, part) for part in Part}
        with contextlib.suppress(OSError):
            for path in list(self._sessions.iterdir()):
                if path.name not in names:
                    path.unlink(missing_ok=True)


def _name(session: bytes, part: Part) -> str:
    return session.hex() if part is Part.CLIENT else f"{session.hex()}.{part}"


def _head(session: bytes, part: Part) -> bytes:
    return _ANSWER_MAGIC + session + (b"" if part is Part.CLIENT else part.encode())


def _written_whole(path: Path, raw: bytes, put: Callable[[Path, Path], None]) -> None:
    """Write a file beside its place, and put it there when all of it is on disk.

    Args:
        path: its place.
        raw: all of it.
        put: `os.replace`, or `os.link` if nothing may be there yet.

    Raises:
        OSError: it cannot be written, or may not last.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    file = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(file, "wb") as target:
            target.write(raw)
            target.flush()
            os.fsync(file)
        put(draft, path)
        to_disk(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be used, so nothing is answered: {error.strerror}") from None
