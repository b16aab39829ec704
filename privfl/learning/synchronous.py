"""Rounds that all begin together: a cohort is drawn, trains the same model, and uploads until the round closes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from privfl.learning.cohort import Losses, draw_cohort, draw_dropouts
from privfl.learning.fleet import Fleet
from privfl.learning.job import Job
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import (
    PATIENCE_S,
    PAUSE_S,
    SETTLES_S,
    Assignment,
    Model,
    RoundPlan,
    SessionTiming,
    Traffic,
    clock_of,
    looks,
    precedence,
    scripted_because,
    time_session,
    training_seed,
)
from privfl.learning.strategy import Weights
from privfl.learning.trainer import LocalTraining


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
        # A sum is left when as many of these drop out as the threat model allows for.
        self._enough = min(math.ceil(self._fewest / (1 - job.threat.dropout) - 1e-9), job.cohort_size)
        self._clock_s = 0.0

    def plan(self, number: int, model: Model, losses: Losses | None) -> RoundPlan:
        """See `Scheduler.plan`."""
        job, fleet = self._job, self._fleet
        rate = learning_rate_at(job.strategy, number, job.rounds)
        training = replace(job.strategy.local_training(), learning_rate=rate)
        works = self._works(training)
        began_s = self._gathered_at(works)
        roll = None if fleet is None else _Roll(fleet, began_s, works, self._examples)
        cohort = draw_cohort(job, number, roll=roll, losses=losses)
        scripted = draw_dropouts(job, number, cohort)
        timing = SessionTiming(drops=scripted, ends_s=began_s)
        if fleet is not None:
            timing = time_session(
                fleet,
                self._traffic,
                start_s=began_s,
                cohort=cohort,
                scripted=scripted,
                examples_seen={client: works[client].examples_seen(self._examples[client]) for client in cohort},
                goal=job.goal,
                deadline_s=job.cohort.deadline_s,
                precedence=precedence(job, number),
            )
        plan = RoundPlan(
            number=number,
            cohort=cohort,
            drops=timing.drops,
            because={**scripted_because(scripted), **timing.because},
            computed=timing.computed,
            assignments={},
            began_s=began_s,
            ends_s=timing.ends_s,
        )
        held = self._traffic.can_be_held(cohort)  # or nobody need train for it
        assigned = {
            client: Assignment(model=model, training=works[client], seed=training_seed(job, number, client))
            for client in cohort
            if client not in plan.gone and held
        }
        return replace(plan, assignments=assigned)

    def _works(self, training: LocalTraining) -> Mapping[int, LocalTraining]:
        """How each client trains."""
        if self._fleet is None:
            return dict.fromkeys(range(self._job.data.clients), training)
        return {client: self._fleet.work_of(client, training, count) for client, count in enumerate(self._examples)}

    def _gathered_at(self, works: Mapping[int, LocalTraining]) -> float:
        """Return when a round can begin, where clients check in: once so many are there that some may drop out.

        After a while the fewest that a sum may be over are enough, and when patience ends, so are those who are there.
        """
        fleet, at_s = self._fleet, self._clock_s
        if fleet is None or not self._job.cohort.by_presence:
            return at_s
        everyone, settles_s, ends_s = range(self._job.data.clients), at_s + SETTLES_S, at_s + PATIENCE_S
        for _ in looks(len(everyone)):
            roll = _Roll(fleet, at_s, works, self._examples)
            online = [client for client in everyone if fleet.online(client, at_s)]
            there = sum(roll.available(client) for client in online)
            if there >= self._enough or (there >= self._fewest and at_s >= settles_s):
                return at_s
            away = set(everyone) - set(online)
            comes_s = min((fleet.online_from(client, at_s) for client in away), default=math.inf)
            # Those who are there and have too little battery are asked again after a while, if it is being charged.
            charging = fleet.recharges and len(online) >= self._fewest
            at_s = min(
                comes_s, at_s + PAUSE_S if charging else math.inf, settles_s if there >= self._fewest else math.inf
            )
            if at_s >= ends_s:
                return ends_s
        return at_s

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

    def models(self) -> Mapping[int, Weights]:
        """See `Scheduler.models`: between rounds nobody is at work."""
        return {}

    def restore(self, state: Mapping[str, Any], models: Mapping[int, Weights]) -> None:  # noqa: ARG002 - see `models`
        """See `Scheduler.restore`."""
        self._clock_s = clock_of(state)
        if self._fleet is not None:
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
