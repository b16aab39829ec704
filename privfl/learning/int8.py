"""Models as small devices run them: linear and recurrent layers with weights of 8-bit integers."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from privfl.errors import ConfigurationError
from privfl.learning.models import import_torch
from privfl.learning.trainer import Evaluation

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Evaluation:
    """How a quantised model does, and how small it is.

    Attributes:
        evaluation: of the quantised model.
        size_bytes: of the quantised model, as PyTorch writes its state.
        float32_bytes: of the model that it was made of, likewise.
    """

    evaluation: Evaluation
    size_bytes: int
    float32_bytes: int


def quantised(model: Module) -> Module:
    """Return a copy whose `Linear`, `GRU` and `LSTM` layers, and recurrent cells, have weights of 8-bit integers.

    Every weight matrix gets a scale of its own, from its largest magnitude; activations are quantised as they come
    ("dynamic quantisation"). Other layers, such as convolutions and embeddings, stay in float32.

    Args:
        model: left as it is.

    Raises:
        ConfigurationError: it has no such layer, or this PyTorch cannot do it.
    """
    torch = import_torch()
    nn = torch.nn
    kinds = {nn.Linear, nn.GRU, nn.LSTM, nn.GRUCell, nn.LSTMCell}
    plain = _merged(copy.deepcopy(model)).float().eval()
    if not any(type(layer) in kinds for layer in plain.modules()):
        raise ConfigurationError(
            "evaluation.int8 is true, and the model has no layer of kind Linear, GRU or LSTM, whose weights it makes "
            "8-bit integers: leave it out"
        )
    try:
        with warnings.catch_warnings():
            # PyTorch says at every layer that another package will do this one day.
            warnings.simplefilter("ignore")
            small = torch.ao.quantization.quantize_dynamic(plain, kinds, dtype=torch.qint8)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"evaluation.int8 is true, and this PyTorch quantises no such model ({error}): leave it out, or install a "
            f"PyTorch with torch.ao.quantization"
        ) from error
    quantised_model: Module = small
    return quantised_model


def serialised_bytes(model: Module) -> int:
    """Size of a model's state as PyTorch writes it to a file."""
    torch = import_torch()
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(model.state_dict(), written)
    return len(written.getvalue())


def _merged(model: Module) -> Module:
    from privfl.learning.adapters import merged  # noqa: PLC0415 - imports torch

    return merged(model)
