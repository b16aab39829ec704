"""Large sessions to the end, in one process each: time, bytes, and the memory of everybody together.

Run with `make bench-scale`, which writes `benchmarks/results/scale.jsonl`. In every session a tenth of the clients
drops out before its upload and a hundredth vanishes before Unmask, so that shares are combined as well. Vectors are
made when they are needed and forgotten after. The sum is checked; one that is off by more than nine standard deviations
of the error that the suite states (none under `masking`), or more memory than the limit, is exit status 1.
"""

import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from privfl import Phase, ServerModel, ThreatModel, VectorSpec, WireForm, __version__, plan_session, simulate
from privfl.simulate import draw_identities, roster_of

RESULTS = Path(__file__).parent / "results" / "scale.jsonl"
COMMAND = "make bench-scale"
GIB = 1 << 30
SEED = 20_240_229
HONEST = "honest-but-curious"


def case(suite, clients, parameters, *, server=HONEST, wire="words", limit_gib=None):
    """What to run."""
    return {
        "suite": suite,
        "clients": clients,
        "parameters": parameters,
        "server": server,
        "wire": wire,
        "limit_gib": limit_gib,
    }


CASES = [
    case("masking", 1_000, 1_000_000, limit_gib=4),
    case("masking", 1_000, 1_000_000, wire="packed", limit_gib=4),
    case("masking", 10_000, 10_000),
    case("masking", 1_000, 1_000_000, server="active"),
    case("kahe", 1_000, 1_000_000, limit_gib=4),
    case("kahe", 1_000, 1_000_000, wire="packed", limit_gib=4),
    case("kahe", 10_000, 10_000),
    case("kahe", 1_000, 1_000_000, server="active"),
]


class Inputs:
    """Vectors made when they are needed and forgotten after; only their sum is kept."""

    def __init__(self, params):
        self._spec = params.vector
        self.total = np.zeros(params.vector.length, np.int64)

    def __call__(self, number):
        """Make a client's vector, int32, and add it to the total."""
        bound = self._spec.bound
        vector = np.random.default_rng((SEED, number)).integers(-bound, bound + 1, self._spec.length, np.int32)
        self.total += vector
        return vector


def run(case):
    """Run one session in this process and print its record."""
    n, server = case["clients"], ServerModel(case["server"])
    active = server is ServerModel.ACTIVE
    identities = draw_identities(range(n)) if active else None
    params = plan_session(
        case["suite"],
        cohort=tuple(range(n)),
        vector=VectorSpec(length=case["parameters"], bound=2**15 - 1),
        threat=ThreatModel(server=server, corrupt=0.1, dropout=0.11),
        wire=WireForm(case["wire"]),
        nonce=os.urandom(16),
        context=bytes(32),
        roster=roster_of(identities) if identities else None,
    )
    dropped = frozenset(range(0, n, 10))
    vanished = frozenset(range(5, n, 100))
    inputs, begun = Inputs(params), time.perf_counter()
    outcome = simulate(
        params,
        inputs,
        drops={Phase.MASKED_INPUT: dropped, Phase.UNMASK: vanished},
        identities=identities,
        workers=os.cpu_count() or 1,
    )
    seconds = time.perf_counter() - begun
    error_std = largest_error = None
    if outcome.aggregate is not None:
        error_std = outcome.aggregate.error_std
        largest_error = int(np.abs(outcome.aggregate.vector - inputs.total).max())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    uploading = n - len(dropped)
    record = case | {
        "dropped": len(dropped),
        "vanished": len(vanished),
        "degree": params.masking.degree,
        "threshold": params.masking.threshold,
        "ring_bits": params.ring.bits,
        "contributors": outcome.aggregate.contributors if outcome.aggregate else 0,
        "error_std": error_std and round(error_std, 3),
        "largest_error": largest_error,
        "aborted": outcome.aborted,
        "seconds": round(seconds, 1),
        "client_cpu_ms": round(1e3 * outcome.client_cpu_s / uploading, 1),
        "server_cpu_s": round(outcome.server_cpu_s, 1),
        "masked_input_bytes": outcome.phases[Phase.MASKED_INPUT].upload_bytes // uploading,
        "upload_bytes_per_client": outcome.upload_bytes // n,
        "download_bytes_per_client": outcome.download_bytes // n,
        "peak_gib": round(peak / GIB, 2),
    }
    print(json.dumps(record))


def main():
    """Run every case in a process of its own, so that each has a peak of its own; write the results."""
    records, good = [], True
    for case in CASES:
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(case)], stdout=subprocess.PIPE, text=True, check=True
        )
        record = json.loads(done.stdout)
        limit = record["limit_gib"]
        within = record["largest_error"] is not None and record["largest_error"] <= math.ceil(9 * record["error_std"])
        good &= within and (limit is None or record["peak_gib"] <= limit)
        records.append(record)
        print(
            f"{record['suite']}, {record['clients']:,} clients × {record['parameters']:,} parameters, "
            f"{record['server']}, {record['wire']}: {record['seconds']} s, {record['contributors']} contributors, "
            f"off by {record['largest_error']}{'' if within else ': TOO MUCH'}, peak {record['peak_gib']} GiB"
            f"{f' (limit {limit})' if limit else ''}, client {record['client_cpu_ms']} ms, "
            f"server {record['server_cpu_s']} s",
            flush=True,
        )
    head = {
        "command": COMMAND,
        "privfl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in (head, *records)), encoding="utf-8")
    print(f"wrote {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    return 0 if good else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(json.loads(sys.argv[1]))
    else:
        sys.exit(main())
