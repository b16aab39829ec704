"""The model judged at the clients, in one sum; the best model kept; and a run that ends when it has done enough."""

import json
import math
import subprocess
import sys
import tomllib
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
from harness import committee, make_params
from hypothesis import given
from hypothesis import strategies as st

from privfl import Aggregate, ConfigurationError, RoundAborted, ThreatModel, simulate, suite
from privfl.learning.averaging import EXAMPLES_MAXIMUM, LOSS_MAXIMUM
from privfl.learning.evaluation_job import EvaluationJob, Measure
from privfl.learning.federated_evaluation import EvaluationCodec, FederatedEvaluation
from privfl.learning.stopping import Stopping
from privfl.learning.tables import read_table, write_table
from privfl.learning.trainer import Evaluation

FOUND = [
    Evaluation(loss=0.31, correct=18, examples=20),
    Evaluation(loss=1.25, correct=3, examples=10),
    Evaluation(loss=0.02, correct=7, examples=7),
    Evaluation(loss=0.7, correct=1, examples=2),
    Evaluation(loss=2.5, correct=0, examples=5),
]


def summed(codec, found):
    return Aggregate(vector=sum(codec.encode(one).astype(np.int64) for one in found), contributors=len(found))


def require_right(decoded, found, bins):
    """Compare with what plain arithmetic says, within the bounds that guarantee 1 gives."""
    examples = sum(one.examples for one in found)
    accuracies = np.array([one.correct / one.examples for one in found])
    assert (decoded.clients, decoded.examples) == (len(found), examples)
    assert decoded.accuracy == sum(one.correct for one in found) / examples
    assert decoded.loss == pytest.approx(sum(one.loss * one.examples for one in found) / examples, abs=2**-17)
    assert decoded.mean_client_accuracy == pytest.approx(accuracies.mean(), abs=2**-21 + 1e-12)
    assert decoded.std_client_accuracy == pytest.approx(accuracies.std(), abs=2**-21 + 1e-12)
    bands = [0] * bins
    for one in found:
        bands[min(math.floor(Fraction(one.correct, one.examples) * bins), bins - 1)] += 1
    assert decoded.histogram == tuple(bands)


# The codec


evaluations = st.integers(1, EXAMPLES_MAXIMUM).flatmap(
    lambda examples: st.builds(
        Evaluation,
        loss=st.floats(0, LOSS_MAXIMUM),
        correct=st.integers(0, examples),
        examples=st.just(examples),
    )
)


@given(
    found=st.lists(evaluations, min_size=1, max_size=8),
    bins=st.sampled_from([2, 7, 20]),
    bits=st.sampled_from([2, 16, 24]),
    error_std=st.sampled_from([0.0, 40.0]),
    seed=st.integers(0, 2**32),
)
def test_guarantee_1_sums_are_exact_even_where_those_of_the_suite_are_not(found, bins, bits, error_std, seed):
    if bits == 2:
        error_std = 0.0
    codec = EvaluationCodec(bins=bins, bits=bits, error_std=error_std)
    total = summed(codec, found)
    assert total.vector.shape == (codec.vector.length,)
    assert codec.vector.length <= EvaluationCodec.room(bins)
    most = math.floor(9 * error_std)
    errors = np.random.default_rng(seed).integers(-most, most + 1, codec.vector.length)
    decoded = codec.decode(Aggregate(vector=total.vector + errors, contributors=len(found)))
    require_right(decoded, found, bins)


@pytest.mark.parametrize("name", ["plain", "masking", "kahe", "ckks"])
def test_guarantee_1_holds_through_a_session_of_every_suite(name):
    # Of a key whose sums are off: 33 bits leave ckks errors that rounding does not hide.
    opener = committee(modulus_bits=33) if name == "ckks" else None
    key = opener.key if opener else None
    threat, bound = ThreatModel(corrupt=0.0, dropout=0.0), EvaluationCodec(bins=10).vector.bound
    trial = make_params(len(FOUND), 100, name, threat=threat, bound=bound, key=key)
    error_std = suite(name).error_std(trial.setting, len(FOUND))
    assert (error_std > 1) == (name == "ckks")
    codec = EvaluationCodec(bins=10, error_std=error_std)
    spec = codec.vector
    params = make_params(len(FOUND), spec.length, name, threat=threat, bound=spec.bound, key=key)
    vectors = {number: codec.encode(one) for number, one in zip(params.cohort, FOUND, strict=True)}
    outcome = simulate(params, vectors, committee=opener)
    require_right(codec.decode(outcome.aggregate), FOUND, 10)


def test_examples_weigh_the_same_in_the_loss_and_clients_the_same_in_the_mean_accuracy():
    big, small = Evaluation(loss=0.1, correct=900, examples=1000), Evaluation(loss=2.1, correct=0, examples=10)
    codec = EvaluationCodec(bins=4)
    decoded = codec.decode(summed(codec, [big, small]))
    assert decoded.loss == pytest.approx((0.1 * 1000 + 2.1 * 10) / 1010, abs=1e-4)
    assert decoded.mean_client_accuracy == pytest.approx(0.45, abs=1e-6)
    assert decoded.std_client_accuracy == pytest.approx(0.45, abs=1e-6)


def test_clients_that_agree_have_a_deviation_of_nothing():
    codec = EvaluationCodec(bins=20)
    assert codec.decode(summed(codec, [Evaluation(loss=0.2, correct=6, examples=7)] * 9)).std_client_accuracy == 0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1e300])
def test_guarantee_2_a_loss_that_is_no_number_counts_as_the_greatest_and_spoils_nothing(loss):
    codec = EvaluationCodec(bins=5)
    spoilt = Evaluation(loss=loss, correct=1, examples=4)
    vector = codec.encode(spoilt)
    assert vector.dtype == np.int32
    assert np.abs(vector).max() <= codec.vector.bound
    decoded = codec.decode(summed(codec, [spoilt, *FOUND]))
    require_right(decoded, [Evaluation(loss=LOSS_MAXIMUM, correct=1, examples=4), *FOUND], 5)


def test_a_loss_below_zero_counts_as_none():
    codec = EvaluationCodec(bins=5)
    assert codec.decode(summed(codec, [Evaluation(loss=-1e-9, correct=1, examples=1)])).loss == 0


@pytest.mark.parametrize("bins", [2, 10, 20, 49])
def test_bands_hold_their_lower_edge_and_the_last_one_holds_1(bins):
    codec = EvaluationCodec(bins=bins)
    for correct in range(bins + 1):
        decoded = codec.decode(summed(codec, [Evaluation(loss=0.0, correct=correct, examples=bins)]))
        assert decoded.histogram.index(1) == min(correct, bins - 1)
        assert decoded.worst_client_accuracy == min(correct, bins - 1) / bins


def test_more_examples_than_can_be_written_are_refused():
    with pytest.raises(ConfigurationError, match="'examples' is out of range: 0 to 16777215"):
        EvaluationCodec(bins=5).encode(Evaluation(loss=0.0, correct=0, examples=EXAMPLES_MAXIMUM + 1))


CODEC = EvaluationCodec(bins=10)
NUMBERS = ("examples", "correct", "loss", "accuracy", "accuracy_squared", *(f"band {number}" for number in range(10)))


def forged(**changes):
    """The sum of what five clients found, with numbers moved by so much."""
    vector, position = summed(CODEC, FOUND).vector, 0
    for name, code in zip(NUMBERS, CODEC._codes(), strict=True):
        change = changes.pop(name, 0)
        vector[position : position + code.digits] += int(math.copysign(1, change)) * code.encode(abs(change))
        position += code.digits
    assert not changes
    return Aggregate(vector=vector, contributors=len(FOUND))


NAT = 2**16
ONE = 2**20


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"band 9": 1}, id="a client in two bands"),
        pytest.param({"band 9": -1}, id="a client in none"),
        pytest.param({"band 4": -1, "band 9": 1}, id="fewer than none in a band"),
        pytest.param({"correct": 16}, id="more correct ones than examples"),
        pytest.param({"correct": -30}, id="fewer than none correct"),
        pytest.param({"examples": -40, "correct": -29, "loss": -30 * NAT}, id="fewer examples than clients"),
        pytest.param({"loss": 16 * 44 * NAT}, id="a loss above the greatest"),
        pytest.param({"accuracy": ONE, "accuracy_squared": ONE**2 // 3}, id="a mean that its squares rule out"),
        pytest.param({"accuracy_squared": ONE**2}, id="squares above what they are of"),
    ],
)
def test_guarantee_3_sums_that_contradict_themselves_are_refused(changes):
    assert CODEC.decode(forged()).clients == len(FOUND)
    with pytest.raises(RoundAborted, match="no sum of evaluations as agreed"):
        CODEC.decode(forged(**changes))


@pytest.mark.parametrize(
    ("place", "coordinate"),
    [
        (0, 5 * CODEC.vector.bound + 1),  # as many examples as no five clients can write
        (0, 2**63 - 1),
        (1, -1),  # correct ones
        (1, -(2**63)),
    ],
)
def test_guarantee_3_coordinates_beyond_all_bounds_are_refused(place, coordinate):
    aggregate = forged()
    aggregate.vector[place] = coordinate
    with pytest.raises(RoundAborted, match="no sum of evaluations as agreed"):
        CODEC.decode(aggregate)


def test_sums_of_another_length_are_refused():
    with pytest.raises(ConfigurationError, match=r"a sum of shape \(3,\) where \(\d+,\) is agreed"):
        CODEC.decode(Aggregate(vector=np.zeros(3, np.int64), contributors=1))


def test_a_codec_in_which_counts_drown_is_refused():
    with pytest.raises(ConfigurationError, match="drowns"):
        EvaluationCodec(bins=5, bits=8, error_std=10.0)
    with pytest.raises(ConfigurationError, match=r"evaluation\.bins is 1: 2 to 1000 works, such as 20"):
        EvaluationCodec(bins=1)


@given(counts=st.lists(st.integers(0, 30), min_size=2, max_size=30).filter(any))
def test_a_quantile_is_the_band_of_the_client_in_that_place(counts):
    clients = [band for band, count in enumerate(counts) for _ in range(count)]
    evaluation = FederatedEvaluation(
        clients=len(clients),
        examples=len(clients),
        accuracy=0.0,
        loss=0.0,
        mean_client_accuracy=0.0,
        std_client_accuracy=0.0,
        histogram=tuple(counts),
    )
    for place, band in enumerate(clients, start=1):
        assert evaluation.quantile(place / len(clients)) == band / len(counts)
    assert evaluation.quantile(0) == evaluation.worst_client_accuracy == clients[0] / len(counts)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ConfigurationError, match="0 to 1 works"):
            evaluation.quantile(share)


# The job


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"holdout": 0.3}, r"evaluation\.holdout is set though clients evaluate nothing: .*federated = true"),
        ({"every": 2}, r"evaluation\.every is set though"),
        ({"bins": 10}, r"evaluation\.bins is set though"),
        ({"quantiles": [0.2]}, r"evaluation\.quantiles is set though"),
        ({"size": 5}, r"evaluation\.size is set though"),
        ({"select": "federated_loss"}, r"evaluation\.select is 'federated_loss', which clients would have to measure"),
        ({"select": "worst_client_accuracy"}, r"evaluation\.select is 'worst_client_accuracy', which"),
        ({"select": "f1"}, r"evaluation\.select is 'f1': 'accuracy' or 'loss' or .* works"),
        ({"federated": True, "every": 0}, r"evaluation\.every is 0: 1 or more works, such as 5"),
        ({"federated": True, "bins": 1}, r"evaluation\.bins is 1: 2 to 1000 works, such as 20"),
        ({"federated": True, "bins": 1001}, r"evaluation\.bins is 1001: 2 to 1000 works"),
        ({"federated": True, "size": 0}, r"evaluation\.size is 0: 1 or more works"),
        ({"federated": True, "holdout": 0.0}, r"evaluation\.holdout is 0\.0: between 0 and 1 works, such as 0\.2"),
        ({"federated": True, "holdout": 1.0}, r"evaluation\.holdout is 1\.0: between"),
        ({"federated": True, "holdout": math.nan}, r"evaluation\.holdout is nan: between"),
        ({"federated": True, "quantiles": [0.5, 1.0]}, r"evaluation\.quantiles names 1\.0: numbers between 0 and 1"),
        ({"federated": True, "quantiles": [0.5, 0.5]}, r"evaluation\.quantiles is \[0\.5, 0\.5\], where one stands tw"),
        ({"patience": 0}, r"evaluation\.patience is 0: 1 or more works, such as 10"),
        ({"patience": 3, "min_delta": -0.1}, r"evaluation\.min_delta is -0\.1: a number from 0 up works"),
        ({"patience": 3, "min_delta": math.inf}, r"evaluation\.min_delta is inf: a number"),
        ({"min_delta": 0.1}, r"evaluation\.min_delta is 0\.1 without evaluation\.patience"),
        ({"target": 95.0}, r"evaluation\.target is 95\.0 for 'accuracy': above 0, up to 1, works, such as 0\.95"),
        ({"target": 0.0}, r"evaluation\.target is 0\.0 for 'accuracy': above"),
        ({"target": math.nan}, r"evaluation\.target is nan for 'accuracy': above"),
        ({"target": -0.1, "select": "loss"}, r"evaluation\.target is -0\.1 for 'loss': a number above 0 works"),
        ({"target": math.inf, "select": "loss"}, r"evaluation\.target is inf for 'loss': a number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_value_that_works(table, message):
    with pytest.raises(ConfigurationError, match=message):
        read_table(EvaluationJob, table, "evaluation.")


@pytest.mark.parametrize(
    "job",
    [
        EvaluationJob(),
        EvaluationJob(target=3.5, select=Measure.LOSS, patience=4, min_delta=0.01),
        EvaluationJob(
            federated=True, every=5, holdout=0.5, bins=50, quantiles=(), size=7, select=Measure.WORST_CLIENT_ACCURACY
        ),
    ],
)
def test_a_job_written_out_reads_the_same(job):
    assert read_table(EvaluationJob, tomllib.loads(write_table(job))) == job


def test_clients_evaluate_every_so_many_rounds_and_after_the_last():
    job = EvaluationJob(federated=True, every=4)
    assert [number for number in range(1, 11) if job.due(number, 10)] == [4, 8, 10]
    assert not any(EvaluationJob().due(number, 10) for number in range(1, 11))


# Stopping


def weights(value):
    return {"w": np.full(3, value, np.float32)}


def watched(values, stopping=None, start=1, **keys):
    """Let a stopping see values of its measure, one a round; return it and what it said."""
    stopping = stopping or Stopping(EvaluationJob(**keys))
    measure = stopping._evaluation.select.value
    said = [stopping.see(number, {measure: value}, weights(number)) for number, value in enumerate(values, start)]
    return stopping, said


def test_guarantee_1_of_stopping_the_first_of_the_best_is_kept_whatever_follows():
    stopping, said = watched([0.5, math.nan, 0.8, 0.8, None, 0.7, math.inf])
    assert (stopping.best_round, stopping.best_value, stopping.improved) == (3, 0.8, False)
    assert np.array_equal(stopping.best_weights["w"], weights(3)["w"])
    assert said == [None] * 7


def test_guarantee_1_of_stopping_nothing_measured_is_nothing_best():
    stopping, _ = watched([None, math.nan, None])
    assert (stopping.best_round, stopping.best_value, stopping.best_weights, stopping.improved) == (None,) * 3 + (
        False,
    )
    assert stopping.see(4, {"loss": 0.1}, weights(4)) is None  # another measure than the one that counts
    assert stopping.best_round is None


def test_of_losses_the_lowest_is_best():
    stopping, said = watched([0.9, 0.4, 0.6, math.nan], select=Measure.LOSS, target=0.3)
    assert (stopping.best_round, stopping.best_value) == (2, 0.4)
    assert said == [None] * 4
    assert "loss is 0.3: evaluation.target, 0.3, is reached" in watched([0.3], stopping, start=5)[1]


def test_improved_speaks_of_the_round_that_was_seen_last():
    stopping = Stopping(EvaluationJob())
    rounds = [0.5, 0.4, 0.6, None, 0.7]
    improved = []
    for number, value in enumerate(rounds, 1):
        stopping.see(number, {"accuracy": value}, weights(number))
        improved.append(stopping.improved)
    assert improved == [True, False, True, False, True]


def test_the_best_model_is_a_copy():
    stopping, moving = Stopping(EvaluationJob()), weights(1)
    stopping.see(1, {"accuracy": 0.5}, moving)
    moving["w"][:] = 9
    assert np.array_equal(stopping.best_weights["w"], weights(1)["w"])


def test_guarantee_2_of_stopping_patience_counts_measured_rounds_in_a_row():
    _, said = watched([0.5, 0.4, None, 0.6, 0.6, None, None, math.nan, 0.1], patience=3)
    assert [number for number, why in enumerate(said, 1) if why] == [9]
    assert said[-1] == (
        "3 evaluations in a row brought no better accuracy (best: 0.6, in round 4): that is evaluation.patience"
    )


def test_patience_ends_where_nothing_is_ever_a_number():
    _, said = watched([math.nan, math.nan], patience=2)
    assert said == [None, "2 evaluations in a row brought no better accuracy: that is evaluation.patience"]


def test_less_than_min_delta_wears_patience_down_but_the_best_model_is_still_kept():
    stopping, said = watched([0.5, 0.55, 0.58, 0.61], patience=3, min_delta=0.1)
    assert said == [None] * 4  # 0.61 is better than 0.5 by more than 0.1, though no step was
    _, said = watched([0.62, 0.63, 0.64], stopping, start=5)
    assert [bool(why) for why in said] == [False, False, True]
    assert "by more than 0.1" in said[-1]
    assert stopping.best_round == 7


def test_a_target_is_reached_by_equalling_it():
    _, said = watched([0.9, 0.949, None, math.nan, 0.95], target=0.95)
    assert said == [None] * 4 + ["accuracy is 0.95: evaluation.target, 0.95, is reached"]


def test_guarantee_3_of_stopping_a_restored_one_goes_on_as_the_other_would_have():
    keys = {"patience": 3, "min_delta": 0.02}
    values = [0.5, 0.6, 0.61, None, 0.6, math.nan, 0.9]
    for cut in range(len(values) + 1):
        whole, said = watched(values, **keys)
        first, before = watched(values[:cut], **keys)
        second = Stopping(EvaluationJob(**keys))
        second.restore(json.loads(json.dumps(first.state(), allow_nan=False)), first.best_weights)
        assert not second.improved
        second, after = watched(values[cut:], second, start=cut + 1)
        assert before + after == said
        assert second.state() == whole.state()
        assert np.array_equal(second.best_weights["w"], whole.best_weights["w"])


# Both


def test_a_measure_is_called_what_the_evaluation_of_the_clients_is_called():
    codec = EvaluationCodec(bins=10)
    decoded = codec.decode(summed(codec, FOUND))
    told = {f"federated_{name}" for name in asdict(decoded)} | {"worst_client_accuracy", "accuracy", "loss"}
    assert {measure.value for measure in Measure} <= told
    assert isinstance(decoded.worst_client_accuracy, float)


def test_nothing_of_it_imports_what_takes_an_extra():
    code = (
        "import sys\n"
        "import privfl.learning.evaluation_job, privfl.learning.federated_evaluation, privfl.learning.stopping\n"
        "print([name for name in ('torch', 'sklearn', 'opacus', 'tenseal') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"
