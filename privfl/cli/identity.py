"""`privfl identity`: who the clients of a consortium are."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from privfl.cli.exits import Exit
from privfl.errors import ConfigurationError
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity
from privfl.roster import Roster


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "identity",
        help="make identities and rosters",
        description="Make a client's signing key, and the roster of a consortium's public keys. The roster is what "
        "clients trust when the server may lie: hand it out by a way that the server does not control.",
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
    roster.add_argument("--out", type=Path, default=Path("roster.json"), metavar="FILE", help="(roster.json)")
    roster.add_argument("--json", action="store_true", help="print one JSON object")
    roster.set_defaults(call=_roster)


def _new(options: argparse.Namespace) -> int:
    public_path = options.path.with_suffix(".pub")
    if public_path == options.path:
        raise ConfigurationError(f"{options.path} would be its own public key: name the private key alice.pem, say")
    if public_path.exists():
        raise ConfigurationError(f"{public_path} exists already: name another file")
    identity = Identity.generate(OsEntropy())
    _write_new(options.path, identity.to_pem(), mode=0o600)
    _write_new(public_path, identity.public.hex().encode() + b"\n", mode=0o644)
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
    roster = Roster(identities)
    _write_new(options.out, roster.to_json().encode(), mode=0o644)
    answer = {"roster": str(options.out), "clients": len(identities), "digest": roster.digest.hex()}
    print(json.dumps(answer) if options.json else f"wrote {options.out}: {len(identities)} clients, {answer['digest']}")
    return Exit.GOOD


def _public_key(name: str, path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigurationError(f"the public key of client {name}, {path}, cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(
            f"the public key of client {name}, {path}, is no hexadecimal number: give the .pub file, never the .pem"
        ) from None


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist, with its permissions from the first byte on."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already: name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(file, "wb") as opened:
        opened.write(content)
