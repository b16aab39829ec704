"""All that the report of a benchmark says, and how cost grows, as values that `privfl.bench` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from privfl.report.bench_records import CellRecord, GoalRecord, JobRecord


class Quantity(Enum):
    """What grows; the value is its key in a cell's record."""

    CLIENT_CPU = "client_cpu_s"
    SERVER_CPU = "server_cpu_s"
    UPLOAD = "upload_bytes_per_contributor"
    SERVER_MEMORY = "server_peak_bytes"

    @property
    def in_bytes(self) -> bool:
        """Whether it is counted in bytes; in seconds otherwise."""
        return self in {Quantity.UPLOAD, Quantity.SERVER_MEMORY}


class Axis(Enum):
    """What it grows with; the value is its key in a cell's record."""

    CLIENTS = "clients"
    PARAMETERS = "parameters"


class Form(Enum):
    """The curve that a projection follows."""

    CONSTANT = "no growth seen"
    POWER = "a power"
    LINE = "a constant and a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A curve through the largest sizes.

    Attributes:
        exponent: of the power law that fits them best; a slope on logarithms.
        exponent_error: its standard error; what is told of how far measurements lie beside the curve, no more.
        used: how many sizes it rests on, the largest ones.
        measured: of so many.
        smallest: the smallest of those it rests on.
        form: the curve that fits better, and that projections follow; a constant where neither fits better than that.
        constant: with `Form.LINE`, what does not grow (seconds or bytes); 0 otherwise.
        undecided: whether the other form fits about as well and says something else, so that intervals hold both.
    """

    exponent: float
    exponent_error: float
    used: int
    measured: int
    smallest: int
    form: Form
    constant: float
    undecided: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What a curve says of a size that was not measured.

    Attributes:
        at: the size.
        value: seconds or bytes.
        low: lower end of the 95 % interval.
        high: upper end.
        by_neighbours: value and interval of a curve over the neighbours that a client masks with, whose number the
            planner knows at every size; None where nobody masks.
        planned: what the planner knows exactly, from least to most; None where it knows nothing.
        refused: why no session of that size can be held; empty if one can.
    """

    at: int
    value: float
    low: float
    high: float
    by_neighbours: tuple[float, float, float] | None = None
    planned: tuple[float, float] | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One quantity of one suite or peer over clients or parameters, the rest being fixed.

    Attributes:
        kind: "suite" or "peer".
        suite: its name.
        privacy: the mode of differential privacy.
        wire: how vectors travel; empty where that is not told.
        server: the threat model; empty where that is not told.
        quantity: what grows.
        axis: what it grows with.
        fixed: the other size, a number of parameters or clients.
        dropout: fraction that drops out.
        points: (size, measurement), ascending.
        fit: None where there is too little to fit.
        refused: why there is none; empty otherwise.
        projections: ascending; empty without a fit.
        assumptions: sentences: on what the projections rest.
    """

    kind: str
    suite: str
    privacy: str
    wire: str
    server: str
    quantity: Quantity
    axis: Axis
    fixed: int
    dropout: float
    points: tuple[tuple[int, float], ...]
    fit: Fit | None = None
    refused: str = ""
    projections: tuple[Projection, ...] = ()
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """All that the report of a benchmark says.

    Attributes:
        cells: lines of bench.jsonl.
        goals: lines of goals.jsonl.
        jobs: lines of jobs.jsonl.
        growth: what `privfl.bench.growth.growths` makes of the cells.
        skipped: (what, why) of what was not measured, such as a peer that is not installed, with the command.
        command: what was typed.
        machine: names and versions of what it ran on.
    """

    cells: Sequence[CellRecord | Mapping[str, Any]] = ()
    goals: Sequence[GoalRecord | Mapping[str, Any]] = ()
    jobs: Sequence[JobRecord | Mapping[str, Any]] = ()
    growth: Sequence[Growth] = ()
    skipped: Sequence[tuple[str, str]] = ()
    command: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
