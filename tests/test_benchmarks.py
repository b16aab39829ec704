"""The benchmarks run: at smoke size, where their figures say nothing, so that one that breaks is noticed."""

import json
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


def test_how_far_ratios_moved_between_two_runs(tmp_path):
    def line(cell, ratio, suite="kahe"):
        own = {"cell": cell, "suite": suite, "privacy": "none", "ratio_to_plain": ratio}
        return json.dumps(own | {"client_ratio_to_plain": ratio / 2, "server_ratio_to_plain": 4.0}) + "\n"

    goals = [{"key": "a", "unit": "×", "measured": 2.0}, {"key": "b", "unit": "ns", "measured": 2.0}]
    for name, ratio in (("first", 10.0), ("second", 11.6)):
        folder = tmp_path / name
        folder.mkdir()
        # `plain` beside itself says nothing, nor does what one run alone measured, nor a figure that is no ratio.
        own = line("c1", ratio) + line("c2", 5.0) + line("c3", 1.0, suite="plain") + line(f"{name} alone", 7.0)
        (folder / "bench.jsonl").write_text(own, encoding="utf-8")
        (folder / "goals.jsonl").write_text("".join(json.dumps(goal) + "\n" for goal in goals), encoding="utf-8")
    told = subprocess.run(
        [sys.executable, BENCHMARKS / "moved.py", tmp_path / "first", tmp_path / "second"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert told[0].split() == ["+16.0%", "10.000", "11.600", "ratio", "c1"]
    assert [line.split()[-1] for line in told[:-4]] == ["c1"] * 3 + ["c2"] * 3 + ["a"]
    assert told[-4:] == [
        "ratio_to_plain: 1 of 2 moved by less than 15%; median 8.0%, most 16.0%",
        "client_ratio_to_plain: 1 of 2 moved by less than 15%; median 8.0%, most 16.0%",
        "server_ratio_to_plain: 2 of 2 moved by less than 15%; median 0.0%, most 0.0%",
        "measured: 1 of 1 moved by less than 15%; median 0.0%, most 0.0%",
    ]
