"""What the report of a run opens with: what must not be overlooked, and the figures that matter most."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.formats import (
    format_bytes,
    format_count,
    format_percent,
    format_ratio,
    format_seconds,
)
from privfl.report.page import Banner, Fact, Tone
from privfl.report.run_content import BestModel, RunReport
from privfl.report.run_costs import PLAIN, Totals
from privfl.report.run_privacy import privacy_banner, privacy_fact
from privfl.report.run_reasons import known_lost
from privfl.report.server_view import looks_exposed
from privfl.round_metrics import RoundMetrics


def opening_banners(report: RunReport) -> tuple[Banner, ...]:
    """What must be said before everything else."""
    rows, view = report.rows, report.view
    banners = []
    bare = sum(row.suite == PLAIN for row in rows)
    if report.suite == PLAIN or bare or (view is not None and not view.protected):
        some = bare and bare < len(rows)
        banners.append(
            Banner(
                heading="Nothing was protected: the server reads every update"
                + (f" of {counted(bare, 'round')}" if some else ""),
                text="The suite `plain` sends updates as they are. It is there to compare with and to find "
                "faults with; never let it carry updates made from anyone’s private data.",
                tone=Tone.ALARM,
            )
        )
    if view is not None and looks_exposed(view):
        banners.append(
            Banner(
                heading="The words at the server follow the client’s update",
                text="They go together far more than chance explains, which a working protection does not "
                "allow. Do not rely on this run; the figures stand under What the server saw.",
                tone=Tone.ALARM,
            )
        )
    stopped = privacy_banner(report.privacy) if report.privacy is not None else None
    if stopped is not None:
        banners.append(stopped)
    warnings = [*report.warnings]
    lost = sum(row.loss is None for row in rows)
    if lost:
        warnings.append(
            f"The held-out loss was no finite number in {format_count(lost)} of {counted(len(rows), 'round')}."
        )
    if rows and all(row.aborted for row in rows):
        warnings.append("Every round was aborted: the model is the one the run began with.")
    if warnings:
        one, *more = warnings
        banners.append(
            Banner(heading="Warnings", items=tuple(warnings)) if more else Banner(heading="Warning", text=one)
        )
    if report.enough is not None:
        banners.append(_enough_banner(report, report.enough))
    return tuple(banners)


def _enough_banner(report: RunReport, enough: str) -> Banner:
    of = "" if report.planned is None else f" of {format_count(report.planned)}"
    rounds = f"{format_count(len(report.rows))}{of} round{'s'[: (report.planned or len(report.rows)) != 1]}"
    return Banner(
        heading=f"Enough after {rounds}: a good ending",
        text=f"{enough[:1].upper()}{enough[1:]}{'' if enough.endswith('.') else '.'}",
        tone=Tone.CALM,
    )


def headline(report: RunReport) -> tuple[Fact, ...]:
    """The figures that matter most; none where no round was held."""
    rows = report.rows
    if not rows:
        return ()
    last = rows[-1]
    totals = Totals.of(rows)
    aborted = sum(row.aborted for row in rows)
    facts = [
        Fact(
            label="Held-out accuracy",
            value=format_percent(last.accuracy),
            note=_accuracy_note(rows, aborted),
        ),
        Fact(
            label="Suite",
            value=report.suite,
            note="protects nothing" if report.suite == PLAIN else "what it promises: see Limits",
        ),
        Fact(
            label="Rounds",
            value=format_count(len(rows)),
            note=(f"{format_count(aborted)} aborted" if aborted else "none aborted")
            + ("; ended early: enough" if _ended_early(report) else ""),
        ),
        Fact(label="Clients", value=format_count(report.clients), note=_cohort_note(rows)),
        _dropout_fact(rows),
        Fact(
            label="Upload against plain",
            value=format_ratio(totals.upload_bytes, totals.plain_upload_bytes),
            note=_compared(format_bytes(totals.upload_bytes), format_bytes(totals.plain_upload_bytes), totals),
        ),
        Fact(
            label="Aggregation time against plain",
            value=format_ratio(totals.secure_seconds, totals.plain_seconds),
            note=_compared(format_seconds(totals.secure_seconds), format_seconds(totals.plain_seconds), totals),
        ),
    ]
    if report.best is not None:
        facts.insert(1, _best_fact(report.best))
    if report.privacy is not None:
        facts.insert(1, privacy_fact(report.privacy))
    return tuple(facts)


def _accuracy_note(rows: Sequence[RoundMetrics], aborted: int) -> str:
    if aborted == len(rows):
        return "of the model that the run began with: no round released anything"
    return f"{format_percent(rows[0].accuracy)} after round {format_count(rows[0].round)}" if len(rows) > 1 else ""


def _best_fact(best: BestModel) -> Fact:
    return Fact(
        label="Best model",
        value=f"round {format_count(best.round)}",
        note=f"by {best.measure}: {best.value}; kept in {best.file}",
    )


def _ended_early(report: RunReport) -> bool:
    return report.enough is not None and (report.planned is None or len(report.rows) < report.planned)


def _compared(ours: str, theirs: str, totals: Totals) -> str:
    return f"{ours} against {theirs}" if totals.rounds else "no round was finished"


def _cohort_note(rows: tuple[RoundMetrics, ...]) -> str:
    smallest, largest = min(row.cohort for row in rows), max(row.cohort for row in rows)
    span = format_count(largest) if smallest == largest else f"{format_count(smallest)} to {format_count(largest)}"
    return f"{span} asked in each round"


def _dropout_fact(rows: tuple[RoundMetrics, ...]) -> Fact:
    lost, asked = sum(map(_lost, rows)), sum(row.cohort for row in rows)
    if not lost:
        reasons = any(row.dropped_because for row in rows)
        stayed = "out of a sum; who was lost otherwise: see Drop-outs" if reasons else "every client stayed to the end"
        return Fact(label="Drop-outs", value="0", note=stayed)
    hit, late = sum(_lost(row) > 0 for row in rows), sum(row.vanished for row in rows)
    share = format_percent(lost / asked if asked else None)
    after = f"; {format_count(late)} after the upload, which counts" if late else ""
    return Fact(
        label="Drop-outs",
        value=format_count(lost),
        note=f"{share} of those asked, in {counted(hit, 'round')}{after}",
    )


def _lost(row: RoundMetrics) -> int:
    """Clients that fell silent, sooner or later; of a round that aborted, in which nobody is in a sum, those known."""
    if row.aborted:
        return len(known_lost(row))
    return row.dropped + row.vanished


def counted(count: int, noun: str) -> str:
    """So many of something."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
