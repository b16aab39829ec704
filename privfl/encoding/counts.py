"""Whole numbers inside a bounded vector: exact through the sum, whatever their size.

A number up to `maximum` is written in base bound + 1, a coordinate a digit. Sums of digits are digits of sums (they
may exceed the base; nothing carries until the sum is read), so counts add up exactly. The highest digit is stretched
over more than half the range of a coordinate, so that a suite whose sum carries noise disturbs it little.
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

    >>> code = CountCode(maximum=1000, bound=127)
    >>> code.digits, code.decode(sum(code.encode(n) for n in (3, 1000, 517)))
    (2, 1520)
    """

    maximum: int
    bound: int
    name: str = "count"

    def __post_init__(self) -> None:
        if type(self.maximum) is not int or self.maximum < 1:
            raise ConfigurationError(
                f"the maximum of {self.name!r} is {self.maximum!r}: a whole number from 1 up works"
            )
        if self.bound < 1:
            raise ConfigurationError(f"the bound of a coordinate is {self.bound}: 1 or more works")

    @property
    def digits(self) -> int:
        """Coordinates that the count takes."""
        digits, reach = 1, self.bound
        while reach < self.maximum:
            digits, reach = digits + 1, reach * (self.bound + 1) + self.bound
        return digits

    @property
    def _stretch(self) -> int:
        top = self.maximum // int((self.bound + 1) ** (self.digits - 1))
        return self.bound // top

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
        base, numerals = self.bound + 1, []
        for _ in range(self.digits):
            count, numeral = divmod(count, base)
            numerals.append(numeral)
        numerals[-1] *= self._stretch
        return np.array(numerals, np.int32)

    def decode(self, total: npt.NDArray[np.integer] | Sequence[int]) -> int:
        """Read the sum of encoded counts from the sum of their digits."""
        numerals = [int(numeral) for numeral in total]
        numerals[-1] = round(numerals[-1] / self._stretch)
        return sum(numeral * (self.bound + 1) ** power for power, numeral in enumerate(numerals))
