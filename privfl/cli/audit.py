"""`privfl audit`: whether a claim of privacy holds, from what a run left behind."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from privfl.audit.examine import examine
from privfl.audit.findings import Audit, Layer, Outcome
from privfl.audit.report import is_audit_page, render_audit
from privfl.cli.exits import Exit
from privfl.cli.tables import show
from privfl.errors import ConfigurationError
from privfl.guard import make_folder
from privfl.learning.checkpoint import require_writable, write_whole
from privfl.primitives.signatures import IDENTITY_BYTES, check_identity
from privfl.report.formats import visible

_EXITS: Final = {Outcome.PASS: Exit.GOOD, Outcome.FAIL: Exit.BAD, Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE}
_SIGNS: Final = {Outcome.PASS: "ok", Outcome.FAIL: "FAIL", Outcome.INCONCLUSIVE: "?", Outcome.NOT_CLAIMED: "-"}


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "audit",
        help="check a privacy claim from what a run left behind",
        description="Check the privacy claim of a run, offline: recompute what its ledger says, compare what was done "
        "with what was written down, and attack recorded canaries. Exit 0: the claim holds as far as it can be seen; "
        "1: it does not; 2: something that would decide it is missing. Nothing is repaired and nothing is written but "
        "--report.",
        epilog="example: privfl audit runs/private_hospitals --report audit.html",
    )
    parser.add_argument("path", type=Path, metavar="RUN_DIR_OR_LEDGER", help="a run's directory, or a ledger alone")
    parser.add_argument("--delta", type=float, metavar="D", help="delta to tell epsilon at (the ledger's)")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write the audit as a page to read or print")
    parser.add_argument(
        "--signer", metavar="KEY", help="the coordinator's public key: 64 hexadecimal digits, or its .pub file"
    )
    parser.add_argument(
        "--layer",
        action="append",
        choices=[layer.value for layer in Layer],
        dest="layers",
        help="look at this layer only; may be given twice (all three)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    if options.delta is not None and not 0 < options.delta < 1:
        raise ConfigurationError(f"--delta is {options.delta:g}: above 0 and below 1 works, such as 1e-5")
    if options.report is not None:
        if options.report.is_dir():
            raise ConfigurationError(f"--report {options.report} is a directory: name a file, such as audit.html")
        if options.report.exists() and not _may_be_replaced(options.report):
            raise ConfigurationError(
                f"--report {options.report} is there, and no page of an audit: name another file, such as audit.html"
            )
        require_writable(options.report.absolute().parent, "--report")
    made = examine(
        options.path,
        signer=None if options.signer is None else _key(options.signer),
        delta=options.delta,
        layers=tuple(layer for layer in Layer if options.layers is None or layer.value in options.layers),
        command=_command(options),
    )
    if options.report is not None:
        make_folder(options.report.absolute().parent)
        write_whole(options.report, render_audit(made).encode())
    if options.json:
        print(json.dumps(made.to_json() | ({} if options.report is None else {"report": str(options.report)})))
    else:
        _show(made)
        if options.report is not None:
            print(visible(f"report: {options.report}"))
    return _EXITS[made.verdict]


def _key(text: str) -> bytes:
    path = Path(text)
    try:
        digits = path.read_text(encoding="ascii").strip() if len(text) != 2 * IDENTITY_BYTES else text
        key = bytes.fromhex(digits)
        check_identity(key)
    except (OSError, ValueError):
        raise ConfigurationError(
            f"--signer is {text!r}: the coordinator's public key works, as {2 * IDENTITY_BYTES} hexadecimal digits or "
            f"as the .pub file that `privfl identity new` wrote"
        ) from None
    return key


def _command(options: argparse.Namespace) -> str:
    words = ["privfl", "audit", str(options.path)]
    for flag, value in (("--delta", options.delta), ("--signer", options.signer)):
        words += [] if value is None else [flag, f"{value:g}" if isinstance(value, float) else value]
    for layer in options.layers or ():
        words += ["--layer", layer]
    return shlex.join(words)


def _may_be_replaced(path: Path) -> bool:
    return path.is_file() and is_audit_page(path.read_bytes())


def _show(made: Audit) -> None:
    for layer in made.layers:
        table = Table(title=f"{layer.value}: {made.of_layer(layer).value}", title_justify="left")
        table.add_column("")
        table.add_column("check")
        table.add_column("what was seen")
        for one in made.findings:
            if one.layer is layer:
                where = f" [{one.where}]" if one.where else ""
                missing = f" Missing: {one.missing}." if one.missing else ""
                table.add_row(_SIGNS[one.outcome], one.key, _plain(f"{one.detail}{where}{missing}"))
        show(table)
    if made.epsilon is not None:
        same = made.claim.epsilon is not None and made.at_delta == made.claim.delta
        claimed = f" (claimed: {made.claim.epsilon:.6g})" if same else ""
        print(
            visible(
                f"epsilon recomputed: {made.epsilon:.6g} at delta {made.at_delta:g} for one {made.claim.unit}, by "
                f"{made.reported}{claimed}"
            )
        )
    claim = made.claim
    if not claim.secure and claim.suite:
        print(visible(f"secure aggregation is OFF: suite {claim.suite} lets the server read every update"))
    if made.epsilon is None and claim.mode == "none":
        print("no differential privacy is claimed: there is no epsilon")
    print(f"verdict: {made.verdict.value}")
    # Several checks may lack the same file: that is one reason.
    reasons: dict[str, list[str]] = {}
    for one in made.reasons:
        where = f" [{one.where}]" if one.where else ""
        missing = f" Missing: {one.missing}." if one.missing else ""
        reasons.setdefault(f"{one.detail}{where}{missing}", []).append(one.key)
    for said, keys in reasons.items():
        print(visible(f"- {', '.join(keys)}: {said}"))


def _plain(said: str) -> Text:
    """What findings say may be in the words of whoever is audited: no markup, and nothing that steers a terminal."""
    return Text(visible(said))
