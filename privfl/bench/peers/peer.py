"""What a peer is: another way to average updates, measured beside the suites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from privfl.bench.peers.metering import PeerSession
from privfl.errors import ConfigurationError


def evenly(clients: int, dropout: float) -> frozenset[int]:
    """Return who vanishes before its upload: spread over the cohort."""
    return frozenset(int(number) for number in np.linspace(0, clients - 1, round(dropout * clients)).round())


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer(ABC):
    """A set-up of somebody else's, whose costs can be measured.

    Attributes:
        name: how results name it.
        protection: what it is worth, in a few words.
        package: what it imports.
        install: the command that installs that.

    Guarantees:
        1. `available` imports nothing.
        2. A session gives costs only of a mean that is right: masks that were left in, or functions that mean
           something else in another version, are errors.
        3. What `refuse` refuses, `session` refuses with the same sentence, and the other way round.
    """

    name: str
    protection: str
    package: str
    install: str

    def available(self) -> bool:
        """Tell whether its package is installed."""
        return find_spec(self.package) is not None

    def skipped(self) -> str | None:
        """Say why it is left out, and what installs it; None if it is installed."""
        return None if self.available() else f"{self.package!r} is not installed: {self.install}"

    def refuse(self, parameters: int, clients: int, dropout: float) -> str | None:
        """Say in one sentence why this cannot be measured, and what can; None if it can.

        Args:
            parameters: coordinates of an update.
            clients: how many.
            dropout: fraction that vanishes before its upload.
        """
        if not 0 <= dropout < 1:
            return f"dropout is {dropout}: 0 to below 1 works, such as 0.1"
        return self.obstacle(parameters, clients, evenly(clients, dropout) if clients > 0 else frozenset())

    def session(self, parameters: int, clients: int, dropped: frozenset[int]) -> PeerSession:
        """Play a session and measure it.

        Args:
            parameters: coordinates of an update.
            clients: how many; their numbers start at 0.
            dropped: who vanishes before its upload, having done whatever comes before that.

        Raises:
            ConfigurationError: it cannot be measured so; or the mean is off, or the installed version has not what is
                called.
            MissingExtra: its package is not installed.
        """
        obstacle = self.obstacle(parameters, clients, dropped)
        if obstacle is not None:
            raise ConfigurationError(obstacle)
        return self._session(parameters, clients, dropped)

    def versions(self) -> dict[str, str]:
        """Return the version of its package, by name."""
        return {self.package: version(self.package)}

    def obstacle(self, parameters: int, clients: int, dropped: frozenset[int]) -> str | None:
        """Say in one sentence what speaks against a session; arguments as those of `session`."""
        for key, value in (("parameters", parameters), ("clients", clients)):
            if value < 1:
                return f"{key} is {value}: at least 1 works"
        strangers = dropped - frozenset(range(clients))
        if strangers:
            return f"dropped names {min(strangers)}: numbers from 0 to {clients - 1} work"
        if len(dropped) == clients:
            return f"all of {clients} clients vanish: a dropout of {1 - 1 / clients:.3g} works"
        return None

    @abstractmethod
    def _session(self, parameters: int, clients: int, dropped: frozenset[int]) -> PeerSession:
        """Play a session that nothing speaks against."""
