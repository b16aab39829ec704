"""The simulated fleet: who trains how fast and is there when, and what that makes of a round. No time passes here."""

import json
import math
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from privfl.errors import ConfigurationError
from privfl.learning.fleet import Fleet
from privfl.learning.fleet_job import DAY_S, FleetClients, FleetJob, Work
from privfl.learning.tables import read_table, write_table
from privfl.learning.timing import Lost, time_closing, time_uploads
from privfl.learning.trainer import LocalTraining
from privfl.session import Phase

HOUR_S = 3600.0
SIZES = {"download_bytes": 2_000_000, "key_bytes": 1_000, "upload_bytes": 500_000}
"""Of a round: 2 s down, 1 ms and half a second up, over links of 8 Mbit/s."""
EVEN = FleetJob(examples_per_s=100.0, uplink_mbit_s=8.0, downlink_mbit_s=8.0, latency_s=0.0)
"""A megabyte a second either way, and messages that take no time but for their bytes."""


def fleet(job=EVEN, clients=4, seed=0, **changes):
    return Fleet(replace(job, **changes), clients=clients, seed=seed)


def apart(*clients, **qualities):
    return FleetClients(clients=clients, **qualities)


def uploads(of, *, start_s=0.0, cohort=None, seen=300, **arguments):
    """Time a round in which everyone computes as many gradients, unless `seen` says otherwise."""
    cohort = tuple(range(len(of.devices))) if cohort is None else cohort
    seen = seen if isinstance(seen, dict) else dict.fromkeys(cohort, seen)
    return time_uploads(of, start_s=start_s, cohort=cohort, examples_seen=seen, **(SIZES | arguments))


# What a job may say.


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("examples_per_s = 0.0", "fleet.examples_per_s is 0.0: 0.001 to 1e+09 works, such as 200.0"),
        ("examples_per_s = nan", "fleet.examples_per_s is nan"),
        ("speed_spread = -0.1", "fleet.speed_spread is -0.1: 0 to 5 works"),
        ("slow_fraction = 1.1", "fleet.slow_fraction is 1.1: 0 to 1 works"),
        ("slow_factor = 0.5", "fleet.slow_factor is 0.5: 1 to 1e+06 works"),
        ("uplink_mbit_s = 0", "fleet.uplink_mbit_s is 0.0"),
        ("downlink_mbit_s = inf", "fleet.downlink_mbit_s is inf"),
        ("link_spread = 6", "fleet.link_spread is 6.0: 0 to 5 works"),
        ("latency_s = -1", "fleet.latency_s is -1.0: 0 to 3600 works"),
        ("online_s = 60", "fleet.offline_s is missing though fleet.online_s is set"),
        ("offline_s = 60", "fleet.online_s is missing though fleet.offline_s is set"),
        ("online_s = 0\noffline_s = 60", "fleet.online_s is 0.0: 1 to 1e+09 works, such as 600.0"),
        ("online_s = 60\noffline_s = 0", "fleet.offline_s is 0.0: 1 to 1e+09 works, such as 60.0"),
        ("available_hours = 25", "fleet.available_hours is 25.0: 0.01 to 24 works, such as 8.0"),
        ("battery_examples = 0", "fleet.battery_examples is 0: 1 to 1e+12 works, such as 10000"),
        ("battery_examples = 1\ncharge_examples_per_s = -1", "fleet.charge_examples_per_s is -1.0: 0 to 1e+09 works"),
        ("charge_examples_per_s = 1", "fleet.charge_examples_per_s is set though no battery ever empties"),
        ("work = 'less'", "fleet.work is 'less': 'whole' or 'steps' or 'batches' works"),
        ("[[client]]", "fleet.client.clients is missing"),
        ("[[client]]\nclients = []", "fleet.client.clients is empty"),
        ("[[client]]\nclients = [0]\nslowdown = 0", "fleet.client.slowdown is 0.0: 1e-06 to 1e+06 works"),
        ("[[client]]\nclients = [0]\nlink_slowdown = inf", "fleet.client.link_slowdown is inf"),
        ("[[client]]\nclients = [0]\nonline = [0]", "fleet.client.online is [0.0]: pairs of seconds, ascending"),
        ("[[client]]\nclients = [0]\nonline = [5, 5]", "fleet.client.online is [5.0, 5.0]"),
        ("[[client]]\nclients = [0]\nonline = [-1, 5]", "fleet.client.online is [-1.0, 5.0]"),
        ("[[client]]\nclients = [0]\nonline = [0, nan]", "fleet.client.online is [0.0, nan]"),
        ("[[client]]\nclients = [0, 2]\n[[client]]\nclients = [2]", "fleet.client.clients names [2] more than once"),
    ],
)
def test_a_wrong_fleet_is_one_sentence_that_names_the_key_and_what_works(text, named):
    with pytest.raises(ConfigurationError) as caught:
        read_table(FleetJob, tomllib.loads(text), "fleet.")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_clients_that_are_not_there_are_refused():
    with pytest.raises(ConfigurationError, match=r"fleet.client.clients names \[4, -1\]: 0 to 3 works"):
        fleet(client=(apart(0, 4), apart(-1)))


@pytest.mark.parametrize(
    "job",
    [
        FleetJob(),
        FleetJob(online_s=600.0, offline_s=60.0, battery_examples=100, charge_examples_per_s=0.5, work=Work.BATCHES),
        FleetJob(available_hours=8.0, client=(apart(0, 1, slowdown=3.0), apart(2, online=(0.0, 5.0, 9.0, math.inf)))),
        FleetJob(client=(apart(0, online=()),)),
    ],
)
def test_a_fleet_that_is_written_down_reads_back_as_it_was(job):
    assert read_table(FleetJob, tomllib.loads(write_table(job)), "fleet.") == job


@pytest.mark.parametrize(
    ("job", "loses"),
    [
        (FleetJob(speed_spread=1.0, slow_fraction=0.5, client=(apart(0, slowdown=9.0),)), False),
        (FleetJob(available_hours=24.0), False),
        (FleetJob(available_hours=23.0), True),
        (FleetJob(online_s=1.0, offline_s=1.0), True),
        (FleetJob(battery_examples=1), True),
        (FleetJob(client=(apart(0, online=()),)), True),
    ],
)
def test_a_fleet_knows_whether_it_can_lose_anybody(job, loses):
    assert job.loses_clients is loses


def test_importing_the_fleet_imports_no_torch():
    code = "import privfl.learning.timing, privfl.learning.fleet_job, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# What the devices are.


def test_guarantee_1_of_a_fleet_the_seed_decides_and_newcomers_change_nobody():
    job = FleetJob(speed_spread=0.5, link_spread=0.5, online_s=600.0, offline_s=600.0, available_hours=12.0)
    small, again, large = (Fleet(job, clients=count, seed=3) for count in (5, 5, 9))
    other = Fleet(job, clients=5, seed=4)
    assert small.devices == again.devices == large.devices[:5]
    assert all(
        mine.examples_per_s != its.examples_per_s for mine, its in zip(small.devices, other.devices, strict=True)
    )
    moments = np.linspace(0, 3 * DAY_S, 300)
    seen = [
        [[which.online(client, at_s) for at_s in moments] for client in range(5)] for which in (small, large, other)
    ]
    assert seen[0] == seen[1] != seen[2]
    assert len({tuple(row) for row in seen[0]}) == 5


def test_every_quality_is_drawn_by_itself():
    plain, quick = fleet(link_spread=0.5), fleet(link_spread=0.5, speed_spread=0.5)
    assert [one.uplink_bytes_per_s for one in plain.devices] == [one.uplink_bytes_per_s for one in quick.devices]
    assert {one.examples_per_s for one in plain.devices} == {100.0}
    ratios = {round(one.uplink_bytes_per_s / one.downlink_bytes_per_s, 9) for one in plain.devices}
    assert ratios == {1.0}  # both directions vary together
    assert len({one.uplink_bytes_per_s for one in plain.devices}) == 4


def test_speeds_and_links_spread_as_told():
    many = fleet(clients=4000, speed_spread=0.5, link_spread=0.25)
    speeds = np.log([one.examples_per_s / 100 for one in many.devices])
    links = np.log([one.uplink_bytes_per_s / 1e6 for one in many.devices])
    # The seed is fixed: five standard errors are what any seed but one in a million would keep.
    assert abs(np.mean(speeds)) < 5 * 0.5 / math.sqrt(4000)
    assert abs(np.std(speeds) / 0.5 - 1) < 5 / math.sqrt(8000)
    assert abs(np.std(links) / 0.25 - 1) < 5 / math.sqrt(8000)
    assert abs(np.corrcoef(speeds, links)[0, 1]) < 5 / math.sqrt(4000)


@pytest.mark.parametrize(("fraction", "clients", "slow"), [(0.29, 100, 29), (0.3, 10, 3), (0.26, 10, 3), (1.0, 7, 7)])
def test_that_share_of_the_clients_is_slow(fraction, clients, slow):
    speeds = [one.examples_per_s for one in fleet(clients=clients, slow_fraction=fraction, slow_factor=4.0).devices]
    assert speeds.count(25.0) == slow
    assert speeds.count(100.0) == clients - slow


def test_clients_told_apart_are_as_much_slower_as_told():
    first, second = fleet(clients=2, client=(apart(1, slowdown=5.0, link_slowdown=2.0),)).devices
    assert (first.examples_per_s, first.uplink_bytes_per_s, first.downlink_bytes_per_s) == (100.0, 1e6, 1e6)
    assert (second.examples_per_s, second.uplink_bytes_per_s, second.downlink_bytes_per_s) == (20.0, 5e5, 5e5)
    assert (first.number, second.number, second.latency_s) == (0, 1, 0.0)


# When they are there.


@given(
    st.lists(st.floats(0, 4 * DAY_S), min_size=2, max_size=12),
    st.randoms(use_true_random=False),
    st.sampled_from([{"online_s": 60.0, "offline_s": 90.0}, {"available_hours": 10.0}]),
)
def test_guarantee_2_of_a_fleet_answers_do_not_depend_on_the_order_of_questions(moments, random, kind):
    def answers(of, order):
        return {
            (client, at_s): (of.online(client, at_s), of.online_from(client, at_s), of.offline_from(client, at_s))
            for client, at_s in order
        }

    order = [(client, at_s) for client in (0, 1) for at_s in moments]
    shuffled = random.sample(order, len(order))
    assert answers(fleet(**kind), order) == answers(fleet(**kind), shuffled)


@given(
    st.floats(0, 40 * DAY_S),
    st.integers(0, 3),
    st.sampled_from([None, 2.0, 12.0, 23.9]),
    st.sampled_from([None, (30.0, 600.0), (600.0, 30.0), (9000.0, 9000.0)]),
)
def test_the_next_coming_or_going_is_the_first(at_s, client, hours, stretches):
    online_s, offline_s = stretches or (None, None)
    there = fleet(available_hours=hours, online_s=online_s, offline_s=offline_s)
    comes_s, goes_s = there.online_from(client, at_s), there.offline_from(client, at_s)
    now = there.online(client, at_s)
    assert (comes_s if now else goes_s) == at_s
    change_s = goes_s if now else comes_s
    if hours is None and stretches is None:
        assert now
        assert change_s == math.inf
        return
    assert at_s < change_s < math.inf
    assert there.online(client, change_s) is not now
    between = np.linspace(at_s, change_s, 9)[:-1]
    assert {there.online(client, moment) for moment in between} == {now}
    assert there.online(client, math.nextafter(change_s, 0)) is now


def test_stretches_are_as_long_as_told_and_have_been_going_on_for_ever():
    many = fleet(clients=2000, online_s=300.0, offline_s=100.0)
    for at_s in (0.0, 1000.0):  # five standard errors of 2000 coins of 3/4
        share = np.mean([many.online(client, at_s) for client in range(2000)])
        assert abs(share - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 2000)
    lengths, at_s = {True: [], False: []}, 0.0
    while len(lengths[False]) < 1500:  # several blocks of them
        now = many.online(0, at_s)
        until_s = many.offline_from(0, at_s) if now else many.online_from(0, at_s)
        lengths[now].append(until_s - at_s)
        at_s = until_s
    for now, mean_s in ((True, 300.0), (False, 100.0)):
        assert abs(np.mean(lengths[now]) / mean_s - 1) < 5 / math.sqrt(1500)
        assert abs(np.std(lengths[now]) / mean_s - 1) < 5 * math.sqrt(2 / 1500)  # of an exponential: as its mean
    assert len(set(lengths[True])) == len(lengths[True])


def test_hours_of_the_day_are_those_hours_of_every_day():
    daily = fleet(clients=40, available_hours=6.0)
    for client in range(40):
        comes_s = daily.online_from(client, daily.offline_from(client, 0.0))
        goes_s = daily.offline_from(client, comes_s)
        assert goes_s - comes_s == pytest.approx(6 * HOUR_S)
        assert daily.online_from(client, goes_s) - comes_s == pytest.approx(DAY_S)
    begins = {int(daily.online_from(client, daily.offline_from(client, 0.0)) % DAY_S // HOUR_S) for client in range(40)}
    assert len(begins) > 12


def test_hours_and_stretches_both_count():
    both = fleet(available_hours=12.0, online_s=600.0, offline_s=600.0)
    hours, stretches = fleet(available_hours=12.0), fleet(online_s=600.0, offline_s=600.0)
    for at_s in np.linspace(0, 2 * DAY_S, 400):
        assert both.online(1, at_s) == (hours.online(1, at_s) and stretches.online(1, at_s))


def test_a_script_replaces_what_is_drawn():
    there = fleet(
        available_hours=0.01,
        online_s=1.0,
        offline_s=1e9,
        client=(apart(0, online=(10.0, 20.0, 30.0, math.inf)), apart(1, online=())),
    )
    assert [at_s for at_s in (0, 9.9, 10, 19.9, 20, 29.9, 30, 1e15) if there.online(0, at_s)] == [10, 19.9, 30, 1e15]
    assert (there.online_from(0, 0.0), there.offline_from(0, 10.0), there.online_from(0, 25.0)) == (10.0, 20.0, 30.0)
    assert there.offline_from(0, 31.0) == math.inf
    assert (there.online_from(1, 0.0), there.offline_from(1, 5.0)) == (math.inf, 5.0)


# What they hold out for.


def test_a_battery_empties_with_training_and_recharges_when_it_is_over():
    tired = fleet(battery_examples=1000, charge_examples_per_s=10.0)
    assert tired.battery(0, 1e6) == 1000
    tired.spend(0, 600, 100.0)  # 6 s of training
    assert [tired.battery(0, at_s) for at_s in (100.0, 106.0, 116.0, 1e6)] == [400, 400, 500, 1000]
    assert tired.battery(1, 106.0) == 1000
    tired.spend(0, 9999, 116.0)  # trains for the 5 s that it lasts
    assert [tired.battery(0, at_s) for at_s in (116.0, 121.0, 122.0)] == [0, 0, 10]
    assert fleet().battery(0, 0.0) == math.inf
    flat = fleet(battery_examples=10)  # that nobody recharges
    flat.spend(0, 10, 0.0)
    assert flat.battery(0, 1e9) == 0


def test_guarantee_3_of_a_fleet_its_state_is_all_that_training_changed():
    job = replace(EVEN, battery_examples=1000, charge_examples_per_s=0.3, online_s=60.0, offline_s=60.0)
    ran, resumed = fleet(job), fleet(job)
    ran.spend(1, 777, 0.1)
    ran.spend(3, 50, 7.7)
    time_uploads(ran, start_s=3.0, cohort=(0, 1, 2, 3), examples_seen=dict.fromkeys(range(4), 900), **SIZES)
    resumed.restore(json.loads(json.dumps(ran.state())))
    assert resumed.state() == ran.state()
    for client in range(4):
        for at_s in (0.0, 9.0, 1e3):
            assert resumed.battery(client, at_s) == ran.battery(client, at_s)
    fresh = fleet(job)
    ran.restore(fresh.state())
    assert ran.battery(1, 0.1) == 1000


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"batteries": 3},
        {"batteries": {"0": 3}},
        {"batteries": {"0": [1.0]}},
        {"batteries": {"first": [1.0, 0.0]}},
        {"batteries": {"4": [1.0, 0.0]}},
        {"batteries": {"0": [1001.0, 0.0]}},
        {"batteries": {"0": [-1.0, 0.0]}},
        {"batteries": {"0": [math.nan, 0.0]}},
        {"batteries": {"0": [1.0, -1.0]}},
    ],
)
def test_a_state_that_is_not_the_fleets_is_refused_and_changes_nothing(state):
    tired = fleet(battery_examples=1000)
    tired.spend(0, 600, 0.0)
    with pytest.raises(ConfigurationError, match="batter"):
        tired.restore(state)
    assert tired.battery(0, 0.0) == 400


# How much they are asked to do.


@pytest.mark.parametrize("work", Work)
def test_typical_and_faster_clients_do_the_whole_work(work):
    training = LocalTraining(epochs=3, batch_size=8)
    quick = fleet(work=work, client=(apart(1, slowdown=0.5), apart(2, slowdown=2.0)))
    assert quick.work_of(0, training, 50) == quick.work_of(1, training, 50) == training
    assert (quick.work_of(2, training, 50) == training) is (work is Work.WHOLE)


def test_slower_clients_take_fewer_steps_or_smaller_batches():
    training = LocalTraining(epochs=2, batch_size=10)  # 100 examples: 20 steps
    fewer, smaller = (
        fleet(work=work, client=(apart(1, slowdown=4.0), apart(2, slowdown=1000.0)))
        for work in (Work.STEPS, Work.BATCHES)
    )
    assert fewer.work_of(1, training, 100) == replace(training, steps=5)
    assert fewer.work_of(2, training, 100) == replace(training, steps=1)
    assert fewer.work_of(1, replace(training, steps=8), 100) == replace(training, steps=2)
    assert smaller.work_of(1, training, 100) == replace(training, steps=20, batch_size=2)
    assert smaller.work_of(2, training, 100) == replace(training, steps=20, batch_size=1)
    assert smaller.work_of(1, replace(training, steps=8), 100) == replace(training, steps=8, batch_size=2)
    # Of 6 examples at 10 a step, there are no batches of more than 6.
    assert smaller.work_of(1, training, 6) == replace(training, steps=2, batch_size=1)


@given(
    st.floats(1, 50),
    st.integers(1, 200),
    st.integers(1, 5),
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(1, 30)),
    st.sampled_from([Work.STEPS, Work.BATCHES]),
)
def test_guarantee_1_of_work_a_slower_client_is_done_as_soon_as_a_typical_one(
    slowdown, examples, epochs, batch_size, steps, work
):
    pair = fleet(clients=2, work=work, client=(apart(1, slowdown=slowdown),))
    whole = LocalTraining(epochs=epochs, batch_size=batch_size, steps=steps)
    less = pair.work_of(1, whole, examples)
    typical_s = pair.training_s(0, whole.examples_seen(examples))
    least_s = pair.training_s(1, replace(less, batch_size=1).examples_seen(examples))
    uneven_s = pair.training_s(1, 0 if less.steps is None or work is Work.BATCHES else less.steps)
    one_step_s = pair.training_s(1, replace(whole, steps=1).examples_seen(examples))
    takes_s = pair.training_s(1, less.examples_seen(examples))
    assert takes_s <= max(typical_s + uneven_s, one_step_s if work is Work.STEPS else least_s) + 1e-6


# What a round takes.


def test_a_round_takes_the_model_down_the_training_and_the_upload_up():
    slow = fleet(clients=2, latency_s=0.25, client=(apart(1, slowdown=2.0, link_slowdown=4.0),))
    timing = uploads(slow, start_s=10.0)
    # 0.25 + 2 down, 3 training, 0.25 + 0.5 up; the other 0.25 + 8, 6, 0.25 + 2. Keys take 4 · 0.25 s meanwhile.
    assert timing.arrivals == pytest.approx({0: 16.0, 1: 26.5})
    assert timing.closed_s == pytest.approx(26.5)
    assert (dict(timing.drops), dict(timing.because), timing.computed) == ({}, {}, {0: 300, 1: 300})


def test_keys_are_exchanged_while_clients_train():
    even = fleet(clients=1, latency_s=0.25)
    short = {"seen": 1, "download_bytes": 0, "upload_bytes": 0}
    # Trained after 0.26 s; keys are through after four messages and a megabyte.
    assert uploads(even, key_bytes=1_000_000, **short).closed_s == pytest.approx(2.0 + 0.25)
    assert uploads(even, key_bytes=0, **short).closed_s == pytest.approx(0.26 + 0.25)


def test_who_is_offline_when_invited_never_answers_and_is_not_waited_for():
    timing = uploads(fleet(client=(apart(1, online=(1.0, math.inf)), apart(3, online=(0.0, 5.0)))), start_s=0.5)
    assert timing.drops == {Phase.ADVERTISE_KEYS: {1}, Phase.MASKED_INPUT: {3}}
    assert timing.because == {1: "offline", 3: "went offline"}
    assert timing.closed_s == pytest.approx(0.5 + 5.5)
    assert timing.computed == {0: 300, 2: 300, 3: 250}  # away at 5 s, with 2.5 s of its training done
    nobody = uploads(fleet(clients=3, client=(apart(0, 1, 2, online=()),)), start_s=7.0)
    assert (nobody.closed_s, nobody.drops) == (7.0, {Phase.ADVERTISE_KEYS: {0, 1, 2}})


def test_who_goes_offline_drops_out_of_the_phase_it_was_in():
    leaving = (
        apart(0, online=(0.0, 0.5)),  # keys take 1 s
        apart(1, online=(0.0, 1.5)),
        apart(2, online=(0.0, 5.4)),  # the upload is under way
        apart(3, online=(0.0, 5.5)),  # it has just arrived
    )
    timing = uploads(fleet(client=leaving), key_bytes=1_000_000)
    assert timing.drops == {Phase.SHARE_KEYS: {0}, Phase.MASKED_INPUT: {1, 2}}
    assert timing.because == dict.fromkeys((0, 1, 2), "went offline")
    assert timing.arrivals == {3: 5.5}
    assert timing.computed == {0: 0, 1: 0, 2: 300, 3: 300}


def test_a_lost_client_is_waited_for_until_it_is_lost_and_no_longer():
    slow = apart(0, slowdown=100.0, online=(0.0, 20.0))
    assert uploads(fleet(client=(slow,))).closed_s == 20.0


def test_who_has_less_battery_than_training_drops_out_when_it_is_empty():
    tired = fleet(clients=2, battery_examples=500, charge_examples_per_s=0.0)
    tired.spend(1, 250, 0.0)
    timing = uploads(tired, start_s=10.0, upload_bytes=0, seen={0: 500, 1: 300})
    assert timing.drops == {Phase.MASKED_INPUT: {1}}
    assert timing.because == {1: "battery empty"}
    assert timing.computed == {0: 500, 1: 250}
    assert uploads(tired, cohort=(1,), start_s=10.0).closed_s == pytest.approx(10 + 2 + 2.5)
    # Keys take no power: it is through with them before it gives up.
    assert uploads(tired, cohort=(1,), key_bytes=9_000_000).closed_s == 9.0
    assert tired.battery(1, 10.0) == 250  # who times a round spends nothing


def test_uploads_close_when_enough_have_arrived_and_the_rest_are_late():
    timing = uploads(fleet(clients=5, client=(apart(0, slowdown=3.0),)), goal=2)
    assert timing.arrivals == {1: 5.5, 2: 5.5}  # of four that arrive together, the smaller numbers
    assert timing.closed_s == 5.5
    assert timing.drops == {Phase.MASKED_INPUT: {0, 3, 4}}
    assert timing.because == dict.fromkeys((0, 3, 4), "late")
    assert timing.computed == {0: 116, 1: 300, 2: 300, 3: 300, 4: 300}  # 3.5 s at a third of the speed


def test_uploads_close_at_the_deadline():
    some = fleet(clients=3, client=(apart(0, slowdown=3.0), apart(1, slowdown=2.0, online=(0.0, 11.0))))
    timing = uploads(some, start_s=5.0, deadline_s=5.5)
    assert (timing.closed_s, timing.arrivals) == (10.5, {2: 10.5})
    assert timing.because == {0: "late", 1: "late"}  # whom the server would have lost at 11 s it never waited for
    assert uploads(some, start_s=5.0, deadline_s=6.5).because == {0: "late", 1: "went offline"}
    assert uploads(some, start_s=5.0, deadline_s=0.5).arrivals == {}


def test_whoever_is_gone_already_is_not_waited_for_and_has_no_reason():
    gone = {Phase.SHARE_KEYS: frozenset({0}), Phase.UNMASK: frozenset({1, 2, 9})}
    slow = fleet(clients=4, client=(apart(0, slowdown=100.0), apart(2, online=(0.0, 4.0))))
    timing = uploads(slow, already_gone=gone, seen=dict.fromkeys((1, 2, 3), 300))
    assert timing.closed_s == 5.5
    assert timing.arrivals == {1: 5.5, 3: 5.5}  # a client that falls silent afterwards has uploaded
    assert timing.drops == {Phase.SHARE_KEYS: {0}, Phase.MASKED_INPUT: {2}, Phase.UNMASK: {1}}
    assert timing.because == {2: "went offline"}


# Whatever the fleet.


FACTORS = st.sampled_from([0.5, 1.0, 1.0, 2.0, 10.0])
SCRIPTS = st.one_of(
    st.none(),
    st.none(),
    st.lists(st.integers(0, 60), unique=True, min_size=2, max_size=4)
    .filter(lambda moments: len(moments) % 2 == 0)
    .map(lambda moments: tuple(float(moment) for moment in sorted(moments))),
)


@st.composite
def rounds(draw, *, losses=True):
    """A fleet's job, and the arguments of one round of it."""
    count = draw(st.integers(1, 6))
    stretches = draw(st.sampled_from([None, None, (20.0, 10.0)])) if losses else None
    entries = tuple(
        apart(
            client,
            slowdown=draw(FACTORS),
            link_slowdown=draw(FACTORS),
            online=draw(SCRIPTS) if losses else None,
        )
        for client in range(count)
    )
    job = replace(
        EVEN,
        latency_s=draw(st.sampled_from([0.0, 0.5])),
        online_s=stretches and stretches[0],
        offline_s=stretches and stretches[1],
        battery_examples=draw(st.sampled_from([None, None, 300])) if losses else None,
        client=entries,
    )
    if stretches:  # scripts would replace them
        job = replace(job, client=tuple(replace(entry, online=None) for entry in entries))
    arguments = {
        "start_s": float(draw(st.integers(0, 20))),
        "cohort": tuple(sorted(draw(st.sets(st.integers(0, count - 1))))),
        "seen": draw(st.fixed_dictionaries({client: st.integers(0, 600) for client in range(count)})),
        "key_bytes": draw(st.sampled_from([0, 1000, 4_000_000])),
    }
    return job, count, arguments


CLOSINGS = st.fixed_dictionaries(
    {"goal": st.one_of(st.none(), st.integers(1, 4)), "deadline_s": st.one_of(st.none(), st.sampled_from([1, 6.0, 20]))}
)


@given(rounds(), CLOSINGS, st.sampled_from([Phase.ADVERTISE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK]), st.integers(0, 5))
def test_guarantee_2_of_a_round_everyone_has_uploaded_or_dropped_out_once(setting, closing, phase, number):
    job, count, arguments = setting
    there = fleet(job, count)
    timing = uploads(there, **arguments, **closing, already_gone={phase: frozenset({number})})
    dropped = [client for clients in timing.drops.values() for client in clients]
    assert len(dropped) == len(set(dropped))
    before_the_end = {
        client for phase, clients in timing.drops.items() if phase is not Phase.UNMASK for client in clients
    }
    assert before_the_end.isdisjoint(timing.arrivals)
    assert before_the_end | timing.arrivals.keys() == set(arguments["cohort"])
    assert set(timing.because) == before_the_end - ({number} if phase is not Phase.UNMASK else set())
    assert all(arguments["start_s"] <= arrived_s <= timing.closed_s for arrived_s in timing.arrivals.values())
    assert all(done <= arguments["seen"][client] for client, done in timing.computed.items())
    assert all(timing.computed[client] == arguments["seen"][client] for client in timing.arrivals)
    for client, why in timing.because.items():
        assert (client in timing.computed) is (why != Lost.OFFLINE) is there.online(client, arguments["start_s"])
    assert uploads(fleet(job, count), **arguments, **closing, already_gone={phase: frozenset({number})}) == timing


@given(rounds(), CLOSINGS)
def test_guarantee_1_of_a_round_goal_and_deadline_cut_off_what_would_have_come(setting, closing):
    job, count, arguments = setting
    there = fleet(job, count)
    whole, cut = uploads(there, **arguments), uploads(there, **arguments, **closing)
    in_turn = sorted((arrived_s, client) for client, arrived_s in whole.arrivals.items())
    ends = [whole.closed_s]
    if closing["goal"] is not None and closing["goal"] <= len(in_turn):
        in_turn = in_turn[: closing["goal"]]
        ends.append(in_turn[-1][0])
    if closing["deadline_s"] is not None:
        ends.append(arguments["start_s"] + closing["deadline_s"])
    assert cut.closed_s == min(ends)
    assert cut.arrivals == {client: arrived_s for arrived_s, client in in_turn if arrived_s <= cut.closed_s}
    assert Lost.LATE not in whole.because.values()
    for client, why in cut.because.items():
        assert why in {Lost.LATE, whole.because.get(client)}


@given(rounds(losses=False))
def test_without_losses_uploads_close_with_the_last_arrival(setting):
    job, count, arguments = setting
    timing = uploads(fleet(job, count), **arguments)
    assert timing.closed_s == max(timing.arrivals.values(), default=arguments["start_s"])
    later = uploads(fleet(job, count), **arguments | {"start_s": arguments["start_s"] + 64})
    assert later.arrivals == pytest.approx({client: at_s + 64 for client, at_s in timing.arrivals.items()})


@given(
    rounds(),
    st.integers(0, 5),
    st.sampled_from(["slowdown", "link_slowdown"]),
    st.sampled_from([None, 6.0, 20.0]),
    st.floats(1, 20),
)
def test_guarantee_3_of_a_round_a_slower_client_never_ends_it_earlier(setting, number, quality, deadline_s, factor):
    job, count, arguments = setting
    assume(number < count)
    slower = tuple(
        replace(entry, **{quality: getattr(entry, quality) * factor}) if number in entry.clients else entry
        for entry in job.client
    )
    before = uploads(fleet(job, count), deadline_s=deadline_s, **arguments)
    after = uploads(fleet(job, count, client=slower), deadline_s=deadline_s, **arguments)
    assert after.closed_s >= before.closed_s
    assert after.arrivals.keys() <= before.arrivals.keys()


# How the sum is opened.


def test_the_sum_is_open_when_the_last_survivor_has_answered():
    some = fleet(
        latency_s=0.25, client=(apart(1, link_slowdown=10.0), apart(2, online=(0.0, 4.1)), apart(3, online=()))
    )
    end_s, drops, because = time_closing(some, start_s=4.0, contributors=(0, 1), bytes_each=100_000, rounds_trip=2)
    assert (end_s, drops, because) == (pytest.approx(4 + 4 * 0.25 + 1.0), frozenset(), {})
    end_s, drops, because = time_closing(some, start_s=4.0, contributors=(0, 2, 3), bytes_each=0, rounds_trip=1)
    assert (end_s, drops) == (4.5, {2, 3})
    assert because == {2: "went offline", 3: "went offline"}
    only_lost = time_closing(some, start_s=4.0, contributors=(2, 3), bytes_each=0, rounds_trip=1)
    assert only_lost.end_s == 4.1


def test_nobody_is_missed_where_clients_are_asked_for_nothing_more():
    away = fleet(client=(apart(0, 1, online=()),))
    assert time_closing(away, start_s=4.0, contributors=(0, 1), bytes_each=9, rounds_trip=0) == (4.0, frozenset(), {})
    assert time_closing(away, start_s=4.0, contributors=(), bytes_each=9, rounds_trip=1) == (4.0, frozenset(), {})
