"""Plain averaging of float32 updates: what a framework does that protects nothing, and no more than it must."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privfl.bench.peers.metering import Meter, PeerSession, Update, Updates
from privfl.bench.peers.peer import Peer

_PHASE = "upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Float32Peer(Peer):
    """Raw bytes up, 4 a parameter; one addition in float32 as they come, and one division: FedAvg, all weights equal.

    Not counted, in its favour: requests, frames around the bytes, weights.
    """

    def _session(self, parameters: int, clients: int, dropped: frozenset[int]) -> PeerSession:
        meter, updates, total = Meter(), Updates(parameters), None
        uploading = [number for number in range(clients) if number not in dropped]
        for number in uploading:
            update = updates(number)
            with meter.client(_PHASE, number):
                upload = update.tobytes()
            meter.sent(_PHASE, upload=len(upload))
            with meter.server(_PHASE):
                total = _added(total, upload)
        assert total is not None  # noqa: S101 - somebody uploads; for the type checker
        with meter.server(_PHASE):
            total /= len(uploading)
        return meter.session(uploading, total, updates.mean(), self.versions(), self.install)


def _added(total: Update | None, upload: bytes) -> Update:
    values = np.frombuffer(upload, np.float32)
    if total is None:
        return values.copy()  # what arrived cannot be written to
    total += values
    return total


FLOAT32 = Float32Peer(name="float32-mean", protection="none", package="numpy", install="pip install privfl")
