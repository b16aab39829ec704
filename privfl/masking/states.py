"""The states of a `masking` client: what it holds between two requests, and how that sleeps.

`write` and `read` are for `LockstepClient.to_bytes` and `from_bytes`, which seal what they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from privfl.masking.messages import PAIR_SEED_BYTES, SECRET_BYTES, SHARES_BYTES
from privfl.primitives.aead import KEY_BYTES
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret
from privfl.wire.typed import decoder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Nothing drawn yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """Fresh keys drawn."""

    channel: KeyPair
    mask: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Shares dealt; the key pairs are gone, what was derived from them remains."""

    session: bytes
    neighbours: frozenset[int]
    self_seed: Secret
    incoming_keys: Mapping[int, Secret]
    pair_seeds: Mapping[int, Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerShares:
    """A neighbour's shares, held for it: of its self-mask seed and of its mask key; never both are told."""

    self_seed: bytes
    mask_key: bytes

    def __repr__(self) -> str:
        return "PeerShares(<secret>)"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("shares are neither pickled nor copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """The vector is on its way."""

    session: bytes
    participants: int
    crowd: bytes
    neighbours: frozenset[int]
    self_seed: Secret
    pair_seeds: Mapping[int, Secret]
    held: Mapping[int, PeerShares]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A witness, active model: one set of participants and one of survivors are signed, and no others will be."""

    masked: Masked
    participants: bytes
    survivors: bytes


State = Invited | Advertised | Shared | Masked | Agreed


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every state's fields; a state leaves empty what it does not have."""

    state: str
    session: bytes = b""
    keys: tuple[bytes, bytes] = (b"", b"")
    participants: int = 0
    crowd: bytes = b""
    neighbours: tuple[int, ...] = ()
    self_seed: bytes = b""
    pairs: tuple[int, ...] = ()
    pair_seeds: bytes = b""
    incoming_keys: bytes = b""
    holders: tuple[int, ...] = ()
    shares: bytes = b""
    sets: tuple[bytes, bytes] = (b"", b"")


def write(state: State) -> bytes:
    """Write a state out, secrets and all: to be sealed at once."""
    return msgspec.msgpack.encode(_written(state))


def _written(state: State) -> _Written:
    match state:
        case Invited():
            return _Written("Invited")
        case Advertised():
            keys = (state.channel.private_bytes().reveal(), state.mask.private_bytes().reveal())
            return _Written("Advertised", keys=keys)
        case Shared():
            return _Written(
                "Shared",
                session=state.session,
                neighbours=tuple(sorted(state.neighbours)),
                self_seed=state.self_seed.reveal(),
                pairs=tuple(state.pair_seeds),
                pair_seeds=_column(state.pair_seeds),
                incoming_keys=b"".join(state.incoming_keys[peer].reveal() for peer in state.pair_seeds),
            )
        case Masked():
            return _Written(
                "Masked",
                session=state.session,
                participants=state.participants,
                crowd=state.crowd,
                neighbours=tuple(sorted(state.neighbours)),
                self_seed=state.self_seed.reveal(),
                pairs=tuple(state.pair_seeds),
                pair_seeds=_column(state.pair_seeds),
                holders=tuple(state.held),
                shares=b"".join(shares.self_seed + shares.mask_key for shares in state.held.values()),
            )
        case Agreed():
            masked = _written(state.masked)
            return msgspec.structs.replace(masked, state="Agreed", sets=(state.participants, state.survivors))


def read(raw: bytes) -> State:
    """Read what `write` wrote; it was sealed, so it is what it was.

    Raises:
        ValueError: it is not; another version wrote it.
    """
    written = decoder_of(_Written).decode(raw)
    neighbours, self_seed = frozenset(written.neighbours), Secret(written.self_seed)
    pair_seeds = _secrets(written.pairs, written.pair_seeds, PAIR_SEED_BYTES)
    match written.state:
        case "Invited":
            return Invited()
        case "Advertised":
            channel, mask = (KeyPair(Secret(key)) for key in written.keys)
            return Advertised(channel=channel, mask=mask)
        case "Shared":
            return Shared(
                session=written.session,
                neighbours=neighbours,
                self_seed=self_seed,
                incoming_keys=_secrets(written.pairs, written.incoming_keys, KEY_BYTES),
                pair_seeds=pair_seeds,
            )
        case "Masked" | "Agreed":
            shares = _cut(written.holders, written.shares, SHARES_BYTES)
            masked = Masked(
                session=written.session,
                participants=written.participants,
                crowd=written.crowd,
                neighbours=neighbours,
                self_seed=self_seed,
                pair_seeds=pair_seeds,
                held={
                    peer: PeerShares(self_seed=both[:SECRET_BYTES], mask_key=both[SECRET_BYTES:])
                    for peer, both in shares.items()
                },
            )
            if written.state == "Masked":
                return masked
            participants, survivors = written.sets
            return Agreed(masked=masked, participants=participants, survivors=survivors)
    raise ValueError(f"no state of a client is called {written.state!r}")


def _column(secrets: Mapping[int, Secret]) -> bytes:
    return b"".join(secret.reveal() for secret in secrets.values())


def _secrets(peers: tuple[int, ...], column: bytes, record_bytes: int) -> dict[int, Secret]:
    return {peer: Secret(record) for peer, record in _cut(peers, column, record_bytes).items()}


def _cut(peers: tuple[int, ...], column: bytes, record_bytes: int) -> dict[int, bytes]:
    return {peer: column[i * record_bytes : (i + 1) * record_bytes] for i, peer in enumerate(peers)}
