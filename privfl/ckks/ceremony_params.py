"""What the members of a committee agree on before they make a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from privfl.ckks.planner import most_scale_bits
from privfl.errors import ConfigurationError, DecodeError
from privfl.params import NONCE_BYTES, KeyEpoch
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.roster import Roster
from privfl.wire.typed import decoder_of

_FORMAT: Final = "privfl-ceremony-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyParams:
    """What the members agree on before they make a key; public.

    Attributes:
        epoch: what the key is made for.
        roster: the members' identities, numbered from 0; agreed outside the ceremony.
        nonce: 16 fresh bytes.
    """

    epoch: KeyEpoch
    roster: Roster
    nonce: bytes

    def __post_init__(self) -> None:
        members = self.epoch.committee.members
        if list(self.roster.identities) != list(range(members)):
            raise ConfigurationError(
                f"the committee's roster names {sorted(self.roster.identities)}: exactly the members 0 to "
                f"{members - 1} work, because committee.members is {members}"
            )
        if most_scale_bits(self.epoch, 2) < 0:
            raise ConfigurationError(
                "the floods of this key epoch leave no room for a sum: plan one with privfl.suite('ckks').setting(…)"
            )
        if len(self.nonce) != NONCE_BYTES:
            raise ConfigurationError(f"nonce is {len(self.nonce)} bytes: exactly {NONCE_BYTES} bytes work")

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of it, 32 bytes."""
        numbers = b"".join(number.to_bytes(8, "big") for number in self.epoch.numbers())
        return digest(Label.CKKS_CEREMONY, numbers, self.roster.digest, self.nonce)

    def to_bytes(self) -> bytes:
        """Write all of it, to be announced; of the roster the digest only."""
        return msgspec.msgpack.encode(
            _Wire(format=_FORMAT, numbers=self.epoch.numbers(), roster_digest=self.roster.digest, nonce=self.nonce)
        )

    @classmethod
    def from_bytes(cls, raw: bytes, roster: Roster) -> CeremonyParams:
        """Read what a coordinator announces.

        Args:
            raw: what `to_bytes` wrote.
            roster: the members' identities, from a source that is trusted: not from whoever announces the ceremony.

        Raises:
            DecodeError: not canonical, or not valid parameters.
            ConfigurationError: they are for another roster's members.
        """
        message: object = raw
        if not isinstance(message, bytes):
            raise DecodeError(f"a ceremony's parameters are bytes, not {type(message).__name__}")
        try:
            wire = decoder_of(_Wire).decode(raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"not a ceremony's parameters: {error}") from None
        if wire.format != _FORMAT or msgspec.msgpack.encode(wire) != raw:
            raise DecodeError("a ceremony's parameters that are not canonically encoded, or of another version")
        if wire.roster_digest != roster.digest:
            raise ConfigurationError("the ceremony is announced to another roster's members than the one given")
        try:
            return cls(epoch=KeyEpoch.from_numbers(wire.numbers), roster=roster, nonce=wire.nonce)
        except ConfigurationError as error:  # what the coordinator says, not what the caller gave
            raise DecodeError(f"not a ceremony's parameters: {error}") from None


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    format: str
    numbers: tuple[int, ...]
    roster_digest: bytes
    nonce: bytes
