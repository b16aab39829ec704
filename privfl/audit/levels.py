"""How improbable is too improbable: the levels at which a test accuses or doubts, and what many tests say together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from privfl.audit.findings import Outcome
from privfl.errors import ConfigurationError

FAIL_LEVEL: Final = 1e-6
"""An accusation: what is honest is accused once in a million."""
DOUBT_LEVEL: Final = 1e-3
"""Odd: more should be looked at before anybody is believed or accused."""


def together(p_values: Iterable[float]) -> float:
    """Return a p-value of several: the smallest times their number, and 1 at most (Bonferroni). Valid however they
    depend on each other. Without any there is nothing odd: 1.

    >>> together((0.25, 0.01, 0.5))
    0.03
    """
    found = tuple(p_values)
    return min(1.0, len(found) * min(found)) if found else 1.0


def outcome_of(p_value: float) -> Outcome:
    """Return what a p-value says: FAIL below `FAIL_LEVEL`, INCONCLUSIVE below `DOUBT_LEVEL`, else PASS.

    A pass says that nothing odd was seen; whether it could have been seen is for the test's power to say.

    Raises:
        ConfigurationError: no probability.
    """
    if not 0 <= p_value <= 1:
        raise ConfigurationError(f"p_value is {p_value}: a probability from 0 to 1 works")
    if p_value < FAIL_LEVEL:
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE if p_value < DOUBT_LEVEL else Outcome.PASS
