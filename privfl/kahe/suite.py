"""What the `kahe` suite offers: see `privfl.suites.SuitePackage`."""

from __future__ import annotations

from privfl.guard import StateGuard
from privfl.kahe import planner
from privfl.kahe.client import KEY_BYTES, KaheClient
from privfl.kahe.server import KaheServer
from privfl.lockstep.sizes import SessionSizes
from privfl.masking.sizes import session_sizes
from privfl.params import KaheSetting, SessionParams, Setting, SettingWishes, ThreatModel, refuse_committee
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, ServerSession


def setting(clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
    """See `SuitePackage.setting`."""
    refuse_committee("kahe", wishes.committee, wishes.key)
    minimum = fewest_contributors(clients, threat) if wishes.minimum is None else wishes.minimum
    return planner.plan(clients, threat, reach=wishes.reach(clients), minimum=minimum, wire=wishes.wire)


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """See `SuitePackage.fewest_contributors`."""
    return planner.fewest_contributors(clients, threat)


def error_std(setting: Setting, clients: int) -> float:
    """See `SuitePackage.error_std`."""
    if not isinstance(setting, KaheSetting):
        raise TypeError(f"{setting} given to suite 'kahe'")
    return planner.error_std(setting, clients, clients)


def message_sizes(params: SessionParams) -> SessionSizes:
    """See `SuitePackage.message_sizes`."""
    inner = planner.verified(params).masking
    return session_sizes(params, inner, upload_bytes=KEY_BYTES + params.ring.vector_bytes(params.vector.length))


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
    refuse_committee("kahe", committee)
    return KaheClient(
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
    params: SessionParams, *, roster: Roster | None, entropy: Entropy | None, workers: int, committee: object | None
) -> ServerSession:
    """See `SuitePackage.server`."""
    refuse_committee("kahe", committee)
    return KaheServer(params, roster=roster, entropy=entropy, workers=workers)


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
    refuse_committee("kahe", committee)
    return KaheClient.from_bytes(
        raw, key=key, guard=guard, credentials=credentials, workers=workers, remember_response=remember_response
    )
