"""A client's upload and a server's whole session against what they cannot avoid, side by side in one run.

Run with `make bench-kernels`. The limit is the bare loop of `privfl.bench.limits`: expand a stream, add it, nothing
else. Times are CPU times of the process, medians of several repetitions in which the work and its limit take turns.
"""

import os
import statistics
import time

import numpy as np
import pytest
from sessions import PARAMETERS, PhaseClock, before_upload, inputs, make, plan, seconds, sized

from privfl import Phase, WireForm, client
from privfl.bench.limits import add_upload, bare_loop, make_scratch
from privfl.primitives.shamir import MAX_HOLDERS

CLIENT_GOAL, SERVER_GOAL = 1.25, 1.5
CLIENTS, DROPPED = sized((1000, 100), (20, 2))


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.parametrize("neighbours", sized([10, 52], [4, 6]))
@pytest.mark.benchmark(group="masking: a client's upload", timer=time.process_time)
def test_client_upload(benchmark, neighbours, wire):
    assert neighbours < MAX_HOLDERS
    params, vector = plan("masking", neighbours + 1, wire), inputs()
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
    params, vector = plan("masking", CLIENTS, wire), inputs()
    dropped = frozenset(range(0, CLIENTS, CLIENTS // DROPPED))
    limit_total, scratch = np.zeros(PARAMETERS, np.uint32), make_scratch()
    timed, limit, passes = PhaseClock(), {"additions": 0.0, "expansions": 0.0}, 0
    server, clients = make(params)
    while server.phase is not Phase.FINISHED:
        phase = server.phase
        for party in sorted(server.waiting):
            if phase is Phase.MASKED_INPUT and party.number in dropped:
                continue
            session, request = clients[party.number], timed(phase, server.request_for, party)
            if phase is Phase.MASKED_INPUT:
                session.submit(vector)
            response = session.respond(request)
            timed(phase, server.receive, party, response)
            if phase is Phase.MASKED_INPUT:
                upload = np.frombuffer(os.urandom(16) * (PARAMETERS // 4), np.uint32)  # in memory, as one that came in
                limit["additions"] += seconds(add_upload, limit_total, upload)
            elif phase is Phase.UNMASK:
                graph = server._step._book.graph
                due = 1 + sum(peer in dropped for peer in graph.neighbours(party.number))
                limit["expansions"] += sum(seconds(bare_loop, limit_total, scratch) for _ in range(due))
                passes += due
        timed(phase, server.advance)
    assert np.array_equal(server.result.vector, vector.astype(np.int64) * (CLIENTS - DROPPED))
    total, floor = sum(timed.spent.values()), sum(limit.values())
    goal = f" (goal: at most {SERVER_GOAL})" if wire is WireForm.WORDS else ""
    phases = ", ".join(f"{phase} {cost:.2f}" for phase, cost in timed.spent.items() if cost)
    print(
        f"\nserver, {CLIENTS} clients, {DROPPED} dropped, {PARAMETERS:,} parameters, {wire}: {total:.2f} s ({phases}), "
        f"{total / floor:.3f} × {CLIENTS - DROPPED} additions and {passes} expansions{goal}"
    )
    benchmark.extra_info |= {"server_s": total, "limit_s": limit, "ratio": total / floor, "expansions": passes}
    benchmark.pedantic(bare_loop, args=(limit_total, scratch), rounds=5)
