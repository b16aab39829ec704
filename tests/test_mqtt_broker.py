"""Sessions through a real broker: clients and brokers come and go, and the broker reads nothing."""

import contextlib
import signal
import socket
import threading
import time

import numpy as np
import pytest

for needed in ("paho", "starlette", "uvicorn", "httpx"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[http,mqtt]'")

from consortium_harness import (  # noqa: E402
    TinyWork,
    eventually,
    exact_sum,
    in_thread,
    make_order,
    make_session,
)
from harness import make_vectors  # noqa: E402
from http_harness import holding, make_hall, make_server  # noqa: E402
from mosquitto_here import needs_mosquitto  # noqa: E402
from mqtt_harness import Hand, Place, cut, make_tunnelled  # noqa: E402

from privfl.errors import ConfigurationError, RoundAborted  # noqa: E402
from privfl.integrations.http.client import STOPPED  # noqa: E402
from privfl.integrations.mqtt import Here, Tunnel, join  # noqa: E402
from privfl.integrations.mqtt.here import read  # noqa: E402

pytestmark = needs_mosquitto
N = 5


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "place")
    yield made
    made.close()


class Clients:
    """Clients in threads, each with a tunnel of its own."""

    def __init__(self, place, folder, vectors, *, numbers=range(N)):
        self.place, self.folder, self.vectors = place, folder, vectors
        self.works, self.tunnels, self.ends, self.stops = {}, {}, {}, {}
        for number in numbers:
            self.begin(number)

    def begin(self, number):
        """A client's process: the second of a client begins where the first was."""
        self.works.setdefault(number, TinyWork(self.vectors[number]))
        self.tunnels[number] = tunnel = self.place.tunnel(number)
        tunnel.start()
        self.stops[number] = stop = threading.Event()
        folder = self.folder / str(number)
        joined = make_tunnelled(tunnel, self.place, folder, number, self.works[number], stop=stop)
        self.ends[number] = in_thread(joined.run)

    def kill(self, number):
        """As far as the broker and the coordinator can tell."""
        self.stops[number].set()
        tunnel = self.tunnels[number]
        cut(tunnel)
        assert self.ends[number]() == STOPPED
        tunnel.stop()

    def end(self):
        ends = {number: end() for number, end in self.ends.items()}
        for tunnel in self.tunnels.values():
            tunnel.stop()
        return ends


def session(suite="kahe", *, length=16, **options):
    params, served = make_session(suite, n=N, length=length, **options)
    return make_order(params, served, upload_timeout_s=60.0), make_vectors(params)


def test_a_round_through_a_broker(place, tmp_path):
    hall = make_hall(N)
    order, vectors = session()
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        clients = Clients(place, tmp_path, vectors)
        outcome = hall.hold(order)
        hall.close("all rounds are done")
        assert server.farewell(range(N), 30) == frozenset()
        assert set(clients.end().values()) == {"all rounds are done"}
        eventually(lambda: bridge.streams == 0)
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(N)))
    assert outcome.contributors == tuple(range(N))
    assert {work.trained for work in clients.works.values()} == {1}
    assert not bridge.complaints.counts


def test_a_client_that_is_killed_drops_out_and_is_back_in_the_next_round(place, tmp_path):
    hall = make_hall(N)
    first, vectors = session(length=1000)
    first = make_order(first.params, first.server, phase_timeout_s=5.0, upload_timeout_s=5.0)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server):
        clients = Clients(place, tmp_path, vectors, numbers=range(N))
        hall.gather(N, 60)
        clients.kill(3)
        outcome = in_thread(lambda: hall.hold(first))
        assert outcome().contributors == (0, 1, 2, 4)
        clients.begin(3)
        second, _ = session(length=1000, round_number=2)
        second = make_order(second.params, second.server, round=2, upload_timeout_s=60.0)
        again = hall.hold(second)
        hall.close("done")
        assert set(clients.end().values()) == {"done"}
    assert again.contributors == tuple(range(N))
    assert np.array_equal(again.aggregate.vector, exact_sum(vectors, range(N)))


def test_an_upload_goes_on_after_the_broker_was_killed_in_the_middle_of_it(place, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain", length=1_000_000)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        clients = Clients(place, tmp_path, vectors)
        found = in_thread(lambda: hall.hold(order))
        # Megabytes from each client, in chunks: some have begun.
        eventually(lambda: server._desk._spool.under_way)
        place.mosquitto.stop()
        assert hall.snapshot().answers < N
        eventually(lambda: bridge.lost == 1 and bridge.streams == 0)
        place.mosquitto.start()
        outcome = found()
        hall.close("done")
        assert set(clients.end().values()) == {"done"}
    assert outcome.contributors == tuple(range(N))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(N)))
    assert {work.trained for work in clients.works.values()} == {1}


def test_a_broker_whose_queues_overflow_costs_streams_and_nothing_else(tmp_path, monkeypatch):
    """Five clients send more at once than the broker keeps for the coordinator: it drops messages, and says nothing."""
    monkeypatch.setattr("privfl.integrations.mqtt.connection._RECEIVE_MAXIMUM", 1)
    hall = make_hall(N)
    order, vectors = session("plain", length=400_000)
    with (
        contextlib.closing(Place(tmp_path / "place", conf={"max_queued_messages": 12})) as place,
        make_server(hall, place.papers, n=N) as server,
        place.bridge(hall, server) as bridge,
    ):
        took = bridge.came
        bridge.came = lambda *message: (time.sleep(0.01), took(*message))  # a coordinator that is slow
        clients = Clients(place, tmp_path, vectors)
        outcome = hall.hold(order)
        hall.close("done")
        assert set(clients.end().values()) == {"done"}
    assert bridge.complaints.counts["stream"] > 0
    assert bridge.lost == 0
    assert outcome.contributors == tuple(range(N))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(N)))


def test_the_broker_sees_no_word_of_what_passes(place, tmp_path):
    """Whoever reads all topics finds neither what client and coordinator say nor the model in it."""
    hall = make_hall(N)
    marker = b"a model, as far as anybody here knows"
    order, vectors = session("plain", length=5000)
    assert marker in order.model
    with Hand(place, "coordinator", ["privfl/#"]) as seer:
        with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server):
            clients = Clients(place, tmp_path, vectors)
            outcome = hall.hold(order)
            hall.close("all rounds are done")
            clients.end()
        eventually(lambda: read(seer.came[-1][1]).state == "gone" if seer.came[-1][0].endswith("here") else False)
        seen = b"".join(payload for topic, payload in seer.came if not topic.endswith("/here"))
    assert outcome.contributors == tuple(range(N))
    # All of it passed there, both ways.
    assert len(seen) > N * (len(order.model) + 8 * 1000)
    uploads = [vectors[number].astype("<i8").tobytes()[:64] for number in range(N)]
    for secret in (marker, b"/v1/", b"HTTP/1.1", b"signature", b"all rounds are done", *uploads):
        assert secret not in seen
    # What it does see: who, when, how much, and how the hall stands.
    users = {topic.split("/")[2] for topic, _ in seer.came if topic != "privfl/here"}
    assert users == {f"client-{number}" for number in range(N)}


def test_guarantee_3_how_the_hall_stands_is_kept_for_whoever_comes_late(place):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        eventually(lambda: bridge.is_up)
        with holding(hall, make_order(*make_session("plain", n=N))), place.tunnel(0) as tunnel:
            eventually(lambda: tunnel.heard is not None and tunnel.heard.phase is not None)
            assert tunnel.heard == Here(
                state="here", run=hall.greeting.run.hex(), round=1, phase=hall.snapshot().phase.name
            )
        with place.tunnel(1) as late:
            eventually(lambda: late.heard == Here(state="here", run=hall.greeting.run.hex()))
    with place.tunnel(2) as later:
        eventually(lambda: later.heard == Here(state="gone"))


def test_guarantee_3_a_coordinator_that_was_killed_is_said_to_be_gone(place):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server:
        bridge = place.bridge(hall, server)
        with bridge, place.tunnel(0) as tunnel:
            eventually(lambda: tunnel.heard is not None and tunnel.heard.state == "here")
            # As when its process is killed: the kernel closes the connection, nobody says a word.
            cut(bridge)
            eventually(lambda: tunnel.heard.state == "gone")
            # The bridge dials again.
            eventually(lambda: tunnel.heard.state == "here")


def test_guarantee_3_a_will_that_comes_late_is_put_right(place):
    """The broker misses an older connection of the coordinator's after a newer one has said that all is well."""
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server), place.tunnel(0) as tunnel:
        eventually(lambda: tunnel.heard is not None and tunnel.heard.state == "here")
        with Hand(place, "coordinator") as older, Hand(place, "client-1", ["privfl/here"]) as witness:
            older.publish("privfl/here", b'{"state":"gone"}', retain=True)
            eventually(lambda: len(witness.came) >= 3)
        assert [read(payload).state for _, payload in witness.came[:3]] == ["here", "gone", "here"]
        eventually(lambda: tunnel.heard.state == "here")


def test_a_client_waits_for_a_coordinator_that_is_said_to_be_gone_and_is_rung_for(place, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    rung = threading.Event()
    with Hand(place, "coordinator") as hand:
        hand.publish("privfl/here", b'{"state":"gone"}', retain=True)
    clients = Clients(place, tmp_path, vectors, numbers=[])
    tunnel = place.tunnel(9)
    tunnel.on_ring(rung.set)
    with tunnel:
        eventually(lambda: tunnel.heard is not None)
        rung.clear()
        for number in range(N):
            clients.begin(number)
        with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server):
            assert rung.wait(30)
            outcome = hall.hold(order)
            hall.close("done")
            clients.end()
    assert outcome.contributors == tuple(range(N))


def test_a_coordinator_under_another_name_is_not_listened_to(place, tmp_path):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server), place.tunnel(0) as tunnel:
        joined = make_tunnelled(
            tunnel, place, tmp_path / "0", 0, TinyWork(), name="elsewhere.example", give_up_after_s=0.5
        )
        with pytest.raises(RoundAborted, match="certificate verify failed"):
            joined.run()
        assert hall.present() == frozenset()


@pytest.mark.parametrize("name", ["", "a/b", "https://localhost", "local host", "a@b", "localhost:8443"])
def test_a_name_that_is_none(place, tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"such as 'coordinator\.example'"):
        join(None, access=place.access("client-0"), name=name, ca=place.papers.ca, identity=None, number=0)


def test_the_door_is_closed_to_others_and_goes_away(place):
    with place.tunnel(0) as tunnel:
        assert tunnel.path.parent.stat().st_mode & 0o777 == 0o700
        assert tunnel.path.is_socket()
    assert not tunnel.path.parent.exists()


def test_a_door_whose_name_would_be_too_long(place, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(ConfigurationError, match="TMPDIR=/tmp works"):
        Tunnel(place.access("client-0"))
    assert list(deep.iterdir()) == []


def test_guarantee_1_of_tunnels_no_more_streams_than_there_may_be(place):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server), place.tunnel(0) as tunnel:
        eventually(lambda: tunnel.heard is not None)
        connections = []
        for _ in range(6):
            connections.append(socket.socket(socket.AF_UNIX))
            connections[-1].settimeout(5)
            connections[-1].connect(str(tunnel.path))
        eventually(lambda: tunnel.streams == 4)
        refused = 0
        for connection in connections[4:]:
            try:
                refused += connection.recv(1) == b""
            except ConnectionError:
                refused += 1
        assert refused == 2
        for connection in connections:
            connection.close()
        eventually(lambda: tunnel.streams == 0)


def test_a_broker_that_says_goodbye_is_dialled_again(place):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        eventually(lambda: bridge.is_up)
        place.mosquitto.stop(signal.SIGTERM)
        eventually(lambda: not bridge.is_up)
        place.mosquitto.start()
        eventually(lambda: bridge.is_up)
        assert bridge.lost == 1
