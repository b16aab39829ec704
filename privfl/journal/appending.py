"""A file that only grows, has one writer, and does not return from an append before the bytes are on disk."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from privfl.errors import LedgerError
from privfl.guard import to_disk
from privfl.primitives.entropy import OsEntropy

_LOCKS: Final = Path("/proc/locks")
_CHUNK_BYTES: Final = 1 << 20


class Storage(Protocol):
    """Where the lines of a journal go: a file, memory, or an embedder's database."""

    def append(self, line: bytes) -> None:
        """Add a line; return only when it will last.

        Raises:
            OSError: it may not; the journal then writes nothing more.
        """
        ...

    def cut(self, size_bytes: int) -> None:
        """Keep the first bytes only."""
        ...

    def close(self) -> None:
        """Let another writer have it."""
        ...


class Memory:
    """Lines that last as long as the process: for simulations and tests."""

    def __init__(self) -> None:
        self.content = b""

    def append(self, line: bytes) -> None:
        """See `Storage.append`."""
        self.content += line

    def cut(self, size_bytes: int) -> None:
        """See `Storage.cut`."""
        self.content = self.content[:size_bytes]

    def close(self) -> None:
        """See `Storage.close`."""


class AppendingFile:
    """A file under an exclusive lock; made by `create` or `open`.

    Guarantees:
        1. `append` returns after the bytes, and `create` after the bytes and the directory's entry, are on disk.
        2. A file that is created is there whole, or not at all.
        3. A second writer, in this process or another, is refused until the first has closed the file or died.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, content: bytes) -> AppendingFile:
        """Make a file with its first bytes in it.

        Raises:
            LedgerError: it is there already, or cannot be made.
        """
        # The bytes are on disk before the name is: a crash leaves no file, or a whole one, never an empty one that
        # can neither be created nor resumed. Unlike a renamed file, a linked one never takes the place of another.
        beside = path.with_name(f".{path.name}.{OsEntropy().token_bytes(8).hex()}.new")
        try:
            file = cls(path, os.open(beside, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            try:
                file._lock()
                file.append(content)
                os.link(beside, path)
                to_disk(path.parent)
            except BaseException:
                file.close()
                raise
            finally:
                with suppress(OSError):  # a second name that is left behind does no harm
                    beside.unlink()
        except FileExistsError:
            raise LedgerError(f"{path} exists already: resume it, or name another file") from None
        except OSError as error:
            raise LedgerError(
                f"{path} cannot be made ({error.strerror}): name a file in a directory of yours"
            ) from None
        return file

    @classmethod
    def open(cls, path: Path) -> tuple[AppendingFile, bytes]:
        """Take a file over; return it and what it holds.

        Raises:
            LedgerError: there is none, it cannot be written, or another writer has it.
        """
        try:
            file = cls(path, os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
        except OSError as error:
            raise LedgerError(f"{path} cannot be opened for writing: {error.strerror}") from None
        try:
            file._lock()
            # What is read here may still be on its way to the disk; nothing is built on it before it is there.
            os.fsync(file._descriptor)
            return file, file._read()
        except OSError as error:
            file.close()
            raise LedgerError(f"{path} cannot be taken over: {error.strerror}") from None
        except BaseException:
            file.close()
            raise

    def append(self, line: bytes) -> None:
        """See `Storage.append`."""
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)

    def cut(self, size_bytes: int) -> None:
        """See `Storage.cut`."""
        os.ftruncate(self._descriptor, size_bytes)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """See `Storage.close`."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)  # gives the lock back

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(
                f"{self.path} is being written by {_holder(self._descriptor)}: wait until that run has ended, or stop "
                f"it, then resume"
            ) from None

    def _read(self) -> bytes:
        # The lock is the file's, not the name's: had the name been moved between opening and locking, two writers could
        # hold one lock each.
        held, named = os.fstat(self._descriptor), self.path.stat()
        if (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino):
            raise LedgerError(f"{self.path} was replaced while it was being opened: see who else writes there")
        content, position = bytearray(), 0
        while chunk := os.pread(self._descriptor, _CHUNK_BYTES, position):
            content += chunk
            position += len(chunk)
        return bytes(content)


def _holder(descriptor: int) -> str:
    """Name the process that holds the lock, where the system tells."""
    inode = str(os.fstat(descriptor).st_ino)
    with suppress(OSError):
        for line in _LOCKS.read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and len(fields) > 5 and fields[5].rpartition(":")[2] == inode:
                return f"process {fields[4]}"
    return "another process"
