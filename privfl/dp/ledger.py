"""The privacy ledger: what was done, charged and on disk before anything is released.

One JSON object a line, in one canonical form: what happened, the SHA-256 of the line before, and the writer's
signature. The order of things is the point:

1. the budget is asked; a round that would overrun it writes nothing and raises `BudgetExceeded`;
2. the charge is written and fsynced;
3. only then does `charge` return, and only then may the caller release anything.

A crash between 2 and 3 costs budget, never privacy. A crash within 2 leaves a torn line, on which nothing was released:
the run that owns the ledger cuts it off, and says so, when it resumes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from privfl.dp.chain import Contents, LedgerChain, read_ledger
from privfl.dp.events import Repeated
from privfl.dp.records import Charge, Mode, Opening, Unit
from privfl.journal.chain import Head, Kind
from privfl.journal.values import facts_of
from privfl.journal.writer import Journal
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.signatures import Identity

__all__ = ["Charge", "Contents", "Head", "Ledger", "Mode", "Opening", "Unit", "read_ledger"]

_OS: Final = OsEntropy()


class Ledger:
    """A ledger that this process writes; made by `create`, `resume` or `in_memory`.

    Use it as a context manager, or call `unlock`, to let another writer have the file.

    Guarantees:
        1. When `charge` returns, the charge is on disk; when it raises, nothing may be released.
        2. `charge` raises `BudgetExceeded` before it writes anything.
        3. After a write or fsync that failed, nothing more is written: what a failed fsync left on disk is not known,
           and trying again may report success without it. Resuming reads what is there.
        4. Resuming verifies every line, and refuses all damage but one: a last line that a crash tore off, which is
           cut off and recorded.
        5. One writer at a time, over all processes.

    Assumes:
        An honest writer. A ledger proves that its lines were not changed afterwards, not that they were true: the
        clients' receipts speak to that.

    >>> from privfl.dp.budget import Budget
    >>> from privfl.dp.events import Gaussian
    >>> opening = Opening(unit="client", mode="client-central", budget=Budget(delta=1e-5, relation="zero-out"))
    >>> with Ledger.in_memory(opening, Identity.generate(OsEntropy())) as ledger:
    ...     ledger.charge(round=1, events=[Repeated(event=Gaussian(noise_multiplier=1.1))], facts={"contributors": 50})
    ...     ledger.head.sequence
    1
    """

    def __init__(self, journal: Journal[LedgerChain]) -> None:
        self._journal = journal

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], opening: Opening, identity: Identity, *, entropy: Entropy = _OS
    ) -> Ledger:
        """Open a new ledger.

        Args:
            path: the file; it must not exist, its directory must.
            opening: what is fixed.
            identity: the key that signs every line.
            entropy: where the ledger's identifier comes from.

        Raises:
            LedgerError: the file exists, or cannot be made; it is there whole or not at all.
        """
        return cls(Journal.create(Path(path), LedgerChain(), opening.to_body(), identity, entropy))

    @classmethod
    def in_memory(cls, opening: Opening, identity: Identity, *, entropy: Entropy = _OS) -> Ledger:
        """Open a ledger that lasts as long as the process: for simulations and tests."""
        return cls(Journal.in_memory(LedgerChain(), opening.to_body(), identity, entropy))

    @classmethod
    def resume(cls, path: str | os.PathLike[str], identity: Identity) -> Ledger:
        """Go on with a ledger after a crash or a stop.

        Raises:
            LedgerError: no such file; another writer has it; it is damaged, or closed, or another key opened it.
        """
        return cls(Journal.resume(Path(path), LedgerChain(), identity))

    @property
    def recovered(self) -> str | None:
        """What was cut off when it was resumed, in a sentence; None if nothing was."""
        return self._journal.recovered

    @property
    def opening(self) -> Opening:
        """What was fixed when the ledger was opened."""
        return self.contents.opening

    @property
    def contents(self) -> Contents:
        """All that is in it."""
        return self._journal.chain.contents()

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What was charged, in order."""
        return tuple(self._journal.chain.charges)

    @property
    def spent(self) -> tuple[Repeated, ...]:
        """All events charged, but those that the opening excludes by name: what an accountant composes."""
        return self.contents.spent

    @property
    def head(self) -> Head:
        """The last line: a checkpoint remembers it, and asks `require_head` when it is resumed."""
        return self._journal.head

    def require_head(self, sequence: int, sha256: str) -> None:
        """Raise unless the ledger holds a line that somebody remembers; it may have grown since.

        Args:
            sequence: the line's number, from 0.
            sha256: of its bytes, hex.

        Raises:
            LedgerError: the ledger is shorter, or another one.
        """
        self._journal.require_head(sequence, sha256)

    def charge(self, *, round: int, events: Iterable[Repeated], facts: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - the name of the thing
        """Charge a release, durably. Release only after this has returned.

        Args:
            round: number of the round.
            events: what is about to be released, as it really happened.
            facts: what a reader should know; nothing secret.

        Raises:
            BudgetExceeded: the budget would be overrun; nothing was written, and the ledger goes on.
            UnsupportedEvent: there is a budget, and its accountant does not know an event; likewise.
            ConfigurationError: an event or a fact that JSON cannot hold; likewise.
            LedgerError: the charge may not be on disk; the ledger writes nothing more.
        """
        charge = Charge(round=round, events=tuple(events), facts=facts or {})
        with self._journal.one_at_a_time:
            self._journal.require_usable()
            self.opening.budget.check(self.spent, charge.events)
            self._journal.append(Kind.CHARGE, charge.to_body())

    def note_release(self, *, round: int, facts: Mapping[str, Any] | None = None) -> None:  # noqa: A002 - the name of the thing
        """Record that what a charge paid for was released; optional, and after the charge.

        Raises:
            LedgerError: no charge of this round is left to release on, or the line may not be on disk.
        """
        with self._journal.one_at_a_time:
            self._journal.require_usable()
            self._journal.append(Kind.RELEASE, {"round": round, "facts": facts_of(facts or {})})

    def close(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write the closing record, which makes lines that go missing later show, and let the file go.

        Raises:
            LedgerError: the record may not be on disk.
        """
        with self._journal.one_at_a_time:
            self._journal.require_usable()
            self._journal.append(Kind.CLOSE, {"facts": facts_of(facts or {})})
        self.unlock()

    def unlock(self) -> None:
        """Let the file go without closing the ledger: it can be resumed."""
        self._journal.unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()
