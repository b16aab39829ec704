"""Who takes part in a round, and who drops out of it: seeded, so that a run can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from privfl.dp.noise import poisson_sample
from privfl.learning.data import seed_stream
from privfl.learning.job import Job, Sampling
from privfl.primitives.entropy import OsEntropy
from privfl.session import Phase

_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)


def draw_cohort(job: Job, round_number: int) -> tuple[int, ...]:
    """Draw the clients of a round, ascending; `poisson` may draw none.

    Where a privacy claim rests on the cohort being secret (`privacy.amplification`), it is drawn from the operating
    system's entropy, and no seed repeats it.
    """
    everyone = job.data.clients
    if job.cohort.probability is not None:
        if job.privacy.amplification:
            drawn = poisson_sample(everyone, job.cohort.probability, OsEntropy())
        else:
            chance = np.random.default_rng(seed_stream(job.seed, f"cohort/{round_number}"))
            drawn = chance.random(everyone) < job.cohort.probability
        return tuple(int(number) for number in np.flatnonzero(drawn))
    if job.cohort_size == everyone:
        return tuple(range(everyone))
    purpose = "cohort" if job.cohort.sampling is Sampling.FIXED else f"cohort/{round_number}"
    chosen = np.random.default_rng(seed_stream(job.seed, purpose)).choice(everyone, job.cohort_size, replace=False)
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
