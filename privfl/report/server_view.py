"""What the server saw of one client, beside what that client meant: a picture that only a simulation can draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError

MOST_COORDINATES = 4096
# A fair protocol passes this bound by chance in fewer than one run of a million (two-sided normal tail at 5).
ALARM_SIGMAS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServerView:
    """One client's true update beside what arrived at the server. Only a simulation holds both.

    Attributes:
        client: the client's number.
        round: the round it was taken from.
        suite: the suite of that round.
        true_update: `int32[m]`, the quantised update, 1 <= m <= 4096.
        received: `uint32[m]` or `uint64[m]`, the same coordinates as they arrived, below `2**ring_bits`.
        ring_bits: words live modulo `2**ring_bits`, 1 to 64.
        protected: False under `plain`.

    Raises:
        ConfigurationError: arrays of unlike or unfit shape or type, or words beyond the ring.
    """

    client: int
    round: int
    suite: str
    true_update: NDArray[np.signedinteger[Any]]
    received: NDArray[np.unsignedinteger[Any]]
    ring_bits: int
    protected: bool

    def __post_init__(self) -> None:
        if self.true_update.ndim != 1 or self.true_update.shape != self.received.shape:
            raise ConfigurationError("true_update and received must be flat arrays of one length")
        if not 1 <= self.true_update.size <= MOST_COORDINATES:
            raise ConfigurationError(f"a server view holds 1 to {MOST_COORDINATES} coordinates")
        if self.true_update.dtype.kind != "i" or self.received.dtype.kind != "u":
            raise ConfigurationError("true_update must hold signed and received unsigned integers")
        if not 1 <= self.ring_bits <= 64 or int(self.received.max()) >> self.ring_bits:
            raise ConfigurationError("ring_bits must be 1 to 64, and received words below 2**ring_bits")


def centred_words(view: ServerView) -> NDArray[np.int64]:
    """The received words as signed numbers in `[-2**(ring_bits-1), 2**(ring_bits-1))`."""
    # Shifting the ring's top bit onto the sign bit and back extends the sign; no step leaves 64 bits.
    shift = 64 - view.ring_bits
    lifted = view.received.astype(np.uint64) << np.uint64(shift)
    return lifted.view(np.int64) >> np.int64(shift)


def correlation(view: ServerView) -> float | None:
    """Pearson's correlation of the true update with the centred received words.

    Returns:
        A number in [-1, 1], or None where it is undefined: one coordinate, or one side constant.
    """
    true = view.true_update.astype(np.float64)
    words = centred_words(view).astype(np.float64) / 2.0 ** (view.ring_bits - 1)
    true -= true.mean()
    words -= words.mean()
    scale = math.sqrt(float(true @ true)) * math.sqrt(float(words @ words))
    return min(1.0, max(-1.0, float(true @ words) / scale)) if scale > 0 else None


def looks_exposed(view: ServerView) -> bool:
    """Whether a view that should be protected follows the true update more than chance explains."""
    r = correlation(view)
    return view.protected and r is not None and abs(r) > ALARM_SIGMAS / math.sqrt(view.received.size)
