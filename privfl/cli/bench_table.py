"""What `privfl bench` prints when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from privfl.cli.tables import show

_HEADINGS = ("suite", "wire", "clients", "parameters", "drop-out", "noise", "client ms", "×", "server ms", "×",
             "upload MB each", "×", "server peak MB", "error", "std", "promised")  # fmt: skip
_TO_THE_LEFT = {"suite", "wire", "noise"}


def print_cells(records: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of cells."""
    table = Table(title="medians; × is against plain, turn by turn in the same run", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in _TO_THE_LEFT else "right")
    for record in records:
        table.add_row(
            record["suite"],
            record["wire"] or "",
            f"{record['clients']:,}",
            f"{record['parameters']:,}",
            f"{record['dropout']:g}",
            "" if record["privacy"] == "none" else record["privacy"],
            f"{1e3 * record['client_cpu_s']:.2f}",
            f"{record['client_ratio_to_plain']:.1f}",
            f"{1e3 * record['server_cpu_s']:.1f}",
            f"{record['server_ratio_to_plain']:.1f}",
            f"{record['upload_bytes_per_contributor'] / 1e6:.3f}",
            f"{record['upload_ratio_to_plain']:.3f}",
            _told(record["server_peak_bytes"], lambda count: f"{count / 1e6:.1f}"),
            *(
                _told(record[name], lambda error: "exact" if error == 0 else f"{error:.1e}")
                for name in ("max_abs_error", "error_std_of_mean", "promised_error_std_of_mean")
            ),
        )
    show(table)


def print_goals(records: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of goals."""
    table = Table(title=f"goals: {sum(one['reached'] for one in records)} of {len(records)} reached")
    for heading in ("goal", "measured", "limit", "reached"):
        table.add_column(heading, justify="left" if heading == "goal" else "right")
    for record in records:
        sign = "≥" if record["at_least"] else "≤"
        table.add_row(
            record["what"],
            f"{record['measured']:.4g} {record['unit']}",
            f"{sign} {record['limit']:g}",
            "yes" if record["reached"] else "no",
        )
    show(table)


def print_jobs(records: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of training jobs."""
    table = Table(title="training: a round; × is against plain, round by round", title_justify="left")
    for heading in ("job", "suite", "wire", "bits", "noise", "ε", "s", "×", "upload kB a client", "accuracy"):
        table.add_column(heading, justify="left" if heading in {"job", "suite", "wire", "noise"} else "right")
    for record in records:
        table.add_row(
            record["job"],
            record["suite"],
            record["wire"],
            str(record["bits"]),
            "" if record["privacy"] == "none" else record["privacy"],
            _told(record["epsilon"], lambda epsilon: f"{epsilon:g}"),
            f"{record['seconds']:.2f}",
            f"{record['ratio_to_plain']:.2f}",
            f"{record['upload_bytes'] / 1e3:,.1f}",
            f"{record['accuracy']:.3f}",
        )
    show(table)


def _told(value: Any, form: Any) -> str:
    return "" if value is None else str(form(value))
