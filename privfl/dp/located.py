"""JSON that remembers its lines, so that a complaint about a file can say where."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from privfl.errors import ConfigurationError

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DEEPEST: Final = 32


class Table(dict[str, Any]):
    """An object of a JSON text.

    Attributes:
        line: where it begins.
        lines: where each of its keys stands.
    """

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def read_json(text: str) -> Any:
    """Parse a JSON text; objects become `Table`, the rest what `json` makes of it.

    Raises:
        ConfigurationError: it is no JSON, names a key twice, holds NaN or Infinity, or nests too deep; names the line.
    """
    value, end = _Reader(text).value(_skip(text, 0), 0)
    end = _skip(text, end)
    if end != len(text):
        raise ConfigurationError(f"line {_line(text, end)}: {text[end : end + 20]!r} follows the end of the JSON value")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._scalars = json.JSONDecoder(parse_constant=self._constant)

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if depth > _DEEPEST:
            self._fail(at, f"lists and objects lie more than {_DEEPEST} deep")
        if self._text.startswith("{", at):
            return self._object(at, depth)
        if self._text.startswith("[", at):
            return self._list(at, depth)
        try:
            return self._scalars.raw_decode(self._text, at)
        except json.JSONDecodeError as error:
            self._fail(error.pos, f"this is no JSON: {error.msg[0].lower()}{error.msg[1:]}")
        except ValueError as error:  # a number of thousands of digits, or NaN
            self._fail(at, str(error))

    def _object(self, at: int, depth: int) -> tuple[Table, int]:
        table = Table(_line(self._text, at))
        at = _skip(self._text, at + 1)
        while not self._text.startswith("}", at):
            if table:
                at = self._expect(",", at)
            if not self._text.startswith('"', at):
                self._fail(at, "this is no JSON: a key in double quotes is expected")
            key, end = self.value(at, depth + 1)
            if key in table:
                self._fail(at, f"key {key!r} stands twice: name it once")
            table.lines[key] = _line(self._text, at)
            at = self._expect(":", _skip(self._text, end))
            table[key], at = self.value(at, depth + 1)
            at = _skip(self._text, at)
        return table, at + 1

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        at = _skip(self._text, at + 1)
        while not self._text.startswith("]", at):
            if values:
                at = self._expect(",", at)
            value, at = self.value(at, depth + 1)
            values.append(value)
            at = _skip(self._text, at)
        return values, at + 1

    def _expect(self, mark: str, at: int) -> int:
        if not self._text.startswith(mark, at):
            self._fail(at, f"this is no JSON: {mark!r} is expected")
        return _skip(self._text, at + 1)

    def _fail(self, at: int, message: str) -> NoReturn:
        raise ConfigurationError(f"line {_line(self._text, at)}: {message}") from None

    @staticmethod
    def _constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number here: a finite one works")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
