"""Scripts of sessions: what every party is given, and what must come of it, byte for byte.

An operation is one call of the public session interface. `do`, `client` and `given` go in, everything else must come
out:

| do | what is called | comes out |
|---|---|---|
| request | `server.request_for(client)` | bytes |
| respond | `client.respond`: to its last request, or to what is given | bytes |
| receive | `server.receive`: the client's last response, or what is given | nothing |
| bind | `bind` of the client, or of the server if none is named, to the context that is given | nothing |
| advance | `server.advance()` | phase, and who is waited for |
| result | `server.result` | vector, contributors; the error's deviation where there is one |

An operation that must fail has `fails`, the class of the exception, and nothing else comes out. Recording and
replaying share `Cast.perform`, so that a script cannot be read in another way than it was written.

What is long is abridged: messages to both ends and a digest (`abridged_bytes`), vectors likewise (`abridged`), forged
messages to what differs from the client's honest response (`spliced`), submitted vectors to the beginning of which
they are repetitions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from privfl import (
    ClientPolicy,
    ClientSession,
    Credentials,
    Identity,
    MemoryGuard,
    PrivflError,
    Roster,
    ServerSession,
    SessionParams,
    suite,
)
from privfl import client as party
from privfl.primitives.secret import Secret
from privfl.session import PLAIN_ALLOWED
from privfl.testing import UnsafeFixedEntropy

INPUTS = ("client", "given")
LONG_BYTES = 4096
LONG_NUMBERS = 512


class Cast:
    """The parties of a script, alive, made from its head alone.

    Args:
        head: `params` and `vectors`; where secrets are drawn `entropy`; in the active model `identities`.
    """

    def __init__(self, head: dict[str, Any]) -> None:
        self.params = SessionParams.from_bytes(bytes.fromhex(head["params"]))
        entropy = {who: UnsafeFixedEntropy(bytes.fromhex(seed)) for who, seed in head.get("entropy", {}).items()}
        identities = {
            int(number): Identity(Secret(bytes.fromhex(private)))
            for number, private in head.get("identities", {}).items()
        }
        roster = Roster({number: identity.public for number, identity in identities.items()}) if identities else None
        self.server: ServerSession = suite(self.params.suite).server(
            self.params, roster=roster, entropy=entropy.get("server")
        )
        self.clients: dict[int, ClientSession] = {}
        for number in self.params.cohort:
            self.clients[number] = suite(self.params.suite).client(
                self.params,
                number,
                policy=ClientPolicy(corrupt=self.params.threat.corrupt) if self.params.masking else PLAIN_ALLOWED,
                credentials=Credentials(identities[number], roster) if roster else None,
                guard=MemoryGuard() if roster else None,
                entropy=entropy.get(str(number)),
            )
            submitted = np.array(head["vectors"][str(number)], np.int64)
            self.clients[number].submit(np.resize(submitted, self.params.vector.length))
        self.requests: dict[int, bytes] = {}
        self.responses: dict[int, bytes] = {}
        self.error: PrivflError | None = None

    def perform(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation from what goes in; return what comes out."""
        arguments = {key: operation[key] for key in INPUTS if key in operation}
        if isinstance(arguments.get("given"), dict):
            arguments["given"] = put_in(self.responses[operation["client"]], **arguments["given"])
        elif "given" in arguments:
            arguments["given"] = bytes.fromhex(arguments["given"])
        try:
            return getattr(self, f"_{operation['do']}")(**arguments)
        except PrivflError as error:
            self.error = error
            return {"fails": type(error).__name__}

    def _request(self, client: int) -> dict[str, Any]:
        self.requests[client] = self.server.request_for(party(client))
        return {"bytes": abridged_bytes(self.requests[client])}

    def _respond(self, client: int, given: bytes | None = None) -> dict[str, Any]:
        request = self.requests[client] if given is None else given
        self.responses[client] = self.clients[client].respond(request)
        return {"bytes": abridged_bytes(self.responses[client])}

    def _receive(self, client: int, given: bytes | None = None) -> dict[str, Any]:
        self.server.receive(party(client), self.responses[client] if given is None else given)
        return {}

    def _bind(self, given: bytes, client: int | None = None) -> dict[str, Any]:
        (self.server if client is None else self.clients[client]).bind(given)
        return {}

    def _advance(self) -> dict[str, Any]:
        self.server.advance()
        return {"phase": self.server.phase.value, "waiting": sorted(who.number for who in self.server.waiting)}

    def _result(self) -> dict[str, Any]:
        result = self.server.result
        error = {"error_std": result.error_std} if result.error_std else {}
        return {"vector": abridged(result.vector.tolist()), "contributors": result.contributors} | error


def outputs(operation: dict[str, Any]) -> dict[str, Any]:
    """What must come out of an operation, as its script says."""
    return {key: value for key, value in operation.items() if key not in {"do", *INPUTS}}


def abridged_bytes(raw: bytes) -> str | dict[str, Any]:
    """Bytes as hex; of a long message its length, its SHA-256, and both its ends: of an upload, all but its words."""
    if len(raw) < LONG_BYTES:
        return raw.hex()
    return {
        "length": len(raw),
        "first": raw[:96].hex(),
        "last": raw[-32:].hex(),
        "sha256": hashlib.sha256(raw).hexdigest(),
    }


def abridged(numbers: Sequence[int]) -> list[int] | dict[str, Any]:
    """Numbers as they are; of many their count, both ends, and the SHA-256 of all as little-endian int64."""
    if len(numbers) < LONG_NUMBERS:
        return list(numbers)
    together = np.array(numbers, "<i8").tobytes()
    return {
        "count": len(numbers),
        "first": list(numbers[:8]),
        "last": list(numbers[-8:]),
        "sha256": hashlib.sha256(together).hexdigest(),
    }


def spliced(forged: bytes, honest: bytes) -> str | dict[str, Any]:
    """A forged response as hex; a long one as the one piece in which it differs from the honest response."""
    if len(forged) < LONG_BYTES:
        return forged.hex()
    shorter = min(len(forged), len(honest))
    at = next((i for i in range(shorter) if forged[i] != honest[i]), shorter)
    same = next((i for i in range(shorter - at) if forged[-1 - i] != honest[-1 - i]), shorter - at)
    return {"at": at, "cut": len(honest) - at - same, "put": forged[at : len(forged) - same].hex()}


def put_in(honest: bytes, *, at: int, cut: int, put: str) -> bytes:
    """The reverse: the honest response with `cut` bytes at a place replaced by others."""
    return honest[:at] + bytes.fromhex(put) + honest[at + cut :]
