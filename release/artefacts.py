"""Build privfl's wheel and sdist into dist/, and look whether they hold what they should and nothing else.

    python release/artefacts.py            # `make release`

Both are built from the files of this directory; a wheel is then built from the sdist alone, and compared. What is not
under version control is neither in the one nor in the other. Takes the package `build`.
"""

from __future__ import annotations

import argparse
import email
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Final

from results import Results

ROOT: Final = Path(__file__).resolve().parent.parent
DIST: Final = ROOT / "dist"
PACKAGE_DATA: Final = (
    "privfl/py.typed",
    "privfl/cli/job_template.toml",
    "privfl/integrations/http/operator.html",
    "privfl/report/templates/page.html.j2",
    "privfl/report/templates/pieces.html.j2",
    "privfl/report/templates/report.css.j2",
)
SDIST_NEEDS: Final = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "Makefile",
    "constraints.txt",
)


def project() -> dict[str, object]:
    """Return what pyproject.toml says of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(kind: str, source: Path, out: Path) -> Path:
    """Build one artefact in an environment of its own, and return its path.

    Raises:
        RuntimeError: the build failed; with its last lines.
    """
    command = [sys.executable, "-P", "-m", "build", f"--{kind}", "--outdir", str(out), str(source)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise RuntimeError("\n".join((outcome.stdout + outcome.stderr).splitlines()[-8:]))
    (made,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


def tracked() -> frozenset[str]:
    """Return the files under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(listed.split("\0")) - {""}


def members(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check_wheel(wheel: Path, known: frozenset[str]) -> str:
    """The package's files, those about the distribution, and no other.

    Raises:
        ValueError: says what is missing or too much.
    """
    held, facts = members(wheel), project()
    info = f"{facts['name']}-{facts['version']}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    wanted = {name for name in known if name.startswith("privfl/")} | about
    _require_same(set(held), wanted)
    _require_all(held, PACKAGE_DATA)
    differing = [name for name in wanted - about if held[name] != (ROOT / name).read_bytes()]
    if differing:
        raise ValueError(f"other contents than here: {', '.join(sorted(differing))}")
    return f"{len(held)} files, {wheel.stat().st_size / 1e6:.2f} MB, {wheel.name}"


def check_metadata(wheel: Path) -> str:
    """Version, Python, extras, licence and command are those of pyproject.toml.

    Raises:
        ValueError: says which are not.
    """
    held, facts = members(wheel), project()
    info = f"{facts['name']}-{facts['version']}.dist-info"
    said = email.message_from_bytes(held[f"{info}/METADATA"])
    extras = facts["optional-dependencies"]
    found = {
        "Version": (said["Version"], facts["version"]),
        "Requires-Python": (said["Requires-Python"], facts["requires-python"]),
        "License-Expression": (said["License-Expression"], facts["license"]),
        "Provides-Extra": (set(said.get_all("Provides-Extra", [])), set(extras)),
        "Description-Content-Type": (said["Description-Content-Type"], "text/markdown"),
        "command": ("privfl = privfl.cli.main:main" in held[f"{info}/entry_points.txt"].decode(), True),
    }
    wrong = [f"{key}: {has!r} in place of {wants!r}" for key, (has, wants) in found.items() if has != wants]
    if wrong:
        raise ValueError("; ".join(wrong))
    return f"version {said['Version']}, extras {', '.join(sorted(extras))}"


def check_changelog() -> str:
    """The changelog has a part for this version, and the package says the same version.

    Raises:
        ValueError: one of them does not.
    """
    heading, source = f"## {project()['version']}", (ROOT / "privfl" / "__init__.py").read_text(encoding="utf-8")
    if heading not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines():
        raise ValueError(f"CHANGELOG.md has no line {heading!r}")
    if f'__version__ = "{project()["version"]}"' not in source:
        raise ValueError("privfl.__version__ is another")
    return heading


def check_sdist(sdist: Path, known: frozenset[str]) -> str:
    """Files under version control, all that the project needs among them.

    Raises:
        ValueError: says what is missing or too much.
    """
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()} - {""}
        odd = [member.name for member in archive if not (member.isfile() or member.isdir())]
    if odd:
        raise ValueError(f"neither files nor folders: {', '.join(odd)}")
    strangers = inside - known - {"PKG-INFO"}
    if strangers:
        raise ValueError(f"not under version control: {', '.join(sorted(strangers))}")
    _require_all(inside, (*SDIST_NEEDS, *(name for name in known if name.startswith(("privfl/", "tests/")))))
    return f"{len(inside)} files, {sdist.stat().st_size / 1e6:.2f} MB, {sdist.name}"


def check_same(wheel: Path, sdist: Path, folder: Path) -> str:
    """The sdist, and nothing beside it, builds the same wheel.

    Raises:
        ValueError: says which files differ.
    """
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    again = build("wheel", source, folder / "again")
    ours, theirs = members(wheel), members(again)
    _require_same(set(theirs), set(ours))
    differing = [name for name in ours if ours[name] != theirs[name]]
    if differing:
        raise ValueError(f"these differ: {', '.join(sorted(differing))}")
    return "byte for byte" if wheel.read_bytes() == again.read_bytes() else "the same files, packed otherwise"


def _require_all(held: object, wanted: object) -> None:
    missing = [name for name in wanted if name not in held]
    if missing:
        raise ValueError(f"missing: {', '.join(sorted(missing))}")


def _require_same(held: set[str], wanted: set[str]) -> None:
    if held != wanted:
        missing, strange = sorted(wanted - held), sorted(held - wanted)
        raise ValueError(f"missing: {', '.join(missing) or 'none'}; too much: {', '.join(strange) or 'none'}")


def main() -> int:
    """Build, look, and return the exit code."""
    parser = argparse.ArgumentParser(description="Build the wheel and the sdist, and look what is in them.")
    parser.add_argument("--out", type=Path, default=DIST, help="where they go; older ones there are removed (dist)")
    out, results = parser.parse_args().out, Results()
    for old in (*out.glob("privfl-*.whl"), *out.glob("privfl-*.tar.gz")):
        old.unlink()
    known, made = tracked(), {}
    for kind in ("sdist", "wheel"):
        if not results.take(f"build {kind}", lambda kind=kind: made.update({kind: build(kind, ROOT, out)})):
            return results.close()
    wheel, sdist = made["wheel"], made["sdist"]
    results.take("wheel", lambda: check_wheel(wheel, known))
    results.take("metadata", lambda: check_metadata(wheel))
    results.take("changelog", check_changelog)
    results.take("sdist", lambda: check_sdist(sdist, known))
    with tempfile.TemporaryDirectory() as folder:
        results.take("wheel from the sdist", lambda: check_same(wheel, sdist, Path(folder)))
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
