"""How long a round takes on a simulated clock, and who drops out of it: functions of a fleet, without clock or I/O.

The model of a round. The server invites everyone of the cohort at once. Whoever is offline then never answers. The
others answer the phases in which keys are exchanged, two round trips, and meanwhile download the model and train; who
is through with both uploads. Whoever goes offline before its upload has arrived drops out, and so does one whose
battery lasts for less than its training. The server notices at once that somebody is gone and waits for the others:
until enough have uploaded, all have that will, or the deadline has come. Then survivors help to open the sum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from privfl.learning.fleet import Fleet
from privfl.session import Phase

_NO_PRECEDENCE: Final[Mapping[int, int]] = MappingProxyType({})
_NOBODY: Final[Mapping[Phase, frozenset[int]]] = MappingProxyType({})
_AFTER_UPLOADS: Final = frozenset({Phase.CONSISTENCY_CHECK, Phase.UNMASK})
_KEY_MESSAGES: Final = 4  # an invitation and its answer, keys of the others and shares for them


class Lost(StrEnum):
    """Why a client dropped out."""

    OFFLINE = "offline"
    """It was not reachable when it was invited."""
    WENT_OFFLINE = "went offline"
    """The connection was lost before it was through."""
    BATTERY = "battery empty"
    """Its battery lasted for less than its training."""
    LATE = "late"
    """Its upload had not arrived when uploads closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How the uploads of a round went.

    Attributes:
        drops: who falls silent from which phase on; each client once. Whom the caller had gone already is in it.
        because: why, of those whom the fleet lost.
        closed_s: when uploads closed, on the simulated clock.
        arrivals: when each upload that counts had arrived.
        computed: gradients of single examples that each client had computed when uploads closed, or when it was lost;
            of those invited and online, whether their upload counts or not.
    """

    drops: Mapping[Phase, frozenset[int]]
    because: Mapping[int, str]
    closed_s: float
    arrivals: Mapping[int, float]
    computed: Mapping[int, int]


class Closing(NamedTuple):
    """How the opening of the sum went: when it ended, who fell silent from `Unmask` on, and why."""

    end_s: float
    drops: frozenset[int]
    because: Mapping[int, str]


class _Course(NamedTuple):
    """What becomes of a client that nobody stops: its upload has arrived at `until_s`, or it is lost then."""

    client: int
    until_s: float
    lost: tuple[Phase, Lost] | None = None
    trains_from_s: float = math.inf
    trains: float = 0.0  # gradients of single examples, at the most


def time_uploads(
    fleet: Fleet,
    *,
    start_s: float,
    cohort: Collection[int],
    examples_seen: Mapping[int, int],
    download_bytes: int,
    key_bytes: int,
    upload_bytes: int,
    goal: int | None = None,
    deadline_s: float | None = None,
    already_gone: Mapping[Phase, frozenset[int]] = _NOBODY,
    precedence: Mapping[int, int] = _NO_PRECEDENCE,
) -> Timing:
    """Return who uploads when, and who drops out, from the invitations to the close of uploads.

    Args:
        fleet: the devices; not changed.
        start_s: when the cohort is invited.
        cohort: who is.
        examples_seen: gradients of single examples that each has to compute.
        download_bytes: of the model, for one client.
        key_bytes: that one client sends in the phases before the upload; 0 where the suite has none: no time either.
        upload_bytes: of one upload.
        goal: uploads that are enough, 1 or more; all unless given.
        deadline_s: after `start_s`, when uploads close at the latest; never unless given.
        already_gone: drop-outs that are settled. Those of phases before the end of uploads are not waited for; the
            others upload, unless the fleet loses them earlier.
        precedence: of clients that arrive at the same moment: a small one comes first; 0 unless given.

    Guarantees:
        1. Uploads close when `goal` have arrived, when nobody is left to wait for, or at the deadline: whichever is
           first. No upload that counts arrived later, and no more than `goal` count; of two that arrive together, the
           one with the smaller precedence comes first, then the one with the smaller number.
        2. Everyone of the cohort has uploaded, or dropped out in one phase; who drops out after uploading, both.
        3. Without `goal`, a slower client or link never makes uploads close earlier.
    """
    invited = frozenset(cohort)
    gone = {client: phase for phase, clients in already_gone.items() for client in clients & invited}
    courses = [
        _course(
            fleet,
            client,
            start_s=start_s,
            trains=examples_seen[client],
            download_bytes=download_bytes,
            key_bytes=key_bytes,
            upload_bytes=upload_bytes,
        )
        for client in sorted(invited)
        if gone.get(client) in {None, *_AFTER_UPLOADS}
    ]
    through = [course for course in courses if course.lost is None]
    first = sorted((course.until_s, precedence.get(course.client, 0), course.client) for course in through)
    uploads = [(until_s, client) for until_s, _, client in first]
    closed_s = max((course.until_s for course in courses), default=start_s)
    if goal is not None and goal <= len(uploads):
        uploads = uploads[:goal]
        closed_s = min(closed_s, uploads[-1][0])
    if deadline_s is not None:
        closed_s = min(closed_s, start_s + deadline_s)
    arrivals = {client: arrived_s for arrived_s, client in uploads if arrived_s <= closed_s}
    because: dict[int, str] = {}
    for course in courses:
        if course.client not in arrivals:
            noticed = course.lost if course.until_s <= closed_s else None
            gone[course.client], because[course.client] = noticed or (Phase.MASKED_INPUT, Lost.LATE)
    return Timing(
        drops={
            phase: frozenset(client for client, its_phase in gone.items() if its_phase is phase)
            for phase in Phase
            if phase in gone.values()
        },
        because=because,
        closed_s=closed_s,
        arrivals=arrivals,
        computed={
            course.client: _computed(fleet, course, closed_s) for course in courses if course.trains_from_s < math.inf
        },
    )


def time_closing(
    fleet: Fleet, *, start_s: float, contributors: Collection[int], bytes_each: int, rounds_trip: int
) -> Closing:
    """Return when the survivors have helped to open the sum, and who of them fell silent before.

    Args:
        fleet: the devices; not changed.
        start_s: when uploads closed.
        contributors: whose uploads count.
        bytes_each: that one of them sends in all.
        rounds_trip: how many times it is asked; 0 where the suite asks clients for nothing more: nobody is missed.

    Returns:
        When the last has answered or was lost, who was lost, and why; `start_s` if nobody was asked.
    """
    if rounds_trip == 0:
        return Closing(start_s, frozenset(), {})
    end_s, because = start_s, {}
    for client in sorted(contributors):
        device = fleet.devices[client]
        answered_s = start_s + 2 * rounds_trip * device.latency_s + bytes_each / device.uplink_bytes_per_s
        lost_s = fleet.offline_from(client, start_s)
        if lost_s < answered_s:
            because[client] = Lost.WENT_OFFLINE.value
        end_s = max(end_s, min(answered_s, lost_s))
    return Closing(end_s, frozenset(because), because)


def _course(
    fleet: Fleet,
    client: int,
    *,
    start_s: float,
    trains: int,
    download_bytes: int,
    key_bytes: int,
    upload_bytes: int,
) -> _Course:
    lost_s = fleet.offline_from(client, start_s)
    if lost_s <= start_s:
        return _Course(client, start_s, (Phase.ADVERTISE_KEYS, Lost.OFFLINE))
    device = fleet.devices[client]
    keyed_s = start_s
    if key_bytes:
        keyed_s += _KEY_MESSAGES * device.latency_s + key_bytes / device.uplink_bytes_per_s
    trains_from_s = start_s + device.latency_s + download_bytes / device.downlink_bytes_per_s
    lasts = fleet.battery(client, start_s)
    trained_s = trains_from_s + fleet.training_s(client, min(trains, lasts))
    # Who has no power to train answers the phases before all the same: that takes none to speak of.
    ready_s = max(keyed_s, trained_s)
    upload_s = ready_s + device.latency_s + upload_bytes / device.uplink_bytes_per_s
    until_s = upload_s if lasts >= trains else ready_s
    lost: tuple[Phase, Lost] | None = None
    if lost_s < until_s:
        until_s = lost_s
        lost = Phase.SHARE_KEYS if lost_s < keyed_s else Phase.MASKED_INPUT, Lost.WENT_OFFLINE
    elif lasts < trains:
        lost = Phase.MASKED_INPUT, Lost.BATTERY
    return _Course(client, until_s, lost, trains_from_s, min(trains, lasts))


def _computed(fleet: Fleet, course: _Course, closed_s: float) -> int:
    """How much of its training a client was through with when it was lost, or uploads closed."""
    trained_for_s = max(0.0, min(course.until_s, closed_s) - course.trains_from_s)
    through = course.until_s <= closed_s and (course.lost is None or course.lost[1] is Lost.BATTERY)
    done = course.trains if through else trained_for_s * fleet.devices[course.client].examples_per_s
    return math.floor(min(course.trains, done))
