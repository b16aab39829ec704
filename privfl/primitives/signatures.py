"""Ed25519 identities (RFC 8032): who a client is, beyond one session."""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privfl.errors import ConfigurationError, RemoteProtocolError
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest

IDENTITY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(encoding)
    for encoding in (
        "00" * 32,  # order 4
        "01" + "00" * 31,  # the neutral element
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",  # order 8
        "ec" + "ff" * 30 + "7f",  # order 2
        "ed" + "ff" * 30 + "7f",  # order 4, not reduced
        "ee" + "ff" * 30 + "7f",  # the neutral element, not reduced
    )
)
"""Encodings of the points whose order divides 8, sign bit cleared."""


class Identity:
    """A long-lived signing key.

    What is signed is always the digest of a label and of length-prefixed parts, so that a signature for one purpose
    can never be read as one for another.

    Args:
        private: 32 bytes of entropy.
    """

    __slots__ = ("_private", "public")

    def __init__(self, private: Secret) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(private.reveal())
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, entropy: Entropy | None = None) -> Identity:
        """Draw a fresh identity.

        Args:
            entropy: the operating system's unless given, which is for tests alone.
        """
        return cls(Secret((entropy or OsEntropy()).token_bytes(IDENTITY_BYTES)))

    @classmethod
    def from_pem(cls, pem: bytes) -> Identity:
        """Read an unencrypted PKCS #8 key.

        Raises:
            ConfigurationError: not an Ed25519 private key.
        """
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow to import, and seldom used

        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise ConfigurationError("not an unencrypted PEM private key: `privfl identity new` makes one") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError("not an Ed25519 key: `privfl identity new` makes one")
        return cls(Secret(key.private_bytes_raw()))

    def to_pem(self) -> bytes:
        """Return the private key as PKCS #8: keep it where only its owner can read it."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - likewise

        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, label: Label, *parts: bytes) -> bytes:
        """Sign a label and parts: 64 bytes."""
        return self._private.sign(digest(label, *parts))

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an identity is neither pickled nor copied: use to_pem")

    def __repr__(self) -> str:
        return f"Identity(public={self.public.hex()})"


def verify(public: bytes, signature: bytes, label: Label, *parts: bytes) -> None:
    """Check a signature.

    Args:
        public: the signer's identity, 32 bytes.
        signature: 64 bytes.
        label: what was signed.
        parts: as they were given to `Identity.sign`.

    Raises:
        RemoteProtocolError: it does not hold.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, digest(label, *parts))
    except (InvalidSignature, ValueError):
        raise RemoteProtocolError("a signature that does not hold") from None


def check_identity(public: bytes) -> None:
    """Refuse what cannot be an Ed25519 public key.

    Raises:
        ConfigurationError: it cannot.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public)
    except ValueError:
        raise ConfigurationError(f"an identity of {len(public)} bytes where {IDENTITY_BYTES} are due") from None
    # Under a point of small order anybody can sign anything. The sign bit does not matter for the order.
    if public[:-1] + bytes([public[-1] & 0x7F]) in _SMALL_ORDER:
        raise ConfigurationError("an identity of small order, under which anybody could sign: make a fresh one")
