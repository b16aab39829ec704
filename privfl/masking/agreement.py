"""The active model: signed keys, and one signed set of survivors for everybody.

A server that lies must show different keys or different survivors to different clients. Keys are signed under the
roster and stand under one Merkle root, from which session id and graph follow; who took part and who survived is signed
by witnesses, whom the parameters draw, and nobody unmasks anything but the sets that a quorum of them signed (after
Bonawitz et al., CCS 2017, round 3, where all clients are witnesses; `planner` says why neighbours are not enough).

Keys are older than the context, which a server could show as two to two groups. So witnesses sign theirs beside the
sets: two quorums share an honest witness, who signs once, and a client whose context found none tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from privfl.errors import RemoteProtocolError
from privfl.masking.messages import AdvertiseKeys, NeighbourKeys
from privfl.primitives.labels import Label
from privfl.primitives.signatures import SIGNATURE_BYTES, Identity, verify
from privfl.roster import Roster
from privfl.wire import client


def sign_advertisement(
    identity: Identity, *, session: bytes, number: int, key_id: bytes, channel_key: bytes, mask_key: bytes
) -> bytes:
    """Sign fresh keys for one session, named by its keys digest (which holds nonce and roster, and not the context).

    Keys that could be carried into another session would let a server seat a client's old keys there, whose private
    half it may have rebuilt when that client once dropped out.
    """
    return identity.sign(Label.MASKING_ADVERTISEMENT, *_advertised(session, number, key_id, channel_key, mask_key))


def check_advertisement(roster: Roster, number: int, keys: AdvertiseKeys | NeighbourKeys, *, session: bytes) -> None:
    """Check that keys are the client's own, made for this session.

    Raises:
        RemoteProtocolError: not signed, or not by that client's identity, or for another session.
    """
    parts = _advertised(session, number, keys.key_id, keys.channel_key, keys.mask_key)
    try:
        verify(roster.identities[number], keys.signature, Label.MASKING_ADVERTISEMENT, *parts)
    except (RemoteProtocolError, KeyError):
        raise RemoteProtocolError(f"keys that client {number} has not signed", peer=client(number)) from None


def sign_sets(
    identity: Identity, *, session: bytes, number: int, context: bytes, participants: bytes, survivors: bytes
) -> bytes:
    """Sign who took part and who survived, as shown, and under which context the signer uploaded."""
    return identity.sign(Label.MASKING_SURVIVORS, *_sets(session, number, context, participants, survivors))


def check_sets(
    roster: Roster,
    signature: bytes,
    *,
    session: bytes,
    number: int,
    context: bytes,
    participants: bytes,
    survivors: bytes,
) -> None:
    """Check a client's signature of context and both sets.

    Raises:
        RemoteProtocolError: it does not hold.
    """
    parts = _sets(session, number, context, participants, survivors)
    verify(roster.identities[number], signature, Label.MASKING_SURVIVORS, *parts)


def count_signatures(
    roster: Roster,
    signers: Collection[int],
    signatures: bytes,
    *,
    session: bytes,
    context: bytes,
    participants: bytes,
    survivors: bytes,
) -> int:
    """Count the signatures of context and both sets that hold."""
    held = 0
    for i, number in enumerate(signers):
        signature = signatures[i * SIGNATURE_BYTES : (i + 1) * SIGNATURE_BYTES]
        try:
            check_sets(
                roster,
                signature,
                session=session,
                number=number,
                context=context,
                participants=participants,
                survivors=survivors,
            )
        except (RemoteProtocolError, KeyError):
            continue
        held += 1
    return held


def to_bits(cohort: tuple[int, ...], members: Collection[int]) -> bytes:
    """Write a set of clients as one bit for each of the cohort, lowest first."""
    chosen = set(members)
    return np.packbits([number in chosen for number in cohort], bitorder="little").tobytes()


def from_bits(cohort: tuple[int, ...], bits: bytes) -> frozenset[int]:
    """Read a set of clients.

    Raises:
        RemoteProtocolError: wrong length, or spare bits that are not zero: a set has one encoding.
    """
    flags = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
    if len(bits) != -(-len(cohort) // 8) or flags[len(cohort) :].any():
        raise RemoteProtocolError("a set of survivors that does not fit the cohort")
    return frozenset(number for number, flag in zip(cohort, flags, strict=False) if flag)


def _advertised(session: bytes, number: int, key_id: bytes, channel_key: bytes, mask_key: bytes) -> tuple[bytes, ...]:
    return (session, number.to_bytes(4, "big"), key_id, channel_key, mask_key)


def _sets(session: bytes, number: int, context: bytes, participants: bytes, survivors: bytes) -> tuple[bytes, ...]:
    return (session, number.to_bytes(4, "big"), context, participants, survivors)
