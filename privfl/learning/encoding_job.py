"""`encoding.*` of a job: floats as whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from privfl.encoding.fixed_point import FixedPoint
from privfl.params import DEFAULT_PRECISION, WireForm


class Rounding(StrEnum):
    """How a coordinate becomes a whole number."""

    NEAREST = "nearest"
    """To the nearest: the error of a coordinate is half a step at most."""
    STOCHASTIC = "stochastic"
    """Up or down, with the odds that make it right on average: the error is a step at most, and errors cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingJob:
    """`encoding.*`: floats as integers. Where clients are differentially private, `privacy.clip` and a granularity that
    follows from the noise take the place of `clip` and `bits`.

    Attributes:
        clip: largest magnitude of a coordinate of an update.
        bits: bits of a quantised coordinate.
        wire: `words`, or `packed`: fewer bytes for a little more time. `plain` always sends words, `ckks` packs.
        precision: largest standard deviation of the mean's error that `ckks` may add, as a fraction of `clip`.
        rounding: `nearest`, or `stochastic`: up or down by chance, so that the mean is right on average however few
            bits there are.
        adaptive: let `clip` follow the updates from round to round: to the power of two, times the first, beyond which
            one in a thousand coordinates is.
    """

    clip: float = 1.0
    bits: int = 16
    wire: WireForm = WireForm.WORDS
    precision: float = DEFAULT_PRECISION
    rounding: Rounding = Rounding.NEAREST
    adaptive: bool = False

    def __post_init__(self) -> None:
        FixedPoint(clip=self.clip, bits=self.bits)
