"""Who fell out of a run's rounds, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from privfl.report.charts import Bar, BarChart, bar_chart
from privfl.report.formats import MISSING, format_count
from privfl.report.page import (
    Column,
    Figure,
    Row,
    Section,
    Table,
    Tone,
    definitions_block,
    figures_block,
    note_block,
    table_block,
)
from privfl.report.run_reasons import (
    MEANINGS,
    SIMULATED,
    TRAINING_FAILED,
    Tally,
    by_kind,
    errors_table,
    format_spans,
    known_lost,
    tallies,
)
from privfl.round_metrics import RoundMetrics

_MOST_BARS = 6


def dropouts_section(rows: Sequence[RoundMetrics], *, private: bool) -> Section | None:
    """Reasons with who it was, round by round; None where no reason is known.

    Args:
        rows: the rounds.
        private: whether the run was under differential privacy, where clients keep to themselves what went wrong.
    """
    kinds = tallies(rows)
    if not kinds:
        return None
    blocks = [
        figures_block(_reasons_figure(kinds), _clients_figure(rows)),
        definitions_block(tuple((kind, MEANINGS[kind]) for kind in MEANINGS if any(t.reason == kind for t in kinds))),
        table_block(_rounds_table(rows)),
    ]
    told = tallies(rows, in_full=True)
    if told:
        caption = "What went wrong at clients, as their own software tells it."
        blocks.append(table_block(errors_table("errors-table", caption, told)))
    if private and any(tally.reason == TRAINING_FAILED for tally in kinds):
        blocks.append(
            note_block(
                "Of training that failed nothing else is told under differential privacy: an error could tell of "
                "examples what no noise hides."
            )
        )
    return Section(key="dropouts", heading="Drop-outs", lead=_lead(rows, kinds, private=private), blocks=tuple(blocks))


def _lead(rows: Sequence[RoundMetrics], kinds: Sequence[Tally], *, private: bool) -> str:
    simulated = any(tally.reason in SIMULATED for tally in kinds)
    lead = "Who was lost, and why."
    if _buffered(rows):
        lead += (
            " A client that was lost while it trained had joined no buffer yet: the number of those that dropped out "
            "of one leaves it out."
        )
    lead += " The server sees who comes and who stays silent: no protection hides it"
    return (
        lead
        + (", differential privacy included." if private else ".")
        + (" Why a simulated client was silent, the simulation alone knows." if simulated else "")
    )


def _reasons_figure(kinds: Sequence[Tally]) -> Figure:
    bars = tuple(
        Bar(label=tally.reason, value=tally.times, text=_times(tally), emphasis=place == 0)
        for place, tally in enumerate(kinds)
    )
    return Figure(
        heading="Why",
        drawing=bar_chart(
            BarChart(
                key="reasons-bars",
                title="Reasons for which clients were lost",
                description="; ".join(f"{bar.label}: {bar.text}" for bar in bars) + ".",
                bars=bars,
            )
        ),
        caption="A client is counted once a round.",
    )


def _clients_figure(rows: Sequence[RoundMetrics]) -> Figure:
    lost = Counter(client for row in rows for client in known_lost(row))
    most = sorted(lost.items(), key=lambda pair: (-pair[1], pair[0]))
    bars = tuple(
        Bar(label=f"client {format_count(client)}", value=count, text=_share(count, len(rows)))
        for client, count in most[:_MOST_BARS]
    )
    rest = len(most) - len(bars)
    others = f", {format_count(rest)} other{'s'[: rest != 1]} less often or as often" if rest else ""
    return Figure(
        heading="Who",
        drawing=bar_chart(
            BarChart(
                key="lost-bars",
                title="Clients that were lost most often",
                description="; ".join(f"{bar.label}: {bar.text}" for bar in bars) + ".",
                bars=bars,
            )
        ),
        caption=f"Clients that were lost most often{others}.",
    )


def _rounds_table(rows: Sequence[RoundMetrics]) -> Table:
    shown = [row for row in rows if row.dropped_because or row.dropped or row.vanished]
    found = [by_kind(row.dropped_because) for row in shown]
    kinds = [kind for kind in MEANINGS if any(kind in reasons for reasons in found)]
    silent = [_unexplained(row, rows) for row in shown]
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(row.round) for row in shown]),
        (Column(heading="In the sum", unit="clients"), [_in_the_sum(row) for row in shown]),
        *(
            (
                Column(heading=kind.capitalize(), unit="clients", numeric=False),
                [format_spans(reasons[kind]) if kind in reasons else MISSING for reasons in found],
            )
            for kind in kinds
        ),
        (
            Column(heading="Silent", unit="clients, no reason known"),
            [MISSING if count is None else format_count(count) for count in silent] if any(silent) else [],
        ),
    ]
    kept = [(column, cells) for column, cells in columns if cells]
    return Table(
        key="dropouts-table",
        caption="The rounds in which clients were lost, with their numbers. All of them stand in `metrics.jsonl`.",
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if row.aborted else Tone.CALM,
            )
            for index, row in enumerate(shown)
        ),
    )


def _unexplained(row: RoundMetrics, rows: Sequence[RoundMetrics]) -> int | None:
    """Clients that fell silent for no reason that is known; None where that cannot be told."""
    if row.aborted or _buffered(rows):
        return None
    return max(row.dropped + row.vanished - len(known_lost(row)), 0)


def _buffered(rows: Sequence[RoundMetrics]) -> bool:
    return any(row.staleness is not None for row in rows)


def _in_the_sum(row: RoundMetrics) -> str:
    return "aborted" if row.aborted else f"{format_count(row.contributors)} of {format_count(row.cohort)}"


def _times(tally: Tally) -> str:
    clients, rounds = len(tally.clients), len(tally.rounds)
    return (
        f"{format_count(tally.times)} time{'s'[: tally.times != 1]}, {format_count(clients)} "
        f"client{'s'[: clients != 1]}, {format_count(rounds)} round{'s'[: rounds != 1]}"
    )


def _share(count: int, rounds: int) -> str:
    return f"{format_count(count)} of {format_count(rounds)} round{'s'[: rounds != 1]}"
