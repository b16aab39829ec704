"""TLS at both ends: 1.2 or newer, one certificate authority that is trusted, and nothing of the system's."""

from __future__ import annotations

import hashlib
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


class Pin:
    """Which certificate the other end of new connections must show, beside being the authority's.

    Attributes:
        certificate: SHA-256 of it, 32 bytes; None: any that the authority vouches for.

    Guarantees:
        1. Over a connection that shows another certificate not a byte of what was to be said leaves this machine.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Look at what is shown in all handshakes of a context, which is nobody else's."""
        self.certificate: bytes | None = None
        self._missed = False
        pin = self

        class PinnedSocket(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is called
                super().do_handshake(block)
                pin.look(certificate_of(self))

        context.sslsocket_class = PinnedSocket

    def look(self, shown: bytes) -> None:
        """Raise unless a certificate is the one.

        Raises:
            ssl.SSLError: it is not.
        """
        if self.certificate is not None and shown != self.certificate:
            self._missed = True
            raise ssl.SSLError("another certificate than the coordinator greeted with")

    def missed(self) -> bool:
        """Say whether another certificate was shown since this was asked last."""
        missed, self._missed = self._missed, False
        return missed


def certificate_of(socket: ssl.SSLSocket) -> bytes:
    """Return the SHA-256 of the certificate that the other end has shown, 32 bytes; nothing if it has shown none."""
    shown = socket.getpeercert(binary_form=True)
    return b"" if shown is None else hashlib.sha256(shown).digest()


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
