"""Events as JSON: what an events file holds and what the ledger embeds. Also the face of `privfl.dp.mechanisms`.

Only the names below are read. Nothing is imported that a file names: data that choose the code which reads them are a
way in.

| `"event"` | keys |
|---|---|
| `gaussian` | `noise_multiplier` |
| `laplace` | `noise_multiplier` |
| `skellam` | `l2_sensitivity`, `l1_sensitivity` (or `dimension`, or neither), `variance` |
| `discrete-gaussian` | `l2_sensitivity`, `l1_sensitivity` (or not), `local_std`, `contributors`, `dimension` |
| either of these two | `contributors`, `dimension`, `clip`, `noise_multiplier`, `granularity`, `beta` (e^−½) |
| `tree-aggregation` | `noise_multiplier`, `steps` |
| `composed` | `events` |
| `non-private` | `reason` |
| `unsupported` | `name` |

All may have `count` (1) and, but for `non-private`, `sampling_probability` (left out where nothing is sampled).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from privfl.dp.integer import DEFAULT_BETA, l1_bound, rounded_norm
from privfl.dp.located import Table, read_json
from privfl.dp.mechanisms import (
    LEAST_L2,
    LEAST_NOISE,
    MAX_COUNT,
    MAX_DIMENSION,
    MOST_L2,
    MOST_NOISE,
    Composed,
    DiscreteGaussian,
    Event,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    Relation,
    Repeated,
    Skellam,
    TreeAggregation,
    Unsupported,
    check_number,
    check_whole,
)
from privfl.errors import ConfigurationError, UnsupportedEvent

__all__ = [
    "Composed",
    "DiscreteGaussian",
    "Event",
    "Events",
    "Gaussian",
    "Laplace",
    "NonPrivate",
    "PoissonSampled",
    "Relation",
    "Repeated",
    "Skellam",
    "TreeAggregation",
    "Unsupported",
    "event_from_json",
    "event_to_json",
    "read_events",
]

_Reader = Callable[[Mapping[str, Any], str], Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """An events file.

    Attributes:
        relation: which data sets are neighbours, for the whole file.
        events: what happened, in order.
        names_relation: whether the file says so itself; add-or-remove-one is understood otherwise.
    """

    relation: Relation
    events: tuple[Repeated, ...]
    names_relation: bool = False


def read_events(text: str) -> Events:
    """Read an events file.

    Args:
        text: a JSON list of events, or `{"relation": ..., "events": [...]}`.

    Raises:
        ConfigurationError: something in it is not as described; names the line.
        UnsupportedEvent: an event of unknown name; names the line.

    Guarantees:
        1. Whatever the text, it is read whole or one of these two errors is raised.
        2. No key is ignored.

    >>> read_events('[{"event": "gaussian", "noise_multiplier": 1.1, "count": 100}]').events
    (Repeated(event=Gaussian(noise_multiplier=1.1), count=100),)
    """
    value = read_json(text)
    relation, named = Relation.ADD_OR_REMOVE_ONE, False
    if isinstance(value, Table):
        _check_keys(value, {"relation", "events"}, "events file", f"line {value.line}")
        name, named = value.get("relation", relation), "relation" in value
        if name not in tuple(Relation):
            raise ConfigurationError(
                f"line {value.lines['relation']}: relation is {name!r}: one of {', '.join(Relation)} works"
            )
        relation, value = Relation(name), value.get("events")
    if not isinstance(value, list):
        raise ConfigurationError(
            'line 1: the file holds no list of events: [{"event": "gaussian", "noise_multiplier": 1.1}] works'
        )
    events = tuple(_event(entry, "line 1") for entry in value)
    return Events(relation=relation, events=events, names_relation=named)


def event_from_json(value: object, where: str) -> Repeated:
    """Read one event from parsed JSON.

    Args:
        value: what `event_to_json` returned.
        where: begins every complaint, such as "line 3".

    Raises:
        ConfigurationError: something in it is not as described.
        UnsupportedEvent: an event of unknown name.

    Guarantees:
        1. `event_from_json(event_to_json(event), where) == event` for every event.
    """
    return _event(value, where)


def event_to_json(event: Repeated) -> dict[str, Any]:
    """Write one event as a JSON object of finite numbers, strings and lists; `count` stands there always."""
    return _written(event.event) | {"count": event.count}


def _written(event: Event) -> dict[str, Any]:
    if isinstance(event, PoissonSampled):
        return _written(event.event) | {"sampling_probability": event.sampling_probability}
    if isinstance(event, Composed):
        return {"event": "composed", "events": [event_to_json(part) for part in event.events]}
    return {"event": _NAMES[type(event)], **{field.name: getattr(event, field.name) for field in fields(event)}}


class _PlacedError(ConfigurationError):
    """A complaint that says already where."""


def _event(value: object, where: str) -> Repeated:
    if not isinstance(value, dict):
        raise _PlacedError(f'{where}: {value!r} is no event: {{"event": "gaussian", "noise_multiplier": 1.1}} works')
    if isinstance(value, Table):
        where = f"line {value.line}"
    name = value.get("event")
    if not isinstance(name, str):
        raise _PlacedError(f"{_line_of(value, 'event', where)}: event is {name!r}: one of {', '.join(_READERS)} works")
    if name not in _READERS:
        known = ", ".join(_READERS)
        raise UnsupportedEvent(f"{_line_of(value, 'event', where)}: event {name!r} is not known: one of {known} works")
    try:
        event = _READERS[name](value, where)
        if "sampling_probability" in value:
            event = PoissonSampled(sampling_probability=value["sampling_probability"], event=event)
        return Repeated(event=event, count=value.get("count", 1))
    except _PlacedError:
        raise
    except ConfigurationError as error:
        key = str(error).split(" ", 1)[0]  # the sentences of `mechanisms` begin with the key that they are about
        raise _PlacedError(f"{_line_of(value, key, where)}: {error}") from None


def _plain(kind: type[Event]) -> _Reader:
    """Return a reader of an event whose keys are its fields."""
    names = [field.name for field in fields(kind)]

    def read(value: Mapping[str, Any], where: str) -> Event:
        return kind(**_taken(value, names, where))

    return read


def _composed(value: Mapping[str, Any], where: str) -> Event:
    parts = _taken(value, ["events"], where)["events"]
    if not isinstance(parts, list):
        raise ConfigurationError(f"events is {parts!r}: a list of events works")
    return Composed(events=tuple(_event(part, where) for part in parts))


def _skellam(value: Mapping[str, Any], where: str) -> Event:
    if "granularity" in value:
        line = _pipeline(value, where)
        return Skellam(l2_sensitivity=line.l2, l1_sensitivity=line.l1, variance=line.std**2)
    # Each says what the L1 norm is at most: both together would leave one of them unread.
    beside = "dimension" if "l1_sensitivity" not in value else "l1_sensitivity"
    taken = _taken(value, ["l2_sensitivity", "variance"], where, optional=[beside])
    return Skellam(**_with_l1(taken))


def _discrete_gaussian(value: Mapping[str, Any], where: str) -> Event:
    if "granularity" in value:
        line = _pipeline(value, where)
        return DiscreteGaussian(
            l2_sensitivity=line.l2,
            l1_sensitivity=line.l1,
            local_std=line.std / math.sqrt(line.contributors),
            contributors=line.contributors,
            dimension=line.dimension,
        )
    required = ["l2_sensitivity", "local_std", "contributors", "dimension"]
    taken = _taken(value, required, where, optional=["l1_sensitivity"])
    return DiscreteGaussian(**_with_l1(taken), dimension=taken["dimension"])


def _with_l1(taken: dict[str, Any]) -> dict[str, Any]:
    """Derive the L1 sensitivity where it is not given; without `dimension`."""
    if "dimension" in taken:
        check_whole("dimension", taken["dimension"], 1, MAX_DIMENSION, such_as="65536")
    if "l1_sensitivity" not in taken:
        check_number("l2_sensitivity", taken["l2_sensitivity"], LEAST_L2, MOST_L2, such_as="1000")
        taken = taken | {"l1_sensitivity": l1_bound(taken["l2_sensitivity"], taken.get("dimension"))}
    return {key: value for key, value in taken.items() if key != "dimension"}


class _Line(NamedTuple):
    """A distributed pipeline in steps of its grid: sensitivities, and σ of all noise together."""

    l2: float
    l1: float
    std: float
    contributors: int
    dimension: int


def _pipeline(value: Mapping[str, Any], where: str) -> _Line:
    """Read the form that names clip and granularity: what clients were told, not what follows from it."""
    required = ["contributors", "dimension", "clip", "noise_multiplier", "granularity"]
    taken = {"beta": DEFAULT_BETA} | _taken(value, required, where, optional=["beta"])
    check_whole("contributors", taken["contributors"], 1, MAX_COUNT, such_as="100")
    check_whole("dimension", taken["dimension"], 1, MAX_DIMENSION, such_as="65536")
    check_number("noise_multiplier", taken["noise_multiplier"], LEAST_NOISE, MOST_NOISE, such_as="1")
    check_number("clip", taken["clip"], 1e-12, 1e12, such_as="1")
    check_number("granularity", taken["granularity"], 1e-12 * taken["clip"], taken["clip"], such_as="0.001")
    check_number("beta", taken["beta"], 1e-12, 1 - 1e-12, such_as="0.6")
    norm = taken["clip"] / taken["granularity"]
    l2 = rounded_norm(norm, taken["dimension"], taken["beta"])
    return _Line(
        l2=l2,
        l1=l1_bound(l2, taken["dimension"]),
        std=taken["noise_multiplier"] * norm,
        contributors=taken["contributors"],
        dimension=taken["dimension"],
    )


def _taken(
    value: Mapping[str, Any], required: Sequence[str], where: str, *, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the values of an event's own keys; any other key is refused."""
    of = f"event {value['event']!r}"
    _check_keys(value, {*required, *optional, "event", "count", "sampling_probability"}, of, where)
    for key in required:
        if key not in value:
            raise _PlacedError(f"{where}: {of} has no {key}: it needs {', '.join(required)}")
    return {key: value[key] for key in (*required, *optional) if key in value}


def _check_keys(value: Mapping[str, Any], known: set[str], of: str, where: str) -> None:
    for key in value:
        if key not in known:
            raise _PlacedError(
                f"{_line_of(value, key, where)}: {of} has no key {key!r}: {', '.join(sorted(known))} are known"
            )


def _line_of(value: Mapping[str, Any], key: str, where: str) -> str:
    return f"line {value.lines[key]}" if isinstance(value, Table) and key in value.lines else where


_READERS: Final[dict[str, _Reader]] = {
    "gaussian": _plain(Gaussian),
    "laplace": _plain(Laplace),
    "skellam": _skellam,
    "discrete-gaussian": _discrete_gaussian,
    "tree-aggregation": _plain(TreeAggregation),
    "composed": _composed,
    "non-private": _plain(NonPrivate),
    "unsupported": _plain(Unsupported),
}
_NAMES: Final[dict[type, str]] = {
    Gaussian: "gaussian",
    Laplace: "laplace",
    Skellam: "skellam",
    DiscreteGaussian: "discrete-gaussian",
    TreeAggregation: "tree-aggregation",
    NonPrivate: "non-private",
    Unsupported: "unsupported",
}
