"""What processes take, seen from outside: memory, processor time, and uploads that lie on disk."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from pathlib import Path

_EVERY_S = 0.1
_PAGE = os.sysconf("SC_PAGESIZE")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Bytes of a process in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE


def peak(pid):
    """Most bytes of a process that were in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def processor_s(pid):
    """Seconds of processor time of a process so far, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def spooled(pid, folder):
    """Bytes on disk of files in a folder that a process has open, named or not; and how many files."""
    total = count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            if str(Path(entry.path).readlink()).startswith(f"{folder}/"):
                total += entry.stat().st_blocks * 512
                count += 1
        except OSError:  # closed meanwhile
            continue
    return total, count


class Watch:
    """Looks at processes ten times a second.

    Args:
        coordinator: its process.
        others: the other processes, by what they are.
        spool: folder of unfinished uploads.
    """

    def __init__(self, coordinator, others, spool):
        self._coordinator, self._others, self._spool = coordinator, others, spool
        self.samples, self.largest = [], {"resident": 0, "spool_bytes": 0, "spool_files": 0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self):
        spool_bytes, spool_files = spooled(self._coordinator, self._spool)
        now = {"resident": resident(self._coordinator), "spool_bytes": spool_bytes, "spool_files": spool_files}
        self.largest = {key: max(value, self.largest[key]) for key, value in now.items()}
        used = defaultdict(float)
        used["coordinator"] = processor_s(self._coordinator)
        for name, pids in self._others.items():
            used[name] += sum(processor_s(pid) for pid in pids)
        self.samples.append((time.monotonic(), dict(used), now["resident"]))

    def close(self):
        """Look no more."""
        self._over.set()
        self._thread.join()

    def used(self, begin, end):
        """Processor seconds of each between two moments."""
        inside = [used for moment, used, _ in self.samples if begin - _EVERY_S <= moment <= end + _EVERY_S]
        if not inside:
            return {}
        return {name: round(inside[-1][name] - inside[0].get(name, 0.0), 2) for name in inside[-1]}
