"""Who is whose neighbour in Flower's SecAgg+, and what bounds a session: known without importing Flower.

Line numbers are those of flwr 1.41.0, in `server/workflow/secure_aggregation/secaggplus_workflow.py` unless said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WORKS: Final = "pip install 'privfl[flower]' 'flwr<1.42'"
"""What installs a version whose functions the peer can call."""

MODULUS: Final = 2**32
QUANTIZATION: Final = 2**22
"""The workflow's defaults (lines 169-170)."""

MOST_CLIENTS: Final = (MODULUS - 1) // QUANTIZATION
"""A client of the largest weight adds `QUANTIZATION` to the sum of the weights, which is taken modulo `MODULUS`
(secaggplus_mod.py, lines 443-463)."""

FEWEST_CLIENTS: Final = 3
"""`num_shares` as an integer is greater than 2 (line 212)."""


def shares_for(clients: int, neighbours: int) -> int:
    """Return a client's number of shares, its own included, for at least so many neighbours.

    Everybody is a neighbour in a small cohort. In a larger one the number is odd: of an even one Flower's clients make
    as many shares and its server names one neighbour more (lines 332-346), for whom there is no share
    (secaggplus_mod.py, line 387).
    """
    return min(clients, neighbours + 1 + neighbours % 2)


def threshold_for(num_shares: int) -> int:
    """Return how many shares rebuild a secret: a majority, as the 2 of 3 of Flower's example.

    The example is `examples/flower-secure-aggregation/pyproject.toml` in Flower's repository. Costs hardly depend on
    it: the server combines all shares that arrive.
    """
    return num_shares // 2 + 1


def ring(clients: int, num_shares: int) -> Mapping[int, frozenset[int]]:
    """Return everybody's neighbours, itself among them (lines 351-358), on a ring in the order of the numbers.

    Flower shuffles the ring (line 349). What a session costs does not depend on the order, but whether it ends does:
    drop-outs that are spread evenly take as many neighbours from everyone here, and from some too many there. With 11
    shares, of which 6 rebuild, about one session in 300 of 100 clients aborts when 10 vanish, and nine in ten when 30
    do.
    """
    half = num_shares >> 1
    return {
        number: frozenset((number + offset) % clients for offset in range(-half, half + 1)) for number in range(clients)
    }
