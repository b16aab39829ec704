"""Trainers and data of one's own: used as they are, checked where they come back, and without PyTorch."""

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loop_stubs import finished, job_of, same

from privfl.errors import ConfigurationError
from privfl.learning.checked_trainer import CheckedTrainer
from privfl.learning.checkpoint import load_model
from privfl.learning.data import Examples
from privfl.learning.job import job_from_table, job_from_toml, job_to_toml
from privfl.learning.models import build
from privfl.learning.numpy_trainer import SoftmaxTrainer, softmax
from privfl.learning.own_data import load_own
from privfl.learning.rounds import FederatedRun
from privfl.learning.trainer import Evaluation, LocalResult, LocalTraining, Trainer

SOFTMAX = "privfl.learning.numpy_trainer:softmax"
OWN = """
    import numpy as np
    from privfl.learning.numpy_trainer import SoftmaxTrainer
    from privfl.learning.private_trainer import ExamplePlan, PrivateTrainer
    from privfl.learning.trainer import LocalTraining

    def trainer(feature_shape, classes, seed):
        made = SoftmaxTrainer(feature_shape[0], classes)
        made.built_with = (feature_shape, classes, seed)
        return made

    def half_a_trainer():
        class Half:
            def train(self): ...
        return Half()

    def broken(classes):
        return {}[classes]

    def lazily(classes):
        import torch
        return torch.nn.Linear(3, classes)

    def private(classes, multiplier=8.0):
        import torch
        plan = ExamplePlan.of(LocalTraining(epochs=1), 45, clip=0.5, noise_multiplier=multiplier)
        return PrivateTrainer(torch.nn.Linear(30, classes), LocalTraining(epochs=1), plan)

    def too_quiet(classes):
        return private(classes, 4.0)

    def load_client(client, clients, seed):
        rng = np.random.default_rng([seed, client])
        labels = rng.integers(3, size=5 + client)
        features = rng.normal(size=(5 + client, 3)).astype(np.float32)
        features[np.arange(len(labels)), labels] += 3
        return features, labels

    def load_test():
        return load_client(100, 0, 0)

    def other_test(seed, clients):
        return load_client(1000 + clients, 0, seed)

    def constant():
        return np.ones((4, 3), np.float32), np.zeros(4, np.int64)

    def tokens(client=0):
        return np.arange(12).reshape(4, 3) + client, np.arange(4)

    def mixed(client):
        return tokens(0) if client else constant()

    def wide(client):
        return np.ones((4, 3 + client), np.float32), np.zeros(4, np.int64)

    def returns_one():
        return np.ones((4, 3), np.float32)

    def lists():
        return [[1.0]], [0]

    def doubles():
        return np.ones((4, 3)), np.zeros(4, np.int64)

    def short_labels():
        return np.ones((4, 3), np.float32), np.zeros(4, np.int32)

    def one_each():
        return np.ones((1, 3), np.float32), np.zeros(1, np.int64)

    def empty():
        return np.ones((0, 3), np.float32), np.zeros(0, np.int64)

    def failing(client):
        raise KeyError(f"hospital {client}")

    def needy(path):
        return path
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own, and one without a function for the server's examples."""
    (tmp_path / "own_code_for_a_test.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "own_untested_for_a_test.py").write_text("from own_code_for_a_test import load_client")
    (tmp_path / "own_wrong_for_a_test.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_code_for_a_test"
    for name in ("own_code_for_a_test", "own_untested_for_a_test", "own_wrong_for_a_test"):
        sys.modules.pop(name, None)


class Free:
    """A trainer that returns what it is told to."""

    def __init__(self, *, initial=None, update=None, settings=None, **result):
        self.initial = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)} if initial is None else initial
        self.update = {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)} if update is None else update
        self.result = {"examples": 4, "loss": 0.5, "correct": 2} | result
        self.seen = []

    def initial_weights(self):
        return self.initial

    def train(self, weights, examples, *, seed, settings=None):
        self.seen.append(settings)
        return LocalResult(update=self.update, **self.result)

    def evaluate(self, weights, examples):
        return Evaluation(**self.result)


def trained(trainer):
    checked = CheckedTrainer(trainer, LocalTraining())
    return checked.train(checked.initial_weights(), None, seed=0)


# What a trainer returns


def test_guarantee_1_arrays_of_any_float_become_float32_in_the_order_of_the_weights():
    update = {"b": np.full(3, 0.1), "w": np.full((2, 3), 0.5, np.float16)}
    result = trained(Free(initial={"w": np.zeros((2, 3)), "b": np.float16([1, 2, 3])}, update=update))
    assert list(result.update) == ["w", "b"]
    assert all(array.dtype == np.float32 for array in result.update.values())
    assert np.array_equal(result.update["b"], np.full(3, np.float32(0.1)))
    checked = CheckedTrainer(Free(initial={"b": np.float64([0.1])}), LocalTraining())
    mine = checked.initial_weights()
    assert (mine["b"].dtype, mine["b"].tolist()) == (np.float32, [float(np.float32(0.1))])
    mine["b"][:] = 7  # the caller's own
    assert checked.initial_weights()["b"].tolist() != [7]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_guarantee_1_a_diverged_update_is_for_the_encoding_to_refuse(value):
    update = {"w": np.full((2, 3), value), "b": np.zeros(3)}
    assert not np.isfinite(trained(Free(update=update)).update["w"]).any()


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ({}, r"initial_weights of the trainer Free returned nothing: return a dict of float32 arrays by name"),
        ([1.0], r"returned list: return a dict"),
        ({"w": [1.0]}, r"holds 'w' as list, where a numpy array is due: convert it with numpy\.asarray"),
        ({"w": np.zeros(2, np.int64)}, r"holds 'w' of dtype int64, where float32 is due"),
        ({"w": np.zeros(2, complex)}, r"holds 'w' of dtype complex128, where float32 is due"),
        ({3: np.zeros(2)}, r"names an array 3: a text such as 'weight' works"),
        ({"__privfl__": np.zeros(2)}, r"names an array '__privfl__'"),
        ({"w": np.array([1.0, np.nan])}, r"holds NaN or infinity in 'w': begin with finite numbers"),
    ],
)
def test_guarantee_3_initial_weights_that_cannot_travel_are_named(initial, message):
    with pytest.raises(ConfigurationError, match=message):
        CheckedTrainer(Free(initial=initial), LocalTraining())


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (
            {"w": np.ones((2, 3))},
            r"the update of the trainer Free lacks \['b'\] and holds unknown \[\]: .* \['w', 'b'\]",
        ),
        ({"w": np.ones((2, 3)), "b": np.ones(3), "c": np.ones(1)}, r"lacks \[\] and holds unknown \['c'\]"),
        ({"w": np.ones((3, 2)), "b": np.ones(3)}, r"holds 'w' of shape \(3, 2\), where \(2, 3\) is due"),
        ({"w": np.ones((2, 3)), "b": np.ones((1, 3))}, r"holds 'b' of shape \(1, 3\), where \(3,\) is due"),
        ({"w": np.ones((2, 3), int), "b": np.ones(3)}, r"holds 'w' of dtype int64, where float32 is due"),
        ({"w": np.ones((2, 3)), "b": 1.0}, r"holds 'b' as float, where a numpy array is due"),
        ([1], r"the update of the trainer Free is list: a dict of float32 arrays by name works"),
    ],
)
def test_guarantee_3_an_update_of_another_shape_or_dtype_is_named(update, message):
    with pytest.raises(ConfigurationError, match=message):
        trained(Free(update=update))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"examples": 0}, r"says examples=0: a whole number of 1 or more is due"),
        ({"examples": 2.0}, r"says examples=2\.0: a whole number"),
        ({"examples": True}, r"says examples=True: a whole number"),
        ({"correct": 5}, r"says correct=5 of 4 examples: a whole number from 0 to 4 is due"),
        ({"correct": -1}, r"says correct=-1 of 4 examples"),
        ({"loss": "low"}, r"says loss='low': a number is due, such as 0\.7"),
        ({"loss": None}, r"says loss=None: a number is due"),
    ],
)
def test_guarantee_2_counts_and_losses_are_numbers_that_can_be(result, message):
    with pytest.raises(ConfigurationError, match=f"train of the trainer Free {message}"):
        trained(Free(**result))
    with pytest.raises(ConfigurationError, match=f"evaluate of the trainer Free {message}"):
        CheckedTrainer(Free(**result), LocalTraining()).evaluate({}, None)


def test_numbers_of_numpy_will_do():
    numbers = {"examples": np.int64(4), "correct": np.uint8(4), "loss": np.float32(0.5)}
    for found in (trained(Free(**numbers)), CheckedTrainer(Free(**numbers), LocalTraining()).evaluate({}, None)):
        assert (found.examples, found.correct, found.loss) == (4, 4, 0.5)
        assert [type(one) for one in (found.examples, found.correct, found.loss)] == [int, int, float]
    assert np.isnan(trained(Free(loss=np.nan)).loss)  # it has diverged


def test_what_is_no_result_and_methods_that_do_not_fit_are_named():
    class Odd(Free):
        def train(self, weights, examples, *, seed, settings=None):
            return self.update

        def evaluate(self, weights, examples):
            return 0.9

    checked = CheckedTrainer(Odd(), LocalTraining())
    with pytest.raises(ConfigurationError, match=r"train of the trainer Odd returned dict: return a .*LocalResult"):
        checked.train({}, None, seed=0)
    with pytest.raises(ConfigurationError, match=r"evaluate of the trainer Odd returned float: return a .*Evaluation"):
        checked.evaluate({}, None)

    class Deaf(Free):
        def train(self, weights, examples, *, seed):
            return None

    with pytest.raises(
        ConfigurationError,
        match=r"train of the trainer Deaf takes other arguments \(.*settings.*\): define train\(weig",
    ):
        CheckedTrainer(Deaf(), LocalTraining())
    with pytest.raises(ConfigurationError, match=r"the trainer object has no method initial_weights: define initial_w"):
        CheckedTrainer(object(), LocalTraining())


def test_a_trainer_gets_the_settings_of_the_job_unless_a_call_has_its_own():
    trainer, mine = Free(), LocalTraining(epochs=9)
    checked = CheckedTrainer(trainer, mine)
    checked.train({}, None, seed=0)
    checked.train({}, None, seed=0, settings=LocalTraining(epochs=2))
    assert [settings.epochs for settings in trainer.seen] == [9, 2]


@pytest.mark.parametrize(("update", "what"), [({"w": np.ones(4)}, "lacks"), ({"a": 0}, "lacks")])
def test_a_run_with_a_trainer_that_returns_another_shape_ends_with_one_sentence(update, what):
    run = FederatedRun(job_of(), trainer=Free(update=update))
    with pytest.raises(ConfigurationError, match=rf"^round 1, client 0, as at every other: the update of .* {what}"):
        finished(run)


# `model = "module:function"` that makes a trainer


def test_a_function_may_return_a_trainer_which_is_used_as_it_is(own):
    run = FederatedRun(job_of(model=f"{own}:trainer", seed=5, rounds=2))
    assert run._trainer.own.built_with == ((30,), 2, 5)
    assert isinstance(run._trainer.own, Trainer)
    assert [row.contributors for row in run] == [10, 10]


def test_build_is_for_models(own):
    with pytest.raises(ConfigurationError, match=r"returned SoftmaxTrainer; let it return a torch\.nn\.Module"):
        build(f"{own}:trainer", feature_shape=(3,), classes=2, seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "half_a_trainer",
            r"returned Half; let it return a torch\.nn\.Module, or an object with the methods of .*Trainer",
        ),
        ("broken", r"and calling it failed: KeyError: 2, in line 18 of own_code_for_a_test\.py"),
    ],
)
def test_functions_that_make_neither_are_named(name, message, own):
    with pytest.raises(ConfigurationError, match=message):
        FederatedRun(job_of(model=f"{own}:{name}"))


def test_a_module_whose_import_fails_is_named_with_the_line(own):
    with pytest.raises(
        ConfigurationError, match=r"failed \(ZeroDivisionError: .*, in line 1 of own_wrong_for_a_test\.py\)"
    ):
        FederatedRun(job_of(model="own_wrong_for_a_test:build"))


@pytest.mark.parametrize("training", [{"freeze": ["*"]}, {"adapter_rank": 2}, {"buffers": []}])
def test_what_is_trained_of_a_trainer_is_its_own_business(training, own):
    (key,) = training
    for given, model in ((None, f"{own}:trainer"), (Free(), "logistic")):
        with pytest.raises(ConfigurationError, match=rf"training\.{key} is set and (model|trainer=) is .*leave it out"):
            FederatedRun(job_of(model=model, training=training), trainer=given)


# Under differential privacy


EXAMPLE = {"mode": "example", "noise_multiplier": 8.0, "delta": 1e-5, "clip": 0.5}


def private_job(model):
    return job_of(model=model, privacy=EXAMPLE, audit={"probes": 0, "canaries": 0}, rounds=1)


@pytest.mark.parametrize("given", [False, True])
def test_guarantee_1_under_dp_of_examples_a_trainer_without_noise_is_refused(given, own):
    job, trainer = private_job("logistic" if given else f"{own}:trainer"), Free() if given else None
    with pytest.raises(ConfigurationError, match=r"privacy\.mode is 'example' and .*nothing would clip or add noise"):
        FederatedRun(job, trainer=trainer)


def test_guarantee_1_under_dp_of_examples_a_private_trainer_needs_the_plan_that_is_charged(own):
    pytest.importorskip("opacus")
    run = FederatedRun(private_job(f"{own}:private"))
    assert run._trainer.plan == run.guarantee.training
    assert [row.contributors for row in run] == [10]
    with pytest.raises(ConfigurationError, match=r"with another plan than the job's: .*noise_multiplier=4\.0.*=8\.0"):
        FederatedRun(private_job(f"{own}:too_quiet"))


def test_a_jobs_function_cannot_call_itself_a_test(own, monkeypatch):
    monkeypatch.setattr(SoftmaxTrainer, "unsafe_without_noise", True, raising=False)
    with pytest.raises(ConfigurationError, match=r"nothing would clip or add noise to"):
        FederatedRun(private_job(f"{own}:trainer"))


@pytest.mark.parametrize("mode", ["client-central", "client-distributed"])
def test_under_dp_of_clients_any_trainer_will_do(mode, own):
    job = job_of(model=f"{own}:trainer", rounds=1, privacy=EXAMPLE | {"mode": mode}, audit={"probes": 0})
    (row,) = FederatedRun(job)
    assert (row.contributors, row.epsilon > 0) == (10, True)


# Without PyTorch


@pytest.mark.parametrize("suite", ["plain", "masking", "kahe"])
def test_a_job_runs_end_to_end_where_torch_cannot_be_imported(suite, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(f'model = "{SOFTMAX}"\nsuite = "{suite}"\nrounds = 8\n[evaluation]\nfederated = true\n')
    code = (
        "import sys\n"
        "class Nowhere:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name in ('torch', 'opacus'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Nowhere)\n"
        "from privfl.cli.main import main\n"
        f"code = main(['run', {str(job)!r}, '--out', {str(tmp_path / 'out')!r}, '--json'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["accuracy"] > 0.93
    assert {name: array.shape for name, array in load_model(tmp_path / "out" / "model.npz").items()} == {
        "weight": (30, 2),
        "bias": (2,),
    }


def test_a_job_without_torch_imports_none_and_one_whose_function_does_is_seeded_all_the_same(own, tmp_path):
    pytest.importorskip("torch")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from privfl.learning.models import model_or_trainer as made\n"
        "how = dict(feature_shape=(3,), classes=2, seed=4)\n"
        f"made({SOFTMAX!r}, **how); made('{own}:trainer', **how)\n"
        "assert 'torch' not in sys.modules\n"
        f"first = made('{own}:lazily', **how)\n"
        f"again = made('{own}:lazily', **how)\n"
        "assert first.weight.tolist() == again.weight.tolist(), 'another model'\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def few(n=30, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    return Examples(features=(rng.normal(size=(n, 5)) + labels[:, None]).astype(np.float32), labels=labels)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.0}, {"proximal": 0.5}, {"batch_size": 30, "steps": 7}])
def test_guarantee_1_of_softmax_it_learns_as_the_logistic_model_of_torch_does(settings):
    """With one batch an epoch the order does not matter, and both take the same steps."""
    torch = pytest.importorskip("torch")
    from privfl.learning.torch_trainer import TorchTrainer

    how = LocalTraining(**({"epochs": 12, "batch_size": 30, "learning_rate": 0.05} | settings))
    model, own = torch.nn.Linear(5, 3), few()
    theirs = TorchTrainer(model, how)
    weights = theirs.initial_weights()
    expected = theirs.train(weights, own, seed=0)
    mine = softmax(feature_shape=(5,), classes=3)
    transposed = {"weight": weights["weight"].T, "bias": weights["bias"]}
    found = mine.train(transposed, own, seed=1, settings=how)
    assert np.allclose(found.update["weight"], expected.update["weight"].T, atol=1e-5)
    assert np.allclose(found.update["bias"], expected.update["bias"], atol=1e-5)
    assert (found.correct, found.examples) == (expected.correct, 30)
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)


def test_softmax_goes_over_every_example_in_every_epoch_and_repeats_itself():
    mine, own = softmax(feature_shape=(5,), classes=3), few(23)
    how = LocalTraining(epochs=3, batch_size=4)
    kept = mine.initial_weights()
    one, again, other = (mine.train(kept, own, seed=seed, settings=how).update for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)
    assert same(kept, mine.initial_weights())  # guarantee 2
    assert own.features.tobytes() == few(23).features.tobytes()
    short = mine.train(kept, own, seed=1, settings=replace(how, epochs=1, steps=1))
    assert np.abs(short.update["weight"]).max() < np.abs(one["weight"]).max()
    with pytest.raises(ConfigurationError, match=r"examples have 5 numbers and labels up to 2; the model takes 4 num"):
        softmax(feature_shape=(4,), classes=3).evaluate({}, own)


# Data of one's own


def test_every_client_holds_what_the_function_returns_for_it(own):
    module = __import__(own)
    data = load_own(f"{own}:load_client", clients=4, seed=7)
    for client, examples in enumerate(data.clients):
        features, labels = module.load_client(client, 4, 7)
        assert np.array_equal(examples.features, features)
        assert np.array_equal(examples.labels, labels)
        assert not examples.features.flags.writeable
    assert np.array_equal(data.test.features, module.load_test()[0])
    assert (data.classes, data.feature_shape, data.validation) == (3, (3,), ())
    other = load_own(f"{own}:load_client", clients=4, seed=7, test=f"{own}:other_test")
    assert np.array_equal(other.test.labels, module.load_client(1004, 0, 7)[1])


def test_a_client_keeps_examples_for_evaluation_as_of_any_data(own):
    whole = load_own(f"{own}:load_client", clients=5, seed=1)
    data = load_own(f"{own}:load_client", clients=5, seed=1, holdout=0.4)
    for all_of_it, kept, own_part in zip(whole.clients, data.validation, data.clients, strict=True):
        assert len(kept) == round(0.4 * len(all_of_it))
        both = np.concatenate([own_part.features, kept.features])
        assert sorted(row.tobytes() for row in both) == sorted(row.tobytes() for row in all_of_it.features)
    with pytest.raises(
        ConfigurationError, match=r"client 0: it holds one example, and evaluation\.federated keeps one"
    ):
        load_own(f"{own}:one_each", clients=2, seed=1, holdout=0.4, test=f"{own}:constant")


def test_numbers_of_words_are_features_too(own):
    data = load_own(f"{own}:tokens", clients=3, seed=0, test=f"{own}:tokens")
    assert all(examples.features.dtype == np.int64 for examples in (*data.clients, data.test))
    assert data.classes == 4


def test_numbers_of_words_are_refused_where_examples_are_protected(own):
    pytest.importorskip("opacus")
    job = job_of(model="logistic", data={"name": f"{own}:tokens", "test": f"{own}:tokens"}, privacy=EXAMPLE)
    with pytest.raises(ConfigurationError, match=r"whose features are whole numbers, in privacy\.mode 'example'"):
        FederatedRun(job)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "returns_one",
            r"data\.name is '\w+:returns_one', client 0: the function returned ndarray; let it return two arr",
        ),
        ("lists", r"client 0: features are of type list; convert them with numpy\.asarray\(features\)"),
        ("doubles", r"client 0: features have dtype float64; convert them with features\.astype\(numpy\.float32\)"),
        ("short_labels", r"client 0: labels have dtype int32; convert them with labels\.astype\(numpy\.int64\)"),
        ("empty", r"client 0: features and labels hold no example; give at least 1"),
        ("wide", r"client 1: an example is float32 of shape \(4,\), and float32 of shape \(3,\) at client 0; give all"),
        ("mixed", r"client 1: an example is int64 of shape \(3,\), and float32 of shape \(3,\) at client 0"),
        ("failing", r"data\.name is .* calling it failed: KeyError: 'hospital 0', in line \d+ of own_code_for_a_test"),
        (
            "needy",
            r"data\.name is .* also needs path; let it take no argument, or only the keywords client, clients, seed",
        ),
        ("absent", r"data\.name is .* has no function 'absent'; define it, for instance: def absent\(client\): return"),
    ],
)
def test_data_that_are_not_what_is_due_are_named_with_the_client(name, message, own):
    with pytest.raises(ConfigurationError, match=message):
        load_own(f"{own}:{name}", clients=3, seed=0, test=f"{own}:constant")


def test_examples_of_the_server_are_checked_alike(own):
    for test, message in (
        ("doubles", r"data\.test is '\w+:doubles': features have dtype float64; convert"),
        ("needy", r"data\.test is .* also needs path"),
        ("absent", r"data\.test is .* has no function 'absent'"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load_own(f"{own}:constant", clients=2, seed=0, test=f"{own}:{test}")
    with pytest.raises(
        ConfigurationError, match=r"data\.test is not given, so that 'own_untested_for_a_test:load_test' has to return"
    ):
        load_own("own_untested_for_a_test:load_client", clients=2, seed=0)


# In a job


def test_data_of_ones_own_may_stand_in_the_first_lines():
    table = {"name": "mine:load", "clients": 4}
    assert job_from_table({"data": "mine:load"}).data == job_from_table({"data": {"name": "mine:load"}}).data
    short = b'data = "mine:load"\nrounds = 2\n'
    assert job_from_toml(short, ["data.clients=4"]) == job_from_table({"data": table, "rounds": 2})
    assert job_from_toml(b"[data]\nclients = 4\n", ["data=mine:load"]) == job_from_table({"data": table})
    assert job_from_toml(b"", ["data=mine:load", "data.clients=4"]) == job_from_table({"data": table})
    assert job_from_toml(job_to_toml(job_from_table({"data": "mine:load"})).encode()).data.name == "mine:load"
    given = {"data": "mine:load"}
    job_from_table(given)
    assert given == {"data": "mine:load"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"name": "mine:load", "partition": "dirichlet"},
            r"data\.partition is 'dirichlet' with data\.name 'mine:load'",
        ),
        ({"name": "digits", "test": "mine:test"}, r"data\.test is 'mine:test' with data\.name 'digits'.*leave it out"),
    ],
)
def test_keys_of_data_that_do_not_go_together_are_refused(data, message):
    with pytest.raises(ConfigurationError, match=message):
        job_from_table({"data": data})


def test_data_of_ones_own_have_no_default_model(own):
    with pytest.raises(ConfigurationError, match=r"has no default model; set model"):
        FederatedRun(job_from_table({"data": f"{own}:load_client"}))


def test_the_command_finds_modules_beside_the_job_and_in_the_current_directory(tmp_path, monkeypatch):
    beside, here = tmp_path / "jobs", tmp_path / "here"
    for folder, name in ((beside, "own_model_beside"), (here, "own_data_here")):
        folder.mkdir()
        (folder / f"{name}.py").write_text("import wave\n" + textwrap.dedent(OWN))
    (beside / "job.toml").write_text('model = "own_model_beside:trainer"\ndata = "own_data_here:load_client"\n')
    (here / "wave.py").write_text("raise SystemExit('a file that lies about was taken for a part of Python')")
    monkeypatch.chdir(here)

    def privfl(*arguments):
        command = [str(Path(sys.executable).with_name("privfl")), "run", "--json", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    run = privfl("../jobs/job.toml", "--set", "rounds=1")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["rounds"] == 1
    # A run goes on where its modules can be found.
    run = privfl("--resume", "runs/job")
    assert "importing 'own_model_beside' failed" in run.stderr
    assert "the current one" in run.stderr
    (here / "own_model_beside.py").write_text(textwrap.dedent(OWN))
    run = privfl("--resume", "runs/job")
    assert run.returncode == 0, run.stderr
