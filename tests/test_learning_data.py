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
    Examples,
    FederatedData,
    Partition,
    load,
    seed_stream,
)
from privfl.learning.partition import MINIMUM_EXAMPLES, deal

sklearn_datasets = pytest.importorskip("sklearn.datasets")
SIZES = {"hospitals": 569, "digits": 1797}


def rows(*parties: Examples) -> list[bytes]:
    """Every example as bytes, label included, so that examples can be counted."""
    return sorted(
        examples.features[i].tobytes() + bytes([examples.labels[i]])
        for examples in parties
        for i in range(len(examples))
    )


def ends(examples: Examples) -> tuple[int, int]:
    """Places of the first and the last of some digits in the data set."""
    where = {row.tobytes(): place for place, row in enumerate(learning_data._read_digits().features)}
    places = [where[row.tobytes()] for row in examples.features]
    return min(places), max(places)


@pytest.fixture(scope="module")
def whole() -> dict[str, list[bytes]]:
    """Each data set straight from its source, scaled, in one piece."""
    return {name: rows(learning_data._SOURCES[name].read()) for name in DATA_NAMES}


def same(a: FederatedData, b: FederatedData) -> bool:
    return all(
        np.array_equal(x.features, y.features) and np.array_equal(x.labels, y.labels)
        for x, y in zip((*a.clients, *a.validation, a.test), (*b.clients, *b.validation, b.test), strict=True)
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
    partition=st.sampled_from(Partition),
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda counts: sum(counts) >= 3),
    alpha=st.sampled_from([0.001, 0.05, 0.5, 5.0, 1e6]),
    seed=st.integers(0, 2**63 - 1),
    wish=st.integers(1, 200),
    shards=st.integers(1, 200),
)
def test_whatever_the_labels_and_the_partition_every_example_is_dealt_once_and_nobody_is_short(
    partition, counts, alpha, seed, wish, shards
):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    train = np.flatnonzero(np.arange(len(labels)) % 5 != 1)  # not contiguous, as after a test split
    clients = min(wish, len(train) // MINIMUM_EXAMPLES)
    shares = deal(
        partition,
        train,
        labels,
        clients=clients,
        alpha=alpha,
        shards=min(shards, len(train) // clients),
        rng=np.random.default_rng(seed),
    )
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


def holdings(federation: FederatedData) -> list[tuple[int, int]]:
    return [(len(client), len(np.unique(client.labels))) for client in federation.clients]


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_give_clients_few_classes_and_examples_alike_in_number(shards):
    held = holdings(load("digits", clients=20, partition=Partition.SHARDS, shards=shards))
    # A shard is 72, 36 or 24 of a class of about 144: it holds examples of at most two classes.
    assert max(classes for _, classes in held) <= 2 * shards
    # Nine shards at most hold the end of a class and the beginning of the next; all others hold one class.
    assert sum(classes for _, classes in held) <= 20 * shards + 9
    assert max(size for size, _ in held) - min(size for size, _ in held) <= shards


def test_shards_are_dealt_at_random_and_so_are_the_examples_of_a_class():
    first, other = (load("digits", clients=10, partition=Partition.SHARDS, shards=1, seed=seed) for seed in (1, 2))
    classes = [[int(np.bincount(client.labels).argmax()) for client in one.clients] for one in (first, other)]
    assert classes[0] != classes[1] != sorted(classes[1])
    # Two shards of a class are not its first half and its second: those would follow the order of the data set.
    halves = load("digits", clients=20, partition=Partition.SHARDS, shards=1, seed=1).clients
    zeros = [ends(half) for half in halves if np.all(half.labels == 0)]
    assert len(zeros) >= 1
    assert all(lowest < 300 and highest > 1500 for lowest, highest in zeros)


def test_quantity_leaves_labels_alike_and_sizes_uneven():
    even, uneven = (
        holdings(load("digits", clients=10, partition=Partition.QUANTITY, alpha=alpha)) for alpha in (1e6, 0.5)
    )
    assert max(size for size, _ in even) - min(size for size, _ in even) <= 4
    sizes = [size for size, _ in uneven]
    assert max(sizes) > 3 * np.median(sizes)
    # 40 examples drawn at random miss two of ten classes or more with a probability below one in 100.
    assert all(classes >= 9 for size, classes in uneven if size >= 40)


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
    load("hospitals", clients=4, holdout=0.5, seed=2)
    assert len(dict(drawn)) == len(Partition) + 2
    assert len({state for _, state in drawn}) == len(Partition) + 2
    assert int(seed_stream(3, "data.split").generate_state(1, np.uint64)[0]) not in dict(drawn).values()


# What clients hold out


@pytest.mark.parametrize("partition", Partition)
@pytest.mark.parametrize("holdout", [1e-9, 0.25, 0.999])
def test_guarantee_1_and_2_with_a_holdout_every_example_is_held_once(partition, holdout, whole):
    federation = load("hospitals", clients=60, partition=partition, alpha=0.1, seed=3, holdout=holdout)
    undivided = load("hospitals", clients=60, partition=partition, alpha=0.1, seed=3)
    assert len(federation.validation) == len(federation.clients) == 60
    for train, kept, both in zip(federation.clients, federation.validation, undivided.clients, strict=True):
        assert rows(train, kept) == rows(both)  # it is the client's own that is held out
        assert len(kept) == min(max(round(holdout * len(both)), 1), len(both) - 1)
        assert len(train) >= 1
        assert not kept.features.flags.writeable
    assert rows(*federation.clients, *federation.validation, federation.test) == whole["hospitals"]


def test_without_a_holdout_clients_train_on_all_they_have():
    assert load("hospitals", clients=5).validation == ()


def test_guarantee_4_what_is_held_out_follows_the_seed_and_is_no_piece_of_the_order():
    first, again, other = (load("digits", clients=2, holdout=0.3, seed=seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert rows(first.validation[0]) != rows(other.validation[0])
    lowest, highest = ends(first.validation[0])
    assert lowest < 200
    assert highest > 1600


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
        ({"partition": "sharded"}, r"data\.partition is 'sharded'; use one of: iid, dirichlet, shards, quantity"),
        ({"alpha": 0}, r"data\.alpha is 0; use a number from 0\.001 to 1000000, such as 0\.5"),
        ({"alpha": -1.0}, r"data\.alpha is -1\.0; use"),
        ({"alpha": 1e9}, r"data\.alpha is 1000000000\.0; use"),
        ({"alpha": float("nan")}, r"data\.alpha is nan; use"),
        ({"alpha": float("inf")}, r"data\.alpha is inf; use"),
        ({"alpha": 10**400}, r"data\.alpha is 10{400}; use"),
        ({"alpha": "0.5"}, r"data\.alpha is '0\.5'; use"),
        ({"shards": 0}, r"data\.shards is 0; use a whole number from 1 to 45, so that each shard of 'hospitals' holds"),
        ({"shards": 1.0}, r"data\.shards is 1\.0; use"),
        ({"shards": 46, "partition": "shards"}, r"data\.shards is 46; use a whole number from 1 to 45"),
        ({"holdout": -0.1}, r"evaluation\.holdout is -0\.1; use a number from 0 to below 1, such as 0\.2"),
        ({"holdout": 1.0}, r"evaluation\.holdout is 1\.0; use"),
        ({"holdout": float("nan")}, r"evaluation\.holdout is nan; use"),
        ({"holdout": True}, r"evaluation\.holdout is True; use"),
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
    with pytest.raises(ConfigurationError, match="validation has 2 entries; give 1, one per client, or none"):
        FederatedData(clients=(good(),), test=good(), validation=(good(), good()), **shape)
    with pytest.raises(ConfigurationError, match="classes is 3 but some label is 3; set classes to 4"):
        FederatedData(clients=(good(),), test=good(), validation=(good(4),), **shape)
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
