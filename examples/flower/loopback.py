"""A federation on this machine: one SuperLink and its SuperNodes as processes of their own, all on 127.0.0.1."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from relay import RecordingRelay

PATIENCE_S = 60.0
"""For a process to start, or to stop."""
_ID = re.compile(r"SuperNode ID: (-?\d+)")


class Federation:
    """Started by `with`, and stopped by leaving it, whatever happened inside.

    Args:
        folder: where logs, keys and Flower's own files go.
        nodes: how many SuperNodes; in simulation, how many nodes Ray plays.
        simulation: Flower's simulation runtime, which needs no SuperNodes.
        capture: put a relay between SuperNodes and SuperLink that keeps what the SuperLink gets from them.
        database: keep the SuperLink's state in `folder/superlink.db`, not in memory.
    """

    def __init__(
        self, folder: Path, *, nodes: int, simulation: bool = False, capture: bool = False, database: bool = False
    ) -> None:
        self.folder = folder
        self.nodes = nodes
        self.simulation = simulation
        self.relay: RecordingRelay | None = None
        self._capture = capture
        self._database = database
        self._stack = ExitStack()
        self._started: list[subprocess.Popen[bytes]] = []
        self._supernodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()  # nothing failed: the stack lives until __exit__
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, app: Path, config: Mapping[str, object], told: Callable[[str], object] = print) -> None:
        """`flwr run` an app with this run config, and hand on each line of its log, until it ends."""
        command = ["flwr", "run", str(app), "loopback", "--stream", "--run-config", _toml(config)]
        if self.simulation:
            command += ["--federation-config", f"num-supernodes={self.nodes}"]
        with subprocess.Popen(  # noqa: S603 - the command is our own
            command,
            env=self._environment("user"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    told(line.rstrip())
            finally:
                process.terminate()

    def node_log(self, node: int) -> str:
        """What this SuperNode, and the client app on it, have said so far."""
        return (self.folder / f"node-{node}.log").read_text(encoding="utf-8", errors="replace")

    def node_ids(self) -> list[int]:
        """What Flower calls the nodes, in the order of their partitions."""
        return [int(_ID.findall(self.node_log(node))[-1]) for node in range(self.nodes)]

    def processes(self) -> set[int]:
        """Ids of all processes that were started here, and by these."""
        return set().union(*(_family(process.pid) for process in self._started))

    def kill_node(self, node: int) -> None:
        """End a SuperNode and all that it has started, at once and without a word to anybody."""
        # A SuperNode's children stay in its process group, which `start_new_session` has made.
        os.killpg(self._supernodes[node].pid, signal.SIGKILL)
        self._supernodes[node].wait()

    def _start(self) -> None:
        port = free_port()
        settings = self.folder / "user" / "config.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(
            f'[superlink]\ndefault = "loopback"\n[superlink.loopback]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        superlink = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
        superlink += ["--host", "127.0.0.1", "--port", str(port)]
        superlink += ["--simulation"] if self.simulation else []
        superlink += ["--database", str(self.folder / "superlink.db")] if self._database else []
        self._stack.callback(stop, [self._process("superlink", superlink)])
        wait_for("the SuperLink", lambda: _answers(port))
        if self.simulation:
            return
        if self._capture:
            self.relay = self._stack.enter_context(RecordingRelay(port))
        self._stack.callback(stop, self._supernodes)
        for node in range(self.nodes):
            home = self.folder / f"node-{node}" / "privfl"
            home.mkdir(mode=0o700, parents=True)  # the node's own; one that is named has to be there
            settings_of_node = {"partition-id": node, "num-partitions": self.nodes, "privfl-home": str(home)}
            supernode = ["flower-supernode", "--insecure", "--port", str(free_port())]
            supernode += ["--superlink", f"127.0.0.1:{self.relay.port if self.relay else port}"]
            supernode += ["--node-config", _toml(settings_of_node)]
            self._supernodes.append(self._process(f"node-{node}", supernode))
        for node in range(self.nodes):
            wait_for(f"SuperNode {node}", lambda node=node: _ID.search(self.node_log(node)) is not None)

    def _process(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the command is our own
                command, env=self._environment(name), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._started.append(process)
        return process

    def _environment(self, name: str) -> dict[str, str]:
        """Each process as on a machine of its own: none shares Flower's files with another."""
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        return os.environ | {
            "FLWR_HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),  # where simulated nodes have their directories
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PYTHONUNBUFFERED": "1",
            # SuperLink and SuperNodes start further commands of Flower's, by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at, as of now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(what: str, happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Until it has happened.

    Raises:
        TimeoutError: it has not for too long.
    """
    end = time.monotonic() + patience_s
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: nothing within {patience_s:.0f} s; its log says why")
        time.sleep(0.1)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, with all that they have started; what does not listen is killed."""
    everyone = set().union(*(_family(process.pid) for process in processes))
    for process in processes:
        process.send_signal(signal.SIGINT)  # nothing happens to one that is gone
    try:
        for process in processes:
            process.wait(PATIENCE_S / 4)
        wait_for("the end of their children", lambda: not everyone & living().keys(), PATIENCE_S / 4)
    except (subprocess.TimeoutExpired, TimeoutError):
        for pid in everyone & living().keys():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in processes:
            process.wait()


def _family(root: int) -> set[int]:
    """A process, its group, and all that these have started."""
    everybody = living()
    found = {pid for pid, (_, group) in everybody.items() if root in {pid, group}}
    while more := {pid for pid, (parent, _) in everybody.items() if parent in found} - found:
        found |= more
    return found


def living() -> dict[int, tuple[int, int]]:
    """All processes that run: parent and group of each."""
    if Path("/proc/self/stat").exists():
        rows = [_of_proc(path) for path in Path("/proc").glob("[0-9]*/stat")]
    else:
        command = ["ps", "-A", "-o", "pid=,stat=,ppid=,pgid="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
        rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid): (int(parent), int(group)) for pid, state, parent, group in rows if state[0] not in "XZ"}


def _of_proc(path: Path) -> list[str]:
    """Id, state, parent and group; as of a dead process if it has ended meanwhile."""
    try:
        # The second field is the command's name in parentheses, and may hold anything.
        pid, _, rest = path.read_text(encoding="utf-8", errors="replace").partition(" (")
    except OSError:
        return ["0", "X", "0", "0"]
    return [pid, *rest.rpartition(") ")[2].split()[:3]]


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _toml(values: Mapping[str, object]) -> str:
    """As `--run-config` and `--node-config` want them; for these values JSON and TOML agree."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
