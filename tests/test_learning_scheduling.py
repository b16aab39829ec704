"""Rounds that all begin together: when they can, who is in them, until when they last, and who pays for them."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_stubs import FOREVER_S, Weightless, finished, job_of, model

from privfl.evidence import read_evidence
from privfl.learning.fleet import Fleet
from privfl.learning.rounds import FederatedRun
from privfl.learning.scheduling import DROP_PHASES, PATIENCE_S, PAUSE_S, SETTLES_S, merged, training_seed
from privfl.learning.sessions import Sessions
from privfl.learning.synchronous import Synchronous
from privfl.learning.traffic import SessionTraffic
from privfl.session import Phase

EXAMPLES = (10, 20, 30, 40)
"""Of four clients; each computes one gradient a second, and messages take no time."""
SECOND = {"examples_per_s": 1.0, "latency_s": 0.0}


def there(*clients, online=None, **qualities):
    return {"clients": list(clients)} | ({} if online is None else {"online": list(online)}) | qualities


def timed(*apart, examples=EXAMPLES, fleet=(), traffic=None, **changes):
    """A scheduler of four clients, and its fleet."""
    changes = {"suite": "plain", "cohort": {"minimum": 2}, "data": {"clients": len(examples)}} | changes
    job = job_of(fleet=SECOND | dict(fleet) | ({"client": list(apart)} if apart else {}), **changes)
    fleet = Fleet(job.timed, clients=job.data.clients, seed=job.seed)
    return Synchronous(
        job, fleet=fleet, examples=examples, traffic=traffic or Weightless(job.cohort.minimum or 2)
    ), fleet


def planned(scheduler, rounds, *, released=True):
    """Plan so many rounds, and let each be over."""
    plans = []
    for number in range(1, rounds + 1):
        plans.append(scheduler.plan(number, model(number - 1), None))
        scheduler.finish(plans[-1], released=released)
    return plans


# Without a clock


def test_without_a_fleet_no_time_passes_and_only_a_script_keeps_anybody_away():
    drop = [
        {"round": 2, "clients": [0], "phase": "AdvertiseKeys"},
        {"round": 2, "clients": [1]},
        {"round": 2, "clients": [3], "phase": "Unmask"},
    ]
    job = job_of(suite="plain", data={"clients": 4}, failures={"drop": drop})
    scheduler = Synchronous(job, fleet=None, examples=EXAMPLES, traffic=Weightless())
    first, second = planned(scheduler, 2, released=False)
    assert [(plan.began_s, plan.ends_s) for plan in (first, second)] == [(0.0, 0.0)] * 2
    assert [plan.because for plan in (first, second)] == [{}, dict.fromkeys((0, 1, 3), "silent")]
    assert [set(plan.assignments) for plan in (first, second)] == [{0, 1, 2, 3}, {2, 3}]  # 3 falls silent afterwards
    assert second.gone == {0, 1}
    assert second.cohort == (0, 1, 2, 3)
    assert scheduler.state() == {"clock_s": 0.0, "fleet": None}


def test_all_train_the_current_model_at_the_rate_of_the_round_each_with_batches_of_its_own():
    schedule = {"kind": "step", "every": 1, "factor": 0.5}
    job = job_of(suite="plain", data={"clients": 4}, strategy={"learning_rate": 0.8, "schedule": schedule})
    scheduler = Synchronous(job, fleet=None, examples=EXAMPLES, traffic=Weightless())
    plans = planned(scheduler, 3)
    for number, plan in enumerate(plans, 1):
        assert {one.model.version for one in plan.assignments.values()} == {number - 1}
        assert {one.training.learning_rate for one in plan.assignments.values()} == {0.8 / 2 ** (number - 1)}
        assert plan.versions is None
        for client, one in plan.assignments.items():
            assert one.seed == training_seed(job, number, client)
            assert 0 <= one.seed < 2**63
    assert len({one.seed for plan in plans for one in plan.assignments.values()}) == 12


@given(st.lists(st.dictionaries(st.sampled_from(DROP_PHASES), st.frozensets(st.integers(0, 5))), max_size=3))
def test_whoever_is_lost_twice_is_lost_in_the_earlier_phase(drops):
    joined = merged(*drops)
    assert sorted(client for clients in joined.values() for client in clients) == sorted(
        {client for one in drops for clients in one.values() for client in clients}
    )
    for phase, clients in joined.items():
        for client in clients:
            named = {its for one in drops for its, lost in one.items() if client in lost}
            assert phase is min(named, key=DROP_PHASES.index)


# Until when a round lasts


def test_a_round_lasts_until_its_slowest_has_uploaded_and_the_next_begins_then():
    scheduler, _ = timed(there(1, slowdown=3.0))
    assert [(plan.began_s, plan.ends_s) for plan in planned(scheduler, 2)] == [(0.0, 60.0), (60.0, 120.0)]


def test_uploads_close_at_the_deadline_and_who_is_late_does_not_train():
    scheduler, _ = timed(cohort={"deadline_s": 25.0})
    for plan, began_s in zip(planned(scheduler, 2), (0.0, 25.0), strict=True):
        assert (plan.began_s, plan.ends_s) == (began_s, began_s + 25.0)
        assert plan.drops == {Phase.MASKED_INPUT: {2, 3}}
        assert plan.because == {2: "late", 3: "late"}
        assert set(plan.assignments) == {0, 1}
        assert plan.computed == {0: 10, 1: 20, 2: 25, 3: 25}


def test_a_round_goes_on_when_as_many_have_uploaded_as_were_wanted():
    scheduler, _ = timed(there(0, slowdown=10.0), cohort={"size": 2, "over_selection": 1.0})
    (plan,) = planned(scheduler, 1)
    assert plan.cohort == (0, 1, 2, 3)
    assert (plan.ends_s, plan.because, set(plan.assignments)) == (30.0, {0: "late", 3: "late"}, {1, 2})


def test_whoever_is_away_when_invited_or_leaves_is_told_apart_and_does_not_train():
    apart = there(0, online=(5.0, FOREVER_S)), there(1, online=(0.0, 15.0)), there(2, online=(0.0, 30.0))
    scheduler, _ = timed(*apart)
    (plan,) = planned(scheduler, 1)
    assert plan.because == {0: "offline", 1: "went offline"}  # 2 had uploaded when it left
    assert plan.drops == {Phase.ADVERTISE_KEYS: {0}, Phase.MASKED_INPUT: {1}}
    assert set(plan.assignments) == {2, 3}


class Closing(Weightless):
    """After the upload, clients are asked once, and answer with 100 bytes."""

    def closing_bytes(self, cohort):
        return 100

    def closing_round_trips(self, cohort):
        return 1


def test_whoever_leaves_before_the_sum_is_open_has_trained_and_uploaded():
    scheduler, _ = timed(
        there(0, online=(0.0, 40.5)), fleet={"latency_s": 0.4, "uplink_mbit_s": 0.01}, traffic=Closing()
    )
    (plan,) = planned(scheduler, 1)
    # The last has uploaded after 40 s and two messages; an answer takes two more, and 0.08 s for its bytes.
    assert plan.drops == {Phase.UNMASK: {0}}
    assert plan.because == {0: "went offline"}
    assert set(plan.assignments) == {0, 1, 2, 3}
    assert plan.ends_s == pytest.approx(40.8 + 0.88)


def test_a_script_and_the_fleet_both_count_and_nobody_waits_for_the_script():
    drop = [{"round": 1, "clients": [3], "phase": "ShareKeys"}, {"round": 1, "clients": [0, 1], "phase": "Unmask"}]
    scheduler, _ = timed(there(1, online=(0.0, 15.0)), failures={"drop": drop})
    (plan,) = planned(scheduler, 1)
    assert plan.drops == {Phase.SHARE_KEYS: {3}, Phase.MASKED_INPUT: {1}, Phase.UNMASK: {0}}
    assert plan.because == {0: "silent", 1: "went offline", 3: "silent"}
    assert (plan.ends_s, set(plan.assignments)) == (30.0, {0, 2})


@pytest.mark.parametrize(("work", "ends_s"), [("whole", 80.0), ("steps", 40.0), ("batches", 40.0)])
def test_who_is_asked_for_less_work_is_timed_and_trains_accordingly(work, ends_s):
    scheduler, fleet = timed(there(3, slowdown=2.0), fleet={"work": work}, strategy={"batch_size": 10})
    (plan,) = planned(scheduler, 1)
    slow, quick = plan.assignments[3].training, plan.assignments[2].training
    assert plan.ends_s == ends_s
    assert (quick.steps, quick.batch_size) == (None, 10)
    assert (slow.steps, slow.batch_size) == {"whole": (None, 10), "steps": (2, 10), "batches": (4, 5)}[work]
    assert fleet.training_s(3, slow.examples_seen(40)) == ends_s


# When it can begin


def test_a_round_waits_for_enough_clients_to_check_in_and_invites_those():
    apart = there(1, online=(100.0, FOREVER_S)), there(2, online=(50.0, 80.0, 120.0, FOREVER_S)), there(3, online=())
    scheduler, _ = timed(*apart, cohort={"sampling": "available", "minimum": 3}, threat={"dropout": 0.0})
    first, second = planned(scheduler, 2)
    assert (first.began_s, first.cohort, first.ends_s) == (120.0, (0, 1, 2), 150.0)
    assert second.began_s == 150.0


@pytest.mark.parametrize(
    ("comes_s", "began_s", "cohort"),
    [(100.0, 100.0, (0, 1, 2, 3)), (SETTLES_S + 1, SETTLES_S, (0, 1, 2)), (0.0, 0.0, (0, 1, 2, 3))],
)
def test_a_round_waits_a_while_for_one_more_than_a_sum_may_be_over(comes_s, began_s, cohort):
    """Three are the fewest and one in four may drop out: with three, the first that is lost would cost the round."""
    scheduler, _ = timed(
        there(3, online=(comes_s, FOREVER_S)),
        cohort={"sampling": "available", "minimum": 3},
        threat={"dropout": 0.25},
    )
    (plan,) = planned(scheduler, 1)
    assert (plan.began_s, plan.cohort) == (began_s, cohort)


def test_other_cohorts_are_invited_at_once_whoever_is_there():
    scheduler, _ = timed(there(0, 1, 2, online=(100.0, FOREVER_S)), cohort={"minimum": 3})
    (plan,) = planned(scheduler, 1)
    assert (plan.began_s, plan.cohort) == (0.0, (0, 1, 2, 3))
    assert plan.because == dict.fromkeys((0, 1, 2), "offline")


def test_where_too_few_will_come_the_server_gives_up_after_a_fortnight():
    scheduler, _ = timed(there(0, 1, 2, online=()), cohort={"sampling": "available", "minimum": 3})
    (plan,) = planned(scheduler, 1)
    assert (plan.began_s, plan.ends_s, plan.cohort) == (PATIENCE_S, PATIENCE_S, (3,))
    assert plan.assignments == {}


SCRIPTS = st.lists(st.integers(0, 60), unique=True, min_size=2, max_size=6).map(
    lambda moments: [float(moment) for moment in sorted(moments)[: len(moments) // 2 * 2]]
)


@given(st.lists(SCRIPTS, min_size=4, max_size=4), st.integers(2, 4), st.integers(0, 30))
def test_it_begins_as_soon_as_enough_are_there_and_not_before(scripts, fewest, clock_s):
    apart = [there(client, online=moments) for client, moments in enumerate(scripts)]
    scheduler, fleet = timed(*apart, cohort={"sampling": "available", "minimum": fewest}, threat={"dropout": 0.0})
    scheduler.restore(scheduler.state() | {"clock_s": float(clock_s)}, {})
    plan = scheduler.plan(1, model(), None)
    enough = [
        at_s
        for at_s in range(clock_s, 62)  # scripts change on the second
        if sum(fleet.online(client, float(at_s)) for client in range(4)) >= fewest
    ]
    assert plan.began_s == (enough[0] if enough else clock_s + PATIENCE_S)
    assert plan.cohort == tuple(client for client in range(4) if fleet.online(client, plan.began_s))


def test_after_a_round_that_came_to_nothing_there_is_a_pause():
    scheduler, _ = timed()
    came_to_nothing = scheduler.plan(1, model(), None)
    scheduler.finish(came_to_nothing, released=False)
    next_one = scheduler.plan(2, model(), None)
    assert next_one.began_s == came_to_nothing.ends_s + PAUSE_S
    scheduler.finish(next_one, released=True)
    assert scheduler.plan(3, model(1), None).began_s == next_one.ends_s


# Batteries


def test_a_battery_pays_for_what_was_computed_and_empty_ones_are_waited_for():
    scheduler, fleet = timed(
        fleet={"battery_examples": 45, "charge_examples_per_s": 0.5},
        cohort={"sampling": "available", "minimum": 4, "deadline_s": 35.0},
    )
    first, second = planned(scheduler, 2)
    assert first.computed == {0: 10, 1: 20, 2: 30, 3: 35}  # late, with 35 of 40 computed
    # Client 3 is left with 10 at 35 s, and needs 40; it is asked every minute, from 35 s on.
    assert second.began_s == 35.0 + PAUSE_S
    assert fleet.battery(3, second.began_s + 35.0) == pytest.approx(10 + 60 / 2 - 35)
    assert fleet.battery(0, second.began_s + 10.0) == 35.0  # full again, and ten less


def test_without_checking_in_an_empty_battery_is_found_out_while_it_trains():
    scheduler, _ = timed(fleet={"battery_examples": 45})
    first, second = planned(scheduler, 2)
    assert first.because == {}
    assert second.because == {2: "battery empty", 3: "battery empty"}
    assert second.computed == {0: 10, 1: 20, 2: 15, 3: 5}
    assert set(second.assignments) == {0, 1}


# Cohorts that differ in size


def test_a_small_cohort_takes_its_time_as_well():
    """What a session of those who were drawn takes counts, not what one of the largest cohort would."""
    job = job_of(
        rounds=6,
        data={"clients": 20},
        threat={"corrupt": 0.2},
        cohort={"sampling": "poisson", "probability": 0.25},
        fleet=SECOND | {"client": [there(*range(10), slowdown=10.0)]},
        audit={"probes": 0},
    )
    rows = list(FederatedRun(job))
    assert job.fewest_contributors(20) == 6
    assert min(row.cohort for row in rows if not row.aborted) < 6
    for row in rows:
        assert row.aborted or row.simulated_seconds > 20


def test_nobody_trains_for_a_session_that_cannot_be_held():
    scheduler, fleet = timed(
        there(0, 1, online=(0.0, 45.0)),
        cohort={"sampling": "available", "minimum": 3},
        fleet={"battery_examples": 1000},
    )
    first, _ = planned(scheduler, 2)
    assert (first.cohort, set(first.assignments)) == ((0, 1, 2, 3), {0, 1, 2, 3})
    third = scheduler.plan(3, model(2), None)
    assert (third.cohort, third.assignments, third.began_s) == ((2, 3), {}, third.ends_s)
    scheduler.finish(third, released=False)
    assert fleet.battery(3, 1e6) == 1000 - 40 * 2


def test_a_cohort_that_the_threat_model_does_not_fit_costs_a_round_or_an_evaluation_and_not_the_run():
    """Six withstand it, and four do not; how many are there is nobody's mistake. Two are away from 100 s on."""
    job = job_of(
        rounds=4,
        data={"clients": 6},
        threat={"corrupt": 0.1, "dropout": 0.5},
        cohort={"sampling": "available", "minimum": 3},
        evaluation={"federated": True},
        fleet=SECOND | {"client": [there(0, 1, online=(0.0, 100.0, 900.0, FOREVER_S))]},
        audit={"probes": 0},
    )
    rows = list(FederatedRun(job))
    assert [(row.cohort, row.contributors) for row in rows] == [(6, 6), (6, 4), (4, 0), (6, 6)]
    assert [row.evaluated_clients for row in rows] == [6, None, None, 6]
    assert "withstand" in rows[1].evaluation_aborted_because
    assert "withstand" in rows[2].aborted_because


# What a resumed run finds


@pytest.mark.parametrize("after", [1, 2])
def test_a_scheduler_goes_on_from_its_state(after):
    def made():
        return timed(
            there(3, online=(0.0, 100.0, 130.0, FOREVER_S)),
            fleet={"battery_examples": 70, "charge_examples_per_s": 0.25},
            cohort={"sampling": "available", "minimum": 2, "deadline_s": 38.0},
        )

    whole, whole_fleet = made()
    plans = planned(whole, 4)
    first, _ = made()
    planned(first, after)
    second, fleet = made()
    second.restore(json.loads(json.dumps(first.state())), first.models())
    for number, plan in enumerate(plans[after:], after + 1):
        again = second.plan(number, model(number - 1), None)
        for told in ("cohort", "because", "computed", "drops", "began_s", "ends_s"):
            assert getattr(again, told) == getattr(plan, told)
        assert {c: one.seed for c, one in again.assignments.items()} == {
            c: one.seed for c, one in plan.assignments.items()
        }
        second.finish(again, released=True)
    assert fleet.state() == whole_fleet.state()


# What messages weigh


@pytest.mark.parametrize("suite_name", ["plain", "masking", "kahe"])
def test_traffic_is_what_clients_send(suite_name, tmp_path):
    """Against the messages of a session that was held."""
    job = job_of(suite=suite_name, rounds=1, data={"clients": 5}, audit={"probes": 0})
    run = finished(FederatedRun(job, out=tmp_path / "run"))
    (session,) = read_evidence(tmp_path / "run" / "evidence.jsonl").rounds
    traffic = SessionTraffic(Sessions(job, run.averaging.vector, context=bytes(32)), run.parameters)
    cohort = session.params.cohort
    before, uploads = {"AdvertiseKeys", "ShareKeys"}, {"MaskedInput", "Upload"}
    after = {message.phase for message in session.messages if message.role == "client"} - before - uploads

    def heaviest(phases):
        return max(sum(one.size_bytes for one in session.messages if one.client == client and one.phase in phases)
                   for client in cohort)  # fmt: skip

    assert traffic.upload_bytes(cohort) == heaviest(uploads) > 4 * run.parameters / 2
    # Of messages whose length depends on who is who, the longest counts.
    assert heaviest(before) <= traffic.key_bytes(cohort) <= 1.1 * heaviest(before)
    assert heaviest(after) <= traffic.closing_bytes(cohort)
    assert (traffic.closing_bytes(cohort) > 0) == (traffic.closing_round_trips(cohort) > 0) == (suite_name != "plain")
    assert traffic.closing_round_trips(cohort) == len(after)
    assert traffic.model_bytes() == 4 * run.parameters
    assert traffic.upload_bytes(range(3)) <= traffic.upload_bytes(range(5))


# Guarantee 5 of FederatedRun

UNEVEN = {"clients": 8, "partition": "quantity", "alpha": 1.0}
PRIVATE = {
    "none": {},
    "client-central": {"mode": "client-central", "noise_multiplier": 4.0, "delta": 1e-5, "clip": 0.5},
    "client-distributed": {"mode": "client-distributed", "noise_multiplier": 4.0, "delta": 1e-5, "clip": 0.5},
    "example": {"mode": "example", "noise_multiplier": 8.0, "delta": 1e-5, "clip": 0.5},
}


@pytest.mark.parametrize("mode", PRIVATE)
@pytest.mark.parametrize("bound", ["deadline_s", "battery_examples"])
def test_guarantee_5_who_is_late_or_empty_does_not_follow_from_what_a_private_client_holds(mode, bound):
    """All are equally fast, and some hold many more examples than the average, of which there are 56 or 57."""
    changes = {"fleet": {"examples_per_s": 1.0}}
    if bound == "deadline_s":
        changes["cohort"] = {"deadline_s": 70.0}
    else:
        changes["fleet"]["battery_examples"] = 65
    job = job_of(rounds=1, data=UNEVEN, privacy=PRIVATE[mode], **changes)
    run = FederatedRun(job)
    held = [len(examples) for examples in run.data.clients]
    assert min(held) < 30
    assert max(held) > 100
    (row,) = list(run)
    lost = sorted(client for clients in row.dropped_because.values() for client in clients)
    if mode != "none":
        assert (lost, row.contributors) == ([], 8)
    else:
        limit = 70 if bound == "deadline_s" else 65
        assert lost == [client for client, count in enumerate(held) if count > limit]


@pytest.mark.parametrize("mode", ["none", "client-central"])
def test_guarantee_5_who_shares_a_buffer_does_not_follow_from_what_a_private_client_holds(mode, tmp_path):
    def cohorts(partition):
        strategy = {"name": "fedbuff", "buffer": 3, "concurrency": 8}
        job = job_of(
            data=UNEVEN | partition,
            strategy=strategy,
            privacy=PRIVATE[mode],
            fleet={"examples_per_s": 1.0, "speed_spread": 1.0},
            audit={"probes": 0},
        )
        out = tmp_path / partition["partition"]
        finished(FederatedRun(job, out=out))
        return [session.params.cohort for session in read_evidence(out / "evidence.jsonl").rounds]

    uneven, even = cohorts({"partition": "quantity"}), cohorts({"partition": "iid", "alpha": 0.5})
    assert (uneven == even) == (mode != "none")


def test_a_metrics_line_tells_the_clock_and_why_clients_are_not_in_the_sum():
    job = job_of(
        rounds=2,
        data={"clients": 6},
        fleet={"examples_per_s": 10.0, "client": [{"clients": [5], "slowdown": 100.0}]},
        cohort={"deadline_s": 30.0},
        threat={"dropout": 0.3},
    )
    run = finished(FederatedRun(job))
    for row in run.metrics:
        assert row.dropped_because == {"late": [5]}
        assert (row.cohort, row.contributors, row.dropped) == (6, 5, 1)
    first, second = run.metrics
    assert 30.0 < first.simulated_seconds < 31.0  # and then the sum is opened
    assert first.simulated_clock == first.simulated_seconds
    assert second.simulated_clock == pytest.approx(first.simulated_clock + second.simulated_seconds)
    assert math.isfinite(second.simulated_clock)
    assert np.isfinite(run.weights["1.weight"]).all()
