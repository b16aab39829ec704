"""The federated data sets: nothing lost, nothing shared, nothing leaked through the scaling."""

import builtins
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning import data as learning_data
from privfl.learning.data import (
    DATA_NAMES,
    HOSPITALS_RANGES,
    MINIMUM_EXAMPLES,
    Examples,
    FederatedData,
    Partition,
    load,
    seed_stream,
)

sklearn_datasets = pytest.importorskip("sklearn.datasets")
SIZES = {"hospitals": 569, "digits": 1797}


def rows(*parties: Examples) -> list[bytes]:
    """Every example as bytes, label included, so that examples can be counted."""
    return sorted(
        examples.features[i].tobytes() + bytes([examples.labels[i]])
        for examples in parties
        for i in range(len(examples))
    )


@pytest.fixture(scope="module")
def whole() -> dict[str, list[bytes]]:
    """Each data set straight from its source, scaled, in one piece."""
    return {name: rows(learning_data._SOURCES[name].read()) for name in DATA_NAMES}


def same(a: FederatedData, b: FederatedData) -> bool:
    return all(
        np.array_equal(x.features, y.features) and np.array_equal(x.labels, y.labels)
        for x, y in zip((*a.clients, a.test), (*b.clients, b.test), strict=True)
    )


@pytest.mark.parametrize("name", DATA_NAMES)
@pytest.mark.parametrize("partition", Partition)
@pytest.mark.parametrize("clients", [1, 10, 200])
def test_guarantee_1_and_2_every_example_is_held_once_and_every_client_has_enough(name, partition, clients, whole):
    federation = load(name, clients=clients, partition=partition, alpha=0.1, seed=3)
    assert len(federation.clients) == clients
    assert min(map(len, federation.clients)) >= MINIMUM_EXAMPLES
    assert sum(map(len, federation.clients)) + len(federation.test) == SIZES[name]
    assert rows(*federation.clients, federation.test) == whole[name]
    assert len(set(whole[name])) == SIZES[name]  # no two examples are alike, so that counting them shows who holds them


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda counts: sum(counts) >= 3),
    alpha=st.sampled_from([0.001, 0.05, 0.5, 5.0, 1e6]),
    seed=st.integers(0, 2**63 - 1),
    wish=st.integers(1, 200),
)
def test_dirichlet_shares_are_a_partition_for_any_labels(counts, alpha, seed, wish):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    train = np.flatnonzero(np.arange(len(labels)) % 5 != 1)  # not contiguous, as after a test split
    clients = min(wish, len(train) // MINIMUM_EXAMPLES)
    shares = learning_data._dirichlet_shares(train, labels, clients, alpha, np.random.default_rng(seed))
    assert len(shares) == clients
    assert sorted(np.concatenate(shares).tolist()) == train.tolist()
    assert min(map(len, shares)) >= MINIMUM_EXAMPLES


@pytest.mark.parametrize("name", DATA_NAMES)
@pytest.mark.parametrize("partition", Partition)
def test_as_many_clients_as_promised_can_be_served_and_not_one_more(name, partition):
    most = {"hospitals": 228, "digits": 719}[name]
    federation = load(name, clients=most, partition=partition)
    assert min(map(len, federation.clients)) == MINIMUM_EXAMPLES
    with pytest.raises(ConfigurationError, match=rf"data\.clients is {most + 1}; use a whole number from 1 to {most}"):
        load(name, clients=most + 1, partition=partition)


@pytest.mark.parametrize(("name", "classes", "shape"), [("hospitals", 2, (30,)), ("digits", 10, (1, 8, 8))])
def test_shapes_types_and_a_stratified_test_split(name, classes, shape):
    federation = load(name, clients=7, seed=1)
    assert (federation.name, federation.classes, federation.feature_shape) == (name, classes, shape)
    for examples in (*federation.clients, federation.test):
        assert examples.features.dtype == np.float32
        assert examples.labels.dtype == np.int64
        assert examples.features.shape == (len(examples), *shape)
        assert not examples.features.flags.writeable
        assert not examples.labels.flags.writeable
    train = np.bincount(np.concatenate([client.labels for client in federation.clients]), minlength=classes)
    test = np.bincount(federation.test.labels, minlength=classes)
    assert np.all(np.abs(test - 0.2 * (train + test)) <= 0.5)


def test_iid_sizes_differ_by_at_most_one():
    sizes = [len(client) for client in load("digits", clients=20).clients]
    assert max(sizes) - min(sizes) <= 1


def test_small_alpha_gives_clients_fewer_classes_than_large_alpha():
    def classes_held(alpha: float) -> float:
        federation = load("digits", clients=20, partition=Partition.DIRICHLET, alpha=alpha)
        return float(np.mean([len(np.unique(client.labels)) for client in federation.clients]))

    # Expected: about 3 of 10 at alpha 0.1, nearly all at 100. The seed is fixed, so this cannot flicker.
    assert classes_held(0.1) < 5
    assert classes_held(100.0) > 9.5


@pytest.mark.parametrize("partition", Partition)
def test_guarantee_4_same_arguments_same_arrays_other_seed_other_arrays(partition):
    first = load("hospitals", clients=10, partition=partition, seed=5)
    assert same(first, load("hospitals", clients=10, partition=partition, seed=5))
    other = load("hospitals", clients=10, partition=partition, seed=6)
    assert rows(first.test) != rows(other.test)
    assert rows(first.clients[0]) != rows(other.clients[0])


def test_guarantee_4_the_test_split_depends_on_neither_partition_nor_clients():
    expected = rows(load("digits", clients=3, seed=9).test)
    assert rows(load("digits", clients=50, seed=9).test) == expected
    assert rows(load("digits", clients=3, partition=Partition.DIRICHLET, alpha=2.0, seed=9).test) == expected


def test_guarantee_4_split_and_partition_draw_from_separate_streams(monkeypatch):
    drawn = []

    def recorded(seed, purpose):
        drawn.append((purpose, int(seed_stream(seed, purpose).generate_state(1, np.uint64)[0])))
        return seed_stream(seed, purpose)

    monkeypatch.setattr(learning_data, "seed_stream", recorded)
    for partition in Partition:
        load("hospitals", clients=4, partition=partition, seed=2)
    assert len(dict(drawn)) == 3
    assert len({state for _, state in drawn}) == 3
    assert int(seed_stream(3, "data.split").generate_state(1, np.uint64)[0]) not in dict(drawn).values()


def test_loading_leaves_numpys_global_random_state_alone():
    before = np.random.get_state()[1].copy()
    load("digits", clients=5, partition=Partition.DIRICHLET)
    assert np.array_equal(np.random.get_state()[1], before)


def test_guarantee_3_the_constants_are_the_published_table():
    table = {}
    for line in sklearn_datasets.load_breast_cancer().DESCR.splitlines():
        name, colon, values = line.partition("): ")
        if colon and len(values.split()) == 2:
            table[f"{name})"] = tuple(map(float, values.split()))
    assert table == dict(HOSPITALS_RANGES)
    assert list(table) == list(HOSPITALS_RANGES)  # in the order of the columns


def test_guarantee_3_the_constants_cover_the_data():
    features = sklearn_datasets.load_breast_cancer().data
    low, high = np.array(list(HOSPITALS_RANGES.values())).T
    rounding = 0.0005 + 1e-9  # the table has three decimals or more
    assert np.all(features.min(axis=0) >= low - rounding)
    assert np.all(features.max(axis=0) <= high + rounding)
    # And tightly: a constant in the wrong row would squeeze a feature into a corner.
    assert np.all(features.min(axis=0) <= low + rounding)
    assert np.all(features.max(axis=0) >= high - rounding)


def test_guarantee_3_an_examples_features_do_not_depend_on_other_examples():
    raw = sklearn_datasets.load_breast_cancer().data
    together = learning_data._scale_hospitals(raw)
    assert np.array_equal(together[100:103], learning_data._scale_hospitals(raw[100:103]))
    extreme = raw.copy()
    extreme[0] = 1e6
    changed = learning_data._scale_hospitals(extreme)
    assert np.array_equal(changed[1:], together[1:])
    assert np.array_equal(changed[0], np.full(30, 2.0, dtype=np.float32))  # clipped, not scaled to
    assert np.all(np.abs(together) <= 2.0)


def test_digits_are_shades_from_0_to_1():
    features = learning_data._read_digits().features
    assert features.min() == 0.0
    assert features.max() == 1.0
    assert np.array_equal(features * 16, np.rint(features * 16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, r"data\.name is 'mnist'; use one of: hospitals, digits"),
        ({"clients": 0}, r"data\.clients is 0; use a whole number from 1 to 228"),
        ({"clients": -3}, r"data\.clients is -3; use"),
        ({"clients": 2.0}, r"data\.clients is 2\.0; use"),
        ({"clients": True}, r"data\.clients is True; use"),
        ({"clients": "10"}, r"data\.clients is '10'; use"),
        ({"partition": "sharded"}, r"data\.partition is 'sharded'; use one of: iid, dirichlet"),
        ({"alpha": 0}, r"data\.alpha is 0; use a number from 0\.001 to 1000000, such as 0\.5"),
        ({"alpha": -1.0}, r"data\.alpha is -1\.0; use"),
        ({"alpha": 1e9}, r"data\.alpha is 1000000000\.0; use"),
        ({"alpha": float("nan")}, r"data\.alpha is nan; use"),
        ({"alpha": float("inf")}, r"data\.alpha is inf; use"),
        ({"alpha": 10**400}, r"data\.alpha is 10{400}; use"),
        ({"alpha": "0.5"}, r"data\.alpha is '0\.5'; use"),
        ({"seed": -1}, r"seed is -1; use a whole number from 0"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; use"),
        ({"seed": 1.5}, r"seed is 1\.5; use"),
        ({"seed": True}, r"seed is True; use"),
    ],
)
def test_bad_input_names_the_key_and_a_value_that_works(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        load(**{"name": "hospitals", "clients": 10, **arguments})


def test_partition_may_be_the_word_that_a_job_file_holds():
    assert same(
        load("hospitals", clients=4, partition="dirichlet"), load("hospitals", clients=4, partition=Partition.DIRICHLET)
    )


def good(n: int = 3) -> Examples:
    return Examples(features=np.zeros((n, 2), dtype=np.float32), labels=np.arange(n, dtype=np.int64))


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros(3, dtype=np.int64), r"features have dtype float64; .*astype\(numpy\.float32\)"),
        (np.zeros((3, 2), np.float32), np.zeros(3), r"labels have dtype float64; .*astype\(numpy\.int64\)"),
        (np.zeros((3, 2), np.float32), np.zeros(2, np.int64), r"features have shape \(3, 2\) and labels \(2,\)"),
        (np.zeros((3, 2), np.float32), np.zeros((3, 1), np.int64), r"labels \(3, 1\)"),
        (np.zeros(3, np.float32), np.zeros(3, np.int64), r"features have shape \(3,\)"),
        (np.zeros((0, 2), np.float32), np.zeros(0, np.int64), r"hold no example; give at least 1"),
        (np.zeros((2, 2), np.float32), np.array([0, -1]), r"labels hold -1; count classes from 0"),
    ],
)
def test_examples_that_do_not_fit_are_refused(features, labels, message):
    with pytest.raises(ConfigurationError, match=message):
        Examples(features=features, labels=labels)


def test_federations_that_do_not_fit_are_refused():
    shape = {"name": "own", "feature_shape": (2,), "classes": 3}
    assert len(FederatedData(clients=(good(),), test=good(1), **shape).clients[0]) == 3
    with pytest.raises(ConfigurationError, match="clients is empty; give"):
        FederatedData(clients=(), test=good(), **shape)
    with pytest.raises(ConfigurationError, match="classes is 2 but some label is 2; set classes to 3"):
        FederatedData(clients=(good(),), test=good(), **{**shape, "classes": 2})
    with pytest.raises(ConfigurationError, match=r"feature_shape is \(4,\) but some examples have shape \(2,\)"):
        FederatedData(clients=(good(),), test=good(), **{**shape, "feature_shape": (4,)})


@pytest.mark.parametrize("name", DATA_NAMES)
def test_without_scikit_learn_the_error_names_the_extra(name, monkeypatch):
    real_import = builtins.__import__

    def no_sklearn(module, *args, **kwargs):
        if module.startswith("sklearn"):
            raise ImportError(module)
        return real_import(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(MissingExtra, match=r"scikit-learn.*privfl\[learning\]"):
        load(name, clients=2)
    assert "sklearn" in sys.modules  # it was there: the test removed it on purpose
