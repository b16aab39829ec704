"""Whether clients of a fleet can ever make up a sum: online at once, with the battery for it, before the deadline."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError
from privfl.learning.fleet import Fleet
from privfl.learning.fleet_job import DAY_S, FleetJob
from privfl.learning.timing import time_uploads

if TYPE_CHECKING:
    from privfl.learning.job import Job
    from privfl.learning.scheduling import Traffic

_HORIZON_S: Final = 14 * DAY_S
_MOST_MOVES: Final = 200_000  # comings and goings that are looked at: seconds of work


def require_reachable(job: Job, fleet: Fleet) -> None:
    """Refuse a job whose clients are never there in numbers that a sum can be opened over, or that fill a buffer.

    Two weeks are looked at; where clients come and go too often for that, as much as shows, and nothing is refused.

    Args:
        job: the run's.
        fleet: its clients' machines.

    Raises:
        ConfigurationError: at no moment so many are online; says how many are, and what works.
    """
    clients, wanted = job.data.clients, _wanted(job)
    online = most = looked_at = 0
    moves = heapq.merge(*(_moves(fleet, client) for client in range(clients)))
    for _, change in islice(moves, _MOST_MOVES):  # of those at one moment, goings come first
        online += change
        most, looked_at = max(most, online), looked_at + 1
        if most >= wanted:
            return
    if looked_at == _MOST_MOVES:
        return
    raise ConfigurationError(
        f"fleet has {most} of {clients} clients online at once, at the most, and {_wants(job)}: the job works without "
        f"{keys_of_absence(job.timed or FleetJob())}{_with_fewer(job, most)}"
    )


def require_in_time(job: Job, fleet: Fleet, examples: Sequence[int], traffic: Traffic) -> None:
    """Refuse a job of whose clients too few can train before their batteries are empty, or uploads close.

    They are taken to be online, and their batteries to be full.

    Args:
        job: the run's.
        fleet: its clients' machines, as they are when the run begins.
        examples: of every client, by which its time and its battery go.
        traffic: what messages weigh.

    Raises:
        ConfigurationError: not so many can as a sum is opened over, or fill a buffer; names what works.
    """
    clients, wanted, training = range(job.data.clients), _wanted(job), job.strategy.local_training()
    needs = {
        client: fleet.work_of(client, training, examples[client]).examples_seen(examples[client]) for client in clients
    }
    lasting = sum(fleet.battery(client, 0.0) >= needs[client] for client in clients)
    if lasting < wanted:
        raise ConfigurationError(
            f"fleet.battery_examples is {(job.timed or FleetJob()).battery_examples}, enough for the training of "
            f"{lasting} of {len(clients)} clients, and {_wants(job)}: {sorted(needs.values())[wanted - 1]} works"
        )
    deadline_s = job.cohort.deadline_s
    if deadline_s is None:
        return
    cohort = tuple(range(job.cohort_size))
    timing = time_uploads(
        _always_there(job),
        start_s=0.0,
        cohort=clients,
        examples_seen=needs,
        download_bytes=traffic.model_bytes(),
        key_bytes=traffic.key_bytes(cohort),
        upload_bytes=traffic.upload_bytes(cohort),
    )
    arrivals = sorted(timing.arrivals.values())
    early = sum(arrival <= deadline_s for arrival in arrivals)
    if early < wanted:
        raise ConfigurationError(
            f"cohort.deadline_s is {deadline_s:g}, by when {early} of {len(clients)} clients can have uploaded, and "
            f"{_wants(job)}: {_rounded_up(arrivals[wanted - 1])} works"
        )


def keys_of_absence(fleet: FleetJob) -> str:
    """Name the keys of a fleet that keep clients from being reachable, joined; empty if none does."""
    keys = [
        ("fleet.online_s and fleet.offline_s", fleet.online_s is not None),
        ("fleet.available_hours", fleet.available_hours is not None and fleet.available_hours * 3600 < DAY_S),
        ("fleet.client.online", any(entry.online is not None for entry in fleet.client)),
    ]
    return " and ".join(key for key, is_set in keys if is_set)


def _wanted(job: Job) -> int:
    """Clients that have to be had together."""
    buffering = job.strategy.buffering()
    return job.fewest_contributors(job.cohort_size) if buffering is None else buffering.buffer


def _wants(job: Job) -> str:
    return f"a {'sum' if job.strategy.buffering() is None else 'buffer'} takes {_wanted(job)}"


def _moves(fleet: Fleet, client: int) -> Iterator[tuple[float, int]]:
    """When a client comes, +1, and goes, −1."""
    at_s = 0.0
    while at_s < _HORIZON_S and (at_s := fleet.online_from(client, at_s)) < _HORIZON_S:
        yield at_s, 1
        at_s = fleet.offline_from(client, at_s)
        yield at_s, -1


def _with_fewer(job: Job, most: int) -> str:
    """Name what else works: to be content with those who are there, if anything allows it."""
    try:
        if job.strategy.buffering() is None:
            key, asks = "cohort.minimum", replace(job, cohort=replace(job.cohort, minimum=most))
        else:
            key, asks = "strategy.buffer", replace(job, strategy=replace(job.strategy, buffer=most))
    except ConfigurationError:
        return ""
    return f", or with {key} = {most}" if _wanted(asks) <= most else ""


def _always_there(job: Job) -> Fleet:
    """Return the fleet, the same devices, as if nobody ever went offline."""
    as_is = job.timed or FleetJob()
    apart = tuple(replace(entry, online=None) for entry in as_is.client)
    there = replace(as_is, online_s=None, offline_s=None, available_hours=None, client=apart)
    return Fleet(there, clients=job.data.clients, seed=job.seed)


def _rounded_up(seconds: float) -> float:
    return math.ceil(seconds) if seconds >= 10 else math.ceil(1000 * seconds) / 1000
