"""Training with protected examples: what a client releases is clipped, noised and divided by what is public."""

import builtins
import json
import logging
import math
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
opacus = pytest.importorskip("opacus")
stats = pytest.importorskip("scipy.stats")

from torch import nn  # noqa: E402 - the tests below need torch

from privfl.dp.accountants.account import account  # noqa: E402
from privfl.dp.events import Gaussian, PoissonSampled, Repeated  # noqa: E402
from privfl.errors import ConfigurationError, MissingExtra, UnsupportedEvent  # noqa: E402
from privfl.learning import per_example  # noqa: E402
from privfl.learning.data import Examples, load  # noqa: E402
from privfl.learning.models import build  # noqa: E402
from privfl.learning.private_trainer import (  # noqa: E402
    ExamplePlan,
    GradSample,
    OpacusAccountant,
    OpacusBooks,
    PrivateTrainer,
)
from privfl.learning.trainer import LocalTraining, Trainer  # noqa: E402
from privfl.testing import UnsafeFixedEntropy  # noqa: E402

SETTINGS = LocalTraining(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.9)
PLAN = ExamplePlan.of(SETTINGS, 20, clip=1.0, noise_multiplier=1.0)
STRAIGHT = LocalTraining(learning_rate=1.0, momentum=0.0)
WHOLE = ExamplePlan(noise_multiplier=1.0, l2_clip=0.5, sampling_probability=1.0, steps=1, expected_batch=1.0)
BOTH = pytest.mark.parametrize("grad_sample", list(GradSample))


def examples(n: int = 21, shape: tuple[int, ...] = (6,), seed: int = 0, scale: float = 1.0) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(
        features=(scale * rng.normal(size=(n, *shape))).astype(np.float32),
        labels=rng.integers(0, 3, size=n).astype(np.int64),
    )


def some_of(own: Examples, chosen) -> Examples:
    return Examples(features=own.features[chosen], labels=own.labels[chosen])


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.GroupNorm(1, 5), nn.Linear(5, 3))


def fixed(number: int = 1) -> UnsafeFixedEntropy:
    return UnsafeFixedEntropy(bytes([number]) * 16)


@pytest.fixture
def silence(monkeypatch):
    """No noise: what is left is the sum of clipped gradients. There is no such setting, on purpose."""
    monkeypatch.setattr(per_example, "continuous_gaussian", lambda count, entropy: np.zeros(count))


@pytest.fixture
def gradients(monkeypatch):
    """What the optimiser is given in each step: the noised gradients, flattened, as float64."""
    seen = []
    step = torch.optim.SGD.step

    def seeing(self, closure=None):
        parameters = [p for group in self.param_groups for p in group["params"]]
        seen.append(torch.cat([p.grad.flatten() for p in parameters]).double().numpy())
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", seeing)
    return seen


def released(model, own, gradients, *, plan=WHOLE, grad_sample=GradSample.HOOKS, entropy=None) -> np.ndarray:
    """The gradient of the first step."""
    trainer = PrivateTrainer(model, STRAIGHT, plan, grad_sample=grad_sample, entropy=entropy)
    gradients.clear()
    trainer.train(trainer.initial_weights(), own, seed=0)
    return gradients[0]


def one_by_one(model, own) -> np.ndarray:
    """Gradients of the examples, shape (n, parameters), by autograd on one example after the other in float64."""
    model = model.double()
    rows = []
    for features, label in zip(torch.tensor(own.features).double(), torch.tensor(own.labels), strict=True):
        loss = nn.functional.cross_entropy(model(features[None]), label[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]).numpy())
    return np.stack(rows)


def clipped(rows: np.ndarray, clip: float) -> np.ndarray:
    return rows * np.minimum(1, clip / np.linalg.norm(rows, axis=1))[:, None]


# Sensitivity


MODELS = {
    "small": (small, (6,)),
    "mlp": (lambda: build("mlp", feature_shape=(6,), classes=3, seed=0), (6,)),
    "cnn": (lambda: build("cnn", feature_shape=(1, 6, 6), classes=3, seed=0), (1, 6, 6)),
    "logistic": (lambda: build("logistic", feature_shape=(6,), classes=3, seed=0), (6,)),
}


@BOTH
@pytest.mark.parametrize("name", MODELS)
def test_the_released_sum_is_that_of_explicitly_clipped_gradients(name, grad_sample, silence, gradients):
    make, shape = MODELS[name]
    own = examples(n=20, shape=shape, scale=2.0)
    rows = one_by_one(make(), own)
    clip = float(np.median(np.linalg.norm(rows, axis=1)))  # so that half of them are clipped
    found = released(make(), own, gradients, plan=replace(WHOLE, l2_clip=clip), grad_sample=grad_sample)
    expected = clipped(rows, clip).sum(axis=0)
    assert np.linalg.norm(found - expected) < 5e-4 * np.linalg.norm(expected)
    assert np.linalg.norm(found - rows.sum(axis=0)) > 0.05 * np.linalg.norm(expected)


@BOTH
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 30.0, 1e4, 1e10])
def test_guarantee_1_an_examples_share_never_exceeds_the_clip(scale, grad_sample, silence, gradients):
    for seed in range(5):
        own = examples(n=1, seed=seed, scale=scale)
        model = MODELS["mlp"][0]()
        true = float(np.linalg.norm(one_by_one(MODELS["mlp"][0](), own)))
        norm = float(np.linalg.norm(released(model, own, gradients, grad_sample=grad_sample)))
        assert norm <= WHOLE.l2_clip
        assert norm == pytest.approx(min(true, WHOLE.l2_clip), rel=1e-3)


@BOTH
def test_guarantee_1_an_example_less_moves_the_sum_by_the_clip_and_another_in_its_place_by_twice_that(
    grad_sample, silence, gradients
):
    own = examples(n=12, scale=50.0)
    everything = released(small(), own, gradients, grad_sample=grad_sample)
    other = examples(n=1, seed=9, scale=1e5)
    moved = []
    for i in range(len(own)):
        rest = np.arange(len(own)) != i
        without = released(small(), some_of(own, rest), gradients, grad_sample=grad_sample)
        moved.append(float(np.linalg.norm(everything - without)))
        swapped = Examples(
            features=np.concatenate([own.features[rest], other.features]),
            labels=np.concatenate([own.labels[rest], other.labels]),
        )
        exchanged = released(small(), swapped, gradients, grad_sample=grad_sample)
        assert np.linalg.norm(everything - exchanged) <= 2 * WHOLE.l2_clip
    assert max(moved) <= WHOLE.l2_clip
    assert max(moved) > 0.99 * WHOLE.l2_clip  # the bound is met: this test could see it broken


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.between, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.between.weight = self.first.weight

    def forward(self, x):
        return self.last(self.between(torch.tanh(self.first(x))))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)

    def forward(self, x):
        return self.layer(x * self.frozen) * self.scale


@pytest.mark.parametrize(
    ("make", "grad_sample"),
    [(Tied, GradSample.HOOKS), (Scaled, GradSample.HOOKS), (Scaled, GradSample.GHOST)],
)
def test_tied_scalar_and_frozen_parameters_are_clipped_together_or_left(make, grad_sample, silence, gradients):
    own = examples(n=9, scale=3.0)
    rows = []
    for features, label in zip(torch.tensor(own.features), torch.tensor(own.labels), strict=True):
        model = make()
        loss = nn.functional.cross_entropy(model(features[None]), label[None])
        parameters = [p for p in model.parameters() if p.requires_grad]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double().numpy())
    expected = clipped(np.stack(rows), WHOLE.l2_clip).sum(axis=0)
    found = released(make(), own, gradients, grad_sample=grad_sample)
    assert np.linalg.norm(found - expected) < 5e-4 * np.linalg.norm(expected)


# Noise, divisor, batches


@BOTH
def test_guarantee_2_the_divisor_is_the_public_one(grad_sample, silence, gradients):
    """Not the number of the client's examples, nor of the batch's: both would show in the update."""
    plan = replace(WHOLE, expected_batch=7.0)
    for n in (1, 3, 40):
        own = examples(n=n)
        expected = clipped(one_by_one(small(), own), plan.l2_clip).sum(axis=0) / 7.0
        found = released(small(), own, gradients, plan=plan, grad_sample=grad_sample)
        assert np.linalg.norm(found - expected) < 5e-4 * np.linalg.norm(expected)


@BOTH
@pytest.mark.parametrize(("probability", "n"), [(1e-12, 30), (1.0, 5)])
def test_guarantee_2_the_noise_has_the_planned_deviation_in_every_step(probability, n, grad_sample, gradients):
    """Over fresh streams each half would fail once in 10^6 runs. With q = 1e-12 every batch is empty."""
    plan = ExamplePlan(
        noise_multiplier=1.3, l2_clip=0.7, sampling_probability=probability, steps=12, expected_batch=5.0
    )
    model = build("mlp", feature_shape=(6,), classes=3, seed=0)
    still = LocalTraining(learning_rate=1e-12, momentum=0.0)  # so that every step sees the same sum
    runs = []
    for number in (1, 2):
        trainer = PrivateTrainer(model, still, plan, grad_sample=grad_sample, entropy=fixed(number))
        gradients.clear()
        trainer.train(trainer.initial_weights(), examples(n=n), seed=0)
        assert len(gradients) == plan.steps
        runs.append(np.concatenate(gradients))
    first, second = runs
    # What both share, the sum of the gradients, goes with the difference.
    draws = (first - second) / math.sqrt(2) / (1.3 * 0.7 / 5.0)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(draws))
    assert low < (draws**2).sum() < high
    assert stats.kstest(draws, "norm").pvalue > 1e-6
    steps = draws.reshape(plan.steps, -1)
    repeats = (steps[:-1] * steps[1:]).sum(axis=1) / math.sqrt(steps.shape[1])  # of a draw in the next step
    assert np.abs(repeats).max() < 6
    assert len(np.unique(draws)) > len(draws) - 20  # no draw is used twice; float32 has a few in common


def test_guarantee_2_an_empty_batch_moves_the_weights_as_any_other():
    plan = replace(WHOLE, sampling_probability=1e-12)
    for grad_sample in GradSample:
        trainer = PrivateTrainer(small(), STRAIGHT, plan, grad_sample=grad_sample)
        update = trainer.train(trainer.initial_weights(), examples(), seed=0).update
        assert all(np.abs(value).min() > 0 for value in update.values())


class Remembering(nn.Sequential):
    """Notes which examples it is trained on: the first feature is the example's number."""

    seen: list

    def forward(self, x):
        if self.training:
            self.seen.append(x[:, 0].long().tolist())
        return super().forward(x)


def sampled(n: int, plan: ExamplePlan, *, entropy, seed: int = 0) -> np.ndarray:
    """Who was in which batch: bool, shape (steps, n). An empty batch is not seen by the model."""
    own = examples(n=n)
    own.features[:, 0] = np.arange(n)
    model = Remembering(nn.Linear(6, 3))
    model.seen = []
    trainer = PrivateTrainer(model, STRAIGHT, plan, entropy=entropy)
    trainer._tried.add((6,))  # which would see examples too
    seen = []
    fit = trainer.fit

    def fitting(model, *args, **kwargs):
        fit(model, *args, **kwargs)
        seen.extend(model.seen)

    trainer.fit = fitting
    trainer.train(trainer.initial_weights(), own, seed=seed)
    batches = np.zeros((plan.steps, n), bool)
    for row, batch in zip(batches, seen, strict=False):
        assert len(set(batch)) == len(batch)
        row[batch] = True
    return batches


@pytest.mark.parametrize("n", [15, 60])
def test_guarantee_3_batches_are_poisson_samples_with_the_planned_probability(n):
    """Whatever the number of examples. Over fresh streams each of the three would fail once in 10^6 runs."""
    plan = replace(WHOLE, sampling_probability=0.3, steps=400, expected_batch=6.0)
    batches = sampled(n, plan, entropy=fixed())
    assert abs(stats.norm.ppf(stats.binom.cdf(batches.sum(), batches.size, 0.3))) < 4.9
    each = ((batches.sum(axis=0) - 400 * 0.3) ** 2 / (400 * 0.3 * 0.7)).sum()
    assert each < stats.chi2.ppf(1 - 1e-6, n)
    # Sizes vary as those of Poisson samples do; shuffled batches would all be of one size.
    sizes = ((batches.sum(axis=1) - n * 0.3) ** 2 / (n * 0.3 * 0.7)).sum()
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], 400)
    assert low < sizes < high


def test_guarantee_3_where_everyone_is_sampled_every_step_sees_all():
    assert sampled(9, replace(WHOLE, steps=5), entropy=None).all()


def test_batches_and_noise_do_not_follow_the_seed():
    plan = replace(WHOLE, sampling_probability=0.5, steps=20)
    assert (sampled(30, plan, entropy=None) != sampled(30, plan, entropy=None)).any()
    trainer: Trainer = PrivateTrainer(small(), STRAIGHT, WHOLE)
    weights = trainer.initial_weights()
    torch.manual_seed(0)
    one = trainer.train(weights, examples(), seed=1).update
    torch.manual_seed(0)
    two = trainer.train(weights, examples(), seed=1).update
    assert all((one[name] != two[name]).all() for name in one)


def test_the_seed_decides_dropout_in_the_first_call_as_in_every_other():
    def run(seed):
        model = nn.Sequential(nn.Linear(6, 40), nn.Dropout(0.5), nn.Linear(40, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(0.1)
        trainer = PrivateTrainer(model, STRAIGHT, WHOLE)
        updates = []
        for _ in range(2):
            trainer._entropy = fixed()
            updates.append(trainer.train(trainer.initial_weights(), examples(), seed=seed).update["2.weight"])
        assert np.array_equal(*updates)
        return updates[0]

    assert not np.array_equal(run(1), run(2))


# Models that have no gradients of single examples


class Model(nn.Module):
    """Layers and a forward pass, in one line."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._does = forward
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self._does(self, x)


class OwnNorm(nn.BatchNorm1d):
    pass


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(4), "layer '1' of kind BatchNorm1d.*replace it by GroupNorm.*ModuleValidator.fix does it"),
        (nn.BatchNorm1d(4, affine=False, track_running_stats=False), "layer '1' of kind BatchNorm1d.*GroupNorm"),
        (OwnNorm(4), "layer '1' of kind OwnNorm.*GroupNorm"),
        (nn.LSTM(4, 4), "layer '1' of kind LSTM.*what Opacus offers instead.*ModuleValidator.fix does it"),
        (nn.MultiheadAttention(4, 2), "layer '1' of kind MultiheadAttention"),
    ],
)
@BOTH
def test_guarantee_4_layers_without_gradients_of_single_examples_are_refused_at_once(layer, message, grad_sample):
    with pytest.raises(ConfigurationError, match=message):
        PrivateTrainer(nn.Sequential(nn.Linear(6, 4), layer), SETTINGS, PLAN, grad_sample=grad_sample)


def test_guarantee_4_what_the_sentence_says_works():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    repaired = opacus.validators.ModuleValidator.fix(model)
    trainer = PrivateTrainer(repaired, SETTINGS, PLAN)
    assert trainer.train(trainer.initial_weights(), examples(), seed=0).examples == 21


def test_guarantee_4_floating_point_buffers_are_refused():
    model = Model(lambda self, x: self.layer(x - self.mean), layer=nn.Linear(6, 3), mean=torch.zeros(6))
    with pytest.raises(ConfigurationError, match="model holds 'mean', which is no parameter and would leave"):
        PrivateTrainer(model, SETTINGS, PLAN)


def counting(self, x):
    self.count += 1
    return self.layer(x)


MIXING = {
    "centred by the batch": (lambda self, x: self.layer(x - x.mean(0)), {}, "depends on the others of its batch"),
    "of those before": (lambda self, x: self.layer(x.cumsum(0)), {}, "depends on the others"),
    "of those behind": (lambda self, x: self.layer(x.flip(0).cumsum(0).flip(0)), {}, "depends on the others"),
    "unseen by autograd": (lambda self, x: self.layer(x) - self.layer(x).mean(0).detach(), {}, "depends on the others"),
    "counting": (counting, {"count": torch.zeros((), dtype=torch.long)}, "model changes 'count' while it trains"),
    "unused": (lambda self, x: self.layer(x), {"spare": nn.Linear(2, 2)}, "does not use its parameter 'spare.weight'"),
}


@BOTH
@pytest.mark.parametrize("name", MIXING)
def test_guarantee_4_models_that_mix_or_remember_examples_are_refused(name, grad_sample, gradients):
    forward, parts, message = MIXING[name]
    trainer = PrivateTrainer(Model(forward, layer=nn.Linear(6, 3), **parts), SETTINGS, PLAN, grad_sample=grad_sample)
    with pytest.raises(ConfigurationError, match=message):
        trainer.train(trainer.initial_weights(), examples(), seed=0)
    assert gradients == []


def two_tokens(self, x):
    return self.layer(x.reshape(-1, 3)).reshape(-1, 2, 3).mean(1)


def batch_second(self, x):
    return self.layer(x.reshape(-1, 2, 3).transpose(0, 1)).mean(0)


def around_its_layer(self, x):
    return self.wide(x) + nn.functional.linear(2 * x, self.wide.weight)


def tied_and_scaled(self, x):
    return self.wide(self.twin(self.square(x * self.scale)))


MISTAKEN = {
    # Every token would be clipped as if it were an example.
    "tokens": (two_tokens, "8 gradients for 4 examples", "8"),
    "batch in the second place": (batch_second, "2 gradients for 4 examples", "2"),
    # Ghost clipping would clip by the norm of what hooks see, and release all of it.
    "around its layer": (around_its_layer, "not what autograd computes", "not what autograd computes"),
    "four axes": (lambda self, x: self.layer(x.reshape(-1, 1, 2, 3)).mean((1, 2)), None, "'hooks' works for more"),
    "called twice": (lambda self, x: self.wide(self.square(self.square(x))), None, "'hooks' works for more models"),
    # Opacus copies a module with parameters of its own, and the copy's weights are not tied any more.
    "tied beside a parameter": (tied_and_scaled, "not what autograd computes", "not what autograd computes"),
    "dropout beside a parameter": (
        lambda self, x: self.wide(nn.functional.dropout(x * self.scale, 0.5, self.training)),
        "vmap",
        "vmap",
    ),
    "in place": (lambda self, x: self.wide(self.square(x).relu_()), "modified inplace", "modified inplace"),
}
NEEDED = {
    "tokens": ("layer",),
    "batch in the second place": ("layer",),
    "four axes": ("layer",),
    "around its layer": ("wide",),
    "called twice": ("wide", "square"),
    "tied beside a parameter": ("wide", "square", "twin", "scale"),
    "dropout beside a parameter": ("wide", "scale"),
    "in place": ("wide", "square"),
}


@BOTH
@pytest.mark.parametrize("name", MISTAKEN)
def test_guarantee_4_models_on_which_opacus_is_mistaken_are_refused(name, grad_sample, gradients):
    """Privacy would be lost without a word in the first three: hooks see what a layer is given, not by whom."""
    forward, by_hooks, by_ghost = MISTAKEN[name]
    offered = {
        "layer": nn.Linear(3, 3),
        "wide": nn.Linear(6, 3),
        "square": nn.Linear(6, 6),
        "scale": nn.Parameter(torch.ones(6)),
        "twin": nn.Linear(6, 6),
    }
    offered["twin"].weight = offered["square"].weight
    model = Model(forward, **{key: part for key, part in offered.items() if key in NEEDED[name]})
    trainer = PrivateTrainer(model, SETTINGS, PLAN, grad_sample=grad_sample)
    message = by_hooks if grad_sample is GradSample.HOOKS else by_ghost
    if message is None:
        assert trainer.train(trainer.initial_weights(), examples(), seed=0).examples == 21
        return
    with pytest.raises(ConfigurationError, match=message):
        trainer.train(trainer.initial_weights(), examples(), seed=0)
    assert gradients == []


@BOTH
def test_a_layer_that_sees_too_many_rows_only_later_is_caught_in_the_step(grad_sample):
    model = Model(two_tokens, layer=nn.Linear(3, 3))
    trainer = PrivateTrainer(model, SETTINGS, replace(PLAN, sampling_probability=1.0), grad_sample=grad_sample)
    trainer._tried.add((6,))
    with pytest.raises((ConfigurationError, RuntimeError), match=r"2 gradients for 1 examples|size of tensor"):
        trainer.train(trainer.initial_weights(), examples(n=1), seed=0)


@BOTH
@pytest.mark.parametrize("what", ["LayerNorm", "GroupNorm", "Embedding", "Conv1d", "dropout", "whole numbers"])
def test_models_that_treat_each_example_alone_are_trained(what, grad_sample):
    model = {
        "LayerNorm": lambda: nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
        "GroupNorm": lambda: nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3)),
        "Embedding": lambda: Model(
            lambda self, x: self.out(self.table(x.abs().long().clamp(max=4)).mean(1)),
            table=nn.Embedding(5, 4),
            out=nn.Linear(4, 3),
        ),
        "Conv1d": lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Flatten(), nn.Linear(8, 3)),
        "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
        "whole numbers": lambda: Model(
            lambda self, x: self.inner(x[:, self.places]), inner=nn.Linear(6, 3), places=torch.arange(6)
        ),
    }[what]()
    trainer = PrivateTrainer(model, SETTINGS, PLAN, grad_sample=grad_sample)
    result = trainer.train(trainer.initial_weights(), examples(), seed=0)
    assert result.update.keys() == trainer.initial_weights().keys()
    assert all(np.isfinite(value).all() for value in result.update.values())


# What surrounds training


@BOTH
def test_guarantee_5_nothing_of_the_callers_is_changed(grad_sample):
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = PrivateTrainer(model, SETTINGS, PLAN, grad_sample=grad_sample)
    weights, own = trainer.initial_weights(), examples()
    kept = {name: value.copy() for name, value in weights.items()}
    for array in (*weights.values(), own.features, own.labels):
        array.flags.writeable = False
    torch.manual_seed(99)
    state, threads, filters = torch.random.get_rng_state(), torch.get_num_threads(), list(warnings.filters)
    trainer.train(weights, own, seed=0)
    trainer.train(weights, own, seed=0)
    with pytest.raises(ConfigurationError):
        trainer.train({}, own, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (torch.get_num_threads(), list(warnings.filters)) == (threads, filters)
    assert torch.is_grad_enabled()
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(hasattr(p, "grad_sample") for p in model.parameters())
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())


def test_the_result_tells_the_client_how_it_does():
    """Private to the client: of these only the update may leave it."""
    trainer = PrivateTrainer(small(), SETTINGS, PLAN)
    own = examples()
    result = trainer.train(trainer.initial_weights(), own, seed=0)
    trained = {name: value + result.update[name] for name, value in trainer.initial_weights().items()}
    fit = trainer.evaluate(trained, own)
    assert (result.examples, result.correct) == (21, fit.correct)
    assert result.loss == pytest.approx(fit.loss, rel=1e-4)


@BOTH
def test_what_is_not_finite_is_refused_in_words(grad_sample):
    trainer = PrivateTrainer(small(), replace(SETTINGS, learning_rate=1e30), PLAN, grad_sample=grad_sample)
    weights, own = trainer.initial_weights(), examples()
    with pytest.raises(ConfigurationError, match=r"training diverged; lower strategy\.learning_rate"):
        trainer.train(weights, own, seed=0)
    with pytest.raises(ConfigurationError, match=r"weights\['0.bias'\] hold NaN or infinity.*strategy\.learning_rate"):
        trainer.train({**weights, "0.bias": weights["0.bias"] * np.float32("nan")}, own, seed=0)


@BOTH
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38])
def test_an_example_that_would_make_training_fail_does_not_show(grad_sample, odd):
    """A client that dropped out because of one example would tell that it has it, whatever the noise."""
    trainer = PrivateTrainer(small(), SETTINGS, PLAN, grad_sample=grad_sample)
    own = examples()
    own.features[3] = odd
    before = own.features.copy()
    result = trainer.train(trainer.initial_weights(), own, seed=0)
    assert all(np.isfinite(array).all() for array in result.update.values())
    assert np.array_equal(own.features, before, equal_nan=True)


@BOTH
def test_a_label_that_the_model_has_no_output_for_does_not_show(grad_sample):
    """It counts as the last one, whatever it is, and moves no other example; evaluation refuses it all the same."""
    own, other, last = examples(), examples(), examples()
    outputs = small()(torch.tensor(own.features)).shape[1]
    for one, label in ((own, outputs), (other, 10**12), (last, outputs - 1)):
        one.labels[3] = label
    updates = []
    for one in (own, other, last):
        trainer = PrivateTrainer(
            small(), SETTINGS, PLAN, grad_sample=grad_sample, entropy=UnsafeFixedEntropy(bytes(16))
        )
        updates.append(trainer.train(trainer.initial_weights(), one, seed=0).update)
    for update in updates[:2]:
        assert all(np.array_equal(update[name], updates[2][name]) for name in update)
    with pytest.raises(ConfigurationError, match=r"let it return shape \(n, classes\) with \d+ classes or more"):
        trainer.evaluate(trainer.initial_weights(), own)
    assert own.labels[3] == outputs


def test_guarantee_2_only_noise_of_the_system_is_secret():
    assert PrivateTrainer(small(), SETTINGS, PLAN).is_secret
    assert not PrivateTrainer(small(), SETTINGS, PLAN, entropy=UnsafeFixedEntropy(bytes(16))).is_secret


def test_grad_sample_is_one_of_two():
    assert PrivateTrainer(small(), SETTINGS, PLAN, grad_sample="ghost").grad_sample is GradSample.GHOST
    with pytest.raises(ConfigurationError, match=r"privacy\.grad_sample is 'magic': 'hooks' or 'ghost' works"):
        PrivateTrainer(small(), SETTINGS, PLAN, grad_sample="magic")


def test_importing_the_modules_imports_neither_torch_nor_opacus():
    code = (
        "import sys, privfl.learning.private_trainer;"
        "sys.exit(bool({'torch', 'opacus', 'scipy', 'dp_accounting'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_opacus_does_not_set_up_the_programs_logging():
    code = (
        "import logging; from privfl.learning.per_example import import_opacus; import_opacus();"
        "assert logging.root.handlers == [], logging.root.handlers"
    )
    outcome = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert isinstance(logging.root.handlers, list)


def test_without_opacus_the_error_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def no_opacus(module, *args, **kwargs):
        if module.split(".")[0] == "opacus":
            raise ImportError(module)
        return real_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_opacus)
    with pytest.raises(MissingExtra, match=r"'opacus' is not installed: pip install 'privfl\[learning\]'"):
        PrivateTrainer(small(), SETTINGS, PLAN)
    with pytest.raises(MissingExtra):
        OpacusBooks()


# The plan


def test_a_plan_is_made_of_what_is_public():
    settings = LocalTraining(epochs=3, batch_size=16)
    plan = ExamplePlan.of(settings, 143, clip=1.5, noise_multiplier=1.1)
    assert plan == ExamplePlan(
        noise_multiplier=1.1, l2_clip=1.5, sampling_probability=16 / 143, steps=27, expected_batch=16 / 143 * 143
    )
    sampled = PoissonSampled(sampling_probability=16 / 143, event=Gaussian(noise_multiplier=1.1))
    assert plan.event == Repeated(event=sampled, count=27)
    assert plan.over(5) == Repeated(event=sampled, count=135)


@pytest.mark.parametrize("public", [1, 15, 16])
def test_clients_smaller_than_a_batch_are_not_sampled_from(public):
    plan = ExamplePlan.of(LocalTraining(epochs=3, batch_size=16), public, clip=1.0, noise_multiplier=1.1)
    assert (plan.sampling_probability, plan.steps, plan.expected_batch) == (1.0, 3, public)
    assert plan.event == Repeated(event=Gaussian(noise_multiplier=1.1), count=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise_multiplier": 0.0}, r"noise_multiplier is 0\.0: a number from"),
        ({"noise_multiplier": math.nan}, "noise_multiplier is nan: a number from"),
        ({"l2_clip": 0.0}, r"privacy\.clip is 0\.0: a number from .* works, such as 1\.0"),
        ({"l2_clip": math.inf}, r"privacy\.clip is inf"),
        ({"sampling_probability": 0.0}, r"sampling_probability is 0\.0: a probability above 0"),
        ({"sampling_probability": 1.01}, r"sampling_probability is 1\.01"),
        ({"steps": 0}, "steps is 0: a whole number from 1"),
        ({"steps": 2.0}, r"steps is 2\.0: a whole number"),
        ({"expected_batch": 0.0}, r"expected_batch is 0\.0: a number from"),
    ],
)
def test_plans_out_of_range_are_refused(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        replace(PLAN, **wrong)
    with pytest.raises(ConfigurationError, match="public_examples is 0: a whole number from 1"):
        ExamplePlan.of(SETTINGS, 0, clip=1.0, noise_multiplier=1.0)


# The books


ROUND = {"noise_multiplier": 0.8, "sampling_probability": 0.05, "steps": 20}


def in_a_new_process(state: str, rounds: int) -> str:
    code = (
        "import json, sys; from privfl.learning.private_trainer import OpacusBooks;"
        "books = OpacusBooks.from_state(json.loads(sys.stdin.readline()));"
        f"[books.step(**{ROUND!r}) for _ in range({rounds})]; print(json.dumps(books.state()))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], input=state, capture_output=True, text=True, check=True)
    return outcome.stdout


@pytest.mark.parametrize("accountant", list(OpacusAccountant))
def test_books_guarantee_1_restarts_do_not_forget(accountant):
    """Five rounds: a restart after the second, another process for the fourth and fifth."""
    books = OpacusBooks()
    books.step(**ROUND)
    books.step(**ROUND)
    carried = OpacusBooks.from_state(json.loads(json.dumps(books.state())))
    carried.step(**ROUND)
    carried = OpacusBooks.from_state(json.loads(in_a_new_process(json.dumps(carried.state()), 2)))
    whole = OpacusBooks()
    whole.step(**(ROUND | {"steps": 100}))
    assert carried.epsilon(1e-5, accountant) == pytest.approx(whole.epsilon(1e-5, accountant), rel=0, abs=1e-6)
    assert carried.state() == whole.state()
    # The trap: books that are opened anew in every round say this each time.
    fresh = OpacusBooks()
    fresh.step(**ROUND)
    assert fresh.epsilon(1e-5, accountant) < 0.65 * carried.epsilon(1e-5, accountant)
    # The books that were left behind did not change with those that went on.
    assert books.state() == {"history": [[0.8, 0.05, 40]]}


def test_books_compose_step_by_step_as_opacus_does():
    from opacus.accountants import RDPAccountant

    books, theirs = OpacusBooks(), RDPAccountant()
    for noise, probability, steps in [(1.0, 0.1, 3), (1.0, 0.1, 2), (1.2, 0.1, 1), (1.0, 0.1, 4)]:
        books.step(noise_multiplier=noise, sampling_probability=probability, steps=steps)
        for _ in range(steps):
            theirs.step(noise_multiplier=noise, sample_rate=probability)
    assert books.state() == {"history": [list(entry) for entry in theirs.history]}
    assert books.epsilon(1e-5, OpacusAccountant.RDP) == theirs.get_epsilon(1e-5)


def test_books_guarantee_2_nothing_costs_nothing():
    for accountant in OpacusAccountant:
        assert OpacusBooks().epsilon(1e-5, accountant) == 0.0
    assert OpacusBooks.from_state(OpacusBooks().state()).epsilon(1e-5) == 0.0


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (2.0, 10), (5.0, 100)])
def test_books_without_sampling_agree_with_the_closed_form(noise, steps):
    """q = 1: Opacus' PRVs take the logarithm of 0 there, and are right all the same."""
    books = OpacusBooks()
    books.step(noise_multiplier=noise, sampling_probability=1.0, steps=steps)
    mu = math.sqrt(steps) / noise

    def delta(epsilon):
        tails = stats.norm.cdf([mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu])
        return tails[0] - math.exp(epsilon) * tails[1]

    found = books.epsilon(1e-5, OpacusAccountant.PRV)
    assert delta(found) <= 1e-5 <= delta(found - 0.03)
    assert found < books.epsilon(1e-5, OpacusAccountant.RDP) < 1.1 * found


@pytest.mark.parametrize("public", [50, 143, 71])
def test_books_and_ledger_agree_on_what_a_plan_costs(public):
    """Also where 1/q is no whole number. Our PLD's figure lies within the error that Opacus' PRV allows itself."""
    pytest.importorskip("dp_accounting")
    plan = ExamplePlan.of(LocalTraining(epochs=2, batch_size=32), public, clip=1.0, noise_multiplier=1.2)
    books = OpacusBooks()
    for _ in range(5):
        books.step(
            noise_multiplier=plan.noise_multiplier,
            sampling_probability=plan.sampling_probability,
            steps=plan.steps,
        )
    ours = account([plan.over(5)], 1e-5).epsilon
    assert ours - 0.002 < books.epsilon(1e-5) < ours + 0.025
    assert books.epsilon(1e-5, OpacusAccountant.RDP) > ours - 0.002


def test_books_never_ask_the_accountant_that_underestimates():
    assert {str(accountant) for accountant in OpacusAccountant} == {"rdp", "prv"}


def test_books_say_when_they_have_no_answer():
    books = OpacusBooks()
    books.step(noise_multiplier=0.01, sampling_probability=0.1, steps=3)
    with pytest.raises(UnsupportedEvent, match=r"Opacus' prv accountant has no answer.*accountant 'rdp' works"):
        books.epsilon(1e-5, OpacusAccountant.PRV)
    assert books.epsilon(1e-5, OpacusAccountant.RDP) > 1000


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "the books' state is {}: what state"),
        ({"history": [], "mechanism": "gdp"}, "the books' state is"),
        ([], "the books' state is"),
        ({"history": [[1.0, 0.1]]}, r"history\[0\] is \[1\.0, 0\.1\]: three numbers work"),
        ({"history": [[1.0, 0.1, 5], [1.0, 0.1, -5]]}, r"history\[1\]: steps is -5"),
        ({"history": [["1", 0.1, 5]]}, r"history\[0\]: noise_multiplier is '1'"),
        ({"history": [[1.0, 2, 5]]}, r"history\[0\]: sampling_probability is 2"),
    ],
)
def test_books_are_not_read_from_anything_else(state, message):
    with pytest.raises(ConfigurationError, match=message):
        OpacusBooks.from_state(state)


@pytest.mark.parametrize("wrong", [{"noise_multiplier": 0.0}, {"sampling_probability": 0.0}, {"steps": 0}])
def test_books_refuse_what_no_step_is(wrong):
    books = OpacusBooks()
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is 0"):
        books.step(**(ROUND | wrong))
    assert books.state() == {"history": []}
    books.step(**ROUND)
    for delta in (0, 1, math.nan, "1e-5"):
        with pytest.raises(ConfigurationError, match=r"delta is .* such as 1e-5"):
            books.epsilon(delta)


# Learning


@BOTH
def test_ten_clients_learn_digits_within_a_budget(grad_sample):
    """Linear model, 10 rounds, ε = 8 at δ = 1e-5 per example: 86 to 93 % on held-out digits over fresh noise."""
    settings = LocalTraining(epochs=1, batch_size=48, learning_rate=4.0, momentum=0.0)
    plan = ExamplePlan.of(settings, 143, clip=1.0, noise_multiplier=1.38)
    books = OpacusBooks()
    federation = load("digits", clients=10, seed=0)
    model = build("logistic", feature_shape=federation.feature_shape, classes=federation.classes, seed=0)
    trainer = PrivateTrainer(model, settings, plan, grad_sample=grad_sample, entropy=fixed())
    weights = trainer.initial_weights()
    for _ in range(10):
        updates = [trainer.train(weights, own, seed=0).update for own in federation.clients]
        weights = {name: value + sum(update[name] for update in updates) / 10 for name, value in weights.items()}
        books.step(
            noise_multiplier=plan.noise_multiplier, sampling_probability=plan.sampling_probability, steps=plan.steps
        )
    assert books.epsilon(1e-5) <= 8
    assert trainer.evaluate(weights, federation.test).accuracy >= 0.80
