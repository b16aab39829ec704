"""Single values of kahe: draws of the sampler, public polynomials, products, ciphertexts and their sums.

What is long is abridged (`script.abridged`). Public polynomials and products are read off the decryption of nothing:
with the key sum −S and Δ = 1, zeros open to a · S.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count as counting
from typing import Any

import numpy as np
import numpy.typing as npt

from known_answers import reference_kahe
from known_answers.recording import seeded
from known_answers.script import abridged
from privfl.encoding.residues import Ring
from privfl.kahe import cipher
from privfl.kahe.noise import Gaussian, thresholds
from privfl.kahe.ring import N
from privfl.primitives.prg import Stream
from privfl.primitives.secret import Secret
from privfl.testing import UnsafeFixedEntropy

SESSION = seeded("values", "session")
DRAWS = 40

Cases = list[tuple[str, dict[str, Any]]]


# -- the functions ----------------------------------------------------------------------------------------------------


def gaussian(*, coarse: bytes, fine: bytes, count: int) -> list[int]:
    source = Gaussian(Stream(Secret(coarse)), Stream(Secret(fine)), largest_batch=count)
    return source.draw(count).tolist()


def products(*, session: bytes, bits: int, count: int, factor: npt.NDArray[np.int64]) -> dict[str, Any] | list[int]:
    """The first products of public polynomials with a factor, one behind the other, centred modulo 2^bits."""
    zeros = np.zeros(count * N, np.uint32)
    opened = cipher.decrypt(zeros, -factor, ring=Ring(bits), scale_bits=0, session=session)
    return abridged(opened.tolist())


def public_polynomials(*, session: bytes, bits: int, count: int) -> dict[str, Any] | list[int]:
    one = np.zeros(N, np.int64)
    one[0] = 1
    return products(session=session, bits=bits, count=count, factor=one)


def public_products(*, session: bytes, bits: int, count: int, coarse: bytes, fine: bytes) -> Any:
    factor = np.array(gaussian(coarse=coarse, fine=fine, count=N), np.int64)
    return products(session=session, bits=bits, count=count, factor=factor)


def encrypt(
    *, entropy: bytes, session: bytes, vector: list[int], length: int, bits: int, scale_bits: int, workers: int
) -> dict[str, Any] | list[int]:
    """The words of a ciphertext as they travel; the vector is repeated up to the length."""
    ring, whole, fixed = Ring(bits), np.resize(np.array(vector, np.int64), length), UnsafeFixedEntropy(entropy)
    out = np.zeros(ring.vector_bytes(length) // 4, np.uint32)
    cipher.encrypt(
        cipher.draw_key(fixed),
        lambda start, room: ring.store(whole[start : start + len(room)], room),
        out,
        length=length,
        ring=ring,
        scale_bits=scale_bits,
        session=session,
        entropy=fixed,
        workers=workers,
    )
    return abridged(out.tolist())


def decrypt(*, session: bytes, total: list[int], key_sum: list[int], bits: int, scale_bits: int) -> list[int]:
    """What a total opens to, under a sum of keys whose further coefficients are zeros."""
    keys = np.zeros(N, np.int64)
    keys[: len(key_sum)] = key_sum
    words = np.array(total, np.uint32)
    return cipher.decrypt(words, keys, ring=Ring(bits), scale_bits=scale_bits, session=session).tolist()


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "gaussian_thresholds": lambda: [step.to_bytes(19, "big") for step in thresholds()],
    "gaussian": gaussian,
    "public_polynomials": public_polynomials,
    "public_products": public_products,
    "encrypt": encrypt,
    "decrypt": decrypt,
}


# -- the tables -------------------------------------------------------------------------------------------------------


def draws() -> Cases:
    """Streams of which one draw is settled by its further bits: downwards, upwards, among more than two values."""
    wanted = (
        keys_of_a_draw(lambda low, value, _: value == low),
        keys_of_a_draw(lambda low, value, _: value > low),
        keys_of_a_draw(lambda low, _, high: high > low + 1),
    )
    return [("gaussian_thresholds", {}), *(("gaussian", keys | {"count": DRAWS}) for keys in wanted)]


def keys_of_a_draw(wanted: Callable[[int, int, int], bool]) -> dict[str, bytes]:
    """The first keys among whose first draws is one as wanted: smallest value, the one drawn, largest."""
    candidates = ({name: seeded("values", name, i, length=16) for name in ("coarse", "fine")} for i in counting())
    return next(
        keys
        for keys in candidates
        if any(wanted(*draw) for draw in reference_kahe.unsettled(keys["coarse"], keys["fine"], DRAWS))
    )


def polynomials() -> Cases:
    public: dict[str, Any] = {"session": SESSION, "bits": 32, "count": 1}
    keys = {name: seeded("values", "factor", name, length=16) for name in ("coarse", "fine")}
    return [
        ("public_polynomials", public),
        ("public_polynomials", public | {"bits": 20, "count": 2}),
        ("public_products", public | keys),
        ("public_products", public | keys | {"bits": 20, "count": 20}),
    ]


def ciphertexts() -> Cases:
    """Short ones, one that ends in its second polynomial, two whose errors come from the streams of a second block."""
    common: dict[str, Any] = {
        "entropy": seeded("values", "kahe entropy", length=16),
        "session": SESSION,
        "vector": [1000, -1000, 0, 1, -1, 999, 7],
    }
    encrypted = [
        ("encrypt", common | {"length": length, "bits": bits, "scale_bits": scale_bits, "workers": workers})
        for length, bits, scale_bits, workers in (
            (3, 32, 19, 1),
            (3, 20, 6, 1),
            (70, 23, 9, 1),
            (2500, 31, 18, 1),
            (cipher.BLOCK + 3, 32, 19, 2),
            (cipher.BLOCK + 70, 23, 9, 1),
        )
    ]
    halves = [0, 7, 8, 9, 2**24 - 7, 2**24 - 8, 2**24 - 9, 2**23 - 1, 2**23, 2**32 - 9]
    opened = {"session": SESSION, "total": halves, "bits": 24, "scale_bits": 4}
    return encrypted + [("decrypt", opened | {"key_sum": key_sum}) for key_sum in ([0], [1, -3, 0, 640, -640])]


TABLES: dict[str, tuple[str, Callable[[], Cases]]] = {
    "kahe_draws": ("the discrete Gaussian: its thresholds, and draws from pairs of streams", draws),
    "kahe_polynomials": ("public polynomials, and their products with a Gaussian factor", polynomials),
    "kahe_ciphertexts": ("vectors encrypted from fixed entropy, and totals opened to the nearest number", ciphertexts),
}
