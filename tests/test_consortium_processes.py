"""A coordinator and five clients as processes, over HTTPS: killed at any moment, and gone on with."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

for needed in ("starlette", "uvicorn", "httpx", "torch", "sklearn", "dp_accounting"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[http,learning,dp]'")

from privfl.dp.ledger import read_ledger  # noqa: E402 - what it needs is there

EXAMPLE = Path(__file__).parent.parent / "examples" / "consortium"
sys.path.append(str(EXAMPLE))
from consortium import Consortium  # noqa: E402 - lies in the example

CLIENTS = 5
WAITS = ("--phase-timeout", "20", "--upload-timeout", "120", "--gather", "120")
CRASHES = int(os.environ.get("PRIVFL_COORDINATOR_CRASHES", "3"))
JOB = """
suite = "{suite}"
rounds = {rounds}

[data]
name = "hospitals"
clients = 5

[threat]
server = "active"
corrupt = 0.2
dropout = 0.2

[strategy]
epochs = 2
"""
PRIVATE = """
[privacy]
mode = "client-distributed"
epsilon = 20.0
delta = 1e-3
clip = 1.0
"""


def consortium(folder, text):
    job = folder / "job.toml"
    job.write_text(text)
    return Consortium(folder / "consortium", job, CLIENTS, waits=WAITS)


def rows(one):
    return [json.loads(line) for line in one.rounds()]


def test_a_client_that_is_killed_is_missed_and_comes_back(tmp_path):
    with consortium(tmp_path, JOB.format(suite="kahe", rounds=7)) as one:
        one.serve()
        for number in range(CLIENTS):
            one.join(number)
        one.await_rounds(2)
        one.kill_client(3)
        one.await_rounds(3)
        one.join(3)
        codes = one.await_end()
        done = rows(one)
        assert set(codes.values()) == {0}, one.log("coordinator")
        assert [row["round"] for row in done] == list(range(1, 8))
        assert not any(row["aborted"] for row in done)
        assert min(row["contributors"] for row in done) == CLIENTS - 1
        assert done[-1]["contributors"] == CLIENTS
        assert done[-1]["accuracy"] > 0.9
        assert (one.out / "report.html").exists()
        for number in range(CLIENTS):
            assert "the run is over" in one.log(f"hospital-{number}")


def test_a_coordinator_that_is_killed_at_any_moment_goes_on_with_an_intact_ledger(tmp_path):
    rounds = 4 + CRASHES
    with consortium(tmp_path, JOB.format(suite="masking", rounds=rounds) + PRIVATE) as one:
        one.serve()
        for number in range(CLIENTS):
            one.join(number)
        one.await_begin()
        for crash in range(CRASHES):
            # In this run's rounds, wherever they are: nobody chooses the moment.
            one.await_rounds(crash + 1)
            time.sleep(int.from_bytes(os.urandom(2)) / 2**16 * 3)
            one.kill_coordinator()
            one.serve()
        codes = one.await_end()
        done = rows(one)
        # A crash costs its round at most: who has trained for it does not do so again.
        lost = [row for row in done if row["aborted"]]
        assert len(lost) <= CRASHES, one.log("coordinator")
        assert codes.pop("coordinator") == (2 if lost else 0), one.log("coordinator")
        assert set(codes.values()) == {0}
        assert [row["round"] for row in done] == list(range(1, rounds + 1))
        ledger = read_ledger(one.out / "ledger.jsonl")  # every hash and signature
        assert ledger.closed is not None
        charged = {charge.round for charge in ledger.charges}
        assert {row["round"] for row in done if not row["aborted"]} <= charged
        # What was charged and lost with the coordinator stays charged: never less than was released.
        assert len(ledger.charges) >= sum(not row["aborted"] for row in done)
        assert ledger.closed["epsilon"] == pytest.approx(done[-1]["epsilon"])
        for number in range(CLIENTS):
            assert "the run is over" in one.log(f"hospital-{number}")
