"""Whole numbers inside a bounded vector: exact through the sum, whatever their size.

A number up to `maximum` is written digit by digit, a coordinate each. Sums of digits are digits of sums (they may
exceed the base; nothing carries until the sum is read), so counts add up exactly. Every digit is stretched over as much
of a coordinate's range as it can take, and where the suite's sum carries an error the base is so small that the stretch
exceeds twice the error: rounding takes it away, digit by digit.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class CountCode:
    """How one count is laid over coordinates.

    Attributes:
        maximum: largest count of one client.
        bound: largest magnitude of a coordinate.
        name: what the count is called, for errors.
        error: largest error of a coordinate of the sum.

    >>> code = CountCode(maximum=1000, bound=127)
    >>> code.digits, code.decode(sum(code.encode(n) for n in (3, 1000, 517)))
    (2, 1520)
    >>> code = CountCode(maximum=1000, bound=127, error=9)
    >>> code.digits, code.decode(sum(code.encode(n) for n in (3, 1000, 517)) + [9, -7, 2, -9])
    (4, 1520)
    """

    maximum: int
    bound: int
    name: str = "count"
    error: int = 0

    def __post_init__(self) -> None:
        if type(self.maximum) is not int or self.maximum < 1:
            raise ConfigurationError(
                f"the maximum of {self.name!r} is {self.maximum!r}: a whole number from 1 up works"
            )
        if self.bound < 1:
            raise ConfigurationError(f"the bound of a coordinate is {self.bound}: 1 or more works")
        if self.bound <= 2 * self.error:
            raise ConfigurationError(
                f"sums are off by up to {self.error}, in which {self.name!r} drowns with coordinates up to "
                f"{self.bound}: take suite 'masking', whose sums are exact, wire 'words', a larger cohort.minimum, or "
                f"a smaller cohort"
            )

    @property
    def digits(self) -> int:
        """Coordinates that the count takes."""
        digits, reach = 1, self._base - 1
        while reach < self.maximum:
            digits, reach = digits + 1, reach * self._base + self._base - 1
        return digits

    @property
    def _base(self) -> int:
        return self.bound // (2 * self.error + 1) + 1

    @property
    def _stretches(self) -> list[int]:
        """What a digit's one is written as; the lowest digit's first."""
        top = self.maximum // int(self._base ** (self.digits - 1))
        return [self.bound // (self._base - 1)] * (self.digits - 1) + [self.bound // top]

    def encode(self, count: int) -> npt.NDArray[np.int32]:
        """Return the digits, int32, shape (digits,), lowest first.

        Raises:
            ConfigurationError: the count is not whole, negative, or above the maximum.
        """
        try:
            count = operator.index(count)
        except TypeError:
            raise ConfigurationError(f"{self.name!r} is no whole number: 0 to {self.maximum} works") from None
        if not 0 <= count <= self.maximum:
            raise ConfigurationError(f"{self.name!r} is out of range: 0 to {self.maximum}, the agreed maximum, works")
        numerals = []
        for stretch in self._stretches:
            count, numeral = divmod(count, self._base)
            numerals.append(numeral * stretch)
        return np.array(numerals, np.int32)

    def decode(self, total: npt.NDArray[np.integer] | Sequence[int]) -> int:
        """Read the sum of encoded counts from the sum of their digits."""
        numerals = [round(int(digit) / stretch) for digit, stretch in zip(total, self._stretches, strict=True)]
        return sum(numeral * self._base**power for power, numeral in enumerate(numerals))
