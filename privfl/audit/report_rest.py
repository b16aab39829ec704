"""Releases without noise, what single clients spent, hazards, and how to make the audit again."""

from __future__ import annotations

import statistics
from typing import Final

from markupsafe import Markup

from privfl.audit.findings import Audit, ClientSpending
from privfl.audit.report_words import NBSP, WHOSE, at_delta, counted, equals, given, is_private, rich, shown
from privfl.report.formats import MISSING, format_count
from privfl.report.page import (
    Column,
    Row,
    Section,
    Table,
    Tone,
    definitions_block,
    listing_block,
    note_block,
    notes_block,
    table_block,
)

MOST_CLIENTS: Final = 10
"""Of clients within their budgets, so many are listed: those that spent most."""
MOST_OVERSPENT: Final = 200
"""Of clients beyond their budgets, so many are listed."""
_SLACK: Final = 1 + 1e-9
_CONTROLS: Final = dict.fromkeys((*range(32), 127), "\ufffd")


def releases_section(audit: Audit) -> Section:
    """What was released without noise, all of it."""
    key, heading = "releases", "Releases without differential privacy"
    if audit.unprotected:
        kinds = counted(len(audit.unprotected), "kind of release", "kinds of release")
        them = "it" if len(audit.unprotected) == 1 else "them"
        return Section(
            key=key,
            heading=heading,
            lead=f"{kinds} without noise: no ε covers {them}.",
            blocks=(notes_block(audit.unprotected),),
        )
    if not is_private(audit):
        return Section(
            key=key, heading=heading, lead="All of them: no differential privacy is claimed, and no sum carries noise."
        )
    return Section(key=key, heading=heading, lead="None is known, by the ledger or by what was shown beside it.")


def clients_section(audit: Audit) -> Section:
    """ε of single clients: all who overspent, those who spent most, and what the others spent in a sentence."""
    key, heading = "clients", "Single clients"
    if not audit.clients:
        why = (
            "Not known: no client showed its own ledger."
            if is_private(audit)
            else "Nothing that could be counted: no differential privacy is claimed."
        )
        return Section(key=key, heading=heading, lead=why)
    ordered = sorted(audit.clients, key=lambda one: (not _overspent(one), -one.epsilon, one.client))
    over = sum(_overspent(one) for one in ordered)
    listed = ordered[: max(MOST_CLIENTS, min(over, MOST_OVERSPENT))]
    spent = [one.epsilon for one in audit.clients]
    lead = (
        f"{counted(len(audit.clients), 'client')} showed what they spent: {equals(shown(max(spent)))} at the most, "
        f"{shown(statistics.median(spent))} in the median, {shown(min(spent))} at the least. That is by their own "
        f"records, over all sessions that they took part in, without amplification{at_delta(audit)}."
    )
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Client", numeric=False, code=True), [rich(one.client) for one in listed]),
        (Column(heading="Sessions"), [format_count(one.sessions) for one in listed]),
        (Column(heading="ε", unit="spent"), [shown(one.epsilon) for one in listed]),
        (Column(heading="Budget", unit="its own"), [given(one.budget) for one in listed]),
        (
            Column(heading="Remark", numeric=False),
            ["✗ beyond its budget" if _overspent(one) else MISSING for one in listed],
        ),
    ]
    kept = [(column, cells) for column, cells in columns if any(cell != MISSING for cell in cells)]
    table = Table(
        key="clients-table",
        caption="What a client’s own record adds up to. A client is named by the first digits of its key."
        + (" Those beyond their own budget, and those that spent most." if len(listed) < len(ordered) else ""),
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(cells=tuple(cells[index] for _, cells in kept), tone=Tone.ALARM if _overspent(one) else Tone.CALM)
            for index, one in enumerate(listed)
        ),
    )
    blocks = [table_block(table)]
    if over:
        blocks.insert(
            0,
            note_block(
                f"✗ {counted(over, 'client')} spent more than {'its' if over == 1 else 'their'} own budget.", Tone.ALARM
            ),
        )
    if len(listed) < len(ordered):
        rest = ordered[len(listed) :]
        most = max(one.epsilon for one in rest)
        blocks.append(
            note_block(
                f"{counted(len(rest), 'other client')} spent up to {equals(shown(most))}; the JSON of this audit "
                f"lists all."
            )
        )
    return Section(key=key, heading=heading, lead=lead, blocks=tuple(blocks))


def hazards_section(audit: Audit) -> Section:
    """Hazards one by one; open ones are marked."""
    key, heading = "hazards", "Hazards of NIST SP 800-226"
    if not audit.hazards:
        return Section(key=key, heading=heading, lead="They were not gone through.")
    left = [one for one in audit.hazards if one.open]
    lead = (
        f"Of {counted(len(audit.hazards), 'hazard')}, {format_count(len(left))} "
        f"{'leaves' if len(left) == 1 else 'leave'} something to worry about: {', '.join(one.name for one in left)}."
        if left
        else f"None of {counted(len(audit.hazards), 'hazard')} is left open."
    )
    table = Table(
        key="hazards-table",
        caption="What can go wrong with differential privacy beside its mathematics, by NIST SP 800-226 (2025), and "
        "what is known of it here.",
        columns=(
            Column(heading="Hazard", numeric=False),
            Column(heading="State", numeric=False),
            Column(heading="Answer", numeric=False),
            Column(heading="On whose word", numeric=False),
        ),
        rows=tuple(
            Row(
                cells=(
                    rich(one.name),
                    f"!{NBSP}open" if one.open else f"✓{NBSP}answered",
                    rich(one.answer),
                    WHOSE[one.rests_on],
                ),
                tone=Tone.CAUTION if one.open else Tone.CALM,
            )
            for one in audit.hazards
        ),
    )
    return Section(key=key, heading=heading, lead=lead, blocks=(table_block(table),))


def rerun_section(audit: Audit) -> Section:
    """Command, versions and digests."""
    blocks: list[Markup] = []
    if audit.command.strip():
        blocks.append(listing_block("The command; it needs no network", audit.command))
    if audit.versions:
        blocks.append(definitions_block(audit.versions))
    else:
        blocks.append(note_block("With which versions it was made was not written down.", Tone.CAUTION))
    good = [(name, digest) for name, digest in audit.digests if _is_digest(digest)]
    bad = [f"{name}: {digest}" for name, digest in audit.digests if not _is_digest(digest)]
    if good:
        listed = "\n".join(f"{digest}  {name.translate(_CONTROLS)}" for name, digest in good)
        blocks.append(listing_block("SHA-256 of the files that were read, as `sha256sum --check` takes them", listed))
    if bad:
        blocks.append(note_block("Files without a digest:", Tone.CAUTION))
        blocks.append(notes_block(tuple(bad)))
    if not audit.digests:
        blocks.append(note_block("No file’s digest was written down.", Tone.CAUTION))
    return Section(
        key="rerun",
        heading="Make it again",
        lead="Equal files give an equal audit. Whoever holds the files with these digests can make it again, offline.",
        blocks=tuple(blocks),
    )


def _overspent(one: ClientSpending) -> bool:
    return one.budget is not None and not one.epsilon <= one.budget * _SLACK


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
