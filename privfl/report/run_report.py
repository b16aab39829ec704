"""The report of a run: what was learned, what protection cost, and what the server saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privfl.report.formats import (
    format_bytes,
    format_count,
    format_percent,
    format_ratio,
    format_seconds,
)
from privfl.report.page import (
    Banner,
    Fact,
    Page,
    Section,
    Tone,
    definitions_block,
    listing_block,
    note_block,
    notes_block,
    render_page,
)
from privfl.report.privacy_claim import PrivacyCharge, RunPrivacy
from privfl.report.run_costs import PLAIN, Totals, cost_section
from privfl.report.run_privacy import privacy_banner, privacy_fact, privacy_section
from privfl.report.run_rounds import RoundRow, learning_section, rounds_section
from privfl.report.server_panel import server_view_section
from privfl.report.server_view import ServerView, looks_exposed

__all__ = ["PrivacyCharge", "RoundRow", "RunPrivacy", "RunReport", "ServerView", "render_run_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """All that the report of a run says. Texts may mark code with `` `backticks` ``.

    Attributes:
        title: of the page.
        suite: the suite of the job.
        job_text: the job, TOML.
        data_name: the data set.
        clients: clients in the federation.
        model: the model, in a word or two.
        parameters: its parameters.
        rows: the rounds, ascending; may be empty.
        view: one client's update beside what the server got; None where none was kept.
        warnings: sentences for the top of the page, such as one on many clipped coordinates.
        security_notes: sentences; the first names the suite's threat model and opens the page.
        facts: (name, value) of the session: threshold, degree, ring bits, versions.
        command: what was typed.
        privacy: the claim of differential privacy and what the ledger holds; None where no noise was added.
    """

    title: str
    suite: str
    job_text: str
    data_name: str
    clients: int
    model: str
    parameters: int
    rows: tuple[RoundRow, ...]
    view: ServerView | None
    warnings: tuple[str, ...]
    security_notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    privacy: RunPrivacy | None = None


def render_run_report(report: RunReport) -> str:
    """The report as one self-contained HTML file.

    Args:
        report: what to show. A run without rounds, aborted rounds and a loss that is no number are in order.

    Returns:
        The file's text.

    Guarantees:
        1. It loads nothing from anywhere and runs no script.
        2. Every text of `report` is escaped.
        3. It depends on `report` alone: equal reports give equal bytes.
        4. A run under `plain`, or a view that is not protected, opens with an alarm; differential privacy is no excuse.
        5. Every round that was charged stands in the table of the section Privacy, whether or not it released anything.
        6. A run that its budget ended opens with a banner that says so.
    """
    rows, privacy = report.rows, report.privacy
    sections = [learning_section(rows)]
    if privacy is not None:
        sections.append(privacy_section(privacy, rows))
    if rows:
        sections += [rounds_section(rows), cost_section(rows, report.suite)]
    if report.view is not None:
        sections.append(server_view_section(report.view))
    page = Page(
        title=report.title,
        kicker="privfl run: federated learning with secure aggregation"
        + (" and differential privacy" if privacy is not None else ""),
        subtitle=f"{report.model} with {_counted(report.parameters, 'parameter')}, trained on {report.data_name} "
        f"at {_counted(report.clients, 'client')}, suite {report.suite}",
        standfirst=report.security_notes[0] if report.security_notes else "",
        facts=_headline(report),
        banners=_banners(report),
        sections=(*sections, _limits_section(report), _rerun_section(report)),
    )
    return render_page(page)


def _banners(report: RunReport) -> tuple[Banner, ...]:
    rows, view = report.rows, report.view
    banners = []
    bare = sum(row.suite == PLAIN for row in rows)
    if report.suite == PLAIN or bare or (view is not None and not view.protected):
        some = bare and bare < len(rows)
        banners.append(
            Banner(
                heading="Nothing was protected: the server reads every update"
                + (f" of {_counted(bare, 'round')}" if some else ""),
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
    lost = sum(not math.isfinite(row.loss) for row in rows)
    if lost:
        warnings.append(
            f"The held-out loss was no finite number in {format_count(lost)} of {_counted(len(rows), 'round')}."
        )
    if rows and all(row.aborted for row in rows):
        warnings.append("Every round was aborted: the model is the one the run began with.")
    if warnings:
        one, *more = warnings
        banners.append(
            Banner(heading="Warnings", items=tuple(warnings)) if more else Banner(heading="Warning", text=one)
        )
    return tuple(banners)


def _headline(report: RunReport) -> tuple[Fact, ...]:
    rows = report.rows
    if not rows:
        return ()
    first, last = rows[0], rows[-1]
    totals = Totals.of(rows)
    aborted = sum(row.aborted for row in rows)
    facts = [
        Fact(
            label="Held-out accuracy",
            value=format_percent(last.accuracy),
            note=f"{format_percent(first.accuracy)} after round {format_count(first.round)}" if len(rows) > 1 else "",
        ),
        Fact(
            label="Suite",
            value=report.suite,
            note="protects nothing" if report.suite == PLAIN else "what it promises: see Limits",
        ),
        Fact(
            label="Rounds",
            value=format_count(len(rows)),
            note=f"{format_count(aborted)} aborted" if aborted else "none aborted",
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
    if report.privacy is not None:
        facts.insert(1, privacy_fact(report.privacy))
    return tuple(facts)


def _compared(ours: str, theirs: str, totals: Totals) -> str:
    return f"{ours} against {theirs}" if totals.rounds else "no round was finished"


def _cohort_note(rows: tuple[RoundRow, ...]) -> str:
    smallest, largest = min(row.cohort for row in rows), max(row.cohort for row in rows)
    span = format_count(largest) if smallest == largest else f"{format_count(smallest)} to {format_count(largest)}"
    return f"{span} asked in each round"


def _dropout_fact(rows: tuple[RoundRow, ...]) -> Fact:
    dropped, asked = sum(row.dropped for row in rows), sum(row.cohort for row in rows)
    if not dropped:
        return Fact(label="Drop-outs", value="0", note="every client stayed to the end")
    hit = sum(row.dropped > 0 for row in rows)
    share = format_percent(dropped / asked if asked else None)
    return Fact(
        label="Drop-outs",
        value=format_count(dropped),
        note=f"{share} of those asked, in {_counted(hit, 'round')}",
    )


def _limits_section(report: RunReport) -> Section:
    notes = report.security_notes
    block = notes_block(notes) if notes else note_block("No security notes came with this run.")
    return Section(
        key="limits",
        heading="Limits",
        lead="What the protection promises, on what it rests, and where it ends.",
        blocks=(block,),
    )


def _rerun_section(report: RunReport) -> Section:
    blocks = [listing_block("The command", report.command)] if report.command.strip() else []
    if report.job_text.strip():
        blocks.append(listing_block("The job, as TOML", report.job_text.strip("\n")))
    if report.facts:
        blocks.append(definitions_block(report.facts))
    return Section(key="rerun", heading="Run it again", blocks=tuple(blocks))


def _counted(count: int, noun: str) -> str:
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
