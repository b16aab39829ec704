"""What makes up the cost in a benchmark's report: phases and parties, bytes, memory, drop-outs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from privfl.report.bench_records import CellRecord, PhaseCost, Variant
from privfl.report.bench_words import (
    at_size,
    common_size,
    figure,
    in_order,
    megabytes,
    milliseconds,
    names_of,
    ratio_cell,
    size_words,
    spread_words,
    without_noise,
)
from privfl.report.charts import Bar, BarChart, bar_chart
from privfl.report.charts.scales import LARGEST
from privfl.report.formats import MISSING, format_bytes, format_count, format_number, format_percent, format_seconds
from privfl.report.page import Column, Figure, Row, Section, Table, Tone, figures_block, table_block


def cost_sections(cells: Sequence[CellRecord]) -> list[Section]:
    """Where CPU, bytes and memory go, and what drop-outs add; what was not measured is left out."""
    bare = without_noise(cells)
    size = common_size(bare)
    if size is None:
        return []
    shown = at_size(bare, size)
    words = f"A session of {size_words(size)}."
    made = (_cpu(shown, words), _bytes(shown, words), _memory(shown, words), _dropouts(bare))
    return [section for section in made if section is not None]


def _cpu(shown: Sequence[CellRecord], words: str) -> Section | None:
    timed = [one for one in shown if one.client_cpu_s is not None]
    if not timed:
        return None
    names = names_of(one.variant for one in timed)
    figures = figures_block(
        _bars("client-bars", "CPU of one client", timed, "client_cpu_s", format_seconds),
        _bars("server-bars", "CPU of the server", timed, "server_cpu_s", format_seconds),
    )
    rows = [row for one in timed for row in _phase_rows(names[one.variant], one)]
    blocks = [figures, table_block(_phase_table(rows))] if rows else [figures]
    return Section(key="cpu", heading="CPU, by phase and party", lead=words, blocks=tuple(blocks))


def _phase_rows(name: str, cell: CellRecord) -> list[Row]:
    """Encoding, the phases and decoding; a client's CPU is divided as that of all clients together is."""
    encode, decode = cell.encode_cpu_s or 0.0, cell.decode_cpu_s or 0.0
    protocol = figure(cell, "client_cpu_s") - encode
    everyone = sum(phase.client_cpu_s or 0.0 for phase in cell.phases.values())
    rows = [_row(name, "encoding", client=encode)] if encode else []
    for phase, cost in cell.phases.items():
        client = protocol * (cost.client_cpu_s or 0.0) / everyone if everyone else 0.0
        rows.append(_row(name, phase, client=client, server=cost.server_cpu_s, cost=cost, clients=cell.clients))
    return rows + ([_row(name, "decoding", server=decode)] if decode else [])


def _row(
    name: str,
    phase: str,
    *,
    client: float | None = None,
    server: float | None = None,
    cost: PhaseCost | None = None,
    clients: int = 1,
) -> Row:
    cost = cost or PhaseCost()
    return Row(
        cells=(
            name,
            phase,
            _unless_none(client, milliseconds),
            _unless_none(server, milliseconds),
            _unless_none(cost.committee_cpu_s, milliseconds),
            _unless_none((cost.upload_bytes or 0.0) / clients, format_bytes),
            _unless_none((cost.download_bytes or 0.0) / clients, format_bytes),
        )
    )


def _unless_none(value: float | None, form: Callable[[float | None], str]) -> str:
    return form(value) if value else MISSING


def _phase_table(rows: Sequence[Row]) -> Table:
    return Table(
        key="phases",
        caption="One client’s CPU is its median, divided among the phases as that of all clients together is; bytes "
        "are those of all clients, divided by their number. Encoding comes before them, decoding after the sum.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Phase", numeric=False),
            Column(heading="Client", unit="ms"),
            Column(heading="Server", unit="ms"),
            Column(heading="Committee", unit="ms"),
            Column(heading="Upload", unit="a client"),
            Column(heading="Download", unit="a client"),
        ),
        rows=tuple(rows),
    )


def _bytes(shown: Sequence[CellRecord], words: str) -> Section | None:
    sent = [one for one in shown if one.upload_bytes_per_contributor is not None]
    if not sent:
        return None
    names = names_of(one.variant for one in sent)
    rows = tuple(
        Row(
            cells=(
                names[one.variant],
                megabytes(one.upload_bytes_per_contributor),
                format_number(8 * figure(one, "upload_bytes_per_contributor") / one.parameters),
                ratio_cell(one, "upload_ratio_to_plain", digits=4),
                megabytes(None if one.download_bytes is None else one.download_bytes / one.clients),
                format_bytes(one.committee_bytes) if one.committee_bytes else MISSING,
            ),
            tone=Tone.CALM if one.protects else Tone.MUTED,
        )
        for one in sent
    )
    table = Table(
        key="bytes-table",
        caption="Upload: all that reached the server, divided by the clients whose update is in the sum. Download: "
        "divided by all clients; the model that goes out to them is not in it.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Upload", unit="MB a client"),
            Column(heading="Upload", unit="bits a parameter"),
            Column(heading="Upload", unit="× plain"),
            Column(heading="Download", unit="MB a client"),
            Column(heading="Committee", unit="a session"),
        ),
        rows=rows,
    )
    bars = _bars("upload-bars", "Upload of one client", sent, "upload_bytes_per_contributor", format_bytes)
    return Section(key="bytes", heading="Bytes", lead=words, blocks=(figures_block(bars), table_block(table)))


def _memory(shown: Sequence[CellRecord], words: str) -> Section | None:
    held = [one for one in shown if one.server_peak_bytes is not None or one.client_peak_bytes is not None]
    if not held:
        return None
    names = names_of(one.variant for one in held)
    rows = tuple(
        Row(
            cells=(
                names[one.variant],
                format_bytes(one.server_peak_bytes),
                format_number(figure(one, "server_peak_bytes") / (4 * one.parameters)),
                format_bytes(one.client_peak_bytes),
            )
        )
        for one in held
    )
    table = Table(
        key="memory-table",
        caption="The most that a party’s own allocations added up to, measured in a session of its own. In vectors: of "
        "so many parameters in four bytes each; an accumulator and one message are about two.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Server"),
            Column(heading="Server", unit="in vectors"),
            Column(heading="Client"),
        ),
        rows=rows,
    )
    served = [one for one in held if one.server_peak_bytes is not None]
    bars = [figures_block(_bars("memory-bars", "Peak memory of the server", served, "server_peak_bytes", format_bytes))]
    return Section(key="memory", heading="Memory", lead=words, blocks=(*(bars if served else []), table_block(table)))


def _dropouts(bare: Sequence[CellRecord]) -> Section | None:
    """The same sessions with and without drop-outs."""
    size = common_size(bare)
    rates = {one.dropout for one in bare if size is not None and (one.clients, one.parameters) == size[:2]}
    if size is None or len(rates) < 2:
        return None
    shown = in_order(one for one in bare if (one.clients, one.parameters) == size[:2])
    names = names_of(one.variant for one in shown)
    order = list(dict.fromkeys(one.variant for one in shown))
    shown.sort(key=lambda one: (order.index(one.variant), one.dropout))
    rows = tuple(
        Row(
            cells=(
                names[one.variant],
                format_percent(one.dropout, 0),
                MISSING if one.contributors is None else format_count(one.contributors),
                _timed(one, "client_cpu_s"),
                _timed(one, "server_cpu_s"),
                ratio_cell(one, "ratio_to_plain"),
            )
        )
        for one in shown
    )
    table = Table(
        key="dropouts-table",
        caption="Clients vanish after their keys are shared and before they upload. In brackets, quartiles.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="Drop out"),
            Column(heading="Contributors"),
            Column(heading="Client", unit="ms"),
            Column(heading="Server", unit="ms"),
            Column(heading="All CPU", unit="× plain"),
        ),
        rows=rows,
    )
    lead = f"Sessions of {format_count(size[0])} clients and {format_count(size[1])} parameters."
    return Section(key="dropouts", heading="What drop-outs cost", lead=lead, blocks=(table_block(table),))


def _timed(cell: CellRecord, key: str) -> str:
    return milliseconds(getattr(cell, key)) + spread_words(cell.spread.get(key), milliseconds)


def _bars(
    key: str, heading: str, cells: Sequence[CellRecord], measured: str, form: Callable[[float | None], str]
) -> Figure:
    names: dict[Variant, str] = names_of(one.variant for one in cells)
    values = [(one, figure(one, measured)) for one in cells]
    drawing: Markup = bar_chart(
        BarChart(
            key=key,
            title=heading,
            description=" ".join(f"{names[one.variant]}: {form(value)}." for one, value in values),
            bars=tuple(
                Bar(
                    label=names[one.variant],
                    value=value if abs(value) <= LARGEST else 0.0,
                    text=form(value),
                    emphasis=one.protects and one.kind == "suite",
                )
                for one, value in values
            ),
        )
    )
    return Figure(heading=heading, drawing=drawing)
