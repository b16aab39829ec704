"""Progress of `privfl run` on standard error while somebody is looking."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from privfl.cli.run_facts import strategy_words
from privfl.cli.run_privacy import drowned, spent_note
from privfl.learning.records import Progress as RoundProgress
from privfl.learning.rounds import FederatedRun
from privfl.learning.strategy_job import StrategyName
from privfl.report.formats import format_seconds
from privfl.round_metrics import RoundMetrics
from privfl.suites import suite


class Watcher:
    """Tells of a run: a bar on a terminal, one line ahead of it; nothing but warnings elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
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
            if run.job.strategy.kind is not StrategyName.FEDAVG:
                self._console.print(
                    f"strategy {strategy_words(run.job.strategy, run.job.data.clients)}", highlight=False
                )
            if run.guarantee is not None:
                self._console.print(
                    f"privacy of one {run.guarantee.unit.value}, {run.job.privacy.mode.value}: noise multiplier "
                    f"{run.guarantee.noise_multiplier:.4g}, against {run.guarantee.against}"
                )
        if not chosen.protects:
            print(f"privfl: warning: {chosen.security_note}", file=sys.stderr)
        if not self._quiet and (noise := drowned(run)) is not None:  # with --json it is among the warnings
            print(f"privfl: warning: {noise}", file=sys.stderr)
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
        if metrics.federated_accuracy is not None and metrics.worst_client_accuracy is not None:
            worst = metrics.worst_client_accuracy
            self._last += f", at the clients {metrics.federated_accuracy:.3f}, at least {worst:.2f}"
        if metrics.simulated_clock is not None:
            self._last += f", simulated {format_seconds(metrics.simulated_clock)}"
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
