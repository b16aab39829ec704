"""The formulas once more, from hash functions and bare primitives: nothing here knows privfl.

Written from the standards and from the description of the protocol, for clarity and not for speed. What privfl made of
the known answers is compared with what comes out here; this file is compared with published vectors itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from math import ceil, comb, floor

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# -- primitives -------------------------------------------------------------------------------------------------------


def hkdf(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256, RFC 5869, section 2."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def aes_ctr(key: bytes, counter: int, length: int) -> bytes:
    """Keystream of AES in counter mode (SP 800-38A, 6.5), from encryptions of single blocks."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the bare cipher, to build upon
    blocks = [((counter + i) % 2**128).to_bytes(16, "big") for i in range(-(-length // 16))]
    return b"".join(map(encryptor.update, blocks))[:length]


def words(key: bytes, word_bits: int, count: int) -> list[int]:
    """Stream of a mask: little-endian words of the keystream under the zero counter."""
    size = word_bits // 8
    stream = aes_ctr(key, 0, size * count)
    return [int.from_bytes(stream[size * i : size * (i + 1)], "little") for i in range(count)]


def public_key(private: bytes) -> bytes:
    """X25519."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, peer_public: bytes) -> bytes:
    """X25519."""
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(peer_public))


def seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-GCM under the zero nonce."""
    return AESGCM(key).encrypt(bytes(12), plaintext, associated)


def gf_product(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, bit by bit (FIPS 197, 4.2)."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def deal(secret: bytes, points: Sequence[int], threshold: int, coefficients: bytes) -> list[bytes]:
    """Shamir's shares, a polynomial for each byte; coefficients come in rows, that of the highest power first."""
    size = len(secret)
    rows = [coefficients[size * i : size * (i + 1)] for i in range(threshold - 1)] + [secret]
    shares = []
    for point in points:
        share, power = bytes(size), 1
        for row in reversed(rows):
            share = bytes(a ^ gf_product(power, b) for a, b in zip(share, row, strict=True))
            power = gf_product(power, point)
        shares.append(share)
    return shares


# -- hashes -----------------------------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A client's number wherever it is hashed or authenticated."""
    return value.to_bytes(4, "big")


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over label and parts, each behind its length in 8 bytes."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in (label, *parts))).digest()


def derive(secret: bytes, session: bytes, label: bytes, ends: Sequence[int], length: int) -> bytes:
    """A key of a session: HKDF salted with its id, label and ends as info."""
    return hkdf(secret, salt=session, info=label + b"".join(map(number, ends)), length=length)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, by its own recursion, with this protocol's hashes."""
    if len(leaves) == 1:
        return digest(b"privfl/v1/merkle-leaf", leaves[0])
    cut = _largest_power_of_two_below(len(leaves))
    return digest(b"privfl/v1/merkle-node", merkle_root(leaves[:cut]), merkle_root(leaves[cut:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> bytes:
    """RFC 9162, section 2.1.3.1: the siblings on the way up, lowest first."""
    if len(leaves) == 1:
        return b""
    cut = _largest_power_of_two_below(len(leaves))
    if index < cut:
        return inclusion_proof(leaves[:cut], index) + merkle_root(leaves[cut:])
    return inclusion_proof(leaves[cut:], index - cut) + merkle_root(leaves[:cut])


def _largest_power_of_two_below(n: int) -> int:
    return 1 << ((n - 1).bit_length() - 1)


# -- masking ----------------------------------------------------------------------------------------------------------


def channel_key(agreed: bytes, session: bytes, sender: int, receiver: int) -> bytes:
    """Key that seals the sender's shares for the receiver."""
    return derive(agreed, session, b"privfl/v1/masking/channel", (sender, receiver), 32)


def sealing_context(session: bytes, sender: int, receiver: int) -> bytes:
    """What is authenticated with them."""
    return session + number(sender) + number(receiver)


def pair_seed(agreed: bytes, session: bytes, a: int, b: int) -> bytes:
    """Seed of a pairwise mask."""
    return derive(agreed, session, b"privfl/v1/masking/pair", sorted((a, b)), 16)


def pair_mask_key(seed: bytes, context: bytes, crowd: bytes) -> bytes:
    """Key of a pairwise mask, from the pair's seed, the context and, in the active model, the participants' bits."""
    return digest(b"privfl/v1/masking/pair-mask", seed, context, crowd)[:16]


def bound_session(session: bytes, context: bytes) -> bytes:
    """The session id that messages carry from MaskedInput on."""
    return digest(b"privfl/v1/masking/bound", session, context)


def self_mask_key(seed: bytes, session: bytes, me: int) -> bytes:
    """Key of a self mask's stream."""
    return derive(seed, session, b"privfl/v1/masking/self", (me,), 16)


def commitment(seed: bytes, session: bytes, me: int) -> bytes:
    """What a client tells of its self-mask seed beforehand."""
    return digest(b"privfl/v1/masking/self-commitment", session, number(me), seed)


def confirmation(seed: bytes, session: bytes, a: int, b: int) -> bytes:
    """What both ends tell of a pair's seed beforehand."""
    return digest(b"privfl/v1/masking/confirm", session, *map(number, sorted((a, b))), seed)[:16]


def ring(clients: int, root: bytes) -> list[int]:
    """The clients 0 … n − 1 in the order of their seats."""
    return order(b"privfl/v1/masking/graph", clients, root)


def order(label: bytes, clients: int, seed: bytes) -> list[int]:
    """The clients 0 … n − 1 in the order of their words of a public stream."""
    keys = words(digest(label, seed)[:16], 64, clients)
    return sorted(range(clients), key=lambda client: (keys[client], client))


def neighbours(clients: int, degree: int, root: bytes, me: int) -> dict[int, int]:
    """A client's neighbours among clients 0 … n − 1, and the points at which they hold its shares."""
    if degree == clients - 1:
        return {other: other + 1 for other in range(clients) if other != me}
    seats = ring(clients, root)
    seat, half = seats.index(me), degree // 2
    # k/2 seats onwards have the points 1 … k/2, the k/2 seats backwards k/2 + 1 … k, ending with the nearest.
    steps = {step: step for step in range(1, half + 1)} | {step: degree + 1 + step for step in range(-half, 0)}
    points = {seats[(seat + step) % clients]: point for step, point in steps.items()}
    return dict(sorted(points.items()))


def quorum(clients: int, corrupt: Fraction, dropout: Fraction) -> tuple[int, int]:
    """Witnesses and signatures against an active server, σ = 40 and η = 30, by exact fractions.

    As many corrupt witnesses as two quorums of different sets would share are there with a probability below 2^−41, and
    2^−60 of that for a server that tries 2^60 roots; fewer witnesses than a quorum survive with one below 2^−30.
    """
    gone = floor(dropout * clients)
    if clients < 100:
        bad = max(1, ceil(corrupt * clients))
    else:
        bad = max(1, floor(corrupt * clients))
        for witnesses in range(2, clients):
            draws = comb(clients, witnesses)
            lying = [comb(bad, h) * comb(clients - bad, witnesses - h) for h in range(witnesses + 1)]
            there = [comb(clients - gone, h) * comb(gone, witnesses - h) for h in range(witnesses + 1)]
            enough = (
                q for q in range(witnesses // 2 + 1, witnesses + 1) if sum(lying[2 * q - witnesses :]) << 101 < draws
            )
            signatures = next(enough, None)
            if signatures and sum(there[:signatures]) << 30 < draws:
                return witnesses, signatures
    return clients, (clients + bad) // 2 + 1


def signature_of_sets(
    private: bytes, session: bytes, me: int, context: bytes, participants: bytes, survivors: bytes
) -> bytes:
    """What a witness signs: Ed25519 over a digest of session, itself, the context and both sets."""
    signed = digest(b"privfl/v1/masking/survivors", session, number(me), context, participants, survivors)
    return Ed25519PrivateKey.from_private_bytes(private).sign(signed)


def set_bits(cohort: Sequence[int], members: Collection[int]) -> bytes:
    """A set of clients, a bit for each of the cohort, lowest first."""
    together = sum(1 << cohort.index(member) for member in members)
    return together.to_bytes(-(-len(cohort) // 8), "little")


class Client:
    """A client of the masking suite on the complete graph, from the entropy that it was given.

    Args:
        me: its number.
        entropy: seed of its entropy: the stream of bytes under the zero counter.
        signs: whether the server may be active, so that a key id is drawn.
    """

    def __init__(self, me: int, entropy: bytes, *, signs: bool) -> None:
        self._stream = aes_ctr(entropy, 0, 4096)
        self._me = me
        self._channel = self._draw(32)
        self._mask = self._draw(32)
        self.key_id = self._draw(16 if signs else 0)
        self._self_seed = self._draw(32)
        self.channel_key, self.mask_key = public_key(self._channel), public_key(self._mask)

    def _draw(self, length: int) -> bytes:
        drawn, self._stream = self._stream[:length], self._stream[length:]
        return drawn

    def share_keys(
        self, session: bytes, threshold: int, peers: Mapping[int, Client], points: Mapping[int, int]
    ) -> tuple[bytes, bytes, bytes]:
        """Commitment, sealed shares and confirmations for the peers, who hold shares at those points."""
        me = self._me
        shares = deal(self._self_seed + self._mask, [points[peer] for peer in peers], threshold, self._stream)
        sealed = confirmations = b""
        for (peer, keys), share in zip(peers.items(), shares, strict=True):
            key = channel_key(agree(self._channel, keys.channel_key), session, me, peer)
            sealed += seal(key, share, sealing_context(session, me, peer))
            confirmations += confirmation(self._pair_seed(session, peer, keys), session, me, peer)
        return commitment(self._self_seed, session, me), sealed, confirmations

    def masked_input(
        self,
        session: bytes,
        vector: Sequence[int],
        word_bits: int,
        peers: Mapping[int, Client],
        *,
        context: bytes,
        crowd: bytes,
    ) -> list[int]:
        """y_u = x_u + PRG(b_u) + Σ_{v<u} PRG(s_uv) − Σ_{v>u} PRG(s_uv), not reduced."""
        masks = [(1, self_mask_key(self._self_seed, session, self._me))]
        for peer, keys in peers.items():
            seed = self._pair_seed(session, peer, keys)
            masks.append((1 if peer < self._me else -1, pair_mask_key(seed, context, crowd)))
        streams = [[sign * word for word in words(key, word_bits, len(vector))] for sign, key in masks]
        return [sum(column) for column in zip(vector, *streams, strict=True)]

    def stream_keys(self, threshold: int, count: int) -> list[bytes]:
        """The keys of streams that it draws after its shares' coefficients: 16 bytes each."""
        later = self._stream[64 * (threshold - 1) :]
        return [later[16 * i : 16 * (i + 1)] for i in range(count)]

    def _pair_seed(self, session: bytes, peer: int, keys: Client) -> bytes:
        return pair_seed(agree(self._mask, keys.mask_key), session, self._me, peer)
