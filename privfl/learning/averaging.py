"""How trained updates become vectors of a session, and the session's sum a step of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import CLIP_RANGE, Dice, FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.learning.encoding_job import Rounding
from privfl.learning.job import Job
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.trainer import LocalResult
from privfl.params import VectorSpec
from privfl.primitives.prg import Stream
from privfl.primitives.secret import Secret
from privfl.session import Aggregate, Vector
from privfl.suites import suite

LOSS_MAXIMUM: Final = 16.0
"""Local losses are averaged through the sum up to here: far above ln(classes), where training has failed anyway."""

CHANCE_BYTES: Final = 16
EXAMPLES_MAXIMUM: Final = (1 << 24) - 1
SATURATION_WARNING: Final = 0.01
_ACCEPTABLE_SATURATION: Final = 0.001
_COUNTS_ROOM: Final = 1024
"""Coordinates for weight, counts and metrics, whose number follows from the error of the sum."""
_OVER_CLIP: Final = tuple(2.0**power for power in range(1, 6))
_UNDER_CLIP: Final = tuple(2.0**-power for power in range(1, 5))
"""Of an adaptive clip as well: it comes down to a sixteenth in a round, at most."""
_MOVED: Final = "not_zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMean:
    """What the sum of a round says.

    Attributes:
        arrays: the step of the model, by name, float32.
        local_accuracy: of the local models on their clients' own examples; None where that is not sent.
        local_loss: likewise.
        saturated_fraction: coordinates that the encoding clipped, of all contributors' coordinates; None where that is
            not sent.
        suggested_clip: a clip under which few would have been, or None if few were.
    """

    arrays: Mapping[str, npt.NDArray[np.float32]]
    local_accuracy: float | None = None
    local_loss: float | None = None
    saturated_fraction: float | None = None
    suggested_clip: float | None = None


class Averaging(Protocol):
    """What a run needs: vectors for the session, and the model's step from their sum."""

    clip: float
    """Largest magnitude of a coordinate that is kept, or largest norm of an update; public."""

    @property
    def vector(self) -> VectorSpec:
        """Length and bounds of the session's vectors."""
        ...

    def encode(
        self, result: LocalResult, *, context: bytes, weight: float = 1.0, chance: bytes = bytes(CHANCE_BYTES)
    ) -> Vector:
        """Write one client's result.

        Args:
            result: of its training.
            context: of the session, 32 bytes, public: what all parties of a round draw in common follows from it.
            weight: above 0, up to 1: what the update counts for beside a fresh one; it follows from what is public.
            chance: 16 bytes that no other client of the session has: roundings are drawn from them, where they are not
                to the nearest. No secret hangs on them.

        Raises:
            ConfigurationError: the update holds what is no finite number.
        """
        ...

    def too_coarse(self, result: LocalResult) -> str | None:
        """Say, to the client, that nothing is left of its update once it is written; None if something is."""
        ...

    def decode(self, summed: Aggregate, *, context: bytes) -> RoundMean:
        """Read the sum.

        Raises:
            RoundAborted: no sum of contributions as agreed.
        """
        ...


class WeightedAveraging:
    """The mean of the updates, weighted by numbers of examples; counts and losses travel in the same sum.

    Args:
        layout: of an update.
        coding: clip and bits of its coordinates.
        weight_max: largest number of examples that counts; public.
        error_std: of a coordinate of the sum, at most.
        tells_of_examples: whether examples are counted and losses averaged. Without it all clients weigh the same, and
            nothing leaves a client but what follows from its update: where the update is differentially private towards
            single examples, a count of them beside it would not be.
        rounding: of its coordinates.
        adaptive: whether the clip follows the updates: it takes the power of two, times the one of the round before,
            beyond which one in a thousand coordinates of the round's updates was. That they say through the sum.
    """

    def __init__(
        self,
        layout: Layout,
        coding: FixedPoint,
        *,
        weight_max: int = 1,
        error_std: float = 0.0,
        tells_of_examples: bool = True,
        rounding: Rounding = Rounding.NEAREST,
        adaptive: bool = False,
    ) -> None:
        whole = layout.length
        self._tells = tells_of_examples
        self._rounding = rounding
        self._multiples = (*(reversed(_UNDER_CLIP) if adaptive else ()), *_OVER_CLIP)
        self.adaptive = adaptive
        self.codec = UpdateCodec(
            layout=layout,
            coding=coding,
            weight_max=weight_max if tells_of_examples else 1,
            counts={
                **({"examples": EXAMPLES_MAXIMUM, "correct": EXAMPLES_MAXIMUM} if tells_of_examples else {}),
                "clipped": whole,
                **{_over(multiple): whole for multiple in self._multiples},
                **({_MOVED: whole} if adaptive else {}),
            },
            means={"loss": LOSS_MAXIMUM} if tells_of_examples else {},
            saturation="clipped",
            error_std=error_std,
        )

    @classmethod
    def of(cls, job: Job, layout: Layout, *, weight_max: int) -> WeightedAveraging:
        """Return the averaging of a job.

        Args:
            job: the job.
            layout: of an update.
            weight_max: largest number of examples that counts; public.
        """
        setting = job.setting(layout.length + _COUNTS_ROOM)
        return cls(
            layout,
            FixedPoint(clip=job.encoding.clip, bits=job.encoding.bits),
            weight_max=weight_max,
            error_std=suite(job.suite).error_std(setting, job.cohort_size),
            tells_of_examples=job.privacy.mode is PrivacyMode.NONE,
            rounding=job.encoding.rounding,
            adaptive=job.encoding.adaptive,
        )

    @property
    def clip(self) -> float:
        """Largest magnitude of a coordinate that is kept. Public: it follows from sums alone."""
        return self.codec.coding.clip

    @clip.setter
    def clip(self, clip: float) -> None:
        self.codec = replace(self.codec, coding=replace(self.codec.coding, clip=clip))

    @property
    def vector(self) -> VectorSpec:
        """See `Averaging.vector`."""
        return VectorSpec(length=self.codec.length, bound=self.codec.bound)

    def encode(
        self,
        result: LocalResult,
        *,
        context: bytes,  # noqa: ARG002 - nothing is drawn in common
        weight: float = 1.0,
        chance: bytes = bytes(CHANCE_BYTES),
    ) -> npt.NDArray[np.int32]:
        """See `Averaging.encode`."""
        counts: dict[str, int] = {"examples": result.examples, "correct": result.correct} if self._tells else {}
        magnitudes = [np.abs(array) for array in result.update.values()]
        largest = max(float(array.max(initial=0)) for array in magnitudes)
        for multiple in self._multiples:
            limit = multiple * self.clip
            # Mostly nothing is beyond the clip, and one look for the largest is all that it takes.
            beyond = magnitudes if largest > limit else []
            counts[_over(multiple)] = sum(int(np.count_nonzero(array > limit)) for array in beyond)
        if self.adaptive:
            counts[_MOVED] = sum(int(np.count_nonzero(array)) for array in magnitudes)
        loss = result.loss if math.isfinite(result.loss) else LOSS_MAXIMUM
        encoded = self.codec.encode(
            result.update,
            # However stale an update is, it counts for something.
            weight=max(
                weight * (min(result.examples, self.codec.weight_max) if self._tells else 1), self.codec.least_weight
            ),
            counts=counts,
            means={"loss": loss} if self._tells else {},
            dice=_dice(chance) if self._rounding is Rounding.STOCHASTIC else None,
        )
        return encoded.vector

    def too_coarse(self, result: LocalResult) -> str | None:
        """See `Averaging.too_coarse`. What chance rounds, or another clip will cut, is not lost for good."""
        follows = self.adaptive or self._rounding is Rounding.STOCHASTIC
        return None if follows else self.codec.too_coarse(result.update)

    def decode(self, summed: Aggregate, *, context: bytes) -> RoundMean:  # noqa: ARG002 - likewise
        """See `Averaging.decode`."""
        mean = self.codec.decode(summed.vector, contributors=summed.contributors)
        fraction, suggestion = self._saturation(mean.counts, summed.contributors)
        if self.adaptive:
            self._follow(mean.counts)
        return RoundMean(
            arrays=mean.arrays,
            local_accuracy=mean.counts["correct"] / mean.counts["examples"] if self._tells else None,
            local_loss=mean.means["loss"] if self._tells else None,
            saturated_fraction=fraction,
            suggested_clip=suggestion,
        )

    def _saturation(self, counts: Mapping[str, int], contributors: int) -> tuple[float, float | None]:
        fraction = counts["clipped"] / (contributors * self.codec.layout.length)
        if self.adaptive or fraction <= SATURATION_WARNING:
            return fraction, None
        return fraction, self.clip * self._scale(counts, of=contributors * self.codec.layout.length)

    def _follow(self, counts: Mapping[str, int]) -> None:
        """Move the clip: by coordinates that are not 0, or an update of which most are would have it vanish."""
        if counts[_MOVED]:
            moved, (low, high) = self.clip * self._scale(counts, of=counts[_MOVED]), CLIP_RANGE
            while moved < low:
                moved *= 2
            while moved > high:
                moved /= 2
            self.clip = moved

    def _scale(self, counts: Mapping[str, int], *, of: int) -> float:
        """How many times the clip nearly all of so many coordinates of a round would have been within."""
        enough = _ACCEPTABLE_SATURATION * of
        beyond: dict[float, int] = {multiple: counts[_over(multiple)] for multiple in self._multiples}
        beyond[1.0] = counts["clipped"]
        within = [multiple for multiple in sorted(beyond) if beyond[multiple] <= enough]
        return within[0] if within else 2.0 * max(beyond)


def _over(multiple: float) -> str:
    return f"over_{multiple:g}_clips"


def _dice(seed: bytes) -> Dice:
    """Public random words, as many as are asked for, from one seed."""
    stream = Stream(Secret(seed))

    def words(count: int) -> npt.NDArray[np.uint32]:
        drawn = np.empty(count, np.uint32)
        stream.fill(drawn)
        return drawn

    return words
