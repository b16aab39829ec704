"""The table of suites: one list of names, packages of one shape behind it, nothing loaded before it is asked for."""

import inspect
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from harness import Play, make_params, read
from msgspec import structs

from privfl import (
    SUITE_NAMES,
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    MemoryGuard,
    Phase,
    RoundAborted,
    ThreatModel,
    VectorSpec,
    WireForm,
    plan_session,
    suite,
    wake,
)
from privfl.guard import CONTEXT
from privfl.kahe.client import KaheClient
from privfl.lockstep.sleep import sleeping_suite
from privfl.params import CommitteeShape, KaheSetting, PlainSetting, SessionParams, SettingWishes
from privfl.suites import SuitePackage
from privfl.wire import SuiteCode

OFFERED = {name: method for name, method in vars(SuitePackage).items() if inspect.isfunction(method) and name[0] != "_"}


def test_the_protocol_names_what_there_is():
    assert set(OFFERED) == {"setting", "fewest_contributors", "error_std", "message_sizes", "client", "server", "wake"}


@pytest.mark.parametrize("function", OFFERED)
@pytest.mark.parametrize("name", SUITE_NAMES)
def test_every_package_offers_the_protocols_functions_under_its_signatures(name, function):
    """Annotations are texts here: that they are equal is what the cast of the module rests on."""
    wanted = inspect.signature(OFFERED[function])
    _self, *parameters = wanted.parameters.values()
    offered = getattr(import_module(f"privfl.{name}.suite"), function)
    assert inspect.signature(offered) == wanted.replace(parameters=parameters)


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_sessions_are_held_among_so_few_clients_and_no_fewer(name):
    least = suite(name).least_clients
    make_params(n=least, suite_name=name)
    with pytest.raises(ConfigurationError):
        make_params(n=least - 1, suite_name=name)


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_every_suite_has_a_number_on_the_wire(name):
    assert SuiteCode[name.upper()].name.lower() == name


def test_suites_load_when_they_are_asked_for():
    code = (
        "import privfl, sys\n"
        "loaded = lambda: [n for n in privfl.SUITE_NAMES if f'privfl.{n}' in sys.modules]\n"
        "print(loaded())\n"
        "chosen = privfl.suite('plain'); print(loaded())\n"
        "chosen.fewest_contributors(3, privfl.ThreatModel()); print(loaded())\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines() == ["[]", "[]", "['plain']"]


def test_a_suite_passes_on_what_was_wished_for():
    threat = ThreatModel()
    wishes = SettingWishes(bound=1000, minimum=50, length=10)
    package = import_module("privfl.kahe.suite")
    assert suite("kahe").setting(100, threat, bound=1000, minimum=50, length=10) == package.setting(100, threat, wishes)
    assert suite("plain").setting(100, threat, bound=1000) == PlainSetting()
    fewest = suite("kahe").fewest_contributors(100, threat)
    assert suite("kahe").setting(100, threat, bound=1000) == suite("kahe").setting(
        100, threat, bound=1000, minimum=fewest
    )


def test_an_error_is_told_for_the_suites_own_setting_only():
    setting = suite("kahe").setting(1000, ThreatModel(), bound=2**15 - 1)
    assert isinstance(setting, KaheSetting)
    assert suite("kahe").error_std(setting, 1000) > 0
    assert suite("masking").error_std(setting.masking, 1000) == 0
    with pytest.raises(TypeError, match="given to suite 'kahe'"):
        suite("kahe").error_std(PlainSetting(), 1000)


# Committees


@pytest.mark.parametrize("name", ["plain", "masking", "kahe"])
def test_a_suite_without_a_committee_refuses_one(name):
    """Nothing that a caller says is ignored."""
    params, chosen = make_params(suite_name=name), suite(name)
    raw = bytes([*b"PVFZ\x01", SuiteCode[name.upper()]]) + bytes(40)
    assert sleeping_suite(raw).name.lower() == name
    for ask in (
        lambda: chosen.setting(5, ThreatModel(), bound=1, committee=CommitteeShape()),
        lambda: chosen.client(params, 10, committee=object()),
        lambda: chosen.server(params, committee=object()),
        lambda: wake(raw, key=bytes(32), guard=MemoryGuard(), committee=object()),
        lambda: plan_session(
            name,
            cohort=(1, 2, 3, 4, 5),
            vector=VectorSpec(length=1, bound=1),
            nonce=bytes(16),
            context=bytes(32),
            committee=CommitteeShape(),
        ),
    ):
        with pytest.raises(ConfigurationError, match=f"^suite '{name}' has no committee: leave committee out$"):
            ask()


@pytest.mark.parametrize("code", [code for code in SuiteCode if code.name.lower() not in SUITE_NAMES] + [0, 9, 255])
def test_a_session_at_rest_of_a_suite_that_is_not_in_the_table_is_not_decoded(code):
    params = make_params(suite_name="kahe")
    raw = KaheClient(params, 10, guard=MemoryGuard()).to_bytes(bytes(32))
    with pytest.raises(DecodeError, match=r"^a session at rest of an unknown suite$"):
        wake(raw[:5] + bytes([code]) + raw[6:], key=bytes(32), guard=MemoryGuard())


@pytest.mark.parametrize("wire", WireForm)
@pytest.mark.parametrize("name", SUITE_NAMES)
def test_sums_up_to_a_bound_of_their_own_come_out_whatever_single_coordinates_reach(name, wire):
    """Noise has long tails that sums do not reach: each client may be far off, all of them together are not."""
    chance = np.random.default_rng(5)
    total, wide = chance.integers(-999, 1000, 500), chance.integers(-(2**14), 2**14, (5, 500))
    vectors = {10 + i: vector for i, vector in enumerate((*wide, total - wide.sum(axis=0)))}
    params = make_params(n=6, length=500, suite_name=name, bound=6 * 2**14, sum_bound=1000, wire=wire)
    play = Play(params, vectors).to(Phase.FINISHED)
    assert np.abs(play.server.result.vector - total).max() <= 9 * play.server.result.error_std
    roomy = make_params(n=6, length=500, suite_name=name, bound=6 * 2**14, wire=wire)
    if wire is WireForm.PACKED and name in {"masking", "kahe"}:
        assert params.ring.bits < roomy.ring.bits
    assert SessionParams.from_bytes(params.to_bytes()) == params
    assert params.digest != roomy.digest


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_a_sum_beyond_its_bound_is_not_released_as_one(name):
    vectors = {10 + i: np.full(50, 202) for i in range(5)}
    params = make_params(n=5, length=50, suite_name=name, bound=500, sum_bound=1000, wire=WireForm.PACKED)
    with pytest.raises(RoundAborted, match="out of range"):
        Play(params, vectors).to(Phase.FINISHED)


# A look at a request before a vector is made


class Watched(MemoryGuard):
    """A guard that shows what was claimed."""

    @property
    def claims(self):
        return set(self._claims)


def asked_for_vectors(suite_name, **options):
    """A session in which one client is asked for its vector, and has none yet."""
    late = suite_name in ("masking", "kahe")
    play = Play(make_params(suite_name=suite_name, context=b"" if late and options.pop("late", False) else bytes(32)))
    guard = Watched()
    number = play.params.cohort[0]
    play.clients[number] = play.fresh_client(number, guard=guard)
    play.to(Phase.MASKED_INPUT if late else Phase.UPLOAD)
    return play, number, guard


def other_requests(play, number):
    """Requests that are not to be answered with a vector, by what is wrong with them."""
    from privfl.masking.messages import MaskedInputRequest, UnmaskRequest

    request = play.ask(number)
    elsewhere = request[:12] + bytes(32) + request[44:]
    wrong = {"another session": (elsewhere, DisclosureRefused)}
    wrong |= {
        "garbage": (b"x", DecodeError),
        "no bytes": (b"", DecodeError),
        "more": (request + b"\0", DecodeError),
        "another suite": (forged_for(play, request), DecodeError),
    }
    if play.params.suite in ("masking", "kahe"):
        said = read(request, MaskedInputRequest)
        earlier = play.requests[Phase.SHARE_KEYS, number]
        unmask = UnmaskRequest(contributors=5, survivors=said.peers, dropped=())
        wrong |= {
            "out of turn": (play.forge_request(unmask), DisclosureRefused),
            "answered already": (earlier, DisclosureRefused),
            "closed shares": (
                play.forge_request(structs.replace(said, sealed=bytes(len(said.sealed)))),
                DisclosureRefused,
            ),
            "few participants": (play.forge_request(structs.replace(said, participants=1)), DisclosureRefused),
        }
    return wrong


def forged_for(play, request):
    other = next(code for code in SuiteCode if code is not play.code)
    return request[:5] + bytes([other]) + request[6:]


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_a_look_at_a_request_for_the_vector_changes_nothing(name):
    play, number, guard = asked_for_vectors(name)
    session, before = play.clients[number], guard.claims
    state = session._state
    for what, (request, error) in other_requests(play, number).items():
        with pytest.raises(error):
            session.check_upload(request)
        assert (session._state is state, guard.claims) == (True, before), what
    for _ in range(2):
        session.check_upload(play.ask(number))
    assert (session._state is state, guard.claims) == (True, before)
    session.submit(play.vectors[number])
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort)) or name == "ckks"
    with pytest.raises(LocalProtocolError, match="is over"):
        session.check_upload(play.requests[Phase.UPLOAD if name in ("plain", "ckks") else Phase.MASKED_INPUT, number])


@pytest.mark.parametrize("name", ["masking", "kahe"])
def test_a_look_at_a_request_needs_the_context(name):
    play, number, _ = asked_for_vectors(name, late=True)
    play.server.bind(bytes(32))
    session = play.clients[number]
    with pytest.raises(LocalProtocolError, match="no context to upload under"):
        session.check_upload(play.ask(number))
    session.bind(b"\1" * 32)
    with pytest.raises(DisclosureRefused):  # a request under the server's context is none of this one
        session.check_upload(play.ask(number))
    for other, one in play.clients.items():
        if other != number:
            one.bind(bytes(32))
    play.step(silent={number})
    play.to(Phase.FINISHED)


@pytest.mark.parametrize("name", ["masking", "kahe", "ckks"])
def test_a_look_tells_that_an_update_to_the_context_was_sent_before(name):
    play, number, guard = asked_for_vectors(name)
    guard.claim(CONTEXT, play.params.context)
    session, before = play.clients[number], guard.claims
    with pytest.raises(DisclosureRefused, match="was sent before"):
        session.check_upload(play.ask(number))
    assert guard.claims == before
    session.submit(play.vectors[number])
    with pytest.raises(DisclosureRefused):  # and so does the answer
        session.respond(play.ask(number))


def test_a_look_is_not_taken_at_two_requests_at_once():
    play, number, _ = asked_for_vectors("masking")
    session = play.clients[number]
    with session._at_work, pytest.raises(LocalProtocolError, match="is answering a request"):
        session.check_upload(play.ask(number))
    session.check_upload(play.ask(number))
