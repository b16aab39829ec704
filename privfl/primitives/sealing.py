"""Secrets at rest: sealed under a key of the owner's, which may seal many."""

from __future__ import annotations

from typing import Final

from privfl.errors import ConfigurationError
from privfl.primitives import aead
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.keys import derive
from privfl.primitives.labels import Label
from privfl.primitives.secret import Secret

KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32


def seal(plaintext: bytes, key: bytes, *, head: bytes, label: Label) -> bytes:
    """Seal bytes under the owner's key.

    Args:
        plaintext: what to seal.
        key: 32 secret bytes, which may seal many things.
        head: what stands in clear before the sealed bytes; authenticated.
        label: what is sealed.

    Returns:
        head ‖ salt ‖ sealed.

    Raises:
        ConfigurationError: the key is not 32 bytes.
    """
    salted = head + OsEntropy().token_bytes(_SALT_BYTES)
    return salted + aead.seal_once(_single_use_key(key, salted, label), plaintext, salted)


def open_sealed(raw: bytes, key: bytes, *, head: bytes, label: Label) -> bytes:
    """Open what `seal` made.

    Raises:
        ConfigurationError: the key is not 32 bytes.
        DecodeError: another key, head or label, or altered bytes.
    """
    cut = len(head) + _SALT_BYTES
    salted, sealed = head + raw[len(head) : cut], raw[cut:]
    return aead.open_once(_single_use_key(key, salted, label), sealed, salted)


def _single_use_key(key: bytes, salted: bytes, label: Label) -> Secret:
    # The owner's key seals many things, so it seals none itself: with 32 fresh bytes of salt each sealing has a key of
    # its own, which is what `seal_once` asks for.
    raw: object = key
    if not isinstance(raw, bytes) or len(raw) != KEY_BYTES:
        raise ConfigurationError(f"the key for secrets at rest is {KEY_BYTES} secret bytes, such as os.urandom(32)")
    return derive(Secret(key), salt=salted, label=label, length=aead.KEY_BYTES)
