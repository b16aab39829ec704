"""Curves through costs at a few sizes, and what they say of larger ones, with intervals.

Two curves are tried: a power, a·x^p, and a constant and a line, b + c·x, which is what a fixed message and a share of
work for each client or parameter add up to. Both have two unknowns and rest on the same points, the largest ones, so
that how far the points lie beside them can be compared. A constant that dominates makes a power look flat, and its
projection far too small; that is why the second is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.report.bench_content import Fit, Form

Array: TypeAlias = npt.NDArray[np.float64]

FEWEST_POINTS: Final = 3
_ALL_OF: Final = 5  # with fewer, an interval says next to nothing
_REWEIGHTINGS: Final = 20
_EXACT: Final = 1e-6  # relative: a curve this close is as close as any
_ALIKE: Final = 0.1  # of logarithms: curves this close say the same
_LARGEST_LOG: Final = 600.0  # below the logarithm of the largest double
# Quantiles of Student's t, 97.5 %, and of F with equal degrees of freedom, 95 %, by degrees of freedom from 1.
_STUDENT: Final = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_FISHER: Final = (161.448, 19.0, 9.2766, 6.3882, 5.0503, 4.2839, 3.7870, 3.4381, 3.1789, 2.9782)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One curve through points, in logarithms of what was measured.

    Attributes:
        form: which.
        first: of a power, the logarithm of a; of a line, the constant b.
        second: the exponent p, or the slope c.
        residual: sum of squared differences of logarithms.
        spare: degrees of freedom: points beyond two.
        covariance: of (first, second), for a relative error of one.
    """

    form: Form
    first: float
    second: float
    residual: float
    spare: int
    covariance: tuple[tuple[float, float], tuple[float, float]]

    @property
    def error(self) -> float:
        """Standard deviation of a measurement's logarithm beside the curve."""
        return math.sqrt(self.residual / self.spare)

    def log_at(self, size: float) -> float:
        """Logarithm of the curve."""
        if self.form is Form.POWER:
            return self.first + self.second * math.log(size)
        return math.log(self.first + self.second * size)

    def spread_at(self, size: float) -> float:
        """Standard deviation of what a measurement of that size would be, in logarithms: the curve's and its own."""
        towards = np.array([1.0, math.log(size) if self.form is Form.POWER else size])
        if self.form is Form.LINE:
            towards /= math.exp(self.log_at(size))
        return self.error * math.sqrt(1.0 + float(towards @ np.array(self.covariance) @ towards))

    def interval_at(self, size: float) -> tuple[float, float]:
        """The 95 % interval of a measurement of that size."""
        middle, half = self.log_at(size), student(self.spare) * self.spread_at(size)
        return _exp(middle - half), _exp(middle + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Both curves through the largest points.

    Attributes:
        power: the power law.
        line: the constant and the line.
        measured: how many points there were.
        smallest: smallest size that the curves rest on.
        largest: largest size.
        level: mean of the measurements' logarithms.
        unsteady: sum of their squared differences from it.
    """

    power: Curve
    line: Curve
    measured: int
    smallest: int
    largest: int
    level: float
    unsteady: float

    @property
    def better(self) -> Curve:
        """The one that the points lie closer to."""
        return self.line if _floor(self.line) < _floor(self.power) else self.power

    @property
    def plausible(self) -> tuple[Curve, ...]:
        """Those that are not clearly worse, by an F ratio at 95 %."""
        most = fisher(self.power.spare) * _floor(self.better)
        return tuple(one for one in (self.power, self.line) if one is self.better or _floor(one) <= most)

    @property
    def flat(self) -> bool:
        """Whether the points tell no growth at all from chance, by an F test at 95 %: a constant explains them."""
        spare = self.power.spare
        return self.unsteady <= _floor(self.better) * (1 + student(spare) ** 2 / spare)

    @property
    def undecided(self) -> bool:
        """Whether both are plausible and part a hundred times beyond the largest size: a line through the origin is
        both, and neither.
        """
        far = 100.0 * self.largest
        apart = abs(self.power.log_at(far) - self.line.log_at(far))
        return len(self.plausible) > 1 and apart > _ALIKE

    def project(self, size: float) -> tuple[float, float, float]:
        """Value, and lower and upper end of its 95 % interval, which holds the intervals of all plausible curves.

        Where no growth is seen, the value is the measured one. The interval still holds what growth may hide in it.

        Guarantees:
            1. Where one form explains the points clearly better than the other, the other has no say.
            2. Where neither does, the interval holds what both say.
        """
        ends = [one.interval_at(size) for one in self.plausible]
        value = _exp(self.level if self.flat else self.better.log_at(size))
        return value, min(value, *(low for low, _ in ends)), max(value, *(high for _, high in ends))

    def fit(self) -> Fit:
        """What a report tells of it."""
        form = Form.CONSTANT if self.flat else self.better.form
        return Fit(
            exponent=self.power.second,
            exponent_error=self.power.error * math.sqrt(self.power.covariance[1][1]),
            used=self.power.spare + 2,
            measured=self.measured,
            smallest=self.smallest,
            form=form,
            constant=self.line.first if form is Form.LINE else 0.0,
            undecided=self.undecided,
        )


def fit_curves(points: Sequence[tuple[int, float]]) -> Curves:
    """Fit both curves through the largest points: the upper half, but five where there are five.

    Args:
        points: (size, measurement), sizes distinct and above 0, measurements finite and above 0.

    Raises:
        ConfigurationError: fewer than three points, or a measurement that has no logarithm.

    References:
        Seber and Lee, Linear Regression Analysis (2003), sections 3.2 and 5.3.1: the variance of a prediction.
    """
    ordered = sorted(points)
    used = ordered[-max(_ALL_OF, math.ceil(len(ordered) / 2)) :]
    sizes_used = len({size for size, _ in used})
    if sizes_used < FEWEST_POINTS:
        raise ConfigurationError(
            f"a curve needs {FEWEST_POINTS} sizes, not {sizes_used}: measure more, such as 10,30,100"
        )
    if not all(size > 0 and math.isfinite(value) and value > 0 for size, value in ordered):
        raise ConfigurationError("a curve needs sizes and measurements above 0")
    sizes, values = (np.array(column, np.float64) for column in zip(*used, strict=True))
    logarithms = np.log(values)
    level = float(logarithms.mean())
    return Curves(
        level=level,
        unsteady=float(((logarithms - level) ** 2).sum()),
        power=_power(sizes, values),
        line=_line(sizes, values),
        measured=len(ordered),
        smallest=int(sizes[0]),
        largest=int(sizes[-1]),
    )


def student(spare: int) -> float:
    """Quantile of Student's t at 97.5 %; beyond ten degrees of freedom by its expansion, within 0.001.

    References:
        Abramowitz and Stegun, 26.7.5.
    """
    if spare <= len(_STUDENT):
        return _STUDENT[spare - 1]
    z = 1.959964
    first = (z**3 + z) / (4 * spare)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * spare**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * spare**3)


def fisher(spare: int) -> float:
    """Quantile of F at 95 %, degrees of freedom alike; beyond ten that of ten, which keeps more curves."""
    return _FISHER[min(spare, len(_FISHER)) - 1]


def _power(sizes: Array, values: Array) -> Curve:
    columns = np.stack([np.ones_like(sizes), np.log(sizes)], axis=1)
    inverse = np.linalg.inv(columns.T @ columns)
    first, second = (float(one) for one in inverse @ columns.T @ np.log(values))
    beside = np.log(values) - columns @ np.array([first, second])
    return Curve(
        form=Form.POWER,
        first=first,
        second=second,
        residual=float(beside @ beside),
        spare=len(sizes) - 2,
        covariance=_pairs(inverse),
    )


def _line(sizes: Array, values: Array) -> Curve:
    """Least squares of relative differences; neither the constant nor the slope is below 0."""
    columns = np.stack([np.ones_like(sizes), sizes], axis=1)
    held: tuple[int, ...] = (0, 1)
    expected = values
    for _ in range(_REWEIGHTINGS):  # relative to the curve, which is not known before
        found = _held(columns / expected[:, None], values / expected, held)
        if found.min() < 0:
            held = tuple(index for index in held if found[index] >= 0)  # values are above 0: one of them stays
            expected = values
            continue
        expected = columns @ found
    weighted = columns[:, held] / expected[:, None]
    covariance = np.zeros((2, 2))
    covariance[np.ix_(held, held)] = np.linalg.inv(weighted.T @ weighted)
    beside = np.log(values / expected)
    return Curve(
        form=Form.LINE,
        first=float(found[0]),
        second=float(found[1]),
        residual=float(beside @ beside),
        spare=len(sizes) - 2,
        covariance=_pairs(covariance),
    )


def _held(columns: Array, values: Array, held: tuple[int, ...]) -> Array:
    scale = np.abs(columns[:, held]).max(axis=0)  # sizes reach millions: solved with columns of one size
    found = np.zeros(2)
    found[list(held)] = np.linalg.lstsq(columns[:, held] / scale, values, rcond=None)[0] / scale
    return found


def _pairs(matrix: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = ((float(one) for one in row) for row in matrix)
    return (a, b), (c, d)


def _floor(curve: Curve) -> float:
    return max(curve.residual, (curve.spare + 2) * _EXACT**2)


def _exp(logarithm: float) -> float:
    return math.exp(max(-_LARGEST_LOG, min(_LARGEST_LOG, logarithm)))
