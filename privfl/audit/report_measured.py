"""Empirical results: what each attack found beside what is claimed, what it could have found, and its control."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from privfl.audit.findings import Audit, Layer, Measured
from privfl.audit.report_words import capital, counted, equals, lines, rich, strong, told_apart
from privfl.report.charts import Histogram, HistogramSeries, histogram
from privfl.report.charts.epsilons import Interval, Intervals, interval_chart
from privfl.report.formats import MISSING, format_count, format_number, format_percent
from privfl.report.page import (
    Column,
    Figure,
    Row,
    Section,
    Table,
    Tone,
    figures_block,
    table_block,
)

_BINS: Final = 24
_TINY_SPAN: Final = 1e-9
_KEY: Final = "attacks"
_HEADING: Final = "What attacks found"
_DIGITS: Final = 3


def measured_section(audit: Audit) -> Section:
    """All attacks: on one axis, in a table, in words, and their scores."""
    if not audit.measured:
        why = (
            "Nothing was recorded that could be attacked: no bound of ε was measured."
            if Layer.EMPIRICAL in audit.layers
            else "Nobody asked for the empirical audit: nothing was attacked."
        )
        return Section(key=_KEY, heading=_HEADING, lead=why)
    figures = [_axis(audit.measured)]
    figures += [_scores(index, one) for index, one in enumerate(audit.measured) if _finite(one.inside + one.outside)]
    against = any(contradicts(one) for one in audit.measured)
    return Section(
        key=_KEY,
        heading=_HEADING,
        lead="A lower bound says what ε is at least. It can refute a claim. Below the claim it proves nothing, and is "
        "worth as much as the attack was able to find out.",
        blocks=(figures_block(*figures), table_block(_table(audit.measured)), table_block(_words(audit.measured))),
        tone=Tone.ALARM if against else Tone.CALM,
    )


def contradicts(one: Measured) -> bool:
    """Whether what was measured leaves no room for what is claimed; an estimate never does."""
    return one.is_bound and not one.epsilon <= one.claimed


def blind(one: Measured) -> bool:
    """Whether the control found nothing that would have contradicted the claim, where nothing was protected."""
    return one.control is not None and not one.control > one.claimed and not math.isinf(one.claimed)


def _axis(measured: Sequence[Measured]) -> Figure:
    chart = Intervals(
        key="attacks-chart",
        title="What attacks found beside what is claimed",
        description=" ".join(f"{one.name}: {_found(one)}, claimed {_claimed(one)}." for one in measured),
        rows=tuple(
            Interval(
                label=capital(one.name.split(" (")[0]),
                text=_found(one),
                found=one.epsilon,
                bounds=one.is_bound,
                claimed=one.claimed,
                control=one.control,
                detectable=one.detectable,
            )
            for one in measured
        ),
    )
    return Figure(
        heading="What ε can still be",
        drawing=interval_chart(chart),
        caption="Shaded: from the lower bound upwards, without end. A bound to the right of the claim would refute it. "
        "The control is the same attack where nothing protects; it must stand to the right of the claim. What does not "
        "fit stands at the right end.",
    )


def _table(measured: Sequence[Measured]) -> Table:
    return Table(
        key="attacks-table",
        caption="A canary is an input made up for the test, put in or left out by a coin; whoever attacks guesses the "
        "coins from what was released. What is claimed is claimed of what was attacked, such as one round, and not of "
        "the whole run.",
        columns=(
            Column(heading="Attack", numeric=False),
            Column(heading="Canaries"),
            Column(heading="Guessed"),
            Column(heading="Right"),
            Column(heading="Found", unit="ε"),
            Column(heading="Confidence"),
            Column(heading="Claimed", unit="ε"),
            Column(heading="Control", unit="ε, without noise"),
            Column(heading="Would notice", unit="ε, from"),
        ),
        rows=tuple(
            Row(
                cells=(
                    rich(capital(one.name)),
                    format_count(one.canaries),
                    format_count(one.guesses),
                    format_count(one.correct),
                    _found(one),
                    "none: an estimate" if not one.is_bound else format_percent(one.confidence, 0),
                    _claimed(one),
                    "✗ none" if one.control is None else f"{'✗ ' if blind(one) else ''}{_without_noise(one)}",
                    MISSING if one.detectable is None else format_number(one.detectable, _DIGITS),
                ),
                tone=_tone(one),
            )
            for one in measured
        ),
    )


def _words(measured: Sequence[Measured]) -> Table:
    return Table(
        key="attacks-words",
        caption="What each attack did and found, what it would have found, and whether it finds anything at all.",
        columns=(
            Column(heading="Result", numeric=False),
            Column(heading="Power", numeric=False),
            Column(heading="Negative control", numeric=False),
        ),
        rows=tuple(
            Row(
                cells=(
                    lines(strong(capital(one.name)), rich(f"{capital(_dot(one.what))} {_result(one)}")),
                    rich(_power(one)),
                    rich(_control(one)),
                ),
                tone=_tone(one),
            )
            for one in measured
        ),
    )


def _result(one: Measured) -> str:
    guessed = (
        f"Of {counted(one.canaries, 'canary', 'canaries')}, {format_count(one.guesses)} were guessed at, and "
        f"{format_count(one.correct)} of the guesses were right."
    )
    found, claimed = told_apart(one.epsilon, one.claimed, _DIGITS)
    if not one.is_bound:
        return f"{guessed} The estimate is {equals(found, '≈')}; it bounds nothing, in either direction."
    sure = f" with {format_percent(one.confidence, 0)} confidence" if one.confidence is not None else ""
    told = f"{guessed} Hence {equals(found, '≥')}{sure}"
    if math.isinf(one.claimed):
        return f"{told}. Nothing is promised of what was attacked."
    if contradicts(one):
        return f"✗ {told}, which contradicts the {claimed} that is claimed."
    return f"{told}. That does not contradict the {claimed} that is claimed, and does not prove it."


def _power(one: Measured) -> str:
    if math.isinf(one.claimed):
        return "Nothing is promised of what was attacked: no result would have contradicted it."
    if one.detectable is None:
        return "! None: no true ε, however large, would have been noticed nine times of ten."
    least = format_number(one.detectable, _DIGITS)
    return f"A true ε of {least} or more would have been noticed nine times of ten; less, less often."


def _control(one: Measured) -> str:
    if one.control is None:
        return "✗ None was run: whether this attack finds anything where there is something to find was not shown."
    told = f"Without noise, the same attack finds {equals(_without_noise(one), '≥' if one.is_bound else '≈')}"
    if math.isinf(one.claimed):
        return f"{told}."
    if blind(one):
        return (
            f"✗ {told}, which is not more than is claimed: it does not find what is there to be found, and its "
            f"result says nothing."
        )
    return f"✓ {told}, more than is claimed, as it must."


def _scores(index: int, one: Measured) -> Figure:
    inside, outside = _finite(one.inside), _finite(one.outside)
    edges = _edges(inside + outside)
    parts = (("in", inside), ("not in", outside))
    series = tuple(
        HistogramSeries(label=f"{label}: {format_count(len(scores))}", shares=_shares(scores, edges))
        for label, scores in parts
        if scores
    )
    chart = Histogram(
        key=f"scores-{index}",
        title=f"Scores of canaries: {one.name}",
        description="Share of canaries by score, those that were in and those that were not.",
        x_label="score",
        edges=edges,
        series=series,
    )
    lost = len(one.inside + one.outside) - len(inside + outside)
    return Figure(
        heading=f"Scores: {one.name.split(' (')[0]}",
        drawing=histogram(chart),
        caption="Share of canaries by score."
        + (" The more the two go together, the less there was to find out." if len(series) > 1 else "")
        + (f" {counted(lost, 'score')} that were no finite number are left out." if lost else ""),
    )


def _edges(scores: Sequence[float]) -> tuple[float, ...]:
    low, high = min(scores), max(scores)
    if high - low <= _TINY_SPAN * max(abs(low), abs(high), _TINY_SPAN):
        margin = 0.05 * max(abs(low), abs(high)) or 0.5
        low, high = low - margin, high + margin
    return (*(low + (high - low) * index / _BINS for index in range(_BINS)), high)


def _shares(scores: Sequence[float], edges: Sequence[float]) -> tuple[float, ...]:
    last = edges[-1]
    return tuple(
        sum(low <= score < high or score == high == last for score in scores) / len(scores)
        for low, high in pairwise(edges)
    )


def _finite(scores: Sequence[float]) -> tuple[float, ...]:
    return tuple(score for score in scores if abs(score) <= 1e100)  # what charts can draw; NaN fails it


def _tone(one: Measured) -> Tone:
    if contradicts(one):
        return Tone.ALARM
    return Tone.CAUTION if one.control is None or blind(one) else Tone.CALM


def _found(one: Measured) -> str:
    """As many digits as it takes to see on which side of the claim it lies."""
    return f"{'≥' if one.is_bound else '≈'} {told_apart(one.epsilon, one.claimed, _DIGITS)[0]}"


def _claimed(one: Measured) -> str:
    return "nothing" if math.isinf(one.claimed) else told_apart(one.epsilon, one.claimed, _DIGITS)[1]


def _without_noise(one: Measured) -> str:
    return told_apart(one.control, one.claimed, _DIGITS)[0]


def _dot(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
