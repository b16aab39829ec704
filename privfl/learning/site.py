"""Where the clients of a run are, and how a round's updates come to a sum: in this process, or wherever they live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from privfl.compression.compressor import Chosen
from privfl.learning.averaging import Averaging
from privfl.learning.data import Examples, PublicFacts
from privfl.learning.job import Job
from privfl.learning.local_work import LocalWork
from privfl.learning.paperwork import Paperwork
from privfl.learning.residuals import Residuals
from privfl.learning.scheduling import RoundPlan, merged
from privfl.learning.sessions import Held, RoundInputs, Sessions
from privfl.roster import Roster
from privfl.session import Phase
from privfl.simulate import Simulation

Charge = Callable[[int], None]
"""Called with a number of contributors before anything is asked that opens their sum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summed:
    """What came of a round's training and of its session.

    Attributes:
        plan: of the round, with those among its drop-outs whose training failed.
        held: the session.
        plain: what `plain` would have cost, and seconds that it took.
        trained: clients that sent an update.
    """

    plan: RoundPlan
    held: Held
    plain: tuple[Simulation, float]
    trained: int


class Site(Protocol):
    """Where clients train, and sessions are held."""

    def sum(
        self,
        plan: RoundPlan,
        averaging: Averaging,
        *,
        context: bytes,
        expected: bytes | None,
        chosen: Chosen,
        charge: Charge,
    ) -> Summed:
        """Have clients train, and sum what comes of it.

        Args:
            plan: of the round.
            averaging: how updates are written.
            context: what the session is about.
            expected: what clients find that the context has to be, where they work it out of a list of models.
            chosen: what of an update travels.
            charge: called before anything is asked that opens the sum.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """What a coordinator holds of data whose rest lies with distant clients.

    Attributes:
        test: examples that it holds out; no client has any of them.
        facts: what of the rest is public.
    """

    test: Examples
    facts: PublicFacts
    clients: tuple[Examples, ...] = ()
    validation: tuple[Examples, ...] = ()

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.facts.feature_shape


class Elsewhere(Protocol):
    """A run's clients, if they are not in its process."""

    @property
    def data(self) -> HeldOut:
        """What the coordinator holds of their data."""
        ...

    @property
    def roster(self) -> Roster:
        """Who they are."""
        ...

    @property
    def agreed(self) -> bytes:
        """What all parties know of the run, its job among it: the context of every round follows from it."""
        ...

    def check(self, job: Job) -> None:
        """Refuse a job that distant clients cannot do.

        Raises:
            ConfigurationError: names the key.
        """
        ...

    def site(self, sessions: Sessions) -> Site:
        """Return where the sums of a run are made."""
        ...


class InProcess:
    """Clients that are simulated in this process.

    Args:
        work: what clients do.
        sessions: holds the sessions.
        residuals: what clients have kept of earlier updates.
        papers: the run's books.
        before_uploads: whether uploads are charged before the first of them is made: an update that hides its examples
            is a release by itself, to whoever reads it, summed or not.
    """

    def __init__(
        self, work: LocalWork, sessions: Sessions, residuals: Residuals, papers: Paperwork, *, before_uploads: bool
    ) -> None:
        self._work = work
        self._sessions = sessions
        self._residuals = residuals
        self._papers = papers
        self._before_uploads = before_uploads

    def sum(
        self,
        plan: RoundPlan,
        averaging: Averaging,
        *,
        context: bytes,
        expected: bytes | None,
        chosen: Chosen,
        charge: Charge,
    ) -> Summed:
        """See `Site.sum`."""
        worked = self._work.train(
            plan, averaging, context=context, expected=expected, chosen=chosen, residuals=self._residuals
        )
        drops = merged(plan.drops, {Phase.MASKED_INPUT: frozenset(worked.failed)})
        plan = replace(plan, drops=drops, because={**plan.because, **worked.failed})
        inputs = RoundInputs(
            number=plan.number, cohort=plan.cohort, drops=drops, context=context, vectors=worked.vectors
        )
        papers = self._papers
        held = self._sessions.hold(
            inputs,
            charge=charge,
            before_uploads=self._before_uploads,
            client_books=papers.client_books,
            before_session=None
            if papers.client_books is None
            else lambda params: papers.begin_session(plan.number, params),
        )
        return Summed(plan=plan, held=held, plain=self._sessions.plain(inputs, held), trained=len(worked.vectors))
