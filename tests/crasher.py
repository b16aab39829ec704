"""Kills runs at any step that they take on a disk, and keeps a witness: for `test_crash.py`.

Two views of one run, and neither is the ledger's. The machine counts every call that changes the run's directory, dies
at the one that it is told, and knows what would be left if the power went with it. The witness stands at the server:
it writes down each sum at the moment when it becomes known, beside the bytes that the disk holds at that moment.

As a program it does what each line on its input asks, in a process of its own, and tells how that ended.
"""

import base64
import io
import json
import os
import shutil
import signal
import sys
import traceback
from contextlib import ExitStack
from enum import Enum
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

from privfl.lockstep.client import LockstepClient
from privfl.lockstep.server import LockstepServer, StepServer
from privfl.session import Phase

_TOO_EARLY = {Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UPLOAD}


class Death(BaseException):
    """The process is gone: nothing that it does from here on has an effect."""


class Manner(Enum):
    """How it dies at a step."""

    BEFORE = "before it"
    HALFWAY = "with half of the bytes written"
    AFTER = "after it"
    POWER = "after it, and the power goes: what no fsync has asked for is lost, bytes and names alike"


class Disk:
    """What would be left in a directory if the power went: bytes as of a file's last fsync, names as of a folder's."""

    def __init__(self, root):
        self._root = root
        self._bytes, self._names = {}, {}
        for path in [root, *root.rglob("*")] if root.exists() else []:
            if path.is_dir():
                self._names[path] = self._listed(path)
            else:
                self._bytes[path.stat().st_ino] = path.read_bytes()

    @staticmethod
    def _listed(folder):
        return {path.name: path.stat().st_ino for path in folder.iterdir()}

    def made(self, path):
        """A new file: its number may have been another's before."""
        self._bytes.pop(path.stat().st_ino, None)

    def synced(self, path, descriptor):
        if path.is_dir():
            self._names[path] = self._listed(path)
            for folder in path.iterdir():
                if folder.is_dir():
                    self._names.setdefault(folder, {})  # there, and nothing in it is sure to be
        else:
            status = os.fstat(descriptor)
            # By number, not by name: it may have been renamed or unlinked since.
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:  # noqa: PTH123 - no name of a file
                self._bytes[status.st_ino] = file.read()

    def content(self, path):
        """What is on disk under a name; empty if the name is not."""
        for one in (path, *path.parents):
            if one == self._root:
                return self._bytes.get(self._names[path.parent][path.name], b"")
            if one.name not in self._names.get(one.parent, {}):
                break
        return b""

    def lose_power(self):
        left = self._tree(self._root)
        shutil.rmtree(self._root, ignore_errors=True)
        for path, content in left.items():
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)

    def _tree(self, folder):
        found = {folder: None}
        for name, number in self._names.get(folder, {}).items():
            path = folder / name
            found |= self._tree(path) if path in self._names else {path: self._bytes.get(number, b"")}
        return found


class Machine:
    """Lets a process take so many steps in a directory, and kills it at the next one.

    Args:
        root: the directory; it is there.
        dies_at: number of the step, from 1; None to let it live.
        manner: how.
        really: by SIGKILL, not by an exception.
    """

    def __init__(self, root, *, dies_at=None, manner=Manner.AFTER, really=False):
        self._root = root
        self._dies_at, self._manner, self._really = dies_at, manner, really
        self._held = {}
        self._patches = ExitStack()
        self.steps = []
        self.dead = False
        self.disk = Disk(root)

    def __enter__(self):
        for name in ("open", "link", "replace", "unlink", "mkdir"):
            self._patch(os, name, self._named)
        for name in ("write", "fsync", "ftruncate"):
            self._patch(os, name, self._described)
        self._patch(os, "close", self._closing)
        self._patch(io, "open", self._opening)
        return self

    def __exit__(self, kind, *_):
        self._patches.close()
        for descriptor in tuple(self._held):
            os.close(descriptor)  # as the system does for the dead
        if self.dead and self._manner is Manner.POWER:
            self.disk.lose_power()
        return kind is Death

    def _patch(self, module, name, wrapper):
        self._patches.enter_context(patch.object(module, name, wrapper(name, getattr(module, name))))

    def _ours(self, path):
        return isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(self._root)

    def step(self, label, act, half=None):
        if self.dead:
            raise Death  # clean-up code of a dead process does nothing
        self.steps.append(label)
        dying = len(self.steps) == self._dies_at
        if dying and self._manner is Manner.BEFORE:
            self._die()
        try:
            return half() if dying and half and self._manner is Manner.HALFWAY else act()
        finally:
            if dying:  # also where the system refuses: an unlink of what is not there
                self._die()

    def _die(self):
        if self._really:
            os.kill(os.getpid(), signal.SIGKILL)
        self.dead = True
        raise Death

    def _named(self, name, real):
        def call(path, *rest, **keywords):
            if not self._ours(path):
                return real(path, *rest, **keywords)
            new = not Path(path).exists()

            def act():
                answer = real(path, *rest, **keywords)
                if name == "open":
                    self._held[answer] = Path(path).absolute()
                    if new:
                        self.disk.made(Path(path))
                return answer

            # Opening what is there changes nothing.
            return act() if name == "open" and not new else self.step(f"{name} {Path(path).name}", act)

        return call

    def _described(self, name, real):
        def call(descriptor, *rest):
            path = self._held.get(descriptor)
            if path is None:
                return real(descriptor, *rest)

            def act():
                answer = real(descriptor, *rest)
                if name == "fsync":
                    self.disk.synced(path, descriptor)
                return answer

            def half():
                return real(descriptor, bytes(rest[0])[: len(rest[0]) // 2])

            return self.step(f"{name} {path.name}", act, half if name == "write" else None)

        return call

    def _closing(self, _name, real):
        def call(descriptor):
            self._held.pop(descriptor, None)
            real(descriptor)

        return call

    def _opening(self, _name, real):
        def call(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **keywords):
            ours = self._held.get(file) if isinstance(file, int) else self._ours(file)
            if not ours or not set(mode) & set("wax"):
                return real(file, mode, buffering, encoding, errors, newline, **keywords)
            raw = _Raw(self, file, mode.translate({ord("b"): None, ord("t"): None}))
            buffered = io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        return call

    def hold(self, descriptor, path):
        self._held[descriptor] = path

    def let_go(self, descriptor):
        return self._held.pop(descriptor)


class _Raw(io.FileIO):
    """A file that Python writes to: the machine counts its writes."""

    def __init__(self, machine, file, mode):
        self._machine = machine
        if isinstance(file, int):
            self._path = machine.let_go(file)
            super().__init__(file, mode)
        else:
            self._path = Path(file).absolute()
            new = not self._path.exists()
            try:
                machine.step(f"create {self._path.name}", lambda: super(_Raw, self).__init__(file, mode))
            except Death:
                super().close()
                raise
            if new:
                machine.disk.made(self._path)
        machine.hold(self.fileno(), self._path)

    def write(self, content):
        def put(length):
            return super(_Raw, self).write(bytes(content)[:length])

        return self._machine.step(f"write {self._path.name}", lambda: put(len(content)), lambda: put(len(content) // 2))

    def close(self):
        if not self.closed:
            self._machine.let_go(self.fileno())
        super().close()


class Witness:
    """Sees what the server gets to know and what clients give away, and what is on disk at that moment.

    It tells sessions that some client's data went into from those on known inputs by what it saw of the vectors: a
    trainer returned what they were made of.

    Args:
        out: directory of the run.
        suite: sums of other suites are comparisons that the run makes with itself.
        on_disk: the bytes that a file of the run is sure to have.
        tell: takes what was seen: a dict that JSON can hold.
    """

    def __init__(self, out, suite, on_disk, tell):
        self._out, self._suite, self._on_disk, self._tell = out, suite, on_disk, tell
        self._patches = ExitStack()
        self._asked = set()
        self._of_data = []  # arrays of updates, and what is made of them: kept, so that no other one is taken for one
        self._sessions_of_data = set()

    def __enter__(self):
        from privfl.compression.compressor import Chosen
        from privfl.learning.averaging import WeightedAveraging
        from privfl.learning.private import PrivateAveraging
        from privfl.learning.private_trainer import PrivateTrainer
        from privfl.learning.torch_trainer import TorchTrainer

        for owner in (TorchTrainer, PrivateTrainer):
            self._patches.enter_context(patch.object(owner, "train", self._training(owner.train)))
        self._patches.enter_context(patch.object(Chosen, "compress", self._compressing(Chosen.compress)))
        for owner in (WeightedAveraging, PrivateAveraging):
            self._patches.enter_context(patch.object(owner, "encode", self._encoding(owner.encode)))
        ask, advance, submit = StepServer.request_for, StepServer.advance, LockstepClient.submit

        def request_for(server, party):
            if isinstance(server, LockstepServer) and server.phase not in _TOO_EARLY:
                self._saw("asked", server)
            return ask(server, party)

        def advanced(server):
            advance(server)
            if isinstance(server, LockstepServer) and server.phase is Phase.FINISHED:
                summed = server.result
                self._saw(
                    "opened",
                    server,
                    contributors=summed.contributors,
                    sum=sha256(summed.vector.tobytes()).hexdigest(),
                )

        def submitted(client, vector):
            if self._is_of_data(vector):
                self._sessions_of_data.add(client.params.nonce)
            self._saw("uploaded", client, client=client.party.number)
            submit(client, vector)

        for owner, name, seeing in (
            (StepServer, "request_for", request_for),
            (StepServer, "advance", advanced),
            (LockstepClient, "submit", submitted),
        ):
            self._patches.enter_context(patch.object(owner, name, seeing))
        return self

    def __exit__(self, *_):
        self._patches.close()

    def _training(self, train):
        def trained(*arguments, **options):
            result = train(*arguments, **options)
            self._of_data += result.update.values()
            return result

        return trained

    def _compressing(self, compress):
        def compressed(chosen, update, residual=None):
            sent = compress(chosen, update, residual)
            if self._is_of_data(update):
                self._of_data += sent.arrays.values()
            return sent

        return compressed

    def _encoding(self, encode):
        def encoded(averaging, result, **options):
            vector = encode(averaging, result, **options)
            if self._is_of_data(result.update):
                self._of_data.append(vector)
            return vector

        return encoded

    def _is_of_data(self, thing):
        pieces = thing.values() if isinstance(thing, dict) else (thing,)
        return any(piece is one for piece in pieces for one in self._of_data)

    def _saw(self, what, party, **more):
        params = party.params
        if params.suite != self._suite or (what == "asked" and params.nonce in self._asked):
            return
        self._asked.add(params.nonce) if what == "asked" else None
        ledger = self._out / ("ledger.jsonl" if what != "uploaded" else f"clients/{more['client']:04d}.jsonl")
        self._tell(
            {
                "what": what,
                "session": params.digest.hex(),
                "of_data": params.nonce in self._sessions_of_data,
                "ledger": base64.b64encode(self._on_disk(ledger)).decode(),
                **more,
            }
        )


def same_steps():
    """Make each round's model the best: how often its file is written must not follow from the noise."""
    from privfl.learning.stopping import Stopping

    return patch.object(Stopping, "_better", return_value=True)


def _one_life(arguments, out, suite, witness, said, dies_at, manner, *, plainly=False):
    """Be one process: run a command of privfl under a machine, and write down what the witness saw before all else.

    `plainly`: without a witness, and the best model is the best.
    """
    from privfl.cli.main import main

    sheet = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    write, fsync = os.write, os.fsync  # the witness takes no steps of the run's

    def tell(seen):
        write(sheet, json.dumps(seen).encode() + b"\n")
        fsync(sheet)

    machine = Machine(Path(out).parent, dies_at=dies_at, manner=Manner[manner], really=True)
    with Path(said).open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
    if plainly:
        with machine:
            return main(arguments), len(machine.steps)
    with same_steps(), machine, Witness(Path(out), suite, machine.disk.content, tell):
        return main(arguments), len(machine.steps)


def serve():
    """Fork for every line of the input; answer with a line."""
    import torch

    from privfl.learning.guarantee import guarantee_of
    from privfl.learning.job import job_from_table

    torch.set_num_threads(1)  # a process with threads is not to be forked
    import privfl.cli.main
    import privfl.cli.run
    import privfl.learning.rounds
    import privfl.report.run_report  # noqa: F401 - imported once, for all that are forked

    private = {"mode": "client-distributed", "epsilon": 9.0, "clip": 1.0}
    promise = guarantee_of(job_from_table({"data": {"clients": 5}, "privacy": private}), parameters=9, examples=9)
    promise.planned_epsilon(job_from_table({"data": {"clients": 5}, "privacy": private}))
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                answer = _one_life(**json.loads(line))
            except BaseException:  # noqa: BLE001 - a forked process must not go on as its parent
                answer = (None, traceback.format_exc())
            sys.stdout.flush()
            os.write(writer, json.dumps(answer).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as told:
            said = told.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status)
        print(json.dumps({"killed": killed, "answer": json.loads(said) if said else None}), flush=True)


if __name__ == "__main__":
    serve()
