"""The same training job under every suite and privacy mode: time, bytes, accuracy and ε."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.bench_records import NO_PRIVACY, JobRecord
from privfl.report.bench_words import listed, megabytes
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


def jobs_section(jobs: Sequence[JobRecord]) -> Section | None:
    """A table, what it says, and accuracy against ε against bytes; None without jobs."""
    if not jobs:
        return None
    told = reading(jobs)
    drawn = [one for one in (_figure(jobs), _rounds(jobs)) if one is not None]
    return Section(
        key="jobs",
        heading="A whole training job",
        lead=_lead(jobs),
        blocks=(
            *([figures_block(*drawn)] if drawn else []),
            *([notes_block(told)] if told else []),
            table_block(_table(jobs)),
        ),
    )


def reading(jobs: Sequence[JobRecord]) -> tuple[str, ...]:
    """What protection does to a round's time and to accuracy, computed from the lines."""
    told = []
    slowed = [one for one in jobs if one.protects and one.ratio_to_plain is not None]
    if slowed:
        least, most = (pick(slowed, key=lambda one: one.ratio_to_plain or 0.0) for pick in (min, max))
        told.append(
            f"A round takes {format_ratio(least.ratio_to_plain or 0.0, 1.0)} (`{_name(least)}`) to "
            f"{format_ratio(most.ratio_to_plain or 0.0, 1.0)} (`{_name(most)}`) what it takes under `plain`, training "
            f"included."
        )
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


def _table(jobs: Sequence[JobRecord]) -> Table:
    return Table(
        key="jobs-table",
        caption="Seconds are of a whole round, a median, training included. Bytes are of one client in one round.",
        columns=(
            Column(heading="Suite", numeric=False),
            Column(heading="Noise", numeric=False),
            Column(heading="ε"),
            Column(heading="δ"),
            Column(heading="Bits"),
            Column(heading="Accuracy"),
            Column(heading="Round"),
            Column(heading="Aggregation"),
            Column(heading="Round", unit="× plain"),
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
                    MISSING if one.ratio_to_plain is None else format_number(one.ratio_to_plain),
                    megabytes(one.upload_bytes),
                    megabytes(one.download_bytes),
                ),
                tone=Tone.CALM if one.protects else Tone.MUTED,
            )
            for one in jobs
        ),
    )


def _figure(jobs: Sequence[JobRecord]) -> Figure | None:
    measured = [one for one in jobs if one.accuracy is not None and one.upload_bytes]
    if not measured:
        return None
    suites = list(dict.fromkeys(one.suite for one in measured))
    drawn, left = suites[:MOST_SERIES], suites[MOST_SERIES:]
    points = tuple(
        ScatterPoint(
            label=f"{_name(one)}: {_accuracy(one)}, ε {_epsilon(one)}, {format_bytes(one.upload_bytes)}",
            series=drawn.index(one.suite),
            x=one.epsilon,
            y=one.accuracy or 0.0,
            size=one.upload_bytes or 0.0,
            y_error=one.accuracy_std or 0.0,
        )
        for one in measured
        if one.suite in drawn
    )
    sizes = [one.upload_bytes or 0.0 for one in measured]
    chart = ScatterChart(
        key="jobs-scatter",
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


def _rounds(jobs: Sequence[JobRecord]) -> Figure | None:
    """Bars of a round's time, without noise."""
    timed = [one for one in jobs if one.privacy == NO_PRIVACY and one.seconds is not None]
    if not timed:
        return None
    named = [(one.suite + (f", {one.wire}" if one.wire else ""), one) for one in timed]
    chart = BarChart(
        key="jobs-rounds",
        title="A round, training included",
        description=" ".join(f"{name}: {format_seconds(one.seconds)}." for name, one in named),
        bars=tuple(
            Bar(label=name, value=one.seconds or 0.0, text=format_seconds(one.seconds), emphasis=one.protects)
            for name, one in named
        ),
    )
    return Figure(heading="A round, training included", drawing=bar_chart(chart), caption="Without noise; medians.")


def _name(one: JobRecord) -> str:
    return one.suite if one.privacy == NO_PRIVACY else f"{one.suite}, {one.privacy}"


def _epsilon(one: JobRecord) -> str:
    if one.epsilon is None:
        return "no noise" if one.privacy == NO_PRIVACY else MISSING
    return format_number(one.epsilon)


def _accuracy(one: JobRecord) -> str:
    spread = f" ± {format_percent(one.accuracy_std)}" if one.accuracy is not None and one.accuracy_std else ""
    return format_percent(one.accuracy) + spread
