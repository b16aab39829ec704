"""Encrypting a vector under a one-time key, and reading a sum of such vectors with the sum of their keys.

A vector of m coordinates is cut into polynomials of N; with public uniform polynomials a_l, the client's key s and
fresh errors e_l, all of whose coefficients are discrete Gaussians of standard deviation 6.5,

    c_l = a_l · s + e_l + Δ · x_l   modulo X^N + 1 and q = 2^b,

of which the coefficients beyond m are not sent. Sums of ciphertexts are ciphertexts of sums under sums of keys, so that
Σ c_l − a_l · Σ s = Δ · Σ x_l + Σ e_l. The a_l are an AES-128-CTR expansion of a digest of the session id, which nobody
chooses and no two sessions share; s is drawn for one upload and forgotten with it.

References:
    ACORN (Bell et al., USENIX Security 2023), §4; Kim, Lee, Seo, Song, CRYPTO 2023 (what the sum of keys tells).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding import bitpack
from privfl.encoding.residues import Ring
from privfl.kahe.noise import Gaussian, distribution
from privfl.kahe.ring import BATCH, N, Products, centred_high_bits, exact, split
from privfl.lattice.fourier import Integers
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Stream, spread
from privfl.primitives.sampling import Draws, sampler, stream_keys
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest

BLOCK: Final = bitpack.BLOCK
"""Coordinates that are worked on together: whole polynomials, and a block of the packed form."""

_STEP: Final = BATCH * N

Words = npt.NDArray[np.uint32]
Store = Callable[[int, Words], None]
"""Writes the vector's residues from a coordinate on into an array."""


def draw_key(entropy: Entropy) -> Draws:
    """Draw a one-time key: int8, shape (N,), in paired order."""
    return sampler(distribution(), entropy, N).draw(N)


def encrypt(
    key: Draws,
    store: Store,
    out: npt.NDArray[Any],
    *,
    length: int,
    ring: Ring,
    scale_bits: int,
    session: bytes,
    entropy: Entropy,
    workers: int = 1,
) -> None:
    """Encrypt a vector.

    Args:
        key: as `draw_key` made it; encrypts this vector and nothing else.
        store: writes the vector's residues.
        out: uint32, the ciphertext as it travels, `ring.vector_bytes(length)` bytes.
        length: m.
        ring: its b bits, up to 32; packed or not.
        scale_bits: log₂ Δ.
        session: the session id.
        entropy: source of the errors.
        workers: threads; 1 starts none.
    """
    factor = key.astype(np.int64)
    # At 32 bits one key in 2^54 is too long for whole products: it is used like any other, in two halves.
    whole = exact(1 << (ring.bits - 1), float(np.linalg.norm(factor)))
    # Keys of the errors' streams: two for each block, drawn in order and used there only.
    seeds = [stream_keys(entropy) for _ in range(0, length, BLOCK)]

    def walk(first: int, last: int) -> None:
        products = _PublicProducts(session, first, factor, ring.bits, whole=whole)
        room, step = np.empty(BLOCK if ring.packed else 0, np.uint32), np.empty(_STEP, np.uint32)
        for start in range(first, last, BLOCK):
            stop = min(start + BLOCK, last)
            block = room[: -(-(stop - start) // 32) * 32] if ring.packed else out[start:stop]
            errors = Gaussian(*(Stream(seed) for seed in seeds[start // BLOCK]), largest_batch=_STEP)
            for begin in range(start, stop, _STEP):
                end = min(begin + _STEP, stop)
                part = step[: -(-(end - begin) // N) * N]
                store(begin, part[: end - begin])
                part[end - begin :] = 0
                np.left_shift(part, np.uint32(scale_bits), out=part)
                signed = part.view(np.int32)
                np.add(signed, errors.draw(len(part)), out=signed)
                products.add(part)
                # Of the last polynomial, the coefficients that nobody needs are not sent.
                block[begin - start : end - start] = part[: end - begin]
            if ring.packed:
                block[stop - start :] = 0
                place = slice(*(bitpack.packed_words(i, ring.bits, 32) for i in (start, stop)))
                bitpack.pack_block(block, ring.bits, out[place])

    spread(length, BLOCK, walk, workers=workers)


def decrypt(
    total: Words, key_sum: Integers, *, ring: Ring, scale_bits: int, session: bytes, workers: int = 1
) -> npt.NDArray[np.int64]:
    """Read the sum of encrypted vectors, to the nearest whole number.

    Args:
        total: the sum of ciphertexts, words whose bits from b up may hold anything; uint32, shape (m,).
        key_sum: the sum of exactly their keys, int64, shape (N,), in paired order.
        ring: as for `encrypt`.
        scale_bits: likewise.
        session: likewise.
        workers: likewise.

    Returns:
        int64, shape (m,).

    Raises:
        ValueError: the sum of keys is too large for exact products.
    """
    sums = np.empty(len(total), np.int64)

    def walk(first: int, last: int) -> None:
        products = _PublicProducts(session, first, -key_sum, ring.bits, whole=False)
        step = np.zeros(_STEP, np.uint32)
        for begin in range(first, last, _STEP):
            end = min(begin + _STEP, last)
            step[: end - begin] = total[begin:end]
            products.add(step[: -(-(end - begin) // N) * N])
            scaled = ring.centred(step[: end - begin])
            # Adding half of Δ rounds to the nearest; the shift of a signed number rounds down.
            np.right_shift(scaled + ((1 << scale_bits) >> 1), scale_bits, out=sums[begin:end])

    spread(len(total), _STEP, walk, workers=workers)
    return sums


class _PublicProducts:
    """Products of the public polynomials with one factor, in order. Holds workspace: one for each thread.

    Args:
        session: the session id.
        first: coordinate to begin at, that of a whole polynomial.
        factor: int64, shape (N,), in paired order.
        bits: b; a public coefficient is the high b bits of 32.
        whole: multiply at once; else the two halves of each public polynomial.

    Raises:
        ValueError: the products could be rounded wrongly.
    """

    def __init__(self, session: bytes, first: int, factor: Integers, bits: int, *, whole: bool) -> None:
        self._bits = bits
        self._stream = Stream(_public_key(session), 4 * first)
        self._products = Products(factor, largest=1 << (bits - 1 if whole else 15))
        self._words = np.empty((BATCH, N), np.uint32)
        self._halves = None if whole else np.empty((2, BATCH, N), np.int32)

    def add(self, words: Words) -> None:
        """Add the next products to whole polynomials, at most `BATCH`, modulo 2^32."""
        rows = words.reshape(-1, N)
        count = len(rows)
        uniform = self._words[:count]
        self._stream.fill(uniform)
        polynomials = uniform.view(np.int32)
        if self._bits < 32:  # all 32 are a residue as they are
            centred_high_bits(uniform, self._bits, polynomials)
        if self._halves is None:
            self._products.add(polynomials, rows)
            return
        low, high = self._halves[:, :count]
        split(polynomials, low, high)
        uniform[:] = 0
        self._products.add(high, uniform)
        np.left_shift(uniform, np.uint32(16), out=uniform)
        np.add(rows, uniform, out=rows)
        self._products.add(low, rows)


def _public_key(session: bytes) -> Secret:
    # Public, like everything that follows from the session id; the type is that of all stream keys.
    return Secret(digest(Label.KAHE_PUBLIC, session)[:PRG_KEY_BYTES])
