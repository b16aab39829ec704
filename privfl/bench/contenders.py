"""One session at a time, of a suite or of a peer: what a turn costs each party."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from privfl.bench.cells import Cell
from privfl.bench.metered import MeteredClient, MeteredServer
from privfl.bench.peers import Peer
from privfl.bench.updates import Error, Updates
from privfl.errors import ConfigurationError
from privfl.session import Phase, ServerSession
from privfl.simulate import Simulation, simulate, simulated_client
from privfl.suites import suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one session cost.

    Attributes:
        client_cpu_s: of one client that uploads, from its float32 update to its last byte.
        encode_cpu_s: the part of it before the protocol.
        server_cpu_s: of the server, to the mean in float32.
        decode_cpu_s: the part of it after the protocol.
        committee_cpu_s: of all its members.
        upload_bytes: of all clients.
        download_bytes: to all clients.
        committee_bytes: from and to all members of the committee.
        contributors: how many clients are in the sum.
        error: of the mean.
        phases: by phase, as records have them.
        client_calls_s: `client_cpu_s` again, piece by piece, in the same order in every session; empty if unknown.
        server_calls_s: likewise.
        committee_calls_s: likewise.
    """

    client_cpu_s: float
    encode_cpu_s: float
    server_cpu_s: float
    decode_cpu_s: float
    committee_cpu_s: float = 0.0
    upload_bytes: int
    download_bytes: int
    committee_bytes: int = 0
    contributors: int
    error: Error
    phases: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    client_calls_s: Sequence[float] = ()
    server_calls_s: Sequence[float] = ()
    committee_calls_s: Sequence[float] = ()

    @property
    def cpu_s(self) -> float:
        """CPU of all parties."""
        return self.client_cpu_s * self.contributors + self.server_cpu_s + self.committee_cpu_s

    def client_pieces(self) -> list[float]:
        """CPU of one client, in pieces."""
        return [*self.client_calls_s] or [self.client_cpu_s]

    def server_pieces(self) -> list[float]:
        """CPU of the server, in pieces."""
        return [*self.server_calls_s] or [self.server_cpu_s]

    def committee_pieces(self) -> list[float]:
        """CPU of the committee, in pieces."""
        return [*self.committee_calls_s] or [self.committee_cpu_s]

    def pieces(self) -> list[float]:
        """CPU of all parties, in pieces."""
        clients = [piece * self.contributors for piece in self.client_pieces()]
        return [*clients, *self.server_pieces(), *self.committee_pieces()]


class Contender(Protocol):
    """What can be measured beside `plain`."""

    def turn(self) -> Turn:
        """Play a session."""
        ...


class Session:
    """A suite, in sessions of one cell.

    Args:
        cell: the cell.
        workers: threads for long vectors.
    """

    def __init__(self, cell: Cell, workers: int = 1) -> None:
        self.cell = cell
        self._workers = workers

    def turn(self) -> Turn:
        """See `Contender`.

        Raises:
            ConfigurationError: the session aborts.
        """
        outcome, updates = self._played()
        assert outcome.aggregate is not None  # noqa: S101 - `_played` saw to it; for the type checker
        summed, cell = outcome.aggregate, self.cell
        begun = time.process_time()
        cell.encoding.decode(summed.vector, summed.contributors, summed.error_std)
        decoding = time.process_time() - begun
        encoding = statistics.median(updates.encode_cpu_s)
        return Turn(
            client_cpu_s=outcome.client_cpu_s / cell.uploading + encoding,
            encode_cpu_s=encoding,
            server_cpu_s=outcome.server_cpu_s + decoding,
            decode_cpu_s=decoding,
            committee_cpu_s=outcome.committee_cpu_s,
            upload_bytes=outcome.upload_bytes,
            download_bytes=outcome.download_bytes,
            committee_bytes=outcome.committee_bytes,
            contributors=summed.contributors,
            error=updates.error_of(summed.vector, summed.contributors),
            phases=_phases(outcome),
            client_calls_s=[encoding, *(call / cell.uploading for call in _calls(outcome, "client_calls_s"))],
            server_calls_s=[*_calls(outcome, "server_calls_s"), decoding],
            committee_calls_s=_calls(outcome, "committee_calls_s"),
        )

    def peaks(self) -> tuple[int, int]:
        """Measure the memory of the server and of a client, in a session of its own: tracing slows everything down.

        Returns:
            Bytes at the peak: of the server; of a client, beside its update and the vector that it hands over.
        """
        cell = self.cell
        params, roster, committee, identities = cell.params(), cell.roster(), cell.committee(), cell.identities()
        watched = next(number for number in range(cell.clients) if number not in cell.dropped())
        tracemalloc.start()
        try:
            server = MeteredServer(
                lambda: suite(cell.suite).server(
                    params, roster=roster, workers=self._workers, committee=committee.key if committee else None
                )
            )
            client = MeteredClient(
                lambda: simulated_client(
                    params,
                    watched,
                    identity=identities[watched] if identities else None,
                    roster=roster,
                    committee=committee,
                    workers=self._workers,
                )
            )
            self._played(params=params, server=server, clients={watched: client})
        finally:
            tracemalloc.stop()
        return server.peak_bytes, client.peak_bytes

    def _played(
        self, *, params: Any = None, server: ServerSession | None = None, clients: Mapping[int, Any] | None = None
    ) -> tuple[Simulation, Updates]:
        cell = self.cell
        updates = Updates(cell.encoding, cell.parameters)
        outcome = simulate(
            params or cell.params(),
            updates,
            drops={Phase.MASKED_INPUT: cell.dropped()},
            workers=self._workers,
            server=server,
            clients=clients,
            identities=cell.identities(),
            committee=cell.committee(),
        )
        if outcome.aggregate is None:
            raise ConfigurationError(
                f"--dropout {cell.dropout} with --clients {cell.clients} aborts under {cell.suite}: {outcome.aborted}"
            )
        return outcome, updates


class PeerContender:
    """A peer, in sessions of one size.

    Args:
        peer: what is measured.
        cell: of `plain`: how many clients and parameters, and who drops out.

    Attributes:
        peer: likewise.
        cell: likewise.
        versions: of what the peer rests on, known after a turn.
    """

    def __init__(self, peer: Peer, cell: Cell) -> None:
        self.peer = peer
        self.cell = cell
        self.versions: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """For people."""
        cell = self.cell
        return f"{self.peer.name}: {cell.clients:,} clients, {cell.parameters:,} parameters, drop-out {cell.dropout:g}"

    def turn(self) -> Turn:
        """See `Contender`; errors as those of `Peer.session`."""
        played = self.peer.session(self.cell.parameters, self.cell.clients, self.cell.dropped())
        self.versions = played.versions
        return Turn(
            client_cpu_s=played.client_cpu_s,
            encode_cpu_s=0.0,
            server_cpu_s=played.server_cpu_s,
            decode_cpu_s=0.0,
            upload_bytes=played.upload_bytes,
            download_bytes=played.download_bytes,
            contributors=played.contributors,
            error=Error(largest=played.max_abs_error, std=played.error_std_of_mean),
            phases=played.phases,
        )


def _calls(outcome: Simulation, party: str) -> list[float]:
    return [call for cost in outcome.phases.values() for call in getattr(cost, party)]


def _phases(outcome: Simulation) -> dict[str, dict[str, float]]:
    return {
        phase.value: {
            "client_cpu_s": cost.client_cpu_s,
            "server_cpu_s": cost.server_cpu_s,
            "upload_bytes": cost.upload_bytes,
            "download_bytes": cost.download_bytes,
            "committee_cpu_s": cost.committee_cpu_s,
            "committee_upload_bytes": cost.committee_upload_bytes,
            "committee_download_bytes": cost.committee_download_bytes,
        }
        for phase, cost in outcome.phases.items()
    }
