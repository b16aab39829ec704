"""A job: what to train, on which data, among whom, protected how. Checked whole before anything runs."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.update import largest_error
from privfl.errors import ConfigurationError
from privfl.learning.audit_job import AuditJob
from privfl.learning.cohort_job import CohortJob, Sampling
from privfl.learning.combinations import refuse_what_does_not_fit
from privfl.learning.compression_job import CompressionJob
from privfl.learning.data import Partition
from privfl.learning.encoding_job import EncodingJob
from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.failures_job import FailuresJob
from privfl.learning.fleet_job import FleetJob
from privfl.learning.own_code import is_own
from privfl.learning.own_data import MOST_CLASSES
from privfl.learning.privacy_job import PrivacyJob, PrivacyMode
from privfl.learning.strategy_job import StrategyJob
from privfl.learning.tables import override, read_table, write_table
from privfl.learning.training_job import TrainingJob
from privfl.params import CommitteeShape, Setting, ThreatModel
from privfl.suites import suite

MAX_ROUNDS: Final = 100_000
MOST_JOB_BYTES: Final = 1 << 20
"""Of a job file: a thousand times what most have, and little enough for a reader of which nobody says how it grows."""
_MOST_DOTS: Final = 32  # in a line: a key has two parts, and what reads a key of n parts takes n² steps and words
_WHOLE: Final = range(-(2**63), 2**63)  # TOML's


@dataclass(frozen=True, slots=True, kw_only=True)
class DataJob:
    """`data.*`: which data, and how they lie at the clients.

    Attributes:
        name: data set; or `module:function`, a function that returns what a client holds. `data = "module:function"`
            in a job's first lines says the same.
        clients: how many clients share it.
        test: `module:function`, a function that returns what the server holds out of data of one's own; the function
            `load_test` of the same module unless given.
        classes: of data of one's own, whose labels are 0 .. classes − 1. Unless given, the largest label says how many
            there are: of all that anybody holds, and under differential privacy of what the server does.
        partition: `iid`; `dirichlet` or `shards` for clients with different mixtures of labels; `quantity` for clients
            with different numbers of examples.
        alpha: concentration of `dirichlet` and `quantity`; the smaller, the more the clients differ.
        shards: pieces of the data, sorted by label, that a client gets under `shards`.
    """

    name: str = "hospitals"
    clients: int = 10
    test: str | None = None
    classes: int | None = None
    partition: Partition = Partition.IID
    alpha: float = 0.5
    shards: int = 2

    def __post_init__(self) -> None:
        if self.classes is not None and not 2 <= self.classes <= MOST_CLASSES:
            raise ConfigurationError(f"data.classes is {self.classes}: 2 to {MOST_CLASSES} works, such as 10")
        if not is_own(self.name):
            if self.classes is not None:
                raise ConfigurationError(
                    f"data.classes is {self.classes} with data.name {self.name!r}, whose classes are known: leave it "
                    f"out"
                )
            if self.test is not None:
                raise ConfigurationError(
                    f"data.test is {self.test!r} with data.name {self.name!r}, of which the server holds a fifth out: "
                    f"leave it out"
                )
            return
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in {"partition", "alpha", "shards"} and value != one.default:
                raise ConfigurationError(
                    f"data.{one.name} is {str(value)!r} with data.name {self.name!r}, a function that says itself what "
                    f"every client holds: leave it out"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A whole job.

    Attributes:
        suite: how updates are summed.
        rounds: rounds of training.
        seed: of data split, model, batches, cohorts and scripted chance. Protocol secrets never depend on it.
        model: `mlp`, `cnn`, `logistic`, or `module:function`, a function that returns a model of PyTorch or a trainer
            of its own; what suits the data unless given.
        committee: who opens sums under `ckks`; nothing to other suites.
        fleet: what simulated clients run on; without one no time passes, except for strategies and cohorts that go by
            it, which take a fleet of equals.
    """

    suite: str = "kahe"
    rounds: int = 10
    seed: int = 0
    model: str | None = None
    data: DataJob = field(default_factory=DataJob)
    cohort: CohortJob = field(default_factory=CohortJob)
    threat: ThreatModel = field(default_factory=ThreatModel)
    encoding: EncodingJob = field(default_factory=EncodingJob)
    compression: CompressionJob = field(default_factory=CompressionJob)
    training: TrainingJob = field(default_factory=TrainingJob)
    strategy: StrategyJob = field(default_factory=StrategyJob)
    committee: CommitteeShape = field(default_factory=CommitteeShape)
    failures: FailuresJob = field(default_factory=FailuresJob)
    privacy: PrivacyJob = field(default_factory=PrivacyJob)
    audit: AuditJob = field(default_factory=AuditJob)
    evaluation: EvaluationJob = field(default_factory=EvaluationJob)
    fleet: FleetJob | None = None

    def __post_init__(self) -> None:
        chosen = suite(self.suite)
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ConfigurationError(f"rounds is {self.rounds}: 1 to {MAX_ROUNDS} works, such as 10")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed is {self.seed}: 0 to 2^63 − 1 works")
        if self.data.clients < 1:
            raise ConfigurationError(f"data.clients is {self.data.clients}: 1 or more works, such as 10")
        asked = self.data.clients if self.cohort.size is None else self.cohort.size
        if not 1 <= asked <= self.data.clients:
            raise ConfigurationError(
                f"cohort.size is {asked}: 1 to {self.data.clients} works, because data.clients is {self.data.clients}"
            )
        refuse_what_does_not_fit(self)
        size = self.cohort_size
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

    def agreed_minimum(self, invited: int) -> int:
        """Return the fewest contributors that a session's parameters say, to which so many are invited."""
        if self.minimum is not None:
            return self.minimum
        return suite(self.suite).fewest_contributors(max(invited, 2), self.threat)

    def with_minimum(self) -> Job:
        """Return the job with `cohort.minimum` said: where it was left to the suite, what that wants of a whole cohort.

        A coordinator invites those who are there. Were the minimum to follow from how many it invites, one that lies
        could invite a few, of whom a client that is corrupt is more than the threat model's share.
        """
        if self.minimum is not None:
            return self
        cohort = min(max(math.floor(self.expected_cohort), 2), self.cohort_size)
        fewest = min(suite(self.suite).fewest_contributors(cohort, self.threat), self.cohort_size)
        return replace(self, cohort=replace(self.cohort, minimum=fewest))

    def fewest_contributors(self, invited: int) -> int:
        """Return how many a session takes at least: as agreed, and as many as its suite can be held among."""
        return max(self.agreed_minimum(invited), self.least_cohort)

    @property
    def least_cohort(self) -> int:
        """Fewest clients among whom a session of the suite can be held at all."""
        return suite(self.suite).least_clients

    @property
    def corrupt_clients(self) -> int:
        """Most corrupt clients of a cohort; where clients share the noise, one at least: each knows its own share.

        Where clients say themselves that they are there, or how fast they are, corrupt ones may all be in one cohort.
        """
        whom = self.data.clients if self.cohort.by_presence or self.strategy.buffering() else self.cohort_size
        corrupt = min(math.floor(self.threat.corrupt * whom + 1e-9), self.cohort_size)
        return max(corrupt, 1) if self.privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED else corrupt

    @property
    def honest_minimum(self) -> int:
        """Fewest honest contributors of a round, where `minimum` is known."""
        return (self.minimum or 0) - self.corrupt_clients

    @property
    def expected_cohort(self) -> float:
        """Clients whose updates a round asks for, on average: what sums are divided by under differential privacy."""
        asked = self.cohort_size if self.goal is None else self.goal
        return asked if self.cohort.probability is None else asked * self.cohort.probability

    @property
    def goal(self) -> int | None:
        """Uploads with which a round goes on; None: all that will come."""
        return self.cohort.goal

    def setting(
        self,
        length: int | None = None,
        *,
        clients: int | None = None,
        bound: int | None = None,
        sum_bound: int | None = None,
    ) -> Setting:
        """Return the setting of its sessions.

        Args:
            length: most coordinates of a vector, once they are known.
            clients: invited to a session, at most; a cohort unless given.
            bound: largest magnitude of a coordinate, where `encoding.bits` does not say it.
            sum_bound: of a coordinate of the sum, if that is less than all clients' bounds together.

        Raises:
            ConfigurationError: nothing withstands the threat model, or holds the sums.
        """
        return suite(self.suite).setting(
            self.cohort_size if clients is None else clients,
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
        """Clients invited to a round, or in a buffer, at most."""
        buffering = self.strategy.buffering()
        invited = self.cohort.invited if buffering is None else buffering.buffer
        return self.data.clients if invited is None else min(invited, self.data.clients)

    @property
    def timed(self) -> FleetJob | None:
        """The fleet on whose clock the run is; None where no time passes."""
        by_clock = self.strategy.buffering() is not None or self.cohort.deadline_s is not None or self.goal is not None
        return FleetJob() if self.fleet is None and (by_clock or self.cohort.by_presence) else self.fleet

    @property
    def evaluators(self) -> int:
        """Clients invited to a federated evaluation."""
        return self.data.clients if self.evaluation.size is None else self.evaluation.size


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
        text = content.decode("utf-8-sig")  # editors of Windows begin a file with a mark that is no text
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} is not UTF-8: save it as UTF-8") from None
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n") if not line.lstrip().startswith("#")):
        raise ConfigurationError(f"{what} has a line of more than {_MOST_DOTS} dots: keys such as privacy.clip work")
    try:
        table = tomllib.loads(text)
        _lengthen(table, {})
        for setting in overrides:
            before = table.get("data")
            override(table, setting)
            _lengthen(table, before)
        _require_64_bits(table)
        return job_from_table(table)
    except ConfigurationError:
        raise
    except tomllib.TOMLDecodeError as error:
        quoted = '; a text stands in quotes, such as suite = "kahe"' if "Invalid value" in str(error) else ""
        raise ConfigurationError(f"{what} is not TOML: {error}{quoted}") from None
    except RecursionError:
        raise ConfigurationError(f"{what} is nested too deeply: tables, and lists of tables, work") from None
    except (ValueError, ArithmeticError):
        raise ConfigurationError(f"{what} holds a number that no job has: finite ones of a few digits work") from None


def job_from_table(table: Mapping[str, Any]) -> Job:
    """Make a job from a nested table, as TOML reads it.

    Raises:
        ConfigurationError: a key or value is not right.
    """
    table = dict(table)
    _lengthen(table, {})
    return read_table(Job, table)


def _lengthen(table: dict[str, Any], before: object) -> None:
    """Write `data = "module:function"` as the table that it stands for, with the other keys that were there before."""
    if isinstance(table.get("data"), str):
        table["data"] = {**(before if isinstance(before, Mapping) else {}), "name": table["data"]}


def _require_64_bits(value: Any) -> None:
    """Refuse other whole numbers wherever they stand: some can neither become a float nor be told in a complaint."""
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _require_64_bits(part)
    if isinstance(value, int) and value not in _WHOLE:
        raise ConfigurationError("a whole number of the job is beyond 64 bits, which TOML has none of: 10 works")


def job_to_toml(job: Job) -> str:
    """Write a job out in full, defaults included; `load_job` reads the same job back."""
    return write_table(job)
