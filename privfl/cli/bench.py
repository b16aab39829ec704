"""`privfl bench`: what protection costs on this machine, side by side with plain."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from privfl import __version__
from privfl.bench.cells import Cell, cells
from privfl.bench.matrix import measure
from privfl.cli.exits import Exit
from privfl.cli.tables import show
from privfl.errors import ConfigurationError
from privfl.learning.checkpoint import require_writable, write_whole
from privfl.params import MAX_COHORT, MAX_VECTOR_LENGTH, ServerModel, WireForm
from privfl.suites import SUITE_NAMES, suite

RESULTS: Final = "bench.jsonl"

T = TypeVar("T")


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "bench",
        help="measure what protection costs",
        description="Run a session for every combination, each beside `plain`, and report medians: CPU of one client "
        "and of the server, bytes of the whole cohort, the server's peak memory, and the error of the mean as a "
        "fraction of full scale: the largest, and its standard deviation beside the one that was promised.",
        epilog="example: privfl bench --suites plain,masking --clients 10,50 --parameters 1e6 --dropout 0,0.1",
    )
    parser.add_argument(
        "--suites", metavar="A,B", help="suites, separated by commas (all that are installed and fit --server)"
    )
    parser.add_argument("--clients", default="10,100", metavar="N,…", help="sizes of the cohort (10,100)")
    parser.add_argument("--parameters", default="1e5", metavar="M,…", help="lengths of the vector (1e5)")
    parser.add_argument("--dropout", default="0,0.1", metavar="D,…", help="fractions that vanish (0,0.1)")
    parser.add_argument("--wire", default="words", metavar="W,…", help="how vectors travel: words, packed (words)")
    parser.add_argument(
        "--server", default="honest-but-curious", choices=[model.value for model in ServerModel], help="threat model"
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="sessions per combination (5)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (1)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where {RESULTS} goes")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of the table")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    if options.repeat < 1 or options.workers < 1:
        raise ConfigurationError("--repeat and --workers start at 1")
    matrix = cells(
        _suites(options),
        [_whole(text, "--clients", MAX_COHORT) for text in options.clients.split(",")],
        [_whole(text, "--parameters", MAX_VECTOR_LENGTH) for text in options.parameters.split(",")],
        [_number(text, "--dropout", float) for text in options.dropout.split(",")],
        wires=[_wire(text) for text in options.wire.split(",")],
        server=ServerModel(options.server),
    )
    if options.out is not None and (options.out / RESULTS).exists():
        raise ConfigurationError(f"--out {options.out} holds results already: name another directory")
    if options.out is not None:
        require_writable(options.out, "--out")
    machine = _machine()
    results = []
    progress = Console(stderr=True)
    with progress.status("starting") as status:

        def announce(cell: Cell) -> None:
            status.update(
                f"{cell.suite}, {cell.wire}: {cell.clients} clients, {cell.parameters:,} parameters, "
                f"drop-out {cell.dropout:g}"
            )

        for record in measure(matrix, repeat=options.repeat, workers=options.workers, announce=announce):
            results.append(record | {"machine": machine})
            if options.json:
                print(json.dumps(results[-1]), flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_whole(options.out / RESULTS, "".join(json.dumps(record) + "\n" for record in results).encode())
    if not options.json:
        _print_table(results)
    return Exit.GOOD


def _print_table(results: list[dict[str, Any]]) -> None:
    table = Table(
        title=f"medians of {results[0]['repeat']} sessions; × is against plain in the same run", title_justify="left"
    )
    headings = ("suite", "wire", "clients", "parameters", "drop-out", "client ms", "×", "server ms", "×",
                "upload MB each", "×", "server peak MB", "error", "std", "promised")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"suite", "wire"} else "right")
    for record in results:
        table.add_row(
            record["suite"],
            record["wire"],
            f"{record['clients']:,}",
            f"{record['parameters']:,}",
            f"{record['dropout']:g}",
            f"{1e3 * record['client_cpu_s']:.2f}",
            f"{record['client_ratio_to_plain']:.1f}",
            f"{1e3 * record['server_cpu_s']:.1f}",
            f"{record['server_ratio_to_plain']:.1f}",
            f"{record['upload_bytes_per_contributor'] / 1e6:.3f}",
            f"{record['upload_ratio_to_plain']:.3f}",
            f"{record['server_peak_bytes'] / 1e6:.1f}",
            *(
                "exact" if record[name] == 0 else f"{record[name]:.1e}"
                for name in ("max_abs_error", "error_std_of_mean", "promised_error_std_of_mean")
            ),
        )
    show(table)


def _machine() -> dict[str, str]:
    return {
        "privfl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _number(text: str, flag: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(text.strip())
    except ValueError:
        raise ConfigurationError(f"{flag} holds {text!r}: numbers separated by commas work, such as 10,100") from None


def _suites(options: argparse.Namespace) -> list[str]:
    if options.suites is not None:
        return [name.strip() for name in options.suites.split(",")]
    # A committee's suite needs an extra, and parties that follow the protocol.
    committees = find_spec("tenseal") is not None and options.server != ServerModel.ACTIVE.value
    return [name for name in SUITE_NAMES if committees or not suite(name).has_committee]


def _wire(text: str) -> WireForm:
    try:
        return WireForm(text.strip())
    except ValueError:
        raise ConfigurationError(f"--wire holds {text!r}: words, packed or both work") from None


def _whole(text: str, flag: str, largest: int) -> int:
    value = _number(text, flag, float)
    if not (value == value // 1 and 1 <= value <= largest):
        raise ConfigurationError(f"{flag} holds {text!r}: whole numbers from 1 to {largest} work")
    return int(value)
