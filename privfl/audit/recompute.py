"""The first layer: what follows from what was written down. It proves arithmetic; who wrote it down could have lied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from privfl.audit import coverage, ledger, participation, terms
from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import Seen, Wrong, check
from privfl.audit.findings import ClientSpending, Finding, Layer
from privfl.audit.opinions import Opinions, opinions_of
from privfl.dp.chain import Contents
from privfl.errors import UnsupportedEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """What the first layer brought.

    Attributes:
        findings: in the order in which they were looked at.
        opinions: ε by accountant, at the δ that was asked for; None without a ledger that could be read.
        clients: per-client ε, where it is known.
    """

    findings: tuple[Finding, ...]
    opinions: Opinions | None = None
    clients: tuple[ClientSpending, ...] = ()


def recompute(artefacts: Artefacts, delta: float | None = None) -> Recomputed:
    """Go through the first layer.

    Args:
        artefacts: what there is.
        delta: δ to tell ε at; the ledger's unless given.

    Raises:
        MissingExtra: dp-accounting is not installed, and there is a ledger.
    """
    first = (
        _check("ledger", "The ledger is whole: hashes, signatures, closing record", lambda: ledger.intact(artefacts)),
        _check(
            "writer", "One coordinator signed it all, and it is the one that is known", lambda: ledger.writer(artefacts)
        ),
    )
    contents = artefacts.ledger.value
    if contents is None:
        return Recomputed(findings=first)
    at = contents.opening.budget.delta if delta is None else delta
    opinions, unknown = _opinions(contents, at)
    spent = participation.spending(artefacts, at)
    return Recomputed(
        findings=(
            *first,
            *_of_epsilon(artefacts, contents, opinions, unknown, at),
            *_of_charges(artefacts, contents),
            _check(
                "receipts",
                "The clients' receipts say what the ledger says",
                lambda: participation.receipts(artefacts, contents),
            ),
            _check(
                "client-ledgers",
                "The clients' own ledgers are whole, and within their own budgets",
                lambda: participation.own_ledgers(artefacts, contents, spent),
            ),
        ),
        opinions=opinions,
        clients=spent,
    )


def _opinions(contents: Contents, delta: float) -> tuple[Opinions | None, str]:
    try:
        return opinions_of(contents.spent, delta, contents.opening.budget.relation), ""
    except UnsupportedEvent as error:
        return None, str(error)


def _of_epsilon(
    artefacts: Artefacts, contents: Contents, opinions: Opinions | None, unknown: str, delta: float
) -> Iterator[Finding]:
    title = "ε is at most what is claimed"
    if opinions is None:

        def refused() -> Seen:
            raise Wrong(f"The ledger charges what no accountant here knows: {unknown}.", where=artefacts.ledger.name)

        yield _check("epsilon", title, refused)
        return
    yield _check("accountants", "Two accountants agree", lambda: ledger.accountants(opinions, delta))
    own = contents.opening.budget
    real = opinions if delta == own.delta else opinions_of(contents.spent, own.delta, own.relation)
    yield _check("epsilon", title, lambda: ledger.epsilon(artefacts, contents, real.epsilon))

    def cost(of: Contents) -> float:
        same = len(of.charges) == len(contents.charges)
        return real.epsilon if same else opinions_of(of.spent, own.delta, own.relation).epsilon

    yield _check(
        "metrics",
        "What was told round by round ends where the ledger does",
        lambda: ledger.metrics(artefacts, contents, cost),
    )
    yield _check("budget", "The budget was kept", lambda: ledger.budget(artefacts, contents))


def _of_charges(artefacts: Artefacts, contents: Contents) -> Iterator[Finding]:
    looks: tuple[tuple[str, str, Callable[[Artefacts, Contents], Seen]], ...] = (
        ("terms", "Denominator, sensitivity, noise and sampling stayed as they were fixed at the start", terms.kept),
        ("weights", "One client's weight is bounded, and noise is sized for the bound", terms.weights),
        ("noise", "Every charge is for the noise that its contributors make", terms.noise),
        ("amplification", "Amplification is claimed only where something was sampled", terms.amplification),
        ("job", "The ledger was opened for the job that is shown, with the noise that follows from it", terms.job),
        ("rounds", "Every sum that was released was charged, and every charge is shown", coverage.rounds),
        ("drop-outs", "Clients that dropped out are not counted as adding noise", coverage.contributors),
        (
            "unprotected",
            "Nothing of the clients' was released without noise, but what is excluded by name",
            coverage.unprotected,
        ),
    )
    for key, title, look in looks:
        yield _check(key, title, lambda look=look: look(artefacts, contents))  # type: ignore[misc]  # bound early


def _check(key: str, title: str, look: Callable[[], Seen]) -> Finding:
    return check(key, Layer.RECOMPUTATION, title, look)
