"""What clients uploaded, beside what the same updates would have weighed whole, and what it was good for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from privfl.report.charts import LineChart, Mark, MarkKind, Series, line_chart
from privfl.report.formats import (
    MISSING,
    THIN_SPACE,
    bytes_unit,
    format_bytes,
    format_count,
    format_number,
    format_percent,
    format_ratio,
)
from privfl.report.page import (
    Column,
    Fact,
    Figure,
    Row,
    Section,
    Table,
    Tone,
    facts_block,
    figures_block,
    notes_block,
    table_block,
)
from privfl.round_metrics import RoundMetrics

_FEWEST_ON_AXIS = 5.0  # along an axis of whole numbers
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Sums over the rounds of which it is known what whole updates would have weighed.

    Attributes:
        rounds: how many.
        upload_bytes: of all clients, aborted rounds included: they were sent.
        float32_bytes: what the whole updates of the same clients would have weighed, four bytes a parameter.
    """

    rounds: int
    upload_bytes: int
    float32_bytes: int

    @classmethod
    def of(cls, rows: Sequence[RoundMetrics]) -> Uploaded:
        """The sums over `rows`; those that an older version wrote say nothing of it, and are left out."""
        told = [row for row in rows if row.float32_bytes or row.coordinates is not None]
        return cls(
            rounds=len(told),
            upload_bytes=sum(row.upload_bytes for row in told),
            float32_bytes=sum(row.float32_bytes for row in told),
        )

    @property
    def ratio(self) -> float | None:
        """Bytes uploaded for every byte of a whole update; None where there is nothing to compare with."""
        return self.upload_bytes / self.float32_bytes if self.float32_bytes else None


def ratio_words(ratio: float | None) -> str:
    """A ratio to float32 in words.

    >>> ratio_words(1 / 12.3), ratio_words(1.02) == "1.02\u202f× float32", ratio_words(None)
    ('1/12.3 of float32', True, '–')
    """
    text = ratio_text(ratio)
    return text if ratio is None else f"{text} of float32" if text.startswith("1/") else f"{text} float32"


def ratio_text(ratio: float | None) -> str:
    """A ratio as people say it: as a fraction where it is a small one.

    >>> ratio_text(1 / 12.3), ratio_text(0.9) == "0.900\u202f×"
    ('1/12.3', True)
    """
    if ratio is None:
        return MISSING
    return f"1/{format_number(1 / ratio)}" if 0 < ratio <= 1 / 2 else format_ratio(ratio, 1.0)


def upload_section(rows: Sequence[RoundMetrics], parameters: int) -> Section | None:
    """Ratios to float32, and accuracy against bytes; None where no finished round says what to compare with.

    Args:
        rows: the rounds.
        parameters: of the model.
    """
    if not any(row.float32_bytes > 0 and not row.aborted for row in rows):
        return None
    figures = [_accuracy_figure(rows)]
    if _clip_moves(rows):
        figures.append(_clip_figure(rows))
    return Section(
        key="upload",
        heading="Upload",
        lead="All that clients sent for the sums, keys and shares of the protocol included, beside the whole updates "
        "of the same clients as float32: four bytes a parameter, and nothing else.",
        blocks=(
            facts_block(_facts(rows, parameters)),
            figures_block(*figures),
            table_block(_table(rows)),
            notes_block(_notes(rows, parameters)),
        ),
    )


def _facts(rows: Sequence[RoundMetrics], parameters: int) -> tuple[Fact, ...]:
    sums, aborted = Uploaded.of(rows), Uploaded.of([row for row in rows if row.aborted]).rounds
    facts = [
        Fact(
            label="Upload, all clients",
            value=format_bytes(sums.upload_bytes),
            note=f"in {_rounds(sums.rounds)}" + (f", {format_count(aborted)} of them aborted" if aborted else ""),
        ),
        Fact(
            label="The same updates, whole",
            value=format_bytes(sums.float32_bytes),
            note="as float32, with no protection and nothing around them",
        ),
        Fact(
            label="Upload against float32",
            value=ratio_text(sums.ratio),
            note="everything counted, keys and shares included",
        ),
    ]
    sent = next((row.coordinates for row in reversed(rows) if row.coordinates is not None), parameters)
    if sent != parameters:
        share = format_percent(sent / parameters if parameters else None)
        facts.append(
            Fact(
                label="Coordinates sent",
                value=format_count(sent),
                note=f"by a client in a round: {share} of {format_count(parameters)} parameters",
            )
        )
    return tuple(facts)


def _accuracy_figure(rows: Sequence[RoundMetrics]) -> Figure:
    so_far = _so_far(rows)
    unit = bytes_unit([so_far[-1] / _FEWEST_ON_AXIS])
    places = [total / unit.size for total in so_far]
    # A point without a value lets the axis begin with the run.
    series = [
        Series(
            label="held out at the server",
            points=((0.0, math.nan), *((x, row.accuracy) for x, row in zip(places, rows, strict=True))),
        )
    ]
    evaluated = tuple(
        (x, row.federated_accuracy) for x, row in zip(places, rows, strict=True) if row.federated_accuracy is not None
    )
    if evaluated:
        series.append(Series(label="at the clients", points=evaluated))
    chart = LineChart(
        key="upload-chart",
        title="Accuracy over bytes uploaded",
        description=f"{format_percent(rows[0].accuracy)} after {format_bytes(so_far[0])}, "
        f"{format_percent(rows[-1].accuracy)} after {format_bytes(so_far[-1])}.",
        x_label=f"{unit.symbol} uploaded so far, all clients",
        series=tuple(series),
        marks=tuple(
            Mark(x=x, kind=MarkKind.ABORTED, label=f"round {row.round}: aborted")
            for x, row in zip(places, rows, strict=True)
            if row.aborted
        ),
        percent=True,
        limits=(0.0, 1.0),
    )
    return Figure(
        heading="Accuracy over bytes uploaded",
        drawing=line_chart(chart),
        caption="The accuracy of each round’s model, where all clients together had uploaded so much."
        + (" An aborted round adds bytes and leaves the model as it was." if any(row.aborted for row in rows) else ""),
    )


def _clip_figure(rows: Sequence[RoundMetrics]) -> Figure:
    clips = [(row.round, row.encoding_clip) for row in rows if row.encoding_clip is not None]
    chart = LineChart(
        key="encoding-clip-chart",
        title="Clip of the encoding by round",
        description=f"{format_number(clips[0][1])} in the first round shown, "
        f"{format_number(clips[-1][1])} in the last.",
        x_label="round",
        series=(
            Series(
                label="encoding.clip",
                points=tuple(
                    (float(row.round), math.nan if row.encoding_clip is None else row.encoding_clip) for row in rows
                ),
            ),
        ),
        marks=tuple(
            Mark(x=row.round, kind=MarkKind.ABORTED, label=f"round {row.round}: aborted") for row in rows if row.aborted
        ),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Clip of the encoding",
        drawing=line_chart(chart),
        caption="The magnitude at which coordinates were cut. `encoding.adaptive` lets it follow the updates: the "
        "smaller it is, the finer the steps that the same bits make.",
    )


def _table(rows: Sequence[RoundMetrics]) -> Table:
    so_far = _so_far(rows)
    upload, whole, total = (
        bytes_unit(row.upload_bytes for row in rows),
        bytes_unit(row.float32_bytes for row in rows),
        bytes_unit(so_far),
    )
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(row.round) for row in rows]),
        (Column(heading="Upload", unit=upload.symbol), [upload.format(row.upload_bytes) for row in rows]),
        (
            Column(heading="Whole, float32", unit=whole.symbol),
            [whole.format(row.float32_bytes or None) for row in rows],
        ),
        (Column(heading="Ratio", unit="% of float32"), [_percent(Uploaded.of([row]).ratio) for row in rows]),
        (Column(heading="Upload so far", unit=total.symbol), [total.format(count) for count in so_far]),
        (Column(heading="Accuracy", unit="held out"), [format_percent(row.accuracy) for row in rows]),
        (
            Column(heading="Clip", unit="of the encoding"),
            [format_number(row.encoding_clip) for row in rows] if _clip_moves(rows) else [],
        ),
    ]
    kept = [(column, cells) for column, cells in columns if cells]
    return Table(
        key="upload-table",
        caption="Bytes of all clients, round by round.",
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if row.aborted else Tone.CALM,
            )
            for index, row in enumerate(rows)
        ),
    )


def _notes(rows: Sequence[RoundMetrics], parameters: int) -> tuple[str, ...]:
    model = format_bytes(_FLOAT32_BYTES * parameters)
    downloads = (
        f"Downloads are not compressed: every client that trains fetches the whole model, {model} as float32. The "
        f"bytes of this report are those of the session’s messages, without it."
    )
    notes = [downloads]
    aborted = Uploaded.of([row for row in rows if row.aborted])
    if aborted.rounds:
        finished = Uploaded.of([row for row in rows if not row.aborted])
        notes.append(
            f"Aborted rounds count: {_rounds(aborted.rounds)} took {format_bytes(aborted.upload_bytes)} of upload, of "
            f"clients whose whole updates weigh {format_bytes(aborted.float32_bytes)}, and released nothing. Finished "
            f"rounds alone: {ratio_words(finished.ratio)}."
        )
    untold = len(rows) - Uploaded.of(rows).rounds
    if untold:
        notes.append(
            f"Of {_rounds(untold)} it was not recorded what whole updates weigh: the ratio leaves that out, the curve "
            f"does not."
        )
    elsewhere = [
        *(["evaluations at the clients"] if any(row.evaluation_bytes for row in rows) else []),
        *(["the committee"] if any(row.committee_bytes for row in rows) else []),
    ]
    if elsewhere:
        notes.append(f"Not counted here: the traffic of {' and of '.join(elsewhere)}.")
    return tuple(notes)


def _so_far(rows: Sequence[RoundMetrics]) -> list[int]:
    """Bytes that were uploaded when each round was over, aborted rounds included."""
    return list(accumulate(row.upload_bytes for row in rows))


def _clip_moves(rows: Sequence[RoundMetrics]) -> bool:
    return len({row.encoding_clip for row in rows if row.encoding_clip is not None}) > 1


def _percent(ratio: float | None) -> str:
    """Percent without the sign, which stands in the heading."""
    return format_percent(ratio).removesuffix(f"{THIN_SPACE}%")


def _rounds(count: int) -> str:
    return f"{format_count(count)} round{'s'[: count != 1]}"
