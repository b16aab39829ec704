"""What a client does with the model that it receives: train it on its own examples and return the difference.

`Trainer` is the interface, in numpy arrays only; `TorchTrainer` implements it for PyTorch classifiers.
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.data import Examples
from privfl.learning.models import import_torch, reproducible_torch, torch_seed

if TYPE_CHECKING:
    import torch


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


class Trainer(Protocol):
    """Trains and evaluates a model whose weights travel as named numpy arrays."""

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


class TorchClassifier(ABC):
    """A PyTorch classifier on the CPU: weights in, weights out, evaluation. How it learns, `fit` of a subclass says.

    Args:
        model: maps float32 features (n, ...) to logits (n, classes). Copied: later changes to it have no
            effect. Its parameters and floating-point buffers (such as a batch normalisation's running mean)
            are what travels and must be float32. Other buffers (such as `num_batches_tracked`) never travel:
            every call starts with those of the model given here.
        settings: how clients train.

    Raises:
        ConfigurationError: nothing in the model can be trained, or it holds weights of another dtype; later,
            when weights or examples do not fit the model.
        MissingExtra: torch is not installed.
    """

    def __init__(self, model: torch.nn.Module, settings: LocalTraining) -> None:
        torch = import_torch()
        self.settings = settings
        # Each call trains a copy of this, so that nothing that a model keeps for itself outlives a call.
        self._pristine = copy.deepcopy(model).to("cpu")
        travelling = _travelling(self._pristine)
        for name, tensor in travelling.items():
            if tensor.dtype != torch.float32:
                raise ConfigurationError(f"model holds {name!r} as {tensor.dtype}; build it in torch.float32")
        if not any(parameter.requires_grad for parameter in self._pristine.parameters()):
            raise ConfigurationError("model has no parameter to train; use one such as 'mlp'")

    def initial_weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights of the model as it was given: name to float32 array. The caller owns the arrays."""
        return {name: tensor.detach().numpy().copy() for name, tensor in _travelling(self._pristine).items()}

    def train(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        examples: Examples,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> LocalResult:
        """Train from `weights` on one client's examples.

        Args:
            weights: names and shapes of `initial_weights`; not modified.
            examples: the client's own.
            seed: decides batch order and dropout, 0 to 2**63 - 1; use another for each client and round.
            settings: of this call; the trainer's own unless given.

        Returns:
            The update, and how the trained local model does on `examples`.

        Raises:
            ConfigurationError: weights or examples do not fit the model.
        """
        torch = import_torch()
        with reproducible_torch(torch_seed(seed, "train.model")), torch.enable_grad():
            model = self._loaded(weights)
            features, labels = _fitting(model, examples)
            self.fit(model, features, labels, seed=seed, settings=settings)
            fit = _evaluation(model, features, labels)
            update = {
                name: np.asarray(tensor.detach().numpy() - np.asarray(weights[name], dtype=np.float32))
                for name, tensor in _travelling(model).items()
            }
        return LocalResult(update=update, examples=len(examples), loss=fit.loss, correct=fit.correct)

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Evaluation:
        """Evaluate `weights` on `examples`; neither is modified.

        Raises:
            ConfigurationError: weights or examples do not fit the model.
        """
        # Seeded, so that a model that is random even in evaluation still answers the same every time.
        with reproducible_torch(torch_seed(0, "evaluate")):
            model = self._loaded(weights)
            features, labels = _fitting(model, examples)
            return _evaluation(model, features, labels)

    @abstractmethod
    def fit(
        self,
        model: torch.nn.Module,
        features: torch.Tensor,
        labels: torch.Tensor,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> None:
        """Train the parameters of `model` in place; called by `train`, with torch's globals as it wants them.

        Args:
            model: holds the received weights; nobody else's.
            features: float32, shape (n, ...).
            labels: int64, shape (n,).
            seed: as `train` got it; torch's global generator is seeded with it.
            settings: as `train` got them.
        """

    def _loaded(self, weights: Mapping[str, NDArray[np.float32]]) -> torch.nn.Module:
        """A copy of the model that holds `weights`."""
        torch = import_torch()
        model = copy.deepcopy(self._pristine)
        travelling = _travelling(model)
        if weights.keys() != travelling.keys():
            missing, unknown = travelling.keys() - weights.keys(), weights.keys() - travelling.keys()
            raise ConfigurationError(
                f"weights lack {sorted(missing)} and hold unknown {sorted(unknown)}; "
                "give the names that initial_weights() returns"
            )
        with torch.no_grad():
            for name, tensor in travelling.items():
                array = np.array(weights[name], dtype=np.float32)  # a copy: torch takes no read-only array
                if array.shape != tuple(tensor.shape):
                    raise ConfigurationError(
                        f"weights[{name!r}] has shape {array.shape}; the model takes {tuple(tensor.shape)}"
                    )
                tensor.copy_(torch.from_numpy(array))
        return model


class TorchTrainer(TorchClassifier):
    """Trains a PyTorch classifier by stochastic gradient descent; see `TorchClassifier` for its arguments.

    Guarantees:
        1. The same weights, examples and seed give bit-identical results on the same machine and torch
           version: on every call, in any order, from any thread and whatever torch's global random state is,
           also for models with dropout.
        2. torch's global random state and number of threads are after a call what they were before.
        3. Arrays and model that the caller passes in are not modified.
        4. It computes gradients of `settings.examples_seen(len(examples))` examples.

    References:
        The pull of `settings.proximal`: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in
        Heterogeneous Networks", MLSys 2020, Algorithm 2; solved inexactly, by these steps.
    """

    def fit(
        self,
        model: torch.nn.Module,
        features: torch.Tensor,
        labels: torch.Tensor,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> None:
        """Pass over all examples as often as asked for, or until the steps are done; `seed` decides the order."""
        torch = import_torch()
        settings = settings or self.settings
        order = torch.Generator().manual_seed(torch_seed(seed, "train.order"))
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        received = [parameter.detach().clone() for parameter in parameters] if settings.proximal else []
        optimiser = torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=settings.momentum)
        model.train()
        for batch in itertools.islice(_batches(len(labels), settings, order), settings.steps):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(features[batch]), labels[batch]).backward()
            for parameter, start in zip(parameters, received, strict=False):
                pull = settings.proximal * (parameter.detach() - start)
                parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)
            optimiser.step()


def _batches(examples: int, settings: LocalTraining, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Indices of the batches of all epochs, each epoch's shuffled when its first is asked for."""
    torch = import_torch()
    for _ in range(settings.epochs):
        # Even batches rather than a remainder at the end, which may be one example: too noisy a step,
        # and more than a batch normalisation can take.
        yield from torch.randperm(examples, generator=order).tensor_split(math.ceil(examples / settings.batch_size))


_EVALUATION_BATCH: Final = 1024  # examples at a time: bounds the memory that activations take


def _travelling(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that an update covers: each once (tied weights too), in the model's own order."""
    saved = model.state_dict(keep_vars=True)  # leaves out buffers that the model calls temporary
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor for name, tensor in named if name in saved and tensor.is_floating_point()}


def _fitting(model: torch.nn.Module, examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels as tensors, or in words why the model cannot take them: torch speaks in matrix shapes."""
    torch = import_torch()
    features, labels = torch.tensor(examples.features), torch.tensor(examples.labels)
    model.eval()
    try:
        with torch.no_grad():
            logits = model(features[:2])
    except RuntimeError as error:
        raise ConfigurationError(
            f"model cannot take examples of shape {tuple(features.shape[1:])} ({error}); "
            "choose a model that takes that shape"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else ()
    if shape[:-1] != (len(features[:2]),) or shape[-1] <= labels.max():
        raise ConfigurationError(
            f"model turns {len(features[:2])} examples into an output of shape {shape}; "
            f"let it return shape (n, classes) with {int(labels.max()) + 1} classes or more"
        )
    return features, labels


def _evaluation(model: torch.nn.Module, features: torch.Tensor, labels: torch.Tensor) -> Evaluation:
    torch = import_torch()
    model.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(labels), _EVALUATION_BATCH):
            expected = labels[start : start + _EVALUATION_BATCH]
            logits = model(features[start : start + _EVALUATION_BATCH])
            loss += float(torch.nn.functional.cross_entropy(logits, expected, reduction="sum"))
            correct += int((logits.argmax(dim=1) == expected).sum())
    return Evaluation(loss=loss / len(labels), correct=correct, examples=len(labels))


def _check_count(key: str, value: object, *, such_as: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{key} is {value!r}; use a whole number of 1 or more, such as {such_as}")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
