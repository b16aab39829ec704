"""Does the trainer add its noise and clip its gradients? By recorded training, on inputs known to everybody."""

from __future__ import annotations

import numpy as np

from privfl.audit.checks import Seen, Undecided, Wrong
from privfl.audit.findings import Word
from privfl.audit.levels import FAIL_LEVEL, together
from privfl.audit.noise import judge_noise
from privfl.audit.residuals import examine_residuals
from privfl.audit.subject import Subject
from privfl.audit.tails import normal_cdf

_FINE = 1000.0
"""Residuals are real numbers; as whole ones of this deviation they are tested as others are."""
_ROUNDING = 1e-3
"""Relative: what single precision may add to an effect."""


def trainer_noise(subject: Subject) -> Seen:
    """Training on nothing returns nothing but noise."""
    probe = subject.training
    empty = len(probe.noise) - probe.silent_runs
    # Of all together, and of training on empty batches and on batches without a gradient apart.
    found, *apart = (
        examine_residuals(part.ravel() * _FINE, _FINE**2)
        for part in (probe.residuals, probe.residuals[:empty], probe.residuals[empty:])
        if part.size
    )
    return judge_noise(
        f"{len(probe.noise)} trainings on nothing",
        found,
        together(one.deficit for one in (found, *apart)),
        more="more residuals (a larger model, or another run)",
    )


def trainer_clip(subject: Subject) -> Seen:
    """An example with an enormous gradient moves the weights no farther than the clip allows."""
    probe = subject.training
    effect, bound, std = probe.clip_effect, probe.clip_bounds, probe.clip_stds
    beyond = (effect - bound * (1 + _ROUNDING)) / std
    p_value = together(normal_cdf(-float(one)) for one in beyond)
    figures = {"effect": effect.tolist(), "bound": bound.tolist(), "gradient": probe.clip_gradient.tolist()}
    ratio = float(np.max(effect / bound))
    long = float(np.max(probe.clip_gradient))
    told = (
        f"An example with a gradient {long:.3g} times as long as the clip moved the weights {ratio:.3g} times as far "
    )
    told += "as one of the clip's length may."
    if p_value < FAIL_LEVEL:
        raise Wrong(told, figures=figures)
    if long <= 1:
        raise Undecided(
            "No gradient was longer than the clip.", figures=figures, missing="an example that has to be clipped"
        )
    return Seen(detail=told, rests_on=Word.COORDINATOR, figures=figures)
