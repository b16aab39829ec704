"""Messages of the `ckks` suite: of the ceremony that makes a committee's key, and of a session."""

from __future__ import annotations

from typing import Annotated

import msgspec

from privfl.ckks.sharing import COMBINATIONS
from privfl.params import MAX_COMMITTEE
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.wire import Bytes32, Message, SecretMessage, require_ascending

COMBINED_BYTES = 2 * COMBINATIONS * 8

Member = Annotated[int, msgspec.Meta(ge=0, le=MAX_COMMITTEE - 1)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Combined = Annotated[bytes, msgspec.Meta(max_length=COMBINED_BYTES)]


class AdvertiseRequest(Message, frozen=True, tag=0x40):
    """Coordinator to member: the ceremony begins."""


class Advertise(Message, frozen=True, tag=0x41):
    """Member to coordinator: a fresh public key.

    Attributes:
        channel_key: X25519; seals dealings, and seeds the masks of single answers.
        signature: under the member's identity, of the ceremony's digest, its number and the key.
    """

    channel_key: Bytes32
    signature: Signature


class CommitRequest(Message, frozen=True, tag=0x42):
    """Coordinator to member: all advertised keys; the ceremony's id follows from them.

    Attributes:
        members: who advertised, ascending.
        keys: their keys, in that order.
        signatures: likewise.
    """

    members: tuple[Member, ...]
    keys: tuple[Bytes32, ...]
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _require_columns(self.members, self.keys, self.signatures)


class Commitment(Message, frozen=True, tag=0x43):
    """Member to coordinator: the digest of its part b_i of the key, before it has seen any other's."""

    commitment: Bytes32


class DealRequest(Message, frozen=True, tag=0x44):
    """Coordinator to member: everybody's commitments; now the parts may be shown.

    Attributes:
        members: who committed, ascending: holders of shares.
        commitments: in that order.
    """

    members: tuple[Member, ...]
    commitments: tuple[Bytes32, ...]

    def __post_init__(self) -> None:
        _require_columns(self.members, self.commitments)


class Dealing(Message, frozen=True, tag=0x45):
    """Member to coordinator: its part b_i, in the tail, and shares of its secret.

    Attributes:
        sealed: shares for each other holder in order, each sealed for its holder.
    """

    sealed: tuple[bytes, ...]


class CheckRequest(Message, frozen=True, tag=0x46):
    """Coordinator to member: what the others dealt.

    Attributes:
        dealers: who dealt, ascending.
        parts: their b_i, as they travel.
        digests: for each dealer, the digests of its sealed shares for all other holders in order, one after another.
        sealed: for each dealer, the share for this member; empty for itself.
    """

    dealers: tuple[Member, ...]
    parts: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    sealed: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _require_columns(self.dealers, self.parts, self.digests, self.sealed)


class Checks(Message, frozen=True, tag=0x47):
    """Member to coordinator: for each dealer, blinded combinations of its share.

    Attributes:
        combined: 2 · `COMBINATIONS` residues of 8 bytes each, or nothing: a complaint about a share that does not open.
    """

    combined: tuple[Combined, ...]


class TestRequest(Message, frozen=True, tag=0x48):
    """Coordinator to member: everybody's combinations, from which each sees whose dealings hold.

    Attributes:
        members: who answered, ascending.
        combined: their `Checks.combined`, in that order.
    """

    members: tuple[Member, ...]
    combined: tuple[tuple[Combined, ...], ...]

    def __post_init__(self) -> None:
        _require_columns(self.members, self.combined)


class TestAnswer(Message, frozen=True, tag=0x49):
    """Member to coordinator; its answer to a known ciphertext under the joint key is the tail."""


class SignRequest(Message, frozen=True, tag=0x4A):
    """Coordinator to member; the sum of all answers is the tail."""


class KeySignature(Message, frozen=True, tag=0x4B):
    """Member to coordinator: the key opens what is known, and is what was agreed."""

    signature: Signature


class UploadRequest(Message, frozen=True, tag=0x50):
    """Server to client: send the vector."""


class Upload(Message, frozen=True, tag=0x51):
    """Client to server; the tail is c₁ and then c₀, each modulo the first prime and then the second, packed.

    Attributes:
        signature: where the parameters name a roster, of params digest, number and tail; else empty.
    """

    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""


class ConveneRequest(Message, frozen=True, tag=0x52):
    """Server to member of the committee: a sum is there; are you?"""


class Present(Message, frozen=True, tag=0x53):
    """Member to server: it is there, and could open this session's sum."""


class OpenRequest(Message, frozen=True, tag=0x54):
    """Server to member: c₁ of the sum is the tail.

    Attributes:
        contributors: how many clients are in the sum.
        members: T, who opens it, ascending.
    """

    contributors: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        require_ascending(self.members, "members")


class Opening(SecretMessage, frozen=True, tag=0x55):
    """Member to server; its part of the decryption, flooded and masked, is the tail."""


def _require_columns(members: tuple[int, ...], *columns: tuple[object, ...]) -> None:
    require_ascending(members, "members")
    if any(len(column) != len(members) for column in columns):
        raise ValueError("columns of different lengths")
