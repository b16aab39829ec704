"""A TCP relay that keeps what went through it, one way: for a look at what a server gets to see."""

import socket
import threading
from contextlib import suppress
from typing import Self


class RecordingRelay:
    """Stands between clients and a server on this machine, and keeps all that the clients sent."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._recorded: list[bytearray] = []
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def take(self) -> bytes:
        """All that clients have sent since the last call: what one connection carried stays together."""
        with self._lock:
            taken = b"\n".join(bytes(recorded) for recorded in self._recorded if recorded)
            for recorded in self._recorded:
                recorded.clear()
        return taken

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        recorded = bytearray()
        with self._lock:
            self._recorded.append(recorded)
        with client, server:
            back = threading.Thread(target=self._pump, args=(server, client, None), daemon=True)
            back.start()
            self._pump(client, server, recorded)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, recorded: bytearray | None) -> None:
        with suppress(OSError):  # one side is gone; so is the other, below
            while received := source.recv(1 << 16):
                if recorded is not None:
                    with self._lock:
                        recorded += received
                sink.sendall(received)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
