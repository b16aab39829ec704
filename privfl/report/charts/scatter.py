"""Three figures of one thing: across, up, and the area of its marker, such as ε, accuracy and bytes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from dataclasses import dataclass, replace
from typing import Final

from markupsafe import Markup

from privfl.errors import ConfigurationError
from privfl.report.charts import svg
from privfl.report.charts.axes import (
    LEFT,
    MOST_SERIES,
    PLOT_HEIGHT,
    RIGHT,
    WIDTH,
    Plot,
    draw_marker,
    draw_x_axis,
    draw_y_axis,
    flow_legend,
    sensible,
)
from privfl.report.charts.scales import nice_ticks
from privfl.report.formats import format_number

_BIGGEST: Final = 3.2  # scale of the marker of the largest size; areas are proportional to sizes
_SMALLEST: Final = 0.9  # below it a shape would not be told from another
_DODGE: Final = 9.0  # pixels between series: jobs often share an ε, and would hide each other
_ASIDE: Final = 58.0  # pixels at the right for what has no place across
_HEIGHT: Final = PLOT_HEIGHT + 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatterPoint:
    """One thing.

    Attributes:
        label: told when a pointer rests on it.
        series: place of its series.
        x: across, above 0; None stands aside, at the right end.
        y: up, a fraction.
        size: in proportion to the marker's area, above 0.
        y_error: standard deviation of `y`; 0 for none.
    """

    label: str
    series: int
    x: float | None
    y: float
    size: float
    y_error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatterChart:
    """Points of up to four series over a logarithmic axis.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description: what is to be seen.
        x_label: name of the horizontal axis.
        aside_label: what it means to stand aside.
        series: names in the legend.
        points: what is drawn.
    """

    key: str
    title: str
    description: str
    x_label: str
    aside_label: str
    series: tuple[str, ...]
    points: tuple[ScatterPoint, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.series) <= MOST_SERIES:
            raise ConfigurationError(f"a scatter chart holds 1 to {MOST_SERIES} series, not {len(self.series)}")
        if any(not 0 <= one.series < len(self.series) for one in self.points):
            raise ConfigurationError("a point names a series that the chart does not have")


def scatter_chart(chart: ScatterChart) -> Markup:
    """Draw points, the largest markers first, and series a little beside each other, so that none hides another."""
    points = [one for one in chart.points if _drawable(one)]
    legend = flow_legend([(f"series-{i}", name) for i, name in enumerate(chart.series)])
    ends = [min(1.0, max(0.0, one.y + sign * one.y_error)) for one in points for sign in (-1, 1)]
    across = [math.log10(one.x) for one in points if one.x is not None]
    aside = any(one.x is None for one in points)
    plot = Plot.around(xs=across, y_ticks=_ticks(ends), top=legend.height + 13)
    plot = replace(plot, bottom=plot.top + _HEIGHT, right=RIGHT - (_ASIDE if aside else 0.0), inset=24.0)
    root = svg.canvas(
        key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=plot.bottom + 38
    )
    _draw_legend(root, legend.placed)
    draw_y_axis(root, plot, percent=True)
    values = sorted({one.x for one in points if one.x is not None})
    draw_x_axis(root, plot, _apart(plot, values), chart.x_label, gap=0)
    middle = RIGHT - _ASIDE / 2
    if aside:
        svg.line(root, "axis", (plot.right + 8, plot.bottom), (RIGHT, plot.bottom))
        svg.text(root, middle, plot.bottom + 18, chart.aside_label, anchor="middle")
    largest = max((one.size for one in points), default=1.0)
    for one in sorted(points, key=lambda point: -point.size):
        x = middle if one.x is None else plot.x(math.log10(one.x))
        x += _DODGE * (one.series - (len(chart.series) - 1) / 2)
        holder = svg.group(root, f"series-{one.series}")
        low, high = (plot.y(min(1.0, max(0.0, one.y + sign * one.y_error))) for sign in (-1, 1))
        if one.y_error > 0:
            svg.line(holder, "whisker", (x, low), (x, high))
        _draw_scaled(holder, one.series, (x, plot.y(one.y)), _scale(one.size, largest), one.label)
    if not points:
        svg.text(root, (LEFT + plot.right) / 2, (plot.top + plot.bottom) / 2, "nothing was measured", anchor="middle")
    return svg.markup(root)


def _draw_scaled(parent: ET.Element, index: int, place: svg.Point, scale: float, told: str) -> None:
    holder = svg.group(parent, "sized")
    holder.set("transform", f"translate({svg.number(place[0])} {svg.number(place[1])}) scale({scale:.2f})")
    svg.tooltip(draw_marker(holder, index, 0.0, 0.0), told)


def _draw_legend(root: ET.Element, placed: tuple[tuple[float, float, str, str], ...]) -> None:
    """Markers alone: nothing is joined here."""
    for x, y, kind, label in placed:
        _draw_scaled(svg.group(root, f"legend {kind}"), int(kind[-1]), (x + 13, y - 4), 1.6, label)
        svg.text(root, x + 28, y, label)


def _scale(size: float, largest: float) -> float:
    return max(_SMALLEST, _BIGGEST * math.sqrt(size / largest))


def _ticks(ends: list[float]) -> tuple[float, ...]:
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if high - low < 0.02:
        low, high = max(0.0, low - 0.02), min(1.0, high + 0.02)
    return nice_ticks(low, high)


def _apart(plot: Plot, values: list[float]) -> list[tuple[float, str]]:
    """Each value that has room beside the one before."""
    ticks: list[tuple[float, str]] = []
    for value in values:
        place, name = math.log10(value), format_number(value, 2)
        width = svg.text_width(name) + 6
        if not ticks or plot.x(place) - plot.x(ticks[-1][0]) >= width:
            ticks.append((place, name))
    return ticks


def _drawable(point: ScatterPoint) -> bool:
    numbers = [point.y, point.size, point.y_error, *([point.x] if point.x is not None else [])]
    above = point.size > 0 and (point.x is None or point.x > 1e-100)
    return len(sensible(numbers)) == len(numbers) and above and 0 <= point.y <= 1 and point.y_error >= 0
