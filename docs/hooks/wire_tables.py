"""Tables made from the code: the header of messages, numbers, messages, labels, sizes of sessions, and plans."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from itertools import groupby
from pathlib import Path

import msgspec

import privfl
from privfl import SUITE_NAMES, SessionParams, ThreatModel, VectorSpec, WireForm, plan_session, suite
from privfl.cli.main import main
from privfl.primitives.labels import Label
from privfl.wire import Message, Role, SuiteCode, envelope, message_type

SPOKEN_BY = {"plain": "`plain`", "masking": "`masking` and `kahe`", "ckks": "`ckks`"}
COHORT, VECTOR = tuple(range(10)), VectorSpec(length=1000, bound=32_767)
"""The session whose sizes are told: ten clients, a thousand coordinates of 16 bits."""
PLANNED = (10, 100, 1000, 10_000)
"""Cohorts that `privfl plan` is asked about."""


def table(head: tuple[str, ...], body: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def header() -> str:
    """Return the table of the header that stands where the header is read and written."""
    lines = [line for line in (envelope.__doc__ or "").splitlines() if line.startswith("|")]
    return "\n".join(lines)


def numbers() -> str:
    """Return suites and roles with their numbers."""
    suites = [(f"suite `{code.name.lower()}`", f"{code:#04x}") for code in SuiteCode]
    roles = [(f"role {role.name.lower()}", f"{role:#04x}") for role in Role]
    return table(("what", "number"), suites + roles)


def messages() -> list[type[Message]]:
    """Return every message that travels, and the structs within them, by number."""
    for path in sorted(Path(privfl.__file__).parent.glob("*/messages.py")):
        import_module(f"privfl.{path.parent.name}.messages")
    return sorted(_all_kinds(Message), key=message_type)


def _all_kinds(kind: type[Message]) -> Iterator[type[Message]]:
    for one in kind.__subclasses__():
        if one.__module__.startswith("privfl.") and isinstance(one.__struct_config__.tag, int):
            yield one
        yield from _all_kinds(one)


def message_tables() -> str:
    """Return the messages of each package, with their fields."""
    parts = []
    for package, kinds in groupby(messages(), key=lambda kind: kind.__module__.split(".")[1]):
        rows = [
            (f"`{message_type(kind):#04x}`", f"`{kind.__name__}`", _summary(kind), ", ".join(_fields(kind)) or "–")
            for kind in kinds
        ]
        parts.append(f"**{SPOKEN_BY[package]}**\n\n" + table(("type", "message", "what it is", "fields"), rows))
    return "\n\n".join(parts)


def _summary(kind: type[Message]) -> str:
    first = (kind.__doc__ or "").split("\n\n", 1)[0]
    return " ".join(first.split()).rstrip(".")


def _fields(kind: type[Message]) -> Iterator[str]:
    described = msgspec.inspect.type_info(kind)
    for field in described.fields:
        yield f"`{field.encode_name}` {_described(field.type)}"


def _described(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.BytesType(min_length=None, max_length=None):
            return "bytes"
        case msgspec.inspect.BytesType(min_length=least, max_length=most):
            return f"{most} bytes" if least == most else f"up to {most} bytes"
        case msgspec.inspect.IntType(ge=least, le=most):
            upper = "2³² − 1" if most == 2**32 - 1 else str(most)
            return f"{least} … {upper}"
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"list of ({_described(item)})"
        case msgspec.inspect.StructType(cls=cls):
            return f"`{cls.__name__}`"
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_described(one) for one in types)
    raise TypeError(f"a field of a message that no page can describe: {kind}")


def labels() -> str:
    """Return the labels of digests, derived keys and signatures."""
    return table(("label", "bytes"), [(f"`{label.name}`", f"`{label.value.decode()}`") for label in Label])


def sizes() -> str:
    """Return what may leave those who answer, in the example's sessions, in bytes."""
    rows = []
    for name in SUITE_NAMES:
        for form in WireForm:
            if form is WireForm.PACKED and name in {"plain", "ckks"}:
                continue  # they have one form
            for (role, phase), one in suite(name).message_sizes(_example(name, form)).items():
                told = f"{one.most:,}" if one.exact else f"{one.least:,} … {one.most:,}"
                shown = "one" if name in {"plain", "ckks"} else f"`{form.value}`"
                rows.append((f"`{name}`", shown, f"`{phase.value}`", role.name.lower(), told))
    return table(("suite", "`wire`", "phase", "who", "bytes"), rows)


def _example(name: str, form: WireForm) -> SessionParams:
    if not suite(name).has_committee:
        return plan_session(name, cohort=COHORT, vector=VECTOR, wire=form, nonce=bytes(16), context=bytes(32))
    threat = ThreatModel()
    setting = suite(name).setting(len(COHORT), threat, bound=VECTOR.bound, length=VECTOR.length)
    return SessionParams(
        cohort=COHORT,
        vector=VECTOR,
        setting=replace(setting, key=bytes(32)),  # lengths are the same under every key
        threat=threat,
        minimum_contributors=suite(name).fewest_contributors(len(COHORT), threat),
        nonce=bytes(16),
        context=bytes(32),
    )


def plans() -> str:
    """Return what `privfl plan` says of each suite that protects, for cohorts of several sizes."""
    head = (
        "suite",
        "clients",
        "neighbours",
        "threshold",
        "upload, bits a parameter",
        "error of the mean, of full scale",
    )
    rows = []
    for name in SUITE_NAMES:
        if not suite(name).protects:
            continue
        for clients in PLANNED:
            said = planned("--suite", name, "--clients", str(clients), "--wire", "packed")
            error = said["error_std_of_mean"]
            rows.append(
                (
                    f"`{name}`",
                    f"{clients:,}",
                    "–" if said["degree"] is None else f"{said['degree']}",
                    f"{said['threshold']}" if said["degree"] else f"{said['threshold']} of {said['committee']} members",
                    f"{said['upload_bits_per_parameter']}",
                    "none" if error == 0 else f"{error:.0e}",
                )
            )
    return table(head, rows)


def planned(*arguments: str) -> dict[str, object]:
    """Return what `privfl plan` answers."""
    answer = io.StringIO()
    with redirect_stdout(answer):
        main(["plan", *arguments, "--json"])
    said: dict[str, object] = json.loads(answer.getvalue())
    return said
