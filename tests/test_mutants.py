"""The tests are tested: every planted defect is caught by the tests that are named beside it.

There are so many that `make test` takes a quarter of them; `make test-mutants` takes all. Which quarter follows from
the defect, the file that it is planted in, and the tests that catch it: whenever one of these changes, the lot is drawn
anew.
"""

import compileall
import functools
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mosquitto_here import needs_mosquitto
from mutants import MUTANTS as OTHERS
from mutants_audit import MUTANTS as OF_AUDIT
from mutants_bench_goals import MUTANTS as OF_BENCH_GOALS
from mutants_bench_matrix import MUTANTS as OF_BENCH_MATRIX
from mutants_bench_peers import MUTANTS as OF_PEERS
from mutants_bench_report import MUTANTS as OF_BENCH_REPORTS
from mutants_ckks import MUTANTS as OF_CKKS
from mutants_compression import MUTANTS as OF_COMPRESSION
from mutants_consortium import MUTANTS as OF_CONSORTIUM
from mutants_consortium_committee import MUTANTS as OF_COMMITTEES
from mutants_consortium_home import MUTANTS as OF_HOMES
from mutants_consortium_learning import MUTANTS as OF_DISTANT
from mutants_context import MUTANTS as OF_CONTEXT
from mutants_dp import MUTANTS as OF_DP
from mutants_flower import MUTANTS as OF_FLOWER
from mutants_flower_attacks import MUTANTS as OF_FLOWER_ATTACKS
from mutants_flower_privacy import MUTANTS as OF_FLOWER_PRIVACY
from mutants_http import MUTANTS as OF_HTTP
from mutants_learning import MUTANTS as OF_LEARNING
from mutants_mqtt import MUTANTS as OF_MQTT
from mutants_mqtt import WITH_BROKER
from mutants_promises import MUTANTS as OF_PROMISES
from mutants_roster import MUTANTS as OF_ROSTERS
from mutants_slips import MUTANTS as OF_SLIPS

import privfl

TESTS = Path(__file__).parent
SOURCE = Path(privfl.__file__).parent
MUTANTS = (
    *OTHERS,
    *OF_BENCH_REPORTS,
    *OF_CKKS,
    *OF_COMPRESSION,
    *OF_CONTEXT,
    *OF_CONSORTIUM,
    *OF_COMMITTEES,
    *OF_DISTANT,
    *OF_HOMES,
    *OF_ROSTERS,
    *OF_BENCH_GOALS,
    *OF_BENCH_MATRIX,
    *OF_HTTP,
    *OF_MQTT,
    *WITH_BROKER,
    *OF_DP,
    *OF_AUDIT,
    *OF_PEERS,
    *OF_LEARNING,
    *OF_FLOWER,
    *OF_FLOWER_ATTACKS,
    *OF_FLOWER_PRIVACY,
    *OF_PROMISES,
    *OF_SLIPS,
)
NAMED = {}
"""By file, the tests that catch something."""
for _test in sorted({test for mutant in MUTANTS for test in mutant.caught_by}):
    NAMED.setdefault(_test.split("::")[0], []).append(_test)
SHARE = 4
"""One of so many is put to the test where all would take too long."""
UNUSED = ("cacheprovider", "benchmark", "xdist", "xdist.looponfail")
"""Plugins of pytest that a run of a few tests on one mutant has no use for."""


class Bench:
    """A copy of the package, and the process that runs tests on it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(SOURCE, folder / "privfl", ignore=shutil.ignore_patterns("__pycache__"))
        # Compiled once. What is imported goes by a file's hash: a mutant may have the length and the second of another.
        assert compileall.compile_dir(
            folder / "privfl", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
        )
        environment = {
            # Nothing of the pytest that runs this one: options, or that it is one of several processes.
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PYTHONPATH": str(TESTS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_PROFILE": "mutant",
            # Which attacks hypothesis draws follows from this number, and from constants in all of the library: enough
            # of them that each defect is found whatever they are.
            "PRIVFL_MACHINE_EXAMPLES": "800",
            # Where a defect makes a test wait for what never comes, it need not wait as long as on a slow machine.
            "PRIVFL_PATIENCE_S": "20",
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
        arguments = ["-q", "--tb=line", "-o", "addopts=", *(f"-pno:{name}" for name in UNUSED), *tests]
        self._server.stdin.write(json.dumps({"copy": str(self.folder), "arguments": arguments}) + "\n")
        self._server.stdin.flush()
        return SimpleNamespace(**json.loads(self._server.stdout.readline()))

    def put_to_the_test(self, mutant):
        path = self.folder / "privfl" / mutant.file
        original = path.read_text(encoding="utf-8")
        assert original.count(mutant.before) == 1, f"{mutant.before!r} stands {original.count(mutant.before)} times"
        try:
            path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
            return self.test(*mutant.caught_by)
        finally:
            path.write_text(original, encoding="utf-8")

    def close(self):
        self._server.communicate(timeout=60)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """One in each process of pytest: `-n auto` makes as many as there are processors."""
    made = Bench(tmp_path_factory.mktemp("mutant"))
    yield made
    made.close()


def test_the_copy_is_what_tests_import(bench):
    where = bench.folder / "test_where.py"
    where.write_text(f"import privfl\ndef test_it(): assert privfl.__file__.startswith({str(bench.folder)!r})\n")
    outcome = bench.test(str(where))
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(NAMED))
def test_what_catches_mutants_passes_without_them(bench, file):
    """Beside the defects; without the bench, all of them run with the others anyway."""
    outcome = bench.test(*NAMED[file])
    assert outcome.returncode == 0, outcome.stdout


def test_no_two_mutants_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@functools.cache
def digest_of(path):
    return hashlib.sha256(path.read_bytes()).digest()


def is_drawn(mutant):
    files = {SOURCE / mutant.file, *(TESTS / test.split("::")[0] for test in mutant.caught_by)}
    drawn = hashlib.sha256(repr(mutant).encode() + b"".join(map(digest_of, sorted(files)))).digest()
    return int.from_bytes(drawn) % SHARE == 0


def as_parameter(mutant):
    marks = [needs_mosquitto] if mutant in WITH_BROKER else []
    return pytest.param(mutant, marks=marks if is_drawn(mutant) else [*marks, pytest.mark.slow])


def test_about_a_quarter_of_the_mutants_is_drawn():
    drawn = sum(map(is_drawn, MUTANTS))
    assert len(MUTANTS) / SHARE / 1.5 < drawn < 1.5 * len(MUTANTS) / SHARE


@pytest.mark.parametrize("mutant", [*map(as_parameter, MUTANTS)], ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_mutant_is_caught(bench, mutant):
    outcome = bench.put_to_the_test(mutant)
    failed = [line for line in outcome.stdout.splitlines() if line.startswith("FAILED")]
    for test in mutant.caught_by:
        assert any(test in line for line in failed), f"{test} let it pass:\n{outcome.stdout}"
    assert outcome.returncode == 1
    assert "ImportError" not in outcome.stdout
    assert "SyntaxError" not in outcome.stdout
