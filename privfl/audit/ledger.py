"""Is the ledger whole, whose is it, and what does it add up to?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, brief, number, require_believable
from privfl.audit.findings import Word
from privfl.audit.opinions import Opinions
from privfl.dp.chain import Contents
from privfl.dp.records import events_of
from privfl.errors import BudgetExceeded, UnsupportedEvent
from privfl.report.run_reasons import format_spans

ACCURACY = 1e-6
"""Relative: by what two honest computations of one number may differ."""


def intact(artefacts: Artefacts) -> Seen:
    """Hashes, signatures, closing record."""
    read, contents = artefacts.ledger, artefacts.ledger.value
    require_believable(read)
    if contents is None:
        evidence = artefacts.evidence.value
        mode = None if evidence is None else evidence.facts.get("mode")
        job = artefacts.job.value
        if artefacts.evidence.problem and job is not None and job.privacy.mode.value == "none":
            raise Undecided(
                "There is no ledger, and the job asks for none. That the run had none either, the evidence would tell.",
                missing=f"{artefacts.evidence.name} that can be read",
            )
        if job is not None and job.privacy.mode.value != mode:
            raise Wrong(
                f"The job asks for mode {job.privacy.mode.value!r}, the evidence says {mode!r}, and there is no "
                f"{read.name}.",
                where=read.name,
            )
        if mode == "none":
            raise NotClaimed("No differential privacy is claimed, and there is no ledger.")
        raise Wrong(f"{read.name} is missing, though the run claims privacy (mode {mode!r}).", where=read.name)
    seen = f"{contents.lines} lines, {len(contents.charges)} charges; every hash and every signature holds."
    if contents.recovered:
        torn = sum(size for size, _ in contents.recovered)
        seen += (
            f" {len(contents.recovered)} times a crash tore its last line, {torn} bytes in all, which were cut off: "
            f"nothing had been released on them."
        )
    figures = {"lines": contents.lines, "charges": len(contents.charges), "head": contents.head.sha256}
    if contents.closed is None:
        raise Undecided(
            f"{seen} There is no closing record.",
            where=read.name,
            figures=figures,
            missing="the closing record: the run has not ended, or lines are missing at the end; the run's end, or the "
            "hash of its last line from somebody who remembers it, would tell",
        )
    return Seen(detail=seen, figures=figures)


def writer(artefacts: Artefacts) -> Seen:
    """Whoever signed must be whom everybody else names."""
    contents, evidence = artefacts.ledger.value, artefacts.evidence.value
    signed = {
        artefacts.ledger.name: contents.signer if contents is not None else None,
        artefacts.evidence.name: evidence.signer if evidence is not None else None,
    }
    known = {
        "the key that this audit was told": artefacts.signer,
        "a key that lies in the run's directory": artefacts.own,
        **{
            f"the client {brief(line.receipt.client)}, in a receipt,": line.receipt.coordinator
            for line in artefacts.receipts.value or ()
            if line.receipt.coordinator
        },
    }
    signers = {name: value for name, value in signed.items() if value is not None}
    witnesses = {name: value for name, value in known.items() if value is not None}
    if not signers:
        raise NotClaimed("Nothing that is signed could be read.")
    for name, signer in signers.items():
        for other, value in {**signers, **witnesses}.items():
            if value != signer:
                raise Wrong(f"{name} was signed by {brief(signer)}, and {other} names {brief(value)}.", where=name)
    signer = next(iter(signers.values()))
    figures = {"signer": signer.hex(), "told": artefacts.signer is not None}
    by = f"All signatures are by {signer.hex()}"
    if artefacts.signer is not None:
        return Seen(detail=f"{by}, the key that this audit was told.", figures=figures)
    if artefacts.bare:
        raise Undecided(
            f"{by}, a key that nothing but the file itself names.",
            rests_on=Word.COORDINATOR,
            figures=figures,
            missing="the coordinator's public key from elsewhere (`--signer`): anybody can write a ledger that is "
            "consistent with a key of its own",
        )
    receipts = sum(name.startswith("the client") for name in witnesses)
    agree = [*signers, *([f"{receipts} receipts of clients"] if receipts else [])]
    agreed = f", on which {' and '.join(agree)} agree" if len(agree) > 1 else ""
    return Seen(
        detail=f"{by}{agreed}. Whose key that is, only "
        f"somebody who knows the coordinator can say: `--signer` compares it.",
        rests_on=Word.COORDINATOR,
        figures=figures,
    )


def accountants(opinions: Opinions, delta: float) -> Seen:
    """ε by accountants that share little."""
    figures = {"epsilon": opinions.epsilon, "delta": delta, "accountants": dict(opinions.by), "gap": opinions.gap}
    if opinions.contradiction:
        raise Wrong(f"{opinions.contradiction}.", figures=figures)
    told = ", ".join(f"{name} {shown(value)}" for name, value in opinions.by.items() if value is not None)
    if opinions.gap is None:
        raise Undecided(
            f"Only one applies: {told} at δ = {delta:g}.", figures=figures, missing="an accountant of another kind"
        )
    return Seen(
        detail=f"{told} at δ = {delta:g}. They differ by {opinions.gap:.3g}: {opinions.why}.",
        figures=figures,
    )


def epsilon(artefacts: Artefacts, contents: Contents, real: float) -> Seen:
    """ε again, beside what the closing record claims.

    Args:
        artefacts: what there is.
        contents: the ledger.
        real: ε at the ledger's δ, recomputed.
    """
    delta, closed = contents.opening.budget.delta, contents.closed or {}
    claimed = number(closed, "epsilon")
    if claimed is None and math.isinf(real):
        raise Wrong("What was charged has no finite ε: something was released without noise.")
    if claimed is None and closed.get("epsilon") is not None:
        raise Wrong(
            f"The closing record claims ε = {closed['epsilon']!r}, which is no number.",
            where=f"{artefacts.ledger.name}, line {contents.lines}",
        )
    if claimed is None:
        raise NotClaimed(f"No closing record names an ε; recomputed it is {real:.6g} at δ = {delta:g}.")
    figures = {"claimed": claimed, "epsilon": real, "delta": delta}
    # Said this way round, so that a claim of NaN fails.
    if not real <= claimed * (1 + ACCURACY) + ACCURACY:
        raise Wrong(
            f"The closing record claims ε = {claimed:.6g} at δ = {delta:g}, and what was charged costs {shown(real)}.",
            where=f"{artefacts.ledger.name}, line {contents.lines}",
            figures=figures,
        )
    unit = contents.opening.unit.value
    return Seen(
        detail=f"Claimed: {claimed:.6g}; recomputed: {real:.6g} at δ = {delta:g}, for one {unit}.", figures=figures
    )


def metrics(artefacts: Artefacts, contents: Contents, cost: Callable[[Contents], float]) -> Seen:
    """What was told round by round tells of every round, and ends with what was charged until then.

    Args:
        artefacts: what there is.
        contents: the ledger.
        cost: ε at the ledger's δ of what a ledger charges, recomputed.
    """
    name, rows = artefacts.metrics.name, artefacts.metrics.value or ()
    kept = number(contents.closed or {}, "rounds")
    if not rows and kept and not artefacts.bare:
        raise Undecided(
            f"The closing record tells of {kept:g} rounds, and no {name} of any.", missing=f"{name} as it was written"
        )
    if not rows:
        raise NotClaimed(f"No {name} tells of ε.")
    numbers = [row["round"] for row in rows]
    if kept is not None and (len(numbers) != kept or numbers != list(range(1, len(numbers) + 1))):
        raise Wrong(
            f"{name} tells of rounds {format_spans(numbers)}, and the closing record of {kept:g}: lines were left out, "
            f"or belong to another run.",
            where=name,
        )
    # Charges of later rounds brought nothing that was kept: their round was interrupted, or the budget then ended it.
    until = tuple(charge for charge in contents.charges if charge.round <= numbers[-1])
    real = cost(replace(contents, charges=until))
    told, where = number(rows[-1], "epsilon"), f"{name}, line {len(rows)}"
    if told is None and math.isinf(real):
        raise NotClaimed(f"{name} tells of no ε, as there is none.")
    if told is None or not math.isclose(told, real, rel_tol=1e-3, abs_tol=ACCURACY):
        ends = "no ε" if told is None else f"ε = {told:.6g}"
        raise Wrong(f"{name} ends with {ends}, and what was charged until then costs {shown(real)}.", where=where)
    return Seen(
        detail=f"{name} ends with ε = {told:.6g}. Its accuracies and times are the coordinator's word.",
        rests_on=Word.COORDINATOR,
    )


def budget(artefacts: Artefacts, contents: Contents) -> Seen:
    """The rule that says stop, asked again about all charges together."""
    limit = contents.opening.budget
    if limit.epsilon is None:
        raise NotClaimed("No budget was set: everything was charged, nothing refused.")
    try:
        limit.check((), events_of(contents.charges))
    except (BudgetExceeded, UnsupportedEvent) as error:
        place = _first_overrun(contents)
        raise Wrong(
            f"Round {contents.charges[place].round} overran it: {error}.",
            where=f"{artefacts.ledger.name}, line {contents.places[place]}",
        ) from None
    return Seen(
        detail=f"By the rule that was fixed when the ledger opened, all {len(contents.charges)} charges are within "
        f"ε = {limit.epsilon:g} at δ = {limit.delta:g}.",
        figures={"budget": limit.epsilon},
    )


def _first_overrun(contents: Contents) -> int:
    """Return the charge with which the budget was first overrun; what overruns it stays overrun."""
    low, high = 0, len(contents.charges)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            contents.opening.budget.check((), events_of(contents.charges[:middle]))
            low = middle
        except (BudgetExceeded, UnsupportedEvent):
            high = middle
    return high - 1


def shown(value: float) -> str:
    """ε for people."""
    return "∞" if math.isinf(value) else f"{value:.6g}"
