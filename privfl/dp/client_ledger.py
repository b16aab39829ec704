"""What a client took part in, by its own record, and what it is willing to spend.

The server may be wrong about a budget, or lie. So a client keeps a ledger of its own, charges it before it uploads, and
takes no part in a session that would overrun its own budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from privfl.dp.budget import Budget
from privfl.dp.events import Repeated
from privfl.dp.ledger import Contents, Ledger, Mode, Opening, Unit
from privfl.dp.receipts import Receipt, check_bytes, make_receipt
from privfl.errors import ConfigurationError, LedgerError
from privfl.journal.values import facts_of
from privfl.params import NONCE_BYTES
from privfl.primitives.signatures import IDENTITY_BYTES, Identity
from privfl.primitives.transcript import DIGEST_BYTES

_SESSION: Final = "session"
_PARAMS: Final = "params_digest"
_NOISE: Final = "noise"
_COORDINATOR: Final = "coordinator"


class ClientLedger:
    """A client's own record of sessions; made by `open` or `in_memory`.

    Guarantees:
        1. `charge` returns after the charge is on disk, and raises `BudgetExceeded`, with nothing written, when the
           client's own budget would be overrun, whatever the server says.
        2. A session is charged once, however often it is charged; under the same nonce, nothing else ever is.
        3. There is no receipt for a session that was not charged.

    Assumes:
        A client that takes part only after `charge` has returned. Amplification by sampling is not for it to claim:
        it knows that it was there. Charge the events of rounds that it joined as they are, without sampling.

    >>> from privfl.dp.events import Gaussian
    >>> from privfl.dp.receipts import verify_receipt
    >>> from privfl.primitives.entropy import OsEntropy
    >>> ledger = ClientLedger.in_memory(Identity.generate(OsEntropy()), Budget(delta=1e-5, relation="zero-out"))
    >>> ledger.charge(bytes(16), bytes(32), [Repeated(event=Gaussian(noise_multiplier=4.0))])
    >>> verify_receipt(ledger.receipt(bytes(16)))
    """

    def __init__(self, ledger: Ledger, identity: Identity) -> None:
        self._ledger = ledger
        self._identity = identity
        self._places = {charge.facts.get(_SESSION): place for place, charge in enumerate(ledger.charges)}

    @classmethod
    def open(cls, path: Path, identity: Identity, budget: Budget, *, unit: Unit = Unit.CLIENT) -> ClientLedger:
        """Go on with a client's ledger, or make it if there is none.

        Args:
            path: the file; its directory must exist.
            identity: the client's key.
            budget: what it is willing to spend in all, over all sessions.
            unit: whose presence is counted.

        Raises:
            LedgerError: the file is damaged, in use, or another's (see `Ledger.resume`).
            ConfigurationError: the file was made for another budget.
        """
        opening = _opening(budget, unit)
        if not path.exists():
            return cls(Ledger.create(path, opening, identity), identity)
        ledger = Ledger.resume(path, identity)
        if ledger.opening != opening:
            ledger.unlock()
            raise ConfigurationError(
                f"{path} was opened for another budget or unit, which stay as they are: give the same, or the file of "
                f"another ledger"
            )
        return cls(ledger, identity)

    @classmethod
    def in_memory(cls, identity: Identity, budget: Budget, *, unit: Unit = Unit.CLIENT) -> ClientLedger:
        """Make a ledger that lasts as long as the process: for simulations and tests."""
        return cls(Ledger.in_memory(_opening(budget, unit), identity), identity)

    @property
    def contents(self) -> Contents:
        """All that is in it."""
        return self._ledger.contents

    @property
    def recovered(self) -> str | None:
        """A sentence that says what was cut off when it was opened, or None."""
        return self._ledger.recovered

    def charge(
        self,
        session: bytes,
        params_digest: bytes,
        events: Iterable[Repeated],
        noise: Mapping[str, Any] | None = None,
        *,
        coordinator: bytes = b"",
    ) -> None:
        """Charge a session, durably. Upload only after this has returned.

        Args:
            session: nonce, 16 bytes.
            params_digest: of the parameters agreed to, 32 bytes.
            events: what the session will cost the client.
            noise: the noise that it adds itself, as JSON values; what a receipt will say.
            coordinator: public key of the coordinator as the client knows it, 32 bytes, or nothing; likewise.

        Raises:
            BudgetExceeded: the client's budget would be overrun; nothing was written.
            LedgerError: the nonce was charged for something else, or the charge may not be on disk.
            ConfigurationError: a value that no charge may have.
        """
        check_bytes("session", session, NONCE_BYTES)
        check_bytes("params_digest", params_digest, DIGEST_BYTES)
        if coordinator:
            check_bytes("coordinator", coordinator, IDENTITY_BYTES)
        said = {_SESSION: session.hex(), _PARAMS: params_digest.hex(), _COORDINATOR: coordinator.hex()}
        facts = facts_of({**said, _NOISE: dict(noise or {})})
        events = tuple(events)
        place = self._places.get(session.hex())
        if place is None:
            self._ledger.charge(round=len(self._ledger.charges) + 1, events=events, facts=facts)
            self._places[session.hex()] = len(self._ledger.charges) - 1
            return
        before = self._ledger.charges[place]
        if (before.events, before.facts) != (events, facts):
            raise LedgerError(
                f"session {session.hex()} was charged before, for other parameters, noise or events: a nonce is for "
                f"one session"
            )

    def receipt(self, session: bytes) -> Receipt:
        """Return the receipt for a session that was charged.

        Raises:
            LedgerError: it was not.
        """
        place = self._places.get(session.hex())
        if place is None:
            raise LedgerError(f"session {session.hex()} was not charged, so there is no receipt for it")
        facts = self._ledger.charges[place].facts
        return make_receipt(
            self._identity,
            session=session,
            params_digest=bytes.fromhex(facts[_PARAMS]),
            noise=facts[_NOISE],
            rounds=place + 1,
            coordinator=bytes.fromhex(facts[_COORDINATOR]),
        )

    def close(self) -> None:
        """Let the file go; `open` goes on with it."""
        self._ledger.unlock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opening(budget: Budget, unit: Unit) -> Opening:
    return Opening(unit=unit, mode=Mode.PARTICIPATION, budget=budget)
