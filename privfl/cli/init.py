"""`privfl init`: a commented job file to start from."""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from privfl.cli.exits import Exit
from privfl.errors import ConfigurationError


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "init",
        help="write a commented job file",
        description="Write a job file in which every key is explained. Nothing is overwritten.",
        epilog="example: privfl init my_job.toml && privfl run my_job.toml",
    )
    parser.add_argument("path", nargs="?", type=Path, default=Path("job.toml"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    text = files("privfl.cli").joinpath("job_template.toml").read_text(encoding="utf-8")
    try:
        with options.path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{options.path} exists already: name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{options.path} cannot be written: {error.strerror}") from None
    print(
        json.dumps({"job": str(options.path)}) if options.json else f"wrote {options.path}: privfl run {options.path}"
    )
    return Exit.GOOD
