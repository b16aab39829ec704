"""The files of known answers: which there are, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from known_answers import honest, lying_clients, lying_server, values

VECTORS = Path(__file__).parent.parent / "vectors"
PUBLISHED = "published.json"
"""The one file that is not made here: answers from standards."""
_ROWS = ("operations", "cases")


def all_files() -> dict[str, str]:
    """Make every file from nothing: name to text."""
    contents = honest.scripts() | lying_server.scripts() | lying_clients.scripts() | values.tables()
    return {f"{name}.json": _as_text(content) for name, content in sorted(contents.items())}


def read_file(name: str) -> dict[str, Any]:
    """Read a file of known answers."""
    content: dict[str, Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return content


def _as_text(content: dict[str, Any]) -> str:
    """JSON with one operation or case a line, so that a difference between two versions can be read."""
    fields = []
    for key, value in content.items():
        if key in _ROWS:
            rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            fields.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            fields.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(fields) + "\n}\n"
