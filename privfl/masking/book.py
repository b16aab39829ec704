"""What the phases of a `masking` server hand on to each other: small values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privfl.errors import RoundAborted
from privfl.masking import secrets
from privfl.masking.graph import Graph, draw_witnesses
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    AdvertiseKeys,
    ShareKeys,
)
from privfl.masking.payload import Payload
from privfl.masking.planner import Quorum
from privfl.params import MaskingSetting, SessionParams
from privfl.primitives.entropy import Entropy
from privfl.roster import Roster
from privfl.session import Phase
from privfl.wire import CONTROL_BODY_LIMIT_BYTES

_ANSWER_BYTES_PER_PEER = 128  # the largest record, number, sealed shares and confirmation, has 101


@dataclass(slots=True)
class SessionBook:
    """What the phases hand on to each other: small values only."""

    params: SessionParams
    setting: MaskingSetting
    payload: Payload
    workers: int
    roster: Roster | None
    quorum: Quorum | None
    entropy: Entropy
    session: bytes = b""
    graph: Graph = field(default=None)  # type: ignore[assignment]  # set when the keys are in
    crowd: bytes = b""  # who shared keys, as bits; active model
    proofs: dict[int, bytes] = field(default_factory=dict)
    keys: dict[int, AdvertiseKeys] = field(default_factory=dict)
    shared: dict[int, ShareKeys] = field(default_factory=dict)

    @property
    def answer_limit_bytes(self) -> int:
        """Longest struct that a client may send."""
        return CONTROL_BODY_LIMIT_BYTES + self.setting.degree * _ANSWER_BYTES_PER_PEER

    def able(self, numbers: set[int]) -> set[int]:
        """Drop, again and again, clients with fewer than t neighbours among the rest: they would have to refuse.

        Every edge is looked at once or twice, however the dropping spreads.
        """
        left = set(numbers)
        count = {number: self._neighbours_among(number, left) for number in left}
        lonely = [number for number, neighbours in count.items() if neighbours < self.setting.threshold]
        while lonely:
            number = lonely.pop()
            left.discard(number)
            for peer in self.graph.neighbours(number):
                if peer in left:
                    count[peer] -= 1
                    if count[peer] == self.setting.threshold - 1:
                        lonely.append(peer)
        return left

    def all_able(self, numbers: set[int]) -> bool:
        """Whether everybody among them has t neighbours among them."""
        return all(self._neighbours_among(number, numbers) >= self.setting.threshold for number in numbers)

    @property
    def bound_session(self) -> bytes:
        """Session id from MaskedInput on; empty, so that no message has it, while the context is to come."""
        return secrets.bound_session(self.session, self.params.context) if self.params.context else b""

    @property
    def witnesses(self) -> frozenset[int]:
        """Who may sign; nobody in the honest-but-curious model."""
        if self.quorum is None:
            return frozenset()
        return draw_witnesses(self.params.cohort, self.quorum.witnesses, self.params.keys_digest)

    def has_quorum(self, survivors: set[int]) -> bool:
        """Whether enough witnesses are among them to sign; in the honest-but-curious model nobody has to."""
        if self.quorum is None:
            return True
        return len(survivors & self.witnesses) >= self.quorum.signatures

    def _neighbours_among(self, number: int, others: set[int]) -> int:
        return sum(peer in others for peer in self.graph.neighbours(number))

    def require_enough(self, left: set[int], phase: Phase) -> None:
        """Abort under the minimum.

        Raises:
            RoundAborted: fewer are left than may be summed.
        """
        minimum = self.params.minimum_contributors
        if len(left) < minimum or not left:
            raise RoundAborted(
                f"{len(left)} clients are left after {phase} and {minimum} are needed (cohort.minimum), each with "
                f"{self.setting.threshold} neighbours"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """Whose vectors arrived, whose did not, and who signed for that.

    Attributes:
        survivors: the contributors.
        dropped: clients that shared keys and sent no vector.
        participant_bits: both together as witnesses sign them; active model, as what follows.
        survivor_bits: the survivors likewise.
        signatures: of both sets, by a quorum of witnesses in order of their numbers.
    """

    survivors: set[int]
    dropped: set[int]
    participant_bits: bytes = b""
    survivor_bits: bytes = b""
    signatures: Mapping[int, bytes] = field(default_factory=dict)


def confirmation_of(message: ShareKeys, peer: int) -> bytes:
    """Return what a client confirmed about a pair with one of its peers."""
    return record(message.confirmations, message.peers.index(peer), CONFIRMATION_BYTES)


def record(column: bytes, index: int, record_bytes: int) -> bytes:
    """Return one record of a column of fixed-size ones."""
    return column[index * record_bytes : (index + 1) * record_bytes]
