"""What is claimed, in words and as a curve, and who must be honest for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from markupsafe import Markup

from privfl.audit.findings import Audit, Claim, Outcome
from privfl.audit.report_rounds import spent_figure
from privfl.audit.report_words import (
    BADGES,
    NBSP,
    at_delta,
    capital,
    counted,
    delta_text,
    equals,
    given,
    is_private,
    rich,
    shown,
    told_apart,
    told_at,
)
from privfl.report.charts.epsilons import EpsilonCurve, epsilon_curve
from privfl.report.formats import format_count, format_percent
from privfl.report.page import (
    Column,
    Figure,
    Row,
    Section,
    Table,
    Tone,
    definitions_block,
    figures_block,
    note_block,
    notes_block,
    table_block,
)
from privfl.report.privacy_claim import how_often_right, neighbours

_LITTLE: Final = 10.0  # from this ε on the odds move by more than 20 000: hardly a promise any more
_NOISE_BY: Final[Mapping[str, str]] = {
    "example": "by every client, in every step of its training (DP-SGD)",
    "client-central": "by the server, to the opened sum",
    "client-distributed": "by every client a share, before the sum is formed",
    "participation": "by whoever ran the sessions: a client’s own record of what it took part in",
}
_SERVERS: Final[Mapping[str, str]] = {
    "honest-but-curious": "honest but curious: it follows the protocol and keeps all that it sees",
    "active": "active: it may depart from the protocol, and claim that clients dropped out that did not",
}
_ZERO_OUT: Final = "zero-out"


def claim_section(audit: Audit) -> Section:
    """The claim in words, its terms, and ε over δ."""
    blocks = _claim_blocks(audit) if is_private(audit) else _other_blocks(audit)
    return Section(key="claim", heading="The claim", lead=_claim_lead(audit), blocks=tuple(blocks))


def trust_section(audit: Audit) -> Section:
    """Who must be honest, part by part."""
    heading, key = "Who must be honest", "trust"
    if not audit.assurances:
        return Section(
            key=key,
            heading=heading,
            lead="The audit does not say on whose honesty the claim rests. Take it to rest on everybody’s who wrote "
            "down what was read here.",
        )
    unshown = sum(not one.shown for one in audit.assurances)
    table = Table(
        key="trust-table",
        caption="Whose honesty each part of the claim needs, and what was shown beside their word. Ledger, evidence "
        "and recorded sessions are the coordinator’s own: against it they show that a lie would have to be consistent. "
        "Receipts are the clients’.",
        columns=(
            Column(heading="Part of the claim", numeric=False),
            Column(heading="Who must be honest", numeric=False),
            Column(heading="Shown beside their word", numeric=False),
        ),
        rows=tuple(
            Row(
                cells=(
                    rich(capital(one.part)),
                    rich(one.honest),
                    rich(one.shown or "! nothing: it is their word alone"),
                ),
                tone=Tone.CALM if one.shown else Tone.CAUTION,
            )
            for one in audit.assurances
        ),
    )
    told = (
        f"Of {counted(len(audit.assurances), 'part')} of the claim, {format_count(unshown)} "
        f"{'rests' if unshown == 1 else 'rest'} on somebody’s word alone."
        if unshown
        else "For every part of the claim something was shown beside the word of those who must be honest for it. What "
        "was shown is no proof either."
    )
    return Section(key=key, heading=heading, lead=told, blocks=(table_block(table),))


def _claim_lead(audit: Audit) -> str:
    claim = audit.claim
    if not is_private(audit):
        said = "No claim of differential privacy is made: no noise was added, and there is no ε."
        return f"{said} A sum tells about those who are in it, and a model about what it was trained on."
    if claim.delta is None:
        return f"Differential privacy is claimed, in mode `{claim.mode}`; how much, nothing says that could be read."
    claimed, found = told_apart(claim.epsilon, audit.epsilon)
    what = f"at δ{NBSP}={NBSP}{delta_text(claim.delta)} for one {claim.unit or 'unit that is not known'}"
    to = f", and to protect against {claim.against}" if claim.against else ""
    if claim.epsilon is not None:
        told = f"What is claimed: {equals(claimed)} {what}{to}."
    else:
        told = f"What is claimed: to account for all that was released, {what}{to}. No closing record names an ε."
    if audit.epsilon is None:
        return f"{told} It could not be recomputed."
    other = at_delta(audit) if told_at(audit) != claim.delta else ""
    return f"{told} Recomputed from all that was charged: {equals(found)}{other}."


def _claim_blocks(audit: Audit) -> list[Markup]:
    claim = audit.claim
    blocks = [notes_block(_meaning(audit))]
    if audit.epsilon is not None and not audit.epsilon < _LITTLE:
        little = f"An ε of {shown(audit.epsilon)} promises little, whether or not the audit finds fault with it."
        blocks.append(note_block(little, Tone.CAUTION))
    if claim.population is not None and claim.delta is not None and claim.delta * claim.population >= 1:
        blocks.append(
            note_block(
                f"δ is not below one in {format_count(claim.population)}, the number of units there are: giving one "
                f"of them away altogether would keep the claim.",
                Tone.CAUTION,
            )
        )
    blocks.append(definitions_block(_terms(claim)))
    figures = [figure for figure in (_curve(audit), spent_figure(audit)) if figure is not None]
    blocks += [figures_block(*figures)] if figures else []
    if not audit.curve:
        blocks.append(note_block("There is no curve of ε over δ: nothing could be recomputed."))
    return blocks


def _other_blocks(audit: Audit) -> list[Markup]:
    checked = [one for one in audit.findings if one.outcome is not Outcome.NOT_CLAIMED]
    blocks = [definitions_block(_terms(audit.claim))]
    if checked:
        blocks.append(note_block("What was checked instead:", Tone.CALM))
        blocks.append(notes_block(tuple(f"{one.title}: {BADGES[one.outcome]}" for one in checked)))
    else:
        blocks.append(note_block("Nothing was checked instead.", Tone.CAUTION))
    return blocks


def _meaning(audit: Audit) -> tuple[str, ...]:
    claim, told = audit.claim, []
    if claim.relation:
        unit = claim.unit or "unit"
        words = f"Neighbours ({claim.relation}): {neighbours(unit, claim.relation)}. "
        epsilon, delta = (claim.epsilon, claim.delta) if audit.epsilon is None else (audit.epsilon, told_at(audit))
        if epsilon is not None and delta is not None and not math.isnan(epsilon):
            words += (
                f"Somebody who knows everything else and must guess which of two neighbours it was, each as likely as "
                f"the other, is right {how_often_right(epsilon, delta)}; one who has seen nothing is right half of the "
                f"time."
            )
        told.append(words.strip())
        if claim.relation == _ZERO_OUT and unit == "client":
            told.append(
                "Who took part, when, and with messages of what size stays visible: the claim does not hide it."
            )
    if claim.budget is not None:
        told.append(
            f"No more than {equals(given(claim.budget))} may be spent: a round is charged before its sum is opened, "
            f"and one that would overrun the budget is not opened."
        )
    elif claim.delta is not None:  # without δ no ledger could be read, which would know
        told.append("No budget was set: whatever happened was charged, and nothing would have been refused.")
    if claim.mode == "client-distributed" and claim.suite and not claim.secure:
        told.append(
            "Shares of noise hide a client in the sum, not in its own upload: without secure aggregation nothing of "
            "this holds against the server."
        )
    told.append("The claim is for this run alone: every other run on the same data spends in addition.")
    return tuple(told)


def _terms(claim: Claim) -> tuple[tuple[str, str], ...]:
    private = claim.mode != "none"
    share = {"corrupt": claim.corrupt, "dropout": claim.dropout}
    told = [
        ("Unit of privacy", f"one {claim.unit or 'unit that is not known'}" if private else ""),
        ("How many there are", format_count(claim.population) if claim.population is not None else "not known"),
        ("Mode", f"{claim.mode}; noise is added {_NOISE_BY.get(claim.mode, 'in a way that is not known here')}"),
        ("Protects against", claim.against or "not known"),
        ("Budget", _budget(claim)),
    ]
    aggregation = [
        ("Secure aggregation", suite_words(claim)),
        ("Server", _SERVERS.get(claim.server, claim.server or "not known")),
        (
            "Clients that may collude with it",
            f"up to {format_percent(share['corrupt'])} of a cohort" if share["corrupt"] is not None else "not known",
        ),
        (
            "Clients that may drop out",
            f"up to {format_percent(share['dropout'])} of a cohort" if share["dropout"] is not None else "not known",
        ),
    ]
    return tuple((told if private else []) + aggregation)


def suite_words(claim: Claim) -> str:
    """The suite, and whether it is claimed to protect."""
    if not claim.suite:
        return "claimed, by a suite that is not known" if claim.secure else "not known"
    return f"claimed, by the suite {claim.suite}" if claim.secure else f"not claimed: the suite is {claim.suite}"


def _curve(audit: Audit) -> Figure | None:
    if not audit.curve:
        return None
    delta, epsilon = told_at(audit), audit.epsilon
    quoted = (delta, epsilon) if delta is not None and epsilon is not None else None
    chart = EpsilonCurve(
        key="curve-chart",
        title="Epsilon over delta",
        description=f"Epsilon is {shown(epsilon)} at the delta that is quoted.",
        points=audit.curve,
        quoted=quoted,
    )
    return Figure(
        heading="ε over δ",
        drawing=epsilon_curve(chart),
        caption="One curve is the whole promise: every point of it holds, and the one that is quoted is a choice. ε of "
        "all that was charged, recomputed.",
    )


def _budget(claim: Claim) -> str:
    if claim.budget is not None:
        return equals(given(claim.budget))
    return "not known" if claim.delta is None else "none"
