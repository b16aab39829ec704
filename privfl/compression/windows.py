"""A rotation of a vector of any length, without padding.

With p the largest power of two up to m, first the first p coordinates are rotated, then the last p. The two windows
overlap, or meet, so that every coordinate lies in one at least; each has signs of its own, so that what the first has
spread, the second does not gather. Padding to the next power of two would send up to twice as many coordinates.
"""

from __future__ import annotations

from privfl.compression.rotation import SEED_BYTES, Floats, rotate, rotate_back
from privfl.primitives.prg import public_words

_WORDS = SEED_BYTES // 8


def rotate_windows(vector: Floats, seed: bytes) -> Floats:
    """Rotate.

    Args:
        vector: float64, shape (m,), m from 1 up, contiguous; its contents are lost.
        seed: 16 public bytes, the same for all clients of a sum.

    Returns:
        float64, shape (m,): this array.

    Guarantees:
        1. Linear: the rotation of a sum is the sum of rotations, and norms stay, up to rounding in float64.
        2. `rotate_windows_back` undoes it.
        3. Whatever the vector, no coordinate exceeds ‖x‖·√(2 ln(2m/β)/p), but with probability β over seeds. (Those of
           a window are sums of p terms with independent signs; Hoeffding's inequality.)
    """
    for window, of_its_own in _windows(vector, seed):
        _replace(window, rotate(window, of_its_own))
    return vector


def rotate_windows_back(vector: Floats, seed: bytes) -> Floats:
    """Undo `rotate_windows`; as for it."""
    for window, of_its_own in reversed(_windows(vector, seed)):
        _replace(window, rotate_back(window, of_its_own))
    return vector


def _windows(vector: Floats, seed: bytes) -> list[tuple[Floats, bytes]]:
    """Return the windows, in order, each with a seed; one, where the length is a power of two."""
    width = 1 << (len(vector).bit_length() - 1)
    first, last = (words.tobytes() for words in public_words(seed, 2 * _WORDS).reshape(2, _WORDS))
    windows = [(vector[:width], first)]
    return windows if width == len(vector) else [*windows, (vector[-width:], last)]


def _replace(window: Floats, rotated: Floats) -> None:
    if rotated is not window:
        window[:] = rotated
