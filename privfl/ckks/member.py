"""A member of the committee in a session: answers once for one sum, if the sum is one that it may open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np

from privfl.ckks.answer import answer, opening_id
from privfl.ckks.key import MemberKey
from privfl.ckks.messages import ConveneRequest, Opening, OpenRequest, Present
from privfl.ckks.modulus import Residues
from privfl.ckks.planner import modulus_of, verified
from privfl.ckks.seal import seal_ring
from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.guard import StateGuard, require_guard
from privfl.lockstep.party import Handler, Incoming, SessionOver
from privfl.lockstep.waking import SleepingParty, open_resting, seal_resting
from privfl.params import SessionParams
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.labels import Label
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SERVER, Message, PartyId, Role, SuiteCode

KEY_IN_USE: Final = "committee key"
OPENED: Final = "opened sum"
OPENING: Final = "opening of a key"
_MAGIC: Final = b"PVFM\x01"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has been asked."""

    key: MemberKey


@dataclass(frozen=True, slots=True)
class Convened:
    """It has said that it is there."""

    key: MemberKey


_STATES: Final = {"Waiting": Waiting, "Convened": Convened}


class _Slept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    params: bytes
    number: int
    minimum_contributors: int
    last: tuple[bytes, bytes | None] | None
    state: Literal["Waiting", "Convened"]


def take_into_use(key: MemberKey, guard: StateGuard) -> None:
    """Begin to keep the books of a key, once, before its first session.

    Sessions refuse a guard that does not know their key: an empty one, put in the place of one that was lost, would
    grant the whole budget again.

    Raises:
        DisclosureRefused: this guard knows the key already.
    """
    guard.claim(KEY_IN_USE, _books(key))


def remaining_openings(key: MemberKey, guard: StateGuard) -> int:
    """Return how many sums this member may still help to open under a key."""
    openings = key.statement.epoch.committee.openings
    return sum(not guard.claimed(OPENING, _opening(_books(key), number)) for number in range(openings))


class CommitteeMember(SleepingParty):
    """A member's side of one session.

    Args:
        params: the session's parameters, as the clients have them.
        key: what it kept of the ceremony.
        guard: its books, durable if it may restart or sleep: what it has opened, under every key it holds.
        minimum_contributors: fewest clients in a sum that it helps to open, whatever the parameters say.
        entropy: source of floods; the operating system unless given.

    Raises:
        ConfigurationError: the parameters name another key, exceed what it is made for, or want fewer contributors.
        DisclosureRefused: the guard does not know the key.
        MissingExtra: TenSEAL is not installed.

    Guarantees:
        1. It answers for one sum of a session, once, also after a restart: that is on record before an answer leaves.
        2. It helps to open no more sums under a key than the key's budget.
        3. It answers only within a set T of enough distinct qualified members that contains itself, and only for enough
           contributors.
        4. Its answer is uniform to whoever misses another's, and hides the errors of the sum from everyone.
        5. Of all members that are woken from one state, in whatever processes, at most one answers; none is woken from
           a state that has answered.

    Assumes:
        The server sends c₁ of the sum that it was asked to form: a member cannot see what it opens.
    """

    _suite = SuiteCode.CKKS

    def __init__(
        self,
        params: SessionParams,
        key: MemberKey,
        *,
        guard: StateGuard,
        minimum_contributors: int = 2,
        entropy: Entropy | None = None,
        remember_response: bool = True,
    ) -> None:
        setting = verified(params)
        if (setting.key, setting.epoch) != (key.statement.digest, key.statement.epoch):
            raise ConfigurationError("the session's parameters name another committee's key than this member's")
        if params.minimum_contributors < minimum_contributors:
            raise ConfigurationError(
                f"cohort.minimum is {params.minimum_contributors}: this member of the committee wants "
                f"{minimum_contributors} or more"
            )
        require_guard(guard)
        if not guard.claimed(KEY_IN_USE, _books(key)):
            raise DisclosureRefused(
                "this guard does not know the committee's key: give the one that the key was taken into use with; if "
                "it is lost, what was opened is not known, and the committee needs another key"
            )
        seal_ring(modulus_of(setting.epoch))  # who cannot answer does not say that it is there
        super().__init__(
            PartyId(Role.COMMITTEE, key.number),
            state=Waiting(key),
            body_limit_bytes=CONTROL_BODY_LIMIT_BYTES,
            remember_response=remember_response,
            guard=guard,
        )
        self.params = params
        self._books = _books(key)
        self._qualified = frozenset(key.statement.qualified)
        self._minimum = minimum_contributors
        self._modulus = modulus_of(setting.epoch)
        self._shape = setting.epoch.committee
        self._whole = self._modulus.polynomials(params.vector.length) * self._modulus.degree
        self._entropy = entropy or OsEntropy()

    @classmethod
    def from_bytes(
        cls,
        raw: bytes,
        *,
        key: bytes,
        member_key: MemberKey,
        guard: StateGuard,
        minimum_contributors: int = 2,
        entropy: Entropy | None = None,
        remember_response: bool = True,
    ) -> CommitteeMember:
        """Wake a member that `to_bytes` put to sleep.

        Args:
            raw: what `to_bytes` returned.
            key: the same 32 bytes.
            member_key: what it kept of the ceremony; it does not sleep with the session.
            guard: its books.
            minimum_contributors: as for the constructor; what it was before holds if it is more.
            entropy: as for the constructor.
            remember_response: likewise.

        Raises:
            DecodeError: another key, altered bytes, or another version.
            DisclosureRefused: this state has answered already, in whatever process; or the guard does not know the
                committee's key.
            ConfigurationError: the key is not 32 bytes, or the member's key is another.
        """
        slept = open_resting(raw, key, _Slept, magic=_MAGIC, label=Label.CKKS_SLEEP)
        if slept.number != member_key.number:
            raise ConfigurationError(
                f"member {slept.number} was put to sleep, and the key is member {member_key.number}'s"
            )
        member = cls(
            SessionParams.from_bytes(slept.params),
            member_key,
            guard=guard,
            minimum_contributors=max(minimum_contributors, slept.minimum_contributors),
            entropy=entropy,
            remember_response=remember_response,
        )
        member._wake(_STATES[slept.state](member_key), slept.last)
        return member

    def _agreed(self) -> bytes:
        return self.params.digest

    def _sealed(self, state: Waiting | Convened, key: bytes) -> bytes:
        slept = _Slept(
            params=self.params.to_bytes(),
            number=self.party.number,
            minimum_contributors=self._minimum,
            last=self._last,
            state="Waiting" if isinstance(state, Waiting) else "Convened",
        )
        return seal_resting(slept, key, magic=_MAGIC, label=Label.CKKS_SLEEP)

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {(Waiting, ConveneRequest): self._convene, (Convened, OpenRequest): self._open}

    def _tail_bytes_of(self) -> Mapping[type[Message], int]:
        return {OpenRequest: self._modulus.vector_bytes(self._whole)}

    def _read_tail(self, kind: type[Message], tail: memoryview) -> Residues | None:
        return self._modulus.unpack(tail, self._whole) if kind is OpenRequest else None

    def _convene(self, state: Waiting, incoming: Incoming) -> tuple[Convened, bytes]:
        self._require_session(incoming)
        if self._guard.claimed(OPENED, self._session()):
            raise DisclosureRefused("this session's sum was opened before: it is never opened again", peer=SERVER)
        self._require_opening()
        return Convened(state.key), self._frame(Present(), self.params.digest).finish()

    def _open(self, state: Convened, incoming: Incoming) -> tuple[SessionOver, bytes]:
        message = incoming.message
        assert isinstance(message, OpenRequest)  # noqa: S101 - by the table; for the type checker
        self._require_session(incoming)
        if self.party.number not in message.members or not set(message.members) <= self._qualified:
            raise DisclosureRefused("a set of members without this one, or with strangers", peer=SERVER)
        if len(message.members) < self._shape.threshold:
            raise DisclosureRefused(
                f"a set of {len(message.members)} members, where {self._shape.threshold} are needed", peer=SERVER
            )
        if not self.params.minimum_contributors <= message.contributors <= len(self.params.cohort):
            raise DisclosureRefused(
                f"a sum of {message.contributors} contributors, where {self.params.minimum_contributors} to "
                f"{len(self.params.cohort)} were agreed",
                peer=SERVER,
            )
        # On record before anything leaves, and in this order: a crash in between costs an opening, and tells nothing.
        self._guard.claim(OPENED, self._session())
        self._spend_opening()
        length = self.params.vector.length
        part = answer(
            state.key,
            incoming.vector,
            opening=opening_id(self.params.digest, incoming.tail, message.members),
            members=message.members,
            length=length,
            entropy=self._entropy,
        )
        frame = self._frame(Opening(), self.params.digest, tail_bytes=self._modulus.vector_bytes(length))
        frame.write_tail(np.uint64, lambda tail: self._modulus.pack(part, tail))
        return SessionOver("this member has answered"), frame.finish()

    def _require_session(self, incoming: Incoming) -> None:
        if incoming.session != self.params.digest:
            raise DisclosureRefused("a request of another session, or under another key", peer=SERVER)

    def _session(self) -> bytes:
        return self._books + self.params.digest

    def _require_opening(self) -> None:
        """See that the budget is not spent.

        Raises:
            DisclosureRefused: it is.
        """
        openings = (_opening(self._books, number) for number in range(self._shape.openings))
        if all(self._guard.claimed(OPENING, opening) for opening in openings):
            raise DisclosureRefused(
                f"the budget of {self._shape.openings} openings under this key is spent: the committee needs another "
                f"key",
                peer=SERVER,
            )

    def _spend_opening(self) -> None:
        """Claim one of the openings that are left; errors as those of `_require_opening`."""
        for number in range(self._shape.openings):
            opening = _opening(self._books, number)
            if self._guard.claimed(OPENING, opening):
                continue
            try:
                self._guard.claim(OPENING, opening)
            except DisclosureRefused:
                if not self._guard.claimed(OPENING, opening):
                    raise  # no claim can be made at all
            else:
                return
        self._require_opening()
        raise DisclosureRefused("no opening could be claimed", peer=SERVER)


def _books(key: MemberKey) -> bytes:
    return key.statement.digest + key.number.to_bytes(4, "big")


def _opening(books: bytes, number: int) -> bytes:
    return books + number.to_bytes(4, "big")
