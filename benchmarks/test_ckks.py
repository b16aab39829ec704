"""`ckks` beside CKKS as it is commonly used, beside SEAL's own encryptor, and beside what cannot be avoided.

Run with `make bench-kernels`. Times are CPU times of the process with one worker, medians of repetitions in which all
sides take turns. The peers are in `privfl.bench.peers`: they have one secret key for all clients, so that only costs
can be compared.

All sides begin with floating-point values, so quantising counts as ours. A client of theirs decrypts the sum in the
end, ours is sent it in clear: "all" counts both ends. Keys, contexts and their distribution are not counted on either
side; our committee's ceremony is printed by itself.
"""

import statistics
import time

import numpy as np
import pytest
from seals_own import SealsOwn
from sessions import (
    BOUND,
    PARAMETERS,
    codec_of,
    inputs,
    make,
    plan_with_committee,
    require_goal,
    seconds,
    sized,
)

from privfl import Phase, client, simulate, suite
from privfl.bench.cells import Cell
from privfl.bench.contenders import Session
from privfl.bench.limits import add_upload, transform_products
from privfl.bench.matrix import measure_cell
from privfl.bench.peers.tenseal_ckks import NVFLARE, NVFLARE_PUBLIC, TUTORIAL
from privfl.bench.turns import Repeats
from privfl.ckks import answer as answering
from privfl.ckks.cipher import BATCH
from privfl.ckks.planner import flood_of, modulus_of
from privfl.ckks.rehearsal import hold_ceremony
from privfl.ckks.seal import seal_ring
from privfl.primitives.entropy import OsEntropy

pytest.importorskip("tenseal", reason="the peer to compare with is not installed")

CLIENTS = 10
REPEAT = sized(3, 1)
SIZES = sized([(10, PARAMETERS), (100, 100_000), (1000, 16_384)], [(10, PARAMETERS)])
ROUNDS = sized(5, 2)
UPLOAD_GOAL, CLIENT_GOAL, PRECISION_GOAL = 2.5, 2, 1e-5


def nanoseconds(cpu_s):
    return 1e9 * cpu_s / PARAMETERS


def ratios(taken, own):
    """Medians of the ratios to our own times of the same turns."""
    return {
        name: statistics.median(one / other for one, other in zip(times, taken[own], strict=True))
        for name, times in taken.items()
    }


@pytest.fixture(scope="module")
def planned():
    return plan_with_committee(CLIENTS)


@pytest.mark.benchmark(group="ckks: a client's upload", timer=time.process_time)
def test_client_against_peers(benchmark, planned):
    """A client's CPU and bytes, privfl's beside three single-key set-ups' and beside SEAL's own encryptor."""
    params, committee = planned
    vector = inputs()
    values = vector / BOUND
    codec = codec_of(values)
    server, sessions = make(params, committee)
    requests = [server.request_for(client(number)) for number in range(CLIENTS)]
    keys = {peer.name: peer.keys() for peer in (NVFLARE, NVFLARE_PUBLIC, TUTORIAL)}
    modulus = modulus_of(params.setting.epoch)
    seals = SealsOwn(modulus, params.setting.scale_bits)
    products = sum(len(parts) for key in committee.key.statement.joint_key._spectra for parts in key)
    points = np.ones((BATCH, modulus.degree // 2), np.complex128)
    names = ["privfl", *keys, "SEAL encrypt", "SEAL encode + encrypt", "transforms"]
    upload, opening = {name: [] for name in names}, {name: [] for name in keys}
    sent = {}

    def encrypt(name, key):
        sent[name] = key.client(values)

    for number in range(ROUNDS):
        session = sessions[number]

        def answer(session=session, request=requests[number]):
            codec.encode({"update": values}, weight=1.0)
            session.submit(vector)
            sent["privfl"] = session.respond(request)

        upload["privfl"].append(seconds(answer))
        for name, key in keys.items():
            upload[name].append(seconds(encrypt, name, key))
            opening[name].append(seconds(key.decrypt, sent[name]))  # a sum is as long as an upload
        encrypting = seconds(seals.encrypt)
        upload["SEAL encrypt"].append(encrypting)
        upload["SEAL encode + encrypt"].append(encrypting + seconds(seals.encode))
        polynomials = modulus.polynomials(PARAMETERS)
        upload["transforms"].append(seconds(transform_products, points, np.empty_like(points), polynomials, products))

    whole = {
        name: [a + b for a, b in zip(upload[name], opening.get(name, [0] * ROUNDS), strict=True)] for name in names
    }
    relative, all_of_it = ratios(upload, "privfl"), ratios(whole, "privfl")
    size = len(sent["privfl"])
    print(
        f"\nckks, {CLIENTS} clients, {PARAMETERS:,} parameters: N = {modulus.degree}, primes of {modulus.bits} bits"
        f"\n{'':28}{'CPU ns':>8}{'× ours':>8}{'all, ns':>9}{'× ours':>8}{'bytes':>8}{'× ours':>8}   a parameter"
    )
    for name in names:
        length = len(sent.get(name, b""))
        print(
            f"{name:28}{nanoseconds(statistics.median(upload[name])):8.1f}{relative[name]:8.2f}"
            f"{nanoseconds(statistics.median(whole[name])):9.1f}{all_of_it[name]:8.2f}"
            + (f"{length / PARAMETERS:8.2f}{length / size:8.2f}" if length else "")
        )
        benchmark.extra_info[name] = {
            "ns": nanoseconds(statistics.median(upload[name])),
            "ratio": relative[name],
            "ratio_of_all": all_of_it[name],
            "bytes": length / PARAMETERS,
        }
    print(
        f"NVFlare's set-up is {len(sent[NVFLARE.name]) / size:.2f} × as many bytes (goal: {UPLOAD_GOAL}) and "
        f"{relative[NVFLARE.name]:.1f} × as much CPU (goal: {CLIENT_GOAL}); SEAL's encryptor alone "
        f"{relative['SEAL encrypt']:.1f} ×; our upload is {1 / relative['transforms']:.2f} × its {1 + products} "
        f"transforms"
    )
    require_goal(len(sent[NVFLARE.name]) / size >= UPLOAD_GOAL, "NVFlare's uploads are too short beside ours")
    unasked = iter(range(ROUNDS, CLIENTS))

    def submitted():
        number = next(unasked)
        sessions[number].submit(vector)
        return (sessions[number], requests[number]), {}

    def respond(session, request):
        session.respond(request)

    benchmark.pedantic(respond, setup=submitted, rounds=CLIENTS - ROUNDS)


@pytest.mark.benchmark(group="ckks: server and committee", timer=time.process_time)
def test_server_and_members(benchmark, planned):
    """What the server spends on an upload and on opening, and what a member's answer is made of."""
    params, committee = planned
    vector, length = inputs(), PARAMETERS
    peer = NVFLARE.keys()
    theirs, total, peer_adding = peer.client(vector / BOUND), None, []
    server, sessions = make(params, committee)
    modulus = modulus_of(params.setting.epoch)
    whole = modulus.polynomials(length) * modulus.degree
    sums, residues = np.zeros(length + whole, np.int64), np.ones(length + whole, np.int64)
    adding, bare = [], []
    for number, session in sessions.items():
        session.submit(vector)
        response = session.respond(server.request_for(client(number)))
        adding.append(seconds(server.receive, client(number), response))
        # The same numbers, were they words already: one prime after the other.
        bare.append(seconds(add_upload, sums, residues) + seconds(add_upload, sums, residues))
        begun = time.process_time()
        total = peer.server_add(total, theirs)
        peer_adding.append(time.process_time() - begun)
    opening = seconds(server.advance)
    members = {number: committee.session(params, number) for number in committee.members}
    for party in sorted(server.waiting):
        server.receive(party, members[party.number].respond(server.request_for(party)))
    opening += seconds(server.advance)
    assert server.phase is Phase.OPEN
    answers, answering_s = {}, []
    for party in sorted(server.waiting):
        begun = time.process_time()
        request = server.request_for(party)
        asked = time.process_time()
        answers[party] = members[party.number].respond(request)
        answering_s.append(time.process_time() - asked)
        opening += asked - begun
    sizes = len(request), len(answers[party])
    for party, response in answers.items():
        opening += seconds(server.receive, party, response)
    opening += seconds(server.advance)
    off = server.result.vector - vector.astype(np.int64) * CLIENTS
    require_goal(off.std() <= 1.05 * server.result.error_std, "the error of the sum")

    pieces = member_pieces(committee, modulus, length, whole, len(answers))
    print(
        f"\nserver, an upload: {nanoseconds(statistics.median(adding[1:])):.1f} ns a parameter, "
        f"{statistics.median(a / b for a, b in zip(adding, bare, strict=True)):.1f} × adding the residues alone; "
        f"NVFlare's set-up {nanoseconds(statistics.median(peer_adding[1:])):.1f} ns"
        f"\nserver, opening, once: {nanoseconds(opening):.1f} ns a parameter"
        f"\na member's answer ({len(answers)} of {len(members)} open): "
        f"{nanoseconds(statistics.median(answering_s)):.1f} ns a parameter, {sizes[0] / length:.2f} bytes in, "
        f"{sizes[1] / length:.2f} out, of which"
    )
    for name, spent in pieces.items():
        print(f"  {name:36}{nanoseconds(spent):8.1f} ns")
    benchmark.extra_info |= {name: nanoseconds(spent) for name, spent in pieces.items()}
    ceremony = statistics.median(seconds(hold_ceremony, params.setting.epoch) for _ in range(REPEAT))
    print(f"a ceremony, all {len(members)} members and the coordinator: {1e3 * ceremony:.0f} ms")
    benchmark.pedantic(add_upload, args=(sums, residues), rounds=5)


def member_pieces(committee, modulus, length, whole, answering_members):
    """What an answer is made of, piece by piece."""
    epoch, entropy = committee.key.epoch, OsEntropy()
    member = committee.members[0]
    common = np.stack([np.arange(whole, dtype=np.int64) % prime for prime in modulus.primes])
    packed = modulus.packed(common)
    part = np.ascontiguousarray(common[:, :length])
    members = tuple(range(answering_members))

    def masks():
        for peer in members[1:]:
            mask = modulus.uniform(answering._mask_streams(member.pairs[peer], bytes(32)), length)
            modulus.negate(mask)
            modulus.add(part, mask)

    works = {
        "product, by SEAL": lambda: seal_ring(modulus).multiply(common.reshape(2, -1, modulus.degree), member.share),
        "flood": lambda: modulus.add(part, flood_of(epoch).residues(modulus, length, entropy)),
        f"masks, {len(members) - 1}": masks,
        "reading the request": lambda: modulus.unpack(packed, whole),
        "digest of the request": lambda: answering.opening_id(bytes(32), packed, members),
        "packing the answer": lambda: modulus.packed(part),
    }
    taken = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(times) for name, times in taken.items()}


@pytest.mark.benchmark(group="ckks: a whole session", timer=time.process_time)
def test_session_against_peers(benchmark):
    """All parties of a session, and the bytes either way; a client's share and everybody's."""
    length = PARAMETERS // 5
    cell = Cell(suite="ckks", clients=CLIENTS, parameters=length, dropout=0.0)
    records = [measure_cell(cell, Repeats(least=REPEAT))]
    records += [peer.measure(length, CLIENTS, REPEAT) for peer in (NVFLARE, TUTORIAL)]
    print(
        f"\na session of {CLIENTS} clients and {length:,} parameters, a parameter"
        f"\n{'':20}{'client, ns':>12}{'server, ns':>12}{'committee, ns':>15}{'all, ns':>9}{'up, B':>9}{'down, B':>9}"
        f"{'committee, B':>14}"
    )
    for record in records:
        committee = record.get("committee_cpu_s", 0.0)
        everybody = CLIENTS * record["client_cpu_s"] + record["server_cpu_s"] + committee
        columns = [record["client_cpu_s"], record["server_cpu_s"], committee, everybody]
        spent = [1e9 * cpu_s / length for cpu_s in columns]
        sizes = [record["upload_bytes"], record["download_bytes"], record.get("committee_bytes", 0)]
        up, down, between = (size / length for size in sizes)
        print(
            f"{record['suite']:20}{spent[0]:12.1f}{spent[1]:12.1f}{spent[2]:15.1f}{spent[3]:9.0f}{up:9.1f}{down:9.1f}"
            f"{between:14.1f}"
        )
        benchmark.extra_info[record["suite"]] = record
    benchmark.pedantic(cell.setting, rounds=5)


@pytest.mark.parametrize(("clients", "parameters"), SIZES)
@pytest.mark.benchmark(group="ckks: error of the mean", timer=time.process_time)
def test_error_of_the_mean(benchmark, clients, parameters):
    """Measured, beside what the planner promises."""
    params, committee = plan_with_committee(clients, parameters)
    vectors = np.random.default_rng(clients).integers(-BOUND, BOUND + 1, (clients, parameters), np.int32)
    outcome = simulate(params, dict(enumerate(vectors)), committee=committee)
    off = (outcome.aggregate.vector - vectors.sum(axis=0, dtype=np.int64)) / (clients * BOUND)
    promised = suite("ckks").error_std(params.setting, clients) / (clients * BOUND)
    peer = NVFLARE.measure(4096, clients, 1)["max_abs_error"]
    epoch = params.setting.epoch
    print(
        f"\nmean of {clients} clients, {parameters:,} parameters (N = {epoch.degree}, primes of {epoch.modulus_bits} "
        f"bits, scale 2^{params.setting.scale_bits}): error {off.std():.2e} of full scale (goal: {PRECISION_GOAL}), "
        f"promised {promised:.2e}; at most {np.abs(off).max():.2e}; bias {off.mean():.1e}; NVFlare's at most {peer:.1e}"
    )
    require_goal(off.std() <= min(PRECISION_GOAL, 1.05 * promised), "the error of the mean")
    benchmark.extra_info |= {"std": off.std(), "promised": promised}
    benchmark.pedantic(suite("ckks").error_std, args=(params.setting, clients), rounds=5)


@pytest.mark.benchmark(group="ckks: memory of the server", timer=time.process_time)
def test_memory_of_the_server(benchmark):
    """It does not grow with the cohort."""
    parameters, peaks = sized(200_000, 5_000), {}
    for clients in sized((20, 200), (5, 10)):
        cell = Cell(suite="ckks", clients=clients, parameters=parameters, dropout=0.0)
        peaks[clients] = Session(cell).peaks()[0]
    few, many = peaks.values()
    print(
        f"\nserver's memory at its peak, {parameters:,} parameters: "
        + ", ".join(f"{peak / parameters:.1f} bytes a parameter with {n} clients" for n, peak in peaks.items())
        + f": {many / few:.3f} ×"
    )
    require_goal(many <= 1.1 * few, "memory grows with the cohort")
    benchmark.extra_info |= {str(n): peak for n, peak in peaks.items()}
    benchmark.pedantic(lambda: None, rounds=1)
