"""A client's side of HTTP: asks a coordinator for steps, answers them, and goes on through everything.

Theory of operation. One loop, one connection, one request after the other: ask for an offer, let the participant answer
it, bring the answer, ask again. A coordinator that is away is asked again, ever more seldom, up to every ten seconds.
One that was restarted has a new epoch, which is taken over, and greets anew. Answers go in chunks; after a cut the
coordinator is asked how much it has, and a line that loses chunks gets smaller ones. Whatever the coordinator does not
wait for any more is dropped: the participant has it on disk, and nothing is lost that anybody could still use.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Final

from privfl.errors import ConfigurationError, RemoteProtocolError
from privfl.integrations.consortium import Declined, Greeting, Offer, Over, Participant, Step
from privfl.integrations.consortium.messages import (
    MOST_GREETING_BYTES,
    MOST_OFFER_BYTES,
    MOST_WAIT_S,
    decode,
    decode_offer,
)
from privfl.integrations.consortium.refusals import one_line
from privfl.integrations.http.line import Answer, Line
from privfl.integrations.http.patience import Lost, Moved, Patience, Stopped
from privfl.integrations.http.signing import Signer, digest_header
from privfl.integrations.http.tls import client_context
from privfl.integrations.http.vouching import VOUCHED_HEADER, check_vouched
from privfl.primitives.signatures import Identity

LOGGER: Final = logging.getLogger("privfl.http")
POLL_S: Final = 20.0
STOPPED: Final = "stopped"
_MOST_CHUNK_BYTES: Final = 2**20
_LEAST_CHUNK_BYTES: Final = 32 * 1024
_MOST_TURNS_BACK: Final = 10  # of one upload: a line that loses chunks, not a coordinator that plays
_MOST_TOLD_BYTES: Final = 500
_LEAST_PAUSE_S: Final = 1.0
_WARY_S: Final = 10.0  # where somebody else than the coordinator answers


class _NotWaited(Exception):
    """The coordinator has gone on: this step is over."""


class Joined:
    """A client of a coordinator.

    Args:
        participant: answers steps.
        url: of the coordinator, such as "https://coordinator.example:8443".
        ca: PEM file of the authority that the coordinator's certificate must come from; no other is trusted.
        identity: the key that requests are signed with; the coordinator's roster lists its public half.
        number: the client's number there.
        client_certificate: PEM files of the client's own certificate and its key, where the coordinator demands one.
        stop: ends the loop when it is set, after the request or the step that is under way.
        give_up_after_s: seconds without any answer from the coordinator after which the loop ends; None: never.
        poll_s: seconds that the coordinator may take to answer when it has nothing to offer.
        uds: a Unix socket on this machine that leads to the coordinator, instead of the URL's host.

    Guarantees:
        1. Nothing is listened to but what comes from the coordinator that the authority vouches for, under the name in
           the URL, over a certificate that the key in its greeting vouches for; and to nobody else is anything said but
           a request for a greeting.
        2. No answer, no vector and no secret is logged.

    Raises:
        ConfigurationError: the URL or a file does not do.
    """

    def __init__(
        self,
        participant: Participant,
        *,
        url: str,
        ca: Path,
        identity: Identity,
        number: int,
        client_certificate: tuple[Path, Path] | None = None,
        stop: threading.Event | None = None,
        give_up_after_s: float | None = None,
        poll_s: float = POLL_S,
        uds: Path | None = None,
    ) -> None:
        if not 0 < poll_s <= MOST_WAIT_S:
            raise ConfigurationError(f"poll_s is {poll_s!r}: seconds up to {MOST_WAIT_S:g} work, such as {POLL_S:g}")
        self._participant = participant
        self._poll_s = poll_s
        self._patience = Patience(stop=stop or threading.Event(), give_up_after_s=give_up_after_s)
        context = client_context(ca, own=client_certificate)
        self._line = Line(url, context, Signer(identity, number), self._patience, longest_answer_s=poll_s, uds=uds)
        self._greeted: bytes | None = None  # epoch of the coordinator's process
        self._vouched = False
        self._chunk_bytes = _MOST_CHUNK_BYTES

    def run(self) -> str:
        """Take part until all is over.

        Returns:
            Why it is over, in the coordinator's words; `STOPPED` if `stop` was set.

        Raises:
            RemoteProtocolError: the coordinator does not know this client, or does not keep to what was agreed.
            RoundAborted: nothing was heard of it for `give_up_after_s`.
            PrivflError: what the participant's `greet` raises.
        """
        try:
            with self._line:
                self._line.meet()
                while True:
                    try:
                        over = self._turn()
                    except Moved:
                        self._greeted = None
                        self._patience.back_off(Lost("another certificate than the coordinator greeted with"))
                        continue
                    if over is not None:
                        LOGGER.info("the run is over: %s", one_line(over.why))
                        self._participant.forget_old(b"")
                        return over.why
        except Stopped:
            return STOPPED

    def _turn(self) -> Over | None:
        """Ask what there is, and do it; return why all is over, if it is."""
        offer = self._offer()
        if isinstance(offer, Over):
            return offer
        if isinstance(offer, Step):
            self._serve(offer)
        return None

    def rouse(self) -> None:
        """Ask soon if the coordinator was away and is being waited for; from any thread, as often as anybody likes."""
        self._patience.rouse()

    def _offer(self) -> Offer | None:
        """Ask what there is, and wait if there is nothing; None: the coordinator was restarted meanwhile."""
        self._greet()
        begun = self._patience.now()
        answer = self._get(f"/v1/offer?wait={self._poll_s:g}", MOST_OFFER_BYTES)
        if self._line.epoch != self._greeted:
            self._greeted = None
            return None
        offer = decode_offer(answer.body)
        if not isinstance(offer, Step | Over):
            # Whatever a coordinator says, it is not asked again without a pause.
            waited = self._patience.now() - begun
            self._patience.wait(max(offer.seconds, _LEAST_PAUSE_S - waited, 0.0))
        return offer

    def _greet(self) -> None:
        """Learn what the run is: at first, and again from every process and every certificate of the coordinator."""
        while self._greeted is None:
            self._line.pin(None)
            answer = self._get("/v1/greeting", MOST_GREETING_BYTES)
            greeting = decode(answer.body, Greeting)
            try:
                check_vouched(greeting, answer.certificate, answer.headers.get(VOUCHED_HEADER, ""))
            except RemoteProtocolError as stranger:
                if not self._vouched:  # more likely a certificate that was put in the wrong place
                    raise
                LOGGER.warning("%s; asking again", stranger)
                self._line.hang_up()
                self._patience.wait(_WARY_S)
                continue
            self._vouched = True
            # What is open now is the connection that the greeting came over, or none.
            self._line.pin(answer.certificate)
            self._participant.greet(greeting)
            self._greeted = self._line.epoch
            LOGGER.info("joined run %s", greeting.run.hex())

    def _get(self, target: str, most_bytes: int) -> Answer:
        answer = self._line.ask("GET", target, most_bytes=most_bytes)
        if answer.status != 200:
            raise _unexpected(answer)
        return answer

    def _serve(self, step: Step) -> None:
        """Answer a step, or say that it will not be."""
        LOGGER.info("round %d: %s", step.round, step.phase)
        self._participant.forget_old(step.session)
        try:
            answer = self._participant.answer(step, self._model)
            if len(answer) <= step.most_bytes:
                self._bring(step, answer)
            else:
                LOGGER.warning("round %d, %s: the coordinator has no room for the answer", step.round, step.phase)
                self._decline(step, "the answer is longer than there is room for")
        except Declined as declined:
            LOGGER.warning("round %d, %s: this client takes no part: %s", step.round, step.phase, declined)
            self._decline(step, declined.told)
        except _NotWaited:
            LOGGER.info("round %d, %s: the coordinator has gone on", step.round, step.phase)
            # What it offers now may still be this step for a moment: not again and again, then.
            self._patience.wait(_LEAST_PAUSE_S)

    def _model(self, digest: bytes, length: int) -> bytes:
        """Fetch a model; the participant checks that it is the one.

        Raises:
            _NotWaited: it is not the open session's any more.
        """
        answer = self._line.fetch(f"/v1/models/{digest.hex()}", length)
        if answer.status == 409:
            raise _NotWaited
        if answer.status != 200:
            raise _unexpected(answer)
        return answer.body

    def _decline(self, step: Step, told: str) -> None:
        body = told.encode()[:_MOST_TOLD_BYTES].decode(errors="ignore").encode() or b"-"
        answer = self._line.ask("POST", f"/v1/declined/{step.session.hex()}", body=body)
        # Late is as good: nobody waits any more.
        if answer.status not in {200, 409}:
            raise _unexpected(answer)

    def _bring(self, step: Step, answer: bytes) -> None:
        """Upload an answer.

        Raises:
            _NotWaited: nobody waits for it.
        """
        target = f"/v1/answers/{step.session.hex()}/{step.phase}"
        turns_back, received = 0, None
        while True:
            try:
                said = self._line.ask("GET", target) if received is None else self._chunk(target, answer, received)
            except Lost as lost:
                # A line that loses what is long gets it in smaller pieces.
                self._chunk_bytes = max(_LEAST_CHUNK_BYTES, self._chunk_bytes // 2)
                self._patience.back_off(lost)
                received = None
                continue
            told = said.told
            if said.status == 200 and told.complete:
                self._participant.delivered(step.session, step.phase)
                return
            if said.status == 422:
                LOGGER.warning(
                    "round %d, %s: the coordinator refused the answer: %s", step.round, step.phase, told.line
                )
                return
            if said.status == 409 and told.received is None:
                raise _NotWaited
            if said.status not in {200, 400, 409} or told.received is None or not 0 <= told.received <= len(answer):
                raise _unexpected(said)
            turns_back += received is not None and told.received <= received
            received = told.received
            if received == len(answer):
                # All there, and being handed on for another request of ours that was cut.
                turns_back, received = turns_back + 1, None
                self._patience.wait(_LEAST_PAUSE_S)
            if turns_back > _MOST_TURNS_BACK:
                raise RemoteProtocolError("the coordinator asks for the same bytes again and again")

    def _chunk(self, target: str, answer: bytes, received: int) -> Answer:
        chunk = answer[received : received + self._chunk_bytes]
        whole = {"repr-digest": digest_header(hashlib.sha256(answer).digest())} if received == 0 else {}
        said = self._line.once("PUT", f"{target}?offset={received}&of={len(answer)}", body=chunk, headers=whole)
        self._chunk_bytes = min(_MOST_CHUNK_BYTES, self._chunk_bytes * 2)
        return said


def join(
    participant: Participant,
    *,
    url: str,
    ca: Path,
    identity: Identity,
    number: int,
    client_certificate: tuple[Path, Path] | None = None,
    stop: threading.Event | None = None,
    give_up_after_s: float | None = None,
) -> str:
    """Take part in a coordinator's run until it is over; arguments, return value and errors as those of `Joined`."""
    return Joined(
        participant,
        url=url,
        ca=ca,
        identity=identity,
        number=number,
        client_certificate=client_certificate,
        stop=stop,
        give_up_after_s=give_up_after_s,
    ).run()


def _unexpected(answer: Answer) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"the coordinator answers {answer.status}: {answer.told.line or 'nothing that is known'}"
    )
