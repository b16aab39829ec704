"""`fleet.*`: what simulated clients run on: how fast, over which links, when they are reachable, for how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from privfl.errors import ConfigurationError

DAY_S: Final = 86_400.0


class Work(StrEnum):
    """What a client that is slower than a typical one does less of."""

    WHOLE = "whole"
    """Nothing: it trains as long as it takes."""
    STEPS = "steps"
    """Local steps: fewer of the same batches."""
    BATCHES = "batches"
    """Examples of a step: as many steps of smaller batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetClients:
    """`[[fleet.client]]`: clients that are told apart from the rest.

    Attributes:
        clients: their numbers, from 0.
        slowdown: training takes them so many times as long as drawn; below 1 is faster.
        link_slowdown: likewise for what their link carries in a second.
        online: seconds of the simulated clock at which they come and go in turn, ascending, beginning with a coming; it
            replaces what is drawn. The last may be `inf`; an empty list is a client that never comes.

    Raises:
        ConfigurationError: a value out of range; the message names its key.
    """

    clients: tuple[int, ...]
    slowdown: float = 1.0
    link_slowdown: float = 1.0
    online: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.clients:
            raise ConfigurationError("fleet.client.clients is empty: the numbers of clients work, such as [0, 1]")
        for key in ("slowdown", "link_slowdown"):
            _require(f"client.{key}", getattr(self, key), 1e-6, 1e6, "10.0")
        moments = self.online or ()
        rising = all(earlier < later for earlier, later in pairwise(moments))
        if len(moments) % 2 or not rising or any(not moment >= 0 for moment in moments):
            raise ConfigurationError(
                f"fleet.client.online is {list(moments)}: pairs of seconds, ascending from 0, at which a client comes "
                f"and goes work, such as [0, 600, 1200, inf]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetJob:
    """`fleet.*`: the devices of a simulated federation.

    What is drawn, is drawn by the job's seed, once for the whole run. A typical client is one that nothing makes slower
    or faster: the median of what is drawn.

    Attributes:
        examples_per_s: training speed of a typical client: gradients of single examples in a second.
        speed_spread: standard deviation of the natural logarithm of clients' speed; 0: all alike.
        slow_fraction: share of the clients that are slow; that share of their number, rounded, is drawn.
        slow_factor: how many times slower these train.
        uplink_mbit_s: what a typical client's link carries to the server, in millions of bits a second.
        downlink_mbit_s: likewise from the server.
        link_spread: standard deviation of the natural logarithm of both, which vary together.
        latency_s: how long a message takes, one way, beside what its bytes take.
        online_s: mean length of the stretches in which a client is reachable; they alternate with others, of
            `offline_s`, and both are exponentially distributed. Always reachable unless given.
        offline_s: mean length of the stretches between.
        available_hours: of every 24, that a client is reachable at all, in one piece that begins at an hour of its own.
        battery_examples: gradients of single examples that a full battery lasts for; no end of them unless given.
        charge_examples_per_s: for how many more in a second it recharges while the client does not train; 0 unless
            given.
        work: what slower clients do less of, in proportion to their speed.
        client: clients told apart.

    Raises:
        ConfigurationError: a value out of range, or half of a pair; the message names its key.
    """

    examples_per_s: float = 200.0
    speed_spread: float = 0.0
    slow_fraction: float = 0.0
    slow_factor: float = 10.0
    uplink_mbit_s: float = 10.0
    downlink_mbit_s: float = 50.0
    link_spread: float = 0.0
    latency_s: float = 0.05
    online_s: float | None = None
    offline_s: float | None = None
    available_hours: float | None = None
    battery_examples: int | None = None
    charge_examples_per_s: float | None = None
    work: Work = Work.WHOLE
    client: tuple[FleetClients, ...] = ()

    def __post_init__(self) -> None:
        for key, least, most, works in (
            ("examples_per_s", 1e-3, 1e9, "200.0"),
            ("speed_spread", 0, 5, "0.5"),
            ("slow_fraction", 0, 1, "0.3"),
            ("slow_factor", 1, 1e6, "10.0"),
            ("uplink_mbit_s", 1e-3, 1e6, "10.0"),
            ("downlink_mbit_s", 1e-3, 1e6, "50.0"),
            ("link_spread", 0, 5, "0.5"),
            ("latency_s", 0, 3600, "0.05"),
            ("online_s", 1, 1e9, "600.0"),
            ("offline_s", 1, 1e9, "60.0"),
            ("available_hours", 0.01, 24, "8.0"),
            ("battery_examples", 1, 1e12, "10000"),
            ("charge_examples_per_s", 0, 1e9, "20.0"),
        ):
            value = getattr(self, key)
            if value is not None:
                _require(key, value, least, most, works)
        if (self.online_s is None) != (self.offline_s is None):
            given, missing = ("online_s", "offline_s") if self.offline_s is None else ("offline_s", "online_s")
            raise ConfigurationError(
                f"fleet.{missing} is missing though fleet.{given} is set: clients come and go with both, such as "
                f"online_s = 600.0 and offline_s = 60.0"
            )
        if self.charge_examples_per_s is not None and self.battery_examples is None:
            raise ConfigurationError(
                "fleet.charge_examples_per_s is set though no battery ever empties: leave it out, or give "
                "fleet.battery_examples, such as 10000"
            )
        named = Counter(number for entry in self.client for number in entry.clients)
        twice = sorted(number for number, times in named.items() if times > 1)
        if twice:
            raise ConfigurationError(f"fleet.client.clients names {twice} more than once: once works")

    @property
    def loses_clients(self) -> bool:
        """Whether it can keep any client from answering: by being away, or by a battery that ends."""
        return (
            self.online_s is not None
            or self.battery_examples is not None
            or (self.available_hours is not None and self.available_hours < DAY_S / 3600)
            or any(entry.online is not None for entry in self.client)
        )

    def check_population(self, clients: int) -> None:
        """Refuse clients that are not there.

        Raises:
            ConfigurationError: `fleet.client` names a number that none of `clients` has.
        """
        strangers = [number for entry in self.client for number in entry.clients if not 0 <= number < clients]
        if strangers:
            raise ConfigurationError(
                f"fleet.client.clients names {strangers}: 0 to {clients - 1} works, because data.clients is {clients}"
            )


def _require(key: str, value: float, least: float, most: float, works: str) -> None:
    if not least <= value <= most:
        raise ConfigurationError(f"fleet.{key} is {value}: {least:g} to {most:g} works, such as {works}")
