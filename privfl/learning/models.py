"""Models to train: three small built-in ones, or any that a user's own function builds, with whoever trains them."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np

from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning.data import DATA_NAMES, seed_stream
from privfl.learning.own_code import is_well_formed, own_function
from privfl.learning.trainer import Trainer

if TYPE_CHECKING:
    from torch import nn


def build(name: str, *, feature_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Build a model with weights that `seed` alone decides.

    Args:
        name: `mlp` (two hidden layers of 32 and 16), `cnn` (one convolution; for images of 2 x 2 pixels or
            more), `logistic` (one linear layer), or `module:function` to call a function of your own. That
            function is called with those of `feature_shape=`, `classes=` and `seed=` that its signature takes, and
            returns a torch.nn.Module. Importing a module runs its code: take job files only from people whose
            programs you would run.
        feature_shape: shape of one example, without the batch axis.
        classes: number of outputs (logits), 2 or more.
        seed: 0 to 2**63 - 1.

    Returns:
        A module that maps features (n, *feature_shape) to logits (n, classes).

    Raises:
        ConfigurationError: no such model, or one that does not fit; the message names the key `model`.
        MissingExtra: torch is not installed.

    Guarantees:
        1. The same arguments give bit-identical weights, also of your own model if it draws them from torch.
        2. torch's global random state and number of threads are left as they were.
    """
    import_torch()
    made = model_or_trainer(name, feature_shape=feature_shape, classes=classes, seed=seed)
    if isinstance(made, Trainer):
        raise ConfigurationError(
            f"model is {name!r} but that function returned {type(made).__name__}; let it return a torch.nn.Module"
        )
    return made


def model_or_trainer(name: str, *, feature_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module | Trainer:
    """Build a model as `build` does; or return the trainer, if that is what a function of the user's own makes.

    For a trainer nothing of PyTorch is imported or seeded, unless the user's module imports it.

    Args:
        name: as for `build`.
        feature_shape: likewise.
        classes: likewise.
        seed: likewise.

    Raises:
        ConfigurationError: no such model, or something else than a model or a trainer.
        MissingExtra: torch is not installed, and the model takes it.
    """
    if classes < 2:
        raise ConfigurationError(f"classes is {classes}; a classifier needs 2 or more")
    offered = {"feature_shape": feature_shape, "classes": classes, "seed": seed}
    weights_seed = torch_seed(seed, "model.weights")
    if name in _BUILDERS:
        with reproducible_torch(weights_seed):
            return _BUILDERS[name](feature_shape=feature_shape, classes=classes)
    if not is_well_formed(name):
        raise ConfigurationError(
            f"model is {name!r}; use one of: {', '.join(_BUILDERS)}, "
            "or a function of your own as 'my_module:build_model'"
        )
    builder = own_function("model", name, sample="def {}(): return torch.nn.Linear(30, 2)", offered=tuple(offered))
    made = None if _imported_torch() else builder(**offered)
    torch = _imported_torch()
    if torch is not None and (made is None or isinstance(made, torch.nn.Module)):
        # Once more, if it was the function that imported torch: the first time its weights were not drawn by the seed.
        with reproducible_torch(weights_seed):
            made = builder(**offered)
    if (torch is not None and isinstance(made, torch.nn.Module)) or isinstance(made, Trainer):
        built: nn.Module | Trainer = made
        return built
    raise ConfigurationError(
        f"model is {name!r} but that function returned {type(made).__name__}; let it return a torch.nn.Module, or an "
        f"object with the methods of privfl.learning.trainer.Trainer: initial_weights, train and evaluate"
    )


def _imported_torch() -> ModuleType | None:
    """PyTorch, if anybody has imported it."""
    return sys.modules.get("torch")


def default_model(data_name: str) -> str:
    """Name of the built-in model that suits a built-in data set.

    Raises:
        ConfigurationError: no such data set.

    >>> default_model("hospitals"), default_model("digits")
    ('mlp', 'cnn')
    """
    if data_name not in _DEFAULT_MODELS:
        raise ConfigurationError(
            f"data.name is {data_name!r}, which has no default model; "
            f"set model, for instance to 'mlp', or use one of: {', '.join(DATA_NAMES)}"
        )
    return _DEFAULT_MODELS[data_name]


def import_torch() -> ModuleType:
    """Import PyTorch when it is first needed: it is an extra, and slow to import.

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch  # noqa: PLC0415 - see above
    except ImportError as error:
        raise MissingExtra("learning", "torch") from error
    return torch


def torch_seed(seed: int, purpose: str) -> int:
    """Seed of a torch generator for one purpose; see `seed_stream`."""
    return int(seed_stream(seed, purpose).generate_state(1, np.uint64)[0])


@contextmanager
def reproducible_torch(seed: int) -> Iterator[None]:
    """Run the body with torch's global CPU generator freshly seeded and on one thread; restore both.

    How a sum is split over threads decides its rounding, so that only a fixed number of threads gives the
    same bits on machines with more or fewer cores. One is that number: models as small as the built-in ones
    lose more time to handing work to a second thread than they gain.

    Args:
        seed: from `torch_seed`.
    """
    torch = import_torch()
    with _TORCH_GLOBALS, torch.random.fork_rng(devices=[]):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            # Not torch.manual_seed: it would reseed accelerators too, which nothing here restores.
            torch.default_generator.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)


# Random state and number of threads exist once per process: who changes them has them alone until they are
# restored. Re-entrant, because a user's model may be built by code that calls `build`. Clients that are to
# train in parallel need processes of their own.
_TORCH_GLOBALS: Final = threading.RLock()


def _mlp(*, feature_shape: tuple[int, ...], classes: int) -> nn.Module:
    from torch import nn  # noqa: PLC0415 - `build` has made sure of torch

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(feature_shape), 32),
        nn.ReLU(),
        nn.Linear(32, 16),
        nn.ReLU(),
        nn.Linear(16, classes),
    )


def _cnn(*, feature_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Without batch normalisation: its running statistics would travel as if they were weights."""
    from torch import nn  # noqa: PLC0415 - `build` has made sure of torch

    if len(feature_shape) != 3 or min(feature_shape[1:]) < 2:
        raise ConfigurationError(
            f"model is 'cnn' but examples have shape {feature_shape}; it takes images of shape "
            "(channels, height >= 2, width >= 2); set model to 'mlp'"
        )
    channels, height, width = feature_shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (height // 2) * (width // 2), classes),
    )


def _logistic(*, feature_shape: tuple[int, ...], classes: int) -> nn.Module:
    from torch import nn  # noqa: PLC0415 - `build` has made sure of torch

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(feature_shape), classes))


_BUILDERS: Final[Mapping[str, Callable[..., nn.Module]]] = MappingProxyType(
    {"mlp": _mlp, "cnn": _cnn, "logistic": _logistic}
)

_DEFAULT_MODELS: Final[Mapping[str, str]] = MappingProxyType({"hospitals": "mlp", "digits": "cnn"})

MODEL_NAMES: Final = tuple(_BUILDERS)
"""Names of the built-in models."""
