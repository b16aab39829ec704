"""The server's side of differential privacy: its noise, its ledger, and the rule that says stop."""

from __future__ import annotations

import math
from typing import Final

from flwr.serverapp.exception import PrivacyBudgetExhausted

from privfl.dp.accountants import account
from privfl.dp.events import Relation, Repeated
from privfl.dp.ledger import Ledger
from privfl.dp.records import Opening
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError
from privfl.guard import make_folder
from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.privacy import ClientDistributed
from privfl.integrations.flower.promise import Promise
from privfl.params import SessionParams, ThreatModel
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import own_identity
from privfl.suites import Suite

_KEY: Final = "coordinator.pem"
_PUBLIC: Final = "coordinator.pub"
_VERSION: Final = "privfl"
"""The fact of an opening record that may differ when a ledger is gone on with."""


class BudgetSpent(BudgetExceeded, PrivacyBudgetExhausted):
    """The budget affords no further round: what Flower's own strategies with an accountant raise, and privfl's."""

    exit_code = PrivacyBudgetExhausted.exit_code


class PrivateSums:
    """What a wrapper with `privacy=` does beside one without.

    Args:
        settings: what is promised.
        suite: that sums.
        threat: whom sessions withstand.
        minimum: fewest contributors of a sum, if the wrapper was told.
        identity: key that signs the ledger; one of its own unless given.

    Attributes:
        minimum: fewest contributors of a sum.

    Guarantees:
        1. `charge` returns once the charge is on disk; a sum is opened only after that.
        2. Nodes are asked for nothing in a round that the budget has no room for.

    Raises:
        ConfigurationError: the settings do not fit the threat model.
    """

    def __init__(
        self,
        settings: ClientDistributed,
        *,
        suite: Suite,
        threat: ThreatModel,
        minimum: int | None,
        identity: Identity | None,
    ) -> None:
        self.settings = settings
        self.minimum = settings.fewest(suite, threat, minimum)
        self._suite, self._threat = suite, threat
        self._identity = identity
        self._promise: Promise | None = None
        self._parameters = 0
        self._ledger: Ledger | None = None
        self._spent: tuple[Repeated, ...] = ()

    def begin(self, parameters: int) -> None:
        """Work out the noise for updates of so many coordinates, and open the ledger, if that is still to be done.

        Raises:
            ConfigurationError: the noise cannot be had, or was made for another model.
            LedgerError: the ledger is damaged, closed, in use, or was opened for something else.
            MissingExtra: dp-accounting is not installed.
        """
        if self._promise is None:
            self._promise = Promise.of(self.settings, parameters=parameters, minimum=self.minimum, threat=self._threat)
            self._parameters = parameters
        elif parameters != self._parameters:
            raise ConfigurationError(
                f"the model has {parameters} parameters, and noise was made for {self._parameters}: a ledger is for "
                f"one model"
            )
        if self._ledger is None:
            self._ledger = self._opened(self._promise)

    @property
    def said(self) -> str:
        """What is promised, in a line."""
        settings = self.settings
        return (
            f"Differential privacy of nodes: epsilon {settings.epsilon:g}, delta {settings.delta:g} over "
            f"{settings.rounds} rounds; clip {settings.clip:g}, {settings.noise.value} noise of {self.minimum} to "
            f"{settings.cohort} nodes"
        )

    def check_cohort(self, nodes: int) -> None:
        """Raise if the strategy asks more nodes than noise and room for sums were made for.

        Raises:
            ConfigurationError: it does.
        """
        if nodes > self.settings.cohort:
            raise ConfigurationError(
                f"the strategy asks {nodes} nodes, and privacy.cohort is {self.settings.cohort}: say how many it asks "
                f"at most, or let it ask fewer (fraction_train, min_train_nodes)"
            )

    def require_room(self, rounds: int = 1) -> None:
        """Raise unless the budget has room for so many more rounds, whoever takes part: nobody need train for them.

        Raises:
            BudgetSpent: it has not; says for how many.
        """
        promise, ledger = self._begun()
        affordable = ledger.opening.budget.affordable_rounds() or 0
        left = affordable - len(ledger.charges)
        if rounds > left:
            raise BudgetSpent(
                f"the privacy budget (epsilon {self.settings.epsilon:g}, delta {self.settings.delta:g}) was made for "
                f"{promise.settings.rounds} rounds, and {max(0, left)} are left: nothing was asked of the nodes for "
                f"{'another' if rounds == 1 else f'{rounds} more'}; num_rounds up to that works, or a budget and a "
                f"ledger of their own for what follows"
            )

    def terms(self, number: int, weighted_by: str) -> Terms:
        """Return what nodes are shown in a round."""
        return self._begun()[0].terms(number, weighted_by)

    def charge(self, number: int, params: SessionParams, contributors: int) -> None:
        """Charge a round, before anything is asked that opens its sum.

        Args:
            number: of the round.
            params: of the session.
            contributors: whose sum it will be.

        Raises:
            BudgetSpent: there is no room for it; nothing was written.
            LedgerError: the charge may not be on disk.
        """
        promise, ledger = self._begun()
        facts = {
            "cohort": len(params.cohort),
            "session": params.nonce.hex(),
            "params_digest": params.digest.hex(),
            "ring_bits": params.ring.bits,
        }
        try:
            ledger.charge(
                round=number,
                events=[promise.cost(contributors)],
                facts={**promise.facts_of(contributors), **facts},
            )
        except BudgetExceeded as error:
            raise BudgetSpent(str(error)) from None

    def epsilon(self) -> float:
        """ε of all that was charged, whether or not it was released; 0.0 before anything was."""
        if self._ledger is not None:
            self._spent = self._ledger.spent
        return account(self._spent, self.settings.delta, Relation.ZERO_OUT).epsilon if self._spent else 0.0

    def rest(self) -> None:
        """Close the ledger if all its rounds are done; else let it go, for whoever goes on with it."""
        if self._ledger is None or self.settings.ledger is None:  # one in memory has no other place to be spent from
            return
        spent = self.epsilon()
        if len(self._ledger.charges) >= self.settings.rounds:
            self._ledger.close({"epsilon": spent if math.isfinite(spent) else None})
        else:
            self._ledger.unlock()
        self._ledger = None

    def _begun(self) -> tuple[Promise, Ledger]:
        if self._promise is None or self._ledger is None:
            raise ConfigurationError("the noise is not worked out yet: begin() does")
        return self._promise, self._ledger

    def _opened(self, promise: Promise) -> Ledger:
        opening = promise.opening({"suite": self._suite.name, "parameters": self._parameters})
        path = self.settings.ledger
        if path is None:
            return Ledger.in_memory(opening, self._identity or Identity.generate(OsEntropy()))
        try:
            make_folder(path.parent)
        except OSError as error:
            raise ConfigurationError(f"privacy.ledger {path} cannot be made: {error.strerror}") from None
        identity = self._identity or own_identity(path.with_name(_KEY))
        if not path.exists():
            path.with_name(_PUBLIC).write_text(f"{identity.public.hex()}\n", encoding="ascii")
            return Ledger.create(path, opening, identity)
        ledger = Ledger.resume(path, identity)
        if _without_version(ledger.opening) != _without_version(opening):
            ledger.unlock()
            raise LedgerError(
                f"{path} was opened for another promise than privacy= now makes (budget, clip, cohort, rounds, model, "
                f"suite or threat): put these back as they were, or name another file"
            )
        return ledger


def _without_version(opening: Opening) -> dict[str, object]:
    body = opening.to_body()
    facts = {key: value for key, value in body["facts"].items() if key != _VERSION}
    return {**body, "facts": facts}
