"""Who may do what at the broker, and what becomes of a coordinator whose users, or whose broker, do as they like."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest

for needed in ("paho", "starlette", "uvicorn", "httpx"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[http,mqtt]'")

from consortium_harness import eventually, in_thread, make_session  # noqa: E402
from harness import make_vectors  # noqa: E402
from http_harness import Papers, make_hall, make_server, resident_bytes  # noqa: E402
from mosquitto_here import EXAMPLE, needs_mosquitto  # noqa: E402
from mqtt_harness import Hand, Place, make_tunnelled, opening  # noqa: E402
from paho.mqtt import client as paho  # noqa: E402
from paho.mqtt.enums import MQTTProtocolVersion  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402

from privfl.errors import ConfigurationError, RoundAborted  # noqa: E402
from privfl.integrations.http.patience import Lost, Patience  # noqa: E402
from privfl.integrations.http.tls import client_context, server_context  # noqa: E402
from privfl.integrations.mqtt import Access, Broker, Tunnel  # noqa: E402
from privfl.integrations.mqtt.bridge import LEAST_STREAMS, MOST_PER_USER  # noqa: E402
from privfl.integrations.mqtt.frames import Frame, Kind, Way, decode, encode  # noqa: E402
from privfl.integrations.mqtt.gate import MOST_PACKET_BYTES  # noqa: E402
from privfl.integrations.mqtt.stream import MOST_UNDER_WAY  # noqa: E402
from privfl.integrations.mqtt.tunnel import MOST_STREAMS  # noqa: E402

N = 5
NOT_AUTHORISED = 0x87
DOCUMENTATION = EXAMPLE.parent.parent / "docs" / "consortium.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("hostile") / "place")
    yield made
    made.close()


@pytest.fixture
def served(place):
    """A hall, its server and its bridge, that is up."""
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        eventually(lambda: bridge.is_up)
        yield hall, server, bridge


def data(name, number, payload=b"x"):
    return encode(Frame(kind=Kind.DATA, number=number, payload=payload), name, Way.UP)


def up(user, name):
    return f"privfl/up/{user}/{name.hex()}"


def all_taken(hand, bridge, user="client-2"):
    """Wait until the bridge has taken all that a user has published: garbage is complained of when its turn comes."""
    before = bridge.complaints.counts.get("frame", 0)
    hand.publish(up(user, os.urandom(16)), b"the last")
    eventually(lambda: bridge.complaints.counts.get("frame", 0) > before)


def kinds_of(hand, name):
    """What a user heard on a stream."""
    return [decode(payload, name, Way.DOWN).kind for topic, payload in hand.came if topic.endswith(name.hex())]


def goes_on(place, folder, hall):
    """A client that is no party to all this takes part as ever."""
    params, server = make_session("plain", n=N)
    del server
    from consortium_harness import TinyWork

    with place.tunnel(1) as tunnel:
        joined = make_tunnelled(tunnel, place, folder, 1, TinyWork(make_vectors(params)[1]))
        end = in_thread(joined.run)
        eventually(lambda: 1 in hall.present())
        hall.close("enough")
        assert end() == "enough"


# At the broker: the ACL that is recommended


@needs_mosquitto
def test_a_client_neither_writes_as_another_nor_reads_what_is_another_s(place):
    name = os.urandom(16)
    with Hand(place, "client-2", ["privfl/#"]) as second, Hand(place, "client-1", ["privfl/down/client-1/+"]) as first:
        assert second.publish(up("client-1", name), opening(name)).value == NOT_AUTHORISED
        assert second.publish(f"privfl/down/client-1/{name.hex()}", b"x").value == NOT_AUTHORISED
        assert second.publish(f"privfl/down/client-2/{name.hex()}", b"x").value == NOT_AUTHORISED
        assert second.publish("privfl/here", b'{"state":"gone"}').value == NOT_AUTHORISED
        for topic in ("privfl/up/client-2", "privfl/up/client-2/x/y"):  # kept there, it would be for nobody
            assert second.publish(topic, b"x", retain=True).value == NOT_AUTHORISED
        assert second.publish(up("client-2", name), opening(name)).value != NOT_AUTHORISED
        with Hand(place, "coordinator") as coordinator:
            for user in ("client-1", "client-2"):
                coordinator.publish(f"privfl/down/{user}/{name.hex()}", user.encode())
            coordinator.publish("privfl/here", b"{}")
        eventually(lambda: len(first.came) == 1 and len(second.came) == 2)
        time.sleep(0.2)
        assert [payload for _, payload in first.came] == [b"client-1"]
        assert [payload for _, payload in second.came] == [b"client-2", b"{}"]


@needs_mosquitto
def test_a_broker_with_a_limit_cuts_off_who_has_it_keep_too_much(tmp_path):
    """With less than is recommended, to be there soon; whoever is there then may be cut off too, and comes back."""
    assert "\nmemory_limit " in (EXAMPLE / "mosquitto.conf").read_text()
    hall = make_hall(N)
    with (
        contextlib.closing(Place(tmp_path / "place", conf={"memory_limit": 16_000_000})) as place,
        make_server(hall, place.papers, n=N) as server,
        place.bridge(hall, server) as bridge,
    ):
        eventually(lambda: bridge.is_up)
        with Hand(place, "client-2") as keeper:

            def keeps_on():
                # Which of the broker's allocations fails is chance; some lose a message and not the connection.
                for _ in range(20):
                    keeper.client.publish(up("client-2", os.urandom(16)), bytes(60_000), qos=0, retain=True)
                time.sleep(0.05)
                return not keeper.inside

            eventually(keeps_on)
        place.mosquitto.stop()
        place.mosquitto.start()  # what was kept is forgotten
        goes_on(place, tmp_path / "1", hall)


@needs_mosquitto
def test_who_has_left_is_shut_out_of_the_topics_by_two_lines(tmp_path):
    left = (EXAMPLE / "acl").read_text() + "\nuser client-2\ntopic deny privfl/#\n"
    assert all(f"`{line}`" in DOCUMENTATION.read_text() for line in ("user mallory", "topic deny privfl/#"))
    with (
        contextlib.closing(Place(tmp_path / "place", acl=left)) as place,
        Hand(place, "coordinator") as coordinator,
        Hand(place, "client-2", ["privfl/#"]) as gone,
        Hand(place, "client-1", ["privfl/down/client-1/+"]) as first,
    ):
        assert gone.publish(up("client-2", os.urandom(16)), b"").value == NOT_AUTHORISED
        assert first.publish(up("client-1", os.urandom(16)), b"").value != NOT_AUTHORISED
        for topic in ("privfl/down/client-2/x", "privfl/here", "privfl/down/client-1/x"):
            coordinator.publish(topic, b"x")
        eventually(lambda: first.came)
        assert not gone.came


@needs_mosquitto
def test_nobody_comes_in_without_a_certificate_of_the_authority(place, tmp_path):
    strangers = Papers(tmp_path / "strangers", name="another consortium")
    nothing = client_context(place.papers.ca)
    another = client_context(place.papers.ca, own=strangers.client)
    server = client_context(place.papers.ca, own=place.papers.server)
    for context in (nothing, another, server):
        with Hand(place, context=context) as stranger:
            assert not stranger.inside
            assert stranger.reason is None
    # The older protocol's rules are no others.
    with Hand(place, "client-1", version=MQTTProtocolVersion.MQTTv311) as client:
        assert client.inside


def test_a_certificate_that_names_nobody_is_refused_before_anything_is_dialled(tmp_path):
    papers = Papers(tmp_path)
    broker = Broker(host="localhost")
    for certificate, key in (papers.server, papers.issue("odd", hosts=[], client=True, called="a/b")):
        with pytest.raises(ConfigurationError, match="privfl identity cert --client"):
            Access.of(broker, ca=papers.ca, certificate=certificate, key=key)
    assert Access.of(broker, ca=papers.ca, certificate=papers.client[0], key=papers.client[1]).user == "client"


# At the coordinator: users that do as they like


@needs_mosquitto
def test_guarantee_1_who_opens_many_streams_loses_the_own_oldest_and_nobody_else_s(place, served):
    _, _, bridge = served
    other, names = os.urandom(16), [os.urandom(16) for _ in range(MOST_PER_USER + 2)]
    with Hand(place, "client-1", ["privfl/down/client-1/+"]) as first, Hand(place, "client-2") as second:
        second.publish(up("client-2", other), opening(other))
        eventually(lambda: bridge.streams == 1)
        for name in names:
            first.publish(up("client-1", name), opening(name))
        all_taken(first, bridge, "client-1")
        assert ("client-2", other) in bridge._pipes
        assert {where[1] for where in bridge._pipes if where[0] == "client-1"} == set(names[2:])
        eventually(lambda: kinds_of(first, names[1]) == [Kind.RESET])
        assert kinds_of(first, names[0]) == [Kind.RESET]


@needs_mosquitto
def test_guarantee_1_a_flood_of_streams_opens_few(place, served, tmp_path):
    hall, _, bridge = served
    with Hand(place, "client-2", ["privfl/down/client-2/+"]) as flooding:
        before = resident_bytes()
        for _ in range(3000):
            name = os.urandom(16)
            flooding.client.publish(up("client-2", name), opening(name), qos=0)
        all_taken(flooding, bridge)
        # Some may have been dropped on their way: nobody promised to bring them.
        assert bridge.complaints.counts["openings"] > 500
        assert bridge.streams <= MOST_PER_USER
        assert resident_bytes() - before < 50e6
        goes_on(place, tmp_path / "1", hall)


@needs_mosquitto
def test_guarantee_1_there_is_an_end_to_all_streams(place):
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server, streams=3) as bridge:
        eventually(lambda: bridge.is_up)
        names = [os.urandom(16) for _ in range(4)]
        with contextlib.ExitStack() as stack:
            hands = [
                stack.enter_context(Hand(place, f"client-{number}", [f"privfl/down/client-{number}/+"]))
                for number in range(4)
            ]
            for number, name in enumerate(names):
                hands[number].publish(up(f"client-{number}", name), opening(name))
                all_taken(hands[number], bridge, f"client-{number}")
            assert {where[1] for where in bridge._pipes} == set(names[1:])
            assert bridge.complaints.counts["full"] == 1
            eventually(lambda: kinds_of(hands[0], names[0]) == [Kind.RESET])


@needs_mosquitto
def test_guarantee_2_frames_of_unknown_streams_cost_nothing_and_few_are_answered(place, served, tmp_path):
    hall, _, bridge = served
    with Hand(place, "client-2", ["privfl/down/client-2/+"]) as lost:
        for _ in range(2000):
            name = os.urandom(16)
            lost.client.publish(up("client-2", name), data(name, 7), qos=0)
        all_taken(lost, bridge)
        goes_on(place, tmp_path / "1", hall)
        assert {kind for topic, _ in lost.came for kind in kinds_of(lost, bytes.fromhex(topic[-32:]))} == {Kind.RESET}
        assert 0 < len(lost.came) < 1000
    assert not any(user == "client-2" for user, _ in bridge._pipes)


@needs_mosquitto
def test_garbage_resets_the_own_stream_at_most(place, served, tmp_path):
    hall, _, bridge = served
    name, other = os.urandom(16), os.urandom(16)
    with Hand(place, "client-2", ["privfl/down/client-2/+"]) as hand, Hand(place, "client-3") as third:
        third.publish(up("client-3", other), opening(other))
        for payload in (b"", b"garbage", os.urandom(1000), data(name, 0), opening(other), bytes(60_000)):
            hand.publish(up("client-2", name), payload)
        hand.publish("privfl/up/client-2/nonsense", b"x")
        hand.publish(f"privfl/up/client-2/{name.hex()}/more", b"x")
        hand.publish(up("client-2", name), opening(name))
        eventually(lambda: ("client-2", name) in bridge._pipes)
        hand.publish(up("client-2", name), b"garbage")
        eventually(lambda: ("client-2", name) not in bridge._pipes)
        eventually(lambda: kinds_of(hand, name)[-1:] == [Kind.RESET])
        assert ("client-3", other) in bridge._pipes
        assert bridge.complaints.counts.keys() == {"frame", "stream", "topic"}
        goes_on(place, tmp_path / "1", hall)


def properties(*pairs):
    made = Properties(PacketTypes.PUBLISH)
    made.UserProperty = list(pairs)
    return made


ODD_PROPERTIES = {
    "feff": [("a", "\ufeff")],
    "feff as a name": [("\ufeff", "b")],
    "repeated": [("a", "b"), ("a", "b"), ("a", "c")],
    "many": [("a", "b")] * 9000,
}


@needs_mosquitto
@pytest.mark.parametrize("pairs", ODD_PROPERTIES.values(), ids=ODD_PROPERTIES)
def test_guarantee_3_of_connections_a_message_with_odd_properties_ends_nobody_s_streams(place, served, pairs):
    _, _, bridge = served
    name, other = os.urandom(16), os.urandom(16)
    with Hand(place, "client-2") as odd, Hand(place, "client-3") as third, place.tunnel(1) as tunnel:
        eventually(lambda: tunnel.is_up)
        third.publish(up("client-3", other), opening(other))
        eventually(lambda: ("client-3", other) in bridge._pipes)
        odd.publish(up("client-2", os.urandom(16)), b"", properties=properties(*pairs))
        odd.publish(up("client-2", name), opening(name), properties=properties(*pairs))
        eventually(lambda: ("client-2", name) in bridge._pipes)
        with Hand(place, "coordinator") as coordinator:
            coordinator.publish("privfl/here", b"odd", properties=properties(*pairs), retain=True)
            coordinator.publish(f"privfl/down/client-1/{name.hex()}", b"odd", properties=properties(*pairs))
        eventually(lambda: tunnel.complaints.counts.get("here"))
        third.publish(up("client-3", other), data(other, 1))
        all_taken(third, bridge, "client-3")
        assert ("client-3", other) in bridge._pipes
        assert bridge.lost == 0
        assert tunnel.lost == 0


@needs_mosquitto
def test_what_a_user_has_the_broker_keep_is_not_taken(place, served):
    hall, server, bridge = served
    del hall, server
    name = os.urandom(16)
    with Hand(place, "client-2") as hand:
        hand.publish(up("client-2", name), opening(name), retain=True)
        all_taken(hand, bridge)
        assert bridge.streams == 0
        assert bridge.complaints.counts["topic"] == 1
        hand.publish(up("client-2", name), b"", retain=True)


@needs_mosquitto
def test_a_stream_that_speaks_no_tls_ends_as_any_connection(place, served):
    _, server, bridge = served
    name = os.urandom(16)
    with Hand(place, "client-2", ["privfl/down/client-2/+"]) as hand:
        hand.publish(up("client-2", name), opening(name))
        hand.publish(up("client-2", name), data(name, 1, b"GET / HTTP/1.1\r\n\r\n"))
        eventually(lambda: Kind.CLOSE in kinds_of(hand, name))
        eventually(lambda: bridge.streams == 0)
    assert server.complaints.counts["handshake"] == 1


@needs_mosquitto
def test_guarantee_1_of_pipes_a_user_that_takes_nothing_is_not_sent_more_than_a_window(place):
    """A listener that says much, and a client that gives no credit: what is under way stays where it was."""
    from privfl.integrations.mqtt.stream import WINDOW_BYTES

    sent = [0]
    talking = socket.create_server(("127.0.0.1", 0))

    def talk():
        with contextlib.suppress(OSError):
            connection, _ = talking.accept()
            with connection:
                while True:
                    connection.sendall(bytes(65536))
                    sent[0] += 65536

    threading.Thread(target=talk, daemon=True).start()
    hall, name = make_hall(N), os.urandom(16)
    with make_server(hall, place.papers, n=N) as server:
        server.port = talking.getsockname()[1]
        with place.bridge(hall, server) as bridge, Hand(place, "client-2", ["privfl/down/client-2/+"]) as hand:
            eventually(lambda: bridge.is_up)
            hand.publish(up("client-2", name), opening(name))
            eventually(lambda: sum(len(payload) for _, payload in hand.came) > WINDOW_BYTES * 0.7)
            time.sleep(0.5)
            assert sum(len(payload) for _, payload in hand.came) <= WINDOW_BYTES
            # The kernel's buffers and asyncio's are what the rest lies in.
            assert sent[0] < 32e6
    talking.close()


def test_the_total_is_enough_for_the_clients_of_a_small_consortium():
    assert LEAST_STREAMS >= N * MOST_PER_USER


# At a client: a broker that does as it likes


class FalseBroker:
    """Speaks TLS, says hello, then what the test wants; never reads more than it has to."""

    def __init__(self, folder, script):
        self.papers = Papers(folder)
        self._context = server_context(*self.papers.server, client_ca=self.papers.ca)
        self._listener = socket.create_server(("127.0.0.1", 0))
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # it is noticed soon that nobody reads
            self._listener.setsockopt(socket.SOL_SOCKET, buffer, 65536)
        self.port = self._listener.getsockname()[1]
        self._script, self.met, self.cut_off = script, 0, 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                threading.Thread(target=self._meet, args=(raw,), daemon=True).start()

    def _meet(self, raw):
        with contextlib.suppress(OSError, ssl.SSLError), self._context.wrap_socket(raw, server_side=True) as line:
            line.settimeout(30)
            line.recv(65536)  # CONNECT
            line.sendall(b"\x20\x03\x00\x00\x00")
            line.recv(65536)  # SUBSCRIBE
            line.sendall(b"\x90\x05\x00\x01\x00\x01\x01")
            self.met += 1
            self._script(line)
            while line.recv(65536):
                pass
        self.cut_off += 1

    def tunnel(self):
        certificate, key = self.papers.client
        broker = Broker(host="localhost", port=self.port)
        return Tunnel(Access.of(broker, ca=self.papers.ca, certificate=certificate, key=key))

    def close(self):
        self._listener.close()


def published(topic, payload, *, flags=0, mid=b""):
    body = len(topic).to_bytes(2, "big") + topic.encode() + mid + b"\0" + payload
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([0x30 | flags]) + digits + body


def many(piece, count):
    def script(line):
        for _ in range(count):
            line.sendall(piece)

    return script


def endless_packet(line):
    """One packet of 256 MiB, as it says."""
    line.sendall(b"\x32\xff\xff\xff\x7f")
    for _ in range(256):
        line.sendall(bytes(2**20))


def kept_packets(line):
    """QoS 2: whoever takes them keeps them until more is said."""
    for number in range(1, 3000):
        line.sendall(published("privfl/here", bytes(60_000), flags=4, mid=number.to_bytes(2, "big")))


@pytest.mark.parametrize(
    "script",
    [endless_packet, kept_packets, many(b"\x20\x03\0\0\0", 2), many(b"\xf0\x00", 1)],
    ids=["endless", "kept", "welcome", "auth"],
)
def test_guarantee_1_of_connections_a_broker_that_sends_what_nobody_asked_for_is_left(tmp_path, script, caplog):
    broker = FalseBroker(tmp_path, script)
    with broker.tunnel() as tunnel:
        before = resident_bytes()
        eventually(lambda: broker.cut_off >= 2)  # dialled again, and left again
        assert resident_bytes() - before < 30e6
        eventually(lambda: tunnel.complaints.counts.get("broker", 0) >= 2)
        assert "the broker sends a packet of" in caplog.text
    broker.close()


def test_a_broker_that_sends_for_ever_and_reads_nothing_is_not_read_for_ever(tmp_path):
    """Each message wants an acknowledgement: they must not pile up."""
    sent = [0]

    def script(line):
        message = published("privfl/down/x/y", bytes(20), flags=2, mid=b"\0\1") * 500
        while True:
            line.sendall(message)
            sent[0] += 500

    broker = FalseBroker(tmp_path, script)
    with broker.tunnel() as tunnel:
        eventually(lambda: tunnel.is_up)
        tunnel._connection._client.socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        stuck, before = -1, resident_bytes()
        while stuck != sent[0]:  # until it goes no further
            stuck = sent[0]
            time.sleep(1.0)
            # As many as come with one reading; not as many as are sent.
            assert len(tunnel._connection._client._out_packet) <= 500
        assert resident_bytes() - before < 30e6
    broker.close()


def test_guarantee_1_of_links_whatever_fails_it_is_dialled_again(tmp_path, monkeypatch, caplog):
    """No thread to be had, no memory: what neither a socket nor TLS says."""
    broker, dial, failing = FalseBroker(tmp_path, lambda line: None), paho.Client.reconnect, [True]

    def reconnect(client):
        if failing[0]:
            raise RuntimeError("can't start new thread")
        return dial(client)

    monkeypatch.setattr(paho.Client, "reconnect", reconnect)
    with broker.tunnel() as tunnel:
        eventually(lambda: tunnel.complaints.counts.get("broker", 0) >= 2)
        assert "can't start new thread" in caplog.text
        failing[0] = False
        eventually(lambda: tunnel.is_up)
        monkeypatch.setattr(tunnel, "up", lambda: 1 / 0)
        tunnel._loop.call_soon_threadsafe(tunnel._connection._fail, "for a test")
        eventually(lambda: tunnel.complaints.counts.get("fault", 0) >= 2)
        monkeypatch.undo()
        eventually(lambda: tunnel.is_up)
    broker.close()


def publish_often(tunnel, times):
    for _ in range(times):
        tunnel._loop.call_soon_threadsafe(tunnel.publish, "privfl/up/client/x", bytes(10))


def test_guarantee_4_of_connections_a_broker_that_acknowledges_nothing_is_left(tmp_path, caplog):
    broker, kept = FalseBroker(tmp_path, lambda line: None), []
    with broker.tunnel() as tunnel:
        for met in (1, 2):
            eventually(lambda: broker.met == met and tunnel.is_up)  # noqa: B023 - called at once
            client = tunnel._connection._client
            publish_often(tunnel, 3000)
            eventually(lambda: broker.cut_off == tunnel.lost == met)  # noqa: B023 - likewise
            kept.append(len(client._out_messages))
    assert kept == [MOST_UNDER_WAY * (MOST_STREAMS + 1)] * 2
    assert "messages are not acknowledged" in caplog.text
    broker.close()


def test_a_connection_that_takes_no_message_is_left(tmp_path, caplog):
    broker = FalseBroker(tmp_path, lambda line: None)
    with broker.tunnel() as tunnel:
        eventually(lambda: tunnel.is_up)
        tunnel._connection._client._max_queued_messages = 1  # as when it has no identifier left
        publish_often(tunnel, 2)
        eventually(lambda: broker.cut_off == 1 and tunnel.lost == 1)
        eventually(lambda: broker.met == 2 and tunnel.is_up)
    assert "a message cannot be sent" in caplog.text
    broker.close()


def test_guarantee_2_of_tunnels_a_broker_that_rings_for_ever_opens_no_stream(tmp_path):
    rings = [0]

    def script(line):
        number = 0
        while True:
            number += 1
            line.sendall(published("privfl/here", b'{"state":"here","round":%d}' % number))

    def ring():
        rings[0] += 1

    broker = FalseBroker(tmp_path, script)
    with broker.tunnel() as tunnel:
        tunnel.on_ring(ring)
        eventually(lambda: rings[0] > 1000)
        assert tunnel.streams == 0
    broker.close()


def test_guarantee_1_of_patience_no_pause_is_cut_to_nothing():
    """Rung for all the time, a client asks once a second, and as late as it was asked to."""
    pauses, patience = [], Patience(stop=threading.Event())
    now = [0.0]

    def wait(seconds):
        now[0] += seconds
        patience.rouse()

    patience.now, patience.wait = lambda: now[0], wait
    for retry_after_s in [0.0] * 8 + [4.0]:
        begun = now[0]
        patience.back_off(Lost("gone", retry_after_s=retry_after_s))
        pauses.append(now[0] - begun)
    assert all(0.99 < pause < 1.2 for pause in pauses[4:8])  # ten seconds by now, give or take half
    assert 3.99 < pauses[8] < 4.2


def test_guarantee_2_of_tunnels_a_broker_that_says_gone_for_ever_is_not_believed_for_ever(tmp_path, monkeypatch):
    """Seconds later a stream is opened all the same."""
    monkeypatch.setattr("privfl.integrations.mqtt.tunnel._HINTED_S", 1.0)
    broker = FalseBroker(tmp_path, lambda line: line.sendall(published("privfl/here", b'{"state":"gone"}')))
    with broker.tunnel() as tunnel:
        eventually(lambda: tunnel.heard is not None)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tunnel.path))
            eventually(lambda: tunnel.streams == 1)
    broker.close()


def test_guarantee_2_of_connections_what_was_not_taken_on_one_is_not_sent_on_the_next(tmp_path):
    lines = []

    def script(line):
        lines.append(b"")
        number = len(lines) - 1
        line.sendall(published("privfl/here", b'{"state":"here"}'))
        while number == 0 and b"privfl/up/client/" not in lines[0]:
            lines[0] += line.recv(65536)
        if number == 0:
            raise OSError("gone before anything was acknowledged")
        line.settimeout(1.0)
        while True:
            lines[number] += line.recv(65536)

    broker = FalseBroker(tmp_path, script)
    with broker.tunnel() as tunnel, socket.socket(socket.AF_UNIX) as connection:
        eventually(lambda: tunnel.heard is not None)
        connection.connect(str(tunnel.path))
        eventually(lambda: len(lines) == 2 and broker.cut_off == 2)
        assert b"privfl/up/client/" in lines[0]
        assert b"privfl/up/client/" not in lines[1]
    broker.close()


def test_a_broker_of_another_authority_is_not_listened_to(tmp_path):
    broker = FalseBroker(tmp_path / "a", lambda line: None)
    papers = Papers(tmp_path / "b")
    certificate, key = papers.client
    access = Access.of(Broker(host="localhost", port=broker.port), ca=papers.ca, certificate=certificate, key=key)
    with Tunnel(access) as tunnel:
        eventually(lambda: tunnel.complaints.counts.get("broker", 0) >= 2)
        assert not tunnel.is_up
    assert broker.met == 0
    broker.close()


@needs_mosquitto
def test_who_stands_between_and_has_the_authority_s_certificate_for_another_host_is_not_the_coordinator(
    place, tmp_path
):
    """The broker's own certificate is of the same authority."""
    from consortium_harness import TinyWork

    hall = make_hall(N)
    with (
        make_server(hall, place.papers, n=N, own=place.papers.elsewhere) as impostor,
        place.bridge(hall, impostor),
        place.tunnel(0) as tunnel,
    ):
        joined = make_tunnelled(tunnel, place, tmp_path / "0", 0, TinyWork(), give_up_after_s=0.5)
        with pytest.raises(RoundAborted, match="certificate verify failed"):
            joined.run()


@needs_mosquitto
def test_packets_longer_than_were_asked_for_are_not_brought(place):
    """An honest broker keeps to what it was told: what is too long for the other end it drops."""
    hall = make_hall(N)
    with make_server(hall, place.papers, n=N) as server, place.bridge(hall, server) as bridge:
        eventually(lambda: bridge.is_up)
        with Hand(place, "client-2") as hand:
            hand.client.publish(up("client-2", os.urandom(16)), bytes(MOST_PACKET_BYTES + 1), qos=1)
            hand.publish(up("client-2", os.urandom(16)), b"short")
        eventually(lambda: bridge.complaints.counts.get("frame"))
        assert bridge.lost == 0
