"""A federated run whose clients are elsewhere: its rounds are held in a hall, where clients come and go."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from privfl.compression.compressor import Chosen
from privfl.errors import ConfigurationError, DecodeError, RoundAborted
from privfl.integrations.consortium.committee import committee_of
from privfl.integrations.consortium.hall import Hall
from privfl.integrations.consortium.messages import Facts, Greeting, encode
from privfl.integrations.consortium.orders import Order, Outcome, PhaseTraffic
from privfl.integrations.consortium.refusals import one_line
from privfl.learning.averaging import Averaging
from privfl.learning.distant_data import held_out_of
from privfl.learning.job import Job, job_to_toml
from privfl.learning.participation import refuse_what_is_not_for_distant_clients, write_model
from privfl.learning.scheduling import RoundPlan
from privfl.learning.sessions import Held, Sessions
from privfl.learning.site import Charge, HeldOut, Site, Summed
from privfl.params import SessionParams
from privfl.primitives.signatures import Identity
from privfl.roster import Roster
from privfl.session import Phase
from privfl.simulate import PhaseCost, Simulation
from privfl.suites import suite
from privfl.wire import Role
from privfl.wire.typed import decoder_of

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.key import CommitteeKey

TRAIN: Final = "train"
_CLIENT: Final = Role.CLIENT.name.lower()
_OF_COMMITTEE: Final = frozenset({Phase.CONVENE, Phase.OPEN})
LOGGER: Final = logging.getLogger("privfl.coordinator")
_MOST_PAUSE_S: Final = 30.0  # after rounds that came to nothing
_NO_ANSWER: Final = "no answer: in {phase}"


class RoundTerms(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What clients have to know of a round beside its model.

    Attributes:
        clip: scale of its updates.
    """

    clip: float

    def to_bytes(self) -> bytes:
        """Write it down."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> RoundTerms:
        """Read it.

        Raises:
            DecodeError: it is none.
        """
        try:
            return decoder_of(cls).decode(raw)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"not the terms of a round: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a coordinator waits.

    Attributes:
        phase_s: for answers of a phase in which nobody trains.
        upload_s: for uploads, which clients train for.
        gather_s: for clients to come before a round.
        clients: that have to be there for a round to begin; a cohort, or as many as come in `gather_s`.
    """

    phase_s: float = 60.0
    upload_s: float = 600.0
    gather_s: float = 60.0
    clients: int | None = None

    def __post_init__(self) -> None:
        for key in ("phase_s", "upload_s", "gather_s"):
            if not 0 < getattr(self, key) <= 1e6:
                raise ConfigurationError(f"{key} is {getattr(self, key)!r}: seconds above 0 work, such as 60")


def agreed_of(greeting: Greeting) -> bytes:
    """Return what all parties know of a run, for the contexts of its rounds: all of its greeting but its name.

    A coordinator draws the name. Were it in the contexts, the same job held again would have others: its clients would
    train the same updates for other sums, of which one, with a client less, tells that client's update.
    """
    return encode(msgspec.structs.replace(greeting, run=bytes(len(greeting.run))))


class DistantClients:
    """The clients of a run, as its coordinator knows them.

    Args:
        job: the run's.
        run: 16 random bytes that name it, the same as long as it lasts.
        identity: of the coordinator.
        roster: of all clients, numbered from 0.
        patience: how long it waits for them.
        committee: roster of the committee that opens sums, numbered from 0, where the job's suite has one: clients all.
        workers: threads for long vectors.

    Attributes:
        committee: that opens sums; None where no suite has one.
        hall: where transports bring them.
        data: what the coordinator holds of their data.
        roster: likewise.
        agreed: the run as everybody is shown it.

    Raises:
        ConfigurationError: distant clients cannot do the job, the roster does not list them all or has expired, or a
            committee is missing or has another size than the job says.
    """

    def __init__(
        self,
        job: Job,
        *,
        run: bytes,
        identity: Identity,
        roster: Roster,
        patience: Patience | None = None,
        committee: Roster | None = None,
        workers: int = 1,
    ) -> None:
        self.check(job)
        job = job.with_minimum()
        numbers = range(job.data.clients)
        roster.require_current()
        roster.require(numbers)
        strangers = sorted(roster.identities.keys() - set(numbers))
        if strangers:
            raise ConfigurationError(
                f"the roster lists client {strangers[0]}, and data.clients is {job.data.clients}: as many clients, "
                f"numbered from 0, work"
            )
        self.roster: Roster = roster
        self.committee = committee_of(job, committee, roster)
        self.data: HeldOut = held_out_of(job)
        facts = self.data.facts
        greeting = Greeting(
            run=run,
            job=job_to_toml(job),
            facts=Facts(
                clients=facts.clients,
                examples=facts.examples,
                classes=facts.classes,
                feature_shape=facts.feature_shape,
            ),
            coordinator=identity.public,
        )
        self.agreed: bytes = agreed_of(greeting)
        self.hall = Hall(greeting, clients=numbers)
        self.patience = patience or Patience()
        self._job = job
        self._workers = workers

    def check(self, job: Job) -> None:
        """See `Elsewhere.check`."""
        refuse_what_is_not_for_distant_clients(job)

    def site(self, sessions: Sessions) -> Site:
        """See `Elsewhere.site`."""
        return _Distant(self, self._job, sessions, self._workers)


class _Distant:
    """Sums of one run."""

    def __init__(self, clients: DistantClients, job: Job, sessions: Sessions, workers: int) -> None:
        self._clients = clients
        self._job = job
        self._sessions = sessions
        self._workers = workers
        self._aborts = 0  # one after the other
        self._committee = clients.committee
        if self._committee is not None:
            self._committee.check(sessions.key_epoch)

    def sum(
        self,
        plan: RoundPlan,
        averaging: Averaging,
        *,
        context: bytes,
        expected: bytes | None,  # noqa: ARG002 - of buffers, which distant clients have none of
        chosen: Chosen,  # noqa: ARG002 - clients choose likewise, by the context
        charge: Charge,
    ) -> Summed:
        """See `Site.sum`."""
        begun = time.perf_counter()
        # Nobody would answer any more: the run ends here, to go on with --resume under a new one.
        self._clients.roster.require_current()
        if self._aborts:  # what is wrong may take people to mend it: no reason to go through all rounds in a second
            time.sleep(min(2.0 ** (self._aborts - 1), _MOST_PAUSE_S))
        plan = self._invited(plan)
        why_not = self._sessions.why_not(len(plan.cohort))
        if why_not is not None:
            return self._summed(plan, None, Simulation.without_session(why_not), begun)
        patience = self._clients.patience
        try:
            key = self._key(plan.number)
        except RoundAborted as error:  # no committee has a key
            return self._summed(plan, None, Simulation.without_session(str(error)), begun)
        params = self._sessions.begun(context, plan.cohort)
        outcome = self._clients.hall.hold(
            Order(
                round=plan.number,
                kind=TRAIN,
                params=params,
                server=suite(params.suite).server(
                    params,
                    roster=self._clients.roster if params.roster_digest else None,
                    workers=self._workers,
                    committee=key,
                ),
                terms=RoundTerms(clip=averaging.clip).to_bytes(),
                model=write_model(next(iter(plan.assignments.values())).model.weights),
                phase_timeout_s=patience.phase_s,
                upload_timeout_s=patience.upload_s,
                members=self._committee.members if self._committee else {},
                committee=key.to_bytes() if key else b"",
            ),
            before_opening=charge,
        )
        if self._committee is not None:
            self._committee.over(outcome)
        return self._summed(_as_it_went(plan, outcome), params, _simulation(outcome), begun)

    def _note(self, number: int, outcome: Simulation) -> None:
        """Say in the log that a round came to nothing, and who had a part in that."""
        self._aborts = self._aborts + 1 if outcome.aborted is not None else 0
        if outcome.aborted is not None:
            why = "".join(f"; client {client}: {one_line(text)}" for client, text in sorted(outcome.failures.items()))
            LOGGER.warning("round %d: nothing was summed: %s%s", number, outcome.aborted, why)

    def _key(self, number: int) -> CommitteeKey | None:
        """Return a key that a committee can open the round's sum with, where one does.

        Raises:
            RoundAborted: there is none, and none could be made.
        """
        if self._committee is None:
            return None
        patience = self._clients.patience
        key = self._committee.key(
            self._sessions.key_epoch,
            self._clients.hall,
            number=number,
            gather_s=patience.gather_s,
            phase_s=patience.phase_s,
        )
        self._sessions.committee = key
        return key

    def _invited(self, plan: RoundPlan) -> RoundPlan:
        """Leave those out of a drawn cohort who are not there, if enough are: nobody need wait for them."""
        patience, hall = self._clients.patience, self._clients.hall
        wanted = len(plan.cohort) if patience.clients is None else min(patience.clients, self._job.data.clients)
        there = hall.gather(min(wanted, len(plan.cohort)), patience.gather_s, among=plan.cohort)
        invited = tuple(client for client in plan.cohort if client in there)
        if self._sessions.why_not(len(invited)) is not None:
            return plan
        return replace(plan, cohort=invited)

    def _summed(self, plan: RoundPlan, params: SessionParams | None, outcome: Simulation, begun: float) -> Summed:
        self._note(plan.number, outcome)
        held = Held(
            outcome=outcome,
            params=params,
            seconds=time.perf_counter() - begun,
            ceremony_cpu_s=0.0,
            ceremony_bytes=self._committee.ceremony_bytes() if self._committee else 0,
            view=None,
        )
        uploaded = {one.client for one in outcome.messages if one.phase in {Phase.MASKED_INPUT, Phase.UPLOAD}}
        return Summed(plan=plan, held=held, plain=(self._plain(plan, len(uploaded)), 0.0), trained=len(uploaded))

    def _plain(self, plan: RoundPlan, uploads: int) -> Simulation:
        """Say what the same vectors would have weighed under `plain`; nobody has measured how long they take."""
        params = self._sessions.planned(bytes(32), plan.cohort, "plain")
        size = suite("plain").message_sizes(params)[Role.CLIENT, Phase.UPLOAD].most
        cost = PhaseCost(upload_bytes=uploads * size)
        return replace(Simulation.without_session("not held"), phases={Phase.UPLOAD: cost})


def _as_it_went(plan: RoundPlan, outcome: Outcome) -> RoundPlan:
    """Return the plan with who fell silent, from which phase on, and why."""
    answered: dict[str, set[int]] = defaultdict(set)
    for message in outcome.messages:
        if message.role == _CLIENT:
            answered[message.phase].add(message.client)
    there, drops, because = set(plan.cohort), {}, {}
    for phase in outcome.phases:
        # Only some have to answer in the last phase, and none where a committee does; who is not asked has not dropped.
        if not answered[phase]:
            break
        gone = there - answered[phase]
        drops[phase] = frozenset(gone)
        # Who declined, or was refused, has said or done something: that is why.
        because.update({client: _NO_ANSWER.format(phase=phase.value) for client in gone - outcome.failures.keys()})
        there &= answered[phase]
    return replace(plan, drops={phase: gone for phase, gone in drops.items() if gone}, because=because)


def _simulation(outcome: Outcome) -> Simulation:
    phases: Mapping[Phase, PhaseCost] = {phase: _cost(phase, cost) for phase, cost in outcome.phases.items()}
    return Simulation(
        aggregate=outcome.aggregate,
        contributors=outcome.contributors,
        aborted=outcome.aborted,
        failures=outcome.failures,
        member_failures=outcome.member_failures,
        phases=phases,
        messages=outcome.messages,
    )


def _cost(phase: Phase, cost: PhaseTraffic) -> PhaseCost:
    if phase in _OF_COMMITTEE:
        return PhaseCost(
            server_cpu_s=cost.server_cpu_s,
            committee_upload_bytes=cost.upload_bytes,
            committee_download_bytes=cost.download_bytes,
        )
    return PhaseCost(server_cpu_s=cost.server_cpu_s, upload_bytes=cost.upload_bytes, download_bytes=cost.download_bytes)
