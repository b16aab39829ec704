"""Claims that hold once and for ever: what a party has done and must not do again, also after a restart.

A client takes part once under one nonce, and contributes once to one context: two sums of the same updates over
different survivors could be differenced. Memory forgets; a guard does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest


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


class MemoryGuard:
    """Claims that last as long as the process: enough where parties never restart."""

    def __init__(self) -> None:
        self._claims: set[tuple[str, bytes]] = set()

    def claim(self, what: str, key: bytes) -> None:
        """See `StateGuard.claim`."""
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

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
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
        try:
            os.fsync(file)
        finally:
            os.close(file)
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)  # the entry itself must be on disk before anything leaves on the strength of it
        finally:
            os.close(directory)

    def claimed(self, what: str, key: bytes) -> bool:
        """See `StateGuard.claimed`."""
        return self._path(what, key).exists()
