"""Peers beside the suites that protect: how many times a suite's cost a peer's is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from privfl.report.bench_records import CellRecord
from privfl.report.bench_words import at_size, common_size, figure, names_of, size_words, without_noise
from privfl.report.formats import MISSING, format_number, format_ratio
from privfl.report.page import Column, Row, Section, Table, table_block

_COSTS: Final = (
    ("client_ratio_to_plain", "client CPU"),
    ("server_ratio_to_plain", "server CPU"),
    ("upload_ratio_to_plain", "upload"),
)


def peers_section(cells: Sequence[CellRecord]) -> Section | None:
    """A table of peers by suites, at the size of the opening table; None where one of them is missing there."""
    bare = without_noise(cells)
    size = common_size(bare)
    shown = [one for one in at_size(bare, size) if one.protects]
    suites = [one for one in shown if one.kind == "suite"]
    peers = [one for one in shown if one.kind != "suite"]
    if size is None or not suites or not peers:
        return None
    names = names_of(one.variant for one in shown)
    table = Table(
        key="peers-table",
        caption="A peer’s cost as a multiple of a suite’s: above 1 the suite costs less. Both took turns with `plain`: "
        "their ratios to it are divided.",
        columns=(
            Column(heading="Peer", numeric=False),
            Column(heading="Cost", numeric=False),
            *(Column(heading=names[one.variant], unit="×") for one in suites),
        ),
        rows=tuple(
            Row(cells=(names[peer.variant], what, *(_times(peer, one, key) for one in suites)))
            for peer in peers
            for key, what in _COSTS
        ),
    )
    return Section(
        key="peers",
        heading="Beside what others use",
        lead=f"A session of {size_words(size)}. What each protects against differs, and stands in the table above.",
        blocks=(table_block(table),),
    )


def _times(peer: CellRecord, one: CellRecord, key: str) -> str:
    theirs, ours = figure(peer, key), figure(one, key)
    return MISSING if format_ratio(theirs, ours) == MISSING else format_number(theirs / ours)
