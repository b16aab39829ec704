"""What the pages of docs/ say works: blocks of code and commands run, jobs are jobs, links lead somewhere."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from privfl.cli.main import main
from privfl.learning.job import job_from_table

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}

RUN_HERE = {
    "index.md",
    "choosing.md",
    "ckks.md",
    "faq.md",
    "protocols.md",
    "wire.md",
    "reference/index.md",
    "tutorial.md",
}
TOGETHER = ["privacy.md", "audit.md"]
"""Pages whose commands go on with what the ones before left behind."""

ELSEWHERE = {
    r"make demo$": "it installs from the net; .ci/run and tests/test_examples.py have what it does",
    r"source \.venv/bin/activate$": "of the shell alone",
    r"python benchmarks/(narrow|strategies)\.py": "hours of training; what they measure with has tests of its own",
    r"privfl bench --quick": "a minute of measuring; tests/test_cli.py has a smaller matrix",
}
BY_OTHER_TESTS = {
    "embedding.md": "tests/test_embedding.py",
    "models.md": "tests/test_readme.py",
    "flower.md": "tests/test_flower_deployment.py",  # its processes, and its keys and certificates are Flower's
}


def blocks(page, *languages):
    found = re.findall(r"^```(\w+)\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
    return [(language, code) for language, code in found if language in languages]


def commands(code):
    """Return the commands of a block, without comments; a backslash goes on with the next line."""
    lines = (shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def passed_over(words):
    return any(re.match(pattern, shlex.join(words)) for pattern in ELSEWHERE)


def run(words, monkeypatch, expected=(0,)):
    """Do what a command does, in this process where that is possible."""
    match words:
        case ["mkdir", folder]:
            Path(folder).mkdir()
        case ["cd", folder]:
            monkeypatch.chdir(folder)
        case ["python", *arguments]:
            subprocess.run([sys.executable, *arguments], check=True)
        case ["privfl", *arguments]:
            assert main(arguments) in expected, shlex.join(words)
        case ["tar", *_]:
            subprocess.run(words, check=True)
        case _:
            pytest.fail(f"no test knows how to run {shlex.join(words)!r}")


def run_python(code, page, names):
    exec(compile(code, page, "exec"), names)  # noqa: S102 - our own text
    return names


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A directory to work in, from which examples are found; what is imported there is forgotten."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", sorted(RUN_HERE - {"tutorial.md"}))
def test_blocks_and_commands_run_in_order(page, workplace, monkeypatch, capsys):
    if page == "ckks.md":
        pytest.importorskip("tenseal")
    names = {}
    for language, code in blocks(page, "python", "sh"):
        if language == "python":
            run_python(code, page, names)
        for words in commands(code) if language == "sh" else []:
            if not passed_over(words):
                run(words, monkeypatch)
    capsys.readouterr()


def test_the_tutorial_followed_literally(workplace, monkeypatch, capsys):
    """Files are saved under the name in their first line, all else is run in order, in the directory that it makes."""
    pytest.importorskip("torch")
    names, saved = {}, []
    (workplace / "clone").mkdir()
    monkeypatch.chdir(workplace / "clone")
    for language, code in blocks("tutorial.md", "python", "toml", "sh"):
        name = re.match(r"# (\w+\.(?:py|toml))\n", code)
        if name:
            Path(name[1]).write_text(code, encoding="utf-8")
            saved.append(name[1])
        elif language == "python":
            monkeypatch.syspath_prepend(str(Path.cwd()))
            run_python(code, "tutorial.md", names)
        else:
            for words in commands(code):
                if not passed_over(words):
                    run(words, monkeypatch, expected=(0, 2) if "failures.rate=0.1" in words else (0,))
    assert saved == ["make_data.py", "my_model.py", "my_job.toml"]
    assert Path.cwd() == workplace / "my_project"
    importlib.invalidate_caches()
    capsys.readouterr()


def test_a_private_run_and_its_audit(workplace, monkeypatch, capsys):
    pytest.importorskip("dp_accounting")
    for page in TOGETHER:
        for _, code in blocks(page, "sh"):
            for words in commands(code):
                run(words, monkeypatch, expected=(0, 2) if words[1] == "audit" else (0,))
        if page == "privacy.md":  # the key came another way
            (workplace / "coordinator.pub").write_bytes((workplace / "runs/private/coordinator.pub").read_bytes())
    ((_, code),) = blocks("audit.md", "python")
    key = bytes.fromhex((workplace / "coordinator.pub").read_text(encoding="utf-8").split()[-1])
    names = {"path": workplace / "runs" / "private", "key": key}
    try:
        run_python(code, "audit.md", names)
    except AssertionError:  # what is honest is doubted once in a few hundred, and never accused
        assert names["audit"].verdict.value == "inconclusive"
    capsys.readouterr()


def test_privacy_in_another_stack(workplace):
    pytest.importorskip("dp_accounting")
    code = "\n".join(code for _, code in blocks("privacy.md", "python"))
    run_python(code, "privacy.md", {})


def test_the_picture_shows_what_it_says(tmp_path, monkeypatch):
    for needed in ("matplotlib", "sklearn"):
        pytest.importorskip(needed)
    monkeypatch.syspath_prepend(str(DOCS))
    picture = importlib.import_module("picture")
    true, read, means = picture.what_a_server_reads()
    for image, plain, kahe in zip(true, read["plain"], read["kahe"], strict=True):
        assert np.abs(plain - image).max() < 0.01
        # Of 64 pixels that have nothing to do with the image, an eighth is the standard deviation of this.
        assert abs(np.corrcoef(kahe, image)[0, 1]) < 0.75
    assert np.array_equal(means["plain"], means["kahe"])
    picture.draw(true, read, means, str(tmp_path / "picture.png"))
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_every_command_runs_somewhere():
    for page in PAGES:
        if page in BY_OTHER_TESTS:
            assert (ROOT / BY_OTHER_TESTS[page]).exists()
            continue
        for language, code in blocks(page, "sh", "python"):
            if page in RUN_HERE or page in TOGETHER:
                continue
            assert language == "sh", f"{page} has a block of Python that no test runs"
            assert all(passed_over(words) for words in commands(code)), f"{page}: {code}"


def test_every_exception_is_needed():
    shown = [shlex.join(words) for page in PAGES for _, code in blocks(page, "sh") for words in commands(code)]
    assert all(any(re.match(pattern, command) for command in shown) for pattern in ELSEWHERE)


def test_tables_shown_are_toml_and_jobs_are_jobs():
    jobs = 0
    for page in PAGES:
        for _, code in blocks(page, "toml"):
            table = tomllib.loads(code)
            if not code.startswith(("# policy.toml", "[superlink", "# ~/")) and page != "tutorial.md":
                job_from_table(table)
                jobs += 1
    assert jobs >= 3


def test_links_lead_to_files_of_the_repository():
    texts = {DOCS / page: text for page, text in PAGES.items()}
    texts |= {path: path.read_text(encoding="utf-8") for path in ROOT.glob("*.md")}
    count = 0
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"
            count += 1
    assert count > 100
