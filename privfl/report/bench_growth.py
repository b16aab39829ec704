"""How cost grows, in a benchmark's report: curves, exponents, projections, and on what they rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from privfl.report.bench_content import Axis, Form, Growth, Projection, Quantity
from privfl.report.bench_records import NO_PRIVACY, Variant
from privfl.report.bench_words import SUITES_FIRST, names_of
from privfl.report.charts.axes import MOST_SERIES
from privfl.report.charts.loglog import LogChart, LogSeries, Measure, Reach, log_chart
from privfl.report.formats import (
    MISSING,
    format_bytes,
    format_count,
    format_fixed,
    format_percent,
    format_seconds,
)
from privfl.report.page import Column, Figure, Row, Section, Table, Tone, figures_block, notes_block, table_block

_QUANTITIES: Final = {
    Quantity.CLIENT_CPU: "CPU of one client",
    Quantity.SERVER_CPU: "CPU of the server",
    Quantity.UPLOAD: "Upload of one client",
    Quantity.SERVER_MEMORY: "Peak memory of the server",
}
_SHORT: Final = {
    Quantity.CLIENT_CPU: "client CPU",
    Quantity.SERVER_CPU: "server CPU",
    Quantity.UPLOAD: "upload a client",
    Quantity.SERVER_MEMORY: "server memory",
}
_WIDEST: Final = 1000.0  # an interval from end to end; beyond it there is nothing to be said
_REACHING: Final = (
    " Thin lines reach beyond what was measured: to the bytes that the planner knows, else along a curve over the "
    "neighbours that clients mask with, else along one over clients. Uprights are 95 % intervals."
)
_OTHER: Final = {Axis.CLIENTS: "parameters", Axis.PARAMETERS: "clients"}


def growth_sections(growth: Sequence[Growth]) -> list[Section]:
    """A section for each axis that something was measured along."""
    names = names_of(_variant(one) for one in growth)
    sections = []
    for axis in Axis:
        along = [one for one in growth if one.axis is axis]
        if not along:
            continue
        blocks = [figures_block(*_figures(along, axis))]
        fitted = [one for one in along if one.fit is not None]
        blocks += [table_block(_exponents(fitted, names, axis))] if fitted else []
        projected = [one for one in fitted if one.projections]
        if projected:
            blocks += [table_block(_projections(projected, names)), notes_block(_notes(projected, names))]
        refused = Counter(one.refused for one in along if one.fit is None)
        if refused:
            blocks.append(
                notes_block(
                    tuple(f"No curve for {format_count(n)} of them: {why}." for why, n in sorted(refused.items()))
                )
            )
        sections.append(
            Section(
                key=f"growth-{axis.value}",
                heading=f"Cost against {axis.value}",
                lead="Both axes are logarithmic: a straight line is a power, and its slope the exponent."
                + (_REACHING if projected else ""),
                blocks=tuple(blocks),
            )
        )
    return sections


def _figures(along: Sequence[Growth], axis: Axis) -> list[Figure]:
    figures = []
    for quantity in Quantity:
        drawn = drawn_lines(along, quantity)
        if not drawn:
            continue
        measure = Measure.BYTES if quantity.in_bytes else Measure.SECONDS
        other = f"{format_count(drawn[0].fixed)} {_OTHER[axis]}"
        gone = f", {format_percent(drawn[0].dropout, 0)} drop out"
        chart = LogChart(
            key=f"growth-{axis.value}-{quantity.name.lower().replace('_', '-')}",
            title=f"{_QUANTITIES[quantity]} against {axis.value}",
            description=" ".join(_described(one, measure) for one in drawn),
            x_label=axis.value,
            measure=measure,
            series=tuple(
                LogSeries(
                    label=one.suite,
                    points=tuple((float(size), value) for size, value in one.points),
                    reaches=tuple(_reach(at) for at in one.projections if not at.refused),
                )
                for one in drawn
            ),
        )
        figures.append(Figure(heading=_QUANTITIES[quantity], drawing=log_chart(chart), caption=f"{other}{gone}."))
    return figures


def drawn_lines(along: Sequence[Growth], quantity: Quantity) -> list[Growth]:
    """One line a suite, without noise, all at the same size otherwise; the rest stands in the table."""
    alike = [one for one in along if one.quantity is quantity]
    bare = [one for one in alike if one.kind == "suite" and one.privacy == NO_PRIVACY]
    if not bare:
        return []
    (rest, _), *_ = Counter((one.fixed, one.dropout) for one in bare).most_common(1)
    by_suite: dict[str, Growth] = {}
    for one in bare:
        if (one.fixed, one.dropout) == rest:
            by_suite.setdefault(one.suite, one)
    known = {name: place for place, name in enumerate(SUITES_FIRST)}
    return sorted(by_suite.values(), key=lambda one: known.get(one.suite, len(known)))[:MOST_SERIES]


def _described(one: Growth, measure: Measure) -> str:
    (first, low), (last, high) = one.points[0], one.points[-1]
    return f"{one.suite}: {measure.text(low)} at {format_count(first)}, {measure.text(high)} at {format_count(last)}."


def _reach(at: Projection) -> Reach:
    value, low, high = best_of(at)
    return Reach(x=float(at.at), value=value, low=low, high=high)


def best_of(at: Projection) -> tuple[float, float, float]:
    """What knows most: the planner's bytes, else the curve over neighbours, else the one over clients."""
    if at.planned is not None:
        return sum(at.planned) / 2, *at.planned
    return at.by_neighbours if at.by_neighbours is not None else (at.value, at.low, at.high)


def _exponents(fitted: Sequence[Growth], names: dict[Variant, str], axis: Axis) -> Table:
    rows = []
    for one in fitted:
        fit = one.fit
        assert fit is not None  # noqa: S101 - the caller's choice; for the type checker
        form = _text(one.quantity)
        curve = f"{form(fit.constant)} and a line" if fit.form is Form.LINE else fit.form.value
        rows.append(
            Row(
                cells=(
                    names[_variant(one)],
                    _SHORT[one.quantity],
                    f"{format_fixed(fit.exponent, 2)} ± {format_fixed(fit.exponent_error, 2)}",
                    curve + (", undecided" if fit.undecided and fit.form is not Form.CONSTANT else ""),
                    f"{format_count(fit.smallest)}–{format_count(one.points[-1][0])}",
                    f"{fit.used} of {fit.measured}",
                    format_count(one.fixed),
                    format_percent(one.dropout, 0),
                )
            )
        )
    return Table(
        key=f"exponents-{axis.value}",
        caption="The exponent is the slope through the largest sizes, least squares on logarithms, with its standard "
        "error; where a constant dominates it says more of the constant than of growth, and a constant and a line fits "
        "better. Undecided: both fit about as well. No growth seen: neither fits better than a constant.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Cost", numeric=False),
            Column(heading="Exponent"),
            Column(heading="Fits better", numeric=False),
            Column(heading="Fitted", unit=axis.value),
            Column(heading="Sizes"),
            Column(heading=_OTHER[axis].capitalize()),
            Column(heading="Drop out"),
        ),
        rows=tuple(rows),
    )


def _projections(projected: Sequence[Growth], names: dict[Variant, str]) -> Table:
    (common, _), *_ = Counter(one.fixed for one in projected).most_common(1)
    return Table(
        key="projections",
        caption=f"What sizes that nobody measured would cost, at {format_count(common)} parameters unless said. The "
        "curve over neighbours knows from the planner with how many each client masks; where it stands, it is the "
        "better guess. The planner’s bytes are exact; beside them, how far the curve over clients is off. Anything: an "
        "interval of more than three powers of ten.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Cost", numeric=False),
            Column(heading="Clients"),
            Column(heading="Over clients", unit="95 % interval"),
            Column(heading="Over neighbours", unit="95 % interval"),
            Column(heading="Planner", numeric=False),
        ),
        rows=tuple(_projection_row(one, at, names, common) for one in projected for at in one.projections),
    )


def _projection_row(one: Growth, at: Projection, names: dict[Variant, str], common: int) -> Row:
    form = _text(one.quantity)
    apart = "" if one.fixed == common else f", {format_count(one.fixed)} parameters"
    return Row(
        cells=(
            names[_variant(one)] + apart,
            _SHORT[one.quantity],
            format_count(at.at),
            _guess((at.value, at.low, at.high), form),
            MISSING if at.by_neighbours is None else _guess(at.by_neighbours, form),
            "no session" if at.refused else _planned(at),
        ),
        tone=Tone.MUTED if at.refused else Tone.CALM,
    )


def _guess(guess: tuple[float, float, float], form: Callable[[float | None], str]) -> str:
    value, low, high = guess
    if not high <= _WIDEST * low:
        return f"{form(value)} (anything)"
    return form(value) + ("" if form(low) == form(high) else f" ({form(low)} – {form(high)})")


def _planned(at: Projection) -> str:
    if at.planned is None:
        return MISSING
    low, high = at.planned
    shown = (
        format_bytes(low) if format_bytes(low) == format_bytes(high) else f"{format_bytes(low)} – {format_bytes(high)}"
    )
    nearest = min(max(at.value, low), high)
    off = at.value / nearest - 1
    return f"{shown}; curve {'+' if off >= 0 else '−'}{format_percent(abs(off), 0)}"


def _notes(projected: Sequence[Growth], names: dict[Variant, str]) -> tuple[str, ...]:
    """Assumptions, each once, with those that it holds for where that is not all."""
    everyone = {names[_variant(one)] for one in projected}
    by_sentence: dict[str, dict[str, None]] = defaultdict(dict)
    for one in projected:
        refused = [f"A session of {format_count(at.at)} clients: {at.refused}." for at in one.projections if at.refused]
        for sentence in (*one.assumptions, *refused):
            by_sentence[sentence][names[_variant(one)]] = None
    return tuple(
        sentence if set(of) == everyone else f"{', '.join(f'`{name}`' for name in of)}: {sentence}"
        for sentence, of in by_sentence.items()
    )


def _variant(one: Growth) -> Variant:
    return (one.kind, one.suite, one.privacy, one.wire, one.server)


def _text(quantity: Quantity) -> Callable[[float | None], str]:
    return format_bytes if quantity.in_bytes else format_seconds
