"""The report of `privfl run`: what a run that is over says of itself, as a page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from privfl.cli.privacy_notes import privacy_notes
from privfl.cli.run_facts import best_words, promise, run_facts
from privfl.cli.run_privacy import Told
from privfl.cli.run_warnings import warnings_of
from privfl.learning.checkpoint import write_whole
from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.job import job_to_toml
from privfl.learning.rounds import BEST, FederatedRun
from privfl.report.run_content import BestModel, RunReport
from privfl.report.run_report import render_run_report
from privfl.report.server_view import ServerView
from privfl.suites import suite

REPORT: Final = "report.html"


def write_report(run: FederatedRun, out: Path, told: Told | None) -> Path:
    """Write the report of a run into its directory; return where it is."""
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
        rows=tuple(run.metrics),
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
        warnings=tuple(warnings_of(run, told)),
        security_notes=(
            promise(run),
            *privacy_notes(run, None if told is None else told.privacy),
            "Poisoned updates are limited by clipping on honest clients, not prevented.",
        ),
        facts=run_facts(run),
        command=f"privfl run {shlex.quote(str(out / 'job.toml'))} --out {shlex.quote(str(out) + '-again')}",
        privacy=None if told is None else told.privacy,
        enough=run.enough,
        planned=job.rounds,
        best=_best(run),
    )


def _best(run: FederatedRun) -> BestModel | None:
    """The best model, where the job has its own idea of what is good, or of when it is enough."""
    words = best_words(run)
    if words is None or run.best.best_round is None or run.job.evaluation == EvaluationJob():
        return None
    measure, value = words
    return BestModel(round=run.best.best_round, measure=measure, value=value, file=BEST)
