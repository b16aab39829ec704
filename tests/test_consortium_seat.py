"""A distant client's seat on the committee: one answer to a request, a share for what it is for, and no longer."""

import contextlib
import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest
from committee_harness import CLIENTS, Chair, ceremony_params, ckks_params, seat
from consortium_harness import COMMITTEE, MODEL, SEATS, TinyWork, exact_sum, in_thread, make_session
from harness import committee, forged, identity_of
from test_consortium_participant import Death, dying

from privfl import ConfigurationError, LocalProtocolError, Phase, PrivflError
from privfl.ckks.key import CommitteeKey, MemberKey
from privfl.ckks.messages import ConveneRequest, OpenRequest
from privfl.integrations.consortium import Declined
from privfl.integrations.consortium.attempt import UNTOLD
from privfl.integrations.consortium.messages import Part, model_digest
from privfl.simulate import roster_of
from privfl.wire import SERVER, SuiteCode


@pytest.fixture
def chair(tmp_path):
    return Chair(tmp_path / "home")


def tried(participant, step, model_of=lambda _digest, _size: MODEL):
    try:
        return participant.answer(step, model_of)
    except Declined:
        return None


def open_request(chair, *, members=(0, 1), contributors=CLIENTS, shown=None):
    """A request to open a sum, of a lying server."""
    tail = bytes(len(chair.server._step.tail_for(1))) if shown is None else shown
    return forged(
        OpenRequest(contributors=contributors, members=members),
        suite=SuiteCode.CKKS,
        session=chair.params.digest,
        sender=SERVER,
        tail=tail,
    )


# Once


def test_a_key_is_made_and_its_sums_are_opened(chair):
    """Guarantee 1 of `Seat`: the share is there, sealed, and its owner's alone."""
    participant = chair.fresh()
    chair.make_key(participant)
    (share,) = chair.shares()
    assert stat.S_IMODE(share.stat().st_mode) == 0o600
    assert stat.S_IMODE(share.parent.stat().st_mode) == 0o700
    key = MemberKey.load(share, participant._home.key)
    assert (key.number, key.statement.digest) == (chair.seat, chair.key.digest)
    assert key.share[0].astype("<i8").tobytes()[:64] not in share.read_bytes()
    for number in (1, 2):
        result = chair.begin_session(round_number=number).finish(participant)
        assert np.array_equal(result.vector, exact_sum(chair.vectors, range(CLIENTS)))
    assert chair.shares() == [share]


def every_phase(chair, participant):
    """Yield each step of a ceremony and of a session under its key; what is sent in `answers` is what is received."""
    chair.begin_ceremony()
    for begin in (None, chair.begin_session):
        if begin is not None:
            chair.end_ceremony()
            begin()
        while chair.server.phase is not Phase.FINISHED:
            if chair.asked():
                yield chair.step()
            chair.receive(chair.answer(participant))


def test_a_step_that_comes_again_gets_the_same_bytes_whoever_is_asked(chair):
    participant, seen = chair.fresh(), []
    for step in every_phase(chair, participant):
        seen.append(step.phase)
        answer = chair.answer(participant)
        again = chair.fresh()
        assert [one.answer(step, None) for one in (participant, again, again)] == [answer] * 3
    assert seen[-3:] == [Phase.UPLOAD, Phase.CONVENE, Phase.OPEN]
    assert len(seen) == 9
    assert np.array_equal(chair.server.result.vector, exact_sum(chair.vectors, range(CLIENTS)))


def as_before(chair, copy):
    shutil.rmtree(chair.folder)
    shutil.copytree(copy, chair.folder)


def test_a_member_that_is_killed_at_any_step_goes_on_or_takes_no_part(chair, tmp_path):
    """At calls that change the disk, before and after; and what it had on disk is put back besides, shares as well."""
    participant, went_on, lost = chair.fresh(), 0, 0
    for step in every_phase(chair, participant):
        if step.phase in {Phase.ADVERTISE_KEYS, Phase.COMMIT, Phase.CHECK_SHARES}:
            continue  # as in the phases between
        shutil.copytree(chair.folder, tmp_path / "before")
        for after in (False, True):
            for count in range(1, 100):
                as_before(chair, tmp_path / "before")
                with dying(count, after=after) as calls, contextlib.suppress(Death):
                    tried(chair.fresh(), step)
                if len(calls) < count:
                    break
                outcomes = {tried(chair.fresh(), step), tried(chair.fresh(), step)}
                assert len(outcomes) == 1, "one outcome, for good"
                went_on, lost = went_on + (outcomes != {None}), lost + (outcomes == {None})
                for folder in ("sessions", "shares"):
                    shutil.rmtree(chair.folder / folder, ignore_errors=True)
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copytree(tmp_path / "before" / folder, chair.folder / folder)
                if outcomes != {None}:
                    assert tried(chair.fresh(), step) in {None, *outcomes}, "and no other, from an older file"
            assert count > 3
        as_before(chair, tmp_path / "before")
        shutil.rmtree(tmp_path / "before")
    assert went_on
    assert lost
    assert np.array_equal(chair.server.result.vector, exact_sum(chair.vectors, range(CLIENTS)))


def test_files_that_are_put_back_answer_nothing_twice(chair, tmp_path):
    participant, steps, answers, copies = chair.fresh(), [], {}, []
    for step in every_phase(chair, participant):
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(chair.folder, copies[-1])
        steps.append(step)
        answers[step] = chair.answer(participant)
    for copy in copies:
        for step in steps:
            for folder in ("sessions", "shares"):
                shutil.rmtree(chair.folder / folder, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    shutil.copytree(copy / folder, chair.folder / folder)
            assert tried(chair.fresh(), step) in {None, answers[step]}


@pytest.mark.parametrize("phase", [Phase.TEST_KEY, Phase.OPEN])
def test_two_processes_at_once_give_one_answer(chair, phase):
    participant = chair.fresh()
    if phase is Phase.OPEN:
        chair.make_key(participant).begin_session()
    else:
        chair.begin_ceremony()
    step = chair.to(phase, participant).step()
    ends = [in_thread(lambda one=one: tried(one, step)) for one in [chair.fresh() for _ in range(4)]]
    given = {end() for end in ends} - {None}
    assert len(given) <= 1
    assert tried(participant, step) in {None, *given}


@pytest.mark.parametrize(
    "other",
    [{"members": (1, 2)}, {"contributors": CLIENTS - 1}, {}],
    ids=["another set", "another count", "another ciphertext"],
)
@pytest.mark.parametrize("first", [True, False], ids=["the sum's first", "the other first"])
def test_a_member_that_is_asked_to_open_twice_answers_once(chair, first, other):
    """What is asked second is refused, and ends the session for good: nobody gets two answers for two sets."""
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    two = [chair.step(), chair.step_of(open_request(chair, **other))]
    asked, refused = two if first else reversed(two)
    answer = participant.answer(asked, None)
    assert len(answer) > 16
    for one in (participant, chair.fresh()):
        with pytest.raises(Declined):
            one.answer(refused, None)
        with pytest.raises(Declined, match="given this session up"):
            one.answer(asked, None)


def test_a_session_is_not_opened_again_under_its_own_parameters(chair, tmp_path):
    """The claim is the share's: a seat that has lost all memory of the session does not open it again."""
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.CONVENE, participant)
    convene = chair.step()
    chair.receive(chair.answer(participant))
    answer = chair.answer(participant)
    for path in (chair.folder / "sessions").iterdir():
        path.unlink()
    for step in (convene, chair.step(), chair.step_of(open_request(chair))):
        assert tried(chair.fresh(), step) in {None, answer}
        assert tried(chair.fresh(), step) is None


def test_a_second_request_in_a_ceremony_ends_it(chair):
    participant = chair.fresh()
    chair.begin_ceremony().to(Phase.DEAL, participant)
    step = chair.step()
    other = Chair(chair.folder.parent / "other").begin_ceremony(chair.params)
    other.to(Phase.DEAL, other.fresh())
    with pytest.raises(Declined, match="another ceremony"):
        participant.answer(chair.step_of(other.server.request_for(seat(chair.seat))), None)
    with pytest.raises(Declined, match="given this session up"):
        chair.fresh().answer(step, None)


def test_undecodable_requests_change_nothing(chair):
    participant = chair.fresh()
    for step in every_phase(chair, participant):
        before = sorted((path, path.read_bytes()) for path in chair.folder.rglob("*") if path.is_file())
        for rubbish in (b"", b"PVFL", step.request[:-1], bytes(100)):
            with pytest.raises(Declined):
                participant.answer(chair.step_of(rubbish), lambda _digest, _size: MODEL)
        assert before == sorted((path, path.read_bytes()) for path in chair.folder.rglob("*") if path.is_file())
    assert np.array_equal(chair.server.result.vector, exact_sum(chair.vectors, range(CLIENTS)))


# How long a share is kept


def test_a_share_goes_when_its_openings_are_spent(tmp_path):
    """Guarantee 3 of `Seat`, first half; and who puts the file back has opened nothing with it."""
    chair = Chair(tmp_path / "home", openings=2)
    participant = chair.fresh()
    chair.make_key(participant)
    shutil.copytree(chair.folder / "shares", tmp_path / "copy")
    for left in (1, 0):
        chair.begin_session(round_number=2 - left).finish(participant)
        assert len(chair.shares()) == left
    chair.begin_session(round_number=3).to(Phase.UPLOAD, participant)
    chair.receive(chair.answer(participant))
    with pytest.raises(Declined, match="no share of"):
        chair.answer(participant)
    chair.begin_session(round_number=4).receive(chair.answer(participant))
    shutil.rmtree(chair.folder / "shares")
    shutil.copytree(tmp_path / "copy", chair.folder / "shares")
    with pytest.raises(Declined, match="budget of 2 openings"):
        chair.answer(chair.fresh())


def test_an_answer_comes_again_when_the_share_is_gone(tmp_path):
    chair = Chair(tmp_path / "home", openings=1)
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    answer = chair.answer(participant)
    assert chair.shares() == []
    assert chair.answer(chair.fresh()) == answer


def test_another_key_takes_the_place_of_the_last(chair):
    """Guarantee 3 of `Seat`, second half."""
    participant = chair.fresh()
    chair.make_key(participant)
    (first,) = chair.shares()
    old = chair.key, chair.kept
    chair.make_key(participant)
    (second,) = chair.shares()
    assert second != first
    chair.key, chair.kept = old
    chair.begin_session().receive(chair.answer(participant))
    with pytest.raises(Declined, match="no share of"):
        chair.answer(participant)


def test_a_share_goes_when_the_run_is_over_and_not_before(chair):
    participant = chair.fresh()
    chair.make_key(participant)
    participant.forget_old(bytes(16))
    assert len(chair.shares()) == 1
    participant.forget_old(b"")
    assert chair.shares() == []
    chair.fresh().forget_old(b"")  # of somebody who never had one


def test_the_share_is_on_disk_before_the_signature_leaves(chair):
    participant = chair.fresh()
    chair.begin_ceremony().to(Phase.SIGN_KEY, participant)
    assert chair.shares() == []
    (chair.folder / "shares").write_text("there is no room for a folder")
    with pytest.raises(Declined) as declined:
        chair.answer(participant)
    assert (str(chair.folder) in str(declined.value), declined.value.told) == (True, UNTOLD)


# For what a share is


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ('suites = ["kahe"]', "not allowed"),
        ('suites = ["ckks"]\nminimum_contributors = 5', "wants 5 or more"),
        ('suites = ["ckks"]\ncorrupt = 0.3', "wants 0.3 or more"),
        ('suites = ["ckks"]\nservers = ["active"]', "'honest-but-curious' is not allowed"),
    ],
)
def test_a_member_helps_to_open_nothing_that_the_policy_does_not_allow(chair, policy, why):
    """Guarantee 2 of `Seat`."""
    participant = chair.fresh()
    chair.make_key(participant).begin_session().receive(chair.answer(participant))
    (chair.folder / "policy.toml").write_text(policy)
    with pytest.raises(Declined, match=why):
        chair.answer(chair.fresh())


def test_no_key_is_made_where_the_policy_does_not_allow_the_suite(tmp_path):
    chair = Chair(tmp_path / "home", policy='suites = ["kahe"]').begin_ceremony()
    with pytest.raises(Declined, match="not allowed by this client's policy"):
        chair.answer(chair.fresh())


@pytest.mark.parametrize("of", ["check", "check_key"])
def test_a_member_helps_to_open_nothing_that_is_not_the_runs(tmp_path, of):
    work = TinyWork()
    chair = Chair(tmp_path / "home", work=work)
    participant = chair.fresh()
    chair.make_key(participant).begin_session().receive(chair.answer(participant))

    def refuse(*_arguments):
        raise ConfigurationError("not of this run")

    setattr(work, of, refuse)
    with pytest.raises(Declined, match="not of this run"):
        chair.answer(participant)


def test_no_key_is_made_that_is_not_for_the_runs_sums(tmp_path):
    work = TinyWork(fails={"check_key": ConfigurationError("made for something else")})
    chair = Chair(tmp_path / "home", work=work).begin_ceremony()
    with pytest.raises(Declined, match="made for something else"):
        chair.answer(chair.fresh())


STRANGERS = roster_of({number: identity_of(50 + number) for number in range(len(SEATS))})


@pytest.mark.parametrize(
    ("committee", "announced", "why"),
    [
        (None, COMMITTEE, r"put committee\.json"),
        (STRANGERS, COMMITTEE, "another roster's members"),
        (COMMITTEE, STRANGERS, "another roster's members"),
    ],
)
def test_no_key_is_made_with_another_committee_than_the_owners(tmp_path, committee, announced, why):
    chair = Chair(tmp_path / "home", committee=committee).begin_ceremony()
    params = ceremony_params(roster=announced)
    with pytest.raises(Declined, match=why):
        chair.fresh().answer(chair.step(params=params.to_bytes(), session=params.nonce), None)


def test_who_does_not_sit_on_the_committee_makes_no_key(tmp_path):
    chair = Chair(tmp_path / "home")
    chair.number = 3
    chair.begin_ceremony()
    with pytest.raises(Declined, match=r"identity is not in committee\.json"):
        chair.answer(chair.fresh())


def test_a_ceremony_has_its_nonce_for_a_name_and_parameters_of_its_own(chair):
    chair.begin_ceremony()
    for changes, why in (
        ({"session": bytes(16)}, "nonce"),
        ({"params": b"rubbish"}, "not a ceremony's parameters"),
        ({"params": ckks_params(None).to_bytes()}, "not a ceremony's parameters"),
        ({"part": Part.MEMBER}, "not session parameters"),
        ({"part": Part.CLIENT}, "not session parameters"),
    ):
        with pytest.raises(Declined, match=why):
            chair.fresh().answer(chair.step(**changes), None)


@pytest.mark.parametrize(
    ("request_of", "why"),
    [
        (lambda chair: open_request(chair, members=(0, 2)), "without this one"),
        (lambda chair: open_request(chair, members=(0, 1, 5)), "strangers"),
        (lambda chair: open_request(chair, members=(1,)), "2 are needed"),
        (lambda chair: open_request(chair, contributors=3), "3 contributors"),
        (lambda chair: open_request(chair, contributors=CLIENTS + 1), "8 contributors"),
        (
            lambda chair: forged(ConveneRequest(), suite=SuiteCode.CKKS, session=bytes(32), sender=SERVER),
            "no place",
        ),
    ],
)
def test_a_lying_coordinator_gets_nothing_opened(chair, request_of, why):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    true = chair.step()
    with pytest.raises(Declined, match=why):
        participant.answer(chair.step_of(request_of(chair)), None)
    with pytest.raises(Declined, match="given this session up"):
        chair.fresh().answer(true, None)


def test_a_session_goes_on_under_the_parameters_that_it_began_with(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    others = replace(chair.params, minimum_contributors=5)
    with pytest.raises(Declined, match="other parameters"):
        participant.answer(chair.step(params=others.to_bytes()), None)


def test_a_suite_without_a_committee_has_no_members(chair):
    params, _server = make_session("masking")
    chair.make_key(chair.fresh()).begin_session().to(Phase.CONVENE, chair.fresh())
    (chair.folder / "policy.toml").write_text('suites = ["masking"]\nservers = ["honest-but-curious"]')
    with pytest.raises(Declined, match="which no committee opens"):
        chair.fresh().answer(chair.step(params=params.to_bytes(), session=params.nonce), None)


# The client's own part


def of_strangers(_chair):
    return committee(members=3, threshold=2).key


def another_of_its_own(chair):
    other = Chair(chair.folder.parent / "again")
    return other.make_key(other.fresh()).key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (of_strangers, "another roster's members"),
        (lambda chair: b"rubbish", "not a committee's key"),
        (lambda chair: b"", "not a committee's key"),
        (lambda chair: with_signatures(chair.key, 1), "2 work"),
        (lambda chair: with_signatures(chair.key, 2, spoilt=True), "does not hold"),
        (another_of_its_own, "another committee's key"),
    ],
    ids=["of strangers", "rubbish", "none", "too few signatures", "a false signature", "another key of the committee"],
)
def test_a_client_encrypts_under_no_key_but_its_committees(chair, key, why):
    """Guarantee 7 of `Participant`: and no vector is made."""
    participant = chair.fresh()
    chair.make_key(participant).begin_session()
    shown = key(chair)
    shown = shown if isinstance(shown, bytes) else shown.to_bytes()
    with pytest.raises(Declined, match=why):
        participant.answer(chair.step(committee=shown), lambda _digest, _size: MODEL)
    assert chair.work.trained == 0


def with_signatures(key, count, *, spoilt=False):
    """A key as it travels, with so many signatures; whoever holds a `CommitteeKey` has checked them."""
    signed = dict(list(key.signatures.items())[:count])
    if spoilt:
        signed[min(signed)] = bytes(64)
    lax = object.__new__(CommitteeKey)
    for name, value in (("statement", key.statement), ("roster", key.roster), ("signatures", signed)):
        object.__setattr__(lax, name, value)
    return lax.to_bytes()


def test_a_client_without_a_committee_encrypts_under_none(chair, tmp_path):
    chair.make_key(chair.fresh()).begin_session()
    (chair.folder / "committee.json").unlink()
    with pytest.raises(Declined, match=r"put committee\.json"):
        chair.fresh().answer(chair.step(), lambda _digest, _size: MODEL)


def test_a_client_encrypts_for_no_key_that_is_not_for_the_runs_sums(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session()
    chair.work._fails = {"check_key": ConfigurationError("too many openings")}
    with pytest.raises(Declined, match="too many openings"):
        chair.answer(participant)
    assert chair.work.trained == 0


def test_uploads_are_signed_or_do_not_leave(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session(ckks_params(chair.key, signed=False))
    with pytest.raises(Declined, match="honest-but-curious"):
        chair.answer(participant)
    assert chair.work.trained == 0


def test_what_a_client_spoils_is_not_its_members_and_the_other_way_round(chair):
    """Guarantee 6 of `Participant`."""
    participant = chair.fresh()
    chair.make_key(participant).begin_session()
    chair.work._fails = {"charge": ConfigurationError("not now")}
    with pytest.raises(Declined):
        chair.answer(participant)
    chair.receive(None)
    chair.to(Phase.FINISHED, participant)
    assert np.array_equal(chair.server.result.vector, exact_sum(chair.vectors, range(1, CLIENTS)))
    chair.work._fails = {}
    chair.begin_session(round_number=1)
    upload = chair.step()
    answer = participant.answer(upload, lambda _digest, _size: MODEL)
    with pytest.raises(Declined):
        participant.answer(chair.step_of(b"PVFL", part=Part.MEMBER, committee=b""), None)
    with pytest.raises(Declined):
        participant.answer(
            chair.step_of(
                forged(ConveneRequest(), suite=SuiteCode.CKKS, session=bytes(32), sender=SERVER), part=Part.MEMBER
            ),
            None,
        )
    assert chair.fresh().answer(upload, None) == answer


def test_a_file_of_one_part_is_none_of_another(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    sessions = chair.folder / "sessions"
    name = chair.params.nonce.hex()
    (sessions / name).write_bytes((sessions / f"{name}.member").read_bytes())
    (sessions / f"{name}.member").unlink()
    for changes in ({"part": Part.CLIENT}, {"part": Part.MEMBER}):
        with pytest.raises(Declined):
            chair.fresh().answer(chair.step(**changes), None)


# Long requests


def fetched(chair, **changes):
    request = chair.server.request_for(chair.party)
    return request, chair.step_of(b"", **{"fetched": model_digest(request), "fetched_bytes": len(request)} | changes)


def test_a_long_request_is_fetched_once_and_answered_once(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    request, step = fetched(chair)
    calls = []

    def model_of(digest, size):
        calls.append((digest, size))
        return request

    answer = participant.answer(step, model_of)
    assert chair.fresh().answer(step, None) == answer
    assert calls == [(step.fetched, len(request))]
    chair.receive(answer)
    assert np.array_equal(chair.server.result.vector, exact_sum(chair.vectors, range(CLIENTS)))


def test_a_request_that_cannot_be_fetched_costs_nothing(chair):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    request, step = fetched(chair)

    def away(_digest, _size):
        raise LocalProtocolError("nobody answers")

    with pytest.raises(LocalProtocolError, match="nobody answers"):
        participant.answer(step, away)
    assert len(participant.answer(step, lambda _digest, _size: request)) > 16


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"fetched_bytes": 5}, "not the one"), ({"fetched": bytes(range(32))}, "not the one")],
)
def test_a_request_that_is_not_the_one_that_was_named_is_refused(chair, changes, why):
    participant = chair.fresh()
    chair.make_key(participant).begin_session().to(Phase.OPEN, participant)
    request, step = fetched(chair, **changes)
    with pytest.raises(Declined, match=why):
        participant.answer(step, lambda _digest, _size: request)
    with pytest.raises(Declined, match="given this session up"):
        participant.answer(chair.step(), None)


def test_nothing_is_fetched_that_is_longer_than_any_request(chair):
    participant = chair.fresh()
    chair.begin_ceremony()
    _request, step = fetched(chair, fetched_bytes=1 << 30)
    with pytest.raises(Declined, match="longer than any"):
        participant.answer(step, None)


def test_refusals_are_of_the_librarys_tree(chair):
    participant = chair.fresh()
    chair.begin_ceremony()
    for part in Part:
        for params in (b"", b"\x90", chair.params.to_bytes()):
            with pytest.raises(PrivflError):
                participant.answer(chair.step_of(b"", part=part, params=params, session=bytes(16)), None)
