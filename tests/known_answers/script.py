"""Scripts of sessions: what every party is given, and what must come of it, byte for byte.

An operation is one call of the public session interface. `do`, `client` and `given` go in, everything else must come
out:

| do | what is called | comes out |
|---|---|---|
| request | `server.request_for(client)` | bytes |
| respond | `client.respond`: to its last request, or to what is given | bytes |
| receive | `server.receive`: the client's last response, or what is given | nothing |
| advance | `server.advance()` | phase, and who is waited for |
| result | `server.result` | vector, contributors |

An operation that must fail has `fails`, the class of the exception, and nothing else comes out. Recording and
replaying share `Cast.perform`, so that a script cannot be read in another way than it was written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from privfl import (
    ClientSession,
    Credentials,
    Identity,
    PrivflError,
    Roster,
    ServerSession,
    SessionParams,
    suite,
)
from privfl import client as party
from privfl.masking.server import MaskingServer
from privfl.plain.server import PlainServer
from privfl.primitives.secret import Secret
from privfl.testing import UnsafeFixedEntropy

INPUTS = ("client", "given")


class Cast:
    """The parties of a script, alive, made from its head alone.

    Args:
        head: `params` and `vectors`; for masking `entropy`; in the active model `identities`.
    """

    def __init__(self, head: dict[str, Any]) -> None:
        self.params = SessionParams.from_bytes(bytes.fromhex(head["params"]))
        entropy = {who: UnsafeFixedEntropy(bytes.fromhex(seed)) for who, seed in head.get("entropy", {}).items()}
        identities = {
            int(number): Identity(Secret(bytes.fromhex(private)))
            for number, private in head.get("identities", {}).items()
        }
        roster = Roster({number: identity.public for number, identity in identities.items()}) if identities else None
        self.server: ServerSession = (
            PlainServer(self.params)
            if self.params.suite == "plain"
            else MaskingServer(self.params, roster=roster, entropy=entropy["server"])
        )
        self.clients: dict[int, ClientSession] = {}
        for number in self.params.cohort:
            self.clients[number] = suite(self.params.suite).client(
                self.params,
                number,
                credentials=Credentials(identities[number], roster) if roster else None,
                entropy=entropy.get(str(number)),
            )
            self.clients[number].submit(np.array(head["vectors"][str(number)], np.int64))
        self.requests: dict[int, bytes] = {}
        self.responses: dict[int, bytes] = {}
        self.error: PrivflError | None = None

    def perform(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation from what goes in; return what comes out."""
        arguments = {key: operation[key] for key in INPUTS if key in operation}
        if "given" in arguments:
            arguments["given"] = bytes.fromhex(arguments["given"])
        try:
            return getattr(self, f"_{operation['do']}")(**arguments)
        except PrivflError as error:
            self.error = error
            return {"fails": type(error).__name__}

    def _request(self, client: int) -> dict[str, Any]:
        self.requests[client] = self.server.request_for(party(client))
        return {"bytes": self.requests[client].hex()}

    def _respond(self, client: int, given: bytes | None = None) -> dict[str, Any]:
        request = self.requests[client] if given is None else given
        self.responses[client] = self.clients[client].respond(request)
        return {"bytes": self.responses[client].hex()}

    def _receive(self, client: int, given: bytes | None = None) -> dict[str, Any]:
        self.server.receive(party(client), self.responses[client] if given is None else given)
        return {}

    def _advance(self) -> dict[str, Any]:
        self.server.advance()
        return {"phase": self.server.phase.value, "waiting": sorted(who.number for who in self.server.waiting)}

    def _result(self) -> dict[str, Any]:
        result = self.server.result
        return {"vector": result.vector.tolist(), "contributors": result.contributors}


def outputs(operation: dict[str, Any]) -> dict[str, Any]:
    """What must come out of an operation, as its script says."""
    return {key: value for key, value in operation.items() if key not in {"do", *INPUTS}}
