"""Who works on what in a round: the plan that a scheduler makes, and the run carries out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from privfl.errors import ConfigurationError
from privfl.learning.cohort import Losses
from privfl.learning.data import seed_stream
from privfl.learning.fleet import Fleet
from privfl.learning.job import Job
from privfl.learning.strategy import Weights
from privfl.learning.timing import time_closing, time_uploads
from privfl.learning.trainer import LocalTraining
from privfl.learning.versions import ModelVersions
from privfl.session import Phase


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """The global model.

    Attributes:
        weights: its arrays by name.
        version: how often it has moved.
    """

    weights: Weights
    version: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """What one client trains.

    Attributes:
        model: the one that it received.
        training: how.
        seed: of its batches.
    """

    model: Model
    training: LocalTraining
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundPlan:
    """What a round is to be.

    Attributes:
        number: of the round, from 1.
        cohort: clients invited to its session, ascending.
        drops: who falls silent from which phase on.
        because: why: a simulated fleet, or the job's own script and chance.
        computed: gradients of single examples that clients had computed when uploads closed.
        assignments: what those train that upload.
        versions: models that updates may start from; None where all start from the current one.
        began_s: simulated clock when the round began, in seconds.
        ends_s: simulated clock when its sum is open.
    """

    number: int
    cohort: tuple[int, ...]
    drops: Mapping[Phase, frozenset[int]]
    because: Mapping[int, str] = field(default_factory=dict)
    computed: Mapping[int, int] = field(default_factory=dict)
    assignments: Mapping[int, Assignment]
    versions: ModelVersions | None = None
    began_s: float
    ends_s: float

    @property
    def gone(self) -> frozenset[int]:
        """Who has dropped out before the upload."""
        return frozenset().union(*(clients for phase, clients in self.drops.items() if phase is not Phase.UNMASK))


class Traffic(Protocol):
    """What a round's messages weigh, for the simulated clock."""

    def can_be_held(self, cohort: Sequence[int]) -> bool:
        """Whether these are enough for a session, and so many can withstand what the job's threat model says."""
        ...

    def model_bytes(self) -> int:
        """Bytes of the model that a client receives."""
        ...

    def key_bytes(self, cohort: Sequence[int]) -> int:
        """Bytes that a client of this cohort sends before its upload, at most."""
        ...

    def upload_bytes(self, cohort: Sequence[int]) -> int:
        """Bytes of its upload."""
        ...

    def closing_bytes(self, cohort: Sequence[int]) -> int:
        """Bytes that it sends after its upload."""
        ...

    def closing_round_trips(self, cohort: Sequence[int]) -> int:
        """Phases after the upload in which clients answer."""
        ...


class Scheduler(Protocol):
    """Decides who works on what, round by round."""

    def plan(self, number: int, model: Model, losses: Losses | None) -> RoundPlan:
        """Plan a round.

        Args:
            number: from 1.
            model: the current one.
            losses: of the current model, for cohorts that go by them.
        """
        ...

    def finish(self, plan: RoundPlan, *, released: bool) -> None:
        """Take note that a round is over."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as JSON values."""
        ...

    def models(self) -> Mapping[int, Weights]:
        """Return the models that clients are at work on, by version."""
        ...

    def restore(self, state: Mapping[str, Any], models: Mapping[int, Weights]) -> None:
        """Go on from `state` and `models`.

        Raises:
            ConfigurationError: they are not of this job.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTiming:
    """How a session went on a fleet.

    Attributes:
        drops: who falls silent from which phase on, scripted drop-outs among them.
        because: why, of those whom the fleet lost.
        computed: gradients of single examples that clients had computed when uploads closed.
        ends_s: when the sum was open.
    """

    drops: Mapping[Phase, frozenset[int]]
    because: Mapping[int, str] = field(default_factory=dict)
    computed: Mapping[int, int] = field(default_factory=dict)
    ends_s: float


def time_session(
    fleet: Fleet,
    traffic: Traffic,
    *,
    start_s: float,
    cohort: Sequence[int],
    scripted: Mapping[Phase, frozenset[int]],
    examples_seen: Mapping[int, int] | None = None,
    goal: int | None = None,
    deadline_s: float | None = None,
    precedence: Mapping[int, int] | None = None,
) -> SessionTiming:
    """Return how long a session takes on a fleet, from the invitations to the open sum, and who drops out.

    Args:
        fleet: the devices; not changed.
        traffic: what messages weigh.
        start_s: when the cohort is invited.
        cohort: who is.
        scripted: drop-outs that are settled.
        examples_seen: gradients of single examples that each computes once it has the model; none if they come with
            their updates made.
        goal: uploads that are enough; all unless given.
        deadline_s: after `start_s`, when uploads close at the latest.
        precedence: of clients that arrive at the same moment.
    """
    if not traffic.can_be_held(cohort):
        return SessionTiming(drops=scripted, ends_s=start_s)
    timing = time_uploads(
        fleet,
        start_s=start_s,
        cohort=cohort,
        examples_seen=dict.fromkeys(cohort, 0) if examples_seen is None else examples_seen,
        download_bytes=0 if examples_seen is None else traffic.model_bytes(),
        key_bytes=traffic.key_bytes(cohort),
        upload_bytes=traffic.upload_bytes(cohort),
        goal=goal,
        deadline_s=deadline_s,
        already_gone=scripted,
        precedence=precedence or {},
    )
    drops = merged(scripted, timing.drops)
    gone = frozenset().union(*drops.values())
    ends_s, vanished, why = time_closing(
        fleet,
        start_s=timing.closed_s,
        contributors=tuple(client for client in cohort if client not in gone),
        bytes_each=traffic.closing_bytes(cohort),
        rounds_trip=traffic.closing_round_trips(cohort),
    )
    return SessionTiming(
        drops=merged(drops, {Phase.UNMASK: vanished}),
        because={**timing.because, **why},
        computed=timing.computed,
        ends_s=ends_s,
    )


def training_seed(job: Job, number: int, client: int) -> int:
    """Seed of a client's training in a round."""
    return int(seed_stream(job.seed, f"train/{number}/{client}").generate_state(1, np.uint64)[0] >> 1)


def looks(clients: int) -> range:
    """How often a server looks who is there of so many clients, before it gives a round up."""
    return range(max(_MOST_LOOKS // clients, 100))


def precedence(job: Job, number: int) -> dict[int, int]:
    """Return who comes first in a round, of clients that arrive at the same moment: drawn, or some never would."""
    drawn = np.random.default_rng(seed_stream(job.seed, f"precedence/{number}")).permutation(job.data.clients)
    return {client: int(place) for client, place in enumerate(drawn)}


def clock_of(state: Mapping[str, Any]) -> float:
    """Return the simulated clock out of a scheduler's state.

    Raises:
        ConfigurationError: it is none.
    """
    clock_s = float(state["clock_s"])
    if not 0 <= clock_s < math.inf:
        raise ConfigurationError(f"a simulated clock of {clock_s} s: 0 or more works")
    return clock_s


def scripted_because(drops: Mapping[Phase, frozenset[int]]) -> dict[int, str]:
    """Return why those are gone that a job's script, or chance, takes away."""
    return dict.fromkeys(sorted(frozenset().union(*drops.values())), SCRIPTED)


def merged(*drops: Mapping[Phase, frozenset[int]]) -> dict[Phase, frozenset[int]]:
    """Join drop-outs; a client falls silent in the earliest phase that any of them names."""
    first: dict[int, Phase] = {}
    for phase in DROP_PHASES:
        for one in drops:
            for client in one.get(phase, ()):
                first.setdefault(client, phase)
    return {phase: frozenset(c for c, its in first.items() if its is phase) for phase in set(first.values())}


PAUSE_S: Final = 60.0
"""Simulated seconds until a server that has too few clients, or a round that came to nothing, tries again."""
SETTLES_S: Final = 600.0
"""Simulated seconds for which a server that has the fewest clients it may have waits for some that may drop out."""
PATIENCE_S: Final = 14 * 24 * 3600.0
"""Simulated seconds for which a server waits for enough clients to begin a round."""
_MOST_LOOKS: Final = 300_000  # at single clients, in a round: what a machine does in some seconds
SCRIPTED: Final = "silent"
"""Why a client is gone that `failures` takes away."""
DROP_PHASES: Final = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)
