"""Members of a committee that sleep: in a ceremony and in a session, one answers of all that wake from one state."""

import os
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
from harness import (
    Ceremony,
    Play,
    committee,
    committee_without,
    contents,
    epoch,
    identity_of,
    make_params,
    member,
    open_request,
    reachable,
)

import privfl
from privfl import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    FileGuard,
    LocalProtocolError,
    MemoryGuard,
    Phase,
)
from privfl.ckks import ceremony as ceremonies
from privfl.ckks import ceremony_states
from privfl.ckks import member as members
from privfl.ckks.ceremony import CeremonyMember
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.member import CommitteeMember, remaining_openings
from privfl.ckks.messages import CommitRequest, ConveneRequest
from privfl.ckks.planner import modulus_of
from privfl.ckks.rehearsal import SimulatedCommittee
from privfl.lockstep.party import SessionOver
from privfl.lockstep.waking import seal_resting
from privfl.primitives.labels import Label
from privfl.simulate import roster_of

KEY = bytes(range(32))
PHASES = (Phase.ADVERTISE_KEYS, Phase.COMMIT, Phase.DEAL, Phase.CHECK_SHARES, Phase.TEST_KEY, Phase.SIGN_KEY)
SESSION_PHASES = (Phase.CONVENE, Phase.OPEN)
SMALL = {"members": 3, "threshold": 2}
MODULUS = modulus_of(epoch())


class Sleepers(Ceremony):
    """A ceremony whose members have guards, and sleep before every answer if they are told to."""

    def __init__(self, *, restless=False, **options):
        super().__init__(**SMALL | options)
        self.restless = restless
        self.guards = {number: MemoryGuard() for number in self.members}
        for number in self.members:
            self.renew(number)

    def renew(self, number, guard=None):
        self.guards[number] = self.guards[number] if guard is None else guard
        self.members[number] = CeremonyMember(
            self.params, number, identity=self.identities[number], guard=self.guards[number]
        )

    def asleep(self, number):
        return self.members[number].to_bytes(KEY)

    def wake(self, number, raw, **options):
        usual = {"guard": self.guards[number], "roster": self.params.roster, "identity": self.identities[number]}
        return CeremonyMember.from_bytes(raw, **{"key": KEY} | usual | options)

    def answer(self, number):
        if self.restless:
            self.members[number] = self.wake(number, self.asleep(number))
        return super().answer(number)

    def works(self, numbers=(0, 1, 2)):
        """A session under the key opens the exact sum, by what its members kept."""
        assert self.phase is Phase.FINISHED
        held = SimulatedCommittee(
            key=self.coordinator.result, members={number: self.members[number].key for number in numbers}
        )
        return opens(Sitting(committee=held, restless=self.restless))


class Sitting(Play):
    """A session of ckks whose members of the committee sleep before every answer if they are told to."""

    def __init__(self, *, committee, restless=False, **options):
        self.restless = restless
        super().__init__(make_params(suite_name="ckks", key=committee.key, **options), committee=committee)

    def wake_member(self, number, raw, **options):
        usual = {"key": KEY, "member_key": self.committee.members[number], "guard": self.committee.guard}
        return CommitteeMember.from_bytes(raw, **usual | options)

    def answer(self, number):
        if self.restless and self.convened:
            self.members[number] = self.wake_member(number, self.members[number].to_bytes(KEY))
        return super().answer(number)


def opens(play):
    play.to(Phase.FINISHED)
    return bool(np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort)))


def sitting(**options):
    return Sitting(committee=committee(), **options)


# It goes on


def test_a_ceremony_and_an_opening_whose_members_sleep_before_every_answer_give_the_exact_sum():
    ceremony = Sleepers(restless=True, members=5, threshold=3)
    while ceremony.phase is not Phase.FINISHED:
        ceremony.step()
    assert sorted(ceremony.coordinator.result.signatures) == [0, 1, 2, 3, 4]
    assert all(session._woken for session in ceremony.members.values())
    assert ceremony.works(range(5))


def test_a_ceremony_some_of_whose_members_sleep_and_one_never_wakes_makes_a_key():
    ceremony = Sleepers(members=5, threshold=3)
    ceremony.step()
    ceremony.asleep(2)
    for phase in PHASES[1:]:
        assert ceremony.phase is phase
        ceremony.members[0] = ceremony.wake(0, ceremony.asleep(0))
        ceremony.step(silent={2})
    assert ceremony.coordinator.result.statement.qualified == (0, 1, 3, 4)
    assert ceremony.works((0, 1, 3, 4))


@pytest.mark.parametrize("phase", PHASES)
def test_a_state_of_a_ceremony_comes_back_as_it_was(phase):
    """Every field, arrays by value."""
    ceremony = Sleepers().to(phase)
    before = ceremony.members[0]._state
    after = ceremony.wake(0, ceremony.asleep(0))._state
    assert type(after) is type(before)
    assert ceremony_states.write(after, MODULUS) == ceremony_states.write(before, MODULUS)
    assert told(after) == told(before)


def told(item):
    """A state's fields, down to what can be compared."""
    if isinstance(item, np.ndarray):
        return item.dtype, item.shape, item.tobytes()
    if isinstance(item, privfl.primitives.secret.Secret):
        return item.reveal()
    if isinstance(item, privfl.primitives.keys.KeyPair):
        return item.private_bytes().reveal()
    if isinstance(item, dict):
        return {name: told(value) for name, value in item.items()}
    names = getattr(item, "__dataclass_fields__", None)
    return {name: told(getattr(item, name)) for name in names} if names is not None else item


@pytest.mark.parametrize("phase", PHASES[:-1])
def test_a_repeated_request_of_a_ceremony_finds_its_response_after_waking(phase):
    """Delivery is at least once, also across a restart: but for the last answer, after which nothing sleeps."""
    ceremony = Sleepers().to(phase)
    response = ceremony.answer(0)
    session = ceremony.wake(0, ceremony.asleep(0))
    assert session.respond(ceremony.requests[phase, 0]) == response
    ceremony.coordinator.receive(member(0), response)
    ceremony.members[0] = session
    ceremony.step(silent={0})
    while ceremony.phase is not Phase.FINISHED:
        ceremony.step()
    assert ceremony.works()


def test_a_repeated_request_to_convene_finds_its_response_after_waking():
    play = sitting().to(Phase.CONVENE)
    response = play.answer(0)
    for remember in (True, False):
        play.members[0] = play.wake_member(0, play.members[0].to_bytes(KEY), remember_response=remember)
        assert play.members[0].respond(play.requests[Phase.CONVENE, 0]) == response
    play.server.receive(play.party(0), response)
    play.step(silent={0})
    assert opens(play)


def test_a_member_that_has_signed_keeps_its_key_and_does_not_sleep():
    ceremony = Sleepers().to(Phase.SIGN_KEY)
    session = ceremony.wake(0, ceremony.asleep(0))
    with pytest.raises(LocalProtocolError, match="no key yet"):
        _ = session.key
    session.respond(ceremony.ask(0))
    assert session.key.statement.digest == ceremony.coordinator._step._statement.digest
    with pytest.raises(LocalProtocolError, match="over"):
        session.to_bytes(KEY)


# It is secret, and only itself


@pytest.mark.parametrize("phase", PHASES)
def test_no_secret_of_a_ceremony_stands_in_the_bytes(phase):
    """No 16 bytes of what is written: keys, secrets, shares, and the response that is remembered."""
    ceremony = Sleepers().to(phase)
    session = ceremony.members[0]
    written = ceremony_states.write(session._state, MODULUS) + ((session._last or (b"", b""))[1] or b"")
    raw = ceremony.asleep(0)
    assert len(raw) > len(written)
    windows = {raw[i : i + 16] for i in range(len(raw) - 15)}
    assert not windows & {written[i : i + 16] for i in range(0, max(len(written) - 15, 1), 16)}


def test_every_sleep_is_sealed_afresh():
    """`seal_once` has a fixed nonce: the same state, asleep twice, is sealed under two keys."""
    ceremony = Sleepers(members=1, threshold=1)
    first = ceremony.asleep(0)
    second = ceremony.wake(0, first).to_bytes(KEY)
    assert first[:5] == second[:5]
    assert first[5:37] != second[5:37]
    assert first[37:] != second[37:]


def test_a_secret_is_gone_once_it_is_dealt():
    """What sleeps after Deal, a share of its own dealing beside it, does not give the member's part of the key away."""
    ceremony = Sleepers().to(Phase.DEAL)
    session = ceremony.members[0]
    secret = session._state.secret.tobytes()
    assert secret in contents(reachable(session))
    session.respond(ceremony.ask(0))
    assert secret not in contents(reachable(session))
    woken = ceremony.wake(0, session.to_bytes(KEY))
    assert secret not in contents(reachable(woken))


HARMS = [
    lambda raw: raw[:-1],
    lambda raw: raw + b"\0",
    lambda raw: raw[:5],
    lambda raw: raw[:37],
    lambda raw: raw[:50],
    lambda raw: b"",
    lambda raw: b"PVFL" + raw[4:],
    lambda raw: raw[:4] + b"\2" + raw[5:],
    lambda raw: raw[:10] + bytes([raw[10] ^ 1]) + raw[11:],
    lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],
    lambda raw: raw[:-1] + bytes([raw[-1] ^ 0x80]),
    bytearray,
    lambda raw: None,
]


@pytest.mark.parametrize("harm", HARMS)
def test_altered_bytes_are_refused(harm):
    ceremony, play = Sleepers().to(Phase.COMMIT), sitting().to(Phase.CONVENE)
    raw, slept = ceremony.asleep(0), play.members[0].to_bytes(KEY)
    with pytest.raises(DecodeError):
        ceremony.wake(0, harm(raw))
    with pytest.raises(DecodeError):
        play.wake_member(0, harm(slept))
    assert ceremony.wake(0, raw).respond(ceremony.ask(0))  # and the unaltered ones are as good as before
    assert play.wake_member(0, slept).respond(play.ask(0))


def test_another_key_does_not_open_and_no_key_is_said_so():
    ceremony, play = Sleepers(), sitting()
    for session in (ceremony.members[0], play.members[0]):
        for key in (b"", bytes(31), bytearray(32), None, "k" * 32):
            with pytest.raises(ConfigurationError, match="32 secret bytes"):
                session.to_bytes(key)
    raw, slept = ceremony.asleep(0), play.members[0].to_bytes(KEY)  # nothing had changed
    for wake in (lambda key: ceremony.wake(0, raw, key=key), lambda key: play.wake_member(0, slept, key=key)):
        with pytest.raises(DecodeError, match="does not open"):
            wake(bytes(32))
        with pytest.raises(ConfigurationError, match="32 secret bytes"):
            wake(bytes(16))


def test_what_sleeps_is_not_taken_for_something_else():
    """A member of a ceremony, a member in a session, a member's key and a client: all under one key of the owner's."""
    ceremony, play = Sleepers(), sitting()
    client = play.fresh_client(10, guard=MemoryGuard())
    raw, slept, kept = ceremony.asleep(0), play.members[0].to_bytes(KEY), play.committee.members[0].to_bytes(KEY)
    for other in (slept, kept, client.to_bytes(KEY), slept[:3] + b"C" + slept[4:]):
        with pytest.raises(DecodeError):
            ceremony.wake(0, other)
    for other in (raw, kept, raw[:3] + b"M" + raw[4:]):
        with pytest.raises(DecodeError):
            play.wake_member(0, other)
    for other in (raw, slept):
        with pytest.raises(DecodeError):
            privfl.wake(other, key=KEY, guard=MemoryGuard(), committee=play.key)


def test_what_sleeps_begins_with_what_it_is():
    """In clear, and authenticated: what begins alike would be told apart by its fields only."""
    ceremony, play = Sleepers(), sitting()
    asleep = (
        ceremony.asleep(0),
        play.members[0].to_bytes(KEY),
        play.committee.members[0].to_bytes(KEY),
        play.fresh_client(10, guard=MemoryGuard()).to_bytes(KEY),
    )
    assert len({raw[:5] for raw in asleep}) == 4


def test_a_member_wakes_in_its_own_ceremony_and_as_itself_only():
    ceremony = Sleepers()
    raw = ceremony.asleep(0)
    larger = roster_of({number: identity_of(number) for number in range(4)})
    swapped = roster_of({0: identity_of(1), 1: identity_of(0), 2: identity_of(2)})
    for roster in (larger, swapped):
        with pytest.raises(ConfigurationError, match="another roster's members"):
            ceremony.wake(0, raw, roster=roster)
    with pytest.raises(ConfigurationError, match="another identity for member 0"):
        ceremony.wake(0, raw, identity=identity_of(1))
    assert ceremony.wake(0, raw).respond(ceremony.ask(0))


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["Convened"]),
        msgspec.msgpack.encode(["Waiting", *[b""] * 11, b"more"]),
        msgspec.msgpack.encode(["Advertised", b"short"]),
        msgspec.msgpack.encode(["Committed", bytes(32), bytes(32), {}, b"short"]),
        msgspec.msgpack.encode(["Committed", bytes(32), bytes(32), {}, b"\xff" * MODULUS.vector_bytes(4096)]),
        msgspec.msgpack.encode(["Tested"]),
    ],
)
def test_states_of_another_version_are_said_to_be_so(state):
    """Sealed by the owner's own key, so nobody's attack: but no bytes are taken for what they are not."""
    ceremony = Sleepers()
    slept = ceremonies._Slept(params=ceremony.params.to_bytes(), number=0, last=None, state=state)
    raw = seal_resting(slept, KEY, magic=ceremonies._MAGIC, label=Label.CKKS_SLEEP)
    with pytest.raises(DecodeError, match="another version"):
        ceremony.wake(0, raw)
    other = seal_resting(CommitRequest((), (), ()), KEY, magic=ceremonies._MAGIC, label=Label.CKKS_SLEEP)
    with pytest.raises(DecodeError, match="another version"):
        ceremony.wake(0, other)


def test_states_of_a_member_in_a_session_of_another_version_are_said_to_be_so():
    play = sitting()
    for state in ("Dealt", "", 1):
        raw = msgspec.msgpack.encode([play.params.to_bytes(), 0, 2, None, state])
        sealed = seal_resting(msgspec.Raw(raw), KEY, magic=members._MAGIC, label=Label.CKKS_SLEEP)
        with pytest.raises(DecodeError, match="another version"):
            play.wake_member(0, sealed)


def test_a_member_wakes_under_its_own_key_and_with_its_own_books_only():
    play, other = sitting(), committee_without(4)
    raw = play.members[0].to_bytes(KEY)
    with pytest.raises(ConfigurationError, match="member 0 was put to sleep, and the key is member 1's"):
        play.wake_member(0, raw, member_key=play.committee.members[1])
    with pytest.raises(ConfigurationError, match="another committee's key"):
        play.wake_member(0, raw, member_key=other.members[0])
    with pytest.raises(DisclosureRefused, match="does not know the committee's key"):
        play.wake_member(0, raw, guard=MemoryGuard())


def test_what_a_member_insists_on_sleeps_with_it():
    play = sitting(minimum=3)
    play.members[0] = play.fresh_member(0, minimum_contributors=3)
    for asked_for, kept in ((None, 3), (2, 3), (3, 3)):
        options = {} if asked_for is None else {"minimum_contributors": asked_for}
        play.members[0] = play.wake_member(0, play.members[0].to_bytes(KEY), **options)
        assert play.members[0]._minimum == kept
    raw = play.members[0].to_bytes(KEY)
    with pytest.raises(ConfigurationError, match="wants 4 or more"):
        play.wake_member(0, raw, minimum_contributors=4)


def test_a_member_without_a_guard_does_not_sleep_and_stays_awake():
    ceremony = Ceremony(**SMALL)
    for _ in PHASES:
        for session in ceremony.members.values():
            with pytest.raises(ConfigurationError, match="FileGuard"):
                session.to_bytes(KEY)
        ceremony.step()
    assert ceremony.phase is Phase.FINISHED


def test_a_member_at_work_does_not_sleep():
    for session in (Sleepers().members[0], sitting().members[0]):
        with session._at_work, pytest.raises(LocalProtocolError, match="answering a request"):
            session.to_bytes(KEY)
        assert session.to_bytes(KEY)


def test_a_member_that_has_begun_to_answer_does_not_sleep(monkeypatch):
    ceremony = Sleepers().to(Phase.COMMIT)
    session = ceremony.wake(0, ceremony.asleep(0))

    def slip(*_arguments):
        raise ConfigurationError("the caller's own slip")

    with monkeypatch.context() as patch:
        patch.setattr(ceremonies, "sampler", slip)
        with pytest.raises(ConfigurationError, match="own slip"):
            session.respond(ceremony.ask(0))
    with pytest.raises(LocalProtocolError, match="finish it in this process"):
        session.to_bytes(KEY)
    assert session.respond(ceremony.ask(0))


# It answers once


def at_rest(phase):
    """A ceremony or session in a phase, and how to ask, wake and go on there."""
    play = (sitting() if phase in SESSION_PHASES else Sleepers()).to(phase)
    if phase in SESSION_PHASES:
        return play, play.wake_member, play.server, lambda: play.forge_request(ConveneRequest(), session=bytes(32))
    return play, play.wake, play.coordinator, lambda: play.forge_request(CommitRequest((), (), ()), session=bytes(32))


EVERY_PHASE = (*PHASES, *SESSION_PHASES)


@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_a_member_put_to_sleep_is_over(phase):
    play, *_ = at_rest(phase)
    session, request = play.members[0], play.ask(0)
    session.to_bytes(KEY)
    assert isinstance(session._state, SessionOver)
    assert session._last is None
    for call in (lambda: session.respond(request), lambda: session.to_bytes(KEY)):
        with pytest.raises((DisclosureRefused, LocalProtocolError), match="sleep"):
            call()


@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_a_state_woken_twice_answers_once(phase):
    play, wake, server, _ = at_rest(phase)
    raw = play.members[0].to_bytes(KEY)
    first, second = wake(0, raw), wake(0, raw)
    request = play.ask(0)
    response = first.respond(request)
    assert first.respond(request) == response  # the very same answer may be had again
    with pytest.raises(DisclosureRefused, match="used before"):
        second.respond(request)
    assert isinstance(second._state, SessionOver)
    with pytest.raises(DisclosureRefused, match="answered already"):
        wake(0, raw)
    server.receive(member(0), response)
    play.members[0] = first
    play.step(silent={0})


@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_a_refusal_spends_the_state_for_all_its_copies(phase):
    """Otherwise a liar could ask one copy after the other."""
    play, wake, _, lie = at_rest(phase)
    raw = play.members[0].to_bytes(KEY)
    first, second = wake(0, raw), wake(0, raw)
    request = play.ask(0)
    with pytest.raises(DisclosureRefused):
        first.respond(lie())
    with pytest.raises(DisclosureRefused):
        second.respond(request)


@pytest.mark.parametrize("phase", EVERY_PHASE)
def test_undecodable_bytes_spend_nothing(phase):
    play, wake, *_ = at_rest(phase)
    raw = play.members[0].to_bytes(KEY)
    first, second = wake(0, raw), wake(0, raw)
    with pytest.raises(DecodeError):
        first.respond(b"PVFL")
    assert second.respond(play.ask(0))


def test_no_state_of_a_ceremony_is_woken_after_it_has_answered():
    """Neither the last one nor any before it."""
    ceremony, slept = Sleepers(), []
    while ceremony.phase is not Phase.FINISHED:
        slept.append(ceremony.asleep(0))
        ceremony.members[0] = ceremony.wake(0, slept[-1])
        ceremony.step()
        for raw in slept:
            with pytest.raises(DisclosureRefused, match="answered already"):
                ceremony.wake(0, raw)
    assert ceremony.members[0].key


def test_a_woken_member_that_goes_on_awake_claims_every_state():
    """Not only the one that it was woken in: what slept was another copy of all that follows."""
    ceremony = Sleepers()
    first = ceremony.wake(0, ceremony.asleep(0))
    ceremony.members[0] = first
    ceremony.to(Phase.DEAL)
    raw = first.to_bytes(KEY)
    second, third = ceremony.wake(0, raw), ceremony.wake(0, raw)
    ceremony.members[0] = second
    ceremony.to(Phase.TEST_KEY)
    with pytest.raises(DisclosureRefused, match="used before"):
        third.respond(ceremony.requests[Phase.DEAL, 0])
    assert len(ceremony.guards[0]._claims) == 4


def test_claims_of_one_member_or_ceremony_do_not_spend_anothers():
    """One guard for all; a client and a member of one number in one session among them."""
    guard = MemoryGuard()
    for _ in range(2):
        ceremony = Sleepers(restless=True)
        for number in range(3):
            ceremony.renew(number, guard)
        while ceremony.phase is not Phase.FINISHED:
            ceremony.step()
    held = committee()
    play = Sitting(committee=held, restless=True, cohort=(0, 1, 2, 3, 4))
    for number in play.params.cohort:
        asleep = play.fresh_client(number, guard=held.guard).to_bytes(KEY)
        play.clients[number] = privfl.wake(asleep, key=KEY, guard=held.guard, committee=held.key)
        play.clients[number].submit(play.vectors[number])
        assert type(play.clients[number]._state).__name__ == type(play.members[number]._state).__name__ == "Waiting"
        play.clients[number]._guard = MemoryGuard() if number else held.guard  # contexts are each client's own
    assert opens(play)


def test_a_guard_that_seems_empty_is_a_guard():
    """A table of claims may well have a length: at first it is zero."""

    class Table(MemoryGuard):
        def __len__(self):
            return len(self._claims)

    ceremony = Sleepers(restless=True)
    ceremony.renew(0, Table())
    ceremony.step()
    assert len(ceremony.guards[0]) == 1


def test_members_sleep_in_one_session_after_the_other():
    held = committee()
    for left in (9, 8):
        assert opens(Sitting(committee=held, restless=True))
        assert remaining_openings(held.members[0], held.guard) == left


def test_a_sum_is_opened_once_however_often_its_member_is_woken():
    """Waking does not get around the books: neither the session's, nor the budget."""
    play = sitting().to(Phase.OPEN)
    twin = play.fresh_member(0)
    twin.respond(play.requests[Phase.CONVENE, 0])
    raw = play.members[0].to_bytes(KEY)
    twin.respond(play.ask(0))
    with pytest.raises(DisclosureRefused, match="used before"):
        play.wake_member(0, raw).respond(open_request(play, members=(0, 3, 4)))
    assert remaining_openings(play.committee.members[0], play.committee.guard) == 9


# In processes of their own


MEMBER = """
import sys
import time
from pathlib import Path
import privfl
from privfl.ckks import CeremonyMember, CeremonyParams, CommitteeMember, MemberKey, take_into_use
from privfl.params import SessionParams
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

home, request, name = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3]
key, guard = bytes(range(32)), privfl.FileGuard(home / "guard")
state = (home / "state").read_bytes() if (home / "state").exists() else b""
(home / f"{name}.ready").touch()
while not (home / "go").exists():
    time.sleep(0.001)
try:
    if (home / "session").exists():
        kept = MemberKey.load(home / "member", key)
        if state:
            member = CommitteeMember.from_bytes(state, key=key, member_key=kept, guard=guard)
        else:
            take_into_use(kept, guard)
            member = CommitteeMember(SessionParams.from_bytes((home / "session").read_bytes()), kept, guard=guard)
    else:
        identity, roster = Identity.from_pem((home / "identity.pem").read_bytes()), Roster.load(home / "roster.json")
        if state:
            member = CeremonyMember.from_bytes(state, key=key, guard=guard, roster=roster, identity=identity)
        else:
            params = CeremonyParams.from_bytes((home / "ceremony").read_bytes(), roster)
            member = CeremonyMember(params, 0, identity=identity, guard=guard)
    response = member.respond(request)
    try:
        (home / f"{name}.state").write_bytes(member.to_bytes(key))
    except privfl.LocalProtocolError:
        if not (home / "session").exists():
            member.key.save(home / "member", key)
    (home / f"{name}.response").write_bytes(response)
except privfl.DisclosureRefused as error:
    (home / f"{name}.refused").write_text(str(error))
"""


class Home:
    """A member's directory, and the processes that answer in it."""

    def __init__(self, folder, ceremony):
        self.folder = folder
        (folder / "identity.pem").write_bytes(ceremony.identities[0].to_pem())
        (folder / "roster.json").write_text(ceremony.params.roster.to_json())
        (folder / "ceremony").write_bytes(ceremony.params.to_bytes())

    def begin(self, name):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        arguments = [sys.executable, "-c", MEMBER, str(self.folder), str(self.folder / "request"), name]
        return subprocess.Popen(arguments, env=environment)

    def answer(self, request, *, racers=("one",)):
        """What one of several processes answers that begin at the same state."""
        (self.folder / "request").write_bytes(request)
        (self.folder / "go").unlink(missing_ok=True)
        processes = [self.begin(name) for name in racers]
        while not all((self.folder / f"{name}.ready").exists() for name in racers):
            assert all(process.poll() is None for process in processes)
            time.sleep(0.001)
        (self.folder / "go").touch()
        assert [process.wait(60) for process in processes] == [0] * len(racers)
        (first,) = self.folder.glob("*.response")
        refused = sorted(path.stem for path in self.folder.glob("*.refused"))
        assert refused == sorted(set(racers) - {first.stem})
        response = first.read_bytes()
        (self.folder / "state").unlink(missing_ok=True)
        if (self.folder / f"{first.stem}.state").exists():
            (self.folder / f"{first.stem}.state").rename(self.folder / "state")
        for path in [*self.folder.glob("*.re*")]:
            path.unlink()
        return response


def test_a_member_each_of_whose_answers_is_a_process_of_its_own_makes_a_key_and_opens_a_sum(tmp_path):
    """In two phases two processes wake from one state: one answers."""
    ceremony = Ceremony(**SMALL)
    home = Home(tmp_path, ceremony)
    while ceremony.phase is not Phase.FINISHED:
        racers = ("one", "two") if ceremony.phase is Phase.DEAL else ("one",)
        ceremony.coordinator.receive(member(0), home.answer(ceremony.ask(0), racers=racers))
        ceremony.step(silent={0})
    kept = privfl.ckks.MemberKey.load(tmp_path / "member", KEY)
    held = SimulatedCommittee(
        key=ceremony.coordinator.result, members={0: kept, **{n: ceremony.members[n].key for n in (1, 2)}}
    )
    play = Sitting(committee=held).to(Phase.CONVENE)
    (tmp_path / "session").write_bytes(play.params.to_bytes())
    for racers in (("one",), ("one", "two")):
        play.server.receive(play.party(0), home.answer(play.ask(0), racers=racers))
        play.step(silent={0})
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))
    assert remaining_openings(kept, FileGuard(tmp_path / "guard")) == 9


# A ceremony's parameters as bytes


def test_a_ceremonys_parameters_come_back_as_they_were():
    params = Ceremony().params
    raw = params.to_bytes()
    assert CeremonyParams.from_bytes(raw, params.roster) == params
    assert CeremonyParams.from_bytes(raw, params.roster).digest == params.digest
    assert params.to_bytes() == raw
    assert len(raw) < 120  # of the roster, the digest


def announced(params, **changes):
    wire = {
        "format": "privfl-ceremony-1",
        "numbers": list(params.epoch.numbers()),
        "roster": params.roster.digest,
        "nonce": params.nonce,
    }
    return msgspec.msgpack.encode(list((wire | changes).values()))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "privfl-ceremony-2"},
        {"format": b"privfl-ceremony-1"},
        {"nonce": bytes(15)},
        {"nonce": "0" * 16},
        {"numbers": []},
        {"numbers": [4096, 40, 5, 3, 10, 100, 8192]},
        {"numbers": [4096, 40, 5, 3, 10, 100, 8192, 50, 0]},
        {"numbers": [4096, 40, 4, 3, 10, 100, 8192, 50]},
        {"numbers": [4096, 40, 5, 2, 10, 100, 8192, 50]},
        {"numbers": [1024, 40, 5, 3, 10, 100, 8192, 50]},
        {"numbers": [4096, 33, 5, 3, 10, 100, 8192, 100]},
        {"numbers": [4096, 40, 5, 3, 2**63, 100, 8192, 50]},
        {"numbers": [4096, 40, 5, 3, -1, 100, 8192, 50]},
        {"numbers": [4096.0, 40, 5, 3, 10, 100, 8192, 50]},
        {"roster": None},
        {"more": 1},
    ],
    ids=repr,
)
def test_parameters_that_are_none_do_not_decode(changes):
    params = Ceremony().params
    assert announced(params) == params.to_bytes()
    with pytest.raises(DecodeError):
        CeremonyParams.from_bytes(announced(params, **changes), params.roster)


def test_other_encodings_of_a_ceremonys_parameters_are_refused():
    params = Ceremony().params
    raw = params.to_bytes()
    cut = raw.index(b"\x28", 20)  # 40, in one byte
    for other in (
        b"",
        raw[:-1],
        raw + b"\0",
        raw[:cut] + b"\xcc\x28" + raw[cut + 1 :],  # and in two
        b"\xdc\0\x04" + raw[1:],
        msgspec.msgpack.encode({"format": "privfl-ceremony-1"}),
        bytearray(raw),
        None,
    ):
        with pytest.raises(DecodeError):
            CeremonyParams.from_bytes(other, params.roster)


def test_parameters_for_another_roster_are_refused():
    params = Ceremony().params
    other = roster_of({number: identity_of(number + 1) for number in range(5)})
    with pytest.raises(ConfigurationError, match="another roster's members than the one given"):
        CeremonyParams.from_bytes(params.to_bytes(), other)


def test_no_byte_of_a_ceremonys_parameters_may_change_unseen():
    """Whatever decodes is another ceremony."""
    params = Ceremony().params
    raw = params.to_bytes()
    for place in range(len(raw)):
        for bit in range(8):
            changed = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
            try:
                other = CeremonyParams.from_bytes(changed, params.roster)
            except (DecodeError, ConfigurationError):
                continue
            assert other.digest != params.digest
            assert other.to_bytes() == changed
