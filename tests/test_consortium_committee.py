"""A committee among the clients of a hall: it makes keys and opens sums, whoever is silent, killed, or declines."""

import numpy as np
import pytest
from committee_harness import CLIENTS, ROSTER, ceremony_params, ckks_params, seat, small_epoch
from consortium_harness import (
    CKKS_POLICY,
    SEATS,
    Clock,
    Life,
    TinyWork,
    end,
    eventually,
    exact_sum,
    greeting,
    hold_with,
    in_thread,
    make_order,
)
from harness import identity_of, make_vectors

from privfl import (
    BudgetExceeded,
    ConfigurationError,
    LocalProtocolError,
    Phase,
    RemoteProtocolError,
    RoundAborted,
    suite,
)
from privfl.ckks.ceremony_sizes import longest_answers
from privfl.ckks.coordinator import CeremonyCoordinator
from privfl.ckks.key import MemberKey
from privfl.ckks.member import remaining_openings
from privfl.integrations.consortium import Hall, NotWaited, Outcome
from privfl.integrations.consortium.attempt import UNTOLD
from privfl.integrations.consortium.ceremony_orders import CeremonyOrder
from privfl.integrations.consortium.committee import Committee
from privfl.integrations.consortium.messages import MOST_INLINE_BYTES, Part
from privfl.simulate import roster_of
from privfl.wire import Role

MEMBERS = {client: member for member, client in enumerate(SEATS)}
CEREMONY = [
    Phase.ADVERTISE_KEYS, Phase.COMMIT, Phase.DEAL, Phase.CHECK_SHARES, Phase.TEST_KEY, Phase.SIGN_KEY
]  # fmt: skip
SESSION = [Phase.UPLOAD, Phase.CONVENE, Phase.OPEN]


def ceremony_order(**changes):
    params = ceremony_params()
    usual = {
        "round": 1,
        "params": params,
        "server": CeremonyCoordinator(params),
        "members": MEMBERS,
        "phase_timeout_s": 100.0,
    }
    return CeremonyOrder(**usual | changes)


def session_order(key, *, number=1, **changes):
    params = ckks_params(key, round_number=number)
    server = suite("ckks").server(params, roster=ROSTER, committee=key)
    return make_order(params, server, round=number, **{"members": MEMBERS, "committee": key.to_bytes()} | changes)


class Consortium:
    """A hall with seven clients, three of them on the committee."""

    def __init__(self, folder, *, works=None, **lives):
        self.clock = Clock()
        self.hall = Hall(greeting(), clients=range(CLIENTS), clock=self.clock)
        self.vectors = make_vectors(ckks_params(None))
        self.works = {number: TinyWork(self.vectors[number]) for number in range(CLIENTS)} | (works or {})
        self.lives = [
            Life(
                self.hall,
                folder / f"client-{number}",
                number,
                self.works[number],
                policy=CKKS_POLICY,
                **{key: told[number] for key, told in lives.items() if number in told},
            )
            for number in range(CLIENTS)
        ]

    def hold(self, order, **options):
        return hold_with(self.hall, self.clock, order, self.lives, **options)

    def key(self):
        order = ceremony_order()
        outcome = self.hold(order)
        assert outcome.aborted is None, outcome.aborted
        return order.server.result

    def silence(self, number, phase):
        self.lives[number].silent_from = phase

    def end(self):
        end(self.hall, self.lives)


@pytest.fixture
def consortium(tmp_path):
    made = Consortium(tmp_path)
    yield made
    made.end()


def test_a_key_is_made_and_its_sums_are_opened(consortium):
    order = ceremony_order()
    made = consortium.hold(order)
    assert (made.aborted, made.aggregate, made.contributors, list(made.phases)) == (None, None, (), CEREMONY)
    assert order.server.result.statement.qualified == (0, 1, 2)
    assert {record.role for record in made.messages} == {"committee"}
    assert {record.client for record in made.messages} == {0, 1, 2}
    asked = []
    outcome = consortium.hold(session_order(order.server.result), before_opening=asked.append)
    assert (outcome.aborted, list(outcome.phases), asked) == (None, SESSION, [CLIENTS])
    assert outcome.contributors == tuple(range(CLIENTS))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(CLIENTS)))
    assert not outcome.failures
    assert not outcome.member_failures
    said = {(record.role, record.client, record.phase) for record in outcome.messages}
    assert said == {
        *(("client", number, "Upload") for number in range(CLIENTS)),
        *(("committee", number, "Convene") for number in range(3)),
        *(("committee", number, "Open") for number in range(2)),
    }
    for phase, traffic in (made.phases | outcome.phases).items():
        records = [record for record in (*made.messages, *outcome.messages) if record.phase == phase]
        assert traffic.upload_bytes == sum(record.size_bytes for record in records) > 0
        assert traffic.download_bytes > 0
    assert [work.trained for work in consortium.works.values()] == [1] * CLIENTS


def test_parties_that_are_killed_around_every_delivery_lose_nothing(tmp_path):
    consortium = Consortium(tmp_path, mortal=dict.fromkeys(range(CLIENTS), True))
    key = consortium.key()
    for number in (1, 2):
        outcome = consortium.hold(session_order(key, number=number))
        assert outcome.contributors == tuple(range(CLIENTS))
        assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(CLIENTS)))
    consortium.end()
    assert [work.trained for work in consortium.works.values()] == [2] * CLIENTS
    for life in consortium.lives:
        member = life.number in MEMBERS
        assert len(list((life.folder / "sessions").iterdir())) == 1 + member
        assert (life.folder / "shares").exists() == member


@pytest.mark.parametrize("phase", CEREMONY[:4])
def test_a_member_that_is_silent_in_a_ceremony_is_left_out_of_the_key(tmp_path, phase):
    consortium = Consortium(tmp_path, silent_from={SEATS[0]: phase})
    key = consortium.key()
    consortium.end()
    assert key.statement.qualified == (1, 2)


def test_a_ceremony_with_too_few_members_makes_no_key(tmp_path):
    consortium = Consortium(tmp_path, silent_from=dict.fromkeys(SEATS[:2], Phase.COMMIT))
    order = ceremony_order()
    outcome = consortium.hold(order)
    consortium.end()
    assert "2 are needed" in outcome.aborted
    with pytest.raises(LocalProtocolError):
        order.server.result  # noqa: B018 - that is the test


def test_with_enough_members_the_round_goes_on(consortium):
    """A member that is offline in a phase drops out."""
    key = consortium.key()
    consortium.silence(SEATS[0], Phase.CONVENE)
    outcome = consortium.hold(session_order(key))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(CLIENTS)))
    assert {record.client for record in outcome.messages if record.phase == "Open"} == {1, 2}


def test_with_too_few_members_nothing_is_opened(consortium):
    key = consortium.key()
    for client in SEATS[:2]:
        consortium.silence(client, Phase.CONVENE)
    outcome = consortium.hold(session_order(key))
    assert (outcome.aggregate, outcome.contributors) == (None, ())
    assert "1 members of the committee are there and 2 are needed" in outcome.aborted


def test_a_member_that_is_gone_once_the_set_is_fixed_ends_the_session(consortium):
    key = consortium.key()
    consortium.silence(SEATS[0], Phase.OPEN)
    outcome = consortium.hold(session_order(key))
    assert outcome.aggregate is None
    assert "fell silent after the set that opens was fixed" in outcome.aborted
    consortium.lives[SEATS[0]].silent = False
    consortium.silence(SEATS[0], None)
    again = consortium.hold(session_order(key, number=2))
    assert np.array_equal(again.aggregate.vector, exact_sum(consortium.vectors, range(CLIENTS)))


def test_a_sum_that_may_not_be_opened_is_shown_to_no_member(consortium):
    """Guarantee 4 of `Hall`."""

    def spent(_contributors):
        raise BudgetExceeded("nothing is left")

    key = consortium.key()
    with pytest.raises(BudgetExceeded, match="nothing is left"):
        consortium.hold(session_order(key), before_opening=spent)
    for client in SEATS:
        participant = consortium.lives[client].participant
        (share,) = (consortium.lives[client].folder / "shares").iterdir()
        own = MemberKey.load(share, participant._home.key)
        assert remaining_openings(own, participant._home.guard) == key.epoch.committee.openings
        assert not list((consortium.lives[client].folder / "sessions").glob("*.member"))


def test_what_a_client_declines_is_not_its_members(tmp_path):
    consortium = Consortium(tmp_path)
    key = consortium.key()
    consortium.works[SEATS[0]]._fails = {"charge": BudgetExceeded("0.1 of it is left")}
    outcome = consortium.hold(session_order(key))
    consortium.end()
    contributors = tuple(sorted(set(range(CLIENTS)) - {SEATS[0]}))
    assert outcome.contributors == contributors
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, contributors))
    assert outcome.failures == {SEATS[0]: f"declined: {UNTOLD}"}
    assert not outcome.member_failures
    assert {record.client for record in outcome.messages if record.phase == "Open"} == {0, 1}


def test_a_member_without_its_share_declines_alone(consortium):
    key = consortium.key()
    for path in (consortium.lives[SEATS[1]].folder / "shares").iterdir():
        path.unlink()
    outcome = consortium.hold(session_order(key))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(CLIENTS)))
    assert set(outcome.member_failures) == {1}
    assert "no share of" in outcome.member_failures[1]
    assert not outcome.failures


# By hand


class Held:
    """A session that is held, with nobody in it but the test."""

    def __init__(self, order):
        self.clock, self.order = Clock(), order
        self.hall = Hall(greeting(), clients=range(CLIENTS), clock=self.clock)
        self.wait = in_thread(lambda: self.hall.hold(order))
        eventually(lambda: self.hall.snapshot().phase is not None)

    def turn(self):
        """Let the phase end."""
        phase = self.hall.snapshot().phase
        self.clock.now += 10_000
        eventually(lambda: self.hall.snapshot().phase is not phase)


def rehearsed():
    from privfl.ckks.rehearsal import hold_ceremony

    return hold_ceremony(small_epoch())


def uploaded(held, committee, *, late=()):
    """Have all clients upload but the late ones."""
    from committee_harness import ckks_client

    vectors = make_vectors(held.order.params)
    for number in range(CLIENTS):
        session = ckks_client(held.order.params, number, committee.key)
        session.submit(vectors[number])
        offer = held.hall.offer(number)
        assert (offer.part, offer.committee) == (Part.CLIENT, committee.key.to_bytes())
        if number not in late:
            held.hall.answer(number, offer.session, offer.phase, session.respond(offer.request))
    return vectors


@pytest.fixture
def committee():
    return rehearsed()


def test_steps_say_to_whom_they_are(committee):
    held = Held(session_order(committee.key))
    uploaded(held, committee)
    eventually(lambda: held.hall.snapshot().phase is Phase.CONVENE)
    assert held.hall.snapshot().waiting == tuple(sorted(SEATS))
    for number in range(CLIENTS):
        offer = held.hall.offer(number)
        if number in MEMBERS:
            assert (offer.part, offer.committee, offer.phase) == (Part.MEMBER, b"", Phase.CONVENE)
            assert committee.session(held.order.params, MEMBERS[number]).respond(offer.request)
        else:
            with pytest.raises(NotWaited):
                held.hall.room(number, held.order.params.nonce, "Convene")
    held.hall.close("the test is over")


def test_a_member_speaks_for_its_own_seat_alone(committee):
    """Guarantee 1 of `Hall`: an answer in another's name costs its carrier."""
    held = Held(session_order(committee.key))
    uploaded(held, committee)
    eventually(lambda: held.hall.snapshot().phase is Phase.CONVENE)
    offer = held.hall.offer(SEATS[0])
    answer = committee.session(held.order.params, 1).respond(offer.request)
    with pytest.raises(RemoteProtocolError):
        held.hall.answer(SEATS[0], offer.session, offer.phase, answer)
    for client in SEATS[1:]:
        offer = held.hall.offer(client)
        answer = committee.session(held.order.params, MEMBERS[client]).respond(offer.request)
        assert held.hall.room(client, offer.session, offer.phase) == len(answer)
        held.hall.answer(client, offer.session, offer.phase, answer)
    eventually(lambda: held.hall.snapshot().phase is Phase.OPEN)
    assert held.hall.snapshot().waiting == tuple(sorted(SEATS[1:]))
    held.hall.close("the test is over")


@pytest.mark.parametrize("shown", [False, True], ids=["of its upload", "of its seat"])
def test_who_declines_declines_what_it_was_last_shown(committee, shown):
    """A client may be late with its word: it is not its member's."""
    held = Held(session_order(committee.key))
    late = SEATS[0]
    uploaded(held, committee, late=(late,))
    held.turn()
    if shown:
        held.hall.offer(late)
    held.hall.decline(late, held.order.params.nonce, "too late")
    assert (late in held.hall.snapshot().waiting) is not shown
    for client in SEATS:
        if client in held.hall.snapshot().waiting:
            offer = held.hall.offer(client)
            answer = committee.session(held.order.params, MEMBERS[client]).respond(offer.request)
            held.hall.answer(client, offer.session, offer.phase, answer)
    eventually(lambda: held.hall.snapshot().phase is Phase.OPEN)
    held.clock.now += 10_000
    outcome = held.wait()
    told = "declined: too late"
    assert (dict(outcome.failures), dict(outcome.member_failures)) == (({}, {0: told}) if shown else ({late: told}, {}))


def test_a_long_request_is_fetched_while_its_phase_is_open():
    order = ceremony_order()
    held = Held(order)
    from privfl.ckks.ceremony import CeremonyMember

    sessions = {
        client: CeremonyMember(order.params, member, identity=identity_of(client)) for client, member in MEMBERS.items()
    }
    fetched = {}
    for phase in CEREMONY:
        eventually(lambda phase=phase: held.hall.snapshot().phase is phase)
        offers = {client: held.hall.offer(client) for client in SEATS}
        for client, offer in offers.items():
            assert (offer.part, offer.round, offer.kind) == (Part.CEREMONY, 1, "ceremony")
            assert bool(offer.fetched) is not bool(offer.request)
            assert offer.most_bytes == max(longest_answers(order.params)[Role.COMMITTEE, phase].of(MEMBERS[client]))
            request = offer.request
            if offer.fetched:
                before = held.hall.snapshot().bytes_out
                request = held.hall.model(offer.fetched)
                assert len(request) == offer.fetched_bytes > MOST_INLINE_BYTES
                assert held.hall.snapshot().bytes_out == before + len(request)
                fetched[offer.fetched] = phase
            answer = sessions[client].respond(request)
            assert len(answer) == offer.most_bytes
            held.hall.answer(client, offer.session, offer.phase, answer)
    outcome = held.wait()
    assert (outcome.aborted, set(fetched.values())) == (None, {Phase.CHECK_SHARES})
    for digest in fetched:
        with pytest.raises(NotWaited):
            held.hall.model(digest)
    check = outcome.phases[Phase.CHECK_SHARES]
    assert check.download_bytes > 3 * MOST_INLINE_BYTES


def test_a_request_that_was_fetched_is_gone_with_its_phase():
    held = Held(ceremony_order())
    with pytest.raises(NotWaited):
        held.hall.model(bytes(32))
    held.hall.close("the test is over")


def test_orders_for_keys_are_looked_at():
    with pytest.raises(ConfigurationError, match="two clients in one seat"):
        ceremony_order(members={0: 0, 1: 0})
    with pytest.raises(ConfigurationError, match="round"):
        ceremony_order(round=-1)
    with pytest.raises(ConfigurationError, match="phase_timeout_s"):
        ceremony_order(phase_timeout_s=0.0)
    with pytest.raises(ConfigurationError, match="client 9"):
        Hall(greeting(), clients=range(CLIENTS)).hold(ceremony_order(members={9: 0}))
    with pytest.raises(ConfigurationError, match="kind"):
        make_order(*_plain(), kind="ceremony")
    assert seat(1).role is Role.COMMITTEE


def _plain():
    from consortium_harness import make_session

    return make_session("plain")


# The committee, as a coordinator knows it


class FakeHall:
    """A hall whose clients are there as the test says, and whose ceremonies are held in memory."""

    def __init__(self, present):
        self.present, self.gathered, self.ceremonies = set(present), [], []

    def gather(self, count, timeout_s, *, among):
        self.gathered.append(count)
        return frozenset(self.present & set(among))

    def hold(self, order):
        self.ceremonies.append(order)
        clock = Clock()
        held = Hall(greeting(), clients=range(CLIENTS), clock=clock)
        from privfl.ckks.ceremony import CeremonyMember

        sessions = {
            client: CeremonyMember(order.params, member, identity=identity_of(client))
            for client, member in order.members.items()
            if client in self.present
        }
        wait = in_thread(lambda: held.hold(order))
        phase = None
        while True:
            eventually(lambda phase=phase: held.snapshot().phase is not phase)
            phase = held.snapshot().phase
            if phase is None:
                return wait()
            for client, session in sessions.items():
                offer = held.offer(client)
                request = offer.request or held.model(offer.fetched)
                held.answer(client, offer.session, offer.phase, session.respond(request))
            if phase is Phase.ADVERTISE_KEYS and len(sessions) < len(order.members):
                clock.now += 10_000  # later on nobody waits for who is absent


def outcome(*, phases=SESSION, member_failures=()):
    return Outcome(
        aggregate=None,
        contributors=(),
        aborted=None,
        failures={},
        member_failures=dict.fromkeys(member_failures, "declined: gone"),
        phases=dict.fromkeys(phases),
        messages=(),
    )


COMMITTEE_ROSTER = roster_of({member: identity_of(client) for member, client in enumerate(SEATS)})


def key_of(committee, hall, *, openings=2, number=1):
    return committee.key(small_epoch(openings=openings), hall, number=number, gather_s=1.0, phase_s=1.0)


def test_a_key_is_kept_until_its_openings_are_spent():
    """Guarantee 1 of `Committee`: what was asked for counts, whether or not it was opened."""
    committee, hall = Committee(COMMITTEE_ROSTER, ROSTER), FakeHall(range(CLIENTS))
    first = key_of(committee, hall)
    assert committee.ceremony_bytes() > 100_000
    assert committee.ceremony_bytes() == 0
    committee.over(outcome(phases=SESSION[:2]))  # nobody was asked to open
    committee.over(outcome())
    assert key_of(committee, hall) is first
    assert committee.ceremony_bytes() == 0
    committee.over(outcome())
    second = key_of(committee, hall)
    assert second.digest != first.digest
    assert [order.round for order in hall.ceremonies] == [1, 1]
    assert key_of(committee, hall, openings=3).epoch.committee.openings == 3


def test_a_key_is_made_anew_when_too_few_of_its_holders_are_left():
    committee, hall = Committee(COMMITTEE_ROSTER, ROSTER), FakeHall(range(CLIENTS))
    first = key_of(committee, hall)
    committee.over(outcome(phases=SESSION[:2], member_failures=(0,)))
    assert key_of(committee, hall) is first
    committee.over(outcome(phases=SESSION[:2], member_failures=(2,)))
    second = key_of(committee, hall)
    assert second is not first
    hall.present.discard(SEATS[0])
    assert key_of(committee, hall) is second, "two of three are there"
    hall.present = {SEATS[1]}
    with pytest.raises(RoundAborted, match="1 members of the committee are there and 2 are needed"):
        key_of(committee, hall)


def test_a_member_that_comes_back_is_in_the_next_key():
    committee, hall = Committee(COMMITTEE_ROSTER, ROSTER), FakeHall(set(range(CLIENTS)) - {SEATS[0]})
    first = key_of(committee, hall)
    assert first.statement.qualified == (1, 2)
    hall.present = set(SEATS[:2])  # enough for a key, and too few who hold this one
    second = key_of(committee, hall)
    assert second.statement.qualified == (0, 1)


def test_a_committee_is_of_clients():
    with pytest.raises(ConfigurationError, match="member 1 of the committee is none of the roster's clients"):
        Committee(roster_of({0: identity_of(0), 1: identity_of(50)}), ROSTER)
    assert Committee(COMMITTEE_ROSTER, ROSTER).members == MEMBERS
