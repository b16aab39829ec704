"""Rényi differential privacy: dp-accounting's orders and divergences, and the formulas for noise on whole numbers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from privfl.dp.accountants.base import Accountant
from privfl.dp.accountants.extra import dp_accounting, quiet
from privfl.dp.accountants.reduce import Primitive, surrogate
from privfl.dp.integer import discrete_gaussian_rdp, skellam_rdp
from privfl.dp.mechanisms import DiscreteGaussian, Gaussian, Laplace, PoissonSampled, Relation, Skellam
from privfl.errors import UnsupportedEvent


class RdpAccountant(Accountant):
    """Adds up Rényi divergences, order by order: for Gaussian, sampled Gaussian, Laplace, Skellam, discrete Gaussian.

    The orders are dp-accounting's, so that figures can be compared. A sampled discrete Gaussian is accounted as the
    Gaussian that it comes from; sampled Skellam and Laplace noise are refused: no amplification is claimed for them.

    References:
        Mironov (2017), "Rényi Differential Privacy"; Mironov, Talwar, Zhang (2019) for sampling; Canonne, Kamath,
        Steinke (2020), Proposition 12, for the conversion; Feldman and Zrnic (2021): divergences that an adversary
        chooses adaptively still add up, which makes this the accountant that stops runs.
    """

    name: ClassVar[str] = "rdp"

    def _admit_private(self, event: Primitive) -> tuple[Primitive, float]:
        if not isinstance(event, PoissonSampled):
            return event, 0.0
        if self.relation is Relation.REPLACE_ONE:
            raise UnsupportedEvent(
                "sampled events are not accounted by rdp under replace-one: the pld accountant does, or leave out "
                "sampling_probability"
            )
        distance, inner = 0.0, event.event
        if isinstance(inner, DiscreteGaussian):
            inner, distance = surrogate(inner)
        if not isinstance(inner, Gaussian):
            raise UnsupportedEvent(
                f"no amplification by sampling is claimed by rdp for {type(inner).__name__}: leave out "
                f"sampling_probability"
            )
        return PoissonSampled(sampling_probability=event.sampling_probability, event=inner), distance

    def _epsilon(self, spent: Mapping[Primitive, int], delta: float) -> float:
        orders, divergences = renyi_orders(), self._divergences(spent)
        with quiet():
            return float(_conversions().compute_epsilon(orders, divergences, delta)[0])

    def _delta(self, spent: Mapping[Primitive, int], epsilon: float) -> float:
        orders, divergences = renyi_orders(), self._divergences(spent)
        with quiet():
            return float(_conversions().compute_delta(orders, divergences, epsilon)[0])

    @staticmethod
    def _divergences(spent: Mapping[Primitive, int]) -> npt.NDArray[np.float64]:
        total = np.zeros(len(renyi_orders()))
        for event, count in spent.items():
            total += count * _divergence(event)
        return total


@lru_cache(maxsize=1)
def renyi_orders() -> npt.NDArray[np.float64]:
    """Return the orders that divergences are told at, ascending: dp-accounting's own."""
    return _read_only(np.array(_conversions().DEFAULT_RDP_ORDERS, np.float64))


def _conversions() -> Any:
    return dp_accounting().rdp.rdp_privacy_accountant


@lru_cache(maxsize=1 << 14)
def _divergence(event: Primitive) -> npt.NDArray[np.float64]:
    """Return the Rényi divergence at every order."""
    orders = renyi_orders()
    match event:
        case Gaussian(noise_multiplier=noise):
            return _read_only(orders / (2 * noise**2))
        case Skellam(l2_sensitivity=l2, l1_sensitivity=l1, variance=variance):
            # No L1 norm is below its L2 norm, whatever was said of it.
            return _read_only(np.array(skellam_rdp(orders, l2=l2, l1=max(l1, l2), variance=variance)))
        case DiscreteGaussian():
            return _read_only(
                np.array(
                    discrete_gaussian_rdp(
                        orders,
                        l2=event.l2_sensitivity,
                        l1=max(event.l1_sensitivity, event.l2_sensitivity),
                        local_std=event.local_std,
                        contributors=event.contributors,
                        dimension=event.dimension,
                    )
                )
            )
        case _:
            return _read_only(_of_dp_accounting(event, orders))


def _of_dp_accounting(event: Primitive, orders: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    library = dp_accounting()
    with quiet():
        accountant = library.rdp.RdpAccountant(list(orders))
        match event:
            case Laplace(noise_multiplier=noise):
                accountant.compose(library.LaplaceDpEvent(noise))
                return np.asarray(accountant.rdp, np.float64)
            case PoissonSampled(sampling_probability=probability, event=Gaussian(noise_multiplier=noise)):
                accountant.compose(library.PoissonSampledDpEvent(probability, library.GaussianDpEvent(noise)))
                sampled = np.asarray(accountant.rdp, np.float64)
                # Where its series cancel out, dp-accounting arrives at 0 or below, and then at ε = 0. Sampling never
                # costs more than none: that bound stands in.
                return np.where(sampled > 0, sampled, orders / (2 * noise**2))
            case _:
                raise UnsupportedEvent(f"{type(event).__name__} is a mechanism that rdp does not know")


def _read_only(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values.flags.writeable = False  # it is shared by all who ask again
    return values
