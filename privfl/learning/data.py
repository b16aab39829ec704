"""Labelled examples, split over simulated clients, with a test set that only the server holds.

Clients may keep some of their examples for evaluating models; they do not train on those.

Two real data sets come with scikit-learn, so nothing is downloaded: `hospitals` (569 patients, 30
measurements of a tumour's cell nuclei, malignant or benign) and `digits` (1,797 handwritten digits of 8 x 8
pixels).

Everything random here is seeded and none of it is secret: `seed_stream` gives each purpose a stream of its
own, so that one seed decides a whole job and no two parts of it see the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning.partition import MINIMUM_EXAMPLES, deal
from privfl.learning.partition import Partition as Partition  # noqa: PLC0414 - part of what this module offers

TEST_FRACTION: Final = 0.2
"""Share of every class that the server holds out."""

ALPHA_RANGE: Final = (1e-3, 1e6)
"""Concentrations that draw usable proportions: below, floats underflow; above, the split is even anyway."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Labelled examples of one party.

    Attributes:
        features: float32, or int64 such as characters by number; shape (n, ...), n >= 1; row i is example i.
        labels: int64, shape (n,); class of example i, counted from 0.

    Raises:
        ConfigurationError: wrong dtype, no example, a negative label, or lengths that differ.
    """

    features: NDArray[np.float32] | NDArray[np.int64]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.features.dtype not in {np.dtype(np.float32), np.dtype(np.int64)}:
            raise ConfigurationError(
                f"features have dtype {self.features.dtype}; convert them with features.astype(numpy.float32), or "
                f"numbers of words or characters with features.astype(numpy.int64)"
            )
        if self.labels.dtype != np.int64:
            raise ConfigurationError(
                f"labels have dtype {self.labels.dtype}; convert them with labels.astype(numpy.int64)"
            )
        if self.labels.ndim != 1 or self.features.ndim < 2 or len(self.features) != len(self.labels):
            raise ConfigurationError(
                f"features have shape {self.features.shape} and labels {self.labels.shape}; "
                "give features of shape (n, ...) and labels of shape (n,)"
            )
        if len(self.labels) == 0:
            raise ConfigurationError("features and labels hold no example; give at least 1")
        if self.labels.min() < 0:
            raise ConfigurationError(f"labels hold {self.labels.min()}; count classes from 0")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFacts:
    """What everybody may know of a federation's data, also who holds none of them.

    Attributes:
        clients: number of clients.
        examples: to train on, at all clients together.
        classes: number of classes; labels are 0 .. classes - 1.
        feature_shape: shape of one example, without the batch axis.
    """

    clients: int
    examples: int
    classes: int
    feature_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FederatedData:
    """A data set as a federation sees it.

    Attributes:
        name: what the data set is called in a job.
        clients: examples to train on, one entry per client; no example is held twice.
        test: examples that the server holds out; no client has any of them.
        classes: number of classes; labels are 0 .. classes - 1.
        feature_shape: shape of one example, without the batch axis.
        validation: examples that clients hold and do not train on, one entry per client; empty where they keep none.

    Raises:
        ConfigurationError: no client, a label beyond `classes`, examples of another shape, or `validation` for
            another number of clients.
    """

    name: str
    clients: tuple[Examples, ...]
    test: Examples
    classes: int
    feature_shape: tuple[int, ...]
    validation: tuple[Examples, ...] = ()

    def __post_init__(self) -> None:
        if not self.clients:
            raise ConfigurationError("clients is empty; give the examples of at least 1 client")
        if self.validation and len(self.validation) != len(self.clients):
            raise ConfigurationError(
                f"validation has {len(self.validation)} entries; give {len(self.clients)}, one per client, or none"
            )
        for examples in (*self.clients, *self.validation, self.test):
            if examples.features.shape[1:] != self.feature_shape:
                raise ConfigurationError(
                    f"feature_shape is {self.feature_shape} but some examples have shape "
                    f"{examples.features.shape[1:]}; give all examples the same shape"
                )
            if examples.labels.max() >= self.classes:
                raise ConfigurationError(
                    f"classes is {self.classes} but some label is {examples.labels.max()}; "
                    f"set classes to {examples.labels.max() + 1} or more"
                )

    @property
    def facts(self) -> PublicFacts:
        """What of it is public."""
        return PublicFacts(
            clients=len(self.clients),
            examples=sum(len(examples) for examples in self.clients),
            classes=self.classes,
            feature_shape=self.feature_shape,
        )


def load(
    name: str,
    *,
    clients: int,
    partition: Partition = Partition.IID,
    alpha: float = 0.5,
    seed: int = 0,
    shards: int = 2,
    holdout: float = 0.0,
) -> FederatedData:
    """Load a data set that comes with scikit-learn and split it over simulated clients.

    Args:
        name: `hospitals` or `digits`.
        clients: number of clients, 1 or more; `hospitals` serves at most 228 and `digits` 719, so that each
            holds `MINIMUM_EXAMPLES`.
        partition: how training examples are dealt to the clients.
        alpha: concentration of `dirichlet` and `quantity`, 0.001 to 1,000,000: 0.1 leaves most clients with few
            classes or few examples, 100 is nearly even. The other partitions do not use it.
        seed: decides the test split and, independently, the partition and what is held out; 0 to 2**63 - 1.
        shards: pieces of the data sorted by label that a client gets under `Partition.SHARDS`: 1 to as many as leave
            every piece an example. The fewer, the fewer classes it has. The other partitions do not use it.
        holdout: share of its own examples that every client keeps for evaluating models instead of training on them,
            rounded, but at least one and all but one at most; 0 to below 1. 0: clients train on all of them.

    Returns:
        The data set; its arrays are read-only. The test split depends on `name` and `seed` alone, and
        what a client holds in all does not depend on `holdout`.

    Raises:
        ConfigurationError: a value out of range; the message names the job key, such as `data.clients`.
        MissingExtra: scikit-learn is not installed.

    Guarantees:
        1. Every example of the data set is held exactly once: by one client, to train on or for evaluation, or by the
           server.
        2. Every client holds at least `MINIMUM_EXAMPLES` examples; with a `holdout`, at least one to train on and at
           least one for evaluation.
        3. Features are scaled example by example, with published constants; nothing is computed from the
           clients' pooled examples, which no party of a federation could see.
        4. The same arguments give the same arrays; test split, partition and holdout draw from separate
           streams.

    >>> federation = load("hospitals", clients=10)
    >>> len(federation.clients), len(federation.test), federation.classes, federation.feature_shape
    (10, 113, 2, (30,))
    """
    source = _SOURCES.get(name)
    if source is None:
        raise ConfigurationError(f"data.name is {name!r}; use one of: {', '.join(_SOURCES)}")
    try:
        partition = Partition(partition)
    except ValueError:
        raise ConfigurationError(f"data.partition is {partition!r}; use one of: {', '.join(Partition)}") from None
    if not _is_number(alpha) or not ALPHA_RANGE[0] <= alpha <= ALPHA_RANGE[1]:
        raise ConfigurationError(f"data.alpha is {alpha!r}; use a number from 0.001 to 1000000, such as 0.5")
    if not _is_number(holdout) or not 0 <= holdout < 1:
        raise ConfigurationError(f"evaluation.holdout is {holdout!r}; use a number from 0 to below 1, such as 0.2")

    split_rng = np.random.default_rng(seed_stream(seed, "data.split"))
    partition_rng = np.random.default_rng(seed_stream(seed, f"data.partition.{partition}"))
    everything = source.read()
    test, train = _stratified_split(everything.labels, split_rng)
    most = len(train) // MINIMUM_EXAMPLES
    if not _is_integer(clients) or not 1 <= clients <= most:
        raise ConfigurationError(
            f"data.clients is {clients!r}; use a whole number from 1 to {most}, so that each client of "
            f"{name!r} holds {MINIMUM_EXAMPLES} examples or more"
        )
    most = len(train) // clients
    if not _is_integer(shards) or shards < 1 or (partition is Partition.SHARDS and shards > most):
        raise ConfigurationError(
            f"data.shards is {shards!r}; use a whole number from 1 to {most}, so that each shard of {name!r} holds an "
            f"example with {clients} clients"
        )
    shares = deal(partition, train, everything.labels, clients=clients, alpha=alpha, shards=shards, rng=partition_rng)
    kept: list[NDArray[np.int64]] = []
    if holdout:
        shares, kept = hold_out(shares, holdout, np.random.default_rng(seed_stream(seed, "data.holdout")))
    return FederatedData(
        name=name,
        clients=tuple(_subset(everything, share) for share in shares),
        test=_subset(everything, test),
        classes=source.classes,
        feature_shape=everything.features.shape[1:],
        validation=tuple(_subset(everything, share) for share in kept),
    )


def hold_out(
    shares: list[NDArray[np.int64]], holdout: float, rng: np.random.Generator
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return what clients train on, and what they keep for evaluation: at least one example each.

    Args:
        shares: indices of the examples of every client, two or more each.
        holdout: share of them that is kept, above 0, below 1.
        rng: decides which.
    """
    cuts = [min(max(round(holdout * len(share)), 1), len(share) - 1) for share in shares]
    shuffled = [rng.permutation(share) for share in shares]
    return (
        [share[cut:] for share, cut in zip(shuffled, cuts, strict=True)],
        [share[:cut] for share, cut in zip(shuffled, cuts, strict=True)],
    )


def seed_stream(seed: int, purpose: str) -> np.random.SeedSequence:
    """Derive the random stream of one purpose from the seed of a job.

    Args:
        seed: 0 to 2**63 - 1.
        purpose: what the stream is for; other purposes get independent streams.

    Returns:
        Entropy for `numpy.random.default_rng`, or for another generator by `generate_state`.

    Raises:
        ConfigurationError: `seed` is no whole number in range.

    >>> int(seed_stream(0, "a").generate_state(1)[0]) == int(seed_stream(0, "b").generate_state(1)[0])
    False
    """
    if not _is_integer(seed) or not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed is {seed!r}; use a whole number from 0 to 2**63 - 1, such as 0")
    return np.random.SeedSequence(entropy=int(seed), spawn_key=tuple(purpose.encode()))


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _stratified_split(
    labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of test and training examples; `TEST_FRACTION` of every class is test."""
    test = np.concatenate(
        [
            rng.permutation(members)[: round(TEST_FRACTION * len(members))]
            for members in (np.flatnonzero(labels == label) for label in np.unique(labels))
        ]
    )
    return np.sort(test), np.setdiff1d(np.arange(len(labels)), test)


def _subset(everything: Examples, indices: NDArray[np.int64]) -> Examples:
    chosen = np.sort(indices)
    features, labels = everything.features[chosen], everything.labels[chosen]
    features.flags.writeable = labels.flags.writeable = False
    return Examples(features=features, labels=labels)


# Smallest and largest value of each feature, as printed in the data set's published description:
# scikit-learn, `load_breast_cancer().DESCR`, "Summary Statistics", for the Breast Cancer Wisconsin
# (Diagnostic) data set of the UCI Machine Learning Repository. The table covers all 569 patients, so it does
# know the range of the test patients; what matters here is that it is public and fixed: no client tells
# anything through it. It is rounded, so values may pass its ends by a rounding error; `_scale_hospitals`
# clips them.
HOSPITALS_RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "radius (mean)": (6.981, 28.11),
        "texture (mean)": (9.71, 39.28),
        "perimeter (mean)": (43.79, 188.5),
        "area (mean)": (143.5, 2501.0),
        "smoothness (mean)": (0.053, 0.163),
        "compactness (mean)": (0.019, 0.345),
        "concavity (mean)": (0.0, 0.427),
        "concave points (mean)": (0.0, 0.201),
        "symmetry (mean)": (0.106, 0.304),
        "fractal dimension (mean)": (0.05, 0.097),
        "radius (standard error)": (0.112, 2.873),
        "texture (standard error)": (0.36, 4.885),
        "perimeter (standard error)": (0.757, 21.98),
        "area (standard error)": (6.802, 542.2),
        "smoothness (standard error)": (0.002, 0.031),
        "compactness (standard error)": (0.002, 0.135),
        "concavity (standard error)": (0.0, 0.396),
        "concave points (standard error)": (0.0, 0.053),
        "symmetry (standard error)": (0.008, 0.079),
        "fractal dimension (standard error)": (0.001, 0.03),
        "radius (worst)": (7.93, 36.04),
        "texture (worst)": (12.02, 49.54),
        "perimeter (worst)": (50.41, 251.2),
        "area (worst)": (185.2, 4254.0),
        "smoothness (worst)": (0.071, 0.223),
        "compactness (worst)": (0.027, 1.058),
        "concavity (worst)": (0.0, 1.252),
        "concave points (worst)": (0.0, 0.291),
        "symmetry (worst)": (0.156, 0.664),
        "fractal dimension (worst)": (0.055, 0.208),
    }
)

DIGITS_INK: Final = 16.0
"""Largest value of a pixel: each counts the inked points of a 4 x 4 block (`load_digits().DESCR`)."""


def _read_hospitals() -> Examples:
    try:
        from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtra("learning", "scikit-learn") from error
    features, labels = load_breast_cancer(return_X_y=True)
    return Examples(features=_scale_hospitals(features), labels=labels.astype(np.int64))


def _scale_hospitals(features: NDArray[np.float64]) -> NDArray[np.float32]:
    """To [-2, 2]. Sizes and areas have long right tails; the square root of the scaled value centres them."""
    low, high = np.array(list(HOSPITALS_RANGES.values())).T
    unit = np.clip((features - low) / (high - low), 0.0, 1.0)
    scaled: NDArray[np.float64] = 4.0 * np.sqrt(unit) - 2.0
    return scaled.astype(np.float32)


def _read_digits() -> Examples:
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtra("learning", "scikit-learn") from error
    features, labels = load_digits(return_X_y=True)
    images = (features / DIGITS_INK).astype(np.float32).reshape(-1, 1, 8, 8)
    return Examples(features=images, labels=labels.astype(np.int64))


class _Source(NamedTuple):
    read: Callable[[], Examples]
    classes: int


_SOURCES: Final[Mapping[str, _Source]] = MappingProxyType(
    {
        "hospitals": _Source(read=_read_hospitals, classes=2),
        "digits": _Source(read=_read_digits, classes=10),
    }
)

DATA_NAMES: Final = tuple(_SOURCES)
"""Names that `load` knows."""
