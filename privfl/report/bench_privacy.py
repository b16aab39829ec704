"""What differential privacy adds to a session, in a benchmark's report."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.bench_records import NO_PRIVACY, CellRecord
from privfl.report.bench_words import (
    at_size,
    common_size,
    in_order,
    megabytes,
    milliseconds,
    names_of,
    ratio_cell,
    share,
    size_words,
    spread_words,
)
from privfl.report.formats import MISSING, format_ratio
from privfl.report.page import Column, Row, Section, Table, notes_block, table_block


def privacy_section(cells: Sequence[CellRecord]) -> Section | None:
    """Every suite with and without noise, at the largest size at which noise was measured; None if it never was."""
    noisy = [one for one in cells if one.privacy != NO_PRIVACY]
    size = common_size(noisy)
    if size is None:
        return None
    suites = {one.suite for one in noisy}
    shown = in_order(one for one in at_size(cells, size) if one.suite in suites)
    order = list(dict.fromkeys(one.suite for one in shown))
    shown.sort(key=lambda one: (order.index(one.suite), one.wire or "", one.privacy != NO_PRIVACY, one.privacy))
    names = names_of((one.kind, one.suite, NO_PRIVACY, one.wire or "", one.server or "") for one in shown)
    rows = tuple(
        Row(
            cells=(
                names[one.kind, one.suite, NO_PRIVACY, one.wire or "", one.server or ""],
                one.privacy,
                milliseconds(one.client_cpu_s) + spread_words(one.spread.get("client_cpu_s"), milliseconds),
                milliseconds(one.encode_cpu_s),
                milliseconds(one.server_cpu_s) + spread_words(one.spread.get("server_cpu_s"), milliseconds),
                milliseconds(one.decode_cpu_s),
                megabytes(one.upload_bytes_per_contributor),
                ratio_cell(one, "ratio_to_plain"),
                share(one.error_std_of_mean) if one.error_std_of_mean is not None else MISSING,
            )
        )
        for one in shown
    )
    table = Table(
        key="privacy-table",
        caption="In brackets, quartiles. Encoding is what a client does before the protocol, noise included where "
        "clients add it; decoding is what the server does after the sum, noise included where it adds it. The error’s "
        "standard deviation is a fraction of full scale.",
        columns=(
            Column(heading="Suite", numeric=False),
            Column(heading="Noise", numeric=False),
            Column(heading="Client", unit="ms"),
            Column(heading="of it encoding", unit="ms"),
            Column(heading="Server", unit="ms"),
            Column(heading="of it decoding", unit="ms"),
            Column(heading="Upload", unit="MB a client"),
            Column(heading="All CPU", unit="× plain"),
            Column(heading="Error", unit="std"),
        ),
        rows=rows,
    )
    told = _reading(shown)
    return Section(
        key="privacy",
        heading="With differential privacy",
        lead=f"A session of {size_words(size)}.",
        blocks=(*([notes_block(told)] if told else []), table_block(table)),
    )


def _reading(shown: Sequence[CellRecord]) -> tuple[str, ...]:
    """For each suite, how much more than without noise."""
    bare = {(one.suite, one.wire, one.server): one for one in shown if one.privacy == NO_PRIVACY}
    told = []
    for one in shown:
        beside = bare.get((one.suite, one.wire, one.server))
        if one.privacy == NO_PRIVACY or beside is None:
            continue
        parts = [
            f"{format_ratio(mine, theirs)} {what}"
            for mine, theirs, what in (
                (one.client_cpu_s, beside.client_cpu_s, "a client’s CPU"),
                (one.server_cpu_s, beside.server_cpu_s, "the server’s"),
                (one.upload_bytes_per_contributor, beside.upload_bytes_per_contributor, "the upload"),
            )
            if mine is not None and theirs
        ]
        told += (
            [f"`{one.suite}` with `{one.privacy}` takes {', '.join(parts)} of the same without noise."] if parts else []
        )
    return tuple(told)
