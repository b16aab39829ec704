"""What of a PyTorch model travels: its arrays by name, in float32, whatever the model itself computes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.models import import_torch

if TYPE_CHECKING:
    import torch

EVERYTHING: Final = ("*",)
"""Patterns that match every name."""
_MOST_NAMED: Final = 8  # in a complaint


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of some patterns, in which `*` stands for anything and `?` for one character."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def require_matches(key: str, patterns: Sequence[str], names: Sequence[str], what: str) -> None:
    """Refuse patterns that match nothing: most likely they are meant for another model.

    Args:
        key: where the patterns are from.
        patterns: of names; `EVERYTHING` may match nothing.
        names: what there is.
        what: these are called, in the plural.

    Raises:
        ConfigurationError: names the key, the pattern and some of what there is.
    """
    for pattern in patterns:
        if (pattern,) != EVERYTHING and not any(fnmatchcase(name, pattern) for name in names):
            more = ", …" if len(names) > _MOST_NAMED else ""
            there = f"there are {', '.join(names[:_MOST_NAMED])}{more}" if names else "it has none"
            raise ConfigurationError(f"{key} has {pattern!r}, which matches none of the model's {what}: {there}")


def float_buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The floating-point buffers of a model, such as a batch normalisation's running mean; temporary ones left out."""
    saved = model.state_dict(keep_vars=True)
    return {name: one for name, one in model.named_buffers() if name in saved and one.is_floating_point()}


def travelling(model: torch.nn.Module, buffers: Sequence[str] = EVERYTHING) -> dict[str, torch.Tensor]:
    """The tensors that an update covers: each once (tied weights too), in the model's own order.

    Args:
        model: its parameters that are trained travel; of the others everybody has a copy.
        buffers: patterns of names; floating-point buffers that match one travel as well.
    """
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad and one.is_floating_point()}
    return trained | {name: one for name, one in float_buffers(model).items() if matches(name, buffers)}


def taken(tensors: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Copies of tensors as float32 arrays: exactly their values, but for those of float64, which are rounded."""
    return {name: np.array(tensor.detach().float().numpy()) for name, tensor in tensors.items()}


def put(weights: Mapping[str, NDArray[np.float32]], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write arrays into tensors, rounded to the tensors' own precision.

    Raises:
        ConfigurationError: names or shapes differ.
    """
    torch = import_torch()
    if weights.keys() != tensors.keys():
        missing, unknown = tensors.keys() - weights.keys(), weights.keys() - tensors.keys()
        raise ConfigurationError(
            f"weights lack {sorted(missing)} and hold unknown {sorted(unknown)}; "
            "give the names that initial_weights() returns"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            array = np.array(weights[name], dtype=np.float32)  # a copy: torch takes no read-only array
            if array.shape != tuple(tensor.shape):
                raise ConfigurationError(
                    f"weights[{name!r}] has shape {array.shape}; the model takes {tuple(tensor.shape)}"
                )
            tensor.copy_(torch.from_numpy(array))
