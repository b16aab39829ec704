"""Findings, layer by layer: every one, with its outcome in words, what was seen, and whose word it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from markupsafe import Markup

from privfl.audit.findings import Audit, Finding, Layer, Outcome
from privfl.audit.report_words import BADGES, LAYERS, TONES, WHOSE, counted, layer_badge, lines, rich, strong, tally
from privfl.report.page import Column, Row, Section, Table, Tone, table_block

_PROVES: Final[Mapping[Layer, str]] = {
    Layer.RECOMPUTATION: "What follows from what was written down: hashes, signatures, sums, ε. It proves arithmetic; "
    "whether what was written down happened, it cannot tell.",
    Layer.CONFORMITY: "Whether what was done is what was written down: recorded sessions on known inputs, and what "
    "left the clients.",
    Layer.EMPIRICAL: "What somebody who attacks it finds out. Attacks give lower bounds of ε: they can refute a claim "
    "and never prove one.",
}
_WHOSE: Final = (
    " On whose word it rests: who could have made it come out so without it being true. “Nobody’s”: anybody can check "
    "it again. “Both”: coordinator and clients would have to lie alike."
)


def finding_sections(audit: Audit) -> tuple[Section, ...]:
    """One section a layer, in the order of layers; what was not asked for is said as well."""
    first = next((layer for layer in Layer if any(one.layer is layer for one in audit.findings)), None)
    return tuple(_section(audit, layer, explained=layer is first) for layer in Layer)


def _section(audit: Audit, layer: Layer, *, explained: bool) -> Section:
    findings = [one for one in audit.findings if one.layer is layer]
    heading = f"{LAYERS[layer]}: {layer_badge(audit, layer)}"
    if not findings:
        asked = layer in audit.layers
        why = (
            "It was asked for, and there was nothing to check."
            if asked
            else "It was not asked for: of this, nothing is known."
        )
        return Section(key=layer.value, heading=heading, lead=f"{_PROVES[layer]} {why}")
    table = Table(
        key=f"{layer.value}-table",
        caption=f"{counted(len(findings), 'check')}: {tally([one.outcome for one in findings])}."
        + (_WHOSE if explained else ""),
        columns=(
            Column(heading="Check", numeric=False),
            Column(heading="What was seen", numeric=False),
            Column(heading="On whose word", numeric=False),
        ),
        rows=tuple(_row(one) for one in findings),
    )
    failed = any(one.outcome is Outcome.FAIL for one in findings)
    return Section(
        key=layer.value,
        heading=heading,
        lead=_PROVES[layer],
        blocks=(table_block(table),),
        tone=Tone.ALARM if failed else Tone.CALM,
    )


def _row(one: Finding) -> Row:
    seen = [rich(one.detail)]
    seen += [lines(strong("Where: ") + rich(one.where))] if one.where else []
    seen += [lines(strong("Missing: ") + rich(one.missing))] if one.missing else []
    check = lines(strong(BADGES[one.outcome]) + Markup(" <code>{}</code>").format(one.key), rich(one.title))
    return Row(cells=(check, lines(*seen), WHOSE[one.rests_on]), tone=TONES[one.outcome])
