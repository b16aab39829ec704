"""What a run asks of its hall, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from privfl.errors import ConfigurationError
from privfl.evidence import MessageRecord
from privfl.integrations.consortium.messages import MOST_KIND_LENGTH, MOST_MODEL_BYTES, MOST_TERMS_BYTES
from privfl.params import SessionParams
from privfl.session import Aggregate, Phase, ServerSession


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
    """

    round: int
    kind: str
    params: SessionParams
    server: ServerSession = field(repr=False)
    terms: bytes = field(repr=False)
    model: bytes = field(repr=False)
    phase_timeout_s: float
    upload_timeout_s: float

    def __post_init__(self) -> None:
        if type(self.round) is not int or not 0 <= self.round < 2**31:
            raise ConfigurationError(f"round is {self.round!r}: a whole number from 0 to 2^31 − 1 works")
        if not self.kind or len(self.kind) > MOST_KIND_LENGTH:
            raise ConfigurationError(f"kind is {self.kind!r}: a word of at most {MOST_KIND_LENGTH} letters works")
        for key, value, most in (("terms", self.terms, MOST_TERMS_BYTES), ("model", self.model, MOST_MODEL_BYTES)):
            raw: object = value
            if not isinstance(raw, bytes) or len(value) > most:
                raise ConfigurationError(f"{key} of an order is too long, or no bytes: up to {most} bytes work")
        for key in ("phase_timeout_s", "upload_timeout_s"):
            seconds = getattr(self, key)
            if not math.isfinite(seconds) or seconds <= 0:
                raise ConfigurationError(f"{key} is {seconds!r}: a number of seconds above 0 works, such as 60")


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
        aggregate: the sum, or None if nothing was released.
        contributors: who is in it, ascending; nobody if nothing was released.
        aborted: why nothing was, or None.
        failures: clients whose answer was refused, or that declined, with one line that says why.
        phases: cost by phase.
        messages: one for every answer that was accepted, in order.
    """

    aggregate: Aggregate | None
    contributors: tuple[int, ...]
    aborted: str | None
    failures: Mapping[int, str]
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
