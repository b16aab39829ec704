"""Which models the clients of one buffer may have trained from: agreed beforehand, as the session's context says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest


def model_digest(weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Digest of a model: its arrays, in their order; 32 bytes."""
    names = b"\0".join(name.encode() for name in weights)
    return digest(Label.MODEL, names, *(np.ascontiguousarray(array).tobytes() for array in weights.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersions:
    """The models that the updates of one buffer may start from.

    Clients that arrive when they can have trained on different models. All of them agree on the list, because its
    digest is in the session's context: under `masking` and `kahe` the masks of two clients that were given different
    lists do not cancel. And each finds its own model on it, or does not take part: nobody is made to add an
    update to a model that the others know nothing of.

    Attributes:
        buffer: number of the buffer, from 1.
        current: the model that the sum moves.
        digests: of the models that updates may start from, by version; 32 bytes each. Versions count how often the
            model has moved.

    Guarantees:
        1. `staleness` tells a client nothing about a model that is not on the list.
        2. Any other list, or job, has another `context`.

    References:
        Pasquini, Francati, Ateniese, *Eluding Secure Aggregation in Federated Learning via Model Inconsistency*,
        CCS 2022.
    """

    buffer: int
    current: int
    digests: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if self.current not in self.digests or max(self.digests) > self.current or min(self.digests) < 0:
            raise ConfigurationError(
                f"versions {sorted(self.digests)} beside a current version of {self.current}: it and older ones work"
            )

    def context(self, job: bytes) -> bytes:
        """Return what the buffer's session is about: 32 bytes, for its parameters.

        Args:
            job: the job, as all parties know it.
        """
        listed = [number.to_bytes(8, "big") + self.digests[number] for number in sorted(self.digests)]
        numbers = self.buffer.to_bytes(8, "big"), self.current.to_bytes(8, "big")
        return digest(Label.CONTEXT_BUFFER, *numbers, job, *listed)

    def staleness(self, version: int, model: bytes) -> int:
        """Return by how many moves an update is behind: what a client asks before it takes part.

        Args:
            version: of the model that it trained on.
            model: digest of that model, as the client has it.

        Raises:
            DisclosureRefused: the buffer is not for updates of that model.
        """
        if self.digests.get(version) != model:
            raise DisclosureRefused(f"buffer {self.buffer} is not for updates of the model that was trained on")
        return self.current - version
