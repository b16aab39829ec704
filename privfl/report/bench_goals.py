"""Where the benchmark's authors mean to be, and where they are."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.bench_records import GoalRecord
from privfl.report.bench_words import spread_words
from privfl.report.formats import format_count, format_number
from privfl.report.page import Column, Row, Section, Table, Tone, table_block


def goals_section(goals: Sequence[GoalRecord]) -> Section | None:
    """Every goal with its limit, and whether its figures reach it; on what each was measured. None without goals."""
    if not goals:
        return None
    reached = sum(one.holds for one in goals)
    blocks = [table_block(_table(goals))]
    blocks += [table_block(_grounds(goals))] if any(one.detail for one in goals) else []
    return Section(
        key="goals",
        heading="Goals",
        lead=f"{format_count(reached)} of {format_count(len(goals))} reached.",
        blocks=tuple(blocks),
    )


def _table(goals: Sequence[GoalRecord]) -> Table:
    return Table(
        key="goals-table",
        caption="Each is measured beside its limit in one run. In brackets, quartiles.",
        columns=(
            Column(heading="Goal", numeric=False),
            Column(heading="Verdict", numeric=False),
            Column(heading="Measured"),
            Column(heading="Limit"),
            Column(heading="Unit", numeric=False),
            Column(heading="Key", numeric=False, code=True),
        ),
        rows=tuple(
            Row(
                cells=(
                    one.what,
                    _verdict(one),
                    format_number(one.measured) + spread_words(one.spread),
                    f"{'≥' if one.at_least else '≤'} {one.limit:g}",
                    one.unit,
                    one.key,
                ),
                tone=Tone.CALM if one.holds else Tone.CAUTION,
            )
            for one in goals
        ),
    )


def _grounds(goals: Sequence[GoalRecord]) -> Table:
    """On what goals were measured; what several were measured on is said once."""
    shared: dict[str, list[str]] = {}
    for one in goals:
        if one.detail:
            shared.setdefault(one.detail, []).append(one.key)
    return Table(
        key="goals-grounds",
        caption="On what they were measured.",
        columns=(Column(heading="Key", numeric=False, code=True), Column(heading="Measured on", numeric=False)),
        rows=tuple(Row(cells=(", ".join(keys), detail)) for detail, keys in shared.items()),
    )


def _verdict(one: GoalRecord) -> str:
    """By the figures, whatever the line says; where they and the line differ, both."""
    told = "✓ reached" if one.holds else "✗ not reached"
    if one.spread is not None and one.spread[0] <= one.limit <= one.spread[1]:
        told += ", but the limit lies within the quartiles"
    if one.contradicted:
        told += f"; the record says {'reached' if one.reached else 'not reached'}"
    return told
