# ruff: noqa: ARG001 - all packages offer functions of the same signatures, whether or not they need every argument
"""What the `ckks` suite offers: see `privfl.suites.SuitePackage`."""

from __future__ import annotations

from privfl.ckks import planner
from privfl.ckks.client import CkksClient, require_key
from privfl.ckks.key import CommitteeKey
from privfl.ckks.server import CkksServer
from privfl.errors import ConfigurationError
from privfl.guard import StateGuard
from privfl.params import CkksSetting, SessionParams, Setting, SettingWishes, ThreatModel
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, ServerSession


def setting(clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
    """See `SuitePackage.setting`."""
    if wishes.key is None:
        return planner.plan(clients, threat, wishes)
    key = wishes.key
    if not isinstance(key, CommitteeKey):
        raise ConfigurationError(f"committee is a {type(key).__name__}: a CommitteeKey works")
    return planner.keyed(key.epoch, key.digest, clients, wishes.reach(clients))


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """See `SuitePackage.fewest_contributors`."""
    return planner.fewest_contributors(clients, threat)


def error_std(setting: Setting, clients: int) -> float:
    """See `SuitePackage.error_std`."""
    if not isinstance(setting, CkksSetting):
        raise TypeError(f"a {type(setting).__name__} given to suite 'ckks'")
    return planner.error_std(setting)


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
    return CkksClient(
        params,
        number,
        committee=require_key(params, committee),
        policy=policy,
        credentials=credentials,
        guard=guard,
        entropy=entropy,
        workers=workers,
        remember_response=remember_response,
    )


def server(
    params: SessionParams, *, roster: Roster | None, entropy: Entropy | None, workers: int, committee: object | None
) -> ServerSession:
    """See `SuitePackage.server`."""
    return CkksServer(params, committee=require_key(params, committee), roster=roster)


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
    if not isinstance(committee, CommitteeKey):
        raise ConfigurationError("suite 'ckks' needs the committee's key to wake a session: give it as committee")
    return CkksClient.from_bytes(
        raw,
        key=key,
        guard=guard,
        committee=committee,
        credentials=credentials,
        workers=workers,
        remember_response=remember_response,
    )
