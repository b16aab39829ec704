"""More lies against the audit, found by people who tried to get away with them: terms that no job fixes, sums opened
and denied, known inputs that were chosen or dropped, and what is brought from another run. Of the rows of
`audit_frauds`; some of them pass, and say why.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from audit_frauds import (
    INCONCLUSIVE,
    NO_CLIP,
    REBOUND,
    SALT,
    WEIGHTED,
    WEIGHTED_A_LITTLE,
    Bind,
    Bodies,
    Change,
    Fraud,
    bodies_of,
    both,
    bound_again,
    closing,
    forge,
    held_under,
    in_round,
    key_of,
    last_round_out_of_all_files_and_closing,
    made,
    metrics_told,
    metrics_without,
    of,
    opening,
    params_of,
    receipts_of,
    row,
    sign_again,
    tell_epsilon,
    without_rounds,
)

from privfl.dp.receipts import make_receipt
from privfl.learning.books import COORDINATOR, JOB_DIGEST, LEDGER
from privfl.learning.client_books import RECEIPTS
from privfl.learning.guarantee import guarantee_of
from privfl.learning.job import load_job
from privfl.learning.known_inputs import KnownInputs, layout_from_json
from privfl.learning.paperwork import JOB
from privfl.learning.private import PrivateAveraging
from privfl.learning.rounds import MODEL
from privfl.learning.training_probe import TrainingProbe
from privfl.learning.witness import EVIDENCE
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.session import Phase
from privfl.suites import suite
from privfl.wire import Role

OTHER_JOB = frozenset({"job", "evidence"})
"""Noise, costs and terms follow from the job; the evidence names it too."""


# Terms that no job fixes ---------------------------------------------------------------------------------------------


def unnamed_job_and_noise(folder: Path) -> None:
    """The ledger names no job, and says four times the noise that there was."""

    def louder(body: dict[str, Any]) -> None:
        body["facts"]["noise_variance"] *= 16
        for name in ("noise_multiplier_effective", "noise_std_of_sum"):
            if name in body["facts"]:
                body["facts"][name] *= 4
        for event in [*body.get("events", ()), *([body["planned"]] if "planned" in body else ())]:
            event["noise_multiplier"] *= 4

    forge(folder, ledger=both(opening(**{JOB_DIGEST: None}), of("open", louder), of("charge", louder)))
    tell_epsilon(folder)


def nothing_counts(folder: Path) -> None:
    """Every sum is a release without noise, which does not count."""

    def free(body: dict[str, Any]) -> None:
        body["events"] = [{"count": 1, "event": "non-private", "reason": "sums"}]

    excluded = of("open", lambda body: body.update(excluded={"sums": "they are fine"}))
    forge(folder, ledger=both(excluded, of("charge", free)))
    tell_epsilon(folder)


def unnamed_job_and_nothing_counts(folder: Path) -> None:
    """And the ledger names no job."""
    nothing_counts(folder)
    forge(folder, ledger=opening(**{JOB_DIGEST: None}))


def job_of_no_name(folder: Path) -> None:
    """The ledger says null where the job's digest is due."""
    forge(folder, ledger=of("open", lambda body: body["facts"].update({JOB_DIGEST: None})))


def another_figure(**facts: Any) -> Callable[[Path], None]:
    """The evidence begins with other words than the ledger."""
    return lambda folder: forge(folder, evidence=opening(**facts))


def closing_with(**facts: Any) -> Callable[[Path], None]:
    """The closing record says so."""
    return lambda folder: forge(folder, ledger=closing(**facts))


# Sums that were opened, and denied -----------------------------------------------------------------------------------


def denied(*, messages: frozenset[str] = frozenset()) -> Callable[[Path], None]:
    """Round 2 aborted, and was not charged; these messages never were."""

    def aborted(body: dict[str, Any]) -> None:
        body.update(released=False, contributors=0)
        body["messages"] = [message for message in body["messages"] if message["phase"] not in messages]

    def lie(folder: Path) -> None:
        forge(folder, ledger=without_rounds(2), evidence=in_round(2, aborted))
        tell_epsilon(folder)
        metrics_told(folder, 2, aborted=True, contributors=0)

    return lie


OPENINGS = frozenset({Phase.UNMASK.value, Phase.OPEN.value})


def begun_and_lost(folder: Path) -> None:
    """Round 3 was begun, and a crash took it, says all that the coordinator wrote."""
    forge(
        folder,
        ledger=both(without_rounds(3), closing(rounds=2, stopped="stopped after round 2 of 3: for no reason")),
        evidence=lambda bodies: [(kind, body) for kind, body in bodies if kind != "session" or body["round"] != 3],
    )
    tell_epsilon(folder)
    metrics_without(folder, 3)


def hidden_as_known(folder: Path, bind: Bind | None = None) -> None:
    """Round 3 is said to have been a session on known inputs, of which nothing was kept."""
    first = next(body for kind, body in bodies_of(folder / EVIDENCE) if kind == "session" and body["probe"])

    def relabel(bodies: Bodies) -> Bodies:
        number = 0
        for kind, body in bodies:
            if kind == "session" and body["round"] == 3:
                body.update(round=0, probe=dict(first["probe"]) | {"file": None, "sha256": None})
            if kind == "session" and body["probe"] is not None:
                number += 1
                body["probe"]["number"] = number
        return bodies

    stopped = closing(rounds=2, stopped="stopped after round 2 of 3: for no reason")

    def unbegun(bodies: Bodies) -> Bodies:
        return [(kind, body) for kind, body in bodies if kind != "begun" or body["round"] != 3]

    forge(folder, ledger=both(without_rounds(3), stopped), evidence=both(unbegun, relabel), bind=bind)
    tell_epsilon(folder)
    metrics_without(folder, 3)


def hidden_as_known_and_bound(folder: Path) -> None:
    """And its seed, and that of all behind it, is the one that is due."""
    hidden_as_known(folder, bound_again)


# Known inputs --------------------------------------------------------------------------------------------------------


def of_known(alter: Callable[[dict[str, Any]], object], *, numbers: range = range(1, 100)) -> Change:
    """Alter sessions on known inputs with these numbers."""
    return of("session", lambda body: body["probe"] and body["probe"]["number"] in numbers and alter(body))


def planted(change: Change) -> Callable[[Path], None]:
    """Change the evidence."""
    return lambda folder: forge(folder, evidence=change)


def last_known(alter: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Alter the last session on known inputs: nothing follows from its line but the end."""

    def lie(folder: Path) -> None:
        forge(folder, evidence=of_known(alter, numbers=range(number_of_known(folder), 100)))

    return lie


def number_of_known(folder: Path) -> int:
    """How many sessions on known inputs there are."""
    return sum(kind == "session" and body["probe"] is not None for kind, body in bodies_of(folder / EVIDENCE))


def without_known(*, last: int = 0, first: int = 0, again: bool = False) -> Callable[[Path], None]:
    """Take out the first, or the last, of them; number the others again."""

    def lie(folder: Path) -> None:
        kept = range(first + 1, number_of_known(folder) - last + 1)

        def drop(bodies: Bodies) -> Bodies:
            left = [(kind, body) for kind, body in bodies if kind != "session" or _kept(body, kept)]
            known = [body for kind, body in left if kind == "session" and body["probe"] is not None]
            for number, body in enumerate(known, 1):
                body["probe"]["number"] = number if again else body["probe"]["number"]
            return left

        forge(folder, evidence=drop)

    return lie


def _kept(body: dict[str, Any], numbers: range) -> bool:
    return body["probe"] is None or body["probe"]["number"] in numbers


def one_known_again_and_again(folder: Path) -> None:
    """All sessions on known inputs are the first one: inputs, messages and what came out."""
    first: dict[str, Any] = {}

    def same(body: dict[str, Any]) -> None:
        first.update(first or json.loads(json.dumps(body)))
        number, params = body["probe"]["number"], replace(params_of(first), nonce=params_of(body).nonce)
        held_under(body, params)
        body["messages"] = first["messages"]
        body["probe"] = first["probe"] | {"number": number}

    forge(folder, evidence=of_known(same))


def known_of_another_run(folder: Path) -> None:
    """Bring the sessions on known inputs of another run of the same job, by the same coordinator."""
    other = folder.parent / "other"
    other.mkdir()
    (other / COORDINATOR).write_bytes((folder / COORDINATOR).read_bytes())
    wanted = load_job(folder / JOB)
    made(other, wanted, salt=SALT + 1)
    shutil.rmtree(folder / "probes")
    shutil.copytree(other / "probes", folder / "probes")
    brought = [body for kind, body in bodies_of(other / EVIDENCE) if kind == "session" and body["probe"]]

    def splice(bodies: Bodies) -> Bodies:
        left = iter(brought)
        return [(kind, next(left) if kind == "session" and body["probe"] else body) for kind, body in bodies]

    forge(folder, evidence=splice)


def made_again(folder: Path) -> Bind:
    """Hold all sessions on known inputs again, after everything else was decided: with the program as it should be."""
    wanted = load_job(folder / JOB)
    promised = guarantee_of(wanted, parameters=62, examples=1)
    assert promised is not None
    assert promised.integers is not None
    facts = bodies_of(folder / EVIDENCE)[0][1]["facts"]
    layout, clip = layout_from_json(facts["layout"]), wanted.privacy.clip
    assert clip is not None
    averaging = PrivateAveraging.of(wanted, layout, promised.integers, clip=clip, entropy=OsEntropy())

    def bind(kind: str, body: dict[str, Any], previous: str) -> None:
        if kind != "session" or body["probe"] is None:
            return
        bound_again(kind, body, previous)
        params = params_of(body)
        known = KnownInputs(seed=bytes.fromhex(body["probe"]["seed"]), layout=layout, clip=clip, canaries=True)
        total = sum(
            averaging.encode(known.result(one), context=params.context).astype(np.int64) for one in params.cohort
        )
        path = folder / body["probe"]["file"]
        content = io.BytesIO()
        np.savez(content, released=averaging.noised(np.asarray(total)), upload=np.load(path)["upload"])
        path.write_bytes(content.getvalue())
        body["probe"]["sha256"] = hashlib.sha256(content.getvalue()).hexdigest()

    return bind


def last_round_never_was(folder: Path) -> None:
    """There was no round 3, say all files, and what was recorded behind it was recorded anew."""
    last_round_out_of_all_files_and_closing(folder)
    forge(folder, bind=made_again(folder))


# Training on known inputs --------------------------------------------------------------------------------------------


def trained(alter: Callable[[TrainingProbe], TrainingProbe], **facts: Any) -> Callable[[Path], None]:
    """Another recorded training, which the evidence names."""

    def lie(folder: Path) -> None:
        path = folder / "probes" / "training.npz"
        content = alter(TrainingProbe.from_npz(path.read_bytes())).to_npz()
        path.write_bytes(content)
        told = {"sha256": hashlib.sha256(content).hexdigest()} | facts
        forge(folder, evidence=of("training", lambda body: body["facts"].update(told)))

    return lie


def trained_twice(folder: Path) -> None:
    """A second training, without noise, beside the first."""
    path = folder / "probes" / "training.npz"
    probe = TrainingProbe.from_npz(path.read_bytes())
    content = replace(probe, noise=probe.noise * np.float32(0.01)).to_npz()
    path.with_name("training2.npz").write_bytes(content)
    second = {"file": "probes/training2.npz", "sha256": hashlib.sha256(content).hexdigest()}

    def twice(bodies: Bodies) -> Bodies:
        place = next(place for place, (kind, _) in enumerate(bodies) if kind == "training")
        body = {"facts": bodies[place][1]["facts"] | second}
        return [*bodies[: place + 1], ("training", body), *bodies[place + 1 :]]

    forge(folder, evidence=twice)


def fewer_canaries(probe: TrainingProbe) -> TrainingProbe:
    """Sixteen canaries."""
    return replace(probe, scores=probe.scores[:16], control=probe.control[:16])


# What sessions were held for -----------------------------------------------------------------------------------------


def held_for(alter: Callable[[SessionParams], SessionParams], *, known: bool = False) -> Callable[[Path], None]:
    """All sessions of rounds, or on known inputs, were held under other parameters; messages have their lengths."""

    def lie(folder: Path) -> None:
        digests: dict[str, str] = {}

        def session(body: dict[str, Any]) -> None:
            if known != (body["probe"] is not None):
                return
            was, params = body["params_digest"], alter(params_of(body))
            sizes = suite(params.suite).message_sizes(params)
            for message in body["messages"]:
                due = sizes[Role[message["role"].upper()], Phase(message["phase"])]
                message["size_bytes"] = min(due.of(message["client"]))
            held_under(body, params)
            digests[was] = body["params_digest"]

        def follow(body: dict[str, Any]) -> None:
            body["facts"]["params_digest"] = digests.get(body["facts"]["params_digest"], body["facts"]["params_digest"])

        forge(folder, evidence=of("session", session), bind=bound_again)
        forge(folder, ledger=of("charge", follow))

    return lie


def longer(params: SessionParams) -> SessionParams:
    """With room for a second vector."""
    return replace(params, vector=replace(params.vector, length=2 * params.vector.length))


def fewer(params: SessionParams) -> SessionParams:
    """A sum may be opened over fewer contributors."""
    return replace(params, minimum_contributors=params.minimum_contributors - 1)


def copied_messages(folder: Path) -> None:
    """Round 3's messages are round 1's."""
    bodies = bodies_of(folder / EVIDENCE)
    first = next(body for kind, body in bodies if kind == "session" and body["round"] == 1)
    forge(folder, evidence=in_round(3, lambda body: body.update(messages=first["messages"])))


def never_opened(body: dict[str, Any]) -> None:
    """It aborted before anything could be opened."""
    body.update(released=False, contributors=0)
    body["probe"].update(file=None, sha256=None)
    body["messages"] = [message for message in body["messages"] if message["phase"] not in OPENINGS]


def all_in_round_3(folder: Path) -> None:
    """All rounds are the third."""

    def third(bodies: Bodies) -> Bodies:
        return [(kind, body | {"round": 3} if body.get("round") else body) for kind, body in bodies]

    forge(folder, ledger=third, evidence=third)
    metrics_without(folder, 1, 2)


def another_model(folder: Path) -> None:
    """Put another model in the place of the run's."""
    path = folder / MODEL
    path.write_bytes(path.read_bytes() + b"\0")


def opened_with(**facts: Any) -> Callable[[Path], None]:
    """The ledger's opening record says so."""
    return lambda folder: forge(folder, ledger=opening(**facts))


def no_ledger(folder: Path) -> None:
    """Nobody ever claimed privacy, says the evidence."""
    (folder / LEDGER).unlink()
    forge(folder, evidence=opening(mode="none", ledger=None))


def untrained(folder: Path) -> None:
    """No trainer was ever tried."""
    forge(folder, evidence=lambda bodies: [(kind, body) for kind, body in bodies if kind != "training"])


# Receipts ------------------------------------------------------------------------------------------------------------


def invented(*, clients: int, session: bool = True) -> Callable[[Path], None]:
    """Throw the clients' receipts away, and sign others with keys made for it."""

    def lie(folder: Path) -> None:
        real = {(receipt.rounds, receipt.params_digest): receipt for receipt in receipts_of(folder)}
        shutil.rmtree(folder / "clients")
        identities = [Identity.generate(OsEntropy()) for _ in range(clients)]
        lines = [
            make_receipt(
                identity,
                session=receipt.session if session else os.urandom(16),
                params_digest=receipt.params_digest,
                noise=receipt.noise,
                rounds=receipt.rounds,
                coordinator=key_of(folder).public,
            ).to_json()
            for receipt in real.values()
            for identity in identities
        ]
        (folder / RECEIPTS).write_text("".join(f"{line}\n" for line in lines))

    return lie


def dearer_to_clients(folder: Path) -> None:
    """Clients charged themselves for half the noise that the coordinator's ledger tells of."""

    def dearer(body: dict[str, Any]) -> None:
        for event in [*body.get("events", ()), *([body["planned"]] if "planned" in body else ())]:
            event["noise_multiplier"] /= 2

    for path in (folder / "clients").glob("*.jsonl"):
        key = Identity.from_pem(path.with_suffix(".pem").read_bytes())
        sign_again(path, both(of("open", dearer), of("charge", dearer)), key, label=Label.LEDGER)


def told_otherwise(round: int = 2, **figures: Any) -> Callable[[Path], None]:  # noqa: A002 - the name of the thing
    """The metrics tell something else of a round."""
    return lambda folder: metrics_told(folder, round, **figures)


# The table -----------------------------------------------------------------------------------------------------------

TRAINED = REBOUND | {"trainer-noise", "trainer-clip"}
FINDINGS_OF_TERMS = REBOUND | {"job", "evidence", "terms", "noise", "weights"}

LIES: tuple[Fraud, ...] = (
    row("terms unfixed", "no job, and more noise", "central", "job", "does not say for which job",
        after=unnamed_job_and_noise, others=FINDINGS_OF_TERMS),
    row("terms unfixed", "no job, and nothing counts", "central", "job", "does not say for which job",
        after=unnamed_job_and_nothing_counts, others=FINDINGS_OF_TERMS | {"unprotected", "accountants"}),
    row("terms unfixed", "nothing counts", "central", "unprotected", "3 releases without noise are excluded",
        outcome=INCONCLUSIVE, after=nothing_counts, others=OTHER_JOB | {"accountants"}),
    row("terms unfixed", "a job of no name", "central", "job", "does not say for which job",
        after=job_of_no_name, others=OTHER_JOB),
    row("terms unfixed", "evidence of another mode", "central", "evidence", "began with mode = 'none'",
        after=another_figure(mode="none"), others=REBOUND),
    row("terms unfixed", "evidence of another job", "central", "evidence", "began with job_sha256 = '00",
        after=another_figure(**{JOB_DIGEST: "00" * 32}), others=REBOUND),
    row("terms unfixed", "evidence of another model", "central", "evidence", "began with parameters = 5",
        after=another_figure(parameters=5), others=REBOUND),
    row("terms unfixed", "epsilon as a word", "central", "epsilon", "'0.1', which is no number",
        after=closing_with(epsilon="0.1")),
    row("terms unfixed", "epsilon as a truth", "central", "epsilon", "True, which is no number",
        after=closing_with(epsilon=True)),
    row("terms unfixed", "metrics of more contributors", "central", "rounds",
        "contributors = 12 in metrics.jsonl, and 10", after=told_otherwise(contributors=12)),
    row("terms unfixed", "metrics of a larger cohort", "central", "rounds", "cohort = 500 in metrics.jsonl, and 10",
        after=told_otherwise(cohort=500)),
    row("terms unfixed", "metrics of a tenth of epsilon", "central", "metrics", "ends with ε = 0.2",
        after=told_otherwise(round=3, epsilon=0.2, epsilon_rdp=0.2)),
    row("terms unfixed", "a smaller plan", "central", "job", "all planned rounds cost ε = 0.001",
        after=opened_with(planned_epsilon=0.001)),
    row("terms unfixed", "no privacy, and no ledger", "central", "ledger", "The job asks for mode 'client-central'",
        after=no_ledger, others=REBOUND | {"parameters"}),
    row("terms unfixed", "rounds of one number", "central", "rounds", "round",
        after=all_in_round_3, others=REBOUND | {"job", "drop-outs"}),
    row("terms unfixed", "another model than the run's", "central", "model", "not the model that the run ended with",
        after=another_model),
    row("sum denied", "opened, and said to have aborted", "central", "rounds", "opened, and says that it aborted",
        after=denied(), others=REBOUND),
    row("sum denied", "opened, and its messages too", "central", "probes", "does not follow from the line before",
        after=denied(messages=OPENINGS), others=REBOUND),
    row("sum denied", "private uploads that were read", "example", "rounds", "opened, and says that it aborted",
        after=denied(messages=OPENINGS), others=TRAINED),
    row("sum denied", "for which clients signed", "receipts", "rounds", "opened, and says that it aborted",
        after=denied(), others=REBOUND | {"receipts"}),
    row("sum denied", "begun, and lost in a crash", "receipts", "receipts", "10 receipts are for sessions .* begun",
        outcome=INCONCLUSIVE, after=begun_and_lost, others=REBOUND),
    row("sum denied", "called a session on known inputs", "central", "probes", "does not follow from the line before",
        after=hidden_as_known, others=REBOUND),
    row("sum denied", "called a session on known inputs, and bound", "central", "probes",
        "opened, said to be of known inputs, and not shown", after=hidden_as_known_and_bound, others=REBOUND),
    row("sum denied", "called a session on known inputs, and signed for", "receipts", "receipts",
        "neither charged nor shown", after=hidden_as_known_and_bound, others=REBOUND),
    row("sum denied", "and all held anew", "central", "rounds", "round", after=last_round_never_was, others=REBOUND,
        passes="whoever has the key, and plays all clients, holds the rest of the run anew: receipts alone would tell"),
    row("known inputs chosen", "the last dropped", "central", "probes", "13 of 14 sessions .* are shown",
        outcome=INCONCLUSIVE, after=without_known(last=1), others=REBOUND),
    row("known inputs chosen", "the first dropped", "central", "probes", "Session 3 on known inputs where number 1",
        after=without_known(first=2), others=REBOUND),
    row("known inputs chosen", "the first dropped, the others renumbered", "central", "probes",
        "does not follow from the line before", after=without_known(first=2, again=True), others=REBOUND),
    row("known inputs chosen", "one not kept", "central", "probes", "opened, said to be of known inputs, and not shown",
        after=last_known(lambda body: body["probe"].update(file=None, sha256=None)), others=REBOUND),
    row("known inputs chosen", "one said to have aborted", "central", "probes",
        "opened, said to be of known inputs, and not shown",
        after=last_known(lambda body: body.update(released=False, contributors=0)), others=REBOUND),
    row("known inputs chosen", "one said to have aborted, its openings gone", "central", "probes",
        "13 of 14 sessions .* 1 aborted", outcome=INCONCLUSIVE, after=last_known(never_opened), others=REBOUND),
    row("known inputs chosen", "for another clip", "central", "probes", "made for a clip of 1e-06, not 0.5",
        after=last_known(lambda body: body["probe"].update(clip=1e-6)), others=REBOUND),
    row("known inputs chosen", "another client's upload", "central", "probes", "and shows client 7",
        after=last_known(lambda body: body["probe"].update(uploader=7)), others=REBOUND),
    row("known inputs chosen", "another number", "central", "probes", "Session -7 on known inputs where",
        after=last_known(lambda body: body["probe"].update(number=-7)), others=REBOUND),
    row("known inputs chosen", "of another run", "central", "probes", "does not follow from the line before",
        after=known_of_another_run, others=REBOUND),
    row("known inputs chosen", "one, again and again", "central", "probes", "does not follow from the line before",
        after=one_known_again_and_again, others=REBOUND | {"secure-aggregation"}),
    row("known inputs chosen", "messages of another session", "central", "secure-aggregation", "it was copied",
        after=copied_messages, others=REBOUND),
    row("training made up", "canaries without noise", "example", "canaries", "The claim does not hold",
        after=trained(lambda probe: replace(probe, scores=probe.control)), others=TRAINED),
    row("training made up", "a control that is noise", "example", "trainer-clip", "control with noise 1000",
        after=trained(lambda probe: replace(probe, control_noise_multiplier=1000.0)), others=TRAINED),
    row("training made up", "twice", "example", "trainer-noise", "2 trainings on known inputs were recorded",
        after=trained_twice, others=TRAINED),
    row("training made up", "of another seed", "example", "trainer-noise", "was not made for this run",
        after=trained(lambda probe: replace(probe, seed=bytes(16)), seed="00" * 16), others=TRAINED),
    row("training made up", "of a seed that is not told", "example", "trainer-noise", "was not made for this run",
        after=trained(lambda probe: probe, seed="00" * 16), others=TRAINED),
    row("training made up", "none", "example", "trainer-noise", "No training on known inputs .*a training on known",
        outcome=INCONCLUSIVE, after=untrained, others=TRAINED),
    row("training made up", "of sixteen canaries", "example", "canaries", "has 16 canaries",
        after=trained(fewer_canaries), others=TRAINED),
    row("session agreed otherwise", "with room for a second vector", "distributed", "parameters",
        "and an update takes", after=held_for(longer), others=REBOUND | {"receipts"}),
    row("session agreed otherwise", "to open sums of fewer", "distributed", "parameters",
        "where the job asks for", after=held_for(fewer), others=REBOUND | {"receipts"}),
    row("session agreed otherwise", "to open sums of fewer, where the suite sets the number", "central", "parameters",
        "where the job asks for", after=held_for(fewer), others=REBOUND),
    row("session agreed otherwise", "to open sums of fewer, of sessions on known inputs", "distributed", "parameters",
        "where the job asks for", after=held_for(fewer, known=True), others=REBOUND | {"receipts"}),
    row("receipts made up", "by more clients than there are", "receipts", "receipts",
        "20 clients signed receipts, and there are 10", after=invented(clients=20)),
    row("receipts made up", "for other sessions", "receipts", "receipts", "signed for another session",
        after=invented(clients=10, session=False)),
    row("receipts made up", "of clients whose own ledgers say four times the cost", "receipts", "client-ledgers",
        "charged itself for something else", after=dearer_to_clients),
    row("receipts made up", "by as many as there are", "receipts", "receipts", "clients", after=invented(clients=10),
        passes="keys are not registered anywhere: only the clients can say whose they are"),
    row("hidden by noise", "weights by examples, of ten clients", "central", "contributions",
        "not the sum of clipped updates", during=(WEIGHTED,), others=REBOUND),
    row("hidden by noise", "three times the weight, for half of ten clients", "central", "contributions",
        "not the sum of clipped updates", during=(WEIGHTED_A_LITTLE,), others=REBOUND, salt=SALT + 2),
    row("hidden by noise", "no clip, of ten clients", "central", "contributions", "not the sum of clipped updates",
        during=NO_CLIP, others=REBOUND),
)  # fmt: skip
