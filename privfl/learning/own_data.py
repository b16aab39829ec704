"""Data of the user's own: a function that returns what a client holds, and one for what the server holds out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from privfl.errors import ConfigurationError
from privfl.learning.data import Examples, FederatedData, hold_out, seed_stream
from privfl.learning.own_code import own_function

TEST_FUNCTION: Final = "load_test"
"""The function of the module beside that of the clients, unless `data.test` names another."""

MOST_CLASSES: Final = 1_000_000
"""A model has an output for each."""

_CLIENT_SAMPLE: Final = "def {}(client): return features, labels"
_OFFERED: Final = ("client", "clients", "seed")
_TEST_SAMPLE: Final = "def {}(): return features, labels"


def load_own(
    name: str,
    *,
    clients: int,
    seed: int,
    test: str | None = None,
    holdout: float = 0.0,
    classes: int | None = None,
    private: bool = False,
) -> FederatedData:
    """Load the data of every simulated client, and the server's, by functions of the user's own.

    Args:
        name: `module:function`; called for every client, with those of `client=` (from 0), `clients=` and `seed=` that
            it takes. It returns two arrays: features, float32 or int64 of shape (n, ...), and labels, int64 of shape
            (n,), counted from 0.
        clients: number of clients, 1 or more.
        seed: 0 to 2**63 - 1; of the job.
        test: `module:function` for what the server holds out, called likewise, but without `client=`; the function
            `load_test` of the same module unless given.
        holdout: share of its own examples that every client keeps for evaluation, as for `load`.
        classes: how many there are; unless given, as the largest label says, and at least two.
        private: whether what clients hold is for nobody to know. Then the largest label is that of the server's
            examples, and a label of a client beyond the classes counts as the last one, or below 0 as 0: neither the
            model's shape nor a refusal tells of it.

    Returns:
        The data set.

    Raises:
        ConfigurationError: no such function, or it returns something else; names the key, and the client.

    Guarantees:
        1. The arrays are copies: what the functions do with theirs afterwards changes nothing.
        2. If `private`, the number of classes does not depend on what clients hold, and no label of theirs, nor a
           feature that is not finite, is refused.
    """
    load_client = own_function("data.name", name, sample=_CLIENT_SAMPLE, offered=_OFFERED)
    if clients < 1:
        raise ConfigurationError(f"data.clients is {clients}: 1 or more works, such as 10")
    tested = _test_name(name, test)
    most = MOST_CLASSES if classes is None else classes
    server, public = load_own_test(name, clients=clients, seed=seed, test=test, classes=classes)
    held = []
    for client in range(clients):
        where = f"data.name is {name!r}, client {client}"
        returned = load_client(client=client, clients=clients, seed=seed)
        examples = _examples(where, returned, classes=public if private else None)
        _require_classes(where, examples, most, given=classes is not None)
        held.append(examples)
    for client, examples in enumerate((*held, server)):
        whose = f"client {client}" if client < clients else f"data.test {tested!r}"
        _require_alike(f"data.name is {name!r}, {whose}", examples, held[0])
    if classes is None:  # private labels are none beyond the public ones by now
        public = max(public, *(int(one.labels.max()) + 1 for one in held))
    validation: tuple[Examples, ...] = ()
    if holdout:
        held, validation = _divided(name, held, holdout, seed)
    return FederatedData(
        name=name,
        clients=tuple(held),
        test=server,
        classes=public,
        feature_shape=server.features.shape[1:],
        validation=validation,
    )


def load_own_test(
    name: str, *, clients: int, seed: int, test: str | None = None, classes: int | None = None
) -> tuple[Examples, int]:
    """Load what the server holds out of data of the user's own, and say how many classes there are by it.

    Args and errors as those of `load_own`.
    """
    tested = _test_name(name, test)
    where = f"data.test is {tested!r}"
    server = _examples(where, _test_function(tested, given=test is not None)(clients=clients, seed=seed))
    _require_classes(where, server, MOST_CLASSES if classes is None else classes, given=classes is not None)
    return server, max(int(server.labels.max()) + 1, 2) if classes is None else classes


def load_own_client(
    name: str, *, key: str, client: int, clients: int, seed: int, classes: int, private: bool = False
) -> Examples:
    """Load what one client holds.

    Args:
        name: `module:function`, as for `load_own`.
        key: what named it, for complaints.
        client: its number.
        clients: how many there are.
        seed: of the job.
        classes: how many there are of these.
        private: whether a label beyond them counts as the last one, or below 0 as 0.

    Raises:
        ConfigurationError: as for `load_own`.
    """
    function = own_function(key, name, sample=_CLIENT_SAMPLE, offered=_OFFERED)
    where = f"{key} is {name!r}"
    returned = function(client=client, clients=clients, seed=seed)
    examples = _examples(where, returned, classes=classes if private else None)
    _require_classes(where, examples, classes, given=True)
    return examples


def _test_name(name: str, test: str | None) -> str:
    return f"{name.partition(':')[0]}:{TEST_FUNCTION}" if test is None else test


def _test_function(name: str, *, given: bool) -> Callable[..., Any]:
    try:
        return own_function("data.test", name, sample=_TEST_SAMPLE, offered=("clients", "seed"))
    except ConfigurationError as error:
        if given:
            raise
        raise ConfigurationError(
            f"data.test is not given, so that {name!r} has to return what the server holds out: {error}"
        ) from error


def _examples(where: str, returned: object, *, classes: int | None = None) -> Examples:
    """Copies of what a function returned, that cannot be written to; with labels of those classes, if they are said."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise ConfigurationError(
            f"{where}: the function returned {type(returned).__name__}; let it return two arrays, features and labels"
        )
    arrays = []
    for what, array in zip(("features", "labels"), returned, strict=True):
        if not isinstance(array, np.ndarray):
            raise ConfigurationError(
                f"{where}: {what} are of type {type(array).__name__}; convert them with numpy.asarray({what})"
            )
        own = np.array(array)
        if classes is not None and what == "labels" and own.dtype == np.int64:
            own = np.clip(own, 0, classes - 1)
        own.flags.writeable = False
        arrays.append(own)
    try:
        examples = Examples(features=arrays[0], labels=arrays[1])
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    if classes is None:  # of private data no refusal tells what they hold
        _require_finite(where, examples)
    return examples


def _require_finite(where: str, examples: Examples) -> None:
    finite = np.isfinite(examples.features)
    if not finite.all():
        row, *column = (int(index) for index in np.argwhere(~finite)[0])
        place = f"[{', '.join(map(str, (row, *column)))}]"
        raise ConfigurationError(
            f"{where}: features{place} is {examples.features[(row, *column)]}; fill in what is missing, such as with "
            f"numpy.nan_to_num, or leave the example out"
        )


def _require_classes(where: str, examples: Examples, most: int, *, given: bool) -> None:
    largest = int(examples.labels.max())
    if largest >= most:
        limit = f"data.classes is {most}" if given else f"there may be {most} classes"
        raise ConfigurationError(
            f"{where}: labels hold {largest}, and {limit}: labels from 0 to {most - 1} work"
            + (", or a larger data.classes" if given else "")
        )


def _require_alike(where: str, examples: Examples, first: Examples) -> None:
    found, due = (f"{one.features.dtype} of shape {one.features.shape[1:]}" for one in (examples, first))
    if found != due:
        raise ConfigurationError(f"{where}: an example is {found}, and {due} at client 0; give all the same")


def _divided(name: str, held: list[Examples], holdout: float, seed: int) -> tuple[list[Examples], tuple[Examples, ...]]:
    for client, examples in enumerate(held):
        if len(examples) < 2:
            raise ConfigurationError(
                f"data.name is {name!r}, client {client}: it holds one example, and evaluation.federated keeps one of "
                f"at least two; give it more, or leave evaluation.federated out"
            )
    rng = np.random.default_rng(seed_stream(seed, "data.holdout"))
    shares, kept = hold_out([np.arange(len(examples)) for examples in held], holdout, rng)
    return (
        [_part(examples, share) for examples, share in zip(held, shares, strict=True)],
        tuple(_part(examples, share) for examples, share in zip(held, kept, strict=True)),
    )


def _part(examples: Examples, indices: np.typing.NDArray[np.int64]) -> Examples:
    chosen = np.sort(indices)
    features, labels = examples.features[chosen], examples.labels[chosen]
    features.flags.writeable = labels.flags.writeable = False
    return Examples(features=features, labels=labels)
