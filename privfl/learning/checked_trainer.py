"""Trainers of anybody's own: what they return is looked at where it comes back, before anything is made of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError, PrivflError
from privfl.learning.checkpoint import is_array_name
from privfl.learning.data import Examples
from privfl.learning.own_code import OwnCodeFailed, told
from privfl.learning.trainer import Evaluation, LocalResult, LocalTraining, Trainer

_FLOATS: Final = frozenset({np.dtype(kind) for kind in (np.float16, np.float32, np.float64)})
_MOST: Final = 2**53  # to which every whole number is a float
_LONGEST: Final = 60  # of a value that is not right
_DUE: Final = {
    "initial_weights": "initial_weights()",
    "train": "train(weights, examples, *, seed, settings=None)",
    "evaluate": "evaluate(weights, examples)",
}


class CheckedTrainer:
    """A trainer whose results have been checked.

    Args:
        own: somebody's trainer.
        settings: how clients train where a call does not say it.

    Raises:
        ConfigurationError: a method is missing, or takes other arguments.

    Guarantees:
        1. Weights and updates have the names, shapes and order of the first `initial_weights`, and are float32: arrays
           of float16 and float64 are converted, of anything else refused. Initial weights are finite; an update may
           hold NaN or infinity where training diverged, which its encoding refuses by name.
        2. Counts are whole numbers, and no more examples are correct than there are.
        3. What is wrong is said in one sentence, which names the array, what came and what is due; so it is if
           `initial_weights` or `evaluate` raises. What `train` raises, its caller sees.
        4. A trainer is given arrays of its own in every call, and may write into them: neither the model nor examples
           of the run change by it, whatever way it writes. So nothing that it makes of examples comes to the model but
           in the update that it returns.
    """

    def __init__(self, own: Trainer, settings: LocalTraining) -> None:
        self.own = own
        self._settings = settings
        self._kind = type(own).__name__
        for method, due in _DUE.items():
            self._require_method(method, due)
        self._initial = self._checked_weights(self._called("initial_weights", own.initial_weights))

    def _require_method(self, method: str, due: str) -> None:
        arguments: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
            "initial_weights": ((), {}),
            "train": (({}, None), {"seed": 0, "settings": None}),
            "evaluate": (({}, None), {}),
        }
        function = getattr(self.own, method, None)
        if not callable(function):
            raise ConfigurationError(f"the trainer {self._kind} has no method {method}: define {due}")
        try:
            signature = inspect.signature(function)
        except ValueError:
            return
        try:
            signature.bind(*arguments[method][0], **arguments[method][1])
        except TypeError as error:
            raise ConfigurationError(
                f"{method} of the trainer {self._kind} takes other arguments ({error}): define {due}"
            ) from None

    def initial_weights(self) -> dict[str, NDArray[np.float32]]:
        """Weights of the untrained model, by name. The caller owns the arrays."""
        return {name: array.copy() for name, array in self._initial.items()}

    def train(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        examples: Examples,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> LocalResult:
        """Train, and check the result.

        Raises:
            ConfigurationError: it is not what is due.
        """
        result = self.own.train(_copied(weights), _copy_of(examples), seed=seed, settings=settings or self._settings)
        if not isinstance(result, LocalResult):
            raise ConfigurationError(
                f"train of the trainer {self._kind} returned {type(result).__name__}: return a "
                f"privfl.learning.trainer.LocalResult"
            )
        counted = self._whole("train", "examples", result.examples)
        return replace(
            result,
            update=self._checked_update(result.update),
            examples=counted,
            loss=self._number("train", result.loss),
            correct=self._correct("train", result.correct, counted),
        )

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]], examples: Examples) -> Evaluation:
        """Evaluate, and check the result.

        Raises:
            ConfigurationError: it is not what is due, or evaluation fails.
        """
        mine, theirs = _copied(weights), _copy_of(examples)
        found = self._called("evaluate", lambda: self.own.evaluate(mine, theirs))
        if not isinstance(found, Evaluation):
            raise ConfigurationError(
                f"evaluate of the trainer {self._kind} returned {type(found).__name__}: return a "
                f"privfl.learning.trainer.Evaluation"
            )
        counted = self._whole("evaluate", "examples", found.examples)
        return Evaluation(
            loss=self._number("evaluate", found.loss),
            correct=self._correct("evaluate", found.correct, counted),
            examples=counted,
        )

    def _called(self, method: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except PrivflError:
            raise
        except (Exception, SystemExit) as error:
            raise OwnCodeFailed(f"{method} of the trainer {self._kind} failed: {told(error)}") from error

    def _checked_weights(self, weights: object) -> dict[str, NDArray[np.float32]]:
        where = f"initial_weights of the trainer {self._kind}"
        if not isinstance(weights, Mapping) or not weights:
            what = "nothing" if isinstance(weights, Mapping) else type(weights).__name__
            raise ConfigurationError(f"{where} returned {what}: return a dict of float32 arrays by name")
        for name in weights:
            if not is_array_name(name):
                raise ConfigurationError(f"{where} names an array {_shown(name)}: a text such as 'weight' works")
        checked = {name: _float32(where, name, array) for name, array in weights.items()}
        for name, array in checked.items():
            if not np.isfinite(array).all():
                raise ConfigurationError(f"{where} holds NaN or infinity in {name!r}: begin with finite numbers")
        return checked

    def _checked_update(self, update: object) -> dict[str, NDArray[np.float32]]:
        where = f"the update of the trainer {self._kind}"
        if not isinstance(update, Mapping):
            raise ConfigurationError(f"{where} is {type(update).__name__}: a dict of float32 arrays by name works")
        missing, unknown = self._initial.keys() - update.keys(), update.keys() - self._initial.keys()
        if missing or unknown:
            raise ConfigurationError(
                f"{where} lacks {sorted(missing)} and holds unknown {sorted(unknown, key=str)}: the names of "
                f"initial_weights are due, {list(self._initial)}"
            )
        checked = {}
        for name, due in self._initial.items():
            array = _float32(where, name, update[name])
            if array.shape != due.shape:
                raise ConfigurationError(f"{where} holds {name!r} of shape {array.shape}, where {due.shape} is due")
            checked[name] = array
        return checked

    def _whole(self, method: str, what: str, value: object) -> int:
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise ConfigurationError(
                f"{method} of the trainer {self._kind} says {what}={_shown(value)}: a whole number from 1 to 2^53 is "
                f"due"
            )
        return int(value)

    def _correct(self, method: str, value: object, examples: int) -> int:
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value <= examples:
            raise ConfigurationError(
                f"{method} of the trainer {self._kind} says correct={_shown(value)} of {examples} examples: a whole "
                f"number from 0 to {examples} is due"
            )
        return int(value)

    def _number(self, method: str, value: object) -> float:
        if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
            with suppress(OverflowError):  # of whole numbers beyond every float
                return float(value)
        raise ConfigurationError(
            f"{method} of the trainer {self._kind} says loss={_shown(value)}: a number is due, such as 0.7"
        )


def _copied(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    # No views that cannot be written to: torch.from_numpy writes into those as well.
    return {name: np.array(array) for name, array in weights.items()}


def _copy_of(examples: Examples) -> Examples:
    return Examples(features=examples.features.copy("K"), labels=examples.labels.copy("K"))


def _shown(value: object) -> str:
    try:
        return repr(value)[:_LONGEST]
    except Exception:  # noqa: BLE001 - anybody's object, or a whole number of more digits than Python writes
        return f"some {type(value).__name__}"


def _float32(where: str, name: str, array: object) -> NDArray[np.float32]:
    if not isinstance(array, np.ndarray | np.generic):
        raise ConfigurationError(
            f"{where} holds {name!r} as {type(array).__name__}, where a numpy array is due: convert it with "
            f"numpy.asarray, or .detach().numpy() if it is a tensor"
        )
    if array.dtype not in _FLOATS:
        raise ConfigurationError(f"{where} holds {name!r} of dtype {array.dtype}, where float32 is due")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is refused as such
        return np.array(array, dtype=np.float32)
