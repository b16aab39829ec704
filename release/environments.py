"""Install the wheel in clean environments, for no extra, each extra alone and all, and try what each promises.

    python release/environments.py                     # `make release-check`: all of them, one after the other
    python release/environments.py none ckks dp        # some of them

Each environment is a new one in a temporary directory, and removed when it has been looked at. Versions are those of
constraints.txt. What is tried in it is in `smoke.py`: what the extra promises works, and what takes another extra fails
with the sentence that names it. The first environment also tells what `import privfl` costs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from artefacts import DIST, ROOT, project
from results import Results

SMOKE: Final = Path(__file__).with_name("smoke.py")
STARTS: Final = 5
IMPORT_MS: Final = 200
"""What `import privfl` means to stay below, beside what Python itself takes to start."""


def extras() -> tuple[str, ...]:
    """Return the names of environments: no extra, each alone, all."""
    return ("none", *project()["optional-dependencies"])


def install(folder: Path, wheel: Path, extra: str) -> str:
    """Make an environment with the wheel in it, and say how large it is.

    Raises:
        RuntimeError: pip failed; with its last lines.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = str(wheel) if extra == "none" else f"{wheel}[{extra}]"
    _run(python, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), wanted)
    _run(python, "-m", "pip", "check")
    packages = sum(1 for _ in folder.glob("lib/python*/site-packages/*.dist-info"))
    return f"{packages} packages, {_megabytes(folder)} MB"


def _megabytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 20


def tried(python: Path, extra: str) -> Iterator[tuple[str, str, bool]]:
    """Try what an environment promises: for each thing its name, what came of it, and whether that is good."""
    with tempfile.TemporaryDirectory(prefix="privfl-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        process = subprocess.Popen(
            [python, str(SMOKE), extra, *extras()[1:-1]],
            cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1", "PRIVFL_SOURCES": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said, complaints = process.communicate()
        finally:
            process.kill()  # nothing, where it has ended
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        yield from ((line["name"], line["said"], line["good"]) for line in lines)
        if process.returncode or not lines:
            last = " / ".join(complaints.splitlines()[-3:])
            yield "smoke", f"ended with {process.returncode}: {last}", False


def import_cost(python: Path) -> str:
    """Tell what `import privfl` takes: the median of several cold starts, less that of Python itself.

    It is told, and fails nothing: what else is at work on the machine decides as well.
    """
    ours, numpys, nothing = (_median_ms(python, code) for code in ("import privfl", "import numpy", "pass"))
    judged = "within" if ours - nothing <= IMPORT_MS else "OVER"
    return (
        f"{ours - nothing:.0f} ms, {judged} the {IMPORT_MS} that are meant (numpy {numpys - nothing:.0f}; Python "
        f"itself {nothing:.0f} more)"
    )


def _median_ms(python: Path, code: str) -> float:
    def start() -> float:
        began = time.perf_counter()
        subprocess.run([python, "-P", "-c", code], check=True)
        return 1000 * (time.perf_counter() - began)

    start()  # reads the files from the disk, and compiles what is not compiled
    return statistics.median(start() for _ in range(STARTS))


def look_at(extra: str, wheel: Path, results: Results) -> None:
    """Make one environment, try what it promises, and remove it."""
    with tempfile.TemporaryDirectory(prefix=f"privfl-{extra}-") as folder:
        python = Path(folder) / "bin" / "python"
        if not results.take(f"{extra}: installs", lambda: install(Path(folder), wheel, extra)):
            return
        if extra == "none":
            results.take("none: import privfl", lambda: import_cost(python))
        for name, said, good in tried(python, extra):
            results.tell(f"{extra}: {name}", said, good=good)


def _run(*command: str | Path) -> None:
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise RuntimeError("\n".join((outcome.stdout + outcome.stderr).splitlines()[-8:]))


def main() -> int:
    """Look at the environments that are asked for, and return the exit code."""
    parser = argparse.ArgumentParser(description="Install the wheel in clean environments, and try it there.")
    parser.add_argument("names", nargs="*", metavar="EXTRA", help=f"of {', '.join(extras())} (all of them)")
    parser.add_argument("--wheel", type=Path, help="the one in dist/ unless given")
    options, results = parser.parse_args(), Results()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was made is removed then as well
    unknown = set(options.names) - set(extras())
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: {', '.join(extras())} work")
    wheel = options.wheel or next(DIST.glob("privfl-*.whl"), None)
    if wheel is None:
        parser.error("no wheel in dist/: make release builds one")
    for extra in options.names or extras():
        look_at(extra, wheel.resolve(), results)
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
