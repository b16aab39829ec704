"""What a run writes down for an audit: what left its clients, and what became of inputs that everybody knows."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from privfl.encoding.layout import Layout
from privfl.errors import LedgerError
from privfl.evidence import Evidence, EvidenceLog, SessionRecord, read_evidence
from privfl.guard import make_folder
from privfl.journal.chain import Head
from privfl.learning.averaging import Averaging
from privfl.learning.checkpoint import write_whole
from privfl.learning.contributing import rounding_seed
from privfl.learning.guarantee import Guarantee, one_round
from privfl.learning.job import Job
from privfl.learning.known_inputs import (
    INPUTS_VERSION,
    MOST_CANARIES,
    SEED_BYTES,
    KnownInputs,
    carriers_of,
    layout_to_json,
)
from privfl.learning.private import PrivateAveraging
from privfl.learning.private_trainer import PrivateTrainer
from privfl.learning.sessions import Held, RoundInputs, Sessions
from privfl.learning.strategy import Weights
from privfl.learning.training_probe import canaries_for, probe_training
from privfl.params import SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.suites import suite

EVIDENCE: Final = "evidence.jsonl"
PROBES: Final = "probes"
MOST_CLIENTS: Final = MOST_CANARIES
"""Of a session on known inputs; more only where a session needs more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The run that a witness looks at.

    Attributes:
        job: the run's.
        layout: of an update.
        guarantee: what the run promises; None without differential privacy.
        out: directory of the run.
    """

    job: Job
    layout: Layout
    guarantee: Guarantee | None
    out: Path


class Witness:
    """Writes the evidence of one run; made by `begin` or `resume`.

    Guarantees:
        1. Nothing that a client's data went into is in a session on known inputs, and nothing is charged for one.
        2. What is recorded of a session on known inputs can be made again from its seed, but for noise and masks.
    """

    def __init__(self, subject: Subject, log: EvidenceLog | None, contents: Evidence) -> None:
        self._subject = subject
        self._job = subject.job
        self._log = log
        self._probes = len(contents.probes)
        self._trained = bool(contents.trainings)
        self._head = contents.head

    @classmethod
    def begin(cls, subject: Subject, facts: Mapping[str, Any], identity: Identity) -> Witness:
        """Begin the evidence of a new run.

        Args:
            subject: the run.
            facts: what is known at the start.
            identity: of the coordinator, who signs.

        Raises:
            LedgerError: there is evidence already, or it cannot be written.
        """
        facts = {**facts, "layout": layout_to_json(subject.layout)}
        log = EvidenceLog.create(subject.out / EVIDENCE, facts, identity)
        return cls(subject, log, log.found)

    @classmethod
    def resume(cls, subject: Subject, identity: Identity) -> Witness:
        """Go on with the evidence of a run that stopped; one that is closed stays as it is.

        Raises:
            LedgerError: it is damaged, or another's.
        """
        closed = _closed(subject.out / EVIDENCE, identity)
        if closed is not None:
            return cls(subject, None, closed)
        log = EvidenceLog.resume(subject.out / EVIDENCE, identity)
        return cls(subject, log, log.found)

    @property
    def head(self) -> Head:
        """How far the evidence is."""
        return self._head if self._log is None else self._log.head

    def record(
        self,
        number: int,
        held: Held,
        *,
        cohort: int,
        contributors: int,
        released: bool,
        probe: Mapping[str, Any] | None = None,
        evaluation: bool = False,
    ) -> None:
        """Write down the session of a round, or on known inputs."""
        if self._log is not None:
            self._log.append(
                SessionRecord(
                    round=number,
                    suite=self._job.suite,
                    params=held.params,
                    cohort_size=cohort,
                    contributors=contributors,
                    released=released,
                    messages=held.outcome.messages,
                    probe=probe,
                    evaluation=evaluation,
                )
            )

    def begin_session(self, number: int, params: SessionParams) -> None:
        """Write down that a session is about to be held: what clients sign for must be known, whatever comes of it."""
        if self._log is not None:
            self._log.begin(number, params)

    def probe(self, sessions: Sessions, averaging: Averaging, *, last: bool) -> None:
        """Hold the sessions on known inputs that are due: at the start half, where there is noise; at the end all.

        Args:
            sessions: the run's.
            averaging: the run's; its clip does not move.
            last: whether the last round is over.
        """
        if self._log is None:
            return
        clients = range(clients_of_probes(self._job))
        planned = probes_planned(self._job, self._subject.layout, self._subject.guarantee, len(clients))
        due = planned if last else math.ceil(planned / 2) if isinstance(averaging, PrivateAveraging) else 0
        while self._probes < due:
            self._hold(self._probes + 1, tuple(clients), sessions, averaging)
            self._probes += 1

    def train(self, trainer: PrivateTrainer, weights: Weights, feature_shape: tuple[int, ...]) -> None:
        """Let the run's trainer train on known inputs, once.

        Args:
            trainer: the run's; left as it was.
            weights: where training starts.
            feature_shape: of one example.
        """
        promised, canaries = self._subject.guarantee, self._job.audit.canaries
        if self._log is None or self._trained or promised is None or canaries == 0:
            return
        probe = probe_training(
            trainer,
            weights,
            feature_shape=feature_shape,
            seed=seed_after(self.head.sha256),
            canaries=canaries or canaries_for(trainer.plan, one_round(self._job, promised)),
        )
        name = f"{PROBES}/training.npz"
        self._log.append_training({"file": name, "sha256": self._write(name, probe.to_npz()), "seed": probe.seed.hex()})
        self._trained = True

    def close(self, model: str) -> None:
        """End the evidence of a run that is over.

        Args:
            model: name of the file that holds the model that it ended with.
        """
        if self._log is not None:
            path = self._subject.out / model
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            self._log.close({"model_sha256": digest})
            self._head, self._log = self._log.head, None

    def unlock(self) -> None:
        """Let the file go, for whoever resumes it."""
        if self._log is not None:
            self._log.unlock()

    def _hold(self, number: int, clients: tuple[int, ...], sessions: Sessions, averaging: Averaging) -> None:
        seed = seed_after(self.head.sha256)
        private = isinstance(averaging, PrivateAveraging)
        clip = averaging.clip
        known = KnownInputs(seed=seed, layout=self._subject.layout, clip=clip, canaries=private)
        context = digest(Label.PROBE, seed)
        inputs = RoundInputs(
            number=0,
            cohort=clients,
            drops={},
            context=context,
            vectors={
                client: averaging.encode(known.result(client), context=context, chance=rounding_seed(context, client))
                for client in clients
            },
        )
        kept = clients[number % len(clients)]
        held = sessions.hold(inputs, charge=lambda _contributors: None, keep=kept)
        probe: dict[str, Any] = {"inputs": INPUTS_VERSION, "number": number, "seed": seed.hex(), "clip": clip}
        probe["uploader"] = kept
        probe |= self._keep(number, held, averaging)
        self.record(
            0,
            held,
            cohort=len(clients),
            contributors=len(held.outcome.contributors),
            released=held.outcome.aggregate is not None,
            probe=probe,
        )

    def _keep(self, number: int, held: Held, averaging: Averaging) -> dict[str, Any]:
        """Write down what came out of a session, as it is released, and one upload; say where."""
        if held.outcome.aggregate is None or held.upload is None:
            return {"file": None, "sha256": None}
        total = held.outcome.aggregate.vector
        released = averaging.noised(total) if isinstance(averaging, PrivateAveraging) else total
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, released=released, upload=np.frombuffer(held.upload[1], np.uint8))
        name = f"{PROBES}/{number:04d}.npz"
        return {"file": name, "sha256": self._write(name, content.getvalue())}

    def _write(self, name: str, content: bytes) -> str:
        """Write a file; return its SHA-256, hex."""
        make_folder(self._subject.out / PROBES)
        write_whole(self._subject.out / name, content)
        return hashlib.sha256(content).hexdigest()


def seed_after(line: str) -> bytes:
    """Return the public seed of known inputs that are recorded behind a line of evidence.

    It follows from the line: what was recorded in another run, or chosen for its coins, does not fit.

    Args:
        line: SHA-256 of the line, hex.
    """
    return digest(Label.PROBE, b"seed", bytes.fromhex(line))[:SEED_BYTES]


def clients_of_probes(job: Job) -> int:
    """How many clients take part in a session on known inputs: the first ones."""
    return max(job.fewest_contributors(job.cohort_size), min(job.cohort_size, MOST_CLIENTS))


def probes_planned(job: Job, layout: Layout, guarantee: Guarantee | None, clients: int) -> int:
    """How many sessions on known inputs a run of a job holds.

    Args:
        job: the job.
        layout: of an update.
        guarantee: what it promises.
        clients: that take part in one.
    """
    integers = None if guarantee is None else guarantee.integers
    return job.audit.probes_of(
        noisy=integers is not None,
        protects=suite(job.suite).protects,
        length=layout.length if integers is None else integers.length,
        clients=min(clients, carriers_of(layout)),
        epsilon=one_round(job, guarantee) if guarantee is not None and integers is not None else 0.0,
    )


def _closed(path: Path, identity: Identity) -> Evidence | None:
    """Return evidence that is closed; whoever resumes what is not says what is wrong with it, if anything is."""
    try:
        found = read_evidence(path)
    except LedgerError:
        return None
    if found.closed is None:
        return None
    if found.signer != identity.public:
        raise LedgerError(f"{path} was signed by another key than this run's: put the run's own evidence back")
    return found
