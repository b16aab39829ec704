"""From a noise multiplier to whole numbers: granularity, sensitivities, noise, and room in the ring.

A client's clipped update, in units of the clip, and what else it sends (`extras`) have a joint norm of ρ = √(1 + e²).
Divided by a granularity γ and rounded they are whole numbers of norm Δ₂ (`privfl.dp.rounding`), and noise is sized for
that Δ₂: a noise multiplier is σ/Δ₂, exactly, of what is sent. What whole numbers cost is seen in the noise: Δ₂ is a
little above ρ/γ, and integer noise hides a little less than continuous noise of its variance.

- *Skellam*, of central variance μ: RDP(α) ≤ αΔ₂²/2μ + ((2α − 1)Δ₂² + 6Δ₁)/4μ², and Δ₁ ≤ Δ₂², so that at every order
  from 2 on it is at most 1 + (2α + 5)/2αμ ≤ 1 + 9/4μ times the Gaussian's.
- *Discrete Gaussian* of variance V: within e^(−300) a post-processing of the Gaussian of variance V − 16, to which the
  lemma of `docs/privacy_lemma.md` reduces it; sums of shares likewise, where a share's variance is 25 or more.

`IntegerPlan.loss` is by how much less noise a continuous Gaussian on unrounded updates would do; γ is the coarsest that
keeps it below `MOST_LOSS`, which is what makes the ring narrow.

References:
    Kairouz, Liu, Steinke, ICML 2021; Agarwal, Kairouz, Liu, *The Skellam Mechanism*, NeurIPS 2021, Theorem 3.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from privfl.compression.rotation import padded
from privfl.dp import tables
from privfl.dp.events import DiscreteGaussian, Event, Gaussian, Skellam
from privfl.dp.integer import l1_bound, rounded_norm
from privfl.dp.mechanisms import LEAST_NOISE, MAX_COUNT, MOST_NOISE, check_number, check_whole
from privfl.dp.noise import IntegerNoise, Mechanism, check_mechanism
from privfl.errors import ConfigurationError

MOST_LOSS: Final = 0.02
ROUNDING_LOSS: Final = 0.01
NOISE_LOSS: Final = 0.005
LEMMA_VARIANCE: Final = 16
"""What the discrete Gaussian's variance exceeds that of the Gaussian by which it is accounted."""
LEAST_SHARE: Final = 25
"""Smallest variance of one client's discrete Gaussian: sums of narrower ones are no discrete Gaussians."""
SKELLAM_EXCESS: Final = 9 / 4
"""By how much Skellam noise of variance μ costs more than the Gaussian, relatively: this over μ, from order 2 on."""
_SIGNIFICANT_BITS: Final = 16
_MOST_CLIENTS: Final = 1_000_000
MOST_CORRECTNESS_BITS: Final = 64
_NEGLIGIBLE: Final = 1e-12
"""Of δ: what samplers are off by, which times 1 + e^ε is not to be seen in it."""
_MOST_DIMENSION: Final = 2**30
LEAST_DELTA: Final = 1e-18


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerPlan:
    """How a round's updates become noised whole numbers.

    Attributes:
        mechanism: which noise, and whose.
        dimension: coordinates before padding, extras included.
        length: coordinates as sent; a power of two where rotated.
        rotate: whether vectors are rotated.
        cohort: n, most contributors.
        honest_minimum: k, fewest contributors whose noise nobody knows; shares are sized for them.
        extras_norm: e, largest norm of the extras, in units in which the update has norm 1.
        noise_multiplier: z that was asked for; what is carried out is at least that, if k are honest.
        granularity: γ, what the whole number 1 stands for, in the same units.
        l2_squared: Δ₂², of one client's whole numbers before noise.
        noise: one client's share, or the server's whole noise (GAUSSIAN).
        sum_bound: a magnitude that no coordinate of the sum exceeds but with a probability below 2^−wrap_bits a round;
            None where only cohort · bound is certain.
        wrap_bits: η; infinite where nothing can wrap.
        distance: of all draws of all rounds, to exact noise: statistical; times 1 + e^ε it is to be added to δ.
        loss: by what fraction a continuous Gaussian on unrounded updates would need less noise.
    """

    mechanism: Mechanism
    dimension: int
    length: int
    rotate: bool
    cohort: int
    honest_minimum: int
    extras_norm: float
    noise_multiplier: float
    granularity: float
    l2_squared: int
    noise: IntegerNoise
    sum_bound: int | None
    wrap_bits: float
    distance: float
    loss: float

    @property
    def l2_sensitivity(self) -> float:
        """Δ₂: the least float whose square is not below `l2_squared`."""
        root = root_below(Fraction(self.l2_squared))
        return root if Fraction(root) ** 2 == self.l2_squared else math.nextafter(root, math.inf)

    @property
    def l1_sensitivity(self) -> float:
        """Δ₁, rounded up."""
        return math.nextafter(l1_bound(self.l2_sensitivity, self.length), math.inf)

    @property
    def client_noise(self) -> IntegerNoise | None:
        """What every client adds; None where the server adds it all."""
        return None if self.mechanism is Mechanism.GAUSSIAN else self.noise

    @property
    def server_noise(self) -> IntegerNoise | None:
        """What the server adds to the opened sum; None where clients add shares."""
        return self.noise if self.mechanism is Mechanism.GAUSSIAN else None

    @property
    def bound(self) -> int:
        """Largest magnitude of a coordinate as one client sends it, noise included: none exceeds it."""
        noise = self.client_noise
        return math.isqrt(self.l2_squared) + (noise.tail if noise else 0)

    def noise_std(self, contributors: int) -> float:
        """Standard deviation of the noise in a sum of so many clients, in units of the clip."""
        shares = 1 if self.mechanism is Mechanism.GAUSSIAN else contributors
        return self.granularity * math.sqrt(shares * self.noise.variance)


def plan(
    *,
    dimension: int,
    noise_multiplier: float,
    mechanism: Mechanism,
    cohort: int,
    honest_minimum: int | None = None,
    extras_norm: float = 0.0,
    correctness_bits: int = 30,
    rotate: bool = True,
    rounds: int = 1,
    delta: float = 1e-5,
) -> IntegerPlan:
    """Choose granularity, noise and bounds.

    Args:
        dimension: d, coordinates of the update and the extras.
        noise_multiplier: z = σ/Δ₂ of the sum, to be reached by the noise of `honest_minimum` clients or of the server.
        mechanism: which noise.
        cohort: n, most contributors.
        honest_minimum: k, fewest honest contributors of a round that completes; n unless given. GAUSSIAN needs none.
        extras_norm: e ≥ 0; 0 without extras.
        correctness_bits: η; a sum exceeds `sum_bound` with a probability below 2^−η a round.
        rotate: rotate vectors: evens out coordinates, and so narrows the ring.
        rounds: how often the plan will be carried out.
        delta: δ of the whole run.

    Raises:
        ConfigurationError: a number out of range, or noise that cannot be drawn; names the key and a value that works.

    Guarantees:
        1. `loss` is below 2 %.
        2. k shares (or the server's noise) have a variance of at least (zΔ₂)² as they are accounted.
        3. No coordinate of a client exceeds `bound`; one of a sum exceeds `sum_bound` with a probability below 2^−η.

    Assumes:
        For `sum_bound`, that updates do not depend on the rotation's seed.
    """
    honest = cohort if honest_minimum is None else honest_minimum
    check_whole("dimension", dimension, 1, _MOST_DIMENSION, such_as="1000000")
    check_number("noise_multiplier", noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="1.0")
    check_whole("cohort", cohort, 1, _MOST_CLIENTS, such_as="100")
    check_whole("honest_minimum", honest, 1, cohort, such_as=str(cohort))
    check_number("extras_norm", extras_norm, 0, 1, such_as="0.1")
    check_whole("correctness_bits", correctness_bits, 1, MOST_CORRECTNESS_BITS, such_as="30")
    check_whole("rounds", rounds, 1, MAX_COUNT, such_as="100")
    check_number("delta", delta, LEAST_DELTA, 1, such_as="1e-5")
    mechanism = check_mechanism(mechanism)
    length = padded(dimension) if rotate else dimension
    joint = math.hypot(1.0, extras_norm)
    shares = 1 if mechanism is Mechanism.GAUSSIAN else honest
    norm = _norm(length, noise_multiplier, mechanism, shares)
    l2_squared = math.floor(rounded_norm(norm, length) ** 2)
    target = Fraction(noise_multiplier) ** 2 * l2_squared
    if mechanism is not Mechanism.SKELLAM:
        target += LEMMA_VARIANCE
    noise = IntegerNoise(kind=mechanism, variance=round_up(target / shares))
    granularity = joint / norm
    draws = rounds * length * (1 if mechanism is Mechanism.GAUSSIAN else cohort)
    inside = None if mechanism is Mechanism.GAUSSIAN else noise
    bound = math.isqrt(l2_squared) + (inside.tail if inside else 0)
    likely = _sum_bound(norm, length, cohort, correctness_bits, inside)
    sum_bound = likely if rotate and likely < cohort * bound else None
    made = IntegerPlan(
        mechanism=mechanism,
        dimension=dimension,
        length=length,
        rotate=rotate,
        cohort=cohort,
        honest_minimum=honest,
        extras_norm=float(extras_norm),
        noise_multiplier=float(noise_multiplier),
        granularity=granularity,
        l2_squared=l2_squared,
        noise=noise,
        sum_bound=sum_bound,
        wrap_bits=math.inf if sum_bound is None else float(correctness_bits),
        distance=draws * 2.0**noise.log2_distance,
        loss=_loss(norm, noise_multiplier, mechanism, shares, noise),
    )
    if made.distance > _NEGLIGIBLE * delta:
        raise ConfigurationError(
            f"delta {delta:g} is too near to what {rounds} rounds of {length} draws of {cohort} clients are off by: "
            f"{made.distance / _NEGLIGIBLE:.2g} or more works"
        )
    return made


def effective(made: IntegerPlan, *, contributors: int, corrupt: int = 0) -> Event:
    """Return the event that a round of a plan is to be charged as, once it is known who took part.

    Args:
        made: the plan.
        contributors: how many clients are in the sum.
        corrupt: how many of them, as a whole number, may tell their noise to whoever the guarantee is against.

    Raises:
        ConfigurationError: no whole numbers, no honest contributor is left, or there are more than the cohort.

    Guarantees:
        1. Noise that only corrupt clients know of is not counted; the server's is counted once, whoever took part.
    """
    check_whole("contributors", contributors, 0, _MOST_CLIENTS, such_as=str(made.cohort))
    # A fraction of them, as threat models have it, would count hardly anybody as corrupt.
    check_whole("corrupt", corrupt, 0, _MOST_CLIENTS, such_as="1")
    honest = contributors - corrupt
    if not 0 < honest <= contributors <= made.cohort:
        raise ConfigurationError(
            f"{contributors} contributors of which {corrupt} are corrupt: up to {made.cohort} work, one of them honest"
        )
    variance = made.noise.variance
    if made.mechanism is Mechanism.SKELLAM:
        return Skellam(
            l2_sensitivity=made.l2_sensitivity,
            l1_sensitivity=made.l1_sensitivity,
            variance=float(honest * variance),  # exact: `round_up` left few enough bits
        )
    if made.mechanism is Mechanism.DISCRETE_GAUSSIAN:
        return DiscreteGaussian(
            l2_sensitivity=made.l2_sensitivity,
            l1_sensitivity=made.l1_sensitivity,
            local_std=root_below(variance),
            contributors=honest,
            dimension=made.length,
        )
    return Gaussian(noise_multiplier=root_below((variance - LEMMA_VARIANCE) / made.l2_squared))


def root_below(value: Fraction) -> float:
    """Return the largest float whose square is not above a value: what is charged is never more than what was done."""
    root = math.sqrt(value)
    while Fraction(root) ** 2 > value:
        root = math.nextafter(root, 0.0)
    while Fraction(above := math.nextafter(root, math.inf)) ** 2 <= value:
        root = above
    return root


def _norm(length: int, noise_multiplier: float, mechanism: Mechanism, shares: int) -> float:
    """The smallest ρ/γ at which rounding, noise on whole numbers, and shares of it cost no more than they may."""
    gap = (1 + ROUNDING_LOSS) ** 2 - 1
    # Solves a² + d/4 + a + √d/2 ≤ (1 + loss)²·a² for a.
    rounding = (1 + math.sqrt(1 + 4 * gap * (length / 4 + math.sqrt(length) / 2))) / (2 * gap)
    excess = SKELLAM_EXCESS if mechanism is Mechanism.SKELLAM else LEMMA_VARIANCE
    variance = excess / (2 * NOISE_LOSS)
    if mechanism is Mechanism.DISCRETE_GAUSSIAN:
        variance = max(variance, float(LEAST_SHARE * shares))
    return math.ceil(16 * max(rounding, math.sqrt(variance) / noise_multiplier)) / 16


def _loss(norm: float, noise_multiplier: float, mechanism: Mechanism, shares: int, noise: IntegerNoise) -> float:
    central = shares * float(noise.variance)
    needed = (noise_multiplier * norm) ** 2
    if mechanism is Mechanism.SKELLAM:
        central *= 1 + SKELLAM_EXCESS / central
    return math.sqrt(central / needed) - 1


def _sum_bound(norm: float, length: int, cohort: int, correctness_bits: int, noise: IntegerNoise | None) -> int:
    """Union bound over all coordinates: the rotated sum 2^−(η+2), noise 2^−(η+2), the sampler's distance the rest.

    A coordinate of the rotated sum is Σ ±S_j/√m with random signs and ‖S‖ ≤ n·ρ/γ: by Hoeffding it exceeds t with a
    probability of at most 2·e^(−t²m/2‖S‖²). Rounding moves each of n vectors by less than 1. Fewer contributors reach
    less far.
    """
    bits = correctness_bits + 2 + math.log2(length)
    rotated = cohort * norm * math.sqrt(2 * (bits + 1) * math.log(2) / length)
    reach = math.ceil(rotated * (1 + 1e-9)) + cohort
    if noise:
        law = tables.skellam_reach if noise.kind is Mechanism.SKELLAM else tables.gaussian_reach
        reach += law(cohort * noise.variance, bits)
    return reach


def round_up(value: Fraction) -> Fraction:
    """To a whole number, or to 16 significant bits: floats hold it exactly, and its multiples. Never down."""
    step = 1 << max(0, _SIGNIFICANT_BITS - math.floor(math.log2(value)))
    return Fraction(math.ceil(value * step), step)
