"""The lines of a ledger: each is bound to the one before by its hash, and to its writer by a signature."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from privfl.dp.events import Repeated
from privfl.dp.lines import NO_LINE, hexadecimal, parse, signed_line, signer_of, verify_line
from privfl.dp.records import Charge, Head, Kind, Opening, events_of, facts_of, is_whole, require_keys
from privfl.errors import ConfigurationError, LedgerError, UnsupportedEvent
from privfl.primitives.signatures import Identity

_OPEN_KEYS: Final = {"ledger", "signer"}
IDENTIFIER_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a verified ledger holds.

    Attributes:
        identifier: 16 random bytes, hex, drawn when it was opened: two ledgers with the same opening differ.
        signer: public key of its writer, 32 bytes.
        opening: what was fixed at the start.
        charges: what was charged, in order.
        released: rounds whose release was noted, in order.
        recovered: what was cut off after crashes: bytes and SHA-256, hex.
        closed: facts of the closing record, or None: the run has not ended, or lines are missing at the end.
        head: the last line.
        lines: how many lines there are.
    """

    identifier: str
    signer: bytes
    opening: Opening
    charges: tuple[Charge, ...]
    released: tuple[int, ...]
    recovered: tuple[tuple[int, str], ...]
    closed: Mapping[str, Any] | None
    head: Head
    lines: int

    @property
    def spent(self) -> tuple[Repeated, ...]:
        """All events charged, in order; what the opening excludes by name is left out."""
        return self.opening.budget.accounted(events_of(self.charges))


@dataclass(slots=True, kw_only=True)
class Chain:
    """Lines read or written so far. `take` verifies the next one; nothing is taken unless all of it holds.

    Guarantees:
        1. A line that differs in one byte from what was signed is refused.
        2. Lines that were left out (but at the end), repeated, swapped, added, or brought from another ledger are
           refused; with the head that somebody remembers, or a closing record, lines missing at the end show too.
        3. Whatever the bytes, `LedgerError` is the only error.

    Assumes:
        The writer's key is known to the reader from elsewhere: a ledger that is only consistent with the key that it
        names itself could have been written by anybody.
    """

    identifier: str = ""
    signer: bytes = b""
    opening: Opening | None = None
    charges: list[Charge] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    recovered: list[tuple[int, str]] = field(default_factory=list)
    closed: Mapping[str, Any] | None = None
    hashes: list[str] = field(default_factory=list)
    _unreleased: Counter[int] = field(default_factory=Counter)

    @property
    def head(self) -> Head:
        """The last line."""
        return Head(len(self.hashes) - 1, self.hashes[-1])

    def line(self, kind: Kind, body: Mapping[str, Any], identity: Identity) -> bytes:
        """Write the next line, newline included; the chain itself does not move until it is taken."""
        rest = {
            "body": body,
            "kind": kind.value,
            "previous": self.hashes[-1] if self.hashes else NO_LINE,
            "sequence": len(self.hashes),
        }
        return signed_line(rest, identity)

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
        verify_line(signer, value, where)
        try:
            self._apply(value, where)
        except (ConfigurationError, UnsupportedEvent) as error:
            said = str(error)  # complaints about events say already where
            raise LedgerError(said if said.startswith(where) else f"{where}: {said}") from None
        except (RecursionError, OverflowError):
            raise LedgerError(f"{where}: values too deep or too large") from None
        self.signer = signer
        self.hashes.append(hashlib.sha256(line).hexdigest())

    def contents(self) -> Contents:
        """Return what was taken.

        Raises:
            LedgerError: not even an opening record.
        """
        if self.opening is None:
            raise LedgerError("no whole line, so nothing was ever charged")
        return Contents(
            identifier=self.identifier,
            signer=self.signer,
            opening=self.opening,
            charges=tuple(self.charges),
            released=tuple(self.released),
            recovered=tuple(self.recovered),
            closed=self.closed,
            head=self.head,
            lines=len(self.hashes),
        )

    def _apply(self, value: Mapping[str, Any], where: str) -> None:
        kind, body = value["kind"], value["body"]
        if (kind == Kind.OPEN) != (self.opening is None):
            raise LedgerError(f"{where}: {kind!r} where the opening record {'is due' if not self.hashes else 'was'}")
        if kind == Kind.OPEN:
            self.identifier = hexadecimal(body.get("ledger"), IDENTIFIER_BYTES, where)
            self.opening = Opening.from_body({key: body[key] for key in body if key not in _OPEN_KEYS}, where)
        elif kind == Kind.CHARGE:
            charge = Charge.from_body(body, where)
            self.charges.append(charge)
            self._unreleased[charge.round] += 1
        elif kind == Kind.RELEASE:
            require_keys(body, {"round", "facts"}, where)
            facts_of(body["facts"])
            number = self._releasable(body["round"], where)
            self.released.append(number)
            self._unreleased[number] -= 1
        elif kind == Kind.RECOVERED:
            require_keys(body, {"bytes", "sha256"}, where)
            if not is_whole(body["bytes"]) or body["bytes"] < 1:
                raise LedgerError(f"{where}: {body['bytes']!r} bytes were cut off")
            self.recovered.append((body["bytes"], hexadecimal(body["sha256"], 32, where)))
        elif kind == Kind.CLOSE:
            require_keys(body, {"facts"}, where)
            self.closed = facts_of(body["facts"])
        else:
            raise LedgerError(f"{where}: {kind!r} is no kind of line that this privfl knows: read it with a newer one")

    def _releasable(self, number: object, where: str) -> int:
        """Every release stands on a charge of its own, made before."""
        if not is_whole(number):
            raise LedgerError(f"{where}: round {number!r}")
        if not self._unreleased[number]:
            raise LedgerError(f"{where}: round {number} was released and not charged before")
        return number


def chain_of(content: bytes) -> tuple[Chain, bytes]:
    """Verify the whole lines of a file; return them, and what follows the last newline.

    Raises:
        LedgerError: names the line.
    """
    chain, start = Chain(), 0
    while end := content.find(b"\n", start) + 1:
        chain.take(content[start:end])
        start = end
    return chain, content[start:]


def read_ledger(path: Path, signer: bytes | None = None) -> Contents:
    """Verify a ledger and return what it holds; nothing is repaired, and no lock is needed.

    Args:
        path: the file.
        signer: public key of the one who should have written it, 32 bytes. Without it the ledger is only found to be
            consistent with the key that it names itself.

    Raises:
        LedgerError: no such file; damaged, torn in its last line, or written by somebody else. It names the line.
    """
    try:
        chain, tail = chain_of(path.read_bytes())
        contents = chain.contents()
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}") from None
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}") from None
    if tail:
        raise LedgerError(
            f"{path}: line {contents.lines + 1}: torn, {len(tail)} bytes without an end: only the run that owns the "
            f"ledger may go on with it"
        )
    if signer is not None and contents.signer != signer:
        raise LedgerError(f"{path}: line 1: opened by {contents.signer.hex()[:16]}…, not by {signer.hex()[:16]}…")
    return contents


def opening_body(opening: Opening, identifier: bytes, signer: bytes) -> dict[str, Any]:
    """Return the body of the opening line."""
    return {**opening.to_body(), "ledger": identifier.hex(), "signer": signer.hex()}
