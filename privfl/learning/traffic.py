"""What the messages of a round weigh: what the simulated clock needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from privfl.learning.sessions import Sessions
from privfl.lockstep.sizes import SessionSizes
from privfl.session import Phase
from privfl.suites import suite
from privfl.wire import Role

_BEFORE: Final = frozenset({Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS})
_UPLOADS: Final = frozenset({Phase.MASKED_INPUT, Phase.UPLOAD})
FLOAT32_BYTES: Final = 4


class SessionTraffic:
    """Sizes of a run's messages, as their suite's parameters fix them; of messages that vary, the largest.

    Args:
        sessions: the run's.
        parameters: of the model.
    """

    def __init__(self, sessions: Sessions, parameters: int) -> None:
        self._sessions = sessions
        self._parameters = parameters
        self._by_size: dict[int, SessionSizes] = {}

    def can_be_held(self, cohort: Sequence[int]) -> bool:
        """See `Traffic`."""
        return self._sessions.why_not(len(cohort)) is None

    def model_bytes(self) -> int:
        """See `Traffic`."""
        return FLOAT32_BYTES * self._parameters

    def key_bytes(self, cohort: Sequence[int]) -> int:
        """See `Traffic`."""
        return self._sent(cohort, _BEFORE)

    def upload_bytes(self, cohort: Sequence[int]) -> int:
        """See `Traffic`."""
        return self._sent(cohort, _UPLOADS)

    def closing_bytes(self, cohort: Sequence[int]) -> int:
        """See `Traffic`."""
        return self._sent(cohort, frozenset(Phase) - _BEFORE - _UPLOADS)

    def closing_round_trips(self, cohort: Sequence[int]) -> int:
        """See `Traffic`."""
        late = frozenset(Phase) - _BEFORE - _UPLOADS
        return sum(role is Role.CLIENT and phase in late for role, phase in self._sizes(cohort))

    def _sent(self, cohort: Sequence[int], phases: frozenset[Phase]) -> int:
        sizes = self._sizes(cohort).items()
        return sum(size.most for (role, phase), size in sizes if role is Role.CLIENT and phase in phases)

    def _sizes(self, cohort: Sequence[int]) -> SessionSizes:
        """Sizes of a session's messages, by the number of its clients: who they are changes next to nothing."""
        if len(cohort) not in self._by_size:
            params = self._sessions.planned(bytes(32), tuple(cohort))
            self._by_size[len(cohort)] = suite(params.suite).message_sizes(params)
        return self._by_size[len(cohort)]
