"""What `privfl run` answers: one JSON object, or a table with what must be said around it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from privfl.cli.run_facts import best_words, int8_words
from privfl.cli.run_privacy import Told, privacy_json
from privfl.cli.run_warnings import warnings_of
from privfl.cli.tables import show
from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.int8 import Int8Evaluation
from privfl.learning.paperwork import finite
from privfl.learning.rounds import BEST, FederatedRun
from privfl.report.formats import format_bytes, format_seconds
from privfl.report.run_reasons import tallies
from privfl.report.run_upload import Uploaded, ratio_words
from privfl.suites import suite

_NEWS_BELOW: Final = 0.9  # a ratio to float32 that is worth a line, whatever the job says


def summary_of(run: FederatedRun, out: Path, report: Path, told: Told | None) -> dict[str, Any]:
    """The answer of `--json`: what does not apply to a run is there, and null."""
    last = run.metrics[-1] if run.metrics else None
    released = [row for row in run.metrics if not row.aborted]
    plain_bytes = sum(row.plain_upload_bytes for row in run.metrics)
    return {
        "suite": run.job.suite,
        "strategy": run.job.strategy.kind.value,
        "protected": suite(run.job.suite).protects,
        "rounds": len(run.metrics),
        "released": len(released),
        "clients": run.job.data.clients,
        "parameters": run.parameters,
        "accuracy": last.accuracy if last else None,
        "loss": last.loss if last else None,
        **privacy_json(run, told),
        "upload_bytes": sum(row.upload_bytes for row in run.metrics),
        "upload_ratio_to_plain": sum(row.upload_bytes for row in run.metrics) / plain_bytes if plain_bytes else None,
        "upload_ratio_to_float32": Uploaded.of(run.metrics).ratio,
        "best_round": run.best.best_round,
        "int8": None if (int8 := run.evaluate_int8()) is None else _int8_json(int8),
        "enough": run.enough,
        "simulated_seconds": _simulated_s(run),
        "seconds": sum(row.seconds for row in run.metrics),
        "secure_seconds": sum(row.secure_seconds for row in run.metrics),
        "warnings": [*warnings_of(run, told), *([run.stopped] if run.stopped else [])],
        "out": str(out),
        "report": str(report),
        "metrics": [asdict(row) for row in run.metrics],
    }


def _int8_json(int8: Int8Evaluation) -> dict[str, Any]:
    """What is said of a model with weights of 8-bit integers."""
    return {
        "accuracy": int8.evaluation.accuracy,
        "loss": finite(int8.evaluation.loss),
        "bytes": int8.size_bytes,
        "float32_bytes": int8.float32_bytes,
    }


def print_summary(run: FederatedRun, summary: dict[str, Any]) -> None:
    """Print a table of the rounds, warnings and the outcome."""
    private = run.guarantee is not None
    table = Table(title=f"{run.job.data.name} under {run.job.suite}", title_justify="left")
    columns = _columns(run)
    for name in columns:
        table.add_column(name, justify="right")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    if run.metrics:
        show(table)
    for warning in summary["warnings"]:
        print(f"privfl: warning: {warning}", file=sys.stderr)
    if run.metrics:
        print(
            f"held-out accuracy {summary['accuracy']:.4f} after {summary['rounds']} round{'s'[: len(run.metrics) != 1]}"
        )
        _print_more(run, summary)
    else:
        print("no round was held: the model is the one that the run began with")
    if private:
        spent = "∞" if summary["epsilon"] is None else f"{summary['epsilon']:.4g}"
        unit, budget = summary["privacy"]["unit"], summary["privacy"]["budget"]
        of = "" if budget is None else f" of {budget:g}"
        print(f"privacy spent: ε {spent}{of} at δ {summary['delta']:g} for one {unit}")
    print(f"report: {summary['report']}")


def _columns(run: FederatedRun) -> dict[str, list[str]]:
    """Headings and cells of the table; of what a run has nothing of, there is no column."""
    rows = run.metrics
    columns = {
        "round": [str(row.round) for row in rows],
        "in the sum": ["aborted" if row.aborted else str(row.contributors) for row in rows],
        "dropped": [str(row.dropped) for row in rows],
        "vanished later": [str(row.vanished) for row in rows],
        "accuracy": [f"{row.accuracy:.4f}" for row in rows],
        "loss": ["not finite" if row.loss is None else f"{row.loss:.4f}" for row in rows],
        "upload": [f"{row.upload_bytes / 1e6:.3f} MB" for row in rows],
        "secure s": [f"{row.secure_seconds:.3f}" for row in rows],
    }
    if run.guarantee is not None:
        columns["ε so far"] = ["∞" if row.epsilon is None else f"{row.epsilon:.3f}" for row in rows]
    if any(row.federated_accuracy is not None for row in rows):
        columns["at the clients"] = [_or_nothing(row.federated_accuracy, 4) for row in rows]
        columns["worst client ≥"] = [_or_nothing(row.worst_client_accuracy, 3) for row in rows]
    if any(row.staleness is not None for row in rows):
        columns["staleness"] = [_or_nothing(row.staleness, 2) for row in rows]
    if run.fleet is not None:
        columns["simulated clock"] = [format_seconds(row.simulated_clock) for row in rows]
    return columns


def _print_more(run: FederatedRun, summary: dict[str, Any]) -> None:
    """What runs have that use more than rounds of everybody."""
    words = best_words(run)
    if words is not None and run.job.evaluation != EvaluationJob():
        measure, value = words
        print(f"best model: {BEST}, of round {summary['best_round']}, by {measure}: {value}")
    if run.enough is not None:
        print(f"enough after {summary['rounds']} of {run.job.rounds} rounds: {run.enough}")
    lost = [f"{tally.reason} {tally.times}" for tally in tallies(run.metrics)]
    if lost:
        print(f"clients lost, counted once a round: {', '.join(lost)}")
    if (int8 := run.evaluate_int8()) is not None:
        print(f"with weights of 8-bit integers: {int8_words(int8)}")
    if (uploaded := _upload_words(run)) is not None:
        print(uploaded)
    if summary["simulated_seconds"] is not None:
        print(
            f"simulated: {format_seconds(summary['simulated_seconds'])} on the clients' clock; measured: "
            f"{format_seconds(summary['seconds'])} on this machine"
        )


def _upload_words(run: FederatedRun) -> str | None:
    """What uploads weighed beside float32, where that is news and something came of them."""
    sums = Uploaded.of(run.metrics)
    if sums.ratio is None or all(row.aborted for row in run.metrics):
        return None
    if not run.job.compression.compresses and sums.ratio >= _NEWS_BELOW:
        return None
    return (
        f"uploaded: {format_bytes(sums.upload_bytes)}, keys and shares included; the same updates whole, as float32: "
        f"{format_bytes(sums.float32_bytes)}; {ratio_words(sums.ratio)}"
    )


def _simulated_s(run: FederatedRun) -> float | None:
    return run.metrics[-1].simulated_clock if run.metrics else None


def _or_nothing(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
