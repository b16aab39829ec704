"""The work that no implementation avoids, done barely: what the benchmarks measure against."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privfl.primitives.prg import CHUNK_BYTES

KEY = bytes(range(16))
ZEROS = bytes(CHUNK_BYTES)


def make_scratch():
    """A buffer of one chunk, made beforehand."""
    return np.empty(CHUNK_BYTES // 4, np.uint32)


def bare_loop(words, scratch):
    """One mask: AES-128-CTR expanded and added, chunk by chunk; no library code, one key schedule."""
    stream = Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor()
    step = len(scratch)
    for start in range(0, len(words), step):
        chunk = words[start : start + step]
        part = scratch[: len(chunk)]
        stream.update_into(ZEROS[: part.nbytes], part.view(np.uint8).data)
        np.add(chunk, part, out=chunk)


def add_upload(total, upload):
    """One upload: a vector added."""
    np.add(total, upload, out=total)


def transform_pairs(points, polynomials):
    """What exact products take: for each polynomial a transform there and one back, in one batch that stays in cache.

    Args:
        points: complex128, shape (polynomials of a batch, N/2), changed in place.
        polynomials: how many to transform.
    """
    for _ in range(0, polynomials, len(points)):
        np.fft.fft(points, axis=-1, norm="ortho", out=points)
        np.fft.ifft(points, axis=-1, norm="ortho", out=points)


def transform_products(points, room, polynomials, products):
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
