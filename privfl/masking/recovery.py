"""Rebuilding secrets from shares, some of which may be wrong.

Every secret has a public counterpart (the commitment to a self-mask seed, the public half of a mask key), so that a
result is known to be right or wrong. With more shares than the threshold, wrong ones are worked around by trying
other choices; with too many wrong ones the round ends, and no wrong sum can come out.
"""

from __future__ import annotations

import secrets as system_secrets
from collections import Counter
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

import numpy as np

from privfl.errors import ReconstructionError
from privfl.masking import secrets
from privfl.masking.graph import Graph
from privfl.primitives import shamir
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret

ATTEMPTS: Final = 200
"""Choices of shares tried before a secret counts as lost: bounds what liars can cost."""

T = TypeVar("T")


class ShareTable:
    """The shares that survivors told. Few are ever needed: they are looked up when a secret has to be rebuilt.

    Args:
        graph: the session's graph, for the shares' points.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._told: dict[int, dict[int, bytes]] = {}
        self._count: Counter[int] = Counter()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("shares are neither pickled nor copied")

    def __repr__(self) -> str:
        return f"ShareTable(<shares that {len(self._told)} clients told>)"

    def add(self, holder: int, shares: dict[int, bytes]) -> None:
        """Note the shares that one survivor told, by the client whose secret they are of."""
        self._told[holder] = shares
        self._count.update(shares.keys())

    def count(self, number: int) -> int:
        """How many shares of a client's secret are at hand."""
        return self._count[number]

    def _points(self, number: int) -> dict[int, bytes]:
        """The shares of a client's secret by their points."""
        return {
            self._graph.share_point(number, holder): self._told[holder][number]
            for holder in self._graph.neighbours(number)
            if number in self._told.get(holder, ())
        }

    def rebuild_self_seed(self, number: int, *, threshold: int, session: bytes, commitment: bytes) -> Secret:
        """Rebuild the self-mask seed of a client that vanished after its upload.

        Raises:
            ReconstructionError: no choice of shares gives the committed seed.
        """

        def verified(candidate: Secret) -> Secret | None:
            return candidate if secrets.commitment(candidate, session=session, me=number) == commitment else None

        return self._rebuild(number, threshold, verified, "self-mask seed")

    def rebuild_mask_key(self, number: int, *, threshold: int, public: bytes) -> KeyPair:
        """Rebuild the mask key of a dropped client.

        Raises:
            ReconstructionError: no choice of shares gives the advertised key.
        """

        def verified(candidate: Secret) -> KeyPair | None:
            pair = KeyPair(candidate)
            return pair if pair.public == public else None

        return self._rebuild(number, threshold, verified, "mask key")

    def _rebuild(self, number: int, threshold: int, verified: Callable[[Secret], T | None], what: str) -> T:
        shares = self._points(number)
        points = sorted(shares)
        if len(points) < threshold:
            raise ReconstructionError(
                f"{len(points)} shares of client {number}'s {what} are at hand and {threshold} are needed"
            )
        # Which shares are wrong is not known, so choices are drawn at random: nobody can arrange to be in all of them.
        # Without surplus there is one choice only.
        attempts = ATTEMPTS if len(points) > threshold else 1
        chosen = points[:threshold]
        for _ in range(attempts):
            columns = np.frombuffer(b"".join(shares[point] for point in chosen), np.uint8).reshape(threshold, -1)
            found = verified(Secret(shamir.reconstruct(chosen, columns)))
            if found is not None:
                return found
            chosen = sorted(_sample(points, threshold))
        raise ReconstructionError(f"the shares of client {number}'s {what} contradict what it committed to")


def _sample(points: list[int], size: int) -> list[int]:
    pool = list(points)
    return [pool.pop(system_secrets.randbelow(len(pool))) for _ in range(size)]
