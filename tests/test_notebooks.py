"""Notebooks run from top to bottom, say what they are there to say, and are stored as they came out."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are not executed without it")
nbclient = pytest.importorskip("nbclient", reason="notebooks are not executed without it")
for needed in ("ipykernel", "matplotlib", "tenseal", "zstandard", "torch", "sklearn", "opacus", "dp_accounting"):
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


def reaches_its_points(notebook):
    said = texts(notebook)
    rows = re.findall(r"^(?:hospitals|digits), .*ε = \d +([\d. ]+)   ([\d. ]+)   (0\.\d\d): (\w+)$", said, re.MULTILINE)
    assert len(rows) == 3
    for private, _, bar, verdict in rows:
        assert verdict == "reached"
        assert min(map(float, private.split())) >= float(bar)


def counts_who_dropped_out(notebook):
    table = re.findall(r"^ +(\d+) % +([\d.]+) +([\d.]+|aborts)$", texts(notebook), re.MULTILINE)
    assert [row[:2] for row in table] == [
        ("0", "3.50"),
        ("10", "3.92"),
        ("30", "5.18"),
        ("50", "7.69"),
        ("60", "10.10"),
    ]
    assert [row[2] for row in table][-2:] == ["3.50", "aborts"]
    assert all(float(ours) <= 3.50 for _, _, ours in table[:-1])


def stays_within_its_budget(notebook):
    said = texts(notebook)
    spent = re.findall(r"spent ([\d.]+) by PLD, ([\d.]+) by RDP; planned ([\d.]+) of (\d)", said)
    assert len(spent) == 3
    for row in spent:
        pld, rdp, planned, budget = map(float, row)
        assert pld <= rdp <= planned <= budget
    assert re.search(r"2 of 10 rounds, ε spent: (\S+)", said)
    assert "refused: privacy.delta is 0.02 with 50 clients" in said


CLAIMS = {
    "ckks_precision.ipynb": (6, [shows_the_attack, keeps_its_promises]),
    "privacy_budget.ipynb": (5, [reaches_its_points, counts_who_dropped_out, stays_within_its_budget]),
}


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
