"""The bases of sessions by themselves: steps among parties of any role, vectors behind requests, and failing closed."""

import copy
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from privfl import (
    SERVER,
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    PartyId,
    Phase,
    RemoteProtocolError,
    Role,
    RoundAborted,
    client,
)
from privfl.lockstep.party import LockstepParty, SessionOver
from privfl.lockstep.server import ServerStep, StepServer
from privfl.wire import HEADER_BYTES, Message, SuiteCode, encode_message

SESSION = bytes(range(32))
WORDS = np.arange(100, dtype=np.uint32)
MEMBERS = (0, 3, 7)


class Ask(Message, frozen=True, tag=0x71):
    factor: int


class Answer(Message, frozen=True, tag=0x72):
    pass


class Confirm(Message, frozen=True, tag=0x73):
    pass


class Confirmed(Message, frozen=True, tag=0x74):
    pass


def member(number):
    return PartyId(Role.COMMITTEE, number)


# A session of two steps: members of a committee multiply a vector, then one client says that this is well


class Multiply(ServerStep[Answer, list]):
    phase = Phase.DEAL
    role = Role.COMMITTEE
    answer = Answer
    session = SESSION
    body_limit_bytes = 100

    def __init__(self, words=WORDS):
        self.waiting = set(MEMBERS)
        self.words = words
        self.tail_bytes = words.nbytes
        self.products = {}

    def request_for(self, number):
        return Ask(factor=number)

    def tail_for(self, number):
        return self.words.data

    def accept(self, number, message, tail):
        words = np.frombuffer(tail, np.uint32)
        if words[0]:
            raise RemoteProtocolError("the first product is zero")
        self.products[number] = words

    @property
    def ready(self):
        return len(self.products) > 1

    def close(self):
        if not self.ready:
            raise RoundAborted("too few members")
        return Conclude([int(words.sum()) for words in self.products.values()])


class Conclude(ServerStep[Confirmed, list]):
    phase = Phase.UPLOAD
    answer = Confirmed
    session = SESSION
    body_limit_bytes = 100

    def __init__(self, sums):
        self.waiting = {3}
        self.sums = sums

    def request_for(self, number):
        return Confirm()

    def accept(self, number, message, tail):
        pass

    @property
    def ready(self):
        return True

    def close(self):
        return self.sums


@dataclass(frozen=True)
class Fresh:
    pass


@dataclass(frozen=True)
class Done:
    pass


class Member(LockstepParty):
    _suite = SuiteCode.CKKS

    def __init__(self, number, *, party=None, tail_bytes=WORDS.nbytes, **options):
        options = {"state": Fresh(), "body_limit_bytes": 100, "remember_response": True} | options
        super().__init__(party or member(number), **options)
        self.tail_bytes = tail_bytes
        self.raises = None
        self.before = []

    def _handlers(self):
        return {(Fresh, Ask): self._multiply, (Done, Confirm): self._confirm, (Fresh, Confirm): self._confirm}

    def _tail_bytes_of(self):
        return {Ask: self.tail_bytes}

    def _before(self, incoming, *, expected):
        self.before.append((type(incoming.message), expected))

    def _multiply(self, state, incoming):
        if self.raises:
            raise self.raises
        frame = self._frame(Answer(), incoming.session, tail_bytes=self.tail_bytes)
        words = np.frombuffer(incoming.tail, np.uint32)
        frame.write_tail(np.uint32, lambda out: np.multiply(words, np.uint32(incoming.message.factor), out=out))
        return Done(), frame.finish()

    def _confirm(self, state, incoming):
        return Done(), self._frame(Confirmed(), incoming.session).finish()


def make_server(words=WORDS):
    return StepServer(SuiteCode.CKKS, Multiply(words))


def multiplied(*, silent=()):
    """A server whose first step everybody but the silent has answered."""
    server = make_server()
    for number in MEMBERS:
        if number not in silent:
            server.receive(member(number), Member(number).respond(server.request_for(member(number))))
    return server


def test_a_session_of_steps_ends_in_a_result_of_any_type():
    server = make_server()
    assert server.phase is Phase.DEAL
    assert server.waiting == {member(number) for number in MEMBERS}
    with pytest.raises(LocalProtocolError, match=r"^there is no result in phase Deal$"):
        _ = server.result
    server = multiplied(silent={0})
    assert server.waiting == {member(0)}
    assert server.ready
    server.advance()
    assert server.waiting == {client(3)}
    server.receive(client(3), Member(3, party=client(3)).respond(server.request_for(client(3))))
    server.advance()
    assert server.phase is Phase.FINISHED
    assert server.result == [3 * 4950, 7 * 4950]


def test_an_abort_releases_nothing():
    server = multiplied(silent={0, 7})
    with pytest.raises(RoundAborted):
        server.advance()
    assert server.phase is Phase.ABORTED
    assert not server.waiting
    with pytest.raises(LocalProtocolError, match="no result"):
        _ = server.result
    with pytest.raises(RemoteProtocolError, match="a session that is over"):
        server.receive(member(0), b"")


def test_only_parties_of_the_step_s_role_are_asked_and_heard():
    """Client 3 and member 3 are two parties."""
    server = make_server()
    request = server.request_for(member(3))
    for stranger in (client(3), SERVER, member(1)):
        with pytest.raises(LocalProtocolError, match=f"^{stranger} takes no part in Deal$"):
            server.request_for(stranger)
    answers = {party: Member(3, party=party).respond(request) for party in (client(3), member(3))}
    for sender in (client(3), member(1)):
        with pytest.raises(RemoteProtocolError, match=f"^{sender} takes no part in Deal$") as caught:
            server.receive(sender, answers[member(3)])
        assert caught.value.peer == sender
    with pytest.raises(DecodeError, match=r"^committee 3 delivered a CKKS message of client 3$"):
        server.receive(member(3), answers[client(3)])
    assert server.waiting == {member(number) for number in MEMBERS}
    server.receive(member(3), answers[member(3)])

    server = multiplied()
    server.advance()
    with pytest.raises(LocalProtocolError, match=r"^committee 3 takes no part in Upload$"):
        server.request_for(member(3))
    assert server.request_for(client(3))


def test_the_vector_behind_a_request_is_its_tail_word_for_word():
    server = make_server()
    requests = [server.request_for(member(number)) for number in MEMBERS]
    for request in requests:
        assert request.endswith(WORDS.tobytes())
        assert (len(request) - WORDS.nbytes) % 16 == 0  # so that words are read in place
    server = multiplied()
    server.advance()
    assert len(server.request_for(client(3))) == HEADER_BYTES + 16


def test_a_large_vector_is_copied_once_for_a_request():
    words = np.zeros(1_000_000, np.uint32)
    server = make_server(words)
    server.request_for(member(0))
    tracemalloc.start()
    try:
        request = server.request_for(member(3))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(request) > words.nbytes
    assert peak < 1.01 * words.nbytes


@pytest.mark.parametrize("tail_bytes", [0, 4, WORDS.nbytes - 4, WORDS.nbytes + 4])
def test_a_tail_of_another_length_than_agreed_is_not_decoded(tail_bytes):
    """Of requests as of responses; what is not named has none."""
    server, session = make_server(), Member(3)
    request, state = server.request_for(member(3)), session._state
    frame = encode_message(Ask(factor=3), suite=SuiteCode.CKKS, session=SESSION, sender=SERVER, tail_bytes=tail_bytes)
    with pytest.raises(DecodeError, match="bytes where"):
        session.respond(frame.finish())
    frame = encode_message(Confirm(), suite=SuiteCode.CKKS, session=SESSION, sender=SERVER, tail_bytes=16)
    with pytest.raises(DecodeError, match="bytes where"):
        session.respond(frame.finish())
    assert session._state is state
    response = session.respond(request)
    with pytest.raises(DecodeError, match="bytes where"):
        server.receive(member(3), response[: len(response) - WORDS.nbytes] + bytes(tail_bytes))
    server.receive(member(3), response)


def test_guarantee_1_bytes_that_do_not_decode_leave_the_state_unmoved():
    session, server = Member(3), make_server()
    request, state = server.request_for(member(3)), session._state
    forged = Member(3)._frame(Ask(factor=3), SESSION, tail_bytes=WORDS.nbytes).finish()  # a member's, not the server's
    other = encode_message(Confirm(), suite=SuiteCode.KAHE, session=SESSION, sender=SERVER).finish()
    for wrong in (b"", request[:-1], bytearray(request), request[:-1] + b"\1" + b"\0", forged, other):
        with pytest.raises(DecodeError):
            session.respond(wrong)
        assert session._state is state
    assert not session.before


def test_guarantee_2_a_repeated_request_gets_the_same_response_and_nothing_else_happens():
    session, server = Member(3), make_server()
    request = server.request_for(member(3))
    response, state = session.respond(request), session._state
    assert session.respond(request) is response
    assert session._state is state
    assert session.before == [(Ask, True)]
    forgetful = Member(3, remember_response=False)
    assert forgetful.respond(request) == response
    with pytest.raises(LocalProtocolError, match="cannot repeat"):
        forgetful.respond(request)
    assert forgetful._state == Done()


def test_guarantee_3_what_is_not_expected_ends_the_session():
    session, server = Member(3), make_server()
    session.respond(server.request_for(member(3)))
    with pytest.raises(
        DisclosureRefused, match=r"^Ask has no place in state Done: it comes twice, too late, or from another session$"
    ):
        session.respond(server.request_for(member(7)))
    assert session.before == [(Ask, True), (Ask, False)]
    assert session._state == SessionOver(
        "refused: Ask has no place in state Done: it comes twice, too late, or from another session"
    )
    assert session._last is None
    with pytest.raises(DisclosureRefused, match=r"^the session is over: refused: Ask has no place"):
        session.respond(server.request_for(member(3)))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DisclosureRefused("not this"), "refused: not this"),
        (DecodeError("inside"), "refused: inside"),
        (ValueError("private"), "refused: ValueError"),
        (KeyboardInterrupt(), "refused: KeyboardInterrupt"),
    ],
)
def test_guarantee_3_a_refusal_ends_the_session_and_keeps_our_own_texts_only(error, why):
    session = Member(3)
    session.raises = error
    with pytest.raises(type(error)):
        session.respond(make_server().request_for(member(3)))
    assert session._state == SessionOver(why)


@pytest.mark.parametrize("error", [LocalProtocolError("not yet"), ConfigurationError("does not fit")])
def test_the_caller_s_own_slip_leaves_the_state(error):
    session, request = Member(3), make_server().request_for(member(3))
    session.raises = error
    with pytest.raises(type(error)):
        session.respond(request)
    session.raises = None
    assert session.respond(request)


def test_a_party_serves_one_thread_and_is_not_copied():
    session = Member(3)
    with session._at_work, pytest.raises(LocalProtocolError, match=r"^committee 3 is answering another request"):
        session.respond(make_server().request_for(member(3)))
    for thing in (session, make_server()):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copy.copy(thing)
