"""The pseudorandom generator: AES-128-CTR, added straight into the vector that it masks.

The working set is one chunk of the vector plus one chunk of scratch, both in the L2 cache: for each chunk, every
stream is expanded and added before the next chunk is touched, so that the vector crosses the memory bus once,
whatever the number of masks. `cryptography` and numpy release the interpreter lock inside, so that `workers` threads
run side by side on disjoint ranges.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
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
_WORDS: Final = (np.uint32, np.uint64)

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


AddMasks = Callable[[Words], None]
"""Adds the masks' words of one piece of the vector to an array of exactly that length."""


def apply_masks(words: Words, masks: Sequence[Mask], *, workers: int = 1) -> None:
    """Add masks to a vector in place: words ± PRG(key) modulo the word size, for each mask.

    Args:
        words: uint32 or uint64, shape (m,), contiguous, changed in place.
        masks: the streams; word i of a stream is its bytes [i·w, (i+1)·w), little-endian.
        workers: threads to spread the vector over; 1 starts none.
    """
    if words.ndim != 1 or words.dtype not in _WORDS or not words.flags.c_contiguous:
        raise ValueError("masks go over a contiguous one-dimensional array of uint32 or uint64")
    if masks:
        sweep(
            len(words),
            words.dtype,
            masks,
            lambda start, stop, add_masks: add_masks(words[start:stop]),
            workers=workers,
        )


def sweep(
    length: int,
    dtype: npt.DTypeLike,
    masks: Sequence[Mask],
    visit: Callable[[int, int, AddMasks], None],
    *,
    piece: int = 0,
    workers: int = 1,
) -> None:
    """Walk over a vector piece by piece, with the masks of each piece at hand.

    For whoever makes the vector, masks it and sends it on in one pass: each piece is still in the cache when its turn
    is over.

    Args:
        length: words of the vector.
        dtype: uint32 or uint64.
        masks: the streams, as for `apply_masks`.
        visit: called with start and stop of each piece, and with the function that adds the masks to an array of
            stop − start words; that function is to be called once.
        piece: words of a piece, a multiple of `CHUNK_BYTES`; one chunk unless given. The last may be shorter.
        workers: threads to spread the vector over; each visits a range of its own in ascending order. 1 starts none.
    """
    word = np.dtype(dtype)
    if word not in _WORDS:
        raise ValueError("masks are words of uint32 or uint64")
    piece = piece or CHUNK_BYTES // word.itemsize
    if piece * word.itemsize % CHUNK_BYTES:  # so that workers begin at whole cipher blocks
        raise ValueError(f"a piece is made of whole chunks of {CHUNK_BYTES} bytes")

    def walk(first: int, last: int) -> None:
        expansion = _Expansion(masks, word, first, min(last - first, CHUNK_BYTES // word.itemsize))
        for start in range(first, last, piece):
            visit(start, min(start + piece, last), expansion.add)

    spread(length, piece, walk, workers=workers)


def spread(length: int, piece: int, walk: Callable[[int, int], None], *, workers: int = 1) -> None:
    """Share a vector out among threads: each walks over one range of whole pieces.

    Args:
        length: words of the vector.
        piece: words of a piece; the vector's last may be shorter.
        walk: called with first and last of a range, once in each thread; errors are raised again here.
        workers: threads; 1 starts none.
    """
    ranges = _ranges(length, piece, workers)
    if len(ranges) == 1:
        walk(*ranges[0])
        return

    shares = _processors(len(ranges))

    def walk_apart(thread: int, first: int, last: int) -> None:
        _keep_to(shares[thread])
        walk(first, last)

    with ThreadPoolExecutor(len(ranges)) as pool:
        for job in [pool.submit(walk_apart, i, first, last) for i, (first, last) in enumerate(ranges)]:
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


class Stream:
    """The pseudorandom bytes of one key, in order: for whoever needs them as numbers of its own.

    Args:
        key: 16 bytes; this stream is the only thing ever drawn from it, by whichever means.
        first_byte: where to begin, a multiple of 16.
    """

    def __init__(self, key: Secret, first_byte: int = 0) -> None:
        if first_byte % _BLOCK_BYTES:
            raise ValueError(f"a stream begins at a whole block of {_BLOCK_BYTES} bytes")
        self._stream = _stream(key, first_byte)

    def fill(self, out: npt.NDArray[Any]) -> None:
        """Fill a contiguous array of integers with the stream's next bytes."""
        target = out.reshape(-1).view(np.uint8)
        for start in range(0, len(target), CHUNK_BYTES):
            part = target[start : start + CHUNK_BYTES]
            self._stream.update_into(_ZEROS if len(part) == CHUNK_BYTES else _ZEROS[: len(part)], part.data)


class _Expansion:
    """The streams of a range of the vector, in step."""

    def __init__(self, masks: Sequence[Mask], word: np.dtype[Any], first: int, longest: int) -> None:
        self._streams = [
            (_stream(mask.key, first * word.itemsize), np.subtract if mask.negative else np.add) for mask in masks
        ]
        self._scratch = np.empty(longest, word)

    def add(self, words: Words) -> None:
        """Add the streams' next words; the vector stays in the cache from the first stream to the last."""
        step = len(self._scratch)
        for start in range(0, len(words), step):
            chunk = words[start : start + step]
            part = self._scratch[: len(chunk)]
            target = part.view(np.uint8).data
            zeros = _ZEROS if part.nbytes == CHUNK_BYTES else _ZEROS[: part.nbytes]
            for stream, combine in self._streams:
                stream.update_into(zeros, target)
                combine(chunk, part, out=chunk)  # unsigned arrays wrap: arithmetic modulo 2^32 or 2^64


def _stream(key: Secret, first_byte: int) -> CipherContext:
    # The zero IV is safe because the key is single-use: no other stream is ever drawn from it. A worker that starts
    # inside the vector starts the counter at its own block, and so continues the same stream.
    if len(key) != PRG_KEY_BYTES:
        raise ValueError(f"a stream key of {len(key)} bytes where {PRG_KEY_BYTES} are due")
    counter = (first_byte // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
    return Cipher(algorithms.AES(key.reveal()), modes.CTR(counter)).encryptor()


def _processors(count: int) -> list[set[int]]:
    """Share this thread's processors out among `count` threads."""
    ours = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [set(ours[i::count]) for i in range(count)]


def _keep_to(processors: set[int]) -> None:
    """Keep this thread to some processors; a hint, that may be refused.

    Threads that wait for the interpreter lock again and again, for microseconds, are woken where the lock was let go:
    left to itself, Linux gathers them on one processor.
    """
    if processors:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, processors)


def _ranges(length: int, piece: int, workers: int) -> list[tuple[int, int]]:
    pieces = -(-length // piece)
    workers = max(1, min(workers, pieces))
    cuts = [min(length, pieces * i // workers * piece) for i in range(workers + 1)]
    return list(pairwise(cuts))
