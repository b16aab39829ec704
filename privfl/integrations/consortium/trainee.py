"""What a distant client does for a run of learning: it reads the job, looks at what it is shown, and trains."""

from __future__ import annotations

from dataclasses import dataclass

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.guard import MemoryGuard, StateGuard
from privfl.integrations.consortium.coordinator import TRAIN, RoundTerms, agreed_of
from privfl.integrations.consortium.messages import Greeting, Step
from privfl.integrations.party_books import Cost, PartyBooks
from privfl.integrations.policy import OwnerPolicy
from privfl.learning.data import PublicFacts
from privfl.learning.distant_data import examples_of
from privfl.learning.job import Job, job_from_toml
from privfl.learning.own_data import MOST_CLASSES
from privfl.learning.participation import Participation, refuse_what_is_not_for_distant_clients
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.strategy import Weights
from privfl.params import KeyEpoch, SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.session import Vector

_ROUND = "round of a job"
_SESSION = "session of a round"


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
        guard: for which rounds it has trained, durably; the process's memory unless given.
        books: what it has spent of its own budget; None: nothing is written down.
        workers: threads for long vectors.

    Guarantees:
        1. A client trains for one session of a round of a job, under whatever run the job comes.
        2. A sum that its owner's budget has no room for is not trained for: it is charged first.

    Raises:
        ConfigurationError: the policy has a budget, and there are no books to keep it in.
    """

    def __init__(
        self,
        number: int,
        *,
        data: str | None = None,
        model: str | None = None,
        policy: OwnerPolicy | None = None,
        guard: StateGuard | None = None,
        books: PartyBooks | None = None,
        workers: int = 1,
    ) -> None:
        self._policy = policy or OwnerPolicy()
        if self._policy.budget is not None and books is None:
            raise ConfigurationError("the policy has a [budget], and there are no books to keep it in: give books=")
        self._books = books
        self._guard = guard or MemoryGuard()
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
        if not 2 <= facts.classes <= MOST_CLASSES:
            raise ConfigurationError(f"a run of {facts.classes} classes: 2 to {MOST_CLASSES} work")
        self._part = Participation(
            job,
            facts,
            agreed=agreed_of(greeting),
            number=self._number,
            examples=examples_of(job, facts, self._number, own=self._data),
            model=self._model,
            workers=self._workers,
        )
        if self._books is not None and not self._part.adds_noise:
            # Known beforehand of every round: better said once, where its owner sees it, than declined again and again.
            self._books.require_room(self._books.without_noise(TRAIN))

    def check(self, step: Step, params: SessionParams) -> None:
        """See `Work.check`."""
        part = self._entered()
        if step.kind != TRAIN:
            raise ConfigurationError(f"a step of kind {step.kind!r}, which this client does not know")
        if not 1 <= step.round <= part.job.rounds:
            raise ConfigurationError(f"a step of round {step.round}, and the job has {part.job.rounds}")
        if step.model_bytes != part.model_bytes:
            raise ConfigurationError(f"a model of {step.model_bytes} bytes, and this job's has {part.model_bytes}")
        part.require_planned(params)

    def check_key(self, epoch: KeyEpoch) -> None:
        """See `Work.check_key`: committee, budget of openings and floods are as the job says."""
        wanted = self._entered().key_epoch
        if epoch != wanted:
            raise ConfigurationError(f"a committee's key that is made for {epoch}, and this job's sums take {wanted}")

    def context(self, step: Step, model: bytes) -> bytes:
        """See `Work.context`."""
        part = self._entered()
        weights = part.read(model)
        self._shown = Shown(model=model, weights=weights)
        return part.context(weights, step.round, RoundTerms.from_bytes(step.terms).clip)

    def charge(self, step: Step, params: SessionParams) -> None:
        """See `Work.charge`: a client trains for one session of a round, under whatever run the job comes again.

        Updates of one round that start from models that hardly differ are as good as the same: their sums over
        different survivors could be differenced.
        """
        part = self._entered()
        this_round = digest(Label.CONSORTIUM_ROUND, part.agreed, step.round.to_bytes(8, "big"))
        if not self._guard.claimed(_SESSION, this_round + params.nonce):  # else it was killed before it had answered
            try:
                self._guard.claim(_ROUND, this_round)
            except DisclosureRefused:
                raise DisclosureRefused(f"this client has trained for round {step.round} of this job before") from None
            self._guard.claim(_SESSION, this_round + params.nonce)
        if self._books is not None:
            # After the claims: sessions that are refused cost nothing. The same session is charged once, however often.
            self._books.charge(params, self._cost(part, params))

    def _cost(self, part: Participation, params: SessionParams) -> Cost:
        assert self._books is not None  # noqa: S101 - for the type checker
        if not part.adds_noise:
            return self._books.without_noise(TRAIN)
        event, noise = part.cost(params, corrupt=self._policy.session.corrupt_clients)
        return Cost(events=(event,), noise=noise)

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
