"""`privfl`: the verbs, their exit codes, and what a person sees when something is wrong.

Exit codes: 0 good, 1 the answer is bad, 2 inconclusive, 64 wrong usage (with a sentence that says what to do),
130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NoReturn

from privfl import __version__
from privfl.cli.exits import Exit
from privfl.errors import ConfigurationError, MissingExtra, PrivflError

_VERBS: Final = ("run", "serve", "join", "plan", "epsilon", "calibrate", "audit", "bench", "identity", "init")
"""Each is a module of `privfl.cli` that `register`s itself; `--help` lists them in this order."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"privfl: {message} (see `{self.prog} --help`)\n")


def make_parser(verbs: Sequence[str] = _VERBS) -> argparse.ArgumentParser:
    """Return the parser of the command, with all verbs or some of them; what the others need is not imported."""
    parser = _Parser(
        prog="privfl",
        description="Secure aggregation for federated learning: the server learns only the sum.",
        epilog="example: privfl run examples/hospitals.toml --out runs/first",
    )
    parser.add_argument("--version", action="version", version=f"privfl {__version__}")
    listed = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in verbs:
        import_module(f"privfl.cli.{verb}").register(listed)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
    try:
        parser = make_parser(_needed(list(arguments[:1])))
        options = parser.parse_args(arguments)
        code = options.call(options)
        sys.stdout.flush()
    except (ConfigurationError, MissingExtra) as error:
        return _say(error, Exit.USAGE)
    except PrivflError as error:
        return _say(error, Exit.BAD)
    except KeyboardInterrupt:
        return _say("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.GOOD
    except OSError as error:  # a full disk, a folder that went away: the machine's, and nothing of ours to trace
        where = f"{error.filename}: " if error.filename else ""
        resumes = ": what was done is kept; see to it, then --resume goes on" if arguments[:1] == ["run"] else ""
        from privfl.report.formats import visible  # noqa: PLC0415 - slow to import, and needed for this alone

        return _say(visible(f"{where}{error.strerror or error}{resumes}"), Exit.USAGE)
    return int(code)


def _needed(first: list[str]) -> Sequence[str]:
    """Return the verbs that a command line which begins so needs: all are listed by `--help` and after a wrong one."""
    if first == ["--version"]:
        return ()
    return first if set(first) & set(_VERBS) else _VERBS


def _say(message: object, code: Exit) -> int:
    print(f"privfl: {message}", file=sys.stderr)
    return code
