"""The tests are tested: every planted defect is caught by the tests that are named beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS as OTHERS
from mutants_ckks import MUTANTS as OF_CKKS
from mutants_dp import MUTANTS as OF_DP

import privfl

TESTS = Path(__file__).parent
SOURCE = Path(privfl.__file__).parent
MUTANTS = (*OTHERS, *OF_CKKS, *OF_DP)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package that is imported instead of the real one."""
    folder = tmp_path_factory.mktemp("mutant")
    shutil.copytree(SOURCE, folder / "privfl", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(copy, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy}{os.pathsep}{TESTS}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutant",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pytest_run(copy, *tests):
    return run(copy, "-m", "pytest", "-q", "--tb=line", "-o", "addopts=", "-p", "no:cacheprovider", *tests)


def test_the_copy_is_what_the_tests_import_and_it_passes_unmutated(copy):
    assert str(copy) in run(copy, "-c", "import privfl; print(privfl.__file__)").stdout
    named = sorted({test for mutant in MUTANTS for test in mutant.caught_by})
    outcome = pytest_run(copy, *named)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_mutant_is_caught(copy, mutant):
    path = copy / "privfl" / mutant.file
    original = path.read_text(encoding="utf-8")
    assert original.count(mutant.before) == 1, f"{mutant.before!r} stands {original.count(mutant.before)} times"
    path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        outcome = pytest_run(copy, *mutant.caught_by)
        failed = [line for line in outcome.stdout.splitlines() if line.startswith("FAILED")]
        for test in mutant.caught_by:
            assert any(test in line for line in failed), f"{test} let it pass:\n{outcome.stdout}{outcome.stderr}"
        assert outcome.returncode == 1
        assert "ImportError" not in outcome.stdout
        assert "SyntaxError" not in outcome.stdout
    finally:
        path.write_text(original, encoding="utf-8")
