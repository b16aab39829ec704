"""How the session's keys, masks and commitments are derived: the same words at both ends."""

from __future__ import annotations

from privfl.masking.messages import CONFIRMATION_BYTES, PAIR_SEED_BYTES
from privfl.primitives import aead
from privfl.primitives.keys import KeyPair, derive
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Mask
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import DIGEST_BYTES, digest


def channel_keys(own: KeyPair, peer_public: bytes, *, session: bytes, me: int, peer: int) -> tuple[Secret, Secret]:
    """AEAD keys towards and from a peer; one for each direction, and each seals one message."""
    shared = own.agree(peer_public)
    outgoing = derive(shared, salt=session, label=Label.MASKING_CHANNEL, ends=(me, peer), length=aead.KEY_BYTES)
    incoming = derive(shared, salt=session, label=Label.MASKING_CHANNEL, ends=(peer, me), length=aead.KEY_BYTES)
    return outgoing, incoming


def pair_seed(own: KeyPair, peer_public: bytes, *, session: bytes, me: int, peer: int) -> Secret:
    """Seed of the pairwise mask: equal at both ends."""
    return derive(
        own.agree(peer_public),
        salt=session,
        label=Label.MASKING_PAIR,
        ends=(min(me, peer), max(me, peer)),
        length=PAIR_SEED_BYTES,
    )


def pairwise_mask(seed: Secret, *, me: int, peer: int, context: bytes, crowd: bytes) -> Mask:
    """What `me` adds for the pair: + where the peer's number is smaller, − where it is greater, so that they cancel.

    The stream's key follows from the pair's seed and from what the client was shown: the context and, in the active
    model, the set of participants. Masks of clients that were shown different ones do not cancel, so that nobody can be
    given a model of its own, or have its masks thinned out, unseen. One seed may thus key two streams, which are
    independent: neither tells about the other, nor about the seed.

    Args:
        seed: the pair's.
        me: who adds.
        peer: the other end.
        context: 32 bytes.
        crowd: the participants, as bits; empty in the honest-but-curious model.

    Raises:
        ValueError: no context: such a mask would cancel whatever models the two ends were shown.
    """
    if len(context) != DIGEST_BYTES:
        raise ValueError(f"a pairwise mask under a context of {len(context)} bytes")
    key = Secret(digest(Label.MASKING_PAIR_MASK, seed.reveal(), context, crowd)[:PRG_KEY_BYTES])
    return Mask(key, negative=peer > me)


def bound_session(session: bytes, context: bytes) -> bytes:
    """Name of a session from MaskedInput on, 32 bytes: requests of a server that has another context are refused."""
    return digest(Label.MASKING_BOUND, session, context)


def opposite(mask: Mask) -> Mask:
    """The mask that takes one away."""
    return Mask(mask.key, negative=not mask.negative)


def self_mask(seed: Secret, *, session: bytes, me: int) -> Mask:
    """The mask that only the client's own seed opens."""
    return Mask(derive(seed, salt=session, label=Label.MASKING_SELF, ends=(me,), length=PRG_KEY_BYTES))


def commitment(seed: Secret, *, session: bytes, me: int) -> bytes:
    """Digest of a self-mask seed, 32 bytes. Hiding, because the seed has 256 bits of entropy."""
    return digest(Label.MASKING_SELF_COMMITMENT, session, _number(me), seed.reveal())


def confirmation(seed: Secret, *, session: bytes, me: int, peer: int) -> bytes:
    """Digest of a pair seed, 16 bytes, equal at both ends. Hiding: the seed has 128 bits of entropy."""
    ends = (_number(min(me, peer)), _number(max(me, peer)))
    return digest(Label.MASKING_CONFIRM, session, *ends, seed.reveal())[:CONFIRMATION_BYTES]


def sealing_context(session: bytes, *, sender: int, receiver: int) -> bytes:
    """Associated data of sealed shares."""
    return session + _number(sender) + _number(receiver)


def key_leaf(number: int, channel_key: bytes, mask_key: bytes) -> bytes:
    """Merkle leaf of a client that advertised keys."""
    return _number(number) + channel_key + mask_key


def absent_leaf(number: int) -> bytes:
    """Merkle leaf of a client that did not. Shorter than `key_leaf`, so that neither can pose as the other."""
    return Label.MERKLE_ABSENT.value + _number(number)


def server_leaf(nonce: bytes) -> bytes:
    """Merkle leaf of the server, behind the clients': fresh bytes that no client could know when it chose its keys."""
    return Label.MERKLE_SERVER.value + nonce


def _number(number: int) -> bytes:
    return number.to_bytes(4, "big")
