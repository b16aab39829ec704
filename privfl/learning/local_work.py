"""What the clients of a round do: train what they were given, and write their updates as vectors of the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from privfl.compression.compressor import Chosen
from privfl.errors import ConfigurationError, DisclosureRefused, MissingExtra
from privfl.learning.averaging import Averaging
from privfl.learning.contributing import contribute, contribute_nothing
from privfl.learning.data import Examples
from privfl.learning.job import Job
from privfl.learning.own_code import OwnCodeFailed, told
from privfl.learning.records import Observer, Progress
from privfl.learning.residuals import Residuals
from privfl.learning.scheduling import Assignment, RoundPlan
from privfl.learning.trainer import Trainer
from privfl.learning.versions import model_digest
from privfl.session import Vector

ClientLog = Callable[[int, str, Exception], None]
"""Told of a client, what it was doing, and what went wrong."""
_LONGEST: Final = 300
TRAINING_FAILED: Final = "training failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """What came of a round's training.

    Attributes:
        vectors: of the clients that can upload.
        failed: the others: client to reason.
    """

    vectors: Mapping[int, Vector] = field(repr=False)
    failed: Mapping[int, str]


class LocalWork:
    """Trains the clients of a run, each on its own examples.

    A client whose training raises drops out of the round, and nobody else is harmed by it. Only where it raises at
    every client that was to train, and they were enough for a session or nobody has trained before, is the job at
    fault, and the run ends.

    Args:
        job: the run's.
        trainer: who trains.
        clients: examples of every client.
        private: whether what goes wrong at a client is for nobody to know: under differential privacy a reason could
            tell what no noise hides.
        zeros: whether a client whose training fails adds nothing to the sum, under its share of the noise, instead of
            dropping out: where whole clients are protected, that its examples made it fail is not to be seen either.
        observe: told of progress.
        log: told what went wrong at a client, for its own eyes.

    Attributes:
        succeeded: whether anybody has trained before.

    Guarantees:
        1. A client whose training, or whose update, is not in order uploads nothing of it in that round.
        2. Under differential privacy of examples nothing but that it failed is told of it; of clients, not even that.
        3. A client takes part in no buffer that its own model is not listed for.
    """

    def __init__(
        self,
        job: Job,
        trainer: Trainer,
        clients: Sequence[Examples],
        *,
        private: bool = False,
        zeros: bool = False,
        observe: Observer = lambda _progress: None,
        log: ClientLog = lambda _client, _what, _error: None,
    ) -> None:
        self._job = job
        self._trainer = trainer
        self._clients = clients
        self._private = private
        self._zeros = zeros
        self._observe = observe
        self._log = log
        self._fewest = job.fewest_contributors(job.cohort_size)
        self.succeeded = False

    def train(
        self,
        plan: RoundPlan,
        averaging: Averaging,
        *,
        context: bytes,
        expected: bytes | None = None,
        chosen: Chosen,
        residuals: Residuals,
    ) -> Worked:
        """Train every client that is to upload.

        Args:
            plan: of the round.
            averaging: how updates are written.
            context: what the session's parameters say that it is about.
            expected: what a client works out of the list of models that it was sent, where there is one.
            chosen: what of an update travels.
            residuals: what clients have kept of earlier updates; what they keep now is staged there.

        Raises:
            ConfigurationError: training fails everywhere.
            MissingExtra: of what it takes to train something is not installed.
        """
        vectors: dict[int, Vector] = {}
        too_coarse: dict[int, str] = {}
        errors: dict[int, Exception] = {}
        number, assignments = plan.number, plan.assignments
        for done, (client, assignment) in enumerate(sorted(assignments.items())):
            self._observe(Progress(round=number, stage="training", done=done, of=len(assignments)))
            try:
                weight = self._weight(plan, assignment, agrees=context == expected)
                contribution = contribute(
                    self._trainer,
                    self._clients[client],
                    assignment,
                    averaging,
                    chosen,
                    client=client,
                    context=context,
                    weight=weight,
                    residual=residuals.of(client),
                )
                vectors[client] = contribution.vector
                if not self.succeeded and (why := averaging.too_coarse(contribution.result)) is not None:
                    too_coarse[client] = why
                if contribution.residual is not None:
                    residuals.stage(number, client, contribution.residual)
            except MissingExtra:
                raise
            except (Exception, SystemExit) as raised:  # noqa: BLE001 - a trainer may be anybody's: its client's loss
                error = _of_client(raised)
                errors[client] = error
                self._log(client, f"round {number}", error)
        self._observe(Progress(round=number, stage="aggregating", done=len(assignments), of=len(assignments)))
        if errors and not vectors and (not self.succeeded or len(errors) >= self._fewest):
            self._give_up(number, errors)
        if vectors and too_coarse.keys() == vectors.keys():
            # Of one client, or later when a model has settled, nothing may be left: that is no mistake.
            raise ConfigurationError(f"round {number}, at every client: {min(too_coarse.items())[1]}")
        self.succeeded |= bool(vectors)
        if self._zeros:
            for client in [one for one, error in errors.items() if not isinstance(error, DisclosureRefused)]:
                vectors[client] = contribute_nothing(assignments[client], averaging, chosen, context=context)
                del errors[client]
        return Worked(vectors=vectors, failed={client: self._told(error) for client, error in errors.items()})

    def _weight(self, plan: RoundPlan, assignment: Assignment, *, agrees: bool) -> float:
        """What the client's update counts for; or a refusal, if the session is not for it."""
        buffering = self._job.strategy.buffering()
        if buffering is None or plan.versions is None:
            return 1.0
        if not agrees:
            raise DisclosureRefused(f"buffer {plan.number} is for another list of models than its context says")
        model = assignment.model
        return buffering.discount(plan.versions.staleness(model.version, model_digest(model.weights)))

    def _told(self, error: Exception) -> str:
        return TRAINING_FAILED if self._private else told_of(TRAINING_FAILED, error)

    def _give_up(self, number: int, errors: Mapping[int, Exception]) -> None:
        """Training failed at every client: say so, with what the first of them says."""
        rate = self._job.strategy.learning_rate
        if self._private:  # whose update it was, and what was in it, is not for the server to know
            raise ConfigurationError(
                f"round {number}: training failed at every client; where it diverged, a smaller strategy.learning_rate "
                f"than {rate} may work"
            ) from None
        client, error = min(errors.items())
        kind = "" if isinstance(error, ConfigurationError) else f"{type(error).__name__}: "
        said = " ".join(str(error).split())[:_LONGEST]
        cure = f"; a strategy.learning_rate smaller than {rate} may work, such as {min(rate / 10, 0.1):g}"
        raise ConfigurationError(
            f"round {number}: training failed at every client; at client {client}: {kind}{said}"
            f"{cure if 'finite' in said else ''}"
        ) from error


def _of_client(raised: BaseException) -> Exception:
    if isinstance(raised, Exception):
        return raised
    error = OwnCodeFailed(f"the trainer ended the program: {told(raised)}")
    error.__cause__ = raised
    return error


def told_of(what: str, error: Exception) -> str:
    """Say what kind of thing went wrong at a client: what an error says may tell of its examples, and stays with it."""
    raised = error.__cause__ if isinstance(error, OwnCodeFailed) else error
    return f"{what}: {type(raised).__name__}"
