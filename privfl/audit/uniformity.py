"""Does what left a client look like what a masked vector must look like: numbers spread evenly below the modulus?

A vector under a mask, or a ciphertext, is uniform, whatever it hides. One that left in the clear is not: small signed
numbers sit at both ends of the range. Each test asks for one thing that uniform words have, with an exact reference:

- *high bits*, *low bits*: as many pairs of words in the same of B equal bins as there should be (this is the χ² test,
  counted in pairs). Words above the last whole multiple of B are left out, so that bins are exactly equal for every
  modulus, a prime one too.
- *small*: no more words close to 0 than there should be, for 1/2, 1/4, 1/8 … of the range; binomial.
- *repeats*: no more equal words than birthdays explain; a bound on sums of independent draws.
- *known*, where the true vector is known: ranks of the words do not go along with it, whatever its scale; and what is
  left when it is taken away has no repeats either, as it would under a mask that is used twice.

With 64 words, plain numbers that fill no more than half of the range have a p-value below 10^−12 (plain numbers mod
2^32: far below), and so has a known vector in any scale that leaves it within the range, unless a few of its numbers
are most of it. With fewer than 32 words bins say nothing, and 24 plain words can still be told from masked ones. No
test sees a mask that somebody knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.audit.levels import together
from privfl.audit.moments import skewed_upper
from privfl.audit.tails import binomial_upper, normal_cdf
from privfl.dp.mechanisms import check_whole
from privfl.errors import ConfigurationError

LEAST_MODULUS: Final = 16
MOST_MODULUS: Final = 1 << 64
_BINS: Final = (4, 256)
_PER_BIN: Final = 8

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformityTest:
    """How uniform words are.

    Attributes:
        words: how many.
        modulus: below which they lie.
        bins: into which their high bits, and their low bits, were sorted; 0 with too few words for it.
        p_values: by name: `high`, `low`, `small`, `repeats`, and with a known vector `known` and `known-repeats`.
    """

    words: int
    modulus: int
    bins: int
    p_values: Mapping[str, float]

    @property
    def p_value(self) -> float:
        """That these are masked words, by all of them together."""
        return together(self.p_values.values())


def examine_words(words: npt.NDArray[Any], modulus: int, *, known: npt.NDArray[Any] | None = None) -> UniformityTest:
    """Compare words with uniform ones.

    Args:
        words: integers from 0 to below the modulus, shape (d,), as they travelled.
        modulus: 16 to 2^64, a power of two or not.
        known: the vector that they should hide: signed integers, shape (d,).

    Returns:
        P-values by name.

    Raises:
        ConfigurationError: words that do not lie below the modulus, or a known vector that does not fit them.

    Guarantees:
        1. Independent uniform words get a p-value below a level with no more than that probability: proved for `small`
           and `repeats`, enumerated for `high` and `low` down to 10^−12, simulated for `known`.
        2. Small plain numbers, whether negative or not, get one below 10^−12 from 64 words on.

    >>> plain = np.arange(-32, 32) * 1000
    >>> examine_words((plain % 2**32).astype(np.uint32), 2**32).p_value < 1e-12
    True
    """
    found = _checked(words, modulus)
    count = len(found)
    fewest, most = _BINS
    # The largest power of two that leaves enough words to a bin, and two residues at least.
    bins = min(most, 1 << max(1, count // _PER_BIN).bit_length() - 1, 1 << modulus.bit_length() - 2)
    bins = bins if bins >= fewest else 0
    p_values = {}
    if bins:
        width = np.uint64(modulus // bins)
        whole = found[found <= np.uint64(bins * int(width) - 1)]
        p_values["high"] = _pairs(whole // width, bins)
        p_values["low"] = _pairs(whole & np.uint64(bins - 1), bins)
    p_values["small"] = _small(found, modulus)
    p_values["repeats"] = _repeats(found, modulus)
    if known is not None:
        vector = np.asarray(known)
        if vector.shape != found.shape or vector.dtype.kind not in "iu":
            raise ConfigurationError(
                f"known has shape {vector.shape} of {vector.dtype}: {count} integers work, one for each word"
            )
        p_values["known"] = _together_with(found, modulus, vector)
        p_values["known-repeats"] = _repeats(_less(found, vector, modulus), modulus)
    return UniformityTest(words=count, modulus=modulus, bins=bins, p_values=p_values)


def _pairs(bins_of_words: Words, bins: int) -> float:
    """P-value of as many pairs in the same of equally likely bins, or more.

    That a pair falls together has the probability 1/B, whatever another pair does; only triples that share their words
    depend on each other. So the first three moments are exact.
    """
    counts = np.bincount(bins_of_words.astype(np.int64), minlength=bins)
    n, q = len(bins_of_words), 1 / bins
    pairs = n * (n - 1) / 2
    alike = int((counts * (counts - 1) // 2).sum())
    variance = pairs * q * (1 - q)
    third = variance * (1 - 2 * q) + 2 * pairs * (n - 2) * q**2 * (1 - q)
    return skewed_upper(alike - 0.5, mean=pairs * q, variance=variance, third=third)


def _small(words: Words, modulus: int) -> float:
    """P-value of as many words as near to 0, on either side, by halves of the range; of all halves together."""
    magnitudes = np.sort(np.minimum(words, _negated(words, modulus)))
    found = []
    for halvings in range(1, modulus.bit_length()):
        reach = modulus >> halvings + 1
        hits = int(np.searchsorted(magnitudes, np.uint64(reach), side="right"))
        found.append(binomial_upper(hits, len(words), min(1.0, (2 * reach + 1) / modulus)) if hits else 1.0)
    return together(found)


def _repeats(words: Words, modulus: int) -> float:
    """P-value of as many words that were there before.

    Whatever came before, the i-th word is one of at most i − 1. So repeats are no more than a sum of independent draws
    of (i − 1)/M, and beyond its mean such a sum exceeds no more often than a binomial of the same mean (Hoeffding 1956,
    Theorem 5).
    """
    count = len(words)
    repeats = count - len(np.unique(words))
    chance = (count - 1) / (2 * modulus)
    return 1.0 if repeats < count * chance + 1 else binomial_upper(repeats, count, chance)


def _together_with(words: Words, modulus: int, vector: npt.NDArray[Any]) -> float:
    """P-value of words that rise, or fall, with the known vector.

    Of uniform words every order is equally likely. So the sum of ranks times known numbers has mean 0 and an exact
    variance once both are centred, ties included; and its tails are lighter than normal, as those of ranks are.
    """
    # In the order of signed numbers: those from half the modulus up are negative, and come first.
    below = np.uint64((modulus + 1) // 2)
    order = np.where(words < below, words, words - np.uint64(modulus % MOST_MODULUS)).view(np.int64)
    _, places, ties = np.unique(order, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]
    ranks -= ranks.mean()
    numbers = vector.astype(np.float64)
    numbers -= numbers.mean()
    scale = math.sqrt(float(ranks @ ranks) * float(numbers @ numbers) / max(1, len(words) - 1))
    return min(1.0, 2 * normal_cdf(-abs(float(ranks @ numbers)) / scale)) if scale else 1.0


def _less(words: Words, vector: npt.NDArray[Any], modulus: int) -> Words:
    """Words − vector modulo the modulus."""
    if modulus == MOST_MODULUS:
        return words - vector.astype(np.uint64)
    taken = (vector % modulus).astype(np.uint64) if vector.dtype.kind == "u" else _residues(vector, modulus)
    return np.where(words >= taken, words - taken, words + (np.uint64(modulus) - taken))


def _residues(vector: npt.NDArray[Any], modulus: int) -> Words:
    """Signed numbers modulo a modulus that may not fit into them."""
    magnitudes = np.abs(vector.astype(np.int64)).view(np.uint64) % np.uint64(modulus)
    return np.where((vector < 0) & (magnitudes > 0), np.uint64(modulus) - magnitudes, magnitudes)


def _negated(words: Words, modulus: int) -> Words:
    """M − w, and 0 for 0. Wraps on purpose where M is 2^64."""
    return np.where(words > 0, np.uint64(modulus % MOST_MODULUS) - words, words)


def _checked(words: npt.NDArray[Any], modulus: int) -> Words:
    check_whole("modulus", modulus, LEAST_MODULUS, MOST_MODULUS, such_as="2**32")
    found = np.asarray(words)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise ConfigurationError(f"words are {found.dtype} of shape {found.shape}: integers in one row work")
    if int(found.min()) < 0 or int(found.max()) >= modulus:
        raise ConfigurationError(f"words go from {found.min()} to {found.max()}: 0 to {modulus - 1} works")
    return found.astype(np.uint64)
