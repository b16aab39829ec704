"""What a run tells while it runs: one client's upload as the server saw it, and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UploadView:
    """One client's true update beside what arrived at the server; a simulation can show both, nobody else could.

    Attributes:
        client: its number.
        round: in which round.
        true_vector: what it submitted, int32, the first coordinates.
        received: the words that arrived for them, uint32 or uint64.
        ring_bits: size of a word.
    """

    client: int
    round: int
    true_vector: npt.NDArray[np.int32]
    received: npt.NDArray[Any]
    ring_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, for whoever watches.

    Attributes:
        round: the round at work.
        stage: `training` or `aggregating`.
        done: clients trained.
        of: clients to train.
    """

    round: int
    stage: str
    done: int
    of: int


Observer = Callable[[Progress], None]
