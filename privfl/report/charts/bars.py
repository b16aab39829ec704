"""Horizontal bars, and a value against the band it is expected in."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from dataclasses import dataclass

from markupsafe import Markup

from privfl.errors import ConfigurationError
from privfl.report.charts import svg
from privfl.report.charts.axes import WIDTH, sensible, tick_text
from privfl.report.charts.scales import nice_ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its name, its length, and its length in words."""

    label: str
    value: float
    text: str
    emphasis: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Horizontal bars from a common zero."""

    key: str
    title: str
    description: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandChart:
    """One value on a number line, with the band in which it is expected.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description.
        low: left end of the line.
        high: right end.
        band: (from, to), shaded.
        band_label: what the band is.
        value: where the dot stands; held within the line.
        value_label: what the dot is.
        alarming: whether the dot takes the colour of warnings.
    """

    key: str
    title: str
    description: str
    low: float
    high: float
    band: tuple[float, float]
    band_label: str
    value: float
    value_label: str
    alarming: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigurationError("need low < high")


def bar_chart(chart: BarChart) -> Markup:
    """Draw bars, each under its name and before its value."""
    step = 42.0
    longest = max(sensible([0.0, *(bar.value for bar in chart.bars)]))
    room = WIDTH - 12 - max((1.15 * svg.text_width(bar.text) for bar in chart.bars), default=0.0)
    root = svg.canvas(
        key=chart.key,
        title=chart.title,
        description=chart.description,
        width=WIDTH,
        height=step * len(chart.bars) + 4,
    )
    for index, bar in enumerate(chart.bars):
        top = step * index
        length = room * max(0.0, bar.value) / longest if longest and sensible([bar.value]) else 0.0
        svg.text(root, 0, top + 13, bar.label)
        box = svg.rectangle(root, "bar strong" if bar.emphasis else "bar", (0, top + 19), (max(1.0, length), 14))
        svg.tooltip(box, f"{bar.label}: {bar.text}")
        svg.text(root, max(1.0, length) + 8, top + 30.5, bar.text, kind="value")
    return svg.markup(root)


def band_chart(chart: BandChart) -> Markup:
    """Draw a dot on a number line, and the band it is expected in."""
    left, right, axis = 16.0, WIDTH - 16, 52.0

    def place(value: float) -> float:
        held = min(max(value, chart.low), chart.high) if math.isfinite(value) else chart.low
        return left + (right - left) * (held - chart.low) / (chart.high - chart.low)

    root = svg.canvas(key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=106)
    start, end = (place(edge) for edge in chart.band)
    # A band thinner than two pixels would vanish; the labels carry the exact figures.
    svg.rectangle(root, "expected", (start, axis - 14), (max(2.0, end - start), 28))
    svg.line(root, "axis", (left, axis), (right, axis))
    for tick in nice_ticks(chart.low, chart.high, target=4):
        if chart.low <= tick <= chart.high:
            svg.line(root, "axis", (place(tick), axis), (place(tick), axis + 5))
            svg.text(root, place(tick), axis + 21, tick_text(tick), anchor="middle")
    dot = {"cx": svg.number(place(chart.value)), "cy": svg.number(axis), "r": "5.5"}
    kind = "dot alarming" if chart.alarming else "dot"
    svg.tooltip(ET.SubElement(root, "circle", {"class": kind, **dot}), chart.value_label)
    _edge_safe_text(root, place(chart.value), axis - 23, chart.value_label, kind="value")
    _edge_safe_text(root, (start + end) / 2, axis + 51, chart.band_label)
    return svg.markup(root)


def _edge_safe_text(root: ET.Element, x: float, y: float, content: str, kind: str = "") -> None:
    """Centred text, but never over the edge."""
    half = svg.text_width(content) / 2
    if x - half < 0:
        svg.text(root, 0, y, content, kind=kind)
    elif x + half > WIDTH:
        svg.text(root, WIDTH, y, content, anchor="end", kind=kind)
    else:
        svg.text(root, x, y, content, anchor="middle", kind=kind)
