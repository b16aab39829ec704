"""What a session of pairwise masks carries: by itself, the vectors that are summed."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from privfl.encoding.residues import Ring
from privfl.lockstep.server import finish_sum
from privfl.params import SessionParams
from privfl.primitives.prg import Words
from privfl.session import Aggregate


class Payload(Protocol):
    """The server's running sum over the uploads' tails.

    Attributes:
        tail_bytes: exact length of a tail.
        masked: the part of the sum that masks lie on: words, from which the session takes them away in place.
    """

    tail_bytes: int
    masked: Words

    def add(self, tail: memoryview) -> None:
        """Add one upload, as it arrived.

        Raises:
            DecodeError: not canonical; nothing has changed.
        """
        ...

    def open(self, session: bytes, contributors: int) -> Aggregate:
        """Read the sum, when all masks are gone.

        Raises:
            RoundAborted: it cannot be one.
        """
        ...


class MaskedVectors:
    """Vectors under masks: residues that are read as they stand when the masks are gone."""

    def __init__(self, params: SessionParams) -> None:
        self._ring: Ring = params.ring
        self._vector = params.vector
        self.tail_bytes = self._ring.vector_bytes(params.vector.length)
        self.masked: Words = np.zeros(params.vector.length, self._ring.dtype)

    def add(self, tail: memoryview) -> None:
        """See `Payload.add`."""
        self._ring.add(tail, self.masked)

    def open(self, session: bytes, contributors: int) -> Aggregate:  # noqa: ARG002 - nothing here depends on it
        """See `Payload.open`."""
        return finish_sum(self.masked, self._ring, contributors=contributors, vector=self._vector)
