"""Results on disk: a line for each thing measured, written as soon as it is, so that a killed run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from privfl.bench.machine import machine, same_machine
from privfl.errors import ConfigurationError
from privfl.guard import make_folder
from privfl.learning.checkpoint import require_writable, write_whole

CELLS: Final = "bench.jsonl"
GOALS: Final = "goals.jsonl"
JOBS: Final = "jobs.jsonl"
COMMAND: Final = "command.json"
_FORMAT: Final = "privfl-bench-1"


class Store:
    """A directory of results.

    Args:
        folder: the directory; None keeps results in memory only.
        machine: on what they are measured.

    Attributes:
        machine: likewise.

    Guarantees:
        1. What was measured stays, whenever the process ends; a line is whole or not there.
        2. Nothing is added to results of another machine, or other versions.
    """

    def __init__(self, folder: Path | None, *, on: dict[str, str]) -> None:
        self._folder = folder
        self.machine = on
        self._records: dict[str, list[dict[str, Any]]] = {name: [] for name in (CELLS, GOALS, JOBS)}

    @classmethod
    def begin(cls, folder: Path | None, arguments: Sequence[str]) -> Store:
        """Begin a directory of results.

        Args:
            folder: the directory; None for none.
            arguments: of the command, to go on with.

        Raises:
            ConfigurationError: it cannot be written, or holds results.
        """
        store = cls(folder, on=machine())
        if folder is not None:
            if any((folder / name).exists() for name in (CELLS, GOALS, JOBS, COMMAND)):
                raise ConfigurationError(
                    f"--out {folder} holds results already: name another directory, or --resume {folder}"
                )
            require_writable(folder, "--out")
            make_folder(folder)
            said = {"format": _FORMAT, "arguments": list(arguments), "machine": store.machine}
            write_whole(folder / COMMAND, json.dumps(said, indent=1).encode() + b"\n")
        return store

    @classmethod
    def resume(cls, folder: Path) -> tuple[Store, list[str]]:
        """Go on with a directory of results.

        Returns:
            The store, and the arguments that the directory was begun with.

        Raises:
            ConfigurationError: it holds none, or those of another machine or other versions.
        """
        try:
            said = json.loads((folder / COMMAND).read_text(encoding="utf-8"))
            arguments, begun_on = [str(one) for one in said["arguments"]], dict(said["machine"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigurationError(f"--resume {folder} holds no results: there is no {COMMAND} in it") from None
        here = machine()
        if not same_machine(begun_on, here):
            other = sorted(key for key in here.keys() | begun_on.keys() if here.get(key) != begun_on.get(key))
            raise ConfigurationError(
                f"--resume {folder} was measured with another {other[0]}: results of two are not held against each "
                f"other; begin anew with --out"
            )
        store = cls(folder, on=begun_on)
        store._records = {name: _whole_lines(folder / name) for name in store._records}
        return store, arguments

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return what a file holds."""
        return list(self._records[name])

    def add(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        """Write a line; return it as it was written, with the machine in it."""
        record = record | {"machine": self.machine}
        if self._folder is not None:
            with (self._folder / name).open("ab") as file:
                file.write(json.dumps(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._records[name].append(record)
        return record

    def write(self, name: str, content: bytes) -> Path | None:
        """Write a whole file beside the results; return where it is."""
        if self._folder is None:
            return None
        path = self._folder / name
        make_folder(path.parent)
        write_whole(path, content)
        return path


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; one that a killed process left half is cut off.

    Raises:
        ConfigurationError: a whole line that is no record.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    end = raw.rfind(b"\n") + 1
    if end != len(raw):
        with path.open("r+b") as file:
            file.truncate(end)
    try:
        return [dict(json.loads(line)) for line in raw[:end].splitlines()]
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path} holds a line that is no record: begin anew with --out") from None
