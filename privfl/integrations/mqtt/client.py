"""A client of a coordinator that is behind a broker."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Final

from privfl.errors import ConfigurationError
from privfl.integrations.consortium import Participant
from privfl.integrations.http import Joined
from privfl.integrations.mqtt.address import Access
from privfl.integrations.mqtt.tunnel import Tunnel
from privfl.primitives.signatures import Identity

_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")


def join(
    participant: Participant,
    *,
    access: Access,
    name: str,
    ca: Path,
    identity: Identity,
    number: int,
    client_certificate: tuple[Path, Path] | None = None,
    stop: threading.Event | None = None,
    give_up_after_s: float | None = None,
) -> str:
    """Take part in a coordinator's run until it is over, through a broker.

    Args:
        participant: answers steps.
        access: to the broker.
        name: in the coordinator's certificate, such as "coordinator.example": the broker could show another's.
        ca: PEM file of the authority that the coordinator's certificate must come from; no other is trusted.
        identity: as in `privfl.integrations.http.Joined`, and so are the others.
        number: likewise.
        client_certificate: likewise.
        stop: likewise.
        give_up_after_s: likewise.

    Returns:
        As `Joined.run`.

    Raises:
        ConfigurationError: the name or a file does not do.
        PrivflError: as `Joined.run`.
    """
    if not _HOST.fullmatch(name):
        raise ConfigurationError(
            f"name is {name!r}: the name in the coordinator's certificate works, such as 'coordinator.example'"
        )
    with Tunnel(access) as tunnel:
        joined = Joined(
            participant,
            url=f"https://{name}",
            ca=ca,
            identity=identity,
            number=number,
            client_certificate=client_certificate,
            stop=stop,
            give_up_after_s=give_up_after_s,
            uds=tunnel.path,
        )
        tunnel.on_ring(joined.rouse)
        return joined.run()
