"""What a ledger holds, line by line: an opening record, charges, releases, a closing record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from privfl.dp.events import Repeated
from privfl.dp.records import Charge, Opening, events_of
from privfl.errors import LedgerError
from privfl.journal.chain import Chain, Head, Kind
from privfl.journal.reading import read_chain
from privfl.journal.values import facts_of, is_whole, require_keys
from privfl.primitives.labels import Label


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
        places: line of every charge, from 1.
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
    places: tuple[int, ...] = ()

    @property
    def spent(self) -> tuple[Repeated, ...]:
        """All events charged, in order; what the opening excludes by name is left out."""
        return self.opening.budget.accounted(events_of(self.charges))


class LedgerChain(Chain):
    """The lines of a ledger: see `Chain`.

    Guarantees:
        4. Every release stands on a charge of its own, made before.
    """

    LABEL: ClassVar[Label] = Label.LEDGER
    WHAT: ClassVar[str] = "the ledger"
    IDENTIFIER: ClassVar[str] = "ledger"

    def __init__(self) -> None:
        super().__init__()
        self.opening: Opening | None = None
        self.charges: list[Charge] = []
        self.released: list[int] = []
        self._places: list[int] = []
        self._unreleased: Counter[int] = Counter()

    def contents(self) -> Contents:
        """Return what was taken.

        Raises:
            LedgerError: not even an opening record.
        """
        if self.opening is None:
            raise LedgerError("no whole line, so nothing was ever recorded")
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
            places=tuple(self._places),
        )

    def opened(self, body: Mapping[str, Any], where: str) -> None:
        """See `Chain.opened`."""
        self.opening = Opening.from_body(body, where)

    def recorded(self, kind: object, body: Mapping[str, Any], where: str) -> bool:
        """See `Chain.recorded`."""
        if kind == Kind.CHARGE:
            charge = Charge.from_body(body, where)
            self.charges.append(charge)
            self._places.append(len(self.hashes) + 1)
            self._unreleased[charge.round] += 1
        elif kind == Kind.RELEASE:
            require_keys(body, {"round", "facts"}, where)
            facts_of(body["facts"])
            number = self._releasable(body["round"], where)
            self.released.append(number)
            self._unreleased[number] -= 1
        else:
            return False
        return True

    def _releasable(self, number: object, where: str) -> int:
        if not is_whole(number):
            raise LedgerError(f"{where}: round {number!r}")
        if not self._unreleased[number]:
            raise LedgerError(f"{where}: round {number} was released and not charged before")
        return number


def read_ledger(path: str | os.PathLike[str], signer: bytes | None = None) -> Contents:
    """Verify a ledger and return what it holds; nothing is repaired, and no lock is needed.

    Args:
        path: the file.
        signer: public key of the one who should have written it, 32 bytes. Without it the ledger is only found to be
            consistent with the key that it names itself.

    Raises:
        LedgerError: no such file; damaged, torn in its last line, or written by somebody else. It names the line.
    """
    chain = LedgerChain()
    read_chain(Path(path), chain, signer)
    return chain.contents()
