"""Rounds inside Flower: secure aggregation by privfl beside plain FedAvg and Flower's own SecAgg+.

    python benchmarks/flower_rounds.py            # writes results/flower_rounds.jsonl, and prints the table
    python benchmarks/flower_rounds.py --passes 1 --rounds 3 --parameters 10000  # less of it, printed and not written

One run of Flower's simulation runtime holds all of it: the same ten nodes, the same model of one float32 array, and the
same training, which costs next to nothing. The ways to sum take turns, in an order that is turned round with each pass.
What is compared:

- `plain`: FedAvg of the Message API, everything in clear.
- `kahe`, `masking`, `ckks`: the same strategy wrapped in `SecureAggregation`, with its defaults.
- `secagg+`: Flower's `SecAggPlusWorkflow`, with its defaults, on the complete graph, with as many shares to rebuild a
  secret as `kahe` and `masking` plan for these nodes. It needs the legacy API, whose own costs are in its figures.

A round lasts from the model before it to the model after it, training included. Seconds are medians over all rounds of
a start but the first, which has the agreement on keys in it (for `ckks`, the committee's) and stands apart, and the
last, in which no keys are made for a next one. CPU seconds are those of the server's process and of all processes of
nodes. Ratios are formed pass by pass. The runtime looks for messages every 0.1 s at two places: an exchange costs some
0.1 to 0.2 s however small it is.

Bytes are counted in a pass of their own, which is not timed, in one place for all: every message that the server pushes
into Flower's grid or pulls out of it, as its protocol buffer, model included.

With a drop-out, one node fails in the second of three rounds when it has the model: it agreed on keys, and uploads
nothing. The server learns of it at once: what waiting until a deadline costs is up to the deadline. Only that round is
counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "flower_rounds.jsonl"
NODES, PARAMETERS = 10, (1_000_000, 10_000)
PEERS = ("plain", "secagg+")
LEAST_ROUNDS = 3
"""Of a start: the first, one that counts, the last."""
NOTES = {
    "plain": "the server reads every update and weight",
    "kahe": "honest-but-curious server with a tenth of the nodes; 16 bits of an update within 0.5; weights in the sum",
    "masking": "as kahe; masks from AES-128 under keys of 128 bits",
    "ckks": "as kahe; a committee of {members} of the nodes, {threshold} of whom open a sum",
    "secagg+": "honest-but-curious server; masks from a Mersenne Twister under seeds of at most 32 bits; weights in "
    "clear; 22 bits of a model within 8",
}


def processors_seconds():
    """CPU seconds of this process and of all Ray workers that it has started; 0.0 where there is no /proc."""
    here, parents, times = str(os.getpid()), {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text(encoding="utf-8").split("(", 1)[1].rsplit(")", 1)
        except OSError:  # it has ended
            continue
        fields = rest.split()
        parents[stat.parent.name] = fields[1]
        if name.startswith("ray::"):
            times[stat.parent.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ours(process):
        while process in parents and process != here:
            process = parents[process]
        return process == here

    return time.process_time() + sum(seconds for process, seconds in times.items() if ours(process))


def cases(options):
    """Return (parameters, whether a node is lost, timed passes, rounds of a start): the first model loses nodes too."""
    first = options.parameters[0]
    whole = [(length, False, options.passes, options.rounds) for length in options.parameters]
    return [*whole, (first, True, max(1, options.passes - 1), LEAST_ROUNDS)]


def measure(folder, options):
    """Hold the run; write what every start of every way said to `measured.json` in a folder."""
    import flower_app
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    roster = flower_app.make_homes(folder / "homes", options.nodes)
    measured = []
    server_app = ServerApp()

    def start(variant, grid, context, counter, *, length, lost, rounds):
        watch = flower_app.Watch(counter, processors_seconds, length=length, nodes=options.nodes, lost=lost)
        flower_app.run(
            variant,
            grid,
            context,
            watch,
            length=length,
            nodes=options.nodes,
            rounds=rounds,
            told={"lost": lost, "start": len(measured)},  # no node sends an update to one configuration twice
            roster=roster,
            threshold=options.threshold,
        )
        assert len(watch.rounds) == rounds, f"{variant} gave up"
        return watch.rounds

    @server_app.main()
    def main(grid, context):
        counter = flower_app.Counter(grid)
        for case, (length, loses, passes, rounds) in enumerate(cases(options)):
            lost = options.nodes - 1 if loses else flower_app.NOBODY
            for number in range(passes + 1):
                counter.measures = number == 0
                for variant in options.variants[:: 1 if number % 2 else -1]:
                    how = LEAST_ROUNDS if counter.measures else rounds
                    took = start(variant, grid, context, counter, length=length, lost=lost, rounds=how)
                    measured.append({"case": case, "variant": variant, "rounds": took})
        (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")

    run_simulation(
        server_app,
        flower_app.client_app(str(folder / "homes")),
        num_supernodes=options.nodes,
        backend_config={
            # "local": a Ray of its own, whatever else runs on this machine.
            "init_args": {
                "address": "local",
                "num_cpus": 2,
                "include_dashboard": False,
                "log_to_driver": False,
                "object_store_memory": 1 << 30,
                "_temp_dir": str(folder / "ray"),
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


def median(values, digits=3):
    return round(statistics.median(values), digits)


def steady(start, key):
    """What the rounds that count said."""
    return [one[key] for one in start["rounds"][1:-1]]


def summarised(measured, options):
    """Return a line for each case and way."""
    lines = []
    for case, (length, loses, _, _) in enumerate(cases(options)):
        starts = {variant: [] for variant in options.variants}
        for start in measured:
            if start["case"] == case:
                starts[start["variant"]].append(start)
        for variant, (counting, *timed) in starts.items():
            seconds = [value for start in timed for value in steady(start, "s")]
            line = {
                "variant": variant,
                "parameters": length,
                "nodes": options.nodes,
                "dropped": int(loses),
                "round_s": median(seconds),
                "round_s_range": [round(min(seconds), 3), round(max(seconds), 3)],
                "cpu_s": median([value for start in timed for value in steady(start, "cpu_s")]),
                **counted(counting["rounds"][1], options.nodes),
                "largest_error": max(value for start in timed for value in steady(start, "error")),
            }
            if not loses:
                first = median([start["rounds"][0]["s"] for start in timed])
                line["first"] = {"round_s": first, **counted(counting["rounds"][0], options.nodes)}
            for peer in (peer for peer in PEERS if peer in starts and peer != variant):
                line[f"to {peer}"] = {
                    key: median(
                        [
                            statistics.median(steady(one, key)) / statistics.median(steady(other, key))
                            for one, other in zip(timed, starts[peer][1:], strict=True)
                        ],
                        2,
                    )
                    for key in ("s", "cpu_s")
                }
            lines.append(line | {"protects": options.notes[variant]})
    return lines


def counted(one, nodes):
    """Exchanges of a round, and bytes a node."""
    sizes = {f"{what}_bytes": round(one[what] / nodes) for what in ("upload", "download")}
    return {"exchanges": one["exchanges"], **sizes}


def table(lines):
    """Return what the README shows."""
    heads = ["", "s a round", "× `plain`", "× `secagg+`", "CPU s", "exchanges", "up, B a node", "down, B a node"]
    heads += ["first round: s, exchanges", "largest error"]
    rows, before = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"], None
    for line in lines:
        case = f"{line['parameters']:,} parameters" + (", one node drops out" if line["dropped"] else "")
        if case != before:
            rows.append(f"| *{case}*" + " |" * len(heads))
            before = case
        ratios = [line.get(f"to {peer}", {"s": 1 if peer == line["variant"] else ""})["s"] for peer in PEERS]
        cells = [f"`{line['variant']}`", line["round_s"], *ratios, line["cpu_s"], line["exchanges"]]
        cells += [f"{line['upload_bytes']:,}", f"{line['download_bytes']:,}"]
        cells += [f"{line['first']['round_s']}, {line['first']['exchanges']}" if "first" in line else ""]
        rows.append("| " + " | ".join(map(str, [*cells, f"{line['largest_error']:.0e}"])) + " |")
    return "\n".join(rows)


def planned_threshold(nodes):
    """How many shares rebuild a secret where `kahe` and `masking` sum among so many nodes, by default."""
    from privfl.params import ThreatModel, VectorSpec
    from privfl.suites import plan_session

    vector = VectorSpec(length=3, bound=2**15 - 1)
    params = plan_session(
        "kahe", cohort=tuple(range(nodes)), vector=vector, threat=ThreatModel(), nonce=bytes(16), context=b""
    )
    return params.setting.masking.threshold


def main():
    """Measure in a process of its own, since Ray leaves threads and settings behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, nargs="+", default=list(PARAMETERS))
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--passes", type=int, default=3, help="that are timed")
    parser.add_argument("--rounds", type=int, default=4, help="of a start")
    parser.add_argument("--variants", nargs="+", default=list(NOTES), choices=list(NOTES))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS:
        parser.error("--rounds: 3 or more, as the first and the last are no rounds like the others")
    options.threshold = planned_threshold(options.nodes)
    if options.folder:
        measure(options.folder, options)
        return
    begun = time.time()
    with tempfile.TemporaryDirectory(prefix="flower-") as temporary:
        folder = Path(temporary)
        environment = {"FLWR_HOME": str(folder / "flwr"), "FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        environment |= {"FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, *sys.argv[1:], "--folder", temporary]
        with (folder / "log").open("wb") as log:
            subprocess.run(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        if not (folder / "measured.json").exists():
            sys.exit("The run ended early:\n" + (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:])
        measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    members = min(options.nodes, 5)
    options.notes = {name: note.format(members=members, threshold=members // 2 + 1) for name, note in NOTES.items()}
    lines = summarised(measured, options)
    told = {
        "command": " ".join(["python benchmarks/flower_rounds.py", *sys.argv[1:]]),
        "passes": options.passes,
        "rounds": options.rounds,
        "threshold": options.threshold,
        **{name: version(name) for name in ("privfl", "flwr", "ray", "numpy")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.time() - begun),
    }
    if len(sys.argv) == 1:
        RESULTS.write_text("".join(json.dumps(line | told) + "\n" for line in lines), encoding="utf-8")
    print(table(lines))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
