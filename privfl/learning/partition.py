"""How training examples are dealt to simulated clients: evenly, by labels, by shards, or in unequal quantities."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINIMUM_EXAMPLES: Final = 2
"""Fewest examples that a partition leaves with any client."""

Indices = NDArray[np.int64]


class Partition(StrEnum):
    """How training examples are dealt to the clients."""

    IID = "iid"
    """Shuffled and dealt evenly: sizes differ by at most one."""
    DIRICHLET = "dirichlet"
    """Each class is dealt by Dirichlet-distributed proportions of its own: uneven labels and sizes."""
    SHARDS = "shards"
    """Sorted by label and cut into pieces of one size, of which every client gets the same number: few labels each."""
    QUANTITY = "quantity"
    """Shuffled and dealt by Dirichlet-distributed proportions: uneven sizes, the same mixture of labels."""


def deal(
    partition: Partition,
    train: Indices,
    labels: NDArray[np.int64],
    *,
    clients: int,
    alpha: float,
    shards: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """Deal examples to clients.

    Args:
        partition: how.
        train: indices of the examples to deal, shape (n,), n ≥ `MINIMUM_EXAMPLES` · clients.
        labels: of all examples, those that are not dealt among them; `train` points into it.
        clients: 1 or more.
        alpha: concentration of `dirichlet` and `quantity`.
        shards: pieces that a client gets under `shards`, 1 to n // clients.
        rng: decides everything random.

    Returns:
        The indices of each client, in no particular order.

    Guarantees:
        1. Every index of `train` is with exactly one client.
        2. Every client has at least `MINIMUM_EXAMPLES`.

    References:
        `dirichlet`, `quantity`: Q. Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study",
        ICDE 2022, "distribution-based label imbalance" and "quantity skew". `shards`: H. B. McMahan et al.,
        "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017, section 3.
    """
    if partition is Partition.IID:
        return [np.asarray(share) for share in np.array_split(rng.permutation(train), clients)]
    if partition is Partition.SHARDS:
        return _by_shards(train, labels, clients, shards, rng)
    if partition is Partition.QUANTITY:
        return _by_proportions([train], clients, alpha, rng)
    return _by_proportions([train[labels[train] == label] for label in np.unique(labels[train])], clients, alpha, rng)


def _by_proportions(groups: list[Indices], clients: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """Cut every group by Dirichlet-distributed proportions of its own."""
    owned: list[list[int]] = [[] for _ in range(clients)]
    for group in groups:
        members = rng.permutation(group)
        proportions = rng.dirichlet(np.full(clients, alpha))
        cuts = np.rint(np.cumsum(proportions[:-1]) * len(members)).astype(np.int64)
        for client, piece in enumerate(np.split(members, cuts)):
            owned[client].extend(piece.tolist())
    # Drawing again until nobody is short may never end; moving single examples does, because there are
    # MINIMUM_EXAMPLES for each: while one client is short, the largest has more than that.
    for share in owned:
        while len(share) < MINIMUM_EXAMPLES:
            largest = max(owned, key=len)
            share.append(largest.pop(int(rng.integers(len(largest)))))
    return [np.array(share, dtype=np.int64) for share in owned]


def _by_shards(
    train: Indices, labels: NDArray[np.int64], clients: int, shards: int, rng: np.random.Generator
) -> list[Indices]:
    """Sort by label, in random order within each; cut; deal the pieces as they were shuffled."""
    shuffled = rng.permutation(train)
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_label, shards * clients)
    # With one piece each, a piece has n // clients examples or more; with several, each has at least one.
    hands = rng.permutation(len(pieces)).reshape(clients, shards)
    return [np.concatenate([pieces[piece] for piece in hand]) for hand in hands]
