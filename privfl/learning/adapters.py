"""Models of which a part is trained: frozen parameters, and adapters of low rank beside frozen linear layers.

References:
    Adapters: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Why A is frozen: Sun et al.,
    "Improving LoRA in Privacy-preserving Federated Learning", ICLR 2024: the mean of products is not the product of
    means, unless one factor is the same everywhere.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from privfl.errors import ConfigurationError
from privfl.learning.data import seed_stream
from privfl.learning.torch_weights import matches, require_matches
from privfl.learning.training_job import TrainingJob


class AdaptedLinear(torch.nn.Module):
    """A linear layer with a frozen matrix W and an adapter beside it: x ↦ (W + B·A)·x + bias.

    B is 0 at first, so that nothing changes. A is drawn with a standard deviation of 1/√(inputs): its rows are about
    orthonormal, and a step on B moves the matrix by what of a step on W lies in the space of these rows. So learning
    rates that suit the whole matrix suit its adapter.

    Args:
        base: the layer; its matrix is frozen in place.
        down: A, shape (rank, inputs).
        train_down: whether A is trained.
    """

    def __init__(self, base: torch.nn.Linear, down: torch.Tensor, *, train_down: bool) -> None:
        super().__init__()
        rank, dtype = len(down), base.weight.dtype
        base.weight.requires_grad = False
        self.base = base
        # Without memory, PyTorch draws no weights for them: that would move the caller's random state.
        self.down = torch.nn.Linear(base.in_features, rank, bias=False, dtype=dtype, device="meta")
        self.up = torch.nn.Linear(rank, base.out_features, bias=False, dtype=dtype, device="meta")
        self.down.weight = torch.nn.Parameter(down.to(dtype))
        self.up.weight = torch.nn.Parameter(torch.zeros(base.out_features, rank, dtype=dtype))
        self.down.weight.requires_grad = train_down

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Apply it; shape (..., inputs) to (..., outputs)."""
        adapted: torch.Tensor = self.base(features) + self.up(self.down(features))
        return adapted

    # What a model may ask of a linear layer instead of calling it. Not the frozen matrix alone: PyTorch's transformer
    # layers read it in evaluation, and would leave the adapter out.
    @property
    def weight(self) -> torch.Tensor:
        """W + B·A."""
        whole: torch.Tensor = self.base.weight + self.up.weight @ self.down.weight
        return whole

    @property
    def bias(self) -> torch.Tensor | None:
        """As of the layer."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """As of the layer."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """As of the layer."""
        return self.base.out_features


def prepared(model: torch.nn.Module, training: TrainingJob, *, seed: int) -> torch.nn.Module:
    """Freeze and adapt what a job says.

    Args:
        model: left as it is.
        training: of the job.
        seed: of the job; draws A of every adapter.

    Returns:
        The model, or a copy with less to train.

    Raises:
        ConfigurationError: a pattern matches nothing, there is no linear layer to adapt, or nothing is left to train.

    Guarantees:
        1. The same arguments give the same bits, and torch's global random state is left alone.
        2. The copy computes what the model does, until it is trained.
    """
    if not training.freeze and training.adapter_rank is None:
        return model
    model = copy.deepcopy(model)
    named = dict(model.named_parameters(remove_duplicate=False))
    require_matches("training.freeze", training.freeze, list(named), "parameters")
    for name, parameter in named.items():
        if matches(name, training.freeze):
            parameter.requires_grad = False
    if training.adapter_rank is not None:
        model = _adapted(model, training, training.adapter_rank, seed)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigurationError(
            f"training.freeze is {list(training.freeze)}, which leaves nothing to train: freeze less, or take "
            f"training.adapter_rank, such as 4, beside it"
        )
    return model


def _adapted(model: torch.nn.Module, training: TrainingJob, rank: int, seed: int) -> torch.nn.Module:
    # Of exactly this kind: subclasses may do something else with their matrix.
    layers = {
        name: layer for name, layer in model.named_modules(remove_duplicate=False) if type(layer) is torch.nn.Linear
    }
    if not layers:
        raise ConfigurationError(
            f"training.adapter_rank is {rank}, and the model has no torch.nn.Linear to adapt: leave it out, and name "
            f"what is not to be trained in training.freeze"
        )
    require_matches("training.adapt", training.adapt, list(layers), "linear layers")
    made: dict[int, torch.nn.Module] = {}  # a layer that stands in several places is adapted once
    for name, layer in layers.items():
        if matches(name, training.adapt):
            if id(layer) not in made:
                down = _drawn(seed, name, rank, layer.in_features)
                made[id(layer)] = AdaptedLinear(layer, down, train_down=training.adapter_train_a)
            model = _replaced(model, name, made[id(layer)])
    return model


def _drawn(seed: int, name: str, rank: int, inputs: int) -> torch.Tensor:
    """A of one layer: normally distributed, the same with every version of PyTorch."""
    chance = np.random.default_rng(seed_stream(seed, f"training.adapter.{name}"))
    return torch.from_numpy(chance.normal(scale=1 / math.sqrt(inputs), size=(rank, inputs)))


def merged(model: torch.nn.Module) -> torch.nn.Module:
    """Add adapters to the matrices that they stand beside, in place: of a model that had them, the one without."""
    for name, layer in list(model.named_modules(remove_duplicate=False)):
        if isinstance(layer, AdaptedLinear):
            with torch.no_grad():
                layer.base.weight.copy_(layer.weight)
                layer.up.weight.zero_()  # a layer that stands in several places is met again
            model = _replaced(model, name, layer.base)
    return model


def _replaced(model: torch.nn.Module, name: str, layer: torch.nn.Module) -> torch.nn.Module:
    """The model with another layer of that name; the layer itself, if it is all of the model."""
    if not name:
        return layer
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
    return model
