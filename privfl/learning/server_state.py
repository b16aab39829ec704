"""What an optimiser of the server remembers from round to round: arrays like the model's, exact to the bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

Arrays = Mapping[str, npt.NDArray[Any]]
Weights = dict[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]


class Remembering(ABC):
    """An optimiser with slots, each an array like every array of the model."""

    slots: tuple[str, ...]

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = learning_rate
        self._state: dict[str, Weights] = {}

    def apply(self, weights: Arrays, mean: Arrays) -> Weights:
        """See `ServerOptimiser.apply`."""
        state = self._state or {slot: self._initial(slot, weights) for slot in self.slots}
        _check_shapes(state, like=weights)
        after: dict[str, Weights] = {slot: {} for slot in self.slots}
        stepped: Weights = {}
        for name, array in weights.items():
            remembered = self._remember([floats(state[slot][name]) for slot in self.slots], floats(mean[name]))
            for slot, value in zip(self.slots, remembered, strict=True):
                after[slot][name] = np.asarray(value, np.float32)
            stepped[name] = moved(array, self._learning_rate * self._step(remembered))
        self._state = after
        return stepped

    def state(self) -> Mapping[str, Weights]:
        """See `ServerOptimiser.state`."""
        return {slot: {name: array.copy() for name, array in held.items()} for slot, held in self._state.items()}

    def restore(self, slots: Mapping[str, Arrays]) -> None:
        """See `ServerOptimiser.restore`."""
        check_slots(slots, self.slots)
        if slots:
            _check_shapes(slots, like=(self._state or slots)[self.slots[0]])
        self._state = {
            slot: {name: np.array(array, np.float32) for name, array in held.items()} for slot, held in slots.items()
        }

    def _initial(self, slot: str, weights: Arrays) -> Weights:  # noqa: ARG002 - for those that begin elsewhere
        return {name: np.zeros(np.shape(array), np.float32) for name, array in weights.items()}

    @abstractmethod
    def _remember(self, slots: Sequence[Floats], mean: Floats) -> Sequence[Floats]:
        """Return the slots after a mean update."""

    @abstractmethod
    def _step(self, slots: Sequence[Floats]) -> Floats:
        """Return the step that they make, before the learning rate."""


def floats(array: npt.NDArray[Any]) -> Floats:
    """Return an array in double precision."""
    return np.asarray(array, np.float64)


def moved(array: npt.NDArray[Any], step: Floats) -> npt.NDArray[np.float32]:
    """Return x + step, computed in double precision, where a sum of two float32 is rounded as float32 would."""
    return np.asarray(floats(array) + step, np.float32)


def check_slots(slots: Mapping[str, Arrays], known: tuple[str, ...]) -> None:
    """Refuse slots of another optimiser, and numbers that none has."""
    if slots and slots.keys() != set(known):
        raise ConfigurationError(
            f"the server's state has slots {sorted(slots)} where strategy.name and strategy.optimiser ask for "
            f"{sorted(known)}: go on with the strategy that it was made by"
        )
    for slot, held in slots.items():
        for name, array in held.items():
            exact = array.dtype == np.float32 and np.isfinite(array).all()
            if not exact or (slot == "second" and np.min(array, initial=0.0) < 0):
                raise ConfigurationError(
                    f"the server's state of strategy.name has numbers in {slot}.{name} that no run makes: go on from "
                    f"a checkpoint as it was written"
                )


def _check_shapes(state: Mapping[str, Arrays], *, like: Arrays) -> None:
    expected = {name: np.shape(array) for name, array in like.items()}
    for slot, held in state.items():
        found = {name: np.shape(array) for name, array in held.items()}
        if found != expected:
            wrong = sorted({name for name, _ in found.items() ^ expected.items()})
            raise ConfigurationError(
                f"the server's state of strategy.name has other arrays than the model: {slot} differs in {wrong}; go "
                f"on with the model that it was made for"
            )
