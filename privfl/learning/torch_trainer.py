"""Training and evaluating PyTorch classifiers on the CPU: weights in, update out, and the same bits every time."""

from __future__ import annotations

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.checkpoint import is_array_name
from privfl.learning.data import Examples
from privfl.learning.int8 import Int8Evaluation, quantised, serialised_bytes
from privfl.learning.models import import_torch, reproducible_torch, torch_seed
from privfl.learning.own_code import staying
from privfl.learning.torch_weights import EVERYTHING, float_buffers, put, require_matches, taken, travelling
from privfl.learning.trainer import Evaluation, LocalResult, LocalTraining

if TYPE_CHECKING:
    import torch


class TorchClassifier(ABC):
    """A PyTorch classifier on the CPU: weights in, weights out, evaluation. How it learns, `fit` of a subclass says.

    What travels is float32. A model may compute in another precision, such as bfloat16: what it receives is rounded to
    that, and an update is the difference from what it was rounded to, so that rounding alone is no update. Its loss is
    computed in float32.

    Args:
        model: maps features (n, ...) to logits (n, classes); float32 features come in the precision of its first
            parameter, and int64 ones, such as characters by number, as they are. Copied: later changes to it have no
            effect. Its parameters that are trained and its floating-point buffers (such as a batch normalisation's
            running mean) are what travels. Parameters with requires_grad=False never travel, nor do other buffers (such
            as `num_batches_tracked`): every call starts with those of the model given here.
        settings: how clients train.
        buffers: patterns of the names of floating-point buffers that travel; every call starts with the others as they
            are in the model given here.

    Raises:
        ConfigurationError: nothing in the model can be trained, or a pattern matches no buffer; later, when weights or
            examples do not fit the model.
        MissingExtra: torch is not installed.

    Attributes:
        clamps_labels: whether labels that the model has no output for are trained on as the last one it has. Otherwise
            they are refused, as they always are in evaluation.
    """

    clamps_labels: ClassVar = False

    def __init__(self, model: torch.nn.Module, settings: LocalTraining, *, buffers: Sequence[str] = EVERYTHING) -> None:
        import_torch()
        self.settings = settings
        # Each call trains a copy of this, so that nothing that a model keeps for itself outlives a call.
        self._pristine = copy.deepcopy(model).to("cpu")
        self._buffers = tuple(buffers)
        require_matches(
            "training.buffers", self._buffers, list(float_buffers(self._pristine)), "floating-point buffers"
        )
        if not any(parameter.requires_grad for parameter in self._pristine.parameters()):
            raise ConfigurationError("model has no parameter to train; use one such as 'mlp'")
        for name in travelling(self._pristine, self._buffers):
            if not is_array_name(name):
                raise ConfigurationError(
                    f"model names a parameter {name!r}, which no model.npz can hold: a name such as 'weight' works"
                )

    def initial_weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights of the model as it was given: name to float32 array. The caller owns the arrays."""
        return taken(travelling(self._pristine, self._buffers))

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
        with staying(_MODEL), reproducible_torch(torch_seed(seed, "train.model")), torch.enable_grad():
            model = self._loaded(weights)
            tensors = travelling(model, self._buffers)
            received = taken(tensors)  # as they were rounded, if they were
            features, labels = _fitting(model, examples, clamped=self.clamps_labels)
            self.fit(model, features, labels, seed=seed, settings=settings)
            fit = _evaluation(model, features, labels)
            update = {name: np.asarray(array - received[name]) for name, array in taken(tensors).items()}
        return LocalResult(update=update, examples=len(examples), loss=fit.loss, correct=fit.correct)

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Evaluation:
        """Evaluate `weights` on `examples`; neither is modified.

        Raises:
            ConfigurationError: weights or examples do not fit the model.
        """
        # Seeded, so that a model that is random even in evaluation still answers the same every time.
        with staying(_MODEL), reproducible_torch(torch_seed(0, "evaluate")):
            model = self._loaded(weights)
            features, labels = _fitting(model, examples)
            return _evaluation(model, features, labels)

    @property
    def statistics(self) -> frozenset[str]:
        """Names of what travels and is no parameter: floating-point buffers."""
        return frozenset(float_buffers(self._pristine)) & travelling(self._pristine, self._buffers).keys()

    def evaluate_int8(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Int8Evaluation:
        """Evaluate `weights` as a small device would run them: linear and recurrent layers in 8-bit integers.

        Raises:
            ConfigurationError: weights or examples do not fit the model, or it has no layer that could be quantised.
        """
        with reproducible_torch(torch_seed(0, "evaluate")):
            model = self._loaded(weights)
            features, labels = _fitting(model, examples)
            small = quantised(model)
            try:
                with _without_fast_path():
                    features = features.float() if features.is_floating_point() else features
                    evaluation = _evaluation(small, features, labels)
            except (RuntimeError, AttributeError, TypeError) as error:
                raise ConfigurationError(
                    f"the model does not run with layers of 8-bit integers ({error}): let it call its layers, instead "
                    f"of using their weights"
                ) from error
        return Int8Evaluation(
            evaluation=evaluation, size_bytes=serialised_bytes(small), float32_bytes=serialised_bytes(model)
        )

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
            features: int64, or in the precision of the model; shape (n, ...).
            labels: int64, shape (n,).
            seed: as `train` got it; torch's global generator is seeded with it.
            settings: as `train` got them.
        """

    def _loaded(self, weights: Mapping[str, NDArray[np.float32]]) -> torch.nn.Module:
        """A copy of the model that holds `weights`."""
        model = copy.deepcopy(self._pristine)
        put(weights, travelling(model, self._buffers))
        return model


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Let transformers call their layers: PyTorch's shortcut takes the layers' weights, which integers do not have."""
    heads = import_torch().backends.mha
    was = heads.get_fastpath_enabled()
    heads.set_fastpath_enabled(False)
    try:
        yield
    finally:
        heads.set_fastpath_enabled(was)


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
            torch.nn.functional.cross_entropy(model(features[batch]).float(), labels[batch]).backward()
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


_MODEL: Final = "the model"
_EVALUATION_BATCH: Final = 1024  # examples at a time: bounds the memory that activations take


def _fitting(model: torch.nn.Module, examples: Examples, *, clamped: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels as tensors, or in words why the model cannot take them: torch speaks in matrix shapes."""
    torch = import_torch()
    features, labels = torch.tensor(examples.features), torch.tensor(examples.labels)
    if features.is_floating_point():
        features = features.to(next(one.dtype for one in model.parameters() if one.is_floating_point()))
    model.eval()
    try:
        with torch.no_grad():
            logits = model(features[:2])
    except (RuntimeError, IndexError) as error:  # an IndexError of numbers that an embedding does not have
        raise ConfigurationError(
            f"model cannot take examples of shape {tuple(features.shape[1:])} ({error}); "
            "choose a model that takes that shape"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else ()
    if clamped and shape and shape[-1] > 0:
        labels = labels.clamp(max=shape[-1] - 1)
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
            logits = model(features[start : start + _EVALUATION_BATCH]).float()
            loss += float(torch.nn.functional.cross_entropy(logits, expected, reduction="sum"))
            correct += int((logits.argmax(dim=1) == expected).sum())
    return Evaluation(loss=loss / len(labels), correct=correct, examples=len(labels))
