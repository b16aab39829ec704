"""A job: what to train, on which data, among whom, protected how. Checked whole before anything runs."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.update import largest_error
from privfl.errors import ConfigurationError
from privfl.learning.audit_job import AuditJob
from privfl.learning.data import Partition
from privfl.learning.privacy_job import PrivacyJob, PrivacyMode
from privfl.learning.tables import OFFERED, override, read_table, write_table
from privfl.learning.trainer import LocalTraining
from privfl.params import DEFAULT_PRECISION, CommitteeShape, Setting, ThreatModel, WireForm
from privfl.session import Phase
from privfl.suites import suite

MAX_ROUNDS: Final = 100_000
MOST_JOB_BYTES: Final = 1 << 20
"""Of a job file: a thousand times what most have, and little enough for a reader of which nobody says how it grows."""
_MOST_DOTS: Final = 32  # in a line: a key has two parts, and what reads a key of n parts takes n² steps and words
_WHOLE: Final = range(-(2**63), 2**63)  # TOML's
_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)
_ABSENCE_PHASES: Final = (Phase.CONVENE, Phase.OPEN)


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


class Sampling(StrEnum):
    """How the cohort of a round is drawn."""

    UNIFORM = "uniform"
    FIXED = "fixed"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortJob:
    """`cohort.*`: who takes part in a round.

    Attributes:
        size: clients invited to a round; all unless given.
        minimum: fewest contributors; a round with fewer aborts. Two more than the corrupt ones unless given; where
            clients share the noise (`client-distributed`), what is left when as many drop out as `threat.dropout` says:
            the noise is made for it.
        sampling: `uniform`: `size` clients, drawn for every round; `fixed`: drawn once; `poisson`: everyone, with
            `probability`. `uniform` unless given.
        probability: of `poisson`: that a client is invited to a round.
    """

    size: int | None = None
    minimum: int | None = None
    sampling: Sampling = Sampling.UNIFORM
    probability: float | None = None

    def __post_init__(self) -> None:
        if (self.sampling is Sampling.POISSON) != (self.probability is not None):
            raise ConfigurationError(
                "cohort.probability is missing, with which 'poisson' invites every client: such as 0.5"
                if self.probability is None
                else f"cohort.probability is set though cohort.sampling is {self.sampling.value!r}: leave it out, or "
                f"take cohort.sampling = 'poisson'"
            )
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ConfigurationError(f"cohort.probability is {self.probability}: above 0, up to 1, works, such as 0.5")
        if self.probability is not None and self.size is not None:
            raise ConfigurationError("cohort.size is set though cohort.sampling 'poisson' draws it: leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingJob:
    """`encoding.*`: floats as integers. Where clients are differentially private, `privacy.clip` and a granularity that
    follows from the noise take the place of `clip` and `bits`.

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
    phase: Phase = field(default=Phase.MASKED_INPUT, metadata={OFFERED: _DROP_PHASES})

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
    phase: Phase = field(default=Phase.CONVENE, metadata={OFFERED: _ABSENCE_PHASES})

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
    audit: AuditJob = field(default_factory=AuditJob)

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
        # What a session of this cohort cannot be is refused before anything is loaded.
        error_std = chosen.error_std(self.setting(), size)
        if not self.privacy.adds_noise:  # a run counts examples: the error of a sum must not drown every count
            CountCode(1, FixedPoint(clip=1.0, bits=self.encoding.bits).bound, "examples", largest_error(error_std))
        self._check_privacy()
        fewest = 2 if chosen.protects else 1
        if self.cohort.minimum is not None and not fewest <= self.cohort.minimum <= size:
            raise ConfigurationError(
                f"cohort.minimum is {self.cohort.minimum}: {fewest} to {size} works, because the cohort has {size} "
                f"clients"
            )
        self._check_failures()

    def _check_failures(self) -> None:
        """Refuse clients and members that are not there."""
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

    def _check_privacy(self) -> None:
        privacy = self.privacy
        if privacy.amplification and self.cohort.sampling is not Sampling.POISSON:
            raise ConfigurationError(
                f"privacy.amplification is true with cohort.sampling {self.cohort.sampling.value!r}: it takes a cohort "
                f"that every client joins independently and in secret, cohort.sampling = 'poisson' with "
                f"cohort.probability, or leave it out"
            )
        if privacy.adds_noise and self.strategy.weight_max is not None:
            raise ConfigurationError(
                f"strategy.weight_max is set in privacy.mode {privacy.mode.value!r}, where all clients weigh the same "
                f"and no number of examples leaves them: leave it out"
            )
        if privacy.of_clients:
            privacy.check_population(self.data.clients, "clients")
        if privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED:
            if not suite(self.suite).protects:
                raise ConfigurationError(
                    f"suite is {self.suite!r} in privacy.mode 'client-distributed': the server would read single "
                    f"updates under a share of the noise; 'kahe', 'masking' or 'ckks' works"
                )
            if self.honest_minimum < 1:
                raise ConfigurationError(
                    f"cohort.minimum is {self.minimum} with up to {self.corrupt_clients} clients who look at the sum "
                    f"and know their own noise: {self.corrupt_clients + 1} or more works, and the more the less noise "
                    f"each adds"
                )

    @property
    def minimum(self) -> int | None:
        """Fewest contributors of a round; None leaves it to the suite."""
        if self.privacy.amplification and self.cohort.minimum is None:
            # A round that aborts tells how few were drawn, which the claim rests on being secret: as rarely as can be.
            return self.least_cohort
        if self.cohort.minimum is not None or self.privacy.mode is not PrivacyMode.CLIENT_DISTRIBUTED:
            return self.cohort.minimum
        clients = self.expected_cohort
        if self.cohort.probability is not None:  # two deviations of a binomial: one round in 44 aborts for it
            clients -= 2 * math.sqrt(clients * (1 - self.cohort.probability))
        left = math.floor(clients) - math.floor(self.threat.dropout * clients + 1e-9)
        fewest = suite(self.suite).fewest_contributors(self.cohort_size, self.threat)
        return min(max(left, fewest), self.cohort_size)

    @property
    def least_cohort(self) -> int:
        """Fewest clients among whom a session of the suite can be held at all."""
        return suite(self.suite).least_clients

    @property
    def corrupt_clients(self) -> int:
        """Most corrupt clients of a cohort; where clients share the noise, one at least: each knows its own share."""
        corrupt = math.floor(self.threat.corrupt * self.cohort_size + 1e-9)
        return max(corrupt, 1) if self.privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED else corrupt

    @property
    def honest_minimum(self) -> int:
        """Fewest honest contributors of a round, where `minimum` is known."""
        return (self.minimum or 0) - self.corrupt_clients

    @property
    def expected_cohort(self) -> float:
        """Clients that are invited to a round, on average: what sums are divided by under differential privacy."""
        return self.cohort_size if self.cohort.probability is None else self.cohort_size * self.cohort.probability

    def setting(self, length: int | None = None, *, bound: int | None = None, sum_bound: int | None = None) -> Setting:
        """Return the setting of its sessions.

        Args:
            length: most coordinates of a vector, once they are known.
            bound: largest magnitude of a coordinate, where `encoding.bits` does not say it.
            sum_bound: of a coordinate of the sum, if that is less than all clients' bounds together.

        Raises:
            ConfigurationError: nothing withstands the threat model, or holds the sums.
        """
        return suite(self.suite).setting(
            self.cohort_size,
            self.threat,
            bound=FixedPoint(clip=1.0, bits=self.encoding.bits).bound if bound is None else bound,
            sum_bound=sum_bound,
            minimum=self.minimum,
            wire=self.encoding.wire,
            length=length,
            committee=self.committee if suite(self.suite).has_committee else None,
            precision=self.encoding.precision,
        )

    @property
    def cohort_size(self) -> int:
        """Clients invited to a round, at most."""
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
        with path.open("rb") as file:  # a pipe will do
            content = file.read(MOST_JOB_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"the job file {path} cannot be read: {error.strerror}") from None
    return job_from_toml(content, overrides, what=f"the job file {path}")


def job_from_toml(content: bytes, overrides: Sequence[str] = (), *, what: str = "the job file") -> Job:
    """Make a job from the content of a job file, whoever wrote it.

    Args:
        content: TOML in UTF-8.
        overrides: `key=value` with a dotted key; the value is TOML, or else a string.
        what: how complaints call it.

    Raises:
        ConfigurationError: it is too large, no TOML, or a key or value is not right; no other error is raised.
    """
    if len(content) > MOST_JOB_BYTES:
        raise ConfigurationError(f"{what} is larger than {MOST_JOB_BYTES} bytes: a job of some lines works")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} is not UTF-8: save it as UTF-8") from None
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n") if not line.lstrip().startswith("#")):
        raise ConfigurationError(f"{what} has a line of more than {_MOST_DOTS} dots: keys such as privacy.clip work")
    try:
        table = tomllib.loads(text)
        for setting in overrides:
            override(table, setting)
        _require_64_bits(table)
        return job_from_table(table)
    except ConfigurationError:
        raise
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{what} is not TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{what} is nested too deeply: tables, and lists of tables, work") from None
    except (ValueError, ArithmeticError):
        raise ConfigurationError(f"{what} holds a number that no job has: finite ones of a few digits work") from None


def job_from_table(table: Mapping[str, Any]) -> Job:
    """Make a job from a nested table, as TOML reads it.

    Raises:
        ConfigurationError: a key or value is not right.
    """
    return read_table(Job, table)


def _require_64_bits(value: Any) -> None:
    """Refuse other whole numbers wherever they stand: some can neither become a float nor be told in a complaint."""
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _require_64_bits(part)
    if isinstance(value, int) and value not in _WHOLE:
        raise ConfigurationError("a whole number of the job is beyond 64 bits, which TOML has none of: 10 works")


def job_to_toml(job: Job) -> str:
    """Write a job out in full, defaults included; `load_job` reads the same job back."""
    return write_table(job)
