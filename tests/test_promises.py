"""Every promise of SECURITY.md leads to the line that enforces it, and to the test that breaks without it."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from test_mutants import MUTANTS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
AGAIN = "run python docs/promises.py, and look at what it says"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("promises", ROOT / "docs" / "promises.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_links_are_in_step(script):
    assert script.made(PAGE) == PAGE, AGAIN


def test_every_sentence_is_a_promise_with_marks_or_listed_as_something_else(script):
    assert script.unclassified(PAGE) == []
    assert script.unused(PAGE) == []


def test_every_promise_is_tried_by_a_defect_that_a_test_catches(script):
    """`test_mutants` plants it, sees that its place is the only one, and that the test that is linked fails."""
    tried = {mutant.name: mutant for mutant in MUTANTS}
    for promise in script.promises():
        mutant = tried[promise.defect]
        assert promise.test.removeprefix("tests/") in mutant.caught_by
        assert (ROOT / promise.code).read_text(encoding="utf-8").splitlines()[promise.line - 1].strip()


def test_links_lead_to_the_test_that_they_name(script):
    for promise in script.promises():
        path, name = promise.test.split("::", 1)
        line = (ROOT / path).read_text(encoding="utf-8").splitlines()[promise.test_line - 1]
        assert re.match(rf"\s*(def|class) {re.escape(name.split('::')[-1].split('[')[0])}\b", line), promise.key


def test_a_new_sentence_without_marks_is_noticed(script):
    for sentence in ("Nothing is ever told.", "| `new` | nobody | anybody | nothing | nothing |"):
        into = "|---|---|\n" if sentence.startswith("|") else "## The audit\n\n"
        assert into in PAGE
        changed = PAGE.replace(into, f"{into}{sentence}\n", 1)
        assert script.unclassified(changed) == [sentence]


def test_marks_that_lead_nowhere_are_refused(script):
    with pytest.raises(ValueError, match="disjointness"):
        script.made(PAGE.replace("[code][disjoint]", "[code][disjointness]"))
    with pytest.raises(ValueError, match=r"\[test\] marks .* differ by known"):
        script.made(PAGE.replace(" [test][known.t]", "").replace("\n[test][known.t]", ""))


def test_a_line_that_has_moved_is_followed(script):
    moved = re.sub(r"(?m)^(\[disjoint\]: \S+#L)\d+", r"\g<1>1", PAGE)
    assert moved != PAGE
    assert script.made(moved) == PAGE
