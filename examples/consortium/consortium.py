"""A consortium on one machine: its papers, its coordinator and its clients, each a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from broker import Mosquitto

PRIVFL = (sys.executable, "-m", "privfl")
HOST = "localhost"
NAME = "coordinator.example"
"""Of the coordinator, which only its own certificate has: the broker is on the same host here."""
OUT = "out"


class Consortium:
    """A coordinator and its clients, as `privfl serve` and `privfl join` run them.

    A directory holds what the parties would have on machines of their own: the coordinator's key and certificate, a
    home for every client, and the two things that all of them have, roster and authority. With `mqtt` they talk through
    a broker, which has a certificate of its own, and so has everybody for the broker.
    """

    def __init__(
        self, folder: Path, job: Path, clients: int, *, waits: tuple[str, ...] = (), mqtt: bool = False
    ) -> None:
        self.folder, self.job, self.clients = folder.absolute(), job.absolute(), clients
        self.out = self.folder / OUT
        self._waits = waits
        self._port = _free_port()
        self._coordinator: subprocess.Popen | None = None
        self._joined: dict[int, subprocess.Popen] = {}
        self._make_papers()
        self.broker = self._make_broker() if mqtt else None

    def __enter__(self) -> Self:
        if self.broker is not None:
            self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._coordinator, *self._joined.values()):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        if self.broker is not None:
            self.broker.stop()

    def _make_papers(self) -> None:
        """Everybody makes a key of their own; public keys become the roster; the authority vouches for the host."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._privfl("identity", "new", "coordinator.pem")
        self._privfl("identity", "ca", "ca.pem", "--name", "Five hospitals")
        self._privfl(
            "identity", "cert", "server.pem", "--ca", "ca.pem", "--host", HOST, "--host", "127.0.0.1", "--host", NAME
        )
        for number in range(self.clients):
            self.home(number).mkdir(mode=0o700)
            self._privfl("identity", "new", str(self.home(number) / "identity.pem"))
        listed = [f"{number}={self.home(number) / 'identity.pub'}" for number in range(self.clients)]
        self._privfl("identity", "roster", *listed, "--days", "365", "--out", "roster.json")
        for number in range(self.clients):
            (self.home(number) / "roster.json").write_bytes((self.folder / "roster.json").read_bytes())

    def _make_broker(self) -> Mosquitto:
        """The broker shows who it is, and knows everybody by the name in a certificate."""
        self._privfl("identity", "cert", "broker.pem", "--ca", "ca.pem", "--host", HOST)
        self._privfl("identity", "cert", "at-broker.pem", "--ca", "ca.pem", "--client", "--name", "coordinator")
        for number in range(self.clients):
            own = str(self.home(number) / "at-broker.pem")
            self._privfl("identity", "cert", own, "--ca", "ca.pem", "--client", "--name", f"hospital-{number}")
        ca, certificate, key = (self.folder / name for name in ("ca.crt", "broker.crt", "broker.pem"))
        return Mosquitto(self.folder, ca, certificate, key)

    def home(self, number: int) -> Path:
        """A client's own directory."""
        return self.folder / f"hospital-{number}"

    def serve(self) -> None:
        """Start the coordinator; one that was killed goes on."""
        begun = (self.out / "run.id").exists()
        what = ("--resume", OUT) if begun else (str(self.job), "--out", OUT)
        papers = ("--identity", "coordinator.pem", "--roster", "roster.json", "--certificate", "server.crt")
        where = ("--key", "server.pem", "--port", str(self._port))
        if self.broker is not None:
            own = ("--broker-certificate", "at-broker.crt", "--broker-key", "at-broker.pem")
            where = ("--key", "server.pem", "--mqtt", self._url(), "--broker-ca", "ca.crt", *own)
        self._coordinator = self._start("coordinator.log", "serve", *what, *papers, *where, *self._waits)

    def join(self, number: int) -> None:
        """Start a client; one that was killed goes on."""
        home, log = str(self.home(number)), f"hospital-{number}.log"
        own: tuple[str, ...] = ()
        if self.broker is not None:
            own = ("--name", NAME, "--certificate", f"{home}/at-broker.crt", "--key", f"{home}/at-broker.pem")
        self._joined[number] = self._start(log, "join", self._url(), "--home", home, "--ca", "ca.crt", *own)

    def _url(self) -> str:
        return f"https://{HOST}:{self._port}" if self.broker is None else f"mqtts://{HOST}:{self.broker.port}"

    def kill_coordinator(self) -> None:
        """End it as a power cut would."""
        _kill(self._coordinator)

    def kill_client(self, number: int) -> None:
        """End one as a power cut would."""
        _kill(self._joined[number])

    def rounds(self) -> list[str]:
        """The lines of the metrics so far."""
        path = self.out / "metrics.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def await_rounds(self, count: int, *, within_s: float = 300) -> None:
        """Wait until so many rounds are done."""
        until = time.monotonic() + within_s
        while len(self.rounds()) < count:
            self._check(until, f"round {count}")
            time.sleep(0.1)

    def await_begin(self, *, within_s: float = 120) -> None:
        """Wait until the coordinator has put down that there is a run."""
        until = time.monotonic() + within_s
        while not (self.out / "run.id").exists():
            self._check(until, "the run")
            time.sleep(0.1)

    def await_end(self, *, within_s: float = 300) -> dict[str, int]:
        """Wait until all have come to their end, and return their exit codes."""
        codes = {"coordinator": self._coordinator.wait(within_s)}
        return codes | {f"hospital-{number}": one.wait(within_s) for number, one in self._joined.items()}

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text()

    def _check(self, until: float, what: str) -> None:
        if self._coordinator.poll() is not None:
            raise RuntimeError(f"the coordinator ended before {what}:\n{self.log('coordinator')}")
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come:\n{self.log('coordinator')}")

    def _privfl(self, *arguments: str) -> None:
        subprocess.run([*PRIVFL, *arguments], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own

    def _start(self, log: str, *arguments: str) -> subprocess.Popen:
        with (self.folder / log).open("ab") as said:
            return subprocess.Popen(  # noqa: S603 - our own
                [*PRIVFL, *map(str, arguments)], cwd=self.folder, stdout=said, stderr=said, env=_environment()
            )


def _kill(process: subprocess.Popen | None) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment() -> dict[str, str]:
    # Six processes share this machine: each computes with one thread.
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
