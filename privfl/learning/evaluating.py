"""Evaluation at the clients: each tries the global model on examples of its own, and one sum tells what they found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privfl.errors import MissingExtra, RoundAborted
from privfl.learning.data import Examples, seed_stream
from privfl.learning.federated_evaluation import EvaluationCodec, FederatedEvaluation
from privfl.learning.job import Job
from privfl.learning.local_work import ClientLog, told_of
from privfl.learning.sessions import Held, RoundInputs, Sessions
from privfl.learning.strategy import Weights
from privfl.learning.trainer import Trainer
from privfl.learning.versions import model_digest
from privfl.params import VectorSpec
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.session import Phase
from privfl.suites import suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An evaluation that was held, or could not be.

    Attributes:
        found: what the sum says; None if there is none.
        held: the session.
        cohort: clients invited.
        because: why clients are not in it, of those that failed.
        why_not: why nothing was found; None if something was.
    """

    found: FederatedEvaluation | None
    held: Held
    cohort: tuple[int, ...]
    because: Mapping[int, str]
    why_not: str | None


class FederatedEvaluations:
    """Holds the evaluations of one run, each in a session of its own.

    Args:
        job: the run's.
        trainer: who evaluates.
        validation: what every client evaluates on: examples that it does not train on.
        identities: the clients' signing keys, where the server is active.
        workers: threads for long vectors.
        log: told what went wrong at a client, for its own eyes.

    The same clients are asked every time. Where some of them cannot be reached, sums over other clients come of it, and
    what does not change between them (how many examples each holds out) can be worked out of enough of such sums: as
    with every sum of what stays the same. What changes with the model cannot.

    Guarantees:
        1. No single client's loss, count or accuracy leaves it: one sum does, over `cohort.minimum` clients or more.
        2. A client whose evaluation raises drops out of it, alone.
    """

    def __init__(
        self,
        job: Job,
        trainer: Trainer,
        validation: tuple[Examples, ...],
        *,
        identities: Mapping[int, Identity] | None = None,
        workers: int = 1,
        log: ClientLog = lambda _client, _what, _error: None,
    ) -> None:
        self._job = job
        self._trainer = trainer
        self._validation = validation
        self._log = log
        self._codec = evaluation_codec(job)
        self._evaluators = self._drawn()
        self._sessions = Sessions(
            job,
            self._codec.vector,
            context=bytes(32),
            clients=job.evaluators,
            identities=identities,
            workers=workers,
        )

    def hold(self, number: int, weights: Weights, *, context: bytes, online: frozenset[int]) -> Evaluated:
        """Let clients evaluate a model.

        Args:
            number: of the round that it stands after.
            weights: the model.
            context: what the round was about.
            online: clients that can be reached.
        """
        cohort = tuple(sorted(self._evaluators & online))
        vectors: dict[int, npt.NDArray[np.int32]] = {}
        because: dict[int, str] = {}
        for client in cohort:
            try:
                vectors[client] = self._codec.encode(self._trainer.evaluate(weights, self._validation[client]))
            except MissingExtra:
                raise
            except Exception as error:  # noqa: BLE001 - as with training: the client's loss alone
                because[client] = told_of("evaluation failed", error)
                self._log(client, f"evaluation after round {number}", error)
        inputs = RoundInputs(
            number=number,
            cohort=cohort,
            drops={Phase.MASKED_INPUT: frozenset(because)},
            # Whoever was given another model to try finds another context, and does not add up with the others.
            context=digest(Label.CONTEXT_EVALUATION, context, model_digest(weights)),
            vectors=vectors,
        )
        held = self._sessions.hold(inputs, charge=lambda _contributors: None)
        found, why_not = None, held.outcome.aborted
        if held.outcome.aggregate is not None:
            try:
                found = self._codec.decode(held.outcome.aggregate)
            except RoundAborted as error:
                why_not = str(error)
        return Evaluated(found=found, held=held, cohort=cohort, because=because, why_not=why_not)

    def own_loss(self, weights: Weights, client: int) -> float:
        """A client's own loss, for its own eyes; one that cannot tell has none that is a number."""
        try:
            return self._trainer.evaluate(weights, self._validation[client]).loss
        except MissingExtra:
            raise
        except Exception:  # noqa: BLE001 - as with training: the client's loss alone
            return math.inf

    def _drawn(self) -> frozenset[int]:
        """Who evaluates: the same clients all the time.

        How many examples a client holds out does not change from sum to sum: sums over clients that change would be so
        many equations for it.
        """
        chance = np.random.default_rng(seed_stream(self._job.seed, "evaluation"))
        chosen = chance.choice(self._job.data.clients, self._job.evaluators, replace=False)
        return frozenset(int(one) for one in chosen)


def evaluation_codec(job: Job) -> EvaluationCodec:
    """Return how the clients of a job write what they find."""
    bins, bits = job.evaluation.bins, job.encoding.bits
    room = EvaluationCodec.room(bins)
    error_std = suite(job.suite).error_std(job.setting(room, clients=job.evaluators), job.evaluators)
    return EvaluationCodec(bins=bins, bits=bits, error_std=error_std)


def evaluation_vector(job: Job) -> VectorSpec:
    """Return what the sessions of a job's evaluations sum."""
    return evaluation_codec(job).vector
