"""What secure rounds cost beside rounds under `plain`, training included: whole rounds of one job, suites in turn.

A model of a million parameters (an MLP on `digits`), so many local steps that a client trains for the time asked for,
and rounds of `kahe` (or another suite) and `plain` in turn within one process, so that a machine that slows down slows
both. A round is everything: training, encoding, the session of all clients and the server, decoding, the step of the
model, its evaluation. What a run does beside a round for its report (the same vectors through `plain`, for comparison)
is left out of it, by measuring that apart.

    python benchmarks/overhead.py --suite kahe --rounds 6 >> benchmarks/results/overhead.jsonl

Every line is one comparison: medians of the rounds, and the ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from unittest import mock

from torch import nn

from privfl.learning.job import job_from_table
from privfl.learning.rounds import FederatedRun
from privfl.learning.sessions import Sessions

_TRIAL = 10  # epochs
_MORE = 1.15  # of the time that is asked for: a machine may be faster a minute later


def model() -> nn.Module:
    """Three layers, 1,000,577 parameters."""
    hidden = 963
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    )


class Stopwatch:
    """Rounds of one run, each timed without what is done for its report alone."""

    def __init__(self, suite: str, *, clients: int, epochs: int, rounds: int) -> None:
        job = job_from_table(
            {
                "suite": suite,
                "rounds": rounds,
                "model": f"{__name__}:model",
                "data": {"name": "digits", "clients": clients},
                "strategy": {"epochs": epochs, "learning_rate": 0.01},
            }
        )
        self.run = FederatedRun(job)
        self.parameters = self.run.parameters
        self._rounds = iter(self.run)
        self.seconds: list[float] = []
        self.training: list[float] = []
        self.compared: list[float] = []

    def step(self) -> None:
        """Do a round."""
        compare, train = Sessions.plain, type(self.run._trainer).train
        beside, training = [0.0], [0.0]

        def timed(method, sheet):
            def call(*arguments, **options):
                begun = time.perf_counter()
                try:
                    return method(*arguments, **options)
                finally:
                    sheet[0] += time.perf_counter() - begun

            return call

        with (
            mock.patch.object(Sessions, "plain", timed(compare, beside)),
            mock.patch.object(type(self.run._trainer), "train", timed(train, training)),
        ):
            begun = time.perf_counter()
            next(self._rounds)
            self.seconds.append(time.perf_counter() - begun - beside[0])
        self.training.append(training[0])
        self.compared.append(beside[0])


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="kahe")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3, help="that a client trains, at least")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    trial = Stopwatch("plain", clients=options.clients, epochs=_TRIAL, rounds=2)
    trial.step()
    trial.step()
    epochs = math.ceil(_MORE * options.seconds * _TRIAL / (trial.training[-1] / options.clients))
    plain, secure = (
        Stopwatch(suite, clients=options.clients, epochs=epochs, rounds=options.rounds)
        for suite in ("plain", options.suite)
    )
    for number in range(options.rounds):
        for watch in (plain, secure) if number % 2 else (secure, plain):
            watch.step()
    seconds = {name: statistics.median(watch.seconds[1:]) for name, watch in (("plain", plain), ("secure", secure))}
    training = {name: statistics.median(watch.training[1:]) for name, watch in (("plain", plain), ("secure", secure))}
    beside = {name: seconds[name] - training[name] for name in seconds}
    print(
        json.dumps(
            {
                "suite": options.suite,
                "clients": options.clients,
                "parameters": plain.parameters,
                "epochs": epochs,
                "training_s_per_client": round(training["plain"] / options.clients, 3),
                "round_s": {name: round(value, 3) for name, value in seconds.items()},
                "beside_training_s": {name: round(value, 3) for name, value in beside.items()},
                "ratio": round(seconds["secure"] / seconds["plain"], 4),
                "ratio_without_noise_of_training": round(
                    (training["plain"] + beside["secure"]) / (training["plain"] + beside["plain"]), 4
                ),
                "comparison_for_the_report_s": round(statistics.median(secure.compared[1:]), 3),
                "rounds": options.rounds - 1,
                "machine": f"{platform.machine()}, Python {platform.python_version()}",
                "command": (
                    f"python benchmarks/overhead.py --suite {options.suite} --clients {options.clients} "
                    f"--seconds {options.seconds:g} --rounds {options.rounds}"
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
