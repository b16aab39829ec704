"""What hides the errors of a sum from those who open it: whole numbers with a very wide discrete Gaussian distribution.

A sum decrypts to Δ·Σx plus the ciphertexts' errors, and those are made of the key: published as it is, it gives the key
away (Li and Micciancio, EUROCRYPT 2021). So every member adds a flood to its share of the decryption, wide enough that
what lies beneath no longer shows, and exact to its last bit: a floating-point flood would leave the low bits bare.

*How wide.* With errors of standard deviation E in each of m coefficients and Q openings under one key, a flood of
standard deviation

    F = √(24·m·Q) · 2^(s/2) · E

makes the released sums s bits secure in the sense of Li, Micciancio, Schultz and Sorrell (CRYPTO 2022, §4.4), who count
bits of statistical security as Micciancio and Walter do (EUROCRYPT 2018): by the square of an advantage. In plain
terms, the Kullback–Leibler divergence between what is opened with the errors and without them, m·Q·E²/(2F²), is
2^−s/48, and the advantage of any distinguisher at most their statistical distance, below 2^(−s/2)/9.

*How it is drawn.* From a narrow discrete Gaussian y of standard deviation 20 as y₀ + 9·y₁ + 9²·y₂ + … + t·y_k. By the
convolution theorem (Peikert, CRYPTO 2010, theorem 3.1; Micciancio and Peikert, CRYPTO 2013) that is a discrete Gaussian
over all whole numbers, to within 2^−128 a step, if every standard deviation exceeds the smoothing parameter of what is
added to it: with η = 2.13 for ε = 2^−128, steps σ → τ·ℤ with 1/σ² + 1/(20·τ)² ≤ 1/(η·τ)², which 9 and every last step
t ≤ 0.466·σ satisfy. Every draw of y takes 16 to 144 pseudorandom bits, one of the sum more than 128.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from privfl.ckks.modulus import PRIMES, Modulus, Residues, times
from privfl.primitives.entropy import Entropy
from privfl.primitives.sampling import gaussian, sampler

NARROW_STD: Final = 20.0
STEP: Final = 9
_WORD: Final = 1 << 52
"""Steps up to here are added up in 64-bit words: their sum stays below 272 · 2^52 · (1 + 9/8) < 2^62."""
_NARROW: Final = gaussian("20", 272)
_LAST_STEP: Final = 0.466
_BATCH: Final = 1 << 16


def wanted_std(error_std: float, *, coefficients: int, statistical_bits: int) -> float:
    """Return F for errors of a standard deviation E, m·Q coefficients that are opened under one key, and s."""
    return math.sqrt(24.0 * coefficients) * 2 ** (statistical_bits / 2) * error_std


@dataclass(frozen=True, slots=True)
class Flood:
    """How a flood is put together.

    Attributes:
        steps: multiples of the narrow draws, from 1; the last is what was missing.
    """

    steps: tuple[int, ...]

    @classmethod
    def at_least(cls, std: float) -> Flood:
        """Return the narrowest flood of at least that standard deviation."""
        # Squares are added up as whole numbers: with rounded ones, a remainder could never be reached.
        wanted, reached, steps = math.ceil((std / NARROW_STD) ** 2), 1, [1]
        while reached < wanted:
            largest = min(max(steps) * STEP, math.floor(_LAST_STEP * _std(steps)))
            steps.append(min(math.isqrt(wanted - reached - 1) + 1, largest))
            reached += steps[-1] ** 2
        return cls(tuple(steps))

    @property
    def std(self) -> float:
        """F, exactly."""
        return _std(self.steps)

    def residues(self, modulus: Modulus, count: int, entropy: Entropy) -> Residues:
        """Draw a flood for so many coefficients: its residues, int64, shape (2, count)."""
        flood = np.empty((PRIMES, count), np.int64)
        room = min(count, _BATCH)
        # Of each step's own keys, streams go on from batch to batch.
        narrow = [(step, sampler(_NARROW, entropy, room)) for step in self.steps]
        for start in range(0, count, room):
            part = flood[:, start : start + room]
            low = np.zeros(part.shape[1], np.int64)
            for step, draws in narrow:
                if step <= _WORD:
                    low += np.multiply(draws.draw(len(low)), np.int64(step), dtype=np.int64)
            part[:] = modulus.residues_of(low)
            for step, draws in narrow:
                if step > _WORD:
                    wide = draws.draw(len(low)).astype(np.int64)
                    pairs = [times(wide, step % prime, prime) for prime in modulus.primes]
                    modulus.add(part, np.stack(pairs))
        return flood


def _std(steps: list[int] | tuple[int, ...]) -> float:
    return NARROW_STD * math.sqrt(sum(step * step for step in steps))
