"""A client's own word on a session that it took part in: an auditor compares the server's ledger with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from privfl.dp.mechanisms import check_whole
from privfl.dp.records import MAX_ROUND
from privfl.errors import ConfigurationError, LedgerError, RemoteProtocolError
from privfl.journal.values import canonical, facts_of, hexadecimal, require_keys
from privfl.params import NONCE_BYTES
from privfl.primitives.labels import Label
from privfl.primitives.signatures import IDENTITY_BYTES, SIGNATURE_BYTES, Identity, check_identity, verify
from privfl.primitives.transcript import DIGEST_BYTES

_SESSION: Final = "session"
_PARAMS: Final = "params_digest"
_NOISE: Final = "noise"
_WHERE: Final = "the receipt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A client's signed statement that it took part in a session.

    It names the client by its key: hand it to an auditor, and do not put it beside a ledger that is published.

    Attributes:
        session: the session's nonce, 16 bytes.
        params_digest: digest of the parameters that the client had agreed to, 32 bytes.
        noise: the noise that it added itself: JSON values, such as mechanism and variance; empty if it added none.
        rounds: sessions that it had taken part in, this one included.
        client: its public key, 32 bytes.
        coordinator: public key of the coordinator as the client knows it, 32 bytes; empty where it does not say.
            Whoever opens the ledger anew under another key contradicts it.
        signature: over all of this, 64 bytes.
    """

    session: bytes
    params_digest: bytes
    noise: Mapping[str, Any] = field(default_factory=dict)
    rounds: int
    client: bytes
    coordinator: bytes = b""
    signature: bytes = b""

    def __post_init__(self) -> None:
        check_bytes("session", self.session, NONCE_BYTES)
        check_bytes("params_digest", self.params_digest, DIGEST_BYTES)
        check_whole("rounds", self.rounds, 1, MAX_ROUND, such_as="1")
        check_identity(self.client)
        if self.coordinator:
            check_identity(self.coordinator)
        object.__setattr__(self, "noise", facts_of(self.noise))

    def to_json(self) -> str:
        """Return the receipt as one line of JSON."""
        return canonical({**self._statement(), "signature": self.signature.hex()}).decode("ascii")

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Read a receipt; whether its signature holds is for `verify_receipt` to say.

        Raises:
            LedgerError: it is none.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise LedgerError("a receipt that is no JSON") from None
        require_keys(value, {_SESSION, _PARAMS, _NOISE, "rounds", "client", "coordinator", "signature"}, _WHERE)
        try:
            return cls(
                session=bytes.fromhex(hexadecimal(value[_SESSION], NONCE_BYTES, _WHERE)),
                params_digest=bytes.fromhex(hexadecimal(value[_PARAMS], DIGEST_BYTES, _WHERE)),
                noise=value[_NOISE],
                rounds=value["rounds"],
                client=bytes.fromhex(hexadecimal(value["client"], IDENTITY_BYTES, _WHERE)),
                coordinator=bytes.fromhex(hexadecimal(value["coordinator"], IDENTITY_BYTES, _WHERE))
                if value["coordinator"] != ""
                else b"",
                signature=bytes.fromhex(hexadecimal(value["signature"], SIGNATURE_BYTES, _WHERE)),
            )
        except (ConfigurationError, RecursionError) as error:
            raise LedgerError(f"{_WHERE}: {error}") from None

    def signed(self) -> bytes:
        """Return the bytes that the signature is over."""
        return canonical(self._statement())

    def _statement(self) -> dict[str, Any]:
        return {
            _SESSION: self.session.hex(),
            _PARAMS: self.params_digest.hex(),
            _NOISE: self.noise,
            "rounds": self.rounds,
            "client": self.client.hex(),
            "coordinator": self.coordinator.hex(),
        }


def make_receipt(
    identity: Identity,
    *,
    session: bytes,
    params_digest: bytes,
    noise: Mapping[str, Any],
    rounds: int,
    coordinator: bytes = b"",
) -> Receipt:
    """Sign a statement.

    Args:
        identity: the client's key.
        session: nonce, 16 bytes.
        params_digest: 32 bytes.
        noise: the noise that the client added itself, as JSON values.
        rounds: sessions that it has taken part in, this one included.
        coordinator: public key of the coordinator, 32 bytes, or nothing.

    Raises:
        ConfigurationError: a value that no receipt may have.
    """
    receipt = Receipt(
        session=session,
        params_digest=params_digest,
        noise=noise,
        rounds=rounds,
        client=identity.public,
        coordinator=coordinator,
    )
    return replace(receipt, signature=identity.sign(Label.RECEIPT, receipt.signed()))


def verify_receipt(receipt: Receipt, client: bytes | None = None) -> None:
    """Check a receipt.

    Args:
        receipt: the receipt.
        client: public key of the one who should have signed it, from a roster. Without it the receipt is only found to
            be consistent with the key that it names.

    Raises:
        LedgerError: it does not hold.

    Guarantees:
        1. A receipt of which one bit was changed does not hold.
    """
    if client is not None and receipt.client != client:
        raise LedgerError(f"a receipt by {receipt.client.hex()[:16]}…, not by {client.hex()[:16]}…")
    try:
        verify(receipt.client, receipt.signature, Label.RECEIPT, receipt.signed())
    except RemoteProtocolError:
        raise LedgerError(
            f"a receipt whose signature is not by {receipt.client.hex()[:16]}…: it was changed or forged"
        ) from None


def check_bytes(key: str, value: object, length: int) -> None:
    """Raise unless it is so many bytes.

    Raises:
        ConfigurationError: names the key.
    """
    if not isinstance(value, bytes) or len(value) != length:
        raise ConfigurationError(f"{key} is {value!r}: {length} bytes work")
