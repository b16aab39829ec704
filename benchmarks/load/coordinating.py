"""The coordinator of a load test, in a process of its own: a hall and its listeners, as `privfl serve` has them."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from load.cast import TERMS, greeting_of, model_of, planned, roster_in
from load.watching import peak
from privfl import suite
from privfl.integrations.consortium import Hall, Order
from privfl.integrations.http import Server
from privfl.simulate import draw_identities

OVER = "the load test is over"
"""What clients hear at last."""
SUM = "sum"
"""Where the sum is left, as int64: only who runs the test makes the exact one."""
_PHASE_S = 300.0
_GATHER_S = 300.0
_FAREWELL_S = 60.0


class Clock:
    """The hall's clock. A hurried one runs to the deadline once only those are waited for who will not come."""

    def __init__(self):
        self._ahead = 0.0

    def __call__(self):
        return time.monotonic() + self._ahead

    def hurry(self, hall, away, over):
        """Turn it, again and again until `over`."""
        while not over.wait(0.1):
            waiting = set(hall.snapshot().waiting)
            if waiting and waiting <= set(away):
                self._ahead += 10_000.0


class Book:
    """What happened when: each with the seconds of the system's clock, which all processes share."""

    def __init__(self, hall):
        self.phases, self.answers = [], []
        self._hall, self._take = hall, hall.answer
        hall.subscribe(self._turned)
        hall.answer = self._answered

    def _turned(self):
        phase = self._hall.snapshot().phase
        self.phases.append((time.monotonic(), None if phase is None else phase.value))

    def _answered(self, client, session, phase, body):
        self._take(client, session, phase, body)
        self.answers.append((time.monotonic(), client, str(phase), len(body)))


def coordinate(folder, cast, deadline_s, hurried, pipe):
    """Serve a round, step by step as the other end of the pipe says.

    Args:
        folder: where papers, spool and log are.
        cast: who takes part.
        deadline_s: seconds for uploads.
        hurried: whether the deadline is brought forward once nobody else is waited for.
        pipe: to whom the test is run by.
    """
    folder = Path(folder)
    logging.basicConfig(filename=folder / "coordinator.log", level=logging.WARNING)
    clock, roster = Clock(), roster_in(folder)
    identity = draw_identities([0])[0]
    hall = Hall(greeting_of(cast, identity.public), clients=range(cast.clients), clock=clock)
    book = Book(hall)
    server = Server(
        hall,
        roster,
        identity=identity,
        host="127.0.0.1",
        port=0,
        certificate=folder / "server.crt",
        key=folder / "server.key",
        spool_folder=folder / "spool",
    )
    params = planned(cast, roster)
    order = Order(
        round=1,
        kind="train",
        params=params,
        server=suite("kahe").server(params, roster=roster),
        terms=TERMS,
        model=model_of(cast),
        phase_timeout_s=_PHASE_S,
        upload_timeout_s=deadline_s,
    )
    with server:
        pipe.send({"pid": os.getpid(), "port": server.port})
        pipe.recv()
        pipe.send(len(hall.gather(cast.clients, _GATHER_S)))
        pipe.recv()
        over = threading.Event()
        if hurried:
            threading.Thread(target=clock.hurry, args=(hall, cast.of("away"), over), daemon=True).start()
        opened = []
        outcome = hall.hold(order, before_opening=opened.append)
        over.set()
        pipe.send(_told(outcome, opened, book) | {"peak": peak(os.getpid())})
        if outcome.aggregate is not None:
            outcome.aggregate.vector.tofile(folder / SUM)
        pipe.recv()
        hall.close(OVER)
        there = [number for number in range(cast.clients) if number not in cast.of("away")]
        missed = server.farewell(there, _FAREWELL_S)
        pipe.send({"complaints": dict(server.complaints.counts), "missed": sorted(missed), "under_way": _left(server)})


def _left(server):
    return len(server._desk._spool.under_way)


def _told(outcome, opened, book):
    aggregate = outcome.aggregate
    return {
        "aborted": outcome.aborted,
        "contributors": list(outcome.contributors),
        "counted": aggregate.contributors if aggregate else 0,
        "error_std": aggregate.error_std if aggregate else None,
        "charged": opened,
        "failures": dict(outcome.failures),
        "phases": book.phases,
        "answers": book.answers,
        "server_cpu_s": {phase.value: cost.server_cpu_s for phase, cost in outcome.phases.items()},
    }
