"""The load test of the coordinator, in small: every check that it makes on a full round holds here too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra http is not installed")

ROOT = Path(__file__).parent.parent
KINDS = {"steady", "returning", "away", "slow", "flapping", "liar", "replayer"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("load") / "load.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/coordinator_load.py", "--quick", "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert out.exists(), done.stderr
    return done, json.loads(out.read_text())


def test_every_check_of_both_scenarios_holds(measured):
    done, record = measured
    failed = [name for one in record["scenarios"] for name, held in one["checks"].items() if not held]
    assert failed == []
    assert done.returncode == 0, done.stderr
    assert "checks hold" in done.stdout


def test_everybody_who_is_not_to_be_lost_is_in_the_sum(measured):
    steady, troubled = measured[1]["scenarios"]
    assert steady["contributors"] == steady["clients"] == 20
    assert set(troubled["kinds"]) == KINDS
    gone = troubled["kinds"]["away"] + troubled["kinds"]["liar"]
    assert troubled["contributors"] == 20 - gone
    assert troubled["kinds"]["away"] + troubled["kinds"]["returning"] == 6


def test_figures_are_of_what_was_done(measured):
    for one in measured[1]["scenarios"]:
        # No answer that arrived is shorter than its vector, four bytes a parameter.
        assert one["upload"]["mb"] >= one["contributors"] * 0.04
        assert one["memory_mb"]["peak"] >= one["memory_mb"]["before"] > 0
        assert one["phases"]["upload"]["cpu_s"].keys() >= {"coordinator", "clients"}
    assert measured[1]["scenarios"][1]["strangers"]["statuses"]["401"] > 0
