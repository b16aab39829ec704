"""A client's side: answers one step at a time, and has written down what it answered before the answer leaves.

Theory of operation. Every step goes the same way, whether or not the process was killed since the last one: what is
kept of the session is read from disk, the session is woken, it answers, and answer and next state are written in one
file before the answer is returned. A step that comes again finds its answer there. Two claims of the owner's guard, and
those that sessions make themselves, hold whatever is on disk: no state of a session answers twice.

| on disk | the step's request | what happens |
|---|---|---|
| nothing | any | a session begins, unless one of this name ever did |
| an answer | the one that it answers | the same answer |
| a session | another | it is woken and answers, or refuses |
| any | undecodable | declined; nothing changes |

Every other refusal, of the session, the policy, the work or the disk, ends the session for good: its file goes, and no
copy of the file brings it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError, DisclosureRefused, LocalProtocolError
from privfl.integrations.consortium.attempt import ENDED, Answering, Attempt, Ending
from privfl.integrations.consortium.keeping import Kept, Shelf
from privfl.integrations.consortium.messages import UPLOADS, Greeting, Part, Step, model_digest
from privfl.integrations.consortium.seat import Seat, read_key
from privfl.integrations.consortium.work import Work
from privfl.integrations.home import PartyHome
from privfl.integrations.policy import OwnerPolicy
from privfl.params import CkksSetting, SessionParams
from privfl.session import ClientSession
from privfl.suites import suite, wake

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.ceremony_params import CeremonyParams

_BEGUN: Final = "session of a consortium"


class Participant:
    """A client of a run.

    Args:
        home: its owner's directory.
        number: its number in cohorts.
        work: what its owner does for the run.
        workers: threads for long vectors.

    Guarantees:
        1. A request is answered in one way only, whatever was killed, restarted, repeated or put back.
        2. No answer leaves before it and the session's next state are on disk.
        3. No vector is made for a request that policy, context or the session's own checks refuse; none is made again
           after one was answered for, or failed.
        4. The coordinator learns nothing of why a client declines once its own data or budget are looked at, nor where
           its files lie.
        5. A run has one job for good, as it was first shown.
        6. A client that sits on a committee answers for that seat as for itself: 1, 2 and 4 hold of it as well.
        7. A vector leaves under a key only of the committee that the client trusts, made for the run's sums.
        8. Nothing is answered once the client's roster has expired.

    Raises:
        ConfigurationError: its files cannot be made.
    """

    def __init__(self, home: PartyHome, number: int, work: Work, *, workers: int = 1) -> None:
        self._home = home
        self._policy = home.policy or OwnerPolicy()
        self._number = number
        self._work = work
        self._workers = workers
        self._shelf = Shelf(home)
        self._seat = Seat(home, self._policy)
        self._greeting: Greeting | None = None
        self._one_at_a_time = threading.Lock()

    def greet(self, greeting: Greeting) -> None:
        """Enter a run; the same greeting again changes nothing.

        Raises:
            DisclosureRefused: it is not the coordinator's that the policy names; or this run was entered with another
                job, other facts or another coordinator.
            PrivflError: the work has no part in it, or that it was entered cannot be written down.
            ConfigurationError: the client's roster has expired.
        """
        self._home.require_current()
        if greeting == self._greeting:
            return
        self._greeting = None
        server = self._policy.server
        if server is not None and greeting.coordinator != server:
            raise DisclosureRefused("a run of another coordinator than this client's policy names (server)")
        # Before the work looks at it: who could show one job after another would learn from which are refused.
        self._shelf.enter(greeting)
        self._work.enter(greeting)
        self._greeting = greeting

    def answer(self, step: Step, model_of: Callable[[bytes, int], bytes]) -> bytes:
        """Answer a step.

        Args:
            step: as it came.
            model_of: fetches what has that digest, of so many bytes: the model, in upload phases, or a request that
                stands not in the step; called once, before anything is claimed. What it raises is raised here, and the
                step may come again.

        Returns:
            The answer. A step that comes again gets the same bytes.

        Raises:
            Declined: this client takes no part in the session.
            LocalProtocolError: no run was entered, or another thread is answering.
            ConfigurationError: the client's roster has expired; nothing was claimed or given up.
        """
        self._home.require_current()
        if not self._one_at_a_time.acquire(blocking=False):
            raise LocalProtocolError("this participant is answering a step: it serves one thread")
        try:
            if self._greeting is None:
                raise LocalProtocolError("no run was entered: call greet() first")
            return self._answer(step, model_of)
        finally:
            self._one_at_a_time.release()

    def delivered(self, session: bytes, phase: str) -> None:
        """Note that the answer to a step has arrived.

        It is kept all the same, until the session moves on: the coordinator may ask again if it was cut off.
        """

    def forget_old(self, session: bytes) -> None:
        """Forget what is kept of all sessions but this one: they are over. b"" forgets all, the run being over.

        Nothing is lost but the power to go on with them, and shares of committees' keys when all is over; claims stay.
        """
        self._shelf.forget_all_but(session)
        if not session:
            self._seat.forget_all_but("")

    def _answer(self, step: Step, model_of: Callable[[bytes, int], bytes]) -> bytes:
        attempt = Attempt(step)
        with self._ending(attempt):
            params = self._checked(step)
            kept = self._kept(attempt, params)
        if kept is not None and kept.request == attempt.request:
            return kept.answer
        if step.part is not Part.CLIENT or not isinstance(params, SessionParams):
            return self._answered_as_member(attempt, params, kept, model_of)
        uploads = step.phase in UPLOADS
        model = model_of(step.model, step.model_bytes) if uploads else b""
        with self._ending(attempt):
            session = self._begun(step, params) if kept is None else self._woken(kept)
            if uploads:
                self._make_vector(session, attempt, model)
            answer = attempt.respond(session)
            self._write(attempt, params, session, answer=answer, first=kept is None)
        return answer

    def _answered_as_member(
        self,
        attempt: Attempt,
        params: SessionParams | CeremonyParams,
        kept: Kept | None,
        model_of: Callable[[bytes, int], bytes],
    ) -> bytes:
        """Answer for the seat on the committee."""
        step = attempt.step
        with self._ending(attempt):
            member = self._seat.member(params, None if kept is None else _state(kept))
            if step.fetched_bytes > member.most_request_bytes:
                raise DisclosureRefused(f"a request of {step.fetched_bytes} bytes, which is longer than any")
        request = model_of(step.fetched, step.fetched_bytes) if step.fetched else b""
        with self._ending(attempt):
            if step.fetched:
                attempt.bring(request)
            answer = attempt.respond(member)
            self._seat.keep(member)
            self._write(attempt, params, member, answer=answer, first=kept is None)
            if isinstance(params, SessionParams):
                self._seat.forget_if_spent(params)
        return answer

    def _write(
        self,
        attempt: Attempt,
        params: SessionParams | CeremonyParams,
        session: Answering,
        *,
        answer: bytes,
        first: bool,
    ) -> None:
        """Write an answer down, and the session's next state."""
        step = attempt.step
        if first:
            # Before the file: with an answer on disk and no claim, the file taken away would be a session again.
            self._home.guard.claim(_BEGUN, attempt.place)
            self._shelf.forget_all_but(step.session)
        self._shelf.write(
            Kept(
                session=step.session,
                params=params.digest,
                request=attempt.request,
                answer=answer,
                state=_asleep(session, self._home.key),
                part=step.part,
            )
        )

    def _checked(self, step: Step) -> SessionParams | CeremonyParams:
        """Read a step's parameters, and see that they suit the policy and the run.

        Raises:
            PrivflError: they do not.
        """
        if step.part is Part.CEREMONY:
            ceremony = self._seat.ceremony_params(step.params)
            _require_named(step, ceremony.nonce)
            self._work.check_key(ceremony.epoch)
            return ceremony
        params = SessionParams.from_bytes(step.params)
        _require_named(step, params.nonce)
        self._policy.check(params)
        self._work.check(step, params)
        if isinstance(params.setting, CkksSetting):
            self._work.check_key(params.setting.epoch)
        return params

    def _kept(self, attempt: Attempt, params: SessionParams | CeremonyParams) -> Kept | None:
        step, guard = attempt.step, self._home.guard
        if guard.claimed(ENDED, attempt.place):
            raise DisclosureRefused("this client has given this session up")
        kept = self._shelf.read(step.session, step.part)
        if kept is None and guard.claimed(_BEGUN, attempt.place):
            raise DisclosureRefused("this client took part in this session before, and keeps nothing of it any more")
        if kept is not None and kept.params != params.digest:
            raise DisclosureRefused("other parameters than this session began with")
        return kept

    def _begun(self, step: Step, params: SessionParams) -> ClientSession:
        return suite(params.suite).client(
            params,
            self._number,
            policy=self._policy.session,
            credentials=self._home.credentials,
            guard=self._home.guard,
            workers=self._workers,
            remember_response=False,  # it is on disk
            committee=read_key(step.committee, self._home) if suite(params.suite).has_committee else None,
        )

    def _woken(self, kept: Kept) -> ClientSession:
        return wake(
            _state(kept),
            key=self._home.key,
            guard=self._home.guard,
            credentials=self._home.credentials,
            workers=self._workers,
            remember_response=False,
        )

    def _make_vector(self, session: ClientSession, attempt: Attempt, model: bytes) -> None:
        """Give a session its vector, when nothing else is missing.

        Raises:
            PrivflError: the request is not answered.
            Exception: whatever the work raises.
        """
        step = attempt.step
        if len(model) != step.model_bytes or model_digest(model) != step.model:
            raise DisclosureRefused("a model that is not the one which the step names")
        context = self._work.context(step, model)
        if session.params.context and session.params.context != context:
            raise DisclosureRefused(
                "this client was shown another model, job, round or terms than the session is about (context)"
            )
        session.bind(context)
        attempt.check_upload(session)
        attempt.private = True
        self._work.charge(step, session.params)
        session.submit(self._work.vector(step, session.params, model, context))

    def _ending(self, attempt: Attempt) -> Ending:
        return Ending(self._home, self._shelf, attempt)


def _require_named(step: Step, nonce: bytes) -> None:
    if nonce != step.session:
        raise ConfigurationError("a session that is called otherwise than by its nonce")


def _state(kept: Kept) -> bytes:
    """Return a session asleep.

    Raises:
        DisclosureRefused: nothing is left of it.
    """
    if not kept.state:
        raise DisclosureRefused("a request of a session in which this client has said all that it had to say")
    return kept.state


def _asleep(session: Answering, key: bytes) -> bytes:
    """Put a session to sleep; nothing is left of one that is over."""
    try:
        return session.to_bytes(key)
    except LocalProtocolError:
        return b""
