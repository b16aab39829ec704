"""The federated loop end to end, with real data and real models."""

import json

import numpy as np
import pytest

from privfl import ConfigurationError
from privfl.evidence import read_evidence
from privfl.learning.averaging import SATURATION_WARNING
from privfl.learning.books import job_digest
from privfl.learning.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
from privfl.learning.job import job_from_table, job_to_toml
from privfl.learning.rounds import FederatedRun
from privfl.learning.torch_trainer import TorchTrainer
from privfl.learning.trainer import LocalResult

TABLE = {
    "rounds": 4,
    "threat": {"corrupt": 0.2, "dropout": 0.3},
    "failures": {
        "drop": [
            {"round": 2, "clients": [3, 7]},
            {"round": 3, "clients": [0], "phase": "AdvertiseKeys"},
            {"round": 3, "clients": [5], "phase": "Unmask"},
        ]
    },
}


def job(**changes):
    return job_from_table(TABLE | changes)


def finished(run):
    for _ in run:
        pass
    return run


def same(left, right):
    return left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)


@pytest.mark.parametrize("suite_name", ["kahe", "masking"])
def test_protected_and_plain_give_the_same_model_bit_for_bit_with_the_same_dropouts(suite_name):
    protected, plain = (finished(FederatedRun(job(suite=name))) for name in (suite_name, "plain"))
    assert same(protected.weights, plain.weights)
    for left, right in zip(protected.metrics, plain.metrics, strict=True):
        assert (left.accuracy, left.loss, left.local_loss, left.local_accuracy) == (
            right.accuracy,
            right.loss,
            right.local_loss,
            right.local_accuracy,
        )
        assert left.contributors == right.contributors
    assert [row.contributors for row in protected.metrics] == [10, 8, 9, 10]


def test_protected_and_plain_give_the_same_model_on_non_iid_images_with_drawn_cohorts():
    table = {
        "rounds": 2,
        "data": {"name": "digits", "clients": 8, "partition": "dirichlet", "alpha": 0.3},
        "cohort": {"size": 5},
        "encoding": {"clip": 2.0},
        "strategy": {"epochs": 1},
    }
    kahe, masking, plain = (
        finished(FederatedRun(job_from_table(table | {"suite": name}))).weights for name in ("kahe", "masking", "plain")
    )
    assert same(kahe, plain)
    assert same(masking, plain)


def test_a_hundred_clients_train_under_kahe_where_sums_are_not_exact():
    """The model differs from that of `plain` by less than a step of a mean; counts do not differ at all."""
    table = {"rounds": 1, "data": {"clients": 100}, "strategy": {"epochs": 1}, "encoding": {"wire": "packed"}}
    kahe, plain = (finished(FederatedRun(job_from_table(table | {"suite": name}))) for name in ("kahe", "plain"))
    assert kahe.averaging.codec.error_std > 0
    assert not same(kahe.weights, plain.weights)
    # Weights are half of the greatest on average: 50 of it in all. Seven deviations in 1,554 coordinates.
    most = 7 * kahe.averaging.codec.error_std / 50 * kahe.averaging.codec.coding.step
    assert all(np.abs(kahe.weights[name] - plain.weights[name]).max() < most for name in plain.weights)
    assert kahe.metrics[0].local_accuracy == plain.metrics[0].local_accuracy
    assert kahe.metrics[0].saturated_fraction == plain.metrics[0].saturated_fraction
    assert kahe.metrics[0].local_loss == pytest.approx(plain.metrics[0].local_loss, rel=1e-3)


def test_another_seed_gives_another_model():
    assert not same(
        finished(FederatedRun(job(rounds=1))).weights, finished(FederatedRun(job(rounds=1, seed=1))).weights
    )


def test_the_mean_is_fedavg_weighted_by_hidden_example_counts():
    """Against the float mean of what clients trained, within the quantisation bound."""
    table = {"rounds": 1, "suite": "masking", "data": {"partition": "dirichlet", "alpha": 1.0}}
    run = FederatedRun(job_from_table(table))
    updates, weights = [], []
    original = run.averaging.encode

    def spying(result: LocalResult, **options):
        updates.append(result.update)
        weights.append(min(result.examples, run.averaging.codec.weight_max))
        return original(result, **options)

    run.averaging.encode = spying
    before = {name: array.copy() for name, array in run.weights.items()}
    (metrics,) = list(run)
    assert len(set(weights)) > 3  # uneven: weighting matters
    for name, array in run.weights.items():
        clipped = [np.clip(update[name], -1, 1) for update in updates]
        exact = before[name] + np.average(clipped, axis=0, weights=weights)
        # Each client errs by half a step of its weighed value; the mean divides by the mean weight.
        bound = 0.5 * run.averaging.codec.coding.step * len(weights) * run.averaging.codec.weight_max / sum(weights)
        assert np.abs(array - exact).max() <= bound + 1e-6
    assert metrics.local_accuracy <= 1


def test_metrics_travel_through_the_sum_exactly():
    run = FederatedRun(job(rounds=1))
    results = []
    original = run.averaging.encode
    run.averaging.encode = lambda result, **options: results.append(result) or original(result, **options)
    (metrics,) = list(run)
    examples = sum(result.examples for result in results)
    assert metrics.local_accuracy == sum(result.correct for result in results) / examples
    loss = sum(result.examples * result.loss for result in results) / examples
    assert metrics.local_loss == pytest.approx(loss, abs=2e-3)


def test_an_aborted_round_changes_no_weight_and_the_next_one_works():
    drop = [{"round": 1, "clients": [0, 1, 2, 3, 4, 5, 6, 7, 8]}]
    run = FederatedRun(job(rounds=2, failures={"drop": drop}))
    before = {name: array.copy() for name, array in run.weights.items()}
    rows = []
    for metrics in run:
        rows.append(metrics)
        if metrics.round == 1:
            assert same(run.weights, before)
    assert rows[0].aborted
    assert rows[0].contributors == 0
    assert rows[0].local_loss is None
    assert not rows[1].aborted
    assert not same(run.weights, before)


def test_saturation_is_counted_through_the_sum_and_a_clip_is_suggested():
    run = finished(FederatedRun(job(rounds=1, encoding={"clip": 0.05})))
    (metrics,) = run.metrics
    assert metrics.saturated_fraction > SATURATION_WARNING
    again = finished(FederatedRun(job(rounds=1, encoding={"clip": metrics.suggested_clip})))
    assert again.metrics[0].saturated_fraction <= 0.002
    assert again.metrics[0].suggested_clip is None


def test_saturation_count_is_exact():
    run = FederatedRun(job(rounds=1, encoding={"clip": 0.05}))
    clipped = total = 0
    original = run.averaging.encode

    def spying(result, **options):
        nonlocal clipped, total
        for array in result.update.values():
            clipped += int((np.abs(array) > 0.05).sum())
            total += array.size
        return original(result, **options)

    run.averaging.encode = spying
    (metrics,) = list(run)
    assert metrics.saturated_fraction == clipped / total


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_updates_with_nan_or_infinity_everywhere_stop_the_run_and_name_round_client_array_and_knob(
    tmp_path, value, monkeypatch
):
    original = TorchTrainer.train

    def diverging(self, weights, examples, *, seed, settings=None):
        result = original(self, weights, examples, seed=seed, settings=settings)
        next(iter(result.update.values())).flat[3] = value
        return result

    monkeypatch.setattr(TorchTrainer, "train", diverging)
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match=r"round 1: .* at client 0: .*flat index 3.*strategy\.learning_rate"):
        finished(FederatedRun(job(), out=out))
    assert not out.exists()


def test_a_wildly_diverging_job_is_one_sentence():
    with pytest.raises(ConfigurationError, match=r"strategy\.learning_rate"):
        finished(FederatedRun(job(strategy={"learning_rate": 1e30, "epochs": 1})))


# -- what is written --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return finished(FederatedRun(job(), out=out)), out


def test_a_line_of_metrics_a_round_with_the_keys_of_the_contract(done):
    _, out = done
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [1, 2, 3, 4]
    contract = {"round", "suite", "cohort", "contributors", "dropped", "accuracy", "loss", "epsilon", "seconds"}
    contract |= {"upload_bytes", "download_bytes", "secure_seconds"}
    assert all(contract <= row.keys() for row in rows)


def test_the_model_loads_back(done):
    run, out = done
    assert same(load_model(out / "model.npz"), run.weights)
    assert load_checkpoint(out / "model.npz").round == 4


def test_evidence_tells_sizes_and_digests_and_nothing_else(done):
    _, out = done
    evidence = read_evidence(out / "evidence.jsonl")
    assert [session.contributors for session in evidence.rounds] == [10, 8, 9, 10]
    for session in evidence.sessions:
        assert session.released
        uploads = [message for message in session.messages if message.phase == "MaskedInput"]
        assert len(uploads) == session.contributors
        assert len({message.size_bytes for message in uploads}) == 1
        assert len({message.sha256 for message in uploads}) == len(uploads)
    for line in (out / "evidence.jsonl").read_text().splitlines():
        for message in json.loads(line)["body"].get("messages", ()):
            assert set(message) == {"role", "client", "phase", "size_bytes", "sha256"}


def test_every_round_has_its_own_nonce_and_context(done):
    _, out = done
    sessions = read_evidence(out / "evidence.jsonl").sessions
    assert [session.round for session in sessions] == [1, 2, 3, 4, 0]  # the last one is on known inputs
    for told in ("nonce", "context", "digest"):
        assert len({getattr(session.params, told) for session in sessions}) == 5


def test_a_round_that_follows_an_aborted_one_has_another_context(tmp_path):
    """The model has not moved, and the update may be the same: under the same context two sums of it could be told."""
    gone = {"drop": [{"round": 1, "clients": list(range(9)), "phase": "Unmask"}]}
    run = finished(FederatedRun(job(suite="masking", rounds=2, failures=gone), out=tmp_path / "out"))
    assert [row.aborted for row in run.metrics] == [True, False]
    sessions = read_evidence(tmp_path / "out" / "evidence.jsonl").sessions
    contexts = [session.params.context for session in sessions if session.round in {1, 2}]
    assert len(contexts) == len(set(contexts)) == 2


def test_the_view_shows_noise_under_protection_and_the_update_under_plain():
    for name, exposed in (("kahe", False), ("masking", False), ("plain", True)):
        run = finished(FederatedRun(job(suite=name, rounds=1)))
        received = run.view.received.view(np.int32)
        assert (received == run.view.true_vector).all() == exposed


def test_an_out_directory_in_use_is_refused_before_anything_runs(done):
    _, out = done
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match="--resume"):
        FederatedRun(job(), out=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_making_a_run_writes_nothing(tmp_path):
    FederatedRun(job(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite_name", ["kahe", "masking", "plain"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_resume_ends_in_the_model_of_the_uninterrupted_run(tmp_path, suite_name, after):
    whole = finished(FederatedRun(job(suite=suite_name)))
    out = tmp_path / "out"
    first = FederatedRun(job(suite=suite_name), out=out)
    rounds_done = iter(first)
    for _ in range(after):
        next(rounds_done)
    rounds_done.close()  # as a process ends
    if not after:
        out.mkdir()
        (out / "job.toml").write_text(job_to_toml(first.job))
    second = finished(FederatedRun.resume(out))
    assert same(second.weights, whole.weights)
    assert [row.round for row in second.metrics] == [1, 2, 3, 4]
    assert [row.accuracy for row in second.metrics] == [row.accuracy for row in whole.metrics]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2, 3, 4]


def test_a_crash_between_model_and_metrics_loses_neither(tmp_path):
    out = tmp_path / "out"
    run = iter(FederatedRun(job(), out=out))
    next(run)
    next(run)
    run.close()
    lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
    (out / "metrics.jsonl").write_text(lines[0] + lines[1][:40])  # the crash tore the second line
    resumed = FederatedRun.resume(out)
    assert [row.round for row in resumed.metrics] == [1, 2]
    assert (out / "metrics.jsonl").read_text() == "".join(lines)


def test_resume_without_its_model_is_refused_and_changes_nothing(tmp_path):
    out = tmp_path / "out"
    finished(FederatedRun(job(rounds=2), out=out))
    (out / "model.npz").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match=r"model\.npz is missing"):
        FederatedRun.resume(out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_vanishing_after_the_upload_is_told_apart_from_dropping():
    run = finished(FederatedRun(job(rounds=3)))
    assert [(row.dropped, row.vanished) for row in run.metrics] == [(0, 0), (2, 0), (1, 1)]


def test_resume_names_what_is_missing_or_damaged(tmp_path):
    with pytest.raises(ConfigurationError, match=r"job\.toml"):
        FederatedRun.resume(tmp_path)
    (tmp_path / "job.toml").write_text(job_to_toml(job()))
    (tmp_path / "model.npz").write_bytes(b"PK\3\4 torn")
    with pytest.raises(ConfigurationError, match="damaged"):
        FederatedRun.resume(tmp_path)
    save_checkpoint(tmp_path / "model.npz", Checkpoint(weights={"other": np.zeros(1, np.float32)}, round=1, metrics={}))
    with pytest.raises(ConfigurationError, match="another job"):
        FederatedRun.resume(tmp_path)
    other = Checkpoint(weights={"other": np.zeros(1, np.float32)}, round=1, metrics={}, job=job_digest(job()))
    save_checkpoint(tmp_path / "model.npz", other)
    with pytest.raises(ConfigurationError, match="another model"):
        FederatedRun.resume(tmp_path)


# -- accuracy ---------------------------------------------------------------------------------------------------------


def test_hospitals_reach_95_percent_held_out():
    from pathlib import Path

    from privfl.learning.job import load_job

    run = finished(FederatedRun(load_job(Path(__file__).parent.parent / "examples" / "hospitals.toml")))
    assert run.metrics[-1].accuracy >= 0.95
    assert sum(row.dropped for row in run.metrics) >= 4


def test_digits_reach_93_percent_held_out_with_twenty_clients():
    from pathlib import Path

    from privfl.learning.job import load_job

    run = finished(FederatedRun(load_job(Path(__file__).parent.parent / "examples" / "digits.toml")))
    assert run.metrics[-1].accuracy >= 0.93
    assert run.job.data.clients == 20
