"""What stands in the place of a run's files may be made up to hang, fill or mislead whoever audits it: the answer is
findings, soon, and nothing but them reaches the terminal."""

import io
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import threading
import tomllib
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("dp_accounting")

from audit_frauds import JOBS, forge, key_of, made, of

from privfl.audit import artefacts as files
from privfl.audit.artefacts import read_artefacts
from privfl.audit.checks import Undecided, Wrong
from privfl.audit.findings import Audit, Claim, Finding, Layer, Outcome
from privfl.audit.participation import _have_no_gap
from privfl.audit.probes import _unpacked
from privfl.audit.report import render_audit
from privfl.cli.audit import _show
from privfl.cli.main import main
from privfl.dp.ledger import read_ledger
from privfl.dp.receipts import make_receipt
from privfl.errors import ConfigurationError, LedgerError
from privfl.journal import reading
from privfl.journal.reading import content_of
from privfl.learning.books import COORDINATOR, LEDGER
from privfl.learning.client_books import RECEIPTS
from privfl.learning.job import MAX_ROUNDS, MOST_JOB_BYTES, job_from_table, job_from_toml, job_to_toml, load_job
from privfl.learning.npz import DAMAGE, read_npz
from privfl.learning.paperwork import JOB
from privfl.learning.rounds import METRICS
from privfl.learning.tables import override
from privfl.learning.training_probe import TrainingProbe
from privfl.learning.witness import EVIDENCE
from privfl.report.formats import UNSEEN, visible

SECONDS = 10
HOSTILE = "x\x1b[2J\x1b[H\nverdict: pass\r\x9b8m\u202e\u200b\udc80[bold]\\[/b]\t:smile:"
"""A name that clears the screen and prints a verdict of its own; rich would take parts of it for markup."""
KINDS = ("pipe", "device", "directory", "socket", "circle", "nothing")


@pytest.fixture(autouse=True)
def _soon():
    """A test that waits for ever fails instead."""

    def stop(*_):
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs") / "run", JOBS["one-probe"]())


@pytest.fixture
def run(honest, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(honest, folder)
    (folder / "clients").mkdir()
    return folder


def put(path, kind):
    """Let something else than a file stand at a path."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "nothing":
        path.symlink_to("gone")
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has a hundred letters at the most
        try:
            with socket.socket(socket.AF_UNIX) as made_up:
                made_up.bind(path.name)
        finally:
            os.chdir(here)


# What is no file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_neither_waited_for_nor_read(run, kind):
    probe = min((run / "probes").glob("*.npz"))
    for path in (*(run / name for name in (LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS, COORDINATOR)), probe):
        put(path, kind)
    put(run / "clients" / "one.jsonl", kind)
    read = read_artefacts(run)
    for one in (read.ledger, read.evidence, read.job, read.metrics, read.receipts, *read.clients):
        assert one.value is None
        assert ("cannot be read" if kind in {"circle", "nothing"} else "no regular file") in one.problem
        assert str(run) not in one.problem
    assert len(read.clients) == 1
    assert read.own is None
    assert len(read.digests) == 7
    assert {digest for _, digest in read.digests} == {"cannot be read"}
    with pytest.raises(LedgerError, match=r"^probes/\S*(: no regular file| cannot be read| lies outside)"):
        read.bytes_of(f"probes/{probe.name}")
    with pytest.raises(ConfigurationError, match=METRICS):
        read_artefacts(run / METRICS)
    with pytest.raises(LedgerError, match=LEDGER):
        read_ledger(run / LEDGER)


@pytest.mark.parametrize("name", [LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS, "probe"])
def test_an_audit_of_what_is_no_file_ends_with_a_verdict(run, name, capsys):
    put(min((run / "probes").glob("*.npz")) if name == "probe" else run / name, "pipe")
    assert main(["audit", str(run), "--json"]) in {1, 2}
    captured = capsys.readouterr()
    assert "no regular file" in captured.out
    assert json.loads(captured.out)["verdict"] != "pass"
    assert captured.err == ""


def test_a_path_that_nothing_can_be_at_is_a_usage_error(tmp_path, capsys):
    put(tmp_path / "pipe", "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "a\0b", "x" * 5000, f"{tmp_path}/\x1b[2J", "\udc80"):
        assert main(["audit", str(path)]) == 64
        assert not UNSEEN.search(capsys.readouterr().err)


def test_files_that_may_not_be_read_are_findings(run, monkeypatch):
    opened = os.open

    def refused(path, *rest, **more):
        if str(path).startswith(str(run)):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refused)
    read = read_artefacts(run)
    assert {one.problem for one in (read.ledger, read.evidence, read.job, read.metrics)} == {
        "cannot be read: Permission denied"
    }
    assert read.own is None


def test_a_file_is_read_up_to_its_limit(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert content_of(path, 4) == b"1234"
    with pytest.raises(LedgerError, match="larger than 3 bytes"):
        content_of(path, 3)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(LedgerError, match="larger than 1073741824 bytes"):
        read_ledger(path)
    # Another file takes its place between the look and the opening.
    path.unlink()
    path.write_bytes(b"1234")
    put(tmp_path / "pipe", "pipe")
    monkeypatch.setattr(reading.os, "open", lambda _path, flags, opened=os.open: opened(tmp_path / "pipe", flags))
    with pytest.raises(LedgerError, match="no regular file"):
        content_of(path, 4)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\udc80", "probes", "", ".", "probes/../..", "/dev/zero"])
def test_a_name_that_no_file_of_the_run_has_is_refused(run, name):
    with pytest.raises(LedgerError):
        read_artefacts(run).bytes_of(name)


# Lines ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"round": %d}\n' % 10**400, "line 1: no line of metrics"),
        (b'{"round": ' + b"9" * 5000 + b"}\n", "line 1: no JSON"),
        (b'{"round": -1}\n', "line 1: no line of metrics"),
        (b'{"round": true}\n', "line 1: no line of metrics"),
        (b'{"round": NaN}\n', "line 1: no line of metrics"),
        (b'{"round": 1}\n{"round": 1, "local_loss": [1]}\n', "line 2: no line of metrics"),
        (b'{"round": 1, "local_loss": {"a": 1}}\n', "line 1: no line of metrics"),
        (b'{"round": 1, "local_loss": %d}\n' % 10**400, "line 1: no line of metrics"),
        (b"[" * 30_000 + b"]" * 30_000 + b"\n", "line 1: no JSON"),
        (b"[" * (2 << 20) + b"\n", "line 1: longer than"),
        (json.dumps({"round": 1} | dict.fromkeys(map(str, range(300)))).encode() + b"\n", "line 1: no line of metrics"),
        (b"\xff\xfe\n", "line 1: no text: byte 0"),
        (b"\n" * (1 << 20), "line 1: no JSON"),
        (b'{"round": 1}', "line 1: torn"),
        (b'{"round": 1}\n' * (MAX_ROUNDS + 1), f"line {MAX_ROUNDS + 1}: more than"),
    ],
)
def test_metrics_that_no_run_tells_are_not_believed(run, content, problem):
    (run / METRICS).write_bytes(content)
    read = read_artefacts(run).metrics
    assert read.value is None
    assert read.problem.startswith(problem)
    assert read.line == int(problem.split(":")[0].removeprefix("line "))


def test_metrics_of_odd_but_possible_form_are_read(run):
    for content, rows in ((b"", 0), (b'{"round": 1}\r\n{"round": 2, "loss": NaN, "accuracy": 1e999}\r\n', 2)):
        (run / METRICS).write_bytes(content)
        assert len(read_artefacts(run).metrics.value) == rows


def test_figures_that_are_lists_are_a_finding(run, capsys):
    (run / METRICS).write_text('{"round": 1, "saturated_fraction": [1], "local_loss": {"a": 1}}\n')
    assert main(["audit", str(run)]) in {1, 2}
    captured = capsys.readouterr()
    assert "some numbers and words are due" in captured.out
    assert captured.err == ""


def receipt(run, **changes):
    facts = {"session": bytes(16), "params_digest": bytes(32), "noise": {}, "rounds": 1}
    return make_receipt(key_of(run), **facts | changes).to_json()


def test_receipts_that_cannot_be_are_not_believed(run):
    good = receipt(run)
    path = run / RECEIPTS
    path.write_text(f"{good}\n")
    assert len(read_artefacts(run).receipts.value) == 1
    deep = good.replace('"noise":{}', '"noise":{"a":' + "[" * 900 + "]" * 900 + "}")
    deeper = good.replace('"noise":{}', '"noise":{"a":' + "[" * 30_000 + "]" * 30_000 + "}")
    vast = good.replace('"rounds":1', '"rounds":1' + "0" * 400)
    for line in (deep, deeper, vast, vast.replace("0" * 400, "0" * 5000), "[]", "null", "1", '"a"', "", good * 100):
        path.write_text(f"{good}\n{line}\n")
        read = read_artefacts(run).receipts
        assert (read.value, read.line) == (None, 2)
        assert len(read.problem) <= 501
    path.write_bytes(good.encode() + b"\n\xff\n")
    assert read_artefacts(run).receipts.problem == "line 2: no text: byte 0"


def test_a_receipt_that_counts_to_a_thousand_million_costs_nothing():
    for promised, kind in ((True, Wrong), (False, Undecided)):
        tracemalloc.start()
        with pytest.raises(kind, match=r"number \[1, 3, 4, 5, 6\]; 1 of 2 clients"):
            _have_no_gap(RECEIPTS, {b"a": {2, 10**9}, b"b": {1, 2}}, promised=promised)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
    with pytest.raises(Wrong, match=r"number \[3\]"):
        _have_no_gap(RECEIPTS, {b"a": {1, 2, 4}}, promised=True)
    _have_no_gap(RECEIPTS, {b"a": {1}, b"b": {3, 1, 2}}, promised=True)


# Jobs -----------------------------------------------------------------------------------------------------------------

JOB_FILES = {
    "deep lists": "a = " + "[" * 20_000 + "]" * 20_000,
    "deep lists in lines": "a = " + "[\n" * 100_000,
    "deep tables": "a = " + "{a=" * 100_000,
    "a long key": "a." * 60_000 + "b = 1\n",
    "a long name of a table": "[" + "a." * 60_000 + "b]\n",
    "400 digits": "rounds = " + "9" * 400,
    "5000 digits": "rounds = " + "9" * 5000,
    "5000 digits of a float": "[encoding]\nclip = " + "9" * 5000,
    "400 digits of a float": "[encoding]\nclip = " + "9" * 400,
    "5000 hexadecimal digits": "suite = 0x" + "f" * 5000,
    "hexadecimal digits in a list": "[[failures.drop]]\nround = 1\nclients = [0x" + "f" * 5000 + "]",
    "an infinite float": "[encoding]\nclip = 1" + "0" * 5000 + ".0",
    "no number": "[privacy]\nmode = 'client-central'\nclip = nan\ndelta = nan\nnoise_multiplier = inf",
    "a large file": "#" * (MOST_JOB_BYTES + 1),
    "no text": "\udcff",
    "zero bytes": "\0" * 1000,
    "a date": "rounds = 2020-01-01",
}


@pytest.mark.parametrize("text", JOB_FILES.values(), ids=JOB_FILES.keys())
def test_a_job_that_no_job_file_holds_is_refused_in_a_sentence(text, run):
    path = run / JOB
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError):
        load_job(path)
    read = read_artefacts(run).job
    assert read.value is None
    assert 0 < len(read.problem) <= 501


def test_the_limits_of_job_files_leave_room(run, tmp_path):
    text = (run / JOB).read_text()
    wanted = load_job(run / JOB)
    assert job_from_toml(text.replace("\n", "\r\n").encode()) == wanted
    assert job_from_toml((text + "# " + "." * 1000 + "\n").encode()) == wanted
    assert job_from_toml(text.encode().ljust(MOST_JOB_BYTES)) == wanted
    put(tmp_path / "pipe", "pipe")  # a person may feed a job through one
    feeding = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,), daemon=True)
    feeding.start()
    assert load_job(tmp_path / "pipe") == wanted
    feeding.join(SECONDS)


@pytest.mark.parametrize("place", ["model", "name", "test"])
def test_no_code_is_run_because_an_audited_job_names_it(run, place, tmp_path, monkeypatch, capsys):
    ran = tmp_path / "ran"
    (tmp_path / "evil_things.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    changes = {"model": "evil_things:run"} if place == "model" else {"data": {place: "evil_things:run"}}
    table = tomllib.loads((run / JOB).read_text())
    table["data"] |= {"classes": 2, "name": "evil_things:run"} | changes.pop("data", {})
    (run / JOB).write_text(job_to_toml(job_from_table(table | changes)))
    assert main(["audit", str(run), "--json"]) == 1
    assert "evil_things" in (run / JOB).read_text()
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"
    assert not ran.exists()


def test_an_override_beyond_all_numbers_is_refused():
    for value in ("9" * 5000, "[" * 20_000, "0x" + "f" * 5000):
        with pytest.raises(ConfigurationError):
            job_from_toml(b"", [f"rounds={value}"])
    table = {}
    override(table, "rounds=" + "9" * 5000)
    assert table == {"rounds": "9" * 5000}


# Archives -------------------------------------------------------------------------------------------------------------


def saved(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def header(shape, kind="<i8", *, fortran=False):
    text = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text = text.ljust(117 if len(text) < 118 else len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def packed(members, method=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, member in members:
            archive.writestr(name, member)
    return content.getvalue()


def patched(content, local, central, value):
    """Set two bytes of every local header, and of every entry of the directory."""
    changed = bytearray(content)
    for sign, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = changed.find(sign)
        while place >= 0:
            changed[place + offset : place + offset + 2] = struct.pack("<H", value)
            place = changed.find(sign, place + 1)
    return bytes(changed)


RELEASED = ("released.npy", saved(np.arange(64)))
UPLOAD = ("upload.npy", saved(np.frombuffer(b"abcd", np.uint8)))
GOOD = packed([RELEASED, UPLOAD])


def shrunk(content):
    """The same archive, whose first member announces 200 bytes and unpacks to more."""
    changed = bytearray(content)
    for sign, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = changed.find(sign) + offset
        changed[place : place + 4] = struct.pack("<I", 200)
    return bytes(changed)


def of_released(member, method=zipfile.ZIP_STORED):
    return packed([("released.npy", member), UPLOAD], method)


ZEROS = header("(4194304,)") + bytes(1 << 25)
ARCHIVES = {
    "2^33 elements": of_released(header("(8589934592,)")),
    "2^60 elements": of_released(header("(1152921504606846976,)")),
    "40 digits of elements": of_released(header("(" + "9" * 38 + ",)")),
    "no elements of a length beyond all": of_released(header("(0, 99999999999999999999)")),
    "a negative length": of_released(header("(-64,)") + bytes(512)),
    "swelling": of_released(ZEROS, zipfile.ZIP_DEFLATED),
    "swelling, in another way": of_released(ZEROS, zipfile.ZIP_LZMA),
    "swelling, in a third way": of_released(ZEROS, zipfile.ZIP_BZIP2),
    "swelling beyond what it says": shrunk(of_released(ZEROS, zipfile.ZIP_DEFLATED)),
    "objects": of_released(header("(1,)", "|O") + b"cos\nsystem\n(S'true'\ntR."),
    "texts": of_released(saved(np.array(["a"]))),
    "big-endian": of_released(saved(np.arange(4, dtype=">i8"))),
    "floats": of_released(saved(np.zeros(4))),
    "columns first": of_released(header("(64,)", fortran=True) + bytes(512)),
    "two dimensions": of_released(saved(np.zeros((2, 2), np.int64))),
    "no header": of_released(b""),
    "half a header": of_released(b"\x93NUMPY\x03\x00\xff"),
    "a deep header": of_released(header("(" * 4000)),
    "too few bytes": of_released(RELEASED[1][:-1]),
    "too many bytes": of_released(RELEASED[1] + b"\0"),
    "another name": packed([RELEASED, UPLOAD, ("more.npy", UPLOAD[1])]),
    "a name too few": packed([RELEASED]),
    "a name twice": packed([RELEASED, RELEASED, UPLOAD]),
    "a name from elsewhere": packed([("../released.npy", RELEASED[1]), UPLOAD]),
    "many names": packed((f"{number}", b"") for number in range(5000)),
    "encrypted": patched(GOOD, 6, 8, 1),
    "patched": patched(GOOD, 6, 8, 0x20),
    "unknown method": patched(GOOD, 8, 10, 99),
    "stored, says it is deflated": patched(GOOD, 8, 10, zipfile.ZIP_DEFLATED),
    "changed": GOOD.replace(struct.pack("<q", 7), struct.pack("<q", 8)),
    "cut": GOOD[:-30],
    "no archive": saved(np.arange(64)),
    "empty": b"",
    "an end alone": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_recorded_session_that_is_none_is_refused_and_takes_no_memory(content):
    tracemalloc.start()
    with pytest.raises(Wrong):
        _unpacked(content, "here")
    with pytest.raises(ConfigurationError, match="training probe"):
        TrainingProbe.from_npz(content)
    assert tracemalloc.get_traced_memory()[1] < max(8 << 20, 8 * len(content))
    tracemalloc.stop()


def test_nothing_is_unpickled_of_what_an_audited_run_recorded(tmp_path):
    ran = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch " + os.fsencode(ran) + b"'\ntR."
    with pytest.raises(Wrong):
        _unpacked(of_released(header("(1,)", "|O") + evil), "here")
    assert not ran.exists()


def test_arrays_that_say_less_than_they_unpack_to_are_cut_before_they_grow():
    content = shrunk(of_released(ZEROS, zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    with pytest.raises(DAMAGE):
        read_npz(content, ("released", "upload"), 1 << 30)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_honest_session_is_read():
    released, upload = _unpacked(GOOD, "here")
    assert released.tolist() == list(range(64))
    assert upload == b"abcd"


def test_archives_cut_or_changed_anywhere_are_read_or_refused():
    chance = np.random.default_rng(7)
    for place in itertools.chain(range(0, len(GOOD), 7), chance.integers(0, len(GOOD), 200)):
        changed = bytearray(GOOD)
        changed[place] ^= 1 << int(chance.integers(8))
        for content in (GOOD[:place], bytes(changed)):
            try:
                _unpacked(content, "here")
            except Wrong:
                continue


# What is printed ------------------------------------------------------------------------------------------------------


def hostile_audit():
    one = Finding(
        key="sum",
        layer=Layer.CONFORMITY,
        outcome=Outcome.FAIL,
        title="The sum is right",
        detail=HOSTILE,
        where=HOSTILE,
        missing=HOSTILE,
    )
    claim = Claim(secure=False, suite=HOSTILE, mode="none", server="", corrupt=None, dropout=None)
    return Audit(source=HOSTILE, kind="run", layers=(Layer.CONFORMITY,), claim=claim, findings=(one,), command=HOSTILE)


def test_nothing_of_the_audited_steers_the_terminal(capsys):
    _show(hostile_audit())
    printed = capsys.readouterr().out
    assert not UNSEEN.search(printed)
    assert [line for line in printed.split("\n") if line.startswith("verdict")] == ["verdict: fail"]
    assert "[bold]\\[/b] :smile:" in printed
    printed.encode()


def test_nothing_of_the_audited_steers_the_page():
    page = render_audit(hostile_audit())
    assert not UNSEEN.search(page)
    page.encode()


def test_what_is_visible():
    assert visible("ε = 3.7 „ä“ \u202f10⁻⁵ 统计 \U0001f600") == "ε = 3.7 „ä“ \u202f10⁻⁵ 统计 \U0001f600"
    assert set(visible("\x00\x1b\x7f\x9b\n\r\u2028\u202e\u2066\u200b\u200d\ufeff\ud800\ufe0f\U000e0041\xad")) == {"�"}


def test_a_hostile_name_in_evidence_and_folder_is_told_plainly(run, capsys):
    (run / "clients" / f"{HOSTILE.replace('/', '')}.jsonl").write_text("x\n")
    forge(run, evidence=of("session", lambda body: body["probe"] and body["probe"].update(file=HOSTILE[:-20])))
    report = run / "audit.html"
    assert main(["audit", str(run), "--report", str(report)]) == 1
    captured = capsys.readouterr()
    assert not UNSEEN.search(captured.out)
    assert captured.err == ""
    assert captured.out.count("\nverdict: ") == 1
    assert not UNSEEN.search(report.read_text(encoding="utf-8"))
    assert main(["audit", str(run), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"


def test_complaints_do_not_quote_without_end(run):
    (run / JOB).write_text("suite = '" + "x" * 100_000 + "'")
    assert len(read_artefacts(run).job.problem) <= 501
    assert files.MOST_BYTES < files.MOST_PROBE_BYTES
