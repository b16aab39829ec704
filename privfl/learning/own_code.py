"""Functions of the user's own, named in a job as `module:function`: found, and called with what they take.

Importing a module runs its code: whoever runs a job runs the programs that it names.
"""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from privfl.errors import ConfigurationError, PrivflError


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
    except Exception as error:
        raise ConfigurationError(
            f"{key} is {name!r} but importing {module_name!r} failed ({_told(error)}); correct the module"
        ) from error
    if not callable(function):
        raise ConfigurationError(
            f"{key} is {name!r} but {module_name!r} has no function {attribute!r}; "
            f"define it, for instance: {sample.format(attribute)}"
        )
    return _adapted(key, name, function, offered)


def _adapted(key: str, name: str, function: Callable[..., Any], offered: Sequence[str]) -> Callable[..., Any]:
    """`function`, called with those of our keywords that its signature takes."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some callables written in C tell no signature
        parameters = []
    by_name = {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    needed = [
        p.name
        for p in parameters
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
        try:
            return function(**{word: value for word, value in given.items() if takes_all or word in by_name})
        except PrivflError:
            raise
        except Exception as error:
            raise ConfigurationError(f"{key} is {name!r}, and calling it failed: {_told(error)}") from error

    return call


def _told(error: Exception) -> str:
    """What went wrong, and where: a line of somebody's own program."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}, in line {place.lineno} of {Path(place.filename).name}"
