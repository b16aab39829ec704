"""Flower's deployment runtime, with processes for everybody: what comes out, who may die, and what a server is sent.

Everything is on loopback: a SuperLink, five SuperNodes, and between them a relay that keeps what the SuperLink is sent.
The nodes train deterministically, so this test trains as each of them does, and knows what would give it away. It looks
for that in what was kept, and, to be sure that it would find it, in what was kept of the same app without protection.
"""

import io
import json
import re
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.proto.recorddict_pb2 import MetricRecord as WireMetrics
from flwr.proto.recorddict_pb2 import MetricRecordValue

from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec

EXAMPLE = Path(__file__).parent.parent / "examples" / "flower"
sys.path.append(str(EXAMPLE))  # as when one of its programs is started

import loopback  # noqa: E402 - found by the line above
import run  # noqa: E402
from digits_app import task  # noqa: E402

pytestmark = pytest.mark.slow

NODES, ROUNDS = 5, 3
SEED, SEED_IN_CLEAR = 1, 2
"""Of data and training: what is found of one run must not be the other's."""
CLIP, BITS, WEIGHT_MAX = 0.5, 16, 1000
TRAINING, EVALUATION = {"train_loss": 10.0}, {"accuracy": 1.0, "loss": 10.0}
DIES_AT_INPUT, DIES_AT_UNMASK = (4, 2), (3, 3)
"""Node and round."""
WIDTH, FEWEST_DIFFERENT = 16, 4
"""Bytes of a pattern of numbers, and how many of them differ at least: none is met by chance."""


@dataclass(frozen=True)
class Ran:
    """What one run left behind."""

    seed: int
    models: dict[int, task.Model]
    rounds: list[dict]
    secure: list[dict]
    sent: bytes  # to the SuperLink, by its SuperNodes
    database: bytes  # of the SuperLink


@dataclass(frozen=True)
class Contribution:
    """What one node would say in clear in one round."""

    partition: int
    model: task.Model
    examples: int
    metrics: dict[str, float]
    update: dict[str, np.ndarray]


def test_the_example_runs_in_the_simulation_runtime(tmp_path):
    command = [sys.executable, str(EXAMPLE / "run.py"), "--runtime", "simulation", "--rounds", "1"]
    command += ["--output", str(tmp_path / "out"), "--suite", "kahe"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [record["contributors"] for record in written["secure"]] == [NODES, NODES]


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("federation")
    with loopback.Federation(folder, nodes=NODES, capture=True, database=True) as running:
        yield running
        started = running.processes()
        assert len(started) >= 1 + 2 * (NODES - 2)  # the SuperLink's own, and two for each node that was not killed
    assert not started & loopback.living().keys()


@pytest.fixture(scope="module")
def in_clear(federation):
    return ran(federation, "clear", run.unprotected(federation.folder), rounds=1, secure=False, seed=SEED_IN_CLEAR)


@pytest.fixture(scope="module")
def protected(federation, in_clear):
    killers = [
        run.Killer(federation, node=node, round_number=number, message=message)
        for message, (node, number) in enumerate((DIES_AT_INPUT, DIES_AT_UNMASK), start=1)
    ]
    outcome = ran(federation, "protected", run.APP, rounds=ROUNDS, secure=True, seed=SEED)
    assert all(killer.killed.is_set() for killer in killers)
    return outcome


def ran(federation, name, app, *, rounds, secure, seed):
    log = []
    output = federation.folder / name
    config = {"num-server-rounds": rounds, "secure": secure, "seed": seed, "output": str(output)}
    federation.run(app, config | {"clip": CLIP, "weight-max": WEIGHT_MAX, "phase-timeout": 90.0}, log.append)
    assert output.with_suffix(".json").exists(), "\n".join(log[-60:])
    written = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    models = {number: {} for number in range(rounds + 1)}
    with np.load(output.with_suffix(".npz")) as arrays:
        for key, array in arrays.items():
            number, _, array_name = key.partition("/")
            models[int(number)][array_name] = array
    database = b"".join(path.read_bytes() for path in sorted(federation.folder.glob("superlink.db*")))
    return Ran(seed, models, written["rounds"], written["secure"], federation.relay.take(), database)


def contribution(before, partition, number, seed):
    """What the app on a node makes of a model: the same, bit for bit or nearly so, wherever it runs."""
    before = before | {"steps": np.rint(before["steps"]).astype(np.int64)}
    images, labels = task.node_images(partition, NODES, seed)
    model, loss = task.train(before, images, labels, [seed, 2, partition, number])
    update = {name: model[name] - before[name] for name in sorted(model) if name != "steps"}
    return Contribution(partition, model, len(labels), {"train_loss": loss}, update)


def evaluation(model, partition, seed):
    model = model | {"steps": np.rint(model["steps"]).astype(np.int64)}
    images, labels = task.node_images(partition, NODES, seed)
    return dict(zip(("accuracy", "loss"), task.evaluate(model, images, labels), strict=True))


def mean(contributions):
    """FedAvg's, of the learned arrays and the metrics."""
    total = sum(one.examples for one in contributions)
    arrays = {
        name: sum(one.model[name].astype(float) * one.examples for one in contributions) / total
        for name in contributions[0].update
    }
    metrics = {
        name: sum(one.metrics[name] * one.examples for one in contributions) / total
        for name in contributions[0].metrics
    }
    return arrays, metrics


def contributors_of(federation, record):
    """Partitions of the nodes in a sum."""
    nodes = {node % 2**64: partition for partition, node in enumerate(federation.node_ids())}
    cohort = {nodes[int(node) % 2**64] for node in record["cohort"]}
    return sorted(cohort - {nodes[int(node) % 2**64] for node in record["dropped"]})


def sums_of(protected, kind):
    found = {record["round"]: record for record in protected.secure if record["kind"] == kind and not record["aborted"]}
    assert sorted(found) == list(range(1, ROUNDS + 1)), protected.secure
    return found


# What is learned.


def test_without_protection_the_model_is_flowers_average(in_clear):
    arrays, metrics = mean(
        [contribution(in_clear.models[0], partition, 1, in_clear.seed) for partition in range(NODES)]
    )
    for name, expected in arrays.items():
        np.testing.assert_allclose(in_clear.models[1][name], expected, rtol=0, atol=1e-6)
    assert in_clear.rounds[1]["train"]["train_loss"] == pytest.approx(metrics["train_loss"], rel=1e-6)


def test_two_nodes_die_in_the_middle_of_rounds_which_go_on(federation, protected):
    sums = sums_of(protected, "train")
    assert contributors_of(federation, sums[1]) == [0, 1, 2, 3, 4]
    assert contributors_of(federation, sums[2]) == [0, 1, 2, 3]  # the fifth had keys, and was at work on its update
    assert contributors_of(federation, sums[3]) == [0, 1, 2, 3]  # the fourth had sent its update, and is in the sum
    assert [sums[number]["contributors"] for number in sums] == [5, 4, 4]


def test_each_rounds_model_is_the_average_of_its_contributors(federation, protected):
    step = CLIP / FixedPoint(clip=CLIP, bits=BITS).bound
    for number, record in sums_of(protected, "train").items():
        before, after = protected.models[number - 1], protected.models[number]
        contributions = [contribution(before, each, number, SEED) for each in contributors_of(federation, record)]
        assert max(np.abs(one.update[name]).max() for one in contributions for name in one.update) < CLIP
        arrays, metrics = mean(contributions)
        # Each contribution is rounded once, as a part of weight_max.
        bound = len(contributions) * step * WEIGHT_MAX / sum(one.examples for one in contributions)
        for name, expected in arrays.items():
            np.testing.assert_allclose(after[name], expected, rtol=0, atol=bound + 1e-6)
            assert after[name].dtype == np.float32
        loss_bound = bound / CLIP * TRAINING["train_loss"]
        said = protected.rounds[number]["train"]["train_loss"]
        assert said == pytest.approx(metrics["train_loss"], rel=0, abs=loss_bound)


def test_evaluation_is_the_average_of_its_contributors(federation, protected):
    for number, record in sums_of(protected, "evaluate").items():
        model, partitions = protected.models[number], contributors_of(federation, record)
        sizes = [len(task.node_images(each, NODES, SEED)[1]) for each in partitions]
        for name in EVALUATION:
            expected = np.average([evaluation(model, each, SEED)[name] for each in partitions], weights=sizes)
            assert protected.rounds[number]["evaluate"][name] == pytest.approx(expected, abs=1e-4)


def test_the_counter_passes_through(protected):
    for model in protected.models.values():
        assert model["steps"].dtype == np.int64
        np.testing.assert_array_equal(model["steps"], protected.models[0]["steps"])


# What the SuperLink was sent.


def traces(ran_, partition, number):
    """What would give a node away in a round, by kind: patterns of bytes, none of which is there by chance."""
    before, after = ran_.models[number - 1], ran_.models[number]
    one = contribution(before, partition, number, ran_.seed)
    codec = UpdateCodec(
        layout=Layout.of(one.update),
        coding=FixedPoint(clip=CLIP, bits=BITS),
        weight_max=WEIGHT_MAX,
        means=TRAINING,
    )
    encoded = codec.encode(one.update, weight=one.examples, means=one.metrics).vector
    evaluated = evaluation(after, partition, ran_.seed)
    metrics = one.metrics | evaluated
    return {
        "model": set().union(*(windows(one.model[name], one.update[name]) for name in one.update)),
        "update": set().union(*(windows(update, update) for update in one.update.values())),
        "encoded update": windows(encoded, encoded, kinds=("<i2", "<i4", "<i8", ">i4")),
        "metrics": {form for value in metrics.values() for form in forms(value)},
        "count": {count_record(one.examples), count_record(float(one.examples)), npy(one.examples)},
    }


def windows(values, changes, kinds=("<f4", "<f8", ">f4", ">f8", "<f2")):
    """Runs of values that differ from what everybody knows, in every form that they might travel in."""
    values, changed = values.ravel(), changes.ravel() != 0
    patterns = set()
    for kind in kinds:
        count = WIDTH // np.dtype(kind).itemsize
        raw = values.astype(kind).tobytes()
        for start in range(len(values) - count + 1):
            piece = raw[start * WIDTH // count :][:WIDTH]
            if changed[start : start + count].all() and len(set(piece)) > FEWEST_DIFFERENT:
                patterns.add(piece)
    return patterns


def forms(value):
    return {struct.pack("<d", value), struct.pack(">d", value), repr(value).encode(), repr(round(value, 6)).encode()}


def count_record(value):
    """The count as Flower's MetricRecord has it."""
    written = MetricRecordValue(double=value) if isinstance(value, float) else MetricRecordValue(sint64=value)
    return WireMetrics.Item(key="num-examples", value=written).SerializeToString()


def npy(value):
    raw = io.BytesIO()
    np.save(raw, np.array([value]))
    return raw.getvalue()


def sightings(patterns, seen):
    """How many of the patterns are somewhere in what was seen, by what they are traces of."""
    long = b"".join(pattern for pattern in patterns if len(pattern) == WIDTH)
    heads = np.unique(np.frombuffer(long, "<u8")[::2])
    found = {pattern for pattern in patterns if len(pattern) != WIDTH and pattern in seen}
    for offset in range(8):
        words = np.frombuffer(seen, "<u8", count=(len(seen) - offset) // 8, offset=offset)
        for place in np.flatnonzero(np.isin(words, heads)):
            start = offset + 8 * int(place)
            found |= {seen[start : start + WIDTH]} & patterns.keys()
    return Counter(patterns[pattern] for pattern in found)


def all_traces(ran_, rounds):
    """Every pattern of every node in every round: what it is a trace of, and of whom."""
    every = {}
    for partition in range(NODES):
        for number in rounds:
            for kind, patterns in traces(ran_, partition, number).items():
                assert patterns, kind
                every |= dict.fromkeys(patterns, (kind, partition))
    return every


def test_the_search_finds_what_is_there():
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    patterns = dict.fromkeys(windows(values, values), "values") | {count_record(287): "count"}
    for kind, count in (("<f4", 97), (">f8", 99), ("<f2", 93)):
        seen = b"x" * 1001 + values.astype(kind).tobytes() + count_record(287) + b"y" * 77
        assert sightings(patterns, seen) == {"values": count, "count": 1}
    assert not sightings(patterns, np.random.default_rng(1).bytes(10**6))


def test_without_protection_every_node_is_laid_bare(in_clear):
    patterns = all_traces(in_clear, [1])
    found = sightings(patterns, in_clear.sent)
    for partition in range(NODES):
        assert found["model", partition] > 100, found
        assert found["metrics", partition] >= len(TRAINING | EVALUATION), found
        assert found["count", partition] == 1, found
    for name in ("num-examples", "train_loss", "accuracy"):
        assert name.encode() in in_clear.sent
    # What the SuperLink has passed on is deleted from its database, and still in the file.
    assert any(count > 100 for count in sightings(patterns, in_clear.database).values())


def test_with_protection_nothing_of_a_node_is_in_what_the_superlink_was_sent(protected):
    assert len(protected.sent) > sum(record["upload_bytes"] for record in protected.secure) > 0  # it is all there
    patterns = all_traces(protected, range(1, ROUNDS + 1))
    assert not sightings(patterns, protected.sent)
    assert not sightings(patterns, protected.database)
    for name in ("num-examples", *TRAINING, "accuracy"):
        assert name.encode() not in protected.sent


def test_bodies_travel_as_they_are(in_clear, protected):
    # Compressed or cut into pieces, they would have to be put together before they are searched.
    for sent in (in_clear.sent, protected.sent):
        assert sent.count(b"POST /v1/fleet/push-object ") >= NODES
        assert not re.search(rb"(?i)\r\n(content-encoding|transfer-encoding):", sent)
