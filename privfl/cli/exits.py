"""Exit codes of every verb."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a script learns from `$?`."""

    GOOD = 0
    BAD = 1
    INCONCLUSIVE = 2
    USAGE = 64
    INTERRUPTED = 130
