"""Rounds that all begin together: a cohort is drawn, trains the same model, and uploads until the round closes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from privfl.learning.cohort import Losses, draw_cohort, draw_dropouts
from privfl.learning.fleet import Fleet
from privfl.learning.job import Job
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import Assignment, Model, RoundPlan, Traffic, merged, scripted_because, training_seed
from privfl.learning.timing import time_closing, time_uploads
from privfl.learning.trainer import LocalTraining
from privfl.session import Phase

PAUSE_S: Final = 60.0
"""Simulated seconds until a round that came to nothing is followed by the next."""
_PATIENCE_S: Final = 14 * 24 * 3600.0


class Synchronous:
    """Plans rounds in which all train the current model.

    Args:
        job: the run's.
        fleet: the clients' machines; without one no time passes, and nobody is absent but by script.
        examples: training examples of every client, by which its time and its battery go.
        traffic: what messages weigh.
    """

    def __init__(self, job: Job, *, fleet: Fleet | None, examples: Sequence[int], traffic: Traffic) -> None:
        self._job = job
        self._fleet = fleet
        self._examples = examples
        self._traffic = traffic
        self._fewest = job.fewest_contributors(job.cohort_size)
        self._clock_s = 0.0

    def plan(self, number: int, model: Model, losses: Losses | None) -> RoundPlan:
        """See `Scheduler.plan`."""
        job, fleet = self._job, self._fleet
        rate = learning_rate_at(job.strategy, number, job.rounds)
        training = replace(job.strategy.local_training(), learning_rate=rate)
        began_s = self._gathered_at(training)
        roll = None if fleet is None else _Roll(fleet, began_s, self._works(fleet, training), self._examples)
        cohort = draw_cohort(job, number, roll=roll, losses=losses)
        drops, ends_s = draw_dropouts(job, number, cohort), began_s
        because = scripted_because(drops)
        computed: Mapping[int, int] = {}
        works: Mapping[int, LocalTraining] = dict.fromkeys(cohort, training)
        if fleet is not None:
            works = self._works(fleet, training)
            drops, lost, computed, ends_s = self._timed(fleet, began_s, cohort, works, drops)
            because |= lost
        plan = RoundPlan(
            number=number,
            cohort=cohort,
            drops=drops,
            because=because,
            computed=computed,
            assignments={},
            began_s=began_s,
            ends_s=ends_s,
        )
        assigned = {
            client: Assignment(model=model, training=works[client], seed=training_seed(job, number, client))
            for client in cohort
            if client not in plan.gone
        }
        return replace(plan, assignments=assigned)

    def _works(self, fleet: Fleet, training: LocalTraining) -> Mapping[int, LocalTraining]:
        return {client: fleet.work_of(client, training, count) for client, count in enumerate(self._examples)}

    def _timed(
        self,
        fleet: Fleet,
        began_s: float,
        cohort: tuple[int, ...],
        works: Mapping[int, LocalTraining],
        scripted: Mapping[Phase, frozenset[int]],
    ) -> tuple[dict[Phase, frozenset[int]], dict[int, str], Mapping[int, int], float]:
        """Let the fleet work: who drops out and why, what each computes, and when the sum is open."""
        job, traffic = self._job, self._traffic
        if len(cohort) < self._fewest:
            return dict(scripted), {}, {}, began_s
        timing = time_uploads(
            fleet,
            start_s=began_s,
            cohort=cohort,
            examples_seen={client: works[client].examples_seen(self._examples[client]) for client in cohort},
            download_bytes=traffic.model_bytes(),
            key_bytes=traffic.key_bytes(cohort),
            upload_bytes=traffic.upload_bytes(cohort),
            goal=job.goal,
            deadline_s=job.cohort.deadline_s,
            already_gone=scripted,
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
        because = {**timing.because, **why}
        return merged(drops, {Phase.UNMASK: vanished}), because, timing.computed, ends_s

    def _gathered_at(self, training: LocalTraining) -> float:
        """Return when a round can begin: where clients check in, once there are enough of them."""
        fleet, at_s = self._fleet, self._clock_s
        if fleet is None or not self._job.cohort.by_presence:
            return at_s
        everyone, works = range(self._job.data.clients), self._works(fleet, training)
        while at_s < self._clock_s + _PATIENCE_S:
            roll = _Roll(fleet, at_s, works, self._examples)
            if sum(roll.available(client) for client in everyone) >= self._fewest:
                return at_s
            comes_s = min((fleet.online_from(c, at_s) for c in everyone if not fleet.online(c, at_s)), default=math.inf)
            # Those who are there and have too little battery are asked again after a while.
            flat = any(fleet.online(client, at_s) and not roll.available(client) for client in everyone)
            at_s = min(comes_s, at_s + PAUSE_S if flat else math.inf)
        return self._clock_s

    def finish(self, plan: RoundPlan, *, released: bool) -> None:
        """See `Scheduler.finish`."""
        self._clock_s = plan.ends_s
        if self._fleet is None:
            return
        if not released:
            self._clock_s += PAUSE_S  # or the same clients would be absent again, for ever
        for client, examples_seen in plan.computed.items():
            self._fleet.spend(client, examples_seen, plan.began_s)

    def state(self) -> dict[str, Any]:
        """See `Scheduler.state`."""
        return {"clock_s": self._clock_s, "fleet": None if self._fleet is None else self._fleet.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Scheduler.restore`."""
        self._clock_s = state["clock_s"]
        if self._fleet is not None and state["fleet"] is not None:
            self._fleet.restore(state["fleet"])


@dataclass(frozen=True, slots=True)
class _Roll:
    """Who can be had at a moment, for `draw_cohort`."""

    fleet: Fleet
    at_s: float
    works: Mapping[int, LocalTraining]
    examples: Sequence[int]

    def available(self, client: int) -> bool:
        needed = self.works[client].examples_seen(self.examples[client])
        return self.fleet.online(client, self.at_s) and self.fleet.battery(client, self.at_s) >= needed

    def speed(self, client: int) -> float:
        return self.fleet.devices[client].examples_per_s
