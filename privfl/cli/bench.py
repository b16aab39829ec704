"""`privfl bench`: what protection costs on this machine, side by side with plain."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from privfl.bench.growth import growths
from privfl.bench.plots import write_plots
from privfl.bench.program import Program, carry_out
from privfl.bench.store import CELLS, GOALS, JOBS, Store
from privfl.cli.bench_plans import NO_PEERS, program_of
from privfl.cli.bench_table import print_cells, print_goals, print_jobs
from privfl.cli.exits import Exit
from privfl.errors import ConfigurationError, MissingExtra
from privfl.params import ServerModel
from privfl.report.bench_content import BenchReport
from privfl.report.bench_report import render_bench_report

RESULTS: Final = CELLS
REPORT: Final = "report.html"
PLOTS: Final = "plots"


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "bench",
        help="measure what protection costs",
        description="Hold sessions for every combination, each in turns with `plain`, and report medians: CPU of one "
        "client and of the server, bytes of the whole cohort, memory at the peak, and the error of the mean as a "
        "fraction of full scale. --quick has an answer within a minute; --full measures everything that there is a "
        "section for in the report: growth, peers, goals, and training jobs.",
        epilog="example: privfl bench --quick; privfl bench --suites plain,masking --clients 10,50 --parameters 1e6 "
        "--dropout 0,0.1 --peers flower,nvflare --out costs",
    )
    parser.add_argument(
        "--suites", metavar="A,B", help="suites, separated by commas (all that are installed and fit --server)"
    )
    parser.add_argument("--clients", metavar="N,…", help="sizes of the cohort (10,100)")
    parser.add_argument("--parameters", metavar="M,…", help="lengths of the update (1e5)")
    parser.add_argument("--dropout", metavar="D,…", help="fractions that vanish (0,0.1)")
    parser.add_argument("--privacy", metavar="P,…", help="noise: none, client-central, client-distributed (none)")
    parser.add_argument("--wire", metavar="W,…", help="how vectors travel: words, packed (words)")
    parser.add_argument(
        "--server",
        choices=[model.value for model in ServerModel],
        help=f"threat model ({ServerModel.HONEST_BUT_CURIOUS.value})",
    )
    parser.add_argument(
        "--peers", metavar="X,…", help=f"others, measured beside: float32, flower, tenseal, nvflare, or {NO_PEERS}"
    )
    parser.add_argument("--goals", action="store_true", help="hold the project's goals against their limits")
    parser.add_argument("--jobs", action="store_true", help="run training jobs under every suite and privacy mode")
    parser.add_argument("--repeat", type=int, metavar="R", help="turns per combination, at least (5)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (1)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small matrix and all peers: a minute (--goals: small ones)",
    )
    parser.add_argument("--full", action="store_true", help="everything: half an hour on two processors")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where {CELLS}, {REPORT} and {PLOTS}/ go")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with a run that was ended")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of tables")
    parser.set_defaults(call=call, parser=parser)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    if options.resume is None:
        typed = _typed(options)
        asked = program_of(options)
        store = Store.begin(options.out, typed)
        folder = options.out
    else:
        store, typed = Store.resume(options.resume)
        folder = options.resume
        begun_with = options.parser.parse_args(typed)
        asked = program_of(begun_with)
    program = asked.feasible()
    for what, why in program.skipped:
        print(f"privfl: left out: {what}: {why}", file=sys.stderr)
    if not program.steps:
        raise ConfigurationError(f"nothing is left to measure: {program.skipped[0][0]}: {program.skipped[0][1]}")
    try:
        _measure(program, store, as_json=options.json)
    except KeyboardInterrupt:
        if folder is not None:
            print(f"privfl: interrupted; privfl bench --resume {shlex.quote(str(folder))} goes on", file=sys.stderr)
        return Exit.INTERRUPTED
    if not options.json:
        _print(store)
    if folder is not None:
        _write_report(folder, program, store, command=shlex.join(["privfl", "bench", *typed]), quiet=options.json)
    return Exit.INCONCLUSIVE if len(program.cells) < len(asked.cells) else Exit.GOOD


def _measure(program: Program, store: Store, *, as_json: bool) -> None:
    progress = Console(stderr=True)
    begun = 0
    with progress.status("starting") as status:

        def announce(what: str) -> None:
            nonlocal begun
            begun += 1
            status.update(f"{begun} of {program.steps}: {what}" if begun <= program.steps else what)

        for name, record in carry_out(program, store, announce):
            if as_json:
                # A line a cell, as it is; what is no cell says so.
                said = record if name == CELLS else {name.removesuffix("s.jsonl"): record}
                print(json.dumps(said), flush=True)


def _print(store: Store) -> None:
    for name, show in ((CELLS, print_cells), (GOALS, print_goals), (JOBS, print_jobs)):
        if store.records(name):
            show(store.records(name))


def _write_report(folder: Path, program: Program, store: Store, *, command: str, quiet: bool) -> None:
    cells = store.records(CELLS)
    report = BenchReport(
        cells=cells,
        goals=store.records(GOALS),
        jobs=store.records(JOBS),
        growth=growths(cells),
        skipped=program.skipped,
        command=command,
        machine=store.machine,
    )
    page = store.write(REPORT, render_bench_report(report).encode())
    try:
        write_plots(report, folder / PLOTS)
    except MissingExtra as missing:
        print(f"privfl: no plots: {missing}", file=sys.stderr)
    if not quiet:
        print(f"report: {page}")


def _typed(options: argparse.Namespace) -> list[str]:
    """Return the flags that say what is measured, as they can be typed again."""
    typed: list[str] = []
    for key in ("suites", "clients", "parameters", "dropout", "privacy", "wire", "server", "peers", "repeat"):
        value = getattr(options, key)
        typed += [] if value is None else [f"--{key}", str(value)]
    typed += [f"--{key}" for key in ("goals", "jobs", "quick", "full") if getattr(options, key)]
    return [*typed, "--workers", str(options.workers)]
