"""Claims that hold once and for ever: what a party has done and must not do again, also after a restart.

A client takes part once under one nonce, and contributes once to one context: two sums of the same updates over
different survivors could be differenced. Memory forgets; a guard does not.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final, Protocol

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest

NONCE: Final = "nonce"
"""Of sessions that a client took part in."""
CONTEXT: Final = "context"
"""To which a client has sent its update."""


class StateGuard(Protocol):
    """Durable, atomic claims. A database's unique index makes one as well as a file system does."""

    def claim(self, what: str, key: bytes) -> None:
        """Claim something.

        Returns only when the claim is durable.

        Raises:
            DisclosureRefused: it was claimed before, by this process or another.
        """
        ...

    def claimed(self, what: str, key: bytes) -> bool:
        """Whether it was claimed."""
        ...


def require_guard(guard: object) -> None:
    """Raise unless something makes claims: found out late, it would cost a session.

    Raises:
        ConfigurationError: it does not.
    """
    if isinstance(guard, type):
        raise ConfigurationError(f"guard is the class {guard.__name__}: one of its kind works, such as MemoryGuard()")
    if not all(callable(getattr(guard, method, None)) for method in ("claim", "claimed")):
        raise ConfigurationError(
            f"guard is of type {type(guard).__name__}: what has claim and claimed works, such as FileGuard('claims')"
        )


class MemoryGuard:
    """Claims that last as long as the process: enough where parties never restart."""

    def __init__(self) -> None:
        self._claims: set[tuple[str, bytes]] = set()
        self._one_at_a_time = threading.Lock()

    def claim(self, what: str, key: bytes) -> None:
        """See `StateGuard.claim`."""
        with self._one_at_a_time:
            if (what, key) in self._claims:
                raise DisclosureRefused(f"this {what} has been used before")
            self._claims.add((what, key))

    def claimed(self, what: str, key: bytes) -> bool:
        """See `StateGuard.claimed`."""
        return (what, key) in self._claims


class FileGuard:
    """Claims as empty files in a directory of the party's own.

    Args:
        directory: made if it is missing; its parent must exist.

    Raises:
        ConfigurationError: the directory cannot be made or written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory = Path(directory)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            to_disk(directory.parent)  # or a crash could take the directory away, and the claims with it
        except OSError as error:
            raise ConfigurationError(f"the guard's directory {directory} cannot be made: {error.strerror}") from None

    def _path(self, what: str, key: bytes) -> Path:
        return self._directory / digest(Label.GUARD_CLAIM, what.encode(), key).hex()

    def claim(self, what: str, key: bytes) -> None:
        """See `StateGuard.claim`."""
        try:
            # O_EXCL makes one of several claimants win, on one machine and on file systems that honour it.
            file = os.open(self._path(what, key), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            raise DisclosureRefused(f"this {what} has been used before") from None
        except OSError as error:
            raise DisclosureRefused(
                f"no claim can be made in the guard's directory {self._directory}, so nothing is answered: "
                f"{error.strerror}"
            ) from None
        try:
            try:
                os.fsync(file)
            finally:
                os.close(file)
            to_disk(self._directory)  # the entry itself must be there before anything leaves on the strength of it
        except OSError as error:
            raise DisclosureRefused(
                f"a claim in the guard's directory {self._directory} may not last, so nothing is answered: "
                f"{error.strerror}"
            ) from None

    def claimed(self, what: str, key: bytes) -> bool:
        """See `StateGuard.claimed`."""
        if not self._directory.is_dir():
            raise DisclosureRefused(f"the guard's directory {self._directory} is gone, so nothing is answered")
        return self._path(what, key).exists()


def to_disk(directory: Path) -> None:
    """See that a directory's entries are on disk.

    Raises:
        OSError: they may not be.
    """
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def make_folder(folder: Path, *, private: bool = False) -> None:
    """Make a directory, and those above it, so that a crash does not take it away again.

    Args:
        folder: the directory; one that is there stays as it is.
        private: whether nobody but its owner may look into it.

    Raises:
        OSError: it cannot be made, or may not last.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    for one in missing:
        to_disk(one.parent)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, which is made if it is missing; return when its bytes are on disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """Cut off what a crash left of a last line, if it did: the next one would be written behind it."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
