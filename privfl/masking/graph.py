"""Who masks with whom: the complete graph, or a Harary graph over a random order of the cohort (Bell et al., §3.2).

In the Harary graph of even degree k the clients sit on a ring in an order that nobody chooses (it follows from the
Merkle root of all keys), and each is joined to the k/2 next on either side. Clients that never advertised keys keep
their seats: the graph is the one that the planner's probabilities speak of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, public_words
from privfl.primitives.transcript import digest


@lru_cache(maxsize=8)
def graph_for(cohort: tuple[int, ...], degree: int, root: bytes) -> Graph:
    """Return the graph of a session; parties in one process share it."""
    return Graph(cohort=cohort, degree=degree, root=root)


@lru_cache(maxsize=8)
def draw_witnesses(cohort: tuple[int, ...], count: int, keys_digest: bytes) -> frozenset[int]:
    """Draw the witnesses of a session, from what was agreed before it and neither from its root nor from its context.

    Roots and contexts can differ between groups of clients; what a client takes part in once, under a nonce, cannot.
    With witnesses that followed from the root, a server could find a quorum under each of two roots, and unmask one
    session with mask keys that were rebuilt in the other; with witnesses that followed from the context, one under each
    of two contexts, and have two sums opened from shares of one session.
    """
    order = np.argsort(_public_order(Label.MASKING_WITNESSES, keys_digest, len(cohort)), kind="stable")
    return frozenset(cohort[index] for index in order[:count])


def _public_order(label: Label, seed: bytes, count: int) -> npt.NDArray[np.uint64]:
    return public_words(digest(label, seed)[:PRG_KEY_BYTES], count)


@dataclass(frozen=True)
class Graph:
    """The communication graph of a session.

    Attributes:
        cohort: numbers of the invited clients, ascending.
        degree: n − 1 for the complete graph, else even and smaller.
        root: Merkle root of the advertised keys, 32 bytes: the randomness of the order.
    """

    cohort: tuple[int, ...]
    degree: int
    root: bytes

    def __post_init__(self) -> None:
        n = len(self.cohort)
        if not (self.degree == n - 1 or (0 < self.degree < n - 1 and self.degree % 2 == 0)):
            raise ConfigurationError(
                f"a graph of degree {self.degree} over {n} clients: {n - 1}, or an even number below, works"
            )

    @property
    def complete(self) -> bool:
        """Whether everybody is everybody's neighbour."""
        return self.degree == len(self.cohort) - 1

    @cached_property
    def _index(self) -> dict[int, int]:
        return {number: index for index, number in enumerate(self.cohort)}

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        """Cohort indices in ring order: sorted by 64-bit pseudorandom keys; ties (none in practice) by index."""
        return np.argsort(_public_order(Label.MASKING_GRAPH, self.root, len(self.cohort)), kind="stable")

    @cached_property
    def _seat(self) -> npt.NDArray[np.int64]:
        seats = np.empty(len(self.cohort), np.int64)
        seats[self._order] = np.arange(len(self.cohort))
        return seats

    def neighbours(self, number: int) -> tuple[int, ...]:
        """Return a client's neighbours, ascending."""
        if self.complete:
            return tuple(other for other in self.cohort if other != number)
        half = self.degree // 2
        offsets = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
        seats = (self._seat[self._index[number]] + offsets) % len(self.cohort)
        return tuple(sorted(self.cohort[index] for index in self._order[seats]))

    def share_point(self, dealer: int, holder: int) -> int:
        """Evaluation point of the holder's share of the dealer's secrets: 1 … 255, distinct among the dealer's holders.

        In the complete graph it is the holder's place in the cohort, the same for every dealer, so that one set of
        survivors needs one set of Lagrange coefficients. On the ring it is the distance between their seats.
        """
        if self.complete:
            return self._index[holder] + 1
        half, n = self.degree // 2, len(self.cohort)
        distance = int(self._seat[self._index[holder]] - self._seat[self._index[dealer]]) % n
        return distance if distance <= half else distance - n + self.degree + 1


@dataclass(frozen=True)
class RememberedGraph(Graph):
    """A graph that looks for each client's neighbours once: the server's, who asks for everybody's in every phase."""

    @cached_property
    def _found(self) -> dict[int, tuple[int, ...]]:
        return {}

    def neighbours(self, number: int) -> tuple[int, ...]:
        """See `Graph.neighbours`."""
        found = self._found.get(number)
        if found is None:
            found = self._found[number] = super().neighbours(number)
        return found
