"""Curves of what clients found on examples of their own, and how they spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from privfl.report.charts import Histogram, HistogramSeries, LineChart, Series, histogram, line_chart
from privfl.report.formats import THIN_SPACE, format_count, format_number, format_percent
from privfl.report.page import Figure
from privfl.round_metrics import RoundMetrics

_MOST_QUANTILES = 2  # beside all together and the worst: a chart holds four lines
_MEDIAN = 0.5


def evaluation_figures(found: Sequence[RoundMetrics]) -> tuple[Figure, ...]:
    """Draw accuracy and loss over the evaluations that found something, and the spread of the last."""
    figures = (_accuracy_figure(found), _loss_figure(found))
    return (*figures, _histogram_figure(found)) if found[-1].client_accuracy_histogram else figures


def quantile_names(found: Sequence[RoundMetrics]) -> tuple[str, ...]:
    """All quantiles that were asked for, ascending."""
    names = {name for row in found for name in row.client_accuracy_quantiles or {}}
    return tuple(sorted(names, key=float))


def quantile_heading(name: str) -> str:
    """Say what a quantile is: what so many clients reach.

    >>> quantile_heading("0.1").replace(THIN_SPACE, " "), quantile_heading("0.5")
    ('90 % reach', 'median')
    """
    share = 1 - float(name)
    if share == _MEDIAN:
        return "median"
    return f"{format_percent(share, 0 if math.isclose(100 * share, round(100 * share)) else 1)} reach"


def band_width(found: Sequence[RoundMetrics]) -> str:
    """Width of a band of accuracy, in words; empty where there are none."""
    bands = len(found[-1].client_accuracy_histogram or ()) if found else 0
    return f"{100 / bands:.3g} points" if bands else ""


def _accuracy_figure(found: Sequence[RoundMetrics]) -> Figure:
    series = [
        Series(label="together", points=_points(found, [row.federated_accuracy for row in found])),
        Series(label="worst", points=_points(found, [row.worst_client_accuracy for row in found])),
    ]
    for name in _drawn_quantiles(found):
        values = [(row.client_accuracy_quantiles or {}).get(name) for row in found]
        series.append(Series(label=quantile_heading(name), points=_points(found, values)))
    chart = LineChart(
        key="clients-accuracy-chart",
        title="Accuracy at the clients by round",
        description=f"All together: {format_percent(found[0].federated_accuracy)} in the first evaluation, "
        f"{format_percent(found[-1].federated_accuracy)} in the last. The worst client: at least "
        f"{format_percent(found[0].worst_client_accuracy)}, and {format_percent(found[-1].worst_client_accuracy)}.",
        x_label="round",
        series=tuple(series),
        percent=True,
        limits=(0.0, 1.0),
    )
    width = band_width(found)
    bands = (
        f" The other lines are clients, known by band alone, {width} wide: its lower edge is drawn." if width else ""
    )
    return Figure(
        heading="Accuracy at the clients",
        drawing=line_chart(chart),
        caption=f"Together: all examples of all clients, each weighing the same.{bands}",
    )


def _loss_figure(found: Sequence[RoundMetrics]) -> Figure:
    first, last = found[0], found[-1]
    chart = LineChart(
        key="clients-loss-chart",
        title="Loss at the clients by round",
        description=f"{format_number(first.federated_loss)} in the first evaluation, "
        f"{format_number(last.federated_loss)} in the last.",
        x_label="round",
        series=(
            Series(label="at the clients", points=_points(found, [row.federated_loss for row in found])),
            Series(label="held out at the server", points=_points(found, [row.loss for row in found])),
        ),
    )
    return Figure(
        heading="Loss at the clients",
        drawing=line_chart(chart),
        caption="Mean loss per example, beside that of the same models on the server’s held-out examples.",
    )


def _histogram_figure(found: Sequence[RoundMetrics]) -> Figure:
    last = found[-1]
    counts = tuple(last.client_accuracy_histogram or ())
    everyone, bands = sum(counts) or 1, len(counts)
    chart = Histogram(
        key="clients-histogram",
        title="Clients by accuracy",
        description="; ".join(
            f"{format_percent(band / bands, 0)} to {format_percent((band + 1) / bands, 0)}: {format_count(clients)}"
            for band, clients in enumerate(counts)
            if clients
        )
        + ".",
        x_label="accuracy of a client",
        edges=tuple(band / bands for band in range(bands + 1)),
        series=(
            HistogramSeries(
                label=f"share of {format_count(everyone)} clients, round {format_count(last.round)}",
                shares=tuple(clients / everyone for clients in counts),
            ),
        ),
        x_ticks=tuple((share / 5, f"{20 * share}{THIN_SPACE}%") for share in range(6)),
    )
    lowest = next((band for band, clients in enumerate(counts) if clients), 0)
    return Figure(
        heading=f"Clients by accuracy, after round {format_count(last.round)}",
        drawing=histogram(chart),
        caption=f"In the lowest band, {format_percent(lowest / bands, 0)} to {format_percent((lowest + 1) / bands, 0)}:"
        f" {format_count(counts[lowest])} client{'s'[: counts[lowest] != 1]}.",
    )


def _drawn_quantiles(found: Sequence[RoundMetrics]) -> tuple[str, ...]:
    """The lowest, and the one next to the median."""
    names = quantile_names(found)
    if len(names) <= _MOST_QUANTILES:
        return names
    middle = min(names[1:], key=lambda name: abs(float(name) - _MEDIAN))
    return (names[0], middle)


def _points(found: Sequence[RoundMetrics], values: Sequence[float | None]) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(row.round), math.nan if value is None else value) for row, value in zip(found, values, strict=True)
    )
