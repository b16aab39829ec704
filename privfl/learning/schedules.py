"""The clients' learning rate in a round, by the job's schedule."""

from __future__ import annotations

import math
from typing import Final

from privfl.errors import ConfigurationError
from privfl.learning.schedule_job import ScheduleJob, ScheduleKind
from privfl.learning.strategy_job import StrategyJob

_LEAST: Final = 1e-12
"""Share of the learning rate below which it never falls: a step is above 0."""


def learning_rate_at(strategy: StrategyJob, round_number: int, rounds: int) -> float:
    """Return the learning rate of a round.

    Args:
        strategy: its `learning_rate` and `schedule`.
        round_number: from 1.
        rounds: of the whole run.

    Returns:
        Above 0, up to `strategy.learning_rate`.

    Raises:
        ConfigurationError: there is no such round.

    Guarantees:
        1. With w rounds of warm-up, round r of them has r/(w + 1) of the rate, and round w + 1 all of it.
        2. With t rounds after that one, `step` has factor^⌊t/every⌋ of the rate, `exponential` factor^t, and `cosine`
           minimum + (1 − minimum)·(1 + cos(πt/T))/2, T being the rounds that are no warm-up.

    >>> strategy = StrategyJob(learning_rate=0.1, schedule=ScheduleJob(kind=ScheduleKind.COSINE, warmup=1))
    >>> [round(learning_rate_at(strategy, number, rounds=5), 4) for number in range(1, 6)]
    [0.05, 0.1, 0.0854, 0.05, 0.0146]
    """
    if round_number < 1:
        raise ConfigurationError(f"round_number is {round_number}: 1 or more works")
    schedule = strategy.schedule
    if round_number <= schedule.warmup:
        share = round_number / (schedule.warmup + 1)
    else:
        share = _decayed(schedule, round_number - schedule.warmup - 1, max(rounds - schedule.warmup, 1))
    return strategy.learning_rate * max(share, _LEAST)


def _decayed(schedule: ScheduleJob, since: int, span: int) -> float:
    match schedule.kind:
        case ScheduleKind.STEP:
            return float((schedule.factor or 1.0) ** (since // (schedule.every or 1)))
        case ScheduleKind.EXPONENTIAL:
            return float((schedule.factor or 1.0) ** since)
        case ScheduleKind.COSINE:
            least = schedule.minimum or 0.0
            return least + (1 - least) * (1 + math.cos(math.pi * min(since / span, 1.0))) / 2
        case ScheduleKind.CONSTANT:
            return 1.0
