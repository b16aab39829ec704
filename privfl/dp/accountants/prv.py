"""Privacy loss random variables: the second opinion, by Opacus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

from privfl.dp.accountants.base import Accountant
from privfl.dp.accountants.extra import opacus_accountants, quiet
from privfl.dp.accountants.rdp import RdpAccountant
from privfl.dp.accountants.reduce import Primitive, surrogate
from privfl.dp.mechanisms import MOST_NOISE, DiscreteGaussian, Gaussian, PoissonSampled, Relation
from privfl.errors import ConfigurationError, UnsupportedEvent

_ERROR: Final = 1e-3
"""What Opacus may add to ε; its own default is ten times as much."""
_LARGEST_ERROR: Final = 0.05
_SHARE: Final = 1e-3
_LARGEST_GRID: Final = 2**23
_MOST_DISTINCT: Final = 8


class PrvAccountant(Accountant):
    """Opacus' accountant, for Gaussian releases and sampled ones, add-or-remove-one or zero-out.

    What it tells is the upper end of its own interval of error. Opacus fails on an empty history; here nothing
    composed costs nothing.

    References:
        Gopi, Lee, Wutschitz (2021), "Numerical Composition of Differential Privacy".
    """

    name: ClassVar[str] = "prv"

    def _admit_private(self, event: Primitive) -> tuple[Primitive, float]:
        if self.relation is Relation.REPLACE_ONE:
            raise UnsupportedEvent("the prv accountant knows no replace-one: the pld accountant does")
        match event:
            case Gaussian() | PoissonSampled(event=Gaussian()):
                return event, 0.0
            case DiscreteGaussian():
                return surrogate(event)
            case PoissonSampled(sampling_probability=probability, event=DiscreteGaussian() as inner):
                noise, distance = surrogate(inner)
                return PoissonSampled(sampling_probability=probability, event=noise), distance
            case _:
                raise UnsupportedEvent("the prv accountant knows Gaussian noise only: the rdp accountant may do")

    def _epsilon(self, spent: Mapping[Primitive, int], delta: float) -> float:
        try:
            return self._answer(_history(spent), delta)
        except ConfigurationError as problem:  # releases joined to one of less noise than any event may have
            raise UnsupportedEvent("the losses are too large for prv: the pld accountant does it") from problem

    def _answer(self, history: list[tuple[float, float, int]], delta: float) -> float:
        error = self._error(history, delta)
        with quiet():
            accountant = opacus_accountants().PRVAccountant()
            accountant.history = history
            try:
                epsilon = float(accountant.get_epsilon(delta, eps_error=error, delta_error=_SHARE * delta))
            except (RuntimeError, ValueError) as problem:
                raise UnsupportedEvent(f"Opacus has no answer for delta {delta:g} ({problem}): pld does") from problem
        if not math.isfinite(epsilon):
            raise UnsupportedEvent(f"Opacus has no answer for delta {delta:g}: the pld accountant does")
        return epsilon

    def _error(self, history: list[tuple[float, float, int]], delta: float) -> float:
        """Return the smallest error whose grid fits into memory."""
        if len(history) > _MOST_DISTINCT:
            raise UnsupportedEvent(
                f"{len(history)} different noise levels are too many for prv: up to {_MOST_DISTINCT} work, or pld"
            )
        estimate = RdpAccountant()
        for noise, probability, count in history:
            estimate.compose(
                PoissonSampled(sampling_probability=probability, event=Gaussian(noise_multiplier=noise)), count
            )
        # Remark 5.6 of the paper, as Opacus computes it.
        width = 2 * (estimate.epsilon(_SHARE * delta / 8) + 3)
        mesh = _ERROR / math.sqrt(sum(count for *_, count in history) * math.log(12 / (_SHARE * delta)) / 2)
        error = _ERROR * max(1.0, width / mesh / _LARGEST_GRID)
        if error > _LARGEST_ERROR:
            raise UnsupportedEvent("the losses are too many or too large for prv: the pld accountant does it")
        return error


def _history(spent: Mapping[Primitive, int]) -> list[tuple[float, float, int]]:
    """Write Opacus' history; releases without sampling are joined to one."""
    history, information = [], 0.0
    for event, count in spent.items():
        match event:
            case PoissonSampled(sampling_probability=probability, event=Gaussian(noise_multiplier=noise)):
                history.append((noise, probability, count))
            case Gaussian(noise_multiplier=noise):
                information += count / noise**2
            case _:
                raise UnsupportedEvent(f"{type(event).__name__} is a mechanism that prv does not know")
    if information:
        history.append((min(1 / math.sqrt(information), MOST_NOISE), 1.0, 1))
    return history
