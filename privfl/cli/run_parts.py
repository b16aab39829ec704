"""What the verbs share that run a job."""

from __future__ import annotations

import json
from pathlib import Path

from privfl.cli.exits import Exit
from privfl.cli.run_answer import print_summary, summary_of
from privfl.cli.run_page import write_report
from privfl.cli.run_privacy import told_of
from privfl.errors import ConfigurationError
from privfl.learning.rounds import FederatedRun
from privfl.primitives.signatures import Identity


def concluded(run: FederatedRun, out: Path, identity: Identity | None, *, as_json: bool) -> Exit:
    """Write the report of a run that is over, and say what came of it.

    Args:
        run: the run.
        out: its directory.
        identity: of the coordinator, if one was given.
        as_json: whether one JSON object is printed instead of a table.
    """
    told = told_of(run, out, None if identity is None else identity.public)
    report = write_report(run, out, told)
    summary = summary_of(run, out, report, told)
    if as_json:
        print(json.dumps(summary))
    else:
        print_summary(run, summary)
    released = sum(not row.aborted for row in run.metrics)
    if not released:
        return Exit.BAD
    return Exit.GOOD if released == len(run.metrics) and run.stopped is None else Exit.INCONCLUSIVE


def identity_at(path: Path, flag: str) -> Identity:
    """Read a private key.

    Raises:
        ConfigurationError: it cannot be, or is none; names the flag.
    """
    try:
        return Identity.from_pem(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{flag} {path} cannot be read: {error.strerror}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{flag} {path} is {error}") from None


def next_free(wanted: Path) -> Path:
    """Return a path at which there is nothing yet: the one that is wanted, or that with a number behind it."""
    number, path = 1, wanted
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path
