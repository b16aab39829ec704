"""Tables on standard output."""

from __future__ import annotations

import io
import shutil
import sys
from typing import Final

from rich.console import Console
from rich.table import Table

_PIPED_WIDTH: Final = 240


def show(table: Table) -> None:
    """Print a table; into a pipe without colours and without wrapping at a terminal's width."""
    terminal = sys.stdout.isatty()
    text = io.StringIO()  # rich writes here: left to itself, it ends the process when a pipe is closed
    width = shutil.get_terminal_size().columns if terminal else _PIPED_WIDTH
    Console(file=text, width=width, force_terminal=terminal).print(table)
    print("\n".join(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n")))
