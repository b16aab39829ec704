"""All that one run of the benchmark measures, in which order, and what it leaves out for what reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from privfl.bench import jobs
from privfl.bench.cells import Cell
from privfl.bench.contenders import PeerContender
from privfl.bench.forecast import why_not
from privfl.bench.goals import goals, measure_goals, skipped
from privfl.bench.matrix import measure_cell, measure_peer
from privfl.bench.peers import Peer
from privfl.bench.store import CELLS, GOALS, JOBS, Store
from privfl.bench.turns import Repeats

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is measured.

    Attributes:
        cells: of suites.
        peers: of others, each with a cell of `plain` that says with how many clients, parameters and drop-outs.
        goals: whether the project's goals are.
        jobs: training jobs.
        skipped: (what, why) of what is not, as it is known beforehand.
        repeats: how many turns per cell.
        workers: threads for long vectors.
        small: goals on small inputs.
    """

    cells: Sequence[Cell]
    peers: Sequence[tuple[Peer, Cell]] = ()
    goals: bool = False
    jobs: Sequence[jobs.JobCase] = ()
    skipped: Sequence[tuple[str, str]] = ()
    repeats: Repeats = field(default_factory=Repeats)
    workers: int = 1
    small: bool = False

    def feasible(self) -> Program:
        """Return what of it can be measured here, with the reasons why the rest cannot.

        A peer that is not installed is left out with the command that installs it; a cell that would not fit the memory
        that is free, or an hour, with what would.
        """
        out: dict[str, str] = dict(self.skipped)
        cells, peers, chosen = [], [], []
        for cell in self.cells:
            reason = why_not(cell, self.repeats)
            if reason is None:
                cells.append(cell)
            else:
                out[str(cell)] = reason
        for peer, cell in self.peers:
            missing, obstacle = peer.skipped(), peer.refuse(cell.parameters, cell.clients, cell.dropout)
            if missing is not None:
                out[peer.name] = missing
            elif obstacle is not None:
                out[_of_peer(peer, cell)] = obstacle
            else:
                peers.append((peer, cell))
        if self.jobs and (untrained := jobs.why_not()) is not None:
            out["training jobs"] = untrained
        elif self.jobs:
            runnable = set(jobs.runnable())
            chosen = [case for case in self.jobs if case in runnable]
            out |= {str(case): jobs.INSTALL for case in self.jobs if case not in runnable}
        if self.goals:
            out |= dict(skipped(goals()))
        return replace(self, cells=cells, peers=peers, jobs=chosen, skipped=tuple(out.items()))

    @property
    def steps(self) -> int:
        """How many things are measured; goals and jobs count as one each."""
        return len(self.cells) + len(self.peers) + bool(self.goals) + bool(self.jobs)


def carry_out(program: Program, store: Store, announce: Announce) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Measure what is not in the store yet.

    Args:
        program: what is feasible of it.
        store: where results go.
        announce: told what begins.

    Yields:
        The name of the file, and the record that went there.
    """
    done = {record["cell"] for record in store.records(CELLS)}
    for cell in program.cells:
        if str(cell) not in done:
            announce(str(cell))
            record = measure_cell(cell, program.repeats, workers=program.workers)
            yield CELLS, store.add(CELLS, record)
    for peer, cell in program.peers:
        if _of_peer(peer, cell) not in done:
            announce(_of_peer(peer, cell))
            record = measure_peer(PeerContender(peer, cell), program.repeats)
            yield CELLS, store.add(CELLS, record)
    if program.goals:
        done = {record["key"] for record in store.records(GOALS)}
        left = [goal for goal in goals() if goal.key not in done]
        for record in measure_goals(
            left, machine=store.machine, quick=program.small, announce=lambda goal: announce(f"goal: {goal.what}")
        ):
            yield GOALS, store.add(GOALS, record)
    if program.jobs and len(store.records(JOBS)) < len(program.jobs):
        done = {record["case"] for record in store.records(JOBS)}
        for record in jobs.measure_jobs([case for case in program.jobs if str(case) not in done], announce=announce):
            yield JOBS, store.add(JOBS, record)


def _of_peer(peer: Peer, cell: Cell) -> str:
    return PeerContender(peer, cell).name
