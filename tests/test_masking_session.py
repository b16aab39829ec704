"""The masking suite among parties that follow the protocol: every sum, every drop-out, every repeat."""

import itertools

import numpy as np
import pytest
from harness import BOUND, Play, identity_of, make_params, make_vectors

from privfl import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    Phase,
    RemoteProtocolError,
    RoundAborted,
    ServerModel,
    ThreatModel,
    VectorSpec,
    client,
    suite,
)
from privfl.lockstep.party import SessionOver
from privfl.masking.client import MaskingClient
from privfl.masking.messages import AdvertiseKeysRequest
from privfl.roster import Credentials
from privfl.session import ClientPolicy
from privfl.simulate import roster_of
from privfl.testing import UnsafeFixedEntropy

PHASES = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK)


def play_with_dropouts(play, drops):
    """Run to the end; return who contributed."""
    gone, contributors = set(), ()
    while play.server.phase is not Phase.FINISHED:
        phase = play.server.phase
        gone |= {number for number, when in drops.items() if when is phase}
        if phase is Phase.MASKED_INPUT:
            contributors = {party.number for party in play.server.waiting} - gone
        play.step(silent=gone)
    return contributors


@pytest.mark.parametrize("n", [3, 4, 5, 9, 30])
def test_sum_is_exact_without_dropouts(n):
    play = Play(n=n, threat=ThreatModel(corrupt=0.1, dropout=0.0))
    contributors = play_with_dropouts(play, {})
    assert play.server.result.contributors == n
    assert (play.server.result.vector == play.exact_sum(contributors)).all()


@pytest.mark.parametrize("phases", list(itertools.product(PHASES, repeat=2)))
def test_dropouts_in_any_two_phases_leave_the_sum_over_exactly_the_uploads(phases):
    play = Play(n=7)
    drops = dict(zip((11, 14), phases, strict=True))
    contributors = play_with_dropouts(play, drops)
    assert contributors == {n for n in play.params.cohort if drops.get(n) not in PHASES[:3]}
    assert play.server.result.contributors == len(contributors)
    assert (play.server.result.vector == play.exact_sum(contributors)).all()


def test_a_client_that_vanished_after_its_upload_beside_a_dropped_one_is_unmasked_from_shares_alone():
    play = Play(n=6)
    contributors = play_with_dropouts(play, {10: Phase.MASKED_INPUT, 11: Phase.UNMASK, 12: Phase.UNMASK})
    assert contributors == {11, 12, 13, 14, 15}
    assert (play.server.result.vector == play.exact_sum(contributors)).all()


@pytest.mark.parametrize("phase", PHASES)
def test_round_aborts_below_the_threshold_and_releases_nothing(phase):
    play = Play(n=5)  # corrupt 0.2: threshold 2, so that three must be left
    play.to(phase)
    with pytest.raises(RoundAborted):
        play.step(silent={10, 11, 12, 13})
    assert play.server.phase is Phase.ABORTED
    assert not play.server.waiting
    assert not play.server.ready
    with pytest.raises(LocalProtocolError):
        _ = play.server.result
    with pytest.raises(LocalProtocolError):
        play.server.advance()


def test_ready_says_whether_advance_would_abort():
    for answering in range(6):
        for phase in PHASES:
            play = Play(n=5).to(phase)
            for party in sorted(play.server.waiting)[:answering]:
                play.deliver(party.number)
            ready = play.server.ready
            try:
                play.server.advance()
                aborted = False
            except RoundAborted:
                aborted = True
            assert ready is not aborted, (phase, answering)


@pytest.mark.parametrize("left", [3, 4])
def test_minimum_contributors_is_the_servers_floor_as_well(left):
    play = Play(n=6, minimum=4).to(Phase.MASKED_INPUT)
    silent = list(play.params.cohort)[: 6 - left]
    if left < 4:
        with pytest.raises(RoundAborted, match=r"cohort\.minimum"):
            play.step(silent=silent)
    else:
        play.step(silent=silent)
        play.step()
        assert play.server.result.contributors == left


def test_three_clients_tolerate_no_dropout_and_five_tolerate_two():
    play = Play(n=3, threat=ThreatModel(corrupt=0.1, dropout=0.0)).to(Phase.MASKED_INPUT)
    with pytest.raises(RoundAborted):
        play.step(silent={10})
    play = Play(n=5, threat=ThreatModel(corrupt=0.1, dropout=0.0)).to(Phase.MASKED_INPUT)
    play.step(silent={10, 11})
    play.step()
    assert (play.server.result.vector == play.exact_sum({12, 13, 14})).all()


def test_harary_graph_above_a_hundred_clients_sums_exactly_with_dropouts_in_every_phase():
    params = make_params(n=120, length=40, threat=ThreatModel(corrupt=0.1, dropout=0.1))
    assert params.setting.degree < 119
    play = Play(params)
    drops = {10 + 9 * i: PHASES[i % 4] for i in range(12)}
    contributors = play_with_dropouts(play, drops)
    assert len(contributors) == 120 - 9
    assert (play.server.result.vector == play.exact_sum(contributors)).all()


def test_a_wide_bound_takes_a_ring_of_64_bits():
    params = make_params(n=4)
    params = type(params)(
        **{
            key: getattr(params, key)
            for key in ("cohort", "setting", "threat", "minimum_contributors", "nonce", "context")
        },
        vector=VectorSpec(length=5, bound=2**31 - 1),
    )
    extreme = np.full(5, 2**31 - 1, np.int32)
    play = Play(params, {10: extreme, 11: extreme, 12: -extreme, 13: extreme})
    play_with_dropouts(play, {})
    assert (play.server.result.vector == 2 * (2**31 - 1)).all()


def test_extreme_values_of_the_whole_cohort_do_not_wrap():
    params = make_params(n=9)
    for sign in (1, -1):
        play = Play(params, {number: np.full(16, sign * BOUND, np.int64) for number in params.cohort})
        play_with_dropouts(play, {})
        assert (play.server.result.vector == sign * 9 * BOUND).all()


def test_several_workers_give_the_same_sum():
    params = make_params(n=4, length=200_003)
    vectors = make_vectors(params)
    from privfl import simulate

    results = [simulate(params, vectors, workers=workers).aggregate.vector for workers in (1, 3)]
    assert (results[0] == results[1]).all()
    assert (results[0] == sum(v.astype(np.int64) for v in vectors.values())).all()


def test_chunks_are_summed_like_the_whole_vector():
    params = make_params(n=3, length=100_000)
    vectors = make_vectors(params)
    play = Play(params, vectors)
    fresh = suite("masking").client(params, 11)
    fresh.submit(vectors[11][start : start + 999] for start in range(0, 100_000, 999))
    play.clients[11] = fresh
    play_with_dropouts(play, {})
    assert (play.server.result.vector == play.exact_sum(params.cohort)).all()


# -- submit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vector", "key"),
    [
        (np.zeros(15, np.int32), "vector.length"),
        (np.zeros((16, 1), np.int32), "vector.length"),
        (np.zeros(16, np.float32), "int32 or int64"),
        (np.zeros(16, np.uint32), "int32 or int64"),
        (np.full(16, BOUND + 1, np.int32), "vector.bound"),
        (np.full(16, -BOUND - 1, np.int32), "vector.bound"),
        (np.full(16, -(2**31), np.int32), "vector.bound"),
        (np.full(16, -(2**63), np.int64), "vector.bound"),
    ],
)
def test_submit_refuses_a_vector_that_does_not_fit_and_names_the_key(vector, key):
    session = MaskingClient(make_params(), 10)
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")):
        session.submit(vector)
    session.submit(np.zeros(16, np.int32))  # nothing was taken: a vector that fits still may come


def test_one_session_takes_one_vector():
    session = MaskingClient(make_params(), 10)
    session.submit(np.zeros(16, np.int32))
    with pytest.raises(LocalProtocolError, match="one session, one vector"):
        session.submit(np.zeros(16, np.int32))


@pytest.mark.parametrize("chunks", [[15], [16, 1], [8, 9], []])
def test_chunks_of_the_wrong_total_length_leave_the_request_open(chunks):
    play = Play(n=5).to(Phase.MASKED_INPUT)
    session = suite("masking").client(play.params, 10)
    fresh = Play(play.params)
    fresh.clients[10] = session
    session.submit(np.zeros(size, np.int32) for size in chunks)
    fresh.to(Phase.MASKED_INPUT)
    with pytest.raises(ConfigurationError, match=r"vector\.length"):
        fresh.answer(10)
    session.submit(fresh.vectors[10])
    fresh.step()
    fresh.step()
    assert (fresh.server.result.vector == fresh.exact_sum(fresh.params.cohort)).all()


def test_a_request_before_submit_changes_nothing_and_may_come_again():
    params = make_params()
    play = Play(params)
    play.clients[10] = suite("masking").client(params, 10)
    play.to(Phase.SHARE_KEYS).step()
    with pytest.raises(LocalProtocolError, match="submit"):
        play.answer(10)
    play.clients[10].submit(play.vectors[10])
    play.step()
    play.step()
    assert (play.server.result.vector == play.exact_sum(params.cohort)).all()


def test_the_vector_is_not_kept_after_the_upload():
    play = Play().to(Phase.UNMASK)
    assert play.clients[10]._vector is None
    with pytest.raises(LocalProtocolError):
        play.clients[10].submit(play.vectors[10])


def test_a_vector_is_dropped_with_the_session_that_refuses():
    play = Play().to(Phase.SHARE_KEYS)
    session = play.clients[10]
    assert session._vector is not None
    with pytest.raises(DisclosureRefused):
        session.respond(play.forge_request(AdvertiseKeysRequest()))
    assert session._vector is None
    with pytest.raises(LocalProtocolError, match="is over"):
        session.submit(play.vectors[10])


# -- delivery at least once -------------------------------------------------------------------------------------------


def test_a_byte_identical_repeat_gets_the_same_response_in_every_phase():
    play = Play()
    while play.server.phase is not Phase.FINISHED:
        for party in sorted(play.server.waiting):
            request = play.ask(party.number)
            first = play.clients[party.number].respond(request)
            assert play.clients[party.number].respond(request) == first
            play.server.receive(party, first)
            play.server.receive(party, first)  # and the server ignores a response that is delivered again
        play.server.advance()
    assert (play.server.result.vector == play.exact_sum(play.params.cohort)).all()


def test_a_session_told_not_to_remember_says_so_when_asked_to_repeat():
    params = make_params()
    session = suite("masking").client(params, 10, remember_response=False)
    play = Play(params)
    request = play.ask(10)
    session.respond(request)
    with pytest.raises(LocalProtocolError, match="remember"):
        session.respond(request)


def test_an_older_request_repeated_out_of_order_ends_the_session():
    play = Play()
    play.step()
    play.step()
    old = play.requests[Phase.ADVERTISE_KEYS, 10]
    with pytest.raises(DisclosureRefused):
        play.clients[10].respond(old)
    assert isinstance(play.clients[10]._state, SessionOver)


def test_undecodable_bytes_leave_client_and_server_unmoved():
    play = Play()
    while play.server.phase is not Phase.FINISHED:
        for party in sorted(play.server.waiting):
            request = play.ask(party.number)
            state = play.clients[party.number]._state
            for garbage in (b"", b"PVFL", request[:-1], request + b"\0", bytes(len(request)), request[::-1]):
                with pytest.raises(DecodeError):
                    play.clients[party.number].respond(garbage)
            assert play.clients[party.number]._state is state
            response = play.clients[party.number].respond(request)
            for garbage in (b"", response[:-1], response + b"\0", bytes(len(response))):
                with pytest.raises(DecodeError) as caught:
                    play.server.receive(party, garbage)
                assert caught.value.peer == party
            assert party in play.server.waiting
            play.server.receive(party, response)
        play.server.advance()
    assert (play.server.result.vector == play.exact_sum(play.params.cohort)).all()


@pytest.mark.parametrize("phase", PHASES)
def test_every_request_in_every_state_but_its_own_ends_the_session(phase):
    """The table of states and messages, legal or not."""
    requests = {}
    reference = Play()
    while reference.server.phase is not Phase.FINISHED:
        for party in sorted(reference.server.waiting):
            reference.deliver(party.number)
        requests[reference.server.phase] = reference.requests[reference.server.phase, 10]
        reference.server.advance()
    for other in PHASES:
        if other is phase:
            continue
        play = Play(reference.params).to(phase)
        if play.requests.get((other, 10)) == requests[other]:
            continue  # AdvertiseKeys asks the same bytes in every session of these parameters: a mere repeat
        with pytest.raises(DisclosureRefused):
            play.clients[10].respond(requests[other])
        with pytest.raises(DisclosureRefused, match="over"):
            play.answer(10)


def test_a_finished_client_answers_nothing_more_but_the_repeat():
    play = Play().to(Phase.UNMASK)
    request = play.ask(10)
    told = play.clients[10].respond(request)
    assert play.clients[10].respond(request) == told
    assert play.clients[10]._state == SessionOver("the shares were told")
    altered = play.forge_request(play.request(10).__class__(contributors=4, survivors=(11, 12, 13), dropped=(14,)))
    with pytest.raises(DisclosureRefused):
        play.clients[10].respond(altered)


# -- the server's side of the interface -------------------------------------------------------------------------------


def test_server_refuses_strangers_wrong_senders_and_late_answers():
    play = Play()
    response = play.answer(10)
    with pytest.raises(RemoteProtocolError):
        play.server.receive(client(99), response)
    with pytest.raises(DecodeError, match="client 10"):
        play.server.receive(client(11), response)
    with pytest.raises(LocalProtocolError):
        play.server.request_for(client(99))
    play.server.receive(client(10), response)
    play.step()
    with pytest.raises(DecodeError):
        play.server.receive(client(10), response)  # a late AdvertiseKeys
    for _ in range(3):
        play.step()
    with pytest.raises(RemoteProtocolError, match="over"):
        play.server.receive(client(10), response)


def test_a_dropped_client_takes_no_further_part():
    play = Play(n=6)
    play.step(silent={10})
    assert client(10) not in play.server.waiting
    with pytest.raises(LocalProtocolError):
        play.server.request_for(client(10))
    with pytest.raises(RemoteProtocolError):
        play.server.receive(client(10), b"")


def test_the_graph_depends_on_what_the_server_draws_when_all_keys_are_in():
    """Whoever advertises last could otherwise try keys until the graph suits it."""
    params = make_params(n=120, threat=ThreatModel(corrupt=0.1, dropout=0.1))
    roots = set()
    answers = {}
    for _ in range(2):
        play = Play(params)
        for party in sorted(play.server.waiting):
            if party.number not in answers:
                answers[party.number] = play.answer(party.number)
            play.server.receive(party, answers[party.number])
        play.server.advance()
        roots.add(play.request(10).root)
    assert len(roots) == 2


def test_sessions_and_what_they_hold_are_neither_copied_nor_pickled():
    """A copy could tell the other share of a peer."""
    import copy
    import pickle

    play = Play().to(Phase.UNMASK)
    play.deliver(11)
    held = play.clients[10]._state.held[11]
    for thing in (play.clients[10], play.server, held, play.server._step._shares):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="copied"):
                attempt(thing)


def test_one_session_serves_one_thread():
    """Two requests at once: one is answered, the other refused, whatever the interleaving."""
    import sys
    from concurrent.futures import ThreadPoolExecutor

    from privfl.masking.messages import UnmaskRequest

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            play = Play(n=6).to(Phase.UNMASK)
            first = play.ask(10)
            second = play.forge_request(UnmaskRequest(contributors=5, survivors=(11, 12, 13, 14), dropped=(15,)))

            def attempt(request, session=play.clients[10]):
                try:
                    return session.respond(request)
                except (DisclosureRefused, LocalProtocolError):
                    return None

            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(attempt, (first, second)))
            assert sum(answer is not None for answer in answers) <= 1
    finally:
        sys.setswitchinterval(interval)


# -- policy and parameters --------------------------------------------------------------------------------------------


def test_client_policy_outranks_the_parameters():
    params = make_params(n=5, minimum=2)
    with pytest.raises(ConfigurationError, match=r"cohort\.size"):
        MaskingClient(params, 10, policy=ClientPolicy(minimum_contributors=6))
    play = Play(params)
    strict = MaskingClient(params, 10, policy=ClientPolicy(minimum_contributors=5))
    strict.submit(play.vectors[10])
    play.clients[10] = strict
    play.to(Phase.MASKED_INPUT).step(silent={14})
    with pytest.raises(DisclosureRefused, match="minimum of 5"):
        play.answer(10)


def test_client_policy_has_floors_for_the_threat_model():
    params = make_params(n=5)
    for policy, named in (
        (ClientPolicy(servers=frozenset({ServerModel.ACTIVE})), r"threat\.server"),
        (ClientPolicy(corrupt=0.3), r"threat\.corrupt"),
        (ClientPolicy(statistical_bits=60), r"threat\.statistical_bits"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            MaskingClient(params, 10, policy=policy)


def test_plain_must_be_allowed_by_name():
    params = make_params(suite_name="plain")
    with pytest.raises(ConfigurationError, match="plain"):
        suite("plain").client(params, 10, policy=ClientPolicy())
    with pytest.raises(ConfigurationError, match="suite 'plain' is not allowed"):
        suite(params.suite).client(params, 10)  # the suite's name is the server's word
    named = ClientPolicy(suites=frozenset({"plain"}))
    credentials = Credentials(identity_of(10), roster_of({10: identity_of(10)}))
    with pytest.raises(ConfigurationError, match=r"threat\.server 'honest-but-curious' is not allowed"):
        suite("plain").client(params, 10, policy=named, credentials=credentials)
    assert suite("plain").client(params, 10, policy=named)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"corrupt": float("nan")}, "corrupt of a client's policy is nan"),
        ({"corrupt": 1.0}, "corrupt of a client's policy is 1.0"),
        ({"corrupt_clients": -1}, "corrupt_clients of a client's policy is -1"),
        ({"minimum_contributors": 0}, "minimum_contributors of a client's policy is 0"),
        ({"statistical_bits": 40.5}, "statistical_bits of a client's policy is 40.5"),
    ],
)
def test_a_policy_that_could_not_be_meant_is_refused(fields, named):
    with pytest.raises(ConfigurationError, match=f"^{named}: a .* works"):
        ClientPolicy(**fields)


def test_a_client_refuses_parameters_weaker_than_their_threat_model():
    with pytest.raises(ConfigurationError, match="threshold"):
        MaskingClient(make_params(n=10, threshold=2, threat=ThreatModel(corrupt=0.3, dropout=0.0)), 10)


def test_a_stranger_to_the_cohort_cannot_take_part():
    with pytest.raises(ConfigurationError, match="cohort"):
        MaskingClient(make_params(), 99)


def test_fixed_entropy_gives_the_same_messages():
    params = make_params()
    frames = []
    for _ in range(2):
        session = MaskingClient(params, 10, entropy=UnsafeFixedEntropy(bytes(16)))
        frames.append(session.respond(Play(params).ask(10)))
    assert frames[0] == frames[1]
    other = MaskingClient(params, 10, entropy=UnsafeFixedEntropy(bytes(15) + b"\1"))
    assert other.respond(Play(params).ask(10)) != frames[0]


def test_nothing_secret_is_printed():
    play = Play().to(Phase.UNMASK)
    session = play.clients[10]
    state = session._state
    printed = repr(state) + repr(session) + repr(play.server)
    seeds = [state.self_seed.reveal(), *(seed.reveal() for seed in state.pair_seeds.values())]
    seeds += [share.self_seed for share in state.held.values()] + [share.mask_key for share in state.held.values()]
    for seed in seeds:
        assert seed.hex() not in printed
        assert repr(seed) not in printed
