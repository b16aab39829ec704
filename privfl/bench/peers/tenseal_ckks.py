"""CKKS as it is commonly used in federated learning: TenSEAL's high-level API under one key pair.

Why these are no suites: every client holds the same secret key, so the server and any one client together read every
other client's vector, and no minimum of contributors, no budget and no committee stands in between. And the key does
not stay with the clients either: it follows from what they publish. A decryption in CKKS is c₀ + c₁·s with its errors
left in, so whoever has the ciphertexts of two sums, as the server does, and the two sums as `decrypt` returned them
solves for s (Li and Micciancio, EUROCRYPT 2021; `notebooks/ckks_precision.ipynb` carries it out). They are here as
baselines of cost, under their own names.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import FixedPoint
from privfl.errors import ConfigurationError, DecodeError, MissingExtra

PROTECTION: Final = "one key for all clients; recoverable from a published aggregate"
CLIP: Final = 1.0
BITS: Final = 16
_INPUT_SEED: Final = 20_240_229
_LENGTH: Final = struct.Struct("<Q")

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensealPeer:
    """A single-key set-up.

    Attributes:
        name: how results name it.
        poly_modulus_degree: N; a ciphertext holds N/2 values.
        coeff_mod_bit_sizes: bits of the primes; the last one is for keys only.
        scale_bits: log₂ of the scale.
        symmetric: encrypt under the secret key, which is faster; under the public key otherwise.
        note: where the parameters come from.
    """

    name: str
    poly_modulus_degree: int
    coeff_mod_bit_sizes: tuple[int, ...]
    scale_bits: int
    symmetric: bool
    note: str

    def keys(self) -> SharedKey:
        """Make a key pair, which all clients would get.

        Raises:
            MissingExtra: TenSEAL is not installed.
        """
        return SharedKey(self)

    def measure(self, parameters: int, clients: int, repeat: int) -> dict[str, Any]:
        """Measure sessions of which nobody drops out; medians.

        Counted are: encrypting and writing, reading and adding, and what every client does with the encrypted sum that
        it is sent. Not counted are making the key, giving it to the clients, and weights.

        Args:
            parameters: values of a vector.
            clients: how many.
            repeat: sessions.

        Returns:
            A record, ready for JSON, with the keys of `privfl.bench.matrix`; `client_cpu_s` is of one client, and
            `upload_cpu_s` and `opening_cpu_s` are its parts.

        Raises:
            ConfigurationError: nothing to measure.
            MissingExtra: TenSEAL is not installed.
        """
        for key, value in (("parameters", parameters), ("clients", clients), ("repeat", repeat)):
            if value < 1:
                raise ConfigurationError(f"{key} is {value}: at least 1 works")
        runs = [_session(self.keys(), parameters, clients) for _ in range(repeat)]
        upload, opening, server = (
            statistics.median(getattr(run, part) for run in runs) for part in ("upload_s", "opening_s", "server_s")
        )
        return {
            "suite": self.name,
            "protection": PROTECTION,
            "clients": clients,
            "parameters": parameters,
            "dropout": 0.0,
            "contributors": clients,
            "client_cpu_s": upload + opening,
            "upload_cpu_s": upload,
            "opening_cpu_s": opening,
            "server_cpu_s": server,
            "upload_bytes": runs[0].upload_bytes,
            "download_bytes": runs[0].download_bytes,
            "upload_bytes_per_contributor": runs[0].upload_bytes / clients,
            "max_abs_error": max(run.max_abs_error for run in runs),
            "repeat": repeat,
            "note": self.note,
        }


TUTORIAL: Final = TensealPeer(
    name="tenseal-tutorial",
    poly_modulus_degree=8192,
    coeff_mod_bit_sizes=(60, 40, 40, 60),
    scale_bits=40,
    symmetric=False,
    note="TenSEAL's tutorials; public-key encryption, its default",
)
NVFLARE: Final = TensealPeer(
    name="tenseal-nvflare",
    poly_modulus_degree=8192,
    coeff_mod_bit_sizes=(60, 40, 40),
    scale_bits=40,
    symmetric=True,
    note="NVFlare's HEBuilder; it encrypts under the secret key, which all clients hold",
)
NVFLARE_PUBLIC: Final = TensealPeer(
    name="tenseal-nvflare-public-key",
    poly_modulus_degree=8192,
    coeff_mod_bit_sizes=(60, 40, 40),
    scale_bits=40,
    symmetric=False,
    note="NVFlare's parameters, but encrypted under the public key, as a client must that does not hold the secret one",
)
PEERS: Final = (NVFLARE, NVFLARE_PUBLIC, TUTORIAL)


class SharedKey:
    """A key as every client of a peer holds it, and what the server has: parameters, and no key.

    Vectors are cut into pieces of one ciphertext. TenSEAL does the same by itself, to the same bytes, and prints a
    warning on standard output when it does.
    """

    def __init__(self, peer: TensealPeer) -> None:
        self._api = _tenseal()
        self._slots = peer.poly_modulus_degree // 2
        kind = self._api.ENCRYPTION_TYPE
        self._clients = self._api.context(
            self._api.SCHEME_TYPE.CKKS,
            peer.poly_modulus_degree,
            coeff_mod_bit_sizes=list(peer.coeff_mod_bit_sizes),
            encryption_type=kind.SYMMETRIC if peer.symmetric else kind.ASYMMETRIC,
            n_threads=1,
        )
        self._clients.global_scale = 2.0**peer.scale_bits
        self._servers = self._api.context_from(
            self._clients.serialize(
                save_public_key=False, save_secret_key=False, save_galois_keys=False, save_relin_keys=False
            )
        )

    def client(self, vector: npt.NDArray[np.floating[Any]]) -> bytes:
        """Encrypt a vector of any length, ciphertext by ciphertext, and write it."""
        pieces = (vector[start : start + self._slots] for start in range(0, len(vector), self._slots))
        return self.written([self._api.ckks_vector(self._clients, piece) for piece in pieces])

    def server_add(self, total: list[Any] | None, upload: bytes) -> list[Any]:
        """Add an upload to the sum of those before it (None before the first); return the sum, changed in place."""
        vectors = [self._api.ckks_vector_from(self._servers, piece) for piece in _pieces(upload)]
        if total is None:
            return vectors
        for one, other in zip(total, vectors, strict=True):
            one.add_(other)
        return total

    def written(self, vectors: list[Any]) -> bytes:
        """Write ciphertexts, each with its length before it."""
        parts = []
        for vector in vectors:
            piece = vector.serialize()
            parts += [_LENGTH.pack(len(piece)), piece]
        return b"".join(parts)

    def decrypt(self, written: bytes) -> Values:
        """Decrypt a sum as a client gets it, or any other client's upload: the key does not tell them apart."""
        return np.concatenate(
            [np.array(self._api.ckks_vector_from(self._clients, piece).decrypt()) for piece in _pieces(written)]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    upload_s: float
    opening_s: float
    server_s: float
    upload_bytes: int
    download_bytes: int
    max_abs_error: float


def _session(key: SharedKey, parameters: int, clients: int) -> _Run:
    """Play a session; CPU of a client is the median over them."""
    # Of the resolution of the matrix' cells, so that errors are read alike.
    coding, total, clear = FixedPoint(clip=CLIP, bits=BITS), None, np.zeros(parameters)
    uploading, server_s, upload_bytes = [], 0.0, 0
    for number in range(clients):
        chance = np.random.default_rng((_INPUT_SEED, number))
        vector = chance.integers(-coding.bound, coding.bound + 1, parameters) / coding.bound
        clear += vector
        begun = time.process_time()
        upload = key.client(vector)
        sent = time.process_time()
        total = key.server_add(total, upload)
        server_s += time.process_time() - sent
        uploading.append(sent - begun)
        upload_bytes += len(upload)
    begun = time.process_time()
    answer = key.written(total or [])
    answered = time.process_time()
    opened = key.decrypt(answer)
    return _Run(
        upload_s=statistics.median(uploading),
        opening_s=time.process_time() - answered,
        server_s=server_s + answered - begun,
        upload_bytes=upload_bytes,
        download_bytes=len(answer) * clients,
        max_abs_error=float(np.abs(opened - clear).max()) / (clients * CLIP),
    )


def _pieces(written: bytes) -> Iterator[bytes]:
    """Take apart what `SharedKey.written` put together.

    Raises:
        DecodeError: it did not.
    """
    place = 0
    while place < len(written):
        start = place + _LENGTH.size
        if start > len(written):
            raise DecodeError("ciphertexts that end in a length")
        (size,) = _LENGTH.unpack_from(written, place)
        place = start + size
        if place > len(written):
            raise DecodeError("ciphertexts that end too early")
        yield written[start:place]


@cache
def _tenseal() -> Any:
    try:
        return import_module("tenseal")
    except ImportError:
        raise MissingExtra("ckks", "tenseal") from None
