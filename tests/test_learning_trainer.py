"""Models and local training: reproducible to the bit, and without a trace in torch's global state."""

import builtins
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from privfl.errors import ConfigurationError, MissingExtra  # noqa: E402 - the tests below need torch
from privfl.learning.data import DATA_NAMES, Examples, load  # noqa: E402
from privfl.learning.models import MODEL_NAMES, build, default_model  # noqa: E402
from privfl.learning.torch_trainer import TorchTrainer  # noqa: E402
from privfl.learning.trainer import Evaluation, LocalTraining, Trainer  # noqa: E402

SETTINGS = LocalTraining(epochs=2, batch_size=8, learning_rate=0.1, momentum=0.9)


def examples(n: int = 21, features: int = 6, classes: int = 3, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(
        features=rng.normal(size=(n, features)).astype(np.float32),
        labels=rng.integers(0, classes, size=n).astype(np.int64),
    )


def with_dropout() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))


def with_batch_norm() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))


def identical(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def average(weights: dict, results: list) -> dict:
    """Plain FedAvg: the mean of the updates, weighted by examples."""
    total = sum(result.examples for result in results)
    return {
        name: value + sum(result.update[name] * np.float32(result.examples / total) for result in results)
        for name, value in weights.items()
    }


# Models


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [("mlp", (30,), 2, 1554), ("cnn", (1, 8, 8), 10, 2730), ("logistic", (30,), 2, 62), ("mlp", (1, 8, 8), 10, 2778)],
)
def test_built_in_models_have_these_sizes_and_outputs(name, shape, classes, parameters):
    model = build(name, feature_shape=shape, classes=classes, seed=0)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model(torch.zeros(5, *shape)).shape == (5, classes)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_weights_follow_the_seed_alone(name):
    def weights(seed):
        return TorchTrainer(build(name, feature_shape=(1, 4, 4), classes=2, seed=seed), SETTINGS).initial_weights()

    torch.manual_seed(1)
    first = weights(7)
    torch.manual_seed(2)
    assert identical(first, weights(7))
    assert not identical(first, weights(8))


def test_every_data_set_has_a_default_model_that_fits_it():
    for name in DATA_NAMES:
        federation = load(name, clients=2)
        model = build(default_model(name), feature_shape=federation.feature_shape, classes=federation.classes, seed=0)
        assert model(torch.tensor(federation.test.features)).shape == (len(federation.test), federation.classes)
    with pytest.raises(ConfigurationError, match=r"data\.name is 'mine'.*set model, for instance to 'mlp'"):
        default_model("mine")


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    (tmp_path / "own_models_for_a_test.py").write_text(
        textwrap.dedent("""
        import torch

        def plain():
            return torch.nn.Linear(6, 3)

        def keywords(*, classes, feature_shape, bias=False):
            return torch.nn.Linear(feature_shape[0], classes, bias=bias)

        def only_classes(classes):
            return torch.nn.Linear(6, classes)

        def anything(**kwargs):
            return torch.nn.Linear(kwargs["feature_shape"][0], kwargs["classes"])

        def too_much(width, depth=2):
            return torch.nn.Linear(6, width)

        def positional(classes, /):
            return torch.nn.Linear(6, classes)

        def nothing():
            return None

        number = 3
        """)
    )
    (tmp_path / "own_broken_for_a_test.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_models_for_a_test"
    sys.modules.pop("own_models_for_a_test", None)


@pytest.mark.parametrize("function", ["plain", "keywords", "only_classes", "anything"])
def test_a_users_function_gets_the_keywords_it_takes_and_seeded_weights(function, own_models):
    first = build(f"{own_models}:{function}", feature_shape=(6,), classes=3, seed=4)
    assert tuple(first.weight.shape) == (3, 6)
    again = build(f"{own_models}:{function}", feature_shape=(6,), classes=3, seed=4)
    assert torch.equal(first.weight, again.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformer", r"model is 'transformer'; use one of: mlp, cnn, logistic, or .*'my_module:build_model'"),
        (":build", r"model is ':build'; use one of"),
        ("module:", r"model is 'module:'; use one of"),
        (".relative:build", r"model is '\.relative:build'; use one of"),
        ("no_such_module_at_all:build", r"model is .* importing 'no_such_module_at_all' failed .*PYTHONPATH"),
        ("own_broken_for_a_test:build", r"model is .* failed \(No module named 'no_such_module_anywhere'\)"),
        ("own_models_for_a_test:absent", r"model is .* has no function 'absent'; define it"),
        ("own_models_for_a_test:number", r"model is .* has no function 'number'; define it"),
        ("own_models_for_a_test:too_much", r"model is .* also needs width; let it take no argument"),
        ("own_models_for_a_test:positional", r"model is .* also needs classes; let it take no argument"),
        ("own_models_for_a_test:nothing", r"model is .* returned NoneType; let it return a torch\.nn\.Module"),
    ],
)
def test_a_model_that_cannot_be_built_is_named_by_its_key(name, message, own_models):
    with pytest.raises(ConfigurationError, match=message):
        build(name, feature_shape=(6,), classes=3, seed=0)


def test_other_bad_arguments_of_build_are_refused():
    with pytest.raises(ConfigurationError, match=r"model is 'cnn' but examples have shape \(30,\).*set model to 'mlp'"):
        build("cnn", feature_shape=(30,), classes=2, seed=0)
    with pytest.raises(ConfigurationError, match="classes is 1; a classifier needs 2"):
        build("mlp", feature_shape=(30,), classes=1, seed=0)
    with pytest.raises(ConfigurationError, match="seed is -1; use"):
        build("mlp", feature_shape=(30,), classes=2, seed=-1)


# What travels


def test_an_update_is_trained_minus_received_and_ends_where_the_loss_says():
    trainer = TorchTrainer(with_dropout(), SETTINGS)
    weights, own = trainer.initial_weights(), examples()
    result = trainer.train(weights, own, seed=1)
    assert list(result.update) == list(weights)
    assert all(
        value.dtype == np.float32 and value.shape == weights[name].shape for name, value in result.update.items()
    )
    assert any(np.abs(value).max() > 0 for value in result.update.values())
    trained = trainer.evaluate({name: weights[name] + result.update[name] for name in weights}, own)
    assert (trained.correct, trained.examples) == (result.correct, result.examples) == (result.correct, len(own))
    assert trained.loss == pytest.approx(result.loss, rel=1e-4)
    assert trained.loss < trainer.evaluate(weights, own).loss


def test_one_step_of_plain_descent_is_the_gradient():
    own = examples(n=5)
    model = torch.nn.Linear(6, 3)
    trainer = TorchTrainer(model, LocalTraining(epochs=1, batch_size=5, learning_rate=0.5, momentum=0.0))
    result = trainer.train(trainer.initial_weights(), own, seed=0)
    torch.nn.functional.cross_entropy(model(torch.tensor(own.features)), torch.tensor(own.labels)).backward()
    assert np.allclose(result.update["weight"], -0.5 * model.weight.grad.numpy(), atol=1e-6)
    assert np.allclose(result.update["bias"], -0.5 * model.bias.grad.numpy(), atol=1e-6)


def test_integer_buffers_do_not_travel_and_float_buffers_do():
    trainer = TorchTrainer(with_batch_norm(), SETTINGS)
    weights = trainer.initial_weights()
    assert "1.num_batches_tracked" not in weights
    assert {"1.running_mean", "1.running_var", "1.weight", "0.bias"} <= weights.keys()
    update = trainer.train(weights, examples(), seed=0).update
    assert update.keys() == weights.keys()
    assert np.abs(update["1.running_mean"]).max() > 0


def test_integer_buffers_start_afresh_in_every_call():
    # With momentum=None the running mean is a cumulative average: it would betray a count that had been kept.
    trainer = TorchTrainer(torch.nn.Sequential(torch.nn.BatchNorm1d(6, momentum=None), torch.nn.Linear(6, 3)), SETTINGS)
    weights = trainer.initial_weights()
    first = trainer.train(weights, examples(), seed=0)
    assert identical(first.update, trainer.train(weights, examples(), seed=0).update)


def test_tied_weights_travel_once_and_temporary_buffers_and_what_is_not_trained_not_at_all():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(6, 6)
            self.second = torch.nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.scale = torch.nn.Parameter(torch.tensor(1.5))
            self.frozen = torch.nn.Parameter(torch.ones(6), requires_grad=False)
            self.register_buffer("temporary", torch.ones(6), persistent=False)

        def forward(self, x):
            return self.second(self.first(x * self.temporary * self.frozen)) * self.scale

    trainer = TorchTrainer(Odd(), SETTINGS)
    weights = trainer.initial_weights()
    assert set(weights) == {"first.weight", "first.bias", "second.bias", "scale"}
    update = trainer.train(weights, examples(), seed=0).update
    assert isinstance(update["scale"], np.ndarray)
    assert update["scale"].shape == ()
    assert float(update["scale"]) != 0.0


def test_a_diverged_update_is_handed_on_for_the_encoding_to_judge():
    trainer = TorchTrainer(with_dropout(), LocalTraining(epochs=5, batch_size=4, learning_rate=1e30, momentum=0.9))
    result = trainer.train(trainer.initial_weights(), examples(), seed=0)
    assert not all(np.isfinite(value).all() for value in result.update.values())


# Reproducibility


@pytest.mark.parametrize("make", [with_dropout, with_batch_norm])
def test_guarantee_1_same_seed_same_bits_whatever_happened_before(make):
    trainer = TorchTrainer(make(), SETTINGS)
    weights, own = trainer.initial_weights(), examples()
    torch.manual_seed(11)
    first = trainer.train(weights, own, seed=5)
    torch.manual_seed(12)
    torch.rand(100)
    trainer.train(weights, examples(seed=1), seed=6)
    trainer.evaluate(weights, own)
    again = trainer.train(weights, own, seed=5)
    assert identical(first.update, again.update)
    assert (first.loss, first.correct, first.examples) == (again.loss, again.correct, again.examples)
    assert not identical(first.update, trainer.train(weights, own, seed=6).update)


def test_guarantee_1_dropout_follows_the_seed():
    """Examples that are all alike: their order cannot matter, so what differs by seed is the dropout."""
    trainer = TorchTrainer(with_dropout(), LocalTraining(epochs=1, batch_size=100, learning_rate=0.1, momentum=0.0))
    weights = trainer.initial_weights()
    alike = Examples(features=np.ones((20, 6), dtype=np.float32), labels=np.zeros(20, dtype=np.int64))
    one, two, again = (trainer.train(weights, alike, seed=seed).update["3.weight"] for seed in (1, 2, 1))
    assert np.abs(one - two).max() > 1e-4
    assert np.array_equal(one, again)


def test_guarantee_1_the_order_of_examples_does_not_depend_on_what_the_model_draws():
    def order(draws: int) -> list[float]:
        seen = []

        class Drawing(torch.nn.Linear):
            def forward(self, x):
                torch.rand(draws)
                if self.training:
                    seen.extend(x[:, 0].tolist())
                return super().forward(x)

        trainer = TorchTrainer(Drawing(6, 3), SETTINGS)
        trainer.train(trainer.initial_weights(), examples(), seed=0)
        return seen

    assert order(0) == order(1000)


def test_guarantee_1_holds_from_threads():
    trainer = TorchTrainer(with_dropout(), SETTINGS)
    weights, own = trainer.initial_weights(), examples()
    expected = [trainer.train(weights, own, seed=seed).update for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: trainer.train(weights, own, seed=seed).update, range(8)))
    assert all(identical(a, b) for a, b in zip(expected, found, strict=True))


def test_guarantee_1_the_number_of_threads_does_not_matter():
    model = build("cnn", feature_shape=(1, 8, 8), classes=10, seed=0)
    own = load("digits", clients=20).clients[0]
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            trainer = TorchTrainer(model, SETTINGS)
            found.append(trainer.train(trainer.initial_weights(), own, seed=0).update)
    finally:
        torch.set_num_threads(before)
    assert identical(*found)


def test_guarantee_1_evaluation_of_a_model_that_is_always_random_is_repeatable():
    class Noisy(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 3)

    trainer = TorchTrainer(Noisy(6, 3), SETTINGS)
    weights = trainer.initial_weights()
    assert trainer.evaluate(weights, examples()) == trainer.evaluate(weights, examples())


def test_guarantee_2_torchs_global_state_is_untouched(own_models):
    torch.manual_seed(99)
    state, before = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        trainer = TorchTrainer(with_batch_norm_from(own_models), SETTINGS)
        trainer.train(trainer.initial_weights(), examples(), seed=3)
        trainer.evaluate(trainer.initial_weights(), examples())
        with pytest.raises(ConfigurationError):
            trainer.evaluate({}, examples())
        with pytest.raises(ConfigurationError):
            build(f"{own_models}:nothing", feature_shape=(6,), classes=3, seed=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()


def with_batch_norm_from(module: str) -> torch.nn.Module:
    """Built by a user's function under `build`, then given dropout: draws from torch wherever it can."""
    return torch.nn.Sequential(build(f"{module}:plain", feature_shape=(6,), classes=3, seed=1), torch.nn.Dropout(0.1))


def test_guarantee_3_the_callers_model_and_arrays_are_not_modified():
    model = with_batch_norm()
    trainer = TorchTrainer(model, SETTINGS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights, own = trainer.initial_weights(), examples()
    kept = {name: value.copy() for name, value in weights.items()}
    for array in (*weights.values(), own.features, own.labels):
        array.flags.writeable = False
    first = trainer.train(weights, own, seed=0)
    assert identical(weights, kept)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    with torch.no_grad():
        model[0].weight.zero_()
    assert identical(first.update, trainer.train(weights, own, seed=0).update)
    trainer.initial_weights()["0.weight"][:] = 7
    assert identical(trainer.initial_weights(), kept)


def test_training_works_where_the_caller_has_switched_gradients_off():
    trainer = TorchTrainer(with_dropout(), SETTINGS)
    with torch.no_grad():
        assert trainer.train(trainer.initial_weights(), examples(), seed=0).examples == 21
        assert not torch.is_grad_enabled()


def test_batches_are_even_so_that_batch_normalisation_never_meets_a_single_example():
    sizes = []

    class Seen(torch.nn.Linear):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    trainer = TorchTrainer(Seen(6, 3), SETTINGS)
    trainer.train(trainer.initial_weights(), examples(n=17), seed=0)
    assert sorted(sizes) == [5, 5, 6, 6, 6, 6]
    normalised = TorchTrainer(with_batch_norm(), SETTINGS)
    assert normalised.train(normalised.initial_weights(), examples(n=17), seed=0).examples == 17


def test_every_epoch_sees_every_example_once_in_another_order():
    order = []

    class Seen(torch.nn.Linear):
        def forward(self, x):
            if self.training:
                order.extend(x[:, 0].tolist())
            return super().forward(x)

    own = examples(n=17)
    trainer = TorchTrainer(Seen(6, 3), SETTINGS)
    trainer.train(trainer.initial_weights(), own, seed=0)
    first, second = order[:17], order[17:]
    assert sorted(first) == sorted(second) == sorted(own.features[:, 0].tolist())
    assert first != second


# Evaluation, and what does not fit


def test_evaluation_counts_by_hand_and_in_pieces(monkeypatch):
    model = torch.nn.Linear(6, 3)
    trainer, own = TorchTrainer(model, SETTINGS), examples(n=50)
    with torch.no_grad():
        logits = model(torch.tensor(own.features))
    expected = int((logits.argmax(dim=1).numpy() == own.labels).sum())
    whole = trainer.evaluate(trainer.initial_weights(), own)
    assert (whole.correct, whole.examples) == (expected, 50)
    assert whole.accuracy == expected / 50
    assert whole.loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, torch.tensor(own.labels))), rel=1e-5
    )
    monkeypatch.setattr("privfl.learning.torch_trainer._EVALUATION_BATCH", 7)
    pieces = trainer.evaluate(trainer.initial_weights(), own)
    assert pieces.correct == expected
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert Evaluation(loss=0.0, correct=1, examples=4).accuracy == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, r"strategy\.epochs is 0; use a whole number of 1 or more, such as 5"),
        ({"epochs": 1.5}, r"strategy\.epochs is 1\.5; use"),
        ({"batch_size": True}, r"strategy\.batch_size is True; use a whole number of 1 or more, such as 16"),
        ({"learning_rate": 0}, r"strategy\.learning_rate is 0; use a number above 0, such as 0\.1"),
        ({"learning_rate": float("inf")}, r"strategy\.learning_rate is inf; use"),
        ({"learning_rate": 10**400}, r"strategy\.learning_rate is 10{400}; use"),
        ({"learning_rate": "0.1"}, r"strategy\.learning_rate is '0\.1'; use"),
        ({"momentum": 1.0}, r"strategy\.momentum is 1\.0; use a number from 0 to below 1, such as 0\.9"),
        ({"momentum": -0.1}, r"strategy\.momentum is -0\.1; use"),
        ({"momentum": float("nan")}, r"strategy\.momentum is nan; use"),
    ],
)
def test_settings_out_of_range_name_their_key(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        LocalTraining(**arguments)


def test_models_that_cannot_be_trained_are_refused():
    with pytest.raises(ConfigurationError, match="model has no parameter to train"):
        TorchTrainer(torch.nn.Flatten(), SETTINGS)


def test_weights_and_examples_that_do_not_fit_are_refused():
    trainer = TorchTrainer(torch.nn.Linear(6, 3), SETTINGS)
    weights, own = trainer.initial_weights(), examples()
    with pytest.raises(ConfigurationError, match=r"weights lack \['bias'\] and hold unknown \['extra'\]"):
        trainer.train({"weight": weights["weight"], "extra": weights["bias"]}, own, seed=0)
    with pytest.raises(ConfigurationError, match=r"weights\['bias'\] has shape \(1, 3\); the model takes \(3,\)"):
        trainer.evaluate({**weights, "bias": weights["bias"][None]}, own)
    with pytest.raises(ConfigurationError, match=r"model cannot take examples of shape \(5,\)"):
        trainer.train(weights, examples(features=5), seed=0)
    with pytest.raises(ConfigurationError, match=r"return shape \(n, classes\) with 4 classes or more"):
        trainer.evaluate(weights, examples(n=40, classes=4))
    flat = TorchTrainer(torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Flatten(0)), SETTINGS)
    with pytest.raises(ConfigurationError, match=r"output of shape \(2,\); let it return shape \(n, classes\)"):
        flat.train(flat.initial_weights(), own, seed=0)
    with pytest.raises(ConfigurationError, match="seed is -1; use"):
        trainer.train(weights, own, seed=-1)


def test_importing_the_modules_imports_neither_torch_nor_sklearn():
    code = (
        "import sys, privfl.learning.data, privfl.learning.models, privfl.learning.trainer;"
        "import privfl.learning.torch_trainer;"
        "sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_error_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def no_torch(module, *args, **kwargs):
        if module.split(".")[0] == "torch":
            raise ImportError(module)
        return real_import(module, *args, **kwargs)

    model = torch.nn.Linear(6, 3)
    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(MissingExtra, match=r"'torch' is not installed: pip install 'privfl\[learning\]'"):
        build("mlp", feature_shape=(30,), classes=2, seed=0)
    with pytest.raises(MissingExtra):
        TorchTrainer(model, SETTINGS)


# Learning


@pytest.mark.parametrize("seed", [0, 1])
def test_federated_averaging_learns_the_hospitals(seed):
    """Ten hospitals, two of them missing in every other round: at least 93 % of the held-out patients."""
    federation = load("hospitals", clients=10, seed=seed)
    model = build(
        default_model("hospitals"), feature_shape=federation.feature_shape, classes=federation.classes, seed=seed
    )
    trainer: Trainer = TorchTrainer(model, LocalTraining())
    weights = trainer.initial_weights()
    for round_number in range(8):
        present = range(10 if round_number % 2 == 0 else 8)
        weights = average(
            weights,
            [
                trainer.train(weights, federation.clients[client], seed=1000 * round_number + client)
                for client in present
            ],
        )
    assert trainer.evaluate(weights, federation.test).accuracy >= 0.93
