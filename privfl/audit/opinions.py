"""ε by several accountants, and what their difference means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from privfl.dp.accountants import account
from privfl.dp.accountants.pld import binned
from privfl.dp.accountants.reduce import Primitive
from privfl.dp.events import Gaussian, PoissonSampled, Relation, Repeated, Skellam
from privfl.dp.plan import flat

TOLERANCE: Final = 0.002
"""ε that numerics may be off by: the bar that the accountants are held to."""
_ORDERS: Final = range(2, 2049)
_MOST_EPSILON: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """ε of all that was charged.

    Attributes:
        by: accountant to ε; None where it does not apply. `formula` is this file's, straight from the papers.
        reported: whose ε is quoted.
        gap: by how much the second opinion differs; None where there is none.
        why: what that difference comes from.
        contradiction: a sentence, if two of them cannot both be right; else empty.
    """

    by: Mapping[str, float | None]
    reported: str
    gap: float | None
    why: str
    contradiction: str

    @property
    def epsilon(self) -> float:
        """The ε that is quoted."""
        return self.by[self.reported] or 0.0


def opinions_of(events: Sequence[Repeated], delta: float, relation: Relation) -> Opinions:
    """Ask all accountants that apply.

    Args:
        events: what was charged.
        delta: δ.
        relation: which data sets are neighbours.

    Raises:
        UnsupportedEvent: no accountant knows all events.
        MissingExtra: dp-accounting is not installed.
    """
    # Many sampled releases that all differ are rounded as PLD rounds them: RDP would take long, for the same answer.
    told = account(_joined(events), delta, relation)
    by = {"pld": told.accountants["pld"], "rdp": told.accountants["rdp"], "formula": formula(events, delta, relation)}
    pld, rdp, own = by["pld"], by["rdp"], by["formula"]
    wrong = ""
    if pld is not None and rdp is not None and rdp < pld * (1 - 1e-3) - TOLERANCE:
        wrong = f"RDP, which only bounds, says {rdp:.6g}, below the {pld:.6g} of PLD, which is nearly exact"
    exact = pld if pld is not None else rdp
    if own is not None and exact is not None and math.isfinite(own) and abs(own - exact) > TOLERANCE + 0.01 * exact:
        wrong = f"the formula of the paper says {own:.6g}, and the accountant {exact:.6g}"
    if told.reported == "pld":
        gap = None if rdp is None else abs(rdp - told.epsilon)
        why = "RDP bounds what PLD tells nearly exactly"
    else:
        gap = None if own is None else abs(own - told.epsilon)
        why = "the same bound, by code of its own: it checks the arithmetic, not the theory"
    if gap is not None and not math.isfinite(gap):
        gap = None
    return Opinions(by=by, reported=told.reported, gap=gap, why=why, contradiction=wrong)


def _joined(events: Sequence[Repeated]) -> list[Repeated]:
    sampled: dict[Primitive, int] = {}
    others: list[Repeated] = []
    for part in flat(events):
        if isinstance(part.event, PoissonSampled) and isinstance(part.event.event, Gaussian):
            sampled[part.event] = sampled.get(part.event, 0) + part.count
        else:
            others.append(part)
    return [*others, *(Repeated(event=event, count=count) for event, count in binned(sampled).items())]


def formula(events: Sequence[Repeated], delta: float, relation: Relation) -> float | None:
    """ε of noise without sampling, straight from the papers; None for anything else.

    Gaussians compose to one, whose δ(ε) is known exactly (Dong, Roth, Su 2022, Corollary 3.3; Balle, Wang, ICML 2018,
    Theorem 8). Skellam noise: Agarwal, Kairouz, Liu, NeurIPS 2021, Theorem 3.5, at whole orders, and the conversion of
    Canonne, Kamath, Steinke, NeurIPS 2020, Proposition 12. It shares no code with the accountants of `privfl.dp`.
    """
    parts = tuple(flat(events))
    if not parts:
        return 0.0
    scale = 2.0 if relation is Relation.REPLACE_ONE else 1.0
    if all(isinstance(part.event, Gaussian) for part in parts):
        squares = [part.count / part.event.noise_multiplier**2 for part in parts if isinstance(part.event, Gaussian)]
        return _gaussian(scale * math.sqrt(math.fsum(squares)), delta)
    if all(isinstance(part.event, Skellam) for part in parts) and relation is not Relation.REPLACE_ONE:
        return _skellam([(part.event, part.count) for part in parts if isinstance(part.event, Skellam)], delta)
    return None


def _gaussian(mu: float, delta: float) -> float:
    """The ε at which Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ) is δ; the smaller, the larger ε."""
    low, high = 0.0, 1.0
    if _delta(mu, low) <= delta:
        return 0.0
    while _delta(mu, high) > delta and high < _MOST_EPSILON:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(mu, middle) > delta else (low, middle)
    return high


def _delta(mu: float, epsilon: float) -> float:
    first = 0.5 * math.erfc(-(mu / 2 - epsilon / mu) / math.sqrt(2))
    argument = (mu / 2 + epsilon / mu) / math.sqrt(2)
    # e^ε·erfc(x): far out the product of something huge and something tiny, by erfc's first terms instead.
    if argument > 25:
        tail = math.exp(min(epsilon - argument**2, 0.0)) / (argument * math.sqrt(math.pi))
        return first - 0.5 * tail
    return first - 0.5 * math.exp(epsilon) * math.erfc(argument)


def _skellam(events: Sequence[tuple[Skellam, int]], delta: float) -> float:
    best = math.inf
    for order in _ORDERS:
        divergence = 0.0
        for event, count in events:
            variance, two, one = event.variance, event.l2_sensitivity**2, event.l1_sensitivity
            excess = min(((2 * order - 1) * two + 6 * one) / (4 * variance**2), 3 * one / (2 * variance))
            divergence += count * (order * two / (2 * variance) + excess)
        converted = divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        best = min(best, max(converted, 0.0))
    return best
