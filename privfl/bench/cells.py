"""The points of the matrix: what is measured, under which suite, with whom."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from privfl.bench.peers.peer import evenly
from privfl.bench.updates import Encoding, encoding_of
from privfl.errors import ConfigurationError
from privfl.learning.privacy_job import PrivacyMode
from privfl.params import NONCE_BYTES, ServerModel, SessionParams, Setting, ThreatModel, VectorSpec, WireForm
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.roster import Roster
from privfl.simulate import draw_identities, roster_of, simulated_committee
from privfl.suites import plan_session, suite

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.rehearsal import SimulatedCommittee

CORRUPT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the matrix.

    Attributes:
        suite: name of the suite.
        clients: size of the cohort.
        parameters: coordinates of an update.
        dropout: fraction of the cohort that vanishes after ShareKeys, before its upload.
        wire: how vectors travel; `plain` always sends words, `ckks` packs.
        server: what the server may do; in the active model clients sign. Nothing to `plain`.
        privacy: whether noise is added, and by whom.
    """

    suite: str
    clients: int
    parameters: int
    dropout: float
    wire: WireForm = WireForm.WORDS
    server: ServerModel = ServerModel.HONEST_BUT_CURIOUS
    privacy: PrivacyMode = PrivacyMode.NONE

    @property
    def baseline(self) -> Cell:
        """The same under `plain`, without noise: what ratios are formed with."""
        return Cell(suite="plain", clients=self.clients, parameters=self.parameters, dropout=self.dropout)

    def identities(self) -> Mapping[int, Identity] | None:
        """Return the clients' signing keys, if they need any."""
        signed = self.server is ServerModel.ACTIVE and suite(self.suite).protects
        return _identities(self.clients) if signed else None

    def roster(self) -> Roster | None:
        """Return the clients' identities, if they need any."""
        return _roster(self.clients) if self.identities() else None

    @property
    def threat(self) -> ThreatModel:
        """The threat model."""
        return ThreatModel(server=self.server, corrupt=CORRUPT, dropout=max(0.1, self.dropout))

    @property
    def encoding(self) -> Encoding:
        """How updates become whole numbers."""
        return encoding_of(self.privacy, self.parameters, self.clients, CORRUPT, self.threat.dropout)

    @property
    def vector(self) -> VectorSpec:
        """Length and bound."""
        return self.encoding.vector

    def setting(self) -> Setting:
        """Plan what the suite needs to know.

        Raises:
            ConfigurationError: the cell cannot be planned; names the flag and a value that works.
        """
        vector = self.vector
        return suite(self.suite).setting(
            self.clients,
            self.threat,
            bound=vector.bound,
            sum_bound=vector.sum_bound,
            wire=self.wire,
            length=vector.length,
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
            roster=self.roster(),
            committee=committee.key if committee else None,
        )

    def dropped(self) -> frozenset[int]:
        """Return who vanishes: spread evenly over the cohort, the same for every suite."""
        return evenly(self.clients, self.dropout)

    @property
    def uploading(self) -> int:
        """How many clients upload."""
        return self.clients - len(self.dropped())

    def __str__(self) -> str:
        """For people."""
        noise = "" if self.privacy is PrivacyMode.NONE else f", {self.privacy.value} noise"
        lying = ", active" if self.server is ServerModel.ACTIVE else ""
        wire = f", {self.wire.value}" if suite(self.suite).protects and not suite(self.suite).has_committee else ""
        return (
            f"{self.suite}{wire}{lying}{noise}: {self.clients:,} clients, {self.parameters:,} parameters, "
            f"drop-out {self.dropout:g}"
        )


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
    privacy: Sequence[PrivacyMode] = (PrivacyMode.NONE,),
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
        Cell(suite=name, clients=n, parameters=m, dropout=d, wire=wire, server=server, privacy=mode)
        for n, m, d, mode, name, wire in product(clients, parameters, dropouts, privacy, suites, wires)
        if suite(name).protects or wire is wires[0]
    ]
    for cell in matrix:
        cell.setting()
    return matrix
