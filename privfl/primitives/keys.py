"""X25519 key pairs, and the one key-derivation function."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privfl.errors import RemoteProtocolError
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.secret import Secret

PRIVATE_KEY_BYTES: Final = 32

# A low-order point gives zero with *every* clamped scalar (all are multiples of the cofactor 8), so that one fixed,
# public scalar suffices to recognise it.
_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes(range(32)))


class KeyPair:
    """An X25519 key pair (RFC 7748).

    Args:
        private: the private key, 32 bytes of entropy or of a reconstruction.
    """

    __slots__ = ("_private", "public")

    def __init__(self, private: Secret) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private.reveal())
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Entropy) -> KeyPair:
        """Draw a fresh pair."""
        return cls(Secret(entropy.token_bytes(PRIVATE_KEY_BYTES)))

    def private_bytes(self) -> Secret:
        """Return the private key, to be dealt in shares."""
        return Secret(self._private.private_bytes_raw())

    def agree(self, peer_public: bytes) -> Secret:
        """Return the raw shared secret, 32 bytes; input for `derive`, never a key itself.

        Raises:
            RemoteProtocolError: the peer's key is of low order: the result would be zero, and known to everybody.
        """
        return Secret(_exchange(self._private, peer_public))

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()})"


def check_public_key(public: bytes) -> None:
    """Refuse public keys of low order.

    Raises:
        RemoteProtocolError: every agreement with this key would give zero.
    """
    _exchange(_PROBE, public)


def derive(secret: Secret, *, salt: bytes, label: Label, ends: tuple[int, ...] = (), length: int) -> Secret:
    """HKDF-SHA256 (RFC 5869) with `info` = label ‖ ids of the ends.

    Each end is 4 bytes big-endian, and no label extends another by a multiple of 4 bytes, so that no two infos
    coincide. The length is not bound: a label is used with one length only.

    Args:
        secret: input key material.
        salt: the session id: binds the key to parameters, cohort and model.
        label: what the key is for.
        ends: the parties' numbers, in the order that the label prescribes.
        length: bytes wanted.
    """
    info = label.value + b"".join(end.to_bytes(4, "big") for end in ends)
    return Secret(HKDF(hashes.SHA256(), length, salt, info).derive(secret.reveal()))


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise RemoteProtocolError("an X25519 public key of low order or wrong length") from None
