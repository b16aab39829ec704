"""What `privfl run` tells of differential privacy: the claim, its terms, and what the ledger holds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from privfl.dp.accountants import account
from privfl.dp.ledger import Contents, read_ledger
from privfl.learning.books import COORDINATOR, LEDGER
from privfl.learning.guarantee import Guarantee
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.rounds import FederatedRun
from privfl.report.formats import format_count, format_number, power_of_two
from privfl.report.privacy_claim import PrivacyCharge, RunPrivacy, neighbours

_MECHANISMS: Final = {
    "gaussian": "discrete Gaussian noise, drawn by the server over the opened sum",
    "skellam": "Skellam noise, a share of it from every client",
    "discrete-gaussian": "discrete Gaussian noise, a share of it from every client",
}
_DP_SGD: Final = "DP-SGD: Gaussian noise on sums of clipped gradients, by every client while it trains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What there is to tell of a private run.

    Attributes:
        privacy: for the report.
        epsilon_rdp: ε by RDP, which always applies.
    """

    privacy: RunPrivacy
    epsilon_rdp: float


def told_of(run: FederatedRun, out: Path, signer: bytes | None) -> Told | None:
    """Read the ledger of a run that is over; None without differential privacy.

    Args:
        run: the run.
        out: its directory.
        signer: public key of the coordinator, where one was given.

    Raises:
        LedgerError: it is damaged, or signed by another key.
    """
    if run.guarantee is None:
        return None
    contents = read_ledger(out / LEDGER, signer)
    delta = run.job.privacy.failure
    by = account(contents.spent, delta, run.guarantee.relation, names=("pld", "rdp"))
    rdp = by.accountants["rdp"] or 0.0
    second = rdp if by.reported != "rdp" else None
    privacy = RunPrivacy(
        unit=run.guarantee.unit.value,
        against=run.guarantee.against,
        epsilon=by.epsilon,
        delta=delta,
        budget=run.job.privacy.epsilon,
        planned_epsilon=run.guarantee.planned_epsilon(run.job),
        accountant=by.reported.upper(),
        second=second,
        second_accountant="RDP",
        noise_multiplier=run.guarantee.noise_multiplier,
        charges=_charges(contents),
        facts=(*_terms(run, run.guarantee, contents), *_ledger_facts(contents, out)),
        stopped=run.stopped,
    )
    return Told(privacy=privacy, epsilon_rdp=rdp)


def privacy_json(run: FederatedRun, told: Told | None) -> dict[str, Any]:
    """What `--json` says: keys are there without differential privacy as well, and null."""
    if told is None or run.guarantee is None:
        return {"epsilon": None, "epsilon_rdp": None, "delta": None, "privacy": None}
    privacy, guarantee = told.privacy, run.guarantee
    return {
        "epsilon": finite(privacy.epsilon),
        "epsilon_rdp": finite(told.epsilon_rdp),
        "delta": privacy.delta,
        "privacy": {
            "mode": run.job.privacy.mode.value,
            "unit": guarantee.unit.value,
            "relation": guarantee.relation.value,
            "against": guarantee.against,
            "noise_multiplier": guarantee.noise_multiplier,
            "budget": privacy.budget,
            "planned_epsilon": finite(privacy.planned_epsilon),
            "stopped": run.stopped,
        },
    }


def spent_note(run: FederatedRun, epsilon: float | None) -> str:
    """ε so far, for a line of progress; empty without differential privacy."""
    if run.guarantee is None:
        return ""
    so_far = "∞" if epsilon is None else f"{epsilon:.3g}"
    of = "" if run.job.privacy.epsilon is None else f" of {run.job.privacy.epsilon:g}"
    return f"ε {so_far}{of}"


def privacy_warnings(run: FederatedRun, told: Told | None) -> list[str]:
    """Sentences on noise that drowns the model, on what became of the ledger, and on charges that brought nothing."""
    found = []
    if run.books is not None and run.books.recovered is not None:
        found.append(run.books.recovered)
    if (noise := drowned(run)) is not None:
        found.append(noise)
    if told is not None:
        rows = {row.round: row for row in run.metrics}
        charged = [one.round for one in told.privacy.charges]
        idle = [number for number in charged if number in rows and rows[number].aborted]
        if idle:
            found.append(f"rounds {idle} released nothing after they were charged: what they cost stays spent")
        lost = [number for number in charged if number not in rows]
        if lost:
            found.append(
                f"rounds {lost} were charged, and are not in the model: the run ended before it kept what their sums "
                f"brought, and what they cost stays spent"
            )
        again = [one.round for one in told.privacy.charges if one.times > 1]
        if again:
            found.append(f"rounds {again} were charged again, because a crash made the run repeat them")
    return found


def drowned(run: FederatedRun) -> str | None:
    """Say that a run's noise drowns what it learns, where it must; None where it need not."""
    if run.guarantee is None or run.guarantee.integers is None:
        return None
    # By z of every round: noise of all rounds adds up to a length of z·C·√(R·d)/n, updates that all point one way, as
    # long as the clip lets them be, to R·C.
    noise = run.guarantee.noise_multiplier * math.sqrt(run.job.rounds * run.guarantee.integers.dimension)
    clients = run.job.expected_cohort
    times = noise / (clients * run.job.rounds)
    if times <= 1:
        return None
    return (
        f"with {clients:g} clients in a sum the noise of {run.job.rounds} rounds is {times:.1f} times as long as all "
        f"that they could learn under this clip: {math.ceil(clients * times)} clients or more would help, as would a "
        f"smaller model or a larger privacy.epsilon"
    )


def finite(epsilon: float | None) -> float | None:
    """ε as JSON can hold it."""
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None


def _charges(contents: Contents) -> tuple[PrivacyCharge, ...]:
    times = Counter(charge.round for charge in contents.charges)
    last: dict[int, Mapping[str, Any]] = {charge.round: charge.facts for charge in contents.charges}
    return tuple(
        PrivacyCharge(
            round=number,
            times=times[number],
            contributors=int(last[number]["contributors"]),
            noise_multiplier=last[number]["noise_multiplier_effective"],
        )
        for number in sorted(last)
    )


def _terms(run: FederatedRun, guarantee: Guarantee, contents: Contents) -> tuple[tuple[str, str], ...]:
    job, facts = run.job, guarantee.facts
    clip = f"{job.privacy.clip:g}, L2 norm of "
    unit, relation = guarantee.unit.value, guarantee.relation.value
    common = [
        ("unit of privacy", f"one {unit}, of {format_count(guarantee.population)}"),
        ("neighbouring relation", f"{relation}: {neighbours(unit, relation)}"),
        ("noise multiplier z, at least", format_number(guarantee.noise_multiplier, 4)),
    ]
    if guarantee.integers is None:
        return (
            ("mechanism", _DP_SGD),
            *common,
            ("clip C", f"{clip}an example’s gradient"),
            (
                "batches",
                (
                    f"every example with probability {format_number(facts['sampling_probability'])}, "
                    f"{format_count(facts['steps'])} a round"
                ),
            ),
            ("summed gradients are divided by", f"{facts['denominator']:.6g}, fixed and public"),
        )
    distributed = job.privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED
    whose = "a client’s share" if distributed else "the server’s noise"
    shape = "an update" if facts["clipping"] == "flat" else "an update, spread evenly over its arrays"
    terms = [
        ("mechanism", _MECHANISMS[facts["mechanism"]]),
        *common,
        ("clip C", f"{clip}{shape}{'; it adapts' if job.privacy.adaptive else ''}"),
        ("granularity γ", f"{format_number(facts['granularity'])} of the clip is the whole number 1"),
        ("sensitivity", f"{format_number(facts['l2_sensitivity'], 4)}, L2, in whole numbers"),
        (f"standard deviation of {whose}", f"{format_number(math.sqrt(facts['noise_variance']), 4)}, in whole numbers"),
        ("sums are divided by", f"{facts['denominator']:.6g}, fixed and public"),
        ("cohorts", _cohorts(facts, job.data.clients)),
        ("amplification by sampling", "claimed" if facts["amplification"] else "not claimed"),
    ]
    if distributed:
        terms += [
            ("honest contributors, at least", format_count(facts["honest_minimum"])),
            ("corrupt contributors, at most", f"{format_count(facts['corrupt_clients'])}; their noise is not counted"),
            ("room for sums", _room(facts, contents)),
        ]
    return tuple(terms)


def _cohorts(facts: Mapping[str, Any], clients: int) -> str:
    if facts["sampling_probability"] is not None:
        return f"every client with probability {format_number(facts['sampling_probability'])}"
    return f"{facts['sampling']}, {format_count(int(facts['cohort_planned']))} of {format_count(clients)} clients"


def _room(facts: Mapping[str, Any], contents: Contents) -> str:
    ring = f"modulo {power_of_two(contents.charges[-1].facts['ring_bits'])}; " if contents.charges else ""
    if facts["wrap_bits"] is None:
        return f"{ring}no coordinate can wrap"
    chance = power_of_two(-math.floor(facts["wrap_bits"]))
    return f"{ring}a coordinate wraps in fewer than {chance} of all rounds"


def _ledger_facts(contents: Contents, out: Path) -> tuple[tuple[str, str], ...]:
    own = (out / COORDINATOR).exists()
    return (
        (
            "ledger",
            (
                f"{LEDGER}: {format_count(contents.lines)} lines, {'open' if contents.closed is None else 'closed'}; "
                f"chain and signatures were verified for this report"
            ),
        ),
        ("last line of the ledger", contents.head.sha256),
        (
            "signed by",
            f"{contents.signer.hex()}, {f'a key of the run’s own ({COORDINATOR})' if own else 'a key that was given'}",
        ),
    )
