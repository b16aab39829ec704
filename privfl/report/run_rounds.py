"""What a run learned, round by round: curves and the table of rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from privfl.report.charts import LineChart, Mark, MarkKind, Series, line_chart
from privfl.report.formats import (
    MISSING,
    THIN_SPACE,
    bytes_unit,
    format_count,
    format_fixed,
    format_number,
    format_percent,
    seconds_unit,
)
from privfl.report.page import Column, Figure, Row, Section, Table, Tone, figures_block, table_block
from privfl.round_metrics import RoundMetrics


def learning_section(rows: Sequence[RoundMetrics]) -> Section:
    """Curves of accuracy and loss."""
    if not rows:
        return Section(key="learning", heading="Learning", lead="No round was finished: there is nothing to show.")
    marks = tuple(mark for row in rows for mark in _marks(row))
    figures = [_accuracy_figure(rows, marks), _loss_figure(rows, marks)]
    if len({row.learning_rate for row in rows if row.learning_rate is not None}) > 1:
        figures.append(_rate_figure(rows))
    return Section(key="learning", heading="Learning", blocks=(figures_block(*figures),))


def rounds_section(rows: Sequence[RoundMetrics]) -> Section:
    """The table of rounds. A column in which nothing was measured is left out."""
    upload = bytes_unit(row.upload_bytes for row in rows)
    download = bytes_unit(row.download_bytes for row in rows)
    whole = seconds_unit(row.seconds for row in rows)
    secure = seconds_unit(row.secure_seconds for row in rows)
    suites = [row.suite for row in rows]
    clipped = [MISSING if row.aborted else _hundredths(row.saturated_fraction) for row in rows]
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(row.round) for row in rows]),
        (Column(heading="Suite", numeric=False), suites if len(set(suites)) > 1 else []),
        (Column(heading="In the sum", unit="clients"), [_contributors(row) for row in rows]),
        (Column(heading="Dropped", unit="clients"), [format_count(row.dropped) for row in rows]),
        (Column(heading="Accuracy", unit="held out, %"), [_hundredths(row.accuracy) for row in rows]),
        (Column(heading="Loss", unit="held out"), [_decimals(row.loss, 4) for row in rows]),
        (Column(heading="Accuracy", unit="clients’, %"), [_hundredths(row.local_accuracy) for row in rows]),
        (Column(heading="Loss", unit="clients’"), [_decimals(row.local_loss, 4) for row in rows]),
        (Column(heading="Upload", unit=upload.symbol), [upload.format(row.upload_bytes) for row in rows]),
        (Column(heading="Download", unit=download.symbol), [download.format(r.download_bytes) for r in rows]),
        (Column(heading="Round", unit=whole.symbol), [whole.format(row.seconds) for row in rows]),
        (Column(heading="Aggregation", unit=secure.symbol), [secure.format(r.secure_seconds) for r in rows]),
        (Column(heading="Clipped", unit="%"), clipped),
        (Column(heading="ε", unit="so far"), [format_number(row.epsilon) for row in rows]),
    ]
    kept = [(column, cells) for column, cells in columns if any(cell != MISSING for cell in cells)]
    table = Table(
        key="rounds-table",
        caption="Bytes are those of all clients together. Aggregation is the time of all clients and the "
        "server, training left out."
        + (
            " Clipped is the share of coordinates that hit the encoding’s bound."
            if any(cell != MISSING for cell in clipped)
            else ""
        ),
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if row.aborted else Tone.CALM,
            )
            for index, row in enumerate(rows)
        ),
    )
    return Section(key="rounds", heading="Rounds", blocks=(table_block(table),))


def _accuracy_figure(rows: Sequence[RoundMetrics], marks: tuple[Mark, ...]) -> Figure:
    caption = "Share of held-out examples that the global model gets right after each round."
    if any(row.local_accuracy is not None for row in rows):
        caption += " Dashed: what the clients measured on their own examples, on average"
        open_sums = any(row.suite == "plain" for row in rows)
        caption += "." if open_sums else ": the secure sum tells the server no client’s own."
    if any(mark.kind is MarkKind.DROPOUT for mark in marks):
        most = max(row.dropped for row in rows if not row.aborted)
        caption += f" Bars below the axis: clients that dropped out, {format_count(most)} where they are longest."
    if any(mark.kind is MarkKind.ABORTED for mark in marks):
        caption += " An aborted round leaves the model as it was."
    chart = LineChart(
        key="accuracy-chart",
        title="Accuracy by round",
        description=_from_to(format_percent(rows[0].accuracy), format_percent(rows[-1].accuracy)),
        x_label="round",
        series=_series([(row.round, row.accuracy) for row in rows], [(row.round, row.local_accuracy) for row in rows]),
        marks=marks,
        percent=True,
        limits=(0.0, 1.0),
    )
    return Figure(heading="Accuracy", drawing=line_chart(chart), caption=caption)


def _loss_figure(rows: Sequence[RoundMetrics], marks: tuple[Mark, ...]) -> Figure:
    chart = LineChart(
        key="loss-chart",
        title="Loss by round",
        description=_from_to(format_number(rows[0].loss), format_number(rows[-1].loss)),
        x_label="round",
        series=_series([(row.round, row.loss) for row in rows], [(row.round, row.local_loss) for row in rows]),
        marks=marks,
    )
    return Figure(
        heading="Loss",
        drawing=line_chart(chart),
        caption="Mean loss per example, on the same examples. Lower is better.",
    )


def _rate_figure(rows: Sequence[RoundMetrics]) -> Figure:
    first, last = rows[0].learning_rate, rows[-1].learning_rate
    chart = LineChart(
        key="rate-chart",
        title="Learning rate by round",
        description=f"{format_number(first)} in the first round shown, {format_number(last)} in the last.",
        x_label="round",
        series=(
            Series(label="learning rate of the clients", points=_points([(r.round, r.learning_rate) for r in rows])),
        ),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Learning rate",
        drawing=line_chart(chart),
        caption="What a step of the clients’ training is multiplied by, as `strategy.schedule` has it.",
    )


def _series(
    held_out: Sequence[tuple[int, float | None]], local: Sequence[tuple[int, float | None]]
) -> tuple[Series, ...]:
    series = [Series(label="held out", points=_points(held_out))]
    if any(value is not None for _, value in local):
        series.append(Series(label="clients’ own, via the sum", points=_points(local)))
    return tuple(series)


def _points(values: Sequence[tuple[int, float | None]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), math.nan if y is None else y) for x, y in values)


def _marks(row: RoundMetrics) -> list[Mark]:
    told = f"{row.dropped} of {row.cohort} clients dropped out"
    if row.aborted:
        return [Mark(x=row.round, kind=MarkKind.ABORTED, label=f"round {row.round}: aborted, {told}")]
    if not row.dropped:
        return []
    return [Mark(x=row.round, kind=MarkKind.DROPOUT, label=f"round {row.round}: {told}", weight=row.dropped)]


def _from_to(first: str, last: str) -> str:
    return f"Held out: {first} after the first round shown, {last} after the last."


def _contributors(row: RoundMetrics) -> str:
    if row.aborted:
        return "aborted"
    return f"{format_count(row.contributors)} of {format_count(row.cohort)}"


def _hundredths(fraction: float | None) -> str:
    """Percent without the sign, which stands in the heading."""
    return format_percent(fraction, 2).removesuffix(f"{THIN_SPACE}%")


def _decimals(value: float | None, decimals: int) -> str:
    return MISSING if value is None else format_fixed(value, decimals)
