"""Training jobs, each under every suite and privacy mode: time, bytes, accuracy and ε."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from privfl.report.bench_records import NO_PRIVACY, JobRecord
from privfl.report.bench_words import listed, megabytes, spread_words
from privfl.report.charts import Bar, BarChart, bar_chart
from privfl.report.charts.axes import MOST_SERIES
from privfl.report.charts.scatter import ScatterChart, ScatterPoint, scatter_chart
from privfl.report.formats import (
    MISSING,
    format_bytes,
    format_count,
    format_number,
    format_percent,
    format_probability,
    format_ratio,
    format_seconds,
)
from privfl.report.page import Column, Figure, Row, Section, Table, Tone, figures_block, notes_block, table_block

Named: TypeAlias = Sequence[tuple[str, JobRecord]]
"""The lines of one job, each with what tells it from the others."""


def job_sections(jobs: Sequence[JobRecord]) -> list[Section]:
    """For each job a table, what it says, and accuracy against ε against bytes."""
    sections = []
    for number, (name, named) in enumerate(by_job(jobs).items(), start=1):
        key = "jobs" if number == 1 else f"jobs-{number}"
        told = reading(named)
        drawn = [one for one in (_figure(named, key), _rounds(named, key)) if one is not None]
        sections.append(
            Section(
                key=key,
                heading=f"A whole training job: {name}" if name else "A whole training job",
                lead=_lead([one for _, one in named]),
                blocks=(
                    *([figures_block(*drawn)] if drawn else []),
                    *([notes_block(told)] if told else []),
                    table_block(_table(named, key)),
                ),
            )
        )
    return sections


def by_job(jobs: Sequence[JobRecord]) -> dict[str, Named]:
    """Lines by the job that they are of; each named by its suite, and what tells it from others of that suite."""
    found: dict[str, list[JobRecord]] = {}
    for one in jobs:
        found.setdefault(one.job, []).append(one)
    return {job: [(_name(one, own), one) for one in own] for job, own in found.items()}


def reading(named: Named) -> tuple[str, ...]:
    """What protection does to a round's time and to accuracy, computed from the lines."""
    told = []
    slowed = [(name, one.ratio_to_plain) for name, one in named if one.protects and one.ratio_to_plain is not None]
    if slowed:
        (least, low), (most, high) = (pick(slowed, key=lambda each: each[1]) for pick in (min, max))
        told.append(
            f"A round takes {format_ratio(low, 1.0)} (`{least}`) to {format_ratio(high, 1.0)} (`{most}`) the processor "
            f"time that it takes under `plain`, training included."
        )
    jobs = [one for _, one in named]
    for private in (False, True):
        alike = [one for one in jobs if (one.privacy != NO_PRIVACY) is private and one.accuracy is not None]
        found = [one.accuracy for one in alike if one.accuracy is not None]
        if len(found) > 1:
            kind = "With" if private else "Without"
            told.append(
                f"{kind} differential privacy, accuracy lies between {format_percent(min(found))} and "
                f"{format_percent(max(found))} over {format_count(len(found))} jobs."
            )
    return tuple(told)


def _lead(jobs: Sequence[JobRecord]) -> str:
    parts = [
        f"{format_count(value)} {what}"
        for key, what in (("clients", "clients"), ("rounds", "rounds"), ("parameters", "parameters"))
        if len(values := {getattr(one, key) for one in jobs}) == 1 and (value := values.pop()) is not None
    ]
    return (
        f"The same job, {', '.join(parts)}, under every suite and privacy mode."
        if parts
        else ("The same job under every suite and privacy mode.")
    )


def _table(named: Named, key: str) -> Table:
    return Table(
        key=f"{key}-table",
        caption="Seconds are of a whole round, a median, training included; its processor time × plain is formed "
        "round by round, in brackets the quartiles. Bytes are of one client in one round.",
        columns=(
            Column(heading="Suite", numeric=False),
            Column(heading="Noise", numeric=False),
            Column(heading="ε"),
            Column(heading="δ"),
            Column(heading="Bits"),
            Column(heading="Accuracy"),
            Column(heading="Round"),
            Column(heading="Aggregation"),
            Column(heading="Round’s CPU", unit="× plain"),
            Column(heading="Upload", unit="MB"),
            Column(heading="Download", unit="MB"),
        ),
        rows=tuple(
            Row(
                cells=(
                    one.suite + (f", {one.wire}" if one.wire else ""),
                    one.privacy,
                    _epsilon(one),
                    MISSING if one.delta is None else format_probability(one.delta),
                    MISSING if one.bits is None else format_count(one.bits),
                    _accuracy(one),
                    format_seconds(one.seconds),
                    format_seconds(one.secure_seconds),
                    _ratio(one),
                    megabytes(one.upload_bytes),
                    megabytes(one.download_bytes),
                ),
                tone=Tone.CALM if one.protects else Tone.MUTED,
            )
            for _, one in named
        ),
    )


def _figure(named: Named, key: str) -> Figure | None:
    shown = [(name, one) for name, one in named if one.accuracy is not None and one.upload_bytes]
    if not shown:
        return None
    measured = [one for _, one in shown]
    suites = list(dict.fromkeys(one.suite for one in measured))
    drawn, left = suites[:MOST_SERIES], suites[MOST_SERIES:]
    points = tuple(
        ScatterPoint(
            label=f"{name}: {_accuracy(one)}, ε {_epsilon(one)}, {format_bytes(one.upload_bytes)}",
            series=drawn.index(one.suite),
            x=one.epsilon,
            y=one.accuracy or 0.0,
            size=one.upload_bytes or 0.0,
            y_error=one.accuracy_std or 0.0,
        )
        for name, one in shown
        if one.suite in drawn
    )
    sizes = [one.upload_bytes or 0.0 for one in measured]
    chart = ScatterChart(
        key=f"{key}-scatter",
        title="Accuracy against ε against bytes",
        description=" ".join(f"{one.label}." for one in points),
        x_label="ε",
        aside_label="no noise",
        series=tuple(drawn),
        points=points,
    )
    return Figure(
        heading="Accuracy against ε against bytes",
        drawing=scatter_chart(chart),
        caption=f"A marker’s area is what a client uploads in a round, {format_bytes(min(sizes))} to "
        f"{format_bytes(max(sizes))}; the smallest are drawn larger than that. The line through it is a standard "
        f"deviation to both sides." + (f" Not drawn: {listed(left)}." if left else ""),
    )


def _rounds(named: Named, key: str) -> Figure | None:
    """Bars of a round's time, without noise."""
    timed = [(name, one) for name, one in named if one.privacy == NO_PRIVACY and one.seconds is not None]
    if not timed:
        return None
    chart = BarChart(
        key=f"{key}-rounds",
        title="A round, training included",
        description=" ".join(f"{name}: {format_seconds(one.seconds)}." for name, one in timed),
        bars=tuple(
            Bar(label=name, value=one.seconds or 0.0, text=format_seconds(one.seconds), emphasis=one.protects)
            for name, one in timed
        ),
    )
    return Figure(heading="A round, training included", drawing=bar_chart(chart), caption="Without noise; medians.")


def _name(one: JobRecord, beside: Sequence[JobRecord]) -> str:
    alike = [other for other in beside if other.suite == one.suite]
    told = [one.suite]
    if one.wire and len({other.wire for other in alike}) > 1:
        told.append(one.wire)
    if one.bits is not None and len({other.bits for other in alike}) > 1:
        told.append(f"{one.bits} bits")
    if one.privacy != NO_PRIVACY:
        told.append(one.privacy)
        if one.epsilon is not None and len({other.epsilon for other in alike if other.privacy == one.privacy}) > 1:
            told.append(f"ε = {format_number(one.epsilon)}")
    return ", ".join(told)


def _ratio(one: JobRecord) -> str:
    if one.ratio_to_plain is None:
        return MISSING
    return format_number(one.ratio_to_plain) + spread_words(one.spread.get("ratio_to_plain"))


def _epsilon(one: JobRecord) -> str:
    if one.epsilon is None:
        return "no noise" if one.privacy == NO_PRIVACY else MISSING
    return format_number(one.epsilon)


def _accuracy(one: JobRecord) -> str:
    spread = f" ± {format_percent(one.accuracy_std)}" if one.accuracy is not None and one.accuracy_std else ""
    return format_percent(one.accuracy) + spread
