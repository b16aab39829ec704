"""Charts as inline SVG: lines over rounds, histograms, horizontal bars, a value against a band, growth, and scatters.

A chart is a frozen value that says what to draw; the function of its name returns the markup. Series differ by dash
and marker as well as by colour. What is not a number is left out and leaves a gap.
"""

from __future__ import annotations

from privfl.report.charts.bars import BandChart as BandChart
from privfl.report.charts.bars import Bar as Bar
from privfl.report.charts.bars import BarChart as BarChart
from privfl.report.charts.bars import band_chart as band_chart
from privfl.report.charts.bars import bar_chart as bar_chart
from privfl.report.charts.histograms import Histogram as Histogram
from privfl.report.charts.histograms import HistogramSeries as HistogramSeries
from privfl.report.charts.histograms import histogram as histogram
from privfl.report.charts.lines import Level as Level
from privfl.report.charts.lines import LineChart as LineChart
from privfl.report.charts.lines import Mark as Mark
from privfl.report.charts.lines import MarkKind as MarkKind
from privfl.report.charts.lines import Series as Series
from privfl.report.charts.lines import line_chart as line_chart
from privfl.report.charts.loglog import LogChart as LogChart
from privfl.report.charts.loglog import LogSeries as LogSeries
from privfl.report.charts.loglog import Measure as Measure
from privfl.report.charts.loglog import Reach as Reach
from privfl.report.charts.loglog import log_chart as log_chart
from privfl.report.charts.scatter import ScatterChart as ScatterChart
from privfl.report.charts.scatter import ScatterPoint as ScatterPoint
from privfl.report.charts.scatter import scatter_chart as scatter_chart

__all__ = [
    "BandChart",
    "Bar",
    "BarChart",
    "Histogram",
    "HistogramSeries",
    "Level",
    "LineChart",
    "LogChart",
    "LogSeries",
    "Mark",
    "MarkKind",
    "Measure",
    "Reach",
    "ScatterChart",
    "ScatterPoint",
    "Series",
    "band_chart",
    "bar_chart",
    "histogram",
    "line_chart",
    "log_chart",
    "scatter_chart",
]
