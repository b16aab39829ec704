"""A participant: one answer to a request, whatever is killed, repeated or put back; and no vector for nothing."""

import contextlib
import os
import shutil
import stat
import threading
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from consortium_harness import (
    MODEL,
    By,
    TinyWork,
    exact_sum,
    greeting,
    in_memory,
    in_thread,
    make_home,
    make_participant,
    model_of,
)
from harness import ACTIVE, forged, identity_of

from privfl import (
    BudgetExceeded,
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LedgerError,
    LocalProtocolError,
    Phase,
    PrivflError,
    ThreatModel,
    suite,
)
from privfl.integrations.consortium import Declined, Participant
from privfl.integrations.consortium.attempt import UNTOLD
from privfl.integrations.consortium.keeping import Shelf
from privfl.integrations.consortium.messages import model_digest
from privfl.masking.messages import MaskedInputRequest
from privfl.wire import SERVER, SuiteCode

SUITES = [
    ("plain", {}),
    ("masking", {}),
    ("kahe", {}),
    ("masking", {"threat": ThreatModel(server=ACTIVE, corrupt=0.1, dropout=0.15)}),
]
SUITE_NAMES = ["plain", "masking", "kahe", "active"]


@pytest.fixture(params=SUITES, ids=SUITE_NAMES)
def by(request, tmp_path):
    name, options = request.param
    return By(tmp_path / "home", name, **options)


def finish(by, participant):
    while by.server.phase is not Phase.FINISHED:
        by.receive(by.answer(participant))
    return by.server.result


def put_back(by, copy):
    """Somebody puts a copy of the sessions back; the claims are where they were."""
    sessions = by.folder / "sessions"
    shutil.rmtree(sessions)
    shutil.copytree(copy, sessions)


class Death(BaseException):
    """The process is gone."""


@contextlib.contextmanager
def dying(step, *, after):
    """Die at that call which changes the disk, before it or after it; yields the calls that there were."""
    calls = []

    def mortal(name, real):
        def call(*arguments, **options):
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            calls.append(name)
            if len(calls) == step and not after:
                raise Death
            returned = real(*arguments, **options)
            if len(calls) == step:
                raise Death
            return returned

        return call

    with contextlib.ExitStack() as patches:
        for name in ("open", "fsync", "replace", "link", "unlink"):
            patches.enter_context(patch(f"os.{name}", mortal(name, getattr(os, name))))
        yield calls


# Once


def test_a_whole_session_is_answered_and_its_sum_is_exact(by):
    result = finish(by, by.fresh())
    assert np.array_equal(result.vector, exact_sum(by.vectors, range(7)))
    assert by.work.calls == ["enter", "context", "charge", "vector"]


def test_a_step_that_comes_again_gets_the_same_bytes_whoever_is_asked(by):
    participant = by.fresh()
    while by.server.phase is not Phase.FINISHED:
        step = by.step() if by.answer(participant) is not None else None
        answer = by.answer(participant)
        if step is not None:
            participant.delivered(step.session, step.phase)
            again = by.fresh()
            assert [one.answer(step, None) for one in (participant, again, again, participant)] == [answer] * 4
            participant = again
        by.receive(answer)
    assert by.work.trained == 1
    assert participant.answer(step, None) == answer, "until the session moves on"


def test_a_client_that_is_killed_at_any_step_goes_on_or_takes_no_part(by, tmp_path):
    """At every call that changes the disk, before and after; and what it had on disk is put back besides."""
    participant = by.fresh()
    went_on = 0
    while by.server.phase is not Phase.FINISHED:
        if (step := _step_or_none(by)) is None:
            by.receive(None)
            continue
        shutil.copytree(by.folder, tmp_path / "before", dirs_exist_ok=False)
        for after in (False, True):
            for count in range(1, 100):
                _as_before(by, tmp_path / "before")
                with dying(count, after=after) as calls, contextlib.suppress(Death):
                    by.fresh().answer(step, model_of)
                if len(calls) < count:
                    break
                answers = {_tried(by.fresh(), step), _tried(by.fresh(), step)}
                assert len(answers) == 1, "one outcome, for good"
                went_on += answers != {None}
                shutil.rmtree(by.folder / "sessions")
                shutil.copytree(tmp_path / "before" / "sessions", by.folder / "sessions")
                if answers != {None}:
                    assert _tried(by.fresh(), step) in {None, *answers}, "and no other, from an older file"
            assert count > 3
        _as_before(by, tmp_path / "before")
        shutil.rmtree(tmp_path / "before")
        by.receive(by.answer(participant))
    assert went_on
    assert np.array_equal(by.server.result.vector, exact_sum(by.vectors, range(7)))


def _step_or_none(by):
    return by.step() if by.number in {party.number for party in by.server.waiting} else None


def _as_before(by, copy):
    shutil.rmtree(by.folder)
    shutil.copytree(copy, by.folder)


def _tried(participant, step):
    try:
        return participant.answer(step, model_of)
    except Declined:
        return None


def test_files_that_are_put_back_answer_nothing_twice(by, tmp_path):
    steps, answers, copies = [], {}, []
    participant = by.fresh()
    shutil.copytree(by.folder / "sessions", tmp_path / "copy-0")
    copies.append(tmp_path / "copy-0")
    while by.server.phase is not Phase.FINISHED:
        if (step := _step_or_none(by)) is not None:
            steps.append(step)
            answers[step.phase] = by.answer(participant)
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(by.folder / "sessions", copies[-1])
        by.receive(answers.get(by.server.phase))
    for copy in copies:
        for step in steps:
            put_back(by, copy)
            fresh = by.fresh()
            for _ in range(2):
                assert _tried(fresh, step) in {None, answers[step.phase]}
    assert by.work.trained == 1


def test_a_session_that_was_forgotten_is_not_begun_again(by):
    participant = by.fresh()
    step = by.step()
    participant.answer(step, model_of)
    participant.forget_old(by.params.nonce)
    assert len(list((by.folder / "sessions").iterdir())) == 1
    participant.forget_old(bytes(16))
    assert list((by.folder / "sessions").iterdir()) == []
    for one, why in ((participant, "took part in this session before"), (by.fresh(), "given this session up")):
        with pytest.raises(Declined, match=why):
            one.answer(step, model_of)
    assert by.work.trained <= 1


def test_two_processes_at_once_give_one_answer(by):
    participant = by.fresh()
    while by.server.phase is not Phase.FINISHED:
        if (step := _step_or_none(by)) is None:
            by.receive(None)
            continue
        rivals = [by.fresh() for _ in range(4)]
        ends = [in_thread(lambda one=one: _tried(one, step)) for one in rivals]
        given = {end() for end in ends} - {None}
        assert len(given) <= 1
        if not given:
            return  # none of them went on: the session is lost, and nothing was told twice
        answer = _tried(participant, step)
        assert answer in {None, *given}
        by.receive(given.pop())
        if answer is None:
            return


# What is refused


def forged_step(by, **changes):
    """A well-formed request of a lying server, in the session that is under way."""
    message = MaskedInputRequest(participants=1, peers=(), sealed=b"")
    code = SuiteCode[by.params.suite.upper()]
    request = forged(message, suite=code, session=by.server._step.session, sender=SERVER)
    return by.step_of(request, **changes)


@pytest.mark.parametrize("name", ["masking", "kahe"])
def test_another_request_in_the_same_phase_ends_the_session_for_good(tmp_path, name):
    by = By(tmp_path / "home", name)
    participant = by.fresh()
    by.to(Phase.MASKED_INPUT, participant)
    step = by.step()
    shutil.copytree(by.folder / "sessions", tmp_path / "copy")
    with pytest.raises(Declined):
        participant.answer(forged_step(by), model_of)
    assert list((by.folder / "sessions").iterdir()) == []
    for _ in range(2):
        with pytest.raises(Declined, match="given this session up"):
            by.fresh().answer(step, model_of)
        put_back(by, tmp_path / "copy")
    assert by.work.trained == 0


@pytest.mark.parametrize("name", ["masking", "kahe"])
def test_after_the_upload_a_second_request_for_a_vector_is_refused(tmp_path, name):
    by = By(tmp_path / "home", name)
    participant = by.fresh()
    by.to(Phase.MASKED_INPUT, participant)
    participant.answer(by.step(), model_of)
    with pytest.raises(Declined):
        participant.answer(forged_step(by), model_of)
    assert by.work.trained == 1
    assert list((by.folder / "sessions").iterdir()) == []


def test_undecodable_requests_change_nothing(by):
    participant = by.fresh()
    while by.server.phase is not Phase.FINISHED:
        if (step := _step_or_none(by)) is not None:
            before = sorted((path, path.read_bytes()) for path in by.folder.rglob("*") if path.is_file())
            for rubbish in (b"", b"PVFL", step.request[:-1], bytes(100)):
                with pytest.raises(Declined):
                    participant.answer(by.step_of(rubbish), model_of)
            assert before == sorted((path, path.read_bytes()) for path in by.folder.rglob("*") if path.is_file())
        by.receive(by.answer(participant))
    assert np.array_equal(by.server.result.vector, exact_sum(by.vectors, range(7)))
    assert by.work.trained == 1


def to_upload(by, participant):
    return by.to(Phase.UPLOAD if by.params.suite == "plain" else Phase.MASKED_INPUT, participant)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"terms": b"others"}, "context"),
        ({"round": 2}, "context"),
        ({"model": bytes(32)}, "a model that is not the one"),
        ({"model_bytes": 5}, "a model that is not the one"),
    ],
)
def test_no_vector_is_made_for_what_the_session_is_not_about(by, changes, why):
    participant = by.fresh()
    to_upload(by, participant)
    with pytest.raises(Declined, match=why) as declined:
        participant.answer(by.step(**changes), model_of)
    assert declined.value.told == str(declined.value)
    assert "charge" not in by.work.calls
    with pytest.raises(Declined):
        participant.answer(by.step(), model_of)
    assert "charge" not in by.work.calls


def test_no_vector_is_made_from_another_model_than_was_named(by):
    participant = by.fresh()
    to_upload(by, participant)
    with pytest.raises(Declined, match="a model that is not the one"):
        participant.answer(by.step(), lambda digest, size: bytes(size))
    assert by.work.calls == ["enter"]


@pytest.mark.parametrize("name", ["masking", "kahe"])
def test_no_vector_is_made_for_a_request_that_would_be_refused(tmp_path, name):
    by = By(tmp_path / "home", name)
    participant = by.fresh()
    by.to(Phase.MASKED_INPUT, participant)
    with pytest.raises(Declined):
        participant.answer(forged_step(by), model_of)
    assert by.work.calls == ["enter", "context"]


def test_a_session_that_leaves_the_context_open_is_bound_to_what_the_client_was_shown(tmp_path):
    by = By(tmp_path / "home", "masking")
    context = by.params.context
    by.params = replace(by.params, context=b"")
    by.server = suite("masking").server(by.params)
    by.others = {other: in_memory(by.params, other) for other in range(1, 7)}
    for other, session in by.others.items():
        session.submit(by.vectors[other])
        session.bind(context)
    participant = by.fresh()
    by.to(Phase.SHARE_KEYS, participant)
    by.server.bind(context)
    result = finish(by, participant)
    assert np.array_equal(result.vector, exact_sum(by.vectors, range(7)))


@pytest.mark.parametrize("of", ["charge", "vector"])
@pytest.mark.parametrize(
    "error",
    [BudgetExceeded("1.5 left"), LedgerError("line 7"), ConfigurationError("patient 7"), KeyError("7"), MemoryError()],
)
def test_work_that_fails_ends_the_session_and_the_coordinator_learns_nothing(by, tmp_path, of, error):
    participant = by.fresh()
    to_upload(by, participant)
    shutil.copytree(by.folder / "sessions", tmp_path / "copy")
    by.work._fails = {of: error}
    with pytest.raises(Declined) as declined:
        participant.answer(by.step(), model_of)
    assert declined.value.told == UNTOLD
    assert declined.value.__cause__ is error
    assert list((by.folder / "sessions").iterdir()) == []
    by.work._fails = {}
    put_back(by, tmp_path / "copy")
    for one in (participant, by.fresh()):
        with pytest.raises(Declined):
            one.answer(by.step(), model_of)
    assert by.work.calls.count(of) == 1


@pytest.mark.parametrize(
    "vector", [np.zeros(3, np.int32), np.full(16, 10**6, np.int32), np.zeros(16, np.float32), "text"]
)
def test_a_vector_that_does_not_fit_ends_the_session_and_is_not_made_again(by, vector):
    by.work._vector = vector
    participant = by.fresh()
    to_upload(by, participant)
    for _ in range(2):
        with pytest.raises(Declined) as declined:
            participant.answer(by.step(), model_of)
    assert by.work.trained == 1
    assert "given" in str(declined.value)


@pytest.mark.parametrize(
    "error", [LedgerError("7"), BudgetExceeded("7"), ConfigurationError("{home}/x"), KeyError("7")]
)
def test_words_that_are_the_owners_stay_with_the_owner(tmp_path, error):
    by = By(tmp_path / "home", "plain")
    if "{home}" in str(error):
        error = ConfigurationError(f"{by.folder}/x is not there")
    by.work._fails = {"context": error}
    with pytest.raises(Declined) as declined:
        by.fresh().answer(by.step(), model_of)
    assert declined.value.told == UNTOLD
    by = By(tmp_path / "other", "plain")
    by.work._fails = {"context": ConfigurationError("lr is \n\x1b0" + "ä" * 500)}
    with pytest.raises(Declined) as declined:
        by.fresh().answer(by.step(), model_of)
    assert declined.value.told.startswith("lr is   0ää")
    assert 490 < len(declined.value.told.encode()) <= 500


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ('suites = ["plain"]\nservers = ["honest-but-curious"]\nminimum_contributors = 9', "minimum"),
        ('suites = ["kahe"]', "plain"),
        ("", "plain"),
        ('suites = ["plain"]\nservers = ["active"]', "threat.server"),
    ],
)
def test_sessions_against_the_policy_are_declined_before_anything_is_done(tmp_path, policy, why):
    by = By(tmp_path / "home", "plain")
    make_home(by.folder, 0, policy=policy)
    participant = by.fresh()
    with pytest.raises(Declined, match=why):
        participant.answer(by.step(), lambda digest, size: pytest.fail("no model is fetched"))
    assert by.work.calls == ["enter"]


def test_a_policy_that_became_stricter_holds_for_what_is_under_way(tmp_path):
    by = By(tmp_path / "home", "masking")
    by.to(Phase.MASKED_INPUT, by.fresh())
    (by.folder / "policy.toml").write_text('servers = ["honest-but-curious"]\nminimum_contributors = 9')
    with pytest.raises(Declined, match="minimum"):
        by.fresh().answer(by.step(), model_of)
    assert by.work.trained == 0


def test_without_a_policy_plain_is_not_spoken_and_credentials_ask_for_signatures(tmp_path):
    for name in ("plain", "masking"):
        by = By(tmp_path / name, name)
        make_home(by.folder, 0)
        (by.folder / "policy.toml").unlink()
        with pytest.raises(Declined):
            by.fresh().answer(by.step(), model_of)


def test_parameters_are_those_that_the_session_began_with(tmp_path):
    by = By(tmp_path / "home", "masking")
    participant = by.fresh()
    by.to(Phase.SHARE_KEYS, participant)
    others = replace(by.params, minimum_contributors=6)
    with pytest.raises(Declined, match="other parameters"):
        participant.answer(by.step(params=others.to_bytes()), model_of)
    with pytest.raises(Declined, match="given this session up"):
        participant.answer(by.step(), model_of)


@pytest.mark.parametrize("params", [b"", b"\x90", None])
def test_parameters_that_are_none_are_declined(tmp_path, params):
    by = By(tmp_path / "home", "plain")
    with pytest.raises(Declined):
        by.fresh().answer(by.step(params=params), model_of)


def test_a_session_has_its_nonce_for_a_name(tmp_path):
    by = By(tmp_path / "home", "plain")
    with pytest.raises(Declined, match="nonce"):
        by.fresh().answer(by.step(session=bytes(16)), model_of)


def test_who_is_not_in_the_cohort_takes_no_part(tmp_path):
    by = By(tmp_path / "home", "plain")
    by.number = 8
    participant = make_participant(tmp_path / "eight", 8, by.work, n=9)
    with pytest.raises(Declined, match="client 8 is not in the cohort"):
        participant.answer(by.step_of(b"", phase=Phase.ADVERTISE_KEYS), model_of)


# Interruptions that are no refusals


def test_a_model_that_cannot_be_fetched_costs_nothing(by):
    participant = by.fresh()
    to_upload(by, participant)

    def unreachable(digest, size):
        assert (digest, size) == (model_digest(MODEL), len(MODEL))
        raise TimeoutError

    for _ in range(2):
        with pytest.raises(TimeoutError):
            participant.answer(by.step(), unreachable)
    result = finish(by, participant)
    assert np.array_equal(result.vector, exact_sum(by.vectors, range(7)))


@pytest.mark.parametrize("of", ["context", "charge", "vector"])
def test_a_client_that_is_stopped_while_it_trains_goes_on_when_it_is_started_again(by, of):
    participant = by.fresh()
    to_upload(by, participant)
    by.work._fails = {of: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        participant.answer(by.step(), model_of)
    by.work._fails = {}
    result = finish(by, by.fresh())
    assert np.array_equal(result.vector, exact_sum(by.vectors, range(7)))


def test_an_answer_is_on_the_disk_before_it_is_returned(by):
    """Its bytes before its name, and the name before anybody hears of it; and all claims before both."""
    participant = by.fresh()
    while by.server.phase is not Phase.FINISHED:
        with dying(10_000, after=False) as calls:
            answer = by.answer(participant)
        assert answer is None or calls[-5:] == ["open", "fsync", "replace", "fsync", "unlink"]
        by.receive(answer)


def test_without_room_on_the_disk_nothing_is_answered(by):
    participant = by.fresh()
    with patch("os.replace", side_effect=OSError(28, "No space left on device")), pytest.raises(Declined) as declined:
        participant.answer(by.step(), model_of)
    assert "No space left" in str(declined.value)
    assert declined.value.told == UNTOLD
    with pytest.raises(Declined):
        participant.answer(by.step(), model_of)
    assert list((by.folder / "sessions").iterdir()) == []


def test_a_damaged_file_ends_the_session(tmp_path):
    by = By(tmp_path / "home", "masking")
    by.to(Phase.SHARE_KEYS, by.fresh())
    (file,) = (by.folder / "sessions").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(Declined):
        by.fresh().answer(by.step(), model_of)
    assert not file.exists()


def test_a_file_under_another_name_is_no_session(tmp_path):
    by, other = By(tmp_path / "home", "masking"), By(tmp_path / "home", "masking")
    by.to(Phase.SHARE_KEYS, by.fresh())
    (file,) = (by.folder / "sessions").iterdir()
    file.rename(file.with_name(other.params.nonce.hex()))
    with pytest.raises(DecodeError):
        Shelf(make_home(by.folder, 0)).read(other.params.nonce)
    with pytest.raises(Declined):
        other.fresh().answer(other.step(), model_of)


# What lies on the disk


def test_what_lies_on_the_disk_is_sealed_and_its_owners_alone(by):
    participant = by.fresh()
    vector = by.vectors[0].tobytes()
    while by.server.phase is not Phase.FINISHED:
        answer = by.answer(participant)
        for path in by.folder.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.name in {"identity.pem", "roster.json", "policy.toml", "committee.json"}:
                continue  # the owner's own
            assert mode == (0o700 if path.is_dir() else 0o600), path
            if path.is_file() and path.name != "state.key":
                raw = path.read_bytes()
                assert answer is None or (answer not in raw and answer[-16:] not in raw)
                assert vector not in raw
        by.receive(answer)


def test_the_next_session_takes_the_place_of_the_last(tmp_path):
    first = By(tmp_path / "home", "masking")
    first.to(Phase.SHARE_KEYS, first.fresh())
    (first.folder / "sessions" / "half.written").write_bytes(b"by a crash")
    second = By(tmp_path / "home", "kahe")
    second.to(Phase.SHARE_KEYS, second.fresh())
    assert [path.name for path in (first.folder / "sessions").iterdir()] == [second.params.nonce.hex()]
    with pytest.raises(Declined):
        first.fresh().answer(first.step(), model_of)
    assert np.array_equal(finish(second, second.fresh()).vector, exact_sum(second.vectors, range(7)))


def test_what_is_kept_is_not_printed(tmp_path):
    by = By(tmp_path / "home", "masking")
    by.to(Phase.SHARE_KEYS, by.fresh())
    assert repr(Shelf(make_home(by.folder, 0)).read(by.params.nonce)) == f"Kept({by.params.nonce.hex()}, <secret>)"


# Greetings


def test_a_run_has_one_greeting_for_good(tmp_path):
    work = TinyWork()
    participant = make_participant(tmp_path / "home", 0, work)
    participant.greet(greeting())
    assert work.calls == ["enter"]
    changes = (
        {"job": "rounds = 4\n"},
        {"facts": replace_facts(classes=3)},
        {"coordinator": identity_of(998).public},
    )
    for other in changes:
        for one in (participant, make_participant(tmp_path / "home", 0, work, greeted=False)):
            with pytest.raises(DisclosureRefused, match="another job"):
                one.greet(greeting(**other))
            with pytest.raises(LocalProtocolError, match="greet"):
                one.answer(By(tmp_path / "home", "plain").step(), model_of)
    make_participant(tmp_path / "home", 0, work)
    participant.greet(greeting(run=bytes(16), job="rounds = 4\n"))


def replace_facts(**changes):
    from msgspec import structs

    return structs.replace(greeting().facts, **changes)


def test_only_the_coordinator_that_the_policy_names_is_heard(tmp_path):
    policy = f'server = "{identity_of(998).public.hex()}"'
    work = TinyWork()
    participant = make_participant(tmp_path / "home", 0, work, greeted=False, policy=policy)
    with pytest.raises(DisclosureRefused, match="another coordinator"):
        participant.greet(greeting())
    assert work.calls == []
    participant.greet(greeting(coordinator=identity_of(998).public))


def test_a_job_that_the_work_refuses_is_the_runs_all_the_same(tmp_path):
    work = TinyWork(fails={"enter": ConfigurationError("no such data")})
    participant = make_participant(tmp_path / "home", 0, work, greeted=False)
    with pytest.raises(ConfigurationError, match="no such data"):
        participant.greet(greeting())
    with pytest.raises(LocalProtocolError):
        participant.answer(By(tmp_path / "home", "plain").step(), model_of)
    other = make_participant(tmp_path / "home", 0, TinyWork(), greeted=False)
    with pytest.raises(DisclosureRefused, match="another job"):
        other.greet(greeting(job="another"))
    other.greet(greeting())


@pytest.mark.parametrize("after", [False, True])
def test_a_client_that_is_killed_while_it_enters_a_run_has_entered_it_with_one_greeting_at_most(tmp_path, after):
    make_home(tmp_path / "home", 0)
    Shelf(make_home(tmp_path / "home", 0))
    for count in range(1, 100):
        run = bytes([count, after]) * 8
        shown, other = greeting(run=run), greeting(run=run, job="another")
        with dying(count, after=after) as calls, contextlib.suppress(Death):
            make_participant(tmp_path / "home", 0, TinyWork(), greeted=False).greet(shown)
        if len(calls) < count:
            break
        entered = []
        for each in ([shown, other, shown], [other, shown, other])[count % 2]:
            try:
                make_participant(tmp_path / "home", 0, TinyWork(), greeted=False).greet(each)
                entered.append(each)
            except DisclosureRefused:
                pass
        assert entered, "nobody is locked out of a run by a crash"
        assert len({one.job for one in entered}) == 1
    assert count > 5


def test_a_run_whose_note_is_lost_is_not_entered_again(tmp_path):
    make_participant(tmp_path / "home", 0, TinyWork())
    (note,) = (tmp_path / "home" / "runs").iterdir()
    raw = note.read_bytes()
    note.write_bytes(raw[:-1] + b"!")
    with pytest.raises(DecodeError):
        make_participant(tmp_path / "home", 0, TinyWork())
    note.unlink()
    with pytest.raises(DisclosureRefused, match="is lost"):
        make_participant(tmp_path / "home", 0, TinyWork())


def test_two_processes_that_enter_a_run_at_once_enter_one(tmp_path):
    make_home(tmp_path / "home", 0)
    jobs = ["one", "another"] * 4
    both = [make_participant(tmp_path / "home", 0, TinyWork(), greeted=False) for _ in jobs]
    entered = []

    def enter(participant, job):
        with contextlib.suppress(DisclosureRefused):
            participant.greet(greeting(job=job))
            entered.append(job)

    ends = [in_thread(lambda one=one, job=job: enter(one, job)) for one, job in zip(both, jobs, strict=True)]
    for end in ends:
        end()
    assert len(set(entered)) == 1


# Misuse


def test_a_participant_answers_one_thread_at_a_time(tmp_path):
    by = By(tmp_path / "home", "plain")
    participant = by.fresh()
    reached, go = threading.Event(), threading.Event()

    def slow(digest, size):
        reached.set()
        assert go.wait(30)
        return MODEL

    first = in_thread(lambda: participant.answer(by.step(), slow))
    assert reached.wait(30)
    with pytest.raises(LocalProtocolError, match="one thread"):
        participant.answer(by.step(), model_of)
    go.set()
    assert first() == participant.answer(by.step(), None)


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    home = make_home(tmp_path / "home", 0)
    (tmp_path / "home" / "sessions").write_text("no directory")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Participant(home, 0, TinyWork())


def test_refusals_are_of_the_librarys_tree():
    assert issubclass(Declined, PrivflError)
