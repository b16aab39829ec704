"""Reading a journal that somebody else may be writing, or has changed: nothing is repaired."""

from __future__ import annotations

from pathlib import Path

from privfl.errors import LedgerError
from privfl.journal.chain import Chain


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
        LedgerError: no such file; damaged, torn in its last line, empty, or written by somebody else. It names the
            line.
    """
    try:
        content = path.read_bytes()
        tail = chain.take_all(content)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from None
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
