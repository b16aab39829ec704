"""Clients whose training goes wrong: they drop out, with a reason where one may be told, and nobody else is harmed."""

import numpy as np
import pytest
from loop_stubs import Known, finished, job_of, known_to

from privfl.dp.ledger import read_ledger
from privfl.errors import ConfigurationError, MissingExtra
from privfl.evidence import read_evidence
from privfl.learning.rounds import FederatedRun
from privfl.learning.trainer import LocalResult

THREAT = {"corrupt": 0.0, "dropout": 0.3}
CLIENT = {"noise_multiplier": 4.0, "delta": 1e-5, "clip": 0.5}
EXAMPLE = "patient 4711 has 0.87254"


def failing(*clients, error=lambda client: ValueError(f"{EXAMPLE}, at {client}")):
    return Known(raises=lambda client: error(client) if client in clients else None)


def run_of(trainer, *, out=None, observe=None, **changes):
    changes = {"rounds": 2, "threat": THREAT, "audit": {"probes": 0}} | changes
    return known_to(FederatedRun(job_of(**changes), trainer=trainer, out=out, observe=observe), trainer)


@pytest.mark.parametrize("suite_name", ["plain", "masking", "kahe"])
def test_guarantee_1_whose_training_raises_is_not_in_the_sum_and_nobody_else_is_harmed(suite_name, tmp_path):
    run = run_of(failing(2, 5), suite=suite_name, out=tmp_path / "run")
    for row in run:
        assert (row.cohort, row.contributors, row.dropped, row.aborted) == (10, 8, 2, False)
        assert row.dropped_because == {"training failed: ValueError": [2, 5]}
    # The mean of the eight others, weighed by their examples; twice.
    others = [client for client in range(10) if client not in {2, 5}]
    mean = np.average([(client + 1) / 100 for client in others], weights=[len(run.data.clients[c]) for c in others])
    for array in run.weights.values():
        assert array == pytest.approx(np.full(array.shape, 2 * mean), abs=2e-4)
    for session in read_evidence(tmp_path / "run" / "evidence.jsonl").rounds:
        uploads = {one.client for one in session.messages if one.phase in {"MaskedInput", "Upload"}}
        assert uploads == set(others)
        assert (session.cohort_size, session.contributors) == (10, 8)


def test_guarantee_1_an_update_that_is_not_in_order_is_its_clients_alone():
    trainer = Known()
    train = trainer.train

    def wrong(weights, examples, **options):
        result = train(weights, examples, **options)
        client = trainer.trained[-1]
        if client == 3:
            result.update["bias"][1] = np.nan
        if client == 4:
            del result.update["bias"]
        if client == 6:
            return LocalResult(update=result.update, examples=1 << 24, loss=0.5, correct=1)
        return result

    trainer.train = wrong
    run = run_of(trainer, rounds=1)
    (row,) = list(run)
    assert row.dropped_because == {"training failed: ConfigurationError": [3, 4, 6]}
    assert row.contributors == 7
    assert all(np.isfinite(array).all() for array in run.weights.values())


def told_of_the_example(out):
    """Files and folders of a run that tell what the error said."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).parts[0] for path in files if EXAMPLE.encode() in path.read_bytes()}


def test_what_an_error_says_stays_with_its_client(tmp_path):
    """It may tell of examples: others learn what kind of error it was, and the client's own log has the rest."""
    errors = {1: OSError(EXAMPLE), 2: OSError("another"), 3: KeyError(EXAMPLE)}
    run = run_of(failing(*errors, error=errors.get), threat={"corrupt": 0.0, "dropout": 0.5}, out=tmp_path / "run")
    for row in run:
        assert row.dropped_because == {"training failed: OSError": [1, 2], "training failed: KeyError": [3]}
    assert told_of_the_example(tmp_path / "run") == {"clients"}
    assert {path.name for path in (tmp_path / "run" / "clients").iterdir()} == {"0001.log", "0002.log", "0003.log"}
    log = (tmp_path / "run" / "clients" / "0001.log").read_text()
    assert [line for line in log.splitlines() if line.startswith("round")] == ["round 1:", "round 2:"]
    assert log.count(f"OSError: {EXAMPLE}") == 2


def test_who_has_dropped_out_before_does_not_train_and_who_fails_is_told_once():
    """Client 0 is gone before the upload; 2 would have fallen silent after one that it cannot make."""
    trainer = failing(2)
    drop = [{"round": 1, "clients": [0]}, {"round": 1, "clients": [2], "phase": "Unmask"}]
    (row,) = list(run_of(trainer, rounds=1, failures={"drop": drop}))
    assert trainer.trained == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert (row.contributors, row.vanished) == (8, 0)
    assert row.dropped_because == {"silent": [0], "training failed: ValueError": [2]}


def test_progress_is_told_of_clients_that_fail_as_well():
    seen = []
    finished(run_of(failing(2), rounds=1, observe=seen.append))
    assert [(one.stage, one.done, one.of) for one in seen] == [
        *(("training", done, 10) for done in range(10)),
        ("aggregating", 10, 10),
    ]


def test_guarantee_2_of_private_examples_nothing_is_told_but_that_it_failed(tmp_path):
    privacy = CLIENT | {"mode": "example", "noise_multiplier": 8.0}
    trainer = failing(2, 5)
    trainer.unsafe_without_noise = True
    run = run_of(trainer, privacy=privacy, out=tmp_path / "run")
    for row in run:
        assert row.dropped_because == {"training failed": [2, 5]}
        assert row.contributors == 8
    assert told_of_the_example(tmp_path / "run") == {"clients"}


@pytest.mark.parametrize("mode", ["client-central", "client-distributed"])
def test_guarantee_2_of_private_clients_not_even_that_is_told_and_they_add_nothing(mode, tmp_path, monkeypatch):
    monkeypatch.setattr("privfl.dp.noise.IntegerNoise.add_to", lambda *_, **__: None)  # so that zeros show
    run = run_of(failing(8, 9), rounds=1, suite="kahe", privacy=CLIENT | {"mode": mode}, out=tmp_path / "run")
    (row,) = list(run)
    assert (row.dropped_because, row.contributors, row.dropped) == ({}, 10, 0)
    (charge,) = read_ledger(tmp_path / "run" / "ledger.jsonl").charges
    assert charge.facts["contributors"] == 10
    # Ten are divided by, and eight have moved, none by more than the clip. A rounding has a deviation of half a step at
    # most; five of their mean are exceeded once in 100,000 runs.
    exact = sum((client + 1) / 100 for client in range(8)) / 10
    off = 5 * 0.5 * run.averaging.codec.granularity / 2 / 10**0.5
    assert off < (0.09 + 0.10) / 10 / 2
    for array in run.weights.values():
        assert np.abs(array - exact).max() <= off
    assert told_of_the_example(tmp_path / "run") == {"clients"}


# Everywhere


@pytest.mark.parametrize("privacy", [{}, CLIENT | {"mode": "client-central"}])
def test_where_training_fails_at_every_client_the_run_ends_in_one_sentence(privacy, tmp_path):
    def error(client):
        return RuntimeError(f"{EXAMPLE}, at {client}\nand more")

    run = run_of(failing(*range(10), error=error), privacy=privacy, out=tmp_path / "run")
    with pytest.raises(ConfigurationError) as told:
        finished(run)
    said = str(told.value)
    assert "\n" not in said
    assert said.startswith("round 1")
    assert (EXAMPLE in said) == (not privacy)
    assert (tmp_path / "run").exists() == bool(privacy)  # what promises something is on disk before it begins


def test_a_wrong_update_everywhere_names_the_learning_rate():
    trainer = Known()
    trainer.update = lambda _client: {name: array + np.inf for name, array in trainer.initial_weights().items()}
    with pytest.raises(
        ConfigurationError,
        match=r"round 1: training failed at every client; at client 0: .* strategy\.learning_rate smaller than 0\.1",
    ):
        finished(run_of(trainer))


def test_where_it_has_worked_before_a_few_that_fail_alone_abort_their_round_only():
    """In round 2 two are left to train, fewer than a session takes, and both fail."""
    trainer = Known()
    drop = [{"round": 2, "clients": [0, 1, 2, 3, 4, 5, 6, 7]}]
    run = run_of(trainer, rounds=3, failures={"drop": drop})
    trainer.raises = lambda _client: ValueError("now") if run.done == 1 else None
    finished(run)
    aborted = run.metrics[1]
    assert [row.aborted for row in run.metrics] == [False, True, False]
    assert aborted.dropped_because == {"silent": [0, 1, 2, 3, 4, 5, 6, 7], "training failed: ValueError": [8, 9]}


def test_where_it_has_worked_before_and_fails_everywhere_now_the_run_ends():
    trainer = Known()
    run = run_of(trainer)
    trainer.raises = lambda _client: ValueError("now") if run.done else None
    with pytest.raises((ConfigurationError, ValueError), match="now"):
        finished(run)
    assert run.done == 1


@pytest.mark.parametrize("privacy", [{}, CLIENT | {"mode": "client-central"}])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MissingExtra("learning", "torch"), MissingExtra),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_is_nobodys_training_passes(error, kind, privacy):
    with pytest.raises(kind):
        finished(run_of(failing(4, error=lambda _client: error), privacy=privacy))


def test_a_client_that_fails_is_one_that_drops_out_against_an_active_server_too():
    run = run_of(failing(2), rounds=1, threat={"server": "active", "dropout": 0.3})
    (row,) = list(run)
    assert (row.contributors, row.dropped_because) == (9, {"training failed: ValueError": [2]})


def test_a_trainer_that_ends_the_program_loses_its_own_client_alone(tmp_path):
    run = run_of(failing(4, error=lambda _client: SystemExit(0)), rounds=1, out=tmp_path / "run")
    (row,) = list(run)
    assert (row.contributors, row.dropped_because) == (9, {"training failed: SystemExit": [4]})
    assert "the trainer ended the program: SystemExit: 0" in (tmp_path / "run" / "clients" / "0004.log").read_text()
    with pytest.raises(ConfigurationError, match=r"training failed at every client.*ended the program: SystemExit: 0"):
        finished(run_of(failing(*range(10), error=lambda _client: SystemExit(0))))
