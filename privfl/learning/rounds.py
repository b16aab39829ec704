"""The federated loop: train at the clients, sum securely, move the model, look at held-out data, again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from privfl import __version__
from privfl.encoding.layout import Layout
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError, RoundAborted
from privfl.guard import append_line, cut_torn_line, make_folder
from privfl.learning.averaging import Averaging, RoundMean, WeightedAveraging
from privfl.learning.books import (
    COORDINATOR,
    COORDINATOR_PUBLIC,
    JOB_DIGEST,
    LEDGER,
    LEDGER_IDENTIFIER,
    Books,
    closing_record,
    identity_of,
    job_digest,
)
from privfl.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    require_writable,
    save_checkpoint,
    write_whole,
)
from privfl.learning.client_books import RECEIPTS, ClientBooks, own_identity
from privfl.learning.cohort import draw_cohort, draw_dropouts
from privfl.learning.data import FederatedData, load, seed_stream
from privfl.learning.guarantee import Guarantee, guarantee_of
from privfl.learning.job import Job, job_to_toml, load_job
from privfl.learning.models import build, default_model
from privfl.learning.private import PrivateAveraging
from privfl.learning.private_trainer import PrivateTrainer
from privfl.learning.records import Observer, Progress, RoundMetrics, UploadView
from privfl.learning.sessions import Held, RoundInputs, Sessions
from privfl.learning.strategy import FedAvg, Weights
from privfl.learning.trainer import TorchTrainer, Trainer
from privfl.learning.witness import EVIDENCE, Subject, Witness
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.session import Phase, Vector
from privfl.simulate import Simulation
from privfl.suites import suite

METRICS, MODEL, JOB = "metrics.jsonl", "model.npz", "job.toml"


class FederatedRun:
    """A job at work.

    Making one checks everything (data, model, session parameters) and writes nothing; iterating trains, a round at a
    time, and keeps `out` up to date: `metrics.jsonl`, `evidence.jsonl`, `model.npz`, `job.toml`.

    Args:
        job: what to do.
        out: directory for results, or None to keep nothing.
        observe: told of progress.
        workers: threads for long vectors.
        trainer: who trains; PyTorch, as the job says, unless given.
        identity: of the coordinator, who signs the privacy ledger; one of the run's own unless given.

    Attributes:
        weights: the global model.
        metrics: the rounds done.
        view: what the server saw of one client, beside the truth, once a round has been summed; None under differential
            privacy, which it would break.
        guarantee: what the run promises; None without differential privacy.
        books: its privacy ledger, once it has begun.
        stopped: why it ended before its last round; None if it did not.

    Guarantees:
        1. Under differential privacy no sum is opened before its charge is in the ledger, on disk.

    Raises:
        ConfigurationError: the job does not work; `out` holds a run already.
    """

    def __init__(
        self,
        job: Job,
        *,
        out: Path | None = None,
        observe: Observer | None = None,
        workers: int = 1,
        trainer: Trainer | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.job = job
        self._out = out
        self._identity = identity
        self._observe = observe or (lambda _progress: None)
        self._workers = workers
        if out is not None and (out / METRICS).exists():
            raise ConfigurationError(f"--out {out} holds a run already: name another, or use --resume {out}")
        if out is not None:
            require_writable(out, "--out")
        self.data: FederatedData = load(
            job.data.name,
            clients=job.data.clients,
            partition=job.data.partition,
            alpha=job.data.alpha,
            seed=job.seed,
        )
        self.model_name = job.model or default_model(job.data.name)
        self._strategy = FedAvg()
        self._trainer, self.guarantee = self._make_trainer(trainer)
        self.weights: Weights = self._trainer.initial_weights()
        self.metrics: list[RoundMetrics] = []
        self.view: UploadView | None = None
        self.books: Books | None = None
        self._client_books: ClientBooks | None = None
        self._witness: Witness | None = None
        self.stopped: str | None = None
        self._over = False  # its ledger is closed
        self.averaging = self._make_averaging()
        self._sessions = Sessions(job, self.averaging.vector, context=self._context(1), workers=workers)

    @property
    def params(self) -> SessionParams:
        """Parameters of the latest session."""
        return self._sessions.params

    def _make_trainer(self, given: Trainer | None) -> tuple[Trainer, Guarantee | None]:
        """Return who trains, and what the run promises: all that can be wrong about it shows here."""
        job = self.job
        model = build(self.model_name, feature_shape=self.data.feature_shape, classes=self.data.classes, seed=job.seed)
        settings = job.strategy.local_training()
        trainer: Trainer = given or TorchTrainer(model, settings)
        guarantee = guarantee_of(
            job,
            parameters=Layout.of(trainer.initial_weights()).length,
            examples=sum(len(examples) for examples in self.data.clients),
        )
        if guarantee is not None and guarantee.training is not None and given is None:
            trainer = PrivateTrainer(model, settings, guarantee.training, grad_sample=job.privacy.grad_sample)
        return trainer, guarantee

    @classmethod
    def resume(
        cls, out: Path, *, observe: Observer | None = None, workers: int = 1, identity: Identity | None = None
    ) -> FederatedRun:
        """Go on with a run that stopped: from the last round whose model is on disk.

        What was charged after that round stays charged, and the round is done again under noise, and a charge, of its
        own.

        Args:
            out: directory of the run.
            observe: told of progress.
            workers: threads for long vectors.
            identity: of the coordinator, if the run was begun with one.

        Raises:
            ConfigurationError: `out` holds no run, or a damaged one.
            LedgerError: its ledger is damaged, or not its own.
        """
        if not (out / JOB).exists():
            raise ConfigurationError(f"--resume {out} holds no run: there is no {JOB} in it")
        run = cls(load_job(out / JOB), observe=observe, workers=workers, identity=identity)
        run._out = out
        cut_torn_line(out / RECEIPTS)
        state: Mapping[str, Any] = {}
        if (out / MODEL).exists():
            state = run._restore(out)
        elif (out / METRICS).exists():
            raise ConfigurationError(f"{out / MODEL} is missing, though rounds were done: start anew elsewhere")
        ledger = (out / LEDGER).exists()
        if ledger and run.guarantee is None:
            raise LedgerError(
                f"{out / JOB} asks for no privacy, and {out / LEDGER} is there: put the job back as it was"
            )
        if state.get("ledger") and not ledger:
            raise LedgerError(f"{out / LEDGER} is missing, though rounds were charged: put it back")
        if run.guarantee is not None and ledger:
            run._resume_books(out, run.guarantee, state)
        try:
            if not run._over:
                run._resume_witness(out)
        except BaseException:
            run._let_go()
            raise
        return run

    def _restore(self, out: Path) -> Mapping[str, Any]:
        checkpoint = load_checkpoint(out / MODEL)
        if checkpoint.weights.keys() != self.weights.keys():
            raise ConfigurationError(f"{out / MODEL} belongs to another model than the job's: {self.model_name}")
        self.weights = checkpoint.weights
        rows = [] if not (out / METRICS).exists() else _whole_lines(out / METRICS)
        rows = [row for row in rows if row["round"] < checkpoint.round] + [dict(checkpoint.metrics)]
        self.metrics = [RoundMetrics(**row) for row in rows]
        # The model's own note is the truth about the last round; a line that a crash tore or kept back is rewritten.
        write_whole(out / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())
        if isinstance(self.averaging, PrivateAveraging):
            self.averaging.clip = checkpoint.state["clip"]
        return checkpoint.state

    def _resume_books(self, out: Path, guarantee: Guarantee, state: Mapping[str, Any]) -> None:
        head = state.get("ledger")
        closing = closing_record(self.job, guarantee, out, self._identity, head)
        if closing is None:
            self.books = Books.resume(self.job, guarantee, out, self._identity, head)
        else:
            self._over, self.stopped = True, closing.get("stopped")

    def _resume_witness(self, out: Path) -> None:
        if (out / EVIDENCE).exists():
            self._identity = identity_of(out, EVIDENCE, self._identity)
            self._witness = Witness.resume(self._subject(out), self._identity)
        elif self.done:
            raise LedgerError(f"{out / EVIDENCE} is missing, though rounds were done: put it back")

    @property
    def done(self) -> int:
        """Rounds done."""
        return self.metrics[-1].round if self.metrics else 0

    @property
    def parameters(self) -> int:
        """Coordinates of an update."""
        return Layout.of(self.weights).length

    def __iter__(self) -> Iterator[RoundMetrics]:
        if self._over:
            return
        try:
            self._begin()
            try:
                for number in range(self.done + 1, self.job.rounds + 1):
                    yield self._round(number)
            except BudgetExceeded as error:
                self.stopped = f"stopped after round {self.done} of {self.job.rounds}: {error}"
            self._finish()
        except BaseException:
            self._let_go()
            raise

    def _begin(self) -> None:
        """Put down what a crash must find before anything is charged: the job, its ledger, and its evidence."""
        if self.guarantee is None:  # nothing is charged: what fails in its first round leaves nothing behind
            return
        self._write_job()
        if self.books is None and self.done < self.job.rounds:
            promised = {
                "planned_epsilon": _finite(self.guarantee.planned_epsilon(self.job)),
                "receipts": self.job.privacy.client_epsilon is not None and self._out is not None,
            }
            self.books = Books.begin(self.job, self.guarantee, self._facts | promised, self._out, self._signer())
        if self.job.privacy.client_epsilon is not None:
            self._client_books = ClientBooks(self.job, self.guarantee, self._out, self._signer().public)
        self._begin_evidence()
        if self._witness is not None:
            self._witness.probe(self._sessions, self.averaging, last=False)
            if isinstance(self._trainer, PrivateTrainer):
                self._witness.train(self._trainer, self.weights, self.data.feature_shape)

    def _begin_evidence(self) -> None:
        if self._out is None or self._witness is not None:
            return
        self._write_job()
        write_whole(self._out / COORDINATOR_PUBLIC, f"{self._signer().public.hex()}\n".encode())
        claimed = {
            "secure": suite(self.job.suite).protects,
            "mode": self.job.privacy.mode.value,
            "weight_max": self.averaging.codec.weight_max if isinstance(self.averaging, WeightedAveraging) else 1,
            LEDGER_IDENTIFIER: self.books.identifier if self.books is not None else None,
        }
        self._witness = Witness.begin(self._subject(self._out), self._facts | claimed, self._signer())

    def _subject(self, out: Path) -> Subject:
        return Subject(job=self.job, layout=Layout.of(self.weights), guarantee=self.guarantee, out=out)

    @property
    def _facts(self) -> dict[str, Any]:
        return {
            "suite": self.job.suite,
            JOB_DIGEST: job_digest(self.job),
            "privfl": __version__,
            "parameters": self.parameters,
            "rounds": self.job.rounds,
        }

    def _signer(self) -> Identity:
        """The coordinator's key: the one that was given, or one of the run's own, which lasts as long as its files."""
        if self._identity is None:
            self._identity = (
                Identity.generate(OsEntropy()) if self._out is None else own_identity(self._out / COORDINATOR)
            )
        return self._identity

    def _write_job(self) -> None:
        if self._out is not None and not (self._out / JOB).exists():
            make_folder(self._out)
            write_whole(self._out / JOB, job_to_toml(self.job).encode())

    def _finish(self) -> None:
        evidence: dict[str, Any] = {}
        if self._witness is not None:
            if self.metrics:  # without a round there is nothing to test
                self._witness.probe(self._sessions, self.averaging, last=True)
            self._witness.close(MODEL)
            evidence = self._witness.head._asdict()
        if self.books is not None:
            facts = {"rounds": self.done, "epsilon": _finite(self.books.epsilon()), "stopped": self.stopped}
            self.books.close({**facts, "evidence": evidence or None})
        if self._client_books is not None:
            self._client_books.close()

    def _let_go(self) -> None:
        """Leave the files to whoever resumes."""
        if self.books is not None:
            self.books.unlock()
        if self._witness is not None:
            self._witness.unlock()
        if self._client_books is not None:
            self._client_books.close()

    def _round(self, number: int) -> RoundMetrics:
        started = time.perf_counter()
        if self.books is not None:
            self.books.require_room()
        cohort = draw_cohort(self.job, number)
        drops = draw_dropouts(self.job, number, cohort)
        context = self._context(number)
        vectors = self._train(number, cohort, drops, context)
        inputs = RoundInputs(number=number, cohort=cohort, drops=drops, context=context, vectors=vectors)
        held = self._sessions.hold(
            inputs,
            charge=lambda contributors: self._charge(inputs, contributors),
            # An update that hides its examples is a release by itself, to whoever reads it, summed or not.
            before_uploads=self.guarantee is not None and self.guarantee.training is not None,
            client_books=self._client_books,
            before_session=None if self._client_books is None else lambda params: self._begin_session(number, params),
        )
        outcome = held.outcome
        plain, plain_seconds = self._sessions.plain(inputs, held)

        clip = self.clip
        mean, why_not = self._decoded(outcome, context)
        if mean is not None:
            self.weights = self._strategy.apply(self.weights, mean.arrays)
            if self.view is None and self.guarantee is None:  # a true update in a report would be a release
                self.view = held.view
        evaluation = self._trainer.evaluate(self.weights, self.data.test)
        metrics = RoundMetrics(
            round=number,
            suite=self.job.suite,
            cohort=len(cohort),
            contributors=len(outcome.contributors) if mean else 0,
            dropped=len(cohort) - len(outcome.contributors) if mean else len(cohort),
            vanished=len(drops.get(Phase.UNMASK, ())) if mean else 0,
            aborted=mean is None,
            aborted_because=why_not,
            accuracy=evaluation.accuracy,
            loss=evaluation.loss if math.isfinite(evaluation.loss) else None,
            local_accuracy=mean.local_accuracy if mean else None,
            local_loss=mean.local_loss if mean else None,
            epsilon=None if self.books is None else _finite(self.books.epsilon()),
            epsilon_rdp=None if self.books is None else _finite(self.books.opinions().get("rdp") or 0.0),
            clip=clip,
            upload_bytes=outcome.upload_bytes,
            download_bytes=outcome.download_bytes,
            plain_upload_bytes=plain.upload_bytes,
            plain_seconds=plain_seconds,
            seconds=time.perf_counter() - started,
            secure_seconds=held.seconds,
            client_seconds=outcome.client_cpu_s / max(len(cohort), 1),
            server_seconds=outcome.server_cpu_s,
            committee_seconds=outcome.committee_cpu_s + held.ceremony_cpu_s,
            committee_bytes=outcome.committee_bytes + held.ceremony_bytes,
            saturated_fraction=mean.saturated_fraction if mean else 0.0,
            suggested_clip=mean.suggested_clip if mean else None,
        )
        self.metrics.append(metrics)
        self._save(metrics, held)
        return metrics

    def _begin_session(self, number: int, params: SessionParams) -> None:
        if self._witness is not None:
            self._witness.begin_session(number, params)

    def _charge(self, inputs: RoundInputs, contributors: int) -> None:
        """Put into the ledger what the round's sum will have cost, before anything is asked that opens it."""
        if self.books is None:
            return
        facts = {
            "cohort": len(inputs.cohort),
            "params_digest": self.params.digest.hex(),
            "clip": self.clip,
            **self._noise_facts(contributors),
        }
        self.books.charge(inputs.number, contributors, facts)

    @property
    def clip(self) -> float | None:
        """C of the next round; None without differential privacy."""
        return self.averaging.clip if isinstance(self.averaging, PrivateAveraging) else self.job.privacy.clip

    def _noise_facts(self, contributors: int) -> dict[str, Any]:
        if not isinstance(self.averaging, PrivateAveraging):
            return {}
        plan, clip = self.averaging.plan, self.averaging.clip
        return {"noise_std_of_sum": clip * plan.noise_std(contributors), "ring_bits": self.params.ring.bits}

    def _decoded(self, outcome: Simulation, context: bytes) -> tuple[RoundMean | None, str | None]:
        """Return the mean, or why there is none."""
        if outcome.aggregate is None:
            return None, outcome.aborted
        try:
            return self.averaging.decode(outcome.aggregate, context=context), None
        except RoundAborted as error:
            return None, str(error)

    def _train(
        self, number: int, cohort: tuple[int, ...], drops: Mapping[Phase, frozenset[int]], context: bytes
    ) -> dict[int, Vector]:
        """Train every client that will upload; who drops before would train in vain."""
        silent = frozenset().union(*(clients for phase, clients in drops.items() if phase is not Phase.UNMASK))
        training = [client for client in cohort if client not in silent]
        vectors: dict[int, Vector] = {}
        for done, client in enumerate(training):
            self._observe(Progress(round=number, stage="training", done=done, of=len(training)))
            seed = int(seed_stream(self.job.seed, f"train/{number}/{client}").generate_state(1, np.uint64)[0] >> 1)
            result = self._trainer.train(self.weights, self.data.clients[client], seed=seed)
            try:
                vectors[client] = self.averaging.encode(result, context=context)
            except ConfigurationError as error:
                if self.guarantee is not None:  # whose update it was, and what was in it, is not for the server to know
                    raise ConfigurationError(
                        f"round {number}: training diverged at a client; a smaller strategy.learning_rate than "
                        f"{self.job.strategy.learning_rate} may work"
                    ) from None
                raise ConfigurationError(
                    f"round {number}, client {client}: {error}; strategy.learning_rate is "
                    f"{self.job.strategy.learning_rate}, {min(self.job.strategy.learning_rate / 10, 0.1):g} may work"
                ) from None
        self._observe(Progress(round=number, stage="aggregating", done=len(training), of=len(training)))
        return vectors

    def _state(self) -> dict[str, Any]:
        """What a resumed run needs beside the model."""
        state: dict[str, Any] = {}
        if self.books is not None:
            state["ledger"] = self.books.head._asdict()
        if isinstance(self.averaging, PrivateAveraging):
            state["clip"] = self.averaging.clip
        return state

    def _make_averaging(self) -> Averaging:
        layout, guarantee, privacy = Layout.of(self.weights), self.guarantee, self.job.privacy
        if guarantee is not None and guarantee.integers is not None:
            assert privacy.clip is not None  # noqa: S101 - `PrivacyJob` saw to it; for the type checker
            return PrivateAveraging.of(
                self.job, layout, guarantee.integers, clip=privacy.clip, entropy=OsEntropy(), workers=self._workers
            )
        # The public size of the data set over the number of clients; what single clients hold stays with them.
        average = sum(len(examples) for examples in self.data.clients) / len(self.data.clients)
        weight_max = self.job.strategy.weight_max or math.ceil(2 * average)
        return WeightedAveraging.of(self.job, layout, weight_max=weight_max)

    def _context(self, number: int) -> bytes:
        """Digest of what a round is about: model, job and number."""
        model = b"".join(np.ascontiguousarray(self.weights[name]).tobytes() for name in self.weights)
        return digest(Label.CONTEXT, model, job_to_toml(self.job).encode(), number.to_bytes(8, "big"))

    def _save(self, metrics: RoundMetrics, held: Held) -> None:
        if self._out is None:
            return
        self._begin_evidence()
        if self._witness is not None:
            self._witness.record(
                metrics.round,
                held,
                cohort=metrics.cohort,
                contributors=metrics.contributors,
                released=not metrics.aborted,
            )
        row = asdict(metrics)
        # The model carries its own metrics line: a crash between the two writes loses neither.
        save_checkpoint(
            self._out / MODEL, Checkpoint(weights=self.weights, round=metrics.round, metrics=row, state=self._state())
        )
        append_line(self._out / METRICS, json.dumps(row))


def _finite(epsilon: float) -> float | None:
    """ε as JSON can hold it."""
    return epsilon if math.isfinite(epsilon) else None


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # torn by a crash
    return rows
