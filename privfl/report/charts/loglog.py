"""Growth: points on two logarithmic axes, the curve through them, and how far it reaches beyond what was measured."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from dataclasses import dataclass
from enum import Enum
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
    flow_legend,
    sensible,
)
from privfl.report.formats import THIN_SPACE, format_bytes, format_count, format_number, format_seconds, power_of_two

_LEFT_ROOM: Final = 8.0  # ticks such as 100 ms are wider than plain numbers
_MOST_TICKS: Final = 7
_ROUNDING: Final = 1e-9  # of logarithms: the one of 0.001 may come out as −2.9999999999999996
_WHISKER: Final = 4.0
_SIZES: Final = {
    "s": ((0, "s"), (-3, "ms"), (-6, "µs")),
    "B": ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB"), (0, "B")),
}


class Measure(Enum):
    """What the vertical axis counts."""

    SECONDS = "s"
    BYTES = "B"
    NUMBER = ""

    def text(self, value: float) -> str:
        """A value with its unit."""
        if self is Measure.NUMBER:
            return format_number(value)
        return format_seconds(value) if self is Measure.SECONDS else format_bytes(value)

    def decade(self, power: int) -> str:
        """A power of ten with a unit that fits, short enough for an axis.

        >>> Measure.SECONDS.decade(-2) == f"10{THIN_SPACE}ms", Measure.NUMBER.decade(4)
        (True, '10⁴')
        """
        sizes = _SIZES.get(self.value, ())
        below, symbol = next((pair for pair in sizes if power >= pair[0]), sizes[-1] if sizes else (0, ""))
        rest = power - below
        shown = f"{10**rest}" if 0 <= rest < 3 else f"10{power_of_two(rest)[1:]}"
        return f"{shown}{THIN_SPACE}{symbol}" if symbol else shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a curve says beyond the measurements: a value with its interval."""

    x: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeries:
    """One line.

    Attributes:
        label: its name in the legend.
        points: measured (x, y) in ascending x; what is not above 0 is left out.
        reaches: projections in ascending x, joined to the last point by a thinner line.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    reaches: tuple[Reach, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChart:
    """Up to four lines on logarithmic axes.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description: what is to be seen.
        x_label: name of the horizontal axis, which counts something.
        measure: what the vertical axis counts.
        series: the lines.
    """

    key: str
    title: str
    description: str
    x_label: str
    measure: Measure
    series: tuple[LogSeries, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.series) <= MOST_SERIES:
            raise ConfigurationError(f"a growth chart holds 1 to {MOST_SERIES} series, not {len(self.series)}")


def log_chart(chart: LogChart) -> Markup:
    """Draw measurements joined by lines, and projections as thinner lines to hollow ends with their intervals.

    An interval that would squeeze what was measured ends at the edge of the plot.
    """
    legend = flow_legend([(f"series-{i}", one.label) for i, one in enumerate(chart.series)])
    measured = [point for one in chart.series for point in one.points if _drawable(*point)]
    reached = [(at.x, at.value) for one in chart.series for at in one.reaches if _drawable(at.x, at.value)]
    low, high = _decades([math.log10(y) for _, y in measured + reached])
    plot = Plot(
        top=legend.height + 13,
        bottom=legend.height + 13 + PLOT_HEIGHT,
        right=RIGHT,
        x_low=min((math.log10(x) for x, _ in measured + reached), default=0.0),
        x_high=max((math.log10(x) for x, _ in measured + reached), default=1.0),
        y_ticks=tuple(float(power) for power in range(low, high + 1)),
        inset=_LEFT_ROOM,
    )
    if plot.x_low == plot.x_high:
        plot = Plot(
            top=plot.top, bottom=plot.bottom, right=RIGHT, x_low=plot.x_low - 0.5, x_high=plot.x_high + 0.5,
            y_ticks=plot.y_ticks, inset=_LEFT_ROOM,
        )  # fmt: skip
    root = svg.canvas(
        key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=plot.bottom + 38
    )
    legend.draw(root)
    _draw_y_axis(root, plot, chart.measure)
    draw_x_axis(root, plot, _x_ticks(plot), chart.x_label, gap=0)
    if not measured:
        middle = (plot.top + plot.bottom) / 2
        svg.text(root, (LEFT + plot.right) / 2, middle, "nothing above 0 was measured", anchor="middle")
    for index, one in enumerate(chart.series):
        _draw_series(root, plot, index, one, chart.measure)
    return svg.markup(root)


def _draw_series(root: ET.Element, plot: Plot, index: int, one: LogSeries, measure: Measure) -> None:
    holder = svg.group(root, f"series-{index}")
    points = [(x, y) for x, y in one.points if _drawable(x, y)]
    reaches = [at for at in one.reaches if _drawable(at.x, at.value)]
    places = [_place(plot, x, y) for x, y in points]
    if len(places) > 1:
        svg.path(holder, "stroke", places)
    if reaches:
        svg.path(holder, "projected", [*places[-1:], *(_place(plot, at.x, at.value) for at in reaches)])
    for at in reaches:
        x, y = _place(plot, at.x, at.value)
        ends = [_place(plot, at.x, end)[1] for end in (at.low, at.high) if _drawable(at.x, end)]
        for end in ends:
            svg.line(holder, "whisker", (x, y), (x, end))
            svg.line(holder, "whisker", (x - _WHISKER, end), (x + _WHISKER, end))
        told = (
            f"{one.label}, {format_count(round(at.x))}, projected: {measure.text(at.value)}, 95{THIN_SPACE}% interval "
        )
        dot = ET.SubElement(holder, "circle", {"class": "reach", "cx": svg.number(x), "cy": svg.number(y), "r": "3.4"})
        svg.tooltip(dot, told + f"{measure.text(at.low)} to {measure.text(at.high)}")
    for (x, y), place in zip(points, places, strict=True):
        marker = draw_marker(holder, index, *place)
        svg.tooltip(marker, f"{one.label}, {format_count(round(x))}: {measure.text(y)}")


def _draw_y_axis(root: ET.Element, plot: Plot, measure: Measure) -> None:
    step = max(1, math.ceil((len(plot.y_ticks) - 1) / _MOST_TICKS))
    for tick in plot.y_ticks[::-step]:
        y = plot.y(tick)
        svg.line(root, "grid", (LEFT, y), (plot.right, y))
        svg.text(root, LEFT - 7, y + 4.3, measure.decade(round(tick)), anchor="end")


def _x_ticks(plot: Plot) -> list[tuple[float, str]]:
    """Powers of ten; one, two and five of each where there are few."""
    first, last = math.floor(plot.x_low), math.ceil(plot.x_high)
    mantissas = (1,) if plot.x_high - plot.x_low > 2.5 else (1, 2, 5)
    ticks = [(mantissa * 10.0**power, power) for power in range(first, last + 1) for mantissa in mantissas]
    inside = [(v, p) for v, p in ticks if plot.x_low - _ROUNDING <= math.log10(v) <= plot.x_high + _ROUNDING]
    step = max(1, math.ceil(len(inside) / 8))
    return [
        (math.log10(value), format_count(round(value)) if 0 <= power < 4 else _scientific(value, power))
        for value, power in inside[::-1][::step]
    ]


def _scientific(value: float, power: int) -> str:
    mantissa = round(value / 10.0**power)
    raised = f"10{power_of_two(power)[1:]}"
    return raised if mantissa == 1 else f"{mantissa}·{raised}"


def _place(plot: Plot, x: float, y: float) -> tuple[float, float]:
    """Pixels; held within the plot, where an interval may be wider than it."""
    height = min(max(math.log10(y), plot.y_ticks[0]), plot.y_ticks[-1])
    return plot.x(math.log10(x)), plot.y(height)


def _drawable(x: float, y: float) -> bool:
    return len(sensible([x, y])) == 2 and x > 1e-100 and y > 1e-100


def _decades(logarithms: list[float]) -> tuple[int, int]:
    """Whole powers of ten around some values; one decade at the least."""
    low = math.floor(min(logarithms, default=-1.0) + _ROUNDING)
    return low, max(low + 1, math.ceil(max(logarithms, default=0.0) - _ROUNDING))
