"""Sessions of a node between two messages, each of which may find another process: sealed, in Flower's own state.

What comes back from there may be old: a guard that does not sleep sees that no state answers twice.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from flwr.app import ConfigRecord, Context

from privfl.errors import DecodeError, DisclosureRefused
from privfl.wire import Bytes16
from privfl.wire.typed import decoder_of

RECORD: Final = "privfl"
_SESSIONS: Final = "sessions"
MOST_KEPT: Final = 4
"""A training and an evaluation under way, and the next of each; with more, the oldest is forgotten."""


class Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A session at rest.

    Attributes:
        session: its nonce.
        sealed: as the session's `to_bytes` wrote it.
        of_committee: whether it is a member's of the committee, or a client's.
    """

    session: Bytes16
    sealed: bytes
    of_committee: bool = False


_All = Annotated[tuple[Kept, ...], msgspec.Meta(max_length=MOST_KEPT)]


class Shelf:
    """The sessions that a node keeps; `put_back` writes them to Flower's state.

    Raises:
        DecodeError: what stands there is not ours.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        record = context.state.config_records.get(RECORD)
        raw = b"\x90" if record is None else record.get(_SESSIONS)
        try:
            kept = decoder_of(_All).decode(raw)  # type: ignore[arg-type]  # raises if it is not bytes
        except (msgspec.MsgspecError, ValueError, TypeError):
            raise DecodeError(f"the record {RECORD!r} in the node's state is not as it was written") from None
        self._kept = {(one.session, one.of_committee): one for one in kept}

    def holds(self, session: bytes, *, of_committee: bool = False) -> bool:
        """Whether a session is on the shelf."""
        return (session, of_committee) in self._kept

    def take(self, session: bytes, *, of_committee: bool = False) -> bytes:
        """Take a session off the shelf: sealed.

        Raises:
            DisclosureRefused: it is not there.
        """
        kept = self._kept.pop((session, of_committee), None)
        if kept is None:
            raise DisclosureRefused(
                "a session that this node does not hold: it is over, was given up for newer ones, or never began"
            )
        return kept.sealed

    def add(self, kept: Kept) -> None:
        """Put a session on the shelf; if it is full, the oldest goes: its secrets are gone, and it answers no more."""
        place = (kept.session, kept.of_committee)
        self._kept.pop(place, None)
        self._kept[place] = kept
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def put_back(self) -> None:
        """Write what is on the shelf to Flower's state."""
        raw = msgspec.msgpack.encode(tuple(self._kept.values()))
        self._context.state.config_records[RECORD] = ConfigRecord({_SESSIONS: raw})
