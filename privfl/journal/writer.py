"""Writing a journal: one line at a time, on disk before anything is built on it, by one writer."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

from privfl.errors import LedgerError
from privfl.journal.appending import AppendingFile, Memory, Storage
from privfl.journal.chain import IDENTIFIER_BYTES, Chain, Head, Kind
from privfl.journal.lines import is_torn
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.signatures import Identity

ChainT = TypeVar("ChainT", bound=Chain)
_OS: Final = OsEntropy()


class Journal(Generic[ChainT]):
    """A journal that this process writes; made by `create`, `resume` or `in_memory`.

    Attributes:
        chain: what is in it.
        recovered: a sentence that says what was cut off when it was resumed, or None.

    Guarantees:
        1. When `append` returns, the line is on disk.
        2. After a write or fsync that failed, nothing more is written: what a failed fsync left on disk is not known,
           and trying again may report success without it. Resuming reads what is there.
        3. Resuming verifies every line, and refuses all damage but one: a last line that a crash tore off, which is
           cut off and recorded.
        4. One writer at a time, over all processes.
    """

    def __init__(self, storage: Storage, chain: ChainT, identity: Identity) -> None:
        self._storage = storage
        self.chain = chain
        self._identity = identity
        self._usable = True
        self.one_at_a_time = threading.Lock()
        self.recovered: str | None = None

    @classmethod
    def create(
        cls, path: Path, chain: ChainT, body: Mapping[str, Any], identity: Identity, entropy: Entropy = _OS
    ) -> Self:
        """Open a new one.

        Args:
            path: the file; it must not exist, its directory must.
            chain: empty.
            body: of the opening record.
            identity: the key that signs every line.
            entropy: where its identifier comes from.

        Raises:
            LedgerError: the file exists, or cannot be made; it is there whole or not at all.
        """
        line = _opened(chain, body, identity, entropy)
        return cls(AppendingFile.create(path, line), chain, identity)

    @classmethod
    def in_memory(cls, chain: ChainT, body: Mapping[str, Any], identity: Identity, entropy: Entropy = _OS) -> Self:
        """Open one that lasts as long as the process: for simulations and tests."""
        storage = Memory()
        storage.append(_opened(chain, body, identity, entropy))
        return cls(storage, chain, identity)

    @classmethod
    def resume(cls, path: Path, chain: ChainT, identity: Identity) -> Self:
        """Go on with one after a crash or a stop.

        Raises:
            LedgerError: no such file; another writer has it; it is damaged, or closed, or another key opened it.
        """
        storage, content = AppendingFile.open(path)
        try:
            return cls._resumed(storage, content, chain, identity)
        except LedgerError as error:
            storage.close()
            raise LedgerError(f"{path}: {error}") from None
        except BaseException:
            storage.close()
            raise

    @classmethod
    def _resumed(cls, storage: Storage, content: bytes, chain: ChainT, identity: Identity) -> Self:
        tail = chain.take_all(content)
        if not chain.hashes:
            raise LedgerError("no whole line, so nothing was ever recorded")
        if chain.signer != identity.public:
            raise LedgerError(
                f"it was opened by {chain.signer.hex()[:16]}…, and this run signs as {identity.public.hex()[:16]}…: "
                f"only the key that opened {chain.WHAT} can go on with it"
            )
        if chain.closed is not None:
            raise LedgerError("it is closed: its run has ended, and another one starts a file of its own")
        journal = cls(storage, chain, identity)
        if tail:
            journal._recover(len(content) - len(tail), tail)
        return journal

    def append(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Write a line; return when it is on disk.

        Raises:
            LedgerError: a reader would not accept it, or it may not be on disk; nothing more is written then.
        """
        line = self.chain.line(kind, body, self._identity)
        # Only what a reader accepts is written: had `take` an objection, the journal on disk would be spoiled for ever.
        # It is taken before it is written, so that memory is never behind the disk: at worst a charge counts that
        # nobody will find in the file, and this journal is of no more use then.
        self.chain.take(line)
        self._usable = False
        try:
            self._storage.append(line)
        except OSError as error:
            raise LedgerError(
                f"a line of {self.chain.WHAT} may not be on disk ({error.strerror}), so nothing is released and "
                f"nothing more is written: see to the disk, then resume"
            ) from error
        self._usable = True

    @property
    def head(self) -> Head:
        """The last line: a checkpoint remembers it, and asks `require_head` when it is resumed."""
        return self.chain.head

    def require_head(self, sequence: int, sha256: str) -> None:
        """Raise unless it holds a line that somebody remembers; it may have grown since.

        Args:
            sequence: the line's number, from 0.
            sha256: of its bytes, hex.

        Raises:
            LedgerError: it is shorter, or another one.
        """
        hashes = self.chain.hashes
        if not 0 <= sequence < len(hashes):
            raise LedgerError(
                f"{self.chain.WHAT} ends with line {len(hashes)}, and line {sequence + 1} was written before: put back "
                f"the whole file, or what it says would be forgotten"
            )
        if hashes[sequence] != sha256:
            raise LedgerError(f"line {sequence + 1} of {self.chain.WHAT} is not the one that was written: another file")

    def require_usable(self) -> None:
        """Raise if nothing may be written any more.

        Raises:
            LedgerError: it may not.
        """
        if not self._usable:
            raise LedgerError(f"{self.chain.WHAT} is closed, let go, or failed to write: resume it to go on")

    def unlock(self) -> None:
        """Let the file go without closing the journal: it can be resumed."""
        self._usable = False
        self._storage.close()

    def _recover(self, size_bytes: int, tail: bytes) -> None:
        lines = len(self.chain.hashes)
        if not is_torn(tail):
            raise LedgerError(f"line {lines + 1}: damaged behind its last brace, not torn by a crash")
        digest = hashlib.sha256(tail).hexdigest()
        try:
            self._storage.cut(size_bytes)
        except OSError as error:
            raise LedgerError(f"its torn last line cannot be cut off: {error.strerror}") from None
        self.append(Kind.RECOVERED, {"bytes": len(tail), "sha256": digest})
        self.recovered = (
            f"a crash had torn {self.chain.WHAT}'s last line: {len(tail)} bytes after line {lines} were cut off; "
            f"nothing had been released on them"
        )


def _opened(chain: Chain, body: Mapping[str, Any], identity: Identity, entropy: Entropy) -> bytes:
    line = chain.opening_line(body, entropy.token_bytes(IDENTIFIER_BYTES), identity)
    chain.take(line)
    return line
