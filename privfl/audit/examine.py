"""One audit, from a path to a verdict."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from privfl import __version__
from privfl.audit.artefacts import Artefacts, read_artefacts
from privfl.audit.attacks import attack
from privfl.audit.checks import number
from privfl.audit.conformity import conform
from privfl.audit.coverage import releases_without_noise, uploaders_of
from privfl.audit.findings import Audit, Claim, Finding, Layer, Measured, RoundAudit
from privfl.audit.hazards import assurances, hazards
from privfl.audit.recompute import Recomputed, recompute
from privfl.audit.subject import Subject
from privfl.audit.terms import placed
from privfl.dp.accountants import epsilon_curve
from privfl.dp.chain import Contents
from privfl.dp.events import PoissonSampled
from privfl.dp.plan import flat
from privfl.dp.records import Charge, events_of
from privfl.errors import UnsupportedEvent
from privfl.learning.guarantee import noise_multiplier_of
from privfl.params import SessionParams
from privfl.suites import SUITE_NAMES, suite

_CURVE: Final = tuple(10.0**-power for power in range(2, 10))
"""Down to where convolutions of losses resolve it."""
_MOST_PREFIXES: Final = 25
_FEW_DISTINCT: Final = 4
_PACKAGES: Final = ("numpy", "dp-accounting", "scipy", "cryptography")


def examine(
    source: Path,
    *,
    signer: bytes | None = None,
    delta: float | None = None,
    layers: Sequence[Layer] = tuple(Layer),
    command: str = "",
) -> Audit:
    """Audit a run's directory or a bare ledger.

    Nothing is written, nothing repaired, no network is asked, and the code that a job names is not run. Whatever the
    files hold, the answer is an audit.

    Args:
        source: the directory of a run, or a ledger.
        signer: public key that the coordinator is known by, 32 bytes.
        delta: δ to tell ε at; the ledger's unless given.
        layers: which to go through; the verdict is over these.
        command: how to run it again, for the report.

    Raises:
        ConfigurationError: there is nothing to audit at that path, or δ is no probability.
        MissingExtra: dp-accounting is not installed, and there is a ledger.

    Guarantees:
        1. A ledger or evidence of which a byte, the order, or the end was changed fails.
        2. What is claimed and not shown is inconclusive, and says what is missing.
    """
    artefacts = read_artefacts(source, signer)
    recomputed = recompute(artefacts, delta)
    findings: list[Finding] = list(recomputed.findings) if Layer.RECOMPUTATION in layers else []
    measured: tuple[Measured, ...] = ()
    subject = Subject(artefacts)
    if Layer.CONFORMITY in layers:
        findings += conform(subject)
    if Layer.EMPIRICAL in layers:
        attacked, measured = attack(subject)
        findings += attacked
    claim = _claim(artefacts)
    contents, opinions = artefacts.ledger.value, recomputed.opinions
    return Audit(
        source=str(source),
        kind="ledger" if artefacts.bare else "run",
        layers=tuple(layers),
        claim=claim,
        findings=tuple(findings),
        opinions={} if opinions is None else dict(opinions.by),
        reported="" if opinions is None else opinions.reported,
        at_delta=claim.delta if delta is None else delta,
        curve=_curve(contents, recomputed),
        rounds=tuple(_rounds(artefacts, claim.delta)),
        measured=measured,
        clients=recomputed.clients,
        unprotected=() if contents is None else releases_without_noise(contents),
        hazards=hazards(artefacts, claim, None if opinions is None else opinions.epsilon),
        assurances=assurances(artefacts, claim, findings),
        versions=tuple(_versions(artefacts)),
        digests=artefacts.digests,
        command=command,
    )


def _claim(artefacts: Artefacts) -> Claim:
    contents, evidence, job = artefacts.ledger.value, artefacts.evidence.value, artefacts.job.value
    facts = {} if contents is None else contents.opening.facts
    name = str(facts.get("suite", "" if evidence is None else evidence.facts.get("suite", "")))
    told = evidence is not None and evidence.facts.get("secure") is True
    secure = told or (name in SUITE_NAMES and suite(name).protects)
    threat = _threat(artefacts)
    if contents is None:
        return Claim(
            secure=secure,
            suite=name,
            server=threat[0],
            corrupt=threat[1],
            dropout=threat[2],
            mode="none" if job is None else job.privacy.mode.value,
        )
    opening, closed = contents.opening, contents.closed or {}
    return Claim(
        secure=secure,
        suite=name,
        server=threat[0],
        corrupt=threat[1],
        dropout=threat[2],
        mode=opening.mode.value,
        unit=opening.unit.value,
        relation=opening.budget.relation.value,
        against=str(opening.facts.get("against", "")),
        epsilon=number(closed, "epsilon"),
        delta=opening.budget.delta,
        budget=opening.budget.epsilon,
        population=opening.population,
    )


def _threat(artefacts: Artefacts) -> tuple[str, float | None, float | None]:
    """Model of the server, fraction of corrupt clients and of drop-outs, as the sessions were held for."""
    evidence, job = artefacts.evidence.value, artefacts.job.value
    held: SessionParams | None = None
    if evidence is not None:
        held = next((session.params for session in evidence.sessions if session.params is not None), None)
    threat = held.threat if held is not None else job.threat if job is not None else None
    return ("", None, None) if threat is None else (threat.server.value, threat.corrupt, threat.dropout)


def _curve(contents: Contents | None, recomputed: Recomputed) -> tuple[tuple[float, float], ...]:
    if contents is None or recomputed.opinions is None or not contents.charges:
        return ()
    try:
        told = epsilon_curve(contents.spent, _CURVE, contents.opening.budget.relation)
    except UnsupportedEvent:
        return ()
    return tuple((at, value) for at, value in zip(_CURVE, told, strict=True) if math.isfinite(value))


def _rounds(artefacts: Artefacts, delta: float | None) -> Iterator[RoundAudit]:
    """What is known of each round, by ledger and evidence."""
    contents, evidence = artefacts.ledger.value, artefacts.evidence.value
    charges: dict[int, list[Charge]] = {}
    for charge, _ in placed(artefacts, contents) if contents is not None else ():
        charges.setdefault(charge.round, []).append(charge)
    sessions = {} if evidence is None else {session.round: session for session in evidence.rounds}
    spent = {} if contents is None or delta is None else _prefixes(contents, delta)
    released = Counter(
        session.round for session in (evidence.rounds if evidence is not None else ()) if session.released
    )
    for place in sorted(charges.keys() | sessions.keys()):
        last = charges[place][-1] if place in charges else None
        facts = {} if last is None else last.facts
        session = sessions.get(place)
        contributors = facts.get("contributors")
        yield RoundAudit(
            round=place,
            charges=len(charges.get(place, ())),
            released=None if evidence is None else released[place] > 0,
            cohort=None if session is None else session.cohort_size,
            contributors=contributors if isinstance(contributors, int) else None,
            uploads=None if session is None else len(uploaders_of(session)),
            planned=number(facts, "noise_multiplier_planned"),
            effective=None if last is None else noise_multiplier_of(last.events[0].event),
            epsilon=spent.get(place),
        )


def _prefixes(contents: Contents, delta: float) -> dict[int, float]:
    """ε after some of the rounds, evenly spread: of a long ledger not after each, and of one whose rounds all differ
    and were sampled, which takes seconds each time, after the last alone.
    """
    charges = contents.charges
    distinct = {
        part.event for charge in charges for part in flat(charge.events) if isinstance(part.event, PoissonSampled)
    }
    most = _MOST_PREFIXES if not distinct else 8 if len(distinct) <= _FEW_DISTINCT else 1
    places = sorted({round((index + 1) * len(charges) / most) for index in range(most)} - {0})
    found = {}
    for place in places if len(charges) > most else range(1, len(charges) + 1):
        events = contents.opening.budget.accounted(events_of(charges[:place]))
        try:
            (told,) = epsilon_curve(events, (delta,), contents.opening.budget.relation)
        except UnsupportedEvent:
            return {}
        found[charges[place - 1].round] = told
    return found


def _versions(artefacts: Artefacts) -> Iterator[tuple[str, str]]:
    contents, evidence = artefacts.ledger.value, artefacts.evidence.value
    made_by = [
        part.get("privfl") for part in (contents and contents.opening.facts, evidence and evidence.facts) if part
    ]
    if made_by and made_by[0]:
        yield "the run was made by privfl", str(made_by[0])
    yield "audited by privfl", __version__
    yield "Python", platform.python_version()
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
