"""The states of a member in a key ceremony: what it holds between two requests, and how that sleeps.

`write` and `read` are for `CeremonyMember.to_bytes` and `from_bytes`, which seal what they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from privfl.ckks import sharing
from privfl.ckks.key import MemberKey, read_member_key, write_member_key
from privfl.ckks.modulus import Modulus, Residues
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret
from privfl.wire.typed import decoder_of


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has been asked."""


@dataclass(frozen=True, slots=True)
class Advertised:
    """The channel key is out."""

    channel: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What a member has of its own in a ceremony, once its id is known.

    Attributes:
        session: the ceremony's id.
        channel: its key pair.
        peers: member to channel key.
        own: b_i, int64, shape (2, N).
    """

    session: bytes
    channel: KeyPair
    peers: Mapping[int, bytes]
    own: Residues = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The part of the key is committed to.

    Attributes:
        secrets: what it has of its own.
        secret: s_i, int64, shape (2, N); gone once it is dealt.
    """

    secrets: Secrets
    secret: Residues = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """Shares are out.

    Attributes:
        secrets: as before.
        commitments: holder to commitment.
        kept: the share of the own dealing, int64, shape (2, N + `COMBINATIONS`).
    """

    secrets: Secrets = field(repr=False)
    commitments: Mapping[int, bytes]
    kept: Residues = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Combinations are out.

    Attributes:
        secrets: as before.
        parts: dealer to b_i as it travels.
        shares: dealer to the share for this member, shaped like the kept one; those that opened.
        said: the combinations.
    """

    secrets: Secrets = field(repr=False)
    parts: Mapping[int, bytes] = field(repr=False)
    shares: Mapping[int, Residues] = field(repr=False)
    said: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """The answer to the test is out."""

    key: MemberKey


State = Waiting | Advertised | Committed | Dealt | Checked | Tested


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every state's fields; a state leaves empty what it does not have."""

    state: str
    channel: bytes = b""
    session: bytes = b""
    peers: dict[int, bytes] = {}
    own: bytes = b""
    secret: bytes = b""
    commitments: dict[int, bytes] = {}
    kept: bytes = b""
    parts: dict[int, bytes] = {}
    shares: dict[int, bytes] = {}
    said: tuple[bytes, ...] = ()
    key: bytes = b""


def write(state: State, modulus: Modulus) -> bytes:
    """Write a state out, secrets and all: to be sealed at once."""
    return msgspec.msgpack.encode(_written(state, modulus))


def _written(state: State, modulus: Modulus) -> _Written:
    match state:
        case Waiting():
            return _Written("Waiting")
        case Advertised():
            return _Written("Advertised", channel=state.channel.private_bytes().reveal())
        case Tested():
            return _Written("Tested", key=write_member_key(state.key))
        case _:
            secrets = state.secrets
            common = _Written(
                type(state).__name__,
                channel=secrets.channel.private_bytes().reveal(),
                session=secrets.session,
                peers=dict(secrets.peers),
                own=modulus.packed(secrets.own),
            )
    match state:
        case Committed():
            return msgspec.structs.replace(common, secret=modulus.packed(state.secret))
        case Dealt():
            commitments = dict(state.commitments)
            return msgspec.structs.replace(common, commitments=commitments, kept=modulus.packed(state.kept))
        case Checked():
            shares = {dealer: modulus.packed(share) for dealer, share in state.shares.items()}
            return msgspec.structs.replace(common, parts=dict(state.parts), shares=shares, said=state.said)


def read(raw: bytes, modulus: Modulus) -> State:
    """Read what `write` wrote; it was sealed, so it is what it was.

    Raises:
        ValueError: it is not; another version wrote it.
        DecodeError: likewise.
    """
    written = decoder_of(_Written).decode(raw)
    if written.state == "Waiting":
        return Waiting()
    if written.state == "Tested":
        return Tested(read_member_key(written.key))
    channel = KeyPair(Secret(written.channel))
    if written.state == "Advertised":
        return Advertised(channel)
    secrets = Secrets(
        session=written.session,
        channel=channel,
        peers=written.peers,
        own=modulus.unpack(written.own, modulus.degree),
    )
    length = modulus.degree + sharing.COMBINATIONS
    match written.state:
        case "Committed":
            return Committed(secrets=secrets, secret=modulus.unpack(written.secret, modulus.degree))
        case "Dealt":
            kept = modulus.unpack(written.kept, length)
            return Dealt(secrets=secrets, commitments=written.commitments, kept=kept)
        case "Checked":
            shares = {dealer: modulus.unpack(share, length) for dealer, share in written.shares.items()}
            return Checked(secrets=secrets, parts=written.parts, shares=shares, said=written.said)
    raise ValueError(f"no state of a member is called {written.state!r}")
