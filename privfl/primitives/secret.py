"""Bytes that must not be seen."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Secret bytes: never printed, never pickled, compared in constant time.

    Python cannot wipe memory; what this class can do is keep a secret out of logs, tracebacks and dumps, and give
    each reader of the code one word to search for: `reveal`.

    >>> Secret(bytes(16))
    <16 secret bytes>
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key: hashing is not constant-time

    def __repr__(self) -> str:
        return f"<{len(self._value)} secret bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")
