"""Strangers that mean harm, in a process of their own: garbage, forgeries, long bodies, heads that crawl."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from privfl.integrations.http.tls import client_context

_TIMEOUT_S = 30
_ANSWERS = f"/v1/answers/{'0' * 32}/MaskedInput"
_IN_A_ROW = 50  # on one connection
ALLOWED = {"400", "401", "404", "405", "408", "411", "413", "hung up"}
"""What may become of them."""


def request(method, target, headers=(), body=b""):
    """A request as it goes over the line."""
    lines = [f"{method} {target} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Stranger:
    """Somebody who can reach the coordinator."""

    def __init__(self, folder, port, seed):
        self._port, self._context = port, client_context(folder / "ca.crt")
        self._chance = np.random.default_rng((seed, 5))
        self.statuses = Counter()
        with self.dial() as line:
            line.sendall(request("GET", "/v1/epoch", [("connection", "close")]))
            self._epoch = self._heard(line).split(b'"epoch":"')[1][:32].decode()

    def dial(self):
        """Connect, and speak TLS."""
        raw = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(raw, server_hostname="127.0.0.1")

    def flood(self, count, *, per_s=None):
        """Send so many requests that are none; at most so many a second."""
        begun, sent = time.monotonic(), 0
        while sent < count:
            sent += self._in_a_row(min(_IN_A_ROW, count - sent))
            for _ in range(min(_IN_A_ROW // 2, count - sent)):
                self._one(self._garbage())
                sent += 1
            if per_s is not None:
                time.sleep(max(0.0, begun + sent / per_s - time.monotonic()))

    def _signed(self, epoch):
        signature = base64.b64encode(self._chance.bytes(64)).decode()
        said = {"client": 3, "epoch": epoch, "count": self._chance.integers(1 << 40, 1 << 50), "signature": signature}
        return [(f"privfl-{name}", value) for name, value in said.items()]

    def _in_a_row(self, count):
        """Requests for another process of the coordinator, on a connection that stays."""
        old = request("GET", "/v1/offer?wait=60", self._signed("0" * 32))
        with contextlib.suppress(OSError), self.dial() as line:
            line.sendall(old * count)
            said = b""
            while said.count(b"HTTP/1.1 ") < count and (piece := line.recv(65536)):
                said += piece
            self._note(said)
        return count

    def _garbage(self):
        chance = self._chance
        forged = self._signed(self._epoch)
        kinds = (
            lambda: request("GET", "/v1/offer?wait=60", forged),
            lambda: request("PUT", f"{_ANSWERS}?offset=0&of=9", [*forged, ("content-length", 10**9)], b"x" * 1000),
            lambda: request("PUT", f"{_ANSWERS}?offset=0&of=9", [("content-length", 10**15)], b"x" * 1000),
            lambda: request("PUT", f"{_ANSWERS}?offset=0&of=9", [*forged, ("transfer-encoding", "chunked")], b"9\r\n"),
            lambda: request("GET", "/v1/offer"),
            lambda: request("GET", f"/{'x' * int(chance.integers(3000))}"),
            lambda: b"GET / HTTP/1.1\r\nx-filler: " + b"x" * 20_000,
            lambda: chance.bytes(int(chance.integers(1, 3000))) + b"\r\n\r\n",
            lambda: request("P\xffT", "/"),
        )
        return kinds[int(chance.integers(len(kinds)))]()

    def _one(self, raw):
        try:
            with self.dial() as line:
                line.sendall(raw)
                self._note(self._heard(line))
        except OSError:
            self._note(b"")

    def _heard(self, line):
        said = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := line.recv(65536):
                said += piece
        return said

    def _note(self, said):
        found = [part[:3].decode("latin-1") for part in said.split(b"HTTP/1.1 ")[1:]]
        self.statuses.update(found or ["hung up"])

    def crawl(self, stop, crowd):
        """Hold connections, some with heads that do not end, some that never begin; again when they are hung up on."""
        lines, held = [], 0
        while not stop.wait(1.0):
            for line in list(lines):
                try:
                    line.sendall(b"x")
                except OSError:
                    lines.remove(line)
                    line.close()
            for number in range(crowd - len(lines)):
                if stop.is_set():
                    break
                with contextlib.suppress(OSError):
                    if number % 2:
                        lines.append(socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S))
                    else:
                        lines.append(self.dial())
                        lines[-1].sendall(b"GET /v1/epoch HTTP/1.1\r\nhost: ")
                    held += 1
        for line in lines:
            line.close()
        return held


def harm(folder, port, seed, pipe):
    """Do what the pipe says: ("flood", count, per_s), ("crawl", connections), "rest", "stop"; say what came of it."""
    stranger, stop, crawling, held = Stranger(Path(folder), port, seed), threading.Event(), [], []

    def crawl(crowd):
        held.append(stranger.crawl(stop, crowd))

    while (said := pipe.recv()) != "stop":
        if said == "rest":
            stop.set()
            for thread in crawling:
                thread.join()
            pipe.send({"statuses": dict(stranger.statuses), "crawled": sum(held)})
        elif said[0] == "crawl":
            crawling.append(threading.Thread(target=crawl, args=said[1:]))
            crawling[-1].start()
        else:
            stranger.flood(said[1], per_s=said[2])
            pipe.send(dict(stranger.statuses))
