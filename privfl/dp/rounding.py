"""Conditional stochastic rounding: whole numbers that are right on average, and of a norm that is bounded exactly.

The sensitivity of every integer mode rests on one comparison of whole numbers made here, ‖v‖² ≤ Δ₂², of the very vector
that is sent. Floating point before it (clipping, rotation) decides how good an update arrives, and never how private.

References:
    Kairouz, Liu, Steinke, *The Distributed Discrete Gaussian Mechanism*, ICML 2021, §3.1, Proposition 22.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.primitives.entropy import Entropy
from privfl.primitives.prg import PRG_KEY_BYTES, Stream, spread
from privfl.primitives.secret import Secret

TRIES: Final = 64
"""Roundings tried. With Δ₂ for β = e^(−½), all fail with a probability below β^64 = 2^−46."""
MOST_L2_SQUARED: Final = 1 << 52
_PIECE: Final = 1 << 13  # scratch in the L2 cache, and sums of squares for which BLAS starts no threads


def round_conditionally(
    values: npt.NDArray[np.float64],
    *,
    l2_squared: int,
    out: npt.NDArray[Any],
    entropy: Entropy,
    workers: int = 1,
) -> int:
    """Round to whole numbers, up or down at random, until their norm is within bounds.

    Args:
        values: float64, shape (m,); ‖values‖² should be below Δ₂² by about m/4 (`privfl.dp.integer.rounded_norm`).
        l2_squared: Δ₂², a whole number up to 2^52.
        out: int32 or int64, shape (m,); filled.
        entropy: source of the roundings' keys.
        workers: threads; 1 starts none.

    Returns:
        How many roundings it took. Private: it depends on the values, and so does the time taken.

    Raises:
        ConfigurationError: not even rounding towards zero is within bounds, or a value is not finite.

    Guarantees:
        1. ‖out‖₂² ≤ `l2_squared`, exactly, whatever the values.
        2. Given one rounding, a value x becomes ⌈x⌉ with probability x − ⌊x⌋, to 2^−32. What is rejected biases this by
           less than β; where noise is calibrated for it, that is far below the noise.
    """
    if not 0 < l2_squared <= MOST_L2_SQUARED:
        raise ConfigurationError(f"l2_squared is {l2_squared}: 1 to 2^52 works; a coarser granularity makes it smaller")
    for tries in range(1, TRIES + 1):
        key = Secret(entropy.token_bytes(PRG_KEY_BYTES))
        if _attempt(values, key, l2_squared=l2_squared, out=out, workers=workers):
            return tries
    # Rounding towards zero shrinks every coordinate, so that a vector within the bound stays within. Safe because the
    # bound is all that privacy needs of a rounding: how a vector within it was chosen may depend on the data.
    if _attempt(values, None, l2_squared=l2_squared, out=out, workers=workers):
        return TRIES + 1
    out[:] = 0
    raise ConfigurationError("the vector is longer than its bound or not finite: clip it before it is rounded")


def _attempt(
    values: npt.NDArray[np.float64], key: Secret | None, *, l2_squared: int, out: npt.NDArray[Any], workers: int
) -> bool:
    squares: list[float] = []

    def walk(first: int, last: int) -> None:
        stream = None if key is None else Stream(key, 4 * first)  # pieces are whole blocks of the stream
        words, part = np.empty(_PIECE, np.uint32), np.empty(_PIECE)
        for start in range(first, last, _PIECE):
            source = values[start : min(start + _PIECE, last)]
            piece = part[: len(source)]
            if stream is None:
                np.trunc(source, out=piece)
            else:
                uniform = words[: len(source)]
                stream.fill(uniform)
                np.multiply(uniform, 2.0**-32, out=piece)
                piece += source
                np.floor(piece, out=piece)
            squares.append(float(piece @ piece))
            if squares[-1] > l2_squared or math.isnan(squares[-1]):
                return  # what the cast below would make of such numbers is nobody's business
            np.copyto(out[start : start + len(piece)], piece, casting="unsafe")

    spread(len(values), _PIECE, walk, workers=workers)
    # Exact although in floats. All terms are whole numbers ≥ 0. While partial sums are below 2^53, every sum and every
    # product is a whole number that a float holds, in whichever order they are taken. Once one reaches 2^53, rounding,
    # which is monotone, keeps it and all that contain it at 2^53 or above: too large, and found to be. A value that is
    # not finite makes a sum that is not. So the bound holds if and only if the comparison says so; and if it does,
    # every |v| ≤ 2^26, so that the casts to 32 bits were exact.
    return sum(squares) <= l2_squared
