"""The pseudorandom generator: AES-128-CTR, added straight into the vector that it masks.

The working set is one chunk of the vector plus one chunk of scratch, both in the L2 cache: for each chunk, every
stream is expanded and added before the next chunk is touched, so that the vector crosses the memory bus once,
whatever the number of masks. `cryptography` and numpy release the interpreter lock inside, so that `workers` threads
run side by side on disjoint ranges.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from privfl.primitives.secret import Secret

PRG_KEY_BYTES: Final = 16
CHUNK_BYTES: Final = 256 * 1024
_BLOCK_BYTES: Final = 16
_ZEROS: Final = bytes(CHUNK_BYTES)

if sys.byteorder != "little":  # pragma: no cover - no such machine at hand
    raise ImportError("privfl reads pseudorandom words in place, which needs a little-endian machine")

Words = npt.NDArray[Any]
"""A one-dimensional, contiguous array of uint32 or uint64: residues modulo 2^32 or 2^64."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One stream to add to, or to subtract from, a vector.

    Attributes:
        key: 16 bytes; this stream is the only thing ever drawn from it.
        negative: subtract instead of add.
    """

    key: Secret
    negative: bool = False


def apply_masks(words: Words, masks: Sequence[Mask], *, workers: int = 1) -> None:
    """Add masks to a vector in place: words ± PRG(key) modulo the word size, for each mask.

    Args:
        words: uint32 or uint64, shape (m,), contiguous, changed in place.
        masks: the streams; word i of a stream is its bytes [i·w, (i+1)·w), little-endian.
        workers: threads to spread the vector over; 1 starts none.
    """
    if words.ndim != 1 or words.dtype not in (np.uint32, np.uint64) or not words.flags.c_contiguous:
        raise ValueError("masks go over a contiguous one-dimensional array of uint32 or uint64")
    if not masks:
        return
    pieces = _pieces(len(words), words.itemsize, workers)
    if len(pieces) == 1:
        _apply(words, masks, 0)
        return
    with ThreadPoolExecutor(len(pieces)) as pool:
        jobs = [pool.submit(_apply, words[a:b], masks, a * words.itemsize) for a, b in pieces]
        for job in jobs:
            job.result()


def public_words(seed: bytes, count: int) -> npt.NDArray[np.uint64]:
    """Expand a *public* seed into uint64 words, shape (count,): shared randomness that everyone may know.

    Args:
        seed: 16 bytes.
        count: words wanted.
    """
    words = np.zeros(count, np.uint64)
    apply_masks(words, [Mask(Secret(seed))])
    return words


def _apply(words: Words, masks: Sequence[Mask], first_byte: int) -> None:
    streams = [(_stream(mask.key, first_byte), np.subtract if mask.negative else np.add) for mask in masks]
    step = CHUNK_BYTES // words.itemsize
    scratch = np.empty(min(step, len(words)), words.dtype)
    for start in range(0, len(words), step):
        chunk = words[start : start + step]
        part = scratch[: len(chunk)]
        target = part.view(np.uint8).data
        zeros = _ZEROS if part.nbytes == CHUNK_BYTES else _ZEROS[: part.nbytes]
        for stream, combine in streams:
            stream.update_into(zeros, target)
            combine(chunk, part, out=chunk)  # unsigned arrays wrap: arithmetic modulo 2^32 or 2^64


def _stream(key: Secret, first_byte: int) -> CipherContext:
    # The zero IV is safe because the key is single-use: no other stream is ever drawn from it. A worker that starts
    # inside the vector starts the counter at its own block, and so continues the same stream.
    if len(key) != PRG_KEY_BYTES:
        raise ValueError(f"a stream key of {len(key)} bytes where {PRG_KEY_BYTES} are due")
    counter = (first_byte // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
    return Cipher(algorithms.AES(key.reveal()), modes.CTR(counter)).encryptor()


def _pieces(length: int, itemsize: int, workers: int) -> list[tuple[int, int]]:
    step = CHUNK_BYTES // itemsize  # pieces begin at whole chunks, and so at whole cipher blocks
    chunks = -(-length // step)
    workers = max(1, min(workers, chunks))
    cuts = [min(length, chunks * i // workers * step) for i in range(workers + 1)]
    return list(pairwise(cuts))
