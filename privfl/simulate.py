"""Run a session among parties in this process: for tests, benchmarks, simulated training, and `aggregate`."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.errors import BudgetExceeded, ConfigurationError, ProtocolError, RoundAborted
from privfl.guard import MemoryGuard
from privfl.params import (
    NONCE_BYTES,
    CkksSetting,
    CommitteeShape,
    ServerModel,
    SessionParams,
    Setting,
    ThreatModel,
    VectorSpec,
    WireForm,
)
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.roster import Credentials, Roster
from privfl.session import PLAIN_ALLOWED, Aggregate, ClientPolicy, ClientSession, Phase, ServerSession, Vector
from privfl.suites import plan_session, suite
from privfl.suites import suite as suite_named
from privfl.wire import PartyId, Role

if TYPE_CHECKING:  # a suite's package, and evidence, are imported when they are asked for
    from privfl.ckks.member import CommitteeMember
    from privfl.ckks.rehearsal import SimulatedCommittee
    from privfl.evidence import MessageRecord

VectorSource = Mapping[int, Vector] | Callable[[int], Vector]
Watcher = Callable[[int, Phase, bytes], None]
BeforeOpening = Callable[[int], None]

_PHASE_ORDER: Final = {
    Phase.ADVERTISE_KEYS: 0,
    Phase.SHARE_KEYS: 1,
    Phase.MASKED_INPUT: 2,
    Phase.UPLOAD: 2,
    Phase.CONSISTENCY_CHECK: 3,
    Phase.CONVENE: 3,
    Phase.UNMASK: 4,
    Phase.OPEN: 4,
}
_UPLOADS: Final = frozenset({Phase.MASKED_INPUT, Phase.UPLOAD})
_MANY_CLIPPED: Final = 0.01


@dataclass(slots=True)
class PhaseCost:
    """What one phase cost.

    Attributes:
        client_cpu_s: CPU of all clients together.
        server_cpu_s: CPU of the server.
        upload_bytes: from all clients.
        download_bytes: to all clients.
        committee_cpu_s: CPU of all members of the committee together.
        committee_upload_bytes: from all of them.
        committee_download_bytes: to all of them.
        client_calls_s: CPU of clients again, answer by answer.
        server_calls_s: that of the server: for each party its request and its response, at the end closing the phase.
        committee_calls_s: as that of clients.
    """

    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    committee_cpu_s: float = 0.0
    committee_upload_bytes: int = 0
    committee_download_bytes: int = 0
    client_calls_s: list[float] = field(default_factory=list)
    server_calls_s: list[float] = field(default_factory=list)
    committee_calls_s: list[float] = field(default_factory=list)

    def add_server(self, seconds: float) -> None:
        """Count a call of the server's."""
        self.server_cpu_s += seconds
        self.server_calls_s.append(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """How a simulated session went.

    Attributes:
        aggregate: the sum, or None if the round aborted.
        contributors: who is in the sum; the simulator knows, a real server's caller would as well.
        aborted: why the round aborted, or None.
        failures: clients that refused or were refused, with the reason.
        member_failures: members of the committee that refused or were refused, likewise.
        phases: cost by phase.
        messages: what left the clients, if it was recorded.
    """

    aggregate: Aggregate | None
    contributors: tuple[int, ...]
    aborted: str | None
    failures: Mapping[int, str]
    member_failures: Mapping[int, str]
    phases: Mapping[Phase, PhaseCost]
    messages: tuple[MessageRecord, ...]

    @classmethod
    def without_session(cls, why: str) -> Simulation:
        """Return the outcome of a round for which no session could be held."""
        return cls(
            aggregate=None,
            contributors=(),
            aborted=why,
            failures={},
            member_failures={},
            phases={},
            messages=(),
        )

    @property
    def upload_bytes(self) -> int:
        """Bytes from all clients."""
        return sum(cost.upload_bytes for cost in self.phases.values())

    @property
    def download_bytes(self) -> int:
        """Bytes to all clients."""
        return sum(cost.download_bytes for cost in self.phases.values())

    @property
    def client_cpu_s(self) -> float:
        """CPU of all clients together."""
        return sum(cost.client_cpu_s for cost in self.phases.values())

    @property
    def committee_cpu_s(self) -> float:
        """CPU of all members of the committee together."""
        return sum(cost.committee_cpu_s for cost in self.phases.values())

    @property
    def committee_bytes(self) -> int:
        """Bytes from and to all members of the committee."""
        return sum(cost.committee_upload_bytes + cost.committee_download_bytes for cost in self.phases.values())

    @property
    def server_cpu_s(self) -> float:
        """CPU of the server."""
        return sum(cost.server_cpu_s for cost in self.phases.values())


@dataclass(slots=True)
class _Run:
    params: SessionParams
    vectors: VectorSource
    leaving: Mapping[int, int]
    workers: int
    record: bool
    watch: Watcher | None
    identities: Mapping[int, Identity]
    roster: Roster | None
    committee: SimulatedCommittee | None
    absent: Mapping[int, int]
    context: bytes | None
    clients: dict[int, ClientSession] = field(default_factory=dict)
    members: dict[int, CommitteeMember] = field(default_factory=dict)
    absences: dict[int, str] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    phases: dict[Phase, PhaseCost] = field(default_factory=dict)
    messages: list[MessageRecord] = field(default_factory=list)

    def answers(self, party: PartyId, phase: Phase) -> bool:
        failed, leaving = (
            (self.absences, self.absent) if party.role is Role.COMMITTEE else (self.failures, self.leaving)
        )
        number = party.number
        return number not in failed and leaving.get(number, len(_PHASE_ORDER)) > _PHASE_ORDER[phase]

    def party(self, party: PartyId) -> ClientSession | CommitteeMember:
        return self.member(party.number) if party.role is Role.COMMITTEE else self.client(party.number)

    def member(self, number: int) -> CommitteeMember:
        if self.committee is None:
            raise ConfigurationError(f"suite {self.params.suite!r} needs a committee: committee=hold_ceremony(…)")
        if number not in self.members:
            self.members[number] = self.committee.session(self.params, number)
        return self.members[number]

    def client(self, number: int) -> ClientSession:
        if number not in self.clients:
            self.clients[number] = simulated_client(
                self.params,
                number,
                identity=self.identities[number] if self.roster else None,
                roster=self.roster,
                committee=self.committee,
                workers=self.workers,
            )
        return self.clients[number]

    def vector(self, number: int) -> Vector:
        if callable(self.vectors):
            return self.vectors(number)
        if number not in self.vectors:
            raise ConfigurationError(f"vectors holds none of client {number}: give one for each client of the cohort")
        return self.vectors[number]


def simulated_client(
    params: SessionParams,
    number: int,
    *,
    identity: Identity | None = None,
    roster: Roster | None = None,
    committee: SimulatedCommittee | None = None,
    workers: int = 1,
) -> ClientSession:
    """Make a client as `simulate` does: one that accepts the suite and the threat model of whoever simulates it.

    Args:
        params: the session's parameters.
        number: the client.
        identity: its signing key, where there is a roster.
        roster: the clients' identities; needed against an active server.
        committee: who opens the sum, for suites that have a committee.
        workers: threads for long vectors.
    """
    chosen = suite(params.suite)
    return chosen.client(
        params,
        number,
        policy=ClientPolicy(corrupt=params.threat.corrupt, servers=frozenset({params.threat.server}))
        if chosen.protects
        else PLAIN_ALLOWED,
        credentials=Credentials(identity, roster) if identity and roster else None,
        guard=MemoryGuard() if params.threat.server is ServerModel.ACTIVE else None,
        workers=workers,
        remember_response=False,
        committee=committee.key if committee else None,
    )


def simulate(
    params: SessionParams,
    vectors: VectorSource,
    *,
    drops: Mapping[Phase, Collection[int]] | None = None,
    workers: int = 1,
    record: bool = False,
    watch: Watcher | None = None,
    server: ServerSession | None = None,
    clients: Mapping[int, ClientSession] | None = None,
    identities: Mapping[int, Identity] | None = None,
    committee: SimulatedCommittee | None = None,
    absent_members: Mapping[Phase, Collection[int]] | None = None,
    before_opening: BeforeOpening | None = None,
    context: bytes | None = None,
) -> Simulation:
    """Run one session from its first phase to its sum.

    Args:
        params: the session's parameters.
        vectors: each client's vector, or a function that makes it when it is needed (and may be forgotten after). A
            client for which it raises `BudgetExceeded` drops out.
        drops: clients that fall silent from that phase on. A drop in a phase that the suite lacks takes effect in the
            next one that it has.
        workers: threads for long vectors.
        record: keep a digest of every message that leaves a client.
        watch: called with (client, phase, message) for every message that leaves a client.
        server: the server to run, if it is made already (an instrumented one, say).
        clients: likewise those clients that are made already.
        identities: the clients' signing keys; needed against an active server. They make the roster.
        committee: who opens the sum, for suites that have a committee; its budget is spent by one opening.
        absent_members: members of the committee that fall silent from that phase on.
        before_opening: called with the number of contributors when uploads are closed, if they are enough, and before
            anything is asked or computed that opens their sum. What it raises is raised here, and nothing is opened.
        context: 32 bytes, which everybody is told when vectors are due; needed if the parameters leave it to come.

    Returns:
        The sum and what it cost. An abort is an outcome, not an exception.

    Raises:
        ConfigurationError: a vector is missing or does not fit the parameters, or somebody drops out who is not there.

    Guarantees:
        1. No sum is opened unless `before_opening` has returned.
    """
    run = _Run(
        params=params,
        vectors=vectors,
        leaving=_leaving(drops or {}, params.cohort),
        workers=workers,
        record=record,
        watch=watch,
        identities=identities or {},
        roster=roster_of(identities) if identities else None,
        committee=committee,
        absent=_leaving(absent_members or {}, committee.members if committee else None),
        context=context,
        clients=dict(clients or {}),
    )
    server = server or suite(params.suite).server(
        params, roster=run.roster, workers=workers, committee=committee.key if committee else None
    )
    contributors: tuple[int, ...] = ()
    aborted = None
    try:
        while server.phase is not Phase.FINISHED:
            phase = server.phase
            cost = run.phases.setdefault(phase, PhaseCost())
            if phase in _UPLOADS and context is not None:
                server.bind(context)
            answered = [party for party in sorted(server.waiting) if _exchange(run, server, party, phase, cost)]
            if phase in _UPLOADS:
                contributors = tuple(party.number for party in answered)
                if before_opening is not None and server.ready:
                    before_opening(len(contributors))
            started = time.process_time()
            server.advance()
            cost.add_server(time.process_time() - started)
    except RoundAborted as error:
        aborted = str(error)
    return Simulation(
        aggregate=None if aborted else server.result,
        contributors=() if aborted else contributors,
        aborted=aborted,
        failures=run.failures,
        member_failures=run.absences,
        phases=run.phases,
        messages=tuple(run.messages),
    )


def _leaving(drops: Mapping[Phase, Collection[int]], known: Collection[int] | None) -> dict[int, int]:
    """Return when each party falls silent, of those that there are; None: of a committee that nobody asks for."""
    leaving: dict[int, int] = {}
    for phase, numbers in drops.items():
        if phase not in _PHASE_ORDER or isinstance(numbers, int):
            raise ConfigurationError(
                f"drops holds {{{phase!r}: {numbers!r}}}: a phase and numbers work, such as {{Phase.MASKED_INPUT: [3]}}"
            )
        if known is not None and (strangers := set(numbers) - set(known)):
            raise ConfigurationError(f"drops names {sorted(strangers)} at {phase}, who have no part in the session")
        for number in numbers:
            leaving[number] = min(leaving.get(number, len(_PHASE_ORDER)), _PHASE_ORDER[phase])
    return leaving


def _exchange(run: _Run, server: ServerSession, party: PartyId, phase: Phase, cost: PhaseCost) -> bool:
    """Carry one request and its response; tell whether the response was accepted."""
    if not run.answers(party, phase):
        return False
    of_committee = party.role is Role.COMMITTEE
    if phase in _UPLOADS:
        try:
            vector = run.vector(party.number)
        except BudgetExceeded as error:  # the client's own budget: it takes part no more
            run.failures[party.number] = str(error)
            return False
        run.client(party.number).submit(vector)
        if run.context is not None:
            run.client(party.number).bind(run.context)
    begun = time.process_time()
    request = server.request_for(party)
    asked = time.process_time()
    try:
        response = run.party(party).respond(request)
        answered = time.process_time()
        cost.add_server(asked - begun)
        if of_committee:
            cost.committee_cpu_s += answered - asked
            cost.committee_calls_s.append(answered - asked)
            cost.committee_download_bytes += len(request)
            cost.committee_upload_bytes += len(response)
        else:
            cost.client_cpu_s += answered - asked
            cost.client_calls_s.append(answered - asked)
            cost.download_bytes += len(request)
            cost.upload_bytes += len(response)
        if run.record:
            from privfl.evidence import MessageRecord  # noqa: PLC0415 - for those who record

            run.messages.append(MessageRecord.of(party, phase, response))
        if run.watch is not None and not of_committee:
            run.watch(party.number, phase, response)
        received = time.process_time()
        server.receive(party, response)
        cost.add_server(time.process_time() - received)
    except ProtocolError as error:
        (run.absences if of_committee else run.failures)[party.number] = str(error)
        return False
    return True


def simulated_committee(setting: Setting) -> SimulatedCommittee | None:
    """Make a committee and its key in this process, if the setting is one that needs them.

    Args:
        setting: a plan, without a key.

    Raises:
        MissingExtra: TenSEAL is not installed.
    """
    if not isinstance(setting, CkksSetting):
        return None
    from privfl.ckks.rehearsal import hold_ceremony  # noqa: PLC0415 - suites load when used

    return hold_ceremony(setting.epoch)


def draw_identities(numbers: Iterable[int]) -> dict[int, Identity]:
    """Draw fresh identities for simulated clients."""
    entropy = OsEntropy()
    return {number: Identity.generate(entropy) for number in numbers}


def roster_of(identities: Mapping[int, Identity]) -> Roster:
    """Return the roster that these identities make."""
    return Roster({number: identity.public for number, identity in identities.items()})


Update = TypeVar("Update", bound=npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]])


def aggregate(
    updates: Sequence[Update],
    *,
    clip: float,
    suite: str = "kahe",
    weights: Sequence[float] | None = None,
    bits: int = 16,
    wire: WireForm = WireForm.WORDS,
    threat: ThreatModel | None = None,
    committee: CommitteeShape | None = None,
) -> Update:
    """Average updates through a secure session among in-process parties.

    Args:
        updates: one for each client: a float array, or a mapping of names to float arrays; all alike.
        clip: largest magnitude of a value; greater ones are cut there.
        suite: which suite sums.
        weights: positive, one for each client; equal unless given.
        bits: bits of a quantised value, 2 … 24.
        wire: vectors travel as words, or packed.
        threat: the threat model; a tenth corrupt and a tenth dropping out unless said.
        committee: size and threshold of the committee that opens the sum; for `ckks`, three of five unless said.

    Returns:
        The weighted mean, shaped like one update, float32. Its error stays below n·w_max/W · step/2 for values, with
        step = clip / (2^(bits−1) − 1) and W the sum of the weights, plus 2·clip·Σ|ŵ−w|/W for weights that are written
        as ŵ (whole weights up to 2^(bits−1) − 1 are written exactly); half a step when all weigh the same. Where the
        suite's sums are not exact, its error is added: under `ckks`, 10^−5 of clip (standard deviation).

    Raises:
        ConfigurationError: updates that differ in names or shapes, are not finite, or too few for the suite.
        RoundAborted: the session did not finish.

    >>> import numpy as np
    >>> updates = [np.full(3, value, np.float32) for value in (0.1, 0.2, 0.6)]
    >>> aggregate(updates, clip=1.0).round(3)
    array([0.3, 0.3, 0.3], dtype=float32)
    """
    if len(updates) == 0:
        raise ConfigurationError("updates is empty: give one update for each client")
    weights = [1.0] * len(updates) if weights is None else list(weights)
    if len(weights) != len(updates):
        raise ConfigurationError(f"weights has {len(weights)} entries where {len(updates)} updates need one each")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise ConfigurationError("weights must be finite and positive, such as the clients' numbers of examples")
    named = [dict(update) if isinstance(update, Mapping) else {"update": np.asarray(update)} for update in updates]
    codec = UpdateCodec(
        layout=Layout.of(named[0]), coding=FixedPoint(clip=clip, bits=bits), weight_max=float(max(weights))
    )
    encoded = [codec.encode(arrays, weight=weight) for arrays, weight in zip(named, weights, strict=True)]
    clipped = sum(one.saturated for one in encoded) / (codec.layout.length * len(encoded))
    if clipped > _MANY_CLIPPED:
        warnings.warn(f"{clipped:.1%} of the values exceeded clip={clip} and were cut there", stacklevel=2)
    active = threat is not None and threat.server is ServerModel.ACTIVE
    identities = draw_identities(range(len(updates))) if active else None
    chosen = suite_named(suite)
    opened_by = simulated_committee(
        chosen.setting(
            len(updates),
            threat or ThreatModel(),
            bound=codec.bound,
            wire=wire,
            length=codec.length,
            committee=committee,
        )
    )
    params = plan_session(
        suite,
        roster=roster_of(identities) if identities else None,
        committee=opened_by.key if opened_by else None,
        cohort=tuple(range(len(updates))),
        vector=VectorSpec(length=codec.length, bound=codec.bound),
        threat=threat,
        wire=wire,
        nonce=os.urandom(NONCE_BYTES),
        context=digest(Label.CONTEXT, b"aggregate"),
    )
    vectors = {number: one.vector for number, one in enumerate(encoded)}
    outcome = simulate(params, vectors, identities=identities, committee=opened_by)
    if outcome.aggregate is None:
        raise RoundAborted(outcome.aborted or "the round aborted")
    summed = outcome.aggregate
    codec = replace(codec, error_std=summed.error_std)
    mean = codec.decode(summed.vector, contributors=summed.contributors).arrays
    return mean if isinstance(updates[0], Mapping) else mean["update"]  # type: ignore[return-value]
