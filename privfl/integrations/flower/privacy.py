"""`privacy=`: what a server promises the nodes of a run, and what else then may not leave them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privfl.dp.noise import Mechanism, check_mechanism
from privfl.errors import ConfigurationError
from privfl.params import ThreatModel
from privfl.suites import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class _Number:
    """What a setting may be."""

    low: float
    high: float
    such_as: str
    whole: bool = False

    def of(self, key: str, value: object) -> float:
        """Return a value as a float, or, where it counts something, as it is.

        Raises:
            ConfigurationError: it may not be that.
        """
        kinds = int if self.whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            what = "a whole number, " if self.whole else ""
            raise ConfigurationError(
                f"privacy.{key} is {value!r}: {what}{self.low:g} to {self.high:g}, works, such as {self.such_as}"
            )
        return value if self.whole else float(value)


_NUMBERS: Final = {
    "epsilon": _Number(low=1e-4, high=1e3, such_as="4.0"),
    "clip": _Number(low=1e-6, high=1e6, such_as="1.0"),
    "delta": _Number(low=1e-15, high=0.5, such_as="1e-5"),
    "denominator": _Number(low=1e-6, high=1e9, such_as="the cohort"),
    "cohort": _Number(low=2, high=1e6, such_as="10", whole=True),
    "rounds": _Number(low=1, high=1e6, such_as="20", whole=True),
    "population": _Number(low=2, high=1e9, such_as="100", whole=True),
}
_OPTIONAL: Final = frozenset({"denominator", "population"})
_OFFERED: Final = (Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDistributed:
    """Differential privacy of whole nodes, from the server as well: each adds a share of the noise inside the sum.

    Whatever a node contributes in all rounds is hidden, against one that contributes zero (who takes part is public).
    It is clipped, rounded and noised at the node; nothing else of it leaves: no weight, count or metric.

    Attributes:
        epsilon: ε of all rounds together.
        clip: C, L2 norm that a node's update is clipped to: the change of all learned arrays together.
        cohort: nodes that the strategy asks in a round, at most.
        rounds: how many sums may be opened in all. The noise is made for them, and no budget is left after them.
        delta: δ, below 1 / population.
        mechanism: "skellam", or "discrete-gaussian", which needs about 7 % less noise.
        denominator: what sums are divided by: public and fixed beforehand; the cohort unless given. Nodes that drop out
            make a round's step shorter, and never the noise in it larger.
        population: nodes that there are, if there are more than the cohort.
        ledger: the server's ledger; made there, with the key that signs it beside it (`coordinator.pem`, unless the
            wrapper has an identity), or gone on with. None: it lasts as long as the strategy.

    Amplification by sampling is not claimed: Flower's strategies draw a fixed number of nodes, and the server knows
    whom, as every node does of itself.
    """

    epsilon: float
    clip: float
    cohort: int
    rounds: int
    delta: float = 1e-5
    mechanism: Mechanism | str = Mechanism.SKELLAM
    denominator: float | None = None
    population: int | None = None
    ledger: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be, or promises nothing."""
        for key, number in _NUMBERS.items():
            if key not in _OPTIONAL or getattr(self, key) is not None:
                object.__setattr__(self, key, number.of(key, getattr(self, key)))
        mechanism = check_mechanism(self.mechanism)
        if mechanism not in _OFFERED:
            raise ConfigurationError(
                f"privacy.mechanism is {mechanism.value!r}, which a server adds: 'skellam' or 'discrete-gaussian' works"
            )
        object.__setattr__(self, "mechanism", mechanism)
        if self.ledger is not None:
            object.__setattr__(self, "ledger", Path(self.ledger))
        if self.nodes < self.cohort:
            raise ConfigurationError(
                f"privacy.population is {self.population} with a cohort of {self.cohort}: it counts all nodes that "
                f"there are"
            )
        if self.delta * self.nodes >= 1:
            raise ConfigurationError(
                f"privacy.delta is {self.delta:g} with {self.nodes} nodes: below {1 / self.nodes:.2g} works, such as "
                f"{0.1 / self.nodes:.1g}, or a mechanism that publishes one of them outright would do"
            )

    @property
    def nodes(self) -> int:
        """Nodes that there are, at least."""
        return self.cohort if self.population is None else self.population

    @property
    def noise(self) -> Mechanism:
        """Which noise."""
        return Mechanism(self.mechanism)

    @property
    def divisor(self) -> float:
        """What sums are divided by."""
        return float(self.cohort) if self.denominator is None else self.denominator

    def corrupt(self, threat: ThreatModel) -> int:
        """Return how many nodes of a round may tell their share of the noise: one at least, each knows its own."""
        return max(1, math.floor(threat.corrupt * self.cohort + 1e-9))

    def fewest(self, suite: Suite, threat: ThreatModel, given: int | None) -> int:
        """Return the fewest contributors of a sum, for which shares of the noise are sized.

        Args:
            suite: that sums.
            threat: whom sessions withstand.
            given: what the wrapper was told, if anything; else what is left after as many drop-outs as are planned for.

        Raises:
            ConfigurationError: of so few nobody is honest, or there never are so many.
        """
        left = self.cohort - math.floor(threat.dropout * self.cohort + 1e-9)
        fewest = max(left, suite.fewest_contributors(self.cohort, threat)) if given is None else given
        corrupt = self.corrupt(threat)
        if not corrupt < fewest <= self.cohort:
            raise ConfigurationError(
                f"minimum_contributors is {fewest} with up to {corrupt} nodes of {self.cohort} who look at the sum and "
                f"know their own noise: {corrupt + 1} to {self.cohort} works, and the more the less noise each adds"
            )
        return fewest

    def check_alone(
        self,
        *,
        suite: Suite,
        clip: float | None,
        weight_max: float | None,
        metrics: Collection[str],
        evaluates: bool,
    ) -> None:
        """Refuse whatever would leave nodes beside what noise covers.

        Args:
            suite: that sums.
            clip: the wrapper's argument.
            weight_max: likewise.
            metrics: names of metrics that were to enter sums, of training and evaluation.
            evaluates: whether the strategy asks nodes for evaluations.

        Raises:
            ConfigurationError: something would; says why, and what works.
        """
        if not suite.protects:
            raise ConfigurationError(
                f"suite is {suite.name!r} with privacy=: the server would read single updates, each with no more than "
                f"its own share of the noise; 'masking', 'kahe' or 'ckks' works"
            )
        for key, value, why in (
            ("clip", clip, "privacy.clip, the L2 norm of a whole update, is the bound that noise is made for"),
            ("weight_max", weight_max, "all nodes weigh the same: a weight follows from a node's data"),
        ):
            if value is not None:
                raise ConfigurationError(f"{key} is set beside privacy=, where {why}: leave it out")
        if metrics:
            raise ConfigurationError(
                f"metrics are set beside privacy= ({', '.join(sorted(metrics))}): each would be a release of its own, "
                f"that no noise covers and no budget pays for; leave them out, and judge the model by evaluate_fn"
            )
        if evaluates:
            raise ConfigurationError(
                "the strategy evaluates on nodes beside privacy=: what they find would be a release of its own, that "
                "no noise covers and no budget pays for; fraction_evaluate=0.0 works, with evaluate_fn on the "
                "server's own data"
            )
