"""`privfl audit`: what it says, what it writes, and what it exits with."""

import json
import re
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("dp_accounting")

from audit_frauds import JOBS, closing, forge, key_of, made

from privfl.audit.findings import Layer
from privfl.cli.main import main
from privfl.learning.books import LEDGER
from privfl.learning.witness import EVIDENCE
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.signatures import Identity

GOOD, BAD, INCONCLUSIVE, USAGE = 0, 1, 2, 64


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An honest one."""
    return made(tmp_path_factory.mktemp("runs") / "run", JOBS["central"]())


@pytest.fixture(scope="module")
def lie(run):
    """The same, of which the closing record claims too little."""
    folder = run.with_name("lie")
    shutil.copytree(run, folder)
    forge(folder, ledger=closing(epsilon=1.0))
    return folder


def audit(*words):
    return main(["audit", *(str(word) for word in words)])


def told(capsys, *words):
    code = audit(*words, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_exit_codes_tell_the_verdict(run, lie, capsys):
    for path, code, word in ((run, GOOD, "pass"), (lie, BAD, "fail"), (run / LEDGER, INCONCLUSIVE, "inconclusive")):
        assert audit(path) == code
        printed = capsys.readouterr().out
        assert f"verdict: {word}" in printed
        assert "epsilon recomputed: 3.70863 at delta 1e-05 for one client" in printed
        assert told(capsys, path)[0] == code


def test_a_verdict_that_is_no_pass_comes_with_its_reasons(run, lie, capsys):
    audit(lie)
    assert "- epsilon: The closing record claims ε = 1 " in capsys.readouterr().out
    audit(run / LEDGER)
    printed = capsys.readouterr().out
    assert "- rounds: " in printed
    assert "--signer" in printed  # what is missing is said
    for layer in Layer:
        assert f"{layer.value}: inconclusive" in printed


def test_scripts_find_the_same_in_json(run, lie, capsys):
    code, answer = told(capsys, run)
    assert code == GOOD
    assert answer.keys() >= {
        "verdict", "reasons", "outcomes", "epsilon", "delta", "source", "kind", "layers", "claim", "findings",
        "opinions", "reported", "at_delta", "curve", "rounds", "measured", "clients", "unprotected", "hazards",
        "assurances", "versions", "digests", "command",
    }  # fmt: skip
    assert (answer["verdict"], answer["kind"], answer["reasons"]) == ("pass", "run", [])
    assert "report" not in answer
    assert answer["outcomes"] == {layer.value: "pass" for layer in Layer}
    assert answer["epsilon"] == pytest.approx(3.70863, abs=1e-4)
    assert answer["delta"] == 1e-5
    assert set(answer["opinions"]) >= {"pld", "rdp"}
    assert [row["round"] for row in answer["rounds"]] == [1, 2, 3]
    assert [row["epsilon"] for row in answer["rounds"]] == sorted(row["epsilon"] for row in answer["rounds"])
    assert {one["key"] for one in answer["measured"]} >= {"one-run", "trials"}
    for one in answer["findings"]:
        assert one.keys() == {
            "key", "layer", "outcome", "title", "detail", "rests_on", "where", "missing", "figures"
        }  # fmt: skip
        assert one["outcome"] in {"pass", "fail", "inconclusive", "not-claimed"}
    names = [name for name, _ in answer["digests"]]
    assert {LEDGER, EVIDENCE, "job.toml", "metrics.jsonl"} <= set(names)
    code, answer = told(capsys, lie)
    assert (code, answer["verdict"]) == (BAD, "fail")
    (reason,) = answer["reasons"]
    assert (reason["key"], reason["outcome"]) == ("epsilon", "fail")


def test_the_page_stands_alone(run, tmp_path, capsys):
    pytest.importorskip("privfl.audit.report")
    path = tmp_path / "audit.html"
    before = sorted(file.stat().st_mtime_ns for file in run.rglob("*"))
    code, answer = told(capsys, run, "--report", path)
    assert (code, answer["report"]) == (GOOD, str(path))
    assert sorted(file.stat().st_mtime_ns for file in run.rglob("*")) == before
    page = path.read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "@import" not in page
    assert audit(run, "--report", path) == GOOD  # again, over what is there
    assert f"report: {path}" in capsys.readouterr().out


def test_the_page_takes_no_other_files_place(run, tmp_path, capsys):
    for name in (LEDGER, EVIDENCE, "report.html", "model.npz"):
        page = run / name
        if not page.exists():
            continue
        before = page.read_bytes()
        assert main(["audit", str(run), "--report", str(page)]) == 64
        assert "is there, and no page of an audit: name another file, such as audit.html" in capsys.readouterr().err
        assert page.read_bytes() == before
    page = tmp_path / "not" / "yet" / "audit.html"
    for _ in range(2):  # a page of its own it may replace
        assert main(["audit", str(run), "--report", str(page)]) == 0
        assert page.read_text(encoding="utf-8").startswith("<!")


def test_epsilon_is_told_at_the_delta_that_is_asked_for(run, capsys):
    code, answer = told(capsys, run, "--delta", "1e-7")
    assert (code, answer["delta"], answer["claim"]["delta"]) == (GOOD, 1e-7, 1e-5)
    assert answer["epsilon"] > 4
    assert answer["command"].endswith("--delta 1e-07")


@pytest.mark.parametrize("delta", ["0", "1", "-1", "2", "nan", "inf"])
def test_a_delta_that_is_none_is_refused(delta, run, capsys):
    assert audit(run, f"--delta={delta}") == USAGE
    assert "1e-5" in capsys.readouterr().err


def test_the_coordinators_key_is_compared(run, tmp_path, capsys):
    right, wrong = key_of(run).public.hex(), Identity.generate(OsEntropy()).public.hex()
    (tmp_path / "right.pub").write_text(f"{right}\n")
    (tmp_path / "wrong.pub").write_text(f"{wrong}\n")
    for key, code in (
        (right, GOOD), (tmp_path / "right.pub", GOOD), (wrong, BAD), (tmp_path / "wrong.pub", BAD)
    ):  # fmt: skip
        assert audit(run, "--signer", key) == code
        assert ("- writer:" in capsys.readouterr().out) == (code == BAD)
    # A bare ledger that is signed by a known key is no longer inconclusive for that.
    _, answer = told(capsys, run / LEDGER, "--signer", right)
    assert {one["key"]: one["outcome"] for one in answer["findings"]}["writer"] == "pass"


def test_the_key_that_identity_new_writes_is_taken(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["identity", "new", "k.pem"]) == GOOD
    (public,) = tmp_path.glob("*.pub")
    capsys.readouterr()
    assert audit(run, "--signer", public) == BAD


@pytest.mark.parametrize("key", ["", "nowhere.pub", "00", "zz" * 32, "00" * 33, "."])
def test_what_is_no_key_is_refused(key, run, capsys):
    assert audit(run, "--signer", key) == USAGE
    assert "--signer" in capsys.readouterr().err


def test_a_layer_is_looked_at_alone(run, lie, capsys):
    code, answer = told(capsys, lie, "--layer", "conformity")
    assert (code, answer["layers"]) == (GOOD, ["conformity"])
    assert {one["layer"] for one in answer["findings"]} == {"conformity"}
    code, answer = told(capsys, lie, "--layer", "empirical", "--layer", "recomputation")
    assert (code, answer["layers"]) == (BAD, ["recomputation", "empirical"])
    assert answer["outcomes"].keys() == {"recomputation", "empirical"}
    assert answer["command"].endswith("--layer empirical --layer recomputation")
    with pytest.raises(SystemExit) as stopped:
        audit(run, "--layer", "fourth")
    assert stopped.value.code == USAGE


@pytest.mark.parametrize("words", [
    ("nowhere",), (".",), ("run", "--report", "."), ("run", "--report", "nowhere/else/audit.html/x"),
])  # fmt: skip
def test_paths_that_do_not_work_are_named(words, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    (tmp_path / "nowhere" if len(words) > 1 else tmp_path / "other").write_text("in the way")
    assert audit(*words) == USAGE
    printed = capsys.readouterr()
    assert words[-1].split("/")[0] in printed.err
    assert "Traceback" not in printed.err


def test_the_example_of_the_help_works(run, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "--help"])
    assert stopped.value.code == GOOD
    printed = " ".join(capsys.readouterr().out.split())
    (words,) = re.findall(r"example: privfl (audit [^\n]*\.html)", printed)
    path, page = words.split()[1], words.split()[-1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).symlink_to(run)
    pytest.importorskip("privfl.audit.report")
    assert main(words.split()) == GOOD
    assert (tmp_path / page).exists()
    for flag in ("--delta", "--report", "--signer", "--layer", "--json"):
        assert flag in printed


def test_what_files_say_is_not_taken_for_markup(run, tmp_path, capsys):
    """Square brackets are rich's, angle brackets are a page's."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    word = "[bold]<script>alert(1)</script>[/nothing]"
    (folder / "metrics.jsonl").write_text(json.dumps({"round": 1, word: word}) + f"\n{word}\n")
    forge(folder, ledger=lambda bodies: [(kind, _with(body, word)) for kind, body in bodies])
    assert audit(folder) == BAD
    assert "Traceback" not in capsys.readouterr().err
    pytest.importorskip("privfl.audit.report")
    page = tmp_path / "audit.html"
    assert audit(folder, "--report", page) == BAD
    assert "<script>alert(1)" not in page.read_text(encoding="utf-8")


def _with(body, word):
    if "facts" in body:
        body["facts"] |= {"against": word, "weight_max": word}
    return body
