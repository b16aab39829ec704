"""The coordinator's hall: where the run holds its sessions, and transports ask for their clients.

Theory of operation. Transports call from many threads, the run from one. Two locks, always taken in this order: the
session's own (`Sitting`), under which its `ServerSession` works, which may take long; and the hall's, under which
everything else is looked up and written down, which is never held for long. Subscribers are called under neither.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

from privfl.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from privfl.integrations.consortium.bell import Bell
from privfl.integrations.consortium.ceremony_orders import CeremonyOrder
from privfl.integrations.consortium.messages import Greeting, Offer, Over, Wait
from privfl.integrations.consortium.orders import Order, Outcome, Snapshot
from privfl.integrations.consortium.phases import Counters
from privfl.integrations.consortium.refusals import Closed, NotWaited, one_line
from privfl.integrations.consortium.sitting import Sitting

_LONGEST_NAP_S: Final = 0.2
"""Clocks are read again after so long: they need not run as the system's waits do (in tests, or after a suspend)."""
_PAUSE_S: Final = 1.0


class Hall:
    """Holds a run's sessions with clients that come when they can.

    Args:
        greeting: what the run is.
        clients: numbers of all clients that it may have; who comes as another is refused.
        present_s: a client is present for so many seconds after it asked for something.
        clock: seconds that only grow.

    Attributes:
        greeting: likewise.

    Guarantees:
        1. What a client sends, and when, changes nothing for any other: an answer that is refused costs its sender its
           part in the session.
        2. An answer is either in its phase or `NotWaited`; a client has one in a phase, the first that is accepted.
        3. A phase is over when nobody is waited for, or at its deadline, when whoever is heard out has been.
        4. No sum is opened unless `before_opening` has returned.
        5. The `ServerSession` is used by one thread at a time, and by none when `hold` has returned or raised.
    """

    def __init__(
        self,
        greeting: Greeting,
        *,
        clients: Collection[int],
        present_s: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.greeting = greeting
        self._clients = frozenset(clients)
        self._present_s = present_s
        self._clock = clock
        self._changed = threading.Condition()
        self._seen: dict[int, float] = {}
        self._sitting: Sitting | None = None
        self._over: str | None = None
        self._counters = Counters()
        self._bell = Bell()

    # Asked by transports, in any thread.

    def offer(self, client: int) -> Offer:
        """Return what there is for a client, which is present from now on: until it has heard that all is over.

        Raises:
            RemoteProtocolError: it is none of the run's clients.
        """
        sitting = self._met(client)
        if self._over is not None:
            with self._changed:
                self._seen.pop(client, None)
            return Over(why=self._over)
        step = sitting.step_for(client) if sitting else None
        return step or Wait(seconds=_PAUSE_S)

    def room(self, client: int, session: bytes, phase: str) -> int:
        """Return how long the answer may be, in bytes, that a client is waited for.

        Raises:
            NotWaited: none is: another session or phase, or it has answered.
            RemoteProtocolError: it is none of the run's clients.
        """
        return self._sitting_for(client).room(client, session, phase)

    def answer(self, client: int, session: bytes, phase: str, body: bytes) -> None:
        """Take a client's answer. An answer to the open phase that comes again is ignored.

        Args:
            client: who it is, as the transport has made sure.
            session: the session's nonce.
            phase: which it is an answer in.
            body: the suite's message.

        Raises:
            NotWaited: another session or phase, or the client takes no part in it any more.
            RemoteProtocolError: it is not as agreed, and the client takes no further part in the session; or it is none
                of the run's clients.
        """
        self._sitting_for(client).take(client, session, phase, body)

    def model(self, model: bytes) -> bytes:
        """Return the open session's model, or a request of its open phase that is too long for a step.

        Args:
            model: its digest (`messages.model_digest`).

        Raises:
            NotWaited: the open session has another, or none is open.
        """
        with self._changed:
            if self._sitting is None:
                raise NotWaited("no session is open: ask for an offer")
            named = self._sitting.named(model)
            self._counters.bytes_out += len(named)
            return named

    def decline(self, client: int, session: bytes, why: str) -> None:
        """Write down that a client takes no part in a session: it is not waited for any more.

        Args:
            client: who it is.
            session: the session's nonce.
            why: its own words; the first 300 characters are kept.

        Raises:
            NotWaited: this session is not open.
            RemoteProtocolError: it is none of the run's clients.
        """
        self._sitting_for(client).decline(client, session, one_line(why))

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Have something called whenever an offer may have changed: a phase opened, a session or all is over.

        Args:
            notify: called in any thread, with no lock held; it should be quick. What it raises is logged.

        Returns:
            The unsubscriber; to call it twice does no harm.
        """
        return self._bell.subscribe(notify)

    def snapshot(self) -> Snapshot:
        """Return how things stand."""
        now = self._clock()
        with self._changed:
            present = tuple(sorted(self._present(now)))
            sitting, counters = self._sitting, self._counters
            view = sitting.view(now) if sitting else None
            return Snapshot(
                run=self.greeting.run.hex(),
                over=self._over,
                round=sitting.order.round if sitting else None,
                kind=sitting.order.kind if sitting else None,
                phase=view.phase if view else None,
                phase_age_s=view.phase_age_s if view else None,
                cohort=sitting.order.cohort if sitting else (),
                waiting=view.waiting if view else (),
                present=present,
                answers=counters.answers,
                refused=counters.refused,
                declined=counters.declined,
                bytes_in=counters.bytes_in,
                bytes_out=counters.bytes_out,
            )

    # Asked by the run, in one thread.

    def present(self) -> frozenset[int]:
        """Return the clients that asked for something lately."""
        with self._changed:
            return self._present(self._clock())

    def gather(self, count: int, timeout_s: float | None, *, among: Collection[int] | None = None) -> frozenset[int]:
        """Wait until so many clients are present.

        Args:
            count: how many.
            timeout_s: at most so many seconds; None: for as long as it takes.
            among: who counts; all unless given.

        Returns:
            Who is present: at least so many, unless the time was up.

        Raises:
            Closed: the hall was closed.
            ConfigurationError: there are not so many clients.
        """
        if count > len(self._clients):
            raise ConfigurationError(f"{count} clients cannot be present where the run has {len(self._clients)}")
        until = None if timeout_s is None else self._clock() + timeout_s
        with self._changed:
            while True:
                self._require_open()
                now = self._clock()
                here = self._present(now)
                if among is not None:
                    here &= frozenset(among)
                if len(here) >= count or (until is not None and now >= until):
                    return here
                self._nap(until)

    def hold(self, order: Order | CeremonyOrder, *, before_opening: Callable[[int], None] | None = None) -> Outcome:
        """Hold a session; return when it is over.

        Args:
            order: what is to be summed, or what key is to be made.
            before_opening: called with the number of contributors when uploads are closed, if they are enough, and
                before anything is asked or computed that opens their sum. What it raises ends the session, and is
                raised here.

        Returns:
            The sum and what it cost. An abort is an outcome, not an exception.

        Raises:
            Closed: the hall was closed; nothing is released.
            ConfigurationError: a client of the cohort or of the committee is none of the run's.
            LocalProtocolError: another session is being held.
        """
        strangers = sorted(({*order.cohort} | order.members.keys()) - self._clients)
        if strangers:
            raise ConfigurationError(f"client {strangers[0]} of the session is none of the run's clients")
        sitting = Sitting(order, changed=self._changed, counters=self._counters, clock=self._clock)
        with self._seated(sitting):
            going_on = sitting.open()
            while going_on:
                self._bell.ring()
                self._await_answers(sitting)
                going_on = sitting.close_phase(before_opening)
        return sitting.outcome()

    def close(self, why: str) -> None:
        """Have everybody told from now on that all is over; a `hold` or `gather` in progress raises `Closed`.

        To close it again changes nothing.

        Args:
            why: one sentence, for the clients.
        """
        with self._changed:
            if self._over is None:
                self._over = one_line(why)
            self._changed.notify_all()
        self._bell.ring()

    @contextmanager
    def _seated(self, sitting: Sitting) -> Iterator[None]:
        with self._changed:
            self._require_open()
            if self._sitting is not None:
                raise LocalProtocolError("a session is being held already: one after the other")
            self._sitting = sitting
        try:
            yield
        finally:
            sitting.dissolve()
            with self._changed:
                self._sitting = None
            self._bell.ring()

    def _await_answers(self, sitting: Sitting) -> None:
        """Wait until nobody is waited for, or the phase's deadline.

        Raises:
            Closed: the hall was closed meanwhile.
        """
        with self._changed:
            while True:
                self._require_open()
                if not sitting.waiting or self._clock() >= sitting.deadline:
                    return
                self._nap(sitting.deadline)

    def _nap(self, until: float | None) -> None:
        left = _LONGEST_NAP_S if until is None else min(_LONGEST_NAP_S, until - self._clock())
        self._changed.wait(max(0.0, left))

    def _require_open(self) -> None:
        if self._over is not None:
            raise Closed(f"the hall is closed: {self._over}")

    def _met(self, client: int) -> Sitting | None:
        """Note that a client is there; return the session that is held, if one is."""
        if client not in self._clients:
            raise RemoteProtocolError(f"client {one_line(repr(client), 40)} is none of this run's clients")
        with self._changed:
            now = self._clock()
            last, self._seen[client] = self._seen.get(client), now
            if last is None or now - last > self._present_s:
                self._changed.notify_all()  # somebody may be gathering
            return self._sitting

    def _sitting_for(self, client: int) -> Sitting:
        sitting = self._met(client)
        if sitting is None or self._over is not None:
            raise NotWaited("no session is open: ask for an offer")
        return sitting

    def _present(self, now: float) -> frozenset[int]:
        return frozenset(client for client, seen in self._seen.items() if now - seen <= self._present_s)
