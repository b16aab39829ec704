"""One line of a journal: its canonical form, and its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from privfl.errors import ConfigurationError, LedgerError, RemoteProtocolError
from privfl.journal.values import canonical, hexadecimal, require_keys
from privfl.primitives.labels import Label
from privfl.primitives.signatures import IDENTITY_BYTES, SIGNATURE_BYTES, Identity, check_identity, verify

NO_LINE: Final = "0" * 64
"""What the first line names as the hash of the one before."""
_KEYS: Final = {"body", "kind", "previous", "sequence", "signature"}


def signed_line(rest: Mapping[str, Any], identity: Identity, label: Label) -> bytes:
    """Return a line, newline included, from all of it but its signature; the label says what kind of journal it is."""
    signature = identity.sign(label, canonical(rest)).hex()
    return canonical({**rest, "signature": signature}) + b"\n"


def is_torn(tail: bytes) -> bool:
    """Tell whether bytes without a newline may be what a crash left of a line.

    A write that stops early leaves a beginning. Behind a whole object only the newline is due: anything else there is
    damage to a line that may have been charged, and released upon, so it is not for cutting off.
    """
    try:
        _, end = json.JSONDecoder().raw_decode(tail.decode("latin-1"))
    except (ValueError, RecursionError):
        return True
    return end == len(tail)


def parse(line: bytes, where: str) -> dict[str, Any]:
    """Read a line, newline included; its signature is not verified yet.

    Raises:
        LedgerError: it is not in canonical form, or no line of a journal.
    """
    try:
        value = json.loads(line.decode("ascii"))
        same = canonical(value) + b"\n" == line
    except (ValueError, RecursionError):
        raise LedgerError(f"{where}: no JSON") from None
    if not same:
        raise LedgerError(f"{where}: not in canonical form (sorted keys, no spaces, ASCII): it was edited")
    require_keys(value, _KEYS, where)
    if not isinstance(value["body"], dict):
        raise LedgerError(f"{where}: the body is no object")
    parsed: dict[str, Any] = value
    return parsed


def signer_of(value: Mapping[str, Any], where: str) -> bytes:
    """Return the public key that an opening line names.

    Raises:
        LedgerError: there is none.
    """
    signer = bytes.fromhex(hexadecimal(value["body"].get("signer"), IDENTITY_BYTES, where))
    try:
        check_identity(signer)
    except ConfigurationError as error:
        raise LedgerError(f"{where}: {error}") from None
    return signer


def verify_line(signer: bytes, value: Mapping[str, Any], label: Label, where: str) -> None:
    """Check the signature of a line.

    Raises:
        LedgerError: it does not hold.
    """
    signature = bytes.fromhex(hexadecimal(value["signature"], SIGNATURE_BYTES, where))
    rest = {key: part for key, part in value.items() if key != "signature"}
    try:
        verify(signer, signature, label, canonical(rest))
    except RemoteProtocolError:
        raise LedgerError(
            f"{where}: its signature is not by {signer.hex()[:16]}…, who opened it: it was changed or forged"
        ) from None
