"""Models that have been trained, back in PyTorch: whole, as an application uses them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning.checkpoint import load_model
from privfl.learning.job import Job, load_job
from privfl.learning.models import import_torch, reproducible_torch, torch_seed
from privfl.learning.own_code import adapted, taken
from privfl.learning.paperwork import JOB
from privfl.learning.torch_weights import put, travelling

if TYPE_CHECKING:
    from torch import nn

_WHERE: Final = "the model to load"


def load_trained(
    path: Path | str,
    model: nn.Module | Callable[..., nn.Module],
    *,
    job: Job | None = None,
    feature_shape: tuple[int, ...] | None = None,
    classes: int | None = None,
) -> nn.Module:
    """Put a `model.npz` or `best.npz` into a model of PyTorch.

    Only what was trained is in the file; all else is as the model was built: frozen parameters, and buffers that did
    not travel. So give the function that builds it, and it is called as the run called it: with those of
    `feature_shape=`, `classes=` and `seed=` that it takes. Of a model that is given as a module, such parts are taken
    as they are.

    Args:
        path: the file.
        model: a function that builds the model; or the module, which is copied.
        job: of the run; read from the `job.toml` beside the file unless given. Without either, the job is taken to
            train whole models, with seed 0.
        feature_shape: of one example; unless given, and if the function takes it, the job's data are loaded for it.
        classes: how many the data have; likewise.

    Returns:
        The model in evaluation mode, with adapters merged into the layers that they stood beside.

    Raises:
        ConfigurationError: the file cannot be read, or does not fit the model; or the function fails, or takes what
            nobody says.
        MissingExtra: torch is not installed.

    Guarantees:
        1. Evaluated on the same examples it gives what the run's last evaluation gave.
        2. A module that is given, and torch's global random state, are left as they were.
    """
    torch, path = import_torch(), Path(path)
    weights = load_model(path)
    if job is None and path.with_name(JOB).exists():
        job = load_job(path.with_name(JOB))
    known = {"feature_shape": feature_shape, "classes": classes}
    from privfl.learning.adapters import merged, prepared  # noqa: PLC0415 - imports torch

    built = copy.deepcopy(model) if isinstance(model, torch.nn.Module) else _built(model, job, known)
    job = job or Job()
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


def _built(model: Callable[..., nn.Module], job: Job | None, known: Mapping[str, Any]) -> nn.Module:
    seed = 0 if job is None else job.seed
    given = {"seed": seed} | {word: value for word, value in known.items() if value is not None}
    name = getattr(model, "__qualname__", type(model).__name__)
    missing = [word for word in taken(model, tuple(known)) if word not in given]
    builder = adapted(_WHERE, name, model, ("seed", *known))
    if missing:
        given |= _of_data(job, name, missing)
    with reproducible_torch(torch_seed(seed, "model.weights")):
        built: nn.Module = builder(**given)
    return built


def _of_data(job: Job | None, name: str, missing: Sequence[str]) -> dict[str, Any]:
    """What a job's data say to functions that build models."""
    asked = " and ".join(f"{word}=" for word in missing)
    takes = f"{_WHERE} is {name!r}, which takes {asked}"
    if job is None:
        raise ConfigurationError(
            f"{takes}, and there is no {JOB} beside the file: give {asked} to load_trained, or job="
        )
    if missing == ["classes"] and job.data.classes is not None:
        return {"classes": job.data.classes}
    from privfl.learning.assembly import data_of  # noqa: PLC0415 - nobody else needs data here

    try:
        data = data_of(job)
    except (ConfigurationError, MissingExtra) as error:
        raise ConfigurationError(
            f"{takes}, and the data that say it cannot be loaded ({error}): give {asked} to load_trained"
        ) from error
    found: dict[str, Any] = {"feature_shape": data.feature_shape, "classes": data.classes}
    return {word: found[word] for word in missing}
