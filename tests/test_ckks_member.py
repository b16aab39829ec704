"""Members of a committee: what they open once, what they refuse for good, and what their answers say."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from harness import (
    Play,
    committee,
    committee_without,
    epoch,
    make_params,
    modulus_under,
    open_request,
    played,
    read,
    tail_start,
    whole_bytes,
)
from scipy import stats

from privfl import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    FileGuard,
    MemoryGuard,
    Phase,
    RoundAborted,
    client,
)
from privfl.ckks import answer as answering
from privfl.ckks import planner, sharing
from privfl.ckks.client import CkksClient
from privfl.ckks.key import MemberKey
from privfl.ckks.member import CommitteeMember, remaining_openings, take_into_use
from privfl.ckks.messages import ConveneRequest, Opening, OpenRequest, Present, Upload, UploadRequest
from privfl.ckks.modulus import PRIMES
from privfl.ckks.planner import modulus_of
from privfl.ckks.seal import seal_ring
from privfl.ckks.server import CkksServer
from privfl.lockstep.party import SessionOver
from privfl.wire import HEADER_BYTES

SLEEP_KEY = bytes(range(32))


# What a member refuses


def refuses(play, number, request, why):
    """The member's session ends, and the true request is not answered after it."""
    session = play.members[number]
    with pytest.raises(DisclosureRefused, match=why):
        session.respond(request)
    assert isinstance(session._state, SessionOver)
    with pytest.raises(DisclosureRefused, match="over"):
        session.respond(play.ask(number))


def nothing_was_spent(play, number=0):
    return remaining_openings(play.committee.members[number], play.committee.guard) == 10


@pytest.mark.parametrize("contributors", [2, 6, 2**32 - 1])
def test_a_member_refuses_fewer_contributors_than_the_minimum_and_more_than_the_cohort(contributors):
    """Member guarantee 3."""
    play = played(minimum=3).to(Phase.OPEN)
    refuses(play, 0, open_request(play, contributors=contributors), "contributors, where 3 to 5 were agreed")
    assert nothing_was_spent(play)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ((1, 2, 3), "without this one"),
        ((1, 2), "without this one"),
        ((), "without this one"),
        ((0, 1), "a set of 2 members, where 3 are needed"),
        ((0,), "a set of 1 members, where 3 are needed"),
        ((0, 1, 5), "strangers"),
        ((0, 1, 2, 31), "strangers"),
    ],
)
def test_a_member_refuses_a_set_without_itself_too_small_or_with_strangers(members, why):
    """Member guarantee 3."""
    play = played().to(Phase.OPEN)
    refuses(play, 0, open_request(play, members=members), why)
    assert nothing_was_spent(play)


def test_a_member_refuses_members_that_did_not_qualify():
    held = committee_without(4)
    play = Play(make_params(suite_name="ckks", key=held.key), committee=held)
    play.to(Phase.OPEN)
    refuses(play, 0, open_request(play, members=(0, 1, 4)), "strangers")


@pytest.mark.parametrize("members", [(0, 0, 1, 2), (2, 1, 0), (0, 1, 32), (-1, 0, 1, 2)])
def test_sets_that_are_not_sorted_sets_of_members_do_not_decode(members):
    play = played().to(Phase.OPEN)
    request = open_request(play)
    raw = msgspec.msgpack.encode([0x54, 5, list(members)])
    honest = msgspec.msgpack.encode(OpenRequest(contributors=5, members=(0, 1, 2)))
    assert msgspec.msgpack.encode([0x54, 5, [0, 1, 2]]) == honest
    frame = HEADER_BYTES - 4
    padded = raw + bytes(-(HEADER_BYTES + len(raw)) % 16)
    with pytest.raises(DecodeError):
        play.members[0].respond(
            request[:frame] + len(raw).to_bytes(4, "little") + padded + bytes(play.server._step._shown)
        )
    assert play.members[0].respond(request)


def test_a_member_answers_for_a_session_once_whatever_it_is_asked_then():
    """Member guarantee 1: neither another T, nor another sum, nor another count; a repeat gets the same bytes."""
    play = played().to(Phase.OPEN)
    request = play.ask(0)
    response = play.members[0].respond(request)
    assert play.members[0].respond(request) == response
    others = [{"members": (0, 3, 4)}, {"contributors": 4}, {"shown": bytes(whole_bytes(play))}]
    for other in others:
        play = played().to(Phase.OPEN)
        play.members[0].respond(play.ask(0))
        with pytest.raises(DisclosureRefused, match="over"):
            play.members[0].respond(open_request(play, **other))
        # And who asks again has lost the repeat as well.
        with pytest.raises(DisclosureRefused):
            play.members[0].respond(play.ask(0))


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "files"])
def test_a_member_that_restarts_opens_no_session_again(durable, tmp_path):
    """Member guarantee 1, with the key read from its file and a new object for the books."""
    play = played().to(Phase.OPEN)
    key = play.committee.members[0]
    key.save(tmp_path / "member", SLEEP_KEY)
    guard = FileGuard(tmp_path / "books") if durable else MemoryGuard()
    take_into_use(key, guard)
    first = CommitteeMember(play.params, key, guard=guard)
    first.respond(play.requests[Phase.CONVENE, 0])
    first.respond(play.ask(0))
    again = CommitteeMember(
        play.params,
        MemberKey.load(tmp_path / "member", SLEEP_KEY),
        guard=FileGuard(tmp_path / "books") if durable else guard,
    )
    with pytest.raises(DisclosureRefused, match="opened before"):
        again.respond(play.requests[Phase.CONVENE, 0])
    assert remaining_openings(key, guard) == 9


def test_two_sessions_of_a_member_for_one_sum_give_one_answer():
    """Both have convened before either opens: the books decide."""
    play = played().to(Phase.OPEN)
    twin = play.fresh_member(0)
    twin.respond(play.requests[Phase.CONVENE, 0])
    play.members[0].respond(play.ask(0))
    with pytest.raises(DisclosureRefused, match="used before"):
        twin.respond(open_request(play, members=(0, 3, 4)))


def test_what_is_opened_is_on_record_before_anything_is_computed(monkeypatch):
    """Member guarantee 1: a crash costs an opening, and tells nothing."""

    def crash(*arguments, **options):
        raise KeyboardInterrupt

    play = played().to(Phase.OPEN)
    monkeypatch.setattr("privfl.ckks.member.answer", crash)
    with pytest.raises(KeyboardInterrupt):
        play.members[0].respond(play.ask(0))
    monkeypatch.undo()
    assert remaining_openings(play.committee.members[0], play.committee.guard) == 9
    with pytest.raises(DisclosureRefused, match="opened before"):
        play.fresh_member(0).respond(play.requests[Phase.CONVENE, 0])


def test_no_more_sums_are_opened_than_the_budget_says():
    """Member guarantee 2."""
    held = committee(openings=2)
    assert held.remaining() == 2
    for left in (1, 0):
        play = Play(make_params(suite_name="ckks", key=held.key), committee=held).to(Phase.FINISHED)
        assert remaining_openings(held.members[0], held.guard) == left
        assert remaining_openings(held.members[4], held.guard) == 2  # only those of T have spent
    play = Play(make_params(suite_name="ckks", key=held.key), committee=held).to(Phase.CONVENE)
    with pytest.raises(DisclosureRefused, match="budget of 2 openings under this key is spent"):
        play.deliver(0)
    with pytest.raises(RoundAborted, match=r"committee\.threshold"):
        play.step(silent={0, 1, 2})


def test_the_budget_is_looked_at_again_when_a_sum_is_opened():
    """Member guarantee 2: two sessions that convene under the last opening share one answer."""
    held = committee(openings=1)
    plays = [Play(make_params(suite_name="ckks", key=held.key), committee=held).to(Phase.OPEN) for _ in range(2)]
    plays[0].answer(0)
    with pytest.raises(DisclosureRefused, match="spent"):
        plays[1].answer(0)


def test_two_members_sharing_one_guard_do_not_share_a_budget():
    held = committee(openings=1)
    Play(make_params(suite_name="ckks", key=held.key), committee=held).to(Phase.FINISHED)
    assert [remaining_openings(held.members[n], held.guard) for n in range(5)] == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("guard", ["memory", "files"])
def test_a_guard_that_does_not_know_the_key_is_refused(guard, tmp_path):
    """An empty one in the place of one that was lost would grant the budget again."""
    play = played()
    empty = MemoryGuard() if guard == "memory" else FileGuard(tmp_path / "books")
    with pytest.raises(DisclosureRefused, match="does not know the committee's key"):
        play.fresh_member(0, guard=empty)
    take_into_use(play.committee.members[1], empty)  # another member's books are not this one's
    with pytest.raises(DisclosureRefused, match="does not know the committee's key"):
        play.fresh_member(0, guard=empty)
    take_into_use(play.committee.members[0], empty)
    play.fresh_member(0, guard=empty)
    with pytest.raises(DisclosureRefused, match="used before"):
        take_into_use(play.committee.members[0], empty)


def test_books_that_went_missing_answer_nothing(tmp_path):
    play, books = played().to(Phase.OPEN), tmp_path / "books"
    guard = FileGuard(books)
    take_into_use(play.committee.members[0], guard)
    session = play.fresh_member(0, guard=guard)
    session.respond(play.requests[Phase.CONVENE, 0])
    for claim in books.iterdir():
        claim.unlink()
    books.rmdir()
    with pytest.raises(DisclosureRefused, match="no claim can be made"):
        session.respond(play.ask(0))
    with pytest.raises(DisclosureRefused, match="is gone"):
        play.fresh_member(0, guard=guard)


def test_a_member_outranks_the_sessions_minimum():
    play = played(minimum=3)
    with pytest.raises(ConfigurationError, match=r"cohort\.minimum is 3: this member of the committee wants 4 or more"):
        play.fresh_member(0, minimum_contributors=4)
    assert play.fresh_member(0, minimum_contributors=3)


@pytest.mark.parametrize("kind", [ConveneRequest, OpenRequest])
def test_requests_of_another_session_are_refused(kind):
    play = played().to(Phase.CONVENE if kind is ConveneRequest else Phase.OPEN)
    number, other = 0, bytes(31) + b"\1"
    forged = (
        play.forge_request(ConveneRequest(), session=other)
        if kind is ConveneRequest
        else open_request(play, session=other)
    )
    refuses(play, number, forged, "of another session, or under another key")


def test_parameters_of_another_key_are_refused_by_everybody():
    play, other = played(), committee_without()
    params = make_params(suite_name="ckks", key=other.key)
    with pytest.raises(ConfigurationError, match="another committee's key than this member's"):
        CommitteeMember(params, play.committee.members[0], guard=play.committee.guard)
    with pytest.raises(ConfigurationError, match="another committee's key than the one given"):
        CkksClient(params, 10, committee=play.key)
    with pytest.raises(ConfigurationError, match="another committee's key than the one given"):
        CkksServer(params, committee=play.key)
    # The right key under another epoch's numbers: as good as another key.
    tampered = replace(
        play.params, setting=replace(play.params.setting, epoch=replace(play.params.setting.epoch, clients=101))
    )
    with pytest.raises(ConfigurationError, match="another committee's key"):
        CommitteeMember(tampered, play.committee.members[0], guard=play.committee.guard)
    with pytest.raises(ConfigurationError, match="another committee's key"):
        CkksClient(tampered, 10, committee=play.key)


def test_an_upload_under_another_key_does_not_decrypt_and_is_not_released():
    """The other key's ciphertext is noise modulo Q; in 16 coordinates it passes by chance in less than 0.65^16."""
    play, stranger = played(length=400), committee_without()
    other = Play(make_params(suite_name="ckks", length=400, key=stranger.key), committee=stranger)
    frame = other.answer(10)
    tail = frame[tail_start(frame, other) :]
    play.server.receive(client(10), play.forge_response(10, Upload(), tail=tail))
    play.step(silent={10})
    play.to(Phase.OPEN)
    with pytest.raises(RoundAborted, match="out of range"):
        play.step()


# Every state, every message


def member_in(state, play):
    """A member's session in that state."""
    session = play.members[0]
    if state == "refused":
        with pytest.raises(DisclosureRefused):
            session.respond(play.forge_request(ConveneRequest(), session=bytes(32)))
    if state in {"Convened", "answered"}:
        session.respond(play.requests[Phase.CONVENE, 0])
    if state == "answered":
        session.respond(play.ask(0))
    return session


@pytest.mark.parametrize("message", ["ConveneRequest", "OpenRequest"])
@pytest.mark.parametrize("state", ["Waiting", "Convened", "answered", "refused"])
def test_every_message_in_every_state_of_a_member(state, message):
    """Legal where the table says so, or a byte-identical repeat of the last; anything else ends the session."""
    play = played().to(Phase.OPEN)
    play.members[0] = play.fresh_member(0)
    session = member_in(state, play)
    request = play.requests[Phase.CONVENE, 0] if message == "ConveneRequest" else open_request(play, contributors=4)
    answers = {
        ("Waiting", "ConveneRequest"): Present,
        ("Convened", "ConveneRequest"): Present,  # the repeat
        ("Convened", "OpenRequest"): Opening,
    }
    if (state, message) in answers:
        kind = answers[state, message]
        tail = modulus_under(play).vector_bytes(16) if kind is Opening else 0
        assert isinstance(read(session.respond(request), kind, tail_bytes=tail), kind)
        return
    with pytest.raises(DisclosureRefused):
        session.respond(request)
    assert isinstance(session._state, SessionOver)
    assert session._last is None
    for again in (play.requests[Phase.CONVENE, 0], play.ask(0)):
        with pytest.raises(DisclosureRefused, match="over"):
            session.respond(again)


@pytest.mark.parametrize("kind", [Upload, Present, Opening, UploadRequest])
def test_messages_that_no_member_is_sent_leave_it_unmoved(kind):
    play = played().to(Phase.OPEN)
    session = play.members[0]
    with pytest.raises(DecodeError, match="has no place in this session"):
        session.respond(play.forge_request(kind()))
    assert session.respond(play.ask(0))


# In processes of their own


MEMBER = """
import sys
from pathlib import Path
import privfl
from privfl.ckks.key import MemberKey
from privfl.ckks.member import CommitteeMember
from privfl.params import SessionParams

folder, name = Path(sys.argv[1]), sys.argv[2]
try:
    session = CommitteeMember(
        SessionParams.from_bytes((folder / "params").read_bytes()),
        MemberKey.load(folder / "member", bytes(range(32))),
        guard=privfl.FileGuard(folder / "books"),
    )
    session.respond((folder / "convene").read_bytes())
    (folder / f"{name}.response").write_bytes(session.respond((folder / name).read_bytes()))
except privfl.DisclosureRefused as error:
    (folder / f"{name}.refused").write_text(str(error))
"""


def test_a_member_in_a_process_of_its_own_opens_a_session_once_and_no_second_set(tmp_path):
    """Member guarantee 1: three processes, the first answers, and its answer is good."""
    play = played().to(Phase.OPEN)
    key = play.committee.members[0]
    key.save(tmp_path / "member", SLEEP_KEY)
    take_into_use(key, FileGuard(tmp_path / "books"))
    for name, content in {
        "params": play.params.to_bytes(),
        "convene": play.requests[Phase.CONVENE, 0],
        "open": play.ask(0),
        "other": open_request(play, members=(0, 3, 4)),
    }.items():
        (tmp_path / name).write_bytes(content)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("open", "other"):
        subprocess.run([sys.executable, "-c", MEMBER, str(tmp_path), name], env=environment, check=True)
    assert sorted(path.name for path in Path(tmp_path).glob("*.re*")) == ["open.response", "other.refused"]
    assert "opened before" in (tmp_path / "other.refused").read_text()
    assert remaining_openings(key, FileGuard(tmp_path / "books")) == 9
    play.server.receive(play.party(0), (tmp_path / "open.response").read_bytes())
    play.step(silent={0})
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_sessions_of_members_are_neither_pickled_nor_copied_and_print_no_secret():
    import copy
    import pickle

    play = played()
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(play.members[0])
    assert repr(Opening()) == "Opening(<secret>)"


# What single answers say


def decrypted(play, frame):
    """What a server makes of an answer without its masks: h_j − masks, as if the others had no part in it."""
    modulus, length = modulus_under(play), play.params.vector.length
    return modulus.unpack(frame[len(frame) - modulus.vector_bytes(length) :], length)


def masks_of(play, number, members):
    """The sum of the masks that a member adds for T, from its own pair secrets."""
    modulus, length = modulus_under(play), play.params.vector.length
    opening = answering.opening_id(play.params.digest, bytes(play.server._step._shown), members)
    total = np.zeros((PRIMES, length), np.int64)
    for peer in members:
        if peer != number:
            mask = modulus.uniform(answering._mask_streams(play.committee.members[number].pairs[peer], opening), length)
            if peer > number:
                modulus.negate(mask)
            modulus.add(total, mask)
    return total


def shares_product(play, number, members):
    """λ_j·[s]_j·c₁: what the flood is added to."""
    modulus, length = modulus_under(play), play.params.vector.length
    share = play.committee.members[number].share
    factors = sharing.at_zero(modulus, number, members)
    scaled = sharing.scaled(modulus, share, factors)
    common = modulus.unpack(play.server._step._shown, 4096).reshape(PRIMES, 1, -1)
    return np.ascontiguousarray(seal_ring(modulus).multiply(common, scaled).reshape(PRIMES, -1)[:, :length])


def test_an_answer_is_the_scaled_share_times_c1_plus_one_flood_and_masks():
    """Member guarantee 4: what is left of an answer without share and masks is a flood, of its planned width.

    4,000 draws: the deviation is estimated to 1.1 %, and asserted to ten of these.
    """
    play = played(length=4000).to(Phase.OPEN)
    modulus, members = modulus_under(play), (0, 1, 2)
    planned = planner.flood_of(play.params.setting.epoch).std
    for number in members:
        left = decrypted(play, play.answer(number))
        for known in (masks_of(play, number, members), shares_product(play, number, members)):
            modulus.negate(known)
            modulus.add(left, known)
        flood = modulus.centred(left)
        assert flood.std() == pytest.approx(planned, rel=0.11)
        assert np.abs(flood).max() < 7 * planned
        assert len(np.unique(flood)) == 4000


def test_the_floods_of_two_openings_of_one_member_are_independent():
    """The correlation of 4,000 pairs is below 6/√4000 but once in 5·10^8."""
    floods = []
    for _ in range(2):
        play = played(length=4000).to(Phase.OPEN)
        modulus = modulus_under(play)
        left = decrypted(play, play.answer(1))
        for known in (masks_of(play, 1, (0, 1, 2)), shares_product(play, 1, (0, 1, 2))):
            modulus.negate(known)
            modulus.add(left, known)
        floods.append(modulus.centred(left))
    assert abs(np.corrcoef(*floods)[0, 1]) < 6 / math.sqrt(4000)


def test_masks_differ_by_pair_session_sum_set_and_prime_and_cancel():
    """Member guarantee 4, what single answers hide behind."""
    key = committee().members
    ids = {
        answering.opening_id(session, shown, members)
        for session in (bytes(32), bytes(31) + b"\1")
        for shown in (b"a", b"b", b"")
        for members in ((0, 1, 2), (0, 1, 3), (0, 1, 2, 3))
    }
    assert len(ids) == 18
    opening = ids.pop()
    modulus = modulus_of(epoch())
    both = [modulus.uniform(answering._mask_streams(key[a].pairs[b], opening), 100) for a, b in ((0, 1), (1, 0))]
    assert np.array_equal(*both)
    streams = {
        row.tobytes()
        for a, b in ((0, 1), (0, 2), (1, 2))
        for each in (opening, *ids)
        for row in modulus.uniform(answering._mask_streams(key[a].pairs[b], each), 4)
    }
    assert len(streams) == 3 * 18 * 2


def test_answers_are_uniform_even_to_who_knows_the_shares():
    """Member guarantee 4. What is left of one answer, and of two, without λ·[s]·c₁: 4 · 16 bins at 10^-7 in all.

    Without masks it would be floods, which are far narrower than the modulus: all three together are.
    """
    play = played(length=4000).to(Phase.OPEN)
    modulus, left = modulus_under(play), np.zeros((PRIMES, 4000), np.int64)
    for number in (0, 1, 2):
        known = shares_product(play, number, (0, 1, 2))
        modulus.negate(known)
        alone = decrypted(play, play.answer(number))
        modulus.add(alone, known)
        modulus.add(left, alone)
        if number < 2:
            for residues in (alone, left):
                # Modulo either prime alone floods are uniform as well: both together tell.
                counts = np.histogram(modulus.centred(residues) / modulus.product, bins=16, range=(-0.5, 0.5))[0]
                assert stats.chisquare(counts).pvalue > 1e-7
    assert np.abs(modulus.centred(left)).max() < 2.0**-20 * modulus.product


# What a member keeps, and what it needs


def test_the_key_is_gone_from_a_session_that_has_answered_or_refused():
    """Guarantee 3 of `LockstepParty`, of what a member keeps: its share and its pairwise secrets."""
    done, refusing = (Play(suite_name="ckks").to(Phase.OPEN) for _ in range(2))
    assert isinstance(done.members[0]._state.key, MemberKey)
    done.deliver(0)
    other = refusing.forge_request(ConveneRequest(), session=bytes(32))
    with pytest.raises(DisclosureRefused):
        refusing.members[0].respond(other)
    for session in (done.members[0], refusing.members[0]):
        assert isinstance(session._state, SessionOver)
        held = [*vars(session).values(), session._state]
        assert not any(isinstance(value, MemberKey) for value in held)


def test_a_member_without_seal_says_so_before_it_says_that_it_is_there(monkeypatch):
    from privfl import MissingExtra
    from privfl.ckks import member

    def missing(_modulus):
        raise MissingExtra("ckks", "tenseal")

    play = Play(suite_name="ckks")
    before = remaining_openings(play.committee.members[0], play.committee.guard)
    monkeypatch.setattr(member, "seal_ring", missing)
    with pytest.raises(MissingExtra, match="ckks"):
        play.fresh_member(0)
    assert remaining_openings(play.committee.members[0], play.committee.guard) == before
