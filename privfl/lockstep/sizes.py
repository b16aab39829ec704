"""What may leave the parties of a session, and how long: for whoever looks at it afterwards, and knows its parameters.

A suite measures its own messages, made in the shapes that its parties give them. Frames are padded to multiples of 16
bytes, so that up to 15 bytes can change in one without its length telling: what stands in the padding is for whoever
opens the frame to find, as every receiver does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from privfl.session import Phase
from privfl.wire import Message, Role, envelope_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSizes:
    """What may leave the parties of one role in one phase: one message of each sender, of these lengths.

    Attributes:
        by_sender: groups of senders, numbers within the role, and the lengths in bytes that their messages may have; no
            sender is in two groups.
        fewest_senders: as many send at least, if the session's sum is released.
        most_senders: more than so many never send.
    """

    by_sender: tuple[tuple[frozenset[int], frozenset[int]], ...]
    fewest_senders: int
    most_senders: int

    @classmethod
    def exactly(
        cls, size_bytes: int, senders: Iterable[int], *, fewest_senders: int, most_senders: int | None = None
    ) -> MessageSizes:
        """Return the sizes of messages that all have one length; most senders are all of them unless given."""
        group = frozenset(senders)
        return cls(
            by_sender=((group, frozenset({size_bytes})),),
            fewest_senders=fewest_senders,
            most_senders=len(group) if most_senders is None else most_senders,
        )

    def of(self, sender: int) -> frozenset[int]:
        """Return the lengths that a message of this sender may have; none if it has nothing to send."""
        return next((sizes for group, sizes in self.by_sender if sender in group), frozenset())

    def admits(self, sender: int, size_bytes: int) -> bool:
        """Whether a message of this sender may have this length."""
        return size_bytes in self.of(sender)

    @property
    def senders(self) -> frozenset[int]:
        """Who may send: numbers within the role."""
        return frozenset().union(*(group for group, _ in self.by_sender))

    @property
    def least(self) -> int:
        """Length of the shortest message, in bytes."""
        return min(min(sizes) for _, sizes in self.by_sender)

    @property
    def most(self) -> int:
        """Length of the longest message, in bytes."""
        return max(max(sizes) for _, sizes in self.by_sender)

    @property
    def exact(self) -> bool:
        """Whether the parameters fix the length, whoever sends and whoever drops out."""
        return self.least == self.most


SessionSizes = Mapping[tuple[Role, Phase], MessageSizes]
"""By role and phase; what is not in it sends nothing."""


def body_bytes(value: Message | int) -> int:
    """Measure a message's struct, or a number within it."""
    return len(msgspec.msgpack.encode(value))


def frame_bytes(message: Message, tail_bytes: int = 0) -> int:
    """Measure a message as it travels, with such a vector behind it."""
    return envelope_bytes(body_bytes(message), tail_bytes)
