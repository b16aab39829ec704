"""AES-256-GCM under keys that are used once."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privfl.errors import DecodeError
from privfl.primitives.secret import Secret

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16

# Safe because every key seals one message: `channel` keys are derived per session *and* direction from ephemeral
# X25519 keys, and a session seals once in each direction. A key that could seal twice must not come here.
_SINGLE_USE_NONCE: Final = bytes(12)


def seal_once(key: Secret, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate under a key that seals nothing else.

    Args:
        key: 32 bytes, used for this message only.
        plaintext: any length.
        associated: authenticated, not encrypted.

    Returns:
        Ciphertext, `TAG_BYTES` longer than the plaintext.
    """
    return _cipher(key).encrypt(_SINGLE_USE_NONCE, plaintext, associated)


def open_once(key: Secret, sealed: bytes, associated: bytes) -> bytes:
    """Verify and decrypt what `seal_once` made.

    Raises:
        DecodeError: another key, another context, or changed bytes.
    """
    try:
        return _cipher(key).decrypt(_SINGLE_USE_NONCE, sealed, associated)
    except InvalidTag:
        raise DecodeError("a sealed message does not open: wrong key, wrong context, or altered") from None


def _cipher(key: Secret) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an AEAD key of {len(key)} bytes where {KEY_BYTES} are due")
    return AESGCM(key.reveal())
