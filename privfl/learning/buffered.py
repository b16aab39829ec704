"""Rounds that nobody waits for: clients train when they can, and whoever has trained joins the next buffer of K."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from privfl.errors import ConfigurationError
from privfl.learning.cohort import Losses, draw_dropouts
from privfl.learning.data import seed_stream
from privfl.learning.fleet import Fleet
from privfl.learning.job import Job
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import (
    PATIENCE_S,
    PAUSE_S,
    Assignment,
    Model,
    RoundPlan,
    Traffic,
    clock_of,
    looks,
    scripted_because,
    time_session,
    training_seed,
)
from privfl.learning.strategy import Weights
from privfl.learning.strategy_job import Buffering
from privfl.learning.timing import Lost
from privfl.learning.trainer import LocalTraining
from privfl.learning.versions import ModelVersions, model_digest


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
        1. No client is in a buffer twice, and each update is offered to one session at most. A run that goes on after a
           crash holds the same sessions, of the same updates.
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
        # The clients are there and have trained: the session takes messages alone.
        timing = time_session(self._fleet, self._traffic, start_s=self._clock_s, cohort=cohort, scripted=scripted)
        used = {model.version: model} | {task.model.version: task.model for task in here}
        plan = RoundPlan(
            number=number,
            cohort=cohort,
            drops=timing.drops,
            because={**lost, **scripted_because(scripted), **timing.because},
            assignments={},
            versions=ModelVersions(
                buffer=number,
                current=model.version,
                digests={version: model_digest(one.weights) for version, one in used.items()},
            ),
            began_s=began_s,
            ends_s=timing.ends_s,
        )
        held = self._traffic.can_be_held(cohort)  # or nobody need train for it
        assigned = {
            task.client: Assignment(
                model=task.model, training=task.training, seed=training_seed(self._job, number, task.client)
            )
            for task in here
            if task.client not in plan.gone and held
        }
        return replace(plan, assignments=assigned)

    def _fill(self, number: int, model: Model) -> dict[int, str]:
        """Let clients train until K of them wait, or patience ends; return who was lost meanwhile, and why."""
        lost: dict[int, str] = {}
        gives_up_s = self._clock_s + PATIENCE_S
        for _ in looks(self._job.data.clients):
            if len(self._waiting) >= self._buffering.buffer or self._clock_s >= gives_up_s:
                break
            self._start(number, model)
            task, comes_s = min(self._tasks, default=None), self._next_coming_s()
            if task is None or comes_s < task.over_s:
                self._clock_s = max(self._clock_s, min(comes_s, gives_up_s))
            else:
                self._clock_s = max(self._clock_s, task.over_s)
                self._end(task, model, lost)
            # Whoever has gone while it waited for the others is not there for the session.
            for gone in [task for task in self._waiting if not self._fleet.online(task.client, self._clock_s)]:
                lost[gone.client] = Lost.WENT_OFFLINE.value
                self._waiting.remove(gone)
        return {client: why for client, why in lost.items() if client not in {task.client for task in self._waiting}}

    def _end(self, task: _Task, model: Model, lost: dict[int, str]) -> None:
        """Take note that a training is over."""
        self._tasks.remove(task)
        due = task.training.examples_seen(self._examples[task.client])
        device = self._fleet.devices[task.client]
        trains_from_s = task.began_s + device.latency_s + self._traffic.model_bytes() / device.downlink_bytes_per_s
        computed = math.floor(max(0.0, (task.over_s - trains_from_s) * device.examples_per_s + 1e-6))
        self._fleet.spend(task.client, min(due, computed) if task.lost else due, task.began_s)
        if task.lost:
            lost[task.client] = Lost.WENT_OFFLINE.value
        elif self._buffering.takes(model.version - task.model.version):
            self._waiting.append(task)

    def _start(self, number: int, model: Model) -> None:
        """Give the current model to idle clients, drawn uniformly, until so many train as may at once."""
        at_s = self._clock_s
        rate = learning_rate_at(self._job.strategy, number, self._job.rounds)
        training = replace(self._job.strategy.local_training(), learning_rate=rate)
        idle = [client for client in self._idle() if self._can(client, training)]
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

    def _idle(self) -> list[int]:
        """Clients that have nothing to do, whether or not they can be reached."""
        busy = {task.client for task in (*self._tasks, *self._waiting)}
        return [client for client in range(self._job.data.clients) if client not in busy]

    def _next_coming_s(self) -> float:
        """When somebody may take a place that is free; infinity if none is, or nobody will."""
        if len(self._tasks) >= self._buffering.concurrency:
            return math.inf
        idle, at_s = self._idle(), self._clock_s
        online = [client for client in idle if self._fleet.online(client, at_s)]
        # Who is online and still idle has too little battery: it is asked again after a while, if it is being charged.
        charged_s = at_s + PAUSE_S if online and self._fleet.recharges else math.inf
        return min(
            charged_s, *(self._fleet.online_from(client, at_s) for client in idle if client not in online), math.inf
        )

    def finish(self, plan: RoundPlan, *, released: bool) -> None:  # noqa: ARG002 - those who failed train anew, too
        """See `Scheduler.finish`."""
        self._clock_s = plan.ends_s

    def state(self) -> dict[str, Any]:
        """See `Scheduler.state`: with who is at work on what, so that a run that goes on sums what it would have."""
        return {
            "clock_s": self._clock_s,
            "begun": self._begun,
            "fleet": self._fleet.state(),
            "tasks": [
                {
                    "client": task.client,
                    "version": task.model.version,
                    "training": asdict(task.training),
                    "began_s": task.began_s,
                    "over_s": task.over_s,
                    "lost": task.lost,
                }
                for task in self._tasks
            ],
        }

    def models(self) -> Mapping[int, Weights]:
        """See `Scheduler.models`."""
        return {task.model.version: task.model.weights for task in self._tasks}

    def restore(self, state: Mapping[str, Any], models: Mapping[int, Weights]) -> None:
        """See `Scheduler.restore`."""
        clock_s, begun = clock_of(state), int(state["begun"])
        known = {version: Model(weights=weights, version=version) for version, weights in models.items()}
        tasks = [
            _Task(
                over_s=float(task["over_s"]),
                client=int(task["client"]),
                model=known[int(task["version"])],
                training=LocalTraining(**task["training"]),
                began_s=float(task["began_s"]),
                lost=bool(task["lost"]),
            )
            for task in state["tasks"]
        ]
        strangers = [task.client for task in tasks if not 0 <= task.client < self._job.data.clients]
        if strangers or len({task.client for task in tasks}) < len(tasks):
            raise ConfigurationError("clients are at work that are not there, or twice")
        self._fleet.restore(state["fleet"])
        self._clock_s, self._begun, self._tasks = clock_s, begun, tasks
