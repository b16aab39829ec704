"""`compression.*` of a job: which coordinates of an update travel, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from privfl.compression.compressor import Compressor, Keep
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError

_ANY: Final = Layout((("any", (1 << 30, 1 << 30)),))
"""So large that something of it travels, whatever the fraction: what is wrong then is so for every model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionJob:
    """`compression.*`: what of an update travels.

    All clients of a sum send the same coordinates, which follow from what all of them know, so that no position
    travels, and none tells anything.

    Attributes:
        keep: `all`; `random`, coordinates drawn anew for every sum; `magnitude`, those where the global model is
            largest.
        fraction: share of the coordinates that travels; of `random` and `magnitude`.
        feedback: what becomes of the others under `random`: every client keeps so much of them, and adds it to its
            next update; 0 forgets them, 1 keeps all of them.
        rotate: spread an update evenly over its coordinates before it is rounded: fewer bits and a smaller
            `encoding.clip` are enough then.
    """

    keep: Keep = Keep.ALL
    fraction: float = 1.0
    feedback: float = 0.0
    rotate: bool = False

    def __post_init__(self) -> None:
        self.compressor(_ANY)
        if self.keep is not Keep.ALL and self.fraction == 1:
            raise ConfigurationError(
                f"compression.fraction is 1 with compression.keep {self.keep.value!r}, which leaves nothing out then: "
                f"a number above 0, below 1, works, such as 0.2"
            )

    @property
    def compresses(self) -> bool:
        """Whether anything but whole updates travels."""
        return self.keep is not Keep.ALL or self.rotate

    def compressor(self, layout: Layout, *, statistics: frozenset[str] = frozenset()) -> Compressor:
        """Return what compresses updates of a layout.

        Args:
            layout: names and shapes.
            statistics: arrays that are no parameters, such as running variances: what a client kept of an old one is
                nothing to a new one, so that they travel whole.

        Raises:
            ConfigurationError: nothing of them would travel.
        """
        return Compressor(
            layout=layout,
            keep=self.keep,
            fraction=self.fraction,
            feedback=self.feedback,
            rotate=self.rotate,
            whole=statistics,
        )
