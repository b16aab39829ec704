"""ε as an audit draws it: over δ, and what attacks found beside what is claimed."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from privfl.report.charts import svg
from privfl.report.charts.axes import (
    LEFT,
    PLOT_HEIGHT,
    RIGHT,
    WIDTH,
    Legend,
    Plot,
    draw_marker,
    draw_x_axis,
    draw_y_axis,
    flow_legend,
    sensible,
    tick_text,
)
from privfl.report.charts.scales import nice_ticks
from privfl.report.formats import format_number, format_probability, power_of_two

_ROW = 62.0  # of intervals: a line of words, then the bar
_ARROW = 7.0
_LONGEST = 44  # letters of a label: more would run into the figures at its right
_MARKER_SCALE = 1.6
_ROUNDING = 1e-9  # of logarithms: the one of 0.001 may come out as −2.9999999999999996
_CONTROL, _DETECTABLE, _ESTIMATE = 2, 3, 1  # their markers, see `draw_marker`


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonCurve:
    """ε over δ; the axis of δ is logarithmic.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description.
        points: (δ, ε); what is no finite number, or no δ above 0, is left out.
        quoted: the (δ, ε) that is quoted; None for none.
    """

    key: str
    title: str
    description: str
    points: tuple[tuple[float, float], ...]
    quoted: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What one attack found out.

    Attributes:
        label: its name.
        text: its figures in words, at the right end of the line above the bar; empty for none.
        found: ε, the lower end of what it can still be, or an estimate.
        bounds: whether `found` is a lower bound; an estimate has no interval.
        claimed: ε that was claimed; infinite where nothing is promised.
        control: ε that the same attack found without noise; None for none.
        detectable: smallest ε that it would have noticed; None for none.
    """

    label: str
    text: str
    found: float
    bounds: bool
    claimed: float
    control: float | None = None
    detectable: float | None = None

    @property
    def contradicts(self) -> bool:
        """Whether what was found leaves no room for what is claimed."""
        return self.bounds and not self.found <= self.claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Attacks below each other, on one axis of ε.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description.
        rows: from the top.
    """

    key: str
    title: str
    description: str
    rows: tuple[Interval, ...]


def epsilon_curve(chart: EpsilonCurve) -> Markup:
    """Draw ε over δ, with a dot where it is quoted."""
    points = sorted((math.log10(delta), epsilon) for delta, epsilon in chart.points if _drawable(delta, epsilon))
    at = chart.quoted if chart.quoted is not None and _drawable(*chart.quoted) else None
    dot = None if at is None else (math.log10(at[0]), at[1])
    told = [] if at is None else [("dot", f"ε = {format_number(at[1], 4)} at δ = {format_probability(at[0])}")]
    legend = flow_legend([("series-0", "ε of all charges"), *told])
    shown = [*points, *([dot] if dot is not None else [])]
    low, high = _decades([x for x, _ in shown])
    plot = Plot(
        top=legend.height + 13,
        bottom=legend.height + 13 + PLOT_HEIGHT,
        right=RIGHT,
        x_low=low,
        x_high=high,
        y_ticks=nice_ticks(0.0, max((y for _, y in shown), default=0.0) or 1.0),
        inset=6.0,
    )
    root = svg.canvas(
        key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=plot.bottom + 38
    )
    _draw_legend(root, legend)
    draw_y_axis(root, plot, percent=False)
    draw_x_axis(root, plot, _powers(low, high), "δ", gap=0)
    if not shown:
        middle = (plot.top + plot.bottom) / 2
        svg.text(root, (LEFT + plot.right) / 2, middle, "no finite ε at any δ", anchor="middle")
    if dot is not None:
        x, y = plot.x(dot[0]), plot.y(dot[1])
        svg.line(root, "axis", (x, plot.bottom), (x, y))
        svg.line(root, "axis", (LEFT, y), (x, y))
    if len(points) > 1:
        svg.path(svg.group(root, "series-0"), "stroke", [(plot.x(x), plot.y(y)) for x, y in points])
    if dot is not None:
        place = {"cx": svg.number(plot.x(dot[0])), "cy": svg.number(plot.y(dot[1])), "r": "5"}
        svg.tooltip(ET.SubElement(root, "circle", {"class": "dot", **place}), told[0][1])
    return svg.markup(root)


def interval_chart(chart: Intervals) -> Markup:
    """Draw for each attack what ε can still be, from what it found upwards, beside what is claimed.

    What does not fit on the axis, because it is infinite or very large, stands at its right end, on the arrow.
    """
    kinds = [("expected", "what ε can still be")] if any(row.bounds for row in chart.rows) else []
    kinds += [(f"series-{_ESTIMATE}", "an estimate")] if any(not row.bounds for row in chart.rows) else []
    kinds += [("level", "claimed")] if any(math.isfinite(row.claimed) for row in chart.rows) else []
    kinds += [(f"series-{_CONTROL}", "control: found without noise")] if _any(row.control for row in chart.rows) else []
    kinds += (
        [(f"series-{_DETECTABLE}", "noticed nine times of ten, from here")]
        if _any(row.detectable for row in chart.rows)
        else []
    )
    legend = flow_legend(kinds)
    left, right, top = 6.0, WIDTH - 6 - _ARROW, legend.height + 8
    ticks = _ticks(chart.rows)

    def place(value: float) -> float:
        held = min(max(value, 0.0), ticks[-1]) if not math.isnan(value) else 0.0
        return left + (right - left) * held / ticks[-1]

    axis = top + _ROW * len(chart.rows) + 6
    root = svg.canvas(key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=axis + 40)
    _draw_legend(root, legend)
    for tick in ticks:
        svg.line(root, "grid", (place(tick), top + 4), (place(tick), axis))
    svg.line(root, "axis", (left, axis), (right + _ARROW, axis))
    for tick in ticks:
        svg.line(root, "axis", (place(tick), axis), (place(tick), axis + 4))
        svg.text(root, place(tick), axis + 18, tick_text(tick), anchor="middle")
    svg.text(root, (left + right) / 2, axis + 35, "ε", anchor="middle", kind="axis-label")
    for index, row in enumerate(chart.rows):
        base = top + _ROW * index
        svg.text(root, 0, base + 17, _short(row.label), kind="value")
        svg.text(root, WIDTH, base + 17, row.text, anchor="end")
        middle = base + 39
        if row.bounds:
            _draw_reach(root, place(row.found), right, middle, row)
        if math.isfinite(row.claimed):
            x = place(row.claimed)
            stroke = svg.line(svg.group(root, "level"), "stroke", (x, middle - 13), (x, middle + 13))
            svg.tooltip(stroke, f"{row.label}: claimed, {format_number(row.claimed, 4)}")
        points = [(_CONTROL, row.control, "control"), (_DETECTABLE, row.detectable, "would be noticed")]
        points += [] if row.bounds else [(_ESTIMATE, row.found, "estimate")]
        for kind, value, name in points:
            if value is not None:
                marker = _draw_marker(root, kind, place(value), middle)
                svg.tooltip(marker, f"{row.label}: {name}, {format_number(value, 4)}")
    return svg.markup(root)


def _draw_reach(root: ET.Element, start: float, end: float, middle: float, row: Interval) -> None:
    """From the bound to the edge and, as the arrow says, beyond."""
    box = svg.rectangle(root, "expected", (start, middle - 7), (end - start, 14))
    svg.tooltip(box, f"{row.label}: ε is at least {format_number(row.found, 4)}")
    tip = [(end, middle - 11), (end + _ARROW, middle), (end, middle + 11)]
    svg.path(root, "expected", tip, closed=True)
    # The edge of the bound takes the colour of warnings, and a dot, where nothing is left of the claim.
    svg.line(
        svg.group(root, "level" if row.contradicts else "series-0"), "stroke", (start, middle - 9), (start, middle + 9)
    )
    if row.contradicts:
        at = {"cx": svg.number(start), "cy": svg.number(middle), "r": "5"}
        ET.SubElement(root, "circle", {"class": "dot alarming", **at})


def _draw_marker(parent: ET.Element, index: int, x: float, y: float) -> ET.Element:
    """A series' marker, larger than on a line: here it stands for itself."""
    holder = svg.group(parent, f"series-{index}")
    holder.set("transform", f"translate({svg.number(x)} {svg.number(y)}) scale({_MARKER_SCALE})")
    return draw_marker(holder, index, 0.0, 0.0)


def _draw_legend(root: ET.Element, legend: Legend) -> None:
    """Samples that look as they do here: markers without a line, a claim that stands upright."""
    for x, y, kind, label in legend.placed:
        sample = svg.group(root, f"legend {kind}")
        if kind == "dot":
            ET.SubElement(
                sample, "circle", {"class": "dot", "cx": svg.number(x + 11), "cy": svg.number(y - 4), "r": "5"}
            )
        elif kind == "level":
            svg.line(sample, "stroke", (x + 11, y - 11), (x + 11, y + 3))
        elif kind == "expected":
            svg.rectangle(sample, "expected", (x + 2, y - 10), (18, 11))
        elif kind == "series-0":
            svg.line(sample, "stroke", (x, y - 4), (x + 22, y - 4))
        else:
            _draw_marker(sample, int(kind[-1]), x + 11, y - 4)
        svg.text(root, x + 28, y, label)


def _ticks(rows: tuple[Interval, ...]) -> tuple[float, ...]:
    """From 0 to where all that matters fits: a control that found very much does not squeeze the rest."""
    matter = sensible(v for row in rows for v in (row.found, row.claimed, row.detectable or 0.0) if math.isfinite(v))
    largest = max([0.0, *matter])
    controls = sensible(row.control for row in rows if row.control is not None)
    fitting = [value for value in controls if value <= 2 * largest or not largest]
    return nice_ticks(0.0, max([largest, *fitting]) or 1.0, target=6)


def _decades(logarithms: list[float]) -> tuple[int, int]:
    """Whole powers of ten around some values; one decade at the least."""
    low = math.floor(min(logarithms, default=-1.0) + _ROUNDING)
    return low, max(low + 1, math.ceil(max(logarithms, default=0.0) - _ROUNDING))


def _powers(low: int, high: int) -> list[tuple[float, str]]:
    """Powers of ten, not more than fit beside each other."""
    step = max(1, math.ceil((high - low) / 8))
    return [(float(power), f"10{power_of_two(power)[1:]}") for power in range(high, low - 1, -step)]


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _drawable(delta: float, epsilon: float) -> bool:
    return 0 < delta <= 1 and bool(sensible([epsilon])) and epsilon >= 0


def _any(values: Iterable[float | None]) -> bool:
    return any(value is not None for value in values)
