"""What one client does in a round: train, compress, and write its update as a vector of the session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.compression.compressor import Chosen, Compressed
from privfl.compression.rotation import SEED_BYTES
from privfl.learning.averaging import CHANCE_BYTES, Averaging
from privfl.learning.data import Examples
from privfl.learning.residuals import Residual
from privfl.learning.scheduling import Assignment
from privfl.learning.strategy import Weights
from privfl.learning.trainer import LocalResult, Trainer
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.session import Vector

_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contribution:
    """What came of a client's training.

    Attributes:
        vector: for the session.
        result: of the training, as it was sent.
        residual: what compression kept back for a later update; None where it keeps nothing.
    """

    vector: Vector
    result: LocalResult
    residual: npt.NDArray[Any] | None


def contribute(
    trainer: Trainer,
    examples: Examples,
    assignment: Assignment,
    averaging: Averaging,
    chosen: Chosen,
    *,
    client: int,
    context: bytes,
    weight: float = 1.0,
    residual: Residual | None = None,
) -> Contribution:
    """Train a client, and write its update as a vector.

    Args:
        trainer: who trains.
        examples: the client's own.
        assignment: the model, and how it is trained.
        averaging: how updates are written.
        chosen: what of an update travels.
        client: its number.
        context: of the session.
        weight: above 0, up to 1: what the update counts for beside a fresh one.
        residual: what the client has kept of earlier updates.

    Raises:
        ConfigurationError: the update is not in order.
    """
    trained = trainer.train(assignment.model.weights, examples, seed=assignment.seed, settings=assignment.training)
    sent = chosen.compress(trained.update, residual)
    result = _with(trained, sent)
    vector = averaging.encode(
        result, context=context, weight=weight, chance=rounding_seed(context, client, assignment.seed)
    )
    return Contribution(vector=vector, result=result, residual=sent.residual)


def contribute_nothing(assignment: Assignment, averaging: Averaging, chosen: Chosen, *, context: bytes) -> Vector:
    """Write what a client says that has learned nothing: the model as it was, under its share of the noise."""
    still = {name: np.zeros_like(array) for name, array in assignment.model.weights.items()}
    nothing = LocalResult(update=still, examples=1, loss=0.0, correct=0)
    return averaging.encode(_with(nothing, chosen.compress(still)), context=context)


def rounding_seed(context: bytes, client: int, seed: int = 0) -> bytes:
    """Return the seed of a client's roundings in a session: whoever repeats the training repeats them.

    Args:
        context: of the session.
        client: its number.
        seed: of its training.
    """
    numbers = client.to_bytes(_NUMBER_BYTES, "big"), seed.to_bytes(_NUMBER_BYTES, "big")
    return digest(Label.ROUNDING, context, *numbers)[:CHANCE_BYTES]


def round_context(weights: Weights, agreed: bytes, number: int) -> bytes:
    """Return what a round's session is about, 32 bytes: whoever was shown another model has masks that do not cancel.

    Args:
        weights: the model that all train.
        agreed: the job, and whatever else all parties know of it.
        number: of the round.
    """
    model = b"".join(np.ascontiguousarray(array).tobytes() for array in weights.values())
    return digest(Label.CONTEXT, model, agreed, number.to_bytes(_NUMBER_BYTES, "big"))


def compression_seed(context: bytes) -> bytes:
    """Return the public seed of what a round's clients send, which follows from the context."""
    return digest(Label.COMPRESSION, context)[:SEED_BYTES]


def scaled(agreed: bytes, clip: float | None) -> bytes:
    """Return what clients agree on, with the scale of their updates, where that moves.

    Args:
        agreed: the rest.
        clip: the scale; None where it is in the job.
    """
    return agreed + (b"" if clip is None else f"# clip = {clip!r}\n".encode())


def _with(result: LocalResult, sent: Compressed) -> LocalResult:
    return result if sent.arrays is result.update else replace(result, update=dict(sent.arrays))
