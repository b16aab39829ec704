"""From what a server promises to noise, and to what a round costs: worked out before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privfl import __version__
from privfl.dp.budget import Budget
from privfl.dp.events import Relation, Repeated
from privfl.dp.fitting import fitted
from privfl.dp.planner import MOST_CORRECTNESS_BITS, IntegerPlan, effective, plan
from privfl.dp.records import Mode, Opening, Unit
from privfl.errors import ConfigurationError
from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.privacy import ClientDistributed
from privfl.integrations.flower.private_terms import terms_of
from privfl.params import ThreatModel

_AGAINST = "the server, other nodes, and whoever sees the models"
_SAMPLING = "the strategy's own; nothing is claimed for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A run's noise.

    Attributes:
        settings: what was asked for.
        minimum: fewest contributors of a sum.
        corrupt: how many of them may tell their shares.
        plan: whole numbers and noise.
        planned: what a round costs at its worst: over the fewest contributors.
    """

    settings: ClientDistributed
    minimum: int
    corrupt: int
    plan: IntegerPlan
    planned: Repeated

    @classmethod
    def of(cls, settings: ClientDistributed, *, parameters: int, minimum: int, threat: ThreatModel) -> Promise:
        """Find the noise.

        Args:
            settings: what is asked for.
            parameters: coordinates of an update.
            minimum: fewest contributors of a sum.
            threat: whom sessions withstand.

        Raises:
            ConfigurationError: the noise that it takes cannot be had; names the key.
            MissingExtra: dp-accounting is not installed.
        """
        corrupt = settings.corrupt(threat)

        def made_for(noise_multiplier: float) -> tuple[IntegerPlan, Repeated]:
            made = plan(
                dimension=parameters,
                noise_multiplier=noise_multiplier,
                mechanism=settings.noise,
                cohort=settings.cohort,
                honest_minimum=minimum - corrupt,
                correctness_bits=min(threat.correctness_bits, MOST_CORRECTNESS_BITS),
                rounds=settings.rounds,
                delta=settings.delta,
            )
            return made, Repeated(event=effective(made, contributors=minimum, corrupt=corrupt), count=1)

        try:
            made, planned = fitted(
                settings.epsilon, settings.delta, settings.rounds, made_for, mechanism=settings.noise
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"privacy: {error}") from None
        return cls(settings=settings, minimum=minimum, corrupt=corrupt, plan=made, planned=planned)

    def terms(self, number: int, weighted_by: str) -> Terms:
        """Return what nodes are shown in a round."""
        settings = self.settings
        return Terms(
            kind="train",
            round=number,
            clip=settings.clip,
            bits=0,
            weight_max=1.0,
            weighted_by=weighted_by,
            privacy=terms_of(
                self.plan,
                denominator=settings.divisor,
                minimum=self.minimum,
                corrupt=self.corrupt,
                cohort=settings.cohort,
                rounds=settings.rounds,
                epsilon=settings.epsilon,
                delta=settings.delta,
            ),
        )

    def cost(self, contributors: int) -> Repeated:
        """Return what a round costs, once it is known how many are in its sum.

        Raises:
            ConfigurationError: more than the cohort, or none that is honest.
        """
        return Repeated(event=effective(self.plan, contributors=contributors, corrupt=self.corrupt), count=1)

    def opening(self, facts: Mapping[str, Any]) -> Opening:
        """Return what the run's ledger opens with; `facts` are beside those of the promise."""
        settings = self.settings
        return Opening(
            unit=Unit.CLIENT,
            mode=Mode.CLIENT_DISTRIBUTED,
            population=settings.nodes,
            budget=Budget(
                epsilon=settings.epsilon,
                delta=settings.delta,
                relation=Relation.ZERO_OUT,
                planned=self.planned,
                planned_rounds=settings.rounds,
            ),
            facts={"against": _AGAINST, "privfl": __version__, "rounds": settings.rounds, **self.facts, **facts},
        )

    def facts_of(self, contributors: int) -> dict[str, Any]:
        """Return what the ledger says of a round beside `facts`, as an auditor works it out again."""
        honest = (contributors - self.corrupt) * float(self.plan.noise.variance)
        return {
            **self.facts,
            "contributors": contributors,
            "noise_multiplier_effective": math.sqrt(honest) / self.plan.l2_sensitivity,
            "noise_std_of_sum": self.settings.clip * self.plan.noise_std(contributors),
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What the ledger says of every round."""
        settings, made = self.settings, self.plan
        return {
            "mechanism": settings.noise.value,
            "clip": settings.clip,
            "noise_multiplier_planned": made.noise_multiplier,
            "granularity": made.granularity,
            "l2_sensitivity": made.l2_sensitivity,
            "noise_variance": float(made.noise.variance),
            "minimum_contributors": self.minimum,
            "honest_minimum": made.honest_minimum,
            "corrupt_clients": self.corrupt,
            "denominator": settings.divisor,
            "weight_max": 1,
            "sum_bound": made.sum_bound,
            "wrap_bits": made.wrap_bits if math.isfinite(made.wrap_bits) else None,
            "sampler_distance": made.distance,
            "sampling": _SAMPLING,
            "sampling_probability": None,
            "cohort_planned": settings.cohort,
            "amplification": False,
        }
