"""The section of a run's report on differential privacy: the claim, its curve and facts, and every charge."""

from __future__ import annotations

from collections.abc import Sequence

from privfl.report.formats import format_number, format_probability
from privfl.report.page import (
    Banner,
    Fact,
    Section,
    Tone,
    definitions_block,
    figures_block,
    note_block,
    notes_block,
    table_block,
)
from privfl.report.privacy_claim import RunPrivacy, privacy_claim, privacy_meaning
from privfl.report.privacy_rounds import privacy_figures, privacy_table, private_rounds
from privfl.round_metrics import RoundMetrics

_LITTLE = 10.0  # from this ε on the odds move by more than 20 000: hardly a promise any more


def privacy_section(privacy: RunPrivacy, rows: Sequence[RoundMetrics]) -> Section:
    """The claim, its curve and facts, and what every round was charged for."""
    history = private_rounds(privacy, rows)
    if not history:
        return Section(
            key="privacy",
            heading="Privacy",
            lead="Nothing was charged and nothing was released: no round was held.",
            blocks=(definitions_block(privacy.facts),) if privacy.facts else (),
        )
    blocks = [notes_block(privacy_meaning(privacy))]
    if privacy.epsilon >= _LITTLE:
        blocks.append(
            note_block(
                f"An ε of {format_number(privacy.epsilon)} promises little: take more noise, fewer rounds, or more "
                f"clients.",
                Tone.CAUTION,
            )
        )
    blocks.append(figures_block(*privacy_figures(privacy, history)))
    if privacy.facts:
        blocks.append(definitions_block(privacy.facts))
    blocks.append(table_block(privacy_table(privacy, history)))
    blocks.append(note_block("What stays visible, and what the claim rests on, stands under Limits."))
    return Section(key="privacy", heading="Privacy", lead=privacy_claim(privacy), blocks=tuple(blocks))


def privacy_banner(privacy: RunPrivacy) -> Banner | None:
    """What must be said first: that the budget ended the run."""
    if privacy.stopped is None:
        return None
    return Banner(heading="The privacy budget ended this run before its last round", text=_sentence(privacy.stopped))


def privacy_fact(privacy: RunPrivacy) -> Fact:
    """The headline figure."""
    of = f"of a budget of {privacy.budget:g}" if privacy.budget is not None else "no budget was set"
    return Fact(
        label="Privacy spent",
        value=f"ε = {format_number(privacy.epsilon)}",
        note=f"{of}, at δ = {format_probability(privacy.delta)}, for one {privacy.unit}",
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
