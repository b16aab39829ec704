"""What a run keeps for whoever asks later: its job, its privacy ledger, its evidence, and its clients' own ledgers."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from privfl import __version__
from privfl.encoding.layout import Layout
from privfl.errors import LedgerError
from privfl.guard import make_folder
from privfl.learning.averaging import Averaging, WeightedAveraging
from privfl.learning.books import (
    COORDINATOR,
    COORDINATOR_PUBLIC,
    JOB_DIGEST,
    LEDGER,
    LEDGER_IDENTIFIER,
    Books,
    closing_record,
    identity_of,
    job_digest,
)
from privfl.learning.checkpoint import write_whole
from privfl.learning.client_books import CLIENTS, ClientBooks
from privfl.learning.guarantee import Guarantee
from privfl.learning.job import Job, job_to_toml
from privfl.learning.sessions import Held
from privfl.learning.witness import EVIDENCE, Subject, Witness
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import own_identity
from privfl.suites import suite

JOB: Final = "job.toml"
RUN: Final = "run.id"
"""What distant clients know a run by; there is none where clients are simulated."""


class Paperwork:
    """The books of one run.

    Args:
        job: the run's.
        guarantee: what it promises; None without differential privacy.
        layout: of an update.
        out: directory of the run; None keeps nothing but a ledger in memory.
        identity: of the coordinator, who signs; one of the run's own unless given.

    Attributes:
        out: directory of the run.
        books: its privacy ledger, once it has begun.
        client_books: its clients' own.
        witness: who writes its evidence.
        closed: what the closing record of its ledger says; None while it is open.

    Guarantees:
        1. Under differential privacy the job, the ledger and the evidence are on disk before anything is charged.
    """

    def __init__(
        self, job: Job, guarantee: Guarantee | None, layout: Layout, out: Path | None, identity: Identity | None
    ) -> None:
        self.out = out
        self.books: Books | None = None
        self.client_books: ClientBooks | None = None
        self.witness: Witness | None = None
        self.closed: Mapping[str, Any] | None = None
        self._job = job
        self._guarantee = guarantee
        self._layout = layout
        self._identity = identity
        self._logged: list[tuple[int, str]] = []

    def signer(self) -> Identity:
        """The coordinator's key: the one that was given, or one of the run's own, which lasts as long as its files."""
        if self._identity is None:
            self._identity = (
                Identity.generate(OsEntropy()) if self.out is None else own_identity(self.out / COORDINATOR)
            )
        return self._identity

    def begin(self, averaging: Averaging, *, rounds_left: bool) -> None:
        """Put down what a crash must find before anything is charged.

        Without differential privacy nothing is: what fails in its first round leaves nothing behind.

        Args:
            averaging: the run's.
            rounds_left: whether there are any to be held.
        """
        if self._guarantee is None:
            return
        self._write_job()
        own = self._job.privacy.client_epsilon is not None
        if self.books is None and rounds_left:
            promised = {
                "planned_epsilon": finite(self._guarantee.planned_epsilon(self._job)),
                "receipts": own and self.out is not None,
            }
            self.books = Books.begin(self._job, self._guarantee, self._facts | promised, self.out, self.signer())
        if own:
            self.client_books = ClientBooks(self._job, self._guarantee, self.out, self.signer().public)
        self.begin_evidence(averaging)

    def begin_evidence(self, averaging: Averaging) -> None:
        """Begin the evidence, unless it has begun, or nothing is kept."""
        if self.out is None or self.witness is not None:
            return
        self._write_job()
        write_whole(self.out / COORDINATOR_PUBLIC, f"{self.signer().public.hex()}\n".encode())
        claimed = {
            "secure": suite(self._job.suite).protects,
            "mode": self._job.privacy.mode.value,
            "weight_max": averaging.codec.weight_max if isinstance(averaging, WeightedAveraging) else 1,
            LEDGER_IDENTIFIER: self.books.identifier if self.books is not None else None,
        }
        self.witness = Witness.begin(self._subject(self.out), self._facts | claimed, self.signer())

    def resume(self, out: Path, head: Mapping[str, Any] | None, *, begun: bool) -> None:
        """Go on with the books of a run that stopped.

        Args:
            out: its directory.
            head: how far its ledger was when its model was written.
            begun: whether it had done a round.

        Raises:
            LedgerError: they are damaged, missing, or not its own.
        """
        self.out = out
        ledger = (out / LEDGER).exists()
        if ledger and self._guarantee is None:
            raise LedgerError(
                f"{out / JOB} asks for no privacy, and {out / LEDGER} is there: put the job back as it was"
            )
        if head is not None and not ledger:
            raise LedgerError(f"{out / LEDGER} is missing, though rounds were charged: put it back")
        if self._guarantee is not None and ledger:
            self.closed = closing_record(self._job, self._guarantee, out, self._identity, head)
            if self.closed is None:
                self.books = Books.resume(self._job, self._guarantee, out, self._identity, head)
        try:
            if self.closed is None:
                self._resume_witness(out, begun=begun)
        except BaseException:
            self.let_go()
            raise

    def _resume_witness(self, out: Path, *, begun: bool) -> None:
        if (out / EVIDENCE).exists():
            self._identity = identity_of(out, EVIDENCE, self._identity)
            self.witness = Witness.resume(self._subject(out), self._identity)
        elif begun:
            raise LedgerError(f"{out / EVIDENCE} is missing, though rounds were done: put it back")

    def begin_session(self, number: int, params: SessionParams) -> None:
        """Write down that a session is about to be held."""
        if self.witness is not None:
            self.witness.begin_session(number, params)

    def record(
        self,
        number: int,
        held: Held,
        *,
        cohort: int,
        contributors: int,
        released: bool,
        evaluation: bool = False,
    ) -> None:
        """Write down a session that was held.

        Args:
            number: of its round.
            held: the session.
            cohort: clients invited.
            contributors: clients in the sum; 0 if nothing was released.
            released: whether a sum was.
            evaluation: whether it summed evaluations.
        """
        self._write_logs()
        if self.witness is not None:
            self.witness.record(
                number, held, cohort=cohort, contributors=contributors, released=released, evaluation=evaluation
            )

    def log(self, client: int, what: str, error: Exception) -> None:
        """Write into a client's own log what went wrong with it: it is for nobody else."""
        self._logged.append((client, f"{what}:\n{''.join(traceback.format_exception(error))}\n"))

    def _write_logs(self) -> None:
        """A run that fails in its first round leaves nothing behind: what was logged waits for its directory."""
        if self.out is None or not self._logged:
            return
        make_folder(self.out / CLIENTS, private=True)
        for client, told in self._logged:
            with (self.out / CLIENTS / f"{client:04d}.log").open("a", encoding="utf-8") as file:
                file.write(told)
        self._logged.clear()

    def finish(self, facts: Mapping[str, Any], *, model: str) -> None:
        """Close the books of a run that is over.

        Args:
            facts: what the ledger's closing record says.
            model: name of the file that holds the model that it ended with.
        """
        evidence: dict[str, Any] | None = None
        if self.witness is not None:
            self.witness.close(model)
            evidence = self.witness.head._asdict()
        if self.books is not None:
            self.books.close({**facts, "epsilon": finite(self.books.epsilon()), "evidence": evidence})
        if self.client_books is not None:
            self.client_books.close()

    def let_go(self) -> None:
        """Leave the files to whoever resumes."""
        if self.books is not None:
            self.books.unlock()
        if self.witness is not None:
            self.witness.unlock()
        if self.client_books is not None:
            self.client_books.close()

    def _subject(self, out: Path) -> Subject:
        return Subject(job=self._job, layout=self._layout, guarantee=self._guarantee, out=out)

    @property
    def _facts(self) -> dict[str, Any]:
        return {
            "suite": self._job.suite,
            JOB_DIGEST: job_digest(self._job),
            "privfl": __version__,
            "parameters": self._layout.length,
            "rounds": self._job.rounds,
        }

    def _write_job(self) -> None:
        if self.out is not None and not (self.out / JOB).exists():
            make_folder(self.out)
            write_whole(self.out / JOB, job_to_toml(self._job).encode())


def finite(value: float) -> float | None:
    """A number as JSON can hold it."""
    return value if math.isfinite(value) else None
