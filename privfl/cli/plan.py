"""`privfl plan`: parameters, costs and bytes before anything runs."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from rich.table import Table

from privfl.ckks.messages import Upload
from privfl.ckks.planner import expected_contributors, flood_of, modulus_of
from privfl.cli.exits import Exit
from privfl.cli.tables import show
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError
from privfl.kahe import planner as kahe
from privfl.kahe.client import KEY_BYTES
from privfl.lockstep.sizes import frame_bytes
from privfl.masking import planner
from privfl.params import (
    DEFAULT_PRECISION,
    MAX_COHORT,
    MAX_VECTOR_LENGTH,
    NONCE_BYTES,
    CkksSetting,
    CommitteeShape,
    KaheSetting,
    MaskingSetting,
    ServerModel,
    ThreatModel,
    VectorSpec,
    WireForm,
    masking_of,
)
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.suites import SUITE_NAMES, plan_session, suite
from privfl.wire import Role


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "plan",
        help="choose parameters for a cohort and a threat model",
        description="Derive degree, threshold, ring and bytes from a threat model, before anything runs.",
        epilog="example: privfl plan --suite kahe --clients 1000 --corrupt 0.1 --dropout 0.1 --parameters 1e6",
    )
    parser.add_argument("--suite", default="kahe", choices=SUITE_NAMES, help="how vectors are summed (kahe)")
    parser.add_argument("--clients", required=True, type=int, metavar="N", help="size of the cohort")
    parser.add_argument("--corrupt", type=float, default=0.1, metavar="F", help="fraction that colludes (0.1)")
    parser.add_argument("--dropout", type=float, default=0.1, metavar="F", help="fraction that may vanish (0.1)")
    parser.add_argument("--server", default="honest-but-curious", choices=[model.value for model in ServerModel])
    parser.add_argument("--bits", type=int, default=16, metavar="B", help="bits of a quantised coordinate (16)")
    parser.add_argument(
        "--wire", default="words", choices=[form.value for form in WireForm], help="how vectors travel (words)"
    )
    parser.add_argument("--parameters", type=float, default=1e6, metavar="M", help="length of the vector (1e6)")
    parser.add_argument(
        "--committee", metavar="N,T", help="members of the committee that opens ckks sums, and how many open one (5,3)"
    )
    parser.add_argument(
        "--precision", type=float, metavar="P", help="largest error of a ckks mean, as a fraction of full scale (1e-5)"
    )
    parser.add_argument("--openings", type=int, metavar="Q", help="sums that a member helps to open under a key (16)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    if not 1 <= options.clients <= MAX_COHORT:
        raise ConfigurationError(f"--clients is {options.clients}: 1 to {MAX_COHORT} works, such as 100")
    if not 1 <= options.parameters <= MAX_VECTOR_LENGTH:
        raise ConfigurationError(f"--parameters is {options.parameters}: 1 to {MAX_VECTOR_LENGTH} works, such as 1e6")
    threat = ThreatModel(server=ServerModel(options.server), corrupt=options.corrupt, dropout=options.dropout)
    chosen = suite(options.suite)
    wire = WireForm(options.wire)
    bound = FixedPoint(clip=1.0, bits=options.bits).bound
    parameters = int(options.parameters)
    committee = _committee(options, has_one=chosen.has_committee)
    vector = VectorSpec(length=parameters, bound=bound)
    setting = chosen.setting(
        options.clients,
        threat,
        bound=bound,
        wire=wire,
        length=parameters if committee else None,
        committee=committee,
        precision=DEFAULT_PRECISION if options.precision is None else options.precision,
    )
    packed = Ring.for_sum(options.clients, bound, packed=True)
    ring = packed if wire is WireForm.PACKED and chosen.protects else Ring.for_sum(options.clients, bound)
    masks = masking_of(setting)
    error = 0.0
    if isinstance(setting, KaheSetting):
        ring = Ring(setting.modulus_bits)
        fewest = chosen.fewest_contributors(options.clients, threat)
        error = kahe.error_std(setting, options.clients, fewest) / fewest / bound
    if isinstance(setting, CkksSetting):
        ring = Ring(setting.epoch.modulus_bits)
        left = expected_contributors(options.clients, threat)
        error = chosen.error_std(setting, options.clients) / left / bound
    signed = chosen.protects and threat.server is ServerModel.ACTIVE
    quorum = planner.quorum(options.clients, threat) if signed else None
    answer: dict[str, Any] = {
        "suite": options.suite,
        "clients": options.clients,
        "parameters": parameters,
        "degree": masks.degree if masks else None,
        "threshold": masks.threshold if masks else None,
        "witnesses": quorum.witnesses if quorum else None,
        "signatures": quorum.signatures if quorum else None,
        "ring_bits": ring.bits,
        "upload_bits_per_parameter": ring.bits,
        "wire": (wire if chosen.protects else WireForm.WORDS).value,
        "vector_bytes": ring.vector_bytes(parameters),
        "key_bytes": KEY_BYTES if isinstance(setting, KaheSetting) else None,
        "upload_bytes": _upload_bytes(options.suite, options.clients, vector, threat, wire),
        "max_abs_error_of_mean": 0.5 / bound,
        "error_std_of_mean": error,
        "statistical_bits": threat.statistical_bits,
        "correctness_bits": threat.correctness_bits,
        "notes": [
            chosen.security_note,
            *_tolerates(masks, options.clients, threat),
            *_packing(setting, ring, packed),
        ],
    }
    if isinstance(setting, CkksSetting):
        answer |= _ckks(setting, parameters, options.clients)
    if options.json:
        print(json.dumps(answer))
        return Exit.GOOD
    table = Table(title=f"{options.suite} for {options.clients} clients", title_justify="left", show_header=False)
    for key, value in answer.items():
        if key != "notes" and value is not None:
            table.add_row(
                key.replace("_", " "),
                f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value,
            )
    show(table)
    for note in answer["notes"]:
        print(f"- {note}")
    return Exit.GOOD


def _upload_bytes(name: str, clients: int, vector: VectorSpec, threat: ThreatModel, wire: WireForm) -> int | None:
    """What a client sends in all phases, where nobody drops out: the vector, keys and shares; None if unknown."""
    if suite(name).has_committee or (suite(name).protects and threat.server is ServerModel.ACTIVE):
        return None
    params = plan_session(
        name,
        cohort=tuple(range(clients)),
        vector=vector,
        threat=threat,
        wire=wire,
        nonce=bytes(NONCE_BYTES),  # no session is held under it: sizes do not depend on it
        context=bytes(DIGEST_BYTES),
    )
    return sum(size.most for (role, _), size in suite(name).message_sizes(params).items() if role is Role.CLIENT)


def _ckks(setting: CkksSetting, parameters: int, clients: int) -> dict[str, Any]:
    """What `ckks` has to say beside the others, and what it says otherwise."""
    epoch, shape = setting.epoch, setting.epoch.committee
    modulus = modulus_of(epoch)
    whole = modulus.polynomials(parameters) * modulus.degree
    vector_bytes = modulus.vector_bytes(parameters) + modulus.vector_bytes(whole)
    flood = math.log2(flood_of(epoch).std)
    opens = "one member opens" if shape.threshold == 1 else f"{shape.threshold} members together open"
    return {
        "threshold": shape.threshold,
        "committee": shape.members,
        "openings": shape.openings,
        "poly_modulus_degree": epoch.degree,
        "modulus_bits": 2 * epoch.modulus_bits,
        "scale_bits": setting.scale_bits,
        "flood_std_bits": flood,
        "upload_bits_per_parameter": 4 * epoch.modulus_bits,
        "wire": WireForm.PACKED.value,
        "vector_bytes": vector_bytes,
        "upload_bytes": frame_bytes(Upload(signature=b""), vector_bytes),
        "committee_download_bytes": modulus.vector_bytes(whole),
        "committee_upload_bytes": modulus.vector_bytes(parameters),
        "statistical_bits": epoch.statistical_bits,
        "notes": [
            suite("ckks").security_note,
            f"Of {shape.members} members {opens} a sum; after {shape.openings} openings they want another key.",
            f"Clients may vanish at any time, and {shape.members - shape.threshold} members before the set is fixed.",
            "A member that vanishes after that aborts the session.",
            *(["A committee of one is a decryptor service: it could open single updates."] * (shape.members == 1)),
            f"The key holds for sessions of up to {clients} clients and {epoch.length:,} coordinates.",
        ],
    }


def _committee(options: argparse.Namespace, *, has_one: bool) -> CommitteeShape | None:
    if not has_one:
        if (options.committee, options.openings, options.precision) != (None, None, None):
            raise ConfigurationError(
                f"suite {options.suite!r} has no committee: leave out --committee, --openings and --precision, or take "
                f"--suite ckks"
            )
        return None
    shape = CommitteeShape()
    members, threshold = shape.members, shape.threshold
    if options.committee is not None:
        try:
            members, threshold = (int(part) for part in options.committee.split(","))
        except ValueError:
            raise ConfigurationError(
                f"--committee is {options.committee!r}: members and threshold work, such as 5,3"
            ) from None
    openings = shape.openings if options.openings is None else options.openings
    return CommitteeShape(members=members, threshold=threshold, openings=openings)


def _packing(setting: object, ring: Ring, packed: Ring) -> list[str]:
    if not isinstance(setting, MaskingSetting) or ring.bits <= packed.bits:
        return []
    return [f"--wire packed would send {packed.bits} bits for each parameter instead of {ring.bits}."]


def _tolerates(setting: MaskingSetting | None, clients: int, threat: ThreatModel) -> list[str]:
    if setting is None:
        return []
    privacy = (
        f"Each client masks with {setting.degree} neighbours; the server and {setting.threshold - 1} of them together "
        f"learn nothing about its vector, and a sum is opened with {setting.threshold} of each client's."
    )
    notes = [privacy]
    if threat.server is ServerModel.ACTIVE:
        quorum = planner.quorum(clients, threat)
        notes.append(
            f"The server may lie: keys are signed under a roster, and nobody unmasks before {quorum.signatures} of "
            f"{quorum.witnesses} witnesses have signed the same sets of participants and survivors."
        )
    if setting.degree == clients - 1:
        spare = clients - 1 - setting.threshold
        notes.append(
            f"Up to {spare} clients may vanish, and the sum over the uploads that arrived is still released."
            if spare
            else "No client may vanish: one drop-out aborts the round."
        )
    return notes
