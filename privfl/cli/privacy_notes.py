"""Sentences on differential privacy for the report's limits: the claim, what stays visible, and what it rests on."""

from __future__ import annotations

from typing import Final

from privfl.learning.guarantee import Guarantee
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.rounds import FederatedRun
from privfl.report.formats import format_count
from privfl.report.privacy_claim import RunPrivacy, neighbours, privacy_claim
from privfl.suites import suite

_NEVER_ADDED: Final = "An ε for examples and an ε for clients are different promises: they are never added."
_THIS_RUN: Final = (
    "The claim is for this run alone: every other run on the same data spends in addition, those included that were "
    "made to find good settings."
)
_WORD: Final = (
    "The ledger shows that nothing in it was changed afterwards; whether it is true rests on the word of whoever "
    "signed it."
)


def privacy_notes(run: FederatedRun, privacy: RunPrivacy | None) -> tuple[str, ...]:
    """Sentences for the report's limits: the claim, what stays visible, and what it rests on."""
    mode = run.job.privacy.mode
    if privacy is None or run.guarantee is None:
        return (
            "Secure aggregation is not differential privacy: this run added no noise and claims no ε.",
            "A sum over few clients leaks about each of them; clients that collude can subtract their own updates.",
        )
    unit, relation = run.guarantee.unit.value, run.guarantee.relation.value
    between = f"Neighbours of this claim ({relation}): {neighbours(unit, relation)}."
    claim = (f"{privacy_claim(privacy)} {between}",) if privacy.charges else (between,)
    notes = _example_notes(run.guarantee) if mode is PrivacyMode.EXAMPLE else _client_notes(run, run.guarantee)
    return (*claim, *notes, _NEVER_ADDED, _THIS_RUN, _WORD)


def _example_notes(guarantee: Guarantee) -> tuple[str, ...]:
    return (
        (
            "The unit is one training example, not a client: what many examples of a client have in common can be "
            "learned, and which clients took part stays visible, as do the number, size and time of their messages."
        ),
        (
            f"Summed gradients are divided by {guarantee.facts['denominator']:.6g}, fixed and public, "
            f"never by how many examples a client or a batch has; no count of examples and no loss leaves a client."
        ),
        (
            "The noise is drawn in floating point, whose numbers are not evenly spaced: the last bits of a noisy "
            "gradient can tell more than ε says (Mironov 2012)."
        ),
        "Every client adds the noise itself: what is said of its examples rests on its own software alone.",
        (
            "To the server, a sum over few clients leaks about each of them as a whole; clients that collude can "
            "subtract their own updates."
        ),
    )


def _client_notes(run: FederatedRun, guarantee: Guarantee) -> tuple[str, ...]:
    privacy, facts = run.job.privacy, guarantee.facts
    visible = (
        "The claim counts on those whom it protects against not knowing who took part, nor how many did: this report, "
        "the ledger and the metrics tell how many, and who dropped out, and are not for them. Whoever knows, such as "
        "the server, is promised nothing."
        if privacy.amplification
        else "Who took part, when, and with messages of what size stays visible: the claim hides what a client sent, "
        "not that it was there."
    )
    notes = [
        visible,
        (
            f"Sums are divided by {facts['denominator']:.6g}, fixed and public, never by how many took "
            f"part. All clients weigh the same; no count of examples and no loss leaves a client."
        ),
        (
            "Noise is drawn in whole numbers, from the operating system’s randomness: it has no last bits that tell "
            "more than ε says."
        ),
    ]
    if privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED:
        notes.append(
            f"The shares of noise are sized for {format_count(facts['honest_minimum'])} honest contributors; a round "
            f"with fewer is not opened. They hide a client in the sum, not in its own upload: against the server the "
            f"claim rests on the secure aggregation as well."
        )
    else:
        seen = "sum" if suite(run.job.suite).protects else "update, and every sum,"
        notes.append(
            f"The server sees every {seen} without noise. It is trusted to add the noise and to keep the sums to "
            f"itself; a sum over few clients tells it about each of them."
        )
    if privacy.adaptive is not None:
        notes.append("The clip follows noisy counts, which are charged for together with the updates.")
    return tuple(notes)
