"""`privfl run`: train a model across clients whose updates the server cannot read."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from privfl.cli.exits import Exit
from privfl.cli.run_answer import print_summary, summary_of
from privfl.cli.run_live import Watcher
from privfl.cli.run_page import write_report
from privfl.cli.run_privacy import told_of
from privfl.errors import ConfigurationError
from privfl.guard import make_folder
from privfl.learning.checkpoint import write_whole
from privfl.learning.job import Job, load_job
from privfl.learning.own_code import is_own
from privfl.learning.paperwork import JOB
from privfl.learning.rounds import FederatedRun
from privfl.primitives.signatures import Identity

CODE_PATH: Final = "code_path.json"
"""File of a run whose job names functions: the folders that they were looked for in, behind those of Python."""
_MOST_FOLDERS: Final = 2


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
    identity = None if options.identity is None else _identity(options.identity)
    run, out = _open(options, watcher, identity)
    watcher.begin(run)
    try:
        with watcher, _remembered(run.job, options, out):
            for metrics in run:
                watcher.round_done(metrics)
    except KeyboardInterrupt:
        resumable = run.metrics or run.books is not None
        goes_on = f"privfl run --resume {shlex.quote(str(out))} goes on" if resumable else "no round was done yet"
        print(f"privfl: interrupted; {goes_on}", file=sys.stderr)
        return Exit.INTERRUPTED
    told = told_of(run, out, None if identity is None else identity.public)
    report = write_report(run, out, told)
    summary = summary_of(run, out, report, told)
    if options.json:
        print(json.dumps(summary))
    else:
        print_summary(run, summary)
    released = sum(not row.aborted for row in run.metrics)
    if not released:
        return Exit.BAD
    return Exit.GOOD if released == len(run.metrics) and run.stopped is None else Exit.INCONCLUSIVE


def _open(options: argparse.Namespace, watcher: Watcher, identity: Identity | None) -> tuple[FederatedRun, Path]:
    if options.workers < 1:
        raise ConfigurationError(f"--workers is {options.workers}: 1 or more works")
    if options.resume is not None:
        if options.job is not None or options.overrides or options.out is not None:
            raise ConfigurationError("--resume DIR goes on with the job in DIR: give no job, --set or --out beside it")
        return _resumed(options, watcher, identity), options.resume
    if options.job is None:
        raise ConfigurationError("run needs a job file, such as examples/hospitals.toml, or --resume DIR")
    _make_importable(*_folders(options))
    job = load_job(options.job, options.overrides)
    out = options.out or _next_free(Path("runs") / options.job.stem)
    run = FederatedRun(job, out=out, observe=watcher.observe, workers=options.workers, identity=identity)
    return run, out


def _resumed(options: argparse.Namespace, watcher: Watcher, identity: Identity | None) -> FederatedRun:
    folders = _read_folders(options.resume / CODE_PATH)
    _make_importable(*folders, Path.cwd())
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


def _folders(options: argparse.Namespace) -> tuple[Path, Path]:
    return options.job.resolve().parent, Path.cwd()


@contextmanager
def _remembered(job: Job, options: argparse.Namespace, out: Path) -> Iterator[None]:
    """Put down where a job's functions were looked for, for whoever goes on with the run; unless nothing came of it."""
    own = any(name is not None and is_own(name) for name in (job.model, job.data.name, job.data.test))
    if options.resume is not None or not own:
        yield
        return
    new = not out.exists()
    make_folder(out)
    write_whole(out / CODE_PATH, json.dumps([str(folder) for folder in _folders(options)]).encode())
    try:
        yield
    finally:
        if not (out / JOB).exists():
            (out / CODE_PATH).unlink()
            with suppress(OSError):  # somebody has put something there
                if new:
                    out.rmdir()


def _read_folders(path: Path) -> Sequence[Path]:
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError):
        named = None
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named) or len(named) > _MOST_FOLDERS:
        raise ConfigurationError(f"{path} is damaged: delete it, and go on where the job's modules are")
    return [Path(one) for one in named]


def _make_importable(*folders: Path) -> None:
    """Let a job name functions of modules beside it, or where it is run; modules that Python finds already come first.

    At the end of the path: a file that lies about in a folder is not taken for a part of Python, or of privfl.
    """
    for folder in folders:
        found = str(folder.resolve())
        if found not in sys.path:
            sys.path.append(found)


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
