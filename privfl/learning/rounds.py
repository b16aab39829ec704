"""The federated loop: train at the clients, sum securely, move the model, look at held-out data, again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from privfl.encoding.layout import Layout
from privfl.errors import BudgetExceeded, ConfigurationError, RoundAborted
from privfl.guard import append_line, cut_torn_line
from privfl.learning.assembly import averaging_of, compressor_of, data_of, scheduler_of, trainer_of
from privfl.learning.averaging import RoundMean
from privfl.learning.books import Books, job_digest
from privfl.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    require_writable,
    save_checkpoint,
    write_whole,
)
from privfl.learning.client_books import RECEIPTS
from privfl.learning.cohort import Losses
from privfl.learning.cohort_job import Sampling
from privfl.learning.contributing import compression_seed, round_context, scaled
from privfl.learning.evaluating import Evaluated, FederatedEvaluations
from privfl.learning.feasibility import require_reachable
from privfl.learning.fleet import Fleet
from privfl.learning.int8 import Int8Evaluation
from privfl.learning.job import Job, job_to_toml, load_job
from privfl.learning.local_work import LocalWork
from privfl.learning.measuring import Round, measured
from privfl.learning.memory import Memory
from privfl.learning.models import default_model
from privfl.learning.paperwork import JOB, Paperwork
from privfl.learning.private import PrivateAveraging
from privfl.learning.private_trainer import PrivateTrainer
from privfl.learning.records import Observer, UploadView
from privfl.learning.residuals import Residuals
from privfl.learning.scheduling import Model, RoundPlan
from privfl.learning.sessions import Sessions
from privfl.learning.site import Elsewhere, InProcess, Site
from privfl.learning.stopping import Stopping
from privfl.learning.strategy import Weights, server_optimiser
from privfl.learning.torch_trainer import TorchClassifier
from privfl.learning.traffic import FLOAT32_BYTES, SessionTraffic
from privfl.learning.trainer import Trainer
from privfl.params import SessionParams
from privfl.primitives.signatures import Identity
from privfl.round_metrics import RoundMetrics
from privfl.simulate import Simulation

METRICS: Final = "metrics.jsonl"
MODEL: Final = "model.npz"
BEST: Final = "best.npz"


class FederatedRun:
    """A job at work.

    Making one checks everything (data, model, session parameters, fleet) and writes nothing; iterating trains, a round
    at a time, and keeps `out` up to date: `metrics.jsonl`, `evidence.jsonl`, `model.npz`, `best.npz`, `job.toml`.

    Args:
        job: what to do.
        out: directory for results, or None to keep nothing.
        observe: told of progress.
        workers: threads for long vectors.
        trainer: who trains, with whatever it likes; what it returns is checked. PyTorch, as the job says, unless given.
        identity: of the coordinator, who signs the privacy ledger; one of the run's own unless given.
        elsewhere: the run's clients, if they are not simulated in this process.

    Attributes:
        weights: the global model.
        metrics: the rounds done.
        view: what the server saw of one client, beside the truth, once a round has been summed; None under differential
            privacy, which it would break.
        guarantee: what the run promises; None without differential privacy.
        fleet: the clients' machines, on whose clock the run is; None where no time passes.
        stopped: why it ended before its last round, its budget spent; None if it did not.

    Guarantees:
        1. Under differential privacy no sum is opened before its charge is in the ledger, on disk.
        2. Every sum that leaves clients, of updates and of evaluations, comes out of a session of the job's suite.
        3. Clients evaluate no model twice, whatever becomes of the sum of what they find.
        4. A client whose training raises drops out of that round, and the round's metrics say which and why; but under
           differential privacy of clients it adds zeros, and nobody is told.
        5. Under differential privacy the simulated time of a client does not depend on what it holds.
        6. Without it, where the suite's sums are exact, a run that was ended at any moment and gone on with comes to
           the same model, bit for bit.

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
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if elsewhere is not None:
            elsewhere.check(job)
            job = job.with_minimum()
        self.job = job
        self._observe = observe or (lambda _progress: None)
        self._workers = workers
        if out is not None and (out / METRICS).exists():
            raise ConfigurationError(f"--out {out} holds a run already: name another, or use --resume {out}")
        if out is not None:
            require_writable(out, "--out")
        self._elsewhere = elsewhere
        self.data = data_of(job) if elsewhere is None else elsewhere.data
        self.model_name = job.model or default_model(job.data.name)
        self.fleet = None if job.timed is None else Fleet(job.timed, clients=job.data.clients, seed=job.seed)
        if self.fleet is not None:
            require_reachable(job, self.fleet)
        facts = self.data.facts
        self._trainer, self.guarantee = trainer_of(job, facts, self.model_name, trainer)
        self.weights: Weights = self._trainer.initial_weights()
        self.evaluate_int8()  # a model that cannot be shows now
        self.metrics: list[RoundMetrics] = []
        self.view: UploadView | None = None
        self._kept: int | None = None  # round whose model is in the file of the best
        self.stopped: str | None = None
        self._compressor = compressor_of(job, self._trainer)
        self._residuals = Residuals(out, clients=job.data.clients, length=self.parameters)
        self._paperwork = Paperwork(job, self.guarantee, self._compressor.sent, out, identity)
        self.averaging = averaging_of(job, facts, self.guarantee, self._compressor.sent, workers=workers)
        self._sessions = Sessions(
            job,
            self.averaging.vector,
            context=bytes(32),
            roster=None if elsewhere is None else elsewhere.roster,
            workers=workers,
        )
        self._memory = Memory(
            job=job,
            scheduler=scheduler_of(
                job,
                tuple(len(examples) for examples in self.data.clients)
                or (facts.examples // facts.clients,) * facts.clients,
                self.guarantee,
                self.fleet,
                SessionTraffic(self._sessions, self.parameters),
            ),
            strategy=server_optimiser(job.strategy),
            best=Stopping(job.evaluation),
            averaging=self.averaging,
            residuals=self._residuals,
        )
        self._work = LocalWork(
            job,
            self._trainer,
            self.data.clients,
            private=self.guarantee is not None,
            zeros=isinstance(self.averaging, PrivateAveraging),
            observe=self._observe,
            log=self._paperwork.log,
        )
        self._site: Site = self._in_process() if elsewhere is None else elsewhere.site(self._sessions)
        self._evaluations = self._make_evaluations()

    @property
    def params(self) -> SessionParams:
        """Parameters of the latest session."""
        return self._sessions.params

    @property
    def version(self) -> int:
        """How often the model has moved."""
        return self._memory.version

    @property
    def best(self) -> Stopping:
        """Which round's model was the best."""
        return self._memory.best

    @property
    def enough(self) -> str | None:
        """Why the run ended before its last round, nothing better to come; None if it did not."""
        return self._memory.enough

    @property
    def books(self) -> Books | None:
        """The run's privacy ledger, once it has begun."""
        return self._paperwork.books

    def _in_process(self) -> InProcess:
        return InProcess(
            self._work,
            self._sessions,
            self._residuals,
            self._paperwork,
            before_uploads=self.guarantee is not None and self.guarantee.training is not None,
        )

    def _make_evaluations(self) -> FederatedEvaluations | None:
        if not self.job.evaluation.federated:
            return None
        return FederatedEvaluations(
            self.job,
            self._trainer,
            self.data.validation,
            identities=self._sessions.identities,
            workers=self._workers,
            log=self._paperwork.log,
        )

    @classmethod
    def resume(
        cls,
        out: Path,
        *,
        observe: Observer | None = None,
        workers: int = 1,
        identity: Identity | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> FederatedRun:
        """Go on with a run that stopped: from the last round whose model is on disk.

        What was charged after that round stays charged, and the round is done again under noise, and a charge, of its
        own. Clients that were at work for a later buffer still are.

        Args:
            out: directory of the run.
            observe: told of progress.
            workers: threads for long vectors.
            identity: of the coordinator, if the run was begun with one.
            elsewhere: the run's clients, if they are not simulated in this process.

        Raises:
            ConfigurationError: `out` holds no run, or a damaged one.
            LedgerError: its ledger is damaged, or not its own.
        """
        if not (out / JOB).exists():
            raise ConfigurationError(f"--resume {out} holds no run: there is no {JOB} in it")
        run = cls(load_job(out / JOB), observe=observe, workers=workers, identity=identity, elsewhere=elsewhere)
        run._residuals.keep_in(out)
        state: Mapping[str, Any] = {}
        if (out / MODEL).exists():
            state = run._restore(out)
        elif (out / METRICS).exists():
            raise ConfigurationError(f"{out / MODEL} is missing, though rounds were done: start anew elsewhere")
        run._paperwork.resume(out, state.get("ledger"), begun=run.done > 0)
        # Nothing is written before that has made sure that no other process is at work on the run.
        cut_torn_line(out / RECEIPTS)
        if run.metrics:
            # The model's own note is the truth about the last round: a line that a crash tore, or kept back, is
            # written again.
            write_whole(out / METRICS, "".join(json.dumps(asdict(row)) + "\n" for row in run.metrics).encode())
        if run._paperwork.closed is not None:
            run.stopped = run._paperwork.closed.get("stopped") if run.enough is None else None
        return run

    def _restore(self, out: Path) -> Mapping[str, Any]:
        checkpoint = load_checkpoint(out / MODEL)
        rows = [] if not (out / METRICS).exists() else _whole_lines(out / METRICS)
        try:
            self._memory.restore(checkpoint, self.weights)
            rows = [row for row in rows if row["round"] < checkpoint.round]
            _require_all(rows, checkpoint.round)
            rows.append(dict(checkpoint.metrics))
            self.metrics = [RoundMetrics(**row) for row in rows]
        except (ConfigurationError, TypeError, KeyError) as error:
            raise ConfigurationError(f"{out / MODEL} cannot be gone on from: {error}") from None
        self.weights = checkpoint.weights
        self._work.succeeded = self.version > 0
        return checkpoint.state

    def evaluate_int8(self) -> Int8Evaluation | None:
        """How the model does on the server's examples with weights of 8-bit integers; None unless that is asked for.

        Raises:
            ConfigurationError: this model, or this PyTorch, has none such.
        """
        if not self.job.evaluation.int8:
            return None
        if not isinstance(self._trainer, TorchClassifier):
            raise ConfigurationError(
                f"evaluation.int8 is true and model is {self.model_name!r}, which makes a trainer of its own: leave it "
                f"out, or let the function return a torch.nn.Module"
            )
        return self._trainer.evaluate_int8(self.weights, self.data.test)

    @property
    def done(self) -> int:
        """Rounds done."""
        return self.metrics[-1].round if self.metrics else 0

    @property
    def parameters(self) -> int:
        """Coordinates of an update."""
        return Layout.of(self.weights).length

    def __iter__(self) -> Iterator[RoundMetrics]:
        if self._paperwork.closed is not None:
            return
        try:
            self._begin()
            try:
                for number in range(self.done + 1, self.job.rounds + 1):
                    if self.enough is not None:
                        break
                    yield self._round(number)
            except BudgetExceeded as error:
                self.stopped = f"stopped after round {self.done} of {self.job.rounds}: {error}"
            self._finish()
        except BaseException:
            self._paperwork.let_go()
            raise

    def _begin(self) -> None:
        papers = self._paperwork
        papers.begin(self.averaging, rounds_left=self.done < self.job.rounds)
        if self.guarantee is not None and papers.witness is not None and self._elsewhere is None:
            papers.witness.probe(self._sessions, self.averaging, last=False)
            if isinstance(self._trainer, PrivateTrainer):
                papers.witness.train(self._trainer, self.weights, self.data.feature_shape)

    def _finish(self) -> None:
        papers = self._paperwork
        # Without a round there is nothing to test; what distant clients do, sums of simulated ones would not tell.
        if papers.witness is not None and self.metrics and self._elsewhere is None:
            papers.witness.probe(self._sessions, self.averaging, last=True)
        if papers.out is not None:
            self._save_best(papers.out)
        papers.finish({"rounds": self.done, "stopped": self.stopped or self.enough}, model=MODEL)

    def _round(self, number: int) -> RoundMetrics:
        started, papers = time.perf_counter(), self._paperwork
        if papers.books is not None:
            papers.books.require_room()
        model = Model(weights=self.weights, version=self.version)
        plan = self._memory.scheduler.plan(number, model, self._losses())
        context = self._context(plan)
        chosen = self._compressor.choose(compression_seed(context), self.weights)
        summed = self._site.sum(
            plan,
            self.averaging,
            context=context,
            expected=self._expected(plan),
            chosen=chosen,
            charge=lambda contributors: self._charge(plan, contributors),
        )
        plan, held = summed.plan, summed.held
        clip, scale = self.clip, None if isinstance(self.averaging, PrivateAveraging) else self.averaging.clip
        mean, why_not = self._decoded(held.outcome, context)
        if mean is not None:
            mean = replace(mean, arrays=chosen.expand(mean.arrays))
            self.weights = self._memory.strategy.apply(self.weights, mean.arrays)
            self._memory.version += 1
            if self.view is None and self.guarantee is None:  # a true update in a report would be a release
                self.view = held.view
        self._memory.scheduler.finish(plan, released=mean is not None)
        done = Round(
            plan=plan,
            held=held,
            plain=summed.plain,
            mean=mean,
            why_not=why_not,
            clip=clip,
            scale=scale,
            coordinates=self._compressor.sent.length,
            float32_bytes=FLOAT32_BYTES * self.parameters * summed.trained,
            evaluation=self._trainer.evaluate(self.weights, self.data.test),
            evaluated=None,
            seconds=time.perf_counter() - started,
        )
        self._record(done)
        # The job is on disk by now: nothing that clients keep is without a run that goes on with it.
        self._residuals.settle(number, held.outcome.contributors if mean is not None else ())
        metrics = self._judged(done, new=done.released and not self.job.evaluation.select.federated)
        if self._evaluations is not None and self._evaluation_due(number):
            # Two sums over one model differ by what those found who are in one of them: clients are asked once, and
            # that they were is on disk before they are.
            self._memory.asked = self.version
            self._checkpoint(metrics)
            done = replace(done, evaluated=self._evaluate(self._evaluations, plan, context))
            self._record(done)
            metrics = self._judged(done, new=self.job.evaluation.select.federated)
        self.metrics.append(metrics)
        self._save(metrics)
        return metrics

    def _judged(self, done: Round, *, new: bool) -> RoundMetrics:
        """Return a round's metrics; if they are the first of its model, see whether it is the best, or good enough."""
        memory = self._memory
        metrics = measured(self.job, done, books=self.books, timed=self.fleet is not None)
        if new:
            # A loss that is no number was taken all the same; JSON has no word for it.
            taken = {**asdict(metrics), "loss": done.evaluation.loss}
            memory.enough = memory.best.see(done.plan.number, taken, self.weights)
        return replace(metrics, best_round=memory.best.best_round)

    def _losses(self) -> Losses | None:
        """What clients toss their coins by, where they do: the mean of the last evaluation, and each its own loss."""
        evaluations, weights = self._evaluations, self.weights
        told = [one.federated_loss for one in self.metrics if one.federated_loss is not None]
        if evaluations is None or self.job.cohort.sampling is not Sampling.LOSS or not told:
            return None
        return Losses(mean=told[-1], of=lambda client: evaluations.own_loss(weights, client))

    def _evaluation_due(self, number: int) -> bool:
        return self.job.evaluation.due(number, self.job.rounds) and self._memory.asked < self.version

    def _evaluate(self, evaluations: FederatedEvaluations, plan: RoundPlan, context: bytes) -> Evaluated:
        everyone, fleet = range(self.job.data.clients), self.fleet
        online = frozenset(c for c in everyone if fleet is None or fleet.online(c, plan.ends_s))
        return evaluations.hold(plan.number, self.weights, context=context, online=online)

    def _charge(self, plan: RoundPlan, contributors: int) -> None:
        """Put into the ledger what the round's sum will have cost, before anything is asked that opens it."""
        if self.books is None:
            return
        facts = {
            "cohort": len(self.params.cohort),
            "params_digest": self.params.digest.hex(),
            "clip": self.clip,
            **self._noise_facts(contributors),
        }
        self.books.charge(plan.number, contributors, facts)

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

    def _expected(self, plan: RoundPlan) -> bytes | None:
        """What clients find that the context of a buffer has to be, by the list of models that they were sent."""
        return None if plan.versions is None else plan.versions.context(self._agreed())

    def _context(self, plan: RoundPlan) -> bytes:
        """Digest of what a round is about: model, or models, job and number."""
        job = self._agreed()
        if plan.versions is not None:
            return plan.versions.context(job)
        return round_context(self.weights, job, plan.number)

    def _agreed(self) -> bytes:
        """What clients agree on beside the model: the job, and how their updates are scaled, if that moves."""
        agreed = job_to_toml(self.job).encode() if self._elsewhere is None else self._elsewhere.agreed
        moves = self.job.encoding.adaptive or self._elsewhere is not None
        return scaled(agreed, self.averaging.clip if moves else None)

    def _record(self, done: Round) -> None:
        papers, evaluated = self._paperwork, done.evaluated
        if evaluated is None:
            papers.begin_evidence(self.averaging)
            cohort, contributors, held = len(done.plan.cohort), done.contributors, done.held
        else:
            found, held, cohort = evaluated.found, evaluated.held, len(evaluated.cohort)
            contributors = 0 if found is None else found.clients
        papers.record(
            done.plan.number,
            held,
            cohort=cohort,
            contributors=contributors,
            released=contributors > 0,
            evaluation=evaluated is not None,
        )

    def _checkpoint(self, metrics: RoundMetrics) -> None:
        out, books, row = self._paperwork.out, self.books, asdict(metrics)
        if out is None:
            return
        state = self._memory.state() | ({} if books is None else {"ledger": books.head._asdict()})
        slots = self._memory.slots(metrics.round)
        # The model carries its own metrics line: a crash between the two writes loses neither.
        save_checkpoint(
            out / MODEL,
            Checkpoint(
                weights=self.weights,
                round=metrics.round,
                metrics=row,
                state=state,
                slots=slots,
                job=job_digest(self.job),
            ),
        )
        self._residuals.saved(metrics.round)

    def _save(self, metrics: RoundMetrics) -> None:
        self._checkpoint(metrics)
        if self._paperwork.out is not None:
            append_line(self._paperwork.out / METRICS, json.dumps(asdict(metrics)))
            self._save_best(self._paperwork.out)

    def _save_best(self, out: Path) -> None:
        """Keep the best model in a file of its own, unless it is there; what a crash kept back comes with the next."""
        best, rows = self.best, [one for one in self.metrics if one.round == self.best.best_round]
        if best.best_weights is None or not rows or self._kept == best.best_round:
            return
        save_checkpoint(
            out / BEST,
            Checkpoint(
                weights=best.best_weights,
                round=rows[0].round,
                metrics=asdict(rows[0]),
                job=job_digest(self.job),
            ),
        )
        self._kept = best.best_round


def _require_all(rows: list[dict[str, Any]], done: int) -> None:
    """Raise unless all rounds before the last are told of: nobody else knows what became of them."""
    if lost := sorted(set(range(1, done)) - {row["round"] for row in rows}):
        raise ConfigurationError(f"{METRICS} tells nothing of rounds {lost}: put it back as it was, or start elsewhere")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # torn by a crash
    return rows
