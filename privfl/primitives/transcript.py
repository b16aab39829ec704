"""Digests over what was agreed: unambiguous hashing, and the Merkle tree over advertised keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from privfl.errors import RemoteProtocolError
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
        level = _parents(level)
    return level[0]


def _parents(level: Sequence[bytes]) -> list[bytes]:
    paired = [digest(Label.MERKLE_NODE, level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*paired, *level[len(paired) * 2 :]]


def inclusion_proofs(leaves: Sequence[bytes]) -> list[bytes]:
    """All leaves' proofs at once: the tree is hashed once."""
    levels = [[digest(Label.MERKLE_LEAF, leaf) for leaf in leaves]]
    while len(levels[-1]) > 1:
        levels.append(_parents(levels[-1]))
    proofs = []
    for index in range(len(leaves)):
        siblings, position = [], index
        for level in levels[:-1]:
            if position ^ 1 < len(level):
                siblings.append(level[position ^ 1])
            position //= 2
        proofs.append(b"".join(siblings))
    return proofs


def check_inclusion(root: bytes, leaf: bytes, *, index: int, leaves: int, proof: bytes) -> None:
    """Check that a leaf stands at a place under a root.

    Args:
        root: 32 bytes.
        leaf: the leaf.
        index: its place.
        leaves: how many leaves the tree has; agreed, never taken from the proof.
        proof: as `inclusion_proofs` made it.

    Raises:
        RemoteProtocolError: it does not.
    """
    if not 0 <= index < leaves:
        raise RemoteProtocolError(f"place {index} in a tree of {leaves} leaves")
    node, width, position = digest(Label.MERKLE_LEAF, leaf), leaves, 0
    while width > 1:
        if index ^ 1 < width:
            sibling = proof[position : position + DIGEST_BYTES]
            position += DIGEST_BYTES
            node = digest(Label.MERKLE_NODE, *((sibling, node) if index & 1 else (node, sibling)))
        index, width = index // 2, (width + 1) // 2
    if node != root or position != len(proof):
        raise RemoteProtocolError("a key that is not included under the root of all keys")


def session_id(agreed_digest: bytes, root: bytes) -> bytes:
    """Session id: binds every derived key to what was agreed beforehand and to all advertised keys."""
    return digest(Label.SESSION, agreed_digest, root)
