"""Dataclasses as nested tables of TOML: read strictly, key by key, and written whole."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from privfl.errors import ConfigurationError

OFFERED: Final = "offered"
"""In a field's metadata: the members of its enumeration that a table may name; all unless given."""

_LISTS: Final[Mapping[object, list[object]]] = {str: ["0.*"], float: [0.1, 0.5]}
T = TypeVar("T")


def read_table(kind: type[T], table: object, prefix: str = "") -> T:
    """Make a value of a dataclass from a nested table, as TOML reads it.

    Args:
        kind: the dataclass; its fields are numbers, texts, truth values, enumerations, tuples, or dataclasses again.
        table: what was read.
        prefix: what its keys are called in errors, with a dot at the end.

    Raises:
        ConfigurationError: a key or value is not right.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{prefix.rstrip('.')} is {table!r}: a table works, such as [{prefix.rstrip('.')}]")
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind) if entry.init}  # type: ignore[arg-type]  # dataclasses only
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {prefix}{near[0]}? " if near else ""
            raise ConfigurationError(f"{prefix}{key} is not a key of a job: {hint}known are {_listed(known, prefix)}")
    missing = [name for name, entry in known.items() if name not in table and _required(entry)]
    if missing:
        raise ConfigurationError(f"{prefix}{missing[0]} is missing: give it a value")
    return kind(
        **{
            key: _value(hints[key], value, f"{prefix}{key}", known[key].metadata.get(OFFERED))
            for key, value in table.items()
        }
    )


def _required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _value(hint: Any, value: Any, key: str, offered: Sequence[Enum] | None = None) -> Any:
    origin, choices = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _value(next(choice for choice in choices if choice is not types.NoneType), value, key)
    if origin is tuple:
        if not isinstance(value, list):
            sample = _LISTS.get(choices[0], [0, 1])
            raise ConfigurationError(f"{key} is {value!r}: a list works, such as {sample}")
        return tuple(_value(choices[0], item, key) for item in value)
    if is_dataclass(hint):
        return read_table(hint, value, f"{key}.")  # type: ignore[arg-type]  # a class, not an instance
    if isinstance(hint, type) and issubclass(hint, Enum):
        if value not in [member.value for member in hint]:
            names = " or ".join(repr(member.value) for member in offered or hint)
            raise ConfigurationError(f"{key} is {value!r}: {names} works")
        return hint(value)
    return _plain_value(hint, value, key)


def _plain_value(hint: Any, value: Any, key: str) -> Any:
    samples = {
        bool: "true or false",
        int: "a whole number such as 10",
        float: "a number such as 0.1",
        str: "a text in quotes",
    }
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigurationError(f"{key} is {value!r}: {samples[hint]} works")
    return value


def _listed(known: Mapping[str, Any], prefix: str) -> str:
    return ", ".join(f"{prefix}{name}" for name in known)


def override(table: dict[str, Any], setting: str) -> None:
    """Change one value of a nested table.

    Args:
        table: changed in place.
        setting: `key=value` with a dotted key; the value is TOML, or else a string.

    Raises:
        ConfigurationError: it is not of that form.
    """
    key, found, text = setting.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not found or not all(path):
        raise ConfigurationError(f"--set {setting!r}: key=value works, such as --set suite=plain")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or a number or a depth beyond what is read
        value = text.strip()
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"--set {setting!r}: {part} is a value, not a table")
        table = inner
    table[path[-1]] = value


def write_table(value: Any) -> str:
    """Write a dataclass as TOML, defaults included; what is None is left out."""
    top: list[str] = []
    tables: list[str] = []
    _write(value, (), top, tables)
    return "\n".join(top + tables).lstrip("\n") + "\n"


def _write(value: Any, path: tuple[str, ...], lines: list[str], tables: list[str]) -> None:
    for entry in fields(value):
        item = getattr(value, entry.name)
        if item is None or not entry.init:
            continue
        if is_dataclass(item):
            inner: list[str] = []
            deeper: list[str] = []
            _write(item, (*path, entry.name), inner, deeper)
            tables += ["", f"[{'.'.join((*path, entry.name))}]", *inner, *deeper]
        elif isinstance(item, tuple) and item and is_dataclass(item[0]):
            for element in item:
                inner = []
                _write(element, (*path, entry.name), inner, [])
                tables += ["", f"[[{'.'.join((*path, entry.name))}]]", *inner]
        else:
            lines.append(f"{entry.name} = {_literal(item)}")


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's strings and numbers are TOML's, except for the few floats that neither a job nor JSON knows.
    return json.dumps(value) if isinstance(value, str) else repr(value)
