"""Do the charges follow from the terms that were fixed when the ledger opened, and these from the job?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, brief, number, require_believable
from privfl.audit.findings import Word
from privfl.audit.ledger import ACCURACY
from privfl.audit.promise import contradictions
from privfl.dp.chain import Contents
from privfl.dp.events import Event, PoissonSampled
from privfl.dp.plan import flat
from privfl.dp.records import Charge, Mode, Unit
from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning.books import JOB_DIGEST, job_digest
from privfl.learning.guarantee import noise_multiplier_of

CLIENT_MODES: Final = (Mode.CLIENT_CENTRAL, Mode.CLIENT_DISTRIBUTED)


def kept(artefacts: Artefacts, contents: Contents) -> Seen:
    """What was fixed at the start is said of every round as it was said then."""
    opening = contents.opening.facts
    compared: set[str] = set()
    for charge, where in placed(artefacts, contents):
        for name, value in charge.facts.items():
            if name in opening:
                compared.add(name)
                if opening[name] != value:
                    raise Wrong(
                        f"{name} was {opening[name]!r} when the ledger opened, and is {value!r} in round "
                        f"{charge.round}.",
                        where=where,
                    )
    if not compared:
        raise NotClaimed("The ledger says nothing of it twice.")
    return Seen(detail=f"{len(compared)} terms are the same in the opening record and in every charge.")


def weights(artefacts: Artefacts, contents: Contents) -> Seen:
    """One client moves the sum by no more than noise was sized for."""
    facts, where = contents.opening.facts, f"{artefacts.ledger.name}, line 1"
    if contents.opening.mode not in CLIENT_MODES:
        raise NotClaimed("Single examples are clipped, and weigh the same.")
    weight, sensitivity, step = (number(facts, name) for name in ("weight_max", "l2_sensitivity", "granularity"))
    if "weight_max" not in facts and sensitivity is None:
        raise Undecided(
            "The ledger says nothing of weights or sensitivity.",
            where=where,
            missing="the largest weight, the granularity and the sensitivity, in the opening record",
        )
    if weight is None or not 0 < weight < math.inf:
        raise Wrong(
            f"weight_max is {facts.get('weight_max')!r}: without a bound one client can move the sum by any amount, "
            f"and no noise hides it.",
            where=where,
        )
    if sensitivity is None or step is None:
        raise Undecided(
            "The ledger names a weight, and no sensitivity.",
            where=where,
            missing="l2_sensitivity and granularity in the opening record",
        )
    if sensitivity * step < weight * (1 - ACCURACY):
        raise Wrong(
            f"Noise is sized for a client that moves the sum by {sensitivity * step:.4g} clips, and its weight may be "
            f"{weight:g}.",
            where=where,
        )
    for charge, line in placed(artefacts, contents):
        used = [getattr(_inner(part.event), "l2_sensitivity", sensitivity) for part in flat(charge.events)]
        if min(used) < sensitivity * (1 - ACCURACY):
            raise Wrong(
                f"Round {charge.round} counts on a sensitivity of {min(used):g} where {sensitivity:g} was fixed.",
                where=line,
            )
    return Seen(
        detail=f"A client weighs {weight:g} at most and moves the sum by up to {sensitivity * step:.4g} clips, "
        f"rounding included, for which noise is sized. That it is so in fact, the sessions on known inputs show.",
        figures={"weight_max": weight, "sensitivity": sensitivity * step},
    )


def noise(artefacts: Artefacts, contents: Contents) -> Seen:
    """What is charged follows from who contributed and what was fixed."""
    least = math.inf
    for charge, where in placed(artefacts, contents):
        known = [noise_multiplier_of(part.event) for part in flat(charge.events)]
        charged = min((one for one in known if one is not None), default=None)
        told = number(charge.facts, "noise_multiplier_effective")
        if charged is not None and told is not None and not math.isclose(charged, told, rel_tol=ACCURACY):
            raise Wrong(
                f"Round {charge.round} says a noise multiplier of {told:g} and is charged as {charged:g}.", where=where
            )
        if charged is not None:
            least = min(least, charged)
            if contents.opening.mode in CLIENT_MODES:
                _of_contributors(contents, charge, charged, where)
    if math.isinf(least):
        raise NotClaimed("No charge has a noise multiplier.")
    return Seen(detail=f"The smallest noise multiplier of a round is {least:.4g}.", figures={"least": least})


def _of_contributors(contents: Contents, charge: Charge, charged: float, where: str) -> None:
    facts = contents.opening.facts
    variance, step, sensitivity = (number(facts, name) for name in ("noise_variance", "granularity", "l2_sensitivity"))
    if variance is None or step is None or sensitivity is None:
        raise Undecided(
            f"Round {charge.round} is charged for a noise multiplier of {charged:.4g}; from what noise it follows, the "
            f"ledger does not say.",
            where=where,
            missing="noise_variance, granularity and l2_sensitivity in the opening record",
        )
    contributors, corrupt = number(charge.facts, "contributors"), number(facts, "corrupt_clients") or 0.0
    if contributors is None:
        raise Undecided(
            f"Round {charge.round} does not say how many contributed.",
            where=where,
            missing="contributors, in every charge",
        )
    distributed = contents.opening.mode is Mode.CLIENT_DISTRIBUTED
    honest, shares = (contributors - corrupt, contributors) if distributed else (1.0, 1.0)
    made = math.sqrt(max(honest, 0.0) * variance) / sensitivity
    if charged > made * (1 + ACCURACY):
        raise Wrong(
            f"Round {charge.round} is charged as if its noise multiplier were {charged:.6g}; {contributors:g} "
            f"contributors, {corrupt:g} of them corrupt, make {made:.6g}.",
            where=where,
        )
    std, clip = number(charge.facts, "noise_std_of_sum"), number(charge.facts, "clip")
    if std is None or clip is None:
        return
    due = clip * step * math.sqrt(shares * variance)
    if not math.isclose(std, due, rel_tol=ACCURACY):
        raise Wrong(
            f"Round {charge.round} says noise of standard deviation {std:.6g} on the sum, where {due:.6g} follows from "
            f"clip, granularity and shares.",
            where=where,
        )


def amplification(artefacts: Artefacts, contents: Contents) -> Seen:
    """Amplification is charged only where it was fixed that something is sampled."""
    facts, example = contents.opening.facts, contents.opening.unit is Unit.EXAMPLE
    probability, claims = number(facts, "sampling_probability"), example or facts.get("amplification") is True
    sampled = 0
    for charge, where in placed(artefacts, contents):
        for part in flat(charge.events):
            if not isinstance(part.event, PoissonSampled):
                continue
            sampled += part.count
            drawn = part.event.sampling_probability
            if not {"sampling", "amplification", "sampling_probability"} & facts.keys():
                raise Undecided(
                    f"Round {charge.round} is charged as a Poisson sample with probability {drawn:g}; that anything "
                    f"was sampled, the opening record does not say.",
                    where=where,
                    missing="sampling, sampling_probability and amplification in the opening record",
                )
            if facts.get("sampling") != "poisson" or not claims or probability != drawn:
                raise Wrong(
                    f"Round {charge.round} is charged as a Poisson sample with probability {drawn:g}; the opening "
                    f"record says sampling {facts.get('sampling')!r} with probability {probability}, amplification "
                    f"{facts.get('amplification')!r}.",
                    where=where,
                )
    if not sampled:
        raise NotClaimed("No amplification is claimed.")
    whose = "That batches were drawn so is the clients' word." if example else "Whether cohorts were, see `sampler`."
    return Seen(
        detail=f"All {sampled} sampled events have the probability that was fixed, {probability:g}. {whose}",
        rests_on=Word.CLIENTS if example else Word.COORDINATOR,
    )


def job(artefacts: Artefacts, contents: Contents) -> Seen:
    """The terms follow from the job."""
    named, read = contents.opening.facts.get(JOB_DIGEST), artefacts.job
    require_believable(read)
    if named is None and artefacts.bare:
        raise NotClaimed("The ledger names no job.")
    if named is None:
        raise Wrong("The ledger does not say for which job it was opened.", where=f"{artefacts.ledger.name}, line 1")
    if read.value is None:
        raise Undecided(
            f"The ledger names a job with SHA-256 {brief(str(named))}.",
            missing="the job file: with it noise and costs can be worked out again",
        )
    if job_digest(read.value) != named:
        raise Wrong(f"{read.name} is not the job that the ledger was opened for.", where=read.name)
    try:
        wrong = next(contradictions(read.value, contents), None)
    except MissingExtra:
        raise
    except ConfigurationError as error:
        raise Wrong(f"No run of this job is possible: {error}.", where=read.name) from None
    if wrong is not None:
        raise Wrong(wrong[0], where=f"{artefacts.ledger.name}, line {wrong[1]}")
    return Seen(
        detail="Worked out again from the job: noise, sensitivity, granularity, plan and the cost of every round are "
        "those of the ledger."
    )


def placed(artefacts: Artefacts, contents: Contents) -> Iterator[tuple[Charge, str]]:
    """Yield the charges, each with where it stands."""
    for charge, line in zip(contents.charges, contents.places, strict=True):
        yield charge, f"{artefacts.ledger.name}, line {line}"


def _inner(event: Event) -> Event:
    return event.event if isinstance(event, PoissonSampled) else event
