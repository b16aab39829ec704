"""What a job promises, worked out again, beside what its ledger says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from privfl.dp.chain import Contents
from privfl.dp.events import event_to_json
from privfl.dp.records import Unit
from privfl.errors import ConfigurationError
from privfl.learning.guarantee import Guarantee, guarantee_of
from privfl.learning.job import Job
from privfl.learning.privacy_job import PrivacyMode

_ACCURACY: Final = 1e-9
_SLACK: Final = 1e-6


def contradictions(job: Job, contents: Contents) -> Iterator[tuple[str, int]]:
    """Yield in what a ledger contradicts the job that it was opened for: sentences, with lines.

    The noise multiplier is taken from the ledger, where the job leaves it to be found, and what it costs is compared
    with the budget. What follows a contradiction may follow from it.

    Raises:
        ConfigurationError: no run of this job is possible.
        MissingExtra: dp-accounting is not installed.
    """
    yield from _asked_for(job, contents)
    made = promised(job, contents)
    if made is None:
        yield "It was opened for a job that asks for no privacy.", 1
        return
    yield from _opened(made, job, contents)
    yield from _charged(made, contents)


def promised(job: Job, contents: Contents) -> Guarantee | None:
    """Work out again what a job promises, with the noise multiplier that its ledger says; None if it promises nothing.

    Raises:
        ConfigurationError: no run of this job is possible, or the ledger does not say what it takes.
        MissingExtra: dp-accounting is not installed.
    """
    opening = contents.opening
    planned, parameters = opening.facts.get("noise_multiplier_planned"), opening.facts.get("parameters")
    if not isinstance(planned, int | float) or type(parameters) is not int or opening.population is None:
        raise ConfigurationError(
            "the ledger does not say which noise was planned, for how many parameters, or for how many units"
        )
    if job.privacy.mode is PrivacyMode.NONE:
        return None
    again = replace(job, privacy=replace(job.privacy, noise_multiplier=float(planned)))
    return _worked_out(again, parameters, opening.population)


@lru_cache(maxsize=8)
def _worked_out(job: Job, parameters: int, examples: int) -> Guarantee | None:
    """Several checks ask for it, and it may take seconds."""
    return guarantee_of(job, parameters=parameters, examples=examples)


def _asked_for(job: Job, contents: Contents) -> Iterator[tuple[str, int]]:
    opening, privacy = contents.opening, job.privacy
    if opening.mode.value != privacy.mode.value:
        yield f"It was opened in mode {opening.mode.value}, and the job asks for {privacy.mode.value}.", 1
    if opening.budget.delta != privacy.failure or opening.budget.epsilon != privacy.epsilon:
        was = f"ε = {opening.budget.epsilon} at δ = {opening.budget.delta:g}"
        yield f"It was opened for {was}, and the job asks for ε = {privacy.epsilon} at δ = {privacy.failure:g}.", 1
    planned = opening.facts.get("noise_multiplier_planned")
    if privacy.noise_multiplier is not None and planned != privacy.noise_multiplier:
        yield f"It was opened for a noise multiplier of {planned}, and the job asks for {privacy.noise_multiplier}.", 1
    if opening.unit is Unit.CLIENT and opening.population != job.data.clients:
        yield f"It was opened for {opening.population} clients, and the job has {job.data.clients}.", 1


def _opened(made: Guarantee, job: Job, contents: Contents) -> Iterator[tuple[str, int]]:
    opening = contents.opening
    for name, value in made.facts.items():
        if not _same(opening.facts.get(name), value):
            yield f"It says {name} = {opening.facts.get(name)!r}, and from the job follows {value!r}.", 1
    told, due = opening.facts.get("planned_epsilon"), made.planned_epsilon(job)
    if isinstance(told, int | float) and not math.isclose(told, due, rel_tol=_SLACK):
        yield f"It says that all planned rounds cost ε = {told:g}; they cost {due:.6g}.", 1
    if opening.facts.get("against") != made.against:
        yield f"It claims to protect from {opening.facts.get('against')!r}; the job does from {made.against!r}.", 1
    budget = made.opening(job, {}).budget
    if opening.budget.relation is not budget.relation or not _same(_planned(opening.budget), _planned(budget)):
        yield "Its plan, or its neighbouring relation, is not the one that follows from the job.", 1
    cost, limit = made.planned_epsilon(job), job.privacy.epsilon
    if limit is not None and job.privacy.noise_multiplier is None and cost > limit * (1 + _SLACK):
        yield f"All planned rounds cost ε = {cost:.6g}, and the job allows {limit:g}.", 1


def _charged(made: Guarantee, contents: Contents) -> Iterator[tuple[str, int]]:
    for charge, line in zip(contents.charges, contents.places, strict=True):
        contributors = charge.facts.get("contributors")
        if type(contributors) is not int:
            yield f"Round {charge.round} does not say how many contributed.", line
            continue
        try:
            due = event_to_json(made.cost(contributors))
        except ConfigurationError as error:
            yield f"Round {charge.round}: {error}.", line
            continue
        charged = [event_to_json(event) for event in charge.events]
        if not _same(charged, [due]):
            yield (
                f"Round {charge.round} is charged as {charged}; with {contributors} contributors it costs {due}.",
                line,
            )


def _planned(budget: Any) -> Any:
    body = budget.to_json()
    return [body["planned"], body["planned_rounds"], body["once"], body["excluded"]]


def _same(left: Any, right: Any) -> bool:
    """Equal, but for how numbers were rounded on the way."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
    if numbers:
        return math.isclose(left, right, rel_tol=_ACCURACY, abs_tol=1e-300)
    return bool(left == right)
