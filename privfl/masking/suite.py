# ruff: noqa: ARG001 - all packages offer functions of the same signatures, whether or not they need every argument
"""What the `masking` suite offers: see `privfl.suites.SuitePackage`."""

from __future__ import annotations

from dataclasses import replace

from privfl.guard import StateGuard
from privfl.lockstep.sizes import SessionSizes
from privfl.masking import planner
from privfl.masking.client import MaskingClient
from privfl.masking.server import MaskingServer
from privfl.masking.sizes import session_sizes
from privfl.params import SessionParams, Setting, SettingWishes, ThreatModel, refuse_committee
from privfl.primitives.entropy import Entropy
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, ServerSession


def setting(clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
    """See `SuitePackage.setting`."""
    refuse_committee("masking", wishes.committee, wishes.key)
    return replace(planner.plan(clients, threat), wire=wishes.wire)


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """See `SuitePackage.fewest_contributors`."""
    return planner.fewest_contributors(clients, threat)


def error_std(setting: Setting, clients: int) -> float:
    """See `SuitePackage.error_std`."""
    return 0.0


def message_sizes(params: SessionParams) -> SessionSizes:
    """See `SuitePackage.message_sizes`."""
    setting = planner.verified(params, "masking")
    return session_sizes(params, setting, upload_bytes=params.ring.vector_bytes(params.vector.length))


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
    refuse_committee("masking", committee)
    return MaskingClient(
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
    refuse_committee("masking", committee)
    return MaskingServer(params, roster=roster, entropy=entropy, workers=workers)


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
    refuse_committee("masking", committee)
    return MaskingClient.from_bytes(
        raw, key=key, guard=guard, credentials=credentials, workers=workers, remember_response=remember_response
    )
