"""Probes of training: what a faultless trainer does with known inputs, and which faults show in it.

Trainers draw from fixed entropy here, so that every test comes out the same each time. What it would come out as with
fresh entropy: limits on sums of squares are at 4.4 standard deviations, a false alarm once in 90 000.
"""

import io
import itertools
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
opacus = pytest.importorskip("opacus")
stats = pytest.importorskip("scipy.stats")

from torch import nn  # noqa: E402 - the tests below need torch

from privfl.errors import ConfigurationError  # noqa: E402
from privfl.learning import per_example, training_probe  # noqa: E402
from privfl.learning.models import build  # noqa: E402
from privfl.learning.private_trainer import ExamplePlan, GradSample, PrivateTrainer  # noqa: E402
from privfl.learning.trainer import LocalTraining  # noqa: E402
from privfl.learning.training_probe import (  # noqa: E402
    MOST_CANARIES,
    TrainingProbe,
    canaries_for,
    coins,
    guess_counts,
    pixels,
    probe_training,
)
from privfl.testing import UnsafeFixedEntropy  # noqa: E402

SEED = bytes(range(16))
SHAPES = {"logistic": (30,), "mlp": (30,), "cnn": (1, 8, 8)}
LIMIT = 4.4


def settings(momentum=0.9, epochs=2):
    return LocalTraining(epochs=epochs, batch_size=16, learning_rate=0.1, momentum=momentum)


def trainer(model="logistic", *, momentum=0.9, epochs=2, noise=2.75, examples=45, number=1, **options):
    own = settings(momentum, epochs)
    plan = ExamplePlan.of(own, examples, clip=1.0, noise_multiplier=noise)
    built = build(model, feature_shape=SHAPES[model], classes=2, seed=0) if isinstance(model, str) else model
    return PrivateTrainer(built, own, plan, entropy=UnsafeFixedEntropy(bytes([number]) * 16), **options)


def probed(tested, *, canaries=8, shape=(30,), seed=SEED) -> TrainingProbe:
    return probe_training(tested, tested.initial_weights(), feature_shape=shape, seed=seed, canaries=canaries)


def excess(residuals) -> float:
    """How many standard deviations the sum of squares is from that of standard normal numbers."""
    return (np.square(residuals).sum() - residuals.size) / np.sqrt(2 * residuals.size)


def one_run(canaries, guesses, correct, delta=1e-5, level=0.05) -> float:
    """The bound of Steinke et al., 2023."""

    def likely(epsilon):
        q = 1 / (1 + np.exp(-epsilon))
        below = stats.binom.cdf(np.arange(-1, guesses), guesses, q)  # P[W < 0], P[W < 1], ...
        nearly = max((below[correct] - below[correct - i]) / i for i in range(1, correct + 1))
        return stats.binom.sf(correct - 1, guesses, q) + 2 * canaries * delta * nearly > level

    low, high = 0.0, 10.0
    for _ in range(20):
        low, high = (low, (low + high) / 2) if likely((low + high) / 2) else ((low + high) / 2, high)
    return low


@pytest.fixture
def briefly(monkeypatch):
    """For tests that do not look at the noise: less of it."""
    monkeypatch.setattr(training_probe, "_ENOUGH", 1)


@pytest.fixture(scope="module")
def recorded() -> TrainingProbe:
    return probed(trainer("mlp"), canaries=24)


# Noise


@pytest.mark.parametrize(
    ("model", "momentum", "grad_sample"),
    [("mlp", 0.9, "hooks"), ("mlp", 0.0, "hooks"), ("logistic", 0.5, "hooks"), ("cnn", 0.9, "ghost")],
)
def test_guarantee_1_residuals_are_standard_normal(model, momentum, grad_sample):
    probe = probed(trainer(model, momentum=momentum, grad_sample=GradSample(grad_sample)), shape=SHAPES[model])
    quiet, silent = np.split(probe.residuals, [len(probe.noise) - probe.silent_runs])
    assert quiet.size == silent.size >= 1000
    assert abs(excess(quiet)) < LIMIT
    assert abs(excess(silent)) < LIMIT
    assert stats.kstest(probe.residuals.ravel(), "norm").pvalue > 1e-5


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.999999])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_planned_deviation_is_that_of_torchs_descent(momentum, steps, recorded):
    plan = ExamplePlan(noise_multiplier=2.0, l2_clip=3.0, sampling_probability=0.5, steps=steps, expected_batch=4.0)
    # A unit gradient in each step alone shows how much of it reaches the weights.
    reached = []
    for step in range(steps):
        weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        descent = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
        for i in range(steps):
            weight.grad = torch.ones(1, dtype=torch.float64) * (i == step)
            descent.step()
        reached.append(-weight.item())
    probe = replace(recorded, plan=plan, momentum=momentum, learning_rate=0.1)
    assert probe.noise_std == pytest.approx(2.0 * 3.0 / 4.0 * np.linalg.norm(reached), rel=1e-9)
    assert probe.clip_bounds == pytest.approx(3.0 / 4.0 * np.array([0.1, sum(reached)]), rel=1e-9)


@pytest.mark.parametrize("factor", [0.7, 0.93])
def test_too_little_noise_shows(factor, monkeypatch):
    draw = per_example.continuous_gaussian
    monkeypatch.setattr(per_example, "continuous_gaussian", lambda count, entropy: factor * draw(count, entropy))
    assert excess(probed(trainer()).residuals) < -LIMIT


def test_no_noise_in_empty_batches_shows(monkeypatch):
    step = per_example.NoisyDescent.step
    monkeypatch.setattr(per_example.NoisyDescent, "step", lambda self, x, y: step(self, x, y) if len(y) else None)
    probe = probed(trainer())
    assert not probe.noise[: len(probe.noise) - probe.silent_runs].any()


def test_dividing_by_the_size_of_the_batch_shows(monkeypatch):
    step = per_example.NoisyDescent.step

    def divided(self, features, labels):
        self._optimiser._noise = self._optimiser._noise._replace(divisor=max(1.0, float(len(labels))))
        step(self, features, labels)

    monkeypatch.setattr(per_example.NoisyDescent, "step", divided)
    probe = probed(trainer())
    assert excess(probe.residuals) > LIMIT


def test_more_steps_than_planned_show(monkeypatch):
    fit = PrivateTrainer.fit

    def twice(self, *arguments, **others):
        fit(self, *arguments, **others)
        fit(self, *arguments, **others)

    monkeypatch.setattr(PrivateTrainer, "fit", twice)
    assert excess(probed(trainer()).residuals) > LIMIT


def test_a_model_that_ends_without_a_bias_has_no_silent_runs():
    torch.manual_seed(0)
    tested = trainer(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2), nn.Linear(2, 2, bias=False)))
    probe = probed(tested, shape=(6,))
    assert probe.silent_runs == 0
    assert abs(excess(probe.residuals)) < LIMIT


def test_what_is_not_trained_is_no_part_of_an_update():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    model[0].weight.requires_grad_(False)
    probe = probed(trainer(model), shape=(6,))
    assert probe.noise.shape[1] == 8 + 16 + 2
    assert abs(excess(probe.residuals)) < LIMIT


def test_of_long_updates_some_coordinates_are_kept(monkeypatch):
    monkeypatch.setattr(training_probe, "MOST_COORDINATES", 100)
    probe = probed(trainer("mlp"))
    assert probe.noise.shape[1] == 98  # every 16th of 1 554
    assert abs(excess(probe.residuals)) < LIMIT


# Canaries


@pytest.mark.parametrize(
    ("model", "claimed", "epochs", "examples", "noise"),
    [("logistic", 2.3, 5, 45, 2.75), ("mlp", 1.2, 5, 45, 4.8), ("cnn", 1.4, 1, 143, 1.5)],
)
def test_guarantee_2_scores_tell_coins_without_noise_only(model, claimed, epochs, examples, noise, briefly):
    tested = trainer(model, epochs=epochs, examples=examples, noise=noise)
    canaries = canaries_for(tested.plan, claimed)
    probe = probed(tested, canaries=canaries, shape=SHAPES[model])
    assert one_run(canaries, *probe.guessed(probe.control)) > claimed
    assert one_run(canaries, *probe.guessed(probe.scores)) < claimed
    assert probe.control_noise_multiplier <= 0.001
    assert np.median(probe.control[probe.included]) > 0.05
    assert abs(np.median(probe.control[~probe.included])) < 0.02


def test_a_trainer_without_noise_is_found_out(monkeypatch, briefly):
    monkeypatch.setattr(per_example, "continuous_gaussian", lambda count, entropy: np.zeros(count))
    tested = trainer("mlp", epochs=5)
    canaries = canaries_for(tested.plan, 1.2)
    probe = probed(tested, canaries=canaries)
    assert one_run(canaries, *probe.guessed(probe.scores)) > 1.2


@pytest.mark.parametrize(
    ("epsilon", "steps"), [(0.2, 3), (1.0, 3), (1.7, 3), (0.2, 15), (1.0, 15), (1.7, 15), (2.4, 15)]
)
def test_two_wrong_guesses_leave_the_control_its_power(epsilon, steps):
    plan = replace(trainer().plan, steps=steps)
    canaries = canaries_for(plan, epsilon)
    guesses = sum(guess_counts(plan, canaries))
    assert canaries < MOST_CANARIES
    assert one_run(canaries, guesses, guesses - 2) > epsilon


def test_beyond_what_can_be_shown_there_is_a_largest_number_of_canaries():
    assert canaries_for(trainer().plan, 1e6) == MOST_CANARIES


def test_canaries_are_guessed_to_be_out_only_where_those_that_are_in_are_seen():
    plan = trainer().plan
    assert guess_counts(replace(plan, sampling_probability=1.0), 64) == (16, 16)
    assert guess_counts(replace(plan, steps=3), 64) == (11, 0)
    assert guess_counts(replace(plan, sampling_probability=1e-9, steps=1), 64) == (1, 0)


def test_of_equal_scores_the_wrong_ones_are_guessed_at(recorded):
    level = np.zeros(24)
    guesses, correct = recorded.guessed(level)
    inside, outside = guess_counts(recorded.plan, 24)
    assert guesses == inside + outside
    assert correct == max(0, inside - int((~recorded.included).sum())) + max(0, outside - int(recorded.included.sum()))
    assert recorded.guessed(np.where(recorded.included, 1.0, 0.0)) == (guesses, guesses)


def test_a_canary_alone_that_is_out_is_trained_without(briefly):
    seed = next(bytes([i] * 16) for i in range(99) if not coins(bytes([i] * 16), 1)[0])
    probe = probed(trainer(), canaries=1, seed=seed)
    assert abs(probe.control[0]) < 0.01


# The clip


def test_guarantee_3_an_enormous_gradient_moves_the_weights_by_the_clip(recorded):
    assert recorded.clip_gradient[0] > 1e4
    assert recorded.clip_gradient[1] > 2
    assert (recorded.clip_effect < recorded.clip_bounds + LIMIT * recorded.clip_stds).all()
    assert recorded.clip_effect[0] > recorded.clip_bounds[0] * (1 - 2**-11) - LIMIT * recorded.clip_stds[0]
    assert (recorded.clip_stds < 0.002 * recorded.clip_bounds).all()


@pytest.mark.parametrize("factor", [1.02, 1e30])
def test_a_clip_that_is_too_large_shows(factor, monkeypatch, briefly):
    sums = per_example._clipped_sums
    monkeypatch.setattr(per_example, "_clipped_sums", lambda rows, n, clip: sums(rows, n, factor * clip))
    probe = probed(trainer())
    assert probe.clip_effect[0] > probe.clip_bounds[0] + LIMIT * probe.clip_stds[0]


def test_gradients_of_earlier_steps_that_are_added_again_show(monkeypatch, briefly):
    sums, made = per_example._clipped_sums, per_example.NoisyDescent.__init__
    kept = []

    def begun(self, *arguments, **options):
        kept.clear()
        made(self, *arguments, **options)

    def added(rows, n, clip):
        kept.append(sums(rows, n, clip))
        return [sum(parts) for parts in zip(*kept, strict=True)]

    monkeypatch.setattr(per_example.NoisyDescent, "__init__", begun)
    monkeypatch.setattr(per_example, "_clipped_sums", added)
    probe = probed(trainer(epochs=5))
    assert probe.clip_effect[1] > probe.clip_bounds[1] + LIMIT * probe.clip_stds[1]


# What is public


def test_the_seed_decides_coins_and_canaries():
    assert np.array_equal(coins(SEED, 100), coins(SEED, 100))
    assert np.array_equal(coins(SEED, 50), coins(SEED, 100)[:50])
    assert not np.array_equal(coins(SEED, 100), coins(bytes(16), 100))
    assert all(np.array_equal(a, b) for a, b in zip(pixels(SEED, 64, 30), pixels(SEED, 64, 30), strict=True))
    assert not np.array_equal(pixels(SEED, 64, 30)[0], pixels(bytes(16), 64, 30)[0])
    assert abs(int(coins(SEED, 10_000).sum()) - 5000) < LIMIT * 50


@pytest.mark.parametrize("features", [1, 3, 8, 30, 64, 784])
def test_canaries_of_a_group_have_places_of_their_own(features):
    places, signs = pixels(SEED, 100, features)
    assert set(np.abs(signs)) == {1}
    assert 0 <= places.min() <= places.max() < features
    group = min(8, features)
    assert all(len(set(places[i : i + group])) == len(places[i : i + group]) for i in range(0, 100, group))


def test_the_trainer_and_the_weights_are_left_as_they_were(briefly):
    tested, torch_state = trainer(), torch.get_rng_state()
    plan, weights = tested.plan, tested.initial_weights()
    before = {name: array.copy() for name, array in weights.items()}
    probe_training(tested, weights, feature_shape=(30,), seed=SEED, canaries=8)
    assert tested.plan is plan
    assert all(np.array_equal(weights[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_reading_a_probe_takes_no_torch():
    code = "import sys, privfl.learning.training_probe as p; p.coins(bytes(16), 9); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": bytes(15)}, "15 bytes: 16"),
        ({"canaries": 0}, "canaries is 0"),
        ({"shape": (29,)}, "cannot take examples of shape"),
    ],
)
def test_what_cannot_be_probed_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        probed(trainer(), **options)


def test_too_many_steps_are_refused():
    tested = trainer()
    tested.plan = replace(tested.plan, steps=10**7)
    with pytest.raises(ConfigurationError, match="up to 1000000"):
        probed(tested)


# The file


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], **options) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", **options) as archive:
        for name, member in files.items():
            archive.writestr(name, member)
    return content.getvalue()


def saved(array, **options) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def same(one: TrainingProbe, other: TrainingProbe) -> bool:
    return one.to_npz() == other.to_npz()


def test_what_is_written_is_read(recorded):
    read = TrainingProbe.from_npz(recorded.to_npz())
    assert read.seed == recorded.seed
    assert read.plan == recorded.plan
    assert type(read.plan.steps) is type(read.silent_runs) is int
    assert (read.learning_rate, read.momentum, read.silent_runs) == (0.1, 0.9, recorded.silent_runs)
    for name in ("noise", "scores", "control", "clip_effect", "clip_gradient", "included", "residuals"):
        assert np.array_equal(getattr(read, name), getattr(recorded, name)), name
    assert same(read, TrainingProbe.from_npz(packed(members(recorded.to_npz()))))


def test_damaged_files_are_refused_or_read_as_they_were(recorded):
    content = recorded.to_npz()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 21, 22, 1000, len(content) // 2, len(content) - 1):
        with pytest.raises(ConfigurationError):
            TrainingProbe.from_npz(content[:cut])
    for place in rng.integers(0, len(content), 200):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        try:
            assert same(TrainingProbe.from_npz(bytes(flipped)), recorded)  # such as in a date
        except ConfigurationError:
            continue


REPLACED = {
    "steps": [np.array(1.5), np.array(0.0), np.array(np.nan), np.array(1e8), np.array([15.0]), np.array(15)],
    "silent_runs": [np.array(-1.0), np.array(4.0), np.array(0.5)],
    "noise_multiplier": [np.array(0.0), np.array(np.inf)],
    "control_noise_multiplier": [np.array(-1.0)],
    "learning_rate": [np.array(0.0), np.array(np.nan)],
    "momentum": [np.array(1.0)],
    "seed": [np.zeros(15, np.uint8), np.zeros(16), np.array(7, np.uint8)],
    "noise": [np.zeros((4, 8)), np.full((4, 8), np.nan, np.float32), np.zeros((4, 0), np.float32), np.float32(1)],
    "scores": [np.zeros(23), np.full(24, np.inf), np.zeros((24, 1)), np.array(1.0), np.zeros(0)],
    "control": [np.zeros(24, np.float32)],
    "clip_effect": [np.zeros(3)],
    "clip_gradient": [np.zeros(1)],
}


@pytest.mark.parametrize(("name", "array"), [(name, array) for name, some in REPLACED.items() for array in some])
def test_values_that_no_trainer_can_have_recorded_are_refused(name, array, recorded):
    files = members(recorded.to_npz())
    with pytest.raises(ConfigurationError):
        TrainingProbe.from_npz(packed(files | {f"{name}.npy": saved(array)}))


def test_other_archives_are_refused(recorded, monkeypatch):
    files = members(recorded.to_npz())
    without = {name: member for name, member in files.items() if name != "scores.npy"}
    pickled = saved(np.array([print], dtype=object), allow_pickle=True)
    vast = saved(np.zeros(2)).replace(b"(2,), }", b"(9999999999999,), }")
    for wrong in (
        packed(without),
        packed(files | {"more.npy": saved(np.zeros(1))}),
        packed(without | {"scores": files["scores.npy"]}),
        packed(files | {"scores.npy": pickled}),
        packed(files | {"scores.npy": vast}),
        packed(files | {"scores.npy": files["scores.npy"] + b"\0"}),
        packed(files | {"scores.npy": saved(np.asfortranarray(np.zeros((2, 3))))}),
        packed(files | {"scores.npy": b""}),
        saved(np.zeros(3)),
        b"",
        pickled,
    ):
        with pytest.raises(ConfigurationError, match="training probe"):
            TrainingProbe.from_npz(wrong)
    monkeypatch.setattr(training_probe, "_MOST_BYTES", 1000)
    with pytest.raises(ConfigurationError, match="unpacks to more than"):
        TrainingProbe.from_npz(recorded.to_npz())


def test_names_are_listed_once(recorded):
    names = members(recorded.to_npz())
    assert len(names) == len(set(itertools.chain(names))) == 15
