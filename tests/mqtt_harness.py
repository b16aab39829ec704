"""A broker that really runs, with the ACL that the documentation recommends, and parties at it."""

import contextlib
import socket
import threading

import paho.mqtt.client as paho
from consortium_harness import eventually, make_home
from harness import identity_of
from http_harness import Papers
from mosquitto_here import Mosquitto
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from privfl.integrations.consortium import Participant
from privfl.integrations.http import Joined
from privfl.integrations.http.tls import client_context
from privfl.integrations.mqtt import Access, Bridge, Broker, Tunnel
from privfl.integrations.mqtt.frames import Frame, Kind, Way, encode

NAME = "localhost"
"""In the coordinator's certificate."""


def opening(name):
    """What a client begins a stream with."""
    return encode(Frame(kind=Kind.OPEN, number=0), name, Way.UP)


def probe(name, number):
    return encode(Frame(kind=Kind.PROBE, number=number), name, Way.UP)


class Place:
    """A broker, and papers for whoever comes to it."""

    def __init__(self, folder, *, acl=None, conf=()):
        self.folder = folder
        self.papers = Papers(folder)
        self.users = {}
        (folder / "broker").mkdir()
        self.mosquitto = Mosquitto(folder / "broker", self.papers.ca, *self.papers.server, acl=acl, conf=dict(conf))
        self.mosquitto.start()

    @property
    def broker(self):
        return Broker(host="localhost", port=self.mosquitto.port)

    def papers_of(self, user):
        if user not in self.users:
            self.users[user] = self.papers.issue(f"as-{user}", hosts=[], client=True, called=user)
        return self.users[user]

    def access(self, user):
        certificate, key = self.papers_of(user)
        return Access.of(self.broker, ca=self.papers.ca, certificate=certificate, key=key)

    def bridge(self, hall, server, **options):
        return Bridge(hall, self.access("coordinator"), port=server.port, **options)

    def tunnel(self, number):
        return Tunnel(self.access(f"client-{number}"))

    def close(self):
        self.mosquitto.stop()


class Hand:
    """A user of the broker by hand: publishes what it likes, and keeps what comes."""

    def __init__(self, place, user=None, topics=(), *, context=None, version=MQTTProtocolVersion.MQTTv5):
        self.came, self.answers, self.reason = [], {}, None
        self._settled = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=version, reconnect_on_failure=False)
        own = None if user is None else place.papers_of(user)
        self.client.tls_set_context(context or client_context(place.papers.ca, own=own))
        self.client.on_connect = self._connected
        self.client.on_disconnect = lambda *_: self._settled.set()
        self.client.on_message = lambda _client, _data, message: self.came.append((message.topic, message.payload))
        self.client.on_publish = lambda _client, _data, mid, reason, _properties: self.answers.update({mid: reason})
        self.client.on_subscribe = lambda *_: self._settled.set()
        self._topics = list(topics)
        with contextlib.suppress(OSError):  # a TLS that is refused at once
            self.client.connect("localhost", place.mosquitto.port)
            self.client.loop_start()
            assert self._settled.wait(30)

    def _connected(self, _client, _data, _flags, reason, _properties):
        self.reason = reason
        if reason.is_failure or not self._topics:
            self._settled.set()
        else:
            self.client.subscribe([(topic, 1) for topic in self._topics])

    @property
    def inside(self):
        # Where a connection ends while something is being published, paho may go on calling it one.
        return self.client.is_connected() and self.client.socket() is not None

    def publish(self, topic, payload, **options):
        """Returns the broker's reason, when it has answered."""
        mid = self.client.publish(topic, payload, qos=1, **options).mid
        eventually(lambda: mid in self.answers)
        return self.answers[mid]

    def close(self):
        self.client.disconnect()
        # paho's thread may end, and be forgotten, between paho's look at it and paho's waiting for it.
        with contextlib.suppress(AttributeError):
            self.client.loop_stop()
        # paho leaves the two sockets by which it wakes its thread to the garbage collector, which complains of them.
        self.client._reset_sockets()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def cut(link):
    """End a link's connection without a word, as when its process is killed: the kernel says so to both ends."""
    link._connection._client.socket().shutdown(socket.SHUT_RDWR)


def make_tunnelled(tunnel, place, folder, number, work, *, name=NAME, **options):
    options.setdefault("poll_s", 2)
    participant = Participant(make_home(folder, number), number, work)
    joined = Joined(
        participant,
        url=f"https://{name}",
        ca=place.papers.ca,
        identity=identity_of(number),
        number=number,
        uds=tunnel.path,
        **options,
    )
    tunnel.on_ring(joined.rouse)
    return joined
