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
from typing import Final

from privfl.errors import ConfigurationError, DisclosureRefused, LocalProtocolError
from privfl.integrations.consortium.attempt import ENDED, Attempt, Ending
from privfl.integrations.consortium.keeping import Kept, Shelf
from privfl.integrations.consortium.messages import UPLOADS, Greeting, Step, model_digest
from privfl.integrations.consortium.work import Work
from privfl.integrations.home import PartyHome
from privfl.integrations.policy import OwnerPolicy
from privfl.params import SessionParams
from privfl.session import ClientSession
from privfl.suites import suite, wake

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
        self._greeting: Greeting | None = None
        self._one_at_a_time = threading.Lock()

    def greet(self, greeting: Greeting) -> None:
        """Enter a run; the same greeting again changes nothing.

        Raises:
            DisclosureRefused: it is not the coordinator's that the policy names; or this run was entered with another
                job, other facts or another coordinator.
            PrivflError: the work has no part in it, or that it was entered cannot be written down.
        """
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
            model_of: fetches the model with that digest, of so many bytes; called in upload phases, once, before
                anything is claimed. What it raises is raised here, and the step may come again.

        Returns:
            The answer. A step that comes again gets the same bytes.

        Raises:
            Declined: this client takes no part in the session.
            LocalProtocolError: no run was entered, or another thread is answering.
        """
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
        """Forget what is kept of all sessions but this one: they are over. b"" forgets all.

        Nothing is lost but the power to go on with them; claims stay.
        """
        self._shelf.forget_all_but(session)

    def _answer(self, step: Step, model_of: Callable[[bytes, int], bytes]) -> bytes:
        attempt = Attempt(step)
        with self._ending(attempt):
            params = self._checked(step)
            kept = self._kept(step, params)
        if kept is not None and kept.request == attempt.request:
            return kept.answer
        uploads = step.phase in UPLOADS
        model = model_of(step.model, step.model_bytes) if uploads else b""
        with self._ending(attempt):
            session = self._begun(params) if kept is None else self._woken(kept)
            if uploads:
                self._make_vector(session, attempt, model)
            answer = attempt.respond(session)
            if kept is None:
                # Before the file: with an answer on disk and no claim, the file taken away would be a session again.
                self._home.guard.claim(_BEGUN, step.session)
                self._shelf.forget_all_but(step.session)
            state = _asleep(session, self._home.key)
            self._shelf.write(
                Kept(session=step.session, params=params.digest, request=attempt.request, answer=answer, state=state)
            )
        return answer

    def _checked(self, step: Step) -> SessionParams:
        """Read a step's parameters, and see that they suit the policy.

        Raises:
            PrivflError: they do not.
        """
        params = SessionParams.from_bytes(step.params)
        if params.nonce != step.session:
            raise ConfigurationError("a session that is called otherwise than by its nonce")
        self._policy.check(params)
        if suite(params.suite).has_committee:
            raise ConfigurationError(f"suite {params.suite!r} has a committee, which has no seat here: 'kahe' works")
        self._work.check(step, params)
        return params

    def _kept(self, step: Step, params: SessionParams) -> Kept | None:
        if self._home.guard.claimed(ENDED, step.session):
            raise DisclosureRefused("this client has given this session up")
        kept = self._shelf.read(step.session)
        if kept is None and self._home.guard.claimed(_BEGUN, step.session):
            raise DisclosureRefused("this client took part in this session before, and keeps nothing of it any more")
        if kept is not None and kept.params != params.digest:
            raise DisclosureRefused("other parameters than this session began with")
        return kept

    def _begun(self, params: SessionParams) -> ClientSession:
        return suite(params.suite).client(
            params,
            self._number,
            policy=self._policy.session,
            credentials=self._home.credentials,
            guard=self._home.guard,
            workers=self._workers,
            remember_response=False,  # it is on disk
        )

    def _woken(self, kept: Kept) -> ClientSession:
        if not kept.state:
            raise DisclosureRefused("a request of a session in which this client has said all that it had to say")
        return wake(
            kept.state,
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


def _asleep(session: ClientSession, key: bytes) -> bytes:
    """Put a session to sleep; nothing is left of one that is over."""
    try:
        return session.to_bytes(key)
    except LocalProtocolError:
        return b""
