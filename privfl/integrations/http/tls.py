"""TLS at both ends: 1.2 or newer, one certificate authority that is trusted, and nothing of the system's."""

from __future__ import annotations

import ssl
from pathlib import Path

from privfl.errors import ConfigurationError


def server_context(certificate: Path, key: Path, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return what a coordinator's listener speaks.

    Args:
        certificate: PEM file with the coordinator's certificate, and what stands between it and the authority.
        key: PEM file with its private key.
        client_ca: PEM file of the authority that clients' certificates must come from; None: they need none, their
            signatures say who they are.

    Raises:
        ConfigurationError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Sessions are not resumed: a ticket would cost a write for each connection and bring nothing.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    _load_own(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authority(context, client_ca, "client_ca")
    return context


def client_context(ca: Path, *, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return what a client speaks: it trusts one authority, and checks the name that it calls.

    Args:
        ca: PEM file of the authority that the coordinator's certificate must come from.
        own: PEM files with the client's own certificate and its private key, where the coordinator demands one.

    Raises:
        ConfigurationError: a file cannot be read, or does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificates and names, and trusts nobody yet
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_authority(context, ca, "ca")
    if own is not None:
        _load_own(context, *own)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _require_file(path)
    try:
        # An encrypted key has no place here: nobody is there to type its password, and a prompt would wait for ever.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError):
        raise ConfigurationError(
            f"{certificate} and {key} are no certificate and its unencrypted key in PEM: `privfl identity cert` "
            "makes them"
        ) from None


def _load_authority(context: ssl.SSLContext, path: Path, name: str) -> None:
    _require_file(path)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(
            f"{name} {path} holds no certificate in PEM: `privfl identity ca` makes an authority"
        ) from None


def _require_file(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


def _no_password() -> bytes:
    raise ValueError
