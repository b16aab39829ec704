"""The report of a benchmark: which suite, at what cost, and all that the answer rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from privfl.report.bench_content import BenchReport
from privfl.report.bench_costs import cost_sections
from privfl.report.bench_goals import goals_section
from privfl.report.bench_growth import growth_sections
from privfl.report.bench_jobs import job_sections
from privfl.report.bench_peers import peers_section
from privfl.report.bench_privacy import privacy_section
from privfl.report.bench_records import CellRecord, GoalRecord, JobRecord, cell_records, goal_records, job_records
from privfl.report.bench_rest import cells_section, rerun_section, skipped_section
from privfl.report.bench_verdict import headline, standfirst, verdict_section
from privfl.report.formats import UNSEEN, format_count
from privfl.report.page import Banner, Page, render_page

_COMPARED: Final = ("privfl", "python", "numpy", "processor", "cores")
"""What must be alike for times to be compared: a run may go on the next day, and peers have versions of their own."""


def render_bench_report(report: BenchReport) -> str:
    """The report as one self-contained HTML file.

    Args:
        report: what to show. Sections without records are left out; a report without any is in order.

    Returns:
        The file's text.

    Raises:
        ConfigurationError: a record lacks what it cannot do without, or holds a value of another kind; names it.

    Guarantees:
        1. It loads nothing from anywhere and runs no script.
        2. Every text of `report` is escaped; characters that nobody sees are replaced.
        3. It depends on `report` alone: equal reports give equal bytes.
        4. Every goal stands in the section Goals, reached or not by its own figures, whatever its record says of that.
        5. Every sentence of the opening section follows from the records; none is there without a measurement.
        6. Every cell stands in the section All cells, and everything skipped in its own, with the reason.
    """
    cells, goals, jobs = cell_records(report.cells), goal_records(report.goals), job_records(report.jobs)
    told = [*(one.machine for one in cells), *(one.machine for one in goals), *(one.machine for one in jobs)]
    machines = [one for one in told if one]
    machine = report.machine or next(iter(machines), {})
    others = sum(_lasting(one) != _lasting(machine) for one in machines)
    sections = (
        verdict_section(cells),
        peers_section(cells),
        goals_section(goals),
        *job_sections(jobs),
        *growth_sections(report.growth),
        *cost_sections(cells),
        privacy_section(cells),
        cells_section(cells),
        skipped_section(report.skipped),
        rerun_section(report.command, machine, others),
    )
    page = Page(
        title="What protection costs",
        kicker="privfl bench: secure aggregation, side by side with plain",
        subtitle=_subtitle(cells, goals, jobs, machine),
        standfirst=standfirst(cells),
        facts=headline(cells, goals),
        banners=() if cells or goals or jobs else (Banner(heading="Nothing was measured"),),
        sections=tuple(section for section in sections if section is not None),
    )
    return UNSEEN.sub("\ufffd", render_page(page))


def _subtitle(
    cells: Sequence[CellRecord], goals: Sequence[GoalRecord], jobs: Sequence[JobRecord], machine: Mapping[str, Any]
) -> str:
    counted = [
        f"{format_count(len(records))} {name}{'' if len(records) == 1 else 's'}"
        for records, name in ((cells, "cell"), (goals, "goal"), (jobs, "training job"))
        if records
    ]
    where = f" on {machine['processor']}" if machine.get("processor") else ""
    when = f", {machine['date']}" if machine.get("date") else ""
    return f"{', '.join(counted)}{where}{when}" if counted else ""


def _lasting(machine: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(machine[name]) for name in _COMPARED if name in machine}
