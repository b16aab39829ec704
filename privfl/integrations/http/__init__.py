"""A coordinator and its clients over HTTPS: starlette and uvicorn at one end, httpx at the other.

    with Server(hall, roster, identity=…, host="0.0.0.0", port=8443, certificate=…, key=…):    # the coordinator
        …                                                                          # the run holds sessions in the hall
    join(participant, url="https://…:8443", ca=…, identity=…, number=3)            # each client

Theory of operation. Clients connect out, and need no address of their own: they ask what there is for them, which is
answered when there is something. TLS shows them their coordinator; every request is signed, which shows the coordinator
its client. A request may be repeated, cut short, delayed or lost in either direction; what must not happen twice is
prevented below, by the `Hall` and the `Participant`. Whatever a stranger sends costs a fixed amount of memory.
"""

from __future__ import annotations

from privfl.errors import MissingExtra

try:
    import httpx  # noqa: F401 - to say which extra is missing
    import starlette  # noqa: F401 - likewise
    import uvicorn  # noqa: F401 - likewise
except ModuleNotFoundError as missing:
    raise MissingExtra("http", missing.name or "httpx") from None

from privfl.integrations.http.client import Joined as Joined
from privfl.integrations.http.client import join as join
from privfl.integrations.http.server import Server as Server

__all__ = ["Joined", "Server", "join"]
