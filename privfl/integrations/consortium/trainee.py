"""What a distant client does for a run of learning: it reads the job, looks at what it is shown, and trains."""

from __future__ import annotations

from dataclasses import dataclass

from privfl.errors import ConfigurationError
from privfl.integrations.consortium.coordinator import TRAIN, RoundTerms
from privfl.integrations.consortium.messages import Greeting, Step, encode
from privfl.integrations.policy import OwnerPolicy
from privfl.learning.data import PublicFacts
from privfl.learning.distant_data import examples_of
from privfl.learning.job import Job, job_from_toml
from privfl.learning.participation import Participation, refuse_what_is_not_for_distant_clients
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.strategy import Weights
from privfl.params import SessionParams
from privfl.session import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A round as this client was shown it."""

    model: bytes
    weights: Weights


class Trainee:
    """A client's work: `consortium.participant.Work`.

    Args:
        number: of the client.
        data: `module:function` that returns what it holds; None: its part of a built-in data set.
        model: `module:function` that builds the job's model, if the job names one such.
        policy: what its owner insists on.
        workers: threads for long vectors.

    Raises:
        ConfigurationError: the policy has a budget, which is not kept here.
    """

    def __init__(
        self,
        number: int,
        *,
        data: str | None = None,
        model: str | None = None,
        policy: OwnerPolicy | None = None,
        workers: int = 1,
    ) -> None:
        self._policy = policy or OwnerPolicy()
        if self._policy.budget is not None:
            raise ConfigurationError(
                "the policy has a [budget], and no ledger of a client's own is kept here: leave [budget] out, or take "
                "part where it is kept, inside Flower"
            )
        self._number = number
        self._data = data
        self._model = model
        self._workers = workers
        self._part: Participation | None = None
        self._shown: Shown | None = None

    @property
    def job(self) -> Job | None:
        """The run's job, once it was entered."""
        return None if self._part is None else self._part.job

    def enter(self, greeting: Greeting) -> None:
        """See `Work.enter`."""
        job = job_from_toml(greeting.job.encode(), what="the job of this run")
        refuse_what_is_not_for_distant_clients(job)
        if job.privacy.mode is PrivacyMode.NONE and job.encoding.bits < self._policy.bits:
            raise ConfigurationError(
                f"encoding.bits is {job.encoding.bits}, and this client wants {self._policy.bits} or more (bits)"
            )
        said = greeting.facts
        facts = PublicFacts(
            clients=said.clients,
            examples=said.examples,
            classes=said.classes,
            feature_shape=said.feature_shape,
        )
        if facts.clients != job.data.clients:
            raise ConfigurationError(
                f"a run of {facts.clients} clients whose job says data.clients = {job.data.clients}"
            )
        self._part = Participation(
            job,
            facts,
            agreed=encode(greeting),
            number=self._number,
            examples=examples_of(job, facts, self._number, own=self._data),
            model=self._model,
            workers=self._workers,
        )

    def context(self, step: Step, model: bytes) -> bytes:
        """See `Work.context`."""
        part = self._entered()
        if step.kind != TRAIN:
            raise ConfigurationError(f"a step of kind {step.kind!r}, which this client does not know")
        vector, spec = SessionParams.from_bytes(step.params).vector, part.vector_spec
        if vector != spec:
            raise ConfigurationError(f"round {step.round} sums {vector}, and this job's updates are {spec}")
        weights = part.read(model)
        self._shown = Shown(model=model, weights=weights)
        return part.context(weights, step.round, RoundTerms.from_bytes(step.terms).clip)

    def charge(self, step: Step, params: SessionParams) -> None:
        """See `Work.charge`: no budget is kept here."""

    def vector(self, step: Step, params: SessionParams, model: bytes, context: bytes) -> Vector:  # noqa: ARG002
        """See `Work.vector`."""
        part, shown = self._entered(), self._shown
        weights = shown.weights if shown is not None and shown.model is model else part.read(model)
        self._shown = None
        return part.vector(weights, step.round, RoundTerms.from_bytes(step.terms).clip, context)

    def _entered(self) -> Participation:
        if self._part is None:
            raise ConfigurationError("no run was entered")
        return self._part
