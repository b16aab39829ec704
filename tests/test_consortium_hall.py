"""The hall: what clients send and when harms nobody else, phases end as they should, and no thread waits for ever."""

import contextlib
import math
import threading
import time

import msgspec
import numpy as np
import pytest
from consortium_harness import (
    MODEL,
    RUN,
    Clock,
    eventually,
    exact_sum,
    greeting,
    in_thread,
    make_order,
    make_session,
)
from harness import make_params, make_vectors
from hypothesis import given
from hypothesis import strategies as st

from privfl import (
    ConfigurationError,
    DecodeError,
    LocalProtocolError,
    Phase,
    PrivflError,
    RemoteProtocolError,
    suite,
)
from privfl.integrations.consortium import Closed, Facts, Greeting, Hall, NotWaited, Offer, Over, Step, Wait
from privfl.integrations.consortium.messages import (
    MOST_JOB_BYTES,
    MOST_KEY_BYTES,
    MOST_OFFER_BYTES,
    Part,
    decode,
    decode_offer,
    encode,
    model_digest,
)
from privfl.session import PLAIN_ALLOWED
from privfl.wire import client


class Watched:
    """A server's side that counts what is asked of it, and can be made to wait there."""

    def __init__(self, server):
        self._server = server
        self.calls, self.together, self.most_together = [], 0, 0
        self.gates = {}

    def __getattr__(self, name):
        found = getattr(self._server, name)
        if name not in {"request_for", "receive", "advance"}:
            return found

        def called(*arguments):
            self.together += 1
            self.most_together = max(self.most_together, self.together)
            try:
                self.calls.append((name, *arguments[:1]))
                if name in self.gates:
                    reached, go = self.gates[name]
                    reached.set()
                    assert go.wait(30)
                return found(*arguments)
            finally:
                self.together -= 1

        return called

    def gate(self, name):
        """Have calls wait; returns an event that says one came, and one that lets it go on."""
        self.gates[name] = threading.Event(), threading.Event()
        return self.gates[name]


class Held:
    """A hall in which a session is being held."""

    def __init__(self, suite_name="plain", *, clients=range(9), before_opening=None, **options):
        self.clock = Clock()
        self.hall = Hall(greeting(), clients=clients, clock=self.clock)
        self.params, server = make_session(suite_name, **options)
        self.server = Watched(server)
        self.vectors = make_vectors(self.params)
        self.told = []
        self.hall.subscribe(lambda: self.told.append(self.hall.snapshot().phase))
        self.before_opening = before_opening
        self.wait = None
        self.sessions = {}

    def start(self):
        order = make_order(self.params, self.server)
        self.wait = in_thread(lambda: self.hall.hold(order, before_opening=self.before_opening))
        eventually(lambda: self.hall.snapshot().phase is not None)
        return self

    @property
    def nonce(self):
        return self.params.nonce

    def upload(self, number, vector=None):
        """A client's answer to `plain`'s one request."""
        session = suite("plain").client(self.params, number, policy=PLAIN_ALLOWED)
        session.submit(self.vectors[number] if vector is None else vector)
        return session.respond(self.hall.offer(number).request)

    def answer(self, number, body=None, *, session=None, phase="Upload"):
        self.hall.answer(number, session or self.nonce, phase, self.upload(number) if body is None else body)

    def finish(self, numbers):
        for number in numbers:
            self.answer(number)
        return self.wait()


# What is offered


def test_without_a_session_there_is_nothing_to_do_and_at_the_end_all_is_over():
    hall = Hall(greeting(), clients=range(3))
    assert isinstance(hall.offer(0), Wait)
    hall.close("it was a nice run\n" + "x" * 1000)
    assert hall.offer(0) == hall.offer(2)
    assert isinstance(hall.offer(0), Over)
    assert "\n" not in hall.offer(0).why
    assert len(hall.offer(0).why) == 300
    hall.close("another reason")
    assert hall.offer(0).why.startswith("it was")


def test_a_step_says_what_the_session_is_and_how_long_an_answer_may_be():
    held = Held().start()
    step = held.hall.offer(0)
    assert decode_offer(encode(step)) == step
    assert (step.session, step.params, step.phase) == (held.nonce, held.params.to_bytes(), Phase.UPLOAD)
    assert (step.round, step.kind, step.model, step.model_bytes) == (1, "train", model_digest(MODEL), len(MODEL))
    upload = held.upload(0)
    assert step.most_bytes == held.hall.room(0, held.nonce, "Upload") == len(upload)
    assert held.hall.model(step.model) == MODEL
    with pytest.raises(NotWaited):
        held.hall.model(bytes(32))
    outcome = held.finish(range(7))
    with pytest.raises(NotWaited):
        held.hall.model(step.model)
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(7)))


def test_only_who_is_waited_for_gets_a_step_and_requests_are_made_once():
    held = Held().start()
    assert isinstance(held.hall.offer(8), Wait), "a client of the run, not of this session"
    for _ in range(3):
        assert isinstance(held.hall.offer(1), Step)
    assert held.server.calls.count(("request_for", client(1))) == 1
    held.answer(1)
    assert isinstance(held.hall.offer(1), Wait)
    held.finish([0, 2, 3, 4, 5, 6])
    assert isinstance(held.hall.offer(0), Wait)


@pytest.mark.parametrize("stranger", [9, -1, 2**40])
def test_strangers_are_refused_whatever_they_ask(stranger):
    held = Held().start()
    for ask in (
        lambda: held.hall.offer(stranger),
        lambda: held.hall.room(stranger, held.nonce, "Upload"),
        lambda: held.hall.answer(stranger, held.nonce, "Upload", held.upload(0)),
        lambda: held.hall.decline(stranger, held.nonce, "why"),
    ):
        with pytest.raises(RemoteProtocolError, match="none of this run's clients"):
            ask()
    assert stranger not in held.hall.present()
    assert held.finish(range(7)).contributors == tuple(range(7))


# What is taken


def test_what_nobody_waits_for_changes_nothing():
    held = Held()
    with pytest.raises(NotWaited):
        held.hall.answer(0, held.nonce, "Upload", b"")
    held.start()
    good = held.upload(0)
    for session, phase in ((bytes(16), "Upload"), (held.nonce, "Unmask"), (held.nonce, "no phase"), (b"", "Upload")):
        for ask in (lambda s, p: held.hall.answer(0, s, p, good), lambda s, p: held.hall.room(0, s, p)):
            with pytest.raises(NotWaited):
                ask(session, phase)
    with pytest.raises(NotWaited):
        held.hall.answer(8, held.nonce, "Upload", good)
    with pytest.raises(NotWaited):
        held.hall.decline(0, bytes(16), "another session")
    assert held.hall.snapshot().refused == 0
    assert held.finish(range(7)).failures == {}
    with pytest.raises(NotWaited):
        held.hall.answer(0, held.nonce, "Upload", good)


def test_a_repeated_answer_is_ignored_and_the_first_counts():
    held = Held().start()
    held.answer(0)
    held.answer(0, b"anything else")
    held.answer(0, held.vectors[1].tobytes())
    with pytest.raises(NotWaited):
        held.hall.room(0, held.nonce, "Upload")
    outcome = held.finish(range(1, 7))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(7)))
    assert [record.client for record in outcome.messages] == list(range(7))
    assert held.server.calls.count(("receive", client(0))) == 1


@pytest.mark.parametrize("body", [b"", b"PVFL", bytes(200), "text", None, bytearray(10)])
def test_a_refused_answer_costs_its_sender_its_part_and_nobody_else_anything(body):
    held = Held().start()
    with pytest.raises(RemoteProtocolError):
        held.hall.answer(3, held.nonce, "Upload", body)
    if isinstance(body, bytes):
        assert isinstance(held.hall.offer(3), Wait)
        with pytest.raises(NotWaited):
            held.hall.answer(3, held.nonce, "Upload", body)
        outcome = held.finish([0, 1, 2, 4, 5, 6])
        assert set(outcome.failures) == {3}
        assert outcome.failures[3]
        assert held.hall.snapshot().refused == 1
    else:  # a transport's own slip
        outcome = held.finish(range(7))


def test_an_answer_that_is_too_long_never_reaches_the_session():
    held = Held().start()
    with pytest.raises(RemoteProtocolError, match="bytes where"):
        held.answer(3, held.upload(3) + b"\0")
    assert ("receive", client(3)) not in held.server.calls
    assert 3 in held.finish([0, 1, 2, 4, 5, 6]).failures


def test_an_answer_in_another_clients_name_costs_its_carrier():
    held = Held().start()
    with pytest.raises(RemoteProtocolError):
        held.answer(3, held.upload(2))
    assert held.finish([0, 1, 2, 4, 5, 6]).contributors == (0, 1, 2, 4, 5, 6)


def test_a_client_that_declines_is_not_waited_for_and_its_words_are_made_safe():
    held = Held().start()
    held.hall.decline(3, held.nonce, "my data\x1b[2J\r\nare gone " + "x" * 1000)
    held.hall.decline(3, held.nonce, "another reason")
    assert isinstance(held.hall.offer(3), Wait)
    with pytest.raises(NotWaited):
        held.hall.answer(3, held.nonce, "Upload", b"")
    outcome = held.finish([0, 1, 2, 4, 5, 6])
    (why,) = outcome.failures.values()
    assert why.startswith("declined: my data [2J  are gone x")
    assert why.isprintable()
    assert len(why) <= 300
    assert held.hall.snapshot().declined == 1


def test_whoever_declined_in_one_phase_is_not_waited_for_in_the_next(tmp_path):
    held = Held("masking").start()
    sessions = {number: suite("masking").client(held.params, number) for number in range(7)}
    for number in range(7):
        held.answer(number, sessions[number].respond(held.hall.offer(number).request), phase="AdvertiseKeys")
        if number == 4:
            held.hall.decline(4, held.nonce, "called away")  # after its answer
    eventually(lambda: held.hall.snapshot().phase is Phase.SHARE_KEYS)
    assert held.hall.snapshot().waiting == (0, 1, 2, 3, 5, 6)
    assert isinstance(held.hall.offer(4), Wait)
    held.hall.close("enough")
    with pytest.raises(Closed):
        held.wait()


# Threads


def test_two_answers_of_one_client_at_once_are_one():
    held = Held().start()
    upload = held.upload(0)
    reached, go = held.server.gate("receive")
    first = in_thread(lambda: held.answer(0, upload))
    assert reached.wait(30)
    second = in_thread(lambda: held.answer(0, upload))
    third = in_thread(lambda: held.answer(0, b"rubbish"))
    go.set()
    first(), second(), third()
    held.server.gates.clear()
    outcome = held.finish(range(1, 7))
    assert outcome.failures == {}
    assert held.server.calls.count(("receive", client(0))) == 1
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(7)))


def test_while_the_session_works_nobody_else_waits():
    held = Held().start()
    uploads = {number: held.upload(number) for number in range(7)}
    held.answer(1, uploads[1])
    reached, go = held.server.gate("receive")
    slow = in_thread(lambda: held.answer(0, uploads[0]))
    assert reached.wait(30)
    asked = in_thread(lambda: (held.hall.offer(1), held.hall.offer(2), held.hall.snapshot(), held.hall.present()))
    assert isinstance(asked()[1], Step)  # its request was made before
    in_thread(lambda: held.hall.decline(6, held.nonce, "why"))()
    go.set()
    slow()
    held.server.gates.clear()
    assert held.finish([2, 3, 4, 5]).contributors == tuple(range(6))
    assert held.server.most_together == 1


def test_an_answer_under_way_at_the_deadline_is_in_whole():
    held = Held().start()
    uploads = {number: held.upload(number) for number in range(7)}
    for number in (1, 2, 3):
        held.answer(number, uploads[number])
    reached, go = held.server.gate("receive")
    late = in_thread(lambda: held.answer(0, uploads[0]))
    assert reached.wait(30)
    held.clock.now += 10_000
    go.set()
    late()
    outcome = held.wait()
    assert outcome.contributors == (0, 1, 2, 3)
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(4)))


def test_an_answer_that_comes_when_the_phase_is_closing_is_too_late():
    opening, go = threading.Event(), threading.Event()

    def before_opening(count):
        opening.set()
        assert go.wait(30)

    held = Held(before_opening=before_opening).start()
    uploads = {number: held.upload(number) for number in range(7)}
    for number in range(6):
        held.answer(number, uploads[number])
    held.clock.now += 10_000
    assert opening.wait(30)
    for ask in (lambda: held.answer(6, uploads[6]), lambda: held.hall.room(6, held.nonce, "Upload")):
        with pytest.raises(NotWaited):
            ask()
    assert isinstance(held.hall.offer(6), Wait)
    assert ("receive", client(6)) not in held.server.calls
    assert held.hall.snapshot().phase is Phase.UPLOAD
    go.set()
    outcome = held.wait()
    assert outcome.contributors == tuple(range(6))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(6)))


def test_many_threads_at_once_and_the_session_is_asked_by_one_at_a_time():
    held = Held(n=7).start()
    uploads = {number: held.upload(number) for number in range(7)}
    ends = []
    for number in range(7):
        for _ in range(3):
            ends += [
                in_thread(lambda number=number: [held.hall.offer(number) for _ in range(50)]),
                in_thread(lambda number=number: _quietly(lambda: held.answer(number, uploads[number]))),
            ]
    for end in ends:
        end()
    outcome = held.wait()
    assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, range(7)))
    assert held.server.most_together == 1
    assert len(outcome.messages) == 7


def _quietly(ask):
    with contextlib.suppress(NotWaited):
        ask()


# The run's side


def test_phases_end_at_their_deadline():
    held = Held("masking").start()
    session = suite("masking").client(held.params, 0)
    answer = session.respond(held.hall.offer(0).request)
    held.clock.now += 99
    assert held.hall.snapshot().phase_age_s == 99
    held.answer(0, answer, phase="AdvertiseKeys")
    held.clock.now += 1
    outcome = held.wait()
    assert outcome.aggregate is None
    assert "AdvertiseKeys" in outcome.aborted or outcome.aborted
    assert outcome.phases[Phase.ADVERTISE_KEYS].seconds >= 100


def test_uploads_have_a_time_of_their_own():
    held = Held().start()
    for number in range(6):
        held.answer(number)
    held.clock.now += 999
    time.sleep(1)  # the run looks at the clock meanwhile, and waits on
    held.answer(6)
    assert held.wait().contributors == tuple(range(7))


def test_what_before_opening_raises_ends_the_session_unopened():
    class Spent(Exception):
        pass

    def before_opening(count):
        raise Spent(count)

    held = Held("kahe", before_opening=before_opening).start()
    sessions = {number: suite("kahe").client(held.params, number) for number in range(7)}
    for number, session in sessions.items():
        session.submit(held.vectors[number])
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        eventually(lambda phase=phase: held.hall.snapshot().phase is phase)
        for number in range(7):
            held.answer(number, sessions[number].respond(held.hall.offer(number).request), phase=phase)
    with pytest.raises(Spent) as raised:
        held.wait()
    assert raised.value.args == (7,)
    assert held.server.calls.count(("advance",)) == 2
    assert held.server.phase is Phase.MASKED_INPUT
    assert isinstance(held.hall.offer(0), Wait)
    assert held.hall.snapshot().phase is None
    with pytest.raises(NotWaited):
        held.hall.answer(0, held.nonce, "Unmask", b"")


def test_before_opening_is_not_asked_about_too_few():
    asked = []
    held = Held(before_opening=asked.append, minimum=5).start()
    for number in range(4):
        held.answer(number)
    for number in range(4, 7):
        held.hall.decline(number, held.nonce, "no")
    assert held.wait().aborted
    assert asked == []


def test_closing_ends_a_session_and_whoever_waits_for_clients():
    held = Held().start()
    held.hall.close("the coordinator stops")
    with pytest.raises(Closed, match="the coordinator stops"):
        held.wait()
    with pytest.raises(NotWaited):
        held.hall.answer(0, held.nonce, "Upload", b"")
    with pytest.raises(Closed):
        held.hall.hold(make_order(*make_session("plain")))
    assert isinstance(held.hall.offer(0), Over)

    hall = Hall(greeting(), clients=range(3))
    gathering = in_thread(lambda: hall.gather(2, None))
    hall.close("no")
    with pytest.raises(Closed):
        gathering()


def test_nobody_touches_a_session_that_was_given_up():
    held = Held().start()
    upload = held.upload(0)
    reached, go = held.server.gate("receive")
    slow = in_thread(lambda: held.answer(0, upload))
    assert reached.wait(30)
    late = in_thread(lambda: held.answer(1, upload))
    held.hall.close("stop")
    go.set()
    slow()
    with contextlib.suppress(NotWaited, RemoteProtocolError):
        late()
    with pytest.raises(Closed):
        held.wait()
    count = len(held.server.calls)
    with pytest.raises(NotWaited):
        held.answer(2, upload)
    assert len(held.server.calls) == count


def test_gathering_waits_for_clients_and_goes_by_the_clock():
    clock = Clock()
    hall = Hall(greeting(), clients=range(5), clock=clock, present_s=60)
    gathering = in_thread(lambda: hall.gather(2, None))
    hall.offer(0)
    hall.offer(0)
    clock.now += 61
    hall.offer(1)
    assert hall.present() == {1}
    hall.offer(3)
    assert gathering() == {1, 3}
    waiting = in_thread(lambda: hall.gather(5, 100))
    eventually(lambda: hall._changed._waiters)
    clock.now += 100
    assert waiting() == frozenset()
    assert hall.gather(0, 0) == frozenset()
    with pytest.raises(ConfigurationError, match="6 clients"):
        hall.gather(6, None)


def test_one_session_at_a_time_and_the_next_after_it():
    held = Held().start()
    params, server = make_session("plain")
    with pytest.raises(LocalProtocolError, match="being held"):
        held.hall.hold(make_order(params, server))
    assert held.finish(range(7)).aborted is None
    held.params, held.server = params, Watched(server)
    held.start()
    assert held.finish(range(7)).aborted is None


def test_orders_that_no_hall_can_hold_are_refused_before_anybody_is_asked():
    hall = Hall(greeting(), clients=range(3))
    with pytest.raises(ConfigurationError, match="client 3"):
        hall.hold(make_order(*make_session("plain")))
    open_params = make_params(3, 16, "kahe", cohort=(0, 1, 2), context=b"")
    server = suite("kahe").server(open_params)
    for changes in (
        {"round": -1},
        {"kind": ""},
        {"terms": bytes(2**20 + 1)},
        {"model": "text"},
        {"phase_timeout_s": 0.0},
        {"upload_timeout_s": math.nan},
    ):
        with pytest.raises(ConfigurationError):
            make_order(open_params, server, **changes)


def test_a_suite_with_a_committee_needs_to_know_who_sits_there():
    params = make_params(7, 16, "ckks", cohort=tuple(range(7)))
    for changes in ({}, {"members": {0: 0}}, {"committee": b"key"}):
        with pytest.raises(ConfigurationError, match="committee"):
            make_order(params, object(), **changes)
    with pytest.raises(ConfigurationError, match="two clients in one seat"):
        make_order(params, object(), members={0: 0, 1: 0}, committee=b"key")
    plain, server = make_session("plain")
    with pytest.raises(ConfigurationError, match="'plain' has none"):
        make_order(plain, server, members={0: 0}, committee=b"key")
    with pytest.raises(ConfigurationError, match="client 9"):
        Hall(greeting(), clients=range(9)).hold(make_order(params, object(), members={9: 0}, committee=b"key"))


def test_what_the_run_forgot_is_raised_in_the_run():
    """Its server's context is to come, and nobody would bring it: not an error of whoever asks for a request."""
    params = make_params(7, 16, "masking", cohort=tuple(range(7)), context=b"")
    held = Held()
    held.params, held.server = params, Watched(suite("masking").server(params))
    held.start()
    sessions = {number: suite("masking").client(params, number) for number in range(7)}
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS):
        eventually(lambda phase=phase: held.hall.snapshot().phase is phase)
        for number in range(7):
            held.answer(number, sessions[number].respond(held.hall.offer(number).request), phase=phase)
    with pytest.raises(LocalProtocolError):
        held.wait()


# Subscribers


def test_subscribers_hear_of_every_change_with_no_lock_held():
    held = Held("masking")
    heard = []

    def notify():
        # In another thread: the lock could be entered again in this one.
        heard.append(in_thread(lambda: (held.hall.snapshot().phase, type(held.hall.offer(0))), timeout_s=5)())

    held.hall.subscribe(notify)
    held.hall.subscribe(lambda: 1 / 0)
    gone = []
    unsubscribe = held.hall.subscribe(lambda: gone.append(1))
    unsubscribe()
    unsubscribe()
    held.start()
    sessions = {number: suite("masking").client(held.params, number) for number in range(7)}
    for number, session in sessions.items():
        session.submit(held.vectors[number])
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK):
        eventually(lambda phase=phase: (phase, Step) in heard)
        for number in range(7):
            held.answer(number, sessions[number].respond(held.hall.offer(number).request), phase=phase)
    held.wait()
    held.hall.close("over")
    assert heard == [
        (Phase.ADVERTISE_KEYS, Step),
        (Phase.SHARE_KEYS, Step),
        (Phase.MASKED_INPUT, Step),
        (Phase.UNMASK, Step),
        (None, Wait),
        (None, Over),
    ]
    assert gone == []


def test_a_snapshot_says_how_things_stand():
    held = Held().start()
    held.answer(0)
    with pytest.raises(RemoteProtocolError):
        held.answer(1, b"rubbish")
    held.hall.decline(2, held.nonce, "no")
    held.hall.model(model_digest(MODEL))
    view = held.hall.snapshot()
    assert (view.run, view.round, view.kind, view.phase, view.over) == (RUN.hex(), 1, "train", Phase.UPLOAD, None)
    assert (view.cohort, view.waiting, view.present) == (tuple(range(7)), (3, 4, 5, 6), (0, 1, 2))
    assert (view.answers, view.refused, view.declined) == (1, 1, 1)
    assert view.bytes_in == len(held.upload(3)) + len(b"rubbish")
    assert view.bytes_out >= len(MODEL)
    held.finish([3, 4, 5, 6])
    after = held.hall.snapshot()
    assert (after.round, after.phase, after.cohort, after.waiting) == (None, None, (), ())
    held.hall.close("done")
    assert held.hall.snapshot().over == "done"


# Whatever clients do, in whatever order


_ACTS = [
    "ask",
    "answer",
    "again",
    "rubbish",
    "empty",
    "long",
    "other phase",
    "other session",
    "other client",
    "decline",
]


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(_ACTS)), max_size=25))
def test_the_sum_is_over_whoever_answered_before_it_spoiled_its_place(acts):
    held = Held(minimum=1).start()
    uploads = {number: held.upload(number) for number in range(7)}
    inside, outside, gone = set(), set(), set()
    for number, act in [*acts, *((number, "decline") for number in range(7))]:
        if inside | outside == set(range(7)):
            break
        there = number not in inside | outside
        try:
            match act:
                case "ask":
                    assert isinstance(held.hall.offer(number), Step) is there
                case "decline":
                    held.hall.decline(number, held.nonce, "no")
                    gone.add(number)  # also one whose vector is in: of what follows
                    outside |= {number} if there else set()
                case _:
                    spoilt = {"rubbish": b"PVFL", "empty": b"", "long": uploads[number] + bytes(1)}
                    body = spoilt.get(act, uploads[(number + 1) % 7 if act == "other client" else number])
                    session = bytes(16) if act == "other session" else held.nonce
                    held.hall.answer(number, session, "Unmask" if act == "other phase" else "Upload", body)
                    assert act in {"answer", "again"} or number in inside, "whatever comes after an answer is ignored"
                    inside |= {number} if there else set()
        except NotWaited:
            assert number in outside or act in {"other phase", "other session"}
        except RemoteProtocolError:
            assert there
            outside.add(number)
    outcome = held.wait()
    assert set(outcome.contributors) == inside
    assert set(outcome.failures) == outside | gone
    if inside:
        assert np.array_equal(outcome.aggregate.vector, exact_sum(held.vectors, inside))
    else:
        assert outcome.aborted


# Messages


SAID = [
    greeting(),
    Wait(seconds=0.5),
    Over(why="the run is done"),
    Step(
        round=3, kind="train", session=bytes(16), phase=Phase.UNMASK, params=b"p", terms=b"t", model=bytes(32),
        model_bytes=7, request=b"r", most_bytes=100,
    ),
    Step(
        round=3, kind="ceremony", session=bytes(16), phase=Phase.CHECK_SHARES, params=b"p", terms=b"", model=bytes(32),
        model_bytes=0, request=b"", most_bytes=100, part=Part.CEREMONY, fetched=bytes(32), fetched_bytes=9,
    ),
]  # fmt: skip


@pytest.mark.parametrize("said", SAID, ids=["Greeting", "Wait", "Over", "Step", "Step of a ceremony"])
def test_messages_have_one_encoding(said):
    raw = encode(said)
    kind = type(said)
    assert decode(raw, kind) == said
    if kind is not Greeting:
        assert decode(raw, Offer) == decode_offer(raw) == said
    wordy = b"\xdc\x00" + bytes([raw[0] & 0x0F]) + raw[1:]  # the same, its length written in two bytes
    for spoilt in (raw + b"\0", raw[:-1], b"", b"\xc0", wordy):
        with pytest.raises(DecodeError):
            decode(spoilt, kind)
    for other in {Greeting, Wait, Over, Step} - {kind}:
        with pytest.raises(DecodeError):
            decode(raw, other)


@given(st.binary(max_size=200) | st.sampled_from(SAID).flatmap(lambda said: _bent(encode(said))))
def test_whatever_comes_decodes_or_raises_one_error(raw):
    for kind in (Greeting, Offer):
        try:
            said = decode(raw, kind)
        except DecodeError:
            continue
        assert encode(said) == raw


def _bent(raw):
    return st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)).map(
        lambda at: raw[: at[0]] + bytes([at[1]]) + raw[at[0] + 1 :]
    )


def test_values_that_make_no_sense_are_not_decoded():
    pack = msgspec.msgpack.encode
    step = list(msgspec.msgpack.decode(encode(SAID[3])))
    for raw in (
        pack([3, math.nan]),
        pack([3, -1.0]),
        pack([3, 61.0]),
        pack([3, 1]),  # 1.0 is how it is written
        pack([3, 1.0, 1]),
        pack([5, "x" * 501]),
        *(pack([*step[:place], value, *step[place + 1 :]]) for place, value in (
            (1, -1), (1, 2**31), (2, "k" * 33), (3, bytes(15)), (4, "Lunch"), (7, bytes(31)), (8, -1), (10, -1),
            (11, "server"), (12, bytes(MOST_KEY_BYTES + 1)), (13, bytes(31)), (13, bytes(32)), (14, -1),
        )),
        pack(step[:-4]),  # what is usual is said as well
        bytes(MOST_OFFER_BYTES + 1),
    ):  # fmt: skip
        with pytest.raises(DecodeError):
            decode_offer(raw)
    with pytest.raises(DecodeError):
        decode("text", Greeting)


def test_a_job_is_measured_in_bytes():
    greeting(job="ä" * (MOST_JOB_BYTES // 2))
    long = greeting()
    with pytest.raises(ConfigurationError, match="job is longer"):
        greeting(job="ä" * (MOST_JOB_BYTES // 2 + 1))
    raw = encode(long)
    spoilt = msgspec.msgpack.decode(raw)
    spoilt[2] = "ä" * (MOST_JOB_BYTES // 2 + 1)
    with pytest.raises(DecodeError):
        decode(msgspec.msgpack.encode(spoilt), Greeting)


def test_facts_are_whole_numbers():
    for raw in ([1, 2, 3.0, 4, [5]], [1, 2, 3, 4, [5] * 9], [1, 2, -3, 4, [5]]):
        with pytest.raises(PrivflError):
            _decode_facts(raw)
    assert _decode_facts([1, 2, 3, 4, [5]]) == Facts(clients=2, examples=3, classes=4, feature_shape=(5,))


def _decode_facts(body):
    raw = msgspec.msgpack.encode([2, bytes(16), "", body, bytes(32)])
    return decode(raw, Greeting).facts
