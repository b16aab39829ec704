"""`privfl identity`: who the parties of a consortium are."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from privfl.cli import identity_certificates
from privfl.cli.exits import Exit
from privfl.cli.new_files import write_new, write_pair
from privfl.errors import ConfigurationError
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

_MOST_DAYS: Final = 3650


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "identity",
        help="make identities, rosters and certificates",
        description="Make a client's signing key, and the roster of a consortium's public keys. The roster is what "
        "clients trust when the server may lie: hand it out by a way that the server does not control. And make a "
        "private certificate authority, and the TLS certificates that connections need.",
        epilog="example: privfl identity new alice.pem && privfl identity roster 0=alice.pub 1=bob.pub 2=carol.pub",
    )
    kinds = parser.add_subparsers(title="what", metavar="WHAT", required=True)

    new = kinds.add_parser(
        "new",
        help="make an Ed25519 identity",
        description="Write a private key (readable by its owner only) and, beside it, the public key with suffix .pub.",
        epilog="example: privfl identity new alice.pem",
    )
    new.add_argument("path", type=Path, metavar="FILE", help="the private key; nothing is overwritten")
    new.add_argument("--json", action="store_true", help="print one JSON object")
    new.set_defaults(call=_new)

    roster = kinds.add_parser(
        "roster",
        help="put public keys together",
        description="Write a roster: client numbers and their public keys.",
        epilog="example: privfl identity roster 0=alice.pub 1=bob.pub 2=carol.pub --out roster.json",
    )
    roster.add_argument("clients", nargs="+", metavar="NUMBER=FILE", help="a client's number and public key")
    roster.add_argument(
        "--days", type=int, metavar="N", help="until it expires: from then on nobody relies on it (default: never)"
    )
    roster.add_argument("--out", type=Path, default=Path("roster.json"), metavar="FILE", help="(roster.json)")
    roster.add_argument("--json", action="store_true", help="print one JSON object")
    roster.set_defaults(call=_roster)

    identity_certificates.register(kinds)


def _new(options: argparse.Namespace) -> int:
    identity = Identity.generate(OsEntropy())
    public_path = write_pair(options.path, identity.to_pem(), ".pub", identity.public.hex().encode() + b"\n")
    answer = {"private": str(options.path), "public": str(public_path), "identity": identity.public.hex()}
    print(json.dumps(answer) if options.json else f"wrote {options.path} (keep it secret) and {public_path}")
    return Exit.GOOD


def _roster(options: argparse.Namespace) -> int:
    identities: dict[int, bytes] = {}
    for entry in options.clients:
        name, found, path = entry.partition("=")
        if not found or not name.isdigit():
            raise ConfigurationError(f"{entry!r} is no client: NUMBER=FILE works, such as 0=alice.pub")
        if int(name) in identities:
            raise ConfigurationError(f"client {name} is given twice: name each client once")
        identities[int(name)] = _public_key(name, Path(path))
    roster = Roster(identities, expires=None if options.days is None else _in_days(options.days))
    write_new(options.out, roster.to_json().encode(), mode=0o644)
    expires = None if roster.expires is None else f"{roster.expires:%Y-%m-%d}"
    answer = {
        "roster": str(options.out),
        "clients": len(identities),
        "digest": roster.digest.hex(),
        "expires": expires,
    }
    good = "" if expires is None else f", good until {expires}"
    said = f"wrote {options.out}: {len(identities)} clients{good}, {answer['digest']}"
    print(json.dumps(answer) if options.json else said)
    return Exit.GOOD


def _in_days(days: int) -> datetime:
    if not 0 < days <= _MOST_DAYS:
        raise ConfigurationError(f"--days is {days}: 1 to {_MOST_DAYS} works, such as 365")
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def _public_key(name: str, path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigurationError(f"the public key of client {name}, {path}, cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(
            f"the public key of client {name}, {path}, is no hexadecimal number: give the .pub file, never the .pem"
        ) from None
