"""What strategies, selection and asynchrony bring on `digits`, and what they cost, over several seeds.

    python benchmarks/strategies.py              # writes results/strategies.jsonl
    python benchmarks/strategies.py fedbuff      # one part, printed and not written
    python benchmarks/strategies.py tune         # writes results/strategies_tuning.jsonl

All runs are under `kahe`, but for the tuning, which is under `plain`: the same model, bit for bit. Learning rates are
tuned for each strategy alone, on seeds that are not reported. Seconds are those of the simulated clock.
"""

import json
import os
import platform
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "strategies.jsonl"
TUNING = RESULTS.with_name("strategies_tuning.jsonl")
LAST = 5  # rounds over which an accuracy is averaged: of such clients, single rounds say little

DIGITS = {"suite": "kahe", "data.name": "digits", "data.clients": 20, "encoding.clip": 3.0, "strategy.epochs": 2}
SKEWED = {"data.partition": "dirichlet", "data.alpha": 0.1}
HARD = DIGITS | SKEWED | {"rounds": 20}
TUNED_ON = (100, 101, 102)
SERVER = "strategy.server_learning_rate"
RATES = {1: (0.1, 0.2, 0.3, 0.5), 5: (0.03, 0.1, 0.2, 0.3)}
STRATEGIES = {
    "fedavg": {},
    "fedprox": {"strategy.proximal": (0.01, 0.1, 1.0)},
    "fedavgm": {SERVER: (0.3, 1.0)},
    "fedadagrad": {SERVER: (0.03, 0.1, 0.3)},
    "fedadam": {SERVER: (0.03, 0.1, 0.3)},
    "fedyogi": {SERVER: (0.03, 0.1, 0.3)},
}

HALF_SLOW = DIGITS | {"fleet.slow_fraction": 0.5, "fleet.slow_factor": 10.0, "fleet.speed_spread": 0.3, "rounds": 100}
OVER = {"cohort.size": 10, "cohort.over_selection": 1.0, "threat.dropout": 0.5}
BUFFER = {"strategy.name": "fedbuff", "strategy.buffer": 10, "strategy.concurrency": 20}
FIVE = {"strategy.buffer": 5}

FIFTY = DIGITS | {"data.clients": 50, "cohort.size": 20, "threat.dropout": 0.4, "rounds": 20}
EVEN = {"fleet.speed_spread": 0.2}
FIFTH_SLOW = EVEN | {"fleet.slow_fraction": 0.2, "fleet.slow_factor": 10.0}
POLICIES = {
    "wait for all": {},
    "over-selection 0.3": {"cohort.over_selection": 0.3},
    "over-selection 0.5": {"cohort.over_selection": 0.5},
    "deadline": {"cohort.deadline_s": 0.8},
    "over-selection 0.3, deadline": {"cohort.over_selection": 0.3, "cohort.deadline_s": 0.8},
    "less work, steps": {"fleet.work": "steps"},
    "less work, batches": {"fleet.work": "batches"},
}
ASKED = DIGITS | {"data.clients": 40, "cohort.size": 10}
TOLD = DIGITS | {"cohort.size": 8, "evaluation.federated": True, "rounds": 40}


def tuning():
    """Every point of the grid."""
    for epochs, (name, axes) in product(RATES, STRATEGIES.items()):
        for rate, *values in product(RATES[epochs], *axes.values()):
            own = {"strategy.name": name, "strategy.learning_rate": rate} | dict(zip(axes, values, strict=True))
            yield f"{name}, {epochs} epochs", HARD | {"suite": "plain", "strategy.epochs": epochs} | own, TUNED_ON, None


def chosen():
    """The best point of every strategy, by the mean over the seeds that it was tuned on."""
    best = {}
    for line in TUNING.read_text(encoding="utf-8").splitlines()[1:]:
        record = json.loads(line)
        if record["case"] not in best or record["accuracy"]["mean"] > best[record["case"]]["accuracy"]["mean"]:
            best[record["case"]] = record
    return {case: DIGITS | record["keys"] | {"suite": "kahe"} for case, record in best.items()}


def accuracy():
    """The same rounds for every strategy; FedProx beside it at the learning rate of FedAvg."""
    best = chosen()
    for epochs, seeds in ((1, 10), (5, 5)):
        plain = f"fedavg, {epochs} epochs"
        for name in STRATEGIES:
            yield f"{name}, {epochs} epochs", best[f"{name}, {epochs} epochs"], range(seeds), plain
        for strength in (0.01, 0.1, 1.0):
            keys = best[plain] | {"strategy.name": "fedprox", "strategy.proximal": strength}
            yield f"fedprox, proximal {strength:g}, otherwise as {plain}", keys, range(seeds), plain


def fedbuff():
    """Until a target is reached, where half of the clients are ten times slower."""
    for how, lie in (
        ("iid", {"evaluation.target": 0.95}),
        ("dirichlet 0.3", SKEWED | {"data.alpha": 0.3, "evaluation.target": 0.93}),
        ("dirichlet 0.1", SKEWED | {"evaluation.target": 0.9}),
    ):
        for name, policy in (
            ("synchronous, all 20", {}),
            ("synchronous, 10 of 20", {"cohort.size": 10}),
            ("synchronous, the first 10 of 20", OVER),
            ("fedbuff", BUFFER),
            ("fedbuff, buffers of 5", BUFFER | FIVE),
            ("fedbuff, buffers of 5, half steps", BUFFER | FIVE | {SERVER: 0.5}),
        ):
            yield f"{how}: {name}", HALF_SLOW | lie | policy, range(5), f"{how}: synchronous, all 20"


def stragglers():
    """A fifth of the clients ten times slower, beside the same fleet without them."""
    for how, lie in (("iid", {}), ("dirichlet 0.3", SKEWED | {"data.alpha": 0.3})):
        for name, policy in POLICIES.items():
            if how == "iid":
                yield f"iid, none slow: {name}", FIFTY | EVEN | policy, range(5), "iid, none slow: wait for all"
                yield f"iid: {name}", FIFTY | FIFTH_SLOW | policy, range(5), f"iid, none slow: {name}"
            else:
                yield f"{how}: {name}", FIFTY | FIFTH_SLOW | lie | policy, range(5), f"{how}: wait for all"


def selection():
    """Fast clients first, and clients first whom the model serves badly."""
    timed = ASKED | {"fleet.speed_spread": 1.0, "evaluation.target": 0.95, "rounds": 60}
    for name, asked in (
        ("available", {"cohort.sampling": "available"}),
        ("speed", {"cohort.sampling": "speed"}),
        ("speed squared", {"cohort.sampling": "speed", "cohort.preference": 2.0}),
    ):
        yield f"until 0.95: {name}", timed | asked, range(5), "until 0.95: available"
    skews = (("dirichlet 0.1", SKEWED), ("shards", {"data.partition": "shards"}))
    for (how, lie), rate in product(skews, (0.05, 0.1)):
        for asked in ("available", "loss"):
            keys = TOLD | lie | {"strategy.learning_rate": rate, "cohort.sampling": asked}
            yield f"{how}, rate {rate:g}: {asked}", keys, range(10), f"{how}, rate {rate:g}: available"


PARTS = {"accuracy": accuracy, "fedbuff": fedbuff, "stragglers": stragglers, "selection": selection}


class Counting:
    """A trainer that takes note of whose examples it was given: whose updates count."""

    def __init__(self, inner):
        self.inner, self.seen = inner, []

    def initial_weights(self):
        return self.inner.initial_weights()

    def train(self, weights, examples, **how):
        self.seen.append(id(examples))
        return self.inner.train(weights, examples, **how)

    def evaluate(self, weights, examples):
        return self.inner.evaluate(weights, examples)


def table(keys):
    """Nest dotted keys, as TOML does."""
    nested = {}
    for key, value in keys.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def outcome(keys, seed):
    """Run a job; a worker process does it."""
    import torch

    from privfl.learning.job import job_from_table
    from privfl.learning.models import build
    from privfl.learning.rounds import FederatedRun
    from privfl.learning.torch_trainer import TorchTrainer

    torch.set_num_threads(1)
    job = job_from_table(table(keys | {"seed": seed}))
    model = build("cnn", feature_shape=(1, 8, 8), classes=10, seed=seed)
    trainer = Counting(TorchTrainer(model, job.strategy.local_training()))
    run = FederatedRun(job, trainer=trainer)
    rows = list(run)
    found = {
        "accuracy": statistics.fmean(row.accuracy for row in rows[-LAST:]),
        "final_accuracy": rows[-1].accuracy,
        "rounds": len(rows),
        "updates": len(trainer.seen),
        "upload_mb": sum(row.upload_bytes for row in rows) / 1e6,
        "aborted": sum(row.aborted for row in rows),
        "saturated": max(row.saturated_fraction or 0 for row in rows),
    }
    if job.evaluation.target is not None:
        found["reached"] = run.enough is not None
    if job.evaluation.federated:
        late = rows[-LAST:]
        found["federated_accuracy"] = statistics.fmean(row.federated_accuracy for row in late)
        found["nine_of_ten_reach"] = statistics.fmean(row.client_accuracy_quantiles["0.1"] for row in late)
        found["worst_client"] = statistics.fmean(row.worst_client_accuracy for row in late)
        found["evaluation_mb_a_round"] = statistics.fmean(row.evaluation_bytes for row in rows) / 1e6
        found["session_mb_a_round"] = statistics.fmean(row.upload_bytes + row.download_bytes for row in rows) / 1e6
    if job.fleet is not None:
        found |= timed(run, rows, trainer)
    return found


def timed(run, rows, trainer):
    """What the fleet's clock says, and how the slower part of the clients fares: the slow ones, or else the half."""
    speeds = np.array([device.examples_per_s for device in run.fleet.devices])
    fleet = run.job.fleet
    halfway = fleet.examples_per_s / fleet.slow_factor**0.5
    slower = speeds < (halfway if fleet.slow_fraction else np.median(speeds))
    numbers = {id(examples): number for number, examples in enumerate(run.data.clients)}
    counted = np.array([slower[numbers[one]] for one in trainer.seen])
    found = [trainer.evaluate(run.weights, examples) for examples in run.data.clients]

    def reached(part):
        correct = sum(one.correct for one, belongs in zip(found, part, strict=True) if belongs)
        return correct / sum(one.examples for one, belongs in zip(found, part, strict=True) if belongs)

    stale = [row.staleness for row in rows if row.staleness is not None]
    told = {
        "seconds": rows[-1].simulated_clock,
        "seconds_a_round": rows[-1].simulated_clock / len(rows),
        "late": sum(len(row.dropped_because.get("late", ())) for row in rows),
        "share_of_slower": float(counted.mean()),
        "accuracy_at_slower": reached(slower),
        "accuracy_at_others": reached(~slower),
    }
    if stale:
        told |= {"staleness": statistics.fmean(stale), "staleness_most": max(row.staleness_most or 0 for row in rows)}
    return told


def spread(values):
    """Mean, deviation and extremes over seeds; the number alone where all have the same."""
    rounded = [round(float(value), 4) for value in values]
    if len(set(rounded)) == 1:
        return rounded[0]
    return {
        "mean": round(statistics.fmean(rounded), 4),
        "std": round(statistics.stdev(rounded), 4),
        "range": [min(rounded), max(rounded)],
    }


def compared(mine, other):
    """Seed by seed: how much more accurate, and how many times the seconds."""
    gains = [one["accuracy"] - its["accuracy"] for one, its in zip(mine, other, strict=True)]
    told = {"accuracy_gain": spread(gains), "better_in": sum(gain > 0 for gain in gains)}
    if "nine_of_ten_reach" in mine[0]:
        lifts = [one["nine_of_ten_reach"] - its["nine_of_ten_reach"] for one, its in zip(mine, other, strict=True)]
        told |= {"nine_of_ten_gain": spread(lifts), "nine_of_ten_better_in": sum(lift > 0 for lift in lifts)}
    for key in ("seconds", "seconds_a_round"):
        if key in mine[0] and key in other[0]:
            told[f"{key}_ratio"] = spread([one[key] / its[key] for one, its in zip(mine, other, strict=True)])
    return told


def measured(part, cases, pool):
    """Run all cases of a part, and return their records."""
    cases = [(name, keys, tuple(seeds), against) for name, keys, seeds, against in cases]
    futures = [[pool.submit(outcome, keys, seed) for seed in seeds] for _, keys, seeds, _ in cases]
    results, records = {}, []
    for (name, keys, seeds, against), runs in zip(cases, futures, strict=True):
        results[name] = found = [one.result() for one in runs]
        own = {key: value for key, value in keys.items() if DIGITS.get(key) != value}
        record = {"part": part, "case": name, "seeds": [seeds[0], seeds[-1]], "keys": own}
        told = found[0] if part != "tuning" else ("accuracy",)
        record |= {key: spread([one[key] for one in found]) for key in told}
        if against is not None and against != name:
            record |= {"against": against, **compared(found, results[against])}
        print(json.dumps(record), flush=True)
        records.append(record)
    return records


def main():
    """Measure what is asked for."""
    asked = sys.argv[1:]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if asked == ["tune"]:
            records, path = measured("tuning", tuning(), pool), TUNING
        else:
            records = [one for part in asked or PARTS for one in measured(part, PARTS[part](), pool)]
            path = None if asked else RESULTS
    if path is None:
        return
    head = {
        "command": " ".join(("python benchmarks/strategies.py", *asked)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *records)), encoding="utf-8")


if __name__ == "__main__":
    main()
