"""Writing a script by playing it, and forging the messages of those that must fail."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from known_answers.script import Cast, spliced
from privfl import (
    SERVER,
    Identity,
    PartyId,
    Phase,
    Roster,
    ServerModel,
    SessionParams,
    ThreatModel,
    VectorSpec,
    plan_session,
)
from privfl.params import KaheSetting, WireForm
from privfl.primitives.secret import Secret
from privfl.wire import (
    HEADER_BYTES,
    Message,
    OutgoingFrame,
    SuiteCode,
    decode_message,
    encode_message,
    envelope_bytes,
    message_type,
    open_envelope,
)

LENGTH = 8
BOUND = 1000
PATTERN = 61
"""Coordinates after which a submitted vector repeats itself."""


def seeded(*words: object, length: int = 32) -> bytes:
    """Bytes that follow from words: nothing in a script was chosen by hand, or drawn anew."""
    text = "/".join(["privfl known answers", *map(str, words)])
    return hashlib.sha256(text.encode()).digest()[:length]


def identity_of(number: int) -> Identity:
    """A client's identity, the same in all scripts."""
    return Identity(Secret(seeded("identity", number)))


class Recording:
    """A script that is being written, by playing it.

    Args:
        name: of the script; all that is random follows from it.
        description: for people.
        agreement: see `agree`.
    """

    def __init__(self, name: str, description: str, **agreement: Any) -> None:
        params = agree(name, **agreement)
        self._description = description
        self._head: dict[str, Any] = {"params": params.to_bytes().hex(), "params_digest": params.digest.hex()}
        if params.roster_digest:
            self._head["identities"] = {str(number): seeded("identity", number).hex() for number in params.cohort}
        if params.suite != "plain":
            everybody = ["server", *map(str, params.cohort)]
            self._head["entropy"] = {who: seeded(name, "entropy", who, length=16).hex() for who in everybody}
        self._head["vectors"] = {str(number): _vector(name, number, params.vector) for number in params.cohort}
        self.cast = Cast(self._head)
        self._operations: list[dict[str, Any]] = []

    def do(
        self, do: str, number: int | None = None, given: bytes | None = None, *, fails: str = "", match: str = ""
    ) -> None:
        """Carry out an operation and write it down.

        Args:
            do: which.
            number: the client that it is about.
            given: bytes in the place of the honest ones.
            fails: the class of the exception that it must raise; none unless given.
            match: what the exception must say, so that it fails for the reason that is meant.
        """
        operation: dict[str, Any] = {"do": do}
        if number is not None:
            operation["client"] = number
        if given is not None:
            operation["given"] = spliced(given, self.cast.responses.get(number or 0, b""))
        came_out = self.cast.perform(operation)
        if came_out.get("fails", "") != fails or (fails and not re.search(match, str(self.cast.error))):
            raise AssertionError(
                f"{self._description}: {do} of {number} gave {came_out} ({self.cast.error!r}) where "
                f"{fails or 'an answer'} {match!r} was meant"
            )
        self._operations.append(operation | came_out)

    def bind(self, context: bytes, *numbers: int) -> None:
        """Bind these clients, or all and the server, to a context that was to come."""
        for number in numbers or (None, *self.cast.params.cohort):
            self.do("bind", number, context)

    def answer(self, number: int) -> bytes:
        """Ask a client honestly; its response is not delivered yet."""
        self.do("request", number)
        self.do("respond", number)
        return self.cast.responses[number]

    def deliver(self, number: int) -> None:
        """Ask a client honestly, and deliver its response."""
        self.answer(number)
        self.do("receive", number)

    def answers(self, *, silent: Collection[int] = ()) -> None:
        """Whoever has not answered does, but for the silent."""
        for who in sorted(self.cast.server.waiting):
            if who.number not in silent:
                self.deliver(who.number)

    def step(self, *, silent: Collection[int] = ()) -> None:
        """The same, and the phase is closed."""
        self.answers(silent=silent)
        self.do("advance")

    def to(self, phase: Phase, *, silent: Mapping[Phase, Collection[int]] | None = None) -> None:
        """Go on until that phase waits for answers; the silent of a phase answer nothing in it."""
        while (now := self.cast.server.phase) is not phase:
            self.step(silent=(silent or {}).get(now, ()))

    def finish(self, *, silent: Collection[int] = ()) -> dict[str, Any]:
        """Go on to the sum without the silent; return the script."""
        while self.cast.server.phase is not Phase.FINISHED:
            self.step(silent=silent)
        self.do("result")
        return self.script()

    def script(self) -> dict[str, Any]:
        """The script, with what is to be expected of it at the top."""
        failing = [step for step, operation in enumerate(self._operations, 1) if "fails" in operation]
        expect: dict[str, Any] = {"expect": "sum"}
        if failing:
            [step] = failing  # one scenario a file: one step fails
            then = {"result": "sum", "respond": "silence", "advance": "nothing"}[self._operations[-1]["do"]]
            expect = {"expect": self._operations[step - 1]["fails"], "step": step, "then": then}
        return {"description": self._description} | expect | self._head | {"operations": self._operations}


def agree(
    name: str,
    *,
    n: int = 4,
    suite_name: str = "masking",
    server: ServerModel = ServerModel.HONEST_BUT_CURIOUS,
    dropout: float = 0.0,
    threshold: int | None = None,
    minimum: int | None = None,
    length: int = LENGTH,
    bound: int = BOUND,
    wire: WireForm = WireForm.WORDS,
    late: bool = False,
) -> SessionParams:
    """Agree on a small session: n clients from number 10 on, one perhaps corrupt; a `late` context is to come."""
    cohort = tuple(range(10, 10 + n))
    params = plan_session(
        suite_name,
        cohort=cohort,
        vector=VectorSpec(length=length, bound=bound),
        threat=ThreatModel(corrupt=1 / n, dropout=dropout, server=server),
        wire=wire,
        minimum_contributors=minimum,
        nonce=seeded(name, "nonce", length=16),
        context=b"" if late else seeded(name, "context"),
        roster=Roster({number: identity_of(number).public for number in cohort}),
    )
    planned = params.setting
    if threshold is None or params.masking is None:
        return params
    inner = replace(params.masking, threshold=threshold)
    return replace(params, setting=replace(planned, masking=inner) if isinstance(planned, KaheSetting) else inner)


class Opened(NamedTuple):
    """A frame taken apart."""

    message: Any
    suite: SuiteCode
    session: bytes
    sender: PartyId
    body: bytes
    tail: bytes


def opened(frame: bytes, kind: type[Message]) -> Opened:
    """Take a frame apart, whatever the length of its tail."""
    body_bytes = int.from_bytes(frame[HEADER_BYTES - 4 : HEADER_BYTES], "little")
    tails = {message_type(kind): len(frame) - envelope_bytes(body_bytes)}
    envelope = open_envelope(frame, body_limit_bytes=len(frame), tail_bytes_of=tails)
    return Opened(
        decode_message(envelope, kind),
        envelope.suite,
        envelope.session,
        envelope.sender,
        bytes(envelope.body),
        bytes(envelope.tail),
    )


def framed(
    message: Message, *, session: bytes, sender: PartyId = SERVER, tail: bytes = b"", suite: SuiteCode | None = None
) -> bytes:
    """A message of the forger's own."""
    frame = encode_message(
        message, suite=suite or SuiteCode.MASKING, session=session, sender=sender, tail_bytes=len(tail)
    )
    if tail:
        frame.write_tail(np.uint8, lambda room: room.__setitem__(slice(None), np.frombuffer(tail, np.uint8)))
    return frame.finish()


def altered(
    frame: bytes, kind: type[Message], *, session: bytes | None = None, tail: bytes | None = None, **fields: Any
) -> bytes:
    """An honest message with some of its fields changed, still well-formed."""
    honest = opened(frame, kind)
    return framed(
        msgspec.structs.replace(honest.message, **fields),
        session=honest.session if session is None else session,
        sender=honest.sender,
        tail=honest.tail if tail is None else tail,
        suite=honest.suite,
    )


def recoded(frame: bytes, kind: type[Message], change: Callable[[bytes], bytes]) -> bytes:
    """An honest message with its struct's bytes changed, its header fitting them."""
    honest = opened(frame, kind)
    body = change(honest.body)
    if body == honest.body:
        raise AssertionError(f"nothing was changed in a {kind.__name__}")
    return OutgoingFrame(
        suite=honest.suite, type_number=message_type(kind), sender=honest.sender, session=honest.session, body=body
    ).finish()


def long_form(frame: bytes, kind: type[Message]) -> bytes:
    """The same struct, the length of its array written in three bytes where one does: msgpack allows it."""
    return recoded(frame, kind, lambda body: b"\xdc\x00" + bytes([body[0] & 0x0F]) + body[1:])


def of_suite(frame: bytes, suite: SuiteCode) -> bytes:
    """The same message under another suite's number."""
    return frame[:5] + bytes([suite]) + frame[6:]


def flipped(raw: bytes, position: int = 0) -> bytes:
    """The same bytes but for one bit."""
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


def _vector(name: str, number: int, spec: VectorSpec) -> list[int]:
    drawn = [seeded(name, "vector", number, i)[:16] for i in range(min(spec.length, PATTERN))]
    return [int.from_bytes(value, "big") % (2 * spec.bound + 1) - spec.bound for value in drawn]
