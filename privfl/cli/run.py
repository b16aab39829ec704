"""`privfl run`: train a model across clients whose updates the server cannot read."""

from __future__ import annotations

import argparse
import json
import math
import platform
import shlex
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from privfl import __version__
from privfl.cli.exits import Exit
from privfl.cli.privacy_notes import privacy_notes
from privfl.cli.run_privacy import (
    Told,
    privacy_json,
    privacy_warnings,
    spent_note,
    told_of,
)
from privfl.cli.tables import show
from privfl.errors import ConfigurationError
from privfl.kahe.ring import N
from privfl.learning.averaging import SATURATION_WARNING
from privfl.learning.checkpoint import write_whole
from privfl.learning.job import job_to_toml, load_job
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.records import Progress as RoundProgress
from privfl.learning.records import RoundMetrics
from privfl.learning.rounds import FederatedRun
from privfl.masking import planner
from privfl.params import CkksSetting, KaheSetting, ServerModel
from privfl.primitives.signatures import Identity
from privfl.report.run_report import RunReport, render_run_report
from privfl.report.run_rounds import RoundRow
from privfl.report.server_view import ServerView
from privfl.suites import suite

REPORT: Final = "report.html"
_ROW_FIELDS: Final = frozenset(RoundRow.__dataclass_fields__)


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "run",
        help="run a federated job",
        description="Run a federated job: metrics.jsonl, evidence.jsonl, model.npz and report.html go to --out, and "
        "ledger.jsonl under differential privacy. Exit 0: every round released a sum; 2: some rounds aborted, or the "
        "privacy budget ended the run early; 1: no round released anything.",
        epilog="example: privfl run examples/hospitals.toml --set rounds=5 --set suite=plain --out runs/plain",
    )
    parser.add_argument("job", nargs="?", type=Path, metavar="JOB.toml", help="what to train (not with --resume)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the job"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: runs/JOB, numbered)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE.pem",
        help="the coordinator's key, which signs evidence and ledger (default: a key of the run's own, kept in --out)",
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    watcher = _Watcher(quiet=options.json)
    identity = None if options.identity is None else _identity(options.identity)
    run, out = _open(options, watcher, identity)
    watcher.begin(run)
    try:
        with watcher:
            for metrics in run:
                watcher.round_done(metrics)
    except KeyboardInterrupt:
        resumable = run.metrics or run.books is not None
        goes_on = f"privfl run --resume {shlex.quote(str(out))} goes on" if resumable else "no round was done yet"
        print(f"privfl: interrupted; {goes_on}", file=sys.stderr)
        return Exit.INTERRUPTED
    told = told_of(run, out, None if identity is None else identity.public)
    report = _write_report(run, out, told)
    summary = _summary(run, out, report, told)
    if options.json:
        print(json.dumps(summary))
    else:
        _print_summary(run, summary)
    released = sum(not row.aborted for row in run.metrics)
    if not released:
        return Exit.BAD
    return Exit.GOOD if released == len(run.metrics) and run.stopped is None else Exit.INCONCLUSIVE


def _open(options: argparse.Namespace, watcher: _Watcher, identity: Identity | None) -> tuple[FederatedRun, Path]:
    if options.workers < 1:
        raise ConfigurationError(f"--workers is {options.workers}: 1 or more works")
    if options.resume is not None:
        if options.job is not None or options.overrides or options.out is not None:
            raise ConfigurationError("--resume DIR goes on with the job in DIR: give no job, --set or --out beside it")
        run = FederatedRun.resume(options.resume, observe=watcher.observe, workers=options.workers, identity=identity)
        return run, options.resume
    if options.job is None:
        raise ConfigurationError("run needs a job file, such as examples/hospitals.toml, or --resume DIR")
    job = load_job(options.job, options.overrides)
    out = options.out or _next_free(Path("runs") / options.job.stem)
    run = FederatedRun(job, out=out, observe=watcher.observe, workers=options.workers, identity=identity)
    return run, out


def _identity(path: Path) -> Identity:
    try:
        return Identity.from_pem(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--identity {path} cannot be read: {error.strerror}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"--identity {path} is {error}") from None


def _next_free(wanted: Path) -> Path:
    number, path = 1, wanted
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


class _Watcher:
    """Progress on standard error while somebody is looking."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._live = not quiet and self._console.is_terminal
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[round]}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._run: FederatedRun | None = None
        self._last = ""

    def begin(self, run: FederatedRun) -> None:
        """Say what is about to run."""
        chosen = suite(run.job.suite)
        if self._live:
            style = "green" if chosen.protects else "bold red"
            self._console.print(
                f"[bold]{run.job.data.name}[/]: {run.job.data.clients} clients, {run.model_name} of "
                f"{run.parameters:,} parameters, suite [{style}]{run.job.suite}[/]"
            )
            if run.guarantee is not None:
                self._console.print(
                    f"privacy of one {run.guarantee.unit.value}, {run.job.privacy.mode.value}: noise multiplier "
                    f"{run.guarantee.noise_multiplier:.4g}, against {run.guarantee.against}"
                )
        if not chosen.protects:
            print(f"privfl: warning: {chosen.security_note}", file=sys.stderr)
        self._run = run
        self._task = self._bar.add_task(
            run.job.suite, total=run.job.rounds, completed=len(run.metrics), round=len(run.metrics), note=""
        )

    def observe(self, progress: RoundProgress) -> None:
        """Take word of progress within a round."""
        if self._task is not None:
            within = 0.9 * progress.done / max(progress.of, 1)
            note = f"{progress.stage} {progress.done}/{progress.of} {self._last}"
            self._bar.update(self._task, completed=progress.round - 1 + within, round=progress.round, note=note)

    def round_done(self, metrics: RoundMetrics) -> None:
        """Take a finished round."""
        if metrics.aborted:
            self._last = f"round {metrics.round} aborted, nothing released"
        else:
            self._last = f"accuracy {metrics.accuracy:.3f}, {metrics.contributors}/{metrics.cohort} in the sum"
        if self._run is not None and (spent := spent_note(self._run, metrics.epsilon)):
            self._last += f", {spent}"
        if self._task is not None:
            self._bar.update(self._task, completed=metrics.round, round=metrics.round, note=self._last)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live:
            self._bar.stop()


def _warnings(run: FederatedRun, told: Told | None) -> list[str]:
    found = privacy_warnings(run, told)
    worst = max(run.metrics, key=lambda row: row.saturated_fraction or 0.0, default=None)
    if worst is not None and worst.saturated_fraction is not None and worst.saturated_fraction > SATURATION_WARNING:
        found.append(
            f"{worst.saturated_fraction:.1%} of the coordinates were clipped in round {worst.round}: encoding.clip is "
            f"{run.job.encoding.clip:g}, {worst.suggested_clip:g} would have kept nearly all of them"
        )
    reasons: dict[str, list[int]] = {}
    for row in run.metrics:
        if row.aborted:
            reasons.setdefault(row.aborted_because or "too few clients were left", []).append(row.round)
    for why, rounds in reasons.items():
        found.append(f"rounds {rounds} aborted, and nothing was released: {why}")
    return found


def _summary(run: FederatedRun, out: Path, report: Path, told: Told | None) -> dict[str, Any]:
    last = run.metrics[-1] if run.metrics else None
    released = [row for row in run.metrics if not row.aborted]
    plain_bytes = sum(row.plain_upload_bytes for row in run.metrics)
    return {
        "suite": run.job.suite,
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
        "seconds": sum(row.seconds for row in run.metrics),
        "secure_seconds": sum(row.secure_seconds for row in run.metrics),
        "warnings": [*_warnings(run, told), *([run.stopped] if run.stopped else [])],
        "out": str(out),
        "report": str(report),
        "metrics": [asdict(row) for row in run.metrics],
    }


def _print_summary(run: FederatedRun, summary: dict[str, Any]) -> None:
    table = Table(title=f"{run.job.data.name} under {run.job.suite}", title_justify="left")
    private = run.guarantee is not None
    for name in ("round", "in the sum", "dropped", "vanished later", "accuracy", "loss", "upload", "secure s"):
        table.add_column(name, justify="right")
    if private:
        table.add_column("ε so far", justify="right")
    for row in run.metrics:
        table.add_row(
            str(row.round),
            "aborted" if row.aborted else str(row.contributors),
            str(row.dropped),
            str(row.vanished),
            f"{row.accuracy:.4f}",
            "not finite" if row.loss is None else f"{row.loss:.4f}",
            f"{row.upload_bytes / 1e6:.3f} MB",
            f"{row.secure_seconds:.3f}",
            *(("∞" if row.epsilon is None else f"{row.epsilon:.3f}",) if private else ()),
        )
    if run.metrics:
        show(table)
    for warning in summary["warnings"]:
        print(f"privfl: warning: {warning}", file=sys.stderr)
    if run.metrics:
        print(
            f"held-out accuracy {summary['accuracy']:.4f} after {summary['rounds']} round{'s'[: len(run.metrics) != 1]}"
        )
    else:
        print("no round was held: the model is the one that the run began with")
    if private:
        spent = "∞" if summary["epsilon"] is None else f"{summary['epsilon']:.4g}"
        unit, budget = summary["privacy"]["unit"], summary["privacy"]["budget"]
        of = "" if budget is None else f" of {budget:g}"
        print(f"privacy spent: ε {spent}{of} at δ {summary['delta']:g} for one {unit}")
    print(f"report: {summary['report']}")


def _write_report(run: FederatedRun, out: Path, told: Told | None) -> Path:
    path = out / REPORT
    write_whole(path, render_run_report(_report(run, out, told)).encode())
    return path


def _report(run: FederatedRun, out: Path, told: Told | None) -> RunReport:
    job, chosen = run.job, suite(run.job.suite)
    view = run.view
    return RunReport(
        title=f"{job.data.name}: federated training under {job.suite}",
        suite=job.suite,
        job_text=job_to_toml(job),
        data_name=job.data.name,
        clients=job.data.clients,
        model=run.model_name,
        parameters=run.parameters,
        rows=tuple(_row(row) for row in run.metrics),
        view=None
        if view is None
        else ServerView(
            client=view.client,
            round=view.round,
            suite=job.suite,
            true_update=view.true_vector,
            received=view.received,
            ring_bits=view.ring_bits,
            protected=chosen.protects,
        ),
        warnings=tuple(_warnings(run, told)),
        security_notes=(
            _promise(run),
            *privacy_notes(run, None if told is None else told.privacy),
            "Poisoned updates are limited by clipping on honest clients, not prevented.",
        ),
        facts=_facts(run),
        command=f"privfl run {shlex.quote(str(out / 'job.toml'))} --out {shlex.quote(str(out) + '-again')}",
        privacy=None if told is None else told.privacy,
    )


def _row(metrics: RoundMetrics) -> RoundRow:
    values = {name: value for name, value in asdict(metrics).items() if name in _ROW_FIELDS}
    return RoundRow(**values | {"loss": math.nan if metrics.loss is None else metrics.loss})


def _promise(run: FederatedRun) -> str:
    setting = run.params.masking
    noise = ", noise included," if run.job.privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED else ""
    if isinstance(run.params.setting, CkksSetting):
        shape = run.params.setting.epoch.committee
        return (
            f"If everyone follows the protocol, the server learns the sum of the updates, a little noise over it, and "
            f"nothing else. To open one client's update it would need {shape.threshold} of the {shape.members} members "
            f"of the committee. This rests on the hardness of ring learning with errors as well."
        )
    if setting is None:
        return suite(run.job.suite).security_note
    degree, threshold = setting.degree, setting.threshold
    lattice = " This rests on the hardness of ring learning with errors as well." if run.job.suite == "kahe" else ""
    if run.params.threat.server is ServerModel.ACTIVE:
        quorum = planner.quorum(len(run.params.cohort), run.params.threat)
        return (
            f"Even a server that lies learns the sum of the updates{noise} and nothing else. To open one client's "
            f"update it would need the help of {threshold} of that client's {degree} neighbours, or of "
            f"{2 * quorum.signatures - quorum.witnesses} of the {quorum.witnesses} witnesses.{lattice}"
        )
    return (
        f"A server that follows the protocol learns the sum of the updates{noise} and nothing else. To open one "
        f"client's update it would need the help of {threshold} of that client's {degree} neighbours.{lattice}"
    )


def _facts(run: FederatedRun) -> tuple[tuple[str, str], ...]:
    params = run.params
    threat = params.threat
    facts = [
        ("server", threat.server.value),
        ("may collude with it", f"{threat.corrupt:g} of the clients"),
        ("may drop out", f"{threat.dropout:g} of the clients"),
        ("minimum contributors", str(params.minimum_contributors)),
    ]
    steps = "quantisation steps"
    if run.guarantee is not None and run.guarantee.integers is not None:
        steps = "whole numbers"
    else:
        facts.append(("quantisation", f"{run.job.encoding.bits} bits over ±{run.job.encoding.clip:g}"))
    if not isinstance(params.setting, CkksSetting):
        facts.append(("ring", f"{params.ring.bits} bits{', packed' if params.ring.packed else ''}"))
    if params.masking is not None:
        facts += [
            ("neighbours of a client", str(params.masking.degree)),
            ("threshold", str(params.masking.threshold)),
        ]
    if isinstance(params.setting, KaheSetting):
        clients = len(params.cohort)
        std = suite(run.job.suite).error_std(params.setting, clients)
        facts += [
            ("one-time keys", f"{N:,} coefficients, ciphertexts modulo 2^{params.setting.modulus_bits}"),
            ("error of a sum", f"{std:.3g} {steps} (standard deviation)" if std else "none: exact"),
        ]
    if isinstance(params.setting, CkksSetting):
        epoch, std = params.setting.epoch, suite(run.job.suite).error_std(params.setting, len(params.cohort))
        facts += [
            ("committee", f"{epoch.committee.threshold} of {epoch.committee.members} members open a sum"),
            ("ciphertexts", f"N = {epoch.degree:,}, two primes of {epoch.modulus_bits} bits"),
            ("openings under one key", f"{epoch.committee.openings} by each member, then the committee makes another"),
            (
                "what opened sums tell of the key",
                f"{epoch.statistical_bits} bits (a distance of 2^−{epoch.statistical_bits // 2 + 3})",
            ),
            ("error of a sum", f"{std:.3g} {steps} (standard deviation)" if std else "none: exact"),
        ]
    facts += [("privfl", __version__), ("Python", platform.python_version())]
    for package in ("numpy", "cryptography", "torch", "tenseal", "dp-accounting", "opacus"):
        try:
            facts.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(facts)
