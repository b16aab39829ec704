"""Privacy loss distributions: the tight accountant, by dp-accounting, whose figure is the one that is reported."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, Final

from privfl.dp.accountants.base import Accountant
from privfl.dp.accountants.extra import dp_accounting, dp_accounting_pld, quiet, scipy_special
from privfl.dp.accountants.rdp import RdpAccountant
from privfl.dp.accountants.reduce import Primitive, surrogate
from privfl.dp.mechanisms import (
    LEAST_NOISE,
    MOST_NOISE,
    DiscreteGaussian,
    Gaussian,
    Laplace,
    PoissonSampled,
    Relation,
    Skellam,
)
from privfl.errors import UnsupportedEvent

_INTERVAL: Final = 1e-4
"""dp-accounting's own."""
_COARSE: Final = 3e-5
LEAST_DELTA: Final = 1e-9
"""Convolutions lose some 10^−12 of probability to rounding: below it ε would come out too small."""
_MOST_INTERVALS: Final = 2_000_000
_NEGLIGIBLE: Final = 1e-12
_TAIL: Final = 1e-16
"""What a composition may cut off: it counts as infinite loss."""
_MOST_DISTINCT: Final = 32
_STEPS_TO_AN_OCTAVE: Final = (512, 128, 32, 8, 2)
_STEPS_OF_BISECTION: Final = 200


class PldAccountant(Accountant):
    """Composes privacy loss distributions, rounded so that ε comes out at or above the truth.

    Gaussian releases without sampling join to one, whose ε is in closed form: their losses are normal. A discrete
    Gaussian is accounted as the Gaussian that it comes from (docs/privacy_lemma.md). Skellam noise on vectors has no
    such form: it is refused, and the rdp accountant answers. Of sampled Gaussians, those of nearly equal noise are
    accounted at the smallest among them once there are more than 32.

    References:
        Koskela, Jälkö, Honkela (2020); Doroshenko et al. (2022), "Connect the Dots"; Balle and Wang (2018), Theorem 8,
        for the closed form.
    """

    name: ClassVar[str] = "pld"

    def _admit_private(self, event: Primitive) -> tuple[Primitive, float]:
        match event:
            case Gaussian() | Laplace():
                return event, 0.0
            case DiscreteGaussian():
                return surrogate(event)
            case PoissonSampled(event=Gaussian()):
                return event, 0.0
            case PoissonSampled(event=Laplace()) if self.relation is not Relation.REPLACE_ONE:
                return event, 0.0
            case PoissonSampled(sampling_probability=probability, event=DiscreteGaussian() as inner):
                noise, distance = surrogate(inner)
                return PoissonSampled(sampling_probability=probability, event=noise), distance
            case PoissonSampled(event=Skellam()):
                raise UnsupportedEvent(
                    "no amplification by sampling is claimed for Skellam noise: leave out sampling_probability, or "
                    "take discrete-gaussian"
                )
            case _:
                raise UnsupportedEvent(
                    f"{_named(event)} is not accounted by pld under {self.relation}: the rdp accountant may do"
                )

    def _epsilon(self, spent: Mapping[Primitive, int], delta: float) -> float:
        loss = self._loss(spent)
        if isinstance(loss, _Discretised) and delta < LEAST_DELTA:
            raise UnsupportedEvent(
                f"delta {delta:g} is below what convolutions in floating point resolve: {LEAST_DELTA:g} or more works "
                f"with pld where something is sampled or Laplace, or the rdp accountant"
            )
        with quiet():
            return loss.epsilon(delta)

    def _delta(self, spent: Mapping[Primitive, int], epsilon: float) -> float:
        loss = self._loss(spent)
        with quiet():
            told = loss.delta(epsilon)
        return max(told, LEAST_DELTA) if isinstance(loss, _Discretised) else told

    def _loss(self, spent: Mapping[Primitive, int]) -> _NormalLoss | _Discretised:
        information, others = 0.0, dict[Primitive, int]()
        for event, count in spent.items():
            if isinstance(event, Gaussian):
                information += count / event.noise_multiplier**2
            else:
                others[event] = count
        if not others:
            return _NormalLoss(math.sqrt(information))
        return self._discretised(information, binned(others))

    def _grid(self, information: float, others: Mapping[Primitive, int]) -> float:
        return _interval(information, others, self.relation)

    def _discretised(self, information: float, others: Mapping[Primitive, int]) -> _Discretised:
        interval = self._grid(information, others)
        try:
            return _composed(information, frozenset(others.items()), self.relation, interval)
        except (OverflowError, MemoryError) as error:
            raise UnsupportedEvent(
                f"losses this large are beyond pld ({error}): more noise or fewer steps work, or the rdp accountant"
            ) from error


class CoarsePldAccountant(PldAccountant):
    """The same on a coarser grid, ten times as fast for few steps: for searches whose answer is checked by the other.

    Rounding up to a grid of width h moves ε by about T·h²/3 in T steps; h is chosen to keep that near 10^−5. ε still
    comes out at or above the truth, but might fall by as much when an event is added.
    """

    def _grid(self, information: float, others: Mapping[Primitive, int]) -> float:
        wide = min(math.sqrt(_COARSE / sum(others.values())), 2.0**5 * _INTERVAL)
        return max(super()._grid(information, others), _INTERVAL * 2.0 ** math.floor(math.log2(wide / _INTERVAL)))


class _NormalLoss:
    """The loss of Gaussian releases: normal, with a standard deviation of μ and a mean of μ²/2."""

    def __init__(self, spread: float) -> None:
        self._spread = spread
        self._log_ndtr = scipy_special().log_ndtr

    def delta(self, epsilon: float) -> float:
        return math.exp(self._log_delta(epsilon))

    def epsilon(self, delta: float) -> float:
        target = math.log(delta)
        # The loss exceeds the upper end with probability δ at most, and so does δ there.
        low, high = 0.0, self._spread**2 / 2 + self._spread * math.sqrt(-2 * target)
        if self._log_delta(low) <= target:
            return 0.0
        for _ in range(_STEPS_OF_BISECTION):
            middle = (low + high) / 2
            if middle in {low, high}:
                break
            low, high = (low, middle) if self._log_delta(middle) <= target else (middle, high)
        return high

    def _log_delta(self, epsilon: float) -> float:
        # δ = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ)
        above = float(self._log_ndtr(self._spread / 2 - epsilon / self._spread))
        below = epsilon + float(self._log_ndtr(-self._spread / 2 - epsilon / self._spread))
        return above + math.log1p(-math.exp(below - above)) if below < above else -math.inf


class _Discretised:
    """A loss on a grid, rounded upwards."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss

    def delta(self, epsilon: float) -> float:
        return float(self._loss.get_delta_for_epsilon(epsilon))

    def epsilon(self, delta: float) -> float:
        return float(self._loss.get_epsilon_for_delta(delta))


@lru_cache(maxsize=4)
def _composed(
    information: float, others: frozenset[tuple[Primitive, int]], relation: Relation, interval: float
) -> _Discretised:
    """Compose the losses of events, which takes seconds where many differ; what was composed last is remembered."""
    with quiet():
        # In an order of their own, so that equal events give equal sums.
        parts = [
            _single(event, relation, interval).self_compose(count, _TAIL) for event, count in sorted(others, key=repr)
        ]
        if information:
            # Its sensitivity is doubled already where the relation asks for it.
            joined = dp_accounting_pld().from_gaussian_mechanism(
                1 / math.sqrt(information), value_discretization_interval=interval
            )
            parts.append(joined)
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.compose(part, _TAIL)
    return _Discretised(whole)


def binned(spent: Mapping[Primitive, int]) -> dict[Primitive, int]:
    """Join sampled Gaussians of nearly equal noise until few are left.

    Noise is rounded down, and less noise never costs less. Rounds with drop-outs have a noise multiplier each; the
    finest grid raises ε by about one part in a thousand, the next by four.
    """
    for steps in _STEPS_TO_AN_OCTAVE:
        if len(spent) <= _MOST_DISTINCT:
            break
        joined: dict[Primitive, int] = defaultdict(int)
        for event, count in spent.items():
            joined[_rounded_down(event, steps)] += count
        spent = joined
    return dict(spent)


def _rounded_down(event: Primitive, steps: int) -> Primitive:
    match event:
        case PoissonSampled(event=Gaussian(noise_multiplier=noise)):
            least = max(LEAST_NOISE, 2 ** (math.floor(steps * math.log2(noise)) / steps))
            return replace(event, event=Gaussian(noise_multiplier=min(noise, least)))
        case _:
            return event


def _interval(information: float, others: Mapping[Primitive, int], relation: Relation) -> float:
    """Return dp-accounting's interval, or a multiple of it where losses are so large that the grid would not fit."""
    estimate = RdpAccountant()
    widest = 0.0
    if information:
        estimate.compose(_clamped(1 / math.sqrt(information)))
    for event, count in others.items():
        match event:
            case PoissonSampled(sampling_probability=probability, event=Gaussian(noise_multiplier=noise)):
                noise = noise / 2 if relation is Relation.REPLACE_ONE else noise
                estimate.compose(PoissonSampled(sampling_probability=probability, event=_clamped(noise)), count)
                widest = max(widest, 1 / (2 * noise**2) + 10 / noise)  # noise beyond 10σ is cut off, and counted
            case PoissonSampled(event=inner) | inner:
                estimate.compose(inner, count)
    width = 2 * max(widest, estimate.epsilon(_NEGLIGIBLE))
    return _INTERVAL * 2.0 ** max(0, math.ceil(math.log2(width / _INTERVAL / _MOST_INTERVALS)))


def _clamped(noise: float) -> Gaussian:
    return Gaussian(noise_multiplier=min(max(noise, LEAST_NOISE), MOST_NOISE))


@lru_cache(maxsize=128)
def _single(event: Primitive, relation: Relation, interval: float) -> Any:
    """Return the privacy loss distribution of one event."""
    pld, relations = dp_accounting_pld(), dp_accounting().NeighboringRelation
    probability = event.sampling_probability if isinstance(event, PoissonSampled) else 1.0
    match event.event if isinstance(event, PoissonSampled) else event:
        case Gaussian(noise_multiplier=noise):
            return pld.from_gaussian_mechanism(
                noise,
                value_discretization_interval=interval,
                sampling_prob=probability,
                neighboring_relation=relations[relation.name.replace("ZERO_OUT", "REPLACE_SPECIAL")],
            )
        case Laplace(noise_multiplier=noise):
            return pld.from_laplace_mechanism(noise, value_discretization_interval=interval, sampling_prob=probability)
        case other:
            raise UnsupportedEvent(f"{type(other).__name__} is a mechanism that pld does not know")


def _named(event: Primitive) -> str:
    return f"sampled {type(event.event).__name__}" if isinstance(event, PoissonSampled) else type(event).__name__
