"""The page that reports share: one HTML file that loads nothing, runs no script and prints well.

A page is made of frozen values: facts, banners and sections of blocks. Blocks come from the `*_block` functions. All
text is escaped; `` `names in backticks` `` become code. Equal pages give equal bytes: nothing here reads a clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from privfl.errors import ConfigurationError
from privfl.report.pixels import PixelStrip

_KEY = re.compile(r"[a-z][a-z0-9-]*")
_CODE = re.compile(r"`([^`\n]+)`")
WIDE_COLUMNS = 9  # a wider table is set smaller
TALL_ROWS = 40  # a longer table scrolls on the screen; paper shows it whole


class Tone(Enum):
    """How loudly something is said."""

    CALM = "calm"
    MUTED = "muted"
    CAUTION = "caution"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A headline figure.

    Attributes:
        label: what it is.
        value: the figure with its unit.
        note: one short line that puts it in proportion.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """Something that must not be overlooked, said before everything else.

    Attributes:
        heading: one short sentence.
        text: what to make of it.
        items: single points, as a list.
        tone: CAUTION or ALARM; CALM where it is good news.
    """

    heading: str
    text: str = ""
    items: tuple[str, ...] = ()
    tone: Tone = Tone.CAUTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        heading: its name.
        unit: below the heading, where the numbers share one.
        numeric: whether it is set flush right.
        code: whether it is set in letters of one width.
    """

    heading: str
    unit: str = ""
    numeric: bool = True
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One table row; the first cell names it."""

    cells: tuple[str, ...]
    tone: Tone = Tone.CALM


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        key: HTML id, unique on its page.
        caption: what is to be seen.
        columns: headings.
        rows: as many cells each as columns.
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        _check_key(self.key)
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ConfigurationError(f"{len(self.columns)} columns, but a row of {len(row.cells)} cells")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing (markup of `charts`, or a pixel strip) between its heading and its caption."""

    heading: str
    drawing: Markup | PixelStrip
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with an address of its own.

    Attributes:
        key: HTML id, unique on its page.
        heading: title.
        lead: an opening sentence or two.
        blocks: markup of `*_block` functions.
        tone: CALM, or ALARM for a frame in the colour of warnings.
    """

    key: str
    heading: str
    lead: str = ""
    blocks: tuple[Markup, ...] = ()
    tone: Tone = Tone.CALM

    def __post_init__(self) -> None:
        _check_key(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report.

    Attributes:
        title: of the window and the page.
        kicker: small line above the title: what kind of report this is.
        subtitle: line below the title.
        standfirst: opening paragraph; empty for none.
        facts: headline figures.
        banners: warnings.
        sections: the body, listed as links below the title.
    """

    title: str
    kicker: str
    subtitle: str = ""
    standfirst: str = ""
    facts: tuple[Fact, ...] = ()
    banners: tuple[Banner, ...] = ()
    sections: tuple[Section, ...] = ()


def render_page(page: Page) -> str:
    """The page as one self-contained HTML file.

    Guarantees:
        1. It refers to nothing outside itself, and its content policy forbids that it ever does.
        2. Every text is escaped.
        3. Equal pages give equal bytes.
    """
    return _environment().get_template("page.html.j2").render(page=page)


def table_block(table: Table) -> Markup:
    """A table; a long one scrolls within the page, under a heading that stays."""
    return _piece("table", table, tall=len(table.rows) > TALL_ROWS, wide=len(table.columns) > WIDE_COLUMNS)


def figures_block(*figures: Figure) -> Markup:
    """Figures, two beside each other where the page is wide enough."""
    return _piece("figures", figures)


def notes_block(notes: tuple[str, ...]) -> Markup:
    """A list of sentences."""
    return _piece("notes", notes)


def note_block(text: str, tone: Tone = Tone.MUTED) -> Markup:
    """A paragraph set apart."""
    return _piece("note", text, tone)


def facts_block(facts: tuple[Fact, ...]) -> Markup:
    """Headline figures, as at the top of the page."""
    return _piece("facts", facts)


def definitions_block(pairs: tuple[tuple[str, str], ...]) -> Markup:
    """Names with their values."""
    return _piece("definitions", pairs)


def listing_block(label: str, text: str) -> Markup:
    """Text as a machine reads it, such as a command or a job file."""
    return _piece("listing", label, text)


def prose(text: str) -> Markup:
    """Escaped text in which `` `backticks` `` mark code.

    >>> str(prose("`plain` hides < nothing"))
    '<code>plain</code> hides &lt; nothing'
    """
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("privfl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    environment.tests["strip"] = lambda drawing: isinstance(drawing, PixelStrip)
    return environment


def _piece(macro: str, *arguments: Any, **named: Any) -> Markup:
    module: Any = _environment().get_template("pieces.html.j2").module
    made: Markup = getattr(module, macro)(*arguments, **named)  # autoescape makes every macro's answer Markup
    return made


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"a key must be lower-case letters, digits and hyphens, not {key!r}")
