"""Who takes part in a round, and who drops out of it: seeded, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from privfl.learning.data import seed_stream
from privfl.learning.job import Job
from privfl.session import Phase

_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)


def draw_cohort(job: Job, round_number: int) -> tuple[int, ...]:
    """Draw the clients of a round uniformly, ascending."""
    if job.cohort_size == job.data.clients:
        return tuple(range(job.data.clients))
    chance = np.random.default_rng(seed_stream(job.seed, f"cohort/{round_number}"))
    chosen = chance.choice(job.data.clients, job.cohort_size, replace=False)
    return tuple(sorted(int(number) for number in chosen))


def draw_dropouts(job: Job, round_number: int, cohort: tuple[int, ...]) -> Mapping[Phase, frozenset[int]]:
    """Return who falls silent from which phase on: the script, and whom chance adds.

    Chance draws the same clients and phases for every suite, so that suites can be compared.
    """
    leaving: dict[int, Phase] = {}
    for drop in job.failures.drop:
        if drop.round == round_number:
            leaving |= {number: drop.phase for number in drop.clients if number in cohort}
    if job.failures.rate:
        chance = np.random.default_rng(seed_stream(job.seed, f"failures/{round_number}"))
        for number in cohort:
            unlucky, phase = chance.random() < job.failures.rate, _DROP_PHASES[chance.integers(len(_DROP_PHASES))]
            if unlucky:
                leaving.setdefault(number, phase)
    return {
        phase: frozenset(number for number, its_phase in leaving.items() if its_phase is phase)
        for phase in set(leaving.values())
    }


def draw_absences(job: Job, round_number: int) -> Mapping[Phase, frozenset[int]]:
    """Return which members of the committee fall silent from which phase on."""
    leaving: dict[Phase, frozenset[int]] = {}
    for absence in job.failures.absent:
        if absence.round == round_number:
            leaving[absence.phase] = leaving.get(absence.phase, frozenset()) | set(absence.members)
    return leaving
