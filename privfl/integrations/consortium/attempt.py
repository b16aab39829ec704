"""One try at a step, and what becomes of the session if it fails."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Final, Protocol

from privfl.errors import BudgetExceeded, DecodeError, DisclosureRefused, LedgerError, PrivflError
from privfl.integrations.consortium.keeping import Shelf
from privfl.integrations.consortium.messages import Part, Step, model_digest
from privfl.integrations.consortium.refusals import Declined, one_line
from privfl.integrations.home import PartyHome
from privfl.session import ClientSession

UNTOLD: Final = "this client takes no part: its log says why"
ENDED: Final = "session that was given up"
"""What is claimed of a session that was refused."""
_MOST_TOLD_BYTES: Final = 500


class Answering(Protocol):
    """What the sessions of clients and of members of a committee have in common."""

    def respond(self, request: bytes) -> bytes:
        """See `ClientSession.respond`."""
        ...

    def to_bytes(self, key: bytes) -> bytes:
        """See `ClientSession.to_bytes`."""
        ...


class Attempt:
    """One try at a step.

    Attributes:
        step: what is asked.
        place: names the session and the part: what is claimed of the one is not claimed of the other.
        request: names its request: the SHA-256 of one that stands in the step, else what it is fetched by.
        unmoved: whether nothing but the request's bytes was at fault.
        private: whether a reason could tell of the owner's data or budget.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.place = step.session + (b"" if step.part is Part.CLIENT else step.part.encode())
        self.request = step.fetched or hashlib.sha256(step.request).digest()
        self._raw = step.request
        self.unmoved = False
        self.private = False

    def check_upload(self, session: ClientSession) -> None:
        """See `ClientSession.check_upload`."""
        try:
            session.check_upload(self._raw)
        except DecodeError:
            self.unmoved = True
            raise

    def bring(self, request: bytes) -> None:
        """Take a request that was fetched.

        Raises:
            DisclosureRefused: it is not the one that the step names.
        """
        if len(request) != self.step.fetched_bytes or model_digest(request) != self.step.fetched:
            raise DisclosureRefused("a request that is not the one which the step names")
        self._raw = request

    def respond(self, session: Answering) -> bytes:
        """See `ClientSession.respond`."""
        try:
            return session.respond(self._raw)
        except DecodeError:
            self.unmoved = not self.private  # with a vector it was decoded before: it cannot be the bytes
            raise


class Ending:
    """Ends the session for good, and declines, if what is within raises; a signal to the process ends nothing."""

    def __init__(self, home: PartyHome, shelf: Shelf, attempt: Attempt) -> None:
        self._home = home
        self._shelf = shelf
        self._attempt = attempt

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, Exception):
            return
        if not self._attempt.unmoved:
            with suppress(DisclosureRefused):  # it is claimed already, or the disk is at fault: the file goes
                self._home.guard.claim(ENDED, self._attempt.place)
            self._shelf.forget(self._attempt.step.session, self._attempt.step.part)
        raise Declined(str(error) or type(error).__name__, told=self._told(error)) from error

    def _told(self, error: Exception) -> str:
        """Return what the coordinator may know of a refusal."""
        why = str(error)
        own = isinstance(error, BudgetExceeded | LedgerError) or str(self._home.folder) in why
        if self._attempt.private or own or not isinstance(error, PrivflError):
            return UNTOLD
        return one_line(why, _MOST_TOLD_BYTES).encode()[:_MOST_TOLD_BYTES].decode(errors="ignore")
