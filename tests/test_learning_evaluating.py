"""Evaluation at the clients, in a run: one secure sum, what it tells, who is in it, and what the run makes of it."""

import math

import numpy as np
import pytest
from loop_stubs import Known, alike, finished, job_of, known_to, same

from privfl.errors import ConfigurationError, MissingExtra
from privfl.evidence import read_evidence
from privfl.learning.checkpoint import load_checkpoint, load_model
from privfl.learning.evaluating import FederatedEvaluations, evaluation_vector
from privfl.learning.rounds import FederatedRun
from privfl.learning.trainer import Evaluation

THREAT = {"corrupt": 0.1, "dropout": 0.3}
ON = {"federated": True}


def run_of(trainer=None, *, out=None, evaluation=None, **changes):
    changes = {"threat": THREAT, "audit": {"probes": 0}} | changes
    run = FederatedRun(job_of(evaluation=ON | (evaluation or {}), **changes), trainer=trainer, out=out)
    return run if trainer is None else known_to(run, trainer)


# What is found


@pytest.mark.parametrize(
    ("suite_name", "server"),
    [("plain", None), ("masking", None), ("kahe", None), ("ckks", None), ("masking", "active")],
)
def test_what_is_found_is_what_all_clients_would_find_in_the_clear(suite_name, server):
    """A trained model, on what clients of different sizes hold out, which is none of what they train on."""
    threat = {"server": server} if server else {}
    data = {"clients": 6, "partition": "quantity", "alpha": 2.0}
    run = run_of(suite=suite_name, threat=threat, rounds=2, data=data, evaluation={"bins": 10, "holdout": 0.3})
    for row in run:
        found = [run._trainer.evaluate(run.weights, own) for own in run.data.validation]
        examples, accuracies = sum(one.examples for one in found), [one.accuracy for one in found]
        assert row.evaluated_clients == 6
        assert row.federated_accuracy == sum(one.correct for one in found) / examples
        assert row.federated_loss == pytest.approx(sum(one.loss * one.examples for one in found) / examples, abs=1e-5)
        assert row.mean_client_accuracy == pytest.approx(np.mean(accuracies), abs=1e-6)
        assert row.std_client_accuracy == pytest.approx(np.std(accuracies), abs=1e-5)
        bands = [min(one.correct * 10 // one.examples, 9) for one in found]
        assert list(row.client_accuracy_histogram) == [bands.count(band) for band in range(10)]
        assert row.worst_client_accuracy == min(bands) / 10
        lowest = sorted(bands)
        assert row.client_accuracy_quantiles == {"0.1": lowest[0] / 10, "0.5": lowest[2] / 10}
        assert row.evaluation_failed == {}
        assert row.evaluation_bytes > 0
        assert row.evaluation_aborted_because is None


def test_the_worst_client_is_the_one_with_the_lowest_share_and_not_the_one_with_fewest_correct():
    counts = (30, 36, 38, 40, 9, 39)

    def evaluates(client):
        return Evaluation(loss=1.0, correct=counts[client], examples=10 if client == 4 else 40)

    (row,) = list(run_of(Known(evaluates=evaluates), rounds=1, data={"clients": 6}))
    assert row.worst_client_accuracy == 0.75
    assert row.federated_accuracy == (30 + 36 + 38 + 40 + 9 + 39) / 210


# Who is in it


def test_guarantee_2_a_client_that_fails_drops_out_alone_and_the_round_is_as_it_was(tmp_path):
    def evaluates(client):
        if client in {1, 4}:
            raise OSError("no such file")
        return Evaluation(loss=0.1 * (client + 1), correct=30 + client, examples=40)

    run = run_of(Known(evaluates=evaluates), rounds=1, out=tmp_path / "run")
    (row,) = list(run)
    assert row.evaluation_failed == {"evaluation failed: OSError": [1, 4]}
    assert (row.evaluated_clients, row.contributors, row.dropped_because) == (8, 10, {})
    others = [client for client in range(10) if client not in {1, 4}]
    assert row.federated_accuracy == sum(30 + client for client in others) / 320
    (session,) = read_evidence(tmp_path / "run" / "evidence.jsonl").evaluations
    assert {one.client for one in session.messages if one.phase == "MaskedInput"} == set(others)


def test_guarantee_1_where_too_few_can_evaluate_nothing_is_found_and_the_run_goes_on():
    def evaluates(client):
        if client > 1:
            raise ValueError("now")
        return Evaluation(loss=0.5, correct=9, examples=10)

    run = finished(run_of(Known(evaluates=evaluates), rounds=2, evaluation={"select": "federated_loss"}))
    for row in run.metrics:
        assert (row.federated_accuracy, row.federated_loss, row.client_accuracy_histogram) == (None, None, None)
        assert "2 clients are left" in row.evaluation_aborted_because
        assert row.evaluation_failed == {"evaluation failed: ValueError": [2, 3, 4, 5, 6, 7, 8, 9]}
        assert (row.aborted, row.contributors, row.best_round) == (False, 10, None)


def test_what_is_missing_to_evaluate_is_said():
    def evaluates(client):
        raise MissingExtra("learning", "torch")

    with pytest.raises(MissingExtra):
        finished(run_of(Known(evaluates=evaluates), rounds=1))


def test_as_many_evaluate_as_were_asked_for_the_same_each_time_and_when_it_is_due(tmp_path):
    """The same: what a client holds out does not change, and sums over others each time would be equations for it."""
    run = finished(run_of(rounds=5, evaluation={"size": 4, "every": 2}, out=tmp_path / "run"))
    assert [row.evaluated_clients for row in run.metrics] == [None, 4, None, 4, 4]  # and the last in any case
    assert [row.evaluation_bytes > 0 for row in run.metrics] == [False, True, False, True, True]
    evidence = read_evidence(tmp_path / "run" / "evidence.jsonl")
    assert [session.round for session in evidence.evaluations] == [2, 4, 5]
    cohorts = [session.params.cohort for session in evidence.evaluations]
    assert [len(cohort) for cohort in cohorts] == [4] * 3
    assert len(set(cohorts)) == 1
    assert cohorts[0] != (0, 1, 2, 3)


def test_only_those_that_are_reachable_when_the_round_is_over_are_asked(tmp_path):
    """A round takes more than nine seconds; client 3 is away after five, 7 comes after fifteen."""
    away = [{"clients": [3], "online": [0.0, 5.0]}, {"clients": [7], "online": [15.0, 1e9]}]
    run = run_of(rounds=2, fleet={"examples_per_s": 4.0, "client": away}, out=tmp_path / "run")
    finished(run)
    assert run.metrics[0].simulated_clock < 15 < run.metrics[1].simulated_clock
    cohorts = [one.params.cohort for one in read_evidence(tmp_path / "run" / "evidence.jsonl").evaluations]
    assert cohorts == [(0, 1, 2, 4, 5, 6, 8, 9), (0, 1, 2, 4, 5, 6, 7, 8, 9)]


# What is written down


def test_evidence_shows_the_session_of_every_evaluation_beside_the_rounds(tmp_path):
    run = finished(run_of(rounds=2, out=tmp_path / "run"))
    evidence = read_evidence(tmp_path / "run" / "evidence.jsonl")
    assert [(one.round, one.evaluation) for one in evidence.sessions if one.probe is None] == [
        (1, False),
        (1, True),
        (2, False),
        (2, True),
    ]
    assert [one.round for one in evidence.rounds] == [one.round for one in evidence.evaluations] == [1, 2]
    for session in evidence.evaluations:
        assert (session.released, session.contributors, session.cohort_size) == (True, 10, 10)
        assert session.params.vector == evaluation_vector(run.job)
    contexts = [one.params.context for one in evidence.sessions]
    assert len(set(contexts)) == len(contexts)


def test_an_evaluation_of_another_model_has_another_context():
    """Clients that were given different models agree on no session: a sum over two models would tell who had which."""
    job = job_of(evaluation=ON)
    run = FederatedRun(job)
    evaluations = FederatedEvaluations(job, run._trainer, run.data.validation)
    other = {name: array + 1 for name, array in run.weights.items()}

    def context(weights, about=b"c" * 32):
        held = evaluations.hold(1, weights, context=about, online=frozenset(range(10))).held
        return held.params.context

    assert context(run.weights) == context(dict(run.weights))
    assert len({context(run.weights), context(other), context(run.weights, b"d" * 32)}) == 3


# What the run makes of it


class Improving(Known):
    """The worst client's accuracy after each version of the model, told by how far the model has come."""

    def __init__(self, worst):
        super().__init__()
        self._worst = worst

    def evaluate(self, weights, examples):
        step = sum((client + 1) / 100 for client in range(10)) / 10
        version = round(float(weights["bias"][0]) / step)
        found = [number for number, own in enumerate(self.validation) if alike(own, examples)]
        correct = self._worst[version - 1] if found == [6] else 40
        return Evaluation(loss=1.0, correct=correct if version else 0, examples=40)


def test_the_best_model_is_that_of_the_best_evaluation_and_patience_ends_the_run(tmp_path):
    trainer = Improving([10, 30, 20, 30, 28, 40])
    evaluation = {"select": "worst_client_accuracy", "patience": 3}
    run = finished(run_of(trainer, rounds=10, evaluation=evaluation, out=tmp_path / "run"))
    assert [row.worst_client_accuracy for row in run.metrics] == [0.25, 0.75, 0.5, 0.75, 0.7]
    assert [row.best_round for row in run.metrics] == [1, 2, 2, 2, 2]
    assert "evaluation.patience" in run.enough
    assert "best: 0.75, in round 2" in run.enough
    assert run.stopped is None
    best = load_checkpoint(tmp_path / "run" / "best.npz")
    assert (best.round, best.metrics["worst_client_accuracy"]) == (2, 0.75)
    assert same(best.weights, run.best.best_weights)
    assert not same(best.weights, load_model(tmp_path / "run" / "model.npz"))
    assert list(run) == []  # over is over


def test_a_target_that_is_reached_ends_the_run():
    run = finished(
        run_of(Improving([10, 30, 36, 40]), rounds=10, evaluation={"select": "worst_client_accuracy", "target": 0.9})
    )
    assert len(run.metrics) == 3
    assert "evaluation.target, 0.9, is reached" in run.enough


def test_a_model_is_judged_when_it_is_evaluated_though_that_round_came_to_nothing(tmp_path):
    """Round 1 moves the model, and nobody evaluates it before round 2, which aborts."""
    drop = [{"round": 2, "clients": list(range(9))}]
    evaluation = {"every": 2, "select": "federated_accuracy"}
    run = finished(run_of(rounds=2, failures={"drop": drop}, evaluation=evaluation, out=tmp_path / "run"))
    assert [row.aborted for row in run.metrics] == [False, True]
    assert run.metrics[1].federated_accuracy > 0.5
    assert run.best.best_value == run.metrics[1].federated_accuracy
    assert same(load_model(tmp_path / "run" / "best.npz"), run.weights)


def test_a_model_that_has_not_moved_is_not_evaluated_again(tmp_path):
    """Two sums over one model, with other clients in them, would differ by what single clients found."""
    drop = [{"round": 2, "clients": list(range(9))}]
    run = finished(run_of(rounds=3, failures={"drop": drop}, out=tmp_path / "run"))
    assert [row.evaluated_clients for row in run.metrics] == [10, None, 10]
    assert [one.round for one in read_evidence(tmp_path / "run" / "evidence.jsonl").evaluations] == [1, 3]


def test_cohorts_by_loss_go_by_the_mean_of_the_last_evaluation():
    """Half of all clients are invited; of those whom the model serves worse than most, more."""

    def evaluates(client):
        return Evaluation(loss=4.0 if client < 5 else 0.1, correct=5, examples=10)

    asked = []
    trainer = Known(evaluates=evaluates)
    cohort = {"size": 4, "sampling": "loss", "preference": 10.0, "explore": 0.0}
    run = run_of(trainer, rounds=8, cohort=cohort)
    for row in run:
        asked.append(list(trainer.trained))
        trainer.trained.clear()
        assert row.federated_loss == pytest.approx(2.05)
        assert math.isfinite(row.federated_loss)
    later = [client for cohort in asked[1:] for client in cohort]
    assert sum(client < 5 for client in later) > 0.6 * len(later)


# What is refused


@pytest.mark.parametrize("mode", ["example", "client-central", "client-distributed"])
def test_under_privacy_it_is_refused(mode):
    privacy = {"mode": mode, "noise_multiplier": 8.0, "delta": 1e-5, "clip": 0.5}
    with pytest.raises(ConfigurationError, match=r"evaluation\.federated is true in privacy\.mode"):
        job_of(evaluation=ON, privacy=privacy)
