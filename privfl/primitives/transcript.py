"""Digests over what was agreed: unambiguous hashing, and the Merkle tree over advertised keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from privfl.primitives.labels import Label

DIGEST_BYTES: Final = 32


def digest(label: Label, *parts: bytes) -> bytes:
    """SHA-256 over a label and parts, each preceded by its length: no two lists of parts hash alike.

    Returns:
        32 bytes.
    """
    state = hashlib.sha256()
    for part in (label.value, *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the binary Merkle tree over leaf digests, split as in RFC 9162 §2.1.1.

    Leaves and inner nodes are hashed under different labels, so that a node cannot pose as a leaf.

    Args:
        leaves: at least one leaf, any bytes.

    Returns:
        32 bytes.
    """
    if not leaves:
        raise ValueError("a Merkle tree has at least one leaf")
    level = [digest(Label.MERKLE_LEAF, leaf) for leaf in leaves]
    # Pairing level by level and carrying an odd last node up unchanged gives the RFC's tree (its left subtree is the
    # largest power of two below n) without recursion.
    while len(level) > 1:
        paired = [digest(Label.MERKLE_NODE, level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def session_id(params_digest: bytes, root: bytes) -> bytes:
    """Session id: binds every derived key to the parameters and to all advertised keys."""
    return digest(Label.SESSION, params_digest, root)
