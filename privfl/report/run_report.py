"""The report of a run: what was learned, what protection cost, and what the server saw."""

from __future__ import annotations

from privfl.report.page import (
    Page,
    Section,
    definitions_block,
    listing_block,
    note_block,
    notes_block,
    render_page,
)
from privfl.report.privacy_claim import PrivacyCharge, RunPrivacy
from privfl.report.run_content import BestModel, RunReport
from privfl.report.run_costs import cost_section
from privfl.report.run_dropouts import dropouts_section
from privfl.report.run_evaluation import evaluation_section
from privfl.report.run_opening import counted, headline, opening_banners
from privfl.report.run_privacy import privacy_section
from privfl.report.run_rounds import learning_section, rounds_section
from privfl.report.run_time import time_section
from privfl.report.run_upload import upload_section
from privfl.report.server_panel import server_view_section
from privfl.report.server_view import ServerView

__all__ = ["BestModel", "PrivacyCharge", "RunPrivacy", "RunReport", "ServerView", "render_run_report"]


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
        7. A run that ended early because more rounds were not worth their while opens with a calm banner that says why.
        8. Evaluations at the clients, a simulated clock and reasons of drop-outs have their sections where there are
           any, and none where there are none.
        9. Every reason that a round has stands in the section Drop-outs, with who it was, as far as there is room.
        10. Where a finished round says what whole updates would have weighed, the section Upload sets all that clients
           uploaded beside it, aborted rounds included; where none does, there is no such section.
    """
    page = Page(
        title=report.title,
        kicker="privfl run: federated learning with secure aggregation"
        + (" and differential privacy" if report.privacy is not None else ""),
        subtitle=f"{report.model} with {counted(report.parameters, 'parameter')}, trained on {report.data_name} "
        f"at {counted(report.clients, 'client')}, suite {report.suite}",
        standfirst=report.security_notes[0] if report.security_notes else "",
        facts=headline(report),
        banners=opening_banners(report),
        sections=_sections(report),
    )
    return render_page(page)


def _sections(report: RunReport) -> tuple[Section, ...]:
    rows, privacy = report.rows, report.privacy
    private = privacy is not None
    sections = [
        learning_section(rows),
        evaluation_section(rows, report.suite),
        None if privacy is None else privacy_section(privacy, rows),
        time_section(rows, private=private, best_round=None if report.best is None else report.best.round),
        dropouts_section(rows, private=private),
        *((rounds_section(rows),) if rows else ()),
        upload_section(rows, report.parameters),
        *((cost_section(rows, report.suite),) if rows else ()),
        None if report.view is None else server_view_section(report.view),
        _limits_section(report),
        _rerun_section(report),
    ]
    return tuple(section for section in sections if section is not None)


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
