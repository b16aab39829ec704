"""The server of `plain`: adds what it can read."""

from __future__ import annotations

import numpy as np

from privfl.errors import RemoteProtocolError, RoundAborted
from privfl.lockstep.server import LockstepServer, ServerStep, finish_sum
from privfl.params import PlainSetting, SessionParams
from privfl.plain.messages import Upload, UploadRequest
from privfl.session import Aggregate, Phase
from privfl.wire import CONTROL_BODY_LIMIT_BYTES


class UploadStep(ServerStep[Upload, Aggregate]):
    """The only phase: collect and add."""

    phase = Phase.UPLOAD
    answer = Upload
    body_limit_bytes = CONTROL_BODY_LIMIT_BYTES

    def __init__(self, params: SessionParams) -> None:
        self._params = params
        self.session = params.digest
        self.waiting = set(params.cohort)
        self._ring = params.ring
        self.tail_bytes = self._ring.vector_bytes(params.vector.length)
        self._total = np.zeros(params.vector.length, self._ring.dtype)
        self._contributors = 0

    def request_for(self, number: int) -> UploadRequest:  # noqa: ARG002 - every client is asked the same
        """Ask for the vector."""
        return UploadRequest()

    def accept(self, number: int, message: Upload, tail: memoryview) -> None:  # noqa: ARG002
        """Add a vector."""
        words = np.frombuffer(tail, self._ring.dtype)
        signed, bound = words.view(self._ring.signed), self._params.vector.bound
        if int(signed.min()) < -bound or int(signed.max()) > bound:
            raise RemoteProtocolError("a vector outside its bound")
        self._total += words
        self._contributors += 1

    @property
    def ready(self) -> bool:
        """Whether the minimum is met."""
        return self._contributors >= self._params.minimum_contributors

    def close(self) -> Aggregate:
        """Return the sum."""
        if not self.ready:
            raise RoundAborted(
                f"{self._contributors} clients uploaded and {self._params.minimum_contributors} are needed "
                f"(cohort.minimum)"
            )
        return finish_sum(self._total, self._ring, contributors=self._contributors, vector=self._params.vector)


class PlainServer(LockstepServer):
    """A server that sees everything: the baseline."""

    def __init__(self, params: SessionParams) -> None:
        if not isinstance(params.setting, PlainSetting):
            raise TypeError(f"parameters of {params.suite} given to PlainServer")
        super().__init__(params, UploadStep(params))
