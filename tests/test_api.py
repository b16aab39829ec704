"""What others build on stays: names, signatures, types, and an import that costs little."""

import ast
import importlib
import importlib.resources
import inspect
import subprocess
import sys
from pathlib import Path

import api_names
import pytest

import privfl

LISTED = (Path(__file__).parent / "api.txt").read_text(encoding="utf-8").splitlines()
AGAIN = "if that is meant: python tests/api_names.py > tests/api.txt, and a line in CHANGELOG.md"
NEEDED = {"privfl", "numpy", "cryptography", "_cffi_backend", "_openssl", "msgspec", "typing_extensions"}
"""What the names of `privfl` may import beside Python's own library: three dependencies, and what theirs are."""
FACE = {
    "encoding",
    "errors",
    "guard",
    "lockstep",
    "params",
    "primitives",
    "roster",
    "session",
    "simulate",
    "suites",
} | {"wire"}
"""Parts of privfl that its face may import; suites, and all above them, wait until they are asked for."""
SLOW = ("cryptography.hazmat.primitives.serialization", "cryptography.x509", "numpy.random", "asyncio", "http")
"""Of what it needs, parts that take long to import, and that it can do without until they are used."""


def test_no_name_goes_and_no_signature_changes_unnoticed():
    made = api_names.api()
    assert [line for line in LISTED if line not in set(made)] == [], AGAIN
    assert [line for line in made if line not in set(LISTED)] == [], AGAIN
    assert made == LISTED


def test_another_signature_another_member_and_another_name_show():
    class Before:
        __module__ = "privfl.made_up"

        def tell(self, peer: "int", *, share: "bytes" = b"") -> "None": ...

    class After(Before):
        __module__ = "privfl.made_up"

        def tell(self, peer: "int", *, share: "bytes") -> "None": ...

    class More(Before):
        __module__ = "privfl.made_up"

        @property
        def told(self) -> "bool": ...

    before = api_names.lines_of("Kind", Before)
    assert before == ["Kind()", "Kind.tell(self, peer: int, *, share: bytes = b'') -> None"]
    assert api_names.lines_of("Kind", After) == ["Kind()", "Kind.tell(self, peer: int, *, share: bytes) -> None"]
    assert api_names.lines_of("Kind", More) == [*before, "Kind.told -> bool"]
    assert api_names.lines_of("Other", Before) != before


@pytest.mark.parametrize("path", api_names.PUBLIC)
def test_everything_public_says_what_it_is_for(path):
    module = importlib.import_module(path)
    assert module.__doc__
    for name in api_names.names_of(module):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            # What dataclasses and structs make of themselves, where nobody wrote anything, begins with the name.
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{value.__name__}("), name


def test_all_names_what_is_there_and_once():
    for path in api_names.PUBLIC:
        module = importlib.import_module(path)
        listed = getattr(module, "__all__", [])
        assert len(set(listed)) == len(listed), path
        assert all(hasattr(module, name) for name in listed), path


def test_the_package_is_typed():
    assert (importlib.resources.files("privfl") / "py.typed").is_file()


def _imported_by(code):
    """Top-level names of other packages, and parts of privfl, that some code imports in a process of its own."""
    shown = (
        "import sys\nbefore = set(sys.modules)\n"
        f"{code}\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted({name.split('.')[0] for name in new} - sys.stdlib_module_names))\n"
        "print(*sorted({name.split('.')[1] for name in new if name.startswith('privfl.')}))\n"
    )
    outcome = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    packages, parts = (set(line.split()) for line in outcome.stdout.split("\n")[:2])
    return packages, parts


def test_importing_privfl_imports_nothing_until_a_name_is_used():
    assert _imported_by("import privfl") == ({"privfl"}, set())
    assert _imported_by("import privfl\nprivfl.PrivflError") == ({"privfl"}, {"errors"})
    assert _imported_by("import privfl\nprivfl.errors.DecodeError") == ({"privfl"}, {"errors"})


def test_all_names_of_privfl_import_what_they_need_and_no_more():
    packages, parts = _imported_by("from privfl import *")
    assert packages <= NEEDED
    assert parts <= FACE
    assert {"suites", "session"} <= parts


def test_python_loads_the_names_that_type_checkers_see_from_the_same_modules():
    tree = ast.parse(Path(privfl.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("privfl.")
        for alias in node.names
    }
    assert seen == privfl._HOME_OF
    assert set(seen) | {"__version__"} == set(privfl.__all__) <= set(dir(privfl))
    with pytest.raises(AttributeError, match="has no attribute 'simulation'"):
        _ = privfl.simulation


@pytest.mark.parametrize(
    "code",
    [
        "import privfl, privfl.simulate as part",
        "import privfl.suites, privfl.learning.sessions, privfl",
        "from privfl.simulate import Simulation; import privfl",
        "from privfl import simulate; import privfl.simulate",
        "from importlib import import_module; part = import_module('privfl.simulate'); import privfl",
    ],
)
def test_simulate_is_the_function_whoever_imports_the_module_of_that_name(code):
    shown = f"{code}\nfrom privfl import simulate\nprint(callable(privfl.simulate) and privfl.simulate is simulate)"
    outcome = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert outcome.stdout == "True\n"


def test_parts_that_take_long_wait_until_they_are_used():
    code = f"from privfl import *; import sys; print([name for name in {SLOW} if name in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


def test_what_is_left_out_comes_when_it_is_used():
    packages, parts = _imported_by("import privfl, numpy\nprivfl.aggregate([numpy.zeros(3)] * 3, clip=1.0)")
    assert packages <= NEEDED
    assert {"kahe", "masking"} <= parts - FACE
