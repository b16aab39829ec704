"""A job: what to train, on which data, among whom, protected how. Checked whole before anything runs."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.update import largest_error
from privfl.errors import ConfigurationError
from privfl.learning.data import Partition
from privfl.learning.trainer import LocalTraining
from privfl.params import DEFAULT_PRECISION, CommitteeShape, Setting, ThreatModel, WireForm
from privfl.session import Phase
from privfl.suites import suite

MAX_ROUNDS: Final = 100_000
_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)
_ABSENCE_PHASES: Final = (Phase.CONVENE, Phase.OPEN)
_OFFERED: Final = "offered"
"""In a field's metadata: the members of its enumeration that a job may name; all unless given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataJob:
    """`data.*`: which data, and how they lie at the clients.

    Attributes:
        name: data set.
        clients: how many clients share it.
        partition: `iid`, or `dirichlet` for clients with different mixtures of labels.
        alpha: concentration of `dirichlet`; the smaller, the more the clients differ.
    """

    name: str = "hospitals"
    clients: int = 10
    partition: Partition = Partition.IID
    alpha: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortJob:
    """`cohort.*`: who takes part in a round.

    Attributes:
        size: clients invited to a round, drawn uniformly; all unless given.
        minimum: fewest contributors; a round with fewer aborts. Two more than the corrupt ones unless given.
    """

    size: int | None = None
    minimum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingJob:
    """`encoding.*`: floats as integers.

    Attributes:
        clip: largest magnitude of a coordinate of an update.
        bits: bits of a quantised coordinate.
        wire: `words`, or `packed`: fewer bytes for a little more time. `plain` always sends words, `ckks` packs.
        precision: largest standard deviation of the mean's error that `ckks` may add, as a fraction of `clip`.
    """

    clip: float = 1.0
    bits: int = 16
    wire: WireForm = WireForm.WORDS
    precision: float = DEFAULT_PRECISION

    def __post_init__(self) -> None:
        FixedPoint(clip=self.clip, bits=self.bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyJob:
    """`strategy.*`: how clients train and how the server combines.

    Attributes:
        name: `fedavg`: the mean of the updates, weighted by the number of examples.
        epochs: local passes over a client's examples.
        batch_size: examples of a step.
        learning_rate: of a step.
        momentum: of a step.
        weight_max: examples that a client can weigh at most; public. Twice the average unless given.
    """

    name: str = "fedavg"
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_max: int | None = None

    def __post_init__(self) -> None:
        if self.name != "fedavg":
            raise ConfigurationError(f"strategy.name is {self.name!r}: 'fedavg' works")
        if self.weight_max is not None and self.weight_max < 1:
            raise ConfigurationError(f"strategy.weight_max is {self.weight_max}: 1 or more works, such as 100")
        self.local_training()

    def local_training(self) -> LocalTraining:
        """Return the client's part."""
        return LocalTraining(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """`[[failures.drop]]`: clients that fall silent in one round.

    Attributes:
        round: in which round, from 1; one beyond `rounds` never comes, so that a job can be cut short.
        clients: their numbers, from 0.
        phase: from which phase on they are silent.
    """

    round: int
    clients: tuple[int, ...]
    phase: Phase = field(default=Phase.MASKED_INPUT, metadata={_OFFERED: _DROP_PHASES})

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ConfigurationError(f"failures.drop.round is {self.round}: 1 or more works")
        if self.phase not in _DROP_PHASES:
            names = ", ".join(repr(phase.value) for phase in _DROP_PHASES)
            raise ConfigurationError(f"failures.drop.phase is {self.phase.value!r}: {names} work")


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """`[[failures.absent]]`: members of the committee that are missing in one round; suites without one ignore it.

    Attributes:
        round: in which round, from 1.
        members: their numbers, from 0.
        phase: `Convene`: they are not there when the sum is to be opened; `Open`: they say that they are, and fall
            silent then.
    """

    round: int
    members: tuple[int, ...]
    phase: Phase = field(default=Phase.CONVENE, metadata={_OFFERED: _ABSENCE_PHASES})

    def __post_init__(self) -> None:
        if self.round < 1:
            raise ConfigurationError(f"failures.absent.round is {self.round}: 1 or more works")
        if self.phase not in _ABSENCE_PHASES:
            names = ", ".join(repr(phase.value) for phase in _ABSENCE_PHASES)
            raise ConfigurationError(f"failures.absent.phase is {self.phase.value!r}: {names} work")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresJob:
    """`failures.*`: drop-outs, scripted or drawn.

    Attributes:
        rate: probability that a client of the cohort drops out of a round, in a phase drawn as well.
        drop: scripted drop-outs of clients.
        absent: scripted absences of members of the committee.
    """

    rate: float = 0.0
    drop: tuple[Drop, ...] = ()
    absent: tuple[Absence, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ConfigurationError(f"failures.rate is {self.rate}: 0 to below 1 works, such as 0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyJob:
    """`privacy.*`: differential privacy.

    Attributes:
        mode: `none`: secure aggregation alone, no noise.
    """

    mode: str = "none"

    def __post_init__(self) -> None:
        if self.mode != "none":
            raise ConfigurationError(
                f"privacy.mode is {self.mode!r}: 'none' works; this version adds no noise, so it claims no ε"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A whole job.

    Attributes:
        suite: how updates are summed.
        rounds: rounds of training.
        seed: of data split, model, batches, cohorts and scripted chance. Protocol secrets never depend on it.
        model: `mlp`, `cnn`, `logistic`, or `module:function`; what suits the data unless given.
        committee: who opens sums under `ckks`; nothing to other suites.
    """

    suite: str = "kahe"
    rounds: int = 10
    seed: int = 0
    model: str | None = None
    data: DataJob = field(default_factory=DataJob)
    cohort: CohortJob = field(default_factory=CohortJob)
    threat: ThreatModel = field(default_factory=ThreatModel)
    encoding: EncodingJob = field(default_factory=EncodingJob)
    strategy: StrategyJob = field(default_factory=StrategyJob)
    committee: CommitteeShape = field(default_factory=CommitteeShape)
    failures: FailuresJob = field(default_factory=FailuresJob)
    privacy: PrivacyJob = field(default_factory=PrivacyJob)

    def __post_init__(self) -> None:
        chosen = suite(self.suite)
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ConfigurationError(f"rounds is {self.rounds}: 1 to {MAX_ROUNDS} works, such as 10")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed is {self.seed}: 0 to 2^63 − 1 works")
        if self.data.clients < 1:
            raise ConfigurationError(f"data.clients is {self.data.clients}: 1 or more works, such as 10")
        size = self.cohort_size
        if not 1 <= size <= self.data.clients:
            raise ConfigurationError(
                f"cohort.size is {size}: 1 to {self.data.clients} works, because data.clients is {self.data.clients}"
            )
        error_std = chosen.error_std(self.setting(), size)
        # A run counts examples: refused before anything is loaded, if the error of a sum drowns every count.
        CountCode(1, FixedPoint(clip=1.0, bits=self.encoding.bits).bound, "examples", largest_error(error_std))
        fewest = 2 if chosen.protects else 1
        if self.cohort.minimum is not None and not fewest <= self.cohort.minimum <= size:
            raise ConfigurationError(
                f"cohort.minimum is {self.cohort.minimum}: {fewest} to {size} works, because the cohort has {size} "
                f"clients"
            )
        for drop in self.failures.drop:
            strangers = [number for number in drop.clients if not 0 <= number < self.data.clients]
            if strangers:
                raise ConfigurationError(
                    f"failures.drop.clients names {strangers}: 0 to {self.data.clients - 1} works, because "
                    f"data.clients is {self.data.clients}"
                )
        for absence in self.failures.absent:
            unknown = [number for number in absence.members if not 0 <= number < self.committee.members]
            if unknown:
                raise ConfigurationError(
                    f"failures.absent.members names {unknown}: 0 to {self.committee.members - 1} works, because "
                    f"committee.members is {self.committee.members}"
                )

    def setting(self, length: int | None = None) -> Setting:
        """Return the setting of its sessions.

        Args:
            length: most coordinates of a vector, once they are known.

        Raises:
            ConfigurationError: nothing withstands the threat model, or holds the sums.
        """
        return suite(self.suite).setting(
            self.cohort_size,
            self.threat,
            bound=FixedPoint(clip=1.0, bits=self.encoding.bits).bound,
            minimum=self.cohort.minimum,
            wire=self.encoding.wire,
            length=length,
            committee=self.committee if suite(self.suite).has_committee else None,
            precision=self.encoding.precision,
        )

    @property
    def cohort_size(self) -> int:
        """Clients invited to a round."""
        return self.data.clients if self.cohort.size is None else self.cohort.size


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Read a job file.

    Args:
        path: a TOML file.
        overrides: `key=value` with a dotted key; the value is TOML, or else a string.

    Raises:
        ConfigurationError: the file cannot be read, or a key or value is not right; names it and what works.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the job file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the job file {path} is not UTF-8: save it as UTF-8") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the job file {path} is not TOML: {error}") from None
    for override in overrides:
        _override(table, override)
    return job_from_table(table)


def job_from_table(table: Mapping[str, Any]) -> Job:
    """Make a job from a nested table, as TOML reads it.

    Raises:
        ConfigurationError: a key or value is not right.
    """
    return _read(Job, table, "")


def job_to_toml(job: Job) -> str:
    """Write a job out in full, defaults included; `load_job` reads the same job back."""
    top: list[str] = []
    tables: list[str] = []
    _write(job, (), top, tables)
    return "\n".join(top + tables).lstrip("\n") + "\n"


T = TypeVar("T")


def _read(kind: type[T], table: object, prefix: str) -> T:
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{prefix.rstrip('.')} is {table!r}: a table works, such as [{prefix.rstrip('.')}]")
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind) if entry.init}  # type: ignore[arg-type]  # dataclasses only
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{near[0]}? " if near else ""
            raise ConfigurationError(f"{prefix}{key} is not a key of a job: {hint}known are {_listed(known, prefix)}")
    missing = [name for name, entry in known.items() if name not in table and _required(entry)]
    if missing:
        raise ConfigurationError(f"{prefix}{missing[0]} is missing: give it a value")
    return kind(
        **{
            key: _value(hints[key], value, f"{prefix}{key}", known[key].metadata.get(_OFFERED))
            for key, value in table.items()
        }
    )


def _required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _value(hint: Any, value: Any, key: str, offered: Sequence[Enum] | None = None) -> Any:
    origin, choices = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _value(next(choice for choice in choices if choice is not types.NoneType), value, key)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigurationError(f"{key} is {value!r}: a list works, such as [0, 1]")
        return tuple(_value(choices[0], item, key) for item in value)
    if is_dataclass(hint):
        return _read(hint, value, f"{key}.")  # type: ignore[arg-type]  # a class, not an instance
    if isinstance(hint, type) and issubclass(hint, Enum):
        if value not in [member.value for member in hint]:
            names = " or ".join(repr(member.value) for member in offered or hint)
            raise ConfigurationError(f"{key} is {value!r}: {names} works")
        return hint(value)
    return _plain_value(hint, value, key)


def _plain_value(hint: Any, value: Any, key: str) -> Any:
    samples = {int: "a whole number such as 10", float: "a number such as 0.1", str: "a text in quotes"}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or isinstance(value, bool):
        raise ConfigurationError(f"{key} is {value!r}: {samples[hint]} works")
    return value


def _listed(known: Mapping[str, Any], prefix: str) -> str:
    return ", ".join(f"{prefix}{name}" for name in known)


def _override(table: dict[str, Any], override: str) -> None:
    key, found, text = override.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not found or not all(path):
        raise ConfigurationError(f"--set {override!r}: key=value works, such as --set suite=plain")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"--set {override!r}: {part} is a value, not a table")
        table = inner
    table[path[-1]] = value


def _write(value: Any, path: tuple[str, ...], lines: list[str], tables: list[str]) -> None:
    for entry in fields(value):
        item = getattr(value, entry.name)
        if item is None or not entry.init:
            continue
        if is_dataclass(item):
            inner: list[str] = []
            deeper: list[str] = []
            _write(item, (*path, entry.name), inner, deeper)
            tables += ["", f"[{'.'.join((*path, entry.name))}]", *inner, *deeper]
        elif isinstance(item, tuple) and item and is_dataclass(item[0]):
            for element in item:
                inner = []
                _write(element, (*path, entry.name), inner, [])
                tables += ["", f"[[{'.'.join((*path, entry.name))}]]", *inner]
        else:
            lines.append(f"{entry.name} = {_literal(item)}")


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, Enum):
        value = value.value
    # JSON's strings and numbers are TOML's, except for the few floats that neither a job nor JSON knows.
    return json.dumps(value) if isinstance(value, str) else repr(value)
