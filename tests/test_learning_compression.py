"""Compression inside the sum: fewer coordinates, fewer bits, the same mean; what is left out comes later."""

import itertools
import json
import math

import numpy as np
import pytest
from loop_stubs import Known, finished, job_of, known_to, same

from privfl.audit.conformity import _follows
from privfl.cli.main import main
from privfl.compression.compressor import Keep
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.learning.averaging import WeightedAveraging
from privfl.learning.compression_job import CompressionJob
from privfl.learning.contributing import rounding_seed
from privfl.learning.encoding_job import EncodingJob, Rounding
from privfl.learning.job import job_from_table
from privfl.learning.residuals import Residuals
from privfl.learning.rounds import FederatedRun
from privfl.learning.sessions import RoundInputs, Sessions
from privfl.learning.trainer import LocalResult

FINE = {"clip": 8.0, "bits": 22}
"""Steps of 4·10⁻⁶: what is compared to 10⁻⁵ is not the rounding."""
SHAPE = (40, 25)


class Drawn(Known):
    """A trainer whose clients' updates are drawn by round, so that each is told from the others; zeros at first."""

    def __init__(self, *, scale=0.5, raises=None):
        super().__init__(raises=raises)
        self.given = []
        self._scale = scale

    def initial_weights(self):
        return {"weight": np.zeros(SHAPE, np.float32)}

    def train(self, weights, examples, *, seed, settings=None):
        result = super().train(weights, examples, seed=seed, settings=settings)
        update = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32) * np.float32(self._scale)
        self.given.append(update)
        return LocalResult(update={"weight": update}, examples=10, loss=0.5, correct=result.correct)


def run_of(trainer, **changes):
    changes = {"suite": "plain", "data": {"clients": 4}} | changes
    if "privacy" not in changes:
        changes["strategy"] = {"epochs": 1, "weight_max": 10}  # all weigh as much as can be
    return known_to(FederatedRun(job_of(**changes), trainer=trainer), trainer)


def random(fraction=0.2, feedback=1.0, **more):
    return {"keep": "random", "fraction": fraction, "feedback": feedback} | more


def test_without_feedback_the_model_moves_by_the_mean_on_the_rounds_coordinates_and_nowhere_else():
    trainer = Drawn()
    run = run_of(trainer, rounds=3, encoding=FINE, compression=random(feedback=0.0))
    before, chosen = run.weights["weight"].copy(), []
    for number, row in enumerate(run):
        mean = np.mean(trainer.given[4 * number : 4 * number + 4], axis=0)
        moved = run.weights["weight"] - before
        chosen.append(moved != 0)
        assert np.allclose(moved[chosen[-1]], mean[chosen[-1]], atol=1e-5)
        assert row.coordinates == 200 == chosen[-1].sum()
        before = run.weights["weight"].copy()
    assert not np.array_equal(chosen[0], chosen[1])


@pytest.mark.parametrize("suite", ["plain", "masking", "kahe"])
def test_with_feedback_what_was_summed_and_what_clients_keep_are_all_that_was_learned(suite):
    """Nothing is lost: the model has moved by what all updates sum to, but for what clients still have."""
    trainer = Drawn()
    run = finished(run_of(trainer, suite=suite, rounds=6, encoding=FINE, compression=random(rotate=True)))
    kept = np.mean([run._residuals.of(client) for client in range(4)], axis=0).reshape(SHAPE)
    learned = np.sum([np.mean(trainer.given[4 * number : 4 * number + 4], axis=0) for number in range(6)], axis=0)
    assert np.allclose(run.weights["weight"] + kept, learned, atol=1e-4)
    assert np.abs(kept).max() > 0.1


def test_a_client_whose_update_is_in_no_sum_keeps_what_it_had():
    """Client 2 vanishes in round 2 before its upload, client 1 after it; the server opens round 2 with client 1 in."""
    drops = [
        {"round": 2, "clients": [2], "phase": "MaskedInput"},
        {"round": 2, "clients": [1], "phase": "Unmask"},
    ]
    trainer = Drawn()
    changes = {"suite": "masking", "data": {"clients": 6}, "threat": {"dropout": 0.34}, "failures": {"drop": drops}}
    run = run_of(trainer, rounds=3, compression=random(), **changes)
    rounds = iter(run)
    next(rounds)
    had = {client: run._residuals.of(client).copy() for client in range(6)}
    assert next(rounds).contributors == 5
    kept = [client for client in range(6) if np.array_equal(had[client], run._residuals.of(client))]
    assert kept == [2]


def test_an_aborted_round_takes_nothing_from_what_clients_keep():
    drops = [{"round": 2, "clients": [0, 1, 2], "phase": "MaskedInput"}]
    run = run_of(Drawn(), suite="masking", rounds=3, compression=random(), failures={"drop": drops})
    rounds = iter(run)
    next(rounds)
    had = [run._residuals.of(client).copy() for client in range(4)]
    assert next(rounds).aborted
    assert all(np.array_equal(before, run._residuals.of(client)) for client, before in enumerate(had))


def test_a_mask_by_magnitude_leaves_small_entries_of_matrices_where_they_were_and_moves_every_bias():
    run = FederatedRun(
        job_from_table(
            {
                "rounds": 2,
                "model": "mlp",
                "data": {"clients": 5},
                "encoding": FINE,
                "compression": {"keep": "magnitude", "fraction": 0.1},
            }
        )
    )
    before = {name: array.copy() for name, array in run.weights.items()}
    rounds = iter(run)
    next(rounds)
    magnitudes = np.sort(np.concatenate([np.abs(a).ravel() for a in before.values() if a.ndim > 1]))
    least = magnitudes[-int(0.1 * len(magnitudes))]
    for name, array in before.items():
        moved = run.weights[name] != array
        if array.ndim > 1:
            assert np.array_equal(moved & (np.abs(array) < least), np.zeros_like(moved))
            assert moved.any()
        else:
            assert moved.all()


def test_a_mask_that_keeps_nothing_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigurationError, match=r"magnitude.* 0"):
        FederatedRun(job_of(compression={"keep": "magnitude", "fraction": 0.5}), trainer=Known(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigurationError, match=r"compression\.fraction is 1e-05"):
        FederatedRun(job_of(compression=random(fraction=1e-5)), trainer=Known())


@pytest.mark.parametrize("suite", ["plain", "masking", "kahe", "ckks"])
def test_every_suite_sums_compressed_updates(suite):
    trainer = Drawn(scale=0.1)
    encoding = {"bits": 8, "rounding": "stochastic", "clip": 0.5}
    run = run_of(trainer, suite=suite, rounds=1, encoding=encoding, compression=random(fraction=0.5, rotate=True))
    (row,) = list(run)
    moved = run.weights["weight"] != 0
    mean = np.mean(trainer.given, axis=0)
    # Rotated back, an error of a step at most in each coordinate of the sum has the same norm: half a step of rms.
    error = (run.weights["weight"] - mean)[moved]
    assert np.sqrt(np.mean(error**2)) < 0.5 / 127
    assert row.coordinates == 500
    assert row.float32_bytes == 4 * 4 * 1000


# -- bits -------------------------------------------------------------------------------------------------------------


def averaging(*, bits=4, clip=1.0, rounding="stochastic", adaptive=False, clients=20):
    job = job_of(
        suite="plain",
        data={"clients": clients},
        encoding={"bits": bits, "clip": clip, "rounding": rounding, "adaptive": adaptive},
    )
    return WeightedAveraging.of(job, Layout((("weight", SHAPE),)), weight_max=1)


def result(value):
    return LocalResult(update={"weight": np.full(SHAPE, value, np.float32)}, examples=1, loss=0.0, correct=0)


def test_stochastic_rounding_is_right_on_average_and_each_client_has_dice_of_its_own():
    """Of 4 bits a step is 1/7: 0.05 is 0 or one step. A mean of 20,000 coins of variance 0.23 steps² is off by 5σ in
    one run of 1.7 million."""
    one = averaging()
    vectors = [
        one.encode(result(0.05), context=bytes(32), chance=rounding_seed(bytes(32), client))[:1000]
        for client in range(20)
    ]
    assert set(np.unique(vectors)) == {0, 1}
    assert abs(np.mean(vectors) - 0.35) < 5 * math.sqrt(0.35 * 0.65 / 20_000)
    # Pairs agree by chance alone: of 1,000 coordinates 545 ± 16.
    assert all(abs((a == b).mean() - 0.545) < 0.1 for a, b in itertools.pairwise(vectors))
    again = one.encode(result(0.05), context=bytes(32), chance=rounding_seed(bytes(32), 3))[:1000]
    assert np.array_equal(again, vectors[3])


def test_roundings_are_others_in_another_session_at_another_client_and_for_another_training():
    seeds = {
        rounding_seed(bytes([context]) * 32, client, seed) for context in (0, 1) for client in (0, 1) for seed in (0, 1)
    }
    assert len(seeds) == 8


def test_bits_that_round_a_whole_update_away_are_refused_with_a_clip_that_works():
    encoding = {"bits": 4, "clip": 1.0}
    with pytest.raises(ConfigurationError, match=r"encoding\.bits = 4 is too coarse for encoding\.clip = 1") as caught:
        finished(run_of(Drawn(scale=0.005), encoding=encoding))
    assert "stochastic" in str(caught.value)
    works = float(str(caught.value).split("encoding.clip = ")[2].split(" ")[0].rstrip(";.,"))
    run = finished(run_of(Drawn(scale=0.005), encoding=encoding | {"clip": works}))
    assert np.abs(run.weights["weight"]).max() > 0
    run = finished(run_of(Drawn(scale=0.005), encoding=encoding | {"rounding": "stochastic"}))
    assert np.abs(run.weights["weight"]).max() > 0


@pytest.mark.parametrize("scale", [1e-4, 0.03, 1.0, 30.0])
def test_an_adaptive_clip_finds_the_updates_from_wherever_it_begins(scale):
    encoding = {"bits": 8, "rounding": "stochastic", "adaptive": True}
    run = finished(run_of(Drawn(scale=scale), rounds=6, encoding=encoding))
    # Of a normal distribution one in a thousand is beyond 3.3 deviations; the clip is a power of two.
    assert 3.29 * scale <= run.averaging.clip < 2 * 3.5 * scale
    assert run.metrics[-1].saturated_fraction < 0.002
    assert run.metrics[0].encoding_clip == 1.0
    assert run.metrics[-1].encoding_clip == run.averaging.clip


def test_an_adaptive_clip_is_not_led_by_coordinates_that_never_move():
    """One in two hundred moves: of all coordinates fewer than one in a thousand is beyond any clip."""

    class Sparse(Drawn):
        def train(self, weights, examples, *, seed, settings=None):
            done = super().train(weights, examples, seed=seed, settings=settings)
            update = np.zeros(SHAPE, np.float32)
            update.flat[:5] = 0.3
            return LocalResult(update={"weight": update}, examples=10, loss=0.5, correct=done.correct)

    run = finished(run_of(Sparse(), rounds=8, encoding={"adaptive": True}))
    assert run.averaging.clip == 0.5


def test_an_adaptive_clip_is_part_of_what_a_session_is_about():
    """Who scales by another clip masks by another key: its update adds noise and not a wrong number."""
    run = run_of(Drawn(), encoding={"adaptive": True})
    plan = run._memory.scheduler.plan(1, type("M", (), {"weights": run.weights, "version": 0})(), None)
    context = run._context(plan)
    run.averaging.clip *= 2
    assert run._context(plan) != context
    fixed = run_of(Drawn())
    plan = fixed._memory.scheduler.plan(1, type("M", (), {"weights": fixed.weights, "version": 0})(), None)
    context = fixed._context(plan)
    fixed.averaging.clip *= 2
    assert fixed._context(plan) == context


# -- bytes ------------------------------------------------------------------------------------------------------------


def test_8_bits_and_a_fifth_of_a_million_parameters_weigh_a_twelfth_of_float32():
    """20 clients under masking, everything counted: keys, shares, seeds, headers."""
    job = job_of(
        suite="masking",
        data={"name": "digits", "clients": 20},
        encoding={"bits": 8, "rounding": "stochastic", "wire": "packed"},
        compression=random(),
    )
    compressor = job.compression.compressor(Layout((("weight", (1000, 1000)),)))
    encoder = WeightedAveraging.of(job, compressor.sent, weight_max=144)
    chosen, draw = compressor.choose(bytes(16), {}), np.random.default_rng(0)
    cohort, vectors = tuple(range(20)), {}
    for client in cohort:
        update = {"weight": draw.normal(size=(1000, 1000)).astype(np.float32) * np.float32(0.1)}
        arrays = dict(chosen.compress(update).arrays)
        vectors[client] = encoder.encode(
            LocalResult(update=arrays, examples=70, loss=1.0, correct=50), context=bytes(32)
        )
    inputs = RoundInputs(number=1, cohort=cohort, drops={}, context=bytes(32), vectors=vectors)
    held = Sessions(job, encoder.vector, context=bytes(32)).hold(inputs, charge=lambda _contributors: None)
    assert held.outcome.aggregate is not None
    assert held.outcome.upload_bytes * 12 <= 20 * 4_000_000
    assert held.params.ring.bits == 13  # 20 · 127, and its negative


# -- privacy, evidence, crashes ---------------------------------------------------------------------------------------

PRIVATE = {
    "client-central": {"mode": "client-central", "clip": 1.0, "epsilon": 8.0},
    "client-distributed": {"mode": "client-distributed", "clip": 1.0, "epsilon": 8.0},
    "example": {"mode": "example", "clip": 1.0, "epsilon": 8.0},
}
NARROW = {
    "none": {"compression": random(rotate=True), "encoding": {"bits": 8, "rounding": "stochastic", "adaptive": True}},
    "magnitude": {"compression": {"keep": "magnitude", "fraction": 0.3}, "model": "mlp"},
    "client-central": {"compression": random(), "privacy": PRIVATE["client-central"]},
    "client-distributed": {"compression": random(), "privacy": PRIVATE["client-distributed"]},
    "example": {
        "compression": random(rotate=True),
        "encoding": {"bits": 8, "rounding": "stochastic"},
        "privacy": PRIVATE["example"],
    },
}


@pytest.mark.parametrize("name", NARROW)
def test_a_compressed_run_passes_its_audit(name, tmp_path, capsys):
    job = job_of(suite="kahe", data={"clients": 10}, **NARROW[name])
    run = finished(FederatedRun(job, out=tmp_path / "run"))
    assert run.metrics[-1].coordinates < run.parameters or name == "magnitude"
    code = main(["audit", str(tmp_path / "run"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    failed = [finding for finding in answer["findings"] if finding["outcome"] == "fail"]
    assert (failed, code in {0, 2}) == ([], True)


def test_an_audit_takes_clips_that_an_adaptive_one_can_have_and_no_others():
    fixed, adaptive = job_of(encoding={"clip": 0.3}), job_of(encoding={"clip": 0.3, "adaptive": True})
    assert _follows(fixed, 0.3, 0.3)
    assert not _follows(fixed, 0.6, 0.3)
    assert all(_follows(adaptive, 0.3 * 2.0**power, 0.3) for power in (-20, -1, 0, 5))
    assert not any(_follows(adaptive, clip, 0.3) for clip in (0.31, 0.9, 0.0, -0.3, math.inf, math.nan, None, "0.3", 1))


def test_noise_of_a_compressed_private_run_is_for_what_travels():
    """A fifth of the coordinates, and the same noise multiplier."""
    run = finished(
        FederatedRun(
            job_of(
                suite="masking",
                model="logistic",
                compression=random(feedback=0.0),
                data={"name": "digits", "clients": 10},
                privacy=PRIVATE["client-central"],
            )
        )
    )
    whole = FederatedRun(
        job_of(
            suite="masking", model="logistic", data={"name": "digits", "clients": 10}, privacy=PRIVATE["client-central"]
        )
    )
    assert run.parameters == 650
    assert run.metrics[0].coordinates == 130
    assert run.averaging.vector.length < whole.averaging.vector.length
    assert run.guarantee.noise_multiplier == whole.guarantee.noise_multiplier


def test_a_run_that_goes_on_has_the_clip_and_what_clients_kept(tmp_path):
    table = {"compression": random(), "encoding": {"bits": 8, "rounding": "stochastic", "adaptive": True}}
    whole = finished(FederatedRun(job_of(rounds=4, data={"clients": 5}, **table)))
    rounds = iter(FederatedRun(job_of(rounds=4, data={"clients": 5}, **table), out=tmp_path / "run"))
    next(rounds), next(rounds)
    rounds.close()
    again = finished(FederatedRun.resume(tmp_path / "run"))
    assert same(again.weights, whole.weights)
    assert [row.encoding_clip for row in again.metrics] == [row.encoding_clip for row in whole.metrics]
    assert len({row.encoding_clip for row in whole.metrics}) > 1


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"keep": "random"}, r"compression\.fraction is 1 with compression\.keep 'random'.* a number above 0"),
        ({"keep": "random", "fraction": 0.0}, r"compression\.fraction is 0"),
        ({"keep": "magnitude", "fraction": 1.5}, r"compression\.fraction is 1\.5"),
        ({"fraction": 0.2}, r"compression\.fraction is 0\.2 with compression\.keep = 'all'"),
        ({"feedback": 1.0}, r"compression\.feedback is 1.* with compression\.keep = 'all'"),
        ({"keep": "magnitude", "fraction": 0.2, "feedback": 0.5}, r"compression\.feedback is 0\.5 with .*'magnitude'"),
        ({"keep": "random", "fraction": 0.2, "feedback": 1.5}, r"compression\.feedback is 1\.5: 0 to 1"),
        ({"keep": "top"}, r"compression\.keep is 'top': 'all' or 'random' or 'magnitude' works"),
    ],
)
def test_what_compresses_nothing_or_contradicts_itself_is_refused(table, says):
    with pytest.raises(ConfigurationError, match=says):
        job_of(compression=table)


def test_jobs_are_written_out_with_what_they_compress():
    job = job_of(compression=random(), encoding={"rounding": "stochastic", "adaptive": True})
    assert job.compression == CompressionJob(keep=Keep.RANDOM, fraction=0.2, feedback=1.0)
    assert job.encoding == EncodingJob(rounding=Rounding.STOCHASTIC, adaptive=True)


def test_a_client_that_fails_under_privacy_adds_zeros_to_the_chosen_coordinates():
    trainer = Drawn(raises=lambda client: ValueError("no") if client == 1 else None)
    run = run_of(
        trainer,
        suite="masking",
        rounds=1,
        data={"clients": 10},
        compression=random(),
        privacy=PRIVATE["client-central"],
    )
    (row,) = list(run)
    assert (row.contributors, row.dropped) == (10, 0)
    assert run._residuals.of(1) is None
    assert run._residuals.of(2) is not None


# -- integers at the end ----------------------------------------------------------------------------------------------


def test_the_last_model_is_tried_with_weights_of_8_bit_integers_and_what_has_none_is_refused(tmp_path, capsys):
    job = job_of(model="mlp", data={"name": "digits", "clients": 5}, evaluation={"int8": True}, strategy={"epochs": 3})
    run = finished(FederatedRun(job))
    int8 = run.evaluate_int8()
    assert abs(int8.evaluation.accuracy - run.metrics[-1].accuracy) < 0.05
    assert int8.size_bytes < int8.float32_bytes
    assert finished(FederatedRun(job_of())).evaluate_int8() is None
    with pytest.raises(ConfigurationError, match=r"evaluation\.int8 is true and model is .*a trainer of its own"):
        FederatedRun(job_of(evaluation={"int8": True}), trainer=Known())
    path = tmp_path / "job.toml"
    path.write_text('rounds = 1\nmodel = "mlp"\n[evaluation]\nint8 = true\n')
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["int8"]) == {"accuracy", "loss", "bytes", "float32_bytes"}
    assert "as 8-bit integers" in (tmp_path / "run" / "report.html").read_text()


# -- what a hostile reader and a first user found ---------------------------------------------------------------------


def test_a_run_whose_adaptive_clip_began_too_small_ends_with_a_report_and_without_a_false_hint(tmp_path, capsys):
    path = tmp_path / "job.toml"
    path.write_text('model = "logistic"\n[encoding]\nadaptive = true\nclip = 0.0001\n')
    assert main(["run", str(path), "--set", "rounds=4", "--out", str(tmp_path / "run"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"][0]["saturated_fraction"] > 0.5
    assert not any("clipped" in warning for warning in answer["warnings"])
    assert main(["run", str(path), "--set", "rounds=1", "--out", str(tmp_path / "short"), "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "in round 1, the last: encoding.adaptive has not caught up" in warning
    assert (tmp_path / "run" / "report.html").exists()


def test_where_a_model_has_settled_updates_may_round_away_and_nobody_drops_out():
    class Settling(Drawn):
        def train(self, weights, examples, *, seed, settings=None):
            self._scale = 0.5 if len(self.given) < 4 else 1e-6
            return super().train(weights, examples, seed=seed, settings=settings)

    run = finished(run_of(Settling(), rounds=3, encoding={"bits": 8}))
    assert [(row.contributors, row.dropped_because) for row in run.metrics] == [(4, {})] * 3
    assert np.abs(run.weights["weight"]).max() > 0


def test_one_client_whose_update_rounds_away_is_no_drop_out():
    class OneSmall(Drawn):
        def train(self, weights, examples, *, seed, settings=None):
            self._scale = 1e-6 if len(self.given) % 4 == 2 else 0.5
            return super().train(weights, examples, seed=seed, settings=settings)

    assert [row.contributors for row in run_of(OneSmall(), rounds=2, encoding={"bits": 8})] == [4, 4]


@pytest.mark.parametrize(("clip", "scale"), [(1e12, 0.1), (1e-12, 0.1), (1.0, 1e-11), (1.0, 1e11)])
def test_an_adaptive_clip_moves_from_one_end_of_its_range_to_the_other_and_stays_within(clip, scale):
    run = run_of(Drawn(scale=scale), rounds=30, encoding={"adaptive": True, "clip": clip})
    clips = [row.encoding_clip for row in run]
    assert all(1e-12 <= one <= 1e12 for one in clips)
    assert run.metrics[-1].saturated_fraction < 0.01
    assert math.frexp(clips[-1] / clip)[0] == 0.5
    assert scale < clips[-1] < 16 * scale


BATCH_NORM = """
import torch


def build(classes):
    nn = torch.nn
    return nn.Sequential(nn.Linear(30, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))
"""


def test_statistics_of_a_batch_normalisation_travel_whole_and_stay_variances(tmp_path, monkeypatch):
    """What a client kept of an old variance is nothing to a new one: added up, it would fall below 0."""
    (tmp_path / "with_batch_norm.py").write_text(BATCH_NORM)
    monkeypatch.syspath_prepend(tmp_path)
    job = job_of(suite="plain", model="with_batch_norm:build", rounds=6, data={"clients": 5}, compression=random())
    run = FederatedRun(job)
    names = {"1.running_mean", "1.running_var"}
    before = {name: run.weights[name].copy() for name in names}
    for row in run:
        assert row.loss is not None
        assert all((run.weights[name] != before[name]).all() for name in names)
        assert run.weights["1.running_var"].min() > 0
        before = {name: run.weights[name].copy() for name in names}
    # 16 statistics whole, and a fifth of 248 + 16 + 18 parameters.
    assert run.metrics[0].coordinates == 16 + (248 + 16 + 18) // 5


def test_a_mask_by_magnitude_is_refused_where_a_matrix_would_never_move():
    adapters = {"adapter_rank": 2, "adapter_train_a": True}
    mask = {"keep": "magnitude", "fraction": 0.3}
    with pytest.raises(ConfigurationError, match=r"'magnitude', and all of '1\.up\.weight' is 0: .*'random' works"):
        FederatedRun(job_of(training=adapters, compression=mask))
    FederatedRun(job_of(training=adapters, compression=random(fraction=0.3)))


def test_what_clients_keep_lies_where_nobody_else_looks_and_never_without_the_job(tmp_path, monkeypatch):
    seen = []
    settle = Residuals.settle

    def settling(residuals, number, contributors):
        seen.append((tmp_path / "run" / "job.toml").exists())
        settle(residuals, number, contributors)

    monkeypatch.setattr(Residuals, "settle", settling)
    finished(FederatedRun(job_of(suite="plain", compression=random()), out=tmp_path / "run"))
    assert seen == [True] * 3
    assert (tmp_path / "run" / "clients").stat().st_mode & 0o777 == 0o700


def test_a_list_that_is_none_is_asked_for_as_one_that_works():
    with pytest.raises(ConfigurationError, match=r"training\.freeze is '0\.\*': a list works, such as \['0\.\*'\]"):
        job_of(training={"freeze": "0.*"})
    job_of(training={"freeze": ["0.*"]})


def test_fractions_of_which_nothing_is_kept_speak_of_the_model():
    with pytest.raises(ConfigurationError, match=r"of 1000 coordinates nothing is kept: 0\.001 or more works"):
        run_of(Drawn(), compression=random(fraction=1e-13))


TRANSFORMER = """
import torch


class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.block = torch.nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.head = torch.nn.Linear(30, classes)

    def forward(self, x):
        return self.head(self.block(x.reshape(-1, 5, 6)).flatten(1))


def build(classes):
    return Net(classes)
"""


def test_a_transformer_is_tried_with_weights_of_8_bit_integers_too(tmp_path, monkeypatch):
    (tmp_path / "with_attention.py").write_text(TRANSFORMER)
    monkeypatch.syspath_prepend(tmp_path)
    run = finished(FederatedRun(job_of(model="with_attention:build", rounds=1, evaluation={"int8": True})))
    assert abs(run.evaluate_int8().evaluation.accuracy - run.metrics[-1].accuracy) < 0.1
