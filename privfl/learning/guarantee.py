"""What a job's noise promises, worked out before anything is trained: how much, for whom, and what a round costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from privfl.dp.budget import Budget
from privfl.dp.calibration import calibrate
from privfl.dp.events import DiscreteGaussian, Event, Gaussian, PoissonSampled, Relation, Repeated, Skellam
from privfl.dp.fitting import epsilon_of, fitted
from privfl.dp.planner import MOST_CORRECTNESS_BITS, IntegerPlan, effective, plan
from privfl.dp.records import Mode, Opening, Unit
from privfl.errors import ConfigurationError
from privfl.learning.job import Job
from privfl.learning.privacy_job import AdaptiveJob, PrivacyJob, PrivacyMode
from privfl.learning.private_trainer import ExamplePlan

_NEGLIGIBLE_SHARE: Final = 1e-3
"""Of δ: what may go unaccounted for."""
_EVERY_CLIENT: Final = 20
"""σ_b is the cohort over this, unless a job says otherwise (Andrew et al., NeurIPS 2021, §3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """What a run promises.

    Attributes:
        unit: whose presence is hidden.
        relation: which data sets are neighbours.
        population: units there are.
        noise_multiplier: z of every round, at the least.
        planned: what a round costs at the most: with the fewest contributors that it may have.
        cost: what a round costs, by its number of contributors.
        facts: what the ledger says of every round.
        against: whom it protects from, in words.
        integers: how client-level modes turn updates into whole numbers.
        training: how mode `example` trains.
    """

    unit: Unit
    relation: Relation
    population: int
    noise_multiplier: float
    planned: Repeated
    cost: Callable[[int], Repeated]
    facts: dict[str, Any]
    against: str
    integers: IntegerPlan | None = None
    training: ExamplePlan | None = None

    def opening(self, job: Job, facts: dict[str, Any]) -> Opening:
        """Return what the run's ledger opens with."""
        privacy = job.privacy
        return Opening(
            unit=self.unit,
            mode=Mode(privacy.mode.value),
            population=self.population,
            budget=Budget(
                epsilon=privacy.epsilon,
                delta=privacy.failure,
                relation=self.relation,
                planned=self.planned,
                planned_rounds=job.rounds,
            ),
            facts={"against": self.against, **self.facts, **facts},
        )

    def planned_epsilon(self, job: Job) -> float:
        """ε of the whole run, if every round has the fewest contributors.

        Raises:
            MissingExtra: dp-accounting is not installed.
        """
        return epsilon_of(self.planned, job.rounds, job.privacy.failure, self.relation)


def guarantee_of(job: Job, *, parameters: int, examples: int) -> Guarantee | None:
    """Work out what a job promises; None if it promises nothing.

    Args:
        job: the job.
        parameters: coordinates of an update.
        examples: training examples of all clients together; public.

    Raises:
        ConfigurationError: the noise that it takes cannot be had; names the key.
        MissingExtra: dp-accounting is not installed.
    """
    if job.privacy.mode is PrivacyMode.NONE:
        return None
    promised = _of_examples(job, examples) if job.privacy.mode is PrivacyMode.EXAMPLE else _of_clients(job, parameters)
    _require_room(job, promised)
    return promised


def _require_room(job: Job, promised: Guarantee) -> None:
    """Refuse budgets that afford no round; what cannot be accounted for, or without an extra, shows here as well."""
    promised.planned_epsilon(job)
    one = epsilon_of(promised.planned, 1, job.privacy.failure, promised.relation)
    if job.privacy.epsilon is not None and one > job.privacy.epsilon:
        raise ConfigurationError(
            f"privacy.epsilon is {job.privacy.epsilon:g}, and one round costs {one:.4g} with privacy.noise_multiplier "
            f"{promised.noise_multiplier:g}: more noise or a larger budget works, or leave noise_multiplier out"
        )
    own = one_round(job, promised)
    if job.privacy.client_epsilon is not None and own > job.privacy.client_epsilon:
        raise ConfigurationError(
            f"privacy.client_epsilon is {job.privacy.client_epsilon:g}, and one round costs a client {own:.4g}: "
            f"{math.ceil(100 * own) / 100:g} or more works"
        )


def one_round(job: Job, promised: Guarantee) -> float:
    """ε of one round at the most, for a unit that is known to take part."""
    return epsilon_of(unamplified(promised), 1, job.privacy.failure, promised.relation)


def unamplified(promised: Guarantee) -> Repeated:
    """What a round costs a client that knows that it takes part: no amplification by a secret cohort."""
    event = promised.planned.event
    if isinstance(event, PoissonSampled) and promised.training is None:
        return replace(promised.planned, event=event.event)
    return promised.planned


def bit_weight(adaptive: AdaptiveJob | None, noise_multiplier: float, cohort: float) -> float:
    """What the centred clip bit ±½ is sent as, in units of the clip: ±β.

    All coordinates of a vector get the same noise. With z the joint noise multiplier of update and bit, noise of
    standard deviation σ_b on the sum of the bits means β² = z²/(4σ_b² − z²); then z_Δ⁻² + (2σ_b)⁻² = z⁻² (Andrew et
    al., Theorem 1).

    Raises:
        ConfigurationError: σ_b is too small for the bit to be hidden beside the update.
    """
    if adaptive is None:
        return 0.0
    noise = adaptive.noise if adaptive.noise is not None else cohort / _EVERY_CLIENT
    if noise < noise_multiplier / math.sqrt(2):
        raise ConfigurationError(
            f"privacy.adaptive.noise is {noise:g} beside a noise multiplier of {noise_multiplier:.4g}: "
            f"{math.ceil(1000 * noise_multiplier / math.sqrt(2)) / 1000:g} or more works"
        )
    return noise_multiplier / math.sqrt(4 * noise**2 - noise_multiplier**2)


def noise_multiplier_of(event: Event) -> float | None:
    """Standard deviation of an event's noise over its L2 sensitivity; None where there is no such number."""
    match event:
        case PoissonSampled():
            return noise_multiplier_of(event.event)
        case Gaussian():
            return event.noise_multiplier
        case Skellam():
            return math.sqrt(event.variance) / event.l2_sensitivity
        case DiscreteGaussian():
            return math.sqrt(event.contributors) * event.local_std / event.l2_sensitivity
        case _:
            return None


def _of_clients(job: Job, parameters: int) -> Guarantee:
    privacy = job.privacy
    distributed = privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED

    def integers(noise_multiplier: float) -> IntegerPlan:
        weight = bit_weight(privacy.adaptive, noise_multiplier, job.expected_cohort)
        return plan(
            dimension=parameters + (privacy.adaptive is not None),
            noise_multiplier=noise_multiplier,
            mechanism=privacy.noise,
            cohort=job.cohort_size,
            honest_minimum=job.honest_minimum if distributed else None,
            extras_norm=weight,
            correctness_bits=min(job.threat.correctness_bits, MOST_CORRECTNESS_BITS),
            rotate=distributed,
            rounds=job.rounds,
            delta=privacy.failure,
        )

    def cost_of(made: IntegerPlan, contributors: int) -> Repeated:
        # Corrupt clients know their own noise: what hides the others is the rest. The server's is known to nobody.
        corrupt = job.corrupt_clients if distributed else 0
        event: Event = effective(made, contributors=contributors, corrupt=corrupt)
        if privacy.amplification and job.cohort.probability is not None and isinstance(event, Gaussian):
            event = PoissonSampled(sampling_probability=job.cohort.probability, event=event)
        return Repeated(event=event, count=1)

    fewest = job.minimum if distributed and job.minimum is not None else 1

    def made_for(noise_multiplier: float) -> tuple[IntegerPlan, Repeated]:
        made = integers(noise_multiplier)
        return made, cost_of(made, fewest)

    made, planned = _fitted(privacy, job.rounds, Relation.ZERO_OUT, made_for, probability=_amplified(job))
    promised = Guarantee(
        unit=Unit.CLIENT,
        relation=Relation.ZERO_OUT,
        population=job.data.clients,
        noise_multiplier=made.noise_multiplier,
        planned=planned,
        cost=lambda contributors: cost_of(made, contributors),
        facts={
            "mechanism": privacy.noise.value,
            "clipping": privacy.clipping.value,
            "noise_multiplier_planned": made.noise_multiplier,
            "granularity": made.granularity,
            "l2_sensitivity": made.l2_sensitivity,
            "noise_variance": float(made.noise.variance),
            "honest_minimum": made.honest_minimum if distributed else None,
            "corrupt_clients": job.corrupt_clients if distributed else 0,
            "denominator": job.expected_cohort,
            "weight_max": 1,
            "sum_bound": made.sum_bound,
            "wrap_bits": made.wrap_bits if math.isfinite(made.wrap_bits) else None,
            "sampler_distance": made.distance,
            "sampling": job.cohort.sampling.value,
            "cohort_planned": job.expected_cohort,
            "sampling_probability": job.cohort.probability,
            "amplification": privacy.amplification,
        },
        against=_against(privacy),
        integers=made,
    )
    if privacy.amplification:
        _require_rare_aborts(job, promised.planned_epsilon(job))
    return promised


def _require_rare_aborts(job: Job, epsilon: float) -> None:
    """Refuse to claim amplification where rounds that abort would tell who was drawn.

    Raises:
        ConfigurationError: what `told_by_aborts` says, times 1 + e^ε, exceeds a thousandth of δ; or more clients may
            drop out than sessions are planned for.
    """
    if job.failures.rate > job.threat.dropout:
        raise ConfigurationError(
            f"failures.rate is {job.failures.rate:g} with privacy.amplification, which rests on rounds not aborting: "
            f"up to threat.dropout, {job.threat.dropout:g}, works"
        )
    if (1 + math.exp(min(epsilon, 500.0))) * told_by_aborts(job) > _NEGLIGIBLE_SHARE * job.privacy.failure:
        raise ConfigurationError(
            f"privacy.amplification is true where too small cohorts abort too often (cohort.minimum {job.minimum}, "
            f"{job.data.clients} clients with cohort.probability {job.cohort.probability:g}), which tells who was "
            f"drawn: a smaller minimum, more clients or a larger probability work, or leave it out"
        )


def told_by_aborts(job: Job) -> float:
    """Statistical distance of all rounds from rounds whose abort does not depend on whether one client was drawn.

    Amplification by Poisson sampling rests on a client that is not drawn being like one that contributes zero. A round
    that aborts under a minimum tells them apart when exactly one client less than the minimum is there beside it:
    drawn, for the session to be held, and left after drop-outs, for its sum to be opened. Drop-outs thin the cohort, by
    up to `threat.dropout` and by what the job scripts; they do not depend on anybody's data.
    """
    probability, fewest = job.cohort.probability, job.minimum
    if probability is None or fewest is None or probability == 1:
        return 0.0
    scripted = max((len(drop.clients) for drop in job.failures.drop), default=0)
    others, below = job.data.clients - 1, fewest - 1
    left = max(
        _binomial(max(others - gone, below), probability * (1 - thinned), below)
        for gone in {0, scripted}
        for thinned in {0.0, job.threat.dropout}
    )
    return job.rounds * probability * (_binomial(others, probability, below) + left)


def _binomial(trials: int, probability: float, hits: int) -> float:
    """P[Bin(trials, probability) = hits]."""
    log_ways = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(log_ways + hits * math.log(probability) + (trials - hits) * math.log1p(-probability))


def _amplified(job: Job) -> float | None:
    return job.cohort.probability if job.privacy.amplification else None


def _fitted(
    privacy: PrivacyJob,
    rounds: int,
    relation: Relation,
    made_for: Callable[[float], tuple[IntegerPlan, Repeated]],
    *,
    probability: float | None,
) -> tuple[IntegerPlan, Repeated]:
    """Find the whole numbers whose cost over all rounds is within the budget."""
    if privacy.noise_multiplier is not None:
        return made_for(privacy.noise_multiplier)
    return fitted(
        privacy.epsilon or math.inf,
        privacy.failure,
        rounds,
        made_for,
        mechanism=privacy.noise,
        relation=relation,
        probability=probability,
    )


def _against(privacy: PrivacyJob) -> str:
    if privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED:
        return "the server, other clients, and whoever sees the models"
    if privacy.amplification:
        return "those who see the models and know neither who takes part nor how many; not the server"
    return "other clients and whoever sees the models; not the server, which adds the noise"


def _of_examples(job: Job, examples: int) -> Guarantee:
    privacy = job.privacy
    privacy.check_population(examples, "training examples")
    public = examples // job.data.clients
    local = job.strategy.local_training()
    assert privacy.clip is not None  # noqa: S101 - `PrivacyJob` saw to it; for the type checker
    clip = privacy.clip

    def training(noise_multiplier: float) -> ExamplePlan:
        return ExamplePlan.of(local, public, clip, noise_multiplier)

    def rounds_of(noise_multiplier: float) -> list[Repeated]:
        return [training(noise_multiplier).over(job.rounds)]

    relation = Relation.ZERO_OUT  # how many examples there are is public: sampling and divisor follow from it
    noise = privacy.noise_multiplier
    if noise is None:
        noise = calibrate(privacy.epsilon or math.inf, privacy.failure, rounds_of, relation)
    made = training(noise)
    return Guarantee(
        unit=Unit.EXAMPLE,
        relation=relation,
        population=examples,
        noise_multiplier=noise,
        planned=made.event,
        # Whoever is in the sum has trained; whoever dropped out has trained as well.
        cost=lambda _contributors: made.event,
        facts={
            "mechanism": privacy.noise.value,
            "noise_multiplier_planned": noise,
            "sampling": "poisson",
            "sampling_probability": made.sampling_probability,
            "steps": made.steps,
            "denominator": made.expected_batch,
            "weight_max": 1,
        },
        against="everyone but the client that holds the example",
        training=made,
    )
