"""CKKS as it is commonly used in federated learning: TenSEAL's high-level API under one key pair.

Why these are no suites: every client holds the same secret key, so the server and any one client together read every
other client's vector, and no minimum of contributors, no budget and no committee stands in between. And the key does
not stay with the clients either: it follows from what they publish. A decryption in CKKS is c₀ + c₁·s with its errors
left in, so whoever has the ciphertexts of two sums, as the server does, and the two sums as `decrypt` returned them
solves for s (Li and Micciancio, EUROCRYPT 2021; `notebooks/ckks_precision.ipynb` carries it out). They are here as
baselines of cost, under their own names.

Where parameters come from: TenSEAL's are those of its README and of "Tutorial 2 - Working with Approximate Numbers";
NVFlare's are the defaults of `HEBuilder` (nvflare/lighter/impl/he.py), whose context is symmetric, and clients write
`ckks_vector(context, values)` (nvflare/app_opt/he/model_encryptor.py). NVFlare's server goes on to multiply the sum by
one over the weights (`aggregate` in nvflare/app_opt/he/intime_accumulate_model_aggregator.py); here clients divide what
they have decrypted. So its server's rescaling is not counted, nor that the answer is a prime shorter after it.
"""

from __future__ import annotations

import statistics
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.bench.peers.metering import Meter, PeerSession, Updates
from privfl.bench.peers.peer import Peer
from privfl.errors import ConfigurationError, DecodeError, MissingExtra

PROTECTION: Final = "one key for all clients; recoverable from a published aggregate"
_UPLOAD: Final = "upload"
_ANSWER: Final = "answer"
_LENGTH: Final = struct.Struct("<Q")

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensealPeer(Peer):
    """A single-key set-up.

    It has no protocol for drop-outs and needs none: the server sums what arrives, and those who sent something are
    answered. Counted are: encrypting and writing, reading and adding, and what every client does with the encrypted sum
    that it is sent. Not counted are making the key, giving it to the clients, and weights.

    Attributes:
        poly_modulus_degree: N; a ciphertext holds N/2 values.
        coeff_mod_bit_sizes: bits of the primes; the last one is for keys only.
        scale_bits: log₂ of the scale.
        symmetric: encrypt under the secret key, which is faster; under the public key otherwise.
        note: where the parameters come from.
    """

    protection: str = PROTECTION
    package: str = "tenseal"
    install: str = "pip install 'privfl[ckks]'"
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

    def _session(self, parameters: int, clients: int, dropped: frozenset[int]) -> PeerSession:
        key, meter, updates, total = self.keys(), Meter(), Updates(parameters), None
        uploading = [number for number in range(clients) if number not in dropped]
        for number in uploading:
            update = updates(number)
            with meter.client(_UPLOAD, number):
                upload = key.client(update)
            with meter.server(_UPLOAD):
                total = key.server_add(total, upload)
            meter.sent(_UPLOAD, upload=len(upload))
        with meter.server(_ANSWER):
            answer = key.written(total or [])
        with meter.client(_ANSWER, uploading[0]):
            mean = key.decrypt(answer) / len(uploading)
        meter.alike(_ANSWER, uploading[0], uploading[1:])  # the same bytes under the same key
        meter.sent(_ANSWER, download=len(answer) * len(uploading))
        return meter.session(uploading, mean, updates.mean(), self.versions(), self.install)

    def measure(self, parameters: int, clients: int, repeat: int) -> dict[str, Any]:
        """Measure sessions of which nobody drops out; medians.

        Args:
            parameters: values of a vector.
            clients: how many.
            repeat: sessions.

        Returns:
            A record, ready for JSON, with the keys of `privfl.bench.matrix`; `client_cpu_s` is of one client.

        Raises:
            ConfigurationError: nothing to measure.
            MissingExtra: TenSEAL is not installed.
        """
        if repeat < 1:
            raise ConfigurationError(f"repeat is {repeat}: at least 1 works")
        runs = [self.session(parameters, clients, frozenset()) for _ in range(repeat)]
        return {
            "suite": self.name,
            "protection": self.protection,
            "clients": clients,
            "parameters": parameters,
            "dropout": 0.0,
            "contributors": clients,
            "client_cpu_s": statistics.median(run.client_cpu_s for run in runs),
            "server_cpu_s": statistics.median(run.server_cpu_s for run in runs),
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
