"""Reading what somebody else may be writing, or has made up: nothing is repaired, waited for, or read without end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from privfl.errors import LedgerError
from privfl.journal.chain import Chain

MOST_JOURNAL_BYTES: Final = 1 << 30
"""Of a journal, which is read whole: a hundred times what the longest run on record has written."""


@contextmanager
def regular_file(path: Path, most_bytes: int) -> Iterator[BufferedReader]:
    """Open a file to read; whatever stands in its place is neither waited for nor read.

    Args:
        path: the file.
        most_bytes: that it may have.

    Raises:
        LedgerError: no such file; a pipe, device, socket or directory, perhaps behind a link; too large; or it cannot
            be read. It names the path.
    """
    try:
        # Looked at before it is opened, because that alone may rewind a tape; and again afterwards, when nobody can put
        # another in its place.
        _require_regular(path, path.stat(), most_bytes)
        descriptor = _without_waiting(path)
        try:
            _require_regular(path, os.fstat(descriptor), most_bytes)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from None


def content_of(path: Path, most_bytes: int) -> bytes:
    """Read a file whole, as long as it is when it is opened.

    Args:
        path: the file.
        most_bytes: that it may have.

    Raises:
        LedgerError: as `regular_file` has it.
    """
    with regular_file(path, most_bytes) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def read_chain(path: Path, chain: Chain, signer: bytes | None = None) -> bytes:
    """Verify a whole file; no lock is needed.

    Args:
        path: the file.
        chain: empty; it takes what the file holds.
        signer: public key of the one who should have written it, 32 bytes. Without it the file is only found to be
            consistent with the key that it names itself.

    Returns:
        The bytes of the file.

    Raises:
        LedgerError: no such file, or no regular one; damaged, torn in its last line, empty, or written by somebody
            else. It names the line.
    """
    content = content_of(path, MOST_JOURNAL_BYTES)
    try:
        tail = chain.take_all(content)
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}") from None
    if tail:
        raise LedgerError(
            f"{path}: line {len(chain.hashes) + 1}: torn, {len(tail)} bytes without an end: only the run that owns the "
            f"file may go on with it"
        )
    if not chain.hashes:
        raise LedgerError(f"{path}: no whole line, so nothing was ever recorded")
    if signer is not None and chain.signer != signer:
        raise LedgerError(f"{path}: line 1: opened by {chain.signer.hex()[:16]}…, not by {signer.hex()[:16]}…")
    return content


def _without_waiting(path: Path) -> int:
    """Open: a pipe that nobody writes to would be waited for, and a terminal would become this program's own."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _require_regular(path: Path, found: os.stat_result, most_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"{path}: no regular file")
    if found.st_size > most_bytes:
        raise LedgerError(f"{path}: larger than {most_bytes} bytes")
