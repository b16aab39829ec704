"""Averaging under differential privacy of clients: updates clipped and noised, nothing beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.compression.rotation import SEED_BYTES
from privfl.dp.clip import Clipping
from privfl.dp.codec import PrivateCodec
from privfl.dp.planner import IntegerPlan
from privfl.encoding.layout import Arrays, Layout
from privfl.learning.averaging import CHANCE_BYTES, RoundMean
from privfl.learning.job import Job
from privfl.learning.trainer import LocalResult
from privfl.params import VectorSpec
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.session import Aggregate

_CLIP_RANGE = (1e-9, 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRule:
    """How an adaptive clip moves: C ← C·exp(−η(b − γ)), b the noisy share of clients left whole.

    Attributes:
        quantile: γ.
        learning_rate: η.
        weight: β, what a clip bit of ±½ is sent as, in units of the clip.

    References:
        Andrew, Thakkar, McMahan, Ramaswamy, *Differentially Private Learning with Adaptive Clipping*, NeurIPS 2021,
        Algorithm 1.
    """

    quantile: float
    learning_rate: float
    weight: float

    def moved(self, clip: float, bits: float, denominator: float) -> float:
        """Return the next clip.

        Args:
            clip: C.
            bits: noisy sum of ±β.
            denominator: public and fixed: what sums are divided by.
        """
        whole = bits / (2 * self.weight) / denominator + 0.5
        # Noise can push the share out of 0 … 1: what no share can be moves the clip no further.
        step = self.learning_rate * (min(max(whole, 0.0), 1.0) - self.quantile)
        low, high = _CLIP_RANGE
        return min(max(clip * math.exp(-step), low), high)


class PrivateAveraging:
    """Sums of clipped updates over a fixed denominator, with noise from the clients or from the server.

    No weight, count or loss leaves a client: each would be a release of its own.

    Args:
        layout: of an update.
        plan: whole numbers and noise.
        clip: C, to begin with.
        clipping: which norms are bounded.
        denominator: of the mean; public and fixed, so that it has no sensitivity.
        rule: of an adaptive clip, or None.
        entropy: of roundings and noise.
        workers: threads for long vectors.

    Attributes:
        clip: C of the next round. Public: it follows from noisy sums alone.

    Guarantees:
        1. The server's noise, where it adds it, is drawn once for a sum, from fresh keys, before anything is read.
    """

    def __init__(
        self,
        layout: Layout,
        plan: IntegerPlan,
        *,
        clip: float,
        clipping: Clipping,
        denominator: float,
        rule: ClipRule | None,
        entropy: Entropy,
        workers: int = 1,
    ) -> None:
        self.plan = plan
        self.codec = PrivateCodec.planned(layout, plan, clipping=clipping)
        self.clip = clip
        self._denominator = denominator
        self._rule = rule
        self._entropy = entropy
        self._workers = workers

    @classmethod
    def of(
        cls, job: Job, layout: Layout, plan: IntegerPlan, *, clip: float, entropy: Entropy, workers: int = 1
    ) -> PrivateAveraging:
        """Return the averaging of a job.

        Args:
            job: the job.
            layout: of an update.
            plan: whole numbers and noise.
            clip: C, to begin with.
            entropy: of roundings and noise.
            workers: threads for long vectors.
        """
        adaptive = job.privacy.adaptive
        return cls(
            layout,
            plan,
            clip=clip,
            clipping=job.privacy.clipping,
            denominator=job.expected_cohort,
            rule=ClipRule(quantile=adaptive.quantile, learning_rate=adaptive.learning_rate, weight=plan.extras_norm)
            if adaptive
            else None,
            entropy=entropy,
            workers=workers,
        )

    @property
    def vector(self) -> VectorSpec:
        """See `Averaging.vector`."""
        return VectorSpec(length=self.codec.length, bound=self.codec.bound, sum_bound=self.plan.sum_bound)

    def encode(
        self,
        result: LocalResult,
        *,
        context: bytes,
        weight: float = 1.0,
        chance: bytes = bytes(CHANCE_BYTES),  # noqa: ARG002 - its roundings are as secret as its noise
    ) -> npt.NDArray[Any]:
        """See `Averaging.encode`. The clipped update is multiplied by `weight`: its norm stays within the clip."""
        encoded = self.codec.encode(
            result.update,
            clip=self.clip,
            seed=_seed(context),
            entropy=self._entropy,
            extras=self._extras(result.update),
            weight=weight,
            workers=self._workers,
        )
        vector: npt.NDArray[Any] = encoded.vector
        return vector

    def too_coarse(self, result: LocalResult) -> None:
        """See `Averaging.too_coarse`: rounding is by chance."""

    def unrounded(self, result: LocalResult, *, context: bytes) -> npt.NDArray[np.float64]:
        """Return what `encode` rounds and adds noise to; an auditor compares sums of known contributions with it."""
        extras = self._extras(result.update)
        return self.codec.unrounded(result.update, clip=self.clip, seed=_seed(context), extras=extras)[0]

    def noised(self, total: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a sum as it is released: with the server's noise, where the server adds it; the sum stays as it is."""
        if self.plan.server_noise is None:
            return total
        total = total.copy()
        self.plan.server_noise.add_to(total, entropy=self._entropy, workers=self._workers)
        return total

    def decode(self, summed: Aggregate, *, context: bytes) -> RoundMean:
        """See `Averaging.decode`."""
        total = self.noised(summed.vector)
        decoded = self.codec.decode(total, clip=self.clip, denominator=self._denominator, seed=_seed(context))
        if self._rule is not None:
            self.clip = self._rule.moved(self.clip, float(decoded.extras[0]), self._denominator)
        return RoundMean(arrays=decoded.arrays)

    def _extras(self, update: Arrays) -> tuple[float, ...]:
        if self._rule is None:
            return ()
        return (self._rule.weight if _norm(update) <= self.clip else -self._rule.weight,)


def _seed(context: bytes) -> bytes:
    """The rotation of a round, which all its parties know: it follows from what the round is about."""
    return digest(Label.ROTATION, context)[:SEED_BYTES]


def _norm(update: Arrays) -> float:
    return math.sqrt(
        sum(float(np.vdot(flat, flat)) for flat in (a.astype(np.float64).ravel() for a in update.values()))
    )
