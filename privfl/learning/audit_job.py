"""`audit.*`: what a run holds and writes down so that somebody can check later what it did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from privfl.errors import ConfigurationError

MOST_PROBES: Final = 100
_FEWEST, _USUAL_MOST = 2, 16
_FOR_DOUBT: Final = 16
"""Half of the canaries are guessed at; that many times 1 + e^ε, all right, have a chance of 1 in 3000 under ε."""
_COORDINATES: Final = 512
"""Residuals in all that tell noise of 0.7 times its size from noise of its size, with a false alarm in a million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditJob:
    """`audit.*`: tests that a run makes of itself, on inputs that everybody knows, for `privfl audit` to look at.

    Attributes:
        probes: sessions on known inputs, half of them before the first round and half after the last; 0: none. As many
            as show noise that is too small unless given; one where there is no noise to look at.
        canaries: training examples that a client's trainer is tried on, in mode `example`; 0: none. As many as the
            claim asks for unless given.
    """

    probes: int | None = None
    canaries: int | None = None

    def __post_init__(self) -> None:
        if self.probes is not None and not 0 <= self.probes <= MOST_PROBES:
            raise ConfigurationError(f"audit.probes is {self.probes}: 0 to {MOST_PROBES} works, such as 2")
        if self.canaries is not None and self.canaries and not 16 <= self.canaries <= 4096:
            raise ConfigurationError(f"audit.canaries is {self.canaries}: 0, or 16 to 4096, works, such as 64")

    def probes_of(self, *, noisy: bool, protects: bool, length: int, clients: int, epsilon: float) -> int:
        """Return how many sessions on known inputs a run holds.

        Args:
            noisy: whether what comes out of a session is private towards clients.
            protects: whether the suite hides what goes in.
            length: coordinates of a vector.
            clients: that take part in one such session.
            epsilon: what one round costs at the most; that many canaries have to be right to contradict it.
        """
        if self.probes is not None:
            return self.probes
        if not noisy:
            return int(protects)
        canaries = _FOR_DOUBT * (1 + math.exp(min(epsilon, 10.0)))
        wanted = max(math.ceil(_COORDINATES / length), math.ceil(canaries / clients))
        return min(max(wanted, _FEWEST), _USUAL_MOST)
