"""Evidence of a run: what is written down, what is read back, and what is made of damage and of lies."""

import base64
import contextlib
import hashlib
import json
from dataclasses import fields, replace

import pytest
from harness import make_params
from hypothesis import given
from hypothesis import strategies as st

from privfl.dp.budget import Budget
from privfl.dp.events import Gaussian, Relation, Repeated
from privfl.dp.ledger import Ledger, Mode, Opening, Unit, read_ledger
from privfl.errors import ConfigurationError, LedgerError
from privfl.evidence import VERSION, EvidenceLog, MessageRecord, SessionRecord, _EvidenceChain, read_evidence
from privfl.journal.chain import Head
from privfl.journal.lines import NO_LINE, signed_line
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.testing import UnsafeFixedEntropy
from privfl.wire import PartyId, Role

ENTROPY = UnsafeFixedEntropy(b"evidence testing")
OWNER, STRANGER = Identity.generate(ENTROPY), Identity.generate(ENTROPY)
FACTS = {"suite": "masking", "rounds": 2, "ledger": None}
PARAMS = make_params(3, 8, "masking")


def message(client, phase="MaskedInput", role=Role.CLIENT):
    return MessageRecord.of(PartyId(role, client), phase, f"{role} {client} says {phase}".encode())


def session(number, **changes):
    """The record of a session of three clients; of a round unless it is said to be a probe."""
    usual = {
        "round": number,
        "suite": "masking",
        "params": PARAMS,
        "cohort_size": 3,
        "contributors": 2,
        "released": True,
        "messages": (message(10), message(11)),
    }
    return SessionRecord(**usual | changes)


PROBE = session(0, messages=(), probe={"number": 1, "seed": "ab", "clip": 0.5, "file": None})
NOT_HELD = session(2, params=None, contributors=0, released=False, messages=())


def written(path, *records, facts=FACTS, training=None, closed=False, identity=OWNER):
    """Evidence on disk; records that are none are trainings."""
    log = EvidenceLog.create(path, facts, identity)
    for record in records:
        log.append(record)
    if training is not None:
        log.append_training(training)
    log.close({"rounds": 2}) if closed else log.unlock()
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evidence.jsonl"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Of closed evidence: an opening, a probe, two rounds, a training, and the end."""
    path = tmp_path_factory.mktemp("evidence") / "evidence.jsonl"
    written(path, PROBE, session(1), NOT_HELD, training={"noise": [1.5, 2]}, closed=True)
    return path.read_bytes().splitlines(keepends=True)


def refused(content, path, *, match):
    """Neither a reader nor the owner takes it, and nobody repairs it."""
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=match):
        read_evidence(path)
    with pytest.raises(LedgerError, match=match):
        EvidenceLog.resume(path, OWNER)
    assert path.read_bytes() == content


def resigned(lines, identity=OWNER, *, change=None, label=Label.EVIDENCE):
    """The lines, changed and then signed and chained anew."""
    previous, again = NO_LINE, []
    for sequence, line in enumerate(lines):
        value = json.loads(line)
        del value["signature"]
        value["previous"] = previous
        if change is not None:
            change(sequence, value)
        again.append(signed_line(value, identity, label))
        previous = hashlib.sha256(again[-1]).hexdigest()
    return again


# What is written


def test_what_was_written_is_read_back(path):
    records = (PROBE, session(1), NOT_HELD, session(3, messages=(message(0, "Open", Role.COMMITTEE),)))
    log = EvidenceLog.create(path, FACTS, OWNER)
    for record in records[:3]:
        log.append(record)
    log.append_training({"noise": [1.5, 2]})
    log.append(records[3])
    log.unlock()
    contents = read_evidence(path, OWNER.public)
    assert EvidenceLog.resume(path, OWNER).found == contents
    assert contents.sessions == records
    assert contents.rounds == (records[1], records[2], records[3])
    assert contents.probes == (PROBE,)
    assert contents.places == (2, 3, 4, 6)
    ((facts, before),) = contents.trainings
    assert facts == {"noise": [1.5, 2]}
    assert before == hashlib.sha256(path.read_bytes().splitlines(keepends=True)[3]).hexdigest()
    assert (contents.facts, contents.signer, contents.closed) == (FACTS, OWNER.public, None)
    last = path.read_bytes().splitlines(keepends=True)[-1]
    assert (contents.head, contents.lines) == (Head(5, hashlib.sha256(last).hexdigest()), 6)


def test_lines_are_as_documented(path):
    first, second = (json.loads(line) for line in written(path, session(1)).read_bytes().splitlines())
    assert (first["kind"], second["kind"]) == ("open", "session")
    assert len(bytes.fromhex(first["body"].pop("evidence"))) == 16
    assert first["body"] == {"version": VERSION, "facts": FACTS, "signer": OWNER.public.hex()}
    said = b"1 10 says MaskedInput"
    assert second["body"].pop("messages")[0] == {
        "role": "client",
        "client": 10,
        "phase": "MaskedInput",
        "size_bytes": len(said),
        "sha256": hashlib.sha256(said).hexdigest(),
    }
    assert second["body"] == {
        "round": 1,
        "suite": "masking",
        "params": base64.b64encode(PARAMS.to_bytes()).decode(),
        "params_digest": PARAMS.digest.hex(),
        "cohort_size": 3,
        "contributors": 2,
        "released": True,
        "probe": None,
        "evaluation": False,
    }


def test_no_message_is_in_it(path):
    """Guarantee of the module: sizes and digests, never what was said."""
    assert b"says" not in written(path, session(1)).read_bytes()


def test_two_files_with_the_same_beginning_differ(tmp_path):
    first, second = (read_evidence(written(tmp_path / name)) for name in ("a", "b"))
    assert first.facts == second.facts
    assert first.identifier != second.identifier


@pytest.mark.parametrize("suite_name", ["plain", "masking", "kahe", "ckks"])
def test_parameters_of_every_suite_come_back_as_they_were(suite_name, path):
    params = make_params(5, 16, suite_name)
    (again,) = read_evidence(written(path, session(1, suite=suite_name, params=params))).sessions
    assert again.params == params
    assert again.params_digest == params.digest.hex()


@given(
    number=st.integers(0, 10**9),
    held=st.booleans(),
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    released=st.booleans(),
    messages=st.lists(
        st.builds(
            MessageRecord,
            role=st.sampled_from(["client", "committee"]),
            client=st.integers(0, 2**32 - 1),
            phase=st.text(max_size=12),
            size_bytes=st.integers(0, 2**40),
            sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
        ),
        max_size=4,
    ),
    probe=st.none() | st.dictionaries(st.text(max_size=6), st.integers() | st.text(max_size=6), max_size=3),
)
def test_every_record_goes_through_json_and_back(number, held, counts, released, messages, probe):
    record = SessionRecord(
        round=number,
        suite="masking",
        params=PARAMS if held else None,
        cohort_size=counts[0],
        contributors=counts[1],
        released=released,
        messages=tuple(messages),
        probe=probe,
    )
    assert SessionRecord.from_body(json.loads(json.dumps(record.to_body())), "here") == record


# Damage


@pytest.mark.parametrize("flip", [lambda place: 1 << place % 8, lambda _place: 0x20], ids=["each bit in turn", "case"])
def test_a_flipped_byte_is_refused_wherever_it_is_and_the_line_is_named(lines, flip):
    """Guarantee 1 of `Chain`, which does not move when it refuses."""
    chain = _EvidenceChain()
    for number, line in enumerate(lines, start=1):
        for place in range(len(line)):
            damaged = bytearray(line)
            damaged[place] ^= flip(place)
            with pytest.raises(LedgerError, match=f"line {number}: "):
                chain.take(bytes(damaged))
        chain.take(line)
    assert chain.contents().closed == {"rounds": 2}


def test_a_flipped_byte_on_disk_is_refused_by_readers_and_by_the_owner(lines, path):
    content = b"".join(lines)
    ends = [len(b"".join(lines[:number])) for number in range(1, len(lines) + 1)]
    # The newlines as well: without one, two lines are read as one, and the last line is torn.
    for position in [*range(0, len(content), 97), *(end - 1 for end in ends[:-1])]:
        damaged = bytearray(content)
        damaged[position] ^= 0x04
        number = 1 + sum(end <= position for end in ends)
        refused(bytes(damaged), path, match=f"evidence.jsonl: line {number}: ")


def test_lines_that_are_missing_in_front_or_in_the_middle_are_refused(lines, path):
    for missing in range(len(lines) - 1):
        refused(b"".join(lines[:missing] + lines[missing + 1 :]), path, match=f"line {missing + 1}: ")


def test_repeated_and_swapped_lines_are_refused(lines, path):
    for place in range(len(lines)):
        refused(b"".join([*lines[: place + 1], *lines[place:]]), path, match=f"line {place + 2}: ")
    for place in range(len(lines) - 1):
        swapped = [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]
        refused(b"".join(swapped), path, match=f"line {place + 1}: ")


def test_a_missing_tail_shows_in_evidence_that_was_closed(lines, path):
    """Guarantee 2 of `Chain`: the closing record is gone, whatever else is."""
    path.write_bytes(b"".join(lines))
    assert read_evidence(path).closed == {"rounds": 2}
    for kept in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        assert read_evidence(path).closed is None


def test_an_empty_file_and_none_at_all_are_refused(path):
    with pytest.raises(LedgerError, match="cannot be read"):
        read_evidence(path)
    refused(b"", path, match="no whole line, so nothing was ever recorded")


def test_a_session_of_another_runs_evidence_is_refused(lines, tmp_path):
    """Also where the same key signed both, and where it stands at the same place."""
    other = written(tmp_path / "other", PROBE, session(1)).read_bytes().splitlines(keepends=True)
    assert json.loads(other[2])["body"] == json.loads(lines[2])["body"]
    match = "line 3: it does not follow the line before it"
    refused(b"".join([*lines[:2], other[2]]), tmp_path / "spliced", match=match)


def test_a_line_that_another_key_signed_is_refused_though_its_hashes_fit(lines, path):
    value = {**json.loads(lines[2]), "previous": hashlib.sha256(lines[1]).hexdigest()}
    del value["signature"]
    forged = signed_line(value, STRANGER, Label.EVIDENCE)
    refused(b"".join([*lines[:2], forged]), path, match="line 3: its signature is not by")


def test_evidence_that_a_stranger_wrote_from_the_first_line_on_is_refused_by_who_knows_the_owner(path):
    written(path, session(1), identity=STRANGER)
    assert read_evidence(path).signer == STRANGER.public  # consistent with the key that it names
    with pytest.raises(LedgerError, match="line 1: opened by"):
        read_evidence(path, OWNER.public)
    with pytest.raises(LedgerError, match="only the key that opened the evidence can go on with it"):
        EvidenceLog.resume(path, OWNER)


# A ledger is no evidence


def a_ledger(path):
    budget = Budget(delta=1e-5, relation=Relation.ZERO_OUT)
    with Ledger.create(path, Opening(unit=Unit.CLIENT, mode=Mode.CLIENT_CENTRAL, budget=budget), OWNER) as ledger:
        ledger.charge(round=1, events=[Repeated(event=Gaussian(noise_multiplier=1.1))])
    return path


def test_a_signature_in_a_ledger_does_not_hold_in_evidence_nor_the_other_way_round(lines, path):
    """Domains are apart: the same key, the same words, another label."""
    match = "line 1: its signature is not by"
    refused(b"".join(resigned(lines, label=Label.LEDGER)), path, match=match)
    ledger = a_ledger(path.with_name("ledger.jsonl")).read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(resigned(ledger, label=Label.LEDGER)))
    assert len(read_ledger(path).charges) == 1  # the same lines, signed as they should be
    path.write_bytes(b"".join(resigned(ledger)))
    with pytest.raises(LedgerError, match=match):
        read_ledger(path)


def test_a_ledger_is_not_read_as_evidence_nor_evidence_as_a_ledger(lines, path):
    refused(a_ledger(path.with_name("ledger.jsonl")).read_bytes(), path, match="line 1: its signature is not by")
    path.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match="line 1: its signature is not by"):
        read_ledger(path)


@pytest.mark.parametrize("kind", ["charge", "release"])
def test_evidence_knows_no_charges(lines, path, kind):
    def change(sequence, value):
        if sequence == 2:
            value["kind"] = kind

    refused(b"".join(resigned(lines, change=change)), path, match=f"line 3: '{kind}' is no kind of line")


# Lines that their owner signed, and that mean nothing


def say(sequence, key, value):
    def change(place, line):
        if place == sequence:
            target = line["body"] if key in line["body"] or key not in line else line
            target[key] = value

    return change


def encoded(raw):
    return base64.b64encode(raw).decode()


OTHER = make_params(4, 8, "masking")


@pytest.mark.parametrize(
    ("sequence", "key", "value", "match"),
    [
        (0, "version", 2, "version 2 of the format; this privfl reads 1"),
        (0, "version", True, "version True of the format"),
        (0, "facts", [], "facts is a list"),
        (0, "facts", None, "facts is a NoneType"),
        (0, "evidence", "ab", "32 hexadecimal digits are due"),
        (0, "signer", "01" + "00" * 31, "small order"),
        (0, "surplus", 1, "'surplus'"),
        (2, "surplus", 1, "'surplus'"),
        (2, "round", -1, "round -1"),
        (2, "round", True, "round True"),
        (2, "round", 1.0, "round 1.0"),
        (2, "round", "1", "round '1'"),
        (2, "cohort_size", -1, "cohort_size -1"),
        (2, "contributors", -1, "contributors -1"),
        (2, "contributors", None, "contributors None"),
        (2, "suite", 3, "suite 3"),
        (2, "released", 1, "released 1"),
        (2, "released", None, "released None"),
        (2, "evaluation", 0, "evaluation 0"),
        (2, "evaluation", None, "evaluation None"),
        (2, "messages", {}, "messages that are no list"),
        (2, "messages", None, "messages that are no list"),
        (2, "params_digest", "00" * 32, "the session's parameters are not those of their digest"),
        pytest.param(2, "params_digest", PARAMS.digest.hex().upper(), "not those of their digest", id="2-capitals"),
        (2, "params_digest", "", "not those of their digest"),
        (2, "params_digest", None, "not those of their digest"),
        (2, "params", "", "not those of their digest"),
        (2, "params", encoded(OTHER.to_bytes()), "not those of their digest"),
        (2, "params", encoded(PARAMS.to_bytes() + b"\0"), "no session parameters"),
        (2, "params", encoded(PARAMS.to_bytes()[:-1]), "no session parameters"),
        (2, "params", encoded(PARAMS.to_bytes()) + "\n", "no session parameters"),
        (2, "params", "=" + encoded(PARAMS.to_bytes()), "no session parameters"),
        (2, "params", "Γ", "no session parameters"),
        (2, "params", None, "no session parameters"),
        (2, "params", 7, "no session parameters"),
        (2, "params", ["AA=="], "no session parameters"),
        (2, "probe", 3, "facts is a int"),
        (2, "probe", [], "facts is a list"),
        pytest.param(3, "params_digest", PARAMS.digest.hex(), "not those of their digest", id="3-session not held"),
        (4, "facts", 3, "facts is a int"),
        (4, "surplus", 1, "'surplus'"),
        (5, "facts", [], "facts is a list"),
    ],
)
def test_a_line_that_means_nothing_is_refused_though_its_owner_signed_it(lines, path, sequence, key, value, match):
    content = b"".join(resigned(lines, change=say(sequence, key, value)))
    refused(content, path, match=f"line {sequence + 1}: .*{match}")


def test_parameters_have_one_encoding(lines, path):
    """Two texts in base64 may say the same bytes: the last character has bits to spare."""
    params = next(params for params in (PARAMS, OTHER) if len(params.to_bytes()) % 3)
    text = encoded(params.to_bytes())
    mark = text.index("=") - 1
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:mark] + alphabet[alphabet.index(text[mark]) + 1] + text[mark + 1 :]
    assert base64.b64decode(other, validate=True) == params.to_bytes()

    def change(sequence, value):
        if sequence == 2:
            value["body"] |= {"params": other, "params_digest": params.digest.hex()}

    refused(b"".join(resigned(lines, change=change)), path, match="line 3: session parameters that are not canonically")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("role", "server", "by a 'server'"),
        ("role", "CLIENT", "by a 'CLIENT'"),
        ("role", "", "by a ''"),
        ("role", 1, "by a 1"),
        ("role", None, "by a None"),
        ("role", [], "by a \\[\\]"),
        ("role", {}, "by a {}"),
        ("phase", 3, "in phase 3"),
        ("phase", None, "in phase None"),
        ("client", -1, "client -1"),
        ("client", True, "client True"),
        ("client", 0.5, "client 0.5"),
        ("size_bytes", -1, "size_bytes -1"),
        ("size_bytes", "12", "size_bytes '12'"),
        ("sha256", "ab", "64 hexadecimal digits are due"),
        ("sha256", "AB" * 32, "64 hexadecimal digits are due"),
        ("sha256", None, "64 hexadecimal digits are due"),
        ("surplus", 1, "'surplus'"),
    ],
)
def test_a_message_that_means_nothing_is_refused_though_its_owner_signed_it(lines, path, key, value, match):
    def change(sequence, line):
        if sequence == 2:
            line["body"]["messages"][1][key] = value

    refused(b"".join(resigned(lines, change=change)), path, match=f"line 3: .*{match}")


@pytest.mark.parametrize("missing", [field.name for field in fields(MessageRecord)])
def test_a_message_that_lacks_something_is_refused(lines, path, missing):
    def change(sequence, line):
        if sequence == 2:
            del line["body"]["messages"][0][missing]

    refused(b"".join(resigned(lines, change=change)), path, match="line 3: .* where .* are due")


@pytest.mark.parametrize(
    "missing", sorted({"params_digest", *(f.name for f in fields(SessionRecord))} - {"evaluation"})
)
def test_a_session_that_lacks_something_is_refused(lines, path, missing):
    def change(sequence, line):
        if sequence == 2:
            del line["body"][missing]

    refused(b"".join(resigned(lines, change=change)), path, match="line 3: .* where .* are due")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    key=st.sampled_from(sorted(session(1).to_body())),
    of_message=st.none() | st.sampled_from([field.name for field in fields(MessageRecord)]),
    value=JSON,
)
def test_whatever_the_body_reading_it_raises_a_ledger_error_or_nothing(key, of_message, value):
    """Guarantee 3 of `Chain`, which makes a `LedgerError` of what `facts_of` says about bad facts."""
    body = session(1).to_body()
    if of_message is not None:
        body["messages"][0][of_message] = value
    else:
        body[key] = value
    with contextlib.suppress(LedgerError, ConfigurationError):
        SessionRecord.from_body(body, "here")


@given(content=st.binary(max_size=300), keep=st.integers(0, 6), whole=st.booleans())
def test_whatever_the_bytes_reading_raises_a_ledger_error_or_nothing(lines, tmp_path_factory, content, keep, whole):
    """Guarantee 3 of `Chain`."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"".join(lines[:keep]) + content + (b"\n" if whole else b""))
    with contextlib.suppress(LedgerError):
        read_evidence(path)


def test_what_a_reader_would_refuse_is_not_written(path):
    log = EvidenceLog.create(path, FACTS, OWNER)
    before = path.read_bytes()
    for bad in (
        session(-1),
        session(1, contributors=-1),
        session(1, messages=(replace(message(1), role="server"),)),
        session(1, messages=(replace(message(1), sha256="no digest"),)),
    ):
        with pytest.raises(LedgerError, match="line 2: "):
            log.append(bad)
    for unsayable in ({"x": float("nan")}, {1: 2}, {"x": b"bytes"}):
        with pytest.raises(ConfigurationError):
            log.append(session(0, probe=unsayable))
        with pytest.raises(ConfigurationError):
            log.append_training(unsayable)
    assert path.read_bytes() == before
    log.append(session(1))  # none of it did any harm
    log.unlock()
    assert len(read_evidence(path).sessions) == 1


# Stops, crashes, and the end


def test_a_stopped_run_goes_on_with_its_evidence(path):
    written(path, session(1))
    log = EvidenceLog.resume(path, OWNER)
    log.append(session(2))
    log.unlock()
    evidence = read_evidence(path)
    assert [record.round for record in evidence.sessions] == [1, 2]
    assert evidence.recovered == ()


def test_a_session_is_named_before_anybody_uploads(path):
    """Whatever comes of it: what clients sign for is known."""
    log, record = EvidenceLog.create(path, FACTS, OWNER), session(1)
    log.begin(1, record.params)
    log.unlock()
    assert read_evidence(path).begun == (record.params_digest,)


def test_a_torn_last_line_is_refused_by_readers_and_cut_off_and_recorded_by_the_owner(lines, path):
    """Wherever it was torn: a line that lacks nothing but its newline was not written either."""
    whole, last = b"".join(lines[:2]), lines[2]
    for cut in [1, 2, *range(3, len(last) - 1, 97), len(last) - 2, len(last) - 1]:
        path.write_bytes(whole + last[:cut])
        with pytest.raises(LedgerError, match=f"line 3: torn, {cut} bytes without an end"):
            read_evidence(path)
        log = EvidenceLog.resume(path, OWNER)
        assert log.found.sessions == (PROBE,)
        log.append(session(1))
        log.unlock()
        evidence = read_evidence(path)
        assert evidence.sessions == (PROBE, session(1))
        assert evidence.recovered == ((cut, hashlib.sha256(last[:cut]).hexdigest()),)
        assert evidence.places == (2, 4)  # line 3 says what was cut off


def test_a_whole_line_whose_end_was_damaged_is_not_taken_for_a_torn_one(lines, path):
    content = b"".join(lines[:3])[:-1] + b"x"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="line 3: damaged behind its last brace, not torn by a crash"):
        EvidenceLog.resume(path, OWNER)
    assert path.read_bytes() == content


def test_closed_evidence_takes_nothing_and_is_not_resumed(path):
    log = EvidenceLog.create(path, FACTS, OWNER)
    log.append(session(1))
    log.close({"rounds": 1})
    content = path.read_bytes()
    with pytest.raises(LedgerError):
        log.append(session(2))
    with pytest.raises(LedgerError):
        log.append_training({})
    with pytest.raises(LedgerError):
        log.close()
    with pytest.raises(LedgerError, match="it is closed: its run has ended"):
        EvidenceLog.resume(path, OWNER)
    assert path.read_bytes() == content
    assert read_evidence(path).closed == {"rounds": 1}


def test_nothing_follows_the_closing_record(lines, path):
    value = {"body": session(3).to_body(), "kind": "session", "sequence": 6}
    value["previous"] = hashlib.sha256(lines[-1]).hexdigest()
    added = b"".join([*lines, signed_line(value, OWNER, Label.EVIDENCE)])
    refused(added, path, match="line 7: it follows the closing record")


def test_there_is_one_writer(path):
    log = EvidenceLog.create(path, FACTS, OWNER)
    with pytest.raises(LedgerError, match="is being written by"):
        EvidenceLog.resume(path, OWNER)
    with pytest.raises(LedgerError, match="exists already"):
        EvidenceLog.create(path, FACTS, OWNER)
    assert read_evidence(path).lines == 1  # readers need no lock
    log.unlock()
    with pytest.raises(LedgerError, match="closed, let go, or failed to write"):
        log.append(session(1))
    EvidenceLog.resume(path, OWNER).unlock()


def test_after_a_write_that_failed_nothing_more_is_written(path, monkeypatch):
    """Guarantee 1 of `EvidenceLog`: what may not be on disk is said, and nothing is put behind it."""
    log = EvidenceLog.create(path, FACTS, OWNER)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(LedgerError, match="may not be on disk"):
            log.append(session(1))
    with pytest.raises(LedgerError, match="failed to write: resume it"):
        log.append(session(2))
    log.unlock()
    again = EvidenceLog.resume(path, OWNER)  # reads what is there
    assert [record.round for record in again.found.sessions] == [1]
    again.unlock()
