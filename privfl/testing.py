"""For tests and known-answer vectors only: entropy that is not secret."""

from __future__ import annotations

from typing import Final

import numpy as np

from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret

_SPAN_BYTES: Final = 1 << 16


class UnsafeFixedEntropy:
    """Reproducible bytes from a seed. Whoever knows the seed knows every secret drawn: never in production.

    Args:
        unsafe_seed: 16 bytes.
    """

    def __init__(self, unsafe_seed: bytes) -> None:
        self._seed = unsafe_seed
        self._stream = b""
        self._position = 0

    def token_bytes(self, length: int) -> bytes:
        """Return the next `length` bytes of the stream."""
        needed = self._position + length
        if needed > len(self._stream):
            words = np.zeros(-(-needed // _SPAN_BYTES) * _SPAN_BYTES // 4, np.uint32)
            apply_masks(words, [Mask(Secret(self._seed))])
            self._stream = words.tobytes()
        self._position = needed
        return self._stream[needed - length : needed]
