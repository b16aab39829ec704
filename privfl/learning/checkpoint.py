"""The model on disk, with the round that it stands after: one file, replaced whole, so that a crash loses nothing."""

from __future__ import annotations

import io
import json
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from privfl.errors import ConfigurationError
from privfl.guard import to_disk
from privfl.learning.npz import DAMAGE

Slots = Mapping[str, Mapping[str, npt.NDArray[np.float32]]]
"""Arrays by name, by what they are."""
FORMAT: Final = 2
"""Of what stands beside the arrays. Another number for whatever a run that goes on would read differently."""
_FIRST: Final = 1  # of files from before formats had numbers
_FORMAT: Final = "format"
_LONGEST: Final = 200
_MOST_HEADER: Final = 2**16
_HEADER: Final = re.compile(
    rb"\x93NUMPY\x01\x00..{'descr': '(<f4|<U[1-9][0-9]{0,8})', 'fortran_order': (?:True|False), "
    rb"'shape': \(([0-9, ]{0,400})\), } *\n",
    re.DOTALL,
)
"""Of arrays, and of the note, as numpy writes them: it would also read others, by an interpreter of Python's values."""
_NOTE: Final = "__privfl__"
_SLOT: Final = "__privfl__/"
_ENDING: Final = ".npy"  # of members of the archive
_LONGEST_NAME: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model and where it stands.

    Attributes:
        weights: float32 arrays by name.
        round: rounds done.
        metrics: the metrics line of that round.
        state: what else a resumed run needs, as JSON values.
        slots: what the server's optimiser remembers: float32 arrays by name, by what they are.
        job: digest of the job whose model it is; None of no job.
    """

    weights: dict[str, npt.NDArray[np.float32]]
    round: int
    metrics: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    slots: Slots = field(default_factory=dict)
    job: str | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, durably and whole: a reader sees the old file or the new one."""
    note = json.dumps(
        {
            _FORMAT: FORMAT,
            "job": checkpoint.job,
            "round": checkpoint.round,
            "metrics": dict(checkpoint.metrics),
            "state": dict(checkpoint.state),
        }
    )
    buffer = io.BytesIO()
    remembered = {
        f"{_SLOT}{slot}/{name}": array for slot, arrays in checkpoint.slots.items() for name, array in arrays.items()
    }
    # As numpy.savez would, which takes the names `file` and `allow_pickle` for arguments of its own.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in {_NOTE: np.array(note), **remembered, **checkpoint.weights}.items():
            with archive.open(f"{name}{_ENDING}", "w", force_zip64=True) as member:
                npy.write_array(member, np.asanyarray(array), allow_pickle=False)
    write_whole(path, buffer.getvalue())


def is_array_name(name: object) -> bool:
    r"""Whether an array of a model may be called that, so that the file of a checkpoint holds it under that name.

    >>> [is_array_name(name) for name in ("0.weight", "file", "w.npy", "__privfl__", "a\0b", "", 3)]
    [True, True, False, False, False, False, False]
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_NAME
        and name.isprintable()  # neither half a character nor a NUL, at which zip ends a name
        and not name.startswith(_NOTE)
        and not name.endswith(_ENDING)
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: no such file; it is damaged, or of another format than this version of privfl writes.

    Guarantees:
        1. What is allocated is in proportion to the file, whatever it says of its arrays, and nothing is unpickled.
    """
    try:
        arrays = _arrays(path)
        note = _checked_note(json.loads(str(arrays[_NOTE])))
        weights = _weights(arrays)
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist: there is no finished round to go on from") from None
    except (*DAMAGE, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is damaged and cannot be gone on from: {_said(error)}") from None
    if note[_FORMAT] != FORMAT:
        raise ConfigurationError(
            f"{path} is of format {note[_FORMAT]} and this version of privfl goes on from format {FORMAT} alone: take "
            f"the version that wrote it, or start anew (load_model reads its arrays all the same)"
        )
    slots: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    for key in (name for name in arrays if name.startswith(_SLOT)):
        slot, _, name = key.removeprefix(_SLOT).partition("/")
        slots.setdefault(slot, {})[name] = arrays[key]
    return Checkpoint(
        weights=weights,
        round=note["round"],
        metrics=note["metrics"],
        state=note["state"],
        slots=slots,
        job=note["job"],
    )


def load_model(path: Path | str) -> dict[str, npt.NDArray[np.float32]]:
    """Return the arrays of a `model.npz` or `best.npz`, by name: of this version's, or of any version before or after.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: no such file, or it is damaged.

    >>> import tempfile, numpy as np
    >>> from privfl.learning import load_model
    >>> target = Path(tempfile.mkdtemp()) / "model.npz"
    >>> save_checkpoint(target, Checkpoint(weights={"w": np.ones(2, np.float32)}, round=1, metrics={}))
    >>> load_model(target)["w"]
    array([1., 1.], dtype=float32)
    """
    try:
        return _weights(_arrays(Path(path)))
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist: a run writes it behind its first round") from None
    except (*DAMAGE, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is damaged, no model can be read from it: {_said(error)}") from None


def _said(error: Exception) -> str:
    """What numpy says may hold as much of the file as it likes."""
    return " ".join(str(error).split())[:_LONGEST]


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with path.open("rb") as file:
        _check_sizes(file)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def _check_sizes(file: BinaryIO) -> None:
    """Refuse an archive that unpacks to more than its own length, or has arrays that are longer than their bytes."""
    there = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) != len(members):
            raise ValueError("two of its arrays have one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is packed, as no model of privfl is")
        if sum(member.file_size for member in members) > there:
            raise ValueError(f"it unpacks to more than its {there} bytes")
        for member in members:
            with archive.open(member) as packed:
                header = _HEADER.match(packed.read(_MOST_HEADER))
            if header is None:
                raise ValueError(f"{member.filename} is no array of float32")
            shape, dtype = [int(length) for length in re.findall(rb"[0-9]+", header[2])], np.dtype(header[1].decode())
            if math.prod(shape) * dtype.itemsize != member.file_size - header.end():
                raise ValueError(f"{member.filename} is of shape {shape} in {member.file_size} bytes")


def _weights(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    weights = {name: array for name, array in arrays.items() if not name.startswith(_NOTE)}
    if any(array.dtype != np.float32 for array in weights.values()):
        raise ValueError("a text among its arrays")
    return weights


def _checked_note(note: Any) -> Mapping[str, Any]:
    """Return what stands beside the arrays, if it is what `save_checkpoint` puts there, or another version."""
    written = note.get(_FORMAT, _FIRST)
    if type(written) is not int:
        raise ValueError(f"{written!r} for the number of its format")
    if written != FORMAT:
        return {_FORMAT: written}
    job, metrics, state = note["job"], note["metrics"], note["state"]
    if type(note["round"]) is not int or not isinstance(metrics, dict) or not isinstance(state, dict):
        raise ValueError("its note is none of a round")
    if metrics and metrics.get("round") != note["round"]:
        raise ValueError("its note tells of two rounds")
    if job is not None and not isinstance(job, str):
        raise ValueError("its note names no job")
    return {_FORMAT: written, "job": job, "round": note["round"], "metrics": metrics, "state": state}


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
    replace_file(path, content)
    to_disk(path.parent)  # or a crash could bring the old file back


def replace_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace a file in one step; its bytes are on disk then, its name is once its directory is.

    Args:
        path: of the file.
        content: all of it.
        private: readable by its owner alone, from the first byte on.
    """
    beside = path.with_name(f".{path.name}.new")
    with _of_owner(beside) if private else beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _of_owner(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)  # of a process that died: it would keep the mode that it has
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
