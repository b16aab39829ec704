"""A round of 200 clients of a million parameters under `kahe` over HTTPS, on loopback: with good clients, and with bad.

    python benchmarks/coordinator_load.py --out benchmarks/results/coordinator_load.json   # make bench-coordinator
    python benchmarks/coordinator_load.py --quick                                          # 20 clients × 10,000

The coordinator is a process of its own, as `privfl serve` has it: hall, listeners, TLS, a spool on disk. Clients are
real ones (`Joined`, `Participant`), each with a home on disk, in a few processes; their vectors are drawn, not trained.
They fetch a model, make their uploads, a few at a time, and wait for each other: then all upload at once, which is the
worst moment of a round and the one that is timed (`upload`). The updates have twelve bits, because then the sum of
`kahe` is exact and a byte that is lost or counted twice shows. Two scenarios:

- `steady`: nobody has any trouble. Everybody contributes.
- `troubled`: `--cut` of the clients lose their connection at random points of their upload, one to three times; a
  third of them for good. Others have 1 MB/s, or a connection that breaks every 0.3 to 1 s; two are on the roster and
  send garbage in place of an answer, one sends every request twice. Strangers send garbage by the thousand, before the
  round, when the coordinator's memory is watched, and during the upload; and hold connections with heads that do not
  end. Who is gone for good is waited for until the deadline.

What is checked is in the record under `checks`; one that fails is exit status 1. No time is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from load.cast import all_steady, settle, troubled
from load.holding import Scenario
from load.telling import table
from load.unavoidable import unavoidable

from privfl import __version__


def parsed():
    """What is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--cut", type=float, default=0.3, help="share of the clients whose uploads are cut")
    parser.add_argument("--seed", type=int, default=1, help="of vectors, kinds and cuts")
    parser.add_argument("--deadline", type=float, default=240.0, help="seconds for uploads")
    parser.add_argument("--garbage", type=int, default=10_000, help="requests of strangers, twice")
    parser.add_argument("--processes", type=int, default=4, help="that clients are spread over")
    parser.add_argument("--scenarios", nargs="+", default=["steady", "troubled"], choices=["steady", "troubled"])
    parser.add_argument("--quick", action="store_true", help="20 clients × 10,000, and no waiting for the deadline")
    parser.add_argument("--out", type=Path, help="where the record goes, JSON")
    options = parser.parse_args()
    if options.quick:
        options.clients, options.parameters, options.garbage, options.processes = 20, 10_000, 400, 2
    if options.clients < 20 or not 0 < options.cut <= 0.3:
        parser.error("--clients: 20 or more work, with --cut up to 0.3: a session that loses more is aborted")
    return options


def main():
    """Hold both rounds, and say what they took."""
    options, records = parsed(), []
    begun, load_before = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="privfl-load-") as temporary:
        folder = Path(temporary)
        (folder / "limits").mkdir()
        settle(folder / "limits", all_steady(1, 1, 0))
        limits = unavoidable(folder / "limits", options.parameters)
        options.upload_bytes = limits["upload_bytes"]
        for name in options.scenarios:
            if name == "steady":
                cast = all_steady(options.clients, options.parameters, options.seed)
            else:
                cast = troubled(options.clients, options.parameters, options.seed, options.cut)
            records.append(Scenario(name, cast, options, folder / name).hold())
            print(f"{name}: done after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    head = {
        "command": " ".join(["python benchmarks/coordinator_load.py", *sys.argv[1:]]),
        "privfl": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "load_before": round(load_before, 2),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - begun),
        "unavoidable": limits,
    }
    if options.out:
        options.out.write_text(json.dumps(head | {"scenarios": records}, indent=1) + "\n", encoding="utf-8")
    print(table(records, limits))
    return 0 if all(all(record["checks"].values()) for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
