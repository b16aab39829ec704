"""The app that `flower_rounds.py` measures: one model, one training, the same nodes, and several ways to sum.

Nodes tell by a message's records how it is to be summed, so that all ways take turns within one run of Flower's
simulation runtime. A training adds to the model what the node always adds: it costs next to nothing, and the exact
average is known.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS
from flwr.common.serde import message_to_proto
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp.strategy import FedAvg

from privfl.integrations.flower import SecureAggregation, SecureAggregationMod
from privfl.integrations.flower.carrying import RECORD
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

CLIP, WEIGHT_MAX, MEMBERS = 0.5, 1000, 5
SECURE = ("kahe", "masking", "ckks")
VARIANTS = ("plain", *SECURE, "secagg+")
NOBODY = -1


@lru_cache(maxsize=2)
def _base(length):
    return np.random.default_rng(0).uniform(-0.1, 0.1, length).astype(np.float32)


def delta(partition, length):
    """What a node always adds to the model, float32."""
    return np.roll(_base(length), 1009 * partition)


def examples(partition):
    """A node's weight; they differ, so that weights matter."""
    return WEIGHT_MAX // 10 * (partition % 10 + 1)


def exact(length, partitions):
    """The exact average of what some nodes add, float64."""
    total = sum(examples(partition) for partition in partitions)
    return sum(delta(partition, length).astype(np.float64) * (examples(partition) / total) for partition in partitions)


def loses(number):
    """Whether a node drops out in this round, where one is to."""
    return number % 2 == 0


def trained(model, partition, config):
    """Train; or drop out, with the model at hand and before anything is uploaded."""
    if partition == config["lost"] and loses(config["server-round"]):
        raise RuntimeError("this node drops out")
    return model + delta(partition, model.size)


# Nodes.


def client_app(homes):
    """All ways in one app.

    Args:
        homes: directory of the nodes' directories, as `make_homes` made it.
    """

    def train(message, context):
        partition = context.node_config["partition-id"]
        model = trained(message.content["arrays"]["w"].numpy(), partition, message.content["config"])
        metrics = MetricRecord({"num-examples": examples(partition)})
        content = RecordDict({"arrays": ArrayRecord({"w": Array(model)}), "metrics": metrics})
        return Message(content, reply_to=message)

    class Legacy(NumPyClient):
        def __init__(self, partition):
            self.partition = partition

        def fit(self, parameters, config):
            return [trained(parameters[0], self.partition, config)], examples(self.partition), {}

    plain, secure = ClientApp(), ClientApp(mods=[SecureAggregationMod(home=lambda context: home_of(homes, context))])
    plain.train()(train)
    secure.train()(train)
    legacy = ClientApp(
        client_fn=lambda context: Legacy(context.node_config["partition-id"]).to_client(), mods=[secaggplus_mod]
    )
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        records = message.content
        chosen = secure if RECORD in records else legacy if RECORD_KEY_CONFIGS in records else plain
        return chosen(message, context)

    return app


def home_of(homes, context):
    """A node's own directory."""
    return Path(homes) / str(context.node_config["partition-id"])


def make_homes(homes, nodes):
    """Make the nodes' directories, with identities for those on the committee of `ckks`; return its roster."""
    identities = [Identity.generate(OsEntropy()) for _ in range(min(nodes, MEMBERS))]
    roster = Roster({number: identity.public for number, identity in enumerate(identities)})
    for partition in range(nodes):
        home = homes / str(partition)
        home.mkdir(mode=0o700, parents=True)
        (home / "committee.json").write_text(roster.to_json(), encoding="utf-8")
        if partition < len(identities):
            (home / "identity.pem").write_bytes(identities[partition].to_pem())
    return roster


# The server.


class SinglePrecision(LegacyFedAvg):
    """FedAvg whose model stays as it was: SecAgg+ makes it float64, twice the bytes of every later download."""

    def aggregate_fit(self, server_round, results, failures):
        parameters, metrics = super().aggregate_fit(server_round, results, failures)
        arrays = [array.astype(np.float32) for array in parameters_to_ndarrays(parameters)]
        return ndarrays_to_parameters(arrays), metrics


class Counter:
    """Counts what passes through a grid.

    Attributes:
        measures: whether bytes are counted too, which takes time: every message is serialised once more.
    """

    def __init__(self, grid):
        self.measures = False
        self._seen = {}
        self.take()
        push, pull = grid.push_messages, grid.pull_messages

        def pushed(messages):
            messages = list(messages)
            self._seen["exchanges"] += bool(messages)
            self._count("download", messages)
            return push(messages)

        def pulled(message_ids):
            messages = list(pull(message_ids))
            self._count("upload", messages)
            return messages

        grid.push_messages, grid.pull_messages = pushed, pulled

    def take(self):
        """Return the counts since the last call."""
        seen, self._seen = self._seen, {"exchanges": 0, "download": 0, "upload": 0}
        return seen

    def _count(self, what, messages):
        if self.measures:
            self._seen[what] += sum(len(message_to_proto(message).SerializeToString()) for message in messages)


class Watch:
    """Looks at the model before the first round and after each; both APIs call it, and a round lies between two calls.

    Attributes:
        rounds: of each, seconds, CPU seconds, counts, and largest error where it is known who is in the average.
    """

    def __init__(self, counter, cpu_seconds, *, length, nodes, lost):
        self.rounds = []
        self._counter, self._cpu = counter, cpu_seconds
        self._length, self._nodes, self._lost = length, nodes, lost
        self._left = (0.0, 0.0)  # when it last looked away
        self._model = None

    def __call__(self, number, model):
        seconds, cpu, seen = time.perf_counter() - self._left[0], self._cpu() - self._left[1], self._counter.take()
        if number:
            self.rounds.append({"s": seconds, "cpu_s": cpu, "error": self._error(number, model), **seen})
        self._model = model.copy()
        self._counter.take()
        self._left = (time.perf_counter(), self._cpu())

    def _error(self, number, model):
        lost = self._lost != NOBODY
        if lost and number > 1 and not loses(number):
            return None  # who dropped out before may be missing here too
        there = set(range(self._nodes)) - ({self._lost} if lost and loses(number) else set())
        error = float(np.abs(model.astype(np.float64) - self._model - exact(self._length, there)).max())
        assert error < 0.01, f"round {number} summed something else: {error}"
        return error


def run(variant, grid, context, watch, *, length, nodes, rounds, told, roster, threshold):
    """Run rounds of one way to sum.

    Args:
        variant: which.
        grid: Flower's.
        context: of Flower's server app.
        watch: is shown the model before the first round and after each.
        length: of the model.
        nodes: how many.
        rounds: how many.
        told: configuration for the nodes.
        roster: of the committee of `ckks`.
        threshold: of SecAgg+.
    """
    start = np.zeros(length, np.float32)
    if variant == "secagg+":
        strategy = SinglePrecision(
            fraction_evaluate=0.0,
            min_fit_clients=nodes,
            min_available_clients=nodes,
            initial_parameters=ndarrays_to_parameters([start]),
            on_fit_config_fn=lambda number: {"server-round": number, **told},
            evaluate_fn=lambda number, arrays, _config: watch(number, arrays[0]),
        )
        legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=rounds), strategy=strategy)
        workflow = SecAggPlusWorkflow(num_shares=nodes, reconstruction_threshold=threshold, max_weight=WEIGHT_MAX)
        DefaultWorkflow(fit_workflow=workflow)(grid, legacy)
        return
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    if variant in SECURE:
        committee = {"committee_roster": roster} if variant == "ckks" else {}
        strategy = SecureAggregation(strategy, suite=variant, clip=CLIP, weight_max=WEIGHT_MAX, **committee)
    strategy.start(
        grid,
        ArrayRecord({"w": Array(start)}),
        num_rounds=rounds,
        train_config=ConfigRecord(told),
        evaluate_fn=lambda number, arrays: watch(number, arrays["w"].numpy()),
    )
    for record in getattr(strategy, "rounds", ()):
        assert record.aborted is None, record
