"""One round, step by step: who is started when, and what is looked at in between."""

from __future__ import annotations

import multiprocessing
import sys
import time

import numpy as np

from load.cast import KINDS, MEGABYTE, exact_sum, settle
from load.coordinating import OVER, SUM, coordinate
from load.living import live
from load.relay import fates_of, relay
from load.strangers import harm
from load.telling import checks, phases, uploads
from load.watching import Watch, resident

_FLOOD_PER_S = 300
_CRAWLING = 60
_LONGEST_S = 900.0
_SPAWN = multiprocessing.get_context("spawn")


class Staff:
    """Processes of a scenario, with a pipe to each."""

    def __init__(self):
        self.pids, self._started = {}, []

    def start(self, role, function, *arguments):
        """Start one; its last argument is its end of a pipe. Returns ours."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=function, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        self.pids.setdefault(role, []).append(process.pid)
        self._started.append(process)
        return ours

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._started:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


def told(pipe, *words):
    """Say something, hear what comes back; nothing of it takes for ever."""
    for word in words:
        pipe.send(word)
    if not pipe.poll(_LONGEST_S):
        sys.exit(f"nothing was heard for {_LONGEST_S:g} s: look at the logs of the processes")
    return pipe.recv()


class Scenario:
    """One round.

    Args:
        name: "steady", or "troubled" where not all goes well.
        cast: who takes part.
        options: of the command.
        folder: for all that it leaves.
    """

    def __init__(self, name, cast, options, folder):
        self._cast, self._options, self._folder = cast, options, folder
        self._troubled = name == "troubled"
        self._staff, self._memory = Staff(), {}
        self._record = {"scenario": name, "clients": cast.clients, "parameters": cast.parameters}
        self._record["kinds"] = {kind: len(cast.of(kind)) for kind in KINDS if cast.of(kind)}

    def hold(self):
        """Hold it; return its record."""
        cast, options, staff, memory = self._cast, self._options, self._staff, self._memory
        self._folder.mkdir()
        settle(self._folder, cast)
        with staff:
            coordinator = staff.start("coordinator", coordinate, self._folder, cast, options.deadline, options.quick)
            began = told(coordinator)
            self._pid, self._port = began["pid"], began["port"]
            memory["before"] = resident(self._pid)
            made = _SPAWN.Semaphore(0)
            lines, clients = self._come(made)
            assert told(coordinator, "gather") == cast.clients, "not all clients came"
            memory["all connected"] = resident(self._pid)
            strangers = self._garbage() if self._troubled else None
            memory["before round"] = resident(self._pid)
            others = {role: pids for role, pids in staff.pids.items() if role != "coordinator"}
            watch = Watch(self._pid, others, self._folder / "spool")
            coordinator.send("hold")
            self._record["ready"] = self._await(made)
            opened = time.monotonic()
            if strangers:
                strangers.send(("crawl", _CRAWLING))
                strangers.send(("flood", options.garbage, _FLOOD_PER_S))
            for pipe in filter(None, (lines, *clients)):
                pipe.send("open")
            outcome = told(coordinator)
            watch.close()
            memory |= {"peak sampled": watch.largest["resident"], "peak": outcome["peak"]}
            memory["after round"] = resident(self._pid)
            if strangers:
                told(strangers)
                self._record["strangers"] = told(strangers, "rest")
                strangers.send("stop")
            outcome |= told(coordinator, "close")
            tallies = self._go(clients)
            self._record["lines"] = told(lines, "stop") if lines else {}
        outcome["exact"] = self._exact(outcome["contributors"])
        return self._told(outcome, tallies, opened, watch)

    def _come(self, made):
        """Start all clients; return the pipes to their lines and to them."""
        cast, staff, lines = self._cast, self._staff, None
        ports = dict.fromkeys(range(cast.clients), self._port)
        if self._troubled:
            fates = fates_of(cast, self._options.upload_bytes)
            lines = staff.start("relay", relay, self._port, fates, cast.seed)
            ports |= told(lines)
        insiders = cast.of("liar", "replayer")
        rest = [number for number in range(cast.clients) if number not in insiders]
        many = self._options.processes
        crowds = [("clients", rest[start::many]) for start in range(many)]
        crowds += [("insiders", insiders)] if insiders else []
        return lines, [
            staff.start(role, live, self._folder, cast, {number: ports[number] for number in crowd}, made)
            for role, crowd in crowds
        ]

    def _garbage(self):
        """Send garbage while nothing else happens, and see what it does to memory; some of it before, to warm up."""
        count = self._options.garbage
        strangers = self._staff.start("strangers", harm, self._folder, self._port, self._cast.seed)
        told(strangers, ("flood", count // 10, None))
        self._memory["before garbage"] = resident(self._pid)
        begun = time.monotonic()
        told(strangers, ("flood", count, None))
        self._record |= {"garbage": count, "garbage_per_s": round(count / (time.monotonic() - begun))}
        self._memory["after garbage"] = resident(self._pid)
        return strangers

    def _await(self, made):
        """Wait until all uploads are ready, for half of the time that there is for them; return how many are."""
        until = time.monotonic() + self._options.deadline / 2
        wanted = self._cast.clients - bool(self._cast.lies)  # one lies before
        return sum(made.acquire(timeout=max(0.0, until - time.monotonic())) for _ in range(wanted))

    def _go(self, clients):
        for pipe in clients:
            pipe.send("stop")
        return [tally for pipe in clients for tally in told(pipe)]

    def _exact(self, contributors):
        """Whether the sum is the exact one over the contributors."""
        path = self._folder / SUM
        return path.exists() and np.array_equal(np.fromfile(path, np.int64), exact_sum(self._cast, contributors))

    def _told(self, outcome, tallies, opened, watch):
        cast, memory = self._cast, self._memory
        log = (self._folder / "coordinator.log").read_text(encoding="utf-8").splitlines()
        otherwise = {one["number"]: f"{one['kind']}: {one['ended']}" for one in tallies if one["ended"] != OVER}
        self._record |= {
            "memory_mb": {key: round(value / MEGABYTE, 1) for key, value in memory.items()},
            "kb_per_connection": round((memory["all connected"] - memory["before"]) / cast.clients / 1000),
            "spool_peak_mb": round(watch.largest["spool_bytes"] / MEGABYTE, 1),
            "spool_files": watch.largest["spool_files"],
            "log_lines": len(log),
            "complaints": outcome["complaints"],
            "contributors": len(outcome["contributors"]),
            "failures": outcome["failures"],
            "ended otherwise": otherwise,
            "phases": phases(outcome, watch, opened),
            **uploads(outcome, tallies, opened, watch),
        }
        self._record["checks"] = checks(cast, outcome, tallies, self._record)
        return self._record
