"""What each simulated client writes down for itself, and the receipts that it hands in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from privfl.dp.budget import Budget
from privfl.dp.client_ledger import ClientLedger
from privfl.errors import BudgetExceeded
from privfl.guard import append_line, make_folder
from privfl.learning.guarantee import Guarantee, unamplified
from privfl.learning.job import Job
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import own_identity
from privfl.session import Vector

CLIENTS: Final = "clients"
RECEIPTS: Final = "receipts.jsonl"


class ClientBooks:
    """The clients' own ledgers, in a simulation: one for each, with a budget and a key of its own.

    Args:
        job: the run's; `privacy.client_epsilon` is the budget.
        guarantee: what it promises.
        out: directory of the run; ledgers and keys go to `clients/`. Without one they last as long as the process.
        coordinator: public key of the one whose sessions they are; receipts name it.

    Guarantees:
        1. A client whose budget would be overrun uploads nothing, whatever the server asks.
        2. A client takes part in no session with fewer contributors, or fewer corrupt ones withstood, than its share of
           the noise is made for.
        3. A client charges itself before it uploads, for the fewest contributors that the session may have: it does not
           learn how many there are in time; and never for amplification by sampling: it knows that it was there.
    """

    def __init__(self, job: Job, guarantee: Guarantee, out: Path | None, coordinator: bytes) -> None:
        self._cost = unamplified(guarantee)
        self._budget = Budget(
            epsilon=job.privacy.client_epsilon,
            delta=job.privacy.failure,
            relation=guarantee.relation,
            planned=self._cost,
            planned_rounds=job.rounds,
        )
        share = guarantee.integers.client_noise if guarantee.integers else None
        self._noise: dict[str, Any] = (
            {"mechanism": share.kind.value, "variance": float(share.variance)} if share is not None else {}
        )
        self._unit = guarantee.unit
        self._minimum, self._corrupt = job.minimum or 1, job.threat.corrupt
        self._out = out
        self._coordinator = coordinator
        self._ledgers: dict[int, ClientLedger] = {}

    def guarded(self, params: SessionParams, vector_of: Callable[[int], Vector]) -> Callable[[int], Vector]:
        """Return a source of vectors that charges a client before it hands over its vector.

        Args:
            params: of the session.
            vector_of: the vector of a client.
        """

        def vector(number: int) -> Vector:
            if params.minimum_contributors < self._minimum or params.threat.corrupt < self._corrupt:
                raise BudgetExceeded(
                    f"a session of {params.minimum_contributors} contributors or more, {params.threat.corrupt:g} of "
                    f"them corrupt, where a share of the noise is made for {self._minimum} and {self._corrupt:g}"
                )
            ledger = self._ledger(number)
            ledger.charge(params.nonce, params.digest, [self._cost], self._noise, coordinator=self._coordinator)
            self._hand_in(ledger, params.nonce)
            return vector_of(number)

        return vector

    def close(self) -> None:
        """Let all files go."""
        for ledger in self._ledgers.values():
            ledger.close()
        self._ledgers.clear()

    def _ledger(self, number: int) -> ClientLedger:
        if number not in self._ledgers:
            self._ledgers[number] = self._open(number)
        return self._ledgers[number]

    def _open(self, number: int) -> ClientLedger:
        if self._out is None:
            return ClientLedger.in_memory(Identity.generate(OsEntropy()), self._budget, unit=self._unit)
        home = self._out / CLIENTS
        make_folder(home, private=True)
        identity = own_identity(home / f"{number:04d}.pem")
        return ClientLedger.open(home / f"{number:04d}.jsonl", identity, self._budget, unit=self._unit)

    def _hand_in(self, ledger: ClientLedger, session: bytes) -> None:
        if self._out is not None:
            append_line(self._out / RECEIPTS, ledger.receipt(session).to_json())
