"""A committee's key: what the ceremony publishes, and what each member keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, NoReturn

import msgspec
import numpy as np

from privfl.ckks.cipher import JointKey
from privfl.ckks.modulus import PRIMES, Modulus, Residues
from privfl.ckks.planner import modulus_of
from privfl.errors import ConfigurationError, DecodeError, RemoteProtocolError
from privfl.guard import to_disk
from privfl.params import KeyEpoch
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.sealing import open_sealed, seal
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import verify
from privfl.primitives.transcript import DIGEST_BYTES, digest
from privfl.roster import Roster
from privfl.wire.typed import decoder_of

_FORMAT: Final = "privfl-committee-key-1"
_MEMBER_MAGIC: Final = b"PVFK\x01"


def common_polynomial(modulus: Modulus, ceremony: bytes) -> Residues:
    """Expand a ceremony's id into the common reference polynomial a: int64, shape (2, N), in paired order.

    The id is a digest of all members' fresh keys: nobody chooses it.
    """
    keys = [digest(Label.CKKS_COMMON, ceremony, bytes([row]))[:PRG_KEY_BYTES] for row in range(PRIMES)]
    # Public, like everything that follows from the id; the type is that of all stream keys.
    return modulus.uniform([Stream(Secret(key)) for key in keys], modulus.degree)


@dataclass(frozen=True, kw_only=True)
class KeyStatement:
    """What the members of a ceremony sign.

    Attributes:
        epoch: what the key is made for.
        roster_digest: of the members' roster, 32 bytes.
        ceremony: id of the ceremony, 32 bytes; the common polynomial follows from it.
        qualified: the members whose dealings held, ascending; they hold the key.
        parts: digests of their b_i, in that order.
        own: Σ b_i, as it travels.
    """

    epoch: KeyEpoch
    roster_digest: bytes
    ceremony: bytes
    qualified: tuple[int, ...]
    parts: tuple[bytes, ...]
    own: bytes = field(repr=False)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all of it, 32 bytes; names the key."""
        numbers = b"".join(number.to_bytes(8, "big") for number in self.epoch.numbers())
        members = b"".join(number.to_bytes(4, "big") for number in self.qualified)
        return digest(
            Label.CKKS_KEY, numbers, self.roster_digest, self.ceremony, members, b"".join(self.parts), self.own
        )

    @cached_property
    def joint_key(self) -> JointKey:
        """The key to encrypt under, made ready once for all uploads."""
        modulus = modulus_of(self.epoch)
        return JointKey(modulus, modulus.unpack(self.own, modulus.degree), common_polynomial(modulus, self.ceremony))


class _Statement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    numbers: tuple[int, ...]
    roster_digest: bytes
    ceremony: bytes
    qualified: tuple[int, ...]
    parts: tuple[bytes, ...]
    own: bytes


class _Published(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: str
    statement: _Statement
    signers: tuple[int, ...]
    signatures: tuple[bytes, ...]


def _written(statement: KeyStatement) -> _Statement:
    return _Statement(
        numbers=statement.epoch.numbers(),
        roster_digest=statement.roster_digest,
        ceremony=statement.ceremony,
        qualified=statement.qualified,
        parts=statement.parts,
        own=statement.own,
    )


def _read(written: _Statement) -> KeyStatement:
    """Read a statement.

    Raises:
        ValueError: it cannot be one.
    """
    epoch = KeyEpoch.from_numbers(written.numbers)
    modulus, qualified = modulus_of(epoch), written.qualified
    if not (
        len(written.roster_digest) == len(written.ceremony) == DIGEST_BYTES
        and epoch.committee.threshold <= len(qualified) == len(written.parts)
        and list(qualified) == sorted(set(qualified) & set(range(epoch.committee.members)))
        and all(len(part) == DIGEST_BYTES for part in written.parts)
        and len(written.own) == modulus.vector_bytes(modulus.degree)
    ):
        raise ValueError("members, digests or sizes do not fit together")
    modulus.unpack(written.own, modulus.degree)
    return KeyStatement(
        epoch=epoch,
        roster_digest=written.roster_digest,
        ceremony=written.ceremony,
        qualified=qualified,
        parts=written.parts,
        own=written.own,
    )


@dataclass(frozen=True, kw_only=True)
class CommitteeKey:
    """A committee's public key with its members' signatures; whoever holds one has checked them.

    Attributes:
        statement: what is signed.
        roster: the members' identities, trusted because they came from outside.
        signatures: member to signature; at least as many as open a sum.

    Raises:
        ConfigurationError: another roster, too few signatures, or one that does not hold.
    """

    statement: KeyStatement
    roster: Roster
    signatures: Mapping[int, bytes]

    def __post_init__(self) -> None:
        threshold = self.statement.epoch.committee.threshold
        if self.roster.digest != self.statement.roster_digest:
            raise ConfigurationError("the committee's key is signed by another roster's members than the one given")
        if len(self.signatures) < threshold:
            raise ConfigurationError(
                f"the committee's key has {len(self.signatures)} signatures: {threshold} work, as many as open a sum"
            )
        for member, signature in self.signatures.items():
            if member not in self.statement.qualified or member not in self.roster.identities:
                raise ConfigurationError(f"the committee's key is signed by {member}, who does not hold it")
            try:
                verify(self.roster.identities[member], signature, Label.CKKS_KEY, self.statement.digest)
            except RemoteProtocolError:
                raise ConfigurationError(
                    f"member {member}'s signature under the committee's key does not hold"
                ) from None

    @property
    def epoch(self) -> KeyEpoch:
        """What the key is made for."""
        return self.statement.epoch

    @property
    def digest(self) -> bytes:
        """Names the key, 32 bytes."""
        return self.statement.digest

    def to_bytes(self) -> bytes:
        """Write the key, to be given to clients and the server."""
        signers = tuple(sorted(self.signatures))
        return msgspec.msgpack.encode(
            _Published(
                format=_FORMAT,
                statement=_written(self.statement),
                signers=signers,
                signatures=tuple(self.signatures[member] for member in signers),
            )
        )

    @classmethod
    def from_bytes(cls, raw: bytes, roster: Roster) -> CommitteeKey:
        """Read a key.

        Args:
            raw: what `to_bytes` wrote.
            roster: the identities of the members, from a source that is trusted: not from whoever brings the key.

        Raises:
            DecodeError: not a committee's key.
            ConfigurationError: its signatures do not hold.
        """
        message: object = raw
        if not isinstance(message, bytes):
            raise DecodeError(f"a committee's key is bytes, not {type(message).__name__}")
        try:
            published = decoder_of(_Published).decode(raw)
            statement = _read(published.statement)
            pairs = zip(published.signers, published.signatures, strict=True)
            signatures = dict(pairs)
        except (msgspec.MsgspecError, ValueError, RemoteProtocolError) as error:
            raise DecodeError(f"not a committee's key: {error}") from None
        key = cls(statement=statement, roster=roster, signatures=signatures)
        if published.format != _FORMAT or key.to_bytes() != raw:
            raise DecodeError("a committee's key that is not canonically encoded, or of another version")
        return key


@dataclass(frozen=True, kw_only=True, eq=False)
class MemberKey:
    """What one member keeps of a ceremony: secret.

    Attributes:
        statement: the public part.
        number: the member.
        share: its share of the key, int64, shape (2, N), in paired order.
        pairs: qualified member to the secret shared with it, for masks of single answers.
    """

    statement: KeyStatement
    number: int
    share: Residues
    pairs: Mapping[int, Secret]

    def __repr__(self) -> str:
        return f"MemberKey(member {self.number} of key {self.statement.digest.hex()[:16]}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a member's key is neither pickled nor copied: use to_bytes")

    def to_bytes(self, key: bytes) -> bytes:
        """Write the key, sealed under 32 secret bytes of the owner's.

        Raises:
            ConfigurationError: the sealing key is not 32 bytes.
        """
        return seal(write_member_key(self), key, head=_MEMBER_MAGIC, label=Label.CKKS_MEMBER)

    @classmethod
    def from_bytes(cls, raw: bytes, key: bytes) -> MemberKey:
        """Read what `to_bytes` wrote.

        Raises:
            ConfigurationError: the sealing key is not 32 bytes.
            DecodeError: another key, altered bytes, or not a member's key.
        """
        message: object = raw
        if not isinstance(message, bytes) or not raw.startswith(_MEMBER_MAGIC):
            raise DecodeError("not a member's key, as MemberKey.to_bytes() writes one")
        return read_member_key(open_sealed(raw, key, head=_MEMBER_MAGIC, label=Label.CKKS_MEMBER))

    def save(self, path: str | os.PathLike[str], key: bytes) -> None:
        """Write the sealed key to a file that is not there yet.

        Raises:
            ConfigurationError: the file exists or cannot be written; nothing has been overwritten.
        """
        sealed, path = self.to_bytes(key), Path(path)
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                with os.fdopen(file, "wb") as target:
                    target.write(sealed)
                    target.flush()
                    os.fsync(file)
                to_disk(path.parent)
            except OSError:
                path.unlink()  # made just now, and of no use
                raise
        except OSError as error:
            raise ConfigurationError(f"the member's key {path} cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str], key: bytes) -> MemberKey:
        """Read a member's key from a file.

        Raises:
            ConfigurationError: the file cannot be read, is damaged, or the sealing key is another.
        """
        try:
            return cls.from_bytes(Path(path).read_bytes(), key)
        except OSError as error:
            raise ConfigurationError(f"the member's key {path} cannot be read: {error.strerror}") from None
        except DecodeError as error:
            raise ConfigurationError(
                f"the member's key {path} is damaged, or sealed under another key ({error}): restore the file, or take "
                f"part in the next ceremony"
            ) from None


class _Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    statement: _Statement
    number: int
    share: bytes
    peers: tuple[int, ...]
    pairs: tuple[bytes, ...]


def write_member_key(key: MemberKey) -> bytes:
    """Write a member's key out, secrets and all: to be sealed at once."""
    peers = tuple(sorted(key.pairs))
    return msgspec.msgpack.encode(
        _Kept(
            statement=_written(key.statement),
            number=key.number,
            share=np.ascontiguousarray(key.share, "<i8").tobytes(),
            peers=peers,
            pairs=tuple(key.pairs[peer].reveal() for peer in peers),
        )
    )


def read_member_key(plaintext: bytes) -> MemberKey:
    """Read what `write_member_key` wrote; it was sealed, so it is what it was.

    Raises:
        DecodeError: it is not; another version wrote it.
    """
    try:
        kept = decoder_of(_Kept).decode(plaintext)
        statement = _read(kept.statement)
        share = np.frombuffer(kept.share, "<i8").reshape(PRIMES, statement.epoch.degree).astype(np.int64)
        pairs = {peer: Secret(pair) for peer, pair in zip(kept.peers, kept.pairs, strict=True)}
    except (msgspec.MsgspecError, ValueError, RemoteProtocolError) as error:
        raise DecodeError(f"a member's key of another version: {error}") from None
    return MemberKey(statement=statement, number=kept.number, share=share, pairs=pairs)
