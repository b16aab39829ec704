"""What the planner knows of sizes that nobody measured: whether there can be a session, its bytes and neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from privfl.bench.cells import CORRUPT, Cell
from privfl.ckks.messages import Upload
from privfl.ckks.planner import modulus_of
from privfl.errors import ConfigurationError
from privfl.lockstep.sizes import frame_bytes
from privfl.masking import planner as masking
from privfl.params import NONCE_BYTES, CkksSetting, ServerModel, ThreatModel, WireForm
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.suites import SUITE_NAMES, plan_session, suite
from privfl.wire import Role

_MASKING: Final = frozenset({"masking", "kahe"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedUpload:
    """What a client that contributes sends in a session, all phases together.

    Attributes:
        least: bytes, where as many of its neighbours drop out as the session stands.
        most: bytes, where none does.
        refused: why no session of that size can be held; empty if one can. `least` and `most` are 0 then.
    """

    least: int = 0
    most: int = 0
    refused: str = ""


@lru_cache(maxsize=256)
def planned_upload(name: str, wire: str, clients: int, parameters: int, dropout: float) -> PlannedUpload | None:
    """Ask the planner what a client uploads against a server that is honest but curious.

    Args:
        name: a suite.
        wire: "words" or "packed".
        clients: size of the cohort.
        parameters: coordinates of an update, encoded as the benchmark does.
        dropout: fraction that drops out.

    Returns:
        None where that is no suite, or no way for vectors to travel.
    """
    if name not in SUITE_NAMES or wire not in {form.value for form in WireForm}:
        return None
    cell = Cell(suite=name, clients=clients, parameters=parameters, dropout=dropout, wire=WireForm(wire))
    try:
        if suite(name).has_committee:
            return _under_committee(cell)
        params = plan_session(
            name,
            cohort=tuple(range(clients)),
            vector=cell.vector,
            threat=cell.threat,
            wire=cell.wire,
            nonce=bytes(NONCE_BYTES),  # nothing is held under it: sizes do not depend on it
            context=bytes(DIGEST_BYTES),
        )
        sizes = suite(name).message_sizes(params)
    except ConfigurationError as error:
        return PlannedUpload(refused=str(error))
    phases = [found for (role, _), found in sizes.items() if role is Role.CLIENT]
    return PlannedUpload(least=sum(one.least for one in phases), most=sum(one.most for one in phases))


@lru_cache(maxsize=256)
def planned_neighbours(name: str, server: str, clients: int, dropout: float) -> int | None:
    """Ask the planner with how many neighbours a client masks.

    Args:
        name: a suite.
        server: the threat model; honest but curious if that is empty.
        clients: size of the cohort.
        dropout: fraction that drops out.

    Returns:
        None where nobody masks, or no session of that size can be held.
    """
    if name not in _MASKING:
        return None
    model = ServerModel(server) if server else ServerModel.HONEST_BUT_CURIOUS
    try:
        return masking.plan(clients, ThreatModel(server=model, corrupt=CORRUPT, dropout=max(0.1, dropout))).degree
    except ConfigurationError:
        return None


def _under_committee(cell: Cell) -> PlannedUpload:
    """Of a suite with a committee: the two halves of a ciphertext in one message. Keys are not made for it."""
    setting = cell.setting()
    assert isinstance(setting, CkksSetting)  # noqa: S101 - the one suite that has a committee; for the type checker
    modulus = modulus_of(setting.epoch)
    length = cell.vector.length
    whole = modulus.polynomials(length) * modulus.degree
    size = frame_bytes(Upload(signature=b""), modulus.vector_bytes(length) + modulus.vector_bytes(whole))
    return PlannedUpload(least=size, most=size)
