"""Where a job's own functions are looked for: where Python looks, beside the job, in the current directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from privfl.errors import ConfigurationError
from privfl.guard import make_folder
from privfl.learning.checkpoint import write_whole
from privfl.learning.job import Job
from privfl.learning.own_code import is_own
from privfl.learning.paperwork import JOB

CODE_PATH: Final = "code_path.json"
"""File of a run whose job names functions: the folders that they were looked for in, behind those of Python."""
_MOST_FOLDERS: Final = 2


def folders_of(job: Path) -> tuple[Path, Path]:
    """Return where the functions of a job are looked for, behind where Python looks."""
    return job.resolve().parent, Path.cwd()


@contextmanager
def remembered(job: Job, folders: Sequence[Path] | None, out: Path) -> Iterator[None]:
    """Put down where a job's functions were looked for, for whoever goes on with the run; unless nothing came of it."""
    own = any(name is not None and is_own(name) for name in (job.model, job.data.name, job.data.test))
    if folders is None or not own:
        yield
        return
    new = not out.exists()
    make_folder(out)
    write_whole(out / CODE_PATH, json.dumps([str(folder) for folder in folders]).encode())
    try:
        yield
    finally:
        if not (out / JOB).exists():
            (out / CODE_PATH).unlink()
            with suppress(OSError):  # somebody has put something there
                if new:
                    out.rmdir()


def read_folders(path: Path) -> Sequence[Path]:
    """Return the folders that were put down; none if there is no such file.

    Raises:
        ConfigurationError: it is damaged.
    """
    try:
        named = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError):
        named = None
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named) or len(named) > _MOST_FOLDERS:
        raise ConfigurationError(f"{path} is damaged: delete it, and go on where the job's modules are")
    return [Path(one) for one in named]


def make_importable(*folders: Path) -> None:
    """Let a job name functions of modules beside it, or where it is run; modules that Python finds already come first.

    At the end of the path: a file that lies about in a folder is not taken for a part of Python, or of privfl.
    """
    for folder in folders:
        found = str(folder.resolve())
        if found not in sys.path:
            sys.path.append(found)
