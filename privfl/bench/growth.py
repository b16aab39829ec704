"""How cost grows with clients and with parameters, and what that says of a hundred thousand clients and a million."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final, TypeAlias

from privfl.bench.fits import FEWEST_POINTS, Curves, fit_curves
from privfl.bench.planned import PlannedUpload, planned_neighbours, planned_upload
from privfl.errors import ConfigurationError
from privfl.params import ServerModel
from privfl.report.bench_content import Axis, Growth, Projection, Quantity
from privfl.report.bench_records import NO_PRIVACY, CellRecord, Variant, cell_records
from privfl.report.formats import format_count, format_percent

FAR: Final = (100_000, 1_000_000)
"""Clients that nobody simulates on one machine."""

Rest: TypeAlias = tuple[int, float]
"""What is fixed beside what grows: the other size, and the fraction that drops out."""


def growths(lines: Iterable[CellRecord | Mapping[str, Any]]) -> tuple[Growth, ...]:
    """Fit every quantity of every suite and peer over clients and over parameters.

    The rest is fixed where most suites were measured at most sizes; of several such, where most drop out, then at the
    largest. What was not measured there is taken where it was measured at most sizes.

    Args:
        lines: records of cells.

    Returns:
        One value for everything that was measured at two sizes or more, in the order of the records.

    Raises:
        ConfigurationError: a line is no record of a cell.

    Guarantees:
        1. Below three sizes there is no fit and no projection, and it is said why.
        2. A projection to a size at which the planner holds no session carries the planner's reason.
        3. What the planner knows exactly, the bytes that a client uploads, stands beside what the curve says of it.
    """
    cells = cell_records(lines)
    found = []
    for axis in Axis:
        by_variant: dict[Variant, list[CellRecord]] = defaultdict(list)
        for one in cells:
            by_variant[one.variant].append(one)
        common = _common_rest(by_variant.values(), axis)
        for (_, own), quantity in product(by_variant.items(), Quantity):
            made = _growth(own, quantity, axis, common)
            found += [made] if made is not None else []
    return tuple(found)


def _growth(cells: Sequence[CellRecord], quantity: Quantity, axis: Axis, common: Rest) -> Growth | None:
    by_rest: dict[Rest, dict[int, float]] = defaultdict(dict)
    for one in cells:
        value = getattr(one, quantity.value)
        if value is not None and math.isfinite(value) and value > 0:
            by_rest[_rest(one, axis)][getattr(one, axis.value)] = value
    if not by_rest:
        return None
    largest = max(by_rest, key=lambda rest: (len(by_rest[rest]), rest[1], rest[0]))
    rest = common if len(by_rest.get(common, ())) >= min(FEWEST_POINTS, len(by_rest[largest])) else largest
    points = tuple(sorted(by_rest[rest].items()))
    if len(points) < 2:
        return None
    some = cells[0]
    values: dict[str, Any] = {
        "kind": some.kind,
        "suite": some.suite,
        "privacy": some.privacy,
        "wire": some.wire or "",
        "server": some.server or "",
        "quantity": quantity,
        "axis": axis,
        "fixed": rest[0],
        "dropout": rest[1],
        "points": points,
    }
    try:
        curves = fit_curves(points)
    except ConfigurationError as error:
        return Growth(**values, refused=str(error))
    bare = Growth(**values, fit=curves.fit())
    if axis is not Axis.CLIENTS:
        return bare
    projections = tuple(_project(bare, curves, at) for at in FAR if at > points[-1][0])
    return Growth(
        **values, fit=bare.fit, projections=projections, assumptions=_assumptions(bare, curves) if projections else ()
    )


def _project(growth: Growth, curves: Curves, at: int) -> Projection:
    value, low, high = curves.project(at)
    planned = _planned(growth, at)
    known = planned is not None and not planned.refused and growth.quantity is Quantity.UPLOAD
    return Projection(
        at=at,
        value=value,
        low=low,
        high=high,
        by_neighbours=_by_neighbours(growth, at),
        planned=(planned.least, planned.most) if planned is not None and known else None,
        refused=planned.refused if planned is not None else "",
    )


def _by_neighbours(growth: Growth, at: int) -> tuple[float, float, float] | None:
    """Project over what drives the cost instead of over clients: while all mask with all, a client's grows as their
    number, and then no more.
    """
    sizes = [size for size, _ in growth.points]
    degrees = {size: _neighbours(growth, size) for size in (*sizes, at)}
    known = {size: degree for size, degree in degrees.items() if degree is not None}
    if len(known) < len(degrees):
        return None
    per = {size: size if growth.quantity is Quantity.SERVER_CPU else 1 for size in known}
    driver = {
        size: degree * size if growth.quantity is Quantity.SERVER_MEMORY else degree for size, degree in known.items()
    }
    try:
        curves = fit_curves([(driver[size], value / per[size]) for size, value in growth.points])
    except ConfigurationError:
        return None  # as many neighbours at every size: clients tell as much
    value, low, high = (per[at] * one for one in curves.project(driver[at]))
    return value, low, high


def _planned(growth: Growth, at: int) -> PlannedUpload | None:
    """What the planner knows: of suites without noise, against a server that is honest but curious."""
    usual = growth.server in {"", ServerModel.HONEST_BUT_CURIOUS.value}
    if growth.kind != "suite" or growth.privacy != NO_PRIVACY or not usual:
        return None
    return planned_upload(growth.suite, growth.wire, at, growth.fixed, growth.dropout)


def _neighbours(growth: Growth, clients: int) -> int | None:
    return planned_neighbours(growth.suite, growth.server, clients, growth.dropout) if growth.kind == "suite" else None


def _assumptions(growth: Growth, curves: Curves) -> tuple[str, ...]:
    largest, first = growth.points[-1][0], curves.smallest
    used = curves.power.spare + 2
    seen = f"{format_count(first)} to {format_count(largest)} clients"
    told = [
        f"Of {len(growth.points)} sizes the {used} largest are fitted, {seen}; beyond, cost grows as it does there.",
        f"Every size has {format_count(growth.fixed)} parameters, and {format_percent(growth.dropout, 0)} drop out.",
        "The machine is this one, and its memory holds what the largest session needs.",
    ]
    if curves.flat:
        told.append("Cost is not seen to grow: it is taken to stay as it was, and the interval holds growth unseen.")
    if curves.undecided:
        told.append("A power and a constant with a line fit about as well: the interval holds what both say.")
    neighbours = [(at, _neighbours(growth, at)) for at in (first, largest, *FAR)]
    if all(degree is not None for _, degree in neighbours):
        listed = ", ".join(f"{degree} of {format_count(at)}" for at, degree in neighbours)
        told.append(
            f"A client masks with so many neighbours: {listed}. A curve over clients does not know that; one over "
            f"neighbours does, and takes cost to follow their number by a power, or by a constant and a line."
        )
    return tuple(told)


def _common_rest(variants: Iterable[Sequence[CellRecord]], axis: Axis) -> Rest:
    """Where most were measured at most sizes."""
    sizes: dict[Rest, int] = defaultdict(int)
    for cells in variants:
        for rest, _ in {(_rest(one, axis), getattr(one, axis.value)) for one in cells}:
            sizes[rest] += 1
    return max(sizes, key=lambda rest: (sizes[rest], rest[1], rest[0]), default=(0, 0.0))


def _rest(cell: CellRecord, axis: Axis) -> Rest:
    return (cell.parameters if axis is Axis.CLIENTS else cell.clients, cell.dropout)
