"""What the sections of a benchmark's report share: names, the size that most was measured at, figures with spread."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from privfl.report.bench_records import NO_PRIVACY, CellRecord, Spread, Variant
from privfl.report.formats import MISSING, format_count, format_number, format_percent

SUITES_FIRST: Final = ("plain", "masking", "kahe", "ckks")
EXACT: Final = "exact"
Size: TypeAlias = tuple[int, int, float]


def common_size(cells: Iterable[CellRecord]) -> Size | None:
    """Where most suites and peers were measured; of several such, where the largest session is, with most drop-outs."""
    names: dict[Size, set[str]] = defaultdict(set)
    for one in cells:
        names[one.size].add(one.suite)
    return max(names, key=lambda size: (len(names[size]), size[0] * size[1], size[2]), default=None)


def at_size(cells: Iterable[CellRecord], size: Size | None) -> list[CellRecord]:
    """Cells of one size: suites in the order of what they are built on, then peers."""
    return in_order(one for one in cells if one.size == size)


def in_order(cells: Iterable[CellRecord]) -> list[CellRecord]:
    """Suites before peers, known ones first, as they were recorded otherwise."""
    known = {name: place for place, name in enumerate(SUITES_FIRST)}
    return sorted(cells, key=lambda one: (one.kind != "suite", known.get(one.suite, len(known))))


def without_noise(cells: Iterable[CellRecord]) -> list[CellRecord]:
    """Cells without differential privacy."""
    return [one for one in cells if one.privacy == NO_PRIVACY]


def names_of(variants: Iterable[Variant]) -> dict[Variant, str]:
    """A name for each variant: the suite, and what tells it from others of that suite.

    >>> names_of([("suite", "masking", "none", "words", ""), ("suite", "masking", "none", "packed", "")]).values()
    dict_values(['masking, words', 'masking, packed'])
    """
    found = list(dict.fromkeys(variants))
    named = {}
    for variant in found:
        alike = [other for other in found if other[:2] == variant[:2]]
        differing = [place for place in (3, 4, 2) if len({other[place] for other in alike}) > 1]
        told = [variant[place] for place in differing if variant[place] and variant[place] != NO_PRIVACY]
        named[variant] = ", ".join([variant[1], *told])
    return named


def size_words(size: Size) -> str:
    """A size in words: clients, parameters, drop-out."""
    clients, parameters, dropout = size
    gone = f", of whom {format_percent(dropout, 0)} drop out" if dropout else ""
    return f"{format_count(clients)} clients{gone}, and {format_count(parameters)} parameters"


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, the unit in the heading."""
    return MISSING if seconds is None else format_number(1e3 * seconds)


def megabytes(count: float | None) -> str:
    """Bytes as megabytes, the unit in the heading."""
    return MISSING if count is None else format_number(count / 1e6)


def share(value: float | None) -> str:
    """An error as a fraction of full scale."""
    return EXACT if value == 0 else format_number(value, 2)


def spread_words(spread: Spread | None, form: Callable[[float], str] = format_number) -> str:
    """Lower and upper quartile in brackets, after a space; nothing where there are none, or nothing between them.

    >>> spread_words((1.0, 2.0)), spread_words((1.0, 1.0001))
    (' (1.00–2.00)', '')
    """
    if spread is None or form(spread[0]) == form(spread[1]):
        return ""
    return f" ({form(spread[0])}–{form(spread[1])})"


def ratio_cell(cell: CellRecord, key: str, digits: int = 3) -> str:
    """A ratio to plain with its quartiles; the sign stands in the heading."""
    value: float | None = getattr(cell, key)
    return MISSING if value is None else format_number(value, digits) + spread_words(cell.spread.get(key))


def least(cells: Sequence[CellRecord], key: str) -> CellRecord | None:
    """The cell that has least of something; None if it was measured in none."""
    measured = [one for one in cells if math.isfinite(figure(one, key))]
    return min(measured, key=lambda one: figure(one, key), default=None)


def figure(cell: CellRecord, key: str) -> float:
    """A measurement as a number; NaN where there is none."""
    value: float | None = getattr(cell, key)
    return math.nan if value is None else value


def overlapping(one: CellRecord, other: CellRecord, key: str) -> bool:
    """Whether the quartiles of two cells overlap, so that this run does not tell them apart."""
    first, second = one.spread.get(key), other.spread.get(key)
    return first is not None and second is not None and first[0] <= second[1] and second[0] <= first[1]


def joined(parts: Sequence[str]) -> str:
    """Parts of a sentence, with commas, and an "and" before the last.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, each as code.

    >>> listed(["a", "b", "c"])
    '`a`, `b` and `c`'
    """
    return joined([f"`{name}`" for name in names])
