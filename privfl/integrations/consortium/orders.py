"""What a run asks of its hall, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from privfl.errors import ConfigurationError
from privfl.evidence import MessageRecord
from privfl.integrations.consortium.messages import (
    CEREMONY,
    MOST_KEY_BYTES,
    MOST_KIND_LENGTH,
    MOST_MODEL_BYTES,
    MOST_TERMS_BYTES,
    Part,
)
from privfl.lockstep.sizes import SessionSizes
from privfl.params import SessionParams
from privfl.session import Aggregate, Phase, ServerSession
from privfl.suites import suite
from privfl.wire import PartyId, Role, client


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a run wants summed.

    Attributes:
        round: of the run; runs of learning count from 1.
        kind: what is summed: "train".
        params: the session's parameters.
        server: its server's side, nothing asked yet; from now on the hall's alone.
        terms: what clients make their vectors by; opaque here, at most 1 MiB.
        model: the model's bytes, which clients may fetch as long as the session is open.
        phase_timeout_s: seconds that clients have for a phase.
        upload_timeout_s: seconds for the phase in which they train and upload.
        members: clients that sit on the committee that opens the sum, and their numbers there; where there is one.
        committee: its public key, as it travels.
    """

    round: int
    kind: str
    params: SessionParams
    server: ServerSession = field(repr=False)
    terms: bytes = field(repr=False)
    model: bytes = field(repr=False)
    phase_timeout_s: float
    upload_timeout_s: float
    members: Mapping[int, int] = field(default_factory=dict)
    committee: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        check_round(self.round)
        if not self.kind or len(self.kind) > MOST_KIND_LENGTH or self.kind == CEREMONY:
            raise ConfigurationError(
                f"kind is {self.kind!r}: a word of at most {MOST_KIND_LENGTH} letters works, and not {CEREMONY!r}"
            )
        for key, value, most in (
            ("terms", self.terms, MOST_TERMS_BYTES),
            ("model", self.model, MOST_MODEL_BYTES),
            ("committee", self.committee, MOST_KEY_BYTES),
        ):
            raw: object = value
            if not isinstance(raw, bytes) or len(value) > most:
                raise ConfigurationError(f"{key} of an order is too long, or no bytes: up to {most} bytes work")
        for key in ("phase_timeout_s", "upload_timeout_s"):
            check_seconds(key, getattr(self, key))
        if suite(self.params.suite).has_committee != bool(self.members and self.committee):
            raise ConfigurationError(
                f"members and committee of an order belong to suites with a committee, and suite "
                f"{self.params.suite!r} has {'one' if suite(self.params.suite).has_committee else 'none'}"
            )
        check_members(self.members)

    @property
    def cohort(self) -> tuple[int, ...]:
        """The clients of the session."""
        return self.params.cohort

    @property
    def sizes(self) -> SessionSizes:
        """How long answers may be."""
        return suite(self.params.suite).message_sizes(self.params)

    def part_of(self, role: Role) -> Part:
        """Return whom in a party a request to that role is to."""
        return Part.MEMBER if role is Role.COMMITTEE else Part.CLIENT

    def seats(self) -> dict[PartyId, int]:
        """Return which client speaks for which party of the session."""
        return {client(number): number for number in self.cohort} | seats_of(self.members)


def seats_of(members: Mapping[int, int]) -> dict[PartyId, int]:
    """Return which client speaks for which member of a committee."""
    return {PartyId(Role.COMMITTEE, member): number for number, member in members.items()}


def check_round(number: int) -> None:
    """Raise `ConfigurationError` unless it is a round of a run."""
    if type(number) is not int or not 0 <= number < 2**31:
        raise ConfigurationError(f"round is {number!r}: a whole number from 0 to 2^31 − 1 works")


def check_seconds(key: str, seconds: float) -> None:
    """Raise `ConfigurationError` unless these are seconds."""
    if not math.isfinite(seconds) or seconds <= 0:
        raise ConfigurationError(f"{key} is {seconds!r}: a number of seconds above 0 works, such as 60")


def check_members(members: Mapping[int, int]) -> None:
    """Raise `ConfigurationError` unless each seat is one client's."""
    if len(set(members.values())) != len(members):
        raise ConfigurationError("two clients in one seat of the committee: one for each works")


@dataclass(slots=True, kw_only=True)
class PhaseTraffic:
    """What one phase cost.

    Attributes:
        upload_bytes: of the answers that were accepted.
        download_bytes: of requests, counted once for every client that was shown one.
        server_cpu_s: CPU of the session's server: of the threads that asked it, and at the end of the phase of the
            process, because suites may use threads there.
        seconds: from the phase's opening to the next one's.
    """

    upload_bytes: int = 0
    download_bytes: int = 0
    server_cpu_s: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an order.

    Attributes:
        aggregate: the sum; None if nothing was released, or a key was made.
        contributors: who is in it, ascending; nobody if nothing was released.
        aborted: why nothing was, or None.
        failures: clients whose answer was refused, or that declined, with one line that says why.
        member_failures: members of the committee likewise, by their numbers there.
        phases: cost by phase.
        messages: one for every answer that was accepted, in order.
    """

    aggregate: Aggregate | None
    contributors: tuple[int, ...]
    aborted: str | None
    failures: Mapping[int, str]
    member_failures: Mapping[int, str]
    phases: Mapping[Phase, PhaseTraffic]
    messages: tuple[MessageRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A hall at one moment, for status pages; nothing in it is secret.

    Attributes:
        run: the run's name, hex.
        over: why all is over, or None.
        round: of the open session; None if there is none, as for the following four.
        kind: what it sums.
        phase: that is open, or closing.
        phase_age_s: seconds since it was opened.
        cohort: the session's clients; empty if there is none.
        waiting: clients that are waited for.
        present: clients that asked lately.
        answers: accepted so far, in all sessions.
        refused: answers that were refused.
        declined: times that clients declined.
        bytes_in: of answers, accepted or refused.
        bytes_out: of requests and models, as often as they were fetched.
    """

    run: str
    over: str | None
    round: int | None
    kind: str | None
    phase: Phase | None
    phase_age_s: float | None
    cohort: tuple[int, ...]
    waiting: tuple[int, ...]
    present: tuple[int, ...]
    answers: int
    refused: int
    declined: int
    bytes_in: int
    bytes_out: int
