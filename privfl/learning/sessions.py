"""The secure sessions of a run: identities, committee, parameters, one session a round, and what `plain` would cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError
from privfl.learning.client_books import ClientBooks
from privfl.learning.cohort import draw_absences
from privfl.learning.job import Job
from privfl.learning.records import UploadView
from privfl.params import (
    NONCE_BYTES,
    CkksSetting,
    KeyEpoch,
    ServerModel,
    SessionParams,
    Setting,
    ThreatModel,
    VectorSpec,
)
from privfl.primitives.signatures import Identity
from privfl.roster import Roster
from privfl.session import Phase, Vector
from privfl.simulate import BeforeOpening, Simulation, draw_identities, roster_of, simulate, simulated_committee
from privfl.suites import plan_session, suite

_VIEW_COORDINATES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundInputs:
    """What a round brings to its session.

    Attributes:
        number: of the round; 0 for a session on known inputs, which is none.
        cohort: clients invited.
        drops: who falls silent from which phase on.
        context: digest of what the round is about.
        vectors: of the clients that upload.
    """

    number: int
    cohort: tuple[int, ...]
    drops: Mapping[Phase, frozenset[int]]
    context: bytes
    vectors: Mapping[int, Vector] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A session that was held, or could not be.

    Attributes:
        outcome: the sum and its cost.
        params: of the session; None if there was none.
        seconds: of the whole aggregation.
        ceremony_cpu_s: of a key ceremony that it took.
        ceremony_bytes: likewise.
        view: one client's upload as the server saw it.
        upload: number of a client, and its upload as it left it, if it was to be kept.
    """

    outcome: Simulation
    params: SessionParams | None
    seconds: float
    ceremony_cpu_s: float
    ceremony_bytes: int
    view: UploadView | None
    upload: tuple[int, bytes] | None = field(default=None, repr=False)


class Sessions:
    """Holds the sessions of one run.

    Args:
        job: the run's.
        vector: length and bounds of what is summed.
        context: of the first round: parameters that do not work show now.
        clients: invited to a session, at most; a cohort unless given.
        identities: the clients' signing keys against an active server; fresh ones unless given.
        roster: of clients that are not simulated here, who have their keys themselves, as has a committee among them.
        workers: threads for long vectors.

    Attributes:
        params: parameters of the latest round's session.
        identities: the clients' signing keys; None where none are needed.
        committee: key of a committee that is not simulated here, once it has one.

    Raises:
        ConfigurationError: no session of this job can be held.
    """

    def __init__(
        self,
        job: Job,
        vector: VectorSpec,
        *,
        context: bytes,
        clients: int | None = None,
        identities: Mapping[int, Identity] | None = None,
        roster: Roster | None = None,
        workers: int = 1,
    ) -> None:
        self._job = job
        self._vector = vector
        self._clients = job.cohort_size if clients is None else clients
        self._workers = workers
        active = job.threat.server is ServerModel.ACTIVE
        own = active and roster is None
        self.identities = (identities or draw_identities(range(job.data.clients))) if own else None
        signed = active or suite(job.suite).has_committee  # distant clients sign what they upload, since they can
        self._roster = roster_of(self.identities) if self.identities else roster if signed else None
        self.committee: object | None = None
        self._committee = simulated_committee(self._setting()) if roster is None else None
        self._refused: dict[int, str | None] = {}
        self._unbooked = self._committee  # whose ceremony no round has paid for yet
        self.params = self.planned(context, tuple(range(self._clients)))

    def hold(
        self,
        inputs: RoundInputs,
        *,
        charge: BeforeOpening,
        before_uploads: bool = False,
        client_books: ClientBooks | None = None,
        keep: int | None = None,
        before_session: Callable[[SessionParams], None] | None = None,
    ) -> Held:
        """Hold the session of a round.

        Args:
            inputs: what it sums.
            charge: called with the number of contributors, before anything is asked that opens their sum.
            before_uploads: or with the number of clients that will upload, before the first of them does.
            client_books: ledgers of the clients' own, which they ask before they upload.
            keep: client whose upload is kept as it is; none unless given.
            before_session: called with the session's parameters, before anybody uploads.
        """
        begun = time.perf_counter()
        of_round = inputs.number > 0  # others are no round's: neither its parameters nor its cost
        ceremony_cpu_s, ceremony_bytes = self._renew_committee(booked=of_round)
        why_not = self.why_not(len(inputs.cohort))
        if why_not is not None:
            return Held(
                outcome=Simulation.without_session(why_not),
                params=None,
                seconds=time.perf_counter() - begun,
                ceremony_cpu_s=ceremony_cpu_s,
                ceremony_bytes=ceremony_bytes,
                view=None,
            )
        params = self.planned(inputs.context, inputs.cohort)
        if of_round:
            self.params = params
        if before_session is not None:
            before_session(params)
        if before_uploads:
            charge(len(inputs.vectors))
        catch = _Catch(params, keep)
        outcome = simulate(
            params,
            client_books.guarded(params, inputs.vectors.__getitem__) if client_books else inputs.vectors,
            drops=_drops_of(inputs),
            workers=self._workers,
            record=True,
            watch=catch,
            identities=self.identities,
            committee=self._committee,
            absent_members=draw_absences(self._job, inputs.number),
            before_opening=None if before_uploads else charge,
        )
        return Held(
            outcome=outcome,
            params=params,
            seconds=time.perf_counter() - begun,
            ceremony_cpu_s=ceremony_cpu_s,
            ceremony_bytes=ceremony_bytes,
            view=catch.view(inputs),
            upload=catch.kept,
        )

    def plain(self, inputs: RoundInputs, held: Held) -> tuple[Simulation, float]:
        """Measure the same vectors through `plain`, for the comparison in the report; return seconds as well."""
        if self._job.suite == "plain" or held.params is None:
            return held.outcome, held.seconds
        params = replace(self.planned(inputs.context, inputs.cohort, "plain"), minimum_contributors=1)
        # Who refused to upload does not do it here either.
        drops = _drops_of(inputs)
        silent = drops.get(Phase.MASKED_INPUT, frozenset()) | held.outcome.failures.keys()
        begun = time.perf_counter()
        plain = simulate(params, inputs.vectors, drops={**drops, Phase.MASKED_INPUT: silent}, record=True)
        return plain, time.perf_counter() - begun

    @property
    def key_epoch(self) -> KeyEpoch:
        """What the committee's key is made for; errors as those of `key_epoch`."""
        return key_epoch(self._job, self._vector, clients=self._clients)

    def _setting(self) -> Setting:
        """Return the setting that a committee's key is made for."""
        vector = self._vector
        return self._job.setting(vector.length, clients=self._clients, bound=vector.bound, sum_bound=vector.sum_bound)

    def _renew_committee(self, *, booked: bool) -> tuple[float, int]:
        """See that the committee, if there is one, has an opening left; tell CPU and bytes of a ceremony, once."""
        if self._committee is not None and not self._committee.remaining():
            self._committee = self._unbooked = simulated_committee(self._setting())
        if not booked:
            return 0.0, 0
        paid, self._unbooked = self._unbooked, None
        return (paid.ceremony_cpu_s, paid.ceremony_bytes) if paid is not None else (0.0, 0)

    def why_not(self, clients: int) -> str | None:
        """Say why no session can be held among so many clients; None if one can."""
        fewest = self._job.fewest_contributors(clients)
        if clients < fewest:
            return f"{clients} clients were drawn and {fewest} are needed (cohort.minimum)"
        if clients not in self._refused:
            try:
                self.planned(bytes(32), tuple(range(clients)))
                self._refused[clients] = None
            except ConfigurationError as error:  # fewer than a whole cohort may not withstand what that does
                self._refused[clients] = str(error)
        return self._refused[clients]

    def begun(self, context: bytes, cohort: tuple[int, ...]) -> SessionParams:
        """Return the parameters of a round's session that is held elsewhere; arguments as those of `planned`."""
        self.params = self.planned(context, cohort)
        return self.params

    def planned(self, context: bytes, cohort: tuple[int, ...], suite_name: str | None = None) -> SessionParams:
        """Return the parameters of a session, under a nonce of its own.

        Args:
            context: digest of what it is about.
            cohort: clients invited.
            suite_name: another suite than the job's.
        """
        key = self._committee.key if self._committee else self.committee
        return plan_session(
            suite_name or self._job.suite,
            cohort=cohort,
            vector=self._vector,
            threat=self._job.threat if suite_name is None else ThreatModel(),  # which is nothing to `plain`
            wire=self._job.encoding.wire,
            minimum_contributors=self._job.minimum,
            nonce=os.urandom(NONCE_BYTES),
            context=context,
            roster=self._roster if suite_name is None else None,
            committee=key if suite_name is None else None,
        )


def key_epoch(job: Job, vector: VectorSpec, *, clients: int | None = None) -> KeyEpoch:
    """Return what the key of a committee is made for that opens a job's sums.

    Args:
        job: the job.
        vector: length and bounds of what is summed.
        clients: invited to a session, at most; a cohort unless given.

    Raises:
        ConfigurationError: no committee opens them, or nothing fits.
    """
    setting = job.setting(vector.length, clients=clients, bound=vector.bound, sum_bound=vector.sum_bound)
    if not isinstance(setting, CkksSetting):
        raise ConfigurationError(f"suite is {job.suite!r}, whose sums no committee opens: 'ckks' works")
    return setting.epoch


def _drops_of(inputs: RoundInputs) -> dict[Phase, frozenset[int]]:
    """Who of a cohort falls silent in which phase; a job's script may name clients that are not in it."""
    return {phase: frozenset(who) & set(inputs.cohort) for phase, who in inputs.drops.items()}


class _Catch:
    """Keeps the beginning of the first upload that passes by, and all of the upload of one client."""

    def __init__(self, params: SessionParams, keep: int | None) -> None:
        self.kept: tuple[int, bytes] | None = None
        self._keep = keep
        self._ring: Ring = params.ring
        self._length = params.vector.length
        self._client = -1
        self._words: npt.NDArray[Any] | None = None

    def __call__(self, client: int, phase: Phase, message: bytes) -> None:
        if phase not in {Phase.MASKED_INPUT, Phase.UPLOAD}:
            return
        if client == self._keep:
            self.kept = (client, message)
        if self._words is None:
            self._client = client
            tail = memoryview(message)[-self._ring.vector_bytes(self._length) :]
            self._words = self._ring.received(tail, self._length)[:_VIEW_COORDINATES].copy()

    def view(self, inputs: RoundInputs) -> UploadView | None:
        """Return what was caught beside what it was made of."""
        if self._words is None:
            return None
        submitted = np.asarray(inputs.vectors[self._client])
        return UploadView(
            client=self._client,
            round=inputs.number,
            true_vector=submitted[:_VIEW_COORDINATES].astype(np.int32),  # vector.bound is below 2^31
            received=self._words,
            ring_bits=self._ring.bits,
        )
