"""`cohort.*` of a job: who takes part in a round, and how long the server waits for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from privfl.errors import ConfigurationError

DEFAULT_PREFERENCE: Final = 1.0
DEFAULT_EXPLORE: Final = 0.1
_MOST_PREFERENCE: Final = 10.0  # a client twice as fast is then drawn a thousand times as readily
_MOST_OVER_SELECTION: Final = 10.0


class Sampling(StrEnum):
    """How the cohort of a round is drawn."""

    UNIFORM = "uniform"
    """So many of all clients, for every round, whether they can be reached or not."""
    FIXED = "fixed"
    """So many of all clients, once."""
    POISSON = "poisson"
    """Every client, independently of the others."""
    AVAILABLE = "available"
    """Uniformly from those who check in: they are online, and have the battery for it."""
    SPEED = "speed"
    """From those who check in, fast ones more readily."""
    LOSS = "loss"
    """From those who check in, and more readily those whom the model serves worse than most."""


CHECKED_IN: Final = frozenset({Sampling.AVAILABLE, Sampling.SPEED, Sampling.LOSS})
"""Where nobody is invited who is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortJob:
    """`cohort.*`: who takes part in a round.

    Attributes:
        size: clients whose updates a round is to sum; all unless given.
        minimum: fewest contributors; a round with fewer aborts. Two more than the corrupt ones unless given; where
            clients share the noise (`client-distributed`), what is left when as many drop out as `threat.dropout` says:
            the noise is made for it.
        sampling: `uniform`: `size` clients, drawn for every round; `fixed`: drawn once; `poisson`: everyone, with
            `probability`; `available`: uniformly from those who are there; `speed`, `loss`: from those who are there,
            with a preference for fast ones, or for those on whose examples the model is worse than on most. `uniform`
            unless given.
        probability: of `poisson`: that a client is invited to a round.
        over_selection: so many more than `size` are invited, as a share of it, and the round goes on when `size` have
            uploaded (Bonawitz et al., MLSys 2019, take 0.3). 0: nobody more, and all are waited for.
        deadline_s: simulated seconds from the invitation until uploads close; none unless given.
        preference: of `speed` and `loss`: the exponent of what they go by; 0 is no preference. 1 unless given.
        explore: of `speed` and `loss`: the probability with which a place goes to a client that is drawn uniformly
            from those who are there, so that nobody is left out for good. 0.1 unless given.

    Raises:
        ConfigurationError: a key is out of its range, or says nothing beside the others.

    References:
        Bonawitz et al., "Towards Federated Learning at Scale: System Design", MLSys 2019, sections 2 and 9:
        over-selection, and rounds that close early.
    """

    size: int | None = None
    minimum: int | None = None
    sampling: Sampling = Sampling.UNIFORM
    probability: float | None = None
    over_selection: float = 0.0
    deadline_s: float | None = None
    preference: float | None = None
    explore: float | None = None

    def __post_init__(self) -> None:
        self._check_poisson()
        self._check_over_selection()
        if self.by_signal and self.size is None:
            raise ConfigurationError(
                f"cohort.sampling is {self.sampling.value!r} without cohort.size, where all are invited and nobody is "
                f"preferred: give cohort.size, such as half of data.clients, or take cohort.sampling = 'available'"
            )
        if self.deadline_s is not None and not (math.isfinite(self.deadline_s) and self.deadline_s > 0):
            raise ConfigurationError(f"cohort.deadline_s is {self.deadline_s}: seconds above 0 work, such as 600.0")
        for key, most, works in (("preference", _MOST_PREFERENCE, DEFAULT_PREFERENCE), ("explore", 1, DEFAULT_EXPLORE)):
            value = getattr(self, key)
            if value is None:
                continue
            if not self.by_signal:
                raise ConfigurationError(
                    f"cohort.{key} is set though cohort.sampling {self.sampling.value!r} prefers nobody: leave it out, "
                    f"or take cohort.sampling = 'speed' or 'loss'"
                )
            if not 0 <= value <= most:
                raise ConfigurationError(f"cohort.{key} is {value}: 0 to {most:g} works, such as {works}")

    def _check_poisson(self) -> None:
        if (self.sampling is Sampling.POISSON) != (self.probability is not None):
            raise ConfigurationError(
                "cohort.probability is missing, with which 'poisson' invites every client: such as 0.5"
                if self.probability is None
                else f"cohort.probability is set though cohort.sampling is {self.sampling.value!r}: leave it out, or "
                f"take cohort.sampling = 'poisson'"
            )
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ConfigurationError(f"cohort.probability is {self.probability}: above 0, up to 1, works, such as 0.5")
        if self.probability is not None and self.size is not None:
            raise ConfigurationError("cohort.size is set though cohort.sampling 'poisson' draws it: leave it out")

    def _check_over_selection(self) -> None:
        if not 0 <= self.over_selection <= _MOST_OVER_SELECTION:
            raise ConfigurationError(
                f"cohort.over_selection is {self.over_selection}: 0 to {_MOST_OVER_SELECTION:g} works, such as 0.3"
            )
        if not self.over_selection:
            return
        if self.sampling is Sampling.POISSON:
            raise ConfigurationError(
                "cohort.over_selection is set though cohort.sampling 'poisson' knows no size to go on with: leave it "
                "out, or take a larger cohort.probability"
            )
        if self.size is None:
            raise ConfigurationError(
                "cohort.over_selection is set without cohort.size, where everybody is invited already: give "
                "cohort.size, such as half of data.clients, or leave it out"
            )
        if self.minimum is not None and self.minimum > self.size:
            raise ConfigurationError(
                f"cohort.minimum is {self.minimum} with cohort.size {self.size}: up to {self.size} works, because with "
                f"cohort.over_selection a round goes on when {self.size} have uploaded"
            )

    @property
    def invited(self) -> int | None:
        """Clients that are invited to a round; None leaves it to the number of clients."""
        # A hair less, because 50 · 1.1 is more than 55 in floating point.
        return None if self.size is None else math.ceil(self.size * (1 + self.over_selection) - 1e-9)

    @property
    def goal(self) -> int | None:
        """Uploads with which a round goes on; None: all that will come."""
        return self.size if self.over_selection else None

    @property
    def by_presence(self) -> bool:
        """Whether nobody is invited who is not there."""
        return self.sampling in CHECKED_IN

    @property
    def by_signal(self) -> bool:
        """Whether what clients tell of themselves decides who is invited."""
        return self.sampling in {Sampling.SPEED, Sampling.LOSS}

    @property
    def exponent(self) -> float:
        """`preference`, given or not."""
        return DEFAULT_PREFERENCE if self.preference is None else self.preference

    @property
    def exploring(self) -> float:
        """`explore`, given or not."""
        return DEFAULT_EXPLORE if self.explore is None else self.explore
