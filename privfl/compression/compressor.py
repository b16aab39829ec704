"""What of an update travels: some of its coordinates, or all, spread evenly over what is sent or as they are.

update + residual → choose coordinates → rotate; and back: rotate back → put in place, 0 elsewhere. All of it is linear
and the same for every client of a round, so that the mean of what was sent is what the mean update sends.

References:
    Konečný et al., *Federated Learning: Strategies for Improving Communication Efficiency*, 2016 (masks from a seed);
    Suresh et al., *Distributed Mean Estimation with Limited Communication*, ICML 2017 (rotations);
    Stich, Cordonnier, Jaggi, *Sparsified SGD with Memory*, NeurIPS 2018 (error feedback).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from privfl.compression.rotation import SEED_BYTES
from privfl.compression.selection import (
    Coordinates,
    kept_at_random,
    kept_by_magnitude,
    largest_coordinates,
    random_coordinates_beside,
)
from privfl.compression.windows import rotate_windows, rotate_windows_back
from privfl.encoding.fixed_point import not_finite
from privfl.encoding.layout import Arrays, Layout
from privfl.errors import ConfigurationError
from privfl.primitives.prg import public_words

COORDINATES: Final = "coordinates"
"""The name of the one array that is sent, where it is not the update itself."""
_WORDS: Final = SEED_BYTES // 8

Vector = npt.NDArray[np.float32]


class Keep(Enum):
    """Which coordinates travel."""

    ALL = "all"
    RANDOM = "random"
    MAGNITUDE = "magnitude"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """What a client sends, and what it remembers.

    Attributes:
        arrays: as `Compressor.sent` says.
        residual: float32, shape (layout.length,): what was not sent, for the client's next update; None without
            feedback.
    """

    arrays: Arrays = field(repr=False)
    residual: Vector | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressor:
    """The agreed way to make updates shorter, or more even.

    Attributes:
        layout: names and shapes of the update.
        keep: which coordinates travel. With ALL and without rotation, updates pass as they are.
        fraction: how many of them: of all (RANDOM), or of all matrices' entries (MAGNITUDE); above 0, up to 1.
        rotate: whether what travels is rotated, so that clipping and rounding meet every coordinate alike.
        whole: names of arrays that RANDOM always sends, whole: statistics, say, which no part of an old one is to be
            added to.
        feedback: which part of what was not sent a client adds to its next update, 0 to 1. Above 0 with RANDOM only:
            what magnitudes leave out they may leave out for ever, and it would pile up.

    Guarantees:
        1. `expand` of the mean of what clients sent is the mean of their updates on the chosen coordinates, and 0
           elsewhere, up to rounding in float32.
        2. What is sent depends on nothing but the update, the residual, the seed and (MAGNITUDE only) the model; its
           length on none of them.
        3. What was sent, on the chosen coordinates, and the residual over `feedback`, elsewhere, are update + residual:
           with a feedback of 1 nothing is lost.
        4. What is not finite is refused, by name, whether it was chosen or not; updates that pass as they are, the
           encoding refuses.

    >>> compressor = Compressor(layout=Layout((("weight", (2, 3)), ("bias", (2,)))), keep=Keep.RANDOM, fraction=0.5)
    >>> compressor.sent.length
    4
    """

    layout: Layout
    keep: Keep = Keep.ALL
    fraction: float = 1.0
    rotate: bool = False
    feedback: float = 0.0
    whole: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if not 0 < self.fraction <= 1:
            raise ConfigurationError(f"compression.fraction is {self.fraction}: above 0, up to 1, works, such as 0.2")
        if self.keep is Keep.ALL and self.fraction != 1:
            raise ConfigurationError(
                f"compression.fraction is {self.fraction} with compression.keep = 'all': keep = 'random' or "
                f"'magnitude' works, or fraction = 1.0"
            )
        if not 0 <= self.feedback <= 1:
            raise ConfigurationError(f"compression.feedback is {self.feedback}: 0 to 1 works, such as 1.0")
        if self.feedback and self.keep is not Keep.RANDOM:
            raise ConfigurationError(
                f"compression.feedback is {self.feedback} with compression.keep = {self.keep.value!r}: it remembers "
                f"what a random choice left out; keep = 'random' works, or feedback = 0.0"
            )
        if not self.kept:
            raise ConfigurationError("the update has no value: give at least one array that is not empty")

    @property
    def kept(self) -> int:
        """How many coordinates travel.

        Raises:
            ConfigurationError: none (or none of a matrix, with MAGNITUDE).
        """
        if self.keep is Keep.RANDOM:
            return kept_at_random(self.layout, self.fraction, self.whole)
        return kept_by_magnitude(self.layout, self.fraction) if self.keep is Keep.MAGNITUDE else self.layout.length

    @property
    def passes(self) -> bool:
        """Whether updates pass as they are."""
        return self.keep is Keep.ALL and not self.rotate

    @property
    def sent(self) -> Layout:
        """Names and shapes of what is sent."""
        return self.layout if self.passes else Layout(((COORDINATES, (self.kept,)),))

    def choose(self, seed: bytes, weights: Arrays) -> Chosen:
        """Choose what a round's clients send.

        Args:
            seed: 16 public bytes, the same for all clients of a round and new for each round.
            weights: the model, as the layout says; only MAGNITUDE looks at it.

        Raises:
            ConfigurationError: the seed is of another length, or the model's magnitudes choose nothing.
        """
        if len(seed) != SEED_BYTES:
            raise ConfigurationError(f"a seed of compression of {len(seed)} bytes: {SEED_BYTES} public bytes work")
        # Independent seeds of what is drawn independently, all public.
        choice, rotation = (words.tobytes() for words in public_words(seed, 2 * _WORDS).reshape(2, _WORDS))
        coordinates = None
        if self.keep is Keep.RANDOM:
            coordinates = random_coordinates_beside(self.layout, self.fraction, self.whole, choice)
        elif self.keep is Keep.MAGNITUDE:
            coordinates = largest_coordinates(weights, self.layout, self.fraction)
        return Chosen(compressor=self, coordinates=coordinates, rotation=rotation if self.rotate else None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """What the clients of one round send.

    Attributes:
        compressor: the agreement.
        coordinates: int64, shape (kept,), ascending; None for all.
        rotation: the rotation's seed; None without rotation.
    """

    compressor: Compressor
    coordinates: Coordinates | None = field(repr=False)
    rotation: bytes | None

    def compress(self, update: Arrays, residual: Vector | None = None) -> Compressed:
        """Compress one client's update.

        Args:
            update: as the layout says, of floats; left as it is.
            residual: what the client's last `Compressed` held; None at first, and without feedback. Left as it is.

        Raises:
            ConfigurationError: a name or shape is not as agreed, or a value is not finite.
        """
        agreed = self.compressor
        if residual is not None and (not agreed.feedback or residual.shape != (agreed.layout.length,)):
            raise ConfigurationError(
                f"a residual of shape {residual.shape} with compression.feedback = {agreed.feedback}: "
                f"{(agreed.layout.length,)} works with feedback, and none without"
            )
        if agreed.passes:
            return Compressed(arrays=update, residual=None)
        vector = self._flat(update, residual)
        sent = vector if self.coordinates is None else vector[self.coordinates]
        if self.rotation is not None:
            rotated = rotate_windows(sent.astype(np.float64), self.rotation)
            with np.errstate(over="ignore"):  # the encoding refuses what is not finite
                sent = rotated.astype(np.float32)
        return Compressed(arrays={COORDINATES: sent}, residual=self._left(vector) if agreed.feedback else None)

    def expand(self, mean: Arrays) -> dict[str, Vector]:
        """Return the update that was sent: by the layout's names, in its shapes; 0 where nothing was.

        Args:
            mean: of what clients sent, as `Compressor.sent` says; left as it is.

        Raises:
            ConfigurationError: a name or shape is not as agreed.
        """
        agreed = self.compressor
        agreed.sent.check(mean)
        if agreed.passes:
            return {name: np.asarray(array, np.float32) for name, array in mean.items()}
        values = mean[COORDINATES]
        if self.rotation is not None:
            values = rotate_windows_back(values.astype(np.float64), self.rotation)
        if self.coordinates is None:
            return agreed.layout.unflatten(values.astype(np.float32))
        vector = np.zeros(agreed.layout.length, np.float32)
        vector[self.coordinates] = values
        return agreed.layout.unflatten(vector)

    def _flat(self, update: Arrays, residual: Vector | None) -> Vector:
        """Return update + residual, all of it finite, in a new array."""
        layout = self.compressor.layout
        layout.check(update)
        vector = np.empty(layout.length, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is not finite, and refused below
            for name, _, place in layout.spans():
                vector[place] = update[name].reshape(-1)
            if residual is not None:
                vector += residual
        for name, _, place in layout.spans():
            if not np.isfinite(vector[place]).all():
                raise not_finite(vector[place], name)
        return vector

    def _left(self, vector: Vector) -> Vector:
        """Return what is remembered, in the vector's place."""
        vector *= np.float32(self.compressor.feedback)
        vector[self.coordinates] = 0
        return vector
