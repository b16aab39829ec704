"""`privfl identity ca` and `cert`: a consortium's private certificate authority, and TLS certificates under it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privfl.cli.exits import Exit
from privfl.cli.new_files import write_pair
from privfl.errors import ConfigurationError

if TYPE_CHECKING:
    from privfl.primitives.certificates import Authority, Issued

_YEARS: Final = 3650
_YEAR: Final = 365


def register(kinds: argparse._SubParsersAction[Any]) -> None:
    """Add what the verb can make."""
    ca = kinds.add_parser(
        "ca",
        help="make a certificate authority",
        description="Make a consortium's private certificate authority: a private key (readable by its owner only) "
        "and, beside it, the certificate with suffix .crt. Hand the certificate to every party. The key makes "
        "certificates, and a coordinator or broker never needs it: keep it elsewhere.",
        epilog="example: privfl identity ca ca.pem --name 'Five hospitals'",
    )
    ca.add_argument("path", type=Path, metavar="FILE", help="the private key, such as ca.pem; nothing is overwritten")
    ca.add_argument("--name", default="privfl consortium", metavar="TEXT", help="what people see (%(default)s)")
    ca.add_argument("--days", type=int, default=_YEARS, metavar="N", help="until it expires (%(default)s)")
    ca.add_argument("--json", action="store_true", help="print one JSON object")
    ca.set_defaults(call=_ca)

    cert = kinds.add_parser(
        "cert",
        help="make a TLS certificate",
        description="Make a private key (readable by its owner only) and, beside it, its certificate with suffix .crt: "
        "for a server under the names and addresses that clients connect to, or with --client for a client.",
        epilog="example: privfl identity cert server.pem --ca ca.pem --host fl.example.org --host 192.0.2.7",
    )
    cert.add_argument("path", type=Path, metavar="FILE", help="the private key; nothing is overwritten")
    cert.add_argument("--ca", type=Path, required=True, metavar="FILE", help="the authority's key, its .crt beside it")
    cert.add_argument("--host", action="append", default=[], metavar="NAME", help="a DNS name or an IP address")
    cert.add_argument("--client", action="store_true", help="for a client; --host may then be left out")
    cert.add_argument("--name", metavar="TEXT", help="what people see (the first host, or FILE's name)")
    cert.add_argument("--days", type=int, default=_YEAR, metavar="N", help="until it expires (%(default)s)")
    cert.add_argument("--json", action="store_true", help="print one JSON object")
    cert.set_defaults(call=_cert)


def _ca(options: argparse.Namespace) -> int:
    from privfl.primitives.certificates import Authority  # noqa: PLC0415 - X.509 is loaded where it is used

    authority = Authority.generate(options.name, options.days)
    return _written(options.path, authority.issued, {}, as_json=options.json)


def _cert(options: argparse.Namespace) -> int:
    if not options.host and not options.client:
        raise ConfigurationError("--host is missing: name what clients connect to, such as --host localhost")
    name = options.name
    if name is None:  # it is shown, no more: of a long one the beginning will do
        name = (options.host[0] if options.host else options.path.stem)[:64]
    issued = _authority(options.ca).issue(options.host, name=name, days=options.days, client=options.client)
    told = {"hosts": options.host, "for": "client" if options.client else "server"}
    return _written(options.path, issued, told, as_json=options.json)


def _authority(path: Path) -> Authority:
    from privfl.primitives.certificates import Authority  # noqa: PLC0415 - likewise

    try:
        return Authority.from_pem(path.read_bytes(), path.with_suffix(".crt").read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"--ca {path}: {error.filename} cannot be read: {error.strerror}; `privfl identity ca` makes both files"
        ) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"--ca {path}: {error}") from None


def _written(path: Path, issued: Issued, told: dict[str, object], *, as_json: bool) -> int:
    certificate = write_pair(path, issued.key_pem, ".crt", issued.certificate_pem)
    expires = f"{issued.expires:%Y-%m-%d}"
    answer = {"private": str(path), "certificate": str(certificate), "expires": expires, **told}
    print(json.dumps(answer) if as_json else f"wrote {path} (keep it secret) and {certificate}, good until {expires}")
    return Exit.GOOD
