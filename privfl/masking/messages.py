"""Messages of the `masking` suite.

What belongs to many peers is one sorted column of numbers beside columns of fixed-size records, so that a message
has one encoding and no object per record. Fields that only the active model fills (signatures, inclusion proofs) are
empty in the honest-but-curious model, and refused there if they are not.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from privfl.primitives.aead import TAG_BYTES
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.wire import Bytes16, Bytes32, ClientNumber, Message, SecretMessage, require_ascending

SECRET_BYTES: Final = 32
SHARES_BYTES: Final = 2 * SECRET_BYTES  # a share of the self-mask seed, a share of the mask key
SEALED_BYTES: Final = SHARES_BYTES + TAG_BYTES
CONFIRMATION_BYTES: Final = 16
PAIR_SEED_BYTES: Final = 16
KEY_ID_BYTES: Final = 16
MAX_PROOF_BYTES: Final = 20 * 32  # 2^20 clients

KeyId = Annotated[bytes, msgspec.Meta(max_length=KEY_ID_BYTES)]
Signature = Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)]
Proof = Annotated[bytes, msgspec.Meta(max_length=MAX_PROOF_BYTES)]


class AdvertiseKeysRequest(Message, frozen=True, tag=0x10):
    """Server to client: the session begins."""


class AdvertiseKeys(Message, frozen=True, tag=0x11):
    """Client to server: fresh public keys.

    Attributes:
        channel_key: X25519, for sealing shares.
        mask_key: X25519, for pairwise masks.
        key_id: 16 fresh bytes in the active model: no two advertisements of a client are alike.
        signature: in the active model, of keys digest, number, key id and both keys.
    """

    channel_key: Bytes32
    mask_key: Bytes32
    key_id: KeyId = b""
    signature: Signature = b""

    def __post_init__(self) -> None:
        _require_both_or_none(self.key_id, self.signature)


class NeighbourKeys(Message, frozen=True, tag=0x20):
    """Public keys of one neighbour, as it advertised them.

    Attributes:
        number: the neighbour.
        channel_key: X25519.
        mask_key: X25519.
        key_id: in the active model.
        signature: in the active model.
        proof: in the active model, that the keys stand under the root at the neighbour's place.
    """

    number: ClientNumber
    channel_key: Bytes32
    mask_key: Bytes32
    key_id: KeyId = b""
    signature: Signature = b""
    proof: Proof = b""

    def __post_init__(self) -> None:
        _require_both_or_none(self.key_id, self.signature)


class ShareKeysRequest(Message, frozen=True, tag=0x12):
    """Server to client: the neighbours' keys.

    Attributes:
        root: Merkle root over all advertised keys; with the parameters, all but the context, it makes the session id
            and the graph.
        neighbours: in order of their numbers.
        own_proof: in the active model, that the client's own keys stand under the root.
    """

    root: Bytes32
    neighbours: tuple[NeighbourKeys, ...]
    own_proof: Proof = b""

    def __post_init__(self) -> None:
        require_ascending([neighbour.number for neighbour in self.neighbours], "neighbours")


class ShareKeys(Message, frozen=True, tag=0x13):
    """Client to server: sealed shares for every neighbour.

    Attributes:
        commitment: digest of the self-mask seed.
        peers: the neighbours, as the request named them.
        sealed: `SEALED_BYTES` for each peer: shares of both secrets under the channel key.
        confirmations: `CONFIRMATION_BYTES` for each peer: digest of the pair seed, the same at both ends.
    """

    commitment: Bytes32
    peers: tuple[ClientNumber, ...]
    sealed: bytes
    confirmations: bytes

    def __post_init__(self) -> None:
        require_ascending(self.peers, "peers")
        _require_records(self.sealed, SEALED_BYTES, len(self.peers), "sealed shares")
        _require_records(self.confirmations, CONFIRMATION_BYTES, len(self.peers), "confirmations")


class MaskedInputRequest(Message, frozen=True, tag=0x14):
    """Server to client: who shared keys, and the shares meant for this client.

    Attributes:
        participants: how many clients are still in the session.
        peers: the neighbours that shared keys: exactly those to mask with.
        sealed: `SEALED_BYTES` for each peer, sealed by it for this client.
        participant_bits: in the active model, all of them, as in `ConsistencyRequest`; pairwise masks depend on it.
    """

    participants: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    peers: tuple[ClientNumber, ...]
    sealed: bytes
    participant_bits: bytes = b""

    def __post_init__(self) -> None:
        require_ascending(self.peers, "peers")
        _require_records(self.sealed, SEALED_BYTES, len(self.peers), "sealed shares")


class MaskedInput(Message, frozen=True, tag=0x15):
    """Client to server; the masked vector is the tail."""


class ConsistencyRequest(Message, frozen=True, tag=0x18):
    """Server to witness, active model: who took part and whose vectors arrived, one bit for each of the cohort.

    Attributes:
        participants: clients that shared keys; bit i (of byte i // 8, lowest first) is the i-th; spare bits are zero.
        survivors: those among them whose vectors arrived, likewise.
    """

    participants: bytes
    survivors: bytes


class ConsistencyCheck(Message, frozen=True, tag=0x19):
    """Witness to server, active model: a signature of session id, own number, context and both sets."""

    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class UnmaskRequest(Message, frozen=True, tag=0x16):
    """Server to client: whose vectors arrived.

    Attributes:
        contributors: how many vectors are in the sum.
        survivors: neighbours whose vector arrived.
        dropped: neighbours that shared keys and sent no vector.
        participant_bits: in the active model, who took part, as in `ConsistencyRequest`.
        survivor_bits: in the active model, whose vectors arrived, likewise.
        signers: in the active model, witnesses that signed both sets.
        signatures: `SIGNATURE_BYTES` for each signer.
    """

    contributors: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
    survivors: tuple[ClientNumber, ...]
    dropped: tuple[ClientNumber, ...]
    participant_bits: bytes = b""
    survivor_bits: bytes = b""
    signers: tuple[ClientNumber, ...] = ()
    signatures: bytes = b""

    def __post_init__(self) -> None:
        require_ascending(self.survivors, "survivors")
        require_ascending(self.dropped, "dropped")
        require_ascending(self.signers, "signers")
        _require_records(self.signatures, SIGNATURE_BYTES, len(self.signers), "signatures")


class SurvivorShare(SecretMessage, frozen=True, tag=0x21):
    """What a survivor's neighbour tells about it: a share of its self-mask seed, or nothing if none was readable."""

    number: ClientNumber
    share: Annotated[bytes, msgspec.Meta(max_length=SECRET_BYTES)]


class DroppedShare(SecretMessage, frozen=True, tag=0x22):
    """What a dropped client's neighbour tells about it: the pair's seed, and a share of its mask key if readable."""

    number: ClientNumber
    share: Annotated[bytes, msgspec.Meta(max_length=SECRET_BYTES)]
    pair_seed: Bytes16


class Unmask(SecretMessage, frozen=True, tag=0x17):
    """Client to server: its own self-mask seed, and one share for each neighbour.

    There is one entry per peer, and an entry is of one kind: both shares of one peer cannot be said.

    Attributes:
        self_seed: this client's self-mask seed, 32 bytes.
        entries: in order of the peers' numbers.
    """

    self_seed: Bytes32
    entries: tuple[SurvivorShare | DroppedShare, ...]

    def __post_init__(self) -> None:
        require_ascending([entry.number for entry in self.entries], "entries")
        if any(len(entry.share) not in {0, SECRET_BYTES} for entry in self.entries):
            raise ValueError(f"a share has {SECRET_BYTES} bytes, or none")


def _require_both_or_none(key_id: bytes, signature: bytes) -> None:
    if (len(key_id), len(signature)) not in {(0, 0), (KEY_ID_BYTES, SIGNATURE_BYTES)}:
        raise ValueError(f"a key id of {KEY_ID_BYTES} bytes and a signature of {SIGNATURE_BYTES} come together")


def _require_records(column: bytes, record_bytes: int, count: int, what: str) -> None:
    if len(column) != record_bytes * count:
        raise ValueError(f"{what} of {len(column)} bytes where {record_bytes} for each of {count} peers are due")
