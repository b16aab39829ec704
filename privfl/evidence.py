"""What left each client and each member of a committee, as digests, sizes and phases; an audit reads it.

One JSON object a line. It tells that an upload of such a size left in such a phase, never what was in it; the digest
lets whoever kept the upload show that it is the one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privfl.guard import append_line
from privfl.wire import PartyId


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One message that left a client, or a member of a committee.

    Attributes:
        role: `client` or `committee`.
        client: number of the sender within its role.
        phase: phase in which it left.
        size_bytes: its length on the wire.
        sha256: digest of its bytes, hex.
    """

    client: int
    phase: str
    size_bytes: int
    sha256: str
    role: str = "client"

    @classmethod
    def of(cls, sender: PartyId, phase: str, message: bytes) -> MessageRecord:
        """Record a message."""
        return cls(
            role=sender.role.name.lower(),
            client=sender.number,
            phase=phase,
            size_bytes=len(message),
            sha256=hashlib.sha256(message).hexdigest(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session of a run.

    Attributes:
        round: number of the round, from 1.
        suite: name of the suite.
        params_digest: hex.
        cohort_size: clients invited.
        contributors: clients in the sum; 0 if nothing was released.
        released: whether a sum was released.
        messages: what left the clients, in order.
    """

    round: int
    suite: str
    params_digest: str
    cohort_size: int
    contributors: int
    released: bool
    messages: tuple[MessageRecord, ...]


class EvidenceLog:
    """Appends sessions to a file, a line each.

    Args:
        path: the file; made when the first session is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: SessionRecord) -> None:
        """Write one session."""
        line = json.dumps(asdict(record), separators=(",", ":"))
        append_line(self._path, line)


def read_evidence(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the sessions of a file, in order."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
