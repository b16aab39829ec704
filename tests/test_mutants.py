"""The tests are tested: every planted defect is caught by the tests that are named beside it."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import pytest
from mutants import MUTANTS as OTHERS
from mutants_audit import MUTANTS as OF_AUDIT
from mutants_ckks import MUTANTS as OF_CKKS
from mutants_dp import MUTANTS as OF_DP

import privfl

TESTS = Path(__file__).parent
SOURCE = Path(privfl.__file__).parent
MUTANTS = (*OTHERS, *OF_CKKS, *OF_DP, *OF_AUDIT)


class Bench:
    """A copy of the package, and the process that runs tests on it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(SOURCE, folder / "privfl", ignore=shutil.ignore_patterns("__pycache__"))
        environment = {
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "mutant",
            # One is at work on each processor: threads of linear algebra would only wait for each other.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._server = subprocess.Popen(
            [sys.executable, str(TESTS / "mutant_server.py")],
            cwd=TESTS,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test(self, *tests):
        arguments = ["-q", "--tb=line", "-o", "addopts=", "-p", "no:cacheprovider", *tests]
        self._server.stdin.write(json.dumps({"copy": str(self.folder), "arguments": arguments}) + "\n")
        self._server.stdin.flush()
        return SimpleNamespace(**json.loads(self._server.stdout.readline()))

    def put_to_the_test(self, mutant):
        path = self.folder / "privfl" / mutant.file
        original = path.read_text(encoding="utf-8")
        if original.count(mutant.before) != 1:
            return f"{mutant.before!r} stands {original.count(mutant.before)} times"
        try:
            path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
            return self.test(*mutant.caught_by)
        finally:
            path.write_text(original, encoding="utf-8")

    def close(self):
        self._server.communicate(timeout=60)


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """As many as there are processors."""
    made = [Bench(tmp_path_factory.mktemp(f"mutant-{number}")) for number in range(len(os.sched_getaffinity(0)))]
    free = Queue()
    for bench in made:
        free.put(bench)
    yield free
    for bench in made:
        bench.close()


@pytest.fixture(scope="module")
def outcomes(request, benches):
    """What becomes of each mutant that was asked for: all of them at work, as many at a time as there are benches."""

    def at_a_bench(mutant):
        bench = benches.get()
        try:
            return bench.put_to_the_test(mutant)
        finally:
            benches.put(bench)

    chosen = [item.callspec.params["mutant"] for item in request.session.items if "mutant" in names_of(item)]
    pool = ThreadPoolExecutor(benches.qsize())
    yield {mutant.name: pool.submit(at_a_bench, mutant) for mutant in chosen}
    pool.shutdown(cancel_futures=True)


def names_of(item):
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec and item.module.__name__ == __name__ else {}


def test_the_copies_are_what_the_tests_import_and_they_pass_unmutated(benches):
    named = sorted({test for mutant in MUTANTS for test in mutant.caught_by})
    taken = [benches.get() for _ in range(benches.qsize())]

    def pass_at(place):
        where = taken[place].folder / "test_where.py"
        here = str(taken[place].folder)
        where.write_text(f"import privfl\ndef test_it(): assert privfl.__file__.startswith({here!r})\n")
        return taken[place].test(str(where), *named[place :: len(taken)])

    try:
        with ThreadPoolExecutor(len(taken)) as pool:
            for outcome in pool.map(pass_at, range(len(taken))):
                assert outcome.returncode == 0, outcome.stdout
    finally:
        for bench in taken:
            benches.put(bench)


def test_no_two_mutants_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_mutant_is_caught(outcomes, mutant):
    outcome = outcomes[mutant.name].result()
    assert not isinstance(outcome, str), outcome
    failed = [line for line in outcome.stdout.splitlines() if line.startswith("FAILED")]
    for test in mutant.caught_by:
        assert any(test in line for line in failed), f"{test} let it pass:\n{outcome.stdout}"
    assert outcome.returncode == 1
    assert "ImportError" not in outcome.stdout
    assert "SyntaxError" not in outcome.stdout
