"""What a run remembers from one round to the next beside its model: written with it, and read back when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from privfl.errors import ConfigurationError
from privfl.learning.averaging import Averaging
from privfl.learning.books import job_digest
from privfl.learning.checkpoint import Checkpoint, Slots
from privfl.learning.job import Job
from privfl.learning.residuals import Residuals
from privfl.learning.scheduling import Scheduler
from privfl.learning.stopping import Stopping
from privfl.learning.strategy import ServerOptimiser, Weights
from privfl.learning.strategy_job import Optimiser

_BEST: Final = "best"
_MODEL: Final = "model-"
_ODD: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What is remembered, and by whom.

    Attributes:
        job: the run's.
        scheduler: who works on what, and the simulated clock.
        strategy: the server's optimiser.
        best: which model was the best.
        averaging: its clip may move.
        residuals: what clients have kept of their updates; of these only which ones are the latest.
        version: how often the model has moved.
        asked: version of the model that clients evaluated last; −1 before that.
        enough: why the run has ended early, nothing better to come.
    """

    job: Job
    scheduler: Scheduler
    strategy: ServerOptimiser
    best: Stopping
    averaging: Averaging
    residuals: Residuals
    version: int = 0
    asked: int = -1
    enough: str | None = None

    def state(self) -> dict[str, Any]:
        """Return it, as JSON values; arrays are `slots`."""
        return {
            "version": self.version,
            "asked": self.asked,
            "enough": self.enough,
            "best": self.best.state(),
            "scheduler": self.scheduler.state(),
            "residuals": self.residuals.state(),
            "clip": self.averaging.clip,
        }

    def slots(self, round_number: int) -> Slots:
        """Return its arrays: of the optimiser, of models that clients work on, and of the best model, if it is older.

        Args:
            round_number: whose model is written beside them.
        """
        slots = dict(self.strategy.state())
        for version, weights in self.scheduler.models().items():
            slots[f"{_MODEL}{version}"] = weights
        if self.best.best_weights is not None and self.best.best_round != round_number:
            slots[_BEST] = self.best.best_weights
        return slots

    def restore(self, checkpoint: Checkpoint, initial: Weights) -> None:
        """Go on from what was written.

        Args:
            checkpoint: the model, with what was remembered.
            initial: of the job's model: names and shapes that are due.

        Raises:
            ConfigurationError: it is of another job or model, or lacks something.
        """
        # A ledger that the model knows of says by itself which job it was opened for, and is asked next.
        if checkpoint.job != job_digest(self.job) and "ledger" not in checkpoint.state:
            raise ConfigurationError(
                "it belongs to another job than the job.toml beside it: put that file back as it was, or start anew "
                "elsewhere"
            )
        for what, arrays in (("weights", checkpoint.weights), *checkpoint.slots.items()):
            _require_like(what, arrays, initial)
        if not 1 <= checkpoint.round <= self.job.rounds:
            raise ConfigurationError(f"a model of round {checkpoint.round}, where the job has {self.job.rounds}")
        try:
            self._restore(checkpoint)
        except ConfigurationError:
            raise  # it says by itself what is wrong, and where
        except _ODD as error:
            raise ConfigurationError(
                f"what a run needs to go on is not in it ({type(error).__name__}: {error}); another version of privfl "
                f"may have written it"
            ) from None

    def _restore(self, checkpoint: Checkpoint) -> None:
        state, slots = checkpoint.state, dict(checkpoint.slots)
        version, asked, enough = state["version"], state["asked"], state["enough"]
        if type(version) is not int or type(asked) is not int or not -1 <= asked <= version <= checkpoint.round:
            raise ValueError(f"versions {version!r} and {asked!r}")
        if enough is not None and not isinstance(enough, str):
            raise ValueError(f"{enough!r} for a reason to end")
        best, models = slots.pop(_BEST, None), {}
        for name in [one for one in slots if one.startswith(_MODEL)]:
            models[int(name.removeprefix(_MODEL))] = dict(slots.pop(name))
        if version and not slots and self.job.strategy.server_step().optimiser is not Optimiser.SGD:
            raise KeyError("what the server's optimiser remembers")
        self.scheduler.restore(state["scheduler"], models)
        self.strategy.restore(slots)
        if state["best"]["best_round"] == checkpoint.round:
            best = checkpoint.weights
        if state["best"]["best_round"] is not None and best is None:
            raise KeyError("the best model")
        self.best.restore(state["best"], None if best is None else dict(best))
        self.averaging.clip = float(state["clip"])
        self.residuals.restore(state["residuals"], checkpoint.round)
        self.version, self.asked, self.enough = version, asked, enough


def _require_like(what: str, arrays: Mapping[str, Any], due: Weights) -> None:
    """Refuse arrays that are not of the job's model."""
    if arrays.keys() != due.keys():
        raise ConfigurationError(f"the {what} belong to another model than the job's")
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != due[name].shape:
            raise ConfigurationError(
                f"{what}[{name!r}] is {array.dtype} of shape {array.shape}, where float32 of {due[name].shape} is due"
            )
