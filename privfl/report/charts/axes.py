"""What charts share: the plot's frame and scales, axes, legends and markers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privfl.report.charts import svg
from privfl.report.charts.scales import LARGEST, tick_decimals
from privfl.report.formats import MISSING, format_fixed

WIDTH = 460.0  # two charts stand side by side on a page, and one still reads on a telephone
LEFT = 52.0  # of the plot: room for the labels of its ticks
RIGHT_BESIDE_VALUES, RIGHT = 402.0, 450.0  # of a plot with and without values at the ends of its lines
PLOT_HEIGHT = 190.0
MOST_SERIES = 4  # as many as there are colours, dashes and markers
_LINE_HEIGHT = 19.0
_EXPONENT = re.compile(r"e(?:\+|(-))0*(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Where the plot lies and which values its edges have."""

    top: float
    bottom: float
    right: float
    x_low: float
    x_high: float
    y_ticks: tuple[float, ...]
    inset: float = 0.0  # keeps the first and last marker off the edges

    @classmethod
    def around(cls, *, xs: list[float], y_ticks: tuple[float, ...], top: float) -> Plot:
        """The frame for values between the outermost of `xs` and of `y_ticks`."""
        low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
        if low == high:  # a single round stands in the middle
            low, high = low - 0.5, high + 0.5
        return cls(
            top=top,
            bottom=top + PLOT_HEIGHT,
            right=RIGHT_BESIDE_VALUES,
            x_low=low,
            x_high=high,
            y_ticks=y_ticks,
            inset=6.0,
        )

    def x(self, value: float) -> float:
        """Pixels from the left."""
        room = self.right - LEFT - 2 * self.inset
        return LEFT + self.inset + room * (value - self.x_low) / (self.x_high - self.x_low)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """Entries laid out in lines from left to right."""

    placed: tuple[tuple[float, float, str, str], ...]
    height: float

    def draw(self, root: ET.Element) -> None:
        """Put samples and names on the drawing."""
        for x, y, kind, label in self.placed:
            sample = svg.group(root, f"legend {kind}")
            if kind.startswith("series"):
                svg.line(sample, "stroke", (x, y - 4), (x + 22, y - 4))
                draw_marker(sample, int(kind[-1]), x + 11, y - 4)
            elif kind == "level":
                svg.line(sample, "stroke", (x, y - 4), (x + 22, y - 4))
            elif kind == "mark-aborted":
                draw_cross(sample, x + 11, y - 4)
            elif kind == "mark-dropout":
                svg.rectangle(sample, "hanging", (x + 9, y - 9), (4, 10))
            else:
                svg.rectangle(sample, "area" if kind.startswith("fill") else kind, (x + 2, y - 10), (18, 11))
            svg.text(root, x + 28, y, label)


def flow_legend(entries: list[tuple[str, str]]) -> Legend:
    """Lay out (class, name) pairs, in as many lines as they need."""
    placed: list[tuple[float, float, str, str]] = []
    x, y = 0.0, 13.0
    for kind, label in entries:
        width = 28 + svg.text_width(label) + 16
        if x and x + width > WIDTH:
            x, y = 0.0, y + _LINE_HEIGHT
        placed.append((x, y, kind, label))
        x += width
    return Legend(placed=tuple(placed), height=y + 5 if placed else 0.0)


def sensible(values: Iterable[float]) -> list[float]:
    """The values that can be drawn."""
    return [value for value in values if abs(value) <= LARGEST]  # NaN fails the comparison


def draw_y_axis(root: ET.Element, plot: Plot, *, percent: bool) -> None:
    """Grid lines with their values."""
    shown = tuple(100 * tick for tick in plot.y_ticks) if percent else plot.y_ticks
    decimals = tick_decimals(shown)
    for tick, value in zip(plot.y_ticks, shown, strict=True):
        y = plot.y(tick)
        svg.line(root, "grid", (LEFT, y), (plot.right, y))
        label = tick_text(value, decimals) + ("\u202f%" if percent else "")
        svg.text(root, LEFT - 7, y + 4.3, label, anchor="end")


def draw_x_axis(root: ET.Element, plot: Plot, ticks: Sequence[tuple[float, str]], label: str, *, gap: float) -> None:
    """The base line with (place, name) ticks and its label, `gap` pixels further down."""
    svg.line(root, "axis", (LEFT, plot.bottom), (plot.right, plot.bottom))
    for place, name in ticks:
        x = plot.x(place)
        svg.line(root, "axis", (x, plot.bottom), (x, plot.bottom + 4))
        svg.text(root, x, plot.bottom + gap + 18, name, anchor="middle")
    svg.text(root, (LEFT + plot.right) / 2, plot.bottom + gap + 35, label, anchor="middle", kind="axis-label")


def draw_marker(parent: ET.Element, index: int, x: float, y: float) -> ET.Element:
    """A shape of its own for each series, for those who do not see its colour."""
    if index == 0:
        place = {"cx": svg.number(x), "cy": svg.number(y), "r": "2.8"}
        return ET.SubElement(parent, "circle", {"class": "marker", **place})
    if index == 1:
        return svg.rectangle(parent, "marker hollow", (x - 2.6, y - 2.6), (5.2, 5.2))
    if index == 2:
        corners = [(x, y - 3.6), (x + 3.6, y), (x, y + 3.6), (x - 3.6, y)]
    else:
        corners = [(x, y - 3.4), (x + 3.4, y + 2.6), (x - 3.4, y + 2.6)]
    return svg.path(parent, "marker", corners, closed=True)


def draw_cross(parent: ET.Element, x: float, y: float, size: float = 4.0) -> None:
    """The sign of an aborted round."""
    svg.line(parent, "cross", (x - size, y - size), (x + size, y + size))
    svg.line(parent, "cross", (x - size, y + size), (x + size, y - size))


def tick_text(value: float, decimals: int | None = None) -> str:
    """A number short enough to stand beside an axis."""
    if decimals is None:
        decimals = tick_decimals((0.0, abs(value))) if value else 0
    if abs(value) >= 1e5 or decimals > 5:  # would not fit beside the axis
        return _EXPONENT.sub(r"e\1\2", f"{value:.3g}").replace("-", "−")
    return format_fixed(value, decimals) if math.isfinite(value) else MISSING
