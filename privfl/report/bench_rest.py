"""The end of a benchmark's report: every cell, what was skipped and why, the machine and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from privfl.report.bench_records import CellRecord
from privfl.report.bench_words import in_order, megabytes, milliseconds, names_of, ratio_cell, share
from privfl.report.formats import MISSING, format_count, format_percent
from privfl.report.page import (
    Column,
    Row,
    Section,
    Table,
    Tone,
    definitions_block,
    listing_block,
    note_block,
    table_block,
)


def cells_section(cells: Sequence[CellRecord]) -> Section | None:
    """Everything that was measured, a line a cell; None without any."""
    if not cells:
        return None
    names = names_of(one.variant for one in cells)
    shown = sorted(in_order(cells), key=lambda one: (one.clients, one.parameters, one.dropout))
    table = Table(
        key="cells-table",
        caption="Medians; in brackets, quartiles. The error is the largest of all coordinates, as a fraction of full "
        "scale.",
        columns=(
            Column(heading="Clients"),
            Column(heading="Parameters"),
            Column(heading="Drop out"),
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Client", unit="ms"),
            Column(heading="Server", unit="ms"),
            Column(heading="All CPU", unit="× plain"),
            Column(heading="Upload", unit="MB a client"),
            Column(heading="Server peak", unit="MB"),
            Column(heading="Error", unit="of full scale"),
            Column(heading="Sessions"),
        ),
        rows=tuple(
            Row(
                cells=(
                    format_count(one.clients),
                    format_count(one.parameters),
                    format_percent(one.dropout, 0),
                    names[one.variant],
                    milliseconds(one.client_cpu_s),
                    milliseconds(one.server_cpu_s),
                    ratio_cell(one, "ratio_to_plain"),
                    megabytes(one.upload_bytes_per_contributor),
                    megabytes(one.server_peak_bytes),
                    share(one.max_abs_error),
                    MISSING if one.repeat is None else format_count(one.repeat),
                ),
                tone=Tone.CALM if one.protects else Tone.MUTED,
            )
            for one in shown
        ),
    )
    return Section(key="cells", heading="All cells", blocks=(table_block(table),))


def skipped_section(skipped: Sequence[tuple[str, str]]) -> Section | None:
    """What was not measured, and why; None if nothing was skipped."""
    if not skipped:
        return None
    table = Table(
        key="skipped-table",
        caption="Nothing above says anything of these.",
        columns=(Column(heading="Skipped", numeric=False), Column(heading="Why", numeric=False)),
        rows=tuple(Row(cells=(what, why)) for what, why in skipped),
    )
    return Section(key="skipped", heading="What was skipped", blocks=(table_block(table),))


def rerun_section(command: str, machine: Mapping[str, Any], others: int) -> Section | None:
    """The command and the machine; None where neither is known.

    Args:
        command: what was typed.
        machine: names and versions.
        others: how many records come from another machine or other versions.
    """
    blocks = [listing_block("The command", command)] if command.strip() else []
    if machine:
        blocks.append(definitions_block(tuple((str(name), str(value)) for name, value in machine.items())))
    if others:
        blocks.append(
            note_block(
                f"{format_count(others)} of the records above name another machine or other versions: compare their "
                f"ratios, and not their times.",
                Tone.CAUTION,
            )
        )
    return Section(key="rerun", heading="Run it again", blocks=tuple(blocks)) if blocks else None
