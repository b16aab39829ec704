"""What each extra promises, tried where it is installed; `smoke.py` runs them in a clean environment.

PRIVFL_SOURCES names the checkout that pieces of the examples and the tests are copied from; privfl itself is the
installed one. All run in the current directory, which is empty at first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(os.environ["PRIVFL_SOURCES"])
CLIENTS: Final = 5
SOFTMAX: Final = "privfl.learning.numpy_trainer:softmax"
MADE_UP: Final = """
import numpy as np

def load_client(client, seed):
    return points(np.random.default_rng([seed, client]), 60)

def load_test(seed):
    return points(np.random.default_rng([seed, 10**6]), 300)

def points(chance, count):
    labels = chance.integers(3, size=count)
    centres = np.array([[2, 0], [-2, 0], [0, 3]], np.float32)
    return (centres[labels] + chance.normal(0, 0.7, (count, 2))).astype(np.float32), labels.astype(np.int64)
"""
OWN_JOB: Final = f"""
suite = "kahe"
rounds = 3
model = "{SOFTMAX}"
data = {{ name = "made_up:load_client", clients = {CLIENTS} }}
strategy = {{ weight_max = 100 }}
threat = {{ server = "active", corrupt = 0.2, dropout = 0.2 }}
"""
WAITS: Final = ("--phase-timeout", "60", "--upload-timeout", "60", "--gather", "120")


def privfl(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command, and see that it ends as it should."""
    command = [sys.executable, "-m", "privfl", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != code:
        raise RuntimeError(f"privfl {arguments[0]} ended with {outcome.returncode}: {outcome.stderr[-300:]}")
    return outcome


def require(holds: object, otherwise: str) -> None:
    """Raise unless something holds."""
    if not holds:
        raise ValueError(otherwise)


def mean_of(suite: str) -> float:
    """Average updates under a suite, and return how far off the mean is."""
    import numpy as np

    import privfl as package

    updates = [np.random.default_rng(number).normal(0, 0.1, 1000).astype(np.float32) for number in range(5)]
    off = float(np.abs(package.aggregate(updates, suite=suite, clip=1.0) - np.mean(updates, axis=0)).max())
    require(off < 1e-3, f"{suite}: off by {off}")
    return off


def ckks() -> str:
    """A committee opens the sum."""
    return f"off by {mean_of('ckks'):.1e}"


def learning() -> str:
    """PyTorch models on the data that scikit-learn has."""
    Path("job.toml").write_text('suite = "kahe"\nrounds = 5\ndata = { name = "hospitals", clients = 10 }\n')
    said = json.loads(privfl("run", "job.toml", "--out", "hospitals", "--json").stdout)
    require(said["accuracy"] > 0.85, f"accuracy {said['accuracy']}")
    from privfl.learning.models import build
    from privfl.learning.trained import load_trained

    model = load_trained("hospitals/model.npz", partial(build, "mlp"))
    return f"accuracy {said['accuracy']:.2f}, {type(model).__name__}"


def dp() -> str:
    """What was spent, and the noise for a budget."""
    spent = ("--sampling-rate", "0.01", "--noise-multiplier", "1.1", "--steps", "1000", "--delta", "1e-5", "--json")
    epsilon = json.loads(privfl("epsilon", *spent).stdout)["epsilon"]
    require(1.4 < epsilon < 1.9, f"epsilon {epsilon}")
    asked = ("--epsilon", "4", "--delta", "1e-5", "--sampling-rate", "0.05", "--steps", "200", "--json")
    privfl("calibrate", *asked)
    return f"epsilon {epsilon:.3f}"


def flower() -> str:
    """Two rounds in Flower's simulation, with a node that fails."""
    shutil.copy(SOURCES / "tests" / "flower_simulated.py", "flower_simulated.py")
    folder = Path("f").absolute()  # short: Ray has sockets in there
    folder.mkdir()
    quiet = {"FLWR_HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    outcome = subprocess.run(
        [sys.executable, "flower_simulated.py", str(folder)],
        env=os.environ | quiet | {"XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    require(outcome.returncode == 0, outcome.stderr[-300:])
    rounds = json.loads((folder / "outcome.json").read_text())["rounds"]
    contributors = [record["contributors"] for record in rounds]
    require(contributors == [5, 5, 4, 5], f"contributors: {contributors}")
    return f"{len(rounds)} sums"


def http() -> str:
    """A coordinator and five clients as processes over HTTPS, with data of their own."""
    return _held(mqtt=False)


def mqtt() -> str:
    """The same through a broker, where there is one."""
    from privfl.integrations.mqtt import Broker

    broker = Broker.parse("mqtts://broker.example:8883/hospitals")
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        return f"{broker}; no mosquitto here: nothing was carried"
    return _held(mqtt=True)


def plot() -> str:
    """A benchmark's plots."""
    privfl("bench", "--suites", "plain", "--clients", "3", "--parameters", "1e3", "--repeat", "1", "--out", "bench")
    drawn = sorted(path.name for path in Path("bench").rglob("*.svg"))
    require(drawn, "no plots")
    return ", ".join(drawn)


def everything() -> str:
    """What takes several extras: runs under differential privacy, in every mode."""
    Path("private.toml").write_text(
        'suite = "kahe"\nrounds = 2\ndata = { name = "hospitals", clients = 10 }\n'
        "privacy = { epsilon = 8.0, delta = 1e-3, clip = 1.0 }\n"
    )
    spent = []
    for mode in ("client-distributed", "client-central", "example"):
        out = f"private-{mode}"
        privfl("run", "private.toml", "--set", f"privacy.mode={mode}", "--out", out)
        said = json.loads(privfl("audit", out, "--layer", "recomputation", "--json").stdout)
        require(said["verdict"] == "pass", f"{mode}: {said['verdict']}")
        spent.append(f"{mode} {said['epsilon']:.2f}")
    return ", ".join(spent)


PROMISES: Final[Mapping[str, Callable[[], str]]] = {
    "ckks": ckks,
    "learning": learning,
    "dp": dp,
    "flower": flower,
    "http": http,
    "mqtt": mqtt,
    "plot": plot,
}


def _held(*, mqtt: bool) -> str:
    folder = Path("mqtt" if mqtt else "https").absolute()
    pieces = folder / "pieces"
    shutil.copytree(SOURCES / "examples" / "consortium", pieces)
    sys.path.insert(0, str(pieces))
    Consortium = import_module("consortium").Consortium

    class WithOwnData(Consortium):
        def _start(self, log: str, *arguments: str) -> Any:
            own = ("--data", "made_up:load_client", "--model", SOFTMAX) if arguments[0] == "join" else ()
            return super()._start(log, *arguments, *own)

    (folder / "own.toml").write_text(OWN_JOB)
    (folder / "made_up.py").write_text(MADE_UP)
    with WithOwnData(folder, folder / "own.toml", CLIENTS, waits=WAITS, mqtt=mqtt) as held:
        held.serve()
        for number in range(CLIENTS):
            held.join(number)
        codes = held.await_end()
        rows = [json.loads(line) for line in held.rounds()]
        require(set(codes.values()) == {0}, f"exit codes {codes}: {held.log('coordinator')[-300:]}")
    require([row["contributors"] for row in rows] == [CLIENTS] * 3, f"contributors of {rows}")
    return f"{len(rows)} rounds of {CLIENTS} clients, accuracy {rows[-1]['accuracy']:.2f}"
