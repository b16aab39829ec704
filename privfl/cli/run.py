"""`privfl run`: train a model across clients whose updates the server cannot read."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from privfl.cli.code_path import CODE_PATH, folders_of, make_importable, read_folders, remembered
from privfl.cli.exits import Exit
from privfl.cli.run_live import Watcher
from privfl.cli.run_parts import concluded, identity_at, next_free
from privfl.errors import ConfigurationError
from privfl.learning.job import load_job
from privfl.learning.paperwork import RUN
from privfl.learning.rounds import FederatedRun
from privfl.primitives.signatures import Identity


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "run",
        help="run a federated job",
        description="Run a federated job: metrics.jsonl, evidence.jsonl, model.npz and report.html go to --out, and "
        "ledger.jsonl under differential privacy; best.npz is the best of the rounds' models. Exit 0: every round "
        "released a sum, also where the job's evaluation found that it was enough; 2: some rounds aborted, or the "
        "privacy budget ended the run early; 1: no round released anything. A job's functions, module:function, "
        "are looked for where Python looks, then beside the job file, then in the current directory, and so they are "
        "with --resume.",
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
    watcher = Watcher(quiet=options.json)
    identity = None if options.identity is None else identity_at(options.identity, "--identity")
    run, out = _open(options, watcher, identity)
    watcher.begin(run)
    try:
        with watcher, remembered(run.job, None if options.resume else folders_of(options.job), out):
            for metrics in run:
                watcher.round_done(metrics)
    except KeyboardInterrupt:
        resumable = run.metrics or run.books is not None
        goes_on = f"privfl run --resume {shlex.quote(str(out))} goes on" if resumable else "no round was done yet"
        print(f"privfl: interrupted; {goes_on}", file=sys.stderr)
        return Exit.INTERRUPTED
    return concluded(run, out, identity, as_json=options.json)


def _open(options: argparse.Namespace, watcher: Watcher, identity: Identity | None) -> tuple[FederatedRun, Path]:
    if options.workers < 1:
        raise ConfigurationError(f"--workers is {options.workers}: 1 or more works")
    if options.resume is not None:
        if options.job is not None or options.overrides or options.out is not None:
            raise ConfigurationError("--resume DIR goes on with the job in DIR: give no job, --set or --out beside it")
        return _resumed(options, watcher, identity), options.resume
    if options.job is None:
        raise ConfigurationError("run needs a job file, such as examples/hospitals.toml, or --resume DIR")
    make_importable(*folders_of(options.job))
    job = load_job(options.job, options.overrides)
    out = options.out or next_free(Path("runs") / options.job.stem)
    run = FederatedRun(job, out=out, observe=watcher.observe, workers=options.workers, identity=identity)
    return run, out


def _resumed(options: argparse.Namespace, watcher: Watcher, identity: Identity | None) -> FederatedRun:
    if (options.resume / RUN).exists():
        raise ConfigurationError(
            f"--resume {options.resume} holds a run with distant clients: privfl serve --resume {options.resume} goes "
            f"on with it"
        )
    folders = read_folders(options.resume / CODE_PATH)
    make_importable(*folders, Path.cwd())
    try:
        return FederatedRun.resume(options.resume, observe=watcher.observe, workers=options.workers, identity=identity)
    except ConfigurationError as error:
        if not folders or not _is_import(error):
            raise
        raise ConfigurationError(
            f"{error}; when the run began it looked in {' and '.join(map(str, folders))}: put the module back there"
        ) from error


def _is_import(error: BaseException | None) -> bool:
    """Whether a module that is not there is behind an error."""
    return error is not None and (isinstance(error, ImportError) or _is_import(error.__cause__))
