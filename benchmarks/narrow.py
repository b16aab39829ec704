"""What compression costs in accuracy and saves in bytes, on `digits` among 20 clients, over several seeds.

    python benchmarks/narrow.py            # writes results/narrow.jsonl
    python benchmarks/narrow.py --seeds 1  # less of it, printed and not written

Accuracies come from runs under `plain`: sums are the same under `masking`, bit for bit, as the tests have it. Bytes are
those of `masking`, packed: of a session of 20 clients with a million parameters, keys and shares included.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "narrow.jsonl"
LAST = 3  # rounds over which an accuracy is averaged
PARAMETERS = (1000, 1000)
BASE = {
    "rounds": 30,
    "data": {"name": "digits", "clients": 20},
    "encoding": {"wire": "packed"},
    "audit": {"probes": 0},
}
CHANCE = {"rounding": "stochastic"}
ADAPTIVE = CHANCE | {"adaptive": True}


def random(fraction, feedback):
    """Return a table of compression."""
    return {"keep": "random", "fraction": fraction, "feedback": feedback}


SETTINGS = {
    "16 bits": ({}, {}),
    "12 bits": ({"bits": 12} | CHANCE, {}),
    "8 bits": ({"bits": 8} | CHANCE, {}),
    "8 bits, adaptive": ({"bits": 8} | ADAPTIVE, {}),
    "4 bits": ({"bits": 4} | CHANCE, {}),
    "4 bits, adaptive": ({"bits": 4} | ADAPTIVE, {}),
    "4 bits, adaptive, rotated": ({"bits": 4} | ADAPTIVE, {"rotate": True}),
    "8 bits, random 20 %, feedback 0": ({"bits": 8} | CHANCE, random(0.2, 0.0)),
    "8 bits, random 20 %, feedback 0.5": ({"bits": 8} | CHANCE, random(0.2, 0.5)),
    "8 bits, random 20 %, feedback 1": ({"bits": 8} | CHANCE, random(0.2, 1.0)),
    "8 bits, adaptive, random 20 %, feedback 1": ({"bits": 8} | ADAPTIVE, random(0.2, 1.0)),
    "8 bits, random 5 %, feedback 1": ({"bits": 8} | CHANCE, random(0.05, 1.0)),
    "8 bits, magnitude 20 %": ({"bits": 8} | CHANCE, {"keep": "magnitude", "fraction": 0.2}),
    "8 bits, magnitude 50 %": ({"bits": 8} | CHANCE, {"keep": "magnitude", "fraction": 0.5}),
}


def accuracy(name, epochs, seed):
    """Run a job; return its accuracy."""
    from privfl.learning.job import job_from_table
    from privfl.learning.rounds import FederatedRun

    encoding, compression = SETTINGS[name]
    table = BASE | {"suite": "plain", "seed": seed, "strategy": {"epochs": epochs}, "compression": compression}
    rows = list(FederatedRun(job_from_table(table | {"encoding": BASE["encoding"] | encoding})))
    return statistics.mean(row.accuracy for row in rows[-LAST:])


def upload(name):
    """Return bytes of an upload of one client, everything counted, and of float32."""
    import numpy as np

    from privfl.encoding.layout import Layout
    from privfl.learning.averaging import WeightedAveraging
    from privfl.learning.job import job_from_table
    from privfl.learning.sessions import RoundInputs, Sessions

    encoding, compression = SETTINGS[name]
    table = BASE | {"suite": "masking", "encoding": BASE["encoding"] | encoding, "compression": compression}
    job, layout = job_from_table(table), Layout((("weight", PARAMETERS),))
    averaging = WeightedAveraging.of(job, job.compression.compressor(layout).sent, weight_max=144)
    cohort = tuple(range(20))
    vectors = dict.fromkeys(cohort, np.zeros(averaging.vector.length, np.int32))
    inputs = RoundInputs(number=1, cohort=cohort, drops={}, context=bytes(32), vectors=vectors)
    held = Sessions(job, averaging.vector, context=bytes(32)).hold(inputs, charge=lambda _contributors: None)
    return held.outcome.upload_bytes / len(cohort), 4 * layout.length


def main():
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    lines = []
    with ProcessPoolExecutor() as pool:
        for name in SETTINGS:
            weighs, whole = upload(name)
            line = {"setting": name, "upload_bytes": weighs, "float32_bytes": whole, "ratio": round(whole / weighs, 2)}
            for epochs in (5, 1):
                seeds = range(options.seeds)
                found = list(pool.map(accuracy, [name] * len(seeds), [epochs] * len(seeds), seeds))
                line[f"accuracy_epochs_{epochs}"] = round(statistics.mean(found), 4)
                line[f"accuracies_epochs_{epochs}"] = [round(one, 4) for one in found]
            lines.append(line | {"machine": f"{platform.machine()}, Python {platform.python_version()}"})
            print(json.dumps(line), flush=True)
    if options.seeds == 5:
        told = {"command": "python benchmarks/narrow.py"}
        RESULTS.write_text("".join(json.dumps(one | told) + "\n" for one in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
