"""Runs whose clients are elsewhere: the same models as simulated ones, and nothing taken on a coordinator's word."""

import os
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from harness import identity_of
from msgspec import structs

from privfl.dp.accountants import account
from privfl.dp.events import Relation
from privfl.dp.ledger import read_ledger
from privfl.errors import BudgetExceeded, ConfigurationError, DecodeError, DisclosureRefused
from privfl.guard import MemoryGuard
from privfl.integrations.consortium import Declined, Facts, NotWaited, Over, Participant, Step, Wait, coordinator
from privfl.integrations.consortium.coordinator import DistantClients, Patience, RoundTerms
from privfl.integrations.consortium.messages import Greeting, decode_offer, encode
from privfl.integrations.consortium.trainee import Trainee
from privfl.integrations.home import PartyHome
from privfl.integrations.party_books import PartyBooks
from privfl.integrations.policy import OwnerPolicy, PartyBudget
from privfl.learning.data import Examples
from privfl.learning.distant_data import examples_of, held_out_of
from privfl.learning.job import job_from_table, job_to_toml
from privfl.learning.participation import Participation, read_model, write_model
from privfl.learning.rounds import FederatedRun
from privfl.params import ThreatModel
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy
from privfl.simulate import roster_of
from privfl.suites import plan_session

pytest.importorskip("torch", reason="the built-in models need PyTorch")
CLIENTS = 5
ROSTER = roster_of({number: identity_of(number) for number in range(CLIENTS)})
COORDINATOR = identity_of(77)
TABLE = {
    "rounds": 2,
    "suite": "masking",
    "data": {"name": "hospitals", "clients": CLIENTS},
    "threat": {"server": "active", "corrupt": 0.2, "dropout": 0.2},
    "strategy": {"epochs": 1},
}
PRIVATE = {"mode": "client-distributed", "epsilon": 20.0, "delta": 1e-3, "clip": 1.0}


def distant(table=TABLE, *, roster=ROSTER, **patience):
    patience = Patience(**{"phase_s": 20, "upload_s": 60, "gather_s": 30} | patience)
    return DistantClients(
        job_from_table(table), run=os.urandom(16), identity=COORDINATOR, roster=roster, patience=patience
    )


def participant(folder, number, work):
    home = folder / f"client-{number}"
    home.mkdir(mode=0o700, exist_ok=True)
    opened = replace(PartyHome.open(home), credentials=Credentials(identity_of(number), ROSTER))
    return Participant(opened, number, work)


def take_part(hall, one, number, declined):
    """A client's life, with its messages written down and read on the way."""
    one.greet(hall.greeting)
    while True:
        offer = decode_offer(encode(hall.offer(number)))
        match offer:
            case Over():
                return
            case Wait():
                time.sleep(0.01)
            case Step():
                try:
                    hall.answer(
                        number, offer.session, offer.phase, one.answer(offer, lambda digest, _: hall.model(digest))
                    )
                except Declined as why:
                    declined.append((number, str(why)))
                    hall.decline(number, offer.session, why.told)
                except NotWaited:
                    pass


def run_with(folder, clients, *, numbers=range(CLIENTS), work=Trainee, out=None, table=TABLE, observe=None):
    """Hold a run with clients in threads; return it, and who declined why."""
    declined = []
    run = FederatedRun(job_from_table(table), out=out, identity=COORDINATOR, elsewhere=clients)
    threads = [
        threading.Thread(
            target=take_part, args=(clients.hall, participant(folder, number, work(number)), number, declined)
        )
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    try:
        for row in run:
            if observe is not None:
                observe(row)
    finally:
        clients.hall.close("over")
        for thread in threads:
            thread.join()
    return run, declined


@pytest.mark.parametrize("suite", ["masking", "kahe"])
def test_a_distant_run_comes_to_the_model_of_a_simulated_one(tmp_path, suite):
    table = TABLE | {"suite": suite}
    run, declined = run_with(tmp_path, distant(table), table=table)
    simulated = FederatedRun(job_from_table(table))
    list(simulated)
    assert not declined
    assert [row.contributors for row in run.metrics] == [CLIENTS] * 2
    for name, array in simulated.weights.items():
        assert np.array_equal(run.weights[name], array)


def test_a_private_distant_run_charges_every_round_before_it_is_opened(tmp_path):
    table = TABLE | {"privacy": PRIVATE}
    run, declined = run_with(tmp_path, distant(table), table=table, out=tmp_path / "out")
    assert not declined
    ledger = read_ledger(tmp_path / "out" / "ledger.jsonl")
    assert [charge.round for charge in ledger.charges] == [1, 2]
    assert ledger.closed["epsilon"] == pytest.approx(run.metrics[-1].epsilon)


def test_clients_that_are_not_there_are_not_invited(tmp_path):
    run, _ = run_with(tmp_path, distant(gather_s=3), numbers=range(4))
    assert [(row.cohort, row.contributors) for row in run.metrics] == [(4, 4)] * 2


def test_the_ledger_says_who_was_invited(tmp_path):
    table = TABLE | {"privacy": PRIVATE}
    run, _ = run_with(tmp_path, distant(table, gather_s=3), numbers=range(4), table=table, out=tmp_path / "out")
    ledger = read_ledger(tmp_path / "out" / "ledger.jsonl")
    assert [charge.facts["cohort"] for charge in ledger.charges] == [row.cohort for row in run.metrics] == [4, 4]


def test_a_job_that_comes_again_under_another_name_gets_no_second_sum_of_the_same_updates(tmp_path):
    """Of two sums of the same updates, one with a client less, the difference is that client's."""
    guards = {number: MemoryGuard() for number in range(CLIENTS)}

    def work(number):
        return Trainee(number, guard=guards[number])

    first, _ = run_with(tmp_path, distant(), work=work)
    assert not any(row.aborted for row in first.metrics)
    again, declined = run_with(tmp_path, distant(gather_s=2), work=work, numbers=range(4))
    assert all(row.aborted for row in again.metrics)
    assert any("before" in why for _, why in declined)


def test_the_name_of_a_run_is_in_no_context():
    one, other = distant(), distant()
    assert one.hall.greeting.run != other.hall.greeting.run
    assert one.agreed == other.agreed


def test_guarantee_1_a_client_trains_for_one_session_of_a_round():
    trainee, run = Trainee(0), distant()
    trainee.enter(run.hall.greeting)
    first, second = (SimpleNamespace(nonce=bytes([number]) * 16) for number in (1, 2))
    step = step_of(trainee)
    trainee.charge(step, first)
    trainee.charge(step, first)  # killed, and started again
    with pytest.raises(DisclosureRefused, match="round 1 of this job before"):
        trainee.charge(step, second)
    trainee.charge(structs.replace(step, round=2), second)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"round": 0}, "round 0"),
        ({"round": 3}, "the job has 2"),
        ({"kind": "evaluate"}, "kind"),
        ({"model_bytes": 2**36}, "a model of 68719476736 bytes"),
    ],
)
def test_a_step_that_is_not_of_the_job_is_refused_before_anything_is_fetched(changes, why):
    trainee = Trainee(0)
    trainee.enter(distant().hall.greeting)
    spec = trainee._part.vector_spec
    params = session_of(spec)
    trainee.check(step_of(trainee), params)
    with pytest.raises(ConfigurationError, match=why):
        trainee.check(structs.replace(step_of(trainee), **changes), params)


def session_of(spec, *, table=TABLE, **changes):
    """Parameters of a session of a job, or with changes."""
    job = job_from_table(table)
    planned = {
        "suite_name": job.suite,
        "cohort": tuple(range(CLIENTS)),
        "vector": spec,
        "threat": job.threat,
        "minimum_contributors": job.minimum,
        "nonce": bytes(16),
        "context": bytes(32),
        "roster": ROSTER,
    }
    return plan_session(**planned | changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vector": "longer"}, "updates are"),
        ({"suite_name": "plain"}, "suite is 'plain': the job says 'masking'"),
        ({"suite_name": "kahe"}, "suite is 'kahe': the job says 'masking'"),
        ({"threat": ThreatModel(server="active", corrupt=0.0, dropout=0.2)}, "threat is"),
        ({"threat": ThreatModel(server="honest-but-curious", corrupt=0.2, dropout=0.2)}, "threat is"),
        ({"cohort": (0, 1, 2, 3, 9)}, "up to number 9"),
        ({"cohort": (0, 1, 2, 3), "minimum_contributors": 3}, None),
        ({"cohort": (0, 1, 2, 3)}, r"over 2 contributors.* with 4 invited the job says 3 or more"),
        ({"minimum_contributors": 2}, r"over 2 contributors.* says 3 or more"),
        ({"minimum_contributors": 4}, None),
    ],
)
def test_guarantee_4_a_session_is_held_as_the_job_says(changes, why):
    trainee = Trainee(0)
    trainee.enter(distant().hall.greeting)
    spec = trainee._part.vector_spec
    if changes.get("vector"):
        changes = {"vector": replace(spec, length=spec.length + 1)}
    everybody = {"roster": roster_of({number: identity_of(number) for number in range(10)})}
    params = session_of(spec, **everybody | changes)
    if why is None:
        trainee.check(step_of(trainee), params)
        return
    with pytest.raises(ConfigurationError, match=why):
        trainee.check(step_of(trainee), params)


def test_guarantee_4_noise_is_not_shared_among_fewer_than_it_is_made_for():
    table = TABLE | {"privacy": PRIVATE}
    part = participation(table)
    part.require_planned(session_of(part.vector_spec, table=table))
    with pytest.raises(ConfigurationError, match=r"over 3 contributors.* says 4 or more"):
        part.require_planned(session_of(part.vector_spec, table=table, minimum_contributors=3))


# A client's own budget.


def books_in(folder, number, *, budget=None):
    home = folder / f"client-{number}"
    home.mkdir(mode=0o700, exist_ok=True)
    return PartyBooks(home, identity_of(number), budget, None)


def ledger_of(folder, number):
    return read_ledger(folder / f"client-{number}" / "ledger.jsonl")


def test_a_clients_own_ledger_charges_rounds_as_the_run_does_or_more(tmp_path):
    table = TABLE | {"privacy": PRIVATE}
    run, declined = run_with(
        tmp_path,
        distant(table),
        table=table,
        work=lambda number: Trainee(number, books=books_in(tmp_path, number)),
    )
    assert not declined
    for number in range(CLIENTS):
        charges = ledger_of(tmp_path, number).charges
        assert len(charges) == 2
        # For the fewest contributors that a session may have: it does not learn how many there were.
        event = charges[0].events[0].event
        assert event.variance == 3 * charges[0].facts["noise"]["variance"]
    assert (
        run.metrics[-1].epsilon
        <= account(
            [part for charge in ledger_of(tmp_path, 0).charges for part in charge.events], 1e-3, Relation.ZERO_OUT
        ).epsilon
    )


def test_guarantee_2_a_client_whose_budget_is_spent_stays_away_and_nobody_hears_why(tmp_path, caplog):
    table = TABLE | {"privacy": PRIVATE}
    part = participation(table)
    one, _ = part.cost(session_of(part.vector_spec, table=table))
    budget = PartyBudget(epsilon=1.2 * account([one], 1e-3, Relation.ZERO_OUT).epsilon, delta=1e-3)

    def work(number):
        own = budget if number == 2 else None
        return Trainee(number, policy=OwnerPolicy(budget=own), books=books_in(tmp_path, number, budget=own))

    run, declined = run_with(tmp_path, distant(table), table=table, work=work)
    assert [row.contributors for row in run.metrics] == [CLIENTS, CLIENTS - 1]
    assert [number for number, _ in declined] == [2]
    assert len(ledger_of(tmp_path, 2).charges) == 1
    assert "budget" not in repr(run.metrics)
    assert "this client's own budget (policy.toml): ε would be" in caplog.text


def test_a_budget_refuses_runs_without_noise_unless_their_owner_excludes_them(tmp_path):
    budget = PartyBudget(epsilon=1.0)
    trainee = Trainee(0, policy=OwnerPolicy(budget=budget), books=books_in(tmp_path, 0, budget=budget))
    with pytest.raises(BudgetExceeded, match="this client's own privacy budget"):
        trainee.enter(distant().hall.greeting)
    assert not (tmp_path / "client-0" / "ledger.jsonl").exists()  # its owner may still open it otherwise
    excluded = PartyBudget(epsilon=1.0, excluded={"train": "a pilot on public records"})
    trainee = Trainee(1, policy=OwnerPolicy(budget=excluded), books=books_in(tmp_path, 1, budget=excluded))
    trainee.enter(distant().hall.greeting)
    trainee.charge(step_of(trainee), session_of(trainee._part.vector_spec))
    assert [charge.events[0].event.reason for charge in ledger_of(tmp_path, 1).charges] == ["train"]


def test_a_session_is_charged_once_and_one_that_is_refused_not_at_all(tmp_path):
    excluded = PartyBudget(epsilon=1.0, excluded={"train": "a pilot on public records"})
    guard = MemoryGuard()
    first, second = (bytes([number]) * 16 for number in (1, 2))

    def trainee():
        made = Trainee(
            0, policy=OwnerPolicy(budget=excluded), books=books_in(tmp_path, 0, budget=excluded), guard=guard
        )
        made.enter(distant().hall.greeting)
        return made

    for _ in range(2):  # killed, and started again
        one = trainee()
        one.charge(step_of(one), session_of(one._part.vector_spec, nonce=first))
    with pytest.raises(DisclosureRefused):
        one.charge(step_of(one), session_of(one._part.vector_spec, nonce=second))
    assert len(ledger_of(tmp_path, 0).charges) == 1


def test_a_client_killed_between_its_claims_and_its_charge_is_charged_when_it_goes_on(tmp_path):
    excluded = PartyBudget(epsilon=1.0, excluded={"train": "a pilot on public records"})
    guard = MemoryGuard()
    killed = Trainee(0, guard=guard)
    killed.enter(distant().hall.greeting)
    params = session_of(killed._part.vector_spec)
    killed.charge(step_of(killed), params)
    back = Trainee(0, policy=OwnerPolicy(budget=excluded), books=books_in(tmp_path, 0, budget=excluded), guard=guard)
    back.enter(distant().hall.greeting)
    back.charge(step_of(back), params)
    assert len(ledger_of(tmp_path, 0).charges) == 1


def test_the_owner_who_fears_more_corrupt_clients_is_charged_more(tmp_path):
    table = TABLE | {"privacy": PRIVATE}
    part = participation(table)
    params = session_of(part.vector_spec, table=table)
    costs = [
        account([part.cost(params, corrupt=corrupt)[0]], 1e-3, Relation.ZERO_OUT).epsilon for corrupt in (0, 1, 2, 3)
    ]
    assert costs[0] == costs[1] < costs[2] < costs[3]
    with pytest.raises(ConfigurationError, match="one of them honest"):
        part.cost(params, corrupt=4)


def step_of(trainee):
    return Step(
        round=1,
        kind="train",
        session=bytes(16),
        phase="AdvertiseKeys",
        params=b"",
        terms=b"",
        model=bytes(32),
        model_bytes=trainee._part.model_bytes,
        request=b"",
        most_bytes=1,
    )


def test_rounds_that_come_to_nothing_are_said_with_who_declined_and_are_not_hurried_through(
    tmp_path, caplog, monkeypatch
):
    slept = []
    monkeypatch.setattr(coordinator.time, "sleep", slept.append)

    def work(number):
        return Trainee(number, policy=OwnerPolicy(session=ClientPolicy(minimum_contributors=99)))

    def strict(folder, number, made):
        return Participant(replace(participant(folder, number, made)._home, policy=made._policy), number, made)

    clients = distant(TABLE | {"rounds": 3})
    declined, table = [], TABLE | {"rounds": 3}
    run = FederatedRun(job_from_table(table), identity=COORDINATOR, elsewhere=clients)
    works = {number: Trainee(number) if number > 2 else work(number) for number in range(CLIENTS)}
    threads = [
        threading.Thread(target=take_part, args=(clients.hall, strict(tmp_path, number, one), number, declined))
        for number, one in works.items()
    ]
    for thread in threads:
        thread.start()
    rows = list(run)
    clients.hall.close("over")
    for thread in threads:
        thread.join()
    assert all(row.aborted for row in rows)
    assert [seconds for seconds in slept if seconds >= 1] == [1.0, 2.0]
    reasons = rows[0].dropped_because
    assert {client for why, gone in reasons.items() if why.startswith("declined:") for client in gone} == {0, 1, 2}
    assert "round 1: nothing was summed:" in caplog.text
    assert "client 2: declined: cohort.size is 5, under this client's minimum of 99" in caplog.text


class Failing(Trainee):
    """A client whose training raises."""

    def vector(self, step, params, model, context):
        if self._number == 2:
            raise ValueError("a patient's name")
        return super().vector(step, params, model, context)


def test_a_client_whose_training_fails_drops_out_alone_and_nobody_hears_why(tmp_path):
    run, declined = run_with(tmp_path, distant(), work=Failing)
    assert [row.contributors for row in run.metrics] == [CLIENTS - 1] * 2
    assert {number for number, _ in declined} == {2}
    assert "patient" not in repr(run.metrics)


def test_under_privacy_of_clients_one_whose_training_fails_adds_its_noise_to_nothing(tmp_path, monkeypatch):
    from privfl.learning import contributing

    table = TABLE | {"privacy": PRIVATE}
    part = participation(table)
    monkeypatch.setattr(part._trainer, "train", lambda *_args, **_options: 1 / 0)
    weights = part._trainer.initial_weights()
    context = part.context(weights, 1, 1.0)
    vectors = [np.asarray(part.vector(weights, 1, 1.0, context)) for _ in range(2)]
    assert all(vector.shape == (part.vector_spec.length,) for vector in vectors)
    assert not np.array_equal(*vectors)  # fresh noise each time
    assert contributing.round_context(weights, b"", 1) != context


# What a client does not take on a coordinator's word.


def participation(table=TABLE, **options):
    job = job_from_table(table)
    facts = held_out_of(job_from_table(TABLE)).facts
    options = {
        "agreed": b"all that was shown",
        "number": 0,
        "examples": examples_of(job_from_table(TABLE), facts, 0, own=None),
    } | options
    return Participation(job, facts, **options)


def greeting_of(table, **facts):
    shown = held_out_of(job_from_table(TABLE)).facts
    shown = Facts(
        **{
            "clients": shown.clients,
            "examples": shown.examples,
            "classes": shown.classes,
            "feature_shape": shown.feature_shape,
        }
        | facts
    )
    return Greeting(run=bytes(16), job=job_to_toml(job_from_table(table)), facts=shown, coordinator=COORDINATOR.public)


@pytest.fixture
def evil_module(tmp_path, monkeypatch):
    (tmp_path / "evil_things.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "evil_things:run"
    assert "evil_things" not in sys.modules


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "evil_things:run"},
        {
            "data": {"name": "evil_things:run", "clients": CLIENTS, "classes": 2},
            "model": "mlp",
            "strategy": {"weight_max": 10},
        },
    ],
)
def test_no_code_is_imported_because_a_coordinators_job_names_it(evil_module, changes):
    with pytest.raises(ConfigurationError, match=r"--model evil_things:run|--data"):
        Trainee(0).enter(greeting_of(TABLE | changes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fleet": {}}, "fleet"),
        ({"failures": {"rate": 0.1}}, "failures"),
        ({"cohort": {"sampling": "available"}, "fleet": {}}, "fleet"),
        ({"evaluation": {"federated": True}}, "evaluation.federated"),
        ({"compression": {"fraction": 0.5, "keep": "random", "feedback": 1.0}}, "compression.feedback"),
        ({"privacy": PRIVATE | {"client_epsilon": 30.0}}, "privacy.client_epsilon"),
        (
            {
                "suite": "kahe",
                "privacy": {
                    "mode": "client-central",
                    "noise_multiplier": 2.0,
                    "delta": 1e-3,
                    "clip": 1.0,
                    "amplification": True,
                },
                "cohort": {"sampling": "poisson", "probability": 0.9},
                "threat": {"server": "honest-but-curious", "corrupt": 0.0, "dropout": 0.0},
            },
            "privacy.amplification",
        ),
        ({"privacy": {"mode": "example", "epsilon": 8.0, "delta": 1e-4, "clip": 1.0}}, "privacy.mode"),
    ],
)
def test_jobs_that_distant_clients_cannot_do_are_refused_on_both_sides(changes, named):
    table = TABLE | changes
    with pytest.raises(ConfigurationError, match=named):
        distant(table)
    with pytest.raises(ConfigurationError, match=named):
        Trainee(0).enter(greeting_of(table))


def test_a_policys_bits_and_budget_are_kept_or_the_client_stays_away():
    with pytest.raises(ConfigurationError, match=r"encoding\.bits is 4.*8 or more"):
        Trainee(0).enter(greeting_of(TABLE | {"encoding": {"bits": 4}}))
    Trainee(0, policy=OwnerPolicy(bits=4)).enter(greeting_of(TABLE | {"encoding": {"bits": 4}}))
    with pytest.raises(ConfigurationError, match=r"\[budget\]"):
        Trainee(0, policy=OwnerPolicy(budget=PartyBudget(epsilon=1.0)))


def test_examples_that_do_not_fit_the_run_are_refused_at_the_client():
    wrong = Examples(features=np.zeros((4, 7), np.float32), labels=np.zeros(4, np.int64))
    with pytest.raises(ConfigurationError, match=r"shape \(7,\)"):
        participation(examples=wrong)
    beyond = Examples(features=np.zeros((4, 30), np.float32), labels=np.full(4, 9))
    with pytest.raises(ConfigurationError, match="labels hold 9"):
        participation(examples=beyond)
    with pytest.raises(ConfigurationError, match=r"data\.clients = 5"):
        Trainee(0).enter(greeting_of(TABLE, clients=4))
    with pytest.raises(ConfigurationError, match="20000000 classes"):
        Trainee(0).enter(greeting_of(TABLE, classes=20_000_000))


@pytest.mark.parametrize("clip", [0.5, 2.0, float("nan"), float("inf"), 0.0, -1.0])
def test_updates_are_scaled_as_the_job_says(clip):
    part = participation()
    with pytest.raises(ConfigurationError, match=r"the job says 1\.0"):
        part.context(part._trainer.initial_weights(), 1, clip)


def test_an_adaptive_clip_is_the_rounds_and_part_of_what_it_is_about():
    part = participation(TABLE | {"encoding": {"adaptive": True}})
    weights = part._trainer.initial_weights()
    assert part.context(weights, 2, 1 / 64) != part.context(weights, 2, 1.0)
    assert part.context(weights, 2, 1 / 64) != part.context(weights, 2, 64.0)
    for number, clip in ((2, float("nan")), (2, float("inf")), (2, 0.0), (2, -1.0), (1, 2.0), (2, 65.0), (3, 1e-4)):
        with pytest.raises(ConfigurationError, match="scaled by"):
            part.context(weights, number, clip)


def test_the_context_follows_from_all_that_a_client_was_shown():
    one, other = participation(), participation(agreed=b"another run")
    weights = one._trainer.initial_weights()
    moved = {name: array + 1 for name, array in weights.items()}
    found = {
        one.context(weights, 1, 1.0),
        one.context(weights, 2, 1.0),
        one.context(moved, 1, 1.0),
        other.context(weights, 1, 1.0),
    }
    assert len(found) == 4


def test_models_travel_whole_and_finite():
    like = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.float32)}
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(7)}
    raw = write_model(weights)
    read = read_model(raw, like)
    assert list(read) == ["a", "b"]
    assert all(np.array_equal(read[name], weights[name]) for name in like)
    for wrong in (raw[:-1], raw + bytes(4), b""):
        with pytest.raises(DecodeError, match="28 are due"):
            read_model(wrong, like)
    for bad in (np.nan, np.inf):
        with pytest.raises(DecodeError, match="finite"):
            read_model(write_model(weights | {"b": np.float32(bad)}), like)


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\x91\xc0", b"\x92\xcb" + bytes(16), b"\x91"])
def test_terms_that_are_none_are_refused(raw):
    with pytest.raises(DecodeError, match="terms"):
        RoundTerms.from_bytes(raw)


def test_a_roster_lists_the_jobs_clients_and_no_others():
    job = job_from_table(TABLE | {"data": {"name": "hospitals", "clients": 4}})
    with pytest.raises(ConfigurationError, match=r"client 4.*data\.clients is 4"):
        DistantClients(job, run=bytes(16), identity=COORDINATOR, roster=ROSTER)
    job = job_from_table(TABLE | {"data": {"name": "hospitals", "clients": 6}})
    with pytest.raises(ConfigurationError, match="client 5 is not on the roster"):
        DistantClients(job, run=bytes(16), identity=COORDINATOR, roster=ROSTER)


def test_a_run_ends_when_its_roster_expires_and_goes_on_under_another(tmp_path, monkeypatch):
    """Nobody trains for rounds in which nobody would be let in."""
    end = datetime(2030, 1, 1, tzinfo=UTC)
    table, rounds = TABLE | {"threat": {"corrupt": 0.2, "dropout": 0.2}}, []
    clients = distant(table, roster=Roster(ROSTER.identities, expires=end))

    def observed(row):
        rounds.append(row.round)
        monkeypatch.setattr("privfl.roster._now", lambda: end)

    monkeypatch.setattr("privfl.roster._now", lambda: end - timedelta(seconds=1))
    with pytest.raises(ConfigurationError, match="the roster expired at 2030-01-01"):
        run_with(tmp_path, clients, table=table, out=tmp_path / "out", observe=observed)
    assert rounds == [1]
    with pytest.raises(ConfigurationError, match="the roster expired at 2030-01-01"):
        distant(table, roster=clients.roster)
    resumed = FederatedRun.resume(tmp_path / "out", identity=COORDINATOR, elsewhere=distant(table))
    assert resumed.done == 1


def test_data_of_ones_own_need_a_public_weight_and_stay_where_they_are(tmp_path, monkeypatch):
    (tmp_path / "own_ward.py").write_text(
        "import numpy as np\n"
        "def load_test():\n    return np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])\n"
        "def load_client(client):\n    raise RuntimeError('the coordinator asked for a client')\n"
        "def mine(client):\n    return np.full((2, 3), client, np.float32), np.array([0, 1])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    table = TABLE | {"data": {"name": "own_ward:load_client", "clients": CLIENTS}, "model": "mlp"}
    with pytest.raises(ConfigurationError, match=r"strategy\.weight_max"):
        held_out_of(job_from_table(table))
    job = job_from_table(table | {"strategy": {"weight_max": 10}})
    held = held_out_of(job)
    assert (held.facts.classes, held.facts.feature_shape, held.clients) == (2, (3,), ())
    own = examples_of(job, held.facts, 3, own="own_ward:mine")
    assert (own.features == 3).all()
    with pytest.raises(ConfigurationError, match="--data"):
        examples_of(job, held.facts, 3, own=None)
