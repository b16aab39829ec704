"""One session while it is held: who is waited for, what was said, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from privfl.errors import DecodeError, RemoteProtocolError, RoundAborted
from privfl.evidence import MessageRecord
from privfl.integrations.consortium.ceremony_orders import CeremonyOrder
from privfl.integrations.consortium.messages import MOST_INLINE_BYTES, UPLOADS, Step, model_digest
from privfl.integrations.consortium.orders import Order, Outcome, PhaseTraffic
from privfl.integrations.consortium.phases import Asked, Counters, OpenPhase, View
from privfl.integrations.consortium.refusals import NotWaited, one_line
from privfl.session import Lockstep, Phase
from privfl.wire import PartyId, Role


class Sitting:
    """One session while it is held, or one ceremony.

    A client may speak for two parties, itself and the member of the committee that it is; in each phase, it speaks for
    one of them. What it spoils as the one leaves the other its part.

    Args:
        order: what is to be summed, or what key is to be made.
        changed: the hall's lock: all bookkeeping here is under it. It is notified when nobody is waited for any more.
        counters: the hall's.
        clock: likewise.

    Attributes:
        order: likewise.
        model: digest of the model.

    Raises:
        ConfigurationError: no session can be held under these parameters.
    """

    def __init__(
        self,
        order: Order | CeremonyOrder,
        *,
        changed: threading.Condition,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.order = order
        self.model = model_digest(order.model)
        self._params = order.params.to_bytes()
        self._sizes = order.sizes
        self._seats = order.seats()
        self._changed = changed
        self._counters = counters
        self._clock = clock
        self._server: Lockstep = order.server
        # Taken before the hall's lock, never after it: the session works for long, the hall must not wait meanwhile.
        self._server_lock = threading.Lock()
        self._phase: OpenPhase | None = None
        self._failures: dict[PartyId, str] = {}
        self._spoken_to: dict[int, PartyId] = {}
        self._phases: dict[Phase, PhaseTraffic] = {}
        self._messages: list[MessageRecord] = []
        self._contributors: tuple[int, ...] = ()
        self._aborted: str | None = None

    # Asked by transports, through the hall.

    def step_for(self, client: int) -> Step | None:
        """Return the step that waits for a client; None if none does."""
        with self._changed:
            phase = self._phase
            if phase is None or not phase.waits_for(client):
                return None
            asked = phase.requests.get(client)
            if asked is not None:
                return self._shown(phase, client, asked)
        with self._server_lock:
            with self._changed:
                if not phase.waits_for(client):
                    return None
            asked = self._asked(phase, client)  # the phase cannot end meanwhile: that takes the session's lock
            with self._changed:
                if not phase.waits_for(client):  # it declined meanwhile
                    return None
                phase.requests[client] = asked
                return self._shown(phase, client, asked)

    def room(self, client: int, session: bytes, phase: str) -> int:
        """See `Hall.room`."""
        with self._changed:
            open_phase = self._open_phase(client, session, phase)
            if client not in open_phase.waiting:
                raise NotWaited(f"client {client} has answered in {phase}: ask for an offer")
            return open_phase.most_bytes(client)

    def take(self, client: int, session: bytes, phase: str, body: bytes) -> None:
        """See `Hall.answer`."""
        raw: object = body
        with self._changed:
            open_phase = self._open_phase(client, session, phase)
            party = open_phase.parties[client]
            if not isinstance(raw, bytes):
                raise DecodeError(f"an answer is bytes, not {type(raw).__name__}", peer=party)
            if client in open_phase.answered:
                return
        record = MessageRecord.of(party, phase, body)  # hashes megabytes: under no lock
        with self._server_lock:
            with self._changed:
                open_phase = self._open_phase(client, session, phase)
                if client in open_phase.answered:
                    return
                self._counters.bytes_in += len(body)
            begun = time.thread_time()
            try:
                _check_length(body, open_phase.most_bytes(client), party)
                self._server.receive(party, body)
            except RemoteProtocolError as error:
                with self._changed:
                    self._counters.refused += 1
                    self._gone(party, one_line(str(error)))
                raise
            with self._changed:
                self._counters.answers += 1
                self._messages.append(record)
                open_phase.traffic.upload_bytes += len(body)
                open_phase.traffic.server_cpu_s += time.thread_time() - begun
                open_phase.answered.add(client)
                self._not_waited(client)

    def named(self, digest: bytes) -> bytes:
        """Return what clients may fetch; see `Hall.model`. The caller holds the hall's lock."""
        fetched = None if self._phase is None or self._phase.closed else self._phase.fetched.get(digest)
        if fetched is None and digest != self.model:
            raise NotWaited("this is not the open session's model: ask for an offer")
        return self.order.model if fetched is None else fetched

    def decline(self, client: int, session: bytes, why: str) -> None:
        """See `Hall.decline`."""
        with self._changed:
            if session != self.order.params.nonce or self._phase is None or client not in self._seats.values():
                raise NotWaited("this session is not open for this client: ask for an offer")
            party = self._declining(client, self._phase)
            if party not in self._failures:
                self._counters.declined += 1
                self._gone(party, one_line(f"declined: {why}"))

    def view(self, now: float) -> View | None:
        """Return how it stands; None before the first phase, and after the last. The caller holds the hall's lock."""
        phase = self._phase
        if phase is None:
            return None
        waiting = () if phase.closed else tuple(sorted(phase.waiting))
        return View(phase=phase.phase, phase_age_s=now - phase.begun, waiting=waiting)

    # Asked by the run, through the hall.

    @property
    def waiting(self) -> bool:
        """Whether anybody is waited for. The caller holds the hall's lock."""
        return self._phase is not None and bool(self._phase.waiting)

    @property
    def deadline(self) -> float:
        """When the phase ends at the latest, by the clock."""
        return self._phase.deadline if self._phase else self._clock()

    def open(self) -> bool:
        """Open the session's next phase, if there is one.

        Returns:
            Whether there is.

        Raises:
            LocalProtocolError: the server has no request to make: its context is to come.
        """
        with self._server_lock:
            phase = self._server.phase
            if phase is Phase.FINISHED:
                return False
            parties = {self._seats[party]: party for party in self._server.waiting if party in self._seats}
            with self._changed:
                gone = self._gone_among(parties)
            now = self._clock()
            seconds = self.order.upload_timeout_s if phase in UPLOADS else self.order.phase_timeout_s
            role = Role.COMMITTEE if (Role.COMMITTEE, phase) in self._sizes else Role.CLIENT
            opened = OpenPhase(
                phase=phase,
                begun=now,
                deadline=now + seconds,
                sizes=self._sizes[role, phase],
                parties=parties,
                waiting=parties.keys() - gone,
                traffic=self._phases.setdefault(phase, PhaseTraffic()),
            )
            if opened.waiting:
                # One request is made here, in the run's thread: what the run did wrong is raised there.
                first = min(opened.waiting)
                opened.requests[first] = self._asked(opened, first)
            with self._changed:
                # Who declined while the request was made.
                opened.waiting -= self._gone_among(parties)
                self._phase = opened
        return True

    def close_phase(self, before_opening: Callable[[int], None] | None) -> bool:
        """Close the phase under way and open the next: who has not answered has dropped.

        Returns:
            Whether there is a next one; if not, the session is over.

        Raises:
            Exception: whatever `before_opening` raises, or `open`.
        """
        with self._server_lock, self._changed:
            phase = self._phase
            if phase is None:
                return False
            phase.closed = True  # from here on nobody else touches the server: whoever asks looks at this first
        if phase.phase in UPLOADS:
            self._contributors = tuple(sorted(phase.answered))
            if before_opening is not None and self._server.ready:
                before_opening(len(self._contributors))
        begun = time.process_time()
        try:
            with self._server_lock:
                self._server.advance()
            phase.traffic.server_cpu_s += time.process_time() - begun
            going_on = self.open()
        except RoundAborted as error:
            self._aborted, going_on = str(error), False
        phase.traffic.seconds += self._clock() - phase.begun
        return going_on

    def dissolve(self) -> None:
        """End it, whatever is under way: nothing is taken any more, and the server is not used."""
        with self._server_lock, self._changed:
            if self._phase is not None:
                self._phase.closed = True
            self._phase = None

    def outcome(self) -> Outcome:
        """Return what came of it, when it is over."""
        order = self.order
        aggregate = order.server.result if self._aborted is None and isinstance(order, Order) else None
        return Outcome(
            aggregate=aggregate,
            contributors=self._contributors if aggregate else (),
            aborted=self._aborted,
            failures=self._failures_of(Role.CLIENT),
            member_failures=self._failures_of(Role.COMMITTEE),
            phases=self._phases,
            messages=tuple(self._messages),
        )

    # Helpers; the caller holds the lock that each names.

    def _open_phase(self, client: int, session: bytes, phase: str) -> OpenPhase:
        """Return the phase under way, if it is this one, and this client's; under the hall's lock.

        Raises:
            NotWaited: it is not.
        """
        open_phase = self._phase
        if open_phase is None or open_phase.closed or session != self.order.params.nonce or phase != open_phase.phase:
            raise NotWaited("nobody waits for an answer in this session and phase: ask for an offer")
        if client not in open_phase.waiting and client not in open_phase.answered:
            raise NotWaited(f"client {client} takes no part in this phase: ask for an offer")
        return open_phase

    def _asked(self, phase: OpenPhase, client: int) -> Asked:
        """Have the server make a request; under the session's lock."""
        begun = time.thread_time()
        party = phase.parties[client]
        request = self._server.request_for(party)
        phase.traffic.server_cpu_s += time.thread_time() - begun
        if party.role is not Role.COMMITTEE or len(request) <= MOST_INLINE_BYTES:
            return Asked(request=request)
        digest = model_digest(request)
        with self._changed:
            # All members may have one and the same: it is kept once.
            return Asked(request=phase.fetched.setdefault(digest, request), digest=digest)

    def _shown(self, phase: OpenPhase, client: int, asked: Asked) -> Step:
        """Make a step of a request; under the hall's lock."""
        party = self._spoken_to[client] = phase.parties[client]
        request = b"" if asked.digest else asked.request
        self._counters.bytes_out += len(request)
        if client not in phase.shown:
            phase.shown.add(client)
            phase.traffic.download_bytes += len(asked.request)
        return Step(
            round=self.order.round,
            kind=self.order.kind,
            session=self.order.params.nonce,
            phase=phase.phase,
            params=self._params,
            terms=self.order.terms,
            model=self.model,
            model_bytes=len(self.order.model),
            request=request,
            most_bytes=phase.most_bytes(client),
            part=self.order.part_of(party.role),
            committee=self.order.committee if phase.phase in UPLOADS else b"",
            fetched=asked.digest,
            fetched_bytes=len(asked.request) if asked.digest else 0,
        )

    def _declining(self, client: int, phase: OpenPhase) -> PartyId:
        """Return for whom a client declines: for whom it was last asked; under the hall's lock."""
        own = (party for party, speaker in self._seats.items() if speaker == client)
        return self._spoken_to.get(client) or phase.parties.get(client) or next(own)

    def _gone_among(self, parties: Mapping[int, PartyId]) -> set[int]:
        """Return who takes no further part for these; under the hall's lock."""
        return {speaker for speaker, party in parties.items() if party in self._failures}

    def _failures_of(self, role: Role) -> dict[int, str]:
        return {party.number: why for party, why in self._failures.items() if party.role is role}

    def _gone(self, party: PartyId, why: str) -> None:
        """Write down that a party takes no further part; under the hall's lock."""
        self._failures.setdefault(party, why)
        speaker = self._seats[party]
        if self._phase is not None and self._phase.parties.get(speaker) == party:
            self._not_waited(speaker)

    def _not_waited(self, client: int) -> None:
        """Wait for a client no more in this phase; under the hall's lock."""
        if self._phase is None:
            return
        self._phase.waiting.discard(client)
        self._phase.requests.pop(client, None)
        if not self._phase.waiting:
            self._changed.notify_all()


def _check_length(body: bytes, most: int, party: PartyId) -> None:
    if len(body) > most:
        raise RemoteProtocolError(f"an answer of {len(body)} bytes where {most} are the most", peer=party)
