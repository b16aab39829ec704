"""The clients' own word: receipts that they handed in, and ledgers that they keep for themselves."""

from __future__ import annotations

from itertools import islice
from typing import Any

from privfl.audit.artefacts import Artefacts, ReceiptLine
from privfl.audit.checks import NotClaimed, Seen, Undecided, Wrong, brief, number, require_believable
from privfl.audit.coverage import sessions_of
from privfl.audit.findings import ClientSpending, Word
from privfl.audit.promise import promised
from privfl.audit.terms import placed
from privfl.dp.accountants import account
from privfl.dp.chain import Contents
from privfl.dp.events import Repeated, event_to_json
from privfl.dp.records import Mode, Unit, events_of
from privfl.errors import BudgetExceeded, UnsupportedEvent
from privfl.learning.books import JOB_DIGEST, job_digest
from privfl.learning.guarantee import unamplified


def receipts(artefacts: Artefacts, contents: Contents) -> Seen:
    """What the clients say they took part in is what the ledger says."""
    read, promised = artefacts.receipts, contents.opening.facts.get("receipts") is True
    require_believable(read)
    if not promised and not read.value:
        raise NotClaimed("No receipts are promised.")
    if read.value is None and artefacts.bare:
        raise Undecided("The ledger says that every client hands in a receipt.", missing=read.name)
    lines = read.value or ()
    _are_of_shown_sessions(artefacts, contents, lines)
    if promised:
        _cover_all_contributors(artefacts, contents, lines)
    counts: dict[bytes, set[int]] = {}
    for line in lines:
        counts.setdefault(line.receipt.client, set()).add(line.receipt.rounds)
    _have_no_gap(read.name, counts, promised=promised)
    return Seen(
        detail=f"{len(lines)} receipts by {len(counts)} keys: signatures hold, counts have no gap, every session is "
        f"charged or shown as aborted, and every share of noise is the one that was planned. Whose keys they are, only "
        f"the clients can say.",
        rests_on=Word.BOTH,
        figures={"receipts": len(lines), "clients": len(counts)},
    )


def _are_of_shown_sessions(artefacts: Artefacts, contents: Contents, lines: tuple[ReceiptLine, ...]) -> None:
    sessions = {session.params_digest: session for session, _ in sessions_of(artefacts)}
    shown = {charge.facts.get("params_digest") for charge in contents.charges} | sessions.keys()
    begun = set(artefacts.evidence.value.begun) if artefacts.evidence.value is not None else set()
    share, lost = _share(contents), 0
    for line in lines:
        receipt, where = line.receipt, f"{artefacts.receipts.name}, line {line.line}"
        session = sessions.get(receipt.params_digest.hex())
        if session is not None and session.params is not None and session.params.nonce != receipt.session:
            raise Wrong(
                "A client signed for another session than the one with these parameters.",
                rests_on=Word.CLIENTS,
                where=where,
            )
        if receipt.params_digest.hex() not in shown and receipt.params_digest.hex() in begun:
            lost += 1
        elif receipt.params_digest.hex() not in shown:
            raise Wrong(
                f"A client took part in a session ({brief(receipt.params_digest)}) that was neither charged nor shown.",
                rests_on=Word.CLIENTS,
                where=where,
            )
        if share is not None and receipt.noise != share:
            raise Wrong(
                f"A client added the noise {dict(receipt.noise)!r}, and the ledger counts on {share!r}.",
                rests_on=Word.CLIENTS,
                where=where,
            )
    if lost:
        raise Undecided(
            f"{lost} receipts are for sessions that were begun, and of which nothing was said since.",
            rests_on=Word.CLIENTS,
            missing="word of a crash in the midst of them: nothing was opened, says whoever wrote the evidence",
        )


def _cover_all_contributors(artefacts: Artefacts, contents: Contents, lines: tuple[ReceiptLine, ...]) -> None:
    present: dict[str, set[bytes]] = {}
    for line in lines:
        present.setdefault(line.receipt.params_digest.hex(), set()).add(line.receipt.client)
    population = contents.opening.population
    everybody = {line.receipt.client for line in lines}
    if population is not None and contents.opening.unit is Unit.CLIENT and len(everybody) > population:
        raise Wrong(
            f"{len(everybody)} clients signed receipts, and there are {population}.", where=artefacts.receipts.name
        )
    for session, where in sessions_of(artefacts):
        if len(present.get(session.params_digest, ())) > session.cohort_size:
            raise Wrong(f"More clients signed for round {session.round} than were invited.", where=where)
    for charge, where in placed(artefacts, contents):
        clients = present.get(charge.facts.get("params_digest", ""), set())
        due = number(charge.facts, "contributors") or 0.0
        if len(clients) < due:
            raise Wrong(
                f"Round {charge.round} has {due:g} contributors and {len(clients)} receipts: "
                f"{'some' if clients else 'all'} were withheld.",
                where=where,
            )


def _have_no_gap(name: str, counts: dict[bytes, set[int]], *, promised: bool) -> None:
    # Whole numbers from 1 that differ have no gap exactly if the largest is their number; it may be anybody's guess.
    gaps = {client: seen for client, seen in counts.items() if max(seen) != len(seen)}
    for client, seen in gaps.items():
        lost = list(islice((missing for missing in range(1, max(seen)) if missing not in seen), 5))
        told = (
            f"The client {brief(client)} has counted sessions of which receipts are missing: number {lost}; "
            f"{len(gaps)} of {len(counts)} clients have such gaps."
        )
        if promised:
            raise Wrong(told, rests_on=Word.CLIENTS, where=name)
        raise Undecided(
            told,
            rests_on=Word.CLIENTS,
            where=name,
            missing="those receipts: the sessions may have been another coordinator's",
        )


def _share(contents: Contents) -> dict[str, Any] | None:
    """What every client's receipt must say of its noise; None where clients add none, or it is not known."""
    facts = contents.opening.facts
    if contents.opening.mode is not Mode.CLIENT_DISTRIBUTED or "noise_variance" not in facts:
        return None
    return {"mechanism": facts.get("mechanism"), "variance": facts["noise_variance"]}


def own_ledgers(artefacts: Artefacts, contents: Contents, spent: tuple[ClientSpending, ...]) -> Seen:
    """What clients wrote down for themselves.

    Args:
        artefacts: what there is.
        contents: the coordinator's ledger.
        spent: what it adds up to.
    """
    if not artefacts.clients:
        raise NotClaimed("No client showed its own ledger.")
    handed_in = {line.receipt.params_digest.hex() for line in artefacts.receipts.value or ()}
    due = _due(artefacts, contents)
    for read in artefacts.clients:
        require_believable(read)
        own = read.value
        if own is None:
            raise Wrong(f"{read.name} is gone.", where=read.name)
        try:
            own.opening.budget.check((), events_of(own.charges))
        except (BudgetExceeded, UnsupportedEvent) as error:
            raise Wrong(f"{error}.", rests_on=Word.CLIENTS, where=read.name) from None
        if due is not None and any([event_to_json(one) for one in charge.events] != [due] for charge in own.charges):
            raise Wrong(
                f"A client charged itself for something else than {due}, which a session costs it.",
                rests_on=Word.CLIENTS,
                where=read.name,
            )
        lost = [charge for charge in own.charges if charge.facts.get("params_digest") not in handed_in]
        if lost:
            raise Wrong(
                f"A client charged itself for {len(lost)} sessions of which {artefacts.receipts.name} has no receipt.",
                rests_on=Word.CLIENTS,
                where=read.name,
            )
    worst = max((client.epsilon for client in spent), default=0.0)
    return Seen(
        detail=f"{len(artefacts.clients)} ledgers hold; a client spent ε = {worst:.4g} at the most, by its own record "
        f"and without amplification.",
        rests_on=Word.CLIENTS,
        figures={"clients": len(artefacts.clients), "worst": worst},
    )


def _due(artefacts: Artefacts, contents: Contents) -> dict[str, Any] | None:
    """What a session costs a client that knows that it takes part, as the job has it; None without the job."""
    job = artefacts.job.value
    if job is None or job_digest(job) != contents.opening.facts.get(JOB_DIGEST):
        return None
    guarantee = promised(job, contents)
    return None if guarantee is None else event_to_json(unamplified(guarantee))


def spending(artefacts: Artefacts, delta: float) -> tuple[ClientSpending, ...]:
    """ε of each client, from its own ledger, at some δ."""
    spent = []
    known: dict[tuple[Repeated, ...], float] = {}
    for read in artefacts.clients:
        own = read.value
        if own is None or not own.charges:
            continue
        if own.spent not in known:
            try:
                known[own.spent] = account(own.spent, delta, own.opening.budget.relation).epsilon
            except UnsupportedEvent:
                continue
        spent.append(
            ClientSpending(
                client=own.signer.hex()[:16],
                sessions=len(own.charges),
                epsilon=known[own.spent],
                budget=own.opening.budget.epsilon,
            )
        )
    return tuple(spent)
