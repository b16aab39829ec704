"""Numbers as people read them: thin-spaced thousands, real minus signs, units of fitting size.

Everything here takes NaN and infinity calmly, because a report of a run that went wrong is read with most care.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that nobody sees, that turn what follows around, or that steer a terminal; but tabs and newlines."""
THIN_SPACE = "\u202f"  # narrow and unbreakable: a number stays with its unit
MISSING = "–"

_BYTE_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_SECOND_SIZES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_PLAIN_FROM = 1e-4
_PLAIN_BELOW = 1e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit and one precision for a whole column, so that its numbers can be compared by eye.

    Attributes:
        symbol: as it stands in the heading, `MB`.
        size: how many base units (bytes, seconds) make one.
        decimals: digits behind the point.
    """

    symbol: str
    size: float
    decimals: int

    def format(self, value: float | None) -> str:
        """The number alone: the unit stands in the heading.

        >>> Unit(symbol="MB", size=1e6, decimals=2).format(1_234_567)
        '1.23'
        """
        return MISSING if value is None else format_fixed(value / self.size, self.decimals)


def bytes_unit(values: Iterable[float]) -> Unit:
    """The unit that gives the largest of `values` (in bytes) three digits.

    >>> bytes_unit([512, 48_000]).symbol
    'kB'
    """
    return _unit(values, _BYTE_SIZES)


def seconds_unit(values: Iterable[float]) -> Unit:
    """The unit that gives the largest of `values` (in seconds) three digits.

    >>> seconds_unit([0.0004, 0.031]).symbol
    'ms'
    """
    return _unit(values, _SECOND_SIZES)


def visible(text: str) -> str:
    """A text of somebody else's, such as a file's name, on one line and with nothing in it that cannot be seen.

    >>> visible(f"a{chr(10)}verdict: pass{chr(27)}[8m")
    'a�verdict: pass�[8m'
    """
    return UNSEEN.sub("\ufffd", text.replace("\n", "\ufffd").replace("\t", " "))


def format_count(value: int) -> str:
    """A whole number with thin-spaced thousands.

    >>> format_count(-12345) == "−12\u202f345"
    True
    """
    return f"{value:,}".replace(",", THIN_SPACE).replace("-", "−")


def format_fixed(value: float, decimals: int) -> str:
    """A number with a fixed count of decimals; NaN gives a dash and infinity its sign.

    >>> format_fixed(-0.5, 2), format_fixed(float("nan"), 2), format_fixed(float("inf"), 2)
    ('−0.50', '–', '∞')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1e15:  # beyond what a double counts exactly, digits would be invented
        return format_number(value)
    text = f"{value:,.{decimals}f}".replace(",", THIN_SPACE)
    return text.replace("-", "−") if any(digit in "123456789" for digit in text) else text.lstrip("-")


def format_number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; very large and very small ones as powers of ten.

    >>> format_number(0.012345), format_number(1.5e30), format_number(None)
    ('0.0123', '1.50·10³⁰', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING if value is None else format_fixed(value, 0)
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = int(exponent)
    if _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        return format_fixed(value, max(0, digits - 1 - power))
    return f"{mantissa}·10{str(power).translate(_SUPERSCRIPTS)}".replace("-", "−")


def format_probability(value: float) -> str:
    """A small probability, such as δ, with the digits that it was given with.

    >>> format_probability(1e-5), format_probability(2.5e-7), format_probability(0.001)
    ('10⁻⁵', '2.5·10⁻⁷', '0.001')
    """
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    if not exponent:
        return mantissa.replace("-", "−")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}·{power}".replace("-", "−")


def format_percent(fraction: float | None, decimals: int = 1) -> str:
    """A fraction as percent; what is not quite none or all never rounds to 0 % or 100 %.

    >>> format_percent(0.9712) == "97.1\u202f%", format_percent(0.00001) == "<0.1\u202f%"
    (True, True)
    """
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    percent, smallest = 100.0 * fraction, 10.0**-decimals
    shown = format_fixed(percent, decimals)
    if percent > 0.0 and shown == format_fixed(0.0, decimals):
        shown = f"<{format_fixed(smallest, decimals)}"
    elif percent < 100.0 and shown == format_fixed(100.0, decimals):
        shown = f">{format_fixed(100.0 - smallest, decimals)}"
    return f"{shown}{THIN_SPACE}%"


def format_bytes(count: float | None) -> str:
    """A size in decimal units, three significant digits.

    >>> format_bytes(1_234_567) == "1.23\u202fMB", format_bytes(640) == "640\u202fB"
    (True, True)
    """
    if count is None:
        return MISSING
    unit = bytes_unit([count])
    return f"{unit.format(count)}{THIN_SPACE}{unit.symbol}"


def format_seconds(seconds: float | None) -> str:
    """A duration in the unit people would choose.

    >>> format_seconds(0.0123) == "12.3\u202fms", format_seconds(192) == "3\u202fmin 12\u202fs"
    (True, True)
    """
    if seconds is None or math.isnan(seconds):
        return MISSING
    if math.isinf(seconds) or seconds < 100:
        unit = seconds_unit([seconds])
        return f"{unit.format(seconds)}{THIN_SPACE}{unit.symbol}"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{THIN_SPACE}min {whole % 60:02d}{THIN_SPACE}s"
    minutes = round(seconds / 60)
    return f"{format_count(minutes // 60)}{THIN_SPACE}h {minutes % 60:02d}{THIN_SPACE}min"


def format_ratio(value: float, reference: float) -> str:
    """How many times `reference` `value` is; a dash where there is nothing to compare with.

    >>> format_ratio(27.0, 20.0) == "1.35\u202f×", format_ratio(1.0, 0.0)
    (True, '–')
    """
    if not (math.isfinite(value) and math.isfinite(reference) and reference > 0):
        return MISSING
    return f"{format_number(value / reference)}{THIN_SPACE}×"


def power_of_two(exponent: int) -> str:
    """`2` with its exponent raised.

    >>> power_of_two(31)
    '2³¹'
    """
    return f"2{str(exponent).translate(_SUPERSCRIPTS)}"


def _unit(values: Iterable[float], sizes: tuple[tuple[float, str], ...]) -> Unit:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    # The rounding edge (999.7 kB shows as 1.00 MB) is drawn at 999.5 of the smaller unit.
    size, symbol = next((pair for pair in sizes if largest >= 0.9995 * pair[0]), sizes[-1])
    if largest == 0.0:
        size, symbol = next(pair for pair in sizes if pair[0] == 1.0)
    if symbol == "B":
        return Unit(symbol=symbol, size=size, decimals=0)
    shown = largest / size
    decimals = 2 if shown < 9.995 else 1 if shown < 99.95 else 0
    return Unit(symbol=symbol, size=size, decimals=decimals)
