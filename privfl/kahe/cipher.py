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
from privfl.kahe.noise import Gaussian
from privfl.kahe.ring import BATCH, Integers, N, Products, centred_high_bits, exact, split
from privfl.primitives.entropy import Entropy
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, AddMasks, Stream, sweep
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest

BLOCK: Final = bitpack.BLOCK
"""Coordinates that are worked on together: whole polynomials, and a block of the packed form."""

_NOISE_BATCH: Final = 1 << 17

Words = npt.NDArray[np.uint32]
Store = Callable[[int, Words], None]
"""Writes the vector's residues from a coordinate on into an array."""


def draw_key(entropy: Entropy) -> npt.NDArray[np.int8]:
    """Draw a one-time key: int8, shape (N,), in paired order."""
    return _gaussian(*_two_keys(entropy), N).draw(N)


def encrypt(
    key: npt.NDArray[np.int8],
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
    public = _public_key(session)
    factor, largest = key.astype(np.int64), 1 << (ring.bits - 1)
    # At 32 bits one key in 2^56 is too long for whole products: it is used like any other, in two halves.
    whole = exact(largest, float(np.linalg.norm(factor)))
    # Keys of the errors' streams: two for each block, drawn in order and used there only.
    seeds = [_two_keys(entropy) for _ in range(0, length, BLOCK)]

    def visit(start: int, stop: int, _add_masks: AddMasks) -> None:
        block = np.zeros(-(-(stop - start) // N) * N, np.uint32)
        store(start, block[: stop - start])
        np.left_shift(block, np.uint32(scale_bits), out=block)
        _add_errors(block, _gaussian(*seeds[start // BLOCK], _NOISE_BATCH))
        stream = Stream(public, 4 * start)
        if whole:
            _add_products(block, stream, Products(factor, largest=largest), ring.bits)
        else:
            _add_products_of_halves(block, stream, Products(factor, largest=1 << 15), ring.bits)
        block[stop - start :] = 0  # coefficients that nobody needs are not sent
        if ring.packed:
            first, last = (bitpack.packed_words(i, ring.bits, 32) for i in (start, stop))
            columns = -(-(stop - start) // 32) * 32
            bitpack.pack_block(block[:columns], ring.bits, out[first:last])
        else:
            out[start:stop] = block[: stop - start]

    sweep(length, np.uint32, (), visit, piece=BLOCK, workers=workers)


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
    public, sums = _public_key(session), np.empty(len(total), np.int64)
    Products(key_sum, largest=1 << 15)  # refused here rather than in a thread

    def visit(start: int, stop: int, _add_masks: AddMasks) -> None:
        block = np.zeros(-(-(stop - start) // N) * N, np.uint32)
        _add_products_of_halves(block, Stream(public, 4 * start), Products(key_sum, largest=1 << 15), ring.bits)
        np.subtract(total[start:stop], block[: stop - start], out=block[: stop - start])
        scaled = ring.centred(block[: stop - start])
        # Adding half of Δ rounds to the nearest; the shift of a signed number rounds down.
        np.right_shift(scaled + ((1 << scale_bits) >> 1), scale_bits, out=sums[start:stop])

    sweep(len(total), np.uint32, (), visit, piece=BLOCK, workers=workers)
    return sums


def _public_key(session: bytes) -> Secret:
    # Public, like everything that follows from the session id; the type is that of all stream keys.
    return Secret(digest(Label.KAHE_PUBLIC, session)[:PRG_KEY_BYTES])


def _two_keys(entropy: Entropy) -> tuple[Secret, Secret]:
    return Secret(entropy.token_bytes(PRG_KEY_BYTES)), Secret(entropy.token_bytes(PRG_KEY_BYTES))


def _gaussian(coarse: Secret, fine: Secret, largest_batch: int) -> Gaussian:
    return Gaussian(Stream(coarse), Stream(fine), largest_batch=largest_batch)


def _add_errors(block: Words, source: Gaussian) -> None:
    signed = block.view(np.int32)
    for start in range(0, len(block), _NOISE_BATCH):
        part = signed[start : start + _NOISE_BATCH]
        np.add(part, source.draw(len(part)), out=part)


def _add_products(block: Words, public: Stream, products: Products, bits: int) -> None:
    table = block.reshape(-1, N)
    words, polynomials = np.empty((BATCH, N), np.uint32), np.empty((BATCH, N), np.int32)
    for start in range(0, len(table), BATCH):
        rows = table[start : start + BATCH]
        public.fill(words[: len(rows)])
        centred_high_bits(words[: len(rows)], bits, polynomials[: len(rows)])
        products.add(polynomials[: len(rows)], rows)


def _add_products_of_halves(block: Words, public: Stream, products: Products, bits: int) -> None:
    table = block.reshape(-1, N)
    words, polynomials = np.empty((BATCH, N), np.uint32), np.empty((BATCH, N), np.int32)
    low, high = np.empty((BATCH, N), np.int32), np.empty((BATCH, N), np.int32)
    shifted = np.empty((BATCH, N), np.uint32)
    for start in range(0, len(table), BATCH):
        rows = table[start : start + BATCH]
        count = len(rows)
        public.fill(words[:count])
        centred_high_bits(words[:count], bits, polynomials[:count])
        split(polynomials[:count], low[:count], high[:count])
        shifted[:count] = 0
        products.add(high[:count], shifted[:count])
        np.left_shift(shifted[:count], np.uint32(16), out=shifted[:count])
        rows += shifted[:count]
        products.add(low[:count], rows)
