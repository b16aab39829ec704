"""What protection costs, as README has it: a table made of the results of `make bench` that are kept.

    python benchmarks/readme_table.py

writes it into README.md, between its two marks; `tests/test_readme.py` sees to it that they are in step. The size is
the one that opens the report: where most suites and peers were measured.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from privfl.report.bench_records import CellRecord, cell_records, goal_records
from privfl.report.bench_words import (
    at_size,
    common_size,
    megabytes,
    milliseconds,
    names_of,
    share,
    size_words,
    without_noise,
)
from privfl.report.formats import MISSING, format_number

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "benchmarks" / "results" / "full"
BEGIN: Final = "<!-- made by benchmarks/readme_table.py -->\n"
END: Final = "<!-- until here -->\n"
TIMES: Final = "× `plain`"
HEADINGS: Final = ("", "a client, ms", TIMES, "server, ms", TIMES, "upload, MB", TIMES, "error of the mean")


def table(folder: Path = RESULTS) -> str:
    """Return the table, and the sentence below it.

    Args:
        folder: with bench.jsonl, goals.jsonl and command.json.
    """
    bare = without_noise(cell_records(_lines(folder / "bench.jsonl")))
    goals = goal_records(_lines(folder / "goals.jsonl"))
    command = json.loads((folder / "command.json").read_text(encoding="utf-8"))
    size = common_size(bare)
    if size is None:
        raise SystemExit(f"{folder / 'bench.jsonl'} holds nothing to show: run make bench")
    shown = at_size(bare, size)
    names = names_of(one.variant for one in shown)
    rows = [HEADINGS, ("---", *["---:"] * (len(HEADINGS) - 1)), *(_row(one, names[one.variant]) for one in shown)]
    missed = [
        f"{one.what.rstrip('.')} (measured: {format_number(one.measured, 3)} {one.unit})"
        for one in goals
        if not one.holds
    ]
    on = command["machine"]
    below = (
        f"CPU of one client and of the server, and the upload of one client, in a session of {size_words(size)}: "
        f"medians of sessions that took turns with `plain`, which protects nothing, one thread each. The error is the "
        f"largest, as a fraction of full scale (updates have 16 bits). On {on['processor']}, {on['date']}; "
        f"`privfl {' '.join(['bench', *command['arguments']])}` measures all of it on yours. Of the {len(goals)} goals "
        f"that the project holds itself to, {len(goals) - len(missed)} were reached in that run"
        + (", and missed were:" if missed else ".")
    )
    told = [line for one in missed for line in textwrap.wrap(f"- {one}", 120, subsequent_indent="  ")]
    shown_rows = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*shown_rows, "", *textwrap.wrap(below, 120), *(["", *told] if told else []), ""])


def written(readme: str, made: str) -> str:
    """Return README's text with the table in its place."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + "\n" + made + "\n" + END + rest.split(END)[1]


def _row(cell: CellRecord, name: str) -> Sequence[str]:
    def ratio(value: float | None) -> str:
        return MISSING if value is None else format_number(value, 2)

    return (
        f"`{name}`" if cell.kind == "suite" else name,
        milliseconds(cell.client_cpu_s),
        ratio(cell.client_ratio_to_plain),
        milliseconds(cell.server_cpu_s),
        ratio(cell.server_ratio_to_plain),
        megabytes(cell.upload_bytes_per_contributor),
        ratio(cell.upload_ratio_to_plain),
        share(cell.max_abs_error),
    )


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8"), table()), encoding="utf-8")
