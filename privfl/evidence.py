"""What left each client and each member of a committee, as digests, sizes and phases; an audit reads it.

A journal: signed lines, each bound to the one before, so that what was written down stays as it was. It tells that a
message of such a size left in such a phase, never what was in it; the digest lets whoever kept the message show that it
is the one. It proves nothing about messages that the writer did not see, or left out from the first.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from privfl.errors import DecodeError, LedgerError
from privfl.journal.chain import Chain, Head, Kind
from privfl.journal.reading import read_chain
from privfl.journal.values import facts_of, hexadecimal, is_whole, require_keys
from privfl.journal.writer import Journal
from privfl.params import SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.wire import PartyId, Role

VERSION: Final = 1
_ROLES: Final = frozenset(role.name.lower() for role in (Role.CLIENT, Role.COMMITTEE))
_MESSAGE_KEYS: Final = {"role", "client", "phase", "size_bytes", "sha256"}
_SESSION_KEYS: Final = {
    "round", "suite", "params", "params_digest", "cohort_size", "contributors", "released", "messages", "probe",
    "evaluation",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One message that left a client, or a member of a committee.

    Attributes:
        role: `client` or `committee`.
        client: number of the sender within its role.
        phase: phase in which it left.
        size_bytes: its length on the wire.
        sha256: digest of its bytes, hex.
    """

    client: int
    phase: str
    size_bytes: int
    sha256: str
    role: str = "client"

    @classmethod
    def of(cls, sender: PartyId, phase: str, message: bytes) -> MessageRecord:
        """Record a message."""
        return cls(
            role=sender.role.name.lower(),
            client=sender.number,
            phase=phase,
            size_bytes=len(message),
            sha256=hashlib.sha256(message).hexdigest(),
        )

    @classmethod
    def from_body(cls, body: Any, where: str) -> MessageRecord:
        """Read it back.

        Raises:
            LedgerError: it is no record of a message.
        """
        require_keys(body, _MESSAGE_KEYS, where)
        for key in ("client", "size_bytes"):
            _require_count(body, key, where)
        if not all(isinstance(body[key], str) for key in ("phase", "role")) or body["role"] not in _ROLES:
            raise LedgerError(f"{where}: a message in phase {body['phase']!r} by a {body['role']!r}")
        hexadecimal(body["sha256"], DIGEST_BYTES, where)
        return cls(**body)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session of a run.

    Attributes:
        round: number of the round, from 1; 0 for sessions on known inputs.
        suite: name of the suite.
        params: the session's parameters, as all parties agreed on them; None if no session could be held.
        cohort_size: clients invited.
        contributors: clients in the sum; 0 if nothing was released.
        released: whether a sum was released.
        messages: what left the clients, in order.
        probe: of a session on known inputs: what they were, and where what came out is kept; None for all others.
        evaluation: whether it summed what clients found when they evaluated the round's model, rather than updates.
    """

    round: int
    suite: str
    params: SessionParams | None
    cohort_size: int
    contributors: int
    released: bool
    messages: tuple[MessageRecord, ...]
    probe: Mapping[str, Any] | None = None
    evaluation: bool = False

    @property
    def params_digest(self) -> str:
        """Digest of the parameters, hex; empty if there are none."""
        return self.params.digest.hex() if self.params else ""

    def to_body(self) -> dict[str, Any]:
        """Return the JSON object that a session's line holds."""
        return {
            "round": self.round,
            "suite": self.suite,
            "params": base64.b64encode(self.params.to_bytes()).decode("ascii") if self.params else "",
            "params_digest": self.params_digest,
            "cohort_size": self.cohort_size,
            "contributors": self.contributors,
            "released": self.released,
            "messages": [asdict(message) for message in self.messages],
            "probe": None if self.probe is None else facts_of(self.probe),
            "evaluation": self.evaluation,
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any], where: str) -> SessionRecord:
        """Read it back.

        Raises:
            LedgerError: it is no record of a session, or the parameters are not those that their digest says.
        """
        body = {"evaluation": False, **body}  # which files of privfl 0.1 and before do not say: they had none
        require_keys(body, _SESSION_KEYS, where)
        for key in ("round", "cohort_size", "contributors"):
            _require_count(body, key, where)
        for key, kind in (("suite", str), ("released", bool), ("evaluation", bool)):
            if not isinstance(body[key], kind):
                raise LedgerError(f"{where}: {key} {body[key]!r}")
        if not isinstance(body["messages"], list):
            raise LedgerError(f"{where}: messages that are no list")
        params = _params(body["params"], where)
        if body["params_digest"] != (params.digest.hex() if params else ""):
            raise LedgerError(f"{where}: the session's parameters are not those of their digest")
        return cls(
            round=body["round"],
            suite=body["suite"],
            params=params,
            cohort_size=body["cohort_size"],
            contributors=body["contributors"],
            released=body["released"],
            messages=tuple(MessageRecord.from_body(message, where) for message in body["messages"]),
            probe=None if body["probe"] is None else facts_of(body["probe"]),
            evaluation=body["evaluation"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a verified file of evidence holds.

    Attributes:
        identifier: 16 random bytes, hex, drawn when it was opened.
        signer: public key of its writer, 32 bytes.
        facts: what was known at the start: JSON values.
        sessions: in order.
        places: line of every session, from 1.
        before: SHA-256 of the line before every session, hex: what seeds of known inputs follow from.
        trainings: records of training on known inputs: JSON values; each with the SHA-256 of the line before it.
        begun: digests of the parameters of sessions that were begun, hex, where that was written down before anybody
            uploaded: a crash may have kept it from being said how they ended.
        recovered: what was cut off after crashes: bytes and SHA-256, hex.
        closed: facts of the closing record, or None: the run has not ended, or lines are missing at the end.
        head: the last line.
        lines: how many there are.
    """

    identifier: str
    signer: bytes
    facts: Mapping[str, Any]
    sessions: tuple[SessionRecord, ...]
    places: tuple[int, ...]
    before: tuple[str, ...]
    trainings: tuple[tuple[Mapping[str, Any], str], ...]
    begun: tuple[str, ...]
    recovered: tuple[tuple[int, str], ...]
    closed: Mapping[str, Any] | None
    head: Head
    lines: int

    @property
    def rounds(self) -> tuple[SessionRecord, ...]:
        """The sessions that summed updates: all but evaluations and those on known inputs."""
        return tuple(session for session in self.sessions if session.probe is None and not session.evaluation)

    @property
    def evaluations(self) -> tuple[SessionRecord, ...]:
        """The sessions in which clients evaluated a model."""
        return tuple(session for session in self.sessions if session.evaluation)

    @property
    def probes(self) -> tuple[SessionRecord, ...]:
        """The sessions on known inputs."""
        return tuple(session for session in self.sessions if session.probe is not None)


class _EvidenceChain(Chain):
    LABEL: ClassVar[Label] = Label.EVIDENCE
    WHAT: ClassVar[str] = "the evidence"
    IDENTIFIER: ClassVar[str] = "evidence"

    def __init__(self) -> None:
        super().__init__()
        self.facts: Mapping[str, Any] = {}
        self.sessions: list[SessionRecord] = []
        self.places: list[int] = []
        self.before: list[str] = []
        self.trainings: list[tuple[Mapping[str, Any], str]] = []
        self.begun: list[str] = []

    def contents(self) -> Evidence:
        return Evidence(
            identifier=self.identifier,
            signer=self.signer,
            facts=self.facts,
            sessions=tuple(self.sessions),
            places=tuple(self.places),
            before=tuple(self.before),
            trainings=tuple(self.trainings),
            begun=tuple(self.begun),
            recovered=tuple(self.recovered),
            closed=self.closed,
            head=self.head,
            lines=len(self.hashes),
        )

    def forget(self) -> None:
        for kept in (self.sessions, self.places, self.before, self.trainings, self.begun):
            kept.clear()

    def opened(self, body: Mapping[str, Any], where: str) -> None:
        require_keys(body, {"version", "facts"}, where)
        if not is_whole(body["version"]) or body["version"] != VERSION:
            raise LedgerError(f"{where}: version {body['version']!r} of the format; this privfl reads {VERSION}")
        self.facts = facts_of(body["facts"])

    def recorded(self, kind: object, body: Mapping[str, Any], where: str) -> bool:
        if kind == Kind.SESSION:
            self.sessions.append(SessionRecord.from_body(body, where))
            self.places.append(len(self.hashes) + 1)
            self.before.append(self.hashes[-1])
        elif kind == Kind.TRAINING:
            require_keys(body, {"facts"}, where)
            self.trainings.append((facts_of(body["facts"]), self.hashes[-1]))
        elif kind == Kind.BEGUN:
            require_keys(body, {"round", "params_digest"}, where)
            _require_count(body, "round", where)
            self.begun.append(hexadecimal(body["params_digest"], DIGEST_BYTES, where))
        else:
            return False
        return True


class EvidenceLog:
    """A file of evidence that this process writes; made by `create` or `resume`.

    Attributes:
        found: what was in it when it was opened; what is written since is on disk, and not kept in memory.

    Guarantees:
        1. When `append` returns, the line is on disk, signed, and bound to all lines before it.
    """

    def __init__(self, journal: Journal[_EvidenceChain]) -> None:
        self._journal = journal
        self.found = journal.chain.contents()
        journal.chain.forget()

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any], identity: Identity) -> Self:
        """Begin a file.

        Args:
            path: the file; it must not exist, its directory must.
            facts: what is known at the start: JSON values, nothing secret.
            identity: the key that signs every line.

        Raises:
            LedgerError: the file exists, or cannot be made.
        """
        body = {"version": VERSION, "facts": facts_of(facts)}
        return cls(Journal.create(path, _EvidenceChain(), body, identity))

    @classmethod
    def resume(cls, path: Path, identity: Identity) -> Self:
        """Go on with a file after a crash or a stop.

        Raises:
            LedgerError: no such file; another writer has it; it is damaged, or closed, or another key opened it.
        """
        return cls(Journal.resume(path, _EvidenceChain(), identity))

    @property
    def head(self) -> Head:
        """The last line."""
        return self._journal.head

    def append(self, record: SessionRecord) -> None:
        """Write one session.

        Raises:
            LedgerError: it may not be on disk; nothing more is written.
        """
        self._write(Kind.SESSION, record.to_body())

    def begin(self, number: int, params: SessionParams) -> None:
        """Write down that a session is about to be held, before anybody uploads.

        Args:
            number: of the round.
            params: of the session.

        Raises:
            LedgerError: it may not be on disk; nothing more is written.
        """
        self._write(Kind.BEGUN, {"round": number, "params_digest": params.digest.hex()})

    def append_training(self, facts: Mapping[str, Any]) -> None:
        """Write down a training on known inputs.

        Raises:
            LedgerError: it may not be on disk; nothing more is written.
        """
        self._write(Kind.TRAINING, {"facts": facts_of(facts)})

    def close(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write the closing record, which makes lines that go missing later show, and let the file go.

        Raises:
            LedgerError: the record may not be on disk.
        """
        self._write(Kind.CLOSE, {"facts": facts_of(facts or {})})
        self.unlock()

    def unlock(self) -> None:
        """Let the file go without closing it: it can be resumed."""
        self._journal.unlock()

    def _write(self, kind: Kind, body: Mapping[str, Any]) -> None:
        with self._journal.one_at_a_time:
            self._journal.require_usable()
            self._journal.append(kind, body)
            self._journal.chain.forget()


def read_evidence(path: Path, signer: bytes | None = None) -> Evidence:
    """Verify a file of evidence and return what it holds; nothing is repaired, and no lock is needed.

    Args:
        path: the file.
        signer: public key of the one who should have written it, 32 bytes. Without it the file is only found to be
            consistent with the key that it names itself.

    Raises:
        LedgerError: no such file; damaged, torn in its last line, or written by somebody else. It names the line.
    """
    chain = _EvidenceChain()
    read_chain(path, chain, signer)
    return chain.contents()


def _params(text: Any, where: str) -> SessionParams | None:
    if text == "":
        return None
    try:
        raw = base64.b64decode(text, validate=True)
        params = SessionParams.from_bytes(raw)
    except (TypeError, ValueError, DecodeError) as error:
        raise LedgerError(f"{where}: no session parameters: {error}") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise LedgerError(f"{where}: session parameters that are not canonically encoded")
    return params


def _require_count(body: Mapping[str, Any], key: str, where: str) -> None:
    if not is_whole(body[key]) or body[key] < 0:
        raise LedgerError(f"{where}: {key} {body[key]!r}")
