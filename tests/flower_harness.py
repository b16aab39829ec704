"""Flower without its runtimes: a grid in this process, whose nodes are apps with contexts of their own.

Every message goes through Flower's wire format, so that neither side can reach into the other's, and so that what the
SuperLink would see can be searched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from privfl.integrations.flower import SecureAggregation, SecureAggregationMod, carrying
from privfl.integrations.flower.messages import Answer, ClientStep, Request
from privfl.masking import messages
from privfl.wire import message_type

RUN = 77
FIRST_NODE = 9_000_000_000_000_000_001
RAISED = 2
"""`Error.code` of an app that raised, as Flower's runtimes say it."""
# What a runtime tells the process of a server's app: whose messages it makes.
TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, 1


class LocalGrid(Grid):
    """Nodes in this process. `seen` keeps every reply as the SuperLink would see it.

    Attributes:
        silent: called with (node, message); a node that it names does not answer.
        forge: called with (node, message); returns the message that arrives: a server's lie.
        lie: called with (node, message, reply); returns the reply that arrives.
        exchanges: how often the server has sent messages, the one under way included.
        timeouts: that the server waited, by exchange.
    """

    def __init__(self, apps, *, contexts=None, config=None):
        self.apps = dict(apps)
        self.contexts = contexts or {
            node: Context(RUN, node, {"partition-id": i, **(config or {})}, RecordDict(), {})
            for i, node in enumerate(self.apps)
        }
        self.silent = lambda node, message: False
        self.forge = lambda node, message: message
        self.lie = lambda node, message, reply: reply
        self.sent: list[Message] = []
        self.seen: list[Message] = []
        self.exchanges = 0
        self.timeouts = []

    @property
    def run(self):
        return SimpleNamespace(run_id=RUN)

    def set_run(self, run):
        raise NotImplementedError

    def create_message(self, *args, **named):
        raise NotImplementedError

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.apps)

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None):
        replies = []
        messages = list(messages)
        self.exchanges += bool(messages)
        self.timeouts += [timeout] * bool(messages)
        for message in messages:
            node = message.metadata.dst_node_id
            self.sent.append(wired(message))
            if self.silent(node, message):
                continue
            reply = self.lie(node, message, self.deliver(node, self.forge(node, wired(message))))
            if reply is not None:
                self.seen.append(wired(reply))
                replies.append(wired(reply))
        return replies

    def deliver(self, node: int, message: Message) -> Message:
        """Have a node answer, in a new process: nothing but the state is left of the one before."""
        context = copy.deepcopy(self.contexts[node])
        try:
            reply = self.apps[node](wired(message), context)
        except Exception as error:  # noqa: BLE001 - as Flower does, in both runtimes
            return Message(Error(RAISED, f"{type(error)}:<'{error}'>"), reply_to=message)
        self.contexts[node] = context
        return wired(reply)


def wired(message: Message) -> Message:
    """A message as it arrives at the other end."""
    return message_from_proto(message_to_proto(message))


def wire_bytes(message: Message) -> bytes:
    """All of a message that is on the wire."""
    return message_to_proto(message).SerializeToString()


def model(**arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def nodes(count: int) -> list[int]:
    return [FIRST_NODE + 10 * i for i in range(count)]


def trained(arrays: ArrayRecord, change: Callable[[str, np.ndarray], np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(change(name, array.numpy()))) for name, array in arrays.items()})


def app(
    mods, change, *, examples=10, metrics: Mapping[str, float] | None = None, evaluated=None, extra=None, calls=None
) -> ClientApp:
    """An app that changes every array as told; `calls` keeps the messages that reach it."""
    client_app = ClientApp(mods=mods)
    calls = [] if calls is None else calls

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        calls.append(message)
        content = RecordDict(
            {
                "arrays": trained(message.content["arrays"], change),
                "metrics": MetricRecord({"num-examples": examples, **(metrics or {})}),
                **(extra or {}),
            }
        )
        return Message(content, reply_to=message)

    client_app.train("other")(train)

    @client_app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        calls.append(message)
        content = RecordDict(
            {"metrics": MetricRecord({"num-examples": examples, **(evaluated or {})}), **(extra or {})}
        )
        return Message(content, reply_to=message)

    @client_app.query()
    def query(message: Message, context: Context) -> Message:
        calls.append(message)
        return Message(RecordDict({"config": ConfigRecord({"hello": "world"})}), reply_to=message)

    return client_app


# A few nodes, each of which changes the model in a way of its own.

SHAPES = {"b": (3,), "w": (3, 4)}
CLIP, BITS, WEIGHT_MAX = 0.5, 16, 1000


def start_model(dtype=np.float32) -> ArrayRecord:
    chance = np.random.default_rng(99)
    return model(**{name: chance.normal(0, 1, shape).astype(dtype) for name, shape in SHAPES.items()})


class Fleet:
    """Nodes with the mod, behind a grid.

    Args:
        home: where their directories are made.
        count: how many.
        mod: what their mod is told.
        own: of some nodes (by place), what their app is told otherwise; "mods" replaces the mod.
    """

    def __init__(self, home, count=5, *, mod=None, own=None, examples=None, config=None):
        self.home, self.mod = home, mod or {}
        self.ids = nodes(count)
        self.examples = {node: 10 * (i + 1) if examples is None else examples[i] for i, node in enumerate(self.ids)}
        self.losses = {node: 1.0 + i for i, node in enumerate(self.ids)}
        self.accuracies = {node: 0.1 * (i + 1) for i, node in enumerate(self.ids)}
        self.calls = {node: [] for node in self.ids}
        self.grid = LocalGrid(
            {node: self.app(i, **(own or {}).get(i, {})) for i, node in enumerate(self.ids)}, config=config
        )

    def app(self, place, *, mods=None, **told):
        node = self.ids[place]
        usual = {
            "change": lambda name, array: (array + self.delta(node, name)).astype(array.dtype),
            "examples": self.examples[node],
            "metrics": {"train_loss": self.losses[node]},
            "evaluated": {"accuracy": self.accuracies[node]},
            "calls": self.calls[node],
        }
        return app(self.mods() if mods is None else mods, **(usual | told))

    def mods(self, **told):
        return [SecureAggregationMod(**{"home": self.home} | self.mod | told)]

    def home_of(self, node):
        return self.home / f"{RUN:016x}-{node:016x}"

    def delta(self, node, name):
        chance = np.random.default_rng([node % 1000, sum(name.encode())])
        return chance.normal(0, 0.1, SHAPES.get(name, ())).astype(np.float32)

    def mean(self, name, of):
        """The weighted mean of the changes of some nodes: what FedAvg makes of them."""
        total = sum(self.examples[node] for node in of)
        return sum(self.delta(node, name).astype(np.float64) * self.examples[node] for node in of) / total

    def mean_of(self, values, of):
        total = sum(self.examples[node] for node in of)
        return sum(values[node] * self.examples[node] for node in of) / total

    def tolerance(self, of, *, error_std=0.0, most=CLIP, bits=BITS, weight_max=WEIGHT_MAX):
        """By how much a mean may be off: a step for each node, nine deviations of the suite's error, float32."""
        share = sum(self.examples[node] for node in of) / weight_max
        return (len(of) + 9 * error_std + 0.5) * most / (2 ** (bits - 1) - 1) / share + 1e-6

    def fedavg(self, kind=FedAvg, **options):
        count = len(self.ids)
        usual = {"min_train_nodes": count, "min_evaluate_nodes": count, "min_available_nodes": count}
        return kind(**(usual | options))

    def strategy(self, inner=None, **options):
        usual = {
            "suite": "masking",
            "clip": CLIP,
            "weight_max": WEIGHT_MAX,
            "metrics": {"train_loss": 10.0},
            "evaluate_metrics": {"accuracy": 1.0},
        }
        return SecureAggregation(self.fedavg() if inner is None else inner, **(usual | options))

    def start(self, strategy=None, *, rounds=1, initial=None, **options):
        """Run; return the wrapper and Flower's result."""
        strategy = strategy or self.strategy()
        result = strategy.start(self.grid, start_model() if initial is None else initial, num_rounds=rounds, **options)
        return strategy, result

    def silence(self, node, exchanges):
        self.grid.silent = lambda one, message: one == node and self.grid.exchanges in exchanges


def contributors(record) -> list[int]:
    return sorted(set(record.cohort) - set(record.dropped)) if record.aborted is None else []


def of_kind(strategy, kind):
    return [record for record in strategy.rounds if record.kind == kind]


def steps_of(message: Message) -> tuple:
    """What a message asks of a node; the message stays as it is."""
    content = RecordDict(dict(message.content.items()))
    carried = carrying.take(content)
    return () if carried is None else carried.read(Request).steps


def with_steps(message: Message, steps, signature=b"") -> Message:
    """The same message with other steps."""
    content = RecordDict(dict(message.content.items()))
    carrying.take(content)
    carrying.put(content, Request(steps=tuple(steps)), {}, signature)
    metadata = message.metadata
    return Message(content, metadata.dst_node_id, metadata.message_type, ttl=metadata.ttl)


_PHASES = {
    message_type(kind): kind
    for kind in (
        messages.AdvertiseKeysRequest,
        messages.ShareKeysRequest,
        messages.MaskedInputRequest,
        messages.ConsistencyRequest,
        messages.UnmaskRequest,
    )
}
_TYPE_AT = 6
"""Place of the message type in a frame."""


def asks(step, kind) -> bool:
    """Whether a step is a request of that kind of `masking`'s."""
    return isinstance(step, ClientStep) and _PHASES.get(step.request[_TYPE_AT]) is kind


def answers_of(reply: Message) -> list[tuple[bytes, str]]:
    """What a node answered to each step: response and reason."""
    carried = carrying.take(wired(reply).content)
    return [(step.response, step.why) for step in carried.read(Answer).steps]
