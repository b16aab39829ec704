"""A member's part of a decryption: its share of the key times c₁, flooded, and masked against the other members.

With λ, Lagrange's coefficient at zero for the set T of those who answer, multiplied *before* the flood is added,

    h_j = λ_j · [s]_j · c₁ + flood_j + Σ_{k<j} PRG(jk) − Σ_{k>j} PRG(jk)   modulo both primes.

Summed over T the masks cancel and the shares add up to s·c₁, under t floods; any fewer answers are uniform. Even to all
other members and the server together, h_j tells no more than s·c₁ + flood_j: one flood alone hides the errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from privfl.ckks import sharing
from privfl.ckks.key import MemberKey
from privfl.ckks.modulus import PRIMES, Residues
from privfl.ckks.planner import flood_of, modulus_of
from privfl.ckks.seal import seal_ring
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest


def answer(
    key: MemberKey, common: Residues, *, opening: bytes, members: Sequence[int], length: int, entropy: Entropy
) -> Residues:
    """Answer for a sum.

    Args:
        key: the member's.
        common: c₁ of the sum, int64, shape (2, ⌈length/N⌉·N).
        opening: as `opening_id` makes it; keys the masks.
        members: T, ascending; contains the member.
        length: coefficients that are wanted; the flood covers all of them.
        entropy: source of the flood.

    Returns:
        h_j, int64, shape (2, length).
    """
    epoch = key.statement.epoch
    modulus = modulus_of(epoch)
    share = sharing.scaled(modulus, key.share, sharing.at_zero(modulus, key.number, members))
    polynomials = common.reshape(PRIMES, -1, modulus.degree)
    part = seal_ring(modulus).multiply(polynomials, share).reshape(PRIMES, -1)[:, :length]
    part = np.ascontiguousarray(part)
    modulus.add(part, flood_of(epoch).residues(modulus, length, entropy))
    for peer in members:
        if peer == key.number:
            continue
        mask = modulus.uniform(_mask_streams(key.pairs[peer], opening), length)
        if peer > key.number:
            modulus.negate(mask)
        modulus.add(part, mask)
    return part


def opening_id(session: bytes, shown: bytes | memoryview, members: Sequence[int]) -> bytes:
    """Name an opening: by its session, c₁ as it was shown, and T.

    No two openings share masks, and members that were shown different things make masks that do not cancel.
    """
    numbers = b"".join(member.to_bytes(4, "big") for member in members)
    return digest(Label.CKKS_OPENING, session, hashlib.sha256(shown).digest(), numbers)


def _mask_streams(pair: Secret, opening: bytes) -> list[Stream]:
    # A key of its own for each pair, opening and prime, and one stream from it: the same at both ends.
    keys = [digest(Label.CKKS_PAIR_MASK, pair.reveal(), opening, bytes([row]))[:PRG_KEY_BYTES] for row in range(PRIMES)]
    return [Stream(Secret(mask)) for mask in keys]
