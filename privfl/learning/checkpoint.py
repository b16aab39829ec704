"""The model on disk, with the round that it stands after: one file, replaced whole, so that a crash loses nothing."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.guard import to_disk

Slots = Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
"""Arrays by name, by what they are."""
_NOTE: Final = "__privfl__"
_SLOT: Final = "__privfl__/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model and where it stands.

    Attributes:
        weights: float32 arrays by name.
        round: rounds done.
        metrics: the metrics line of that round.
        state: what else a resumed run needs, as JSON values.
        slots: what the server's optimiser remembers: float32 arrays by name, by what they are.
    """

    weights: dict[str, npt.NDArray[np.float32]]
    round: int
    metrics: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    slots: Slots = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, durably and whole: a reader sees the old file or the new one."""
    note = json.dumps({"round": checkpoint.round, "metrics": dict(checkpoint.metrics), "state": dict(checkpoint.state)})
    buffer = io.BytesIO()
    remembered = {
        f"{_SLOT}{slot}/{name}": array for slot, arrays in checkpoint.slots.items() for name, array in arrays.items()
    }
    np.savez(buffer, allow_pickle=False, **{_NOTE: np.array(note)}, **remembered, **checkpoint.weights)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ConfigurationError: no such file, or it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            note = _checked_note(json.loads(str(archive[_NOTE])))
            weights = {name: archive[name] for name in archive.files if not name.startswith(_NOTE)}
            slots: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
            for key in (name for name in archive.files if name.startswith(_SLOT)):
                slot, _, name = key.removeprefix(_SLOT).partition("/")
                slots.setdefault(slot, {})[name] = archive[key]
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist: there is no finished round to go on from") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"{path} is damaged and cannot be gone on from: {error}") from None
    return Checkpoint(weights=weights, round=note["round"], metrics=note["metrics"], state=note["state"], slots=slots)


def _checked_note(note: Any) -> Mapping[str, Any]:
    """Return what stands beside the arrays, if it is what `save_checkpoint` puts there."""
    metrics, state = note["metrics"], note.get("state", {})
    if type(note["round"]) is not int or not isinstance(metrics, dict) or not isinstance(state, dict):
        raise ValueError("its note is none of a round")
    if metrics and metrics.get("round") != note["round"]:
        raise ValueError("its note tells of two rounds")
    return {"round": note["round"], "metrics": metrics, "state": state}


def load_model(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return the arrays of a `model.npz`, by name.

    >>> import tempfile, numpy as np
    >>> target = Path(tempfile.mkdtemp()) / "model.npz"
    >>> save_checkpoint(target, Checkpoint(weights={"w": np.ones(2, np.float32)}, round=1, metrics={}))
    >>> load_model(target)["w"]
    array([1., 1.], dtype=float32)
    """
    return load_checkpoint(path).weights


def require_writable(directory: Path, flag: str) -> None:
    """Raise unless a directory can be made, or be written if it is there; nothing is left behind.

    Raises:
        ConfigurationError: names the flag.
    """
    nearest = directory
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        # Permissions alone do not tell (read-only mounts, /proc, the superuser): a trial does.
        Path(tempfile.mkdtemp(prefix=".privfl-", dir=nearest)).rmdir()
    except OSError as error:
        raise ConfigurationError(
            f"{flag} {directory} cannot be written ({error.strerror}): name a directory of your own, such as runs/a"
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step, after its bytes have reached the disk."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    to_disk(path.parent)  # or a crash could bring the old file back
