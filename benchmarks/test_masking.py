"""A client's upload and a server's whole session against what they cannot avoid, side by side in one run.

Run with `make bench`. The limit is the bare loop of `limits.py`: expand a stream, add it, nothing else. Times are CPU
times of the process, medians of several repetitions in which the work and its limit take turns.
"""

import os
import statistics
import time

import numpy as np
import pytest
from limits import add_upload, bare_loop, make_scratch

from privfl import Phase, ThreatModel, VectorSpec, WireForm, client, plan_session, suite
from privfl.primitives.shamir import MAX_HOLDERS

PARAMETERS = 1_000_000
BOUND = 2**15 - 1
CLIENT_GOAL, SERVER_GOAL = 1.25, 1.5
CLIENTS, DROPPED = 1000, 100


def seconds(call, *arguments):
    begun = time.process_time()
    call(*arguments)
    return time.process_time() - begun


def plan(clients, wire):
    return plan_session(
        "masking",
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=PARAMETERS, bound=BOUND),
        threat=ThreatModel(corrupt=0.1, dropout=0.1),
        wire=wire,
        nonce=os.urandom(16),
        context=bytes(32),
    )


def inputs():
    """A vector of the shape of a quantised update; the same for all clients, so that the sum is known."""
    return np.random.default_rng(0).integers(-BOUND, BOUND + 1, PARAMETERS, np.int32)


def before_upload(params):
    """Play a session up to MaskedInput."""
    server = suite("masking").server(params)
    clients = {number: suite("masking").client(params, number, remember_response=False) for number in params.cohort}
    for _ in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS):
        for number, session in clients.items():
            server.receive(client(number), session.respond(server.request_for(client(number))))
        server.advance()
    return server, clients


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.parametrize("neighbours", [10, 52])
@pytest.mark.benchmark(group="masking: a client's upload", timer=time.process_time)
def test_client_upload(benchmark, neighbours, wire):
    assert neighbours < MAX_HOLDERS
    params, vector = plan(neighbours + 1, wire), inputs()
    server, clients = before_upload(params)
    requests = {number: server.request_for(client(number)) for number in clients}
    words, scratch, ratios, costs = np.zeros(PARAMETERS, np.uint32), make_scratch(), [], []
    for number, session in clients.items():
        session.submit(vector)
        bare = sum(seconds(bare_loop, words, scratch) for _ in range(neighbours + 1))
        costs.append(seconds(session.respond, requests[number]))
        ratios.append(costs[-1] / bare)
    ratio = statistics.median(ratios)
    goal = f" (goal: at most {CLIENT_GOAL})" if wire is WireForm.WORDS else ""
    print(
        f"\nclient, {neighbours} neighbours, {PARAMETERS:,} parameters, {wire}: "
        f"{1e3 * statistics.median(costs):.1f} ms, "
        f"{ratio:.3f} × {neighbours + 1} bare passes{goal}"
    )
    benchmark.extra_info["median_ratio"] = ratio
    benchmark.pedantic(bare_loop, args=(words, scratch), rounds=20)


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.benchmark(
    group="masking: a server's session of 1,000 clients, 100 of them dropped", timer=time.process_time
)
def test_server_session(benchmark, wire):
    """Every call of the server, from the first request to the sum, against its additions and expansions done barely.

    Unavoidable: an addition for each upload; an expansion for each survivor's own mask and for each pair of a survivor
    and a dropped neighbour. They are done after each call, over an accumulator of their own.
    """
    params, vector = plan(CLIENTS, wire), inputs()
    dropped = frozenset(range(0, CLIENTS, CLIENTS // DROPPED))
    limit_total, scratch = np.zeros(PARAMETERS, np.uint32), make_scratch()
    spent, limit, passes = dict.fromkeys(Phase, 0.0), {"additions": 0.0, "expansions": 0.0}, 0
    server = suite("masking").server(params)
    clients = {number: suite("masking").client(params, number, remember_response=False) for number in params.cohort}

    def timed(call, *arguments):
        begun, phase = time.process_time(), server.phase
        result = call(*arguments)
        spent[phase] += time.process_time() - begun
        return result

    while server.phase is not Phase.FINISHED:
        phase = server.phase
        for party in sorted(server.waiting):
            if phase is Phase.MASKED_INPUT and party.number in dropped:
                continue
            session, request = clients[party.number], timed(server.request_for, party)
            if phase is Phase.MASKED_INPUT:
                session.submit(vector)
            response = session.respond(request)
            timed(server.receive, party, response)
            if phase is Phase.MASKED_INPUT:
                upload = np.frombuffer(os.urandom(16) * (PARAMETERS // 4), np.uint32)  # in memory, as one that came in
                limit["additions"] += seconds(add_upload, limit_total, upload)
            elif phase is Phase.UNMASK:
                graph = server._step._book.graph
                due = 1 + sum(peer in dropped for peer in graph.neighbours(party.number))
                limit["expansions"] += sum(seconds(bare_loop, limit_total, scratch) for _ in range(due))
                passes += due
        timed(server.advance)
    assert np.array_equal(server.result.vector, vector.astype(np.int64) * (CLIENTS - DROPPED))
    total, floor = sum(spent.values()), sum(limit.values())
    goal = f" (goal: at most {SERVER_GOAL})" if wire is WireForm.WORDS else ""
    phases = ", ".join(f"{phase} {cost:.2f}" for phase, cost in spent.items() if cost)
    print(
        f"\nserver, {CLIENTS} clients, {DROPPED} dropped, {PARAMETERS:,} parameters, {wire}: {total:.2f} s ({phases}), "
        f"{total / floor:.3f} × {CLIENTS - DROPPED} additions and {passes} expansions{goal}"
    )
    benchmark.extra_info |= {"server_s": total, "limit_s": limit, "ratio": total / floor, "expansions": passes}
    benchmark.pedantic(bare_loop, args=(limit_total, scratch), rounds=5)
