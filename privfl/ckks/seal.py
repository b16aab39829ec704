"""The one place that knows TenSEAL: Microsoft SEAL's polynomial arithmetic, on residues that are numpy arrays.

`tenseal.sealapi` binds SEAL's C++ classes. Their elements are reached one by one, which is slow, or through `save` and
`load`, which want a path: here that of a file that lives in memory only (`memfd_create`), so that secrets never touch
a disk. SEAL writes objects zstd-compressed and reads them plain as well. What is relied on, checked once in every
process by `SealRing` before anything is trusted to it:

| | header | metadata | array header | words from |
|---|---|---|---|---|
| Ciphertext | 16 | 32 parms_id, 1 is_ntt_form, 3 · 8 size, N, primes, 8 scale, 8 correction | 16 + 8 count | 97 |
| Plaintext | 16 | 32 parms_id, 8 count, 8 scale | 16 + 8 count | 72 |

(offsets behind the outer header). Polynomials are in *paired order* outside (`privfl.lattice.fourier`), as the clients'
kernel has them, and in natural order inside SEAL.
"""

from __future__ import annotations

import os
import struct
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.ckks.modulus import PRIMES, Modulus, Residues, is_prime
from privfl.errors import ConfigurationError, DecodeError, MissingExtra

_HEADER: Final = struct.Struct("<HBBBBHQ")
_MAGIC: Final = 0xA15E
_ZSTD: Final = 2
_CIPHERTEXT: Final = struct.Struct("<32sB3QdQ")
_PLAINTEXT: Final = struct.Struct("<32sQd")
_COUNT: Final = struct.Struct("<Q")
_MOST_POLYNOMIALS: Final = 16
"""Of a ciphertext, by SEAL's SEAL_CIPHERTEXT_SIZE_MAX."""
_SPECIAL_BITS: Final = 20
"""Of the prime that SEAL puts aside for switching keys, which nothing here does. It encrypts nothing."""


class SealRing:
    """Polynomials modulo X^N + 1 and two primes, multiplied by SEAL. Make it by `seal_ring`.

    Args:
        modulus: N and the primes.

    Raises:
        MissingExtra: TenSEAL is not installed.
        ConfigurationError: not on this platform, or a TenSEAL that keeps its words elsewhere.
    """

    def __init__(self, modulus: Modulus) -> None:
        if not hasattr(os, "memfd_create"):
            raise ConfigurationError("opening ckks sums needs Linux, whose files in memory keep keys off the disk")
        self.modulus = modulus
        self._api = _extra("tenseal.sealapi", "tenseal")
        self._zstd = _extra("zstandard", "zstandard")
        api = self._api
        parameters = api.EncryptionParameters(api.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(modulus.degree)
        primes = (*modulus.primes, _special_prime(modulus.degree))
        parameters.set_coeff_modulus([api.Modulus(prime) for prime in primes])
        # SEAL refuses what the homomorphic encryption standard would not allow at 128 bits.
        self.context = api.SEALContext(parameters, True, api.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ConfigurationError(f"SEAL refuses N = {modulus.degree} with primes of {modulus.bits} bits")
        self._evaluator = api.Evaluator(self.context)
        self._parms_id = struct.pack("<4Q", *self.context.first_parms_id())
        self._version = _HEADER.pack(_MAGIC, 16, *self._library_version(), 0, 0, 0)[:5]
        try:
            self._check()
        except DecodeError as error:
            raise ConfigurationError(
                f"this TenSEAL stores objects in another form ({error}): install tenseal 0.3.18"
            ) from None

    def multiply(self, polynomials: Residues, factor: Residues) -> Residues:
        """Multiply many polynomials by one.

        Args:
            polynomials: int64, shape (2, count, N), in paired order.
            factor: int64, shape (2, N), in paired order; may be secret.

        Returns:
            int64, shape (2, count, N), in paired order.
        """
        _, count, degree = polynomials.shape
        products = np.zeros_like(polynomials)
        if not factor.any():
            return products  # SEAL refuses to make a ciphertext that hides nothing
        one = np.zeros((PRIMES, 1, degree), np.int64)
        one[:, 0, 0] = 1
        by = self._plaintext(self._words(self.ciphertext(np.concatenate([factor[:, None], one], axis=1)))[0])
        step = _MOST_POLYNOMIALS - 1
        for start in range(0, count, step):
            part = polynomials[:, start : start + step]
            # The last polynomial, 1, keeps SEAL from taking the rest, should it be zero, for a ciphertext in clear.
            several = self.ciphertext(np.concatenate([part, one], axis=1))
            self._evaluator.multiply_plain_inplace(several, by)
            self._evaluator.transform_from_ntt_inplace(several)
            natural = self._words(several)[: part.shape[1]]
            products[:, start : start + step] = _paired(natural).swapaxes(0, 1)
        return products

    def add(self, one: Any, other: Any) -> Any:
        """Add two SEAL ciphertexts."""
        total = self._api.Ciphertext()
        self._evaluator.add(one, other, total)
        return total

    def residues(self, ciphertext: Any) -> Residues:
        """Read the polynomials of a SEAL ciphertext: int64, shape (2, size, N), in paired order."""
        copy = self._load(self._api.Ciphertext(), self._save(ciphertext))
        self._evaluator.transform_from_ntt_inplace(copy)
        return np.ascontiguousarray(_paired(self._words(copy)).swapaxes(0, 1))

    def ciphertext(self, residues: Residues) -> Any:
        """Make a SEAL ciphertext of polynomials, and let SEAL transform it.

        Args:
            residues: int64, shape (2, size, N), in paired order: c₀, c₁, ….

        Raises:
            DecodeError: SEAL does not take them.
        """
        words = np.ascontiguousarray(_natural(residues).swapaxes(0, 1)).view(np.uint64)
        size, primes, degree = words.shape
        metadata = _CIPHERTEXT.pack(self._parms_id, 0, size, degree, primes, 1.0, 1)
        ciphertext = self._load(self._api.Ciphertext(), self._written(metadata, words))
        self._evaluator.transform_to_ntt_inplace(ciphertext)
        return ciphertext

    def _plaintext(self, words: npt.NDArray[np.uint64]) -> Any:
        metadata = _PLAINTEXT.pack(self._parms_id, words.size, 1.0)
        return self._load(self._api.Plaintext(), self._written(metadata, words))

    def _written(self, metadata: bytes, words: npt.NDArray[np.uint64]) -> bytes:
        """Write an object as SEAL would without compression."""
        body = words.tobytes()
        array = self._version + bytes(3) + _COUNT.pack(16 + _COUNT.size + len(body)) + _COUNT.pack(words.size) + body
        return self._version + bytes(3) + _COUNT.pack(16 + len(metadata) + len(array)) + metadata + array

    def _words(self, ciphertext: Any) -> npt.NDArray[np.uint64]:
        """Return a ciphertext's words as SEAL has them: uint64, shape (size, 2, N)."""
        body = self._body(self._save(ciphertext))
        _, _, size, degree, primes, _, _ = _CIPHERTEXT.unpack_from(body)
        start = _CIPHERTEXT.size + 16 + _COUNT.size
        words = np.frombuffer(body, "<u8", offset=start)
        if (degree, primes) != (self.modulus.degree, PRIMES) or len(words) != size * degree * primes:
            raise ConfigurationError("this TenSEAL stores ciphertexts in another form: install tenseal 0.3.18")
        return words.reshape(size, primes, degree)

    def _body(self, saved: bytes) -> bytes:
        magic, header, _, _, compression, _, size = _HEADER.unpack_from(saved)
        if magic != _MAGIC or header != 16 or size != len(saved) or compression not in {0, _ZSTD}:
            raise ConfigurationError("this TenSEAL stores objects in another form: install tenseal 0.3.18")
        body = saved[header:]
        return body if not compression else bytes(self._zstd.ZstdDecompressor().decompressobj().decompress(body))

    def _save(self, thing: Any) -> bytes:
        file = os.memfd_create("privfl", os.MFD_CLOEXEC)
        try:
            thing.save(f"/proc/self/fd/{file}")
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)

    def _load(self, thing: Any, saved: bytes) -> Any:
        file = os.memfd_create("privfl", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as whole:
                whole.write(saved)
            try:
                thing.load(self.context, f"/proc/self/fd/{file}")
            except (RuntimeError, ValueError, IndexError) as error:
                raise DecodeError(f"SEAL does not take it: {error}") from None
            return thing
        finally:
            os.close(file)

    def _library_version(self) -> tuple[int, int]:
        """Tell which SEAL writes, from what it writes."""
        saved = self._save(self._api.Plaintext("0"))
        return saved[3], saved[4]

    def _check(self) -> None:
        """See that words are where they are expected, and that SEAL and numpy compute the same.

        Raises:
            ConfigurationError: they do not.
        """
        degree = self.modulus.degree
        primes = np.array(self.modulus.primes, np.int64)[:, None, None]
        ramp = (np.arange(2 * degree).reshape(2, degree) * (primes // (2 * degree) - 1) + 1) % primes
        turned = np.roll(ramp, 1, axis=-1)
        summed = self.residues(self.add(self.ciphertext(ramp), self.ciphertext(turned)))
        # Multiplying by X^(N/2), which stands second in paired order, turns p + i·q into −q + i·p.
        half = np.zeros((PRIMES, degree), np.int64)
        half[:, 1] = 1
        rotated = np.empty_like(ramp)
        rotated[..., 0::2], rotated[..., 1::2] = (primes - ramp[..., 1::2]) % primes, ramp[..., 0::2]
        if not (
            np.array_equal(summed, (ramp + turned) % primes) and np.array_equal(self.multiply(ramp, half), rotated)
        ):
            raise ConfigurationError("this TenSEAL computes or stores otherwise: install tenseal 0.3.18")


@cache
def seal_ring(modulus: Modulus) -> SealRing:
    """Return the ring, checked once in a process; errors as those of `SealRing`."""
    return SealRing(modulus)


def _extra(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra("ckks", package) from None


@cache
def _special_prime(degree: int) -> int:
    first = ((1 << _SPECIAL_BITS) - 1) // (2 * degree) * 2 * degree + 1
    return next(candidate for candidate in range(first, 0, -2 * degree) if is_prime(candidate))


def _natural(paired: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([paired[..., 0::2], paired[..., 1::2]], axis=-1)


def _paired(natural: npt.NDArray[Any]) -> Residues:
    half = natural.shape[-1] // 2
    paired = np.empty(natural.shape, np.int64)
    paired[..., 0::2], paired[..., 1::2] = natural[..., :half], natural[..., half:]
    return paired
