"""Formulas of the mechanisms on whole numbers: what rounding does to norms, and Rényi divergences.

References:
    Kairouz, Liu, Steinke (2021), "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
    Aggregation", Proposition 14 and Theorem 1. Agarwal, Kairouz, Liu (2021), "The Skellam Mechanism for Differentially
    Private Federated Learning", Theorem 3.5 and Corollary 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

DEFAULT_BETA: Final = math.exp(-0.5)
"""Share of roundings that conditional rounding may redraw."""


def rounded_norm(norm: float, dimension: int, beta: float = DEFAULT_BETA) -> float:
    """L2 norm of a vector after conditional stochastic rounding, at most.

    Args:
        norm: of the vector before rounding, in steps of the grid (c/γ).
        dimension: its length d.
        beta: probability that a rounding exceeds the bound and is redrawn, at most; above 0, below 1.
    """
    root = math.sqrt(dimension)
    conditional = norm**2 + dimension / 4 + math.sqrt(-2 * math.log(beta)) * (norm + root / 2)
    return min(norm + root, math.sqrt(conditional))


def l1_bound(l2: float, dimension: int | None = None) -> float:
    """L1 norm of a vector of whole numbers, at most: √d·Δ₂ by Cauchy–Schwarz, Δ₂² because |k| ≤ k².

    Args:
        l2: its L2 norm, at most.
        dimension: its length; the second bound alone where it is not known.
    """
    return l2**2 if dimension is None else min(math.sqrt(dimension) * l2, l2**2)


def sum_distance(contributors: int, local_std: float) -> float:
    """Kairouz et al.'s τ: how far a sum of discrete Gaussians is from one discrete Gaussian.

    It bounds the largest |ln| of the ratio of the two probabilities, and also the statistical distance (see
    docs/privacy_lemma.md).

    Args:
        contributors: how many are added, n.
        local_std: the standard deviation of each, s.

    Returns:
        10 · Σ_{k=1}^{n−1} e^{−2π²s²k/(k+1)}.
    """
    scale = 2 * math.pi**2 * local_std**2
    exact = min(contributors - 1, _EXACT_TERMS)
    total = math.fsum(math.exp(-scale * k / (k + 1)) for k in range(1, exact + 1))
    # The terms fall: those left out are at most the last one each.
    return 10 * (total + (contributors - 1 - exact) * math.exp(-scale * exact / (exact + 1)))


def discrete_gaussian_rdp(
    orders: Iterable[float], *, l2: float, l1: float, local_std: float, contributors: int, dimension: int
) -> list[float]:
    """Rényi divergence of a sum of n discrete Gaussians, at most, for each order.

    Evaluated at whole orders as the papers do, with the chord between them (see `skellam_rdp`).

    Args:
        orders: α above 1.
        l2: L2 sensitivity.
        l1: L1 sensitivity.
        local_std: s of each.
        contributors: n.
        dimension: d.
    """
    tau = sum_distance(contributors, local_std)
    mean, root = l2**2 / (contributors * local_std**2), l2 / (math.sqrt(contributors) * local_std)
    cross = 2 * l1 * tau / (math.sqrt(contributors) * local_std)
    concentrated = min(mean + cross + tau**2 * dimension, (root + tau * math.sqrt(dimension)) ** 2)
    return [
        _chord(order, lambda whole: min(whole * mean / 2 + tau * dimension, whole * concentrated / 2))
        for order in orders
    ]


def skellam_rdp(orders: Iterable[float], *, l2: float, l1: float, variance: float) -> list[float]:
    """Rényi divergence between Skellam noise and the same shifted by a unit's contribution, at most, for each order.

    The theorem is for whole orders. (α − 1)·D_α is convex in α (it is a logarithm of moments) and 0 at α = 1: between
    whole orders the chord is therefore a bound, and what is returned.

    Args:
        orders: α above 1.
        l2: L2 sensitivity.
        l1: L1 sensitivity.
        variance: central variance μ of each coordinate.
    """
    return [_chord(order, lambda whole: _skellam_at(whole, l2**2, l1, variance)) for order in orders]


_EXACT_TERMS: Final = 100_000
_Bound = Callable[[int], float]


def _skellam_at(order: int, l2_squared: float, l1: float, variance: float) -> float:
    gaussian = order * l2_squared / (2 * variance)
    sharp = ((2 * order - 1) * l2_squared + 6 * l1) / (4 * variance**2)
    return gaussian + min(sharp, 3 * l1 / (2 * variance))


def _chord(order: float, bound: _Bound) -> float:
    below = math.floor(order)
    part = order - below
    if part == 0:
        return bound(below)
    # bound(1) has weight 0: the divergence itself is finite there.
    return ((1 - part) * (below - 1) * bound(below) + part * below * bound(below + 1)) / (order - 1)
