"""Noise: whole numbers for sums, normal numbers for training, coins for cohorts; all from secret random bytes.

Every draw of integer noise lies within `log2_distance` of the exact distribution, in statistical distance; over all
draws of a run these add up, and times 1 + e^ε they are to be added to δ (a few 2^−100: no δ shows it, no statistical
test could see it). Samplers look tables up, which is not constant-time: SECURITY.md says what that means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.dp import tables
from privfl.errors import ConfigurationError
from privfl.primitives.entropy import Entropy
from privfl.primitives.prg import PRG_KEY_BYTES, Stream, spread
from privfl.primitives.sampling import Sampler, stream_keys
from privfl.primitives.secret import Secret

_BLOCK: Final = 1 << 17
_BATCH: Final = 1 << 14

Integers = npt.NDArray[Any]
"""One-dimensional, contiguous, int32 or int64."""


class Mechanism(StrEnum):
    """Which noise hides a client."""

    GAUSSIAN = "gaussian"
    """The server adds it to the opened sum: a discrete Gaussian."""
    SKELLAM = "skellam"
    """Every client adds a share before the sum: a difference of Poisson numbers; shares add up exactly."""
    DISCRETE_GAUSSIAN = "discrete-gaussian"
    """Every client adds a share before the sum; shares add up to what is nearly a discrete Gaussian."""


def check_mechanism(mechanism: str) -> Mechanism:
    """Return the mechanism of a name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if mechanism not in list(Mechanism):
        names = " or ".join(repr(kind.value) for kind in Mechanism)
        raise ConfigurationError(f"mechanism is {mechanism!r}: {names} works")
    return Mechanism(mechanism)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerNoise:
    """Independent draws of symmetric noise on whole numbers.

    Attributes:
        kind: SKELLAM; of both others the discrete Gaussian is drawn.
        variance: of one draw. Of the discrete Gaussian the parameter σ², from which the variance differs by less than
            a part in 2^22 from σ² = 1 on.

    Guarantees:
        1. Each draw is within `log2_distance` of the exact distribution.
        2. No draw exceeds `tail` in magnitude.
        3. Draws of different calls, blocks and summands come from keys of their own.

    References:
        Agarwal, Kairouz, Liu, *The Skellam Mechanism*, NeurIPS 2021; Canonne, Kamath, Steinke, *The Discrete Gaussian
        for Differential Privacy*, NeurIPS 2020.

    >>> noise = IntegerNoise(kind=Mechanism.SKELLAM, variance=Fraction(9))
    >>> noise.std, noise.tail, noise.log2_distance < -130
    (3.0, 56, True)
    """

    kind: Mechanism
    variance: Fraction

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        object.__setattr__(self, "kind", check_mechanism(self.kind))
        if type(self.variance) not in {int, Fraction} or self.variance <= 0:
            raise ConfigurationError(f"noise variance is {self.variance!r}: a whole number or Fraction above 0 works")
        object.__setattr__(self, "variance", Fraction(self.variance))
        widest = tables.WIDEST_SKELLAM if self.kind is Mechanism.SKELLAM else tables.WIDEST_GAUSSIAN
        if self.variance > widest:
            raise ConfigurationError(
                f"noise of standard deviation {self.std:.6g} is too wide for {self.kind} tables: up to "
                f"{math.isqrt(widest)} works (a smaller noise_multiplier, fewer parameters or more honest clients make "
                f"it narrower)"
            )

    @property
    def std(self) -> float:
        """Standard deviation of one draw."""
        return math.sqrt(self.variance)

    @property
    def tail(self) -> int:
        """Largest magnitude of a draw: none exceeds it."""
        return sum(abs(part.factor) * part.distribution.highest * part.times for part in self._parts)

    @property
    def log2_distance(self) -> float:
        """log₂ of a bound on the statistical distance of one draw to the exact distribution."""
        # What pairs are off by beside this, 2^−453, is nothing.
        return math.log2(sum(2.0**part.log2_distance for part in self._parts)) + 2.0**-20

    def add_to(self, vector: Integers, *, entropy: Entropy, workers: int = 1) -> None:
        """Add a draw to every coordinate.

        Args:
            vector: int32 or int64, shape (m,), contiguous, changed in place. Sums have to fit: nobody checks.
            entropy: source of the keys of all streams.
            workers: threads; 1 starts none.

        Raises:
            ConfigurationError: another array.
        """
        if vector.ndim != 1 or vector.dtype.type not in {np.int32, np.int64} or not vector.flags.c_contiguous:
            raise ConfigurationError("noise goes onto a contiguous one-dimensional array of int32 or int64")
        parts = self._parts
        copies = [part for part in parts for _ in range(part.times)]
        # Two keys for each block and summand, drawn in order and used there only.
        keys = [[stream_keys(entropy) for _ in copies] for _ in range(0, len(vector), _BLOCK)]

        def walk(first: int, last: int) -> None:
            scaled = np.empty(_BATCH, vector.dtype)
            for start in range(first, last, _BLOCK):
                block = vector[start : min(start + _BLOCK, last)]
                for part, (coarse, fine) in zip(copies, keys[start // _BLOCK], strict=True):
                    source = Sampler(part.distribution, Stream(coarse), Stream(fine), largest_batch=_BATCH)
                    for begin in range(0, len(block), _BATCH):
                        batch = block[begin : begin + _BATCH]
                        draws: Integers = source.draw(len(batch))
                        if part.factor != 1:
                            draws = np.multiply(draws, part.factor, out=scaled[: len(batch)], dtype=vector.dtype)
                        batch += draws

        spread(len(vector), _BLOCK, walk, workers=workers)

    @property
    def _parts(self) -> tuple[tables.Part, ...]:
        return (tables.skellam_parts if self.kind is Mechanism.SKELLAM else tables.gaussian_parts)(self.variance)


def continuous_gaussian(count: int, entropy: Entropy) -> npt.NDArray[np.float64]:
    """Draw standard normal numbers (Box and Muller, from uniform numbers of 53 bits), for the noise of training.

    These are floating-point numbers: which of them can occur, and in which lowest bits, depends on the value that they
    are added to, and an adversary who sees exact sums could use that (Mironov 2012). What leaves a client in a private
    sum is noised by `IntegerNoise`. This one is for gradients in training, where the caveat stands: the proof is about
    real numbers, and later steps round the sums without undoing what the lowest bits may tell.

    Args:
        count: how many.
        entropy: source of the stream's key.

    Returns:
        float64, shape (count,); magnitudes up to 8.6, beyond which a normal number lies once in 2^56.

    References:
        Mironov, *On significance of the least significant bits for differential privacy*, CCS 2012.
    """
    words = _words(2 * -(-count // 2), entropy)
    uniform = ((words >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53  # in (0, 1]: no logarithm of 0
    radius = np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    normal = np.empty(len(words))
    normal[0::2], normal[1::2] = radius * np.cos(angle), radius * np.sin(angle)
    return normal[:count]


def poisson_sample(count: int, probability: float, entropy: Entropy) -> npt.NDArray[np.bool_]:
    """Include each of `count` independently with a probability.

    64 random bits decide each; the threshold is rounded *down*, so that the probability carried out is never above the
    one that is charged, and less than 2^−64 below it: ε grows with the sampling probability.

    Args:
        count: of the population.
        probability: from above 0 to 1.
        entropy: source of the stream's key.

    Returns:
        bool, shape (count,): who is in.

    Raises:
        ConfigurationError: no probability.
    """
    if not 0 < probability <= 1:
        raise ConfigurationError(f"sampling_probability is {probability!r}: above 0 and up to 1 works, such as 0.05")
    threshold = int(Fraction(probability) * (1 << 64))
    if threshold >> 64:
        return np.ones(count, np.bool_)
    return _words(count, entropy) < np.uint64(threshold)


def uniform_choice(count: int, size: int, entropy: Entropy) -> npt.NDArray[np.int64]:
    """Choose `size` of `count`, every subset equally often.

    Args:
        count: of the population.
        size: how many of them.
        entropy: source of the stream's key.

    Returns:
        int64, shape (size,), ascending.

    Raises:
        ConfigurationError: more than there are, or fewer than one.
    """
    if not 1 <= size <= count:
        raise ConfigurationError(f"a choice of {size} among {count}: 1 to {count} works")
    stream = Stream(Secret(entropy.token_bytes(PRG_KEY_BYTES)))
    places = list(range(count))
    for i in range(size):  # Fisher and Yates, up to what is asked for
        j = i + _below(count - i, stream)
        places[i], places[j] = places[j], places[i]
    return np.sort(np.array(places[:size], np.int64))


def _words(count: int, entropy: Entropy) -> npt.NDArray[np.uint64]:
    words = np.empty(count, np.uint64)
    Stream(Secret(entropy.token_bytes(PRG_KEY_BYTES))).fill(words)
    return words


def _below(count: int, stream: Stream) -> int:
    """A whole number below `count`, all of them equally often: words beyond the last whole multiple are drawn again."""
    word = np.empty(1, np.uint64)
    while True:
        stream.fill(word)
        if int(word[0]) < (1 << 64) // count * count:
            return int(word[0]) % count
