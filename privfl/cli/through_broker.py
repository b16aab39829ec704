"""What `privfl serve` and `privfl join` say about a broker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from privfl.errors import ConfigurationError

if TYPE_CHECKING:  # what MQTT takes is an extra of its own
    from privfl.integrations.consortium import Hall
    from privfl.integrations.mqtt import Access, Bridge


def register_serving(parser: argparse.ArgumentParser) -> None:
    """Add the options of `privfl serve`."""
    through = parser.add_argument_group("clients that come through a broker")
    through.add_argument(
        "--mqtt", metavar="URL", help="mqtts://broker.example:8883, with a prefix of topics behind it (default /privfl)"
    )
    through.add_argument("--broker-ca", type=Path, metavar="CA.crt", help="the authority of the broker's certificate")
    through.add_argument(
        "--broker-certificate",
        type=Path,
        metavar="FILE.crt",
        help="for the broker: privfl identity cert --client --name coordinator",
    )
    through.add_argument("--broker-key", type=Path, metavar="FILE.pem", help="that certificate's private key")


def register_joining(parser: argparse.ArgumentParser) -> None:
    """Add the options of `privfl join`."""
    through = parser.add_argument_group("a coordinator behind a broker (mqtts://…)")
    through.add_argument("--name", metavar="HOST", help="the name in the coordinator's certificate")
    through.add_argument(
        "--broker-ca", type=Path, metavar="CA.crt", help="the authority of the broker's certificate (default: --ca)"
    )


def is_broker(url: str) -> bool:
    """Whether a URL is meant for one, rather than for a coordinator."""
    return url.lower().startswith("mqtt")


def bridge_of(options: argparse.Namespace, hall: Hall, clients: int, *, access: Access, port: int) -> Bridge:
    """Return what brings clients from the broker to the listener at `port`."""
    from privfl.integrations.mqtt.bridge import LEAST_STREAMS, MOST_PER_USER, Bridge  # noqa: PLC0415 - an extra

    everywhere = options.host in {"0.0.0.0", "::", None}  # noqa: S104 - listened at, not by us
    return Bridge(
        hall,
        access,
        host="127.0.0.1" if everywhere else options.host,
        port=port,
        streams=max(LEAST_STREAMS, MOST_PER_USER * clients),
    )


def serving_access(options: argparse.Namespace) -> Access | None:
    """Return the coordinator's access to the broker; None: there is none.

    Raises:
        ConfigurationError: an option is missing, too many, or does not do.
    """
    given = {
        "--broker-ca": options.broker_ca,
        "--broker-certificate": options.broker_certificate,
        "--broker-key": options.broker_key,
    }
    if options.mqtt is None:
        for flag, value in given.items():
            if value is not None:
                raise ConfigurationError(f"{flag} belongs to --mqtt: give --mqtt mqtts://broker.example:8883 beside it")
        return None
    if given["--broker-ca"] is None:
        given["--broker-ca"] = options.client_ca
    for flag, value in given.items():
        if value is None:
            works = "the consortium's ca.crt" if flag == "--broker-ca" else "`privfl identity cert --client` makes both"
            raise ConfigurationError(f"{flag} is missing, and --mqtt needs --broker-ca, -certificate and -key: {works}")
    ca, certificate, key = given.values()
    return _access("--mqtt", options.mqtt, ca, certificate, key)


def joining_access(options: argparse.Namespace) -> Access:
    """Return a client's access to the broker that its URL names.

    Raises:
        ConfigurationError: an option is missing, or does not do.
    """
    if options.name is None:
        raise ConfigurationError(
            "--name is missing: the name in the coordinator's certificate, such as --name coordinator.example; a "
            "broker could show another's"
        )
    if options.certificate is None:
        raise ConfigurationError(
            "--certificate and --key are missing: a broker knows clients by them, and `privfl identity cert alice.pem "
            "--ca ca.pem --client` makes both"
        )
    return _access("URL", options.url, options.broker_ca or options.ca, options.certificate, options.key)


def require_no_broker(options: argparse.Namespace) -> None:
    """See that nothing is said about a broker where there is none.

    Raises:
        ConfigurationError: something is.
    """
    for flag, value in (("--name", options.name), ("--broker-ca", options.broker_ca)):
        if value is not None:
            raise ConfigurationError(f"{flag} is for a coordinator behind a broker: leave it out with {options.url}")


def _access(flag: str, url: str, ca: Path, certificate: Path, key: Path) -> Access:
    from privfl.integrations.mqtt import Access, Broker  # noqa: PLC0415 - an extra

    try:
        broker = Broker.parse(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{flag}: {error}") from None
    return Access.of(broker, ca=ca, certificate=certificate, key=key)
