"""The house keeps its rules: imports point one way, the face is complete, style and types hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import privfl
from privfl import errors

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "tenseal", "opacus", "sklearn", "rich", "matplotlib", "dp_accounting", "flwr")


def tool(*arguments):
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)


def module(name):
    return str(Path(sys.executable).with_name(name))


def test_imports_point_one_way():
    outcome = tool(module("lint-imports"), "--no-cache")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_style():
    outcome = tool(module("ruff"), "check", ".")
    assert outcome.returncode == 0, outcome.stdout
    outcome = tool(module("ruff"), "format", "--check", ".")
    assert outcome.returncode == 0, outcome.stdout


def test_types():
    outcome = tool(module("mypy"))
    assert outcome.returncode == 0, outcome.stdout


def test_importing_privfl_imports_nothing_heavy():
    code = f"from privfl import *; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert tool(sys.executable, "-c", code).stdout.strip() == "[]"


def test_using_a_suite_imports_nothing_heavy():
    code = (
        "import numpy as np, privfl, sys\n"
        "privfl.aggregate([np.zeros(3)] * 3, clip=1.0)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert tool(sys.executable, "-c", code).stdout.strip() == "[]"


def test_the_face_is_sorted_complete_and_importable():
    assert sorted(privfl.__all__) == sorted(set(privfl.__all__))
    for name in privfl.__all__:
        assert hasattr(privfl, name), name


def test_every_error_is_drawn_in_the_tree_and_under_one_root():
    drawn = set(re.findall(r"[├└]── (\w+)|^(\w+Error)$", errors.__doc__, re.MULTILINE))
    drawn = {name for pair in drawn for name in pair if name}
    classes = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert drawn == set(classes)
    assert all(issubclass(kind, errors.PrivflError) for kind in classes.values())
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(errors.MissingExtra, ImportError)


def test_a_missing_extra_names_itself():
    assert "privfl[learning]" in str(errors.MissingExtra("learning", "torch"))


def test_the_face_of_dp_is_sorted_complete_and_takes_no_extra():
    code = (
        "import privfl.dp, sys\n"
        "print(all(hasattr(privfl.dp, name) for name in privfl.dp.__all__))\n"
        "print(sorted(privfl.dp.__all__) == privfl.dp.__all__)\n"
        "print([m for m in ('torch', 'opacus', 'scipy', 'dp_accounting', 'sklearn', 'rich') if m in sys.modules])\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines() == ["True", "True", "[]"]


@pytest.mark.parametrize(
    "package",
    ["primitives", "lattice", "masking", "kahe", "ckks", "plain", "wire", "encoding", "compression", "dp"],
)
def test_no_weak_randomness_where_secrets_are_drawn(package):
    for path in (ROOT / "privfl" / package).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(alias.name == "random" for alias in node.names), path
            if isinstance(node, ast.Attribute):
                assert not (isinstance(node.value, ast.Name) and node.value.id == "np" and node.attr == "random"), path


def test_the_version_is_stated_once():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{privfl.__version__}"' in project


def test_every_module_of_the_library_says_what_it_is_for():
    for path in (ROOT / "privfl").rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_doctests_hold():
    import doctest
    import importlib

    tried = 0
    for path in sorted((ROOT / "privfl").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if ">>>" in source:
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            outcome = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
            assert outcome.failed == 0, name
            tried += outcome.attempted
    assert tried > 10
