"""Slips of whoever builds on sessions: each is one sentence that says what works, before anything is lost or told."""

import math
from dataclasses import replace

import numpy as np
import pytest
from harness import ACTIVE, Play, identity_of, make_params

import privfl
from privfl.cli.run_facts import _minimum
from privfl.dp import account, read_ledger
from privfl.dp.accountants import RdpAccountant
from privfl.dp.budget import Budget
from privfl.dp.codec import PrivateCodec
from privfl.dp.events import Gaussian, Repeated
from privfl.dp.ledger import Ledger
from privfl.dp.planner import plan
from privfl.dp.records import Opening
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.errors import ConfigurationError, DisclosureRefused, LocalProtocolError, RemoteProtocolError
from privfl.guard import FileGuard, MemoryGuard
from privfl.masking.client import MaskingClient
from privfl.primitives.signatures import Identity
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
    with pytest.raises(ConfigurationError, match="guard is None: a session wakes with the guard"):
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


def test_the_fewest_contributors_are_told_that_it_takes():
    """As many as were agreed on, and one beside the threshold, whose mask they open."""
    assert _minimum(make_params(n=8, minimum=3, threshold=5)) == "3; 6 to open their masks"
    assert _minimum(make_params(n=8, minimum=6, threshold=5)) == "6"
    assert _minimum(make_params(n=8, minimum=3, suite_name="plain")) == "3"


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


# -- numbers and names ------------------------------------------------------------------------------------------------


def test_the_texts_of_numbers_tell_their_type():
    """ "encoding.bits is 16: … such as 16" told nothing of the text that was given."""
    with pytest.raises(ConfigurationError, match=r"encoding\.bits is '16': a whole number from 2 to 24"):
        FixedPoint(clip=1.0, bits="16")
    with pytest.raises(ConfigurationError, match=r"encoding\.clip is None: a number from"):
        FixedPoint(clip=None, bits=16)


CODEC = UpdateCodec(
    layout=Layout.of({"w": np.zeros(3, np.float32)}), coding=FixedPoint(clip=1.0, bits=16), weight_max=1.0
)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"layout": {"w": np.zeros(3)}}, "layout and coding are dict and FixedPoint"),
        ({"coding": {"clip": 1.0}}, "layout and coding are Layout and dict"),
        ({"weight_max": None}, "weight_max is None: a positive number works"),
        ({"weight_max": 10**400}, "weight_max is 1000"),
        ({"error_std": math.nan}, "error_std is nan: a number from 0 up works"),
        ({"error_std": "a"}, "error_std is 'a'"),
    ],
)
def test_parts_of_a_codec_that_are_none_are_named(wrong, why):
    with pytest.raises(ConfigurationError, match=why):
        replace(CODEC, **wrong)


@pytest.mark.parametrize("weight", [None, "3", np.array([0.5]), math.nan, 10**400, -math.inf])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ConfigurationError, match="the weight is outside its range"):
        CODEC.encode({"w": np.zeros(3, np.float32)}, weight=weight)


@pytest.mark.parametrize("update", [None, [np.zeros(3)], np.zeros(3)])
def test_an_update_that_has_no_names_is_refused(update):
    for call in (CODEC.encode, Layout.of):
        with pytest.raises(ConfigurationError, match="an update maps names to arrays, as a dict does: it is a "):
            call(update)


class Summed:
    vector = np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("total", "why"),
    [
        (Summed(), r"a sum is an array, not a whole Summed: give its \.vector"),
        (np.zeros(4), "whole numbers, such as int64, not float64"),
        ([0, 0, 0, 0], "whole numbers, such as int64, not of type list"),
        (np.zeros(5, np.int64), r"a sum of shape \(5,\) where \(4,\) is agreed"),
    ],
)
def test_what_is_no_sum_is_not_decoded(total, why):
    with pytest.raises(ConfigurationError, match=why):
        CODEC.decode(total, contributors=1)
    private = PrivateCodec(layout=CODEC.layout, granularity=2**-10, l2_squared=100)
    assert private.length == 4
    with pytest.raises(ConfigurationError, match=why):
        private.decode(total, clip=1.0, denominator=1, seed=bytes(16))


@pytest.mark.parametrize(("length", "extras_norm"), [(5, 0.0), (3, 0.0), (5, 0.1)])
def test_a_plan_for_another_length_is_told_as_one(length, extras_norm):
    made = plan(dimension=4, noise_multiplier=1.0, mechanism="skellam", cohort=5, extras_norm=extras_norm)
    layout = Layout.of({"w": np.zeros(length, np.float32)})
    with pytest.raises(ConfigurationError, match=f"the layout has {length} coordinates, and the plan was made for 4"):
        PrivateCodec.planned(layout, made)


@pytest.mark.parametrize("relation", ["bogus", "zero_out"])
def test_a_relation_that_there_is_not_is_named(relation):
    events = (Repeated(event=Gaussian(noise_multiplier=2.0), count=1),)
    for call in (lambda: account(events, 1e-5, relation), lambda: RdpAccountant(relation)):
        with pytest.raises(
            ConfigurationError, match=f"relation is '{relation}': one of add-or-remove-one, replace-one"
        ):
            call()


def test_ledgers_take_the_name_of_their_file(tmp_path):
    opening = Opening(
        mode="client-central",
        unit="client",
        budget=Budget(delta=1e-5, relation="add-or-remove-one"),
        facts={},
    )
    identity = Identity.generate()
    Ledger.create(str(tmp_path / "l.jsonl"), opening, identity).close()
    assert Ledger.create(tmp_path / "m.jsonl", opening, identity).head
    assert read_ledger(str(tmp_path / "l.jsonl")).signer == identity.public


# -- rehearsals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"drops": {"Masked": [10]}}, r"drops holds \{'Masked': \[10\]\}: a phase and numbers work"),
        ({"drops": {Phase.MASKED_INPUT: 10}}, "a phase and numbers work"),
        (
            {"drops": {Phase.MASKED_INPUT: [10, 99]}},
            r"drops names \[99\] at MaskedInput, who have no part in the session",
        ),
        ({"vectors": {10: np.zeros(16, np.int32)}}, "vectors holds none of client 11: give one for each"),
    ],
)
def test_a_rehearsal_of_nothing_is_refused(wrong, why):
    params = make_params(n=5, suite_name="kahe")
    wanted = {"vectors": Play(params).vectors} | wrong
    with pytest.raises(ConfigurationError, match=why):
        privfl.simulate(params, **wanted)


def test_rows_of_one_array_are_updates():
    rows = np.tile(np.float32([0.25, -0.5]), (3, 1))
    assert np.allclose(privfl.aggregate(rows, clip=1.0), rows[0], atol=1e-4)
    with pytest.raises(ConfigurationError, match="updates is empty"):
        privfl.aggregate(np.zeros((0, 2)), clip=1.0)


# -- what comes late, and twice ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite_name", SUITES)
def test_an_answer_to_a_phase_that_is_closed_is_told_as_one(suite_name):
    """A queue that delivers at least once brings them: nothing is wrong with the client."""
    play = at_upload(suite_name).to(Phase.UNMASK)
    waiting = play.server.waiting
    for phase in (Phase.ADVERTISE_KEYS, Phase.MASKED_INPUT):
        with pytest.raises(
            RemoteProtocolError, match=f"client 10 answers {phase}, which is closed: too late, or deliv"
        ):
            play.server.receive(privfl.client(10), play.responses[phase, 10])
    assert play.server.waiting == waiting


def test_a_session_that_is_over_says_why_it_ended_first():
    play = Play(make_params(n=5, suite_name="kahe"))
    request = play.server.request_for(privfl.client(10))
    other = Play(make_params(n=5, suite_name="kahe")).server.request_for(privfl.client(10))
    session = play.clients[10]
    session.respond(request)
    why = "AdvertiseKeysRequest has no place in state Advertised: it comes twice, too late, or from another session"
    for told in (why, f"the session is over: refused: {why}; each round needs a session of its own"):
        with pytest.raises(DisclosureRefused, match=f"^{told}$"):
            session.respond(other)
    with pytest.raises(LocalProtocolError, match=f"the session of client 10 is over: refused: {why}$"):
        session.submit(play.vectors[10])
