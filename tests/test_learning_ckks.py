"""The federated loop under `ckks`: a committee opens the sums, or does not."""

import json
import tomllib

import numpy as np
import pytest
from test_learning_rounds import finished, job

from privfl import ConfigurationError
from privfl.cli.main import main
from privfl.evidence import read_evidence
from privfl.learning.job import job_from_table, job_to_toml
from privfl.learning.rounds import FederatedRun

ABSENCES = {
    "absent": [
        {"round": 1, "members": [1]},
        {"round": 2, "members": [0, 1, 2]},
        {"round": 3, "members": [4], "phase": "Open"},
        {"round": 4, "members": [2], "phase": "Open"},
    ]
}


def test_a_committee_opens_with_members_absent_and_an_aborted_round_leaves_the_model_as_it_was(tmp_path):
    run = FederatedRun(job(suite="ckks", failures=ABSENCES), out=tmp_path / "r")
    before = None
    for metrics in run:
        weights = {name: array.copy() for name, array in run.weights.items()}
        if metrics.aborted:
            assert all(np.array_equal(weights[name], before[name]) for name in weights)
        before = weights
    # Round 3's absent member is not in the set that opens: the lowest three that are there are.
    assert [row.aborted for row in run.metrics] == [False, True, False, True]
    assert "2 members of the committee are there and 3 are needed" in run.metrics[1].aborted_because
    assert "members [2] of the committee fell silent" in run.metrics[3].aborted_because
    assert [row.contributors for row in run.metrics] == [10, 0, 10, 0]
    assert run.metrics[0].committee_bytes > run.metrics[2].committee_bytes > 0  # the first pays for the ceremony
    senders = [
        sorted(message.client for message in session.messages if (message.role, message.phase) == ("committee", "Open"))
        for session in read_evidence(tmp_path / "r" / "evidence.jsonl").rounds
    ]
    assert senders == [[0, 2, 3], [], [0, 1, 2], [0, 1]]


def test_hospitals_reach_the_accuracy_of_plain(capsys, tmp_path):
    accuracies = {}
    for name in ("plain", "ckks"):
        assert (
            main(["run", "examples/hospitals.toml", "--set", f"suite={name}", "--json", "--out", str(tmp_path / name)])
            == 0
        )
        accuracies[name] = json.loads(capsys.readouterr().out)["accuracy"]
    assert abs(accuracies["ckks"] - accuracies["plain"]) <= 0.005


def test_the_model_is_that_of_plain_within_the_error_that_is_promised():
    ckks, plain = (finished(FederatedRun(job(suite=name, rounds=1, failures={}))) for name in ("ckks", "plain"))
    assert ckks.averaging.codec.error_std > 0
    # Ten clients with weights of half the greatest on average. Seven deviations in 1,554 coordinates: one run in 10^8.
    most = 7 * ckks.averaging.codec.error_std / 5 * ckks.averaging.codec.coding.step
    off = max(float(np.abs(ckks.weights[name] - array).max()) for name, array in plain.weights.items())
    assert 0 < off <= most
    assert [(row.local_accuracy, row.contributors) for row in ckks.metrics] == [
        (row.local_accuracy, row.contributors) for row in plain.metrics
    ]


def test_a_spent_key_is_followed_by_another(tmp_path):
    committee = {"members": 3, "threshold": 2, "openings": 2}
    run = FederatedRun(job(suite="ckks", failures={}, committee=committee, audit={"probes": 0}), out=tmp_path / "r")
    keys = [run.params.setting.key for _ in run]
    assert len(set(keys)) == 2
    assert keys[0] == keys[1] != keys[2] == keys[3]
    ceremonies = [row.committee_bytes > run.metrics[1].committee_bytes for row in run.metrics]
    assert ceremonies == [True, False, True, False]


def test_a_resumed_run_makes_a_key_of_its_own(tmp_path):
    run = FederatedRun(job(suite="ckks", rounds=2, failures={}), out=tmp_path / "r")
    next(iter(run))
    key = run.params.setting.key
    again = finished(FederatedRun.resume(tmp_path / "r"))
    assert [row.aborted for row in again.metrics] == [False, False]
    assert again.params.setting.key != key


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"committee": {"members": 5, "threshold": 2}}, "committee.threshold is 2: a whole number from 3 to 5 works"),
        ({"committee": {"members": 0}}, "committee.members is 0: a whole number from 1 to 32 works"),
        ({"committee": {"openings": 0}}, "committee.openings is 0: a whole number from 1 to 65536 works"),
        ({"failures": {"absent": [{"round": 1, "members": [5]}]}}, "failures.absent.members names [5]: 0 to 4 works"),
        (
            {"failures": {"absent": [{"round": 1, "members": [0], "phase": "Unmask"}]}},
            "failures.absent.phase is 'Unmask': 'Convene', 'Open' work",
        ),
        (
            {"failures": {"absent": [{"round": 1, "members": [0], "phase": "Opening"}]}},
            "failures.absent.phase is 'Opening': 'Convene' or 'Open' works",
        ),
        ({"failures": {"absent": [{"round": 0, "members": [0]}]}}, "failures.absent.round is 0: 1 or more works"),
        ({"threat": {"server": "active"}}, "'honest-but-curious' works with suite 'ckks'"),
        ({"encoding": {"precision": 0.0}}, "encoding.precision is 0.0: a fraction such as 1e-5 works"),
        ({"encoding": {"precision": 1e-30}}, "exceed the widest modulus: raise encoding.precision to"),
    ],
)
def test_a_wrong_job_names_the_key_and_what_works(table, sentence):
    with pytest.raises(ConfigurationError) as raised:
        job_from_table({"suite": "ckks"} | table)
    assert sentence in str(raised.value)


def test_a_job_keeps_its_committee_when_it_is_written_out():
    committee = {"members": 7, "threshold": 4, "openings": 3}
    written = job(suite="ckks", committee=committee, failures=ABSENCES)
    assert job_from_table(tomllib.loads(job_to_toml(written))) == written
