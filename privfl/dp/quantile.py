"""A private quantile of the norms of clients' updates: from which to choose a clip.

Every client says in which of some geometric bins its norm lies: one 1 among zeros, times a whole number, and noised
like any vector of a private sum. The cumulative sums of the noisy histogram give every quantile, at the one price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.dp.clip import check_clip
from privfl.dp.events import DiscreteGaussian, Event, Gaussian, Skellam
from privfl.dp.mechanisms import LEAST_NOISE, MAX_COUNT, MOST_NOISE, check_number, check_whole
from privfl.dp.noise import IntegerNoise, Mechanism, check_mechanism
from privfl.dp.planner import LEAST_SHARE, LEMMA_VARIANCE, NOISE_LOSS, SKELLAM_EXCESS, root_below, round_up
from privfl.errors import ConfigurationError

MOST_BINS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NormHistogram:
    """The agreed histogram of norms.

    Attributes:
        lower: norms up to it share the first bin.
        upper: norms above it share the last bin.
        bins: edges, from lower to upper in geometric steps; the histogram has one bin more.
        noise_multiplier: z = σ/Δ₂ of the noise, carried out by `honest_minimum` clients or by the server.
        mechanism: which noise, and whose.
        cohort: n, most contributors.
        honest_minimum: k, fewest contributors whose noise nobody knows.

    Guarantees:
        1. A client's vector is `scale` in one coordinate and 0 elsewhere, whatever its norm: Δ₁ = Δ₂ = scale.
        2. Without noise, the quantile is the exact one, rounded up to an edge. Noise moves the rank by z·√(bins + 1)
           clients at most, in standard deviations, where k = n.

    >>> histogram = NormHistogram(lower=0.1, upper=10.0, bins=5, noise_multiplier=1.0, cohort=100, honest_minimum=80)
    >>> [round(float(edge), 3) for edge in histogram.edges]
    [0.1, 0.316, 1.0, 3.162, 10.0]
    >>> total = sum(histogram.encode(norm) for norm in (0.2, 0.9, 0.9, 2.5))
    >>> histogram.quantile(total, 0.5, contributors=4)
    1.0
    """

    lower: float
    upper: float
    bins: int = 24
    noise_multiplier: float
    mechanism: Mechanism = Mechanism.SKELLAM
    cohort: int
    honest_minimum: int

    def __post_init__(self) -> None:
        """Refuse what is no histogram."""
        check_clip("lower", self.lower)
        check_clip("upper", self.upper)
        if not self.lower < self.upper:
            raise ConfigurationError(f"upper is {self.upper}: a number above lower = {self.lower} works")
        check_whole("bins", self.bins, 2, MOST_BINS, such_as="24")
        check_number("noise_multiplier", self.noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="5")
        check_whole("cohort", self.cohort, 1, MAX_COUNT, such_as="100")
        check_whole("honest_minimum", self.honest_minimum, 1, self.cohort, such_as=str(self.cohort))
        object.__setattr__(self, "mechanism", check_mechanism(self.mechanism))

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The bins' upper edges, float64, shape (bins,)."""
        return np.geomspace(self.lower, self.upper, self.bins)

    @property
    def length(self) -> int:
        """Coordinates of the vector: a bin for each edge, and one beyond the last."""
        return self.bins + 1

    @property
    def scale(self) -> int:
        """What one client counts as: large enough that noise on whole numbers is as good as continuous noise."""
        excess = SKELLAM_EXCESS if self.mechanism is Mechanism.SKELLAM else LEMMA_VARIANCE
        variance = excess / (2 * NOISE_LOSS)
        if self.mechanism is Mechanism.DISCRETE_GAUSSIAN:
            variance = max(variance, float(LEAST_SHARE * self.honest_minimum))
        return math.ceil(math.sqrt(variance) / self.noise_multiplier)

    @property
    def noise(self) -> IntegerNoise:
        """One client's share, or the server's whole noise (GAUSSIAN)."""
        target = Fraction(self.noise_multiplier) ** 2 * self.scale**2
        if self.mechanism is not Mechanism.SKELLAM:
            target += LEMMA_VARIANCE
        shares = 1 if self.mechanism is Mechanism.GAUSSIAN else self.honest_minimum
        return IntegerNoise(kind=self.mechanism, variance=round_up(target / shares))

    @property
    def bound(self) -> int:
        """Largest magnitude of a coordinate of one client, noise included."""
        return self.scale + (0 if self.mechanism is Mechanism.GAUSSIAN else self.noise.tail)

    def encode(self, norm: float) -> npt.NDArray[np.int32]:
        """Return a client's vector before noise: int32, shape (length,).

        Raises:
            ConfigurationError: the norm is negative or not finite.
        """
        if not 0 <= norm < math.inf:
            raise ConfigurationError("the norm is no finite number from 0 up: clip an update that is finite")
        vector = np.zeros(self.length, np.int32)
        vector[int(np.searchsorted(self.edges, norm))] = self.scale
        return vector

    def quantile(self, total: npt.NDArray[np.integer[Any]], quantile: float, *, contributors: int) -> float:
        """Read a quantile from the noised sum.

        Args:
            total: the sum, noise included; integers, shape (length,).
            quantile: of the clients, above 0 and below 1, whose norms are to be at most what is returned.
            contributors: how many clients are in the sum; public.

        Returns:
            An edge: the lowest up to which the noisy counts reach the quantile, or `upper` if none does.

        Raises:
            ConfigurationError: wrong shape, or no quantile.
        """
        if total.shape != (self.length,):
            raise ConfigurationError(f"a sum of shape {total.shape} where {(self.length,)} is agreed")
        if not 0 < quantile < 1:
            raise ConfigurationError(f"quantile is {quantile!r}: a number above 0 and below 1 works, such as 0.5")
        (reached,) = np.nonzero(np.cumsum(total[:-1]) >= quantile * contributors * self.scale)
        return float(self.edges[reached[0]]) if len(reached) else float(self.upper)

    def event(self, *, contributors: int, corrupt: int = 0) -> Event:
        """Return what one histogram is to be charged as.

        Raises:
            ConfigurationError: no honest contributor is left, or there are more than the cohort.
        """
        honest = contributors - corrupt
        if not 0 < honest <= contributors <= self.cohort:
            raise ConfigurationError(
                f"{contributors} contributors of which {corrupt} are corrupt: up to {self.cohort} work, one of them "
                f"honest"
            )
        scale, variance = float(self.scale), self.noise.variance
        if self.mechanism is Mechanism.SKELLAM:
            return Skellam(l2_sensitivity=scale, l1_sensitivity=scale, variance=float(honest * variance))
        if self.mechanism is Mechanism.DISCRETE_GAUSSIAN:
            return DiscreteGaussian(
                l2_sensitivity=scale,
                l1_sensitivity=scale,
                local_std=root_below(variance),
                contributors=honest,
                dimension=self.length,
            )
        return Gaussian(noise_multiplier=root_below((variance - LEMMA_VARIANCE) / self.scale**2))
