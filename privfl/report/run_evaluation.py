"""What clients found on examples of their own, of which nothing left them but one sum."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.formats import (
    MISSING,
    THIN_SPACE,
    bytes_unit,
    format_bytes,
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
    notes_block,
    table_block,
)
from privfl.report.run_costs import PLAIN
from privfl.report.run_evaluation_charts import band_width, evaluation_figures, quantile_heading, quantile_names
from privfl.report.run_reasons import errors_table, format_spans, tallies
from privfl.round_metrics import RoundMetrics


def evaluation_section(rows: Sequence[RoundMetrics], suite: str) -> Section | None:
    """Accuracy and loss at the clients, and how they spread; None where clients evaluated nothing.

    Args:
        rows: the rounds.
        suite: by which the evaluations were summed.
    """
    held = [row for row in rows if row.federated_accuracy is not None or row.evaluation_aborted_because is not None]
    if not held:
        return None
    found = [row for row in held if row.federated_accuracy is not None]
    blocks = []
    if found:
        blocks += [facts_block(_facts(found, held)), figures_block(*evaluation_figures(found))]
    blocks.append(table_block(_table(held)))
    failed = tallies(held, lambda row: row.evaluation_failed, in_full=True)
    if failed:
        caption = "What went wrong at clients that are in no such sum, as their own software tells it."
        blocks.append(table_block(errors_table("evaluation-errors", caption, failed)))
    blocks.append(notes_block((*_in_vain(held), *_learned(found, suite))))
    return Section(
        key="evaluation",
        heading="Evaluation at the clients",
        lead="Each client tried the model on examples of its own, which it does not train on; "
        + (
            "under `plain` the server read what each of them found."
            if suite == PLAIN
            else "one secure sum told the server what they found together."
        ),
        blocks=tuple(blocks),
    )


def _facts(found: Sequence[RoundMetrics], held: Sequence[RoundMetrics]) -> tuple[Fact, ...]:
    first, last = found[0], found[-1]
    after = f"after round {format_count(last.round)}"
    since = f"; {{}} after round {format_count(first.round)}" if len(found) > 1 else ""
    return (
        Fact(
            label="Accuracy at the clients",
            value=format_percent(last.federated_accuracy),
            note=f"all their examples together, {after}" + since.format(format_percent(first.federated_accuracy)),
        ),
        Fact(
            label="Worst client, at least",
            value=format_percent(last.worst_client_accuracy),
            note=after + since.format(format_percent(first.worst_client_accuracy)),
        ),
        Fact(
            label="A client, on average",
            value=format_percent(last.mean_client_accuracy),
            note=f"{after}; standard deviation {_points_of(last.std_client_accuracy)} points",
        ),
        Fact(
            label="Evaluations",
            value=format_count(len(held)),
            note=f"{format_count(last.evaluated_clients or 0)} clients in the last; "
            f"{format_bytes(sum(row.evaluation_bytes for row in held))} and "
            f"{format_seconds(sum(row.evaluation_seconds for row in held))} in all, measured",
        ),
    )


def _table(held: Sequence[RoundMetrics]) -> Table:
    traffic = bytes_unit(row.evaluation_bytes for row in held)
    seconds = seconds_unit(row.evaluation_seconds for row in held)
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="After round"), [format_count(row.round) for row in held]),
        (Column(heading="In the sum", unit="clients"), [_clients(row) for row in held]),
        (Column(heading="Accuracy", unit="together, %"), [_points_of(row.federated_accuracy, 2) for row in held]),
        (Column(heading="Loss"), [_decimals(row.federated_loss) for row in held]),
        (Column(heading="Mean", unit="of clients, %"), [_points_of(row.mean_client_accuracy) for row in held]),
        (Column(heading="Deviation", unit="points"), [_points_of(row.std_client_accuracy) for row in held]),
        (Column(heading="Worst", unit="at least, %"), [_points_of(row.worst_client_accuracy) for row in held]),
        *(
            (
                Column(heading=quantile_heading(name).capitalize(), unit="at least, %"),
                [_points_of((row.client_accuracy_quantiles or {}).get(name)) for row in held],
            )
            for name in quantile_names(held)
        ),
        (Column(heading="Traffic", unit=traffic.symbol), [traffic.format(row.evaluation_bytes) for row in held]),
        (Column(heading="Took", unit=seconds.symbol), [seconds.format(row.evaluation_seconds) for row in held]),
        (Column(heading="Failed at", unit="client", numeric=False), [_failed(row) for row in held]),
    ]
    kept = [(column, cells) for column, cells in columns if any(cell != MISSING for cell in cells)]
    return Table(
        key="evaluation-table",
        caption="Every evaluation. Bytes are those of all clients together, and add to those of the rounds.",
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if row.evaluation_aborted_because is not None else Tone.CALM,
            )
            for index, row in enumerate(held)
        ),
    )


def _in_vain(held: Sequence[RoundMetrics]) -> tuple[str, ...]:
    reasons: dict[str, list[int]] = {}
    for row in held:
        if row.evaluation_aborted_because is not None:
            reasons.setdefault(row.evaluation_aborted_because, []).append(row.round)
    return tuple(
        f"Nothing was found after round{'s'[: len(rounds) != 1]} {format_spans(rounds)}: {why}."
        for why, rounds in reasons.items()
    )


def _learned(found: Sequence[RoundMetrics], suite: str) -> tuple[str, ...]:
    """What the server knows now of its clients."""
    if suite == PLAIN:
        return ("The server read what every single client found: `plain` hides nothing.",)
    width = band_width(found)
    bands = f" ({width} wide)" if width else ""
    return (
        (
            "What the server learned of the clients of one evaluation: how many examples they hold out together, how "
            "many of those the model gets right and with what mean loss, the mean and the standard deviation of the "
            f"clients’ accuracies, and how many clients lie in each band of accuracy{bands}."
        ),
        (
            "It did not learn which client lies in which band, unless all lie in one. A sum over few clients tells "
            "much of each of them."
        ),
    )


def _clients(row: RoundMetrics) -> str:
    return "aborted" if row.evaluated_clients is None else format_count(row.evaluated_clients)


def _failed(row: RoundMetrics) -> str:
    clients = {client for who in row.evaluation_failed.values() for client in who}
    return format_spans(clients) if clients else MISSING


def _decimals(value: float | None) -> str:
    return MISSING if value is None else format_fixed(value, 4)


def _points_of(fraction: float | None, decimals: int = 1) -> str:
    """Percent without the sign, which stands in the heading."""
    return format_percent(fraction, decimals).removesuffix(f"{THIN_SPACE}%")
