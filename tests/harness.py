"""A session played by hand: the tests carry every message themselves, and may forge any of them."""

from __future__ import annotations

import gc
import io
import os
import sys
from dataclasses import replace
from types import FunctionType, ModuleType

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privfl import (
    ClientPolicy,
    Phase,
    ServerModel,
    SessionParams,
    ThreatModel,
    VectorSpec,
    WireForm,
    client,
    plan_session,
    suite,
)
from privfl.params import KaheSetting
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
):
    threat = threat or ThreatModel(corrupt=0.2, dropout=0.0, server=server)
    cohort = cohort or tuple(range(10, 10 + n))
    identities = {number: identity_of(number) for number in cohort}
    params = plan_session(
        suite_name,
        roster=roster_of(identities),
        cohort=cohort,
        vector=VectorSpec(length=length, bound=bound),
        threat=threat,
        wire=wire,
        minimum_contributors=minimum,
        nonce=os.urandom(16),
        context=bytes(32),
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

    def __init__(self, params=None, vectors=None, **options):
        self.params = params or make_params(**options)
        self.code = SuiteCode[self.params.suite.upper()]
        identities = {number: identity_of(number) for number in self.params.cohort}
        self.roster = roster_of(identities)
        self.server = suite(self.params.suite).server(self.params, roster=self.roster)
        self.clients = {number: self.fresh_client(number) for number in self.params.cohort}
        self.vectors = vectors or make_vectors(self.params)
        for number, session in self.clients.items():
            session.submit(self.vectors[number])
        self.requests = {}
        self.responses = {}

    def fresh_client(self, number, **options):
        active = self.params.threat.server is ServerModel.ACTIVE
        credentials = Credentials(identity_of(number), self.roster) if active else None
        chosen = suite(self.params.suite)
        usual = ClientPolicy(corrupt=self.params.threat.corrupt) if chosen.protects else PLAIN_ALLOWED
        options = {"policy": usual} | options
        return chosen.client(self.params, number, credentials=credentials, **options)

    def ask(self, number):
        """The server's request to a client, kept."""
        request = self.server.request_for(client(number))
        self.requests[self.server.phase, number] = request
        return request

    def answer(self, number):
        """The client's response to it, kept and not delivered."""
        response = self.clients[number].respond(self.ask(number))
        self.responses[self.server.phase, number] = response
        return response

    def deliver(self, number):
        self.server.receive(client(number), self.answer(number))

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
        """The request of this phase, decoded, and the session id it carries."""
        from privfl.masking import messages

        kinds = {
            Phase.ADVERTISE_KEYS: messages.AdvertiseKeysRequest,
            Phase.SHARE_KEYS: messages.ShareKeysRequest,
            Phase.MASKED_INPUT: messages.MaskedInputRequest,
            Phase.CONSISTENCY_CHECK: messages.ConsistencyRequest,
            Phase.UNMASK: messages.UnmaskRequest,
        }
        return read(self.ask(number), kinds[self.server.phase])

    def forge_request(self, message, session=None):
        """A lying server's request."""
        session = self.server._step.session if session is None else session
        return encode_message(message, suite=self.code, session=session, sender=SERVER).finish()

    def forge_response(self, number, message, *, session=None, tail=b""):
        """A lying client's response."""
        session = self.server._step.session if session is None else session
        frame = encode_message(message, suite=self.code, session=session, sender=client(number), tail_bytes=len(tail))
        if tail:
            frame.write_tail(np.uint8, lambda words: words.__setitem__(slice(None), np.frombuffer(tail, np.uint8)))
        return frame.finish()

    def exact_sum(self, numbers):
        return sum(self.vectors[number].astype(np.int64) for number in numbers)


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
            waiting.append(item.getvalue())
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
