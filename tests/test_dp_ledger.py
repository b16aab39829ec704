"""The ledger: what it refuses, what it writes and when, and what it makes of damage."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.dp.budget import Budget
from privfl.dp.chain import LedgerChain
from privfl.dp.events import Composed, Gaussian, NonPrivate, PoissonSampled, Relation, Repeated, Skellam, Unsupported
from privfl.dp.ledger import Charge, Ledger, Mode, Opening, Unit, read_ledger
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError
from privfl.journal.appending import AppendingFile, Memory
from privfl.journal.chain import Head, Kind
from privfl.journal.lines import signed_line
from privfl.journal.values import canonical
from privfl.journal.writer import Journal
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.testing import UnsafeFixedEntropy

ENTROPY = UnsafeFixedEntropy(b"ledger's testing")
OWNER, STRANGER = Identity.generate(ENTROPY), Identity.generate(ENTROPY)
OPENING = Opening(
    unit=Unit.CLIENT,
    mode=Mode.CLIENT_CENTRAL,
    budget=Budget(delta=1e-5, relation=Relation.ZERO_OUT),
    population=1000,
    facts={"clip": 0.5, "cohort": 50},
)
EVENTS = [Repeated(event=Gaussian(noise_multiplier=1.1))]
NOTHING = "0" * 64


def chain_of(content: bytes) -> LedgerChain:
    """Verify the whole lines of a file."""
    chain = LedgerChain()
    chain.take_all(content)
    return chain


def charged(path, *, rounds=3, opening=OPENING, closed=False):
    """A ledger on disk with some charges."""
    with Ledger.create(path, opening, OWNER, entropy=ENTROPY) as ledger:
        for number in range(1, rounds + 1):
            ledger.charge(round=number, events=EVENTS, facts={"contributors": 40 + number})
        if closed:
            ledger.close({"rounds": rounds})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of a ledger of an opening, two charges and a note of release."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    with Ledger.create(path, OPENING, OWNER, entropy=ENTROPY) as ledger:
        ledger.charge(round=1, events=EVENTS)
        ledger.note_release(round=1)
        ledger.charge(round=2, events=EVENTS)
    return path.read_bytes().splitlines(keepends=True)


def resumed(content):
    """Resume a ledger that lies in memory."""
    storage = Memory()
    storage.append(content)
    return Ledger(Journal._resumed(storage, content, LedgerChain(), OWNER)), storage


def refused(content, path, *, match=None):
    """Neither a reader nor the owner takes it."""
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=match):
        read_ledger(path)
    with pytest.raises(LedgerError, match=match):
        Ledger.resume(path, OWNER)
    assert path.read_bytes() == content  # and nobody repairs it


# What is written


def test_lines_are_json_in_one_canonical_form_chained_by_hashes(path):
    lines = charged(path, closed=True).read_bytes().splitlines(keepends=True)
    previous = NOTHING
    for sequence, line in enumerate(lines):
        value = json.loads(line)
        assert set(value) == {"sequence", "kind", "body", "previous", "signature"}
        assert (value["sequence"], value["previous"]) == (sequence, previous)
        assert line == json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"
        previous = hashlib.sha256(line).hexdigest()
    assert [json.loads(line)["kind"] for line in lines] == ["open", "charge", "charge", "charge", "close"]


def test_the_opening_line_says_what_is_fixed(path):
    excluded = {"number of clients": "public before the run"}
    budget = Budget(
        delta=1e-5, relation="zero-out", epsilon=4.0, planned=EVENTS[0], planned_rounds=7, excluded=excluded
    )
    opening = Opening(unit="client", mode="client-central", budget=budget, population=500, facts={"clip": 0.5})
    body = json.loads(charged(path, rounds=0, opening=opening).read_bytes())["body"]
    assert len(bytes.fromhex(body.pop("ledger"))) == 16
    assert body == {
        "version": 1,
        "unit": "client",
        "mode": "client-central",
        "relation": "zero-out",
        "delta": 1e-5,
        "epsilon": 4.0,
        "population": 500,
        "planned": {"event": "gaussian", "noise_multiplier": 1.1, "count": 1},
        "planned_rounds": 7,
        "once": None,
        "order": None,
        "excluded": excluded,
        "facts": {"clip": 0.5},
        "signer": OWNER.public.hex(),
    }


def test_a_charge_line_says_what_happened(path):
    value = json.loads(charged(path, rounds=1).read_bytes().splitlines()[1])
    assert value["body"] == {
        "round": 1,
        "events": [{"event": "gaussian", "noise_multiplier": 1.1, "count": 1}],
        "facts": {"contributors": 41},
    }


def test_what_was_written_is_read_back(path):
    events = [
        Repeated(event=PoissonSampled(sampling_probability=0.1, event=Gaussian(noise_multiplier=1.1)), count=3),
        Repeated(event=Composed(events=(Repeated(event=Skellam(l2_sensitivity=9, l1_sensitivity=81, variance=100)),))),
        Repeated(event=NonPrivate(reason="a slip")),
        Repeated(event=Unsupported(name="report-noisy-max")),
    ]
    facts = {"γ": 2**-8, "weights": [1, 2.5, None, True], "nested": {"b": 18, "kind": "skellam"}}
    with Ledger.create(path, OPENING, OWNER) as ledger:
        ledger.charge(round=1, events=events, facts=facts)
        ledger.note_release(round=1, facts={"bytes": 12})
        written = ledger.contents
    assert read_ledger(path, OWNER.public) == written
    assert written.opening == OPENING
    assert written.charges == (Charge(round=1, events=tuple(events), facts=facts),)
    assert written.spent == tuple(events)
    assert written.released == (1,)
    assert written.closed is None


def test_two_ledgers_with_the_same_opening_differ(tmp_path):
    first, second = (charged(tmp_path / name, rounds=0) for name in ("a", "b"))
    assert read_ledger(first).opening == read_ledger(second).opening
    assert read_ledger(first).identifier != read_ledger(second).identifier


def test_excluded_releases_do_not_count_as_spent():
    budget = Budget(delta=1e-5, relation="zero-out", excluded={"public counts": "known to all"})
    ledger = Ledger.in_memory(Opening(unit="client", mode="client-central", budget=budget), OWNER)
    ledger.charge(round=1, events=[*EVENTS, Repeated(event=NonPrivate(reason="public counts"))])
    assert ledger.spent == tuple(EVENTS)
    assert len(ledger.charges[0].events) == 2  # it is on record nevertheless


# What is refused when it is damaged (guarantees 1 to 3 of the chain, guarantee 4 of the ledger)


@pytest.mark.parametrize("flip", [1 << bit for bit in range(8)])
def test_a_flipped_byte_is_refused_wherever_it_is(lines, flip):
    content = b"".join(lines)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= flip
        with pytest.raises(LedgerError):
            resumed(bytes(damaged))


def test_a_flipped_byte_is_refused_by_readers_and_on_disk(lines, path):
    content = b"".join(lines)
    for position in [*range(0, len(content), 37), *range(len(content) - 5, len(content))]:
        damaged = bytearray(content)
        damaged[position] ^= 0x04
        refused(bytes(damaged), path)


def test_the_line_that_is_damaged_is_named(lines, path):
    for number, line in enumerate(lines, start=1):
        damaged = line.replace(b'"facts"', b'"fakts"')
        if damaged != line:
            refused(b"".join(lines).replace(line, damaged), path, match=f"line {number}")


def test_a_missing_line_is_refused_at_the_front_and_in_the_middle(lines, path):
    for missing in range(len(lines) - 1):
        refused(b"".join(lines[:missing] + lines[missing + 1 :]), path, match=f"line {missing + 1}: ")


def test_swapped_and_repeated_lines_are_refused(lines, path):
    for first in range(len(lines) - 1):
        swapped = [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]
        refused(b"".join(swapped), path, match="line")
    for repeated in range(len(lines)):
        refused(b"".join([*lines[: repeated + 1], *lines[repeated:]]), path, match="line")


def test_a_line_of_another_ledger_of_the_same_owner_is_refused(lines, tmp_path):
    other = charged(tmp_path / "other").read_bytes().splitlines(keepends=True)
    refused(lines[0] + other[1], tmp_path / "spliced", match="line 2: it does not follow")


def test_lines_missing_at_the_end_show_in_a_closed_ledger_and_to_who_remembers_the_head(lines, path):
    with pytest.raises(LedgerError, match="the ledger ends with line 2, and line 4 was written before"):
        resumed(b"".join(lines[:2]))[0].require_head(*resumed(b"".join(lines))[0].head)
    charged(path, closed=True)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert read_ledger(path).closed is None


def test_an_empty_file_is_refused(path):
    refused(b"", path, match="no whole line, so nothing was ever recorded")


def resigned(lines, identity, change=None):
    """The lines, changed and then signed and chained anew."""
    previous, written = NOTHING, []
    for sequence, line in enumerate(lines):
        value = json.loads(line)
        del value["signature"]
        value["previous"] = previous
        if change is not None:
            change(sequence, value)
        written.append(signed_line(value, identity, Label.LEDGER))
        previous = hashlib.sha256(written[-1]).hexdigest()
    return written


def test_a_forged_line_is_refused_though_its_hashes_fit(lines, path):
    def less_noise(sequence, value):
        if sequence == 1:
            value["body"]["events"][0]["noise_multiplier"] = 9.9

    forged = resigned(lines, STRANGER, less_noise)
    refused(lines[0] + b"".join(forged[1:]), path, match="line 2: it does not follow")
    mixed = [lines[0], *resigned(lines, STRANGER)[1:]]
    value = {**json.loads(mixed[1]), "previous": hashlib.sha256(mixed[0]).hexdigest()}
    del value["signature"]
    refused(mixed[0] + signed_line(value, STRANGER, Label.LEDGER), path, match="line 2: its signature is not by")


def test_a_ledger_that_a_stranger_forged_from_the_first_line_on_is_refused_by_who_knows_the_owner(lines, path):
    def as_stranger(sequence, value):
        if sequence == 0:
            value["body"]["signer"] = STRANGER.public.hex()

    path.write_bytes(b"".join(resigned(lines, STRANGER, as_stranger)))
    assert read_ledger(path).signer == STRANGER.public  # consistent with the key that it names
    with pytest.raises(LedgerError, match="opened by"):
        read_ledger(path, OWNER.public)
    with pytest.raises(LedgerError, match="only the key that opened the ledger can go on with it"):
        Ledger.resume(path, OWNER)


def test_the_key_of_small_order_under_which_anybody_can_sign_is_refused(lines, path):
    def small(sequence, value):
        if sequence == 0:
            value["body"]["signer"] = "01" + "00" * 31

    refused(b"".join(resigned(lines, OWNER, small)), path, match="small order")


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line.replace(b'{"body"', b'{ "body"'),
        lambda line: line[:-1] + b"\r\n",
        lambda line: b" " + line,
        lambda line: line.replace(b'"round":1', b'"round":1,"round":1'),
        lambda line: line.replace(b"1.1", b"1.10"),
        lambda line: line.replace(b'"charge"', b'"ch\\u0061rge"'),
        lambda line: line.replace(b'"facts":{}', b'"facts":{"x":NaN}'),
        lambda line: line.replace(b'"round":1', b'"round":' + b"9" * 5000),
        lambda line: b"[" * 100_000 + line,
    ],
)
def test_a_line_in_another_form_is_refused(lines, path, edit):
    assert edit(lines[1]) != lines[1]
    refused(lines[0] + edit(lines[1]), path, match="line 2: (not in canonical form|no JSON)")


def change_of(sequence, key, value):
    def change(place, line):
        if place == sequence:
            target = line if key in line else line["body"]
            target[key] = value

    return change


@pytest.mark.parametrize(
    ("sequence", "key", "value", "match"),
    [
        (0, "version", 2, "version 2 of the format"),
        (0, "version", True, "version True of the format"),
        (0, "unit", "household", "unit is 'household'"),
        (0, "mode", "example", "unit is client in mode example"),
        (0, "delta", 1.5, "delta is 1.5"),
        (0, "delta", 0.01, "below 1 / population"),
        (0, "epsilon", -1, "epsilon is -1"),
        (0, "excluded", 5, "excluded is 5"),
        (0, "excluded", {"x": ""}, "excluded.x is ''"),
        (0, "planned", {"event": "magic"}, "'magic' is not known"),
        (0, "facts", [], "facts is a list"),
        (0, "signer", "ab", "64 hexadecimal digits"),
        (0, "ledger", 7, "32 hexadecimal digits"),
        (0, "surplus", 1, "surplus"),
        (0, "kind", "charge", "where the opening record is due"),
        (1, "kind", "open", "where the opening record was"),
        (1, "kind", "refund", "'refund' is no kind of line"),
        (1, "kind", ["charge"], "is no kind of line"),
        (1, "sequence", 7, "sequence number 7"),
        (1, "sequence", True, "sequence number True"),
        (1, "sequence", 1.0, "sequence number 1.0"),
        (1, "round", -1, "round is -1"),
        (1, "round", "1", "round is '1'"),
        (1, "events", [], "a charge has no events"),
        (1, "events", {}, "events that are no list"),
        (1, "events", [{"event": "gaussian", "noise_multiplier": 10**400}], "line 2"),
        (1, "events", [{"event": "gaussian", "noise_multiplier": 1, "extra": 1}], "no key 'extra'"),
        (1, "surplus", 1, "surplus"),
        (1, "body", [], "the body is no object"),
        (2, "round", 2, "round 2 was released and not charged before"),
        (2, "facts", 3, "facts is a int"),
        (3, "facts", json.loads("[" * 400 + "]" * 400), "facts is a list"),
    ],
)
def test_a_line_that_means_nothing_is_refused_though_its_owner_signed_it(lines, path, sequence, key, value, match):
    def change(place, line):
        if place == sequence:
            (line if key in line else line["body"])[key] = value

    refused(b"".join(resigned(lines, OWNER, change)), path, match=match)


def test_a_second_release_on_one_charge_is_refused(lines, path):
    line = json.loads(lines[2])
    again = {**line, "sequence": 3, "previous": hashlib.sha256(lines[2]).hexdigest()}
    del again["signature"]
    refused(
        b"".join(lines[:3]) + signed_line(again, OWNER, Label.LEDGER), path, match="released and not charged before"
    )


def test_nothing_follows_the_closing_record(path):
    content = charged(path, rounds=1, closed=True).read_bytes()
    chain = chain_of(content)
    body = {"round": 2, "events": [{"event": "gaussian", "noise_multiplier": 1.1, "count": 1}], "facts": {}}
    refused(content + chain.line(Kind.CHARGE, body, OWNER), path, match="it follows the closing record")


@given(content=st.binary(max_size=300), keep=st.integers(0, 4), whole=st.booleans())
def test_whatever_the_bytes_the_chain_raises_a_ledger_error_or_nothing(lines, content, keep, whole):
    """Guarantee 3 of `Chain`."""
    with contextlib.suppress(LedgerError):
        chain_of(b"".join(lines[:keep]) + content + (b"\n" if whole else b""))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    sequence=st.integers(0, 3),
    key=st.sampled_from(["kind", "round", "events", "facts", "delta", "order", "once"]),
    value=JSON,
)
def test_whatever_an_owner_signed_the_chain_raises_a_ledger_error_or_nothing(lines, sequence, key, value):
    """Guarantee 3 of `Chain`."""
    content = b"".join(resigned(lines, OWNER, change_of(sequence, key, value)))
    with contextlib.suppress(LedgerError):
        chain_of(content)


# Torn by a crash (guarantee 4)


def test_a_torn_last_line_is_cut_off_at_every_position_and_the_ledger_says_so(lines):
    whole, last = b"".join(lines[:-1]), lines[-1]
    for cut in range(1, len(last)):
        ledger, storage = resumed(whole + last[:cut])
        assert [charge.round for charge in ledger.charges] == [1]
        assert ledger.recovered is not None
        assert f"{cut} bytes after line 3 were cut off" in ledger.recovered
        assert ledger.contents.recovered == ((cut, hashlib.sha256(last[:cut]).hexdigest()),)
        assert storage.content.startswith(whole)
        assert chain_of(storage.content).contents() == ledger.contents


def test_a_torn_ledger_goes_on_from_its_last_whole_line(lines, path):
    path.write_bytes(b"".join(lines)[:-10])
    with Ledger.resume(path, OWNER) as ledger:
        assert ledger.recovered
        ledger.charge(round=2, events=EVENTS)
    with Ledger.resume(path, OWNER) as ledger:
        assert ledger.recovered is None  # said once
        assert [charge.round for charge in ledger.charges] == [1, 2]
        assert len(ledger.contents.recovered) == 1


def test_a_reader_never_repairs_a_torn_ledger(lines, path):
    torn = b"".join(lines)[:-10]
    path.write_bytes(torn)
    with pytest.raises(LedgerError, match="line 4: torn"):
        read_ledger(path)
    assert path.read_bytes() == torn


def test_a_whole_line_whose_end_was_damaged_is_not_taken_for_a_torn_one(lines, path):
    refused(b"".join(lines)[:-1] + b"x", path, match="torn|damaged behind its last brace")
    with pytest.raises(LedgerError, match="damaged behind its last brace"):
        Ledger.resume(path, OWNER)


def test_damage_before_a_torn_line_is_refused_and_nothing_is_cut_off(lines, path):
    refused(b"".join(lines[:1] + lines[2:])[:-10], path, match="line 2")


# Order of things (guarantees 1 to 3)


class Watched(Memory):
    """Memory that fails on command."""

    def __init__(self):
        super().__init__()
        self.fails = None

    def append(self, line):
        if self.fails:
            raise self.fails
        super().append(line)


def in_watched_memory(budget=OPENING.budget):
    opening = Opening(unit="client", mode="client-central", budget=budget)
    ledger = Ledger.in_memory(opening, OWNER)
    storage = Watched()
    storage.append(ledger._journal._storage.content)
    ledger._journal._storage = storage
    return ledger, storage


def test_the_charge_is_on_disk_when_charge_returns(path, monkeypatch):
    """Guarantee 1: what was written last was fsynced after it was written."""
    on_disk, fsync = {}, os.fsync

    def noting(descriptor):
        fsync(descriptor)
        on_disk[os.fstat(descriptor).st_ino] = True

    def write(descriptor, content, *, real=os.write):
        on_disk[os.fstat(descriptor).st_ino] = False
        return real(descriptor, content)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(os, "write", write)
    with Ledger.create(path, OPENING, OWNER) as ledger:
        assert on_disk[path.stat().st_ino]
        assert on_disk[path.parent.stat().st_ino]  # the name is on disk, too
        steps = [
            lambda: ledger.charge(round=1, events=EVENTS),
            lambda: ledger.note_release(round=1),
            lambda: ledger.close({}),
        ]
        for step in steps:
            on_disk.clear()
            before = path.stat().st_size
            step()
            assert on_disk == {path.stat().st_ino: True}
            assert path.stat().st_size > before


def test_a_recovery_is_on_disk_before_the_ledger_goes_on(lines, path, monkeypatch):
    path.write_bytes(b"".join(lines)[:-10])
    order = []
    for name in ("ftruncate", "fsync", "write"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *what, name=name, real=real: (order.append(name), real(*what))[1])
    Ledger.resume(path, OWNER).unlock()
    assert order == ["fsync", "ftruncate", "fsync", "write", "fsync"]


def test_a_short_write_is_continued(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(content)[:7]))
    charged(path)
    assert len(read_ledger(path).charges) == 3


def test_a_budget_that_would_be_overrun_writes_nothing_and_the_ledger_goes_on():
    """Guarantee 2."""
    plan = {"planned": Repeated(event=Gaussian(noise_multiplier=5.0)), "planned_rounds": 2}
    ledger, storage = in_watched_memory(Budget(delta=1e-5, relation="zero-out", epsilon=2.0, **plan))
    before, head = storage.content, ledger.head
    with pytest.raises(BudgetExceeded):
        ledger.charge(round=1, events=EVENTS)
    assert (storage.content, ledger.head, ledger.charges) == (before, head, ())
    ledger.charge(round=1, events=[plan["planned"]])
    assert len(ledger.charges) == 1


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"events": []}, "a charge has no events"),
        ({"events": [Gaussian(noise_multiplier=1.0)]}, "something else among them"),
        ({"facts": {"x": float("nan")}}, "facts.x is nan: a finite number works"),
        ({"facts": {"x": object()}}, "facts.x is a object"),
        ({"facts": {"x": {3: 4}}}, "facts.x has a key 3: a string works"),
        ({"facts": [1]}, "facts is a list"),
        ({"round": -1}, "round is -1: a whole number from 0"),
        ({"round": True}, "round is True"),
    ],
)
def test_a_charge_that_json_cannot_hold_writes_nothing_and_the_ledger_goes_on(bad, match):
    ledger, storage = in_watched_memory()
    before = storage.content
    with pytest.raises(ConfigurationError, match=match):
        ledger.charge(**{"round": 1, "events": EVENTS, **bad})
    assert storage.content == before
    ledger.charge(round=1, events=EVENTS)


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_after_a_failed_write_nothing_more_is_written(failure):
    """Guarantee 3: not even when the disk works again."""
    ledger, storage = in_watched_memory()
    ledger.charge(round=1, events=EVENTS)
    storage.fails, before = failure, storage.content
    with pytest.raises((LedgerError, KeyboardInterrupt)):
        ledger.charge(round=2, events=EVENTS)
    storage.fails = None
    for step in (
        lambda: ledger.charge(round=2, events=EVENTS),
        lambda: ledger.note_release(round=1),
        ledger.close,
    ):
        with pytest.raises(LedgerError, match="resume it to go on"):
            step()
    assert storage.content == before


def test_a_failed_fsync_is_not_tried_again(path, monkeypatch):
    """Guarantee 3, on a real file: the line is there and counts, the ledger is not used any more."""
    ledger = Ledger.create(path, OPENING, OWNER)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(LedgerError, match=r"may not be on disk \(Input/output error\), so nothing is released"):
            ledger.charge(round=1, events=EVENTS)
    with pytest.raises(LedgerError, match="resume it to go on"):
        ledger.charge(round=1, events=EVENTS)
    ledger.unlock()
    with Ledger.resume(path, OWNER) as ledger:
        assert len(ledger.charges) == 1


def test_a_release_needs_a_charge_of_its_own():
    ledger, storage = in_watched_memory()
    with pytest.raises(LedgerError, match="round 1 was released and not charged before"):
        ledger.note_release(round=1)
    ledger.charge(round=1, events=EVENTS)
    ledger.note_release(round=1)
    before = storage.content
    with pytest.raises(LedgerError, match="round 1 was released and not charged before"):
        ledger.note_release(round=1)
    assert storage.content == before
    ledger.charge(round=1, events=EVENTS)  # after a crash, say, a round is done and charged again
    ledger.note_release(round=1)


def test_a_closed_ledger_takes_nothing_and_is_not_resumed(path):
    ledger = Ledger.create(path, OPENING, OWNER)
    ledger.close({"rounds": 0})
    with pytest.raises(LedgerError):
        ledger.charge(round=1, events=EVENTS)
    with pytest.raises(LedgerError, match="it is closed"):
        Ledger.resume(path, OWNER)
    assert read_ledger(path).closed == {"rounds": 0}


def test_the_head_of_a_checkpoint_is_required(path):
    with Ledger.create(path, OPENING, OWNER) as ledger:
        heads = [ledger.head]
        for number in (1, 2):
            ledger.charge(round=number, events=EVENTS)
            heads.append(ledger.head)
        assert heads[-1] == Head(2, hashlib.sha256(path.read_bytes().splitlines(keepends=True)[-1]).hexdigest())
        for head in heads:
            ledger.require_head(*head)
        with pytest.raises(LedgerError, match="not the one that was written"):
            ledger.require_head(1, heads[2].sha256)
        for sequence in (-1, 3):
            with pytest.raises(LedgerError, match="what it says would be forgotten"):
                ledger.require_head(sequence, heads[2].sha256)


# One writer (guarantee 5)

HOLD = """
import sys
from pathlib import Path
from privfl.dp.ledger import Ledger
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity
ledger = Ledger.resume(Path(sys.argv[1]), Identity.from_pem(sys.stdin.buffer.read()))
print("held", flush=True)
import time; time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_lets_go(path):
    first = Ledger.create(path, OPENING, OWNER)
    with pytest.raises(LedgerError, match=r"is being written by .*: wait until that run has ended"):
        Ledger.resume(path, OWNER)
    first.charge(round=1, events=EVENTS)
    first.unlock()
    with Ledger.resume(path, OWNER) as second, pytest.raises(LedgerError, match="is being written by"):
        Ledger.resume(path, OWNER)
    assert [charge.round for charge in second.charges] == [1]


def test_a_second_writer_in_another_process_is_refused_and_named_until_the_first_is_killed(path):
    charged(path)
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(OWNER.to_pem())
        process.stdin.close()
        assert process.stdout.readline() == b"held\n"
        named = f"process {process.pid}" if Path("/proc/locks").exists() else "another process"
        try:
            with pytest.raises(LedgerError, match=f"is being written by ({named}|another process): "):
                Ledger.resume(path, OWNER)
            assert len(read_ledger(path).charges) == 3  # readers need no lock
        finally:
            process.kill()
    with Ledger.resume(path, OWNER) as ledger:
        assert len(ledger.charges) == 3


def test_a_ledger_is_not_made_over_another_file(path):
    charged(path)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="exists already: resume it"):
        Ledger.create(path, OPENING, OWNER)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_moved_away_while_it_is_opened_is_refused(path, monkeypatch):
    """The lock is the file's, not the name's."""
    charged(path)
    lock = AppendingFile._lock

    def moved(file):
        lock(file)
        path.rename(path.with_suffix(".old"))
        path.write_bytes(b"of somebody else\n")

    monkeypatch.setattr(AppendingFile, "_lock", moved)
    with pytest.raises(LedgerError, match="was replaced while it was being opened"):
        AppendingFile.open(path)


def test_a_directory_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger.create(tmp_path / "none" / "ledger.jsonl", OPENING, OWNER)
    with pytest.raises(LedgerError, match="cannot be opened for writing"):
        Ledger.resume(tmp_path / "none.jsonl", OWNER)
    with pytest.raises(LedgerError, match="cannot be read"):
        read_ledger(tmp_path / "none.jsonl")


# Openings


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"unit": "household"}, "unit is 'household': one of example, client works"),
        ({"mode": "local"}, "mode is 'local': one of example, "),
        ({"mode": "example"}, "unit is client in mode example"),
        ({"unit": "example"}, "unit is example in mode client-central"),
        ({"population": 0}, "population is 0"),
        (
            {"population": 100_000},
            "delta is 1e-05 with a population of 100000: below 1 / population works",
        ),
        ({"facts": {"x": float("inf")}}, "facts.x is inf"),
    ],
)
def test_bad_openings_are_refused_with_a_sentence(bad, match):
    good = {"unit": "client", "mode": "client-central", "budget": OPENING.budget}
    with pytest.raises(ConfigurationError, match=match):
        Opening(**{**good, **bad})


def test_canonical_json_is_ascii_sorted_and_finite():
    assert canonical({"b": [1, 2.5], "a": "γ"}) == b'{"a":"\\u03b3","b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_a_chain_does_not_move_when_it_refuses(lines):
    chain = LedgerChain()
    for line in lines[:2]:
        chain.take(line)
    before = chain.contents()
    for bad in (lines[0], lines[3], lines[2][:-2] + b"\n", b"\n"):
        with pytest.raises(LedgerError):
            chain.take(bad)
        assert chain.contents() == before
    chain.take(lines[2])
