"""privfl's wrapper for Flower's strategies: what they make of sums, who drops out, and what is said of it."""

import copy
import logging
import os
import random
from datetime import UTC, datetime

import numpy as np
import pytest
from flower_harness import (
    CLIP,
    SHAPES,
    WEIGHT_MAX,
    Fleet,
    LocalGrid,
    answers_of,
    asks,
    contributors,
    model,
    nodes,
    of_kind,
    start_model,
    steps_of,
    with_steps,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi
from harness import identity_of
from msgspec import structs

from privfl import ServerModel, ThreatModel
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.integrations.flower import RoundRecord, SecureAggregation, carrying
from privfl.integrations.flower.messages import Answer, ClientStep, EnrolStep, StepAnswer
from privfl.integrations.flower.model import difference, layout_of, learned
from privfl.masking.messages import AdvertiseKeysRequest
from privfl.params import SessionParams
from privfl.roster import Credentials, Roster
from privfl.simulate import roster_of

EVERYBODY = {"min_train_nodes": 5, "min_evaluate_nodes": 5, "min_available_nodes": 5}


@pytest.fixture(autouse=True)
def _quick_and_in_order(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(random, "sample", lambda nodes, count: nodes[:count])  # how strategies choose nodes


def moved(result, initial, name):
    return result.arrays[name].numpy().astype(np.float64) - initial[name].numpy()


# Aggregates are those of the strategy inside.

LINEAR = {
    "FedAvg": lambda: FedAvg(**EVERYBODY),
    "FedProx": lambda: FedProx(proximal_mu=0.1, **EVERYBODY),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.5, **EVERYBODY),
    "FedAdagrad": lambda: FedAdagrad(eta=0.1, tau=0.01, **EVERYBODY),
    "FedAdam": lambda: FedAdam(eta=0.1, tau=0.01, **EVERYBODY),
    "FedYogi": lambda: FedYogi(eta=0.1, tau=0.01, **EVERYBODY),
}


@pytest.mark.parametrize("name", LINEAR)
def test_three_rounds_of_a_strategy_end_where_they_do_without_protection(tmp_path, name):
    fleet = Fleet(tmp_path)
    _, secure = fleet.start(fleet.strategy(LINEAR[name](), bits=24), rounds=3)
    clear = Fleet(tmp_path, own={i: {"mods": []} for i in range(5)})
    plain = LINEAR[name]().start(clear.grid, start_model(), num_rounds=3)
    # An optimiser's step is eta / tau times as sensitive as the mean, at most.
    bound = 3 * fleet.tolerance(fleet.ids, bits=24) * (10 if "Ada" in name or "Yogi" in name else 1)
    for array in SHAPES:
        one, other = secure.arrays[array].numpy(), plain.arrays[array].numpy()
        assert one.dtype == np.float32
        assert np.abs(one - other).max() <= bound
        assert np.abs(one - start_model()[array].numpy()).max() > 100 * bound
    for number in (1, 2, 3):
        for ours, theirs in (
            (secure.train_metrics_clientapp, plain.train_metrics_clientapp),
            (secure.evaluate_metrics_clientapp, plain.evaluate_metrics_clientapp),
        ):
            assert ours[number].keys() == theirs[number].keys()
            assert dict(ours[number]) == pytest.approx(dict(theirs[number]), abs=1e-4)
    assert all("proximal-mu" in fleet.calls[node][0].content["config"] for node in fleet.ids if name == "FedProx")


@pytest.mark.parametrize(
    ("suite", "wire"), [("masking", "packed"), ("kahe", "words"), ("kahe", "packed"), ("plain", "words")]
)
def test_the_mean_is_within_the_encodings_bound_for_every_suite(tmp_path, suite, wire):
    from privfl import ClientPolicy

    fleet = Fleet(tmp_path, mod={"policy": ClientPolicy(suites=frozenset({"masking", "kahe", "plain"}))})
    strategy, result = fleet.start(fleet.strategy(suite=suite, wire=wire), rounds=2)
    assert [record.suite for record in strategy.rounds] == [suite, "plain" if suite == "plain" else "masking"] * 2
    initial = start_model()
    for name in SHAPES:
        error = np.abs(moved(result, initial, name) - 2 * fleet.mean(name, fleet.ids)).max()
        assert error <= 2 * fleet.tolerance(fleet.ids, error_std=strategy.rounds[0].error_std)
    assert result.train_metrics_clientapp[2]["train_loss"] == pytest.approx(
        fleet.mean_of(fleet.losses, fleet.ids), abs=fleet.tolerance(fleet.ids, most=10.0)
    )
    assert result.evaluate_metrics_clientapp[2]["accuracy"] == pytest.approx(
        fleet.mean_of(fleet.accuracies, fleet.ids), abs=fleet.tolerance(fleet.ids, most=1.0, bits=24)
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_floats_keep_their_type(tmp_path, dtype):
    fleet = Fleet(tmp_path)
    initial = start_model(dtype)
    _, result = fleet.start(rounds=2, initial=initial)
    for name in SHAPES:
        assert result.arrays[name].dtype == np.dtype(dtype).name
        rounding = 2 * 4 * np.finfo(np.float16).eps if dtype is np.float16 else 0.0
        error = np.abs(moved(result, initial, name) - 2 * fleet.mean(name, fleet.ids)).max()
        assert error <= 2 * fleet.tolerance(fleet.ids) + rounding


def test_updates_of_half_precision_are_whole():
    old, new = np.array([-3.0, 0.1], np.float16), np.array([0.1, -3.0], np.float16)
    update = difference(model(w=new), {"w": old})["w"]
    assert update.dtype == np.float32
    assert (update == new.astype(np.float64) - old).all()


def test_names_may_come_back_in_another_order(tmp_path):
    fleet = Fleet(tmp_path)

    def other_way(message, context, call_next):
        reply = call_next(message, context)
        reply.content["arrays"] = ArrayRecord(dict(reversed(list(reply.content["arrays"].items()))))
        return reply

    for place, node in enumerate(fleet.ids):
        mods = fleet.mods()
        fleet.grid.apps[node] = fleet.app(place, mods=[*mods, other_way] if place % 2 else mods)
    initial = ArrayRecord(dict(reversed(list(start_model().items()))))
    _, result = fleet.start(rounds=2, initial=initial)
    assert list(result.arrays) == list(initial)
    for name in SHAPES:
        assert np.abs(moved(result, initial, name) - 2 * fleet.mean(name, fleet.ids)).max() <= 2 * fleet.tolerance(
            fleet.ids
        )


def test_arrays_without_dimensions_are_summed(tmp_path):
    fleet = Fleet(tmp_path)
    initial = ArrayRecord({**start_model(), **model(scale=np.float32(1.0))})
    _, result = fleet.start(initial=initial)
    assert result.arrays["scale"].numpy().shape == ()
    assert abs(moved(result, initial, "scale") - fleet.mean("scale", fleet.ids)) <= fleet.tolerance(fleet.ids)


def test_updates_beyond_the_clip_are_cut_by_the_node(tmp_path):
    fleet = Fleet(tmp_path, own={i: {"change": lambda name, array: array + np.float32(7)} for i in range(5)})
    initial = start_model()
    _, result = fleet.start(initial=initial)
    assert np.abs(moved(result, initial, "w") - CLIP).max() <= fleet.tolerance(fleet.ids)


class Watching(FedAvg):
    """Keeps what it is given."""

    def aggregate_train(self, server_round, replies):
        self.train = list(replies)
        return super().aggregate_train(server_round, self.train)

    def aggregate_evaluate(self, server_round, replies):
        self.evaluation = list(replies)
        return super().aggregate_evaluate(server_round, self.evaluation)


def test_the_strategy_is_given_a_reply_for_each_contributor_and_an_error_for_each_other(tmp_path, caplog):
    fleet = Fleet(tmp_path)
    watching = fleet.fedavg(Watching)
    fleet.silence(fleet.ids[1], {3})
    fleet.start(fleet.strategy(watching, linear=True))
    rest = [node for node in fleet.ids if node != fleet.ids[1]]
    total = sum(fleet.examples[node] for node in rest)
    for given, arrays in ((watching.train, True), (watching.evaluation, False)):
        good = [message for message in given if not message.has_error()]
        bad = [message for message in given if message.has_error()]
        assert sorted(message.metadata.src_node_id for message in good) == rest
        assert [message.metadata.src_node_id for message in bad] == [fleet.ids[1]]
        weights = [message.content["metrics"]["num-examples"] for message in good]
        assert len(set(weights)) == 1
        assert sum(weights) == pytest.approx(total, rel=1e-6)
        assert all(len(message.content.array_records) == arrays for message in good)
        assert len({str(dict(message.content["metrics"])) for message in good}) == 1
    assert bad[0].error.reason == "took no part in the sum"
    assert "aggregate_train: Received 4 results and 1 failures" in caplog.text


def test_keys_of_the_strategy_are_its_own(tmp_path):
    fleet = Fleet(
        tmp_path,
        own={i: {"metrics": {"n": 3.0, "train_loss": 1.0}, "evaluated": {"n": 2.0, "accuracy": 0.5}} for i in range(5)},
    )
    watching = fleet.fedavg(Watching, weighted_by_key="n", arrayrecord_key="arrays", configrecord_key="settings")
    strategy, _ = fleet.start(fleet.strategy(watching, linear=True))
    assert [record.contributors for record in strategy.rounds] == [5, 5]
    assert set(fleet.calls[fleet.ids[0]][0].content) == {"arrays", "settings"}
    assert watching.train[0].content["metrics"]["n"] == pytest.approx(3.0, rel=1e-3)


# Which strategies.

REFUSED = {
    "Krum": "compares single updates",
    "MultiKrum": "compares single updates",
    "Bulyan": "compares single updates",
    "FedMedian": "a median needs every single update",
    "FedTrimmedAvg": "trimming needs every single update",
    "QFedAvg": "its own loss",
    "FedXgbBagging": "joins trees",
    "FedXgbCyclic": "passes one node's trees on",
    "DifferentialPrivacyServerSideFixedClipping": "clips every single update at the server",
    "DifferentialPrivacyServerSideAdaptiveClipping": "clips every single update at the server",
    "DifferentialPrivacyClientSideAdaptiveClipping": "reads a bit of every single update",
    "DifferentialPrivacyClientSideFixedClipping": "exact mean of equally weighted updates",
}


def made(name):
    kind = getattr(strategies, name)
    if name.startswith("DifferentialPrivacy"):
        options = {"noise_multiplier": 1.0, "num_sampled_clients": 100}
        options |= {"clipping_norm": 1.0} if "Fixed" in name else {}
        return kind(FedAvg(), **options)
    return kind(**({"client_learning_rate": 0.1} if name == "QFedAvg" else {}))


@pytest.mark.parametrize("name", REFUSED)
def test_a_strategy_that_needs_single_updates_is_refused_with_the_reason(name):
    with pytest.raises(ConfigurationError, match=REFUSED[name]) as refused:
        SecureAggregation(made(name), clip=1.0, weight_max=10)
    assert name in str(refused.value)
    assert ("privacy=" if "Privacy" in name else "FedAvg") in str(refused.value)
    child = type("Mine", (type(made(name)),), {})
    mine = made(name)
    mine.__class__ = child
    with pytest.raises(ConfigurationError, match=f"strategy Mine .*{REFUSED[name]}"):
        SecureAggregation(mine, clip=1.0, weight_max=10)


def test_every_strategy_of_flowers_is_known_to_be_linear_or_not():
    from privfl.integrations.flower.linear import LINEAR as KNOWN

    theirs = {
        name
        for name, kind in vars(strategies).items()
        if isinstance(kind, type) and issubclass(kind, strategies.Strategy) and kind is not strategies.Strategy
    }
    assert theirs <= set(REFUSED) | set(KNOWN)
    assert set(LINEAR) <= set(KNOWN)


class Own(FedAvg):
    def aggregate_train(self, server_round, replies):
        return super().aggregate_train(server_round, replies)


class OwnEvaluation(FedAdam):
    def aggregate_evaluate(self, server_round, replies):
        return super().aggregate_evaluate(server_round, replies)


class Configures(FedAvgM):
    def configure_train(self, server_round, arrays, config, grid):
        return super().configure_train(server_round, arrays, config, grid)


class FromScratch(strategies.Strategy):
    def configure_train(self, server_round, arrays, config, grid):
        return []

    def aggregate_train(self, server_round, replies):
        return None, None

    configure_evaluate = configure_train

    def aggregate_evaluate(self, server_round, replies):
        return None

    def summary(self):
        pass


def own_metrics(contents, weighted_by):
    return MetricRecord({"best": max(content["metrics"]["train_loss"] for content in contents)})


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (Own(), "Own has a aggregate_train of its own"),
        (OwnEvaluation(), "OwnEvaluation has a aggregate_evaluate of its own"),
        (FedAvg(train_metrics_aggr_fn=own_metrics), "train_metrics_aggr_fn of strategy FedAvg"),
        (FedAdam(evaluate_metrics_aggr_fn=own_metrics), "evaluate_metrics_aggr_fn of strategy FedAdam"),
        (FromScratch(), "FromScratch is not known to see nothing"),
    ],
)
def test_what_might_need_single_replies_is_refused_unless_vouched_for(strategy, why):
    with pytest.raises(ConfigurationError, match=why) as refused:
        SecureAggregation(strategy, clip=1.0, weight_max=10)
    assert "linear=True" in str(refused.value)
    SecureAggregation(strategy, clip=1.0, weight_max=10, linear=True)


def test_a_strategy_that_only_configures_otherwise_is_accepted():
    SecureAggregation(Configures(), clip=1.0, weight_max=10)


def test_a_strategy_vouched_for_sees_means(tmp_path):
    fleet = Fleet(tmp_path)
    _, result = fleet.start(fleet.strategy(fleet.fedavg(train_metrics_aggr_fn=own_metrics), linear=True))
    want = fleet.mean_of(fleet.losses, fleet.ids)
    assert result.train_metrics_clientapp[1]["best"] == pytest.approx(want, abs=0.01)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"clip": 0.0}, "encoding.clip"),
        ({"clip": float("nan")}, "encoding.clip"),
        ({"bits": 1}, "encoding.bits"),
        ({"bits": 25}, "encoding.bits"),
        ({"weight_max": 0}, "weight_max"),
        ({"metrics": {"loss": 0.0}}, "the maximum of metric 'loss'"),
        ({"metrics": {"num-examples": 5.0}}, "hold the weight"),
        ({"evaluate_metrics": {"loss": float("inf")}}, "the maximum of metric 'loss'"),
        ({"suite": "secagg"}, "secagg"),
        ({"wire": "smoke"}, "smoke"),
        ({"phase_timeout": 0.0}, "phase_timeout is 0.0"),
        ({"phase_timeout": float("nan")}, "phase_timeout is nan"),
        ({"train_timeout": float("inf")}, "train_timeout is inf"),
        ({"threat": ThreatModel(server=ServerModel.ACTIVE)}, "needs a roster"),
    ],
)
def test_settings_that_do_not_work_are_refused_at_once(options, why):
    with pytest.raises(ConfigurationError, match=why):
        SecureAggregation(FedAvg(), **({"clip": 1.0, "weight_max": 10} | options))


class Different(FedAvg):
    """Shows every node something of its own."""

    def configure_train(self, server_round, arrays, config, grid):
        messages = super().configure_train(server_round, arrays, config, grid)
        return [
            Message(
                RecordDict({**message.content, "config": ConfigRecord({"part": i})}),
                message.metadata.dst_node_id,
                "train",
            )
            for i, message in enumerate(messages)
        ]


class TwoModels(FedAvg):
    def configure_train(self, server_round, arrays, config, grid):
        messages = super().configure_train(server_round, arrays, config, grid)
        for message in messages:
            message.content["control"] = arrays
        return messages


@pytest.mark.parametrize(
    ("kind", "why"), [(Different, "different records to different nodes"), (TwoModels, "exactly one")]
)
def test_messages_that_no_sum_can_serve_are_refused(tmp_path, kind, why):
    fleet = Fleet(tmp_path)
    with pytest.raises(ConfigurationError, match=why):
        fleet.start(fleet.strategy(fleet.fedavg(kind)))


@pytest.mark.parametrize("arrays", [{"steps": np.arange(3)}, {"weight": np.empty((0, 3), np.float32)}])
def test_a_model_with_nothing_to_learn_is_refused(tmp_path, arrays):
    fleet = Fleet(tmp_path)
    with pytest.raises(ConfigurationError, match="nothing to learn"):
        fleet.start(initial=model(**arrays))


def test_the_server_knows_a_models_layout_without_reading_its_arrays():
    weights = {"b": np.float32(2), "a": np.zeros((3, 2)), "steps": np.arange(3), "half": np.ones(5, np.float16)}
    record = model(**weights)
    assert layout_of(record) == Layout.of(learned(record))
    assert layout_of(record).entries == (("a", (3, 2)), ("b", ()), ("half", (5,)))


def test_too_few_nodes_are_an_error_that_names_the_knob(tmp_path):
    fleet = Fleet(tmp_path, 2)
    with pytest.raises(ConfigurationError, match=r"cohort|corrupt|minimum"):
        fleet.start()


# Who drops out, when, and who comes back.

FAILS_IN = {
    # exchange: sums of two rounds that a node, silent in that exchange alone, is missing from
    1: {("train", 1)},
    2: {("train", 1)},
    3: {("train", 1), ("evaluate", 1), ("train", 2)},
    4: {("evaluate", 1), ("train", 2)},
    5: {("evaluate", 1)},
    6: set(),
    7: {("train", 2), ("evaluate", 2)},
    8: {("evaluate", 2)},
    9: {("evaluate", 2)},
    10: set(),
}
"""1 AdvertiseKeys, 2 ShareKeys, 3 training (and AdvertiseKeys of the next two sums), 4 Unmask (and ShareKeys of them),
5 evaluation, 6 its Unmask; 7 … 10 likewise, without the keys of a third round."""
SUMS = [("train", 1), ("evaluate", 1), ("train", 2), ("evaluate", 2)]


def check_sums(fleet, strategy, result, missing, node):
    """Every sum is that of the nodes that are not missing from it."""
    rest = [one for one in fleet.ids if one != node]
    assert [(record.kind, record.round) for record in strategy.rounds] == SUMS
    step = dict.fromkeys(SHAPES, 0.0)
    for record in strategy.rounds:
        there = rest if (record.kind, record.round) in missing else fleet.ids
        assert contributors(record) == there, (record.kind, record.round)
        assert record.contributors == len(there)
        if record.kind == "train":
            step = {name: step[name] + fleet.mean(name, there) for name in SHAPES}
            got, want = result.train_metrics_clientapp[record.round]["train_loss"], fleet.mean_of(fleet.losses, there)
        else:
            got, want = (
                result.evaluate_metrics_clientapp[record.round]["accuracy"],
                fleet.mean_of(fleet.accuracies, there),
            )
        assert got == pytest.approx(want, abs=0.01)
    initial = start_model()
    for name in SHAPES:
        assert np.abs(moved(result, initial, name) - step[name]).max() <= 2 * fleet.tolerance(rest)


@pytest.mark.parametrize("exchange", FAILS_IN)
def test_a_node_that_is_silent_once_is_missing_from_few_sums_and_comes_back(tmp_path, exchange):
    fleet, node = Fleet(tmp_path), 2
    fleet.silence(fleet.ids[node], {exchange})
    strategy, result = fleet.start(rounds=2)
    assert fleet.grid.exchanges == 10
    check_sums(fleet, strategy, result, FAILS_IN[exchange], fleet.ids[node])


@pytest.mark.parametrize("exchange", [1, 2, 3, 4, 6, 8])
def test_a_node_that_is_gone_for_good_stops_nobody(tmp_path, exchange):
    fleet, node = Fleet(tmp_path), 4
    fleet.silence(fleet.ids[node], range(exchange, 100))
    strategy, result = fleet.start(rounds=2)
    missing = set().union(*(sums for number, sums in FAILS_IN.items() if number >= exchange))
    if exchange <= 6:
        missing |= {("train", 2), ("evaluate", 2)}
    check_sums(fleet, strategy, result, missing, fleet.ids[node])


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_a_node_that_was_away_takes_part_again(tmp_path, suite):
    fleet = Fleet(tmp_path)
    fleet.silence(fleet.ids[0], range(3, 7))
    strategy, _ = fleet.start(fleet.strategy(suite=suite), rounds=4)
    assert [len(contributors(record)) for record in of_kind(strategy, "train")] == [4, 4, 5, 5]
    assert [len(contributors(record)) for record in of_kind(strategy, "evaluate")] == [4, 5, 5, 5]


def test_with_too_few_left_nothing_is_released_and_the_next_round_goes_on(tmp_path, caplog):
    fleet = Fleet(tmp_path)
    fleet.grid.silent = lambda node, message: node in fleet.ids[:3] and fleet.grid.exchanges == 3
    watching = fleet.fedavg(Watching, fraction_evaluate=0.0)
    strategy, result = fleet.start(fleet.strategy(watching, linear=True), rounds=2)
    first, second = strategy.rounds
    assert first.aborted
    assert first.contributors == 0
    assert not second.aborted
    assert second.contributors == 5
    assert "releases nothing in round 1 (train)" in caplog.text
    assert 1 not in result.train_metrics_clientapp
    initial = start_model()
    assert np.abs(moved(result, initial, "w") - fleet.mean("w", fleet.ids)).max() <= fleet.tolerance(fleet.ids)


def test_a_round_that_nobody_answers_gives_the_strategy_errors_alone(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.grid.silent = lambda node, message: True
    watching = fleet.fedavg(Watching, fraction_evaluate=0.0)
    strategy, result = fleet.start(fleet.strategy(watching, linear=True))
    assert strategy.rounds[0].aborted
    assert [message.has_error() for message in watching.train] == [True] * 5
    assert not result.arrays


# Nodes that answer what is not as agreed.


def answer(reply_to, body=None, signature=b"", more=None):
    content = RecordDict({"privfl": ConfigRecord({"body": body, "signature": signature})} if body is not None else {})
    for name, record in (more or {}).items():
        content[name] = record
    return Message(content, reply_to=reply_to)


def said(message, steps):
    content = RecordDict()
    carrying.put(content, Answer(steps=tuple(steps)), {})
    return Message(content, reply_to=message)


def bent(change):
    """A liar that changes the first response of its answer."""

    def lie(message, reply):
        if reply.has_error():
            return reply
        (first, why), *rest = answers_of(reply)
        steps = [StepAnswer(response=change(first), why=why)]
        return said(message, [*steps, *(StepAnswer(response=response, why=why) for response, why in rest)])

    return lie


def array(name, stype="privfl.v1", data=b"x" * 10):
    return {"privfl-arrays": ArrayRecord({name: Array(dtype="uint8", shape=(len(data),), stype=stype, data=data)})}


def body_of(message, reply):
    return reply.content["privfl"]["body"]


def msgpack_longer(body):
    """The same struct with a length written in more bytes than it takes."""
    assert body[:1] == b"\x91"
    return b"\xdc\x00\x01" + body[1:]


def huge(message, reply):
    steps = [StepAnswer()] * len(answers_of(reply))
    content = RecordDict()
    carrying.put(content, Answer(steps=tuple(steps)), {0: b"z" * 10_000_000})
    return Message(content, reply_to=message)


LIES = {
    "an error": lambda message, reply: Message(Error(2, "boom"), reply_to=message),
    "nothing": lambda message, reply: None,
    "no records": lambda message, reply: answer(message),
    "no mod": lambda message, reply: answer(
        message, more={"arrays": start_model(), "metrics": MetricRecord({"num-examples": 1})}
    ),
    "an empty body": lambda message, reply: answer(message, b""),
    "another body": lambda message, reply: answer(message, b"\x91\x90"),
    "no struct": lambda message, reply: answer(message, b"\xc1" * 100),
    "deep nesting": lambda message, reply: answer(message, b"\x91" * 100_000),
    "half a body": lambda message, reply: answer(message, body_of(message, reply)[:-7]),
    "a longer body": lambda message, reply: answer(message, body_of(message, reply) + b"\x00"),
    "another type of body": lambda message, reply: Message(
        RecordDict({"privfl": ConfigRecord({"body": 7, "signature": b""})}), reply_to=message
    ),
    "another type of record": lambda message, reply: Message(
        RecordDict({"privfl": MetricRecord({"body": 7, "signature": 1.0})}), reply_to=message
    ),
    "more keys": lambda message, reply: Message(
        RecordDict({"privfl": ConfigRecord({"body": b"", "signature": b"", "more": 1})}), reply_to=message
    ),
    "another encoding": lambda message, reply: answer(message, msgpack_longer(body_of(message, reply))),
    "no steps": lambda message, reply: said(message, []),
    "eight steps": lambda message, reply: said(message, [StepAnswer(response=b"x")] * 8),
    "a hundred steps": lambda message, reply: answer(message, b"\x91\xdc\x00\x64" + b"\x92\xc4\x00\xa0" * 100),
    "a reason": lambda message, reply: said(message, [StepAnswer(why="I won't")] * len(answers_of(reply))),
    "an empty answer": lambda message, reply: said(message, [StepAnswer()] * len(answers_of(reply))),
    "an array too many": lambda message, reply: answer(message, body_of(message, reply), more=array("0")),
    "an array of no step": lambda message, reply: answer(message, body_of(message, reply), more=array("7")),
    "an array called so": lambda message, reply: answer(message, body_of(message, reply), more=array("9" * 5000)),
    "an array of numpy's": lambda message, reply: answer(
        message, body_of(message, reply), more=array("0", stype="numpy.ndarray")
    ),
    "arrays alone": lambda message, reply: answer(message, more=array("0")),
    "records for arrays": lambda message, reply: answer(
        message, body_of(message, reply), more={"privfl-arrays": ConfigRecord({"0": b"x"})}
    ),
    "ten megabytes": huge,
    "a short response": bent(lambda response: response[:-1]),
    "a long response": bent(lambda response: response + bytes(16)),
    "a header alone": bent(lambda response: response[:48]),
    "another header": bent(lambda response: b"XXXX" + response[4:]),
    "another suite": bent(lambda response: response[:5] + b"\x04" + response[6:]),
    "another message": bent(lambda response: response[:6] + b"\x7f" + response[7:]),
    "another sender": bent(lambda response: response[:8] + b"\x63" + response[9:]),
    "another session": bent(lambda response: response[:12] + bytes(32) + response[44:]),
}


FEW = ("an error", "no mod", "half a body", "an array called so", "a short response", "another session")
"""For phases whose answers are read by the same code."""


@pytest.mark.parametrize(
    ("lie", "exchange"), [(lie, 3) for lie in LIES] + [(lie, 1) for lie in FEW] + [(lie, 4) for lie in FEW]
)
def test_a_node_that_answers_garbage_harms_nobody_else(tmp_path, lie, exchange):
    fleet, liar = Fleet(tmp_path), 3
    node = fleet.ids[liar]

    def arrives(one, message, reply):
        wrong = one == node and fleet.grid.exchanges == exchange
        return LIES[lie](message, reply) if wrong else reply

    fleet.grid.lie = arrives
    strategy, result = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    rest = [one for one in fleet.ids if one != node]
    record = strategy.rounds[0]
    there = fleet.ids if exchange == 4 else rest
    assert contributors(record) == there
    initial = start_model()
    for name in SHAPES:
        assert np.abs(moved(result, initial, name) - fleet.mean(name, there)).max() <= fleet.tolerance(there)
    if lie not in {"an error", "nothing"}:
        assert record.refusals[node]
        assert record.refusals.keys() == {node}


@pytest.mark.parametrize("lie", ["an error", "no mod", "half a body", "a short response", "a hundred steps"])
def test_garbage_of_a_member_of_several_sums_costs_it_its_place_alone(tmp_path, lie):
    fleet, node = Fleet(tmp_path), 1
    fleet.grid.lie = lambda one, message, reply: (
        LIES[lie](message, reply) if one == fleet.ids[node] and fleet.grid.exchanges in {3, 7} else reply
    )
    strategy, _ = fleet.start(rounds=2)
    assert all(set(contributors(record)) >= set(fleet.ids) - {fleet.ids[node]} for record in strategy.rounds)
    assert not any(record.aborted for record in strategy.rounds)
    assert {record.contributors for record in of_kind(strategy, "train")} == {4}


def test_a_node_without_the_mod_is_left_out(tmp_path):
    fleet = Fleet(tmp_path, own={0: {"mods": []}})
    strategy, _ = fleet.start(rounds=2)
    assert all(contributors(record) == fleet.ids[1:] for record in strategy.rounds)


def test_a_reply_of_a_node_that_was_not_asked_is_ignored(tmp_path):
    fleet = Fleet(tmp_path)
    strategy = fleet.strategy(fleet.fedavg(fraction_evaluate=0.0))
    messages = list(strategy.configure_train(1, start_model(), ConfigRecord(), fleet.grid))
    replies = list(fleet.grid.send_and_receive(messages))
    stranger = copy.deepcopy(replies[0])
    stranger.metadata.__dict__["_src_node_id"] = 4711
    arrays, _ = strategy.aggregate_train(1, [*replies, replies[0], stranger])
    assert strategy.rounds[0].contributors == 5
    after = arrays["w"].numpy() - start_model()["w"].numpy()
    assert np.abs(after - fleet.mean("w", fleet.ids)).max() <= fleet.tolerance(fleet.ids)


# How many exchanges, and when keys are made.


@pytest.mark.parametrize(
    ("evaluates", "rounds", "exchanges"), [(1.0, 1, 6), (1.0, 3, 6 + 4 + 4), (0.0, 1, 4), (0.0, 3, 4 + 2 + 2)]
)
@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_a_round_takes_few_exchanges(tmp_path, suite, evaluates, rounds, exchanges):
    fleet = Fleet(tmp_path)
    fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=evaluates), suite=suite), rounds=rounds)
    assert fleet.grid.exchanges == exchanges


def sessions_begun(fleet):
    """Vectors of the sessions that were begun, in order: (exchange, length) of each."""
    nonces = {}
    for message in fleet.grid.sent:
        for step in steps_of(message):
            if isinstance(step, ClientStep) and step.params:
                nonces.setdefault(step.session, SessionParams.from_bytes(step.params))
    return list(nonces.values())


def test_in_the_last_round_no_keys_are_made_for_another(tmp_path):
    fleet = Fleet(tmp_path)
    strategy, _ = fleet.start(rounds=3)
    assert len(sessions_begun(fleet)) == 6 == len(strategy.rounds)
    assert sum(asks(step, AdvertiseKeysRequest) for message in fleet.grid.sent for step in steps_of(message)) == 30


def test_where_the_number_of_rounds_is_not_known_keys_are_made_ahead(tmp_path):
    fleet = Fleet(tmp_path)
    strategy = fleet.strategy(fleet.fedavg(fraction_evaluate=0.0))
    arrays = start_model()
    for number in (1, 2):
        messages = strategy.configure_train(number, arrays, ConfigRecord(), fleet.grid)
        arrays, _ = strategy.aggregate_train(number, fleet.grid.send_and_receive(messages))
    assert len(sessions_begun(fleet)) == 3
    assert fleet.grid.exchanges == 6


# Cohorts that change.


def test_a_node_that_is_new_joins_at_once_and_one_that_left_is_not_waited_for(tmp_path):
    fleet = Fleet(tmp_path, 7)
    everybody = dict(fleet.grid.apps)
    inner = FedAvg(min_train_nodes=5, min_evaluate_nodes=5, min_available_nodes=5)
    strategy = fleet.strategy(inner)
    there = [fleet.ids[:5], fleet.ids[:6], fleet.ids[1:6], fleet.ids[1:]]
    arrays = start_model()
    for number, ids in enumerate(there, 1):
        fleet.grid.apps = {node: everybody[node] for node in ids}
        before = arrays
        messages = strategy.configure_train(number, arrays, ConfigRecord(), fleet.grid)
        arrays, _ = strategy.aggregate_train(number, fleet.grid.send_and_receive(messages))
        messages = strategy.configure_evaluate(number, arrays, ConfigRecord(), fleet.grid)
        metrics = strategy.aggregate_evaluate(number, fleet.grid.send_and_receive(messages))
        step = arrays["w"].numpy() - before["w"].numpy()
        assert contributors(strategy.rounds[-2]) == contributors(strategy.rounds[-1]) == ids
        assert np.abs(step - fleet.mean("w", ids)).max() <= fleet.tolerance(ids)
        assert metrics["accuracy"] == pytest.approx(fleet.mean_of(fleet.accuracies, ids), abs=1e-3)


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_samples_of_nodes_are_summed_as_well(tmp_path, suite, monkeypatch):
    chance = np.random.default_rng(5)
    monkeypatch.setattr(random, "sample", lambda nodes, count: chance.permutation(nodes)[:count].tolist())
    fleet = Fleet(tmp_path, 8)
    inner = FedAvg(
        fraction_train=0.5, fraction_evaluate=0.6, min_train_nodes=4, min_evaluate_nodes=4, min_available_nodes=8
    )
    strategy, result = fleet.start(fleet.strategy(inner, suite=suite), rounds=4)
    initial = start_model()
    want = dict.fromkeys(SHAPES, 0.0)
    for record in of_kind(strategy, "train"):
        assert len(contributors(record)) == len(record.cohort) == 4
        want = {name: want[name] + fleet.mean(name, contributors(record)) for name in SHAPES}
    assert len({record.cohort for record in of_kind(strategy, "train")}) > 1
    for name in SHAPES:
        bound = sum(fleet.tolerance(contributors(record)) for record in of_kind(strategy, "train"))
        assert np.abs(moved(result, initial, name) - want[name]).max() <= bound
    for record in of_kind(strategy, "evaluate"):
        got = result.evaluate_metrics_clientapp[record.round]["accuracy"]
        assert got == pytest.approx(fleet.mean_of(fleet.accuracies, contributors(record)), abs=1e-3)


def test_a_model_that_changes_its_shape_is_summed_with_new_keys(tmp_path):
    fleet = Fleet(tmp_path)
    strategy = fleet.strategy(fleet.fedavg(fraction_evaluate=0.0))
    for number, arrays in enumerate((start_model(), model(b=np.zeros(3, np.float32))), 1):
        messages = strategy.configure_train(number, arrays, ConfigRecord(), fleet.grid)
        summed, _ = strategy.aggregate_train(number, fleet.grid.send_and_receive(messages))
        step = summed["b"].numpy() - arrays["b"].numpy()
        assert np.abs(step - fleet.mean("b", fleet.ids)).max() <= fleet.tolerance(fleet.ids)


# Deadlines.


def test_deadlines_reach_the_messages(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.start(fleet.strategy(phase_timeout=11.0, train_timeout=222.0), timeout=333.0)
    longest = [2, 4]  # of six exchanges, those in which apps work
    for exchange, timeout in enumerate(fleet.grid.timeouts):
        sent = fleet.grid.sent[5 * exchange : 5 * exchange + 5]
        assert {message.metadata.ttl for message in sent} == {222.0 if exchange in longest else 11.0}
        assert timeout == (333.0 if exchange in longest else 11.0)


def test_messages_are_of_the_type_that_the_strategy_sends(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.start(rounds=1)
    kinds = [message.metadata.message_type for message in fleet.grid.sent]
    assert kinds == ["train"] * 20 + ["evaluate"] * 10


# What is said of a round.


def test_a_record_says_it_all(tmp_path):
    fleet = Fleet(tmp_path)
    # In round 2: a node that fails while training, and one whose app replies rubbish.
    fleet.silence(fleet.ids[0], {7})
    fleet.grid.lie = lambda node, message, reply: (
        Message(Error(2, "boom"), reply_to=message) if node == fleet.ids[1] and fleet.grid.exchanges == 8 else reply
    )
    strategy, _ = fleet.start(fleet.strategy(minimum_contributors=3), rounds=2)
    first, evaluation, second, last = strategy.rounds
    assert [(record.round, record.kind, record.suite) for record in strategy.rounds] == [
        (1, "train", "masking"),
        (1, "evaluate", "masking"),
        (2, "train", "masking"),
        (2, "evaluate", "masking"),
    ]
    assert all(record.cohort == tuple(fleet.ids) for record in strategy.rounds)
    assert (first.contributors, first.dropped, first.aborted, first.refusals) == (5, (), None, {})
    assert (evaluation.contributors, evaluation.dropped) == (5, ())
    assert (second.contributors, second.dropped) == (4, (fleet.ids[0],))
    assert (last.contributors, last.dropped) == (3, tuple(fleet.ids[:2]))
    for record in strategy.rounds:
        assert list(record.seconds) == ["AdvertiseKeys", "ShareKeys", "MaskedInput", "Unmask"]
        assert all(0 < seconds < 60 for seconds in record.seconds.values())
        assert record.error_std == 0.0
    said = second.to_json()
    assert said["cohort"] == [str(node) for node in fleet.ids]
    assert said["dropped"] == [str(fleet.ids[0])]
    assert set(said) == set(RoundRecord.__slots__)


def test_bytes_of_a_record_are_those_of_the_protocol(tmp_path):
    fleet = Fleet(tmp_path)
    strategy, _ = fleet.start(rounds=2)
    uploads, downloads = {}, {}
    asked = {}
    for message in fleet.grid.sent:
        for step in steps_of(message):
            downloads[step.session] = downloads.get(step.session, 0) + len(step.request)
        asked.setdefault(message.metadata.dst_node_id, []).append(steps_of(message))
    replied = {}
    for reply in fleet.grid.seen:
        replied.setdefault(reply.metadata.src_node_id, []).append(answers_of(reply))
    for node in fleet.ids:
        for steps, answers in zip(asked[node], replied[node], strict=True):
            for step, (response, _) in zip(steps, answers, strict=True):
                uploads[step.session] = uploads.get(step.session, 0) + len(response)
    # In the order in which sessions begin: training, then what is prepared with it.
    order = [of_kind(strategy, "train")[0], of_kind(strategy, "train")[1], *of_kind(strategy, "evaluate")]
    assert [uploads[session] for session in uploads] == [record.upload_bytes for record in order]
    assert [downloads[session] for session in downloads] == [record.download_bytes for record in order]


def test_the_settings_are_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO, "flwr")
    Fleet(tmp_path).strategy().summary()
    assert "Suite masking" in caplog.text
    assert "train: 16 bits, metrics in the sum: train_loss" in caplog.text
    assert "evaluate: 24 bits, metrics in the sum: accuracy" in caplog.text
    assert f"Clip {CLIP}, largest weight {WEIGHT_MAX:.1f}" in caplog.text
    assert "Sampling" in caplog.text


# A server that may lie.

ACTIVE = ThreatModel(server=ServerModel.ACTIVE, corrupt=0.1, dropout=0.1)
ROSTER = roster_of({number: identity_of(number) for number in range(9)})


def enrolled(home, count=6, *, numbers=None, **told):
    """Nodes with identities of their own, whose numbers are not in the order of their ids."""
    fleet = Fleet(home, count)
    fleet.numbers = dict(zip(fleet.ids, numbers or [(7 * i + 3) % 9 for i in range(count)], strict=True))
    for place, node in enumerate(fleet.ids):
        credentials = Credentials(identity_of(fleet.numbers[node]), ROSTER)
        fleet.grid.apps[node] = fleet.app(place, mods=fleet.mods(credentials=credentials), **told)
    return fleet


def active(fleet, inner=None, **options):
    return fleet.strategy(inner, threat=ACTIVE, roster=ROSTER, **options)


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_against_a_server_that_may_lie_nodes_enrol_once_and_a_round_takes_one_exchange_more(tmp_path, suite):
    fleet = enrolled(tmp_path)
    strategy, result = fleet.start(active(fleet, suite=suite), rounds=3)
    assert [record.contributors for record in strategy.rounds] == [6] * 6
    assert fleet.grid.exchanges == 1 + (4 + 1 + 2 + 1) + 2 * (2 + 1 + 2 + 1)
    assert list(strategy.rounds[0].seconds) == [
        "AdvertiseKeys",
        "ShareKeys",
        "MaskedInput",
        "ConsistencyCheck",
        "Unmask",
    ]
    initial = start_model()
    for name in SHAPES:
        error = np.abs(moved(result, initial, name) - 3 * fleet.mean(name, fleet.ids)).max()
        assert error <= 3 * fleet.tolerance(fleet.ids)
    params = sessions_begun(fleet)[0]
    assert params.cohort == tuple(sorted(fleet.numbers.values()))
    assert params.roster_digest == ROSTER.digest


def test_a_node_without_identity_is_left_out(tmp_path, caplog):
    fleet = enrolled(tmp_path)
    fleet.grid.apps[fleet.ids[0]] = fleet.app(0)
    strategy, _ = fleet.start(active(fleet))
    assert all(contributors(record) == fleet.ids[1:] for record in strategy.rounds)
    assert "this node has no identity" in caplog.text
    assert "is left out, because it did not prove who it is" in caplog.text


def test_a_node_that_is_not_on_the_roster_is_left_out(tmp_path, caplog):
    fleet = enrolled(tmp_path)
    own = roster_of({number: identity_of(number) for number in (50, 51, 52)})
    fleet.grid.apps[fleet.ids[0]] = fleet.app(0, mods=fleet.mods(credentials=Credentials(identity_of(51), own)))
    fleet.grid.apps[fleet.ids[1]] = fleet.app(1, mods=fleet.mods(credentials=Credentials(identity_of(60), ROSTER)))
    strategy, _ = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
    assert contributors(strategy.rounds[0]) == fleet.ids[2:]
    assert "number 51 is not on the roster" in caplog.text
    assert "this node's identity is not on its roster" in caplog.text


def test_a_strategy_and_a_node_whose_rosters_have_expired_are_told_so(tmp_path, caplog, monkeypatch):
    end = datetime(2030, 1, 1, tzinfo=UTC)
    short = Roster(ROSTER.identities, expires=end)
    fleet = enrolled(tmp_path)
    fleet.grid.apps[fleet.ids[0]] = fleet.app(0, mods=fleet.mods(credentials=Credentials(identity_of(3), short)))
    strategy = active(fleet, fleet.fedavg(fraction_evaluate=0.0))
    monkeypatch.setattr("privfl.roster._now", lambda: end)
    fleet.start(strategy)
    assert contributors(strategy.rounds[0]) == fleet.ids[1:]
    assert "the roster expired at 2030-01-01" in caplog.text
    for options in ({"roster": short}, {"roster": ROSTER, "committee_roster": short}):
        with pytest.raises(ConfigurationError, match="the roster expired at 2030-01-01"):
            fleet.strategy(threat=ACTIVE, **options)


def test_of_two_nodes_with_one_identity_one_is_left_out(tmp_path, caplog):
    fleet = enrolled(tmp_path, numbers=[5, 5, 1, 2, 3, 4])
    strategy, _ = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
    there = contributors(strategy.rounds[0])
    assert len(there) == 5
    assert set(there) >= set(fleet.ids[2:])
    assert "number 5 is another node's" in caplog.text


def forged_enrolment(change):
    """What an impostor makes of its honest enrolment."""
    from privfl.integrations.flower.messages import Enrolment, decode, encode

    def lie(message, reply):
        ((response, _),) = answers_of(reply)
        enrolment = change(decode(response, Enrolment))
        return said(message, [StepAnswer(response=encode(enrolment))])

    return lie


@pytest.mark.parametrize(
    "change",
    [
        lambda enrolment: structs.replace(enrolment, number=1),
        lambda enrolment: structs.replace(enrolment, signature=bytes(64)),
        lambda enrolment: structs.replace(enrolment, number=77),
    ],
)
def test_an_impostor_takes_nobodys_place(tmp_path, change):
    fleet = enrolled(tmp_path, numbers=[0, 1, 2, 3, 4, 5])
    liar = fleet.ids[0]
    fleet.grid.lie = lambda node, message, reply: (
        forged_enrolment(change)(message, reply) if node == liar and fleet.grid.exchanges == 1 else reply
    )
    strategy, _ = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
    assert contributors(strategy.rounds[0]) == fleet.ids[1:]


@pytest.mark.parametrize("what", ["node", "run", "challenge"])
def test_an_enrolment_is_for_one_node_one_run_and_one_challenge(tmp_path, what):
    """What somebody else proved earlier, or to another server, proves nothing."""
    fleet = enrolled(tmp_path, numbers=[0, 1, 2, 3, 4, 5])
    victim, liar = fleet.ids[1], fleet.ids[0]

    def lie(node, message, reply):
        if node != liar or fleet.grid.exchanges != 1:
            return reply
        context = copy.deepcopy(fleet.grid.contexts[victim])
        context.node_id = liar if what != "node" else victim
        context.run_id += what == "run"
        if what == "challenge":
            message = with_steps(message, [EnrolStep(challenge=bytes(32))])
        stolen = fleet.grid.apps[victim](message, context)
        return said(message, [StepAnswer(response=answers_of(stolen)[0][0])])

    fleet.grid.lie = lie
    strategy, _ = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
    assert contributors(strategy.rounds[0]) == fleet.ids[1:]


def test_nodes_with_an_identity_refuse_sessions_without_signatures(tmp_path):
    fleet = enrolled(tmp_path)
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert strategy.rounds[0].aborted
    assert len(strategy.rounds[0].refusals) == 6
    assert all("not allowed by this client" in why for why in strategy.rounds[0].refusals.values())


def test_a_new_node_enrols_when_it_comes(tmp_path):
    fleet = enrolled(tmp_path, 7)
    everybody = dict(fleet.grid.apps)
    strategy = active(fleet, FedAvg(min_train_nodes=6, min_available_nodes=6, fraction_evaluate=0.0))
    arrays = start_model()
    for number, count in enumerate((6, 7, 7), 1):
        fleet.grid.apps = {node: everybody[node] for node in fleet.ids[:count]}
        messages = strategy.configure_train(number, arrays, ConfigRecord(), fleet.grid)
        arrays, _ = strategy.aggregate_train(number, fleet.grid.send_and_receive(messages))
        assert contributors(strategy.rounds[-1]) == fleet.ids[:count]
    enrolments = [step for message in fleet.grid.sent for step in steps_of(message) if isinstance(step, EnrolStep)]
    assert len(enrolments) == 7


def test_a_server_that_shows_nodes_different_models_finds_no_quorum(tmp_path):
    """In the active model: nobody unmasks a sum of which not all were shown the same."""
    fleet = enrolled(tmp_path)

    def forge(node, message):
        if node in fleet.ids[:3] and fleet.grid.exchanges == 4:
            message.content["arrays"] = ArrayRecord({**message.content["arrays"], **model(b=np.zeros(3, np.float32))})
        return message

    fleet.grid.forge = forge
    strategy, result = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
    assert strategy.rounds[0].aborted
    assert not result.arrays


def test_one_of_six_may_fail_while_the_server_is_watched(tmp_path):
    for exchange in (4, 5, 6):
        fleet = enrolled(tmp_path / str(exchange))
        fleet.silence(fleet.ids[2], {exchange})
        strategy, _ = fleet.start(active(fleet, fleet.fedavg(fraction_evaluate=0.0)))
        assert strategy.rounds[0].contributors == (5 if exchange == 4 else 6)


def test_a_roster_is_not_needed_without_protection():
    SecureAggregation(FedAvg(), clip=1.0, weight_max=10, suite="plain", threat=ACTIVE)


def test_a_wrapper_may_start_again(tmp_path):
    """Two runs of one wrapper: nothing of the first is left over for the second."""
    fleet = Fleet(tmp_path)
    strategy, _ = fleet.start(rounds=1)
    _, result = fleet.start(
        strategy, rounds=1, initial=model(**{name: np.ones(shape, np.float32) for name, shape in SHAPES.items()})
    )
    assert [record.contributors for record in strategy.rounds] == [5] * 4
    assert np.abs(result.arrays["w"].numpy() - 1 - fleet.mean("w", fleet.ids)).max() <= fleet.tolerance(fleet.ids)


def test_a_grid_of_other_nodes_starts_anew(tmp_path):
    one = Fleet(tmp_path)
    strategy, _ = one.start(rounds=1)
    other = Fleet(tmp_path / "other")
    other.grid = LocalGrid({node + 10_000: app for node, app in zip(nodes(5), other.grid.apps.values(), strict=True)})
    _, result = other.start(strategy, rounds=1)
    assert [record.contributors for record in strategy.rounds] == [5] * 4
    assert np.abs(moved(result, start_model(), "w") - other.mean("w", other.ids)).max() <= other.tolerance(other.ids)
