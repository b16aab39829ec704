"""What a coordinator cannot avoid for an upload, done barely: TLS, a digest, the disk, the suite's own receiving."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import ssl
import statistics
import tempfile
import time

from load.cast import MEGABYTE, Cast, planned, vector_of
from privfl import ServerModel, client, suite
from privfl.integrations.http.tls import client_context, server_context
from privfl.session import Phase

_SENT_BYTES = 192 * 2**20
_PIECE_BYTES = 64 * 1024
_CHUNK = os.urandom(2**20)
_TIMES = 5


def unavoidable(folder, parameters):
    """Measure it on this machine.

    Args:
        folder: with papers, on the disk where uploads lie.
        parameters: of an upload.

    Returns:
        Seconds and megabytes a second, by name.
    """
    upload_bytes, receive_s = _receive(parameters)
    megabytes = upload_bytes / MEGABYTE
    tls_mb_per_s, tls_cpu = _tls(folder)
    digest_s = _median(lambda: hashlib.sha256(_CHUNK).digest()) / 2**20 * MEGABYTE
    disk_s = _median(lambda: _disk(folder, upload_bytes))
    least = megabytes * (tls_cpu + digest_s) + disk_s + receive_s
    return {
        "upload_bytes": upload_bytes,
        "tls_mb_per_s": round(tls_mb_per_s),
        "tls_cpu_ms_per_mb": round(1e3 * tls_cpu, 2),
        "sha256_ms_per_mb": round(1e3 * digest_s, 2),
        "disk_ms_per_upload": round(1e3 * disk_s, 2),
        "receive_ms_per_upload": round(1e3 * receive_s, 2),
        "cpu_ms_per_upload": round(1e3 * least, 2),
        "mb_per_s": round(megabytes / least),
    }


def _median(call):
    times = []
    for _ in range(_TIMES):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def _tls(folder):
    """Return megabytes a second over TLS on loopback, and processor seconds of the receiver for one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = multiprocessing.get_context("spawn").Process(
            target=_send, args=(folder / "ca.crt", listener.getsockname()[1])
        )
        sender.start()
        raw, _ = listener.accept()
        line = server_context(folder / "server.crt", folder / "server.key").wrap_socket(raw, server_side=True)
        received, into = 0, bytearray(_PIECE_BYTES)
        begun, spent = time.perf_counter(), time.process_time()
        with line:
            while received < _SENT_BYTES and (count := line.recv_into(into)):
                received += count
        megabytes = received / MEGABYTE
        found = megabytes / (time.perf_counter() - begun), (time.process_time() - spent) / megabytes
        sender.join()
    return found


def _send(ca, port):
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        client_context(ca).wrap_socket(raw, server_hostname="127.0.0.1") as line,
    ):
        try:
            for _ in range(_SENT_BYTES // len(_CHUNK)):
                line.sendall(_CHUNK)
        except (OSError, ssl.SSLError):
            pass


def _disk(folder, size):
    """Write an upload into a file without a name, and read it."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for start in range(0, size, len(_CHUNK)):
            file.write(memoryview(_CHUNK)[: size - start])
        file.seek(0)
        file.read()


def _receive(parameters):
    """Return the length of an upload, and processor seconds of the session's server to receive one."""
    cast = Cast(clients=_TIMES, parameters=parameters, seed=0)
    # Keys cost the same whoever lies: an honest-but-curious server saves the roster.
    params = planned(cast, None, ServerModel.HONEST_BUT_CURIOUS)
    served = suite("kahe").server(params)
    clients = {number: suite("kahe").client(params, number) for number in params.cohort}
    for _ in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS):
        for number, session in clients.items():
            served.receive(client(number), session.respond(served.request_for(client(number))))
        served.advance()
    times, length = [], 0
    for number, session in clients.items():
        session.submit(vector_of(cast, number))
        upload = session.respond(served.request_for(client(number)))
        length = len(upload)
        begun = time.process_time()
        served.receive(client(number), upload)
        times.append(time.process_time() - begun)
    return length, statistics.median(times)
