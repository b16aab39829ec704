"""Floats as bounded integers: rounded to the nearest, or up or down at random and right on average.

References:
    Suresh, Yu, Kumar, McMahan, *Distributed Mean Estimation with Limited Communication*, ICML 2017, §2.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

MIN_BITS: Final = 2
MAX_BITS: Final = 24  # the significand of a float32 update: more bits would encode nothing
CLIP_RANGE: Final = (1e-12, 1e12)
_CHUNK: Final = 32_768  # float64 scratch of 256 KiB: stays in the L2 cache
_DICE_BITS: Final = 32

_Floats = npt.NDArray[np.float64]

Dice = Callable[[int], npt.NDArray[np.uint32]]
"""Rolls as many words as it is asked for: uint32, independent and uniform, shape (n,), new in every call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoint:
    """Signed fixed point: `bits` bits over [−clip, clip].

    x is clipped, scaled by bound / clip and rounded: to the nearest integer (ties to even), which is deterministic, but
    loses what lies below half a step from every client alike; or at random, which is right on average, so that the
    errors of many clients cancel.

    Attributes:
        clip: largest magnitude kept, in the unit of the update.
        bits: 2 … 24; `bound` = 2^(bits−1) − 1 is the largest integer.

    Guarantees:
        1. Nothing encoded exceeds `bound`, however it is rounded.
        2. Given dice, x becomes ⌈x⌉ with probability x − ⌊x⌋, to 2^−32, or else ⌊x⌋; each coordinate by a word of its
           own. Whole numbers stay.

    >>> coder = FixedPoint(clip=1.0, bits=4)
    >>> coder.bound, round(coder.step, 4)
    (7, 0.1429)
    """

    clip: float
    bits: int

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ConfigurationError(
                f"encoding.bits is {self.bits!r}: a whole number from {MIN_BITS} to {MAX_BITS} works, such as 16"
            )
        low, high = CLIP_RANGE
        if not (is_number(self.clip) and low <= self.clip <= high):
            raise ConfigurationError(
                f"encoding.clip is {self.clip!r}: a number from {low:g} to {high:g} works, such as 1.0"
            )

    @property
    def bound(self) -> int:
        """Largest magnitude of an encoded coordinate."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """Width of one quantisation step, in the unit of the update."""
        return self.clip / self.bound

    def encode(
        self,
        values: npt.NDArray[np.floating[Any]],
        *,
        weight: float,
        out: npt.NDArray[np.int32],
        name: str,
        dice: Dice | None = None,
    ) -> int:
        """Clip, weigh, scale and round.

        Args:
            values: floats, any shape with m elements.
            weight: factor in [0, 1], applied after clipping: weight / weight_max.
            out: int32, shape (m,); filled.
            name: what the values are called, for the error.
            dice: rolled to round at random, once for every value; None to round to the nearest.

        Returns:
            How many values were clipped.

        Raises:
            ConfigurationError: NaN or infinity among the values.
        """
        flat = values.reshape(-1)
        clipped = 0
        factor = weight * self.bound / self.clip
        scratch, whole, uniform = np.empty((3, min(_CHUNK, flat.size)))
        for start in range(0, flat.size, _CHUNK):
            source = flat[start : start + _CHUNK]
            low, high = float(source.min()), float(source.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise not_finite(flat, name)
            part = scratch[: source.size]
            np.copyto(part, source)
            if low < -self.clip or high > self.clip:
                clipped += int(np.count_nonzero(np.abs(part) > self.clip))
                np.clip(part, -self.clip, self.clip, out=part)
            part *= factor
            # A clipped value times bound / clip can exceed the bound by a relative 2^-52. Rounding to the nearest takes
            # that back; at random it could become one more step, so that it is cut off before. Within ±bound, which are
            # whole numbers, neither ⌊x⌋ nor ⌈x⌉ lies beyond.
            if dice is None:
                np.rint(part, out=part)
            else:
                np.clip(part, -self.bound, self.bound, out=part)
                _round_at_random(part, dice(part.size), whole[: part.size], uniform[: part.size])
            np.copyto(out[start : start + _CHUNK], part, casting="unsafe")
        return clipped


def is_number(value: object) -> bool:
    """Whether it is one finite number, of Python's or of numpy's."""
    most = sys.float_info.max  # compared with, whole numbers of any length are none; nor is NaN
    return isinstance(value, int | float | np.integer | np.floating) and bool(-most <= value <= most)


def _round_at_random(values: _Floats, words: npt.NDArray[np.uint32], whole: _Floats, uniform: _Floats) -> None:
    """Round x to ⌊x⌋ + ⌊x − ⌊x⌋ + u·2^−32⌋, in place; the last two arrays are scratch.

    Apart from ⌊x⌋, because x + u·2^−32 would take more bits than a float64 has, and be rounded itself. The sum here is
    at most 2 − 2^−32, so that it adds 0 or 1, and exact to 2^−53.
    """
    np.floor(values, out=whole)
    values -= whole
    values += np.multiply(words, 2.0**-_DICE_BITS, out=uniform)
    np.floor(values, out=values)
    values += whole


def not_finite(values: npt.NDArray[np.floating[Any]], name: str, *, what: str = "update") -> ConfigurationError:
    """Return the error of values that are not all finite: it names the first that is not.

    Args:
        values: floats, one-dimensional.
        name: what they are called.
        what: they are part of.
    """
    position = int(np.flatnonzero(~np.isfinite(values))[0])
    return ConfigurationError(
        f"{what} {name!r} holds {values[position]} at flat index {position}: every value must be finite "
        f"(a learning rate ten times smaller is the usual cure)"
    )
