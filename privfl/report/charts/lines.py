"""Lines over rounds, with events that hang below the axis."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from dataclasses import dataclass
from enum import Enum

from markupsafe import Markup

from privfl.errors import ConfigurationError
from privfl.report.charts import svg
from privfl.report.charts.axes import (
    LEFT,
    MOST_SERIES,
    WIDTH,
    Plot,
    draw_cross,
    draw_marker,
    draw_x_axis,
    draw_y_axis,
    flow_legend,
    sensible,
    tick_text,
)
from privfl.report.charts.scales import LARGEST, nice_ticks
from privfl.report.formats import format_fixed, format_number, format_percent

_MOST_MARKERS = 40  # beyond it markers would merge into a band
_RUG_LENGTH = 15.0  # of the longest bar that hangs below the axis
_END_VALUE_GAP = svg.FONT_SIZE + 1.5


class MarkKind(Enum):
    """What happened at a place on the horizontal axis."""

    DROPOUT = "dropout"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An event that hangs below the horizontal axis.

    Attributes:
        x: where.
        kind: what.
        label: told when a pointer rests on it.
        weight: drawn as length, the heaviest longest; how many clients dropped out. At least 0.
    """

    x: float
    kind: MarkKind
    label: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line.

    Attributes:
        label: its name in the legend.
        points: (x, y) in ascending x; a y that is no number leaves a gap.
    """

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A value that the lines are held against, drawn from edge to edge.

    Attributes:
        label: its name in the legend.
        value: where.
    """

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Up to four lines over one horizontal axis of whole numbers.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description: what is to be seen.
        x_label: name of the horizontal axis.
        series: the lines.
        marks: events below the axis.
        level: a value to hold the lines against; always within the plot. None for none.
        from_zero: whether the vertical axis reaches down to 0, so that heights can be compared.
        percent: whether y is a fraction, shown as percent.
        limits: the values that y can take, so that room around a single value stays within.
    """

    key: str
    title: str
    description: str
    x_label: str
    series: tuple[Series, ...]
    marks: tuple[Mark, ...] = ()
    level: Level | None = None
    from_zero: bool = False
    percent: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        if not 1 <= len(self.series) <= MOST_SERIES:
            raise ConfigurationError(f"a line chart holds 1 to {MOST_SERIES} series, not {len(self.series)}")


def line_chart(chart: LineChart) -> Markup:
    """Draw lines, with their last values beside them and events below the axis."""
    kinds = sorted({mark.kind for mark in chart.marks}, key=lambda kind: kind.value, reverse=True)
    entries = [(f"series-{i}", one.label) for i, one in enumerate(chart.series)]
    names = {MarkKind.DROPOUT: "clients dropped out", MarkKind.ABORTED: "round aborted"}
    entries += [("level", chart.level.label)] if chart.level else []
    legend = flow_legend(entries + [(f"mark-{kind.value}", names[kind]) for kind in kinds])

    points = [point for one in chart.series for point in one.points]
    shown = [y for _, y in points] + ([0.0] if chart.from_zero else []) + ([chart.level.value] if chart.level else [])
    plot = Plot.around(
        xs=sensible(x for x, _ in points + [(mark.x, 0.0) for mark in chart.marks]),
        y_ticks=_value_ticks(sensible(shown), chart.limits),
        top=legend.height + 13,
    )
    rug = 18.0 if chart.marks else 0.0
    root = svg.canvas(
        key=chart.key,
        title=chart.title,
        description=chart.description,
        width=WIDTH,
        height=plot.bottom + rug + 38,
    )
    legend.draw(root)
    draw_y_axis(root, plot, percent=chart.percent)
    whole = nice_ticks(plot.x_low, plot.x_high, target=6, whole=True)
    x_ticks = [(tick, format_fixed(tick, 0)) for tick in whole if plot.x_low <= tick <= plot.x_high]
    draw_x_axis(root, plot, x_ticks, chart.x_label, gap=rug)
    _draw_marks(root, plot, chart.marks)
    if chart.level and sensible([chart.level.value]):
        height = plot.y(chart.level.value)
        svg.line(svg.group(root, "level"), "stroke", (LEFT, height), (plot.right, height))
    if not sensible(y for _, y in points):
        middle = (plot.top + plot.bottom) / 2
        svg.text(root, (LEFT + plot.right) / 2, middle, "no finite value was recorded", anchor="middle")
    for index, one in enumerate(chart.series):
        _draw_line(root, plot, index, one, percent=chart.percent)
    _draw_end_values(root, plot, chart)
    return svg.markup(root)


def _value_ticks(ys: list[float], limits: tuple[float, float]) -> tuple[float, ...]:
    floor, ceiling = limits
    low, high = (min(ys), max(ys)) if ys else (0.0, 1.0)
    if low == high:
        margin = 0.05 * abs(low) or 0.5
        low, high = max(low - margin, min(floor, low)), min(high + margin, max(ceiling, high))
    return nice_ticks(low, high)


def _draw_marks(root: ET.Element, plot: Plot, marks: tuple[Mark, ...]) -> None:
    width = min(6.0, max(1.5, 0.6 * (plot.right - LEFT) / max(1.0, plot.x_high - plot.x_low)))
    heaviest = max((mark.weight for mark in marks if mark.kind is MarkKind.DROPOUT), default=0.0) or 1.0
    for mark in marks:
        holder = svg.group(root, f"mark-{mark.kind.value}")
        svg.tooltip(holder, mark.label)
        if mark.kind is MarkKind.ABORTED:
            draw_cross(holder, plot.x(mark.x), plot.bottom + 9, size=min(4.0, 1.5 + width / 2))
        else:
            length = max(3.0, _RUG_LENGTH * mark.weight / heaviest)
            svg.rectangle(holder, "hanging", (plot.x(mark.x) - width / 2, plot.bottom + 1.5), (width, length))


def _draw_line(root: ET.Element, plot: Plot, index: int, one: Series, *, percent: bool) -> None:
    holder = svg.group(root, f"series-{index}")
    run: list[tuple[float, float]] = []
    runs = [run]
    for x, y in one.points:
        if abs(y) <= LARGEST:
            run.append((plot.x(x), plot.y(y)))
        elif run:
            runs.append(run := [])
    for stretch in runs:
        if len(stretch) > 1:
            svg.path(holder, "stroke", stretch)
    few = len(one.points) <= _MOST_MARKERS
    lonely = {stretch[0] for stretch in runs if len(stretch) == 1}  # a line cannot show a single point
    for x, y in one.points:
        if abs(y) <= LARGEST and (few or (plot.x(x), plot.y(y)) in lonely):
            value = format_percent(y) if percent else format_fixed(y, 4)
            svg.tooltip(draw_marker(holder, index, plot.x(x), plot.y(y)), f"{one.label}, {x:g}: {value}")


def _end_text(value: float) -> str:
    return format_number(value) if 1e-3 <= abs(value) < 1e5 else tick_text(value, 9 if value else 0)


def _draw_end_values(root: ET.Element, plot: Plot, chart: LineChart) -> None:
    """The last value of each line, moved apart where two would overlap."""
    ends = []
    for index, one in enumerate(chart.series):
        last = one.points[-1][1] if one.points else math.nan
        if abs(last) <= LARGEST:
            ends.append((plot.y(last), index, last))
    floor = -math.inf
    for y, index, value in sorted(ends):
        place = max(y, floor + _END_VALUE_GAP)
        floor = place
        shown = format_percent(value) if chart.percent else _end_text(value)
        svg.text(svg.group(root, f"series-{index}"), plot.right + 6, place + 4.3, shown, kind="value own")
