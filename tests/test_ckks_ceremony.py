"""The key ceremony: whoever falls silent, whoever lies, there is a key that its members can open with, or none."""

import contextlib
import copy
import hashlib
import pickle
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from harness import Ceremony, Play, contents, epoch, identity_of, make_params, member, reachable, read

from privfl import (
    ConfigurationError,
    DecodeError,
    DisclosureRefused,
    LocalProtocolError,
    MissingExtra,
    Phase,
    RemoteProtocolError,
    RoundAborted,
)
from privfl.ckks import ceremony as ceremonies
from privfl.ckks import coordinator as coordinators
from privfl.ckks import messages, planner, sharing  # the module: pytest would take TestRequest for tests
from privfl.ckks.agreement import commitment_to
from privfl.ckks.ceremony import CeremonyMember
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.key import CommitteeKey, common_polynomial
from privfl.ckks.messages import (
    COMBINED_BYTES,
    Advertise,
    AdvertiseRequest,
    CheckRequest,
    Checks,
    CommitRequest,
    Dealing,
    DealRequest,
    KeySignature,
    SignRequest,
)
from privfl.ckks.modulus import PRIMES
from privfl.ckks.planner import modulus_of
from privfl.ckks.rehearsal import SimulatedCommittee, hold_ceremony
from privfl.ckks.seal import seal_ring
from privfl.errors import PrivflError
from privfl.lockstep.party import SessionOver
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.simulate import roster_of

PHASES = (Phase.ADVERTISE_KEYS, Phase.COMMIT, Phase.DEAL, Phase.CHECK_SHARES, Phase.TEST_KEY, Phase.SIGN_KEY)
REQUESTS = {
    Phase.ADVERTISE_KEYS: AdvertiseRequest,
    Phase.COMMIT: CommitRequest,
    Phase.DEAL: DealRequest,
    Phase.CHECK_SHARES: CheckRequest,
    Phase.TEST_KEY: messages.TestRequest,
    Phase.SIGN_KEY: SignRequest,
}
STATES = ("Waiting", "Advertised", "Committed", "Dealt", "Checked", "Tested")
SMALL = {"members": 3, "threshold": 2}
SEALING_KEY = bytes(range(32))
MODULUS = modulus_of(epoch())
PART_BYTES = MODULUS.vector_bytes(4096)


def finished(ceremony, *, gone=()):
    while ceremony.phase is not Phase.FINISHED:
        ceremony.step(silent=gone)
    return ceremony


def asked(ceremony, number):
    """The true request to a member in this phase, decoded."""
    kind = REQUESTS[ceremony.phase]
    return read(ceremony.ask(number), kind, tail_bytes=PART_BYTES if kind is SignRequest else 0)


def works(ceremony):
    """A session under the key opens the exact sum: by members that the key names."""
    key = ceremony.coordinator.result
    held = SimulatedCommittee(
        key=key, members={number: ceremony.members[number].key for number in key.statement.qualified}
    )
    play = Play(make_params(suite_name="ckks", key=key), committee=held).to(Phase.FINISHED)
    return bool(np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort)))


def refuses(ceremony, number, request, why):
    session = ceremony.members[number]
    with pytest.raises(RemoteProtocolError, match=why) as error:
        session.respond(request)
    assert not isinstance(error.value, DecodeError)
    assert isinstance(session._state, SessionOver)
    with pytest.raises(DisclosureRefused, match="over"):
        session.respond(ceremony.ask(number))
    with pytest.raises(LocalProtocolError, match="no key yet"):
        _ = session.key


# What comes of it


@pytest.fixture(scope="module")
def done():
    """A ceremony that is over, everybody having followed it: not to be changed."""
    return finished(Ceremony())


@pytest.fixture(scope="module")
def small():
    return finished(Ceremony(**SMALL))


def test_the_key_is_signed_by_all_and_opens_sums(done):
    key = done.coordinator.result
    assert key.statement.qualified == (0, 1, 2, 3, 4)
    assert sorted(key.signatures) == [0, 1, 2, 3, 4]
    assert {done.members[number].key.statement.digest for number in range(5)} == {key.digest}
    assert key.epoch == done.params.epoch
    assert works(done)


def secret_of(ceremony, numbers):
    """The joint secret that these members' shares make, centred."""
    total = np.zeros((PRIMES, 4096), np.int64)
    for number in numbers:
        factors = sharing.at_zero(MODULUS, number, numbers)
        MODULUS.add(total, sharing.scaled(MODULUS, ceremony.members[number].key.share, factors))
    return MODULUS.centred(total)


def test_any_three_shares_make_the_one_short_secret_and_two_make_none(done):
    """b = −a·s + e with |s| ≤ 5 and |e| ≤ 5 · 44, every coefficient; of two shares all coefficients are wide."""
    secret = secret_of(done, (0, 1, 2))
    for others in ((0, 2, 4), (1, 3, 4), (0, 1, 2, 3, 4)):
        assert np.array_equal(secret_of(done, others), secret)
    assert np.abs(secret).max() <= 5
    assert np.abs(secret).max() > 1  # a sum of five
    key = done.coordinator.result.statement
    common = common_polynomial(MODULUS, key.ceremony)
    errors = seal_ring(MODULUS).multiply(common[:, None], MODULUS.residues_of(secret.astype(np.int64)))[:, 0]
    MODULUS.add(errors, MODULUS.unpack(key.own, 4096))
    errors = MODULUS.centred(errors)
    assert np.abs(errors).max() <= 5 * 44
    assert errors.std() == pytest.approx(3.2 * np.sqrt(5), rel=0.12)  # 4,096 draws: 1.1 % a deviation
    assert (np.abs(secret_of(done, (0, 1))) > 2.0**40).mean() > 0.99


def test_pairs_share_one_secret_each(done):
    pairs = {}
    for number in range(5):
        key = done.members[number].key
        assert sorted(key.pairs) == sorted({0, 1, 2, 3, 4} - {number})
        for peer, pair in key.pairs.items():
            pairs.setdefault(frozenset({number, peer}), set()).add(pair.reveal())
    assert all(len(both) == 1 for both in pairs.values())
    assert len({pair for both in pairs.values() for pair in both}) == 10


def test_the_common_polynomial_follows_from_all_keys(done):
    other = finished(Ceremony()).coordinator.result.statement
    statement = done.coordinator.result.statement
    assert statement.ceremony != other.ceremony
    first, second = (common_polynomial(MODULUS, each.ceremony) for each in (statement, other))
    assert (first == second).mean() < 0.01


@pytest.mark.parametrize(("members", "threshold"), [(1, 1), (2, 2), (3, 2)])
def test_small_committees(members, threshold):
    ceremony = finished(Ceremony(members=members, threshold=threshold))
    assert ceremony.coordinator.result.statement.qualified == tuple(range(members))
    assert works(ceremony)


def test_a_committee_of_two_of_whom_one_is_away_has_no_key():
    with pytest.raises(RoundAborted, match=r"1 members .* answered AdvertiseKeys and 2 are needed"):
        finished(Ceremony(members=2, threshold=2), gone={1})


# Who falls silent


@pytest.mark.parametrize("phase", PHASES[:4])
@pytest.mark.parametrize("gone", [{2}, {0, 4}], ids=["one", "two"])
def test_whoever_falls_silent_up_to_the_checks_is_left_out_and_the_key_works_without(phase, gone):
    ceremony = finished(Ceremony().to(phase), gone=gone)
    statement = ceremony.coordinator.result.statement
    assert set(statement.qualified) == {0, 1, 2, 3, 4} - gone
    assert len(statement.parts) == 5 - len(gone)
    assert works(ceremony)
    for number in gone:
        with pytest.raises(LocalProtocolError, match="no key yet"):
            _ = ceremony.members[number].key


def test_members_that_fall_silent_one_after_the_other_are_left_out():
    ceremony = Ceremony()
    ceremony.step(silent={0})
    ceremony.step()
    finished(ceremony, gone={3})
    assert ceremony.coordinator.result.statement.qualified == (1, 2, 4)
    assert works(ceremony)


def test_a_member_that_falls_silent_in_the_test_ends_the_ceremony():
    ceremony = Ceremony().to(Phase.TEST_KEY)
    with pytest.raises(RoundAborted, match=r"members \[3\] fell silent in the test that needs all"):
        ceremony.step(silent={3})
    assert ceremony.phase is Phase.ABORTED


def test_signatures_of_the_threshold_are_enough():
    ceremony = finished(Ceremony().to(Phase.SIGN_KEY), gone={1, 3})
    key = ceremony.coordinator.result
    assert sorted(key.signatures) == [0, 2, 4]
    assert key.statement.qualified == (0, 1, 2, 3, 4)
    assert CommitteeKey.from_bytes(key.to_bytes(), ceremony.params.roster) == key


@pytest.mark.parametrize("phase", PHASES)
def test_fewer_than_the_threshold_make_no_key(phase):
    ceremony = Ceremony(**SMALL).to(phase)
    assert not ceremony.coordinator.ready
    with pytest.raises(RoundAborted):
        ceremony.step(silent={0, 1})
    assert ceremony.phase is Phase.ABORTED
    with pytest.raises(LocalProtocolError, match="no key"):
        _ = ceremony.coordinator.result


def test_ready_says_whether_advance_would_abort():
    for phase in PHASES:
        for answering in (1, 2, 3):
            ceremony = Ceremony(**SMALL).to(phase)
            for number in range(answering):
                ceremony.deliver(number)
            ready = ceremony.coordinator.ready
            try:
                ceremony.coordinator.advance()
                aborted = False
            except RoundAborted:
                aborted = True
            assert ready is not aborted, (phase, answering)


# Rogue members


def test_a_last_member_that_chooses_its_part_once_it_has_seen_the_others_is_caught():
    """Coordinator guarantee 1: the joint key would be its own. Left out, the others' key works."""
    ceremony = Ceremony().to(Phase.DEAL)
    for number in range(4):
        ceremony.deliver(number)
    dealing = read(ceremony.answer(4), Dealing, tail_bytes=PART_BYTES)
    seen = [np.frombuffer(ceremony.responses[Phase.DEAL, number][-PART_BYTES:], np.uint8) for number in range(4)]
    chosen = MODULUS.unpack(ceremony.responses[Phase.DEAL, 4][-PART_BYTES:], 4096)
    for part in seen:
        other = MODULUS.unpack(part.tobytes(), 4096)
        MODULUS.negate(other)
        MODULUS.add(chosen, other)
    forged = ceremony.forge_response(4, dealing, tail=MODULUS.packed(chosen))
    with pytest.raises(RemoteProtocolError, match="not committed to"):
        ceremony.coordinator.receive(member(4), forged)
    ceremony.step(silent={0, 1, 2, 3, 4})
    finished(ceremony)
    assert ceremony.coordinator.result.statement.qualified == (0, 1, 2, 3)
    assert works(ceremony)


def test_members_check_every_part_against_its_commitment_themselves():
    """Member guarantee 2: a coordinator in league with the rogue passes the part on."""
    ceremony = Ceremony().to(Phase.CHECK_SHARES)
    request = asked(ceremony, 0)
    another = MODULUS.packed(sharing.uniform_residues(MODULUS, 4096, OsEntropy()))
    parts = (*request.parts[:4], another)
    forged = ceremony.forge_request(msgspec.structs.replace(request, parts=parts))
    refuses(ceremony, 0, forged, "a part of the key that member 4 did not commit to")


@pytest.mark.parametrize(
    "part",
    [b"", bytes(PART_BYTES - 8), bytes(PART_BYTES + 16), bytes(7), b"\xff" * PART_BYTES],
    ids=["empty", "short", "long", "odd", "out of range"],
)
def test_a_part_that_is_no_polynomial_is_refused_even_if_it_was_committed_to(part):
    """By whoever is in league with the coordinator."""
    ceremony = Ceremony().to(Phase.DEAL)
    commitments = list(asked(ceremony, 0).commitments)
    commitments[4] = commitment_to(ceremony.session_id, 4, part)
    message = DealRequest(members=(0, 1, 2, 3, 4), commitments=tuple(commitments))
    ceremony.members[0].respond(ceremony.forge_request(message))
    for number in range(1, 5):
        ceremony.deliver(number)
    step = ceremony.coordinator._step
    step._answered.add(0)
    sealed = tuple(bytes(MODULUS.vector_bytes(4100) + 16) for _ in range(4))
    own = MODULUS.packed(ceremony.members[0]._state.secrets.own)
    check = CheckRequest(
        dealers=(0, 1, 2, 3, 4),
        parts=(own, *(step._parts[n] for n in (1, 2, 3)), part),
        digests=(b"",) * 5,
        sealed=(b"", *sealed),
    )
    with pytest.raises(DisclosureRefused, match="a part of the key of member 4 that is no polynomial"):
        ceremony.members[0].respond(ceremony.forge_request(check))
    assert isinstance(ceremony.members[0]._state, SessionOver)


def test_a_dealer_whose_shares_lie_on_a_longer_polynomial_is_left_out_and_the_key_works_without(monkeypatch):
    """Member guarantee 2 and coordinator guarantee 2."""
    ceremony, deal = Ceremony().to(Phase.DEAL), sharing.deal
    for number in range(5):
        if number == 1:
            monkeypatch.setattr(
                sharing, "deal", lambda *args, threshold, **rest: deal(*args, threshold=threshold + 1, **rest)
            )
        ceremony.deliver(number)
        monkeypatch.undo()
    ceremony.coordinator.advance()
    finished(ceremony)
    assert ceremony.coordinator.result.statement.qualified == (0, 2, 3, 4)
    assert works(ceremony)
    with pytest.raises(LocalProtocolError, match="no key yet"):
        _ = ceremony.members[1].key


def test_a_dealer_is_told_that_its_dealing_did_not_hold(monkeypatch):
    """Member guarantee 2: it does not take part in a key of which it has no shares that fit."""
    ceremony, deal = Ceremony().to(Phase.DEAL), sharing.deal
    for number in range(5):
        if number == 1:
            monkeypatch.setattr(
                sharing, "deal", lambda *args, threshold, **rest: deal(*args, threshold=threshold + 1, **rest)
            )
        ceremony.deliver(number)
        monkeypatch.undo()
    ceremony.coordinator.advance()
    ceremony.to(Phase.TEST_KEY)
    request = ceremony.ask(0)
    with pytest.raises(DisclosureRefused, match="do not confirm this member's dealing"):
        ceremony.members[1].respond(request)


@pytest.mark.parametrize("victim", [0, 3])
def test_a_share_that_does_not_open_is_complained_of_and_costs_its_dealer_its_place(victim):
    ceremony = Ceremony().to(Phase.DEAL)
    for number in range(5):
        if number != 2:
            ceremony.deliver(number)
    dealing = read(ceremony.answer(2), Dealing, tail_bytes=PART_BYTES)
    place = [0, 1, 3, 4].index(victim)
    sealed = list(dealing.sealed)
    sealed[place] = bytes([sealed[place][0] ^ 1]) + sealed[place][1:]
    tail = ceremony.responses[Phase.DEAL, 2][-PART_BYTES:]
    ceremony.coordinator.receive(member(2), ceremony.forge_response(2, Dealing(sealed=tuple(sealed)), tail=tail))
    ceremony.coordinator.advance()
    said = read(ceremony.answer(victim), Checks)
    assert [len(combined) for combined in said.combined] == [
        0 if dealer == 2 else COMBINED_BYTES for dealer in range(5)
    ]
    finished(ceremony)
    assert ceremony.coordinator.result.statement.qualified == (0, 1, 3, 4)
    assert works(ceremony)


def test_a_share_of_another_holder_does_not_open():
    """Each is sealed for its holder, under a key for that direction alone."""
    ceremony = Ceremony().to(Phase.CHECK_SHARES)
    request, other = asked(ceremony, 0), asked(ceremony, 1)
    wrong = other.sealed[2]
    digests = list(request.digests)
    digests[2] = hashlib.sha256(wrong).digest() * 4
    forged = msgspec.structs.replace(
        request, sealed=(*request.sealed[:2], wrong, *request.sealed[3:]), digests=tuple(digests)
    )
    said = read(ceremony.members[0].respond(ceremony.forge_request(forged)), Checks).combined
    assert [len(combined) for combined in said] == [64, 64, 0, 64, 64]


def test_a_share_that_the_list_of_digests_does_not_name_is_complained_of():
    """The challenge is drawn over the digests: a share that is swapped after it would be chosen to fit."""
    ceremony = Ceremony().to(Phase.CHECK_SHARES)
    request = asked(ceremony, 0)
    digests = list(request.digests)
    digests[3] = bytes(32) + digests[3][32:]
    forged = ceremony.forge_request(msgspec.structs.replace(request, digests=tuple(digests)))
    said = read(ceremony.members[0].respond(forged), Checks).combined
    assert [len(combined) for combined in said] == [64, 64, 64, 0, 64]


def test_the_challenge_follows_from_everything_that_was_dealt(monkeypatch):
    """Over every part and every sealed share: whoever deals knows it only when nothing can be changed any more."""
    ceremony, challenges = Ceremony(**SMALL).to(Phase.CHECK_SHARES), []
    combine = sharing.combine
    monkeypatch.setattr(
        sharing,
        "combine",
        lambda *args, challenge: (challenges.append(challenge), combine(*args, challenge=challenge))[1],
    )
    request = asked(ceremony, 0)
    state = ceremony.members[0]._state
    other_digests = (request.digests[0], request.digests[1], request.digests[2][:-1] + b"\0")
    for digests in (request.digests, other_digests):
        ceremony.members[0]._state, ceremony.members[0]._last = state, None
        ceremony.members[0].respond(ceremony.forge_request(msgspec.structs.replace(request, digests=digests)))
        assert len(set(challenges)) == 1 + (digests is other_digests)
    ceremony.members[1].respond(ceremony.ask(1))
    assert len(set(challenges)) == 2  # and everybody has the same


def with_another_secret(ceremony, number):
    """That member deals shares of another secret than its part was made of."""
    state = ceremony.members[number]._state
    secret = state.secret.copy()
    secret[:, 0] = (secret[:, 0] + 1) % np.array(MODULUS.primes)
    ceremony.members[number]._state = replace(state, secret=secret)


def test_a_dealer_whose_shares_do_not_match_its_part_is_caught_by_the_test_and_nobody_signs():
    """Coordinator guarantee 2, by the smallest lie there is: one coefficient of the secret is off by one."""
    ceremony = Ceremony().to(Phase.DEAL)
    with_another_secret(ceremony, 3)
    ceremony.to(Phase.TEST_KEY)
    with pytest.raises(RoundAborted, match="it does not open what is known, so a member lied about its dealing"):
        ceremony.step()
    assert ceremony.phase is Phase.ABORTED


def test_members_look_at_the_test_themselves():
    """Member guarantee 2: whatever the coordinator makes of it."""
    ceremony = Ceremony().to(Phase.DEAL)
    with_another_secret(ceremony, 3)
    ceremony.to(Phase.TEST_KEY)
    for number in range(5):
        ceremony.deliver(number)
    step = ceremony.coordinator._step
    forged = ceremony.forge_request(SignRequest(), tail=MODULUS.packed(step._total))
    for number in (0, 3):
        with pytest.raises(DisclosureRefused, match="a member lied about its dealing"):
            ceremony.members[number].respond(forged)
        with pytest.raises(LocalProtocolError, match="no key yet"):
            _ = ceremony.members[number].key


def test_answers_to_the_test_that_are_noise_make_no_key():
    ceremony = Ceremony().to(Phase.TEST_KEY)
    noise = MODULUS.packed(sharing.uniform_residues(MODULUS, 4096, OsEntropy()))
    ceremony.coordinator.receive(member(0), ceremony.forge_response(0, messages.TestAnswer(), tail=noise))
    with pytest.raises(RoundAborted, match="does not open what is known"):
        ceremony.step(silent={0})


# Forged and swapped keys


def test_an_advertisement_that_its_member_did_not_sign_counts_as_silence():
    """Coordinator guarantee 1."""
    ceremony = Ceremony()
    good = read(ceremony.answer(0), Advertise)
    other = read(ceremony.answer(1), Advertise)
    elsewhere = read(Ceremony().answer(0), Advertise)
    for bad in (
        msgspec.structs.replace(good, signature=bytes(64)),
        msgspec.structs.replace(good, channel_key=other.channel_key),
        other,
        elsewhere,
    ):
        with pytest.raises(RemoteProtocolError, match="signature"):
            ceremony.coordinator.receive(member(0), ceremony.forge_response(0, bad))
    ceremony.step(silent={0})
    assert works(finished(ceremony))


def test_a_signed_key_of_low_order_counts_as_silence():
    ceremony = Ceremony()
    key = bytes(32)
    signature = ceremony.identities[0].sign(Label.CKKS_ADVERTISEMENT, ceremony.params.digest, bytes(4), key)
    forged = ceremony.forge_response(0, Advertise(channel_key=key, signature=signature))
    with pytest.raises(RemoteProtocolError, match="low order"):
        ceremony.coordinator.receive(member(0), forged)


def swapped_key(request, _ceremony):
    return msgspec.structs.replace(request, keys=(*request.keys[:4], request.keys[3]))


def swapped_signature(request, _ceremony):
    return msgspec.structs.replace(request, signatures=(*request.signatures[:4], request.signatures[3]))


def own_key_swapped(request, _ceremony):
    return msgspec.structs.replace(request, keys=(request.keys[1], *request.keys[1:]))


def without_itself(request, _ceremony):
    return CommitRequest(members=request.members[1:], keys=request.keys[1:], signatures=request.signatures[1:])


def of_two(request, _ceremony):
    return CommitRequest(members=request.members[:2], keys=request.keys[:2], signatures=request.signatures[:2])


def with_a_stranger(request, _ceremony):
    return CommitRequest(
        members=(*request.members, 7),
        keys=(*request.keys, request.keys[0]),
        signatures=(*request.signatures, request.signatures[0]),
    )


def signed_for_another_ceremony(request, ceremony):
    nonce = bytes(16)
    params = CeremonyParams(epoch=ceremony.params.epoch, roster=ceremony.params.roster, nonce=nonce)
    signature = identity_of(4).sign(Label.CKKS_ADVERTISEMENT, params.digest, b"\0\0\0\4", request.keys[4])
    return msgspec.structs.replace(request, signatures=(*request.signatures[:4], signature))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (swapped_key, "signature"),
        (swapped_signature, "signature"),
        (signed_for_another_ceremony, "signature"),
        (own_key_swapped, "without this member's"),
        (without_itself, "without this member's"),
        (of_two, "of too few members"),
        (with_a_stranger, "not on the committee's roster"),
    ],
)
def test_members_commit_to_nothing_over_keys_that_are_not_the_members(forge, why):
    """Member guarantee 2, before anything of it is made. The session id fits what is shown: that alone would pass."""
    from privfl.ckks.agreement import ceremony_id

    ceremony = Ceremony().to(Phase.COMMIT)
    message = forge(asked(ceremony, 0), ceremony)
    session = ceremony_id(ceremony.params, dict(zip(message.members, message.keys, strict=True)))
    refuses(ceremony, 0, ceremony.forge_request(message, session=session), why)


def test_a_ceremony_over_fewer_keys_than_another_member_is_shown_does_not_come_together():
    """Member 0 is shown four keys, the others five: another id, another polynomial; it counts as silent."""
    from privfl.ckks.agreement import ceremony_id

    ceremony = Ceremony().to(Phase.COMMIT)
    request = asked(ceremony, 0)
    fewer = CommitRequest(members=request.members[:4], keys=request.keys[:4], signatures=request.signatures[:4])
    session = ceremony_id(ceremony.params, dict(zip(fewer.members, fewer.keys, strict=True)))
    response = ceremony.members[0].respond(ceremony.forge_request(fewer, session=session))
    with pytest.raises(DecodeError, match="another session"):
        ceremony.coordinator.receive(member(0), response)
    ceremony.step(silent={0})
    finished(ceremony, gone={0})
    assert ceremony.coordinator.result.statement.qualified == (1, 2, 3, 4)


# A coordinator that shows members different things


@pytest.mark.parametrize("what", ["own", "missing", "stranger", "few"])
def test_nothing_is_dealt_before_the_own_commitment_is_known_to_count(what):
    """Member guarantee 1."""
    ceremony = Ceremony()
    ceremony.step(silent={4} if what == "stranger" else ())
    ceremony.to(Phase.DEAL)
    request = asked(ceremony, 0)
    members, commitments = request.members, request.commitments
    if what == "own":
        commitments = (bytes(32), *commitments[1:])
    elif what == "missing":
        members, commitments = members[1:], commitments[1:]
    elif what == "stranger":
        members, commitments = (*members, 4), (*commitments, bytes(32))
    else:
        members, commitments = members[:2], commitments[:2]
    refuses(
        ceremony,
        0,
        ceremony.forge_request(DealRequest(members=members, commitments=commitments)),
        "commitments without this member's, of strangers, or of too few",
    )


def test_other_commitments_than_the_others_see_end_the_ceremony_of_who_sees_them():
    """Member guarantee 2: the part that is shown then is not the one that was committed to."""
    ceremony = Ceremony().to(Phase.DEAL)
    request = asked(ceremony, 0)
    other = msgspec.structs.replace(request, commitments=(*request.commitments[:4], bytes(32)))
    response = ceremony.members[0].respond(ceremony.forge_request(other))
    ceremony.coordinator.receive(member(0), response)
    ceremony.step(silent={0})
    refuses(ceremony, 0, ceremony.ask(0), "member 4 did not commit to")
    finished(ceremony, gone={0})
    assert ceremony.coordinator.result.statement.qualified == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("own part", "another part of the key than this member's own"),
        ("missing", "dealings without this member's"),
        ("few", "of too few"),
        ("stranger", "of strangers"),
    ],
)
def test_dealings_that_do_not_fit_what_the_member_knows_are_refused(which, why):
    ceremony = Ceremony()
    ceremony.step()
    ceremony.step(silent={4} if which == "stranger" else ())
    ceremony.to(Phase.CHECK_SHARES)
    request = asked(ceremony, 0)
    columns = [request.dealers, request.parts, request.digests, request.sealed]
    if which == "own part":
        columns[1] = (request.parts[1], *request.parts[1:])
    elif which == "missing":
        columns = [column[1:] for column in columns]
    elif which == "few":
        columns = [column[:2] for column in columns]
    else:
        columns = [(*column, extra) for column, extra in zip(columns, (4, request.parts[1], b"", b""), strict=True)]
    refuses(
        ceremony,
        0,
        ceremony.forge_request(CheckRequest(**dict(zip(request.__struct_fields__, columns, strict=True)))),
        why,
    )


def test_a_member_whose_own_words_were_changed_refuses():
    ceremony = Ceremony().to(Phase.TEST_KEY)
    request = asked(ceremony, 0)
    changed = (b"", *request.combined[0][1:])
    forged = msgspec.structs.replace(request, combined=(changed, *request.combined[1:]))
    refuses(ceremony, 0, ceremony.forge_request(forged), "combinations without this member's, or of strangers")


def test_combinations_of_strangers_are_refused():
    ceremony = Ceremony()
    ceremony.step(silent={4})
    ceremony.to(Phase.TEST_KEY)
    request = asked(ceremony, 0)
    forged = messages.TestRequest(members=(*request.members, 4), combined=(*request.combined, request.combined[1]))
    refuses(ceremony, 0, ceremony.forge_request(forged), "or of strangers")


@pytest.mark.parametrize("harm", ["length", "columns", "range", "few"])
def test_combinations_that_are_none_are_refused(harm):
    ceremony = Ceremony().to(Phase.TEST_KEY)
    request = asked(ceremony, 0)
    members, combined = request.members, list(request.combined)
    if harm == "length":
        combined[3] = (combined[3][0][:-1], *combined[3][1:])
    elif harm == "columns":
        combined[3] = combined[3][:-1]
    elif harm == "range":
        combined[3] = (b"\x7f" + combined[3][0][1:], *combined[3][1:])
    else:
        members, combined = members[:2], combined[:2]
    refuses(
        ceremony,
        0,
        ceremony.forge_request(messages.TestRequest(members=members, combined=tuple(combined))),
        "combination",
    )


@pytest.mark.parametrize("lie", ["a complaint", "another combination", "fewer members"])
def test_different_tables_shown_to_different_members_make_no_key(lie):
    """Member guarantee 2: member 0 finds other members qualified than the rest do, and answers for another key."""
    ceremony = Ceremony().to(Phase.TEST_KEY)
    request = asked(ceremony, 0)
    members, combined = request.members, list(request.combined)
    if lie == "a complaint":
        combined[3] = (*combined[3][:4], b"")
    elif lie == "another combination":
        last = combined[3][4]
        combined[3] = (*combined[3][:4], last[:-1] + bytes([last[-1] ^ 1]))
    else:
        members, combined = members[:4], combined[:4]
    response = ceremony.members[0].respond(
        ceremony.forge_request(messages.TestRequest(members=members, combined=tuple(combined)))
    )
    ceremony.coordinator.receive(member(0), response)
    with pytest.raises(RoundAborted, match="does not open what is known"):
        ceremony.step(silent={0})


def test_a_member_does_not_sign_another_key_than_it_tested():
    """It made the statement itself: what the coordinator says of the key is not read."""
    ceremony = Ceremony().to(Phase.SIGN_KEY)
    own = ceremony.members[0]._state.key.statement
    parts = {n: ceremony.members[n]._state.key for n in range(5)}
    assert {key.statement.digest for key in parts.values()} == {own.digest}
    other = replace(own, ceremony=bytes(32))
    forged = KeySignature(signature=ceremony.identities[0].sign(Label.CKKS_KEY, other.digest))
    with pytest.raises(RemoteProtocolError, match="signature"):
        ceremony.coordinator.receive(member(0), ceremony.forge_response(0, forged))
    good = read(ceremony.answer(1), KeySignature)
    with pytest.raises(RemoteProtocolError, match="signature"):
        ceremony.coordinator.receive(member(0), ceremony.forge_response(0, good))


@pytest.mark.parametrize("phase", PHASES)
def test_requests_of_another_ceremony_are_refused(phase):
    ceremony = Ceremony(**SMALL).to(phase)
    message = asked(ceremony, 0)
    tail = bytes(PART_BYTES) if phase is Phase.SIGN_KEY else b""
    forged = ceremony.forge_request(message, session=bytes(31) + b"\1", tail=tail)
    refuses(ceremony, 0, forged, "another ceremony")


# Every state, every message


@pytest.mark.parametrize("asks", PHASES)
@pytest.mark.parametrize("state", [*STATES, "SessionOver"])
def test_every_message_in_every_state(state, asks, small):
    """Legal where the table says so; a repeat of the last; and anything else ends it, also what was asked before."""
    ceremony = Ceremony(**SMALL)
    while type(ceremony.members[0]._state).__name__ != state:
        ceremony.step()
    session, own = ceremony.members[0], STATES.index(state) if state in STATES else len(STATES)
    place = PHASES.index(asks)
    if place == own:
        assert session.respond(ceremony.ask(0))
        assert type(session._state).__name__ == [*STATES, "SessionOver"][own + 1]
        return
    if place < own:
        request = ceremony.requests[asks, 0]
        if place == own - 1:
            assert session.respond(request) == ceremony.responses[asks, 0]
            return
    else:
        request = small.requests[asks, 0]
    with pytest.raises(DisclosureRefused, match="over" if own == len(STATES) else f"no place in state {state}"):
        session.respond(request)
    assert isinstance(session._state, SessionOver)
    if own < len(STATES):
        with pytest.raises(DisclosureRefused):
            session.respond(ceremony.ask(0))
        with pytest.raises(LocalProtocolError, match="no key yet"):
            _ = session.key
    else:
        assert session.key  # what it has signed stays


@pytest.mark.parametrize("phase", PHASES)
def test_undecodable_bytes_move_nobody_and_cost_nothing(phase):
    ceremony = Ceremony(**SMALL).to(phase)
    request, session = ceremony.ask(0), ceremony.members[0]
    for bad in (b"", request[:-1], request + b"\0", b"PVFX" + request[4:], request[:5] + b"\3" + request[6:], None):
        with pytest.raises(DecodeError):
            session.respond(bad)
    response = session.respond(request)
    assert session.respond(request) == response
    for bad in (
        response[:-1],
        response + b"\0",
        response[:7] + b"\1" + response[8:],
        response[:8] + b"\1" + response[9:],
    ):
        with pytest.raises(DecodeError):
            ceremony.coordinator.receive(member(0), bad)
    for _ in range(2):
        ceremony.coordinator.receive(member(0), response)
    ceremony.step(silent={0})
    finished(ceremony)
    assert works(ceremony)


@pytest.mark.parametrize(
    ("phase", "message", "why"),
    [
        (Phase.DEAL, lambda told: Dealing(sealed=told.sealed[:-1]), "of another number or size"),
        (
            Phase.DEAL,
            lambda told: Dealing(sealed=(*told.sealed[:-1], told.sealed[-1][:-1])),
            "of another number or size",
        ),
        (Phase.CHECK_SHARES, lambda told: Checks(combined=told.combined[:-1]), "another number of dealings"),
        (Phase.CHECK_SHARES, lambda told: Checks(combined=(*told.combined[:-1], b"\0")), "of another length"),
        (Phase.CHECK_SHARES, lambda told: Checks(combined=(*told.combined[:-1], b"\x7f" * 64)), "no residue"),
        (Phase.CHECK_SHARES, lambda told: Checks(combined=(*told.combined[:-1], b"\xff" * 64)), "no residue"),
        (Phase.SIGN_KEY, lambda told: KeySignature(signature=bytes(64)), "signature"),
    ],
)
def test_answers_that_are_not_as_agreed_count_as_silence(phase, message, why):
    """Coordinator guarantee 1: the others make a key."""
    kinds = {Phase.DEAL: Dealing, Phase.CHECK_SHARES: Checks, Phase.SIGN_KEY: KeySignature}
    ceremony = Ceremony(**SMALL).to(phase)
    raw = ceremony.answer(2)
    tail = raw[-PART_BYTES:] if phase is Phase.DEAL else b""
    told = read(raw, kinds[phase], tail_bytes=len(tail))
    with pytest.raises(RemoteProtocolError, match=why):
        ceremony.coordinator.receive(member(2), ceremony.forge_response(2, message(told), tail=tail))
    ceremony.step(silent={2})
    finished(ceremony, gone={2})
    key = ceremony.coordinator.result
    assert 2 not in (key.signatures if phase is Phase.SIGN_KEY else key.statement.qualified)


# What leaves a member


def test_no_secret_and_no_share_is_in_what_the_coordinator_receives_or_makes():
    """Member guarantee 3: searched for as arrays, as they travel, and in runs of 16 numbers."""
    ceremony, secrets = Ceremony(), []
    while ceremony.phase is not Phase.FINISHED:
        for party in sorted(ceremony.coordinator.waiting):
            ceremony.deliver(party.number)
            state = ceremony.members[party.number]._state
            if ceremony.phase is Phase.COMMIT:
                secrets += [state.secret]
            if ceremony.phase is Phase.DEAL:
                secrets += [state.kept, state.secrets.channel.private_bytes().reveal()]
            if ceremony.phase is Phase.CHECK_SHARES:
                secrets += list(state.shares.values())
            if ceremony.phase is Phase.TEST_KEY:
                secrets += [state.key.share, *(pair.reveal() for pair in state.key.pairs.values())]
        ceremony.coordinator.advance()
    assert len(secrets) == 5 * 3 + 5 * 5 + 5 * 5
    view = b"".join([*ceremony.responses.values(), *contents(reachable(ceremony.coordinator))])
    for secret in secrets:
        if isinstance(secret, bytes):
            assert secret not in view
            continue
        assert MODULUS.packed(np.ascontiguousarray(secret))[:80] not in view
        for row in secret:
            for start in (0, 2000, len(row) - 16):
                assert row[start : start + 16].tobytes() not in view
    # What is there is found: a part, as it travels, and the joint key.
    own = ceremony.coordinator.result.statement.own
    assert own in view


def test_combinations_are_blinded():
    """Member guarantee 3: each differs from the bare combination by its blind, which is used once."""
    ceremony = Ceremony().to(Phase.CHECK_SHARES)
    share = ceremony.members[0]._state.kept
    challenge = bytes(32)
    blinded = sharing.combine(MODULUS, share, challenge=challenge)
    bare = sharing.combine(MODULUS, np.concatenate([share[:, :-4], np.zeros((2, 4), np.int64)], 1), challenge=challenge)
    difference = bare.copy()
    MODULUS.negate(difference)
    MODULUS.add(difference, blinded)
    assert np.array_equal(difference, share[:, -4:])
    assert (difference > 2**20).all()  # by chance smaller once in 2^17
    assert not np.array_equal(sharing.combine(MODULUS, share, challenge=bytes(31) + b"\1"), blinded)


def test_channel_keys_differ_by_pair_direction_and_ceremony():
    """The nonce is fixed: no key seals twice. Both ends have the same."""
    keys = []
    for _ in range(2):
        ceremony = Ceremony(**SMALL).to(Phase.DEAL)
        members = {number: session._state.secrets for number, session in ceremony.members.items()}
        for dealer, holder in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)):
            both = {
                ceremony.members[me]._channel_key(members[me], peer, dealer=dealer, holder=holder).reveal()
                for me, peer in ((dealer, holder), (holder, dealer))
            }
            assert len(both) == 1
            keys += both
    assert len(set(keys)) == 12


def test_no_two_sealed_shares_are_alike():
    seen = set()
    for _ in range(2):
        ceremony = Ceremony().to(Phase.DEAL)
        for number in range(5):
            seen |= set(read(ceremony.answer(number), Dealing, tail_bytes=PART_BYTES).sealed)
    assert len(seen) == 2 * 5 * 4


def test_a_member_prints_no_secret_and_is_neither_pickled_nor_copied(done):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(done.members[0])
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(done.members[0].key)
    shown = repr(done.members[0].key)
    assert shown.startswith("MemberKey(member 0 of key ")
    assert shown.endswith("<secret>)")


def test_a_member_needs_the_identity_that_the_roster_lists():
    params = Ceremony().params
    with pytest.raises(ConfigurationError, match="the roster lists another identity for member 0"):
        CeremonyMember(params, 0, identity=identity_of(1))
    with pytest.raises(ConfigurationError, match="another identity for member 9"):
        CeremonyMember(params, 9, identity=identity_of(9))


def test_what_a_ceremony_agrees_on_is_checked():
    params = Ceremony().params
    with pytest.raises(ConfigurationError, match=r"exactly the members 0 to 4 work, because committee\.members is 5"):
        replace(params, roster=roster_of({n: identity_of(n) for n in range(4)}))
    with pytest.raises(ConfigurationError, match="exactly the members 0 to 4"):
        replace(params, roster=roster_of({n: identity_of(n) for n in range(1, 6)}))
    with pytest.raises(ConfigurationError, match="nonce is 15 bytes: exactly 16 bytes work"):
        replace(params, nonce=bytes(15))
    assert len({params.digest, replace(params, nonce=bytes(16)).digest, Ceremony(clients=99).params.digest}) == 3


def test_simulated_ceremonies_without_enough_members_abort():
    with pytest.raises(RoundAborted, match=r"committee\.threshold"):
        hold_ceremony(epoch(), absent={0, 1, 2})
    held = hold_ceremony(epoch(), absent={1})
    assert sorted(held.members) == [0, 2, 3, 4]
    assert held.remaining() == 10


def test_nothing_but_our_own_errors_comes_of_any_bytes_in_a_ceremony():
    """Random and mutated messages to a member and the coordinator in every phase, 60 each."""
    chance = np.random.default_rng(1)
    for phase in PHASES:
        ceremony = Ceremony(members=3, threshold=2).to(phase)
        session, request, step = ceremony.members[0], ceremony.ask(0), ceremony.coordinator._step
        state, last = session._state, session._last
        response = session.respond(request)
        for turn in range(60):
            session._state, session._last = state, last
            with contextlib.suppress(PrivflError):
                session.respond(harmed(chance, request, turn))
            with contextlib.suppress(PrivflError):
                ceremony.coordinator.receive(member(0), harmed(chance, response, turn))
            step.waiting.add(0)
        assert ceremony.phase is phase


def harmed(chance, frame, turn):
    """Some bits turned, more often than not in the header or the struct; or cut off and continued otherwise."""
    raw = bytearray(frame)
    if turn % 5 == 0:
        return bytes(raw[: chance.integers(len(raw))]) + chance.bytes(8)
    for _ in range(1 + turn % 3):
        raw[chance.integers(min(len(raw), 400 if turn % 2 else len(raw)))] ^= 1 << chance.integers(8)
    return bytes(raw)


# What is looked at beforehand, and what is never shown


def test_a_part_with_wide_errors_does_not_pass_the_test(monkeypatch):
    """Sums under such a key would be wrong within their range, and seem exact."""
    ceremony = Ceremony().to(Phase.COMMIT)
    flood = planner.flood_of(ceremony.params.epoch).std
    drawn = ceremonies.sampler

    class Wide:
        def __init__(self, inner):
            self.inner = inner

        def draw(self, count):
            return self.inner.draw(count).astype(np.int64) * int(flood)

    for number in range(4):
        ceremony.deliver(number)
    with monkeypatch.context() as patch:
        patch.setattr(
            ceremonies,
            "sampler",
            lambda kind, *rest: Wide(drawn(kind, *rest)) if kind is ceremonies.ERRORS else drawn(kind, *rest),
        )
        ceremony.deliver(4)
    ceremony.coordinator.advance()
    with pytest.raises(RoundAborted, match="does not open what is known"):
        ceremony.to(Phase.FINISHED)


@pytest.mark.parametrize("who", ["member", "coordinator"])
def test_nobody_begins_a_ceremony_without_seal(monkeypatch, who):
    def missing(_modulus):
        raise MissingExtra("ckks", "tenseal")

    module = ceremonies if who == "member" else coordinators
    monkeypatch.setattr(module, "seal_ring", missing)
    with pytest.raises(MissingExtra, match="ckks"):
        Ceremony()


def test_an_epoch_whose_floods_leave_no_room_is_refused_before_a_ceremony():
    with pytest.raises(ConfigurationError, match="leave no room for a sum"):
        Ceremony(modulus_bits=33, statistical_bits=100)


def test_states_of_a_ceremony_show_no_secret_when_they_are_printed():
    ceremony = Ceremony()
    with np.printoptions(threshold=sys.maxsize):
        while ceremony.phase is not Phase.SIGN_KEY:
            ceremony.step()
            for member in ceremony.members.values():
                shown = repr(member._state)
                assert len(shown) < 4000
                assert "array" not in shown
    assert len(repr(ceremony.members[0]._state)) > 20
