"""A benchmark's results as SVG files for papers and pages: overhead, growth, bytes, accuracy against ε.

They need matplotlib, the extra `plot`. Equal results give equal bytes, as long as matplotlib is the same.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privfl.errors import MissingExtra
from privfl.learning.checkpoint import write_whole
from privfl.report.bench_content import Axis, BenchReport, Growth, Quantity
from privfl.report.bench_growth import best_of, drawn_lines
from privfl.report.bench_records import CellRecord, JobRecord, cell_records, job_records
from privfl.report.bench_words import at_size, common_size, figure, names_of, size_words, without_noise

if TYPE_CHECKING:  # matplotlib is imported when something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#0a66a8", "#b4500a", "#0b7a5b", "#7a4a94", "#6b7280", "#a8320a", "#8a6100", "#3f6212")
_MARKERS: Final = "osD^vPX*"
_DASHES: Final = ("-", "--", ":", "-.")
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.hashsalt": "privfl",  # names of elements are drawn from it, not from chance
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e7e9e8",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_QUANTITIES: Final = {
    Quantity.CLIENT_CPU: "CPU of one client, s",
    Quantity.SERVER_CPU: "CPU of the server, s",
    Quantity.UPLOAD: "upload of one client, B",
    Quantity.SERVER_MEMORY: "peak memory of the server, B",
}
_RATIOS: Final = (
    ("client_ratio_to_plain", "CPU of one client"),
    ("server_ratio_to_plain", "CPU of the server"),
    ("upload_ratio_to_plain", "upload"),
)


def write_plots(report: BenchReport, folder: Path) -> tuple[Path, ...]:
    """Draw what there are records of, a file each.

    Args:
        report: what was measured, and how it grows.
        folder: where the files go; made if it is not there.

    Returns:
        The files: overhead.svg, bytes.svg, growth-clients.svg, growth-parameters.svg and accuracy.svg, as far as there
        is something in them.

    Raises:
        MissingExtra: matplotlib is not installed.
        ConfigurationError: a record cannot be read.

    Guarantees:
        1. Equal results give equal bytes: no date, no chance.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("plot", "matplotlib") from None
    written = []
    with mpl.rc_context(_SETTINGS):
        for name, size, draw in _drawings(report):
            sheet = Figure(figsize=size, layout="constrained")
            draw(sheet)
            held = io.BytesIO()
            sheet.savefig(held, format="svg", metadata={"Date": None})
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, held.getvalue())
            written.append(folder / name)
    return tuple(written)


def _drawings(report: BenchReport) -> Iterator[tuple[str, tuple[float, float], Callable[[Figure], None]]]:
    bare = without_noise(cell_records(report.cells))
    shown = at_size(bare, common_size(bare))
    if shown:
        yield "overhead.svg", (10.0, 1.4 + 0.32 * len(shown)), lambda sheet: _overhead(sheet, shown)
        yield "bytes.svg", (6.0, 1.4 + 0.32 * len(shown)), lambda sheet: _bytes(sheet, shown)
    for axis in Axis:
        along = [one for one in report.growth if one.axis is axis]
        if any(drawn_lines(along, quantity) for quantity in Quantity):
            yield f"growth-{axis.value}.svg", (9.0, 6.4), lambda sheet, along=along: _growth(sheet, along)  # type: ignore[misc]
    jobs: dict[str, list[JobRecord]] = {}
    for one in job_records(report.jobs):
        if one.accuracy is not None and one.upload_bytes:
            jobs.setdefault(one.job, []).append(one)
    if jobs:
        yield "accuracy.svg", (6.0 * len(jobs), 4.4), lambda sheet: _accuracies(sheet, jobs)


def _overhead(sheet: Figure, shown: Sequence[CellRecord]) -> None:
    """Ratios to plain with their quartiles, a panel each, logarithmic: a decade is a decade whichever it is."""
    names = names_of(one.variant for one in shown)
    panels: Sequence[Axes] = sheet.subplots(1, len(_RATIOS), sharey=True)
    for panel, (key, title) in zip(panels, _RATIOS, strict=True):
        for place, one in enumerate(shown):
            value = figure(one, key)
            if not (math.isfinite(value) and value > 0):
                continue
            low, high = one.spread.get(key) or (value, value)
            panel.plot([low, high], [place, place], color="#1b212b", linewidth=1.2)
            panel.plot([value], [place], color=_colour(one), marker="o", linestyle="none")
        panel.set_xscale("log")
        panel.axvline(1.0, color="#55606e", linewidth=0.8)
        panel.set_xlabel(f"{title}, × plain")
    panels[0].set_yticks(range(len(shown)), [names[one.variant] for one in shown])
    panels[0].invert_yaxis()
    sheet.suptitle(size_words(shown[0].size))


def _bytes(sheet: Figure, shown: Sequence[CellRecord]) -> None:
    names = names_of(one.variant for one in shown)
    sent = [one for one in shown if math.isfinite(figure(one, "upload_bytes_per_contributor"))]
    panel = sheet.subplots()
    panel.barh(
        range(len(sent)),
        [8 * figure(one, "upload_bytes_per_contributor") / one.parameters for one in sent],
        color=[_colour(one) for one in sent],
    )
    panel.set_yticks(range(len(sent)), [names[one.variant] for one in sent])
    panel.invert_yaxis()
    panel.set_xlabel("upload, bits a parameter")
    sheet.suptitle(size_words(shown[0].size))


def _growth(sheet: Figure, along: Sequence[Growth]) -> None:
    """Measurements, and thinner what the curves say beyond them, with intervals."""
    panels: Sequence[Axes] = sheet.subplots(2, 2).flat
    for panel, quantity in zip(panels, Quantity, strict=True):
        lines = drawn_lines(along, quantity)
        for index, one in enumerate(lines):
            style = {"color": COLOURS[index], "marker": _MARKERS[index], "markersize": 4.0}
            sizes, values = zip(*one.points, strict=True)
            panel.plot(sizes, values, linestyle=_DASHES[index % 4], label=one.suite, **style)  # type: ignore[arg-type]
            guesses = [(at.at, *best_of(at)) for at in one.projections if not at.refused]
            if guesses:
                panel.plot(
                    [sizes[-1], *(at for at, *_ in guesses)],
                    [values[-1], *(value for _, value, *_ in guesses)],
                    color=COLOURS[index],
                    linewidth=0.7,
                )
            for at, value, low, high in guesses:
                panel.plot([at, at], [low, high], color=COLOURS[index], linewidth=0.7, alpha=0.7)
                panel.plot([at], [value], color=COLOURS[index], marker="o", markerfacecolor="white", markersize=4.0)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.minorticks_off()
        panel.set_title(_QUANTITIES[quantity], loc="left")
        if lines:
            panel.set_xlabel(lines[0].axis.value)
            panel.legend()
            panel.set_ylim(*_heights(lines))


def _heights(lines: Sequence[Growth]) -> tuple[float, float]:
    """Decades around measurements and projections: an interval that is wider ends at the edge."""
    values = [value for one in lines for _, value in one.points]
    values += [best_of(at)[0] for one in lines for at in one.projections if not at.refused]
    ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0 ** ends[0], 10.0 ** max(ends[1], ends[0] + 1)


def _accuracies(sheet: Figure, jobs: Mapping[str, Sequence[JobRecord]]) -> None:
    """A panel for each job."""
    panels = sheet.subplots(1, len(jobs), squeeze=False)[0]
    for panel, (name, own) in zip(panels, jobs.items(), strict=True):
        panel.set_title(name, loc="left")
        _accuracy(panel, own)


def _accuracy(panel: Axes, jobs: Sequence[JobRecord]) -> None:
    """Accuracy over ε; a marker's area is what a client uploads. What has no noise stands at the right end."""
    suites = list(dict.fromkeys(one.suite for one in jobs))
    known = sorted({one.epsilon for one in jobs if one.epsilon is not None})
    aside = 4 * known[-1] if known else 1.0
    largest = max(one.upload_bytes or 0.0 for one in jobs)
    for index, suite in enumerate(suites):
        own = [one for one in jobs if one.suite == suite]
        places = [
            (aside if one.epsilon is None else one.epsilon) * 1.06 ** (index - (len(suites) - 1) / 2) for one in own
        ]
        panel.errorbar(
            places,
            [one.accuracy or 0.0 for one in own],
            yerr=[one.accuracy_std or 0.0 for one in own],
            color=COLOURS[index % len(COLOURS)],
            linestyle="none",
            linewidth=0.8,
        )
        panel.scatter(
            places,
            [one.accuracy or 0.0 for one in own],
            s=[max(12.0, 200.0 * (one.upload_bytes or 0.0) / largest) for one in own],
            color=COLOURS[index % len(COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)],
            alpha=0.75,
            label=suite,
        )
    panel.set_xscale("log")
    ticks = [(value, f"{value:g}") for value in known]
    ticks += [(aside, "no noise")] if any(one.epsilon is None for one in jobs) else []
    panel.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    panel.minorticks_off()
    panel.set_xlabel("ε")
    panel.set_ylabel("accuracy")
    panel.legend(title="area: upload a round")


def _colour(cell: CellRecord) -> str:
    return COLOURS[0] if cell.kind == "suite" and cell.protects else COLOURS[4]
