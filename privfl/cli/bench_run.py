"""`privfl bench` at work: measures, prints, and writes the report."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from privfl.bench.growth import growths
from privfl.bench.plots import write_plots
from privfl.bench.program import Program, carry_out
from privfl.bench.store import CELLS, GOALS, JOBS, Store
from privfl.cli.bench_plans import program_of
from privfl.cli.bench_table import print_cells, print_goals, print_jobs
from privfl.cli.exits import Exit
from privfl.errors import ConfigurationError, MissingExtra
from privfl.report.bench_content import BenchReport
from privfl.report.bench_report import render_bench_report

REPORT: Final = "report.html"
PLOTS: Final = "plots"


def bench(options: argparse.Namespace) -> int:
    """Measure what flags ask for; return the exit code."""
    if options.resume is None:
        typed, folder = _typed(options), options.out
        asked = program_of(options)
    else:
        store, typed = Store.resume(options.resume)
        folder = options.resume
        asked = program_of(options.parser.parse_args(typed))
    program = asked.feasible()
    if not program.steps:
        raise ConfigurationError(f"nothing is left to measure: {program.skipped[0][0]}: {program.skipped[0][1]}")
    for what, why in program.skipped:
        print(f"privfl: left out: {what}: {why}", file=sys.stderr)
    if options.resume is None:
        store = Store.begin(folder, typed)
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
    elif not options.json:
        print("no report was written: --out DIR is where it and the results go")
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
