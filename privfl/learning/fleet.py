"""A simulated fleet of devices: how fast each trains and sends, when it is reachable, what its battery still holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError
from privfl.learning.data import seed_stream
from privfl.learning.fleet_job import DAY_S, FleetClients, FleetJob, Work
from privfl.learning.presence import Alternating, Daily, Scripted, Trace, offline_from, online_from
from privfl.learning.trainer import LocalTraining

_BYTES_PER_MBIT: Final = 125_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What one client trains on and sends over.

    Attributes:
        number: of the client.
        examples_per_s: gradients of single examples that it computes in a second.
        uplink_bytes_per_s: to the server.
        downlink_bytes_per_s: from the server.
        latency_s: of a message, one way, beside what its bytes take.
    """

    number: int
    examples_per_s: float
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    latency_s: float


class _Charge(NamedTuple):
    """What a battery holds, and since when it has been recharging."""

    examples: float
    since_s: float


class Fleet:
    """The devices of all clients, on a simulated clock that begins at 0 seconds.

    Args:
        job: what they are like.
        clients: how many there are.
        seed: of the job.

    Attributes:
        devices: one per client, in the order of their numbers.

    Guarantees:
        1. The same job, number of clients and seed make the same fleet; a larger number adds clients and leaves those
           before as they are, but for who is slow.
        2. What is said of a moment does not depend on what was asked before, of this client or of another.
        3. Only `spend` and `restore` change anything; `state` holds all that they changed.

    Raises:
        ConfigurationError: `fleet.client` names clients that are not there.
    """

    def __init__(self, job: FleetJob, *, clients: int, seed: int) -> None:
        job.check_population(clients)
        self._job, self._seed = job, seed
        apart = {number: entry for entry in job.client for number in entry.clients}
        self.devices = _devices(job, apart, clients, seed)
        hours_of_own = np.random.default_rng(seed_stream(seed, "fleet/hours")).random(clients)
        self._traces = tuple(
            _traces(job, apart.get(number), number, seed, begins_s=float(hours_of_own[number]) * DAY_S)
            for number in range(clients)
        )
        self._charges: dict[int, _Charge] = {}  # of those that have spent anything; others are full

    def online(self, client: int, at_s: float) -> bool:
        """Tell whether a client is reachable at a moment, 0 or later."""
        return all(trace.at(at_s).online for trace in self._traces[client])

    def online_from(self, client: int, at_s: float) -> float:
        """Return the first moment from `at_s` on at which a client is reachable; infinity if none comes."""
        return online_from(self._traces[client], at_s)

    def offline_from(self, client: int, at_s: float) -> float:
        """Return the first moment from `at_s` on at which a client is not reachable; infinity if none comes."""
        return offline_from(self._traces[client], at_s)

    def training_s(self, client: int, examples_seen: float) -> float:
        """Return how long a client computes so many gradients of single examples."""
        return examples_seen / self.devices[client].examples_per_s

    def work_of(self, client: int, training: LocalTraining, examples: int) -> LocalTraining:
        """Return how a client trains, given how a typical one does.

        Where `fleet.work` says so, a slower client takes fewer steps, or as many with smaller batches, in proportion to
        its speed: as much as it does in the time that a typical client would take, and one step, or batches of one
        example, at least.

        Args:
            client: its number.
            training: how a typical client trains.
            examples: how many this one has.

        Guarantees:
            1. Unless that is less than one step, or batches of one example, training takes no longer than a typical
               client's with as many examples, but for batches that differ in size by one.
        """
        share = self.devices[client].examples_per_s / self._job.examples_per_s
        if self._job.work is Work.WHOLE or share >= 1:
            return training
        batches = math.ceil(examples / training.batch_size)
        steps = training.epochs * batches
        if training.steps is not None:
            steps = min(steps, training.steps)
        if self._job.work is Work.STEPS:
            return replace(training, steps=_in_proportion(steps, share))
        # Batches are even: an epoch of 17 examples at 16 a step has two of about 8, and it is these that shrink.
        return replace(training, batch_size=_in_proportion(examples / batches, share), steps=steps)

    def battery(self, client: int, at_s: float) -> float:
        """Return for how many gradients of single examples a client's battery lasts; infinity without batteries."""
        if self._job.battery_examples is None:
            return math.inf
        full = float(self._job.battery_examples)
        charge = self._charges.get(client)
        if charge is None:
            return full
        idle_s = max(0.0, at_s - charge.since_s)
        return min(full, charge.examples + idle_s * (self._job.charge_examples_per_s or 0.0))

    @property
    def recharges(self) -> bool:
        """Whether a battery that is not full ever fills."""
        return self._job.battery_examples is not None and bool(self._job.charge_examples_per_s)

    def spend(self, client: int, examples_seen: float, at_s: float) -> None:
        """Take from a client's battery what its training takes; it recharges from the end of the training on.

        Args:
            client: its number.
            examples_seen: gradients of single examples that it computes; no more than the battery lasts for count.
            at_s: when it begins.
        """
        if self._job.battery_examples is None or examples_seen <= 0:
            return
        left = self.battery(client, at_s)
        spent = min(float(examples_seen), left)
        self._charges[client] = _Charge(left - spent, at_s + self.training_s(client, spent))

    def state(self) -> dict[str, Any]:
        """Return what training has changed, for JSON: batteries that are not full, and since when they recharge."""
        return {"batteries": {str(client): list(charge) for client, charge in sorted(self._charges.items())}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            ConfigurationError: it is not of this fleet; nothing has changed.
        """
        charges: dict[int, _Charge] = {}
        try:
            for client, (examples, since_s) in state["batteries"].items():
                charges[int(client)] = _Charge(float(examples), float(since_s))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigurationError("the fleet's batteries are not as `Fleet.state` writes them: take those") from None
        full = self._job.battery_examples or 0
        for client, (examples, since_s) in charges.items():
            if client not in range(len(self.devices)) or not (0 <= examples <= full and 0 <= since_s < math.inf):
                raise ConfigurationError(f"the battery of client {client} is not of this fleet: take its own state")
        self._charges = charges


def _in_proportion(whole: float, share: float) -> int:
    """A share of a number, rounded down, at least 1. What a float falls short of a whole number by is none."""
    return max(1, math.floor(whole * share + 1e-9))


def _devices(job: FleetJob, apart: Mapping[int, FleetClients], clients: int, seed: int) -> tuple[Device, ...]:
    """Draw every client's device; each quality has a stream of its own, so that changing one leaves the others."""
    speeds = job.examples_per_s * _spread(job.speed_spread, clients, seed, "fleet/speed")
    slow = np.random.default_rng(seed_stream(seed, "fleet/slow")).permutation(clients)
    speeds[slow[: round(job.slow_fraction * clients)]] /= job.slow_factor
    links = _BYTES_PER_MBIT * _spread(job.link_spread, clients, seed, "fleet/link")
    for number, entry in apart.items():
        speeds[number] /= entry.slowdown
        links[number] /= entry.link_slowdown
    return tuple(
        Device(
            number=number,
            examples_per_s=float(speeds[number]),
            uplink_bytes_per_s=float(links[number]) * job.uplink_mbit_s,
            downlink_bytes_per_s=float(links[number]) * job.downlink_mbit_s,
            latency_s=job.latency_s,
        )
        for number in range(clients)
    )


def _spread(deviation: float, clients: int, seed: int, purpose: str) -> NDArray[np.float64]:
    """Factors of median 1, shape (clients,), whose natural logarithm is normal with that deviation."""
    return np.exp(deviation * np.random.default_rng(seed_stream(seed, purpose)).standard_normal(clients))


def _traces(job: FleetJob, apart: FleetClients | None, client: int, seed: int, *, begins_s: float) -> tuple[Trace, ...]:
    """Comings and goings of a client, which is reachable when all of them have it so."""
    if apart is not None and apart.online is not None:
        return (Scripted(apart.online),)
    traces: list[Trace] = []
    if job.online_s is not None and job.offline_s is not None:
        traces.append(Alternating(seed, client, job.online_s, job.offline_s))
    if job.available_hours is not None and job.available_hours * 3600 < DAY_S:
        traces.append(Daily(begins_s, job.available_hours * 3600))
    return tuple(traces)
