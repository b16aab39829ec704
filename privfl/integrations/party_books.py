"""What a party spends of its own budget, in a ledger of its own, whatever the server says of privacy.

A party that has a budget writes down every sum that it enters, and so does one that has a ledger: sums with noise of
its own as what they cost, all others as releases without noise, which a budget refuses unless its owner excluded them
by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from privfl.dp.budget import Budget
from privfl.dp.client_ledger import ClientLedger
from privfl.dp.events import NonPrivate, Relation, Repeated
from privfl.errors import BudgetExceeded
from privfl.integrations.policy import DELTA, PartyBudget
from privfl.params import SessionParams
from privfl.primitives.signatures import Identity
from privfl.roster import own_identity

LEDGER: Final = "ledger.jsonl"
_KEY: Final = "ledger.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a sum costs a party.

    Attributes:
        events: none where no ledger is kept.
        noise: that the party adds itself, as JSON values.
    """

    events: tuple[Repeated, ...] = ()
    noise: Mapping[str, Any] = field(default_factory=dict)


class PartyBooks:
    """A party's ledger, open for one message at a time.

    Args:
        folder: the party's directory.
        identity: its own key; one of the ledger's own unless there is one when the ledger is made.
        budget: its owner's, or None: everything is written down, nothing refused.
        coordinator: public key of the server, if it is known.

    Guarantees:
        1. `charge` returns after the charge is on disk, and raises if the party's budget would be overrun.
    """

    PARTY: ClassVar[str] = "client"
    """What errors call the party."""
    LOG: ClassVar[logging.Logger] = logging.getLogger("privfl.client")
    """Where its owner reads how much is spent."""

    def __init__(
        self, folder: Path, identity: Identity | None, budget: PartyBudget | None, coordinator: bytes | None
    ) -> None:
        self._path, self._key = folder / LEDGER, folder / _KEY
        self._identity = identity
        self._budget = budget
        self._coordinator = coordinator or b""

    def without_noise(self, kind: str) -> Cost:
        """Return what a sum costs that this party adds no noise to; nothing where no ledger is kept.

        Args:
            kind: what the budget's owner may exclude it by, such as "train".
        """
        if self._budget is None and not self._path.exists():
            return Cost()
        return Cost(events=(Repeated(event=NonPrivate(reason=kind), count=1),))

    def require_room(self, cost: Cost) -> None:
        """Raise if the party's budget has no room for a sum: nothing need be trained for it.

        Raises:
            BudgetExceeded: it has none.
            LedgerError: the ledger is damaged or in use.
        """
        if cost.events:
            budget = self._opening
            spent: tuple[Repeated, ...] = ()
            if self._path.exists():  # none is made for a sum that may not come
                with self._ledger() as ledger:
                    budget, spent = ledger.contents.opening.budget, ledger.contents.spent
            try:
                budget.check(spent, cost.events)
            except BudgetExceeded as error:
                raise self._spent(error) from None

    def charge(self, params: SessionParams, cost: Cost) -> None:
        """Charge a session. Upload only after this has returned.

        Raises:
            BudgetExceeded: the budget would be overrun; nothing was written.
            LedgerError: the ledger is damaged or in use, or the charge may not be on disk.
        """
        if cost.events:
            with self._ledger() as ledger:
                try:
                    ledger.charge(params.nonce, params.digest, cost.events, cost.noise, coordinator=self._coordinator)
                except BudgetExceeded as error:
                    raise self._spent(error) from None

    @property
    def _opening(self) -> Budget:
        return self._budget.budget if self._budget else Budget(delta=DELTA, relation=Relation.ZERO_OUT)

    def _ledger(self) -> ClientLedger:
        return ClientLedger.open(self._path, self._signer(), self._opening)

    def _signer(self) -> Identity:
        """The party's key, or the ledger's own, where it had none when its ledger was made."""
        if self._identity is None or self._key.exists():
            return own_identity(self._key)
        return self._identity

    def _spent(self, error: BudgetExceeded) -> BudgetExceeded:
        """Return what the server may know: how much a party has spent, in whatever runs, is not its business."""
        self.LOG.error("privfl: this %s's own budget (policy.toml): %s", self.PARTY, error)
        return BudgetExceeded(f"this {self.PARTY}'s own privacy budget has no room for this sum")
