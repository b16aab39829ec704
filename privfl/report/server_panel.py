"""The panel "What the server saw": pictures, distributions, correlation and first values of a `ServerView`."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from privfl.report.charts import BandChart, Histogram, HistogramSeries, band_chart, histogram
from privfl.report.formats import format_count, format_fixed, power_of_two
from privfl.report.page import (
    Column,
    Figure,
    Row,
    Section,
    Table,
    Tone,
    figures_block,
    note_block,
    table_block,
)
from privfl.report.pixels import pixel_strip
from privfl.report.server_view import ServerView, centred_words, correlation, looks_exposed

_SHOWN = 8
_MOST_BINS = 49
_RARE_SIGMAS = 3.0  # about one fair run in 370 passes it


def server_view_section(view: ServerView) -> Section:
    """The panel: pictures, histograms, first values, and how far the two sides go together."""
    count = format_count(view.received.size)
    exposed = looks_exposed(view)
    lead = (
        f"Client {view.client}’s update in round {view.round}, beside the words that reached the server for the same "
        f"{count} coordinates under `{view.suite}`: the model's, and what a client sends beside, such as its weight. "
    )
    note = (
        "The panel exists only because this run was a simulation, which holds both sides at once; in a deployment "
        "nobody does. "
    )
    if not view.protected:
        lead += "Nothing was hidden: the server can read the update."
        if np.array_equal(centred_words(view), view.true_update):
            lead += " The two are equal, coordinate by coordinate."
    elif exposed:
        lead += "They should have nothing in common, and they do."
    else:
        lead += "The update itself never left the client."
        note += (
            "It shows what hiding looks like and proves nothing: what the protection rests on, and where it ends, "
            "stands under Limits."
        )
    return Section(
        key="server-view",
        heading="What the server saw",
        lead=lead,
        blocks=(
            figures_block(*_strips(view)),
            figures_block(*_histograms(view)),
            _correlation_block(view),
            table_block(_first_values(view)),
            note_block(note),
        ),
        tone=Tone.CALM if view.protected and not exposed else Tone.ALARM,
    )


def _strips(view: ServerView) -> tuple[Figure, Figure]:
    true = view.true_update.astype(np.float64)
    # The 99th percentile rather than the maximum: one outlier would leave the rest of the picture pale.
    limit = float(np.quantile(np.abs(true), 0.99)) or float(np.abs(true).max()) or 1.0
    words = centred_words(view).astype(np.float64)
    half = 2.0 ** (view.ring_bits - 1)
    reach = float(np.quantile(np.abs(words), 0.99))
    # Words of a working protection fill the ring. Where they do not, the ring's scale would hide what they show.
    fills = reach > half / 4
    words_limit = half if fills else reach or 1.0
    received_limit = words_limit if view.protected else limit
    full = power_of_two(view.ring_bits - 1) if received_limit == half else _whole(received_limit)
    first = pixel_strip(true, limit=limit, alternative="The true update, drawn coordinate by coordinate.")
    second = pixel_strip(
        words,
        limit=received_limit,
        alternative="The words the server received, drawn in the same way.",
    )
    return (
        Figure(
            heading="The update, at the client",
            drawing=first,
            caption="One square a coordinate, row by row. Orange is above zero, blue below, full colour at "
            f"±{_whole(limit)} quantisation steps.",
        ),
        Figure(
            heading="The same coordinates, at the server",
            drawing=second,
            caption=f"Words modulo {power_of_two(view.ring_bits)}, read as signed numbers, full colour at ±{full}. "
            + ("Any pattern of the update would show here." if view.protected else "Nothing hides the pattern."),
        ),
    )


def _histograms(view: ServerView) -> tuple[Figure, Figure]:
    true = view.true_update.astype(np.float64)
    words = centred_words(view).astype(np.float64)
    # In the clear both sides are drawn over the same bins, so that they can be laid over one another by eye.
    edges = _step_edges(true if view.protected else np.concatenate([true, words]))
    left = Histogram(
        key="true-histogram",
        title="Distribution of the true update",
        description=f"Values lie between {int(true.min())} and {int(true.max())}.",
        x_label="quantisation steps",
        edges=tuple(edges.tolist()),
        series=(HistogramSeries(label="true update", shares=_shares(true, edges)),),
    )
    caption = "Share of coordinates in each bin. Small values are common: this is what an update looks like."
    return (
        Figure(heading="Values of the update", drawing=histogram(left), caption=caption),
        _received_ring(view, words) if view.protected else _received_plain(words, edges),
    )


def _received_ring(view: ServerView, words: NDArray[np.float64]) -> Figure:
    half = 2.0 ** (view.ring_bits - 1)
    size = view.received.size
    # A power of two splits the ring into equal bins; 32 values a bin keep chance from looking like shape.
    bins = 1 << max(1, min(5, (size // 32).bit_length() - 1, view.ring_bits))
    edges = np.linspace(-half, half, bins + 1)
    fair = 1.0 / bins
    spread = 2.0 * math.sqrt(fair * (1.0 - fair) / size)  # two standard deviations of a binomial share
    name = power_of_two(view.ring_bits - 1)
    drawn = Histogram(
        key="received-histogram",
        title="Distribution of the received words",
        description=f"Signed words over the whole ring, from minus 2 to the {view.ring_bits - 1} to plus that.",
        x_label="received word, as a signed number",
        edges=tuple(edges.tolist()),
        series=(HistogramSeries(label="received", shares=_shares(words, edges)),),
        x_ticks=((-half, f"−{name}"), (0.0, "0"), (half, name)),
        expected=(max(0.0, fair - spread), fair + spread),
        expected_label="where 95 of 100 bins of uniform words end",
    )
    caption = "Share of words in each bin. Words that tell nothing fill the whole ring evenly."
    return Figure(heading="Values of the words", drawing=histogram(drawn), caption=caption)


def _received_plain(words: NDArray[np.float64], edges: NDArray[np.float64]) -> Figure:
    drawn = Histogram(
        key="received-histogram",
        title="Distribution of the received words",
        description=f"Values lie between {int(words.min())} and {int(words.max())}.",
        x_label="received word, as a signed number",
        edges=tuple(edges.tolist()),
        series=(HistogramSeries(label="received", shares=_shares(words, edges)),),
    )
    return Figure(
        heading="Values of the words",
        drawing=histogram(drawn),
        caption="Share of words in each bin, over the same bins.",
    )


def _correlation_block(view: ServerView) -> Markup:
    r = correlation(view)
    size = view.received.size
    if r is None:
        return note_block("The correlation of the two sides is undefined here: one of them is constant.")
    chance = 1.0 / math.sqrt(size)
    shown = format_fixed(r, 4)
    by_chance = f"unrelated numbers give about ±{format_fixed(chance, 4)} (1/\u2060√{format_count(size)})"
    if not view.protected:
        verdict = f"By chance {by_chance}; equal ones give 1."
    elif looks_exposed(view):
        verdict = (
            f"By chance {by_chance}. This is {abs(r) / chance:.0f} times as much: the words follow the update, which "
            "a working protection does not allow. Treat it as a fault."
        )
    elif abs(r) > _RARE_SIGMAS * chance:
        verdict = (
            f"By chance {by_chance}; this is {format_fixed(abs(r) / chance, 1)} times that, rare for one run but not "
            "yet the sign of a fault. Look at a second run."
        )
    else:
        verdict = f"By chance {by_chance}; this is {format_fixed(abs(r) / chance, 1)} times that, in line with chance."
    drawn = BandChart(
        key="correlation",
        title="Correlation of the true update with the received words",
        description=f"r is {shown}; {by_chance}.",
        low=-1.0,
        high=1.0,
        band=(max(-1.0, -2 * chance), min(1.0, 2 * chance)),
        band_label="shaded: what chance gives, 95 times in 100",
        value=r,
        value_label=f"r = {shown}",
        alarming=not view.protected or looks_exposed(view),
    )
    return figures_block(Figure(heading="Correlation of the two", drawing=band_chart(drawn), caption=verdict))


def _first_values(view: ServerView) -> Table:
    digits = -(-view.ring_bits // 4)
    centred = centred_words(view)
    rows = []
    for place in range(min(_SHOWN, view.received.size)):
        true = int(view.true_update[place])
        word = int(view.received[place])
        cells = (
            format_count(place),
            format_count(true),
            f"0x{true % 2**view.ring_bits:0{digits}x}",
            f"0x{word:0{digits}x}",
            format_count(int(centred[place])),
        )
        rows.append(Row(cells=cells))
    return Table(
        key="first-values",
        caption="The first coordinates on both sides, as numbers and as words of the ring.",
        columns=(
            Column(heading="Coordinate"),
            Column(heading="Update", unit="number"),
            Column(heading="Update", unit="word", code=True),
            Column(heading="At the server", unit="word", code=True),
            Column(heading="At the server", unit="number"),
        ),
        rows=tuple(rows),
    )


def _step_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bins of an odd whole width, one of them centred at zero, so that integers never fall on an edge."""
    largest = max(1.0, float(np.abs(values).max()))
    width = math.ceil((2 * largest + 1) / _MOST_BINS) | 1
    reach = math.ceil((largest + 0.5 - width / 2) / width)
    return (np.arange(-reach, reach + 2, dtype=np.float64) - 0.5) * float(width)


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, ...]:
    counts, _ = np.histogram(values, bins=edges)
    return tuple((counts / values.size).tolist())


def _whole(value: float) -> str:
    return format_count(round(value))
