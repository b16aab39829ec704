"""Streams over a broker that repeats, loses, reorders and damages what it is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("paho", reason="needs paho: pip install 'privfl[mqtt]'")

from privfl.errors import ConfigurationError, DecodeError, LocalProtocolError, RemoteProtocolError
from privfl.integrations.mqtt.address import Broker
from privfl.integrations.mqtt.allowance import Allowance
from privfl.integrations.mqtt.frames import (
    MOST_FRAME_BYTES,
    MOST_PAYLOAD_BYTES,
    Frame,
    Kind,
    Way,
    decode,
    encode,
)
from privfl.integrations.mqtt.gate import MOST_ANSWER_BYTES, MOST_PACKET_BYTES, Gate
from privfl.integrations.mqtt.here import GONE, Here, read
from privfl.integrations.mqtt.stream import FRAME_COST_BYTES, WINDOW_BYTES, Stream

NAME, OTHER = bytes(range(16)), bytes(range(1, 17))


def ends():
    """Both ends of a stream that was opened."""
    client, coordinator = Stream(NAME, Way.UP), Stream(NAME, Way.DOWN)
    assert coordinator.received(client.open()) == b""
    return client, coordinator


# Frames


@given(
    st.sampled_from(sorted(Kind)), st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=100), st.sampled_from(Way)
)
def test_frames_come_out_as_they_went_in(kind, number, payload, way):
    payload = {Kind.DATA: payload, Kind.CREDIT: payload[:1] * 4}.get(kind, b"")
    frame = Frame(kind=kind, number=0 if kind is Kind.RESET else number, payload=payload)
    assert decode(encode(frame, NAME, way), NAME, way) == frame


@given(st.binary(max_size=200))
def test_garbage_is_no_frame(message):
    with pytest.raises(DecodeError):
        decode(message, NAME, Way.UP)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_frame_that_was_damaged_is_none(payload, data):
    message = encode(Frame(kind=Kind.DATA, number=3, payload=payload), NAME, Way.UP)
    at = data.draw(st.integers(0, len(message) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = message[:at] + bytes([message[at] ^ flip]) + message[at + 1 :]
    for bad in (damaged, message[:at], message + b"\0"):
        with pytest.raises(DecodeError):
            decode(bad, NAME, Way.UP)


def test_a_frame_of_another_stream_or_way_is_none():
    message = encode(Frame(kind=Kind.DATA, number=0, payload=b"x"), NAME, Way.UP)
    for name, way in ((OTHER, Way.UP), (NAME, Way.DOWN)):
        with pytest.raises(DecodeError, match="another stream's"):
            decode(message, name, way)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.OPEN, b"x"), (Kind.DATA, b""), (Kind.CREDIT, b"abc"), (Kind.CREDIT, b"abcde"), (Kind.CLOSE, b"x"),
        (Kind.RESET, b"x"), (Kind.DATA, bytes(MOST_PAYLOAD_BYTES + 1)),
    ],
)  # fmt: skip
def test_a_frame_with_another_payload_than_its_kind_has_is_none(kind, payload):
    with pytest.raises(DecodeError):
        decode(encode(Frame(kind=kind, number=0, payload=payload), NAME, Way.UP), NAME, Way.UP)


def test_the_longest_frame_is_as_long_as_is_said():
    frame = Frame(kind=Kind.DATA, number=2**64 - 1, payload=bytes(MOST_PAYLOAD_BYTES))
    assert len(encode(frame, NAME, Way.UP)) == MOST_FRAME_BYTES


# Streams


class Network:
    """What a broker may do to the messages of one direction, as hypothesis draws it."""

    def __init__(self, data):
        self._data, self._kept, self.seen = data, [], []

    def deliver(self, message, other):
        """Return what arrives for one message that was sent; `other` is one of another stream."""
        deed = self._data.draw(
            st.sampled_from(["as sent"] * 6 + ["twice", "never", "later", "again", "damaged", "cut", "other"])
        )
        late, self._kept = self._kept, []
        arrives = {
            "as sent": [message],
            "twice": [message, message],
            "never": [],
            "later": [],
            "again": [message, *self.seen[-3:]],
            "damaged": [self._damaged(message)],
            "cut": [message[: self._data.draw(st.integers(0, len(message) - 1))]],
            "other": [other, message],
        }[deed]
        if deed == "later":
            self._kept.append(message)
        self.seen.append(message)
        return arrives + late

    def _damaged(self, message):
        at = self._data.draw(st.integers(0, len(message) - 1))
        return message[:at] + bytes([message[at] ^ 1 << self._data.draw(st.integers(0, 7))]) + message[at + 1 :]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30), st.data())
def test_guarantee_1_what_comes_out_is_a_prefix_of_what_went_in(pieces, data):
    client, coordinator = ends()
    network = Network(data)
    stranger = Stream(OTHER, Way.UP)
    stranger.open()
    out, reset = b"", False
    for piece in pieces:
        for message in network.deliver(client.send(piece), stranger.send(b"another's")):
            try:
                out += coordinator.received(message)
            except RemoteProtocolError:
                reset = True
        assert b"".join(pieces).startswith(out)
    assert coordinator.broken == reset


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20), st.data())
def test_guarantee_1_repeated_messages_alone_change_nothing(pieces, data):
    client, coordinator = ends()
    sent, out = [], b""
    for piece in pieces:
        sent.append(client.send(piece))
        for message in (sent[-1], sent[data.draw(st.integers(0, len(sent) - 1))]):
            out += coordinator.received(message)
    assert out == b"".join(pieces)
    assert not coordinator.broken


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_garbage_resets_a_stream_and_raises_nothing_else(messages):
    _, coordinator = ends()
    for message in messages:
        try:
            assert coordinator.received(message) == b""
        except RemoteProtocolError:
            assert coordinator.broken


def test_a_frame_that_is_missing_resets_the_stream():
    client, coordinator = ends()
    lost, late = client.send(b"one"), client.send(b"two")
    with pytest.raises(RemoteProtocolError, match="1 frames of a stream are missing"):
        coordinator.received(late)
    assert coordinator.received(lost) == b""


def test_guarantee_2_no_more_is_taken_in_than_the_window():
    client, coordinator = ends()
    held = 0
    while client.room_bytes:
        held += len(coordinator.received(client.send(bytes(client.room_bytes)))) + FRAME_COST_BYTES
    assert WINDOW_BYTES - FRAME_COST_BYTES <= held <= WINDOW_BYTES
    with pytest.raises(LocalProtocolError, match="there is room for 0"):
        client.send(b"x")
    # Whoever does not keep to it is cut off.
    client._room = FRAME_COST_BYTES + 1
    with pytest.raises(RemoteProtocolError, match="more was sent on a stream"):
        coordinator.received(client.send(b"x"))


def test_guarantee_2_small_frames_fill_the_window_too():
    client, coordinator = ends()
    count = 0
    while client.room_bytes:
        coordinator.received(client.send(b"x"))
        count += 1
    assert count == WINDOW_BYTES // (FRAME_COST_BYTES + 1)


@given(st.lists(st.integers(1, MOST_PAYLOAD_BYTES), min_size=1, max_size=60))
def test_what_is_passed_on_makes_room_again_and_nothing_gets_stuck(lengths):
    client, coordinator = ends()
    waiting, out = [], 0
    for length in lengths:
        left = length
        while left:
            room = min(left, client.room_bytes)
            if room:
                waiting.append(coordinator.received(client.send(bytes(room))))
                left -= room
            else:
                assert waiting, "it is stuck"
                piece = waiting.pop(0)
                out += len(piece)
                credit = coordinator.passed_on(piece)
                if credit is not None:
                    client.received(credit)
    assert out + sum(map(len, waiting)) == sum(lengths)


def test_credit_for_what_was_never_sent_resets_the_stream():
    client, _ = ends()
    credit = Frame(kind=Kind.CREDIT, number=0, payload=(1).to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError, match="more was taken of a stream than was sent"):
        client.received(encode(credit, NAME, Way.DOWN))


def test_guarantee_3_after_a_reset_nothing_goes_in_or_out():
    client, coordinator = ends()
    ahead, farewell = client.send(b"ahead"), coordinator.reset()
    assert coordinator.received(ahead) == b""
    assert client.received(farewell) == b""
    for end in (client, coordinator):
        assert end.over
        assert end.room_bytes == 0
        for work in (lambda end=end: end.send(b"x"), end.close):
            with pytest.raises(LocalProtocolError):
                work()
    assert client.received(encode(Frame(kind=Kind.DATA, number=0, payload=b"x"), NAME, Way.DOWN)) == b""


def test_a_reset_is_heard_whatever_its_place():
    client, coordinator = ends()
    client.send(b"lost")
    client.send(b"lost")
    coordinator.received(client.reset())
    assert coordinator.broken


def test_a_stream_that_was_closed_is_over_and_takes_no_more():
    client, coordinator = ends()
    assert coordinator.received(client.send(b"all")) == b"all"
    assert coordinator.received(client.close()) == b""
    assert coordinator.over
    assert not coordinator.broken
    with pytest.raises(RemoteProtocolError, match="says DATA, out of turn"):
        coordinator.received(encode(Frame(kind=Kind.DATA, number=3, payload=b"x"), NAME, Way.UP))
    with pytest.raises(LocalProtocolError):
        client.close()


def test_a_stream_begins_with_open_once_and_from_the_client_alone():
    client, coordinator = Stream(NAME, Way.UP), Stream(NAME, Way.DOWN)
    assert client.room_bytes == 0
    with pytest.raises(RemoteProtocolError, match="says DATA, out of turn"):
        coordinator.received(encode(Frame(kind=Kind.DATA, number=0, payload=b"x"), NAME, Way.UP))
    client.open()
    for work in (client.open, Stream(NAME, Way.DOWN).open):
        with pytest.raises(LocalProtocolError, match="begun before"):
            work()
    with pytest.raises(RemoteProtocolError, match="says OPEN, out of turn"):
        client.received(encode(Frame(kind=Kind.OPEN, number=0), NAME, Way.DOWN))


# What a broker sends


def packet(kind, body=b"", *, flags=0, length=None):
    length, digits = len(body) if length is None else length, b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([kind << 4 | flags]) + digits + body


CONNACK = packet(2, b"\0\0\0")


TOPIC = b"\0\1x"
BOM = b"\x26\0\1a\0\3\xef\xbb\xbf"
"""A user property that paho refuses: U+FEFF."""


def message(properties=b"", payload=b"", *, qos=1, length=None):
    """A PUBLISH; `length`: what it says of its properties."""
    said = packet(0, length=len(properties) if length is None else length)[1:]
    return packet(3, TOPIC + b"\0\7" * bool(qos) + said + properties + payload, flags=2 * qos)


def welcomed():
    gate = Gate()
    assert gate.look(CONNACK) == CONNACK
    return gate


@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.binary(max_size=300), st.binary(max_size=300)), max_size=10),
    st.lists(st.integers(1, 50), max_size=40),
)
def test_guarantee_2_of_gates_messages_pass_without_properties_however_they_are_cut(messages, cuts):
    gate, passed = Gate(), b""
    answers = packet(13) + packet(4, b"\0\1")
    coming = CONNACK + b"".join(message(each, payload, qos=qos) for qos, each, payload in messages) + answers
    for cut in cuts:
        passed += gate.look(coming[:cut])
        coming = coming[cut:]
    passed += gate.look(coming)
    assert passed == CONNACK + b"".join(message(payload=payload, qos=qos) for qos, _, payload in messages) + answers


@pytest.mark.parametrize(
    "properties", [BOM, b"\x26\0\1a\0\1b" * 9000, b"\x01\0\x01\0", b"\xff\xff\xff", b"\x26\xff\xff"]
)
def test_guarantee_2_of_gates_no_property_passes_whatever_it_holds(properties):
    assert welcomed().look(message(properties, b"payload")) == message(payload=b"payload")


@given(st.binary(max_size=12), st.sampled_from([0, 2]))
def test_a_message_of_random_bytes_passes_without_properties_or_not_at_all(body, flags):
    try:
        passed = welcomed().look(packet(3, body, flags=flags))
    except RemoteProtocolError:
        return
    at = 2 + int.from_bytes(body[:2], "big") + flags
    assert passed[2 : 3 + at] == body[:at] + b"\0"
    assert body.endswith(passed[3 + at :])


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_that_ends_before_its_properties_do_does_not_pass(qos):
    whole = message(bytes(200), b"xyz", qos=qos)[3:]
    for end in range(len(whole) - 3):
        with pytest.raises(RemoteProtocolError, match="ends before its message does"):
            welcomed().look(packet(3, whole[:end], flags=2 * qos))
    for length in (1, 127, 128, 2**14, 2**21, 2**28 - 1):
        with pytest.raises(RemoteProtocolError, match="ends before its message does"):
            welcomed().look(message(length=length, qos=qos))
    with pytest.raises(RemoteProtocolError, match="ends before its message does"):  # a length of five bytes
        welcomed().look(packet(3, TOPIC + b"\0\7" * qos + b"\x80\x80\x80\x80\0", flags=2 * qos))


def test_guarantee_3_of_gates_no_more_is_held_than_a_packet():
    gate, coming, passed = Gate(), CONNACK + message(BOM, bytes(1000)) + message(b"", b"next"), []
    while coming:
        wanted = gate.wanted
        passed.append(gate.look(coming[:wanted]))
        coming = coming[wanted:]
    assert [each for each in passed if each] == [CONNACK, message(b"", bytes(1000)), message(b"", b"next")]


@pytest.mark.parametrize(
    "bad",
    [
        packet(3, flags=2, length=MOST_PACKET_BYTES + 1),  # too long
        packet(3, flags=2, length=2**28 - 1),
        packet(4, length=MOST_ANSWER_BYTES + 1),
        b"\x32\xff\xff\xff\xff\x01",  # a length of five bytes
        packet(3, b"\0\1x\0\1\0", flags=4),  # QoS 2: it would be kept
        packet(3, b"\0\1x\0\1\0", flags=6),  # QoS 3: there is none
        CONNACK,  # a second one
        packet(1), packet(5), packet(6), packet(8), packet(12), packet(15), packet(0),
    ],
)  # fmt: skip
def test_guarantee_1_of_gates_packets_that_nobody_asked_for_do_not_pass(bad):
    gate = Gate()
    gate.look(CONNACK + message(payload=b"abc"))
    with pytest.raises(RemoteProtocolError, match="the broker sends a packet"):
        gate.look(bad)


def test_the_longest_packet_passes_and_nothing_before_a_welcome():
    gate = Gate()
    gate.look(CONNACK + packet(3, flags=2, length=MOST_PACKET_BYTES))
    with pytest.raises(RemoteProtocolError):
        Gate().look(message(payload=b"abc"))


def test_an_announcement_that_is_none():
    for bad in (b"", b"{}", b'{"state":"away"}', b'{"state":"here","more":1}', b"[" * 500, b" " * 1025 + GONE, b"\xff"):
        with pytest.raises(DecodeError):
            read(bad)
    assert read(GONE) == Here(state="gone")


# Where


def test_urls_of_brokers():
    assert Broker.parse("mqtts://broker.example") == Broker(host="broker.example", port=8883, prefix="privfl")
    assert Broker.parse("mqtts://[2001:db8::1]:18883/a/b") == Broker(host="2001:db8::1", port=18883, prefix="a/b")


@pytest.mark.parametrize(
    "url",
    [
        "", "broker.example", "mqtt://broker.example", "https://broker.example", "mqtts://", "mqtts://b:0", "mqtts://b:x",
        "mqtts://b:99999", "mqtts://me:secret@b", "mqtts://b/a?b", "mqtts://b/a#b", "mqtts://b/a+", "mqtts://b/$SYS",
        "mqtts://b/a//b", "mqtts://[b",
    ],
)  # fmt: skip
def test_urls_of_no_broker(url):
    with pytest.raises(ConfigurationError, match=r"works|work, with"):
        Broker.parse(url)


@given(st.text(max_size=80))
def test_topics_lead_to_streams_and_back(text):
    broker = Broker(host="b", prefix="a/b")
    topic = broker.stream(Way.UP, "alice", NAME)
    assert broker.stream_of(topic, Way.UP) == ("alice", NAME)
    for other in (text, f"a/b/up/{text}", f"a/b/up/alice/{text}", f"{topic}/{text}", f"{text}{topic}"):
        found = broker.stream_of(other, Way.UP)
        assert found is None or broker.stream(Way.UP, *found) == other
    assert broker.stream_of(topic, Way.DOWN) is None


def test_an_allowance_is_used_up_and_fills_again():
    now = [0.0]
    allowance = Allowance(3, 0.5, clock=lambda: now[0])
    assert [allowance.take() for _ in range(5)] == [True] * 3 + [False] * 2
    now[0] = 2.0
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] = 1e6
    assert sum(allowance.take() for _ in range(10)) == 3
