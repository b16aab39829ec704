"""Clients' updates in a measured session: made when they are needed, encoded as the library encodes, and forgotten.

Every client's update is float32, uniform in [−1, 1], from a seed of its own: the same for every suite. Making it is not
the client's work and is not timed; encoding it is, and so is reading the mean from the sum.
"""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.compression.rotation import SEED_BYTES
from privfl.dp.codec import PrivateCodec
from privfl.dp.noise import Mechanism
from privfl.dp.planner import IntegerPlan, plan
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.errors import ConfigurationError
from privfl.learning.privacy_job import PrivacyMode
from privfl.params import VectorSpec
from privfl.primitives.entropy import OsEntropy

BITS: Final = 16
CLIP: Final = 1.0
NOISE_MULTIPLIER: Final = 1.0
_NAME: Final = "update"
_SEED: Final = 20_240_229

Floats = npt.NDArray[np.float32]


def make_update(number: int, parameters: int) -> Floats:
    """Make a client's update, float32, shape (parameters,), within [−1, 1]."""
    chance = np.random.default_rng((_SEED, number))
    update = chance.random(parameters, np.float32)
    update *= 2
    update -= 1
    return update


class Encoding(ABC):
    """How updates become whole numbers, and a sum of them a mean.

    Attributes:
        vector: length and bounds of the whole numbers.
    """

    vector: VectorSpec

    @abstractmethod
    def encode(self, update: Floats) -> npt.NDArray[np.int32]:
        """What a client does to its update before the protocol; the noise that clients add is in it."""

    @abstractmethod
    def decode(self, total: npt.NDArray[np.int64], contributors: int, error_std: float) -> Floats:
        """What the server does to the sum after the protocol; the noise that it adds is in it.

        Args:
            total: the sum, shape (vector.length,).
            contributors: how many are in it.
            error_std: standard deviation of the suite's own error.
        """


class Clear(Encoding):
    """Fixed point and a weight: `UpdateCodec`.

    Args:
        parameters: coordinates of an update.
    """

    def __init__(self, parameters: int) -> None:
        self._codec = self._codec_of(parameters, 0.0)
        self._parameters = parameters
        self.vector = VectorSpec(length=self._codec.length, bound=self._codec.bound)

    @staticmethod
    def _codec_of(parameters: int, error_std: float) -> UpdateCodec:
        layout = Layout.of({_NAME: np.broadcast_to(np.float32(0), parameters)})
        coding = FixedPoint(clip=CLIP, bits=BITS)
        return UpdateCodec(layout=layout, coding=coding, weight_max=1.0, error_std=error_std)

    def encode(self, update: Floats) -> npt.NDArray[np.int32]:
        """See `Encoding.encode`."""
        return self._codec.encode({_NAME: update}, weight=1.0).vector

    def decode(self, total: npt.NDArray[np.int64], contributors: int, error_std: float) -> Floats:
        """See `Encoding.decode`."""
        codec = self._codec_of(self._parameters, error_std)
        return codec.decode(total, contributors=contributors).arrays[_NAME]


class Private(Encoding):
    """Clipped, rotated, rounded, and noised here or there: `PrivateCodec`.

    Args:
        parameters: coordinates of an update.
        clients: of the cohort.
        honest: fewest honest contributors, whose shares must be noise enough.
        mode: who adds the noise.
    """

    def __init__(self, parameters: int, clients: int, honest: int, mode: PrivacyMode) -> None:
        self._plan: IntegerPlan = _planned(parameters, clients, honest, _MECHANISMS[mode])
        layout = Layout.of({_NAME: np.broadcast_to(np.float32(0), parameters)})
        self._codec = PrivateCodec.planned(layout, self._plan)
        self._clients = clients
        self._seed = os.urandom(SEED_BYTES)  # one rotation for the cell: times do not depend on which
        self._entropy = OsEntropy()
        self.vector = VectorSpec(length=self._codec.length, bound=self._codec.bound, sum_bound=self._plan.sum_bound)
        noise = self._plan.client_noise or self._plan.server_noise
        assert noise is not None  # noqa: S101 - every mechanism has one; for the type checker
        noise.add_to(np.zeros(1, np.int32), entropy=self._entropy)  # tables are made once a job, not once a round

    def encode(self, update: Floats) -> npt.NDArray[np.int32]:
        """See `Encoding.encode`."""
        return self._codec.encode({_NAME: update}, clip=CLIP, seed=self._seed, entropy=self._entropy).vector

    def decode(self, total: npt.NDArray[np.int64], contributors: int, error_std: float) -> Floats:  # noqa: ARG002
        """See `Encoding.decode`: the denominator is public and fixed, whoever is in the sum."""
        if self._plan.server_noise is not None:
            total = total.copy()
            self._plan.server_noise.add_to(total, entropy=self._entropy)
        decoded = self._codec.decode(total, clip=CLIP, denominator=self._clients, seed=self._seed)
        return decoded.arrays[_NAME]


_MECHANISMS: Final = {
    PrivacyMode.CLIENT_CENTRAL: Mechanism.GAUSSIAN,
    PrivacyMode.CLIENT_DISTRIBUTED: Mechanism.SKELLAM,
}


@lru_cache(maxsize=16)
def _planned(parameters: int, clients: int, honest: int, mechanism: Mechanism) -> IntegerPlan:
    return plan(
        dimension=parameters,
        noise_multiplier=NOISE_MULTIPLIER,
        mechanism=mechanism,
        cohort=clients,
        honest_minimum=honest,
    )


@lru_cache(maxsize=2)
def encoding_of(mode: PrivacyMode, parameters: int, clients: int, corrupt: float, dropout: float) -> Encoding:
    """Return how the clients of a cell encode.

    Args:
        mode: what is protected, and by whose noise.
        parameters: coordinates of an update.
        clients: of the cohort.
        corrupt: share of them that may be corrupt.
        dropout: share of them that may drop out.

    Raises:
        ConfigurationError: a mode whose cost is not a session's, or one that cannot be planned.
    """
    if mode is PrivacyMode.NONE:
        return Clear(parameters)
    if mode not in _MECHANISMS:
        raise ConfigurationError(
            f"--privacy is {mode.value!r}, whose noise is the training's: none, client-central and client-distributed "
            f"are measured in sessions, and --jobs measures all of them in training"
        )
    # What is counted on to be noise, at least: whoever is neither corrupt nor gone.
    honest = max(1, clients - math.floor(corrupt * clients + 1e-9) - math.ceil(dropout * clients - 1e-9))
    return Private(parameters, clients, honest, mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """How far a mean was off, as fractions of full scale.

    Attributes:
        largest: of all coordinates.
        std: standard deviation over the coordinates.
    """

    largest: float
    std: float


class Updates:
    """The vectors of one session; only the sum of what was encoded is kept, and how long that took.

    Args:
        encoding: how they are encoded.
        parameters: coordinates of an update.

    Attributes:
        total: sum of the vectors, int64, shape (encoding.vector.length,).
        encode_cpu_s: CPU of each client that encoded, in seconds.
    """

    def __init__(self, encoding: Encoding, parameters: int) -> None:
        self._encoding = encoding
        self._parameters = parameters
        self.total = np.zeros(encoding.vector.length, np.int64)
        self.encode_cpu_s: list[float] = []

    def __call__(self, number: int) -> npt.NDArray[np.int32]:
        """Make and encode a client's update: int32, shape (encoding.vector.length,)."""
        update = make_update(number, self._parameters)
        begun = time.process_time()
        vector = self._encoding.encode(update)
        self.encode_cpu_s.append(time.process_time() - begun)
        self.total += vector
        return vector

    def error_of(self, total: npt.NDArray[np.int64], contributors: int) -> Error:
        """Compare a session's sum with the sum of what was encoded."""
        off, scale = total - self.total, contributors * self._encoding.vector.bound
        return Error(largest=int(np.abs(off).max()) / scale, std=float(off.std()) / scale)
