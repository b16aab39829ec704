# ruff: noqa: ARG001 - all packages offer functions of the same signatures, whether or not they need every argument
"""What the `plain` suite offers: see `privfl.suites.SuitePackage`."""

from __future__ import annotations

from privfl.errors import ConfigurationError
from privfl.guard import StateGuard
from privfl.lockstep.sizes import MessageSizes, SessionSizes, frame_bytes
from privfl.params import PlainSetting, SessionParams, Setting, SettingWishes, ThreatModel, refuse_committee
from privfl.plain.client import PlainClient
from privfl.plain.messages import Upload
from privfl.plain.server import PlainServer
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, Phase, ServerSession
from privfl.wire import Role


def setting(clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
    """See `SuitePackage.setting`."""
    refuse_committee("plain", wishes.committee, wishes.key)
    return PlainSetting()


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """See `SuitePackage.fewest_contributors`."""
    return 1


def error_std(setting: Setting, clients: int) -> float:
    """See `SuitePackage.error_std`."""
    return 0.0


def message_sizes(params: SessionParams) -> SessionSizes:
    """See `SuitePackage.message_sizes`."""
    if not isinstance(params.setting, PlainSetting):
        raise ConfigurationError(f"parameters of suite {params.suite!r} where 'plain' is needed")
    upload = frame_bytes(Upload(), params.ring.vector_bytes(params.vector.length))
    sizes = MessageSizes.exactly(upload, params.cohort, fewest_senders=params.minimum_contributors)
    return {(Role.CLIENT, Phase.UPLOAD): sizes}


def client(
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
    """See `SuitePackage.client`."""
    refuse_committee("plain", committee)
    # A suite's name may have come from the server: only a policy that names `plain` lets a vector be read.
    policy = (policy or ClientPolicy()).settled(signs=credentials is not None)
    return PlainClient(params, number, policy=policy, guard=guard, remember_response=remember_response)


def server(
    params: SessionParams, *, roster: Roster | None, entropy: Entropy | None, workers: int, committee: object | None
) -> ServerSession:
    """See `SuitePackage.server`."""
    refuse_committee("plain", committee)
    return PlainServer(params)


def wake(
    raw: bytes,
    *,
    key: bytes,
    guard: StateGuard,
    credentials: Credentials | None,
    workers: int,
    remember_response: bool,
    committee: object | None,
) -> ClientSession:
    """See `SuitePackage.wake`."""
    refuse_committee("plain", committee)
    return PlainClient.from_bytes(raw, key=key, guard=guard, remember_response=remember_response)
