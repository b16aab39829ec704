"""Who the clients of a consortium are: numbers and Ed25519 identities, agreed outside every session.

In the active model a client trusts its roster and nothing else that the server says about identities. It is public;
what matters is that every party holds the same one, which its digest (part of the session parameters) makes sure.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from privfl.errors import ConfigurationError
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import IDENTITY_BYTES, Identity, check_identity
from privfl.primitives.transcript import digest

_FORMAT: Final = "privfl-roster-1"
_WORDS: Final = frozenset({"format", "clients", "expires"})
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Roster:
    """The identities of a consortium.

    Attributes:
        identities: client number to Ed25519 public key, 32 bytes.
        expires: from when on nobody may rely on it, in whole seconds, UTC; None: never. It is part of the digest: who
            holds a roster cannot lengthen its life.

    Raises:
        ConfigurationError: a key is malformed, or stands for two clients (one party could pose as many); or the date of
            expiry is none that can be written.
    """

    identities: Mapping[int, bytes]
    expires: datetime | None = None

    def __post_init__(self) -> None:
        if not self.identities:
            raise ConfigurationError("the roster names no client: list at least three")
        owners: dict[bytes, int] = {}
        for number, identity in self.identities.items():
            if type(number) is not int or not 0 <= number < 2**32:
                raise ConfigurationError(f"the roster names client {number!r}: numbers from 0 to 2^32 − 1 work")
            if len(identity) != IDENTITY_BYTES:
                raise ConfigurationError(f"the identity of client {number} is malformed: {IDENTITY_BYTES} bytes work")
            check_identity(identity)
            if identity in owners:
                raise ConfigurationError(
                    f"clients {owners[identity]} and {number} have the same identity: each needs a key of its own"
                )
            owners[identity] = number
        object.__setattr__(self, "identities", dict(sorted(self.identities.items())))
        if self.expires is not None:
            object.__setattr__(self, "expires", _whole_utc(self.expires))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over numbers and identities in order and, if there is one, the date of expiry; 32 bytes."""
        parts = [number.to_bytes(4, "big") + identity for number, identity in self.identities.items()]
        if self.expires is not None:
            # Eight bytes, and its length is hashed before it: no client's part, of 36, can pass for it.
            parts.append(int(self.expires.timestamp()).to_bytes(8, "big"))
        return digest(Label.ROSTER, *parts)

    def require_current(self) -> None:
        """Raise if the roster has expired, as this machine's clock has it.

        Whoever would sign, encrypt or answer because of a roster asks this first; what was signed while it was current
        can be checked for ever.

        Raises:
            ConfigurationError: it has.
        """
        if self.expires is not None and _now() >= self.expires:
            raise ConfigurationError(
                f"the roster expired at {self.expires:{_TIME}}: ask whoever keeps it for a new one (`privfl identity "
                f"roster --days 365 …` makes it)"
            )

    def require(self, cohort: Iterable[int]) -> None:
        """Raise unless every client of a cohort is on the roster.

        Raises:
            ConfigurationError: names the first who is not.
        """
        for number in cohort:
            if number not in self.identities:
                raise ConfigurationError(f"client {number} is not on the roster: add its identity, or leave it out")

    def to_json(self) -> str:
        """Write the roster out."""
        clients = {str(number): identity.hex() for number, identity in self.identities.items()}
        table: dict[str, object] = {"format": _FORMAT, "clients": clients}
        if self.expires is not None:
            table["expires"] = f"{self.expires:{_TIME}}"
        return json.dumps(table, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Roster:
        """Read a roster.

        Raises:
            ConfigurationError: malformed, or a client stands in it twice; names the client. Or it holds a word that
                is not known: one that was meant to limit it would limit nothing.
        """
        try:
            table = json.loads(text, object_pairs_hook=_without_repeats)
        except ConfigurationError:
            raise
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"the roster is not JSON: {error}") from None
        if not isinstance(table, dict) or table.get("format") != _FORMAT or not isinstance(table.get("clients"), dict):
            raise ConfigurationError(f"not a roster: an object with format {_FORMAT!r} and a table of clients works")
        unknown = sorted(table.keys() - _WORDS)
        if unknown:
            raise ConfigurationError(f"the roster holds {unknown[0]!r}: format, clients and expires are known")
        return cls(
            {_number(name): _identity(name, text) for name, text in table["clients"].items()},
            expires=_time(table["expires"]) if "expires" in table else None,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Roster:
        """Read a roster from a file.

        Raises:
            ConfigurationError: the file cannot be read, or is no roster.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the roster {path} cannot be read: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            # A word of its own, or a client's number.
            what = f"client {name}" if name.isdigit() else f"{name!r}"
            raise ConfigurationError(f"{what} stands in the roster twice: keep one entry")
        table[name] = value
    return table


_MOST_DIGITS: Final = 10  # of a client's number, which has 32 bits


def _number(name: str) -> int:
    # One spelling for each number: "07" and "7" would otherwise be the same client twice.
    if not name.isascii() or not name.isdigit() or len(name) > _MOST_DIGITS or str(int(name)) != name:
        raise ConfigurationError(f"the roster names client {name!r}: whole numbers work, such as 0")
    return int(name)


def _identity(name: str, text: object) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        raise ConfigurationError(f"the identity of client {name} is no hexadecimal number") from None


def _now() -> datetime:
    return datetime.now(UTC)


def _whole_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ConfigurationError(f"the roster's expires is {time}, of no time zone: UTC works")
    time = time.astimezone(UTC)
    if time.microsecond or time.timestamp() < 0:
        raise ConfigurationError(f"the roster's expires is {time}: whole seconds from 1970 on work")
    return time


def _time(text: object) -> datetime:
    try:
        time = datetime.strptime(text, _TIME).replace(tzinfo=UTC) if isinstance(text, str) else None
    except ValueError:
        time = None
    # One spelling for each time, as for each number.
    if time is None or f"{time:{_TIME}}" != text:
        raise ConfigurationError(f"the roster's expires is {text!r}: a time in UTC works, such as 2027-12-31T00:00:00Z")
    return time


@dataclass(frozen=True)
class Credentials:
    """What a client brings to a session in the active model.

    Attributes:
        identity: its own signing key.
        roster: the consortium's identities; trusted because it came from outside the session.
    """

    identity: Identity
    roster: Roster

    def __post_init__(self) -> None:
        given: tuple[object, object] = (self.identity, self.roster)
        if not isinstance(given[0], Identity) or not isinstance(given[1], Roster):
            kinds = " and ".join(type(one).__name__ for one in given)
            raise ConfigurationError(f"credentials are made of {kinds}: Credentials(identity=…, roster=…) works")

    def require_own(self, number: int) -> None:
        """Raise unless the roster lists this identity under that number, and has not expired.

        Raises:
            ConfigurationError: it does not, or has.
        """
        self.roster.require_current()
        if self.roster.identities.get(number) != self.identity.public:
            raise ConfigurationError(f"the roster lists another identity for client {number} than the one given")


def own_identity(path: Path) -> Identity:
    """Return the signing key in a file; make it, readable by its owner alone, if there is none.

    Of several processes that make it at once, one wins, and all get its key.

    Raises:
        ConfigurationError: the file cannot be made or read, or holds no key.
    """
    try:
        if not path.exists():
            _make_identity(path)
        return Identity.from_pem(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made or read: {error.strerror}") from None


def _make_identity(path: Path) -> None:
    # Readable by its owner alone from the first byte on, and whole or not there.
    file, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as target:
            target.write(Identity.generate(OsEntropy()).to_pem())
            target.flush()
            os.fsync(file)
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        Path(beside).unlink()
