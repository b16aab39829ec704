"""Key recovery from published sums of CKKS ciphertexts (Li and Micciancio, EUROCRYPT 2021): for tests and notebooks.

A sum (c₀, c₁) decrypts to m = c₀ + c₁·s. Whoever has the ciphertexts, as every server has, and learns m to its last bit
divides: s = (m − c₀)/c₁. Ciphertexts are kept as values at the N roots of X^N + 1 modulo a prime, where division goes
root by root; s is then known there, and by a transform back everywhere. Two ways of publishing are enough:

- *complex*: all N/2 complex slots, which is as much as all N coefficients. One sum gives s away.
- *real*: only the slots' real parts, as TenSEAL's `decrypt` returns them. Twice the real part is m + m̄, where the bar
  takes X to 1/X, and a root to the one that SEAL keeps at the mirrored place. Two sums under one key are two linear
  equations at each pair of mirrored roots: m + m̄ − c₀ − c̄₀ = c₁·s + c̄₁·s̄.

`UsualSetup` is what TenSEAL's users do, `hold_session` a session of ours that is watched. From either come `Round`s, on
which `key_from_complex` and `key_from_real` work alike. *Chance*: a guess that has nothing to do with the key is right
at a root with probability 1/q, at N/q of all roots: less than one in a million tries, for q above 2^33 and N = 4,096.
A root at which c₁ (or the determinant of the two equations) happens to be 0 yields nothing: as rare, and not counted
as recovered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tenseal
import zstandard
from tenseal import sealapi

from privfl import Aggregate, ServerModel, SessionParams, ThreatModel, VectorSpec, plan_session
from privfl.ckks import sharing
from privfl.ckks.modulus import Modulus, Residues, reduce, times
from privfl.ckks.planner import modulus_of
from privfl.ckks.rehearsal import SimulatedCommittee
from privfl.ckks.seal import seal_ring
from privfl.ckks.server import CkksServer, OpenStep
from privfl.params import CkksSetting
from privfl.simulate import simulate

Numbers = npt.NDArray[Any]
"""Python's integers in an array: of any size."""

_HEADER_BYTES = 16
_PLAINTEXT_BYTES = 72
_CIPHERTEXT_BYTES = 97
_WORD_BITS = 62


# The attack


@dataclass(frozen=True)
class Round:
    """What the attacker has of one sum modulo one prime, as values at the roots: Python's integers, shape (N,).

    Attributes:
        prime: q.
        own: c₀.
        common: c₁.
        message: m, or m + m̄, as far as it was published.
    """

    prime: int
    own: Numbers
    common: Numbers
    message: Numbers


@dataclass(frozen=True)
class Guess:
    """A key as the attacker makes it out: its values at the roots, and at which of them there was anything to solve."""

    values: Numbers
    solvable: npt.NDArray[np.bool_]

    def right(self, key: Numbers) -> int:
        """At how many roots it is the key."""
        return int(np.count_nonzero((self.values == key) & self.solvable))

    def complete(self, key: Numbers) -> bool:
        """Whether it is the key wherever there was anything to solve, at all roots but at most two."""
        return bool(self.right(key) == self.solvable.sum() >= len(key) - 2)


def key_from_complex(seen: Round) -> Guess:
    """Take s = (m − c₀)/c₁ from all that one sum decrypts to."""
    return _quotient(seen.message - seen.own, seen.common, seen.prime)


def key_from_real(first: Round, second: Round) -> Guess:
    """Solve for s from the real parts of two sums under one key; `message` is m + m̄ = twice the real part."""
    mirrored = slice(None, None, -1)
    known = [seen.message - seen.own - seen.own[mirrored] for seen in (first, second)]
    one, other = first.common, second.common
    numerator = known[0] * other[mirrored] - known[1] * one[mirrored]
    return _quotient(numerator, one * other[mirrored] - other * one[mirrored], first.prime)


def _quotient(numerator: Numbers, denominator: Numbers, prime: int) -> Guess:
    denominator %= prime
    inverses = np.array([pow(value, -1, prime) if value else 0 for value in denominator], object)
    return Guess(values=numerator * inverses % prime, solvable=denominator != 0)


# On TenSEAL as it is used


@dataclass(frozen=True)
class Published:
    """What the holder of the key returns after one round, and the server's view of the sum.

    Attributes:
        own: c₀ modulo the first prime.
        common: c₁ likewise.
        real: the sum as `decrypt` returns it.
        complex_slots: the same with its imaginary parts, which SEAL's decoder also gives.
    """

    own: Numbers
    common: Numbers
    real: npt.NDArray[np.float64]
    complex_slots: npt.NDArray[np.complex128]


class UsualSetup:
    """Federated averaging with TenSEAL as its tutorials have it: clients share a context, the server adds vectors.

    Args:
        degree: N.
        prime_bits: coeff_mod_bit_sizes.
        scale_bits: log₂ of the global scale.
    """

    def __init__(self, degree: int, prime_bits: Sequence[int], scale_bits: int) -> None:
        self.degree, self.scale = degree, 2.0**scale_bits
        self.context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=list(prime_bits))
        self.context.global_scale = self.scale
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(degree)
        parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(degree, list(prime_bits)))
        self.prime = int(parameters.coeff_modulus()[0].value())
        self._seal = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        self._encoder = sealapi.CKKSEncoder(self._seal)
        secret = sealapi.SecretKey()
        _load(secret, self._seal, _saved(self.context.secret_key().data))
        self._decryptor = sealapi.Decryptor(self._seal, secret)

    @property
    def key(self) -> Numbers:
        """The secret key's values at the roots: what is to be recovered."""
        return self._first_prime(_words(self.context.secret_key().data, _PLAINTEXT_BYTES))

    def round(self, updates: Sequence[npt.NDArray[np.float64]]) -> Published:
        """Encrypt every client's update, N/2 numbers, add the ciphertexts, and publish the sum."""
        first, *others = [tenseal.ckks_vector(self.context, update) for update in updates]
        for other in others:
            first += other
        (total,) = first.ciphertext()
        words = _words(total, _CIPHERTEXT_BYTES).reshape(2, -1)
        ciphertext, plaintext = sealapi.Ciphertext(), sealapi.Plaintext()
        _load(ciphertext, self._seal, _saved(total))
        self._decryptor.decrypt(ciphertext, plaintext)
        return Published(
            own=self._first_prime(words[0]),
            common=self._first_prime(words[1]),
            real=np.array(first.decrypt()),
            complex_slots=np.array(self._encoder.decode_complex(plaintext)),
        )

    def complex_round(self, published: Published) -> Round:
        """What an attacker has who was given all slots: it encodes them again."""
        return self._round(published, published.complex_slots)

    def real_round(self, published: Published) -> Round:
        """What an attacker has who was given real parts only."""
        return self._round(published, 2 * published.real)

    def _round(self, published: Published, slots: npt.NDArray[Any]) -> Round:
        plaintext = sealapi.Plaintext()
        self._encoder.encode(slots.tolist(), self.scale, plaintext)
        message = self._first_prime(_words(plaintext, _PLAINTEXT_BYTES))
        return Round(prime=self.prime, own=published.own, common=published.common, message=message)

    def _first_prime(self, words: npt.NDArray[np.uint64]) -> Numbers:
        return words[: self.degree].astype(object)


def _words(thing: Any, head: int) -> npt.NDArray[np.uint64]:
    """Read the words of a SEAL object behind its head of so many bytes."""
    body = zstandard.ZstdDecompressor().decompressobj().decompress(_saved(thing)[_HEADER_BYTES:])
    return np.frombuffer(body, "<u8", offset=head)


def _saved(thing: Any) -> bytes:
    file = os.memfd_create("attack", os.MFD_CLOEXEC)
    try:
        thing.save(f"/proc/self/fd/{file}")
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def _load(thing: Any, context: Any, saved: bytes) -> None:
    file = os.memfd_create("attack", os.MFD_CLOEXEC)
    try:
        os.write(file, saved)
        thing.load(context, f"/proc/self/fd/{file}")
    finally:
        os.close(file)


# On our sessions


class WatchedServer(CkksServer):
    """A server that keeps its view of the sum: (c₀, c₁), and what the committee opens before any of it is rounded.

    Attributes:
        own: c₀ of the sum, int64, shape (2, m).
        common: c₁ of the sum, int64, shape (2, ⌈m/N⌉·N).
        opened: c₀ + Σ h, int64, shape (2, m).
    """

    own: Residues
    common: Residues
    opened: Residues

    def advance(self) -> None:
        """Close the phase, and keep what passes by."""
        step = self._step
        if isinstance(step, OpenStep):
            self.opened = step._total.copy()
        super().advance()
        after = self._step
        if isinstance(after, OpenStep):
            self.own, whole = after._total.copy(), after._modulus
            self.common = whole.unpack(after._shown, whole.polynomials(self.own.shape[1]) * whole.degree)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A session as its server saw it, one polynomial of N coordinates, and the sum as it would be without any error."""

    params: SessionParams
    own: Residues
    common: Residues
    opened: Residues
    aggregate: Aggregate
    exact: npt.NDArray[np.int64]

    @property
    def modulus(self) -> Modulus:
        """N and the primes."""
        return modulus_of(_setting(self.params).epoch)

    @property
    def known(self) -> Residues:
        """Residues of Δ·Σx, of the exact sum: what is known if the plaintext is."""
        return self._scaled(self.exact)

    @property
    def released(self) -> Residues:
        """Residues of Δ times the released vector."""
        return self._scaled(self.aggregate.vector)

    def _scaled(self, vector: npt.NDArray[np.int64]) -> Residues:
        scales = [(1 << _setting(self.params).scale_bits) % prime for prime in self.modulus.primes]
        return np.stack([times(vector, scale, prime) for scale, prime in zip(scales, self.modulus.primes, strict=True)])

    def complex_rounds(self, message: Residues) -> list[Round]:
        """What an attacker has who takes some message for all that the sum decrypts to: a round for each prime."""
        return rounds(self.modulus, self.own, self.common, message)

    def real_rounds(self, message: Residues) -> list[Round]:
        """Likewise where the message's real slots count only: m + m̄, exactly, where a decoder would round it."""
        return [
            Round(prime=seen.prime, own=seen.own, common=seen.common, message=seen.message + seen.message[::-1])
            for seen in self.complex_rounds(message)
        ]

    def errors(self, secret: Residues) -> Numbers:
        """The errors of the ciphertexts' sum, c₀ + c₁·s − Δ·Σx, which only the key tells: whole numbers, shape (N,)."""
        total = seal_ring(self.modulus).multiply(self.common[:, None], secret)[:, 0]
        self.modulus.add(total, self.own)
        return whole_numbers(self.modulus, difference(self.modulus, total, self.known))

    def left_over(self) -> Numbers:
        """What an opened sum of known plaintext leaves, errors and floods: whole numbers, shape (N,)."""
        return whole_numbers(self.modulus, difference(self.modulus, self.opened, self.known))


def session_params(committee: SimulatedCommittee, *, clients: int, length: int, bound: int) -> SessionParams:
    """Agree on a session under a committee's key."""
    return plan_session(
        "ckks",
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=length, bound=bound),
        threat=ThreatModel(corrupt=0.0, dropout=0.0, server=ServerModel.HONEST_BUT_CURIOUS),
        committee=committee.key,
        nonce=os.urandom(16),
        context=os.urandom(32),
    )


def hold_session(
    committee: SimulatedCommittee, vectors: Mapping[int, npt.NDArray[np.int32]], *, bound: int = 1000
) -> Seen:
    """Hold a session through `privfl.simulate`, and return what its server saw.

    Args:
        committee: who opens the sum.
        vectors: of clients 0, 1, …; of one polynomial's length.
        bound: largest magnitude of a coordinate.
    """
    params = session_params(committee, clients=len(vectors), length=len(vectors[0]), bound=bound)
    server = WatchedServer(params, committee=committee.key)
    run = simulate(params, vectors, committee=committee, server=server)
    if run.aggregate is None:
        raise RuntimeError(f"the session aborted: {run.aborted}")
    return Seen(
        params=params,
        own=server.own,
        common=server.common,
        opened=server.opened,
        aggregate=run.aggregate,
        exact=sum((vector.astype(np.int64) for vector in vectors.values()), np.zeros(len(vectors[0]), np.int64)),
    )


def rounds(modulus: Modulus, own: Residues, common: Residues, message: Residues) -> list[Round]:
    """Take one polynomial's c₀, c₁ and message, each int64 of shape (2, N), to the roots: a round for each prime."""
    ring = seal_ring(modulus)
    words = ring._words(ring.ciphertext(np.stack([own, common, message], axis=1))).astype(object)
    return [
        Round(prime=prime, own=words[0, row], common=words[1, row], message=words[2, row])
        for row, prime in enumerate(modulus.primes)
    ]


def joint_secret(committee: SimulatedCommittee) -> Residues:
    """Return the key that no member has, from as many shares as open a sum: int64, shape (2, N)."""
    epoch = committee.key.epoch
    chosen = sorted(committee.members)[: epoch.committee.threshold]
    modulus = modulus_of(epoch)
    secret = np.zeros_like(committee.members[chosen[0]].share)
    for member in chosen:
        factors = sharing.at_zero(modulus, member, chosen)
        modulus.add(secret, sharing.scaled(modulus, committee.members[member].share, factors))
    return secret


def key_values(modulus: Modulus, secret: Residues) -> list[Numbers]:
    """Return the key's values at the roots modulo each prime: what is to be recovered."""
    ring = seal_ring(modulus)
    words, _ = ring._words(ring.ciphertext(np.stack([secret, secret], axis=1)))  # SEAL takes two polynomials or more
    return list(words.astype(object))


def difference(modulus: Modulus, one: Residues, other: Residues) -> Residues:
    """Subtract residues."""
    return np.stack([reduce(row, prime) for row, prime in zip(one - other, modulus.primes, strict=True)])


def whole_numbers(modulus: Modulus, residues: Residues) -> Numbers:
    """Read whole numbers of (−Q/2, Q/2] from their residues, to the last bit.

    Returns:
        int64 if all have a magnitude below 2^62, as floods of up to 2^58 do, Python's integers else.
    """
    first, second = modulus.primes
    digit = times(reduce(residues[1] - residues[0], second), pow(first, -1, second), second)
    near = digit - np.where(digit > second // 2, second, 0)
    if int(np.abs(near).max()) < (1 << _WORD_BITS) // first - 1:
        numbers: Numbers = near * first + residues[0]
        return numbers
    numbers = digit.astype(object) * first + residues[0]
    return np.array([number - modulus.product * (number > modulus.product // 2) for number in numbers], object)


def _setting(params: SessionParams) -> CkksSetting:
    if not isinstance(params.setting, CkksSetting):
        raise TypeError("a session of another suite")
    return params.setting
