"""mkdocs' hook: what pages show is made from the code, and links that leave docs/ lead to copies in the site.

Pages are written to be read in the repository as well. So a link to another file of the repository is an ordinary
relative one; here that file becomes a page of the site. What is drawn or listed from the code stands in a page as a
comment, `<!-- made: NAME -->`, and a file that belongs on a page whole as `<!-- include: ../FILE.md -->`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drawing
import ladders
import listings
import wire_tables
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

LINK = re.compile(r"(?<!!)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
NAMED_LINE = re.compile(r"^(\[[^\]\n]+\]: )([^\s#:]+)(#L\d+)", re.MULTILINE)
"""What a link's name stands for, where that is a line of a source."""
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"^<!-- (made|include): (\S+) -->$", re.MULTILINE)
INCLUDED = {"SECURITY.md": "threats.md"}
"""Files that have a page of their own, which includes them."""
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".yml": "yaml", ".conf": "ini", ".json": "json"}


def made() -> dict[str, Callable[[], str]]:
    """Return what makes each part that pages ask for by name."""
    parts: dict[str, Callable[[], str]] = {
        "wire-header": wire_tables.header,
        "wire-numbers": wire_tables.numbers,
        "wire-messages": wire_tables.message_tables,
        "wire-labels": wire_tables.labels,
        "wire-sizes": wire_tables.sizes,
        "plans": wire_tables.plans,
    }
    head = ("phase", "who, in state", "request", "answer", "then")
    for name, one in ladders.all_ladders().items():
        parts[f"ladder-{name}"] = lambda one=one: f'<figure class="ladder">{drawing.svg(one)}</figure>'
        parts[f"moves-{name}"] = lambda one=one: wire_tables.table(head, ladders.rows(one))
    return parts


def on_files(files: Files, config: Any) -> Files:
    """Add a page for every file of the repository that a page links to, and for those that these link to."""
    root = _root(config)
    waiting = [(Path(config.docs_dir) / page.src_uri, page.content_string) for page in files.documentation_pages()]
    waiting += [(root / name, (root / name).read_text(encoding="utf-8")) for name in INCLUDED]
    while waiting:
        origin, text = waiting.pop()
        for path in _linked(origin, text):
            uri = _uri(path, config)
            if path.is_relative_to(config.docs_dir) or files.get_file_from_path(uri) or not path.is_file():
                continue
            content = path.read_text(encoding="utf-8")
            if path.suffix == ".md":
                waiting.append((path, content))
            else:
                language = LANGUAGES.get(path.suffix, "text")
                content = f"# `{path.relative_to(root)}`\n\n~~~~{language}\n{content.rstrip()}\n~~~~\n"
            files.append(File.generated(config, uri, content=content))
    for name in INCLUDED:
        for match in NAMED_LINE.finditer((root / name).read_text(encoding="utf-8")):
            uri, path = _listed(match[2]), root / match[2]
            if path.is_file() and not files.get_file_from_path(uri):
                shown = listings.listing(match[2], path.read_text(encoding="utf-8"))
                files.append(File.generated(config, uri, content=shown))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ARG001 - mkdocs gives it
    """Lead links to where their files are in the site, and put in what is made."""
    root, uri = _root(config), page.file.src_uri
    origin = Path(config.docs_dir) / uri
    if not origin.exists():
        origin = root / uri.removeprefix("files/").removesuffix(".source.md")
    parts = made()

    def put(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "include":
            path = (origin.parent / name).resolve()
            _, _, text = path.read_text(encoding="utf-8").partition("\n")  # the page has a heading of its own
            return _led(text, path, uri, config)
        if name not in parts:
            raise PluginError(f"{uri} asks for {name!r}, which nobody makes: {', '.join(sorted(parts))} are made")
        return parts[name]()

    return MARKER.sub(put, _led(markdown, origin, uri, config))


def _root(config: Any) -> Path:
    return Path(config.config_file_path).resolve().parent


def _linked(origin: Path, text: str) -> Iterator[Path]:
    for match in LINK.finditer(FENCE.sub("", text)):
        yield (origin.parent / match[1]).resolve()


def _uri(path: Path, config: Any) -> str:
    """Return where a file of the repository is among the site's sources."""
    if path.is_relative_to(config.docs_dir):
        return path.relative_to(config.docs_dir).as_posix()
    inside = path.relative_to(_root(config)).as_posix()
    if inside in INCLUDED:
        return INCLUDED[inside]
    return f"files/{inside}" + ("" if path.suffix == ".md" else ".source.md")


def _listed(name: str) -> str:
    """Return where the lines of a source are shown, of a file by its path from the repository's root."""
    return f"files/{name}.html"


def _led(text: str, origin: Path, uri: str, config: Any) -> str:
    """Rewrite the links of a text that comes from one file and is shown on one page; code stays as it is."""

    def led(match: re.Match[str]) -> str:
        path = (origin.parent / match[1]).resolve()
        if not path.is_file():
            raise PluginError(f"{uri} has a link to {match[1]}, which is no file of the repository")
        target = posixpath.relpath(_uri(path, config), posixpath.dirname(uri) or ".")
        return f"]({target}{match[2] or ''})"

    def named(match: re.Match[str]) -> str:
        if not (origin.parent / match[2]).is_file():
            raise PluginError(f"{uri} names a line of {match[2]}, which is no file of the repository")
        return match[1] + posixpath.relpath(_listed(match[2]), posixpath.dirname(uri) or ".") + match[3]

    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        pieces += [LINK.sub(led, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return NAMED_LINE.sub(named, "".join([*pieces, LINK.sub(led, text[end:])]))
