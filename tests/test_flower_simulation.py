"""A run in Flower's own simulation runtime: five nodes, whose messages processes of Ray answer."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
SECONDS = 400
"""A quarter of a minute where nothing else is at work."""


def begun_here(folder):
    """Processes that were started with a folder as Flower's."""
    mark = f"FLWR_HOME={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                yield int(process.name)


def gone(folder, seconds=20.0):
    """Whether all of them have ended by themselves; those that have not are ended."""
    until = time.monotonic() + seconds
    while list(begun_here(folder)) and time.monotonic() < until:
        time.sleep(0.2)
    left = list(begun_here(folder))
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return not left


@pytest.fixture(scope="module")
def simulated():
    """The folder of a finished run. Its name is short: Ray has sockets in there, whose paths may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="privfl-", dir="/tmp"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "XDG_STATE_HOME": str(folder / "state"),
        "OMP_NUM_THREADS": "1",
    }
    try:
        outcome = subprocess.run(
            [sys.executable, str(TESTS / "flower_simulated.py"), str(folder)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        yield folder, outcome.stdout + outcome.stderr
    finally:
        ended = gone(folder)
        shutil.rmtree(folder, ignore_errors=True)
    assert ended, "the simulation left processes behind"


def test_five_nodes_in_processes_of_their_own_are_summed_and_one_that_fails_is_left_out(simulated):
    from flower_simulated import CLIP, LOST, NODES, SHAPE, WEIGHT_MAX, delta, examples

    folder, log = simulated
    said = json.loads((folder / "outcome.json").read_text())
    kinds = [(record["round"], record["kind"], record["suite"]) for record in said["rounds"]]
    assert kinds == [(1, "train", "kahe"), (1, "evaluate", "masking"), (2, "train", "kahe"), (2, "evaluate", "masking")]
    assert [record["contributors"] for record in said["rounds"]] == [5, 5, 4, 5]
    assert all(record["aborted"] is None for record in said["rounds"])
    (lost,) = said["rounds"][2]["dropped"]
    assert said["rounds"][2]["refusals"] == {lost: "this node sends no contribution: its log says why"}
    assert "4711" not in json.dumps(said)

    everybody, rest = range(NODES), [node for node in range(NODES) if node != LOST]
    want, bound = np.zeros(SHAPE), 1e-5
    for there in (everybody, rest):
        total = sum(examples(node) for node in there)
        want += sum(delta(node).astype(np.float64) * examples(node) for node in there) / total
        bound += (len(there) + 0.5) * CLIP / (2**15 - 1) / (total / WEIGHT_MAX)
    assert np.abs(np.array(said["arrays"]) - want).max() <= bound
    loss = sum(node * examples(node) for node in rest) / sum(examples(node) for node in rest)
    assert said["train"]["2"]["train_loss"] == pytest.approx(loss, abs=0.01)
    accuracy = sum(node / NODES * examples(node) for node in everybody) / sum(examples(node) for node in everybody)
    assert said["evaluate"]["2"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)

    processes = [int(path.name.removeprefix("process-")) for path in folder.glob("process-*")]
    assert processes
    assert said["process"] not in processes
    homes = list((folder / "state" / "privfl" / "flower").iterdir())
    assert len(homes) == NODES
    assert all((home / "state.key").is_file() and any((home / "claims").iterdir()) for home in homes)
    assert "Sampled 5 nodes (out of 5)" in log
