"""One try at a step, and what becomes of the session if it fails."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Final

from privfl.errors import BudgetExceeded, DecodeError, DisclosureRefused, LedgerError, PrivflError
from privfl.integrations.consortium.keeping import Shelf
from privfl.integrations.consortium.messages import Step
from privfl.integrations.consortium.refusals import Declined, one_line
from privfl.integrations.home import PartyHome
from privfl.session import ClientSession

UNTOLD: Final = "this client takes no part: its log says why"
ENDED: Final = "session that was given up"
"""What is claimed of a session that was refused."""
_MOST_TOLD_BYTES: Final = 500


class Attempt:
    """One try at a step.

    Attributes:
        step: what is asked.
        request: SHA-256 of its request.
        unmoved: whether nothing but the request's bytes was at fault.
        private: whether a reason could tell of the owner's data or budget.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.request = hashlib.sha256(step.request).digest()
        self.unmoved = False
        self.private = False

    def check_upload(self, session: ClientSession) -> None:
        """See `ClientSession.check_upload`."""
        try:
            session.check_upload(self.step.request)
        except DecodeError:
            self.unmoved = True
            raise

    def respond(self, session: ClientSession) -> bytes:
        """See `ClientSession.respond`."""
        try:
            return session.respond(self.step.request)
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
            nonce = self._attempt.step.session
            with suppress(DisclosureRefused):  # it is claimed already, or the disk is at fault: the file goes
                self._home.guard.claim(ENDED, nonce)
            self._shelf.forget(nonce)
        raise Declined(str(error) or type(error).__name__, told=self._told(error)) from error

    def _told(self, error: Exception) -> str:
        """Return what the coordinator may know of a refusal."""
        why = str(error)
        own = isinstance(error, BudgetExceeded | LedgerError) or str(self._home.folder) in why
        if self._attempt.private or own or not isinstance(error, PrivflError):
            return UNTOLD
        return one_line(why, _MOST_TOLD_BYTES).encode()[:_MOST_TOLD_BYTES].decode(errors="ignore")
