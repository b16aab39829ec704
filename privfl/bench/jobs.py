"""What protection costs a whole training job, and what noise costs its model.

Two jobs on `digits`. Of a network of a million parameters among ten clients it is the time and the bytes that count: it
is trained under every suite, with fewer bits, and with noise. Of a linear model among a hundred clients it is the
accuracy: under every privacy mode, at several ε. The cases of a job take turns, round by round and every second round
the other way about, so that a machine that slows down slows all. A round is everything: training, encoding, the session
of all parties, the step of the model, its evaluation; what a run does for its report alone (the same vectors through
`plain` once more) is taken off. Ratios are of processor time, which other programs' turns on the machine are not in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from privfl.bench.matrix import quartiles
from privfl.learning.job import job_from_table
from privfl.round_metrics import RoundMetrics

NEEDS: Final = ("torch", "sklearn")
INSTALL: Final = "pip install 'privfl[learning,dp]'"
DELTAS: Final = {"client-central": 1e-3, "client-distributed": 1e-3, "example": 1e-4}
"""δ by mode: below one in as many clients, or examples, as there are."""
_PLAIN: Final = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A job, apart from how it is protected.

    Attributes:
        name: what people call it.
        model: as a job names it.
        clients: who share the data.
        rounds: of a run.
        epochs: of a client in a round.
        seeds: a run for each.
    """

    name: str
    model: str
    clients: int
    rounds: int
    epochs: int
    seeds: tuple[int, ...]


WIDE: Final = Training(
    name="a million parameters", model=f"{__name__}:wide_model", clients=10, rounds=4, epochs=5, seeds=(0,)
)
LINEAR: Final = Training(name="a linear model", model="logistic", clients=100, rounds=8, epochs=2, seeds=(0, 1))


def wide_model() -> Any:
    """Three layers, 1,000,567 parameters."""
    from torch import nn  # noqa: PLC0415 - an extra

    hidden = 963
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCase:
    """A job, and a way to run it.

    Attributes:
        training: the job.
        suite: name of the suite.
        mode: `privacy.mode`.
        epsilon: ε; None without noise.
        bits: of a value.
        wire: how vectors travel.
    """

    training: Training
    suite: str
    mode: str = "none"
    epsilon: float | None = None
    bits: int = 16
    wire: str = "words"

    @property
    def delta(self) -> float | None:
        """δ; None without noise."""
        return DELTAS.get(self.mode)

    def __str__(self) -> str:
        """For people."""
        noise = "" if self.epsilon is None else f", {self.mode}, ε = {self.epsilon:g}"
        return f"{self.training.name} under {self.suite}, {self.bits} bits, {self.wire}{noise}"

    def table(self, *, seed: int) -> dict[str, Any]:
        """Return the job, as its file would say it."""
        table: dict[str, Any] = {
            "suite": self.suite,
            "rounds": self.training.rounds,
            "seed": seed,
            "model": self.training.model,
            "data": {"name": "digits", "clients": self.training.clients},
            "encoding": {"bits": self.bits, "wire": self.wire},
            "strategy": {"epochs": self.training.epochs, "learning_rate": 0.1, "momentum": 0.9},
        }
        if self.epsilon is not None:
            table["privacy"] = {"mode": self.mode, "epsilon": self.epsilon, "delta": self.delta, "clip": 1.0}
        return table


DISTRIBUTED: Final = "client-distributed"
CASES: Final = (
    JobCase(training=WIDE, suite=_PLAIN),
    JobCase(training=WIDE, suite="masking"),
    JobCase(training=WIDE, suite="masking", wire="packed"),
    JobCase(training=WIDE, suite="masking", wire="packed", bits=8),
    JobCase(training=WIDE, suite="kahe"),
    JobCase(training=WIDE, suite="kahe", wire="packed"),
    JobCase(training=WIDE, suite="kahe", wire="packed", bits=8),
    JobCase(training=WIDE, suite="ckks"),
    JobCase(training=WIDE, suite="kahe", mode=DISTRIBUTED, epsilon=16.0),
    JobCase(training=LINEAR, suite=_PLAIN),
    JobCase(training=LINEAR, suite="kahe"),
    JobCase(training=LINEAR, suite="kahe", mode="client-central", epsilon=4.0),
    JobCase(training=LINEAR, suite="kahe", mode=DISTRIBUTED, epsilon=1.0),
    JobCase(training=LINEAR, suite="kahe", mode=DISTRIBUTED, epsilon=2.0),
    JobCase(training=LINEAR, suite="kahe", mode=DISTRIBUTED, epsilon=4.0),
    JobCase(training=LINEAR, suite="kahe", mode=DISTRIBUTED, epsilon=8.0),
    JobCase(training=LINEAR, suite="masking", mode=DISTRIBUTED, epsilon=4.0, wire="packed"),
    JobCase(training=LINEAR, suite="kahe", mode="example", epsilon=16.0),
)


def why_not() -> str | None:
    """Say what is missing to run training jobs, and how it is installed; None if nothing is."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    return f"training needs {missing[0]}: {INSTALL}" if missing else None


def runnable() -> list[JobCase]:
    """Return the cases that can be run with what is installed."""
    have = {name: find_spec(name) is not None for name in ("tenseal", "opacus", "dp_accounting")}
    return [
        case
        for case in CASES
        if (case.suite != "ckks" or have["tenseal"])
        and (case.epsilon is None or have["dp_accounting"])
        and (case.mode != "example" or have["opacus"])
    ]


@dataclass(slots=True)
class _Rounds:
    """The rounds of a case so far, seed by seed."""

    rows: list[list[RoundMetrics]] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    parameters: int = 0


def measure_jobs(
    chosen: Sequence[JobCase], *, announce: Callable[[str], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Run jobs in every case, the cases of a job in turns.

    Args:
        chosen: the cases; a job under `plain` takes its turns whether it is among them or not.
        announce: told what begins.

    Yields:
        One record a case, ready for JSON.
    """
    for training in dict.fromkeys(case.training for case in chosen):
        own = [case for case in chosen if case.training == training]
        plain = _under_plain(own[0])
        table = [plain, *(case for case in own if case != plain)]
        found = {case: _Rounds() for case in table}
        with _one_thread():
            for seed in training.seeds:
                if announce is not None:
                    announce(f"training {training.name}, seed {seed}: {len(table)} runs take turns")
                _take_turns(found, seed)
        for case in own:
            yield _record(case, found[case])


def _take_turns(found: dict[JobCase, _Rounds], seed: int) -> None:
    from privfl.learning.rounds import FederatedRun  # noqa: PLC0415 - the learning stack

    runs: dict[JobCase, Iterator[RoundMetrics]] = {}
    for case, kept in found.items():
        run = FederatedRun(job_from_table(case.table(seed=seed)))
        runs[case], kept.parameters = iter(run), run.parameters
        kept.rows.append([])
    rounds = max(case.training.rounds for case in found)
    for number in range(rounds):
        taken: dict[JobCase, float] = {}
        for case in list(runs) if number % 2 else reversed(runs):
            begun = time.process_time()
            row = next(runs[case], None)
            if row is None:  # its budget was spent
                continue
            found[case].rows[-1].append(row)
            taken[case] = (time.process_time() - begun) * _whole_round(row) / row.seconds
        if number:  # in the first round some load what others then find loaded
            for case, seconds in taken.items():
                found[case].ratios.append(seconds / taken[_under_plain(case)])


def _under_plain(case: JobCase) -> JobCase:
    return JobCase(training=case.training, suite=_PLAIN)


def _whole_round(row: RoundMetrics) -> float:
    """Seconds of a round, without those that were for its report."""
    return row.seconds - (row.plain_seconds if row.suite != _PLAIN else 0.0)


def _record(case: JobCase, found: _Rounds) -> dict[str, Any]:
    rows = [row for run in found.rows for row in run]
    last = [run[-1] for run in found.rows]
    accuracy = [row.accuracy for row in last]
    return {
        "case": str(case),
        "job": case.training.name,
        "suite": case.suite,
        "privacy": case.mode,
        "epsilon": case.epsilon,
        "spent_epsilon": max((row.epsilon for row in last if row.epsilon is not None), default=None),
        "delta": case.delta,
        "bits": case.bits,
        "wire": case.wire,
        "clients": case.training.clients,
        "rounds": case.training.rounds,
        "parameters": found.parameters,
        "accuracy": statistics.fmean(accuracy),
        "accuracy_std": statistics.stdev(accuracy) if len(accuracy) > 1 else None,
        "seeds": len(case.training.seeds),
        "seconds": statistics.median(_whole_round(row) for row in rows),
        "secure_seconds": statistics.median(row.secure_seconds for row in rows),
        "client_seconds": statistics.median(row.client_seconds for row in rows),
        "server_seconds": statistics.median(row.server_seconds for row in rows),
        "upload_bytes": statistics.median(row.upload_bytes / row.cohort for row in rows),
        "download_bytes": statistics.median(row.download_bytes / row.cohort for row in rows),
        "ratio_to_plain": statistics.median(found.ratios),
        "spread": {"ratio_to_plain": quartiles(found.ratios)},
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch train with one thread: models this small gain nothing from more."""
    import torch  # noqa: PLC0415 - an extra

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
