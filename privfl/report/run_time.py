"""What a run took on the simulated fleet's clock, kept apart from what it took on the machine that ran it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from privfl.report.formats import (
    MISSING,
    format_count,
    format_fixed,
    format_percent,
    format_seconds,
    seconds_unit,
)
from privfl.report.page import (
    Column,
    Fact,
    Row,
    Section,
    Table,
    Tone,
    facts_block,
    figures_block,
    note_block,
    table_block,
)
from privfl.report.run_time_charts import Timed, clock_unit, staleness, time_figures
from privfl.round_metrics import RoundMetrics


def time_section(rows: Sequence[RoundMetrics], *, private: bool, best_round: int | None = None) -> Section | None:
    """Accuracy over simulated time, seconds of rounds, staleness; None where no clock was simulated.

    Args:
        rows: the rounds.
        private: whether the run was under differential privacy, where all clients take the time of one public size.
        best_round: whose model is the best, where that is to be told.
    """
    timed = [
        Timed(row=row, took_s=row.simulated_seconds, over_s=row.simulated_clock)
        for row in rows
        if row.simulated_seconds is not None and row.simulated_clock is not None
    ]
    if not timed:
        return None
    basis = (
        "one public number of examples for all of them, so that who is in time does not follow from what a client holds"
        if private
        else "how many examples each holds"
    )
    return Section(
        key="time",
        heading="Time",
        lead="Simulated: how long clients train and transfer, and when they can be reached, by the job’s `fleet`. "
        "Nobody waited for that clock.",
        blocks=(
            facts_block(_facts(timed, rows, best_round)),
            figures_block(*time_figures(timed)),
            table_block(_table(timed)),
            note_block(
                f"The simulated clock goes by the speeds and links of the fleet, the bytes of the session’s messages, "
                f"and {basis}; it knows no CPU of the protocol. Who is in a sum follows from it. All other seconds in "
                f"this report were measured, on the machine that ran all clients one after another."
            ),
        ),
    )


def _facts(timed: Sequence[Timed], rows: Sequence[RoundMetrics], best_round: int | None) -> tuple[Fact, ...]:
    took = [one.took_s for one in timed]
    whole, between = timed[-1].over_s, timed[-1].over_s - sum(took)
    facts = [
        Fact(
            label="Simulated time",
            value=format_seconds(whole),
            note=f"for {format_count(len(timed))} round{'s'[: len(timed) != 1]}",
        ),
        Fact(
            label="A round, simulated",
            value=format_seconds(statistics.median(took)),
            note=_spread(took),
        ),
    ]
    if between > 1e-3 * whole:
        facts.append(
            Fact(
                label="Between rounds, simulated",
                value=format_seconds(between),
                note="until enough clients were there, or after a round that came to nothing",
            )
        )
    best = next((one for one in timed if one.row.round == best_round), None)
    if best is not None:
        facts.append(
            Fact(
                label="Best model after",
                value=format_seconds(best.over_s),
                note=f"simulated, with round {format_count(best.row.round)}",
            )
        )
    stale = staleness(timed)
    if stale:
        most = max(one.row.staleness_most or 0 for one in timed)
        facts.append(
            Fact(
                label="Staleness",
                value=format_fixed(statistics.fmean(stale), 2),
                note=f"server steps, mean of the updates; {format_count(most)} at the most",
            )
        )
    facts.append(
        Fact(
            label="This machine took",
            value=format_seconds(sum(row.seconds for row in rows)),
            note="measured, for the same rounds",
        )
    )
    return tuple(facts)


def _spread(took: Sequence[float]) -> str:
    if len(took) == 1:
        return ""
    least, most = format_seconds(min(took)), format_seconds(max(took))
    return "in every round" if least == most else f"median; {least} to {most}"


def _table(timed: Sequence[Timed]) -> Table:
    size, unit, decimals = clock_unit(timed[-1].over_s)
    took, real = seconds_unit(one.took_s for one in timed), seconds_unit(one.row.seconds for one in timed)
    stale = bool(staleness(timed))
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(one.row.round) for one in timed]),
        (Column(heading="Began", unit=f"{unit}, simulated"), [format_fixed(o.began_s / size, decimals) for o in timed]),
        (Column(heading="Over", unit=f"{unit}, simulated"), [format_fixed(o.over_s / size, decimals) for o in timed]),
        (Column(heading="Took", unit=f"{took.symbol}, simulated"), [took.format(one.took_s) for one in timed]),
        (Column(heading="Took", unit=f"{real.symbol}, measured"), [real.format(one.row.seconds) for one in timed]),
        (Column(heading="Accuracy", unit="held out"), [format_percent(one.row.accuracy) for one in timed]),
        (
            Column(heading="Staleness", unit="mean, steps"),
            [MISSING if o.row.staleness is None else format_fixed(o.row.staleness, 2) for o in timed] if stale else [],
        ),
        (
            Column(heading="Staleness", unit="largest"),
            [MISSING if o.row.staleness_most is None else format_count(o.row.staleness_most) for o in timed]
            if stale
            else [],
        ),
    ]
    kept = [(column, cells) for column, cells in columns if cells]
    return Table(
        key="time-table",
        caption="When each round was, on the simulated clock, and what this machine took to compute it.",
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if one.row.aborted else Tone.CALM,
            )
            for index, one in enumerate(timed)
        ),
    )
