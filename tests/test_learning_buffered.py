"""Buffers that nobody waits for: what they hold, how old it is, what it weighs, and which models a client accepts."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_stubs import FOREVER_S, Known, Weightless, finished, job_of, known_to, model

from privfl.compression.compressor import Compressor
from privfl.dp.ledger import read_ledger
from privfl.dp.noise import IntegerNoise
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.learning.buffered import Buffered
from privfl.learning.fleet import Fleet
from privfl.learning.local_work import LocalWork
from privfl.learning.residuals import Residuals
from privfl.learning.rounds import FederatedRun
from privfl.learning.scheduling import PATIENCE_S, Assignment, RoundPlan
from privfl.learning.trainer import LocalResult, LocalTraining
from privfl.learning.versions import ModelVersions, model_digest
from privfl.session import Phase


def buffered(examples, *apart, buffer=2, concurrency=None, fleet=(), **strategy):
    """A scheduler whose clients compute one gradient a second, and whose sessions take no time; and its fleet."""
    strategy = {"name": "fedbuff", "buffer": buffer, "concurrency": concurrency or len(examples)} | strategy
    job = job_of(
        suite="plain",
        data={"clients": len(examples)},
        strategy=strategy,
        fleet={"examples_per_s": 1.0, "latency_s": 0.0, "client": list(apart)} | dict(fleet),
    )
    fleet = Fleet(job.timed, clients=len(examples), seed=job.seed)
    return Buffered(job, job.strategy.buffering(), fleet=fleet, examples=examples, traffic=Weightless(1)), fleet


def there(client, *moments, **qualities):
    return {"clients": [client], **({"online": list(moments)} if moments else {}), **qualities}


def traced(scheduler, released, *, version=0, first=1):
    """Plan a buffer for each of `released`, which says whether the model moves; tell what was in each and when."""
    trace = []
    for number, moves in enumerate(released, first):
        plan = scheduler.plan(number, model(version), None)
        trace.append((plan.ends_s, {c: version - one.model.version for c, one in plan.assignments.items()}))
        scheduler.finish(plan, released=moves)
        version += moves
    return trace


# What is in a buffer, against traces by hand


def test_staleness_is_that_of_a_trace_by_hand():
    """Clients take 10, 15 and 40 s. At 40 s client 2 is through, with a model that has moved twice since."""
    scheduler, _ = buffered((10, 15, 40))
    assert traced(scheduler, [True] * 7) == [
        (15.0, {0: 0, 1: 0}),
        (30.0, {0: 0, 1: 0}),  # both began at 15 s
        (40.0, {0: 0, 2: 2}),  # 0 began at 30 s; 1 did, too, and is through at 45 s
        (50.0, {0: 0, 1: 1}),
        (65.0, {0: 0, 1: 0}),
        (80.0, {0: 0, 1: 0}),  # 2 began at 40 s and is through as well: of two, the smaller number
        (90.0, {0: 0, 2: 3}),
    ]


def test_a_model_that_has_not_moved_makes_nothing_stale_and_who_failed_trains_anew():
    scheduler, _ = buffered((10, 15, 40))
    assert traced(scheduler, [False] * 3 + [True] * 2) == [
        (15.0, {0: 0, 1: 0}),
        (30.0, {0: 0, 1: 0}),
        (40.0, {0: 0, 2: 0}),
        (50.0, {0: 0, 1: 0}),
        (65.0, {0: 0, 1: 0}),
    ]


def test_updates_that_are_too_old_are_thrown_away_and_their_clients_begin_anew():
    """As before, but what is two moves behind does not count: client 2 begins again at 40 s, and is through at 80 s."""
    scheduler, _ = buffered((10, 15, 40), max_staleness=1)
    assert traced(scheduler, [True] * 6) == [
        (15.0, {0: 0, 1: 0}),
        (30.0, {0: 0, 1: 0}),
        (45.0, {0: 0, 1: 0}),
        (60.0, {0: 0, 1: 0}),
        (75.0, {0: 0, 1: 0}),
        (90.0, {0: 0, 1: 0}),
    ]


def test_as_many_train_at_once_as_may_and_the_next_begin_when_they_are_through():
    """One at a time: whoever is through waits, and the other begins."""
    scheduler, _ = buffered((10, 10, 10), buffer=2, concurrency=1)
    trace = traced(scheduler, [True] * 3)
    assert [ends_s for ends_s, _ in trace] == [20.0, 40.0, 60.0]
    assert [list(ages.values()) for _, ages in trace] == [[0, 0]] * 3


def test_who_is_lost_while_it_trains_or_waits_is_not_in_the_buffer():
    """0 leaves after 5 s and comes back at 100 s; 1 has trained at 15 s and leaves at 30 s; 2 and 3 make the buffer."""
    scheduler, _ = buffered((10, 15, 40, 50), there(0, 0.0, 5.0, 100.0, FOREVER_S), there(1, 0.0, 30.0))
    plan = scheduler.plan(1, model(), None)
    assert (plan.cohort, plan.ends_s) == ((2, 3), 50.0)
    assert plan.because == {0: "went offline", 1: "went offline"}
    scheduler.finish(plan, released=True)
    second = scheduler.plan(2, model(1), None)
    assert (second.cohort, second.ends_s, second.because) == ((2, 3), 100.0, {})


def test_who_was_lost_and_has_trained_since_is_in_the_buffer_and_not_among_the_lost():
    """0 leaves after 5 s and begins again when it is back, at 20 s."""
    scheduler, _ = buffered((10, 60), there(0, 0.0, 5.0, 20.0, FOREVER_S))
    plan = scheduler.plan(1, model(), None)
    assert (plan.cohort, plan.ends_s, plan.because) == ((0, 1), 60.0, {})


def test_while_nobody_is_there_the_server_waits_for_the_next_to_come():
    scheduler, _ = buffered((10, 10, 10), there(0, 500.0, FOREVER_S), there(1, 30.0, FOREVER_S), there(2, 700.0, 701.0))
    plan = scheduler.plan(1, model(), None)
    assert (plan.began_s, plan.cohort, plan.ends_s) == (0.0, (0, 1), 510.0)


def test_where_too_few_ever_come_the_server_gives_up_after_a_fortnight():
    scheduler, _ = buffered((10, 10), there(0, 0.0, 20.0), there(1, 0.0, 5.0))
    plan = scheduler.plan(1, model(), None)
    assert (plan.cohort, plan.assignments) == ((), {})
    assert plan.because == {0: "went offline", 1: "went offline"}
    assert plan.versions.digests == {0: model_digest(model().weights)}
    assert plan.ends_s == PATIENCE_S


def test_a_script_keeps_members_of_a_buffer_from_uploading():
    drop = [{"round": 1, "clients": [0], "phase": "MaskedInput"}, {"round": 1, "clients": [1], "phase": "Unmask"}]
    job = job_of(
        suite="plain",
        data={"clients": 3},
        strategy={"name": "fedbuff", "buffer": 3, "concurrency": 3},
        failures={"drop": drop},
    )
    fleet = Fleet(job.timed, clients=3, seed=0)
    plan = Buffered(job, job.strategy.buffering(), fleet=fleet, examples=(9, 9, 9), traffic=Weightless()).plan(
        1, model(), None
    )
    assert (plan.cohort, set(plan.assignments)) == ((0, 1, 2), {1, 2})
    assert plan.drops == {Phase.MASKED_INPUT: {0}, Phase.UNMASK: {1}}


def test_batteries_pay_for_what_was_computed_and_empty_ones_begin_nothing():
    scheduler, fleet = buffered(
        (10, 20, 30), there(2, 0.0, 5.0, 50.0, FOREVER_S), fleet={"battery_examples": 35, "charge_examples_per_s": 0.1}
    )
    plan = scheduler.plan(1, model(), None)
    assert (plan.cohort, plan.ends_s) == ((0, 1), 20.0)
    assert [fleet.battery(client, 20.0) for client in (0, 1)] == [26.0, 15.0]  # 0 has been recharging for 10 s
    assert fleet.battery(2, 5.0) == 30.0  # of 30 gradients, it had computed five when it was lost
    scheduler.finish(plan, released=True)
    second = scheduler.plan(2, model(1), None)
    # 1 holds less than the 20 that it needs, and 18 at 50 s, when 2 is back with 34.5, and begins.
    assert (second.cohort, second.ends_s) == ((0, 2), 80.0)
    assert fleet.battery(2, 80.0) == 4.5


# Guarantees 1 to 3 of Buffered


@st.composite
def settings_of_fleets(draw):
    """Arguments of `buffered`: two to six clients who come and go in the first minutes, and stay from then on."""
    examples = tuple(draw(st.lists(st.integers(1, 40), min_size=2, max_size=6)))
    apart = []
    for client in range(len(examples)):
        moments = sorted(draw(st.sets(st.integers(0, 100), max_size=4)))
        script = [float(moment) for moment in moments[: len(moments) // 2 * 2]] + [120.0, FOREVER_S]
        if draw(st.booleans()):
            apart.append(there(client, *script, slowdown=draw(st.sampled_from([1.0, 3.0]))))
    changes = {
        "buffer": draw(st.integers(1, len(examples))),
        "concurrency": draw(st.integers(1, len(examples))),
        **draw(st.sampled_from([{}, {"max_staleness": 0}, {"max_staleness": 1}])),
    }
    return (apart, changes), examples


@settings(max_examples=60)
@given(settings_of_fleets(), st.lists(st.booleans(), min_size=6, max_size=6))
def test_guarantees_1_to_3_of_buffers(made, released):
    (apart, changes), examples = made
    scheduler, fleet = buffered(examples, *apart, **changes)
    most = scheduler._buffering.max_staleness
    version, models, ended_s = 0, [model(0)], {}
    for number, moves in enumerate(released, 1):
        plan = scheduler.plan(number, models[version], None)
        assert list(plan.cohort) == sorted(set(plan.cohort))  # 1: nobody is in it twice
        assert len(plan.cohort) == scheduler._buffering.buffer
        assert set(plan.assignments) == set(plan.cohort)
        for client, one in plan.assignments.items():
            # 1: between two buffers that it is in, a client trains anew, and that takes its time.
            assert plan.ends_s - ended_s.get(client, 0.0) >= fleet.training_s(client, examples[client]) - 1e-6
            assert one.training.examples_seen(examples[client]) == examples[client]
            assert fleet.online(client, plan.ends_s)
            if most is not None:  # 2
                assert version - one.model.version <= most
            ended_s[client] = plan.ends_s
        used = {one.model.version for one in plan.assignments.values()} | {version}
        assert plan.versions.digests == {v: model_digest(models[v].weights) for v in used}  # 3
        assert (plan.versions.buffer, plan.versions.current) == (number, version)
        scheduler.finish(plan, released=moves)
        if moves:
            version += 1
            models.append(model(version))


def gone_on(scheduler, made):
    """Another scheduler, that has read what this one wrote."""
    state, models = json.loads(json.dumps(scheduler.state())), scheduler.models()
    made[0].restore(state, {version: dict(weights) for version, weights in models.items()})
    return made[0]


@pytest.mark.parametrize("after", range(1, 7))
def test_guarantee_1_a_scheduler_goes_on_with_what_was_under_way(after):
    """With client 2, say, that is at work from the beginning and is through in the third buffer, two moves behind."""

    def made():
        script = there(0, 0.0, 33.0, 36.0, FOREVER_S)  # it is lost, and begins again
        return buffered((10, 15, 40), script, fleet={"battery_examples": 150, "charge_examples_per_s": 0.5})

    whole, whole_fleet = made()
    expected = traced(whole, [True] * 7)
    assert expected[2][1] == {1: 0, 2: 2}
    first, _ = made()
    traced(first, [True] * after)
    second, fleet = made()
    second = gone_on(first, (second, fleet))
    assert traced(second, [True] * (7 - after), version=after, first=after + 1) == expected[after:]
    assert fleet.state() == whole_fleet.state()


@settings(max_examples=30)
@given(st.data())
def test_guarantee_1_a_scheduler_that_goes_on_after_every_buffer_plans_the_same(data):
    """Whatever the fleet: who has trained what, from when on, and for which session."""
    released = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    arguments, examples = data.draw(settings_of_fleets())
    (whole, _), (scheduler, _) = (buffered(examples, *arguments[0], **arguments[1]) for _ in range(2))
    version = 0
    for number, moves in enumerate(released, 1):
        plans = [one.plan(number, model(version), None) for one in (whole, scheduler)]
        for told in ("cohort", "because", "began_s", "ends_s", "versions", "drops"):
            assert getattr(plans[0], told) == getattr(plans[1], told)
        for client, one in plans[0].assignments.items():
            again = plans[1].assignments[client]
            assert (again.seed, again.training, again.model.version) == (one.seed, one.training, one.model.version)
            assert np.array_equal(again.model.weights["weight"], one.model.weights["weight"])
        whole.finish(plans[0], released=moves)
        scheduler.finish(plans[1], released=moves)
        scheduler = gone_on(scheduler, buffered(examples, *arguments[0], **arguments[1]))
        version += moves


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["tasks"][0].update(client=3),
        lambda state: state["tasks"].append(state["tasks"][0]),
        lambda state: state.update(clock_s=-1.0),
        lambda state: state.update(clock_s=math.inf),
    ],
)
def test_a_state_that_no_scheduler_of_this_job_has_is_refused(change):
    first, _ = buffered((10, 15, 40))
    traced(first, [True])
    state = json.loads(json.dumps(first.state()))
    change(state)
    second, _ = buffered((10, 15, 40))
    with pytest.raises(ConfigurationError):
        second.restore(state, first.models())


# Which models a buffer is for

DIGESTS = {3: b"c" * 32, 5: b"e" * 32}
VERSIONS = ModelVersions(buffer=7, current=5, digests=DIGESTS)


def test_guarantee_1_of_versions_nothing_is_told_of_a_model_that_is_not_on_the_list():
    assert (VERSIONS.staleness(5, b"e" * 32), VERSIONS.staleness(3, b"c" * 32)) == (0, 2)
    for version, digest in ((4, b"d" * 32), (3, b"e" * 32), (5, b"c" * 32), (6, b"e" * 32), (3, b"")):
        with pytest.raises(DisclosureRefused, match="buffer 7 is not for updates of the model"):
            VERSIONS.staleness(version, digest)


def test_guarantee_2_of_versions_another_list_or_job_has_another_context():
    others = [
        (replace(VERSIONS, buffer=8), b"job"),
        (replace(VERSIONS, current=6, digests=DIGESTS | {6: b"f" * 32}), b"job"),
        (replace(VERSIONS, digests=DIGESTS | {4: b"d" * 32}), b"job"),
        (replace(VERSIONS, digests={5: b"e" * 32}), b"job"),
        (replace(VERSIONS, digests={3: b"e" * 32, 5: b"c" * 32}), b"job"),
        (replace(VERSIONS, digests={2: b"c" * 32, 5: b"e" * 32}), b"job"),
        (VERSIONS, b"jo"),
        (VERSIONS, b"job" + (3).to_bytes(8, "big") + b"c" * 32),
    ]
    contexts = {VERSIONS.context(b"job"), *(versions.context(job) for versions, job in others)}
    assert len(contexts) == len(others) + 1
    assert {len(context) for context in contexts} == {32}
    assert replace(VERSIONS, digests=dict(reversed(DIGESTS.items()))).context(b"job") == VERSIONS.context(b"job")


@pytest.mark.parametrize(("current", "digests"), [(4, DIGESTS), (5, {5: b"", 6: b""}), (5, {5: b"", -1: b""})])
def test_versions_that_cannot_be_are_refused(current, digests):
    with pytest.raises(ConfigurationError, match="it and older ones work"):
        ModelVersions(buffer=1, current=current, digests=digests)


def test_a_digest_is_that_of_names_and_numbers():
    weights = {"a": np.arange(4, dtype=np.float32), "b": np.zeros(2, np.float32)}
    others = [
        weights | {"b": np.array([0.0, -0.0], np.float32)},
        {"a": weights["a"], "c": weights["b"]},
        {"a": weights["b"], "b": weights["a"]},
        {"a": weights["a"]},
        {"a": np.arange(6, dtype=np.float32) % 4, "b": np.zeros(0, np.float32)},
    ]
    assert len({model_digest(one) for one in (weights, *others)}) == len(others) + 1
    twisted = {"a": np.arange(8, dtype=np.float32)[::2] / 2, "b": np.zeros(2, np.float32)}  # not contiguous
    assert model_digest(twisted) == model_digest(weights)


class Writing:
    """In the place of averaging: writes down what is uploaded, and for what weight."""

    def __init__(self):
        self.weights = []

    def too_coarse(self, result):
        return None

    def encode(self, result, *, context, weight=1.0, chance):
        self.weights.append(weight)
        return np.zeros(1, np.int32)


def offered(*, models, expected=b"agreed"):
    """A buffer of three clients, who were given `models`, and work a context out of their list; what became of it."""
    listed = {0: model_digest(model(0).weights), 2: model_digest(model(2).weights)}
    versions = ModelVersions(buffer=4, current=2, digests=listed)
    settings_ = LocalTraining(epochs=1)
    plan = RoundPlan(
        number=4,
        cohort=(0, 1, 2),
        drops={},
        assignments={
            client: Assignment(model=one, training=settings_, seed=client) for client, one in enumerate(models)
        },
        versions=versions,
        began_s=0.0,
        ends_s=0.0,
    )
    job = job_of(suite="plain", data={"clients": 3}, strategy={"name": "fedbuff", "buffer": 3, "concurrency": 3})
    trainer, averaging = Known(), Writing()
    trainer.clients = (object(), object(), object())
    trainer.train = lambda weights, examples, **_: LocalResult(
        update={"weight": np.zeros(1, np.float32)}, examples=1, loss=0.0, correct=0
    )
    work = LocalWork(job, trainer, trainer.clients)
    whole, nothing_kept = (
        Compressor(layout=Layout((("weight", (1,)),))).choose(bytes(16), {}),
        Residuals(None, clients=3, length=1),
    )
    worked = work.train(plan, averaging, context=b"agreed", expected=expected, chosen=whole, residuals=nothing_kept)
    return worked, averaging.weights


def test_a_client_whose_model_is_not_on_the_list_uploads_nothing():
    """Guarantee 3 of `LocalWork`: neither one that the server moved for it alone, nor one of another version."""
    fresh, old, never = model(2), model(0), model(1)
    moved = replace(fresh, weights={"weight": np.full(3, 2.0000002, np.float32)})
    for wrong in (never, moved, replace(fresh, version=0)):
        worked, weights = offered(models=[fresh, wrong, old])
        assert set(worked.vectors) == {0, 2}
        assert weights == [1.0, 3**-0.5]
        assert worked.failed == {1: "training failed: DisclosureRefused"}


def test_clients_whose_list_is_another_than_the_agreed_one_upload_nothing():
    """Guarantee 3 of `LocalWork`. Nor those to whom no list was sent."""
    for expected in (b"another", None):
        with pytest.raises(ConfigurationError, match="another list of models than its context says"):
            offered(models=[model(2)] * 3, expected=expected)


# What stale updates weigh, inside the sum

SLOWDOWNS = (1.0, 1.1, 1.2, 2.7)
"""Of four clients with as many examples each, three to a buffer: the fourth is in the third, two moves behind."""
DISCOUNTS = {3: (1.0, 1.0, 1 / 3), 4: (1.0, 1.0, 1 / 2)}
"""Of the members of these buffers, in the order of their numbers, with an exponent of 1."""


def slow_fourth(**changes):
    return job_of(
        rounds=4,
        data={"clients": 4},
        strategy={"name": "fedbuff", "buffer": 3, "concurrency": 4, "staleness_exponent": 1.0},
        fleet={
            "examples_per_s": 1.0,
            "latency_s": 0.0,
            "client": [{"clients": [client], "slowdown": slowdown} for client, slowdown in enumerate(SLOWDOWNS)],
        },
        audit={"probes": 0},
        **changes,
    )


class Results:
    """A run's averaging, with what it was given, buffer by buffer."""

    def __init__(self, run):
        self.by_round, self._encode = {}, run.averaging.encode
        run.averaging.encode = self.encode
        self._run = run

    def encode(self, result, *, context, weight=1.0, **more):
        self.by_round.setdefault(self._run.done + 1, []).append((result, weight))
        return self._encode(result, context=context, weight=weight, **more)


@pytest.mark.parametrize("suite_name", ["plain", "masking", "kahe", "ckks"])
def test_the_mean_of_a_buffer_is_weighed_by_age_and_examples(suite_name):
    """Against the mean that is computed in the clear: Σ s(τ)·n·Δ / Σ s(τ)·n."""
    run = FederatedRun(slow_fourth(suite=suite_name))
    seen, codec = Results(run), run.averaging.codec
    before = run.weights
    for row in run:
        results = [result for result, _ in seen.by_round[row.round]]
        discounts = DISCOUNTS.get(row.round, (1.0, 1.0, 1.0))
        assert [weight for _, weight in seen.by_round[row.round]] == list(discounts)
        weights = [s * min(result.examples, codec.weight_max) for s, result in zip(discounts, results, strict=True)]
        # Half a step of each weighed value, half a unit of each weight, and eight deviations of the suite's error.
        off = (1.0 * 3 + 2 * 8 * codec.error_std) * codec.coding.step * codec.weight_max / sum(weights)
        for name, array in run.weights.items():
            exact = np.average([np.clip(result.update[name], -1, 1) for result in results], axis=0, weights=weights)
            assert np.abs(array - before[name] - exact).max() <= off + 1e-6
            unweighed = np.average([np.clip(result.update[name], -1, 1) for result in results], axis=0)
            if row.round in DISCOUNTS and name.endswith("weight"):
                assert np.abs(array - before[name] - unweighed).max() > 2 * off
        ages = [round(1 / s) - 1 for s in discounts]
        assert (row.staleness, row.staleness_most) == (sum(ages) / 3, max(ages))
        before = run.weights


CLIENT = {"noise_multiplier": 4.0, "delta": 1e-5, "clip": 0.05}
"""A clip that every update is longer than."""


def clipped(update, clip):
    norm = math.sqrt(sum(float(np.vdot(array, array)) for array in update.values()))
    return {name: array * min(1.0, clip / norm) for name, array in update.items()}


@pytest.mark.parametrize("mode", ["client-central", "client-distributed"])
def test_under_privacy_a_stale_update_is_shorter_than_the_clip_and_the_denominator_stays(mode, monkeypatch):
    """Without noise, the model moves by Σ s(τ)·clip(Δ) / K, up to rounding."""
    monkeypatch.setattr(IntegerNoise, "add_to", lambda *_, **__: None)
    run = FederatedRun(slow_fourth(suite="kahe", privacy=CLIENT | {"mode": mode}))
    seen, codec, before = Results(run), run.averaging.codec, run.weights
    for row in run:
        moved = {name: np.zeros_like(array) for name, array in run.weights.items()}
        for (result, weight), discount in zip(
            seen.by_round[row.round], DISCOUNTS.get(row.round, (1.0,) * 3), strict=True
        ):
            assert weight == discount
            vector, norm = codec.unrounded(result.update, clip=0.05, seed=bytes(16), weight=weight)
            assert norm > 0.05
            assert np.linalg.norm(vector) * codec.granularity <= discount * (1 + 1e-9)  # in units of the clip
            for name, array in clipped(result.update, 0.05).items():
                moved[name] += discount * array / 3
        error = math.sqrt(
            sum(float(np.sum((run.weights[name] - before[name] - moved[name]) ** 2)) for name in run.weights)
        )
        assert error <= 0.05 * codec.granularity * math.sqrt(codec.length)  # each coordinate rounded by less than one
        before = run.weights


@pytest.mark.parametrize("mode", ["client-central", "client-distributed", "example"])
def test_every_buffer_is_charged_once_and_for_the_same_however_old_it_is(mode, tmp_path):
    privacy = CLIENT | {"mode": mode} | ({"noise_multiplier": 8.0} if mode == "example" else {})
    run = finished(FederatedRun(slow_fourth(privacy=privacy), out=tmp_path / "run"))
    assert [row.staleness_most for row in run.metrics] == [0, 0, 2, 1]
    charges = read_ledger(tmp_path / "run" / "ledger.jsonl").charges
    assert [charge.round for charge in charges] == [1, 2, 3, 4]
    assert len({charge.events for charge in charges}) == 1
    assert [charge.facts["contributors"] for charge in charges] == [3] * 4


def test_a_buffer_that_came_to_nothing_is_followed_by_one_of_clients_that_trained_anew():
    drop = [{"round": 2, "clients": [0, 1, 2, 3]}]
    job = job_of(
        data={"clients": 4},
        strategy={"name": "fedbuff", "buffer": 3, "concurrency": 4},
        failures={"drop": drop},
    )
    trainer = Known()
    run = known_to(FederatedRun(job, trainer=trainer), trainer)
    assert [row.aborted for row in run] == [False, True, False]
    assert run.version == 2
    assert run.metrics[2].staleness_most <= 1
    assert len(trainer.trained) == 6


@pytest.mark.parametrize("exponent", [0.0, 10.0])
def test_whatever_the_exponent_stale_updates_do_not_end_a_run(exponent):
    """Of 30 clients that begin together, the last are seven moves behind: what they found hardly counts, or fully."""
    job = job_of(
        rounds=8,
        data={"clients": 30},
        strategy={"name": "fedbuff", "buffer": 3, "concurrency": 30, "staleness_exponent": exponent},
    )
    run = finished(FederatedRun(job))
    assert len(run.metrics) == 8
