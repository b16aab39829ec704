"""The work that no implementation avoids, done barely: what goals and benchmarks measure against.

Nothing here is the library's own code, so that a limit does not move with what is measured against it: the cipher is
OpenSSL's, everything else numpy's. Buffers are made beforehand and stay in the cache. No secret comes near it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

CHUNK_BYTES: Final = 256 * 1024
"""Half of a small L2 cache: for a piece of the vector, with as much beside it."""
KEY: Final = bytes(range(16))
_ZEROS: Final = bytes(CHUNK_BYTES)

Words = npt.NDArray[Any]
Points = npt.NDArray[np.complex128]


def make_scratch() -> npt.NDArray[np.uint32]:
    """Return a buffer of one chunk."""
    return np.empty(CHUNK_BYTES // 4, np.uint32)


def bare_loop(words: Words, scratch: Words) -> None:
    """One mask: AES-128-CTR expanded and added, chunk by chunk, with one key schedule.

    Args:
        words: uint32, shape (m,), changed in place.
        scratch: as of `make_scratch`.
    """
    stream = _stream()
    step = len(scratch)
    for start in range(0, len(words), step):
        chunk = words[start : start + step]
        part = scratch[: len(chunk)]
        stream.update_into(_ZEROS[: part.nbytes], part.view(np.uint8).data)
        np.add(chunk, part, out=chunk)


def add_upload(total: Words, upload: Words) -> None:
    """One upload: a vector added."""
    np.add(total, upload, out=total)


def transform_pairs(points: Points, polynomials: int) -> None:
    """What exact products take: for each polynomial a transform there and one back, in one batch that stays in cache.

    Args:
        points: complex128, shape (polynomials of a batch, N/2), changed in place.
        polynomials: how many to transform.
    """
    for _ in range(0, polynomials, len(points)):
        np.fft.fft(points, axis=-1, norm="ortho", out=points)
        np.fft.ifft(points, axis=-1, norm="ortho", out=points)


def transform_products(points: Points, room: Points, polynomials: int, products: int) -> None:
    """What several products of one polynomial take: a transform there, and one back for each product.

    Args:
        points: complex128, shape (polynomials of a batch, N/2), changed in place.
        room: another such array, for what comes back.
        polynomials: how many to transform.
        products: how many products of each.
    """
    for _ in range(0, polynomials, len(points)):
        np.fft.fft(points, axis=-1, norm="ortho", out=points)
        for _ in range(products):
            np.fft.ifft(points, axis=-1, norm="ortho", out=room)


def draw_and_add(total: Words, table: Words) -> None:
    """Noise: 16 pseudorandom bits a draw, looked up in a table and added, 2^14 draws at a time.

    Args:
        total: integers, shape (m,), changed in place.
        table: shape (2^16,), of an integer type that `total` takes.
    """
    stream, step = _stream(), 1 << 14
    indices, values = np.empty(step, np.uint16), np.empty(step, table.dtype)
    for start in range(0, len(total), step):
        chunk = total[start : start + step]
        part, drawn = indices[: len(chunk)], values[: len(chunk)]
        stream.update_into(_ZEROS[: part.nbytes], part.view(np.uint8).data)
        table.take(part, out=drawn, mode="wrap")
        np.add(chunk, drawn, out=chunk)


def cut_words(words: Words, bits: int, out: Words, scratch: Words) -> None:
    """Packing: every word shifted into its place once, and put with what stands there, in rows that stay in cache.

    Args:
        words: uint32, shape (m,), m a multiple of 32.
        bits: of a packed value, below 32.
        out: uint32, shape (m/32·bits,).
        scratch: uint32, shape (m/32,).
    """
    rows, packed = words.reshape(32, -1), out.reshape(bits, -1)
    for i, row in enumerate(rows):
        np.left_shift(row, np.uint32(i), out=scratch)
        column = packed[i * bits // 32]
        np.bitwise_or(column, scratch, out=column)


def products_in_the_field(table: Words, indices: Words, out: Words, times: int) -> None:
    """Secret sharing: so many products in GF(2^8), by one look-up each in the table of all products.

    Args:
        table: uint8, shape (2^16,).
        indices: uint16 or wider, any shape: both factors of each product side by side.
        out: uint8, of that shape.
        times: how often.
    """
    for _ in range(times):
        table.take(indices, out=out, mode="wrap")


def small_products(values: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64], room: Words, passes: int) -> None:
    """A rotation: every coordinate goes through so many products with a small matrix, in pieces that stay in the cache.

    Args:
        values: float64, shape (m,), m a multiple of the matrix' order.
        matrix: float64, shape (order, order).
        room: float64, a piece, as many numbers as divide m; what comes out is of no use.
        passes: products that each coordinate goes through.
    """
    order = len(matrix)
    out = room.reshape(-1, order)
    for start in range(0, len(values), len(room)):
        piece = values[start : start + len(room)].reshape(-1, order)
        for _ in range(passes):
            np.matmul(piece, matrix, out=out)


def _stream() -> CipherContext:
    # One key for everything is safe: what comes out hides nothing.
    return Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor()
