"""A run's privacy ledger, and what the run asks of it: may the next sum be opened, and what was spent so far."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from privfl.dp.accountants import account
from privfl.dp.events import Repeated
from privfl.dp.ledger import Ledger, read_ledger
from privfl.dp.records import Opening
from privfl.errors import ConfigurationError, LedgerError
from privfl.journal.chain import Head
from privfl.learning.guarantee import Guarantee, noise_multiplier_of
from privfl.learning.job import Job, job_to_toml
from privfl.learning.opacus_books import OpacusBooks
from privfl.primitives.signatures import Identity
from privfl.roster import own_identity

LEDGER: Final = "ledger.jsonl"
COORDINATOR: Final = "coordinator.pem"
COORDINATOR_PUBLIC: Final = "coordinator.pub"
JOB_DIGEST: Final = "job_sha256"
LEDGER_IDENTIFIER: Final = "ledger"


class Books:
    """The ledger of a run.

    Args:
        job: the run's.
        guarantee: what it promises.
        ledger: open for writing.

    Attributes:
        opacus: the same by Opacus' accountants, in mode `example`; they go on from what the ledger holds.

    Guarantees:
        1. `charge` returns once the charge is on disk; a sum is opened only after that.
    """

    def __init__(self, job: Job, guarantee: Guarantee, ledger: Ledger) -> None:
        self._job = job
        self._guarantee = guarantee
        self._ledger = ledger
        self._told: tuple[int, Mapping[str, float | None], float] = (0, {}, 0.0)
        # Written down nowhere else: what a crash leaves in the ledger is what was spent.
        self.opacus = OpacusBooks() if guarantee.training is not None else None
        for event in ledger.spent:
            self._tell_opacus(event)

    @classmethod
    def begin(
        cls, job: Job, guarantee: Guarantee, facts: Mapping[str, Any], out: Path | None, identity: Identity
    ) -> Books:
        """Open the ledger of a new run.

        Args:
            job: the run's.
            guarantee: what it promises.
            facts: what the opening record says besides.
            out: directory of the run, where the ledger lies; without one it lasts as long as the process.
            identity: of the coordinator, who signs.

        Raises:
            LedgerError: there is a ledger already, or it cannot be written.
        """
        opening = guarantee.opening(job, dict(facts))
        if out is None:
            return cls(job, guarantee, Ledger.in_memory(opening, identity))
        return cls(job, guarantee, Ledger.create(out / LEDGER, opening, identity))

    @classmethod
    def resume(
        cls, job: Job, guarantee: Guarantee, out: Path, identity: Identity | None, head: Mapping[str, Any] | None
    ) -> Books:
        """Go on with the ledger of a run that stopped.

        Args:
            job: the run's.
            guarantee: what it promises.
            out: directory of the run.
            identity: of the coordinator; the run's own unless given.
            head: how far the ledger was when the model was written, as `head` told, or None if none was.

        Raises:
            LedgerError: the ledger is damaged, another's, shorter than the model knows, or was opened for another job.
        """
        ledger = Ledger.resume(out / LEDGER, identity_of(out, LEDGER, identity))
        try:
            if head is not None:
                ledger.require_head(int(head["sequence"]), str(head["sha256"]))
            _require_job(ledger.opening, guarantee.opening(job, {}), job, out)
        except LedgerError:
            ledger.unlock()
            raise
        return cls(job, guarantee, ledger)

    @property
    def identifier(self) -> str:
        """The ledger's, hex."""
        return self._ledger.contents.identifier

    @property
    def recovered(self) -> str | None:
        """What was cut off when the ledger was resumed, in words; None if nothing was."""
        return self._ledger.recovered

    @property
    def head(self) -> Head:
        """How far the ledger is."""
        return self._ledger.head

    def require_room(self) -> None:
        """Raise if the budget has no room for another round, whoever takes part in it: nobody need train for it.

        Raises:
            BudgetExceeded: it has none.
        """
        self._ledger.opening.budget.check(self._ledger.spent, [self._guarantee.planned])

    def charge(self, number: int, contributors: int, facts: Mapping[str, Any]) -> None:
        """Charge a round, before its sum is opened.

        Args:
            number: of the round.
            contributors: whose sum it will be.
            facts: what is particular to the round.

        Raises:
            BudgetExceeded: there is no room for it; nothing was written.
            LedgerError: the charge may not be on disk.
        """
        cost = self._guarantee.cost(contributors)
        self._ledger.charge(
            round=number,
            events=[cost],
            facts={
                **self._guarantee.facts,
                "contributors": contributors,
                "noise_multiplier_effective": noise_multiplier_of(cost.event),
                **facts,
            },
        )

        self._tell_opacus(cost)

    def epsilon(self) -> float:
        """ε of all that was charged: what was done, whether or not a crash kept it from being released."""
        return self._account()[1]

    def opinions(self) -> Mapping[str, float | None]:
        """The same by every accountant that applies."""
        return self._account()[0]

    def close(self, facts: Mapping[str, Any]) -> None:
        """End the ledger of a run that is over."""
        self._ledger.close(facts)

    def unlock(self) -> None:
        """Let the ledger go, for whoever resumes it."""
        self._ledger.unlock()

    def _tell_opacus(self, cost: Repeated) -> None:
        training = self._guarantee.training
        if self.opacus is not None and training is not None:
            self.opacus.step(
                noise_multiplier=training.noise_multiplier,
                sampling_probability=training.sampling_probability,
                steps=cost.count,
            )

    def _account(self) -> tuple[Mapping[str, float | None], float]:
        charges = len(self._ledger.charges)
        if charges != self._told[0]:
            answer = account(self._ledger.spent, self._job.privacy.failure, self._guarantee.relation)
            self._told = (charges, answer.accountants, answer.epsilon)
        return self._told[1], self._told[2]


def identity_of(out: Path, name: str, identity: Identity | None) -> Identity:
    """Return the key that a file of a run which is there was signed with.

    Args:
        out: directory of the run.
        name: of the file.
        identity: of the coordinator, if one was given; the run's own unless given.

    Raises:
        ConfigurationError: it is not there.
    """
    if identity is None and not (out / COORDINATOR).exists():
        raise ConfigurationError(
            f"{out / name} was signed with a key that is not in {out}: give it, --identity FILE.pem"
        )
    return identity or own_identity(out / COORDINATOR)


def job_digest(job: Job) -> str:
    """What the ledger's first line says of the job: SHA-256, hex."""
    return hashlib.sha256(job_to_toml(job).encode()).hexdigest()


def closing_record(
    job: Job, guarantee: Guarantee, out: Path, identity: Identity | None, head: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return what the closing record of a run's ledger says; None if it is not closed.

    Args:
        job: the run's.
        guarantee: what it promises.
        out: directory of the run.
        identity: of the coordinator; the run's own unless given.
        head: how far the ledger was when the model was written.

    Raises:
        LedgerError: it is closed, and not this run's.
    """
    try:
        contents = read_ledger(out / LEDGER)
    except LedgerError:
        return None  # whoever resumes it says what is wrong with it, or cuts off what a crash tore
    if contents.closed is None:
        return None
    # Who tells a run that is over again may have no key at hand; one that is there must be the ledger's.
    own = identity or (own_identity(out / COORDINATOR) if (out / COORDINATOR).exists() else None)
    if own is not None and contents.signer != own.public:
        raise LedgerError(f"{out / LEDGER} was signed by another key than this run's: put the run's own ledger back")
    if head is not None:
        lines = (out / LEDGER).read_bytes().splitlines(keepends=True)
        known = lines[int(head["sequence"]) : int(head["sequence"]) + 1]
        if [hashlib.sha256(line).hexdigest() for line in known] != [head["sha256"]]:
            raise LedgerError(f"{out / LEDGER} lacks a line that the model knows: put the run's own ledger back")
    _require_job(contents.opening, guarantee.opening(job, {}), job, out)
    return contents.closed


def _require_job(opened: Opening, opening: Opening, job: Job, out: Path) -> None:
    if opened.budget != opening.budget:
        raise LedgerError(
            f"{out / LEDGER} was opened with another budget than {out / 'job.toml'} asks for: put the job back as it "
            f"was, or start anew elsewhere"
        )
    if opened.facts.get(JOB_DIGEST) != job_digest(job):
        raise LedgerError(
            f"{out / 'job.toml'} was changed since {out / LEDGER} was opened: put the job back as it was, or start "
            f"anew elsewhere"
        )
