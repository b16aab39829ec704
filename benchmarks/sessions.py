"""Sizes of what the benchmarks measure, and sessions of that size.

Under PRIVFL_BENCH_SMOKE=1 everything is tiny: benchmarks run through, and their figures say nothing. It is read here
and nowhere else.
"""

import os

from privfl.bench import sessions
from privfl.bench.sessions import BOUND, PhaseClock, before_upload, codec_of, make
from privfl.bench.turns import seconds

__all__ = [
    "BOUND",
    "PARAMETERS",
    "SMOKE",
    "PhaseClock",
    "before_upload",
    "codec_of",
    "inputs",
    "make",
    "plan",
    "plan_with_committee",
    "require_goal",
    "seconds",
    "sized",
]

SMOKE = os.environ.get("PRIVFL_BENCH_SMOKE") == "1"


def sized(full, smoke):
    """Return the size that is asked for."""
    return smoke if SMOKE else full


def require_goal(reached, what):
    """Fail unless a goal of bytes or errors is reached, which all are set for full size."""
    assert reached or SMOKE, what


PARAMETERS = sized(1_000_000, 3_000)


def plan(suite_name, clients, wire, *, dropout=0.1):
    """Parameters for 16-bit updates, a tenth of the clients corrupt."""
    return sessions.plan(suite_name, clients, PARAMETERS, wire=wire, dropout=dropout)


def plan_with_committee(clients, parameters=PARAMETERS):
    """Parameters of a `ckks` session, planned as `plan` does, and the committee whose key they name."""
    return sessions.plan_with_committee(clients, parameters)


def inputs():
    """A vector of the shape of a quantised update; the same for all clients, so that the sum is known."""
    return sessions.inputs(PARAMETERS)
