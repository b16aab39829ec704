"""A privacy filter: Rényi divergences of one order, fixed beforehand, which add up however events are chosen.

If each mechanism has a Rényi divergence of order α of at most ρ_t, chosen after all earlier outcomes, and ρ_1 + ρ_2 + …
never passes a bound B that was fixed beforehand, then all of them together have a divergence of at most B. The bound is
the largest that means (ε, δ). To take, when asked, whichever order then looks best would not be covered: that choice
is made by the outcomes.

References:
    Feldman, Zrnic (2021), "Individual Privacy Accounting via a Rényi Filter", Theorem 3.1. Lécuyer (2021), "Practical
    Privacy Filters and Odometers with Rényi Differential Privacy". Canonne, Kamath, Steinke (2020), "The Discrete
    Gaussian for Differential Privacy", Proposition 12, for the conversion.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from privfl.dp.accountants import rdp
from privfl.dp.accountants.reduce import Primitive
from privfl.dp.events import Relation, Repeated
from privfl.errors import ConfigurationError

ORDERS: Final = (
    *(1 + tenth / 10 for tenth in range(1, 20)),
    *(float(order) for order in range(3, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
"""Orders that a filter may have; whole ones from 3 on, where the formulas for noise on whole numbers are sharp."""


def best_order(epsilon: float, delta: float) -> float:
    """Return the order at which most Gaussian noise fits into a budget: divergences of α·ρ, with the largest ρ."""
    return max(ORDERS, key=lambda order: (epsilon - _offset(order, delta)) / order)


def filtered_epsilon(events: Iterable[Repeated], delta: float, relation: Relation, order: float) -> float:
    """Return the ε that a divergence of one order gives at δ; a filter compares it with its budget.

    Raises:
        UnsupportedEvent: the RDP accountant does not know an event.
        MissingExtra: dp-accounting is not installed.
    """
    accountant = _OneOrder(relation, order)
    for part in events:
        accountant.compose(part)
    return accountant.epsilon(delta)


class _OneOrder(rdp.RdpAccountant):
    """The RDP accountant, confined to one order."""

    name: ClassVar[str] = "filter"

    def __init__(self, relation: Relation, order: float) -> None:
        super().__init__(relation)
        self._order = order

    def _epsilon(self, spent: Mapping[Primitive, int], delta: float) -> float:
        places = np.flatnonzero(_grid() == self._order)
        if len(places) != 1:
            raise ConfigurationError(f"order is {self._order!r}: an order of the RDP accountant works, such as 8")
        divergence = float(self._divergences(spent)[places[0]])
        return max(0.0, divergence + _offset(self._order, delta))


def _grid() -> npt.NDArray[np.float64]:
    return rdp.renyi_orders()


def _offset(order: float, delta: float) -> float:
    """What is added to a divergence to make it ε."""
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
