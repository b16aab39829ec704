"""How far ratios moved between two runs of `privfl bench`: on another day, or while the machine was busy.

    python benchmarks/moved.py runs/quiet runs/busy

Every cell and peer that both runs measured: its ratios to `plain` in the first run, in the second, and the change.
Training jobs, and goals that are ratios, come after them. The last lines say how many moved by less than 15 %.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

RATIOS: Final = ("ratio_to_plain", "client_ratio_to_plain", "server_ratio_to_plain")
LEAST: Final = 0.15


def moved(first: Path, second: Path) -> Iterator[tuple[str, str, float, float]]:
    """Yield what, which ratio, and its values in two directories of results."""
    for name, key, ratios in (("bench", "cell", RATIOS), ("jobs", "case", RATIOS[:1]), ("goals", "key", ("measured",))):
        before, after = (_lines(folder / f"{name}.jsonl", key) for folder in (first, second))
        for what, record in before.items():
            if what not in after or (name == "goals" and record["unit"] != "×"):
                continue
            for ratio in ratios:
                if _varies(record, ratio):
                    yield what, ratio, record[ratio], after[what][ratio]


def _varies(record: dict[str, Any], ratio: str) -> bool:
    """`plain` against itself is 1 whatever happens."""
    return bool(record[ratio]) and not (record.get("suite") == "plain" and record.get("privacy") == "none")


def _lines(path: Path, key: str) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    return {line[key]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}


def main() -> None:
    """Print the table."""
    changes: dict[str, list[float]] = {}
    for what, ratio, before, after in moved(*map(Path, sys.argv[1:3])):
        change = after / before - 1
        changes.setdefault(ratio, []).append(abs(change))
        print(f"{change:+7.1%}  {before:9.3f}  {after:9.3f}  {ratio.removesuffix('_to_plain'):13}  {what}")
    for ratio, sizes in changes.items():
        within = sum(size < LEAST for size in sizes)
        print(
            f"{ratio}: {within} of {len(sizes)} moved by less than {LEAST:.0%}; median {statistics.median(sizes):.1%}, "
            f"most {max(sizes):.1%}"
        )


if __name__ == "__main__":
    main()
