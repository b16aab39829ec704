"""What a participant works for: the owner's side of a run."""

from __future__ import annotations

from typing import Protocol

from privfl.integrations.consortium.messages import Greeting, Step
from privfl.params import KeyEpoch, SessionParams
from privfl.session import Vector


class Work(Protocol):
    """What a participant's owner does for a run: learning, say."""

    def enter(self, greeting: Greeting) -> None:
        """See what the run is, before anything of it is answered; called once in every process that enters it.

        Raises:
            PrivflError: this client has no part in it.
        """
        ...

    def check(self, step: Step, params: SessionParams) -> None:
        """See that a step is one of the run as it was shown, before anything of it is fetched, kept or answered.

        Raises:
            PrivflError: it is not; the coordinator may know why.
        """
        ...

    def check_key(self, epoch: KeyEpoch) -> None:
        """See that a committee's key is made for the run's sums, where a committee opens them.

        Raises:
            PrivflError: it is not; the coordinator may know why.
        """
        ...

    def context(self, step: Step, model: bytes) -> bytes:
        """Return what the vector is about: 32 bytes, from what the client was shown, never the server's word.

        Raises:
            PrivflError: the step is not one that this client works for; the coordinator may know why.
        """
        ...

    def charge(self, step: Step, params: SessionParams) -> None:
        """Charge the client's own budget, before anything is trained.

        A client that is killed before its answer is written charges the same session again when it goes on.

        Raises:
            Exception: whatever it is, it ends this client's part in the session.
        """
        ...

    def vector(self, step: Step, params: SessionParams, model: bytes, context: bytes) -> Vector:
        """Train, and return what came of it: int32 or int64, shape (params.vector.length,).

        Asked for once, when nothing but the vector is missing for an answer.

        Raises:
            Exception: whatever it is, it ends this client's part in the session.
        """
        ...
