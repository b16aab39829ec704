"""A trainer that takes numpy alone: multinomial logistic regression, by stochastic gradient descent.

>>> model = softmax(feature_shape=(2,), classes=3)
>>> {name: array.shape for name, array in model.initial_weights().items()}
{'weight': (2, 3), 'bias': (3,)}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.data import Examples, seed_stream
from privfl.learning.trainer import Evaluation, LocalResult, LocalTraining


def softmax(feature_shape: tuple[int, ...], classes: int) -> SoftmaxTrainer:
    """Make the trainer; a job names it as `model = "privfl.learning.numpy_trainer:softmax"`."""
    return SoftmaxTrainer(math.prod(feature_shape), classes)


class SoftmaxTrainer:
    """Logits are features · weight + bias; all of them begin at 0.

    Args:
        features: numbers of an example.
        classes: 2 or more.
        settings: how clients train, where a call does not say it.

    Guarantees:
        1. A step goes down the gradient of the mean cross-entropy of its batch, as `TorchTrainer` does with the model
           `logistic`: with momentum, towards the received model under `proximal`, and at most `steps` of them.
        2. The arrays that the caller passes in are not modified.
    """

    def __init__(self, features: int, classes: int, settings: LocalTraining | None = None) -> None:
        self._shapes = {"weight": (features, classes), "bias": (classes,)}
        self._settings = settings or LocalTraining()

    def initial_weights(self) -> dict[str, NDArray[np.float32]]:
        """All zeros."""
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}

    def train(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        examples: Examples,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> LocalResult:
        """Train on one client's examples; `seed` decides the order of its batches."""
        settings = settings or self._settings
        features, labels = self._flat(examples), examples.labels
        received = {name: np.array(array, np.float32) for name, array in weights.items()}
        trained = {name: array.copy() for name, array in received.items()}
        speed = {name: np.zeros_like(array) for name, array in received.items()}
        rng = np.random.default_rng(seed_stream(seed, "train.order"))
        for batch in itertools.islice(_batches(len(labels), settings, rng), settings.steps):
            off = _probabilities(trained, features[batch])
            off[np.arange(len(batch)), labels[batch]] -= 1
            off /= np.float32(len(batch))
            gradient = {"weight": features[batch].T @ off, "bias": off.sum(axis=0)}
            for name in self._shapes:
                pull = np.float32(settings.proximal) * (trained[name] - received[name])
                speed[name] = np.float32(settings.momentum) * speed[name] + gradient[name] + pull
                trained[name] -= np.float32(settings.learning_rate) * speed[name]
        found = self.evaluate(trained, examples)
        return LocalResult(
            update={name: array - received[name] for name, array in trained.items()},
            examples=len(examples),
            loss=found.loss,
            correct=found.correct,
        )

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Evaluation:
        """Mean cross-entropy, and how many of the examples have the largest logit at their label."""
        probabilities = _probabilities(weights, self._flat(examples))
        of_label = probabilities[np.arange(len(examples)), examples.labels].astype(np.float64)
        return Evaluation(
            loss=float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean()),
            correct=int((probabilities.argmax(axis=1) == examples.labels).sum()),
            examples=len(examples),
        )

    def _flat(self, examples: Examples) -> NDArray[np.float32]:
        flat = examples.features.reshape(len(examples), -1).astype(np.float32)
        features, classes = self._shapes["weight"]
        if flat.shape[1] != features or examples.labels.max() >= classes:
            raise ConfigurationError(
                f"examples have {flat.shape[1]} numbers and labels up to {examples.labels.max()}; the model takes "
                f"{features} numbers and {classes} classes"
            )
        return flat


def _batches(examples: int, settings: LocalTraining, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(settings.epochs):
        yield from np.array_split(rng.permutation(examples), math.ceil(examples / settings.batch_size))


def _probabilities(weights: Mapping[str, NDArray[np.float32]], features: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = features @ weights["weight"] + weights["bias"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
