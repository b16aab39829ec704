"""`privacy.*` of a job: what is promised to whom, and how the noise for it is found."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from privfl.dp.clip import Clipping
from privfl.dp.noise import Mechanism
from privfl.errors import ConfigurationError
from privfl.learning.per_example import GradSample

DEFAULT_DELTA: Final = 1e-5


class PrivacyMode(StrEnum):
    """What a job protects with noise, and who adds it."""

    NONE = "none"
    """Secure aggregation alone: no noise, no claim."""
    EXAMPLE = "example"
    """Single training examples; every client, while it trains (DP-SGD)."""
    CLIENT_CENTRAL = "client-central"
    """Whole clients, from those who see the models; the server, after the sum is opened."""
    CLIENT_DISTRIBUTED = "client-distributed"
    """Whole clients, from the server as well; every client a share, inside the sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveJob:
    """`privacy.adaptive.*`: a clip that follows a quantile of the updates' norms (Andrew et al., NeurIPS 2021).

    Attributes:
        quantile: γ, share of clients whose update should be left whole.
        learning_rate: η; the clip moves by a factor of at most e^η a round.
        noise: σ_b, standard deviation of the noise on the number of clients that were left whole; a twentieth of the
            cohort unless given. It is at least 0.71 of the noise
            multiplier: the bit takes no more of the noise than the update.
    """

    quantile: float = 0.5
    learning_rate: float = 0.2
    noise: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise ConfigurationError(
                f"privacy.adaptive.quantile is {self.quantile}: between 0 and 1 works, such as 0.5"
            )
        if not 0 < self.learning_rate <= 2:
            raise ConfigurationError(
                f"privacy.adaptive.learning_rate is {self.learning_rate}: above 0, up to 2, works, such as 0.2"
            )
        if self.noise is not None and not (math.isfinite(self.noise) and self.noise > 0):
            raise ConfigurationError(f"privacy.adaptive.noise is {self.noise}: a number above 0 works, such as 5.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyJob:
    """`privacy.*`: differential privacy.

    Attributes:
        mode: `none`, or what is protected and who adds the noise.
        epsilon: ε, the budget of the whole run. A round that would overrun it is not released.
        delta: δ, below 1 / population; 1e-5 unless given.
        clip: C, L2 norm to which a client's update (or, in mode `example`, an example's gradient) is clipped.
        noise_multiplier: z, standard deviation of the noise over the sensitivity; found from the budget unless given.
            Under `client-distributed` it is what the honest among the fewest contributors add up to.
        mechanism: of `client-distributed`: `skellam` unless given, or `discrete-gaussian`.
        clipping: `flat`, or `per-layer`: every array to C/√(number of arrays).
        amplification: charge less because the cohort is sampled and secret; for `client-central` under
            `cohort.sampling = "poisson"`, against those who see nothing but the models.
        grad_sample: how mode `example` finds the norms of single gradients.
        adaptive: let the clip follow the updates' norms.
        client_epsilon: budget that every client keeps for itself; one that has spent it takes part no more.
    """

    mode: PrivacyMode = PrivacyMode.NONE
    epsilon: float | None = None
    delta: float | None = None
    clip: float | None = None
    noise_multiplier: float | None = None
    mechanism: Mechanism | None = None
    clipping: Clipping = Clipping.FLAT
    amplification: bool = False
    grad_sample: GradSample = GradSample.HOOKS
    adaptive: AdaptiveJob | None = None
    client_epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.mode is PrivacyMode.NONE:
            self._refuse_without_mode()
            return
        self._check_numbers()
        client = self.mode is not PrivacyMode.EXAMPLE
        if client and self.grad_sample is not GradSample.HOOKS:
            raise ConfigurationError(
                f"privacy.grad_sample is set in mode {self.mode.value!r}, where no single gradients are clipped: leave "
                f"it out, or take privacy.mode 'example'"
            )
        if not client and (self.adaptive is not None or self.clipping is not Clipping.FLAT):
            key = "adaptive" if self.adaptive is not None else "clipping"
            raise ConfigurationError(
                f"privacy.{key} is set in mode 'example', where single gradients are clipped: leave it out, or take a "
                f"privacy.mode of 'client-central' or 'client-distributed'"
            )
        self._check_mechanism()
        if self.amplification and self.mode is not PrivacyMode.CLIENT_CENTRAL:
            raise ConfigurationError(
                f"privacy.amplification is true in mode {self.mode.value!r}, which protects from a server that knows "
                f"who takes part: leave it out, or take privacy.mode 'client-central'"
                if client
                else "privacy.amplification is true in mode 'example', whose batches are sampled and accounted for as "
                "they are: leave it out"
            )

    def _check_numbers(self) -> None:
        for key, low, high, works in (
            ("epsilon", 1e-4, 1e3, "4.0"),
            ("client_epsilon", 1e-4, 1e3, "4.0"),
            ("clip", 1e-6, 1e6, "1.0"),
            ("noise_multiplier", 1e-3, 1e6, "1.0"),
            ("delta", 1e-15, 0.5, "1e-5"),
        ):
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise ConfigurationError(f"privacy.{key} is {value}: {low:g} to {high:g} works, such as {works}")
        if self.clip is None:
            raise ConfigurationError(
                f"privacy.clip is missing, without which noise protects nothing: the L2 norm that "
                f"{'a gradient' if self.mode is PrivacyMode.EXAMPLE else 'an update'} usually has works, such as 1.0"
            )
        if self.epsilon is None and self.noise_multiplier is None:
            raise ConfigurationError(
                f"privacy.mode is {self.mode.value!r} without privacy.epsilon or privacy.noise_multiplier: give the "
                f"budget, such as epsilon = 4.0, or the noise, such as noise_multiplier = 1.0"
            )

    def _check_mechanism(self) -> None:
        if self.mechanism is None:
            return
        offered = {
            PrivacyMode.CLIENT_DISTRIBUTED: (Mechanism.SKELLAM, Mechanism.DISCRETE_GAUSSIAN),
            PrivacyMode.CLIENT_CENTRAL: (Mechanism.GAUSSIAN,),
            PrivacyMode.EXAMPLE: (Mechanism.GAUSSIAN,),
        }[self.mode]
        if self.mechanism not in offered:
            raise ConfigurationError(
                f"privacy.mechanism is {self.mechanism.value!r} in mode {self.mode.value!r}: "
                f"{' or '.join(repr(one.value) for one in offered)} works"
            )

    def _refuse_without_mode(self) -> None:
        for entry in fields(self):
            if entry.name != "mode" and getattr(self, entry.name) != entry.default:
                raise ConfigurationError(
                    f"privacy.{entry.name} is set though privacy.mode is 'none', which adds no noise: leave it out, or "
                    f"take a mode, such as privacy.mode = 'client-distributed'"
                )

    @property
    def adds_noise(self) -> bool:
        """Whether there is any."""
        return self.mode is not PrivacyMode.NONE

    @property
    def of_clients(self) -> bool:
        """Whether whole clients are protected."""
        return self.mode in {PrivacyMode.CLIENT_CENTRAL, PrivacyMode.CLIENT_DISTRIBUTED}

    @property
    def failure(self) -> float:
        """δ."""
        return DEFAULT_DELTA if self.delta is None else self.delta

    @property
    def noise(self) -> Mechanism:
        """How the noise is distributed."""
        if self.mechanism is not None:
            return self.mechanism
        return Mechanism.SKELLAM if self.mode is PrivacyMode.CLIENT_DISTRIBUTED else Mechanism.GAUSSIAN

    def check_population(self, population: int, unit: str) -> None:
        """Refuse a δ that lets single units be published outright.

        Raises:
            ConfigurationError: δ ≥ 1 / population.
        """
        if self.failure * population >= 1:
            raise ConfigurationError(
                f"privacy.delta is {self.failure:g} with {population} {unit}: below {1 / population:.2g} works, such "
                f"as {0.1 / population:.1g}, or a mechanism that publishes one of them outright would do"
            )
