"""On what something was measured: results of two machines are not held against each other."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np

from privfl import __version__

_OTHERS: Final = ("cryptography", "tenseal", "flwr", "torch")
_CGROUP: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine() -> dict[str, str]:
    """Return processor, cores and versions, and the day."""
    return {
        "privfl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: version for name in _OTHERS if (version := _version(name))},
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "date": datetime.now(UTC).date().isoformat(),
    }


def same_machine(one: dict[str, str], other: dict[str, str]) -> bool:
    """Tell whether two descriptions agree in all but the day."""
    return {**one, "date": ""} == {**other, "date": ""}


def free_bytes() -> int | None:
    """Return the memory that is free now, or None where nobody says."""
    free = [_meminfo(), _cgroup()]
    known = [count for count in free if count is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kib = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kib[0] * 1024 if kib else None


def _cgroup() -> int | None:
    """What the process's container may take altogether, if that is limited."""
    for path in _CGROUP:
        try:
            return int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
