"""Inputs that everybody knows: what clients submit to sessions that test the aggregator, made again from a public seed.

Under differential privacy of clients each of the first clients' updates is a canary: a direction of its own, 256 times
as long as the clip allows, and in by a fair coin; a client whose coin says no, or that has none, submits zeros, as the
neighbouring relation has it. Directions are rows of a Walsh–Hadamard matrix, with one public random sign for each
coordinate: nearly orthogonal, so that none stands in another's way. What comes out beside the canaries that are in
must be noise of the size that is claimed; a clip that was not applied, a weight, or a client left out shows in its own
direction. Without such privacy updates are random numbers, some beyond the clip, and what comes out must be their sum.

References:
    Andrew, Kairouz, Oh, Oprea, McMahan, Suriyakumar, *One-shot Empirical Privacy Estimation for Federated Learning*,
    ICLR 2024, on canary updates in random directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.learning.trainer import LocalResult
from privfl.primitives.labels import Label
from privfl.primitives.prg import public_words
from privfl.primitives.transcript import digest

SEED_BYTES: Final = 16
INPUTS_VERSION: Final = 1
"""Changes whenever a seed means other inputs."""
OVERLONG: Final = 256.0
"""How much longer than the clip a canary is: a power of two, so that it scales without rounding."""
MOST_CANARIES: Final = 64
"""Of one session; a power of two."""
_COMMON: Final = 0.1
"""Largest cosine between two canaries."""
_BEYOND: Final = 1.25
_LOUD: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInputs:
    """What the clients of one session submit.

    Attributes:
        seed: 16 bytes, public.
        layout: names and shapes of an update.
        clip: C of the round, in L2 norm, or the largest magnitude of a coordinate where updates are not private.
        canaries: whether updates are canaries, in by a coin.
    """

    seed: bytes
    layout: Layout
    clip: float
    canaries: bool

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise ConfigurationError(f"a probe's seed is {len(self.seed)} bytes: {SEED_BYTES} public bytes work")
        if not 0 < self.clip < math.inf:
            raise ConfigurationError(f"a probe's clip is {self.clip}: a number above 0 works, such as 1.0")

    @property
    def carriers(self) -> int:
        """How many clients have a canary: the first ones."""
        return carriers_of(self.layout) if self.canaries else 0

    def included(self, client: int) -> bool:
        """Whether a client's canary is in; without canaries all updates are."""
        if not self.canaries:
            return True
        return client < self.carriers and bool(self._drawn(b"coin", client)[0] & 1)

    def result(self, client: int) -> LocalResult:
        """Return what the client's training is said to have brought.

        Numbers of examples differ wildly: where clients may not weigh, none of it may show.
        """
        update = self._update(client) if self.included(client) else np.zeros(self.layout.length, np.float32)
        return self._result(update, client)

    def canary(self, client: int) -> LocalResult:
        """Return what a client with a canary submits if the canary is in."""
        return self._result(self._update(client), client)

    def nothing(self, client: int) -> LocalResult:
        """Return what a client submits if it has no canary, or if its canary is out."""
        return self._result(np.zeros(self.layout.length, np.float32), client)

    def _result(self, update: npt.NDArray[np.float32], client: int) -> LocalResult:
        return LocalResult(
            update=self.layout.unflatten(update),
            examples=1 + client % 7 if not self.canaries else 1 + _LOUD * (client % 2),
            loss=0.5,
            correct=1,
        )

    def _update(self, client: int) -> npt.NDArray[np.float32]:
        # Every operation is exact or correctly rounded, coordinate by coordinate: all machines make the same numbers.
        length = self.layout.length
        if self.canaries:
            signs = self._signs() ^ _parity(np.arange(length, dtype=np.uint32) & np.uint32(client % MOST_CANARIES))
            size = np.float32(OVERLONG * self.clip / math.sqrt(length))
            canary: npt.NDArray[np.float32] = (signs.astype(np.float32) * 2 - 1) * size
            return canary
        words = public_words(self._drawn(b"update", client), -(-length // 4)).view(np.int16)
        values: npt.NDArray[np.float32] = words[:length].astype(np.float32) * np.float32(_BEYOND * self.clip / 2**15)
        return values

    def _signs(self) -> npt.NDArray[np.uint8]:
        length = self.layout.length
        words = public_words(self._drawn(b"signs", 0), -(-length // 64))
        return np.unpackbits(words.view(np.uint8), count=length, bitorder="little")

    def _drawn(self, what: bytes, client: int) -> bytes:
        return digest(Label.PROBE, self.seed, what, client.to_bytes(4, "big"))[:SEED_BYTES]


def _parity(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Whether each number has an odd number of ones."""
    for shift in (16, 8, 4, 2, 1):
        numbers = numbers ^ (numbers >> np.uint32(shift))
    return (numbers & np.uint32(1)).astype(np.uint8)


def carriers_of(layout: Layout) -> int:
    """How many canaries there can be in one session: as many as have directions of their own; a power of two.

    Of 2^k rows any two are orthogonal over every 2^k coordinates; what is left over, or lacking, at the end is how much
    they have in common.
    """
    length = layout.length
    for carriers in (1 << power for power in range(MOST_CANARIES.bit_length() - 1, 0, -1)):
        left = length % carriers
        if carriers <= length and min(left, carriers - left) <= _COMMON * length:
            return carriers
    return 1


def layout_to_json(layout: Layout) -> list[Any]:
    """Return names and shapes as JSON values."""
    return [[name, list(shape)] for name, shape, _ in layout.spans()]


def layout_from_json(value: Any) -> Layout:
    """Read names and shapes back.

    Raises:
        ConfigurationError: they are none.
    """
    try:
        return Layout(tuple((str(name), tuple(int(size) for size in shape)) for name, shape in value))
    except (TypeError, ValueError):
        raise ConfigurationError(f"a layout of {value!r}: [[name, [sizes]], …] works") from None
