"""What `privfl bench` writes down, as values: lines of bench.jsonl, goals.jsonl and jobs.jsonl.

Keys that are not known here are passed over; what a line leaves out takes the value that says "not measured".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from privfl.errors import ConfigurationError
from privfl.wire.typed import converted

NO_PRIVACY: Final = "none"
UNPROTECTED: Final = frozenset({"plain", "float32-mean"})
"""Suites and peers under which the server reads every update: there to compare with."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Spread: TypeAlias = tuple[float, float]
Variant: TypeAlias = tuple[str, str, str, str, str]
R = TypeVar("R", bound=msgspec.Struct)


class PhaseCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one phase cost all clients together, the server and the committee; seconds of CPU, and bytes.

    None stands for "not measured".
    """

    client_cpu_s: float | None = None
    server_cpu_s: float | None = None
    upload_bytes: float | None = None
    download_bytes: float | None = None
    committee_cpu_s: float | None = None


class CellRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of bench.jsonl: one suite or peer at one size. Seconds are of CPU; None stands for "not measured"."""

    suite: str
    clients: Count
    parameters: Count
    kind: str = "suite"
    protection: str | None = None
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    privacy: str = NO_PRIVACY
    server: str | None = None
    wire: str | None = None
    contributors: int | None = None
    phases: dict[str, PhaseCost] = {}
    client_cpu_s: float | None = None
    encode_cpu_s: float | None = None
    server_cpu_s: float | None = None
    decode_cpu_s: float | None = None
    committee_cpu_s: float | None = None
    committee_bytes: float | None = None
    ceremony_cpu_s: float | None = None
    upload_bytes: float | None = None
    download_bytes: float | None = None
    upload_bytes_per_contributor: float | None = None
    server_peak_bytes: float | None = None
    client_peak_bytes: float | None = None
    max_abs_error: float | None = None
    error_std_of_mean: float | None = None
    promised_error_std_of_mean: float | None = None
    ratio_to_plain: float | None = None
    client_ratio_to_plain: float | None = None
    server_ratio_to_plain: float | None = None
    upload_ratio_to_plain: float | None = None
    spread: dict[str, Spread | None] = {}
    repeat: int | None = None
    workers: int | None = None
    machine: dict[str, Any] = {}

    @property
    def variant(self) -> Variant:
        """What was measured, whatever its size."""
        return (self.kind, self.suite, self.privacy, self.wire or "", self.server or "")

    @property
    def size(self) -> tuple[int, int, float]:
        """Clients, parameters and the fraction that drops out."""
        return (self.clients, self.parameters, self.dropout)

    @property
    def protects(self) -> bool:
        """Whether the server is kept from reading single updates."""
        return self.suite not in UNPROTECTED


class GoalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of goals.jsonl: what was measured against a limit."""

    key: str
    what: str
    measured: float
    unit: str
    limit: float
    at_least: bool = False
    reached: bool | None = None
    spread: Spread | None = None
    detail: str = ""
    machine: dict[str, Any] = {}

    @property
    def holds(self) -> bool:
        """Whether what was measured reaches the limit; what is no number does not."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    @property
    def contradicted(self) -> bool:
        """Whether the line says otherwise than its own figures do."""
        return self.reached is not None and self.reached != self.holds


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of jobs.jsonl: a training job under a suite and a privacy mode; bytes are a client's in a round."""

    suite: str
    job: str = ""
    privacy: str = NO_PRIVACY
    epsilon: float | None = None
    delta: float | None = None
    bits: int | None = None
    wire: str | None = None
    clients: int | None = None
    rounds: int | None = None
    parameters: int | None = None
    accuracy: float | None = None
    accuracy_std: float | None = None
    seeds: Any = None
    seconds: float | None = None
    secure_seconds: float | None = None
    upload_bytes: float | None = None
    download_bytes: float | None = None
    ratio_to_plain: float | None = None
    spread: dict[str, Spread | None] = {}
    machine: dict[str, Any] = {}

    @property
    def protects(self) -> bool:
        """Whether the server is kept from reading single updates."""
        return self.suite not in UNPROTECTED


def cell_records(lines: Iterable[CellRecord | Mapping[str, Any]]) -> tuple[CellRecord, ...]:
    """Read cells; of several lines on one cell the last counts.

    Raises:
        ConfigurationError: a line is no record of a cell; names the line, the key and what is expected.
    """
    found = {(one.variant, one.size): one for one in _records(lines, CellRecord, "cell")}
    return tuple(found.values())


def goal_records(lines: Iterable[GoalRecord | Mapping[str, Any]]) -> tuple[GoalRecord, ...]:
    """Read goals; of several lines on one goal the last counts. Errors as those of `cell_records`."""
    return tuple({one.key: one for one in _records(lines, GoalRecord, "goal")}.values())


def job_records(lines: Iterable[JobRecord | Mapping[str, Any]]) -> tuple[JobRecord, ...]:
    """Read training jobs, in their order. Errors as those of `cell_records`."""
    return tuple(_records(lines, JobRecord, "job"))


def _records(lines: Iterable[Any], kind: type[R], name: str) -> Iterable[R]:
    for place, line in enumerate(lines, start=1):
        try:
            yield line if isinstance(line, kind) else converted(line, kind)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{name} {place} of the results: {error}") from None
