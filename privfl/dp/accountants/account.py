"""What a list of events costs, by all accountants side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from privfl.dp.accountants.base import Accountant
from privfl.dp.accountants.pld import PldAccountant
from privfl.dp.accountants.prv import PrvAccountant
from privfl.dp.accountants.rdp import RdpAccountant
from privfl.dp.mechanisms import Relation, Repeated, check_relation
from privfl.errors import ConfigurationError, MissingExtra, UnsupportedEvent

ACCOUNTANTS: Final[Mapping[str, type[Accountant]]] = {
    kind.name: kind for kind in (PldAccountant, RdpAccountant, PrvAccountant)
}
"""By name, the one whose figure is reported first."""
_REPORTED: Final = (PldAccountant.name, RdpAccountant.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a list of events costs.

    Attributes:
        epsilon: ε at δ: pld's where it applies, else rdp's; may be infinite.
        delta: δ.
        relation: which data sets are neighbours.
        reported: the accountant whose figure `epsilon` is.
        accountants: ε by accountant; None where it does not apply, was not asked, or is not installed.
    """

    epsilon: float
    delta: float
    relation: Relation
    reported: str
    accountants: Mapping[str, float | None]


def account(
    events: Sequence[Repeated],
    delta: float,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
    *,
    names: Sequence[str] = _REPORTED,
) -> Account:
    """Tell what events cost together.

    Args:
        events: what happened.
        delta: above 0, below 1.
        relation: which data sets are neighbours.
        names: accountants to ask: all of `ACCOUNTANTS`, or those whose figure is reported. Importing Opacus for `prv`
            takes seconds.

    Raises:
        ConfigurationError: δ is no such probability, or a name, of accountant or relation, is unknown.
        UnsupportedEvent: neither pld nor rdp knows all events.
        MissingExtra: dp-accounting is not installed.

    Guarantees:
        1. `epsilon` is pld's ε where pld knows all events, and rdp's otherwise.
        2. Where neither does, the error says why; ε is never that of a part of the events.
    """
    relation = check_relation(relation)
    answers, reported = _ask(events, (delta,), relation, names)
    return Account(
        epsilon=answers[reported][0],
        delta=delta,
        relation=relation,
        reported=reported,
        accountants={name: answers[name][0] if name in answers else None for name in ACCOUNTANTS},
    )


def epsilon_curve(
    events: Sequence[Repeated], deltas: Sequence[float], relation: Relation = Relation.ADD_OR_REMOVE_ONE
) -> tuple[float, ...]:
    """Tell ε at several δ, by one accountant: pld where it applies to all of them, else rdp.

    Args:
        events: what happened.
        deltas: each above 0, below 1.
        relation: which data sets are neighbours.

    Raises:
        ConfigurationError: a δ is no such probability.
        UnsupportedEvent: neither pld nor rdp knows all events.
        MissingExtra: dp-accounting is not installed.
    """
    reasons = []
    for name in _REPORTED:  # the second only if the first does not answer: either may take seconds
        try:
            return tuple(_told(ACCOUNTANTS[name](relation), events, deltas))
        except UnsupportedEvent as error:
            reasons.append(str(error))
    raise UnsupportedEvent("; ".join(dict.fromkeys(reasons)))


def _ask(
    events: Sequence[Repeated], deltas: Sequence[float], relation: Relation, names: Sequence[str]
) -> tuple[dict[str, list[float]], str]:
    unknown = [name for name in names if name not in ACCOUNTANTS]
    if unknown:
        raise ConfigurationError(f"accountant {unknown[0]!r} is not known: {', '.join(ACCOUNTANTS)} work")
    answers: dict[str, list[float]] = {}
    reasons: list[str] = []
    for name in names:
        try:
            answers[name] = _told(ACCOUNTANTS[name](relation), events, deltas)
        except UnsupportedEvent as error:
            reasons.append(str(error))
        except MissingExtra:
            if name in _REPORTED:
                raise
    reported = next((name for name in _REPORTED if name in answers), None)
    if reported is None:
        raise UnsupportedEvent("; ".join(dict.fromkeys(reasons)) or f"none of {', '.join(_REPORTED)} was asked")
    return answers, reported


def _told(accountant: Accountant, events: Sequence[Repeated], deltas: Sequence[float]) -> list[float]:
    for event in events:
        accountant.compose(event)
    return [accountant.epsilon(delta) for delta in deltas]
