"""The server's post: puts the steps of sessions into Flower's messages, sends them, and gives answers to sessions."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from msgspec import structs

from privfl.errors import DecodeError, PrivflError, RemoteProtocolError
from privfl.integrations.flower import carrying
from privfl.integrations.flower.holding import LOG, Held, printable
from privfl.integrations.flower.messages import Answer, Enrolment, EnrolStep, Request, decode, encode
from privfl.integrations.flower.node import enrolment_parts
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity, verify
from privfl.roster import Roster
from privfl.session import Phase

_CHALLENGE_BYTES: Final = 32


class Post:
    """Carries what sessions say through a grid.

    Args:
        grid: Flower's.
        timeout: seconds that nodes have for a phase that needs no training.
        identity: key that requests are signed with, or None.
    """

    def __init__(self, grid: Grid, *, timeout: float, identity: Identity | None) -> None:
        self._grid = grid
        self._timeout = timeout
        self._identity = identity
        self._run = grid.run.run_id

    def put(self, content: RecordDict, node: int, sums: Sequence[Held]) -> None:
        """Put the steps of some sessions for a node into a message."""
        asked = [one.ask(node) for one in sums]
        requests, long = carrying.split([request for _, request in asked])
        steps = tuple(
            structs.replace(step, request=request) for (step, _), request in zip(asked, requests, strict=True)
        )
        self._sign(content, node, Request(steps=steps), long)

    def accept(self, node: int, sums: Sequence[Held], reply: Message) -> None:
        """Give a node's answers to the sessions that asked."""
        try:
            answers = _answers(reply, len(sums))
        except DecodeError as error:
            answers = [(b"", str(error))] * len(sums)
        for one, (response, why) in zip(sums, answers, strict=True):
            one.take(node, response, why)

    def exchange(self, sums: Collection[Held], message_type: str) -> None:
        """Ask all nodes that sessions wait for, and close their phases: who does not answer in time has dropped."""
        phases = {id(one): one.phase for one in sums}
        asked = {node: [one for one in sums if node in one.waiting] for one in sums for node in one.waiting}
        begun = time.perf_counter()
        for node, reply in self._send(
            {node: self._message(node, those) for node, those in asked.items()}, message_type
        ):
            self.accept(node, asked[node], reply)
        seconds = time.perf_counter() - begun
        for one in sums:
            if not one.over:
                _spend(one, phases[id(one)], seconds)
                one.close()

    def enrol(
        self, nodes: Collection[int], roster: Roster, message_type: str, *, committee: bool = False
    ) -> dict[int, int]:
        """Ask nodes for their numbers on a roster; return those that proved one, node to number.

        Of two nodes with one number neither can be told from the other: the first that answers keeps it.
        """
        challenges = {node: os.urandom(_CHALLENGE_BYTES) for node in nodes}
        contents = {}
        for node, challenge in challenges.items():
            contents[node] = RecordDict()
            self._sign(contents[node], node, Request(steps=(EnrolStep(challenge=challenge, committee=committee),)), {})
        found: dict[int, int] = {}
        for node, reply in self._send(contents, message_type):
            try:
                ((response, why),) = _answers(reply, 1)
                number = self._enrolled(node, response, why, challenges[node], roster)
                if number in found.values():
                    raise RemoteProtocolError(f"number {number} is another node's")
                found[node] = number
            except PrivflError as error:
                level = logging.INFO if committee else logging.WARNING  # that most nodes are no members is no news
                why = printable(str(error))  # it may be the node's own words
                LOG.log(level, "privfl: node %d is left out, because it did not prove who it is: %s", node, why)
        return found

    def _enrolled(self, node: int, response: bytes, why: str, challenge: bytes, roster: Roster) -> int:
        if not response:
            raise RemoteProtocolError(why or "no answer")
        said = decode(response, Enrolment)
        public = roster.identities.get(said.number)
        if public is None:
            raise RemoteProtocolError(f"number {said.number} is not on the roster")
        parts = enrolment_parts(challenge, roster, run=self._run, node=node, number=said.number)
        verify(public, said.signature, Label.FLOWER_ENROLMENT, *parts)
        return said.number

    def _message(self, node: int, sums: Sequence[Held]) -> RecordDict:
        content = RecordDict()
        self.put(content, node, sums)
        return content

    def _sign(self, content: RecordDict, node: int, request: Request, long: Mapping[int, bytes]) -> None:
        signature = b""
        if self._identity is not None:
            parts = carrying.signed_parts(encode(request), long, run=self._run, node=node)
            signature = self._identity.sign(Label.FLOWER_REQUEST, *parts)
        carrying.put(content, request, long, signature)

    def _send(self, contents: Mapping[int, RecordDict], message_type: str) -> list[tuple[int, Message]]:
        """Send messages; return replies that have content, by node."""
        # A node that is late must not work on what nobody waits for: messages last as long as the server waits.
        messages = [Message(content, node, message_type, ttl=self._timeout) for node, content in contents.items()]
        got = []
        for reply in self._grid.send_and_receive(messages, timeout=self._timeout) if messages else ():
            node = reply.metadata.src_node_id
            if reply.has_error():
                LOG.warning("privfl: no answer of a node (%d): %s", node, printable(str(reply.error.reason)))
            elif node in contents:
                got.append((node, reply))
        return got


def _spend(one: Held, phase: Phase, seconds: float) -> None:
    one.record.seconds[phase.value] = one.record.seconds.get(phase.value, 0.0) + seconds


def _answers(reply: Message, count: int) -> list[tuple[bytes, str]]:
    """Read a node's answers.

    Raises:
        DecodeError: they are not as the mod makes them.
    """
    carried = carrying.take(reply.content)
    if carried is None:
        raise DecodeError("a reply without protection: the node's app has no SecureAggregationMod")
    steps = carried.read(Answer).steps
    if len(steps) != count:
        raise DecodeError(f"{len(steps)} answers to {count} steps")
    responses = carrying.joined([step.response for step in steps], carried.long)
    return [(response, step.why) for response, step in zip(responses, steps, strict=True)]
