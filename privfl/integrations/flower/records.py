"""What a wrapped strategy says of its rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class RoundRecord:
    """How one secure sum went.

    Attributes:
        round: the server's round.
        kind: "train" or "evaluate".
        suite: which suite summed.
        cohort: ids of the nodes that were invited.
        contributors: how many are in the sum.
        dropped: nodes of the cohort that are not.
        seconds: of each exchange with the nodes, by phase, in the order in which they took place.
        upload_bytes: of the protocol, from all nodes.
        download_bytes: of the protocol, to all nodes.
        error_std: standard deviation of the error of each coordinate of the sum, in steps; 0.0 is exact.
        aborted: why nothing was released, or None.
        refusals: why nodes did not answer, by node.
    """

    round: int
    kind: str
    suite: str
    cohort: tuple[int, ...] = ()
    contributors: int = 0
    dropped: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    upload_bytes: int = 0
    download_bytes: int = 0
    error_std: float = 0.0
    aborted: str | None = None
    refusals: dict[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; node ids as text, since they have 64 bits."""
        return {
            "round": self.round,
            "kind": self.kind,
            "suite": self.suite,
            "cohort": [str(node) for node in self.cohort],
            "contributors": self.contributors,
            "dropped": [str(node) for node in self.dropped],
            "seconds": dict(self.seconds),
            "upload_bytes": self.upload_bytes,
            "download_bytes": self.download_bytes,
            "error_std": self.error_std,
            "aborted": self.aborted,
            "refusals": {str(node): why for node, why in self.refusals.items()},
        }
