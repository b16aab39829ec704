"""A coordinator and its clients through a broker: the connections of `privfl.integrations.http`, carried over MQTT.

    access = Access.of(Broker.parse("mqtts://broker.example:8883"), ca=…, certificate=…, key=…)
    with Server(hall, roster, host="127.0.0.1", port=0, …) as server, Bridge(hall, access, port=server.port):
        …                                                                            # the coordinator
    join(participant, access=access, name="coordinator.example", ca=…, identity=…, number=3)      # each client

Theory of operation. The broker is somebody else, who sees and may change all that passes. So what passes is the TLS
connection of client and coordinator, from end to end:

    client                                    broker                                     coordinator
    httpx ── TLS ── Tunnel ── PREFIX/up/USER/STREAM ──▶        ──▶ Bridge ── TLS ── uvicorn, on loopback
                           ◀── PREFIX/down/USER/STREAM ──      ◀──
                           ◀── PREFIX/here, retained ──

A stream is a connection: frames in order, a window in each direction, a reset where the broker loses something. The
client checks the coordinator's certificate against a name that it was told by other means, requests are signed,
uploads go on where they were: all that is as over HTTPS. Nothing depends on the broker but whether there is progress,
and what it sees: who talks when, and how much.
"""

from __future__ import annotations

from privfl.errors import MissingExtra

try:
    import paho.mqtt  # noqa: F401 - to say which extra is missing
except ModuleNotFoundError as missing:
    raise MissingExtra("mqtt", missing.name or "paho") from None

from privfl.integrations.mqtt.address import Access as Access
from privfl.integrations.mqtt.address import Broker as Broker
from privfl.integrations.mqtt.bridge import Bridge as Bridge
from privfl.integrations.mqtt.client import join as join
from privfl.integrations.mqtt.here import Here as Here
from privfl.integrations.mqtt.tunnel import Tunnel as Tunnel

__all__ = ["Access", "Bridge", "Broker", "Here", "Tunnel", "join"]
