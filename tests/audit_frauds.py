"""Frauds against the audit, and what it takes to plant them: a coordinator owns its key, and signs what it likes.

Two kinds. Some are done while a run is at work: parts of it are replaced, as another program in their place would be.
Others are done afterwards: lines of the ledger or the evidence are changed, and everything is hashed and signed again,
so that the files agree with each other; what the audit finds then are not damaged files, but lies.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privfl.audit.findings import Outcome
from privfl.dp import codec
from privfl.dp.accountants import account
from privfl.dp.budget import Budget
from privfl.dp.chain import Contents
from privfl.dp.clip import Clipped
from privfl.dp.ledger import read_ledger
from privfl.dp.noise import IntegerNoise
from privfl.dp.receipts import Receipt
from privfl.evidence import MessageRecord
from privfl.journal.lines import NO_LINE, signed_line
from privfl.learning import per_example, private_trainer, synchronous
from privfl.learning.books import COORDINATOR, JOB_DIGEST, LEDGER, job_digest
from privfl.learning.client_books import RECEIPTS
from privfl.learning.cohort_job import Sampling
from privfl.learning.guarantee import guarantee_of
from privfl.learning.job import job_from_table, job_to_toml, load_job
from privfl.learning.paperwork import JOB
from privfl.learning.private import PrivateAveraging
from privfl.learning.rounds import METRICS, FederatedRun
from privfl.learning.witness import EVIDENCE, seed_after
from privfl.lockstep.sizes import MessageSizes
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.session import Phase
from privfl.suites import plan_session, suite

LABELS = {LEDGER: Label.LEDGER, EVIDENCE: Label.EVIDENCE}
FAIL, INCONCLUSIVE = Outcome.FAIL, Outcome.INCONCLUSIVE
LITTLE = 0.7
"""Noise of this size, where 1 is claimed."""

Bodies = list[tuple[str, dict[str, Any]]]
Change = Callable[[Bodies], Bodies]
Bind = Callable[[str, dict[str, Any], str], None]


# Runs ----------------------------------------------------------------------------------------------------------------


def job(
    mode: str = "none", suite_name: str = "masking", /, *, count: int = 2, clients: int = 10, **changes: Any
) -> Any:
    """A job of a second: logistic regression on the hospitals, 62 parameters; 2 rounds, 10 clients, unless told."""
    privacy = changes.pop("privacy", {})
    table: dict[str, Any] = {
        "rounds": count,
        "suite": suite_name,
        "model": "logistic",
        "data": {"clients": clients},
        "strategy": {"epochs": 1},
    }
    if mode != "none":
        # Trained examples need accountants that take their time where ε is large.
        noise = 8.0 if mode == "example" else 2.0
        table["privacy"] = {"mode": mode, "noise_multiplier": noise, "delta": 1e-5, "clip": 0.5} | privacy
    return job_from_table(table | changes)


@contextmanager
def seeded(*words: object) -> Any:
    """Let a seed stand for the operating system's entropy: an honest run is doubted once in a few hundred, and a test
    should not be. Noise and coins are as good; nothing here is secret.
    """
    seed = int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "big")
    chance = np.random.default_rng(seed)
    with replaced((os, "urandom", chance.bytes)):
        yield


SALT = 1
"""Another number makes other runs: should an honest one be doubted by chance, try the next."""


def made(out: Path, wanted: Any, *patches: tuple[Any, str, Any], until: int | None = None, salt: int = SALT) -> Path:
    """Make a run, with other programs in the place of its own; `until` leaves it unfinished after a round."""
    with seeded(job_to_toml(wanted), [name for _, name, _ in patches], salt), replaced(*patches):
        run = FederatedRun(wanted, out=out)
        for metrics in run:
            if metrics.round == until:
                break
        if until is not None:
            run._paperwork.let_go()
    return out


RECEIPTED = {"client_epsilon": 50.0}
"""Clients keep ledgers, and hand in receipts."""
QUIET = RECEIPTED | {"noise_multiplier": 4.0}
DROPPED = {
    "threat": {"dropout": 0.3},
    "failures": {"drop": [{"round": 2, "clients": [3, 8], "phase": "MaskedInput"}]},
}
LOUD = {"privacy": {"noise_multiplier": 1.5}, "audit": {"probes": 8}}

HALF = {"sampling": "poisson", "probability": 0.5, "minimum": 3}
BUFFERED = {"name": "fedbuff", "buffer": 4, "concurrency": 8, "epochs": 1}
SLOW = {"examples_per_s": 10.0, "speed_spread": 1.0}

JOBS: Mapping[str, Callable[[], Any]] = {
    "none": lambda: job("none", "kahe"),
    "plain": lambda: job("none", "plain"),
    "plain-central": lambda: job("client-central", "plain"),
    "one-probe": lambda: job("client-central", count=1, clients=5, audit={"probes": 1}),
    "central": lambda: job("client-central", count=3),
    "receipts": lambda: job("client-central", count=3, privacy=RECEIPTED),
    "small": lambda: job("client-central", "plain", count=1, clients=5, audit={"probes": 9}, privacy=QUIET),
    "distributed": lambda: job("client-distributed", "kahe", count=3, privacy=RECEIPTED, **DROPPED),
    "budgeted": lambda: job("client-central", count=4, privacy={"epsilon": 4.0}),
    "example": lambda: job("example"),
    "crowd": lambda: job("client-central", "plain", clients=32, **LOUD),
    "crowd-distributed": lambda: job("client-distributed", "kahe", count=1, clients=32, **LOUD),
    "sampled": lambda: job(
        "client-central",
        "plain",
        privacy={"amplification": True, "delta": 1e-3, "noise_multiplier": 5.0},
        cohort=HALF,
        count=12,
        clients=50,
    ),
    "uniform": lambda: job(
        "client-central",
        "plain",
        privacy={"delta": 1e-3, "noise_multiplier": 5.0},
        cohort={"size": 25, "minimum": 3},
        count=12,
        clients=50,
    ),
    "evaluated": lambda: job(count=3, evaluation={"federated": True, "every": 2}),
    "evaluated-late": lambda: job(
        failures={"drop": [{"round": 1, "clients": list(range(9))}]}, evaluation={"federated": True}
    ),
    "example-late": lambda: job(
        "example", failures={"drop": [{"round": 1, "clients": list(range(8)), "phase": "AdvertiseKeys"}]}
    ),
    "evaluated-packed": lambda: job("none", "ckks", evaluation={"federated": True, "size": 6}),
    "adaptive": lambda: job(strategy={"name": "fedadam", "epochs": 1}),
    "buffered": lambda: job(count=4, strategy=BUFFERED, fleet=SLOW),
    "buffered-distributed": lambda: job(
        "client-distributed", "kahe", count=4, strategy=BUFFERED | {"buffer": 6}, fleet=SLOW, privacy=RECEIPTED
    ),
    "over-selected": lambda: job(
        "client-central",
        cohort={"size": 6, "over_selection": 0.5},
        threat={"dropout": 0.4},
        fleet=SLOW,
    ),
    "available": lambda: job(
        "none",
        "kahe",
        cohort={"sampling": "available", "size": 8, "minimum": 3},
        fleet={"client": [{"clients": [2, 7], "online": [0.0, 1.5]}], "examples_per_s": 30.0},
        evaluation={"federated": True},
    ),
}
"""Honest runs, by name."""


# Signing again -------------------------------------------------------------------------------------------------------


def key_of(folder: Path) -> Identity:
    """The coordinator's key."""
    return Identity.from_pem((folder / COORDINATOR).read_bytes())


def bodies_of(path: Path) -> Bodies:
    """Kind and body of every line."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [(line["kind"], line["body"]) for line in lines]


def sign_again(
    path: Path, change: Change, identity: Identity, bind: Bind | None = None, *, label: Label | None = None
) -> dict[str, Any]:
    """Change a ledger or evidence, hash and sign all lines; return the head as a closing record names it.

    Args:
        path: the file.
        change: of its bodies.
        identity: that signs.
        bind: changes a body once more, when the hash of the line before is known.
        label: of its lines; that of its name unless given.
    """
    previous, content = NO_LINE, b""
    changed = change(bodies_of(path))
    for sequence, (kind, body) in enumerate(changed):
        if kind == "open":
            body = body | {"signer": identity.public.hex()}  # noqa: PLW2901 - the line as it is signed
        if bind is not None:
            bind(kind, body, previous)
        rest = {"body": body, "kind": kind, "previous": previous, "sequence": sequence}
        line = signed_line(rest, identity, label or LABELS[path.name])
        previous, content = hashlib.sha256(line).hexdigest(), content + line
    path.write_bytes(content)
    return {"sequence": len(changed) - 1, "sha256": previous}


def forge(
    folder: Path,
    *,
    ledger: Change | None = None,
    evidence: Change | None = None,
    identity: Identity | None = None,
    bind: Bind | None = None,
) -> None:
    """Change evidence and ledger so that they agree: the ledger's closing record names the evidence that is there."""
    signs = identity or key_of(folder)
    head = None
    if (folder / EVIDENCE).exists():
        head = sign_again(folder / EVIDENCE, evidence or unchanged, signs, bind)
    if not (folder / LEDGER).exists():
        return

    def sealed(bodies: Bodies) -> Bodies:
        for kind, body in bodies:
            if kind == "close" and head is not None and isinstance(body["facts"], dict):
                body["facts"]["evidence"] = head
        return bodies

    sign_again(folder / LEDGER, lambda bodies: sealed((ledger or unchanged)(bodies)), signs)


def unchanged(bodies: Bodies) -> Bodies:
    """Leave the lines as they are."""
    return bodies


def both(*changes: Change) -> Change:
    """One change after another."""

    def change(bodies: Bodies) -> Bodies:
        for each in changes:
            bodies = each(bodies)
        return bodies

    return change


def of(kind: str, alter: Callable[[dict[str, Any]], object]) -> Change:
    """Alter, in place, the body of all lines of a kind."""

    def change(bodies: Bodies) -> Bodies:
        for its_kind, body in bodies:
            if its_kind == kind:
                alter(body)
        return bodies

    return change


def opening(**facts: Any) -> Change:
    """Set facts of the first line; None takes one out."""

    def alter(body: dict[str, Any]) -> None:
        for name, value in facts.items():
            if value is None:
                body["facts"].pop(name, None)
            else:
                body["facts"][name] = value

    return of("open", alter)


def closing(**facts: Any) -> Change:
    """Set facts of the closing record."""
    return of("close", lambda body: body["facts"].update(facts))


def charging(**facts: Any) -> Change:
    """Set facts of every charge."""
    return of("charge", lambda body: body["facts"].update(facts))


def without_rounds(*numbers: int) -> Change:
    """Take out charges, or sessions and that they were begun, of rounds."""
    return lambda bodies: [
        (kind, body)
        for kind, body in bodies
        if kind not in {"charge", "session", "begun"} or body["round"] not in numbers
    ]


def in_round(number: int, alter: Callable[[dict[str, Any]], object]) -> Change:
    """Alter the charge, or the session, of one round."""

    def change(bodies: Bodies) -> Bodies:
        for kind, body in bodies:
            if kind in {"charge", "session"} and body["round"] == number:
                alter(body)
        return bodies

    return change


def metrics_without(folder: Path, *numbers: int) -> None:
    """Take rounds out of what was told of them."""
    path = folder / METRICS
    rows = [line for line in path.read_text().splitlines(keepends=True) if json.loads(line)["round"] not in numbers]
    path.write_text("".join(rows))


def metrics_told(folder: Path, number: int, **figures: Any) -> None:
    """Tell something else of a round."""
    path = folder / METRICS
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | (figures if row["round"] == number else {})) + "\n" for row in rows))


def another_job(folder: Path, **changes: Any) -> str:
    """Write another job in the run's place; return its digest, which ledger and evidence have to name."""
    wanted = replace(load_job(folder / JOB), **changes)
    (folder / JOB).write_text(job_to_toml(wanted))
    return job_digest(wanted)


def claimed_epsilon(folder: Path) -> float:
    """What the ledger's charges cost, as an honest closing record would tell it."""
    contents: Contents = read_ledger(folder / LEDGER)
    return account(contents.spent, contents.opening.budget.delta, contents.opening.budget.relation).epsilon


def tell_epsilon(folder: Path) -> None:
    """Make the closing record claim what the charges that are left cost."""
    epsilon = claimed_epsilon(folder)
    forge(folder, ledger=closing(epsilon=epsilon))


# Other programs in the place of the run's -----------------------------------------------------------------------------


@contextmanager
def replaced(*patches: tuple[Any, str, Any]) -> Any:
    """Replace attributes for as long as a run is at work."""
    with pytest.MonkeyPatch.context() as patcher:
        for target, name, value in patches:
            patcher.setattr(target, name, value)
        yield


_ADD_TO = IntegerNoise.add_to
_ROUND = codec.round_conditionally


def add_little(self: IntegerNoise, vector: Any, *, entropy: Any, workers: int = 1) -> None:
    """Noise of 0.7 times its size."""
    drawn = np.zeros(len(vector), np.int64)
    _ADD_TO(self, drawn, entropy=entropy, workers=workers)
    vector += np.rint(drawn * LITTLE).astype(vector.dtype)


def add_none(self: IntegerNoise, vector: Any, *, entropy: Any, workers: int = 1) -> None:
    """No noise."""


def clip_nothing(arrays: Any, layout: Any, *, clip: float, clipping: Any, out: Any, scale: float = 1.0) -> Clipped:
    """Write updates as long as they are."""
    out[:] = np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays.values()]) * (scale / clip)
    return Clipped(norm=float(np.linalg.norm(out)), factors={})


def round_anything(values: Any, *, l2_squared: int, out: Any, entropy: Any, workers: int = 1) -> int:
    """Round vectors of any length, cut where the session would not take them."""
    most = math.isqrt(l2_squared)
    values = np.clip(values, -most, most)
    return _ROUND(values, l2_squared=1 << 52, out=out, entropy=entropy, workers=workers)


def encode_weighted(most: int) -> Callable[..., Any]:
    """Let clients weigh by their examples, up to so many times, and cut what the session would not take."""

    def encode(self: PrivateAveraging, result: Any, *, context: bytes, weight: float = 1.0, chance: bytes = b"") -> Any:
        weight *= min(1 + result.examples // 20, most)
        whole = np.rint(self.unrounded(result, context=context) * weight).astype(np.int32)
        if self.plan.client_noise is not None:
            self.plan.client_noise.add_to(whole, entropy=OsEntropy())
        return np.clip(whole, -self.vector.bound, self.vector.bound)

    return encode


def little_training_noise(multiplier: float, *rest: Any) -> Any:
    """Noise of 0.7 times its size on gradients."""
    return per_example.Noise(multiplier * LITTLE, *rest)


def clip_no_gradient(samples: Any, examples: int, clip: float) -> Any:
    """Sum gradients as long as they are."""
    return _CLIPPED_SUMS(samples, examples, 1e12)


_CLIPPED_SUMS = per_example._clipped_sums


def cohort_of_fixed_size(wanted: Any, number: int, **_: Any) -> tuple[int, ...]:
    """As many as are expected, others each time."""
    chance = np.random.default_rng(number)
    size = round(wanted.data.clients * wanted.cohort.probability)
    return tuple(sorted(int(client) for client in chance.choice(wanted.data.clients, size, replace=False)))


def cohort_that_is_kept(wanted: Any, number: int, **_: Any) -> tuple[int, ...]:
    """The same each time."""
    return cohort_of_fixed_size(wanted, 0)


NO_NOISE = (IntegerNoise, "add_to", add_none)
LITTLE_NOISE = (IntegerNoise, "add_to", add_little)
NO_CLIP = ((codec, "clip_into", clip_nothing), (codec, "round_conditionally", round_anything))
WEIGHTED = (PrivateAveraging, "encode", encode_weighted(8))
WEIGHTED_A_LITTLE = (PrivateAveraging, "encode", encode_weighted(3))
LITTLE_TRAINING_NOISE = (private_trainer, "Noise", little_training_noise)
NO_GRADIENT_CLIP = (per_example, "_clipped_sums", clip_no_gradient)
FIXED_SIZE = (synchronous, "draw_cohort", cohort_of_fixed_size)
KEPT_COHORT = (synchronous, "draw_cohort", cohort_that_is_kept)
NO_LIMIT = (Budget, "check", lambda _self, _spent, _following: None)


# What is done afterwards ---------------------------------------------------------------------------------------------

Plant = Callable[[Path], None]


def charge_left_out(folder: Path) -> None:
    """Round 2 was never charged, says the ledger."""
    forge(folder, ledger=without_rounds(2))
    tell_epsilon(folder)


def round_left_out_of_evidence(folder: Path) -> None:
    """Round 2 was charged, and nothing was released, says the evidence; the metrics were forgotten."""
    forge(folder, evidence=without_rounds(2))


def round_out_of_evidence_and_metrics(folder: Path) -> None:
    """The same, and the metrics were not forgotten."""
    forge(folder, evidence=without_rounds(2))
    metrics_without(folder, 2)


def round_out_of_both(folder: Path) -> None:
    """There was no round 2, say ledger and evidence."""
    forge(folder, ledger=without_rounds(2), evidence=without_rounds(2))
    tell_epsilon(folder)


def round_out_of_all_files(folder: Path) -> None:
    """Nor do the metrics tell of it; the clients' receipts do."""
    round_out_of_both(folder)
    metrics_without(folder, 2)


def last_round_out_of_all_files(folder: Path) -> None:
    """There was no round 3: the closing record still tells of three."""
    forge(folder, ledger=without_rounds(3), evidence=without_rounds(3))
    tell_epsilon(folder)
    metrics_without(folder, 3)


def last_round_out_of_evidence_and_metrics(folder: Path) -> None:
    """Round 3 was charged, and nothing came of it, say evidence, metrics and closing record."""
    forge(folder, ledger=closing(rounds=2), evidence=without_rounds(3))
    metrics_without(folder, 3)


def last_round_out_of_all_files_and_closing(folder: Path) -> None:
    """There was no round 3, says all that the coordinator wrote."""
    last_round_out_of_all_files(folder)
    forge(folder, ledger=closing(rounds=2, stopped="stopped after round 2 of 3: for no reason"))


def last_round_out_of_evidence_and_metrics_with_a_reason(folder: Path) -> None:
    """The same, and the run says that it stopped before."""
    last_round_out_of_evidence_and_metrics(folder)
    forge(folder, ledger=closing(rounds=2, stopped="stopped after round 2 of 3: for no reason"))


def beside(body: dict[str, Any]) -> None:
    """One more message of a client in one session: sixteen bytes, as a loss or an accuracy would take."""
    extra = dict(body["messages"][0]) | {"phase": "Metrics", "size_bytes": 16, "sha256": "11" * 32}
    body["messages"].append(extra)


def twice(body: dict[str, Any]) -> None:
    """A second message of a client in a phase that the protocol has."""
    body["messages"].append(dict(body["messages"][0]) | {"sha256": "11" * 32})


def longer(body: dict[str, Any]) -> None:
    """One upload with eight bytes more, as a double would take."""
    upload = next(message for message in body["messages"] if message["phase"] in {"MaskedInput", "Upload"})
    upload["size_bytes"] += 8


def metric_beside(folder: Path) -> None:
    """A client sent something outside the protocol."""
    forge(folder, evidence=in_round(1, beside))


def metric_in_a_second_message(folder: Path) -> None:
    """A client sent two messages where one is due."""
    forge(folder, evidence=in_round(1, twice))


def metric_in_an_upload(folder: Path) -> None:
    """A client sent something behind its upload."""
    forge(folder, evidence=in_round(1, longer))


def metric_in_what_is_told(folder: Path) -> None:
    """The mean of the clients' own accuracies was told to all who read the metrics."""
    metrics_told(folder, load_job(folder / JOB).rounds, local_accuracy=0.75)


def called_kahe(folder: Path) -> None:
    """Uploads were plain; job, ledger and evidence say kahe."""
    named = another_job(folder, suite="kahe")
    relabel = of("session", lambda body: body.update(suite="kahe"))
    terms = opening(suite="kahe", secure=True, **{JOB_DIGEST: named})
    ledger = opening(suite="kahe", **{JOB_DIGEST: named})
    forge(folder, ledger=ledger, evidence=both(terms, relabel))


def made_up_messages(params: SessionParams, uploads: Mapping[int, str]) -> list[dict[str, Any]]:
    """What would have left the parties of such a session, with true digests of uploads where they are known."""
    made_up = []
    sizes: Mapping[Any, MessageSizes] = suite(params.suite).message_sizes(params)
    for (role, phase), due in sizes.items():
        for sender in sorted(due.senders):
            record = MessageRecord(
                role=role.name.lower(),
                client=sender,
                phase=phase.value,
                size_bytes=min(due.of(sender)),
                sha256=os.urandom(32).hex(),
            )
            body = {name: getattr(record, name) for name in ("role", "client", "phase", "size_bytes", "sha256")}
            if phase in {Phase.MASKED_INPUT, Phase.UPLOAD} and sender in uploads:
                body["sha256"] = uploads[sender]
            made_up.append(body)
    return made_up


def as_if_kahe(body: dict[str, Any]) -> None:
    """Tell of a session of kahe that was never held: parameters, phases and sizes."""
    held = params_of(body)
    params = plan_session(
        "kahe",
        cohort=held.cohort,
        vector=held.vector,
        threat=held.threat,
        nonce=held.nonce,
        context=held.context,
    )
    uploads = {message["client"]: message["sha256"] for message in body["messages"]}
    held_under(body, params)
    body |= {"suite": "kahe", "messages": made_up_messages(params, uploads)}


def params_of(body: Mapping[str, Any]) -> SessionParams:
    """Of a session's line."""
    return SessionParams.from_bytes(base64.b64decode(body["params"]))


def held_under(body: dict[str, Any], params: SessionParams) -> None:
    """Let a session's line tell of other parameters."""
    body["params"] = base64.b64encode(params.to_bytes()).decode("ascii")
    body["params_digest"] = params.digest.hex()


def bound_again(kind: str, body: dict[str, Any], previous: str) -> None:
    """Let the seed of a session on known inputs be the one that is due; what came out of it stays as it was."""
    if kind == "session" and body["probe"] is not None:
        seed = seed_after(previous)
        body["probe"]["seed"] = seed.hex()
        held_under(body, replace(params_of(body), context=digest(Label.PROBE, seed)))


def called_kahe_in_every_phase(folder: Path) -> None:
    """Uploads were plain; whatever is written says kahe, down to the size of each message."""
    digests: dict[str, str] = {}

    def session(body: dict[str, Any]) -> None:
        was = body["params_digest"]
        as_if_kahe(body)
        digests[was] = body["params_digest"]

    named = another_job(folder, suite="kahe")
    terms = opening(suite="kahe", secure=True, **{JOB_DIGEST: named})

    def follow(body: dict[str, Any]) -> None:
        body["facts"]["params_digest"] = digests.get(body["facts"]["params_digest"], "")

    forge(folder, evidence=both(terms, of("session", session)), bind=bound_again)
    forge(folder, ledger=both(opening(suite="kahe", **{JOB_DIGEST: named}), of("charge", follow)))


def noise_of_all(folder: Path, number: int) -> dict[str, Any]:
    """What the charge of a round would say if nobody had dropped out of it."""
    bodies = bodies_of(folder / LEDGER)
    full = next(body for kind, body in bodies if kind == "charge" and body["round"] == 1)
    return json.loads(json.dumps(full["events"])), json.loads(json.dumps(full["facts"]))  # type: ignore[return-value]


def nobody_dropped_out(folder: Path) -> None:
    """Charge round 2 as round 1, in which all took part."""
    events, facts = noise_of_all(folder, 2)

    def charge(body: dict[str, Any]) -> None:
        body["events"] = events
        body["facts"] = facts | {"params_digest": body["facts"]["params_digest"]}

    forge(folder, ledger=in_round(2, charge))
    tell_epsilon(folder)


def nobody_dropped_out_of_the_sum(folder: Path) -> None:
    """And let the evidence say that all are in the sum."""
    nobody_dropped_out(folder)
    forge(folder, evidence=in_round(2, lambda body: body.update(contributors=10)))
    metrics_told(folder, 2, contributors=10)


def nobody_dropped_out_at_all(folder: Path) -> None:
    """And let it show messages of those who sent none; receipts of theirs there are not."""
    nobody_dropped_out_of_the_sum(folder)

    def session(body: dict[str, Any]) -> None:
        body["messages"] = made_up_messages(params_of(body), {})

    forge(folder, evidence=in_round(2, session))


def more_noise_than_contributors_make(folder: Path) -> None:
    """Say how many contributed, and charge for the noise of all."""
    events, facts = noise_of_all(folder, 2)
    noise = {"noise_multiplier_effective": facts["noise_multiplier_effective"]}

    def charge(body: dict[str, Any]) -> None:
        body["events"] = events
        body["facts"] |= noise

    forge(folder, ledger=in_round(2, charge))
    tell_epsilon(folder)


def ledger_of_another_key(folder: Path) -> None:
    """Sign the ledger with another key than the evidence."""
    sign_again(folder / LEDGER, unchanged, Identity.generate(OsEntropy()))


def all_of_another_key(folder: Path) -> None:
    """Sign ledger and evidence with another key, and put it into the run's directory."""
    identity = Identity.generate(OsEntropy())
    forge(folder, identity=identity)
    (folder / COORDINATOR).write_bytes(identity.to_pem())


def no_bound_of_weights(folder: Path) -> None:
    """The ledger does not say how much a client may weigh."""
    forge(folder, ledger=both(opening(weight_max=None), of("charge", lambda body: body["facts"].pop("weight_max"))))


def heavy_clients(folder: Path) -> None:
    """The ledger lets a client weigh seven times what noise was sized for."""
    forge(folder, ledger=both(opening(weight_max=7), charging(weight_max=7)))


def endless_weights(folder: Path) -> None:
    """The ledger sets no bound at all: a number that is none."""
    forge(folder, ledger=both(opening(weight_max="infinity"), charging(weight_max="infinity")))


def accountant_reset(folder: Path, *, evidence_follows: bool = False) -> None:
    """Put another ledger in the place of the one that was: it begins after round 1."""
    identifier = os.urandom(16).hex()
    forge(
        folder,
        ledger=both(of("open", lambda body: body.update(ledger=identifier)), without_rounds(1)),
        evidence=opening(ledger=identifier) if evidence_follows else None,
    )
    tell_epsilon(folder)


def accountant_reset_and_evidence_told(folder: Path) -> None:
    """The same, and the evidence names the new one."""
    accountant_reset(folder, evidence_follows=True)


def only_the_last_rounds_claimed(folder: Path) -> None:
    """All rounds are charged, and the closing record tells the last one's ε."""
    told = folder.parent / f"{folder.name}-last"
    shutil.copytree(folder, told)
    forge(told, ledger=without_rounds(1, 2))
    forge(folder, ledger=closing(epsilon=claimed_epsilon(told)))


def reset_in_all_files(folder: Path) -> None:
    """Nothing shows round 1 any more, but the clients' receipts."""
    identifier = os.urandom(16).hex()
    fresh = of("open", lambda body: body.update(ledger=identifier))
    forge(
        folder,
        ledger=both(fresh, without_rounds(1)),
        evidence=both(opening(ledger=identifier), without_rounds(1)),
    )
    tell_epsilon(folder)
    metrics_without(folder, 1)


def receipts_of(folder: Path) -> list[Receipt]:
    """All of them."""
    return [Receipt.from_json(line) for line in (folder / RECEIPTS).read_text().splitlines()]


def keep_receipts(folder: Path, kept: Callable[[int, Receipt], bool]) -> None:
    """Withhold the others."""
    chosen = [receipt for place, receipt in enumerate(receipts_of(folder)) if kept(place, receipt)]
    (folder / RECEIPTS).write_text("".join(f"{receipt.to_json()}\n" for receipt in chosen))


def all_receipts(folder: Path) -> None:
    """Withhold the file."""
    (folder / RECEIPTS).unlink()
    shutil.rmtree(folder / "clients")


def some_receipts(folder: Path) -> None:
    """Withhold three."""
    keep_receipts(folder, lambda place, _receipt: place % 10 != 4)


def receipts_of_one_client(folder: Path) -> None:
    """Withhold all that one client signed."""
    client = receipts_of(folder)[0].client
    keep_receipts(folder, lambda _place, receipt: receipt.client != client)


def receipts_of_one_session(folder: Path) -> None:
    """Withhold all that are about one session."""
    session = receipts_of(folder)[-1].session
    keep_receipts(folder, lambda _place, receipt: receipt.session != session)


def receipts_nobody_promised(folder: Path) -> None:
    """Withhold one client's for one session, and say that none were due; of the run only the clients knew."""
    forge(folder, ledger=opening(receipts=False))
    first = receipts_of(folder)[0]
    keep_receipts(folder, lambda _place, receipt: (receipt.client, receipt.rounds) != (first.client, 2))
    shutil.rmtree(folder / "clients")


def guarantee_facts(wanted: Any) -> dict[str, Any]:
    """What the ledger of such a job says."""
    made_for = guarantee_of(wanted, parameters=62, examples=1)
    assert made_for is not None
    return {**made_for.facts, "against": made_for.against}


def sampled_says_the_job(folder: Path) -> None:
    """Job and ledger say Poisson sampling and amplification, and charge for it; cohorts were of one size."""
    wanted = load_job(folder / JOB)
    cohort = replace(wanted.cohort, size=None, minimum=3, probability=0.5, sampling=Sampling.POISSON)
    named = another_job(folder, cohort=cohort, privacy=replace(wanted.privacy, amplification=True))
    claims = guarantee_facts(load_job(folder / JOB))

    def charge(body: dict[str, Any]) -> None:
        for event in body["events"]:
            event["sampling_probability"] = 0.5

    plan = of("open", lambda body: body["planned"].update(sampling_probability=0.5))
    facts = opening(**claims, **{JOB_DIGEST: named})
    follows = opening(**{JOB_DIGEST: named})
    forge(folder, ledger=both(facts, plan, charging(**claims), of("charge", charge)), evidence=follows)
    tell_epsilon(folder)


def sampled_events(folder: Path) -> None:
    """Charge as if somebody had been sampled; the opening record says nothing of it."""

    def charge(body: dict[str, Any]) -> None:
        for event in body["events"]:
            event["sampling_probability"] = 0.5

    forge(folder, ledger=of("charge", charge))
    tell_epsilon(folder)


# The table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fraud:
    """One row: what is done, and which finding says so.

    Attributes:
        kind: which of the twelve.
        name: what is done.
        base: the honest run that it is done to, by its name in `JOBS`.
        during: other programs in the place of the run's.
        after: what is changed once it is over.
        key: of the finding that says so.
        outcome: with which.
        says: what its detail and what it misses hold, as a regular expression.
        others: keys of other findings that need not pass, because the fraud contradicts them as well.
        told: whether the audit is told the coordinator's key.
        passes: why the audit does not find it out, where it does not.
        salt: of its run: what noise hides in one run of four is found in the others.
    """

    kind: str
    name: str
    base: str
    during: tuple[tuple[Any, str, Any], ...] = ()
    after: Plant | None = None
    key: str
    outcome: Outcome = FAIL
    says: str
    others: frozenset[str] = frozenset()
    told: bool = False
    passes: str = ""
    salt: int = SALT

    @property
    def label(self) -> str:
        """Name of the test's case."""
        return f"{self.kind}: {self.name}"


def row(kind: str, name: str, base: str, key: str, says: str, **rest: Any) -> Fraud:
    """One row."""
    return Fraud(kind=kind, name=name, base=base, key=key, says=says, **rest)


ATTACK = frozenset({"canaries"})
"""What an attack finds out is chance: without noise, or without a clip, it may or may not contradict the claim."""
REBOUND = frozenset({"probes", "uploads", "sums", "noise-added", "contributions", "canaries", "control"})
"""Known inputs follow from the line before: whoever changes a line of the evidence has none that fit behind it."""
UNSHOWN = frozenset({"uploads", "sums", "probes"})
"""Suite plain holds no sessions on known inputs where there is no noise."""

FRAUDS: tuple[Fraud, ...] = (
    row("noise", "0.7 times its size, by the server", "central", "noise-added", "Noise of 0.[67]",
        during=(LITTLE_NOISE,)),
    row("noise", "0.7 times its size, by clients", "distributed", "noise-added", "Noise of 0.[67]",
        during=(LITTLE_NOISE,)),
    row("noise", "0.7 times its size, by the trainer", "example", "trainer-noise", "Noise of 0.[67]",
        during=(LITTLE_TRAINING_NOISE,)),
    row("noise", "none, by the server", "central", "noise-added", "Noise of 0.0", during=(NO_NOISE,), others=ATTACK),
    row("noise", "none, by clients", "distributed", "noise-added", "Noise of 0.0", during=(NO_NOISE,), others=ATTACK),
    row("amplification", "cohorts of one size", "sampled", "sampler", "not sampled as it is claimed",
        during=(FIXED_SIZE,)),
    row("amplification", "one cohort, kept", "sampled", "sampler", "not sampled as it is claimed",
        during=(KEPT_COHORT,)),
    row("amplification", "cohorts of one size, of a job that was rewritten", "uniform", "sampler",
        "not sampled as it is claimed", after=sampled_says_the_job, others=REBOUND | {"job"}),
    row("amplification", "events charged as sampled, and nothing said of it", "uniform", "amplification",
        "charged as a Poisson sample with probability 0.5", after=sampled_events, others=frozenset({"job"})),
    row("round left out", "of the ledger", "central", "rounds", "Round 2 released .* never charged",
        after=charge_left_out),
    row("round left out", "of the evidence", "central", "rounds", "tells of round 2, which the evidence does not show",
        after=round_left_out_of_evidence, others=REBOUND),
    row("round left out", "of the evidence and the metrics", "central", "rounds", r"no session of rounds \[2\]",
        after=round_out_of_evidence_and_metrics, others=REBOUND),
    row("round left out", "the last, of evidence, metrics and closing record", "central", "rounds",
        "tells of 2 rounds of 3, and of no reason to stop", others=REBOUND,
        after=last_round_out_of_evidence_and_metrics),
    row("round left out", "the last, of evidence, metrics and closing record, with a reason", "central", "rounds",
        r"Rounds \[3\] were charged, and no session .* evidence of those rounds", outcome=INCONCLUSIVE,
        after=last_round_out_of_evidence_and_metrics_with_a_reason, others=REBOUND),
    row("round left out", "of ledger and evidence", "central", "rounds",
        "tells of round 2, which the evidence does not show", after=round_out_of_both, others=REBOUND),
    row("round left out", "of all files", "central", "rounds", r"no session of rounds \[2\]",
        after=round_out_of_all_files, others=REBOUND),
    row("round left out", "of all files but receipts", "receipts", "receipts", "neither charged nor shown",
        after=round_out_of_all_files, others=REBOUND | {"rounds"}),
    row("round left out", "the last, of all files but receipts", "receipts", "receipts", "neither charged nor shown",
        after=last_round_out_of_all_files_and_closing, others=REBOUND),
    row("round left out", "the last, of all files", "central", "rounds", "tells of 3 rounds, and the evidence of 2",
        after=last_round_out_of_all_files, others=REBOUND),
    row("metric leaked", "a message beside the protocol", "none", "secure-aggregation",
        "sent 16 bytes as 'Metrics'.*in clear", after=metric_beside, others=REBOUND),
    row("metric leaked", "a second message", "none", "secure-aggregation", "two different messages",
        after=metric_in_a_second_message, others=REBOUND),
    row("metric leaked", "eight bytes behind an upload", "none", "secure-aggregation",
        "sent 8560 bytes in MaskedInput, where 8552 are due", after=metric_in_an_upload, others=REBOUND),
    row("metric leaked", "accuracy on clients' data, of private clients", "central", "unprotected",
        "Round 3 tells local_accuracy", after=metric_in_what_is_told),
    row("metric leaked", "accuracy on clients' data, of private examples", "example", "unprotected",
        "Round 2 tells local_accuracy", after=metric_in_what_is_told),
    row("plain called kahe", "by name", "plain", "secure-aggregation", "claims suite 'kahe'.* says 'plain'",
        after=called_kahe, others=UNSHOWN),
    row("plain called kahe", "by name, under noise", "plain-central", "secure-aggregation",
        "claims suite 'kahe'.* says 'plain'", after=called_kahe, others=REBOUND),
    row("plain called kahe", "with parameters, phases and sizes", "plain", "uploads",
        "No session on known inputs .* sessions on known inputs", outcome=INCONCLUSIVE,
        after=called_kahe_in_every_phase, others=UNSHOWN),
    row("plain called kahe", "with parameters, phases and sizes, under noise", "plain-central", "uploads",
        "of suite plain", after=called_kahe_in_every_phase, others=REBOUND),
    row("drop-outs hidden", "in the ledger", "distributed", "drop-outs",
        "charged for 10 contributors; 8 uploads left the clients", after=nobody_dropped_out,
        others=frozenset({"receipts"})),
    row("drop-outs hidden", "in ledger and evidence", "distributed", "drop-outs", "10 contributors and 8 uploads",
        after=nobody_dropped_out_of_the_sum, others=REBOUND | {"receipts"}),
    row("drop-outs hidden", "with messages that nobody sent", "distributed", "receipts",
        "10 contributors and 8 receipts", after=nobody_dropped_out_at_all, others=REBOUND),
    row("drop-outs hidden", "told, and their noise counted", "distributed", "noise",
        "8 contributors, 1 of them corrupt, make 2.16", after=more_noise_than_contributors_make,
        others=frozenset({"job"})),
    row("budget overrun", "by a run without a limit", "budgeted", "budget", "Round 4 overran it", during=(NO_LIMIT,)),
    row("replaced key", "of the ledger", "central", "writer", "ledger.jsonl was signed by .* evidence.jsonl names",
        after=ledger_of_another_key),
    row("replaced key", "of ledger and evidence, and receipts", "receipts", "writer",
        "the client .* in a receipt, names", after=all_of_another_key, others=REBOUND),
    row("replaced key", "of ledger and evidence, and somebody knows the key", "central", "writer",
        "the key that this audit was told names", after=all_of_another_key, others=REBOUND, told=True),
    row("weights unbounded", "no bound in the ledger", "central", "weights", "weight_max is None: without a bound",
        after=no_bound_of_weights, others=frozenset({"job"})),
    row("weights unbounded", "no number in the ledger", "central", "weights", "weight_max is 'infinity'",
        after=endless_weights, others=frozenset({"job"})),
    row("weights unbounded", "more than noise was sized for", "central", "weights", "its weight may be 7",
        after=heavy_clients, others=frozenset({"job"})),
    row("weights unbounded", "by examples, though the ledger says 1", "crowd", "contributions",
        "not the sum of clipped updates", during=(WEIGHTED,), others=ATTACK),
    row("weights unbounded", "by examples, inside the secure sum", "crowd-distributed", "contributions",
        "not the sum of clipped updates", during=(WEIGHTED,), others=ATTACK),
    row("clip not applied", "before the server adds noise", "crowd", "contributions",
        "not the sum of clipped updates", during=NO_CLIP, others=ATTACK),
    row("clip not applied", "by clients that share the noise", "crowd-distributed", "contributions",
        "not the sum of clipped updates", during=NO_CLIP, others=ATTACK),
    row("clip not applied", "to gradients", "example", "trainer-clip", "times as long as the clip",
        during=(NO_GRADIENT_CLIP,), others=ATTACK),
    row("accountant reset", "a new ledger after a round", "central", "rounds", "belongs to another ledger",
        after=accountant_reset),
    row("accountant reset", "a new ledger, that the evidence names", "central", "rounds",
        "Round 1 released .* never charged", after=accountant_reset_and_evidence_told, others=REBOUND),
    row("accountant reset", "only the last round's epsilon claimed", "central", "epsilon",
        "claims ε = 1.99.* costs 3.70", after=only_the_last_rounds_claimed),
    row("accountant reset", "in all files", "central", "rounds", r"no session of rounds \[1\]",
        after=reset_in_all_files, others=REBOUND),
    row("accountant reset", "in all files but receipts", "receipts", "receipts", "neither charged nor shown",
        after=reset_in_all_files, others=REBOUND | {"rounds"}),
    row("receipts withheld", "all", "receipts", "receipts", "10 contributors and 0 receipts: all were withheld",
        after=all_receipts),
    row("receipts withheld", "some", "receipts", "receipts", "10 contributors and 9 receipts: some were withheld",
        after=some_receipts, others=frozenset({"client-ledgers"})),
    row("receipts withheld", "one client's", "receipts", "receipts", "10 contributors and 9 receipts",
        after=receipts_of_one_client),
    row("receipts withheld", "one session's", "receipts", "receipts", "Round 3 .* 0 receipts: all were withheld",
        after=receipts_of_one_session, others=frozenset({"client-ledgers"})),
    row("receipts withheld", "one, where none was promised", "receipts", "receipts",
        r"missing: number \[2\].*those receipts", outcome=INCONCLUSIVE, after=receipts_nobody_promised),
)  # fmt: skip
