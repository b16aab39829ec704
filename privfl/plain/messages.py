"""Messages of the `plain` suite."""

from __future__ import annotations

from privfl.wire import Message


class UploadRequest(Message, frozen=True, tag=0x01):
    """Server to client: send the vector."""


class Upload(Message, frozen=True, tag=0x02):
    """Client to server; the vector, in clear, is the tail."""
