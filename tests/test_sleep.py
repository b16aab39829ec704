"""Sessions that sleep between phases: the bytes go on where the session left off, and no state answers twice."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import ACTIVE, HONEST, Play, identity_of, make_params

from privfl import (
    ClientPolicy,
    ConfigurationError,
    Credentials,
    DecodeError,
    DisclosureRefused,
    FileGuard,
    LocalProtocolError,
    MemoryGuard,
    Phase,
    ThreatModel,
    client,
    wake,
)
from privfl.lockstep.party import SessionOver
from privfl.masking import states
from privfl.masking.client import MaskingClient
from privfl.plain.client import PlainClient
from privfl.primitives import aead

KEY = bytes(range(32))
SUITES = [("masking", HONEST), ("masking", ACTIVE), ("plain", HONEST), ("ckks", HONEST)]
PHASES = {
    HONEST: [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK],
    ACTIVE: [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK],
}
EVERY_STATE = [(model, phase) for model in PHASES for phase in PHASES[model]]


class Sleepers(Play):
    """A session whose clients have guards, and sleep before every answer if they are told to."""

    def __init__(self, *, suite_name="masking", server=HONEST, n=4, restless=False, **options):
        threat = ThreatModel(corrupt=0.1, dropout=0.2 if server is HONEST else 0.0, server=server)
        self.guards, self.restless = {}, restless
        super().__init__(make_params(n=n, suite_name=suite_name, threat=threat, **options))

    def fresh_client(self, number, **options):
        self.guards[number] = options.pop("guard", None) or MemoryGuard()
        return super().fresh_client(number, guard=self.guards[number], **options)

    def wake(self, number, raw, **options):
        options = {"key": KEY, "guard": self.guards[number], "credentials": self.credentials(number)} | options
        session = wake(raw, **{"committee": self.key} | options)
        if not session._vector_taken:
            session.submit(self.vectors[number])
        return session

    def credentials(self, number):
        return Credentials(identity_of(number), self.roster)

    def answer(self, number):
        if self.restless and not self.convened:  # members of a committee do not sleep: they keep books
            self.clients[number] = self.wake(number, self.clients[number].to_bytes(KEY))
        return super().answer(number)

    def asleep(self, number):
        return self.clients[number].to_bytes(KEY)


# It goes on


@pytest.mark.parametrize(("suite_name", "server"), SUITES)
def test_sessions_that_sleep_before_every_answer_give_the_exact_sum(suite_name, server):
    play = Sleepers(suite_name=suite_name, server=server, restless=True, n=5)
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_a_state_comes_back_as_it_was():
    """Every field of every state, secrets compared by value."""
    play = Sleepers(server=ACTIVE, n=4)
    for phase in PHASES[ACTIVE]:
        play.to(phase)
        before = play.clients[10]._state
        after = play.wake(10, play.asleep(10))
        assert type(after._state) is type(before)
        assert states.write(after._state) == states.write(before)
        if isinstance(before, states.Shared):
            assert after._state == before
            assert set(after._state.incoming_keys) == {11, 12, 13}
        if isinstance(before, states.Masked):
            assert {peer: (s.self_seed, s.mask_key) for peer, s in after._state.held.items()} == {
                peer: (s.self_seed, s.mask_key) for peer, s in before.held.items()
            }
            assert after._vector_taken
        play.clients[10] = after


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_a_repeated_request_finds_its_response_after_waking(server, phase):
    """Delivery is at least once, also across a restart: but for the last answer, after which nothing is left."""
    play = Sleepers(server=server).to(phase)
    response = play.answer(10)
    if phase is Phase.UNMASK:
        return
    session = play.wake(10, play.asleep(10))
    assert session.respond(play.requests[phase, 10]) == response
    play.server.receive(client(10), response)
    play.clients[10] = session
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_the_policy_sleeps_with_the_session():
    play = Sleepers(n=10)
    allowed = frozenset({"masking", "plain"})
    policy = ClientPolicy(minimum_contributors=5, suites=allowed, corrupt=0.1, corrupt_clients=1)
    play.clients[10] = play.fresh_client(10, policy=policy)
    session = play.wake(10, play.asleep(10))
    assert session._policy == policy.settled(signs=False)
    assert session._limits.minimum == 5


def test_a_vector_that_was_not_sent_is_to_be_submitted_again():
    play = Sleepers().to(Phase.MASKED_INPUT)
    session = wake(play.asleep(10), key=KEY, guard=play.guards[10])
    request = play.ask(10)
    with pytest.raises(LocalProtocolError, match="submit"):
        session.respond(request)
    session.submit(play.vectors[10])  # the slip claimed nothing
    play.server.receive(client(10), session.respond(request))
    again = wake(session.to_bytes(KEY), key=KEY, guard=play.guards[10])
    with pytest.raises(LocalProtocolError, match="one session, one vector"):
        again.submit(play.vectors[10])


# It is secret, and only itself


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_no_secret_stands_in_the_bytes(server, phase):
    play = Sleepers(server=server).to(phase)
    state = play.clients[10]._state
    written = states.write(state)
    raw = play.asleep(10)
    assert len(raw) > len(written)
    secrets = [written[i : i + 16] for i in range(max(len(written) - 16, 1))]
    assert not any(piece in raw for piece in secrets)


def test_every_sleep_is_sealed_under_a_key_of_its_own(monkeypatch):
    """`seal_once` has a fixed nonce: two messages under one key would tell their difference."""
    keys = []
    original = aead.seal_once

    def watching(key, plaintext, associated):
        keys.append(key.reveal())
        return original(key, plaintext, associated)

    monkeypatch.setattr(aead, "seal_once", watching)
    play = Sleepers()
    for _ in range(3):  # the very same state, three times
        play.clients[10] = play.wake(10, play.asleep(10))
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:5],
        lambda raw: raw[:6],
        lambda raw: raw[:38],
        lambda raw: raw[:50],
        lambda raw: b"",
        lambda raw: b"PVFL" + raw[4:],
        lambda raw: raw[:4] + b"\2" + raw[5:],
        lambda raw: raw[:5] + b"\1" + raw[6:],
        lambda raw: raw[:5] + b"\x09" + raw[6:],
        lambda raw: raw[:10] + bytes([raw[10] ^ 1]) + raw[11:],
        lambda raw: raw[:60] + bytes([raw[60] ^ 1]) + raw[61:],
        bytearray,
        lambda raw: None,
    ],
)
def test_altered_bytes_are_refused(harm):
    play = Sleepers().to(Phase.SHARE_KEYS)
    raw = play.asleep(10)
    with pytest.raises(DecodeError):
        wake(harm(raw), key=KEY, guard=MemoryGuard())
    assert wake(raw, key=KEY, guard=play.guards[10])  # and the unaltered ones are as good as before


def test_another_key_does_not_open_and_no_key_is_said_so():
    play = Sleepers()
    for key in (b"", bytes(31), bytearray(32), None, "k" * 32):
        with pytest.raises(ConfigurationError, match="32 secret bytes"):
            play.clients[10].to_bytes(key)
    raw = play.asleep(10)  # nothing had changed
    with pytest.raises(DecodeError, match="does not open"):
        wake(raw, key=bytes(32), guard=MemoryGuard())
    with pytest.raises(ConfigurationError, match="32 secret bytes"):
        wake(raw, key=bytes(16), guard=MemoryGuard())


def test_a_session_of_another_suite_is_not_taken_for_ones_own():
    masking, plain = Sleepers().asleep(10), Sleepers(suite_name="plain").asleep(10)
    with pytest.raises(DecodeError, match="another suite"):
        PlainClient.from_bytes(masking, key=KEY, guard=MemoryGuard())
    with pytest.raises(DecodeError, match="another suite"):
        MaskingClient.from_bytes(plain, key=KEY, guard=MemoryGuard())


def test_a_session_without_a_guard_does_not_sleep_and_stays_awake():
    play = Play()
    with pytest.raises(ConfigurationError, match="FileGuard"):
        play.clients[10].to_bytes(KEY)
    play.to(Phase.FINISHED)


def test_active_sessions_wake_with_credentials_only():
    play = Sleepers(server=ACTIVE)
    raw = play.asleep(10)
    with pytest.raises(ConfigurationError, match="credentials"):
        wake(raw, key=KEY, guard=play.guards[10])
    with pytest.raises(ConfigurationError):
        wake(raw, key=KEY, guard=play.guards[10], credentials=play.credentials(11))


# It answers once


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_a_session_put_to_sleep_is_over(server, phase):
    play = Sleepers(server=server).to(phase)
    session, request = play.clients[10], play.ask(10)
    session.to_bytes(KEY)
    assert isinstance(session._state, SessionOver)
    assert session._last is None
    for call in (lambda: session.respond(request), lambda: session.to_bytes(KEY), lambda: session.submit(None)):
        with pytest.raises((DisclosureRefused, LocalProtocolError), match="sleep"):
            call()


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_a_state_woken_twice_answers_once(server, phase):
    play = Sleepers(server=server).to(phase)
    raw = play.asleep(10)
    first, second = play.wake(10, raw), play.wake(10, raw)
    request = play.ask(10)
    response = first.respond(request)
    with pytest.raises(DisclosureRefused, match="used before"):
        second.respond(request)
    assert isinstance(second._state, SessionOver)
    with pytest.raises(DisclosureRefused, match="answered already"):
        play.wake(10, raw)
    play.server.receive(client(10), response)
    play.clients[10] = first
    play.to(Phase.FINISHED)


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_no_earlier_state_is_woken_after_a_later_one_has_answered(server, phase):
    """All states that ever slept are as good as gone once they have answered, Unmask's among them."""
    play, slept = Sleepers(server=server), []
    while True:
        here = play.server.phase
        raw = play.asleep(10)
        slept.append(raw)
        play.clients[10] = play.wake(10, raw)
        play.step()
        if here is phase:
            break
    for raw in slept:
        with pytest.raises(DisclosureRefused):
            play.wake(10, raw)


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_a_refusal_spends_the_state_for_all_its_copies(server, phase):
    """Otherwise a liar could ask one copy after the other."""
    play = Sleepers(server=server).to(phase)
    raw = play.asleep(10)
    first, second = play.wake(10, raw), play.wake(10, raw)
    request = play.ask(10)
    lie = play.forge_request(play.request(10), session=bytes(31) + b"\1")
    with pytest.raises(DisclosureRefused):
        first.respond(lie)
    with pytest.raises(DisclosureRefused):
        second.respond(request)


def test_undecodable_bytes_spend_nothing():
    play = Sleepers().to(Phase.SHARE_KEYS)
    raw = play.asleep(10)
    first, second = play.wake(10, raw), play.wake(10, raw)
    with pytest.raises(DecodeError):
        first.respond(b"PVFL")
    assert second.respond(play.ask(10))


def test_nothing_is_put_to_sleep_after_unmask_or_a_refusal():
    play = Sleepers().to(Phase.UNMASK)
    play.deliver(10)
    with pytest.raises(LocalProtocolError, match="over"):
        play.clients[10].to_bytes(KEY)
    with pytest.raises(DisclosureRefused):
        play.clients[11].respond(play.requests[Phase.UNMASK, 10])
    with pytest.raises(LocalProtocolError, match="over"):
        play.clients[11].to_bytes(KEY)


def test_a_state_that_has_begun_to_answer_does_not_sleep():
    play = Sleepers().to(Phase.MASKED_INPUT)
    session = wake(play.asleep(10), key=KEY, guard=play.guards[10])
    session.submit([np.zeros(3, np.int32)])
    with pytest.raises(ConfigurationError, match="hold 3 "):
        session.respond(play.ask(10))
    with pytest.raises(LocalProtocolError, match="finish it in this process"):
        session.to_bytes(KEY)
    session.submit(play.vectors[10])
    assert session.respond(play.ask(10))


def test_claims_of_one_session_do_not_spend_anothers():
    guards = {number: MemoryGuard() for number in range(10, 14)}
    for play in (Sleepers(), Sleepers()):
        play.guards, play.restless = guards, True
        play.to(Phase.UNMASK)


# In real processes

SLEEPER = Path(__file__).parent / "sleeper.py"


def start(folder, guard, name, *then):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, str(SLEEPER), str(folder), str(guard), name, *then], env=environment)


def lay_out(folder, play, number, raw):
    """What a process needs to answer this phase's request."""
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(raw)
    (folder / "key").write_bytes(KEY)
    (folder / "request").write_bytes(play.ask(number))
    if play.server.phase in {Phase.MASKED_INPUT, Phase.UPLOAD}:
        np.save(folder / "vector.npy", play.vectors[number])
    if play.params.threat.server is ACTIVE:
        (folder / "identity.pem").write_bytes(identity_of(number).to_pem())
        (folder / "roster.json").write_text(play.roster.to_json())
    return folder


@pytest.mark.parametrize(("server", "phase"), EVERY_STATE)
def test_a_state_restored_in_two_processes_answers_once(server, phase, tmp_path):
    play = Sleepers(server=server)
    guard = tmp_path / "guard"
    play.clients[10] = play.fresh_client(10, guard=FileGuard(guard))
    play.clients[10].submit(play.vectors[10])
    play.to(phase)
    folder = lay_out(tmp_path / "session", play, 10, play.asleep(10))
    racers = [start(folder, guard, name) for name in ("one", "two")]
    while not all((folder / f"{name}.ready").exists() for name in ("one", "two")):
        assert all(racer.poll() is None for racer in racers)
    (folder / "go").touch()
    assert [racer.wait(60) for racer in racers] == [0, 0]
    answers, refusals = sorted(folder.glob("*.response")), sorted(folder.glob("*.refused"))
    assert (len(answers), len(refusals)) == (1, 1)
    assert "before" in refusals[0].read_text() or "already" in refusals[0].read_text()
    play.server.receive(client(10), answers[0].read_bytes())  # and that one answer is good


@pytest.mark.parametrize("server", [HONEST, ACTIVE])
def test_a_session_in_which_every_answer_is_a_process_of_its_own(server, tmp_path):
    play = Sleepers(server=server, n=3 if server is HONEST else 4)
    asleep = {}
    for number in play.params.cohort:
        session = play.fresh_client(number, guard=FileGuard(tmp_path / f"guard-{number}"))
        asleep[number] = session.to_bytes(KEY)
    while play.server.phase is not Phase.FINISHED:
        phase, last = play.server.phase, play.server.phase is Phase.UNMASK
        processes = {}
        for number, raw in asleep.items():
            folder = lay_out(tmp_path / phase / str(number), play, number, raw)
            (folder / "go").touch()
            then = () if last else ("sleep",)
            processes[number] = (folder, start(folder, tmp_path / f"guard-{number}", "it", *then))
        for number, (folder, process) in processes.items():
            assert process.wait(60) == 0
            play.server.receive(client(number), (folder / "it.response").read_bytes())
            asleep[number] = b"" if last else (folder / "it.state").read_bytes()
        play.server.advance()
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))
