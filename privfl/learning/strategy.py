"""What the server makes of the mean update: a step of the model, by an optimiser of its own.

It starts from the mean that a secure sum opened and nothing else. Under differential privacy it is post-processing and
costs nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from privfl.learning.server_state import Arrays, Floats, Remembering, Weights, check_slots, floats, moved
from privfl.learning.strategy_job import Optimiser, StrategyJob

__all__ = ["FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedYogi", "ServerOptimiser", "Weights", "server_optimiser"]


class ServerOptimiser(Protocol):
    """A step of the model from the mean of the updates, and what later steps remember of it.

    The mean update takes the part of a negative gradient. Whatever travels beside the parameters, such as the running
    statistics of a batch normalisation, is stepped like them.

    Guarantees:
        1. `apply` leaves its arguments as they are.
        2. A step depends on its arguments and the float32 state alone: an optimiser that was restored goes on, bit by
           bit, as the one whose state it was.
        3. What `restore` refuses leaves the state as it was.
    """

    def apply(self, weights: Arrays, mean: Arrays) -> Weights:
        """Return the next global model, and move the state.

        Args:
            weights: the global model, by name.
            mean: of the updates; names and shapes of `weights`.

        Returns:
            New arrays: float32, names and shapes of `weights`.

        Raises:
            ConfigurationError: the state is of a model with other names or shapes.
        """
        ...

    def state(self) -> Mapping[str, Weights]:
        """Return a copy of what is remembered, by slot and name; empty before the first step and if nothing ever is."""
        ...

    def restore(self, slots: Mapping[str, Arrays]) -> None:
        """Go on from what `state` returned.

        Args:
            slots: by slot and name; empty to begin anew.

        Raises:
            ConfigurationError: slots of another optimiser, names or shapes that differ from slot to slot or from those
                of the present state, or numbers that no state holds.
        """
        ...


def server_optimiser(strategy: StrategyJob) -> ServerOptimiser:
    """Return the optimiser of a job, before its first step.

    >>> halfway = server_optimiser(StrategyJob(server_learning_rate=0.5))
    >>> halfway.apply({"w": np.zeros(1)}, {"w": np.ones(1)})
    {'w': array([0.5], dtype=float32)}
    """
    step = strategy.server_step()
    adaptive = {"momentum": step.momentum, "adaptivity": step.adaptivity}
    match step.optimiser:
        case Optimiser.SGD:
            return FedAvg(step.learning_rate)
        case Optimiser.MOMENTUM:
            return FedAvgM(step.learning_rate, momentum=step.momentum)
        case Optimiser.ADAGRAD:
            return FedAdagrad(step.learning_rate, **adaptive)
        case Optimiser.ADAM:
            return FedAdam(step.learning_rate, **adaptive, second_momentum=step.second_momentum)
        case Optimiser.YOGI:
            return FedYogi(step.learning_rate, **adaptive, second_momentum=step.second_momentum)


class FedAvg:
    """Federated averaging: x ← x + ηΔ. With η = 1 the model moves by the mean of the updates.

    Args:
        learning_rate: η.

    References:
        McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017.
    """

    def __init__(self, learning_rate: float = 1.0) -> None:
        self._learning_rate = learning_rate

    def apply(self, weights: Arrays, mean: Arrays) -> Weights:
        """See `ServerOptimiser.apply`."""
        return {name: moved(array, self._learning_rate * floats(mean[name])) for name, array in weights.items()}

    def state(self) -> Mapping[str, Weights]:
        """See `ServerOptimiser.state`: nothing."""
        return {}

    def restore(self, slots: Mapping[str, Arrays]) -> None:
        """See `ServerOptimiser.restore`."""
        check_slots(slots, ())


class FedAvgM(Remembering):
    """FedAvg with momentum at the server: m ← βm + Δ; x ← x + ηm.

    Args:
        learning_rate: η.
        momentum: β, 0 to below 1.

    References:
        Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
        arXiv:1909.06335, 2019, section 4.3.
    """

    slots = ("momentum",)

    def __init__(self, learning_rate: float = 1.0, *, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        self._momentum = momentum

    def _remember(self, slots: Sequence[Floats], mean: Floats) -> Sequence[Floats]:
        return (self._momentum * slots[0] + mean,)

    def _step(self, slots: Sequence[Floats]) -> Floats:
        return slots[0]


class _Adaptive(Remembering):
    """What the three have in common: m ← β₁m + (1 − β₁)Δ; v as each has it, from τ² on; x ← x + ηm/(√v + τ)."""

    slots = ("momentum", "second")

    def __init__(
        self, learning_rate: float, *, momentum: float, adaptivity: float, second_momentum: float = 0.0
    ) -> None:
        super().__init__(learning_rate)
        self._momentum = momentum
        self._second_momentum = second_momentum
        self._adaptivity = adaptivity

    def _initial(self, slot: str, weights: Arrays) -> Weights:
        first = self._adaptivity**2 if slot == "second" else 0.0
        return {name: np.full(np.shape(array), first, np.float32) for name, array in weights.items()}

    def _remember(self, slots: Sequence[Floats], mean: Floats) -> Sequence[Floats]:
        momentum = self._momentum * slots[0] + (1 - self._momentum) * mean
        return momentum, self._second(slots[1], mean * mean)

    def _step(self, slots: Sequence[Floats]) -> Floats:
        step: Floats = slots[0] / (np.sqrt(slots[1]) + self._adaptivity)
        return step

    @abstractmethod
    def _second(self, second: Floats, square: Floats) -> Floats:
        """Return v after Δ²."""


class FedAdagrad(_Adaptive):
    """v ← v + Δ²: coordinates that have moved much move less for ever.

    Args:
        learning_rate: η.
        momentum: β₁, 0 to below 1.
        adaptivity: τ, above 0.

    References:
        Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization", ICLR 2021,
        Algorithm 2; like it, without correction of the bias of the first rounds.
    """

    def _second(self, second: Floats, square: Floats) -> Floats:
        return second + square


class FedAdam(_Adaptive):
    """v ← β₂v + (1 − β₂)Δ²; otherwise as `FedAdagrad`, with the same reference.

    Args:
        learning_rate: η.
        momentum: β₁, 0 to below 1.
        second_momentum: β₂, 0 to below 1.
        adaptivity: τ, above 0.
    """

    def _second(self, second: Floats, square: Floats) -> Floats:
        return self._second_momentum * second + (1 - self._second_momentum) * square


class FedYogi(_Adaptive):
    """v ← v − (1 − β₂)Δ²·sign(v − Δ²), which forgets large steps more slowly; otherwise as `FedAdam`."""

    def _second(self, second: Floats, square: Floats) -> Floats:
        return second - (1 - self._second_momentum) * square * np.sign(second - square)
