"""Notebooks run from top to bottom, say what they are there to say, and are stored as they came out."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are not executed without it")
nbclient = pytest.importorskip("nbclient", reason="notebooks are not executed without it")
for needed in ("ipykernel", "matplotlib", "tenseal", "zstandard"):
    pytest.importorskip(needed, reason="the notebooks need it")

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000


def texts(notebook):
    """What all cells printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def figures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def shows_the_attack(notebook):
    said = texts(notebook)
    assert "8192 of 8192 coefficients are -1, 0 or 1" in said
    assert float(re.search(r"as the server has it:.*\noff by at most (\S+)", said)[1]) < 1e-6
    assert re.search(r"from the released sum: +0 of 4096", said)
    assert re.search(r"from the opened sum, all its digits: +0 of 4096", said)
    known = re.findall(r"(\d) of 3 floods known: +(\d+) of 4096", said)
    assert known == [("0", "0"), ("1", "0"), ("2", "0"), ("3", "4096")]


def keeps_its_promises(notebook):
    pairs = re.findall(r"measured (\S+), promised (\S+)", texts(notebook))
    assert len(pairs) == 6
    for measured, promised in pairs:
        assert float(measured) <= 1.05 * float(promised)


CLAIMS = {"ckks_precision.ipynb": (6, [shows_the_attack, keeps_its_promises])}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_is_stored_holds(path):
    raw = path.read_text(encoding="utf-8")
    assert len(raw.encode()) < MOST_BYTES
    assert not re.search(r"/(home|root|tmp|usr|Users)/", raw)  # no word of the machine that it ran on
    notebook = nbformat.reads(raw, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    most, claims = CLAIMS[path.name]
    assert figures(notebook) == most
    for claim in claims:
        claim(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs(path, tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    most, claims = CLAIMS[path.name]
    assert figures(notebook) == most
    for claim in claims:
        claim(notebook)
