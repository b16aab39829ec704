"""The lines of a journal: each is bound to the one before by its hash, and to its writer by a signature."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple

from privfl.errors import ConfigurationError, LedgerError, UnsupportedEvent
from privfl.journal.lines import NO_LINE, parse, signed_line, signer_of, verify_line
from privfl.journal.values import facts_of, hexadecimal, is_whole, require_keys
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity

IDENTIFIER_BYTES: Final = 16


class Kind(StrEnum):
    """What a line records: the first, the last, a repair after a crash, and what the journal is for."""

    OPEN = "open"
    CHARGE = "charge"
    RELEASE = "release"
    SESSION = "session"
    TRAINING = "training"
    BEGUN = "begun"
    RECOVERED = "recovered"
    CLOSE = "close"


class Head(NamedTuple):
    """How far a journal is.

    Attributes:
        sequence: number of the last line, from 0.
        sha256: hex, of that line's bytes.
    """

    sequence: int
    sha256: str


class Chain(ABC):
    """Lines read or written so far. `take` verifies the next one; nothing is taken unless all of it holds.

    Attributes:
        identifier: 16 random bytes, hex, drawn when it was opened: two journals with the same opening differ.
        signer: public key of its writer, 32 bytes.
        hashes: SHA-256 of every line, hex.
        recovered: what was cut off after crashes: bytes and SHA-256, hex.
        closed: facts of the closing record, or None: more may follow, or lines are missing at the end.

    Guarantees:
        1. A line that differs in one byte from what was signed is refused.
        2. Lines that were left out (but at the end), repeated, swapped, added, or brought from another journal are
           refused; with the head that somebody remembers, or a closing record, lines missing at the end show too.
        3. Whatever the bytes, `LedgerError` is the only error.

    Assumes:
        The writer's key is known to the reader from elsewhere: a journal that is only consistent with the key that it
        names itself could have been written by anybody.
    """

    LABEL: ClassVar[Label]
    WHAT: ClassVar[str]
    """What to call it in complaints, such as "the ledger"."""
    IDENTIFIER: ClassVar[str]
    """Key of the opening record that holds the identifier."""

    def __init__(self) -> None:
        self.identifier = ""
        self.signer = b""
        self.hashes: list[str] = []
        self.recovered: list[tuple[int, str]] = []
        self.closed: Mapping[str, Any] | None = None

    @property
    def head(self) -> Head:
        """The last line."""
        return Head(len(self.hashes) - 1, self.hashes[-1])

    def opening_line(self, body: Mapping[str, Any], identifier: bytes, identity: Identity) -> bytes:
        """Write the first line, newline included."""
        named = {**body, self.IDENTIFIER: identifier.hex(), "signer": identity.public.hex()}
        return self.line(Kind.OPEN, named, identity)

    def line(self, kind: Kind, body: Mapping[str, Any], identity: Identity) -> bytes:
        """Write the next line, newline included; the chain itself does not move until it is taken."""
        rest = {
            "body": body,
            "kind": kind.value,
            "previous": self.hashes[-1] if self.hashes else NO_LINE,
            "sequence": len(self.hashes),
        }
        return signed_line(rest, identity, self.LABEL)

    def take(self, line: bytes) -> None:
        """Verify the next line, newline included, and take it.

        Raises:
            LedgerError: names the line and what is wrong with it.
        """
        where = f"line {len(self.hashes) + 1}"
        value = parse(line, where)
        if not is_whole(value["sequence"]) or value["sequence"] != len(self.hashes):
            raise LedgerError(f"{where}: sequence number {value['sequence']!r}: lines are missing, repeated or swapped")
        if value["previous"] != (self.hashes[-1] if self.hashes else NO_LINE):
            raise LedgerError(f"{where}: it does not follow the line before it: one of them was changed or replaced")
        if self.closed is not None:
            raise LedgerError(f"{where}: it follows the closing record")
        signer = self.signer or signer_of(value, where)
        verify_line(signer, value, self.LABEL, where)
        try:
            self._apply(value["kind"], value["body"], where)
        except (ConfigurationError, UnsupportedEvent) as error:
            said = str(error)  # complaints about events say already where
            raise LedgerError(said if said.startswith(where) else f"{where}: {said}") from None
        except (RecursionError, OverflowError):
            raise LedgerError(f"{where}: values too deep or too large") from None
        self.signer = signer
        self.hashes.append(hashlib.sha256(line).hexdigest())

    def take_all(self, content: bytes) -> bytes:
        """Take the whole lines of a file; return what follows the last newline.

        Raises:
            LedgerError: names the line.
        """
        start = 0
        while end := content.find(b"\n", start) + 1:
            self.take(content[start:end])
            start = end
        return content[start:]

    @abstractmethod
    def opened(self, body: Mapping[str, Any], where: str) -> None:
        """Take the body of the opening record, without identifier and signer."""

    @abstractmethod
    def recorded(self, kind: object, body: Mapping[str, Any], where: str) -> bool:
        """Take the body of a line of a kind of this journal's own; tell whether it knows the kind."""

    def _apply(self, kind: object, body: Mapping[str, Any], where: str) -> None:
        if (kind == Kind.OPEN) != (not self.hashes):
            raise LedgerError(f"{where}: {kind!r} where the opening record {'is due' if not self.hashes else 'was'}")
        if kind == Kind.OPEN:
            identifier = hexadecimal(body.get(self.IDENTIFIER), IDENTIFIER_BYTES, where)
            self.opened({key: body[key] for key in body if key not in {self.IDENTIFIER, "signer"}}, where)
            self.identifier = identifier
        elif kind == Kind.RECOVERED:
            require_keys(body, {"bytes", "sha256"}, where)
            if not is_whole(body["bytes"]) or body["bytes"] < 1:
                raise LedgerError(f"{where}: {body['bytes']!r} bytes were cut off")
            self.recovered.append((body["bytes"], hexadecimal(body["sha256"], 32, where)))
        elif kind == Kind.CLOSE:
            require_keys(body, {"facts"}, where)
            self.closed = facts_of(body["facts"])
        elif not self.recorded(kind, body, where):
            raise LedgerError(f"{where}: {kind!r} is no kind of line that this privfl knows: read it with a newer one")
