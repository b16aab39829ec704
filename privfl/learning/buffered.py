"""Rounds that nobody waits for: clients train when they can, and whoever has trained joins the next buffer of K."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from privfl.learning.cohort import Losses, draw_dropouts
from privfl.learning.data import seed_stream
from privfl.learning.fleet import Fleet
from privfl.learning.job import Job
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import Assignment, Model, RoundPlan, Traffic, merged, scripted_because, training_seed
from privfl.learning.strategy_job import Buffering
from privfl.learning.timing import Lost, time_closing, time_uploads
from privfl.learning.trainer import LocalTraining
from privfl.learning.versions import ModelVersions, model_digest
from privfl.session import Phase

PAUSE_S: Final = 60.0
"""Simulated seconds until the server looks again for clients, where nobody can be had."""
_PATIENCE_S: Final = 14 * 24 * 3600.0


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """One client at work; ordered by when it is over."""

    over_s: float
    client: int
    model: Model = field(compare=False)
    training: LocalTraining = field(compare=False)
    began_s: float = field(compare=False)
    lost: bool = field(compare=False)


class Buffered:
    """Plans buffers: FedBuff, with a secure session for each.

    Clients that have nothing to do, are online and have the battery for it are given the current model, so many of them
    that `concurrency` train at once. Who has trained waits, with its update, until K such clients are there; then these
    hold a session. A client is in a buffer once at most, and no update is offered twice: when the session is over,
    whatever came of it, its clients train anew.

    Args:
        job: the run's.
        buffering: K, and what stale updates are worth.
        fleet: the clients' machines.
        examples: training examples of every client, by which its time and its battery go.
        traffic: what messages weigh.

    Guarantees:
        1. No client is in a buffer twice, and each update is offered to one session at most.
        2. Updates that are more than `strategy.max_staleness` moves behind are thrown away.
        3. `versions` lists the models that the buffer's updates start from, and the current one.

    References:
        Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, *Federated Learning with Buffered Asynchronous
        Aggregation*, AISTATS 2022, algorithm 1. There the buffer is summed in a trusted enclave or by secure
        aggregation among K clients that arrive together; here it is the latter. The sum of the discounts divides the
        mean as well, so that stale buffers do not make short steps (but under differential privacy of clients, where
        the denominator is fixed).
    """

    def __init__(
        self, job: Job, buffering: Buffering, *, fleet: Fleet, examples: Sequence[int], traffic: Traffic
    ) -> None:
        self._job = job
        self._buffering = buffering
        self._fleet = fleet
        self._examples = examples
        self._traffic = traffic
        self._fewest = job.fewest_contributors(job.cohort_size)
        self._clock_s = 0.0
        self._begun = 0  # trainings, ever
        self._tasks: list[_Task] = []
        self._waiting: list[_Task] = []

    def plan(self, number: int, model: Model, losses: Losses | None) -> RoundPlan:  # noqa: ARG002 - nobody is preferred
        """See `Scheduler.plan`; `because` tells as well of clients that were lost while they trained."""
        began_s = self._clock_s
        lost = self._fill(number, model)
        here = sorted(self._waiting, key=lambda task: task.client)
        self._waiting = []
        cohort = tuple(task.client for task in here)
        scripted = draw_dropouts(self._job, number, cohort)
        drops, why, ends_s = self._timed(cohort, scripted)
        used = {model.version: model} | {task.model.version: task.model for task in here}
        plan = RoundPlan(
            number=number,
            cohort=cohort,
            drops=drops,
            because={**lost, **scripted_because(scripted), **why},
            assignments={},
            versions=ModelVersions(
                buffer=number,
                current=model.version,
                digests={version: model_digest(one.weights) for version, one in used.items()},
            ),
            began_s=began_s,
            ends_s=ends_s,
        )
        assigned = {
            task.client: Assignment(
                model=task.model, training=task.training, seed=training_seed(self._job, number, task.client)
            )
            for task in here
            if task.client not in plan.gone
        }
        return replace(plan, assignments=assigned)

    def _fill(self, number: int, model: Model) -> dict[int, str]:
        """Let clients train until K of them wait; return who was lost meanwhile, and why."""
        lost: dict[int, str] = {}
        gives_up_s = self._clock_s + _PATIENCE_S
        while len(self._waiting) < self._buffering.buffer and self._clock_s < gives_up_s:
            self._start(number, model)
            if not self._tasks:
                self._clock_s = min(self._next_arrival_s(), self._clock_s + PAUSE_S)
                continue
            task = min(self._tasks)
            self._tasks.remove(task)
            self._clock_s = max(self._clock_s, task.over_s)
            self._fleet.spend(task.client, task.training.examples_seen(self._examples[task.client]), task.began_s)
            if task.lost:
                lost[task.client] = Lost.WENT_OFFLINE.value
            elif self._buffering.takes(model.version - task.model.version):
                self._waiting.append(task)
            # Whoever has gone while it waited for the others is not there for the session.
            for gone in [task for task in self._waiting if not self._fleet.online(task.client, self._clock_s)]:
                lost[gone.client] = Lost.WENT_OFFLINE.value
                self._waiting.remove(gone)
        return {client: why for client, why in lost.items() if client not in {task.client for task in self._waiting}}

    def _start(self, number: int, model: Model) -> None:
        """Give the current model to idle clients, drawn uniformly, until so many train as may at once."""
        at_s = self._clock_s
        rate = learning_rate_at(self._job.strategy, number, self._job.rounds)
        training = replace(self._job.strategy.local_training(), learning_rate=rate)
        busy = {task.client for task in (*self._tasks, *self._waiting)}
        idle = [
            client for client in range(self._job.data.clients) if client not in busy and self._can(client, training)
        ]
        places = min(self._buffering.concurrency - len(self._tasks), len(idle))
        if places <= 0:
            return
        chance = np.random.default_rng(seed_stream(self._job.seed, f"arrivals/{self._begun}"))
        for client in sorted(int(one) for one in chance.choice(idle, places, replace=False)):
            self._tasks.append(self._task(client, model, self._work(client, training), at_s))
        self._begun += places

    def _work(self, client: int, training: LocalTraining) -> LocalTraining:
        return self._fleet.work_of(client, training, self._examples[client])

    def _can(self, client: int, training: LocalTraining) -> bool:
        needed = self._work(client, training).examples_seen(self._examples[client])
        at_s = self._clock_s
        return self._fleet.online(client, at_s) and self._fleet.battery(client, at_s) >= needed

    def _task(self, client: int, model: Model, training: LocalTraining, at_s: float) -> _Task:
        device = self._fleet.devices[client]
        works_s = self._fleet.training_s(client, training.examples_seen(self._examples[client]))
        arrives_s = at_s + device.latency_s + self._traffic.model_bytes() / device.downlink_bytes_per_s + works_s
        leaves_s = self._fleet.offline_from(client, at_s)
        over_s, lost = min((arrives_s, False), (leaves_s, True))
        return _Task(over_s, client, model, training, at_s, lost)

    def _next_arrival_s(self) -> float:
        everyone, at_s = range(self._job.data.clients), self._clock_s
        return min(
            (self._fleet.online_from(c, at_s) for c in everyone if not self._fleet.online(c, at_s)), default=math.inf
        )

    def _timed(
        self, cohort: tuple[int, ...], scripted: Mapping[Phase, frozenset[int]]
    ) -> tuple[dict[Phase, frozenset[int]], dict[int, str], float]:
        """Time the buffer's session: the clients are there and have trained, so that it takes messages alone."""
        if len(cohort) < self._fewest:
            return dict(scripted), {}, self._clock_s
        traffic = self._traffic
        timing = time_uploads(
            self._fleet,
            start_s=self._clock_s,
            cohort=cohort,
            examples_seen=dict.fromkeys(cohort, 0),
            download_bytes=0,
            key_bytes=traffic.key_bytes(cohort),
            upload_bytes=traffic.upload_bytes(cohort),
            goal=None,
            deadline_s=None,
            already_gone=scripted,
        )
        drops = merged(scripted, timing.drops)
        gone = frozenset().union(*drops.values())
        ends_s, vanished, why = time_closing(
            self._fleet,
            start_s=timing.closed_s,
            contributors=tuple(client for client in cohort if client not in gone),
            bytes_each=traffic.closing_bytes(cohort),
            rounds_trip=traffic.closing_round_trips(cohort),
        )
        return merged(drops, {Phase.UNMASK: vanished}), {**timing.because, **why}, ends_s

    def finish(self, plan: RoundPlan, *, released: bool) -> None:  # noqa: ARG002 - those who failed train anew, too
        """See `Scheduler.finish`."""
        self._clock_s = plan.ends_s

    def state(self) -> dict[str, Any]:
        """See `Scheduler.state`. Work that is under way is lost with the server that it was meant for."""
        return {"clock_s": self._clock_s, "begun": self._begun, "fleet": self._fleet.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Scheduler.restore`."""
        self._clock_s, self._begun = state["clock_s"], state["begun"]
        self._fleet.restore(state["fleet"])
