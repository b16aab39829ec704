"""The coordinator's own key vouches for the certificate that it is reached with.

Theory of operation. A certificate says that the consortium's authority knows the host; the greeting says which key the
coordinator holds; neither says that they belong together. So the coordinator signs the digest of its certificate, and
the run's name, with that key, and clients check it against the certificate of the connection that the greeting came
over; from then on a connection that shows another one is hung up before anything is said on it (`tls.Pin`). The
authority alone, or whoever took its key, cannot stand between a coordinator and its clients then: the certificate that
it makes for itself is not vouched for, and that of the coordinator is of no use without its key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
from pathlib import Path
from typing import Final

from privfl.errors import ConfigurationError, ProtocolError, RemoteProtocolError
from privfl.integrations.consortium import Greeting
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity, verify

VOUCHED_HEADER: Final = "privfl-vouched"
_END: Final = "-----END CERTIFICATE-----"


def vouch(identity: Identity, greeting: Greeting, certificate: Path) -> str:
    """Sign for the certificate that a coordinator shows.

    Args:
        identity: the coordinator's.
        greeting: of its run.
        certificate: PEM file whose first certificate it is.

    Returns:
        What stands in `VOUCHED_HEADER`.

    Raises:
        ConfigurationError: the greeting names another key, or the file cannot be read.
    """
    if not hmac.compare_digest(identity.public, greeting.coordinator):
        raise ConfigurationError("identity is not the key that the run's greeting names: the coordinator's own works")
    try:
        text = certificate.read_text(encoding="ascii")
        shown = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN") : text.index(_END) + len(_END)])
    except (OSError, ValueError):
        raise ConfigurationError(
            f"{certificate} holds no certificate in PEM: `privfl identity cert` makes one"
        ) from None
    signature = identity.sign(Label.HTTP_COORDINATOR, greeting.run, hashlib.sha256(shown).digest())
    return base64.b64encode(signature).decode()


def check_vouched(greeting: Greeting, certificate: bytes, vouched: str) -> None:
    """Raise unless a greeting's coordinator vouches for a connection's certificate.

    Args:
        greeting: as it came.
        certificate: SHA-256 of the certificate of the connection that it came over, 32 bytes; empty: none was shown.
        vouched: what `VOUCHED_HEADER` said beside it.

    Raises:
        RemoteProtocolError: it does not.
    """
    try:
        signature = base64.b64decode(vouched.encode(), validate=True)
        verify(greeting.coordinator, signature, Label.HTTP_COORDINATOR, greeting.run, certificate)
    except (ProtocolError, binascii.Error, ValueError):
        raise RemoteProtocolError(
            "what answers does not hold the key of the coordinator whose greeting it shows: its certificate is not "
            "vouched for"
        ) from None
