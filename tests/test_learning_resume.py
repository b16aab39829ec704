"""Runs that stopped and go on: they end as they would have, to the bit; what is missing is said in one sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
from loop_stubs import finished, job_of, same

from privfl.audit.examine import examine
from privfl.audit.findings import Outcome
from privfl.errors import ConfigurationError
from privfl.evidence import read_evidence
from privfl.learning import rounds
from privfl.learning.checkpoint import load_checkpoint, save_checkpoint
from privfl.learning.rounds import FederatedRun

MEASURED = ("seconds", "secure_seconds", "client_seconds", "server_seconds", "plain_seconds", "evaluation_seconds")
"""What a stopwatch says."""
OWN_TIME = dict.fromkeys(MEASURED, 0.0)


def told(run):
    """Its metrics, but for what a stopwatch says."""
    return [replace(row, **OWN_TIME) for row in run.metrics]


def stopped(job, out, after):
    """A run whose process ends behind so many rounds."""
    going = iter(FederatedRun(job, out=out))
    for _ in range(after):
        next(going)
    going.close()
    return out


class Crash(BaseException):
    """The end of a process, at a place of the test's choosing."""


def crashed(job, out, monkeypatch, *, name, number, times=1):
    """A run whose process ends as it is about to write a file of a round, for the so-manieth time."""
    left = [None] * times

    def save(path, checkpoint):
        if (path.name, checkpoint.round) == (name, number):
            left.pop()
            if not left:
                raise Crash
        save_checkpoint(path, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(rounds, "save_checkpoint", save)
        with pytest.raises(Crash):
            finished(FederatedRun(job, out=out))
    return out


# Whatever the strategy

STRATEGIES = {
    "fedavgm": {"name": "fedavgm", "server_momentum": 0.5},
    "fedadagrad": {"name": "fedadagrad"},
    "fedadam": {"name": "fedadam", "server_learning_rate": 0.05},
    "fedyogi": {"name": "fedyogi", "server_learning_rate": 0.05},
    "fedprox": {"name": "fedprox", "optimiser": "momentum", "schedule": {"kind": "cosine", "warmup": 2}},
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("after", [1, 3])
def test_a_run_ends_in_the_model_of_the_uninterrupted_one_whatever_the_strategy(name, after, tmp_path):
    job = job_of(rounds=4, strategy=STRATEGIES[name], audit={"probes": 0})
    whole = finished(FederatedRun(job))
    resumed = finished(FederatedRun.resume(stopped(job, tmp_path / "run", after)))
    assert same(resumed.weights, whole.weights)
    assert told(resumed) == told(whole)
    assert resumed.version == whole.version == 4


EVALUATED = ("evaluated_clients", "federated_accuracy", "federated_loss", "worst_client_accuracy", "best_round")


@pytest.mark.parametrize(
    ("times", "held", "evaluated"),
    [
        (1, [1, 2, 2, 3], [1, 2, 3]),  # the round is held again; nobody had evaluated it
        (2, [1, 2, 3], [1, 2, 3]),  # it was evaluated, and what was found is lost: nobody evaluates it again
    ],
)
def test_a_crash_before_a_model_is_written_costs_no_bit_and_accuses_nobody(
    times, held, evaluated, tmp_path, monkeypatch
):
    job = job_of(rounds=3, strategy={"name": "fedadam"}, evaluation={"federated": True})
    whole = finished(FederatedRun(job))
    out = crashed(job, tmp_path / "run", monkeypatch, name="model.npz", number=2, times=times)
    resumed = finished(FederatedRun.resume(out))
    assert same(resumed.weights, whole.weights)
    found = [[getattr(row, name) for name in EVALUATED] for row in resumed.metrics]
    expected = [[getattr(row, name) for name in EVALUATED] for row in whole.metrics]
    if times == 2:
        expected[1][:-1] = [None] * (len(EVALUATED) - 1)
    assert found == expected
    evidence = read_evidence(out / "evidence.jsonl")
    assert [one.round for one in evidence.rounds] == held
    assert [one.round for one in evidence.evaluations] == evaluated
    audited = examine(out)
    assert (audited.verdict, audited.reasons) == (Outcome.PASS, ())


# The best model, and when it is enough


@pytest.fixture(scope="module")
def wavering():
    """A job that learns too fast, so that its loss goes up and down, and its whole run: best in round 2 of 5."""
    job = job_of(
        rounds=9,
        suite="plain",
        strategy={"learning_rate": 8.0, "epochs": 3},
        data={"partition": "dirichlet", "alpha": 0.2},
        evaluation={"select": "loss", "patience": 3},
        encoding={"clip": 8.0},
        audit={"probes": 0},
    )
    return job, finished(FederatedRun(job))


def test_patience_and_the_best_model_go_on_wherever_a_run_stops(wavering, tmp_path):
    job, whole = wavering
    done = len(whole.metrics)
    assert (whole.best.best_round, done, bool(whole.enough)) == (2, 5, True)
    for after in (whole.best.best_round, done - 1):
        out = stopped(job, tmp_path / f"run-{after}", after)
        resumed = finished(FederatedRun.resume(out))
        assert told(resumed) == told(whole)
        assert (resumed.enough, resumed.best.state()) == (whole.enough, whole.best.state())
        assert same(resumed.best.best_weights, whole.best.best_weights)
        best = load_checkpoint(out / "best.npz")
        assert same(best.weights, whole.best.best_weights)
        assert (best.round, best.metrics["round"]) == (whole.best.best_round,) * 2
        again = FederatedRun.resume(out)
        assert (list(again), again.enough) == ([], whole.enough)


def test_a_crash_behind_the_last_model_loses_no_best_one(tmp_path, monkeypatch):
    job = job_of(rounds=3, evaluation={"select": "loss"}, audit={"probes": 0})
    out = crashed(job, tmp_path / "run", monkeypatch, name="best.npz", number=3)
    assert load_checkpoint(out / "best.npz").round == 2
    resumed = finished(FederatedRun.resume(out))
    assert resumed.best.best_round == 3
    best = load_checkpoint(out / "best.npz")
    assert best.round == 3
    assert same(best.weights, resumed.weights)


# Clock and batteries


def changing(**changes):
    """A job whose clients come and go, and are tired."""
    return job_of(
        rounds=6,
        fleet={
            "examples_per_s": 10.0,
            "speed_spread": 1.0,
            "online_s": 60.0,
            "offline_s": 30.0,
            "battery_examples": 120,
            "charge_examples_per_s": 2.0,
        },
        cohort={"size": 6, "sampling": "available", "minimum": 3, "deadline_s": 12.0},
        audit={"probes": 0},
        **changes,
    )


def test_clock_and_batteries_go_on(tmp_path):
    job = changing(suite="plain")
    whole = finished(FederatedRun(job))
    assert any(row.dropped_because for row in whole.metrics)
    for after in (2, 4):
        resumed = FederatedRun.resume(stopped(job, tmp_path / f"run-{after}", after))
        finished(resumed)
        assert told(resumed) == told(whole)
        assert same(resumed.weights, whole.weights)
        assert resumed.fleet.state() == whole.fleet.state()


@pytest.mark.parametrize("after", [1, 3])
def test_fedbuff_goes_on_with_the_same_updates(after, tmp_path):
    """What clients have under way is what they had: of the models that they were given, too."""
    job = job_of(
        rounds=5,
        strategy={"name": "fedbuff", "buffer": 3, "concurrency": 8, "optimiser": "adam"},
        fleet={"examples_per_s": 10.0, "speed_spread": 1.0, "battery_examples": 100_000},
        audit={"probes": 0},
    )
    whole = finished(FederatedRun(job))
    assert whole.metrics[after].staleness > 0
    resumed = finished(FederatedRun.resume(stopped(job, tmp_path / "run", after)))
    assert same(resumed.weights, whole.weights)
    assert told(resumed) == told(whole)
    assert resumed.fleet.state() == whole.fleet.state()


def test_a_resumed_run_takes_failures_as_the_uninterrupted_one_would(tmp_path):
    """In round 2 one client is left, and fails: that round comes to nothing, and the run goes on."""
    drop = [{"round": 2, "clients": list(range(9))}]
    job = job_of(rounds=3, failures={"drop": drop}, audit={"probes": 0})

    def raising(run):
        train = run._trainer.train

        def trained(weights, examples, **options):
            if len(run.metrics) == 1:
                raise ValueError("now")
            return train(weights, examples, **options)

        run._trainer.train = trained
        return run

    whole = finished(raising(FederatedRun(job)))
    resumed = finished(raising(FederatedRun.resume(stopped(job, tmp_path / "run", 1))))
    assert [row.aborted for row in resumed.metrics] == [False, True, False]
    assert told(resumed) == told(whole)


# What is missing


def rewritten(out, change):
    """Write a checkpoint anew, with something else in it."""
    save_checkpoint(out / "model.npz", change(load_checkpoint(out / "model.npz")))


def without(*keys):
    def change(checkpoint):
        state = json.loads(json.dumps(dict(checkpoint.state)))
        place = state
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]
        return replace(checkpoint, state=state)

    return change


LACKING = {
    "version": without("version"),
    "enough": without("enough"),
    "scheduler": without("scheduler"),
    "clock": without("scheduler", "clock_s"),
    "fleet": without("scheduler", "fleet"),
    "best": without("best"),
    "patience": without("best", "in_vain"),
    "no scheduler": lambda checkpoint: replace(checkpoint, state=dict(checkpoint.state) | {"scheduler": None}),
    "nothing": lambda checkpoint: replace(checkpoint, state={}),
    "slots": lambda checkpoint: replace(checkpoint, slots={}),
    "a slot": lambda checkpoint: replace(
        checkpoint, slots={name: one for name, one in checkpoint.slots.items() if name != "second"}
    ),
    "another's slots": lambda checkpoint: replace(
        checkpoint, slots={name: {"w": np.zeros(3, np.float32)} for name in checkpoint.slots}
    ),
    "batteries": lambda checkpoint: replace(
        checkpoint,
        state=dict(checkpoint.state) | {"scheduler": {"clock_s": 1.0, "fleet": {"batteries": {"77": [1.0, 2.0]}}}},
    ),
}


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory):
    job = job_of(
        rounds=4,
        strategy={"name": "fedadam"},
        fleet={"battery_examples": 10_000},
        evaluation={"patience": 3},
        audit={"probes": 0},
    )
    return stopped(job, tmp_path_factory.mktemp("runs") / "run", 2)


@pytest.mark.parametrize("lacking", LACKING)
def test_a_checkpoint_that_lacks_what_is_needed_is_refused_in_one_sentence(lacking, two_rounds, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for path in two_rounds.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    rewritten(out, LACKING[lacking])
    with pytest.raises(ConfigurationError) as said:
        FederatedRun.resume(out)
    assert "\n" not in str(said.value)
    assert len(str(said.value)) < 400


def test_a_checkpoint_without_the_best_model_is_refused(wavering, tmp_path):
    job, whole = wavering
    out = stopped(job, tmp_path / "run", len(whole.metrics) - 1)
    assert "best" in load_checkpoint(out / "model.npz").slots
    rewritten(out, lambda checkpoint: replace(checkpoint, slots={}))
    with pytest.raises(ConfigurationError, match="best"):
        FederatedRun.resume(out)


def test_a_checkpoint_holds_what_the_optimiser_remembers_and_a_reader_of_models_does_not_see_it(two_rounds):
    checkpoint = load_checkpoint(two_rounds / "model.npz")
    assert set(checkpoint.slots) - {"best"} == {"momentum", "second"}
    assert all(one.keys() == checkpoint.weights.keys() for one in checkpoint.slots.values())
    assert not any(name.startswith("__privfl__") for name in checkpoint.weights)
