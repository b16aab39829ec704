"""The tests are tested: every planted defect is caught by the tests that are named beside it."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
from mutants import MUTANTS as OTHERS
from mutants_ckks import MUTANTS as OF_CKKS
from mutants_dp import MUTANTS as OF_DP

import privfl

TESTS = Path(__file__).parent
SOURCE = Path(privfl.__file__).parent
MUTANTS = (*OTHERS, *OF_CKKS, *OF_DP)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Copies of the package that are imported instead of the real one, one for each processor."""
    made = Queue()
    for number in range(len(os.sched_getaffinity(0))):
        folder = tmp_path_factory.mktemp(f"mutant-{number}")
        shutil.copytree(SOURCE, folder / "privfl", ignore=shutil.ignore_patterns("__pycache__"))
        made.put(folder)
    return made


@pytest.fixture(scope="module")
def outcomes(request, copies):
    """What becomes of each mutant that was asked for: all of them at work, as many at a time as there are copies."""
    chosen = [item.callspec.params["mutant"] for item in request.session.items if "mutant" in names_of(item)]
    pool = ThreadPoolExecutor(copies.qsize())
    yield {mutant.name: pool.submit(put_to_the_test, copies, mutant) for mutant in chosen}
    pool.shutdown(cancel_futures=True)


def names_of(item):
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec and item.module.__name__ == __name__ else {}


def put_to_the_test(copies, mutant):
    copy = copies.get()
    path = copy / "privfl" / mutant.file
    original = path.read_text(encoding="utf-8")
    try:
        if original.count(mutant.before) != 1:
            return f"{mutant.before!r} stands {original.count(mutant.before)} times"
        path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
        return pytest_run(copy, *mutant.caught_by)
    finally:
        path.write_text(original, encoding="utf-8")
        copies.put(copy)


def run(copy, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy}{os.pathsep}{TESTS}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutant",
        # One runs on each processor: threads of their linear algebra would only wait for each other.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def pytest_run(copy, *tests):
    return run(copy, "-m", "pytest", "-q", "--tb=line", "-o", "addopts=", "-p", "no:cacheprovider", *tests)


def test_the_copies_are_what_the_tests_import_and_they_pass_unmutated(copies):
    copy = copies.get()
    try:
        assert str(copy) in run(copy, "-c", "import privfl; print(privfl.__file__)").stdout
        named = sorted({test for mutant in MUTANTS for test in mutant.caught_by})
        outcome = pytest_run(copy, *named)
        assert outcome.returncode == 0, outcome.stdout
    finally:
        copies.put(copy)


def test_no_two_mutants_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_mutant_is_caught(outcomes, mutant):
    outcome = outcomes[mutant.name].result()
    assert not isinstance(outcome, str), outcome
    failed = [line for line in outcome.stdout.splitlines() if line.startswith("FAILED")]
    for test in mutant.caught_by:
        assert any(test in line for line in failed), f"{test} let it pass:\n{outcome.stdout}{outcome.stderr}"
    assert outcome.returncode == 1
    assert "ImportError" not in outcome.stdout
    assert "SyntaxError" not in outcome.stdout
