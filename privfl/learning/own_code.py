"""Functions of the user's own, named in a job as `module:function`: found, and called with what they take.

Importing a module runs its code: whoever runs a job runs the programs that it names.
"""

from __future__ import annotations

import importlib
import inspect
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from privfl.errors import ConfigurationError, PrivflError

_LONGEST: Final = 300  # of what an error says
_NOT_OWN: Final = (
    "<frozen ",  # of the import system
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")),
)
"""How the paths begin of files that nobody who names a function wrote."""


class OwnCodeFailed(ConfigurationError):
    """Somebody's own code raised, or ended the program: the cause of this is what it raised."""


def is_own(name: str) -> bool:
    """Whether a name says `module:function`, whatever these are."""
    return ":" in name


def is_well_formed(name: str) -> bool:
    """Whether a name says a module that can be imported by that name, and a function."""
    module, _, function = name.partition(":")
    return bool(module and function) and not module.startswith(".")


def own_function(key: str, name: str, *, sample: str, offered: Sequence[str]) -> Callable[..., Any]:
    """Import the function that a job names.

    Args:
        key: of the job, for complaints.
        name: `module:function`.
        sample: a function that would work, for complaints, with `{}` for its name.
        offered: keywords that it is going to be offered.

    Returns:
        What calls it, with those of the keywords that its signature takes.

    Raises:
        ConfigurationError: no such module or function, one whose import fails, or that needs other arguments; later,
            when it fails.
    """
    module_name, _, attribute = name.partition(":")
    if not is_well_formed(name):
        raise ConfigurationError(f"{key} is {name!r}: a function of your own as 'my_module:its_name' works")
    try:
        function = getattr(importlib.import_module(module_name), attribute, None)
    except ImportError as error:
        raise ConfigurationError(
            f"{key} is {name!r} but importing {module_name!r} failed ({error}); "
            "check the name, and that its directory is on PYTHONPATH, or the current one, or the job file's"
        ) from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{key} is {name!r} but importing {module_name!r} failed ({told(error)}); correct the module"
        ) from error
    if not callable(function):
        raise ConfigurationError(
            f"{key} is {name!r} but {module_name!r} has no function {attribute!r}; "
            f"define it, for instance: {sample.format(attribute)}"
        )
    return adapted(key, name, function, offered)


def taken(function: Callable[..., Any], offered: Sequence[str]) -> tuple[str, ...]:
    """Return those of our keywords that a function's signature takes."""
    parameters = _parameters(function)
    by_name = {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return tuple(word for word in offered if takes_all or word in by_name)


def adapted(key: str, name: str, function: Callable[..., Any], offered: Sequence[str]) -> Callable[..., Any]:
    """Return what calls a function with those of our keywords that its signature takes.

    Args:
        key: where it is from, for complaints.
        name: what it is called there.
        function: somebody's.
        offered: keywords that it is going to be offered.

    Raises:
        ConfigurationError: it needs other arguments; later, when it fails.
    """
    words = taken(function, offered)
    needed = [
        p.name
        for p in _parameters(function)
        if p.default is p.empty
        and p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}
        and (p.name not in offered or p.kind is p.POSITIONAL_ONLY)
    ]
    if needed:
        raise ConfigurationError(
            f"{key} is {name!r} but that function also needs {', '.join(needed)}; "
            f"let it take no argument, or only the keywords {', '.join(offered)}"
        )

    def call(**given: Any) -> Any:
        passed = {word: value for word, value in given.items() if word in words}
        try:
            return function(**passed)
        except PrivflError:
            raise
        except (Exception, SystemExit) as error:
            numbers = ", ".join(f"{word}={value}" for word, value in passed.items() if isinstance(value, int))
            which = f" with {numbers}" if numbers else ""
            raise ConfigurationError(f"{key} is {name!r}, and calling it{which} failed: {told(error)}") from error

    return call


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # some callables written in C tell no signature
        return []


@contextmanager
def staying(whose: str) -> Iterator[None]:
    """Run somebody's own code, which must not end the program.

    Args:
        whose: code it is, for the complaint.

    Raises:
        OwnCodeFailed: it asked for that, by sys.exit.
    """
    try:
        yield
    except SystemExit as error:
        raise OwnCodeFailed(f"{whose} ended the program: {told(error)}") from error


def told(error: BaseException) -> str:
    """Say what went wrong, and where: in a line of somebody's own program, also if a library raised it there."""
    places = traceback.extract_tb(error.__traceback__)
    own = [place for place in places if not place.filename.startswith(_NOT_OWN)]
    place = (own or places)[-1]
    said = " ".join(str(error).split())[:_LONGEST]
    return f"{type(error).__name__}: {said}, in line {place.lineno} of {Path(place.filename).name}"
