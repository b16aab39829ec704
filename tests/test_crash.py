"""Runs with a budget under crashes: at any step that they take on the disk, in several manners, then resumed.

What is believed is what the witness saw at the server (`crasher.Witness`), not what the ledger says: never a sum that
is asked for without a charge of its own on disk, never a charge lost, ε never below what was really opened.
"""

import base64
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
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from crasher import Machine, Manner, Witness, same_steps

from privfl.dp.accountants import account
from privfl.dp.ledger import read_ledger
from privfl.dp.receipts import Receipt, verify_receipt
from privfl.errors import LedgerError
from privfl.evidence import read_evidence
from privfl.learning import assembly
from privfl.learning.checkpoint import load_checkpoint
from privfl.learning.job import job_from_table, job_to_toml
from privfl.learning.rounds import FederatedRun
from privfl.lockstep.server import LockstepServer, StepServer
from privfl.primitives.signatures import Identity
from privfl.session import Phase
from privfl.testing import UnsafeFixedEntropy

CRASHER = Path(__file__).with_name("crasher.py")
KILLS = int(os.environ.get("PRIVFL_CRASHES", "5"))
"""`make crash`: 50, and every step of every variant in every manner."""
EVERY = "PRIVFL_CRASHES" in os.environ

CENTRAL = {"mode": "client-central", "delta": 1e-3, "clip": 1.0}
DISTRIBUTED = {"mode": "client-distributed", "delta": 1e-3, "clip": 1.0}
SMALL = {"data": {"clients": 5}, "model": "logistic", "strategy": {"epochs": 1}, "audit": {"probes": 0}}
DROPS = {"drop": [{"round": 2, "clients": [3]}, {"round": 3, "clients": [1], "phase": "Unmask"}]}
VARIANTS = {
    "central": {
        "rounds": 5,
        "suite": "kahe",
        "threat": {"corrupt": 0.2, "dropout": 0.2},
        "failures": DROPS,
        "privacy": CENTRAL | {"epsilon": 20.0},
    },
    "distributed": {
        "rounds": 5,
        "suite": "masking",
        "threat": {"corrupt": 0.2, "dropout": 0.2},
        "failures": DROPS,
        "privacy": DISTRIBUTED | {"epsilon": 20.0},
    },
    "adaptive": {"rounds": 4, "suite": "masking", "privacy": CENTRAL | {"epsilon": 20.0, "adaptive": {"noise": 1.0}}},
    "unlimited": {"rounds": 3, "suite": "masking", "privacy": DISTRIBUTED | {"noise_multiplier": 1.0}},
    "probed": {
        "rounds": 4,
        "suite": "masking",
        "privacy": DISTRIBUTED | {"epsilon": 20.0, "client_epsilon": 40.0},
        "audit": {"probes": 3},
    },
    "clients": {"rounds": 3, "suite": "masking", "privacy": DISTRIBUTED | {"epsilon": 20.0, "client_epsilon": 40.0}},
    "example": {
        "rounds": 2,
        "suite": "masking",
        "privacy": {"mode": "example", "delta": 1e-5, "clip": 1.0, "noise_multiplier": 2.0, "epsilon": 3.0},
    },
}


THINNED = {"central": 3, "distributed": 4, "adaptive": 9, "unlimited": 7, "probed": 17, "clients": 11, "example": 40}
"""Every so many steps, and what `points` adds. `make crash` takes every step of each, in each manner."""


def job_of(name):
    return job_from_table(SMALL | VARIANTS[name])


def live(out, job, seen, **death):
    """Be one process: begin the run or go on with it, to the end or to death. Tells the machine, and what is left."""
    machine, run = Machine(out.parent, **death), None
    with same_steps(), machine, Witness(out, job.suite, machine.disk.content, seen.append):
        run = FederatedRun.resume(out) if (out / "job.toml").exists() else FederatedRun(job, out=out)
        for _ in run:
            pass
    return machine, run


def charge_of(ledger, session):
    """The charge of a session among the whole lines of a ledger, by the test's own reading."""
    lines = [json.loads(line)["body"] for line in ledger.split(b"\n")[:-1]]
    (found,) = [body for body in lines if "events" in body and body["facts"]["params_digest"] == session]
    return found


@cache
def promise_of(job):
    return FederatedRun(job).guarantee


def cost(events, job):
    """ε of charges, by an accountant that has seen no ledger."""
    return account(events, job.privacy.failure, promise_of(job).relation).epsilon


def judge(out, job, seen, crashes):
    """All that has to hold when a run is over, however often it died. Returns ε of what was really opened."""
    final = (out / "ledger.jsonl").read_bytes()
    owner = Identity.from_pem((out / "coordinator.pem").read_bytes()).public
    contents = read_ledger(out / "ledger.jsonl", owner)
    promise = promise_of(job)
    evidence = judge_evidence(out, job, seen, crashes)
    opened = [one for one in seen if one["what"] == "opened" and one["of_data"]]

    # Each sum stands on a charge that was made for it, and that was on disk before it was asked for.
    per_session = Counter(charge.facts["params_digest"] for charge in contents.charges)
    assert set(per_session.values()) <= {1}
    assert len({one["session"] for one in opened}) == len(opened)
    for one in seen:
        if one["what"] == "uploaded" or not one["of_data"]:
            continue
        on_disk = base64.b64decode(one["ledger"])
        assert final.startswith(on_disk[: on_disk.rfind(b"\n") + 1]), "a charge that was on disk is lost"
        charge_of(on_disk, one["session"])
    truth = []
    for one in opened:
        (charge,) = [charge for charge in contents.charges if charge.facts["params_digest"] == one["session"]]
        assert charge.facts["contributors"] == one["contributors"]
        assert charge.events == (promise.cost(one["contributors"]),)
        truth += charge.events
    if job.privacy.mode != "client-central":  # there the noise is added after
        assert len({one["sum"] for one in opened}) == len(opened), "two sums with one noise"

    # A crash costs a charge at most, and what it costs is said.
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    released = [row for row in rows if not row["aborted"]]
    assert [row["round"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(opened) <= len(contents.charges) <= len(released) + crashes
    assert len(contents.recovered) + len(evidence.recovered) <= crashes
    assert contents.closed is not None
    assert contents.closed["rounds"] == len(rows)
    assert contents.closed["epsilon"] == pytest.approx(cost(contents.spent, job), abs=1e-9)
    assert contents.closed["epsilon"] >= cost(truth, job) - 1e-9
    if job.privacy.epsilon is None:
        assert len(rows) == job.rounds
    else:
        assert len(contents.charges) <= job.rounds
        assert contents.closed["epsilon"] <= job.privacy.epsilon
        assert len(rows) >= job.rounds - crashes
    for row in released:
        last = [charge for charge in contents.charges if charge.round == row["round"]][-1]
        assert (last.facts["clip"], last.facts["contributors"]) == (row["clip"], row["contributors"])

    # The model is the one of the last round that was done; what is written beside it is whole.
    checkpoint = load_checkpoint(out / "model.npz")
    assert (checkpoint.round, dict(checkpoint.metrics)) == (len(rows), rows[-1])
    assert contents.closed["evidence"] == evidence.head._asdict()
    recorded = {session.params_digest for session in evidence.rounds if session.released}
    paid = {charge.round: charge.facts["params_digest"] for charge in contents.charges}
    assert {paid[row["round"]] for row in released} <= recorded <= set(per_session)
    judge_clients(out, job, seen)
    return cost(truth, job)


def judge_evidence(out, job, seen, crashes):
    """What it holds stands, and sessions on known inputs are in it once each; none of them was charged to anybody."""
    evidence = read_evidence(out / "evidence.jsonl", Identity.from_pem((out / "coordinator.pem").read_bytes()).public)
    assert evidence.closed is not None
    planned = job.audit.probes
    assert [session.probe["number"] for session in evidence.probes] == list(range(1, planned + 1))
    order = [session.round for session in evidence.sessions]
    early = -(-planned // 2)
    assert order == [0] * early + sorted(order[early : len(order) - planned // 2]) + [0] * (planned // 2)
    for session in evidence.probes:
        assert sha256((out / session.probe["file"]).read_bytes()).hexdigest() == session.probe["sha256"]

    opened = {one["session"] for one in seen if one["what"] == "opened" and not one["of_data"]}
    noted = {session.params_digest for session in evidence.probes}
    assert len(noted) == planned
    if seen:  # a process that nobody looked into leaves files alone
        assert noted <= opened
        assert len(opened) <= planned + crashes
    charged = b"".join(path.read_bytes() for path in [out / "ledger.jsonl", *(out / "clients").glob("*.jsonl")])
    assert not any(session.encode() in charged for session in opened | noted)
    return evidence


def judge_clients(out, job, seen):
    """Who uploaded has charged itself before; nobody hands in a receipt for what it did not charge."""
    if job.privacy.client_epsilon is None:
        return
    charged = {}
    for path in (out / "clients").glob("*.jsonl"):
        key = Identity.from_pem(path.with_suffix(".pem").read_bytes()).public
        contents = read_ledger(path, key)
        assert len(contents.charges) <= job.rounds
        charged[key] = {charge.facts["session"] for charge in contents.charges}
    for one in seen:
        if one["what"] == "uploaded" and one["of_data"]:
            on_disk = base64.b64decode(one["ledger"])
            final = (out / "clients" / f"{one['client']:04d}.jsonl").read_bytes()
            assert final.startswith(on_disk[: on_disk.rfind(b"\n") + 1])
            charge_of(on_disk, one["session"])
    for line in (out / "receipts.jsonl").read_text().splitlines():
        receipt = Receipt.from_json(line)
        verify_receipt(receipt)
        assert receipt.session.hex() in charged[receipt.client]


@pytest.fixture
def run_of(tmp_path):
    """A folder of its own for every run; it is there, as the disk is."""
    return lambda name: (tmp_path / name, (tmp_path / name).mkdir())[0] / "run"


def points(steps, every):
    """Which steps to die at, and how: occurrences of a step take the manners in turn; a write of each file is torn."""
    manners = (Manner.HALFWAY, Manner.POWER, Manner.BEFORE, Manner.AFTER)
    seen = Counter()
    closing = max(number for number, step in enumerate(steps, 1) if step.startswith("write .ledger"))
    for number, step in enumerate(steps, 1):
        label = re.sub(r"[0-9a-f]{16}|\d{4}", "", step)
        turn, seen[label] = seen[label], seen[label] + 1
        if EVERY:
            yield from ((number, manner) for manner in manners)
        elif number == closing or (turn == 1 and step.startswith("write")):
            yield number, Manner.HALFWAY
        elif number % every == 0:
            yield number, manners[(turn + len(label)) % len(manners)]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_crash_at_any_step_opens_nothing_uncharged_and_forgets_no_charge(run_of, name):
    """Guarantee 1 of `FederatedRun` and of `Books`; 1 and 2 of `ClientBooks`."""
    job = job_of(name)
    whole = run_of("whole")
    machine, _ = live(whole, job, seen := [])
    assert [one["of_data"] for one in seen if one["what"] == "opened"].count(True) == job.rounds
    judge(whole, job, seen, 0)
    for dies_at, manner in points(machine.steps, THINNED[name]):
        out = run_of(f"{dies_at}-{manner.name}")
        dead, _ = live(out, job, seen := [], dies_at=dies_at, manner=manner)
        assert dead.dead
        live(out, job, seen)
        judge(out, job, seen, 1)


@pytest.mark.parametrize("name", ["central", "probed"])
def test_crashes_while_a_run_is_gone_on_with_cost_no_more_than_a_charge_each(run_of, name):
    job, draw = job_of(name), random.Random(name)  # noqa: S311 - where to die is no secret
    for number in range(200 if EVERY else 6):
        out, seen = run_of(f"{number}"), []
        crashes = 0
        for most in (100, 40, 25):
            machine, _ = live(out, job, seen, dies_at=draw.randint(1, most), manner=draw.choice(list(Manner)))
            crashes += machine.dead
        live(out, job, seen)
        judge(out, job, seen, crashes)


def number_of(steps, label, occurrence):
    return [number for number, step in enumerate(steps, 1) if re.fullmatch(label, step)][occurrence]


@pytest.mark.parametrize(
    ("last_step", "occurrence", "opened", "charged"),
    [
        (r"fsync \.ledger.*", 2, 4, [1, 2, 2, 3, 4]),  # the second charge: the first line is the opening record
        (r"write \.evidence.*", 2, 5, [1, 2, 2, 3, 4]),
        (r"write \.evidence.*", 5, 5, [1, 2, 3, 4, 5]),  # the model never sees the last sum; it was opened
    ],
)
def test_where_the_plan_uses_the_budget_up_a_crash_after_a_charge_costs_a_round(
    run_of, last_step, occurrence, opened, charged
):
    job, out, seen = job_of("central"), run_of("run"), []
    steps = live(run_of("whole"), job, [])[0].steps
    live(out, job, seen, dies_at=number_of(steps, last_step, occurrence))
    run = live(out, job, seen)[1]
    assert "stopped after round 4 of 5" in run.stopped
    assert "the budget of 20" in run.stopped
    assert len([one for one in seen if one["what"] == "opened"]) == opened
    truth = judge(out, job, seen, 1)
    contents = read_ledger(out / "ledger.jsonl")
    assert [charge.round for charge in contents.charges] == charged
    # At most the budget, though a round more was charged than the model has seen.
    assert truth <= contents.closed["epsilon"] <= 20.0


def test_without_a_budget_a_crash_after_a_charge_costs_epsilon_and_no_round(run_of):
    job, out, seen = job_of("unlimited"), run_of("run"), []
    machine, whole = live(run_of("whole"), job, [])
    live(out, job, seen, dies_at=number_of(machine.steps, r"write \.evidence.*", 2))
    run = live(out, job, seen)[1]
    assert run.stopped is None
    assert [charge.round for charge in read_ledger(out / "ledger.jsonl").charges] == [1, 2, 2, 3]
    assert judge(out, job, seen, 1) == pytest.approx(run.metrics[-1].epsilon, abs=1e-9)
    assert run.metrics[-1].epsilon > whole.metrics[-1].epsilon + 0.1


def test_a_round_that_is_done_again_has_noise_of_its_own(run_of):
    """The updates are the same ones: the difference of the two sums is nothing but noise, of both rounds."""
    sums = []
    advance = StepServer.advance

    def noting(server):
        advance(server)
        if isinstance(server, LockstepServer) and server.phase is Phase.FINISHED and server.params.suite == "masking":
            sums.append(server.result.vector)

    job, out = job_of("unlimited"), run_of("run")
    steps = live(run_of("whole"), job, [])[0].steps
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepServer, "advance", noting)
        live(out, job, [], dies_at=number_of(steps, r"write \.evidence.*", 1))
        live(out, job, [])
    lost, again = sums[:2]
    (event, *_) = read_ledger(out / "ledger.jsonl").charges[0].events
    # Noise of both, each of the event's variance or more: five deviations of a mean of 64 squares below that.
    least = 2 * event.event.variance * (1 - 5 * np.sqrt(2 / lost.size))
    assert np.square(again - lost).mean() > least


def test_a_run_that_is_over_stays_as_it_is(run_of):
    for name in ("central", "unlimited"):
        job, out = job_of(name), run_of(name)
        live(out, job, [])
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        _, run = live(out, job, seen := [])
        assert not seen
        assert len(run.metrics) == job.rounds
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_is_not_begun_anew_where_one_was_charged(run_of):
    """Also where no round was done: a charge is all that it takes."""
    job, out = job_of("central"), run_of("run")
    steps = live(run_of("whole"), job, [])[0].steps
    live(out, job, seen := [], dies_at=number_of(steps, r"write \.evidence.*", 1))
    assert [one["what"] for one in seen].count("opened") == 1
    with pytest.raises(LedgerError, match="exists already"):
        list(FederatedRun(job, out=out))


def test_an_adaptive_clip_goes_on_from_where_the_noise_had_taken_it(run_of, monkeypatch):
    # A fixed noise, or the clip might be back where it had begun.
    monkeypatch.setattr(assembly, "OsEntropy", lambda: UnsafeFixedEntropy(b"an adaptive clip"))
    job, out = job_of("adaptive"), run_of("run")
    steps = live(run_of("whole"), job, [])[0].steps
    live(out, job, [], dies_at=number_of(steps, r"write metrics\.jsonl", 0))
    clip = load_checkpoint(out / "model.npz").state["clip"]
    assert clip != job.privacy.clip
    run = live(out, job, [])[1]
    assert [row.round for row in run.metrics] == [1, 2, 3, 4]
    assert run.metrics[1].clip == clip


def test_a_ledger_from_before_is_not_gone_on_with(run_of):
    """The model remembers how far the ledger was: whoever puts an old copy back would have charges forgotten."""
    job, out = job_of("central"), run_of("run")
    steps = live(run_of("whole"), job, [])[0].steps
    live(out, job, [], dies_at=number_of(steps, r"write \.evidence.*", 3))
    lines = (out / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (out / "ledger.jsonl").write_bytes(b"".join(lines[:2]))
    with pytest.raises(LedgerError, match="put back the whole file"):
        live(out, job, [])
    (out / "ledger.jsonl").unlink()
    with pytest.raises(LedgerError, match="is missing, though rounds were charged"):
        live(out, job, [])


# -- the same by kill -9 ----------------------------------------------------------------------------------------------


class Crasher:
    """Starts processes that have imported everything already."""

    def __enter__(self):
        self._server = subprocess.Popen(
            [sys.executable, str(CRASHER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def live(self, out, job, dies_at=None, manner=Manner.AFTER, *, plainly=False):
        """Run `privfl run JOB --out`, or `--resume` if the run has begun; tell whether it was killed, and its steps."""
        begun = ["--resume", str(out)]
        if not (out / "job.toml").exists():
            path = out.parent / "asked.toml"
            path.write_text(job_to_toml(job))
            begun = [str(path), "--out", str(out)]
        order = {
            "arguments": ["run", *begun, "--json"],
            "out": str(out),
            "suite": job.suite,
            "witness": str(out.parent.with_suffix(".witness")),
            "said": str(out.parent.with_suffix(".said")),
            "dies_at": dies_at,
            "manner": manner.name,
            "plainly": plainly,
        }
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        told = json.loads(self._server.stdout.readline())
        if told["killed"]:
            assert told["killed"] == signal.SIGKILL
            return True, None
        code, steps = told["answer"]
        assert code in {0, 2}, steps  # 2: the budget stopped it, or clients' own budgets aborted a round
        return False, steps


@pytest.fixture(scope="module")
def crasher():
    with Crasher() as one:
        yield one


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_that_is_killed_goes_on_with_all_its_charges(crasher, run_of, number):
    """SIGKILL at a step drawn beforehand, of one process or of the next one too; the command goes on with the run."""
    draw = random.Random(f"kill {number}")  # noqa: S311 - likewise
    name = list(VARIANTS)[number % 5]
    job, out = job_of(name), run_of("killed")
    steps = len(live(run_of("whole"), job, [])[0].steps) + 4  # the report is written after the run
    killed, _ = crasher.live(out, job, draw.randint(1, steps), draw.choice(list(Manner)[:3]))
    assert killed
    crashes = 1
    if number % 2:
        crashes += crasher.live(out, job, draw.randint(1, 30), draw.choice(list(Manner)[:3]))[0]
    crasher.live(out, job)
    seen = [json.loads(line) for line in out.parent.with_suffix(".witness").read_text().splitlines()]
    truth = judge(out, job, seen, crashes)
    said = json.loads(out.parent.with_suffix(".said").read_text())
    assert said["epsilon"] >= truth - 1e-9
    assert said["epsilon"] == pytest.approx(read_ledger(out / "ledger.jsonl").closed["epsilon"], abs=1e-9)
    assert (out / "report.html").exists()


def test_a_process_of_the_command_that_is_killed_at_any_moment_is_gone_on_with(run_of):
    """Nothing in it is ours: `python -m privfl`, killed from outside when its second charge shows."""
    job, out = job_from_table(SMALL | VARIANTS["unlimited"] | {"rounds": 60}), run_of("killed")
    asked = out.parent / "asked.toml"
    asked.write_text(job_to_toml(job))
    command = [sys.executable, "-m", "privfl", "run"]
    with subprocess.Popen([*command, str(asked), "--out", str(out)], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError):
                if (out / "ledger.jsonl").read_bytes().count(b"\n") >= 3:
                    break
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    charged = (out / "ledger.jsonl").read_bytes()
    subprocess.run([*command, "--resume", str(out)], check=True, stdout=subprocess.DEVNULL)
    assert (out / "ledger.jsonl").read_bytes().startswith(charged[: charged.rfind(b"\n") + 1])
    judge(out, job, [], 1)
