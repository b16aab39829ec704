"""What error feedback keeps at the clients from round to round: each its own, and as it was when the model was written.

A client's residual is what compression left out of its updates. It is as private as they are: it stays out of the
model's file, and in a simulation lies with the client's other files, readable by their owner alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.guard import make_folder, to_disk
from privfl.learning.checkpoint import replace_file
from privfl.learning.client_books import CLIENTS
from privfl.learning.npz import DAMAGE, read_npz

Residual = npt.NDArray[np.float32]
_RESIDUAL: Final = "residual"
_OF: Final = "of"
"""Whose it is and of which round, inside the file: one that took another's name does not pass for it."""
_FILE: Final = re.compile(r"\.?\d{4,}\.residual-\d{6,}\.npz(\.new)?")
_HEADERS: Final = 1024  # of two arrays, 128 bytes each as numpy writes them


class Residuals:
    """The residuals of all clients of a run.

    A round goes `stage`, for each client that trains, then `settle`, then the model's checkpoint with `state` in it,
    then `saved`.

    Args:
        out: directory of the run; files go to `clients/`. Without one they last as long as the process.
        clients: how many there are.
        length: coordinates of an update.

    Guarantees:
        1. At whatever step a process ends, a run that goes on from the last checkpoint finds every residual as it was
           then, bit for bit: `settle` returns once its files are on disk, and none is removed before a checkpoint that
           needs it no more is.
        2. A file that must be there and is not, or is damaged, another client's or another round's, is refused by name:
           another residual would change the sum, and nobody would see it.
        3. A client whose update is in no sum keeps the residual that it had.
        4. Nobody but the files' owner can read them.
    """

    def __init__(self, out: Path | None, clients: int, length: int) -> None:
        self._home = None if out is None else out / CLIENTS
        self._clients = clients
        self._length = length
        self._current: dict[int, tuple[int, Residual]] = {}  # by client: of which round, and what
        self._staged: dict[int, tuple[int, Residual]] = {}
        self._superseded: list[tuple[int, Path]] = []  # since which round, and what
        self._tidy = False

    def keep_in(self, out: Path) -> None:
        """Keep files in the directory of a run that goes on, from here on.

        Args:
            out: the directory.
        """
        self._home = out / CLIENTS

    def of(self, client: int) -> Residual | None:
        """Return what a client has left, which cannot be written to; None before its first update was summed."""
        found = self._current.get(client)
        return None if found is None else found[1]

    def stage(self, round_number: int, client: int, residual: Residual) -> None:
        """Take note of what a client will have left if its update is summed.

        Args:
            round_number: the round at work.
            client: its number.
            residual: float32, shape (length,); not to be changed any more.

        Raises:
            ConfigurationError: of another dtype or shape, or of no client.
        """
        if residual.dtype != np.float32 or residual.shape != (self._length,) or not 0 <= client < self._clients:
            raise ConfigurationError(
                f"client {client} of {self._clients} has a residual of {residual.dtype} and shape {residual.shape}: "
                f"float32 of shape ({self._length},) works"
            )
        self._staged[client] = (round_number, _sealed(residual))

    def settle(self, round_number: int, contributors: Collection[int]) -> None:
        """End a round: what its contributors staged counts from here on, and is on disk; what others did is dropped.

        Args:
            round_number: the round.
            contributors: clients whose updates its sum holds; none if nothing was released.

        Raises:
            OSError: a file cannot be written.
        """
        settled = {
            client: staged
            for client, staged in self._staged.items()
            if client in contributors and staged[0] == round_number
        }
        self._staged.clear()
        if self._home is not None and settled:
            make_folder(self._home, private=True)  # names of files tell whose updates were summed
            self._remove_leftovers(self._home)
            for client, (number, residual) in settled.items():
                replace_file(self._path(self._home, client, number), _content(client, number, residual), private=True)
            to_disk(self._home)  # once for all of them
            self._superseded += [
                (round_number, self._path(self._home, client, self._current[client][0]))
                for client in settled
                if client in self._current and self._current[client][0] != round_number
            ]
        self._current |= settled

    def saved(self, round_number: int) -> None:
        """Remove the files that a checkpoint which is now on disk needs no more.

        Args:
            round_number: whose checkpoint it is.
        """
        for since, path in self._superseded:
            if since <= round_number:
                path.unlink(missing_ok=True)
        self._superseded = [one for one in self._superseded if one[0] > round_number]

    def state(self) -> dict[str, int]:
        """Return what a checkpoint says of them: by client, of which round its residual is. JSON has names alone."""
        return {str(client): number for client, (number, _) in sorted(self._current.items())}

    def restore(self, state: Any, round_number: int) -> None:
        """Go on from a checkpoint: what it says of them counts, and nothing else that lies there.

        Nothing is removed before a round is settled: another process may still be at work here.

        Args:
            state: what `state` had returned.
            round_number: of the checkpoint; 0 where there is none.

        Raises:
            ConfigurationError: a file is missing, damaged, or not what its name says.
        """
        current = {}
        for client, number in _checked(state, self._clients, round_number).items():
            if self._home is None:
                raise ConfigurationError("residuals were kept on disk, and no directory is given to read them from")
            path = self._path(self._home, client, number)
            current[client] = (number, self._read(path, client, number))
        self._current, self._staged, self._superseded, self._tidy = current, {}, [], False

    def _remove_leftovers(self, home: Path) -> None:
        """Remove, once, what a process left behind that died: of a round that is done again, or of one long over."""
        if self._tidy:
            return
        kept = {self._path(home, client, number).name for client, (number, _) in self._current.items()}
        for path in sorted(home.iterdir()):
            if _FILE.fullmatch(path.name) and path.name not in kept:
                path.unlink()
        self._tidy = True

    def _read(self, path: Path, client: int, number: int) -> Residual:
        told = f"and what client {client} has left of its updates is nowhere else: put the file back, or start anew"
        try:
            arrays = read_npz(path.read_bytes(), (_OF, _RESIDUAL), 4 * self._length + _HEADERS)
        except FileNotFoundError:
            raise ConfigurationError(f"{path} is missing, {told}") from None
        except DAMAGE as error:
            raise ConfigurationError(f"{path} is damaged ({error}), {told}") from None
        residual = arrays[_RESIDUAL]
        if residual.dtype != np.float32 or residual.shape != (self._length,):
            raise ConfigurationError(
                f"{path} holds {residual.dtype} of shape {residual.shape}, where float32 of ({self._length},) is due, "
                f"{told}"
            )
        if arrays[_OF].tolist() != [client, number]:
            raise ConfigurationError(f"{path} is another client's or another round's, {told}")
        return residual

    @staticmethod
    def _path(home: Path, client: int, number: int) -> Path:
        return home / f"{client:04d}.residual-{number:06d}.npz"


def _content(client: int, number: int, residual: Residual) -> bytes:
    buffer = io.BytesIO()
    # An archive for its checksum: a bit that a disk turned over would go into a sum unseen.
    np.savez(buffer, allow_pickle=False, of=np.array([client, number], np.int64), residual=residual)
    return buffer.getvalue()


def _sealed(residual: Residual) -> Residual:
    view = residual.view()
    view.flags.writeable = False
    return view


def _checked(state: Any, clients: int, most: int) -> dict[int, int]:
    """Return rounds by client, if they are."""
    if not isinstance(state, Mapping):
        raise ConfigurationError(f"{state!r} for the rounds that residuals are of")
    checked = {}
    for client, number in state.items():
        if re.fullmatch(r"\d{1,9}", str(client)) is None or not 0 <= int(client) < clients:
            raise ConfigurationError(f"a residual of client {client!r}, where there are {clients}")
        if type(number) is not int or not 1 <= number <= most:
            raise ConfigurationError(f"a residual of round {number!r} beside a model of round {most}")
        checked[int(client)] = number
    return checked
