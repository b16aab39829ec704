"""Client sessions as sealed bytes, for callers that answer every message in a new process.

What is written holds the secrets of a session, so it is sealed under a key of the embedder's, and it is as secret as
that key. Nothing in the bytes keeps them from being read twice: that is the `StateGuard`'s part, which
`LockstepClient` asks before a session that was woken answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from privfl.errors import DecodeError
from privfl.params import ServerModel, SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.sealing import open_sealed, seal
from privfl.primitives.secret import Secret
from privfl.session import ClientPolicy
from privfl.wire import SuiteCode
from privfl.wire.typed import decoder_of

_MAGIC: Final = b"PVFZ\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slept:
    """A session at rest.

    Attributes:
        params: the session's parameters.
        number: the client.
        policy: what it insists on: whoever wakes it cannot forget it.
        vector_taken: whether its vector is on its way.
        last: digest of the last request, and the response if it is remembered.
        state: as the suite wrote it; holds secrets.
    """

    params: SessionParams
    number: int
    policy: ClientPolicy
    vector_taken: bool
    last: tuple[bytes, bytes | None] | None
    state: Secret

    def __repr__(self) -> str:
        return f"Slept(client {self.number}, <secret>)"


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    params: bytes
    number: int
    minimum_contributors: int
    suites: tuple[str, ...]
    servers: tuple[str, ...] | None
    corrupt: float | None
    corrupt_clients: int
    statistical_bits: int
    vector_taken: bool
    last: tuple[bytes, bytes | None] | None
    state: bytes


def seal_slept(slept: Slept, key: bytes, *, suite: SuiteCode) -> bytes:
    """Write a session out under the embedder's key.

    Raises:
        ConfigurationError: the key is not 32 bytes.
    """
    policy = slept.policy
    plaintext = msgspec.msgpack.encode(
        _Written(
            params=slept.params.to_bytes(),
            number=slept.number,
            minimum_contributors=policy.minimum_contributors,
            suites=tuple(sorted(policy.suites)),
            servers=None if policy.servers is None else tuple(sorted(policy.servers)),
            corrupt=policy.corrupt,
            corrupt_clients=policy.corrupt_clients,
            statistical_bits=policy.statistical_bits,
            vector_taken=slept.vector_taken,
            last=slept.last,
            state=slept.state.reveal(),
        )
    )
    return seal(plaintext, key, head=_MAGIC + bytes([suite]), label=Label.SLEEP)


def open_slept(raw: bytes, key: bytes, *, suite: SuiteCode) -> Slept:
    """Read what `seal_slept` wrote.

    Raises:
        ConfigurationError: the key is not 32 bytes.
        DecodeError: another key, altered bytes, another suite, or not a session at rest.
    """
    if sleeping_suite(raw) is not suite:
        raise DecodeError(f"a session of another suite than {suite.name.lower()}")
    opened = open_sealed(raw, key, head=_MAGIC + bytes([suite]), label=Label.SLEEP)
    try:
        written = decoder_of(_Written).decode(opened)
        return Slept(
            params=SessionParams.from_bytes(written.params),
            number=written.number,
            policy=ClientPolicy(
                minimum_contributors=written.minimum_contributors,
                suites=frozenset(written.suites),
                servers=None if written.servers is None else frozenset(map(ServerModel, written.servers)),
                corrupt=written.corrupt,
                corrupt_clients=written.corrupt_clients,
                statistical_bits=written.statistical_bits,
            ),
            vector_taken=written.vector_taken,
            last=written.last,
            state=Secret(written.state),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"a session at rest of another version: {error}") from None


def sleeping_suite(raw: bytes) -> SuiteCode:
    """Tell of which suite a session at rest is.

    Raises:
        DecodeError: it is no session at rest.
    """
    message: object = raw
    if not isinstance(message, bytes) or len(raw) <= len(_MAGIC) or raw[: len(_MAGIC)] != _MAGIC:
        raise DecodeError("not a session at rest, as to_bytes() makes one")
    try:
        return SuiteCode(raw[len(_MAGIC)])
    except ValueError:
        raise DecodeError("a session at rest of an unknown suite") from None
