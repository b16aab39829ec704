"""What goes otherwise than it should between a coordinator and its clients; all of it under `PrivflError`."""

from __future__ import annotations

from typing import Final

from privfl.errors import PrivflError, ProtocolError

MOST_REASON_LENGTH: Final = 300


class NotWaited(ProtocolError):
    """What came is for another session or phase than the open one, or from a client that is not waited for.

    Nobody's fault where messages are late or repeated, so it is no `RemoteProtocolError`; nothing has changed.
    """


class Closed(PrivflError):
    """The coordinator's hall was closed: nothing is held there any more."""


class Declined(PrivflError):
    """This client takes no part in a session; its text is for the client's own log.

    Args:
        why: all of it, for the owner.
        told: what the coordinator may know, at most 500 bytes of UTF-8.

    Attributes:
        told: likewise.
    """

    def __init__(self, why: str, *, told: str) -> None:
        super().__init__(why)
        self.told = told


def one_line(words: str, most: int = MOST_REASON_LENGTH) -> str:
    """Return somebody's words as they may stand in a log or on a page: one line, printable, not too long."""
    return "".join(sign if sign.isprintable() else " " for sign in words[:most])
