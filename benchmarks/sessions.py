"""Sessions that the benchmarks play: parameters, inputs, and a clock for every call of one side."""

import os
import time

import numpy as np

from privfl import Phase, ThreatModel, VectorSpec, client, plan_session, suite
from privfl.ckks.rehearsal import hold_ceremony

PARAMETERS = 1_000_000
BOUND = 2**15 - 1


def seconds(call, *arguments):
    """CPU time of the process for one call."""
    begun = time.process_time()
    call(*arguments)
    return time.process_time() - begun


def plan(suite_name, clients, wire, *, dropout=0.1):
    """Parameters for 16-bit updates, a tenth of the clients corrupt."""
    return plan_session(
        suite_name,
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=PARAMETERS, bound=BOUND),
        threat=ThreatModel(corrupt=0.1, dropout=dropout),
        wire=wire,
        nonce=os.urandom(16),
        context=bytes(32),
    )


def inputs():
    """A vector of the shape of a quantised update; the same for all clients, so that the sum is known."""
    return np.random.default_rng(0).integers(-BOUND, BOUND + 1, PARAMETERS, np.int32)


def make(params, committee=None):
    """The server and all clients; of `ckks`, with the committee's key."""
    chosen = suite(params.suite)
    clients = {
        number: chosen.client(params, number, remember_response=False, committee=committee) for number in params.cohort
    }
    return chosen.server(params, committee=committee), clients


def before_upload(params):
    """Play a session up to MaskedInput."""
    server, clients = make(params)
    for _ in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS):
        for number, session in clients.items():
            server.receive(client(number), session.respond(server.request_for(client(number))))
        server.advance()
    return server, clients


class Timed:
    """Calls of one party, timed by the phase in which they were made."""

    def __init__(self):
        self.spent = dict.fromkeys(Phase, 0.0)

    def __call__(self, phase, call, *arguments):
        begun = time.process_time()
        result = call(*arguments)
        self.spent[phase] += time.process_time() - begun
        return result


def plan_with_committee(clients, parameters=PARAMETERS):
    """Parameters of a `ckks` session, planned as `plan` does, and the committee whose key they name."""
    threat = ThreatModel(corrupt=0.1, dropout=0.1)
    setting = suite("ckks").setting(clients, threat, bound=BOUND, length=parameters)
    committee = hold_ceremony(setting.epoch)
    params = plan_session(
        "ckks",
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=parameters, bound=BOUND),
        threat=threat,
        nonce=os.urandom(16),
        context=os.urandom(32),
        committee=committee.key,
    )
    return params, committee
