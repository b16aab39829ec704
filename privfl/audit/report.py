"""The report of an audit, to be read: the verdict and its reasons first, then what it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from privfl.audit.findings import Audit, Claim, Finding, Layer, Outcome
from privfl.audit.report_claim import claim_section, trust_section
from privfl.audit.report_findings import finding_sections
from privfl.audit.report_measured import measured_section
from privfl.audit.report_rest import clients_section, hazards_section, releases_section, rerun_section
from privfl.audit.report_rounds import accountants_section, rounds_section
from privfl.audit.report_words import (
    LAYERS,
    counted,
    delta_text,
    given,
    is_private,
    layer_badge,
    tally,
    told_apart,
    told_at,
)
from privfl.report.formats import UNSEEN, format_count
from privfl.report.page import Banner, Fact, Page, Tone, render_page
from privfl.report.privacy_claim import neighbours

_KICKER: Final = "privfl audit:"
_HEADINGS: Final[Mapping[Outcome, str]] = {
    Outcome.FAIL: "FAIL: what is claimed does not hold",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE: what is claimed is not shown",
    Outcome.PASS: "PASS: nothing found that contradicts what is claimed",
}
_WITHOUT_PRIVACY: Final = "PASS: secure aggregation alone; no differential privacy is claimed"
_UNCHECKED: Final = "INCONCLUSIVE: nothing was checked"
_WITHOUT_ANYTHING: Final = "PASS: nothing is claimed that could be contradicted"


def is_audit_page(content: bytes) -> bool:
    """Whether a file is a page that `render_audit` made: one that another may take the place of."""
    return content.startswith(b"<!") and _KICKER.encode() in content


def render_audit(audit: Audit) -> str:
    """The report as one self-contained HTML file.

    Args:
        audit: what to show; whatever is missing in it is said in a sentence.

    Returns:
        The file's text.

    Guarantees:
        1. It loads nothing from anywhere and runs no script.
        2. Every text of `audit` is escaped; characters that nobody sees are replaced.
        3. It depends on `audit` alone: equal audits give equal bytes.
        4. The heading is the verdict, `audit.verdict`; every finding that keeps it from a pass stands before the first
           section, those that failed first.
        5. Every finding stands in the section of its layer with its outcome in words, and every release without noise
           in a section of its own.
        6. An attack without a control, or whose control found nothing, is said to be one.
    """
    page = Page(
        title=_heading(audit),
        kicker=f"{_KICKER} secure aggregation" + (" and differential privacy" if is_private(audit) else ""),
        subtitle=_subtitle(audit),
        standfirst=_standfirst(audit),
        facts=_headline(audit),
        banners=_banners(audit),
        sections=(
            claim_section(audit),
            trust_section(audit),
            rounds_section(audit),
            accountants_section(audit),
            *finding_sections(audit),
            measured_section(audit),
            releases_section(audit),
            clients_section(audit),
            hazards_section(audit),
            rerun_section(audit),
        ),
    )
    # A file's name must not make FAIL read otherwise.
    return UNSEEN.sub("\ufffd", render_page(page))


def _heading(audit: Audit) -> str:
    if all(one.outcome is Outcome.NOT_CLAIMED for one in audit.findings):
        return _UNCHECKED
    if audit.verdict is Outcome.PASS and not is_private(audit):
        return _WITHOUT_PRIVACY if audit.claim.secure else _WITHOUT_ANYTHING
    return _HEADINGS[audit.verdict]


def _subtitle(audit: Audit) -> str:
    what = {"run": "Audit of the run", "ledger": "Audit of a bare ledger,"}.get(audit.kind, f"Audit ({audit.kind}) of")
    asked = [LAYERS[layer].lower() for layer in Layer if layer in audit.layers]
    left = [LAYERS[layer].lower() for layer in Layer if layer not in audit.layers]
    told = f"{what} {audit.source}. Layers: {', '.join(asked) or 'none'}"
    return f"{told}; not asked for: {', '.join(left)}." if left else f"{told}."


def _standfirst(audit: Audit) -> str:
    made = [one for one in audit.findings if one.outcome is not Outcome.NOT_CLAIMED]
    if not made:
        told = "Nothing was checked."
    elif audit.verdict is Outcome.PASS:
        told = (
            f"All {counted(len(made), 'check')} passed. That is no proof: nothing that was looked at contradicts the "
            f"claim, as far as those are honest who must be."
        )
        silent = [LAYERS[layer].lower() for layer in Layer if not any(one.layer is layer for one in made)]
        told += f" Nothing was checked under: {', '.join(silent)}." if silent else ""
    else:
        told = f"Of {counted(len(made), 'check')}: {tally([one.outcome for one in made])}."
    if not is_private(audit):
        told += " No claim of differential privacy is made; what was checked instead stands under The claim."
    return told


def _banners(audit: Audit) -> tuple[Banner, ...]:
    """Why it is no pass, the worst first; then what must not be overlooked whatever the verdict."""
    failed = tuple(one for one in audit.reasons if one.outcome is Outcome.FAIL)
    undecided = tuple(one for one in audit.reasons if one.outcome is Outcome.INCONCLUSIVE)
    banners = []
    if failed:
        heading = f"✗ {counted(len(failed), 'check')} failed"
        banners.append(Banner(heading=heading, items=_reasons(failed), tone=Tone.ALARM))
    if undecided:
        heading = f"? {counted(len(undecided), 'check')} could not be decided"
        banners.append(Banner(heading=heading, items=_reasons(undecided)))
    if audit.claim.suite and not audit.claim.secure:
        banners.append(_bare_banner(audit.claim))
    return tuple(banners)


def _bare_banner(claim: Claim) -> Banner:
    """Without secure aggregation: what that means is another thing in every mode."""
    heading = f"The server reads every update: under `{claim.suite}` nothing is hidden from it"
    if claim.mode == "client-central":
        text = "It is trusted to add the noise and to keep what it sees to itself; the claim is for others."
        return Banner(heading=heading, text=text)
    if claim.mode == "example":
        return Banner(heading=heading, text="What hides examples from it is the clients’ own noise, and that alone.")
    if claim.mode == "none":
        text = "Neither secure aggregation nor differential privacy is claimed; a pass says nothing to the contrary."
    else:
        text = "A share of noise does not hide a client in its own upload: against the server the claim does not hold."
    return Banner(heading=heading, text=text, tone=Tone.ALARM)


def _reasons(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Why it is no pass; what several checks found alike is said once, with all their names."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for one in findings:
        alike.setdefault((one.detail, one.where, one.missing), []).append(one)
    told = []
    for (detail, where, missing), found in alike.items():
        titles = ", ".join(f"“{one.title}” (`{one.key}`)" for one in found)
        lost = "not so" if found[0].outcome is Outcome.FAIL else "not shown"
        words = f"{titles}: {lost}. {detail}"
        words += f" Where: {where.rstrip('.')}." if where else ""
        told.append(words + (f" Missing: {missing.rstrip('.')}." if missing else ""))
    return tuple(told)


def _headline(audit: Audit) -> tuple[Fact, ...]:
    layers = tuple(
        Fact(
            label=LAYERS[layer],
            value=layer_badge(audit, layer),
            note=tally([one.outcome for one in audit.findings if one.layer is layer]),
        )
        for layer in Layer
    )
    privacy = (
        _privacy_facts(audit) if is_private(audit) else (Fact(label="ε", value="none", note="no privacy claimed"),)
    )
    return (*privacy, _suite_fact(audit), _rounds_fact(audit), *layers)


def _privacy_facts(audit: Audit) -> tuple[Fact, ...]:
    claim = audit.claim
    found, claimed = told_apart(audit.epsilon, claim.epsilon)
    said = "no closing record claims one" if claim.epsilon is None else f"claimed: {claimed}"
    if told_at(audit) != claim.delta:
        said += f", at δ = {delta_text(claim.delta)}"
    of = "no budget" if claim.delta is not None else "nothing could be read"
    of = of if claim.budget is None else f"budget: {given(claim.budget)}"
    return (
        Fact(label="ε, recomputed", value=found if audit.epsilon is not None else "unknown", note=f"{said}; {of}"),
        Fact(
            label="δ",
            value=delta_text(told_at(audit)),
            note="of how many units is not known"
            if claim.population is None
            else f"of {counted(claim.population, claim.unit or 'unit')}",
        ),
        Fact(
            label="Hidden",
            value=f"one {claim.unit}" if claim.unit else "not known",
            note=f"{claim.relation}: {neighbours(claim.unit or 'unit', claim.relation)}" if claim.relation else "",
        ),
    )


def _suite_fact(audit: Audit) -> Fact:
    claim = audit.claim
    if not claim.suite:
        return Fact(
            label="Secure aggregation", value="claimed" if claim.secure else "not known", note="suite not known"
        )
    note = "secure aggregation is claimed" if claim.secure else "no secure aggregation"
    return Fact(label="Suite", value=claim.suite, note=note)


def _rounds_fact(audit: Audit) -> Fact:
    opened = [one.released for one in audit.rounds if one.released is not None]
    charges = sum(one.charges for one in audit.rounds)
    told = f"{format_count(sum(opened))} opened" if opened else "which were opened was not shown"
    told += f", {counted(charges, 'charge')}" if is_private(audit) else ""
    return Fact(label="Rounds", value=format_count(len(audit.rounds)), note=told if audit.rounds else "none is known")
