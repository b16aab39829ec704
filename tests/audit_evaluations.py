"""Sums that are called evaluations: others than the job asks for, of another length, held again, or never charged.

Rows of `audit_frauds`. A coordinator that may hold sums of clients' results at will leaves one client out of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from audit_frauds import (
    REBOUND,
    Fraud,
    forge,
    in_round,
    metrics_without,
    of,
    row,
    tell_epsilon,
    without_rounds,
)
from audit_lies import longer

from privfl.learning import evaluating
from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.paperwork import Paperwork
from privfl.learning.sessions import Held
from privfl.params import NONCE_BYTES, SessionParams
from privfl.suites import suite

_RECORD = Paperwork.record


def held_again(held: Held) -> Held:
    """A session like another, with messages of its own."""
    assert held.params is not None
    messages = tuple(replace(one, sha256=os.urandom(32).hex()) for one in held.outcome.messages)
    params = replace(held.params, nonce=os.urandom(NONCE_BYTES))
    return replace(held, params=params, outcome=replace(held.outcome, messages=messages))


def another_evaluation(named: int, *, behind: int = 2, updates: bool = False) -> tuple[Any, str, Any]:
    """Hold a round's evaluation, or the round itself, once more, and call it the evaluation of a round."""

    def record(self: Paperwork, number: int, held: Held, *, evaluation: bool = False, **facts: Any) -> None:
        _RECORD(self, number, held, evaluation=evaluation, **facts)
        if number == behind and evaluation is not updates:
            _RECORD(self, named, held_again(held), evaluation=True, **facts)

    return Paperwork, "record", record


def longer_evaluations() -> tuple[Any, str, Any]:
    """Tell of sessions with room for a second vector, and of messages of that length."""

    def record(self: Paperwork, number: int, held: Held, *, evaluation: bool = False, **facts: Any) -> None:
        if evaluation:
            assert held.params is not None
            held = with_room(held, longer(held.params))
        _RECORD(self, number, held, evaluation=evaluation, **facts)

    return Paperwork, "record", record


def with_room(held: Held, params: SessionParams) -> Held:
    """A session that was held under other parameters."""
    sizes = {
        (role.name.lower(), phase.value): size
        for (role, phase), size in suite(params.suite).message_sizes(params).items()
    }
    messages = tuple(
        replace(one, size_bytes=min(sizes[one.role, one.phase].of(one.client))) for one in held.outcome.messages
    )
    return replace(held, params=params, outcome=replace(held.outcome, messages=messages))


def called_evaluation(*, charged: bool) -> Callable[[Path], None]:
    """Round 2 was no round, say evidence and metrics, but an evaluation; what it cost is not in the ledger."""

    def lie(folder: Path) -> None:
        relabelled = in_round(2, lambda body: body.update(evaluation=True))
        forge(folder, ledger=None if charged else without_rounds(2), evidence=relabelled)
        if not charged:
            tell_epsilon(folder)
        metrics_without(folder, 2)

    return lie


def called_update(folder: Path) -> None:
    """Evaluations were rounds, says the evidence."""
    forge(folder, evidence=of("session", lambda body: body.update(evaluation=False)))


EVERY_ROUND = (EvaluationJob, "due", lambda *_: True)
FEWER_BANDS = (evaluating, "evaluation_codec", lambda job: evaluating.EvaluationCodec(bins=2, bits=job.encoding.bits))

EVALUATIONS: tuple[Fraud, ...] = (
    row("evaluation made up", "of a round that the job does not evaluate", "evaluated", "parameters",
        "evaluations of round 1, which the job does not ask for", during=(EVERY_ROUND,)),
    row("evaluation made up", "of round 0", "evaluated", "parameters", "evaluated after round 0, when",
        during=(another_evaluation(0),)),
    row("evaluation made up", "of a round that never comes", "evaluated", "parameters", "evaluated after round 100",
        during=(another_evaluation(100),)),
    row("evaluation made up", "of a round twice", "evaluated", "parameters", "evaluated after round 2, when no model",
        during=(another_evaluation(2),)),
    row("evaluation made up", "with room for a second vector", "evaluated", "parameters", "and an evaluation takes",
        during=(longer_evaluations(),)),
    row("evaluation made up", "in two bands", "evaluated", "parameters", "and an evaluation takes",
        during=(FEWER_BANDS,)),
    row("evaluation made up", "out of a sum of updates", "none", "parameters", "evaluated after round 2, when no model",
        after=called_evaluation(charged=True), others=REBOUND),
    row("evaluation made up", "and called a round", "evaluated", "parameters", "and an update takes",
        after=called_update, others=REBOUND | {"rounds"}),
    row("evaluation made up", "under privacy, beside the rounds", "central", "rounds",
        "Round 2 released a sum of 10 uploads that was never charged",
        during=(another_evaluation(2, updates=True),)),
    row("evaluation made up", "out of a private round, and not charged", "central", "rounds",
        "Round 2 released a sum of 10 uploads that was never charged",
        after=called_evaluation(charged=False), others=REBOUND),
    row("evaluation made up", "out of a private round that clients signed for", "receipts", "rounds",
        "Round 2 released a sum of 10 uploads that was never charged",
        after=called_evaluation(charged=False), others=REBOUND | {"receipts"}),
)  # fmt: skip
