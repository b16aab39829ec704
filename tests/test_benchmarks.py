"""The benchmarks run: at smoke size, where their figures say nothing, so that one that breaks is noticed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SMOKE = "PRIVFL_BENCH_SMOKE"


@pytest.fixture(scope="module")
def smoke():
    return subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "-o", "addopts=", "--benchmark-only", "-q", "-s", "-rA"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {SMOKE: "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_every_benchmark_runs(smoke):
    assert smoke.returncode == 0, smoke.stdout[-5000:] + smoke.stderr[-2000:]
    ran = set(re.findall(r"^(?:PASSED|SKIPPED \[\d+\]) benchmarks/(test_\w+\.py)", smoke.stdout, re.MULTILINE))
    assert ran == {path.name for path in BENCHMARKS.glob("test_*.py")}


@pytest.mark.parametrize(
    "kernel",
    ["aes", "product", "sampler", "skellam", "packing", "unpacking", "dealing", "rebuilding", "rotation"],
)
def test_a_kernel_is_printed_beside_its_limit(smoke, kernel):
    assert re.search(rf"^{kernel}: .* ns a \w+, \d+\.\d\d × its limit", smoke.stdout, re.MULTILINE)


@pytest.mark.parametrize("kernel", ["ckks encrypting", "seal encoding", "seal encrypting"])
def test_kernels_of_ckks_are_printed_beside_their_limits(smoke, kernel):
    pytest.importorskip("tenseal", reason="the extra ckks is not installed")
    test_a_kernel_is_printed_beside_its_limit(smoke, kernel)


def test_the_smoke_size_is_read_in_one_place():
    readers = {path.name for path in BENCHMARKS.rglob("*.py") if f'"{SMOKE}"' in path.read_text(encoding="utf-8")}
    assert readers == {"sessions.py"}
