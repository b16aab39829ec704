"""What an audit says: findings, each with its layer, its outcome and whose word it rests on, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Layer(StrEnum):
    """The three ways to look."""

    RECOMPUTATION = "recomputation"
    """What follows from what was written down: hashes, signatures, sums, ε. Proves arithmetic, not facts."""
    CONFORMITY = "conformity"
    """Whether what was done is what was written down: recorded sessions on known inputs, what left the clients."""
    EMPIRICAL = "empirical"
    """What somebody who attacks it finds out: lower bounds of ε."""


class Outcome(StrEnum):
    """How a check ended, from the best to the worst."""

    NOT_CLAIMED = "not-claimed"
    """Nothing of the kind is claimed."""
    PASS = "pass"  # noqa: S105 - no password
    INCONCLUSIVE = "inconclusive"
    """What would decide it is missing; `Finding.missing` says what."""
    FAIL = "fail"


_ORDER = tuple(Outcome)


def weakest(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst outcome; without any, nothing was claimed."""
    return max(outcomes, key=_ORDER.index, default=Outcome.NOT_CLAIMED)


class Word(StrEnum):
    """Whose word a finding rests on: who could have made it come out as it did without it being true."""

    NOBODY = "nobody"
    """Anybody can check it again."""
    COORDINATOR = "coordinator"
    CLIENTS = "clients"
    BOTH = "both"
    """Coordinator and clients would have to lie alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        key: short and stable, such as `budget`: scripts look for it.
        layer: which layer it belongs to.
        outcome: how it ended.
        title: the question, as a short statement that a pass confirms.
        detail: what was seen, in a sentence or two.
        rests_on: whose word it is.
        where: file and line that are wrong; empty unless it is about one.
        missing: what would decide it, where it is inconclusive.
        figures: numbers for machines: JSON values.
    """

    key: str
    layer: Layer
    outcome: Outcome
    title: str
    detail: str
    rests_on: Word = Word.NOBODY
    where: str = ""
    missing: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is claimed.

    Attributes:
        secure: whether secure aggregation is claimed.
        suite: how updates were summed; empty where it is not known.
        server: model of the server: `honest-but-curious` or `active`; empty where it is not known.
        corrupt: fraction of clients that may collude with it; None where it is not known.
        dropout: fraction that may drop out; likewise.
        mode: of privacy, such as `client-distributed`; `none` without a ledger.
        unit: whose presence is hidden: `client` or `example`; empty without differential privacy.
        relation: which data sets are neighbours; likewise.
        against: whom it protects from, in words; likewise.
        epsilon: ε as the closing record tells it; None where it tells none.
        delta: δ; None without differential privacy.
        budget: largest ε; None where none was set.
        population: units that there are, where that is public.
    """

    secure: bool
    suite: str
    server: str = ""
    corrupt: float | None = None
    dropout: float | None = None
    mode: str = "none"
    unit: str = ""
    relation: str = ""
    against: str = ""
    epsilon: float | None = None
    delta: float | None = None
    budget: float | None = None
    population: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAudit:
    """What is known of one round.

    Attributes:
        round: its number.
        charges: how often it was charged; 0 where there is no ledger, or no charge.
        released: whether a sum was opened; None where no evidence was shown.
        cohort: clients invited, by the evidence; None likewise.
        contributors: clients in the sum, by the ledger; None where it was not charged.
        uploads: clients that sent a vector, by the evidence; None where no evidence was shown.
        planned: z that was planned; None where there is none.
        effective: z of what happened, after drop-outs; None likewise.
        epsilon: ε of this and all earlier charges; None likewise.
    """

    round: int
    charges: int = 0
    released: bool | None = None
    cohort: int | None = None
    contributors: int | None = None
    uploads: int | None = None
    planned: float | None = None
    effective: float | None = None
    epsilon: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One empirical result.

    Attributes:
        key: short and stable, such as `one-run`.
        name: for people.
        what: what was attacked, in a short sentence.
        epsilon: what was found: a lower bound that holds with `confidence`, or an estimate.
        is_bound: False for an estimate, which bounds nothing.
        confidence: such as 0.95; None for an estimate.
        claimed: ε that was claimed of the thing attacked; infinite where nothing is promised of it.
        control: the same test where it must find something: without noise. None where there is none.
        detectable: smallest true ε for which this test would have contradicted the claim nine times of ten; None where
            no ε would have been found out, or nobody worked it out.
        canaries: how many.
        guesses: how many of them were guessed at.
        correct: how many guesses were right.
        inside: scores of canaries that were in.
        outside: scores of canaries that were not.
    """

    key: str
    name: str
    what: str
    epsilon: float
    is_bound: bool = True
    confidence: float | None = 0.95
    claimed: float
    control: float | None = None
    detectable: float | None = None
    canaries: int
    guesses: int
    correct: int
    inside: tuple[float, ...] = ()
    outside: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpending:
    """What one client spent by its own record, which it neither amplifies nor shares.

    Attributes:
        client: first digits of its key: receipts name clients by nothing else.
        sessions: that it took part in.
        epsilon: of all of them.
        budget: its own; None where it set none, or only receipts were shown.
    """

    client: str
    sessions: int
    epsilon: float
    budget: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """One hazard of NIST SP 800-226, answered.

    Attributes:
        name: the hazard.
        answer: what is done about it, or what is not known.
        rests_on: whose word that is.
        open: whether the answer leaves something to worry about.
    """

    name: str
    answer: str
    rests_on: Word
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    """Who must be honest for one part of the claim.

    Attributes:
        part: of the claim, such as "noise of the stated size was added".
        honest: who must be honest for it, and to what end.
        shown: what was shown beside their word; empty for nothing.
    """

    part: str
    honest: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A whole audit.

    Attributes:
        source: what was audited, as it was named.
        kind: `run` for a run's directory, `ledger` for a bare ledger.
        layers: which layers were asked for.
        claim: what is claimed.
        findings: by layer, in the order in which they were looked at.
        opinions: ε by accountant; None where one does not apply.
        reported: whose ε is quoted.
        at_delta: δ at which they told it; the claim's unless another was asked for.
        curve: (δ, ε) of all charges.
        rounds: what happened.
        measured: empirical results.
        clients: per-client ε, where it is known.
        unprotected: releases without differential privacy, in words.
        hazards: of NIST SP 800-226.
        assurances: who must be honest for what.
        versions: (name, value) of what this audit was made with, and of what made the run.
        digests: (file, SHA-256) of what was read.
        command: how to run it again.
    """

    source: str
    kind: str
    layers: tuple[Layer, ...]
    claim: Claim
    findings: tuple[Finding, ...]
    opinions: Mapping[str, float | None] = field(default_factory=dict)
    reported: str = ""
    at_delta: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    rounds: tuple[RoundAudit, ...] = ()
    measured: tuple[Measured, ...] = ()
    clients: tuple[ClientSpending, ...] = ()
    unprotected: tuple[str, ...] = ()
    hazards: tuple[Hazard, ...] = ()
    assurances: tuple[Assurance, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    digests: tuple[tuple[str, str], ...] = ()
    command: str = ""

    @property
    def verdict(self) -> Outcome:
        """The weakest of all findings; where nothing was checked, nothing is known."""
        worst = weakest(finding.outcome for finding in self.findings)
        return Outcome.INCONCLUSIVE if worst is Outcome.NOT_CLAIMED else worst

    @property
    def epsilon(self) -> float | None:
        """ε of all that was charged, as recomputed; None without differential privacy."""
        return self.opinions.get(self.reported)

    def of_layer(self, layer: Layer) -> Outcome:
        """The weakest finding of a layer."""
        return weakest(finding.outcome for finding in self.findings if finding.layer is layer)

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """The findings that keep it from a pass, the worst first."""
        return tuple(
            sorted(
                (one for one in self.findings if one.outcome in {Outcome.FAIL, Outcome.INCONCLUSIVE}),
                key=lambda one: -_ORDER.index(one.outcome),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The same facts for machines; an infinite number is the word "infinity"."""
        told = {name: _told(value) for name, value in asdict(self).items()}
        return {
            "verdict": self.verdict.value,
            "reasons": [{"key": one.key, "outcome": one.outcome.value, "detail": one.detail} for one in self.reasons],
            "outcomes": {layer.value: self.of_layer(layer).value for layer in self.layers},
            "epsilon": _told(self.epsilon),
            "delta": _told(self.at_delta),
            **told,
        }


def _told(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "infinity" if value > 0 else str(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _told(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_told(part) for part in value]
    return value
