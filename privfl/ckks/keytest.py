"""The test that ends a key ceremony: a ciphertext that everybody can make, of a plaintext that everybody knows."""

from __future__ import annotations

from typing import Final

import numpy as np

from privfl.ckks.answer import opening_id
from privfl.ckks.key import KeyStatement, common_polynomial
from privfl.ckks.modulus import Residues, times
from privfl.ckks.planner import DEVIATIONS, coefficient_std, modulus_of
from privfl.ckks.seal import seal_ring
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.sampling import TERNARY, Sampler
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import digest

_TEST_HEADROOM_BITS: Final = 4


class KeyTest:
    """A ciphertext under a joint key that everybody can make, of a plaintext that everybody knows.

    Args:
        statement: of the key.
    """

    def __init__(self, statement: KeyStatement) -> None:
        modulus = self._modulus = modulus_of(statement.epoch)
        degree = modulus.degree
        mask, first, second, plaintext = (
            _public(statement, name, degree) for name in (b"mask", b"first", b"second", b"plaintext")
        )
        ring, by = seal_ring(modulus), modulus.residues_of(mask)
        common = common_polynomial(modulus, statement.ceremony)
        products = ring.multiply(np.stack([modulus.unpack(statement.own, degree), common], axis=1), by)
        self._own, self.common = np.ascontiguousarray(products[:, 0]), np.ascontiguousarray(products[:, 1])
        modulus.add(self._own, modulus.residues_of(first))
        modulus.add(self.common, modulus.residues_of(second))
        # Far above floods and errors, which leave a planned sum its room, and far below Q/2.
        scale = 1 << (modulus.product.bit_length() - _TEST_HEADROOM_BITS)
        scaled = [times(plaintext, scale % prime, prime) for prime in modulus.primes]
        self._scaled = np.stack(scaled)
        modulus.add(self._own, self._scaled)
        self._largest = DEVIATIONS * coefficient_std(statement.epoch, floods=len(statement.qualified))
        self.opening = opening_id(statement.digest, modulus.packed(self.common), statement.qualified)

    def passes(self, answers: Residues) -> bool:
        """Whether the sum of the members' answers, int64, shape (2, N), opens the plaintext.

        What is left beside it may be no more than floods and errors: a part of the key with wider errors would spoil
        sums that seem to be exact.
        """
        rest = self._scaled.copy()
        self._modulus.negate(rest)
        self._modulus.add(rest, answers)
        self._modulus.add(rest, self._own)
        return bool(np.abs(self._modulus.centred(rest)).max() <= self._largest)


def _public(statement: KeyStatement, name: bytes, count: int) -> Residues:
    """Expand a key's digest into ternary coefficients that everybody may know."""
    keys = [digest(Label.CKKS_TEST, statement.digest, name, bytes([i]))[:PRG_KEY_BYTES] for i in range(2)]
    draws = Sampler(TERNARY, *(Stream(Secret(key)) for key in keys), largest_batch=count)
    return draws.draw(count).astype(np.int64)
