"""Which round's model was the best, and whether more rounds are worth their while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.strategy import Weights


class Stopping:
    """Watches one measure over the rounds: keeps the best model, and says when to stop.

    Args:
        evaluation: which measure, and what is enough of it.

    Attributes:
        best_round: whose model did best so far; None before anything was measured.
        best_value: what it reached.
        best_weights: that model, a copy; None after `restore` until a better one is seen, unless it was given.
        improved: whether the round that was seen last did better than all before it.

    Guarantees:
        1. The best model is the first of those with the best value: ties do not replace it, nor does what is no number.
        2. Only rounds in which the measure was taken count for `patience`.
        3. One that was restored from `state` goes on as the one would have that it was taken from.
    """

    def __init__(self, evaluation: EvaluationJob) -> None:
        self._evaluation = evaluation
        self.best_round: int | None = None
        self.best_value: float | None = None
        self.best_weights: Weights | None = None
        self.improved = False
        self._to_beat: float | None = None  # by more than min_delta, or patience wears on
        self._in_vain = 0

    def see(
        self,
        round_number: int,
        metrics: Mapping[str, float | None],
        weights: Mapping[str, npt.NDArray[np.float32]],
    ) -> str | None:
        """Take note of a round.

        Args:
            round_number: its number; ascending from call to call.
            metrics: of its model, by name. The measure missing, or None: it was not taken. NaN: it was, and the model
                is of no use.
            weights: its model; copied if it is the best.

        Returns:
            Why this round should be the last, in a sentence, or None to go on.
        """
        self.improved = False
        measure = self._evaluation.select
        value = metrics.get(measure.value)
        if value is None:
            return None
        if math.isfinite(value) and self._better(value, self.best_value):
            self.improved = True
            self.best_round, self.best_value = round_number, float(value)
            self.best_weights = {name: np.array(array) for name, array in weights.items()}
        if math.isfinite(value) and self._better(value, self._to_beat, by=self._evaluation.min_delta):
            self._to_beat, self._in_vain = float(value), 0
        else:
            self._in_vain += 1
        return self._enough(value)

    def _better(self, value: float, other: float | None, *, by: float = 0.0) -> bool:
        if other is None:
            return True
        gain = other - value if self._evaluation.select.lower_is_better else value - other
        return gain > by

    def _enough(self, value: float) -> str | None:
        target, patience = self._evaluation.target, self._evaluation.patience
        measure = self._evaluation.select
        if target is not None and (value <= target if measure.lower_is_better else value >= target):
            return f"{measure.value} is {value:.4g}: evaluation.target, {target:g}, is reached"
        if patience is not None and self._in_vain >= patience:
            by = f", by more than {self._evaluation.min_delta:g}," if self._evaluation.min_delta else ""
            best = "" if self.best_value is None else f" (best: {self.best_value:.4g}, in round {self.best_round})"
            return (
                f"{self._in_vain} evaluations in a row brought no better{by} {measure.value}{best}: that is "
                f"evaluation.patience"
            )
        return None

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as JSON values; the best model is not among them."""
        return {
            "best_round": self.best_round,
            "best_value": self.best_value,
            "to_beat": self._to_beat,
            "in_vain": self._in_vain,
        }

    def restore(self, state: Mapping[str, Any], best_weights: Weights | None = None) -> None:
        """Go on from what `state` returned.

        Args:
            state: of the same job's.
            best_weights: the best model, if it was kept elsewhere.
        """
        self.best_round, self.best_value = state["best_round"], state["best_value"]
        self._to_beat, self._in_vain = state["to_beat"], state["in_vain"]
        self.best_weights, self.improved = best_weights, False
