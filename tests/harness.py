"""A session played by hand: the tests carry every message themselves, and may forge any of them."""

from __future__ import annotations

import gc
import io
import os
import sys
from dataclasses import replace
from functools import cache
from types import FunctionType, ModuleType

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privfl import (
    ClientPolicy,
    MemoryGuard,
    PartyId,
    Phase,
    Role,
    ServerModel,
    SessionParams,
    ThreatModel,
    VectorSpec,
    WireForm,
    plan_session,
    suite,
)
from privfl.params import CommitteeShape, KaheSetting, KeyEpoch
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity
from privfl.roster import Credentials
from privfl.session import PLAIN_ALLOWED
from privfl.simulate import roster_of
from privfl.testing import UnsafeFixedEntropy
from privfl.wire import SERVER, SuiteCode, decode_message, encode_message, message_type, open_envelope

BOUND = 1000


ACTIVE = ServerModel.ACTIVE
HONEST = ServerModel.HONEST_BUT_CURIOUS


def identity_of(number):
    """A test client's identity: the same in every test."""
    return Identity(Secret(number.to_bytes(32, "big")))


@cache
def epoch(**options):
    """What a test committee's key is made for: sums of a hundred clients with the usual bound are exact."""
    members, threshold = options.pop("members", 5), options.pop("threshold", 3)
    shape = CommitteeShape(members=members, threshold=threshold, openings=options.pop("openings", 10))
    usual = {"degree": 4096, "modulus_bits": 40, "clients": 100, "length": 8192, "statistical_bits": 50}
    return KeyEpoch(committee=shape, **usual | options)


@cache
def _held(made_for):
    from privfl.ckks.rehearsal import hold_ceremony

    return hold_ceremony(made_for)


def committee(**options):
    """A committee with new books, of which nothing is spent; one ceremony for each epoch in a run of tests."""
    return replace(_held(epoch(**options)), guard=MemoryGuard())


def make_params(
    n=5,
    length=16,
    suite_name="masking",
    *,
    threshold=None,
    minimum=None,
    threat=None,
    cohort=None,
    server=HONEST,
    wire=WireForm.WORDS,
    bound=BOUND,
    sum_bound=None,
    key=None,
    signed=False,
    context=bytes(32),
):
    threat = threat or ThreatModel(corrupt=0.2, dropout=0.0, server=server)
    cohort = cohort or tuple(range(10, 10 + n))
    identities = {number: identity_of(number) for number in cohort}
    params = plan_session(
        suite_name,
        roster=roster_of(identities) if signed or server is ACTIVE or threat.server is ACTIVE else None,
        cohort=cohort,
        vector=VectorSpec(length=length, bound=bound, sum_bound=sum_bound),
        threat=threat,
        wire=wire,
        minimum_contributors=minimum,
        nonce=os.urandom(16),
        context=context,
        committee=(key or committee().key) if suite_name == "ckks" else None,
    )
    if threshold is not None:
        inner = replace(params.masking, threshold=threshold)
        kahe = isinstance(params.setting, KaheSetting)
        params = replace(params, setting=replace(params.setting, masking=inner) if kahe else inner)
    return params


def make_vectors(params: SessionParams, seed=0):
    chance = np.random.default_rng(seed)
    spec = params.vector
    return {
        number: chance.integers(-spec.bound, spec.bound + 1, spec.length).astype(np.int32) for number in params.cohort
    }


class Play:
    """One session among in-process parties, a message at a time."""

    def __init__(self, params=None, vectors=None, *, committee=None, **options):
        self.params = params or make_params(**options)
        self.code = SuiteCode[self.params.suite.upper()]
        identities = {number: identity_of(number) for number in self.params.cohort}
        self.roster = roster_of(identities)
        self.committee = committee or committee_of(self.params)
        self.key = self.committee.key if self.committee else None
        self.server = suite(self.params.suite).server(self.params, roster=self.roster, committee=self.key)
        self.clients = {number: self.fresh_client(number) for number in self.params.cohort}
        self.members = {number: self.fresh_member(number) for number in self.committee.members} if self.key else {}
        self.vectors = vectors or make_vectors(self.params)
        for number, session in self.clients.items():
            session.submit(self.vectors[number])
        self.requests = {}
        self.responses = {}

    def fresh_client(self, number, **options):
        credentials = Credentials(identity_of(number), self.roster) if self.params.roster_digest else None
        chosen = suite(self.params.suite)
        usual = ClientPolicy(corrupt=self.params.threat.corrupt) if chosen.protects else PLAIN_ALLOWED
        needed = MemoryGuard() if self.params.threat.server is ServerModel.ACTIVE else None
        options = {"policy": usual, "guard": needed} | options
        return chosen.client(self.params, number, credentials=credentials, committee=self.key, **options)

    def fresh_member(self, number, **options):
        from privfl.ckks.member import CommitteeMember

        return CommitteeMember(self.params, self.committee.members[number], **{"guard": self.committee.guard} | options)

    @property
    def convened(self):
        """Whether it is members of the committee that the server waits for."""
        return self.server.phase in {Phase.CONVENE, Phase.OPEN}

    def party(self, number):
        """Whom the server knows by that number in this phase."""
        return PartyId(Role.COMMITTEE if self.convened else Role.CLIENT, number)

    def session(self, number):
        """That party's session."""
        return (self.members if self.convened else self.clients)[number]

    def ask(self, number):
        """The server's request to a party, kept."""
        request = self.server.request_for(self.party(number))
        self.requests[self.server.phase, number] = request
        return request

    def answer(self, number):
        """The party's response to it, kept and not delivered."""
        response = self.session(number).respond(self.ask(number))
        self.responses[self.server.phase, number] = response
        return response

    def deliver(self, number):
        self.server.receive(self.party(number), self.answer(number))

    def step(self, *, silent=()):
        """All who are asked answer, but for the silent, and the phase is closed."""
        for party in sorted(self.server.waiting):
            if party.number not in silent:
                self.deliver(party.number)
        self.server.advance()

    def to(self, phase):
        """Play on, everybody answering, until that phase waits for answers."""
        while self.server.phase is not phase:
            assert self.server.phase is not Phase.FINISHED
            self.step()
        return self

    def request(self, number):
        """The request of this phase, decoded."""
        from privfl.masking import messages

        kinds = {
            Phase.ADVERTISE_KEYS: messages.AdvertiseKeysRequest,
            Phase.SHARE_KEYS: messages.ShareKeysRequest,
            Phase.MASKED_INPUT: messages.MaskedInputRequest,
            Phase.CONSISTENCY_CHECK: messages.ConsistencyRequest,
            Phase.UNMASK: messages.UnmaskRequest,
        }
        return read(self.ask(number), kinds[self.server.phase])

    def forge_request(self, message, session=None, tail=b""):
        """A lying server's request."""
        session = self.server._step.session if session is None else session
        return forged(message, suite=self.code, session=session, sender=SERVER, tail=tail)

    def forge_response(self, number, message, *, session=None, tail=b""):
        """A lying party's response."""
        session = self.server._step.session if session is None else session
        return forged(message, suite=self.code, session=session, sender=self.party(number), tail=tail)

    def exact_sum(self, numbers):
        return sum(self.vectors[number].astype(np.int64) for number in numbers)


def committee_of(params):
    """The committee whose key a session is under, with new books; None for suites that have none."""
    if params.suite != "ckks":
        return None
    held = _held(params.setting.epoch)
    assert held.key.digest == params.setting.key, "a key of another ceremony: give its committee"
    return replace(held, guard=MemoryGuard())


class Ceremony:
    """A key ceremony, a message at a time; who is silent in a phase is so from there on."""

    def __init__(self, **options):
        from privfl.ckks.ceremony import CeremonyMember
        from privfl.ckks.ceremony_params import CeremonyParams
        from privfl.ckks.coordinator import CeremonyCoordinator

        made_for = epoch(**options)
        self.identities = {number: identity_of(number) for number in range(made_for.committee.members)}
        self.params = CeremonyParams(epoch=made_for, roster=roster_of(self.identities), nonce=os.urandom(16))
        self.coordinator = CeremonyCoordinator(self.params)
        self.members = {
            number: CeremonyMember(self.params, number, identity=identity)
            for number, identity in self.identities.items()
        }
        self.requests, self.responses = {}, {}

    @property
    def phase(self):
        return self.coordinator.phase

    @property
    def session_id(self):
        return self.coordinator._step.session

    def ask(self, number):
        self.requests[self.phase, number] = self.coordinator.request_for(member(number))
        return self.requests[self.phase, number]

    def answer(self, number):
        self.responses[self.phase, number] = self.members[number].respond(self.ask(number))
        return self.responses[self.phase, number]

    def deliver(self, number):
        self.coordinator.receive(member(number), self.answer(number))

    def step(self, *, silent=()):
        for party in sorted(self.coordinator.waiting):
            if party.number not in silent:
                self.deliver(party.number)
        self.coordinator.advance()

    def to(self, phase):
        while self.phase is not phase:
            self.step()
        return self

    def forge_request(self, message, *, session=None, tail=b""):
        session = self.session_id if session is None else session
        return forged(message, suite=SuiteCode.CKKS, session=session, sender=SERVER, tail=tail)

    def forge_response(self, number, message, *, session=None, tail=b""):
        session = self.session_id if session is None else session
        return forged(message, suite=SuiteCode.CKKS, session=session, sender=member(number), tail=tail)


def member(number):
    """Name the member of the committee with that number."""
    return PartyId(Role.COMMITTEE, number)


def forged(message, *, suite, session, sender, tail=b""):
    """A frame of whatever somebody says."""
    frame = encode_message(message, suite=suite, session=session, sender=sender, tail_bytes=len(tail))
    if tail:
        frame.write_tail(np.uint8, lambda words: words.__setitem__(slice(None), np.frombuffer(tail, np.uint8)))
    return frame.finish()


# Sessions of ckks


def played(**options):
    """A session of ckks under the shared committee's key."""
    return Play(make_params(suite_name="ckks", **options))


def modulus_under(play):
    """The modulus of a session's ciphertexts."""
    from privfl.ckks.planner import modulus_of

    return modulus_of(play.params.setting.epoch)


def whole_bytes(play):
    """Size of c₁, which an upload's tail begins with."""
    modulus = modulus_under(play)
    return modulus.vector_bytes(modulus.polynomials(play.params.vector.length) * modulus.degree)


def tail_start(frame, play):
    """Where the vector of an upload begins."""
    return len(frame) - whole_bytes(play) - modulus_under(play).vector_bytes(play.params.vector.length)


def open_request(play, *, contributors=None, members=(0, 1, 2), shown=None, session=None):
    """A server's request for an answer: the true one, but for what is given."""
    from privfl.ckks.messages import OpenRequest

    step = play.server._step
    return play.forge_request(
        OpenRequest(contributors=contributors or step._contributors, members=tuple(members)),
        tail=bytes(step._shown) if shown is None else shown,
        session=session,
    )


def committee_without(*absent):
    """Another committee, of a ceremony of its own."""
    from privfl.ckks.rehearsal import hold_ceremony

    return hold_ceremony(epoch(), absent=absent)


class KeptEntropy:
    """Entropy from a seed of 16 bytes that keeps what was drawn of it."""

    def __init__(self, seed):
        self._fixed = UnsafeFixedEntropy(seed)
        self.drawn = []

    def token_bytes(self, length):
        self.drawn.append(self._fixed.token_bytes(length))
        return self.drawn[-1]


def reachable(*roots):
    """All objects that hang on some, by whatever refers to them: slots, closures, caches, views, buffers, generators.

    The library's classes and functions are walked into, its modules' names as `library()` gives them; modules, other
    classes and entropy, whose bytes a test knows beforehand, are not.
    """
    seen, waiting = {}, list(roots)
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, ModuleType | KeptEntropy):
            continue
        seen[id(item)] = item  # and so kept: no other object gets its number
        if isinstance(item, type):
            waiting += vars(item).values() if item.__module__.startswith("privfl") else ()
        elif isinstance(item, FunctionType):
            waiting += [item.__closure__, item.__defaults__, item.__kwdefaults__, vars(item)]
        elif isinstance(item, io.BytesIO):
            waiting += [] if item.closed else [item.getvalue()]  # closed, it has given its buffer back
        elif isinstance(item, np.ndarray):
            waiting.append(item.base)
        elif isinstance(item, X25519PrivateKey):
            waiting.append(item.private_bytes_raw())
        elif not (isinstance(item, dict) and "__builtins__" in item):  # the globals of some module
            waiting += gc.get_referents(item)
    return list(seen.values())


def library():
    """Whatever the library's modules name: a cache of theirs is as good a hiding place as an attribute."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "privfl"]
    return [value for module in modules for value in vars(module).values()]


def contents(objects):
    """The bytes of all buffers among objects."""
    return {bytes(item) for item in objects if isinstance(item, bytes | bytearray | memoryview | np.ndarray)}


def read(frame, kind, tail_bytes=0):
    """Decode a frame of a known kind."""
    envelope = open_envelope(frame, body_limit_bytes=1 << 20, tail_bytes_of={message_type(kind): tail_bytes})
    return decode_message(envelope, kind)
