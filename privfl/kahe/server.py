"""The server of `kahe`: adds ciphertexts, and opens their sum with the sum of their keys."""

from __future__ import annotations

import numpy as np

from privfl.errors import RoundAborted
from privfl.kahe import cipher, planner
from privfl.kahe.client import KEY_BYTES
from privfl.kahe.noise import TAIL
from privfl.kahe.ring import N
from privfl.masking.payload import Payload
from privfl.masking.server import MaskingServer
from privfl.params import KaheSetting, MaskingSetting, SessionParams
from privfl.primitives.prg import Words
from privfl.session import Aggregate


class EncryptedVectors:
    """Ciphertexts beside masked keys: both are added as they come."""

    def __init__(self, params: SessionParams, setting: KaheSetting, workers: int) -> None:
        self._params = params
        self._setting = setting
        self._workers = workers
        self._ring = params.ring
        self.tail_bytes = KEY_BYTES + self._ring.vector_bytes(params.vector.length)
        self.masked: Words = np.zeros(N, np.uint32)
        self._total: Words = np.zeros(params.vector.length, np.uint32)

    def add(self, tail: memoryview) -> None:
        """See `Payload.add`."""
        self._ring.add(tail[KEY_BYTES:], self._total)  # refuses first, if at all
        self.masked += np.frombuffer(tail[:KEY_BYTES], np.uint32)

    def open(self, session: bytes, contributors: int) -> Aggregate:
        """See `Payload.open`."""
        keys = self.masked.view(np.int32).astype(np.int64)
        if int(np.abs(keys).max()) > contributors * TAIL:
            raise RoundAborted(
                "the opened sum of keys is out of range: a client left its bound, or masks did not cancel; nothing is "
                "released"
            )
        setting, clients = self._setting, len(self._params.cohort)
        try:
            total = cipher.decrypt(
                self._total,
                keys,
                ring=self._ring,
                scale_bits=setting.scale_bits,
                session=session,
                workers=self._workers,
            )
        except ValueError as error:
            raise RoundAborted(f"the opened sum of keys is no sum of keys: {error}; nothing is released") from None
        error_std = planner.error_std(setting, clients, contributors)
        limit = self._params.vector.reach(contributors)
        slack = int(planner.DEVIATIONS * error_std)
        reach = max(int(total.max()), -int(total.min()))
        if reach > limit + slack:
            raise RoundAborted(
                "the opened sum is out of range: a client left its bound, or sent another's key; nothing is released"
            )
        if reach > limit:
            np.clip(total, -limit, limit, out=total)  # what errors pushed over the edge
        return Aggregate(vector=total, contributors=contributors, error_std=error_std)


class KaheServer(MaskingServer):
    """A server that learns the sum and, if it follows the protocol, nothing else.

    Arguments, errors and guarantees as those of `MaskingServer`; the sum is off by `Aggregate.error_std`, which is zero
    where the modulus has room for it.
    """

    def _verified(self, params: SessionParams) -> MaskingSetting:
        return planner.verified(params).masking

    def _payload(self, params: SessionParams, workers: int) -> Payload:
        assert isinstance(params.setting, KaheSetting)  # noqa: S101 - `_verified` saw to it; for the type checker
        return EncryptedVectors(params, params.setting, workers)
