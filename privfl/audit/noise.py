"""Is there enough noise? What residuals say, judged alike for sums and for training."""

from __future__ import annotations

import math
from typing import Any, Final

from privfl.audit.checks import Seen, Undecided, Wrong
from privfl.audit.findings import Word
from privfl.audit.levels import DOUBT_LEVEL, FAIL_LEVEL
from privfl.audit.residuals import ResidualTest, detectable_ratio

LITTLE_NOISE: Final = 0.7
"""Noise of that size, relative to what is claimed, must be seen, or nothing is said of it."""


def judge_noise(what: str, found: ResidualTest, deficit: float, *, more: str, excess_kurtosis: float = 0.0) -> Seen:
    """Pass noise that is not too little, and of which too little would have been seen.

    Args:
        what: the residuals are of, at the head of a sentence.
        found: of all of them.
        deficit: p-value of so little noise, of all tests that were made.
        more: what would decide it.
        excess_kurtosis: of the noise.

    Raises:
        Wrong: there is too little.
        Undecided: once in a thousand it is chance, or little noise would not have been seen.
    """
    seen = detectable_ratio(found.degrees, excess_kurtosis=excess_kurtosis)
    figures: dict[str, Any] = {
        "ratio": found.ratio, "deficit": deficit, "degrees": found.degrees, "detectable_ratio": seen,
    }  # fmt: skip
    told = (
        f"{what}: {found.degrees} residuals have {found.ratio:.3f} times the variance that is claimed (p = "
        f"{deficit:.2g} for so little)."
    )
    if deficit < FAIL_LEVEL:
        raise Wrong(f"{told} Noise of {math.sqrt(found.ratio):.2f} times its size was added.", figures=figures)
    if deficit < DOUBT_LEVEL:
        raise Undecided(told, figures=figures, missing=f"{more}: once in a thousand it is chance")
    told += f" Noise of {seen:.2f} times its size would have been found 99 times of 100."
    if seen < LITTLE_NOISE:
        raise Undecided(told, figures=figures, missing=more)
    return Seen(detail=told, rests_on=Word.COORDINATOR, figures=figures)
