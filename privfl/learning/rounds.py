"""The federated loop: train at the clients, sum securely, move the model, look at held-out data, again."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, RoundAborted
from privfl.evidence import EvidenceLog, SessionRecord
from privfl.learning.averaging import Averaging, RoundMean, WeightedAveraging
from privfl.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    require_writable,
    save_checkpoint,
    write_whole,
)
from privfl.learning.cohort import draw_absences, draw_cohort, draw_dropouts
from privfl.learning.data import FederatedData, load, seed_stream
from privfl.learning.job import Job, job_to_toml, load_job
from privfl.learning.models import build, default_model
from privfl.learning.records import Observer, Progress, RoundMetrics, UploadView
from privfl.learning.strategy import FedAvg, Weights
from privfl.learning.trainer import TorchTrainer, Trainer
from privfl.params import NONCE_BYTES, ServerModel, SessionParams, Setting
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.session import Phase, Vector
from privfl.simulate import Simulation, draw_identities, roster_of, simulate, simulated_committee
from privfl.suites import plan_session, suite

_VIEW_COORDINATES: Final = 4096
_COUNTS_ROOM: Final = 1024
"""Coordinates for weight, counts and metrics, whose number follows from the error of the sum."""

METRICS, EVIDENCE, MODEL, JOB = "metrics.jsonl", "evidence.jsonl", "model.npz", "job.toml"


class FederatedRun:
    """A job at work.

    Making one checks everything (data, model, session parameters) and writes nothing; iterating trains, a round at a
    time, and keeps `out` up to date: `metrics.jsonl`, `evidence.jsonl`, `model.npz`, `job.toml`.

    Args:
        job: what to do.
        out: directory for results, or None to keep nothing.
        observe: told of progress.
        workers: threads for long vectors.

    Attributes:
        weights: the global model.
        metrics: the rounds done.
        view: what the server saw of one client, once a round has been summed.
        params: parameters of the latest session.

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
    ) -> None:
        self.job = job
        self._out = out
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
        self._trainer = trainer or TorchTrainer(
            build(
                self.model_name,
                feature_shape=self.data.feature_shape,
                classes=self.data.classes,
                seed=job.seed,
            ),
            job.strategy.local_training(),
        )
        self.weights: Weights = self._trainer.initial_weights()
        self.metrics: list[RoundMetrics] = []
        self.view: UploadView | None = None
        self._strategy = FedAvg()
        self.averaging = self._make_averaging()
        active = job.threat.server is ServerModel.ACTIVE
        self._identities = draw_identities(range(job.data.clients)) if active else None
        self._roster = roster_of(self._identities) if self._identities else None
        self._committee = simulated_committee(self._setting())
        self._unbooked = self._committee  # whose ceremony no round has paid for yet
        self.params = self._plan(self._context(1), tuple(range(job.cohort_size)))

    @classmethod
    def resume(cls, out: Path, *, observe: Observer | None = None, workers: int = 1) -> FederatedRun:
        """Go on with a run that stopped: from the last round whose model is on disk.

        Raises:
            ConfigurationError: `out` holds no run, or a damaged one.
        """
        if not (out / JOB).exists():
            raise ConfigurationError(f"--resume {out} holds no run: there is no {JOB} in it")
        run = cls(load_job(out / JOB), observe=observe, workers=workers)
        run._out = out
        if not (out / MODEL).exists():
            if (out / METRICS).exists():
                raise ConfigurationError(f"{out / MODEL} is missing, though rounds were done: start anew elsewhere")
            return run
        checkpoint = load_checkpoint(out / MODEL)
        if checkpoint.weights.keys() != run.weights.keys():
            raise ConfigurationError(f"{out / MODEL} belongs to another model than the job's: {run.model_name}")
        run.weights = checkpoint.weights
        rows = [] if not (out / METRICS).exists() else _whole_lines(out / METRICS)
        rows = [row for row in rows if row["round"] < checkpoint.round] + [dict(checkpoint.metrics)]
        run.metrics = [RoundMetrics(**row) for row in rows]
        # The model's own note is the truth about the last round; a line that a crash tore or kept back is rewritten.
        write_whole(out / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return run

    @property
    def parameters(self) -> int:
        """Coordinates of an update."""
        return Layout.of(self.weights).length

    def __iter__(self) -> Iterator[RoundMetrics]:
        for number in range(len(self.metrics) + 1, self.job.rounds + 1):
            yield self._round(number)

    def _round(self, number: int) -> RoundMetrics:
        started = time.perf_counter()
        cohort = draw_cohort(self.job, number)
        drops = draw_dropouts(self.job, number, cohort)
        context = self._context(number)
        vectors = self._train(number, cohort, drops, context)
        begun = time.perf_counter()
        ceremony_cpu_s, ceremony_bytes = self._renew_committee()
        self.params = self._plan(context, cohort)
        catch = _Catch(self.params)
        outcome = simulate(
            self.params,
            vectors,
            drops=drops,
            workers=self._workers,
            record=True,
            watch=catch,
            identities=self._identities,
            committee=self._committee,
            absent_members=draw_absences(self.job, number),
        )
        secure_seconds = time.perf_counter() - begun
        plain, plain_seconds = self._plain(context, vectors, drops, outcome, secure_seconds)

        mean, why_not = self._decoded(outcome, context)
        if mean is not None:
            self.weights = self._strategy.apply(self.weights, mean.arrays)
            if self.view is None:
                self.view = self._view(number, catch, vectors)
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
            epsilon=None,
            upload_bytes=outcome.upload_bytes,
            download_bytes=outcome.download_bytes,
            plain_upload_bytes=plain.upload_bytes,
            plain_seconds=plain_seconds,
            seconds=time.perf_counter() - started,
            secure_seconds=secure_seconds,
            client_seconds=outcome.client_cpu_s / len(cohort),
            server_seconds=outcome.server_cpu_s,
            committee_seconds=outcome.committee_cpu_s + ceremony_cpu_s,
            committee_bytes=outcome.committee_bytes + ceremony_bytes,
            saturated_fraction=mean.saturated_fraction if mean else 0.0,
            suggested_clip=mean.suggested_clip if mean else None,
        )
        self.metrics.append(metrics)
        self._save(metrics, outcome)
        return metrics

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
                raise ConfigurationError(
                    f"round {number}, client {client}: {error}; strategy.learning_rate is "
                    f"{self.job.strategy.learning_rate}, {min(self.job.strategy.learning_rate / 10, 0.1):g} may work"
                ) from None
        self._observe(Progress(round=number, stage="aggregating", done=len(training), of=len(training)))
        return vectors

    def _make_averaging(self) -> Averaging:
        # The public size of the data set over the number of clients; what single clients hold stays with them.
        average = sum(len(examples) for examples in self.data.clients) / len(self.data.clients)
        return WeightedAveraging(
            Layout.of(self.weights),
            FixedPoint(clip=self.job.encoding.clip, bits=self.job.encoding.bits),
            weight_max=self.job.strategy.weight_max or math.ceil(2 * average),
            error_std=suite(self.job.suite).error_std(self._setting(), self.job.cohort_size),
        )

    def _setting(self) -> Setting:
        """Return the setting that a committee's key is made for, with room for weight, counts and metrics."""
        return self.job.setting(Layout.of(self.weights).length + _COUNTS_ROOM)

    def _renew_committee(self) -> tuple[float, int]:
        """See that the committee, if there is one, has an opening left; tell CPU and bytes of a ceremony."""
        if self._committee is not None and not self._committee.remaining():
            self._committee = self._unbooked = simulated_committee(self._setting())
        paid, self._unbooked = self._unbooked, None
        return (paid.ceremony_cpu_s, paid.ceremony_bytes) if paid is not None else (0.0, 0)

    def _context(self, number: int) -> bytes:
        """Digest of what a round is about: model, job and number."""
        model = b"".join(np.ascontiguousarray(self.weights[name]).tobytes() for name in self.weights)
        return digest(Label.CONTEXT, model, job_to_toml(self.job).encode(), number.to_bytes(8, "big"))

    def _plan(self, context: bytes, cohort: tuple[int, ...], suite_name: str | None = None) -> SessionParams:
        return plan_session(
            suite_name or self.job.suite,
            cohort=cohort,
            vector=self.averaging.vector,
            threat=self.job.threat,
            wire=self.job.encoding.wire,
            minimum_contributors=self.job.cohort.minimum,
            nonce=os.urandom(NONCE_BYTES),
            context=context,
            roster=self._roster,
            committee=self._committee.key if self._committee and suite_name is None else None,
        )

    def _plain(
        self,
        context: bytes,
        vectors: Mapping[int, Vector],
        drops: Mapping[Phase, frozenset[int]],
        outcome: Simulation,
        seconds: float,
    ) -> tuple[Simulation, float]:
        """Measure the same vectors through `plain`, for the comparison in the report."""
        if self.job.suite == "plain":
            return outcome, seconds
        params = replace(self._plan(context, self.params.cohort, "plain"), minimum_contributors=1)
        begun = time.perf_counter()
        plain = simulate(params, vectors, drops=drops, record=True)
        return plain, time.perf_counter() - begun

    def _view(self, number: int, catch: _Catch, vectors: Mapping[int, Vector]) -> UploadView | None:
        if catch.words is None:
            return None
        return UploadView(
            client=catch.client,
            round=number,
            true_vector=vectors[catch.client][:_VIEW_COORDINATES].copy(),
            received=catch.words,
            ring_bits=catch.ring.bits,
        )

    def _save(self, metrics: RoundMetrics, outcome: Simulation) -> None:
        if self._out is None:
            return
        if not (self._out / JOB).exists():
            self._out.mkdir(parents=True, exist_ok=True)
            write_whole(self._out / JOB, job_to_toml(self.job).encode())
        EvidenceLog(self._out / EVIDENCE).append(
            SessionRecord(
                round=metrics.round,
                suite=self.job.suite,
                params_digest=self.params.digest.hex(),
                cohort_size=metrics.cohort,
                contributors=metrics.contributors,
                released=not metrics.aborted,
                messages=outcome.messages,
            )
        )
        row = asdict(metrics)
        # The model carries its own metrics line: a crash between the two writes loses neither.
        save_checkpoint(self._out / MODEL, Checkpoint(weights=self.weights, round=metrics.round, metrics=row))
        with (self._out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class _Catch:
    """Keeps the first upload that passes by."""

    def __init__(self, params: SessionParams) -> None:
        self.ring = params.ring
        self._length = params.vector.length
        self.client = -1
        self.words: npt.NDArray[Any] | None = None

    def __call__(self, client: int, phase: Phase, message: bytes) -> None:
        if self.words is None and phase in {Phase.MASKED_INPUT, Phase.UPLOAD}:
            self.client = client
            tail = memoryview(message)[-self.ring.vector_bytes(self._length) :]
            self.words = self.ring.received(tail, self._length)[:_VIEW_COORDINATES].copy()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # torn by a crash
    return rows
