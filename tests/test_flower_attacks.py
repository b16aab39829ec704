"""Attacks on privfl inside Flower that were tried by hand, by those who want to know one node's numbers."""

import copy
import io
import os
import shutil
import subprocess
import sys

import flower_harness
import numpy as np
import pytest
from flower_harness import (
    RUN,
    SHAPES,
    Fleet,
    LocalGrid,
    answers_of,
    contributors,
    model,
    of_kind,
    start_model,
    steps_of,
    trained,
    wire_bytes,
    wired,
    with_steps,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from harness import forged, identity_of, read
from msgspec import structs

from privfl import Identity, ServerModel, ThreatModel
from privfl.dp.ledger import read_ledger
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError
from privfl.guard import FileGuard
from privfl.integrations.flower import NodeHome, carrying
from privfl.integrations.flower.messages import Answer, StepAnswer
from privfl.integrations.flower.model import Setting, context_of
from privfl.integrations.flower.node_books import NodeBooks
from privfl.integrations.flower.office import Office
from privfl.masking.messages import SEALED_BYTES, MaskedInputRequest, UnmaskRequest
from privfl.params import CommitteeShape
from privfl.roster import Credentials, own_identity
from privfl.simulate import roster_of
from privfl.wire import SERVER, SuiteCode

KEPT = "this node sends no contribution: its log says why"
SILENT = "this node cannot answer: its log says why"
SESSION = slice(12, 44)
"""Of a frame: the session's id."""
OWN = "patient 4711"


@pytest.fixture(autouse=True)
def _disks_are_quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)


def asked(fleet, *, kind="train"):
    """The messages that ask for the vectors of a round, keys being made: by node."""
    configure = getattr(fleet.strategy(), f"configure_{kind}")
    messages = configure(1, start_model(), ConfigRecord(), fleet.grid)
    return {message.metadata.dst_node_id: wired(message) for message in messages}


class Moment:
    """A node when it is asked for its vector: it can be asked again and again, as if for the first time."""

    def __init__(self, fleet, *, kind="train"):
        self.fleet, self.node = fleet, fleet.ids[0]
        self.message = asked(fleet, kind=kind)[self.node]
        self.home = fleet.home_of(self.node)
        self._state = copy.deepcopy(fleet.grid.contexts[self.node])
        self._disk = self.home.with_name("as it was")
        shutil.copytree(self.home, self._disk)

    def again(self):
        """Nothing has been asked yet."""
        shutil.rmtree(self.home)
        shutil.copytree(self._disk, self.home)
        self.fleet.grid.contexts[self.node] = copy.deepcopy(self._state)
        self.fleet.calls[self.node].clear()

    def ask(self, message=None):
        """Return what the node answers: response and reason of each step."""
        reply = self.fleet.grid.deliver(self.node, wired(message or self.message))
        assert not reply.has_error(), reply.error.reason
        return answers_of(reply)

    def first(self, **changes):
        """The message with another first step."""
        step, *rest = steps_of(self.message)
        return with_steps(self.message, [structs.replace(step, **changes), *rest])

    @property
    def request(self):
        """The request for the vector."""
        return steps_of(self.message)[0].request

    def claims(self):
        return {path.name for path in (self.home / "claims").iterdir()}


@pytest.fixture
def moment(tmp_path):
    fleet = Fleet(tmp_path)
    node = fleet.ids[0]
    fleet.home_of(node).mkdir(mode=0o700, parents=True)
    policy = '[budget]\nepsilon = 8.0\nexcluded = {train = "public images", evaluate = "likewise"}\n'
    (fleet.home_of(node) / "policy.toml").write_text(policy)
    return Moment(fleet)


# After the app was called, the server hears one sentence, whatever is wrong.


def answering(content):
    """An app that answers with records of its own making."""
    return lambda message, context: Message(RecordDict(content(message)), reply_to=message)


def usual(message, **changes):
    metrics = {"num-examples": 10, "train_loss": 1.0} | changes
    return {"arrays": message.content["arrays"], "metrics": MetricRecord(metrics)}


def with_metrics(**changes):
    return answering(lambda message: usual(message, **changes))


def with_array(array):
    """An app whose array "w" is as said."""
    return answering(
        lambda message: usual(message) | {"arrays": ArrayRecord({**message.content["arrays"], "w": array})}
    )


def without(name):
    def content(message):
        records = usual(message)
        del records["metrics"][name]
        return records

    return answering(content)


def failing(error):
    def app(message, context):
        raise error

    return app


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    np.savez(file, w=np.zeros((3, 4), np.float32))
    return file.getvalue()


def header(text):
    """Data of an array whose header is as said, with room for nothing behind it."""
    said = text.encode() + b" " * (118 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said


def numpys(data, dtype="float32", shape=(3, 4)):
    return Array(dtype=dtype, shape=shape, stype="numpy.ndarray", data=data)


LIES = {
    "ten trillion elements": numpys(header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**13},), }}")),
    "ten trillion, said twice": numpys(
        header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**13},), }}"), shape=(10**13,)
    ),
    "another shape": numpys(saved(np.zeros((4, 3), np.float32))),
    "another type": numpys(saved(np.zeros((3, 4), np.float64))),
    "an archive": numpys(zipped()),
    "half of it": numpys(saved(np.zeros((3, 4), np.float32))[:-24]),
    "more than it says": numpys(saved(np.zeros((3, 4), np.float32)) + b"more"),
    "no header": numpys(b"\0" * 48),
    "a header of another version": numpys(b"\x93NUMPY\x09\x00" + saved(np.zeros((3, 4), np.float32))[8:]),
    "a header that is no table": numpys(header("4711")),
    "a header that has no end": numpys(header("{'descr': '<f4', ((")),
    "a header of a thousand brackets": numpys(header("(" * 100)),
    "nothing": numpys(b""),
}
OBJECTS = saved(np.array([OWN, 1], dtype=object), allow_pickle=True)
APPS = {
    "a count over the largest": with_metrics(**{"num-examples": 1001}),
    "a count of 0": with_metrics(**{"num-examples": 0}),
    "a count that is none": with_metrics(**{"num-examples": float("nan")}),
    "a count that vanishes": with_metrics(**{"num-examples": 1e-12}),
    "a count of 2^80": with_metrics(**{"num-examples": 2.0**80}),
    "no count": without("num-examples"),
    "no metric": without("train_loss"),
    "a metric below 0": with_metrics(train_loss=-1.0),
    "a metric that is a list": with_metrics(train_loss=[1.0, 2.0]),
    "not finite": with_array(Array(np.full((3, 4), np.nan, np.float32))),
    "whole numbers": with_array(Array(np.zeros((3, 4), np.int32))),
    "fields": with_array(Array(np.zeros((3, 4), [("a", "f4")]))),
    "objects": with_array(numpys(OBJECTS, "object", (2,))),
    "another shape, truly": with_array(Array(np.zeros((4, 3), np.float32))),
    "no array": answering(lambda message: {"metrics": usual(message)["metrics"]}),
    "no metrics": answering(lambda message: {"arrays": usual(message)["arrays"]}),
    "empty": answering(lambda message: {}),
    "an error": lambda message, context: Message(Error(437, OWN), reply_to=message),
    "raised": failing(ValueError(OWN)),
    "raised by us": failing(ConfigurationError(OWN)),
    "None": lambda message, context: None,
    "a RecordDict": lambda message, context: RecordDict(),
    "a number": lambda message, context: 437,
    **{f"an array: {name}": with_array(array) for name, array in LIES.items()},
}


def worked_by(moment, function):
    """The node's app is another."""
    app = ClientApp(mods=moment.fleet.mods())
    app.train()(function)
    app.evaluate()(function)
    moment.fleet.grid.apps[moment.node] = app


def test_whatever_the_app_answered_the_server_hears_the_same(moment, monkeypatch, caplog):
    """Guarantee 1 of the mod: from what it hears, no search for a value can be made."""
    heard = {}
    for name, function in APPS.items():
        moment.again()
        worked_by(moment, function)
        heard[name] = moment.ask()
    for error in (BudgetExceeded(OWN), LedgerError(OWN), OSError(OWN)):
        moment.again()
        worked_by(moment, answering(usual))
        with monkeypatch.context() as patch:
            patch.setattr(NodeBooks, "charge", failing(error))
            heard[f"charging: {type(error).__name__}"] = moment.ask()

    def without_claims(message, context):
        shutil.rmtree(moment.home / "claims")
        return answering(usual)(message, context)

    moment.again()
    worked_by(moment, without_claims)
    heard["no guard"] = moment.ask()
    assert {name: said[0] for name, said in heard.items() if said[0] != (b"", KEPT)} == {}
    # The other steps of the message are answered as ever.
    assert {name for name, said in heard.items() for response, why in said[1:] if why or not response} == set()
    assert {len(said) for said in heard.values()} == {3}
    assert caplog.text.count("privfl sends no contribution") >= len(heard)  # who looks after the node is told
    moment.again()
    worked_by(moment, answering(usual))
    assert all(response for response, _ in moment.ask())  # it is asked for in the way in which it would be answered


def test_whatever_an_evaluation_came_to_the_server_hears_the_same(tmp_path):
    moment, heard = Moment(Fleet(tmp_path), kind="evaluate"), {}

    def found(**metrics):
        return answering(lambda message: {"metrics": MetricRecord({"num-examples": 10, "accuracy": 0.5} | metrics)})

    wrong = {
        "a count over the largest": found(**{"num-examples": 1001}),
        "a metric below 0": found(accuracy=-0.5),
        "not finite": found(accuracy=float("nan")),
        "no metric": answering(lambda message: {"metrics": MetricRecord({"num-examples": 10})}),
        **{name: APPS[name] for name in ("empty", "an error", "raised", "raised by us", "None", "a RecordDict")},
    }
    for name, function in wrong.items():
        moment.again()
        worked_by(moment, function)
        heard[name] = moment.ask()
    assert {name: said for name, said in heard.items() if said != [(b"", KEPT)]} == {}
    moment.again()
    worked_by(moment, found())
    ((response, why),) = moment.ask()
    assert (bool(response), why) == (True, "")


def test_what_an_app_answered_is_found_nowhere_in_what_is_sent(moment):
    for function in (APPS["an error"], APPS["raised"], APPS["raised by us"], APPS["objects"]):
        moment.again()
        worked_by(moment, function)
        assert b"4711" not in wire_bytes(moment.fleet.grid.deliver(moment.node, moment.message))


# What the server asks is looked at before the app is called, or anything is spent.


def frame_of(moment, message):
    """A frame of the session's that is not what was asked."""
    session = moment.request[SESSION]
    return forged(message, suite=SuiteCode.MASKING, session=session, sender=SERVER)


def bent(change):
    return lambda moment: frame_of(moment, change(read(moment.request, MaskedInputRequest)))


OUT_OF_TURN = {
    "another session": lambda moment: moment.request[: SESSION.start] + bytes(32) + moment.request[SESSION.stop :],
    "to unmask": lambda moment: frame_of(
        moment,
        UnmaskRequest(contributors=5, survivors=(1, 2, 3, 4), dropped=()),
    ),
    "one peer": bent(
        lambda request: structs.replace(request, peers=request.peers[:1], sealed=request.sealed[:SEALED_BYTES])
    ),
    "few participants": bent(lambda request: structs.replace(request, participants=1)),
    "a crowd": bent(lambda request: structs.replace(request, participant_bits=b"\x1f")),
    "shares that do not open": bent(lambda request: structs.replace(request, sealed=bytes(len(request.sealed)))),
}
GARBAGE = {
    "a letter": lambda moment: b"x",
    "cut off": lambda moment: moment.request[:-1],
    "longer": lambda moment: moment.request + b"\0",
    "of another suite": lambda moment: moment.request[:5] + b"\xff" + moment.request[6:],
}


def charges(moment):
    path = moment.home / "ledger.jsonl"
    return len(read_ledger(path).charges) if path.exists() else 0


@pytest.mark.parametrize("lie", OUT_OF_TURN | GARBAGE)
def test_a_request_that_is_none_for_the_vector_costs_nothing(moment, lie):
    """Guarantee 4 of the mod."""
    before = moment.claims()
    (response, why), *others = moment.ask(moment.first(request=(OUT_OF_TURN | GARBAGE)[lie](moment)))
    assert response == b""
    assert why
    assert why != KEPT
    assert all(response for response, _ in others)
    assert not moment.fleet.calls[moment.node]
    assert charges(moment) == 0
    ahead = 2  # nonces of the sessions whose keys are made ahead
    assert len(moment.claims() - before) == ahead
    step = steps_of(moment.message)[0]
    home = NodeHome.open(moment.home)
    assert not home.guard.claimed("context", step.context)
    assert not home.guard.claimed("terms of a run", RUN.to_bytes(8, "big") + b"train")
    if lie in GARBAGE:  # what does not decode leaves the session where it was
        ((response, why),) = moment.ask(with_steps(moment.message, [step]))
        assert (bool(response), why) == (True, "")
        assert charges(moment) == 1


def test_the_first_request_of_a_session_is_none_for_a_vector(moment):
    """A server that makes sessions of its own, all of one message: nothing is spent for any of them."""
    fleet, node = moment.fleet, moment.node
    begun = [step for message in fleet.grid.sent for step in steps_of(message) if getattr(step, "params", b"")]
    asks = steps_of(moment.message)[0]
    before = moment.claims()
    for raw in (b"x", begun[0].request, asks.request):
        step = structs.replace(begun[0], terms=asks.terms, context=asks.context, request=raw)
        ((response, why),) = moment.ask(with_steps(moment.message, [step]))
        assert response == b""
        assert why
        assert "another model" not in why
    assert not fleet.calls[node]
    assert charges(moment) == 0
    assert moment.claims() == before


# Terms.


def in_run(fleet, run, monkeypatch):
    """Another run on the same machines."""
    monkeypatch.setattr(flower_harness, "RUN", run)
    fleet.grid.contexts = {
        node: Context(run, node, {"partition-id": place}, RecordDict(), {}) for place, node in enumerate(fleet.ids)
    }


@pytest.mark.parametrize(
    "told",
    [
        {"clip": 0.25},
        {"clip": 1e6},
        {"bits": 24},
        {"weight_max": 999.0},
        {"metrics": {"train_loss": 5.0}},
        {"metrics": {"train_loss": 10.0, "accuracy": 1.0}},
        {"weighted_by": "train_loss", "metrics": {}},
    ],
)
def test_terms_are_for_a_run_and_the_next_may_have_others(tmp_path, monkeypatch, told):
    """A server that asks again and again, under other terms each time, could find a value by who sends nothing."""
    fleet = Fleet(tmp_path, 5, mod={"home": lambda context: tmp_path / str(context.node_id)})

    def strategy(**told):
        weighted_by = told.pop("weighted_by", "num-examples")
        return fleet.strategy(fleet.fedavg(weighted_by_key=weighted_by, fraction_evaluate=0.0), **told)

    first, _ = fleet.start(strategy(), rounds=2)  # a round is no matter
    assert [record.contributors for record in first.rounds] == [5, 5]
    other = trained(start_model(), lambda name, array: array + 1)
    second, _ = fleet.start(strategy(**told), initial=other)
    assert set(second.rounds[0].refusals) == set(fleet.ids)
    assert all("other terms of train" in why for why in second.rounds[0].refusals.values())
    assert [len(calls) for calls in fleet.calls.values()] == [2] * 5
    in_run(fleet, RUN + 1, monkeypatch)
    told = {"metrics": {"train_loss": 10.0}} if "accuracy" in told.get("metrics", {}) else told  # the app has no other
    third, _ = fleet.start(strategy(**told), initial=other)
    assert third.rounds[0].contributors == 5


def test_terms_of_training_and_of_evaluation_are_apart(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    strategy, _ = fleet.start(fleet.strategy(evaluate_metrics={}, weight_max=500), initial=model(w=np.zeros(2)))
    train, evaluate = strategy.rounds
    assert "other terms of train" in train.refusals[fleet.ids[0]]
    assert evaluate.contributors == 5


# What apps are told beside the model.

ACTIVE = ThreatModel(server=ServerModel.ACTIVE, corrupt=0.1, dropout=0.1)
ROSTER = roster_of({number: identity_of(number) for number in range(6)})
SENTENCE = "needs run_config=context.run_config"


def configured(home, rates, *, active):
    """Six nodes, each of which reads a learning rate in its context, and a wrapper that says 0.1."""
    fleet = Fleet(home, 6)
    if active:
        for place, node in enumerate(fleet.ids):
            credentials = Credentials(identity_of(place), ROSTER)
            fleet.grid.apps[node] = fleet.app(place, mods=fleet.mods(credentials=credentials))
    for node, rate in zip(fleet.ids, rates, strict=True):
        fleet.grid.contexts[node].run_config["lr"] = rate
    return fleet, {"threat": ACTIVE, "roster": ROSTER} if active else {}


@pytest.mark.parametrize("active", [False, True])
def test_a_node_that_is_told_another_learning_rate_drops_out_alone(tmp_path, active):
    """Else the others would send what follows from 0.0, and the sum were one node's own."""
    fleet, options = configured(tmp_path, (0.1, 0.1, 0.1, 0.1, 0.1, 1.0), active=active)
    inner = fleet.fedavg(fraction_evaluate=0.0)
    strategy, _ = fleet.start(fleet.strategy(inner, run_config={"lr": 0.1}, **options))
    assert contributors(strategy.rounds[0]) == fleet.ids[:5]
    assert list(strategy.rounds[0].refusals) == fleet.ids[5:]
    assert SENTENCE in strategy.rounds[0].refusals[fleet.ids[5]]
    assert not fleet.calls[fleet.ids[5]]


@pytest.mark.parametrize("active", [False, True])
def test_without_run_config_nodes_that_have_one_refuse_and_say_what_is_missing(tmp_path, active):
    fleet, options = configured(tmp_path, [0.1] * 6, active=active)
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), **options))
    assert strategy.rounds[0].aborted
    assert all(SENTENCE in strategy.rounds[0].refusals[node] for node in fleet.ids)
    assert not any(fleet.calls.values())


def test_a_server_that_says_to_each_node_what_it_wants_to_hear_gets_nothing(tmp_path):
    """The context stands in the session's id as well, which is one for all."""
    fleet, _ = configured(tmp_path, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0), active=False)

    def forge(node, message):
        step, *rest = steps_of(message)
        if not getattr(step, "terms", None):
            return message
        content = RecordDict({name: record for name, record in message.content.items() if "privfl" not in name})
        setting = Setting.of(message, run=RUN, run_config=fleet.grid.contexts[node].run_config)
        return with_steps(message, [structs.replace(step, context=context_of(content, step.terms, setting)), *rest])

    fleet.grid.forge = forge
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), run_config={"lr": 0.0}))
    assert contributors(strategy.rounds[0]) == fleet.ids[:5]
    assert SENTENCE not in strategy.rounds[0].refusals[fleet.ids[5]]
    assert not fleet.calls[fleet.ids[5]]


def test_a_node_that_is_told_another_group_drops_out_alone(tmp_path):
    fleet = Fleet(tmp_path)

    def forge(node, message):
        if node == fleet.ids[1]:
            message.metadata.__dict__["_group_id"] = "another"
        return message

    fleet.grid.forge = forge
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert strategy.rounds[0].dropped == (fleet.ids[1],)
    assert "another model, configuration or run configuration" in strategy.rounds[0].refusals[fleet.ids[1]]
    assert not fleet.calls[fleet.ids[1]]


# Rounding.


@pytest.mark.parametrize(("policy", "fewest"), [(None, 8), ("bits = 4\n", 8), ("bits = 12\n", 12)])
def test_too_few_bits_are_refused_by_the_node(tmp_path, policy, fewest):
    """An owner may want more; of fewer, the app's policy has the last word."""
    for bits, missing in ((fewest - 1, 1), (fewest, 0)):
        fleet = Fleet(tmp_path / str(bits))
        node = fleet.ids[2]
        if policy:
            fleet.home_of(node).mkdir(mode=0o700, parents=True)
            (fleet.home_of(node) / "policy.toml").write_text(policy)
        strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), bits=bits))
        record = strategy.rounds[0]
        assert (node in record.refusals) == bool(missing)
        if missing:
            assert f"bits is {bits} of train: this node wants {fewest} or more" in record.refusals[node]
            assert not fleet.calls[node]


def test_no_clip_makes_a_sum_of_the_largest_alone(tmp_path, monkeypatch):
    """To the nearest, steps of 0.6 would become 1 and those of 0.4 nothing: what is left were one node's signs.

    At random, 1 in 7 sums is that node's sign. False alarms: that it is 1 in 2, or that 1 in 2 is 0, below e^-200
    each (Hoeffding); that a mean of about 500 sums, of deviation 1.1 each, is off by 0.35, below 10^-11.
    """
    monkeypatch.setitem(SHAPES, "w", (1000,))
    chance = np.random.default_rng(5)
    signs = chance.choice([-1.0, 1.0], 1000)
    fleet = Fleet(tmp_path, examples=[100] * 5)
    largest, step = fleet.ids[2], 0.01
    changes = {node: (0.6 * step * signs if node == largest else np.full(1000, 0.4 * step)) for node in fleet.ids}
    fleet.delta = lambda node, name: changes[node].astype(np.float32) if name == "w" else np.zeros(3, np.float32)
    initial = model(b=np.zeros(3, np.float32), w=np.zeros(1000, np.float32))
    strategy = fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), bits=8, clip=127 * step, weight_max=100, metrics={})
    _, result = fleet.start(strategy, initial=initial)
    steps = np.rint(result.arrays["w"].numpy() * 5 / step)
    alone = np.count_nonzero(steps == signs)
    assert np.count_nonzero(steps) > 500
    assert alone < 500
    for sign in (-1, 1):
        assert abs(steps[signs == sign].mean() - (1.6 + 0.6 * sign)) < 0.35


# The committee.


def committee_of(home, *, nodes_, members=3):
    """Directories of nodes, the first of which are members of a committee."""
    identities = [identity_of(100 + number) for number in range(members)]
    roster = roster_of(dict(enumerate(identities)))
    for place in range(nodes_):
        folder = home / str(place)
        folder.mkdir(mode=0o700, parents=True)
        (folder / "committee.json").write_text(roster.to_json())
        if place < members:
            (folder / "identity.pem").write_bytes(identities[place].to_pem())
    return roster


def seated(home, **options):
    """Nodes whose directories go by their partition: a new id finds the old directory."""
    roster = committee_of(home, nodes_=5)
    fleet = Fleet(home, mod={"home": lambda context: home / str(context.node_config["partition-id"])})
    shape = CommitteeShape(members=3, threshold=2, **options)
    return fleet, {"suite": "ckks", "committee_roster": roster, "committee": shape}


def restarted(fleet, place):
    """A node comes back under another id; its state is gone, its directory is not."""
    old = fleet.ids[place]
    new = old + 5
    for of in (fleet.grid.apps, fleet.grid.contexts, fleet.calls, fleet.examples, fleet.losses, fleet.accuracies):
        of[new] = of.pop(old)
    fleet.grid.contexts[new] = Context(RUN, new, {"partition-id": place}, RecordDict(), {})
    fleet.ids[place] = new


def test_members_that_come_back_under_other_ids_are_enrolled_again_and_their_key_goes_on(tmp_path):
    fleet, options = seated(tmp_path)

    class Restarting(FedAvg):
        def configure_train(self, server_round, *rest):
            if server_round == 2:
                restarted(fleet, 0)
                restarted(fleet, 1)
            return super().configure_train(server_round, *rest)

    inner = fleet.fedavg(Restarting, fraction_evaluate=0.0)
    strategy, _ = fleet.start(fleet.strategy(inner, linear=True, **options), rounds=3)
    assert [record.aborted for record in of_kind(strategy, "train")] == [None] * 3
    assert [record.contributors for record in of_kind(strategy, "train")] == [5] * 3
    assert len(of_kind(strategy, "ceremony")) == 1


def test_a_sum_that_no_member_was_asked_to_open_costs_no_opening(tmp_path):
    fleet, options = seated(tmp_path, openings=2)
    fleet.grid.silent = lambda node, message: (
        node in fleet.ids[1:]
        and any(getattr(step, "terms", None) and step.terms.round in (1, 2) for step in steps_of(message))
    )
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), **options), rounds=5)
    rounds = of_kind(strategy, "train")
    assert [record.aborted is None for record in rounds] == [False, False, True, True, True]
    ceremonies = [strategy.rounds.index(record) for record in of_kind(strategy, "ceremony")]
    assert ceremonies == [0, 5]  # the second key for the fifth round: two openings, and no more


@pytest.mark.parametrize(("convened", "opened"), [(True, True), (True, False), (False, False)])
def test_openings_are_counted_when_members_were_asked(convened, opened):
    office = Office(roster_of({number: identity_of(number) for number in range(3)}))
    office.over(convened=convened, opened=opened)
    assert (office._opened, office._missed) == (convened, not opened)


# Directories of nodes.


def opened(folder, **options):
    with pytest.raises(ConfigurationError) as caught:
        NodeHome.open(folder, **options)
    return str(caught.value)


def test_a_volume_that_is_not_mounted_stops_the_node(tmp_path, caplog):
    """It must not pass for a node without a policy, nor be made."""
    mount = tmp_path / "volume"
    home = mount / "privfl"
    home.mkdir(mode=0o700, parents=True)
    (home / "policy.toml").write_text("minimum_contributors = 50\n")
    assert NodeHome.open(home, named=True).policy.session.minimum_contributors == 50
    mount.rename(tmp_path / "away")
    mount.mkdir()
    assert "is not there" in opened(home, named=True)
    assert not home.exists()
    home.symlink_to(tmp_path / "nowhere")
    assert "is not there" in opened(home, named=True)
    fleet = Fleet(tmp_path, 1, config={"privfl-home": str(home)})
    reply = fleet.grid.deliver(fleet.ids[0], Message(RecordDict(), fleet.ids[0], "query"))
    assert reply.error.reason == SILENT
    assert "is not there" in caplog.text
    assert not list(mount.glob("privfl/*"))


@pytest.mark.parametrize("name", ["policy.toml", "identity.pem", "roster.json", "committee.json"])
def test_a_link_to_nothing_is_no_missing_file(tmp_path, name):
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / name).symlink_to(tmp_path / "gone" / name)
    assert "is a link to a file that is not there" in opened(folder)


# One key.


def test_of_several_that_make_a_key_at_once_the_slow_get_that_of_the_first(tmp_path, monkeypatch):
    path, made = tmp_path / "ledger.pem", []
    generate = Identity.generate

    def slowly(entropy):
        if not made:  # somebody else is faster
            made.append(None)
            made[0] = own_identity(path)
        return generate(entropy)

    monkeypatch.setattr(Identity, "generate", slowly)
    assert own_identity(path).public == made[0].public == own_identity(path).public
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


MAKES_KEYS = """
import sys
from pathlib import Path
from privfl.roster import own_identity
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[1:]:
    print(own_identity(Path(path)).public.hex())
"""


def test_processes_that_make_a_key_at_once_have_one(tmp_path):
    paths = [tmp_path / f"{attempt}.pem" for attempt in range(20)]
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKES_KEYS, *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        maker.stdin.write("\n")
        maker.stdin.flush()
    said = [maker.communicate(timeout=60)[0].split() for maker in makers]
    assert said == [[own_identity(path).public.hex() for path in paths]] * 3


# Evaluation.


class Spy(FedAvg):
    """Writes down how many nodes and examples were in each evaluation."""

    def aggregate_evaluate(self, server_round, replies):
        replies = list(replies)
        self.__dict__.setdefault("seen", []).append(sum(not reply.has_error() for reply in replies))
        return super().aggregate_evaluate(server_round, replies)


def test_a_model_that_did_not_change_is_not_evaluated_again(tmp_path):
    """Of two sums over one model, of nodes that differ in one, the difference is that one's."""
    fleet, missing = Fleet(tmp_path), 3

    def silent(node, message):
        terms = [step.terms for step in steps_of(message) if getattr(step, "terms", None)]
        return any(
            one.round == 2 and (one.kind == "train" or node == fleet.ids[missing]) for one in terms
        )  # the second round releases nothing, so that its model is that of the first

    fleet.grid.silent = silent
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(Spy), linear=True), rounds=3)
    assert [record.round for record in of_kind(strategy, "evaluate")] == [1, 3]
    assert strategy.strategy.seen == [5, 0, 5]
    kinds = [message.metadata.message_type for message in fleet.calls[fleet.ids[0]]]
    assert kinds == ["train", "evaluate", "train", "evaluate"]


def test_a_model_of_whose_evaluation_nothing_came_may_be_evaluated_again(tmp_path):
    fleet = Fleet(tmp_path)
    strategy = fleet.strategy()
    fleet.grid.silent = lambda node, message: any(getattr(step, "terms", None) for step in steps_of(message))
    for number in (1, 2):
        messages = strategy.configure_evaluate(number, start_model(), ConfigRecord(), fleet.grid)
        strategy.aggregate_evaluate(number, fleet.grid.send_and_receive(messages))
        fleet.grid.silent = lambda node, message: False
    assert [record.contributors for record in strategy.rounds] == [0, 5]


def evaluated(fleet, initial, number):
    strategy = fleet.strategy()
    messages = strategy.configure_evaluate(number, initial, ConfigRecord(), fleet.grid)
    strategy.aggregate_evaluate(number, fleet.grid.send_and_receive(messages))
    return strategy.rounds[-1]


def test_a_node_evaluates_a_model_once_in_a_run_whoever_asks(tmp_path, monkeypatch):
    fleet = Fleet(tmp_path, mod={"home": lambda context: tmp_path / str(context.node_id)})
    other = trained(start_model(), lambda name, array: array + 1)
    assert evaluated(fleet, start_model(), 1).contributors == 5
    again = evaluated(fleet, start_model(), 2)  # a wrapper that remembers nothing, and another round
    assert again.contributors == 0
    assert all("has evaluated this model before" in why for why in again.refusals.values())
    assert evaluated(fleet, other, 3).contributors == 5
    assert [len(calls) for calls in fleet.calls.values()] == [2] * 5
    in_run(fleet, RUN + 1, monkeypatch)
    assert evaluated(fleet, start_model(), 1).contributors == 5


# What a node is and has is its own.


def damages(home):
    """What can be wrong with a node's directory, by name: what makes it so."""
    return {
        "others may look": lambda: home.chmod(0o755),
        "a policy that says something": lambda: (home / "policy.toml").write_text(f'colour = "{OWN}"\n'),
        "a policy that is none": lambda: (home / "policy.toml").write_text(f"{OWN} = [\n"),
        "a roster": lambda: (home / "roster.json").write_text("{"),
        "an identity": (home / "identity.pem").mkdir,
        "an identity that is none": lambda: (home / "identity.pem").write_text(OWN),
        "no identity": lambda: (home / "roster.json").write_text(ROSTER.to_json()),
        "a key": lambda: (home / "state.key").write_text(OWN),
        "claims": lambda: (shutil.rmtree(home / "claims"), (home / "claims").write_text("")),
        "a ledger": lambda: (home / "ledger.jsonl").write_text(OWN),
        "a ledger that is a directory": (home / "ledger.jsonl").mkdir,
        "a ledger's key": lambda: ((home / "ledger.pem").write_text(OWN), (home / "ledger.jsonl").write_text("")),
        "claims of nobody's": lambda: (home / "claims").chmod(0o000),
    }


def test_where_a_node_keeps_what_is_told_to_nobody(moment):
    told = {}
    for name, damage in damages(moment.home).items():
        if name == "claims of nobody's" and os.geteuid() == 0:
            continue  # to root, modes are nothing
        moment.again()
        damage()
        reply = moment.fleet.grid.deliver(moment.node, moment.message)
        said = reply.error.reason if reply.has_error() else repr(answers_of(reply)[0])
        if str(moment.home.parent) in said or OWN in said or "colour" in said:
            told[name] = said
        assert reply.has_error() or not answers_of(reply)[0][0]
        assert not moment.fleet.calls[moment.node]
    assert told == {}


def test_no_path_is_told_when_the_guard_is_gone(moment, monkeypatch):
    """As if it went away between two steps."""
    claimed = FileGuard.claimed

    def gone(self, what, key):
        shutil.rmtree(moment.home / "claims", ignore_errors=True)
        return claimed(self, what, key)

    monkeypatch.setattr(FileGuard, "claimed", gone)
    reply = moment.fleet.grid.deliver(moment.node, moment.message)
    assert str(moment.home.parent).encode() not in wire_bytes(reply)
    assert not reply.has_error()
    assert answers_of(reply)[0][0] == b""


# A wrapper is used twice.


class Stopping(FedAvg):
    """Ends a run when keys are made for the next sums."""

    stops = True

    def configure_evaluate(self, server_round, *rest):
        if self.stops:
            raise KeyboardInterrupt
        return super().configure_evaluate(server_round, *rest)


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_a_wrapper_starts_anew_with_other_nodes_and_in_another_run(tmp_path, monkeypatch, suite):
    fleet = Fleet(tmp_path / "one")
    inner = fleet.fedavg(Stopping)
    strategy = fleet.strategy(inner, linear=True, suite=suite)
    with pytest.raises(KeyboardInterrupt):
        fleet.start(strategy, rounds=2)
    inner.stops = False
    in_run(fleet, RUN + 1, monkeypatch)
    fleet.start(strategy, rounds=2)  # the same nodes, which know nothing of the sessions that were prepared
    assert [record.contributors for record in strategy.rounds] == [5] * 5
    other = Fleet(tmp_path / "other", 6)
    other.grid = LocalGrid(
        {node + 1000: other.grid.apps[node] for node in other.ids},
        contexts={
            node + 1000: Context(RUN + 1, node + 1000, {"partition-id": place}, RecordDict(), {})
            for place, node in enumerate(other.ids)
        },
    )
    other.start(strategy, rounds=1)
    train, evaluate = strategy.rounds[5:]
    assert set(train.cohort) <= set(other.grid.apps)
    assert (train.contributors, evaluate.contributors) == (len(train.cohort), len(evaluate.cohort))
    assert train.contributors >= 5


# Arrays that lie.


@pytest.mark.parametrize("lie", [lie for lie in LIES if "said twice" not in lie])  # which Flower itself cannot send
def test_a_model_that_lies_about_its_arrays_costs_the_node_one_step(moment, lie):
    shown = moment.first()
    shown.content["arrays"] = ArrayRecord({**shown.content["arrays"], "w": LIES[lie]})
    (response, why), *others = moment.ask(shown)
    assert response == b""
    assert "arrays of numpy work" in why
    assert len(others) == 2
    assert all(response for response, _ in others)
    assert not moment.fleet.calls[moment.node]


@pytest.mark.parametrize("name", ["None", "a RecordDict", "an array: ten trillion elements", "an array: an archive"])
def test_an_app_that_answers_anything_drops_out_alone(tmp_path, name):
    fleet = Fleet(tmp_path)
    app = ClientApp(mods=fleet.mods())
    app.train()(APPS[name])
    fleet.grid.apps[fleet.ids[1]] = app
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert strategy.rounds[0].refusals == {fleet.ids[1]: KEPT}
    assert strategy.rounds[0].contributors == 4


# What nodes say of themselves.

FORGED = "no\nERROR: the server has been taken over \x1b[31m\u202e\u2028\r\x00"


def signs(text):
    return [sign for sign in text if not sign.isprintable() and sign != "\n"]


@pytest.mark.parametrize("how", ["why", "error"])
@pytest.mark.parametrize("active", [False, True])
def test_no_node_writes_into_the_servers_log_but_one_line(tmp_path, caplog, how, active):
    """In whatever phase, enrolment included; flwr's own lines are its own."""
    fleet, options = configured(tmp_path, [0.1] * 6, active=active)
    liar = fleet.ids[1]

    def lie(node, message, reply):
        if node != liar:
            return reply
        if how == "error":
            return Message(Error(0, FORGED * 100), reply_to=message)
        content = RecordDict()
        refused = tuple(StepAnswer(why=FORGED) for _ in steps_of(message))
        carrying.put(content, Answer(steps=refused), {})
        return Message(content, reply_to=message)

    for exchange in (1, 2, 3, 4):
        fleet.grid.exchanges = 0
        fleet.grid.lie = lambda node, message, reply, at=exchange: (
            lie(node, message, reply) if fleet.grid.exchanges == at else reply
        )
        strategy, _ = fleet.start(
            fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), run_config={"lr": 0.1}, **options),
            initial=trained(start_model(), lambda name, array, n=exchange: array + n),
        )
        for record in strategy.rounds:
            assert not any(signs(why) or "\n" in why for why in record.refusals.values())
    ours = [record.getMessage() for record in caplog.records if "taken over" in record.getMessage()]
    ours = [line for line in ours if "privfl" in line]  # Flower has lines of its own
    assert len(ours) >= 3
    assert [line for line in ours if signs(line) or "\n" in line] == []
    assert max(len(line) for line in ours) < 700
