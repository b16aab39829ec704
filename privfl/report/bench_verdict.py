"""Which suite, at what cost: the table and the sentences that open the report of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from privfl.report.bench_records import CellRecord, GoalRecord, Variant
from privfl.report.bench_words import (
    at_size,
    common_size,
    figure,
    joined,
    least,
    listed,
    megabytes,
    milliseconds,
    names_of,
    overlapping,
    ratio_cell,
    share,
    size_words,
    without_noise,
)
from privfl.report.formats import (
    MISSING,
    format_bytes,
    format_number,
    format_ratio,
    format_seconds,
)
from privfl.report.page import Column, Fact, Row, Section, Table, Tone, notes_block, table_block

_CRITERIA: Final = (
    ("client_cpu_s", "client_ratio_to_plain", "asks least of a client", "Least CPU of a client"),
    ("server_cpu_s", "server_ratio_to_plain", "asks least of the server", "Least CPU of the server"),
    ("upload_bytes_per_contributor", "upload_ratio_to_plain", "sends least", "Least upload of a client"),
)

_ESTIMATED: Final = 1.1  # a standard deviation from a thousand coordinates or more is known this well


def verdict_section(cells: Sequence[CellRecord]) -> Section | None:
    """Suites and peers side by side, and what that says; None without a measurement."""
    bare = without_noise(cells)
    size = common_size(bare)
    if size is None:
        return None
    shown = at_size(bare, size)
    return Section(
        key="verdict",
        heading="Which suite, at what cost",
        lead=f"A session of {size_words(size)}: the largest size at which most were measured. Medians; "
        "in brackets the quartiles of sessions that took turns with `plain`.",
        blocks=(table_block(_table(shown)), notes_block(tuple(reading(cells)))),
    )


def standfirst(cells: Sequence[CellRecord]) -> str:
    """The answer in a sentence; empty where nothing that protects was measured."""
    shown = at_size(without_noise(cells), common_size(without_noise(cells)))
    names = _names(shown)
    by_suite: dict[str, list[str]] = {}
    for key, _, verb, _ in _CRITERIA:
        best = least(_candidates(shown), key)
        if best is not None:
            by_suite.setdefault(names[best.variant], []).append(verb)
    told = "; ".join(f"`{name}` {joined(verbs)}" for name, verbs in by_suite.items())
    return f"Of the suites that protect: {told}." if told else ""


def headline(cells: Sequence[CellRecord], goals: Sequence[GoalRecord]) -> tuple[Fact, ...]:
    """The figures that matter most."""
    shown = at_size(without_noise(cells), common_size(without_noise(cells)))
    facts = []
    for key, ratio, _, label in _CRITERIA:
        best = least(_candidates(shown), key)
        if best is not None:
            against = figure(best, ratio)
            note = f"{_names(shown)[best.variant]}" + (
                f", {format_ratio(against, 1.0)} plain" if math.isfinite(against) else ""
            )
            facts.append(Fact(label=label, value=_form(key)(figure(best, key)), note=note))
    if goals:
        reached = sum(one.holds for one in goals)
        facts.append(
            Fact(label="Goals reached", value=f"{reached} of {len(goals)}", note="each beside its limit, below")
        )
    return tuple(facts)


def reading(cells: Sequence[CellRecord]) -> list[str]:
    """Sentences that follow from the records of the opening table."""
    bare = without_noise(cells)
    shown = at_size(bare, common_size(bare))
    names = _names(shown)
    told = [
        sentence
        for key, ratio, verb, _ in _CRITERIA
        if (sentence := _cheapest(shown, names, key, ratio, verb)) is not None
    ]
    told += _peers(shown, names)
    told += _errors(shown, names)
    told += [
        f"Under {listed([names[one.variant]])} a committee works too: {format_seconds(one.committee_cpu_s)} of CPU and "
        f"{format_bytes(one.committee_bytes)} a session, and {format_seconds(one.ceremony_cpu_s)} for a ceremony that "
        f"makes the keys of many."
        for one in shown
        if one.committee_bytes
    ]
    present = {one.suite for one in shown}
    absent = list(dict.fromkeys(one.suite for one in bare if one.suite not in present))
    told += (
        [f"Not measured at this size: {listed(absent)}; what there is of it stands under All cells."] if absent else []
    )
    if any(one.protects for one in shown):
        told.append(
            "Suites protect against different parties: what each is worth stands beside its name, and not in ×."
        )
    return told


def _candidates(shown: Sequence[CellRecord]) -> list[CellRecord]:
    return [one for one in shown if one.protects and one.kind == "suite"]


def _cheapest(shown: Sequence[CellRecord], names: dict[Variant, str], key: str, ratio: str, verb: str) -> str | None:
    candidates = _candidates(shown)
    best = least(candidates, key)
    if best is None:
        return None
    against = format_ratio(figure(best, ratio), 1.0)
    compared = "" if against == MISSING else f", {against} `plain`"
    alike = [names[one.variant] for one in candidates if one is not best and overlapping(best, one, ratio)]
    doubt = f" This run does not tell it from {listed(alike)}: their quartiles overlap." if alike else ""
    return f"{listed([names[best.variant]])} {verb}: {_amount(best, key)}{compared}.{doubt}"


def _peers(shown: Sequence[CellRecord], names: dict[Variant, str]) -> list[str]:
    """Each peer that protects beside the suite that asks least of a client."""
    best = least(_candidates(shown), "client_cpu_s")
    if best is None:
        return []
    told = []
    for one in shown:
        if one.kind == "suite" or not one.protects:
            continue
        # Both took turns with plain: the ratio of their ratios drifts less than that of their times.
        parts = [
            f"{format_ratio(figure(one, ratio), figure(best, ratio))} {what}"
            for ratio, what in (
                ("client_ratio_to_plain", "the client’s CPU"),
                ("server_ratio_to_plain", "the server’s CPU"),
                ("upload_ratio_to_plain", "the upload"),
            )
            if format_ratio(figure(one, ratio), figure(best, ratio)) != MISSING
        ]
        if parts:
            told.append(f"{listed([names[one.variant]])} takes {', '.join(parts)} of {listed([names[best.variant]])}.")
    return told


def _errors(shown: Sequence[CellRecord], names: dict[Variant, str]) -> list[str]:
    candidates = _candidates(shown)
    unharmed = [one for one in candidates if one.max_abs_error == 0]
    exact = [names[one.variant] for one in unharmed if not one.promised_error_std_of_mean]
    rough = [one for one in candidates if one.error_std_of_mean]
    told = [f"The mean that {listed(exact)} give is exact, once updates are rounded."] if len(exact) > 1 else []
    told += [f"The mean that {listed(exact)} gives is exact, once updates are rounded."] if len(exact) == 1 else []
    if rough:
        each = ", ".join(f"{format_number(one.error_std_of_mean, 2)} (`{names[one.variant]}`)" for one in rough)
        told.append(f"A coordinate of the mean is off by a standard deviation of {each} of full scale.")
    told += [
        f"The mean that `{names[one.variant]}` gives came out exact; a standard deviation of up to "
        f"{format_number(one.promised_error_std_of_mean, 2)} of full scale is promised."
        for one in unharmed
        if one.promised_error_std_of_mean
    ]
    told += [
        f"That of `{names[one.variant]}` is more than the {format_number(one.promised_error_std_of_mean, 2)} promised."
        for one in rough
        if one.promised_error_std_of_mean is not None
        and (one.error_std_of_mean or 0.0) > _ESTIMATED * one.promised_error_std_of_mean
    ]
    return told


def _table(shown: Sequence[CellRecord]) -> Table:
    names = _names(shown)
    rows = tuple(
        Row(
            cells=(
                names[one.variant],
                one.protection or MISSING,
                milliseconds(one.client_cpu_s),
                ratio_cell(one, "client_ratio_to_plain"),
                milliseconds(one.server_cpu_s),
                ratio_cell(one, "server_ratio_to_plain"),
                megabytes(one.upload_bytes_per_contributor),
                ratio_cell(one, "upload_ratio_to_plain", digits=4),
                ratio_cell(one, "ratio_to_plain"),
                share(one.max_abs_error),
            ),
            tone=Tone.CALM if one.protects else Tone.MUTED,
        )
        for one in shown
    )
    return Table(
        key="verdict-table",
        caption="A client’s CPU is from its update in float32 to its last byte; the server’s is up to the mean. The "
        "error is the largest of all coordinates. Suites and peers that protect nothing are set in grey.",
        columns=(
            Column(heading="Suite or peer", numeric=False),
            Column(heading="What it is worth", numeric=False),
            Column(heading="Client", unit="ms"),
            Column(heading="Client", unit="× plain"),
            Column(heading="Server", unit="ms"),
            Column(heading="Server", unit="× plain"),
            Column(heading="Upload", unit="MB a client"),
            Column(heading="Upload", unit="× plain"),
            Column(heading="All CPU", unit="× plain"),
            Column(heading="Error", unit="of full scale"),
        ),
        rows=rows,
    )


def _names(shown: Sequence[CellRecord]) -> dict[Variant, str]:
    return names_of(one.variant for one in shown)


def _amount(cell: CellRecord, key: str) -> str:
    return f"{_form(key)(figure(cell, key))} {'a client' if _form(key) is format_bytes else 'of CPU'}"


def _form(key: str) -> Callable[[float | None], str]:
    return format_bytes if key == "upload_bytes_per_contributor" else format_seconds
