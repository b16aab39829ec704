"""Degree and threshold from a threat model.

With n clients, a corrupt fraction γ, a drop-out fraction δ, k neighbours each and t shares to open, a random Harary
graph must satisfy (Bell et al., CCS 2020, §3.3 and appendix; here by exact hypergeometric tails):

1. the survivors who are honest stay connected:  n(n−k−1)/2 · B!(n−k)! / (n!(B−k)!) < 2^−(σ+1), B = ⌊γn⌋ + ⌊δn⌋;
2. nobody has t corrupt neighbours:  n · P[Hypergeom(n, ⌊γn⌋, k) ≥ t] < 2^−(σ+1);
3. everybody keeps t neighbours:  n · P[Hypergeom(n, ⌈(1−δ)n⌉, k) < t] < 2^−η.

A server that lies can tell one half of a client's neighbours that it survived and the other half that it dropped, and
its accomplices tell both. Hence, in the active model:

4. nobody's neighbours rebuild both its secrets:  2t > k + X for every client with X corrupt neighbours,
   n · P[Hypergeom(n, ⌊γn⌋, k) ≥ 2t − k] < 2^−(σ+1);
5. the ring cannot be cut: declaring the honest members of two runs of k/2 seats dropped leaves two arcs, whose last
   clients still find t neighbours if each run holds t − k/2 accomplices:
   (n · P[Hypergeom(n, ⌊γn⌋, k/2) ≥ t − k/2])² / 2 < 2^−(σ+1);
6. all honest clients unmask one session, and one pair of sets of participants and survivors: what a quorum of q out of
   w witnesses, drawn by the parameters' digest, have signed. Two different ones are never both signed, 2q > w + X with
   X corrupt witnesses, P[Hypergeom(n, ⌊γn⌋, w) ≥ 2q − w] < 2^−(σ+1); and the survivors among the witnesses suffice,
   P[Hypergeom(n, ⌈(1−δ)n⌉, w) < q] < 2^−η.

Signatures of t neighbours instead of 6 (Bell et al., §4) do not suffice beside 4 and 5: an honest neighbour that is
shown one set, signs it and is never asked to unmask counts for its signature, while others, who were shown another set,
open its pairwise masks. Nor do witnesses drawn by the root: the same keys can be shown under two roots to two groups,
each with its quorum, and mask keys rebuilt in one session open masks of the other. With one root and one pair of sets
for everybody the argument is short. Whoever's self mask is opened has t neighbours that survived (it counts them
itself, or t of them told its shares). Its pairwise masks follow from the participants that it was shown, which are
everybody's or cancel with nobody's, so none can be thinned out; and masks between survivors are never opened. So honest
survivors can be summed apart from others only if no edge joins them, which takes two runs as in 5.

There the graph follows from a root, and the witnesses from parameters, that the server can grind, by choosing whom to
include and what nonce: 2^60 attempts are allowed for, and σ grows by 60 bits in 1, 2, 4, 5 and 6. Each condition is
held to its bound by itself; δ counts accomplices that fall silent.

Below 100 clients the graph is complete and nothing is left to chance: with c = max(1, ⌈γn⌉) corrupt clients t > c, in
the active model 2t > k + c, all are witnesses with 2q > n + c, and t ≤ ⌈(1−δ)n⌉ − 1, so that the others can open for a
client that vanishes after its upload.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from privfl.errors import ConfigurationError
from privfl.params import MaskingSetting, ServerModel, SessionParams, ThreatModel
from privfl.primitives.shamir import MAX_HOLDERS

COMPLETE_BELOW: Final = 100
GRINDING_BITS: Final = 60
"""Work that an active server may spend on choosing a root that suits it, in bits."""
MOST_WITNESSES: Final = 16_384
_EVERY_NUMBER_UP_TO: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Who must have signed what is unmasked, in the active model.

    Attributes:
        witnesses: w: as many, whom the keys digest draws, may sign.
        signatures: q: as many must have.
    """

    witnesses: int
    signatures: int


@lru_cache(maxsize=64)
def plan(clients: int, threat: ThreatModel) -> MaskingSetting:
    """Choose the smallest degree, and the smallest threshold with it, that withstand the threat model.

    Args:
        clients: n, size of the cohort, at least 3.
        threat: the threat model.

    Raises:
        ConfigurationError: nothing does; says which fraction to lower.
    """
    if clients < 3:
        raise ConfigurationError(f"cohort.size is {clients}: pairwise masks need at least 3 clients")
    if threat.server is ServerModel.ACTIVE:
        quorum(clients, threat)
    if clients < COMPLETE_BELOW:
        threshold = _complete_bounds(clients, threat)[0]
        return MaskingSetting(degree=clients - 1, threshold=threshold)
    for degree in range(2, min(clients - 1, MAX_HOLDERS + 1), 2):
        fewest = _smallest_threshold(clients, degree, threat)
        if fewest is not None and _ring_holds(clients, degree, fewest, threat):
            return MaskingSetting(degree=degree, threshold=fewest)
    raise ConfigurationError(
        f"no graph of at most {MAX_HOLDERS} neighbours withstands threat.corrupt {threat.corrupt} and threat.dropout "
        f"{threat.dropout} among {clients} clients: lower one of them, 0.1 and 0.1 work"
    )


@lru_cache(maxsize=64)
def quorum(clients: int, threat: ThreatModel) -> Quorum:
    """Choose few witnesses, and the fewest signatures of theirs, that withstand the threat model.

    Args:
        clients: n, size of the cohort.
        threat: the threat model; its server is active.

    Raises:
        ConfigurationError: not even all clients together do; says which fraction to lower.
    """
    corrupt, alive = corrupt_clients(clients, threat), clients - _floor(threat.dropout, clients)
    for witnesses in _numbers_of_witnesses(clients):
        signatures = _fewest_signatures(clients, witnesses, corrupt, threat)
        too_few = _log_hypergeometric(clients, alive, witnesses, range(min(signatures, witnesses + 1)))
        if signatures <= witnesses and too_few < -threat.correctness_bits * math.log(2):
            return Quorum(witnesses=witnesses, signatures=signatures)
    everybody = (clients + corrupt) // 2 + 1  # nothing is left to chance
    if everybody <= alive:
        return Quorum(witnesses=clients, signatures=everybody)
    raise ConfigurationError(
        f"{alive} of {clients} clients are left after threat.dropout {threat.dropout}, and {everybody} signatures are "
        f"needed with threat.corrupt {threat.corrupt}: lower one of them, 0.1 and 0.1 work"
    )


def _numbers_of_witnesses(clients: int) -> Iterator[int]:
    """Numbers to try: every one up to 256, then in steps of an eighth, and beyond 16,384 nothing short of everybody.

    Whoever proposes parameters thereby asks a client for work: it takes a second or so, whatever they are.
    """
    witnesses = 2
    while witnesses < min(clients, MOST_WITNESSES + 1) and clients >= COMPLETE_BELOW:
        yield witnesses
        witnesses += 1 if witnesses < _EVERY_NUMBER_UP_TO else witnesses // 8


def _fewest_signatures(clients: int, witnesses: int, corrupt: int, threat: ThreatModel) -> int:
    """Return the smallest q with 2q > w + X but with negligible probability; w + 1 if there is none."""
    low, high = witnesses // 2 + 1, witnesses + 1
    while low < high:
        middle = (low + high) // 2
        split = _log_hypergeometric(clients, corrupt, witnesses, range(2 * middle - witnesses, witnesses + 1))
        if split < _log_statistical_bound(threat):
            high = middle
        else:
            low = middle + 1
    return low


def verified(params: SessionParams, suite: str) -> MaskingSetting:
    """Return the setting of a session's masks, once it is checked.

    Args:
        params: what is proposed.
        suite: the suite that they must be for.

    Raises:
        ConfigurationError: another suite's, or as for `verify`.
    """
    setting = params.masking
    if setting is None or params.suite != suite:
        raise ConfigurationError(f"parameters of suite {params.suite!r} where {suite!r} is needed")
    verify(setting, len(params.cohort), params.threat)
    return setting


def verify(setting: MaskingSetting, clients: int, threat: ThreatModel) -> None:
    """Check that a setting, whoever proposed it, withstands the threat model.

    Raises:
        ConfigurationError: it does not; names what is wrong and a setting that works.
    """
    if threat.server is ServerModel.ACTIVE:
        quorum(clients, threat)
    if clients < COMPLETE_BELOW:
        low, high = _complete_bounds(clients, threat)
        if setting.degree != clients - 1:
            raise ConfigurationError(
                f"masking degree {setting.degree} with {clients} clients: {clients - 1}, the complete graph, works"
            )
        if not low <= setting.threshold <= high:
            raise ConfigurationError(
                f"masking threshold {setting.threshold} cannot be met by {clients} clients with threat.corrupt "
                f"{threat.corrupt} and threat.dropout {threat.dropout}: {low} to {high} works"
            )
        return
    degree = setting.degree
    complete = degree == clients - 1 and clients <= MAX_HOLDERS  # its share points are places in the cohort
    ring = degree < clients - 1 and degree <= MAX_HOLDERS and degree % 2 == 0
    if not (complete or ring) or not (
        0 < setting.threshold <= degree and _ring_holds(clients, degree, setting.threshold, threat)
    ):
        best = plan(clients, threat)
        raise ConfigurationError(
            f"masking degree {degree} and threshold {setting.threshold} do not withstand threat.corrupt "
            f"{threat.corrupt} and threat.dropout {threat.dropout} among {clients} clients: "
            f"degree {best.degree}, threshold {best.threshold} do"
        )


def corrupt_clients(clients: int, threat: ThreatModel) -> int:
    """How many clients may collude with the server."""
    if clients < COMPLETE_BELOW:
        return max(1, _ceil(threat.corrupt, clients))
    return max(1, _floor(threat.corrupt, clients))


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """Smallest minimum that makes sense: two honest clients among the corrupt ones."""
    return min(clients, _floor(threat.corrupt, clients) + 2)


def _complete_bounds(clients: int, threat: ThreatModel) -> tuple[int, int]:
    corrupt = corrupt_clients(clients, threat)
    low = corrupt + 1
    if threat.server is ServerModel.ACTIVE:
        low = max(low, (clients - 1 + corrupt) // 2 + 1)  # 2t > k + c
    high = clients - _floor(threat.dropout, clients) - 1
    if low > high:
        raise ConfigurationError(
            f"{clients} clients cannot withstand threat.corrupt {threat.corrupt} (threshold ≥ {low}) and "
            f"threat.dropout {threat.dropout} (threshold ≤ {high}) together: lower threat.dropout or threat.corrupt "
            f"(0.1 and 0.1 work from 10 clients on), or take a larger cohort (cohort.size)"
        )
    return low, high


def _smallest_threshold(n: int, k: int, threat: ThreatModel) -> int | None:
    low, high = 1, k + 1
    active = threat.server is ServerModel.ACTIVE
    while low < high:  # conditions 2, 4 and 5 ease as t grows
        t = (low + high) // 2
        if _few_corrupt_neighbours(n, k, t, threat) and (not active or _withstands_lies(n, k, t, threat)):
            high = t
        else:
            low = t + 1
    return low if low <= k else None


def _ring_holds(n: int, k: int, t: int, threat: ThreatModel) -> bool:
    return (
        _stays_connected(n, k, threat)
        and _few_corrupt_neighbours(n, k, t, threat)
        and _keeps_enough_neighbours(n, k, t, threat)
        and (threat.server is not ServerModel.ACTIVE or _withstands_lies(n, k, t, threat))
    )


def _withstands_lies(n: int, k: int, t: int, threat: ThreatModel) -> bool:
    tail = _log_hypergeometric(n, corrupt_clients(n, threat), k, range(max(2 * t - k, 0), k + 1))
    return math.log(n) + tail < _log_statistical_bound(threat) and _ring_stays_whole(n, k, t, threat)


def _ring_stays_whole(n: int, k: int, t: int, threat: ThreatModel) -> bool:
    tail = _log_hypergeometric(n, corrupt_clients(n, threat), k // 2, range(max(t - k // 2, 0), k // 2 + 1))
    return 2 * (math.log(n) + tail) - math.log(2) < _log_statistical_bound(threat)


def _log_statistical_bound(threat: ThreatModel) -> float:
    grinding = GRINDING_BITS if threat.server is ServerModel.ACTIVE else 0
    return -(threat.statistical_bits + grinding + 1) * math.log(2)


def _stays_connected(n: int, k: int, threat: ThreatModel) -> bool:
    gone = corrupt_clients(n, threat) + _floor(threat.dropout, n)
    if gone >= n - 1:
        return False
    if gone < k:
        return True  # a k-connected graph
    log_probability = (
        math.log(n) + math.log(max(n - k - 1, 1)) - math.log(2)
        + math.lgamma(gone + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 1) - math.lgamma(gone - k + 1)
    )  # fmt: skip
    return log_probability < _log_statistical_bound(threat)


def _few_corrupt_neighbours(n: int, k: int, t: int, threat: ThreatModel) -> bool:
    tail = _log_hypergeometric(n, corrupt_clients(n, threat), k, range(t, k + 1))
    return math.log(n) + tail < _log_statistical_bound(threat)


def _keeps_enough_neighbours(n: int, k: int, t: int, threat: ThreatModel) -> bool:
    tail = _log_hypergeometric(n, n - _floor(threat.dropout, n), k, range(t))
    return math.log(n) + tail < -threat.correctness_bits * math.log(2)


def _log_hypergeometric(population: int, marked: int, draws: int, hits: range) -> float:
    """Log of P[h ∈ hits] for h marked among `draws` drawn without replacement; −∞ where that is impossible."""
    terms = [
        _log_choose(marked, h) + _log_choose(population - marked, draws - h) - _log_choose(population, draws)
        for h in hits
        if h <= marked and draws - h <= population - marked
    ]
    if not terms:
        return -math.inf
    top = max(terms)
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def _floor(fraction: float, n: int) -> int:
    """⌊fraction · n⌋ of the decimal that was written: 0.29 · 100 is 29, whatever binary makes of it."""
    return math.floor(fraction * n + 1e-9)


def _ceil(fraction: float, n: int) -> int:
    return math.ceil(fraction * n - 1e-9)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
