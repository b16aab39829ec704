"""The server's memory: one accumulator, the message at hand, and small values for each client and neighbour."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, cast

from privfl.bench.goals.goal import Reading
from privfl.bench.sessions import agreed_masking, inputs, plan
from privfl.bench.turns import Spread
from privfl.params import SessionParams
from privfl.session import ServerSession
from privfl.simulate import simulate
from privfl.suites import suite

SMALL_BYTES = 512
"""What is small, for a client and a neighbour: a few keys, shares and numbers, with the objects around them."""
SUITES = ("masking", "kahe")


class PeakServer:
    """A server whose own allocations are counted: what it keeps, what it needs for a moment, and the message at hand.

    Needs `tracemalloc` to run. Requests are not counted: they go out and are forgotten.

    Attributes:
        receiving_bytes: the most while an answer is taken in, that answer included.
        peak_bytes: the most of all, including while a phase is closed and the sum is opened.
    """

    def __init__(self, params: SessionParams) -> None:
        before, _ = tracemalloc.get_traced_memory()
        self._inner = suite(params.suite).server(params)
        self._held = tracemalloc.get_traced_memory()[0] - before
        self.receiving_bytes = self.peak_bytes = self._held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def request_for(self, party: Any) -> bytes:
        """See `ServerSession.request_for`."""
        before, _ = tracemalloc.get_traced_memory()
        request = self._inner.request_for(party)
        kept = tracemalloc.get_traced_memory()[0] - before - len(request)
        self._held += max(kept, 0)
        return request

    def receive(self, sender: Any, response: bytes) -> None:
        """See `ServerSession.receive`."""
        needed = self._metered(lambda: self._inner.receive(sender, response)) + len(response)
        self.receiving_bytes = max(self.receiving_bytes, needed)
        self.peak_bytes = max(self.peak_bytes, needed)

    def advance(self) -> None:
        """See `ServerSession.advance`."""
        self.peak_bytes = max(self.peak_bytes, self._metered(self._inner.advance))

    def _metered(self, call: Callable[[], None]) -> int:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        after, peak = tracemalloc.get_traced_memory()
        needed, self._held = self._held + peak - before, self._held + after - before
        return needed


def server_memory(*, quick: bool) -> Mapping[str, Reading]:
    """Measure peaks at two sizes of the cohort."""
    parameters, cohorts = (100_000, (20, 35)) if quick else (200_000, (50, 200))
    filled, growth, told = [], [], []
    for name in SUITES:
        few, many = (_measured(name, clients, parameters) for clients in cohorts)
        added = (many.peak_bytes - few.peak_bytes) / (many.pairs - few.pairs)
        growth.append(added)
        filled += [one.receiving_bytes / one.allowed_bytes for one in (few, many)]
        fixed = few.peak_bytes - added * few.pairs
        told.append(
            f"{name}: peak = {fixed / 1e6:.2f} MB + {added:.0f} bytes × clients × neighbours, reached while the sum is "
            f"opened and written out ({(many.peak_bytes - few.peak_bytes) / (cohorts[1] - cohorts[0]):,.0f} bytes for "
            f"each client from {cohorts[0]} to {cohorts[1]})"
        )
    formula = "; ".join(told)
    return {
        "receiving": Reading(
            spread=_widest(filled),
            detail=f"the largest of {' and '.join(SUITES)} with {' and '.join(map(str, cohorts))} clients and "
            f"{parameters:,} parameters, against accumulator + one message + {SMALL_BYTES} bytes × clients × "
            f"neighbours; {formula}.",
        ),
        "growth": Reading(
            spread=_widest(growth),
            detail=f"whole sessions of {' and '.join(map(str, cohorts))} clients and {parameters:,} parameters, "
            f"opening the sum included: {formula}.",
        ),
    }


class _Measured:
    def __init__(self, params: SessionParams, server: PeakServer) -> None:
        length, clients = params.vector.length, len(params.cohort)
        self.receiving_bytes, self.peak_bytes = server.receiving_bytes, server.peak_bytes
        self.pairs = clients * agreed_masking(params).degree
        accumulator = length * params.ring.word_bits // 8
        self.allowed_bytes = accumulator + params.ring.vector_bytes(length) + SMALL_BYTES * self.pairs


def _measured(name: str, clients: int, parameters: int) -> _Measured:
    params, vector = plan(name, clients, parameters), inputs(parameters)
    simulate(plan(name, 5, 1), lambda _: vector[:1])  # tables that are made once are nothing of this session
    tracemalloc.start()
    try:
        server = PeakServer(params)
        simulate(params, lambda _: vector, server=cast("ServerSession", server))
    finally:
        tracemalloc.stop()
    return _Measured(params, server)


def _widest(figures: list[float]) -> Spread:
    """A goal that all have to reach: what counts is the largest."""
    return Spread(median=max(figures), low=min(figures), high=max(figures))
