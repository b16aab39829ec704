"""A committee's key as bytes, and a member's: whoever reads one has checked it, and secrets are sealed."""

import hashlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from harness import Ceremony, identity_of

from privfl import ConfigurationError, DecodeError, Phase
from privfl.ckks.agreement import statement_of
from privfl.ckks.key import CommitteeKey, MemberKey
from privfl.ckks.keytest import KeyTest
from privfl.ckks.planner import modulus_of
from privfl.primitives.labels import Label
from privfl.simulate import roster_of

SEALING_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def done():
    """A ceremony that is over, everybody having followed it: not to be changed."""
    ceremony = Ceremony()
    while ceremony.phase is not Phase.FINISHED:
        ceremony.step()
    return ceremony


# The key as bytes


def test_a_key_comes_back_as_it_was(done):
    key = done.coordinator.result
    again = CommitteeKey.from_bytes(key.to_bytes(), done.params.roster)
    assert again == key
    assert again.digest == key.digest
    assert again.to_bytes() == key.to_bytes()


def test_every_field_of_the_statement_is_in_its_digest(done):
    statement = done.coordinator.result.statement
    others = [
        replace(statement, epoch=replace(statement.epoch, clients=99)),
        replace(statement, roster_digest=bytes(32)),
        replace(statement, ceremony=bytes(32)),
        replace(statement, qualified=(0, 1, 2, 3)),
        replace(statement, parts=(*statement.parts[:4], bytes(32))),
        replace(statement, own=bytes(len(statement.own))),
    ]
    assert len({statement.digest, *(other.digest for other in others)}) == 7


def test_altered_key_bytes_are_refused(done):
    """A bit of every byte at the beginning, of some in the joint key's, and of all of the signatures'."""
    raw = done.coordinator.result.to_bytes()
    for place in (*range(400), *range(400, len(raw), 997), *range(len(raw) - 5 * 66, len(raw))):
        altered = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises((DecodeError, ConfigurationError)):
            CommitteeKey.from_bytes(altered, done.params.roster)
    for altered in (
        b"",
        raw[:-1],
        raw + b"\0",
        raw[: len(raw) // 2],
        b"\xc0",
        msgspec.msgpack.encode(["privfl"]),
        None,
    ):
        with pytest.raises(DecodeError):
            CommitteeKey.from_bytes(altered, done.params.roster)


def rewritten(key, **changes):
    """The bytes of a key with other fields: format, statement, signers, signatures."""
    fields = dict(
        zip(("format", "statement", "signers", "signatures"), msgspec.msgpack.decode(key.to_bytes()), strict=True)
    )
    return msgspec.msgpack.encode(list((fields | changes).values()))


def test_keys_with_too_few_signatures_or_anothers_are_refused(done):
    key, roster = done.coordinator.result, done.params.roster
    signatures = [key.signatures[n] for n in range(5)]
    with pytest.raises(ConfigurationError, match="has 2 signatures: 3 work, as many as open a sum"):
        CommitteeKey.from_bytes(rewritten(key, signers=[0, 1], signatures=signatures[:2]), roster)
    assert CommitteeKey.from_bytes(
        rewritten(key, signers=[0, 1, 3], signatures=[signatures[n] for n in (0, 1, 3)]), roster
    )
    with pytest.raises(ConfigurationError, match="member 2's signature under the committee's key does not hold"):
        CommitteeKey.from_bytes(rewritten(key, signers=[0, 1, 2], signatures=[*signatures[:2], signatures[3]]), roster)
    with pytest.raises(ConfigurationError, match="signed by 7, who does not hold it"):
        CommitteeKey.from_bytes(rewritten(key, signers=[0, 1, 2, 7], signatures=signatures[:4]), roster)


def test_keys_that_are_not_canonical_are_refused(done):
    key, roster = done.coordinator.result, done.params.roster
    signatures = [key.signatures[n] for n in range(5)]
    order = [1, 0, 2, 3, 4]
    for raw in (
        rewritten(key, format="privfl-committee-key-2"),
        rewritten(key, signers=order, signatures=[signatures[n] for n in order]),
        rewritten(key, signers=[0, 0, 1, 2, 3, 4], signatures=[signatures[0], *signatures]),
        rewritten(key, signers=[0, 1, 2], signatures=signatures),
    ):
        with pytest.raises(DecodeError):
            CommitteeKey.from_bytes(raw, roster)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, lambda numbers: numbers[:-1]),
        (0, lambda numbers: [*numbers, 1]),
        (0, lambda numbers: [4096, 44, *numbers[2:]]),
        (0, lambda numbers: [2048, *numbers[1:]]),
        (0, lambda numbers: [*numbers[:3], 2, *numbers[4:]]),
        (1, lambda digest: digest[:-1]),
        (2, lambda digest: digest + b"\0"),
        (3, lambda members: members[:-1]),
        (3, lambda members: [*members[:-1], 5]),
        (3, lambda members: members[::-1]),
        (3, lambda members: [0, *members[:-1]]),
        (4, lambda parts: parts[:-1]),
        (4, lambda parts: [*parts[:-1], b""]),
        (5, lambda own: own[:-8]),
        (5, lambda own: b"\xff" * len(own)),
    ],
)
def test_statements_that_cannot_be_are_not_decoded(place, value, done):
    key = done.coordinator.result
    statement = list(msgspec.msgpack.decode(key.to_bytes())[1])
    statement[place] = value(statement[place])
    with pytest.raises(DecodeError, match="not a committee's key"):
        CommitteeKey.from_bytes(rewritten(key, statement=statement), done.params.roster)


def test_a_key_is_only_read_with_the_roster_of_those_who_signed_it(done):
    raw, statement = done.coordinator.result.to_bytes(), done.coordinator.result.statement
    other = roster_of({number: identity_of(number + 50) for number in range(5)})
    with pytest.raises(ConfigurationError, match="another roster's members than the one given"):
        CommitteeKey.from_bytes(raw, other)
    # Whoever brings a key of other members brings their signatures as well: it is the roster that is trusted.
    forged = replace(statement, roster_digest=other.digest)
    signatures = {number: identity_of(number + 50).sign(Label.CKKS_KEY, forged.digest) for number in range(5)}
    assert CommitteeKey(statement=forged, roster=other, signatures=signatures)
    with pytest.raises(ConfigurationError):
        CommitteeKey(statement=forged, roster=done.params.roster, signatures=signatures)


def test_the_joint_key_is_the_sum_of_the_parts(done):
    parts = {n: done.responses[Phase.DEAL, n][-len(done.coordinator.result.statement.own) :] for n in range(5)}
    statement = done.coordinator.result.statement
    assert statement_of(done.params, statement.ceremony, parts).digest == statement.digest
    assert statement.parts == tuple(hashlib.sha256(parts[n]).digest() for n in range(5))


def test_the_test_of_a_key_passes_for_its_own_answers_only(done):
    statement = done.coordinator.result.statement
    test = KeyTest(statement)
    answers = modulus_of(done.params.epoch).unpack(
        done.requests[Phase.SIGN_KEY, 0][-len(done.coordinator.result.statement.own) :], 4096
    )
    assert test.passes(answers)
    assert not test.passes(np.zeros_like(answers))
    assert not KeyTest(replace(statement, ceremony=bytes(32))).passes(answers)


# A member's key as bytes


def test_a_members_key_comes_back_as_it_was_and_no_secret_stands_in_its_file(done, tmp_path):
    key, path = done.members[0].key, tmp_path / "member"
    key.save(path, SEALING_KEY)
    assert path.stat().st_mode & 0o777 == 0o600
    again = MemberKey.load(path, SEALING_KEY)
    assert (again.statement, again.number, again.pairs) == (key.statement, key.number, key.pairs)
    assert np.array_equal(again.share, key.share)
    raw = path.read_bytes()
    assert key.share[0, :4].tobytes() not in raw
    assert all(pair.reveal() not in raw for pair in key.pairs.values())
    assert key.to_bytes(SEALING_KEY) != key.to_bytes(SEALING_KEY)  # a sealing of its own each time


def test_a_members_key_file_is_never_overwritten(done, tmp_path):
    path = tmp_path / "member"
    done.members[0].key.save(path, SEALING_KEY)
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        done.members[1].key.save(path, SEALING_KEY)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    with pytest.raises(ConfigurationError, match="cannot be written"):
        done.members[1].key.save(tmp_path / "none" / "member", SEALING_KEY)


def test_a_damaged_file_and_another_sealing_key_are_said_so(done, tmp_path):
    path = tmp_path / "member"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        MemberKey.load(path, SEALING_KEY)
    done.members[0].key.save(path, SEALING_KEY)
    raw = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is damaged, or sealed under another key"):
        MemberKey.load(path, bytes(32))
    for harmed in (
        raw[:-1],
        raw[:100],
        b"",
        b"PVFZ" + raw[4:],
        raw[:4] + b"\2" + raw[5:],
        raw[:99] + bytes([raw[99] ^ 1]) + raw[100:],
    ):
        path.write_bytes(harmed)
        with pytest.raises(ConfigurationError, match="is damaged"):
            MemberKey.load(path, SEALING_KEY)
    for key in (b"", bytes(31), None):
        with pytest.raises(ConfigurationError, match="32 secret bytes"):
            done.members[0].key.to_bytes(key)
