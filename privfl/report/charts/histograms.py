"""Distributions over common bins."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from dataclasses import dataclass

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
    draw_x_axis,
    draw_y_axis,
    flow_legend,
    sensible,
)
from privfl.report.charts.scales import LARGEST, nice_ticks, tick_decimals
from privfl.report.formats import format_fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramSeries:
    """One distribution: the share of its values in each bin."""

    label: str
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Distributions over the same bins, drawn over one another.

    Attributes:
        key: HTML id, unique on its page.
        title: spoken title.
        description: spoken description.
        x_label: what is counted.
        edges: ascending bin edges, one more than bins.
        series: up to four distributions.
        x_ticks: (place, label) on the horizontal axis; empty for round numbers.
        expected: (lowest, highest) share that would be no surprise, as a band; None for no band.
        expected_label: its name in the legend.
    """

    key: str
    title: str
    description: str
    x_label: str
    edges: tuple[float, ...]
    series: tuple[HistogramSeries, ...]
    x_ticks: tuple[tuple[float, str], ...] = ()
    expected: tuple[float, float] | None = None
    expected_label: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.series) <= MOST_SERIES:
            raise ConfigurationError(f"a histogram holds 1 to {MOST_SERIES} series, not {len(self.series)}")
        if any(len(one.shares) + 1 != len(self.edges) for one in self.series) or len(self.edges) <= 1:
            raise ConfigurationError("each series needs one share a bin, one fewer than edges")
        if any(not a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise ConfigurationError("edges must ascend")


def histogram(chart: Histogram) -> Markup:
    """Draw distributions as outlined steps over a common axis."""
    entries = [(f"fill-{i}", one.label) for i, one in enumerate(chart.series)]
    if chart.expected is not None:
        entries.append(("expected", chart.expected_label))
    legend = flow_legend(entries)
    shares = [share for one in chart.series for share in one.shares]
    highest = max(sensible([0.0, *shares, *(chart.expected or ())]))
    plot = Plot(
        top=legend.height + 13,
        bottom=legend.height + 13 + 0.8 * PLOT_HEIGHT,
        right=RIGHT,
        x_low=chart.edges[0],
        x_high=chart.edges[-1],
        y_ticks=nice_ticks(0.0, highest or 1.0, target=4),
    )
    root = svg.canvas(
        key=chart.key, title=chart.title, description=chart.description, width=WIDTH, height=plot.bottom + 38
    )
    legend.draw(root)
    draw_y_axis(root, plot, percent=True)
    if chart.expected is not None:
        low, high = (plot.y(edge) for edge in chart.expected)
        svg.rectangle(root, "expected", (LEFT, high), (plot.right - LEFT, low - high))
    for index, one in enumerate(chart.series):
        _draw_steps(root, plot, index, chart.edges, one)
    ticks = list(chart.x_ticks) or _number_ticks(plot)
    draw_x_axis(root, plot, ticks, chart.x_label, gap=0)
    return svg.markup(root)


def _number_ticks(plot: Plot) -> list[tuple[float, str]]:
    ticks = [tick for tick in nice_ticks(plot.x_low, plot.x_high, target=6) if plot.x_low <= tick <= plot.x_high]
    decimals = tick_decimals(tuple(ticks))
    return [(tick, format_fixed(tick, decimals)) for tick in ticks]


def _draw_steps(root: ET.Element, plot: Plot, index: int, edges: tuple[float, ...], one: HistogramSeries) -> None:
    holder = svg.group(root, f"fill-{index}")
    outline = [(LEFT, plot.bottom)]
    scale = (plot.right - LEFT) / (edges[-1] - edges[0])
    for left, right, share in zip(edges, edges[1:], one.shares, strict=False):
        level = plot.y(share if abs(share) <= LARGEST else 0.0)
        outline += [(LEFT + (left - edges[0]) * scale, level), (LEFT + (right - edges[0]) * scale, level)]
    outline.append((plot.right, plot.bottom))
    svg.path(holder, "area", outline, closed=True)
