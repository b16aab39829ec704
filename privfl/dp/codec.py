"""An update as noised whole numbers whose sum is private, and the noisy mean back from that sum.

clip → extras → rotate → divide by γ → round within Δ₂ → add a share of noise; what leaves is ready for a suite, as
coordinates modulo the ring that it sums in. Before rotation everything is in units of the clip: the update has norm 1
at most, extras (a centred clip bit, metrics) have norm e at most, and both are hidden by the same noise. The mean
divides by a public constant: the realised sum of weights would be another secret, with a sensitivity of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.compression.rotation import SEED_BYTES, padded, rotate, rotate_back
from privfl.dp.clip import Clipping, check_clip, clip_into
from privfl.dp.noise import IntegerNoise
from privfl.dp.planner import IntegerPlan
from privfl.dp.rounding import round_conditionally
from privfl.encoding.layout import Arrays, Layout, require_sum
from privfl.errors import ConfigurationError
from privfl.primitives.entropy import Entropy

_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrivate:
    """One client's vector, ready for a suite.

    Attributes:
        vector: int32, shape (codec.length,). Noised, where clients add noise; otherwise as private as the update.
        norm: of the update before clipping. Private.
    """

    vector: npt.NDArray[np.int32] = field(repr=False)
    norm: float = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedPrivate:
    """What a noised sum says.

    Attributes:
        arrays: Σ clip(Δᵢ) / denominator by name, float32, in the agreed shapes.
        extras: Σ of the extras, float64, shape (extras,); not divided.
    """

    arrays: dict[str, npt.NDArray[np.float32]]
    extras: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateCodec:
    """The agreed encoding of a private contribution.

    Attributes:
        layout: names and shapes of the update.
        clipping: which norms are bounded.
        extras: how many numbers a client sends beside the update.
        extras_norm: e, their largest norm, where the update's is 1.
        granularity: γ, what the whole number 1 stands for.
        rotate: whether vectors are rotated; then they are padded to a power of two.
        l2_squared: Δ₂², exact bound of ‖v‖² of what one client's vector is before noise.
        noise: a client's share of noise; None where the server adds it.

    Guarantees:
        1. Before noise, the vector's norm is at most Δ₂, exactly, whatever the update, the clip and the extras.
        2. `decode` of a sum is the sum of clipped updates over the denominator, up to rounding and noise.
        3. What is not finite, not of the agreed shape, or no float is refused, by name.
    """

    layout: Layout
    clipping: Clipping = Clipping.FLAT
    extras: int = 0
    extras_norm: float = 0.0
    granularity: float
    rotate: bool = True
    l2_squared: int
    noise: IntegerNoise | None = None

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        object.__setattr__(self, "clipping", Clipping(self.clipping))
        if self.extras < 0 or (self.extras > 0) != (self.extras_norm > 0):
            raise ConfigurationError(
                f"{self.extras} extras with extras_norm {self.extras_norm}: none and 0, or some and a number above 0"
            )
        if not 0 < self.granularity < math.inf:
            raise ConfigurationError(f"granularity is {self.granularity}: a number above 0 works, such as 2**-10")

    @classmethod
    def planned(cls, layout: Layout, plan: IntegerPlan, *, clipping: Clipping = Clipping.FLAT) -> PrivateCodec:
        """Return the codec of a plan; what the plan's dimension has beyond the layout are extras.

        Raises:
            ConfigurationError: the plan is for fewer coordinates than the layout has, or for more and no extras.
        """
        if plan.dimension < layout.length or (plan.dimension > layout.length and not plan.extras_norm):
            raise ConfigurationError(
                f"the layout has {layout.length} coordinates, and the plan was made for {plan.dimension} "
                f"(with extras_norm {plan.extras_norm:g}): dimension={layout.length} works, and what extras add"
            )
        return cls(
            layout=layout,
            clipping=clipping,
            extras=plan.dimension - layout.length,
            extras_norm=plan.extras_norm,
            granularity=plan.granularity,
            rotate=plan.rotate,
            l2_squared=plan.l2_squared,
            noise=plan.client_noise,
        )

    @property
    def length(self) -> int:
        """Coordinates of the vector."""
        dimension = self.layout.length + self.extras
        return padded(dimension) if self.rotate else dimension

    @property
    def bound(self) -> int:
        """Largest magnitude of a coordinate: none exceeds it."""
        return math.isqrt(self.l2_squared) + (self.noise.tail if self.noise else 0)

    def encode(
        self,
        arrays: Arrays,
        *,
        clip: float,
        seed: bytes,
        entropy: Entropy,
        extras: Sequence[float] = (),
        weight: float = 1.0,
        workers: int = 1,
    ) -> EncodedPrivate:
        """Encode a contribution.

        Args:
            arrays: the update, as the layout says.
            clip: C, in the unit of the update.
            seed: 16 public bytes, the same for all clients of the sum and new for each sum.
            entropy: source of roundings and noise.
            extras: as many numbers as agreed, of norm e at most.
            weight: above 0, up to 1: what the clipped update is multiplied by. It follows from what is public, such as
                how old the model is that the client trained; none makes an update longer than the clip.
            workers: threads; 1 starts none.

        Raises:
            ConfigurationError: anything not as agreed, or not finite.
        """
        vector, norm = self.unrounded(arrays, clip=clip, seed=seed, extras=extras, weight=weight)
        # 32 bits hold it: √Δ₂² is at most 2^26, and the widest noise that there is reaches 2^24.
        whole = np.empty(self.length, np.int32)
        round_conditionally(vector, l2_squared=self.l2_squared, out=whole, entropy=entropy, workers=workers)
        if self.noise:
            self.noise.add_to(whole, entropy=entropy, workers=workers)
        return EncodedPrivate(vector=whole, norm=norm)

    def unrounded(
        self, arrays: Arrays, *, clip: float, seed: bytes, extras: Sequence[float] = (), weight: float = 1.0
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Return what `encode` rounds, in units of whole numbers, float64, shape (length,), and the update's norm.

        An auditor compares a sum of known contributions with it. Arguments and errors as for `encode`.
        """
        self.layout.check(arrays)
        beside = self._checked(extras)
        if not 0 < weight <= 1:  # more than 1, and the update would be longer than the noise was made for
            raise ConfigurationError(f"weight is {weight}: above 0, up to 1, works, such as 1.0")
        vector = np.empty(self.length)
        m, step = self.layout.length, 1 / self.granularity
        clipped = clip_into(arrays, self.layout, clip=clip, clipping=self.clipping, out=vector[:m], scale=weight * step)
        np.multiply(beside, step, out=vector[m : m + self.extras])
        vector[m + self.extras :] = 0
        return (rotate(vector, _checked_seed(seed)) if self.rotate else vector), clipped.norm

    def decode(
        self, total: npt.NDArray[np.signedinteger[Any]], *, clip: float, denominator: float, seed: bytes
    ) -> DecodedPrivate:
        """Read the mean from a noised sum.

        Args:
            total: the sum of vectors, noise included; integers, shape (length,).
            clip: C.
            denominator: what the sum is divided by: public and fixed beforehand, such as the cohort's size.
            seed: as for `encode`.

        Raises:
            ConfigurationError: wrong shape, clip or denominator.
        """
        require_sum(total, self.length)
        check_clip("clip", clip)
        if not 0 < denominator < math.inf:
            raise ConfigurationError(f"the denominator is {denominator}: a number above 0 works, such as the cohort")
        vector: npt.NDArray[np.float64] = np.multiply(total, self.granularity, dtype=np.float64)
        if self.rotate:
            vector = rotate_back(vector, _checked_seed(seed))
        m = self.layout.length
        mean = (vector[:m] * (clip / denominator)).astype(np.float32)
        return DecodedPrivate(arrays=self.layout.unflatten(mean), extras=vector[m : m + self.extras].copy())

    def _checked(self, extras: Sequence[float]) -> npt.NDArray[np.float64]:
        values = np.array(extras, np.float64)
        if values.shape != (self.extras,):
            raise ConfigurationError(f"{values.size} extras were given where {self.extras} are agreed")
        # Said the other way round, so that NaN is refused.
        if not float(np.sqrt(values @ values)) <= self.extras_norm * (1 + _SLACK):
            raise ConfigurationError(f"the extras are longer than agreed: a norm up to {self.extras_norm} works")
        return values


def _checked_seed(seed: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise ConfigurationError(f"a rotation seed of {len(seed)} bytes: {SEED_BYTES} public bytes work")
    return seed
