"""Why clients were missing: reasons as the metrics give them, in kinds, with who it was and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from privfl.report.formats import format_count, visible
from privfl.report.page import Column, Row, Table
from privfl.round_metrics import RoundMetrics

OFFLINE: Final = "offline"
WENT_OFFLINE: Final = "went offline"
BATTERY: Final = "battery empty"
LATE: Final = "late"
TRAINING_FAILED: Final = "training failed"
EVALUATION_FAILED: Final = "evaluation failed"
NO_ANSWER: Final = "no answer"
DECLINED: Final = "declined"
REFUSED: Final = "refused"
SILENT: Final = "silent"
MEANINGS: Final = MappingProxyType(
    {
        OFFLINE: "not reachable when it was invited (simulated)",
        WENT_OFFLINE: (
            "the connection was lost before it was through (simulated); with its upload there already, it is in the "
            "sum all the same"
        ),
        BATTERY: "its battery lasted for less than its training (simulated)",
        LATE: "its upload had not arrived when uploads closed (simulated)",
        TRAINING_FAILED: "its training raised an error; nobody else was harmed by it",
        EVALUATION_FAILED: "its evaluation raised an error",
        NO_ANSWER: "it did not answer in time: away, ended, or too slow",
        DECLINED: "it takes no part, by its owner's policy, budget or data; its own log says why",
        REFUSED: "it refused to go on, or what it sent was refused",
        SILENT: "the job's own script, or chance, took it away (`failures`)",
    }
)
"""Kinds of reasons, in the order in which they are told, and what they mean."""
SIMULATED: Final = frozenset({OFFLINE, WENT_OFFLINE, BATTERY, LATE})
"""Kinds that only the simulation of a fleet can tell apart."""
_SAYING_MORE: Final = (TRAINING_FAILED, EVALUATION_FAILED, NO_ANSWER, DECLINED)
_MOST_SPANS: Final = 12

Reasons = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often a reason kept clients out.

    Attributes:
        reason: a kind of reasons, or one in full.
        times: a client counted once a round.
        clients: who it was, ascending.
        rounds: when, ascending.
    """

    reason: str
    times: int
    clients: tuple[int, ...]
    rounds: tuple[int, ...]


def kind_of(reason: str) -> str:
    """Return what kind of reason it is: what failed raises errors of its own, and refusals say why.

    >>> kind_of("training failed: ValueError: no labels"), kind_of("client 3 asked for too much")
    ('training failed', 'refused')
    """
    if reason in MEANINGS:
        return reason
    return next((kind for kind in _SAYING_MORE if reason.startswith(f"{kind}:")), REFUSED)


def detail_of(reason: str) -> str:
    """Return what a reason says beyond its kind; empty if nothing.

    >>> detail_of("training failed: ValueError: no labels"), detail_of("late")
    ('ValueError: no labels', '')
    """
    kind = kind_of(reason)
    return reason if kind == REFUSED != reason else reason.removeprefix(kind).removeprefix(":").strip()


def known_lost(row: RoundMetrics) -> set[int]:
    """Return the clients of which a round says why they were lost."""
    return {client for who in row.dropped_because.values() for client in who}


def by_kind(reasons: Reasons) -> dict[str, tuple[int, ...]]:
    """Return the clients of each kind of reasons, in the order of `MEANINGS`."""
    found: dict[str, set[int]] = {}
    for reason, clients in reasons.items():
        found.setdefault(kind_of(reason), set()).update(clients)
    return {kind: tuple(sorted(found[kind])) for kind in MEANINGS if kind in found}


def tallies(
    rows: Iterable[RoundMetrics],
    reasons_of: Callable[[RoundMetrics], Reasons] = lambda row: row.dropped_because,
    *,
    in_full: bool = False,
) -> tuple[Tally, ...]:
    """Count reasons over rounds, most frequent first.

    Args:
        rows: the rounds.
        reasons_of: where a round has them.
        in_full: count those that say more than their kind, each by itself; else count kinds.
    """
    held: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        reasons = reasons_of(row)
        told = {reason: reasons[reason] for reason in reasons if detail_of(reason)} if in_full else by_kind(reasons)
        for reason, clients in told.items():
            held.setdefault(reason, []).extend((client, row.round) for client in clients)
    counted = [
        Tally(
            reason=reason,
            times=len(pairs),
            clients=tuple(sorted({client for client, _ in pairs})),
            rounds=tuple(sorted({number for _, number in pairs})),
        )
        for reason, pairs in held.items()
    ]
    return tuple(sorted(counted, key=lambda tally: (-tally.times, tally.reason)))


def errors_table(key: str, caption: str, found: Sequence[Tally]) -> Table:
    """Show what went wrong at clients, as they told it, and of what kind it was where there are several."""
    columns: list[tuple[str, list[str]]] = [
        ("What was said", [visible(detail_of(tally.reason)) for tally in found]),
        ("Kind", [kind_of(tally.reason) for tally in found]),
        ("Clients", [format_spans(tally.clients) for tally in found]),
        ("Rounds", [format_spans(tally.rounds) for tally in found]),
    ]
    kept = [(name, cells) for name, cells in columns if name != "Kind" or len(set(cells)) > 1]
    return Table(
        key=key,
        caption=caption,
        columns=tuple(Column(heading=name, numeric=False) for name, _ in kept),
        rows=tuple(Row(cells=tuple(cells[index] for _, cells in kept)) for index in range(len(found))),
    )


def format_spans(numbers: Iterable[int], most: int = _MOST_SPANS) -> str:
    """Whole numbers, with those that follow one another drawn together, and a long end left off.

    >>> format_spans([4, 1, 2, 3, 9, 10])
    '1–4, 9, 10'
    >>> format_spans(range(0, 40, 2), most=3)
    '0, 2, 4 and 17 more'
    """
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    shown, rest = spans[:most], sum(len(span) for span in spans[most:])
    text = ", ".join(
        f"{format_count(span[0])}–{format_count(span[-1])}"
        if len(span) > 2
        else ", ".join(format_count(number) for number in span)
        for span in shown
    )
    return f"{text} and {format_count(rest)} more" if rest else text
