"""privfl's mod for Flower: what leaves a node, what it refuses, and what it insists on."""

import copy
import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from flower_harness import (
    BITS,
    CLIP,
    RUN,
    SHAPES,
    WEIGHT_MAX,
    Fleet,
    answers_of,
    asks,
    contributors,
    model,
    of_kind,
    start_model,
    steps_of,
    wire_bytes,
    with_steps,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.mod import fixedclipping_mod
from harness import forged, identity_of, read
from msgspec import structs

from privfl import ClientPolicy, Identity, ServerModel
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.errors import ConfigurationError
from privfl.integrations.flower import NodeHome, SecureAggregationMod, carrying
from privfl.integrations.flower.home import NodePolicy, home_of, stricter
from privfl.integrations.flower.keeping import MOST_KEPT
from privfl.integrations.flower.messages import Answer as AnswerOf
from privfl.integrations.flower.messages import ClientStep, EnrolStep, Request, StepAnswer, Terms
from privfl.integrations.flower.model import Setting, context_of
from privfl.masking.messages import AdvertiseKeysRequest, MaskedInputRequest, ShareKeysRequest, UnmaskRequest
from privfl.masking.secrets import bound_session
from privfl.params import SessionParams
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import session_id
from privfl.simulate import roster_of
from privfl.wire import SERVER, SuiteCode

KEPT = "this node sends no contribution: its log says why"
SESSION = slice(12, 44)
"""Of a frame: the session's id."""


@pytest.fixture(autouse=True)
def _disks_are_quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)


def kept_messages(fleet):
    """What each node was sent, by node and what it asks first; contexts as they were before."""
    kept = {}

    def forge(node, message):
        for step in steps_of(message):
            if isinstance(step, ClientStep):
                kinds = (AdvertiseKeysRequest, ShareKeysRequest, MaskedInputRequest, UnmaskRequest)
                kind = next(kind for kind in kinds if asks(step, kind))
                state = copy.deepcopy(fleet.grid.contexts[node])
                kept.setdefault((node, kind), SimpleNamespace(message=message, step=step, context=state))
        return message

    fleet.grid.forge = forge
    return kept


# Nothing in clear.

COUNTS = [734_159_263_847 + 11_111_111_111 * i for i in range(5)]
LOSSES = [2.718281828 + i / 7 for i in range(5)]
ACCURACIES = [0.577215664 + i / 17 for i in range(5)]
SECRETS = [31.41592653 + i for i in range(5)]
MOST_COUNT = 1e12


def telling(home, *suites):
    """Nodes whose numbers can be found again in any bytes; without suites, they have no mod."""
    policy = ClientPolicy(suites=frozenset({*suites, "masking"}), minimum_contributors=1)
    own = {
        i: {
            "metrics": {"train_loss": LOSSES[i], "secret": SECRETS[i]},
            "evaluated": {"accuracy": ACCURACIES[i]},
            "extra": {"notes": ConfigRecord({"patient": "Erika Mustermann"})},
            **({} if suites else {"mods": []}),
        }
        for i in range(5)
    }
    return Fleet(home, own=own, examples=COUNTS, mod={"policy": policy})


def windows(values, dtypes, least=2):
    """Every run of at least so many neighbouring numbers that takes 8 bytes or more, in some encodings."""
    found = set()
    for dtype in dtypes:
        flat = np.ascontiguousarray(values).reshape(-1).astype(dtype)
        step = max(least, 8 // flat.itemsize)
        found |= {flat[i : i + step].tobytes() for i in range(flat.size - step + 1)}
    return found


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def number(value):
    """Encodings of a number."""
    said = {struct.pack(kind, value) for kind in ("<d", ">d")} | {repr(value).encode()}
    if isinstance(value, int):
        said |= {struct.pack(kind, value) for kind in ("<q", ">q")} | {varint(value), varint(2 * value)}
    return said


def rolling(word):
    """Dice that always show the same."""
    return lambda count: np.full(count, word, np.uint32)


def clear_text(fleet):
    """Encodings of all that is a node's own, and of the vectors that it makes of them."""
    floats = ("<f4", ">f4", "<f8", ">f8")
    codec = UpdateCodec(
        layout=Layout(tuple(sorted(SHAPES.items()))),
        coding=FixedPoint(clip=CLIP, bits=BITS),
        weight_max=MOST_COUNT,
        means={"train_loss": 10.0},
    )
    before, said = start_model(), {b"Mustermann", b"notes", b"patient"}
    for i, node in enumerate(fleet.ids):
        update = {name: fleet.delta(node, name) for name in SHAPES}
        for name, change in update.items():
            said |= windows(change, floats) | windows(before[name].numpy() + change, floats)
        for value in (COUNTS[i], LOSSES[i], ACCURACIES[i], SECRETS[i]):
            said |= number(value)
        # Rounded at random, up or down: four vectors have every pair of neighbours in them, however they were rounded.
        down, up = (
            codec.encode(update, weight=COUNTS[i], means={"train_loss": LOSSES[i]}, dice=rolling(word)).vector
            for word in (0, 2**32 - 1)
        )
        odd = np.arange(down.size) % 2 == 1
        for vector in (down, up, np.where(odd, up, down), np.where(odd, down, up)):
            said |= windows(vector, ("<i4", ">i4", "<i8", ">i8"))
    return said


def found_in(fleet, patterns):
    wires = [wire_bytes(message) for message in fleet.grid.seen]
    return {pattern for pattern in patterns if any(pattern in wire for wire in wires)}


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_nothing_of_a_node_leaves_in_clear(tmp_path, suite):
    leaks = None
    for run in ("one", "another"):  # by chance, a few bytes of a run can be anything; of two runs they are not the same
        fleet = telling(tmp_path / run, suite)
        strategy, _ = fleet.start(fleet.strategy(suite=suite, weight_max=MOST_COUNT), rounds=2)
        assert [record.contributors for record in strategy.rounds] == [5] * 4
        found = found_in(fleet, clear_text(fleet))
        leaks = found if leaks is None else leaks & found
        if not leaks:
            break
    assert not leaks


def test_the_search_finds_what_is_in_clear(tmp_path):
    fleet = telling(tmp_path)
    patterns = clear_text(fleet)
    fleet.fedavg().start(fleet.grid, start_model(), num_rounds=1)
    found = found_in(fleet, patterns)
    after = fleet.delta(fleet.ids[0], "w") + start_model()["w"].numpy()
    assert windows(after, ["<f4"]) <= found
    for values in (COUNTS, LOSSES, ACCURACIES, SECRETS):
        assert all(number(value) & found for value in values)
    assert b"Mustermann" in found


def test_the_search_finds_vectors_that_nothing_hides(tmp_path):
    fleet = telling(tmp_path, "plain")
    fleet.start(fleet.strategy(suite="plain", weight_max=MOST_COUNT))
    assert len(found_in(fleet, clear_text(fleet))) > 70  # of 80 pairs of neighbours, those that are not alike


def test_what_was_not_agreed_on_stays_with_the_node_and_its_log_says_so(tmp_path, caplog):
    fleet = telling(tmp_path, "masking")
    fleet.start(fleet.strategy(weight_max=MOST_COUNT))
    assert "keeps with this node what was not agreed on for sums: secret, notes" in caplog.text
    assert {message.content.config_records.keys() <= {"privfl"} for message in fleet.grid.seen} == {True}
    assert {message.content.array_records.keys() <= {"privfl-arrays"} for message in fleet.grid.seen} == {True}
    assert not any(message.content.metric_records for message in fleet.grid.seen)


def raises(name, array):
    raise ValueError("the loss of patient 4711 is 3.14159")


def test_what_an_app_raises_is_for_its_log_alone_and_keys_of_the_next_round_are_kept(tmp_path, caplog):
    fleet = Fleet(tmp_path, own={2: {"change": raises}})
    strategy, _ = fleet.start(rounds=2)
    wires = [wire_bytes(message) for message in fleet.grid.seen]
    assert not any(b"4711" in wire or b"3.14159" in wire for wire in wires)
    assert "4711" in caplog.text
    first, second = of_kind(strategy, "train")
    lost = fleet.ids[2]
    assert first.dropped == second.dropped == (lost,)
    assert first.refusals[lost] == second.refusals[lost] == KEPT
    assert [record.contributors for record in of_kind(strategy, "evaluate")] == [5, 5]


def test_of_an_error_that_the_app_answers_nothing_is_told(tmp_path, caplog):
    fleet = Fleet(tmp_path)
    failing = lambda message, context, call_next: Message(Error(9, "patient 4711"), reply_to=message)  # noqa: E731
    fleet.grid.apps[fleet.ids[0]] = fleet.app(0, mods=[SecureAggregationMod(home=tmp_path), failing])
    strategy, _ = fleet.start()
    assert strategy.rounds[0].refusals == {fleet.ids[0]: KEPT}
    assert "the app answered with error 9" in caplog.text
    assert not any(b"4711" in wire_bytes(message) for message in fleet.grid.seen)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"examples": WEIGHT_MAX + 1}, "'num-examples' is outside its range"),
        ({"examples": 0}, "'num-examples' is outside its range"),
        ({"examples": -3}, "'num-examples' is outside its range"),
        ({"examples": float("nan")}, "'num-examples' is no finite number"),
        ({"examples": float("inf")}, "'num-examples' is no finite number"),
        ({"examples": [7, 7]}, "'num-examples' is no finite number"),
        ({"examples": 1e-9}, "the weight vanishes"),
        ({"metrics": {}}, "'train_loss' is missing"),
        ({"metrics": {"train_loss": float("nan")}}, "'train_loss' is no finite number"),
        ({"metrics": {"train_loss": -0.125}}, "'train_loss' is out of range"),
        ({"metrics": {"train_loss": [0.5]}}, "'train_loss' is no finite number"),
        ({"change": lambda name, array: array * np.float32("nan")}, "array 'b' is not finite"),
        ({"change": lambda name, array: array.astype(np.int64)}, "array 'b' is int64"),
        ({"change": lambda name, array: array[:1]}, "array 'b' is float32 of shape (1,)"),
        ({"extra": {"more": MetricRecord({"x": 1.0})}}, "2 records of type MetricRecord"),
        ({"extra": {"more": model(x=np.zeros(2))}}, "2 records of type ArrayRecord"),
    ],
)
def test_a_reply_that_is_not_as_agreed_stays_with_the_node_and_the_others_go_on(tmp_path, caplog, told, why):
    fleet = Fleet(tmp_path, own={1: told})
    strategy, result = fleet.start()
    lost, rest = fleet.ids[1], [node for node in fleet.ids if node != fleet.ids[1]]
    record = strategy.rounds[0]
    assert record.refusals[lost] == KEPT  # whatever is wrong with it: a server could learn from the words
    assert why in caplog.text
    assert record.dropped == (lost,)
    after = result.arrays["w"].numpy() - start_model()["w"].numpy()
    assert np.abs(after - fleet.mean("w", rest)).max() <= fleet.tolerance(rest)


def test_a_missing_count_is_refused(tmp_path, caplog):
    fleet = Fleet(tmp_path)

    def without_count(message, context, call_next):
        reply = call_next(message, context)
        del reply.content["metrics"]["num-examples"]
        return reply

    fleet.grid.apps[fleet.ids[0]] = fleet.app(0, mods=[SecureAggregationMod(home=tmp_path), without_count])
    strategy, _ = fleet.start()
    assert strategy.rounds[0].refusals == {fleet.ids[0]: KEPT}
    assert "'num-examples' is missing" in caplog.text


def test_a_metric_over_its_maximum_is_cut_there(tmp_path):
    fleet = Fleet(tmp_path, own={4: {"metrics": {"train_loss": 1e9}}})
    _, result = fleet.start()
    want = fleet.mean_of(fleet.losses | {fleet.ids[4]: 10.0}, fleet.ids)
    assert result.train_metrics_clientapp[1]["train_loss"] == pytest.approx(want, abs=0.01)


# What the app sees.


def test_the_app_and_other_mods_see_messages_as_the_strategy_made_them(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.start(train_config=ConfigRecord({"lr": 0.1}))
    train, evaluate = fleet.calls[fleet.ids[0]]
    assert set(train.content) == set(evaluate.content) == {"arrays", "config"}
    assert dict(train.content["config"]) == {"lr": 0.1, "server-round": 1}


def test_a_clipping_mod_works_behind_it(tmp_path):
    fleet = Fleet(tmp_path)
    for place, node in enumerate(fleet.ids):
        fleet.grid.apps[node] = fleet.app(place, mods=[SecureAggregationMod(home=tmp_path), fixedclipping_mod])
    _, result = fleet.start(
        fleet.strategy(evaluate_metrics={}, metrics={}, inner=fleet.fedavg(fraction_evaluate=0.0)),
        train_config=ConfigRecord({"clipping_norm": 0.01}),
    )
    moved = [result.arrays[name].numpy() - start_model()[name].numpy() for name in SHAPES]
    norm = np.sqrt(sum(float((change**2).sum()) for change in moved))
    assert 0.001 < norm < 0.0101


def test_integer_arrays_are_neither_changed_nor_sent(tmp_path):
    patterns = windows(np.array([123456789123456789 + 1]), ["<i8", ">i8"], least=1)
    fleet = Fleet(tmp_path)
    for place, node in enumerate(fleet.ids):
        change = lambda name, array, node=node: (  # noqa: E731
            array + 1 if name == "steps" else (array + fleet.delta(node, name)).astype(array.dtype)
        )
        fleet.grid.apps[node] = fleet.app(place, change=change)
    initial = ArrayRecord({**start_model(), **model(steps=np.int64(123456789123456789), on=np.array([True]))})
    _, result = fleet.start(rounds=2, initial=initial)
    assert result.arrays["steps"] == initial["steps"]
    assert result.arrays["on"] == initial["on"]
    assert not found_in(fleet, patterns)
    after = result.arrays["w"].numpy() - initial["w"].numpy()
    assert np.abs(after - 2 * fleet.mean("w", fleet.ids)).max() <= 2 * fleet.tolerance(fleet.ids)


# What is refused: messages without protection.


def query(fleet, node, kind="query", content=None):
    return fleet.grid.deliver(node, Message(content or RecordDict(), node, kind))


def unprotected(fleet, node, kind="train"):
    content = RecordDict({"arrays": start_model(), "config": ConfigRecord({"server-round": 1})})
    return query(fleet, node, kind, content)


@pytest.mark.parametrize("kind", ["train", "evaluate", "query", "train.other"])
def test_a_message_without_protection_is_refused_and_the_app_not_called(tmp_path, caplog, kind):
    fleet = Fleet(tmp_path, 2)
    reply = unprotected(fleet, fleet.ids[0], kind)
    assert reply.has_error()
    assert "without protection" in reply.error.reason
    assert f"refuses a {kind} message" in caplog.text
    assert not fleet.calls[fleet.ids[0]]


def test_types_in_clear_must_be_so_for_app_and_owner(tmp_path):
    fleet = Fleet(tmp_path, 3, mod={"clear": {"query"}})
    plain, stricter_one, same = fleet.ids
    for node, text in ((stricter_one, ""), (same, 'clear = ["query", "train"]')):
        owners_policy(fleet, node, text)
    assert query(fleet, plain).content["config"]["hello"] == "world"
    assert query(fleet, stricter_one).has_error()
    assert query(fleet, same).content["config"]["hello"] == "world"
    assert unprotected(fleet, same).has_error()


def test_a_server_that_sends_no_protected_request_gets_nothing(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.fedavg().start(fleet.grid, start_model(), num_rounds=1)
    assert all(message.has_error() for message in fleet.grid.seen)
    assert not any(fleet.calls.values())


# What is refused: a server that lies.


def test_an_old_session_is_not_continued_and_the_app_not_called(tmp_path, caplog):
    fleet, old = Fleet(tmp_path), {}
    victim = fleet.ids[0]

    def forge(node, message):
        steps = steps_of(message)
        if node == victim and fleet.grid.exchanges == 3:
            old["step"] = steps[0]
        if node == victim and fleet.grid.exchanges == 7:
            return with_steps(message, [old["step"], *steps[1:]])
        return message

    fleet.grid.forge = forge
    strategy, _ = fleet.start(rounds=2)
    _, second = of_kind(strategy, "train")
    assert "a session that this node does not hold" in second.refusals[victim]
    assert "a session that this node does not hold" in caplog.text
    assert second.dropped == (victim,)
    assert [message.metadata.message_type for message in fleet.calls[victim]] == ["train", "evaluate", "evaluate"]


def test_of_a_nonce_no_second_session_is_begun_with_another_cohort(tmp_path):
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start()
    node = fleet.ids[0]
    first = kept[node, AdvertiseKeysRequest]
    params = SessionParams.from_bytes(first.step.params)
    other = replace(params, cohort=(0, 1, 2, 3, 9))
    frame = bytearray(first.step.request)
    frame[SESSION] = other.keys_digest
    step = structs.replace(first.step, params=other.to_bytes(), request=bytes(frame))
    ((response, why),) = answers_of(fleet.grid.deliver(node, with_steps(first.message, [step])))
    assert response == b""
    assert "nonce has been used" in why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda step: {"session": bytes(16)}, "called otherwise than by its nonce"),
        (lambda step: {"number": 77}, "client 77 is not in the cohort"),
        (lambda step: {"params": step.params[:-1]}, "not session parameters"),
        (lambda step: {"params": b""}, "a session that this node does not hold"),
        (lambda step: {"request": b""}, "without a request"),
        (lambda step: {"request": b"garbage"}, ""),
        (lambda step: {"terms": Terms(kind="train", round=1, clip=1.0, bits=8, weight_max=1.0, weighted_by="n")}, ""),
    ],
)
def test_a_first_request_that_contradicts_itself_is_refused(tmp_path, change, why):
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start()
    first = kept[fleet.ids[0], AdvertiseKeysRequest]
    new = Fleet(tmp_path / "new")
    step = structs.replace(first.step, **change(first.step))
    ((response, said),) = answers_of(new.grid.deliver(new.ids[0], with_steps(first.message, [step])))
    assert response == b""
    assert said
    assert why in said


def test_two_sums_of_one_reply_are_refused(tmp_path):
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start()
    asked = kept[fleet.ids[0], MaskedInputRequest]
    reply = fleet.grid.deliver(fleet.ids[0], with_steps(asked.message, [asked.step, asked.step]))
    assert reply.has_error()
    assert "two sums of one reply" in reply.error.reason


def test_both_lists_in_unmask_are_refused_and_the_secrets_are_gone(tmp_path, caplog):
    fleet, victim = Fleet(tmp_path), 0
    kept = kept_messages(fleet)
    record = fleet.grid.forge

    def forge(node, message):
        record(node, message)
        steps = steps_of(message)
        if node != fleet.ids[victim] or not asks(steps[0], UnmaskRequest):
            return message
        frame = steps[0].request
        request = read(frame, UnmaskRequest)
        both = structs.replace(request, dropped=request.survivors[:1])
        lie = forged(both, suite=SuiteCode.MASKING, session=frame[SESSION], sender=SERVER)
        return with_steps(message, [structs.replace(steps[0], request=lie), *steps[1:]])

    fleet.grid.forge = forge
    strategy, _ = fleet.start()
    record = strategy.rounds[0]
    assert "listed as survivors and as dropped" in record.refusals[fleet.ids[victim]]
    assert "listed as survivors and as dropped" in caplog.text
    assert record.contributors == 5  # the others' shares are enough
    honest = kept[fleet.ids[victim], UnmaskRequest].message
    ((_, why), *_) = answers_of(fleet.grid.deliver(fleet.ids[victim], honest))
    assert "a session that this node does not hold" in why


def test_unmask_is_answered_once(tmp_path):
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start()
    for node in fleet.ids:
        ((response, why), *_) = answers_of(fleet.grid.deliver(node, kept[node, UnmaskRequest].message))
        assert response == b""
        assert "a session that this node does not hold" in why


@pytest.mark.parametrize("kind", [AdvertiseKeysRequest, ShareKeysRequest, MaskedInputRequest, UnmaskRequest])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_restored_state_answers_nothing_a_second_time(tmp_path, kind, when):
    """Node, guarantee 1."""
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    node = fleet.ids[0]
    twice = []

    def lie(one, message, reply):
        if one == node and steps_of(message) and asks(steps_of(message)[0], kind) and not twice:
            now = fleet.grid.contexts[node]
            fleet.grid.contexts[node] = copy.deepcopy(kept[node, kind].context)
            twice.append(answers_of(fleet.grid.deliver(node, message))[0])
            fleet.grid.contexts[node] = now
        return reply

    if when == "at once":
        fleet.grid.lie = lie
    strategy, _ = fleet.start()
    if when == "later":
        before = copy.deepcopy(kept[node, kind].context)
        fleet.grid.contexts[node] = before
        twice = [answers_of(fleet.grid.deliver(node, kept[node, kind].message))[0]]
    ((response, why),) = twice
    assert response == b""
    assert "has answered already" in why or "has been used before" in why
    assert strategy.rounds[0].contributors == 5


def test_a_restored_state_is_not_bound_to_two_models(tmp_path):
    fleet = Fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start()
    node = fleet.ids[0]
    asked = kept[node, MaskedInputRequest]
    calls = len(fleet.calls[node])
    fleet.grid.contexts[node] = asked.context
    asked.message.content["arrays"] = model(**{name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
    (response, why), *_ = answers_of(fleet.grid.deliver(node, asked.message))
    assert response == b""
    assert "has answered already" in why
    assert len(fleet.calls[node]) == calls


def test_a_damaged_state_is_refused_and_takes_nothing_else_along(tmp_path):
    fleet = Fleet(tmp_path)

    def forge(node, message):
        if node == fleet.ids[0] and fleet.grid.exchanges == 2:
            fleet.grid.contexts[node].state["privfl"] = ConfigRecord({"sessions": b"\x91\x92garbage"})
        return message

    fleet.grid.forge = forge
    strategy, _ = fleet.start()
    assert strategy.rounds[0].dropped == (fleet.ids[0],)
    assert fleet.grid.seen[5].has_error() or fleet.grid.seen[5].content


def shelf_of(context):
    return [session for session, *_ in msgspec.msgpack.decode(context.state["privfl"]["sessions"])]


def test_sessions_that_are_over_leave_the_state(tmp_path):
    fleet = Fleet(tmp_path)
    kept = []
    fleet.grid.lie = lambda node, message, reply: kept.append(len(shelf_of(fleet.grid.contexts[node]))) or reply
    fleet.start(rounds=2)
    assert max(kept) == 3
    assert not any(shelf_of(fleet.grid.contexts[node]) for node in fleet.ids)


def test_a_node_keeps_no_more_sessions_than_it_can_need(tmp_path):
    fleet = Fleet(tmp_path)
    begun = []

    def forge(node, message):
        begun.extend(step.session for step in steps_of(message) if node == fleet.ids[0] and step.params)
        return message

    fleet.grid.forge = forge
    fleet.grid.silent = lambda node, message: fleet.grid.exchanges % 2 == 0  # nothing gets beyond the first phase
    for _ in range(6):
        fleet.strategy().configure_train(1, start_model(), ConfigRecord(), fleet.grid)
    assert len(begun) == 6
    assert shelf_of(fleet.grid.contexts[fleet.ids[0]]) == begun[-MOST_KEPT:]


# What the vector is bound to.


SETTING = {"run": 5, "message_type": "train", "group": "1", "run_config": {"lr": 0.1, "local-epochs": 1}}


def shown(**changes):
    content = RecordDict(
        {
            "arrays": changes.pop("arrays", None) or model(w=np.zeros(3, np.float32), n=np.int64(1)),
            "config": changes.pop("config", None) or ConfigRecord({"lr": 0.5, "names": ["a", "b"]}),
            **changes.pop("extra", {}),
        }
    )
    terms = structs.replace(
        Terms(kind="train", round=1, clip=0.5, bits=16, weight_max=10.0, weighted_by="n", metrics=(("loss", 1.0),)),
        **changes.pop("terms", {}),
    )
    return context_of(content, terms, Setting(**{**SETTING, **changes}))


OTHERS = [
    {"arrays": model(w=np.ones(3, np.float32), n=np.int64(1))},
    {"arrays": model(w=np.zeros(3, np.float64), n=np.int64(1))},
    {"arrays": model(w=np.zeros((3, 1), np.float32), n=np.int64(1))},
    {"arrays": model(w=np.zeros(3, np.float32), n=np.int64(2))},
    {"arrays": model(v=np.zeros(3, np.float32), n=np.int64(1))},
    {"arrays": model(w=np.zeros(3, np.float32))},
    {"config": ConfigRecord({"lr": 0.25, "names": ["a", "b"]})},
    {"config": ConfigRecord({"lr": "0.5", "names": ["a", "b"]})},
    {"config": ConfigRecord({"lr": 0.5, "names": ["ab"]})},
    {"config": ConfigRecord({"lr": 0.5, "names": [b"a", b"b"]})},
    {"config": ConfigRecord({"lr": 0.5})},
    {"config": ConfigRecord({"lr": 0.5, "names": ["a", "b"], "more": 1})},
    {"config": ConfigRecord({"lr": 0.5, "names": ["a", "b"], "more": True})},
    {"extra": {"more": ConfigRecord()}},
    {"extra": {"more": MetricRecord()}},
    {"terms": {"round": 2}},
    {"terms": {"clip": 0.25}},
    {"terms": {"bits": 15}},
    {"terms": {"weight_max": 11.0}},
    {"terms": {"weighted_by": "m"}},
    {"terms": {"metrics": (("loss", 2.0),)}},
    {"terms": {"kind": "evaluate"}},
    {"run": 6},
    {"message_type": "train.other"},
    {"group": "2"},
    {"run_config": {}},
    {"run_config": {"lr": 0.2, "local-epochs": 1}},
    {"run_config": {"lr": 0.1, "local-epochs": True}},
]


def test_a_context_is_what_a_node_is_shown_all_of_it():
    """Guarantee 3 of the mod."""
    contexts = [shown(), *(shown(**dict(other)) for other in OTHERS)]
    assert all(len(context) == 32 for context in contexts)
    assert len(set(contexts)) == len(contexts)


def test_a_context_does_not_depend_on_the_order_of_names_or_the_sign_of_a_run():
    one = RecordDict({"a": ConfigRecord({"x": 1, "y": 2}), "b": model(v=np.zeros(2), w=np.ones(2))})
    other = RecordDict({"b": model(w=np.ones(2), v=np.zeros(2)), "a": ConfigRecord({"y": 2, "x": 1})})
    terms = Terms(kind="train", round=1, clip=0.5, bits=16, weight_max=10.0, weighted_by="n")
    said = {
        context_of(content, terms, Setting(**{**SETTING, "run": run}))
        for content in (one, other)
        for run in (-1, 2**64 - 1)
    }
    assert len(said) == 1


def other_model(content, node):
    content["arrays"] = ArrayRecord({**content["arrays"], **model(b=np.full(3, 0.01, np.float32))})


def other_configuration(content, node):
    content["config"] = ConfigRecord({**content["config"], "lr": 0.1})


def other_round(content, node):
    content["config"] = ConfigRecord({**content["config"], "server-round": 9})


@pytest.mark.parametrize("change", [other_model, other_configuration, other_round])
def test_a_node_that_is_shown_something_else_than_the_others_sends_nothing(tmp_path, change):
    fleet = Fleet(tmp_path)

    def forge(node, message):
        if node == fleet.ids[0] and fleet.grid.exchanges == 3:
            change(message.content, node)
        return message

    fleet.grid.forge = forge
    strategy, _ = fleet.start()
    assert "shown another model, configuration" in strategy.rounds[0].refusals[fleet.ids[0]]
    assert contributors(strategy.rounds[0]) == fleet.ids[1:]
    assert "train" not in [message.metadata.message_type for message in fleet.calls[fleet.ids[0]]]


class TwoFaced:
    """A server that shows some nodes something else, and writes what they say for another session into its own."""

    def __init__(self, fleet, victims, change, terms=None):
        self.fleet, self.victims, self.change, self.terms = fleet, victims, change, terms or {}
        self.params, self.root, self.ids = None, {}, {}
        fleet.grid.forge, fleet.grid.lie = self.forge, self.lie

    def forge(self, node, message):
        steps = steps_of(message)
        step = steps[0]
        if self.params is None:
            self.params = SessionParams.from_bytes(step.params)
        if step.session != self.params.nonce or node not in self.victims:
            return message
        if asks(step, ShareKeysRequest):
            self.root[node] = read(step.request, ShareKeysRequest).root
        if asks(step, MaskedInputRequest):
            self.change(message.content, node)
            step = structs.replace(step, terms=structs.replace(step.terms, **self.terms))
            content = RecordDict({name: record for name, record in message.content.items() if "privfl" not in name})
            context = context_of(content, step.terms, Setting.of(message, run=RUN, run_config={}))
            step = structs.replace(step, context=context)
            keys = session_id(self.params.keys_digest, self.root[node])
            self.ids[node] = step.request[SESSION], bound_session(keys, context)
        if node in self.ids:
            step = structs.replace(step, request=in_session(step.request, self.ids[node][1]))
        return with_steps(message, [step, *steps[1:]])

    def lie(self, node, message, reply):
        steps = steps_of(message)
        if node not in self.ids or steps[0].session != self.params.nonce:
            return reply
        answers = answers_of(reply)
        first, why = answers[0]
        first = first and in_session(first, self.ids[node][0])
        said = [StepAnswer(response=response, why=why) for response, why in [(first, why), *answers[1:]]]
        content = RecordDict()
        carrying.put(content, AnswerOf(steps=tuple(said)), {})
        return Message(content, reply_to=message)


def in_session(frame, session):
    """A frame with the id of another session."""
    return frame[: SESSION.start] + session + frame[SESSION.stop :]


@pytest.mark.parametrize(
    ("change", "terms"),
    [(other_model, {}), (other_configuration, {}), (other_round, {}), (lambda content, node: None, {"clip": 1e-6})],
)
@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_nodes_that_a_lying_server_shows_different_things_make_noise(tmp_path, change, terms, suite):
    fleet = Fleet(tmp_path)
    lying = TwoFaced(fleet, fleet.ids[:2], change, terms)
    strategy, result = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), suite=suite))
    record = strategy.rounds[0]
    assert set(lying.ids) == set(fleet.ids[:2])
    assert not record.refusals
    assert record.aborted is not None
    assert "masks did not cancel" in record.aborted
    assert not result.arrays


def test_a_node_that_alone_is_shown_something_else_is_not_exposed(tmp_path):
    """Its vector is what all of the others' masks hide, which do not cancel."""
    fleet = Fleet(tmp_path)
    lying = TwoFaced(fleet, fleet.ids[:1], other_model)
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert "masks did not cancel" in strategy.rounds[0].aborted
    assert len(lying.ids) == 1


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"kind": "evaluate"}, "terms of 'evaluate' in a message of type 'train'"),
        ({"bits": 15}, "the session's vector is not the one that model and terms make"),
        ({"bits": 99}, "encoding.bits is 99"),
        ({"clip": float("nan")}, "encoding.clip is nan"),
        ({"weight_max": -1.0}, "weight_max is -1.0"),
        ({"metrics": (("b", 1.0), ("a", 1.0))}, "not in order"),
        ({"metrics": (("num-examples", 1.0),)}, "hold the weight"),
        ({"metrics": (("train_loss", 1.0), ("train_loss", 2.0))}, "repeat"),
        ({"metrics": (("train_loss", float("inf")),)}, "the maximum of metric"),
        ({"metrics": ()}, "the session's vector is not the one"),
    ],
)
def test_terms_that_contradict_themselves_are_refused_and_the_app_not_called(tmp_path, terms, why):
    fleet = Fleet(tmp_path)

    def forge(node, message):
        steps = steps_of(message)
        if node == fleet.ids[0] and fleet.grid.exchanges == 3:
            lie = structs.replace(steps[0], terms=structs.replace(steps[0].terms, **terms))
            return with_steps(message, [lie, *steps[1:]])
        return message

    fleet.grid.forge = forge
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert why in strategy.rounds[0].refusals[fleet.ids[0]]
    assert not fleet.calls[fleet.ids[0]]
    assert contributors(strategy.rounds[0]) == fleet.ids[1:]


@pytest.mark.parametrize("other", [{"clip": 0.25}, {"bits": 20}, {"weight_max": 2000}, {"metrics": {}}])
def test_terms_stay_as_a_node_first_saw_them_in_a_run(tmp_path, other):
    fleet = Fleet(tmp_path)
    inner = fleet.fedavg(fraction_evaluate=0.0)
    fleet.start(fleet.strategy(inner))
    strategy, _ = fleet.start(fleet.strategy(inner, **other), initial=model(w=np.zeros(3, np.float32)))
    assert strategy.rounds[0].aborted
    assert all("other terms of train" in why for why in strategy.rounds[0].refusals.values())
    assert len(strategy.rounds[0].refusals) == 5
    assert [len(calls) for calls in fleet.calls.values()] == [1] * 5


def test_a_model_is_evaluated_once_in_a_run(tmp_path):
    """Two sums of one answer, of nodes that differ in one, would tell that one's answer."""
    fleet = Fleet(tmp_path)
    records = []
    for number in (1, 2):
        strategy = fleet.strategy()  # a server that remembers nothing
        messages = strategy.configure_evaluate(number, start_model(), ConfigRecord(), fleet.grid)
        strategy.aggregate_evaluate(number, fleet.grid.send_and_receive(messages))
        records += strategy.rounds
    first, second = records
    assert first.contributors == 5
    assert second.aborted
    assert all("has evaluated this model before" in why for why in second.refusals.values())


def test_nodes_whose_run_configuration_is_not_the_servers_send_nothing(tmp_path):
    fleet = Fleet(tmp_path)
    for node, rate in zip(fleet.ids, (0.1, 0.1, 0.1, 0.1, 0.2), strict=True):
        fleet.grid.contexts[node].run_config["lr"] = rate
    strategy, _ = fleet.start(fleet.strategy(run_config={"lr": 0.1}))
    assert contributors(strategy.rounds[0]) == fleet.ids[:4]
    assert "needs run_config=context.run_config" in strategy.rounds[0].refusals[fleet.ids[4]]
    assert not fleet.calls[fleet.ids[4]]


# What a node's owner insists on.


def owners_policy(fleet, node, text, name="policy.toml"):
    folder = fleet.home_of(node)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('suites = ["kahe"]', "suite 'masking' is not allowed by this client"),
        ("suites = []", "suite 'masking' is not allowed by this client"),
        ("minimum_contributors = 6", "under this client's minimum of 6"),
        ("corrupt = 0.3", "this client wants 0.3 or more"),
        ("corrupt_clients = 2", "this client wants 2"),
        ("statistical_bits = 80", "this client wants 80 or more"),
        ('servers = ["active"]', "threat.server 'honest-but-curious' is not allowed"),
    ],
)
def test_an_owners_policy_outranks_app_and_server(tmp_path, caplog, text, why):
    """Node, guarantee 2."""
    fleet = Fleet(tmp_path, mod={"policy": ClientPolicy()})
    owners_policy(fleet, fleet.ids[3], text)
    strategy, _ = fleet.start()
    assert why in strategy.rounds[0].refusals[fleet.ids[3]]
    assert why in caplog.text
    assert not fleet.calls[fleet.ids[3]]
    assert contributors(strategy.rounds[0]) == [node for node in fleet.ids if node != fleet.ids[3]]


def test_an_apps_policy_holds_where_the_owner_says_nothing(tmp_path):
    fleet = Fleet(tmp_path, mod={"policy": ClientPolicy(suites=frozenset({"kahe"}))})
    owners_policy(fleet, fleet.ids[0], 'suites = ["masking", "kahe"]')
    strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    assert len(strategy.rounds[0].refusals) == 5
    assert not any(fleet.calls.values())


def test_an_owners_minimum_holds_when_sums_are_opened(tmp_path):
    fleet = Fleet(tmp_path)
    for node in fleet.ids[:3]:
        owners_policy(fleet, node, "minimum_contributors = 5")
    fleet.silence(fleet.ids[4], {3})
    strategy, result = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0)))
    record = strategy.rounds[0]
    assert record.aborted
    assert set(record.refusals) >= set(fleet.ids[:3])
    assert not result.arrays


def test_an_owners_list_of_metrics_outranks_what_was_agreed(tmp_path):
    fleet = Fleet(tmp_path)
    owners_policy(fleet, fleet.ids[0], 'metrics = ["accuracy"]')
    strategy, _ = fleet.start()
    assert "'train_loss' was agreed on, which this node keeps out of sums" in strategy.rounds[0].refusals[fleet.ids[0]]
    assert strategy.rounds[1].contributors == 5
    assert [message.metadata.message_type for message in fleet.calls[fleet.ids[0]]] == ["evaluate"]


def test_an_owners_list_of_metrics_holds_for_the_weight(tmp_path):
    policy = NodePolicy(metrics=frozenset({"loss"}))
    terms = Terms(kind="train", round=1, clip=0.5, bits=16, weight_max=10.0, weighted_by="num-examples")
    policy.check_terms(terms)
    policy.check_terms(structs.replace(terms, metrics=(("loss", 1.0),), weighted_by="loss"))
    with pytest.raises(ConfigurationError, match="'salary'"):
        policy.check_terms(structs.replace(terms, weighted_by="salary"))
    with pytest.raises(ConfigurationError, match="'salary'"):
        policy.check_terms(structs.replace(terms, metrics=(("salary", 1.0),)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("suites = [", "is no TOML"),
        ('colour = "red"', "names 'colour', which is not known here"),
        ('server = "abc"', "server in"),
        ("server = 7", "server in"),
        ('server = "00"', "server is no Ed25519 public key"),
        ('suites = "kahe"', "a list of names works"),
        ("metrics = [1]", "a list of names works"),
        ('servers = ["kind"]', "'honest-but-curious' or 'active' works"),
        ("minimum_contributors = 0", "minimum_contributors"),
        ("corrupt = 2.0", "corrupt"),
    ],
)
def test_a_policy_that_cannot_be_read_stops_the_node(tmp_path, caplog, text, why):
    fleet = Fleet(tmp_path, 2)
    owners_policy(fleet, fleet.ids[0], text)
    reply = query(fleet, fleet.ids[0])
    assert reply.error.reason == "this node cannot answer: its log says why"
    assert why in caplog.text


def test_a_policy_is_not_left_out_because_it_cannot_be_opened(tmp_path, caplog):
    fleet = Fleet(tmp_path, 2, mod={"clear": {"query"}})
    (fleet.home_of(fleet.ids[0]) / "policy.toml").mkdir(parents=True)
    fleet.home_of(fleet.ids[0]).chmod(0o700)
    assert query(fleet, fleet.ids[0]).has_error()
    owners_policy(fleet, fleet.ids[1], "", name="policy.toml")
    (fleet.home_of(fleet.ids[1]) / "policy.toml").write_bytes(b"\xff\xfe")
    assert query(fleet, fleet.ids[1]).has_error()
    assert caplog.text.count("cannot be read") == 2


def test_policies_are_joined_strictly():
    public, other = identity_of(1).public, identity_of(2).public
    one = NodePolicy(
        session=ClientPolicy(
            minimum_contributors=3, suites=frozenset({"kahe", "ckks"}), corrupt=0.2, corrupt_clients=1
        ),
        server=public,
        metrics=frozenset({"loss", "accuracy"}),
        clear=frozenset({"query", "train"}),
    )
    two = NodePolicy(
        session=ClientPolicy(
            minimum_contributors=2,
            suites=frozenset({"kahe", "masking"}),
            servers=frozenset({ServerModel.ACTIVE}),
            corrupt=0.1,
            corrupt_clients=4,
            statistical_bits=50,
        ),
        metrics=frozenset({"loss"}),
        clear=frozenset({"query"}),
    )
    for joined in (stricter(one, two), stricter(two, one)):
        assert joined.session == ClientPolicy(
            minimum_contributors=3,
            suites=frozenset({"kahe"}),
            servers=frozenset({ServerModel.ACTIVE}),
            corrupt=0.2,
            corrupt_clients=4,
            statistical_bits=50,
        )
        assert joined.server == public
        assert joined.metrics == {"loss"}
        assert joined.clear == {"query"}
    with pytest.raises(ConfigurationError, match="name different servers"):
        stricter(one, replace(two, server=other))


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [(None, None, None), (None, 0.0, None), (None, 0.05, 0.1), (None, 0.2, 0.2), (0.0, 0.05, 0.05), (0.3, 0.2, 0.3)],
)
def test_what_is_unsaid_of_corrupt_clients_is_not_loosened(one, other, joined):
    policies = [NodePolicy(session=ClientPolicy(corrupt=corrupt)) for corrupt in (one, other)]
    assert stricter(*policies).session.corrupt == joined
    assert stricter(*policies[::-1]).session.corrupt == joined


# Which server a node answers.

SERVER_KEY = Identity(Secret(b"s" * 32))


def signed_fleet(home, **options):
    return Fleet(home, mod={"server": SERVER_KEY.public}, **options)


def test_only_the_server_that_a_node_names_is_answered(tmp_path):
    fleet = signed_fleet(tmp_path / "good")
    strategy, _ = fleet.start(fleet.strategy(identity=SERVER_KEY), rounds=2)
    assert [record.contributors for record in strategy.rounds] == [5] * 4
    for name, identity in (("unsigned", None), ("another", identity_of(7))):
        fleet = signed_fleet(tmp_path / name)
        strategy, _ = fleet.start(fleet.strategy(fleet.fedavg(fraction_evaluate=0.0), identity=identity))
        assert all("has not signed" in message.error.reason for message in fleet.grid.seen)
        assert not any(fleet.calls.values())
        assert strategy.rounds[0].aborted


def test_an_owner_names_the_server_in_the_policy(tmp_path):
    fleet = Fleet(tmp_path)
    owners_policy(fleet, fleet.ids[0], f'server = "{SERVER_KEY.public.hex()}"')
    strategy, _ = fleet.start()
    assert strategy.rounds[0].dropped == (fleet.ids[0],)
    fleet = Fleet(tmp_path / "signed")
    owners_policy(fleet, fleet.ids[0], f'server = "{SERVER_KEY.public.hex()}"')
    strategy, _ = fleet.start(fleet.strategy(identity=SERVER_KEY))
    assert strategy.rounds[0].contributors == 5


def test_a_signed_request_is_for_one_node_one_run_and_one_content(tmp_path):
    fleet = signed_fleet(tmp_path)
    kept = kept_messages(fleet)
    fleet.start(fleet.strategy(identity=SERVER_KEY))
    mine, other = fleet.ids[:2]
    first = kept[mine, AdvertiseKeysRequest].message
    new = signed_fleet(tmp_path / "new")
    assert "has not signed" in new.grid.deliver(other, first).error.reason
    new.grid.contexts[mine].run_id = RUN + 1
    assert "has not signed" in new.grid.deliver(mine, first).error.reason
    new.grid.contexts[mine].run_id = RUN
    body = dict(first.content["privfl"])
    for key in ("body", "signature"):
        bent = bytearray(body[key])
        bent[-1] ^= 1
        bad = Message(RecordDict({"privfl": ConfigRecord(body | {key: bytes(bent)})}), mine, "train")
        assert "has not signed" in new.grid.deliver(mine, bad).error.reason
    assert answers_of(new.grid.deliver(mine, first))[0][0]


def test_long_requests_are_signed_as_well(tmp_path):
    fleet = signed_fleet(tmp_path, count=2)
    request = Request(steps=(ClientStep(session=bytes(16), params=b"x"),))
    content = RecordDict()
    long = {0: b"y" * 100_000}
    from privfl.integrations.flower.messages import encode
    from privfl.primitives.labels import Label

    parts = carrying.signed_parts(encode(request), long, run=RUN, node=fleet.ids[0])
    signature = SERVER_KEY.sign(Label.FLOWER_REQUEST, *parts)
    carrying.put(content, request, long, signature)
    ((_, why),) = answers_of(fleet.grid.deliver(fleet.ids[0], Message(content, fleet.ids[0], "train")))
    assert "not session parameters" in why
    carrying.put(content, request, {0: b"z" * 100_000}, signature)
    assert "has not signed" in fleet.grid.deliver(fleet.ids[0], Message(content, fleet.ids[0], "train")).error.reason


# Where a node keeps its secrets.


def test_a_home_is_made_private_with_a_key_and_claims(tmp_path):
    home = NodeHome.open(tmp_path / "deep" / "home")
    assert home.folder.stat().st_mode & 0o777 == 0o700
    assert (home.folder / "state.key").stat().st_mode & 0o777 == 0o600
    assert len(home.key) == 32
    assert NodeHome.open(home.folder).key == home.key
    assert (home.policy, home.credentials) == (None, None)
    assert repr(home.key) not in repr(home)


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o707])
def test_a_home_that_others_can_get_at_is_refused(tmp_path, caplog, mode):
    fleet = Fleet(tmp_path, 2)
    folder = fleet.home_of(fleet.ids[0])
    folder.mkdir(parents=True)
    folder.chmod(mode)
    assert query(fleet, fleet.ids[0]).error.reason == "this node cannot answer: its log says why"
    assert "others can get at the node's directory" in caplog.text


def test_a_home_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ConfigurationError, match="own it"):
        NodeHome.open(tmp_path / "home")


def test_a_home_that_cannot_be_made_is_refused_with_what_works(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="name another with 'privfl-home'"):
        NodeHome.open(tmp_path / "file" / "home")


def test_a_home_that_its_owner_names_must_be_there(tmp_path, caplog):
    """A volume that is not mounted must not pass for a node without a policy."""
    fleet = Fleet(tmp_path, 1, config={"privfl-home": str(tmp_path / "volume")}, mod={"clear": {"query"}})
    assert query(fleet, fleet.ids[0]).has_error()
    assert "is not there: mkdir -m 700 makes it" in caplog.text
    assert not (tmp_path / "volume").exists()
    (tmp_path / "volume").mkdir(mode=0o700)
    assert not query(fleet, fleet.ids[0]).has_error()
    (tmp_path / "volume" / "policy.toml").symlink_to(tmp_path / "nowhere")
    assert query(fleet, fleet.ids[0]).has_error()


def test_a_damaged_key_is_not_used(tmp_path):
    home = NodeHome.open(tmp_path / "home")
    (home.folder / "state.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="is damaged"):
        NodeHome.open(home.folder)


def test_identity_and_roster_of_the_home_are_the_nodes_credentials(tmp_path):
    home = NodeHome.open(tmp_path / "home")
    (home.folder / "identity.pem").write_bytes(identity_of(1).to_pem())
    assert NodeHome.open(home.folder).credentials is None
    (home.folder / "roster.json").write_text(roster_of({i: identity_of(i) for i in range(3)}).to_json())
    assert NodeHome.open(home.folder).credentials.identity.public == identity_of(1).public
    (home.folder / "identity.pem").unlink()
    with pytest.raises(ConfigurationError, match="cannot sign"):
        NodeHome.open(home.folder)


@pytest.mark.parametrize("written", [None, "minimum_contributors = 3"])
def test_no_app_talks_a_node_that_can_sign_into_a_session_without_signatures(tmp_path, written):
    lax = ClientPolicy(servers=frozenset(ServerModel), corrupt=0.0)
    fleet = Fleet(tmp_path, mod={"policy": lax})
    home = NodeHome.open(fleet.home_of(fleet.ids[2])).folder
    (home / "identity.pem").write_bytes(identity_of(2).to_pem())
    (home / "roster.json").write_text(roster_of({i: identity_of(i) for i in range(5)}).to_json())
    if written:
        (home / "policy.toml").write_text(written)
    strategy, _ = fleet.start()
    assert "threat.server 'honest-but-curious' is not allowed" in strategy.rounds[0].refusals[fleet.ids[2]]
    assert strategy.rounds[0].contributors == 4


def test_a_home_is_the_supernodes_the_apps_or_one_for_run_and_node(tmp_path, monkeypatch):
    context = Fleet(tmp_path, 1).grid.contexts[Fleet(tmp_path, 1).ids[0]]
    name = f"{RUN:016x}-{context.node_id:016x}"
    assert home_of(context, tmp_path) == (tmp_path / name, False)
    assert home_of(context, lambda said: tmp_path / str(said.run_id)) == (tmp_path / str(RUN), False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home_of(context, None) == (tmp_path / "state" / "privfl" / "flower" / name, False)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_of(context, None) == (tmp_path / ".local" / "state" / "privfl" / "flower" / name, False)
    context.node_config["privfl-home"] = str(tmp_path / "own")
    assert home_of(context, tmp_path) == (tmp_path / "own", True)
    for bad in ("", 7):
        context.node_config["privfl-home"] = bad
        with pytest.raises(ConfigurationError, match="a path works"):
            home_of(context, tmp_path)


def test_node_ids_of_either_sign_name_the_same_home(tmp_path):
    (context,) = Fleet(tmp_path, 1).grid.contexts.values()
    unsigned = home_of(context, tmp_path)
    context.node_id -= 2**64
    assert home_of(context, tmp_path) == unsigned


# Garbage.


@pytest.mark.parametrize(
    "content",
    [
        {"privfl": ConfigRecord({"body": b"", "signature": b""})},
        {"privfl": ConfigRecord({"body": b"\x91\x90", "signature": b""})},
        {"privfl": ConfigRecord({"body": b"\x91\x91\xc0", "signature": b""})},
        {"privfl": ConfigRecord({"body": "text", "signature": b""})},
        {"privfl": ConfigRecord({"body": b""})},
        {"privfl": ConfigRecord({"body": b"", "signature": b"", "more": b""})},
        {"privfl": MetricRecord({"body": 1.0})},
        {"privfl-arrays": ArrayRecord({})},
        {"privfl": ConfigRecord({"body": b"\x91\x91" * 5000, "signature": b""})},
    ],
)
def test_a_request_that_is_none_is_refused(tmp_path, content):
    fleet = Fleet(tmp_path, 1)
    reply = query(fleet, fleet.ids[0], "train", RecordDict(content))
    assert reply.error.code == 6
    assert not fleet.calls[fleet.ids[0]]


@pytest.mark.parametrize("name", ["9" * 5000, "1", "00", "8", "-1", "½", ""])
@pytest.mark.parametrize("stype", ["privfl.v1", "numpy.ndarray"])
def test_an_array_that_belongs_to_no_step_is_refused(tmp_path, name, stype):
    fleet = Fleet(tmp_path, 1)
    content = RecordDict()
    carrying.put(content, Request(steps=(EnrolStep(challenge=bytes(32)),)), {})
    content["privfl-arrays"] = ArrayRecord({name: Array(dtype="uint8", shape=(1,), stype=stype, data=b"x")})
    assert query(fleet, fleet.ids[0], "train", content).error.code == 6


def test_too_many_steps_and_other_encodings_are_refused(tmp_path):
    fleet = Fleet(tmp_path, 1)
    step = EnrolStep(challenge=bytes(32))
    good = msgspec.msgpack.encode(Request(steps=(step,)))
    many = msgspec.msgpack.encode(Request(steps=(step,) * 9))
    longer = good.replace(b"\xc4\x20", b"\xc5\x00\x20")
    assert longer != good
    for body in (many, longer, good + b"\x00", msgspec.msgpack.encode([[]])):
        content = RecordDict({"privfl": ConfigRecord({"body": body, "signature": b""})})
        assert query(fleet, fleet.ids[0], "train", content).error.code == 6
    content = RecordDict({"privfl": ConfigRecord({"body": good, "signature": b""})})
    ((_, why),) = answers_of(query(fleet, fleet.ids[0], "train", content))
    assert "no identity" in why


def test_only_public_modules_of_flower_are_used():
    sources = "".join(path.read_text() for path in Path(carrying.__file__).parent.glob("*.py"))
    used = set(re.findall(r"^\s*(?:from|import) (flwr[\w.]*)", sources, re.MULTILINE))
    assert used
    assert all(name.split(".")[1] in {"app", "clientapp", "serverapp"} for name in used), used
