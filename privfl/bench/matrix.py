"""The overhead matrix: one session per cell, each measured beside `plain` in the same run."""

from __future__ import annotations

import os
import statistics
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import FixedPoint
from privfl.errors import ConfigurationError
from privfl.params import NONCE_BYTES, ServerModel, SessionParams, Setting, ThreatModel, VectorSpec, WireForm
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.roster import Roster
from privfl.session import Aggregate, Phase
from privfl.simulate import Simulation, draw_identities, roster_of, simulate, simulated_committee
from privfl.suites import plan_session, suite
from privfl.wire import PartyId

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.rehearsal import SimulatedCommittee

BITS: Final = 16
_INPUT_SEED: Final = 20_240_229


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the matrix.

    Attributes:
        suite: name of the suite.
        clients: size of the cohort.
        parameters: coordinates of a vector.
        dropout: fraction of the cohort that vanishes after ShareKeys, before its upload.
        wire: how vectors travel; `plain` always sends words, `ckks` packs.
        server: what the server may do; in the active model clients sign. Nothing to `plain`.
    """

    suite: str
    clients: int
    parameters: int
    dropout: float
    wire: WireForm = WireForm.WORDS
    server: ServerModel = ServerModel.HONEST_BUT_CURIOUS

    def identities(self) -> Mapping[int, Identity] | None:
        """Return the clients' signing keys, if they need any."""
        signed = self.server is ServerModel.ACTIVE and suite(self.suite).protects
        return _identities(self.clients) if signed else None

    @property
    def threat(self) -> ThreatModel:
        """The threat model."""
        return ThreatModel(server=self.server, corrupt=0.1, dropout=max(0.1, self.dropout))

    @property
    def vector(self) -> VectorSpec:
        """Length and bound."""
        return VectorSpec(length=self.parameters, bound=FixedPoint(clip=1.0, bits=BITS).bound)

    def setting(self) -> Setting:
        """Plan what the suite needs to know.

        Raises:
            ConfigurationError: the cell cannot be planned; names the flag and a value that works.
        """
        return suite(self.suite).setting(
            self.clients, self.threat, bound=self.vector.bound, wire=self.wire, length=self.parameters
        )

    def committee(self) -> SimulatedCommittee | None:
        """Return who opens the sums, if the suite needs a committee: one that has an opening left."""
        return _committee(self)

    def params(self) -> SessionParams:
        """Plan a session; errors as those of `setting`."""
        committee = self.committee()
        return plan_session(
            self.suite,
            cohort=tuple(range(self.clients)),
            vector=self.vector,
            threat=self.threat,
            wire=self.wire,
            nonce=os.urandom(NONCE_BYTES),
            context=bytes(DIGEST_BYTES),
            roster=_roster(self.clients) if self.identities() else None,
            committee=committee.key if committee else None,
        )

    def dropped(self) -> frozenset[int]:
        """Return who vanishes: spread evenly over the cohort, the same for every suite."""
        count = round(self.dropout * self.clients)
        return frozenset(int(number) for number in np.linspace(0, self.clients - 1, count).round())


_committees: dict[Cell, SimulatedCommittee] = {}


def _committee(cell: Cell) -> SimulatedCommittee | None:
    if not suite(cell.suite).has_committee:
        return None
    if cell not in _committees or not _committees[cell].remaining():
        made = simulated_committee(cell.setting())
        assert made is not None  # noqa: S101 - the suite has one; for the type checker
        _committees.clear()  # cells are measured one after another
        _committees[cell] = made
    return _committees[cell]


@lru_cache(maxsize=4)
def _identities(clients: int) -> Mapping[int, Identity]:
    return draw_identities(range(clients))


@lru_cache(maxsize=4)
def _roster(clients: int) -> Roster:
    return roster_of(_identities(clients))


def cells(
    suites: Sequence[str],
    clients: Sequence[int],
    parameters: Sequence[int],
    dropouts: Sequence[float],
    *,
    wires: Sequence[WireForm] = (WireForm.WORDS,),
    server: ServerModel = ServerModel.HONEST_BUT_CURIOUS,
) -> list[Cell]:
    """Lay out the matrix, and check every cell before any is run.

    Raises:
        ConfigurationError: a cell cannot be planned.
    """
    for name in suites:
        suite(name)
    for dropout in dropouts:
        if not 0 <= dropout < 1:
            raise ConfigurationError(f"--dropout is {dropout}: 0 to below 1 works, such as 0.1")
    matrix = [
        Cell(suite=name, clients=n, parameters=m, dropout=d, wire=wire, server=server)
        for n, m, d, name, wire in product(clients, parameters, dropouts, suites, wires)
        if suite(name).protects or wire is wires[0]
    ]
    for cell in matrix:
        cell.setting()
    return matrix


def measure(
    matrix: Sequence[Cell], *, repeat: int, workers: int = 1, announce: Callable[[Cell], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Measure cells one after another.

    Args:
        matrix: the cells.
        repeat: sessions per cell; medians are reported.
        workers: threads for long vectors.
        announce: told which cell begins.

    Yields:
        One record a cell, ready for JSON.
    """
    for cell in matrix:
        if announce is not None:
            announce(cell)
        yield _measure_cell(cell, repeat, workers)


def _measure_cell(cell: Cell, repeat: int, workers: int) -> dict[str, Any]:
    baseline = replace(cell, suite="plain", wire=WireForm.WORDS, server=ServerModel.HONEST_BUT_CURIOUS)
    runs, plain_runs, error, std = [], [], 0.0, 0.0
    for _ in range(repeat):  # alternating, so that a drifting machine drifts under both
        run, off = _session(cell, workers)
        runs.append(run)
        error, std = max(error, off.largest), max(std, off.std)
        plain_runs.append(run if cell.suite == "plain" else _session(baseline, workers)[0])
    client_cpu, server_cpu = _median_cpu(runs, cell)
    plain_client, plain_server = _median_cpu(plain_runs, baseline)
    upload, download = runs[0].upload_bytes, runs[0].download_bytes
    params, committee, contributors = cell.params(), cell.committee(), len(runs[0].contributors)
    promised = suite(cell.suite).error_std(params.setting, cell.clients) / (contributors * params.vector.bound)
    return {
        "suite": cell.suite,
        "clients": cell.clients,
        "parameters": cell.parameters,
        "dropout": cell.dropout,
        "server": cell.server.value,
        "wire": "packed" if params.ring.packed else "words",
        "contributors": contributors,
        "phases": _phase_costs(runs),
        "client_cpu_s": client_cpu,
        "server_cpu_s": server_cpu,
        "upload_bytes": upload,
        "download_bytes": download,
        "upload_bytes_per_contributor": upload / contributors,
        "server_peak_bytes": _server_peak(cell, workers),
        "max_abs_error": error,
        "error_std_of_mean": std,
        "promised_error_std_of_mean": promised,
        "committee_cpu_s": statistics.median(run.committee_cpu_s for run in runs),
        "committee_bytes": runs[0].committee_bytes,
        "ceremony_cpu_s": committee.ceremony_cpu_s if committee else 0.0,
        "ratio_to_plain": (client_cpu * cell.clients + server_cpu) / (plain_client * cell.clients + plain_server),
        "client_ratio_to_plain": client_cpu / plain_client,
        "server_ratio_to_plain": server_cpu / plain_server,
        "upload_ratio_to_plain": upload / plain_runs[0].upload_bytes,
        "repeat": repeat,
        "workers": workers,
    }


class Inputs:
    """Vectors made when they are needed and forgotten after; only their sum is kept."""

    def __init__(self, params: SessionParams) -> None:
        self._spec = params.vector
        self.total = np.zeros(params.vector.length, np.int64)

    def __call__(self, number: int) -> npt.NDArray[np.int32]:
        """Make a client's vector, int32, and add it to the total."""
        chance = np.random.default_rng((_INPUT_SEED, number))
        vector = chance.integers(-self._spec.bound, self._spec.bound + 1, self._spec.length, np.int32)
        self.total += vector
        return vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """How far a mean was off, as fractions of full scale.

    Attributes:
        largest: of all coordinates.
        std: standard deviation over the coordinates.
    """

    largest: float
    std: float


def _session(cell: Cell, workers: int, server: _MeteredServer | None = None) -> tuple[Simulation, Error]:
    params = server.params if server is not None else cell.params()
    inputs = Inputs(params)
    outcome = simulate(
        params,
        inputs,
        drops={Phase.MASKED_INPUT: cell.dropped()},
        workers=workers,
        server=server,
        identities=cell.identities(),
        committee=cell.committee(),
    )
    if outcome.aggregate is None:
        raise ConfigurationError(
            f"--dropout {cell.dropout} with --clients {cell.clients} aborts under {cell.suite}: {outcome.aborted}"
        )
    off, scale = outcome.aggregate.vector - inputs.total, outcome.aggregate.contributors * params.vector.bound
    return outcome, Error(largest=int(np.abs(off).max()) / scale, std=float(off.std()) / scale)


def _median_cpu(runs: Sequence[Simulation], cell: Cell) -> tuple[float, float]:
    uploading = cell.clients - len(cell.dropped())
    client = statistics.median(run.client_cpu_s / uploading for run in runs)
    return client, statistics.median(run.server_cpu_s for run in runs)


def _phase_costs(runs: Sequence[Simulation]) -> dict[str, dict[str, float]]:
    return {
        phase.value: {
            "client_cpu_s": statistics.median(run.phases[phase].client_cpu_s for run in runs),
            "server_cpu_s": statistics.median(run.phases[phase].server_cpu_s for run in runs),
            "upload_bytes": runs[0].phases[phase].upload_bytes,
            "download_bytes": runs[0].phases[phase].download_bytes,
            "committee_cpu_s": statistics.median(run.phases[phase].committee_cpu_s for run in runs),
            "committee_upload_bytes": runs[0].phases[phase].committee_upload_bytes,
            "committee_download_bytes": runs[0].phases[phase].committee_download_bytes,
        }
        for phase in runs[0].phases
    }


def _server_peak(cell: Cell, workers: int) -> int:
    """Measure the server's memory in a session of its own: tracing slows everything down."""
    params = cell.params()
    roster = _roster(cell.clients) if cell.identities() else None
    tracemalloc.start()
    try:
        server = _MeteredServer(params, workers, roster, cell.committee())
        _session(cell, workers, server)
        return server.peak_bytes
    finally:
        tracemalloc.stop()


class _MeteredServer:
    """A server whose own allocations are added up: what it keeps, and what it needs for a moment beside that."""

    def __init__(
        self, params: SessionParams, workers: int, roster: Roster | None, committee: SimulatedCommittee | None = None
    ) -> None:
        self.params = params
        key = committee.key if committee else None
        self.held_bytes = 0
        self.peak_bytes = 0
        self._inner = self._metered(
            lambda: suite(params.suite).server(params, roster=roster, workers=workers, committee=key)
        )

    def _metered(self, call: Callable[[], Any]) -> Any:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        try:
            return call()
        finally:
            after, peak = tracemalloc.get_traced_memory()
            self.peak_bytes = max(self.peak_bytes, self.held_bytes + peak - before)
            self.held_bytes += after - before

    @property
    def phase(self) -> Phase:
        return self._inner.phase  # type: ignore[no-any-return]

    @property
    def waiting(self) -> AbstractSet[PartyId]:
        return self._inner.waiting  # type: ignore[no-any-return]

    @property
    def ready(self) -> bool:
        return self._inner.ready  # type: ignore[no-any-return]

    @property
    def result(self) -> Aggregate:
        return self._inner.result  # type: ignore[no-any-return]

    def request_for(self, party: PartyId) -> bytes:
        # A request goes out and is forgotten: what it takes counts for the moment only.
        held = self.held_bytes
        request: bytes = self._metered(lambda: self._inner.request_for(party))
        self.held_bytes = held
        return request

    def bind(self, context: bytes) -> None:
        self._metered(lambda: self._inner.bind(context))

    def receive(self, sender: PartyId, response: bytes) -> None:
        self._metered(lambda: self._inner.receive(sender, response))

    def advance(self) -> None:
        self._metered(self._inner.advance)
