"""Clipping: what one client adds to a sum has an L2 norm of at most C, whatever it trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.dp.mechanisms import check_number
from privfl.encoding.layout import Arrays, Layout
from privfl.errors import ConfigurationError

_CLIPS: Final = (1e-12, 1e12)
_PIECE: Final = 1 << 13  # sums of squares for which BLAS starts no threads


class Clipping(StrEnum):
    """Which norms are bounded."""

    FLAT = "flat"
    """That of all arrays together, to C."""
    PER_LAYER = "per-layer"
    """That of each of L arrays, to C/√L, which bounds all together to C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """What clipping found. Both are private: they depend on one client's data.

    Attributes:
        norm: L2 norm of all arrays together before clipping.
        factors: what each array was multiplied by, 1.0 where nothing was clipped; by name.
    """

    norm: float = field(repr=False)
    factors: dict[str, float] = field(repr=False)


def clip_update(
    arrays: Arrays, *, clip: float, clipping: Clipping = Clipping.FLAT
) -> tuple[dict[str, npt.NDArray[np.float64]], Clipped]:
    """Clip an update.

    Args:
        arrays: float arrays by name.
        clip: C, in the unit of the update, from 1e-12 to 1e12.
        clipping: which norms are bounded.

    Returns:
        The clipped arrays, float64, and what clipping found.

    Raises:
        ConfigurationError: an array is not of floats or not finite, or the clip is out of range.

    Guarantees:
        1. The L2 norm of what is returned is at most C, up to rounding in float64 (a relative 1e-12). The sensitivity
           of integer modes does not rest on this, but on the exact check of `privfl.dp.rounding`.
        2. Nothing is multiplied by more than 1.

    >>> clipped, found = clip_update({"weight": np.array([3.0, 4.0])}, clip=1.0)
    >>> clipped["weight"].tolist(), found.norm
    ([0.6000000000000001, 0.8], 5.0)
    """
    layout = Layout.of(arrays)
    flat = np.empty(layout.length)
    found = clip_into(arrays, layout, clip=clip, clipping=clipping, out=flat)
    flat *= clip
    return layout.unflatten(flat), found


def clip_into(
    arrays: Arrays, layout: Layout, *, clip: float, clipping: Clipping, out: npt.NDArray[np.float64], scale: float = 1.0
) -> Clipped:
    """Write scale · (clipped update) / C into a vector.

    Args:
        arrays: as the layout says; the caller has checked that they are.
        layout: order of arrays within the vector.
        clip: C.
        clipping: which norms are bounded.
        out: float64, shape (layout.length,); filled. Its norm is at most `scale`, up to rounding.
        scale: a factor, for whoever scales anyway.

    Raises:
        ConfigurationError: NaN or infinity among the values, or the clip is out of range.
    """
    check_clip("clip", clip)
    spans = [(name, place) for name, _, place in layout.spans()]
    norms: dict[str, float] = {}
    for name, place in spans:
        part = out[place]
        np.copyto(part, arrays[name].reshape(-1))
        norms[name] = _norm(part, name)
    norm = math.hypot(*norms.values())
    if clipping is Clipping.FLAT:
        shared = _factor(clip, norm)
        factors = dict.fromkeys(norms, shared)
    else:
        factors = {name: _factor(clip / math.sqrt(len(norms)), each) for name, each in norms.items()}
    for name, place in spans:
        out[place] *= factors[name] / clip * scale
    return Clipped(norm=norm, factors=factors)


def check_clip(key: str, clip: float) -> None:
    """Raise unless a clip is a number that floating point copes with.

    Raises:
        ConfigurationError: it is not.
    """
    check_number(key, clip, *_CLIPS, such_as="1.0")


def _factor(clip: float, norm: float) -> float:
    return clip / norm if norm > clip else 1.0


def _norm(values: npt.NDArray[np.float64], name: str) -> float:
    """The L2 norm. NaN and infinity show in the sum of squares, so that finite updates are read once."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = _squares(values)
    if math.isfinite(squares):
        return math.sqrt(squares)
    if not np.isfinite(values).all():
        position = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ConfigurationError(
            f"update {name!r} holds {values[position]} at flat index {position}: every value must be finite "
            f"(a learning rate ten times smaller is the usual cure)"
        )
    largest = float(np.abs(values).max())  # squares overflow, the norm need not
    return largest * math.sqrt(_squares(values / largest))


def _squares(values: npt.NDArray[np.float64]) -> float:
    parts = (values[start : start + _PIECE] for start in range(0, len(values), _PIECE))
    return sum(float(part @ part) for part in parts)
