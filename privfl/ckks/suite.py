# ruff: noqa: ARG001 - all packages offer functions of the same signatures, whether or not they need every argument
"""What the `ckks` suite offers: see `privfl.suites.SuitePackage`."""

from __future__ import annotations

from privfl.ckks import planner
from privfl.ckks.client import CkksClient, require_key
from privfl.ckks.key import CommitteeKey
from privfl.ckks.messages import Opening, Present, Upload
from privfl.ckks.server import CkksServer
from privfl.errors import ConfigurationError
from privfl.guard import StateGuard
from privfl.lockstep.sizes import MessageSizes, SessionSizes, frame_bytes
from privfl.params import CkksSetting, SessionParams, Setting, SettingWishes, ThreatModel
from privfl.primitives.entropy import Entropy
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession, Phase, ServerSession
from privfl.wire import Role


def setting(clients: int, threat: ThreatModel, wishes: SettingWishes) -> Setting:
    """See `SuitePackage.setting`."""
    if wishes.key is None:
        return planner.plan(clients, threat, wishes)
    key = wishes.key
    if not isinstance(key, CommitteeKey):
        raise ConfigurationError(f"committee is a {type(key).__name__}: a CommitteeKey works")
    return planner.keyed(key.epoch, key.digest, clients, wishes.reach(clients), wishes.length)


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """See `SuitePackage.fewest_contributors`."""
    return planner.fewest_contributors(clients, threat)


def error_std(setting: Setting, clients: int) -> float:
    """See `SuitePackage.error_std`."""
    if not isinstance(setting, CkksSetting):
        raise TypeError(f"a {type(setting).__name__} given to suite 'ckks'")
    return planner.error_std(setting)


def message_sizes(params: SessionParams) -> SessionSizes:
    """See `SuitePackage.message_sizes`."""
    setting, length = planner.verified(params), params.vector.length
    modulus, shape = planner.modulus_of(setting.epoch), setting.epoch.committee
    members = range(shape.members)  # who of them is qualified stands in the key, of which the parameters have a digest
    common, own = modulus.vector_bytes(modulus.polynomials(length) * modulus.degree), modulus.vector_bytes(length)
    upload = Upload(signature=bytes(SIGNATURE_BYTES if params.roster_digest else 0))
    return {
        (Role.CLIENT, Phase.UPLOAD): MessageSizes.exactly(
            frame_bytes(upload, common + own), params.cohort, fewest_senders=params.minimum_contributors
        ),
        (Role.COMMITTEE, Phase.CONVENE): MessageSizes.exactly(
            frame_bytes(Present()), members, fewest_senders=shape.threshold
        ),
        (Role.COMMITTEE, Phase.OPEN): MessageSizes.exactly(
            frame_bytes(Opening(), own), members, fewest_senders=shape.threshold, most_senders=shape.threshold
        ),
    }


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
