"""Slips of whoever builds on sessions: each is one sentence that says what works, before anything is lost or told."""

import numpy as np
import pytest
from harness import ACTIVE, Play, identity_of, make_params

import privfl
from privfl.errors import ConfigurationError, LocalProtocolError
from privfl.guard import FileGuard, MemoryGuard
from privfl.masking.client import MaskingClient
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, Phase, ServerModel
from privfl.simulate import roster_of
from privfl.suites import suite, wake

SUITES = ["masking", "kahe"]
KEY = bytes(32)


def at_upload(suite_name="kahe", **options):
    """A session in which vectors are due."""
    return Play(make_params(n=5, suite_name=suite_name), **options).to(Phase.MASKED_INPUT)


def due(play, number=10):
    """A client that has not submitted its vector, and the request for it."""
    client = play.clients[number]
    client._vector = None
    return client, play.server.request_for(privfl.client(number))


# -- guards and policies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite_name", SUITES)
def test_a_session_does_not_wake_without_a_guard(suite_name):
    """Two that woke from the same bytes would put the same masks over two vectors."""
    params = make_params(n=5, suite_name=suite_name)
    asleep = suite(suite_name).client(params, 10, guard=MemoryGuard()).to_bytes(KEY)
    with pytest.raises(ConfigurationError, match="guard is of type NoneType: what has claim and claimed works"):
        wake(asleep, key=KEY, guard=None)
    with pytest.raises(ConfigurationError, match="guard is None: a session wakes with the guard"):
        MaskingClient.from_bytes(asleep, key=KEY, guard=None) if suite_name == "masking" else _kahe(asleep)
    assert wake(asleep, key=KEY, guard=MemoryGuard())


def _kahe(asleep):
    from privfl.kahe.client import KaheClient

    return KaheClient.from_bytes(asleep, key=KEY, guard=None)


@pytest.mark.parametrize(
    ("guard", "why"),
    [
        ("claims", r"guard is of type str: what has claim and claimed works, such as FileGuard\('claims'\)"),
        (MemoryGuard, r"guard is the class MemoryGuard: one of its kind works, such as MemoryGuard\(\)"),
        (object(), "guard is of type object"),
    ],
)
def test_a_guard_that_is_none_is_found_when_it_is_given(guard, why):
    with pytest.raises(ConfigurationError, match=f"^{why}"):
        suite("kahe").client(make_params(n=5, suite_name="kahe"), 10, guard=guard)


def test_a_guard_takes_the_name_of_its_directory(tmp_path):
    FileGuard(str(tmp_path / "claims")).claim("nonce", b"once")
    assert FileGuard(tmp_path / "claims").claimed("nonce", b"once")


@pytest.mark.parametrize("suites", ["never plain", "plain", frozenset({"khae"}), ["kahe", "plane"], 3, None])
def test_a_policy_names_suites_that_there_are_as_a_set(suites):
    """A string would be searched, and "never plain" holds "plain"."""
    with pytest.raises(
        ConfigurationError, match=r"suites of a client's policy are .*: some of ckks, kahe, masking, plain"
    ):
        ClientPolicy(suites=suites)


def test_a_policy_takes_any_collection_of_names():
    assert ClientPolicy(suites=["kahe"]) == ClientPolicy(suites=frozenset({"kahe"}))
    assert ClientPolicy(servers={"active"}).servers == frozenset({ServerModel.ACTIVE})
    with pytest.raises(ConfigurationError, match="servers of a client's policy are 'active': some of active, honest"):
        ClientPolicy(servers="active")
    with pytest.raises(ConfigurationError, match=r"corrupt of a client's policy is 'some': a fraction such as 0\.1"):
        ClientPolicy(corrupt="some")


def test_credentials_that_are_none_are_found_when_they_are_given():
    identity = identity_of(10)
    roster = roster_of({10: identity})
    with pytest.raises(ConfigurationError, match=r"made of Roster and Identity: Credentials\(identity=…, roster=…\)"):
        Credentials(roster, identity)
    params = make_params(n=5, server=ACTIVE)
    with pytest.raises(ConfigurationError, match="credentials are of type Roster"):
        suite("masking").client(params, 10, credentials=roster, guard=MemoryGuard())
    with pytest.raises(ConfigurationError, match="policy is of type dict"):
        suite("masking").client(params, 10, policy={"suites": ["masking"]})


def test_a_roster_is_read_from_a_path_or_its_name(tmp_path):
    roster = roster_of({10: identity_of(10)})
    (tmp_path / "roster.json").write_text(roster.to_json(), encoding="utf-8")
    assert Roster.load(str(tmp_path / "roster.json")) == Roster.load(tmp_path / "roster.json") == roster


# -- vectors ----------------------------------------------------------------------------------------------------------


class Encoded:
    vector = np.zeros(3, np.int32)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (Encoded(), r"an array, not a whole Encoded: submit its \.vector"),
        (None, "not of type NoneType"),
        ("abc", "not of type str"),
        ({"a": np.zeros(3, np.int32)}, "not of type dict"),
        (7, "not of type int"),
        ([0, 1, 2], "a one-dimensional array of int32 or int64, not int"),
        ([np.zeros(3)], "not 1-dimensional float64"),
    ],
)
def test_what_is_no_vector_is_refused_when_it_is_submitted(given, why):
    play = at_upload()
    client, request = due(play)
    with pytest.raises(ConfigurationError, match=why):
        client.submit(given)
    client.submit(play.vectors[10])
    assert client.respond(request)


@pytest.mark.parametrize("suite_name", ["plain", *SUITES, "ckks"])
def test_a_vector_that_changes_after_it_was_submitted_is_not_summed_beyond_its_bound(suite_name):
    """Under kahe nothing else would show it: the sum of all would be another."""
    params = make_params(n=5, suite_name=suite_name)
    play = Play(params).to(Phase.UPLOAD if suite_name in ("plain", "ckks") else Phase.MASKED_INPUT)
    client, request = due(play)
    reused = play.vectors[10].copy()
    client.submit(reused)
    reused[-1] = params.vector.bound + 1
    with pytest.raises(ConfigurationError, match=r"a coordinate exceeds vector\.bound"):
        client.respond(request)
    client.submit(play.vectors[10])
    play.server.receive(privfl.client(10), client.respond(request))


@pytest.mark.parametrize("suite_name", SUITES)
def test_an_error_in_the_making_of_a_chunk_costs_no_session(suite_name):
    play = at_upload(suite_name)
    client, request = due(play)
    client.submit(np.full(1, 1 // zero, np.int32) for zero in (1, 0))
    with pytest.raises(
        LocalProtocolError, match=r"could not be made \(ZeroDivisionError\): submit the vector again"
    ) as told:
        client.respond(request)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    client.submit(play.vectors[10])
    play.server.receive(privfl.client(10), client.respond(request))


# -- parties ----------------------------------------------------------------------------------------------------------


def test_a_number_is_no_party():
    play = at_upload()
    for call in (lambda: play.server.request_for(0), lambda: play.server.receive(0, b"")):
        with pytest.raises(ConfigurationError, match=r"the party is 0: a PartyId works, such as privfl\.client\(0\)"):
            call()


@pytest.mark.parametrize("number", ["0", -1, 2**32, None, 1.0])
def test_a_client_has_a_whole_number(number):
    with pytest.raises(ConfigurationError, match=r"a client's number is .*: a whole number from 0 to 2\^32 - 1 works"):
        privfl.client(number)


@pytest.mark.parametrize("number", ["10", privfl.client(10)])
def test_who_is_not_in_the_cohort_is_told_as_given(number):
    with pytest.raises(ConfigurationError, match=r"client ('10'|PartyId.*) is not in the cohort: the numbers 10, "):
        suite("kahe").client(make_params(n=5, suite_name="kahe"), number)
