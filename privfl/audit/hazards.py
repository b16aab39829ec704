"""Who must be honest for which part of a claim, and the hazards of NIST SP 800-226, answered one by one.

References:
    Near, Darais, Lefkovitz, Howarth, *Guidelines for Evaluating Differential Privacy Guarantees*, NIST SP 800-226.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from privfl.audit.artefacts import Artefacts
from privfl.audit.findings import Assurance, Claim, Finding, Hazard, Outcome, Word
from privfl.dp.chain import Contents
from privfl.dp.records import Mode, Unit

_LARGE: Final = 10.0
_NO_EXPERIMENT: Final = "how many jobs were tried on the same data, nobody has to write down"


def assurances(artefacts: Artefacts, claim: Claim, findings: Sequence[Finding]) -> tuple[Assurance, ...]:
    """Say who must be honest for what.

    Args:
        artefacts: what there is.
        claim: what is claimed.
        findings: of all layers.
    """
    seen = {one.key: one.outcome for one in findings}

    def shown(*pairs: tuple[str, str]) -> str:
        return "; ".join(words for key, words in pairs if seen.get(key) is Outcome.PASS)

    parts = [
        Assurance(
            part="nothing was changed after it was written",
            honest="nobody but whoever has the coordinator's secret key; whose key it is, whoever told you",
            shown=shown(("ledger", "the chain of the ledger"), ("evidence", "the chain of the evidence")),
        )
    ]
    if claim.secure:
        parts.append(
            Assurance(
                part="no single update was readable to the server",
                honest=_secure(claim),
                shown=shown(
                    ("secure-aggregation", "what left the clients, by phase and size"),
                    ("uploads", "recorded uploads that are uniform"),
                ),
            )
        )
    contents = artefacts.ledger.value
    if contents is not None:
        parts += _private(contents, shown)
    return tuple(parts)


def _secure(claim: Claim) -> str:
    corrupt = "" if claim.corrupt is None else f", and no more than {claim.corrupt:g} of the clients with it"
    if claim.suite == "ckks":
        return f"more of the committee than its threshold spares, and everybody follows the protocol{corrupt}"
    if claim.server == "active":
        return f"nobody at the server{corrupt}; clients run the protocol that they are said to"
    return f"the server follows the protocol{corrupt}; clients run the protocol that they are said to"


def _private(contents: Contents, shown: object) -> list[Assurance]:
    assert callable(shown)  # noqa: S101 - for the type checker
    mode = contents.opening.mode
    noise_by = {
        Mode.CLIENT_CENTRAL: "the server, which adds it to the opened sum",
        Mode.CLIENT_DISTRIBUTED: "as many contributors as the noise is sized for: each adds a share of its own",
        Mode.EXAMPLE: "the client that holds the example: it adds it while it trains",
    }.get(mode, "the client")
    clip_by = "each client, for its own privacy; of others', poisoning is limited by it, and not prevented"
    return [
        Assurance(
            part="noise of the stated size was added",
            honest=noise_by,
            shown=shown(
                ("noise-added", "sessions on known inputs"),
                ("trainer-noise", "training on known inputs"),
                ("receipts", "receipts that name each share"),
                ("canaries", "an attack that failed"),
            ),
        ),
        Assurance(
            part="one unit moves the sum by no more than the clip",
            honest=clip_by,
            shown=shown(("contributions", "overlong known inputs"), ("trainer-clip", "an overlong known gradient")),
        ),
        Assurance(
            part="every release was charged",
            honest="the coordinator: what it neither charges nor shows, only clients can tell of",
            shown=shown(("rounds", "evidence of what was released"), ("receipts", "receipts without a gap")),
        ),
        Assurance(
            part="so many took part, and so many dropped out",
            honest="the coordinator, and clients who say that they were there",
            shown=shown(("drop-outs", "uploads in the evidence"), ("receipts", "receipts of every contributor")),
        ),
        *(
            [
                Assurance(
                    part="who was drawn stayed secret",
                    honest="the coordinator, and every client that was drawn",
                    shown=shown(("sampler", "cohorts that look like samples")),
                )
            ]
            if contents.opening.facts.get("amplification") is True
            else []
        ),
    ]


def hazards(artefacts: Artefacts, claim: Claim, epsilon: float | None) -> tuple[Hazard, ...]:
    """Answer the hazards; none without differential privacy.

    Args:
        artefacts: what there is.
        claim: what is claimed.
        epsilon: of all that was charged, recomputed.
    """
    contents = artefacts.ledger.value
    if contents is None:
        return ()
    return (*_of_parameters(contents, claim, epsilon), *_of_implementation(contents), *_of_use(artefacts, contents))


def _of_parameters(contents: Contents, claim: Claim, epsilon: float | None) -> list[Hazard]:
    population, delta = contents.opening.population, contents.opening.budget.delta
    unknown = (
        "the size of the population is not public" if population is None else f"1 / population is {1 / population:.3g}"
    )
    example = contents.opening.unit is Unit.EXAMPLE
    return [
        Hazard(
            name="ε so large that it promises little",
            answer="ε could not be recomputed."
            if epsilon is None
            else f"ε = {epsilon:.4g}"
            + (
                ": above 10, hardly a promise."
                if epsilon > _LARGE
                else "; it is to be weighed against what is at stake."
            ),
            rests_on=Word.NOBODY,
            open=epsilon is None or epsilon > _LARGE,
        ),
        Hazard(
            name="δ so large that one unit may be published outright",
            answer=f"δ = {delta:g}; {unknown}.",
            rests_on=Word.NOBODY,
            open=population is None,
        ),
        Hazard(
            name="Unit of privacy",
            answer="One training example. Whoever has several examples at a client, or at several, is protected less: "
            "by the number of them."
            if example
            else "One client, with all that it ever contributes. Values for examples and for clients are never added.",
            rests_on=Word.NOBODY,
            open=example,
        ),
        Hazard(
            name="Neighbouring relation, and what stays visible",
            answer=f"{contents.opening.budget.relation.value}: who takes part, and with how many others, is public.",
            rests_on=Word.NOBODY,
        ),
        Hazard(
            name="Who sees data before noise is added",
            answer=_before_noise(contents, claim),
            rests_on=Word.COORDINATOR if contents.opening.mode is Mode.CLIENT_CENTRAL else Word.CLIENTS,
            open=contents.opening.mode is Mode.CLIENT_CENTRAL and not claim.secure,
        ),
    ]


def _before_noise(contents: Contents, claim: Claim) -> str:
    if contents.opening.mode is Mode.CLIENT_CENTRAL:
        if claim.secure:
            return "The server sees the exact sum, and no single update; it is trusted to add noise before it releases."
        return "The server sees every single update: it is trusted with all of them."
    if contents.opening.mode is Mode.CLIENT_DISTRIBUTED:
        return "Nobody: noise is inside the secure sum. A single update has a share of it only, and rests on the suite."
    return "Nobody but the client itself."


def _of_implementation(contents: Contents) -> list[Hazard]:
    example = contents.opening.mode is Mode.EXAMPLE
    return [
        Hazard(
            name="Random numbers",
            answer="The operating system's entropy, expanded by AES-128 in counter mode; no seed of the job reaches "
            "noise, masks or sampled batches. That this code ran is the word of whoever ran it.",
            rests_on=Word.CLIENTS if contents.opening.mode is not Mode.CLIENT_CENTRAL else Word.COORDINATOR,
        ),
        Hazard(
            name="Floating point",
            answer="Noise on training is a double-precision number, whose low bits can tell something of what it was "
            "added to: no attack through the sum of many steps is known, and none is excluded."
            if example
            else "Noise and sums are whole numbers, modulo a power of two or a prime; sensitivities are bounds of the "
            "rounded vectors, exactly.",
            rests_on=Word.NOBODY,
            open=example,
        ),
        Hazard(
            name="Time and other side channels",
            answer="Neither training nor drawing noise takes constant time. Who measures how long a client takes may "
            "learn something that no ε counts.",
            rests_on=Word.NOBODY,
            open=True,
        ),
        Hazard(
            name="Defects of the code",
            answer="Recorded sessions, or training, on known inputs, and attacks on canaries: see the layers of this "
            "audit. They see defects of the size that is stated with each, in the sessions that were recorded.",
            rests_on=Word.COORDINATOR,
        ),
    ]


def _of_use(artefacts: Artefacts, contents: Contents) -> list[Hazard]:
    excluded = contents.opening.budget.excluded
    shown = artefacts.evidence.value is not None
    own = artefacts.own is not None
    return [
        Hazard(
            name="Who could have written it anew",
            answer="Whoever had these files: the coordinator's secret key lies among them. Keep it elsewhere "
            "(`privfl run --identity`), and give its public half to auditors before the run."
            if own
            else "Whoever has the coordinator's secret key; hashes and signatures show what anybody else changed.",
            rests_on=Word.COORDINATOR,
            open=own,
        ),
        Hazard(
            name="Releases that nobody counts",
            answer=("Excluded by name: " + "; ".join(excluded) if excluded else "None is excluded from the ledger")
            + (". What left clients is in the evidence; what the server did with models, this audit does not see."
               if shown else ". What left the clients was not shown."),
            rests_on=Word.COORDINATOR,
            open=bool(excluded) or not shown,
        ),
        Hazard(
            name="Tuning on the same data",
            answer=f"This ledger is of one run; {_NO_EXPERIMENT}. Clients' own ledgers count all runs that they took "
            f"part in, where they keep one.",
            rests_on=Word.COORDINATOR,
            open=not artefacts.clients,
        ),
        Hazard(
            name="Drop-outs, and rounds that abort",
            answer="Noise of those who dropped out is not counted; what a round costs follows from who contributed. A "
            "round that was charged and brought nothing stays charged.",
            rests_on=Word.COORDINATOR,
        ),
    ]  # fmt: skip
