"""The client of `kahe`: its vector under a one-time key, and the key under pairwise masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from privfl.kahe import cipher, planner
from privfl.kahe.ring import N
from privfl.masking.client import MaskingClient
from privfl.masking.messages import MaskedInput
from privfl.params import KaheSetting, MaskingSetting, SessionParams
from privfl.primitives.prg import Mask, Words, apply_masks
from privfl.wire import SuiteCode

KEY_BYTES: Final = 4 * N


class KaheClient(MaskingClient):
    """A client whose vector the server cannot read, at a cost that does not grow with its neighbours.

    Everything but the upload is `MaskingClient`'s: the masks of the inner session lie on the one-time key, 2,048 small
    numbers, and only the sum of the keys is ever opened.

    Args and errors as those of `MaskingClient`.

    Guarantees:
        1. The key is drawn for one upload, encrypts one vector, and is gone with the call that made it.
        2. As `MaskingClient`'s, with the key in the vector's place: the sum of keys is opened for one set, once.

    Assumes:
        As `MaskingClient`, and the hardness of RLWE with N = 2,048, q ≤ 2^32 and Gaussian keys and errors of standard
        deviation 3.25 = σ/2 (`docs/kahe.md`), with at least two honest contributors.
    """

    _suite = SuiteCode.KAHE

    def _verified(self, params: SessionParams) -> MaskingSetting:
        return planner.verified(params).masking

    def _upload(self, session: bytes, bound_session: bytes, masks: Sequence[Mask]) -> bytes:
        ring, length, setting = self.params.ring, self.params.vector.length, self.params.setting
        assert isinstance(setting, KaheSetting)  # noqa: S101 - `_verified` saw to it; for the type checker
        source, workers = self._take_vector()
        frame = self._frame(MaskedInput(), bound_session, tail_bytes=KEY_BYTES + ring.vector_bytes(length))

        def fill(tail: Words) -> None:
            key = cipher.draw_key(self._entropy)
            np.copyto(tail[:N], key, casting="unsafe")  # residues modulo 2^32, where sums of keys do not wrap
            apply_masks(tail[:N], masks)
            cipher.encrypt(
                key,
                lambda start, out: source.store(ring, start, out),
                tail[N:],
                length=length,
                ring=ring,
                scale_bits=setting.scale_bits,
                session=session,
                entropy=self._entropy,
                workers=min(workers, self._workers),
            )

        frame.write_tail(np.uint32, fill)
        source.finish()
        self._vector_taken = True
        return frame.finish()
