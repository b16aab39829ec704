"""Floats as bounded integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

MIN_BITS: Final = 2
MAX_BITS: Final = 24  # the significand of a float32 update: more bits would encode nothing
_CLIP_RANGE: Final = (1e-12, 1e12)
_CHUNK: Final = 32_768  # float64 scratch of 256 KiB: stays in the L2 cache


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoint:
    """Signed fixed point: `bits` bits over [−clip, clip].

    x is clipped, scaled by bound / clip and rounded to the nearest integer (ties to even): deterministic, so that
    every suite sums the same integers.

    Attributes:
        clip: largest magnitude kept, in the unit of the update.
        bits: 2 … 24; `bound` = 2^(bits−1) − 1 is the largest integer.

    >>> coder = FixedPoint(clip=1.0, bits=4)
    >>> coder.bound, round(coder.step, 4)
    (7, 0.1429)
    """

    clip: float
    bits: int

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ConfigurationError(
                f"encoding.bits is {self.bits}: a whole number from {MIN_BITS} to {MAX_BITS} works, such as 16"
            )
        low, high = _CLIP_RANGE
        if not (math.isfinite(self.clip) and low <= self.clip <= high):
            raise ConfigurationError(f"encoding.clip is {self.clip}: a number from {low} to {high} works, such as 1.0")

    @property
    def bound(self) -> int:
        """Largest magnitude of an encoded coordinate."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """Width of one quantisation step, in the unit of the update."""
        return self.clip / self.bound

    def encode(
        self, values: npt.NDArray[np.floating[Any]], *, weight: float, out: npt.NDArray[np.int32], name: str
    ) -> int:
        """Clip, weigh, scale and round.

        Args:
            values: floats, any shape with m elements.
            weight: factor in [0, 1], applied after clipping: weight / weight_max.
            out: int32, shape (m,); filled.
            name: what the values are called, for the error.

        Returns:
            How many values were clipped.

        Raises:
            ConfigurationError: NaN or infinity among the values.
        """
        flat = values.reshape(-1)
        clipped = 0
        factor = weight * self.bound / self.clip
        scratch = np.empty(min(_CHUNK, flat.size))
        for start in range(0, flat.size, _CHUNK):
            source = flat[start : start + _CHUNK]
            low, high = float(source.min()), float(source.max())
            if not (math.isfinite(low) and math.isfinite(high)):
                position = start + int(np.flatnonzero(~np.isfinite(source))[0])
                raise ConfigurationError(
                    f"update {name!r} holds {flat[position]} at flat index {position}: every value must be finite "
                    f"(a learning rate ten times smaller is the usual cure)"
                )
            part = scratch[: source.size]
            np.copyto(part, source)
            if low < -self.clip or high > self.clip:
                clipped += int(np.count_nonzero(np.abs(part) > self.clip))
                np.clip(part, -self.clip, self.clip, out=part)
            part *= factor
            np.rint(part, out=part)
            # |part| ≤ bound: a clipped value times bound / clip can exceed bound by a relative 2^-52 only, which
            # rounding takes back.
            np.copyto(out[start : start + _CHUNK], part, casting="unsafe")
        return clipped
