"""Sessions of `ckks`: right within the promised error, opened once, and refused by whoever must not go on."""

import hashlib
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from harness import (
    BOUND,
    Play,
    committee,
    identity_of,
    make_params,
    make_vectors,
    modulus_under,
    open_request,
    played,
    read,
    tail_start,
    whole_bytes,
)

from privfl import (
    ClientPolicy,
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    MemoryGuard,
    Phase,
    RemoteProtocolError,
    RoundAborted,
    ThreatModel,
    client,
    simulate,
    suite,
    wake,
)
from privfl.ckks import cipher, sharing
from privfl.ckks.client import CkksClient
from privfl.ckks.messages import Opening, Upload, UploadRequest
from privfl.ckks.modulus import PRIMES
from privfl.ckks.planner import modulus_of
from privfl.ckks.server import CkksServer
from privfl.lockstep.client import WholeVector
from privfl.primitives.entropy import OsEntropy
from privfl.roster import Credentials
from privfl.simulate import roster_of
from privfl.wire import HEADER_BYTES, PartyId, Role

SLEEP_KEY = bytes(range(32))
PHASES = (Phase.UPLOAD, Phase.CONVENE, Phase.OPEN)
NOISY = {"modulus_bits": 33}
"""Of an epoch whose sums are off by more than rounding hides."""


def noisy_play(n=5, **options):
    return played(n=n, key=committee(**NOISY).key, **options)


def off_by(play, numbers):
    return play.server.result.vector - play.exact_sum(numbers)


# Sums


@pytest.mark.parametrize("n", [2, 3, 5, 9, 30])
def test_sums_of_small_bounds_are_exact(n):
    play = played(n=n, threat=ThreatModel(corrupt=0.0, dropout=0.0)).to(Phase.FINISHED)
    assert play.server.result.error_std == 0
    assert play.server.result.contributors == n
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


@pytest.mark.parametrize("n", [2, 5, 40])
def test_noisy_sums_are_off_by_no_more_than_promised(n):
    """2,000 coordinates: the deviation is estimated to 1.6 %, and asserted to ten of these; 7 deviations at most.

    A coordinate beyond 7 has a probability below 2·10^-12; the promise is a tenth wider than the key's errors and the
    flood's, which is drawn at its exact width.
    """
    play = noisy_play(n, length=2000, bound=2**15 - 1, threat=ThreatModel(corrupt=0.0, dropout=0.0)).to(Phase.FINISHED)
    error, promised = off_by(play, play.params.cohort), play.server.result.error_std
    assert promised == suite("ckks").error_std(play.params.setting, n) > 1
    assert error.std() == pytest.approx(promised, rel=0.16)
    assert np.abs(error).max() < 7 * promised


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 8192])
def test_vectors_of_any_length_are_summed(length):
    play = played(length=length).to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("key", [{}, NOISY], ids=["exact", "noisy"])
def test_extreme_sums_do_not_wrap_and_are_cut_where_errors_push_them_over_the_edge(key, sign):
    params = make_params(n=8, suite_name="ckks", length=4000, bound=2**20, key=committee(**key).key)
    outcome = simulate(
        params, {n: np.full(4000, sign * 2**20, np.int32) for n in params.cohort}, committee=committee(**key)
    )
    total = outcome.aggregate.vector * sign
    assert total.max() == 8 * 2**20
    assert total.min() >= 8 * 2**20 - 7 * outcome.aggregate.error_std - 1


def test_vectors_in_chunks_and_by_several_workers_give_the_same_sum():
    play = played(length=8192)
    for worker, number in enumerate(play.params.cohort, start=1):
        play.clients[number] = play.fresh_client(number, workers=worker)
        whole = play.vectors[number]
        play.clients[number].submit(whole if worker > 2 else iter(np.split(whole, [5, 4096, 4100])))
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_sums_of_thousands_of_uploads_are_reduced_in_time(monkeypatch):
    """Reduced after every second upload here, as after 4,096 elsewhere: the sum is the same."""
    monkeypatch.setattr("privfl.ckks.server._REDUCE_EVERY", 2)
    play = played(n=7).to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_memory_of_the_server_does_not_grow_with_the_cohort():
    """Server guarantee 4: what hangs on the step is two sums, whoever has uploaded."""
    play, sizes = played(n=6), []
    for number in play.params.cohort:
        play.deliver(number)
        arrays = [value for value in vars(play.server._step).values() if isinstance(value, np.ndarray)]
        sizes.append(sum(array.nbytes for array in arrays))
    assert len(set(sizes)) == 1
    assert sizes[0] == 8 * PRIMES * (4096 + 16)


# Who drops out


@pytest.mark.parametrize("gone", [{10}, {11, 14}])
def test_the_sum_is_over_exactly_the_clients_whose_uploads_came(gone):
    play = played(n=6)
    play.step(silent=gone)
    play.to(Phase.FINISHED)
    left = set(play.params.cohort) - gone
    assert play.server.result.contributors == len(left)
    assert np.array_equal(play.server.result.vector, play.exact_sum(left))


def test_fewer_uploads_than_the_minimum_open_nothing():
    play = played(n=5, minimum=4)
    for number in (10, 11, 12):
        play.deliver(number)
    assert not play.server.ready
    with pytest.raises(RoundAborted, match=r"3 clients uploaded and 4 are needed \(cohort.minimum\)"):
        play.server.advance()
    assert play.server.phase is Phase.ABORTED


@pytest.mark.parametrize("away", [{0}, {4}, {0, 1}, {1, 3}])
def test_members_that_are_away_before_the_set_is_fixed_do_not_matter(away):
    play = played().to(Phase.CONVENE)
    play.step(silent=away)
    assert play.server._step._members == tuple(sorted({0, 1, 2, 3, 4} - away)[:3])
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_fewer_members_than_the_threshold_open_nothing():
    play = played().to(Phase.CONVENE)
    with pytest.raises(RoundAborted, match=r"2 members .* and 3 are needed \(committee.threshold\); nothing is opened"):
        play.step(silent={0, 1, 4})


def test_a_member_that_falls_silent_once_the_set_is_fixed_ends_the_session_and_the_next_one_works():
    """Server guarantee 2."""
    play = played().to(Phase.OPEN)
    with pytest.raises(RoundAborted, match=r"members \[1\] .* the next session uploads afresh"):
        play.step(silent={1})
    assert play.server.phase is Phase.ABORTED
    with pytest.raises(LocalProtocolError):
        _ = play.server.result
    again = Play(make_params(suite_name="ckks"), play.vectors, committee=play.committee).to(Phase.FINISHED)
    assert np.array_equal(again.server.result.vector, again.exact_sum(again.params.cohort))


@pytest.mark.parametrize(("members", "threshold"), [(1, 1), (2, 2), (3, 3)])
def test_committees_of_which_everybody_is_needed(members, threshold):
    key = committee(members=members, threshold=threshold).key
    play = played(key=key).to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_ready_says_whether_advance_would_abort():
    for phase in PHASES:
        for answering_now in range(6):
            play = played().to(phase)
            for party in sorted(play.server.waiting)[:answering_now]:
                play.deliver(party.number)
            ready = play.server.ready
            try:
                play.server.advance()
                aborted = False
            except RoundAborted:
                aborted = True
            assert ready is not aborted, (phase, answering_now)


# What arrives twice, or not whole


@pytest.mark.parametrize("phase", PHASES)
def test_undecodable_bytes_leave_everybody_unmoved(phase):
    play = played().to(phase)
    number = 1 if play.convened else 11
    request, session = play.ask(number), play.session(number)
    for bad in (b"", request[:-1], request + b"\0", b"PVFX" + request[4:], request[:7] + b"\1" + request[8:], None):
        with pytest.raises(DecodeError):
            session.respond(bad)
    response = session.respond(request)
    for bad in (
        response[:-1],
        response + b"\0",
        response[:5] + b"\3" + response[6:],
        response[:8] + b"\7" + response[9:],
    ):
        with pytest.raises(DecodeError):
            play.server.receive(play.party(number), bad)
    play.server.receive(play.party(number), response)
    play.step(silent={number})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


@pytest.mark.parametrize("phase", PHASES)
def test_a_byte_identical_repeat_gets_the_same_response_and_is_counted_once(phase):
    play = played().to(phase)
    number = 1 if play.convened else 11
    request, session = play.ask(number), play.session(number)
    response = session.respond(request)
    assert session.respond(request) == response
    for _ in range(2):
        play.server.receive(play.party(number), response)
    play.step(silent={number})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_clients_and_members_of_one_number_are_not_taken_for_each_other():
    play = Play(make_params(suite_name="ckks", cohort=(0, 1, 2, 3, 4)))
    with pytest.raises(RemoteProtocolError, match="takes no part"):
        play.server.receive(PartyId(Role.COMMITTEE, 0), play.answer(0))
    play.to(Phase.CONVENE)
    with pytest.raises(RemoteProtocolError, match="takes no part"):
        play.server.receive(client(0), play.answer(0))
    play.to(Phase.OPEN)
    with pytest.raises(RemoteProtocolError, match="takes no part"):  # not in T
        play.server.receive(PartyId(Role.COMMITTEE, 3), play.responses[Phase.CONVENE, 0])
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(range(5)))


# Uploads that are not as agreed


def with_word(frame, place, prime_row, play, *, value):
    """A frame whose tail has another first residue in a row of c₁ (place 0) or c₀ (1)."""
    modulus = modulus_under(play)
    start = tail_start(frame, play) + place * whole_bytes(play)
    length = 4096 if place == 0 else play.params.vector.length
    size = modulus.vector_bytes(length)
    residues = modulus.unpack(frame[start : start + size], length)
    residues[prime_row, 0] = value
    return frame[:start] + modulus.packed(residues) + frame[start + size :]


@pytest.mark.parametrize("place", [0, 1], ids=["c1", "c0"])
@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("excess", [0, 1])
def test_words_out_of_range_drop_their_sender_only(place, row, excess):
    """Server guarantee 1: a prime, and what lies above it up to the word's end, is no residue."""
    play = played()
    prime = modulus_under(play).primes[row]
    value = prime if not excess else (1 << 40) - 1
    bad = with_word(play.answer(10), place, row, play, value=value)
    with pytest.raises(DecodeError, match="no residue"):
        play.server.receive(client(10), bad)
    play.step(silent={10})
    play.to(Phase.FINISHED)
    assert play.server.result.contributors == 4
    assert np.array_equal(play.server.result.vector, play.exact_sum([11, 12, 13, 14]))


@pytest.mark.parametrize(
    "harm",
    [
        lambda frame: frame[:-8],
        lambda frame: frame + bytes(8),
        lambda frame: frame[:-1] + bytes([frame[-1] | 0x80]),  # padding behind 16 · 40 bits
        lambda frame: frame[:12] + bytes(32) + frame[44:],
        lambda frame: frame[:60] + os.urandom(len(frame) - 60),
        lambda frame: frame[:6] + b"\x53" + frame[7:],
        lambda frame: os.urandom(500),
    ],
    ids=["truncated", "longer", "padding", "session", "noise", "type", "garbage"],
)
def test_uploads_that_are_not_as_agreed_drop_their_sender_only(harm):
    """Server guarantee 1. Random words are residues all with a probability below 2^−100."""
    play = played()
    with pytest.raises(DecodeError):
        play.server.receive(client(12), harm(play.answer(12)))
    play.step(silent={12})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum([10, 11, 13, 14]))


def test_an_upload_is_taken_whole_or_not_at_all():
    """A bad c₀ behind a good c₁: nothing of it is in the sum, and the honest upload may still come."""
    play = played()
    good = play.answer(10)
    bad = with_word(good, 1, 1, play, value=modulus_under(play).primes[1])
    with pytest.raises(DecodeError):
        play.server.receive(client(10), bad)
    assert not play.server._step._common.any()
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


# Signed uploads


def test_signed_uploads_are_summed_and_unsigned_or_others_ones_drop_their_sender_only():
    """Client guarantee 3 and server guarantee 1."""
    play = played(signed=True)
    good = play.answer(10)
    tail = good[-whole_bytes(play) - modulus_under(play).vector_bytes(16) :]
    kind = {"tail_bytes": len(tail)}
    signature, other = (read(frame, Upload, **kind).signature for frame in (good, play.answer(11)))
    altered = with_word(good, 1, 0, play, value=7)[-len(tail) :]
    for said, with_tail in (
        (b"", tail),
        (other, tail),
        (bytes(64), tail),
        (signature[:-1], tail),
        (signature, altered),
    ):
        with pytest.raises(RemoteProtocolError, match="signature"):
            play.server.receive(client(10), play.forge_response(10, Upload(signature=said), tail=with_tail))
    assert not play.server._step._common.any()
    play.step(silent={10})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum([11, 12, 13, 14]))


def test_a_signature_is_of_one_session_and_one_client():
    first = played(signed=True)
    second = Play(replace(first.params, nonce=bytes(16)), first.vectors)
    good = first.answer(10)
    tail = good[-whole_bytes(first) - modulus_under(first).vector_bytes(16) :]
    upload = read(good, Upload, tail_bytes=len(tail))
    with pytest.raises(RemoteProtocolError, match="signature"):
        second.server.receive(client(10), second.forge_response(10, upload, tail=tail))
    with pytest.raises(RemoteProtocolError, match="signature"):
        first.server.receive(client(11), first.forge_response(11, upload, tail=tail))
    first.server.receive(client(10), first.forge_response(10, upload, tail=tail))


def test_a_signature_where_none_was_agreed_is_refused():
    play = played()
    good = play.answer(10)
    tail = good[-whole_bytes(play) - modulus_under(play).vector_bytes(16) :]
    with pytest.raises(RemoteProtocolError, match="a signature where none was agreed"):
        play.server.receive(client(10), play.forge_response(10, Upload(signature=bytes(64)), tail=tail))


def test_sessions_with_signed_uploads_need_the_roster_that_they_name():
    play, key = played(signed=True), committee().key
    other = roster_of({number: identity_of(number + 1) for number in play.params.cohort})
    with pytest.raises(ConfigurationError, match="want signed uploads: give credentials"):
        CkksClient(play.params, 10, committee=key)
    with pytest.raises(ConfigurationError, match="another roster than the one given"):
        CkksClient(play.params, 10, committee=key, credentials=Credentials(identity_of(11), other))
    with pytest.raises(ConfigurationError):
        CkksClient(play.params, 10, committee=key, credentials=Credentials(identity_of(11), play.roster))
    for roster in (None, other):
        with pytest.raises(ConfigurationError, match="want signed uploads: give the roster"):
            CkksServer(play.params, committee=key, roster=roster)
    # Who has an identity takes part where it is asked for, and is not talked into a session where it is not.
    CkksClient(play.params, 10, committee=key, credentials=Credentials(identity_of(10), play.roster))
    with pytest.raises(ConfigurationError, match="not allowed by this client"):
        CkksClient(played().params, 10, committee=key, credentials=Credentials(identity_of(10), play.roster))


def test_sessions_with_signed_uploads_are_simulated_with_their_identities():
    params = make_params(suite_name="ckks", signed=True)
    identities = {number: identity_of(number) for number in params.cohort}
    vectors = make_vectors(params)
    outcome = simulate(params, vectors, identities=identities, committee=committee())
    assert outcome.contributors == params.cohort
    assert not outcome.failures
    assert np.array_equal(outcome.aggregate.vector, sum(v.astype(np.int64) for v in vectors.values()))


def test_a_client_that_signs_sleeps_and_wakes_with_its_credentials():
    play, guard = played(signed=True), MemoryGuard()
    raw = play.fresh_client(10, guard=guard).to_bytes(SLEEP_KEY)
    with pytest.raises(ConfigurationError, match="want signed uploads"):
        wake(raw, key=SLEEP_KEY, guard=guard, committee=play.key)
    credentials = Credentials(identity_of(10), play.roster)
    session = wake(raw, key=SLEEP_KEY, guard=guard, committee=play.key, credentials=credentials)
    session.submit(play.vectors[10])
    play.server.receive(client(10), session.respond(play.ask(10)))
    play.step(silent={10})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


# Answers that are not as agreed


def test_a_members_garbage_answer_harms_only_its_session():
    """What does not decode is refused, and the true answer may still come; what decodes makes noise, which aborts."""
    play = played(length=400).to(Phase.OPEN)
    good = play.answer(0)
    start = len(good) - modulus_under(play).vector_bytes(400)
    with pytest.raises(DecodeError):
        play.server.receive(play.party(0), good[:start] + b"\xff" * (len(good) - start))
    with pytest.raises(DecodeError):
        play.server.receive(play.party(0), good[:-8])
    uniform = sharing.uniform_residues(modulus_under(play), 400, OsEntropy())
    play.server.receive(play.party(0), good[:start] + modulus_under(play).packed(uniform))
    with pytest.raises(RoundAborted, match="out of range"):
        play.step(silent={0})
    again = Play(make_params(suite_name="ckks", length=400), committee=play.committee).to(Phase.FINISHED)
    assert np.array_equal(again.server.result.vector, again.exact_sum(again.params.cohort))


@pytest.mark.parametrize("what", ["c1", "T", "session"])
def test_members_that_were_shown_different_things_make_masks_that_do_not_cancel(what):
    """400 uniform numbers are in the range of a sum with a probability below 0.7^400 < 10^-60."""
    play = played(length=400).to(Phase.OPEN)
    shown = bytes(play.server._step._shown)
    if what == "c1":
        request = open_request(play, shown=bytes([shown[0] ^ 1]) + shown[1:])
    elif what == "T":
        request = open_request(play, members=(0, 1, 2, 3))
    else:
        other = Play(replace(play.params, nonce=os.urandom(16)), play.vectors, committee=play.committee).to(Phase.OPEN)
        request = open_request(other, shown=shown)
        play.members[0] = other.members[0]
    answered = play.members[0].respond(request)
    tail = answered[len(answered) - modulus_under(play).vector_bytes(400) :]
    play.server.receive(play.party(0), play.forge_response(0, Opening(), tail=tail))
    with pytest.raises(RoundAborted, match="out of range"):
        play.step(silent={0})


def test_another_count_alone_leaves_the_masks_whole():
    """The count is the server's word: a member checks it, and computes nothing with it."""
    play = played().to(Phase.OPEN)
    answered = play.members[0].respond(open_request(play, contributors=4))
    play.server.receive(play.party(0), answered)
    play.step(silent={0})
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_out_of_range_is_not_released(sign):
    """Server guarantee 3: a client that encrypts more than its bound, by less than would wrap."""
    play = played()
    vectors = {number: np.full(16, sign * BOUND, np.int32) for number in play.params.cohort}
    play = Play(play.params, vectors)
    beyond = vectors[10].copy()
    beyond[3] += sign
    play.clients[10]._take_vector = lambda: (WholeVector(beyond, 2 * BOUND), 1)
    play.to(Phase.OPEN)
    with pytest.raises(RoundAborted, match="out of range: a client left its bound"):
        play.step()
    assert play.server.phase is Phase.ABORTED


@pytest.mark.parametrize("n", [8, 64])
def test_sums_leave_room_in_the_modulus_for_noise_to_be_seen(n):
    """n · bound just below a power of two: Δ takes a bit less there, so that noise is out of range with half a chance.

    Of 4,096 coordinates all are in range with a probability below 2^−59 where the sums fill 99 % of the modulus.
    """
    params = make_params(n=n, suite_name="ckks", length=4096, bound=2**15 - 1)
    setting, limit = params.setting, n * (2**15 - 1)
    product = modulus_of(setting.epoch).product
    assert 200 * limit * 2**setting.scale_bits <= 99 * product
    assert 200 * limit * 2 ** (setting.scale_bits + 1) > 99 * product
    play = Play(params, {number: np.zeros(4096, np.int32) for number in params.cohort}).to(Phase.OPEN)
    good = play.answer(0)
    start = len(good) - modulus_under(play).vector_bytes(4096)
    uniform = sharing.uniform_residues(modulus_under(play), 4096, OsEntropy())
    play.server.receive(play.party(0), good[:start] + modulus_under(play).packed(uniform))
    with pytest.raises(RoundAborted, match="out of range"):
        play.step(silent={0})


# What a client refuses


def test_a_client_encrypts_under_no_other_key_than_the_parameters_name():
    """Client guarantee 1."""
    params = make_params(suite_name="ckks")
    for nothing in (None, b"key", committee()):
        with pytest.raises(ConfigurationError, match=r"needs the committee's key"):
            suite("ckks").client(params, 10, committee=nothing)
    with pytest.raises(ConfigurationError, match="another committee's key"):
        suite("ckks").client(params, 10, committee=committee(members=3, threshold=2).key)
    with pytest.raises(ConfigurationError, match="another committee's key"):
        suite("ckks").server(params, committee=committee(members=3, threshold=2).key)
    with pytest.raises(ConfigurationError, match="needs a committee's key: hold a key ceremony"):
        CkksClient(replace(params, setting=replace(params.setting, key=b"")), 10, committee=committee().key)


def test_a_client_may_refuse_the_suite():
    params = make_params(suite_name="ckks")
    with pytest.raises(ConfigurationError, match="suite 'ckks' is not allowed by this client"):
        CkksClient(params, 10, committee=committee().key, policy=ClientPolicy(suites=frozenset({"kahe"})))
    with pytest.raises(ConfigurationError, match=r"cohort\.minimum is 3: this client wants 4 or more"):
        CkksClient(params, 10, committee=committee().key, policy=ClientPolicy(minimum_contributors=4))
    CkksClient(params, 10, committee=committee().key, policy=ClientPolicy(minimum_contributors=3))
    with pytest.raises(ConfigurationError, match="not allowed by this client"):
        CkksClient(params, 10, committee=committee().key, policy=ClientPolicy(servers=frozenset()))


@pytest.mark.parametrize("what", ["nonce", "context"])
def test_a_client_uploads_once_under_a_nonce_and_once_to_a_context(what):
    """Client guarantee 2."""
    guard, params = MemoryGuard(), make_params(suite_name="ckks")
    fresh = {"nonce": bytes(31) + b"\1", "context": os.urandom(16)}
    renewed = {"context": fresh["nonce"]} if what == "nonce" else {"nonce": fresh["context"]}
    for i, each in enumerate((params, replace(params, **renewed))):
        play = Play(each)
        session = play.fresh_client(10, guard=guard)
        session.submit(play.vectors[10])
        if i == 0:
            session.respond(play.ask(10))
            continue
        with pytest.raises(DisclosureRefused, match=f"this {what} has been used before"):
            session.respond(play.ask(10))
        assert session._vector is None


def test_a_request_of_another_session_ends_the_clients():
    play = played()
    with pytest.raises(DisclosureRefused, match="of another session"):
        play.clients[10].respond(play.forge_request(UploadRequest(), session=bytes(32)))
    assert play.clients[10]._vector is None
    with pytest.raises(DisclosureRefused, match="over"):
        play.clients[10].respond(play.ask(10))


def test_a_client_that_has_uploaded_answers_nothing_but_the_repeat():
    play = played()
    response = play.answer(10)
    request = play.requests[Phase.UPLOAD, 10]
    assert play.clients[10].respond(request) == response
    with pytest.raises(LocalProtocolError, match="over"):
        play.clients[10].submit(play.vectors[10])
    with pytest.raises(DisclosureRefused, match="over"):
        play.clients[10].respond(play.forge_request(UploadRequest(), session=bytes(32)))
    with pytest.raises(DisclosureRefused, match="over"):  # who asked for more has lost the repeat
        play.clients[10].respond(request)


def test_without_a_vector_the_slip_is_the_callers_and_costs_nothing():
    play, params = played(), make_params(suite_name="ckks")
    session = CkksClient(params, 10, committee=committee().key)
    request = play.forge_request(UploadRequest(), session=params.digest)
    with pytest.raises(LocalProtocolError, match="submit"):
        session.respond(request)
    session.submit(play.vectors[10])
    assert session.respond(request)


# Sleeping


def test_a_client_sleeps_and_wakes_and_uploads_once():
    play = played()
    guard = MemoryGuard()
    raw = play.fresh_client(10, guard=guard).to_bytes(SLEEP_KEY)
    with pytest.raises(ConfigurationError, match="needs the committee's key to wake"):
        wake(raw, key=SLEEP_KEY, guard=guard)
    with pytest.raises(ConfigurationError, match="another committee's key"):
        wake(raw, key=SLEEP_KEY, guard=guard, committee=committee(members=3, threshold=2).key)
    first, second = (wake(raw, key=SLEEP_KEY, guard=guard, committee=play.key) for _ in range(2))
    for session in (first, second):
        session.submit(play.vectors[10])
    play.server.receive(client(10), first.respond(play.ask(10)))
    with pytest.raises(DisclosureRefused, match="used before"):
        second.respond(play.ask(10))
    with pytest.raises(DisclosureRefused, match="answered already"):
        wake(raw, key=SLEEP_KEY, guard=guard, committee=play.key)
    play.step(silent={10})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


# What travels


def test_exact_bytes_of_every_message():
    play = played(length=5000).to(Phase.FINISHED)
    whole, part = 2 * 8192 * 5, 2 * 8 * math.ceil(5000 / 64) * 40
    sizes = {phase: {len(frame) for (when, _), frame in play.responses.items() if when is phase} for phase in PHASES}
    assert sizes == {
        Phase.UPLOAD: {HEADER_BYTES + 16 + whole + part},
        Phase.CONVENE: {HEADER_BYTES + 16},
        Phase.OPEN: {HEADER_BYTES + 16 + part},
    }
    assert {len(frame) for (phase, _), frame in play.requests.items() if phase is Phase.OPEN} == {
        HEADER_BYTES + 16 + whole
    }


def test_uploads_of_one_vector_differ_and_all_of_their_words_do():
    digests = set()
    for _ in range(2):
        play = Play(make_params(suite_name="ckks"), {n: np.zeros(16, np.int32) for n in range(10, 15)})
        for number in play.params.cohort:
            digests.add(hashlib.sha256(play.answer(number)[64:]).digest())
    assert len(digests) == 10


def test_every_failure_of_a_member_is_an_outcome_of_a_simulation():
    params, held = make_params(suite_name="ckks"), committee(openings=10)
    outcome = simulate(
        params, make_vectors(params), committee=held, absent_members={Phase.CONVENE: {0}, Phase.OPEN: {1}}
    )
    assert outcome.aggregate is None
    assert "members [1]" in outcome.aborted
    assert outcome.contributors == ()
    again = simulate(params, make_vectors(params), committee=held)  # the same parameters, and so the same session
    assert again.contributors == params.cohort
    assert again.aggregate is not None
    assert {number: "opened before" in why for number, why in again.member_failures.items()} == {2: True, 3: True}


def test_errors_of_ciphertexts_are_as_wide_as_planned():
    assert cipher.error_std(4096, 5, 100) == pytest.approx(
        math.sqrt(100 * (3.2**2 * 4096 * 5 * 2 / 3 + 3.2**2 + 3.2**2 * 4096 * 5 * 2 / 3)), rel=1e-9
    )


def test_a_cohort_that_is_not_on_the_roster_that_signs_is_refused_by_everybody():
    params = make_params(suite_name="ckks", signed=True)
    roster = roster_of({number: identity_of(number) for number in params.cohort[:-1]})
    short = replace(params, roster_digest=roster.digest)
    for make in (
        lambda: suite("ckks").server(short, roster=roster, committee=committee().key),
        lambda: suite("ckks").client(
            short, 10, credentials=Credentials(identity_of(10), roster), committee=committee().key
        ),
    ):
        with pytest.raises(ConfigurationError, match="client 14 is not on the roster"):
            make()
