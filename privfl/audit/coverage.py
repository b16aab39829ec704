"""Is all that was released charged, for no more noise than arrived, and nothing released beside it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, number
from privfl.audit.findings import Word
from privfl.audit.terms import CLIENT_MODES, placed
from privfl.dp.chain import Contents
from privfl.dp.events import NonPrivate
from privfl.dp.plan import flat
from privfl.dp.records import Charge, Unit
from privfl.evidence import SessionRecord
from privfl.learning.books import JOB_DIGEST, job_digest
from privfl.session import Phase

_UPLOADS: Final = frozenset({Phase.MASKED_INPUT.value, Phase.UPLOAD.value})
_OPENINGS: Final = frozenset({Phase.UNMASK.value, Phase.OPEN.value})
_LOCAL_FIGURES: Final = (
    "local_accuracy", "local_loss",
    "federated_accuracy", "federated_loss", "mean_client_accuracy", "std_client_accuracy", "worst_client_accuracy",
    "client_accuracy_quantiles", "client_accuracy_histogram",
)  # fmt: skip
_CODING_FIGURES: Final = ("saturated_fraction", "suggested_clip")


def rounds(artefacts: Artefacts, contents: Contents) -> Seen:
    """What was released was charged, and what was charged is shown."""
    read, evidence = artefacts.evidence, artefacts.evidence.value
    if evidence is None:
        raise Undecided(
            f"{len(contents.charges)} charges; which sums were released was not shown.",
            missing=f"{read.name}, which tells what was released",
        )
    if evidence.facts.get("ledger") != contents.identifier:
        raise Wrong(
            "The evidence belongs to another ledger: one of them was replaced, or an accountant was started anew.",
            where=f"{read.name}, line 1",
        )
    charged = {charge.facts.get("params_digest") for charge in contents.charges}
    example = contents.opening.unit is Unit.EXAMPLE
    for session, where in sessions_of(artefacts):
        if opened(session, uploads=example) and session.params_digest not in charged:
            how = "released" if session.released else "opened, and says that it aborted,"
            raise Wrong(
                f"Round {session.round} {how} a sum of {len(uploaders_of(session))} uploads that was never charged.",
                where=where,
            )
    shown = {session.round for session in evidence.rounds}
    released = [session.round for session in evidence.rounds if session.released]
    _told(artefacts, released)
    if left_out := sorted(set(range(1, len(shown) + 1)) - shown):
        raise Wrong(f"The evidence shows no session of rounds {left_out}: they were left out.", where=read.name)
    lost = _ended(artefacts, contents, max(shown, default=0))
    if absent := sorted({charge.round for charge in contents.charges} - shown):
        raise Undecided(
            f"Rounds {absent} were charged, and no session of theirs is shown.",
            where=read.name,
            missing="evidence of those rounds, or word of a crash between the two",
        )
    idle = len(contents.charges) - len(released)
    more = f" {idle} charges brought nothing: aborts, or crashes; what they cost stays spent." if idle > 0 else ""
    if lost:
        more += (
            f" The run ended after round {lost[0] - 1}: it was killed before it kept what later sums, charged as all, "
            f"brought."
        )
    return Seen(
        detail=f"{len(released)} sums were released, each on a charge of its own.{more}",
        rests_on=Word.COORDINATOR,
        figures={"released": len(released), "idle": idle},
    )


def _told(artefacts: Artefacts, released: list[int]) -> None:
    """Stop if the metrics tell of other rounds than the evidence, or of other numbers."""
    name = artefacts.metrics.name
    sessions = {session.round: session for session, _ in sessions_of(artefacts) if not session.evaluation}
    for line, row in enumerate(artefacts.metrics.value or (), 1):
        session, where = sessions.get(row["round"]), f"{name}, line {line}"
        if row.get("aborted") is not True and row["round"] not in released:
            raise Wrong(
                f"{name} tells of round {row['round']}, which the evidence does not show as released.", where=where
            )
        if session is None:
            continue
        for key, value in (("contributors", session.contributors), ("cohort", session.cohort_size)):
            if row.get(key, value) != value:
                raise Wrong(
                    f"Round {row['round']} has {key} = {row[key]!r} in {name}, and {value} in the evidence.",
                    where=where,
                )


def opened(session: SessionRecord, *, uploads: bool) -> bool:
    """Whether a sum was opened, or asked to be, whatever the session says of itself.

    Args:
        session: the session.
        uploads: whether each upload is a release by itself: where single examples are hidden.
    """
    phases = _OPENINGS | _UPLOADS if uploads else _OPENINGS
    return session.released or any(message.phase in phases for message in session.messages)


def _ended(artefacts: Artefacts, contents: Contents, last: int) -> range:
    """Stop if the closing record tells of more rounds than are shown, or of fewer than the job asks for.

    Returns:
        Rounds that are shown, and that the run did not keep: it was killed after it had opened their sums, and when it
        went on, its budget did not allow for others in their place.
    """
    closed, job = contents.closed or {}, artefacts.job.value
    done, where = number(closed, "rounds"), f"{artefacts.ledger.name}, line {contents.lines}"
    if done is None:
        return range(0)
    # Of fewer there may be word: what was opened was charged, as was seen before, whether or not it was kept.
    if not 0 <= done <= last:
        raise Wrong(f"The closing record tells of {done:g} rounds, and the evidence of {last}.", where=where)
    lost = range(int(done) + 1, last + 1)
    if job is None or job_digest(job) != contents.opening.facts.get(JOB_DIGEST):
        return lost  # no job, or another one, which `job` says
    if done < job.rounds and not closed.get("stopped"):
        raise Wrong(
            f"The closing record tells of {done:g} rounds of {job.rounds}, and of no reason to stop.", where=where
        )
    return lost


def contributors(artefacts: Artefacts, contents: Contents) -> Seen:
    """The noise of those who dropped out is not counted."""
    if artefacts.evidence.value is None:
        raise Undecided(
            "Whose uploads arrived was not shown.",
            missing=f"{artefacts.evidence.name}, which tells whose uploads arrived",
        )
    sessions = {session.params_digest: (session, where) for session, where in sessions_of(artefacts)}
    exact = contents.opening.mode in CLIENT_MODES
    fewest, compared = math.inf, 0
    for charge, where in placed(artefacts, contents):
        claimed = number(charge.facts, "contributors")
        session, place = sessions.get(charge.facts.get("params_digest", ""), (None, ""))
        if session is None or claimed is None:
            continue
        arrived, compared = len(uploaders_of(session)), compared + 1
        if session.released and session.contributors > arrived:
            raise Wrong(
                f"Round {charge.round} has {session.contributors} contributors and {arrived} uploads.", where=place
            )
        summed = session.contributors if session.released and exact else arrived
        # What hides examples is charged before anybody uploads, and as much whoever does: who then drops out costs it.
        if exact and claimed > min(arrived, summed):
            raise Wrong(
                f"Round {charge.round} is charged for {claimed:g} contributors; {arrived} uploads left the clients, "
                f"and {summed} are in the sum.",
                where=where,
            )
        _agrees(artefacts, charge, session, where)
        fewest = min(fewest, claimed)
    if not compared:
        raise NotClaimed("No round that was charged is shown.")
    return Seen(
        detail=f"In all {compared} rounds that are shown, no more contributors were charged for than uploads arrived; "
        f"{fewest:g} at the fewest.",
        rests_on=Word.COORDINATOR,
        figures={"fewest": fewest},
    )


def _agrees(artefacts: Artefacts, charge: Charge, session: SessionRecord, where: str) -> None:
    """Stop if a charge tells of another cohort, ring or clip than there was."""
    job = artefacts.job.value
    seen: dict[str, float | None] = {"cohort": session.cohort_size}
    if session.params is not None:
        seen["ring_bits"] = session.params.ring.bits
    if job is not None and job.privacy.adaptive is None:
        seen["clip"] = job.privacy.clip
    for name, value in seen.items():
        told = number(charge.facts, name)
        if told is not None and told != value:
            raise Wrong(f"Round {charge.round} is charged with {name} = {told:g}, where it was {value}.", where=where)


def unprotected(artefacts: Artefacts, contents: Contents) -> Seen:
    """What was released without noise."""
    excluded = contents.opening.budget.excluded
    for charge, where in placed(artefacts, contents):
        for part in flat(charge.events):
            if isinstance(part.event, NonPrivate) and part.event.reason not in excluded:
                raise Wrong(f"Round {charge.round} released {part.event.reason!r} without noise.", where=where)
    # How often coordinates were cut follows from updates that hide their examples; of whole clients it is a count.
    figures = _LOCAL_FIGURES if contents.opening.unit is Unit.EXAMPLE else (*_LOCAL_FIGURES, *_CODING_FIGURES)
    for line, row in enumerate(artefacts.metrics.value or (), 1):
        for name in figures:
            if row.get(name) not in (None, 0.0):
                raise Wrong(
                    f"Round {row['round']} tells {name} of the clients' own data, which no noise covers.",
                    where=f"{artefacts.metrics.name}, line {line}",
                )
    if artefacts.metrics.problem:
        raise Undecided(
            f"{artefacts.metrics.name}: {artefacts.metrics.problem}.",
            where=artefacts.metrics.where,
            missing=f"{artefacts.metrics.name} as it was written",
        )
    left_out = [
        part for charge in contents.charges for part in flat(charge.events) if isinstance(part.event, NonPrivate)
    ]
    if left_out:
        raise Undecided(
            f"{sum(part.count for part in left_out)} releases without noise are excluded from ε by name: "
            f"{'; '.join(sorted({part.event.reason for part in left_out if isinstance(part.event, NonPrivate)}))}.",
            missing="somebody's judgement of the reasons: no ε covers what is left out",
        )
    return Seen(
        detail="Models, numbers of contributors and who took part are public; figures on held-out data are "
        "the server's own.",
        rests_on=Word.COORDINATOR,
    )


def releases_without_noise(contents: Contents) -> tuple[str, ...]:
    """All of them, in words, whether or not they are excluded."""
    excluded = contents.opening.budget.excluded
    found = [f"{name}: excluded when the ledger opened, because {why}" for name, why in excluded.items()]
    for charge in contents.charges:
        found += [
            f"{part.event.reason}: in round {charge.round}, and counted as ε = ∞"
            for part in flat(charge.events)
            if isinstance(part.event, NonPrivate) and part.event.reason not in excluded
        ]
    return tuple(found)


def sessions_of(artefacts: Artefacts) -> Iterator[tuple[SessionRecord, str]]:
    """Yield the sessions on real data, of updates and of evaluations, each with where it stands."""
    evidence = artefacts.evidence.value
    if evidence is not None:
        for session, line in zip(evidence.sessions, evidence.places, strict=True):
            if session.probe is None:
                yield session, f"{artefacts.evidence.name}, line {line}"


def uploaders_of(session: SessionRecord) -> set[int]:
    """The clients that sent a vector."""
    return {message.client for message in session.messages if message.role == "client" and message.phase in _UPLOADS}
