"""What protection cost a run: bytes and seconds beside those of `plain`, measured in the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from privfl.report.charts import Bar, BarChart, bar_chart
from privfl.report.formats import (
    MISSING,
    format_bytes,
    format_count,
    format_percent,
    format_ratio,
    format_seconds,
)
from privfl.report.page import Column, Figure, Row, Section, Table, figures_block, note_block, table_block
from privfl.round_metrics import RoundMetrics

PLAIN = "plain"  # the suite that protects nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the rounds that were finished: an aborted one has no counterpart under `plain`.

    Attributes:
        rounds: how many.
        asked: clients asked, a client counted once a round.
        upload_bytes: of all clients.
        download_bytes: of all clients.
        plain_upload_bytes: of all clients, under `plain`.
        seconds: of whole rounds.
        secure_seconds: of aggregation.
        plain_seconds: of aggregation under `plain`.
        client_seconds: of one client's CPU, over all rounds.
        server_seconds: of the server's CPU.
    """

    rounds: int
    asked: int
    upload_bytes: int
    download_bytes: int
    plain_upload_bytes: int
    seconds: float
    secure_seconds: float
    plain_seconds: float
    client_seconds: float
    server_seconds: float
    committee_seconds: float
    committee_bytes: int

    @classmethod
    def of(cls, rows: Sequence[RoundMetrics]) -> Totals:
        """The sums over `rows`."""
        kept = [row for row in rows if not row.aborted]
        return cls(
            rounds=len(kept),
            asked=sum(row.cohort for row in kept),
            upload_bytes=sum(row.upload_bytes for row in kept),
            download_bytes=sum(row.download_bytes for row in kept),
            plain_upload_bytes=sum(row.plain_upload_bytes for row in kept),
            seconds=sum(row.seconds for row in kept),
            secure_seconds=sum(row.secure_seconds for row in kept),
            plain_seconds=sum(row.plain_seconds for row in kept),
            client_seconds=sum(row.client_seconds for row in kept),
            server_seconds=sum(row.server_seconds for row in kept),
            committee_seconds=sum(row.committee_seconds for row in kept),
            committee_bytes=sum(row.committee_bytes for row in kept),
        )


def cost_section(rows: Sequence[RoundMetrics], suite: str) -> Section:
    """Bars and a table that set the run beside `plain`."""
    totals = Totals.of(rows)
    if not totals.rounds:
        return Section(key="cost", heading="Cost", lead="No round was finished: there is nothing to compare.")
    blocks = [figures_block(*_figures(suite, totals)), table_block(_table(suite, totals))]
    aborted = [row for row in rows if row.aborted]
    if aborted:
        noun = "round" if len(aborted) == 1 else "rounds"
        blocks.append(
            note_block(
                f"Finished rounds only. {format_count(len(aborted))} aborted {noun} took another "
                f"{format_bytes(sum(row.upload_bytes for row in aborted))} of upload and "
                f"{format_seconds(sum(row.secure_seconds for row in aborted))} of aggregation."
            )
        )
    return Section(
        key="cost",
        heading="Cost",
        lead="The same vectors also went through `plain`, which protects nothing, in the same run and on the "
        "same machine.",
        blocks=tuple(blocks),
    )


def _figures(suite: str, totals: Totals) -> tuple[Figure, Figure]:
    share = totals.secure_seconds / totals.seconds if totals.seconds > 0 else None
    upload = _pair("upload-bars", suite, totals.upload_bytes, totals.plain_upload_bytes, format_bytes)
    seconds = _pair("seconds-bars", suite, totals.secure_seconds, totals.plain_seconds, format_seconds)
    return (
        Figure(
            heading=_against("Upload", totals.upload_bytes, totals.plain_upload_bytes),
            drawing=upload,
            caption="All clients, all rounds.",
        ),
        Figure(
            heading=_against("Aggregation time", totals.secure_seconds, totals.plain_seconds),
            drawing=seconds,
            caption="All clients and the server together, all rounds. Aggregation takes "
            f"{format_percent(share)} of the time of whole rounds, training included.",
        ),
    )


def _pair(key: str, suite: str, ours: float, theirs: float, form: Callable[[float | None], str]) -> Markup:
    first, second = _names(suite)
    return bar_chart(
        BarChart(
            key=key,
            title=f"{first} against {second}",
            description=f"{form(ours)} against {form(theirs)}.",
            bars=(
                Bar(label=first, value=ours, text=form(ours), emphasis=True),
                Bar(label=second, value=theirs, text=form(theirs)),
            ),
        )
    )


def _names(suite: str) -> tuple[str, str]:
    return (suite, PLAIN) if suite != PLAIN else ("plain, this run", "plain, beside it")


def _against(what: str, ours: float, theirs: float) -> str:
    ratio = format_ratio(ours, theirs)
    return what if ratio == MISSING else f"{what}: {ratio} plain"


def _table(suite: str, totals: Totals) -> Table:
    rounds, asked = totals.rounds, totals.asked
    first, second = _names(suite)
    rows = (
        _row("Upload, all clients", totals.upload_bytes, totals.plain_upload_bytes, format_bytes),
        _row(
            "Upload, one client in one round",
            _per(totals.upload_bytes, asked),
            _per(totals.plain_upload_bytes, asked),
            format_bytes,
        ),
        _row("Download, all clients", totals.download_bytes, None, format_bytes),
        _row("Download, one client in one round", _per(totals.download_bytes, asked), None, format_bytes),
        _row(
            "Aggregation, all parties" if totals.committee_bytes else "Aggregation, all clients and the server",
            totals.secure_seconds,
            totals.plain_seconds,
            format_seconds,
        ),
        _row(
            "Aggregation, one round",
            _per(totals.secure_seconds, rounds),
            _per(totals.plain_seconds, rounds),
            format_seconds,
        ),
        _row("CPU, one client in one round", _per(totals.client_seconds, rounds), None, format_seconds),
        _row("CPU, the server in one round", _per(totals.server_seconds, rounds), None, format_seconds),
        *_committee_rows(totals),
        _row("Whole rounds, training included", totals.seconds, None, format_seconds),
    )
    return Table(
        key="cost-table",
        caption="Totals over the run, and means where one client or one round is named. A dash: not measured "
        "under `plain`.",
        columns=(
            Column(heading="Cost", numeric=False),
            Column(heading=first),
            Column(heading=second),
            Column(heading="Ratio"),
        ),
        rows=rows,
    )


def _committee_rows(totals: Totals) -> tuple[Row, ...]:
    if not totals.committee_bytes:
        return ()
    return (
        _row("CPU, the committee, key ceremonies included", totals.committee_seconds, None, format_seconds),
        _row("Traffic, the committee, key ceremonies included", totals.committee_bytes, None, format_bytes),
    )


def _row(name: str, ours: float, theirs: float | None, form: Callable[[float | None], str]) -> Row:
    measured = theirs is not None and theirs > 0  # 0 is how a row says that nothing was measured
    ratio = format_ratio(ours, theirs) if theirs is not None else MISSING
    return Row(cells=(name, form(ours), form(theirs) if measured else MISSING, ratio))


def _per(total: float, count: int) -> float:
    return total / count if count else math.nan
