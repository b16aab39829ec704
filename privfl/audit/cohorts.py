"""Was every client in each cohort by a coin of its own? What cohorts look like if they were Poisson-sampled, or not.

Amplification by sampling is proved for cohorts in which each of N clients is with probability q, independently of each
other, of other rounds, and unknown to whoever looks. A cohort of a fixed size, one that is kept, or one that goes round
are none of that, and cheaper to carry out. They leave traces:

- *total*: as many invitations in all as Bin(N·T, q) has.
- *sizes*: they differ from round to round as Bin(N, q) does; sizes that are all alike are the trace of a fixed size.
- *participation*: clients come as often as one another, and not too evenly. Counted in pairs of rounds that a client
  has in common: too many if cohorts are kept, or clients left out; too few if they take turns.
- *succession*: from one round to the next as few clients are kept as there should be.

The last two need to know who answered. Clients that drop out thin a cohort, some more often than others, and that
accuses nobody as long as it does not depend on the sampling: where some are missing, only what no drop-out can cause is
held against a cohort. To be there too often is such a thing. A client is there no more often than it was invited, and
so at least k times with no more than the probability of Bin(T, q) ≥ k, for every k.

What none of them sees: cohorts drawn as they should be by somebody who tells others who is in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from privfl.audit.levels import FAIL_LEVEL, together
from privfl.audit.moments import skewed_lower, skewed_upper
from privfl.audit.tails import binomial_lower, binomial_upper
from privfl.dp.mechanisms import check_whole
from privfl.errors import ConfigurationError

MOST_CLIENTS: Final = 1_000_000
_LONGEST: Final = 4096  # values of a sum that are enumerated; from there on it has many terms, or wide ones
_ROUNDING: Final = 1e-12  # what an upper tail cannot be told from, when it is 1 less a sum
_DEVIATIONS: Final = 6
_MISSED: Final = 2.33  # deviations that leave out one case in a hundred

Floats = npt.NDArray[np.float64]


class _Claim(NamedTuple):
    """How often which coin is said to have been tossed."""

    rounds: int
    clients: int
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortTest:
    """What cohorts look like.

    Attributes:
        rounds: T.
        clients: N.
        probability: q that is claimed.
        mean_size: of the cohorts; N·q is expected.
        thinned: whether some who were invited did not answer; None where it is not known who answered.
        p_values: by name: `total`, `sizes`, and where it is known who answered `participation` and `succession`.
        finds_fixed_size: whether T cohorts that all have the expected size would be found out at `FAIL_LEVEL`.
        finds_fixed_cohort: whether one cohort, kept all the time, would be, by who answered: as many of them would drop
            out as did here.
    """

    rounds: int
    clients: int
    probability: float
    mean_size: float
    thinned: bool | None
    p_values: Mapping[str, float]
    finds_fixed_size: bool
    finds_fixed_cohort: bool

    @property
    def p_value(self) -> float:
        """That cohorts were Poisson-sampled with this probability, by all tests together."""
        return together(self.p_values.values())

    @property
    def detectable(self) -> bool:
        """Whether a fixed size and a fixed cohort would have been found out. If not, a pass says little."""
        return self.finds_fixed_size and self.finds_fixed_cohort


def examine_cohorts(
    sizes: Sequence[int] | npt.NDArray[Any],
    *,
    clients: int,
    probability: float,
    answered: npt.NDArray[np.bool_] | None = None,
) -> CohortTest:
    """Compare cohorts with Poisson-sampled ones.

    Args:
        sizes: clients invited, one number for each of T rounds: of all rounds, also those that came to nothing because
            too few were in.
        clients: N, the population, up to a million.
        probability: q, above 0 and up to 1.
        answered: bool, shape (T, N): which of those who were invited sent their first message, or said that they would
            not.

    Returns:
        Two p-values, or four where `answered` is given.

    Raises:
        ConfigurationError: sizes or answers that cannot be, or no probability.

    Guarantees:
        1. Poisson sampling gets a p-value below a level with no more than that probability: exactly for `total` and
           `succession`, enumerated for `sizes` up to 4096 values, by three moments otherwise.
        2. So it does under drop-outs that do not depend on the sampling, whichever clients they befall.

    Assumes:
        Whether a client drops out does not depend on how often it was invited: those whose own budget is spent have to
        be told from those who fall silent.

    References:
        W. G. Cochran, *The comparison of percentages in matched samples*, Biometrika 37, 1950 (participation, given
        the sizes).

    >>> alike = examine_cohorts([25] * 10, clients=50, probability=0.5)
    >>> alike.finds_fixed_size, alike.p_value < 1e-6
    (True, True)
    """
    counts = _checked(sizes, clients, probability, answered)
    rounds, total = len(counts), int(counts.sum())
    claim = _Claim(rounds, clients, probability)
    p_values = {
        "total": _either(
            binomial_lower(total, rounds * clients, probability), binomial_upper(total, rounds * clients, probability)
        ),
        "sizes": _sizes(counts, clients, probability),
    }
    thinned = None
    kept = 1.0
    if answered is not None:
        present = answered.sum(axis=1)
        thinned = bool((present < counts).any())
        kept = float(present.sum()) / max(1, total)
        p_values["participation"] = _participation(answered.sum(axis=0), present, claim, thinned=thinned)
        p_values["succession"] = together(
            binomial_upper(int((answered[first:-1:2] & answered[first + 1 :: 2]).sum()), trials, probability**2)
            for first in (0, 1)
            if (trials := clients * ((rounds - first) // 2))
        )
    level = FAIL_LEVEL / len(p_values)
    usual = round(clients * probability)
    alike = np.full(rounds, usual)
    return CohortTest(
        rounds=rounds,
        clients=clients,
        probability=probability,
        mean_size=total / rounds,
        thinned=thinned,
        p_values=p_values,
        finds_fixed_size=_sizes(alike, clients, probability) < level,
        finds_fixed_cohort=answered is not None and _finds_kept(max(1, usual), claim, kept, level),
    )


def _sizes(sizes: npt.NDArray[np.int64], clients: int, probability: float) -> float:
    """P-value of sizes that vary so little, or so much.

    Squared distances from a fixed whole number add up to a whole number, whose distribution is enumerated. How much
    they vary is judged from the expected size; how little, from the size around which they lie, since a fixed size need
    not be the expected one. All centres within six deviations count as tries.
    """
    law = _binomial(clients, probability)
    expected = round(clients * probability)
    width = math.ceil(_DEVIATIONS * math.sqrt(clients * probability * (1 - probability)))
    centre = min(max(round(float(sizes.mean())), expected - width), expected + width)
    lower = _squares(sizes, law, centre, upper=False)
    return _either((2 * width + 1) * lower, _squares(sizes, law, expected, upper=True))


def _squares(sizes: npt.NDArray[np.int64], law: Floats, centre: int, *, upper: bool) -> float:
    """One tail of Σ(size − centre)², of sizes that have this law."""
    squares = (np.arange(len(law)) - centre) ** 2
    found = int(((sizes - centre) ** 2).sum())
    if found > _LONGEST:
        mean, variance, third = (len(sizes) * moment for moment in _moments(law, squares))
        tail = skewed_upper if upper else skewed_lower
        return tail(found - 0.5 if upper else found + 0.5, mean=mean, variance=variance, third=third)
    within = squares <= found
    one: Floats = np.zeros(found + 1)
    np.add.at(one, squares[within], law[within])
    enumerated = _sum_of(one, len(sizes))
    if not upper:
        return min(1.0, float(enumerated.sum()))
    return min(1.0, max(1 - float(enumerated[:found].sum()), _ROUNDING))


def _sum_of(one: Floats, times: int) -> Floats:
    """Probabilities of the values 0 … n − 1 of a sum of so many independent terms, from those of one term."""
    total = np.zeros_like(one)
    total[0] = 1.0
    while times:
        if times & 1:
            total = np.convolve(total, one)[: len(one)]
        one = np.convolve(one, one)[: len(one)]
        times >>= 1
    return total


def _participation(
    counts: npt.NDArray[np.int64], present: npt.NDArray[np.int64], claim: _Claim, *, thinned: bool
) -> float:
    """P-value of so few, or so many, pairs of rounds that have a client in common, over all clients.

    Given its size, a cohort that was sampled is any subset of that size as likely as another: what two cohorts have in
    common is hypergeometric, whatever a third one is, and only triangles of cohorts depend on each other. That gives
    three exact moments. Drop-outs that befall some clients more than others only raise it: then too few are too few
    still, and for too many stands `_too_often`.
    """
    clients = claim.clients
    if clients == 1:
        return 1.0
    shares = present / clients
    spread = shares * (1 - shares)
    skew = spread * (1 - 2 * shares)
    first, second, third_power = (float((spread**power).sum()) for power in (1, 2, 3))
    triangles = (first**3 - 3 * first * second + 2 * third_power) / 6
    third = 6 * triangles * clients**3 / (clients - 1) ** 2
    if clients > 2:
        pairs_of_skews = (float(skew.sum()) ** 2 - float(skew @ skew)) / 2
        third += pairs_of_skews * clients**3 / ((clients - 1) * (clients - 2))
    mean = clients * (float(shares.sum()) ** 2 - float(shares @ shares)) / 2
    variance = (first**2 - second) / 2 * clients**2 / (clients - 1)
    if variance < _ROUNDING:
        return 1.0
    pairs = int((counts * (counts - 1) // 2).sum())
    lower = skewed_lower(pairs + 0.5, mean=mean, variance=variance, third=third)
    if not thinned:
        return _either(lower, skewed_upper(pairs - 0.5, mean=mean, variance=variance, third=third))
    tally = np.cumsum(np.bincount(counts, minlength=claim.rounds + 1)[::-1])[::-1]
    return _either(lower, _too_often(tally[1:], claim))


def _too_often(tally: npt.NDArray[np.int64], claim: _Claim) -> float:
    """P-value of so many clients that were there k times or more, of all k together; whoever dropped out.

    Args:
        tally: shape (T,), for k = 1 … T.
        claim: T, N and q.
    """
    chances = _at_least(claim.rounds, claim.probability)
    return together(
        binomial_upper(int(hits), claim.clients, float(chance)) for hits, chance in zip(tally, chances, strict=True)
    )


def _finds_kept(size: int, claim: _Claim, kept: float, level: float) -> bool:
    """Whether one cohort that is kept is found in 99 cases of a hundred, if each of it answers with chance `kept`."""
    if kept < 1:
        staying = _at_least(claim.rounds, kept)
        hits = np.floor(size * staying - _MISSED * np.sqrt(size * staying * (1 - staying)))
        return 2 * _too_often(hits.astype(np.int64), claim) < level
    counts = np.where(np.arange(claim.clients) < size, claim.rounds, 0)
    return _participation(counts, np.full(claim.rounds, size), claim, thinned=False) < level


def _binomial(trials: int, probability: float) -> Floats:
    """Probabilities of 0 … trials, from the ratios of neighbours."""
    k = np.arange(1, trials + 1)
    law: Floats = np.zeros(trials + 1)
    if probability in {0, 1}:
        law[trials if probability else 0] = 1.0
        return law
    law[1:] = np.cumsum(np.log((trials - k + 1) / k) + math.log(probability / (1 - probability)))
    law = np.exp(law - law.max())
    law /= law.sum()
    return law


def _at_least(trials: int, probability: float) -> Floats:
    """Probabilities of at least 1 … trials."""
    return np.minimum(np.cumsum(_binomial(trials, probability)[::-1])[-2::-1], 1.0)


def _moments(law: Floats, values: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Mean, variance and third central moment."""
    mean = float(law @ values)
    centred = values - mean
    return mean, float(law @ centred**2), float(law @ centred**3)


def _either(lower: float, upper: float) -> float:
    return min(1.0, 2 * min(lower, upper))


def _checked(
    sizes: Sequence[int] | npt.NDArray[Any], clients: int, probability: float, answered: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    check_whole("clients", clients, 1, MOST_CLIENTS, such_as="50")
    if not 0 < probability <= 1:
        raise ConfigurationError(f"probability is {probability}: above 0 and up to 1 works, such as 0.1")
    counts = np.asarray(sizes)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu":
        raise ConfigurationError(f"sizes have shape {counts.shape}: one whole number for each round works")
    if int(counts.min()) < 0 or int(counts.max()) > clients:
        raise ConfigurationError(f"sizes go from {counts.min()} to {counts.max()}: 0 to {clients} works")
    if answered is not None:
        if answered.shape != (len(counts), clients) or answered.dtype != np.bool_:
            raise ConfigurationError(
                f"answered has shape {answered.shape} of {answered.dtype}: booleans of shape ({len(counts)}, "
                f"{clients}) work, one row for each round"
            )
        if (answered.sum(axis=1) > counts).any():
            raise ConfigurationError("answered has more clients in a round than sizes has: those invited work")
    return counts.astype(np.int64)
