"""Training jobs of the benchmark: what a record says, on a job that is small enough for a test."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from privfl.bench import jobs
from privfl.bench.jobs import CASES, LINEAR, WIDE, JobCase, Training, measure_jobs
from privfl.learning.job import job_from_table

SMALL = Training(name="a small model", model="logistic", clients=6, rounds=3, epochs=1, seeds=(0, 1))


def case(suite, **changes):
    return JobCase(training=SMALL, suite=suite, **changes)


@pytest.fixture(scope="module")
def records():
    pytest.importorskip("torch", reason="training needs PyTorch")
    pytest.importorskip("dp_accounting", reason="noise needs an accountant")
    chosen = [
        case("masking"),
        case("kahe", wire="packed", bits=8),
        case("kahe", mode="client-distributed", epsilon=20.0),
    ]
    said = []
    return list(measure_jobs(chosen, announce=said.append)), chosen, said


def test_a_job_has_a_record_a_case_with_what_the_report_reads(records):
    found, chosen, said = records
    assert json.loads(json.dumps(found)) == found
    assert [one["case"] for one in found] == [str(case) for case in chosen]
    assert said == [f"training a small model, seed {seed}: 4 runs take turns" for seed in (0, 1)]  # `plain` among them
    for one in found:
        assert (one["clients"], one["rounds"], one["seeds"], one["parameters"]) == (6, 3, 2, 650)
        assert 0 < one["accuracy"] <= 1
        assert one["accuracy_std"] >= 0
        assert 0 < one["secure_seconds"] < one["seconds"]
        assert one["spread"]["ratio_to_plain"][0] <= one["ratio_to_plain"] <= one["spread"]["ratio_to_plain"][1]


def test_fewer_bits_are_fewer_bytes_and_noise_says_what_it_spent(records):
    masking, packed, noisy = records[0]
    assert packed["bits"] == 8
    assert packed["upload_bytes"] < noisy["upload_bytes"]
    assert masking["epsilon"] is masking["delta"] is masking["spent_epsilon"] is None
    assert (noisy["epsilon"], noisy["delta"]) == (20.0, 1e-3)
    assert 0 < noisy["spent_epsilon"] <= 20


def test_a_ratio_is_to_the_same_round_under_plain_and_no_comparison_is_in_it(monkeypatch):
    def rows(suite, *seconds):
        plain = 0.5 if suite != "plain" else 7.0
        cost = {"secure_seconds": 0.0, "client_seconds": 0.0, "server_seconds": 0.0, "epsilon": None, "accuracy": 0.5}
        sizes = {"upload_bytes": 60, "download_bytes": 30, "cohort": 6}
        return [SimpleNamespace(suite=suite, seconds=one, plain_seconds=plain, **cost, **sizes) for one in seconds]

    scripted = {"plain": rows("plain", 50, 2, 4), "kahe": rows("kahe", 90, 6.5, 8.5)}

    processor, order = [0.0], []

    class Run:
        parameters = 7

        def __init__(self, job):
            self._suite = job.suite

        def __iter__(self):
            for row in scripted[self._suite]:
                processor[0] += 0.25 * row.seconds  # the machine had other work for the rest
                order.append(self._suite)
                yield row

    monkeypatch.setitem(sys.modules, "privfl.learning.rounds", SimpleNamespace(FederatedRun=Run))
    monkeypatch.setattr(jobs.time, "process_time", lambda: processor[0])
    one = replace(SMALL, seeds=(0,))
    monkeypatch.setattr(jobs, "_one_thread", nullcontext)
    plain, kahe = measure_jobs([JobCase(training=one, suite="plain"), JobCase(training=one, suite="kahe")])
    assert order == ["kahe", "plain", "plain", "kahe", "kahe", "plain"]
    assert plain["ratio_to_plain"] == 1
    assert kahe["ratio_to_plain"] == (6 / 2 + 8 / 4) / 2  # the first round counts for nobody
    assert kahe["seconds"] == 8.0
    assert (kahe["upload_bytes"], kahe["download_bytes"]) == (10, 5)


def test_every_case_is_a_job_and_has_a_name_of_its_own():
    assert len({str(case) for case in CASES}) == len(CASES)
    assert {case.training for case in CASES} == {WIDE, LINEAR}
    assert {case.mode for case in CASES} == {"none", "client-central", "client-distributed", "example"}
    for one in CASES:
        job = job_from_table(one.table(seed=1))
        assert (job.suite, job.privacy.mode.value, job.encoding.bits) == (one.suite, one.mode, one.bits)


def test_what_is_not_installed_is_named_or_left_out(monkeypatch):
    real = jobs.find_spec
    monkeypatch.setattr(jobs, "find_spec", lambda name: None if name in {"tenseal", "opacus"} else real(name))
    assert {case.suite for case in jobs.runnable()} == {"plain", "masking", "kahe"}
    assert "example" not in {case.mode for case in jobs.runnable()}
    monkeypatch.setattr(jobs, "find_spec", lambda name: None if name == "torch" else real(name))
    assert jobs.why_not() == f"training needs torch: {jobs.INSTALL}"
