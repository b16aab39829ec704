"""One client's whole contribution as one bounded vector: update, weight and metrics.

The weight and the metrics are secrets like the update, so they travel as coordinates of the same vector. What the sum
gives back is the weighted mean Σ wᵢxᵢ / Σ wᵢ, the sum of the counts, and the weighted means of the metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import CLIP_RANGE, Dice, FixedPoint, is_number
from privfl.encoding.layout import Arrays, Layout, require_sum
from privfl.errors import ConfigurationError, RoundAborted

_HALF: Final = 0.5
_DEVIATIONS: Final = 9
"""Deviations of a coordinate's error that are allowed for: exceeded in fewer than 2^−61 of them."""


def largest_error(error_std: float) -> int:
    """Return the error of a sum's coordinate that is allowed for, given its standard deviation."""
    return math.ceil(_DEVIATIONS * error_std)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedMean:
    """What the sum of encoded updates says.

    Attributes:
        arrays: Σ wᵢxᵢ / Σ wᵢ by name, float32, in the agreed shapes.
        weight: Σ wᵢ, as the clients' weights were quantised.
        counts: Σ of each count, exact.
        means: weighted mean of each metric.
    """

    arrays: dict[str, npt.NDArray[np.float32]]
    weight: float
    counts: dict[str, int]
    means: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedUpdate:
    """One client's vector, ready for a suite.

    Attributes:
        vector: int32, shape (codec.length,), every magnitude ≤ codec.bound.
        saturated: coordinates of the update that were clipped.
    """

    vector: npt.NDArray[np.int32] = field(repr=False)
    saturated: int = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCodec:
    """The agreed encoding of a contribution.

    The vector is: the update (clipped, weighed by w / weight_max, rounded), the weight, the counts, the means. Only the
    update is ever rounded at random.

    Attributes:
        layout: names and shapes of the update.
        coding: clip and bits.
        weight_max: largest weight of a client; public and fixed. Whole weights are exact while weight_max ≤ bound
            and the suite is.
        counts: name of each count to its largest value.
        means: name of each averaged metric to the largest value that is told apart; greater ones are cut there.
        saturation: name of the count that receives `EncodedUpdate.saturated`, or None.
        error_std: largest standard deviation of a coordinate's error in the sum; 0.0 where the suite is exact. Counts
            are exact in spite of it.
    """

    layout: Layout
    coding: FixedPoint
    weight_max: float
    counts: Mapping[str, int] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)
    saturation: str | None = None
    error_std: float = 0.0

    def __post_init__(self) -> None:
        parts: tuple[object, object] = (self.layout, self.coding)
        if not isinstance(parts[0], Layout) or not isinstance(parts[1], FixedPoint):
            kinds = " and ".join(type(part).__name__ for part in parts)
            raise ConfigurationError(f"layout and coding are {kinds}: Layout.of(arrays) and FixedPoint(…) work")
        if not (is_number(self.weight_max) and self.weight_max > 0):
            raise ConfigurationError(f"weight_max is {self.weight_max!r}: a positive number works, such as 1.0")
        if not (is_number(self.error_std) and self.error_std >= 0):
            raise ConfigurationError(f"error_std is {self.error_std!r}: a number from 0 up works, such as 0.0")
        for name, maximum in self.counts.items():
            CountCode(maximum, self.bound, name, self._slack)
        for name, most in self.means.items():
            if not (math.isfinite(most) and most > 0):
                raise ConfigurationError(f"the maximum of metric {name!r} is {most}: a positive number works")
        if self.saturation is not None and self.saturation not in self.counts:
            raise ConfigurationError(f"saturation count {self.saturation!r} is not among the counts")

    @property
    def bound(self) -> int:
        """Largest magnitude of a coordinate."""
        return self.coding.bound

    @property
    def least_weight(self) -> float:
        """One unit in which weights are written: less could not be told from nothing."""
        return self.weight_max / self._weight_units

    @property
    def length(self) -> int:
        """Coordinates of the vector."""
        digits = sum(self._count_code(name).digits for name in self.counts)
        return self.layout.length + 1 + digits + len(self.means)

    @property
    def _weight_units(self) -> int:
        """What the greatest weight is written as: the largest multiple of a whole weight_max that fits."""
        if float(self.weight_max).is_integer() and self.weight_max <= self.bound:
            return self.bound // int(self.weight_max) * int(self.weight_max)
        return self.bound

    def _weight(self, units: int) -> float:
        """Read a sum of written weights; exactly where weight_max is whole, whatever its size."""
        if float(self.weight_max).is_integer():
            return units * int(self.weight_max) / self._weight_units
        return units * self.weight_max / self._weight_units

    def _check_sum(self, total: npt.NDArray[np.integer], units: int, contributors: int) -> None:
        """Raise unless honest contributions could give this sum, each coordinate off by as much as is allowed for.

        Of a client with weight ŵ (of W units), a value is below ŵ·bound/W + 1 in magnitude, however it was rounded; a
        digit of a count and a metric lie in 0 … bound.
        """
        slack = self._slack
        values, rest = total[: self.layout.length], total[self.layout.length + 1 :]
        reach = (units + slack) * self.bound / self._weight_units + contributors + slack
        fits = (
            max(contributors - slack, 1) <= units <= contributors * self._weight_units + slack
            and max(int(values.max()), -int(values.min())) <= reach  # as Python integers: −2^63 has no int64 magnitude
            and (not rest.size or (int(rest.min()) >= -slack and int(rest.max()) <= contributors * self.bound + slack))
        )
        if not fits:
            raise RoundAborted("the sum is no sum of contributions as agreed: a client sent what no update encodes to")

    def _count_code(self, name: str) -> CountCode:
        return CountCode(self.counts[name], self.bound, name, self._slack)

    @property
    def _slack(self) -> int:
        return largest_error(self.error_std)

    def encode(
        self,
        arrays: Arrays,
        *,
        weight: float = 1.0,
        counts: Mapping[str, int] | None = None,
        means: Mapping[str, float] | None = None,
        dice: Dice | None = None,
    ) -> EncodedUpdate:
        """Encode a contribution.

        Args:
            arrays: the update, as the layout says.
            weight: 0 < weight ≤ weight_max, and more than half of one unit in which weights are written (weight_max /
                bound, roughly): less could not be told from nothing.
            counts: a value for every agreed count except `saturation`.
            means: a finite value ≥ 0 for every agreed metric.
            dice: rolled to round the update at random (`FixedPoint.encode`); None to round it to the nearest.

        Raises:
            ConfigurationError: a name, shape or value is not as agreed, or not finite.
        """
        self.layout.check(arrays)
        counts, means = dict(counts or {}), dict(means or {})
        if not (is_number(weight) and 0 < weight <= self.weight_max):
            raise ConfigurationError(
                f"the weight is outside its range: above 0, up to weight_max = {self.weight_max}, works"
            )
        units = round(weight / self.weight_max * self._weight_units)
        if not units:
            raise ConfigurationError(
                f"the weight vanishes beside weight_max = {self.weight_max}: with {self.coding.bits} bits, "
                f"weights above {self.weight_max / self._weight_units / 2:.3g} work; encoding.bits up to 24 reach lower"
            )
        fraction = units / self._weight_units
        vector = np.empty(self.length, np.int32)
        saturated = sum(
            self.coding.encode(arrays[name], weight=fraction, out=vector[place], name=name, dice=dice)
            for name, _, place in self.layout.spans()
        )
        if self.saturation is not None:
            counts[self.saturation] = saturated
        _same_names("counts", self.counts, counts)
        _same_names("means", self.means, means)
        tail = [np.array([units], np.int32)]
        tail += [self._count_code(name).encode(counts[name]) for name in self.counts]
        for name, maximum in self.means.items():
            value = means[name]
            if not (is_number(value) and value >= 0):
                raise ConfigurationError(f"metric {name!r} is out of range: a finite number from 0 up works")
            tail.append(np.array([round(min(value / maximum, 1.0) * fraction * self.bound)], np.int32))
        vector[self.layout.length :] = np.concatenate(tail)
        return EncodedUpdate(vector=vector, saturated=saturated)

    def too_coarse(self, arrays: Arrays) -> str | None:
        """Say that, rounded to the nearest, nothing is left of an update that is not 0, whatever its weight.

        Of what is smaller than the least clip that there is, nothing need be left. What it says tells of the update:
        it is for the client.

        Args:
            arrays: the update, as the layout says.

        Returns:
            A sentence that names what works; None if something is left, or there was nothing.
        """
        largest = max((float(np.abs(array).max()) for array in arrays.values() if array.size), default=0.0)
        if largest < CLIP_RANGE[0] or round(largest * (self.bound / self.coding.clip)):
            return None
        mantissa, exponent = math.frexp(largest)
        clip = math.ldexp(1.0, exponent - (mantissa == _HALF))  # less than twice the largest: more than half a step
        return (
            f"the update vanishes: it is not 0, and all of it rounds to 0. encoding.bits = {self.coding.bits} is too "
            f"coarse for encoding.clip = {self.coding.clip}: encoding.rounding = 'stochastic' works, "
            f"or encoding.clip = {clip}"
        )

    def decode(self, total: npt.NDArray[np.integer], *, contributors: int) -> WeightedMean:
        """Read the mean from the sum.

        Args:
            total: the sum of encoded vectors, integers, shape (length,).
            contributors: how many are in it.

        Raises:
            ConfigurationError: no whole numbers, or another length.
            RoundAborted: no sum of contributions as agreed: a client wrote what the encoding cannot write, such as a
                negative weight (which would scale the mean without limit).
        """
        require_sum(total, self.length)
        position = self.layout.length
        units = int(total[position])
        self._check_sum(total, units, contributors)
        position += 1
        counts = {}
        for name in self.counts:
            code = self._count_code(name)
            counts[name] = max(0, code.decode(total[position : position + code.digits]))
            position += code.digits
        share = units / self._weight_units
        means = {
            name: max(0.0, float(total[position + i])) * maximum / (self.bound * share)
            for i, (name, maximum) in enumerate(self.means.items())
        }
        mean = (total[: self.layout.length] * (self.coding.step / share)).astype(np.float32)
        return WeightedMean(
            arrays=self.layout.unflatten(mean),
            weight=self._weight(units),
            counts=counts,
            means=means,
        )


def _same_names(what: str, agreed: Mapping[str, object], given: Mapping[str, object]) -> None:
    if agreed.keys() != given.keys():
        raise ConfigurationError(f"{what} {sorted(given)} were given where {sorted(agreed)} are agreed")
