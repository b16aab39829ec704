"""A client and a server of `kahe` against what they cannot avoid, side by side in one run.

Run with `make bench-kernels`. Times are CPU times of the process, medians where a thing is done more than once; the
work and its limit take turns.
"""

import statistics
import time

import numpy as np
import pytest
from sessions import PARAMETERS, before_upload, inputs, plan, require_goal, seconds, sized

from privfl import Phase, WireForm, client
from privfl.bench.kahe_server import ServersSession, key_phase_us
from privfl.bench.limits import add_upload, transform_pairs
from privfl.kahe import planner
from privfl.kahe.cipher import draw_key, encrypt
from privfl.kahe.ring import BATCH, HALF, N
from privfl.primitives.entropy import OsEntropy

CLIENTS = sized(1000, 20)
UPLOADS = sized(15, 2)
SERVER_GOAL, PAIR_GOAL_US = 1.15, 15
WITHOUT_DROPOUTS = {}  # the session that nobody leaves, by wire
UPLOAD_GOALS = {WireForm.WORDS: 4.05, WireForm.PACKED: 3.7}
POLYNOMIALS = -(-PARAMETERS // N)


def nanoseconds(cpu_s):
    return 1e9 * cpu_s / PARAMETERS


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.parametrize("clients", [10, CLIENTS])
@pytest.mark.benchmark(group="kahe: a client's upload", timer=time.process_time)
def test_client_upload(benchmark, clients, wire):
    """All that a client does with the vector, its neighbours' shares and the message included."""
    params, vector = plan("kahe", clients, wire), inputs()
    server, sessions = before_upload(params)
    points = np.ones((BATCH, HALF), np.complex128)
    costs, floors = [], []
    for number in [*params.cohort][:UPLOADS]:
        session, request = sessions[number], server.request_for(client(number))
        floors.append(seconds(transform_pairs, points, POLYNOMIALS))
        costs.append(seconds(session.submit, vector) + seconds(session.respond, request))
    cost, floor = statistics.median(costs), statistics.median(floors)
    ratio = statistics.median(one / other for one, other in zip(costs, floors, strict=True))
    print(
        f"\nclient, {clients} clients, {params.masking.degree} neighbours, {wire}: {nanoseconds(cost):.2f} ns a "
        f"parameter, {ratio:.2f} × the transforms alone ({nanoseconds(floor):.2f} ns)"
    )
    benchmark.extra_info |= {"ns_per_parameter": nanoseconds(cost), "ratio": ratio}
    benchmark.pedantic(transform_pairs, args=(points, POLYNOMIALS), rounds=10)


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.benchmark(group="kahe: two cores", timer=time.perf_counter)
def test_two_workers(benchmark, wire):
    """Wall time of encrypting with one and with two threads."""
    params, vector = plan("kahe", 10, wire), inputs()
    ring, key, walls = params.ring, draw_key(OsEntropy()).copy(), {1: [], 2: []}
    out = np.empty(ring.vector_bytes(PARAMETERS) // 4, np.uint32)

    def work(workers):
        encrypt(
            key,
            lambda start, into: ring.store(vector[start : start + len(into)], into),
            out,
            length=PARAMETERS,
            ring=ring,
            scale_bits=params.setting.scale_bits,
            session=bytes(32),
            entropy=OsEntropy(),
            workers=workers,
        )

    for _ in range(UPLOADS):
        for workers, taken in walls.items():
            begun = time.perf_counter()
            work(workers)
            taken.append(time.perf_counter() - begun)
    one, two = (statistics.median(taken) for taken in walls.values())
    print(f"\nencrypting, {wire}: {nanoseconds(one):.2f} ns with one thread, {nanoseconds(two):.2f} with two: "
          f"{one / two:.2f} × as fast")  # fmt: skip
    benchmark.extra_info["speed-up"] = one / two
    benchmark.pedantic(work, args=(2,), rounds=5)


@pytest.mark.parametrize("percent", [0, 10, 30])
@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.benchmark(group="kahe: a server's session of 1,000 clients", timer=time.process_time)
def test_server_session(benchmark, wire, percent):
    """The server's work along the model, its key phases, the bytes that arrive, and the error of the mean."""
    params, vector = plan("kahe", CLIENTS, wire, dropout=0.3), inputs()
    dropped = frozenset(np.random.default_rng(percent).permutation(CLIENTS)[: CLIENTS * percent // 100].tolist())
    work = ServersSession(params, vector, dropped)
    result, survivors = work.result, work.survivors

    assert result.contributors == survivors == CLIENTS - len(dropped)
    error = result.vector - vector.astype(np.int64) * survivors
    upload = statistics.mean(work.uploaded[n] for n in work.uploaded if n not in dropped) / PARAMETERS
    ratio = ""
    if wire is WireForm.WORDS:
        ratio = f", {work.ratio.median:.3f} × {survivors} additions and a decryption (goal: {SERVER_GOAL})"
    unmask = work.phase_s(Phase.UNMASK)
    WITHOUT_DROPOUTS.setdefault(wire, work)
    beyond = f", {key_phase_us(WITHOUT_DROPOUTS[wire], work):.1f} beyond" if work.pairs else ""
    print(
        f"\nserver, {CLIENTS} clients, {percent} % dropped, {wire}: {work.along_the_model_s:.3f} s along the model"
        f"{ratio}, {1e3 * work.opening_s:.1f} ms of it reading the sum"
    )
    print(
        f"  key phases {sum(map(work.phase_s, Phase)):.3f} s; Unmask {unmask:.3f} s"
        + (
            f"; for each of {work.pairs} pairs {1e6 * unmask / work.pairs:.1f} µs{beyond} what survivors cost without "
            f"drop-outs (goal: {PAIR_GOAL_US})"
            if work.pairs
            else ""
        )
    )
    print(
        f"  upload, everything: {upload:.4f} bytes a parameter (goal: {UPLOAD_GOALS[wire]}); error of the mean: "
        f"{error.std() / survivors:.4f} steps, at most {np.abs(error).max() / survivors:.4f} (goal: 0.05)"
    )
    require_goal(upload <= UPLOAD_GOALS[wire], "an upload takes more bytes than it may")
    assert error.std() / survivors <= planner.ERROR_OF_MEAN
    benchmark.extra_info |= {"model_s": work.along_the_model_s, "unmask_s": unmask, "pairs": work.pairs}
    total, bare = np.zeros(PARAMETERS, np.uint32), np.zeros(PARAMETERS, np.uint32)
    benchmark.pedantic(add_upload, args=(total, bare), rounds=5)
