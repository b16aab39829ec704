"""What of privfl others may build on: names and signatures, one a line, as `tests/api.txt` has them.

    python tests/api_names.py > tests/api.txt

`test_api` fails where the two differ. A line that goes or changes breaks somebody's program: it belongs into the
changelog, and the version says so; a new line is no more than that.
"""

import enum
import importlib
import inspect
import re

PUBLIC = (
    "privfl",
    "privfl.audit.cohorts",
    "privfl.audit.empirical",
    "privfl.audit.examine",
    "privfl.audit.findings",
    "privfl.audit.residuals",
    "privfl.audit.uniformity",
    "privfl.bench.goals",
    "privfl.bench.growth",
    "privfl.bench.peers",
    "privfl.ckks",
    "privfl.dp",
    "privfl.errors",
    "privfl.evidence",
    "privfl.integrations.consortium",
    "privfl.integrations.flower",
    "privfl.integrations.home",
    "privfl.integrations.http",
    "privfl.integrations.mqtt",
    "privfl.integrations.policy",
    "privfl.learning",
    "privfl.learning.job",
    "privfl.learning.numpy_trainer",
    "privfl.learning.private_trainer",
    "privfl.learning.rounds",
    "privfl.learning.torch_trainer",
    "privfl.learning.trained",
    "privfl.learning.trainer",
    "privfl.primitives.entropy",
    "privfl.report",
)
"""What pages, examples and notebooks import from. Modules beside these may change without notice."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def names_of(module):
    """Return a module's public names: those of `__all__`, or else the classes and functions that it defines."""
    found = getattr(module, "__all__", None)
    if found is not None:
        return sorted(found)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__ == module.__name__
    )


def lines_of(name, value):
    """Return what there is to know of one name, a line for it and one for each of a class's members."""
    if inspect.isclass(value):
        if issubclass(value, enum.Enum):
            return [f"{name} = {{{', '.join(f'{member.name}: {member.value!r}' for member in value)}}}"]
        if issubclass(value, BaseException) and "__init__" not in vars(value):
            return [f"{name}: {', '.join(base.__name__ for base in value.__bases__)}"]
        return [f"{name}{_signature(value)}", *_members(name, value)]
    if inspect.isroutine(value):
        return [f"{name}{_signature(value)}"]
    return [f"{name}: {type(value).__name__}"]


def _members(name, kind):
    lines = []
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("privfl")]
    for member, value in sorted({key: value for base in ours for key, value in vars(base).items()}.items()):
        bare = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if member.startswith("_"):
            continue
        if isinstance(bare, property):
            lines.append(f"{name}.{member} -> {_said(bare.fget.__annotations__.get('return', ''))}")
        elif inspect.isfunction(bare):
            lines.append(f"{name}.{member}{_signature(bare)}")
    return lines


def _signature(value):
    try:
        signature = inspect.signature(value)
    except ValueError:
        return "(…)"
    parts, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        parts.append(_parameter(parameter))
    returns = signature.return_annotation
    ending = "" if returns is signature.empty or inspect.isclass(value) else f" -> {_said(returns)}"
    return f"({', '.join(parts)}){ending}"


def _parameter(parameter):
    text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_said(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {_shown(parameter.default)}"
    return text


def _shown(default):
    """Return what stands for a default: the same in every process."""
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}"
    if isinstance(default, frozenset | set):
        return f"{{{', '.join(sorted(map(repr, default)))}}}"
    return _ADDRESS.sub("", repr(default))


def _said(annotation):
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__forward_arg__", None) or getattr(annotation, "__name__", repr(annotation))


def api():
    """Return the lines of all public modules."""
    lines = []
    for path in PUBLIC:
        module = importlib.import_module(path)
        for name in names_of(module):
            lines += [f"{path}: {line}" for line in lines_of(name, getattr(module, name))]
    return lines


if __name__ == "__main__":
    print("\n".join(api()))
