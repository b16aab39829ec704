"""Curves over the simulated fleet's clock."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from privfl.report.charts import LineChart, Mark, MarkKind, Series, line_chart
from privfl.report.formats import format_fixed, format_percent, format_seconds
from privfl.report.page import Figure
from privfl.round_metrics import RoundMetrics

_FEWEST_ON_AXIS = 5.0  # along an axis of whole numbers
_CLOCKS = ((86_400.0, "days", 2), (3600.0, "hours", 2), (60.0, "minutes", 1), (1.0, "seconds", 1))
_MILLISECONDS = (1e-3, "milliseconds", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A round that has a time.

    Attributes:
        row: the round.
        took_s: from its beginning until its sum was open, simulated.
        over_s: the simulated clock when it was over.
    """

    row: RoundMetrics
    took_s: float
    over_s: float

    @property
    def began_s(self) -> float:
        """The simulated clock when it began."""
        return max(self.over_s - self.took_s, 0.0)


def clock_unit(last_s: float, fewest: float = _FEWEST_ON_AXIS) -> tuple[float, str, int]:
    """Return a unit of which there are so many in a time: its seconds, its name, and digits behind the point.

    >>> clock_unit(7200.0), clock_unit(40.0), clock_unit(90.0, fewest=1.0)
    ((60.0, 'minutes', 1), (1.0, 'seconds', 1), (60.0, 'minutes', 1))
    """
    return next((unit for unit in _CLOCKS if last_s >= fewest * unit[0]), _MILLISECONDS)


def staleness(timed: Sequence[Timed]) -> list[float]:
    """The mean staleness of every buffer; empty where there were none."""
    return [one.row.staleness for one in timed if one.row.staleness is not None]


def time_figures(timed: Sequence[Timed]) -> tuple[Figure, ...]:
    """Draw accuracy over the clock, what rounds took, and how stale updates were where they can be."""
    figures = (_accuracy_figure(timed), _seconds_figure(timed))
    return (*figures, _staleness_figure(timed)) if staleness(timed) else figures


def _accuracy_figure(timed: Sequence[Timed]) -> Figure:
    size, unit, _ = clock_unit(timed[-1].over_s)
    # A point without a value lets the axis begin with the run.
    series = [
        Series(
            label="held out at the server",
            points=((0.0, math.nan), *((one.over_s / size, one.row.accuracy) for one in timed)),
        )
    ]
    evaluated = tuple(
        (one.over_s / size, one.row.federated_accuracy) for one in timed if one.row.federated_accuracy is not None
    )
    if evaluated:
        series.append(Series(label="at the clients", points=evaluated))
    chart = LineChart(
        key="time-chart",
        title="Accuracy over simulated time",
        description=f"{format_percent(timed[0].row.accuracy)} after {format_seconds(timed[0].over_s)}, "
        f"{format_percent(timed[-1].row.accuracy)} after {format_seconds(timed[-1].over_s)}.",
        x_label=f"simulated {unit}",
        series=tuple(series),
        marks=tuple(
            Mark(x=one.over_s / size, kind=MarkKind.ABORTED, label=f"round {one.row.round}: aborted")
            for one in timed
            if one.row.aborted
        ),
        percent=True,
        limits=(0.0, 1.0),
    )
    return Figure(
        heading="Accuracy over simulated time",
        drawing=line_chart(chart),
        caption="The accuracy of each round’s model, at the moment at which its sum was open.",
    )


def _seconds_figure(timed: Sequence[Timed]) -> Figure:
    # One unit for the axis; the table has the figures.
    size, unit, _ = clock_unit(max(one.took_s for one in timed), fewest=1.0)
    chart = LineChart(
        key="simulated-chart",
        title="Simulated time of a round",
        description=f"{format_seconds(min(one.took_s for one in timed))} to "
        f"{format_seconds(max(one.took_s for one in timed))}.",
        x_label="round",
        series=(
            Series(
                label=f"{unit}, simulated", points=tuple((float(one.row.round), one.took_s / size) for one in timed)
            ),
        ),
        marks=tuple(
            Mark(x=one.row.round, kind=MarkKind.ABORTED, label=f"round {one.row.round}: aborted")
            for one in timed
            if one.row.aborted
        ),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    buffered = bool(staleness(timed))
    return Figure(
        heading=f"Simulated {unit} of a {'buffer' if buffered else 'round'}",
        drawing=line_chart(chart),
        caption="From the server’s last step to the next: until a buffer is full, and its sum is open."
        if buffered
        else "From the invitation of the clients until the sum is open.",
    )


def _staleness_figure(timed: Sequence[Timed]) -> Figure:
    chart = LineChart(
        key="staleness-chart",
        title="Staleness of updates by round",
        description=f"Mean {format_fixed(statistics.fmean(staleness(timed)), 2)} server steps.",
        x_label="round",
        series=(
            Series(label="mean", points=_points(timed, [one.row.staleness for one in timed])),
            Series(label="largest", points=_points(timed, [one.row.staleness_most for one in timed])),
        ),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Staleness",
        drawing=line_chart(chart),
        caption="How many steps the server had made since the updates of a buffer were begun. "
        "`strategy.staleness_exponent` says how much less the stale ones weigh.",
    )


def _points(timed: Sequence[Timed], values: Sequence[float | None]) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(one.row.round), math.nan if value is None else value) for one, value in zip(timed, values, strict=True)
    )
