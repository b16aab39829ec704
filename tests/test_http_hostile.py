"""What strangers and clients that have turned bad send: refused, cheap, quiet, and nothing to the others."""

import contextlib
import logging
import socket
import ssl
import threading

import httpx
import numpy as np
import pytest
from consortium_harness import TinyWork, eventually, in_thread, make_order, make_session
from harness import identity_of, make_vectors
from http_harness import Papers, Raw, dial, heard, holding, make_hall, make_joined, make_server, resident_bytes

from privfl.errors import RoundAborted
from privfl.integrations.consortium.messages import model_digest
from privfl.integrations.http import bodies, limits
from privfl.integrations.http.complaints import Complaints
from privfl.integrations.http.doors import Doors, Visit
from privfl.integrations.http.tls import client_context

N = 5


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def hall():
    return make_hall(N)


@pytest.fixture
def server(hall, papers):
    with make_server(hall, papers, n=N) as server:
        yield server


def request(method, target, headers=(), body=b""):
    lines = [f"{method} {target} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(said):
    return int(said.split(b" ")[1]) if said else None


def still_serves(server, papers, number=3):
    with Raw(server, papers, number) as raw:
        return raw.ask("GET", "/v1/greeting").status_code == 200


# Certificates.


@pytest.mark.parametrize("whose", ["none", "another authority's"])
def test_no_certificate_or_a_wrong_one_is_refused_where_one_is_demanded(papers, tmp_path, hall, whose, caplog):
    theirs = Papers(tmp_path / "theirs").client
    hall.close("nobody hears this")
    with make_server(hall, papers, n=N, client_ca=papers.ca) as server:
        own = None if whose == "none" else theirs
        joined = make_joined(server, papers, tmp_path / "0", 0, TinyWork(), client_certificate=own, give_up_after_s=0.3)
        with pytest.raises(RoundAborted):
            joined.run()
        assert hall.present() == frozenset()
        eventually(lambda: server.complaints.counts.get("handshake"))
        with Raw(server, papers, 3, context=client_context(papers.ca, own=papers.client)) as raw:
            assert raw.ask("GET", "/v1/greeting").status_code == 200
    assert "a TLS handshake failed" in caplog.text


def test_a_servers_certificate_is_no_clients(papers, hall):
    with make_server(hall, papers, n=N, client_ca=papers.ca) as server, pytest.raises(httpx.TransportError):
        Raw(server, papers, context=client_context(papers.ca, own=papers.server))


def test_old_tls_is_not_spoken(server):
    assert server._context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_what_is_no_tls_is_hung_up_on(server, papers):
    for garbage in (request("GET", "/health"), b"\x16\x03\x01\xff\xff" + bytes(100), b"\xff" * 3000):
        with dial(server.port) as connection:
            connection.sendall(garbage)
            heard(connection)
    eventually(lambda: server.complaints.counts.get("handshake") == 3)
    assert still_serves(server, papers)


# Slowness.


def test_a_handshake_has_a_deadline(server, monkeypatch):
    monkeypatch.setattr(limits, "HANDSHAKE_S", 0.3)
    with dial(server.port) as connection:
        assert heard(connection) == b""
    with dial(server.port) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert heard(connection) == b""
    eventually(lambda: server.complaints.counts.get("handshake") == 2)


def test_a_head_has_a_deadline(server, papers, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_S", 0.3)
    with dial(server.port, papers) as connection:
        assert status_of(heard(connection)) == 408
    with dial(server.port, papers) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: ")
        stop = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not stop.wait(0.05):
                    connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        said = heard(connection)
        stop.set()
        dripping.join()
    assert status_of(said) in {408, None}  # what the system says of a byte that comes later can swallow the answer
    assert server.complaints.counts["slow-head"] == 1  # who says nothing at all gives no cause for complaint
    assert still_serves(server, papers)


def test_a_later_head_on_a_connection_has_the_same_deadline(server, papers, monkeypatch):
    monkeypatch.setattr(limits, "HEAD_S", 0.3)
    with dial(server.port, papers) as connection:
        connection.sendall(request("GET", "/health"))
        assert status_of(connection.recv(4096)) == 200
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        assert status_of(heard(connection)) == 408


def test_a_connection_that_is_idle_is_hung_up_on(hall, papers, monkeypatch):
    from privfl.integrations.http import server as module

    monkeypatch.setattr(module, "IDLE_S", 0.3)
    with make_server(hall, papers, n=N) as server, dial(server.port, papers) as connection:
        connection.sendall(request("GET", "/health"))
        assert b'{"status":"ok"}' in heard(connection)


@pytest.mark.parametrize("begun", [b"", b"x"])
def test_a_body_that_crawls_is_refused(server, papers, hall, monkeypatch, begun):
    monkeypatch.setattr(bodies, "GRACE_S", 0.3)
    with holding(hall, make_order(*make_session(n=N))) as (order, _), Raw(server, papers) as raw:
        target = f"/v1/answers/{order.params.nonce.hex()}/AdvertiseKeys?offset=0&of=100"
        headers = raw.signer.headers("PUT", target, bytes(100))
        with dial(server.port, papers, timeout=5) as connection:
            connection.sendall(request("PUT", target, [*headers.items(), ("content-length", "100")], begun))
            said = heard(connection)
        assert status_of(said) == 408
        assert b"connection: close" in said.lower()
        assert still_serves(server, papers)


def test_a_body_whose_request_was_refused_is_not_waited_for(server, papers):
    with dial(server.port, papers) as connection:
        connection.sendall(request("PUT", "/v1/answers/x/y", [("content-length", "1000000")], b"x"))
        said = heard(connection)
    assert status_of(said) == 401


def test_a_newer_body_of_a_client_ends_the_older(server, papers, hall, monkeypatch):
    monkeypatch.setattr(bodies, "GRACE_S", 60)
    with holding(hall, make_order(*make_session(n=N))) as (order, _), Raw(server, papers) as raw:
        target = f"/v1/answers/{order.params.nonce.hex()}/AdvertiseKeys?offset=0&of=100"
        headers = raw.signer.headers("PUT", target, bytes(100))
        with dial(server.port, papers, timeout=5) as connection:
            connection.sendall(request("PUT", target, [*headers.items(), ("content-length", "100")], b"x"))
            eventually(lambda: server._desk._reader._under_way)
            assert raw.ask("PUT", target, b"y" * 50, headers={}).status_code == 400
            assert status_of(heard(connection)) == 408


def test_a_response_that_nobody_reads_ends_its_connection(server, papers, hall, monkeypatch):
    monkeypatch.setattr(limits, "SEND_S", 0.3)
    model = bytes(30_000_000)
    order = make_order(*make_session(n=N, model=model), model=model)
    with holding(hall, order), Raw(server, papers) as raw:
        target = f"/v1/models/{model_digest(model).hex()}"
        before = resident_bytes()
        silent = []
        for _ in range(4):
            silent.append(dial(server.port, papers))
            silent[-1].sendall(request("GET", target, raw.signer.headers("GET", target).items()))
        eventually(lambda: server._desk_doors.open <= 1)
        assert resident_bytes() - before < 20e6
        for connection in silent:
            connection.close()


# Size.


def test_a_body_is_refused_by_its_length_before_it_comes(server, papers):
    with Raw(server, papers) as raw:
        # What no number can be, HTTP itself refuses.
        for length, status in ((2**20 + 1, 413), (10**15, 413), ("9" * 50, 400)):
            target = f"/v1/answers/{'0' * 32}/Unmask?offset=0&of={10**15}"
            headers = raw.signer.headers("PUT", target, b"never sent")
            with dial(server.port, papers) as connection:
                connection.sendall(request("PUT", target, [*headers.items(), ("content-length", length)]))
                assert status_of(heard(connection)) == status


def test_a_body_without_a_length_is_refused(server, papers):
    with Raw(server, papers) as raw:
        target = f"/v1/answers/{'0' * 32}/Unmask?offset=0&of=5"
        headers = raw.signer.headers("PUT", target, b"abcde")
        with dial(server.port, papers) as connection:
            said = [*headers.items(), ("transfer-encoding", "chunked")]
            connection.sendall(request("PUT", target, said, b"5\r\nabcde\r\n0\r\n\r\n"))
            assert status_of(heard(connection)) == 411


def test_a_head_that_does_not_end_is_refused(server, papers):
    with dial(server.port, papers) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\n" + b"x-filler: " + b"x" * 40_000)
        assert status_of(heard(connection)) in {400, None}
    eventually(lambda: server.complaints.counts.get("malformed") == 1)


# Signatures, through the door.


def test_a_request_that_was_recorded_is_not_served_again(server, papers):
    with Raw(server, papers) as raw:
        recorded = request("GET", "/v1/greeting", raw.signer.headers("GET", "/v1/greeting").items())
        statuses = []
        for _ in range(2):
            with dial(server.port, papers) as connection:
                connection.sendall(recorded)
                statuses.append(status_of(connection.recv(65536)))
        assert statuses == [200, 401]


def test_another_body_than_was_signed_is_refused(server, papers, hall):
    with holding(hall, make_order(*make_session(n=N))) as (order, _), Raw(server, papers) as raw:
        target = f"/v1/answers/{order.params.nonce.hex()}/AdvertiseKeys?offset=0&of=5"
        said = raw.signer.headers("PUT", target, b"abcde")
        answer = raw.http.put(target, content=b"abcdX", headers=said)
        assert (answer.status_code, answer.json()["error"]) == (400, "the body is not the one that was signed")
        assert hall.snapshot().refused == 0


def test_of_two_requests_with_one_count_one_is_served(server, papers):
    with Raw(server, papers) as raw:
        said = raw.signer.headers("GET", "/v1/greeting")
        go = threading.Barrier(4)

        def ask():
            with httpx.Client(verify=client_context(papers.ca), base_url=f"https://localhost:{server.port}") as http:
                http.get("/health")
                go.wait()
                return http.get("/v1/greeting", headers=said).status_code

        asked = [in_thread(ask) for _ in range(4)]
        assert sorted(wait() for wait in asked) == [200, 401, 401, 401]


def test_the_bodies_of_strangers_are_not_read(server, papers, monkeypatch):
    async def read(*_, **__):
        raise AssertionError("a stranger's body was read")

    monkeypatch.setattr(bodies.Reader, "read", read)
    with Raw(server, papers, identity=identity_of(77)) as raw:
        target = f"/v1/answers/{'0' * 32}/Unmask?offset=0&of=5"
        assert raw.ask("PUT", target, b"abcde", headers={}).status_code == 401
    assert server.complaints.counts == {"401-forged": 1}


# Crowds.


def test_guarantee_1_strangers_make_room_for_each_other(hall, papers):
    with make_server(hall, papers, n=N, strangers=8) as server:
        crowd = []
        for _ in range(40):
            with contextlib.suppress(OSError):
                crowd.append(dial(server.port, papers))
            assert server._desk_doors.open <= 8
        with Raw(server, papers, 3) as good:
            assert good.ask("GET", "/v1/greeting").status_code == 200
            (own,) = server._desk_doors._clients[3]
            crowd.extend(dial(server.port, papers) for _ in range(20))
            # A client's connection is no stranger's any more: it stays.
            assert good.ask("GET", "/v1/greeting").status_code == 200
            assert list(server._desk_doors._clients[3]) == [own]
            assert server._desk_doors.open <= 9
        for connection in crowd:
            connection.close()
        eventually(lambda: server._desk_doors.open == 0)


def test_guarantee_1_handshakes_count_as_strangers(hall, papers):
    with make_server(hall, papers, n=N, strangers=8) as server:
        crowd = [dial(server.port) for _ in range(30)]
        assert still_serves(server, papers)
        assert server._desk_doors.open <= 8
        for connection in crowd:
            connection.close()


def test_guarantee_1_a_client_has_a_few_connections(monkeypatch):
    gone = []
    monkeypatch.setattr(Visit, "abort", lambda visit: gone.append(visit))  # noqa: PLW0108 - bound as a method is
    doors = Doors(Complaints(), strangers=3, per_client=2)
    visits = [doors.arrive(None) for _ in range(3)]
    for visit in visits:
        visit.admitted(7)
        visit.admitted(7)
    assert gone == visits[:1]
    assert doors.open == 2
    visits[0].left()
    assert doors.open == 2
    visits[1].left()
    assert doors.open == 1


def test_ten_thousand_garbage_requests_while_a_good_client_is_served(server, papers, hall, tmp_path, caplog):
    """Refused with the right status, few lines in the log, memory flat; and a session goes on meanwhile."""
    caplog.set_level(logging.INFO)
    params, served = make_session("plain", n=N)
    vectors = make_vectors(params)
    works = {number: TinyWork(vectors[number]) for number in range(N)}
    ends = [
        in_thread(make_joined(server, papers, tmp_path / str(number), number, works[number]).run) for number in range(N)
    ]
    hall.gather(N, 60)
    statuses = []

    def flood(count):
        forged = [
            ("privfl-client", "3"), ("privfl-epoch", "0" * 32), ("privfl-count", "7"),
            ("privfl-signature", "A" * 86 + "=="),
        ]  # fmt: skip
        for _ in range(count // 500):
            with dial(server.port, papers) as connection:
                connection.sendall(request("GET", "/v1/offer?wait=60", forged))
                said = b""
                while not said.endswith(b"}"):
                    said += connection.recv(65536)
                one = len(said)
                for _ in range(10):
                    connection.sendall(request("GET", "/v1/offer?wait=60", forged) * 49)
                    said = b""
                    while len(said) < 49 * one:
                        said += connection.recv(65536)
                    statuses.extend(int(line[:3]) for line in said.split(b"HTTP/1.1 ")[1:])
                connection.sendall(request("GET", f"/v1/{'x' * 2000}"))
                statuses.append(status_of(heard(connection)))
            for garbage in (
                bytes(range(256)),
                request("GET", "/v1/offer"),
                request("P\xffT", "/"),
                b"\r\n\r\n: x\r\n\r\n",
            ):
                with dial(server.port, papers) as connection:
                    connection.sendall(garbage)
                    statuses.append(status_of(heard(connection)))

    flood(2000)
    before = resident_bytes()
    flooding = in_thread(lambda: flood(8000))
    outcome = hall.hold(make_order(params, served))
    flooding()
    grown = resident_bytes() - before
    assert outcome.contributors == tuple(range(N))
    hall.close("done")
    assert [end() for end in ends] == ["done"] * N
    assert len(statuses) >= 9_900
    assert set(statuses) <= {400, 401, 404, 408, None}
    assert statuses.count(401) >= 9_800
    assert grown < 16e6
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) < 20
    assert not [line for line in lines if "A" * 20 in line or "x" * 20 in line]
    assert server.complaints.counts["401-epoch"] >= 9_800


def test_complaints_are_counted_always_and_logged_seldom(caplog):
    now = [0.0]
    complaints = Complaints(every_s=60, clock=lambda: now[0])
    for _ in range(1000):
        complaints.note("a", "one thing")
    complaints.note("b", "another")
    now[0] = 61
    complaints.note("a", "one thing")
    assert complaints.counts == {"a": 1001, "b": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "one thing", "another", "one thing (and 999 more of the kind)",
    ]  # fmt: skip


def test_a_failure_inside_is_told_without_what_it_held(server, papers, hall, caplog):
    def offer(client):
        raise ValueError("a secret of the coordinator's")

    hall.offer = offer
    with Raw(server, papers) as raw:
        answer = raw.ask("GET", "/v1/offer")
    assert answer.status_code == 500
    assert "secret" not in answer.text + caplog.text
    assert "ValueError" in caplog.text


def test_slots_are_queued_for_and_then_refused(monkeypatch):
    import asyncio

    async def crowd():
        monkeypatch.setattr(bodies, "QUEUE_S", 0.05)
        reader = bodies.Reader(at_once=1)
        async with reader.slot():
            with pytest.raises(bodies.Refused) as caught:
                async with reader.slot():
                    pass
        async with reader.slot():
            return caught.value

    refusal = asyncio.run(crowd())
    assert refusal.status == 503
    assert refusal.headers == {"retry-after": "2"}


def test_random_bytes_after_the_handshake(server, papers):
    rng = np.random.default_rng(11)
    for _ in range(30):
        with dial(server.port, papers) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(rng.bytes(int(rng.integers(1, 3000))) + b"\r\n\r\n")
            assert status_of(heard(connection)) in {400, None}
    assert still_serves(server, papers)


def test_parts_of_responses_are_not_held_back(server, papers):
    with Raw(server, papers):
        (visit,) = server._desk_doors._strangers
        options = visit.transport.get_extra_info("socket")
        assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
