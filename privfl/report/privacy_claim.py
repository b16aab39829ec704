"""The claim of differential privacy of a run: ε, δ, for whom, against whom, and what that means in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privfl.dp.mechanisms import Relation
from privfl.report.formats import format_number, format_percent, format_probability

_ALWAYS = 0.9995  # beyond it one decimal of percent would say 100
_SAME_NOISE = 1.001  # rounding to whole numbers adds less than this to a noise multiplier
_CONTRIBUTIONS = {"client": "a client’s updates", "example": "an example’s gradients"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyCharge:
    """What the ledger holds of one round.

    Attributes:
        round: its number.
        times: how often it was charged; more than once where a crash made the run repeat it.
        contributors: clients in the sum that the last charge was for.
        noise_multiplier: z of that sum, corrupt clients' noise not counted; None where it is not known.
    """

    round: int
    times: int
    contributors: int
    noise_multiplier: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPrivacy:
    """What a run promises under differential privacy, and what it spent.

    Attributes:
        unit: whose presence is hidden: `client` or `example`.
        against: whom it protects from, in words.
        epsilon: ε of all that was charged; may be infinite.
        delta: δ.
        budget: the largest ε that may be spent; None where none was set.
        planned_epsilon: ε if every round has the fewest contributors that it may have.
        accountant: by which `epsilon` was found, such as `PLD`.
        second: the second opinion; None where no other accountant applies.
        second_accountant: whose.
        noise_multiplier: z that every round has at the least.
        charges: of the ledger, one entry a round, ascending.
        facts: (name, value) of mechanism and ledger.
        stopped: why the run ended before its last round; None if it did not.
    """

    unit: str
    against: str
    epsilon: float
    delta: float
    budget: float | None
    planned_epsilon: float | None
    accountant: str
    second: float | None
    second_accountant: str
    noise_multiplier: float
    charges: tuple[PrivacyCharge, ...]
    facts: tuple[tuple[str, str], ...]
    stopped: str | None


def neighbours(unit: str, relation: str) -> str:
    """What two data sets that are neighbours differ in, in words.

    Args:
        unit: whose presence is hidden: `client` or `example`.
        relation: value of `privfl.dp.mechanisms.Relation`; of any other there is nothing to say but its name.

    >>> neighbours("client", "replace-one")
    'one client exchanged for another'
    """
    if relation == Relation.ZERO_OUT:
        return f"{_CONTRIBUTIONS.get(unit, f'what one {unit} contributes')}, or zeros in their place"
    if relation == Relation.ADD_OR_REMOVE_ONE:
        return f"one {unit} more or less"
    return f"one {unit} exchanged for another" if relation == Relation.REPLACE_ONE else relation


def privacy_claim(privacy: RunPrivacy) -> str:
    """The claim: ε, δ, for whom, against whom."""
    return (
        f"With ε = {format_number(privacy.epsilon)} at δ = {format_probability(privacy.delta)} for one {privacy.unit}, "
        f"this run protects against {privacy.against}."
    )


def privacy_meaning(privacy: RunPrivacy) -> tuple[str, ...]:
    """What it means for one unit, what the budget means, and what was spent of it, in sentences."""
    often = how_often_right(privacy.epsilon, privacy.delta)
    if privacy.unit == "client":
        hidden = (
            "Whether a given client’s updates went into the sums, or zeros in their place, makes little difference to "
            "what came out."
        )
        guess = "whether the client’s updates were in the sums, or zeros"
    else:
        hidden = (
            "Whether a given training example was among those of a client makes little difference to what left that "
            "client."
        )
        guess = "whether the example was there"
    told = [
        (
            f"{hidden} Somebody who knows everything else and must guess {guess}, each as likely as the other, is "
            f"right {often}; one who has seen nothing is right half of the time."
        )
    ]
    if privacy.budget is not None:
        told.append(
            f"The run may spend ε = {privacy.budget:g} and no more: a round is charged before its sum is "
            f"opened, and one that would go beyond is not opened. That rule was fixed before the first round, so that "
            f"the budget holds whoever drops out and however the models turn out."
        )
    else:
        told.append("No budget was set: every round was charged, and none would have been refused.")
    told.append(_spent(privacy))
    return tuple(told)


def how_often_right(epsilon: float, delta: float) -> str:
    """How often whoever must guess between two neighbours, each as likely as the other, is right at the most."""
    sure = _best_guess(epsilon, delta)
    return f"at most {format_percent(sure)} of the time" if sure < _ALWAYS else "as good as always, at the worst"


def _spent(privacy: RunPrivacy) -> str:
    spent = f"What was spent, ε = {format_number(privacy.epsilon)}, is for the rounds as they happened"
    if privacy.planned_epsilon is None:
        return f"{spent}."
    spent += (
        f"; all planned rounds, with the fewest contributors that they may have, cost ε = "
        f"{format_number(privacy.planned_epsilon)}."
    )
    noise = [charge.noise_multiplier for charge in privacy.charges if charge.noise_multiplier is not None]
    if max(noise, default=0.0) > privacy.noise_multiplier * _SAME_NOISE:
        # The sum of what happened is a bound only if nobody chose, by what came out before, how much noise there is.
        bound = f"the budget, {privacy.budget:g}" if privacy.budget is not None else "that of all planned rounds"
        spent += (
            f" Where somebody may have made clients drop out after seeing what earlier rounds released, the ε to quote "
            f"is {bound}."
        )
    return spent


def _best_guess(epsilon: float, delta: float) -> float:
    """How often the best test between two equally likely neighbours is right (Kairouz, Oh, Viswanath, 2015)."""
    odds = math.exp(-epsilon) if epsilon < 700 else 0.0
    return min(1.0, (1.0 + delta * odds) / (1.0 + odds))
