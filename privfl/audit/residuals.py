"""Was noise of the stated size added, to the stated sum? Seen where the inputs are known: released − exact sum.

What is left over is noise, in whole numbers. Squared and divided by its claimed variance it adds up to χ² with one
degree of freedom for each coordinate; multiplied with a client's own vector it says whether that client is in the sum
once. Both tests are valid for many rounds at once: residuals, variances and contributions are then laid end to end.

What they do not see: noise of the right size that somebody knows. Noise that was added twice is seen where one round's
residuals stand as a contribution to another's.

Integer noise is nearly normal, and where it is not, p-values err to the safe side. Skellam noise of variance V has an
excess kurtosis of κ = 1/V, whole or as a sum of shares. A sum of d such squares has the variance d·(2 + κ), and a third
moment of d·(8 + 12κ + κ²); a single one, or a weighted sum, has tails no heavier than exp(−h(z√κ)/κ), h(u) = u·asinh u
− √(1 + u²) + 1, by Chernoff's bound. Discrete Gaussians have no excess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.audit.levels import FAIL_LEVEL, together
from privfl.audit.moments import MOST_DEGREES, skewed_lower, skewed_upper
from privfl.audit.tails import chi_square_lower, chi_square_upper, normal_cdf, normal_quantile
from privfl.dp.mechanisms import check_whole
from privfl.errors import ConfigurationError

LEAST_VARIANCE: Final = 1.0
"""Noise of less variance takes few values, and nothing here is true of it."""
_MOST_CONDITION: Final = 1e10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualTest:
    """What residuals say of the noise.

    Attributes:
        degrees: d, coordinates.
        ratio: mean of r²/variance: 1 where all is as claimed, and the part of the claimed variance that was there.
        deficit: p-value of so little noise, or less. The one that accuses: less noise is less privacy.
        excess: p-value of so much noise, or more: too much noise, or a sum that is not the exact one.
        shift: p-value of so large a mean, of either sign: a bias.
        largest: largest |r|/σ of one coordinate.
        spike: its p-value among d coordinates: a coordinate that was tampered with, or that wrapped around.
    """

    degrees: int
    ratio: float
    deficit: float
    excess: float
    shift: float
    largest: float
    spike: float

    @property
    def p_values(self) -> Mapping[str, float]:
        """All of them, by name."""
        return {"deficit": self.deficit, "excess": self.excess, "shift": self.shift, "spike": self.spike}

    @property
    def p_value(self) -> float:
        """That noise and sum are as claimed, by all of them together."""
        return together(self.p_values.values())


def examine_residuals(
    residuals: npt.NDArray[Any], variance: float | npt.NDArray[Any], *, excess_kurtosis: float = 0.0
) -> ResidualTest:
    """Compare residuals with the noise that is claimed.

    Args:
        residuals: whole numbers in float64 (or integers), shape (d,): released − exact sum, before any scaling.
        variance: of the noise claimed, and of rounding where that is known; from 1 up, one number or shape (d,). Where
            it is only known between limits, `deficit` is valid with the lower one and `excess` with the upper one.
        excess_kurtosis: κ, from 0 to 1, of every coordinate at most: 1/variance for Skellam noise, whoever adds it; 0
            for discrete Gaussians.

    Returns:
        Four p-values.

    Raises:
        ConfigurationError: no residuals, one that is not finite, or a variance below 1.

    Guarantees:
        1. Honest noise of variance ≥ 1 gets a p-value below a level with no more than that probability, for `deficit`
           and, from variance 4 and 16 coordinates up, for each of the others: enumerated down to 10^−6.
        2. At d = 4096, a tenth too little variance has a deficit below 1 % in 99 cases of a hundred.

    Assumes:
        Coordinates are noised independently.

    >>> honest = np.array([3, -5, 1, 4, -2, 0, 6, -4])
    >>> examine_residuals(honest, 16.0).ratio
    0.8359375
    """
    noise, variances = _checked(residuals, variance, excess_kurtosis)
    degrees, narrowest = len(noise), float(variances.min())
    whitened = noise / np.sqrt(variances)
    statistic = float(whitened @ whitened)
    # Sums of squares of whole numbers lie 1/variance apart, single ones 1/σ: half a step belongs to each. Third moments
    # are taken low for the lower tail (a multiple of χ² has this one) and high for the upper: the heavier tail each.
    spread = degrees * (2 + excess_kurtosis)
    deficit = skewed_lower(
        statistic + 0.5 / narrowest,
        mean=degrees,
        variance=spread,
        third=8 * degrees * (1 + excess_kurtosis / 2) ** 2,
        margin=0,
    )
    excess = skewed_upper(
        statistic - 0.5 / narrowest, mean=degrees, variance=spread, third=degrees * (8 + 18 * excess_kurtosis), margin=0
    )
    half, root = 0.5 / math.sqrt(narrowest), math.sqrt(degrees)
    largest = float(np.abs(whitened).max())
    return ResidualTest(
        degrees=degrees,
        ratio=statistic / degrees,
        deficit=deficit,
        excess=excess,
        shift=_two_sided(float(whitened.mean()) * root, half / root, excess_kurtosis / degrees),
        largest=largest,
        spike=min(1.0, degrees * _two_sided(largest, half, excess_kurtosis)),
    )


def detectable_ratio(
    degrees: int, *, level: float = FAIL_LEVEL, power: float = 0.99, excess_kurtosis: float = 0.0
) -> float:
    """Return the largest σ_actual/σ_claimed below 1 that `examine_residuals` finds, as a deficit.

    Args:
        degrees: d, coordinates.
        level: at which a deficit counts as found.
        power: with which probability it is to be found.
        excess_kurtosis: of the noise, as for `examine_residuals`.

    Returns:
        The ratio of standard deviations, from 0 to 1: with little more noise than that, a deficit may pass.

    Raises:
        ConfigurationError: no degrees, or a level or power that is no probability between 0 and 1.

    >>> round(detectable_ratio(4096, level=0.01, power=0.99) ** 2, 3)
    0.902
    """
    check_whole("degrees", degrees, 1, MOST_DEGREES, such_as="4096")
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise ConfigurationError(f"{name} is {value}: a probability between 0 and 1 works, such as 0.01")
    _check_kurtosis(excess_kurtosis)
    effective = max(1, int(degrees / (1 + excess_kurtosis / 2)))
    critical = _quantile(effective, level, upper=False)
    return min(1.0, math.sqrt(critical / _quantile(effective, 1 - power, upper=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """How much of each known contribution is in a released sum.

    Attributes:
        coefficients: for each contribution: 1 if it is in as claimed, 0 if it was left out, 2 if counted twice, w if it
            was weighted by w, 4 if clipping would have made it a quarter. NaN for a contribution of zeros.
        errors: their standard errors.
        jointly: coefficients are a least-squares fit of all at once. Otherwise (more contributions than coordinates, or
            nearly dependent ones) each was fitted alone, and takes on what is wrong with those that resemble it.
        scores: for each contribution, its correlation with the residuals: standard normal where all is as claimed.
        worst: which has the largest score.
        p_value: of the largest score, among all of them.
        weakest: (standard deviations) by how much a contribution's coefficient moves its score, at least.
    """

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]
    jointly: bool
    scores: tuple[float, ...]
    worst: int
    p_value: float
    weakest: float

    def detectable(self, *, level: float = FAIL_LEVEL, power: float = 0.99) -> float:
        """Return how far from 1 one client's coefficient must be to be found with that power, whichever client it is:
        infinite where a contribution is zero.
        """
        if not self.weakest:
            return math.inf
        return (normal_quantile(power) - normal_quantile(level / (2 * len(self.scores)))) / self.weakest


def project_residuals(
    residuals: npt.NDArray[Any],
    variance: float | npt.NDArray[Any],
    contributions: npt.NDArray[Any],
    *,
    excess_kurtosis: float = 0.0,
) -> Projection:
    """Look for known contributions in residuals: all, none or some are there if they were not in the sum exactly once.

    Clipping that was not applied, a weight, a client left out or counted twice leave a multiple of one client's vector.
    How large it must be is the noise's doing: noise that hides a client whole, as it must, hides this as well. Known
    inputs that are far longer than the clip before clipping, or many rounds end to end, bring it out; `detectable` says
    how far.

    Each contribution is tested by its own correlation with the residuals, which needs no inverse, is valid for any
    number of contributions in any position, and finds a single culprit better than its coefficient in a joint fit does.
    Coefficients say how much.

    Args:
        residuals: shape (d,), as for `examine_residuals`.
        variance: likewise.
        contributions: exact ones, in the same units, shape (n, d): what each client has in the exact sum.
        excess_kurtosis: as for `examine_residuals`.

    Returns:
        Coefficients with their errors, and the p-value of the worst score.

    Raises:
        ConfigurationError: arrays that do not fit each other, or are not finite; a variance below 1.

    Guarantees:
        1. Honest noise of variance ≥ 4 gets a p-value below a level with no more than that probability.

    Assumes:
        Coordinates are noised independently, and contributions were fixed before.

    >>> clients = 40.0 * np.eye(3, 12)
    >>> released = clients[0] + 2 * clients[1] + clients[2]
    >>> found = project_residuals(released - clients.sum(axis=0), 16.0, clients)
    >>> found.worst, found.coefficients, found.p_value < 1e-6
    (1, (1.0, 2.0, 1.0), True)
    """
    noise, variances = _checked(residuals, variance, excess_kurtosis)
    vectors = np.asarray(contributions)
    if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] != len(noise) or vectors.dtype.kind not in "iuf":
        raise ConfigurationError(
            f"contributions have shape {vectors.shape}: one row of {len(noise)} numbers for each client works"
        )
    deviations = np.sqrt(variances)
    whitened = noise / deviations
    directions = vectors / deviations
    norms = np.sqrt(np.einsum("ij,ij->i", directions, directions))
    if not np.isfinite(norms).all():
        raise ConfigurationError("contributions hold a number that is not finite: whole numbers work")
    present = norms > 0
    directions[present] /= norms[present, None]
    scores = directions @ whitened
    # The largest weight of one coordinate: what a score of few coordinates has of their steps and of their kurtosis.
    weights = np.abs(directions).max(axis=1)
    half = 0.5 / float(deviations.min())
    p_values = [
        _two_sided(float(score), half * weight, excess_kurtosis * weight**2)
        for score, weight in zip(scores, weights.tolist(), strict=True)
    ]
    offsets, errors, jointly = _fit(directions, scores, present)
    with np.errstate(divide="ignore", invalid="ignore"):
        coefficients, errors = 1 + offsets / norms, errors / norms
    return Projection(
        coefficients=tuple(np.where(present, coefficients, math.nan).tolist()),
        errors=tuple(np.where(present, errors, math.inf).tolist()),
        jointly=jointly,
        scores=tuple(scores.tolist()),
        worst=int(np.argmin(p_values)),
        p_value=together(p_values),
        weakest=float(norms.min()),
    )


def _fit(directions: Floats, scores: Floats, present: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, bool]:
    """Least squares on unit vectors: offsets, their standard errors, and whether they were fitted jointly."""
    offsets, errors = scores.copy(), np.ones(len(scores))
    count = int(present.sum())
    if not 0 < count <= directions.shape[1]:
        return offsets, errors, False
    gram = directions[present] @ directions[present].T
    values, vectors = np.linalg.eigh(gram)
    if values[0] * _MOST_CONDITION <= values[-1]:
        return offsets, errors, False
    inverse = (vectors / values) @ vectors.T
    offsets[present], errors[present] = inverse @ scores[present], np.sqrt(np.diag(inverse))
    return offsets, errors, True


def _two_sided(score: float, half_step: float, kurtosis: float) -> float:
    """P-value of a weighted sum of noise in standard deviations, which comes in steps."""
    z = max(0.0, abs(score) - half_step)
    if kurtosis:
        u = z * math.sqrt(kurtosis)
        z = math.sqrt(2 * (u * math.asinh(u) - u * u / (1 + math.hypot(1, u))) / kurtosis)
    return min(1.0, 2 * normal_cdf(-z))


def _quantile(degrees: int, tail: float, *, upper: bool) -> float:
    """Where a tail of χ² has that probability."""
    low, high = 0.0, 2.0 * degrees
    while upper and chi_square_upper(high, degrees) > tail:
        high *= 2
    while low < (middle := (low + high) / 2) < high and high - low > 1e-12 * high:
        beyond = chi_square_upper(middle, degrees) < tail if upper else chi_square_lower(middle, degrees) > tail
        low, high = (low, middle) if beyond else (middle, high)
    return high if upper else low


def _checked(
    residuals: npt.NDArray[Any], variance: float | npt.NDArray[Any], excess_kurtosis: float
) -> tuple[Floats, Floats]:
    _check_kurtosis(excess_kurtosis)
    noise, variances = np.asarray(residuals), np.asarray(variance)
    if noise.ndim != 1 or not len(noise) or noise.dtype.kind not in "iuf":
        raise ConfigurationError(f"residuals have shape {noise.shape}: one number for each coordinate works")
    if variances.dtype.kind not in "iuf" or variances.shape not in {(), noise.shape}:
        raise ConfigurationError(
            f"variance has shape {variances.shape}: one number works, or one for each of {len(noise)} residuals"
        )
    noise = noise.astype(np.float64)
    if not np.isfinite(noise).all():
        raise ConfigurationError("residuals hold a number that is not finite: whole numbers work")
    if not (np.isfinite(variances).all() and (variances >= LEAST_VARIANCE).all()):
        raise ConfigurationError(
            f"variance is {float(np.min(variances))}: from {LEAST_VARIANCE} up works, in squares of the whole numbers"
        )
    return noise, np.broadcast_to(variances.astype(np.float64), noise.shape)


def _check_kurtosis(excess_kurtosis: float) -> None:
    if not 0 <= excess_kurtosis <= 1:
        raise ConfigurationError(
            f"excess_kurtosis is {excess_kurtosis}: 1/variance of Skellam noise works, or 0 for discrete Gaussians"
        )
