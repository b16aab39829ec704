"""Where secrets come from."""

from __future__ import annotations

import os
from typing import Protocol


class Entropy(Protocol):
    """A source of secret random bytes."""

    def token_bytes(self, length: int) -> bytes:
        """Return `length` fresh bytes."""
        ...


class OsEntropy:
    """The operating system's generator: the only source in production (`privfl.testing` has another, for vectors)."""

    def token_bytes(self, length: int) -> bytes:
        """Return `length` fresh bytes from the operating system."""
        return os.urandom(length)
