"""What a session of a peer costs, and how far its mean is off."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.bench.updates import make_update
from privfl.errors import ConfigurationError

Update = npt.NDArray[np.float32]

_PLAUSIBLE: Final = 1e-3
"""Of full scale. Peers round to about 1e-6; what is left of a mask, or of a key, is off by the size of a modulus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSession:
    """What one session of a peer cost.

    The mean itself, which goes back to the clients in clear, is not counted, as it is not for suites either.

    Attributes:
        client_cpu_s: CPU of one client that uploads, the median over them: everything from its float32 update to its
            last byte, and what it does with the answer, such as decrypting it.
        server_cpu_s: CPU of the server, up to the float mean, or to the answer that clients decrypt.
        upload_bytes: from all clients together.
        download_bytes: to all clients together.
        phases: by name `client_cpu_s` (of all clients together, those that vanish later included), `server_cpu_s`,
            `upload_bytes` and `download_bytes`.
        max_abs_error: of the mean, largest of all coordinates, as a fraction of full scale.
        error_std_of_mean: standard deviation of that error over the coordinates, likewise.
        contributors: how many clients are in the mean.
        versions: version by package.
    """

    client_cpu_s: float
    server_cpu_s: float
    upload_bytes: int
    download_bytes: int
    phases: Mapping[str, Mapping[str, float]]
    max_abs_error: float
    error_std_of_mean: float
    contributors: int
    versions: Mapping[str, str]


class Updates:
    """Clients' updates, made when they are needed and forgotten after; only the sum of what is uploaded is kept.

    Args:
        parameters: coordinates of an update.
    """

    def __init__(self, parameters: int) -> None:
        self._parameters = parameters
        self._total = np.zeros(parameters)
        self._contributors = 0

    def __call__(self, number: int) -> Update:
        """Make the update of a client that uploads: float32, shape (parameters,), uniform in [-1, 1]: full scale."""
        update = make_update(number, self._parameters)
        self._total += update
        self._contributors += 1
        return update

    def mean(self) -> npt.NDArray[np.float64]:
        """Return the exact mean of all that were made."""
        return self._total / self._contributors


@dataclass(slots=True)
class _Phase:
    clients_cpu_s: dict[int, float] = field(default_factory=dict)
    server_cpu_s: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0


class Meter:
    """Adds up CPU time of this process, and bytes, by phase and party."""

    def __init__(self) -> None:
        self._phases: defaultdict[str, _Phase] = defaultdict(_Phase)

    @contextmanager
    def client(self, phase: str, number: int) -> Iterator[None]:
        """Time what a client does."""
        begun = time.process_time()
        yield
        spent = self._phases[phase].clients_cpu_s
        spent[number] = spent.get(number, 0.0) + time.process_time() - begun

    @contextmanager
    def server(self, phase: str) -> Iterator[None]:
        """Time what the server does."""
        begun = time.process_time()
        yield
        self._phases[phase].server_cpu_s += time.process_time() - begun

    def alike(self, phase: str, number: int, others: Iterable[int]) -> None:
        """Let others spend in a phase what a client spent that did what they all do."""
        spent = self._phases[phase].clients_cpu_s
        spent |= dict.fromkeys(others, spent[number])

    def sent(self, phase: str, *, upload: int = 0, download: int = 0) -> None:
        """Count bytes from a client and to a client."""
        self._phases[phase].upload_bytes += upload
        self._phases[phase].download_bytes += download

    def session(
        self,
        contributors: Iterable[int],
        mean: npt.NDArray[np.floating[Any]],
        exact: npt.NDArray[np.float64],
        versions: Mapping[str, str],
        install: str,
    ) -> PeerSession:
        """Sum up.

        Args:
            contributors: who is in the mean.
            mean: as the peer has it, shape (parameters,).
            exact: the mean as it should be.
            versions: version by package.
            install: what installs a version whose mean is right.

        Raises:
            ConfigurationError: the mean is off.
        """
        off = mean - exact
        largest = float(np.abs(off).max())
        if not largest <= _PLAUSIBLE:
            installed = ", ".join(f"{package} {number}" for package, number in versions.items())
            raise ConfigurationError(
                f"the mean is off by {largest:.1e} of full scale under {installed}, whose costs say nothing then: "
                f"{install} works"
            )
        uploading, phases = list(contributors), self._phases.values()
        return PeerSession(
            client_cpu_s=statistics.median(
                sum(phase.clients_cpu_s.get(number, 0.0) for phase in phases) for number in uploading
            ),
            server_cpu_s=sum(phase.server_cpu_s for phase in phases),
            upload_bytes=sum(phase.upload_bytes for phase in phases),
            download_bytes=sum(phase.download_bytes for phase in phases),
            phases={
                name: {
                    "client_cpu_s": sum(phase.clients_cpu_s.values()),
                    "server_cpu_s": phase.server_cpu_s,
                    "upload_bytes": phase.upload_bytes,
                    "download_bytes": phase.download_bytes,
                }
                for name, phase in self._phases.items()
            },
            max_abs_error=largest,
            error_std_of_mean=float(off.std()),
            contributors=len(uploading),
            versions=versions,
        )
