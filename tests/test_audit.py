"""The audit as a whole: honest runs pass, planted frauds are caught by the finding that they contradict, and nothing
that a file holds brings it down."""

import hashlib
import io
import itertools
import json
import re
import shutil
import socket
import tomllib
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("opacus")
pytest.importorskip("dp_accounting")

from audit_evaluations import EVALUATIONS
from audit_frauds import (
    FIXED_SIZE,
    FRAUDS,
    HALF,
    JOBS,
    another_job,
    charging,
    closing,
    forge,
    in_round,
    job,
    key_of,
    made,
    of,
    opening,
    seeded,
)
from audit_lies import LIES

from privfl.audit.checks import Seen, Undecided, check
from privfl.audit.examine import examine
from privfl.audit.findings import Finding, Layer, Outcome, Word, weakest
from privfl.dp.budget import Budget
from privfl.dp.events import Gaussian, PoissonSampled, Relation, Repeated, Skellam
from privfl.dp.ledger import Ledger
from privfl.dp.records import Mode, Opening, Unit
from privfl.errors import ConfigurationError
from privfl.learning.books import COORDINATOR, LEDGER, Books
from privfl.learning.client_books import RECEIPTS, ClientBooks
from privfl.learning.job import job_from_table
from privfl.learning.paperwork import JOB
from privfl.learning.rounds import METRICS, FederatedRun
from privfl.learning.witness import EVIDENCE
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity

FAIL, PASS = Outcome.FAIL, Outcome.PASS
INCONCLUSIVE, NOT_CLAIMED = Outcome.INCONCLUSIVE, Outcome.NOT_CLAIMED
FLIPS = 200
ROWS = (*FRAUDS, *LIES, *EVALUATIONS)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is asked of a network."""

    def refuse(*_):
        raise AssertionError("an audit opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)


class Runs:
    """Honest runs, each made once, when it is first asked for; and their audits."""

    def __init__(self, home):
        self._home = home
        self._audits = {}

    def __getitem__(self, name):
        folder = self._home / name
        return folder if folder.exists() else made(folder, JOBS[name]())

    def audit(self, name):
        if name not in self._audits:
            self._audits[name] = looked_at(self[name])
        return self._audits[name]


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def copy(honest, tmp_path):
    """A copy of an honest run, to tamper with."""

    def copied(name, to="run"):
        shutil.copytree(honest[name], tmp_path / to)
        return tmp_path / to

    return copied


def looked_at(path, **options):
    """Audit it; nothing in it may change, and what is found out can be written down."""
    before = bytes_of(path)
    found = examine(path, **options)
    assert bytes_of(path) == before
    json.dumps(found.to_json(), allow_nan=False)
    return found


def bytes_of(path):
    folder = path if path.is_dir() else path.parent
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).digest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }


def finding(found, key):
    (one,) = [one for one in found.findings if one.key == key]
    return one


def odd(found):
    """Findings that keep it from a pass: key to outcome."""
    return {one.key: one.outcome for one in found.reasons}


# Honest runs


SUITES = ("plain", "masking", "kahe", "ckks")
MODES = ("none", "example", "client-central", "client-distributed")
OFFERED = [pair for pair in product(MODES, SUITES) if pair != ("client-distributed", "plain")]


@pytest.mark.parametrize(("mode", "name"), OFFERED)
def test_honest_runs_pass_in_every_mode_and_suite(mode, name, tmp_path):
    """Entropy is seeded: of honest audits about one in two hundred doubts something, by its levels."""
    found = looked_at(made(tmp_path / "run", job(mode, name)))
    assert odd(found) == {}
    assert found.verdict is PASS
    assert (found.kind, found.claim.mode, found.claim.suite) == ("run", mode, name)
    assert found.claim.secure == (name != "plain")
    outcomes = {one.key: one.outcome for one in found.findings}
    # Whatever is claimed is looked at, and nothing else.
    secure = PASS if name != "plain" else NOT_CLAIMED
    assert (outcomes["secure-aggregation"], outcomes["uploads"]) == (secure, secure)
    assert outcomes["evidence"] is PASS
    client = mode.startswith("client")
    for keys, claimed in (
        (("ledger", "epsilon", "accountants", "noise", "job", "rounds", "drop-outs", "unprotected"), mode != "none"),
        (("noise-added", "contributions", "weights"), client),
        (("trainer-noise", "trainer-clip", "amplification"), mode == "example"),
        (("canaries", "control"), mode != "none"),
        (("sums",), name != "plain" and not client),
        (("budget", "receipts", "client-ledgers", "sampler"), False),
    ):
        for key in keys:
            assert outcomes.get(key, NOT_CLAIMED) is (PASS if claimed else NOT_CLAIMED), key
    if mode == "none":
        assert found.epsilon is None
    else:
        assert found.epsilon == pytest.approx(found.claim.epsilon, rel=1e-6)
        assert len(found.rounds) == 2
        assert {round_.charges for round_ in found.rounds} == {1}
        assert found.measured


@pytest.mark.parametrize("name", ["hospitals", "private_hospitals"])
def test_the_jobs_that_are_shipped_pass(name, tmp_path):
    """But for fewer rounds, epochs and clients."""
    path = Path(__file__).parent.parent / "examples" / f"{name}.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table = table | {"rounds": 2, "strategy": table["strategy"] | {"epochs": 1}}
    table["data"] |= {"clients": min(table["data"]["clients"], 20)}
    assert odd(looked_at(made(tmp_path / "run", job_from_table(table)))) == {}


@pytest.mark.parametrize(("name", "shows"), [
    ("evaluated", "federated_accuracy"),
    ("evaluated-late", "aborted"),
    ("example-late", "aborted"),
    ("evaluated-packed", "federated_accuracy"),
    ("adaptive", None),
    ("buffered", "staleness"),
    ("buffered-distributed", "staleness"),
    ("over-selected", "dropped_because"),
    ("available", "federated_accuracy"),
])  # fmt: skip
def test_honest_runs_pass_whatever_the_strategy_the_cohort_and_what_is_evaluated(name, shows, honest):
    found = honest.audit(name)
    assert (odd(found), found.verdict) == ({}, PASS)
    rows = [json.loads(line) for line in (honest[name] / METRICS).read_text().splitlines()]
    assert len(rows) == JOBS[name]().rounds
    assert not rows[-1]["aborted"]
    assert shows is None or any(row[shows] for row in rows)


class _Crash(BaseException):
    """The end of a process, at a place of the test's choosing."""


def crashed(out, wanted, target, name, call):
    """A run that ended at the so-manieth call of something, and was resumed."""
    calls, real = itertools.count(1), getattr(target, name)

    def ended(*args, **kwargs):
        if next(calls) == call:
            raise _Crash
        return real(*args, **kwargs)

    with pytest.raises(_Crash):
        made(out, wanted, (target, name, ended))
    with seeded(str(wanted), "resumed"):
        for _ in FederatedRun.resume(out):
            pass
    return out


@pytest.mark.parametrize(("target", "name", "doubted"), [
    (Books, "charge", {"receipts"}),  # clients signed, and nothing was charged
    (ClientBooks, "_hand_in", {"receipts", "client-ledgers"}),  # clients charged themselves, and did not sign
    (FederatedRun, "_save", {"rounds"}),  # a sum was charged, and what came of it not written down
])  # fmt: skip
def test_a_crash_accuses_nobody(target, name, doubted, tmp_path):
    """Where clients keep ledgers, and receipts are due."""
    call = 14 if name == "_hand_in" else 2
    found = looked_at(crashed(tmp_path / "run", JOBS["receipts"](), target, name, call))
    assert FAIL not in odd(found).values(), odd(found)
    assert odd(found).keys() <= doubted


def test_a_crash_in_the_last_round_that_the_budget_allows_accuses_nobody(tmp_path):
    """Its sum was opened and charged, and no other fits the budget: the run ends a round earlier."""
    found = looked_at(crashed(tmp_path / "run", JOBS["budgeted"](), FederatedRun, "_save", 3))
    assert (odd(found), found.verdict) == ({}, PASS)
    assert len((tmp_path / "run" / METRICS).read_text().splitlines()) == 2
    assert "The run ended after round 2: it was killed before it kept what" in finding(found, "rounds").detail


@pytest.mark.parametrize(("change", "outcome"), [
    (lambda path, _: path.unlink(), INCONCLUSIVE),
    (lambda path, _: path.write_text(""), INCONCLUSIVE),
    (lambda path, lines: path.write_text("".join(lines[:-1])), FAIL),
    (lambda path, lines: path.write_text(lines[0] + lines[2]), FAIL),
    (lambda path, lines: path.write_text("".join([*lines, lines[-1]])), FAIL),
    (lambda path, lines: path.write_text("".join([*lines[:-1], edited(lines[-1], epsilon=0.01)])), FAIL),
    (lambda path, lines: path.write_text("".join([*lines[:-1], edited(lines[-1], epsilon=None)])), FAIL),
])  # fmt: skip
def test_metrics_that_lack_rounds_or_are_another_runs_are_found_out(change, outcome, copy):
    path = copy("central") / METRICS
    change(path, path.read_text().splitlines(keepends=True))
    found = looked_at(path.parent)
    assert odd(found)["metrics"] is outcome
    assert found.verdict is outcome


def test_another_threat_model_is_told_key_by_key(copy):
    folder = copy("none")
    text = (folder / JOB).read_text()
    (folder / JOB).write_text(text.replace("dropout = 0.1", "dropout = 0.2", 1))
    assert (folder / JOB).read_text() != text
    said = finding(looked_at(folder), "secure-aggregation")
    assert said.outcome is FAIL
    assert said.detail == "threat.dropout is 0.2 in the job and 0.1 in the session."


@pytest.mark.parametrize(("mode", "key"), [("client-central", "audit.probes"), ("example", "audit.canaries")])
def test_too_few_canaries_are_told_with_the_key_that_makes_more(mode, key, tmp_path):
    wanted = job(mode, audit={"probes": 2, "canaries": 32}, privacy={"noise_multiplier": 0.7})
    said = finding(looked_at(made(tmp_path / "run", wanted)), "control")
    assert said.outcome is INCONCLUSIVE
    assert said.missing == f"more canaries (`{key}`), or a smaller claim"


@pytest.mark.parametrize("rounds", ["1e15", "-1", "2.5", str(10**400), str(-(10**400))])
def test_a_closing_record_of_rounds_that_no_run_has_is_wrong_and_costs_no_memory(rounds, copy):
    folder = copy("central")
    forge(folder, ledger=closing(rounds=json.loads(rounds)))
    assert FAIL in {odd(looked_at(folder)).get(key) for key in ("ledger", "rounds", "metrics")}


def edited(line, **figures):
    return json.dumps(json.loads(line) | figures) + "\n"


def test_a_job_without_privacy_is_not_accused_of_a_missing_ledger_because_its_evidence_was_changed(copy):
    folder = copy("none")
    lines = (folder / EVIDENCE).read_text().splitlines(keepends=True)
    (folder / EVIDENCE).write_text("".join([*lines[:2], lines[2].replace("a", "b", 1), *lines[3:]]))
    found = looked_at(folder)
    assert odd(found)["evidence"] is FAIL
    assert odd(found).get("ledger", NOT_CLAIMED) is not FAIL


@pytest.mark.parametrize(("name", "count", "epsilon"), [("plain", 12, 1.1), ("ckks", 4, 0.8)])
def test_clients_that_amplify_and_keep_ledgers_are_not_accused(name, count, epsilon, tmp_path):
    """Some stop when their own budget is spent: fewer take part than were invited."""
    privacy = {"amplification": True, "delta": 1e-3, "noise_multiplier": 5.0, "client_epsilon": epsilon}
    wanted = job("client-central", name, privacy=privacy, cohort=HALF, count=count, clients=50)
    found = looked_at(made(tmp_path / "run", wanted))
    assert FAIL not in odd(found).values(), odd(found)
    assert any(round_.contributors < round_.cohort for round_ in found.rounds)


def test_a_hundred_sessions_on_known_inputs_are_no_offence(tmp_path):
    """More than a thousand canaries, in fewer dimensions."""
    wanted = job("client-central", "plain", count=1, clients=24, audit={"probes": 100})
    found = looked_at(made(tmp_path / "run", wanted), layers=(Layer.EMPIRICAL,))
    assert odd(found) == {}
    assert {one.key: one.canaries for one in found.measured}["one-run"] >= 2000
    assert "one-shot" not in {one.key for one in found.measured}


# Frauds


def test_there_are_twelve_kinds_of_fraud():
    assert len({fraud.kind for fraud in FRAUDS}) == 12
    assert len({fraud.label for fraud in ROWS}) == len(ROWS)


@pytest.mark.parametrize("fraud", ROWS, ids=lambda fraud: fraud.label.replace(" ", "-"))
def test_a_fraud_is_caught_by_the_finding_that_it_contradicts(fraud, honest, tmp_path):
    """And its honest twin passes, so that nothing but the fraud is what the finding sees."""
    assert odd(honest.audit(fraud.base)) == {}
    folder = tmp_path / "run"
    if fraud.during:
        made(folder, JOBS[fraud.base](), *fraud.during, salt=fraud.salt)
    else:
        shutil.copytree(honest[fraud.base], folder)
    if fraud.after is not None:
        fraud.after(folder)
    signer = key_of(honest[fraud.base]).public if fraud.told else None

    found = looked_at(folder, signer=signer)
    if fraud.passes:  # strictly: what is found out one day is no longer expected to pass
        assert odd(found) == {}
        pytest.xfail(fraud.passes)

    caught = finding(found, fraud.key)
    assert caught.outcome is fraud.outcome, odd(found)
    assert re.search(fraud.says, f"{caught.detail} {caught.missing}")
    assert bool(caught.missing) == (fraud.outcome is INCONCLUSIVE)
    # Whoever forges a ledger, or a job, contradicts what the metrics tell, and what sessions were held for, as well.
    assert odd(found).keys() <= {fraud.key, "metrics", "parameters"} | fraud.others
    assert found.verdict is weakest(odd(found).values())
    assert found.verdict in {FAIL, fraud.outcome}


def test_cohorts_of_too_few_rounds_are_neither_believed_nor_accused(tmp_path):
    """Of five cohorts of one size, one choice of 600 honest ones is as even: who looks must say that he cannot know."""
    wanted = replace(JOBS["sampled"](), rounds=5)
    for during in ((), (FIXED_SIZE,)):
        found = looked_at(made(tmp_path / f"run-{len(during)}", wanted, *during), layers=(Layer.CONFORMITY,))
        assert odd(found) == {"sampler": INCONCLUSIVE}
        assert "more than 5 rounds" in finding(found, "sampler").missing


# Bad input


def flips(content, count, seed):
    """Places of bytes, and what is put there: everywhere, newlines and ends included."""
    chance = np.random.default_rng(seed)
    newlines = [place for place, byte in enumerate(content) if byte == 0x0A]
    places = [0, len(content) - 1, *newlines[:3], *chance.integers(len(content), size=count)][:count]
    for place in places:
        other = int(content[place]) ^ int(chance.integers(1, 256))
        yield int(place), bytes([other])


@pytest.mark.parametrize(("name", "base", "bare"), [
    (LEDGER, "central", False), (LEDGER, "central", True), (EVIDENCE, "none", False)
])  # fmt: skip
def test_a_byte_that_was_changed_is_found_in_its_line(name, base, bare, copy):
    """Guarantee 1 of `examine`."""
    folder = copy(base)
    path = folder / name
    if bare:
        path = folder / "alone" / name
        path.parent.mkdir()
        path.write_bytes((folder / name).read_bytes())
    content = path.read_bytes()
    key, layers = ("ledger", (Layer.RECOMPUTATION,)) if name == LEDGER else ("evidence", (Layer.CONFORMITY,))
    for place, byte in flips(content, FLIPS, seed=1):
        path.write_bytes(content[:place] + byte + content[place + 1 :])
        found = looked_at(path if bare else folder, layers=layers)
        wrong = finding(found, key)
        assert found.verdict is wrong.outcome is FAIL
        line = content[:place].count(b"\n") + 1
        assert wrong.where == f"{name}, line {line}", (place, byte, wrong)
    path.write_bytes(content)
    assert finding(looked_at(path if bare else folder, layers=layers), key).outcome is PASS


def shuffled(lines):
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


@pytest.mark.parametrize(("alter", "line"), [
    (shuffled, 3),
    (lambda lines: lines[:2] + lines[3:], 3),
    (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
    (lambda lines: lines[1:], 1),
    (lambda lines: [*lines, lines[-1]], None),
    (lambda lines: [b"\n", *lines], 1),
    (lambda lines: [lines[0], b" " + lines[1], *lines[2:]], 2),
], ids=["swapped", "removed", "repeated", "beheaded", "closed twice", "blank line", "space"])  # fmt: skip
@pytest.mark.parametrize(("name", "key"), [(LEDGER, "ledger"), (EVIDENCE, "evidence")])
def test_lines_that_were_moved_are_found(name, key, alter, line, copy):
    folder = copy("central")
    lines = (folder / name).read_bytes().splitlines(keepends=True)
    (folder / name).write_bytes(b"".join(alter(lines)))
    wrong = finding(looked_at(folder), key)
    assert wrong.outcome is FAIL
    assert wrong.where == f"{name}, line {line or len(lines) + 1}"


def without_tail(path, lines=1):
    """Take whole lines off the end."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))


def test_a_ledger_alone_that_lacks_its_end_is_inconclusive(copy):
    """It may be of a run that has not ended."""
    for lines in (1, 2):
        path = copy("central", to=f"run-{lines}") / LEDGER
        without_tail(path, lines)
        (path.parent / EVIDENCE).unlink()
        one = finding(looked_at(path), "ledger")
        assert one.outcome is INCONCLUSIVE
        assert "closing record" in one.missing


def test_a_ledger_that_lacks_a_charge_fails_beside_its_evidence(copy):
    """Only the closing record is missing: inconclusive. A charge as well: what was released proves it."""
    folder = copy("central")
    without_tail(folder / LEDGER)
    assert odd(looked_at(folder)) == {"ledger": INCONCLUSIVE}
    without_tail(folder / LEDGER)
    found = looked_at(folder)
    assert odd(found) == {"ledger": INCONCLUSIVE, "metrics": FAIL, "rounds": FAIL}
    assert found.verdict is FAIL


def test_evidence_that_lacks_its_end_fails_beside_a_closed_ledger(copy):
    """The ledger's closing record remembers it; without a ledger nobody does."""
    for base, outcome in (("central", FAIL), ("none", INCONCLUSIVE)):
        folder = copy(base, to=base)
        without_tail(folder / EVIDENCE)
        assert finding(looked_at(folder), "evidence").outcome is outcome


def test_a_line_that_was_torn_is_a_finding_and_stays_torn(copy):
    folder = copy("central")
    for name, key in ((LEDGER, "ledger"), (EVIDENCE, "evidence")):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-40])
        one = finding(looked_at(folder), key)
        assert one.outcome is FAIL
        assert "torn" in one.detail
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(("name", "key"), [(LEDGER, "rounds"), (EVIDENCE, "rounds")])
def test_a_file_of_another_run_is_found_out(name, key, copy, tmp_path):
    """Another run of the same job, even signed with the same key: two ledgers differ."""
    folder = copy("central")
    other = tmp_path / "other"
    other.mkdir()
    (other / COORDINATOR).write_bytes((folder / COORDINATOR).read_bytes())
    made(other, JOBS["central"]())
    (folder / name).write_bytes((other / name).read_bytes())
    found = looked_at(folder)
    assert finding(found, key).outcome is FAIL
    assert "another ledger" in finding(found, key).detail
    assert finding(found, "writer").outcome is PASS


def test_a_key_that_is_not_the_coordinators_fails(honest):
    stranger = Identity.generate(OsEntropy()).public
    for base in ("central", "none"):
        for path in (honest[base], honest["central"] / LEDGER):
            found = looked_at(path, signer=stranger)
            assert odd(found)["writer"] is FAIL
        right = looked_at(honest[base], signer=key_of(honest[base]).public)
        assert odd(right) == {}
        assert "was told" in finding(right, "writer").detail


def test_a_recorded_session_that_was_changed_or_lost_fails(copy):
    folder = copy("central")
    path = min((folder / "probes").glob("*.npz"))
    content = path.read_bytes()
    for changed in (content[:-1] + bytes([content[-1] ^ 1]), b"", b"\0" * 100):
        path.write_bytes(changed)
        found = looked_at(folder)
        assert {"uploads", "noise-added", "contributions"} <= odd(found).keys()
        assert "it was changed" in finding(found, "noise-added").detail
        assert found.verdict is FAIL
    path.unlink()
    assert "cannot be read" in finding(looked_at(folder), "noise-added").detail
    path.mkdir()
    assert finding(looked_at(folder), "noise-added").outcome is FAIL


def archive(header, content=b"", flags=0, method=8):
    """What a probe's file could be: two arrays of a shape that somebody made up, and a damaged directory."""
    made_up = io.BytesIO()
    with zipfile.ZipFile(made_up, "w", zipfile.ZIP_DEFLATED) as file:
        for name, dtype in (("released", "<i8"), ("upload", "|u1")):
            array = io.BytesIO()
            np.lib.format.write_array_header_1_0(array, {"descr": dtype, "fortran_order": False, "shape": header})
            file.writestr(f"{name}.npy", array.getvalue() + content)
    raw = bytearray(made_up.getvalue())
    entry = raw.find(b"PK\x01\x02")
    raw[6] |= flags
    raw[entry + 8] |= flags
    raw[8] = raw[entry + 10] = method
    return bytes(raw)


def torn_stream():
    raw = bytearray(archive((100,), bytes(800)))
    start = raw.find(b"released.npy") + len("released.npy")
    raw[start : start + 10] = b"\xff" * 10
    return bytes(raw)


PROBES = {
    "eight tebibytes": archive((1 << 40,)),
    "more than there are numbers": archive((1 << 70,)),
    "forty dimensions": archive((1,) * 40),
    "no entries": archive((0,)),
    "encrypted": archive((62,), bytes(496), flags=1),
    "an unknown method": archive((62,), bytes(496), method=99),
    "a torn stream": torn_stream(),
    "a stranger's pickle": b"\x80\x04N.",
    "no archive": b"PK\x03\x04",
}


@pytest.mark.parametrize("content", PROBES.values(), ids=PROBES)
def test_a_recorded_session_that_was_made_up_fails(content, copy):
    """Its digest is signed: whoever made it up owns the key."""
    folder = copy("one-probe")
    (path,) = (folder / "probes").glob("*.npz")
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    forge(folder, evidence=of("session", lambda body: body["probe"] and body["probe"].update(sha256=digest)))
    found = looked_at(folder)
    assert finding(found, "noise-added").outcome is FAIL
    assert finding(found, "uploads").outcome is FAIL


def test_recorded_training_that_was_changed_or_lost_fails(copy):
    folder = copy("example")
    path = folder / "probes" / "training.npz"
    content = path.read_bytes()
    for changed in (content[:-1] + bytes([content[-1] ^ 1]), content[: len(content) // 2], b"", None):
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        found = looked_at(folder, layers=(Layer.CONFORMITY, Layer.EMPIRICAL))
        assert odd(found) == dict.fromkeys(("trainer-noise", "trainer-clip", "canaries"), FAIL)
        path.write_bytes(content)


@pytest.mark.parametrize("name", [
    "../../../../../../../../etc/passwd", "/etc/passwd", "probes/../../elsewhere.npz", "probes/link.npz",
])  # fmt: skip
def test_no_name_leads_out_of_the_run(name, copy, tmp_path):
    folder = copy("central")
    first = min((folder / "probes").glob("*.npz"))
    shutil.copy(first, tmp_path / "elsewhere.npz")
    (folder / "probes" / "link.npz").symlink_to(tmp_path / "elsewhere.npz")

    def elsewhere(body):
        if body["probe"] is not None and body["probe"]["number"] == 1:
            body["probe"]["file"] = name

    forge(folder, evidence=of("session", elsewhere))
    one = finding(looked_at(folder), "noise-added")
    assert one.outcome is FAIL
    assert "outside the run's directory" in one.detail


def test_another_job_is_not_the_one_that_the_ledger_names(copy):
    folder = copy("central")
    another_job(folder, rounds=4)
    found = looked_at(folder)
    assert odd(found) == {"job": FAIL}
    assert finding(found, "job").where == JOB
    (folder / JOB).write_bytes(b"\xff\x00")
    assert finding(looked_at(folder), "job").outcome is FAIL
    (folder / JOB).unlink()
    missing = finding(looked_at(folder), "job")
    assert (missing.outcome, "job file" in missing.missing) == (INCONCLUSIVE, True)


GARBAGE = {
    "empty": b"",
    "newline": b"\n",
    "binary": bytes(range(256)) * 20,
    "text": b"no ledger\n",
    "null": b"null\n",
    "nan": b'{"body":{},"kind":"open","previous":"' + b"0" * 64 + b'","sequence":NaN,"signature":""}\n',
    "infinity": b'{"body":{"a":Infinity}}\n',
    "huge": b'{"sequence":' + b"9" * 5000 + b"}\n",
    "deep": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    "no end": b"{" * 10,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_fails_and_raises_nothing(content, honest, copy, tmp_path):
    assert honest.audit("small").verdict is PASS
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / LEDGER).write_bytes(content)
    assert looked_at(alone / LEDGER).verdict is FAIL
    folder = copy("small")
    for name in (LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS, "clients/0001.jsonl", COORDINATOR):
        was = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        found = looked_at(folder)
        if name != COORDINATOR:  # of the key's file nothing is promised
            assert found.verdict is not PASS, name
        (folder / name).write_bytes(was)


@pytest.mark.parametrize("name", [LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS])
def test_a_directory_in_a_files_place_fails(name, copy):
    folder = copy("small")
    (folder / name).unlink()
    (folder / name).mkdir()
    assert looked_at(folder).verdict is not PASS


def test_nothing_to_audit_is_an_error_of_whoever_asks(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigurationError):
            examine(path)
    # A file that is not a ledger is a ledger that cannot be believed.
    (tmp_path / "some.txt").write_text("hello\n")
    assert looked_at(tmp_path / "some.txt").verdict is FAIL


def test_a_ledger_that_vanished_is_missed(copy):
    folder = copy("central")
    (folder / LEDGER).unlink()
    found = looked_at(folder)
    assert finding(found, "ledger").outcome is FAIL
    assert "claims privacy" in finding(found, "ledger").detail


# What is signed, and makes no sense

NUMBERS = st.one_of(
    st.integers(-3, 100),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, 5e-324, 0.0, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.sampled_from(["client", "kahe", "00" * 16])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def places_in(value, path=()):
    """Where a value stands in a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*path, key)
            yield from places_in(part, (*path, key))
    elif isinstance(value, list):
        for place, part in enumerate(value[:3]):
            yield (*path, place)
            yield from places_in(part, (*path, place))


def put(value, path, new):
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


@pytest.mark.parametrize("name", [LEDGER, EVIDENCE])
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(chance=st.data())
def test_whatever_is_signed_the_answer_is_an_audit(name, honest, tmp_path_factory, chance):
    """Guarantee 1 of `check`, through the whole of it: one value or two of a line are others, and all is signed."""
    folder = tmp_path_factory.mktemp("odd") / "run"
    shutil.copytree(honest["one-probe"], folder)

    def alter(bodies):
        for _ in range(chance.draw(st.integers(1, 2))):
            _, body = bodies[chance.draw(st.integers(0, len(bodies) - 1))]
            places = list(places_in(body))
            if places:
                put(body, chance.draw(st.sampled_from(places)), chance.draw(VALUES))
        return bodies

    forge(folder, **{"ledger" if name == LEDGER else "evidence": alter})
    found = looked_at(folder)
    assert found.verdict in {PASS, FAIL, INCONCLUSIVE}
    shutil.rmtree(folder)


@pytest.mark.parametrize("clip", [{}, [], None, "half"])
def test_known_inputs_for_a_clip_that_is_no_number_are_found_wrong_and_bring_nothing_down(clip, copy):
    """Guarantee 1 of `check`, where what is read raises more than one kind of error."""
    folder = copy("one-probe")
    forge(folder, evidence=of("session", lambda body: body["probe"] and body["probe"].update(clip=clip)))
    assert odd(looked_at(folder, layers=(Layer.CONFORMITY,)))["uploads"] is FAIL


@pytest.mark.parametrize("number", [0, 7, 10**15, 10**30])
def test_rounds_are_not_counted_up_to_whatever_is_written(number, copy):
    folder = copy("central")
    forge(folder, evidence=in_round(3, lambda body: body.update(round=number)))
    assert odd(looked_at(folder))["rounds"] is FAIL


# A claim of more than is shown


def test_a_bare_ledger_is_inconclusive_and_says_what_is_missing(honest):
    """Guarantee 2 of `examine`."""
    found = looked_at(honest["receipts"] / LEDGER)
    assert (found.kind, found.verdict) == ("ledger", INCONCLUSIVE)
    assert found.epsilon == pytest.approx(found.claim.epsilon, rel=1e-6)
    assert set(odd(found).values()) == {INCONCLUSIVE}
    missing = {one.key: one.missing for one in found.reasons}
    for key, words in {
        "writer": "--signer",
        "job": "job file",
        "rounds": EVIDENCE,
        "drop-outs": EVIDENCE,
        "receipts": RECEIPTS,
        "evidence": EVIDENCE,
        "secure-aggregation": EVIDENCE,
    }.items():
        assert words in missing[key], key
    assert all(missing.values())


def test_arithmetic_alone_is_looked_at_where_it_is_asked_for(honest):
    found = looked_at(honest["central"], layers=(Layer.RECOMPUTATION,))
    assert {one.layer for one in found.findings} == {Layer.RECOMPUTATION}
    assert found.verdict is PASS
    assert found.layers == (Layer.RECOMPUTATION,)
    assert found.measured == ()
    assert found.of_layer(Layer.EMPIRICAL) is NOT_CLAIMED
    one = looked_at(honest["central"], layers=(Layer.EMPIRICAL,))
    assert {finding.layer for finding in one.findings} == {Layer.EMPIRICAL}
    assert one.measured


@pytest.mark.parametrize("mode", ["client-central", "client-distributed", "example"])
def test_a_run_that_recorded_nothing_is_inconclusive(mode, tmp_path):
    found = looked_at(made(tmp_path / "run", job(mode, audit={"probes": 0, "canaries": 0})))
    assert found.verdict is INCONCLUSIVE
    wanted = {"trainer-noise": "audit.canaries", "trainer-clip": "audit.canaries", "canaries": "audit.canaries"}
    if mode != "example":
        wanted = dict.fromkeys(("noise-added", "contributions", "canaries"), "audit.probes")
    for key, words in {"uploads": "audit.probes", **wanted}.items():
        one = finding(found, key)
        assert (one.outcome, words in one.missing) == (INCONCLUSIVE, True), key


def test_a_control_that_could_be_chance_is_none(tmp_path):
    """Ten guesses of ten are right twice in a thousand tries under this claim: nothing is doubted at that level."""
    wanted = job("client-central", "plain", count=1, clients=5, audit={"probes": 4}, privacy={"noise_multiplier": 20.0})
    found = looked_at(made(tmp_path / "run", wanted))
    assert odd(found) == {"control": INCONCLUSIVE}
    assert "10 of 10 guesses were right" in finding(found, "control").detail


def test_a_run_that_has_not_ended_is_inconclusive(tmp_path):
    found = looked_at(made(tmp_path / "run", JOBS["central"](), until=2))
    assert found.verdict is INCONCLUSIVE
    assert {key for key in ("ledger", "evidence") if odd(found).get(key) is INCONCLUSIVE} == {"ledger", "evidence"}
    assert FAIL not in odd(found).values()
    assert found.claim.epsilon is None
    assert len(found.rounds) == 2


def test_epsilon_is_told_at_another_delta_and_compared_at_the_ledgers(honest):
    usual, other = honest.audit("central"), looked_at(honest["central"], delta=1e-7)
    assert other.at_delta == 1e-7
    assert other.epsilon > usual.epsilon
    assert other.verdict is PASS
    assert other.claim.delta == usual.claim.delta == 1e-5


@pytest.mark.parametrize("change", [closing(epsilon=1.0), closing(epsilon=0), closing(epsilon=-1e308)])
def test_a_smaller_epsilon_than_was_spent_fails(change, copy):
    folder = copy("central")
    forge(folder, ledger=change)
    assert odd(looked_at(folder)) == {"epsilon": FAIL}


@pytest.mark.parametrize(("change", "key"), [
    (opening(denominator=1), "terms"),
    (charging(denominator=1), "terms"),
    (opening(noise_variance=1e9), "noise"),
    (opening(l2_sensitivity=1e-3), "weights"),
    (opening(granularity=1e-9), "weights"),
    (in_round(2, lambda body: body["facts"].update(contributors=11)), "drop-outs"),
    (in_round(2, lambda body: body["facts"].update(noise_multiplier_effective=3.0)), "noise"),
    (in_round(2, lambda body: body["facts"].update(noise_std_of_sum=100.0)), "noise"),
    (in_round(2, lambda body: body["events"][0].update(noise_multiplier=3.0)), "noise"),
    (of("open", lambda body: body["planned"].update(noise_multiplier=3.0)), "job"),
    (of("open", lambda body: body.update(population=11)), "job"),
    (opening(against="everybody"), "job"),
    (charging(cohort=10**6), "drop-outs"),
    (charging(ring_bits=7), "drop-outs"),
    (charging(clip=50.0), "drop-outs"),
])  # fmt: skip
def test_terms_that_contradict_each_other_are_found(change, key, copy):
    folder = copy("central")
    forge(folder, ledger=change)
    assert odd(looked_at(folder)).get(key) is FAIL


@pytest.mark.parametrize("event", [
    {"event": "non-private", "reason": "the clients' mean age", "count": 1},
    {"event": "gaussian", "noise_multiplier": 0.001, "count": 1},
])  # fmt: skip
def test_a_release_without_noise_is_named(event, copy):
    folder = copy("central")
    forge(folder, ledger=in_round(2, lambda body: body["events"].append(event)))
    found = looked_at(folder)
    assert found.verdict is FAIL
    assert odd(found)["epsilon"] is FAIL
    if event["event"] == "non-private":
        assert odd(found)["unprotected"] is FAIL
        assert any("mean age" in words for words in found.unprotected)


# Checks, outcomes, verdicts


def test_a_finding_says_whose_word_it_rests_on_whatever_came_of_it():
    def saw():
        return Seen(detail="It is so.", rests_on=Word.COORDINATOR)

    def missed():
        raise Undecided("It cannot be told.", rests_on=Word.CLIENTS)

    assert check("key", Layer.CONFORMITY, "It is so", saw).rests_on is Word.COORDINATOR
    assert check("key", Layer.CONFORMITY, "It is so", missed).rests_on is Word.CLIENTS


def test_the_verdict_is_the_weakest_of_all():
    def one(outcome):
        return Finding(key="k", layer=Layer.CONFORMITY, outcome=outcome, title="t", detail="d")

    order = [NOT_CLAIMED, PASS, INCONCLUSIVE, FAIL]
    for first, second in product(order, order):
        worst = order[max(order.index(first), order.index(second))]
        assert weakest([first, second]) is worst
        assert weakest(found.outcome for found in (one(first), one(second))) is worst
    assert weakest([]) is NOT_CLAIMED


# Long runs


def long_ledger(path, charges, mode=Mode.CLIENT_DISTRIBUTED, rounds=1000, **facts):
    sampled = isinstance(charges(0).event, PoissonSampled)
    opened = Opening(
        unit=Unit.CLIENT,
        mode=mode,
        population=10_000,
        budget=Budget(delta=1e-5, relation=Relation.ZERO_OUT),
        facts={"sampling": "poisson", "amplification": True, "sampling_probability": 0.01} if sampled else {},
    )
    with Ledger.create(path, opened, Identity.generate(OsEntropy())) as ledger:
        for number in range(rounds):
            ledger.charge(round=number + 1, events=[charges(number)], facts={"contributors": 50 + number % 50})
        ledger.close({"rounds": rounds, "epsilon": 1e6})
    return path


def skellam(number):
    """With as many contributors as the ledger says: fifty different ones."""
    return Repeated(event=Skellam(variance=1e6 * (50 + number % 50), l2_sensitivity=1e3, l1_sensitivity=1e4), count=1)


def sampled_gaussian(_number):
    return Repeated(event=PoissonSampled(sampling_probability=0.01, event=Gaussian(noise_multiplier=1.0)), count=1)


@pytest.mark.parametrize("charges", [skellam, sampled_gaussian])
def test_a_thousand_rounds_are_audited(charges, tmp_path, monkeypatch):
    monkeypatch.setattr("privfl.journal.appending.to_disk", lambda *_: None, raising=False)
    found = looked_at(long_ledger(tmp_path / LEDGER, charges))
    assert len(found.rounds) == 1000
    assert found.epsilon is not None
    assert found.curve
    assert odd(found).get("ledger", PASS) is PASS
    assert finding(found, "epsilon").outcome is PASS
    assert sum(one.epsilon is not None for one in found.rounds) >= 5
    assert found.rounds[-1].epsilon == pytest.approx(found.epsilon, rel=1e-3)
