"""Runs without differential privacy under crashes: at any step that they take on the disk, then resumed.

They end as the uninterrupted run does, to the bit: model, best model, what the server and the clients remember, and
every figure that no stopwatch measures. Where sums are approximate, cohorts are the same, and the model is within their
bounds.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from crasher import Machine, Manner
from test_crash import Crasher

from privfl.audit.examine import examine
from privfl.audit.findings import Outcome
from privfl.evidence import read_evidence
from privfl.learning import load_model
from privfl.learning.checkpoint import load_checkpoint
from privfl.learning.job import job_from_table, job_to_toml
from privfl.learning.rounds import FederatedRun
from privfl.primitives.signatures import Identity

KILLS = int(os.environ.get("PRIVFL_EXACT_CRASHES", "5"))
"""`make crash-exact`: 20."""
EVERY = "PRIVFL_EVERY_STEP" in os.environ
"""`make crash`: every step of every variant, in every manner."""

MEASURED = {
    "seconds": "a stopwatch",
    "secure_seconds": "a stopwatch",
    "plain_seconds": "a stopwatch",
    "evaluation_seconds": "a stopwatch",
    "client_seconds": "CPU time",
    "server_seconds": "CPU time",
    "committee_seconds": "CPU time",
}
"""What of a line of metrics is measured, and differs between any two runs; all else is the same."""
LOST = {
    "evaluated_clients": None,
    "federated_accuracy": None,
    "federated_loss": None,
    "worst_client_accuracy": None,
    "client_accuracy_quantiles": None,
    "client_accuracy_histogram": None,
    "mean_client_accuracy": None,
    "std_client_accuracy": None,
    "evaluation_bytes": 0,
}
"""What is not known of a round whose evaluation a crash took: clients are never asked twice about one model."""

SMALL = {"rounds": 4, "model": "logistic", "strategy": {"epochs": 1}, "data": {"clients": 5}, "audit": {"probes": 0}}
DROPS = {
    "threat": {"corrupt": 0.2, "dropout": 0.2},
    "failures": {"drop": [{"round": 2, "clients": [3]}, {"round": 3, "clients": [1], "phase": "Unmask"}]},
}
VARIANTS = {
    "adam": {"suite": "masking", "strategy": {"epochs": 1, "name": "fedadam", "server_learning_rate": 0.05}} | DROPS,
    "buffer": {
        "suite": "masking",
        "data": {"clients": 10},
        "strategy": {"epochs": 1, "name": "fedbuff", "buffer": 3, "concurrency": 8, "optimiser": "adam"},
        "fleet": {"examples_per_s": 10.0, "speed_spread": 1.0, "battery_examples": 100_000},
    },
    "feedback": {
        "suite": "masking",
        "compression": {"keep": "random", "fraction": 0.2, "feedback": 1.0},
        "strategy": {"epochs": 1, "name": "fedavg"},
    }
    | DROPS,
    "evaluated": {
        "suite": "masking",
        "data": {"clients": 10, "partition": "dirichlet", "alpha": 0.2},
        "strategy": {"learning_rate": 8.0, "epochs": 3},
        "encoding": {"clip": 8.0},
        "evaluation": {"federated": True, "select": "loss"},
    },
    "kahe": {"suite": "kahe", "audit": {"probes": 2}} | DROPS,
    "plain": {"suite": "plain"},
}
THINNED = {"adam": 15, "buffer": 9, "feedback": 17, "evaluated": 17, "kahe": 15, "plain": 11}
"""Every so many steps, and what `points` adds. `make crash` takes every step of each, in each manner."""


def job_of(name, **changes):
    return job_from_table(SMALL | VARIANTS[name] | changes)


def live(out, job, **death):
    """Be one process: begin the run or go on with it, to the end or to death."""
    machine = Machine(out.parent, **death)
    with machine:
        run = FederatedRun.resume(out) if (out / "job.toml").exists() else FederatedRun(job, out=out)
        for _ in run:
            pass
    return machine


class Whole:
    """A run that nothing interrupted.

    Args:
        out: where it was written.
        steps: that it took.
    """

    def __init__(self, out, steps=()):
        self.steps = steps
        self.model = load_checkpoint(out / "model.npz")
        self.best = load_checkpoint(out / "best.npz")
        self.rows = rows_of(out)
        self.sessions = sessions_of(out)
        self.residuals = residuals_of(out, self.model)
        self.verdict = examine(out).verdict


@pytest.fixture(scope="module")
def whole_of(tmp_path_factory):
    @cache
    def made(name):
        out = tmp_path_factory.mktemp(name) / "run"
        machine = live(out, job_of(name))
        return Whole(out, machine.steps)

    return made


@pytest.fixture
def run_of(tmp_path):
    """A folder of its own for every run; it is there, as the disk is."""
    return lambda name: (tmp_path / name, (tmp_path / name).mkdir())[0] / "run"


def rows_of(out):
    """Its lines of metrics, but for what is measured."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def sessions_of(out):
    """Of every round, and whether it is an evaluation: cohort, who uploaded, and what it was about, in order."""
    evidence = read_evidence(out / "evidence.jsonl", Identity.from_pem((out / "coordinator.pem").read_bytes()).public)
    assert evidence.closed is not None
    found = {}
    for session in (*evidence.rounds, *evidence.evaluations):
        uploads = {one.client for one in session.messages if one.phase in {"MaskedInput", "Upload"}}
        told = (session.params.cohort, uploads, session.contributors, session.released, session.params.context)
        found.setdefault((session.round, session.evaluation), []).append(told)
    return found


def residuals_of(out, checkpoint):
    """Bytes of what clients have kept of their updates, as far as the checkpoint says that they have."""
    return {
        client: (out / "clients" / f"{int(client):04d}.residual-{number:06d}.npz").read_bytes()
        for client, number in checkpoint.state.get("residuals", {}).items()
    }


def same(left, right):
    """Whether two models are the same to the bit: zeros of two signs are not."""
    return left.keys() == right.keys() and all(
        (left[name].dtype, left[name].shape, left[name].tobytes())
        == (right[name].dtype, right[name].shape, right[name].tobytes())
        for name in left
    )


def unasked(out):
    """The round whose model clients were about to evaluate when the process died, if one was."""
    if not (out / "model.npz").exists():
        return None
    checkpoint = load_checkpoint(out / "model.npz")
    asked = checkpoint.state["asked"] == checkpoint.state["version"]
    return checkpoint.round if asked and checkpoint.metrics["evaluated_clients"] is None else None


def judge(out, whole, *, crashes, lost=()):
    """All that has to hold when a run is over, however often it died."""
    checkpoint, best = load_checkpoint(out / "model.npz"), load_checkpoint(out / "best.npz")
    assert same(checkpoint.weights, whole.model.weights)
    assert same(best.weights, whole.best.weights)
    assert (checkpoint.round, best.round) == (whole.model.round, whole.best.round)
    assert checkpoint.job == best.job == whole.model.job
    # What is remembered is what another round would go on from.
    assert checkpoint.state == whole.model.state
    assert checkpoint.slots.keys() == whole.model.slots.keys()
    assert all(same(arrays, whole.model.slots[slot]) for slot, arrays in checkpoint.slots.items())
    assert residuals_of(out, checkpoint) == whole.residuals

    assert rows_of(out) == [row | LOST if row["round"] in lost else row for row in whole.rows]
    assert {key: value for key, value in checkpoint.metrics.items() if key not in MEASURED} == rows_of(out)[-1]

    # Every session that was released is there; one is there twice if a crash came between it and its model.
    sessions = sessions_of(out)
    assert sessions.keys() | {(number, True) for number in lost} == whole.sessions.keys()
    assert sum(len(held) - 1 for held in sessions.values()) <= crashes
    assert examine(out).verdict is whole.verdict is not Outcome.FAIL
    for key, held in sessions.items():
        assert held == whole.sessions[key] * len(held)


def points(steps, every):
    """Which steps to die at, and how: the manners in turn, at every so many steps; and a write of each file is torn."""
    manners = (Manner.HALFWAY, Manner.POWER, Manner.BEFORE, Manner.AFTER)
    seen, taken = Counter(), 0
    for number, step in enumerate(steps, 1):
        label = re.sub(r"[0-9a-f]{16}|\d{4,}", "", step)
        turn, seen[label] = seen[label], seen[label] + 1
        if EVERY:
            yield from ((number, manner) for manner in manners)
        elif turn == 1 and step.startswith("write"):
            yield number, Manner.HALFWAY
        elif number % every == 0:
            yield number, manners[taken % len(manners)]
            taken += 1


@pytest.mark.parametrize("name", VARIANTS)
def test_a_crash_at_any_step_costs_no_bit(whole_of, run_of, name):
    """Guarantee 6 of `FederatedRun`."""
    job, whole = job_of(name), whole_of(name)
    manners = set()
    for dies_at, manner in points(whole.steps, THINNED[name]):
        out = run_of(f"{dies_at}-{manner.name}")
        assert live(out, job, dies_at=dies_at, manner=manner).dead
        manners.add(manner)
        lost = {unasked(out)} - {None}
        live(out, job)
        judge(out, whole, crashes=1, lost=lost)
    assert manners == set(Manner)


@pytest.mark.parametrize("name", ["buffer", "feedback"])
def test_crashes_while_a_run_is_gone_on_with_cost_no_bit_either(whole_of, run_of, name):
    job, whole, draw = job_of(name), whole_of(name), random.Random(name)  # noqa: S311 - where to die is no secret
    for number in range(100 if EVERY else 3):
        out, crashes = run_of(f"{number}"), 0
        for most in (len(whole.steps), 40, 25):
            crashes += live(out, job, dies_at=draw.randint(1, most), manner=draw.choice(list(Manner))).dead
        live(out, job)
        judge(out, whole, crashes=crashes)


def test_the_jobs_are_such_that_much_could_go_wrong(whole_of):
    """Or the tests above would say little: drop-outs, work under way, residuals, a best model behind."""
    assert [(row["dropped"], row["vanished"]) for row in whole_of("adam").rows] == [(0, 0), (1, 0), (0, 1), (0, 0)]
    assert whole_of("adam").model.slots.keys() >= {"momentum", "second"}
    assert max(row["staleness"] for row in whole_of("buffer").rows) > 0
    assert any(slot.startswith("model-") for slot in whole_of("buffer").model.slots)
    assert whole_of("evaluated").best.round < whole_of("evaluated").model.round
    assert all(row["evaluated_clients"] for row in whole_of("evaluated").rows)
    assert len(whole_of("feedback").residuals) == 5
    for name in VARIANTS:
        assert not any(
            same(whole_of(name).model.weights, whole_of(other).model.weights) for other in {*VARIANTS} - {name}
        )


def test_an_approximate_sum_is_of_the_same_cohorts_and_within_its_bounds(run_of):
    job = job_of("plain", suite="ckks")
    whole = run_of("whole")
    steps = live(whole, job).steps
    exact = run_of("exact")
    live(exact, replace(job, suite="plain"))
    for number, manner in ((len(steps) // 3, Manner.HALFWAY), (2 * len(steps) // 3, Manner.POWER)):
        out = run_of(f"{number}")
        assert live(out, job, dies_at=number, manner=manner).dead
        live(out, job)
        told = [(row["cohort"], row["contributors"], row["dropped"]) for row in rows_of(out)]
        assert told == [(row["cohort"], row["contributors"], row["dropped"]) for row in rows_of(whole)]
        for key, held in sessions_of(out).items():
            # What a session is about holds the model that it starts from, which is not the same to the bit.
            assert [one[:4] for one in held] == [one[:4] for one in sessions_of(whole)[key]] * len(held)
        loaded, due = load_model(out / "model.npz"), load_model(exact / "model.npz")
        off = max(float(np.abs(array - due[name]).max()) for name, array in loaded.items())
        assert 0 < off <= most_off(job)


def most_off(job):
    """How far from the exact model: steps of a convex problem take models no further apart, so that rounds add up.

    Each adds the error of a sum over clients with weights of half the greatest on average, seven deviations in 310
    coordinates (one run in 10^9), and may round an update the other way.
    """
    codec = FederatedRun(job).averaging.codec
    return job.rounds * (7 * codec.error_std / (job.data.clients / 2) + 1) * codec.coding.step


# -- the same by kill -9 ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crasher():
    with Crasher() as one:
        yield one


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_that_is_killed_ends_as_the_uninterrupted_one(crasher, whole_of, run_of, number):
    """SIGKILL at a step drawn beforehand, of one process or of the next one too; the command goes on with the run."""
    draw = random.Random(f"kill {number}")  # noqa: S311 - likewise
    name = list(VARIANTS)[number % len(VARIANTS)]
    job, out, whole = job_of(name), run_of("killed"), whole_of(name)
    lost, crashes = set(), 0
    for most in (len(whole.steps), 30)[: 1 + number % 2]:
        killed, _ = crasher.live(out, job, draw.randint(1, most), draw.choice(list(Manner)[:3]), plainly=True)
        crashes += killed
        lost |= {unasked(out)} - {None} if killed else set()
    assert crashes
    crasher.live(out, job, plainly=True)
    judge(out, whole, crashes=crashes, lost=lost)
    assert (out / "report.html").exists()


def test_a_process_of_the_command_that_is_killed_at_any_moment_ends_as_the_uninterrupted_one(run_of):
    """Nothing in it is ours: `python -m privfl`, killed from outside when its second round shows."""
    job, out, other = job_of("adam", rounds=12), run_of("killed"), run_of("whole")
    live(other, job)
    asked = out.parent / "asked.toml"
    asked.write_text(job_to_toml(job))
    command = [sys.executable, "-m", "privfl", "run"]
    with subprocess.Popen([*command, str(asked), "--out", str(out)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError):
                if (out / "metrics.jsonl").read_bytes().count(b"\n") >= 2:
                    break
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    subprocess.run([*command, "--resume", str(out)], check=True, stdout=subprocess.DEVNULL)
    judge(out, Whole(other), crashes=1)
