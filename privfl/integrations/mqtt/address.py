"""Where a broker is, who one is there, and what topics are called."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from privfl.errors import ConfigurationError
from privfl.integrations.http.tls import client_context
from privfl.integrations.mqtt.frames import NAME_BYTES, Way
from privfl.primitives.certificates import common_name

PORT: Final = 8883
PREFIX: Final = "privfl"
WORKS: Final = "'mqtts://broker.example:8883' works, or 'mqtts://broker.example:8883/privfl' with a prefix of topics"
_MOST_USER_LENGTH: Final = 64
_LEVELS: Final = re.compile(r"[A-Za-z0-9._-]{1,64}(/[A-Za-z0-9._-]{1,64}){0,7}")
_NAME: Final = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}")
_WAYS: Final = {Way.UP: "up", Way.DOWN: "down"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker, and the part of its topics that is a consortium's.

    Attributes:
        host: name or address, which its certificate names.
        port: of its listener for MQTT over TLS.
        prefix: what all topics begin with.
    """

    host: str
    port: int = PORT
    prefix: str = PREFIX

    @classmethod
    def parse(cls, url: str) -> Broker:
        """Read a URL.

        Raises:
            ConfigurationError: it is none, or not mqtts.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, PORT if parts.port is None else parts.port
        except ValueError as error:
            raise ConfigurationError(f"broker {url!r} is no URL ({error}): {WORKS}") from None
        prefix = parts.path.strip("/") or PREFIX
        if parts.scheme != "mqtts" or not host or not port or "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigurationError(f"broker is {url!r}: {WORKS}")
        if not _LEVELS.fullmatch(prefix):
            raise ConfigurationError(
                f"broker {url!r} has {prefix!r} for a prefix of topics: letters, digits, '.', '_' and '-' work, with "
                f"'/' between levels, such as {PREFIX!r}"
            )
        return cls(host=host, port=port, prefix=prefix)

    @property
    def here(self) -> str:
        """The topic on which the coordinator says how things stand."""
        return f"{self.prefix}/here"

    def stream(self, way: Way, user: str, name: bytes) -> str:
        """Return a stream's topic."""
        return f"{self.prefix}/{_WAYS[way]}/{user}/{name.hex()}"

    def streams(self, way: Way, user: str = "+") -> str:
        """Return what all streams' topics match, or those of one user."""
        return f"{self.prefix}/{_WAYS[way]}/{user}/+"

    def stream_of(self, topic: str, way: Way) -> tuple[str, bytes] | None:
        """Return user and name of the stream that a topic is for; None: it is no stream's."""
        levels = topic.removeprefix(f"{self.prefix}/{_WAYS[way]}/").split("/")
        if not topic.startswith(f"{self.prefix}/{_WAYS[way]}/") or len(levels) != 2:
            return None
        user, name = levels
        if not _is_user(user) or not _NAME.fullmatch(name):
            return None
        return user, bytes.fromhex(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a party gets at its broker.

    Attributes:
        broker: which.
        user: what the broker calls the party, from its certificate.
        context: of TLS with the broker.
    """

    broker: Broker
    user: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, broker: Broker, *, ca: Path, certificate: Path, key: Path) -> Access:
        """Read a party's papers.

        Args:
            broker: which.
            ca: PEM file of the authority that the broker's certificate must come from.
            certificate: PEM file of the party's own, as a client; the broker takes its common name for a user's name.
            key: PEM file with its private key.

        Raises:
            ConfigurationError: a file does not do.
        """
        context = client_context(ca, own=(certificate, key))
        try:
            user = common_name(certificate.read_bytes())
        except ConfigurationError as error:
            raise ConfigurationError(f"{certificate} is {error}") from None
        if not _is_user(user):
            raise ConfigurationError(
                f"{certificate} is for {user!r}, which is no name in topics: up to {_MOST_USER_LENGTH} printable "
                "characters without '/', '+', '#' and '$' work, such as `privfl identity cert --client --name alice`"
            )
        return cls(broker=broker, user=user, context=context)


def _is_user(user: str) -> bool:
    return 0 < len(user) <= _MOST_USER_LENGTH and user.isprintable() and not set(user) & set("/+#$")
