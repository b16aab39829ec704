"""What a client does with the model that it receives: train it on its own examples and return the difference.

`Trainer` is the interface, in numpy arrays only. `torch_trainer.TorchTrainer` implements it for PyTorch classifiers,
`numpy_trainer.SoftmaxTrainer` without PyTorch, and anybody else may.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.data import Examples


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTraining:
    """How a client trains: stochastic gradient descent with momentum, on cross-entropy.

    Attributes:
        epochs: passes over the client's examples per round, 1 or more.
        batch_size: most examples per step, 1 or more; an epoch's batches differ in size by at most one.
        learning_rate: step size, above 0.
        momentum: 0 (none) up to, not including, 1; starts from zero in every round.
        proximal: μ of FedProx, 0 (none) or more: every step also goes down the gradient of μ/2·‖w − w_received‖², which
            keeps a client from drifting away from the others.
        steps: most steps per round, 1 or more; all that the epochs have unless given.

    Raises:
        ConfigurationError: a value out of range; the message names the job key, such as `strategy.epochs`.
    """

    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.9
    proximal: float = 0.0
    steps: int | None = None

    def __post_init__(self) -> None:
        _check_count("strategy.epochs", self.epochs, such_as=5)
        if self.epochs > _MOST_EPOCHS:
            raise ConfigurationError(f"strategy.epochs is {self.epochs}; up to {_MOST_EPOCHS} work, such as 5")
        _check_count("strategy.batch_size", self.batch_size, such_as=16)
        if not _is_finite_number(self.learning_rate) or self.learning_rate <= 0:
            raise ConfigurationError(
                f"strategy.learning_rate is {self.learning_rate!r}; use a number above 0, such as 0.1"
            )
        if not _is_finite_number(self.momentum) or not 0 <= self.momentum < 1:
            raise ConfigurationError(
                f"strategy.momentum is {self.momentum!r}; use a number from 0 to below 1, such as 0.9"
            )
        if not _is_finite_number(self.proximal) or self.proximal < 0:
            raise ConfigurationError(f"strategy.proximal is {self.proximal!r}; use a number of 0 or more, such as 0.01")
        if self.steps is not None:
            _check_count("steps", self.steps, such_as=20)

    def examples_seen(self, examples: int) -> int:
        """Return how many gradients of single examples a client with so many examples computes in a round.

        >>> LocalTraining(batch_size=4, steps=4).examples_seen(10)  # in batches of 4, 3, 3 and again 4
        14
        """
        batches = math.ceil(examples / self.batch_size)
        if self.steps is None or self.steps >= self.epochs * batches:
            return self.epochs * examples
        epochs, rest = divmod(self.steps, batches)
        # The first `examples % batches` batches of an epoch have one example more than the others.
        return epochs * examples + rest * (examples // batches) + min(rest, examples % batches)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalResult:
    """What one client's training gave. All of it is private to the client.

    Attributes:
        update: trained minus received weights, by name; float32, shapes as received. May hold NaN or infinity
            where training diverged: the encoding of an update checks that.
        examples: number of examples trained on.
        loss: mean cross-entropy of the trained local model on those examples, in nats.
        correct: how many of them the trained local model classifies correctly.
    """

    update: dict[str, NDArray[np.float32]]
    examples: int
    loss: float
    correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How well a model does on some examples.

    Attributes:
        loss: mean cross-entropy, in nats.
        correct: number of examples classified correctly.
        examples: number of examples, 1 or more.
    """

    loss: float
    correct: int
    examples: int

    @property
    def accuracy(self) -> float:
        """Share classified correctly, 0 to 1."""
        return self.correct / self.examples


@runtime_checkable
class Trainer(Protocol):
    """Trains and evaluates a model whose weights travel as named numpy arrays.

    An object with these three methods is a trainer, whatever it trains with: `model = "my_module:function"` in a job
    takes a function that returns one. What it returns is checked, see `checked_trainer`.
    """

    def initial_weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights of the untrained model, by name: all that an update covers. The caller owns the arrays."""
        ...

    def train(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        examples: Examples,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> LocalResult:
        """Train from `weights` on one client's examples; the same arguments give the same result, but for noise.

        Args:
            weights: names and shapes of `initial_weights`; not modified.
            examples: the client's own.
            seed: decides everything random, 0 to 2**63 - 1; use another for each client and round.
            settings: of this call; the trainer's own unless given.
        """
        ...

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Evaluation:
        """Loss and accuracy of the model with `weights` on `examples`; neither is modified."""
        ...


_MOST_EPOCHS: Final = 1_000_000


def _check_count(key: str, value: object, *, such_as: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} is {value!r}; use a whole number of 1 or more, such as {such_as}")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
