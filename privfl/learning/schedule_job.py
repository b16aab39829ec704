"""`strategy.schedule.*` of a job: how the clients' learning rate changes from round to round."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from privfl.errors import ConfigurationError

MOST_WARMUP: Final = 100_000


class ScheduleKind(StrEnum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    """It stays."""
    STEP = "step"
    """Every so many rounds it is multiplied by a factor."""
    EXPONENTIAL = "exponential"
    """Every round it is multiplied by a factor."""
    COSINE = "cosine"
    """It falls along half a cosine, to its minimum after the last round: Loshchilov, Hutter, "SGDR", ICLR 2017."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleJob:
    """`strategy.schedule.*`: of `strategy.learning_rate`.

    Attributes:
        kind: `constant`, `step`, `exponential` or `cosine`.
        warmup: so many first rounds in which the rate rises in equal steps; the next round is the first that has the
            whole of it, and the first of `kind`.
        every: of `step`: rounds between two steps.
        factor: of `step` and `exponential`: what the rate is multiplied by.
        minimum: of `cosine`: what the rate falls to, as a share of `strategy.learning_rate`; 0 unless given.

    Raises:
        ConfigurationError: a value out of range, missing, or set where the kind does not use it.
    """

    kind: ScheduleKind = ScheduleKind.CONSTANT
    warmup: int = 0
    every: int | None = None
    factor: float | None = None
    minimum: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= MOST_WARMUP:
            raise ConfigurationError(
                f"strategy.schedule.warmup is {self.warmup}: 0 to {MOST_WARMUP} rounds work, such as 5"
            )
        for name, kinds, sample in _KEYS:
            given = getattr(self, name) is not None
            if given and self.kind not in kinds:
                raise ConfigurationError(
                    f"strategy.schedule.{name} is set though strategy.schedule.kind is {self.kind.value!r}: leave it "
                    f"out, or take strategy.schedule.kind = {kinds[0].value!r}"
                )
            if not given and self.kind in kinds and name != "minimum":
                raise ConfigurationError(
                    f"strategy.schedule.{name} is missing, which {self.kind.value!r} takes: {sample} works"
                )
        if self.every is not None and self.every < 1:
            raise ConfigurationError(f"strategy.schedule.every is {self.every}: 1 round or more works, such as 10")
        if self.factor is not None and not 0 < self.factor <= 1:
            raise ConfigurationError(f"strategy.schedule.factor is {self.factor}: above 0, up to 1, works, such as 0.5")
        if self.minimum is not None and not 0 <= self.minimum <= 1:
            raise ConfigurationError(f"strategy.schedule.minimum is {self.minimum}: 0 to 1 works, such as 0.1")

    def check_rounds(self, rounds: int) -> None:
        """Refuse a warm-up that outlasts the run.

        Raises:
            ConfigurationError: no round would have the whole learning rate.
        """
        if self.warmup >= rounds:
            raise ConfigurationError(
                f"strategy.schedule.warmup is {self.warmup} with rounds = {rounds}: less than rounds works, such as "
                f"{rounds // 10}"
            )


_KEYS: Final = (
    ("every", (ScheduleKind.STEP,), "10"),
    ("factor", (ScheduleKind.STEP, ScheduleKind.EXPONENTIAL), "0.5"),
    ("minimum", (ScheduleKind.COSINE,), "0.1"),
)
