"""A coordinator and distant clients in one process: a tiny piece of work, clocks that tests turn, lives of clients."""

import hashlib
import os
import threading
import time

import numpy as np
from harness import HONEST, identity_of, make_params, make_vectors

from privfl import ClientPolicy, Credentials, ThreatModel, suite
from privfl.guard import MemoryGuard
from privfl.integrations.consortium import (
    Declined,
    Facts,
    Greeting,
    NotWaited,
    Order,
    Over,
    Participant,
    Step,
)
from privfl.integrations.consortium.messages import decode_offer, encode, model_digest
from privfl.integrations.home import PartyHome
from privfl.simulate import roster_of
from privfl.wire import client as client_named

COORDINATOR_KEY = identity_of(999)
COORDINATOR = COORDINATOR_KEY.public
RUN = bytes(range(16))
TERMS, MODEL = b"terms", b"a model, as far as anybody here knows" * 100
THREAT = ThreatModel(corrupt=0.1, dropout=0.3, server=HONEST)
PATIENCE_S = float(os.environ.get("PRIVFL_PATIENCE_S", "60"))
"""How long to wait for what should have come long ago, on the slowest machine."""


def greeting(**changes):
    facts = Facts(clients=7, examples=100, classes=2, feature_shape=(3, 4))
    return Greeting(**{"run": RUN, "job": "rounds = 3\n", "facts": facts, "coordinator": COORDINATOR} | changes)


def context_of(terms, model, round_number):
    """What both sides make of it, each for itself."""
    return hashlib.sha256(repr((terms, model, round_number)).encode()).digest()


class TinyWork:
    """A client's work: its vector is known beforehand, and it counts what it is asked."""

    def __init__(self, vector=None, *, fails=None):
        self.calls, self._vector, self._fails = [], vector, fails or {}

    def _called(self, name):
        self.calls.append(name)
        if name in self._fails:
            raise self._fails[name]

    def enter(self, greeting):
        self._called("enter")

    def check(self, step, params):
        """Nothing is agreed on beforehand."""

    def check_key(self, epoch):
        self._called("check_key")

    def context(self, step, model):
        self._called("context")
        return context_of(step.terms, model, step.round)

    def charge(self, step, params):
        self._called("charge")

    def vector(self, step, params, model, context):
        self._called("vector")
        assert context == params.context
        return self._vector

    @property
    def trained(self):
        return self.calls.count("vector")


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def make_session(suite_name="kahe", *, n=7, length=16, round_number=1, terms=TERMS, model=MODEL, **options):
    options.setdefault("threat", THREAT)
    params = make_params(
        n, length, suite_name, context=context_of(terms, model, round_number), cohort=tuple(range(n)), **options
    )
    roster = roster_of({number: identity_of(number) for number in params.cohort})
    return params, suite(suite_name).server(params, roster=roster if params.roster_digest else None)


def make_order(params, server, **changes):
    usual = {
        "round": 1, "kind": "train", "params": params, "server": server, "terms": TERMS, "model": MODEL,
        "phase_timeout_s": 100.0, "upload_timeout_s": 1000.0,
    }  # fmt: skip
    return Order(**usual | changes)


POLICY = """
minimum_contributors = 1
suites = ["plain", "masking", "kahe"]
servers = ["honest-but-curious", "active"]
corrupt = 0.1
"""


SEATS = (4, 0, 6)
"""Clients on the committee, in the order of their numbers there."""
COMMITTEE = roster_of({seat: identity_of(number) for seat, number in enumerate(SEATS)})
CKKS_POLICY = """
minimum_contributors = 3
suites = ["ckks"]
corrupt = 0.1
"""


def make_home(folder, number, *, n=7, policy=POLICY, committee=COMMITTEE):
    """A client's directory, opened; made if it is not there."""
    if not folder.exists():
        folder.mkdir(mode=0o700)
        (folder / "identity.pem").write_bytes(identity_of(number).to_pem())
        roster = roster_of({each: identity_of(each) for each in range(n)})
        (folder / "roster.json").write_text(roster.to_json())
        (folder / "policy.toml").write_text(policy)
        if committee is not None:
            (folder / "committee.json").write_text(committee.to_json())
    return PartyHome.open(folder, named=True)


def make_participant(folder, number, work, *, greeted=True, **options):
    participant = Participant(make_home(folder, number, **options), number, work)
    if greeted:
        participant.greet(greeting())
    return participant


class By:
    """A session played by hand: one client is a participant, the others are plain sessions in memory."""

    def __init__(self, folder, suite_name="kahe", *, number=0, work=None, **options):
        self.params, self.server = make_session(suite_name, **options)
        self.vectors = make_vectors(self.params)
        self.number, self.folder = number, folder
        self.work = work or TinyWork(self.vectors[number])
        self.others = {}
        for other in self.params.cohort:
            if other != number:
                self.others[other] = in_memory(self.params, other)
                self.others[other].submit(self.vectors[other])

    def fresh(self, **options):
        """A process that has just been started."""
        return make_participant(self.folder, self.number, self.work, **options)

    def step(self, **changes):
        return self.step_of(self.server.request_for(client_named(self.number)), **changes)

    def step_of(self, request, **changes):
        usual = {
            "round": 1, "kind": "train", "session": self.params.nonce, "phase": self.server.phase,
            "params": self.params.to_bytes(), "terms": TERMS, "model": model_digest(MODEL), "model_bytes": len(MODEL),
            "request": request, "most_bytes": 1 << 30,
        }  # fmt: skip
        return Step(**usual | changes)

    def receive(self, answer):
        """The server takes this client's answer and the others', and goes on."""
        if answer is not None:
            self.server.receive(client_named(self.number), answer)
        for party in sorted(self.server.waiting):
            if party.number in self.others:
                self.server.receive(party, self.others[party.number].respond(self.server.request_for(party)))
        self.server.advance()

    def to(self, phase, participant):
        """Play on until that phase waits for answers."""
        while self.server.phase is not phase:
            self.receive(self.answer(participant))
        return self

    def answer(self, participant):
        if client_named(self.number) not in self.server.waiting:
            return None  # no witness
        return participant.answer(self.step(), model_of)


def model_of(digest, size):
    return MODEL


def in_memory(params, number):
    roster = roster_of({each: identity_of(each) for each in params.cohort})
    policy = ClientPolicy(
        minimum_contributors=1, suites=frozenset({params.suite}), servers=frozenset({params.threat.server})
    )
    credentials = Credentials(identity_of(number), roster) if params.roster_digest else None
    return suite(params.suite).client(params, number, policy=policy, credentials=credentials, guard=MemoryGuard())


class Life(threading.Thread):
    """A client's life: it asks, answers and delivers, until all is over.

    Args:
        silent_from: a phase from which on it says nothing.
        mortal: it is killed before and after each delivery, and started again over the same directory.
        home: options of that.
    """

    def __init__(self, hall, folder, number, work, *, silent_from=None, mortal=False, **home):
        super().__init__(daemon=True)
        self.home = home
        self.hall, self.folder, self.number, self.work = hall, folder, number, work
        self.silent_from, self.mortal = silent_from, mortal
        self.silent = False
        self.raised = None
        self.participant = self._born()

    def _born(self):
        participant = Participant(make_home(self.folder, self.number, **self.home), self.number, self.work)
        participant.greet(self.hall.greeting)
        return participant

    def run(self):
        try:
            while self._goes_on():
                pass
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.raised = error

    def _goes_on(self):
        offer = decode_offer(encode(self.hall.offer(self.number)))
        if isinstance(offer, Over):
            return False
        if not isinstance(offer, Step) or self.silent:
            time.sleep(0.002)
            return True
        if offer.phase == self.silent_from:
            self.silent = True
            return True
        try:
            self.participant.forget_old(offer.session)
            answer = self.participant.answer(offer, lambda digest, _size: self.hall.model(digest))
            if self.mortal:
                self.participant = self._born()
                assert self.participant.answer(offer, None) == answer
            assert len(answer) <= offer.most_bytes
            self.hall.answer(self.number, offer.session, offer.phase, answer)
            if self.mortal:
                self.participant = self._born()
            self.participant.delivered(offer.session, offer.phase)
        except Declined as declined:
            self.hall.decline(self.number, offer.session, declined.told)
        except NotWaited:
            pass
        return True


def hold_with(hall, clock, order, lives, *, before_opening=None):
    """Hold a session with clients that are threads; time goes by when only silent ones are waited for."""
    for life in lives:
        if not life.is_alive():
            life.start()
    done = threading.Event()

    def time_goes_by():
        while not done.is_set():
            waiting = set(hall.snapshot().waiting)
            silent = {life.number for life in lives if life.silent}
            if waiting and waiting <= silent:
                clock.now += 10_000
            time.sleep(0.005)

    turning = threading.Thread(target=time_goes_by, daemon=True)
    turning.start()
    try:
        return hall.hold(order, before_opening=before_opening)
    finally:
        done.set()
        turning.join()


def end(hall, lives):
    hall.close("the test is over")
    for life in lives:
        life.join(timeout=30)
        assert not life.is_alive()
        if life.raised:
            raise life.raised


def exact_sum(vectors, numbers):
    return sum(vectors[number].astype(np.int64) for number in numbers)


def in_thread(work, *, timeout_s=PATIENCE_S):
    """Run something beside the test; call the result to wait for what it returns, or raises."""
    found = {}

    def running():
        try:
            found["returned"] = work()
        except BaseException as error:  # noqa: BLE001 - raised below
            found["raised"] = error

    thread = threading.Thread(target=running, daemon=True)
    thread.start()

    def wait():
        thread.join(timeout=timeout_s)
        assert not thread.is_alive(), "it hangs"
        if "raised" in found:
            raise found["raised"]
        return found["returned"]

    return wait


def eventually(condition):
    """Wait for another thread to have done something."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it never came to pass"
        time.sleep(0.001)
