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

    def loud(classes):
        from privfl.learning.torch_trainer import TorchTrainer
        class Loud(PrivateTrainer):
            def fit(self, *args, **kw):
                TorchTrainer.fit(self, *args, **kw)
        trainer = private(classes)
        trainer.__class__ = Loud
        return trainer

    def patched(classes):
        from privfl.learning.torch_trainer import TorchTrainer
        trainer = private(classes)
        trainer.fit = TorchTrainer.fit.__get__(trainer)
        return trainer

    def known(classes):
        from privfl.testing import UnsafeFixedEntropy
        trainer = private(classes)
        return PrivateTrainer(
            trainer._pristine, trainer.settings, trainer.plan, entropy=UnsafeFixedEntropy(bytes(16))
        )

    def boasting(classes):
        import torch
        from dataclasses import replace
        from privfl.learning.torch_trainer import TorchTrainer
        class Boasting(TorchTrainer):
            def train(self, *args, **kw):
                result = super().train(*args, **kw)
                return replace(result, correct=result.examples * 50)
        return Boasting(torch.nn.Linear(30, classes), LocalTraining(epochs=1))

    def boasting_object(classes):
        import torch
        from dataclasses import replace
        from privfl.learning.torch_trainer import TorchTrainer
        made = TorchTrainer(torch.nn.Linear(30, classes), LocalTraining(epochs=1))
        def train(*args, **kw):
            result = TorchTrainer.train(made, *args, **kw)
            return replace(result, correct=result.examples * 50)
        made.train = train
        return made

    def leaving():
        raise SystemExit(0)

    BUFFER = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)

    def buffered(client):
        BUFFER[0][:], BUFFER[1][:] = client, client % 2
        return BUFFER

    def odd_labels(client):
        features, labels = load_client(client, 0, 0)
        labels[0] = {1: -5, 2: 9, 3: 10**12}.get(client, labels[0])
        return features, labels

    def two_labels():
        features, labels = load_client(100, 0, 0)
        return features, labels % 2

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

    def unreadable(client, clients):
        return np.load(f"no-such-{client}-of-{clients}.npy")  # numpy's own lines raise, a line here is at fault

    def needy(path):
        return path
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own, and one without a function for the server's examples."""
    (tmp_path / "own_code_for_a_test.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "own_untested_for_a_test.py").write_text("from own_code_for_a_test import load_client")
    (tmp_path / "own_wrong_for_a_test.py").write_text("1 / 0")
    (tmp_path / "own_leaving_for_a_test.py").write_text("import sys; sys.exit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_code_for_a_test"
    for which in ("code", "untested", "wrong", "leaving"):
        sys.modules.pop(f"own_{which}_for_a_test", None)


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
    return checked.train(checked.initial_weights(), few(), seed=0)


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
        ({"w.npy": np.zeros(2)}, r"names an array 'w\.npy': a text such as 'weight' works"),
        ({"a\0b": np.zeros(2)}, r"names an array 'a\\x00b'"),
        ({"a\ud800": np.zeros(2)}, r"names an array 'a\\ud800'"),
        ({"": np.zeros(2)}, r"names an array ''"),
        ({"w" * 1001: np.zeros(2)}, r"names an array 'www"),
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
        ({"examples": 0}, r"says examples=0: a whole number from 1 to 2\^53 is due"),
        ({"examples": 2.0}, r"says examples=2\.0: a whole number"),
        ({"examples": True}, r"says examples=True: a whole number"),
        ({"correct": 5}, r"says correct=5 of 4 examples: a whole number from 0 to 4 is due"),
        ({"correct": -1}, r"says correct=-1 of 4 examples"),
        ({"loss": "low"}, r"says loss='low': a number is due, such as 0\.7"),
        ({"loss": None}, r"says loss=None: a number is due"),
        ({"loss": 10**400}, r"says loss=10{59}: a number is due"),
        ({"loss": 10**5000}, r"says loss=some int: a number is due"),
        ({"examples": 10**5000}, r"says examples=some int: a whole number from 1"),
    ],
)
def test_guarantee_2_counts_and_losses_are_numbers_that_can_be(result, message):
    with pytest.raises(ConfigurationError, match=f"train of the trainer Free {message}"):
        trained(Free(**result))
    with pytest.raises(ConfigurationError, match=f"evaluate of the trainer Free {message}"):
        CheckedTrainer(Free(**result), LocalTraining()).evaluate({}, few())


def test_numbers_of_numpy_will_do():
    numbers = {"examples": np.int64(4), "correct": np.uint8(4), "loss": np.float32(0.5)}
    for found in (trained(Free(**numbers)), CheckedTrainer(Free(**numbers), LocalTraining()).evaluate({}, few())):
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
        checked.train({}, few(), seed=0)
    with pytest.raises(ConfigurationError, match=r"evaluate of the trainer Odd returned float: return a .*Evaluation"):
        checked.evaluate({}, few())

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
    checked.train({}, few(), seed=0)
    checked.train({}, few(), seed=0, settings=LocalTraining(epochs=2))
    assert [settings.epochs for settings in trainer.seen] == [9, 2]


@pytest.mark.parametrize(("update", "what"), [({"w": np.ones(4)}, "lacks"), ({"a": 0}, "lacks")])
def test_a_run_with_a_trainer_that_returns_another_shape_ends_with_one_sentence(update, what):
    run = FederatedRun(job_of(), trainer=Free(update=update))
    with pytest.raises(
        ConfigurationError, match=rf"^round 1: training failed at every client; at client 0: the update of .* {what}"
    ):
        finished(run)


class Writing(Free):
    """Writes into everything that it is given, as whoever trains in place does; `how` says by what."""

    def __init__(self, how):
        super().__init__(update={"w": np.full((2, 3), 0.25, np.float32), "b": np.zeros(3, np.float32)})
        self._how = how

    def train(self, weights, examples, *, seed, settings=None):
        self._how([*weights.values(), examples.features, examples.labels])
        return super().train(weights, examples, seed=seed, settings=settings)

    def evaluate(self, weights, examples):
        self._how([*weights.values(), examples.features, examples.labels])
        return super().evaluate(weights, examples)


def in_place(arrays):
    for array in arrays:
        np.add(array, array.dtype.type(7), out=array)


def by_torch(arrays):
    """As the obvious trainer does, whose tensors share the memory of the arrays."""
    torch = pytest.importorskip("torch")
    for array in arrays:
        tensor = torch.from_numpy(array)
        if tensor.is_floating_point():
            tensor.requires_grad_()
            (7 * tensor).sum().backward()
            torch.optim.SGD([tensor], lr=1.0).step()
        else:
            tensor += 7


@pytest.mark.parametrize("how", [in_place, by_torch])
def test_guarantee_4_a_trainer_may_write_into_what_it_is_given(how):
    checked, own = CheckedTrainer(Writing(how), LocalTraining()), few()
    weights = checked.initial_weights()
    kept = [array.copy() for array in (*weights.values(), own.features, own.labels)]
    for array in (*weights.values(), own.features, own.labels):
        array.flags.writeable = False  # which torch does not look at
    result = checked.train(weights, own, seed=0)
    checked.evaluate(weights, own)
    arrays = (*weights.values(), own.features, own.labels)
    assert all(np.array_equal(one, was) for one, was in zip(arrays, kept, strict=True))
    assert result.update["w"].tolist() == np.full((2, 3), 0.25).tolist()


@pytest.mark.parametrize("how", [in_place, by_torch])
@pytest.mark.parametrize(
    "privacy", [{}, {"mode": "client-central", "clip": 0.5, "noise_multiplier": 4.0, "delta": 1e-5}]
)
def test_guarantee_4_the_model_moves_by_what_is_released_alone(how, privacy, monkeypatch):
    """Ten clients that move the model by 7 each in place, and say a quarter: what is summed is clipped, and all."""
    monkeypatch.setattr("privfl.dp.noise.IntegerNoise.add_to", lambda *_, **__: None)
    run = FederatedRun(job_of(rounds=1, privacy=privacy, audit={"probes": 0}), trainer=Writing(how))
    held = [examples.features.copy() for examples in (*run.data.clients, run.data.test)]
    finished(run)
    said = 0.25 if not privacy else 0.5 / 6**0.5  # of six coordinates of a quarter, clipped to half
    assert run.weights["w"] == pytest.approx(np.full((2, 3), said), abs=1e-2)
    assert run.weights["b"] == pytest.approx(np.zeros(3), abs=1e-2)
    now = [examples.features for examples in (*run.data.clients, run.data.test)]
    assert all(np.array_equal(one, was) for one, was in zip(now, held, strict=True))


@pytest.mark.parametrize("error", [KeyError("no such patient"), SystemExit(0)])
def test_guarantee_3_methods_that_raise_are_named(error):
    class Raising(Free):
        def evaluate(self, weights, examples):
            raise error

    class Unborn(Free):
        def initial_weights(self):
            raise error

    kind = type(error).__name__
    with pytest.raises(
        ConfigurationError, match=rf"^evaluate of the trainer Raising failed: {kind}: .*, in line \d+ of "
    ):
        CheckedTrainer(Raising(), LocalTraining()).evaluate({}, few())
    with pytest.raises(ConfigurationError, match=rf"^initial_weights of the trainer Unborn failed: {kind}: "):
        CheckedTrainer(Unborn(), LocalTraining())


def test_names_that_numpy_keeps_for_itself_come_back_from_the_file(tmp_path):
    names = ("file", "allow_pickle", "args", "a/b", "../x", "kwds")
    trainer = Free(
        initial={name: np.zeros(2, np.float32) for name in names},
        update={name: np.full(2, 0.5, np.float32) for name in names},
    )
    run = finished(FederatedRun(job_of(rounds=1), trainer=trainer, out=tmp_path / "run"))
    back = load_model(tmp_path / "run" / "model.npz")
    assert list(back) == list(names)
    assert same(back, run.weights)


@pytest.mark.parametrize(
    "privacy", [{}, {"mode": "client-central", "clip": 0.5, "noise_multiplier": 4.0, "delta": 1e-5}]
)
def test_a_run_whose_evaluation_fails_ends_in_a_sentence_and_can_be_gone_on_with(privacy, own, tmp_path, monkeypatch):
    evaluate, rounds = SoftmaxTrainer.evaluate, []

    def failing(self, weights, examples):
        if len(examples) == 113:  # the server's
            rounds.append(weights)
            if len(rounds) == 2:
                raise ZeroDivisionError("of no examples")
        return evaluate(self, weights, examples)

    monkeypatch.setattr(SoftmaxTrainer, "evaluate", failing)
    job = job_of(model=SOFTMAX, privacy=privacy, audit={"probes": 0})
    run = FederatedRun(job, out=tmp_path / "run")
    assert (len(run.data.test), rounds) == (113, [])
    with pytest.raises(
        ConfigurationError, match=r"^evaluate of the trainer SoftmaxTrainer failed: ZeroDivisionError: of"
    ):
        finished(run)
    again = finished(FederatedRun.resume(tmp_path / "run"))
    assert (run.done, again.done, [row.round for row in again.metrics]) == (1, 3, [1, 2, 3])
    if not privacy:
        assert same(again.weights, finished(FederatedRun(job)).weights)


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
        ("broken", r"and calling it with classes=2 failed: KeyError: 2, in line 18 of own_code_for_a_test\.py"),
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


def test_code_that_ends_the_program_is_named_like_code_that_fails(own):
    with pytest.raises(
        ConfigurationError, match=r"importing 'own_leaving_for_a_test' failed \(SystemExit: 0, in line 1 of"
    ):
        FederatedRun(job_of(model="own_leaving_for_a_test:build"))
    with pytest.raises(ConfigurationError, match=r"and calling it failed: SystemExit: 0, in line"):
        FederatedRun(job_of(model=f"{own}:leaving"))


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


def test_guarantee_1_under_dp_of_examples_a_class_made_from_the_private_trainer_is_refused(own):
    """Its fit would add no noise, and the plan that it shows is the one that is due."""
    pytest.importorskip("opacus")
    for name in ("loud", "patched"):
        with pytest.raises(ConfigurationError, match=r"nothing would clip or add noise to for sure"):
            FederatedRun(private_job(f"{own}:{name}"))
    with pytest.raises(ConfigurationError, match=r"with noise that somebody may know: give it no entropy"):
        FederatedRun(private_job(f"{own}:known"))


def test_guarantee_2_what_classes_made_from_ours_return_is_checked(own):
    pytest.importorskip("torch")
    for name in ("boasting", "boasting_object"):
        run = FederatedRun(job_of(model=f"{own}:{name}", rounds=1))
        with pytest.raises(ConfigurationError, match=r"train of the trainer \w+ says correct=\d+ of \d+ examples"):
            finished(run)


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


def test_guarantee_1_of_own_data_a_function_may_use_its_arrays_again(own):
    data = load_own(f"{own}:buffered", clients=3, seed=0, test=f"{own}:constant")
    assert [one.features[0, 0] for one in data.clients] == [0, 1, 2]
    assert [one.labels.tolist() for one in data.clients] == [[0] * 4, [1] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("classes", "test", "due"), [(None, "load_test", 3), (None, "two_labels", 2), (4, "load_test", 4)]
)
def test_guarantee_2_of_own_data_the_number_of_classes_tells_nothing_of_private_labels(classes, test, due, own):
    """Clients 1 to 3 hold a label each that no model of these classes has an output for."""
    options = {"clients": 5, "seed": 0, "test": f"{own}:{test}", "classes": classes}
    data = load_own(f"{own}:odd_labels", private=True, **options)
    assert data.classes == due
    assert [one.labels[0] for one in data.clients[1:4]] == [0, due - 1, due - 1]
    module = __import__(own)
    for client, one in enumerate(data.clients):  # all others as they were
        expected = module.load_client(client, 0, 0)[1][1:]
        assert np.array_equal(one.labels[1:], np.minimum(expected, due - 1))


@pytest.mark.parametrize("mode", ["example", "client-central", "client-distributed"])
def test_a_private_run_does_not_refuse_a_label_or_drop_its_client(mode, own):
    pytest.importorskip("opacus")
    data = {"name": f"{own}:odd_labels", "clients": 10, "test": f"{own}:load_test"}
    job = job_of(
        model="logistic", rounds=1, data=data, privacy=EXAMPLE | {"mode": mode}, audit={"probes": 0, "canaries": 0}
    )
    run = FederatedRun(job)
    assert run.data.classes == 3
    (row,) = run
    assert (row.contributors, row.dropped_because) == (10, {})


def test_classes_may_be_said_and_labels_beyond_are_named_with_the_client(own):
    load = {"clients": 3, "seed": 0, "test": f"{own}:load_test"}
    assert load_own(f"{own}:load_client", classes=7, **load).classes == 7
    with pytest.raises(
        ConfigurationError,
        match=r"client 0: labels hold 2, and data\.classes is 2: labels from 0 to 1 work, or a larger",
    ):
        load_own(f"{own}:load_client", classes=2, **load | {"test": f"{own}:two_labels"})
    with pytest.raises(
        ConfigurationError, match=r"data\.test is '\w+:load_test': labels hold 2, and data\.classes is 2"
    ):
        load_own(f"{own}:load_client", classes=2, private=True, **load)
    with pytest.raises(ConfigurationError, match=r"client 1: labels hold -5; count classes from 0"):
        load_own(f"{own}:odd_labels", **load)


def test_labels_of_which_no_model_could_have_outputs_are_refused(own):
    module = __import__(own)
    module.huge = lambda: (np.ones((4, 3), np.float32), np.full(4, 10**12))
    for name, test, whose in (("huge", "constant", "client 0"), ("constant", "huge", r"data\.test is .*")):
        with pytest.raises(
            ConfigurationError, match=rf"{whose}: labels hold 1000000000000, and there may be 1000000 cl"
        ):
            load_own(f"{own}:{name}", clients=2, seed=0, test=f"{own}:{test}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_missing_value_is_named_with_its_place_but_where_it_is_private(value, own):
    module = __import__(own)

    def gap(client=2):
        features, labels = module.load_client(client, 0, 0)
        if client == 2:
            features[1, 2] = value
        return features, labels

    module.gap = gap
    load = {"clients": 3, "seed": 0}
    with pytest.raises(
        ConfigurationError, match=rf"client 2: features\[1, 2\] is {value}; fill in what is missing, such"
    ):
        load_own(f"{own}:gap", test=f"{own}:load_test", **load)
    for private in (False, True):  # what the server holds out is its own
        with pytest.raises(ConfigurationError, match=rf"data\.test is .*: features\[1, 2\] is {value}; fill in"):
            load_own(f"{own}:load_client", test=f"{own}:gap", private=private, **load)
    assert load_own(f"{own}:gap", test=f"{own}:load_test", private=True, **load)


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
        (
            "failing",
            r"data\.name is .* calling it with client=0 failed: KeyError: 'hospital 0', in line \d+ of own_code_for_a_",
        ),
        (
            "unreadable",
            r"calling it with client=0, clients=3 failed: FileNotFoundError: .*, in line \d+ of own_code_for_a_test",
        ),
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
        ({"name": "mine:load", "alpha": 0.1}, r"data\.alpha is '0\.1' with data\.name 'mine:load'.*leave it out"),
        ({"name": "mine:load", "shards": 3}, r"data\.shards is '3' with data\.name 'mine:load'"),
        ({"name": "digits", "test": "mine:test"}, r"data\.test is 'mine:test' with data\.name 'digits'.*leave it out"),
        ({"name": "digits", "classes": 10}, r"data\.classes is 10 with data\.name 'digits'.*leave it out"),
        ({"name": "mine:load", "classes": 1}, r"data\.classes is 1: 2 to 1000000 works, such as 10"),
        ({"name": "mine:load", "classes": 1_000_001}, r"data\.classes is 1000001: 2 to 1000000 works"),
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
    # A run goes on from anywhere, as long as the modules are where they were; an audit imports nothing.
    monkeypatch.chdir(tmp_path)
    run = privfl("--resume", "here/runs/job")
    assert run.returncode == 0, run.stderr
    (beside / "own_model_beside.py").rename(beside / "away.py")
    run = privfl("--resume", "here/runs/job")
    assert "importing 'own_model_beside' failed" in run.stderr
    assert f"when the run began it looked in {beside.resolve()} and {here.resolve()}: put the module back" in run.stderr
    command = [str(Path(sys.executable).with_name("privfl")), "audit", "here/runs/job", "--json"]
    audit = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "own_model_beside" not in audit.stderr
    assert json.loads(audit.stdout)
    (tmp_path / "own_model_beside.py").write_text(textwrap.dedent(OWN))
    run = privfl("--resume", "here/runs/job")
    assert run.returncode == 0, run.stderr
    (here / "runs" / "job" / "code_path.json").write_text("{")
    run = privfl("--resume", "here/runs/job")
    assert (run.returncode, "code_path.json is damaged: delete it" in run.stderr) == (64, True)


def test_a_run_that_fails_before_its_first_round_is_over_leaves_no_folder_of_the_job_behind(own, tmp_path, monkeypatch):
    from privfl.cli.main import main

    (tmp_path / "job.toml").write_text(f'model = "{own}:trainer"\nsuite = "masking"\nrounds = 1\n')
    monkeypatch.setattr(SoftmaxTrainer, "train", lambda *_, **__: 1 / 0)
    assert main(["run", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out"), "--json"]) == 64
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["run", str(tmp_path / "job.toml"), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads((tmp_path / "out" / "code_path.json").read_text()) == [str(tmp_path), str(Path.cwd())]
    job = tmp_path / "plain.toml"  # of no function: where it lay is nobody's business
    job.write_text('model = "logistic"\nsuite = "masking"\nrounds = 1\n')
    assert main(["run", str(job), "--out", str(tmp_path / "other"), "--json"]) == 0
    assert not (tmp_path / "other" / "code_path.json").exists()
