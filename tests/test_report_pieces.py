"""The pieces reports are made of: numbers, scales, pictures, charts and pages."""

import base64
import doctest
import math
import struct
import xml.etree.ElementTree as ET
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import privfl.report
from privfl.errors import ConfigurationError
from privfl.report import formats, page
from privfl.report.charts import (
    BandChart,
    Bar,
    BarChart,
    Histogram,
    HistogramSeries,
    Level,
    LineChart,
    Mark,
    MarkKind,
    Series,
    band_chart,
    bar_chart,
    histogram,
    line_chart,
    scales,
    svg,
)
from privfl.report.formats import bytes_unit, format_bytes, format_fixed, format_percent, format_ratio, format_seconds
from privfl.report.page import Banner, Column, Fact, Figure, Page, Row, Section, Table, render_page, table_block
from privfl.report.pixels import encode_png, pixel_strip

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
WORDS = {"key": "chart", "title": "T", "description": "D"}


def parse(markup):
    return ET.fromstring(str(markup))  # noqa: S314 - our own


def test_all_names_what_can_be_imported():
    assert sorted(privfl.report.__all__) == privfl.report.__all__
    assert all(hasattr(privfl.report, name) for name in privfl.report.__all__)


@pytest.mark.parametrize("module", [formats, scales, page])
def test_doctests(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


# Numbers.


@given(ANY_FLOAT)
def test_formats_take_any_float(value):
    for form in (formats.format_number, format_percent, format_bytes, format_seconds):
        assert "nan" not in form(value)
        assert "inf" not in form(value)
    assert "nan" not in format_fixed(value, 2)
    assert "nan" not in format_ratio(value, 3.0) + format_ratio(3.0, value)


@given(st.floats(min_value=0.0, max_value=1.0))
def test_percent_says_none_or_all_only_when_it_is(fraction):
    shown = format_percent(fraction)
    assert (shown == "0.0\u202f%") == (100 * fraction == 0)
    assert (shown == "100.0\u202f%") == (100 * fraction == 100)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.00 s"),
        (1.2e-6, "1.20 µs"),
        (0.9999, "1.00 s"),
        (99.94, "99.9 s"),
        (99.97, "100 s"),
        (100.0, "1 min 40 s"),
        (3599.7, "1 h 00 min"),
        (7500.0, "2 h 05 min"),
        (math.inf, "∞ s"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_seconds(seconds, shown):
    assert format_seconds(seconds).replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (None, "–"),
    ],
)
def test_bytes(count, shown):
    assert format_bytes(count).replace("\u202f", " ") == shown


def test_one_unit_for_a_column():
    unit = bytes_unit([12_300_000, 45])
    assert (unit.symbol, unit.format(12_300_000), unit.format(45), unit.format(None)) == ("MB", "12.3", "0.0", "–")


# Scales.

BOUND = st.floats(min_value=-1e100, max_value=1e100)


@given(BOUND, BOUND, st.integers(min_value=1, max_value=12), st.booleans())
def test_ticks_enclose_ascend_and_are_even(a, b, target, whole):
    low, high = min(a, b), max(a, b)
    ticks = scales.nice_ticks(low, high, target=target, whole=whole)
    gaps = [second - first for first, second in pairwise(ticks)]
    slack = 1e-9 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert all(gap > 0 for gap in gaps)
    assert max(gaps) - min(gaps) <= 1e-6 * max(*gaps, abs(ticks[0]), abs(ticks[-1]))
    assert 2 <= len(ticks) <= 2 * target + 3
    assert not whole or all(tick == round(tick) for tick in ticks)


@given(st.integers(min_value=-5000, max_value=5000), st.integers(min_value=1, max_value=10_000))
def test_ticks_are_round(low_thousandths, span_thousandths):
    low, high = low_thousandths / 1000, (low_thousandths + span_thousandths) / 1000
    ticks = scales.nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    mantissa = float(f"{step:.6e}".split("e")[0])
    assert mantissa in {1.0, 2.0, 5.0}
    assert all(len(repr(tick)) <= 8 for tick in ticks)  # no 0.30000000000000004
    decimals = scales.tick_decimals(ticks)
    assert [float(f"{tick:.{decimals}f}") for tick in ticks] == list(ticks)


@pytest.mark.parametrize(("low", "high", "target"), [(1, 0, 5), (math.nan, 1, 5), (0, math.inf, 5), (0, 1, 0)])
def test_ticks_refuse_what_is_no_range(low, high, target):
    with pytest.raises(ConfigurationError):
        scales.nice_ticks(low, high, target=target)


def test_ticks_around_one_value():
    assert scales.nice_ticks(0.0, 0.0) == (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)
    low, *_, high = scales.nice_ticks(7.0, 7.0, whole=True)
    assert low < 7 < high


# Pictures.


def decode_png(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    colours = np.frombuffer(chunks[b"PLTE"], dtype=np.uint8).reshape(-1, 3)
    opacity = np.frombuffer(chunks[b"tRNS"], dtype=np.uint8)
    return lines[:, 1:], np.column_stack([colours, opacity])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 256), st.integers(0, 2**32 - 1))
def test_png_comes_back(height, width, colours, seed):
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (colours, 4), dtype=np.uint8)
    indices = rng.integers(0, colours, (height, width), dtype=np.uint8)
    read, read_palette = decode_png(encode_png(indices, palette))
    assert np.array_equal(read, indices)
    assert np.array_equal(read_palette, palette)


@pytest.mark.parametrize(
    ("indices", "palette"),
    [
        (np.zeros((0, 3), np.uint8), np.zeros((1, 4), np.uint8)),
        (np.zeros(3, np.uint8), np.zeros((1, 4), np.uint8)),
        (np.zeros((2, 2), np.int64), np.zeros((1, 4), np.uint8)),
        (np.ones((2, 2), np.uint8), np.zeros((1, 4), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((257, 4), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((3, 3), np.uint8)),
    ],
)
def test_png_refuses_what_does_not_fit(indices, palette):
    with pytest.raises(ConfigurationError):
        encode_png(indices, palette)


def test_strip_is_clear_at_zero_blue_below_orange_above():
    strip = pixel_strip(np.array([0.0, -1.0, 1.0, 0.5, -9.0]), limit=1.0, alternative="five values")
    shades, palette = decode_png(base64.b64decode(strip.address.removeprefix("data:image/png;base64,")))
    colours = palette[shades].reshape(-1, 4).tolist()
    blue, orange = [0, 114, 178], [213, 94, 0]
    assert colours[0][3] == 0
    assert colours[1] == [*blue, 255]
    assert colours[2] == [*orange, 255]
    assert colours[3][:3] == orange
    assert 120 <= colours[3][3] <= 135
    assert colours[4] == [*blue, 255]  # held at full colour
    assert strip.columns * strip.rows >= 5
    assert all(colour[3] == 0 for colour in colours[5:])


@given(st.integers(1, 5000))
def test_strip_holds_every_value(size):
    strip = pixel_strip(np.ones(size), limit=1.0, alternative="")
    assert strip.columns <= 128
    assert strip.columns * (strip.rows - 1) < size <= strip.columns * strip.rows


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.zeros(0), 1.0),
        (np.zeros((2, 2)), 1.0),
        (np.array([math.nan]), 1.0),
        (np.zeros(2), 0.0),
        (np.zeros(2), math.inf),
    ],
)
def test_strip_refuses_what_it_cannot_draw(values, limit):
    with pytest.raises(ConfigurationError):
        pixel_strip(values, limit=limit, alternative="")


# Charts.


@given(
    st.lists(st.lists(ANY_FLOAT, max_size=60), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(MarkKind), st.floats(0, 1)), max_size=5),
    st.booleans(),
)
def test_lines_draw_whatever_was_measured(values, events, percent):
    chart = LineChart(
        **WORDS,
        x_label="round",
        series=tuple(
            Series(label=f"series {i}", points=tuple((float(x), y) for x, y in enumerate(ys)))
            for i, ys in enumerate(values)
        ),
        marks=tuple(Mark(x=x, kind=kind, label="mark", weight=weight) for x, kind, weight in events),
        percent=percent,
    )
    drawing = line_chart(chart)
    root = parse(drawing)
    assert "nan" not in drawing
    assert "inf" not in drawing.replace("no finite value", "")
    width, height = (float(part) for part in root.get("viewBox").split()[2:])
    for path in root.iter("path"):
        steps = path.get("d").replace("M", "").replace("L", "").replace("Z", "").split()
        assert all(-0.1 <= float(x) <= width for x in steps[::2])
        assert all(-0.1 <= float(y) <= height for y in steps[1::2])


def test_a_gap_splits_the_line_and_a_lonely_point_is_shown():
    points = tuple((float(x), math.nan if x in {10, 12} else 0.5) for x in range(60))
    root = parse(line_chart(LineChart(**WORDS, x_label="round", series=(Series(label="s", points=points),))))
    strokes = [one for one in root.iter("path") if one.get("class") == "stroke"]
    assert len(strokes) == 2
    markers = [one for one in root.iter("circle") if one.find("title") is not None]
    assert [one.find("title").text for one in markers] == ["s, 11: 0.5000"]


@given(st.lists(ANY_FLOAT, max_size=5), ANY_FLOAT, st.booleans())
def test_a_level_is_drawn_within_the_plot(values, value, from_zero):
    series = (Series(label="s", points=tuple(enumerate(values))),)
    chart = LineChart(
        **WORDS, x_label="round", series=series, level=Level(label="budget", value=value), from_zero=from_zero
    )
    root = parse(line_chart(chart))
    grid = [float(one.get("y1")) for one in root.iter("line") if one.get("class") == "grid"]
    drawn = [one.find("line") for one in root.iter("g") if one.get("class") == "level"]
    assert len(drawn) == (abs(value) <= scales.LARGEST)
    for one in drawn:
        assert one.get("y1") == one.get("y2")
        assert min(grid) - 0.1 <= float(one.get("y1")) <= max(grid) + 0.1
    assert "budget" in [one.text for one in root.iter("text")]


def test_heights_can_be_compared_from_zero():
    series = (Series(label="s", points=((1, 5.0), (2, 6.0))),)
    for from_zero, lowest in ((True, "0"), (False, "5.0")):
        root = parse(line_chart(LineChart(**WORDS, x_label="round", series=series, from_zero=from_zero)))
        labels = [one.text for one in root.iter("text") if one.get("text-anchor") == "end"]
        assert labels[0] == lowest


@given(st.floats(min_value=1e-300, max_value=1.0))
def test_probabilities(value):
    shown = formats.format_probability(value)
    superscripts = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")
    mantissa, power, exponent = shown.rpartition("10") if "⁻" in shown else (shown, "", "")
    read = float(mantissa.rstrip("·") or 1) * (10.0 ** int(exponent.translate(superscripts)) if power else 1)
    assert math.isclose(read, value, rel_tol=1e-3)


def test_an_accuracy_axis_stays_between_none_and_all():
    for value in (0.0, 1.0):
        series = (Series(label="s", points=((1.0, value),)),)
        chart = LineChart(**WORDS, x_label="round", series=series, percent=True, limits=(0.0, 1.0))
        labels = [one.text for one in parse(line_chart(chart)).iter("text") if (one.text or "").endswith("%")]
        shown = [float(label.removesuffix("\u202f%")) for label in labels]
        assert min(shown) >= 0
        assert max(shown) <= 100


def test_histogram_steps_and_band():
    chart = Histogram(
        **WORDS,
        x_label="word",
        edges=(0.0, 1.0, 2.0),
        series=(HistogramSeries(label="a", shares=(0.25, 0.75)), HistogramSeries(label="b", shares=(1.0, 0.0))),
        expected=(0.4, 0.6),
        expected_label="uniform",
    )
    root = parse(histogram(chart))
    assert len([one for one in root.iter("path") if one.get("class") == "area"]) == 2
    assert len([one for one in root.iter("rect") if one.get("class") == "expected"]) == 2  # band and legend
    assert {"a", "b", "uniform", "100\u202f%"} <= {one.text for one in root.iter("text")}


@pytest.mark.parametrize(
    ("edges", "shares"), [((0.0, 1.0), (0.5, 0.5)), ((0.0,), ()), ((0.0, 0.0), (1.0,)), ((1.0, 0.0), (1.0,))]
)
def test_histogram_refuses_bins_that_do_not_fit(edges, shares):
    with pytest.raises(ConfigurationError):
        Histogram(**WORDS, x_label="", edges=edges, series=(HistogramSeries(label="", shares=shares),))


@given(st.lists(ANY_FLOAT, max_size=6))
def test_bars_draw_whatever_was_measured(values):
    bars = tuple(Bar(label="<kahe>", value=value, text="many") for value in values)
    root = parse(bar_chart(BarChart(**WORDS, bars=bars)))
    lengths = [float(one.get("width")) for one in root.iter("rect")]
    assert len(lengths) == len(values)
    assert all(1.0 <= length <= 460 for length in lengths)


def test_bars_are_proportional():
    bars = tuple(Bar(label=str(value), value=value, text="x") for value in (100.0, 50.0, 25.0))
    lengths = [float(one.get("width")) for one in parse(bar_chart(BarChart(**WORDS, bars=bars))).iter("rect")]
    assert lengths[1] == pytest.approx(lengths[0] / 2, abs=0.1)
    assert lengths[2] == pytest.approx(lengths[0] / 4, abs=0.1)


@given(ANY_FLOAT, st.floats(-1, 0), st.floats(0, 1))
def test_band_holds_the_dot_within_the_line(value, start, end):
    chart = BandChart(
        **WORDS,
        low=-1,
        high=1,
        band=(start, end),
        band_label="chance",
        value=value,
        value_label="r",
    )
    dot = next(parse(band_chart(chart)).iter("circle"))
    assert 16 <= float(dot.get("cx")) <= 444


def test_charts_escape_and_refuse_bad_keys():
    bars = (Bar(label="</svg><script>\x00", value=1.0, text='"'),)
    root = parse(bar_chart(BarChart(**WORDS, bars=bars)))
    assert "</svg><script>\ufffd" in {one.text for one in root.iter("text")}
    for key in ("", "A", "a b", '"', "1"):
        with pytest.raises(ConfigurationError):
            svg.canvas(key=key, title="", description="", width=1, height=1)
    with pytest.raises(ConfigurationError):
        LineChart(**WORDS, x_label="", series=())
    with pytest.raises(ConfigurationError):
        BandChart(**WORDS, low=1, high=1, band=(0, 1), band_label="", value=0, value_label="")


# Pages.


def test_a_page_of_every_piece():
    table = Table(
        key="t",
        caption="`code` & text",
        columns=(Column(heading="A", numeric=False), Column(heading="B", unit="MB", code=True)),
        rows=(Row(cells=("x", "1")), Row(cells=("y", "2"), tone=page.Tone.MUTED)),
    )
    drawing = bar_chart(BarChart(**WORDS, bars=(Bar(label="a", value=1, text="1"),)))
    strip = pixel_strip(np.ones(4), limit=1.0, alternative="ones")
    rendered = render_page(
        Page(
            title="Everything",
            kicker="a test",
            facts=(Fact(label="L", value="V"),),
            banners=(Banner(heading="H", text="T", items=("one",)),),
            sections=(
                Section(
                    key="all",
                    heading="All",
                    blocks=(
                        table_block(table),
                        page.figures_block(Figure(heading="F", drawing=drawing), Figure(heading="G", drawing=strip)),
                        page.facts_block((Fact(label="L", value="V", note="N"),)),
                        page.note_block("note"),
                        page.notes_block(("a", "b")),
                        page.definitions_block((("name", "value"),)),
                        page.listing_block("label", "a < b"),
                    ),
                ),
            ),
        )
    )
    for piece in ("<code>code</code> &amp; text", "a &lt; b", 'alt="ones"', '<svg class="chart"', '<tr class="muted">'):
        assert piece in rendered
    assert "<nav" not in rendered  # one section needs no list of sections


def test_long_tables_scroll_and_wide_ones_are_set_smaller():
    columns = tuple(Column(heading=str(i)) for i in range(10))
    rows = tuple(Row(cells=("0",) * 10) for _ in range(41))
    assert 'class="scroll tall wide"' in table_block(Table(key="t", caption="", columns=columns, rows=rows))
    assert 'class="scroll wide"' in table_block(Table(key="t", caption="", columns=columns, rows=rows[:40]))
    assert 'class="scroll"' in table_block(Table(key="t", caption="", columns=columns[:1], rows=()))


def test_pages_refuse_what_does_not_fit():
    with pytest.raises(ConfigurationError):
        Table(key="t", caption="", columns=(Column(heading="A"),), rows=(Row(cells=("1", "2")),))
    with pytest.raises(ConfigurationError):
        Section(key="Not a key", heading="")
