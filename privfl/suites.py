"""Suite name to client, server and planner; a suite's package is imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final, Protocol, cast

from privfl.errors import ConfigurationError, DecodeError
from privfl.guard import StateGuard
from privfl.lockstep.sizes import SessionSizes
from privfl.lockstep.sleep import sleeping_suite
from privfl.params import (
    DEFAULT_PRECISION,
    CommitteeShape,
    ServerModel,
    SessionParams,
    Setting,
    SettingWishes,
    ThreatModel,
    VectorSpec,
    WireForm,
)
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, ServerSession


class SuitePackage(Protocol):
    """What the module `privfl.NAME.suite` of every suite offers, as functions of these signatures.

    Arguments and errors as those of `Suite` and `wake`, which fill in what was not said.
    """

    def setting(self, clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
        """Derive the suite's setting from a threat model."""
        ...

    def fewest_contributors(self, clients: int, threat: ThreatModel) -> int:
        """Return the smallest minimum that makes sense."""
        ...

    def error_std(self, setting: Setting, clients: int) -> float:
        """Return the largest standard deviation of a coordinate's error."""
        ...

    def message_sizes(self, params: SessionParams) -> SessionSizes:
        """Return what may leave the parties of a session."""
        ...

    def client(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy | None,
        credentials: Credentials | None,
        guard: StateGuard | None,
        entropy: Entropy | None,
        workers: int,
        remember_response: bool,
        committee: object | None,
    ) -> ClientSession:
        """Make a client session."""
        ...

    def server(
        self,
        params: SessionParams,
        *,
        roster: Roster | None,
        entropy: Entropy | None,
        workers: int,
        committee: object | None,
    ) -> ServerSession:
        """Make a server session."""
        ...

    def wake(
        self,
        raw: bytes,
        *,
        key: bytes,
        guard: StateGuard,
        credentials: Credentials | None,
        workers: int,
        remember_response: bool,
        committee: object | None,
    ) -> ClientSession:
        """Wake a client session."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One way of summing.

    Attributes:
        name: as jobs and commands spell it.
        protects: whether the server is kept from reading single vectors.
        security_note: one sentence for people: who could open a client's vector.
        has_committee: whether a committee opens the sum: sessions need its key.
        least_clients: fewest clients among whom a session can be held at all.
    """

    name: str
    protects: bool
    security_note: str
    has_committee: bool = False
    least_clients: int = 3

    def setting(
        self,
        clients: int,
        threat: ThreatModel,
        *,
        bound: int,
        sum_bound: int | None = None,
        minimum: int | None = None,
        wire: WireForm = WireForm.WORDS,
        length: int | None = None,
        committee: CommitteeShape | None = None,
        key: object | None = None,
        precision: float = DEFAULT_PRECISION,
    ) -> Setting:
        """Derive the suite's setting from a threat model.

        Args:
            clients: size of the cohort.
            threat: the threat model.
            bound: largest magnitude of a coordinate.
            sum_bound: of a coordinate of the sum, if that is less than all clients' bounds together.
            minimum: fewest contributors; `fewest_contributors` unless given.
            wire: how vectors travel; `plain`, the baseline, always sends words.
            length: coordinates of a vector, if they are known.
            committee: who opens the sum; for suites that have a committee.
            key: the committee's key, if it is made already: of a setting without one, no session can be held.
            precision: largest standard deviation of the mean's error, as a fraction of full scale, where a suite has a
                choice.

        Raises:
            ConfigurationError: nothing withstands it, or the suite has no committee.
        """
        wishes = SettingWishes(
            bound=bound,
            sum_bound=sum_bound,
            minimum=minimum,
            wire=wire,
            length=length,
            committee=committee,
            key=key,
            precision=precision,
        )
        return _package(self.name).setting(clients, threat, wishes)

    def error_std(self, setting: Setting, clients: int) -> float:
        """Return the largest standard deviation of a coordinate's error in a sum of up to so many clients."""
        return _package(self.name).error_std(setting, clients)

    def fewest_contributors(self, clients: int, threat: ThreatModel) -> int:
        """Return the smallest minimum that makes sense: two honest clients beside the corrupt ones."""
        return _package(self.name).fewest_contributors(clients, threat)

    def message_sizes(self, params: SessionParams) -> SessionSizes:
        """Return what may leave the parties of a session, and how long it may be: all that the parameters tell of it.

        They fix the length of every message but two: ShareKeys and Unmask depend on who is there. What a length tells,
        and what it does not, `privfl.lockstep.sizes` says. That the server follows the protocol is taken for granted.

        Args:
            params: the session's parameters, which are of this suite.

        Returns:
            By role and phase; in a phase that is not there, nothing leaves anybody.

        Raises:
            ConfigurationError: no session can be held under them, or not of this suite.
        """
        return _package(self.name).message_sizes(params)

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
        committee: object | None = None,
    ) -> ClientSession:
        """Make a client session.

        Args:
            params: what was agreed on, of this suite.
            number: this client's number, one of `params.cohort`.
            policy: what the client insists on, whatever the parameters say; `ClientPolicy()` unless given.
            credentials: its identity, and the roster that it trusts; needed where the server may lie.
            guard: remembers nonces and contexts, so that none is used twice: durable (`FileGuard`) where the client may
                restart or its session sleeps. Needed where the server may lie; elsewhere, without one, the caller
                sees to it.
            entropy: source of all secrets; the operating system unless given, which is for tests alone.
            workers: threads for long vectors; 1 starts none.
            remember_response: keep the last response to answer a repeated request; costs an upload's size in memory.
            committee: the committee's key, for suites that have one.

        Raises:
            ConfigurationError: the parameters do not suit the policy, or an argument is not as said.
        """
        _check_arguments(policy, credentials)
        return _package(self.name).client(
            params,
            number,
            policy=policy,
            credentials=credentials,
            guard=guard,
            entropy=entropy,
            workers=workers,
            remember_response=remember_response,
            committee=committee,
        )

    def server(
        self,
        params: SessionParams,
        *,
        roster: Roster | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        committee: object | None = None,
    ) -> ServerSession:
        """Make a server session.

        Args:
            params: what was agreed on, of this suite.
            roster: the clients' identities; needed where the server may lie.
            entropy: source of what it draws; the operating system unless given, which is for tests alone.
            workers: threads for long vectors; 1 starts none.
            committee: the committee's key, for suites that have one.

        Raises:
            ConfigurationError: no session can be held under these parameters, or with these arguments.
        """
        return _package(self.name).server(params, roster=roster, entropy=entropy, workers=workers, committee=committee)


def wake(
    raw: bytes,
    *,
    key: bytes,
    guard: StateGuard,
    credentials: Credentials | None = None,
    workers: int = 1,
    remember_response: bool = True,
    committee: object | None = None,
) -> ClientSession:
    """Wake a client session that `to_bytes` put to sleep.

    Args:
        raw: what `to_bytes` returned.
        key: the same 32 bytes.
        guard: durable, and shared by all processes that might wake this session: of all that do, one answers.
        credentials: identity and roster; needed in the active model, they do not sleep with the session.
        workers: threads for long vectors.
        remember_response: keep the last response to answer a repeated request.
        committee: as when the session was made; it does not sleep with it.

    Raises:
        DecodeError: another key, or altered bytes.
        DisclosureRefused: this state has answered already, in whatever process.
        ConfigurationError: the key, the guard, the credentials or the committee do not suit.
    """
    _check_arguments(None, credentials)
    name = sleeping_suite(raw).name.lower()
    if name not in _SUITES:
        raise DecodeError("a session at rest of an unknown suite")
    return _package(name).wake(
        raw,
        key=key,
        guard=guard,
        credentials=credentials,
        workers=workers,
        remember_response=remember_response,
        committee=committee,
    )


def _check_arguments(policy: object, credentials: object) -> None:
    if policy is not None and not isinstance(policy, ClientPolicy):
        raise ConfigurationError(f"policy is of type {type(policy).__name__}: ClientPolicy(…) works")
    if credentials is not None and not isinstance(credentials, Credentials):
        raise ConfigurationError(
            f"credentials are of type {type(credentials).__name__}: Credentials(identity=…, roster=…) works"
        )


def _package(name: str) -> SuitePackage:
    # The tests compare the modules with the protocol, signature by signature: what is cast here is what it says.
    return cast("SuitePackage", import_module(f"privfl.{name}.suite"))


_SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite(
            name="plain",
            protects=False,
            least_clients=1,
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
        Suite(
            name="ckks",
            protects=True,
            has_committee=True,
            least_clients=2,
            security_note="If everyone follows the protocol, the server learns the sum, a little noise over it, and "
            "nothing else. To open one client's update takes as many members of the committee together as the "
            "threshold says. A server or client that lies could cost the committee its key: kahe withstands that.",
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
    committee: object | None = None,
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
        context: 32 bytes, digest of what is trained; empty if it is to come (`SessionParams.context`).
        roster: identities of the clients; needed against an active server. Under `ckks`, uploads are signed if it is
            given; elsewhere it is nothing to an honest-but-curious server.
        committee: key of the committee that opens the sum; for suites that have one.

    Raises:
        ConfigurationError: the wishes do not fit together, or the roster has expired; names the key and a value that
            works.
    """
    chosen = suite(suite_name)
    threat = threat or ThreatModel(server=ServerModel.HONEST_BUT_CURIOUS)
    if minimum_contributors is None:
        minimum_contributors = chosen.fewest_contributors(len(cohort), threat)
    signed = chosen.protects and threat.server is ServerModel.ACTIVE
    if signed and roster is None:
        raise ConfigurationError("threat.server 'active' needs a roster: `privfl identity` makes one")
    signed = signed or chosen.has_committee
    if signed and roster is not None:
        roster.require_current()
        roster.require(cohort)
    return SessionParams(
        roster_digest=roster.digest if signed and roster is not None else b"",
        cohort=cohort,
        vector=vector,
        setting=chosen.setting(
            len(cohort),
            threat,
            bound=vector.bound,
            sum_bound=vector.sum_bound,
            minimum=minimum_contributors,
            wire=wire,
            length=vector.length,
            key=committee,
        ),
        threat=threat,
        minimum_contributors=minimum_contributors,
        nonce=nonce,
        context=context,
    )
