"""Strategies: what the server makes of the mean update, and how clients train towards it."""

import math
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from privfl.errors import ConfigurationError
from privfl.learning.data import Examples
from privfl.learning.schedules import learning_rate_at
from privfl.learning.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, server_optimiser
from privfl.learning.strategy_job import Buffering, Optimiser, ScheduleJob, ServerStep, StrategyJob, StrategyName
from privfl.learning.tables import read_table, write_table
from privfl.learning.torch_trainer import TorchTrainer
from privfl.learning.trainer import LocalTraining

STEPS = (0.5, -0.25, 0.001, 0.75, 0.0, -2.0)
"""Mean updates of one coordinate: the second moment is now below and now above their squares."""


def job(text=""):
    return read_table(StrategyJob, tomllib.loads(text), "strategy.")


def path_of(optimiser, steps=STEPS, start=1.0):
    """Where a model of one coordinate is after every step."""
    weights, path = {"w": np.array([start], np.float32)}, []
    for step in steps:
        weights = optimiser.apply(weights, {"w": np.array([step], np.float32)})
        path.append(float(weights["w"][0]))
    return path


def means(count, seed=0):
    """Mean updates of a model of several arrays, one of them a scalar."""
    rng = np.random.default_rng(seed)
    shapes = {"a": (4, 3), "b": (5,), "scale": ()}
    return [
        {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in shapes.items()} for _ in range(count)
    ]


def bits(weights):
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in weights.items()}


EVERY = [
    StrategyJob(server_learning_rate=0.7),
    StrategyJob(name="fedavgm", server_learning_rate=0.7, server_momentum=0.6),
    StrategyJob(name="fedadagrad", server_momentum=0.3),
    StrategyJob(name="fedadam"),
    StrategyJob(name="fedyogi"),
]
each_strategy = pytest.mark.parametrize("strategy", EVERY, ids=lambda strategy: strategy.name)
each_with_state = pytest.mark.parametrize("strategy", EVERY[1:], ids=lambda strategy: strategy.name)


# The server's step


def test_fedavg_moves_the_model_by_the_mean_to_the_bit_and_by_a_share_of_it_if_asked():
    [weights, mean] = means(2)
    whole = FedAvg().apply(weights, mean)
    assert bits(whole) == bits({name: np.asarray(weights[name] + mean[name]) for name in weights})
    assert path_of(FedAvg(0.5)) == pytest.approx([1.25, 1.125, 1.1255, 1.5005, 1.5005, 0.5005])


def test_fedavgm_is_the_recurrence_of_hsu_et_al():
    """v ← βv + Δ, x ← x + ηv; of a Δ that is always 1 with β = 1/2, v is 1, 3/2, 7/4."""
    assert path_of(FedAvgM(1.0, momentum=0.5), (1.0, 1.0, 1.0), start=0.0) == pytest.approx([1.0, 2.5, 4.25])
    x, v, expected = 1.0, 0.0, []
    for delta in STEPS:
        v = 0.9 * v + delta
        x += 0.3 * v
        expected.append(x)
    assert path_of(FedAvgM(0.3, momentum=0.9)) == pytest.approx(expected, rel=1e-5)


ALGORITHM_2 = {
    "fedadagrad": lambda v, delta, _beta: v + delta**2,
    "fedadam": lambda v, delta, beta: beta * v + (1 - beta) * delta**2,
    "fedyogi": lambda v, delta, beta: v - (1 - beta) * delta**2 * math.copysign(1.0, v - delta**2),
}


@pytest.mark.parametrize("beta_1", [0.0, 0.8])
@pytest.mark.parametrize("name", list(ALGORITHM_2))
def test_adaptive_steps_are_those_of_algorithm_2_of_reddi_et_al(name, beta_1):
    eta, beta_2, tau = 0.2, 0.7, 0.05
    x, m, v, expected = 1.0, 0.0, tau**2, []
    for delta in STEPS:
        m = beta_1 * m + (1 - beta_1) * delta
        v = ALGORITHM_2[name](v, delta, beta_2)
        x = x + eta * m / (math.sqrt(v) + tau)
        expected.append(x)
    second = {} if name == "fedadagrad" else {"server_second_momentum": beta_2}
    strategy = StrategyJob(name=name, server_learning_rate=eta, server_momentum=beta_1, server_adaptivity=tau, **second)
    assert path_of(server_optimiser(strategy)) == pytest.approx(expected, rel=1e-5)


def test_first_steps_of_adaptive_optimisers_in_whole_numbers():
    """Δ = 3 from v = τ² = 16: Adagrad divides by √25 + 4; with β₂ = 0, Adam by √9 + 4, Yogi by √(16 − 9) + 4."""
    one = {"momentum": 0.0, "adaptivity": 4.0}
    assert path_of(FedAdagrad(9.0, **one), (3.0,), start=0.0) == [3.0]
    assert path_of(FedAdam(7.0, **one), (3.0,), start=0.0) == [3.0]
    assert path_of(FedYogi(1.0, **one), (3.0,), start=0.0) == pytest.approx([3.0 / (math.sqrt(16 - 9) + 4)])


@each_strategy
def test_guarantee_1_arguments_stay_as_they_are(strategy):
    optimiser = server_optimiser(strategy)
    first, *others = means(4)
    weights = first
    for mean in others:
        before = bits(weights), bits(mean)
        stepped = optimiser.apply(weights, mean)
        assert (bits(weights), bits(mean)) == before
        assert {name: (array.dtype, array.shape) for name, array in stepped.items()} == {
            name: (np.float32, array.shape) for name, array in weights.items()
        }
        for name, array in stepped.items():
            assert not np.shares_memory(array, weights[name])
        weights = stepped


@each_strategy
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_guarantee_2_a_restored_optimiser_goes_on_to_the_bit(strategy, stop):
    weights, *steps = means(8)
    whole = server_optimiser(strategy)
    for mean in steps[:stop]:
        weights = whole.apply(weights, mean)
    state = whole.state()
    assert all(array.dtype == np.float32 for held in state.values() for array in held.values())
    resumed, again = server_optimiser(strategy), dict(weights)
    resumed.restore(state)
    for held in state.values():
        for array in held.values():
            array[...] = 99.0  # a copy: nobody's but the caller's
    for mean in steps[stop:]:
        weights, again = whole.apply(weights, mean), resumed.apply(again, mean)
        assert bits(weights) == bits(again)
    assert {slot: bits(held) for slot, held in whole.state().items()} == {
        slot: bits(held) for slot, held in resumed.state().items()
    }


def test_slots_are_named_and_empty_before_the_first_step():
    [weights, mean] = means(2)
    for strategy, slots in zip(EVERY, [set(), {"momentum"}, *[{"momentum", "second"}] * 3], strict=True):
        optimiser = server_optimiser(strategy)
        assert optimiser.state() == {}
        optimiser.apply(weights, mean)
        assert optimiser.state().keys() == slots


def test_an_optimiser_that_is_restored_to_nothing_begins_anew():
    weights, mean, _ = means(3)
    optimiser = server_optimiser(StrategyJob(name="fedadam"))
    first = optimiser.apply(weights, mean)
    optimiser.restore({})
    assert bits(optimiser.apply(weights, mean)) == bits(first)


@each_with_state
def test_guarantee_3_states_of_other_optimisers_and_models_are_refused_and_change_nothing(strategy):
    weights, mean, later = means(3)
    optimiser, untouched = server_optimiser(strategy), server_optimiser(strategy)
    for one in (optimiser, untouched):
        one.apply(weights, mean)
    state = optimiser.state()
    slot = list(state)[-1]

    def changed(**arrays):
        return {**state, slot: {**state[slot], **arrays}}

    nan = np.full((5,), np.nan, np.float32)
    for bad, message in [
        ({**state, "third": state[slot]}, r"slots .*'third'.* strategy\.name and strategy\.optimiser ask for"),
        ({"velocity": state[slot]}, r"slots \['velocity'\] where .*: go on with the strategy"),
        (
            changed(b=np.zeros(6, np.float32)),
            rf"state of strategy\.name.*: {slot} differs in \['b'\]; go on with the model",
        ),
        (changed(extra=np.zeros(6, np.float32)), rf"{slot} differs in \['extra'\]"),
        (changed(b=nan), rf"numbers in {slot}\.b that no run makes: go on from a checkpoint"),
        (changed(b=np.zeros(5)), rf"numbers in {slot}\.b that no run makes"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            optimiser.restore(bad)
    if slot == "second":
        with pytest.raises(ConfigurationError, match=r"numbers in second\.b that no run makes"):
            optimiser.restore(changed(b=np.full(5, -1e-3, np.float32)))
    with pytest.raises(ConfigurationError, match=r"differs in \['b'\]"):
        optimiser.apply({**weights, "b": np.zeros(6, np.float32)}, {**later, "b": np.zeros(6, np.float32)})
    assert bits(optimiser.apply(weights, later)) == bits(untouched.apply(weights, later))


def test_fedavg_refuses_a_state_that_another_strategy_left():
    with pytest.raises(
        ConfigurationError, match=r"slots \['momentum'\] where .* ask for \[\]: go on with the strategy"
    ):
        FedAvg().restore({"momentum": {"w": np.zeros(1, np.float32)}})


# Jobs


def test_defaults_by_name():
    def step(name, **others):
        return StrategyJob(name=name, **others).server_step()

    still = ServerStep(optimiser=Optimiser.SGD, learning_rate=1.0)
    assert step("fedavg") == step("fedprox") == step("fedbuff") == still
    assert step("fedavgm") == ServerStep(optimiser=Optimiser.MOMENTUM, learning_rate=1.0, momentum=0.9)
    adagrad = ServerStep(optimiser=Optimiser.ADAGRAD, learning_rate=0.1, momentum=0.0, adaptivity=1e-3)
    assert step("fedadagrad") == step("fedbuff", optimiser=Optimiser.ADAGRAD) == adagrad
    adam = replace(adagrad, optimiser=Optimiser.ADAM, momentum=0.9, second_momentum=0.99)
    assert (
        step("fedadam")
        == step("fedprox", optimiser=Optimiser.ADAM)
        == step("fedadam", optimiser=Optimiser.ADAM)
        == adam
    )
    assert step("fedyogi") == replace(adam, optimiser=Optimiser.YOGI)
    assert step("fedadam", server_momentum=0.0, server_learning_rate=2.0) == replace(
        adam, momentum=0.0, learning_rate=2.0
    )


def test_only_fedprox_pulls_clients_back_unless_told_to():
    assert StrategyJob(name="fedprox").local_training().proximal == 0.01
    assert StrategyJob(name="fedprox", proximal=0.5).local_training().proximal == 0.5
    assert StrategyJob(name="fedyogi", proximal=0.5).local_training().proximal == 0.5
    assert {StrategyJob(name=name).local_training().proximal for name in StrategyName if name != "fedprox"} == {0.0}


def test_only_fedbuff_buffers():
    assert all(StrategyJob(name=name).buffering() is None for name in StrategyName if name != "fedbuff")
    assert job("name = 'fedbuff'").buffering() == Buffering(
        buffer=10, concurrency=20, staleness_exponent=0.5, max_staleness=None
    )
    chosen = job("name = 'fedbuff'\nbuffer = 4\nconcurrency = 3\nstaleness_exponent = 1\nmax_staleness = 2").buffering()
    assert chosen == Buffering(buffer=4, concurrency=3, staleness_exponent=1.0, max_staleness=2)
    assert [chosen.discount(staleness) for staleness in range(4)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert [chosen.takes(staleness) for staleness in range(4)] == [True, True, True, False]
    assert job("name = 'fedbuff'\nstaleness_exponent = 0").buffering().discount(100) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 'fedprox'\noptimiser = 'yogi'\nproximal = 0.3",
        "name = 'fedadam'\nserver_learning_rate = 0.2\nserver_momentum = 0.5\nserver_adaptivity = 0.01",
        "name = 'fedbuff'\nbuffer = 3\nmax_staleness = 0\n[schedule]\nkind = 'step'\nwarmup = 2\nevery = 3\nfactor = 1",
    ],
)
def test_a_job_that_was_written_in_full_is_read_back(text):
    first = job(text)
    assert job(write_table(first)) == first


@pytest.mark.parametrize(
    "name",
    [
        "krum",
        "Krum",
        "multi-krum",
        "multi_krum",
        "multikrum",
        "bulyan",
        "median",
        "fedmedian",
        "coordinate-median",
        "coordinate_wise_median",
        "geometric-median",
        "geometric_median",
        "trimmed-mean",
        "trimmed_mean",
        "fedtrimmedavg",
        "top-k",
        "top_k",
        "topk",
        "faba",
        "FoolsGold",
        "fools-gold",
    ],
)
def test_strategies_of_single_updates_are_refused_with_the_reason_and_what_to_do(name):
    with pytest.raises(ConfigurationError) as refused:
        StrategyJob(name=name)
    said = str(refused.value)
    assert said.startswith(f"strategy.name is {name!r}: 'fedavg' works; ")
    assert "compares single updates, which the server must never see" in said
    assert "encoding.clip or privacy.clip bounds what one client can do to the sum" in said


@pytest.mark.parametrize("name", ["fedsgd", "FedAvg", ""])
def test_other_strategies_are_refused_by_what_there_is(name):
    with pytest.raises(ConfigurationError) as refused:
        StrategyJob(name=name)
    assert str(refused.value) == (
        f"strategy.name is {name!r}: 'fedavg', 'fedprox', 'fedavgm', 'fedadagrad', 'fedadam', 'fedyogi' or 'fedbuff' "
        f"works"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "optimiser = 'adam'",
            r"strategy\.optimiser is 'adam' with strategy\.name 'fedavg', whose server takes 'sgd': .*'fedadam'",
        ),
        ("name = 'fedadam'\noptimiser = 'sgd'", r"strategy\.optimiser is 'sgd' with .* take strategy\.name = 'fedavg'"),
        ("optimiser = 'lamb'", r"strategy\.optimiser is 'lamb': 'sgd' or 'momentum' or .* works"),
        (
            "name = 'fedprox'\nproximal = 0",
            r"strategy\.proximal is 0\.0 with strategy\.name 'fedprox'.*: above 0 works, such as 0\.01",
        ),
        ("proximal = -1", r"strategy\.proximal is -1\.0; use a number of 0 or more, such as 0\.01"),
        ("proximal = nan", r"strategy\.proximal is nan; use a number of 0 or more"),
        (
            "proximal = 38",
            r"strategy\.proximal is 38\.0, with which .*strategy\.learning_rate 0\.1.*: below 38 works, such as 0\.01",
        ),
        ("server_learning_rate = 0", r"strategy\.server_learning_rate is 0\.0: 1e-06 to 1000 works, such as 1\.0"),
        ("server_learning_rate = inf", r"strategy\.server_learning_rate is inf: 1e-06 to 1000 works"),
        (
            "server_momentum = 0.5",
            r"strategy\.server_momentum is set though the .*'sgd'.*leave it out, or take strategy\.name = 'fedavgm'",
        ),
        (
            "name = 'fedavgm'\nserver_momentum = 1",
            r"strategy\.server_momentum is 1\.0: 0 to 0\.9999 works, such as 0\.9",
        ),
        (
            "name = 'fedavgm'\nserver_adaptivity = 0.1",
            r"strategy\.server_adaptivity is set though .*'momentum'.*'fedadagrad'",
        ),
        (
            "name = 'fedadagrad'\nserver_second_momentum = 0.9",
            r"strategy\.server_second_momentum is set though .*'adagrad'.*'fedadam'",
        ),
        (
            "name = 'fedadam'\nserver_second_momentum = nan",
            r"strategy\.server_second_momentum is nan: 0 to 0\.9999 works, such as 0\.99",
        ),
        (
            "name = 'fedyogi'\nserver_adaptivity = 0",
            r"strategy\.server_adaptivity is 0\.0: 1e-12 to 1000 works, such as 0\.001",
        ),
        ("buffer = 3", r"strategy\.buffer is set though strategy\.name is 'fedavg'.*take strategy\.name = 'fedbuff'"),
        ("concurrency = 3", r"strategy\.concurrency is set though strategy\.name is 'fedavg'"),
        (
            "name = 'fedprox'\nstaleness_exponent = 0.5",
            r"strategy\.staleness_exponent is set though strategy\.name is 'fedprox'",
        ),
        ("max_staleness = 0", r"strategy\.max_staleness is set though strategy\.name is 'fedavg'"),
        ("name = 'fedbuff'\nbuffer = 0", r"strategy\.buffer is 0: 1 to 1000000 works, such as 10"),
        ("name = 'fedbuff'\nconcurrency = 0", r"strategy\.concurrency is 0: 1 to 1000000 works, such as 20"),
        (
            "name = 'fedbuff'\nstaleness_exponent = -0.5",
            r"strategy\.staleness_exponent is -0\.5: 0\.0 to 10\.0 works, such as 0\.5",
        ),
        ("name = 'fedbuff'\nmax_staleness = -1", r"strategy\.max_staleness is -1: 0 to 1000000 works, such as 10"),
        ("[schedule]\nkind = 'linear'", r"strategy\.schedule\.kind is 'linear': 'constant' or 'step' or .* works"),
        ("[schedule]\nwarmup = -1", r"strategy\.schedule\.warmup is -1: 0 to 100000 rounds work, such as 5"),
        (
            "[schedule]\nevery = 3",
            r"strategy\.schedule\.every is set though strategy\.schedule\.kind is 'constant': .*kind = 'step'",
        ),
        (
            "[schedule]\nkind = 'cosine'\nfactor = 0.5",
            r"strategy\.schedule\.factor is set though .*'cosine'.*kind = 'step'",
        ),
        (
            "[schedule]\nkind = 'step'\nevery = 1\nfactor = 0.5\nminimum = 0.1",
            r"strategy\.schedule\.minimum is set though .*kind = 'cosine'",
        ),
        (
            "[schedule]\nkind = 'step'\nfactor = 0.5",
            r"strategy\.schedule\.every is missing, which 'step' takes: 10 works",
        ),
        (
            "[schedule]\nkind = 'exponential'",
            r"strategy\.schedule\.factor is missing, which 'exponential' takes: 0\.5 works",
        ),
        (
            "[schedule]\nkind = 'step'\nevery = 0\nfactor = 0.5",
            r"strategy\.schedule\.every is 0: 1 round or more works, such as 10",
        ),
        (
            "[schedule]\nkind = 'exponential'\nfactor = 1.5",
            r"strategy\.schedule\.factor is 1\.5: above 0, up to 1, works, such as 0\.5",
        ),
        ("[schedule]\nkind = 'exponential'\nfactor = nan", r"strategy\.schedule\.factor is nan: above 0"),
        (
            "[schedule]\nkind = 'cosine'\nminimum = -0.1",
            r"strategy\.schedule\.minimum is -0\.1: 0 to 1 works, such as 0\.1",
        ),
    ],
)
def test_what_does_not_fit_names_its_key_and_what_works(text, message):
    with pytest.raises(ConfigurationError, match=message) as refused:
        job(text)
    assert "\n" not in str(refused.value)


# Schedules


def rates(rounds=10, learning_rate=1.0, **schedule):
    strategy = StrategyJob(learning_rate=learning_rate, schedule=ScheduleJob(**schedule))
    return [learning_rate_at(strategy, number, rounds) for number in range(1, rounds + 1)]


def test_without_a_schedule_the_rate_stays():
    assert rates(learning_rate=0.3) == [0.3] * 10


def test_guarantee_1_a_warmup_rises_in_equal_steps_to_the_whole_rate():
    assert rates(rounds=7, learning_rate=0.4, warmup=3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])


def test_guarantee_2_steps_and_powers_count_from_the_first_whole_rate():
    assert rates(kind="step", every=3, factor=0.5) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert rates(rounds=7, kind="step", every=2, factor=0.1, warmup=1) == pytest.approx(
        [0.5, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert rates(rounds=5, learning_rate=8.0, kind="exponential", factor=0.5) == [8, 4, 2, 1, 0.5]
    assert rates(rounds=4, kind="exponential", factor=0.5, warmup=1) == [0.5, 1, 0.5, 0.25]


def test_guarantee_2_a_cosine_falls_from_the_whole_rate_towards_its_minimum():
    """A quarter, a half and three quarters of the way: 1/2 ± √2/4 and 1/2 of what is above the minimum."""
    high, low = 0.5 + math.sqrt(2) / 4, 0.5 - math.sqrt(2) / 4
    assert rates(rounds=4, kind="cosine") == pytest.approx([1, high, 0.5, low])
    assert rates(rounds=5, learning_rate=2.0, kind="cosine", minimum=0.2, warmup=1) == pytest.approx(
        [1.0, 2.0, 0.4 + 1.6 * high, 1.2, 0.4 + 1.6 * low]
    )
    strategy = StrategyJob(learning_rate=1.0, schedule=ScheduleJob(kind="cosine", minimum=0.2))
    assert learning_rate_at(strategy, 5, 4) == learning_rate_at(strategy, 50, 4) == pytest.approx(0.2)


def test_no_rate_is_zero_however_long_a_run_is():
    halved = StrategyJob(schedule=ScheduleJob(kind="exponential", factor=0.5))
    assert learning_rate_at(halved, 100_000, 100_000) > 0
    assert learning_rate_at(StrategyJob(schedule=ScheduleJob(kind="cosine")), 100_000, 100_000) > 0


def test_rounds_that_a_schedule_has_not_are_refused():
    with pytest.raises(ConfigurationError, match="round_number is 0: 1 or more works"):
        learning_rate_at(StrategyJob(), 0, 10)
    schedule = ScheduleJob(warmup=20)
    schedule.check_rounds(21)
    with pytest.raises(
        ConfigurationError, match=r"schedule\.warmup is 20 with rounds = 20: less than rounds works, such as 2"
    ):
        schedule.check_rounds(20)


# Clients


def examples(n=21, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(
        features=rng.normal(size=(n, 6)).astype(np.float32), labels=rng.integers(0, 3, size=n).astype(np.int64)
    )


def received(trainer, seed=5):
    """A global model that is not the trainer's own first one."""
    rng = np.random.default_rng(seed)
    return {
        name: (array + rng.normal(size=array.shape)).astype(np.float32)
        for name, array in trainer.initial_weights().items()
    }


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proximal_steps_are_those_of_a_loop_written_by_hand(momentum):
    """Whole batches, so that there is no order: w ← w − η·v with v ← βv + ∇F(w) + μ(w − w_received)."""
    torch = pytest.importorskip("torch")
    rate, mu, own = 0.2, 0.7, examples()
    features, labels = torch.tensor(own.features).double(), torch.tensor(own.labels)
    trainer = TorchTrainer(torch.nn.Linear(6, 3), LocalTraining())
    start = received(trainer)
    settings = LocalTraining(epochs=6, batch_size=21, learning_rate=rate, momentum=momentum, proximal=mu)

    w0 = torch.tensor(start["weight"]).double(), torch.tensor(start["bias"]).double()
    w, v = [part.clone() for part in w0], [torch.zeros_like(part) for part in w0]
    for _ in range(6):
        w = [part.detach().requires_grad_() for part in w]
        loss = torch.nn.functional.cross_entropy(features @ w[0].T + w[1], labels)
        for place, gradient in enumerate(torch.autograd.grad(loss, w)):
            v[place] = momentum * v[place] + gradient + mu * (w[place].detach() - w0[place])
        w = [part.detach() - rate * speed for part, speed in zip(w, v, strict=True)]

    update = trainer.train(start, own, seed=0, settings=settings).update
    assert update["weight"] == pytest.approx((w[0] - w0[0]).numpy(), abs=1e-5)
    assert update["bias"] == pytest.approx((w[1] - w0[1]).numpy(), abs=1e-5)
    without = trainer.train(start, own, seed=0, settings=replace(settings, proximal=0.0)).update
    assert np.abs(update["weight"] - without["weight"]).max() > 1e-2


def test_a_parameter_that_a_step_does_not_use_is_pulled_back_all_the_same():
    """It is used in the first step alone; with plain descent the pull then takes it back by 1 − ημ a step."""
    torch = pytest.importorskip("torch")

    class Once(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)
            self.extra = torch.nn.Parameter(torch.zeros(3))
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x):
            self.calls += self.training
            return self.layer(x) + self.extra if self.calls <= 1 else self.layer(x)

    trainer = TorchTrainer(Once(), LocalTraining())
    weights = trainer.initial_weights()
    settings = LocalTraining(epochs=1, batch_size=21, learning_rate=0.5, momentum=0.0, proximal=0.4)
    one, three = (
        trainer.train(weights, examples(), seed=0, settings=replace(settings, epochs=epochs)).update["extra"]
        for epochs in (1, 3)
    )
    assert np.abs(one).max() > 1e-3
    assert three == pytest.approx(one * (1 - 0.5 * 0.4) ** 2, rel=1e-5)


class Counted:
    """Counts the examples of every batch that a model is trained on."""

    def __init__(self, torch):
        self.batches = batches = []

        class Counting(torch.nn.Linear):
            def forward(self, x):
                if self.training:
                    batches.append(len(x))
                return super().forward(x)

        self.model = Counting(6, 3)


@pytest.mark.parametrize("n", [1, 5, 21, 24])
@pytest.mark.parametrize("steps", [None, 1, 4, 7, 10_000])
def test_guarantee_4_a_client_computes_as_many_gradients_as_its_settings_say(n, steps):
    counted = Counted(pytest.importorskip("torch"))
    settings = LocalTraining(epochs=2, batch_size=5, learning_rate=0.1, momentum=0.9, steps=steps)
    trainer = TorchTrainer(counted.model, settings)
    trainer.train(trainer.initial_weights(), examples(n), seed=0)
    everything = 2 * math.ceil(n / 5)
    assert len(counted.batches) == min(steps or everything, everything)
    assert sum(counted.batches) == settings.examples_seen(n)
    assert settings.examples_seen(n) <= LocalTraining(epochs=2).examples_seen(n) == 2 * n


def test_fewer_steps_are_the_first_of_all_the_steps():
    torch = pytest.importorskip("torch")
    trainer = TorchTrainer(torch.nn.Linear(6, 3), LocalTraining(epochs=2, batch_size=8))
    weights, own = received(trainer), examples()
    one_epoch = trainer.train(weights, own, seed=3, settings=LocalTraining(epochs=1, batch_size=8))
    three_steps = trainer.train(weights, own, seed=3, settings=LocalTraining(epochs=2, batch_size=8, steps=3))
    assert bits(one_epoch.update) == bits(three_steps.update)


def test_the_settings_of_a_call_count_in_that_call_alone():
    torch = pytest.importorskip("torch")
    usual, other = LocalTraining(epochs=1, batch_size=8), LocalTraining(epochs=3, batch_size=4, learning_rate=0.01)
    model = torch.nn.Linear(6, 3)
    trainer, others = TorchTrainer(model, usual), TorchTrainer(model, other)
    weights, own = received(trainer), examples()
    before = bits(trainer.train(weights, own, seed=3).update)
    called = bits(trainer.train(weights, own, seed=3, settings=other).update)
    assert called == bits(others.train(weights, own, seed=3).update) != before
    assert bits(trainer.train(weights, own, seed=3).update) == before


def test_settings_of_steps_and_pull_out_of_range_name_their_key():
    for proximal in (-0.5, math.inf, "0.1", True):
        with pytest.raises(
            ConfigurationError, match=r"strategy\.proximal is .*; use a number of 0 or more, such as 0\.01"
        ):
            LocalTraining(proximal=proximal)
    with pytest.raises(ConfigurationError, match="steps is 0; use a whole number of 1 or more, such as 20"):
        LocalTraining(steps=0)


def test_a_private_trainer_takes_rate_and_momentum_of_a_call_and_refuses_what_its_plan_has_no_room_for():
    torch = pytest.importorskip("torch")
    pytest.importorskip("opacus")
    from privfl.learning.private_trainer import ExamplePlan, PrivateTrainer

    plan = ExamplePlan(noise_multiplier=1e-3, l2_clip=1.0, sampling_probability=1.0, steps=2, expected_batch=21.0)
    straight = LocalTraining(learning_rate=1e-3, momentum=0.0)
    trainer = PrivateTrainer(torch.nn.Linear(6, 3), straight, plan)
    weights, own = received(trainer), examples()

    def length(settings=None):
        update = trainer.train(weights, own, seed=0, settings=settings).update
        return math.sqrt(sum(float(np.square(array).sum()) for array in update.values()))

    # So short steps that both see the same gradient g: two steps are 2g, with a momentum of a half 2.5g. The noise is a
    # thousandth of a clip on a sum of some clips: 5 % of that are more than fifty of its deviations.
    usual = length()
    assert length(replace(straight, learning_rate=4e-3)) == pytest.approx(4 * usual, rel=0.05)
    assert length(replace(straight, momentum=0.5)) == pytest.approx(1.25 * usual, rel=0.05)
    assert length(replace(straight, epochs=50, batch_size=1)) == pytest.approx(usual, rel=0.05)
    for settings, message in [
        (replace(straight, proximal=0.01), r"strategy\.proximal is 0\.01 in privacy\.mode 'example'.*: 0 works"),
        (replace(straight, steps=3), r"steps is 3 in privacy\.mode 'example'.*: leave it out"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            trainer.train(weights, own, seed=0, settings=settings)
        with pytest.raises(ConfigurationError, match=message):
            PrivateTrainer(torch.nn.Linear(6, 3), settings, plan)
