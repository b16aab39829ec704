"""Is secure aggregation really on? What left each client, beside what may leave one in the session that was agreed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, brief, require_believable
from privfl.audit.findings import Word
from privfl.audit.levels import DOUBT_LEVEL, FAIL_LEVEL, together
from privfl.audit.probes import Probes, Recorded
from privfl.audit.uniformity import examine_words
from privfl.ckks.planner import modulus_of
from privfl.dp.records import Opening
from privfl.errors import ConfigurationError, DecodeError, LedgerError, MissingExtra
from privfl.evidence import Evidence, MessageRecord, SessionRecord
from privfl.learning.books import JOB_DIGEST, job_digest
from privfl.learning.rounds import MODEL
from privfl.lockstep.sizes import SessionSizes
from privfl.params import CkksSetting
from privfl.session import Phase
from privfl.suites import suite
from privfl.wire import PartyId, Role
from privfl.wire.envelope import read_frame

FEWEST_WORDS = 16
"""Of an upload: small plain numbers among so few are found out already."""


def intact(artefacts: Artefacts) -> Seen:
    """Hashes, signatures, closing record, and that the ledger knows this evidence."""
    read, evidence = artefacts.evidence, artefacts.evidence.value
    require_believable(read)
    if evidence is None:
        raise Undecided("What left the clients was not shown.", missing=read.name)
    if artefacts.ledger.missing:
        _of_its_job(artefacts, evidence)
    elif artefacts.ledger.value is not None:
        _of_its_ledger(artefacts, evidence, artefacts.ledger.value.opening)
    seen = f"{evidence.lines} lines on {_counted(len(evidence.sessions), 'session')}; every hash and signature holds."
    ledger = artefacts.ledger.value
    if ledger is not None and ledger.closed is not None and "evidence" in ledger.closed:
        head = ledger.closed["evidence"]
        if head != evidence.head._asdict():
            raise Wrong(
                "The ledger's closing record knows other evidence: lines are missing at the end, or it was replaced.",
                where=f"{read.name}, line {evidence.lines}",
            )
    if evidence.closed is None:
        raise Undecided(
            f"{seen} There is no closing record.",
            where=read.name,
            missing="the closing record: the run has not ended, or lines are missing at the end",
        )
    return Seen(detail=seen, figures={"lines": evidence.lines, "head": evidence.head.sha256})


def _of_its_ledger(artefacts: Artefacts, evidence: Evidence, opening: Opening) -> None:
    """Stop if evidence and ledger began with different words about the same run."""
    due = {name: opening.facts.get(name) for name in (JOB_DIGEST, "suite", "parameters", "rounds")}
    for name, value in {**due, "mode": opening.mode.value}.items():
        if name in evidence.facts and evidence.facts[name] != value:
            raise Wrong(
                f"The evidence began with {name} = {evidence.facts[name]!r}, and the ledger with {value!r}.",
                where=f"{artefacts.evidence.name}, line 1",
            )


def _of_its_job(artefacts: Artefacts, evidence: Evidence) -> None:
    """Stop if evidence is of another job, or lacks a round: where there is no ledger, nobody else looks."""
    require_believable(artefacts.job)
    job, named = artefacts.job.value, evidence.facts.get(JOB_DIGEST)
    if job is not None and named is not None and job_digest(job) != named:
        raise Wrong(f"{artefacts.job.name} is not the job that the evidence was begun for.", where=artefacts.job.name)
    rounds = {session.round for session in evidence.rounds}
    if lost := sorted(set(range(1, len(rounds) + 1)) - rounds):
        raise Wrong(f"Rounds {lost} are not shown, and later ones are.", where=artefacts.evidence.name)


def secure(artefacts: Artefacts) -> Seen:
    """No client sent anything but what its session's protocol has it send."""
    evidence = _required(artefacts)
    messages, nonces, seen = 0, Counter[bytes](), set[str]()
    for session, where in _placed(evidence, artefacts.evidence.name):
        _suites_agree(artefacts, evidence, session, where)
        if session.params is None:
            if session.messages or session.released:
                raise Wrong(f"Messages left clients in round {session.round}, and no session was agreed.", where=where)
            continue
        nonces[session.params.nonce] += 1
        if nonces[session.params.nonce] > 1:
            raise Wrong(f"Round {session.round} was held under a nonce that was used before.", where=where)
        _as_agreed(session, where)
        messages += len(session.messages)
        digests = {message.sha256 for message in session.messages}
        if digests & seen:
            raise Wrong(f"A message of round {session.round} is one of another session's: it was copied.", where=where)
        seen |= digests
    name = str(evidence.facts.get("suite"))
    chosen = suite(name)
    if not chosen.protects:
        raise NotClaimed(
            f"SECURE AGGREGATION IS OFF: suite {name}. The server read every client's update, and that is what the run "
            f"says of itself."
        )
    return Seen(
        detail=f"{_counted(len(evidence.sessions), 'session')} of {name}{_of_them(evidence)}, {messages} messages: "
        f"each in a phase that the protocol has, each as long as the agreed parameters make it, none beside them.",
        rests_on=Word.COORDINATOR,
        figures={"sessions": len(evidence.sessions), "messages": messages},
    )


def model(artefacts: Artefacts) -> Seen:
    """The model is the one that the run ended with."""
    evidence = artefacts.evidence.value
    named = None if evidence is None or evidence.closed is None else evidence.closed.get("model_sha256")
    if named is None:
        raise NotClaimed("No model is named by a closing record.")
    try:
        content = artefacts.bytes_of(MODEL)
    except LedgerError:
        raise NotClaimed("The model was not shown.") from None
    if hashlib.sha256(content).hexdigest() != named:
        raise Wrong(f"{MODEL} is not the model that the run ended with: it was changed.", where=MODEL)
    return Seen(
        detail=f"{MODEL} has the digest that the evidence ends with, {brief(str(named))}", rests_on=Word.COORDINATOR
    )


def uniform(artefacts: Artefacts, probes: Probes, submitted: Callable[[Recorded], npt.NDArray[np.int64]]) -> Seen:
    """What left a client, where everybody knows what was in it, looks like noise.

    Args:
        artefacts: what there is.
        probes: recorded sessions on known inputs.
        submitted: what the client of the recorded upload submitted, but for its own noise.
    """
    evidence = _required(artefacts)
    if evidence.facts.get("secure") is not True:
        raise NotClaimed("Uploads are not hidden, and nobody says that they are.")
    p_values, words = [], 0
    for one in probes.required():
        _is_the_one(one)
        received, modulus = _words(one)
        found = examine_words(received, modulus, known=submitted(one))
        if found.words >= FEWEST_WORDS:
            words += found.words
            p_values.append(found.p_value)
    if not words:
        raise Undecided(
            f"Uploads of fewer than {FEWEST_WORDS} words tell nothing.",
            missing="sessions on known inputs with a longer vector",
        )
    p_value = together(p_values)
    figures = {"p_value": p_value, "words": words, "uploads": len(p_values)}
    told = (
        f"{words} words of {_counted(len(p_values), 'recorded upload')}: the least likely thing about them has p = "
        f"{p_value:.2g}."
    )
    if p_value < FAIL_LEVEL:
        raise Wrong(f"{told} What is masked is uniform; these words are not.", figures=figures)
    if p_value < DOUBT_LEVEL:
        raise Undecided(told, figures=figures, missing="more recorded sessions: once in a thousand this is chance")
    return Seen(
        detail=f"{told} Nothing in them resembles what was submitted.", rests_on=Word.COORDINATOR, figures=figures
    )


def _is_the_one(one: Recorded) -> None:
    """Stop if an upload is not the one that the evidence names, or is not one frame as the protocol has it."""
    phases = {Phase.MASKED_INPUT.value, Phase.UPLOAD.value}
    named = [
        message.sha256
        for message in one.session.messages
        if message.client == one.uploader and message.phase in phases and message.role == "client"
    ]
    if named != [hashlib.sha256(one.upload).hexdigest()]:
        raise Wrong(f"The recorded upload of client {one.uploader} is not the one that left it.", where=one.where)
    try:
        frame = read_frame(one.upload)
    except DecodeError as error:
        raise Wrong(f"The recorded upload of client {one.uploader} is no message: {error}.", where=one.where) from None
    if frame.sender != PartyId(Role.CLIENT, one.uploader) or frame.suite.name.lower() != one.params.suite:
        raise Wrong(
            f"The recorded upload of client {one.uploader} is by {frame.sender}, of suite {frame.suite.name.lower()}.",
            where=one.where,
        )


def _words(one: Recorded) -> tuple[npt.NDArray[Any], int]:
    params = one.params
    length = params.vector.length
    words = params.ring.received(memoryview(one.upload)[-params.ring.vector_bytes(length) :], length)
    if isinstance(params.setting, CkksSetting):
        return words, modulus_of(params.setting.epoch).primes[1]
    return words, 1 << params.ring.bits


def _suites_agree(artefacts: Artefacts, evidence: Evidence, session: SessionRecord, where: str) -> None:
    claimed = str(evidence.facts.get("suite"))
    real = session.suite if session.params is None else session.params.suite
    said = {"the session's parameters": real, "the session": session.suite}
    if artefacts.job.value is not None:
        said["the job"] = artefacts.job.value.suite
    if artefacts.ledger.value is not None:
        said["the ledger"] = str(artefacts.ledger.value.opening.facts.get("suite", claimed))
    for name, value in said.items():
        if value != claimed:
            raise Wrong(f"The run claims suite {claimed!r}, and {name} says {value!r}.", where=where)
    if evidence.facts.get("secure") is not suite(claimed).protects:
        raise Wrong(f"The run claims secure = {evidence.facts.get('secure')!r} under suite {claimed!r}.", where=where)
    if session.params is not None and artefacts.job.value is not None:
        agreed, asked = session.params.threat, artefacts.job.value.threat
        if agreed != asked:
            both = {key.name: (getattr(asked, key.name), getattr(agreed, key.name)) for key in fields(asked)}
            differing = [
                f"threat.{key} is {job} in the job and {held} in the session"
                for key, (job, held) in both.items()
                if job != held
            ]
            raise Wrong(f"{'; '.join(differing)}.", where=where)


def _as_agreed(session: SessionRecord, where: str) -> None:
    params = session.params
    assert params is not None  # noqa: S101 - the caller saw to it; for the type checker
    if session.cohort_size != len(params.cohort):
        raise Wrong(f"A cohort of {session.cohort_size}, and parameters for {len(params.cohort)}.", where=where)
    if session.released and session.contributors < params.minimum_contributors:
        raise Wrong(
            f"A sum of {session.contributors} clients was opened, and {params.minimum_contributors} were agreed upon.",
            where=where,
        )
    try:
        sizes = suite(params.suite).message_sizes(params)
    except MissingExtra:
        raise
    except ConfigurationError as error:
        raise Wrong(f"No session can be held under these parameters: {error}.", where=where) from None
    sent: dict[tuple[Role, Phase, int], str] = {}
    for message in session.messages:
        role, phase = _place(message, sizes, params.suite, where)
        if not sizes[role, phase].admits(message.client, message.size_bytes):
            due = sorted(sizes[role, phase].of(message.client))
            say = f"{due[0]} to {due[-1]}" if len(due) > 1 else str(due[0]) if due else "nothing"
            raise Wrong(
                f"{message.role.capitalize()} {message.client} sent {message.size_bytes} bytes in {phase}, where {say} "
                f"are due: something left it that the protocol does not have it send.",
                where=where,
            )
        if sent.setdefault((role, phase, message.client), message.sha256) != message.sha256:
            raise Wrong(
                f"{message.role.capitalize()} {message.client} sent two different messages in {phase}.", where=where
            )
    if session.released:
        _enough(sizes, sent, where)


def _place(message: MessageRecord, sizes: SessionSizes, name: str, where: str) -> tuple[Role, Phase]:
    try:
        place = Role[message.role.upper()], Phase(message.phase)
    except (KeyError, ValueError):
        place = None
    if place is None or place not in sizes:
        raise Wrong(
            f"{message.role.capitalize()} {message.client} sent {message.size_bytes} bytes as {message.phase!r}, which "
            f"{name} does not have: an update, a weight or a metric may have left it in clear.",
            where=where,
        )
    return place


def _enough(sizes: SessionSizes, sent: dict[tuple[Role, Phase, int], str], where: str) -> None:
    """A sum cannot be opened with fewer messages than the protocol needs."""
    for (role, phase), due in sizes.items():
        senders = sum(key[:2] == (role, phase) for key in sent)
        if senders < due.fewest_senders or senders > due.most_senders:
            raise Wrong(
                f"A sum was opened after {senders} messages in {phase}; {due.fewest_senders} to {due.most_senders} are "
                f"due: messages were left out, or it was opened in another way.",
                where=where,
            )


def _placed(evidence: Evidence, name: str) -> Iterator[tuple[SessionRecord, str]]:
    for session, line in zip(evidence.sessions, evidence.places, strict=True):
        yield session, f"{name}, line {line}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _of_them(evidence: Evidence) -> str:
    return f", {len(evidence.probes)} of them on known inputs" if evidence.probes else ""


def _required(artefacts: Artefacts) -> Evidence:
    evidence = artefacts.evidence.value
    if evidence is None:
        raise Undecided("What left the clients was not shown.", missing=artefacts.evidence.name)
    return evidence
