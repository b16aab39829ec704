"""A coordinator that really listens, with real certificates, and things that come to its door."""

import contextlib
import functools
import hashlib
import os
import socket
import ssl
import threading
from pathlib import Path

import httpx
from consortium_harness import COORDINATOR_KEY, eventually, greeting, in_thread, make_home, make_order, make_session
from harness import identity_of

from privfl.integrations.consortium import Hall, Participant
from privfl.integrations.http import Joined, Server
from privfl.integrations.http.signing import Signer, digest_header
from privfl.integrations.http.tls import client_context, server_context
from privfl.primitives.certificates import Authority
from privfl.simulate import roster_of

N = 7


class Papers:
    """A consortium's certificates, in files."""

    def __init__(self, folder, *, name="consortium"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.authority = folder, Authority.generate(name)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.issued.certificate_pem)
        self.server = self.issue("server", hosts=["localhost", "127.0.0.1"])
        self.impostor = self.issue("impostor", hosts=["localhost", "127.0.0.1"])
        self.elsewhere = self.issue("elsewhere", hosts=["elsewhere.example"])
        self.client = self.issue("client", hosts=[], client=True)

    def issue(self, name, *, called=None, **options):
        """Returns certificate and key, in files of that name, for who is called so."""
        issued = self.authority.issue(name=called or name, days=30, **options)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(issued.certificate_pem)
        key.write_bytes(issued.key_pem)
        return certificate, key


def roster(n=N):
    return roster_of({number: identity_of(number) for number in range(n)})


def make_hall(n=N, **options):
    return Hall(greeting(), clients=range(n), **options)


def make_server(hall, papers, *, n=N, port=0, **options):
    certificate, key = options.pop("own", papers.server)
    options = {"identity": COORDINATOR_KEY, "host": "127.0.0.1", "port": port} | options
    return Server(hall, options.pop("roster", roster(n)), certificate=certificate, key=key, **options)


@contextlib.contextmanager
def holding(hall, order=None, **session):
    """A session that is held in another thread, and ends with the block."""
    if order is None:
        order = make_order(*make_session(**session))
    outcome = in_thread(functools.partial(_held, hall, order))
    eventually(lambda: hall.snapshot().phase is not None)
    yield order, outcome
    if hall.snapshot().over is None:
        hall.close("the test is over")
    outcome()


def _held(hall, order):
    from privfl.integrations.consortium import Closed

    try:
        return hall.hold(order)
    except Closed:
        return None


class Raw:
    """A client by hand: signs what it is told to sign, and shows what comes back."""

    def __init__(self, server, papers, number=0, *, identity=None, context=None):
        self.signer = Signer(identity or identity_of(number), number)
        self.http = httpx.Client(
            base_url=f"https://127.0.0.1:{server.port}",
            verify=context or client_context(papers.ca),
            trust_env=False,
            timeout=30,
        )
        self.signer.take_over(bytes.fromhex(self.http.get("/v1/epoch").json()["epoch"]), 0)

    def ask(self, method, target, body=b"", *, headers=None, signed_target=None, **changes):
        """Send a signed request; `changes` replace headers of the signature, None leaves one out."""
        said = self.signer.headers(method, signed_target or target, body) | (headers or {})
        for name, value in changes.items():
            said[name.replace("_", "-")] = value
        said = {name: value for name, value in said.items() if value is not None}
        return self.http.request(method, target, content=body or None, headers=said)

    def put(self, place, offset, total, chunk, *, whole=None):
        headers = {} if whole is None else {"repr-digest": digest_header(hashlib.sha256(whole).digest())}
        return self.ask("PUT", f"/v1/answers/{place}?offset={offset}&of={total}", chunk, headers=headers)

    def close(self):
        self.http.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def dial(port, papers=None, *, timeout=30):
    """A connection to be misused; with papers, after the TLS handshake."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client_context(papers.ca).wrap_socket(raw, server_hostname="localhost") if papers else raw


def heard(connection):
    """All that comes until the other end hangs up."""
    said = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(65536):
            said += piece
    return said


def make_joined(server, papers, folder, number, work, **options):
    options.setdefault("port", server.port)
    options.setdefault("poll_s", 2)
    participant = Participant(make_home(folder, number), number, work)
    return Joined(
        participant,
        url=f"https://127.0.0.1:{options.pop('port')}",
        ca=papers.ca,
        identity=identity_of(number),
        number=number,
        **options,
    )


class CuttingProxy:
    """A line that is cut after so many bytes from the client, again and again, as often as it is told.

    Args:
        port: of the coordinator.
        cuts: after how many bytes each connection is cut, one after the other; what comes later is not cut.
        down: cut after so many bytes towards the client instead.
    """

    def __init__(self, port, cuts, *, down=False):
        self.target, self.cuts, self.down = port, list(cuts), down
        self.made = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _serve(self, near):
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as far:
            with self._lock:
                most = self.cuts.pop(0) if self.cuts else None
            up, down = (None, most) if self.down else (most, None)
            other = threading.Thread(target=self._carry, args=(far, near, down), daemon=True)
            other.start()
            self._carry(near, far, up)
            other.join()

    def _carry(self, source, sink, most):
        carried = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(16384):
                if most is not None and carried + len(piece) >= most:
                    sink.sendall(piece[: most - carried])
                    self.made += 1
                    break
                sink.sendall(piece)
                carried += len(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)


class Impostor:
    """Stands between: shows a certificate of its own from the right authority, and passes on what it reads.

    Args:
        port: of the coordinator.
        papers: the certificates.

    Attributes:
        reading: whether new connections are read; others are passed on as they are.
        heard: all that was read.
        met: connections that were read, or could have been.
    """

    def __init__(self, port, papers, *, reading=True):
        self._target, self._papers, self.reading = port, papers, reading
        self._open, self._threads, self.heard, self.met = [], [], b"", 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                self._threads.append(threading.Thread(target=self._serve, args=(near, far, self.reading), daemon=True))
                self._threads[-1].start()

    def _serve(self, near, far, reading):
        with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
            if reading:
                near = ends.enter_context(server_context(*self._papers.impostor).wrap_socket(near, server_side=True))
                far = client_context(self._papers.ca).wrap_socket(far, server_hostname="localhost")
            for end in (near, far):
                ends.enter_context(end)
            other = threading.Thread(target=_pour, args=(far, near), daemon=True)
            other.start()
            self.met += reading
            _pour(near, far, self._hear if reading else None)
            other.join()

    def _hear(self, piece):
        self.heard += piece

    def cut(self):
        """End all connections."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)


def _pour(source, sink, hear=None):
    with contextlib.suppress(OSError):
        while piece := source.recv(16384):
            if hear is not None:
                hear(piece)
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
