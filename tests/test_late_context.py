"""The context comes late: keys are made without it, and from MaskedInput on everything hangs on it."""

import os
from dataclasses import replace

import numpy as np
import pytest
from harness import ACTIVE, Play, identity_of, make_params, read
from test_masking_active import accomplice_signature, forged_unmask
from test_sleep import KEY, Sleepers

from privfl import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    MemoryGuard,
    Phase,
    RemoteProtocolError,
    RoundAborted,
    ServerModel,
    ThreatModel,
    client,
    suite,
)
from privfl.lockstep.party import SessionOver
from privfl.masking import secrets
from privfl.masking.messages import ConsistencyCheck, MaskedInputRequest
from privfl.roster import Credentials
from privfl.wire import Role

OURS, THEIRS = b"\1" * 32, b"\2" * 32
MODELS = pytest.mark.parametrize("server", list(ServerModel))
SUITES = pytest.mark.parametrize("suite_name", ["masking", "kahe"])


def late(**options):
    """A session whose context is to come, everybody waiting for it."""
    return Play(make_params(context=b"", **options)).to(Phase.MASKED_INPUT)


def bind(play, *, others=()):
    """All to one context, but for the others, to whom another is shown."""
    play.server.bind(OURS)
    for number, session in play.clients.items():
        session.bind(THEIRS if number in others else OURS)


def named(play, number, context):
    """A client whose parameters have the context from the start."""
    credentials = Credentials(identity_of(number), play.roster) if play.params.roster_digest else None
    params = play.params.with_context(context)
    session = suite(params.suite).client(
        params, number, credentials=credentials, guard=MemoryGuard(), policy=play.clients[number]._policy
    )
    session.submit(play.vectors[number])
    return session


def addressed(play, frame, context=None):
    """The same message under the id that the session has with this context: it is public, and anybody's to write."""
    session = (
        play.server._step.session if context is None else secrets.bound_session(play.server._book.session, context)
    )
    return frame[:12] + session + frame[44:]


# Keys first


@MODELS
@SUITES
@pytest.mark.parametrize("knowing", [(), (10, 13)])
def test_keys_are_advertised_and_shared_before_the_context_is_known(suite_name, server, knowing):
    """Also beside clients that know it from the start: their keys are made for the same."""
    play = Play(make_params(context=b"", suite_name=suite_name, server=server))
    play.clients |= {number: named(play, number, OURS) for number in knowing}
    play.to(Phase.MASKED_INPUT)
    bind(play)
    play.step(silent={12})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum({10, 11, 13, 14}))
    for party in (play.server, play.clients[11]):
        assert party.params == play.params.with_context(OURS)


@MODELS
@SUITES
def test_vectors_are_not_uploaded_before_the_context_is_known(suite_name, server):
    """The slip costs nothing: the same request is answered once the client is bound."""
    play = late(suite_name=suite_name, server=server)
    play.server.bind(OURS)
    request = play.ask(10)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match=r"call bind\(\) first"):
            play.clients[10].respond(request)
    bind(play)
    play.server.receive(client(10), play.clients[10].respond(request))
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


@SUITES
def test_the_server_takes_no_vector_before_the_context_is_known(suite_name):
    """A liar knows the ids of all contexts; none of them is this session's as long as it has none."""
    play = late(suite_name=suite_name)
    with pytest.raises(LocalProtocolError, match=r"call bind\(\) first"):
        play.server.request_for(client(10))
    liar = late(suite_name=suite_name)
    bind(liar)
    upload = liar.answer(10)
    for context in (b"", OURS, bytes(32)):
        with pytest.raises(DecodeError, match="another session"):
            play.server.receive(client(10), addressed(play, upload, context))
    with pytest.raises(RoundAborted):
        play.server.advance()


# One context


@pytest.mark.parametrize(
    ("suite_name", "server"),
    [*((name, model) for name in ("masking", "kahe") for model in ServerModel), ("plain", None), ("ckks", None)],
)
def test_a_session_serves_one_context(suite_name, server):
    """At both ends, whether it was bound or its parameters had it; what is refused changes nothing."""
    if server is None:
        play, context = Play(make_params(suite_name=suite_name)), bytes(32)
    else:
        play, context = Play(make_params(context=b"", suite_name=suite_name, server=server)), OURS
    for party in (play.server, *play.clients.values()):
        for wrong in (b"", bytes(31), bytes(33), bytearray(32), None, "c" * 32):
            with pytest.raises((ConfigurationError, LocalProtocolError), match=r"exactly 32 bytes|another context"):
                party.bind(wrong)
        assert party.params == play.params
        party.bind(context)
    while play.server.phase is not Phase.FINISHED:
        for party in (play.server, *play.clients.values()):
            if party is play.server or not isinstance(party._state, SessionOver):
                party.bind(context)
                for wrong in (THEIRS, b"", None):
                    with pytest.raises(LocalProtocolError, match="bound to another context"):
                        party.bind(wrong)
            assert party.params.context == context
        play.step()
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_a_session_that_is_over_is_bound_to_nothing():
    play = Play(make_params(context=b""))
    with pytest.raises(DisclosureRefused):
        play.clients[10].respond(play.forge_request(MaskedInputRequest(participants=0, peers=(), sealed=b"")))
    with pytest.raises(LocalProtocolError, match="over"):
        play.clients[10].bind(OURS)
    with pytest.raises(RoundAborted):
        play.server.advance()
    with pytest.raises(LocalProtocolError, match="over"):
        play.server.bind(OURS)


def test_a_session_at_work_is_not_bound():
    """Else another thread could change the context between the masks and the claim."""
    play = Play(make_params())
    session, seen = play.fresh_client(10), []

    def chunks():
        with pytest.raises(LocalProtocolError, match="answering a request"):
            session.bind(bytes(32))
        seen.append(True)
        yield play.vectors[10]

    session.submit(chunks())
    play.clients[10] = session
    play.to(Phase.UNMASK)
    assert seen


def test_keys_of_one_nonce_are_good_for_no_other():
    """A lying server would carry over keys whose private half it once rebuilt."""
    params = make_params(context=b"", server=ACTIVE)
    one, other = Play(params), Play(replace(params, nonce=os.urandom(16)))
    carried = addressed(other, one.answer(10))
    with pytest.raises(RemoteProtocolError, match="client 10 has not signed"):
        other.server.receive(client(10), carried)
    assert one.server._step.session != other.server._step.session


@SUITES
def test_two_sessions_whose_keys_are_ready_upload_to_one_context_once(suite_name):
    """Keys may be made for many sessions; no update goes into two (active model)."""
    guard, plays = MemoryGuard(), []
    for _ in range(2):
        play = Play(make_params(context=b"", suite_name=suite_name, server=ACTIVE))
        play.clients[10] = play.fresh_client(10, guard=guard)
        play.clients[10].submit(play.vectors[10])
        bind(play.to(Phase.MASKED_INPUT))
        plays.append(play)
    plays[0].deliver(10)
    with pytest.raises(DisclosureRefused, match="never sent again"):
        plays[1].deliver(10)


# Two contexts


@MODELS
@SUITES
def test_a_client_with_another_context_drops_out_and_spoils_nothing(suite_name, server):
    """It was shown another model than the server has: it refuses, and the sum is that of the others."""
    play = late(suite_name=suite_name, server=server)
    bind(play, others={12})
    with pytest.raises(DisclosureRefused, match="another session"):
        play.answer(12)
    play.step(silent={12})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum({10, 11, 13, 14}))


@SUITES
@pytest.mark.parametrize("others", [{12}, {12, 13}])
def test_a_sum_over_two_contexts_is_noise_whatever_the_server_says(suite_name, others):
    """A server that lies asks each client under the id that it expects, and gets all that clients ever tell.

    Everybody is shown the same participants. What is left is uniform: masks between groups, whose seeds nobody tells.
    """
    play = late(suite_name=suite_name, length=200)
    bind(play, others=others)
    for _ in (Phase.MASKED_INPUT, Phase.UNMASK):
        for number, one in play.clients.items():
            answer = one.respond(addressed(play, play.ask(number), THEIRS if number in others else OURS))
            play.server.receive(client(number), addressed(play, answer))
        left = play.server._book.payload.masked.view(np.int32).astype(np.float64)
        if play.server.phase is Phase.MASKED_INPUT:
            play.server.advance()
    with pytest.raises(RoundAborted, match="out of range"):
        play.server.advance()
    assert np.abs(left).mean() > 2**28


@SUITES
def test_a_server_that_splits_the_participants_too_gets_a_sum_of_each_group_and_of_no_fewer(suite_name):
    """What the honest-but-curious model leaves out: two servers in one, each of which says that the others are gone."""
    play = Play(make_params(context=b"", suite_name=suite_name, n=10))
    groups = {OURS: range(10, 15), THEIRS: range(15, 20)}
    servers = {context: suite(suite_name).server(play.params) for context in groups}
    advertised = {number: play.answer(number) for number in play.clients}
    for server in servers.values():
        for number, answer in advertised.items():
            server.receive(client(number), answer)
        server.advance()
    for context, group in groups.items():
        play.server = servers[context]
        play.step(silent=set(play.clients) - set(group))
        play.server.bind(context)
        for number in group:
            play.clients[number].bind(context)
        play.to(Phase.FINISHED)
        assert np.array_equal(play.server.result.vector, play.exact_sum(group))
    assert play.params.minimum_contributors > 1
    smaller = Play(make_params(context=b"", suite_name=suite_name, n=10)).to(Phase.SHARE_KEYS)
    for number in range(10, 10 + play.params.minimum_contributors - 1):
        smaller.server.receive(client(number), smaller.answer(number))
    with pytest.raises(RoundAborted):
        smaller.server.advance()


@pytest.mark.parametrize("others", [{13, 14, 15}, {13, 14, 15, 18}])
def test_one_context_of_two_finds_a_quorum(others):
    """Active model: some clients were shown one model, the rest another; the two accomplices sign for both.

    Both groups are shown the same sets, and all signatures there are. Without a quorum of its own context none tells.
    """
    play = late(n=9, server=ACTIVE)
    everybody, accomplices = set(play.params.cohort), {16, 17}
    shown_to = {number: THEIRS if number in others else OURS for number in everybody - accomplices}
    bind(play, others=others)
    for number in everybody:
        answer = play.clients[number].respond(addressed(play, play.ask(number), shown_to.get(number, OURS)))
        play.server.receive(client(number), addressed(play, answer))
    play.server.advance()
    signatures, answered = {}, set()
    for number, context in shown_to.items():
        answer = play.clients[number].respond(addressed(play, play.ask(number), context))
        signatures[number] = read(answer, ConsistencyCheck).signature
        if number in others:  # nor does a server that has the one context take signatures of the other
            with pytest.raises(RemoteProtocolError, match="does not hold"):
                play.server.receive(client(number), addressed(play, answer))
    for number, context in shown_to.items():
        shown = signatures | {n: accomplice_signature(play, n, everybody, context) for n in accomplices}
        request = addressed(play, forged_unmask(play, number, everybody, shown), context)
        try:
            play.clients[number].respond(request)
            answered.add(number)
        except DisclosureRefused as error:
            assert "fewer than the quorum" in str(error)  # noqa: PT017 - one of the groups has its quorum
    assert answered == max(others, set(shown_to) - others, key=len)


def test_two_contexts_of_a_session_share_their_witnesses():
    """With witnesses of its own, each could find a quorum of honest ones."""
    threat = ThreatModel(corrupt=0.02, dropout=0.05, server=ACTIVE)
    play = Play(make_params(n=130, length=3, threat=threat, context=b""))
    known = {play.clients[10]._witness.numbers, play.server._book.witnesses}
    for context in (OURS, THEIRS):
        params = play.params.with_context(context)
        known.add(named(play, 10, context)._witness.numbers)
        known.add(suite("masking").server(params, roster=play.roster)._book.witnesses)
        known.add(suite("masking").message_sizes(params)[Role.CLIENT, Phase.CONSISTENCY_CHECK].senders)
    assert len(known) == 1
    assert len(known.pop()) < 130


# Asleep


@MODELS
@SUITES
def test_a_state_woken_twice_and_bound_to_two_contexts_answers_once(suite_name, server):
    """Otherwise a server could have two uploads of one client under the same seeds."""
    play = Sleepers(suite_name=suite_name, server=server, context=b"").to(Phase.MASKED_INPUT)
    state = play.asleep(10)
    first, second = play.wake(10, state), play.wake(10, state)
    first.bind(OURS)
    second.bind(THEIRS)
    play.clients[10] = first
    second = play.wake(10, second.to_bytes(KEY))  # its context sleeps with it
    with pytest.raises(LocalProtocolError, match="another context"):
        second.bind(OURS)
    for party in (play.server, *play.clients.values()):
        party.bind(OURS)
    play.deliver(10)
    with pytest.raises(DisclosureRefused, match="used before"):
        second.respond(addressed(play, play.requests[Phase.MASKED_INPUT, 10], THEIRS))
    with pytest.raises(DisclosureRefused, match="answered already"):
        play.wake(10, state)
    play.clients[10] = play.wake(10, first.to_bytes(KEY))
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))
