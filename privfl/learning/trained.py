"""Models that have been trained, back in PyTorch: whole, as an application uses them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from privfl.errors import ConfigurationError
from privfl.learning.checkpoint import load_model
from privfl.learning.job import Job, load_job
from privfl.learning.models import import_torch, reproducible_torch, torch_seed
from privfl.learning.paperwork import JOB
from privfl.learning.torch_weights import put, travelling

if TYPE_CHECKING:
    from torch import nn


def load_trained(path: Path | str, model: nn.Module | Callable[..., nn.Module], *, job: Job | None = None) -> nn.Module:
    """Put a `model.npz` or `best.npz` into a model of PyTorch.

    Only what was trained is in the file; all else is as the model was built: frozen parameters, and buffers that did
    not travel. So give the function that builds it, and it is called as the run called it, with the run's seed. Of a
    model that is given as a module, such parts are taken as they are.

    Args:
        path: the file.
        model: a function that builds the model, called with `seed=` if it takes that; or the module, which is copied.
        job: of the run; read from the `job.toml` beside the file unless given. Without either, the job is taken to
            train whole models, with seed 0.

    Returns:
        The model in evaluation mode, with adapters merged into the layers that they stood beside.

    Raises:
        ConfigurationError: the file cannot be read, or does not fit the model.
        MissingExtra: torch is not installed.

    Guarantees:
        1. Evaluated on the same examples it gives what the run's last evaluation gave.
        2. A module that is given, and torch's global random state, are left as they were.
    """
    torch, path = import_torch(), Path(path)
    weights = load_model(path)
    if job is None:
        beside = path.with_name(JOB)
        job = load_job(beside) if beside.exists() else Job()
    from privfl.learning.adapters import merged, prepared  # noqa: PLC0415 - imports torch

    built = copy.deepcopy(model) if isinstance(model, torch.nn.Module) else _built(model, job.seed)
    if not isinstance(built, torch.nn.Module):
        raise ConfigurationError(
            f"load_trained got a function that returns {type(built).__name__}: one that returns a torch.nn.Module works"
        )
    whole = prepared(built.to("cpu"), job.training, seed=job.seed)
    try:
        put(weights, travelling(whole, job.training.buffers))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path} does not fit the model ({error}): give the model that the run trained, and job= if {JOB} of the "
            f"run is not beside the file"
        ) from None
    return merged(whole).eval()


def _built(model: Callable[..., nn.Module], seed: int) -> nn.Module:
    takes_seed = "seed" in inspect.signature(model).parameters
    with reproducible_torch(torch_seed(seed, "model.weights")):
        return model(seed=seed) if takes_seed else model()
