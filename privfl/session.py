"""The one interface that every suite speaks: request and response in lock-step, without I/O, clocks or threads.

Theory of operation. The server makes one request per party and phase, the party gives one response, the caller
carries the bytes and owns the deadlines. A session is therefore a function-call protocol that fits Flower messages,
HTTP polling, MQTT and in-process calls alike:

    for phase in server's phases:
        for party in server.waiting:
            server.receive(party, client_session.respond(server.request_for(party)))
        server.advance()              # whoever has not answered has dropped
    server.result

Delivery is at least once: a byte-identical repeat of the last request gets the cached response, and a repeated
response is ignored. Bytes that do not decode leave every state unmoved. A well-formed request that must not be
answered destroys the client's secrets and ends its session. Sessions are not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.params import DEFAULT_STATISTICAL_BITS, ServerModel, SessionParams, ThreatModel
from privfl.wire import PartyId, SuiteCode

_Name = TypeVar("_Name", bound=str)
_SUITES: Final = frozenset(code.name.lower() for code in SuiteCode)

Vector = npt.NDArray[np.signedinteger[Any]]


class Phase(StrEnum):
    """Phases of a session, in the papers' words.

    `masking` and `kahe` have the first five, `plain` has `Upload` alone. `ckks` has `Upload`, then `Convene`, in which
    members of the committee say that they are there, and `Open`, in which they answer for the sum. `Commit` to
    `SignKey` belong to the ceremony that makes a committee's key, a session of its own.
    """

    ADVERTISE_KEYS = "AdvertiseKeys"
    SHARE_KEYS = "ShareKeys"
    MASKED_INPUT = "MaskedInput"
    CONSISTENCY_CHECK = "ConsistencyCheck"
    UNMASK = "Unmask"
    UPLOAD = "Upload"
    CONVENE = "Convene"
    OPEN = "Open"
    COMMIT = "Commit"
    DEAL = "Deal"
    CHECK_SHARES = "CheckShares"
    TEST_KEY = "TestKey"
    SIGN_KEY = "SignKey"
    FINISHED = "Finished"
    ABORTED = "Aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What a session released.

    Attributes:
        vector: the sum over exactly the contributors, int64, shape (params.vector.length,).
        contributors: how many clients are in it.
        error_std: standard deviation of the error of each coordinate of the sum; 0.0 is exact.
    """

    vector: npt.NDArray[np.int64]
    contributors: int
    error_std: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """What a client insists on, whatever the server proposes.

    A fraction of the cohort means little where the server picks the cohort: it could invite those that it controls. Who
    fears that states `corrupt_clients`, a number that holds in every cohort.

    Attributes:
        minimum_contributors: fewest contributors that it hides among.
        suites: suites that it speaks; `plain`, which hides nothing, must be named to be allowed.
        servers: models of the server that it accepts. Unless said, only `ACTIVE` for a client with credentials: who has
            an identity to sign with is not talked into a session without signatures; and any for others.
        corrupt: smallest fraction of corrupt clients that parameters must withstand. Unless said, a tenth where the
            server may lie: its word alone would not do.
        corrupt_clients: smallest number of corrupt clients that they must withstand, wherever the server found them.
        statistical_bits: smallest σ.
    """

    minimum_contributors: int = 2
    suites: frozenset[str] = frozenset({"masking", "kahe", "ckks"})
    servers: frozenset[ServerModel] | None = None
    corrupt: float | None = None
    corrupt_clients: int = 0
    statistical_bits: int = DEFAULT_STATISTICAL_BITS

    def __post_init__(self) -> None:
        for key, least in (("minimum_contributors", 1), ("corrupt_clients", 0), ("statistical_bits", 1)):
            value = getattr(self, key)
            if type(value) is not int or value < least:
                raise ConfigurationError(
                    f"{key} of a client's policy is {value!r}: a whole number from {least} up works"
                )
        corrupt: object = self.corrupt
        if corrupt is not None and not (isinstance(corrupt, float | int) and 0 <= corrupt < 1):
            raise ConfigurationError(f"corrupt of a client's policy is {self.corrupt!r}: a fraction such as 0.1 works")
        # A string would be searched for the suite's name: "never plain" holds "plain".
        object.__setattr__(self, "suites", _chosen("suites", self.suites, _SUITES))
        if self.servers is not None:
            object.__setattr__(self, "servers", _chosen("servers", self.servers, frozenset(ServerModel)))

    def settled(self, *, signs: bool) -> ClientPolicy:
        """Return the policy with `servers` filled in, for a client that has credentials or has none."""
        if self.servers is not None:
            return self
        return replace(self, servers=frozenset({ServerModel.ACTIVE} if signs else ServerModel))

    def check(self, params: SessionParams) -> None:
        """Raise unless the parameters suit the policy.

        Raises:
            ConfigurationError: names the key that does not.
        """
        if params.suite not in self.suites:
            raise ConfigurationError(f"suite {params.suite!r} is not allowed by this client: {sorted(self.suites)} are")
        threat, clients = params.threat, len(params.cohort)
        if self.servers is not None and threat.server not in self.servers:
            raise ConfigurationError(
                f"threat.server {threat.server.value!r} is not allowed by this client, because of its policy or its "
                f"credentials: {sorted(map(str, self.servers))} are, and ClientPolicy(servers=…) says otherwise"
            )
        least = self.corrupt
        if least is None:
            least = ThreatModel().corrupt if threat.server is ServerModel.ACTIVE else 0.0
        if threat.corrupt < least:
            raise ConfigurationError(f"threat.corrupt is {threat.corrupt}: this client wants {least} or more")
        # The decimal that was written counts, not what binary makes of it; a planner that rounds up is stricter.
        if math.floor(threat.corrupt * clients + 1e-9) < self.corrupt_clients:
            raise ConfigurationError(
                f"threat.corrupt is {threat.corrupt} of {clients} clients: this client wants {self.corrupt_clients} "
                f"corrupt ones withstood, {math.ceil(1000 * self.corrupt_clients / clients - 1e-9) / 1000:g} or more"
            )
        if threat.statistical_bits < self.statistical_bits:
            raise ConfigurationError(
                f"threat.statistical_bits is {threat.statistical_bits}: this client wants "
                f"{self.statistical_bits} or more"
            )
        if clients < self.minimum_contributors:
            raise ConfigurationError(
                f"cohort.size is {clients}, under this client's minimum of {self.minimum_contributors}"
            )


def _chosen(key: str, given: object, known: frozenset[_Name]) -> frozenset[_Name]:
    """Return what a policy allows as a set.

    Raises:
        ConfigurationError: no set, or one of what there is not.
    """
    if not isinstance(given, AbstractSet | tuple | list) or not all(one in known for one in given):
        raise ConfigurationError(
            f"{key} of a client's policy are {given!r}: some of {', '.join(sorted(map(str, known)))} work, as a set"
        )
    return frozenset(given)


PLAIN_ALLOWED: Final = ClientPolicy(minimum_contributors=1, suites=frozenset({"plain"}))
"""The policy of a client that lets its vector be read."""


class ClientSession(Protocol):
    """A client's (or a committee member's) side of one session."""

    @property
    def params(self) -> SessionParams:
        """What was agreed on; the context is in it once it is bound."""
        ...

    def submit(self, vector: Vector | Iterable[Vector]) -> None:
        """Hand over the vector, any time before it is needed.

        Args:
            vector: int32 or int64, shape (params.vector.length,), magnitudes ≤ params.vector.bound; or an iterable of
                such chunks. It is read when the upload is made: do not change it before. What has come to lie beyond
                the bound until then, and chunks that are not as agreed, are refused by `respond`.

        Raises:
            ConfigurationError: wrong shape, type or magnitude.
            LocalProtocolError: a vector was taken already, or the session is over.
        """
        ...

    def bind(self, context: bytes) -> None:
        """Fix the context, any time before the vector is needed, if the parameters leave it to come.

        Args:
            context: 32 bytes, of the caller's own making from what it trained: never the server's word. The same again
                changes nothing.

        Raises:
            LocalProtocolError: another is fixed, or the session is over or at work; nothing has changed.
            ConfigurationError: not 32 bytes; nothing has changed.
        """
        ...

    def check_upload(self, request: bytes) -> None:
        """See that this is the request for the vector, and one that `respond` would answer; nothing changes.

        For callers to whom a vector costs something, or tells something: ask before one is made.

        Raises:
            DecodeError: not a message.
            DisclosureRefused: not a request for the vector, or one that must not be answered; nothing is destroyed.
            LocalProtocolError: the context is not known, or the session is over.
        """
        ...

    def respond(self, request: bytes) -> bytes:
        """Answer one request.

        Raises:
            DecodeError: not a message; nothing has changed.
            DisclosureRefused: must not be answered; secrets destroyed, session over.
            LocalProtocolError: no vector was submitted, a chunk of it could not be made, or the context is to come
                (try again after `submit` and `bind`); or the session is over.
            ConfigurationError: the vector is not as agreed any more, or its chunks are not: submit it again, and try
                again.
        """
        ...

    def to_bytes(self, key: bytes) -> bytes:
        """Put the session to sleep between two requests, for callers that answer each in a new process.

        The bytes hold the session's secrets, sealed under the key; this object is over, and `privfl.wake` goes on. A
        vector that was submitted and not asked for yet does not sleep: submit it again.

        Args:
            key: 32 secret bytes of the caller's, which may seal many sessions.

        Raises:
            LocalProtocolError: the session is over, or at work.
            ConfigurationError: the key is not 32 bytes, or the session was made without a guard; nothing has changed.
        """
        ...


class ServerSession(Protocol):
    """The server's side of one session."""

    @property
    def phase(self) -> Phase:
        """The phase that waits for answers now."""
        ...

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """Who has not answered in this phase."""
        ...

    @property
    def ready(self) -> bool:
        """Whether enough have answered for `advance` not to abort.

        While AdvertiseKeys is open the graph is not drawn yet: there it says that enough clients are present.
        """
        ...

    def request_for(self, party: PartyId) -> bytes:
        """Make the request of this phase for one party.

        Raises:
            LocalProtocolError: the party has no part in this phase, or its vector is due and the context is to come.
        """
        ...

    def bind(self, context: bytes) -> None:
        """Fix the context, before vectors are asked for, if the parameters leave it to come.

        The same again changes nothing.

        Raises:
            LocalProtocolError: another is fixed, or the session is over; nothing has changed.
            ConfigurationError: not 32 bytes; nothing has changed.
        """
        ...

    def receive(self, sender: PartyId, response: bytes) -> None:
        """Take one response: validated, accumulated, dropped. Repeats of an accepted one are ignored.

        Raises:
            RemoteProtocolError: the response is not as agreed; the sender counts as not having answered.
        """
        ...

    def advance(self) -> None:
        """Close the phase: whoever has not answered has dropped.

        Raises:
            RoundAborted: too few are left.
        """
        ...

    @property
    def result(self) -> Aggregate:
        """The sum, after the last phase.

        Raises:
            LocalProtocolError: not finished.
        """
        ...


class Lockstep(Protocol):
    """The steps that the server's sides of sessions and ceremonies have in common."""

    @property
    def phase(self) -> Phase:
        """See `ServerSession.phase`."""
        ...

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        """See `ServerSession.waiting`."""
        ...

    @property
    def ready(self) -> bool:
        """See `ServerSession.ready`."""
        ...

    def request_for(self, party: PartyId) -> bytes:
        """See `ServerSession.request_for`."""
        ...

    def receive(self, sender: PartyId, response: bytes) -> None:
        """See `ServerSession.receive`."""
        ...

    def advance(self) -> None:
        """See `ServerSession.advance`."""
        ...
