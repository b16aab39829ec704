"""How clients tell, in one secure sum, how the model does on their own examples: counts, and in which band each lies.

Every client evaluates the global model on examples that it does not train on, and writes what it found as whole
numbers, digit by digit, into a vector of a session. Sums of such digits are exact, also where a suite's sum carries an
error, so that all that is read here is exact but for the units in which a client writes its loss and its accuracy.

What the server learns of the clients of one evaluation: how many examples they hold out together, how many of those the
model classifies correctly and with what mean loss, the mean and the standard deviation of the clients' accuracies, and
how many clients lie in each band of accuracy. It does not learn which client lies in which band, unless all lie in one:
somebody fares badly, but not who. The fewer clients, the more that says: mean and deviation of two accuracies are
the two. It is a sum, no more: no noise is added to it, so that it protects nobody from those
who know what all the others found, and a job that promises differential privacy cannot hand it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.update import largest_error
from privfl.errors import ConfigurationError, RoundAborted
from privfl.learning.averaging import EXAMPLES_MAXIMUM, LOSS_MAXIMUM
from privfl.learning.evaluation_job import MOST_BINS
from privfl.learning.trainer import Evaluation
from privfl.params import VectorSpec
from privfl.session import Aggregate

_LOSS_UNITS: Final = 1 << 16
"""A nat of one example: what a client's whole loss is rounded to."""
_ACCURACY_UNITS: Final = 1 << 20
"""An accuracy of 1: what a client's accuracy is rounded to."""
_MAXIMA: Final = {
    "examples": EXAMPLES_MAXIMUM,
    "correct": EXAMPLES_MAXIMUM,
    "loss": int(LOSS_MAXIMUM) * _LOSS_UNITS * EXAMPLES_MAXIMUM,
    "accuracy": _ACCURACY_UNITS,
    "accuracy_squared": _ACCURACY_UNITS**2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedEvaluation:
    """What the sum of the clients' evaluations says.

    Attributes:
        clients: that are in it.
        examples: that they evaluated on, all together.
        accuracy: share of all those examples that the model classifies correctly: every example weighs the same.
        loss: mean cross-entropy of all those examples, in nats, likewise; of a client whose mean loss is no number, or
            above `LOSS_MAXIMUM`, that is what counts.
        mean_client_accuracy: of the clients' accuracies: every client weighs the same.
        std_client_accuracy: their standard deviation (of these clients, not an estimate for others).
        histogram: how many clients lie in each band of accuracy; the bands are equally wide, from 0 to 1, each with its
            lower edge and without its upper, but the last, which has both.
    """

    clients: int
    examples: int
    accuracy: float
    loss: float
    mean_client_accuracy: float
    std_client_accuracy: float
    histogram: tuple[int, ...]

    @property
    def worst_client_accuracy(self) -> float:
        """What every client reaches: lower edge of the lowest band with a client in it."""
        return next(band for band, clients in enumerate(self.histogram) if clients) / len(self.histogram)

    def quantile(self, share: float) -> float:
        """Return the lower edge of the band in which a quantile of the clients' accuracies lies.

        It is that of the ⌈share · clients⌉-th client from below: the least by which as many lie in its band or lower.

        Args:
            share: 0 to 1; 0.5 is the median, 0.1 what nine of ten clients reach.

        Raises:
            ConfigurationError: `share` is outside.

        >>> found = FederatedEvaluation(clients=4, examples=40, accuracy=0.8, loss=0.5, mean_client_accuracy=0.8,
        ...                             std_client_accuracy=0.1, histogram=(0, 0, 1, 3))
        >>> found.quantile(0.1), found.quantile(0.25), found.quantile(0.5)
        (0.5, 0.5, 0.75)
        """
        if not 0 <= share <= 1:
            raise ConfigurationError(f"the quantile {share} of the clients: 0 to 1 works, such as 0.5")
        # 0.07 · 100 is a little more than 7 in floats, and no eighth client is meant.
        wanted = max(math.ceil(share * self.clients - 1e-9), 1)
        below = np.cumsum(self.histogram)
        return int(np.searchsorted(below, wanted)) / len(self.histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCodec:
    """The agreed encoding of what clients find.

    The vector is: examples, correct ones, loss of all of them, accuracy, its square, and for each band whether the
    accuracy lies in it; each a count, whose digits take a coordinate each.

    Attributes:
        bins: bands of accuracy.
        bits: of a coordinate, 2 to 24.
        error_std: largest standard deviation of a coordinate's error in the sum; 0.0 where the suite is exact.

    Raises:
        ConfigurationError: a value out of range, or the error drowns what a coordinate can hold.

    Guarantees:
        1. What is decoded is exact but for the units of loss and accuracy, whatever the suite: within 2^−17 nats of the
           loss and within 2^−21 of mean and deviation of the clients' accuracies. All else is a count.
        2. Whatever loss a client found, also one that is no number, what it writes is bounded.
        3. A sum that contradicts itself is refused: more correct examples than examples, bands that do not hold as many
           clients as contributed, a number below zero. But a client may lie about its own within the bounds of an
           honest one, as in every sum, and one that claims many examples weighs as many.

    >>> codec = EvaluationCodec(bins=10)
    >>> found = [Evaluation(loss=0.25, correct=18, examples=20), Evaluation(loss=1.0, correct=3, examples=10)]
    >>> total = Aggregate(vector=sum(codec.encode(one).astype(np.int64) for one in found), contributors=2)
    >>> decoded = codec.decode(total)
    >>> decoded.accuracy, decoded.loss, decoded.worst_client_accuracy, decoded.histogram
    (0.7, 0.5, 0.3, (0, 0, 0, 1, 0, 0, 0, 0, 0, 1))
    """

    bins: int
    bits: int = 16
    error_std: float = 0.0

    def __post_init__(self) -> None:
        if type(self.bins) is not int or not 2 <= self.bins <= MOST_BINS:
            raise ConfigurationError(f"evaluation.bins is {self.bins}: 2 to {MOST_BINS} works, such as 20")
        list(self._codes())

    @staticmethod
    def room(bins: int) -> int:
        """Return how many coordinates are enough for so many bands, whatever the bits and the error."""
        return sum(maximum.bit_length() for maximum in _MAXIMA.values()) + bins

    @property
    def vector(self) -> VectorSpec:
        """Length and bound of the session's vectors."""
        return VectorSpec(length=sum(code.digits for code in self._codes()), bound=self._bound)

    def encode(self, evaluation: Evaluation) -> npt.NDArray[np.int32]:
        """Write what one client found.

        Args:
            evaluation: of the global model, on the client's own examples.

        Returns:
            int32, shape (vector.length,).

        Raises:
            ConfigurationError: more than 2^24 − 1 examples.
        """
        examples, correct = evaluation.examples, evaluation.correct
        loss = min(max(evaluation.loss, 0.0), LOSS_MAXIMUM) if math.isfinite(evaluation.loss) else LOSS_MAXIMUM
        accuracy = round(evaluation.accuracy * _ACCURACY_UNITS)
        # In whole numbers: 0.7 · 10 bands may be a little less than 7 in floats.
        band = min(correct * self.bins // examples, self.bins - 1)
        values = [
            examples,
            correct,
            round(loss * examples * _LOSS_UNITS),
            accuracy,
            accuracy**2,
            *(int(number == band) for number in range(self.bins)),
        ]
        codes = self._codes()
        return np.concatenate([code.encode(value) for code, value in zip(codes, values, strict=True)])

    def decode(self, summed: Aggregate) -> FederatedEvaluation:
        """Read the sum.

        Args:
            summed: of encoded evaluations.

        Raises:
            ConfigurationError: wrong length.
            RoundAborted: no sum of evaluations as agreed: a client wrote what none encodes to.
        """
        expected = (self.vector.length,)
        if summed.vector.shape != expected:
            raise ConfigurationError(f"a sum of shape {summed.vector.shape} where {expected} is agreed")
        slack, clients = largest_error(self.error_std), summed.contributors
        if int(summed.vector.min()) < -slack or int(summed.vector.max()) > clients * self._bound + slack:
            _refuse()
        sums, position = [], 0
        for code in self._codes():
            sums.append(code.decode(summed.vector[position : position + code.digits]))
            position += code.digits
        (examples, correct, loss, accuracy, squared), histogram = sums[: len(_MAXIMA)], sums[len(_MAXIMA) :]
        # No digit below −slack is left, and a digit's one is written as more than twice that: nothing is below zero.
        spread = clients * squared - accuracy**2  # clients² times the variance, in whole units
        honest = (
            sum(histogram) == clients
            and correct <= examples
            and examples >= clients
            and loss <= int(LOSS_MAXIMUM) * _LOSS_UNITS * examples
            and squared <= accuracy * _ACCURACY_UNITS
            and spread >= 0
        )
        if not honest:
            _refuse()
        return FederatedEvaluation(
            clients=clients,
            examples=examples,
            accuracy=correct / examples,
            loss=loss / _LOSS_UNITS / examples,
            mean_client_accuracy=accuracy / _ACCURACY_UNITS / clients,
            std_client_accuracy=math.sqrt(spread) / _ACCURACY_UNITS / clients,
            histogram=tuple(histogram),
        )

    @property
    def _bound(self) -> int:
        return FixedPoint(clip=1.0, bits=self.bits).bound

    def _codes(self) -> Iterator[CountCode]:
        """How each number is laid over coordinates, in order."""
        error = largest_error(self.error_std)
        for name, maximum in _MAXIMA.items():
            yield CountCode(maximum, self._bound, name, error)
        for band in range(self.bins):
            yield CountCode(1, self._bound, f"band {band}", error)


def _refuse() -> NoReturn:
    raise RoundAborted("the sum is no sum of evaluations as agreed: a client sent what no evaluation encodes to")
