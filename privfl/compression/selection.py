"""Which coordinates travel: drawn from a public seed, or those where the model's weights are largest.

Either follows from what every party knows, so that no client tells which it sends, and sums are over the same ones.
Either is the first of all coordinates in an order that leaves nothing open, by key and among equal keys by index: the
choice is the same on every machine, whichever algorithm finds it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import not_finite
from privfl.encoding.layout import Arrays, Layout
from privfl.errors import ConfigurationError
from privfl.primitives.prg import public_words

_MATRIX_AXES: Final = 2
_TWO_DIGITS: Final = Context(prec=2, rounding=ROUND_UP)

Coordinates = npt.NDArray[np.int64]
"""Indices into the vector of an update, ascending, none twice."""


def random_coordinates(length: int, count: int, seed: bytes) -> Coordinates:
    """Draw coordinates without replacement.

    Args:
        length: m, how many there are.
        count: how many are chosen, 1 to m.
        seed: 16 public bytes, the same for all clients of a sum and new for each sum.

    Returns:
        int64, shape (count,), ascending.

    Raises:
        ValueError: the count is out of range.

    Guarantees:
        1. The key of coordinate i is word i of the seed's expansion, and the least keys are chosen: the same on every
           machine.
        2. Every set is as likely as any other over seeds, to m²·2^−65: the probability that two keys are equal.

    >>> random_coordinates(10, 4, bytes(16)).tolist()
    [0, 1, 3, 6]
    """
    if not 1 <= count <= length:
        raise ValueError(f"{count} of {length} coordinates: 1 to {length} work")
    return _least(public_words(seed, length), count)


def random_coordinates_beside(layout: Layout, fraction: float, whole: Collection[str], seed: bytes) -> Coordinates:
    """Draw a fraction of the coordinates of most arrays, and take some arrays whole.

    Args:
        layout: names and shapes.
        fraction: of the coordinates of the others, above 0, up to 1.
        whole: names of those that are taken whole.
        seed: as for `random_coordinates`.

    Returns:
        int64, shape (`kept_at_random`,), ascending.

    Raises:
        ConfigurationError: no coordinate would be drawn.
    """
    count, drawn_from = kept_at_random(layout, fraction, whole), np.ones(layout.length, bool)
    for name, _, place in layout.spans():
        drawn_from[place] = name not in whole
    others = np.flatnonzero(drawn_from)
    drawn = random_coordinates(len(others), count - (layout.length - len(others)), seed)
    drawn_from[others[drawn]] = False
    return np.flatnonzero(~drawn_from).astype(np.int64, copy=False)


def largest_coordinates(weights: Arrays, layout: Layout, fraction: float) -> Coordinates:
    """Choose the coordinates at which a model's weights are largest.

    Of all arrays with two axes or more together, a fraction is chosen: the largest magnitudes, and of equal ones those
    at lower indices. Arrays with fewer axes (biases, scales) are small and matter much: they are kept whole.

    Args:
        weights: the model, as the layout says; compared as float32.
        layout: names and shapes.
        fraction: of the entries of matrices, above 0, up to 1.

    Returns:
        int64, shape (`kept_by_magnitude`,), ascending.

    Raises:
        ConfigurationError: no entry of a matrix would be kept, or all that are kept are 0; or a weight is not finite.

    A matrix all of whose entries are 0 beside others is never chosen from, and so never moves: see
    `require_all_can_move`.

    Guarantees:
        1. No entry that is left out has a larger magnitude than one that is kept, and none of equal magnitude a lower
           index.
        2. How many are kept follows from layout and fraction.
    """
    layout.check(weights)
    count = kept_by_magnitude(layout, fraction)
    keys = np.full(layout.length, -np.inf, np.float32)  # of what is kept whatever its magnitude
    largest = 0.0
    for name, shape, place in layout.spans():
        if len(shape) < _MATRIX_AXES or place.start == place.stop:
            continue
        part = keys[place]
        with np.errstate(over="ignore"):  # what no float32 holds is infinite, and refused as such
            np.abs(weights[name].reshape(-1), out=part, casting="same_kind")
        highest = float(part.max())
        if not math.isfinite(highest):
            raise not_finite(part, name, what="array")
        largest = max(largest, highest)
        np.negative(part, out=part)
    if not largest:
        raise ConfigurationError(
            "compression.keep is 'magnitude', and magnitudes that are all 0 choose nothing: a model whose matrices are "
            "not all 0 works, or compression.keep = 'random'"
        )
    return _least(keys, count)


def require_all_can_move(weights: Arrays, layout: Layout) -> None:
    """Refuse a model of which a matrix begins at 0, where magnitudes choose: it would stay there.

    Raises:
        ConfigurationError: names the matrix.
    """
    for name, shape in layout.entries:
        if len(shape) >= _MATRIX_AXES and weights[name].size > 0 and not np.any(weights[name]):
            raise ConfigurationError(
                f"compression.keep is 'magnitude', and all of {name!r} is 0: it would never be chosen, nor move; "
                f"compression.keep = 'random' works"
            )


def kept_at_random(layout: Layout, fraction: float, whole: Collection[str] = ()) -> int:
    """Return how many coordinates a fraction of them is, with those of arrays that are taken whole.

    Raises:
        ConfigurationError: it is none of the others.
    """
    taken = sum(math.prod(shape) for name, shape in layout.entries if name in whole)
    return taken + _part(layout.length - taken, fraction, "coordinates")


def kept_by_magnitude(layout: Layout, fraction: float) -> int:
    """Return how many coordinates `largest_coordinates` chooses, whatever the weights.

    Raises:
        ConfigurationError: no entry of a matrix is among them.
    """
    entries = sum(math.prod(shape) for _, shape in layout.entries if len(shape) >= _MATRIX_AXES)
    if not entries:
        raise ConfigurationError(
            "compression.keep is 'magnitude', but no array of the model has two axes or more: 'random' works"
        )
    return layout.length - entries + _part(entries, fraction, "entries of matrices")


def _part(count: int, fraction: float, what: str) -> int:
    """Return ⌊fraction · count⌋, the fraction being the decimal number that was written: 0.29 of 100 is 29."""
    part = math.floor(Fraction(str(float(fraction))) * count)
    if not part:
        least = _TWO_DIGITS.divide(Decimal(1), Decimal(max(count, 1)))
        raise ConfigurationError(
            f"compression.fraction is {fraction}, and of {count} {what} nothing is kept: {float(least)} or more works"
        )
    return part


def _least(keys: npt.NDArray[Any], count: int) -> Coordinates:
    """Return the indices of the `count` least keys, ascending; of equal keys, those at lower indices."""
    last = np.partition(keys, count - 1)[count - 1]
    chosen = keys <= last
    beyond = np.count_nonzero(chosen) - count
    if beyond:  # several are as large as the last
        chosen[np.flatnonzero(keys == last)[-beyond:]] = False
    return np.flatnonzero(chosen).astype(np.int64, copy=False)
