"""What of a PyTorch model travels: what is trained, by name, in float32; and the trained model back in PyTorch."""

import textwrap

import numpy as np
import pytest
from loop_stubs import finished, job_of, same

torch = pytest.importorskip("torch")

from privfl.errors import ConfigurationError  # noqa: E402 - the tests below need torch
from privfl.learning.adapters import AdaptedLinear, merged, prepared  # noqa: E402
from privfl.learning.checkpoint import load_model  # noqa: E402
from privfl.learning.data import Examples, load  # noqa: E402
from privfl.learning.models import build  # noqa: E402
from privfl.learning.rounds import FederatedRun  # noqa: E402
from privfl.learning.torch_trainer import TorchTrainer  # noqa: E402
from privfl.learning.trained import load_trained  # noqa: E402
from privfl.learning.trainer import LocalTraining  # noqa: E402
from privfl.learning.training_job import TrainingJob  # noqa: E402

SETTINGS = LocalTraining(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.9)
OWN = """
    import torch

    def layered(classes):
        return torch.nn.Sequential(
            torch.nn.Linear(30, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, classes)
        )

    def still(classes):
        model = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, classes))
        model[0].requires_grad_(False)
        return model

    def half(classes):
        return torch.nn.Linear(30, classes, dtype=torch.bfloat16)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_parts_for_a_test.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_parts_for_a_test"


def examples(n=21, features=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size=n)
    points = rng.normal(size=(n, features)) + np.eye(classes, features)[labels]
    return Examples(features=points.astype(np.float32), labels=labels.astype(np.int64))


def mlp(*, dtype=torch.float32, bias=True):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16, bias=bias, dtype=dtype), torch.nn.ReLU(), torch.nn.Linear(16, 3, bias=bias, dtype=dtype)
    )


def trainer_of(model, *, buffers=("*",), **training):
    return TorchTrainer(prepared(model, TrainingJob(**training), seed=0), SETTINGS, buffers=buffers)


def outputs(model):
    with torch.no_grad():
        return model.eval()(torch.tensor(examples().features))


# Frozen


def test_what_is_frozen_is_neither_sent_nor_trained():
    model = mlp()
    trainer = trainer_of(model, freeze=("0.*",))
    weights = trainer.initial_weights()
    assert list(weights) == ["2.weight", "2.bias"]
    result = trainer.train(weights, examples(), seed=0)
    assert list(result.update) == ["2.weight", "2.bias"]
    assert all(np.abs(array).max() > 0 for array in result.update.values())
    # The loss that it ended with is that of the frozen layer as it was, and the head moved by the update.
    for name, parameter in model[2].named_parameters():
        parameter.data += torch.tensor(result.update[f"2.{name}"])
    expected = torch.nn.functional.cross_entropy(outputs(model), torch.tensor(examples().labels))
    assert result.loss == pytest.approx(float(expected), rel=1e-4)


def test_parameters_that_the_model_itself_does_not_train_are_not_sent(own):
    run = finished(FederatedRun(job_of(model=f"{own}:still", rounds=1)))
    assert list(run.weights) == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"freeze": ("7.*",)},
            r"training\.freeze has '7\.\*', which matches none of the model's parameters: there are 0\.w",
        ),
        ({"freeze": ("*",)}, r"training\.freeze is \['\*'\], which leaves nothing to train: freeze less, or take tra"),
        (
            {"adapter_rank": 2, "adapt": ("1",)},
            r"training\.adapt has '1', which matches none .* linear layers: .* 0, 2$",
        ),
    ],
)
def test_patterns_that_match_nothing_or_leave_nothing_are_named_by_their_key(training, message):
    with pytest.raises(ConfigurationError, match=message):
        prepared(mlp(), TrainingJob(**training), seed=0)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"adapter_rank": 0}, r"training\.adapter_rank is 0: 1 to 4096 works, such as 4"),
        ({"adapt": ("0",)}, r"training\.adapt is set without adapters: take training\.adapter_rank, such as 4"),
        ({"adapter_train_a": True}, r"training\.adapter_train_a is set without adapters"),
        ({"adapter_rank": 2, "adapt": ()}, r"training\.adapt is \[\]: patterns of linear layers work"),
    ],
)
def test_keys_of_training_that_are_not_right_are_named(training, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingJob(**training)


# Adapters


def test_an_adapted_layer_is_that_of_the_paper():
    base = torch.nn.Linear(5, 4)
    layer = AdaptedLinear(base, torch.randn(2, 5), train_down=False)
    layer.up.weight.data.normal_()
    x = torch.randn(7, 5)
    whole = base.weight + layer.up.weight @ layer.down.weight
    assert torch.allclose(layer(x), torch.nn.functional.linear(x, whole, base.bias), atol=1e-5)
    assert torch.equal(layer.weight, whole)
    assert (layer.in_features, layer.out_features, layer.bias is base.bias) == (5, 4, True)


def test_guarantee_2_an_adapter_changes_nothing_until_it_is_trained():
    model = mlp()
    assert torch.equal(outputs(model), outputs(prepared(model, TrainingJob(adapter_rank=3), seed=0)))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_guarantee_1_adapters_follow_the_seed_and_leave_torchs_state_alone():
    state = torch.random.get_rng_state()
    first, again, other = (prepared(mlp(), TrainingJob(adapter_rank=2), seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(0)
    mlp()
    after = torch.random.get_rng_state()
    torch.manual_seed(0)
    prepared(mlp(), TrainingJob(adapter_rank=2), seed=1)
    assert torch.equal(after, torch.random.get_rng_state())
    torch.random.set_rng_state(state)
    assert torch.equal(first[0].down.weight, again[0].down.weight)
    assert not torch.equal(first[0].down.weight, other[0].down.weight)
    alike = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6))
    one, two = prepared(alike, TrainingJob(adapter_rank=2), seed=1)
    assert not torch.equal(one.down.weight, two.down.weight)
    # Rows of length one, about: at 10,000 entries a mean square is off by 6 % once in 10^5 runs of another seed.
    wide = prepared(torch.nn.Linear(5000, 3), TrainingJob(adapter_rank=2), seed=0).down.weight
    assert float((wide**2).mean()) == pytest.approx(1 / 5000, rel=0.07)


def test_adapters_are_sent_instead_of_the_matrices_that_they_stand_beside():
    assert list(trainer_of(mlp(), adapter_rank=2).initial_weights()) == [
        *("0.base.bias", "0.up.weight", "2.base.bias", "2.up.weight")
    ]
    assert list(trainer_of(mlp(), adapter_rank=2, freeze=("*",)).initial_weights()) == ["0.up.weight", "2.up.weight"]
    both = trainer_of(mlp(), adapter_rank=2, freeze=("*",), adapt=("2",), adapter_train_a=True)
    weights = both.initial_weights()
    assert {name: array.shape for name, array in weights.items()} == {"2.down.weight": (2, 16), "2.up.weight": (3, 2)}
    update = both.train(weights, examples(), seed=0).update
    assert all(np.abs(array).max() > 0 for array in update.values())


def test_the_mean_of_adapters_is_the_mean_of_models_where_a_is_frozen_and_not_where_it_is_trained():
    def off(**training):
        trainer = trainer_of(mlp(bias=False), adapter_rank=2, **training)
        weights = trainer.initial_weights()
        updates = [trainer.train(weights, examples(seed=seed), seed=seed).update for seed in range(3)]
        models = [merged(trainer._loaded({n: weights[n] + one[n] for n in weights})) for one in updates]
        mean = {name: weights[name] + sum(one[name] for one in updates) / 3 for name in weights}
        whole = merged(trainer._loaded(mean))
        return [
            float((sum(model[place].weight for model in models) / 3 - whole[place].weight).abs().max())
            for place in (0, 2)
        ]

    assert max(off()) < 1e-6
    assert min(off(adapter_train_a=True)) > 1e-4


def test_a_model_with_adapters_is_the_one_without_once_they_are_merged():
    model = prepared(mlp(), TrainingJob(adapter_rank=2), seed=0)
    for layer in (model[0], model[2]):
        layer.up.weight.data.normal_()
    before = outputs(model)
    plain = merged(model)
    assert [type(layer) for layer in plain] == [torch.nn.Linear, torch.nn.ReLU, torch.nn.Linear]
    assert torch.allclose(outputs(plain), before, atol=1e-5)


def test_a_layer_that_stands_in_two_places_gets_one_adapter_and_a_model_may_be_one_layer():
    layer = torch.nn.Linear(6, 6)
    model = prepared(torch.nn.Sequential(layer, torch.nn.ReLU(), layer), TrainingJob(adapter_rank=2), seed=0)
    assert model[0] is model[2]
    assert isinstance(model[0], AdaptedLinear)
    model[0].up.weight.data.normal_()
    before = outputs(model)
    plain = merged(model)
    assert plain[0] is plain[2]
    assert torch.allclose(outputs(plain), before, rtol=1e-4, atol=1e-4)
    alone = prepared(torch.nn.Linear(6, 3), TrainingJob(adapter_rank=2), seed=0)
    assert isinstance(alone, AdaptedLinear)
    assert type(merged(alone)) is torch.nn.Linear


def test_a_transformer_layer_uses_its_adapters_in_evaluation_too():
    """In evaluation PyTorch takes another way through it, which reads matrices instead of calling layers."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = prepared(layer, TrainingJob(adapter_rank=2), seed=0)
    assert isinstance(model.linear1, AdaptedLinear)
    assert not isinstance(model.self_attn.out_proj, AdaptedLinear)  # whose matrix attention uses without calling it
    model.linear1.up.weight.data.normal_()
    x = torch.randn(2, 5, 8)
    training = model.train()(x)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), training, atol=1e-5)
        assert not torch.allclose(layer.eval()(x), training, atol=1e-3)


def test_without_a_linear_layer_there_is_nothing_to_adapt():
    with pytest.raises(
        ConfigurationError, match=r"training\.adapter_rank is 2, and the model has no torch\.nn\.Linear"
    ):
        prepared(torch.nn.Conv1d(2, 3, 1), TrainingJob(adapter_rank=2), seed=0)


@pytest.mark.parametrize("training", [{"freeze": ["1.*"]}, {"adapter_rank": 4, "freeze": ["*"]}])
def test_a_job_that_trains_a_part_learns_and_sends_less(training, tmp_path):
    """A frozen first layer, or adapters alone, still tell 90 of 100 held-out tumours apart."""
    job = job_of(model="mlp", rounds=6, suite="kahe", training=training, strategy={"epochs": 3})
    run = finished(FederatedRun(job, out=tmp_path / "run"))
    whole = FederatedRun(job_of(model="mlp", suite="kahe"))
    assert run.parameters < whole.parameters / 2
    assert run.metrics[-1].accuracy > 0.9
    assert load_model(tmp_path / "run" / "model.npz").keys() == run.weights.keys()


@pytest.mark.parametrize("training", [{"freeze": ["1.*"]}, {"adapter_rank": 2}, {"adapter_rank": 2, "freeze": ["*"]}])
@pytest.mark.parametrize("grad_sample", ["hooks", "ghost"])
def test_gradients_of_single_examples_know_frozen_layers_and_adapters(training, grad_sample):
    """Opacus' gradients are compared with autograd's when training begins; a difference would end it."""
    pytest.importorskip("opacus")
    privacy = {"mode": "example", "noise_multiplier": 1.0, "delta": 1e-5, "clip": 0.5, "grad_sample": grad_sample}
    job = job_of(model="mlp", rounds=1, training=training, privacy=privacy, audit={"probes": 0, "canaries": 0})
    run = FederatedRun(job)
    (row,) = run
    assert row.contributors == 10
    assert all(np.abs(array).max() > 0 for name, array in run.weights.items() if "up" in name)


# Buffers


def normalised():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))


def test_buffers_travel_by_name_and_the_others_are_as_they_were_built_in_every_call():
    trainer = trainer_of(normalised(), buffers=("*.running_mean",))
    weights = trainer.initial_weights()
    assert {"1.running_mean", "1.running_var"} & weights.keys() == {"1.running_mean"}
    trained = {name: weights[name] + array for name, array in trainer.train(weights, examples(), seed=0).update.items()}
    assert np.abs(trained["1.running_mean"]).max() > 0
    loaded = trainer._loaded(trained)
    assert torch.equal(loaded[1].running_mean, torch.tensor(trained["1.running_mean"]))
    assert torch.equal(loaded[1].running_var, torch.ones(4))
    assert not any("running" in name for name in trainer_of(normalised(), buffers=()).initial_weights())


def test_patterns_of_buffers_that_match_none_are_refused_but_for_all_of_none():
    with pytest.raises(
        ConfigurationError, match=r"training\.buffers has '\*\.mean', .*: there are 1\.running_mean, 1\.run"
    ):
        trainer_of(normalised(), buffers=("*.mean",))
    with pytest.raises(ConfigurationError, match=r"training\.buffers has 'x', .* buffers: it has none"):
        trainer_of(mlp(), buffers=("x",))
    assert trainer_of(mlp(), buffers=("*",)).initial_weights()


# Precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_another_precision_travel_as_float32_and_learn(dtype):
    trainer = TorchTrainer(mlp(dtype=dtype), SETTINGS)
    weights, own = trainer.initial_weights(), examples(60)
    assert all(array.dtype == np.float32 for array in weights.values())
    assert np.array_equal(weights["0.weight"], mlp(dtype=dtype)[0].weight.detach().float().numpy())
    result = trainer.train(weights, own, seed=0)
    assert all(array.dtype == np.float32 for array in result.update.values())
    trained = {name: weights[name] + result.update[name] for name in weights}
    found = trainer.evaluate(trained, own)
    assert found.loss < 0.8 * trainer.evaluate(weights, own).loss
    assert found.loss == pytest.approx(result.loss, rel=1e-3)
    assert trainer._loaded(weights)[0].weight.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_on_arrival_is_no_update(dtype):
    """Steps too small to move anything in that precision: whatever was received, the update is exactly 0."""
    trainer = TorchTrainer(mlp(dtype=dtype), LocalTraining(epochs=1, learning_rate=1e-30, momentum=0.0))
    rng = np.random.default_rng(0)
    weights = {n: a + rng.normal(scale=1e-4, size=a.shape).astype("f4") for n, a in trainer.initial_weights().items()}
    rounded = trainer._loaded(weights)[0].weight.detach().float().numpy()
    assert np.abs(rounded - weights["0.weight"]).max() > 0
    assert all(not array.any() for array in trainer.train(weights, examples(), seed=0).update.values())


def test_a_loss_is_computed_in_float32():
    class Steady(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0], dtype=torch.bfloat16))

        def forward(self, x):
            assert x.dtype == torch.bfloat16
            return self.logits.expand(len(x), 3)

    own = Examples(features=np.ones((7, 2), np.float32), labels=np.zeros(7, np.int64))
    trainer = TorchTrainer(Steady(), SETTINGS)
    exact = float(np.log(np.exp([1.0, 0, 0]).sum()) - 1)
    assert trainer.evaluate(trainer.initial_weights(), own).loss == pytest.approx(exact, rel=1e-6)


def test_a_job_trains_a_bfloat16_model(own):
    run = finished(FederatedRun(job_of(model=f"{own}:half", rounds=6, suite="kahe", strategy={"epochs": 3})))
    assert run.metrics[-1].accuracy > 0.9
    assert any(
        array.astype(np.float32).tobytes() != torch.tensor(array).bfloat16().float().numpy().tobytes()
        for array in run.weights.values()
    )  # the server's sums are finer than what clients compute in


def test_gradients_of_single_examples_are_clipped_in_float32_only(own):
    pytest.importorskip("opacus")
    privacy = {"mode": "example", "noise_multiplier": 1.0, "delta": 1e-5, "clip": 0.5}
    with pytest.raises(ConfigurationError, match=r"model holds 'weight' as torch\.bfloat16 in privacy\.mode 'example'"):
        FederatedRun(job_of(model=f"{own}:half", privacy=privacy))


def test_numbers_of_characters_go_to_an_embedding_as_they_are():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    trainer = TorchTrainer(model, SETTINGS)
    features = np.random.default_rng(0).integers(5, size=(40, 3))
    own = Examples(features=features, labels=(features[:, 0] > 1).astype(np.int64))
    result = trainer.train(trainer.initial_weights(), own, seed=0)
    assert result.correct > 35
    beyond = Examples(features=features + 5, labels=own.labels)
    with pytest.raises(ConfigurationError, match=r"model cannot take examples of shape \(3,\) \(.*out of range"):
        trainer.evaluate(trainer.initial_weights(), beyond)


# Small devices


def test_8_bit_layers_answer_as_their_float32_ones_nearly_always_in_a_quarter_of_the_size():
    digits = load("digits", clients=4)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    trainer = TorchTrainer(model, LocalTraining(epochs=10))
    weights = trainer.initial_weights()
    update = trainer.train(weights, digits.clients[0], seed=0).update
    weights = {name: weights[name] + update[name] for name in weights}
    full, small = trainer.evaluate(weights, digits.test), trainer.evaluate_int8(weights, digits.test)
    assert small.evaluation.examples == full.examples
    assert abs(small.evaluation.accuracy - full.accuracy) < 0.01
    assert small.evaluation.loss == pytest.approx(full.loss, rel=0.05)
    assert small.evaluation.loss != full.loss
    assert small.float32_bytes > 4 * (64 * 512 + 512 * 10)
    assert small.size_bytes < 0.3 * small.float32_bytes
    assert small == trainer.evaluate_int8(weights, digits.test)


def test_recurrent_layers_and_adapters_become_8_bits_as_well():
    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(4, 64, batch_first=True)
            self.head = torch.nn.Linear(64, 3)

        def forward(self, x):
            return self.head(self.gru(x)[0][:, -1])

    own = Examples(features=np.random.default_rng(0).normal(size=(9, 5, 4)).astype("f4"), labels=np.zeros(9, np.int64))
    trainer = trainer_of(Last(), adapter_rank=2)
    weights = {name: array + np.float32(0.1) for name, array in trainer.initial_weights().items()}
    small = trainer.evaluate_int8(weights, own)
    assert small.size_bytes < small.float32_bytes / 2
    assert small.evaluation.loss == pytest.approx(trainer.evaluate(weights, own).loss, rel=0.1)


def test_8_bit_layers_are_made_of_other_precisions_as_well():
    trainer, own = TorchTrainer(mlp(dtype=torch.bfloat16), SETTINGS), examples(60)
    weights = trainer.initial_weights()
    found = trainer.evaluate_int8(weights, own)
    assert found.evaluation.loss == pytest.approx(trainer.evaluate(weights, own).loss, rel=0.02)


def test_a_model_that_has_no_such_layer_is_refused():
    trainer = TorchTrainer(torch.nn.Sequential(torch.nn.Conv1d(2, 3, 1), torch.nn.Flatten()), SETTINGS)
    own = Examples(features=np.ones((3, 2, 1), np.float32), labels=np.zeros(3, np.int64))
    with pytest.raises(
        ConfigurationError, match=r"evaluation\.int8 is true, and the model has no layer of kind Linear"
    ):
        trainer.evaluate_int8(trainer.initial_weights(), own)


# The trained model


@pytest.mark.parametrize(
    "training",
    [{}, {"buffers": []}, {"freeze": ["0.*"]}, {"adapter_rank": 2}, {"adapter_rank": 2, "adapter_train_a": True}],
)
def test_guarantee_1_a_model_that_is_loaded_does_as_the_run_said(training, own, tmp_path):
    module = __import__(own)
    job = job_of(model=f"{own}:layered", rounds=2, training=training, seed=3)
    run = finished(FederatedRun(job, out=tmp_path / "run"))
    path, test = tmp_path / "run" / "model.npz", run.data.test
    state = torch.random.get_rng_state()
    model = load_trained(path, lambda: module.layered(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert [type(layer).__name__ for layer in model] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert not model.training
    with torch.no_grad():
        correct = int((model(torch.tensor(test.features)).argmax(dim=1).numpy() == test.labels).sum())
    assert correct / len(test) == run.metrics[-1].accuracy
    moved = path.rename(tmp_path / "elsewhere.npz")  # without its job.toml
    again = load_trained(moved, lambda: module.layered(2), job=job)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_guarantee_2_a_module_that_is_given_is_copied(tmp_path):
    run = finished(FederatedRun(job_of(model="mlp", rounds=1), out=tmp_path / "run"))
    model = build("mlp", feature_shape=(30,), classes=2, seed=9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = load_trained(str(tmp_path / "run" / "model.npz"), model)
    assert same({name: tensor.numpy() for name, tensor in loaded.state_dict().items()}, run.weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_function_gets_the_seed_of_the_run(tmp_path):
    finished(FederatedRun(job_of(model="mlp", rounds=1, seed=4, training={"freeze": ["1.*"]}), out=tmp_path / "run"))

    def made(seed):
        return build("mlp", feature_shape=(30,), classes=2, seed=seed)

    loaded = load_trained(tmp_path / "run" / "model.npz", made)
    assert torch.equal(loaded[1].weight, made(4)[1].weight)


@pytest.mark.parametrize("beside", [True, False])
def test_a_function_gets_what_the_run_gave_it(beside, own, tmp_path):
    job = job_of(model=f"{own}:layered", rounds=1, seed=3)
    run = finished(FederatedRun(job, out=tmp_path / "run"))
    path, seen = tmp_path / "run" / "model.npz", []
    layered = __import__(own).layered
    if not beside:
        path = path.rename(tmp_path / "elsewhere.npz")

    def all_of_it(**given):
        seen.append(given)
        return layered(given["classes"])

    how = {} if beside else {"feature_shape": (30,), "classes": 2, "job": job}
    assert same(arrays_of(load_trained(path, layered, **how)), run.weights)
    assert same(arrays_of(load_trained(path, all_of_it, **how)), run.weights)
    load_trained(path, all_of_it, **how | {"classes": 2})
    assert seen == [{"feature_shape": (30,), "classes": 2, "seed": 3}] * 2


def arrays_of(model):
    travel = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: one.detach().numpy() for name, one in travel.items() if one.is_floating_point()}


def test_what_a_function_takes_and_nobody_says_is_named(own, tmp_path):
    finished(FederatedRun(job_of(model=f"{own}:layered", rounds=1), out=tmp_path / "run"))
    path, layered = tmp_path / "run" / "model.npz", __import__(own).layered
    job = path.with_name("job.toml")
    job.write_text(job.read_text().replace('name = "hospitals"', 'name = "nowhere_to_be_found:load"'))
    with pytest.raises(
        ConfigurationError,
        match=r"is 'layered', which takes classes=, and the data that say it cannot be loaded \(.*\): give classes= to",
    ):
        load_trained(path, layered)
    load_trained(path, layered, classes=2)
    path = path.rename(tmp_path / "elsewhere.npz")
    with pytest.raises(
        ConfigurationError, match=r"'layered', which takes classes=, and there is no job\.toml beside the"
    ):
        load_trained(path, layered)
    with pytest.raises(ConfigurationError, match=r"that function also needs width; let it take no argument, or only"):
        load_trained(path, lambda width: layered(2 + width))
    with pytest.raises(ConfigurationError, match=r"and calling it failed: TypeError: "):
        load_trained(path, lambda: layered("two"))


def test_names_that_no_file_of_a_model_holds_are_refused_at_the_start():
    class Odd(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.register_parameter(name, torch.nn.Parameter(torch.zeros(2)))

    for name in ("a\0b", "a\ud800", "__privfl__", "a\n"):
        with pytest.raises(ConfigurationError, match=r"model names a parameter .*, which no model\.npz can hold"):
            TorchTrainer(Odd(name), SETTINGS)
    TorchTrainer(Odd("file"), SETTINGS)


def test_a_model_that_ends_the_program_fails_like_any_other():
    class Leaving(torch.nn.Linear):
        def forward(self, features):
            raise SystemExit(0)

    trainer = TorchTrainer(Leaving(6, 3), SETTINGS)
    weights = trainer.initial_weights()
    with pytest.raises(ConfigurationError, match=r"^the model ended the program: SystemExit: 0, in line"):
        trainer.train(weights, examples(), seed=0)
    with pytest.raises(ConfigurationError, match=r"^the model ended the program: SystemExit: 0, in line"):
        trainer.evaluate(weights, examples())


def test_models_that_do_not_fit_are_refused_with_the_file_and_the_array(tmp_path):
    finished(FederatedRun(job_of(model="mlp", rounds=1, training={"adapter_rank": 2}), out=tmp_path / "run"))
    path = tmp_path / "run" / "model.npz"
    fitting = build("mlp", feature_shape=(30,), classes=2, seed=0)
    load_trained(path, fitting)
    with pytest.raises(
        ConfigurationError, match=r"model\.npz does not fit the model \(weights lack .* give the model tha"
    ):
        load_trained(path, build("logistic", feature_shape=(30,), classes=2, seed=0))
    with pytest.raises(
        ConfigurationError, match=r"does not fit the model \(weights\['1\.base\.bias'\] has shape \(32,\); the"
    ):
        load_trained(path, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 2), *fitting[2:]))
    with pytest.raises(
        ConfigurationError, match=r"function that returns NoneType: one that returns a torch\.nn\.Module"
    ):
        load_trained(path, lambda: None)
    with pytest.raises(ConfigurationError, match=r"does not exist"):
        load_trained(tmp_path / "none.npz", fitting)
    moved = path.rename(tmp_path / "moved.npz")
    with pytest.raises(ConfigurationError, match=r"and job= if job\.toml of the run is not beside the file"):
        load_trained(moved, fitting)
