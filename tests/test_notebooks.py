"""Notebooks run from top to bottom, say what they are there to say, and are stored without what comes out of them.

`make notebooks` runs this file as well: where PRIVFL_NOTEBOOKS names a directory, what was executed stays there as
pages for people.
"""

import os
import re
from pathlib import Path

import notebook_claims as claims
import notebook_claims_basics as basics
import pytest
from notebook_outputs import figures

nbformat = pytest.importorskip("nbformat", reason="notebooks are not executed without it")
nbclient = pytest.importorskip("nbclient", reason="notebooks are not executed without it")
for needed in ("ipykernel", "matplotlib", "tenseal", "zstandard", "torch", "sklearn", "opacus", "dp_accounting"):
    pytest.importorskip(needed, reason="the notebooks need it")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KEPT_IN = os.environ.get("PRIVFL_NOTEBOOKS")


CLAIMS = {
    "audit.ipynb": (
        2,
        [
            claims.audits_an_honest_run,
            claims.catches_what_it_plants,
            claims.gives_false_comfort,
            claims.says_what_it_could_have_seen,
            claims.estimates_the_shift,
        ],
    ),
    "ckks_precision.ipynb": (6, [claims.shows_the_attack, claims.keeps_its_promises]),
    "overhead.ipynb": (4, [basics.measures_beside_plain, basics.counts_bytes_exactly, basics.projects_with_intervals]),
    "privacy_budget.ipynb": (
        5,
        [claims.reaches_its_points, claims.counts_who_dropped_out, claims.stays_within_its_budget],
    ),
    "quickstart.ipynb": (1, [basics.sums_exactly, basics.sums_who_uploaded, basics.trains_as_plain_does]),
    "server_view.ipynb": (
        4,
        [basics.reads_images_that_nothing_protects, basics.says_what_sums_tell, basics.opens_at_the_threshold],
    ),
}
"""How many figures a notebook draws, and what it has to have said."""


def page_of(notebook, name):
    """An executed notebook as a page, figures and all, that loads nothing from anywhere: formulas stay LaTeX."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_notebook_node(notebook, resources={"metadata": {"name": name}})
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)


def test_every_notebook_has_its_claims():
    assert [path.name for path in NOTEBOOKS] == sorted(CLAIMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_stored_without_what_came_out(path):
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|usr|Users)/", raw)  # no word of the machine that it was written on
    notebook = nbformat.reads(raw, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata
        assert not cell.get("attachments")
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs(path, tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    if KEPT_IN:
        Path(KEPT_IN).mkdir(parents=True, exist_ok=True)
        (Path(KEPT_IN) / path.with_suffix(".html").name).write_text(page_of(notebook, path.stem), encoding="utf-8")
    most, its_claims = CLAIMS[path.name]
    assert figures(notebook) == most
    for claim in its_claims:
        claim(notebook)


def test_a_page_shows_what_was_executed():
    pytest.importorskip("nbconvert", reason="pages need it")
    cell = nbformat.v4.new_code_cell("print(6 * 7)", execution_count=1)
    drawn = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="the answer: 42"), drawn]
    page = page_of(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Heading"), cell]), "small")
    assert "the answer: 42" in page
    assert "data:image/png;base64,iVBORw0KGgo=" in page
    assert re.search(r"<h1[^>]*>Heading", page)
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
