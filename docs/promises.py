"""Make the links of SECURITY.md: to the line that enforces a promise, and to the test that breaks where it is missing.

A promise in SECURITY.md ends in two marks, `[code][key]` and `[test][key.t]`. `docs/promises.toml` says which planted
defect belongs to the key: the one that takes away what the promise rests on. Where the defect is planted is the line
that enforces it, and what catches the defect is the test. Both move; this script finds them and writes the addresses
behind the last line of the text:

    python docs/promises.py            # write them
    python docs/promises.py --check    # say whether they are in step; exit code 1 if not
    python docs/promises.py --show     # every promise with its line, its defect and its test

Every sentence without a mark is listed in `docs/promises.toml` as well, under what it is instead of a promise.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SECURITY: Final = ROOT / "SECURITY.md"
PROMISES: Final = ROOT / "docs" / "promises.toml"
TESTS: Final = ROOT / "tests"
BEGIN: Final = "<!-- Made by docs/promises.py from docs/promises.toml: do not edit what follows. -->"
_MARKS: Final = re.compile(r"<sup>(?:\[(?:code|test)\]\[[a-z0-9.-]+\]\s*)+</sup>")
_MARK: Final = re.compile(r"\[(code|test)\]\[([a-z0-9-]+)(\.t)?\]")
_PLACE: Final = "†"
_LEAD: Final = re.compile(r"\*\*[^*]+(?:\.\*\*|\*\*(?: \([^)]*\))?\.)\s*")
_SENTENCE_ENDS: Final = re.compile(rf"(?<=[.?!)]){_PLACE}?\s+(?=[A-ZΑ-ω`*(])|(?<=[.?!]{_PLACE})\s+")


@dataclass(frozen=True)
class Promise:
    """What stands behind a mark.

    Attributes:
        key: in SECURITY.md.
        defect: name of the planted one.
        code: path of the file that enforces it, from the root.
        line: of that file, from 1.
        test: path of the test's file, and behind `::` its name.
        test_line: of that file, from 1.
    """

    key: str
    defect: str
    code: str
    line: int
    test: str
    test_line: int

    def addresses(self) -> list[str]:
        """Return the two definitions that the marks refer to."""
        path, name = self.test.split("::", 1)
        return [
            f'[{self.key}]: {self.code}#L{self.line} "without it: {self.defect}"',
            f'[{self.key}.t]: {path}#L{self.test_line} "{name}"',
        ]


@cache
def defects() -> dict[str, Any]:
    """Return the planted defects of the tests, by name."""
    for folder in (str(ROOT), str(TESTS)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    found: dict[str, Any] = {}
    for path in sorted(TESTS.glob("mutants*.py")):
        module = importlib.import_module(path.stem)
        for name in ("MUTANTS", "WITH_BROKER"):
            found |= {mutant.name: mutant for mutant in getattr(module, name, ())}
    return found


def listed() -> dict[str, Any]:
    """Return what docs/promises.toml says."""
    return tomllib.loads(PROMISES.read_text(encoding="utf-8"))


def promises() -> list[Promise]:
    """Look up every promise of docs/promises.toml.

    Raises:
        ValueError: a defect, or a test of one, that is not there; a place that is not the only one.
    """
    return [_promise(key, entry) for key, entry in listed()["promises"].items()]


def _promise(key: str, entry: str | list[str]) -> Promise:
    name, *wanted = [entry] if isinstance(entry, str) else entry
    if name not in defects():
        raise ValueError(f"{key}: no planted defect is named {name!r}")
    mutant = defects()[name]
    test = next((test for test in mutant.caught_by if not wanted or wanted[0] in test), None)
    if test is None:
        raise ValueError(f"{key}: {wanted[0]} does not catch {name!r}, {', '.join(mutant.caught_by)} do")
    code = f"privfl/{mutant.file}"
    return Promise(
        key=key,
        defect=name,
        code=code,
        line=_line_of(ROOT / code, mutant),
        test=f"tests/{test}",
        test_line=_line_of_test(TESTS / test.split("::")[0], test.split("::")[1:]),
    )


def _line_of(path: Path, mutant: Any) -> int:
    """Return the first line that the defect changes."""
    source = _text(path)
    if source.count(mutant.before) != 1:
        raise ValueError(f"{mutant.name!r} is planted where {path.name} has {source.count(mutant.before)} places")
    pairs = zip(mutant.before, mutant.after, strict=False)
    same = next((place for place, (old, new) in enumerate(pairs) if old != new), len(mutant.after))
    at = source.index(mutant.before) + min(same, len(mutant.before) - 1)
    return source.count("\n", 0, at) + 1


def _line_of_test(path: Path, names: list[str]) -> int:
    """Return the line of a class or function."""
    body, line = _parsed(path).body, 0
    for name in names:
        bare = name.split("[")[0]
        defined = (one for one in body if isinstance(one, ast.ClassDef | ast.FunctionDef))
        found = next((one for one in defined if one.name == bare), None)
        if found is None:
            raise ValueError(f"{path.name} has no {bare}")
        body, line = found.body, found.lineno
    return line


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(_text(path))


def text_of(page: str) -> str:
    """Return what people write of SECURITY.md, without the addresses."""
    return page.split(BEGIN, maxsplit=1)[0]


def made(page: str) -> str:
    """Return SECURITY.md with the addresses as they are now.

    Raises:
        ValueError: as for `promises`; or marks in the text that are not those of docs/promises.toml.
    """
    text, found = text_of(page), promises()
    marks = [match.groups() for match in _MARK.finditer(text)]
    keys = {promise.key for promise in found}
    for what, ending in (("code", None), ("test", ".t")):
        marked = {key for kind, key, tail in marks if (kind, tail) == (what, ending)}
        if marked != keys:
            raise ValueError(f"[{what}] marks and docs/promises.toml differ by {', '.join(sorted(marked ^ keys))}")
    if any((kind == "test") != (tail == ".t") for kind, _, tail in marks):
        raise ValueError("a [code] mark of a test, or a [test] mark of a line")
    addresses = [line for promise in found for line in promise.addresses()]
    return "\n".join([text.rstrip("\n"), "", BEGIN, *addresses, ""])


def sentences(page: str) -> list[str]:
    """Return the sentences of SECURITY.md, those with marks ending in †.

    A row of a table is one; headings, and the words in bold that a paragraph may begin with, are none.
    """
    found = []
    for block in re.split(r"\n(?:\s*\n)+|\n(?=- )", _MARKS.sub(_PLACE, text_of(page))):
        if block.startswith("|"):
            found += block.splitlines()[2:]  # behind the heads of the columns
        elif not block.startswith("#"):
            running = _LEAD.sub("", " ".join(block.removeprefix("- ").split()))
            starts = [0, *(match.end() for match in _SENTENCE_ENDS.finditer(running)), len(running)]
            found += [running[start:end].strip() for start, end in pairwise(starts)]
    return [sentence for sentence in found if sentence]


def unclassified(page: str) -> list[str]:
    """Return the sentences that neither have a mark nor are listed as something else than a promise."""
    beginnings = [beginning for group in listed()["instead"].values() for beginning in group]
    bare = [sentence for sentence in sentences(page) if _PLACE not in sentence]
    return [sentence for sentence in bare if not any(map(sentence.startswith, beginnings))]


def unused(page: str) -> list[str]:
    """Return what is listed as something else than a promise and begins no bare sentence."""
    bare = [sentence for sentence in sentences(page) if _PLACE not in sentence]
    beginnings = [beginning for group in listed()["instead"].values() for beginning in group]
    return [beginning for beginning in beginnings if not any(sentence.startswith(beginning) for sentence in bare)]


def main(arguments: list[str]) -> int:
    """Write, check or show; return the exit code."""
    page = SECURITY.read_text(encoding="utf-8")
    if arguments == ["--show"]:
        for promise in promises():
            print(f"{promise.key}: {promise.code}:{promise.line}, without it: {promise.defect}; {promise.test}")
        return 0
    try:
        wanted = made(page)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    problems = [f"neither marked nor listed: {one}" for one in unclassified(page)]
    problems += [f"listed, and no sentence begins so: {one}" for one in unused(page)]
    if arguments == ["--check"]:
        problems += ["SECURITY.md is not in step: run python docs/promises.py"] if wanted != page else []
    else:
        SECURITY.write_text(wanted, encoding="utf-8")
    print("\n".join(problems) or f"{len(promises())} promises", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
