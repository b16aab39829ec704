"""What README says works: every block of code and every command in it runs."""

import importlib
import importlib.util
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from privfl.cli.main import main
from privfl.learning.job import job_from_table
from privfl.learning.rounds import FederatedRun
from privfl.suites import SUITE_NAMES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]


@pytest.fixture
def readme_table():
    """The script that makes the table."""
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "benchmarks" / "readme_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_two_commands_come_first():
    assert [line.split("#")[0].strip() for line in COMMANDS[:2]] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in ("demo", "test", "lint", "clean"))
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_python_blocks_run_one_after_the_other():
    names = {}
    assert len(PYTHON) > 1
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own text


def test_commands_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in COMMANDS[2:]:
        program, *arguments = shlex.split(command)
        assert program == "privfl"
        assert main(arguments) in ({0, 2} if arguments[0] == "audit" else {0}), command
    capsys.readouterr()


def test_what_the_page_on_models_shows_works(tmp_path, monkeypatch, capsys):
    """Its job, its trainer in that job's place, and the two ways to have the model back."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    functions, trainer, back = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert functions in (ROOT / "examples" / "custom_model.py").read_text(encoding="utf-8")
    assert shown in (ROOT / "examples" / "custom_model.toml").read_text(encoding="utf-8")
    command = next(line for line in page.splitlines() if line.startswith("privfl run examples/custom_model.toml"))
    assert main([*shlex.split(command)[1:], "--set", "rounds=2"]) == 0
    capsys.readouterr()
    names = {"build": lambda: importlib.import_module("custom_model").build(classes=3)}
    exec(compile(back, "models.md", "exec"), names)  # noqa: S102 - likewise
    assert names["arrays"].keys() == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert np.array_equal(names["model"].state_dict()["3.bias"].numpy(), names["arrays"]["3.bias"])
    exec(compile(trainer, "models.md", "exec"), names)  # noqa: S102 - likewise
    job = job_from_table({"rounds": 2, "data": {"clients": 5}, "encoding": {"clip": 3.0}})
    assert list(FederatedRun(job, trainer=names["Mean"]()))[-1].accuracy > 0.8


def test_jobs_shown_are_jobs():
    tables = [tomllib.loads(code) for language, code in BLOCKS if language == "toml"]
    assert [job_from_table(table).privacy.mode.value for table in tables] == ["client-distributed"]


def test_tests_named_in_the_feature_table_exist():
    named = re.findall(r"`(tests/\w+\.py)`", TEXT)
    assert len(named) >= 8
    assert all((ROOT / path).exists() for path in named)


def test_links_within_the_repository_lead_somewhere():
    for name in (
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "docs/privacy.md",
        "docs/models.md",
        "docs/compression.md",
    ):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert ((ROOT / name).parent / target).exists(), target


def test_the_table_of_costs_is_that_of_the_results_that_are_kept(readme_table):
    begin, end = readme_table.BEGIN, readme_table.END
    assert TEXT.count(begin) == TEXT.count(end) == 1
    assert readme_table.written(TEXT, readme_table.table()) == TEXT
    rows = [line.split("|")[1].strip() for line in readme_table.table().splitlines() if line.startswith("| ")][2:]
    assert set(SUITE_NAMES) <= {row.strip("`").split(",")[0] for row in rows}
    assert len(rows) > len(SUITE_NAMES)  # and what others do


def test_a_table_that_is_out_of_step_would_be_noticed(readme_table, tmp_path):
    for path in readme_table.RESULTS.glob("*.json*"):
        shutil.copy(path, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["client_cpu_s"] = 2 * line["client_cpu_s"]
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert readme_table.written(TEXT, readme_table.table(tmp_path)) != TEXT
