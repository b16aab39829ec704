"""JSON values as journals hold them: in one canonical form, finite, and strictly what is due."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from privfl.errors import ConfigurationError, LedgerError


def facts_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as JSON will give them back; what JSON cannot hold is refused.

    Raises:
        ConfigurationError: names the fact.
    """
    if not isinstance(facts, Mapping):
        raise ConfigurationError(f"facts is a {type(facts).__name__}: a mapping of names to JSON values works")
    normalised: dict[str, Any] = _fact("facts", facts)
    return normalised


def canonical(value: Any) -> bytes:
    """Encode a JSON value in the only form that is accepted back: sorted keys, no spaces, ASCII, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether it is a whole number; True, False and 1.0 are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_keys(body: object, keys: set[str], where: str) -> None:
    """Raise unless a JSON value is an object with these keys and no others.

    Raises:
        LedgerError: it is not.
    """
    found = set(body) if isinstance(body, dict) else None
    if found != keys:
        raise LedgerError(f"{where}: {sorted(found) if found is not None else body!r} where {sorted(keys)} are due")


def hexadecimal(value: object, length: int, where: str) -> str:
    """Return lower-case hex digits of so many bytes: the one way in which they are written.

    Raises:
        LedgerError: it is something else.
    """
    try:
        if isinstance(value, str) and bytes.fromhex(value).hex() == value and len(value) == 2 * length:
            return value
    except ValueError:
        pass
    raise LedgerError(f"{where}: {str(value)[:80]!r} where {2 * length} hexadecimal digits are due")


def _fact(key: str, value: object) -> Any:
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ConfigurationError(f"{key} has a key {name!r}: a string works")
        return {str(name): _fact(f"{key}.{name}", part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_fact(key, part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{key} is {value}: a finite number works; leave it out, or write it as a string")
    if value is None or isinstance(value, str | int | float):
        return json.loads(canonical(value))
    raise ConfigurationError(f"{key} is a {type(value).__name__}: a number, a string, a list or a mapping works")
