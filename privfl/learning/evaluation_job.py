"""`evaluation.*` of a job: how the model is judged, which of the rounds' models is kept, and when enough is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from privfl.errors import ConfigurationError

MOST_BINS: Final = 1000
_OF_FEDERATED: Final = ("every", "holdout", "bins", "quantiles", "size")


class Measure(StrEnum):
    """What models are compared by; the names are those of the metrics of a round."""

    ACCURACY = "accuracy"
    """On the examples that the server holds out."""
    LOSS = "loss"
    """Likewise; the lower, the better."""
    FEDERATED_ACCURACY = "federated_accuracy"
    """On what the clients hold out, all of their examples together."""
    FEDERATED_LOSS = "federated_loss"
    """Likewise; the lower, the better."""
    WORST_CLIENT_ACCURACY = "worst_client_accuracy"
    """Of the client with the lowest accuracy on what it holds out, as its band says it."""

    @property
    def lower_is_better(self) -> bool:
        """Whether it is a loss."""
        return self in {Measure.LOSS, Measure.FEDERATED_LOSS}

    @property
    def federated(self) -> bool:
        """Whether it takes an evaluation at the clients."""
        return self not in {Measure.ACCURACY, Measure.LOSS}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationJob:
    """`evaluation.*`: how the model is judged.

    Attributes:
        federated: let clients evaluate the global model on examples of their own that they do not train on; only the
            sum of what they find leaves them.
        every: rounds from one such evaluation to the next; after the last round there is one in any case.
        holdout: share of its own examples that a client does not train on.
        bins: bands of equal width in which the clients' accuracies are counted; 20 bands are 5 points wide.
        quantiles: which quantiles of the clients' accuracies are reported: 0.1 is what nine of ten clients reach.
        size: clients invited to such an evaluation; all unless given.
        select: measure by which the best model is kept.
        patience: stop when that many evaluations in a row brought nothing better; never unless given.
        min_delta: what a gain has to exceed to count for `patience`; the best model is kept whatever its gain.
        target: stop when the measure has reached this; never unless given.
        int8: try the last model once more as small devices run it, its weights 8-bit integers, on what the server holds
            out.
    """

    federated: bool = False
    every: int = 1
    holdout: float = 0.2
    bins: int = 20
    quantiles: tuple[float, ...] = (0.1, 0.5)
    size: int | None = None
    select: Measure = Measure.ACCURACY
    patience: int | None = None
    min_delta: float = 0.0
    target: float | None = None
    int8: bool = False

    def __post_init__(self) -> None:
        if not self.federated:
            self._refuse_without_federated()
        for key, least, most, works in (
            ("every", 1, None, 5),
            ("bins", 2, MOST_BINS, 20),
            ("size", 1, None, 10),
            ("patience", 1, None, 10),
        ):
            value = getattr(self, key)
            if value is not None and (value < least or (most is not None and value > most)):
                span = f"{least} or more" if most is None else f"{least} to {most}"
                raise ConfigurationError(f"evaluation.{key} is {value}: {span} works, such as {works}")
        if not 0 < self.holdout < 1:
            raise ConfigurationError(f"evaluation.holdout is {self.holdout}: between 0 and 1 works, such as 0.2")
        for quantile in self.quantiles:
            if not 0 < quantile < 1:
                raise ConfigurationError(
                    f"evaluation.quantiles names {quantile}: numbers between 0 and 1 work, such as [0.1, 0.5]"
                )
        if len(set(self.quantiles)) != len(self.quantiles):
            raise ConfigurationError(
                f"evaluation.quantiles is {list(self.quantiles)}, where one stands twice: each once works, such as "
                f"[0.1, 0.5]"
            )
        self._check_stopping()

    def _check_stopping(self) -> None:
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ConfigurationError(
                f"evaluation.min_delta is {self.min_delta}: a number from 0 up works, such as 0.001"
            )
        if self.min_delta and self.patience is None:
            raise ConfigurationError(
                f"evaluation.min_delta is {self.min_delta} without evaluation.patience, for which it counts: leave it "
                f"out, or set how many evaluations to wait, such as evaluation.patience = 10"
            )
        if self.target is None:
            return
        if self.select.lower_is_better:
            if not (math.isfinite(self.target) and self.target > 0):
                raise ConfigurationError(
                    f"evaluation.target is {self.target} for {self.select.value!r}: a number above 0 works, such as 0.1"
                )
        elif not 0 < self.target <= 1:
            raise ConfigurationError(
                f"evaluation.target is {self.target} for {self.select.value!r}: above 0, up to 1, works, such as 0.95"
            )

    def _refuse_without_federated(self) -> None:
        for entry in fields(self):
            if entry.name in _OF_FEDERATED and getattr(self, entry.name) != entry.default:
                raise ConfigurationError(
                    f"evaluation.{entry.name} is set though clients evaluate nothing: leave it out, or take "
                    f"evaluation.federated = true"
                )
        if self.select.federated:
            raise ConfigurationError(
                f"evaluation.select is {self.select.value!r}, which clients would have to measure: take "
                f"evaluation.federated = true, or evaluation.select = 'accuracy' or 'loss'"
            )

    def due(self, round_number: int, rounds: int) -> bool:
        """Return whether clients evaluate the model of a round.

        Args:
            round_number: from 1.
            rounds: of the job; the last one is evaluated in any case.
        """
        counted = round_number % self.every == 0 or round_number == rounds
        return self.federated and 1 <= round_number <= rounds and counted
