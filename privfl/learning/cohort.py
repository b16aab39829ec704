"""Who takes part in a round, and who drops out of it: seeded, so that a run can be repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from privfl.dp.noise import poisson_sample
from privfl.learning.cohort_job import Sampling
from privfl.learning.data import seed_stream
from privfl.learning.job import Job
from privfl.primitives.entropy import OsEntropy
from privfl.session import Phase

LARGEST_LIFT: Final = 2.0
"""r: a loss makes a client volunteer at most so many times as often as the mean loss would, and as seldom."""
LARGEST_SHARE: Final = LARGEST_LIFT / (LARGEST_LIFT**2 + 1)
"""Probability with which clients of mean loss volunteer, at most: above, staying away would tell more than coming."""
LARGEST_LEAD: Final = 3.0
"""Classes of speed, each twice the one before, by which a client is told from the median: 8 times faster, or slower."""
COIN_EPSILON: Final = 2 * math.log(LARGEST_LIFT)
"""What one coin tells of a loss, as ε of local differential privacy; the coins of several rounds add up."""

_DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)


class Roll(Protocol):
    """What clients tell when they check in, at the moment of a round's invitation."""

    def available(self, client: int) -> bool:
        """Return whether it is online, and has the battery for a round."""
        ...

    def speed(self, client: int) -> float:
        """Return how fast it trains, above 0, in any unit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What clients toss their coins by.

    Attributes:
        mean: loss of the clients of an earlier round, out of their secure sum; public.
        of: the client's own loss on the current model; every client computes its own, and keeps it.
    """

    mean: float
    of: Callable[[int], float]


def draw_cohort(
    job: Job, round_number: int, *, roll: Roll | None = None, losses: Losses | None = None
) -> tuple[int, ...]:
    """Draw the clients that are invited to a round.

    `uniform`, `fixed` and `poisson` ask nobody: an invitation to a client that is not there is lost. With
    `available`, `speed` and `loss`, clients check in, and only those are invited that did. Under `speed` they say how
    fast they are, to a power of two, and a client is drawn with a probability that grows with its speed to the power of
    `cohort.preference`. Under `loss` every one that is asked compares its own loss with the mean, and tosses a coin of
    its own, `volunteering_probability`: from those who volunteer the server draws uniformly, and fills up from the
    others. What is gained in rounds is paid for in fairness: the mean of the updates leans towards those who are
    preferred.

    Where a privacy claim rests on the cohort being secret (`privacy.amplification`), it is drawn from the operating
    system's entropy, and no seed repeats it.

    Args:
        job: says how many, and how they are drawn.
        round_number: from 1; every round draws anew, except under `fixed`.
        roll: who checks in; everybody, all equally fast, unless given.
        losses: of `loss`; without, as in a first round, nobody is preferred.

    Returns:
        Their numbers, ascending. All that are there, if there are fewer than are to be invited; `poisson` may draw
        none.

    Guarantees:
        1. The same job, round, roll and losses draw the same cohort, unless a claim rests on it.
        2. Under `available`, `speed` and `loss` nobody is invited who did not check in.
        3. Under `speed` and `loss` each that did is invited with a probability of at least
           `cohort.explore` · invited / checked in.
        4. Under `loss` the server learns one coin of every client that is asked, and no loss.

    References:
        Lai et al., "Oort", OSDI 2021, for `speed`; Cho et al., "Towards Understanding Biased Client Selection in
        Federated Learning", AISTATS 2022, for `loss`, where the server is told the losses that stay with clients here.
    """
    if job.cohort.by_presence:
        return _draw_of_those_there(job, round_number, roll, losses)
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


def volunteering_probability(share: float, own: float, mean: float, *, exponent: float) -> float:
    """Return with which probability a client volunteers: `share` · (own / mean)^exponent, kept near to `share`.

    It is randomised response (Warner 1965), with odds that a loss moves a little. The factor lies between 1/r and r,
    and the share counts for at most r / (r² + 1), so that neither face of the coin is more than r² times as likely
    under one loss as under another: r² is 4.

    Args:
        share: of the clients that are asked, how many are wanted; 0 to 1.
        own: loss of this client; what is not finite counts as the largest.
        mean: loss of the clients of an earlier round, above 0.
        exponent: of the preference, 0 or more; 0 volunteers by `share` alone.

    Guarantees:
        1. The coin is ε-locally differentially private in `own`, with ε = ln r², `COIN_EPSILON`, 1.39. A client that is
           asked in n rounds tells at most n times that.

    Assumes:
        Nobody else knows the client's coins. Here they follow from the seed of the job, so that a run can be repeated;
        a device tosses its own.

    References:
        Warner, "Randomized Response", JASA 1965; Kairouz et al., "Extremal Mechanisms for Local Differential Privacy",
        JMLR 2016.
    """
    reach = math.log(LARGEST_LIFT)
    if not math.isfinite(own):
        lift = reach if exponent else 0.0
    elif own <= 0:
        lift = -reach if exponent else 0.0
    else:  # in logarithms: a power of what is large would overflow
        lift = min(max(exponent * (math.log(own) - math.log(mean)), -reach), reach)
    return min(share, LARGEST_SHARE) * math.exp(lift)


def _draw_of_those_there(job: Job, round_number: int, roll: Roll | None, losses: Losses | None) -> tuple[int, ...]:
    there = np.array([client for client in range(job.data.clients) if roll is None or roll.available(client)], int)
    places, sampling = job.cohort_size, job.cohort.sampling
    if len(there) <= places:
        return tuple(int(number) for number in there)
    chance = np.random.default_rng(seed_stream(job.seed, f"cohort/{round_number}"))
    tells = losses is not None and math.isfinite(losses.mean) and losses.mean > 0
    if sampling is Sampling.AVAILABLE or (sampling is Sampling.LOSS and not tells):
        return tuple(sorted(int(number) for number in chance.choice(there, places, replace=False)))
    explored = chance.choice(there, chance.binomial(places, job.cohort.exploring), replace=False)
    others, wanted = np.setdiff1d(there, explored), places - len(explored)
    if losses is not None and sampling is Sampling.LOSS:
        keys = _willing(job, round_number, others, wanted, losses) + chance.random(len(others))
    else:
        # The largest of logarithms with Gumbel noise are drawn one after the other, each in proportion to its weight
        # (Kool et al., ICML 2019, section 2).
        keys = job.cohort.exponent * math.log(2) * _speed_classes(others, roll) + chance.gumbel(size=len(others))
    preferred = others[np.argsort(-keys, kind="stable")[:wanted]]
    return tuple(sorted(int(number) for number in (*explored, *preferred)))


def _speed_classes(clients: npt.NDArray[np.int_], roll: Roll | None) -> npt.NDArray[np.float64]:
    """Return what they say of their speed: its logarithm to base 2, rounded."""
    if roll is None:
        return np.zeros(len(clients))
    classes = np.array([round(math.log2(roll.speed(int(client)))) for client in clients], float)
    # What clients say of themselves is bounded: whoever claims more has no more of it than LARGEST_LEAD says.
    middle = float(np.median(classes))
    bounded: npt.NDArray[np.float64] = np.clip(classes, middle - LARGEST_LEAD, middle + LARGEST_LEAD)
    return bounded


def _willing(
    job: Job, round_number: int, clients: npt.NDArray[np.int_], wanted: int, losses: Losses
) -> npt.NDArray[np.bool_]:
    """Return who volunteers; where nobody is wanted, nobody is asked."""

    def volunteers(client: int) -> bool:
        coin = np.random.default_rng(seed_stream(job.seed, f"volunteer/{round_number}/{client}"))
        share, own = wanted / len(clients), losses.of(client)
        return bool(coin.random() < volunteering_probability(share, own, losses.mean, exponent=job.cohort.exponent))

    return np.array([wanted > 0 and volunteers(int(client)) for client in clients], bool)


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
