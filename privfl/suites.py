"""Suite name to client, server and planner; a suite is imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError
from privfl.guard import StateGuard
from privfl.lockstep.sleep import sleeping_suite
from privfl.params import (
    MaskingSetting,
    PlainSetting,
    ServerModel,
    SessionParams,
    Setting,
    ThreatModel,
    VectorSpec,
    WireForm,
)
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, ServerSession
from privfl.wire import SuiteCode

if TYPE_CHECKING:
    from privfl.masking.client import MaskingClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One way of summing.

    Attributes:
        name: as jobs and commands spell it.
        protects: whether the server is kept from reading single vectors.
        security_note: one sentence for people: who could open a client's vector.
    """

    name: str
    protects: bool
    security_note: str

    def setting(
        self,
        clients: int,
        threat: ThreatModel,
        *,
        bound: int,
        minimum: int | None = None,
        wire: WireForm = WireForm.WORDS,
    ) -> Setting:
        """Derive the suite's setting from a threat model.

        Args:
            clients: size of the cohort.
            threat: the threat model.
            bound: largest magnitude of a coordinate.
            minimum: fewest contributors; `fewest_contributors` unless given.
            wire: how vectors travel; `plain`, the baseline, always sends words.

        Raises:
            ConfigurationError: nothing withstands it.
        """
        if self.name == "plain":
            return PlainSetting()
        if self.name == "kahe":
            minimum = self.fewest_contributors(clients, threat) if minimum is None else minimum
            encrypted: Setting = import_module("privfl.kahe.planner").plan(
                clients, threat, bound=bound, minimum=minimum, wire=wire
            )
            return encrypted
        planned: MaskingSetting = import_module("privfl.masking.planner").plan(clients, threat)
        return replace(planned, wire=wire)

    def error_std(self, setting: Setting, clients: int) -> float:
        """Return the largest standard deviation of a coordinate's error in a sum of up to so many clients."""
        if self.name != "kahe":
            return 0.0
        error: float = import_module("privfl.kahe.planner").error_std(setting, clients, clients)
        return error

    def fewest_contributors(self, clients: int, threat: ThreatModel) -> int:
        """Return the smallest minimum that makes sense: two honest clients beside the corrupt ones."""
        if self.name == "plain":
            return 1
        fewest: int = import_module(f"privfl.{self.name}.planner").fewest_contributors(clients, threat)
        return fewest

    def client(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy | None = None,
        credentials: Credentials | None = None,
        guard: StateGuard | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> ClientSession:
        """Make a client session."""
        if self.name == "plain":
            from privfl.plain.client import PlainClient  # noqa: PLC0415 - suites load when used

            # A suite's name may have come from the server: only a policy that names `plain` lets a vector be read.
            policy = (policy or ClientPolicy()).settled(signs=credentials is not None)
            return PlainClient(params, number, policy=policy, guard=guard, remember_response=remember_response)
        return _masking_client(self.name)(
            params,
            number,
            policy=policy,
            credentials=credentials,
            guard=guard,
            entropy=entropy,
            workers=workers,
            remember_response=remember_response,
        )

    def server(
        self,
        params: SessionParams,
        *,
        roster: Roster | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
    ) -> ServerSession:
        """Make a server session."""
        if self.name == "plain":
            from privfl.plain.server import PlainServer  # noqa: PLC0415 - suites load when used

            return PlainServer(params)
        if self.name == "kahe":
            from privfl.kahe.server import KaheServer  # noqa: PLC0415 - as above

            return KaheServer(params, roster=roster, entropy=entropy, workers=workers)
        from privfl.masking.server import MaskingServer  # noqa: PLC0415 - as above

        return MaskingServer(params, roster=roster, entropy=entropy, workers=workers)


def _masking_client(name: str) -> type[MaskingClient]:
    if name == "kahe":
        from privfl.kahe.client import KaheClient  # noqa: PLC0415 - suites load when used

        return KaheClient
    from privfl.masking.client import MaskingClient  # noqa: PLC0415 - as above

    return MaskingClient


def wake(
    raw: bytes,
    *,
    key: bytes,
    guard: StateGuard,
    credentials: Credentials | None = None,
    workers: int = 1,
    remember_response: bool = True,
) -> ClientSession:
    """Wake a client session that `to_bytes` put to sleep.

    Args:
        raw: what `to_bytes` returned.
        key: the same 32 bytes.
        guard: durable, and shared by all processes that might wake this session: of all that do, one answers.
        credentials: identity and roster; needed in the active model, they do not sleep with the session.
        workers: threads for long vectors.
        remember_response: keep the last response to answer a repeated request.

    Raises:
        DecodeError: another key, or altered bytes.
        DisclosureRefused: this state has answered already, in whatever process.
        ConfigurationError: the key or the credentials do not suit.
    """
    if sleeping_suite(raw) is SuiteCode.PLAIN:
        from privfl.plain.client import PlainClient  # noqa: PLC0415 - suites load when used

        return PlainClient.from_bytes(raw, key=key, guard=guard, remember_response=remember_response)
    return _masking_client(sleeping_suite(raw).name.lower()).from_bytes(
        raw, key=key, guard=guard, credentials=credentials, workers=workers, remember_response=remember_response
    )


_SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite(
            name="plain",
            protects=False,
            security_note="PLAIN PROTECTS NOTHING: the server reads every client's update. It is the baseline to "
            "compare with, not a way to train on data that matters.",
        ),
        Suite(
            name="masking",
            protects=True,
            security_note="A server that follows the protocol learns the sum and nothing else. To open one client's "
            "update it needs the help of at least as many of that client's neighbours as the threshold says. In the "
            "active model the same holds of a server that lies, with fewer helpers.",
        ),
        Suite(
            name="kahe",
            protects=True,
            security_note="As masking, with a one-time RLWE key (N = 2048, q ≤ 2^32, Gaussian keys and errors) in the "
            "vector's place: only the sum of the keys is opened, and it opens the sum of the vectors.",
        ),
    )
}

SUITE_NAMES: Final = tuple(_SUITES)


def suite(name: str) -> Suite:
    """Return the suite of that name.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in _SUITES:
        raise ConfigurationError(f"suite is {name!r}: {' or '.join(map(repr, SUITE_NAMES))} works")
    return _SUITES[name]


def plan_session(
    suite_name: str,
    *,
    cohort: tuple[int, ...],
    vector: VectorSpec,
    threat: ThreatModel | None = None,
    wire: WireForm = WireForm.WORDS,
    minimum_contributors: int | None = None,
    nonce: bytes,
    context: bytes,
    roster: Roster | None = None,
) -> SessionParams:
    """Make the parameters of a session from what its caller wants.

    Args:
        suite_name: which suite.
        cohort: the invited clients, ascending.
        vector: length and bound.
        threat: the threat model; a tenth corrupt and a tenth dropping out unless said.
        wire: vectors travel as words, or packed: fewer bytes for a little more time.
        minimum_contributors: fewest contributors; two more than the corrupt clients unless said.
        nonce: 16 fresh bytes.
        context: 32 bytes, digest of what is trained.
        roster: identities of the clients; needed against an active server, and only there.

    Raises:
        ConfigurationError: the wishes do not fit together; names the key and a value that works.
    """
    chosen = suite(suite_name)
    threat = threat or ThreatModel(server=ServerModel.HONEST_BUT_CURIOUS)
    if minimum_contributors is None:
        minimum_contributors = chosen.fewest_contributors(len(cohort), threat)
    signed = chosen.protects and threat.server is ServerModel.ACTIVE
    if signed and roster is None:
        raise ConfigurationError("threat.server 'active' needs a roster: `privfl identity` makes one")
    if signed and roster is not None:
        roster.require(cohort)
    return SessionParams(
        roster_digest=roster.digest if signed and roster is not None else b"",
        cohort=cohort,
        vector=vector,
        setting=chosen.setting(len(cohort), threat, bound=vector.bound, minimum=minimum_contributors, wire=wire),
        threat=threat,
        minimum_contributors=minimum_contributors,
        nonce=nonce,
        context=context,
    )
